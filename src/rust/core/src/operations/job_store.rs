//! All jobs of the namespace, as far as answers about them need it: what LISTs and watches show goes in, jobs come out.
//!
//! Of each Job and each pod that is kept which follows from it alone, some hundred bytes; what follows from both is put
//! together when it is asked for. Nothing here speaks to a cluster.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::observation::{at_once, UNTOUCHED};
use super::{Connection, JobSelector};
use crate::domain::diagnosis::{self, Diagnosis};
use crate::domain::job_record::{self, JobRecord};
use crate::domain::job_status::{self, JobStatus, Status};
use crate::domain::order::{self, Member, Order, Seen, Standing, Step};
use crate::domain::restarts::{self, Starts};
use crate::domain::usage::Usage;
use crate::domain::verdict::{self, Verdict};
use crate::error::Error;
use crate::kubernetes::api::{Reflected, ALL};
use crate::kubernetes::labels;
use crate::kubernetes::objects::{Job, Pod, PROGRAM_CONTAINER};
use crate::kubernetes::{Api, LabelSelector};
use crate::transport::Failure;

/// One job, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSnapshot {
    /// The job in one line.
    pub record: JobRecord,
    /// Its state, as of [`super::status`].
    pub status: JobStatus,
    /// While its pod has not started: why, as far as the pod itself says; of one that waits for others: for which.
    pub obstacle: Option<Diagnosis>,
    /// Whether it waits for others of its batch.
    pub waits: bool,
    /// The caller of the abba API to whom it belongs; `None`: it was not submitted by one.
    pub owner: Option<String>,
    /// The number of the account that it runs as; `None`: as its image says.
    pub uid: Option<u32>,
    /// The container image that was asked for.
    pub image: Option<String>,
    /// The fingerprint of its program, where its text was sent.
    pub sha256: Option<String>,
    /// How often its program was started.
    pub starts: Starts,
    /// Its newest pod, by the uid.
    pub pod_uid: Option<Uuid>,
    /// The verdict that needs no log.
    pub verdict: Option<Verdict>,
    /// What it takes up.
    pub usage: Usage,
}

/// How many jobs somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Those that have not ended.
    pub open: usize,
    /// All that the cluster keeps.
    pub kept: usize,
}

/// What is kept of a Job or a pod.
#[derive(Debug, PartialEq)]
pub enum Part {
    /// Of a Job.
    Job(Box<JobPart>),
    /// Of a pod of the job of this id.
    Pod(String, Box<PodPart>),
}

/// What follows from a Job alone.
#[derive(Debug, PartialEq)]
pub struct JobPart {
    /// The job as it is without a pod.
    record: JobRecord,
    path: Option<String>,
    owner: Option<String>,
    uid: Option<u32>,
    image: Option<String>,
    sha256: Option<String>,
    /// What it says of a program that has started.
    starts: Starts,
    is_cancelled: bool,
    usage: Usage,
    /// Its place in the order of its batch, where it has one.
    order: Option<Box<Order>>,
}

impl JobPart {
    fn waits(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.waits)
    }
}

/// What follows from a pod alone.
#[derive(Debug, PartialEq)]
pub struct PodPart {
    status: JobStatus,
    created: String,
    uid: Option<Uuid>,
    started: Option<String>,
    finished: Option<String>,
    exit_code: Option<i32>,
    reason: Option<String>,
    obstacle: Option<Diagnosis>,
    verdict: Option<Verdict>,
    has_started: bool,
    starts: restarts::Count,
    is_cancelled: bool,
    /// Whether somebody has asked for its deletion.
    is_going: bool,
    /// Whether another container lives on after the program has ended, so that the Job does not end.
    is_kept: bool,
}

/// A kind of object of which a part is kept.
pub trait Kept: Reflected {
    /// What is kept; `None`: it belongs to no job.
    fn part(self) -> Option<Part>;

    /// Puts all objects of this kind in the place of those that were known.
    fn replace(store: &mut JobStore, parts: Vec<Part>);
}

impl Kept for Job {
    fn part(self) -> Option<Part> {
        Some(Part::Job(Box::new(JobPart {
            record: job_record::of(&self, None),
            path: job_status::of_job(&self).path,
            owner: self.metadata.annotations.get(labels::OWNER).cloned(),
            uid: account(&self),
            image: image(&self),
            sha256: self.metadata.annotations.get(labels::PROGRAM_SHA256).cloned(),
            starts: restarts::of_job(&self),
            is_cancelled: job_status::is_cancelled(&self.metadata),
            usage: Usage::of_job(&self),
            order: Order::of_job(&self).map(Box::new),
        })))
    }

