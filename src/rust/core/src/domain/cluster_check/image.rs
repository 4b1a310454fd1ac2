//! Whether a container image can be used, as far as that can be known without running it.

use super::Finding;
use crate::domain::container::check_container;
use crate::kubernetes::objects::Pod;

/// The name of the check.
pub const CHECK: &str = "container";

/// What is wrong with a container image before any cluster is asked. `permitted` are the images that may be used; empty:
/// all.
pub fn refused(container: Option<&str>, permitted: &[String]) -> Option<Finding> {
    let Some(container) = container else {
        return Some(Finding::problem(
            CHECK,
            "No container image is set.",
            "Ask the cluster's administrator for the name of an image with R, and set options(abba.default.container = ...).",
        ));
    };
    if let Err(error) = check_container(container) {
        return Some(Finding::problem(CHECK, error.message, error.advice.unwrap_or_default()));
    }
    if !permitted.is_empty() && !permitted.iter().any(|name| name == container) {
        return Some(Finding::problem(
            CHECK,
            format!("\"{container}\" is not among the permitted containers."),
            format!(
                "Choose one of those in the option `abba.permitted.containers`: {}.",
                permitted.join(", ")
            ),
        ));
    }
    None
}

/// What the pods that abba has made in the namespace tell of a container image that is not [`refused`]. Whether a node can
/// pull it is known for certain only when a program runs.
pub fn seen(container: &str, pods: &[Pod]) -> Finding {
    let mut of_image: Vec<&Pod> = pods
        .iter()
        .filter(|pod| pod.program_spec().is_some_and(|program| program.image == container))
        .collect();
    of_image.sort_by(|a, b| b.metadata.creation_timestamp.cmp(&a.metadata.creation_timestamp));
    for pod in of_image {
        if pod.has_started() {
            return Finding::ok(
                CHECK,
                format!(
                    "\"{container}\" was pulled and has run on the node \"{}\" ({}).",
                    pod.spec.node_name,
                    pod.started_at().unwrap_or(&pod.metadata.creation_timestamp)
                ),
            );
        }
        let waiting = pod.program_container().and_then(|state| state.state.waiting.as_ref());
        if let Some(waiting) = waiting.filter(|waiting| cannot_be_pulled(&waiting.reason)) {
            return Finding::problem(
                CHECK,
                format!(
                    "\"{container}\" cannot be pulled: the job \"{}\" waits for it. Kubernetes says: {}: {}",
                    pod.job_id().unwrap_or(&pod.metadata.name),
                    waiting.reason,
                    waiting.message
                ),
                "Check the image's name and tag; if they are right, ask the cluster's administrator whether the nodes may pull it.",
            )
            .for_admin();
        }
    }
    Finding::not_known(
        CHECK,
        format!(
            "\"{container}\" is a legal name. Whether the nodes can pull it is known only when a program runs, and none has run with it here lately."
        ),
    )
}

fn cannot_be_pulled(reason: &str) -> bool {
    matches!(
        reason,
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster_check::Outcome;
    use serde_json::{json, Value};

    fn pod(image: &str, created: &str, state: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "creationTimestamp": created, "labels": {"abba/job-id": "job-1"}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "program", "image": image}]},
            "status": {"containerStatuses": [{"name": "program", "image": "sha256:x", "state": state}]},
        }))
        .unwrap()
    }

    #[test]
    fn what_needs_no_cluster_is_refused_without() {
        for (container, permitted, words) in [
            (None, vec![], "No container image"),
            (Some("a b"), vec![], "must be the name of a container image"),
            (Some("r:1"), vec!["r:2".to_string()], "not among the permitted"),
            (Some("r"), vec!["r:2".to_string()], "not among the permitted"),
        ] {
            let finding = refused(container, &permitted).unwrap();
            assert_eq!(finding.outcome, Outcome::Problem);
            assert!(
                finding.what.contains(words) && !finding.advice.is_empty(),
                "{}",
                finding.what
            );
        }
        assert_eq!(refused(Some("r:2"), &["r:2".into()]), None);
        assert_eq!(refused(Some("r:1"), &[]), None);
    }

    #[test]
    fn the_newest_pod_that_knows_decides() {
        let running = json!({"running": {"startedAt": "2026-01-02T00:00:00Z"}});
        let backing_off = json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}});
        let unknown = json!({"waiting": {"reason": "ContainerCreating"}});
        let old_success = pod("r:1", "2026-01-01T00:00:00Z", running.clone());
        let old_failure = pod("r:1", "2026-01-01T00:00:00Z", backing_off.clone());
        let outcome = |pods: &[Pod]| seen("r:1", pods).outcome;
        assert_eq!(outcome(&[]), Outcome::NotKnown);
        assert_eq!(
            outcome(&[pod("r:10", "2026-01-03T00:00:00Z", running.clone())]),
            Outcome::NotKnown
        );
        assert_eq!(
            outcome(&[pod("r:1", "2026-01-03T00:00:00Z", unknown.clone()), old_success.clone()]),
            Outcome::Ok
        );
        assert_eq!(
            outcome(&[old_success, pod("r:1", "2026-01-03T00:00:00Z", backing_off)]),
            Outcome::Problem
        );
        assert_eq!(
            outcome(&[old_failure, pod("r:1", "2026-01-03T00:00:00Z", running)]),
            Outcome::Ok
        );
        let finding = seen("r:1", &[pod("r:1", "2026-01-03T00:00:00Z", unknown)]);
        assert_eq!(finding.outcome, Outcome::NotKnown);
    }
}
