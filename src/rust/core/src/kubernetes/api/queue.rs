//! What Kueue tells of its queues. Each question is asked once: the answers make a reason clearer, and what asks for reasons
//! must not wait for a part of the cluster that is away.

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{encode, parse, Api};
use crate::kubernetes::objects::List;
use crate::kubernetes::queue_objects::{LocalQueue, PendingWorkload, PendingWorkloadsSummary, Workload};
use crate::transport::{Call, Failure, FailureKind};

/// The newest first; since Kueue 0.6 there is the second.
const VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];

/// How many of those that wait in a queue are asked for.
const MOST_PENDING: usize = 10_000;

impl Api<'_> {
    /// What Kueue keeps of the Job with this uid; `None` where it keeps nothing (yet).
    ///
    /// Errors: `NotFound`: the cluster has no Kueue.
    pub fn workload_of(&self, uid: Uuid) -> Result<Option<Workload>, Failure> {
        let selector = encode(&format!("kueue.x-k8s.io/job-uid={uid}"));
        let path = format!("workloads?labelSelector={selector}");
        let found: List<Workload> = self.ask_kueue("kueue.x-k8s.io", &path, |_| true)?;
        Ok(found.items.into_iter().next())
    }

    /// A queue of the namespace; `None` where there is no such queue.
    ///
    /// Errors: `NotFound`: the cluster has no Kueue.
    pub fn local_queue(&self, name: &str) -> Result<Option<LocalQueue>, Failure> {
        // The server's words for an object that is not there; without the API it names none.
        let named = format!("\"{name}\" not found");
        let lacks_api = |failure: &Failure| !failure.words.contains(&named);
        match self.ask_kueue("kueue.x-k8s.io", &format!("localqueues/{name}"), lacks_api) {
            Ok(queue) => Ok(Some(queue)),
            Err(failure) if failure.kind == FailureKind::NotFound && !lacks_api(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Those that wait in a queue of the namespace, in their order. Not every cluster with Kueue tells it.
    pub fn pending_workloads(&self, queue: &str) -> Result<Vec<PendingWorkload>, Failure> {
        let path = format!("localqueues/{queue}/pendingworkloads?limit={MOST_PENDING}");
        let summary: PendingWorkloadsSummary = self.ask_kueue("visibility.kueue.x-k8s.io", &path, |_| true)?;
        Ok(summary.items)
    }

    /// `lacks_api`: whether an answer that something is not there means the version of the API.
    fn ask_kueue<T: DeserializeOwned>(
        &self,
        group: &str,
        path: &str,
        lacks_api: impl Fn(&Failure) -> bool,
    ) -> Result<T, Failure> {
        let ask = |version: &str| {
            let call = Call::get(format!("/apis/{group}/{version}/namespaces/{}/{path}", self.namespace));
            let answer = self.transport.send(&call, &self.patience.deadline())?;
            parse(&call, &answer)
        };
        match ask(VERSIONS[0]) {
            Err(failure) if failure.kind == FailureKind::NotFound && lacks_api(&failure) => ask(VERSIONS[1]),
            outcome => outcome,
        }
    }
}