    fn replace(store: &mut JobStore, parts: Vec<Part>) {
        let there: HashSet<String> = parts.iter().map(|part| part.job_id().to_string()).collect();
        let gone: Vec<Arc<str>> = store
            .entries
            .iter()
            .filter(|(id, entry)| entry.job.is_some() && !there.contains(&***id))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        gone.iter().for_each(|id| store.remove_job(id));
        parts.into_iter().for_each(|part| store.put(part));
    }
}

/// The number of the account that a job's program runs as.
pub(super) fn account(job: &Job) -> Option<u32> {
    job.spec.template.spec.security_context.as_ref()?.run_as_user
}

fn image(job: &Job) -> Option<String> {
    let containers = &job.spec.template.spec.containers;
    let program = containers.iter().find(|container| container.name == PROGRAM_CONTAINER);
    program.map(|container| container.image.clone())
}

impl Kept for Pod {
    fn part(self) -> Option<Part> {
        let job_id = self.job_id()?.to_string();
        // Of a job that has a pod all of this is the pod's.
        let record = job_record::of(&Job::default(), Some(&self));
        let status = job_status::of_pod(&self);
        Some(Part::Pod(
            job_id,
            Box::new(PodPart {
                obstacle: (status.status == Status::Pending).then(|| diagnosis::of_unstarted_pod(&self, &[])),
                started: record.started,
                finished: record.finished,
                exit_code: record.exit_code,
                reason: record.reason,
                verdict: verdict::of_failed(&self),
                has_started: self.has_started(),
                starts: restarts::starts_in(&self),
                is_cancelled: job_status::is_cancelled(&self.metadata),
                is_going: self.metadata.deletion_timestamp.is_some(),
                is_kept: self.kept_by().is_some(),
                created: self.metadata.creation_timestamp,
                uid: self.metadata.uid,
                status,
            }),
        ))
    }

    fn replace(store: &mut JobStore, parts: Vec<Part>) {
        let there: HashSet<String> = parts
            .iter()
            .filter_map(|part| part.pod_name().map(String::from))
            .collect();
        let gone: Vec<(Arc<str>, String)> = store
            .entries
            .iter()
            .flat_map(|(id, entry)| entry.pods.iter().map(move |pod| (id, &pod.status.id)))
            .filter(|(_, pod)| !there.contains(*pod))
            .map(|(id, pod)| (Arc::clone(id), pod.clone()))
            .collect();
        gone.iter().for_each(|(id, pod)| store.remove_pod(id, pod));
        parts.into_iter().for_each(|part| store.put(part));
    }
}

impl Part {
    /// The job that it is of.
    pub fn job_id(&self) -> &str {
        match self {
            Self::Job(job) => &job.record.job_id,
            Self::Pod(job_id, _) => job_id,
        }
    }

    fn pod_name(&self) -> Option<&str> {
        match self {
            Self::Job(_) => None,
            Self::Pod(_, pod) => Some(&pod.status.id),
        }
    }
}

/// The parts of all objects of a kind, by a LIST, and its moment.
pub(super) fn list_parts<T: Kept>(
    api: &Api<'_>,
    selection: &LabelSelector<'_>,
) -> Result<(Vec<Part>, String), Failure> {
    let parts = RefCell::new(Vec::new());
    let moment = api.list_in_pages::<T>(selection, &mut || parts.borrow_mut().clear(), &mut |page| {
        parts.borrow_mut().extend(page.into_iter().filter_map(T::part));
    })?;
    Ok((parts.into_inner(), moment))
}

fn parts<T: Kept>(connection: &Connection<'_>, api: &Api<'_>) -> Result<Vec<Part>, Error> {
    let listed = list_parts::<T>(api, &ALL).map_err(|failure| {
        let doing = format!("list {}", T::NAME);
        connection.error(api, &failure, &doing).meaning(UNTOUCHED)
    })?;
    Ok(listed.0)
}

/// All jobs that are known.
#[derive(Debug, Default)]
pub struct JobStore {
    entries: HashMap<Arc<str>, Box<Entry>>,
    owners: Index,
    batches: Index,
    /// The jobs that wait for others, by their batch.
    waiting: Index,
    /// The batches of such jobs of which something has changed since their steps were taken.
    touched: HashSet<Box<str>>,
    /// The jobs that were removed of late, oldest first.
    gone: VecDeque<(Instant, Box<str>)>,
    /// How often something has changed.
    version: u64,
}

/// For so long it is remembered that a job is gone.
const REMEMBERED: Duration = Duration::from_secs(120);

/// The jobs of an owner, or a batch, by its name.
type Index = HashMap<Box<str>, HashSet<Arc<str>>>;

