//! What state a job is in, from its pod or, without one, from the Job.

use serde::ser::{Serialize, SerializeMap, Serializer};

use jiff::Timestamp;

use crate::kubernetes::labels;
use crate::kubernetes::objects::{Condition, Job, ObjectMeta, Pod};
use crate::kubernetes::time;

/// The state of a job. The words and their meaning are those of a pod's phase:
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Accepted, not started.
    Pending,
    /// Started, not ended.
    Running,
    /// Ended with exit code 0.
    Succeeded,
    /// Ended otherwise.
    Failed,
    /// The node does not answer.
    Unknown,
}

names!(Status {
    Pending = "Pending",
    Running = "Running",
    Succeeded = "Succeeded",
    Failed = "Failed",
    Unknown = "Unknown",
});

impl Status {
    /// The description, word for word as users' programs may compare it.
    pub fn description(self) -> &'static str {
        match self {
            Self::Pending => "The Pod has been accepted by the Kubernetes cluster, but one or more of the containers has not been set up and made ready to run. This includes time a Pod spends waiting to be scheduled as well as the time spent downloading container images over the network.",
            Self::Running => "The Pod has been bound to a node, and all of the containers have been created. At least one container is still running, or is in the process of starting or restarting.",
            Self::Succeeded => "All containers in the Pod have terminated in success, and will not be restarted.",
            Self::Failed => "All containers in the Pod have terminated, and at least one container has terminated in failure. That is, the container either exited with non-zero status or was terminated by the system.",
            Self::Unknown => "For some reason the state of the Pod could not be obtained. This phase typically occurs due to an error in communicating with the node where the Pod should be running.",
        }
    }

    /// Whether the program has ended for good, and how is known.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// Whether a wait is over.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// One job's state. As JSON it is an element of a [`StatusReport`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct JobStatus {
    /// The pod's name; without a pod the job's own id.
    pub id: String,
    /// The program's path as it was given; `None` where the object does not say.
    pub path: Option<String>,
    /// The state.
    #[serde(skip)]
    pub status: Status,
}

/// The states of jobs, as users get them: an object by the names of the states, each with `Jobs` and `Description`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport(Vec<(Status, Vec<JobStatus>)>);

impl Serialize for StatusReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Group<'a> {
            jobs: &'a [JobStatus],
            description: &'static str,
        }
        let mut groups = serializer.serialize_map(Some(self.0.len()))?;
        for (status, jobs) in &self.0 {
            let description = status.description();
            groups.serialize_entry(status, &Group { jobs, description })?;
        }
        groups.end()
    }
}

impl StatusReport {
    /// How many jobs are in each state: an object by the names of the states.
    pub fn counts(&self) -> std::collections::BTreeMap<&'static str, usize> {
        self.0
            .iter()
            .map(|(status, jobs)| (status.name(), jobs.len()))
            .collect()
    }
}

/// The state of a job that has a pod.
pub fn of_pod(pod: &Pod) -> JobStatus {
    JobStatus {
        id: pod.metadata.name.clone(),
        path: pod.metadata.annotations.get(labels::PROGRAM_PATH).cloned(),
        status: pod_status(pod),
    }
}

/// The state of a job that has no pod: not yet, or no longer.
pub fn of_job(job: &Job) -> JobStatus {
    let status = if was_cancelled_in_queue(job)
        || job.metadata.annotations.contains_key(labels::NOT_STARTED)
        || job.holds("Failed").or(job.holds("FailureTarget")).is_some()
    {
        Status::Failed
    } else if job.holds("Complete").or(job.holds("SuccessCriteriaMet")).is_some() {
        Status::Succeeded
    } else if job.status.ready > 0 {
        // Its pod has lost its labels, or was made a moment ago.
        Status::Running
    } else {
        Status::Pending
    };
    JobStatus {
        id: job.metadata.name.clone(),
        path: job.metadata.annotations.get(labels::PROGRAM_PATH).cloned(),
        status,
    }
}

/// The state of a job; `pod` is its newest one.
pub fn status(job: &Job, pod: Option<&Pod>) -> Status {
    pod.map_or_else(|| of_job(job), of_pod).status
}

/// Whether a Job without a pod was cancelled while a queue held it back. It is over, though the Job controller has not ended
/// it yet: while it is suspended no time limit counts, and it is let go with one that is over.
pub fn was_cancelled_in_queue(job: &Job) -> bool {
    is_cancelled(&job.metadata) && (job.spec.suspend == Some(true) || job.holds("Suspended").is_some())
}

