//! What the answers of a cluster mean for somebody who wants to run programs on it.
//!
//! Each question gets a [`Finding`]; [`text_for_admin`] makes of them what the cluster's administrator has to read.

pub mod clock;
pub mod dry_run;
pub mod image;
pub mod namespace_rules;
pub mod nodes;
pub mod queue;
pub mod rights;
pub mod versions;

use std::collections::BTreeMap;

use serde_json::Value;

use self::rights::{Right, Subject};
use crate::kubernetes::cluster_objects::Toleration;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing stands in the way.
    Ok,
    /// Something has to be done.
    Problem,
    /// It cannot be found out, and the finding says why.
    NotKnown,
}

names!(Outcome { Ok = "ok", Problem = "problem", NotKnown = "not known" });

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub check: String,
    /// How it came out.
    #[serde(rename = "result")]
    pub outcome: Outcome,
    /// What was found: a sentence or two.
    pub what: String,
    /// What to do; empty where there is nothing to do.
    pub advice: String,
    /// Whether it is the cluster's administrator who can mend it.
    pub is_for_admin: bool,
}

impl Finding {
    /// Nothing stands in the way.
    pub fn ok(check: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(check, Outcome::Ok, what, "")
    }

    /// Something has to be done.
    pub fn problem(check: impl Into<String>, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(check, Outcome::Problem, what, advice)
    }

    /// It cannot be found out; `what` says why.
    pub fn not_known(check: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(check, Outcome::NotKnown, what, "")
    }

    fn new(check: impl Into<String>, outcome: Outcome, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            outcome,
            what: what.into(),
            advice: advice.into(),
            is_for_admin: false,
        }
    }

    /// The same with what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// The same, as something that the cluster's administrator can mend.
    #[must_use]
    pub fn for_admin(mut self) -> Self {
        self.is_for_admin = true;
        self
    }
}

/// Amounts of resources, each with its text.
type Amounts = BTreeMap<String, (f64, String)>;

/// What the pod of a program asks for: its containers' requests and limits, those of a job template among them, and the
/// nodes that it may go to.
#[derive(Clone, Debug, PartialEq)]
pub struct Needs {
    /// Of the pod as a whole.
    requests: Amounts,
    limits: Amounts,
    /// Requests and limits of each container.
    containers: Vec<(Amounts, Amounts)>,
    node_selector: BTreeMap<String, String>,
    tolerations: Vec<Toleration>,
}

impl Needs {
    /// Those of a Job.
    pub fn of(job: &Value) -> Self {
        let spec = &job["spec"]["template"]["spec"];
        let list = |name: &str| spec[name].as_array().into_iter().flatten();
        let apart: Vec<(Amounts, Amounts)> = list("containers").map(of_container).collect();
        let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
        // A container that is started first and goes on counts with all that come after it, one that ends does not.
        let (mut requests_first, mut limits_first) = (Amounts::new(), Amounts::new());
        let mut containers = Vec::new();
        for container in list("initContainers") {
            let (of_requests, of_limits) = of_container(container);
            if container["restartPolicy"] == "Always" {
                add(&mut requests, &of_requests);
                add(&mut limits, &of_limits);
            } else {
                let (mut with_requests, mut with_limits) = (requests.clone(), limits.clone());
                add(&mut with_requests, &of_requests);
                add(&mut with_limits, &of_limits);
                raise(&mut requests_first, &with_requests);
                raise(&mut limits_first, &with_limits);
            }
            containers.push((of_requests, of_limits));
        }
        for (of_requests, of_limits) in &apart {
            add(&mut requests, of_requests);
            add(&mut limits, of_limits);
        }
        raise(&mut requests, &requests_first);
        raise(&mut limits, &limits_first);
        containers.extend(apart);
        Self {
            requests,
            limits,
            containers,
            node_selector: serde_json::from_value(spec["nodeSelector"].clone()).unwrap_or_default(),
            tolerations: serde_json::from_value(spec["tolerations"].clone()).unwrap_or_default(),
        }
    }

