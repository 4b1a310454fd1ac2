//! What is read from this machine, program files and whether others are there, and user accounts; and what a server has there:
//! its socket, its log.

pub mod accounts;
pub mod files;
pub mod log_file;
pub mod program_file;
pub mod socket_file;
