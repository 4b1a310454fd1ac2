//! The requests that wait until something changes: how many there are, and what they ask the cluster together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::semaphore::Semaphore;
use crate::domain::diagnosis::Diagnosis;
use crate::operations::{JobSnapshot, LONGEST_LOOK_INTERVAL};

/// Requests that may wait at a time. Each has a thread, and does nothing with it.
const MOST: usize = 1000;

/// Of one caller.
const MOST_OF_ONE: usize = 100;

/// All requests that wait.
#[derive(Debug)]
pub struct Watchers {
    /// How many there are of each caller.
    counts: Mutex<HashMap<String, usize>>,
    /// Why jobs that wait have not started, by job.
    reasons: Mutex<HashMap<String, Reason>>,
    /// For asking the cluster for reasons, one after the other: each takes several calls.
    pub asking: Semaphore,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            counts: Mutex::default(),
            reasons: Mutex::default(),
            asking: Semaphore::new(1),
        }
    }
}

/// Why a job has not started, with what its events say.
#[derive(Debug)]
struct Reason {
    asked: Instant,
    /// What its pod alone said then; once it says something else, this is no longer true.
    of_pod: Option<Diagnosis>,
    diagnosis: Option<Diagnosis>,
}

/// A request that waits, counted until this is dropped.
#[derive(Debug)]
pub struct Watcher<'a> {
    watchers: &'a Watchers,
    caller: &'a str,
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut counts = self.watchers.counts();
        if let Some(count) = counts.get_mut(self.caller) {
            *count -= 1;
            if *count == 0 {
                counts.remove(self.caller);
            }
        }
    }
}

impl Watchers {
    fn counts(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reasons(&self) -> MutexGuard<'_, HashMap<String, Reason>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request of a caller; `None` where too many wait.
    pub fn enter<'a>(&'a self, caller: &'a str) -> Option<Watcher<'a>> {
        let mut counts = self.counts();
        let all: usize = counts.values().sum();
        let own = counts.get(caller).copied().unwrap_or_default();
        if all >= MOST || own >= MOST_OF_ONE {
            return None;
        }
        counts.insert(caller.to_string(), own + 1);
        Some(Watcher { watchers: self, caller })
    }

    /// How many requests wait.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.counts().values().sum()
    }

    /// Why a job has not started, as far as that is known.
    pub fn obstacle(&self, job: &JobSnapshot) -> Option<Diagnosis> {
        match self.reasons().get(&job.record.job_id) {
            Some(reason) if reason.of_pod == job.obstacle => reason.diagnosis.clone().or_else(|| job.obstacle.clone()),
            _ => job.obstacle.clone(),
        }
    }

    /// Whether the cluster should be asked why a job has not started.
    pub fn should_ask(&self, job: &JobSnapshot) -> bool {
        let reasons = self.reasons();
        let known = reasons.get(&job.record.job_id);
        known.is_none_or(|reason| reason.of_pod != job.obstacle || reason.asked.elapsed() >= LONGEST_LOOK_INTERVAL)
    }

    /// Notes what the cluster said of jobs that have not started.
    pub fn note(&self, jobs: &[&JobSnapshot], mut diagnoses: HashMap<String, Diagnosis>) {
        /// Of a job that nobody waits for any more the reason is forgotten.
        const FORGET: Duration = Duration::from_secs(60);
        let mut reasons = self.reasons();
        reasons.retain(|_, reason| reason.asked.elapsed() < FORGET);
        for job in jobs {
            let reason = Reason {
                asked: Instant::now(),
                of_pod: job.obstacle.clone(),
                diagnosis: diagnoses.remove(&job.record.job_id),
            };
            reasons.insert(job.record.job_id.clone(), reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_does_not_take_the_place_of_all_others() {
        let watchers = Watchers::default();
        let of_one: Vec<_> = (0..MOST_OF_ONE).map(|_| watchers.enter("a").unwrap()).collect();
        assert!(watchers.enter("a").is_none() && watchers.enter("b").is_some());
        drop(of_one);
        assert!(watchers.enter("a").is_some());
        assert_eq!(watchers.count(), 0);
    }
}
