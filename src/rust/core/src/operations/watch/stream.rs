//! One stream of what happens to the pods of jobs.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::observation::{Observation, Observed, UNTOUCHED};
use super::super::{Connection, JobSelector};
use super::pending_reasons::ReasonsOfJobs;
use super::{news, WatchedJobs};
use crate::domain::job_status::Status;
use crate::error::Error;
use crate::kubernetes::objects::{Changed, Pod, WatchEvent};
use crate::kubernetes::{Api, LabelSelector};
use crate::transport::{FailureKind, Patience};

/// The server sends something at least once a minute (bookmarks). After this much silence the connection is taken for
/// dead: a laptop may have slept.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 150_000 });

/// How often changes are told at most.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// How a stream ended.
pub(super) enum Outcome {
    /// All jobs have ended, or `tell` broke off, or the user wants to stop.
    Ended,
    /// It is time to look at what waits. The stream can go on where it was.
    LookAtWaiting,
    /// The stream ended or broke, or showed something that needs a new look.
    LookAgain,
    /// The cluster does not allow the stream.
    Refused(Error),
}

/// Follows the stream. `tell` is called at once when all jobs have ended, and otherwise at most ten times a second, since
/// it looks at all jobs and a thousand of them may change within one. What waits is looked at when the time has come, or
/// when it is woken.
pub(super) fn follow(
    connection: &Connection<'_>,
    which: &JobSelector,
    api: &Api<'_>,
    observation: &mut Observation,
    reasons: &ReasonsOfJobs,
    (next_look, wake): (Instant, &AtomicBool),
    tell: &mut dyn FnMut(WatchedJobs) -> ControlFlow<()>,
) -> Outcome {
    let job_ids = observation.job_ids.clone();
    let ids: Vec<&str> = job_ids.iter().map(String::as_str).collect();
    let selection = match which {
        JobSelector::Jobs(_) => LabelSelector::Jobs(&ids),
        JobSelector::Batch(batch_id) => LabelSelector::Batch(batch_id),
    };
    let resource_version = observation.resource_version.clone();
    let stream = RefCell::new(Stream {
        watched: job_ids.iter().cloned().collect(),
        unfinished: unfinished(observation),
        observation,
        reasons,
        which,
        something_waits: None,
        tell,
        untold: false,
        last_told: Instant::now(),
        ended: false,
    });
    let last_heard = Cell::new(Instant::now());
    let stopped = Cell::new(false);
    let look = Cell::new(false);
    // Asked twenty times a second, from the same thread that hands over the events.
    let interrupted = || {
        let mut stream = stream.borrow_mut();
        stopped.set(stopped.get() || connection.patience.is_interrupted() || stream.tell_what_is_untold().is_break());
        let is_woken = wake.swap(false, Ordering::Relaxed);
        look.set(look.get() || ((is_woken || Instant::now() >= next_look) && stream.something_waits()));
        stopped.get() || look.get() || last_heard.get().elapsed() > LONGEST_SILENCE
    };
    let a_day = Duration::from_secs(24 * 60 * 60);
    let patience = Patience::new(a_day, &interrupted);
    let result = api.watch_pods(&selection, &resource_version, &patience, &mut |event| {
        last_heard.set(Instant::now());
        let mut stream = stream.borrow_mut();
        match event {
            WatchEvent::Added(changed) | WatchEvent::Modified(changed) => stream.take(changed),
            WatchEvent::Deleted(changed) => {
                let _ = stream.take(changed);
                // Only its Job can say what that means.
                ControlFlow::Break(())
            }
            WatchEvent::Bookmark(bookmark) => {
                stream.stands_at(bookmark.metadata.resource_version);
                ControlFlow::Continue(())
            }
            // 410 Gone: the moment is too long ago.
            WatchEvent::Error(_) => ControlFlow::Break(()),
        }
    });
    let ended = stream.borrow().ended || stopped.get();
    match result {
        _ if ended => Outcome::Ended,
        Ok(()) => Outcome::LookAgain,
        Err(failure) => match failure.kind {
            FailureKind::Interrupted if look.get() => Outcome::LookAtWaiting,
            kind if kind.wants_login()
                || matches!(
                    kind,
                    FailureKind::Forbidden | FailureKind::Unauthorized | FailureKind::KubectlMissing
                ) =>
            {
                Outcome::Refused(connection.error(api, &failure, "watch pods").meaning(UNTOUCHED))
            }
            // Also where the silence was too long.
            _ => Outcome::LookAgain,
        },
    }
}