/// Whether a Job or a pod was cancelled, ended or not.
pub fn is_cancelled(metadata: &ObjectMeta) -> bool {
    metadata.annotations.contains_key(labels::CANCELLED)
}

/// Whether a job was cancelled and has not ended yet. `pod` is its newest one; what has none is cancelled by its Job.
pub fn is_being_cancelled(job: &Job, pod: Option<&Pod>) -> bool {
    matches!(status(job, pod), Status::Pending | Status::Running)
        && (is_cancelled(&job.metadata) || pod.is_some_and(|pod| is_cancelled(&pod.metadata)))
}

/// Whether the program of a pod that has failed may run again: its Job has not ended and has been suspended, or the pod is being
/// taken away, as a queue does for a program that goes first.
pub fn may_run_again(job: &Job, pod: Option<&Pod>) -> bool {
    pod.is_some_and(|pod| {
        pod_status(pod) == Status::Failed
            && !of_job(job).status.has_ended()
            && !is_cancelled(&job.metadata)
            && !is_cancelled(&pod.metadata)
            && (job.spec.suspend == Some(true) || pod.metadata.deletion_timestamp.is_some())
    })
}

fn pod_status(pod: &Pod) -> Status {
    // The program's container never restarts, so its end is the job's; it is seen about a second before the phase says so.
    // Other containers may outlive it, or fail. The phase says Failed for what the container cannot know: a time limit
    // (which is what cancels a pod, too), an eviction. A program that ends with 0 after those has failed all the same, and
    // must not look as if it had succeeded before the node has said its word.
    let ended_well = pod
        .terminated()
        .is_some_and(|terminated| terminated.exit_code == 0 && terminated.reason != "ContainerStatusUnknown");
    match pod.status.phase.as_str() {
        "Succeeded" => return Status::Succeeded,
        "Failed" if ended_well && nothing_ended_it(pod) => return Status::Succeeded,
        "Failed" => return Status::Failed,
        _ => {}
    }
    match pod.terminated() {
        Some(_) if ended_well && !limit_was_over(pod) => return Status::Succeeded,
        Some(_) if ended_well => {}
        Some(_) => return Status::Failed,
        None => {}
    }
    if node_is_lost(pod) {
        return Status::Unknown;
    }
    let running = pod
        .program_container()
        .is_some_and(|container| container.state.running.is_some());
    if running || pod.status.phase == "Running" {
        Status::Running
    } else {
        Status::Pending
    }
}

/// Whether the program of a pod that failed had ended by itself before anything could end it.
fn nothing_ended_it(pod: &Pod) -> bool {
    match pod.status.reason.as_str() {
        "DeadlineExceeded" => !limit_was_over(pod),
        reason => match disruption(pod) {
            Some(disruption) => ended_before(pod, disruption),
            // Another container has failed.
            None => reason.is_empty() && pod.status.container_statuses.len() > 1,
        },
    }
}

/// The condition that says that the cluster takes a pod away for reasons of its own.
pub fn disruption(pod: &Pod) -> Option<&Condition> {
    pod.condition("DisruptionTarget")
        .filter(|condition| condition.status == "True")
}

/// Whether the program had ended when the cluster began to take its pod away.
pub fn ended_before(pod: &Pod, disruption: &Condition) -> bool {
    match (finished_at(pod), time::parse(&disruption.last_transition_time)) {
        (Some(finished), Some(disrupted)) => finished < disrupted,
        _ => false,
    }
}

/// Whether the pod's time limit was over, or may have been, when its program ended. The node counts from `startTime`, and
/// writes both times cut to whole seconds: so what is less than the limit by them is less indeed (kubelet:
/// `active_deadline.go`, `normalizeStatus`).
pub fn limit_was_over(pod: &Pod) -> bool {
    let Some(limit) = pod.spec.active_deadline_seconds else {
        return false;
    };
    match (finished_at(pod), time::parse(&pod.status.start_time)) {
        (Some(finished), Some(start)) => finished.as_second().saturating_sub(start.as_second()) >= limit as i64,
        _ => true,
    }
}

fn finished_at(pod: &Pod) -> Option<Timestamp> {
    time::parse(pod.terminated()?.finished_at.as_deref()?)
}

/// The least time limit in seconds with which a pod counts as having ended by itself before it: it is over already, and
/// ends what goes on beside a program that has ended. `None` where the node does not tell the times.
pub fn limit_after_end(pod: &Pod) -> Option<u32> {
    let start = time::parse(&pod.status.start_time)?.as_second();
    let seconds = finished_at(pod)?.as_second().checked_sub(start)?;
    u32::try_from(seconds.checked_add(1)?).ok().filter(|limit| *limit > 0)
}

