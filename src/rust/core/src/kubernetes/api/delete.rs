//! Deleting a Job that was seen, and no other of its name.

use serde::Deserialize;
use serde_json::{json, Value};

use super::attempts::{Attempts, LONGEST_PAUSE};
use super::{garbage, Api};
use crate::kubernetes::objects::Job;
use crate::transport::{Call, Failure, FailureKind};

/// What became of a Job that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is deleted, or on its way out.
    Deleted,
    /// There is none of this name, or it is not as it was seen.
    NotAsSeen {
        /// Whether an attempt whose answer was lost may have deleted the one that was seen.
        may_be_ours: bool,
    },
}

/// A delete that did not succeed.
#[derive(Debug)]
pub struct DeleteFailure {
    /// The last failure.
    pub failure: Failure,
    /// Whether the Job may be deleted all the same.
    pub may_be_deleted: bool,
}

impl Api<'_> {
    /// Deletes a Job and, in the background, its pods. It is read first, and `is_as_seen` says whether it is still the one
    /// that is meant; each attempt holds for the Job as it was read then, so an attempt that arrives late deletes no other.
    ///
    /// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/delete-options/>
    pub fn delete_job(&self, name: &str, is_as_seen: &dyn Fn(&Job) -> bool) -> Result<Deletion, DeleteFailure> {
        let path = format!("{}/{name}", self.jobs());
        let deadline = self.patience.deadline();
        let mut attempts = Attempts::new(self.transport, deadline, LONGEST_PAUSE);
        let mut may_be_ours = false;
        loop {
            let failed = |failure| DeleteFailure {
                failure,
                may_be_deleted: may_be_ours,
            };
            let job = match self.read::<Value>(&Call::get(&path)) {
                Ok(job) if Job::deserialize(&job).is_ok_and(|job| is_as_seen(&job)) => job,
                Ok(_) => return Ok(Deletion::NotAsSeen { may_be_ours }),
                Err(failure) if failure.kind == FailureKind::NotFound => {
                    return Ok(Deletion::NotAsSeen { may_be_ours })
                }
                Err(failure) => return Err(failed(failure)),
            };
            let options = json!({
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "propagationPolicy": "Background",
                "preconditions": {
                    "uid": job["metadata"]["uid"],
                    "resourceVersion": job["metadata"]["resourceVersion"],
                },
            });
            let call = Call::delete(&path, &options);
            // The first attempt leaves time to find out what became of it.
            let attempt = if may_be_ours { deadline } else { deadline.fraction(0.5) };
            let failure = match self.transport.send(&call, &attempt) {
                Ok(answer) if is_consent(&answer) => return Ok(Deletion::Deleted),
                Ok(_) => garbage(&call, "The answer does not say that the job is deleted.".into()),
                Err(failure) => failure,
            };
            if failure.kind == FailureKind::NotFound {
                return Ok(Deletion::NotAsSeen { may_be_ours });
            }
            may_be_ours |= failure.kind.leaves_outcome_open();
            let is_worth_a_look = failure.kind == FailureKind::Conflict
                || failure.kind.is_transient()
                || failure.kind.leaves_outcome_open();
            let failure = match failure.kind {
                FailureKind::Interrupted => failure,
                _ if is_worth_a_look => match attempts.wait_after(failure) {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
                _ => failure,
            };
            return Err(DeleteFailure {
                failure,
                may_be_deleted: may_be_ours,
            });
        }
    }
}

