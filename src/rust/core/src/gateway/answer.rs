//! What goes back to a caller.

use serde::Serialize;
use serde_json::{json, Map, Value};

use super::{cluster_words, snapshot, submission};
use crate::domain::job_record::{Explanation, JobRecord};
use crate::domain::record::Statement;
use crate::operations::{KeptSubmission, LogOfJob};
use crate::{Error, ErrorClass, Warning};

/// An HTTP answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Further headers. All values are printable ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, unless a header says another media type.
    pub body: String,
    /// The id of the request, for the header [`REQUEST_ID`].
    pub request_id: String,
    /// The line of the request in the log of decisions: JSON.
    pub decision: String,
    /// What is to be said on standard error: lines of the log that go there, or that cannot be written to their file.
    pub said: String,
}

/// The header with the id of the request.
pub const REQUEST_ID: &str = "Abba-Request-Id";

/// What a call found, before it becomes an [`Response`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The body. A string with a header `Content-Type` is sent as it is.
    pub body: Value,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The jobs that it was about, for the log of decisions.
    pub job_ids: Vec<String>,
}

impl From<Value> for Reply {
    fn from(body: Value) -> Self {
        Self {
            body,
            ..Default::default()
        }
    }
}

/// Why a caller does not get what they asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// What the caller is told.
    pub error: Error,
    /// What is told to the administrator only, in the log of decisions.
    pub reason: String,
    /// After how many seconds to ask again.
    pub retry_after: Option<u64>,
    /// The methods that the call has, where the request has another.
    pub allow: Option<String>,
    /// A further element of the body.
    pub detail: Option<(&'static str, Value)>,
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let of_cluster = error.kubectl.is_some();
        Self::of(error, of_cluster)
    }
}

fn words(error: &Error) -> &str {
    error.kubectl.as_ref().map_or("", |report| report.stderr.as_str())
}

/// All that is known, on one line.
fn reason(error: &Error) -> String {
    let words = words(error);
    match words {
        "" => error.message.clone(),
        words => format!("{} kubectl: {words}", error.message),
    }
}

fn with_words_of_cluster(mut error: Error) -> Error {
    let words = words(&error).to_string();
    if error.details.is_none() && !words.is_empty() {
        error.details = Some(format!("Kubernetes says: {words}"));
    }
    error
}

/// A node that does not give a log: what to do is not to ask the cluster by oneself.
fn of_node(error: Error) -> Error {
    match error.kubectl {
        Some(_) => Error {
            advice: Some(
                "Repeat the call in a minute; if it does not heal, tell the administrator of the abba server.".into(),
            ),
            details: None,
            ..error
        },
        None => error,
    }
}

/// A caller has no kubectl and no login to the cluster: what is wrong there is the administrator's to mend.
fn for_callers(error: Error) -> Error {
    let (message, advice) = match error.class {
        ErrorClass::Timeout => (
            "The cluster did not answer the abba server in time.",
            "Repeat the call later.",
        ),
        ErrorClass::Unavailable => (
            "The abba server cannot reach the cluster.",
            "Repeat the call in a minute; if it does not heal, tell the administrator of the abba server.",
        ),
        ErrorClass::Forbidden => (
            "The abba server lacks a right in the cluster.",
            "Tell the administrator of the abba server.",
        ),
        ErrorClass::Unauthorized | ErrorClass::LoginWanted => (
            "The cluster does not accept the login of the abba server.",
            "Tell the administrator of the abba server.",
        ),
        _ => (
            "The abba server cannot use the cluster.",
            "Tell the administrator of the abba server.",
        ),
    };
    Error {
        // What is missing for the server itself is nothing that the caller has asked for.
        class: match error.class {
            ErrorClass::NotFound | ErrorClass::Input => ErrorClass::Kubectl,
            class => class,
        },
        message: message.into(),
        advice: Some(advice.into()),
        details: None,
        ..error
    }
}

