//! The logs of jobs.

use super::status::{not_found, observe, Observed};
use super::{check_job_ids, Connection};
use crate::domain::job_log;
use crate::domain::{diagnosis, job_status};
use crate::error::{Error, ErrorClass, Warning};
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::Api;
use crate::transport::FailureKind;

const UNTOUCHED: &str = "The job itself is not affected.";

/// One job's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOfJob {
    /// The job.
    pub job_id: String,
    /// Its lines; where the program never started, the reason in words.
    pub lines: Vec<String>,
}

/// The logs of jobs, with what must be said about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// In the order of the ids.
    pub logs: Vec<LogOfJob>,
    /// For each log that does not begin where the program began.
    pub warnings: Vec<Warning>,
}

/// The logs of jobs, each read whole, in the order of the ids.
///
/// Errors: as those of [`super::status`]; and [`ErrorClass::Unavailable`] where the node that holds a log does not
/// answer or has lost it.
pub fn log(connection: &Connection<'_>, job_ids: &[String]) -> Result<Logs, Error> {
    check_job_ids(job_ids)?;
    let api = connection.api()?;
    let observed = observe(connection, &api, job_ids)?;
    let mut logs = Logs::default();
    for (job_id, observed) in job_ids.iter().zip(&observed) {
        let lines = match observed {
            Observed::Job(job) => why_there_is_no_pod(&api, job),
            Observed::Pod(pod) if pod.has_started() => read(connection, &api, job_id, pod, &mut logs.warnings)?,
            Observed::Pod(pod) => why_it_has_not_started(&api, pod),
        };
        logs.logs.push(LogOfJob {
            job_id: job_id.clone(),
            lines,
        });
    }
    Ok(logs)
}

fn read(
    connection: &Connection<'_>,
    api: &Api<'_>,
    job_id: &str,
    pod: &Pod,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<String>, Error> {
    let bytes = api.log(&pod.metadata.name).map_err(|failure| match failure.kind {
        // The pod was there a moment ago.
        FailureKind::NotFound => not_found(&[job_id], api.namespace()),
        FailureKind::Server => {
            let mut error = connection.error(api, &failure, "read the log");
            error.message = "The log cannot be read: the node that ran the program does not give it.".into();
            error.meaning(UNTOUCHED).about([job_id])
        }
        _ => connection
            .error(api, &failure, "read the logs of pods")
            .meaning(UNTOUCHED)
            .about([job_id]),
    })?;
    if let Some(words) = job_log::says_that_log_is_lost(&bytes) {
        let error = Error::new(
            ErrorClass::Unavailable,
            "The log is lost: the node that ran the program no longer has it.",
        );
        return Err(Error {
            details: Some(format!("The node says: {words}")),
            ..error
        }
        .meaning("What the program did is not affected.")
        .advise("Submit the program again to get a log.")
        .about([job_id]));
    }
    let log = job_log::read(&bytes, job_id);
    // While the program runs, an empty log may only mean that its first line is on its way.
    let too_early = bytes.is_empty() && pod.terminated().is_none();
    if !log.has_head && !too_early {
        warnings.push(head_is_missing(job_id));
    }
    Ok(log.lines)
}

fn head_is_missing(job_id: &str) -> Warning {
    Warning {
        class: "log_incomplete",
        message: format!("The beginning of the log of job \"{job_id}\" is missing."),
        advice: "The cluster keeps the newest part only of a long log (10 MiB, unless its administrator set it otherwise). Let the program write its output to a file in a mount, or print less.".into(),
        job_ids: vec![job_id.to_string()],
    }
}

/// Events make the reason clearer; without the right to read them it is still told as far as it is known.
fn why_there_is_no_pod(api: &Api<'_>, job: &Job) -> Vec<String> {
    let events = api.list_events("Job", &job.metadata.name).unwrap_or_default();
    diagnosis::of_job_without_pod(job, &events).lines()
}

fn why_it_has_not_started(api: &Api<'_>, pod: &Pod) -> Vec<String> {
    let events = api.list_events("Pod", &pod.metadata.name).unwrap_or_default();
    let mut lines = diagnosis::of_unstarted_pod(pod, &events).lines();
    if job_status::node_is_lost(pod) {
        lines.insert(0, "abba: The node that holds the program does not answer.".into());
    }
    lines
}
