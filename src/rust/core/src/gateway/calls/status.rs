//! The states of jobs.

use super::super::answer::{self, Refusal, Success};
use super::{logged_ids, Answers, Asked, Call, BATCH_ID, JOB_IDS};
use crate::domain::job_status::by_status;
use crate::gateway::Gateway;
use crate::operations::Which;

pub(super) const JOB_STATUS: Call = Call {
    name: "job-status",
    methods: &["GET", "POST"],
    arguments: &[&[JOB_IDS]],
    answers: Answers::Callers(|gateway, mut asked| {
        let which = asked.arguments.jobs()?;
        status(gateway, &asked, &which)
    }),
};

pub(super) const BATCH_STATUS: Call = Call {
    name: "batch-status",
    methods: &["GET"],
    arguments: &[&[BATCH_ID]],
    answers: Answers::Callers(|gateway, mut asked| {
        let which = asked.arguments.batch()?;
        status(gateway, &asked, &which)
    }),
};

fn status(gateway: &Gateway, asked: &Asked<'_>, which: &Which) -> Result<Success, Refusal> {
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let jobs = gateway.seen(connection, asked.caller, which)?;
        Ok(Success {
            body: answer::json(&by_status(jobs.iter().map(|job| job.status.clone()).collect()))?,
            job_ids: logged_ids(&jobs),
            ..Default::default()
        })
    })
}
