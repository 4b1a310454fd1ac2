//! A job in one line, and a job explained: the shapes that users of R and of the abba API get.

use serde::{Deserialize, Serialize};

use crate::domain::diagnosis::{self, Diagnosis};
use crate::domain::job_status::{self, Status};
use crate::domain::queue::QueueLook;
use crate::domain::restarts::{self, Starts};
use crate::domain::submission::{SubmitAgain, SubmitArguments};
use crate::domain::verdict::{self, Verdict};
use crate::kubernetes::labels;
use crate::kubernetes::objects::{Event, Job, Pod};

/// A job in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobRecord {
    /// The job.
    pub job_id: String,
    /// Its batch.
    pub batch_id: String,
    /// The program's path as it was given.
    pub program: String,
    /// Who submitted it, as a label's value.
    pub user: String,
    /// Its state.
    pub status: Status,
    /// When it was submitted, RFC 3339.
    pub submitted: String,
    /// When the program began to run.
    pub started: Option<String>,
    /// When it ended.
    pub finished: Option<String>,
    /// R's exit status.
    pub exit_code: Option<i32>,
    /// Why it failed or waits; `None` where neither is so.
    pub reason: Option<String>,
}

/// A job explained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The job in one line.
    #[serde(flatten)]
    pub record: JobRecord,
    /// Kubernetes' own words for why it failed or waits.
    pub details: Option<String>,
    /// What to do; `None` where there is nothing to do.
    pub advice: Option<String>,
    /// For a program that ran out of memory: the arguments that submit it again with more.
    pub submit_again: Option<SubmitAgain>,
    /// The pod's name.
    pub pod_id: Option<String>,
    /// The node that it ran on.
    pub node: Option<String>,
    /// The container image as it was asked for.
    pub image: Option<String>,
    /// The image that ran, with its digest.
    pub image_digest: Option<String>,
    /// Limits of processor cores and memory.
    pub cpu_limit: Option<String>,
    /// Limit of memory.
    pub memory_limit: Option<String>,
    /// How many pods there were: at least so many, since those before the last may be gone.
    pub attempts: usize,
    /// What Kubernetes noted, oldest first.
    pub events: Vec<NotedEvent>,
    /// Whether the job cannot start until somebody does something.
    pub is_stuck: bool,
    /// The verdict of its log; `None` where the program has not ended, or the log is not known.
    pub verdict: Option<Verdict>,
    /// The line that the verdict rests on.
    pub verdict_line: Option<String>,
    /// Of a program that has failed the last lines of its log, each shortened; empty where it cannot be read.
    pub last_lines: Vec<String>,
}

/// An event of a job or of its pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedEvent {
    /// When it was seen last, RFC 3339.
    pub time: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Kubernetes' word for it, as `FailedScheduling`.
    pub reason: String,
    /// Kubernetes' sentence.
    pub message: String,
}

impl From<Event> for NotedEvent {
    fn from(event: Event) -> Self {
        Self {
            time: event.time(),
            event_type: event.event_type,
            reason: event.reason,
            message: event.message,
        }
    }
}

/// The record of a job.
pub fn of(job: &Job, pod: Option<&Pod>) -> JobRecord {
    record(job, pod, &diagnose(job, pod, &[], &QueueLook::NotKnown))
}

/// Explains a job. `events` are the Job's and the pod's, oldest first; `look`: what was seen of the Job in its queue. The
/// verdict is that which needs no log.
pub fn explain(
    job: &Job,
    pod: Option<&Pod>,
    attempts: usize,
    starts: Starts,
    events: Vec<Event>,
    look: &QueueLook,
) -> Explanation {
    let diagnosis = diagnose(job, pod, &events, look);
    let mut record = record(job, pod, &diagnosis);
    let container = pod.and_then(Pod::program_container);
    let spec = pod.and_then(Pod::program_spec);
    // A Job whose pod is gone, or has not come, says the same.
    let of_job = job.spec.template.spec.containers.first();
    let limit = |name: &str| {
        let limits = spec
            .map(|spec| &spec.resources.limits)
            .or(of_job.map(|container| &container.resources.limits));
        limits.and_then(|limits| limits.get(name).cloned())
    };
    let (details, mut advice, is_stuck) = match diagnosis {
        Some(Diagnosis {
            details,
            advice,
            is_stuck,
            ..
        }) => (filled(details), filled(advice), is_stuck),
        None => (None, None, false),
    };
    if let Some((what, what_to_do)) = restarts::explained(starts) {
        record.reason = Some(joined(record.reason, &what));
        advice = Some(joined(advice, what_to_do));
    }
    Explanation {
        record,
        details,
        advice,
        submit_again: pod
            .filter(|pod| diagnosis::ran_out_of_memory(pod))
            .and_then(|_| SubmitArguments::of_job(job))
            .and_then(|arguments| arguments.with_twice_the_memory()),
        pod_id: pod.map(|pod| pod.metadata.name.clone()),
        node: pod
            .map(|pod| pod.spec.node_name.clone())
            .filter(|node| !node.is_empty()),
        image: of_job.map(|container| container.image.clone()),
        image_digest: container
            .map(|container| container.image_id.clone())
            .filter(|digest| !digest.is_empty()),
        cpu_limit: limit("cpu"),
        memory_limit: limit("memory"),
        // Those before the last may be gone, and so may the events that tell of them.
        attempts: if starts == Starts::Once {
            attempts
        } else {
            attempts.max(2)
        },
        events: events.into_iter().map(NotedEvent::from).collect(),
        is_stuck,
        verdict: pod.and_then(verdict::of_failed),
        verdict_line: None,
        last_lines: Vec::new(),
    }
}

