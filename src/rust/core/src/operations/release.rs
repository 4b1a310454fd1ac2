//! Starting the jobs of a plan when their turn comes.
//!
//! All that is known is in the cluster, and each change is made on the Job as it is then: so any number may do this at the
//! same time, each may stop at any moment, and the next one goes on from where the jobs stand.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::archive::Place;
use super::job_store::{JobStore, Kept, Part};
use super::log_parts::LogParts;
use super::parallel_map::parallel_map;
use super::reflector::{reflect_some, Audience, Change};
use super::Connection;
use crate::domain::job_status::JobStatus;
use crate::domain::order::{self, Cause, Step};
use crate::domain::verdict::LogPatterns;
use crate::error::{Error, ErrorClass};
use crate::kubernetes::api::{ALL, LEASE_SECONDS};
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::{Api, LabelSelector, Resource};
use crate::transport::{leave_signals_to_main_thread, Backoff, Failure, FailureKind, Patience, Transport};

/// For how long one change is tried at most, before it is found out anew what is to be done.
pub const LIMIT_OF_CHANGE: Duration = Duration::from_secs(15);

/// The first pause after a change that could not be made.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 500 });

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 30_000 });

/// How often it is looked for jobs that have ended, where these are told.
const ENDED_LOOK: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 1000 });

/// How often the Lease is renewed.
const RENEWAL: Duration = Duration::from_secs(LEASE_SECONDS as u64 / 3);

/// How long a right that is missing is not asked for again.
const PAUSE_WITHOUT_RIGHT: Duration = Duration::from_secs(600);

/// What happens while jobs are started in their turn.
#[derive(Clone, Debug, PartialEq)]
pub enum ReleaseNews {
    /// All is known of the jobs, and the cluster is followed; so many wait. Told again after trouble.
    Follows {
        /// How many jobs wait for others.
        waiting: usize,
    },
    /// A job that waited may start.
    Released {
        /// The job.
        job_id: String,
        /// The name of its program.
        program: String,
    },
    /// A job that waited will not start.
    NotStarted {
        /// The job.
        job_id: String,
        /// The name of its program.
        program: String,
        /// Why.
        cause: Cause,
    },
    /// Jobs have ended, or had when all became known: their ids and states.
    Ended(Vec<(String, JobStatus)>),
    /// A job has ended without a pod, which nobody sees who looks at pods.
    EndedWithoutPod,
    /// Something does not work; it is tried again.
    Trouble(Error),
}

/// Makes a step as [`take_step`] does.
pub type MakeStep<'a> = dyn Fn(&Api<'_>, &str, &Step) -> Result<bool, Failure> + Sync + 'a;

/// Makes a step with a job. `false` where somebody else has made it, or the job does not wait any more.
///
/// Errors: the cluster does not let it be made.
pub fn take_step(api: &Api<'_>, job_id: &str, step: &Step) -> Result<bool, Failure> {
    match api.update(Resource::Job, job_id, &|job| order::take(job, step)) {
        // It was removed.
        Err(failure) if failure.kind == FailureKind::NotFound => Ok(false),
        outcome => outcome,
    }
}

/// Starts the jobs of the namespace that wait for others, each as soon as these have succeeded, until the user wants to stop
/// or `tell` breaks off. With an archive, a folder and where the jobs are, it tells which jobs have ended, whether they waited
/// or not, and keeps there the logs of those that run. While the cluster cannot
/// be reached it is tried again for ever. Shows by a Lease in the name of `holder` that it is there, if it has the right to.
/// Without a `holder` it starts none: others do.
pub fn run_controller(
    connection: &Connection<'_>,
    holder: Option<&str>,
    archive: Option<(&str, &Place)>,
    tell: &mut dyn FnMut(ReleaseNews) -> ControlFlow<()>,
) -> Result<(), Error> {
    let api = connection.api()?;
    let mut releaser = Releaser::new(connection, api.namespace());
    releaser.tells_ended = archive.is_some();
    releaser.starts = holder.is_some();
    let releaser = releaser;
    thread::scope(|scope| {
        if let Some(holder) = holder {
            let releaser = &releaser;
            scope.spawn(move || {
                releaser.beside(|api, patience, _| hold_lease(api, patience, holder, &|| releaser.knows_all()));
            });
        }
        if let Some((folder, place)) = archive {
            let parts = LogParts::new(folder, &place.namespace_uid);
            let releaser = &releaser;
            scope.spawn(move || {
                releaser.beside(|api, patience, stopped| {
                    parts.keep(api, patience, &|| releaser.store().running(), stopped);
                });
            });
        }
        releaser.run(&ALL, &|| connection.patience.is_interrupted(), tell);
    });
    Ok(())
}

