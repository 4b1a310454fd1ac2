//! The watches that keep what is known up to date, and what starts the jobs of plans in their turn by it.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::{Knowledge, Snapshots, State, CATCH_UP, SHOW};
use crate::domain::order::Step;
use crate::error::quote_shortened;
use crate::gateway::audit_log::AuditLog;
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::Api;
use crate::operations::{
    self, reflect, Audience, Change, Connection, JobStore, Kept, Part, ReleaseNews, Steps, LIMIT_OF_CHANGE,
};
use crate::transport::{Backoff, Patience};
use crate::{Error, ErrorClass};

/// After so long without a question the watches of a server that rests end, unless jobs wait for others; the next question
/// begins them anew.
const IDLE: Duration = Duration::from_secs(600);

/// A stream that was taken up again first hands over what has happened meanwhile. Once it is silent for so long, it has.
const QUIET: Duration = Duration::from_millis(250);

/// About how often the thread of a stream says that it lives.
const BEAT: Duration = Duration::from_millis(50);

/// The kinds of objects that are followed.
const KINDS: [Kind; 2] = [Kind::Jobs, Kind::Pods];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Jobs,
    Pods,
}

/// What a [`Following`] does.
#[derive(Debug)]
enum Task {
    /// It keeps the store up to date.
    Watch(Kind),
    /// It starts the jobs that wait for others, each in its turn, writes that down, and shows by a Lease in the name of
    /// `holder` that it is there. `is_alone`: whether it counts as the only server of the namespace, which it looks at.
    Release {
        holder: String,
        log: Arc<AuditLog>,
        is_alone: bool,
    },
}

/// Watches that keep a store up to date.
#[derive(Debug)]
pub(super) struct Follow {
    /// Tells it from others before and after it.
    number: u64,
    /// What tells the cluster and the login from others.
    source: String,
    pub(super) store: Arc<RwLock<JobStore>>,
    /// One for each of [`KINDS`].
    streams: [Stream; 2],
    /// Whether the store has changed since those who wait were told.
    is_untold: bool,
    /// Whether the cluster did not let a job be started in its turn when that was tried last.
    is_hindered: bool,
}

/// One of the watches.
#[derive(Debug, Default)]
struct Stream {
    /// When its LIST was begun.
    listed: Option<Instant>,
    /// When something was heard of the stream that is open, or it began.
    heard: Option<Instant>,
    /// Whether it has handed over what had happened before it was opened.
    is_settled: bool,
    /// When the store was last as the cluster was, in objects of this kind.
    live_at: Option<Instant>,
    /// Its resource version as a number, which it is (<https://kep.k8s.io/5504>), or 0.
    moment: u64,
    /// Since when nothing was heard that should be: no stream is open, as far as is known.
    silent_since: Option<Instant>,
    /// When it failed first, and how it failed last, until it goes on.
    failed: Option<(Instant, Error)>,
    wants_list: bool,
}

impl Stream {
    /// Whether nobody waits for it any more. One that has just broken goes on in a moment, where the cluster answers.
    fn is_given_up(&self) -> bool {
        let is_refused = self
            .failed
            .as_ref()
            .is_some_and(|(_, error)| matches!(error.class, ErrorClass::Forbidden | ErrorClass::Unauthorized));
        is_refused || self.silent_since.is_some_and(|since| since.elapsed() > CATCH_UP)
    }

    /// Notes that it is not open.
    fn is_closed(&mut self) {
        self.heard = None;
        self.is_settled = false;
        self.silent_since.get_or_insert_with(Instant::now);
    }
}

impl Follow {
    pub(super) fn is_of(&self, store: &Arc<RwLock<JobStore>>) -> bool {
        Arc::ptr_eq(&self.store, store)
    }

    /// When the store was last as the cluster was; long ago, where it never was.
    pub(super) fn live_at(&self) -> Instant {
        let live = self.streams.iter().map(|stream| stream.live_at);
        let live: Option<Vec<Instant>> = live.collect();
        let oldest = live.and_then(|live| live.into_iter().min());
        oldest.unwrap_or_else(|| {
            let now = Instant::now();
            now.checked_sub(IDLE).unwrap_or(now)
        })
    }

    /// Whether the store has all that the cluster had at `since`, which was the resource version `moment`, if that is known.
    fn has_caught_up(&mut self, since: Instant, moment: Option<u64>) -> bool {
        // The threads of the streams say that they live every now and then.
        let since = since.checked_sub(2 * BEAT).unwrap_or(since);
        self.streams.iter_mut().all(|stream| {
            if let (Some(moment), Some(_)) = (moment, stream.heard) {
                stream.is_settled |= stream.moment >= moment;
            }
            stream.is_settled && stream.live_at.is_some_and(|live| live >= since)
        })
    }
}

