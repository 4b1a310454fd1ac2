//! Why a program waits that was submitted to a queue, in words for a statistician: out of what Kueue keeps of its Job.

use std::collections::BTreeSet;

use crate::domain::diagnosis::Diagnosis;
use crate::kubernetes::objects::Condition;
use crate::kubernetes::queue_objects::{PendingWorkload, Workload};

/// What was seen of a Job in its queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum QueueLook {
    /// It was not asked for, or may not be seen.
    #[default]
    NotKnown,
    /// The cluster has no Kueue.
    NoKueue,
    /// There is no such queue.
    NoSuchQueue,
    /// Kueue knows nothing of the Job.
    NotTakenUp,
    /// How it stands.
    Queued {
        /// What Kueue keeps of it.
        workload: Workload,
        /// Its place among those that wait, if that may be seen.
        place: Option<Place>,
    },
}

/// A place among those that wait, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In the queue.
    pub own: u64,
    /// How many wait in the queue.
    pub of: u64,
    /// Among all queues that share its quota.
    pub of_all: u64,
}

impl Place {
    /// That of a Job. `None` where it is not among those that wait.
    pub fn of_job(job_id: &str, pending: &[PendingWorkload]) -> Option<Self> {
        let is_its_own = |one: &&PendingWorkload| {
            let owners = &one.metadata.owner_references;
            owners.iter().any(|owner| owner.kind == "Job" && owner.name == job_id)
        };
        pending.iter().find(is_its_own).map(|one| Self {
            own: one.position_in_local_queue.saturating_add(1),
            of: pending.len() as u64,
            of_all: one.position_in_cluster_queue.saturating_add(1),
        })
    }

    fn words(self) -> String {
        let Self { own, of, of_all } = self;
        match of_all > own {
            true => format!(" at place {own} of {of} (place {of_all} with the queues that share its resources)"),
            false => format!(" at place {own} of {of}"),
        }
    }
}

const ASK_WHICH: &str = "Cancel it and submit it to another `queue`, or ask the cluster's administrator for this one.";

/// Why the program of a Job that waits in a queue has not started. `details`: what Kubernetes says of the Job.
pub fn of_waiting(queue: &str, look: &QueueLook, details: String) -> Diagnosis {
    match look {
        QueueLook::NotKnown => Diagnosis::new(
            format!("The program waits in the queue \"{queue}\"."),
            "It starts when the queue lets it; if that does not come, show this to the cluster's administrator.",
            details,
        ),
        QueueLook::NoKueue => Diagnosis::new(
            format!(
                "The program waits for the queue \"{queue}\" in vain: the cluster has no Kueue, which would let it go."
            ),
            "Cancel it and submit it without `queue`, or show this to the cluster's administrator.",
            details,
        )
        .stuck(true),
        QueueLook::NoSuchQueue => of_missing_queue(queue, details),
        QueueLook::NotTakenUp => Diagnosis::new(
            format!("The program waits for the queue \"{queue}\", which has not taken notice of it yet."),
            "If that stays so, show this to the cluster's administrator: Kueue may not be running.",
            details,
        ),
        QueueLook::Queued { workload, place } => of_workload(queue, workload, *place),
    }
}

fn of_missing_queue(queue: &str, details: impl Into<String>) -> Diagnosis {
    let what = format!("The program waits for the queue \"{queue}\", which does not exist.");
    Diagnosis::new(what, ASK_WHICH, details).stuck(true)
}

