//! The list of jobs.

use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::super::answer::{self, ApiError, Reply};
use super::super::archive::{self, Question};
#[cfg(test)]
use super::super::description::{Description, Schema, OF_JOBS};
use super::super::snapshot;
use super::{owner_or_user, Answers, Argument, Asked, Call, Kind, STATUS};
use crate::domain::job_record::JobRecord;
use crate::error::quote_shortened;
use crate::gateway::Gateway;
use crate::kubernetes::labels;
use crate::operations::{self, ArchivedJob, JobSnapshot};
use crate::{Error, Warning};

const VERDICT: Argument = Argument::optional(
    "verdict",
    Kind::Flag,
    "Whether the logs of ended jobs are read for their verdicts, which takes time.",
);

const ARCHIVED: Argument = Argument::optional(
    "archived",
    Kind::Flag,
    "Whether those are told, too, that the cluster has forgotten and the server's archive has, where it has one. They are where \
     nothing is said.",
);

/// So many jobs of an archive are told, at most: one process looks them up for all callers.
const MOST_ARCHIVED: usize = if cfg!(test) { 5 } else { 10_000 };

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
        VERDICT,
        ARCHIVED,
    ]],
    answers: Answers::Callers(jobs),
    #[cfg(test)]
    description: Description {
        id: "listJobs",
        summary: "Your jobs",
        text: "The jobs that you may see, the newest first. A job is removed some days after its end, usually seven; where the server has an archive, it is told from there then, with `archived` true.\n\nWith `verdict=true` each has a `verdict`, null while the program runs or where its log cannot be read. The logs of ended jobs are read for that, as many as ten seconds allow and 1,000 at most, and what was found is kept. Where more are left, the header `Abba-Warnings` says so: the same request goes on with the next ones.",
        answer: Schema::Many("Job"),
        answer_text: "The jobs.",
        headers: &["Abba-Warnings"],
        examples: &[(
            "two",
            "Two jobs",
            r#"[{"job_id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "batch_id": "t_age-0d8f1c6e-7a52-4b39-9e04-c1d2b3a4f567", "program": "/studies/s1/t_age.R", "user": "mike", "status": "Failed", "submitted": "2026-01-31T13:00:00Z", "started": "2026-01-31T13:00:02Z", "finished": "2026-01-31T13:00:09Z", "exit_code": 1, "reason": "The program ended with exit status 1."}, {"job_id": "t-sex-90c4a7d3-61be-4a0f-b7d1-2f83c5e9d016", "batch_id": "t_age-0d8f1c6e-7a52-4b39-9e04-c1d2b3a4f567", "program": "/studies/s1/t_sex.R", "user": "mike", "status": "Running", "submitted": "2026-01-31T13:00:00Z", "started": "2026-01-31T13:00:02Z", "finished": null, "exit_code": null, "reason": null}]"#,
        )],
        errors: &[502, 504],
        ..OF_JOBS
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
    let with_archived = arguments.value(&ARCHIVED)? != Some(Value::Bool(false));
    let with_verdict = arguments.value(&VERDICT)? == Some(Value::Bool(true));
    if with_verdict {
        asked.begin_to_read_logs()?;
    }
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let (known, _) = gateway.snapshots.recent(connection, &asked.caller.name)?;
        let mut jobs: Vec<JobSnapshot> = known
            .read(|store| snapshot::seen_by(store, asked.caller))
            .into_iter()
            .filter(|job| batch_id.as_ref().is_none_or(|id| *id == job.record.batch_id))
            .filter(|job| statuses.is_empty() || statuses.iter().any(|name| name == job.record.status.name()))
            .filter(|job| since.as_ref().is_none_or(|since| *since <= job.record.submitted))
            .filter(|job| user.as_ref().is_none_or(|user| *user == owner_or_user(job)))
            .collect();
        // As operations::list() has them: the newest first, those of one second by their ids.
        jobs.sort_by(|a, b| (&b.record.submitted, &a.record.job_id).cmp(&(&a.record.submitted, &b.record.job_id)));
        let verdicts = match with_verdict {
            true => {
                let jobs: Vec<&JobSnapshot> = jobs.iter().collect();
                Some(operations::verdicts(connection, &jobs, Instant::now() + TIME_TO_READ)?)
            }
            false => None,
        };
        let live = jobs.into_iter().map(|job| JobRecord {
            user: owner_or_user(&job).to_string(),
            ..job.record
        });
        let (findings, warning) = verdicts.map_or((None, None), |verdicts| (Some(verdicts.findings), verdicts.warning));
        let mut rows: Vec<Row> = live
            .map(|record| Row {
                record,
                verdict: None,
                archived: None,
            })
            .collect();
        for (row, finding) in rows.iter_mut().zip(findings.into_iter().flatten()) {
            let verdict = finding.as_ref().map(|finding| finding.verdict.name().to_string());
            row.verdict = Some((verdict, finding.and_then(|finding| finding.line)));
        }
        let mut warnings: Vec<Warning> = warning.into_iter().collect();
        if let Some(archive) = gateway.archive.as_ref().filter(|_| with_archived) {
            let question = Question {
                batch_id: batch_id.clone(),
                status: statuses.iter().map(|status| (*status).to_string()).collect(),
                since: since.clone(),
                owner_or_user: user.clone(),
                most: Some(MOST_ARCHIVED),
                ..Default::default()
            };
            let archived = archive.jobs(connection, asked.caller, question)?;
            if archived.len() == MOST_ARCHIVED {
                warnings.push(too_many_archived());
            }
            // The cluster is the truth while it has a job, whatever its state.
            let is_gone = |job: &ArchivedJob| known.read(|store| !store.contains(&job.job_id));
            rows.extend(archived.into_iter().filter(is_gone).map(|job| Row {
                record: JobRecord {
                    user: archive::owner_or_user(&job).to_string(),
                    ..job.record()
                },
                verdict: with_verdict.then_some((job.verdict, job.verdict_line)),
                archived: Some(true),
            }));
            rows.sort_by(|a, b| {
                let (a, b) = (&a.record, &b.record);
                (&b.submitted, &a.job_id).cmp(&(&a.submitted, &b.job_id))
            });
        }
        let mut reply = Reply::from(answer::json(&rows.iter().map(|row| &row.record).collect::<Vec<_>>())?);
        for (body, row) in reply.body.as_array_mut().into_iter().flatten().zip(rows) {
            if let Some((verdict, line)) = row.verdict {
                body["verdict"] = json!(verdict);
                body["verdict_line"] = json!(line);
            }
            if let Some(archived) = row.archived {
                body["archived"] = archived.into();
            }
        }
        if !warnings.is_empty() {
            reply.headers.push(("Abba-Warnings", answer::warnings(&warnings)));
        }
        Ok(reply)
    })
}