/// What the stream has shown so far.
struct Stream<'a> {
    observation: &'a mut Observation,
    reasons: &'a ReasonsOfJobs,
    /// The jobs that were asked for; the stream may show others.
    watched: HashSet<String>,
    /// The jobs that have not ended.
    unfinished: HashSet<String>,
    which: &'a JobSelector,
    /// Whether some job is Pending, once that was looked at.
    something_waits: Option<bool>,
    tell: &'a mut dyn FnMut(WatchedJobs) -> ControlFlow<()>,
    untold: bool,
    last_told: Instant,
    ended: bool,
}

impl Stream<'_> {
    fn is_batch(&self) -> bool {
        matches!(self.which, JobSelector::Batch(_))
    }

    /// Notes how far the stream has come, so that it can be taken up there.
    fn stands_at(&mut self, resource_version: String) {
        if !resource_version.is_empty() {
            self.observation.resource_version = resource_version;
        }
    }

    /// Notes a pod as it is now; breaks off once all jobs have ended.
    fn take(&mut self, changed: Changed<Pod>) -> ControlFlow<()> {
        let Changed {
            resource_version,
            object: pod,
        } = changed;
        self.stands_at(resource_version);
        let Some(id) = pod.job_id().map(String::from) else {
            return ControlFlow::Continue(());
        };
        if !self.watched.contains(&id) {
            if !self.is_batch() {
                return ControlFlow::Continue(());
            }
            // It was submitted in the meantime.
            self.observation.add_job_of(&pod);
            self.watched.insert(id.clone());
        }
        self.observation.put_pod(pod);
        match self.observation.of(&id) {
            Some(observed) if !observed.status().status.is_final() => {
                self.unfinished.insert(id);
            }
            _ => {
                self.unfinished.remove(&id);
            }
        }
        self.untold = true;
        self.something_waits = None;
        if !self.unfinished.is_empty() {
            return ControlFlow::Continue(());
        }
        // Of a batch there may be a new job without a pod, which only another look shows; and of jobs that were removed
        // the caller tells.
        if !self.is_batch() && self.observation.removed().is_empty() {
            self.ended = true;
            let _ = (self.tell)(news(self.observation, self.which, self.reasons));
        }
        ControlFlow::Break(())
    }

    /// Whether some job waits, or runs in a pod that the stream does not show, so that it is worth to look at what that does
    /// not show.
    fn something_waits(&mut self) -> bool {
        let observation = &self.observation;
        *self.something_waits.get_or_insert_with(|| {
            observation
                .each()
                .any(|(_, observed)| match (observed, observed.status().status) {
                    (_, status) if status.is_final() => false,
                    (Observed::Job(_), _) | (_, Status::Pending) => true,
                    _ => false,
                })
        })
    }

    fn tell_what_is_untold(&mut self) -> ControlFlow<()> {
        if !self.untold || self.last_told.elapsed() < TELL_INTERVAL {
            return ControlFlow::Continue(());
        }
        self.untold = false;
        self.last_told = Instant::now();
        (self.tell)(news(self.observation, self.which, self.reasons))
    }
}

/// The jobs that have not ended.
pub(super) fn unfinished(observation: &Observation) -> HashSet<String> {
    observation
        .each()
        .filter(|(_, observed)| !observed.status().status.is_final())
        .map(|(id, _)| id.to_string())
        .collect()
}
