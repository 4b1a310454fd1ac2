//! The functions that R calls to submit jobs and to ask for them.

use std::mem::take;
use std::time::Duration;

use abba_core::domain::job_record::JobRecord;
use abba_core::domain::job_status::JobStatus;
use abba_core::domain::job_template::JobTemplate;
use abba_core::domain::mounts::Access;
use abba_core::domain::program::ProgramSource;
use abba_core::domain::submission::SubmitArguments;
use abba_core::domain::verdict::LogPatterns;
use abba_core::domain::{job_name, paths};
use abba_core::kubernetes::labels;
use abba_core::local::accounts;
use abba_core::operations::{
    self, Archived, CheckArguments, JobList, JobSelector, ListArguments, LogOfJob, Logs, Place, PreparedJob, Reached,
    ReleaseNews, Submitter, WatchUpdate, WatchedJobs,
};
use abba_core::transport::Kubectl;
#[cfg(unix)]
use abba_core::transport::Session;
use abba_core::Error;
use serde::Serialize;
use serde_json::json;

use crate::background::Background;
use crate::objects::Content;
use crate::registration::r_functions;
use crate::settings::{is_pending, Settings};
use crate::values::{read, template_to_json, to_json, Value};
use crate::Answer;

/// A watch under way: each of its news is all jobs as they stand.
type Watching = Background<WatchedJobs, ()>;

/// A controller: each of its news is something that it does.
type Controlling = Background<ReleaseNews, ()>;

/// A followed log: each of its news is a line; the outcome is the log read whole, unless it was stopped.
type Following = Background<String, Option<Logs>>;

