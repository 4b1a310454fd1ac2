//! An archive of jobs that have ended: for each its log and its record as files, which stay when the cluster has forgotten
//! it. What its index has of a job follows from the record alone, so the index can be made again from the files.
//!
//! The cluster is the truth while it has a job, the archive after.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::archive_files::{self, Contents, DIGESTS, PATIENTLY};
use super::log_parts::LogParts;
use super::observation::{says_that_jobs_are_gone, Observation};
use super::record_files::{self, RecordFile};
use super::rerun::{no_submission, KeptSubmission};
use super::save_records::{cannot_be_read, make_folder, read_if_there, write_files, Signer, Written};
use super::submit::ran_in_place;
use super::{check, log, record, Connection, JobSelector, LogOfJob, RecordOfJob};
use crate::domain::job_log;
use crate::domain::job_record::{Explanation, JobRecord};
use crate::domain::job_status::{JobStatus, Status};
use crate::domain::record::{Role, Statement};
use crate::domain::submission::SubmitArguments;
use crate::domain::verdict::{self, Finding, LogPatterns, Verdict};
use crate::error::{quote_shortened, Error, ErrorClass, Warning};
use crate::kubernetes::{time, Api};

/// Where jobs are: no two namespaces of any clusters have the same uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The namespace's name.
    pub namespace: String,
    /// Its uid.
    pub namespace_uid: String,
}

/// The namespace in which the jobs are, with its uid.
///
/// Errors: the cluster cannot be asked; the right to `get` the namespace itself is missing.
pub fn place(connection: &Connection<'_>) -> Result<Place, Error> {
    let api = connection.api()?;
    let object = api.namespace_object().map_err(|failure| {
        connection
            .error(&api, &failure, "get namespaces")
            .meaning("Which jobs of the archive are of this namespace is not known.")
    })?;
    Ok(Place {
        namespace: api.namespace().to_string(),
        namespace_uid: object.metadata.uid,
    })
}

/// What the index has of a job; times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ArchivedJob {
    /// The job.
    pub job_id: String,
    /// Its batch.
    pub batch_id: String,
    /// The program's path as it was given.
    pub program: String,
    /// Who submitted it, as a label's value.
    pub user: String,
    /// The caller of the abba API to whom it belongs; `None`: it was not submitted by one.
    pub owner: Option<String>,
    /// The number of the account that it ran as; `None`: as its image says.
    pub uid: Option<u32>,
    /// The namespace in which it was.
    pub namespace: String,
    /// The uid of that; empty where it is not known.
    pub namespace_uid: String,
    /// Its state.
    pub status: String,
    /// When it was submitted.
    pub submitted: Option<i64>,
    /// When the program began to run.
    pub started: Option<i64>,
    /// When it ended.
    pub finished: Option<i64>,
    /// R's exit status.
    pub exit_code: Option<i32>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The verdict of its log.
    pub verdict: Option<String>,
    /// The line that the verdict rests on.
    pub verdict_line: Option<String>,
    /// Its pod.
    pub pod_id: Option<String>,
    /// The path of its files from the archive's folder, without `.log` and `.json`.
    pub path: String,
    /// Whether the cluster cannot give more of it than is there.
    pub is_final: bool,
}

impl ArchivedJob {
    /// What a record says of its job.
    fn of(statement: &Statement, path: String) -> Self {
        let metadata = &statement.predicate.run_details.metadata;
        let run = statement.run();
        let internal = &statement.predicate.build_definition.internal_parameters;
        let given = |name: &str| internal.get(name).and_then(|value| value.as_str());
        let text = |name: &str| given(name).unwrap_or_default();
        Self {
            job_id: statement.job_id().to_string(),
            batch_id: run.batch_id.clone(),
            program: program_of(statement),
            user: run.user.clone(),
            owner: given(OWNER).map(String::from),
            uid: internal
                .get(UID)
                .and_then(|value| value.as_u64())
                .and_then(|uid| u32::try_from(uid).ok()),
            namespace: text("namespace").to_string(),
            namespace_uid: text(NAMESPACE_UID).to_string(),
            status: run.status.clone(),
            submitted: seconds(Some(&run.submitted)),
            started: seconds(metadata.started_on.as_ref()),
            finished: seconds(metadata.finished_on.as_ref()),
            exit_code: run.exit_code,
            reason: run.reason.clone(),
            verdict: run.verdict.clone(),
            verdict_line: run.verdict_line.clone(),
            pod_id: run.pod_id.clone(),
            path,
            is_final: statement.subject[0].annotations.notes.is_empty(),
        }
    }

    /// Its state, as of [`super::status`].
    pub fn status(&self) -> JobStatus {
        JobStatus {
            id: self.pod_id.clone().unwrap_or_else(|| self.job_id.clone()),
            path: Some(self.program.clone()),
            status: Status::of_name(&self.status).unwrap_or(Status::Unknown),
        }
    }

    /// The job in one line.
    pub fn record(&self) -> JobRecord {
        let time = |seconds: Option<i64>| Some(time::whole_seconds(Timestamp::from_second(seconds?).ok()?));
        JobRecord {
            job_id: self.job_id.clone(),
            batch_id: self.batch_id.clone(),
            program: self.program.clone(),
            user: self.user.clone(),
            status: Status::of_name(&self.status).unwrap_or(Status::Unknown),
            submitted: time(self.submitted).unwrap_or_default(),
            started: time(self.started),
            finished: time(self.finished),
            exit_code: self.exit_code,
            reason: self.reason.clone(),
        }
    }
}

