//! The rules of a namespace that can keep a program from starting: quotas, LimitRanges, Pod Security.
//!
//! Where the rules themselves may not be read, a trial may show what they do, or what happened lately.

use std::collections::BTreeMap;

use serde_json::Value;

use super::dry_run::DryRuns;
use super::{exceeds, quantity, Amounts, Finding, Needs, Outcome};
use crate::kubernetes::cluster_objects::{LimitRange, Namespace, NetworkPolicy, ResourceQuota};
use crate::kubernetes::objects::{Event, Job};

/// Where there is an example of a quota, and of a NetworkPolicy.
const BOUNDS: &str = "system.file(\"deploy/base/bounds.yaml\", package = \"abba\")";
const NETWORK: &str = "system.file(\"deploy/base/network.yaml\", package = \"abba\")";

/// The names of the checks.
pub const QUOTA_CHECK: &str = "quota";
/// See [`QUOTA_CHECK`].
pub const LIMIT_RANGE_CHECK: &str = "limit range";
/// See [`QUOTA_CHECK`].
pub const POD_SECURITY_CHECK: &str = "pod security";

/// See [`QUOTA_CHECK`].
pub const NETWORK_CHECK: &str = "network";

/// What the API server's refusals hold that come from a quota (`apiserver/pkg/admission/plugin/resourcequota`), ...
pub const QUOTA_WORDS: &[&str] = &["exceeded quota", "failed quota", "insufficient quota"];
/// ... from a LimitRange (`plugin/pkg/admission/limitranger`), ...
pub const LIMIT_RANGE_WORDS: &[&str] = &[" usage per ", " ratio per "];
/// ... and from Pod Security.
pub const POD_SECURITY_WORDS: &[&str] = &["violates PodSecurity"];

/// Whether Pod Security's words are about what a program mounts: `check_restrictedVolumes.go` and `check_hostPathVolumes.go` in
/// k8s.io/pod-security-admission. Running as another user changes nothing then.
pub fn refuses_volumes(words: &str) -> bool {
    ["restricted volume types", "hostPath volumes"]
        .iter()
        .any(|part| words.contains(part))
}

/// What is known beside the rules themselves.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What a trial showed.
    pub trials: &'a DryRuns,
    /// The events of the last hour about pods that could not be made, oldest first.
    pub refused_pods: &'a [Event],
}

/// Whether the quotas leave room for one more program. `quotas`: those of the namespace, or why they are not known.
pub fn quota(quotas: Result<&[ResourceQuota], String>, needs: &Needs, evidence: Evidence<'_>) -> Finding {
    let computed = quotas.map(|quotas| quota_of(quotas, needs));
    evidence.judge(QUOTA_CHECK, computed, QUOTA_WORDS, QUOTA_ADVICE)
}

const QUOTA_ADVICE: &str =
    "Wait until other programs in the namespace have ended, or cancel some; or ask the cluster's administrator for a larger quota.";

fn quota_of(quotas: &[ResourceQuota], needs: &Needs) -> Finding {
    let mut shortages = Vec::new();
    let mut never = false;
    let applying: Vec<&ResourceQuota> = quotas.iter().filter(|quota| applies(quota)).collect();
    for quota in &applying {
        for (resource, hard) in &quota.spec.hard {
            let Some((needed, needed_text)) = needed_of(resource, needs) else {
                continue;
            };
            let used_text = quota.status.used.get(resource).map_or("0", String::as_str);
            if exceeds(quantity(used_text) + needed, quantity(hard)) {
                never |= exceeds(needed, quantity(hard));
                shortages.push(format!(
                    "the quota \"{}\" allows {hard} of {resource}, {used_text} is used, and a program needs {needed_text}",
                    quota.metadata.name
                ));
            }
        }
    }
    if !shortages.is_empty() {
        let advice = match never {
            true => "Ask for smaller limits, or the cluster's administrator for a larger quota.",
            false => QUOTA_ADVICE,
        };
        let list = shortages.join("; ");
        return Finding::problem(QUOTA_CHECK, format!("No program can start: {list}."), advice).for_admin();
    }
    match applying.len() {
        0 => Finding::ok(
            QUOTA_CHECK,
            "The namespace has no ResourceQuota: the nodes alone bound what programs take together.",
        )
        .advise(format!(
            "Where several people share it, one of them may take all: have a quota, as in {BOUNDS}."
        )),
        _ => Finding::ok(
            QUOTA_CHECK,
            format!("The quota leaves room for a program with {}.", needs.words()),
        ),
    }
}

