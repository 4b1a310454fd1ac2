//! The calls of the abba API.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::answer::{self, Answer, Decision, Refusal, Success};
use super::arguments::Arguments;
use super::caller::{self, Caller, Credentials};
use super::policy::{IdentityMode, Policy};
use super::request_rate::RequestRate;
use super::seats::Seats;
use super::snapshot::{self, Reservation, Snapshot, Snapshots};
use super::submission;
use crate::domain::api_keys::ApiKeys;
use crate::domain::r_call::Road;
use crate::error::quote_shortened;
use crate::kubernetes::labels;
use crate::local::accounts;
use crate::local::api_key_file::ApiKeyFile;
use crate::operations::{self, Connection, LogPosition, PreparedJob, SurveyedJob, Which};
use crate::{Error, ErrorClass};

/// A request, as HTTP brought it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// HTTP's method, as `GET`.
    pub method: &'a str,
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
    health: Mutex<Health>,
    /// How many requests are with the cluster.
    with_cluster: AtomicUsize,
    /// For those who read logs, which are large.
    log_seats: Seats,
    /// How the cluster failed last, and when.
    outage: Mutex<Option<(Instant, Refusal)>>,
}

/// After a failure of the cluster callers are told so at once for this long: each attempt would keep all others waiting.
const OUTAGE: Duration = Duration::from_secs(2);

/// What is known of the cluster's health.
#[derive(Debug, Default)]
struct Health {
    /// The version of Kubernetes, or that there was no answer, and when that was seen.
    seen: Option<(Instant, Option<String>)>,
    /// Whether somebody is asking.
    is_asked: bool,
}

/// Requests that may be with the cluster at a time: each has a thread.
const MOST_WITH_CLUSTER: usize = 200;