/// The parameter of a record that says in which namespace its job was, beyond the name.
const NAMESPACE_UID: &str = "namespace_uid";

/// Those that say whose job it was, for an abba server.
const OWNER: &str = "owner";
const UID: &str = "uid";

fn seconds(time: Option<&String>) -> Option<i64> {
    time.and_then(time::parse).map(|time| time.as_second())
}

/// The program's path as it was given.
fn program_of(statement: &Statement) -> String {
    let given = &statement.predicate.build_definition.external_parameters;
    match statement.of_role(Role::Program).next() {
        Some(program) => program.name.clone(),
        None => given
            .get("file_path")
            .and_then(|path| path.as_str())
            .unwrap_or_default()
            .to_string(),
    }
}

/// What became of a job that was to be archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveOutcome {
    /// The job.
    pub job_id: String,
    /// What the index has to have of it; `None`: the cluster has no such job any more, or it has not ended.
    pub job: Option<ArchivedJob>,
    /// Why it could not be archived.
    pub error: Option<Error>,
    /// The error is that the archive has what must not give way to what comes now. Later the cluster may give more.
    pub is_kept: bool,
}

/// Writes the logs and records of jobs that have ended into the folder of an archive. What is there stays where the cluster
/// has less; done again, it changes nothing. `key`: the PEM file of the private key that records are signed with;
/// `public_keys`: those of keys before that.
///
/// Errors: the cluster cannot be asked; of class `Input`: a key cannot be used. What is about one job, as that a file cannot
/// be written, stands with that.
pub fn archive(
    connection: &Connection<'_>,
    folder: &str,
    key: Option<&str>,
    public_keys: &[String],
    place: &Place,
    job_ids: &[String],
) -> Result<Vec<ArchiveOutcome>, Error> {
    let signer = Signer::read(key, public_keys)?;
    let parts = LogParts::new(folder, &place.namespace_uid);
    let one = |(job_id, found): (&String, Result<record::RecordOfJob, Error>)| {
        let is_read = found.is_ok();
        let archived = found.and_then(|found| put(folder, &signer, place, &parts, found));
        let (job, error) = match archived {
            Ok(job) => (job, None),
            Err(error) if error.class == ErrorClass::NotFound => (None, None),
            Err(error) if error.class == ErrorClass::Interrupted => return Err(error),
            Err(error) => (None, Some(error)),
        };
        Ok(ArchiveOutcome {
            job_id: job_id.clone(),
            job,
            is_kept: is_read
                && error
                    .as_ref()
                    .is_some_and(|error| error.class == ErrorClass::LogUnavailable),
            error,
        })
    };
    // Long logs are held one at a time.
    let (long, others): (Vec<String>, Vec<String>) = job_ids.iter().cloned().partition(|id| parts.is_long(id));
    let mut outcomes = HashMap::new();
    for some in long.chunks(1).chain((!others.is_empty()).then_some(&others[..])) {
        let found = record::each(connection, Some(&parts), some)?;
        for outcome in some.iter().zip(found).map(one) {
            let outcome: ArchiveOutcome = outcome?;
            // Those of other pods stay: a job that was started again may write to one.
            let archived = outcome.job.as_ref().filter(|job| job.is_final);
            if let Some((job_id, pod)) = archived.and_then(|job| Some((&job.job_id, job.pod_id.as_ref()?))) {
                parts.remove(job_id, pod);
            }
            outcomes.insert(outcome.job_id.clone(), outcome);
        }
    }
    Ok(job_ids.iter().filter_map(|id| outcomes.remove(id)).collect())
}