    /// In words, as "1 core and 512M of memory".
    pub fn words(&self) -> String {
        let text = |resource: &str| self.requests.get(resource).map_or("0", |(_, text)| text);
        let is_one = self.requests.get("cpu").is_some_and(|(cores, _)| *cores == 1.0);
        let unit = if is_one { "core" } else { "cores" };
        let mut words = vec![
            format!("{} {unit}", text("cpu")),
            format!("{} of memory", text("memory")),
        ];
        let is_other = |resource: &&String| !matches!(resource.as_str(), "cpu" | "memory");
        words.extend(
            self.requests
                .keys()
                .filter(is_other)
                .map(|resource| format!("{} of {resource}", text(resource))),
        );
        let last = words.pop().unwrap_or_default();
        format!("{} and {last}", words.join(", "))
    }
}

/// Requests and limits of a container; Kubernetes takes a limit for the request where none is given.
fn of_container(container: &Value) -> (Amounts, Amounts) {
    let amounts = |kind: &str| -> Amounts {
        let given = container["resources"][kind].as_object().into_iter().flatten();
        let texts = given.map(|(resource, amount)| {
            let text = amount.as_str().map_or_else(|| amount.to_string(), String::from);
            (resource.clone(), (quantity(&text), text))
        });
        texts.collect()
    };
    let limits = amounts("limits");
    let mut requests = limits.clone();
    requests.extend(amounts("requests"));
    (requests, limits)
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (resource, (amount, text)) in more {
        match sum.get_mut(resource) {
            Some((total, total_text)) if *total > 0.0 => {
                *total += amount;
                *total_text = in_words(*total);
            }
            _ => {
                sum.insert(resource.clone(), (*amount, text.clone()));
            }
        }
    }
}

/// Raises each amount to that of the other.
fn raise(amounts: &mut Amounts, others: &Amounts) {
    for (resource, other) in others {
        if amounts.get(resource).is_none_or(|(amount, _)| *amount < other.0) {
            amounts.insert(resource.clone(), other.clone());
        }
    }
}

/// A sum in Kubernetes' notation.
fn in_words(amount: f64) -> String {
    const UNITS: [(f64, &str); 6] = [
        (1_073_741_824.0, "Gi"),
        (1e9, "G"),
        (1_048_576.0, "Mi"),
        (1e6, "M"),
        (1024.0, "Ki"),
        (1e3, "k"),
    ];
    let unit = UNITS.iter().find(|(unit, _)| amount >= *unit && amount % unit == 0.0);
    match unit {
        Some((unit, name)) => format!("{}{name}", amount / unit),
        None => format!("{}", (amount * 1000.0).round() / 1000.0),
    }
}

/// A quantity of the API server's as a number; 0 for what is none.
fn quantity(text: &str) -> f64 {
    crate::domain::quantity::parse_quantity(text).unwrap_or_default()
}

/// Whether an amount is more than a bound, beyond what the rounding of decimal fractions explains.
fn exceeds(amount: f64, bound: f64) -> bool {
    amount > bound + bound.abs() * 1e-9
}

/// Who asks, and about what, for [`text_for_admin`].
#[derive(Clone, Debug, Default)]
pub struct AdminContext {
    /// The user name that the cluster knows, if that is known.
    pub username: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// The address of the API server, if the configuration names it.
    pub server: Option<String>,
    /// The rights that the user lacks.
    pub missing: Vec<Right>,
}

