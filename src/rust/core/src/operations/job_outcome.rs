//! What became of one of the jobs that something was done to.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{Cancelled, Removed};
use crate::Error;

/// One job and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOutcome<Done> {
    /// The job.
    pub job_id: String,
    /// What was done, or why it could not be.
    pub done: Result<Done, Error>,
}

/// What became of a job that was to be cancelled.
pub type CancelOutcome = JobOutcome<Cancelled>;

/// What became of a job that was to be removed.
pub type RemoveOutcome = JobOutcome<Removed>;

/// As JSON an object of `job_id`, `done`, words or `null`, and `error`, an error or `null`.
impl<Done: Serialize> Serialize for JobOutcome<Done> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut outcome = serializer.serialize_struct("JobOutcome", 3)?;
        outcome.serialize_field("job_id", &self.job_id)?;
        outcome.serialize_field("done", &self.done.as_ref().ok())?;
        outcome.serialize_field("error", &self.done.as_ref().err())?;
        outcome.end()
    }
}
