//! Starting the jobs of a plan when their turn comes.
//!
//! All that is known is in the cluster, and each change is made on the Job as it is then: so any number may do this at the
//! same time, each may stop at any moment, and the next one goes on from where the jobs stand.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::job_store::{JobStore, Kept, Part};
use super::parallel_map::parallel_map;
use super::reflector::{reflect_some, Audience, Change};
use super::Connection;
use crate::domain::order::{self, Cause, Step};
use crate::domain::verdict::LogPatterns;
use crate::error::{Error, ErrorClass};
use crate::kubernetes::api::{ALL, LEASE_SECONDS};
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::{Api, LabelSelector, Resource};
use crate::transport::{leave_signals_to_main_thread, Backoff, Failure, FailureKind, Patience, Transport};

/// For how long one change is tried at most, before it is found out anew what is to be done.
const LIMIT_OF_CHANGE: Duration = Duration::from_secs(15);

/// The first pause after a change that could not be made.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 500 });

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 30_000 });

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
    /// A job has ended without a pod, which nobody sees who looks at pods.
    EndedWithoutPod,
    /// Something does not work; it is tried again.
    Trouble(Error),
}

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
/// or `tell` breaks off. While the cluster cannot be reached it is tried again for ever. Shows by a Lease in the name of
/// `holder` that it is there, if it has the right to.
pub fn run_controller(
    connection: &Connection<'_>,
    holder: &str,
    tell: &mut dyn FnMut(ReleaseNews) -> ControlFlow<()>,
) -> Result<(), Error> {
    let api = connection.api()?;
    let releaser = Releaser::new(connection, api.namespace());
    thread::scope(|scope| {
        scope.spawn(|| {
            leave_signals_to_main_thread();
            releaser.hold_lease(holder);
        });
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
    store: Mutex<JobStore>,
    /// Whether there was a LIST, of Jobs and of pods.
    is_listed: [AtomicBool; 2],
    /// Whether they cannot be followed now.
    is_troubled: [AtomicBool; 2],
    stop: AtomicBool,
}

impl<'a> Releaser<'a> {
    pub(super) fn new(connection: &Connection<'a>, namespace: &str) -> Self {
        Self {
            transport: connection.transport,
            namespace: namespace.to_string(),
            limit: connection.patience.limit(),
            log_patterns: connection.log_patterns,
            store: Mutex::default(),
            is_listed: Default::default(),
            is_troubled: Default::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// Has [`Self::run`] end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn store(&self) -> MutexGuard<'_, JobStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
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
            let patience = Patience::new(self.limit.min(LIMIT_OF_CHANGE), &is_over);
            let mut turn = Turn {
                releaser: self,
                tell,
                is_told: false,
                failed: Vec::new(),
                retry: None,
                pauses: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
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

    /// Renews the Lease until it is stopped, and gives it back then.
    fn hold_lease(&self, holder: &str) {
        let stopped = || self.stopped();
        let patience = Patience::new(self.limit.min(LIMIT_OF_CHANGE), &stopped);
        let api = Api::in_namespace(self.transport, &self.namespace, patience);
        while !self.stopped() {
            let pause = match self.knows_all().then(|| api.renew_lease(holder)) {
                None => FIRST_PAUSE,
                Some(Err(failure)) if failure.kind == FailureKind::Forbidden => PAUSE_WITHOUT_RIGHT,
                Some(_) => RENEWAL,
            };
            patience.sleep(pause);
        }
        let patience = Patience::new(Duration::from_secs(1), &|| false);
        // Where that does not succeed, it runs out.
        let _ = Api::in_namespace(self.transport, &self.namespace, patience).give_lease_back(holder);
    }
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

/// What makes the steps.
struct Turn<'a, 'b> {
    releaser: &'a Releaser<'a>,
    tell: &'b mut dyn FnMut(ReleaseNews) -> ControlFlow<()>,
    /// Whether it was told that all is known.
    is_told: bool,
    /// The jobs with which a step could not be made.
    failed: Vec<String>,
    /// When they come up again.
    retry: Option<Instant>,
    pauses: Backoff,
}

impl Turn<'_, '_> {
    /// Makes the steps that are to be made now.
    fn take(&mut self, patience: &Patience<'_>) -> ControlFlow<()> {
        if !self.releaser.knows_all() {
            return ControlFlow::Continue(());
        }
        let mut store = self.releaser.store();
        if self.retry.take_if(|retry| Instant::now() >= *retry).is_some() {
            self.failed.drain(..).for_each(|id| store.touch(&id));
        }
        if !self.is_told && self.failed.is_empty() && !self.releaser.is_troubled() {
            self.is_told = true;
            let waiting = store.count_waiting();
            drop(store);
            (self.tell)(ReleaseNews::Follows { waiting })?;
            store = self.releaser.store();
        }
        let steps: Vec<(String, Step)> = store.take_steps();
        drop(store);
        if steps.is_empty() {
            return ControlFlow::Continue(());
        }
        let (transport, namespace) = (self.releaser.transport, self.releaser.namespace.as_str());
        let outcomes = parallel_map(&steps, patience, |(job_id, step), patience| {
            take_step(&Api::in_namespace(transport, namespace, *patience), job_id, step)
        });
        let mut trouble = None;
        for ((job_id, step), outcome) in steps.into_iter().zip(outcomes) {
            if let Some(Ok(_)) = outcome {
                self.releaser.store().note_step(&job_id, &step);
            }
            match outcome {
                Some(Ok(true)) => {
                    let program = self.releaser.store().program_name(&job_id);
                    (self.tell)(match step {
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
                let api = Api::in_namespace(transport, namespace, *patience);
                let error = super::error_messages::error_at(&api, &failure, "change jobs", patience)
                    .meaning("Jobs that wait for others are not started for now.");
                self.is_told = false;
                (self.tell)(ReleaseNews::Trouble(error))?;
            }
        }
        ControlFlow::Continue(())
    }
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
        run_controller(&connection, "host-1", &mut |news| {
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
        let cluster = cluster([stays()], [Answer::Echo]).get("/pods?", [list(1, [pod("a", 1, ended(1))])]);
        let told = run_until(&cluster, |news| matches!(news, ReleaseNews::NotStarted { .. }));
        let ReleaseNews::NotStarted { cause, .. } = &told[1] else {
            panic!("{told:?}");
        };
        assert_eq!(cause.words(), "a failed");
        assert_eq!(cluster.sent()[0].1["spec"]["activeDeadlineSeconds"], 0);
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
        assert_eq!(told, [ReleaseNews::Follows { waiting: 0 }, b_released()]);
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
            run_controller(&connection, "host-1", &mut |news| {
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
        ) -> Result<(), Failure> {
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
            before: with_jobs(vec![job("a", 1), waiting_job("b")]),
            after: with_jobs(vec![job("a", 1), lost]),
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
}
