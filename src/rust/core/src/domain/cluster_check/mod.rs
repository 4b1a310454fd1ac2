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

use self::rights::{Right, Subject};
use crate::kubernetes::objects::Job;

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

impl Outcome {
    /// The word that users read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Problem => "problem",
            Self::NotKnown => "not known",
        }
    }
}

impl serde::Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

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

/// What a program asks a node for. Its requests are its limits, since Kubernetes takes the limits for requests where none
/// are given.
#[derive(Clone, Debug, PartialEq)]
pub struct Needs {
    /// Cores and bytes, each with the text that the user gave.
    amounts: [(f64, String); 2],
}

impl Needs {
    /// Those of a Job.
    pub fn of(job: &Job) -> Self {
        let containers = &job.spec.template.spec.containers;
        let amount = |resource: &str| {
            let text = containers
                .first()
                .and_then(|container| container.resources.limits.get(resource))
                .map_or("", String::as_str);
            (quantity(text), text.to_string())
        };
        Self {
            amounts: [amount("cpu"), amount("memory")],
        }
    }

    /// Of `cpu` or `memory`: how much, and as text. `None` for another resource.
    fn amount(&self, resource: &str) -> Option<(f64, &str)> {
        let index = ["cpu", "memory"].iter().position(|name| *name == resource)?;
        let (amount, text) = &self.amounts[index];
        Some((*amount, text))
    }

    /// In words, as "1 core and 512M of memory".
    pub fn words(&self) -> String {
        let [(cores, cpu), (_, memory)] = &self.amounts;
        let unit = if *cores == 1.0 { "core" } else { "cores" };
        format!("{cpu} {unit} and {memory} of memory")
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
    use crate::kubernetes::objects::{Container, Job};

    /// The needs of a Job with these limits.
    pub fn needs(cpu: &str, memory: &str) -> Needs {
        let mut container = Container::default();
        for (resource, amount) in [("cpu", cpu), ("memory", memory)] {
            container.resources.limits.insert(resource.into(), amount.into());
        }
        let mut job = Job::default();
        job.spec.template.spec.containers.push(container);
        Needs::of(&job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
