//! Whether any node could ever run a program with these limits.

use super::{exceeds, quantity, Finding, Needs};
use crate::kubernetes::cluster_objects::Node;

/// The name of the check.
pub const CHECK: &str = "nodes";

/// Whether a program with these needs fits on any of the nodes, were it empty.
pub fn enough(nodes: &[Node], needs: &Needs) -> Finding {
    let words = needs.words();
    let fitting: Vec<&Node> = nodes.iter().filter(|node| fits(node, needs)).collect();
    let usable = fitting.iter().filter(|node| is_open(node, needs)).count();
    if usable > 0 {
        return Finding::ok(
            CHECK,
            format!("Of {} a program with {words} fits on {usable}.", count(nodes.len())),
        );
    }
    let what = match (nodes.len(), fitting.len()) {
        (0, _) => "The cluster has no nodes.".to_string(),
        (_, 0) => format!(
            "No node is large enough for a program with {words}{}; the largest gives {}.",
            match needs.node_selector.is_empty() {
                true => "",
                false => " and has the labels that the job template asks for",
            },
            largest(nodes, needs)
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
    let is_large_enough = needs.requests.iter().all(|(resource, (needed, _))| {
        let given = node.status.allocatable.get(resource);
        !exceeds(*needed, given.map_or(0.0, |text| quantity(text)))
    });
    let labels = &node.metadata.labels;
    is_large_enough
        && needs
            .node_selector
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
}

/// Whether the scheduler would send a program there.
/// <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>
fn is_open(node: &Node, needs: &Needs) -> bool {
    let is_ready = node
        .status
        .conditions
        .iter()
        .any(|condition| condition.condition_type == "Ready" && condition.status == "True");
    is_ready
        && !node.spec.unschedulable
        && node.spec.taints.iter().all(|taint| {
            taint.effect == "PreferNoSchedule" || needs.tolerations.iter().any(|toleration| toleration.covers(taint))
        })
}

/// What the largest node gives, in its own notation.
fn largest(nodes: &[Node], needs: &Needs) -> String {
    let text = |resource: &str| {
        nodes
            .iter()
            .filter_map(|node| node.status.allocatable.get(resource))
            .max_by(|a, b| quantity(a).total_cmp(&quantity(b)))
            .map_or("0", String::as_str)
    };
    let is_other = |resource: &&String| !matches!(resource.as_str(), "cpu" | "memory");
    let others = needs.requests.keys().filter(is_other);
    let others: String = others
        .map(|resource| format!(" and {} of {resource}", text(resource)))
        .collect();
    format!("at most {} cores and {} of memory{others}", text("cpu"), text("memory"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster_check::tests_support::{needs, with_template};
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

    #[test]
    fn what_a_job_template_asks_of_nodes_counts() {
        let mut gpu = node(
            "4",
            "8Gi",
            json!({"taints": [{"key": "gpu", "value": "a", "effect": "NoSchedule"}]}),
        );
        gpu.status.allocatable.insert("nvidia.com/gpu".into(), "1".into());
        gpu.metadata.labels.insert("pool".into(), "gpu".into());
        let nodes = [gpu, node("4", "8Gi", json!({}))];
        let of = |spec: Value| enough(&nodes, &with_template(spec)).what;
        let containers =
            |gpus: u32| json!([{"resources": {"limits": {"cpu": "1", "memory": "1G", "nvidia.com/gpu": gpus}}}, {}]);
        assert!(of(json!({"containers": containers(1)})).contains("would fit on 1, but none"));
        for toleration in [
            json!({"key": "gpu", "operator": "Exists"}),
            json!({"key": "gpu", "value": "a", "effect": "NoSchedule"}),
            json!({"operator": "Exists"}),
        ] {
            let fitting = of(json!({"containers": containers(1), "tolerations": [toleration]}));
            assert!(
                fitting.ends_with("1G of memory and 1 of nvidia.com/gpu fits on 1."),
                "{fitting}"
            );
        }
        let other = json!([{"key": "gpu", "value": "b"}]);
        assert!(of(json!({"containers": containers(1), "tolerations": other})).contains("but none"));
        let too_many = of(json!({"containers": containers(2)}));
        assert!(
            too_many.ends_with("at most 4 cores and 8Gi of memory and 1 of nvidia.com/gpu."),
            "{too_many}"
        );
        let elsewhere = of(json!({"containers": containers(0), "nodeSelector": {"pool": "large"}}));
        assert!(
            elsewhere.contains("has the labels that the job template asks for"),
            "{elsewhere}"
        );
    }
}
