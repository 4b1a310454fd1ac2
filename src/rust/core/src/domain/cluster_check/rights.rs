//! The rights that abba needs in a namespace, and the Role that grants them.
//!
//! [`NEEDED`] is the one list of them. The README shows it as YAML, and a test compares the two.

use sha2::{Digest, Sha256};

use crate::domain::job_name::slug;
use crate::kubernetes::cluster_objects::ResourceRule;

/// One right: to do something with one kind of resource in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The API group, empty for Kubernetes' core.
    pub api_group: &'static str,
    /// The resource, with its subresource where there is one, as `pods/log`.
    pub resource: &'static str,
    /// Kubernetes' verb, as `create`.
    pub verb: &'static str,
    /// What abba does with it; completes "abba needs this to ...".
    pub purpose: &'static str,
}

/// The rights that abba needs, in the order in which a Role lists them.
pub const NEEDED: [Right; 11] = [
    right("batch", "jobs", "create", "submit programs"),
    right(
        "batch",
        "jobs",
        "get",
        "find out whether a job exists, and to cancel it",
    ),
    right("batch", "jobs", "list", "find jobs and their states"),
    right("batch", "jobs", "update", "cancel jobs"),
    right("batch", "jobs", "delete", "remove jobs that have ended"),
    right("", "pods", "get", "cancel jobs"),
    right("", "pods", "list", "read the states and logs of jobs"),
    right("", "pods", "watch", "wait for the end of jobs"),
    right("", "pods", "update", "cancel jobs"),
    right("", "pods/log", "get", "read logs"),
    right("", "events", "list", "say more clearly why a program does not start"),
];

/// Not needed: who has it can have a pod tried, which shows more than a Job does.
pub const CREATE_PODS: Right = right("", "pods", "create", "");

const fn right(api_group: &'static str, resource: &'static str, verb: &'static str, purpose: &'static str) -> Right {
    Right {
        api_group,
        resource,
        verb,
        purpose,
    }
}

impl Right {
    /// In words, as "create jobs".
    pub fn words(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }

    /// Whether a rule gives this right, for objects of any name.
    ///
    /// <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources>
    pub fn is_given_by(&self, rule: &ResourceRule) -> bool {
        let holds = |values: &[String], value: &str| values.iter().any(|held| held == value || held == "*");
        let resource = || {
            holds(&rule.resources, self.resource)
                || self
                    .resource
                    .split_once('/')
                    .is_some_and(|(_, part)| rule.resources.iter().any(|held| *held == format!("*/{part}")))
        };
        rule.resource_names.is_empty()
            && holds(&rule.verbs, self.verb)
            && holds(&rule.api_groups, self.api_group)
            && resource()
    }
}

