//! Keeps what is known of all Jobs, or of all pods, up to date as Kubernetes' own controllers do: one LIST, and from its
//! moment on a watch, which is taken up again where it stood (client-go: `tools/cache/reflector.go`).

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::job_store::{list_parts, Kept, Part};
use super::observation::UNTOUCHED;
use super::{reconnect, Connection};
use crate::error::Error;
use crate::kubernetes::api::{ALL, REFLECT_SECONDS};
use crate::kubernetes::objects::WatchEvent;
use crate::kubernetes::LabelSelector;
use crate::transport::{Backoff, Failure, FailureKind, Patience};

/// A stream that is silent for longer than the server keeps one open is dead.
const LONGEST_SILENCE: Duration = Duration::from_secs(REFLECT_SECONDS as u64 + 10);

/// How often in a row a stream may fail to open before there is another LIST: the server may not know its moment.
const FAILURES_BEFORE_LIST: usize = 5;

/// The longest pause after a refusal that only an administrator can end.
const LONGEST_PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// A change of an object.
#[derive(Debug)]
pub enum Change {
    /// The object is so now.
    Is(Part),
    /// It is gone.
    Gone(Part),
}

/// The one for whom objects are followed. All is told in the thread that follows them.
pub trait Audience {
    /// All objects, as they were at a moment after `begun`.
    fn listed(&self, begun: Instant, parts: Vec<Part>);

    /// Something of a stream has come, or it has begun: it is alive.
    fn heard(&self);

    /// An object has changed; `moment` is the resource version.
    fn changed(&self, change: Change);

    /// How far the stream has come, as a resource version.
    fn stands_at(&self, resource_version: &str);

    /// The stream has ended; it is taken up again at once.
    fn ended(&self);

    /// The stream, or the LIST, has failed; it is tried again after a pause.
    fn failed(&self, error: &Error);

    /// Asked twenty times a second, also while nothing happens: whether to stop.
    fn stops(&self) -> bool;

    /// Whether it is time to begin with a LIST again, because what the cluster says does not fit to the stream.
    fn wants_list(&self) -> bool;

    /// For how long nothing may come of a stream until it is taken for dead.
    fn longest_silence(&self) -> Duration {
        LONGEST_SILENCE
    }
}

/// Where a stream goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The user's configuration, which leads to the API server.
    configuration: Option<u64>,
    namespace: String,
    resource_version: String,
}

/// How a stream ended.
enum Ended {
    Stopped,
    /// By the server, which ends each after a while.
    Closed,
    /// The server does not know its moment any more.
    Expired,
    Failed(Error, FailureKind),
}

/// Follows all objects of a kind until its audience stops.
pub fn reflect<T: Kept>(connection: &Connection<'_>, audience: &dyn Audience) {
    reflect_some::<T>(connection, &ALL, audience);
}

/// The same for those of a selection.
pub(super) fn reflect_some<T: Kept>(
    connection: &Connection<'_>,
    selection: &LabelSelector<'_>,
    audience: &dyn Audience,
) {
    let stops = || audience.stops();
    let connection = &Connection {
        patience: Patience::new(connection.patience.limit(), &stops),
        ..*connection
    };
    let mut reflector = Reflector {
        connection,
        selection,
        audience,
        place: None,
        failures: 0,
    };
    let mut backoff = reconnect::backoff();
    let mut refusals = Backoff::new(reconnect::LONGEST_PAUSE, LONGEST_PAUSE_AFTER_REFUSAL);
    while !audience.stops() {
        let begin = Instant::now();
        let ended = reflector.round::<T>();
        if begin.elapsed() > reconnect::LONGEST_PAUSE {
            backoff.reset();
        }
        match ended {
            Ended::Stopped => return,
            Ended::Closed => audience.ended(),
            Ended::Expired => {
                audience.ended();
                reflector.place = None;
            }
            Ended::Failed(error, kind) => {
                audience.failed(&error);
                if kind.wants_login() || matches!(kind, FailureKind::Forbidden | FailureKind::Unauthorized) {
                    refusals.sleep(&connection.patience);
                    continue;
                }
            }
        }
        // Whatever ends a stream at once again and again must not make a storm of requests.
        backoff.sleep(&connection.patience);
    }
}

