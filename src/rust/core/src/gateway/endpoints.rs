//! The calls of the abba API.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::answer::{self, Answer, Decision, Refusal, Success};
use super::arguments::Arguments;
use super::caller::{self, Caller, Credentials};
use super::policy::{IdentityMode, Policy};
use super::request_rate::RequestRate;
use super::snapshot::{Snapshot, Snapshots};
use super::submission;
use crate::domain::api_keys::ApiKeys;
use crate::domain::{job_name, labels};
use crate::local::accounts;
use crate::local::api_key_file::ApiKeyFile;
use crate::operations::{self, Connection, LogPosition, PreparedJob, SurveyedJob, Which};
use crate::{Error, ErrorClass};

/// A request, as HTTP brought it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The call: the path without its `/`, as `submit-job`.
    pub call: &'a str,
    /// What stands after the `?`.
    pub query: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// What it says of who sent it.
    pub credentials: Credentials<'a>,
    /// The header `Idempotency-Key`.
    pub idempotency_key: Option<&'a str>,
    /// When it came, RFC 3339.
    pub when: &'a str,
    /// From which address.
    pub from: &'a str,
}

/// Gives a connection to the cluster to what it is given; fails where there is none.
pub type WithConnection<'a> =
    &'a dyn Fn(&mut dyn FnMut(&Connection<'_>) -> Result<Success, Refusal>) -> Result<Success, Refusal>;

/// The server's side of the abba API: decides, asks the cluster, answers.
#[derive(Debug)]
pub struct Gateway {
    policy: Policy,
    key_file: Option<ApiKeyFile>,
    own_name: String,
    abba_version: String,
    rate: Mutex<RequestRate>,
    snapshots: Snapshots,
    /// The version of Kubernetes, or that there was no answer, and when that was seen.
    health: Mutex<Option<(Instant, Option<String>)>>,
    /// How the cluster failed last, and when.
    outage: Mutex<Option<(Instant, Refusal)>>,
}

/// After a failure of the cluster callers are told so at once for this long: each attempt would keep all others waiting.
const OUTAGE: Duration = Duration::from_secs(2);

/// For how long an answer about the health of the cluster is good.
const HEALTH: Duration = Duration::from_secs(5);

/// Programs in one request, at most.
const LARGEST_BATCH: usize = 1000;

/// Ids in one request, at most.
const MOST_IDS: usize = 10_000;

impl Gateway {
    /// A server with a policy. `key_file` is needed where callers are known by keys.
    ///
    /// Errors: it has no way to know its callers.
    pub fn new(policy: Policy, key_file: Option<ApiKeyFile>, abba_version: &str) -> Result<Self, Error> {
        if policy.identity == IdentityMode::Keys && key_file.is_none() {
            return Err(
                Error::input("The abba server has no file of API keys, and so no way to know its callers.")
                    .advise("Make keys with abba_api_key_create(), and name their file in the option `abba.api.keys`."),
            );
        }
        Ok(Self {
            rate: Mutex::new(RequestRate::new(policy.requests_per_minute)),
            snapshots: Snapshots::new(policy.snapshot_age),
            policy,
            key_file,
            own_name: accounts::current_name(),
            abba_version: abba_version.to_string(),
            health: Mutex::new(None),
            outage: Mutex::new(None),
        })
    }

    /// Answers a request.
    pub fn answer(&self, request: Request<'_>, with_connection: WithConnection<'_>) -> Answer {
        let mut who = None;
        let outcome = match request.call {
            // For programs that watch over the server; it says nothing that is anybody's.
            "health" => self.health(with_connection),
            _ => self.identify(&request).and_then(|caller| {
                who = Some(caller.name.clone());
                self.call(&request, &caller, with_connection)
            }),
        };
        answer::answer(
            outcome,
            Decision {
                when: request.when,
                who: who.as_deref(),
                what: request.call,
                from: request.from,
            },
        )
    }

    fn identify(&self, request: &Request<'_>) -> Result<Caller, Refusal> {
        let keys = match &self.key_file {
            Some(file) => file.keys().map_err(|error| {
                let told = Error::new(ErrorClass::Unavailable, "The abba server cannot read its API keys.")
                    .advise("Tell the administrator of the abba server.");
                Refusal {
                    reason: error.message,
                    ..Refusal::new(503, told)
                }
            })?,
            None => ApiKeys::default(),
        };
        Ok(caller::identify(
            request.credentials,
            &self.policy,
            &keys,
            &self.own_name,
        )?)
    }

