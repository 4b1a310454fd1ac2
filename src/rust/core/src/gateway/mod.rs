//! The guard and the answers of the abba API, through which a department submits with one service account.
//!
//! A caller has no kubectl. R hands over what came in by HTTP; here it is decided who the caller is, whether they may do
//! what they ask for, and what they get. Whatever a caller may not choose (the namespace, the user that a program runs as,
//! storage outside the permitted one) is not read from the request at all.
//!
//! - [`policy`]: what the administrator has set; [`permissions`]: what that permits to a caller; [`permitted_mounts`]: which
//!   storage; `holdings`: how much in all.
//! - [`headers`]: the headers of a request; [`caller`]: who somebody is, by [`crate::gateway::api_keys`] for instance; [`request_rate`]: how often they may ask.
//! - [`directory`]: the accounts of callers, and which of them programs run as.
//! - [`arguments`]: what a request says; [`submission`]: how it becomes a Job.
//! - [`snapshot`]: what is known of all jobs, so that a hundred callers do not ask the cluster a hundred times.
//! - [`watchers`]: the requests that wait for a change.
//! - [`bounds`]: how much a caller may take; [`turns`]: who comes next.
//! - [`cluster_words`]: what callers are told of the words of the cluster.
//! - [`server`]: what comes before each call; [`calls`]: the calls; [`answer`]: what goes back.
//! - [`archive`]: jobs that the cluster has forgotten; [`archive_reader`]: who reads the index of them; `archiving`: how the
//!   server keeps them.
//! - [`audit_log`]: the log of decisions; [`metrics`]: what Prometheus is told.

pub mod answer;
pub mod api_key_file;
mod api_key_uses;
pub mod api_keys;
pub mod archive;
pub mod archive_reader;
mod archiving;
pub mod arguments;
pub mod audit_log;
pub mod bookings;
mod bounds;
pub mod caller;
pub mod calls;
mod cluster_words;
mod directory;
pub mod headers;
mod holdings;
pub mod metrics;
pub mod permissions;
pub mod permitted_mounts;
pub mod policy;
pub mod request_rate;
mod server;
mod snapshot;
pub mod submission;
mod turns;
mod watchers;

#[cfg(test)]
mod description;
#[cfg(test)]
mod fake_cluster;
#[cfg(test)]
mod fuzz;

pub use answer::{ApiError, Response};
pub use archiving::{Archiving, Stand};
pub use policy::Policy;
pub use server::{Early, Gateway, KeySource, Request};
pub use snapshot::Following;