#[derive(Debug, Default)]
struct Entry {
    /// `None`: there are pods of a Job that has not been seen yet, or is gone.
    job: Option<Box<JobPart>>,
    #[allow(clippy::vec_box)]
    pods: Vec<Box<PodPart>>,
    /// The store's version at its last change.
    version: u64,
}

impl Entry {
    /// The pod that speaks for the job, as [`job_status::newest`] has it.
    fn newest(&self) -> Option<&PodPart> {
        let newest = self
            .pods
            .iter()
            .max_by(|a, b| (&a.created, &a.status.id).cmp(&(&b.created, &b.status.id)));
        newest.map(AsRef::as_ref)
    }

    fn status(&self) -> Option<Status> {
        let job = self.job.as_ref()?;
        Some(self.newest().map_or(job.record.status, |pod| pod.status.status))
    }

    /// Whether its pod has failed, and its Job has not yet, see [`Self::lasting_status`].
    fn is_failing(&self) -> bool {
        let failed = self
            .newest()
            .filter(|pod| pod.status.status == Status::Failed && !pod.is_going);
        failed.is_some() && self.lasting_status() == Status::Running
    }

    /// The state that those that wait for the job go by: as long as its Job has not ended, it may run again. So it does where a
    /// queue has taken it back for a program that goes first, whose pod has failed for a moment then. A success is believed a
    /// second before the Job has it, unless its pod is being taken away; a failure, too, where another container lives on, for
    /// which the Job waits.
    fn lasting_status(&self) -> Status {
        let Some(job) = self.job.as_ref() else {
            return Status::Pending;
        };
        // One that is older than the Job is what an earlier Job of this id has left.
        let pod = self.newest().filter(|pod| pod.created >= job.record.submitted);
        match pod.map(|pod| pod.status.status) {
            None => job.record.status,
            Some(status) if job.record.status.has_ended() => status,
            Some(Status::Succeeded) if pod.is_some_and(|pod| !pod.is_going) => Status::Succeeded,
            Some(Status::Failed) if pod.is_some_and(|pod| !pod.is_going && pod.is_kept) => Status::Failed,
            Some(Status::Succeeded | Status::Failed) => Status::Running,
            Some(status) => status,
        }
    }

    fn snapshot(&self) -> Option<JobSnapshot> {
        let job = self.job.as_ref()?;
        let pod = self.newest();
        // A program whose pod is gone has run, if its Job says that it succeeded.
        let has_started = pod.map_or(job.record.status == Status::Succeeded, |pod| pod.has_started);
        let of_job = if has_started { job.starts } else { Starts::Once };
        let mut record = job.record.clone();
        if let Some(pod) = pod {
            record.status = pod.status.status;
            record.started.clone_from(&pod.started);
            record.finished.clone_from(&pod.finished);
            record.exit_code = pod.exit_code;
            record.reason.clone_from(&pod.reason);
        }
        Some(JobSnapshot {
            status: match pod {
                Some(pod) => pod.status.clone(),
                None => JobStatus {
                    id: record.job_id.clone(),
                    path: job.path.clone(),
                    status: record.status,
                },
            },
            obstacle: pod.and_then(|pod| pod.obstacle.clone()),
            waits: false,
            owner: job.owner.clone(),
            uid: job.uid,
            image: job.image.clone(),
            sha256: job.sha256.clone(),
            starts: restarts::of_count(self.pods.iter().map(|pod| pod.starts).sum()).max(of_job),
            pod_uid: pod.and_then(|pod| pod.uid),
            verdict: pod.and_then(|pod| pod.verdict),
            usage: job.usage,
            record,
        })
    }
}

impl JobStore {
    /// All jobs of abba in the namespace: one LIST of pods and one of Jobs, however many they are.
    ///
    /// Errors: the cluster cannot be asked.
    pub fn listed(connection: &Connection<'_>) -> Result<Self, Error> {
        let api = connection.api()?;
        let (jobs, pods) = at_once(connection, &api, parts::<Job>, parts::<Pod>)?;
        let mut store = Self::default();
        jobs.into_iter().chain(pods).for_each(|part| store.put(part));
        Ok(store)
    }