/// Whether the pod's node has stopped answering. The phase stays "Running" then; what changes is the condition Ready,
/// to False, while ContainersReady, which only the node itself sets, stays True. (Seen with Kubernetes 1.34.)
pub fn node_is_lost(pod: &Pod) -> bool {
    let has = |condition: &str, status: &str| pod.condition(condition).is_some_and(|c| c.status == status);
    pod.status.phase == "Unknown"
        || pod.status.reason == "NodeLost"
        // A pod that waits for something outside (`readinessGates`) looks the same but for its reason.
        || (has("Ready", "False")
            && has("ContainersReady", "True")
            && pod.condition("Ready").is_none_or(|ready| ready.reason != "ReadinessGatesNotReady"))
}

/// Groups jobs by their state: the states in the order in which they first occur, the jobs of each as they came.
pub fn by_status(jobs: Vec<JobStatus>) -> StatusReport {
    let mut groups: Vec<(Status, Vec<JobStatus>)> = Vec::new();
    for job in jobs {
        match groups.iter_mut().find(|(status, _)| *status == job.status) {
            Some((_, group)) => group.push(job),
            None => groups.push((job.status, vec![job])),
        }
    }
    StatusReport(groups)
}

/// The pod that speaks for its job: the newest.
pub fn newest<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<&'a Pod> {
    pods.into_iter().max_by(|a, b| {
        let key = |pod: &'a Pod| (&pod.metadata.creation_timestamp, &pod.metadata.name);
        key(a).cmp(&key(b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a-1-xyz", "annotations": {"abba/program-path": "/a.R"}},
            "status": status,
        }))
        .unwrap()
    }

    fn with_container(phase: &str, state: Value) -> Pod {
        pod(json!({"phase": phase, "containerStatuses": [{"name": "program", "state": state}]}))
    }

    #[test]
    fn the_container_is_ahead_of_the_phase() {
        for (phase, state, expected) in [
            ("Running", json!({"terminated": {"exitCode": 0}}), Status::Succeeded),
            ("Running", json!({"terminated": {"exitCode": 3}}), Status::Failed),
            ("Pending", json!({"running": {}}), Status::Running),
            (
                "Pending",
                json!({"waiting": {"reason": "ContainerCreating"}}),
                Status::Pending,
            ),
            ("Failed", json!({"terminated": {"exitCode": 0}}), Status::Failed),
            ("Succeeded", json!({"terminated": {"exitCode": 0}}), Status::Succeeded),
            ("Running", json!({"running": {}}), Status::Running),
        ] {
            assert_eq!(
                of_pod(&with_container(phase, state.clone())).status,
                expected,
                "{phase} {state}"
            );
        }
    }

    #[test]
    fn an_end_with_0_counts_where_it_came_before_the_time_limit() {
        let of = |phase: &str, reason: &str, exit_code: i32, finished: &str| {
            let mut pod = pod(
                json!({"phase": phase, "reason": reason, "startTime": "2026-01-01T00:00:00Z",
                "containerStatuses": [
                    {"name": "program", "state": {"terminated": {"exitCode": exit_code, "finishedAt": finished}}},
                    {"name": "istio-proxy", "state": {"running": {}}},
                ]}),
            );
            pod.spec.active_deadline_seconds = Some(12);
            of_pod(&pod).status
        };
        let (before, after) = ("2026-01-01T00:00:11Z", "2026-01-01T00:00:12Z");
        assert_eq!(of("Running", "", 0, before), Status::Succeeded);
        assert_eq!(of("Failed", "DeadlineExceeded", 0, before), Status::Succeeded);
        assert_eq!(of("Failed", "DeadlineExceeded", 1, before), Status::Failed);
        // It took its time limit's signal for a reason to end well.
        assert_eq!(of("Running", "", 0, after), Status::Running);
        assert_eq!(of("Failed", "DeadlineExceeded", 0, after), Status::Failed);
        assert_eq!(of("Succeeded", "", 0, after), Status::Succeeded);
        assert_eq!(of("Running", "", 143, after), Status::Failed);
        // Another container failed, or the node removed the pod.
        assert_eq!(of("Failed", "", 0, before), Status::Succeeded);
        assert_eq!(of("Failed", "Evicted", 0, before), Status::Failed);
    }

    #[test]
    fn a_program_that_had_ended_before_its_pod_was_removed_has_succeeded() {
        let of = |disrupted: &str| {
            of_pod(&pod(json!({"phase": "Failed", "reason": "Terminated",
            "conditions": [{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": disrupted}],
            "containerStatuses": [
                {"name": "program",
                 "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:00:05Z"}}},
                {"name": "linkerd-proxy", "state": {"terminated": {"exitCode": 143}}},
            ]})))
            .status
        };
        assert_eq!(of("2026-01-01T00:00:06Z"), Status::Succeeded);
        assert_eq!(of("2026-01-01T00:00:05Z"), Status::Failed);
    }

    #[test]
    fn a_readiness_gate_is_no_lost_node() {
        let gated = json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady"},
                {"type": "ContainersReady", "status": "True"}],
            "containerStatuses": [{"name": "program", "state": {"running": {}}}],
        });
        assert_eq!(of_pod(&pod(gated)).status, Status::Running);
    }

    #[test]
    fn a_suspended_job_that_was_cancelled_has_ended() {
        let of = |suspend: bool| {
            let job = json!({"metadata": {"name": "a-1", "annotations": {"abba/cancelled-by": "mike"}},
                "spec": {"suspend": suspend}});
            of_job(&serde_json::from_value(job).unwrap()).status
        };
        assert_eq!(of(true), Status::Failed);
        assert_eq!(of(false), Status::Pending);
    }

    #[test]
    fn a_pod_without_container_states_has_its_phase() {
        for (phase, expected) in [
            ("Pending", Status::Pending),
            ("Running", Status::Running),
            ("Failed", Status::Failed),
            ("Unknown", Status::Unknown),
            ("", Status::Pending),
        ] {
            assert_eq!(of_pod(&pod(json!({"phase": phase}))).status, expected, "{phase}");
        }
    }

    #[test]
    fn a_lost_node_is_told_by_the_conditions() {
        let lost = json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}],
            "containerStatuses": [{"name": "program", "state": {"running": {}}}],
        });
        assert_eq!(of_pod(&pod(lost)).status, Status::Unknown);
        let starting = json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "False"}],
        });
        assert_eq!(of_pod(&pod(starting)).status, Status::Running);
        assert_eq!(
            of_pod(&pod(json!({"phase": "Running", "reason": "NodeLost"}))).status,
            Status::Unknown
        );
    }

    #[test]
    fn without_a_pod_the_job_speaks() {
        for (condition, expected) in [
            ("Complete", Status::Succeeded),
            ("Failed", Status::Failed),
            ("Suspended", Status::Pending),
        ] {
            let job: Job = serde_json::from_value(json!({
                "metadata": {"name": "a-1"},
                "status": {"conditions": [{"type": condition, "status": "True"}]},
            }))
            .unwrap();
            let status = of_job(&job);
            assert_eq!((status.id.as_str(), status.status), ("a-1", expected));
        }
        // Somebody has taken the labels from its pod, which runs all the same.
        for (ready, expected) in [
            (json!(1), Status::Running),
            (json!(0), Status::Pending),
            (json!(null), Status::Pending),
        ] {
            let job: Job = serde_json::from_value(json!({"status": {"active": 1, "ready": ready}})).unwrap();
            assert_eq!(of_job(&job).status, expected);
        }
    }

    #[test]
    fn groups_keep_the_order() {
        let job = |id: &str, status| JobStatus {
            id: id.into(),
            path: None,
            status,
        };
        let groups = by_status(vec![
            job("a", Status::Running),
            job("b", Status::Failed),
            job("c", Status::Running),
        ]);
        let json = serde_json::to_string(&groups).unwrap();
        let group =
            |jobs: &str, status: Status| format!(r#"{{"Jobs":[{jobs}],"Description":"{}"}}"#, status.description());
        let a_and_c = group(r#"{"id":"a","path":null},{"id":"c","path":null}"#, Status::Running);
        let b = group(r#"{"id":"b","path":null}"#, Status::Failed);
        assert_eq!(json, format!(r#"{{"Running":{a_and_c},"Failed":{b}}}"#));
        assert_eq!(groups.counts(), [("Failed", 1), ("Running", 2)].into());
    }

    #[test]
    fn the_newest_attempt_speaks_for_the_job() {
        let attempt = |name: &str, created: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": name, "creationTimestamp": created}})).unwrap()
        };
        let pods = [
            attempt("b", "2026-01-01T00:00:09Z"),
            attempt("c", "2026-01-01T00:00:10Z"),
            attempt("a", "2026-01-01T00:00:08Z"),
        ];
        assert_eq!(newest(&pods).unwrap().metadata.name, "c");
    }
}