impl ApiError {
    /// The refusal for an error of reaching the cluster at all, which is never the caller's.
    pub fn of_cluster(error: Error) -> Self {
        Self::of(error, true)
    }

    fn of(error: Error, of_cluster: bool) -> Self {
        let reason = reason(&error);
        let (status, error) = match error.class {
            ErrorClass::Input if !of_cluster => (400, error),
            ErrorClass::NotFound if !of_cluster => (404, error),
            ErrorClass::Forbidden if !of_cluster => (403, error),
            ErrorClass::Unauthorized if !of_cluster => (401, error),
            ErrorClass::NotEnded => (409, error),
            ErrorClass::Internal => (500, failed()),
            // The cluster refuses what the caller wants: its words name the field or the quota.
            ErrorClass::Invalid => (400, with_words_of_cluster(error)),
            ErrorClass::RuleRefused => (403, with_words_of_cluster(error)),
            ErrorClass::QuotaExceeded => (429, with_words_of_cluster(error)),
            ErrorClass::Timeout => (504, for_callers(error)),
            // A log that is gone or a node that is down is the caller's to know.
            ErrorClass::LogUnavailable => (502, of_node(error)),
            _ => (502, for_callers(error)),
        };
        Self {
            retry_after: matches!(status, 429 | 502 | 504).then_some(2),
            status,
            error: cluster_words::error_for_callers(error),
            reason,
            allow: None,
            detail: None,
        }
    }

    /// A refusal of the server's own.
    pub fn new(status: u16, error: Error) -> Self {
        Self {
            reason: reason(&error),
            status,
            error,
            retry_after: None,
            allow: None,
            detail: None,
        }
    }

    /// The caller asks too much: they may come back after some seconds.
    pub fn too_many(error: Error, retry_after: u64) -> Self {
        Self::new(429, error).again_in(retry_after)
    }

