//! Cancelling.

use super::super::answer::{ApiError, Reply};
use super::super::audit_log::AuditedJob;
#[cfg(test)]
use super::super::description::{Description, Schema, OF_JOBS};
use super::super::snapshot;
use super::{logged_ids, told_of_each, Answers, Asked, Call, EVERYBODY, JOBS_OR_BATCH};
use crate::gateway::Gateway;
use crate::operations::{self, Cancelled, JobSelector};

pub(super) const CANCEL_JOB: Call = Call {
    name: "cancel-job",
    methods: &["POST"],
    arguments: &[JOBS_OR_BATCH, &[EVERYBODY]],
    answers: Answers::Callers(cancel),
    #[cfg(test)]
    description: Description {
        id: "cancelJob",
        summary: "Cancel jobs, or a batch",
        text: "Ends programs that run, and keeps those that have not started from it. Logs are kept. A job that has ended stays as it is. To repeat the call is safe. Either `job_id` or `batch_id` is given.",
        requests: &[("job", "A job", r#"{"job_id": "test-program-fbc3131d-a850-4081-8224-c06ef32821da"}"#), ("batch", "A batch", r#"{"batch_id": "t_age-0d8f1c6e-7a52-4b39-9e04-c1d2b3a4f567"}"#)],
        answer: Schema::Many("CancelRow"),
        answer_text: "What was done.",
        examples: &[("one", "A program was ended", r#"[{"job_id": "test-program-fbc3131d-a850-4081-8224-c06ef32821da", "done": "stopped"}]"#)],
        ..OF_JOBS
    },
};

fn cancel(gateway: &Gateway, mut asked: Asked<'_>) -> Result<Reply, ApiError> {
    let everybody = asked.everybody()?;
    let which = asked.arguments.jobs_or_batch()?;
    let caller = asked.caller;
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let jobs = asked
            .seen(gateway, connection, &which, everybody)
            .map_err(|error| asked.not_in_cluster(gateway, connection, &which, everybody, error))?;
        asked
            .audit
            .intend(jobs.iter().map(|job| AuditedJob::seen(job, caller)))?;
        let outcomes = operations::cancel_as(
            &asked.own(connection),
            &JobSelector::Jobs(logged_ids(&jobs)),
            &caller.name,
        )
        .map_err(snapshot::in_words_for_callers)?;
        gateway.snapshots.cancelled(&caller.name, &outcomes);
        let outcomes = outcomes
            .into_iter()
            .map(|outcome| (outcome.job_id, outcome.done.map(Cancelled::name)));
        told_of_each(asked.audit, outcomes, logged_ids(&jobs))
    })
}

#[cfg(test)]
mod tests {
    use crate::gateway::fake_cluster::{server, PODS};
    use crate::transport::FailureKind;
    use serde_json::{json, Value};

    #[test]
    fn of_a_batch_that_two_use_each_gets_and_cancels_their_own() {
        let server = server();
        let (mine, theirs) = (server.submit("daemon", "shared"), server.submit("bin", "shared"));
        let (_, body) = server.get("daemon", "batch-status?batch_id=shared");
        assert_eq!(body["Pending"]["Jobs"], json!([{"id": mine, "path": "a.R"}]));
        server.cluster.start(&mine);
        server.cluster.start(&theirs);
        let (_, done) = server.post("daemon", "cancel-job", &json!({"batch_id": "shared"}), None);
        assert_eq!(done.as_array().unwrap().len(), 1);
        assert_eq!(done[0]["job_id"], mine.as_str());
        assert_eq!(
            (server.cluster.cancelled_by(&mine), server.cluster.cancelled_by(&theirs)),
            ("daemon".into(), Value::Null)
        );
    }

    #[test]
    fn what_could_not_be_cancelled_is_told_with_what_could() {
        let server = server();
        let (first, second) = (server.submit("daemon", "b"), server.submit("daemon", "b"));
        server.cluster.start(&first);
        server.cluster.start(&second);
        server
            .cluster
            .fails(&format!("PUT {PODS}/{second}"), FailureKind::Forbidden);
        let (status, body) = server.post("daemon", "cancel-job", &json!({"batch_id": "b"}), None);
        assert_eq!(status, 502);
        assert_eq!(
            body["done"],
            json!([{"job_id": first, "done": "stopped"}, {"job_id": second, "done": null}])
        );
        assert_eq!(body["message"], "The abba server lacks a right in the cluster.");
        for body in [
            json!({"job_id": first, "batch_id": "b"}),
            json!({}),
            json!({"job_id": []}),
        ] {
            assert_eq!(server.post("daemon", "cancel-job", &body, None).0, 400, "{body}");
        }
    }
}
