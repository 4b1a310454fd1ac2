//! The boundary between R and abba's core.
//!
//! Every function that R calls is infallible: it returns a list with the elements `value`, `warnings` and `error`, and
//! `R/conditions.R` turns the latter two into classed conditions. (extendr makes of an `Err` an R error with the text as
//! a format string, which a `%` in kubectl's words would crash.)

mod arguments;
mod background;
#[cfg(unix)]
mod descriptors;
mod gateway;
mod interrupt;
mod objects;
mod records;
mod values;
mod watching;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use abba_core::domain::job_status::{self, JobStatus};
use abba_core::domain::program::Delivery;
use abba_core::domain::r_call::Road;
use abba_core::operations::{self, Connection, LogOfJob, Logs, Reached, Which};
#[cfg(unix)]
use abba_core::transport::Session;
use abba_core::transport::{Kubectl, Patience, Transport};
use abba_core::{Error, ErrorClass, Warning};
use extendr_api::prelude::*;

use arguments::Settings;
use background::Background;
use values::{answer_to_r, to_json, Value};
use watching::Watching;

/// A followed log: each of its news is a line; the outcome is the log read whole, unless it was stopped.
type Following = Background<String, Option<Logs>>;

/// A value for R, with what must be said about it.
struct Answer {
    value: Value,
    warnings: Vec<Warning>,
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self {
            value,
            warnings: Vec::new(),
        }
    }
}

/// Checks the arguments of a submission and submits it. A list with `job_id` and `batch_id`.
#[extendr]
fn core_submit(arguments: Robj, settings: Robj) -> Robj {
    respond(|| {
        let arguments = arguments::submit_arguments(to_json(&arguments)?)?;
        let settings = Settings::read(to_json(&settings)?)?;
        // Everything that can be refused without the cluster is refused before kubectl is looked for.
        let prepared = operations::prepare(&arguments)?;
        let submitted = settings
            .connected(|connection| operations::submit(connection, &prepared))
            .map_err(|error| error.meaning("No job was created."))?;
        Ok(Value::named([
            ("job_id", Value::Text(submitted.job_id)),
            ("batch_id", Value::Text(submitted.batch_id)),
        ])
        .into())
    })
}

/// Checks the arguments of many submissions, all before the first is sent, and submits them. For each a list with
/// `job_id`, `batch_id`, and `error`, a record or `NULL`.
#[extendr]
fn core_submit_many(arguments: Robj, settings: Robj) -> Robj {
    respond(|| {
        let settings = Settings::read(to_json(&settings)?)?;
        let prepared = prepare_many(&arguments)?;
        let outcomes = settings
            .connected(|connection| operations::submit_many(connection, &prepared))
            .map_err(|error| error.meaning("No job was created."))?;
        let lists = outcome_lists(&prepared, outcomes).into_iter().map(Value::Named);
        Ok(Value::Unnamed(lists.collect()).into())
    })
}

fn outcome_lists(
    prepared: &[operations::PreparedJob],
    outcomes: Vec<std::result::Result<operations::Submitted, Error>>,
) -> Vec<Vec<(&'static str, Value)>> {
    let lists = prepared.iter().zip(outcomes).map(|(prepared, outcome)| {
        let submitted = prepared.submitted();
        vec![
            ("job_id", Value::Text(submitted.job_id.clone())),
            ("batch_id", Value::Text(submitted.batch_id.clone())),
            ("program", Value::Text(prepared.program_path().to_string())),
            ("error", outcome.map_or_else(values::error_record, |_| Value::Null)),
        ]
    });
    lists.collect()
}

/// Checks arguments that are to replace those of earlier submissions, by themselves, and asks nobody. `changes` as for
/// `core_rerun`.
#[extendr]
fn core_check_changes(changes: Robj) -> Robj {
    respond(|| {
        arguments::check_changes(&to_json(&changes)?)?;
        Ok(Value::Null.into())
    })
}

