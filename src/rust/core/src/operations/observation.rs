//! What is seen of jobs in the cluster at one moment.

use std::collections::{HashMap, HashSet};

use super::parallel_map::{over, parallel_map_unless_stopped};
use super::{check, job_store, Connection, JobSelector};
use crate::domain::job_status::{self, JobStatus, Status};
use crate::domain::order;
use crate::domain::restarts::{self, Starts};
use crate::error::{name_some, Error, ErrorClass};
use crate::kubernetes::api::Stopped;
use crate::kubernetes::objects::{Job, Name, Pod};
use crate::kubernetes::{labels, time, Api, LabelSelector};
use crate::transport::FailureKind;

/// What it means for the jobs that they could not be looked at.
pub(super) const UNTOUCHED: &str = "The jobs themselves are not affected.";

/// The error for a job that was changed by others whenever it was to be `done`, as "removed".
pub(super) fn changes_all_the_time(job_id: &str, done: &str) -> Error {
    let message = format!("Job \"{job_id}\" changes all the time, so it could not be {done}.");
    Error::new(ErrorClass::Unavailable, message)
        .meaning(UNTOUCHED)
        .advise("Repeat the call.")
        .about([job_id])
}

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
    /// As the LIST gave them: moving ten thousand would take that memory twice.
    #[allow(clippy::vec_box)]
    pods: HashMap<String, Vec<Box<Pod>>>,
    jobs: HashMap<String, Job>,
    /// When the Jobs of a batch were made, in their order.
    created: Vec<String>,
    /// The Jobs whose metadata say that [`restarts::of_job`] may say something; `None`: their metadata were not read.
    changed: Option<HashSet<String>>,
    /// The moment, for a watch that begins there.
    pub resource_version: String,
}

impl<'a> Connection<'a> {
    /// Looks at jobs, and gives back the API for what comes next.
    ///
    /// Errors: an id is no id; a job or the batch does not exist; the cluster cannot be asked.
    pub(super) fn observe(&self, which: &JobSelector) -> Result<(Api<'a>, Observation), Error> {
        check(which)?;
        let api = self.api()?;
        let observation = match which {
            JobSelector::Jobs(job_ids) => Observation::of_jobs(self, &api, job_ids)?,
            JobSelector::Batch(batch_id) => Observation::of_batch(self, &api, batch_id)?,
        };
        Ok((api, observation))
    }
}

/// Those of some jobs that the cluster has, asked for one by one.
///
/// Errors: the cluster cannot be asked.
pub fn existing_jobs(connection: &Connection<'_>, job_ids: &[String]) -> Result<Vec<String>, Error> {
    let api = connection.api()?;
    let mut there = Vec::new();
    for id in job_ids {
        match api.has_job(id) {
            Ok(true) => there.push(id.clone()),
            Ok(false) => {}
            Err(failure) => return Err(connection.error(&api, &failure, "read jobs").meaning(UNTOUCHED)),
        }
    }
    Ok(there)
}

/// The ids of the jobs that are meant, as far as the cluster has them. That there are none is no error.
///
/// Errors: the cluster cannot be asked.
pub fn job_names(connection: &Connection<'_>, which: &JobSelector) -> Result<Vec<String>, Error> {
    let api = connection.api()?;
    let names = match which {
        JobSelector::Jobs(ids) => {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            api.list_job_names(&LabelSelector::Jobs(&ids))
        }
        JobSelector::Batch(batch_id) => api.list_job_names(&LabelSelector::Batch(batch_id)),
    };
    let names = names.map_err(|failure| connection.error(&api, &failure, "list jobs").meaning(UNTOUCHED))?;
    Ok(names.into_iter().map(|named| named.name).collect())
}

/// The moment at which the cluster is, as a resource version.
///
/// Errors: the cluster cannot be asked.
pub fn current_version(connection: &Connection<'_>) -> Result<String, Error> {
    let api = connection.api()?;
    api.current_version()
        .map_err(|failure| connection.error(&api, &failure, "list jobs").meaning(UNTOUCHED))
}