/// Whether an answer is the API server's consent to a delete: a success, or the Job, which goes when all who have to be
/// asked have agreed.
fn is_consent(answer: &[u8]) -> bool {
    serde_json::from_slice::<Value>(answer).is_ok_and(|answer| match answer["kind"].as_str() {
        Some("Status") => answer["status"] == "Success",
        kind => kind == Some("Job"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::attempts::FURTHER_ATTEMPTS;
    use super::super::scripted::{api, failure, Script};
    use super::*;
    use crate::transport::Verb;

    const FIRST: &str = "00000000-0000-4000-8000-000000000001";
    const OTHER: &str = "00000000-0000-4000-8000-000000000002";

    type Answer = Result<Vec<u8>, Failure>;

    fn job(uid: &str, version: &str) -> Answer {
        let job = json!({"kind": "Job", "metadata": {"name": "a-1", "uid": uid, "resourceVersion": version}});
        Ok(job.to_string().into_bytes())
    }

    fn consent() -> Answer {
        Ok(br#"{"kind": "Status", "status": "Success"}"#.to_vec())
    }

    fn delete(script: &Script) -> Result<Deletion, DeleteFailure> {
        let is_as_seen = |job: &Job| job.metadata.uid.is_some_and(|uid| uid.to_string() == FIRST);
        api(script).delete_job("a-1", &is_as_seen)
    }

    fn preconditions(script: &Script) -> Vec<Value> {
        let calls = script.calls.lock().unwrap();
        let deletes = calls.iter().filter(|call| call.verb == Verb::Delete);
        deletes
            .map(|call| serde_json::from_slice::<Value>(call.body.as_ref().unwrap()).unwrap()["preconditions"].clone())
            .collect()
    }

    #[test]
    fn the_very_job_that_was_read_is_deleted_with_its_pods() {
        let script = Script::new([job(FIRST, "7"), consent()]);
        assert_eq!(delete(&script).unwrap(), Deletion::Deleted);
        let calls = script.calls.lock().unwrap();
        assert_eq!(calls[1].request_line(), "DELETE /apis/batch/v1/namespaces/n/jobs/a-1");
        let options: Value = serde_json::from_slice(calls[1].body.as_ref().unwrap()).unwrap();
        assert_eq!(
            options,
            json!({
                "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
                "preconditions": {"uid": FIRST, "resourceVersion": "7"},
            })
        );
    }

    #[test]
    fn one_that_was_created_anew_is_left_alone() {
        let script = Script::new([job(OTHER, "7")]);
        assert_eq!(delete(&script).unwrap(), Deletion::NotAsSeen { may_be_ours: false });
        // Also after an attempt that was lost: this one deleted the first, and somebody has made another since.
        let script = Script::new([job(FIRST, "7"), failure(FailureKind::Timeout), job(OTHER, "9")]);
        assert_eq!(delete(&script).unwrap(), Deletion::NotAsSeen { may_be_ours: true });
        assert_eq!(script.verbs(), [Verb::Get, Verb::Delete, Verb::Get]);
    }

    #[test]
    fn a_lost_answer_is_made_up_for_by_a_look() {
        for lost in [
            failure(FailureKind::Unreachable),
            failure(FailureKind::Timeout),
            failure(FailureKind::Page),
            Ok(b"<html>".to_vec()),
        ] {
            let script = Script::new([job(FIRST, "7"), lost.clone(), failure(FailureKind::NotFound)]);
            assert_eq!(
                delete(&script).unwrap(),
                Deletion::NotAsSeen { may_be_ours: true },
                "{lost:?}"
            );
            // It had not arrived.
            let script = Script::new([job(FIRST, "7"), lost, job(FIRST, "7"), consent()]);
            assert_eq!(delete(&script).unwrap(), Deletion::Deleted);
        }
    }

    #[test]
    fn a_job_that_changes_meanwhile_is_read_anew() {
        let script = Script::new([
            job(FIRST, "7"),
            failure(FailureKind::Conflict),
            job(FIRST, "8"),
            consent(),
        ]);
        assert_eq!(delete(&script).unwrap(), Deletion::Deleted);
        assert_eq!(
            preconditions(&script),
            [
                json!({"uid": FIRST, "resourceVersion": "7"}),
                json!({"uid": FIRST, "resourceVersion": "8"})
            ]
        );
    }

    #[test]
    fn a_refusal_is_final_and_an_outage_says_that_the_job_may_be_gone() {
        let script = Script::new([job(FIRST, "7"), failure(FailureKind::Forbidden)]);
        let failed = delete(&script).unwrap_err();
        assert_eq!(
            (failed.failure.kind, failed.may_be_deleted),
            (FailureKind::Forbidden, false)
        );
        let script =
            Script::new((0..=FURTHER_ATTEMPTS).flat_map(|_| [job(FIRST, "7"), failure(FailureKind::Unreachable)]));
        assert!(delete(&script).unwrap_err().may_be_deleted);
        let script = Script::new([job(FIRST, "7"), failure(FailureKind::Interrupted)]);
        assert!(delete(&script).unwrap_err().may_be_deleted);
        // Nothing was delivered.
        let script = Script::new((0..=FURTHER_ATTEMPTS).flat_map(|_| [job(FIRST, "7"), failure(FailureKind::Refused)]));
        assert!(!delete(&script).unwrap_err().may_be_deleted);
    }
}
