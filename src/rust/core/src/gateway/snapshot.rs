//! What was seen of all jobs a moment ago.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::caller::Caller;
use super::holdings::Holdings;
use crate::domain::job_status::Status;
use crate::error::name_some;
use crate::operations::{list_all, Connection, JobSnapshot};
use crate::{Error, ErrorClass};

/// All jobs of the namespace at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The oldest first.
    jobs: Vec<JobSnapshot>,
    places: HashMap<String, usize>,
}

impl Snapshot {
    fn new(jobs: Vec<JobSnapshot>) -> Self {
        let places = jobs
            .iter()
            .enumerate()
            .map(|(place, job)| (job.record.job_id.clone(), place))
            .collect();
        Self { jobs, places }
    }

    /// The jobs with these ids, in their order, if the caller may see all of them.
    ///
    /// Errors: the caller may not see one, or there is none; which of the two is not said.
    pub fn jobs<'a>(&'a self, caller: &Caller, ids: &[String]) -> Result<Vec<&'a JobSnapshot>, Error> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            match self.places.get(id).map(|place| &self.jobs[*place]) {
                Some(job) if may_see(caller, job) => found.push(job),
                _ => missing.push(id.clone()),
            }
        }
        match missing.is_empty() {
            true => Ok(found),
            false => Err(no_jobs(missing)),
        }
    }

    /// The caller's jobs of a batch, the oldest first.
    ///
    /// Errors: there are none.
    pub fn batch<'a>(&'a self, caller: &'a Caller, batch_id: &str) -> Result<Vec<&'a JobSnapshot>, Error> {
        let found: Vec<&JobSnapshot> = self
            .seen_by(caller)
            .filter(|job| job.record.batch_id == batch_id)
            .collect();
        match found.is_empty() {
            true => Err(no_batch(batch_id)),
            false => Ok(found),
        }
    }

    /// All that the caller may see, the oldest first.
    pub fn seen_by<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a JobSnapshot> {
        self.jobs.iter().filter(|job| may_see(caller, job))
    }

    /// How many jobs of a caller's own have not ended.
    fn open_jobs(&self, name: &str) -> usize {
        self.own(name).filter(|job| is_open(job)).count()
    }

    /// What a caller's own jobs take up.
    pub fn holdings(&self, name: &str) -> Holdings {
        let mut holdings = Holdings::default();
        for job in self.own(name) {
            holdings.add(&job.usage, is_open(job));
        }
        holdings
    }

    /// Whether a job is in it.
    pub fn has(&self, job_id: &str) -> bool {
        self.places.contains_key(job_id)
    }

    fn own<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a JobSnapshot> {
        self.jobs.iter().filter(move |job| job.owner.as_deref() == Some(name))
    }
}

fn is_open(job: &JobSnapshot) -> bool {
    matches!(job.status.status, Status::Pending | Status::Running | Status::Unknown)
}

fn may_see(caller: &Caller, job: &JobSnapshot) -> bool {
    caller.is_operator || caller.owns(job)
}

/// The error where a caller has no job in a batch.
pub fn no_batch(batch_id: &str) -> Error {
    not_found(format!("You have no batch \"{batch_id}\"."))
}

fn not_found(message: String) -> Error {
    Error::new(ErrorClass::NotFound, message)
        .meaning("It never existed, it was removed, or it is somebody else's: a job is removed some days after its end, usually seven.")
        .advise("Check the id.")
}

fn no_jobs(missing: Vec<String>) -> Error {
    let jobs = if missing.len() == 1 { "job" } else { "jobs" };
    not_found(format!("You have no {jobs} {}.", name_some(&missing))).about(missing)
}

/// An error of an operation for a caller, who knows neither namespace nor kubectl: a job that went away since the snapshot
/// is as one that never was.
pub fn in_words_for_callers(error: Error) -> Error {
    let is_of_jobs = error.class == ErrorClass::NotFound && !error.job_ids.is_empty() && error.kubectl.is_none();
    match is_of_jobs {
        true => no_jobs(error.job_ids),
        false => error,
    }
}