r_functions! {
    get_jobs_metadata;

    /// R's message about the time limit of its own that stopped the last call, once; `NULL` where it was Ctrl-C.
    fn core_time_limit() {
        Value::json(&crate::interrupt::time_limit())
    }

    /// Checks the arguments of submissions, all before the first is sent, and submits them. `arguments` is a list of lists
    /// with the names of the struct `SubmitArguments`. For each a list of `job_id`, `batch_id`, `program`, and `error`, a
    /// record or `NULL`.
    fn core_submit(arguments: Vec<SubmitArguments>, settings: Settings) {
        // Everything that can be refused without the cluster is refused before kubectl is looked for.
        let prepared = prepare(&arguments)?;
        let outcomes = settings
            .connected(|connection| operations::submit_many(connection, &prepared))
            .map_err(|error| error.meaning("No job was created."))?;
        let warnings = operations::submission_warnings(outcomes.iter().flatten());
        let outcomes: Vec<Outcome<'_>> = prepared
            .iter()
            .zip(outcomes)
            .map(|(prepared, outcome)| Outcome {
                job_id: &prepared.submitted().job_id,
                batch_id: &prepared.submitted().batch_id,
                program: prepared.program_path(),
                error: outcome.err(),
            })
            .collect();
        Ok(Answer {
            warnings,
            ..Value::json(&outcomes)?
        })
    }

    /// Checks the arguments of submissions as `core_submit` does, and sends nothing.
    fn core_check_submissions(arguments: Vec<SubmitArguments>) {
        prepare(&arguments)?;
        Ok(Value::null().into())
    }

    /// Checks the values of some arguments of a submission by themselves: without the program, the account and the home's
    /// server, which may be those of an earlier submission.
    fn core_check_values(arguments: SubmitArguments) {
        let mut arguments = arguments;
        if arguments.container.is_empty() {
            arguments.container = "given-before".into();
        }
        arguments.values()?;
        Ok(Value::null().into())
    }

    /// What a program that is submitted with these arguments may do at `path` of the storage that it gets: "write", "read",
    /// or `NULL` where none holds it.
    fn core_storage_access(arguments: SubmitArguments, path: String) {
        Value::json(&operations::storage_access(&arguments, &path)?.map(|access| match access {
            Access::Read => "read",
            Access::Write => "write",
        }))
    }

    /// Checks the form of a batch's id; `argument` is what the verb calls it.
    fn core_check_batch_id(batch_id: String, argument: String) {
        labels::check_label_value(&argument, &batch_id)?;
        Ok(Value::null().into())
    }

    /// New ids for programs that are to be submitted together, made before anything is sent. `paths` is a character vector of
    /// the programs' paths; `batch_group_id` the batch's id, or `""` for a new one. A list of `batch_id`, a string, and
    /// `job_ids`, a list of strings.
    fn core_new_ids(paths, batch_group_id: String) {
        let paths: Vec<String> = read(paths.as_list())?;
        let names: Vec<&str> = paths.iter().map(|path| paths::file_name(path)).collect();
        let batch_id = match batch_group_id.as_str() {
            "" => job_name::new_batch_id(names.first().copied().unwrap_or_default()),
            given => given.to_string(),
        };
        labels::check_label_value("batch_group_id", &batch_id)?;
        let job_ids: Vec<String> = names.into_iter().map(job_name::new_job_id).collect();
        Value::json(&json!({"batch_id": batch_id, "job_ids": job_ids}))
    }

    /// The order of programs that read each other's files; asks nobody. `arguments` is a list with the names of the struct
    /// `PlanArguments`. A list with the names of `PlanColumns`.
    fn core_plan(arguments) {
        Value::json(&operations::plan(&read(arguments)?)?)
    }

    /// The verdicts of log files of this machine: a list of lists with `verdict`, a string, and `verdict_line`, a
    /// string or `NULL`.
    /// `patterns`: the option `abba.log.patterns`, or `NULL`.
    fn core_log_check(paths, patterns) {
        let paths: Vec<String> = read(paths.as_list())?;
        let patterns = LogPatterns::new(read::<Option<_>>(patterns)?.unwrap_or_default())?;
        Value::json(&operations::log_check(&paths, &patterns)?)
    }

    /// The records of jobs and their logs, out of the cluster: a list of lists with `job_id`, `record`, JSON, and `log`, base64,
    /// strings. `job_ids` is a character vector; `archived` as for `core_status`.
    fn core_records(job_ids, archived: Option<Archived>, settings: Settings) {
        let archived = archived.unwrap_or_default();
        let which = JobSelector::Jobs(read(job_ids.as_list())?);
        let JobSelector::Jobs(job_ids) = &which else {
            return Ok(Value::null().into());
        };
        let records = settings.connected_for(&which, |connection| operations::records(connection, job_ids, &archived))?;
        let mut warnings = Vec::new();
        let mut rows = Vec::new();
        for (job_id, one) in job_ids.iter().zip(records) {
            let (record, log) = one.texts()?;
            warnings.extend(one.warnings);
            rows.push(Value::named([
                ("job_id", Value::Text(job_id.clone())),
                ("record", Value::Text(record)),
                ("log", Value::Text(log)),
            ]));
        }
        Ok(Answer {
            value: Value::Unnamed(rows),
            warnings,
        })
    }

    /// Saves records and logs as files. `arguments` is a list with the names of the struct `SaveArguments`. A list of lists with
    /// the names of the struct `SavedJob`.
    fn core_save_records(arguments) {
        Value::json(&operations::save_records(&read(arguments)?)?)
    }

    /// Checks the records of a folder, with the public keys in the files `key_paths`, a character vector. A list of lists with
    /// the names of the struct `CheckedFile`.
    fn core_verify(folder: String, key_paths) {
        let key_paths: Vec<String> = read(key_paths.as_list())?;
        Value::json(&operations::verify(&folder, &key_paths)?)
    }

    /// Which programs of a plan have to run again. `arguments` is a list with the names of the struct `OutdatedArguments`. A list
    /// of lists with `outdated` and `why`, strings.
    fn core_outdated(arguments) {
        Value::json(&operations::outdated(&read(arguments)?)?)
    }

    /// What the jobs of a batch were submitted with, in the order of their submission; `statuses` names the states that are
    /// meant, all if it is empty; `archived` as for `core_status`. A list of lists of `job_id`, `status`, `ending`,
    /// `open_predecessors`, `in_place` and `arguments`.
    fn core_kept_submissions(batch_id: String, statuses, archived: Option<Archived>, settings: Settings) {
        let archived = archived.unwrap_or_default();
        let statuses: Vec<String> = read(statuses.as_list())?;
        let kept = settings.connected_for(&JobSelector::Batch(batch_id.clone()), |connection| {
            operations::kept_submissions(connection, &batch_id, None, &statuses, &archived)
        })?;
        Value::json(&kept)
    }

    /// The error where jobs that were cancelled, and are to run again, do not end.
    fn core_does_not_end(job_ids) {
        Err(operations::does_not_end(read(job_ids.as_list())?))
    }

    /// The error where jobs have not ended, and programs that are to run again run after them.
    fn core_predecessors_have_not_ended(job_ids) {
        Err(operations::predecessors_have_not_ended(read(job_ids.as_list())?))
    }

    /// A program of this machine as it is sent to an abba API: a list of `path`, absolute, and `text` or `base64`, strings;
    /// both are `NULL` where it runs in place, which `in_place` allows.
    fn core_carry_program(given_path: String, expanded_path: String, in_place: bool, mounts: Option<serde_json::Value>) {
        let carried = operations::program_upload(&given_path, &expanded_path, in_place, mounts.as_ref())?;
        let (text, base64) = match carried.contents {
            Some(ProgramSource::Text(text)) => (Some(text), None),
            Some(ProgramSource::Base64(base64)) => (None, Some(base64)),
            Some(ProgramSource::InPlace) | None => (None, None),
        };
        Value::json(&json!({"path": carried.absolute_path, "text": text, "base64": base64}))
    }

    /// Checks which jobs are meant, as every function that takes ids does, and asks nobody. `which` as for `core_status`.
    fn core_check_which(which) {
        operations::check(&read(which)?)?;
        Ok(Value::null().into())
    }

    /// An R value as JSON, by the rules of `to_json()` in `values.rs`: a string.
    fn core_json(value) {
        Ok(Value::Text(to_json(value)?.to_string()).into())
    }

    /// A Job template, checked, as JSON: a string. `template` is a list, or the JSON of a file; `argument` the name under which
    /// the user gave it.
    fn core_job_template(template, argument: String) {
        let template = match template.content() {
            Content::Texts(_) => JobTemplate::parse(&read::<String>(template)?),
            _ => template_to_json(template).and_then(|value| JobTemplate::from_value(&value)),
        };
        let template = template.map_err(|error| Error {
            message: error.message.replacen("`job_template`", &format!("`{argument}`"), 1),
            ..error
        })?;
        Ok(Value::Text(json!(template).to_string()).into())
    }

    /// The states of jobs, grouped: for each state a list with `Jobs` (lists of `id` and `path`) and `Description`. `which`
    /// is a list with `job_id`, a character vector, or `batch_id`, a string; `archived` what the archive has of them, a list as
    /// of the struct `Archived`, or `NULL`.
    fn core_status(which: JobSelector, archived: Option<Archived>, settings: Settings) {
        let archived = archived.unwrap_or_default();
        let (jobs, warnings) =
            settings.connected_for(&which, |connection| operations::status(connection, &which, &archived))?;
        let value = Value::json(&abba_core::domain::job_status::by_status(jobs))?.value;
        Ok(Answer { value, warnings })
    }

    /// The logs of jobs: a list of lists with `job_id` or, for a batch, `pod_id`, and `log`, a character
    /// vector, or `error`, the record of why it cannot be read; and `warning`, the record of what its verdict
    /// warns of, or `NULL`. `which` and `archived` as for `core_status`.
    fn core_log(which: JobSelector, archived: Option<Archived>, settings: Settings) {
        let archived = archived.unwrap_or_default();
        let logs = settings.connected_for(&which, |connection| operations::log(connection, &which, &archived))?;
        log_list(logs, matches!(which, JobSelector::Jobs(_)))
    }

    /// Cancels jobs. A list of lists with `job_id`, `done`, a string or `NULL`, and `error`, a record or `NULL`. `which` as for
    /// `core_status`.
    fn core_cancel(which: JobSelector, settings: Settings) {
        Value::json(&settings.connected_for(&which, |connection| operations::cancel(connection, &which))?)
    }

    /// Removes jobs that have ended. A list of lists with `job_id`, `done`, a string or `NULL`, and `error`, a record or `NULL`.
    /// `which` as for `core_status`; `everybody`: also what others have submitted.
    fn core_remove(which: JobSelector, everybody: bool, settings: Settings) {
        let account = accounts::current_name();
        let submitter = match everybody {
            true => Submitter::Anybody,
            false => Submitter::Account(&account),
        };
        Value::json(&settings.connected_for(&which, |connection| operations::remove(connection, &which, submitter))?)
    }

    /// Lists jobs: a list of vectors of equal length, named as the fields of a job in one line; times as RFC 3339. Ten thousand
    /// jobs take less room and time than as a list each. Where they were asked for, there are `verdict` and `verdict_line`, too.
    fn core_list(arguments: ListArguments, settings: Settings) {
        Ok(columns(settings.connected(|connection| operations::list(connection, &arguments))?))
    }

    /// Checks what is to be looked for in logs, the option `abba.log.patterns`.
    fn core_check_log_patterns(patterns) {
        LogPatterns::new(read(patterns)?)?;
        Ok(Value::null().into())
    }

    /// Explains a job: a list, see the struct `Explanation`.
    fn core_explain(job_id: String, settings: Settings) {
        let which = JobSelector::Jobs(vec![job_id.clone()]);
        Value::json(&settings.connected_for(&which, |connection| operations::explain(connection, &job_id))?)
    }

    /// Explains a job by its record in an archive, as `core_explain` does. `path`: as of the struct `ArchivedJob`.
    fn core_archived_explanation(folder: String, path: String) {
        Value::json(&operations::archived_explanation(&folder, &path)?)
    }

    /// The namespace of the jobs: a list of `namespace` and `namespace_uid`, strings.
    fn core_place(settings: Settings) {
        Value::json(&settings.connected(operations::place)?)
    }

    /// Writes the logs and records of jobs that have ended into an archive. `key`: a path, or `NULL`; `public_keys`: paths;
    /// `place` as of `core_place`. A list of lists as of the struct `ArchiveOutcome`.
    fn core_archive(job_ids, folder: String, key: Option<String>, public_keys, place: Place, settings: Settings) {
        let (job_ids, public_keys): (Vec<String>, Vec<String>) = (read(job_ids.as_list())?, read(public_keys.as_list())?);
        Value::json(&settings.connected(|connection| {
            operations::archive(connection, &folder, key.as_deref(), &public_keys, &place, &job_ids)
        })?)
    }

    /// What an index has to have of the records at `paths`: a list of lists as of the struct `ArchivedJob`, or `NULL` where there
    /// is no record.
    fn core_archived_jobs(folder: String, paths) {
        let paths: Vec<String> = read(paths.as_list())?;
        Value::json(&operations::archived_jobs(&folder, &paths))
    }

    /// A user's name as jobs have it.
    fn core_user_label(user: String) {
        Ok(Value::Text(labels::sanitise(&user, labels::MAXIMUM_LENGTH)).into())
    }

    /// Looks at everything that a submission with these arguments needs. A list with `checks`, lists of `check`, `result`,
    /// `what` and `advice`, and `for_admin`, a string or `NULL`.
    fn core_check(arguments: CheckArguments, settings: Settings) {
        settings.check_namespace()?;
        let (namespace, patience) = (settings.namespace.as_deref(), settings.patience(&is_pending));
        let report = match Kubectl::find(&settings.kubectl) {
            Ok(kubectl) => {
                let transport = settings.transport(kubectl.clone());
                let reached = Reached {
                    kubectl: &kubectl,
                    transport: transport.as_ref(),
                };
                operations::check_cluster(Ok(reached), namespace, patience, &arguments)
            }
            Err(failure) => operations::check_cluster(Err(failure), namespace, patience, &arguments),
        }?;
        Value::json(&report)
    }

    /// Begins to watch jobs, in the background. A pointer for `core_watch_next`. `which` as for `core_status`.
    fn core_watch_begin(which: JobSelector, settings: Settings) {
        settings.check_for(&which)?;
        let watching = Watching::begin(move |stopped, tell| {
            settings.connected_until(stopped, |connection| {
                operations::watch(connection, &which, &mut |news| tell(news))
            })
        })?;
        Ok(Value::Pointer(Box::new(watching)).into())
    }

    /// Waits up to `seconds` for news of watched jobs. `NULL` where there are none; else a list with `status` (as of
    /// `core_status`), `counts` (named by state), `obstacles` (for jobs that have not started lists of `job_id`, `what`,
    /// `details`, `advice` and `is_stuck`; what matters most first), and `ended`, whether no job is Pending or Running.
    fn core_watch_next(watching, seconds: f64) {
        let answer = Watching::of(watching)?.ask(duration(seconds))?;
        // Of several news the last tells all.
        match answer.news.into_iter().next_back() {
            Some(news) => Value::json(&WatchUpdate::from(news)),
            None => Ok(Value::null().into()),
        }
    }

    /// Ends the watching of jobs, and waits a moment for it to be over.
    fn core_watch_end(watching) {
        Watching::of(watching)?.end();
        Ok(Value::null().into())
    }

    /// Begins to start jobs in their turn, in the background. A pointer for `core_controller_next`. `holder`: the name under
    /// which that is shown, or `NULL`: none is started. `archive`: `NULL`, or the folder of an archive, where it keeps the logs of jobs that run, and it
    /// tells which have ended; then `place` is as of `core_place`.
    fn core_controller_begin(holder: Option<String>, archive: Option<String>, place: Option<Place>, settings: Settings) {
        settings.check_namespace()?;
        let controlling = Controlling::begin(move |stopped, tell| {
            settings.connected_until(stopped, |connection| {
                let archive = archive.as_deref().zip(place.as_ref());
                operations::run_controller(connection, holder.as_deref(), archive, tell)
            })
        })?;
        Ok(Value::Pointer(Box::new(controlling)).into())
    }

    /// Waits up to `seconds` for what the controller does: a list of lists with `event`, a string, and what there is of
    /// `job_id`, `program` and `cause`, strings, `jobs`, lists of a job's id, that of
    /// its pod and its state, `waiting`, a number, and `error`, a record.
    fn core_controller_next(controlling, seconds: f64) {
        let answer = Controlling::of(controlling)?.ask(duration(seconds))?;
        let news: Vec<serde_json::Value> = answer.news.iter().filter_map(controller_news).collect();
        Value::json(&news)
    }

    /// Ends the controller, and waits a moment for it to be over.
    fn core_controller_end(controlling) {
        Controlling::of(controlling)?.end();
        Ok(Value::null().into())
    }

    /// Begins to follow the log of a job, in the background; with `from_now` from here on. A pointer for `core_follow_next`.
    fn core_follow_begin(job_id: String, from_now: bool, settings: Settings) {
        settings.check_for(&JobSelector::Jobs(vec![job_id.clone()]))?;
        let following = Following::begin(move |stopped, tell| {
            settings.connected_until(stopped, |connection| {
                operations::follow(connection, &job_id, from_now, &mut |line| tell(line))
            })
        })?;
        Ok(Value::Pointer(Box::new(following)).into())
    }

    /// Waits up to `seconds` for lines of a followed log. A list with `lines`, a character vector, and `log`: `NULL` while the
    /// program runs, then the list of `core_log`.
    fn core_follow_next(following, seconds: f64) {
        let answer = Following::of(following)?.ask(duration(seconds))?;
        let log = match answer.outcome.flatten() {
            Some(logs) => log_list(logs, true)?,
            None => Value::null().into(),
        };
        Ok(Answer {
            value: Value::named([("lines", Value::Texts(answer.news)), ("log", log.value)]),
            warnings: log.warnings,
        })
    }

    /// Ends the following of a log, and waits a moment for it to be over.
    fn core_follow_end(following) {
        Following::of(following)?.end();
        Ok(Value::null().into())
    }

    /// Ends the kubectl that is kept for the session. The next call starts one anew.
    fn core_end_session() {
        #[cfg(unix)]
        Session::end();
        Ok(Value::null().into())
    }
}