/// The text for the cluster's administrator: what is wrong that only they can mend, and the Role that is missing, as YAML
/// that can be applied as it is. `None` where there is nothing for them to do.
pub fn text_for_admin(findings: &[Finding], circumstances: &AdminContext) -> Option<String> {
    let problems: Vec<String> = findings
        .iter()
        .filter(|finding| finding.is_for_admin && finding.outcome == Outcome::Problem)
        .map(|finding| format!("- {}: {}", finding.check, finding.what))
        .collect();
    if problems.is_empty() {
        return None;
    }
    let namespace = &circumstances.namespace;
    let who = match &circumstances.username {
        Some(name) => format!("the user \"{name}\""),
        None => "a user whose name the cluster does not tell".to_string(),
    };
    let server = match &circumstances.server {
        Some(server) => format!(" of the cluster at {server}"),
        None => String::new(),
    };
    let mut text = format!(
        "I want to run R programs as Kubernetes Jobs with the R package abba, as {who} in the namespace \"{namespace}\"{server}. This stands in the way:\n\n{}\n",
        problems.join("\n")
    );
    let missing = &circumstances.missing;
    if !missing.is_empty() {
        let subject = match &circumstances.username {
            Some(name) => Subject::of_username(name),
            None => Subject::User("THE NAME OF THE USER".into()),
        };
        let name = rights::role_name(namespace, missing, &subject);
        let yaml = rights::role_yaml(&name, namespace, missing, &subject);
        text.push_str("\nThis gives the rights that are missing, and no others (kubectl apply -f FILE):\n\n");
        text.push_str(&yaml);
    }
    Some(text)
}

#[cfg(test)]
mod tests_support {
    use super::Needs;
    use serde_json::json;

    /// The needs of a Job with these limits.
    pub fn needs(cpu: &str, memory: &str) -> Needs {
        with_template(
            json!({"containers": [{"name": "program", "resources": {"limits": {"cpu": cpu, "memory": memory}}}]}),
        )
    }

    /// The needs of a Job with this for its pod's `spec`.
    pub fn with_template(spec: serde_json::Value) -> Needs {
        Needs::of(&json!({"spec": {"template": {"spec": spec}}}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn finding(outcome: Outcome, for_admin: bool) -> Finding {
        Finding {
            is_for_admin: for_admin,
            ..Finding::new("quota", outcome, "It is full.", "Wait.")
        }
    }

    #[test]
    fn the_administrator_reads_what_they_can_mend_alone() {
        let circumstances = AdminContext {
            username: Some("mike".into()),
            namespace: "n".into(),
            ..Default::default()
        };
        for (outcome, for_admin) in [
            (Outcome::Ok, true),
            (Outcome::NotKnown, true),
            (Outcome::Problem, false),
        ] {
            assert_eq!(text_for_admin(&[finding(outcome, for_admin)], &circumstances), None);
        }
        let text = text_for_admin(&[finding(Outcome::Problem, true)], &circumstances).unwrap();
        assert!(
            text.contains("\"mike\"") && text.ends_with("\n- quota: It is full.\n"),
            "{text}"
        );
    }

    #[test]
    fn quantities_that_differ_by_rounding_alone_are_equal() {
        assert!(!exceeds(0.1 + 0.2, 0.3));
        assert!(exceeds(0.301, 0.3));
        assert!(exceeds(1.0, 0.0));
    }

    #[test]
    fn the_needs_of_a_pod_are_those_of_all_its_containers() {
        let one = |requests: Value, limits: Value| json!({"resources": {"requests": requests, "limits": limits}});
        let mut beside = one(json!({"cpu": 0.5}), json!({"memory": "256M"}));
        beside["restartPolicy"] = json!("Always");
        let needs = tests_support::with_template(json!({
            "containers": [
                one(json!({"memory": "300M"}), json!({"cpu": "1", "memory": "512M", "nvidia.com/gpu": 1})),
                one(json!({"cpu": "250m"}), json!({})),
            ],
            "initContainers": [one(json!({"cpu": "3"}), json!({})), beside, one(json!({"cpu": "1"}), json!({}))],
        }));
        assert_eq!(needs.words(), "3 cores, 556M of memory and 1 of nvidia.com/gpu");
        assert_eq!(needs.limits["memory"], (768e6, "768M".to_string()));
        assert_eq!(needs.limits["cpu"].1, "1");
        let sum = tests_support::with_template(json!({"containers": [
            one(json!({"memory": "1Gi"}), json!({"cpu": "500m"})),
            one(json!({"memory": "512Mi"}), json!({"cpu": "250m"})),
        ]}));
        assert_eq!(sum.words(), "0.75 cores and 1536Mi of memory");
    }
}