    /// How often something has changed so far.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Takes a Job or a pod as it is now.
    pub fn put(&mut self, part: Part) {
        let id: Arc<str> = match self.entries.get_key_value(part.job_id()) {
            Some((id, _)) => Arc::clone(id),
            None => part.job_id().into(),
        };
        let entry = self.entries.entry(Arc::clone(&id)).or_default();
        match part {
            Part::Job(job) => {
                if entry.job.as_ref() == Some(&job) {
                    return;
                }
                let (owner, batch) = (job.owner.clone(), job.record.batch_id.clone());
                let waits = job.waits();
                if let Some(old) = entry.job.replace(job) {
                    unlist(&mut self.waiting, Some(&old.record.batch_id), &id);
                    unlist(&mut self.owners, old.owner.as_deref(), &id);
                    unlist(&mut self.batches, Some(&old.record.batch_id), &id);
                }
                list(&mut self.owners, owner.as_deref(), &id);
                list(&mut self.batches, Some(&batch), &id);
                list(&mut self.waiting, waits.then_some(&*batch), &id);
            }
            Part::Pod(_, pod) => {
                match entry.pods.iter_mut().find(|known| known.status.id == pod.status.id) {
                    Some(known) if *known == pod => return,
                    Some(known) => *known = pod,
                    None => {
                        // Nearly every job has one.
                        entry.pods.reserve_exact(1);
                        entry.pods.push(pod);
                    }
                }
            }
        }
        self.version += 1;
        entry.version = self.version;
        self.touch_batch_of(&id);
    }

    /// Forgets a Job or a pod that is gone.
    pub fn remove(&mut self, part: &Part) {
        match part {
            Part::Job(job) => self.remove_job(&job.record.job_id),
            Part::Pod(job_id, pod) => self.remove_pod(job_id, &pod.status.id),
        }
    }

