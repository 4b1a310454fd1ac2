//! The logs of jobs.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use super::archive::{Archived, ArchivedJob};
use super::log_parts::LogParts;
use super::observation::{not_found, Observed};
use super::parallel_map::{over, parallel_map_unless_stopped};
use super::queue::Queues;
use super::{error_messages, log_parts, stopped, Connection, JobSelector};
use crate::domain::followed_log::{compare_ends, End, FollowedLog};
use crate::domain::verdict::{self, Finding, Verdict};
use crate::domain::{diagnosis, job_log, job_status, restarts};
use crate::error::{Error, ErrorClass, Warning};
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::{Api, LogQuestion};
use crate::transport::{Backoff, Failure, FailureKind};

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
    /// Why it could not be read; then it has no lines.
    pub error: Option<Error>,
    /// Its verdict; `None` where the program has not ended, or the log is not known.
    pub finding: Option<Finding>,
}

impl LogOfJob {
    /// The warning where Kubernetes calls the job Succeeded, and its log says that work is missing.
    pub fn verdict_warning(&self) -> Option<Warning> {
        let finding = self.finding.as_ref().filter(|finding| finding.work_is_missing)?;
        let what = match finding.verdict {
            Verdict::Errors => "R printed an error in its log",
            _ => "R lost results of its workers",
        };
        Some(Warning {
            class: "log_verdict",
            message: format!(
                "Job \"{}\" is Succeeded, but {what}: {}",
                self.job_id,
                finding.line.as_deref().unwrap_or_default()
            ),
            advice:
                "Read the log before you use the results: a program that goes on after an error ends with status 0."
                    .into(),
            job_ids: vec![self.job_id.clone()],
        })
    }
}

/// The logs of jobs, with what must be said about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// In the order of the ids.
    pub logs: Vec<LogOfJob>,
    /// For each log that does not begin where the program began, or not end where it ended.
    pub warnings: Vec<Warning>,
}