    fn call(
        &self,
        request: &Request<'_>,
        caller: &Caller,
        with_connection: WithConnection<'_>,
    ) -> Result<Success, Refusal> {
        let asked = self
            .rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ask(&caller.name, Instant::now());
        if let Err(seconds) = asked {
            let error = Error::new(
                ErrorClass::Unavailable,
                format!(
                    "You ask too often: the abba server answers {} requests a minute.",
                    self.policy.requests_per_minute
                ),
            )
            .advise(format!("Ask again in {seconds} s."));
            return Err(Refusal::too_many(error, seconds));
        }
        let mut arguments = Arguments::read(request.query, request.body)?;
        match request.call {
            "whoami" => {
                arguments.finish()?;
                Ok(json!({"user": caller.name, "operator": caller.is_operator}).into())
            }
            "permitted-containers" => {
                arguments.finish()?;
                Ok(json!(self.policy.permitted_containers).into())
            }
            "submit-job" => {
                let prepared =
                    submission::prepare(arguments, caller, &self.policy, check_key(request.idempotency_key)?)?;
                self.with_cluster(with_connection, &mut |connection| {
                    self.submit_job(connection, caller, &prepared)
                })
            }
            "submit-batch" => {
                let prepared = self.prepare_batch(arguments, caller, check_key(request.idempotency_key)?)?;
                self.with_cluster(with_connection, &mut |connection| {
                    self.submit_batch(connection, caller, &prepared, request.when)
                })
            }
            "job-status" => {
                let which = job_ids(&mut arguments)?;
                arguments.finish()?;
                self.with_cluster(with_connection, &mut |connection| {
                    self.status(connection, caller, &which)
                })
            }
            "batch-status" => {
                let which = batch_id(&mut arguments)?;
                arguments.finish()?;
                self.with_cluster(with_connection, &mut |connection| {
                    self.status(connection, caller, &which)
                })
            }
            "job-log" | "batch-log" => {
                let (which, id) = match request.call {
                    "job-log" => (job_ids(&mut arguments)?, "job_id"),
                    _ => (batch_id(&mut arguments)?, "pod_id"),
                };
                let page = page(arguments.text("page")?.as_deref())?;
                arguments.finish()?;
                self.with_cluster(with_connection, &mut |connection| {
                    self.log(connection, caller, &which, page, id)
                })
            }
            "cancel-job" => {
                let which = match arguments.has("batch_id") {
                    true if arguments.has("job_id") => {
                        return Err(Error::input("Either `job_id` or `batch_id` is given, not both.").into())
                    }
                    true => batch_id(&mut arguments)?,
                    false => job_ids(&mut arguments)?,
                };
                arguments.finish()?;
                self.with_cluster(with_connection, &mut |connection| {
                    self.cancel(connection, caller, &which)
                })
            }
            "jobs" => self.jobs(arguments, caller, with_connection),
            "explain-job" => {
                let which = job_ids(&mut arguments)?;
                arguments.finish()?;
                self.with_cluster(with_connection, &mut |connection| {
                    self.explain(connection, caller, &which)
                })
            }
            call => Err(Refusal::new(
                404,
                Error::new(ErrorClass::NotFound, format!("The abba API has no call \"{call}\".")),
            )),
        }
    }