impl Snapshots {
    /// What is to be begun: the watches, and what starts jobs in their turn by them. Nothing where they are under way, or where
    /// a server rests that nobody has asked for long. Each needs a thread; see [`Following::run`]. `source` tells the cluster
    /// and the login that they would use; `holder` is the server's name in the Lease; `log` the server's log of decisions;
    /// `is_alone`: whether it counts as the only server of the namespace.
    pub fn begin_following(
        self: &Arc<Self>,
        source: &str,
        holder: &str,
        log: &Arc<AuditLog>,
        is_alone: bool,
    ) -> Vec<Following> {
        let mut state = self.state();
        let is_under_way = state.follow.as_ref().is_some_and(|follow| follow.source == source);
        if self.age.is_zero() || !self.is_awake(&state) || is_under_way {
            return Vec::new();
        }
        state.follows += 1;
        let number = state.follows;
        state.follow = Some(Follow {
            number,
            source: source.to_string(),
            store: Arc::default(),
            streams: Default::default(),
            is_untold: false,
            is_hindered: false,
        });
        // What was seen elsewhere says nothing.
        state.held = None;
        drop(state);
        self.ended.notify_all();
        let following = |task| Following {
            snapshots: Arc::clone(self),
            number,
            task,
        };
        let release = Task::Release {
            holder: holder.into(),
            log: Arc::clone(log),
            // It is looked at once.
            is_alone: is_alone && number == 1,
        };
        let tasks = KINDS.map(Task::Watch).into_iter().chain([release]);
        tasks.map(following).collect()
    }

    /// Whether the watches are wanted, whatever waits.
    fn is_awake(&self, state: &State) -> bool {
        !self.rests || state.asked.is_some_and(|asked| asked.elapsed() < IDLE)
    }

    /// Whether jobs that wait for others could be started in their turn when that was tried last.
    pub fn starts_in_turn(&self) -> bool {
        !self.state().follow.as_ref().is_some_and(|follow| follow.is_hindered)
    }

    /// Ends the watches.
    pub fn stop_following(&self) {
        self.state().follow = None;
        self.ended.notify_all();
    }

    /// Sees to it that the watches show what the cluster has at a moment after `begin`: gives back what they show, and the
    /// moment. `None`: there are no watches, or they do not get on.
    ///
    /// Errors: the cluster does not answer.
    pub(super) fn look_by_watches(
        &self,
        connection: &Connection<'_>,
        begin: Instant,
    ) -> Result<Option<(Knowledge, Instant)>, Error> {
        let Some(number) = self.wait_for_first_list(connection, begin)? else {
            return Ok(None);
        };
        if let Some(seen) = self.listed_since(number, begin) {
            return Ok(Some(seen));
        }
        let begun = Instant::now();
        let before = self.moment_of_jobs();
        let moment: Option<u64> = operations::current_version(connection)?.parse().ok();
        if moment.is_some_and(|moment| moment < before) {
            // The cluster was set up anew, or it is another one.
            self.want_lists(number);
            return Ok(None);
        }
        let until = Instant::now() + CATCH_UP;
        let mut state = self.state();
        loop {
            state.forget_what_is_shown();
            // What was done since is another look's.
            let unshown = state.unshown_since(&|_, when| when <= begun).map(|since| since + SHOW);
            let Some(follow) = state.follow.as_mut().filter(|follow| follow.number == number) else {
                return Ok(None);
            };
            if follow.has_caught_up(begun, moment) && unshown.is_none() {
                let seen = follow.live_at().min(begun);
                return Ok(Some((Knowledge::Followed(Arc::clone(&follow.store)), seen)));
            }
            let until = unshown.map_or(until, |unshown| unshown.min(until));
            if follow.streams.iter().any(Stream::is_given_up) || Instant::now() >= until {
                return Ok(None);
            }
            state = self.wait(state, until.min(Instant::now() + BEAT / 2));
        }
    }

    /// Waits until the watches have begun with their LISTs. The number of the watches; `None`: there are none, or they had
    /// failed before `begin`.
    ///
    /// Errors: that of a LIST.
    fn wait_for_first_list(&self, connection: &Connection<'_>, begin: Instant) -> Result<Option<u64>, Error> {
        let deadline = connection.patience.deadline();
        let mut state = self.state();
        loop {
            let Some(follow) = &state.follow else {
                return Ok(None);
            };
            if follow.streams.iter().all(|stream| stream.listed.is_some()) {
                return Ok(Some(follow.number));
            }
            // A watch that is refused after its LIST is no failure of the LIST.
            let mut unlisted = follow.streams.iter().filter(|stream| stream.listed.is_none());
            if let Some((when, error)) = unlisted.find_map(|stream| stream.failed.as_ref()) {
                return match *when >= begin {
                    true => Err(error.clone()),
                    false => Ok(None),
                };
            }
            if deadline.has_passed() || deadline.is_interrupted() {
                return Ok(None);
            }
            state = self.wait(state, deadline.end().min(Instant::now() + BEAT));
        }
    }