impl Observation {
    /// Looks at jobs by id: one LIST of pods, and one of Jobs for those that have no pod.
    ///
    /// Errors: one of them does not exist; the cluster cannot be asked.
    pub fn of_jobs(connection: &Connection<'_>, api: &Api<'_>, job_ids: &[String]) -> Result<Self, Error> {
        let (observation, missing) = Self::of_jobs_that_exist(connection, api, job_ids)?;
        match missing.as_slice() {
            [] => Ok(observation),
            missing => {
                let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
                Err(not_found(&missing, api.namespace()))
            }
        }
    }

    /// The same, and the ids of those that do not exist.
    pub fn of_jobs_that_exist(
        connection: &Connection<'_>,
        api: &Api<'_>,
        job_ids: &[String],
    ) -> Result<(Self, Vec<String>), Error> {
        let ids = distinct(job_ids.iter().map(String::as_str));
        let mut observation = Self::of_pods(connection, api, &LabelSelector::Jobs(&ids))?;
        let without_pod: Vec<&str> = ids
            .into_iter()
            .filter(|id| !observation.pods.contains_key(*id))
            .collect();
        if !without_pod.is_empty() {
            observation.add_jobs(connection, api, &LabelSelector::Jobs(&without_pod))?;
            observation.look_again_for_pods(connection, api, None)?;
        }
        let missing = without_pod
            .into_iter()
            .filter(|id| !observation.jobs.contains_key(*id))
            .map(String::from)
            .collect();
        observation.job_ids = job_ids.to_vec();
        Ok((observation, missing))
    }

    /// Looks once more at jobs that were seen `before`. A job that had ended then and is gone now keeps the end that was
    /// seen; one that had not ended is left in `job_ids`, and [`Self::of`] knows nothing of it.
    ///
    /// Errors: the cluster cannot be asked.
    pub fn again(
        connection: &Connection<'_>,
        api: &Api<'_>,
        which: &JobSelector,
        before: &Self,
    ) -> Result<Self, Error> {
        let mut observation = match which {
            JobSelector::Jobs(job_ids) => Self::of_jobs_that_exist(connection, api, job_ids)?.0,
            JobSelector::Batch(batch_id) => match Self::of_batch(connection, api, batch_id) {
                Ok(observation) => observation,
                Err(error) if says_that_jobs_are_gone(&error) => Self::empty(String::new()),
                Err(error) => return Err(error),
            },
        };
        for id in &before.job_ids {
            if observation.of(id).is_some() {
                continue;
            }
            if before
                .of(id)
                .is_some_and(|observed| observed.status().status.is_final())
            {
                if let Some(pods) = before.pods.get(id) {
                    observation.pods.insert(id.clone(), pods.clone());
                }
                if let Some(job) = before.jobs.get(id) {
                    observation.jobs.insert(id.clone(), job.clone());
                }
            }
        }
        let known: std::collections::HashSet<&String> = before.job_ids.iter().collect();
        let new: Vec<String> = observation
            .job_ids
            .iter()
            .filter(|id| !known.contains(id))
            .cloned()
            .collect();
        observation.job_ids = before.job_ids.iter().cloned().chain(new).collect();
        Ok(observation)
    }

    /// The jobs that are not there any more, although they had not ended when they were seen last.
    pub fn removed(&self) -> Vec<&str> {
        distinct(
            self.job_ids
                .iter()
                .map(String::as_str)
                .filter(|id| self.of(id).is_none()),
        )
    }

    /// The jobs that have no pod and have not ended.
    pub fn waiting_without_pod(&self) -> Vec<&str> {
        distinct(self.each().filter_map(|(id, observed)| match observed {
            Observed::Job(_) if !observed.status().status.is_final() => Some(id),
            _ => None,
        }))
    }

