//! The state of jobs.

use super::{Connection, JobSelector};
use crate::domain::job_status::JobStatus;
use crate::error::Error;

/// The states of jobs, in the order of the ids; those of a batch in the order of their creation. One LIST of pods answers
/// for all that have a pod; if any has none, one LIST of Jobs for those.
///
/// Errors: an id is no id; a job or the batch does not exist ([`crate::ErrorClass::NotFound`]); the cluster cannot be
/// asked.
pub fn status(connection: &Connection<'_>, which: &JobSelector) -> Result<Vec<JobStatus>, Error> {
    Ok(connection.observe(which)?.1.statuses())
}