fn of_workload(queue: &str, workload: &Workload, place: Option<Place>) -> Diagnosis {
    let evicted = workload.condition("Evicted", "True");
    let is_for_good = |evicted: &&Condition| evicted.reason.starts_with("Deactivated");
    // The condition stays where somebody has made it active again; a version that does not say whether it is has the
    // condition alone.
    if workload.spec.active == Some(false)
        || (workload.spec.active.is_none() && evicted.is_some_and(|one| is_for_good(&one)))
    {
        return Diagnosis::new(
            format!("The queue \"{queue}\" has given the program up and will not start it."),
            "Show this to the cluster's administrator, who can have the queue take it up again; or cancel it and submit it again.",
            evicted.map(|evicted| evicted.message.clone()).unwrap_or_default(),
        )
        .stuck(true);
    }
    if let Some(evicted) = evicted.filter(|_| workload.condition("QuotaReserved", "True").is_some()) {
        return Diagnosis::new(
            format!(
                "{} It is being put back into the queue \"{queue}\".",
                of_eviction(&evicted.reason)
            ),
            "",
            evicted.message.clone(),
        );
    }
    if workload.condition("Admitted", "True").is_some() {
        return Diagnosis::new(
            format!("The queue \"{queue}\" has let the program go: it is about to start."),
            "",
            "",
        );
    }
    if workload.condition("QuotaReserved", "True").is_some() {
        let admitted = workload.condition("Admitted", "False");
        let checks = &workload.status.admission_checks;
        let open: Vec<String> = checks
            .iter()
            .filter(|check| check.state != "Ready")
            .map(|check| format!("{} ({}): {}", check.name, check.state, check.message))
            .collect();
        return Diagnosis::new(
            match checks.iter().any(|check| check.state == "Rejected") {
                true => format!("A check of the queue \"{queue}\" has refused the program."),
                false => format!(
                    "The queue \"{queue}\" has set resources aside for the program, and checks are still to be passed."
                ),
            },
            match open.is_empty() {
                true => "",
                false => {
                    "It starts when they are passed; if that does not come, show this to the cluster's administrator."
                }
            },
            match open.is_empty() {
                true => admitted.map(|condition| condition.message.clone()).unwrap_or_default(),
                false => open.join("; "),
            },
        );
    }
    let again = match evicted {
        Some(evicted) if is_for_good(&evicted) => {
            "The queue had given the program up, and has taken it up again. ".into()
        }
        Some(evicted) => format!("{} It will start anew. ", of_eviction(&evicted.reason)),
        None => String::new(),
    };
    let words = workload
        .condition("QuotaReserved", "False")
        .map_or("", |condition| condition.message.as_str());
    if let Some(time) = workload
        .status
        .requeue_state
        .requeue_at
        .as_ref()
        .filter(|_| evicted.is_some())
    {
        return Diagnosis::new(
            format!("{again}The queue \"{queue}\" tries it again at {time}."),
            "If it is put back again and again, show this to the cluster's administrator.",
            evicted.map(|evicted| evicted.message.clone()).unwrap_or_default(),
        );
    }
    let (what, advice, is_stuck) = match Obstacle::of(words) {
        Obstacle::NoSuchQueue => return of_missing_queue(queue, words),
        Obstacle::Closed => (
            format!("The program waits in the queue \"{queue}\", which is closed and starts nothing for now."),
            "It starts after the cluster's administrator has opened the queue.",
            false,
        ),
        Obstacle::TooLarge(resources) => (
            format!(
                "The program can never start from the queue \"{queue}\": it asks for more {resources} than the queue may \
                 use at all."
            ),
            "Cancel it and submit it with smaller limits, or to another `queue`.",
            true,
        ),
        Obstacle::NoQuota(resource) => (
            format!("The program can never start from the queue \"{queue}\", which has no {resource} to give."),
            ASK_WHICH,
            true,
        ),
        Obstacle::NoNodes => (
            format!(
                "The program cannot start from the queue \"{queue}\": the kinds of nodes that the queue has do not fit what the \
                 program asks for."
            ),
            "Cancel it and submit it to another `queue` or with another Job template, or ask the cluster's administrator.",
            true,
        ),
        Obstacle::NotAllowed => (
            format!("The program cannot start from the queue \"{queue}\": its rules do not allow it."),
            ASK_WHICH,
            true,
        ),
        Obstacle::UsedUp(resources) => (
            format!(
                "The program waits in the queue \"{queue}\"{}: the queue has not enough {resources} left.",
                place.map(Place::words).unwrap_or_default()
            ),
            "It starts when programs that started before it have ended.",
            false,
        ),
        Obstacle::None => (
            format!(
                "The program waits in the queue \"{queue}\"{}.",
                place.map(Place::words).unwrap_or_default()
            ),
            "It starts when the queue lets it.",
            false,
        ),
    };
    Diagnosis::new(format!("{again}{what}"), advice, words).stuck(is_stuck)
}