fn put(
    folder: &str,
    signer: &Signer,
    place: &Place,
    parts: &LogParts,
    found: record::RecordOfJob,
) -> Result<Option<ArchivedJob>, Error> {
    let mut statement = found.statement;
    let status = statement.run().status.clone();
    if !["Succeeded", "Failed"].contains(&status.as_str()) {
        return Ok(None);
    }
    let internal = &mut statement.predicate.build_definition.internal_parameters;
    internal.insert(NAMESPACE_UID.into(), place.namespace_uid.as_str().into());
    let whose = [(OWNER, found.owner.map(Value::from)), (UID, found.uid.map(Value::from))];
    internal.extend(
        whose
            .into_iter()
            .filter_map(|(name, value)| Some((name.into(), value?))),
    );
    let job_id = statement.job_id().to_string();
    // By the time of its submission, which never changes: so a job has one place.
    let month = statement.run().submitted.get(..7).unwrap_or("undated");
    let of_namespace = Path::new(folder).join(&place.namespace);
    if let Some(month) = another_job(&of_namespace, month, &statement)? {
        return Err(is_taken(&job_id, &format!("{}/{month}", place.namespace)));
    }
    let path = format!("{}/{month}/{job_id}", place.namespace);
    let of_job = of_namespace.join(month);
    make_folder(&of_job)?;
    let earlier = match record_files::read(&of_job, &job_id) {
        Ok(earlier) => earlier.filter(|earlier| earlier.statement.job_id() == job_id),
        // A damaged one is written anew.
        Err(error) if error.kind() == ErrorKind::InvalidData => None,
        Err(error) => return Err(cannot_be_read(&of_job.join(format!("{job_id}.json")), &error)),
    };
    // What is missing may be on its way to a part.
    let is_on_its_way = |statement: &Statement| {
        let pod = statement.run().pod_id.as_deref();
        pod.is_some_and(|pod| parts.is_written(&job_id, pod))
    };
    // What is lost for good does not come later.
    let is_lost = |warning| log::is_lost_for_good(warning, &job_id);
    let is_all_lost = found.warnings.iter().all(is_lost);
    let is_whole = statement.subject[0].annotations.notes.is_empty();
    let class = match is_all_lost && !is_whole && !is_on_its_way(&statement) {
        true => ErrorClass::NameTaken,
        false => ErrorClass::LogUnavailable,
    };
    if earlier.is_none() && !statement.subject[0].annotations.notes.is_empty() {
        // A log without its record does not give way to less.
        let kept = read_if_there(&of_job.join(format!("{job_id}.log")))?;
        if kept.is_some_and(|kept| kept.len() > found.log.len()) {
            return Err(is_kept(
                class,
                &job_id,
                "The record is missing or damaged, and of the log that comes now a part is missing.",
            ));
        }
    }
    let written = write_files(&of_job, &job_id, &mut statement, found.log, earlier.as_ref(), signer)?;
    if let Written::Kept(why) = written {
        return Err(is_kept(class, &job_id, &why));
    }
    let is_final = statement.subject[0].annotations.notes.is_empty()
        || (is_all_lost && (found.warnings.is_empty() || !is_on_its_way(&statement)));
    Ok(Some(ArchivedJob {
        is_final,
        ..ArchivedJob::of(&statement, path)
    }))
}

/// The month in which the archive has another job of the same id: an id can be used again when the cluster has forgotten it,
/// and clusters whose namespaces share a name do not know each other's.
///
/// Errors, of class `Input`: a folder or a record is there, and cannot be read.
fn another_job(of_namespace: &Path, month: &str, statement: &Statement) -> Result<Option<String>, Error> {
    let job_id = statement.job_id();
    let given = |statement: &Statement, name: &str| {
        let internal = &statement.predicate.build_definition.internal_parameters;
        internal.get(name).cloned()
    };
    let is_another = |of_month: &Path| {
        let earlier = match record_files::read(of_month, job_id) {
            Ok(Some(earlier)) => earlier.statement,
            Ok(None) => return Ok(false),
            // It is no record, or what looks like a month is no folder.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::NotADirectory) => {
                return Ok(false)
            }
            Err(error) => return Err(cannot_be_read(&of_month.join(format!("{job_id}.json")), &error)),
        };
        let is_same = |name| given(&earlier, name) == given(statement, name);
        // A pod that has lost its Job has a time of its own.
        let is_same_run = earlier.run().submitted == statement.run().submitted
            || (earlier.run().pod_id.is_some() && earlier.run().pod_id == statement.run().pod_id);
        Ok(earlier.job_id() == job_id && !(is_same(NAMESPACE_UID) && is_same(OWNER) && is_same_run))
    };
    let mut months = vec![month.to_string()];
    match fs::read_dir(of_namespace) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(|error| cannot_be_read(of_namespace, &error))?;
                months.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
        Err(error) => return Err(cannot_be_read(of_namespace, &error)),
    }
    for month in months {
        if is_another(&of_namespace.join(&month))? {
            return Ok(Some(month));
        }
    }
    Ok(None)
}

/// The error about a job whose id another one has in the archive.
fn is_taken(job_id: &str, folder: &str) -> Error {
    Error::new(
        ErrorClass::NameTaken,
        format!("The archive has another job \"{job_id}\", in {folder}, and keeps that."),
    )
    .meaning("This one is not archived: its log and record would take the place of those of the other one.")
    .advise("Save it before the cluster forgets it, see abba_save_k8s_batch_local().")
    .about([job_id])
}

/// The error about a job whose files in the archive are not changed.
fn is_kept(class: ErrorClass, job_id: &str, why: &str) -> Error {
    Error::new(
        class,
        format!("The archive's log and record of job \"{job_id}\" stay as they are. {why}"),
    )
    .meaning("Somebody has changed them, a part of them is lost, or they were written without this key.")
    .advise("abba_verify() tells of each file what it is. Of files that were moved away new ones are made.")
    .about([job_id])
}

/// What an index has to have of the records at these paths, which are as of [`ArchivedJob::path`]; `None` where there is no
/// record, or one of another job than its name says.
pub fn archived_jobs(folder: &str, paths: &[String]) -> Vec<Option<ArchivedJob>> {
    let job = |path: &String| {
        let file = read(folder, path).ok()?;
        (file.name == file.statement.job_id()).then(|| ArchivedJob::of(&file.statement, path.clone()))
    };
    paths.iter().map(job).collect()
}

