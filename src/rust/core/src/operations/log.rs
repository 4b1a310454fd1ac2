//! The logs of jobs.

use super::observation::{not_found, Observed};
use super::parallel_map::parallel_map_unless_stopped;
use super::{error_messages, stopped, Connection, JobSelector};
use crate::domain::job_log;
use crate::domain::{diagnosis, job_status};
use crate::error::{Error, ErrorClass, Warning};
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::Api;
use crate::transport::{Failure, FailureKind, Patience};

const UNTOUCHED: &str = "The job itself is not affected.";

/// One job's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOfJob {
    /// The job.
    pub job_id: String,
    /// Its pod; without one the job's own id.
    pub pod_id: String,
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
pub fn log(connection: &Connection<'_>, which: &JobSelector) -> Result<Logs, Error> {
    let (api, observation) = connection.observe(which)?;
    let (transport, namespace) = (api.transport(), api.namespace());
    let jobs: Vec<(&str, Observed<'_>)> = observation.each().collect();
    let outcomes = parallel_map_unless_stopped(&jobs, &connection.patience, |(job_id, observed), patience| {
        log_of_job(
            &Api::in_namespace(transport, namespace, *patience),
            patience,
            job_id,
            observed,
        )
    })
    .map_err(stopped)?;
    let mut logs = Logs::default();
    for outcome in outcomes {
        let (log, warning) = outcome?;
        logs.logs.push(log);
        logs.warnings.extend(warning);
    }
    Ok(logs)
}

/// A place in the logs of some jobs, for reading them in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// JobSelector of the logs, counted from 0.
    pub log: usize,
    /// JobSelector of its lines, counted from 0.
    pub line: usize,
}

/// A page of the logs of some jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The lines of this page, and what must be said about their logs. A log that began on an earlier page is there with
    /// the rest of its lines.
    pub logs: Logs,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<LogPosition>,
}

/// How many logs are read at once for a page, at most.
const LOGS_AT_ONCE: usize = 8;