    /// The batches of the jobs that wait for others.
    pub fn waiting_batches(&self) -> Vec<String> {
        let batches = self.each().filter_map(|(_, observed)| match observed {
            Observed::Job(job) if order::waits(job) => job.metadata.labels.get(labels::BATCH_ID).map(String::as_str),
            _ => None,
        });
        distinct(batches).into_iter().map(String::from).collect()
    }

    /// Looks at the Jobs of those that have no pod: their pods are followed elsewhere. `false` where one is gone.
    ///
    /// Errors: the cluster cannot be asked.
    pub fn look_at_jobs_without_pod(&mut self, connection: &Connection<'_>, api: &Api<'_>) -> Result<bool, Error> {
        let waiting: Vec<String> = self.waiting_without_pod().into_iter().map(String::from).collect();
        if waiting.is_empty() {
            return Ok(true);
        }
        let ids: Vec<&str> = waiting.iter().map(String::as_str).collect();
        for id in &waiting {
            self.jobs.remove(id);
        }
        self.add_jobs(connection, api, &LabelSelector::Jobs(&ids))?;
        Ok(waiting.iter().all(|id| self.jobs.contains_key(id)))
    }

    /// Looks at all jobs of a batch: one LIST of pods and one of the Jobs' names, since some may have no pod: not yet, or no
    /// longer, as when a node was taken out of the cluster. What is known of those is asked for then.
    ///
    /// Errors: there is no such batch; the cluster cannot be asked.
    pub fn of_batch(connection: &Connection<'_>, api: &Api<'_>, batch_id: &str) -> Result<Self, Error> {
        let selection = LabelSelector::Batch(batch_id);
        let (mut observation, names) = at_once(
            connection,
            api,
            |connection, api| Self::of_pods(connection, api, &selection),
            |connection, api| {
                api.list_job_names(&selection)
                    .map_err(|failure| connection.error(api, &failure, "list jobs").meaning(UNTOUCHED))
            },
        )?;
        let without_pod: Vec<&str> = names
            .iter()
            .map(|named| named.name.as_str())
            .filter(|name| !observation.pods.contains_key(*name))
            .collect();
        if !without_pod.is_empty() {
            let by_name = LabelSelector::Jobs(&without_pod);
            let all_at_once = without_pod.len() > ASKED_BY_NAME;
            observation.add_jobs(connection, api, if all_at_once { &selection } else { &by_name })?;
            observation.look_again_for_pods(connection, api, all_at_once.then_some(&selection))?;
        }
        let mut created: Vec<(&str, &str)> = names
            .iter()
            .map(|named| (named.creation_timestamp.as_str(), named.name.as_str()))
            // One may have been removed since.
            .filter(|(_, id)| observation.of(id).is_some())
            .collect();
        // A Job that was removed, and whose pod is on its way out.
        let known: HashSet<&str> = created.iter().map(|(_, id)| *id).collect();
        for (id, pods) in &observation.pods {
            if !known.contains(id.as_str()) {
                let first = pods.iter().map(|pod| pod.metadata.creation_timestamp.as_str()).min();
                created.push((first.unwrap_or_default(), id));
            }
        }
        observation.changed = Some(changed(&names));
        if created.is_empty() {
            return Err(no_batch(batch_id, api.namespace()));
        }
        created.sort_unstable();
        let (times, job_ids) = created
            .into_iter()
            .map(|(time, id)| (time.to_string(), id.to_string()))
            .unzip();
        (observation.created, observation.job_ids) = (times, job_ids);
        Ok(observation)
    }

    /// Looks at all jobs of a selection: one LIST of pods and one of Jobs, both at once. That there are none is no error.
    pub fn of_all(connection: &Connection<'_>, api: &Api<'_>, selection: &LabelSelector<'_>) -> Result<Self, Error> {
        let (pods, jobs) = at_once(
            connection,
            api,
            |connection, api| Self::of_pods(connection, api, selection),
            |connection, api| {
                let mut observation = Self::empty(String::new());
                observation.add_jobs(connection, api, selection)?;
                Ok(observation)
            },
        )?;
        Ok(Self {
            jobs: jobs.jobs,
            ..pods
        })
    }

