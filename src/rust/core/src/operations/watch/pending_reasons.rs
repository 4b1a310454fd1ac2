//! Why jobs have not started: what the stream of their pods does not show.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::observation::{Observation, Observed};
use super::super::queue::Queues;
use crate::domain::job_status::Status;
use crate::domain::order;
use crate::domain::queue::QueueLook;
use crate::kubernetes::objects::Event;
use crate::kubernetes::Api;
use crate::transport::Backoff;

/// For how many jobs that wait the events are asked for, at most; each costs a call.
pub const REASONS_ASKED: usize = 3;

/// When jobs that wait are looked at for what the stream of their pods does not show: why a Job has no pod, that it has
/// failed without one, what the events say of a pod. The first time soon, since a user has just submitted them.
const FIRST_LOOK: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

/// The longest pause between two such looks.
pub const LONGEST_LOOK_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 15_000 });

/// When to look at jobs that wait.
pub(super) struct Looks {
    interval: Backoff,
    due: Option<Instant>,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self {
            interval: Backoff::new(FIRST_LOOK, LONGEST_LOOK_INTERVAL),
            due: None,
        }
    }

    /// When the next look is due.
    pub(super) fn next(&mut self) -> Instant {
        match self.due {
            Some(due) => due,
            None => self.taken(),
        }
    }

    /// Notes that a look was taken, and gives back when the next one is due.
    pub(super) fn taken(&mut self) -> Instant {
        *self.due.insert(Instant::now() + self.interval.pause())
    }
}

/// What says why a job waits.
#[derive(Default)]
pub(super) struct Reasons {
    /// The events of the pod, or of the Job that has none.
    pub events: Vec<Event>,
    /// What was seen of the Job in its queue.
    pub queue: QueueLook,
}

/// Those of some jobs that wait, by job.
pub(super) type ReasonsOfJobs = HashMap<String, Reasons>;

/// Asks why some jobs wait. Those without a pod come first: nothing else says why.
pub(super) fn reasons_of_waiting(observation: &Observation, api: &Api<'_>) -> ReasonsOfJobs {
    let mut queues = Queues::new(api);
    let pods = observation.each().filter_map(|(id, observed)| match observed {
        Observed::Pod(pod) if observed.status().status == Status::Pending => {
            Some((id, "Pod", pod.metadata.name.as_str()))
        }
        _ => None,
    });
    observation
        .waiting_without_pod()
        .into_iter()
        // Those that wait for others of their batch say so themselves.
        .filter(|id| !matches!(observation.of(id), Some(Observed::Job(job)) if order::waits(job)))
        .map(|id| (id, "Job", id))
        .take(REASONS_ASKED)
        .chain(pods.take(REASONS_ASKED))
        .map(|(id, kind, name)| {
            let reasons = Reasons {
                events: api.list_events_if_allowed(kind, name).unwrap_or_default(),
                queue: match observation.of(id) {
                    Some(Observed::Job(job)) => queues.look(job).unwrap_or_default(),
                    _ => QueueLook::NotKnown,
                },
            };
            (id.to_string(), reasons)
        })
        .collect()
}