/// The logs of jobs as of [`log`], from `from` on, until their lines have about `bytes` bytes; at least one line.
///
/// Errors: as those of [`log`].
pub fn log_page(
    connection: &Connection<'_>,
    which: &JobSelector,
    from: LogPosition,
    bytes: usize,
) -> Result<LogPage, Error> {
    let (api, observation) = connection.observe(which)?;
    let (transport, namespace) = (api.transport(), api.namespace());
    let jobs: Vec<(&str, Observed<'_>)> = observation.each().collect();
    let mut page = LogPage::default();
    let mut rest = bytes;
    let mut position = from;
    // The first may fill the page. Several are read at once when those before were small.
    let mut at_once = 1;
    while position.log < jobs.len() {
        let some = &jobs[position.log..jobs.len().min(position.log + at_once)];
        at_once = (at_once * 2).min(LOGS_AT_ONCE);
        let outcomes = parallel_map_unless_stopped(some, &connection.patience, |(job_id, observed), patience| {
            log_of_job(
                &Api::in_namespace(transport, namespace, *patience),
                patience,
                job_id,
                observed,
            )
        })
        .map_err(stopped)?;
        for outcome in outcomes {
            let (mut log, warning) = outcome?;
            let begin = position.line.min(log.lines.len());
            let taken = lines_that_fit(&log.lines[begin..], &mut rest, page.logs.logs.is_empty());
            let is_whole = begin + taken == log.lines.len();
            if taken > 0 || is_whole {
                log.lines = log.lines.drain(begin..begin + taken).collect();
                page.logs.logs.push(log);
                page.logs.warnings.extend(warning);
            }
            if !is_whole {
                page.next = Some(LogPosition {
                    log: position.log,
                    line: begin + taken,
                });
                return Ok(page);
            }
            position = LogPosition {
                log: position.log + 1,
                line: 0,
            };
        }
    }
    Ok(page)
}

/// How many of the lines fit into `rest` bytes, which becomes what is left; with `at_least_one` not none.
fn lines_that_fit(lines: &[String], rest: &mut usize, at_least_one: bool) -> usize {
    let mut taken = 0;
    for line in lines {
        let size = line.len() + 1;
        if size > *rest && !(at_least_one && taken == 0) {
            break;
        }
        *rest = rest.saturating_sub(size);
        taken += 1;
    }
    taken
}

fn log_of_job(
    api: &Api<'_>,
    patience: &Patience<'_>,
    job_id: &str,
    observed: &Observed<'_>,
) -> Result<(LogOfJob, Option<Warning>), Error> {
    let (pod_id, (lines, warning)) = match observed {
        Observed::Job(job) => (job_id, (why_there_is_no_pod(api, job)?, None)),
        Observed::Pod(pod) if pod.has_started() => (pod.metadata.name.as_str(), read(api, patience, job_id, pod)?),
        Observed::Pod(pod) => (pod.metadata.name.as_str(), (why_it_has_not_started(api, pod)?, None)),
    };
    let log = LogOfJob {
        job_id: job_id.to_string(),
        pod_id: pod_id.to_string(),
        lines,
    };
    Ok((log, warning))
}

fn read(
    api: &Api<'_>,
    patience: &Patience<'_>,
    job_id: &str,
    pod: &Pod,
) -> Result<(Vec<String>, Option<Warning>), Error> {
    let words = |failure: &Failure, doing: &str| error_messages::error(failure, doing, api.namespace(), patience);
    let bytes = api.log(&pod.metadata.name).map_err(|failure| match failure.kind {
        // The pod was there a moment ago. The API server's words for one that is gone; a node has others for a pod that it
        // does not know (kubelet: "pod does not exist", "the server could not find the requested resource").
        FailureKind::NotFound if failure.words.trim_end().ends_with("\" not found") => {
            not_found(&[job_id], api.namespace())
        }
        FailureKind::NotFound => match api.get_pod(&pod.metadata.name) {
            Ok(_) => log_is_lost(job_id, &failure.words),
            Err(_) => not_found(&[job_id], api.namespace()),
        },
        FailureKind::Server => {
            let mut error = words(&failure, "read the log");
            error.class = ErrorClass::LogUnavailable;
            error.message = "The log cannot be read: the node that ran the program does not give it.".into();
            error.meaning(UNTOUCHED).about([job_id])
        }
        _ => words(&failure, "read the logs of pods")
            .meaning(UNTOUCHED)
            .about([job_id]),
    })?;
    if let Some(words) = job_log::says_that_log_is_lost(&bytes) {
        return Err(log_is_lost(job_id, &words));
    }
    let log = job_log::read(&bytes, job_id);
    // While the program runs, an empty log may only mean that its first line is on its way.
    let too_early = bytes.is_empty() && pod.terminated().is_none();
    let warning = (!log.has_head && !too_early).then(|| head_is_missing(job_id));
    Ok((log.lines, warning))
}

fn log_is_lost(job_id: &str, words: &str) -> Error {
    let error = Error::new(
        ErrorClass::LogUnavailable,
        "The log is lost: the node that ran the program no longer has it.",
    );
    Error {
        details: Some(format!("The node says: {words}")),
        ..error
    }
    .meaning("What the program did is not affected.")
    .advise("Submit the program again to get a log.")
    .about([job_id])
}

fn head_is_missing(job_id: &str) -> Warning {
    Warning {
        class: "log_incomplete",
        // Seen with containerd: where the node changes to a new log, it splits a line.
        message: format!(
            "The beginning of the log of job \"{job_id}\" is missing, and its first line may be the end of one."
        ),
        advice: "The cluster keeps the newest part only of a long log (10 MiB, unless its administrator set it otherwise). Let the program write its output to a file in a mount, or print less.".into(),
        job_ids: vec![job_id.to_string()],
    }
}

fn why_there_is_no_pod(api: &Api<'_>, job: &Job) -> Result<Vec<String>, Error> {
    let events = api.list_events_if_allowed("Job", &job.metadata.name).map_err(stopped)?;
    Ok(diagnosis::of_job_without_pod(job, &events).lines())
}

fn why_it_has_not_started(api: &Api<'_>, pod: &Pod) -> Result<Vec<String>, Error> {
    let events = api.list_events_if_allowed("Pod", &pod.metadata.name).map_err(stopped)?;
    let mut lines = diagnosis::of_unstarted_pod(pod, &events).lines();
    if job_status::node_is_lost(pod) {
        lines.insert(0, "abba: The node that holds the program does not answer.".into());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{ended, list, patient, pod, Answer, Scripted};
    use super::*;

    /// What the log of job a fails with, where its node answers 404 and a look for the pod is answered so.
    fn error_if_the_node_answers_404(pod_now: Answer) -> Error {
        let cluster = Scripted::new()
            .get("/log?container=program", [Answer::Fails(FailureKind::NotFound)])
            .get("/pods?", [list(1, [pod("a", 1, ended(0))])])
            .get("/pods/", [pod_now]);
        log(&patient(&cluster), &JobSelector::Jobs(vec!["a".into()])).unwrap_err()
    }

    #[test]
    fn a_log_that_the_node_no_longer_has_is_told_apart_from_a_job_that_is_gone() {
        let lost = error_if_the_node_answers_404(Answer::Body(pod("a", 1, ended(0)).to_string().into_bytes()));
        assert_eq!(lost.class, ErrorClass::LogUnavailable);
        assert!(lost.message.starts_with("The log is lost"), "{}", lost.message);
        assert_eq!(lost.job_ids, ["a"]);
        let gone = error_if_the_node_answers_404(Answer::Fails(FailureKind::NotFound));
        assert_eq!(gone.class, ErrorClass::NotFound);
    }
}
