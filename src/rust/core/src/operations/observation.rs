//! What is seen of jobs in the cluster at one moment.

use std::collections::HashMap;

use super::Connection;
use crate::domain::job_status::{self, JobStatus};
use crate::error::{Error, ErrorClass};
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::{Api, Selection};

/// What it means for the jobs that they could not be looked at.
pub(super) const UNTOUCHED: &str = "The jobs themselves are not affected.";

/// How many of a batch's Jobs are asked for by name at most, which takes a request for each hundred; beyond that the
/// whole batch is.
const ASKED_BY_NAME: usize = 300;

/// What was seen of one job.
#[derive(Clone, Copy)]
pub(super) enum Observed<'a> {
    /// Its newest pod.
    Pod(&'a Pod),
    /// The Job alone: it has no pod yet, or no longer.
    Job(&'a Job),
}

impl Observed<'_> {
    /// The job's state.
    pub fn status(&self) -> JobStatus {
        match self {
            Self::Pod(pod) => job_status::of_pod(pod),
            Self::Job(job) => job_status::of_job(job),
        }
    }
}

/// What was seen of some jobs.
pub(super) struct Observation {
    /// The jobs, in the order asked for; those of a batch in the order of their creation.
    pub job_ids: Vec<String>,
    pods: HashMap<String, Vec<Pod>>,
    jobs: HashMap<String, Job>,
    /// The moment, for a watch that begins there.
    pub resource_version: String,
}

impl Observation {
    /// Looks at jobs by id: one LIST of pods, and one of Jobs for those that have no pod.
    ///
    /// Errors: one of them does not exist; the cluster cannot be asked.
    pub fn of_jobs(connection: &Connection<'_>, api: &Api<'_>, job_ids: &[String]) -> Result<Self, Error> {
        let ids = distinct(job_ids.iter().map(String::as_str));
        let mut observation = Self::of_pods(connection, api, &Selection::Jobs(&ids))?;
        let without_pod: Vec<&str> = ids
            .into_iter()
            .filter(|id| !observation.pods.contains_key(*id))
            .collect();
        if !without_pod.is_empty() {
            observation.add_jobs(connection, api, &Selection::Jobs(&without_pod))?;
        }
        let missing: Vec<&str> = without_pod
            .into_iter()
            .filter(|id| !observation.jobs.contains_key(*id))
            .collect();
        if !missing.is_empty() {
            return Err(not_found(&missing, api.namespace()));
        }
        observation.job_ids = job_ids.to_vec();
        Ok(observation)
    }

