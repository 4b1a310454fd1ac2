//! Whether any node could ever run a program with these limits.

use super::{exceeds, quantity, Finding, Needs};
use crate::kubernetes::cluster_objects::Node;

/// The name of the check.
pub const CHECK: &str = "nodes";

/// Whether a program with these needs fits on any of the nodes, were it empty.
pub fn enough(nodes: &[Node], needs: &Needs) -> Finding {
    let words = needs.words();
    let fitting: Vec<&Node> = nodes.iter().filter(|node| fits(node, needs)).collect();
    let usable = fitting.iter().filter(|node| is_open(node)).count();
    if usable > 0 {
        return Finding::ok(
            CHECK,
            format!("Of {} a program with {words} fits on {usable}.", count(nodes.len())),
        );
    }
    let what = match (nodes.len(), fitting.len()) {
        (0, _) => "The cluster has no nodes.".to_string(),
        (_, 0) => format!(
            "No node is large enough for a program with {words}; the largest gives {}.",
            largest(nodes)
        ),
        (_, fitting) => format!(
            "Of {} a program with {words} would fit on {fitting}, but none of these takes programs now (not ready, closed, or reserved by a taint).",
            count(nodes.len())
        ),
    };
    Finding::problem(
        CHECK,
        what,
        "Ask for smaller limits, or the cluster's administrator for a node (unless the cluster adds nodes by itself).",
    )
    .for_admin()
}

fn count(nodes: usize) -> String {
    format!("{nodes} {}", if nodes == 1 { "node" } else { "nodes" })
}

fn fits(node: &Node, needs: &Needs) -> bool {
    ["cpu", "memory"].iter().all(|resource| {
        let given = node
            .status
            .allocatable
            .get(*resource)
            .map_or(0.0, |text| quantity(text));
        needs
            .amount(resource)
            .is_some_and(|(needed, _)| !exceeds(needed, given))
    })
}

/// Whether the scheduler would send a program there: abba's pods tolerate no taints.
/// <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>
fn is_open(node: &Node) -> bool {
    let is_ready = node
        .status
        .conditions
        .iter()
        .any(|condition| condition.condition_type == "Ready" && condition.status == "True");
    is_ready && !node.spec.unschedulable && node.spec.taints.iter().all(|taint| taint.effect == "PreferNoSchedule")
}

/// What the largest node gives, in its own notation.
fn largest(nodes: &[Node]) -> String {
    let text = |resource: &str| {
        nodes
            .iter()
            .filter_map(|node| node.status.allocatable.get(resource))
            .max_by(|a, b| quantity(a).total_cmp(&quantity(b)))
            .map_or("0", String::as_str)
    };
    format!("at most {} cores and {} of memory", text("cpu"), text("memory"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster_check::tests_support::needs;
    use crate::domain::cluster_check::Outcome;
    use serde_json::{json, Value};

    fn node(cpu: &str, memory: &str, spec: Value) -> Node {
        serde_json::from_value(json!({
            "spec": spec,
            "status": {
                "allocatable": {"cpu": cpu, "memory": memory, "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn one_open_node_that_is_large_enough_will_do() {
        let small = node("500m", "8Gi", json!({}));
        let large = node("1", "512M", json!({}));
        let finding = enough(&[small.clone(), large], &needs("1", "512M"));
        assert_eq!(finding.outcome, Outcome::Ok);
        assert_eq!(
            finding.what,
            "Of 2 nodes a program with 1 core and 512M of memory fits on 1."
        );
        let finding = enough(&[small], &needs("1", "512M"));
        assert_eq!(finding.outcome, Outcome::Problem);
        assert!(finding
            .what
            .ends_with("the largest gives at most 500m cores and 8Gi of memory."));
        assert!(enough(&[], &needs("1", "512M")).what.contains("no nodes"));
    }

    #[test]
    fn closed_nodes_do_not_count() {
        let mut away = node("4", "8Gi", json!({}));
        away.status.conditions[0].status = "Unknown".into();
        for closed in [
            node("4", "8Gi", json!({"unschedulable": true})),
            node("4", "8Gi", json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]})),
            node("4", "8Gi", json!({"taints": [{"key": "gpu", "effect": "NoExecute"}]})),
            away,
        ] {
            let finding = enough(&[closed], &needs("1", "512M"));
            assert_eq!(finding.outcome, Outcome::Problem);
            assert!(finding.what.contains("would fit on 1, but none"), "{}", finding.what);
        }
        let disliked = node(
            "4",
            "8Gi",
            json!({"taints": [{"key": "gpu", "effect": "PreferNoSchedule"}]}),
        );
        assert_eq!(enough(&[disliked], &needs("1", "512M")).outcome, Outcome::Ok);
    }
}