/// To whom a Role is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user, by the name that the cluster knows.
    User(String),
    /// A service account.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Subject {
    /// From the user name that the cluster reports: service accounts are `system:serviceaccount:NAMESPACE:NAME`.
    ///
    /// <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>
    pub fn of_username(username: &str) -> Self {
        let account = username
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'));
        match account {
            Some((namespace, name)) => Self::ServiceAccount {
                namespace: namespace.into(),
                name: name.into(),
            },
            None => Self::User(username.into()),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::User(name) | Self::ServiceAccount { name, .. } => name,
        }
    }

    fn yaml(&self) -> String {
        match self {
            Self::User(name) => format!("{{apiGroup: {RBAC}, kind: User, name: {}}}", quoted(name)),
            Self::ServiceAccount { namespace, name } => format!(
                "{{kind: ServiceAccount, name: {}, namespace: {}}}",
                quoted(name),
                quoted(namespace)
            ),
        }
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// A Role with these rights in a namespace, and the binding that gives it to a subject, as YAML.
pub fn role_yaml(name: &str, namespace: &str, rights: &[Right], subject: &Subject) -> String {
    let metadata = format!(
        "metadata:\n  name: {}\n  namespace: {}\n",
        quoted(name),
        quoted(namespace)
    );
    let rules: String = by_resource(rights)
        .into_iter()
        .map(|((api_group, resource), verbs)| {
            let verbs: Vec<String> = verbs.into_iter().map(quoted).collect();
            format!(
                "  - apiGroups: [{}]\n    resources: [{}]\n    verbs: [{}]\n",
                quoted(api_group),
                quoted(resource),
                verbs.join(", ")
            )
        })
        .collect();
    format!(
        "apiVersion: {RBAC}/v1\nkind: Role\n{metadata}rules:\n{rules}---\napiVersion: {RBAC}/v1\nkind: RoleBinding\n{metadata}roleRef: {{apiGroup: {RBAC}, kind: Role, name: {}}}\nsubjects:\n  - {}\n",
        quoted(name),
        subject.yaml()
    )
}

/// A name for the Role that gives a subject what it lacks: another for other rights or another subject, so that applying it
/// never takes away what an earlier one gave.
pub fn role_name(namespace: &str, rights: &[Right], subject: &Subject) -> String {
    let content = role_yaml("", namespace, rights, subject);
    let hash: String = Sha256::digest(content)
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("abba-{}-{hash}", slug(subject.name()))
}

type Resource = (&'static str, &'static str);

fn by_resource(rights: &[Right]) -> Vec<(Resource, Vec<&'static str>)> {
    let mut rules: Vec<(Resource, Vec<&'static str>)> = Vec::new();
    for right in rights {
        let resource = (right.api_group, right.resource);
        match rules.iter_mut().find(|(known, _)| *known == resource) {
            Some((_, verbs)) => verbs.push(right.verb),
            None => rules.push((resource, vec![right.verb])),
        }
    }
    rules
}

/// Text in double quotes: what is a string in JSON is one in YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> ResourceRule {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_string()).collect();
        ResourceRule {
            verbs: owned(verbs),
            api_groups: owned(groups),
            resources: owned(resources),
            resource_names: Vec::new(),
        }
    }

    /// The lines of a file of the repository, without comments.
    fn lines_of(text: &str) -> Vec<&str> {
        text.lines()
            .map(|line| line.split(" #").next().unwrap_or_default().trim_end())
            .collect()
    }

    #[test]
    fn the_account_of_a_server_in_the_cluster_has_what_is_needed() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../inst/deploy/base/rights.yaml");
        let file = std::fs::read_to_string(file).unwrap();
        let given = lines_of(&file);
        let needed = role_yaml("abba", "n", &NEEDED, &Subject::User("abba".into()));
        let needed: Vec<&str> = needed.lines().skip_while(|line| *line != "rules:").skip(1).collect();
        let rules = needed.chunks(3).take_while(|rule| rule[0].starts_with("  - apiGroups"));
        for rule in rules {
            assert!(given.windows(3).any(|lines| lines == rule), "{rule:?}");
        }
    }

    #[test]
    fn the_readme_shows_the_role_that_is_needed() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../README.md")).unwrap();
        let shown = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let shown = lines_of(shown);
        let needed = role_yaml("abba", "rstudio", &NEEDED, &Subject::User("mike".into()));
        assert_eq!(shown, needed.lines().collect::<Vec<_>>());
    }

    #[test]
    fn a_rule_gives_what_it_names_and_no_more() {
        let log = NEEDED[9];
        assert_eq!(log.words(), "get pods/log");
        for (given, rule) in [
            (true, rule(&["get"], &[""], &["pods/log"])),
            (true, rule(&["*"], &["*"], &["*"])),
            (true, rule(&["get"], &[""], &["*/log"])),
            (true, rule(&["list", "get"], &["apps", ""], &["pods", "pods/log"])),
            (false, rule(&["get"], &[""], &["pods"])),
            (false, rule(&["get"], &[""], &["pods/*"])),
            (false, rule(&["list"], &[""], &["pods/log"])),
            (false, rule(&["get"], &["batch"], &["pods/log"])),
            (false, rule(&[], &[], &[])),
        ] {
            assert_eq!(log.is_given_by(&rule), given, "{rule:?}");
        }
        let mut of_one = rule(&["get"], &[""], &["pods/log"]);
        of_one.resource_names = vec!["one".into()];
        assert!(!log.is_given_by(&of_one));
    }

    #[test]
    fn a_service_account_is_bound_as_one() {
        let subject = Subject::of_username("system:serviceaccount:rstudio:connect");
        let yaml = role_yaml("abba", "n", &NEEDED[9..10], &subject);
        assert!(yaml.ends_with("subjects:\n  - {kind: ServiceAccount, name: \"connect\", namespace: \"rstudio\"}\n"));
        assert_eq!(
            Subject::of_username("mike@example.com"),
            Subject::User("mike@example.com".into())
        );
    }

    #[test]
    fn a_role_holds_what_is_asked_for_alone_and_no_name_breaks_out() {
        let subject = Subject::User("a\"}\n- {kind: Group".into());
        let yaml = role_yaml("r", "n", &[NEEDED[1], NEEDED[5], NEEDED[7]], &subject);
        assert!(yaml.contains(
            "rules:\n  - apiGroups: [\"batch\"]\n    resources: [\"jobs\"]\n    verbs: [\"get\"]\n  - apiGroups: [\"\"]\n    resources: [\"pods\"]\n    verbs: [\"get\", \"watch\"]\n---"
        ));
        assert!(yaml.ends_with("name: \"a\\\"}\\n- {kind: Group\"}\n"));
    }

    #[test]
    fn other_rights_and_other_people_get_roles_of_other_names() {
        let mike = Subject::User("Mike@example.com".into());
        let anna = Subject::User("anna".into());
        let name = role_name("n", &NEEDED[..2], &mike);
        assert!(name.starts_with("abba-mike-example-"), "{name}");
        assert_eq!(name, role_name("n", &NEEDED[..2], &mike));
        assert_ne!(name, role_name("n", &NEEDED[..3], &mike));
        assert_ne!(name, role_name("n", &NEEDED[..2], &anna));
    }
}