    /// Each Job with its newest pod.
    pub fn jobs_with_pods(&self) -> impl Iterator<Item = (&Job, Option<&Pod>)> {
        self.jobs.iter().map(|(id, job)| {
            let pods = self.pods.get(id);
            (job, pods.and_then(|pods| newest(pods)))
        })
    }

    /// The names of the pods that a job has had, as far as they are still there.
    pub fn pod_names(&self, job_id: &str) -> Vec<&str> {
        let pods = self.pods.get(job_id).into_iter().flatten();
        pods.map(|pod| pod.metadata.name.as_str()).collect()
    }

    /// How often a job's program was started, as its pods say and, where it was looked at, its Job.
    pub fn starts(&self, job_id: &str) -> Starts {
        let pods = self.pods.get(job_id).into_iter().flatten();
        let of_job = self.jobs.get(job_id).filter(|_| self.has_started(job_id));
        restarts::of_pods(pods.map(AsRef::as_ref)).max(of_job.map_or(Starts::Once, restarts::of_job))
    }

    /// Whether the newest pod of a job has started, or had and is gone.
    fn has_started(&self, job_id: &str) -> bool {
        match self.of(job_id) {
            Some(Observed::Pod(pod)) => pod.has_started(),
            Some(Observed::Job(job)) => job_status::of_job(job).status == Status::Succeeded,
            None => false,
        }
    }

    /// How often the programs were started, for each job. What the pods do not say is in the Jobs: their metadata are read,
    /// unless they were, and those Jobs themselves that were changed since they were made, which are few.
    ///
    /// Errors: the cluster cannot be asked.
    pub fn look_for_starts(
        &mut self,
        connection: &Connection<'_>,
        api: &Api<'_>,
    ) -> Result<Vec<(String, Starts)>, Error> {
        let ids: Vec<String> = distinct(self.job_ids.iter().map(String::as_str))
            .into_iter()
            .map(String::from)
            .collect();
        let open: Vec<&str> = ids
            .iter()
            .map(String::as_str)
            .filter(|id| self.has_started(id) && !self.jobs.contains_key(*id) && self.starts(id) == Starts::Once)
            .collect();
        let changed = match &self.changed {
            Some(changed) => changed.clone(),
            None if open.is_empty() => HashSet::new(),
            None => match api.list_job_names(&LabelSelector::Jobs(&open)) {
                Ok(names) => changed(&names),
                // A log must not fail because its reader may not look at Jobs.
                Err(failure) if failure.kind == FailureKind::Forbidden => HashSet::new(),
                Err(failure) => return Err(connection.error(api, &failure, "list jobs").meaning(UNTOUCHED)),
            },
        };
        let changed: Vec<&str> = open.into_iter().filter(|id| changed.contains(*id)).collect();
        if !changed.is_empty() {
            self.add_jobs(connection, api, &LabelSelector::Jobs(&changed))?;
        }
        Ok(self.known_starts())
    }

    /// How often the programs were started, for each job, as far as that was seen.
    pub fn known_starts(&self) -> Vec<(String, Starts)> {
        distinct(self.job_ids.iter().map(String::as_str))
            .into_iter()
            .map(|id| (id.to_string(), self.starts(id)))
            .collect()
    }

    fn empty(resource_version: String) -> Self {
        Self {
            job_ids: Vec::new(),
            pods: HashMap::new(),
            jobs: HashMap::new(),
            created: Vec::new(),
            changed: None,
            resource_version,
        }
    }

    fn of_pods(connection: &Connection<'_>, api: &Api<'_>, selection: &LabelSelector<'_>) -> Result<Self, Error> {
        let listed = api
            .list_pods(selection)
            .map_err(|failure| connection.error(api, &failure, "list pods").meaning(UNTOUCHED))?;
        let mut observation = Self::empty(listed.resource_version);
        for pod in listed.items {
            if connection.owner.is_none_or(|owner| owner.has(&pod.metadata, None)) {
                observation.put_pod(pod);
            }
        }
        Ok(observation)
    }