/// Submits again what has failed of a batch, under a new batch id. `changes` is a list with `values`, arguments of
/// `core_submit` that replace those of the first submission, and `none`, the names of those that are to be none; `rest` is `NULL`, or what is left of an earlier rerun: a list of `batch_id`, `rerun_of`
/// and `job_id` (the ids of these jobs' first and second submissions). The list of `core_submit_many`, with `program` and
/// `rerun_of`; empty where nothing has failed.
#[extendr]
fn core_rerun(batch_id: &str, changes: Robj, include_unknown: bool, rest: Robj, settings: Robj) -> Robj {
    respond(|| {
        let settings = Settings::read(to_json(&settings)?)?;
        let changes = to_json(&changes)?;
        let rest = arguments::rest_of_rerun(&to_json(&rest)?)?;
        settings.check_for(&Which::Batch(batch_id.to_string()))?;
        arguments::check_changes(&changes)?;
        settings.connected(|connection| {
            let before = operations::arguments_to_rerun(connection, batch_id, include_unknown, rest.as_ref())?;
            let (rerun_of, before): (Vec<_>, Vec<_>) = before
                .into_iter()
                .map(|again| (again.rerun_of, again.arguments))
                .unzip();
            let prepared = before
                .into_iter()
                .map(|before| operations::prepare(&arguments::with_changes(before, &changes)?))
                .collect::<std::result::Result<Vec<_>, Error>>()?;
            let outcomes = operations::submit_many(connection, &prepared)?;
            let lists = outcome_lists(&prepared, outcomes).into_iter().zip(rerun_of);
            let lists = lists.map(|(mut list, rerun_of)| {
                list.push(("rerun_of", Value::Text(rerun_of)));
                Value::Named(list)
            });
            Ok(Value::Unnamed(lists.collect()).into())
        })
    })
}

/// Checks the arguments of many submissions as `core_submit_many` does, and sends nothing.
#[extendr]
fn core_check_submissions(arguments: Robj) -> Robj {
    respond(|| {
        prepare_many(&arguments)?;
        Ok(Value::Null.into())
    })
}

fn prepare_many(arguments: &Robj) -> std::result::Result<Vec<operations::PreparedJob>, Error> {
    match to_json(arguments)? {
        serde_json::Value::Array(all) => {
            let many = all.len() > 1;
            let prepare = |one: serde_json::Value| {
                let arguments = arguments::submit_arguments(one)?;
                operations::prepare(&arguments).map_err(|error| match many {
                    true => Error {
                        details: Some(format!("This is about the program \"{}\".", arguments.given_path)),
                        ..error
                    },
                    false => error,
                })
            };
            all.into_iter().map(prepare).collect()
        }
        _ => Ok(Vec::new()),
    }
}

/// A new batch id, made from a program's file name.
#[extendr]
fn core_new_batch_id(file_name: &str) -> Robj {
    respond(|| Ok(Value::Text(abba_core::domain::job_name::new_batch_id(file_name)).into()))
}

/// The error where jobs that were cancelled, and are to run again, do not end.
#[extendr]
fn core_does_not_end(job_ids: Vec<String>) -> Robj {
    respond(|| Err(operations::does_not_end(job_ids)))
}

/// A new key under which a request to an abba API is made once, however often it is repeated.
#[extendr]
fn core_new_request_key() -> Robj {
    respond(|| Ok(Value::Text(abba_core::domain::job_name::new_request_key()).into()))
}

/// A program of this machine as it is sent to an abba API: a list of `path`, absolute, and `text` or `base64`, strings;
/// both are `NULL` where it runs in place, which `in_place` allows.
#[extendr]
fn core_carry_program(given_path: &str, expanded_path: &str, in_place: bool) -> Robj {
    respond(|| {
        let carried = operations::carry(given_path, expanded_path, in_place)?;
        let (text, base64) = match carried.contents {
            Some(Delivery::Text(text)) => (Value::Text(text), Value::Null),
            Some(Delivery::Base64(base64)) => (Value::Null, Value::Text(base64)),
            Some(Delivery::InPlace) | None => (Value::Null, Value::Null),
        };
        Ok(Value::named([
            ("path", Value::Text(carried.absolute_path)),
            ("text", text),
            ("base64", base64),
        ])
        .into())
    })
}

/// Checks which jobs are meant, as every function that takes ids does, and asks nobody. `which` as for `core_status`.
#[extendr]
fn core_check_which(which: Robj) -> Robj {
    respond(|| {
        operations::check(&arguments::which(&to_json(&which)?)?)?;
        Ok(Value::Null.into())
    })
}

