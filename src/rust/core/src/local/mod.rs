//! What is read from this machine: program files and whether others are there, user accounts, and the socket of a server.

pub mod accounts;
pub mod files;
pub mod program_file;
pub mod socket_file;
