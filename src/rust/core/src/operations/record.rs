//! The records of jobs: what is known of a run, out of the cluster, and byte for byte what it printed.

use std::collections::{BTreeMap, HashSet};

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use serde_json::Map;
use sha2::{Digest, Sha256};

use super::job_store::account;
use super::log::LogBytes;
use super::log_parts::LogParts;
use super::observation::Observed;
use super::parallel_map::{over, parallel_map_unless_stopped};
use super::submit::ran_in_place;
use super::{explain, log, stopped, Archived, Connection, JobSelector};
use crate::domain::job_status::Status;
use crate::domain::program::hexadecimal;
use crate::domain::program::Runner;
use crate::domain::record::{self, Facts, Statement};
use crate::domain::session;
use crate::domain::submission::SubmitArguments;
use crate::domain::verdict::{self, Verdict};
use crate::error::{Error, ErrorClass, Warning};
use crate::kubernetes::{labels, Api};

/// The record of a job, and its log.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordOfJob {
    /// The record, without the files that the program read and wrote.
    pub statement: Statement,
    /// What the program printed.
    pub log: Vec<u8>,
    /// What must be said of the log.
    pub warnings: Vec<Warning>,
    /// The caller of the abba API to whom the job belongs; `None`: it was not submitted by one.
    pub owner: Option<String>,
    /// The number of the account that it runs as; `None`: as its image says.
    pub uid: Option<u32>,
}

impl RecordOfJob {
    /// The record as JSON, and the log in base64: as they travel.
    ///
    /// Errors: it cannot be written as JSON, which is a mistake of abba itself.
    pub fn texts(&self) -> Result<(String, String), Error> {
        let record = serde_json::to_string(&self.statement)
            .map_err(|error| Error::new(ErrorClass::Internal, format!("JSON: {error}.")))?;
        Ok((record, STANDARD.encode(&self.log)))
    }
}

/// The records of jobs, in order. That of a job that has not ended says so, and its log is not read. `archived`: what the
/// archive has of those that the cluster has no longer.
///
/// Errors: some of them do not exist; the cluster cannot be asked; the archive does not have one as it was recorded.
pub fn records(
    connection: &Connection<'_>,
    job_ids: &[String],
    archived: &Archived,
) -> Result<Vec<RecordOfJob>, Error> {
    let here: HashSet<&str> = archived.jobs().iter().map(|job| job.job_id.as_str()).collect();
    let rest: Vec<String> = job_ids
        .iter()
        .filter(|id| !here.contains(id.as_str()))
        .cloned()
        .collect();
    let found = match rest.is_empty() {
        true => Vec::new(),
        false => each(connection, None, &rest)?,
    };
    let is_missing =
        |one: &&Result<RecordOfJob, Error>| one.as_ref().is_err_and(|error| error.class == ErrorClass::NotFound);
    if let Some(Err(error)) = found.iter().find(is_missing) {
        let missing = rest.iter().zip(&found).filter(|(_, one)| is_missing(one));
        return Err(error.clone().about(missing.map(|(id, _)| id.as_str())));
    }
    let found = rest.iter().map(|id| (id.clone(), None)).zip(found);
    archived
        .beside(&JobSelector::Jobs(job_ids.to_vec()), found, |job| archived.record(job))
        .into_iter()
        .collect()
}

/// The same, where one job that is not there does not matter to the others. `parts`: what was kept of the logs before.
///
/// Errors: the cluster cannot be asked.
pub(super) fn each(
    connection: &Connection<'_>,
    parts: Option<&LogParts>,
    job_ids: &[String],
) -> Result<Vec<Result<RecordOfJob, Error>>, Error> {
    let api = connection.api()?;
    let version = api
        .server_version()
        .map_err(|failure| connection.error(&api, &failure, "ask for the version"))?
        .git_version;
    let record = over(connection, api.namespace(), |job_id: &String, connection, _| {
        record_of(connection, parts, job_id, &version)
    });
    parallel_map_unless_stopped(job_ids, &connection.patience, record).map_err(stopped)
}

