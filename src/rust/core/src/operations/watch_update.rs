//! Watched jobs as users get to see them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::watch::{WatchedJob, WatchedJobs};
use crate::domain::diagnosis::Diagnosis;
use crate::domain::job_status::{self, JobStatus, StatusReport};

/// Where the jobs of a wait stand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WatchUpdate {
    /// Their states.
    pub status: StatusReport,
    /// How many are in each state.
    pub counts: BTreeMap<&'static str, usize>,
    /// What keeps jobs from starting: first what does not heal by itself, then what Kubernetes has said something about.
    pub obstacles: Vec<Obstacle>,
    /// Whether the wait is over: none of them is Pending or Running, or will ever be.
    pub ended: bool,
}

/// What keeps a job from starting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Obstacle {
    /// The job.
    pub job_id: String,
    /// What is the matter, and what to do.
    #[serde(flatten)]
    pub diagnosis: Diagnosis,
}

impl From<WatchedJobs> for WatchUpdate {
    fn from(news: WatchedJobs) -> Self {
        let (statuses, obstacles): (Vec<JobStatus>, Vec<Option<Obstacle>>) = news
            .jobs
            .into_iter()
            .map(
                |WatchedJob {
                     job_id,
                     status,
                     obstacle,
                 }| (status, obstacle.map(|diagnosis| Obstacle { job_id, diagnosis })),
            )
            .unzip();
        let mut obstacles: Vec<Obstacle> = obstacles.into_iter().flatten().collect();
        obstacles.sort_by_key(|obstacle| (!obstacle.diagnosis.is_stuck, obstacle.diagnosis.details.is_empty()));
        let status = job_status::by_status(statuses);
        Self {
            counts: status.counts(),
            status,
            obstacles,
            ended: news.ended,
        }
    }
}