/// Requests that may read logs at a time; the others wait. Each holds up to a page, and while it reads it a log or several.
const LOG_SEATS: usize = 4;

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
            health: Mutex::default(),
            with_cluster: AtomicUsize::new(0),
            log_seats: Seats::new(LOG_SEATS),
            outage: Mutex::new(None),
        })
    }

    /// Answers a request.
    pub fn answer(&self, request: Request<'_>, with_connection: WithConnection<'_>) -> Answer {
        let mut who = None;
        let outcome = match request.call {
            // For programs that watch over the server; it says nothing that is anybody's.
            "health" => check_method(&request).and_then(|()| self.health(with_connection)),
            _ => self.identify(&request).and_then(|caller| {
                who = Some(caller.name.clone());
                check_method(&request)?;
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

    /// The answer to a request whose sender is not known, before its body is read; `None`: it may be sent.
    pub fn refuse_stranger(&self, request: Request<'_>) -> Option<Answer> {
        let refusal = self.identify(&request).err()?;
        let decision = Decision {
            when: request.when,
            who: None,
            what: request.call,
            from: request.from,
        };
        Some(answer::answer(Err(refusal), decision))
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
                let key = check_key(request.idempotency_key)?;
                let prepared = submission::prepare(arguments, caller, &self.policy, key)?;
                self.with_cluster(with_connection, &mut |connection| {
                    self.submit_job(connection, caller, &prepared, key.is_some())
                })
            }
            "submit-batch" => {
                let key = check_key(request.idempotency_key)?;
                let prepared = self.prepare_batch(arguments, caller, key)?;
                self.with_cluster(with_connection, &mut |connection| {
                    self.submit_batch(connection, caller, &prepared, request.when, key.is_some())
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
            "batch-arguments" => {
                let batch_id = match batch_id(&mut arguments)? {
                    Which::Batch(batch_id) => batch_id,
                    Which::Jobs(_) => String::new(),
                };
                let statuses = statuses(&mut arguments)?;
                arguments.finish()?;
                self.with_cluster(with_connection, &mut |connection| {
                    self.batch_arguments(connection, caller, &batch_id, &statuses)
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
            // `check_method` knows all calls.
            call => Err(no_call(call)),
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
        let outcome = self.counted(|| with_connection(operation));
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

    /// Does something with the cluster, unless too many do.
    fn counted(&self, operation: impl FnOnce() -> Result<Success, Refusal>) -> Result<Success, Refusal> {
        struct Counted<'a>(&'a AtomicUsize);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let others = self.with_cluster.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(&self.with_cluster);
        if others < MOST_WITH_CLUSTER {
            return operation();
        }
        let error = Error::new(ErrorClass::Unavailable, "The abba server is too busy to answer.")
            .meaning("Nothing was asked of the cluster.")
            .advise("Repeat the call in a moment.");
        Err(Refusal {
            retry_after: Some(1),
            ..Refusal::new(503, error)
        })
    }

    /// The version of Kubernetes; `None`: the cluster does not answer. Asked by one at a time, since everybody may ask for
    /// it: the others get what was seen last.
    fn cluster_version(&self, with_connection: WithConnection<'_>) -> Option<String> {
        let health = || self.health.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut health = health();
            let is_good = health.seen.as_ref().is_some_and(|(when, _)| when.elapsed() < HEALTH);
            if is_good || health.is_asked {
                return health.seen.as_ref().and_then(|(_, version)| version.clone());
            }
            health.is_asked = true;
        }
        let mut version = None;
        let _ = with_connection(&mut |connection| {
            version = Some(operations::server_version(connection)?);
            Ok(Success::default())
        });
        *health() = Health {
            seen: Some((Instant::now(), version.clone())),
            is_asked: false,
        };
        version
    }

    fn health(&self, with_connection: WithConnection<'_>) -> Result<Success, Refusal> {
        let version = self.cluster_version(with_connection);
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

    /// A place for jobs that are about to be submitted. Refused where the caller would have too many that have not ended, or
    /// where the request's key was used for others.
    fn reserve(
        &self,
        connection: &Connection<'_>,
        caller: &Caller,
        prepared: &[PreparedJob],
        has_key: bool,
    ) -> Result<Reservation, Refusal> {
        let job_ids: Vec<String> = prepared.iter().map(|one| one.submitted().job_id.clone()).collect();
        let reserved = self
            .snapshots
            .reserve(connection, &caller.name, &job_ids, self.policy.open_jobs)
            // Whether an earlier request of the same key has made one is not known here.
            .map_err(|error| Error {
                consequence: Some("This request has created no job.".into()),
                ..error
            })?;
        let reservation = reserved.map_err(|open| {
            let error = Error::new(
                ErrorClass::Unavailable,
                format!(
                    "You have {open} jobs that have not ended, and the abba server allows {}.",
                    self.policy.open_jobs
                ),
            )
            .meaning("No job was created.")
            .advise("Wait until some have ended, or cancel some.");
            Refusal::too_many(error, 10)
        })?;
        if has_key && job_ids.iter().any(|id| self.snapshots.has_other_of_same_key(id)) {
            self.snapshots.submitted(reservation, &job_ids);
            return Err(key_was_used(Vec::new()));
        }
        Ok(reservation)
    }

    fn submit_job(
        &self,
        connection: &Connection<'_>,
        caller: &Caller,
        prepared: &PreparedJob,
        has_key: bool,
    ) -> Result<Success, Refusal> {
        let reservation = self.reserve(connection, caller, std::slice::from_ref(prepared), has_key)?;
        let outcome = operations::submit(connection, prepared);
        self.snapshots.submitted(
            reservation,
            &surely_not_there(prepared, &outcome).into_iter().collect::<Vec<_>>(),
        );
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
        has_key: bool,
    ) -> Result<Success, Refusal> {
        let reservation = self.reserve(connection, caller, prepared, has_key)?;
        let outcomes = operations::submit_many(connection, prepared);
        let refused: Vec<String> = match &outcomes {
            Ok(outcomes) => prepared
                .iter()
                .zip(outcomes)
                .filter_map(|(one, outcome)| surely_not_there(one, outcome))
                .collect(),
            Err(_) => prepared.iter().map(|one| one.submitted().job_id.clone()).collect(),
        };
        self.snapshots.submitted(reservation, &refused);
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
        let seat = self.log_seats.take();
        let read = operations::log_page(connection, &which, page, self.policy.log_page_bytes)
            .map_err(snapshot::in_words_for_callers)?;
        drop(seat);
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

    /// What the caller's own jobs of a batch were submitted with, an operator's like anybody's: whoever submits again runs
    /// programs in their own name.
    fn batch_arguments(
        &self,
        connection: &Connection<'_>,
        caller: &Caller,
        batch_id: &str,
        statuses: &[String],
    ) -> Result<Success, Refusal> {
        let kept = {
            // They may be as large as logs.
            let _seat = self.log_seats.take();
            operations::kept_submissions(connection, batch_id, &caller.name, statuses)?
        };
        let kept = kept.ok_or_else(|| snapshot::no_batch(batch_id))?;
        Ok(Success {
            job_ids: kept.iter().map(|kept| kept.job_id.clone()).collect(),
            body: kept.iter().map(answer::kept_submission).collect::<Vec<_>>().into(),
            ..Default::default()
        })
    }

    fn cancel(&self, connection: &Connection<'_>, caller: &Caller, which: &Which) -> Result<Success, Refusal> {
        let jobs = self.ask(connection, caller, which)?;
        let ids: Vec<String> = jobs.iter().map(|job| job.record.job_id.clone()).collect();
        let outcomes = operations::cancel_as(connection, &Which::Jobs(ids), &caller.name)
            .map_err(snapshot::in_words_for_callers)?;
        self.snapshots.cancelled();
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
        let statuses = statuses(&mut arguments)?;
        let since = arguments.text("since")?;
        if let Some(since) = &since {
            check_time(since)?;
        }
        let user = arguments.text("user")?;
        arguments.finish()?;
        self.with_cluster(with_connection, &mut |connection| {
            let (snapshot, _) = self.snapshots.recent(connection)?;
            let mut jobs: Vec<_> = snapshot
                .seen_by(caller)
                .filter(|job| batch_id.as_ref().is_none_or(|id| *id == job.record.batch_id))
                .filter(|job| statuses.is_empty() || statuses.iter().any(|name| name == job.record.status.name()))
                .filter(|job| since.as_ref().is_none_or(|since| *since <= job.record.submitted))
                .filter(|job| user.as_ref().is_none_or(|user| *user == owner_or_user(job)))
                .collect();
            // As operations::list() has them: the newest first, those of one second by their ids.
            jobs.sort_by(|a, b| (&b.record.submitted, &a.record.job_id).cmp(&(&a.record.submitted, &b.record.job_id)));
            let rows: Vec<Value> = jobs
                .into_iter()
                .map(|job| {
                    let mut row = answer::record(&job.record);
                    row["user"] = owner_or_user(job).into();
                    row
                })
                .collect();
            Ok(Value::from(rows).into())
        })
    }

    fn explain(&self, connection: &Connection<'_>, caller: &Caller, which: &Which) -> Result<Success, Refusal> {
        let jobs = self.ask(connection, caller, which)?;
        let [job] = jobs.as_slice() else {
            return Err(Error::input("`job_id` must be the id of one job.").into());
        };
        let explanation =
            operations::explain(connection, &job.record.job_id, Road::Api).map_err(snapshot::in_words_for_callers)?;
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

/// Which methods a call has; `None`: there is no such call.
fn methods(call: &str) -> Option<&'static [&'static str]> {
    match call {
        "submit-job" | "submit-batch" | "cancel-job" => Some(&["POST"]),
        // POST: for more ids than an address can hold.
        "job-status" | "job-log" => Some(&["GET", "POST"]),
        "batch-status"
        | "batch-log"
        | "batch-arguments"
        | "jobs"
        | "explain-job"
        | "permitted-containers"
        | "whoami"
        | "health" => Some(&["GET"]),
        _ => None,
    }
}

fn no_call(call: &str) -> Refusal {
    let message = format!("The abba API has no call {}.", quote_shortened(call));
    Refusal::new(404, Error::new(ErrorClass::NotFound, message))
}

fn check_method(request: &Request<'_>) -> Result<(), Refusal> {
    let Some(methods) = methods(request.call) else {
        return Err(no_call(request.call));
    };
    if methods.contains(&request.method) {
        return Ok(());
    }
    let methods = methods.join(", ");
    let error = Error::input(format!(
        "The call {} is made with {methods}, not with {}.",
        request.call,
        quote_shortened(request.method)
    ));
    Err(Refusal {
        allow: Some(methods),
        ..Refusal::new(405, error)
    })
}

/// The job of a submission that was refused for certain.
fn surely_not_there(prepared: &PreparedJob, outcome: &Result<operations::Submitted, Error>) -> Option<String> {
    match outcome {
        Err(error) if error.job_ids.is_empty() => Some(prepared.submitted().job_id.clone()),
        _ => None,
    }
}

/// Whose job it is: word for word where it came through the API, else as its label has it.
fn owner_or_user(job: &SurveyedJob) -> &str {
    job.owner.as_deref().unwrap_or(&job.record.user)
}

fn logged_ids(jobs: &[SurveyedJob]) -> Vec<String> {
    jobs.iter().map(|job| job.record.job_id.clone()).collect()
}

/// Whether the cluster as a whole did not answer.
fn is_outage(refusal: &Refusal) -> bool {
    refusal.error.job_ids.is_empty()
        && refusal.error.kubectl.is_some()
        && matches!(refusal.error.class, ErrorClass::Unavailable | ErrorClass::Timeout)
}

/// What went wrong with a submission. A Job of that name that is another was made by a request of the same key: of another
/// program, or of this one before it, or the server's settings, were changed. So its id is told.
fn submit_refusal(error: Error) -> Refusal {
    if error.class == ErrorClass::NameTaken {
        return key_was_used(error.job_ids);
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

fn key_was_used(job_ids: Vec<String>) -> Refusal {
    let (what, advice) = match job_ids.first() {
        Some(job_id) => (
            format!("Job \"{job_id}\" is there already: an earlier request with the same `Idempotency-Key` made it, of another program or other arguments."),
            "If that job is not what you want, submit the program anew, with a new key.",
        ),
        None => (
            "The `Idempotency-Key` of the request was used before, for another program or other arguments.".into(),
            "Use a new key for each submission.",
        ),
    };
    let error = Error::new(ErrorClass::Invalid, what)
        .meaning("This request has created no job.")
        .advise(advice);
    Refusal::new(409, error.about(job_ids))
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

/// States of jobs; none where none is named.
fn statuses(arguments: &mut Arguments) -> Result<Vec<String>, Error> {
    let statuses = arguments.texts("status")?;
    let known = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];
    match statuses.iter().find(|status| !known.contains(&status.as_str())) {
        None => Ok(statuses),
        Some(unknown) => Err(Error::input(format!(
            "`status` must be out of {}, not {}.",
            known.join(", "),
            quote_shortened(unknown)
        ))),
    }
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
            quote_shortened(token)
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
            quote_shortened(time)
        ))),
    }
}
