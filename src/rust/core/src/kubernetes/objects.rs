//! The Kubernetes objects that abba writes and reads: only the fields it uses, named as in the API reference,
//! <https://kubernetes.io/docs/reference/kubernetes-api/>.
//!
//! What is written is checked by the API server itself, which refuses an unknown field (`fieldValidation=Strict`). What
//! is read may lack any field; and what nobody asks for is passed over, because ten thousand objects are read at once.
// Each field is documented by the API reference under its own name.
#![allow(missing_docs)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::kubernetes::{labels, time};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Of an object that is read, abba's own alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "abbas_own")]
    pub labels: BTreeMap<String, String>,
    /// The same, without the program that a pod carries.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "abbas_own")]
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339, whole seconds, UTC: so their order as text is their order in time.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "text_or_null")]
    pub creation_timestamp: String,
    /// When somebody has asked for its deletion.
    #[serde(skip_serializing)]
    pub deletion_timestamp: Option<String>,
    /// How often the spec was changed, and one.
    #[serde(skip_serializing)]
    pub generation: u64,
    /// Kubernetes' own name for this very object, which no other ever has.
    #[serde(skip_serializing, deserialize_with = "uid")]
    pub uid: Option<Uuid>,
}

impl ObjectMeta {
    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Job {
    pub api_version: String,
    pub kind: String,
    pub metadata: ObjectMeta,
    pub spec: JobSpec,
    #[serde(skip_serializing)]
    pub status: JobStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    pub backoff_limit: u32,
    pub ttl_seconds_after_finished: u32,
    /// Whether a queue holds the Job back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    pub template: PodTemplateSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    pub conditions: Vec<Condition>,
    /// How many of its pods run and are ready.
    #[serde(deserialize_with = "number_or_null")]
    pub ready: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplateSpec {
    #[serde(skip_deserializing)]
    pub metadata: ObjectMeta,
    pub spec: PodSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub restart_policy: String,
    pub automount_service_account_token: bool,
    pub enable_service_links: bool,
    pub share_process_namespace: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_deadline_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurityContext>,
    pub containers: Vec<Container>,
    #[serde(skip_serializing_if = "Vec::is_empty", skip_deserializing)]
    pub volumes: Vec<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurityContext {
    pub seccomp_profile: SeccompProfile,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_non_root: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supplemental_groups: Vec<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeccompProfile {
    #[serde(rename = "type")]
    pub profile_type: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub name: String,
    pub image: String,
    #[serde(skip_deserializing)]
    pub command: Vec<String>,
    #[serde(skip_deserializing)]
    pub env: Vec<EnvVar>,
    pub resources: ResourceRequirements,
    pub security_context: SecurityContext,
    #[serde(skip_serializing_if = "Vec::is_empty", skip_deserializing)]
    pub volume_mounts: Vec<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvVar {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceRequirements {
    pub limits: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", skip_deserializing)]
    pub requests: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityContext {
    pub allow_privilege_escalation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    pub drop: Vec<String>,
}

/// Reads the labels or annotations that are abba's own, and passes over the rest and the programs, which nobody reads back.
fn abbas_own<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Own;
    impl<'de> Visitor<'de> for Own {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("labels or annotations")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut own = BTreeMap::new();
            while let Some(name) = map.next_key::<Cow<'_, str>>()? {
                if labels::is_read_back(&name) {
                    own.insert(name.into_owned(), map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(own)
        }
    }
    deserializer.deserialize_map(Own)
}

/// Reads a list and gives back the room for more that it was read with: there is room for four at once, and nearly every
/// pod has one container. For ten thousand pods that room was 12 of 64 MiB.
fn without_spare_room<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let mut items = Vec::deserialize(deserializer)?;
    items.shrink_to_fit();
    Ok(items)
}

/// A pod as it is observed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    pub metadata: ObjectMeta,
    pub spec: ObservedPodSpec,
    pub status: PodStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObservedPodSpec {
    pub node_name: String,
    pub active_deadline_seconds: Option<u64>,
    #[serde(deserialize_with = "without_spare_room")]
    pub containers: Vec<ObservedContainer>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ObservedContainer {
    pub name: String,
    pub image: String,
    pub resources: ResourceRequirements,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: String,
    pub reason: String,
    pub message: String,
    /// When the node took the pod, from which its time limit counts; empty before.
    #[serde(deserialize_with = "text_or_null")]
    pub start_time: String,
    #[serde(deserialize_with = "without_spare_room")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "without_spare_room")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Those that others put before the program: abba makes none.
    #[serde(deserialize_with = "without_spare_room")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Those that somebody added with `kubectl debug`.
    #[serde(deserialize_with = "without_spare_room")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub condition_type: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    #[serde(deserialize_with = "text_or_null")]
    pub last_transition_time: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    pub image: String,
    /// The image with its digest, once it was pulled.
    #[serde(rename = "imageID")]
    pub image_id: String,
    pub state: ContainerState,
    /// How the container before it ended, or stood, where the node has made one anew.
    pub last_state: ContainerState,
    /// How often the node has made one anew, whether or not the one before had started.
    pub restart_count: u32,
    /// Of an init container: it runs beside the program (`restartPolicy: Always`) and has begun to.
    pub started: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    pub waiting: Option<ContainerStateWaiting>,
    pub running: Option<ContainerStateRunning>,
    pub terminated: Option<ContainerStateTerminated>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ContainerStateWaiting {
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStateRunning {
    #[serde(deserialize_with = "text_or_null")]
    pub started_at: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStateTerminated {
    pub exit_code: i32,
    pub reason: String,
    /// The node's words, and after a colon those that the container wrote into its termination message.
    message: String,
    /// `null` where the container never started.
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
}

impl ContainerStateTerminated {
    /// How the note begins that R leaves in the termination message. A number follows: that of its form.
    const NOTE: &str = "abba-session ";

    /// What the node and the container say of its end, without R's note.
    pub fn words(&self) -> &str {
        let end = self.message.find(Self::NOTE).unwrap_or(self.message.len());
        let words = &self.message[..end];
        words.strip_suffix(": ").unwrap_or(words)
    }

    /// What R noted as it ended, without the line that says that it is a note of this form; `None` where it noted nothing.
    pub fn note(&self) -> Option<&str> {
        let note = &self.message[self.message.find(Self::NOTE)?..];
        let (head, note) = note.split_once('\n')?;
        (head.strip_prefix(Self::NOTE) == Some("1")).then_some(note)
    }
}

/// An event as `kubectl describe` shows it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    pub reason: String,
    pub message: String,
    #[serde(rename = "type")]
    pub event_type: String,
    /// `null` in events of the newer API.
    pub last_timestamp: Option<String>,
    /// What events of the newer API have in its place, with fractions of a second.
    pub event_time: Option<String>,
    pub count: Option<u32>,
}

impl Event {
    /// When it was seen last: RFC 3339 in UTC with whole seconds, or empty.
    pub fn time(&self) -> String {
        let time = self
            .last_timestamp
            .as_deref()
            .or(self.event_time.as_deref())
            .unwrap_or_default();
        time::parse(time).map_or_else(|| time.to_string(), time::whole_seconds)
    }
}

/// An object's name, creation time and generation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Named {
    pub metadata: Name,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Name {
    pub name: String,
    #[serde(deserialize_with = "text_or_null")]
    pub creation_timestamp: String,
    pub generation: u64,
}

/// The answer to a LIST.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct List<T> {
    #[serde(default)]
    pub metadata: ListMeta,
    /// Required, so that what is no list at all is not taken for an empty one.
    pub items: Vec<T>,
}

/// The metadata of a list or a bookmark.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    pub resource_version: String,
    /// Of a list that was read in part: where the rest begins.
    #[serde(rename = "continue")]
    pub continues_at: String,
}

/// One line of a watch:
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    tag = "type",
    content = "object",
    rename_all = "UPPERCASE",
    bound = "T: DeserializeOwned"
)]
pub enum WatchEvent<T> {
    Added(Changed<T>),
    Modified(Changed<T>),
    Deleted(Changed<T>),
    /// Says how far the stream has come.
    Bookmark(Bookmark),
    /// The stream cannot go on.
    Error(WatchError),
}

/// Why a watch cannot go on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WatchError {
    /// The HTTP status; 410: the moment from which on it was wanted is too long ago.
    pub code: u16,
}

/// An object after a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed<T> {
    /// The moment of the change. The object has none: of ten thousand in a list nobody asks for it.
    pub resource_version: String,
    pub object: T,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Changed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let resource_version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        Ok(Self {
            resource_version: resource_version.to_string(),
            object: T::deserialize(object).map_err(serde::de::Error::custom)?,
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Bookmark {
    pub metadata: ListMeta,
}

/// Reads a time that is not set: servers before Kubernetes 1.34 write `"creationTimestamp": null` into the template of
/// every Job (Go's `omitempty` does not leave out a zero `metav1.Time`).
fn text_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a number that may be `null`.
fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a uid, which is a UUID as Kubernetes makes it.
fn uid<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    let text: Option<Cow<'_, str>> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| Uuid::try_parse(&text).ok()))
}

/// The name of the one container of a Job's pod.
pub const PROGRAM_CONTAINER: &str = "program";

impl Pod {
    /// The state of the container that runs the program, once the node has reported one.
    pub fn program_container(&self) -> Option<&ContainerStatus> {
        self.status
            .container_statuses
            .iter()
            .find(|container| container.name == PROGRAM_CONTAINER)
    }

    /// How the program's container ended, once it has.
    pub fn terminated(&self) -> Option<&ContainerStateTerminated> {
        self.program_container()?.state.terminated.as_ref()
    }

    /// A container of others that runs although the program has ended: the pod stays as long as it does.
    pub fn kept_by(&self) -> Option<&ContainerStatus> {
        self.terminated()?;
        let status = &self.status;
        status
            .container_statuses
            .iter()
            .chain(&status.ephemeral_container_statuses)
            .chain(&status.init_container_statuses)
            .find(|container| container.name != PROGRAM_CONTAINER && container.state.running.is_some())
    }

    /// Whether the program's container has ever started, so that there can be a log.
    pub fn has_started(&self) -> bool {
        let Some(container) = self.program_container() else {
            return false;
        };
        if container.state.running.is_some() {
            return true;
        }
        // A container that could not be started is "terminated" too, with StartError or ContainerCannotRun and the
        // epoch or nothing as its start.
        container.state.terminated.as_ref().is_some_and(|terminated| {
            !matches!(
                terminated.reason.as_str(),
                "StartError" | "ContainerCannotRun" | "ContainerStatusUnknown"
            )
        })
    }

    /// The value of a condition (`"True"`, `"False"`, `"Unknown"`), if the pod has it.
    pub fn condition(&self, condition_type: &str) -> Option<&Condition> {
        find_condition(&self.status.conditions, condition_type)
    }

    /// The container that runs the program, as it was asked for.
    pub fn program_spec(&self) -> Option<&ObservedContainer> {
        self.spec
            .containers
            .iter()
            .find(|container| container.name == PROGRAM_CONTAINER)
    }

    /// When the program began to run, RFC 3339.
    pub fn started_at(&self) -> Option<&str> {
        let state = &self.program_container()?.state;
        match (&state.running, &state.terminated) {
            (Some(running), _) => Some(running.started_at.as_str()),
            (None, Some(terminated)) if self.has_started() => terminated.started_at.as_deref(),
            _ => None,
        }
    }

    /// The id of the job that the pod belongs to.
    pub fn job_id(&self) -> Option<&str> {
        self.metadata.labels.get(labels::JOB_ID).map(String::as_str)
    }
}

impl Job {
    /// A condition that holds (`status` is `"True"`).
    pub fn holds(&self, condition_type: &str) -> Option<&Condition> {
        find_condition(&self.status.conditions, condition_type).filter(|condition| condition.status == "True")
    }

    /// Whether the Job was suspended before and goes on, or went on and has ended: it keeps that condition.
    pub fn was_resumed(&self) -> bool {
        find_condition(&self.status.conditions, "Suspended")
            .is_some_and(|condition| condition.status == "False" && condition.reason == "JobResumed")
    }
}

fn find_condition<'a>(conditions: &'a [Condition], condition_type: &str) -> Option<&'a Condition> {
    conditions
        .iter()
        .find(|condition| condition.condition_type == condition_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_time_that_is_not_set_may_be_null() {
        let job: Job = serde_json::from_value(json!({
            "metadata": {"name": "a-1", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"template": {"metadata": {"creationTimestamp": null}, "spec": {"containers": []}}},
        }))
        .unwrap();
        assert_eq!(job.metadata.creation_timestamp, "2026-01-01T00:00:00Z");
        assert_eq!(job.spec.template.metadata.creation_timestamp, "");
        let state: ContainerState = serde_json::from_value(json!({"running": {"startedAt": null}})).unwrap();
        assert_eq!(state.running.unwrap().started_at, "");
    }

    #[test]
    fn an_event_of_either_api_has_a_time_in_whole_seconds() {
        for (event, time) in [
            (
                json!({"lastTimestamp": "2026-01-01T00:00:03Z", "eventTime": null}),
                "2026-01-01T00:00:03Z",
            ),
            (
                json!({"lastTimestamp": null, "eventTime": "2026-01-01T00:00:02.512345Z"}),
                "2026-01-01T00:00:02Z",
            ),
            (json!({}), ""),
        ] {
            assert_eq!(serde_json::from_value::<Event>(event).unwrap().time(), time);
        }
    }

    #[test]
    fn a_pod_takes_no_more_room_than_it_needs() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"containers": [{}]},
            "status": {"conditions": [{}, {}, {}, {}, {}], "containerStatuses": [{}]},
        }))
        .unwrap();
        let (spec, status) = (pod.spec, pod.status);
        assert_eq!(
            (
                spec.containers.capacity(),
                status.conditions.capacity(),
                status.container_statuses.capacity()
            ),
            (1, 5, 1)
        );
        assert!(serde_json::from_value::<Pod>(json!({"status": {"conditions": 1}})).is_err());
    }

    #[test]
    fn of_a_pod_the_program_is_passed_over() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "a",
                "labels": {"abba/job-id": "b", "job-name": "b"},
                "annotations": {"abba/program-path": "/é.R", "abba/program-text": "x", "other": "y"},
            },
        }))
        .unwrap();
        assert_eq!(pod.job_id(), Some("b"));
        assert_eq!(pod.metadata.labels.len(), 1);
        let annotations: Vec<(&str, &str)> = pod.metadata.annotations.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(annotations, [("abba/program-path", "/é.R")]);
    }
}
