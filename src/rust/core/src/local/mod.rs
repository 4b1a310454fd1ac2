//! What is read from this machine: program files, user accounts, and the socket of a server.

pub mod accounts;
pub mod program_file;
pub mod socket_file;