    /// Does something with the cluster, unless it has just failed.
    fn with_cluster(
        &self,
        with_connection: WithConnection<'_>,
        operation: &mut dyn FnMut(&Connection<'_>) -> Result<Success, Refusal>,
    ) -> Result<Success, Refusal> {
        let outage = || self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, refusal)) = outage().as_ref() {
            if when.elapsed() < OUTAGE {
                let mut refusal = refusal.clone();
                // Of another caller's jobs nothing is told.
                refusal.error.job_ids.clear();
                refusal.error.consequence = Some("Nothing was asked of the cluster.".into());
                return Err(refusal);
            }
        }
        let outcome = with_connection(operation);
        *outage() = match &outcome {
            // A single node that is down, or a single log that is gone, is no outage.
            Err(refusal) if is_outage(refusal) => Some((
                Instant::now(),
                Refusal {
                    detail: None,
                    ..refusal.clone()
                },
            )),
            _ => None,
        };
        outcome
    }

    fn health(&self, with_connection: WithConnection<'_>) -> Result<Success, Refusal> {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let known = health.as_ref().filter(|(when, _)| when.elapsed() < HEALTH);
        let version = match known {
            Some((_, version)) => version.clone(),
            None => {
                let mut version = None;
                let _ = with_connection(&mut |connection| {
                    version = Some(operations::server_version(connection)?);
                    Ok(Success::default())
                });
                *health = Some((Instant::now(), version.clone()));
                version
            }
        };
        let body = json!({
            "alive": true,
            "cluster": version.is_some(),
            "versions": {"abba": self.abba_version, "kubernetes": version},
        });
        match version {
            Some(_) => Ok(body.into()),
            None => Err(Refusal {
                detail: Some(("health", body)),
                ..Refusal::new(
                    503,
                    Error::new(ErrorClass::Unavailable, "The abba server cannot reach the cluster."),
                )
            }),
        }
    }

    /// Refuses `more` jobs where the caller has too many that have not ended.
    fn check_open_jobs(&self, connection: &Connection<'_>, caller: &Caller, more: usize) -> Result<(), Refusal> {
        let open = self.snapshots.open_jobs(connection, &caller.name)?;
        if open + more <= self.policy.open_jobs {
            return Ok(());
        }
        let error = Error::new(
            ErrorClass::Unavailable,
            format!(
                "You have {open} jobs that have not ended, and the abba server allows {}.",
                self.policy.open_jobs
            ),
        )
        .meaning("No job was created.")
        .advise("Wait until some have ended, or cancel some.");
        Err(Refusal::too_many(error, 10))
    }

    fn submit_job(
        &self,
        connection: &Connection<'_>,
        caller: &Caller,
        prepared: &PreparedJob,
    ) -> Result<Success, Refusal> {
        self.check_open_jobs(connection, caller, 1)?;
        let outcome = operations::submit(connection, prepared);
        self.snapshots.changed(&caller.name, 1);
        let submitted = outcome.map_err(submit_refusal)?;
        Ok(Success {
            body: json!({"job_id": submitted.job_id, "batch_id": submitted.batch_id}),
            job_ids: vec![submitted.job_id],
            ..Default::default()
        })
    }

    /// The Jobs of a batch. Each program has the request's key with its own place in it.
    fn prepare_batch(
        &self,
        mut arguments: Arguments,
        caller: &Caller,
        key: Option<&str>,
    ) -> Result<Vec<PreparedJob>, Refusal> {
        let programs = arguments.array("programs")?.unwrap_or_default();
        if programs.is_empty() || programs.len() > LARGEST_BATCH {
            return Err(Error::input(format!(
                "`programs` must be an array of 1 to {LARGEST_BATCH} programs, not of {}.",
                programs.len()
            ))
            .into());
        }
        let mut prepared: Vec<PreparedJob> = Vec::with_capacity(programs.len());
        for (index, element) in programs.into_iter().enumerate() {
            let key = key.map(|key| format!("{key}\0{index}"));
            let mut own = Arguments::of_element(element, &arguments)?;
            if let Some(first) = prepared.first() {
                own.set_default("batch_group_id", &first.submitted().batch_id);
            }
            let made = submission::prepare(own, caller, &self.policy, key.as_deref()).map_err(|error| {
                let message = format!("Program {} of the batch: {}", index + 1, error.message);
                Error { message, ..error }
            })?;
            prepared.push(made);
        }
        Ok(prepared)
    }

    fn submit_batch(
        &self,
        connection: &Connection<'_>,
        caller: &Caller,
        prepared: &[PreparedJob],
        now: &str,
    ) -> Result<Success, Refusal> {
        self.check_open_jobs(connection, caller, prepared.len())?;
        let outcomes = operations::submit_many(connection, prepared);
        self.snapshots.changed(&caller.name, prepared.len());
        let mut rows = Vec::new();
        let mut first_refusal = None;
        let mut job_ids = Vec::new();
        for (prepared, outcome) in prepared.iter().zip(outcomes?) {
            let submitted = prepared.submitted();
            let mut row = json!({
                "job_id": submitted.job_id,
                "batch_id": submitted.batch_id,
                "program": prepared.program_path(),
                "submitted": now,
            });
            match outcome {
                Ok(_) => job_ids.push(submitted.job_id.clone()),
                Err(error) => {
                    // The id is kept only where the job may exist: then it is asked for under it.
                    if error.job_ids.is_empty() {
                        row["job_id"] = Value::Null;
                    }
                    row["submitted"] = Value::Null;
                    let refusal = submit_refusal(error);
                    row["reason"] = refusal.error.to_string().into();
                    first_refusal.get_or_insert(refusal);
                }
            }
            rows.push(row);
        }
        match first_refusal {
            None => Ok(Success {
                body: rows.into(),
                job_ids,
                ..Default::default()
            }),
            Some(refusal) => Err(Refusal {
                detail: Some(("batch", rows.into())),
                ..refusal
            }),
        }
    }

    fn status(&self, connection: &Connection<'_>, caller: &Caller, which: &Which) -> Result<Success, Refusal> {
        let jobs = self.ask(connection, caller, which)?;
        Ok(Success {
            body: answer::status(jobs.iter().map(|job| job.status.clone()).collect()),
            job_ids: logged_ids(&jobs),
            ..Default::default()
        })
    }

    fn log(
        &self,
        connection: &Connection<'_>,
        caller: &Caller,
        which: &Which,
        page: LogPosition,
        id: &str,
    ) -> Result<Success, Refusal> {
        let jobs = self.ask(connection, caller, which)?;
        let which = Which::Jobs(jobs.iter().map(|job| job.record.job_id.clone()).collect());
        let read = operations::log_page(connection, &which, page, self.policy.log_page_bytes)?;
        let mut headers = Vec::new();
        if let Some(next) = read.next {
            headers.push(("Abba-Next-Page", format!("{}.{}", next.log, next.line)));
        }
        if !read.logs.warnings.is_empty() {
            // Proxies bound the size of headers; the first few say it all.
            let few = &read.logs.warnings[..read.logs.warnings.len().min(5)];
            headers.push(("Abba-Warnings", answer::warnings(few)));
        }
        Ok(Success {
            body: answer::logs(read.logs.logs, id),
            headers,
            job_ids: logged_ids(&jobs),
        })
    }

    fn cancel(&self, connection: &Connection<'_>, caller: &Caller, which: &Which) -> Result<Success, Refusal> {
        let jobs = self.ask(connection, caller, which)?;
        let ids: Vec<String> = jobs.iter().map(|job| job.record.job_id.clone()).collect();
        let outcomes = operations::cancel_as(connection, &Which::Jobs(ids), &caller.name)?;
        self.snapshots.changed(&caller.name, 0);
        let mut rows = Vec::new();
        let mut first_refusal: Option<Refusal> = None;
        for outcome in outcomes {
            let done = outcome.done.as_ref().ok().map(|done| done.words());
            rows.push(json!({"job_id": outcome.job_id, "done": done}));
            if let Err(error) = outcome.done {
                first_refusal.get_or_insert(error.into());
            }
        }
        match first_refusal {
            None => Ok(Success {
                body: rows.into(),
                job_ids: logged_ids(&jobs),
                ..Default::default()
            }),
            Some(refusal) => Err(Refusal {
                detail: Some(("done", rows.into())),
                ..refusal
            }),
        }
    }

    fn jobs(
        &self,
        mut arguments: Arguments,
        caller: &Caller,
        with_connection: WithConnection<'_>,
    ) -> Result<Success, Refusal> {
        let batch_id = arguments.text("batch_id")?;
        if let Some(batch_id) = &batch_id {
            labels::check_label_value("batch_id", batch_id)?;
        }
        let statuses = arguments.texts("status")?;
        let known = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];
        if let Some(unknown) = statuses.iter().find(|status| !known.contains(&status.as_str())) {
            return Err(Error::input(format!(
                "`status` must be out of {}, not {}.",
                known.join(", "),
                job_name::quote_shortened(unknown)
            ))
            .into());
        }
        let since = arguments.text("since")?;
        if let Some(since) = &since {
            check_time(since)?;
        }
        let user = arguments.text("user")?;
        arguments.finish()?;
        self.with_cluster(with_connection, &mut |connection| {
            let (snapshot, _) = self.snapshots.recent(connection)?;
            let mut rows: Vec<Value> = snapshot
                .seen_by(caller)
                .filter(|job| batch_id.as_ref().is_none_or(|id| *id == job.record.batch_id))
                .filter(|job| statuses.is_empty() || statuses.iter().any(|name| name == job.record.status.name()))
                .filter(|job| since.as_ref().is_none_or(|since| *since <= job.record.submitted))
                .filter(|job| user.as_ref().is_none_or(|user| *user == owner_or_user(job)))
                .map(|job| {
                    let mut row = answer::record(&job.record);
                    row["user"] = owner_or_user(job).into();
                    row
                })
                .collect();
            rows.reverse();
            Ok(Value::from(rows).into())
        })
    }

    fn explain(&self, connection: &Connection<'_>, caller: &Caller, which: &Which) -> Result<Success, Refusal> {
        let jobs = self.ask(connection, caller, which)?;
        let [job] = jobs.as_slice() else {
            return Err(Error::input("`job_id` must be the id of one job.").into());
        };
        let explanation = operations::explain(connection, &job.record.job_id)?;
        let mut body = answer::explanation(explanation);
        body["user"] = owner_or_user(job).into();
        Ok(Success {
            body,
            job_ids: logged_ids(&jobs),
            ..Default::default()
        })
    }

    /// The jobs that are meant, if the caller may see them.
    fn ask(&self, connection: &Connection<'_>, caller: &Caller, which: &Which) -> Result<Vec<SurveyedJob>, Error> {
        operations::check(which)?;
        self.snapshots.ask(connection, |snapshot: &Snapshot| {
            let jobs = match which {
                Which::Jobs(ids) => snapshot.jobs(caller, ids)?,
                Which::Batch(batch_id) => snapshot.batch(caller, batch_id)?,
            };
            Ok(jobs.into_iter().cloned().collect())
        })
    }
}