/// The last snapshot, taken anew when it is too old. Callers ask side by side: of those who need a new one at the same
/// moment one asks the cluster, and the others wait for what it sees.
#[derive(Debug)]
pub struct Snapshots {
    age: Duration,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// How many snapshots were begun so far.
    begun: u64,
    /// What had changed when the one under way began; `None`: none is under way.
    under_way: Option<u64>,
    /// The number of the one that ended last, and what came of it.
    last: Option<(u64, Result<Arc<Snapshot>, Error>)>,
    /// How often something was submitted or cancelled so far.
    changes: u64,
    /// Submissions that no snapshot shows for certain.
    submissions: Vec<Submission>,
}

#[derive(Debug)]
struct Held {
    snapshot: Arc<Snapshot>,
    begun: Instant,
    good_until: Instant,
    /// What had changed when it was begun.
    changes: u64,
}

#[derive(Debug)]
struct Submission {
    number: u64,
    owner: String,
    job_ids: Vec<String>,
    /// What had changed when it was over; `None`: it is under way.
    ended: Option<u64>,
}

impl State {
    fn is_good(&self) -> bool {
        self.held.as_ref().is_some_and(|held| Instant::now() < held.good_until)
    }

    fn is_up_to_date(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.changes == self.changes)
    }

    fn is_in_snapshot(&self, job_id: &str) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.snapshot.places.contains_key(job_id))
    }

    /// How many jobs of `owner` have not ended, with those submitted meanwhile and those of `job_ids` that are new.
    fn open_jobs(&self, owner: &str, job_ids: &[String]) -> (usize, usize) {
        let submitted: HashSet<&String> = self
            .submissions
            .iter()
            .filter(|submission| submission.owner == owner)
            .flat_map(|submission| &submission.job_ids)
            .filter(|id| !self.is_in_snapshot(id))
            .collect();
        let more: HashSet<&String> = job_ids
            .iter()
            .filter(|id| !self.is_in_snapshot(id) && !submitted.contains(id))
            .collect();
        let seen = self.held.as_ref().map_or(0, |held| held.snapshot.open_jobs(owner));
        (seen + submitted.len(), more.len())
    }
}

/// Jobs that are about to be submitted, counted among their owner's open ones; [`Snapshots::submitted`] ends it.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    number: u64,
}

/// A LIST that takes long is not made more often than this many times its length.
const RESTS: u32 = 5;

/// For requests that wait no snapshot is taken within this time of the one before.
const WAIT_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 500 });

/// ... but a snapshot is never older than this.
const OLDEST: Duration = Duration::from_secs(10);

/// Sees to it that those who wait go on, whatever becomes of the one that they wait for.
struct UnderWay<'a>(&'a Snapshots);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().under_way = None;
        self.0.ended.notify_all();
    }
}