fn record_of(
    connection: &Connection<'_>,
    parts: Option<&LogParts>,
    job_id: &str,
    kubernetes: &str,
) -> Result<RecordOfJob, Error> {
    let explain::Explained {
        mut explanation,
        api,
        job,
        pod,
    } = explain::without_log(connection, job_id)?;
    let mut kept = LogBytes::default();
    let mut notes = Vec::new();
    let mut warnings = Vec::new();
    let has_ended = explanation.record.status.has_ended();
    match pod.as_ref().filter(|pod| has_ended && pod.has_started()) {
        None if has_ended => {
            let parts = parts.filter(|_| pod.is_none());
            match parts.and_then(|parts| log::log_without_pod(parts, job_id, &mut kept.bytes)) {
                None => notes.push("There is no log: the program never started, or its pod is gone.".to_string()),
                Some((pod_id, lines, said)) => {
                    explanation.pod_id = Some(pod_id);
                    if explanation.record.status == Status::Succeeded {
                        let finding = verdict::of_lines(&lines, connection.log_patterns);
                        if said.is_empty() || finding.verdict != Verdict::Clean {
                            explanation.verdict = Some(finding.verdict);
                            explanation.verdict_line = finding.line;
                        }
                    }
                    notes.extend(said.iter().map(|warning| warning.message.clone()));
                    warnings.extend(said);
                }
            }
        }
        None => {}
        Some(pod) => {
            kept.part = parts.and_then(|parts| parts.best(job_id, &pod.metadata.name));
            let (read, said) = log::log_of_job(connection, &api, job_id, &Observed::Pod(pod), Some(&mut kept))?;
            // Of a program that was killed the log tells nothing of that.
            if let Some(finding) = read.finding {
                explanation.verdict = Some(finding.verdict);
                explanation.verdict_line = finding.line;
            }
            if let Some(error) = read.error {
                notes.push(error.message.clone());
                warnings.push(Warning {
                    class: "log_unavailable",
                    message: format!("The log of job \"{job_id}\" could not be read: {}", error.message),
                    advice: error.advice.unwrap_or_default(),
                    job_ids: vec![job_id.to_string()],
                });
            }
            notes.extend(said.iter().map(|warning| warning.message.clone()));
            warnings.extend(said);
        }
    }
    let arguments = SubmitArguments::of_job(&job);
    let runner = Runner::of(job.metadata.annotation(labels::PROGRAM_PATH).unwrap_or_default());
    // An older abba noted the path alone.
    let path_alone = || {
        let path = explanation.record.program.as_str();
        let given = (!path.is_empty()).then(|| ("file_path".to_string(), path.into()));
        given.into_iter().collect()
    };
    let facts = Facts {
        parameters: arguments.as_ref().map_or_else(path_alone, record::parameters),
        explanation,
        internal_parameters: internal_parameters(&api),
        program_sha256: job
            .metadata
            .annotation(labels::PROGRAM_SHA256)
            .filter(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .map(String::from),
        in_place: arguments
            .as_ref()
            .is_some_and(|arguments| ran_in_place(arguments).unwrap_or(false)),
        program_path: arguments.map_or_else(String::new, |arguments| match arguments.absolute_path {
            Some(path) => path,
            // Where a caller of the abba API has it, only the caller knows.
            None if job.metadata.annotations.contains_key(labels::OWNER) => arguments.given_path,
            None => arguments.expanded_path,
        }),
        versions: BTreeMap::from([
            ("abba".into(), env!("CARGO_PKG_VERSION").into()),
            ("kubernetes".into(), kubernetes.into()),
        ]),
        noted: has_ended.then(|| session::of_ended(pod.as_ref(), runner)),
    };
    let bytes = kept.bytes;
    let digest = hexadecimal(&Sha256::digest(&bytes));
    Ok(RecordOfJob {
        statement: Statement::new(facts, digest, bytes.len() as u64, notes),
        log: bytes,
        warnings,
        owner: job.metadata.annotations.get(labels::OWNER).cloned(),
        uid: account(&job),
    })
}

fn internal_parameters(api: &Api<'_>) -> Map<String, serde_json::Value> {
    [("namespace".to_string(), api.namespace().into())]
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{ended, job, list, object, patient, pod, running, Answer, Scripted};
    use super::*;
    use crate::domain::record::{tests::check_by_specification, Role};
    use crate::transport::FailureKind;
    use serde_json::{json, Value};

    /// A Job that says what it was submitted with.
    fn submitted(id: &str, path: &str) -> Value {
        let mut job = job(id, 1);
        let arguments = json!({"given_path": path, "expanded_path": format!("/study/{path}"), "container": "r:1"});
        job["metadata"]["annotations"] = json!({
            "abba/program-path": path, "abba/program-sha256": "0a".repeat(32), "abba/arguments": arguments.to_string(),
        });
        job["metadata"]["labels"] = json!({"abba/batch-id": "b", "abba/user": "mike"});
        job["spec"] = json!({"template": {"spec": {"containers": [{"name": "program", "image": "r:1"}]}}});
        job
    }

    fn cluster(pod: Value, log: Answer, newest: &'static [u8]) -> Scripted {
        let noted =
            json!({"reason": "Started", "type": "Normal", "message": "", "lastTimestamp": "2026-01-01T00:00:02Z"});
        Scripted::new()
            .get("/version", [object(&json!({"gitVersion": "v1.34.1"}))])
            .get("/events", [list(1, [noted])])
            .get("tailLines=1", [Answer::Body(newest.to_vec())])
            .get("/log?", [log])
            .get("/pods?", [list(1, [pod])])
            .get("/jobs", [list(1, [submitted("a", "a.R")])])
    }

    fn record(cluster: &Scripted) -> RecordOfJob {
        let records = records(&patient(cluster), &["a".into()], &Archived::default()).unwrap();
        assert_eq!(records.len(), 1);
        let json: Value = serde_json::from_str(&records[0].texts().unwrap().0).unwrap();
        check_by_specification(&json);
        assert_eq!(
            Statement::read(json.to_string().as_bytes()).as_ref(),
            Some(&records[0].statement)
        );
        records.into_iter().next().unwrap()
    }

    #[test]
    fn a_record_has_what_ran_and_the_log_byte_for_byte() {
        let log = b"2026-01-01T00:00:01Z abba-log-of a\n2026-01-01T00:00:01Z \xe9t\xe9\0\r\n2026-01-01T00:00:02Z end";
        let mut pod = pod("a", 1, ended(0));
        pod["spec"]["nodeName"] = json!("node-1");
        pod["status"]["containerStatuses"][0]["imageID"] = json!(format!("r@sha256:{}", "0b".repeat(32)));
        let record = record(&cluster(pod, Answer::Body(log.to_vec()), b"2026-01-01T00:00:02Z end"));
        assert_eq!(record.log, b"\xe9t\xe9\0\r\nend");
        let statement = &record.statement;
        assert_eq!(
            statement.subject[0].sha256(),
            Some(hexadecimal(&Sha256::digest(&record.log)).as_str())
        );
        assert_eq!(
            (&statement.subject[0].annotations.notes, &record.warnings),
            (&vec![], &vec![])
        );
        let of = |role| statement.of_role(role).next().unwrap();
        assert_eq!(
            (of(Role::Program).sha256(), of(Role::Program).uri.as_str()),
            (Some("0a".repeat(32).as_str()), "file:///study/a.R")
        );
        assert_eq!(of(Role::Image).sha256(), Some("0b".repeat(32).as_str()));
        let run = statement.run();
        assert_eq!(
            (
                run.status.as_str(),
                run.user.as_str(),
                run.node.as_deref(),
                run.verdict.as_deref(),
                run.events.len()
            ),
            ("Succeeded", "mike", Some("node-1"), Some("clean"), 2)
        );
        assert_eq!(statement.predicate.run_details.builder.version["kubernetes"], "v1.34.1");
        assert_eq!(
            statement.predicate.build_definition.external_parameters["file_path"],
            "a.R"
        );
    }

    #[test]
    fn what_is_missing_of_a_log_is_said() {
        let without_head = Answer::Body(b"2026-01-01T00:00:01Z x\n".to_vec());
        let record_of = |log, newest| record(&cluster(pod("a", 1, ended(0)), log, newest));
        let found = record_of(without_head, b"2026-01-01T00:00:01Z x\n");
        assert_eq!((found.log.as_slice(), found.warnings.len()), (&b"x\n"[..], 1));
        let note = &found.statement.subject[0].annotations.notes[0];
        assert!(note.contains("The beginning of the log"), "{note}");
        let lost = record_of(Answer::Fails(FailureKind::Server), b"");
        assert_eq!(
            (lost.log.as_slice(), lost.warnings[0].class),
            (&b""[..], "log_unavailable")
        );
        assert!(!lost.statement.subject[0].annotations.notes.is_empty());
        assert_eq!(lost.statement.run().verdict, None);
    }

    #[test]
    fn the_log_of_a_program_that_runs_is_not_read() {
        let cluster = cluster(pod("a", 1, running()), Answer::Body(b"x\n".to_vec()), b"");
        let record = record(&cluster);
        assert_eq!(
            (record.log.len(), record.statement.run().status.as_str()),
            (0, "Running")
        );
        assert!(cluster.paths("/log?").is_empty());
    }

    #[test]
    fn a_job_that_never_started_has_no_log_and_says_so() {
        let mut job = submitted("a", "a.R");
        job["status"] = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "x"}]});
        let cluster = Scripted::new()
            .get("/version", [object(&json!({"gitVersion": "v1.34.1"}))])
            .get("/events", [list(1, [])])
            .get("/pods?", [list(1, [])])
            .get("/jobs", [list(1, [job])]);
        let record = record(&cluster);
        assert_eq!(
            (record.log.len(), record.statement.run().status.as_str()),
            (0, "Failed")
        );
        assert!(record.statement.subject[0].annotations.notes[0].starts_with("There is no log"));
    }
}