/// Whose job it is: word for word where it came through the API, else as its label has it.
fn owner_or_user(job: &SurveyedJob) -> &str {
    job.owner.as_deref().unwrap_or(&job.record.user)
}

/// A line of the log of decisions names some jobs, not thousands.
fn logged_ids(jobs: &[SurveyedJob]) -> Vec<String> {
    jobs.iter().take(20).map(|job| job.record.job_id.clone()).collect()
}

/// Whether the cluster as a whole did not answer.
fn is_outage(refusal: &Refusal) -> bool {
    refusal.error.job_ids.is_empty()
        && refusal.error.kubectl.is_some()
        && matches!(refusal.error.class, ErrorClass::Unavailable | ErrorClass::Timeout)
}

/// What went wrong with a submission. A Job of that name that is another was made by a request of the same key.
fn submit_refusal(error: Error) -> Refusal {
    if error.class == ErrorClass::NameTaken {
        let told = Error::new(
            ErrorClass::Invalid,
            "The `Idempotency-Key` of the request was used before, for another program.",
        )
        .meaning("No job was created.")
        .advise("Use a new key for each submission.");
        return Refusal::new(409, told);
    }
    let job_ids = error.job_ids.clone();
    let mut refusal = Refusal::from(error);
    if !job_ids.is_empty() {
        refusal.error.consequence = Some(
            "Whether the job was created is not known. The same request with the same `Idempotency-Key` is safe."
                .into(),
        );
        refusal.error.job_ids = job_ids;
    }
    refusal
}