/// Why a program was put back into its queue, by Kueue's word for it (`Evicted`).
fn of_eviction(reason: &str) -> &'static str {
    match reason {
        "Preempted" => "The queue ended the program to make room for another one.",
        "ClusterQueueStopped" | "LocalQueueStopped" => "The queue ended the program because the queue was closed.",
        "NodeFailures" => "The queue ended the program because its node failed.",
        "PodsReadyTimeout" => "The queue took the program back because it did not start in time.",
        "AdmissionCheck" => "The queue took the program back because a check of the cluster was not passed.",
        _ => "The queue took the program back.",
    }
}

/// What keeps a program in its queue.
#[derive(Debug, PartialEq)]
enum Obstacle {
    NoSuchQueue,
    Closed,
    /// Which resources, in words.
    TooLarge(String),
    NotAllowed,
    /// Of which resource there is no quota at all, in words.
    NoQuota(String),
    /// The kinds of nodes that the queue may use do not fit.
    NoNodes,
    /// Which resources, in words.
    UsedUp(String),
    None,
}

impl Obstacle {
    /// Out of Kueue's words (Kueue 0.17: `workload_controller.go`, `scheduler.go`, `flavorassigner.go`).
    fn of(words: &str) -> Self {
        let holds = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        // "ClusterQueue a not found", but not "flavor a not found" nor "namespaces "a" not found".
        let is_missing_queue = words.starts_with("ClusterQueue ") && words.ends_with(" not found");
        if is_missing_queue || holds(&["doesn't exist", "terminating or missing"]) {
            return Self::NoSuchQueue;
        }
        if let Some((resource_name, _)) = words
            .split_once("resource ")
            .and_then(|(_, rest)| rest.split_once(" unavailable in ClusterQueue"))
        {
            return Self::NoQuota(resource(resource_name));
        }
        if holds(&["is inactive", "is stopped", "has stopped"]) {
            return Self::Closed;
        }
        if holds(&[
            "doesn't match ClusterQueue selector",
            "resources validation failed",
            "resources didn't satisfy LimitRange constraints",
        ]) {
            return Self::NotAllowed;
        }
        let shortages = Shortage::all_in(words);
        // A flavor is a kind of nodes: what one can never give, another may.
        let is_hopeless = |flavor: &str| shortages.iter().any(|one| one.flavor == flavor && one.is_for_good);
        const OF_NODES: [&str; 3] = ["untolerated taint ", " doesn't match node affinity", "flavor "];
        let of_nodes = |part: &str| OF_NODES.iter().any(|sign| part.contains(sign)) && !part.contains("quota for ");
        match shortages.as_slice() {
            [] if words.split("pod set ").skip(1).any(of_nodes) => Self::NoNodes,
            [] => Self::None,
            all if all.iter().all(|one| is_hopeless(one.flavor)) => Self::TooLarge(Shortage::words(all, true)),
            all => Self::UsedUp(Shortage::words(all, false)),
        }
    }
}

/// A resource of which a flavor has too little.
struct Shortage<'a> {
    resource: &'a str,
    flavor: &'a str,
    /// More is asked for than it has.
    is_for_good: bool,
}