/// Reads a record of an archive.
fn read(folder: &str, path: &str) -> Result<RecordFile, Error> {
    let refuse = |what: String| {
        Error::new(
            ErrorClass::LogUnavailable,
            format!(
                "The archive has no record {}: {what}.",
                quote_shortened(&format!("{}.json", name_in(path)))
            ),
        )
        .advise(
            "Tell whoever keeps the archive. Its files may come from a backup: they are found again where they were.",
        )
    };
    let full = path_in(folder, path).ok_or_else(|| refuse("the path leads out of it".into()))?;
    let (Some(parent), Some(name)) = (full.parent(), full.file_name().and_then(|name| name.to_str())) else {
        return Err(refuse("there is no such path".into()));
    };
    let (parent, name) = (parent.to_path_buf(), name.to_string());
    PATIENTLY
        .run(move |_| record_files::read(&parent, &name))
        .map_err(|error| refuse(error.to_string()))?
        .ok_or_else(|| refuse("there is no such file".into()))
}

/// The name of a job's files. Where they lie is nothing for the callers of an abba server.
fn name_in(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The path of a job's files, without their endings; `None` where it is not below the folder.
fn path_in(folder: &str, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
    is_below.then(|| Path::new(folder).join(path))
}

/// Explains a job by its record in an archive, at a path as of [`ArchivedJob::path`].
///
/// Errors: there is no such record.
pub fn archived_explanation(folder: &str, path: &str) -> Result<Explanation, Error> {
    let statement = read(folder, path)?.statement;
    let metadata = &statement.predicate.run_details.metadata;
    let run = statement.run().clone();
    let status = Status::of_name(&run.status).unwrap_or(Status::Unknown);
    let image = statement.of_role(Role::Image).next();
    let last_lines = match status {
        Status::Failed => {
            log_file(folder, path).map_or_else(|_| Vec::new(), |log| job_log::last_lines(&lines(&log.bytes)))
        }
        _ => Vec::new(),
    };
    Ok(Explanation {
        record: JobRecord {
            job_id: statement.job_id().to_string(),
            batch_id: run.batch_id,
            program: program_of(&statement),
            user: run.user,
            status,
            submitted: run.submitted,
            started: metadata.started_on.clone(),
            finished: metadata.finished_on.clone(),
            exit_code: run.exit_code,
            reason: run.reason,
        },
        details: run.details,
        advice: run.advice,
        submit_again: None,
        pod_id: run.pod_id,
        node: run.node,
        image: image.map(|image| image.name.clone()),
        image_digest: image
            .and_then(|image| image.sha256())
            .map(|digest| format!("sha256:{digest}")),
        cpu_limit: run.cpu_limit,
        memory_limit: run.memory_limit,
        attempts: run.attempts,
        events: run.events,
        is_stuck: false,
        verdict: run.verdict.as_deref().and_then(Verdict::of_name),
        verdict_line: run.verdict_line,
        last_lines,
    })
}

fn log_file(folder: &str, path: &str) -> std::io::Result<Contents> {
    let path = path_in(folder, path).ok_or(std::io::ErrorKind::NotFound)?;
    archive_files::contents(Path::new(&format!("{}.log", path.to_string_lossy())))
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    match bytes {
        [] => Vec::new(),
        _ => whole.split(|&byte| byte == b'\n').map(job_log::line).collect(),
    }
}

/// What an archive has of jobs that are asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Archived {
    /// The archive's folder.
    folder: String,
    /// The jobs: those that the cluster lacks, or all of a batch.
    jobs: Vec<ArchivedJob>,
}

impl Archived {
    /// What the archive in a folder has.
    pub fn new(folder: String, jobs: Vec<ArchivedJob>) -> Self {
        Self { folder, jobs }
    }

    /// The jobs.
    pub fn jobs(&self) -> &[ArchivedJob] {
        &self.jobs
    }

    /// Those of the jobs for which this holds.
    pub(crate) fn those(&self, is_meant: impl Fn(&ArchivedJob) -> bool) -> Self {
        let meant = self.jobs.iter().filter(|job| is_meant(job));
        Self::new(self.folder.clone(), meant.cloned().collect())
    }

    /// Explains a job of these.
    ///
    /// Errors: the archive does not have its record.
    pub fn explanation(&self, job: &ArchivedJob) -> Result<Explanation, Error> {
        archived_explanation(&self.folder, &job.path).map_err(|error| error.about([job.job_id.as_str()]))
    }