/// An R value as JSON, by the rules of `to_json()` in `values.rs`: a string.
#[extendr]
fn core_json(value: Robj) -> Robj {
    respond(|| Ok(Value::Text(to_json(&value)?.to_string()).into()))
}

/// The states of jobs, grouped: for each state a list with `Jobs` (lists of `id` and `path`) and `Description`. `which` is
/// a list with `job_id`, a character vector, or `batch_id`, a string.
#[extendr]
fn core_status(which: Robj, settings: Robj) -> Robj {
    respond(|| {
        let which = arguments::which(&to_json(&which)?)?;
        let settings = Settings::read(to_json(&settings)?)?;
        let jobs = settings.connected_for(&which, |connection| operations::status(connection, &which))?;
        Ok(status_list(jobs).into())
    })
}

/// The logs of jobs: a list of lists with `job_id`, `pod_id` and `log`, a character vector. `which` as for `core_status`.
#[extendr]
fn core_log(which: Robj, settings: Robj) -> Robj {
    respond(|| {
        let which = arguments::which(&to_json(&which)?)?;
        let settings = Settings::read(to_json(&settings)?)?;
        let logs = settings.connected_for(&which, |connection| operations::log(connection, &which))?;
        Ok(Answer {
            value: log_list(logs.logs, matches!(which, Which::Jobs(_))),
            warnings: logs.warnings,
        })
    })
}

/// Cancels jobs. A list with `job_id` and `done`, character vectors, and `errors`, a list of records or `NULL`s. `which` as
/// for `core_status`.
#[extendr]
fn core_cancel(which: Robj, settings: Robj) -> Robj {
    respond(|| {
        let which = arguments::which(&to_json(&which)?)?;
        let settings = Settings::read(to_json(&settings)?)?;
        let outcomes = settings.connected_for(&which, |connection| operations::cancel(connection, &which))?;
        let done =
            |outcome: &operations::CancelOutcome| outcome.done.as_ref().ok().map(|done| done.words().to_string());
        Ok(Value::named([
            (
                "job_id",
                Value::Texts(outcomes.iter().map(|outcome| outcome.job_id.clone()).collect()),
            ),
            ("done", Value::OptionalTexts(outcomes.iter().map(done).collect())),
            (
                "errors",
                Value::Unnamed(
                    outcomes
                        .into_iter()
                        .map(|outcome| outcome.done.map_or_else(values::error_record, |_| Value::Null))
                        .collect(),
                ),
            ),
        ])
        .into())
    })
}

/// Lists jobs: a list of vectors of equal length, the columns of a data frame; times as RFC 3339.
#[extendr]
fn core_list(arguments: Robj, settings: Robj) -> Robj {
    respond(|| {
        let arguments = arguments::list_arguments(&to_json(&arguments)?)?;
        let settings = Settings::read(to_json(&settings)?)?;
        let records = settings.connected(|connection| operations::list(connection, &arguments))?;
        Ok(records::columns(&records).into())
    })
}

/// Explains a job: a list, see `explanation()` in `records.rs`.
#[extendr]
fn core_explain(job_id: &str, settings: Robj) -> Robj {
    respond(|| {
        let settings = Settings::read(to_json(&settings)?)?;
        settings.check_for(&Which::Jobs(vec![job_id.to_string()]))?;
        let explanation = settings.connected(|connection| {
            let namespace = connection.namespace;
            operations::explain(connection, job_id, Road::Local { namespace })
        })?;
        Ok(records::explanation(explanation).into())
    })
}

/// Looks at everything that a submission with these arguments needs. A list with `checks`, the columns of a data frame
/// (`check`, `result`, `what`, `advice`), and `for_admin`, a string or `NA`.
#[extendr]
fn core_check(arguments: Robj, settings: Robj) -> Robj {
    respond(|| {
        let arguments = arguments::check_arguments(to_json(&arguments)?)?;
        let settings = Settings::read(to_json(&settings)?)?;
        let namespace = settings.namespace.as_deref();
        if let Some(namespace) = namespace {
            abba_core::domain::job_name::check_namespace(namespace)?;
        }
        let patience = Patience::new(
            Duration::from_secs_f64(settings.request_timeout),
            &interrupt::is_pending,
        );
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
        Ok(records::check_report(report).into())
    })
}

