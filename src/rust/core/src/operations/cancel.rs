//! Cancelling jobs, so that what they have left stays.

use serde_json::{json, Value};

use super::observation::{Observed, UNTOUCHED};
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
    cancel_as(connection, which, &accounts::current_name())
}

/// The same in the name of `user`, which is noted with the job.
pub fn cancel_as(connection: &Connection<'_>, which: &Which, user: &str) -> Result<Vec<CancelOutcome>, Error> {
    let (api, observation) = connection.observe(which)?;
    let (transport, namespace) = (api.transport(), api.namespace());
    let jobs: Vec<(&str, Observed<'_>)> = observation.each().collect();
    let outcomes = side_by_side(&jobs, &connection.patience, |(job_id, observed), patience| {
        cancel_job(
            &Api::in_namespace(transport, namespace, *patience),
            patience,
            job_id,
            observed,
            user,
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
            Err(failure_words::error(&failure, doing, api.namespace(), patience)
                .meaning(UNTOUCHED)
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
    use super::*;

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
}