/// What starts jobs in their turn.
pub(super) struct Releaser<'a> {
    transport: &'a dyn Transport,
    namespace: String,
    limit: Duration,
    log_patterns: &'a LogPatterns,
    store: RwLock<JobStore>,
    /// Whether there was a LIST, of Jobs and of pods.
    is_listed: [AtomicBool; 2],
    /// Whether they cannot be followed now.
    is_troubled: [AtomicBool; 2],
    stop: AtomicBool,
    /// Whether it is told which jobs have ended.
    tells_ended: bool,
    /// Whether jobs are started.
    starts: bool,
}

impl<'a> Releaser<'a> {
    pub(super) fn new(connection: &Connection<'a>, namespace: &str) -> Self {
        Self {
            transport: connection.transport,
            namespace: namespace.to_string(),
            limit: connection.patience.limit(),
            log_patterns: connection.log_patterns,
            store: RwLock::default(),
            is_listed: Default::default(),
            is_troubled: Default::default(),
            stop: AtomicBool::new(false),
            tells_ended: false,
            starts: true,
        }
    }

    /// Has [`Self::run`] end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn store(&self) -> RwLockWriteGuard<'_, JobStore> {
        written(&self.store)
    }

    fn patience<'b>(&self, stopped: &'b dyn Fn() -> bool) -> Patience<'b> {
        Patience::new(self.limit.min(LIMIT_OF_CHANGE), stopped)
    }

    /// Work in a thread of its own beside the releases, until they are stopped.
    fn beside(&self, work: impl FnOnce(&Api<'_>, &Patience<'_>, &(dyn Fn() -> bool + Sync))) {
        leave_signals_to_main_thread();
        let stopped = || self.stopped();
        let patience = self.patience(&stopped);
        work(
            &Api::in_namespace(self.transport, &self.namespace, patience),
            &patience,
            &stopped,
        );
    }

    fn is_troubled(&self) -> bool {
        self.is_troubled
            .iter()
            .any(|is_troubled| is_troubled.load(Ordering::Relaxed))
    }

    fn knows_all(&self) -> bool {
        self.is_listed.iter().all(|is_listed| is_listed.load(Ordering::Relaxed))
    }

    /// Starts jobs of a selection in their turn, until it is stopped, `tell` breaks off, or `interrupted` says so, which is
    /// asked in this thread.
    pub(super) fn run(
        &self,
        selection: &LabelSelector<'_>,
        interrupted: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(ReleaseNews) -> ControlFlow<()>,
    ) {
        let (bell, rings) = mpsc::channel();
        thread::scope(|scope| {
            for is_of_pods in [false, true] {
                let bell = bell.clone();
                scope.spawn(move || {
                    leave_signals_to_main_thread();
                    self.follow(selection, is_of_pods, bell);
                });
            }
            drop(bell);
            let stopped = Cell::new(false);
            let is_over = || {
                stopped.set(stopped.get() || self.stopped() || interrupted());
                stopped.get()
            };
            let patience = self.patience(&is_over);
            let mut turn = Turn {
                releaser: self,
                tell,
                is_told: false,
                steps: Steps::default(),
                next_look: Instant::now(),
                seen: 0,
            };
            while !is_over() {
                let news = match rings.recv_timeout(patience.poll_interval()) {
                    Ok(Ring::Changed) | Err(RecvTimeoutError::Timeout) => None,
                    Ok(Ring::EndedWithoutPod) => Some(ReleaseNews::EndedWithoutPod),
                    Ok(Ring::Failed(error)) => {
                        turn.is_told = false;
                        Some(ReleaseNews::Trouble(*error))
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                if news.is_some_and(|news| (turn.tell)(news).is_break()) || turn.take(&patience).is_break() {
                    break;
                }
            }
            self.stop();
        });
    }

    fn follow(&self, selection: &LabelSelector<'_>, is_of_pods: bool, bell: Sender<Ring>) {
        let stopped = || self.stopped();
        let connection = Connection {
            transport: self.transport,
            namespace: Some(&self.namespace),
            patience: Patience::new(self.limit, &stopped),
            log_patterns: self.log_patterns,
            owner: None,
        };
        let listener = Listener {
            releaser: self,
            is_of_pods,
            bell,
            wants_list: Cell::new(false),
        };
        match is_of_pods {
            true => reflect_some::<Pod>(&connection, selection, &listener),
            false => reflect_some::<Job>(&connection, selection, &listener),
        }
    }
}

/// Renews the Lease in the name of `holder` as long as `is_there` until `patience`, which is that of `api`, ends, and gives
/// it back then. Without the right to it nothing is done.
pub fn hold_lease(api: &Api<'_>, patience: &Patience<'_>, holder: &str, is_there: &dyn Fn() -> bool) {
    while !patience.is_interrupted() {
        let pause = match is_there().then(|| api.renew_lease(holder)) {
            None => FIRST_PAUSE,
            Some(Err(failure)) if failure.kind == FailureKind::Forbidden => PAUSE_WITHOUT_RIGHT,
            Some(_) => RENEWAL,
        };
        patience.sleep(pause);
    }
    let last = Patience::new(Duration::from_secs(1), &|| false);
    // Where that does not succeed, it runs out.
    let _ = Api::in_namespace(api.transport(), api.namespace(), last).give_lease_back(holder);
}

/// What those who follow the cluster say.
enum Ring {
    Changed,
    EndedWithoutPod,
    Failed(Box<Error>),
}

struct Listener<'a> {
    releaser: &'a Releaser<'a>,
    is_of_pods: bool,
    bell: Sender<Ring>,
    wants_list: Cell<bool>,
}