impl<'a> Shortage<'a> {
    /// As "insufficient unused quota for cpu in flavor main, 1 more needed, insufficient quota for memory in flavor main,
    /// ... > maximum capacity (20Gi)".
    fn all_in(words: &'a str) -> Vec<Self> {
        let of_part = |part: &'a str| {
            let (kind, rest) = part.split_once("quota for ")?;
            let (resource, rest) = rest.split_once(" in flavor ")?;
            let flavor = rest.split([',', ' ']).next()?;
            Some(Self {
                resource,
                flavor,
                is_for_good: kind.is_empty() && rest.contains("> maximum capacity"),
            })
        };
        words.split("insufficient ").skip(1).filter_map(of_part).collect()
    }

    fn words(all: &[Self], is_for_good: bool) -> String {
        let of_kind = all.iter().filter(|one| one.is_for_good == is_for_good);
        let named: BTreeSet<String> = of_kind.map(|one| resource(one.resource)).collect();
        named.into_iter().collect::<Vec<_>>().join(" and ")
    }
}

/// A resource in a user's words.
fn resource(name: &str) -> String {
    match name {
        "cpu" => "processor cores".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-11-27T08:47:08Z", "observedGeneration": 1})
    }

    fn waits(message: &str) -> Value {
        condition("QuotaReserved", "False", "Pending", message)
    }

    /// As Kueue 0.17 wrote them.
    const USED_UP: &str =
        "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor kq, 100m more needed";
    const PREEMPTED: &str = "Preempted to accommodate a workload (UID: 652ef3bd-41f1-42cf-b252-8bff11346b4b, JobUID: \
        eacd9f9c-4b09-4ed6-b3fb-045c78183cf3) due to reclamation within the cohort; preemptor path: /kq/kq-b; preemptee path: /kq/kq-a";

    fn diagnosis(conditions: &[Value], place: Option<Place>) -> Diagnosis {
        let workload = serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap();
        of_waiting(
            "a",
            &QueueLook::Queued { workload, place },
            "JobSuspended: Job suspended".into(),
        )
    }

    #[test]
    fn what_keeps_a_program_in_its_queue_is_told_in_plain_words() {
        for (words, what, is_stuck) in [
            (
                USED_UP,
                "The program waits in the queue \"a\": the queue has not enough processor cores left.",
                false,
            ),
            (
                "couldn't assign flavors to pod set main: insufficient quota for memory in flavor kq, previously considered podsets requests (0) + current podset request (50Gi) > maximum capacity (20Gi), insufficient unused quota for cpu in flavor kq, 100m more needed",
                "The program can never start from the queue \"a\": it asks for more memory than the queue may use at all.",
                true,
            ),
            (
                "couldn't assign flavors to pod set main: insufficient quota for cpu in flavor kq, previously considered podsets requests (0) + current podset request (1) > maximum capacity (200m)",
                "The program can never start from the queue \"a\": it asks for more processor cores than the queue may use at all.",
                true,
            ),
            // Another kind of nodes is large enough.
            (
                "couldn't assign flavors to pod set main: insufficient quota for cpu in flavor small, previously considered podsets requests (0) + current podset request (1) > maximum capacity (200m), insufficient unused quota for cpu in flavor large, 1 more needed, insufficient unused quota for memory in flavor large, 1Gi more needed",
                "The program waits in the queue \"a\": the queue has not enough memory and processor cores left.",
                false,
            ),
            ("LocalQueue nosuch doesn't exist", "The program waits for the queue \"a\", which does not exist.", true),
            ("ClusterQueue none doesn't exist", "The program waits for the queue \"a\", which does not exist.", true),
            (
                "LocalQueue a is inactive",
                "The program waits in the queue \"a\", which is closed and starts nothing for now.",
                false,
            ),
            (
                "Workload namespace doesn't match ClusterQueue selector",
                "The program cannot start from the queue \"a\": its rules do not allow it.",
                true,
            ),
            (
                "couldn't assign flavors to pod set main: resource nvidia.com/gpu unavailable in ClusterQueue",
                "The program can never start from the queue \"a\", which has no nvidia.com/gpu to give.",
                true,
            ),
            (
                "couldn't assign flavors to pod set main: flavor spot not found",
                "The program cannot start from the queue \"a\": the kinds of nodes that the queue has do not fit what the program asks for.",
                true,
            ),
            (
                "couldn't assign flavors to pod set main: untolerated taint {gpu yes NoSchedule <nil>} in flavor gpu, flavor cpu doesn't match node affinity",
                "The program cannot start from the queue \"a\": the kinds of nodes that the queue has do not fit what the program asks for.",
                true,
            ),
            (
                "couldn't assign flavors to pod set main: untolerated taint {gpu yes NoSchedule <nil>} in flavor gpu, insufficient unused quota for cpu in flavor kq, 100m more needed",
                "The program waits in the queue \"a\": the queue has not enough processor cores left.",
                false,
            ),
            (
                "Could not obtain workload namespace: namespaces \"n\" not found",
                "The program waits in the queue \"a\".",
                false,
            ),
            ("ClusterQueue c not found", "The program waits for the queue \"a\", which does not exist.", true),
            ("Words of another version", "The program waits in the queue \"a\".", false),
        ] {
            let found = diagnosis(&[waits(words)], None);
            assert_eq!((found.what.as_str(), found.is_stuck, found.details.as_str()), (what, is_stuck, words));
            assert!(!found.advice.is_empty());
        }
    }

    #[test]
    fn a_place_is_told_in_the_queue_and_among_all_that_share_its_resources() {
        let pending: Vec<PendingWorkload> = serde_json::from_value(json!([
            {"metadata": {"name": "job-a3-93e8d", "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "a3"}]},
             "priority": 0, "localQueueName": "a", "positionInClusterQueue": 0, "positionInLocalQueue": 0},
            {"metadata": {"name": "job-a4-eca36", "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "a4"}]},
             "priority": 0, "localQueueName": "a", "positionInClusterQueue": 4, "positionInLocalQueue": 1},
        ]))
        .unwrap();
        let what = |id: &str| diagnosis(&[waits(USED_UP)], Place::of_job(id, &pending)).what;
        assert!(
            what("a3").starts_with("The program waits in the queue \"a\" at place 1 of 2: the queue has"),
            "{}",
            what("a3")
        );
        assert!(
            what("a4").contains("at place 2 of 2 (place 5 with the queues that share its resources):"),
            "{}",
            what("a4")
        );
        assert!(
            what("a5").starts_with("The program waits in the queue \"a\": "),
            "{}",
            what("a5")
        );
    }

    #[test]
    fn a_program_that_was_put_back_into_its_queue_is_told_so() {
        let preempted = [
            waits(USED_UP),
            condition("Evicted", "True", "Preempted", PREEMPTED),
            condition("Admitted", "False", "NoReservation", "The workload has no reservation"),
            condition("Preempted", "True", "InCohortReclamation", PREEMPTED),
        ];
        let found = diagnosis(&preempted, None);
        assert_eq!(
            found.what,
            "The queue ended the program to make room for another one. It will start anew. The program waits in the queue \
             \"a\": the queue has not enough processor cores left."
        );
        let closed = condition("Evicted", "True", "LocalQueueStopped", "The LocalQueue is stopped");
        let found = diagnosis(&[waits("LocalQueue a is inactive"), closed], None);
        assert!(
            found.what.contains("because the queue was closed. It will start anew."),
            "{found:?}"
        );
        // Let go again: the past does not matter.
        let admitted = [
            condition(
                "QuotaReserved",
                "True",
                "QuotaReserved",
                "Quota reserved in ClusterQueue kq-a",
            ),
            condition("Evicted", "False", "QuotaReserved", PREEMPTED),
            condition("Admitted", "True", "Admitted", "The workload is admitted"),
        ];
        assert_eq!(
            diagnosis(&admitted, None).what,
            "The queue \"a\" has let the program go: it is about to start."
        );
        let given_up = condition("Evicted", "True", "Deactivated", "The workload is deactivated");
        let found = diagnosis(&[waits("The workload is deactivated"), given_up], None);
        assert!(
            found.is_stuck && found.what.contains("has given the program up"),
            "{found:?}"
        );
    }

    #[test]
    fn a_program_that_a_queue_has_given_up_is_told_until_it_is_taken_up_again() {
        let of = |active: Option<bool>, conditions: &[Value]| {
            let workload =
                serde_json::from_value(json!({"spec": {"active": active}, "status": {"conditions": conditions}}))
                    .unwrap();
            of_waiting("a", &QueueLook::Queued { workload, place: None }, String::new())
        };
        let given_up = condition(
            "Evicted",
            "True",
            "DeactivatedDueToRequeuingLimitExceeded",
            "The workload is deactivated due to x",
        );
        for (active, conditions) in [
            (Some(false), vec![waits(USED_UP)]),
            (Some(false), vec![waits("x"), given_up.clone()]),
            (None, vec![waits("x"), given_up.clone()]),
        ] {
            let found = of(active, &conditions);
            assert!(
                found.is_stuck && found.what.contains("has given the program up"),
                "{found:?}"
            );
        }
        let again = of(Some(true), &[waits(USED_UP), given_up]);
        assert!(
            !again.is_stuck
                && again
                    .what
                    .contains("has taken it up again. The program waits in the queue"),
            "{again:?}"
        );
    }

    #[test]
    fn a_check_that_a_program_has_not_passed_is_named() {
        let of = |state: &str| {
            let workload = serde_json::from_value(json!({"status": {
                "conditions": [condition("QuotaReserved", "True", "QuotaReserved", "Quota reserved")],
                "admissionChecks": [{"name": "budget", "state": state, "message": "is over"}, {"name": "b", "state": "Ready"}]}}))
            .unwrap();
            of_waiting("a", &QueueLook::Queued { workload, place: None }, String::new())
        };
        let pending = of("Retry");
        assert!(pending.what.contains("checks are still to be passed"), "{pending:?}");
        assert_eq!(pending.details, "budget (Retry): is over");
        assert!(of("Rejected").what.contains("has refused the program"));
    }

    #[test]
    fn a_program_that_is_tried_again_later_says_when() {
        let workload = serde_json::from_value(json!({"spec": {"active": true}, "status": {
            "conditions": [waits("Exceeded the PodsReady timeout n/w"),
                condition("Evicted", "True", "PodsReadyTimeout", "Exceeded the PodsReady timeout n/w"),
                condition("Requeued", "False", "PodsReadyTimeout", "Exceeded the PodsReady timeout n/w")],
            "requeueState": {"count": 1, "requeueAt": "2026-11-27T09:00:00Z"}}}))
        .unwrap();
        let found = of_waiting("a", &QueueLook::Queued { workload, place: None }, String::new());
        assert_eq!(
            found.what,
            "The queue took the program back because it did not start in time. It will start anew. The queue \"a\" tries it \
             again at 2026-11-27T09:00:00Z."
        );
        assert!(!found.is_stuck);
    }

    #[test]
    fn a_program_that_is_being_put_back_is_not_about_to_start() {
        let found = diagnosis(
            &[
                condition("QuotaReserved", "True", "QuotaReserved", "Quota reserved"),
                condition("Admitted", "True", "Admitted", "The workload is admitted"),
                condition("Evicted", "True", "ClusterQueueStopped", "The ClusterQueue is stopped"),
            ],
            None,
        );
        assert_eq!(
            found.what,
            "The queue ended the program because the queue was closed. It is being put back into the queue \"a\"."
        );
    }

    #[test]
    fn a_queue_that_may_not_be_seen_is_told_with_less() {
        let of = |look| of_waiting("a", &look, "JobSuspended: Job suspended".into());
        let found = of(QueueLook::NotKnown);
        assert_eq!(
            (found.what.as_str(), found.is_stuck),
            ("The program waits in the queue \"a\".", false)
        );
        assert_eq!(found.details, "JobSuspended: Job suspended");
        assert!(of(QueueLook::NoKueue).is_stuck);
        assert!(!of(QueueLook::NotTakenUp).is_stuck);
        let missing = of(QueueLook::NoSuchQueue);
        assert!(
            missing.is_stuck && missing.what.contains("which does not exist"),
            "{missing:?}"
        );
    }
}