/// Whether a quota counts abba's pods: they have limits, no deadline (unless the user asks for one) and no priority class.
/// <https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-scopes>
fn applies(quota: &ResourceQuota) -> bool {
    quota.spec.scope_selector.is_none()
        && quota
            .spec
            .scopes
            .iter()
            .all(|scope| matches!(scope.as_str(), "NotTerminating" | "NotBestEffort"))
}

/// What one more program needs of a quota's resource; `None` where it needs nothing of it.
/// <https://kubernetes.io/docs/concepts/policy/resource-quotas/#compute-resource-quota>
fn needed_of<'a>(resource: &str, needs: &'a Needs) -> Option<(f64, &'a str)> {
    match resource {
        "pods" | "count/pods" | "count/jobs.batch" => Some((1.0, "1")),
        _ => {
            let amounts = match resource.strip_prefix("limits.") {
                Some(resource) => needs.limits.get(resource),
                None => needs
                    .requests
                    .get(resource.strip_prefix("requests.").unwrap_or(resource)),
            };
            amounts.map(|(amount, text)| (*amount, text.as_str()))
        }
    }
}

/// Whether a NetworkPolicy bounds whom programs reach. It keeps none from running. `policies`: those of the namespace, or why they are
/// not known; `labels`: those of the pod of a program.
pub fn network(policies: Result<&[NetworkPolicy], String>, labels: &BTreeMap<String, String>) -> Finding {
    const OTHERS: &str =
        "the API server, the kubelets, other pods, and NFS servers, which believe the user number that they are told";
    let policies = match policies {
        Ok(policies) => policies,
        Err(why) => return Finding::not_known(NETWORK_CHECK, why),
    };
    let mut bounding = policies.iter().filter(|policy| policy.bounds_egress_of(labels));
    match bounding.next() {
        Some(policy) => Finding::ok(
            NETWORK_CHECK,
            format!(
                "The NetworkPolicy \"{}\" says whom programs reach, where the cluster's network acts on such policies.",
                policy.metadata.name
            ),
        ),
        None => Finding::ok(
            NETWORK_CHECK,
            format!("No NetworkPolicy says whom programs reach: they may speak to {OTHERS}."),
        )
        .advise(format!(
            "Where several people share the namespace, have one, as in {NETWORK}."
        )),
    }
}

/// Whether the LimitRanges allow a program's limits. `ranges`: those of the namespace, or why they are not known.
pub fn limit_range(ranges: Result<&[LimitRange], String>, needs: &Needs, evidence: Evidence<'_>) -> Finding {
    let computed = ranges.map(|ranges| limit_range_of(ranges, needs));
    evidence.judge(LIMIT_RANGE_CHECK, computed, LIMIT_RANGE_WORDS, LIMIT_RANGE_ADVICE)
}

const LIMIT_RANGE_ADVICE: &str =
    "Ask for limits within these bounds (`cpu_limit`, `memory_limit`), or the cluster's administrator for other bounds.";

