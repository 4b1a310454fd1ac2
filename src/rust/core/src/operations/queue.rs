//! What is seen of Jobs that wait in queues.

use std::collections::HashMap;

use crate::domain::job_status;
use crate::domain::queue::{Place, QueueLook};
use crate::kubernetes::api::Stopped;
use crate::kubernetes::labels;
use crate::kubernetes::objects::Job;
use crate::kubernetes::queue_objects::PendingWorkload;
use crate::kubernetes::Api;
use crate::transport::FailureKind;

/// Looks at Jobs in their queues: at each queue once.
pub(super) struct Queues<'a> {
    api: &'a Api<'a>,
    pending: HashMap<String, Vec<PendingWorkload>>,
}

impl<'a> Queues<'a> {
    pub fn new(api: &'a Api<'a>) -> Self {
        Self {
            api,
            pending: HashMap::new(),
        }
    }

    /// How a Job without a pod stands in its queue. Nothing is asked about one that waits in none; what cannot be had is not
    /// known, since it only makes a reason clearer.
    pub fn look(&mut self, job: &Job) -> Result<QueueLook, Stopped> {
        let waits = job.spec.suspend == Some(true) && !job_status::is_cancelled(&job.metadata);
        let (queue, uid) = match (job.metadata.labels.get(labels::QUEUE), job.metadata.uid) {
            (Some(queue), Some(uid)) if waits => (queue, uid),
            _ => return Ok(QueueLook::NotKnown),
        };
        let workload = match self.api.workload_of(uid) {
            Ok(Some(workload)) => workload,
            Ok(None) => {
                return match self.api.local_queue(queue) {
                    Ok(None) => Ok(QueueLook::NoSuchQueue),
                    Err(failure) if failure.kind == FailureKind::Interrupted => Err(Stopped),
                    _ => Ok(QueueLook::NotTakenUp),
                }
            }
            Err(failure) if failure.kind == FailureKind::Interrupted => return Err(Stopped),
            Err(failure) if failure.kind == FailureKind::NotFound => return Ok(QueueLook::NoKueue),
            Err(_) => return Ok(QueueLook::NotKnown),
        };
        let place = match workload.condition("QuotaReserved", "True") {
            Some(_) => None,
            None => Place::of_job(&job.metadata.name, self.pending(queue)?),
        };
        Ok(QueueLook::Queued { workload, place })
    }

    fn pending(&mut self, queue: &str) -> Result<&[PendingWorkload], Stopped> {
        if !self.pending.contains_key(queue) {
            let found = match self.api.pending_workloads(queue) {
                Ok(found) => found,
                Err(failure) if failure.kind == FailureKind::Interrupted => return Err(Stopped),
                Err(_) => Vec::new(),
            };
            self.pending.insert(queue.to_string(), found);
        }
        Ok(self.pending.get(queue).map_or(&[], Vec::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{job, list, object, patient, Answer, Scripted};
    use super::super::{explain, obstacles, JobSelector};
    use super::*;
    use serde_json::{json, Value};

    const WORKLOADS: &str =
        "kueue.x-k8s.io/v1beta2/namespaces/n/workloads?labelSelector=kueue.x-k8s.io%2Fjob-uid%3D2de21646-617f-4573-bd5c-73119c72524a";
    const PENDING: &str = "/localqueues/team/pendingworkloads";

    fn held(id: &str) -> Value {
        let mut held = job(id, 1);
        held["metadata"]["uid"] = json!("2de21646-617f-4573-bd5c-73119c72524a");
        held["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = json!("team");
        held["spec"] = json!({"suspend": true});
        held
    }

    /// As Kueue 0.17 wrote it.
    fn waiting() -> Value {
        json!({"metadata": {"name": "job-a-022d4", "labels": {"kueue.x-k8s.io/job-uid": "2de21646-617f-4573-bd5c-73119c72524a"}},
            "spec": {"active": true, "priority": 0, "queueName": "team"},
            "status": {"conditions": [{"lastTransitionTime": "2026-11-27T08:46:50Z",
                "message": "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor kq, 100m more needed",
                "observedGeneration": 1, "reason": "Pending", "status": "False", "type": "QuotaReserved"}],
                "resourceRequests": [{"name": "main", "resources": {"cpu": "100m", "memory": "50Mi"}}]}})
    }

    fn cluster() -> Scripted {
        Scripted::new()
            .get("/events", [list(1, [])])
            .get("/pods", [list(1, [])])
            .get("/batch/v1/", [list(1, [held("a")])])
    }

    fn reason(cluster: &Scripted) -> String {
        explain(&patient(cluster), "a").unwrap().record.reason.unwrap()
    }

    #[test]
    fn a_job_in_a_queue_is_explained_with_its_place_and_with_less_where_that_may_not_be_seen() {
        let place = json!({"kind": "PendingWorkloadsSummary", "items": [
            {"metadata": {"ownerReferences": [{"kind": "Job", "name": "b"}]}, "positionInLocalQueue": 0},
            {"metadata": {"ownerReferences": [{"kind": "Job", "name": "a"}]}, "positionInClusterQueue": 1,
             "positionInLocalQueue": 1},
        ]});
        let whole = cluster()
            .get(WORKLOADS, [list(1, [waiting()])])
            .get(PENDING, [object(&place)]);
        assert_eq!(
            reason(&whole),
            "The program waits in the queue \"team\" at place 2 of 2: the queue has not enough processor cores left."
        );
        let refused = || [Answer::Fails(FailureKind::Forbidden)];
        let less = cluster().get(WORKLOADS, [list(1, [waiting()])]).get(PENDING, refused());
        assert_eq!(
            reason(&less),
            "The program waits in the queue \"team\": the queue has not enough processor cores left."
        );
        // What is away for a moment is not asked for again.
        let away = cluster()
            .get(WORKLOADS, [list(1, [waiting()])])
            .get(PENDING, [Answer::Fails(FailureKind::Server)]);
        assert!(reason(&away).contains("not enough processor cores"));
        assert_eq!(away.paths(PENDING).len(), 1);
        let least = cluster().get(WORKLOADS, refused());
        assert_eq!(reason(&least), "The program waits in the queue \"team\".");
        let untouched = cluster()
            .get(WORKLOADS, [list(1, [])])
            .get("/localqueues/team", [object(&json!({"status": {}}))]);
        assert!(reason(&untouched).contains("has not taken notice of it yet"));
        let missing = || [Answer::Fails(FailureKind::NotFound)];
        let old = cluster()
            .get("kueue.x-k8s.io/v1beta2/", missing())
            .get("kueue.x-k8s.io/v1beta1/namespaces/n/workloads", [list(1, [waiting()])])
            .get(PENDING, missing());
        assert!(reason(&old).contains("not enough processor cores"));
        let none = cluster().get("kueue.x-k8s.io/", missing());
        assert!(reason(&none).contains("the cluster has no Kueue"));
    }

    #[test]
    fn those_who_wait_for_a_queued_job_are_told_the_same() {
        let cluster = cluster()
            .get(WORKLOADS, [list(1, [waiting()])])
            .get(PENDING, [Answer::Fails(FailureKind::Forbidden)]);
        let found = obstacles(&patient(&cluster), &JobSelector::Jobs(vec!["a".into()])).unwrap();
        assert_eq!(
            found["a"].what,
            "The program waits in the queue \"team\": the queue has not enough processor cores left."
        );
    }
}