impl Listener<'_> {
    fn ring(&self, ring: Ring) {
        // Nobody listens any more once it is over.
        let _ = self.bell.send(ring);
    }

    fn is_troubled(&self) -> &AtomicBool {
        &self.releaser.is_troubled[usize::from(self.is_of_pods)]
    }

    fn is_listed(&self) -> &AtomicBool {
        &self.releaser.is_listed[usize::from(self.is_of_pods)]
    }
}

impl Audience for Listener<'_> {
    fn listed(&self, _: Instant, parts: Vec<Part>) {
        let mut store = self.releaser.store();
        match self.is_of_pods {
            true => Pod::replace(&mut store, parts),
            false => Job::replace(&mut store, parts),
        }
        drop(store);
        self.wants_list.set(false);
        self.is_listed().store(true, Ordering::Relaxed);
        self.is_troubled().store(false, Ordering::Relaxed);
        // What it shows is not known.
        self.ring(Ring::EndedWithoutPod);
    }

    fn heard(&self) {
        self.is_troubled().store(false, Ordering::Relaxed);
    }

    fn changed(&self, change: Change) {
        let mut store = self.releaser.store();
        let ended_without_pod = match change {
            Change::Is(part) => {
                let id = part.job_id().to_string();
                store.put(part);
                !self.is_of_pods && store.has_ended_without_pod(&id)
            }
            Change::Gone(part) => {
                store.remove(&part);
                !self.is_of_pods
            }
        };
        drop(store);
        self.ring(match ended_without_pod {
            true => Ring::EndedWithoutPod,
            false => Ring::Changed,
        });
    }

    fn stands_at(&self, _: &str) {}

    fn ended(&self) {}

    fn failed(&self, error: &Error) {
        if error.class == ErrorClass::Forbidden && self.is_listed().load(Ordering::Relaxed) {
            // Who may list and not watch looks now and then.
            self.wants_list.set(true);
        } else if !self.is_troubled().swap(true, Ordering::Relaxed) {
            self.ring(Ring::Failed(Box::new(error.clone())));
        }
    }

    fn stops(&self) -> bool {
        self.releaser.stopped()
    }

    fn wants_list(&self) -> bool {
        self.wants_list.get()
    }
}

/// What makes the steps, and tells when all is known.
struct Turn<'a, 'b> {
    releaser: &'a Releaser<'a>,
    tell: &'b mut dyn FnMut(ReleaseNews) -> ControlFlow<()>,
    /// Whether it was told that all is known.
    is_told: bool,
    steps: Steps,
    /// When it is looked for jobs that have ended, and up to which version of the store that was done.
    next_look: Instant,
    seen: u64,
}

