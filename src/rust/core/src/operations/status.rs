//! The state of jobs.

use std::collections::HashMap;

use super::{check_job_ids, Connection};
use crate::domain::job_status::{self, JobStatus};
use crate::error::{Error, ErrorClass};
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::Api;

/// What was observed of a job.
pub(super) enum Observed {
    /// Its newest pod.
    Pod(Box<Pod>),
    /// The Job alone: it has no pod yet, or no longer.
    Job(Box<Job>),
}

/// The states of jobs, in the order of the ids. One LIST of pods answers for all that have a pod; if any has none, one
/// LIST of Jobs for those.
///
/// Errors: an id is no id; a job does not exist ([`ErrorClass::NotFound`]); the cluster cannot be asked.
pub fn status(connection: &Connection<'_>, job_ids: &[String]) -> Result<Vec<JobStatus>, Error> {
    check_job_ids(job_ids)?;
    let api = connection.api()?;
    let observed = observe(connection, &api, job_ids)?;
    Ok(observed
        .iter()
        .map(|observed| match observed {
            Observed::Pod(pod) => job_status::of_pod(pod),
            Observed::Job(job) => job_status::of_job(job),
        })
        .collect())
}

/// Looks at jobs, in the order of the ids.
pub(super) fn observe(connection: &Connection<'_>, api: &Api<'_>, job_ids: &[String]) -> Result<Vec<Observed>, Error> {
    const UNTOUCHED: &str = "The jobs themselves are not affected.";
    let ids = distinct(job_ids.iter().map(String::as_str));
    let pods = api
        .list_pods(&ids)
        .map_err(|failure| connection.error(api, &failure, "list pods").meaning(UNTOUCHED))?;
    let mut pods_of_job: HashMap<String, Vec<Pod>> = HashMap::new();
    for pod in pods {
        if let Some(id) = pod.job_id() {
            pods_of_job.entry(id.to_string()).or_default().push(pod);
        }
    }
    let without_pod: Vec<&str> = ids
        .iter()
        .copied()
        .filter(|id| !pods_of_job.contains_key(*id))
        .collect();
    let mut jobs: HashMap<String, Job> = HashMap::new();
    if !without_pod.is_empty() {
        let listed = api
            .list_jobs(&without_pod)
            .map_err(|failure| connection.error(api, &failure, "list jobs").meaning(UNTOUCHED))?;
        jobs.extend(listed.into_iter().map(|job| (job.metadata.name.clone(), job)));
    }
    let missing: Vec<&str> = without_pod.into_iter().filter(|id| !jobs.contains_key(*id)).collect();
    if !missing.is_empty() {
        return Err(not_found(&missing, api.namespace()));
    }
    Ok(job_ids
        .iter()
        .filter_map(|id| match pods_of_job.get(id) {
            Some(pods) => job_status::newest(pods).cloned().map(Box::new).map(Observed::Pod),
            None => jobs.get(id).cloned().map(Box::new).map(Observed::Job),
        })
        .collect())
}

fn distinct<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = std::collections::HashSet::new();
    ids.filter(|id| seen.insert(*id)).collect()
}

pub(super) fn not_found(missing: &[&str], namespace: &str) -> Error {
    const SHOWN: usize = 5;
    let shown = missing
        .iter()
        .take(SHOWN)
        .map(|id| format!("\"{id}\""))
        .collect::<Vec<_>>()
        .join(", ");
    let message = match missing.len() {
        1 => format!("There is no job {shown} in the namespace \"{namespace}\"."),
        count if count <= SHOWN => format!("There are no jobs {shown} in the namespace \"{namespace}\"."),
        count => format!(
            "There are no jobs {shown} and {} more in the namespace \"{namespace}\".",
            count - SHOWN
        ),
    };
    Error::new(ErrorClass::NotFound, message)
        .meaning("It never existed there, or it was removed: Kubernetes removes a job a week after its end.")
        .advise("Check the id and the namespace: argument `namespace`, option `abba.k8s.namespace`.")
        .about(missing.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_jobs_are_named_and_counted() {
        let error = not_found(&["a-1"], "n");
        assert_eq!(error.message, "There is no job \"a-1\" in the namespace \"n\".");
        let ids: Vec<String> = (0..8).map(|n| format!("a-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let error = not_found(&ids, "n");
        assert!(error.message.contains("and 3 more"));
        assert_eq!(error.job_ids.len(), 8);
    }
}
