//! Why a program has not run, in words for a statistician.

use crate::domain::job_status::{self, Status};
use crate::domain::labels;
use crate::kubernetes::objects::{Condition, Event, Job, Pod};

/// What stands in the way of a program, or stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What is the matter: one sentence.
    pub what: String,
    /// What to do: one sentence. Empty where there is nothing to do but wait.
    pub advice: String,
    /// Kubernetes' own words.
    pub details: String,
    /// Whether it does not heal by itself: somebody has to do something.
    pub is_stuck: bool,
}

impl Diagnosis {
    fn new(what: impl Into<String>, advice: impl Into<String>, details: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
            details: details.into(),
            is_stuck: false,
        }
    }

    /// The same, if `is_stuck`, as something that does not heal by itself.
    fn stuck(mut self, is_stuck: bool) -> Self {
        self.is_stuck = is_stuck;
        self
    }

    /// As lines that stand where the program's log would stand. Each begins with `abba: `, so that nobody takes it for
    /// the program's own.
    pub fn lines(&self) -> Vec<String> {
        let details = match self.details.as_str() {
            "" => String::new(),
            words => format!("Kubernetes says: {words}"),
        };
        [self.what.as_str(), details.as_str(), self.advice.as_str()]
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| line.trim().to_string())
            .filter(|line| !line.is_empty())
            .map(|line| format!("abba: {line}"))
            .collect()
    }
}

/// Why the program of a pod has not started. `events` are the pod's, oldest first.
pub fn of_unstarted_pod(pod: &Pod, events: &[Event]) -> Diagnosis {
    let container = pod.program_container();
    let image = container.map_or("the container image", |container| container.image.as_str());
    if pod.status.phase == "Failed" && pod.terminated().is_none() {
        return of_failed_pod(&pod.status.reason, &pod.status.message);
    }
    if let Some(waiting) = container.and_then(|container| container.state.waiting.as_ref()) {
        if let Some(diagnosis) = of_waiting(&waiting.reason, &waiting.message, image, events) {
            return diagnosis;
        }
    }
    if let Some(terminated) = pod.terminated() {
        return Diagnosis::new(
            "The program has not run: its container could not be started.",
            "Check that the container image is one that runs R programs: it needs /bin/sh and R.",
            join(&terminated.reason, &terminated.message),
        );
    }
    if let Some(scheduled) = pod
        .condition("PodScheduled")
        .filter(|condition| condition.status == "False")
    {
        return of_unscheduled(scheduled);
    }
    if let Some(event) = last_warning(events) {
        return of_obstacle(event);
    }
    Diagnosis::new(
        "The program has not started yet: its container is being made ready.",
        "",
        "",
    )
}

/// Why a program has failed; `None` where it has not.
pub fn of_failed(pod: &Pod) -> Option<Diagnosis> {
    if job_status::of_pod(pod).status != Status::Failed {
        return None;
    }
    if pod.metadata.annotations.contains_key(labels::CANCELLED) {
        return Some(Diagnosis::new("The program was cancelled.", "", ""));
    }
    let limit = |resource: &str| {
        pod.program_spec()
            .and_then(|container| container.resources.limits.get(resource))
            .map_or("its limit", String::as_str)
    };
    let terminated = pod.terminated();
    let details = terminated.map_or_else(
        || join(&pod.status.reason, &pod.status.message),
        |terminated| join(&terminated.reason, &terminated.message),
    );
    let (what, advice) = match (pod.status.reason.as_str(), terminated) {
        ("DeadlineExceeded", _) => (
            format!(
                "The program was ended because its time limit of {} seconds was over.",
                pod.spec.active_deadline_seconds.unwrap_or_default()
            ),
            "Submit it again with a longer `time_limit_seconds`.".to_string(),
        ),
        ("Evicted", _) => (
            "The node ran short of memory or disk and removed the program.".into(),
            "Submit it again; if it happens often, ask for larger limits or show this to the cluster's administrator."
                .into(),
        ),
        (_, None) => (
            "The program has failed, and nothing is known of how it ended.".into(),
            "Show this to the cluster's administrator.".into(),
        ),
        (_, Some(terminated)) => match (terminated.reason.as_str(), terminated.exit_code) {
            ("OOMKilled", _) => (
                format!("The program needed more memory than its limit of {}.", limit("memory")),
                "Submit it again with a larger `memory_limit`.".into(),
            ),
            ("StartError" | "ContainerCannotRun", _) => (
                "The program has not run: its container could not be started.".into(),
                "Check that the container image is one that runs R programs: it needs /bin/sh and R.".into(),
            ),
            ("ContainerStatusUnknown", _) => (
                "The node lost the program: it may or may not have ended.".into(),
                "Look for its results before you submit it again.".into(),
            ),
            (_, 127) => (
                "The container image has no R, or the program ended with exit status 127.".into(),
                "Check `container`: the image must hold R.".into(),
            ),
            (_, code @ 129..=192) => (
                format!("The program was ended by signal {} (exit status {code}).", code - 128),
                "Read its log; a crash in compiled code ends a program like this.".into(),
            ),
            (_, code) => (
                format!("The program ended with exit status {code}."),
                "Read its log: an R error ends a program with exit status 1.".into(),
            ),
        },
    };
    Some(Diagnosis::new(what, advice, details))
}

