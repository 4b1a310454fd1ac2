//! What is read from this machine: program files, user accounts and the API keys of the abba API.

pub mod accounts;
pub mod api_key_file;
pub mod program_file;
