//! Why a program has not run, in words for a statistician.

use crate::domain::cluster_check::namespace_rules::refuses_volumes;
use crate::domain::job_status::{self, Status};
use crate::domain::order::{self, Order, Seen};
use crate::domain::program::Runner;
use crate::domain::quantity::is_beyond_quota;
use crate::domain::queue::{self, QueueLook};
use crate::kubernetes::labels;
use crate::kubernetes::objects::{Condition, Event, Job, Pod};

/// What stands in the way of a program, or stood.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
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
    pub(super) fn new(what: impl Into<String>, advice: impl Into<String>, details: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
            details: details.into(),
            is_stuck: false,
        }
    }

    /// The same, if `is_stuck`, as something that does not heal by itself.
    pub(super) fn stuck(mut self, is_stuck: bool) -> Self {
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
    // The node may not have reported a container yet.
    let image = container
        .map(|container| container.image.as_str())
        .or(pod.program_spec().map(|container| container.image.as_str()))
        .unwrap_or_default();
    if was_cancelled(pod) {
        return cancelled_before_start();
    }
    // A node that gives up on a pod may note an end of a container that never was ("ContainerStatusUnknown").
    let ended_by_node = pod.terminated().is_none() || pod.status.reason == "DeadlineExceeded";
    if let Some(disruption) = of_disruption(pod) {
        return disruption;
    }
    if let Some(diagnosis) = of_init_container(pod, events) {
        return diagnosis;
    }
    if pod.status.phase == "Failed" && ended_by_node {
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
            join(&terminated.reason, terminated.words()),
        );
    }
    if let Some(scheduled) = pod
        .condition("PodScheduled")
        .filter(|condition| condition.status == "False")
    {
        return of_unscheduled(scheduled, events);
    }
    let is_scheduled = pod
        .condition("PodScheduled")
        .is_some_and(|condition| condition.status == "True");
    if let Some(event) = last_warning(events, is_scheduled) {
        // The node tells of it by an event before the container's state does.
        let announced = waiting_reason(event);
        return announced
            .and_then(|(reason, message)| of_waiting(reason, message, image, events))
            .unwrap_or_else(|| of_obstacle(event));
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
    if was_cancelled(pod) {
        return Some(match pod.has_started() {
            true => Diagnosis::new("The program was cancelled.", "", ""),
            false => cancelled_before_start(),
        });
    }
    if let Some(disruption) = of_disruption(pod) {
        return Some(disruption);
    }
    if !pod.has_started() {
        if let Some(diagnosis) = of_init_container(pod, &[]) {
            return Some(diagnosis);
        }
    }
    let limit = |resource: &str| {
        pod.program_spec()
            .and_then(|container| container.resources.limits.get(resource))
            .map_or("its limit", String::as_str)
    };
    let terminated = pod.terminated();
    // A time limit that ended other containers only, after the program.
    let is_of_others = pod.status.reason == "DeadlineExceeded" && pod.has_started() && !job_status::limit_was_over(pod);
    let (pod_reason, of_pod) = match is_of_others {
        true => ("", String::new()),
        false => (
            pod.status.reason.as_str(),
            join(&pod.status.reason, &pod.status.message),
        ),
    };
    let details = match terminated {
        // The node's "Error" for any exit status but 0 says nothing.
        Some(terminated) if of_pod.is_empty() && terminated.reason == "Error" => terminated.words().to_string(),
        // What the node did to the pod says more than how its program took it.
        Some(terminated) if of_pod.is_empty() => join(&terminated.reason, terminated.words()),
        _ => of_pod,
    };
    let path = pod.metadata.annotations.get(labels::PROGRAM_PATH);
    let runner = path.map_or(Runner::R, |path| Runner::of(path));
    let (what, advice) = match (pod_reason, terminated) {
        ("DeadlineExceeded", _) if !pod.has_started() => {
            return Some(of_failed_pod("DeadlineExceeded", &pod.status.message))
        }
        ("DeadlineExceeded", _) => (
            format!(
                "The program was ended because its time limit of {} seconds was over.",
                pod.spec.active_deadline_seconds.unwrap_or_default()
            ),
            "Submit it again with a longer `time_limit_seconds`.".to_string(),
        ),
        // The node's words for a volume (`emptyDir.sizeLimit`), and for a container and for a pod as a whole (kubelet:
        // `eviction_manager.go`).
        ("Evicted", _) if pod.status.message.contains("Usage of EmptyDir volume \"abba-") => (
            "The program wrote more to its node's disk than its `disk_limit`.".into(),
            LARGER_DISK.into(),
        ),
        ("Evicted", _) if pod.status.message.contains("Usage of EmptyDir volume") => (
            "The program wrote more to its node's disk than its limit.".into(),
            "Submit it again with a larger limit in `mounts`, or let it write less.".into(),
        ),
        ("Evicted", _)
            if pod.status.message.contains("exceeded its local ephemeral storage limit")
                || pod.status.message.contains("ephemeral local storage usage exceeds") =>
        (
            format!(
                "The program wrote more to its node's disk than its limit of {}, which is its `disk_limit`, or else one \
                 that the namespace sets (a LimitRange).",
                limit("ephemeral-storage")
            ),
            LARGER_DISK.into(),
        ),
        ("Evicted", _) if pod.status.message.contains("exceeds the") => (
            "The program wrote more to its node's disk than its limit.".into(),
            "Submit it again with a larger limit in `mounts`, or let it write less.".into(),
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
            (_, 126) => (
                "The container could not read the program, or the program ended with exit status 126.".into(),
                "Check `mounts`: the storage must hold the program under the path that it was submitted with. Its log says more."
                    .into(),
            ),
            (_, 127) if runner != Runner::R => (
                "The container image lacks something that makes this document, or the program ended with exit status 127."
                    .into(),
                format!(
                    "Check `container`: the image must hold R and {}. Its log says what is missing.",
                    match runner {
                        Runner::Quarto => "quarto",
                        _ => "its package rmarkdown, and pandoc",
                    }
                ),
            ),
            (_, 127) => (
                "The container image has no R, or the program ended with exit status 127.".into(),
                "Check `container`: the image must hold R, on the PATH that it sets itself, or `r_command` must say where it is: \
                 its entry point is not run. Its log says more."
                    .into(),
            ),
            // SIGTERM and SIGKILL come from outside.
            (_, code @ (137 | 143)) if pod.metadata.deletion_timestamp.is_some() => (
                format!("Somebody deletes the program's pod, which has ended the program (exit status {code})."),
                "Its log goes with it: read it now. Submit the program again.".into(),
            ),
            (_, code @ (137 | 143)) => (
                format!("The program was ended from outside, by signal {} (exit status {code}).", code - 128),
                "Somebody or the node ended it, or a part of the program did; a node that runs short of memory does so, too. \
                 Its log says how far it came."
                    .into(),
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

const LARGER_DISK: &str =
    "Submit it again with a larger `disk_limit`, or let it write less to temporary files, or to a folder in \
                           `mounts`. How large a limit may be is your administrator's to say.";

/// What the cluster did to a pod, where it ended the pod for reasons of its own:
/// <https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions>. Not where the node says more
/// than that it ended the pod, as of an eviction.
fn of_disruption(pod: &Pod) -> Option<Diagnosis> {
    let condition = job_status::disruption(pod).filter(|condition| !job_status::ended_before(pod, condition));
    let of_pod = pod.status.reason.as_str();
    if matches!(of_pod, "Evicted" | "DeadlineExceeded") {
        return None;
    }
    let why = why_disrupted(condition.map_or("", |condition| condition.reason.as_str()), of_pod)?;
    let (what, advice) = match pod.has_started() {
        true => (
            format!("The cluster ended the program {why}."),
            "It did not fail by itself. Submit it again.",
        ),
        false => (
            format!("The program has not run: the cluster removed it {why}."),
            "Submit it again.",
        ),
    };
    let of_condition = condition.map(|condition| join(&condition.reason, &condition.message));
    let details = of_condition.unwrap_or_else(|| join(of_pod, &pod.status.message));
    Some(Diagnosis::new(what, advice, details))
}

/// Why the cluster takes a pod away, by the reason of the condition and that of the pod.
fn why_disrupted(reason: &str, of_pod: &str) -> Option<&'static str> {
    Some(match (reason, of_pod) {
        ("PreemptionByScheduler", _) | (_, "Preempting" | "Preempted") => "to make room for one with a higher priority",
        ("DeletionByTaintManager", _) => "because its node went out of use",
        ("EvictionByEvictionAPI", _) => "because its node was cleared (as for maintenance)",
        ("DeletionByPodGC", _) => "because its node is gone",
        ("TerminationByKubelet", _) | (_, "Terminated" | "NodeShutdown" | "Shutdown") => {
            "because its node was shut down"
        }
        ("", _) => return None,
        _ => "for a reason of its own",
    })
}

/// What is to be said of a program that runs: only where its pod is on its way out.
pub fn of_running(pod: &Pod) -> Option<Diagnosis> {
    pod.metadata.deletion_timestamp.as_ref()?;
    let condition = job_status::disruption(pod);
    let why = condition.and_then(|condition| why_disrupted(&condition.reason, ""));
    Some(Diagnosis::new(
        match why {
            Some(why) => format!("The cluster is ending the program {why}."),
            None => "The program is being ended: somebody deletes its pod.".into(),
        },
        "Its log goes with it: read it now. Submit the program again when it has ended.",
        condition
            .map(|condition| join(&condition.reason, &condition.message))
            .unwrap_or_default(),
    ))
}

/// What an init container does that keeps the program from starting. abba makes none: they come from the cluster (a
/// service mesh, a vault, a policy).
fn of_init_container(pod: &Pod, events: &[Event]) -> Option<Diagnosis> {
    const ADVICE: &str =
        "The cluster put this container before your program; show this to the cluster's administrator.";
    let container = pod.status.init_container_statuses.iter().find(|container| {
        let state = &container.state;
        let is_done = state.terminated.as_ref().is_some_and(|end| end.exit_code == 0);
        !is_done && container.started != Some(true)
    })?;
    let name = &container.name;
    if let Some(end) = &container.state.terminated {
        // One that stays beside the program is started again.
        if pod.status.phase != "Failed" && container.restart_count > 0 {
            let what = format!(
                "The program has not started: the container \"{name}\", which the cluster runs before it, fails each time (exit status {}).",
                end.exit_code
            );
            return Some(Diagnosis::new(what, ADVICE, join(&end.reason, end.words())).stuck(true));
        }
        let what = format!(
            "The program has not run: the container \"{name}\", which the cluster runs before it, failed with exit status {}.",
            end.exit_code
        );
        return Some(Diagnosis::new(what, ADVICE, join(&end.reason, end.words())));
    }
    if let Some(waiting) = &container.state.waiting {
        // Before its turn it waits with "PodInitializing", and has no fault.
        let of_words = of_waiting(&waiting.reason, &waiting.message, &container.image, events);
        let is_stuck = of_words.as_ref().is_some_and(|words| words.is_stuck) || waiting.reason == "CrashLoopBackOff";
        let details = match of_words {
            Some(words) => words.details,
            None if waiting.reason == "CrashLoopBackOff" => join(&waiting.reason, &waiting.message),
            None => return None,
        };
        let what = format!(
            "The program has not started: the container \"{name}\", which the cluster runs before it, cannot be started."
        );
        return Some(Diagnosis::new(what, ADVICE, details).stuck(is_stuck));
    }
    container.state.running.as_ref()?;
    Some(Diagnosis::new(
        format!("The program has not started: the container \"{name}\", which the cluster runs before it, has not ended yet."),
        "If it does not end, show this to the cluster's administrator.",
        "",
    ))
}

/// The same diagnosis of a program that has ended, with what goes on of its pod.
pub fn with_kept_pod(diagnosis: Diagnosis, pod: &Pod) -> Diagnosis {
    let Some(kept) = of_kept_pod(pod) else {
        return diagnosis;
    };
    let advice = [diagnosis.advice, kept.what, kept.advice].join(" ").trim().to_string();
    Diagnosis { advice, ..diagnosis }
}

/// What goes on of a job whose program has succeeded.
pub fn of_kept_pod(pod: &Pod) -> Option<Diagnosis> {
    let name = &pod.kept_by()?.name;
    Some(Diagnosis::new(
        format!("The program has ended, but the container \"{name}\", which the cluster put beside it, keeps its pod."),
        "It still holds cores, memory and quota. Cancel the job to end it: the result and the log stay.",
        "",
    ))
}

/// Whether a pod was ended by abba's cancelling, and not by itself a moment before that took effect. The node's word for
/// it is that of a time limit; until the node has said it, the signals that it sends speak.
fn was_cancelled(pod: &Pod) -> bool {
    let by_signal = || {
        pod.terminated()
            .is_some_and(|terminated| matches!(terminated.exit_code, 137 | 143) && terminated.reason != "OOMKilled")
    };
    job_status::is_cancelled(&pod.metadata)
        && (pod.status.reason == "DeadlineExceeded" || (pod.status.phase != "Failed" && by_signal()))
}

/// What is to be said of a program that was cancelled and has not ended yet.
pub fn of_being_cancelled() -> Diagnosis {
    Diagnosis::new("The program was cancelled, and has up to 30 seconds to end.", "", "")
}

fn cancelled_before_start() -> Diagnosis {
    Diagnosis::new("The program has not run: it was cancelled before it started.", "", "")
}

/// Whether a program has failed because it needed more memory than its limit.
pub fn ran_out_of_memory(pod: &Pod) -> bool {
    job_status::of_pod(pod).status == Status::Failed
        && pod
            .terminated()
            .is_some_and(|terminated| terminated.reason == "OOMKilled")
}

/// What a lost node means for a program.
pub fn of_lost_node(pod: &Pod) -> Diagnosis {
    Diagnosis::new(
        format!(
            "The node \"{}\" that runs the program does not answer.",
            pod.spec.node_name
        ),
        match pod.metadata.deletion_timestamp {
            None => "Wait: its state is known again when the node returns. It may still be running, so do not submit it again yet.",
            Some(_) => "The cluster has given its pod up: when the node returns, the program is ended and its log is gone. It may \
                        still be running, so do not submit it again before the cluster's administrator says that the node is off.",
        },
        join(&pod.status.reason, &pod.status.message),
    )
}

/// Why a Job has no pod. `events` are the Job's, oldest first; `look`: what was seen of it in its queue.
pub fn of_job_without_pod(job: &Job, events: &[Event], look: &QueueLook) -> Diagnosis {
    let order = Order::of_job(job);
    if let Some(cause) = order.as_ref().and_then(|order| order.not_started.as_ref()) {
        return order::not_started(cause);
    }
    if let Some(failed) = job.holds("Failed").or(job.holds("FailureTarget")) {
        if job_status::is_cancelled(&job.metadata) {
            return cancelled_before_start();
        }
        return of_removed_pod(failed, events);
    }
    if job_status::of_job(job).status == Status::Running {
        return Diagnosis::new(
            "The program runs, but abba does not see its pod: it was made a moment ago, or a rule of the cluster or somebody has \
             taken abba's labels from it.",
            format!("Where that stays so, its log can be read with `kubectl logs job/{}`.", job.metadata.name),
            "",
        );
    }
    if job.holds("Complete").is_some() {
        return Diagnosis::new(
            "The program's log is gone: its job has succeeded, and its pod was removed afterwards.",
            "Submit the program again to get a log.",
            "",
        );
    }
    if job_status::was_cancelled_in_queue(job) {
        return cancelled_before_start();
    }
    if let Some(order) = order.filter(|order| order.waits) {
        return order::waiting(&order, |_| Seen::NotKnown);
    }
    if job.spec.suspend == Some(true) {
        let details = job
            .holds("Suspended")
            .map(|condition| join(&condition.reason, &condition.message))
            .unwrap_or_default();
        return match job.metadata.labels.get(labels::QUEUE) {
            Some(queue) => queue::of_waiting(queue, look, details),
            None => Diagnosis::new(
                "The program waits in the cluster's queue: its job is suspended.",
                "It starts when the queue lets it; if that does not come, show this to the cluster's administrator.",
                details,
            ),
        };
    }
    let Some(event) = last_warning(events, false) else {
        return Diagnosis::new(
            "The program has not started yet: Kubernetes has just accepted its job.",
            "",
            "",
        );
    };
    let never_fits = is_beyond_quota(&event.message);
    let waits_for_room = event.message.contains("exceeded quota") && !never_fits;
    let advice = if event.message.contains("serviceaccount") {
        "The namespace lacks the service account; ask the cluster's administrator to set it up."
    } else if event.message.contains("violates PodSecurity") && refuses_volumes(&event.message) {
        "Cancel it: the namespace takes no such mounts. Show this to the cluster's administrator."
    } else if event.message.contains("violates PodSecurity") {
        "Cancel it and submit it with `username`, a user other than root; if you did, show this to the cluster's \
         administrator."
    } else if event.message.contains("metadata.annotations: Too long") {
        "What the cluster adds to the program's pod leaves no room for its text. Put the program into a mount \
         (see `mounts`), or make it smaller."
    } else if waits_for_room {
        "It starts when other jobs in the namespace have ended; or cancel some, or ask for smaller limits."
    } else if event.message.contains("because it is being terminated") {
        "Somebody deletes this namespace with all that is in it. Submit the program in another one."
    } else if never_fits || LIMIT_RANGE.iter().any(|words| event.message.contains(words)) {
        "Ask for limits that the namespace allows."
    } else {
        "Show this to the cluster's administrator."
    };
    Diagnosis::new(
        "The program has not started: Kubernetes cannot make its pod.",
        advice,
        join(&event.reason, &event.message),
    )
    .stuck(!waits_for_room && !is_transient(&event.message))
}

/// The words of a LimitRange, and of a quota without one (Kubernetes: `plugin/pkg/admission/limitranger`).
const LIMIT_RANGE: [&str; 5] = [
    "must specify",
    "LimitRange",
    "maximum ",
    "minimum ",
    "max limit to request ratio",
];

/// What it means that a Job has failed and its pod is gone. `events` are those of the Job and of the pod it had.
fn of_removed_pod(failed: &Condition, events: &[Event]) -> Diagnosis {
    // abba gives a Job no limit, and a policy for failures neither.
    let of_job = join(&failed.reason, &failed.message);
    match failed.reason.as_str() {
        "DeadlineExceeded" => {
            return Diagnosis::new(
                "The program was ended, and its log is gone: its job has got a time limit of its own, which is over.",
                "Somebody else, or a rule of the cluster, has set `activeDeadlineSeconds` of the job. Show this to the cluster's \
                 administrator before you submit the program again.",
                of_job,
            );
        }
        "PodFailurePolicy" => {
            return Diagnosis::new(
                "The program's log is gone: its job has failed by a rule that somebody else has put into it.",
                "Show this to the cluster's administrator: the rule is `podFailurePolicy` of the job.",
                of_job,
            );
        }
        _ => {}
    }
    let by_the_cluster = events
        .iter()
        .find(|event| matches!(event.reason.as_str(), "TaintManagerEviction" | "Preempted" | "Evicted"));
    let Some(event) = by_the_cluster else {
        return Diagnosis::new(
            "The program's log is gone: its job has failed, and its pod was removed.",
            "Somebody deleted the pod, or the cluster cleared its node. Submit the program again.",
            of_job,
        );
    };
    let (what, advice) = match event.reason.as_str() {
        "Preempted" => (
            "The cluster removed the program's pod, and its log with it, to make room for one with a higher priority.",
            "Submit the program again; if it happens often, ask the cluster's administrator for a higher priority.",
        ),
        "TaintManagerEviction" => (
            "The cluster removed the program's pod, and its log with it, because its node went out of use.",
            "Submit the program again.",
        ),
        _ => (
            "The cluster removed the program's pod, and its log with it.",
            "Somebody deleted the pod, or the cluster cleared its node. Submit the program again.",
        ),
    };
    Diagnosis::new(what, advice, join(&event.reason, &event.message))
}

fn of_waiting(reason: &str, message: &str, image: &str, events: &[Event]) -> Option<Diagnosis> {
    Some(match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => {
            // Once it backs off the message only repeats the image's name; the event before has the cause.
            let cause = events
                .iter()
                .rev()
                .find(|event| event.message.starts_with("Failed to pull image"))
                .map_or(message, |event| event.message.as_str());
            let (what, advice) = match lacks_login(cause) {
                true => (
                    format!(
                        "The program has not started: the cluster has no login for the registry of its container image \"{image}\", or none that may pull it."
                    ),
                    of_missing_login(events),
                ),
                false if is_of_other_processors(cause) => (
                    format!(
                        "The program has not started: its container image \"{image}\" is not made for the processors of the cluster's nodes."
                    ),
                    "Use an image that is made for them (as linux/amd64), or ask the cluster's administrator for nodes that can run it.".into(),
                ),
                false if reason == "ErrImageNeverPull" => (
                    format!("The program has not started: its container image \"{image}\" is not on the node, which may not pull it (`imagePullPolicy: Never`)."),
                    "Check the Job template where there is one, or ask the cluster's administrator.".into(),
                ),
                false if reason == "SignatureValidationFailed" => (
                    format!("The program has not started: the signature of its container image \"{image}\" is missing or wrong."),
                    "Use an image that is signed as the cluster wants it, or show this to the cluster's administrator.".into(),
                ),
                false => (
                    format!("The program has not started: its container image \"{image}\" cannot be pulled."),
                    "Check the image's name and tag, and that the cluster may pull it. Kubernetes keeps trying.".into(),
                ),
            };
            Diagnosis::new(what, advice, join(reason, cause))
                // The first failure may be an accident; after the retries it is not, unless the registry is out of reach.
                .stuck(!matches!(reason, "ErrImagePull" | "RegistryUnavailable") && !is_transient(cause))
        }
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "StartError"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "PostStartHookError" => Diagnosis::new(
            "The program has not started: its container cannot be made.",
            match message.contains("runAsNonRoot") {
                true => "The cluster does not let programs run as root: submit it with `username`.",
                false => "Check `mounts`, `username`, the container image, and the Job template where there is one.",
            },
            join(reason, message),
        )
        .stuck(!is_transient(message)),
        _ => return None,
    })
}

/// Whether a registry refuses an image for want of a login, in the words of containerd and CRI-O, and of the registries.
fn lacks_login(words: &str) -> bool {
    let words = words.to_lowercase();
    [
        "unauthorized",
        "authentication required",
        "authorization failed",
        "no basic auth credentials",
        "access denied",
        "access to the resource is denied",
        "insufficient_scope",
        "403 forbidden",
        "may require authorization",
        "failed to fetch anonymous token",
        "invalid username/password",
    ]
    .iter()
    .any(|sign| words.contains(sign))
}

/// Whether an image has nothing for the node's processors, in the words of containerd, and of Docker and Podman.
fn is_of_other_processors(words: &str) -> bool {
    let words = words.to_lowercase();
    [
        "no match for platform",
        "no matching manifest for ",
        "no image found in manifest list for architecture",
        "no image found in image index for architecture",
    ]
    .iter()
    .any(|sign| words.contains(sign))
}

/// What to ask the administrator for where the cluster cannot log in to a registry.
fn of_missing_login(events: &[Event]) -> String {
    let missing = events
        .iter()
        .rev()
        .find(|event| event.reason == "FailedToRetrieveImagePullSecret");
    let of_secret = missing
        .and_then(|event| Some(event.message.split_once('(')?.1.split_once(')')?.0))
        .map(|name| format!(" The one that is set up, the secret \"{name}\", is not in the namespace."))
        .unwrap_or_default();
    format!(
        "Check the image's name; if it is right, ask the cluster's administrator for an image pull secret for this registry, \
         in the namespace and its service account.{of_secret} Kubernetes keeps trying."
    )
}

fn of_failed_pod(reason: &str, message: &str) -> Diagnosis {
    let (what, advice) = match reason {
        "DeadlineExceeded" => (
            "The program has not run: its time limit was over before it started.",
            "Submit it again with a longer `time_limit_seconds`.",
        ),
        reason if reason == "Evicted" || reason.starts_with("OutOf") => (
            "The program has not run: the node had no room for it and removed it.",
            "Submit it again; if it happens often, show this to the cluster's administrator.",
        ),
        "UnexpectedAdmissionError" | "NodeAffinity" | "NodeName" | "NodePorts" | "TaintToleration" => (
            "The program has not run: the node that was to run it did not take it.",
            "Submit it again; if it happens often, show this to the cluster's administrator.",
        ),
        _ => (
            "The program has not run: its pod failed before it started.",
            "Submit it again; if that does not help, show this to the cluster's administrator.",
        ),
    };
    Diagnosis::new(what, advice, join(reason, message))
}

fn of_unscheduled(condition: &Condition, events: &[Event]) -> Diagnosis {
    let message = condition.message.as_str();
    let details = join(&condition.reason, message);
    if condition.reason == "SchedulingGated" {
        return Diagnosis::new(
            "The program waits in the cluster's queue: its pod is held back (a scheduling gate).",
            "It starts when the queue lets it; if that does not come, show this to the cluster's administrator.",
            details,
        );
    }
    // A claim that is there and not bound yet may still be; one that is not there nobody makes.
    let missing_claim = message
        .split_once("persistentvolumeclaim \"")
        .and_then(|(_, rest)| rest.split_once("\" not found"))
        .filter(|(claim, _)| !claim.contains('"'));
    if let Some((claim, _)) = missing_claim {
        return Diagnosis::new(
            format!("The program cannot start: the namespace has no volume claim \"{claim}\"."),
            "Check `claimName` in `mounts`, and the Job template where there is one.",
            details,
        )
        .stuck(true);
    }
    // <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding>
    if [
        "unbound immediate PersistentVolumeClaims",
        "\" is being deleted",
        "didn't find available persistent volumes to bind",
    ]
    .iter()
    .any(|sign| message.contains(sign))
    {
        return Diagnosis::new(
            "The program has not started: a volume claim of its has no volume, or is being deleted.",
            "Check `claimName` in `mounts` (and the Job template where there is one): the storage may still be on its way. If that does \
             not come, show this to the cluster's administrator.",
            details,
        );
    }
    let lacks = |resource: &str| message.contains(&format!("Insufficient {resource}"));
    let argument = match (lacks("cpu"), lacks("memory")) {
        (true, false) => "a smaller `cpu_limit`",
        (false, true) => "a smaller `memory_limit`",
        (true, true) => "smaller limits",
        (false, false) => "",
    };
    // Autoscalers say so, Karpenter with "Nominated".
    let node_is_coming = events
        .iter()
        .any(|event| matches!(event.reason.as_str(), "TriggeredScaleUp" | "Nominated"));
    if node_is_coming {
        return Diagnosis::new(
            "The program has not started: the cluster is getting a node for it.",
            "",
            details,
        );
    }
    if !argument.is_empty() && no_node_is_large_enough(message) {
        return Diagnosis::new(
            "The program cannot start: no node of the cluster is large enough for its limits.",
            format!("Cancel it and submit it with {argument}. It would start only if the cluster got a larger node."),
            details,
        )
        .stuck(true);
    }
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
        (false, false) if lacks("ephemeral-storage") => {
            "It starts when a node has enough free disk; if no node has that much, submit it with a smaller `disk_limit`."
        }
        (false, false) => {
            "It starts when a node can take it; if that does not come, show this to the cluster's administrator."
        }
    };
    Diagnosis::new(
        "The program has not started: no node of the cluster can take it now.",
        advice,
        details,
    )
}

/// Whether the scheduler's message says that the limits are beyond what any node has, not only beyond what is free. To
/// know the nodes' sizes one would need the right to list nodes, which users rarely have; but since Kubernetes 1.32 the
/// scheduler itself tells the two apart, in what it says of making room: "Preemption is not helpful for scheduling" of a
/// node that is too small even when empty, "No preemption victims found" of one that is full (plugin NodeResourcesFit;
/// seen with 1.34). An older one says the latter of both, and then nothing is claimed here. Nor is it where a node is out
/// of use for another reason that may pass.
fn no_node_is_large_enough(message: &str) -> bool {
    let Some((of_nodes, of_room)) = message.split_once("preemption:") else {
        return false;
    };
    let reasons = |text: &str| -> Vec<String> {
        let Some((_, reasons)) = text.split_once("nodes are available:") else {
            return Vec::new();
        };
        // "1 Insufficient cpu, 2 node(s) had untolerated taint {a: }. no new claims to deallocate, ". Each begins with a
        // count of nodes.
        let reasons = reasons.split_once(". ").map_or(reasons, |(reasons, _)| reasons);
        reasons
            .trim()
            .trim_end_matches('.')
            .split(", ")
            .map(|reason| {
                reason
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .trim()
                    .to_string()
            })
            .collect()
    };
    let (of_nodes, of_room) = (reasons(of_nodes), reasons(of_room));
    let lasts = |reason: &String| {
        matches!(reason.as_str(), "Insufficient cpu" | "Insufficient memory")
            || reason.contains("taint {node-role.kubernetes.io/")
    };
    !of_nodes.is_empty()
        && of_nodes.iter().all(lasts)
        && !of_room.is_empty()
        && of_room
            .iter()
            .all(|reason| reason.starts_with("Preemption is not helpful"))
}

/// Whether a failure to pull an image, to start a container or to make a pod is one of a network or a server that does not
/// answer: then the next attempt may succeed.
fn is_transient(words: &str) -> bool {
    let words = words.to_lowercase();
    [
        "timeout",
        "timed out",
        "deadline exceeded",
        "connection refused",
        "connection reset",
        "no route to host",
        "temporary failure",
        "server misbehaving",
        "too many requests",
        "toomanyrequests",
        "unexpected eof",
        "internal server error",
        "bad gateway",
        "service unavailable",
        // A webhook that is set up anew.
        "no endpoints available",
    ]
    .iter()
    .any(|sign| words.contains(sign))
}

/// The reason for which a container waits, and the node's words, as an event announces them (kubelet: `image_manager.go`,
/// `kuberuntime_container.go`).
fn waiting_reason(event: &Event) -> Option<(&str, &str)> {
    let message = event.message.as_str();
    let reason = match event.reason.as_str() {
        "Failed" if message.starts_with("Failed to pull image") => "ErrImagePull",
        "Failed" => match message.strip_prefix("Error: ")? {
            reason @ ("ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed") => return Some((reason, "")),
            words => return Some(("CreateContainerError", words)),
        },
        "BackOff" if message.starts_with("Back-off pulling image") => "ImagePullBackOff",
        "InspectFailed" if message.contains("couldn't parse image") => "InvalidImageName",
        "InspectFailed" => "ImageInspectError",
        "ErrImageNeverPull" => "ErrImageNeverPull",
        _ => return None,
    };
    Some((reason, message))
}

fn of_obstacle(event: &Event) -> Diagnosis {
    // The scheduler tells of it before the pod's condition does.
    if event.reason == "FailedScheduling" {
        let condition = Condition {
            reason: "Unschedulable".into(),
            message: event.message.clone(),
            ..Default::default()
        };
        return of_unscheduled(&condition, &[]);
    }
    let advice = if event.reason == "FailedMount" || event.reason == "FailedAttachVolume" {
        "Check the servers and paths in `mounts` (and `home_nfs_ip_address`), and the Job template where there is one. Kubernetes keeps trying."
    } else {
        "Kubernetes keeps trying; if it does not heal, show this to the cluster's administrator."
    };
    Diagnosis::new(
        "The program has not started: its container cannot be made ready.",
        advice,
        join(&event.reason, &event.message),
    )
}

/// The newest warning that was not overcome: a pod that has a node is past the want of one, and one whose image is pulled
/// is past all that comes before that. `events` are oldest first.
fn last_warning(events: &[Event], is_scheduled: bool) -> Option<&Event> {
    const BEFORE_THE_PULL: [&str; 5] = [
        "FailedScheduling",
        "FailedMount",
        "FailedAttachVolume",
        "FailedCreatePodSandBox",
        "NetworkNotReady",
    ];
    let mut is_past_the_pull = false;
    events.iter().rev().find(|event| {
        let reason = event.reason.as_str();
        is_past_the_pull |= ["Pulling", "Pulled", "Created", "Started"].contains(&reason);
        let is_overcome =
            (is_scheduled && reason == "FailedScheduling") || (is_past_the_pull && BEFORE_THE_PULL.contains(&reason));
        event.event_type == "Warning" && !is_overcome
    })
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

    /// Of a Job in no queue.
    fn of_job_without_pod(job: &Job, events: &[Event]) -> Diagnosis {
        super::of_job_without_pod(job, events, &QueueLook::NotKnown)
    }

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
    fn an_image_that_cannot_be_pulled_is_told_before_the_containers_state_says_so() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a-1-xyz"},
            "spec": {"containers": [{"name": "program", "image": "r:1"}]},
            "status": {"phase": "Pending", "containerStatuses": [{"name": "program", "image": "r:1",
                "state": {"waiting": {"reason": "ContainerCreating"}}}]},
        }))
        .unwrap();
        let pull = warning("Failed", "Failed to pull image \"r:1\": not found");
        for (events, is_stuck) in [
            (vec![pull.clone()], false),
            (vec![pull.clone(), warning("Failed", "Error: ErrImagePull")], false),
            (
                vec![pull.clone(), warning("BackOff", "Back-off pulling image \"r:1\"")],
                true,
            ),
            (vec![pull, warning("Failed", "Error: ImagePullBackOff")], true),
        ] {
            for mut pod in [
                pod.clone(),
                Pod {
                    status: Default::default(),
                    ..pod.clone()
                },
            ] {
                pod.status.phase = "Pending".into();
                let diagnosis = of_unstarted_pod(&pod, &events);
                assert_eq!(
                    diagnosis.what,
                    "The program has not started: its container image \"r:1\" cannot be pulled."
                );
                assert!(diagnosis.details.contains("not found"), "{diagnosis:?}");
                assert_eq!(diagnosis.is_stuck, is_stuck, "{diagnosis:?}");
            }
        }
        let name = warning(
            "InspectFailed",
            "Failed to apply default image tag \"r:\": couldn't parse image name \"r:\"",
        );
        assert!(of_unstarted_pod(&pod, &[name]).is_stuck);
        let made = of_unstarted_pod(&pod, &[warning("Failed", "Error: secret \"x\" not found")]);
        assert_eq!(made.what, "The program has not started: its container cannot be made.");
    }

    #[test]
    fn a_registry_that_asks_for_a_login_is_told_from_an_image_that_is_not_there() {
        let event = |reason: &str, message: &str| Event {
            reason: reason.into(),
            message: message.into(),
            event_type: "Warning".into(),
            ..Default::default()
        };
        let waiting = pod(
            json!({"phase": "Pending", "containerStatuses": [{"name": "program", "image": "r:1",
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}}]}),
        );
        let of = |why: &str, more: &[Event]| {
            let pull = event("Failed", &format!("Failed to pull image \"r:1\": {why}"));
            of_unstarted_pod(&waiting, &[more, &[pull]].concat())
        };
        for why in [
            "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
            "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope",
            "unexpected status from HEAD request to https://r.example.com/v2/r/manifests/1: 403 Forbidden",
            "no basic auth credentials",
            "reading manifest 1 in r.example.com/r: unauthorized: authentication required",
        ] {
            let diagnosis = of(why, &[]);
            assert!(diagnosis.what.contains("has no login for the registry"), "{why}");
            assert!(diagnosis.advice.contains("image pull secret") && diagnosis.is_stuck, "{why}");
            assert!(diagnosis.details.contains(why), "{why}");
        }
        let missing = event(
            "FailedToRetrieveImagePullSecret",
            "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.",
        );
        let diagnosis = of("401 Unauthorized", &[missing]);
        assert!(diagnosis
            .advice
            .contains("the secret \"regcred\", is not in the namespace"));
        for why in [
            "manifest unknown",
            "r:1: not found",
            "dial tcp 192.0.2.1:443: i/o timeout",
        ] {
            assert!(of(why, &[]).what.ends_with("cannot be pulled."), "{why}");
        }
    }

    #[test]
    fn a_program_that_failed_names_what_keeps_its_pod() {
        let of = |state: serde_json::Value| {
            let pod = pod(json!({"phase": "Running", "containerStatuses": [
                {"name": "program", "state": {"terminated": {"exitCode": 1, "reason": "Error",
                    "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"}}},
                {"name": "mesh", "state": state}]}));
            with_kept_pod(of_failed(&pod).unwrap(), &pod)
        };
        let kept = of(json!({"running": {}}));
        assert_eq!(kept.what, "The program ended with exit status 1.");
        assert!(kept.advice.starts_with("Read its log"));
        assert!(kept.advice.contains("the container \"mesh\"") && kept.advice.contains("Cancel the job"));
        let alone = of(json!({"terminated": {"exitCode": 0}}));
        assert!(!alone.advice.contains("mesh"));
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
        let of = |message: &str| {
            of_unstarted_pod(
                &pod(json!({"phase": "Pending"})),
                &[warning("FailedScheduling", message)],
            )
        };
        let disk = of("0/1 nodes are available: 1 Insufficient ephemeral-storage.");
        assert!(disk.advice.contains("`disk_limit`"), "{disk:?}");
        let claim = of("0/1 nodes are available: persistentvolumeclaim \"studies\" not found. not found");
        assert!(
            claim.what.contains("no volume claim \"studies\"") && claim.is_stuck,
            "{claim:?}"
        );
        assert!(!of("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found").is_stuck);
    }

    #[test]
    fn limits_beyond_every_node_are_told_from_a_full_cluster() {
        let of = |message: &str, events: &[Event]| {
            let condition =
                json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
            of_unstarted_pod(&pod(json!({"phase": "Pending", "conditions": [condition]})), events)
        };
        let too_large = [
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 Insufficient memory. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
        ];
        for message in too_large {
            let diagnosis = of(message, &[]);
            assert!(diagnosis.is_stuck, "{message}");
            assert!(diagnosis.advice.contains("_limit"));
        }
        for message in [
            // Full; or a scheduler that does not tell.
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
            "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.",
            // A node that may come back.
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
            "0/2 nodes are available: 2 Insufficient cpu.",
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            "no nodes available to schedule pods",
        ] {
            assert!(!of(message, &[]).is_stuck, "{message}");
        }
        // The event may come before the condition.
        let event = [warning("FailedScheduling", too_large[0])];
        assert!(of_unstarted_pod(&pod(json!({"phase": "Pending"})), &event).is_stuck);
        let coming = [Event {
            reason: "TriggeredScaleUp".into(),
            message: "pod triggered scale-up: [{group 1->2 (max: 5)}]".into(),
            ..Default::default()
        }];
        assert!(!of(too_large[0], &coming).is_stuck);
    }

    #[test]
    fn a_warning_that_was_overcome_is_no_reason() {
        let scheduled = pod(json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}));
        let normal = |reason: &str| Event {
            reason: reason.into(),
            event_type: "Normal".into(),
            ..Default::default()
        };
        let no_room = || warning("FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.");
        let no_mount = || warning("FailedMount", "MountVolume.SetUp failed for volume \"home\"");
        let has_no_obstacle = |events: &[Event]| of_unstarted_pod(&scheduled, events).details.is_empty();
        assert!(has_no_obstacle(&[no_room()]));
        assert!(has_no_obstacle(&[
            no_room(),
            normal("Scheduled"),
            no_mount(),
            normal("Pulling")
        ]));
        assert!(!has_no_obstacle(&[no_room(), normal("Scheduled"), no_mount()]));
        let pull = warning("Failed", "Failed to pull image \"i\": not found");
        assert!(!has_no_obstacle(&[normal("Pulling"), pull, normal("Pulling")]));
    }

    #[test]
    fn what_may_pass_is_no_reason_to_give_up() {
        let waiting = |reason: &str, message: &str| {
            let state = json!({"waiting": {"reason": reason, "message": message}});
            let status =
                json!({"phase": "Pending", "containerStatuses": [{"name": "program", "image": "i", "state": state}]});
            of_unstarted_pod(&pod(status), &[]).is_stuck
        };
        assert!(waiting(
            "ImagePullBackOff",
            "Back-off pulling image \"i\": ErrImagePull: i: not found"
        ));
        assert!(waiting("InvalidImageName", "couldn't parse image name"));
        assert!(!waiting("ErrImagePull", "i: not found"));
        assert!(!waiting(
            "ImagePullBackOff",
            "dial tcp 127.0.0.1:1: connect: connection refused"
        ));
        let stuck = |message: &str| of_job_without_pod(&Job::default(), &[warning("FailedCreate", message)]).is_stuck;
        assert!(stuck("serviceaccount \"nope\" not found"));
        assert!(!stuck("exceeded quota: small"));
        assert!(!stuck("failed calling webhook \"x\": context deadline exceeded"));
    }

    #[test]
    fn what_an_image_lacks_is_named_by_what_the_program_is() {
        for (path, words) in [
            ("/d/a.R", "hold R, on the PATH"),
            ("/d/a.Rmd", "R and its package rmarkdown, and pandoc"),
            ("/d/a.qmd", "R and quarto"),
        ] {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"annotations": {labels::PROGRAM_PATH: path}},
                "status": {"phase": "Failed", "containerStatuses": [
                    {"name": "program", "state": {"terminated": {"exitCode": 127, "reason": "Error"}}}]},
            }))
            .unwrap();
            let advice = of_failed(&pod).unwrap().advice;
            assert!(advice.contains(words), "{advice}");
        }
    }

    #[test]
    fn a_cancelled_program_is_told_from_one_that_failed_by_itself() {
        let ended = |phase: &str, reason: &str, exit_code: i32| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"annotations": {"abba/cancelled-by": "mike"}},
                "status": {"phase": phase, "reason": reason, "containerStatuses": [
                    {"name": "program", "state": {"terminated": {"exitCode": exit_code, "reason": "Error"}}}]},
            }))
            .unwrap();
            of_failed(&pod).unwrap().what
        };
        assert!(ended("Failed", "DeadlineExceeded", 143).contains("was cancelled"));
        assert!(ended("Running", "", 143).contains("was cancelled"));
        // It had ended in the very moment in which it was cancelled.
        assert!(ended("Failed", "", 1).contains("exit status 1"));
        // What was pulling an image, as the node notes its end.
        let unstarted: Pod = serde_json::from_value(json!({
            "metadata": {"annotations": {"abba/cancelled-by": "mike"}},
            "status": {"phase": "Failed", "reason": "DeadlineExceeded", "containerStatuses": [
                {"name": "program", "state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}}]},
        }))
        .unwrap();
        assert!(of_failed(&unstarted)
            .unwrap()
            .what
            .contains("cancelled before it started"));
        assert!(of_unstarted_pod(&unstarted, &[])
            .what
            .contains("cancelled before it started"));
    }

    #[test]
    fn a_limit_that_others_have_given_to_a_job_is_told() {
        for (reason, words) in [
            ("DeadlineExceeded", "`activeDeadlineSeconds`"),
            ("PodFailurePolicy", "`podFailurePolicy`"),
            ("BackoffLimitExceeded", "Somebody deleted the pod"),
        ] {
            let failed = json!({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason}]}});
            let said = of_job_without_pod(&serde_json::from_value(failed).unwrap(), &[]);
            assert!(said.advice.contains(words) && said.details == reason, "{said:?}");
        }
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
        let waits = of_job_without_pod(&job, &quota);
        assert!(waits.advice.contains("other jobs") && !waits.is_stuck);
        for (words, advice, is_stuck) in [
            (
                "exceeded quota: q, requested: limits.cpu=2, used: limits.cpu=0, limited: limits.cpu=1",
                "limits that the namespace allows",
                true,
            ),
            (
                "[minimum cpu usage per Container is 2, but request is 1]",
                "limits that the namespace allows",
                true,
            ),
            (
                "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000",
                "limits that the namespace allows",
                true,
            ),
            (
                "unable to create new content in namespace n because it is being terminated",
                "another one",
                true,
            ),
            (
                "failed calling webhook \"v\": no endpoints available for service \"v\"",
                "administrator",
                false,
            ),
        ] {
            let events = [warning(
                "FailedCreate",
                &format!("Error creating: pods \"a-\" is forbidden: {words}"),
            )];
            let said = of_job_without_pod(&job, &events);
            assert!(said.advice.contains(advice) && said.is_stuck == is_stuck, "{said:?}");
        }
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
    fn a_container_before_the_program_that_keeps_it_from_starting_is_named() {
        let of = |phase: &str, state: Value| {
            let program = json!({"name": "program", "state": {"waiting": {"reason": "PodInitializing"}}});
            pod(
                json!({"phase": phase, "containerStatuses": [program], "initContainerStatuses": [
                {"name": "istio-init", "state": {"terminated": {"exitCode": 0}}},
                {"name": "vault-agent-init", "image": "vault:1", "state": state}]}),
            )
        };
        let pull = json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}});
        let diagnosis = of_unstarted_pod(&of("Pending", pull), &[]);
        assert!(diagnosis.what.contains("\"vault-agent-init\""), "{diagnosis:?}");
        assert!(
            diagnosis.is_stuck && diagnosis.details.contains("not found"),
            "{diagnosis:?}"
        );
        let runs = of_unstarted_pod(&of("Pending", json!({"running": {}})), &[]);
        assert!(runs.what.contains("has not ended yet") && !runs.is_stuck, "{runs:?}");
        let failed = of(
            "Failed",
            json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "no token"}}),
        );
        for diagnosis in [of_failed(&failed).unwrap(), of_unstarted_pod(&failed, &[])] {
            assert!(diagnosis.what.contains("\"vault-agent-init\""), "{diagnosis:?}");
            assert!(diagnosis.what.contains("exit status 1") && diagnosis.details.contains("no token"));
        }
    }

    #[test]
    fn a_container_beside_the_program_that_fails_again_and_again_has_not_ended_it() {
        let of = |phase: &str, restarts: u32| {
            let end = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
            let status = json!({"phase": phase, "initContainerStatuses":
                [{"name": "mesh", "state": end, "restartCount": restarts}]});
            of_unstarted_pod(&pod(status), &[])
        };
        let again = of("Pending", 3);
        assert!(
            again.what.contains("\"mesh\"") && again.what.contains("fails each time") && again.is_stuck,
            "{again:?}"
        );
        assert!(of("Failed", 3).what.contains("has not run"));
    }

    #[test]
    fn what_ended_a_program_from_outside_is_no_crash() {
        let ended = |code: i32, metadata: Value| -> Diagnosis {
            let end = json!({"terminated": {"exitCode": code, "reason": "Error"}});
            let status = json!({"phase": "Running", "containerStatuses": [{"name": "program", "state": end}]});
            of_failed(&serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()).unwrap()
        };
        for code in [137, 143] {
            let by_somebody = ended(code, json!({"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}));
            assert!(
                by_somebody.what.contains("deletes the program's pod"),
                "{by_somebody:?}"
            );
            assert!(ended(code, json!({"name": "a"})).what.contains("from outside"));
        }
        assert!(ended(139, json!({"name": "a"})).advice.contains("a crash"));
        assert!(ended(1, json!({"name": "a", "deletionTimestamp": "x"}))
            .what
            .contains("exit status 1"));
    }

    #[test]
    fn what_the_cluster_did_to_a_program_is_no_crash() {
        for (reason, of_pod, words) in [
            ("PreemptionByScheduler", "", "higher priority"),
            ("DeletionByTaintManager", "", "out of use"),
            ("EvictionByEvictionAPI", "", "was cleared"),
            ("DeletionByPodGC", "", "is gone"),
            ("TerminationByKubelet", "Terminated", "shut down"),
            ("RemovedByAnAutoscaler", "", "reason of its own"),
            ("", "NodeShutdown", "shut down"),
        ] {
            let conditions = match reason {
                "" => json!([]),
                _ => json!([{"type": "DisruptionTarget", "status": "True", "reason": reason}]),
            };
            let ended = json!({"terminated": {"exitCode": 143, "reason": "Error"}});
            let pod = pod(json!({"phase": "Failed", "reason": of_pod, "conditions": conditions,
                "containerStatuses": [{"name": "program", "state": ended}]}));
            let diagnosis = of_failed(&pod).unwrap();
            assert!(
                diagnosis.what.starts_with("The cluster ended the program"),
                "{diagnosis:?}"
            );
            assert!(diagnosis.what.contains(words), "{diagnosis:?}");
            assert!(diagnosis.advice.contains("Submit it again"));
        }
    }

    #[test]
    fn a_program_that_had_failed_before_the_cluster_took_its_pod_has_failed_by_itself() {
        let of = |since: &str| {
            let end = json!({"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2026-01-01T00:00:05Z"}});
            let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
                "lastTransitionTime": since});
            let pod = pod(json!({"phase": "Failed", "conditions": [condition],
                "containerStatuses": [{"name": "program", "state": end}]}));
            of_failed(&pod).unwrap().what
        };
        assert_eq!(of("2026-01-01T00:10:00Z"), "The program ended with exit status 1.");
        assert!(of("2026-01-01T00:00:04Z").starts_with("The cluster ended the program"));
    }

    #[test]
    fn a_running_program_whose_pod_is_on_its_way_out_says_why_and_that_its_log_goes() {
        let running = |reason: &str| {
            let conditions = match reason {
                "" => json!([]),
                _ => json!([{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "words"}]),
            };
            let mut pod = pod(json!({"phase": "Running", "conditions": conditions,
                "containerStatuses": [{"name": "program", "state": {"running": {}}}]}));
            assert_eq!(of_running(&pod), None);
            pod.metadata.deletion_timestamp = Some("2026-01-01T00:00:30Z".into());
            of_running(&pod).unwrap()
        };
        let preempted = running("PreemptionByScheduler");
        assert_eq!(
            preempted.what,
            "The cluster is ending the program to make room for one with a higher priority."
        );
        assert!(preempted.advice.contains("read it now") && preempted.details.contains("words"));
        assert!(running("").what.contains("somebody deletes its pod"));
        let mut lost = pod(json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]}));
        assert!(of_lost_node(&lost).advice.starts_with("Wait"));
        lost.metadata.deletion_timestamp = Some("2026-01-01T00:00:30Z".into());
        assert!(of_lost_node(&lost).advice.contains("its log is gone"));
    }

    #[test]
    fn a_pod_that_was_removed_is_told_with_the_reason_that_its_events_have() {
        let failed: Job = serde_json::from_value(json!({"status": {"conditions": [
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "m"}]}}))
        .unwrap();
        let of = |events: &[Event]| of_job_without_pod(&failed, events);
        let preempted = of(&[warning("Preempted", "Preempted by pod b on node n")]);
        assert!(preempted.what.contains("higher priority") && !preempted.advice.contains("Somebody"));
        assert!(of(&[warning("TaintManagerEviction", "Marking for deletion")])
            .what
            .contains("went out of use"));
        assert!(of(&[]).advice.contains("Somebody deleted the pod"));
    }

    #[test]
    fn a_pod_without_abbas_labels_is_told() {
        let job: Job =
            serde_json::from_value(json!({"metadata": {"name": "a-1"}, "status": {"active": 1, "ready": 1}})).unwrap();
        let found = of_job_without_pod(&job, &[]);
        assert!(found.what.contains("taken abba's labels") && found.advice.contains("kubectl logs job/a-1"));
    }

    #[test]
    fn an_image_that_no_pull_can_help_says_why() {
        let of = |reason: &str, cause: &str| {
            let waiting = pod(
                json!({"phase": "Pending", "containerStatuses": [{"name": "program", "image": "r:1",
                "state": {"waiting": {"reason": reason, "message": cause}}}]}),
            );
            of_unstarted_pod(&waiting, &[])
        };
        for (reason, cause, says, is_stuck) in [
            (
                "ImagePullBackOff",
                "failed to resolve: no match for platform in manifest: not found",
                "is not made for the processors",
                true,
            ),
            (
                "ErrImagePull",
                "no matching manifest for linux/arm64/v8 in the manifest list entries",
                "is not made for the processors",
                false,
            ),
            (
                "ErrImageNeverPull",
                "Container image \"r:1\" is not present with pull policy of Never",
                "may not pull it",
                true,
            ),
            (
                "SignatureValidationFailed",
                "SignatureValidationFailed: x",
                "the signature",
                true,
            ),
            ("RegistryUnavailable", "x", "cannot be pulled", false),
            ("PreCreateHookError", "x", "cannot be made", true),
        ] {
            let found = of(reason, cause);
            assert!(found.what.contains(says), "{reason}: {found:?}");
            assert_eq!(found.is_stuck, is_stuck, "{reason}");
        }
    }

    #[test]
    fn a_claim_without_a_volume_is_told() {
        for message in [
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            "0/1 nodes are available: persistentvolumeclaim \"data\" is being deleted. preemption: x",
        ] {
            let pod = pod(json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}));
            let found = of_unstarted_pod(&pod, &[]);
            assert!(found.what.contains("a volume claim") && found.advice.contains("`claimName`"), "{found:?}");
        }
    }

    #[test]
    fn a_time_limit_that_ended_only_what_stood_beside_a_program_is_not_why_it_failed() {
        let of = |finished: &str| {
            let end = json!({"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": finished}});
            let mut pod = pod(json!({"phase": "Failed", "reason": "DeadlineExceeded",
                "startTime": "2026-01-01T00:00:00Z", "containerStatuses": [{"name": "program", "state": end}]}));
            pod.spec.active_deadline_seconds = Some(8);
            of_failed(&pod).unwrap().what
        };
        assert_eq!(of("2026-01-01T00:00:07Z"), "The program ended with exit status 1.");
        assert!(of("2026-01-01T00:00:08Z").contains("time limit of 8 seconds"));
    }

    #[test]
    fn a_limit_of_the_nodes_disk_that_the_namespace_sets_is_named() {
        for message in [
            "Container program exceeded its local ephemeral storage limit \"50Mi\". ",
            "Pod ephemeral local storage usage exceeds the total limit of containers 50Mi. ",
        ] {
            let pod: Pod = serde_json::from_value(json!({
                "spec": {"containers": [{"name": "program", "resources": {"limits": {"ephemeral-storage": "50Mi"}}}]},
                "status": {"phase": "Failed", "reason": "Evicted", "message": message},
            }))
            .unwrap();
            let diagnosis = of_failed(&pod).unwrap();
            assert!(
                diagnosis
                    .what
                    .contains("limit of 50Mi, which is its `disk_limit`, or else one that the namespace sets")
                    && diagnosis.advice.contains("larger `disk_limit`"),
                "{diagnosis:?}"
            );
        }
        for (volume, words) in [("abba-work", "`disk_limit`"), ("scratch", "limit in `mounts`")] {
            let message = format!("Usage of EmptyDir volume \"{volume}\" exceeds the limit \"1M\". ");
            let pod = pod(json!({"phase": "Failed", "reason": "Evicted", "message": message}));
            assert!(of_failed(&pod).unwrap().advice.contains(words), "{volume}");
        }
    }

    #[test]
    fn what_a_queue_holds_back_waits_in_it() {
        let job: Job = serde_json::from_value(json!({
            "spec": {"suspend": true},
            "status": {"conditions": [{"type": "Suspended", "status": "True", "reason": "JobSuspended",
                "message": "Job suspended"}]},
        }))
        .unwrap();
        let diagnosis = of_job_without_pod(&job, &[]);
        assert!(diagnosis.what.contains("waits in the cluster's queue"));
        assert_eq!(diagnosis.details, "JobSuspended: Job suspended");
        let gated = pod(
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates"}]}),
        );
        assert!(of_unstarted_pod(&gated, &[])
            .what
            .contains("waits in the cluster's queue"));
    }

    #[test]
    fn a_namespace_that_refuses_root_gets_a_user() {
        let refused = [warning(
            "FailedCreate",
            "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\"",
        )];
        assert!(of_job_without_pod(&Job::default(), &refused)
            .advice
            .contains("`username`"));
        let refused = [warning(
            "FailedCreate",
            "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": restricted volume types (volume \"d\" uses \
             restricted volume type \"nfs\")",
        )];
        let advice = of_job_without_pod(&Job::default(), &refused).advice;
        assert!(advice.contains("no such mounts") && !advice.contains("`username`"));
        let waiting = json!({"waiting": {"reason": "CreateContainerConfigError",
            "message": "container has runAsNonRoot and image will run as root"}});
        let pod = pod(json!({"phase": "Pending", "containerStatuses": [{"name": "program", "state": waiting}]}));
        assert!(of_unstarted_pod(&pod, &[]).advice.contains("`username`"));
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
