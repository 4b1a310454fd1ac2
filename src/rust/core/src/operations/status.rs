//! The state of jobs.

use super::archive::{Archived, ArchivedJob};
use super::{Connection, JobSelector};
use crate::domain::job_status::JobStatus;
use crate::domain::restarts;
use crate::error::{Error, Warning};

/// The states of jobs, in the order of the ids; those of a batch in the order of their creation. One LIST of pods answers
/// for all that have a pod; if any has none, one LIST of Jobs for those. With a warning about the programs that were started
/// more than once: of a batch the Jobs' metadata, which are read anyway, tell it, of others the pods alone, because a second
/// LIST would double the cost of the question that is asked most.
///
/// What the cluster has forgotten comes from the archive, as far as that has it.
///
/// Errors: an id is no id; a job or the batch does not exist ([`crate::ErrorClass::NotFound`]); the cluster cannot be
/// asked.
pub fn status(
    connection: &Connection<'_>,
    which: &JobSelector,
    archived: &Archived,
) -> Result<(Vec<JobStatus>, Vec<Warning>), Error> {
    let Some((api, mut observation)) = archived.observe_rest(connection, which)? else {
        return Ok((archived.beside(which, [], ArchivedJob::status), Vec::new()));
    };
    let starts = match which {
        JobSelector::Batch(_) => observation.look_for_starts(connection, &api)?,
        JobSelector::Jobs(_) => observation.known_starts(),
    };
    let warnings = restarts::warnings(starts.iter().map(|(id, starts)| (id.as_str(), *starts)));
    let in_cluster = observation.ids_and_times().into_iter().zip(observation.statuses());
    Ok((archived.beside(which, in_cluster, ArchivedJob::status), warnings))
}