/// Begins to watch jobs, in the background. A pointer for `core_watch_next`. `which` as for `core_status`.
#[extendr]
fn core_watch_begin(which: Robj, settings: Robj) -> Robj {
    respond(|| {
        let which = arguments::which(&to_json(&which)?)?;
        let settings = Settings::read(to_json(&settings)?)?;
        if let Which::Batch(batch_id) = &which {
            // The verb's own name of it.
            abba_core::kubernetes::labels::check_label_value("batch_group_id", batch_id)?;
        }
        settings.check_for(&which)?;
        let watching = Watching::begin(move |stopped, tell| {
            settings.connected_until(stopped, |connection| {
                operations::watch(connection, &which, &mut |news| tell(news))
            })
        })?;
        Ok(Value::Pointer(watching).into())
    })
}

/// Waits up to `seconds` for news of watched jobs. `NULL` where there are none; else a list with `status` (as of
/// `core_status`), `counts` (named by state), `obstacles` (for jobs that have not started lists of `job_id`, `what`,
/// `details`, `advice` and `is_stuck`; what matters most first), and `ended`, whether no job is Pending or Running.
#[extendr]
fn core_watch_next(watching: Robj, seconds: f64) -> Robj {
    respond(|| {
        let answer = Watching::ask(&watching, Duration::from_secs_f64(seconds))?;
        // Of several news the last tells all.
        let newest = answer.news.into_iter().next_back();
        Ok(newest.map_or(Value::Null, watching::news_list).into())
    })
}

/// Ends the watching of jobs, and waits a moment for it to be over.
#[extendr]
fn core_watch_end(watching: Robj) -> Robj {
    respond(|| {
        Watching::end(&watching);
        Ok(Value::Null.into())
    })
}

/// Begins to follow the log of a job, in the background; with `from_now` from here on. A pointer for `core_follow_next`.
#[extendr]
fn core_follow_begin(job_id: &str, from_now: bool, settings: Robj) -> Robj {
    respond(|| {
        let settings = Settings::read(to_json(&settings)?)?;
        let job_id = job_id.to_string();
        settings.check_for(&Which::Jobs(vec![job_id.clone()]))?;
        let following = Following::begin(move |stopped, tell| {
            settings.connected_until(stopped, |connection| {
                operations::follow(connection, &job_id, from_now, &mut |line| tell(line))
            })
        })?;
        Ok(Value::Pointer(following).into())
    })
}

/// Waits up to `seconds` for lines of a followed log. A list with `lines`, a character vector, and `log`: `NULL` while the
/// program runs, then the list of `core_log`.
#[extendr]
fn core_follow_next(following: Robj, seconds: f64) -> Robj {
    respond(|| {
        let answer = Following::ask(&following, Duration::from_secs_f64(seconds))?;
        let (log, warnings) = match answer.outcome.flatten() {
            Some(logs) => (log_list(logs.logs, true), logs.warnings),
            None => (Value::Null, Vec::new()),
        };
        Ok(Answer {
            value: Value::named([("lines", Value::Texts(answer.news)), ("log", log)]),
            warnings,
        })
    })
}

/// Ends the following of a log, and waits a moment for it to be over.
#[extendr]
fn core_follow_end(following: Robj) -> Robj {
    respond(|| {
        Following::end(&following);
        Ok(Value::Null.into())
    })
}

/// The list of `core_log`.
fn log_list(logs: Vec<LogOfJob>, by_job: bool) -> Value {
    let lists = logs.into_iter().map(|log| {
        let (name, id) = match by_job {
            true => ("job_id", log.job_id),
            false => ("pod_id", log.pod_id),
        };
        Value::named([(name, Value::Text(id)), ("log", Value::Texts(log.lines))])
    });
    Value::Unnamed(lists.collect())
}

/// The list of `core_status`.
fn status_list(jobs: Vec<JobStatus>) -> Value {
    let groups = job_status::by_status(jobs).into_iter().map(|(status, jobs)| {
        let jobs = jobs
            .into_iter()
            .map(|job| Value::named([("id", Value::Text(job.id)), ("path", Value::OptionalText(job.path))]));
        let group = Value::named([
            ("Jobs", Value::Unnamed(jobs.collect())),
            ("Description", Value::Text(status.description().to_string())),
        ]);
        (status.name(), group)
    });
    Value::named(groups)
}