fn limit_range_of(ranges: &[LimitRange], needs: &Needs) -> Finding {
    let mut broken = Vec::new();
    let mut bounds = 0;
    for range in ranges {
        for item in &range.spec.limits {
            let asked: Vec<(&Amounts, &Amounts)> = match item.limit_type.as_str() {
                "Container" => needs
                    .containers
                    .iter()
                    .map(|(requests, limits)| (requests, limits))
                    .collect(),
                "Pod" => vec![(&needs.requests, &needs.limits)],
                _ => continue,
            };
            for (requests, limits) in asked {
                let mut look = |bounds_of: &BTreeMap<String, String>, amounts: &Amounts, word: &str, least: bool| {
                    for (resource, bound) in bounds_of {
                        // A container that says nothing of it gets what the namespace has for such.
                        let Some((asked, text)) = amounts.get(resource) else {
                            continue;
                        };
                        bounds += 1;
                        let is_broken = match least {
                            true => exceeds(quantity(bound), *asked),
                            false => exceeds(*asked, quantity(bound)),
                        };
                        if is_broken {
                            broken.push(format!(
                                "the LimitRange \"{}\" allows {word} {bound} of {resource}, and a program asks for {text}",
                                range.metadata.name
                            ));
                        }
                    }
                };
                look(&item.max, limits, "at most", false);
                look(&item.min, requests, "at least", true);
            }
        }
    }
    broken.dedup();
    if !broken.is_empty() {
        let list = broken.join("; ");
        return Finding::problem(
            LIMIT_RANGE_CHECK,
            format!("No program can start: {list}."),
            LIMIT_RANGE_ADVICE,
        )
        .for_admin();
    }
    match bounds {
        0 => Finding::ok(LIMIT_RANGE_CHECK, "The namespace sets no bounds on cores and memory."),
        _ => Finding::ok(
            LIMIT_RANGE_CHECK,
            format!("The namespace's bounds allow a program with {}.", needs.words()),
        ),
    }
}

/// The label of a namespace with the level that it enforces.
/// <https://kubernetes.io/docs/concepts/security/pod-security-admission/#pod-security-admission-labels-for-namespaces>
const ENFORCED_LEVEL: &str = "pod-security.kubernetes.io/enforce";

/// What programs mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// The kinds of volumes of a Job, each once.
    kinds: Vec<String>,
    /// Whether the options of this session offer NFS folders to programs that ask for them.
    is_nfs_offered: bool,
}

impl Storage {
    /// That of a Job, and of the options.
    pub fn of(job: &Value, is_nfs_offered: bool) -> Self {
        let volumes = job["spec"]["template"]["spec"]["volumes"].as_array();
        let mut kinds: Vec<String> = volumes
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .flat_map(|volume| volume.keys().filter(|key| *key != "name").cloned())
            .collect();
        kinds.sort();
        kinds.dedup();
        Self { kinds, is_nfs_offered }
    }

    /// The kinds that a level refuses, of which a program mounts one. Kubernetes knows others, which no level is about.
    /// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>
    fn refused_by(&self, level: &str) -> Vec<&str> {
        let mut refused: Vec<&str> = self
            .kinds
            .iter()
            .map(String::as_str)
            .filter(|kind| match level {
                "baseline" => *kind == "hostPath",
                "restricted" => !RESTRICTED_KINDS.contains(kind),
                _ => false,
            })
            .collect();
        if level == "restricted" && self.is_nfs_offered && !refused.contains(&"nfs") {
            refused.push("nfs");
        }
        refused
    }
}

/// The kinds of volumes that the level "restricted" takes: `check_restrictedVolumes.go` in k8s.io/pod-security-admission.
const RESTRICTED_KINDS: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Whether the namespace's Pod Security level allows abba's pods. `namespace`: the object, or why it is not known.
pub fn pod_security(
    namespace: Result<&Namespace, String>,
    job: &Job,
    storage: &Storage,
    evidence: Evidence<'_>,
) -> Finding {
    let computed = namespace.and_then(|namespace| {
        let level = namespace.metadata.labels.get(ENFORCED_LEVEL);
        level
            .map(|level| pod_security_of(level, runs_as_user(job), storage))
            .ok_or_else(|| "The namespace names no level, and the cluster's default cannot be read.".into())
    });
    let is_computed = computed.is_ok();
    let advice = match storage.refused_by("restricted").is_empty() {
        true => POD_SECURITY_ADVICE,
        false => STORAGE_ADVICE,
    };
    let finding = evidence.judge(POD_SECURITY_CHECK, computed, POD_SECURITY_WORDS, advice);
    if is_computed || finding.outcome != Outcome::NotKnown {
        return finding;
    }
    // The server warns about a Job by the level that the namespace enforces, unless it names another one to warn by:
    // `PolicyToEvaluate` in k8s.io/pod-security-admission/api.
    match evidence.trials.warning("would violate PodSecurity") {
        Some(warning) => Finding::not_known(
            POD_SECURITY_CHECK,
            format!("The cluster warns about programs; whether it refuses them cannot be read. It says: {warning}"),
        )
        .advise(advice),
        None if matches!(evidence.trials.job, super::dry_run::DryRun::Accepted { .. }) => Finding::ok(
            POD_SECURITY_CHECK,
            "The cluster has nothing to say against programs at the namespace's level.",
        ),
        None => finding,
    }
}

