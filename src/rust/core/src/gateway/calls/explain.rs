//! Why a job failed or waits.

use super::super::answer::{self, Refusal, Success};
use super::super::snapshot;
use super::{logged_ids, owner_or_user, Answers, Argument, Asked, Call, Kind, JOB_IDS};
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
};

fn explain(gateway: &Gateway, mut asked: Asked<'_>) -> Result<Success, Refusal> {
    let which = asked.arguments.jobs()?;
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let jobs = gateway.seen(connection, asked.caller, &which)?;
        let [job] = jobs.as_slice() else {
            return Err(Error::input("`job_id` must be the id of one job.").into());
        };
        let explanation =
            operations::explain(connection, &job.record.job_id).map_err(snapshot::in_words_for_callers)?;
        Ok(Success {
            body: answer::explanation(explanation, owner_or_user(job))?,
            job_ids: logged_ids(&jobs),
            ..Default::default()
        })
    })
}