/// Opens the server's side of the abba API. A pointer for `core_gateway_begin`. `policy` is a list, see `R/api-options.R`;
/// `key_file` a path or `NULL`.
#[extendr]
fn core_gateway_open(policy: Robj, key_file: Robj, version: &str) -> Robj {
    respond(|| {
        let gateway = gateway::open(to_json(&policy)?, key_file.as_str(), version)?;
        Ok(Value::Pointer(gateway).into())
    })
}

/// Makes an API key for a user and keeps its hash in a file. The key, a string.
#[extendr]
fn core_api_key_create(user: &str, file: &str) -> Robj {
    respond(|| Ok(Value::Text(gateway::create_key(user, file)?).into()))
}

/// Ends the kubectl that is kept for the session. The next call starts one anew.
#[extendr]
fn core_end_session() -> Robj {
    respond(|| {
        #[cfg(unix)]
        Session::end();
        Ok(Value::Null.into())
    })
}

impl Settings {
    /// Finds kubectl and does something with it. The namespace is checked first, as all arguments are.
    fn connected<T>(&self, operation: impl FnOnce(&Connection<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.connected_until(&interrupt::is_pending, operation)
    }

    /// The same with another way to know that the user wants to stop, for a thread that is not R's.
    fn connected_until<T>(
        &self,
        stopped: &dyn Fn() -> bool,
        operation: impl FnOnce(&Connection<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let namespace = self.namespace.as_deref();
        if let Some(namespace) = namespace {
            abba_core::domain::job_name::check_namespace(namespace)?;
        }
        let patience = Patience::new(Duration::from_secs_f64(self.request_timeout), stopped);
        let kubectl = Kubectl::find(&self.kubectl).map_err(|failure| operations::error_of(&failure, &patience))?;
        operation(&Connection {
            transport: self.transport(kubectl).as_ref(),
            namespace,
            patience,
        })
    }

    /// One kubectl kept for the session, or one a call where the user wants that or there are no unix sockets.
    fn transport(&self, kubectl: Kubectl) -> Box<dyn Transport> {
        #[cfg(unix)]
        {
            if self.session {
                return Box::new(Session::new(kubectl, descriptors::with_nothing_inherited));
            }
            // So that the option, set and unset, also gives up a login that is kept too long.
            Session::end();
        }
        Box::new(kubectl)
    }

    /// Checks which jobs are meant, and the namespace, before kubectl is looked for.
    fn check_for(&self, which: &Which) -> Result<(), Error> {
        operations::check(which)?;
        match &self.namespace {
            Some(namespace) => abba_core::domain::job_name::check_namespace(namespace),
            None => Ok(()),
        }
    }

    /// Does something with jobs.
    fn connected_for<T>(
        &self,
        which: &Which,
        operation: impl FnOnce(&Connection<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check_for(which)?;
        self.connected(operation)
    }
}

/// Runs what R asked for; whatever happens, R gets a list.
fn respond(operation: impl FnOnce() -> Result<Answer, Error>) -> Robj {
    answer_of(operation).make().into_robj()
}

fn answer_of(operation: impl FnOnce() -> Result<Answer, Error>) -> Value {
    let outcome = catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_string())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(
            Error::new(ErrorClass::Internal, format!("abba itself failed: {words}."))
                .advise("Please report this to abba's maintainers, with what you did."),
        )
    });
    answer_to_r(outcome.map(|answer| (answer.value, answer.warnings)))
}

extendr_module! {
    mod abba;
    fn core_submit;
    fn core_submit_many;
    fn core_check_submissions;
    fn core_new_batch_id;
    fn core_does_not_end;
    fn core_new_request_key;
    fn core_carry_program;
    fn core_check_changes;
    fn core_check_which;
    fn core_json;
    fn core_status;
    fn core_log;
    fn core_cancel;
    fn core_list;
    fn core_explain;
    fn core_check;
    fn core_watch_begin;
    fn core_watch_next;
    fn core_watch_end;
    fn core_follow_begin;
    fn core_follow_next;
    fn core_follow_end;
    fn core_rerun;
    fn core_gateway_open;
    fn core_api_key_create;
    fn core_end_session;
    use gateway;
}