    /// What the LISTs of the watches show, where both were begun after `begin`.
    fn listed_since(&self, number: u64, begin: Instant) -> Option<(Knowledge, Instant)> {
        let state = self.state();
        let follow = state.follow.as_ref().filter(|follow| follow.number == number)?;
        let listed: Option<Vec<Instant>> = follow.streams.iter().map(|stream| stream.listed).collect();
        let first = listed?.into_iter().min()?;
        let is_failing = follow.streams.iter().any(|stream| stream.failed.is_some());
        (first >= begin && !is_failing).then(|| (Knowledge::Followed(Arc::clone(&follow.store)), first))
    }

    fn moment_of_jobs(&self) -> u64 {
        self.state()
            .follow
            .as_ref()
            .map_or(0, |follow| follow.streams[0].moment)
    }

    fn want_lists(&self, number: u64) {
        let mut state = self.state();
        if let Some(follow) = state.follow.as_mut().filter(|follow| follow.number == number) {
            for stream in &mut follow.streams {
                stream.wants_list = true;
                stream.is_settled = false;
                stream.live_at = None;
            }
        }
    }
}

/// One of the watches, or what starts jobs in their turn by them; for the thread in which it runs.
#[derive(Debug)]
pub struct Following {
    snapshots: Arc<Snapshots>,
    number: u64,
    task: Task,
}

impl Drop for Following {
    fn drop(&mut self) {
        // However its thread ended: all is begun anew.
        let mut state = self.snapshots.state();
        state.follow.take_if(|follow| follow.number == self.number);
        drop(state);
        self.snapshots.ended.notify_all();
    }
}

impl Following {
    /// Works until it is not wanted any more, or the server is gone.
    pub fn run(&self, connection: &Connection<'_>) {
        match &self.task {
            Task::Watch(kind) => {
                let watch = Watch {
                    following: self,
                    kind: *kind,
                };
                match kind {
                    Kind::Jobs => reflect::<Job>(connection, &watch),
                    Kind::Pods => reflect::<Pod>(connection, &watch),
                }
            }
            Task::Release { holder, log, is_alone } => self.release(connection, holder, log, *is_alone),
        }
    }

    /// Does something with the watches, unless others have taken their place.
    fn with<T>(&self, work: impl FnOnce(&mut Follow) -> T) -> Option<T> {
        let mut state = self.snapshots.state();
        let follow = state.follow.as_mut().filter(|follow| follow.number == self.number)?;
        Some(work(follow))
    }

    fn is_over(&self) -> bool {
        self.with(|_| ()).is_none()
    }

    fn store(&self) -> Option<Arc<RwLock<JobStore>>> {
        self.with(|follow| Arc::clone(&follow.store))
    }

    /// Starts the jobs that wait for others, as long as there are the watches by which it knows of them. Somebody else may
    /// do the same: each step is made on the Job as it is then.
    fn release(&self, connection: &Connection<'_>, holder: &str, log: &AuditLog, is_alone: bool) {
        let is_over = || self.is_over();
        let limit = connection.patience.limit().min(LIMIT_OF_CHANGE);
        let patience = Patience::new(limit, &is_over);
        let connection = Connection {
            patience,
            ..*connection
        };
        let mut pauses = Backoff::new(BEAT, QUIET);
        let (api, store) = loop {
            match (
                Api::new(connection.transport, connection.namespace, patience),
                self.store(),
            ) {
                (_, None) => return,
                (Ok(api), Some(store)) => break (api, store),
                // The watches fail as well, and say so.
                (Err(_), Some(_)) => pauses.sleep(&patience),
            };
        };
        let knows_all = |follow: &mut Follow| follow.streams.iter().all(|stream| stream.listed.is_some());
        thread::scope(|scope| {
            let (transport, namespace) = (connection.transport, api.namespace());
            scope.spawn(move || {
                let is_over = || self.is_over();
                let patience = Patience::new(limit, &is_over);
                let api = Api::in_namespace(transport, namespace, patience);
                operations::hold_lease(&api, &patience, holder, &|| self.with(knows_all) == Some(true));
            });
            if is_alone {
                scope.spawn(move || {
                    let is_over = || self.is_over();
                    let api = Api::in_namespace(transport, namespace, Patience::new(limit, &is_over));
                    if let Some(other) = api.other_holder(holder) {
                        eprintln!("{}", not_alone(&other));
                    }
                });
            }
            let make = |api: &Api<'_>, job_id: &str, step: &Step| {
                let job = store.read().unwrap_or_else(PoisonError::into_inner).job(job_id);
                log.of_own_accord(job.as_ref(), step, || operations::take_step(api, job_id, step))
            };
            let mut steps = Steps::default();
            while let Some(knows_all) = self.with(knows_all) {
                if knows_all {
                    let _ = steps.take(&api, &patience, &store, &make, &mut |news| {
                        // It is tried again.
                        let is_hindered = matches!(news, ReleaseNews::Trouble(_));
                        self.with(|follow| follow.is_hindered = is_hindered);
                        ControlFlow::Continue(())
                    });
                }
                // The watches say when something has changed.
                drop(self.snapshots.wait(self.snapshots.state(), Instant::now() + BEAT));
            }
        });
    }
}

