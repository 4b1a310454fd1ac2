//! Submitting again what has failed.

use super::observation::Observation;
use super::{Connection, SubmitArguments};
use crate::domain::job_status::{self, Status};
use crate::domain::{job_name, labels};
use crate::error::{Error, ErrorClass};
use crate::kubernetes::Selection;

/// One job that is to be submitted again.
#[derive(Clone, Debug)]
pub struct Again {
    /// The job.
    pub rerun_of: String,
    /// What it was submitted with.
    pub arguments: SubmitArguments,
}

/// What is left of a rerun of which some programs could not be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestOfRerun {
    /// The batch id that the rerun got.
    pub batch_id: String,
    /// The jobs to submit again, each with the id under which it may have been created, if any.
    pub jobs: Vec<(String, Option<String>)>,
}

/// Those jobs of a batch that have failed or were cancelled (with `include_unknown` also those whose node does not
/// answer), in the order of their submission, with a new batch id; or those of `rest`, whatever their state.
///
/// Errors: there is no such batch; a job does not say what it was submitted with; the cluster cannot be asked.
pub fn arguments_to_rerun(
    connection: &Connection<'_>,
    batch_id: &str,
    include_unknown: bool,
    rest: Option<&RestOfRerun>,
) -> Result<Vec<Again>, Error> {
    let api = connection.api()?;
    // Raises the error for a batch that does not exist.
    let order = Observation::of_batch(connection, &api, batch_id)?.job_ids;
    let observation = Observation::of_all(connection, &api, &Selection::Batch(batch_id))?;
    let mut failed: Vec<(usize, Again)> = Vec::new();
    for (job, pod) in observation.jobs_with_pods() {
        let id = &job.metadata.name;
        let status = pod.map_or_else(|| job_status::of_job(job), job_status::of_pod).status;
        let left = rest.and_then(|rest| rest.jobs.iter().find(|(rerun_of, _)| rerun_of == id));
        let is_meant = match rest {
            Some(_) => left.is_some(),
            None => status == Status::Failed || (include_unknown && status == Status::Unknown),
        };
        if !is_meant {
            continue;
        }
        let kept = job.metadata.annotations.get(labels::ARGUMENTS);
        let mut arguments: SubmitArguments =
            kept.and_then(|kept| serde_json::from_str(kept).ok()).ok_or_else(|| {
                Error::new(
                    ErrorClass::Invalid,
                    format!("Job \"{id}\" does not say what it was submitted with."),
                )
                .advise("Submit its program again by hand.")
                .about([id])
            })?;
        arguments.job_id = left.and_then(|(_, job_id)| job_id.clone());
        let position = order.iter().position(|known| known == id).unwrap_or(usize::MAX);
        let again = Again {
            rerun_of: id.clone(),
            arguments,
        };
        failed.push((position, again));
    }
    failed.sort_by_key(|(position, _)| *position);
    let mut again: Vec<Again> = failed.into_iter().map(|(_, again)| again).collect();
    if let Some(first) = again.first() {
        let name = first.arguments.expanded_path.rsplit('/').next().unwrap_or_default();
        let new_batch_id = rest.map_or_else(|| job_name::new_batch_id(name), |rest| rest.batch_id.clone());
        for job in &mut again {
            job.arguments.batch_group_id.clone_from(&new_batch_id);
        }
    }
    Ok(again)
}