/// What a lost node means for a program.
pub fn of_lost_node(pod: &Pod) -> Diagnosis {
    Diagnosis::new(
        format!(
            "The node \"{}\" that runs the program does not answer.",
            pod.spec.node_name
        ),
        "Wait: its state is known again when the node returns. It may still be running, so do not submit it again yet.",
        join(&pod.status.reason, &pod.status.message),
    )
}

/// Why a Job has no pod. `events` are the Job's, oldest first.
pub fn of_job_without_pod(job: &Job, events: &[Event]) -> Diagnosis {
    if let Some(failed) = job.holds("Failed").or(job.holds("FailureTarget")) {
        if job.metadata.annotations.contains_key(labels::CANCELLED) {
            return Diagnosis::new("The program has not run: it was cancelled before it started.", "", "");
        }
        return Diagnosis::new(
            "The program's log is gone: its job has failed, and its pod was removed.",
            "Submit the program again to get a log.",
            join(&failed.reason, &failed.message),
        );
    }
    if job.holds("Complete").is_some() {
        return Diagnosis::new(
            "The program's log is gone: its job has succeeded, and its pod was removed afterwards.",
            "Submit the program again to get a log.",
            "",
        );
    }
    let Some(event) = last_warning(events) else {
        return Diagnosis::new(
            "The program has not started yet: Kubernetes has just accepted its job.",
            "",
            "",
        );
    };
    let waits_for_room = event.message.contains("exceeded quota");
    let advice = if event.message.contains("serviceaccount") {
        "The namespace lacks the service account; ask the cluster's administrator to set it up."
    } else if waits_for_room {
        "It starts when other jobs in the namespace have ended; or cancel some, or ask for smaller limits."
    } else if event.message.contains("must specify")
        || event.message.contains("LimitRange")
        || event.message.contains("maximum")
    {
        "Ask for limits that the namespace allows."
    } else {
        "Show this to the cluster's administrator."
    };
    Diagnosis::new(
        "The program has not started: Kubernetes cannot make its pod.",
        advice,
        join(&event.reason, &event.message),
    )
    .stuck(!waits_for_room)
}

fn of_waiting(reason: &str, message: &str, image: &str, events: &[Event]) -> Option<Diagnosis> {
    Some(match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" => {
            // Once it backs off the message only repeats the image's name; the event before has the cause.
            let cause = events
                .iter()
                .rev()
                .find(|event| event.message.starts_with("Failed to pull image"))
                .map_or(message, |event| event.message.as_str());
            Diagnosis::new(
                format!("The program has not started: its container image \"{image}\" cannot be pulled."),
                "Check the image's name and tag, and that the cluster may pull it. Kubernetes keeps trying.",
                join(reason, cause),
            )
            // The first failure may be an accident of the network; after the retries it is not.
            .stuck(reason != "ErrImagePull")
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "StartError" => Diagnosis::new(
            "The program has not started: its container cannot be made.",
            "Check `mounts`, `username` and the container image.",
            join(reason, message),
        )
        .stuck(true),
        _ => return None,
    })
}

fn of_failed_pod(reason: &str, message: &str) -> Diagnosis {
    let (what, advice) = match reason {
        "DeadlineExceeded" => (
            "The program has not run: its time limit was over before it started.",
            "Submit it again with a longer `time_limit_seconds`.",
        ),
        "Evicted" => (
            "The program has not run: the node had no room for it and removed it.",
            "Submit it again; if it happens often, show this to the cluster's administrator.",
        ),
        _ => (
            "The program has not run: its pod failed before it started.",
            "Submit it again; if that does not help, show this to the cluster's administrator.",
        ),
    };
    Diagnosis::new(what, advice, join(reason, message))
}