/// What is said of another one who holds the Lease, to the administrator of a server that counts as the only one.
fn not_alone(other: &str) -> String {
    format!(
        "abba: {} holds the Lease of the namespace: another abba server, or a controller. Where it is a server, both together \
         let a caller have twice what the options say: set `abba.api.servers` for each of them.",
        quote_shortened(other)
    )
}

/// One of the watches.
struct Watch<'a> {
    following: &'a Following,
    kind: Kind,
}

impl Watch<'_> {
    /// Whether nobody has asked for long, and nothing waits for others.
    fn is_idle(&self) -> bool {
        let snapshots = self.snapshots();
        if snapshots.is_awake(&snapshots.state()) {
            return false;
        }
        let store = self.following.store();
        let waiting = store.map(|store| store.read().unwrap_or_else(PoisonError::into_inner).count_waiting());
        waiting.unwrap_or(0) == 0
    }

    fn snapshots(&self) -> &Snapshots {
        &self.following.snapshots
    }

    /// Does something with the watch, unless others have taken its place.
    fn with<T>(&self, work: impl FnOnce(&mut Follow, &mut Stream) -> T) -> Option<T> {
        self.following.with(|follow| {
            let place = self.kind as usize;
            let mut stream = std::mem::take(&mut follow.streams[place]);
            let result = work(follow, &mut stream);
            follow.streams[place] = stream;
            result
        })
    }
}