impl Turn<'_, '_> {
    /// Tells which jobs have ended since it did so last.
    fn tell_ended(&mut self) -> ControlFlow<()> {
        if !self.releaser.tells_ended || Instant::now() < self.next_look {
            return ControlFlow::Continue(());
        }
        self.next_look = Instant::now() + ENDED_LOOK;
        let store = self.releaser.store();
        let since = std::mem::replace(&mut self.seen, store.version());
        if since == self.seen {
            return ControlFlow::Continue(());
        }
        let ended = store.ended_since(since);
        drop(store);
        match ended.is_empty() {
            true => ControlFlow::Continue(()),
            false => (self.tell)(ReleaseNews::Ended(ended)),
        }
    }

    /// Makes the steps that are to be made now.
    fn take(&mut self, patience: &Patience<'_>) -> ControlFlow<()> {
        let releaser = self.releaser;
        if !releaser.knows_all() {
            return ControlFlow::Continue(());
        }
        self.tell_ended()?;
        if !self.is_told && self.steps.failed.is_empty() && !releaser.is_troubled() {
            self.is_told = true;
            let waiting = releaser.store().count_waiting();
            (self.tell)(ReleaseNews::Follows { waiting })?;
        }
        if !releaser.starts {
            return ControlFlow::Continue(());
        }
        let api = Api::in_namespace(releaser.transport, &releaser.namespace, *patience);
        let (is_told, tell) = (&mut self.is_told, &mut *self.tell);
        self.steps
            .take(&api, patience, &releaser.store, &take_step, &mut |news| {
                *is_told &= !matches!(news, ReleaseNews::Trouble(_));
                tell(news)
            })
    }
}

/// Makes the steps that a store tells of, and tries those again after a while that could not be made.
#[derive(Debug)]
pub struct Steps {
    /// The jobs with which a step could not be made.
    failed: Vec<String>,
    /// When they come up again.
    retry: Option<Instant>,
    pauses: Backoff,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            failed: Vec::new(),
            retry: None,
            pauses: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }
}

impl Steps {
    /// Makes the steps that are to be made now, each by `make`, which is [`take_step`] or does more. The store must have had a
    /// LIST of Jobs and one of pods; `patience` is that of `api`.
    pub fn take(
        &mut self,
        api: &Api<'_>,
        patience: &Patience<'_>,
        store: &RwLock<JobStore>,
        make: &MakeStep<'_>,
        tell: &mut dyn FnMut(ReleaseNews) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.retry.take_if(|retry| Instant::now() >= *retry).is_some() {
            let mut store = written(store);
            self.failed.drain(..).for_each(|id| store.touch_batch_of(&id));
        }
        // Nearly always there is nothing, and others read.
        if !store.read().unwrap_or_else(PoisonError::into_inner).has_steps() {
            return ControlFlow::Continue(());
        }
        let steps: Vec<(String, Step)> = written(store).take_steps();
        if steps.is_empty() {
            return ControlFlow::Continue(());
        }
        let (transport, namespace) = (api.transport(), api.namespace());
        let outcomes = parallel_map(&steps, patience, |(job_id, step), patience| {
            make(&Api::in_namespace(transport, namespace, *patience), job_id, step)
        });
        let mut trouble = None;
        for ((job_id, step), outcome) in steps.into_iter().zip(outcomes) {
            if let Some(Ok(_)) = outcome {
                written(store).note_step(&job_id, &step);
            }
            match outcome {
                Some(Ok(true)) => {
                    let program = written(store).program_name(&job_id);
                    tell(match step {
                        Step::Release => ReleaseNews::Released { job_id, program },
                        Step::NotStart(cause) => ReleaseNews::NotStarted { job_id, program, cause },
                    })?;
                }
                Some(Ok(false)) => {}
                Some(Err(failure)) => {
                    trouble = Some(failure);
                    self.failed.push(job_id);
                }
                None => self.failed.push(job_id),
            }
        }
        match trouble {
            None => self.pauses.reset(),
            Some(failure) => {
                self.retry = Some(Instant::now() + self.pauses.pause());
                let error = super::error_messages::error_at(api, &failure, "change jobs", patience)
                    .meaning("Jobs that wait for others are not started for now.");
                tell(ReleaseNews::Trouble(error))?;
            }
        }
        ControlFlow::Continue(())
    }
}