    fn add_jobs(
        &mut self,
        connection: &Connection<'_>,
        api: &Api<'_>,
        selection: &LabelSelector<'_>,
    ) -> Result<(), Error> {
        let listed = api
            .list_jobs(selection)
            .map_err(|failure| connection.error(api, &failure, "list jobs").meaning(UNTOUCHED))?;
        let is_meant = |job: &Job| {
            connection
                .owner
                .is_none_or(|owner| owner.has(&job.metadata, job_store::account(job)))
        };
        let jobs = listed.items.into_iter().filter(is_meant);
        self.jobs.extend(jobs.map(|job| (job.metadata.name.clone(), job)));
        Ok(())
    }

    /// Looks once more for the pods of those Jobs that have ended and have none: a Job that started and ended since the pods
    /// were listed still has its pod, and its log; and so has one from whose pod a rule of the cluster, or somebody, has taken
    /// abba's labels. They are asked for by name, or as a whole.
    pub fn look_again_for_pods(
        &mut self,
        connection: &Connection<'_>,
        api: &Api<'_>,
        whole: Option<&LabelSelector<'_>>,
    ) -> Result<(), Error> {
        let ended: Vec<String> = self
            .jobs
            .iter()
            .filter(|(id, job)| !self.pods.contains_key(*id) && job_status::of_job(job).status.is_final())
            .map(|(id, _)| id.clone())
            .collect();
        if ended.is_empty() {
            return Ok(());
        }
        if let Some(whole) = whole {
            for (id, pods) in Self::of_pods(connection, api, whole)?.pods {
                self.pods.entry(id).or_insert(pods);
            }
            return Ok(());
        }
        let ids: Vec<&str> = ended.iter().map(String::as_str).collect();
        let found = api
            .list_pods_of_jobs(&ids)
            .map_err(|failure| connection.error(api, &failure, "list pods").meaning(UNTOUCHED))?;
        for (id, pod) in found {
            // Of these Jobs it was looked at whose they are; a pod without abba's labels does not say so.
            if ids.contains(&id.as_str()) {
                self.pods.entry(id).or_default().push(pod);
            }
        }
        Ok(())
    }