const POD_SECURITY_ADVICE: &str =
    "Submit with `username`, so that programs run as a user other than root; or ask the cluster's administrator for the level \"baseline\".";

const STORAGE_ADVICE: &str =
    "Ask the cluster's administrator for the level \"baseline\" with an admission policy that keeps programs from running as root \
     (abba comes with one: the folder that system.file(\"deploy\", package = \"abba\") names); or for the storage as a \
     PersistentVolumeClaim, which \"restricted\" takes; or submit with `username`, without mounts.";

fn runs_as_user(job: &Job) -> bool {
    let security = &job.spec.template.spec.security_context;
    security
        .as_ref()
        .is_some_and(|security| security.run_as_non_root == Some(true))
}

/// abba's pods keep to the level "baseline", and to "restricted" when they run as a user other than root; with mounts, where
/// the level takes their kinds of volumes.
fn pod_security_of(level: &str, runs_as_user: bool, storage: &Storage) -> Finding {
    let refused = storage.refused_by(level);
    if !refused.is_empty() {
        let also = match (level, runs_as_user) {
            ("restricted", false) => ", and programs that run as the image says, without `username`",
            _ => "",
        };
        return Finding::problem(
            POD_SECURITY_CHECK,
            format!(
                "The namespace enforces the level \"{level}\", which refuses volumes of the kind {}{also}: Kubernetes takes the job of a program that mounts one, and never makes its pod, so that the job stays \"Pending\".",
                refused.join(" and ")
            ),
            STORAGE_ADVICE,
        )
        .for_admin();
    }
    match level {
        "privileged" => Finding::ok(POD_SECURITY_CHECK, "The namespace enforces the level \"privileged\", which takes all programs."),
        "baseline" => Finding::ok(
            POD_SECURITY_CHECK,
            "The namespace enforces the level \"baseline\", which programs keep to (without `mounts` of the node's own folders).",
        ),
        "restricted" if runs_as_user => Finding::ok(
            POD_SECURITY_CHECK,
            "The namespace enforces the level \"restricted\", which programs keep to that run as this user (without `mounts` of NFS or of the node's own folders).",
        ),
        "restricted" => Finding::problem(
            POD_SECURITY_CHECK,
            "The namespace enforces the level \"restricted\", and a program without `username` runs as the image says: no program can start.",
            POD_SECURITY_ADVICE,
        )
        .for_admin(),
        other => Finding::problem(
            POD_SECURITY_CHECK,
            format!("The namespace names the level \"{other}\", which is none; Kubernetes takes it for \"restricted\"."),
            "Ask the cluster's administrator to correct the namespace's label.",
        )
        .for_admin(),
    }
}