    fn remove_job(&mut self, id: &str) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if let Some(old) = entry.job.take() {
            unlist(&mut self.owners, old.owner.as_deref(), id);
            unlist(&mut self.batches, Some(&old.record.batch_id), id);
            unlist(&mut self.waiting, Some(&old.record.batch_id), id);
            while self.gone.front().is_some_and(|(when, _)| when.elapsed() > REMEMBERED) {
                self.gone.pop_front();
            }
            self.gone.push_back((Instant::now(), id.into()));
            self.note_removal(id);
        }
    }

    fn remove_pod(&mut self, id: &str, pod: &str) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let before = entry.pods.len();
        entry.pods.retain(|known| known.status.id != pod);
        if entry.pods.len() < before {
            self.note_removal(id);
            // What its Job says counts now.
            self.touch_batch_of(id);
        }
    }

    fn note_removal(&mut self, id: &str) {
        self.version += 1;
        match self.entries.get_mut(id) {
            Some(entry) if entry.job.is_some() || !entry.pods.is_empty() => entry.version = self.version,
            _ => {
                self.entries.remove(id);
            }
        }
    }

    /// Notes that something of a job's batch has changed, where others of it wait, or that one of its steps could not be made:
    /// [`Self::take_steps`] looks at it then.
    pub(super) fn touch_batch_of(&mut self, id: &str) {
        let job = self.entries.get(id).and_then(|entry| entry.job.as_ref());
        if let Some(job) = job.filter(|job| self.waiting.contains_key(&*job.record.batch_id)) {
            if !self.touched.contains(&*job.record.batch_id) {
                self.touched.insert(job.record.batch_id.as_str().into());
            }
        }
    }

    /// Whether [`Self::take_steps`] has to look at a batch.
    pub fn has_steps(&self) -> bool {
        !self.touched.is_empty()
    }

    /// What is to be done about jobs that wait, of those batches of which something has changed since this was asked last.
    pub fn take_steps(&mut self) -> Vec<(String, Step)> {
        let touched = std::mem::take(&mut self.touched);
        touched
            .iter()
            .flat_map(|batch_id| self.steps_of_batch(batch_id))
            .collect()
    }

    fn steps_of_batch(&self, batch_id: &str) -> Vec<(String, Step)> {
        let mut of_owners: HashMap<Option<&str>, Vec<Member<'_>>> = HashMap::new();
        for (job, entry) in self
            .entries_in(&self.batches, batch_id)
            .filter_map(|entry| Some((entry.job.as_ref()?, entry)))
        {
            let status = entry.lasting_status();
            let is_cancelled = job.is_cancelled || entry.pods.iter().any(|pod| pod.is_cancelled);
            let order = job.order.as_deref();
            let job_id = job.record.job_id.as_str();
            of_owners.entry(job.owner.as_deref()).or_default().push(Member {
                job_id,
                standing: match entry.is_failing() {
                    true => Standing::Failing,
                    false => Standing::new(job_id, &job.record.program, status, is_cancelled, order),
                },
                waiting: order.filter(|order| order.waits),
            });
        }
        let steps = of_owners.values().flat_map(|members| order::steps(members));
        steps.map(|(id, step)| (id.to_string(), step)).collect()
    }

    /// Notes that a step was made with a job, by whomever, before the cluster says so.
    pub fn note_step(&mut self, id: &str, step: &Step) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let Some(job) = entry.job.as_mut() else {
            return;
        };
        if let Some(order) = &mut job.order {
            order.waits = false;
            if let Step::NotStart(cause) = step {
                order.not_started.get_or_insert_with(|| cause.clone());
            }
        }
        let batch_id = job.record.batch_id.clone();
        unlist(&mut self.waiting, Some(&batch_id), id);
    }

    /// Whether a job has ended that has no pod.
    pub(super) fn has_ended_without_pod(&self, id: &str) -> bool {
        self.entries.get(id).is_some_and(|entry| {
            let is_over = |job: &JobPart| job.record.status.is_final();
            entry.pods.is_empty() && entry.job.as_ref().is_some_and(|job| is_over(job))
        })
    }

    /// The states of the jobs that have ended, with their ids, of those of which something has changed after a version.
    pub fn ended_since(&self, version: u64) -> Vec<(String, JobStatus)> {
        let changed = self.entries.iter().filter(|(_, entry)| entry.version > version);
        let ended = changed.filter(|(_, entry)| entry.status().is_some_and(Status::has_ended));
        ended
            .filter_map(|(id, entry)| Some((id.to_string(), entry.snapshot()?.status)))
            .collect()
    }

    /// The jobs whose programs run, each with its pod.
    pub fn running(&self) -> Vec<(String, String)> {
        let running = self.entries.iter().filter(|(_, entry)| entry.job.is_some());
        running
            .filter_map(|(id, entry)| {
                let pod = entry.newest().filter(|pod| pod.status.status == Status::Running)?;
                Some((id.to_string(), pod.status.id.clone()))
            })
            .collect()
    }

    /// How many jobs wait for others.
    pub fn count_waiting(&self) -> usize {
        self.waiting.values().map(HashSet::len).sum()
    }

    /// The name of a job's program; empty where it is not known.
    pub fn program_name(&self, id: &str) -> String {
        let job = self.entries.get(id).and_then(|entry| entry.job.as_ref());
        job.map(|job| order::program_name(&job.record.program))
            .unwrap_or_default()
    }

    /// A job.
    pub fn job(&self, id: &str) -> Option<JobSnapshot> {
        self.snapshot(self.entries.get(id)?)
    }

    /// A job, with what it waits for.
    fn snapshot(&self, entry: &Entry) -> Option<JobSnapshot> {
        let mut snapshot = entry.snapshot()?;
        let job = entry.job.as_ref()?;
        if let Some(order) = job
            .order
            .as_deref()
            .filter(|order| order.waits && entry.pods.is_empty())
        {
            let why = order::waiting(order, |id| {
                // One that is not there may be on its way.
                let status = self.entries.get(id).and_then(|before| before.status());
                status.map_or(Seen::NotKnown, Seen::Is)
            });
            // It has ended where it was cancelled.
            if !snapshot.record.status.is_final() {
                snapshot.record.reason = Some(why.what.clone());
                snapshot.obstacle = Some(why);
                snapshot.waits = true;
            }
        }
        Some(snapshot)
    }

    /// Whether there is such a job.
    pub fn contains(&self, id: &str) -> bool {
        self.entries.get(id).is_some_and(|entry| entry.job.is_some())
    }

    /// Whether there was such a job a moment ago, and is none any more.
    pub fn is_gone(&self, id: &str) -> bool {
        !self.contains(id) && self.gone.iter().any(|(_, gone)| **gone == *id)
    }

    /// Whether a job was cancelled, has ended, or is not there.
    pub fn is_cancelled_or_over(&self, id: &str) -> bool {
        let Some(entry) = self.entries.get(id) else {
            return true;
        };
        let Some(job) = &entry.job else {
            return true;
        };
        job.is_cancelled
            || entry.pods.iter().any(|pod| pod.is_cancelled)
            || entry.status().is_some_and(Status::is_final)
    }

    /// All jobs.
    pub fn jobs(&self) -> impl Iterator<Item = JobSnapshot> + '_ {
        self.entries.values().filter_map(|entry| self.snapshot(entry))
    }

    /// The jobs of an owner.
    pub fn of_owner<'a>(&'a self, owner: &str) -> impl Iterator<Item = JobSnapshot> + 'a {
        self.entries_in(&self.owners, owner)
            .filter_map(|entry| self.snapshot(entry))
    }

    /// The jobs of a batch, whoever has them.
    pub fn of_batch<'a>(&'a self, batch_id: &str) -> impl Iterator<Item = JobSnapshot> + 'a {
        self.entries_in(&self.batches, batch_id)
            .filter_map(|entry| self.snapshot(entry))
    }

    fn entries_in<'a>(&'a self, index: &'a Index, name: &str) -> impl Iterator<Item = &'a Entry> {
        let ids = index.get(name).into_iter().flatten();
        ids.filter_map(|id| self.entries.get(id)).map(AsRef::as_ref)
    }

    /// How many jobs an owner has.
    pub fn counts_of(&self, owner: &str) -> JobCounts {
        counts(self.entries_in(&self.owners, owner))
    }

    /// How many jobs there are.
    pub fn counts(&self) -> JobCounts {
        counts(self.entries.values().map(AsRef::as_ref))
    }

    /// The ids of all jobs.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(AsRef::as_ref)
    }

    /// Something that differs after each change of the jobs that are meant.
    pub fn stand(&self, which: &JobSelector) -> (u64, usize) {
        let of = |entries: &mut dyn Iterator<Item = &Entry>| {
            entries.fold((0, 0), |(version, count), entry| {
                (entry.version.max(version), count + 1)
            })
        };
        match which {
            JobSelector::Jobs(ids) => of(&mut ids
                .iter()
                .filter_map(|id| self.entries.get(id.as_str()))
                .map(AsRef::as_ref)),
            JobSelector::Batch(batch_id) => of(&mut self.entries_in(&self.batches, batch_id)),
        }
    }
}