impl Snapshots {
    /// Snapshots that are good for `age`, or longer where a LIST takes long.
    pub fn new(age: Duration) -> Self {
        Self {
            age,
            state: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot that is not too old, and whether it was taken for this very question.
    pub fn recent(&self, connection: &Connection<'_>) -> Result<(Arc<Snapshot>, bool), Error> {
        let state = self.state();
        if let Some(held) = &state.held {
            if state.is_good() && state.is_up_to_date() {
                return Ok((Arc::clone(&held.snapshot), false));
            }
        }
        // The one under way is as recent as can be, unless something was submitted or cancelled since it began.
        let wanted = match state.under_way {
            Some(changes) if changes == state.changes => state.begun,
            _ => state.begun + 1,
        };
        Ok((self.take(connection, state, wanted)?, true))
    }

    /// How old the last snapshot is, how many of its jobs have not ended, and how many it has; `None`: there was none yet.
    pub fn seen(&self) -> Option<(Duration, usize, usize)> {
        let state = self.state();
        let held = state.held.as_ref()?;
        let (snapshot, age) = (Arc::clone(&held.snapshot), held.begun.elapsed());
        drop(state);
        let open = snapshot.jobs.iter().filter(|job| is_open(job)).count();
        Some((age, open, snapshot.jobs.len()))
    }

    /// How many snapshots have ended so far.
    pub fn count(&self) -> u64 {
        self.state().last.as_ref().map_or(0, |(number, _)| *number)
    }

    /// Waits until there are more than `count` snapshots or another one is due, but not beyond `deadline`.
    pub fn wait_for_next(&self, count: u64, deadline: Instant) {
        let mut state = self.state();
        loop {
            let has_ended = state.last.as_ref().is_some_and(|(number, _)| *number > count);
            let now = Instant::now();
            let due = state.held.as_ref().filter(|_| state.is_up_to_date());
            // Who waits does not ask for a new one more often than this, whatever the server's settings.
            let due = due.map(|held| held.good_until.max(held.begun + WAIT_INTERVAL).min(deadline));
            match due {
                Some(due) if !has_ended && now < due => {
                    let waited = self.ended.wait_timeout(state, due - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                _ => return,
            }
        }
    }

    /// The last snapshot, however old it is.
    pub fn held(&self) -> Option<Arc<Snapshot>> {
        self.state().held.as_ref().map(|held| Arc::clone(&held.snapshot))
    }

    /// A snapshot that is begun after this call.
    pub fn of_now(&self, connection: &Connection<'_>) -> Result<Arc<Snapshot>, Error> {
        let state = self.state();
        let wanted = state.begun + 1;
        self.take(connection, state, wanted)
    }

    /// The snapshot of the number `wanted` or a later one: waits for it, or takes it where nobody does.
    fn take(
        &self,
        connection: &Connection<'_>,
        mut state: MutexGuard<'_, State>,
        wanted: u64,
    ) -> Result<Arc<Snapshot>, Error> {
        loop {
            match &state.last {
                Some((number, outcome)) if *number >= wanted => return outcome.clone(),
                _ if state.under_way.is_none() => break,
                _ => state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        let changes = state.changes;
        state.begun += 1;
        let number = state.begun;
        state.under_way = Some(changes);
        drop(state);

        let under_way = UnderWay(self);
        let begin = Instant::now();
        let outcome = list_all(connection).map(|jobs| Arc::new(Snapshot::new(jobs)));
        let good_for = self.age.max((begin.elapsed() * RESTS).min(OLDEST));
        let mut state = self.state();
        if let Ok(snapshot) = &outcome {
            state.held = Some(Held {
                snapshot: Arc::clone(snapshot),
                begun: begin,
                good_until: begin + good_for,
                changes,
            });
            // What was over when it began is in it.
            state
                .submissions
                .retain(|submission| submission.ended.is_none_or(|ended| ended > changes));
        }
        state.last = Some((number, outcome.clone()));
        drop(state);
        drop(under_way);
        outcome
    }

    /// Asks a recent snapshot; where it does not know, one of now, since another process may have submitted what is asked
    /// for.
    pub fn ask<T>(
        &self,
        connection: &Connection<'_>,
        question: impl Fn(&Snapshot) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (snapshot, is_new) = self.recent(connection)?;
        match question(&snapshot) {
            Err(error) if error.class == ErrorClass::NotFound && !is_new => question(&*self.of_now(connection)?),
            answer => answer,
        }
    }

    /// Reserves a caller's place for jobs that are about to be submitted, unless more than `limit` of theirs would be open.
    /// A job that is there already, because the request is made again, takes no place.
    ///
    /// Errors: the cluster cannot be asked. The inner error: there is no place; how many jobs are open.
    pub fn reserve(
        &self,
        connection: &Connection<'_>,
        owner: &str,
        job_ids: &[String],
        limit: usize,
    ) -> Result<Result<Reservation, usize>, Error> {
        let was_good = self.state().is_good();
        if !was_good {
            self.recent(connection)?;
        }
        let reserve = || {
            let mut state = self.state();
            let (open, more) = state.open_jobs(owner, job_ids);
            if more > 0 && open + more > limit {
                return Err(open);
            }
            let number = state.submissions.last().map_or(0, |last| last.number + 1);
            state.submissions.push(Submission {
                number,
                owner: owner.to_string(),
                job_ids: job_ids.to_vec(),
                ended: None,
            });
            Ok(Reservation { number })
        };
        match reserve() {
            // Some may have ended in the meantime, or been submitted by another process.
            Err(_) if was_good => {
                self.of_now(connection)?;
                Ok(reserve())
            }
            outcome => Ok(outcome),
        }
    }

    /// Whether [`Self::reserve`] would find no place, as far as that is known without asking the cluster.
    pub fn seems_full(&self, owner: &str, job_ids: &[String], limit: usize) -> bool {
        let (open, more) = self.state().open_jobs(owner, job_ids);
        more > 0 && open + more > limit
    }

    /// Ends a reservation: the jobs were submitted, all but `refused`, of which there is surely none.
    pub fn submitted(&self, reservation: Reservation, refused: &[String]) {
        let mut state = self.state();
        state.changes += 1;
        let changes = state.changes;
        if let Some(submission) = state
            .submissions
            .iter_mut()
            .find(|submission| submission.number == reservation.number)
        {
            submission.ended = Some(changes);
            submission.job_ids.retain(|id| !refused.contains(id));
        }
        drop(state);
        self.ended.notify_all();
    }

    /// Notes that something was cancelled.
    pub fn cancelled(&self) {
        self.state().changes += 1;
        self.ended.notify_all();
    }

    /// Whether another job than `job_id` ends as it does, with the uuid that the caller's key makes.
    pub fn has_other_of_same_key(&self, job_id: &str) -> bool {
        let uuid = |id: &str| id.get(id.len().saturating_sub(UUID)..).map(String::from);
        let (state, wanted) = (self.state(), uuid(job_id));
        let seen = state.held.iter().flat_map(|held| held.snapshot.places.keys());
        let submitted = state.submissions.iter().flat_map(|submission| &submission.job_ids);
        wanted.is_some() && seen.chain(submitted).any(|id| id != job_id && uuid(id) == wanted)
    }
}

/// The length of a uuid as text.
const UUID: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job_record::JobRecord;
    use crate::domain::job_status::JobStatus;
    use crate::gateway::fake_cluster::{self, server, Server};
    use crate::transport::FailureKind;
    use serde_json::json;
    use std::sync::atomic::Ordering;

    fn job(id: &str, owner: Option<&str>, status: Status) -> JobSnapshot {
        JobSnapshot {
            record: JobRecord {
                job_id: id.into(),
                batch_id: "shared".into(),
                program: "/a.R".into(),
                // The label: the same for names that differ.
                user: "a-b".into(),
                status,
                submitted: "2026-01-01T00:00:00Z".into(),
                started: None,
                finished: None,
                exit_code: None,
                reason: None,
            },
            status: JobStatus {
                id: format!("{id}-x"),
                path: None,
                status,
            },
            obstacle: None,
            owner: owner.map(String::from),
            uid: Some(1),
            image: None,
            sha256: None,
            starts: Default::default(),
            pod_uid: None,
            verdict: None,
            usage: Default::default(),
        }
    }

    fn caller(name: &str, is_operator: bool) -> Caller {
        Caller {
            name: name.into(),
            is_operator,
            scope: Default::default(),
            key_id: None,
            uid: Some(1),
            account: None,
        }
    }

    fn snapshot() -> Snapshot {
        Snapshot::new(vec![
            job("j1", Some("a b"), Status::Running),
            job("j2", Some("a.b"), Status::Succeeded),
            job("j3", None, Status::Failed),
        ])
    }

    #[test]
    fn somebody_elses_job_looks_like_none() {
        let snapshot = snapshot();
        let me = caller("a b", false);
        let words = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let error = snapshot.jobs(&me, &ids).unwrap_err();
            assert_eq!(error.class, ErrorClass::NotFound);
            format!("{error}").replace(&ids[0], "X")
        };
        assert_eq!(words(&["j2"]), words(&["none"]));
        assert_eq!(words(&["j3"]), words(&["none"]));
        assert_eq!(snapshot.jobs(&me, &["j1".into()]).unwrap().len(), 1);
        assert!(snapshot.jobs(&me, &["j1".into(), "j2".into()]).is_err());
        assert_eq!(
            snapshot.jobs(&caller("o", true), &["j3".into(), "j1".into()]).unwrap()[0]
                .record
                .job_id,
            "j3"
        );
    }

    #[test]
    fn of_a_batch_that_two_share_each_sees_their_own() {
        let snapshot = snapshot();
        let seen = |name| {
            let caller = caller(name, false);
            snapshot.batch(&caller, "shared").map(|jobs| jobs.len())
        };
        assert_eq!((seen("a b").unwrap(), seen("a.b").unwrap()), (1, 1));
        assert_eq!(seen("a-b").unwrap_err().class, ErrorClass::NotFound);
        assert_eq!(snapshot.seen_by(&caller("o", true)).count(), 3);
        assert_eq!((snapshot.open_jobs("a b"), snapshot.open_jobs("a.b")), (1, 0));
    }

    #[test]
    fn a_hundred_questions_are_answered_from_one_list() {
        let server = server();
        let id = server.submit("daemon", "b");
        let before = server.cluster.lists();
        *server.cluster.slowness.lock().unwrap() = Duration::from_millis(50);
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200));
            }
        });
        for _ in 0..100 {
            assert_eq!(server.get("daemon", "jobs").0, 200);
        }
        assert_eq!(server.cluster.lists(), before + 1);
    }

    #[test]
    fn who_waits_for_a_list_that_fails_is_told_so_and_does_not_make_it_again() {
        let server = server();
        *server.cluster.slowness.lock().unwrap() = Duration::from_millis(50);
        server.cluster.fails("jobs?labelSelector", FailureKind::Timeout);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| assert_eq!(server.get("daemon", "jobs").0, 504));
            }
        });
        assert!(server.cluster.lists() <= 2, "{}", server.cluster.lists());
    }

    #[test]
    fn what_was_just_submitted_is_known_at_once() {
        let server = server();
        assert_eq!(server.get("daemon", "jobs").1, json!([]));
        let id = server.submit("daemon", "b");
        assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200);
        assert_eq!(server.get("daemon", "jobs").1.as_array().unwrap().len(), 1);
        // By another process, too.
        let other = Server {
            cluster: server.cluster,
            ..fake_cluster::server()
        };
        let foreign = other.submit("daemon", "b");
        let server = Server {
            cluster: other.cluster,
            gateway: server.gateway,
        };
        assert_eq!(server.get("daemon", &format!("job-status?job_id={foreign}")).0, 200);
    }

    #[test]
    fn a_list_that_was_under_way_when_a_job_was_submitted_does_not_hide_it() {
        let server = server();
        // An older list is there, so that the submission need not wait for one.
        assert_eq!(server.get("daemon", "jobs").0, 200);
        server.submit("bin", "b");
        let looks = || server.cluster.looks.load(Ordering::SeqCst);
        let before = looks();
        *server.cluster.slowness.lock().unwrap() = Duration::from_millis(500);
        std::thread::scope(|scope| {
            scope.spawn(|| server.get("bin", "jobs"));
            while looks() == before {
                std::thread::yield_now();
            }
            let id = server.submit("daemon", "b");
            assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200);
        });
        assert_eq!(server.get("daemon", "jobs").1.as_array().unwrap().len(), 1);
    }
}