impl Audience for Watch<'_> {
    fn listed(&self, begun: Instant, parts: Vec<Part>) {
        if let Some(store) = self.following.store() {
            let mut store = store.write().unwrap_or_else(PoisonError::into_inner);
            match self.kind {
                Kind::Jobs => Job::replace(&mut store, parts),
                Kind::Pods => Pod::replace(&mut store, parts),
            }
        }
        self.with(|_, stream| {
            *stream = Stream {
                listed: Some(begun),
                live_at: Some(begun),
                silent_since: Some(Instant::now()),
                ..Default::default()
            };
        });
        self.snapshots().ended.notify_all();
    }

    fn heard(&self) {
        self.with(|_, stream| {
            stream.heard = Some(Instant::now());
            stream.silent_since = None;
            stream.failed = None;
        });
    }

    fn changed(&self, change: Change) {
        let Some(store) = self.following.store() else {
            return;
        };
        let (before, after) = {
            let mut store = store.write().unwrap_or_else(PoisonError::into_inner);
            let before = store.version();
            match change {
                Change::Is(part) => store.put(part),
                Change::Gone(part) => store.remove(&part),
            }
            (before, store.version())
        };
        if before != after {
            self.with(|follow, _| follow.is_untold = true);
            // Somebody waits for what they have done.
            let is_awaited = self.snapshots().state().unshown_since(&|_, _| true).is_some();
            if is_awaited {
                self.snapshots().ended.notify_all();
            }
        }
    }

    fn stands_at(&self, resource_version: &str) {
        let moment = resource_version.parse().unwrap_or(0);
        self.with(|_, stream| stream.moment = stream.moment.max(moment));
    }

    fn ended(&self) {
        self.with(|_, stream| stream.is_closed());
    }

    fn failed(&self, error: &Error) {
        self.ended();
        self.with(|_, stream| {
            // Who may list and not watch looks now and then: jobs may wait.
            stream.wants_list |= error.class == ErrorClass::Forbidden && stream.listed.is_some();
            let since = stream.failed.take().map_or_else(Instant::now, |(since, _)| since);
            stream.failed = Some((since, error.clone()));
        });
        self.snapshots().ended.notify_all();
    }

    fn stops(&self) -> bool {
        if self.snapshots().rests && self.is_idle() {
            return true;
        }
        let is_untold = self.with(|follow, stream| {
            let now = Instant::now();
            stream.is_settled |= stream.heard.is_some_and(|heard| now >= heard + QUIET);
            if stream.is_settled {
                stream.live_at = Some(now);
            }
            std::mem::take(&mut follow.is_untold)
        });
        if is_untold == Some(true) {
            self.snapshots().ended.notify_all();
        }
        is_untold.is_none()
    }

    fn wants_list(&self) -> bool {
        self.with(|_, stream| stream.wants_list).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, Scope};

    use serde_json::{json, Value};

    use super::*;
    use crate::gateway::fake_cluster::{server_with, Server, JOBS};
    use crate::transport::FailureKind;

    /// Longer than any test stands still.
    const LONG: Duration = Duration::from_secs(120);

    /// A server for whose answers the cluster is looked at all the time.
    fn server() -> Server {
        Server {
            patience: LONG,
            ..server_with(|settings| settings.snapshot_seconds = 0.02)
        }
    }

    struct Ends<'a>(&'a Server);

    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.cluster.holds_events(false);
            self.0.gateway.snapshots.stop_following();
        }
    }

    /// Has the server follow its cluster, as it does from its first question on, until the guard is gone.
    fn follow<'scope, 'env>(server: &'env Server, scope: &'scope Scope<'scope, 'env>) -> Ends<'env> {
        server.gateway.snapshots.note_question();
        let ends = Ends(server);
        for following in server.gateway.begin_following("the cluster", "server-1") {
            scope.spawn(move || following.run(&server.connection()));
        }
        assert!(server.gateway.begin_following("the cluster", "server-1").is_empty());
        ends
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(begin.elapsed() < LONG);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn status(server: &Server, user: &str, id: &str) -> (u16, Value) {
        server.get(user, &format!("job-status?job_id={id}"))
    }

    fn is(server: &Server, id: &str, name: &str) -> bool {
        status(server, "daemon", id).1.get(name).is_some()
    }

    fn whole_lists(server: &Server) -> (usize, usize) {
        (server.cluster.whole_lists("jobs"), server.cluster.whole_lists("pods"))
    }

    #[test]
    fn one_list_of_each_kind_serves_all_that_is_asked_and_done() {
        let server = server();
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            let id = server.submit("daemon", "b");
            assert!(is(&server, &id, "Pending"));
            server.cluster.start(&id);
            wait_until(|| is(&server, &id, "Running"));
            server.cluster.ends(&id, "x\n");
            wait_until(|| is(&server, &id, "Succeeded"));
            assert_eq!(server.get("daemon", "jobs").1[0]["status"], "Succeeded");
            assert_eq!(server.get("daemon", "batch-status?batch_id=b").0, 200);
            assert_eq!(server.get("bin", "jobs").1, json!([]));
            server.cluster.objects.lock().unwrap().clear();
            wait_until(|| status(&server, "daemon", &id).0 == 404);
            assert_eq!(server.get("daemon", "jobs").1, json!([]));
            assert_eq!(whole_lists(&server), (1, 1));
            assert!(server.gateway.snapshots.is_followed());
        });
    }

    #[test]
    fn what_a_caller_has_done_shows_in_their_next_answer_however_late_the_watch_is() {
        let server = server();
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            assert_eq!(server.get("daemon", "jobs").1, json!([]));
            server.cluster.holds_events(true);
            let id = server.submit("daemon", "b");
            let asked = scope.spawn({
                let (server, id) = (&server, id.clone());
                move || (status(server, "daemon", &id).0, server.get("daemon", "jobs").1)
            });
            server.cluster.holds_events(false);
            let (status_of_it, rows) = asked.join().unwrap();
            assert_eq!((status_of_it, &rows[0]["job_id"]), (200, &json!(id)));

            server.cluster.start(&id);
            wait_until(|| is(&server, &id, "Running"));
            server.cluster.holds_events(true);
            let done = server.post("daemon", "cancel-job", &json!({"job_id": id}), None);
            assert_eq!(done.0, 200);
            let reason = scope.spawn({
                let server = &server;
                move || server.get("daemon", "jobs").1[0]["reason"].to_string()
            });
            server.cluster.holds_events(false);
            let reason = reason.join().unwrap();
            assert!(reason.contains("cancelled"), "{reason}");
            assert_eq!(whole_lists(&server), (1, 1));
        });
    }

    #[test]
    fn nobody_waits_until_the_watch_shows_what_another_caller_has_done() {
        // What was heard is good for as long as the test lasts.
        let server = Server {
            patience: LONG,
            ..server_with(|settings| settings.snapshot_seconds = 600.0)
        };
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            let (mine, theirs) = (server.submit("daemon", "b"), server.submit("bin", "b"));
            server.cluster.start(&theirs);
            wait_until(|| is(&server, &mine, "Pending"));
            wait_until(|| status(&server, "bin", &theirs).1.get("Running").is_some());
            let looks = server.cluster.count("&limit=1");
            server.cluster.holds_events(true);
            let done = server.post("bin", "cancel-job", &json!({"job_id": theirs}), None);
            assert_eq!(done.0, 200, "{}", done.1);
            server.submit("bin", "b");
            assert!(is(&server, &mine, "Pending"));
            assert_eq!(server.get("daemon", "jobs").1.as_array().unwrap().len(), 1);
            // The operator's answer, too, has what was seen.
            assert_eq!(server.get("sys", "jobs").1.as_array().unwrap().len(), 2);
            assert_eq!(server.cluster.count("&limit=1"), looks);
            assert_eq!(whole_lists(&server), (1, 1));
        });
    }

    #[test]
    fn what_another_server_has_done_is_known_when_it_is_asked_for() {
        let server = server();
        let id = server.submit("daemon", "theirs");
        let job = server.cluster.job(&id);
        server.cluster.objects.lock().unwrap().clear();
        let server = Server {
            cluster: server.cluster,
            ..self::server()
        };
        let before = whole_lists(&server);
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            assert_eq!(server.get("daemon", "jobs").1, json!([]));
            server.cluster.holds_events(true);
            server
                .cluster
                .objects
                .lock()
                .unwrap()
                .insert(format!("{JOBS}/{id}"), job);
            let asked = scope.spawn(|| {
                let by_batch = server.get("daemon", "batch-status?batch_id=theirs").0;
                (status(&server, "daemon", &id).0, by_batch)
            });
            server.cluster.holds_events(false);
            assert_eq!(asked.join().unwrap(), (200, 200));
            assert_eq!(whole_lists(&server), (before.0 + 1, before.1 + 1));
        });
    }

    #[test]
    fn an_id_that_is_not_there_or_somebody_elses_costs_one_question() {
        let server = server();
        let theirs = server.submit("bin", "theirs");
        let none = theirs.replace(|c: char| c.is_ascii_digit(), "0");
        let before = whole_lists(&server);
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            for _ in 0..10 {
                for (id, batch) in [(&theirs, "theirs"), (&none, "none")] {
                    assert_eq!(status(&server, "daemon", id).0, 404);
                    assert_eq!(server.get("daemon", &format!("batch-status?batch_id={batch}")).0, 404);
                }
            }
            for (id, batch) in [(&theirs, "theirs"), (&none, "none")] {
                assert_eq!(server.cluster.count(&format!("GET {JOBS}/{id}")), 1);
                assert_eq!(server.cluster.count(&format!("batch-id%3D{batch}")), 1);
            }
            assert_eq!(whole_lists(&server), (before.0 + 1, before.1 + 1));
            assert_eq!(status(&server, "bin", &theirs).0, 200);
        });
    }

    #[test]
    fn a_stream_that_breaks_is_taken_up_where_it_was() {
        let server = server();
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            let id = server.submit("daemon", "b");
            for state in ["Running", "Succeeded"] {
                server.cluster.holds_events(true);
                match state {
                    "Running" => server.cluster.start(&id),
                    _ => server.cluster.ends(&id, ""),
                }
                server.cluster.breaks_streams();
                server.cluster.holds_events(false);
                wait_until(|| is(&server, &id, state));
            }
            assert_eq!(whole_lists(&server), (1, 1));
            wait_until(|| server.cluster.count("jobs?watch=1") >= 2);
        });
    }

    #[test]
    fn an_outage_is_told_with_the_age_of_what_is_known_and_ends_by_itself() {
        let server = server();
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            let id = server.submit("daemon", "b");
            assert_eq!(server.get("daemon", "jobs").0, 200);
            server.cluster.fails("GET", FailureKind::Unreachable);
            server.cluster.breaks_streams();
            server.cluster.start(&id);
            wait_until(|| server.get("daemon", "jobs").0 != 200);
            for target in ["jobs".to_string(), format!("job-status?job_id={id}")] {
                let (status, body) = server.get("daemon", &target);
                assert_eq!((status, &body["class"]), (502, &json!("unavailable")), "{body}");
                let consequence = body["consequence"].as_str().unwrap();
                assert!(
                    consequence.contains("What the abba server knows of jobs is"),
                    "{consequence}"
                );
            }
            server.cluster.heals();
            server.gateway.forget_outage();
            wait_until(|| is(&server, &id, "Running"));
            wait_until(|| {
                let _ = server.get("daemon", "jobs");
                server.gateway.snapshots.is_followed()
            });
        });
    }

    #[test]
    fn a_cluster_that_was_set_up_anew_is_listed_anew() {
        let server = server();
        server.cluster.begins_at(1000);
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            let id = server.submit("daemon", "b");
            assert_eq!(status(&server, "daemon", &id).0, 200);
            server.cluster.is_set_up_anew();
            wait_until(|| status(&server, "daemon", &id).0 == 404);
            let id = server.submit("daemon", "b");
            assert_eq!(status(&server, "daemon", &id).0, 200);
            wait_until(|| {
                let _ = server.get("daemon", "jobs");
                server.gateway.snapshots.is_followed()
            });
        });
    }

    #[test]
    fn where_the_server_may_not_watch_lists_serve() {
        let server = server();
        server.cluster.fails("jobs?watch=1", FailureKind::Forbidden);
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            let id = server.submit("daemon", "b");
            assert!(is(&server, &id, "Pending"));
            server.cluster.start(&id);
            wait_until(|| is(&server, &id, "Running"));
            wait_until(|| {
                let _ = server.get("daemon", "jobs");
                !server.gateway.snapshots.is_followed()
            });
            server.cluster.ends(&id, "");
            wait_until(|| is(&server, &id, "Succeeded"));
        });
    }

    #[test]
    fn a_login_for_which_there_are_other_watches_does_not_see_what_was_seen_before() {
        let server = server();
        let id = server.submit("daemon", "b");
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            assert_eq!(status(&server, "daemon", &id).0, 200);
            server.cluster.objects.lock().unwrap().clear();
            let others = server.gateway.begin_following("another cluster", "server-1");
            assert_eq!(others.len(), 3);
            for following in others {
                let server = &server;
                scope.spawn(move || following.run(&server.connection()));
            }
            assert_eq!(status(&server, "daemon", &id).0, 404);
        });
    }

    #[test]
    fn what_happens_ends_the_wait_of_those_who_wait_for_it() {
        let server = server_with(|settings| settings.snapshot_seconds = 3600.0);
        let server = Server {
            patience: LONG,
            ..server
        };
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            let id = server.submit("daemon", "b");
            let (_, before) = server.get("daemon", "watch-jobs?batch_id=b");
            let target = format!("watch-jobs?batch_id=b&state={}", before["state"].as_str().unwrap());
            let waiting = scope.spawn({
                let server = &server;
                // Each wait has its limit.
                move || while server.get("daemon", &target).1["counts"].get("Running").is_none() {}
            });
            wait_until(|| server.gateway.places.watching() == 1);
            server.cluster.start(&id);
            waiting.join().unwrap();
            assert_eq!(whole_lists(&server), (1, 1));
            // An answer is good for an hour here: it was the event.
            assert!(server.cluster.count("&limit=1") <= 1);
        });
    }

    /// Submits three programs of batch "b": "b" runs after "a", and "c" after "b". Their ids.
    fn submit_chain(server: &Server) -> [String; 3] {
        let ids = ["a", "b", "c"].map(|name| format!("{name}-fbc3131d-a850-4081-8224-c06ef32821da"));
        let programs: Vec<Value> = ids
            .iter()
            .enumerate()
            .map(|(place, id)| {
                let before = place
                    .checked_sub(1)
                    .map(|before| (ids[before].clone(), json!("before")));
                let after: serde_json::Map<_, _> = before.into_iter().collect();
                json!({"file_path": "x.R", "program_text": "1", "job_id": id, "batch_group_id": "b", "after": after})
            })
            .collect();
        let (status, body) = server.post("daemon", "submit-batch", &json!({"programs": programs}), None);
        assert_eq!(status, 200, "{body}");
        ids
    }

    fn is_let_go(server: &Server, id: &str) -> bool {
        server.cluster.job(id)["spec"]["suspend"] == false
    }

    #[test]
    fn jobs_start_in_their_turn_with_nobody_asking_and_the_lease_says_who_starts_them() {
        let server = server();
        let [a, b, c] = submit_chain(&server);
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            server.gateway.snapshots.state().asked = None;
            server.cluster.ends(&a, "");
            wait_until(|| is_let_go(&server, &b));
            assert!(!is_let_go(&server, &c));
            let lease = "/apis/coordination.k8s.io/v1/namespaces/n/leases/abba-controller";
            let holder = || {
                let leases = server.cluster.leases.lock().unwrap();
                leases.get(lease).map(|lease| lease["spec"]["holderIdentity"].clone())
            };
            wait_until(|| holder() == Some(json!("server-1")));
            let (_, explained) = server.get("daemon", &format!("explain-job?id={c}"));
            let advice = explained["advice"].as_str().unwrap();
            assert!(advice.contains("A controller of abba is there to start it"), "{advice}");
            server.cluster.runs(&b, json!({"terminated": {"exitCode": 1}}));
            wait_until(|| is_let_go(&server, &c));
            let not_started = server.cluster.job(&c);
            assert_eq!(not_started["spec"]["activeDeadlineSeconds"], 0);
            wait_until(|| status(&server, "daemon", &c).1.get("Failed").is_some());
            server.gateway.snapshots.stop_following();
            wait_until(|| holder() == Some(Value::Null));
        });
        // What it does by itself stands in the log as what it does for a caller.
        for (id, what, done, reason) in [
            (&b, "start-in-turn", "released", ""),
            (&c, "keep-from-starting", "not started", "x failed"),
        ] {
            let [intent, outcome] = own_deeds(&server, id).try_into().unwrap();
            for line in [&intent, &outcome] {
                assert_eq!(
                    (&line["actor"], &line["who"], &line["owner"], &line["what"]),
                    (&json!("server"), &Value::Null, &json!("daemon"), &json!(what))
                );
                assert_eq!((&line["batch"], &line["request"]), (&json!("b"), &intent["request"]));
            }
            assert_eq!(
                (&intent["phase"], &intent["state"]),
                (&json!("intent"), &json!("Pending"))
            );
            assert!(
                intent["image"].is_string() && intent["account"]["uid"].is_number(),
                "{intent}"
            );
            assert_eq!(
                (&outcome["phase"], &outcome["decision"]),
                (&json!("outcome"), &json!("allowed"))
            );
            assert_eq!((&outcome["done"], &outcome["reason"]), (&json!(done), &json!(reason)));
        }
    }

    /// The lines about what the server has done to a job by itself.
    fn own_deeds(server: &Server, id: &str) -> Vec<Value> {
        let lines = server.gateway.audit_log().lines();
        let is_meant = |line: &Value| line["actor"] == "server" && line["job"] == id;
        lines.into_iter().filter(is_meant).collect()
    }

    #[test]
    fn no_job_is_started_in_its_turn_that_cannot_be_written_down_where_it_must_be() {
        let full = server_with(|settings| settings.log.file = Some("/dev/full".into()));
        let mut server = server();
        let [a, b, _] = submit_chain(&server);
        server.gateway = full.gateway;
        server.gateway.audit_log_mut().is_required = true;
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            server.cluster.ends(&a, "");
            wait_until(|| !server.gateway.snapshots.starts_in_turn());
        });
        assert_eq!(server.cluster.count(&format!("PUT {JOBS}/{b}")), 0);
    }

    #[test]
    fn a_step_that_fails_is_made_again_and_what_was_made_elsewhere_is_no_trouble() {
        let server = server();
        let [a, b, c] = submit_chain(&server);
        server.cluster.fails(&format!("PUT {JOBS}/{b}"), FailureKind::Forbidden);
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            server.cluster.ends(&a, "");
            wait_until(|| !server.gateway.snapshots.starts_in_turn());
            let (_, explained) = server.get("daemon", &format!("explain-job?id={b}"));
            let advice = explained["advice"].as_str().unwrap();
            assert!(
                advice.contains("The cluster does not let the abba server start it for now"),
                "{advice}"
            );
            server.cluster.heals();
            wait_until(|| is_let_go(&server, &b) && server.gateway.snapshots.starts_in_turn());
            let decisions: Vec<Value> = own_deeds(&server, &b)
                .iter()
                .map(|line| line["decision"].clone())
                .collect();
            assert!(decisions.contains(&json!("failed")) && decisions.last() == Some(&json!("allowed")));
            // Another one lets the last go.
            server.cluster.releases(&c);
            server.cluster.ends(&b, "");
            server.cluster.ends(&c, "");
            wait_until(|| is(&server, &c, "Succeeded"));
        });
    }

    #[test]
    fn a_server_that_may_list_and_not_watch_starts_them_too() {
        let server = server();
        server.cluster.fails("watch=1", FailureKind::Forbidden);
        let [a, b, _] = submit_chain(&server);
        thread::scope(|scope| {
            let _ends = follow(&server, scope);
            wait_until(|| server.cluster.count("pods?watch=1") > 0);
            server.cluster.ends(&a, "");
            wait_until(|| is_let_go(&server, &b));
        });
    }

    #[test]
    fn a_server_of_ones_own_rests_where_nobody_asks_and_no_other_does() {
        let begun = |server: &Server| server.gateway.begin_following("the cluster", "server-1").len();
        let mut server = self::server();
        server.gateway.snapshots = Arc::new(Snapshots::new(Duration::from_secs(1), true));
        server.gateway.snapshots.state().asked = None;
        assert_eq!(begun(&server), 0);
        server.gateway.snapshots.note_question();
        let watches = server.gateway.begin_following("the cluster", "server-1");
        assert_eq!((watches.len(), begun(&server)), (3, 0));
        // They end without having begun, as where there is no thread for one.
        drop(watches);
        assert_eq!(begun(&server), 3);
        let of_department = self::server();
        of_department.gateway.snapshots.state().asked = None;
        assert_eq!(begun(&of_department), 3);
        let never = server_with(|settings| settings.snapshot_seconds = 0.0);
        assert_eq!(begun(&never), 0);
    }
}
