//! Cancelling jobs, so that what they have left stays.

use serde_json::{json, Value};

use super::observation::Observed;
use super::side_by_side::side_by_side;
use super::{failure_words, Connection, Which};
use crate::domain::labels;
use crate::error::{Error, ErrorClass};
use crate::kubernetes::{Api, Resource};
use crate::local::accounts;
use crate::transport::{FailureKind, Patience};

/// What was done about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It was running (or about to) and is ended; its log is kept.
    Stopped,
    /// It had not started and will not.
    KeptFromStarting,
    /// It was cancelled before.
    AlreadyCancelled,
    /// It had ended by itself.
    AlreadyEnded,
}

impl Cancelled {
    /// In a user's words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::KeptFromStarting => "kept from starting",
            Self::AlreadyCancelled => "was cancelled before",
            Self::AlreadyEnded => "had ended",
        }
    }
}

/// One job and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelOutcome {
    /// The job.
    pub job_id: String,
    /// What was done, or why it could not be.
    pub done: Result<Cancelled, Error>,
}

/// Cancels jobs, several at once; each with what was done or why not, in order.
///
/// What has a node gets a time limit that is over: its node ends it, and pod and log stay (deleting or suspending the Job
/// would remove both). What has none has nothing to keep: its Job gets such a limit.
///
/// Errors: a job or the batch does not exist; the cluster cannot be asked.
pub fn cancel(connection: &Connection<'_>, which: &Which) -> Result<Vec<CancelOutcome>, Error> {
    let (api, observation) = connection.observe(which)?;
    let (transport, namespace) = (api.transport(), api.namespace());
    let user = accounts::current_name();
    let jobs: Vec<(&str, Observed<'_>)> = observation.each().collect();
    let outcomes = side_by_side(&jobs, &connection.patience, |(job_id, observed), patience| {
        cancel_job(
            &Api::in_namespace(transport, namespace, *patience),
            patience,
            job_id,
            observed,
            &user,
        )
    });
    let stopped = || Err(Error::new(ErrorClass::Interrupted, "Stopped before it was cancelled."));
    Ok(jobs
        .iter()
        .zip(outcomes)
        .map(|((job_id, _), outcome)| CancelOutcome {
            job_id: (*job_id).to_string(),
            done: outcome.unwrap_or_else(stopped),
        })
        .collect())
}

fn cancel_job(
    api: &Api<'_>,
    patience: &Patience<'_>,
    job_id: &str,
    observed: &Observed<'_>,
    user: &str,
) -> Result<Cancelled, Error> {
    let annotations = match observed {
        Observed::Pod(pod) => &pod.metadata.annotations,
        Observed::Job(job) => &job.metadata.annotations,
    };
    if annotations.contains_key(labels::CANCELLED) {
        return Ok(Cancelled::AlreadyCancelled);
    }
    // An unknown state may still be a running program.
    if matches!(observed.status().status.name(), "Succeeded" | "Failed") {
        return Ok(Cancelled::AlreadyEnded);
    }
    let change = |object: &mut Value| end_now(object, user);
    let (resource, name, done) = match observed {
        Observed::Pod(pod) if !pod.spec.node_name.is_empty() => {
            let done = match pod.has_started() {
                true => Cancelled::Stopped,
                false => Cancelled::KeptFromStarting,
            };
            (Resource::Pod, pod.metadata.name.as_str(), done)
        }
        _ => (Resource::Job, job_id, Cancelled::KeptFromStarting),
    };
    match api.update(resource, name, &change) {
        Ok(()) => Ok(done),
        // It went away in the meantime.
        Err(failure) if failure.kind == FailureKind::NotFound => Ok(Cancelled::AlreadyEnded),
        Err(failure) => {
            let doing = match resource {
                Resource::Pod => "change pods",
                Resource::Job => "change jobs",
            };
            let consequence = match failure.kind.leaves_outcome_open() {
                true => {
                    format!("Whether job \"{job_id}\" was cancelled is not known; to cancel it once more does no harm.")
                }
                false => format!("Job \"{job_id}\" was not cancelled."),
            };
            Err(failure_words::error(&failure, doing, api.namespace(), patience)
                .meaning(consequence)
                .about([job_id]))
        }
    }
}

/// Gives a Job or a pod a time limit that is over, and notes who did so.
fn end_now(object: &mut Value, user: &str) {
    object["spec"]["activeDeadlineSeconds"] = json!(1);
    object["metadata"]["annotations"][labels::CANCELLED] = json!(user);
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{
        ended, impatient, job, list, object, patient, pod, running, waiting, Answer, Scripted,
    };
    use super::*;
    use crate::transport::Verb;

    const POD: &str = "/pods/a-p";
    const JOB: &str = "/jobs/a";

    fn jobs(ids: &[&str]) -> Which {
        Which::Jobs(ids.iter().map(|id| (*id).to_string()).collect())
    }

    fn cancel_a(cluster: &Scripted) -> Result<Cancelled, Error> {
        let mut outcomes = cancel(&impatient(cluster), &jobs(&["a"])).unwrap();
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0).done
    }

    fn cluster_with(pod: &Value, answers: impl IntoIterator<Item = Answer>) -> Scripted {
        Scripted::new()
            .get(POD, [object(pod)])
            .get("/pods?", [list(1, [pod.clone()])])
            .on(Verb::Replace, POD, answers)
    }

    #[test]
    fn a_cancelled_object_says_by_whom_and_keeps_the_rest() {
        let mut object = json!({"metadata": {"name": "a", "annotations": {"x": "y"}}, "spec": {"nodeName": "n"}});
        end_now(&mut object, "mike");
        assert_eq!(
            object,
            json!({
                "metadata": {"name": "a", "annotations": {"x": "y", "abba/cancelled-by": "mike"}},
                "spec": {"nodeName": "n", "activeDeadlineSeconds": 1},
            })
        );
    }

    #[test]
    fn what_has_a_node_is_ended_there_and_what_has_none_by_its_job() {
        let cluster = cluster_with(&pod("a", 1, running()), [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::Stopped));
        let cluster = cluster_with(&pod("a", 1, waiting()), [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::KeptFromStarting));
        let sent = cluster.sent();
        assert_eq!(sent.len(), 1);
        assert!(sent[0].0.ends_with("/api/v1/namespaces/n/pods/a-p"));
        assert_eq!(sent[0].1["spec"]["activeDeadlineSeconds"], 1);

        let mut without_node = pod("a", 1, waiting());
        without_node["spec"]["nodeName"] = json!("");
        for pods in [vec![without_node], vec![]] {
            let cluster = Scripted::new()
                .get(JOB, [object(&job("a", 1))])
                .get("/pods?", [list(1, pods)])
                .get("/jobs?", [list(1, [job("a", 1)])])
                .on(Verb::Replace, JOB, [Answer::Echo]);
            assert_eq!(cancel_a(&cluster), Ok(Cancelled::KeptFromStarting));
            assert!(cluster.sent()[0].0.ends_with("/apis/batch/v1/namespaces/n/jobs/a"));
        }
    }

    #[test]
    fn what_has_ended_or_was_cancelled_is_left_alone() {
        let mut cancelled = pod("a", 1, running());
        cancelled["metadata"]["annotations"][labels::CANCELLED] = json!("mike");
        for (pod, done) in [
            (pod("a", 1, ended(0)), Cancelled::AlreadyEnded),
            (pod("a", 1, ended(1)), Cancelled::AlreadyEnded),
            (cancelled, Cancelled::AlreadyCancelled),
        ] {
            let cluster = cluster_with(&pod, [Answer::Echo]);
            assert_eq!(cancel_a(&cluster), Ok(done));
            assert!(cluster.sent().is_empty());
        }
    }

    #[test]
    fn a_change_that_somebody_else_was_faster_with_is_made_again_on_what_is_there_now() {
        let newer = {
            let mut newer = pod("a", 1, running());
            newer["metadata"]["resourceVersion"] = json!("2");
            newer
        };
        let cluster = Scripted::new()
            .get(POD, [object(&pod("a", 1, running())), object(&newer)])
            .get("/pods?", [list(1, [pod("a", 1, running())])])
            .on(Verb::Replace, POD, [Answer::Fails(FailureKind::Conflict), Answer::Echo]);
        let outcomes = cancel(&patient(&cluster), &jobs(&["a"])).unwrap();
        assert_eq!(outcomes[0].done, Ok(Cancelled::Stopped));
        assert_eq!(cluster.sent()[1].1["metadata"]["resourceVersion"], "2");
    }

    #[test]
    fn a_pod_that_went_away_meanwhile_had_ended() {
        let cluster = cluster_with(&pod("a", 1, running()), [Answer::Fails(FailureKind::NotFound)]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::AlreadyEnded));
    }

    #[test]
    fn an_error_says_what_became_of_this_job() {
        for (kind, words) in [
            (FailureKind::Forbidden, "\"a\" was not cancelled"),
            (FailureKind::Timeout, "is not known"),
            (FailureKind::KubectlDied, "is not known"),
        ] {
            let cluster = cluster_with(&pod("a", 1, running()), [Answer::Fails(kind)]);
            let error = cancel_a(&cluster).unwrap_err();
            assert!(error.consequence.unwrap().contains(words), "{kind:?}");
            assert_eq!(error.job_ids, ["a"]);
        }
    }

    #[test]
    fn each_of_many_jobs_has_its_own_outcome_in_the_order_asked_for() {
        let ids: Vec<String> = (0..50).map(|n| format!("j{n:02}")).collect();
        let cluster = Scripted::new()
            .get("/pods/j07-p", [Answer::Fails(FailureKind::Forbidden)])
            .get("/pods/", [object(&pod("x", 1, running()))])
            .get("/pods?", [list(1, ids.iter().rev().map(|id| pod(id, 1, running())))])
            .on(Verb::Replace, "/pods/", [Answer::Echo]);
        let outcomes = cancel(&impatient(&cluster), &Which::Jobs(ids.clone())).unwrap();
        let order: Vec<&String> = outcomes.iter().map(|outcome| &outcome.job_id).collect();
        assert_eq!(order, ids.iter().collect::<Vec<_>>());
        for outcome in &outcomes {
            assert_eq!(outcome.done.is_err(), outcome.job_id == "j07", "{}", outcome.job_id);
        }
        assert_eq!(cluster.sent().len(), 49);
    }
}
