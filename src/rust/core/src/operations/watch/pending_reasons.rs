//! Why jobs have not started: what the stream of their pods does not show.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::observation::{Observation, Observed};
use crate::domain::job_status::Status;
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

/// The events of some jobs that wait, by job: of the pod, or of the Job that has none.
pub(super) type EventsOfJobs = HashMap<String, Vec<Event>>;

/// Asks for the events of some jobs that wait. Those without a pod come first: their events alone say why.
pub(super) fn events_of_waiting(observation: &Observation, api: &Api<'_>) -> EventsOfJobs {
    let pods = observation.each().filter_map(|(id, observed)| match observed {
        Observed::Pod(pod) if observed.status().status == Status::Pending => {
            Some((id, "Pod", pod.metadata.name.as_str()))
        }
        _ => None,
    });
    observation
        .waiting_without_pod()
        .into_iter()
        .map(|id| (id, "Job", id))
        .take(REASONS_ASKED)
        .chain(pods.take(REASONS_ASKED))
        .map(|(id, kind, name)| {
            let events = api.list_events_if_allowed(kind, name).unwrap_or_default();
            (id.to_string(), events)
        })
        .collect()
}
