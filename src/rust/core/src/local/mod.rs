//! What is read from this machine, program files, files of a study, and user accounts; what is written there; and what a server
//! has there: its sockets, its log.

pub mod accounts;
pub mod files;
#[cfg(unix)]
pub mod listening_socket;
pub mod log_file;
pub mod ownership;
pub mod program_file;
pub mod socket_file;
