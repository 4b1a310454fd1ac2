//! Why a job failed or waits.

use super::super::answer::{self, ApiError, Reply};
#[cfg(test)]
use super::super::description::{Description, Schema, OF_JOBS};
use super::super::{archive, snapshot};
use super::{owner_or_user, Answers, Argument, Asked, Call, Kind, JOB_IDS};
use crate::gateway::Gateway;
use crate::operations;
use crate::Error;

pub(super) const EXPLAIN_JOB: Call = Call {
    name: "explain-job",
    methods: &["GET"],
    arguments: &[&[Argument {
        kind: Kind::Id,
        doc: "The job. `id` is a synonym.",
        ..JOB_IDS
    }]],
    answers: Answers::Callers(explain),
    #[cfg(test)]
    description: Description {
        id: "explainJob",
        summary: "Why a job failed or waits",
        answer: Schema::One("Explanation"),
        answer_text: "All that is known of the job.",
        examples: &[(
            "failed",
            "A job that failed",
            r#"{"job_id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "batch_id": "t_age-0d8f1c6e-7a52-4b39-9e04-c1d2b3a4f567", "program": "/studies/s1/t_age.R", "user": "mike", "status": "Failed", "submitted": "2026-01-31T13:00:00Z", "started": "2026-01-31T13:00:02Z", "finished": "2026-01-31T13:00:09Z", "exit_code": 1, "reason": "The program ended with exit status 1.", "details": "Error", "advice": "Read its log: an R error ends a program with exit status 1.", "pod_id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44-x7k2p", "node": "node-1", "image": "registry.example.com/openval_4.2.1_focal:2023.09.0.02", "image_digest": "registry.example.com/openval_4.2.1_focal@sha256:63e57ac60e1da89b2cf0378dc212c3235d3cda55f436e5efd7cffb951be861ff", "cpu_limit": "500m", "memory_limit": "512M", "attempts": 1, "events": [{"time": "2026-01-31T13:00:00Z", "type": "Normal", "reason": "SuccessfulCreate", "message": "Created pod: t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44-x7k2p"}], "submit_again": null, "is_stuck": false, "verdict": "errors", "verdict_line": "Error: object 'adsl' not found", "last_lines": ["Error: object 'adsl' not found", "Execution halted"]}"#,
        )],
        ..OF_JOBS
    },
};

/// What is said of a job that waits where its start, or another one's, has failed.
const HINDERED: &str =
    " The cluster does not let the abba server start it for now, which tries again; if that lasts, tell the \
                        administrator of the abba server.";

fn explain(gateway: &Gateway, mut asked: Asked<'_>) -> Result<Reply, ApiError> {
    let which = asked.arguments.jobs()?;
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let found = asked.found(gateway, connection, &which, true)?;
        let namespace = connection.namespace()?;
        if let ([], [job]) = (found.jobs.as_slice(), found.archived.jobs()) {
            let explanation = found.archived.explanation(job).map_err(archive::of_file)?;
            let mut body = answer::explanation(explanation, archive::owner_or_user(job), &namespace)?;
            body["archived"] = true.into();
            return Ok(Reply {
                body,
                job_ids: found.ids(&which),
                ..Default::default()
            });
        }
        let [job] = found.jobs.as_slice() else {
            return Err(Error::input("`job_id` must be the id of one job.").into());
        };
        let mut explanation =
            operations::explain(&asked.own(connection), &job.record.job_id).map_err(snapshot::in_words_for_callers)?;
        if job.waits && !gateway.snapshots.starts_in_turn() {
            let advice = explanation.advice.get_or_insert_default();
            advice.push_str(HINDERED);
        }
        Ok(Reply {
            body: answer::explanation(explanation, owner_or_user(job), &namespace)?,
            job_ids: found.ids(&which),
            ..Default::default()
        })
    })
}