/// The logs of jobs, each read whole, in the order of the ids. One that cannot be read says so itself.
///
/// What the cluster has forgotten comes from the archive, as far as that has it.
///
/// Errors: as those of [`super::status`]; and, where none of the logs can be read, why that is:
/// [`ErrorClass::LogUnavailable`] where the node that holds a log does not answer or has lost it.
pub fn log(connection: &Connection<'_>, which: &JobSelector, archived: &Archived) -> Result<Logs, Error> {
    let from_archive = |job: &_| archived.log(job, connection.log_patterns);
    let Some((api, mut observation)) = archived.observe_rest(connection, which)? else {
        return as_a_whole(archived.beside(which, [], from_archive), Vec::new());
    };
    let starts = observation.look_for_starts(connection, &api)?;
    let jobs: Vec<(&str, Observed<'_>)> = observation.each().collect();
    let read = over(
        connection,
        api.namespace(),
        |(job_id, observed): &(&str, Observed<'_>), connection, api| {
            log_of_job(connection, api, job_id, observed, None)
        },
    );
    let outcomes = parallel_map_unless_stopped(&jobs, &connection.patience, read).map_err(stopped)?;
    let in_cluster: Vec<(LogOfJob, Vec<Warning>)> = outcomes.into_iter().collect::<Result<_, Error>>()?;
    let in_cluster = observation.ids_and_times().into_iter().zip(in_cluster);
    let starts = starts.iter().map(|(id, starts)| (id.as_str(), *starts));
    as_a_whole(
        archived.beside(which, in_cluster, from_archive),
        restarts::warnings(starts),
    )
}

fn as_a_whole(read: Vec<(LogOfJob, Vec<Warning>)>, of_starts: Vec<Warning>) -> Result<Logs, Error> {
    let mut logs = Logs::default();
    for (log, warnings) in read {
        logs.logs.push(log);
        logs.warnings.extend(warnings);
    }
    logs.warnings.extend(of_starts);
    match error_of_all(&logs.logs) {
        Some(error) => Err(error),
        None => Ok(logs),
    }
}

/// Where none of some logs could be read: why the first could not, about all of them.
fn error_of_all(logs: &[LogOfJob]) -> Option<Error> {
    let error = logs.first()?.error.clone()?;
    let all_failed = logs.iter().all(|log| log.error.is_some());
    all_failed.then(|| error.about(logs.iter().map(|log| log.job_id.as_str())))
}

/// A place in the logs of some jobs, for reading them in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Which of the logs, counted from 0.
    pub log: usize,
    /// Which of its lines, counted from 0.
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

/// Where a log of a page comes from.
enum Source<'a> {
    Cluster(&'a str, Observed<'a>),
    Archive(&'a ArchivedJob),
}

/// How many of the first sources are read at once. An archived log may be a long one: of these one is held at a time.
fn read_together(sources: &[Source<'_>], at_most: usize) -> usize {
    let in_cluster = sources
        .iter()
        .take_while(|source| matches!(source, Source::Cluster(..)));
    in_cluster.take(at_most).count().max(1)
}

/// The logs of jobs as of [`log`], from `from` on, until their lines have about `bytes` bytes; at least one line.
///
/// Errors: as those of [`log`].
pub fn log_page(
    connection: &Connection<'_>,
    which: &JobSelector,
    archived: &Archived,
    from: LogPosition,
    bytes: usize,
) -> Result<LogPage, Error> {
    let mut observed = archived.observe_rest(connection, which)?;
    let starts = match (&mut observed, from) {
        // They are told once, with the first page.
        (Some((api, observation)), LogPosition { log: 0, line: 0 }) => observation.look_for_starts(connection, api)?,
        _ => Vec::new(),
    };
    let in_cluster = observed.iter().flat_map(|(_, observation)| {
        let sources = observation.each().map(|(id, observed)| Source::Cluster(id, observed));
        observation.ids_and_times().into_iter().zip(sources)
    });
    // Where all comes from the archive nothing is asked there.
    let namespace = observed.as_ref().map_or("", |(api, _)| api.namespace());
    let jobs: Vec<Source<'_>> = archived.beside(which, in_cluster, Source::Archive);
    let mut page = LogPage::default();
    page.logs.warnings = restarts::warnings(starts.iter().map(|(id, starts)| (id.as_str(), *starts)));
    let mut rest = bytes;
    let mut position = from;
    // The first may fill the page. Several are read at once when those before were small.
    let mut at_once = 1;
    while position.log < jobs.len() {
        let rest_of_jobs = &jobs[position.log..];
        let some = &rest_of_jobs[..read_together(rest_of_jobs, at_once)];
        at_once = (at_once * 2).min(LOGS_AT_ONCE);
        let read = over(
            connection,
            namespace,
            |source: &Source<'_>, connection, api| match source {
                Source::Cluster(job_id, observed) => log_of_job(connection, api, job_id, observed, None),
                Source::Archive(job) => Ok(archived.log(job, connection.log_patterns)),
            },
        );
        let outcomes = parallel_map_unless_stopped(some, &connection.patience, read).map_err(stopped)?;
        for outcome in outcomes {
            let (mut log, warnings) = outcome?;
            if let (Some(error), 1..) = (&log.error, position.line) {
                // Whoever asks has the beginning of it already.
                return Err(error.clone());
            }
            let begin = position.line.min(log.lines.len());
            let taken = lines_that_fit(&log.lines[begin..], &mut rest, page.logs.logs.is_empty());
            let is_whole = begin + taken == log.lines.len();
            if taken > 0 || is_whole {
                log.lines = log.lines.drain(begin..begin + taken).collect();
                page.logs.logs.push(log);
                page.logs.warnings.extend(warnings);
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
    match error_of_all(&page.logs.logs) {
        Some(error) if from.log == 0 => Err(error),
        _ => Ok(page),
    }
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

/// A log byte for byte.
#[derive(Debug, Default)]
pub(super) struct LogBytes {
    /// What the program printed.
    pub bytes: Vec<u8>,
    /// What was kept of it while it was written, see [`super::log_parts`].
    pub part: Option<PathBuf>,
}

/// The log of a job, and what must be said about it. `bytes`: gets what the program printed, byte for byte.
///
/// Errors: the user wants to stop.
pub(super) fn log_of_job(
    connection: &Connection<'_>,
    api: &Api<'_>,
    job_id: &str,
    observed: &Observed<'_>,
    bytes: Option<&mut LogBytes>,
) -> Result<(LogOfJob, Vec<Warning>), Error> {
    let no_warning = |lines| (lines, Vec::new());
    let (pod_id, outcome) = match observed {
        Observed::Job(job) => (job_id, why_there_is_no_pod(api, job).map(no_warning)),
        Observed::Pod(pod) => (
            pod.metadata.name.as_str(),
            match pod.has_started() {
                true => read(connection, api, job_id, pod, bytes),
                false => why_it_has_not_started(api, pod).map(no_warning),
            },
        ),
    };
    let (lines, warnings, error) = match outcome {
        Ok((lines, warnings)) => (lines, warnings, None),
        Err(error) if error.class == ErrorClass::Interrupted => return Err(error),
        Err(error) => (Vec::new(), Vec::new(), Some(error)),
    };
    let log = LogOfJob {
        job_id: job_id.to_string(),
        pod_id: pod_id.to_string(),
        finding: match observed {
            Observed::Pod(pod) if error.is_none() => verdict::of_log(pod, &lines, connection.log_patterns)
                // In what is missing may be more.
                .filter(|finding| warnings.is_empty() || finding.verdict != Verdict::Clean),
            _ => None,
        },
        lines,
        error,
    };
    Ok((log, warnings))
}

/// The verdict of the log of a pod, `None` where it cannot be read; and whether all of the log was read that there is.
///
/// Errors: the user wants to stop.
pub(super) fn finding(
    connection: &Connection<'_>,
    api: &Api<'_>,
    job_id: &str,
    pod: &Pod,
) -> Result<(Option<Finding>, bool), Error> {
    let (log, warnings) = log_of_job(connection, api, job_id, &Observed::Pod(pod), None)?;
    let is_all = warnings.iter().all(|warning| is_lost_for_good(warning, job_id));
    Ok((log.finding, log.error.is_none() && is_all))
}

/// How often a log is read on whose end is not where its newest line is.
const ATTEMPTS_AT_THE_END: usize = 5;

/// How often of these for the marker of the end, where it does not stand behind the newest line.
const LOOKS_FOR_MARKER: usize = 2;

/// The exit status of a container that SIGKILL has ended: at its memory limit, with its node, or after its grace period.
const KILLED: i32 = 137;

/// The pauses between these: a kubelet that is started again takes some seconds.
const END_PAUSES: (Duration, Duration) = match cfg!(test) {
    true => (Duration::from_millis(2), Duration::from_millis(4)),
    false => (Duration::from_millis(250), Duration::from_secs(4)),
};

/// Reads a log from its beginning to its end.
///
/// An API server that loses the node in the midst of a log answers as if the log ended there: 200, and a clean end of the
/// body. So for a program that has ended, and whose log does not end with the marker of its end, the newest line is asked for
/// by itself, and compared by its time and its text; where it is another one, the log is read on from the time of the last line. The times cost 5 to 10 % of the time of
/// reading (Kubernetes 1.34); they tell lines of equal text apart, and the program's lines from the node's own words.
///
/// `bytes`: gets the same without any change. A last line has a line end there where the program wrote one.
fn read(
    connection: &Connection<'_>,
    api: &Api<'_>,
    job_id: &str,
    pod: &Pod,
    mut bytes: Option<&mut LogBytes>,
) -> Result<(Vec<String>, Vec<Warning>), Error> {
    let name = pod.metadata.name.as_str();
    let has_ended = pod.terminated().is_some();
    // Of SIGKILL the container's shell learns nothing: it prints no more, and nobody knows how the log was to end.
    let has_marked_its_end = pod.terminated().is_some_and(|end| end.exit_code != KILLED);
    let mut log = FollowedLog::new(job_id);
    let part = bytes.as_mut().and_then(|bytes| bytes.part.take());
    let mut taken = Taken {
        lines: Vec::new(),
        bytes: bytes.map(|bytes| &mut bytes.bytes),
    };
    let mut has_gap = false;
    if let Some(part) = &part {
        let replayed = log_parts::replay(part, &mut |line| taken.take(&mut log, line));
        // Of one that cannot be read the cluster may have what is not in it.
        has_gap = replayed.map_or(true, |(_, has_gap)| has_gap);
    }
    let mut backoff = Backoff::new(END_PAUSES.0, END_PAUSES.1);
    // The end of the attempt before.
    let mut end_before = None;
    let mut attempts = 0;
    let why_incomplete = loop {
        log.reopened();
        let since = log.since();
        let question = LogQuestion {
            since: since.as_deref(),
            ..Default::default()
        };
        let read = api.log_lines_patiently(name, question, &mut |line| {
            taken.take(&mut log, line);
            ControlFlow::Continue(())
        });
        let why = match read {
            Err(failure) if failure.kind == FailureKind::Interrupted || (log.last.is_empty() && attempts == 0) => {
                return Err(error_of(connection, api, job_id, name, &failure));
            }
            // A process that the program left may have gone on behind the marker, but nothing of the program is missing.
            Err(_) if part.is_some() && log.has_end == Some(true) => break None,
            Err(failure) => failure_words(&failure),
            Ok(unfinished) => {
                let mut words = log.node_words.take().or_else(|| log.words_in(&unfinished));
                let is_line = !unfinished.is_empty() && log.words_in(&unfinished).is_none();
                let last = if is_line { &unfinished } else { &log.last };
                if !has_ended {
                    if words.is_none() {
                        if is_line && log.may_be_line(&unfinished) {
                            taken.take_unfinished(&mut log, &unfinished);
                        }
                        break None;
                    }
                } else if log.is_at_end && unfinished.is_empty() && words.is_none() {
                    break None;
                } else {
                    match api.newest_log_line(name) {
                        Err(failure) if failure.kind == FailureKind::Interrupted => {
                            return Err(error_of(connection, api, job_id, name, &failure));
                        }
                        Err(_) if part.is_some() && log.has_end == Some(true) => break None,
                        Err(failure) => words = Some(failure_words(&failure)),
                        Ok(newest) => {
                            let end = (log.lines, last.len());
                            match compare_ends(last, &newest) {
                                // It may be on its way.
                                End::Same
                                    if has_marked_its_end
                                        && log.has_end == Some(false)
                                        && attempts < LOOKS_FOR_MARKER => {}
                                End::Same => {
                                    if is_line {
                                        taken.take_unfinished(&mut log, &unfinished);
                                    }
                                    break None;
                                }
                                End::BeforeNodeWords => {
                                    if is_line {
                                        taken.take_unfinished(&mut log, &newest);
                                    }
                                    break None;
                                }
                                // Lines of one letter look alike wherever they are cut: certain once nothing more comes.
                                End::LastPart if end_before == Some(end) => {
                                    if is_line {
                                        taken.take_unfinished(&mut log, &unfinished);
                                    }
                                    break None;
                                }
                                End::LastPart => {
                                    end_before = Some(end);
                                    attempts += 1;
                                    if attempts <= ATTEMPTS_AT_THE_END {
                                        continue;
                                    }
                                }
                                End::Other => end_before = Some(end),
                            }
                        }
                    }
                }
                words.unwrap_or_default()
            }
        };
        attempts += 1;
        if attempts >= ATTEMPTS_AT_THE_END {
            break Some(why);
        }
        if !backoff.sleep(&connection.patience) {
            return Err(stopped(crate::kubernetes::api::Stopped));
        }
    };
    if let (Some(words), true) = (&why_incomplete, log.last.is_empty()) {
        // Not a line of the program has come.
        if job_log::says_that_log_is_lost(words) {
            return Err(log_is_lost(job_id, words));
        }
        if !words.is_empty() {
            return Err(Error {
                details: Some(format!("The node says: {words}")),
                ..Error::new(ErrorClass::LogUnavailable, NOT_GIVEN)
            }
            .meaning(UNTOUCHED)
            .advise("Repeat the call in a minute. If it lasts, tell the cluster's administrator.")
            .about([job_id]));
        }
    }
    let mut warnings = Vec::new();
    // While the program runs, an empty log may only mean that its first line is on its way.
    let too_early = log.lines == 0 && log.last.is_empty() && !has_ended;
    if !log.has_head && !too_early {
        warnings.push(head_is_missing(job_id));
    }
    if has_gap || (part.is_some() && log.has_missed) {
        warnings.push(middle_is_missing(job_id));
    }
    match why_incomplete {
        Some(words) => warnings.push(end_is_missing(job_id, &words)),
        None if has_marked_its_end && log.has_end == Some(false) => warnings.push(end_is_lost(job_id)),
        None => {}
    }
    Ok((taken.lines, warnings))
}

/// What was kept of the log of a job whose pod is gone: the pod, the lines, and what must be said about them. `bytes` gets what
/// the program printed. `None`: nothing was kept.
pub(super) fn log_without_pod(
    parts: &LogParts,
    job_id: &str,
    bytes: &mut Vec<u8>,
) -> Option<(String, Vec<String>, Vec<Warning>)> {
    let (pod_id, part) = parts.newest(job_id)?;
    let mut log = FollowedLog::new(job_id);
    let mut taken = Taken {
        lines: Vec::new(),
        bytes: Some(bytes),
    };
    let (_, has_gap) = log_parts::replay(&part, &mut |line| taken.take(&mut log, line)).ok()?;
    if log.taken == 0 {
        return None;
    }
    let said = [
        (!log.has_head).then(|| head_is_missing(job_id)),
        has_gap.then(|| middle_is_missing(job_id)),
        (log.has_end != Some(true)).then(|| pod_is_gone(job_id)),
    ];
    Some((pod_id, taken.lines, said.into_iter().flatten().collect()))
}

/// What was read of a log.
struct Taken<'a> {
    lines: Vec<String>,
    bytes: Option<&'a mut Vec<u8>>,
}

impl Taken<'_> {
    fn take(&mut self, log: &mut FollowedLog, line: &[u8]) {
        let text = log.take(line);
        self.add_owed(log);
        self.add(text, log.written(line));
    }

    fn take_unfinished(&mut self, log: &mut FollowedLog, line: &[u8]) {
        let text = log.take_unfinished(line);
        self.add_owed(log);
        self.add(text, (log.written(line).0, b""));
    }

    fn add_owed(&mut self, log: &mut FollowedLog) {
        if let Some(owed) = log.owed.take() {
            self.add(Some(owed.clone()), (owed.as_bytes(), b"\n"));
        }
    }

    /// Takes a line; `text`: `None` where it was seen before. `written`: it and its line end, as the program wrote them.
    fn add(&mut self, text: Option<String>, (line, end): (&[u8], &[u8])) {
        if let Some(text) = text {
            self.lines.push(text);
            if let Some(bytes) = self.bytes.as_deref_mut() {
                bytes.extend_from_slice(line);
                bytes.extend_from_slice(end);
            }
        }
    }
}

const NOT_GIVEN: &str = "The log cannot be read: the node that ran the program does not give it.";

fn failure_words(failure: &Failure) -> String {
    match failure.words.trim() {
        "" => failure.details.clone().unwrap_or_default(),
        words => words.to_string(),
    }
}

fn error_of(connection: &Connection<'_>, api: &Api<'_>, job_id: &str, pod_name: &str, failure: &Failure) -> Error {
    let words =
        |failure: &Failure, doing: &str| error_messages::error(failure, doing, api.namespace(), &connection.patience);
    match failure.kind {
        // The pod was there a moment ago. The API server's words for one that is gone; a node has others for a pod that it
        // does not know (kubelet: "pod does not exist", "the server could not find the requested resource").
        FailureKind::NotFound if failure.words.trim_end().ends_with("\" not found") => {
            not_found(&[job_id], api.namespace())
        }
        FailureKind::NotFound => match api.get_pod(pod_name) {
            Ok(_) => log_is_lost(job_id, &failure.words),
            Err(_) => not_found(&[job_id], api.namespace()),
        },
        FailureKind::Server => {
            let mut error = words(failure, "read the log");
            error.class = ErrorClass::LogUnavailable;
            error.message = NOT_GIVEN.into();
            error.meaning(UNTOUCHED).about([job_id])
        }
        _ => words(failure, "read the logs of pods")
            .meaning(UNTOUCHED)
            .about([job_id]),
    }
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

fn incomplete(job_id: &str, message: String, advice: impl Into<String>) -> Warning {
    Warning {
        class: "log_incomplete",
        message,
        advice: advice.into(),
        job_ids: vec![job_id.to_string()],
    }
}

fn head_is_missing(job_id: &str) -> Warning {
    // Seen with containerd: where the node changes to a new log, it splits a line.
    let message =
        format!("The beginning of the log of job \"{job_id}\" is missing, and its first line may be the end of one.");
    let advice = "The cluster keeps the newest part only of a long log (10 MiB, unless its administrator set it otherwise). Let the program write its output to a file in a mount, or print less.";
    incomplete(job_id, message, advice)
}

fn end_is_missing(job_id: &str, words: &str) -> Warning {
    let message = format!("The log of job \"{job_id}\" may not be whole: its end is missing.");
    let advice = match words {
        "" => "The cluster lost the connection to the node that holds it. Read the log again in a minute.".into(),
        words => format!("Read the log again in a minute. The cluster says: {words}"),
    };
    incomplete(job_id, message, advice)
}

/// Whether a warning tells of a part of a log that does not come back, however often it is read.
pub(super) fn is_lost_for_good(warning: &Warning, job_id: &str) -> bool {
    [head_is_missing, middle_is_missing, end_is_lost, pod_is_gone]
        .iter()
        .any(|words| words(job_id) == *warning)
}

fn middle_is_missing(job_id: &str) -> Warning {
    let message = format!("A part in the midst of the log of job \"{job_id}\" may be missing.");
    let advice =
        "The program printed more than its node keeps while the log could not be followed, or more than an archive \
        takes. Let the program write its output to a file in a mount, or print less.";
    incomplete(job_id, message, advice)
}

fn pod_is_gone(job_id: &str) -> Warning {
    let message =
        format!("The end of the log of job \"{job_id}\" may be missing: its pod was gone before it could be read.");
    let advice =
        "What was kept of it while the program ran is there. If that does not say how the program ended, submit \
                  it again.";
    incomplete(job_id, message, advice)
}

fn end_is_lost(job_id: &str) -> Warning {
    let message =
        format!("The end of the log of job \"{job_id}\" is missing: its program printed more than its node has kept.");
    let advice =
        "The program itself went on: its container runtime was away, as when the node is updated, and kept no \
        output. Check what the program has written, or submit it again to get the whole log.";
    incomplete(job_id, message, advice)
}

fn why_there_is_no_pod(api: &Api<'_>, job: &Job) -> Result<Vec<String>, Error> {
    let events = api.list_events_if_allowed("Job", &job.metadata.name).map_err(stopped)?;
    let look = Queues::new(api).look(job).map_err(stopped)?;
    Ok(diagnosis::of_job_without_pod(job, &events, &look).lines())
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
    use serde_json::Value;

    /// What the log of job a fails with, where its node answers 404 and a look for the pod is answered so.
    fn error_if_the_node_answers_404(pod_now: Answer) -> Error {
        let cluster = Scripted::new()
            .get("/log?container=program", [Answer::Fails(FailureKind::NotFound)])
            .get("/pods?", [list(1, [pod("a", 1, ended(0))])])
            .get("/pods/", [pod_now]);
        log(
            &patient(&cluster),
            &JobSelector::Jobs(vec!["a".into()]),
            &Archived::default(),
        )
        .unwrap_err()
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

    /// The log of job a, whose program has ended, where its node gives these streams and this newest line.
    fn read_from(streams: &[&str], newest: &str) -> Result<Logs, Error> {
        read_of(&pod("a", 1, ended(0)), streams, &[newest])
    }

    /// The same of a pod in another state, where the newest line may become another one.
    fn read_of(pod: &Value, streams: &[&str], newest: &[&str]) -> Result<Logs, Error> {
        let answers = |texts: &[&str]| -> Vec<Answer> {
            texts
                .iter()
                .map(|text| Answer::Body(text.as_bytes().to_vec()))
                .collect()
        };
        let cluster = Scripted::new()
            .get("tailLines=1", answers(newest))
            .get("/log?container=program", answers(streams))
            .get("/pods?", [list(1, [pod.clone()])]);
        log(
            &patient(&cluster),
            &JobSelector::Jobs(vec!["a".into()]),
            &Archived::default(),
        )
    }

    const HEAD: &str = "2026-01-01T00:00:00Z abba-log-of a\n";
    const SAME: [&str; 4] = [
        "2026-01-01T00:00:01.1Z x\n",
        "2026-01-01T00:00:01.2Z x\n",
        "2026-01-01T00:00:02.1Z x\n",
        "2026-01-01T00:00:02.2Z x",
    ];

    #[test]
    fn a_success_whose_log_has_an_error_is_warned_of() {
        let read = |line: &str| {
            let line = format!("2026-01-01T00:00:01Z {line}\n");
            let logs = read_from(&[&format!("{HEAD}{line}")], &line).unwrap();
            logs.logs[0].verdict_warning()
        };
        let warning = read("Error in f() : boom").unwrap();
        assert_eq!((warning.class, warning.job_ids), ("log_verdict", vec!["a".to_string()]));
        assert!(
            warning.message.ends_with("in its log: Error in f() : boom"),
            "{}",
            warning.message
        );
        let warning =
            read("  scheduled core 2 did not deliver a result, all values of the job will be affected").unwrap();
        assert!(warning.message.contains("lost results"), "{}", warning.message);
        assert_eq!(read("Warning message:"), None);
        assert_eq!(read("[1] 1"), None);
    }

    #[test]
    fn a_log_with_the_marker_of_its_end_is_asked_for_once() {
        let asked = |end: &str| {
            let log_of_a = format!("2026-01-01T00:00:00Z abba: begin of the log of a\n{}{end}", SAME[0]);
            let newest = log_of_a.lines().last().unwrap();
            let cluster = Scripted::new()
                .get("tailLines=1", [Answer::Body(newest.as_bytes().to_vec())])
                .get("/log?container=program", [Answer::Body(log_of_a.clone().into_bytes())])
                .get("/pods?", [list(1, [pod("a", 1, ended(0))])]);
            let which = JobSelector::Jobs(vec!["a".into()]);
            let logs = log(&patient(&cluster), &which, &Archived::default()).unwrap();
            assert_eq!(logs.logs[0].lines, ["x"]);
            (cluster.paths("/log?").len(), logs.warnings.len())
        };
        assert_eq!(asked("2026-01-01T00:00:01.2Z abba: end of the log of a\n"), (1, 0));
        // Without it, the newest line says whether the node has given all.
        assert!(asked("").0 > 1);
    }

    #[test]
    fn a_log_that_was_cut_is_read_on() {
        let whole = format!("{HEAD}{}", SAME.concat());
        for cut in 0..=whole.len() {
            let logs = read_from(&[&whole[..cut], &whole], SAME[3]).unwrap();
            assert_eq!(
                (logs.logs[0].lines.join(""), logs.warnings),
                ("xxxx".into(), vec![]),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_log_whose_end_stays_away_says_so() {
        let cut = format!("{HEAD}{}", SAME[..2].concat());
        let words = "rpc error: code = Unavailable desc = no";
        for stream in [cut.clone(), format!("{cut}{words}"), format!("{cut}{words}\n")] {
            let logs = read_from(&[&stream], SAME[3]).unwrap();
            assert_eq!(logs.logs[0].lines, ["x", "x"]);
            assert_eq!(logs.warnings[0].class, "log_incomplete");
            assert!(logs.warnings[0].message.contains("its end is missing"));
            assert_eq!(logs.warnings[0].advice.contains(words), stream.contains(words));
        }
    }

    #[test]
    fn a_log_that_ends_before_its_program_says_so() {
        let begin = "2026-01-01T00:00:00Z abba: begin of the log of a\n";
        let (line, end) = (
            "2026-01-01T00:00:01Z x",
            "2026-01-01T00:00:02Z abba: end of the log of a\n",
        );
        let (cut, whole) = (format!("{begin}{line}\n"), format!("{begin}{line}\n{end}"));
        let of = |state: Value, streams: &[&str], newest: &[&str]| {
            let logs = read_of(&pod("a", 1, state), streams, newest).unwrap();
            assert_eq!(logs.logs[0].lines, ["x"]);
            logs
        };
        assert_eq!(of(ended(0), &[&whole], &[end]).warnings, []);
        let glued = format!("{begin}{line}abba: end of the log of a\n");
        assert_eq!(
            of(ended(0), &[&glued], &[&format!("{line}abba: end of the log of a\n")]).warnings,
            []
        );
        for status in [0, 1, 143] {
            let lost = of(ended(status), &[&cut], &[line]);
            assert_eq!(lost.warnings.len(), 1);
            assert_eq!(lost.warnings[0].class, "log_incomplete");
            assert!(lost.warnings[0]
                .message
                .starts_with("The end of the log of job \"a\" is missing"));
            // In what is missing may be an error.
            assert_eq!(
                lost.logs[0]
                    .finding
                    .as_ref()
                    .filter(|finding| finding.verdict == Verdict::Clean),
                None
            );
        }
        // It was on its way.
        assert_eq!(of(ended(0), &[&cut, end], &[line, end]).warnings, []);
        // Nothing prints after SIGKILL.
        assert_eq!(of(ended(137), &[&cut], &[line]).warnings, []);
    }

    #[test]
    fn words_of_the_node_are_no_line_of_the_program() {
        let words = "failed to create fsnotify watcher: too many open files";
        let last = "2026-01-01T00:00:01Z x";
        for stream in [format!("{HEAD}{last}\n{words}"), format!("{HEAD}{last}{words}")] {
            let logs = read_from(&[&stream], last).unwrap();
            assert_eq!(
                (&logs.logs[0].lines[..], &logs.warnings[..]),
                (&["x".to_string()][..], &[][..])
            );
        }
        let error = read_from(&[words], words).unwrap_err();
        assert_eq!(error.class, ErrorClass::LogUnavailable);
        assert!(error.details.unwrap().contains(words));
        // A program that prints the same.
        let printed = format!("{last} {words}");
        let logs = read_from(&[&format!("{HEAD}{printed}\n")], &printed).unwrap();
        assert_eq!(logs.logs[0].lines, [format!("x {words}")]);
    }

    #[test]
    fn a_long_last_line_is_known_by_its_last_part() {
        let long = "y".repeat(40_000);
        let logs = read_from(
            &[&format!("{HEAD}2026-01-01T00:00:01Z {long}\n")],
            "2026-01-01T00:00:02Z yyy\n",
        )
        .unwrap();
        assert_eq!((&logs.logs[0].lines[..], &logs.warnings[..]), (&[long][..], &[][..]));
    }

    #[test]
    fn archived_logs_are_read_one_at_a_time_for_a_page() {
        let archived = ArchivedJob::default();
        let pod: Pod = serde_json::from_value(pod("a", 1, ended(0))).unwrap();
        let here = || Source::Archive(&archived);
        let in_cluster = || Source::Cluster("a", Observed::Pod(&pod));
        let sources = [in_cluster(), in_cluster(), in_cluster(), here(), here(), in_cluster()];
        let together: Vec<usize> = (0..6).map(|first| read_together(&sources[first..], 2)).collect();
        assert_eq!(together, [2, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn a_log_that_cannot_be_read_takes_no_other_with_it() {
        let cluster = Scripted::new()
            .get("/a-p/log", [Answer::Fails(FailureKind::Server)])
            .get("/b-p/log", [Answer::Body(b"abba-log-of b\nx\n".to_vec())])
            .get("/pods?", [list(1, [pod("a", 1, ended(0)), pod("b", 1, ended(0))])]);
        let ask = |ids: &[&str]| {
            let which = JobSelector::Jobs(ids.iter().map(ToString::to_string).collect());
            log(&patient(&cluster), &which, &Archived::default())
        };
        let logs = ask(&["a", "b"]).unwrap().logs;
        assert_eq!(logs[0].error.as_ref().unwrap().class, ErrorClass::LogUnavailable);
        assert_eq!((&logs[1].lines[..], &logs[1].error), (&["x".to_string()][..], &None));
        let error = ask(&["a", "a"]).unwrap_err();
        assert_eq!((error.class, error.job_ids.len()), (ErrorClass::LogUnavailable, 2));
    }
}
