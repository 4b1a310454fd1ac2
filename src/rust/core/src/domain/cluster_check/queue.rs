//! Whether the queue that programs are to go through takes them.

use super::{Finding, Needs};
use crate::kubernetes::queue_objects::LocalQueue;

/// The name of the check.
pub const CHECK: &str = "queue";

/// What was found of a queue.
#[derive(Clone, Debug, PartialEq)]
pub enum QueueAnswer {
    /// The queue.
    Found(LocalQueue),
    /// There is none of that name.
    Missing,
    /// The cluster has no Kueue.
    NoKueue,
    /// It cannot be found out; why.
    NotKnown(String),
}

/// Judges it for a program with these needs. Without a queue nothing is asked for.
pub fn judge(queue: Option<(&str, QueueAnswer)>, needs: &Needs) -> Finding {
    let Some((name, answer)) = queue else {
        return Finding::ok(CHECK, "No `queue` is asked for: programs are not held back by one.");
    };
    let queue = match answer {
        QueueAnswer::Found(queue) => queue,
        QueueAnswer::NotKnown(why) => return Finding::not_known(CHECK, why),
        QueueAnswer::Missing => {
            return Finding::problem(
                CHECK,
                format!(
                    "There is no queue \"{name}\" in the namespace: a program that is submitted to it never starts."
                ),
                "Check `queue` (option `abba.k8s.queue`), or ask the cluster's administrator for such a LocalQueue.",
            )
            .for_admin()
        }
        QueueAnswer::NoKueue => return Finding::problem(
            CHECK,
            "The cluster has no Kueue: a program that is submitted to a queue never starts.",
            "Submit without `queue` (option `abba.k8s.queue`), or ask the cluster's administrator to install Kueue.",
        )
        .for_admin(),
    };
    let active = queue
        .status
        .conditions
        .iter()
        .find(|one| one.condition_type == "Active");
    let is_covered = |resource: &String| {
        let mut flavors = queue.status.flavors_reservation.iter();
        flavors.any(|flavor| flavor.resources.iter().any(|one| one.name == *resource))
    };
    let mut needed = needs.requests.iter().filter(|(_, (amount, _))| *amount > 0.0);
    let uncovered = match queue.status.flavors_reservation.is_empty() {
        true => None,
        false => needed.find(|(resource, _)| !is_covered(resource)),
    };
    match active {
        Some(active) if active.status == "True" && uncovered.is_some() => Finding::problem(
            CHECK,
            format!(
                "The queue \"{name}\" has no quota of {}: a program with {} never starts.",
                uncovered.map_or("", |(resource, _)| resource),
                needs.words()
            ),
            "Ask the cluster's administrator for such a quota, for another queue, or for a job template that does not ask for it.",
        )
        .for_admin(),
        Some(active) if active.status == "True" => Finding::ok(
            CHECK,
            format!(
                "The queue \"{name}\" lets programs go: {} of its programs have been let go, and {} wait.",
                queue.status.admitted_workloads, queue.status.pending_workloads
            ),
        ),
        Some(active) => Finding::problem(
            CHECK,
            format!(
                "The queue \"{name}\" lets no program go: {} ({}). {} of its programs wait.",
                active.message, active.reason, queue.status.pending_workloads
            ),
            "Ask the cluster's administrator when it will.",
        )
        .for_admin(),
        None => Finding::problem(
            CHECK,
            format!("There is a queue \"{name}\", and Kueue has taken no notice of it: it may not be running."),
            "Ask the cluster's administrator whether Kueue runs.",
        )
        .for_admin(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::needs;
    use super::super::Outcome;
    use super::*;
    use serde_json::{json, Value};

    fn found(conditions: Value) -> Finding {
        let queue = serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "status": {"conditions": conditions, "pendingWorkloads": 3, "admittedWorkloads": 2, "reservingWorkloads": 2},
        }));
        judge(Some(("a", QueueAnswer::Found(queue.unwrap()))), &needs("1", "512M"))
    }

    #[test]
    fn a_queue_is_judged_by_what_kueue_says_of_it() {
        let active = found(json!([{"type": "Active", "status": "True", "reason": "Ready",
            "message": "Can submit new workloads to localQueue"}]));
        assert_eq!(active.outcome, Outcome::Ok);
        assert!(
            active.what.contains("2 of its programs have been let go, and 3 wait"),
            "{active:?}"
        );
        let closed = found(
            json!([{"type": "Active", "status": "False", "reason": "ClusterQueueIsInactive",
            "message": "Can't submit new workloads to clusterQueue"}]),
        );
        assert_eq!((closed.outcome, closed.is_for_admin), (Outcome::Problem, true));
        assert!(closed.what.contains("ClusterQueueIsInactive"), "{closed:?}");
        assert_eq!(found(json!([])).outcome, Outcome::Problem);
    }

    #[test]
    fn a_queue_that_is_not_there_is_a_problem_and_one_that_may_not_be_seen_is_not() {
        let of = |answer| judge(Some(("a", answer)), &needs("1", "512M")).outcome;
        assert_eq!(of(QueueAnswer::Missing), Outcome::Problem);
        assert_eq!(of(QueueAnswer::NoKueue), Outcome::Problem);
        assert_eq!(of(QueueAnswer::NotKnown("You may not.".into())), Outcome::NotKnown);
        assert_eq!(judge(None, &needs("1", "512M")).outcome, Outcome::Ok);
    }

    #[test]
    fn a_queue_without_a_quota_of_what_is_needed_is_a_problem() {
        let of = |resources: &[&str]| {
            let resources: Vec<Value> = resources
                .iter()
                .map(|name| json!({"name": name, "total": "0"}))
                .collect();
            let queue = serde_json::from_value(json!({"status": {
                "conditions": [{"type": "Active", "status": "True"}],
                "flavorsReservation": [{"name": "default", "resources": resources}],
            }}));
            judge(Some(("a", QueueAnswer::Found(queue.unwrap()))), &needs("1", "512M"))
        };
        assert_eq!(of(&["cpu", "memory"]).outcome, Outcome::Ok);
        let lacking = of(&["cpu"]);
        assert_eq!(lacking.outcome, Outcome::Problem);
        assert!(lacking.what.contains("no quota of memory"), "{}", lacking.what);
    }
}
