//! The core of abba: R programs as Kubernetes Jobs, through `kubectl`.
//!
//! It knows nothing of R. Its layers, each of which knows only the ones below it:
//!
//! - [`gateway`]: what a caller of the abba API may ask, and what they get; made of operations.
//! - [`operations`]: what a user asks for (submit, status, log), made of the parts below.
//! - [`domain`]: what can be computed: names, resources, the Job's manifest, what a pod's state means, how a log is
//!   read. No input or output.
//! - [`kubernetes`]: the few API calls that are used and the objects they carry.
//! - [`transport`]: carries a call to the API server. The only place that starts a process.
//!
//! Beside them stands [`local`], what is read from the machine itself: program files and user accounts.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

#[macro_use]
mod names;
pub mod domain;
pub mod error;
#[cfg(test)]
mod fuzz;
pub mod gateway;
pub mod kubernetes;
#[cfg(test)]
mod layers;
pub mod local;
pub mod operations;
#[cfg(test)]
mod test_folder;
pub mod transport;

pub use error::{Error, ErrorClass, Warning};