    /// Notes a pod as it is now; a pod that belongs to no job of abba's is passed over.
    pub fn put_pod(&mut self, pod: impl Into<Box<Pod>>) {
        let pod = pod.into();
        let Some(id) = pod.job_id().map(String::from) else {
            return;
        };
        // Nearly every job has one pod, and room for more would be most of what ten thousand take.
        let pods = self.pods.entry(id).or_insert_with(|| Vec::with_capacity(1));
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
        match self.pods.get(job_id).and_then(|pods| newest(pods)) {
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

    /// The id of each job, in order, and of those of a batch when it was made, in seconds since 1970.
    pub fn ids_and_times(&self) -> Vec<(String, Option<i64>)> {
        let seconds = |at: usize| self.created.get(at).and_then(time::parse).map(|time| time.as_second());
        let there = self.job_ids.iter().enumerate().filter(|(_, id)| self.of(id).is_some());
        there.map(|(at, id)| (id.clone(), seconds(at))).collect()
    }

    /// The states, in order.
    pub fn statuses(&self) -> Vec<JobStatus> {
        self.each().map(|(_, observed)| observed.status()).collect()
    }
}

/// The names of those Jobs at which it is worth looking.
fn changed(names: &[Name]) -> HashSet<String> {
    let changed = names.iter().filter(|named| restarts::is_worth_a_look(named.generation));
    changed.map(|named| named.name.clone()).collect()
}

fn newest(pods: &[Box<Pod>]) -> Option<&Pod> {
    job_status::newest(pods.iter().map(AsRef::as_ref))
}

/// Does two things with the cluster at the same time.
pub(super) fn at_once<A: Send, B: Send>(
    connection: &Connection<'_>,
    api: &Api<'_>,
    one: impl Fn(&Connection<'_>, &Api<'_>) -> Result<A, Error> + Sync,
    other: impl Fn(&Connection<'_>, &Api<'_>) -> Result<B, Error> + Sync,
) -> Result<(A, B), Error> {
    let work = over(
        connection,
        api.namespace(),
        |is_one: &bool, connection, api| match is_one {
            true => one(connection, api).map(|value| (Some(value), None)),
            false => other(connection, api).map(|value| (None, Some(value))),
        },
    );
    let outcomes = parallel_map_unless_stopped(&[true, false], &connection.patience, work).map_err(super::stopped)?;
    let (mut a, mut b) = (None, None);
    for outcome in outcomes {
        let (one, other) = outcome?;
        a = a.or(one);
        b = b.or(other);
    }
    a.zip(b).ok_or_else(|| super::stopped(Stopped))
}

fn distinct<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = std::collections::HashSet::new();
    ids.filter(|id| seen.insert(*id)).collect()
}

/// Whether an error is one of [`not_found`] or [`no_batch`], and not a cluster's own word that something is missing, which
/// says nothing of the jobs.
pub(super) fn says_that_jobs_are_gone(error: &Error) -> bool {
    error.class == ErrorClass::NotFound && error.kubectl.is_none()
}

const WHERE_TO_LOOK: &str = "Check the id and the namespace: argument `namespace`, option `abba.k8s.namespace`.";

/// The error for jobs that are not there.
pub(super) fn not_found(missing: &[&str], namespace: &str) -> Error {
    let message = format!(
        "There {} {} in the namespace \"{namespace}\".",
        if missing.len() == 1 { "is no job" } else { "are no jobs" },
        name_some(missing)
    );
    let consequence = match missing.len() {
        1 => "It never existed there, or it was removed: Kubernetes removes a job some days after its end, usually seven.",
        _ => "They never existed there, or they were removed: Kubernetes removes a job some days after its end, usually seven.",
    };
    Error::new(ErrorClass::NotFound, message)
        .meaning(consequence)
        .advise(WHERE_TO_LOOK)
        .about(missing.iter().copied())
}

pub(super) fn no_batch(batch_id: &str, namespace: &str) -> Error {
    Error::new(
        ErrorClass::NotFound,
        format!("There is no batch \"{batch_id}\" in the namespace \"{namespace}\"."),
    )
    .meaning("It never existed there, or all its jobs were removed: Kubernetes removes a job some days after its end, usually seven.")
    .advise(WHERE_TO_LOOK)
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{ended, job, list, patient, pod, running, waiting, Scripted};
    use super::super::JobSelector;
    use super::*;
    use serde_json::json;

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

    fn observe(cluster: &Scripted, which: &JobSelector) -> Result<Observation, Error> {
        patient(cluster).observe(which).map(|(_, observation)| observation)
    }

    fn ids(observation: &Observation) -> Vec<&str> {
        observation.each().map(|(id, _)| id).collect()
    }

    #[test]
    fn jobs_stand_in_the_order_asked_for_also_twice() {
        let cluster = Scripted::new()
            .get("/pods", [list(7, [pod("a", 1, running()), pod("c", 1, ended(0))])])
            .get("/jobs", [list(1, [job("b", 1)])]);
        let which = JobSelector::Jobs(["c", "b", "a", "c"].map(String::from).to_vec());
        let observation = observe(&cluster, &which).unwrap();
        assert_eq!(ids(&observation), ["c", "b", "a", "c"]);
        assert_eq!(observation.resource_version, "7");
        // Jobs are asked for only where a pod is lacking.
        assert!(cluster.paths("/jobs")[0].ends_with("%28b%29"));
    }

    #[test]
    fn a_job_that_started_and_ended_between_two_lists_has_its_pod() {
        let mut complete = job("a", 1);
        complete["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        for which in [JobSelector::Jobs(vec!["a".into()]), JobSelector::Batch("b".into())] {
            let cluster = Scripted::new()
                .get("/pods", [list(7, []), list(9, [pod("a", 1, ended(0))])])
                .get("/jobs", [list(8, [complete.clone()])]);
            let observation = observe(&cluster, &which).unwrap();
            assert!(matches!(observation.of("a"), Some(Observed::Pod(_))), "{which:?}");
            // A watch begins where the pods were listed first.
            assert_eq!(observation.resource_version, "7");
            assert_eq!(cluster.paths("/pods").len(), 2);
        }
    }

    #[test]
    fn a_job_whose_pod_has_lost_abbas_labels_has_it_once_it_has_ended() {
        let mut complete = job("a", 1);
        complete["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        let mut unnamed = pod("a", 1, ended(0));
        unnamed["metadata"]["labels"] = json!({"job-name": "a"});
        let mut others = unnamed.clone();
        others["metadata"]["labels"] = json!({"job-name": "z"});
        let cluster = Scripted::new()
            .get("job-name", [list(9, [unnamed, others])])
            .get("/pods", [list(7, [])])
            .get("/jobs", [list(8, [complete])]);
        let observation = observe(&cluster, &JobSelector::Jobs(vec!["a".into()])).unwrap();
        assert!(matches!(observation.of("a"), Some(Observed::Pod(_))));
        assert_eq!(ids(&observation), ["a"]);
        assert!(
            cluster.paths("/pods")[1].ends_with("?labelSelector=job-name%20in%20%28a%29"),
            "{:?}",
            cluster.paths("/pods")
        );
    }

    #[test]
    fn jobs_that_are_not_there_are_all_named() {
        let cluster = Scripted::new()
            .get("/pods", [list(1, [pod("a", 1, running())])])
            .get("/jobs", [list(1, [job("b", 1)])]);
        let which = JobSelector::Jobs(["x", "a", "b", "y", "x"].map(String::from).to_vec());
        let error = observe(&cluster, &which).err().unwrap();
        assert_eq!(error.job_ids, ["x", "y"]);
    }

    #[test]
    fn a_batch_stands_in_the_order_of_its_creation_with_or_without_pods() {
        // a's pod was made anew: its first one counts.
        let mut again = pod("a", 9, running());
        again["metadata"]["name"] = serde_json::json!("a-p2");
        let cluster = Scripted::new()
            .get(
                "/pods",
                [list(1, [again, pod("c", 3, ended(0)), pod("a", 1, ended(1))])],
            )
            .get("%28", [list(1, [job("d", 4), job("b", 2)])])
            .get("/jobs", [list(1, [job("a", 1), job("d", 4), job("b", 2), job("c", 3)])]);
        let observation = observe(&cluster, &JobSelector::Batch("x".into())).unwrap();
        assert_eq!(ids(&observation), ["a", "b", "c", "d"]);
        assert_eq!(observation.pod_names("a").len(), 2);
        assert_eq!(observation.statuses()[0].id, "a-p2");
        // The pods, the names of the Jobs, and the Jobs that have no pod.
        assert_eq!(cluster.paths("").len(), 3);
        let asked = cluster.paths("%28").remove(0);
        assert!(
            asked.ends_with("%28b%2Cd%29") || asked.ends_with("%28d%2Cb%29"),
            "{asked}"
        );
    }

    #[test]
    fn of_a_batch_whose_jobs_all_have_pods_no_job_is_asked_for() {
        let cluster = Scripted::new()
            .get("/pods", [list(1, [pod("b", 2, running()), pod("a", 1, ended(0))])])
            .get("/jobs", [list(1, [job("a", 1), job("b", 2)])]);
        let observation = observe(&cluster, &JobSelector::Batch("x".into())).unwrap();
        assert_eq!(ids(&observation), ["a", "b"]);
        assert_eq!(cluster.paths("").len(), 2);
    }

    #[test]
    fn a_batch_of_which_only_succeeded_jobs_are_left_is_still_one() {
        let cluster = Scripted::new()
            .get("/pods", [list(1, [])])
            .get("/jobs", [list(1, [job("b", 2), job("a", 1)])]);
        assert_eq!(
            ids(&observe(&cluster, &JobSelector::Batch("x".into())).unwrap()),
            ["a", "b"]
        );
        let none = Scripted::new().get("/pods", [list(1, [])]).get("/jobs", [list(1, [])]);
        let error = observe(&none, &JobSelector::Batch("x".into())).err().unwrap();
        assert_eq!(error.class, ErrorClass::NotFound);
    }

    /// The Job of a program that was suspended and resumed, after `generation` - 1 changes.
    fn resumed(id: &str, generation: u64) -> serde_json::Value {
        let mut resumed = job(id, 1);
        resumed["metadata"]["generation"] = json!(generation);
        resumed["status"] = json!({"conditions": [{"type": "Suspended", "status": "False", "reason": "JobResumed"}]});
        resumed
    }

    #[test]
    fn only_those_jobs_are_looked_at_whose_metadata_tell_of_changes() {
        let of_ids = JobSelector::Jobs(["a", "b", "c", "a"].map(String::from).to_vec());
        for (which, requests) in [(of_ids, 3), (JobSelector::Batch("x".into()), 3)] {
            let metadata = [resumed("a", 3), resumed("b", 2), resumed("c", 3)];
            let cluster = Scripted::new()
                .get(
                    "/pods",
                    [list(
                        1,
                        [pod("a", 1, ended(0)), pod("b", 1, running()), pod("c", 1, waiting())],
                    )],
                )
                .get("/jobs", [list(1, metadata), list(1, [resumed("a", 3)])]);
            let connection = patient(&cluster);
            let (api, mut observation) = connection.observe(&which).unwrap();
            let starts = observation.look_for_starts(&connection, &api).unwrap();
            let expected = [("a", Starts::PerhapsAgain), ("b", Starts::Once), ("c", Starts::Once)];
            assert_eq!(starts, expected.map(|(id, starts)| (id.to_string(), starts)));
            let asked = cluster.paths("");
            assert_eq!(asked.len(), requests, "{asked:?}");
            // What has not started is not asked for.
            assert!(asked[2].ends_with("%28a%29"), "{asked:?}");
        }
    }

    #[test]
    fn of_a_job_with_two_pods_that_have_started_nothing_more_is_asked() {
        let mut second = pod("a", 9, running());
        second["metadata"]["name"] = json!("a-p2");
        let cluster = Scripted::new().get("/pods", [list(1, [pod("a", 1, ended(143)), second])]);
        let connection = patient(&cluster);
        let which = JobSelector::Jobs(vec!["a".into()]);
        let (api, mut observation) = connection.observe(&which).unwrap();
        let starts = observation.look_for_starts(&connection, &api).unwrap();
        assert_eq!(starts, [("a".to_string(), Starts::Again)]);
        assert_eq!(cluster.paths("").len(), 1);
    }

    #[test]
    fn a_pod_is_noted_as_it_is_now_and_a_new_job_once() {
        let cluster = Scripted::new().get("/pods", [list(1, [pod("a", 1, running())])]);
        let mut observation = observe(&cluster, &JobSelector::Jobs(vec!["a".into()])).unwrap();
        let seen = |value| serde_json::from_value::<Pod>(value).unwrap();
        observation.put_pod(seen(pod("a", 1, ended(0))));
        assert_eq!(observation.pod_names("a").len(), 1);
        assert!(observation.statuses()[0].status.is_final());
        for _ in 0..2 {
            let new = seen(pod("b", 2, running()));
            observation.add_job_of(&new);
            observation.put_pod(new);
        }
        assert_eq!(ids(&observation), ["a", "b"]);
        // A pod without a job of abba's.
        let foreign = seen(serde_json::json!({"metadata": {"name": "x"}}));
        observation.add_job_of(&foreign);
        observation.put_pod(foreign);
        assert_eq!(ids(&observation), ["a", "b"]);
    }
}
