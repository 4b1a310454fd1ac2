//! The boundary between R and abba's core.
//!
//! Every function that R calls is infallible: it returns a list with the elements `value`, `warnings` and `error`, and
//! `R/conditions.R` turns the latter two into classed conditions. (extendr makes of an `Err` an R error with the text as
//! a format string, which a `%` in kubectl's words would crash.)

mod arguments;
mod interrupt;
mod values;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use abba_core::domain::job_status;
use abba_core::operations::{self, Connection};
use abba_core::transport::{Kubectl, Patience};
use abba_core::{Error, ErrorClass, Warning};
use extendr_api::prelude::*;

use arguments::Settings;
use values::{answer_to_r, to_json, Value};

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

/// The states of jobs, grouped: for each state a list with `Jobs` (lists of `id` and `path`) and `Description`.
#[extendr]
fn core_status(job_ids: Robj, settings: Robj) -> Robj {
    respond(|| {
        let job_ids = arguments::job_ids(&to_json(&job_ids)?)?;
        let settings = Settings::read(to_json(&settings)?)?;
        let jobs = settings.connected_for(&job_ids, |connection| operations::status(connection, &job_ids))?;
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
        Ok(Value::named(groups).into())
    })
}

/// The logs of jobs: a list of lists with `job_id` and `log`, a character vector.
#[extendr]
fn core_log(job_ids: Robj, settings: Robj) -> Robj {
    respond(|| {
        let job_ids = arguments::job_ids(&to_json(&job_ids)?)?;
        let settings = Settings::read(to_json(&settings)?)?;
        let logs = settings.connected_for(&job_ids, |connection| operations::log(connection, &job_ids))?;
        let lists = logs
            .logs
            .into_iter()
            .map(|log| Value::named([("job_id", Value::Text(log.job_id)), ("log", Value::Texts(log.lines))]));
        Ok(Answer {
            value: Value::Unnamed(lists.collect()),
            warnings: logs.warnings,
        })
    })
}

impl Settings {
    /// Finds kubectl and does something with it. The namespace is checked first, as all arguments are.
    fn connected<T>(&self, operation: impl FnOnce(&Connection<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let namespace = self.namespace.as_deref();
        if let Some(namespace) = namespace {
            abba_core::domain::job_name::check_namespace(namespace)?;
        }
        let patience = Patience::new(Duration::from_secs_f64(self.request_timeout), &interrupt::is_pending);
        let transport = Kubectl::find(&self.kubectl).map_err(|failure| operations::error_of(&failure, &patience))?;
        operation(&Connection {
            transport: &transport,
            namespace,
            patience,
        })
    }

    /// The same for an operation on jobs: their ids are checked before kubectl is looked for.
    fn connected_for<T>(
        &self,
        job_ids: &[String],
        operation: impl FnOnce(&Connection<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        operations::check_job_ids(job_ids)?;
        self.connected(operation)
    }
}

/// Runs what R asked for; whatever happens, R gets a list.
fn respond(operation: impl FnOnce() -> Result<Answer, Error>) -> Robj {
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
    fn core_status;
    fn core_log;
}
