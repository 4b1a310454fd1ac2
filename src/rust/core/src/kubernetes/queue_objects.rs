//! The objects of Kueue, the queue for Jobs: only the fields that are used, named as in its API reference,
//! <https://kueue.sigs.k8s.io/docs/reference/>. They are read alone, and may lack any field.
// Each field is documented by the API reference under its own name.
#![allow(missing_docs)]

use serde::Deserialize;

use super::objects::Condition;

/// What Kueue keeps of a Job: how it stands in its queue.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Workload {
    pub spec: WorkloadSpec,
    pub status: WorkloadStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WorkloadSpec {
    /// `false`: it was given up.
    pub active: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    pub conditions: Vec<Condition>,
    pub admission_checks: Vec<AdmissionCheckState>,
    pub requeue_state: RequeueState,
}

/// A check of the cluster that a program has to pass before it starts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AdmissionCheckState {
    pub name: String,
    /// `Pending`, `Ready`, `Retry` or `Rejected`.
    pub state: String,
    pub message: String,
}

/// When a workload that was taken back may be tried again.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequeueState {
    pub requeue_at: Option<String>,
}

impl Workload {
    /// The condition of a type, if it holds (`True`) or does not (`False`) as asked.
    pub fn condition(&self, condition_type: &str, status: &str) -> Option<&Condition> {
        self.status
            .conditions
            .iter()
            .find(|condition| condition.condition_type == condition_type && condition.status == status)
    }
}

/// A queue of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LocalQueue {
    pub status: LocalQueueStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalQueueStatus {
    pub conditions: Vec<Condition>,
    pub pending_workloads: u64,
    pub admitted_workloads: u64,
    pub flavors_reservation: Vec<FlavorReservation>,
}

/// What is reserved of a kind of nodes: for each resource that the queue has a quota of, also where that is nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FlavorReservation {
    pub resources: Vec<ReservedResource>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReservedResource {
    pub name: String,
}

/// Those that wait in a queue, in their order.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PendingWorkloadsSummary {
    /// Required, so that another object is not taken for an empty queue.
    pub items: Vec<PendingWorkload>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingWorkload {
    pub metadata: PendingWorkloadMeta,
    /// Among all queues that share a quota; the first is 0.
    pub position_in_cluster_queue: u64,
    /// In the queue itself; the first is 0.
    pub position_in_local_queue: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingWorkloadMeta {
    pub owner_references: Vec<OwnerReference>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    pub kind: String,
    pub name: String,
}
