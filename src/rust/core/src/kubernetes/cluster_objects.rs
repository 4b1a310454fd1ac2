//! The Kubernetes objects that say how a cluster and a namespace are set up: only the fields that are used, named as in the
//! API reference, <https://kubernetes.io/docs/reference/kubernetes-api/>. They are read alone, and may lack any field.
// Each field is documented by the API reference under its own name.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use serde::Deserialize;

use super::objects::{Condition, ObjectMeta};

/// The answer of `/version`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// As `v1.34.4`. Required, so that another program's answer is not taken for a version.
    pub git_version: String,
}

/// Who one is. <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/self-subject-review-v1/>
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct SelfSubjectReview {
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Required, so that another object is not taken for a review of nobody.
    pub status: SelfSubjectReviewStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SelfSubjectReviewStatus {
    pub user_info: UserInfo,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UserInfo {
    pub username: String,
}

/// What one may do in a namespace.
/// <https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-rules-review-v1/>
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SelfSubjectRulesReview {
    /// Required, so that another object is not taken for a review without any rights.
    pub status: SubjectRulesReviewStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubjectRulesReviewStatus {
    /// `null` where one may do nothing at all.
    pub resource_rules: Option<Vec<ResourceRule>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
}

/// Whether one may do one thing.
/// <https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/>
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SelfSubjectAccessReview {
    pub status: SubjectAccessReviewStatus,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SubjectAccessReviewStatus {
    pub allowed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    pub metadata: ForeignMeta,
    pub status: NamespaceStatus,
}

/// The metadata of a namespace or a node: its labels are not abba's, and are read all the same.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ForeignMeta {
    pub uid: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    pub phase: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ResourceQuota {
    pub metadata: ObjectMeta,
    pub spec: ResourceQuotaSpec,
    pub status: ResourceQuotaStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceQuotaSpec {
    pub hard: BTreeMap<String, String>,
    pub scopes: Vec<String>,
    pub scope_selector: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ResourceQuotaStatus {
    pub used: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LimitRange {
    pub metadata: ObjectMeta,
    pub spec: LimitRangeSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LimitRangeSpec {
    pub limits: Vec<LimitRangeItem>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitRangeItem {
    /// `Container`, `Pod` or `PersistentVolumeClaim`.
    #[serde(rename = "type")]
    pub limit_type: String,
    pub min: BTreeMap<String, String>,
    pub max: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NetworkPolicy {
    pub metadata: ObjectMeta,
    pub spec: NetworkPolicySpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicySpec {
    pub pod_selector: LabelSelector,
    pub policy_types: Option<Vec<String>>,
    pub egress: Option<Vec<serde_json::Value>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    pub match_labels: BTreeMap<String, String>,
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LabelSelectorRequirement {
    pub key: String,
    pub operator: String,
    pub values: Vec<String>,
}

impl NetworkPolicy {
    /// Whether it bounds whom the pod of a Job with these labels reaches.
    /// <https://kubernetes.io/docs/concepts/services-networking/network-policies/>
    pub fn bounds_egress_of(&self, labels: &BTreeMap<String, String>) -> bool {
        let is_about_egress = match &self.spec.policy_types {
            Some(types) => types.iter().any(|one| one == "Egress"),
            None => self.spec.egress.is_some(),
        };
        is_about_egress && self.spec.pod_selector.selects(labels)
    }
}

impl LabelSelector {
    /// Whether it selects the pod of a Job with these labels, to which the cluster adds some.
    fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        const ADDED: [&str; 4] = [
            "batch.kubernetes.io/controller-uid",
            "batch.kubernetes.io/job-name",
            "controller-uid",
            "job-name",
        ];
        let mut expressions = self.match_expressions.iter();
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && expressions.all(|wanted| {
                let value = labels.get(&wanted.key);
                let is_there = value.is_some() || ADDED.contains(&wanted.key.as_str());
                let is_listed = value.is_some_and(|value| wanted.values.contains(value));
                match wanted.operator.as_str() {
                    "In" => is_listed,
                    "NotIn" => !is_listed,
                    "Exists" => is_there,
                    "DoesNotExist" => !is_there,
                    _ => false,
                }
            })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: ForeignMeta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Taint {
    pub key: String,
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// What lets a pod onto a node with a taint; empty fields hold for all.
/// <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#scheduling>
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Toleration {
    pub key: String,
    /// `Equal`, as where it is empty, or `Exists`.
    pub operator: String,
    pub value: String,
    pub effect: String,
}

impl Toleration {
    /// Whether it lets a pod onto a node with this taint.
    pub fn covers(&self, taint: &Taint) -> bool {
        let is_meant = |field: &str, of_taint: &str| field.is_empty() || field == of_taint;
        is_meant(&self.effect, &taint.effect)
            && match self.operator.as_str() {
                "Exists" => is_meant(&self.key, &taint.key),
                _ => self.key == taint.key && self.value == taint.value,
            }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// What pods may use of the node.
    pub allocatable: BTreeMap<String, String>,
    pub conditions: Vec<Condition>,
}