struct Reflector<'a> {
    connection: &'a Connection<'a>,
    selection: &'a LabelSelector<'a>,
    audience: &'a dyn Audience,
    place: Option<Place>,
    /// How many streams in a row have failed without having begun.
    failures: usize,
}

impl Reflector<'_> {
    /// A LIST, where one is needed, and a stream.
    fn round<T: Kept>(&mut self) -> Ended {
        let api = match self.connection.api() {
            Ok(api) => api,
            Err(error) => return Ended::Failed(error, FailureKind::Other),
        };
        let error = |failure: &Failure, doing: &str| {
            let doing = format!("{doing} {}", T::NAME);
            self.connection.error(&api, failure, &doing).meaning(UNTOUCHED)
        };
        if self.failures > 0 || self.audience.wants_list() {
            // A moment says nothing in another cluster, nor in one that was set up anew.
            let configuration = api
                .transport()
                .configuration_number(&self.connection.patience.deadline());
            self.place.take_if(|place| {
                place.configuration != configuration
                    || place.namespace != api.namespace()
                    || self.failures >= FAILURES_BEFORE_LIST
                    || self.audience.wants_list()
            });
        }
        let place = match &mut self.place {
            Some(place) if place.namespace == api.namespace() => place,
            _ => {
                let begun = Instant::now();
                // Before the LIST: where it is changed meanwhile, the next failure sees that.
                let configuration = api
                    .transport()
                    .configuration_number(&self.connection.patience.deadline());
                let (parts, resource_version) = match list_parts::<T>(&api, self.selection) {
                    Ok(listed) => listed,
                    Err(failure) if failure.kind == FailureKind::Interrupted => return Ended::Stopped,
                    Err(failure) => return Ended::Failed(error(&failure, "list"), failure.kind),
                };
                self.audience.listed(begun, parts);
                self.audience.stands_at(&resource_version);
                self.failures = 0;
                self.place.insert(Place {
                    configuration,
                    namespace: api.namespace().to_string(),
                    resource_version,
                })
            }
        };
        let audience = self.audience;
        let last_heard = Cell::new(Instant::now());
        let (stopped, has_begun) = (Cell::new(false), Cell::new(false));
        let interrupted = || {
            stopped.set(stopped.get() || audience.stops() || audience.wants_list());
            stopped.get() || last_heard.get().elapsed() > audience.longest_silence()
        };
        let a_day = Duration::from_secs(24 * 60 * 60);
        let patience = Patience::new(a_day, &interrupted);
        let mut expired = false;
        let from = place.resource_version.clone();
        let mut heard = || {
            last_heard.set(Instant::now());
            has_begun.set(true);
            audience.heard();
        };
        let result = api.reflect::<T>(self.selection, &from, &patience, &mut heard, &mut |event| {
            let (change, resource_version) = match event {
                WatchEvent::Added(changed) | WatchEvent::Modified(changed) => {
                    (changed.object.part().map(Change::Is), changed.resource_version)
                }
                WatchEvent::Deleted(changed) => (changed.object.part().map(Change::Gone), changed.resource_version),
                WatchEvent::Bookmark(bookmark) => (None, bookmark.metadata.resource_version),
                // A server that is busy or fails may well know the moment.
                WatchEvent::Error(error) => {
                    expired = error.code != 429 && error.code < 500;
                    return ControlFlow::Break(());
                }
            };
            if let Some(change) = change {
                audience.changed(change);
            }
            if !resource_version.is_empty() {
                audience.stands_at(&resource_version);
                place.resource_version = resource_version;
            }
            ControlFlow::Continue(())
        });
        self.failures = if has_begun.get() { 0 } else { self.failures };
        match result {
            _ if stopped.get() && !audience.stops() => Ended::Closed,
            _ if stopped.get() => Ended::Stopped,
            Ok(()) if expired => Ended::Expired,
            Ok(()) => Ended::Closed,
            // What a server says whose memory does not reach so far, and what is no failure that heals.
            Err(failure) if matches!(failure.kind, FailureKind::Other | FailureKind::Invalid) => Ended::Expired,
            Err(failure) => {
                self.failures += 1;
                Ended::Failed(error(&failure, "watch"), failure.kind)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::Mutex;

    use serde_json::{json, Value};

    use super::super::job_store::tests::{sorted, Objects};
    use super::super::job_store::JobStore;
    use super::super::scripted::{event, gone, job, list, patient, Answer, Scripted, StreamEnd};
    use super::*;
    use crate::domain::verdict::MESSAGES_OF_R;
    use crate::fuzz::{fuzz_slowly, Rng};
    use crate::kubernetes::objects::{Job, Pod};
    use crate::transport::{Call, Deadline, Transport};

    /// A store that listens until it has come to a moment, or has heard enough.
    #[derive(Default)]
    struct Listener {
        store: RefCell<JobStore>,
        moment: Cell<u64>,
        lists: Cell<usize>,
        failures: RefCell<Vec<String>>,
        last: Cell<u64>,
        wants_list: Cell<bool>,
        hears_of_pods: Cell<bool>,
        longest_silence: Cell<Option<Duration>>,
    }

    impl Audience for Listener {
        fn listed(&self, _: Instant, parts: Vec<Part>) {
            self.lists.set(self.lists.get() + 1);
            self.wants_list.set(false);
            let mut store = self.store.borrow_mut();
            match self.hears_of_pods.get() {
                true => Pod::replace(&mut store, parts),
                false => Job::replace(&mut store, parts),
            }
        }

        fn heard(&self) {}

        fn changed(&self, change: Change) {
            match change {
                Change::Is(part) => self.store.borrow_mut().put(part),
                Change::Gone(part) => self.store.borrow_mut().remove(&part),
            }
        }

        fn stands_at(&self, resource_version: &str) {
            self.moment.set(resource_version.parse().unwrap());
        }

        fn ended(&self) {}

        fn failed(&self, error: &Error) {
            self.failures.borrow_mut().push(error.message.clone());
        }

        fn stops(&self) -> bool {
            self.moment.get() >= self.last.get()
        }

        fn wants_list(&self) -> bool {
            self.wants_list.get()
        }

        fn longest_silence(&self) -> Duration {
            self.longest_silence.get().unwrap_or(LONGEST_SILENCE)
        }
    }

    /// An API server whose objects change while they are listed and watched, and which forgets and breaks off.
    struct Restless {
        world: Mutex<World>,
    }

    struct World {
        /// The objects at the moment of each change; the first is before all changes.
        objects: Vec<Objects>,
        /// The changes after that: kind, type of the event, object.
        changes: Vec<(&'static str, &'static str, Value)>,
        left: usize,
        rng: Rng,
    }

    impl World {
        fn change(&mut self) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let last = self.objects.last().unwrap();
            let mut now = Objects {
                jobs: last.jobs.clone(),
                pods: last.pods.clone(),
            };
            let change = now.change(&mut self.rng);
            self.objects.push(now);
            self.changes.push(change);
        }

        /// A page of a list of the moment `now`: at most two objects from `begin` on.
        fn page(&self, kind: &str, now: usize, begin: usize, is_whole: bool) -> Value {
            let objects = &self.objects[now];
            let all: Vec<&Value> = match kind {
                "jobs" => objects.jobs.values().collect(),
                _ => objects.pods.values().collect(),
            };
            let size = if is_whole { usize::MAX } else { 2 };
            let items: Vec<&Value> = all.iter().skip(begin).take(size).copied().collect();
            let end = begin + items.len();
            let token = if end < all.len() {
                format!("{now}-{end}")
            } else {
                String::new()
            };
            json!({"metadata": {"resourceVersion": now.to_string(), "continue": token}, "items": items})
        }
    }

    impl Transport for Restless {
        fn stream(
            &self,
            call: &Call,
            _: &Deadline<'_>,
            part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
        ) -> Result<Vec<String>, Failure> {
            let mut world = self.world.lock().unwrap();
            let kind = if call.path.contains("/jobs?") { "jobs" } else { "pods" };
            let of = |name: &str| {
                let (_, rest) = call.path.split_once(&format!("{name}="))?;
                Some(rest.split('&').next().unwrap_or_default().to_string())
            };
            let fails = |kind| Err(Failure::new(kind, "too old resource version"));
            world.change();
            if world.rng.u8(..8) == 0 {
                return fails(
                    [FailureKind::Unreachable, FailureKind::Server, FailureKind::Timeout][world.rng.usize(..3)],
                );
            }
            let Some(from) = of("resourceVersion") else {
                let now = world.objects.len() - 1;
                let (now, begin) = match of("continue") {
                    Some(_) if world.rng.u8(..6) == 0 => return fails(FailureKind::Other),
                    Some(token) => {
                        let (now, begin) = token.split_once('-').unwrap();
                        (now.parse().unwrap(), begin.parse().unwrap())
                    }
                    None => (now, 0),
                };
                let page = world.page(kind, now, begin, of("limit").is_none());
                let _ = part(page.to_string().as_bytes());
                return Ok(Vec::new());
            };
            let mut at: usize = from.parse().unwrap();
            match world.rng.u8(..12) {
                0 => return fails(FailureKind::Other),
                1 => {
                    let _ = part(gone().as_bytes());
                    return Ok(Vec::new());
                }
                _ => {}
            }
            let _ = part(b"");
            loop {
                let mut text = String::new();
                while at < world.changes.len() {
                    let (of_kind, what, mut object) = world.changes[at].clone();
                    at += 1;
                    if of_kind == kind {
                        object["metadata"]["resourceVersion"] = at.to_string().into();
                        text += &event(what, &object);
                    }
                }
                if world.left == 0 || world.rng.bool() {
                    let here = json!({"metadata": {"resourceVersion": at.to_string()}});
                    text += &event("BOOKMARK", &here);
                }
                let is_cut = world.left > 0 && world.rng.u8(..4) == 0;
                if is_cut {
                    text.truncate(world.rng.usize(..=text.len()));
                }
                for bytes in text.as_bytes().chunks(world.rng.usize(1..400)) {
                    if part(bytes).is_break() {
                        return Ok(Vec::new());
                    }
                }
                if is_cut && world.rng.bool() {
                    return fails(FailureKind::Unreachable);
                }
                if is_cut || world.left == 0 || world.rng.u8(..4) == 0 {
                    return Ok(Vec::new());
                }
                world.change();
            }
        }

        fn namespace(&self, _: &Deadline<'_>) -> Result<String, Failure> {
            Ok("n".into())
        }
    }

    #[test]
    fn whatever_breaks_the_store_becomes_as_the_cluster_is() {
        fuzz_slowly(5000, &[""], |_, rng| {
            const CHANGES: usize = 40;
            let cluster = Restless {
                world: Mutex::new(World {
                    objects: vec![Objects::default()],
                    changes: Vec::new(),
                    left: CHANGES,
                    rng: rng.fork(),
                }),
            };
            let connection = Connection {
                transport: &cluster,
                namespace: Some("n"),
                patience: Patience::new(Duration::from_secs(60), &|| false),
                log_patterns: &MESSAGES_OF_R,
                owner: None,
            };
            let listener = Listener {
                last: Cell::new(CHANGES as u64),
                ..Default::default()
            };
            reflect::<Job>(&connection, &listener);
            listener.moment.set(0);
            listener.hears_of_pods.set(true);
            // What happens to pods happened before: their LIST, or a stream, shows all of it.
            reflect::<Pod>(&connection, &listener);
            let world = cluster.world.lock().unwrap();
            let objects = world.objects.last().unwrap();
            assert_eq!(sorted(listener.store.borrow().jobs()), objects.snapshots());
        });
    }

    /// A LIST at moment 7 with job "a".
    fn cluster(streams: impl IntoIterator<Item = Answer>) -> Scripted {
        Scripted::new()
            .get("watch=1", streams)
            .get("/jobs?", [list(7, [job("a", 1)])])
    }

    fn added(id: &str, moment: u32) -> String {
        let mut job = job(id, 2);
        job["metadata"]["resourceVersion"] = moment.to_string().into();
        event("ADDED", &job)
    }

    fn listener(last: u64) -> Listener {
        Listener {
            last: Cell::new(last),
            ..Default::default()
        }
    }

    #[test]
    fn a_stream_that_breaks_or_ends_goes_on_where_it_was_without_another_list() {
        for end in [StreamEnd::Closes, StreamEnd::Breaks(FailureKind::Unreachable)] {
            let cluster = cluster([
                Answer::Stream(vec![added("b", 8)], end),
                Answer::Fails(FailureKind::Refused),
                Answer::Stream(vec![added("c", 9)], end),
            ]);
            let listener = listener(9);
            reflect::<Job>(&patient(&cluster), &listener);
            assert_eq!(listener.lists.get(), 1, "{end:?}");
            let ids: Vec<String> = sorted(listener.store.borrow().jobs())
                .into_iter()
                .map(|job| job.record.job_id)
                .collect();
            assert_eq!(ids, ["a", "b", "c"]);
            let watches = cluster.paths("watch=1");
            assert!(
                watches[0].contains("resourceVersion=7&") && watches[2].contains("resourceVersion=8&"),
                "{watches:?}"
            );
            assert!(watches[0].contains("allowWatchBookmarks=true"));
        }
    }

    #[test]
    fn a_moment_that_is_too_long_ago_costs_another_list() {
        let cluster = Scripted::new()
            .get(
                "watch=1",
                [
                    Answer::Stream(vec![gone()], StreamEnd::Closes),
                    Answer::Fails(FailureKind::Other),
                    Answer::Stream(vec![added("c", 12)], StreamEnd::Closes),
                ],
            )
            .get("/jobs?", [list(7, [job("a", 1)]), list(9, [job("b", 1)]), list(11, [])]);
        let listener = listener(12);
        reflect::<Job>(&patient(&cluster), &listener);
        assert_eq!(listener.lists.get(), 3);
        let ids: Vec<String> = listener.store.borrow().jobs().map(|job| job.record.job_id).collect();
        assert_eq!(ids, ["c"]);
    }

    #[test]
    fn a_stream_that_is_silent_for_too_long_is_taken_up_again() {
        let cluster = cluster([
            Answer::Stream(vec![added("b", 8)], StreamEnd::Stays),
            Answer::Stream(vec![added("c", 9)], StreamEnd::Closes),
        ]);
        let listener = listener(9);
        listener.longest_silence.set(Some(Duration::from_millis(500)));
        reflect::<Job>(&patient(&cluster), &listener);
        assert_eq!((listener.lists.get(), listener.failures.borrow().len()), (1, 1));
        assert!(cluster.paths("watch=1")[1].contains("resourceVersion=8&"));
    }

    #[test]
    fn where_a_stream_never_opens_there_is_a_list_after_some_attempts() {
        let mut answers = vec![Answer::Fails(FailureKind::Server); FAILURES_BEFORE_LIST];
        answers.push(Answer::Stream(vec![added("b", 8)], StreamEnd::Closes));
        let cluster = cluster(answers);
        let listener = listener(8);
        reflect::<Job>(&patient(&cluster), &listener);
        assert_eq!(
            (listener.lists.get(), listener.failures.borrow().len()),
            (2, FAILURES_BEFORE_LIST)
        );
    }

    /// A user whose configuration changes whenever somebody looks.
    struct Moving(Scripted, AtomicU64);

    impl Transport for Moving {
        fn stream(
            &self,
            call: &Call,
            deadline: &Deadline<'_>,
            part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
        ) -> Result<Vec<String>, Failure> {
            self.0.stream(call, deadline, part)
        }

        fn configuration_number(&self, _: &Deadline<'_>) -> Option<u64> {
            Some(self.1.fetch_add(1, Ordering::Relaxed))
        }

        fn namespace(&self, deadline: &Deadline<'_>) -> Result<String, Failure> {
            self.0.namespace(deadline)
        }
    }

    #[test]
    fn after_a_failure_another_configuration_costs_another_list() {
        let cluster = cluster([
            Answer::Fails(FailureKind::Server),
            Answer::Stream(vec![added("b", 8)], StreamEnd::Closes),
        ]);
        let moving = Moving(cluster, AtomicU64::default());
        let connection = Connection {
            transport: &moving,
            ..patient(&moving.0)
        };
        let listener = listener(8);
        reflect::<Job>(&connection, &listener);
        assert_eq!((listener.lists.get(), listener.failures.borrow().len()), (2, 1));
    }

    #[test]
    fn programs_that_are_followed_are_not_kept() {
        let mut with_program = job("a", 1);
        with_program["spec"]["template"]["metadata"]["annotations"]["abba/program-text"] = "x".repeat(100_000).into();
        let cluster = Scripted::new()
            .get("watch=1", [Answer::Stream(vec![added("b", 8)], StreamEnd::Closes)])
            .get("/jobs?", [list(7, [with_program])]);
        let listener = listener(8);
        reflect::<Job>(&patient(&cluster), &listener);
        let store = listener.store.borrow();
        assert_eq!(store.counts().kept, 2);
        assert!(format!("{store:?}").len() < 5000);
    }
}