/// What became of a submission.
#[derive(Serialize)]
struct Outcome<'a> {
    job_id: &'a str,
    batch_id: &'a str,
    program: &'a str,
    error: Option<Error>,
}

/// Checks the arguments of submissions and makes their Jobs.
fn prepare(all: &[SubmitArguments]) -> Result<Vec<PreparedJob>, Error> {
    operations::prepare_all(all).map_err(|(one, error)| match all.len() {
        1 => error,
        _ => Error {
            details: Some(format!("This is about the program \"{}\".", one.given_path)),
            ..error
        },
    })
}

/// The list of `core_list`.
fn columns(list: JobList) -> Answer {
    let mut jobs = list.records;
    let exit_codes = jobs.iter().map(|job| job.exit_code).collect();
    let mut texts =
        |field: fn(&mut JobRecord) -> Option<String>| Value::OptionalTexts(jobs.iter_mut().map(field).collect());
    let mut columns = vec![
        ("job_id", texts(|job| Some(take(&mut job.job_id)))),
        ("batch_id", texts(|job| Some(take(&mut job.batch_id)))),
        ("program", texts(|job| Some(take(&mut job.program)))),
        ("user", texts(|job| Some(take(&mut job.user)))),
        ("status", texts(|job| Some(job.status.name().into()))),
        ("submitted", texts(|job| Some(take(&mut job.submitted)))),
        ("started", texts(|job| job.started.take())),
        ("finished", texts(|job| job.finished.take())),
        ("reason", texts(|job| job.reason.take())),
        ("exit_code", Value::OptionalIntegers(exit_codes)),
    ];
    let mut warnings = Vec::new();
    if let Some(verdicts) = list.verdicts {
        let findings = verdicts.findings.into_iter().map(|finding| match finding {
            Some(finding) => (Some(finding.verdict.name().to_string()), finding.line),
            None => (None, None),
        });
        let (verdict, lines) = findings.unzip();
        columns.push(("verdict", Value::OptionalTexts(verdict)));
        columns.push(("verdict_line", Value::OptionalTexts(lines)));
        warnings.extend(verdicts.warning);
    }
    Answer {
        value: Value::Named(columns),
        warnings,
    }
}