    /// With a reason that the administrator alone is told.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// With the seconds after which to ask again.
    pub fn again_in(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// What the caller is told, as JSON. kubectl's command and the server's files are never part of it.
    pub fn body(&self) -> Value {
        let error = &self.error;
        let mut body = Map::new();
        let mut put = |name: &str, text: &Option<String>| {
            if let Some(text) = text {
                body.insert(name.into(), text.clone().into());
            }
        };
        put("class", &Some(error.class.name().to_string()));
        put("message", &Some(error.message.clone()));
        put("consequence", &error.consequence);
        put("advice", &error.advice);
        put("details", &error.details);
        if !error.job_ids.is_empty() {
            body.insert("job_id".into(), json!(error.job_ids));
        }
        if let Some((name, detail)) = &self.detail {
            body.insert((*name).into(), detail.clone());
            if *name == "batch" {
                body.insert("class".into(), "batch_incomplete".into());
            }
        }
        Value::Object(body)
    }
}

/// The answer for an outcome, without what the log makes of it.
pub(super) fn answer(outcome: Result<Reply, ApiError>) -> Response {
    let (status, headers, body) = match outcome {
        Ok(Reply {
            body: Value::String(text),
            headers,
            ..
        }) if headers.iter().any(|(name, _)| *name == "Content-Type") => (200, headers, text),
        Ok(reply) => (200, reply.headers, reply.body.to_string()),
        Err(refusal) => {
            let retry_after = refusal.retry_after.map(|seconds| ("Retry-After", seconds.to_string()));
            let allow = refusal.allow.clone().map(|methods| ("Allow", methods));
            let headers = retry_after.into_iter().chain(allow).collect();
            (refusal.status, headers, refusal.body().to_string())
        }
    };
    Response {
        status,
        headers,
        body,
        ..Default::default()
    }
}

/// The refusal where abba itself has failed. `reason` is for the administrator alone.
pub fn fault(reason: &str) -> ApiError {
    ApiError::new(500, failed()).because(reason).again_in(10)
}

fn failed() -> Error {
    Error::new(ErrorClass::Internal, "The abba server failed.")
        .advise("Tell the administrator of the abba server; its log says more.")
}

/// A result of the core as JSON.
///
/// Errors: it cannot be written as JSON, which is a mistake of abba itself.
pub fn json(result: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(result).map_err(|error| Error::new(ErrorClass::Internal, format!("JSON: {error}.")))
}

/// The JSON of logs: an array; `id` is `job_id` or `pod_id`.
pub fn logs(logs: Vec<LogOfJob>, id: &str) -> Value {
    let logs = logs.into_iter().map(|log| {
        let warning = log.verdict_warning();
        let value = if id == "job_id" { log.job_id } else { log.pod_id };
        match log.error {
            None => {
                let finding = log.finding.as_ref();
                let mut body = json!({
                    id: value,
                    "log": log.lines,
                    "verdict": finding.map(|finding| finding.verdict),
                    "verdict_line": finding.and_then(|finding| finding.line.as_ref()),
                });
                if let Some(warning) = warning {
                    body["warning"] = json!(warning);
                }
                body
            }
            Some(error) => {
                json!({id: value, "log": null, "error": ApiError::from(snapshot::in_words_for_callers(error)).body()})
            }
        }
    });
    Value::Array(logs.collect())
}

/// How many jobs a warning names in a header at most: proxies bound the size of headers.
const JOBS_IN_A_HEADER: usize = 20;

/// Warnings as the value of a header: JSON in printable ASCII.
pub fn warnings(warnings: &[Warning]) -> String {
    let mut warnings = warnings.to_vec();
    for warning in &mut warnings {
        warning.job_ids.truncate(JOBS_IN_A_HEADER);
    }
    escaped(&json(&warnings).unwrap_or_default(), |c| c.is_ascii())
}

/// JSON in which all but some characters are escaped. Outside of strings it has none but ASCII.
pub(super) fn escaped(json: &Value, is_kept: impl Fn(char) -> bool) -> String {
    let mut text = String::new();
    for c in json.to_string().chars() {
        if is_kept(c) {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

/// What a job was submitted with, under the names that a submission has for it. What the server chose is not among it: the
/// account, the server of the home folders.
///
/// Errors: as of [`json`].
pub fn kept_submission(kept: &KeptSubmission) -> Result<Value, Error> {
    let mut body = json!({
        "job_id": kept.job_id,
        "status": kept.status.name(),
        "ending": kept.ending,
        "open_predecessors": kept.open_predecessors,
        "in_place": kept.in_place,
        "file_path": kept.arguments.given_path,
        "absolute_path": kept.arguments.absolute_path,
        "after": kept.arguments.after,
    });
    for (name, value) in submission::kept_settings(&kept.arguments)? {
        body[name] = value;
    }
    Ok(body)
}

/// A job explained, for a caller of the API; `user` is the job's owner, `namespace` where it is.
///
/// Errors: as of [`json`].
pub fn explanation(mut explanation: Explanation, user: &str, namespace: &str) -> Result<Value, Error> {
    let told = |text: &str| cluster_words::of_objects_for_callers(text, namespace);
    for event in &mut explanation.events {
        event.message = told(&event.message);
    }
    json(&Explanation {
        record: JobRecord {
            user: user.to_string(),
            ..explanation.record
        },
        details: explanation.details.as_deref().map(told),
        submit_again: explanation
            .submit_again
            .map(|again| again.for_callers(submission::is_setting)),
        ..explanation
    })
}

/// The record of a job, for a caller of the API; `user` is the job's owner. What the server chose is not in it.
pub fn statement(mut statement: Statement, user: &str, namespace: &str) -> Statement {
    let told = |text: &str| cluster_words::of_objects_for_callers(text, namespace);
    let build = &mut statement.predicate.build_definition;
    build.internal_parameters.clear();
    build
        .external_parameters
        .retain(|name, _| name == "file_path" || submission::is_setting(name));
    let run = &mut statement.predicate.run_details.metadata.run;
    run.user = user.to_string();
    run.details = run.details.as_deref().map(told);
    for event in &mut run.events {
        event.message = told(&event.message);
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job_record;
    use crate::error::KubectlReport;

    fn of_cluster(class: ErrorClass, stderr: &str) -> Error {
        Error {
            kubectl: Some(KubectlReport {
                request: "GET /api/v1/secret-path".into(),
                exit_status: Some(1),
                stderr: stderr.into(),
            }),
            ..Error::new(class, "kubectl could not do it: /etc/secret-path.").advise("Look at ~/.kube/config.")
        }
    }

    #[test]
    fn a_caller_sees_nothing_of_kubectl() {
        for class in [
            ErrorClass::Unavailable,
            ErrorClass::Timeout,
            ErrorClass::Forbidden,
            ErrorClass::Unauthorized,
            ErrorClass::NotConfigured,
            ErrorClass::Kubectl,
            ErrorClass::NotFound,
        ] {
            let refusal = ApiError::from(of_cluster(class, "open /etc/secret-path: no such file"));
            assert!(refusal.status >= 500, "{class:?}");
            // The administrator does.
            assert!(refusal.reason.contains("open /etc/secret-path"));
            let answer = answer(Err(refusal));
            assert!(
                !answer.body.contains("secret-path") && !answer.body.contains("kube/config"),
                "{}",
                answer.body
            );
        }
    }

    #[test]
    fn what_the_cluster_says_of_the_callers_job_reaches_the_caller() {
        let quota = ApiError::from(of_cluster(
            ErrorClass::QuotaExceeded,
            "Error: exceeded quota: q, requested: pods=1, used: pods=7, limited: pods=7",
        ));
        assert_eq!(quota.status, 429);
        assert_eq!(
            quota.body()["details"],
            "Kubernetes says: Error: exceeded quota: q, requested: pods=1, limited: pods=7"
        );
        assert!(quota.reason.contains("used: pods=7"), "{}", quota.reason);
        let invalid = ApiError::from(of_cluster(ErrorClass::Invalid, "The Job is invalid: spec.x"));
        assert_eq!(invalid.status, 400);
        assert!(invalid.body()["details"].as_str().unwrap().contains("spec.x"));
    }

    #[test]
    fn what_ran_out_of_memory_is_told_with_arguments_that_a_caller_can_give() {
        let arguments = json!({
            "given_path": "a.R", "expanded_path": "/a.R", "memory_limit": "512M", "cpu_limit": 1.0, "container": "r:1",
            "auto_mount_home": false, "home_nfs_ip_address": "192.0.2.1", "username": "mike",
        });
        let metadata = json!({"name": "a-1", "annotations": {"abba/arguments": arguments.to_string()}});
        let explain = |reason: &str| {
            let pod = json!({"metadata": {"name": "a-1-x"}, "spec": {"nodeName": "n"}, "status": {
                "phase": "Failed",
                "containerStatuses": [
                    {"name": "program", "state": {"terminated": {"exitCode": 137, "reason": reason}}}],
            }});
            let job = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            let pod = serde_json::from_value(pod).unwrap();
            explanation(
                job_record::explain(&job, Some(&pod), 1, Default::default(), Vec::new(), &Default::default()),
                "mike",
                "n",
            )
            .unwrap()
        };
        assert_eq!(
            explain("OOMKilled")["submit_again"],
            json!({"file_path": "a.R", "memory_limit": "1024M", "container": "r:1"})
        );
        assert_eq!(explain("Error")["submit_again"], Value::Null);
    }

    #[test]
    fn nothing_breaks_a_header() {
        let warning = Warning {
            class: "log_incomplete",
            message: "a\r\nSet-Cookie: x\u{e9}\u{1f600}".into(),
            advice: "b".into(),
            job_ids: vec!["j".into()],
        };
        let header = warnings(&[warning]);
        assert!(header.chars().all(|c| (' '..='~').contains(&c)), "{header}");
        let read: Value = serde_json::from_str(&header).unwrap();
        assert_eq!(read[0]["message"], "a\r\nSet-Cookie: x\u{e9}\u{1f600}");
    }
}