impl Evidence<'_> {
    /// Puts together what was computed from the rules (or why it was not), what a trial showed, and what happened lately;
    /// what is certain goes first.
    fn judge(&self, check: &str, computed: Result<Finding, String>, words: &[&str], advice: &str) -> Finding {
        if let Ok(finding) = &computed {
            if finding.outcome == Outcome::Problem {
                return finding.clone();
            }
        }
        if let Some(refusal) = self.trials.refusal(words) {
            let what = format!("The cluster refuses a trial. Kubernetes says: {refusal}");
            return Finding::problem(check, what, advice).for_admin();
        }
        let why = match computed {
            Ok(finding) => return finding,
            Err(why) => why,
        };
        if self.trials.pod_is_accepted() {
            return Finding::ok(check, "The cluster would accept a program's pod.");
        }
        let newest = self
            .refused_pods
            .iter()
            .rev()
            .find(|event| words.iter().any(|text| event.message.contains(text)));
        match newest {
            Some(event) => Finding::not_known(
                check,
                format!(
                    "{why} It has kept a program from starting lately ({}): {}",
                    event.time(),
                    event.message
                ),
            )
            .advise(advice),
            None => Finding::not_known(check, why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dry_run::DryRun;
    use super::super::tests_support::{needs, with_template};
    use super::*;
    use serde_json::json;

    fn nothing_tried() -> DryRuns {
        DryRuns {
            job: DryRun::NotTried("Not tried.".into()),
            pod: DryRun::NotTried("Not tried.".into()),
        }
    }

    fn refused(words: &str) -> DryRuns {
        DryRuns {
            pod: DryRun::Refused { words: words.into() },
            ..nothing_tried()
        }
    }

    fn evidence(trials: &DryRuns) -> Evidence<'_> {
        Evidence {
            trials,
            refused_pods: &[],
        }
    }

    fn quota_with(spec: Value, used: Value) -> Finding {
        let quota: ResourceQuota =
            serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": spec, "status": {"used": used}})).unwrap();
        super::quota(Ok(&[quota]), &needs("1", "512M"), evidence(&nothing_tried()))
    }

    #[test]
    fn a_quota_is_compared_with_one_more_program() {
        for (hard, used, outcome) in [
            (json!({"pods": "2"}), json!({"pods": "1"}), Outcome::Ok),
            (json!({"pods": "2"}), json!({"pods": "2"}), Outcome::Problem),
            (
                json!({"count/jobs.batch": "2"}),
                json!({"count/jobs.batch": "2"}),
                Outcome::Problem,
            ),
            (json!({"limits.cpu": "2"}), json!({"limits.cpu": "1"}), Outcome::Ok),
            (
                json!({"limits.cpu": "2"}),
                json!({"limits.cpu": "1001m"}),
                Outcome::Problem,
            ),
            (json!({"cpu": "500m"}), json!({}), Outcome::Problem),
            (
                json!({"requests.memory": "1Gi"}),
                json!({"requests.memory": "512Mi"}),
                Outcome::Ok,
            ),
            (json!({"memory": "1G"}), json!({"memory": "600M"}), Outcome::Problem),
            (
                json!({"services": "0", "requests.storage": "0"}),
                json!({}),
                Outcome::Ok,
            ),
        ] {
            let finding = quota_with(json!({"hard": hard}), used.clone());
            assert_eq!(finding.outcome, outcome, "{hard} {used}");
        }
        let finding = quota_with(
            json!({"hard": {"limits.memory": "1G"}}),
            json!({"limits.memory": "900M"}),
        );
        assert_eq!(
            finding.what,
            "No program can start: the quota \"q\" allows 1G of limits.memory, 900M is used, and a program needs 512M."
        );
        assert!(finding.advice.starts_with("Wait"));
        // Waiting would not help here.
        assert!(quota_with(json!({"hard": {"cpu": "500m"}}), json!({}))
            .advice
            .starts_with("Ask for smaller"));
    }

    #[test]
    fn a_namespace_without_a_quota_is_no_problem_and_advice() {
        let finding = quota(Ok(&[]), &needs("1", "512M"), evidence(&nothing_tried()));
        assert_eq!(finding.outcome, Outcome::Ok);
        assert!(finding.what.contains("no ResourceQuota") && finding.advice.contains("bounds.yaml"));
        // One that counts no programs is none.
        assert!(quota_with(json!({"scopes": ["BestEffort"], "hard": {}}), json!({}))
            .what
            .contains("no ResourceQuota"));
        assert!(quota_with(json!({"hard": {"pods": "5"}}), json!({})).advice.is_empty());
    }

    #[test]
    fn a_network_policy_counts_where_it_selects_programs_and_is_about_whom_they_reach() {
        let labels = BTreeMap::from([("app.kubernetes.io/managed-by".to_string(), "abba".to_string())]);
        let has_one = |spec: Value| {
            let policy = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
            let finding = network(Ok(&[policy]), &labels);
            assert_eq!(finding.outcome, Outcome::Ok);
            assert_eq!(finding.what.contains("\"p\""), finding.advice.is_empty());
            finding.advice.is_empty()
        };
        let with = |selector: Value| has_one(json!({"podSelector": selector, "policyTypes": ["Ingress", "Egress"]}));
        let by = |operator: &str, values: &[&str]| {
            let key = "app.kubernetes.io/managed-by";
            with(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        assert!(with(json!({})) && with(json!({"matchLabels": labels})));
        assert!(!with(json!({"matchLabels": {"app": "other"}})));
        assert!(by("In", &["abba", "x"]) && by("Exists", &[]) && by("NotIn", &["x"]));
        assert!(!by("In", &["x"]) && !by("DoesNotExist", &[]) && !by("NotIn", &["abba"]) && !by("New", &[]));
        // The cluster adds labels of its own to the pod of a Job.
        assert!(with(
            json!({"matchExpressions": [{"key": "batch.kubernetes.io/job-name", "operator": "Exists"}]})
        ));
        assert!(!has_one(json!({"podSelector": {}, "policyTypes": ["Ingress"]})));
        assert!(!has_one(json!({"podSelector": {}})));
        assert!(has_one(json!({"podSelector": {}, "egress": [{}]})));
        let hidden = network(Err("Hidden.".into()), &labels);
        assert_eq!((hidden.outcome, hidden.what.as_str()), (Outcome::NotKnown, "Hidden."));
        assert!(!network(Ok(&[]), &labels).advice.is_empty());
    }

    #[test]
    fn a_quota_for_other_pods_does_not_count() {
        for (spec, outcome) in [
            (json!({"scopes": ["BestEffort"], "hard": {"pods": "0"}}), Outcome::Ok),
            (json!({"scopes": ["Terminating"], "hard": {"pods": "0"}}), Outcome::Ok),
            (
                json!({"scopes": ["NotTerminating", "NotBestEffort"], "hard": {"pods": "0"}}),
                Outcome::Problem,
            ),
            (
                json!({"scopeSelector": {"matchExpressions": []}, "hard": {"pods": "0"}}),
                Outcome::Ok,
            ),
        ] {
            assert_eq!(quota_with(spec.clone(), json!({})).outcome, outcome, "{spec}");
        }
    }

    #[test]
    fn what_a_job_template_adds_counts_against_quotas_and_limit_ranges() {
        let needs = with_template(json!({"containers": [
            {"resources": {"limits": {"cpu": "1", "memory": "512M"}, "requests": {"memory": "256M"}}},
            {"resources": {"limits": {"cpu": "500m", "nvidia.com/gpu": 1}}},
        ]}));
        let quota = |hard: Value| {
            let quota = serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).unwrap();
            super::quota(Ok(&[quota]), &needs, evidence(&nothing_tried()))
        };
        for hard in [
            json!({"limits.cpu": "1400m"}),
            json!({"requests.nvidia.com/gpu": "0"}),
            json!({"memory": "255M"}),
        ] {
            assert_eq!(quota(hard.clone()).outcome, Outcome::Problem, "{hard}");
        }
        for hard in [
            json!({"limits.cpu": "1500m"}),
            json!({"requests.memory": "256M"}),
            json!({"limits.memory": "512M"}),
        ] {
            assert_eq!(quota(hard.clone()).outcome, Outcome::Ok, "{hard}");
        }
        let range = |kind: &str, max: Value| {
            let range = serde_json::from_value(json!({"spec": {"limits": [{"type": kind, "max": max}]}})).unwrap();
            limit_range(Ok(&[range]), &needs, evidence(&nothing_tried())).outcome
        };
        assert_eq!(range("Container", json!({"cpu": "1"})), Outcome::Ok);
        assert_eq!(range("Pod", json!({"cpu": "1"})), Outcome::Problem);
    }

    #[test]
    fn a_limit_range_bounds_from_both_sides() {
        let outcome = |limits: Value| {
            let range: LimitRange =
                serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {"limits": limits}})).unwrap();
            let finding = limit_range(Ok(&[range]), &needs("1", "512M"), evidence(&nothing_tried()));
            (finding.outcome, finding.what)
        };
        for (expected, limits) in [
            (
                Outcome::Ok,
                json!([{"type": "Container", "max": {"cpu": "1", "memory": "512M"}}]),
            ),
            (Outcome::Problem, json!([{"type": "Container", "max": {"cpu": "999m"}}])),
            (Outcome::Problem, json!([{"type": "Pod", "max": {"memory": "256Mi"}}])),
            (
                Outcome::Problem,
                json!([{"type": "Container", "min": {"memory": "1Gi"}}]),
            ),
            (
                Outcome::Ok,
                json!([{"type": "Container", "min": {"memory": "512M"}, "default": {"cpu": "1m"}}]),
            ),
            (
                Outcome::Ok,
                json!([{"type": "PersistentVolumeClaim", "max": {"storage": "1"}}]),
            ),
            (Outcome::Ok, json!([])),
        ] {
            assert_eq!(outcome(limits.clone()).0, expected, "{limits}");
        }
        let (_, what) = outcome(json!([{"type": "Container", "max": {"cpu": "500m"}, "min": {"memory": "1Gi"}}]));
        assert_eq!(
            what,
            "No program can start: the LimitRange \"r\" allows at most 500m of cpu, and a program asks for 1; the LimitRange \"r\" allows at least 1Gi of memory, and a program asks for 512M."
        );
    }

    fn job(as_user: bool) -> Job {
        let mut job = Job::default();
        job.spec.template.spec.security_context = Some(crate::kubernetes::objects::PodSecurityContext {
            run_as_non_root: as_user.then_some(true),
            ..Default::default()
        });
        job
    }

    fn namespace(labels: Value) -> Namespace {
        serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap()
    }

    #[test]
    fn the_level_restricted_asks_for_a_user() {
        for (level, as_user, outcome) in [
            ("privileged", false, Outcome::Ok),
            ("baseline", false, Outcome::Ok),
            ("restricted", false, Outcome::Problem),
            ("restricted", true, Outcome::Ok),
            ("restrited", true, Outcome::Problem),
        ] {
            let namespace = namespace(json!({ENFORCED_LEVEL: level}));
            let storage = Storage::default();
            let finding = pod_security(Ok(&namespace), &job(as_user), &storage, evidence(&nothing_tried()));
            assert_eq!(finding.outcome, outcome, "{level} {as_user}");
        }
    }

    #[test]
    fn the_level_and_the_mounts_are_looked_at_together() {
        let own = [
            json!({"name": "a", "emptyDir": {}}),
            json!({"name": "b", "downwardAPI": {}}),
        ];
        let with = |volume: Value| {
            let volumes: Vec<Value> = own.iter().cloned().chain([volume]).collect();
            Storage::of(&json!({"spec": {"template": {"spec": {"volumes": volumes}}}}), false)
        };
        let nfs = with(json!({"name": "c", "nfs": {"server": "192.0.2.1", "path": "/s"}}));
        let claim = with(json!({"name": "c", "persistentVolumeClaim": {"claimName": "c"}}));
        let host = with(json!({"name": "c", "hostPath": {"path": "/"}}));
        let offered = Storage::of(&json!({}), true);
        for (level, storage, outcome) in [
            ("restricted", &nfs, Outcome::Problem),
            ("restricted", &offered, Outcome::Problem),
            ("restricted", &host, Outcome::Problem),
            ("restricted", &claim, Outcome::Ok),
            ("baseline", &nfs, Outcome::Ok),
            ("baseline", &offered, Outcome::Ok),
            ("baseline", &host, Outcome::Problem),
            ("privileged", &host, Outcome::Ok),
        ] {
            let namespace = namespace(json!({ENFORCED_LEVEL: level}));
            let finding = pod_security(Ok(&namespace), &job(true), storage, evidence(&nothing_tried()));
            assert_eq!(finding.outcome, outcome, "{level} {storage:?}");
            assert_eq!(finding.is_for_admin, outcome == Outcome::Problem);
            assert_eq!(
                finding.what.contains("never makes its pod"),
                outcome == Outcome::Problem
            );
        }
        // Where the level cannot be read the trial speaks, with the way out for mounts.
        let words = "violates PodSecurity \"restricted:latest\": restricted volume types";
        let finding = pod_security(Err("Hidden.".into()), &job(true), &nfs, evidence(&refused(words)));
        assert!(finding.outcome == Outcome::Problem && finding.advice.contains("PersistentVolumeClaim"));
    }

    #[test]
    fn where_the_level_cannot_be_read_the_trial_speaks() {
        let accepted = |warnings: &[&str]| DryRuns {
            job: DryRun::Accepted {
                warnings: warnings.iter().map(|text| (*text).to_string()).collect(),
                changes: Vec::new(),
            },
            ..nothing_tried()
        };
        let outcome = |trials: &DryRuns| {
            let hidden = pod_security(
                Err("Hidden.".into()),
                &job(false),
                &Storage::default(),
                evidence(trials),
            )
            .outcome;
            let unlabelled = namespace(json!({}));
            assert_eq!(
                pod_security(Ok(&unlabelled), &job(false), &Storage::default(), evidence(trials)).outcome,
                hidden
            );
            hidden
        };
        assert_eq!(outcome(&nothing_tried()), Outcome::NotKnown);
        assert_eq!(outcome(&accepted(&[])), Outcome::Ok);
        assert_eq!(outcome(&accepted(&["spec.x: deprecated"])), Outcome::Ok);
        // The level that is warned about may be a stricter one than the level that is enforced.
        assert_eq!(
            outcome(&accepted(&["would violate PodSecurity \"restricted:latest\""])),
            Outcome::NotKnown
        );
        assert_eq!(
            outcome(&refused("violates PodSecurity \"restricted:latest\"")),
            Outcome::Problem
        );
    }

    #[test]
    fn what_is_certain_goes_before_what_is_not() {
        let needs = needs("1", "512M");
        let full = refused("pods \"a\" is forbidden: exceeded quota: q");
        let open = DryRuns {
            pod: DryRun::Accepted {
                warnings: Vec::new(),
                changes: Vec::new(),
            },
            ..nothing_tried()
        };
        let hidden = || Err("Hidden.".to_string());
        assert_eq!(quota(Ok(&[]), &needs, evidence(&full)).outcome, Outcome::Problem);
        assert_eq!(quota(hidden(), &needs, evidence(&full)).outcome, Outcome::Problem);
        assert_eq!(quota(hidden(), &needs, evidence(&open)).outcome, Outcome::Ok);
        assert_eq!(limit_range(Ok(&[]), &needs, evidence(&full)).outcome, Outcome::Ok);
        let finding = quota(hidden(), &needs, evidence(&nothing_tried()));
        assert_eq!((finding.outcome, finding.what.as_str()), (Outcome::NotKnown, "Hidden."));
        let event = Event {
            message: "Error creating: pods \"a\" is forbidden: exceeded quota: q".into(),
            last_timestamp: Some("2026-01-01T00:00:00Z".into()),
            ..Default::default()
        };
        let trials = nothing_tried();
        let lately = Evidence {
            trials: &trials,
            refused_pods: &[event],
        };
        let finding = quota(hidden(), &needs, lately);
        assert_eq!(finding.outcome, Outcome::NotKnown);
        assert!(finding.what.contains("lately (2026-01-01T00:00:00Z)") && !finding.advice.is_empty());
        assert_eq!(limit_range(Err("Hidden.".into()), &needs, lately).what, "Hidden.");
    }
}
