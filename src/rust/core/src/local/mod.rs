//! What is read from this machine: program files and user accounts.

pub mod accounts;
pub mod program_file;
