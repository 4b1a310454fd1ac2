//! All jobs of the namespace at once.

use uuid::Uuid;

use super::observation::Observation;
use super::Connection;
use crate::domain::diagnosis::{self, Diagnosis};
use crate::domain::job_record::{self, JobRecord};
use crate::domain::job_status::{self, JobStatus, Status};
use crate::domain::restarts::Starts;
use crate::domain::usage::Usage;
use crate::domain::verdict::{self, Verdict};
use crate::error::Error;
use crate::kubernetes::labels;
use crate::kubernetes::objects::PROGRAM_CONTAINER;
use crate::kubernetes::LabelSelector;

/// One job, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSnapshot {
    /// The job in one line.
    pub record: JobRecord,
    /// Its state, as of [`super::status`].
    pub status: JobStatus,
    /// While its pod has not started: why, as far as the pod itself says.
    pub obstacle: Option<Diagnosis>,
    /// The caller of the abba API to whom it belongs; `None`: it was not submitted by one.
    pub owner: Option<String>,
    /// The number of the account that it runs as; `None`: as its image says.
    pub uid: Option<u32>,
    /// The container image that was asked for.
    pub image: Option<String>,
    /// The fingerprint of its program, where its text was sent.
    pub sha256: Option<String>,
    /// How often its program was started.
    pub starts: Starts,
    /// Its newest pod, by the uid.
    pub pod_uid: Option<Uuid>,
    /// The verdict that needs no log.
    pub verdict: Option<Verdict>,
    /// What it takes up.
    pub usage: Usage,
}

/// All jobs of abba in the namespace, the oldest first: one LIST of pods and one of Jobs, however many they are.
///
/// Errors: the cluster cannot be asked.
pub fn list_all(connection: &Connection<'_>) -> Result<Vec<JobSnapshot>, Error> {
    let api = connection.api()?;
    let observation = Observation::of_all(connection, &api, &LabelSelector::User(None))?;
    let mut jobs: Vec<JobSnapshot> = observation
        .jobs_with_pods()
        .map(|(job, pod)| {
            let status = pod.map_or_else(|| job_status::of_job(job), job_status::of_pod);
            let spec = &job.spec.template.spec;
            JobSnapshot {
                record: job_record::of(job, pod),
                obstacle: pod
                    .filter(|_| status.status == Status::Pending)
                    .map(|pod| diagnosis::of_unstarted_pod(pod, &[])),
                status,
                starts: observation.starts(&job.metadata.name),
                pod_uid: pod.and_then(|pod| pod.metadata.uid),
                verdict: pod.and_then(verdict::of_failed),
                usage: Usage::of_job(job),
                owner: job.metadata.annotations.get(labels::OWNER).cloned(),
                uid: spec.security_context.as_ref().and_then(|context| context.run_as_user),
                image: spec
                    .containers
                    .iter()
                    .find(|container| container.name == PROGRAM_CONTAINER)
                    .map(|container| container.image.clone()),
                sha256: job.metadata.annotations.get(labels::PROGRAM_SHA256).cloned(),
            }
        })
        .collect();
    jobs.sort_by(|a, b| (&a.record.submitted, &a.record.job_id).cmp(&(&b.record.submitted, &b.record.job_id)));
    Ok(jobs)
}