fn of_unscheduled(condition: &Condition) -> Diagnosis {
    let message = condition.message.as_str();
    let lacks = |resource: &str| message.contains(&format!("Insufficient {resource}"));
    let advice = match (lacks("cpu"), lacks("memory")) {
        (true, false) => {
            "It starts when enough cores are free; if no node is that large, submit it with a smaller `cpu_limit`."
        }
        (false, true) => {
            "It starts when enough memory is free; if no node is that large, submit it with a smaller `memory_limit`."
        }
        (true, true) => {
            "It starts when enough cores and memory are free; if no node is that large, submit it with smaller limits."
        }
        (false, false) => {
            "It starts when a node can take it; if that does not come, show this to the cluster's administrator."
        }
    };
    Diagnosis::new(
        "The program has not started: no node of the cluster can take it now.",
        advice,
        join(&condition.reason, message),
    )
}

fn of_obstacle(event: &Event) -> Diagnosis {
    let advice = if event.reason == "FailedMount" || event.reason == "FailedAttachVolume" {
        "Check the servers and paths in `mounts` (and `home_nfs_ip_address`). Kubernetes keeps trying."
    } else {
        "Kubernetes keeps trying; if it does not heal, show this to the cluster's administrator."
    };
    Diagnosis::new(
        "The program has not started: its container cannot be made ready.",
        advice,
        join(&event.reason, &event.message),
    )
}

fn last_warning(events: &[Event]) -> Option<&Event> {
    events.iter().rev().find(|event| event.event_type == "Warning")
}

fn join(reason: &str, message: &str) -> String {
    match (reason, message) {
        ("", text) | (text, "") => text.to_string(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "a-1-xyz"}, "status": status})).unwrap()
    }

    fn warning(reason: &str, message: &str) -> Event {
        Event {
            reason: reason.into(),
            message: message.into(),
            event_type: "Warning".into(),
            last_timestamp: None,
            event_time: None,
            count: None,
        }
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named_with_the_cause() {
        let waiting = pod(json!({"phase": "Pending", "containerStatuses": [{
            "name": "program", "image": "127.0.0.1:5000/nope:1",
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}}]}));
        let events = [warning(
            "Failed",
            "Failed to pull image \"127.0.0.1:5000/nope:1\": not found",
        )];
        let lines = of_unstarted_pod(&waiting, &events).lines();
        assert!(lines[0].contains("127.0.0.1:5000/nope:1"), "{lines:?}");
        assert!(lines[1].contains("not found"), "{lines:?}");
    }

    #[test]
    fn an_unschedulable_pod_names_what_is_short() {
        let waiting = pod(
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]}),
        );
        let diagnosis = of_unstarted_pod(&waiting, &[]);
        assert!(diagnosis.advice.contains("cpu_limit"));
        assert!(diagnosis.details.contains("1 Insufficient cpu"));
    }

    #[test]
    fn a_job_without_a_pod_says_what_its_events_say() {
        let job = Job::default();
        let events = [warning("FailedCreate", "Error creating: pods \"a-\" is forbidden: error looking up service account rstudio/nope: serviceaccount \"nope\" not found")];
        let diagnosis = of_job_without_pod(&job, &events);
        assert!(diagnosis.advice.contains("service account"));
        let quota = [warning(
            "FailedCreate",
            "Error creating: pods \"a-\" is forbidden: exceeded quota: small",
        )];
        assert!(of_job_without_pod(&job, &quota).advice.contains("other jobs"));
        assert!(of_job_without_pod(&job, &[]).what.contains("not started yet"));
    }

    #[test]
    fn a_mount_that_hangs_is_told() {
        let creating = pod(json!({"phase": "Pending", "containerStatuses": [{
            "name": "program", "state": {"waiting": {"reason": "ContainerCreating"}}}]}));
        let events = [warning("FailedMount", "MountVolume.SetUp failed for volume \"home\"")];
        assert!(of_unstarted_pod(&creating, &events).advice.contains("mounts"));
        assert!(of_unstarted_pod(&creating, &[]).what.contains("not started yet"));
    }

    #[test]
    fn every_line_says_whose_it_is() {
        let diagnosis = Diagnosis::new("a", "b", "c\nd");
        assert_eq!(
            diagnosis.lines(),
            ["abba: a", "abba: Kubernetes says: c", "abba: d", "abba: b"]
        );
    }
}