fn written(store: &RwLock<JobStore>) -> RwLockWriteGuard<'_, JobStore> {
    store.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{json, Value};

    use super::super::scripted::{ended, event, job, list, object, patient, pod, running, Answer, Scripted, StreamEnd};
    use super::super::{watch, JobSelector};
    use super::*;
    use crate::domain::order::OnFailure;
    use crate::kubernetes::labels;
    use crate::transport::{Call, Deadline, Verb};

    /// A Job that runs after "a".
    fn waiting_job(id: &str) -> Value {
        let mut job = job(id, 2);
        job["spec"] = json!({});
        order::have_wait(
            &mut job,
            &BTreeMap::from([("a".to_string(), "a".to_string())]),
            OnFailure::Continue,
        );
        job
    }

    fn failed_job(id: &str) -> Value {
        let mut job = job(id, 1);
        job["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        job
    }

    fn stays() -> Answer {
        Answer::Stream(vec![], StreamEnd::Lives)
    }

    /// "b" waits for "a", whose pods are these.
    fn cluster(pods: impl IntoIterator<Item = Answer>, puts: impl IntoIterator<Item = Answer>) -> Scripted {
        Scripted::new()
            .get("/jobs/b", [object(&waiting_job("b"))])
            .on(Verb::Replace, "/jobs/b", puts)
            .get("/leases", [Answer::Fails(FailureKind::Forbidden)])
            .get("/jobs?watch", [stays()])
            .get("/pods?watch", pods)
            .get("/jobs?", [list(1, [job("a", 1), waiting_job("b")])])
    }

    /// Runs a controller until it has told one of these.
    fn run_until(cluster: &Scripted, is_last: impl Fn(&ReleaseNews) -> bool) -> Vec<ReleaseNews> {
        let begin = Instant::now();
        let too_long = || begin.elapsed() > Duration::from_secs(60);
        let connection = Connection {
            patience: Patience::new(Duration::from_secs(60), &too_long),
            ..patient(cluster)
        };
        let mut told = Vec::new();
        run_controller(&connection, Some("host-1"), None, &mut |news| {
            let is_over = is_last(&news);
            if news != ReleaseNews::EndedWithoutPod {
                told.push(news);
            }
            match is_over {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
        .unwrap();
        assert!(!too_long(), "{told:?}");
        told
    }

    fn is_released(news: &ReleaseNews) -> bool {
        matches!(news, ReleaseNews::Released { .. })
    }

    fn b_released() -> ReleaseNews {
        ReleaseNews::Released {
            job_id: "b".into(),
            program: "b".into(),
        }
    }

    #[test]
    fn a_job_is_started_when_what_it_waits_for_is_seen_to_succeed() {
        let success = event("MODIFIED", &pod("a", 1, ended(0)));
        let cluster = cluster([Answer::Stream(vec![success], StreamEnd::Lives)], [Answer::Echo])
            .get("/pods?", [list(1, [pod("a", 1, running())])]);
        let told = run_until(&cluster, is_released);
        assert_eq!(told, [ReleaseNews::Follows { waiting: 1 }, b_released()]);
        let sent = cluster.sent();
        let (_, changed) = sent.first().unwrap();
        assert_eq!(changed["spec"]["suspend"], false);
        assert!(changed["metadata"]["labels"].get(labels::WAITING).is_none());
    }

    #[test]
    fn a_job_whose_predecessor_has_failed_is_ended_without_a_start() {
        let has_failed = Answer::Stream(vec![event("MODIFIED", &failed_job("a"))], StreamEnd::Lives);
        let cluster = Scripted::new()
            .get("/jobs?watch", [has_failed])
            .get("/pods?watch", [stays()])
            .get("/jobs/b", [object(&waiting_job("b"))])
            .on(Verb::Replace, "/jobs/b", [Answer::Echo])
            .get("/leases", [Answer::Fails(FailureKind::Forbidden)])
            .get("/jobs?", [list(1, [job("a", 1), waiting_job("b")])])
            .get("/pods?", [list(1, [pod("a", 1, ended(1))])]);
        let told = run_until(&cluster, |news| matches!(news, ReleaseNews::NotStarted { .. }));
        let ReleaseNews::NotStarted { cause, .. } = &told[1] else {
            panic!("{told:?}");
        };
        assert_eq!(cause.words(), "a failed");
        assert_eq!(cluster.sent()[0].1["spec"]["activeDeadlineSeconds"], 0);
    }

    #[test]
    fn of_a_job_that_was_ended_before_its_start_it_counts_what_it_says_once_its_pod_is_gone() {
        let pod = pod("a", 1, json!({}));
        let gone = event("DELETED", &pod);
        let cluster = Scripted::new()
            .get("/jobs/b", [object(&waiting_job("b"))])
            .on(Verb::Replace, "/jobs/b", [Answer::Echo])
            .get("/leases", [Answer::Fails(FailureKind::Forbidden)])
            .get("/jobs?watch", [stays()])
            .get("/pods?watch", [Answer::Stream(vec![gone], StreamEnd::Lives)])
            .get("/pods?", [list(1, [pod])])
            .get("/jobs?", [list(1, [failed_job("a"), waiting_job("b")])]);
        let told = run_until(&cluster, |news| matches!(news, ReleaseNews::NotStarted { .. }));
        assert!(matches!(told.last(), Some(ReleaseNews::NotStarted { .. })), "{told:?}");
    }

    #[test]
    fn what_cannot_be_changed_is_told_and_tried_again() {
        let cluster = cluster([stays()], [Answer::Fails(FailureKind::Forbidden), Answer::Echo])
            .get("/pods?", [list(1, [pod("a", 1, ended(0))])]);
        let told = run_until(&cluster, is_released);
        let ReleaseNews::Trouble(error) = &told[1] else {
            panic!("{told:?}");
        };
        assert_eq!(error.class, ErrorClass::Forbidden);
        assert_eq!(told.last(), Some(&b_released()));
    }

    #[test]
    fn who_may_not_watch_jobs_lists_them_now_and_then() {
        let cluster = Scripted::new()
            .get("/jobs/b", [object(&waiting_job("b"))])
            .on(Verb::Replace, "/jobs/b", [Answer::Echo])
            .get("/leases", [Answer::Fails(FailureKind::Forbidden)])
            .get("/jobs?watch", [Answer::Fails(FailureKind::Forbidden)])
            .get("/pods?watch", [stays()])
            // "b" is submitted after the first look.
            .get(
                "/jobs?",
                [list(1, [job("a", 1)]), list(2, [job("a", 1), waiting_job("b")])],
            )
            .get("/pods?", [list(1, [pod("a", 1, ended(0))])]);
        let told = run_until(&cluster, is_released);
        // The second LIST of Jobs may come before the first of pods: "b" waits then as all becomes known.
        assert!(
            matches!(&told[..], [ReleaseNews::Follows { .. }, last] if *last == b_released()),
            "{told:?}"
        );
    }

    #[test]
    fn one_who_is_faster_is_no_trouble() {
        let mut released = waiting_job("b");
        assert!(order::take(&mut released, &Step::Release));
        for now in [object(&released), Answer::Fails(FailureKind::NotFound)] {
            let cluster = Scripted::new()
                .get("/jobs/b", [now])
                .get("/leases", [Answer::Fails(FailureKind::Forbidden)])
                .get("/jobs?watch", [stays()])
                .get("/pods?watch", [stays()])
                .get("/jobs?", [list(1, [job("a", 1), waiting_job("b")])])
                .get("/pods?", [list(1, [pod("a", 1, ended(0))])]);
            let begin = Instant::now();
            let stops = || !cluster.paths("/jobs/b").is_empty() || begin.elapsed() > Duration::from_secs(60);
            let connection = Connection {
                patience: Patience::new(Duration::from_secs(60), &stops),
                ..patient(&cluster)
            };
            let mut told = Vec::new();
            run_controller(&connection, Some("host-1"), None, &mut |news| {
                told.push(news);
                ControlFlow::Continue(())
            })
            .unwrap();
            assert!(!told
                .iter()
                .any(|news| matches!(news, ReleaseNews::Trouble(_)) || is_released(news)));
            assert!(cluster.sent().is_empty());
        }
    }

    /// A cluster before and after something was sent to it.
    struct Changed {
        before: Scripted,
        after: Scripted,
    }

    impl Transport for Changed {
        fn stream(
            &self,
            call: &Call,
            deadline: &Deadline<'_>,
            part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
        ) -> Result<Vec<String>, Failure> {
            match self.before.sent().is_empty() {
                true => self.before.stream(call, deadline, part),
                false => self.after.stream(call, deadline, part),
            }
        }

        fn namespace(&self, _: &Deadline<'_>) -> Result<String, Failure> {
            Ok("n".into())
        }
    }

    #[test]
    fn whoever_waits_for_a_batch_starts_its_programs_and_sees_what_is_not_started() {
        let mut lost = waiting_job("b");
        let cause = Cause {
            job_id: "a".into(),
            program: "a".into(),
            event: crate::domain::order::CauseEvent::Failed,
        };
        assert!(order::take(&mut lost, &Step::NotStart(cause)));
        let with_jobs = |jobs: Vec<Value>| {
            Scripted::new()
                .get("/jobs/b", [object(&waiting_job("b"))])
                .on(Verb::Replace, "/jobs/b", [Answer::Echo])
                .get("watch=1", [stays()])
                .get("/pods?", [list(1, [pod("a", 1, ended(1))])])
                .get("/jobs?", [list(1, jobs)])
        };
        let cluster = Changed {
            before: with_jobs(vec![failed_job("a"), waiting_job("b")]),
            after: with_jobs(vec![failed_job("a"), lost]),
        };
        let connection = Connection {
            transport: &cluster,
            ..patient(&cluster.before)
        };
        let mut last = String::new();
        watch(&connection, &JobSelector::Jobs(vec!["b".into()]), &mut |news| {
            last = news.jobs[0].status.status.name().to_string();
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(last, "Failed");
        assert_eq!(cluster.before.sent().len(), 1);
    }

    #[test]
    fn without_a_name_in_the_lease_no_job_is_started() {
        let cluster = cluster([stays()], [Answer::Echo]).get("/pods?", [list(1, [pod("a", 1, ended(0))])]);
        let begin = Instant::now();
        let (follows, turns) = (AtomicBool::new(false), Cell::new(0));
        // Some turns after all is known.
        let is_over = || {
            assert!(begin.elapsed() < Duration::from_secs(600));
            turns.set(turns.get() + u32::from(follows.load(Ordering::Relaxed)));
            turns.get() > 3
        };
        let connection = Connection {
            patience: Patience::new(Duration::from_secs(600), &is_over),
            ..patient(&cluster)
        };
        run_controller(&connection, None, None, &mut |news| {
            follows.fetch_or(news == ReleaseNews::Follows { waiting: 1 }, Ordering::Relaxed);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(cluster.sent().len(), 0);
    }

    #[test]
    fn a_controller_that_is_to_tells_which_jobs_have_ended() {
        let ends = event("MODIFIED", &pod("a", 1, ended(1)));
        let cluster = cluster(
            [Answer::Stream(vec![ends], StreamEnd::Lives)],
            [Answer::Fails(FailureKind::Forbidden)],
        )
        .get("/pods?", [list(1, [pod("a", 1, running())])])
        .get("/log?", [Answer::Fails(FailureKind::NotFound)]);
        let begin = Instant::now();
        let too_long = || begin.elapsed() > Duration::from_secs(60);
        let connection = Connection {
            patience: Patience::new(Duration::from_secs(60), &too_long),
            ..patient(&cluster)
        };
        let folder = std::env::temp_dir().join(format!("abba-core-test-{}", uuid::Uuid::new_v4()));
        let place = Place {
            namespace: "n".into(),
            namespace_uid: "uid-1".into(),
        };
        let mut told = Vec::new();
        run_controller(
            &connection,
            Some("host-1"),
            Some((&folder.to_string_lossy(), &place)),
            &mut |news| match news {
                ReleaseNews::Ended(ended) => {
                    told.extend(ended);
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            },
        )
        .unwrap();
        let told: Vec<(&str, &str, &str)> = told
            .iter()
            .map(|(id, status)| (id.as_str(), status.id.as_str(), status.status.name()))
            .collect();
        assert_eq!(told, [("a", "a-p", "Failed")]);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
