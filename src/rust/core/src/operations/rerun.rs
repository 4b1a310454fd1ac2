//! Submitting again what has failed.

use super::observation::Observation;
use super::{Connection, SubmitArguments};
use crate::domain::job_status::{self, Status};
use crate::domain::{job_name, labels};
use crate::error::{Error, ErrorClass};
use crate::kubernetes::Selection;

/// The arguments of those jobs of a batch that have failed or were cancelled (with `include_unknown` also of those whose
/// node does not answer), in the order of their submission, with a new batch id.
///
/// Errors: there is no such batch; a job does not say what it was submitted with; the cluster cannot be asked.
pub fn arguments_to_rerun(
    connection: &Connection<'_>,
    batch_id: &str,
    include_unknown: bool,
) -> Result<Vec<SubmitArguments>, Error> {
    let api = connection.api()?;
    // Raises the error for a batch that does not exist.
    let order = Observation::of_batch(connection, &api, batch_id)?.job_ids;
    let observation = Observation::of_all(connection, &api, &Selection::Batch(batch_id))?;
    let mut failed: Vec<(usize, SubmitArguments)> = Vec::new();
    for (job, pod) in observation.jobs_with_pods() {
        let status = pod.map_or_else(|| job_status::of_job(job), job_status::of_pod).status;
        if status != Status::Failed && !(include_unknown && status == Status::Unknown) {
            continue;
        }
        let id = &job.metadata.name;
        let kept = job.metadata.annotations.get(labels::ARGUMENTS);
        let arguments = kept.and_then(|kept| serde_json::from_str(kept).ok()).ok_or_else(|| {
            Error::new(
                ErrorClass::Invalid,
                format!("Job \"{id}\" does not say what it was submitted with."),
            )
            .advise("Submit its program again by hand.")
            .about([id])
        })?;
        let position = order.iter().position(|known| known == id).unwrap_or(usize::MAX);
        failed.push((position, arguments));
    }
    failed.sort_by_key(|(position, _)| *position);
    let mut arguments: Vec<SubmitArguments> = failed.into_iter().map(|(_, arguments)| arguments).collect();
    if let Some(first) = arguments.first() {
        let name = first.expanded_path.rsplit('/').next().unwrap_or_default();
        let new_batch_id = job_name::new_batch_id(name);
        for again in &mut arguments {
            again.batch_group_id.clone_from(&new_batch_id);
        }
    }
    Ok(arguments)
}