    /// Looks at those jobs in the cluster that are not to come from here; `None`: all are.
    ///
    /// Errors: as those of [`Connection::observe`].
    pub(super) fn observe_rest<'a>(
        &self,
        connection: &Connection<'a>,
        which: &JobSelector,
    ) -> Result<Option<(Api<'a>, Observation)>, Error> {
        check(which)?;
        match which {
            JobSelector::Jobs(ids) => {
                let here: HashSet<&str> = self.jobs.iter().map(|job| job.job_id.as_str()).collect();
                let rest: Vec<String> = ids.iter().filter(|id| !here.contains(id.as_str())).cloned().collect();
                match rest.is_empty() {
                    true => Ok(None),
                    false => connection.observe(&JobSelector::Jobs(rest)).map(Some),
                }
            }
            JobSelector::Batch(_) => match connection.observe(which) {
                Err(error) if says_that_jobs_are_gone(&error) && !self.jobs.is_empty() => Ok(None),
                observed => observed.map(Some),
            },
        }
    }

    /// What was found in the cluster, each with the job's id and when that was submitted, and beside it what comes from here:
    /// in the order of the ids, of a batch in that of submission.
    pub(crate) fn beside<'a, T>(
        &'a self,
        which: &JobSelector,
        in_cluster: impl IntoIterator<Item = ((String, Option<i64>), T)>,
        from_here: impl Fn(&'a ArchivedJob) -> T,
    ) -> Vec<T> {
        let mut in_cluster = in_cluster.into_iter();
        match which {
            JobSelector::Jobs(ids) => {
                let here: HashMap<&str, &ArchivedJob> =
                    self.jobs.iter().map(|job| (job.job_id.as_str(), job)).collect();
                let one = |id: &String| match here.get(id.as_str()) {
                    Some(job) => Some(from_here(job)),
                    None => in_cluster.next().map(|(_, found)| found),
                };
                ids.iter().filter_map(one).collect()
            }
            JobSelector::Batch(_) => {
                let mut all: Vec<((Option<i64>, String), T)> = in_cluster
                    .map(|((id, submitted), found)| ((submitted, id), found))
                    .collect();
                let there: HashSet<String> = all.iter().map(|((_, id), _)| id.clone()).collect();
                let of_archive = self.jobs.iter().filter(|job| !there.contains(&job.job_id));
                all.extend(of_archive.map(|job| ((job.submitted, job.job_id.clone()), from_here(job))));
                all.sort_by(|(one, _), (other, _)| one.cmp(other));
                all.into_iter().map(|(_, found)| found).collect()
            }
        }
    }

    /// The log of a job, and what must be said about it.
    pub(super) fn log(&self, job: &ArchivedJob, patterns: &LogPatterns) -> (LogOfJob, Vec<Warning>) {
        let (lines, warnings, error) = match self.read_log(job) {
            Ok((lines, warnings)) => (lines, warnings, None),
            Err(error) => (Vec::new(), Vec::new(), Some(error.about([job.job_id.as_str()]))),
        };
        let of_lines = || match job.status == "Succeeded" {
            true => Some(verdict::of_lines(&lines, patterns)),
            // Why it failed is more than its log says.
            false => Some(Finding {
                verdict: job.verdict.as_deref().and_then(Verdict::of_name)?,
                line: job.verdict_line.clone(),
                work_is_missing: false,
            }),
        };
        let log = LogOfJob {
            job_id: job.job_id.clone(),
            pod_id: job.pod_id.clone().unwrap_or_else(|| job.job_id.clone()),
            finding: if error.is_none() { of_lines() } else { None },
            lines,
            error,
        };
        (log, warnings)
    }

    fn log_bytes(&self, job: &ArchivedJob) -> Result<Contents, Error> {
        log_file(&self.folder, &job.path).map_err(|error| {
            Error::new(
                ErrorClass::LogUnavailable,
                format!(
                    "The archive does not give the log {}: {error}.",
                    quote_shortened(&format!("{}.log", job.job_id))
                ),
            )
        })
    }

    /// The record and the log of a job, as the cluster gave them.
    ///
    /// Errors: the archive does not have both as they were recorded.
    pub(super) fn record(&self, job: &ArchivedJob) -> Result<RecordOfJob, Error> {
        let of_job = |error: Error| error.about([job.job_id.as_str()]);
        let mut statement = read(&self.folder, &job.path).map_err(of_job)?.statement;
        let log = self.log_bytes(job).map_err(of_job)?;
        if !is_recorded(&statement, &log) {
            let (message, advice) = changed_log(job);
            return Err(of_job(
                Error::new(ErrorClass::LogUnavailable, message)
                    .meaning("Its record would not be that of its log.")
                    .advise(advice),
            ));
        }
        // What the archive has added.
        let internal = &mut statement.predicate.build_definition.internal_parameters;
        internal.retain(|name, _| ![NAMESPACE_UID, OWNER, UID].contains(&name.as_str()));
        statement.subject[0].annotations.path = None;
        statement.set_recorded("");
        Ok(RecordOfJob {
            statement,
            log: log.bytes,
            warnings: Vec::new(),
            owner: job.owner.clone(),
            uid: job.uid,
        })
    }

    /// What a job was submitted with.
    ///
    /// Errors: the archive does not have its record, or that does not say it.
    pub(super) fn submission(&self, job: &ArchivedJob) -> Result<KeptSubmission, Error> {
        let statement = read(&self.folder, &job.path)
            .map_err(|error| error.about([job.job_id.as_str()]))?
            .statement;
        let build = &statement.predicate.build_definition;
        let path = statement
            .of_role(Role::Program)
            .find_map(|program| program.annotations.path.clone());
        let mut arguments = Value::Object(build.external_parameters.clone());
        let given = arguments["file_path"].take();
        // Without it the record has nothing but the path.
        let arguments: Option<SubmitArguments> = match arguments["container"].is_string() {
            true => serde_json::from_value(arguments).ok(),
            false => None,
        };
        let (Some(arguments), Some(given)) = (arguments, given.as_str()) else {
            return Err(no_submission(&job.job_id));
        };
        let arguments = SubmitArguments {
            given_path: given.to_string(),
            expanded_path: path.clone().unwrap_or_else(|| given.to_string()),
            // Where a caller of the abba API has it; of others it is the path itself.
            absolute_path: path.filter(|path| job.owner.is_some() && path != given),
            batch_group_id: job.batch_id.clone(),
            ..arguments
        };
        Ok(KeptSubmission {
            job_id: job.job_id.clone(),
            status: job.status().status,
            ending: false,
            open_predecessors: Vec::new(),
            in_place: ran_in_place(&arguments).unwrap_or(false),
            uid: job.uid,
            arguments,
        })
    }

    fn read_log(&self, job: &ArchivedJob) -> Result<(Vec<String>, Vec<Warning>), Error> {
        let RecordFile { statement, .. } = read(&self.folder, &job.path)?;
        let log = self.log_bytes(job)?;
        let recorded = &statement.subject[0];
        let warn = |message: String, advice: &str| Warning {
            class: "log_incomplete",
            message,
            advice: advice.into(),
            job_ids: vec![job.job_id.clone()],
        };
        let mut warnings = Vec::new();
        if !is_recorded(&statement, &log) {
            let (message, advice) = changed_log(job);
            warnings.push(warn(message, advice));
        }
        let notes = &recorded.annotations.notes;
        if log.bytes.is_empty() && !notes.is_empty() && job.started.is_none() {
            // It has not run; the cluster, asked for its log, says why, too.
            let why = [statement.run().reason.as_ref(), statement.run().details.as_ref()];
            let words = why
                .into_iter()
                .flatten()
                .chain(notes)
                .map(|text| format!("abba: {text}"));
            return Ok((words.collect(), warnings));
        }
        warnings.extend(notes.iter().map(|note| {
            warn(
                format!("The log of job \"{}\" is not whole in the archive: {note}", job.job_id),
                "The cluster has forgotten the job: there is no more of it.",
            )
        }));
        Ok((lines(&log.bytes), warnings))
    }
}

