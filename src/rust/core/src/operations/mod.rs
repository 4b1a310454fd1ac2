//! What a user asks for, each in a file of its own.

mod failure_words;
mod log;
mod status;
mod submit;

pub use log::{log, LogOfJob, Logs};
pub use status::status;
pub use submit::{prepare, submit, CpuArgument, SubmitArguments, Submitted};

use crate::kubernetes::Api;
use crate::transport::{Patience, Transport};
use crate::Error;

/// How the cluster is reached: what every operation needs.
#[derive(Clone, Copy)]
pub struct Connection<'a> {
    /// Carries the calls.
    pub transport: &'a dyn Transport,
    /// The namespace; `None`: the one that the user's configuration names.
    pub namespace: Option<&'a str>,
    /// How long each call may take.
    pub patience: Patience<'a>,
}

impl<'a> Connection<'a> {
    fn api(&self) -> Result<Api<'a>, Error> {
        Api::new(self.transport, self.namespace, self.patience)
            .map_err(|failure| failure_words::error(&failure, "read kubectl's configuration", "", &self.patience))
    }

    /// The error for a failure of `api` while it did something, as "list pods".
    fn error(&self, api: &Api<'_>, failure: &crate::transport::Failure, doing: &str) -> Error {
        failure_words::error(failure, doing, api.namespace(), &self.patience)
    }
}

/// The error for a failure that came before any cluster was involved.
pub fn error_of(failure: &crate::transport::Failure, patience: &Patience<'_>) -> Error {
    failure_words::error(failure, "be started", "", patience)
}

/// Checks job ids before anything is sent: at least one, each a legal name.
pub fn check_job_ids(job_ids: &[String]) -> Result<(), Error> {
    if job_ids.is_empty() {
        return Err(Error::input(
            "`job_id` must hold at least one job's id, and it is empty.",
        ));
    }
    job_ids
        .iter()
        .try_for_each(|id| crate::domain::job_name::check_job_id(id))
}
