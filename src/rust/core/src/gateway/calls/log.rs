//! The logs of jobs, in pages.

use super::super::answer::{self, ApiError, Reply};
#[cfg(test)]
use super::super::description::{Description, Schema, OF_JOBS};
use super::super::snapshot;
use super::{Answers, Argument, Asked, Call, Kind, BATCH_ID, EVERYBODY, JOB_IDS};
use crate::error::quote_shortened;
use crate::gateway::Gateway;
use crate::operations::{self, JobSelector, LogPosition};
use crate::Error;

pub(super) const JOB_LOG: Call = Call {
    name: "job-log",
    methods: &["GET", "POST"],
    arguments: &[&[JOB_IDS, PAGE]],
    answers: Answers::Callers(|gateway, mut asked| {
        let which = asked.arguments.jobs()?;
        log(gateway, asked, &which, "job_id")
    }),
    #[cfg(test)]
    description: Description {
        id: "getJobLog",
        summary: "The logs of jobs",
        text: "A log may be larger than an answer: an answer holds about 4 MiB of lines. Where there is more, it has the header `Abba-Next-Page`; ask again with `page` set to that. A log that goes on in the next page appears there again under the same id, with the rest of its lines.\n\nTo follow one log, ask with `page=0.<n>`, where n is the number of lines that you have. While the program runs, its last line may not be finished.\n\nWhere a log has lost its beginning or its end, the header `Abba-Warnings` says so, and where a program was started more than once: its log is that of the last start. Of several logs one that cannot be read has `log` null, and `error`.",
        requests: &[("two", "Two jobs", r#"{"job_id": ["t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "t-sex-90c4a7d3-61be-4a0f-b7d1-2f83c5e9d016"]}"#)],
        answer: Schema::Many("JobLog"),
        answer_text: "The logs.",
        headers: &["Abba-Next-Page", "Abba-Warnings"],
        examples: &[("log", "A log", r#"[{"job_id": "test-program-fbc3131d-a850-4081-8224-c06ef32821da", "log": ["[1] 4", "Warning message:", "This is a test warning ", "La-di-da"], "verdict": "warnings", "verdict_line": "Warning message: This is a test warning"}]"#)],
        ..OF_JOBS
    },
};

pub(super) const BATCH_LOG: Call = Call {
    name: "batch-log",
    methods: &["GET"],
    arguments: &[&[BATCH_ID, EVERYBODY, PAGE]],
    answers: Answers::Callers(|gateway, mut asked| {
        let which = asked.arguments.batch()?;
        log(gateway, asked, &which, "pod_id")
    }),
    #[cfg(test)]
    description: Description {
        id: "getBatchLog",
        tag: "Batches",
        summary: "The logs of a batch",
        requests: &[],
        answer: Schema::Many("PodLog"),
        examples: &[(
            "log",
            "Two logs",
            r#"[{"pod_id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44-x7k2p", "log": ["Error: object 'adsl' not found", "Execution halted"], "verdict": "errors", "verdict_line": "Error: object 'adsl' not found"}, {"pod_id": "t-sex-90c4a7d3-61be-4a0f-b7d1-2f83c5e9d016-9wq4z", "log": ["[1] 4"], "verdict": "clean", "verdict_line": null}]"#,
        )],
        ..JOB_LOG.description
    },
};

pub(super) const PAGE: Argument = Argument::optional(
    "page",
    Kind::Page,
    "Where to go on: the header `Abba-Next-Page` of the answer before.",
);

/// `id`: the name under which each log is told.
fn log(gateway: &Gateway, mut asked: Asked<'_>, which: &JobSelector, id: &str) -> Result<Reply, ApiError> {
    let page = page(asked.arguments.text("page")?.as_deref())?;
    let everybody = asked.everybody()?;
    asked.begin_to_read_logs()?;
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let found = asked.found(gateway, connection, which, everybody)?;
        let ids = found.ids(which);
        let which = JobSelector::Jobs(ids.clone());
        let bytes = gateway.policy.log_page_bytes;
        let read = operations::log_page(&asked.own(connection), &which, &found.archived, page, bytes)
            .map_err(snapshot::in_words_for_callers)?;
        let mut headers = Vec::new();
        if let Some(next) = read.next {
            headers.push(("Abba-Next-Page", format!("{}.{}", next.log, next.line)));
        }
        if !read.logs.warnings.is_empty() {
            // Proxies bound the size of headers; the first few say it all.
            let few = &read.logs.warnings[..read.logs.warnings.len().min(5)];
            headers.push(("Abba-Warnings", answer::warnings(few)));
        }
        Ok(Reply {
            body: answer::logs(read.logs.logs, id),
            headers,
            job_ids: ids,
        })
    })
}

pub(super) fn page(token: Option<&str>) -> Result<LogPosition, Error> {
    let Some(token) = token else {
        return Ok(LogPosition::default());
    };
    let position = token
        .split_once('.')
        .and_then(|(log, line)| Some((log.parse().ok()?, line.parse().ok()?)));
    match position {
        Some((log, line)) => Ok(LogPosition { log, line }),
        None => Err(Error::input(format!(
            "`page` must be as the header `Abba-Next-Page` of an answer has it, not {}.",
            quote_shortened(token)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use crate::gateway::fake_cluster::{server, server_with};
    use serde_json::{json, Value};

    #[test]
    fn a_job_whose_log_cannot_be_read_is_no_outage() {
        let server = server();
        let (lost, good) = (server.submit("daemon", "b"), server.submit("daemon", "c"));
        server.cluster.ends(&lost, "");
        server.cluster.ends(&good, "x\n");
        server.cluster.logs.lock().unwrap().insert(
            format!("{lost}-x"),
            b"unable to retrieve container logs for containerd://1".to_vec(),
        );
        let (status, body) = server.get("daemon", &format!("job-log?job_id={lost}"));
        assert_eq!((status, &body["class"]), (502, &json!("unavailable")));
        assert!(body["message"].as_str().unwrap().contains("lost"), "{body}");
        assert_eq!(server.get("daemon", &format!("job-log?job_id={good}")).0, 200);
        // Beside others it takes none of them with it.
        let (status, body) = server.get("daemon", "batch-log?batch_id=c");
        assert_eq!((status, &body[0]["log"]), (200, &json!(["x"])));
        let (status, body) = server.get("daemon", &format!("job-log?job_id={lost},{good}"));
        assert_eq!(status, 200);
        assert_eq!((&body[0]["log"], &body[1]["log"]), (&Value::Null, &json!(["x"])));
        assert_eq!(
            (&body[0]["error"]["class"], &body[0]["error"]["job_id"]),
            (&json!("unavailable"), &json!([lost]))
        );
    }

    #[test]
    fn logs_are_read_in_pages_that_join_to_the_whole() {
        let server = server_with(|settings| settings.log_page_bytes = 50);
        let ids: Vec<String> = (0..12).map(|_| server.submit("daemon", "b")).collect();
        let lines = |k: usize| (0..k * 3).map(|n| format!("line {n} of {k}")).collect::<Vec<_>>();
        for (k, id) in ids.iter().enumerate() {
            server
                .cluster
                .ends(id, &lines(k).iter().map(|line| format!("{line}\n")).collect::<String>());
        }
        let mut joined: Vec<(String, Vec<String>)> = Vec::new();
        let mut page = String::new();
        let mut pages = 0;
        loop {
            let answer = server.send(
                "daemon",
                "GET",
                &format!("job-log?job_id={}{page}", ids.join(",")),
                &Value::Null,
                None,
            );
            assert_eq!(answer.status, 200, "{}", answer.body);
            pages += 1;
            let logs: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
            for log in logs {
                let id = log["job_id"].as_str().unwrap().to_string();
                let rest: Vec<String> = serde_json::from_value(log["log"].clone()).unwrap();
                match joined.last_mut() {
                    Some((last, lines)) if *last == id => lines.extend(rest),
                    _ => joined.push((id, rest)),
                }
            }
            match answer.headers.iter().find(|(name, _)| *name == "Abba-Next-Page") {
                Some((_, token)) => page = format!("&page={token}"),
                None => break,
            }
        }
        let whole: Vec<(String, Vec<String>)> = ids.iter().cloned().enumerate().map(|(k, id)| (id, lines(k))).collect();
        assert_eq!(joined, whole);
        assert!(pages > 12, "{pages}");
    }

    #[test]
    fn of_long_logs_no_more_are_read_than_a_page_needs() {
        let server = server_with(|settings| settings.log_page_bytes = 50);
        let ids: Vec<String> = (0..10).map(|_| server.submit("daemon", "b")).collect();
        for id in &ids {
            server.cluster.ends(id, &"a long line of a long log\n".repeat(100));
        }
        assert_eq!(server.get("daemon", "batch-log?batch_id=b").0, 200);
        // The first alone, and its newest line.
        assert_eq!(server.cluster.count("/log?"), 2);
    }

    #[test]
    fn pages_that_are_none_are_refused_and_those_past_the_end_are_empty() {
        let server = server();
        let id = server.submit("daemon", "b");
        server.cluster.ends(&id, "x\n");
        for page in ["x", "1", "1.", ".1", "-1.0", "1.1.1", "99999999999999999999.0", "0.%00"] {
            let (status, body) = server.get("daemon", &format!("job-log?job_id={id}&page={page}"));
            assert_eq!(status, 400, "{page}: {body}");
        }
        assert_eq!(
            server.get("daemon", &format!("job-log?job_id={id}&page=0.7")),
            (
                200,
                json!([{"job_id": id, "log": [], "verdict": "clean", "verdict_line": null}])
            )
        );
        assert_eq!(
            server.get("daemon", &format!("job-log?job_id={id}&page=7.0")),
            (200, json!([]))
        );
    }

    #[test]
    fn each_part_of_a_log_has_the_verdict_of_the_whole() {
        let server = server_with(|settings| settings.log_page_bytes = 1);
        let id = server.submit("daemon", "b");
        server.cluster.ends(&id, "[1] 1\nError in f() : boom\n");
        let (_, body) = server.get("daemon", &format!("job-log?job_id={id}"));
        assert_eq!(body[0]["log"], json!(["[1] 1"]));
        assert_eq!(
            (&body[0]["verdict"], &body[0]["verdict_line"]),
            (&json!("errors"), &json!("Error in f() : boom"))
        );
        assert_eq!(
            (&body[0]["warning"]["class"], &body[0]["warning"]["job_id"]),
            (&json!("log_verdict"), &json!([id]))
        );
    }

    #[test]
    fn a_log_without_its_head_is_told_in_a_header() {
        let server = server();
        let id = server.submit("daemon", "b");
        server.cluster.ends(&id, "");
        server
            .cluster
            .logs
            .lock()
            .unwrap()
            .insert(format!("{id}-x"), b"the end\n".to_vec());
        let answer = server.send("daemon", "GET", &format!("job-log?job_id={id}"), &Value::Null, None);
        let (name, warnings) = &answer.headers[0];
        assert_eq!(*name, "Abba-Warnings");
        let warnings: Value = serde_json::from_str(warnings).unwrap();
        assert_eq!(
            (&warnings[0]["class"], &warnings[0]["job_id"]),
            (&json!("log_incomplete"), &json!([id]))
        );
    }
}