/// Whether this is the log of a record.
fn is_recorded(statement: &Statement, log: &Contents) -> bool {
    statement.subject[0].sha256() == Some(&DIGESTS.of(log))
}

/// What is said of a log that is not the recorded one, and what to do.
fn changed_log(job: &ArchivedJob) -> (String, &'static str) {
    (
        format!(
            "The log of job \"{}\" in the archive is not the one that was recorded.",
            job.job_id
        ),
        "Somebody has changed it, or a part of it is lost. A backup of the archive may have it as it was.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{ended, job as job_object, list, object, patient, pod, running, Answer, Scripted};
    use super::super::{explain, log as log_of, status};
    use super::*;
    use crate::test_folder::Folder;
    use serde_json::json;

    const LOG: &[u8] =
        b"2026-01-01T00:00:01Z abba-log-of a\n2026-01-01T00:00:01Z Error: \xe9\0\r\n2026-01-01T00:00:02Z end";

    /// A cluster that has a job "a" of "b", with this pod.
    fn cluster(pods: impl IntoIterator<Item = Value>, job: Value, log: Answer) -> Scripted {
        Scripted::new()
            .get("/version", [object(&json!({"gitVersion": "v1.34.1"}))])
            .get("/events", [list(1, [])])
            .get("tailLines=1", [Answer::Body(b"2026-01-01T00:00:02Z end".to_vec())])
            .get("/log?", [log])
            .get("/pods?", [list(1, pods)])
            .get("/jobs", [list(1, [job])])
    }

    fn pod_named(name: &str, exit_code: i32) -> Value {
        let mut pod = pod("a", 1, ended(exit_code));
        pod["metadata"]["name"] = json!(name);
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"] = json!("2026-01-01T00:00:01Z");
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = json!("2026-01-01T00:00:02Z");
        pod
    }

    fn whole() -> Answer {
        Answer::Body(LOG.to_vec())
    }

    fn here() -> Place {
        Place {
            namespace: "n".into(),
            namespace_uid: "uid-1".into(),
        }
    }

    fn archived(cluster: &Scripted, folder: &Path) -> ArchiveOutcome {
        let ids = ["a".to_string()];
        let outcomes = archive(&patient(cluster), &folder.to_string_lossy(), None, &[], &here(), &ids).unwrap();
        assert_eq!(outcomes.len(), 1);
        outcomes.into_iter().next().unwrap()
    }

    fn files(folder: &Path) -> [Vec<u8>; 2] {
        ["log", "json"].map(|ending| fs::read(folder.join(format!("n/2026-01/a.{ending}"))).unwrap())
    }

    #[test]
    fn what_the_archive_answers_is_what_the_cluster_did() {
        let folder = Folder::new();
        let with_job = cluster([pod_named("a-p", 3)], job_object("a", 1), whole());
        let row = archived(&with_job, &folder).job.unwrap();
        assert_eq!(
            (row.path.as_str(), row.namespace_uid.as_str(), row.is_final),
            ("n/2026-01/a", "uid-1", true)
        );
        let [log, record] = files(&folder);
        assert_eq!(log, b"Error: \xe9\0\r\nend");
        let again = archived(&with_job, &folder);
        assert_eq!((again.job.as_ref(), files(&folder)), (Some(&row), [log, record]));
        let root = folder.to_string_lossy().into_owned();
        let paths = ["n/2026-01/a", "n/2026-01/b", "../a", "/a"].map(String::from);
        assert_eq!(archived_jobs(&root, &paths), [Some(row.clone()), None, None, None]);

        let which = JobSelector::Jobs(vec!["a".into()]);
        let here = Archived {
            folder: root.clone(),
            jobs: vec![row.clone()],
        };
        let none = Scripted::new();
        let nothing = Archived::default();
        assert_eq!(
            status(&patient(&none), &which, &here).unwrap(),
            status(&patient(&with_job), &which, &nothing).unwrap()
        );
        let logs = log_of(&patient(&none), &which, &here).unwrap();
        let expected = log_of(&patient(&with_job), &which, &nothing).unwrap();
        assert_eq!(
            (&logs.logs[0].lines, &logs.logs[0].pod_id, &logs.warnings),
            (&expected.logs[0].lines, &expected.logs[0].pod_id, &expected.warnings)
        );
        let explained = explain(&patient(&with_job), "a").unwrap();
        let from_here = archived_explanation(&root, &row.path).unwrap();
        assert_eq!(
            (from_here.record, from_here.verdict, from_here.last_lines),
            (explained.record, explained.verdict, explained.last_lines)
        );
        assert_eq!(
            archived_explanation(&root, "../a").unwrap_err().class,
            ErrorClass::LogUnavailable
        );
    }

    #[test]
    fn what_the_cluster_has_lost_since_stays_and_another_run_takes_its_place() {
        let folder = Folder::new();
        let job = || job_object("a", 1);
        let row = archived(&cluster([pod_named("a-p", 0)], job(), whole()), &folder)
            .job
            .unwrap();
        let before = files(&folder);
        // Its node does not answer any more.
        let lost = Answer::Fails(crate::transport::FailureKind::Server);
        archived(&cluster([pod_named("a-p", 0)], job(), lost.clone()), &folder)
            .job
            .unwrap();
        assert_eq!(files(&folder)[0], before[0]);
        // The pod is gone, the Job is there.
        let mut complete = job();
        complete["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        let without_pod = archived(&cluster([], complete, lost.clone()), &folder).job.unwrap();
        assert_eq!((without_pod.is_final, &without_pod.pod_id), (true, &row.pod_id));
        assert_eq!(files(&folder)[0], before[0]);
        // The Job says otherwise than the pod did: a helper beside the program had failed.
        let mut failed = job();
        failed["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        let without_pod = archived(&cluster([], failed, lost.clone()), &folder).job;
        assert_eq!(without_pod, Some(row));
        assert_eq!(files(&folder), before);
        // It was started again elsewhere.
        let again = archived(&cluster([pod_named("a-q", 1)], job(), lost), &folder)
            .job
            .unwrap();
        assert_eq!(
            (again.status.as_str(), again.is_final, files(&folder)[0].len()),
            ("Failed", false, 0)
        );
    }

    #[test]
    fn another_job_of_the_same_id_takes_nothing_of_the_archived_one() {
        let folder = Folder::new();
        let job_of = |created: &str, owner: &str| {
            let mut job = job_object("a", 1);
            job["metadata"]["creationTimestamp"] = json!(created);
            job["metadata"]["annotations"]["abba/owner"] = json!(owner);
            job
        };
        let created = job_object("a", 1)["metadata"]["creationTimestamp"]
            .as_str()
            .unwrap_or_default()
            .to_string();
        let first = cluster([pod_named("a-p", 0)], job_of(&created, "daemon"), whole());
        assert!(archived(&first, &folder.0).job.is_some());
        let before = files(&folder.0);
        let log = b"2026-01-01T00:00:01Z abba-log-of a\n2026-01-01T00:00:01Z another";
        let others = [
            // Later in the month, in another month, and of another owner.
            job_of("2026-01-09T00:00:00Z", "daemon"),
            job_of("2026-02-01T00:00:00Z", "bin"),
            job_of(&created, "bin"),
        ];
        for other in others {
            let words = other.to_string();
            let other = cluster([pod_named("a-q", 0)], other, Answer::Body(log.to_vec()));
            let outcome = archived(&other, &folder.0);
            let error = outcome.error.expect(&words);
            assert_eq!((outcome.job, error.class), (None, ErrorClass::NameTaken), "{words}");
        }
        // That of another cluster.
        let elsewhere = Place {
            namespace_uid: "uid-2".into(),
            ..here()
        };
        let root = folder.0.to_string_lossy();
        let outcomes = archive(&patient(&first), &root, None, &[], &elsewhere, &["a".to_string()]).unwrap();
        assert_eq!(outcomes[0].error.as_ref().unwrap().class, ErrorClass::NameTaken);
        assert_eq!(files(&folder.0), before);
        assert!(!folder.0.join("n/2026-02").exists());
        assert!(archived(&first, &folder.0).job.is_some());
    }

    #[test]
    fn a_log_whose_end_is_lost_is_archived_once_and_for_all() {
        let folder = Folder::new();
        let cut = b"2026-01-01T00:00:01Z abba: begin of the log of a\n2026-01-01T00:00:02Z end";
        let cluster = cluster([pod_named("a-p", 0)], job_object("a", 1), Answer::Body(cut.to_vec()));
        assert!(archived(&cluster, &folder).job.unwrap().is_final);
        let [log, record] = files(&folder);
        assert_eq!(log, b"end");
        assert!(String::from_utf8_lossy(&record).contains("The end of the log of job"));
    }

    #[test]
    fn a_job_that_is_gone_or_has_not_ended_is_not_archived() {
        let folder = Folder::new();
        let runs = cluster([pod("a", 1, running())], job_object("a", 1), whole());
        let gone = Scripted::new()
            .get("/version", [object(&json!({"gitVersion": "v1.34.1"}))])
            .get("/pods?", [list(1, [])])
            .get("/jobs", [list(1, [])]);
        for cluster in [runs, gone] {
            let outcome = archived(&cluster, &folder);
            assert_eq!((outcome.job, outcome.error), (None, None));
        }
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
        fs::write(folder.join("n"), "").unwrap();
        let with_job = cluster([pod_named("a-p", 3)], job_object("a", 1), whole());
        let error = archived(&with_job, &folder).error.unwrap();
        assert!(error.message.contains("cannot be made"), "{}", error.message);
    }

    /// A log that was archived, and a cluster that has lost it.
    fn lost() -> (Folder, ArchivedJob, [Vec<u8>; 2], Scripted) {
        let folder = Folder::new();
        let row = archived(&cluster([pod_named("a-p", 0)], job_object("a", 1), whole()), &folder)
            .job
            .unwrap();
        let before = files(&folder);
        let mut complete = job_object("a", 1);
        complete["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        let lost = cluster([], complete, Answer::Fails(crate::transport::FailureKind::Server));
        (folder, row, before, lost)
    }

    #[cfg(unix)]
    #[test]
    fn a_log_does_not_give_way_to_less_where_something_cannot_be_read() {
        let (folder, row, before, lost) = lost();
        for name in ["a.json", "a.log"] {
            let path = folder.join("n/2026-01").join(name);
            let aside = folder.join("aside");
            fs::rename(&path, &aside).unwrap();
            std::os::unix::fs::symlink(&path, &path).unwrap();
            let outcome = archived(&lost, &folder);
            let error = outcome.error.unwrap();
            // It is due again.
            assert_eq!((outcome.job, error.class.name()), (None, "input"), "{}", error.message);
            assert!(error.message.contains(name), "{}", error.message);
            fs::rename(&aside, &path).unwrap();
            assert_eq!(files(&folder), before);
        }
        // Of another month, where the job may have been archived before.
        fs::create_dir(folder.join("n/2025-12")).unwrap();
        let other = folder.join("n/2025-12/a.json");
        std::os::unix::fs::symlink(&other, &other).unwrap();
        assert!(archived(&lost, &folder).error.is_some());
        fs::remove_file(&other).unwrap();
        fs::write(folder.join("n/readme"), "").unwrap();
        assert_eq!(archived(&lost, &folder).job, Some(row));
        assert_eq!(files(&folder), before);
    }

    #[test]
    fn what_is_kept_is_due_again_unless_the_rest_is_lost_for_good() {
        let (folder, row, before, lost) = lost();
        fs::write(folder.join("n/2026-01/a.json"), "{").unwrap();
        let node_is_away = Answer::Fails(crate::transport::FailureKind::Server);
        let away = cluster([pod_named("a-p", 0)], job_object("a", 1), node_is_away);
        for (cluster, is_due) in [(&lost, false), (&away, true)] {
            let outcome = archived(cluster, &folder);
            let error = outcome.error.unwrap();
            assert_eq!((outcome.job, outcome.is_kept), (None, is_due), "{}", error.message);
            assert_eq!(error.class == ErrorClass::NameTaken, !is_due, "{}", error.message);
            assert_eq!(files(&folder), [before[0].clone(), b"{".to_vec()]);
        }
        let whole = cluster([pod_named("a-p", 0)], job_object("a", 1), whole());
        let outcome = archived(&whole, &folder);
        assert_eq!((outcome.job, outcome.is_kept), (Some(row), false));
        assert_eq!(files(&folder)[0], before[0]);
    }

    #[test]
    fn a_log_whose_record_is_damaged_or_not_believed_does_not_give_way_to_less() {
        let (folder, _, before, lost) = lost();
        let record = folder.join("n/2026-01/a.json");
        for damaged in ["", "{"] {
            fs::write(&record, damaged).unwrap();
            let error = archived(&lost, &folder).error.unwrap();
            assert_eq!(error.class, ErrorClass::NameTaken, "{}", error.message);
            assert_eq!(files(&folder), [before[0].clone(), damaged.into()]);
        }
        // One that is not signed says nothing that the archive's key signs.
        fs::write(&record, &before[1]).unwrap();
        let key = folder.path("key.pem");
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        fs::write(&key, pem).unwrap();
        let with_key = |cluster: &Scripted| {
            let ids = ["a".to_string()];
            let outcomes = archive(
                &patient(cluster),
                &folder.to_string_lossy(),
                Some(&key),
                &[],
                &here(),
                &ids,
            )
            .unwrap();
            outcomes.into_iter().next().unwrap()
        };
        let error = with_key(&lost).error.unwrap();
        assert!(error.message.contains("is not signed"), "{}", error.message);
        assert_eq!(files(&folder), before);
        // While the cluster has all, it is found out anew.
        let has_all = cluster([pod_named("a-p", 0)], job_object("a", 1), whole());
        assert_eq!(with_key(&has_all).error, None);
        assert_ne!(files(&folder)[1], before[1]);
        fs::write(&record, "{").unwrap();
        assert_eq!(with_key(&has_all).error, None);
        assert_eq!(with_key(&lost).error, None);
        assert_eq!(files(&folder)[0], before[0]);
    }
}