fn counts<'a>(entries: impl Iterator<Item = &'a Entry>) -> JobCounts {
    entries.fold(JobCounts::default(), |sum, entry| match (&entry.job, entry.status()) {
        (Some(_), Some(status)) => JobCounts {
            open: sum.open + usize::from(matches!(status, Status::Pending | Status::Running | Status::Unknown)),
            kept: sum.kept + 1,
        },
        _ => sum,
    })
}

fn list(index: &mut Index, name: Option<&str>, id: &Arc<str>) {
    if let Some(name) = name {
        match index.get_mut(name) {
            Some(ids) => ids.insert(Arc::clone(id)),
            None => index.entry(name.into()).or_default().insert(Arc::clone(id)),
        };
    }
}

fn unlist(index: &mut Index, name: Option<&str>, id: &str) {
    let Some(name) = name else {
        return;
    };
    if let Some(ids) = index.get_mut(name) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(name);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use serde_json::{json, Value};

    use super::super::scripted::{ended, job, pod, running, waiting};
    use super::*;
    use crate::domain::order::OnFailure;
    use crate::fuzz::{fuzz, Rng};

    /// The objects of a cluster by their names: what a store is compared with.
    #[derive(Debug, Default)]
    pub struct Objects {
        pub jobs: BTreeMap<String, Value>,
        pub pods: BTreeMap<String, Value>,
    }

    impl Objects {
        /// The jobs as they follow from all objects at once.
        pub fn snapshots(&self) -> Vec<JobSnapshot> {
            let pods: Vec<Pod> = self.pods.values().map(read).collect();
            let jobs = self.jobs.values().map(|job| {
                let job: Job = read(job);
                let own = || pods.iter().filter(|pod| pod.job_id() == Some(&job.metadata.name));
                let newest = job_status::newest(own());
                let status = newest.map_or_else(|| job_status::of_job(&job), job_status::of_pod);
                let started = newest.map_or(status.status == Status::Succeeded, Pod::has_started);
                JobSnapshot {
                    record: job_record::of(&job, newest),
                    waits: false,
                    obstacle: newest
                        .filter(|_| status.status == Status::Pending)
                        .map(|pod| diagnosis::of_unstarted_pod(pod, &[])),
                    status,
                    owner: job.metadata.annotations.get(labels::OWNER).cloned(),
                    uid: account(&job),
                    image: image(&job),
                    sha256: job.metadata.annotations.get(labels::PROGRAM_SHA256).cloned(),
                    starts: restarts::of_pods(own()).max(match started {
                        true => restarts::of_job(&job),
                        false => Starts::Once,
                    }),
                    pod_uid: newest.and_then(|pod| pod.metadata.uid),
                    verdict: newest.and_then(verdict::of_failed),
                    usage: Usage::of_job(&job),
                }
            });
            jobs.collect()
        }

        /// Changes something: the kind, the event's type and the object of the change.
        pub fn change(&mut self, rng: &mut Rng) -> (&'static str, &'static str, Value) {
            let id = format!("j{}", rng.u8(..6));
            let is_job = rng.bool();
            let name = if is_job {
                id.clone()
            } else {
                format!("{id}-p{}", rng.u8(..2))
            };
            let (kind, objects) = match is_job {
                true => ("jobs", &mut self.jobs),
                false => ("pods", &mut self.pods),
            };
            if rng.u8(..4) == 0 {
                if let Some(gone) = objects.remove(&name) {
                    return (kind, "DELETED", gone);
                }
            }
            let object = if is_job {
                any_job(&id, rng)
            } else {
                any_pod(&id, &name, rng)
            };
            match objects.insert(name, object.clone()) {
                Some(_) => (kind, "MODIFIED", object),
                None => (kind, "ADDED", object),
            }
        }
    }

    fn any_job(id: &str, rng: &mut Rng) -> Value {
        let mut job = job(id, rng.u32(..60));
        job["metadata"]["generation"] = rng.u8(1..4).into();
        job["metadata"]["labels"]["abba/batch-id"] = ["b", "c"][rng.usize(..2)].into();
        if rng.bool() {
            job["metadata"]["annotations"]["abba/owner"] = ["anna", "mike"][rng.usize(..2)].into();
        }
        if rng.u8(..4) == 0 {
            job["metadata"]["annotations"]["abba/cancelled-by"] = "mike".into();
        }
        let condition = ["Complete", "Failed", "Suspended", "Other"][rng.usize(..4)];
        let status = ["True", "False"][rng.usize(..2)];
        job["status"] = json!({"conditions": [{"type": condition, "status": status, "reason": "JobResumed"}]});
        job["metadata"]["annotations"]["abba/program-bytes"] = rng.u8(..9).to_string().into();
        job
    }

    fn any_pod(id: &str, name: &str, rng: &mut Rng) -> Value {
        let state = match rng.u8(..4) {
            0 => running(),
            1 => waiting(),
            code => ended(i32::from(code) - 2),
        };
        let mut pod = pod(id, rng.u32(..60), state);
        pod["metadata"]["name"] = name.into();
        pod["status"]["phase"] = ["", "Pending", "Failed", "Unknown"][rng.usize(..4)].into();
        pod["metadata"]["uid"] = format!("00000000-0000-0000-0000-0000000000{:02}", rng.u8(..90) + 10).into();
        pod["status"]["containerStatuses"][0]["restartCount"] = rng.u8(..2).into();
        pod
    }

    fn read<T: serde::de::DeserializeOwned>(object: &Value) -> T {
        serde_json::from_value(object.clone()).unwrap()
    }

    pub fn read_parts<'a, T: Kept>(objects: impl IntoIterator<Item = &'a Value>) -> Vec<Part> {
        objects
            .into_iter()
            .filter_map(|object| read::<T>(object).part())
            .collect()
    }

    pub fn sorted(jobs: impl Iterator<Item = JobSnapshot>) -> Vec<JobSnapshot> {
        let mut jobs: Vec<JobSnapshot> = jobs.collect();
        jobs.sort_by(|a, b| a.record.job_id.cmp(&b.record.job_id));
        jobs
    }

    fn check(store: &JobStore, objects: &Objects) {
        let jobs = objects.snapshots();
        assert_eq!(sorted(store.jobs()), jobs);
        for job in &jobs {
            assert_eq!(store.job(&job.record.job_id).as_ref(), Some(job));
            assert!(store.contains(&job.record.job_id));
        }
        for owner in ["anna", "mike", "nobody"] {
            let own: Vec<JobSnapshot> = jobs
                .iter()
                .filter(|job| job.owner.as_deref() == Some(owner))
                .cloned()
                .collect();
            let is_open = |job: &&JobSnapshot| !matches!(job.status.status, Status::Succeeded | Status::Failed);
            let expected = JobCounts {
                open: own.iter().filter(is_open).count(),
                kept: own.len(),
            };
            assert_eq!(store.counts_of(owner), expected);
            assert_eq!(sorted(store.of_owner(owner)), own);
        }
        for batch in ["b", "c", "d"] {
            let own: Vec<JobSnapshot> = jobs
                .iter()
                .filter(|job| job.record.batch_id == batch)
                .cloned()
                .collect();
            assert_eq!(sorted(store.of_batch(batch)), own);
        }
        assert_eq!(store.counts().kept, jobs.len());
    }

    #[test]
    fn in_whatever_order_objects_come_and_go_the_jobs_are_those_of_all_objects_at_once() {
        fuzz(100, &[""], |_, rng| {
            let (mut objects, mut store) = (Objects::default(), JobStore::default());
            for _ in 0..40 {
                let before = store.version();
                let (kind, event, object) = objects.change(rng);
                let part = match kind {
                    "jobs" => read_parts::<Job>([&object]).remove(0),
                    _ => read_parts::<Pod>([&object]).remove(0),
                };
                match event {
                    "DELETED" => store.remove(&part),
                    _ => store.put(part),
                }
                check(&store, &objects);
                // Seen once more it is nothing new.
                let after = store.version();
                assert!(event == "MODIFIED" || after > before);
                match (event, kind) {
                    ("DELETED", _) => {}
                    (_, "jobs") => store.put(read_parts::<Job>([&object]).remove(0)),
                    _ => store.put(read_parts::<Pod>([&object]).remove(0)),
                }
                assert_eq!(store.version(), after);
                // A LIST makes good whatever was missed.
                if rng.u8(..8) == 0 {
                    for _ in 0..rng.u8(..4) {
                        objects.change(rng);
                    }
                    Pod::replace(&mut store, read_parts::<Pod>(objects.pods.values()));
                    Job::replace(&mut store, read_parts::<Job>(objects.jobs.values()));
                    check(&store, &objects);
                }
            }
            objects.jobs.clear();
            Job::replace(&mut store, Vec::new());
            check(&store, &objects);
            Pod::replace(&mut store, Vec::new());
            assert_eq!(
                (store.entries.len(), store.owners.len(), store.batches.len()),
                (0, 0, 0)
            );
        });
    }

    #[test]
    fn those_that_wait_go_by_the_states_that_last() {
        let condition = |kind: &str| json!({"conditions": [{"type": kind, "status": "True"}]});
        let steps_with = |on_failure, pod_now: &[Value], job_status: Value| {
            let (mut a, mut b) = (job("a", 2), job("b", 2));
            a["status"] = job_status;
            b["spec"] = json!({});
            order::have_wait(&mut b, &[("a".to_string(), "a".to_string())].into(), on_failure);
            let mut store = JobStore::default();
            let jobs = read_parts::<Job>([&a, &b, &job("x", 2)]);
            jobs.into_iter()
                .chain(read_parts::<Pod>(pod_now))
                .for_each(|part| store.put(part));
            store.take_steps().pop().map(|(_, step)| step == Step::Release)
        };
        let steps = |pod_now, job_status| steps_with(OnFailure::Continue, &[pod_now], job_status);
        assert_eq!(steps(pod("a", 3, ended(0)), json!({})), Some(true));
        assert_eq!(steps(pod("a", 3, ended(1)), condition("Failed")), Some(false));
        // A queue has taken it back, or a second attempt comes.
        assert_eq!(steps(pod("a", 3, ended(143)), json!({})), None);
        assert_eq!(steps(pod("a", 3, ended(143)), condition("Suspended")), None);
        let going = |exit_code| {
            let mut pod = pod("a", 3, ended(exit_code));
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:09Z");
            pod
        };
        assert_eq!(steps(going(0), json!({})), None);
        assert_eq!(steps(going(0), condition("Complete")), Some(true));
        assert_eq!(steps(going(143), condition("Failed")), Some(false));
        let mut kept = pod("a", 3, ended(1));
        let beside = json!({"name": "mesh", "state": running()});
        kept["status"]["containerStatuses"].as_array_mut().unwrap().push(beside);
        assert_eq!(steps(kept, json!({})), Some(false));
        // Where nothing is to start after a failure, one that may be none yet is waited for.
        let with_failing = [pod("a", 3, ended(0)), pod("x", 3, ended(1))];
        assert_eq!(steps_with(OnFailure::Stop, &with_failing, json!({})), None);
        assert_eq!(steps_with(OnFailure::Continue, &with_failing, json!({})), Some(true));
        // Of an earlier Job of this id.
        assert_eq!(steps(pod("a", 1, ended(0)), json!({})), None);
    }

    #[test]
    fn a_job_that_is_gone_is_told_from_one_that_was_never_there() {
        let mut store = JobStore::default();
        let job = any_job("a-1", &mut Rng::with_seed(1));
        let part = || read_parts::<Job>([&job]).remove(0);
        assert!(!store.is_gone("a-1"));
        store.put(part());
        assert!(!store.is_gone("a-1"));
        store.remove(&part());
        assert!(store.is_gone("a-1") && !store.is_gone("a-2"));
        store.put(part());
        assert!(!store.is_gone("a-1"));
        Job::replace(&mut store, Vec::new());
        assert!(store.is_gone("a-1"));
    }

    #[test]
    fn a_change_of_some_jobs_changes_their_stand_alone() {
        let mut store = JobStore::default();
        for id in ["a", "b"] {
            store.put(read_parts::<Job>([&job(id, 1)]).remove(0));
        }
        let jobs = |id: &str| JobSelector::Jobs(vec![id.into()]);
        let batch = JobSelector::Batch("b".into());
        let before = (store.stand(&jobs("a")), store.stand(&jobs("b")), store.stand(&batch));
        store.put(read_parts::<Pod>([&pod("a", 1, running())]).remove(0));
        let after = (store.stand(&jobs("a")), store.stand(&jobs("b")), store.stand(&batch));
        assert!(before.0 != after.0 && before.1 == after.1 && before.2 != after.2);
        store.remove(&read_parts::<Job>([&job("b", 1)]).remove(0));
        assert!(store.stand(&jobs("b")) != after.1 && store.stand(&batch) != after.2);
    }
}