/// The list of `core_log`.
fn log_list(logs: Logs, by_job: bool) -> Result<Answer, Error> {
    let one = |log: LogOfJob| {
        let warning = Value::json(&log.verdict_warning())?.value;
        let id = match by_job {
            true => ("job_id", log.job_id),
            false => ("pod_id", log.pod_id),
        };
        let read = match &log.error {
            None => ("log", Value::Texts(log.lines)),
            Some(error) => ("error", Value::json(error)?.value),
        };
        Ok(Value::named([(id.0, Value::Text(id.1)), read, ("warning", warning)]))
    };
    Ok(Answer {
        value: Value::Unnamed(logs.logs.into_iter().map(one).collect::<Result<_, Error>>()?),
        warnings: logs.warnings,
    })
}

/// An element of the list of `core_controller_next`.
fn controller_news(news: &ReleaseNews) -> Option<serde_json::Value> {
    Some(match news {
        ReleaseNews::Follows { waiting } => json!({"event": "follows", "waiting": waiting}),
        ReleaseNews::Released { job_id, program } => {
            json!({"event": "released", "job_id": job_id, "program": program})
        }
        ReleaseNews::NotStarted { job_id, program, cause } => {
            json!({"event": "not_started", "job_id": job_id, "program": program, "cause": cause.words()})
        }
        ReleaseNews::Ended(ended) => {
            let job = |(job_id, status): &(String, JobStatus)| json!([job_id, status.id, status.status]);
            json!({"event": "ended", "jobs": ended.iter().map(job).collect::<Vec<_>>()})
        }
        ReleaseNews::Trouble(error) => json!({"event": "trouble", "error": error}),
        ReleaseNews::EndedWithoutPod => return None,
    })
}

/// A number of seconds.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
