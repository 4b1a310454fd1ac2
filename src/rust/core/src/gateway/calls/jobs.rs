//! The list of jobs.

use super::super::answer::{self, ApiError, Reply};
#[cfg(test)]
use super::super::description::{Description, Schema};
use super::{owner_or_user, Answers, Argument, Asked, Call, Kind, STATUS};
use crate::domain::job_record::JobRecord;
use crate::error::quote_shortened;
use crate::gateway::Gateway;
use crate::kubernetes::labels;
use crate::Error;

pub(super) const JOBS: Call = Call {
    name: "jobs",
    methods: &["GET"],
    arguments: &[&[
        Argument::optional("batch_id", Kind::Text, "Only the jobs of this batch."),
        STATUS,
        Argument::optional(
            "since",
            Kind::Time,
            "Only jobs submitted at this time or later: UTC, whole seconds.",
        ),
        Argument::optional(
            "user",
            Kind::Text,
            "Only jobs of this user. Whoever is no operator sees their own only.",
        ),
    ]],
    answers: Answers::Callers(jobs),
    #[cfg(test)]
    description: Description {
        id: "listJobs",
        tag: "Jobs",
        summary: "Your jobs",
        text: "The jobs that you may see, the newest first. A job is removed a week after its end.",
        requests: &[],
        answer: Schema::Many("Job"),
        answer_text: "The jobs.",
        headers: &[],
        examples: &[(
            "two",
            "Two jobs",
            r#"[{"job_id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "batch_id": "t_age-0d8f1c6e-7a52-4b39-9e04-c1d2b3a4f567", "program": "/studies/s1/t_age.R", "user": "mike", "status": "Failed", "submitted": "2026-01-31T13:00:00Z", "started": "2026-01-31T13:00:02Z", "finished": "2026-01-31T13:00:09Z", "exit_code": 1, "reason": "The program ended with exit status 1."}, {"job_id": "t-sex-90c4a7d3-61be-4a0f-b7d1-2f83c5e9d016", "batch_id": "t_age-0d8f1c6e-7a52-4b39-9e04-c1d2b3a4f567", "program": "/studies/s1/t_sex.R", "user": "mike", "status": "Running", "submitted": "2026-01-31T13:00:00Z", "started": "2026-01-31T13:00:02Z", "finished": null, "exit_code": null, "reason": null}]"#,
        )],
        errors: &[502, 504],
    },
};

fn jobs(gateway: &Gateway, mut asked: Asked<'_>) -> Result<Reply, ApiError> {
    let arguments = &mut asked.arguments;
    let batch_id = arguments.text("batch_id")?;
    if let Some(batch_id) = &batch_id {
        labels::check_label_value("batch_id", batch_id)?;
    }
    let statuses = arguments.statuses()?;
    let since = arguments.text("since")?;
    if let Some(since) = &since {
        check_time(since)?;
    }
    let user = arguments.text("user")?;
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let (snapshot, _) = gateway.snapshots.recent(connection)?;
        let mut jobs: Vec<_> = snapshot
            .seen_by(asked.caller)
            .filter(|job| batch_id.as_ref().is_none_or(|id| *id == job.record.batch_id))
            .filter(|job| statuses.is_empty() || statuses.iter().any(|name| name == job.record.status.name()))
            .filter(|job| since.as_ref().is_none_or(|since| *since <= job.record.submitted))
            .filter(|job| user.as_ref().is_none_or(|user| *user == owner_or_user(job)))
            .collect();
        // As operations::list() has them: the newest first, those of one second by their ids.
        jobs.sort_by(|a, b| (&b.record.submitted, &a.record.job_id).cmp(&(&a.record.submitted, &b.record.job_id)));
        let rows: Vec<JobRecord> = jobs
            .into_iter()
            .map(|job| JobRecord {
                user: owner_or_user(job).to_string(),
                ..job.record.clone()
            })
            .collect();
        Ok(answer::json(&rows)?.into())
    })
}

/// A time as Kubernetes writes it, so that times can be compared as text.
fn check_time(time: &str) -> Result<(), Error> {
    let form = "0000-00-00T00:00:00Z";
    let legal = time.len() == form.len()
        && time.bytes().zip(form.bytes()).all(|(given, form)| {
            if form == b'0' {
                given.is_ascii_digit()
            } else {
                given == form
            }
        });
    match legal {
        true => Ok(()),
        false => Err(Error::input(format!(
            "`since` must be a time such as 2026-01-31T13:00:00Z, not {}.",
            quote_shortened(time)
        ))),
    }
}
