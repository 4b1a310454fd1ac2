//! What the requests that wait until something changes ask the cluster together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::diagnosis::Diagnosis;
use crate::operations::{JobSnapshot, LONGEST_LOOK_INTERVAL};

/// What all requests that wait have in common.
#[derive(Debug, Default)]
pub struct Watchers {
    /// Why jobs that wait have not started, by job.
    reasons: Mutex<HashMap<String, Reason>>,
    /// For asking the cluster for reasons, one after the other: each takes several calls.
    pub asking: Mutex<()>,
}

/// Why a job has not started, with what its events say.
#[derive(Debug)]
struct Reason {
    asked: Instant,
    /// What its pod alone said then; once it says something else, this is no longer true.
    of_pod: Option<Diagnosis>,
    diagnosis: Option<Diagnosis>,
}

impl Watchers {
    fn reasons(&self) -> MutexGuard<'_, HashMap<String, Reason>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
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