/// A job of the list.
struct Row {
    record: JobRecord,
    /// Its verdict and the line that this rests on, where they were asked for.
    verdict: Option<(Option<String>, Option<String>)>,
    /// That it comes from an archive.
    archived: Option<bool>,
}

fn too_many_archived() -> Warning {
    Warning {
        class: "archive_cut",
        message: format!("Of the jobs that are archived the newest {MOST_ARCHIVED} are told, and there may be more."),
        advice: "Ask for those of a batch, a user or a status.".into(),
        job_ids: Vec::new(),
    }
}

/// For how long logs are read for one list: others wait for their turn, and the caller for the answer.
const TIME_TO_READ: Duration = Duration::from_secs(10);

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

#[cfg(test)]
mod tests {
    use crate::gateway::fake_cluster::server;
    use serde_json::{json, Value};

    #[test]
    fn verdicts_are_there_where_they_are_asked_for() {
        let server = server();
        let ids: Vec<String> = (0..3).map(|_| server.submit("daemon", "b")).collect();
        server.cluster.ends(&ids[0], "[1] 1\nError in f() : boom\n");
        server.cluster.ends(&ids[1], "[1] 1\n");
        server.cluster.start(&ids[2]);
        let (status, plain) = server.get("daemon", "jobs");
        assert_eq!((status, plain[0].get("verdict")), (200, None));
        assert_eq!(server.cluster.count("/log?"), 0);
        let (_, rows) = server.get("daemon", "jobs?verdict=true");
        let told: Vec<_> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (&row["verdict"], &row["verdict_line"]))
            .collect();
        // The newest first.
        assert_eq!(
            told,
            [
                (&Value::Null, &Value::Null),
                (&json!("clean"), &Value::Null),
                (&json!("errors"), &json!("Error in f() : boom")),
            ]
        );
        // A log that cannot be read is no error of the list.
        server.cluster.logs.lock().unwrap().clear();
        let (status, rows) = server.get("daemon", "jobs?verdict=true&status=Succeeded");
        assert_eq!(
            (status, rows.as_array().unwrap().len(), &rows[0]["verdict"]),
            (200, 2, &Value::Null)
        );
        assert_eq!(server.get("daemon", "jobs?verdict=perhaps").0, 400);
    }

    #[test]
    fn verdicts_that_are_left_out_are_told() {
        let server = server();
        let ids: Vec<String> = (0..7).map(|_| server.submit("daemon", "b")).collect();
        for id in &ids {
            server.cluster.ends(id, "[1] 1\n");
        }
        let answer = server.send("daemon", "GET", "jobs?verdict=true", &Value::Null, None);
        let (name, warnings) = &answer.headers[0];
        let warnings: Value = serde_json::from_str(warnings).unwrap();
        assert_eq!(
            (*name, &warnings[0]["class"]),
            ("Abba-Warnings", &json!("verdict_missing"))
        );
        assert_eq!(warnings[0]["job_id"].as_array().unwrap().len(), 2);
    }
}