    /// Looks at all jobs of a batch: one LIST of pods, and one of the names of those Jobs that have not succeeded, because
    /// some of them may have no pod; what is known of those is asked for then.
    ///
    /// Errors: there is no such batch; the cluster cannot be asked.
    pub fn of_batch(connection: &Connection<'_>, api: &Api<'_>, batch_id: &str) -> Result<Self, Error> {
        let selection = Selection::Batch(batch_id);
        let mut observation = Self::of_pods(connection, api, &selection)?;
        let names = api
            .list_unsucceeded_job_names(&selection)
            .map_err(|failure| connection.error(api, &failure, "list jobs").meaning(UNTOUCHED))?;
        let without_pod: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| !observation.pods.contains_key(*name))
            .collect();
        match without_pod.len() {
            0 => {}
            1..=ASKED_BY_NAME => observation.add_jobs(connection, api, &Selection::Jobs(&without_pod))?,
            _ => observation.add_jobs(connection, api, &selection)?,
        }
        let mut created: Vec<(String, String)> = Vec::new();
        for (id, pods) in &observation.pods {
            let first = pods.iter().map(|pod| &pod.metadata.creation_timestamp).min();
            created.push((first.cloned().unwrap_or_default(), id.clone()));
        }
        for (id, job) in &observation.jobs {
            if !observation.pods.contains_key(id) {
                created.push((job.metadata.creation_timestamp.clone(), id.clone()));
            }
        }
        if created.is_empty() {
            // Succeeded jobs whose pods were removed are still a batch.
            observation.add_jobs(connection, api, &selection)?;
            created.extend(
                observation
                    .jobs
                    .iter()
                    .map(|(id, job)| (job.metadata.creation_timestamp.clone(), id.clone())),
            );
        }
        if created.is_empty() {
            return Err(no_batch(batch_id, api.namespace()));
        }
        created.sort();
        observation.job_ids = created.into_iter().map(|(_, id)| id).collect();
        Ok(observation)
    }

    /// Looks at all jobs of a selection: one LIST of pods and one of Jobs. That there are none is no error.
    pub fn of_all(connection: &Connection<'_>, api: &Api<'_>, selection: &Selection<'_>) -> Result<Self, Error> {
        let mut observation = Self::of_pods(connection, api, selection)?;
        observation.add_jobs(connection, api, selection)?;
        Ok(observation)
    }

    /// Each Job with its newest pod.
    pub fn jobs_with_pods(&self) -> impl Iterator<Item = (&Job, Option<&Pod>)> {
        self.jobs.iter().map(|(id, job)| {
            let pods = self.pods.get(id);
            (job, pods.and_then(job_status::newest))
        })
    }

    /// How many pods a job has had, as far as they are still there.
    pub fn attempts(&self, job_id: &str) -> usize {
        self.pods.get(job_id).map_or(0, Vec::len)
    }

    fn of_pods(connection: &Connection<'_>, api: &Api<'_>, selection: &Selection<'_>) -> Result<Self, Error> {
        let listed = api
            .list_pods(selection)
            .map_err(|failure| connection.error(api, &failure, "list pods").meaning(UNTOUCHED))?;
        let mut observation = Self {
            job_ids: Vec::new(),
            pods: HashMap::new(),
            jobs: HashMap::new(),
            resource_version: listed.resource_version,
        };
        for pod in listed.items {
            observation.put_pod(pod);
        }
        Ok(observation)
    }

    fn add_jobs(&mut self, connection: &Connection<'_>, api: &Api<'_>, selection: &Selection<'_>) -> Result<(), Error> {
        let listed = api
            .list_jobs(selection)
            .map_err(|failure| connection.error(api, &failure, "list jobs").meaning(UNTOUCHED))?;
        self.jobs
            .extend(listed.items.into_iter().map(|job| (job.metadata.name.clone(), job)));
        Ok(())
    }

    /// Notes a pod as it is now; a pod that belongs to no job of abba's is passed over.
    pub fn put_pod(&mut self, pod: Pod) {
        let Some(id) = pod.job_id().map(String::from) else {
            return;
        };
        let pods = self.pods.entry(id).or_default();
        match pods.iter_mut().find(|known| known.metadata.name == pod.metadata.name) {
            Some(known) => *known = pod,
            None => pods.push(pod),
        }
    }

    /// Takes up a job that a pod has just shown, at the end of the order.
    pub fn add_job_of(&mut self, pod: &Pod) {
        if let Some(id) = pod.job_id() {
            if self.of(id).is_none() {
                self.job_ids.push(id.to_string());
            }
        }
    }

    /// What was seen of one job.
    pub fn of(&self, job_id: &str) -> Option<Observed<'_>> {
        match self.pods.get(job_id).and_then(job_status::newest) {
            Some(pod) => Some(Observed::Pod(pod)),
            None => self.jobs.get(job_id).map(Observed::Job),
        }
    }

    /// Each job with what was seen of it, in order.
    pub fn each(&self) -> impl Iterator<Item = (&str, Observed<'_>)> {
        self.job_ids
            .iter()
            .filter_map(|id| self.of(id).map(|observed| (id.as_str(), observed)))
    }

    /// The states, in order.
    pub fn statuses(&self) -> Vec<JobStatus> {
        self.each().map(|(_, observed)| observed.status()).collect()
    }
}

fn distinct<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = std::collections::HashSet::new();
    ids.filter(|id| seen.insert(*id)).collect()
}

const WHERE_TO_LOOK: &str = "Check the id and the namespace: argument `namespace`, option `abba.k8s.namespace`.";

/// The error for jobs that are not there.
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
    let consequence = match missing.len() {
        1 => "It never existed there, or it was removed: Kubernetes removes a job a week after its end.",
        _ => "They never existed there, or they were removed: Kubernetes removes a job a week after its end.",
    };
    Error::new(ErrorClass::NotFound, message)
        .meaning(consequence)
        .advise(WHERE_TO_LOOK)
        .about(missing.iter().copied())
}

fn no_batch(batch_id: &str, namespace: &str) -> Error {
    Error::new(
        ErrorClass::NotFound,
        format!("There is no batch \"{batch_id}\" in the namespace \"{namespace}\"."),
    )
    .meaning("It never existed there, or all its jobs were removed: Kubernetes removes a job a week after its end.")
    .advise(WHERE_TO_LOOK)
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