fn check_key(key: Option<&str>) -> Result<Option<&str>, Error> {
    match key {
        Some(key) if key.is_empty() || key.len() > 200 || !key.chars().all(|c| c.is_ascii_graphic()) => {
            Err(Error::input(
                "The header `Idempotency-Key` must be 1 to 200 printable characters without spaces, such as a uuid.",
            ))
        }
        key => Ok(key),
    }
}

fn job_ids(arguments: &mut Arguments) -> Result<Which, Error> {
    let name = if arguments.has("job_id") { "job_id" } else { "id" };
    let ids = arguments.texts(name)?;
    if ids.len() > MOST_IDS {
        return Err(Error::input(format!("`job_id` may hold {MOST_IDS} ids at most.")));
    }
    let which = Which::Jobs(ids);
    operations::check(&which)?;
    Ok(which)
}

fn batch_id(arguments: &mut Arguments) -> Result<Which, Error> {
    let name = if arguments.has("batch_id") { "batch_id" } else { "id" };
    let which = Which::Batch(arguments.text(name)?.unwrap_or_default());
    operations::check(&which)?;
    Ok(which)
}

fn page(token: Option<&str>) -> Result<LogPosition, Error> {
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
            job_name::quote_shortened(token)
        ))),
    }
}

/// A time as Kubernetes writes it, so that times can be compared as text.
fn check_time(time: &str) -> Result<(), Error> {
    let form = "0000-00-00T00:00:00Z";
    let legal = time.len() == form.len()
        && time.bytes().zip(form.bytes()).all(|(given, form)| {
            if form == b'0' {
                given.is_ascii_digit()
            } else {
                given == form
            }
        });
    match legal {
        true => Ok(()),
        false => Err(Error::input(format!(
            "`since` must be a time such as 2026-01-31T13:00:00Z, not {}.",
            job_name::quote_shortened(time)
        ))),
    }
}