fn joined(before: Option<String>, text: &str) -> String {
    before
        .into_iter()
        .chain([text.to_string()])
        .collect::<Vec<_>>()
        .join(" ")
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn record(job: &Job, pod: Option<&Pod>, diagnosis: &Option<Diagnosis>) -> JobRecord {
    let label = |name: &str| job.metadata.labels.get(name).cloned().unwrap_or_default();
    let terminated = pod.filter(|pod| pod.has_started()).and_then(Pod::terminated);
    JobRecord {
        job_id: job.metadata.name.clone(),
        batch_id: label(labels::BATCH_ID),
        program: job.metadata.annotation(labels::PROGRAM_PATH).unwrap_or_default().into(),
        user: label(labels::USER),
        status: job_status::status(job, pod),
        submitted: job.metadata.creation_timestamp.clone(),
        started: pod.and_then(Pod::started_at).map(String::from),
        finished: terminated.and_then(|terminated| terminated.finished_at.clone()),
        exit_code: terminated.map(|terminated| terminated.exit_code),
        reason: diagnosis.as_ref().map(|diagnosis| diagnosis.what.clone()),
    }
}

fn diagnose(job: &Job, pod: Option<&Pod>, events: &[Event], look: &QueueLook) -> Option<Diagnosis> {
    let Some(pod) = pod else {
        return (job_status::of_job(job).status != Status::Succeeded)
            .then(|| diagnosis::of_job_without_pod(job, events, look));
    };
    match job_status::of_pod(pod).status {
        Status::Running if job_status::is_cancelled(&pod.metadata) => Some(diagnosis::of_being_cancelled()),
        Status::Succeeded => diagnosis::of_kept_pod(pod),
        Status::Running => diagnosis::of_running(pod),
        Status::Failed => diagnosis::of_failed(pod).map(|failed| diagnosis::with_kept_pod(failed, pod)),
        Status::Unknown => Some(diagnosis::of_lost_node(pod)),
        Status::Pending => Some(diagnosis::of_unstarted_pod(pod, events)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn job() -> Job {
        serde_json::from_value(json!({"metadata": {
            "name": "a-1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"abba/batch-id": "b", "abba/user": "mike"},
            "annotations": {"abba/program-path": "/a.R"},
        }}))
        .unwrap()
    }

    fn ended(terminated: Value, annotations: Value, reason: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a-1-x", "annotations": annotations},
            "spec": {"nodeName": "n", "activeDeadlineSeconds": 5, "containers": [
                {"name": "program", "image": "i", "resources": {"limits": {"cpu": "1", "memory": "512M"}}}]},
            "status": {"phase": "Failed", "reason": reason, "containerStatuses": [
                {"name": "program", "state": {"terminated": terminated}}]},
        }))
        .unwrap()
    }

    #[test]
    fn reasons_in_a_users_words() {
        let none = json!({});
        for (pod, words) in [
            (
                ended(json!({"exitCode": 137, "reason": "OOMKilled"}), none.clone(), ""),
                "limit of 512M",
            ),
            (
                ended(
                    json!({"exitCode": 143, "reason": "Error"}),
                    none.clone(),
                    "DeadlineExceeded",
                ),
                "time limit of 5 seconds",
            ),
            (
                ended(
                    json!({"exitCode": 143}),
                    json!({"abba/cancelled-by": "mike"}),
                    "DeadlineExceeded",
                ),
                "was cancelled",
            ),
            (
                ended(json!({"exitCode": 3, "reason": "Error"}), none.clone(), ""),
                "exit status 3",
            ),
            (
                ended(json!({"exitCode": 139, "reason": "Error"}), none.clone(), ""),
                "signal 11",
            ),
            (
                ended(json!({"exitCode": 127, "reason": "Error"}), none.clone(), ""),
                "no R",
            ),
        ] {
            let record = of(&job(), Some(&pod));
            let reason = record.reason.unwrap_or_default();
            assert!(reason.contains(words), "{reason}");
            assert_eq!(record.status, Status::Failed);
        }
    }

    #[test]
    fn a_job_without_a_pod_has_a_record() {
        let record = of(&job(), None);
        assert_eq!(
            (record.job_id.as_str(), record.user.as_str(), record.status),
            ("a-1", "mike", Status::Pending)
        );
        assert_eq!((record.started, record.exit_code), (None, None));
    }
}
