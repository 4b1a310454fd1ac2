//! The record of a job, with its log byte for byte.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use serde_json::json;

use super::super::answer::{self, ApiError, Reply};
use super::super::archive;
#[cfg(test)]
use super::super::description::{Description, Schema, OF_JOBS};
use super::super::snapshot;
use super::log::{page, PAGE};
use super::{owner_or_user, Answers, Argument, Asked, Call, Kind, JOB_IDS};
use crate::gateway::Gateway;
use crate::operations;
use crate::{Error, ErrorClass};

pub(super) const JOB_RECORD: Call = Call {
    name: "job-record",
    methods: &["GET"],
    arguments: &[&[
        Argument {
            kind: Kind::Id,
            doc: "The job. `id` is a synonym.",
            ..JOB_IDS
        },
        PAGE,
    ]],
    answers: Answers::Callers(record),
    #[cfg(test)]
    description: Description {
        id: "getJobRecord",
        summary: "What ran, for the files of a study, and the log byte for byte",
        text: "The record is an in-toto Statement with SLSA provenance, whose subject is the log. What the program read and wrote the server does not see: whoever saves the record adds it. A log may be larger than an answer: an answer holds about 4 MiB of it. Where there is more, it has the header `Abba-Next-Page`; ask again with `page` set to that, and join the bytes. The log of a job that has not ended is left out.\n\nWhere a log has lost its beginning or its end, or cannot be read, the header `Abba-Warnings` says so, and so does the record.",
        answer: Schema::One("JobRecord"),
        answer_text: "The record and the log.",
        headers: &["Abba-Next-Page", "Abba-Warnings"],
        examples: &[(
            "ended",
            "A job that has ended",
            r#"{"job_id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "record": "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{\"name\":\"t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44.log\",\"digest\":{\"sha256\":\"63e57ac60e1da89b2cf0378dc212c3235d3cda55f436e5efd7cffb951be861ff\"}}],\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{}}", "log": "WzFdIDQK"}"#,
        )],
        ..OF_JOBS
    },
};

fn record(gateway: &Gateway, mut asked: Asked<'_>) -> Result<Reply, ApiError> {
    let which = asked.arguments.jobs()?;
    let from = page(asked.arguments.text("page")?.as_deref())?.line;
    asked.begin_to_read_logs()?;
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let found = asked.found(gateway, connection, &which, true)?;
        let ids = found.ids(&which);
        let user = match (found.jobs.as_slice(), found.archived.jobs()) {
            ([job], []) => owner_or_user(job),
            ([], [job]) => archive::owner_or_user(job),
            _ => return Err(Error::input("`job_id` must be the id of one job.").into()),
        };
        let mut records =
            operations::records(&asked.own(connection), &ids, &found.archived).map_err(|error| match error.class {
                ErrorClass::LogUnavailable => archive::of_file(error),
                _ => snapshot::in_words_for_callers(error).into(),
            })?;
        let Some(record) = records.pop() else {
            return Err(Error::new(ErrorClass::Internal, "A job has no record.").into());
        };
        let begin = from.min(record.log.len());
        let end = record
            .log
            .len()
            .min(begin.saturating_add(gateway.policy.log_page_bytes.max(1)));
        let mut headers = Vec::new();
        if end < record.log.len() {
            headers.push(("Abba-Next-Page", format!("0.{end}")));
        }
        if !record.warnings.is_empty() {
            headers.push(("Abba-Warnings", answer::warnings(&record.warnings)));
        }
        let statement = answer::statement(record.statement, user, &connection.namespace()?);
        Ok(Reply {
            body: json!({
                "job_id": ids.first(),
                "record": answer::json(&statement)?.to_string(),
                "log": STANDARD.encode(&record.log[begin..end]),
            }),
            headers,
            job_ids: ids,
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::domain::record::{tests::check_by_specification, Statement};
    use crate::gateway::fake_cluster::{server, server_with};
    use base64::engine::general_purpose::STANDARD;
    use base64::Engine;
    use serde_json::{json, Value};

    #[test]
    fn a_caller_gets_the_record_of_a_job_without_what_is_the_servers() {
        let server = server();
        let body = json!({"file_path": "a.R", "absolute_path": "/home/mike/a.R", "program_text": "1",
            "environment": {"A": "b"}});
        let (_, answer) = server.post("daemon", "submit-job", &body, None);
        let id = answer["job_id"].as_str().unwrap();
        server.cluster.ends(id, "[1] 2\n");
        let (status, answer) = server.get("daemon", &format!("job-record?job_id={id}"));
        assert_eq!(status, 200, "{answer}");
        assert_eq!(STANDARD.decode(answer["log"].as_str().unwrap()).unwrap(), b"[1] 2\n");
        let text = answer["record"].as_str().unwrap();
        let record: Value = serde_json::from_str(text).unwrap();
        check_by_specification(&record);
        let statement = Statement::read(text.as_bytes()).unwrap();
        assert_eq!(
            (
                statement.job_id(),
                statement.run().user.as_str(),
                statement.run().status.as_str()
            ),
            (id, "daemon", "Succeeded")
        );
        let build = &statement.predicate.build_definition;
        assert_eq!(build.resolved_dependencies[0].uri, "file:///home/mike/a.R");
        assert_eq!(
            (
                &build.external_parameters["environment"],
                &build.external_parameters["file_path"]
            ),
            (&json!({"A": "b"}), &json!("a.R"))
        );
        // Neither the namespace nor the account that the server chose.
        assert!(build.internal_parameters.is_empty());
        assert!(!build.external_parameters.contains_key("username"), "{text}");
    }

    #[test]
    fn a_long_log_comes_in_pages_that_join_to_the_whole() {
        let server = server_with(|settings| settings.log_page_bytes = 4);
        let id = server.submit("daemon", "b");
        server.cluster.ends(&id, "0123456789\n");
        let mut joined = Vec::new();
        for page in ["", "&page=0.4", "&page=0.8", "&page=0.99"] {
            let (status, answer) = server.get("daemon", &format!("job-record?job_id={id}{page}"));
            assert_eq!(status, 200, "{answer}");
            joined.extend(STANDARD.decode(answer["log"].as_str().unwrap()).unwrap());
        }
        assert_eq!(joined, b"0123456789\n");
    }

    #[test]
    fn somebody_elses_record_is_as_none() {
        let server = server();
        let theirs = server.submit("bin", "theirs");
        let none = theirs.replace(|c: char| c.is_ascii_digit(), "0");
        let of = |id: &str| {
            let (status, body) = server.get("daemon", &format!("job-record?job_id={id}"));
            (status, body.to_string().replace(id, "ID"))
        };
        assert_eq!(of(&theirs), of(&none));
        assert_eq!(of(&theirs).0, 404);
    }
}
