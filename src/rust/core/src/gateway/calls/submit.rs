//! Submitting programs.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::{json, Value};

use super::super::answer::{self, ApiError, Reply};
use super::super::arguments;
use super::super::audit_log::AuditedJob;
use super::super::bookings::Bookings;
#[cfg(test)]
use super::super::description::{Description, Schema, OF_JOBS};
use super::super::holdings::{Entered, Holdings};
use super::super::policy::Policy;
use super::super::snapshot::{self, Knowledge, Reservation};
use super::super::submission::{self, Key, Named, PROGRAM, SETTINGS};
use super::{Answers, Argument, Arguments, Asked, Call, Caller, Gateway, Kind};
use crate::domain::order;
use crate::domain::usage::Usage;
use crate::operations::{self, Connection, JobSelector, JobStore, PreparedJob, Submitted};
use crate::{Error, ErrorClass, Warning};

/// Programs in one request, at most.
const LARGEST_BATCH: usize = 1000;

pub(super) const SUBMIT_JOB: Call = Call {
    name: "submit-job",
    methods: &["POST"],
    arguments: &[PROGRAM, SETTINGS],
    answers: Answers::Callers(submit_job),
    #[cfg(test)]
    description: Description {
        id: "submitJob",
        summary: "Submit a program",
        text: "Makes a job of the program, which runs as the caller's own user.",
        requests: &[
            (
                "small",
                "A program",
                r#"{"file_path": "/home/mike/test_program.R", "program_text": "print(2 + 2)\n"}"#,
            ),
            (
                "full",
                "With limits and a container",
                r#"{"file_path": "/home/mike/t_age.R", "program_text": "summary(cars)\n", "cpu_limit": 0.5, "memory_limit": "256M", "container": "registry.example.com/openval_4.2.1_focal:2023.09.0.02", "user_tag": "interim", "time_limit_seconds": 3600}"#,
            ),
            (
                "mount",
                "In place, in a mount",
                r#"{"file_path": "/studies/s1/t_age.R", "mounts": {"volumes": [{"name": "studies", "nfs": {"server": "192.0.2.1", "path": "/studies"}}], "volumeMounts": [{"name": "studies", "mountPath": "/studies"}]}}"#,
            ),
        ],
        answer: Schema::One("Submitted"),
        answer_text: "The job is created.",
        examples: &[(
            "submitted",
            "A job",
            r#"{"job_id": "test-program-fbc3131d-a850-4081-8224-c06ef32821da", "batch_id": "test_program-62e382a9-c1a7-4527-a32d-46600ee9ff80"}"#,
        )],
        errors: &[409, 502, 504],
        ..OF_JOBS
    },
};

pub(super) const SUBMIT_BATCH: Call = Call {
    name: "submit-batch",
    methods: &["POST"],
    arguments: &[
        &[Argument::required(
            "programs",
            Kind::Programs,
            "The programs, each with any argument of its own. All are in one batch.",
        )],
        SETTINGS,
    ],
    answers: Answers::Callers(submit_batch),
    #[cfg(test)]
    description: Description {
        id: "submitBatch",
        tag: "Batches",
        summary: "Submit several programs",
        text: "Makes a job of each program, all in one batch. Where some programs are refused, the answer is an error whose element `batch` says what became of each.",
        requests: &[("two", "Two programs", r#"{"programs": [{"file_path": "/studies/s1/t_age.R", "program_text": "summary(cars)\n"}, {"file_path": "/studies/s1/t_sex.R", "program_text": "print(2 + 2)\n", "memory_limit": "1G"}], "cpu_limit": 0.5}"#)],
        answer: Schema::Many("BatchRow"),
        answer_text: "All jobs are created.",
        examples: &[("two", "Two jobs", r#"[{"job_id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "batch_id": "t_age-0d8f1c6e-7a52-4b39-9e04-c1d2b3a4f567", "program": "/studies/s1/t_age.R", "submitted": "2026-01-31T13:00:00Z"}, {"job_id": "t-sex-90c4a7d3-61be-4a0f-b7d1-2f83c5e9d016", "batch_id": "t_age-0d8f1c6e-7a52-4b39-9e04-c1d2b3a4f567", "program": "/studies/s1/t_sex.R", "submitted": "2026-01-31T13:00:00Z"}]"#)],
        errors: &[409, 502, 504],
        ..OF_JOBS
    },
};

fn submit_job(gateway: &Gateway, asked: Asked<'_>) -> Result<Reply, ApiError> {
    let Asked {
        caller,
        arguments,
        audit,
        ..
    } = asked;
    let key = check_key(asked.idempotency_key)?;
    let (mut prepared, key) = submission::prepare(arguments, caller, &gateway.policy, key, None)?;
    prepared.note_request(audit.request_id());
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let job_ids = vec![prepared.submitted().job_id.clone()];
        let place = Place::new(prepared.submitted(), prepared.after());
        check_order(gateway, connection, caller, &[place])?;
        let mut reserved = reserve(gateway, connection, caller, job_ids, &[key])?;
        reserved.enter(connection, caller, &[prepared.usage()])?;
        audit.intend([AuditedJob::submitted(prepared.job(), caller)])?;
        reserved.is_sent = true;
        let outcome = operations::submit(connection, &prepared);
        reserved.end(connection, std::slice::from_ref(&outcome));
        let submitted = outcome.map_err(|error| refusal(error, key))?;
        audit.done(&submitted.job_id, MADE);
        Ok(Reply {
            body: json!({"job_id": submitted.job_id, "batch_id": submitted.batch_id}),
            headers: warnings(&[&submitted]),
            job_ids: vec![submitted.job_id],
        })
    })
}

fn submit_batch(gateway: &Gateway, asked: Asked<'_>) -> Result<Reply, ApiError> {
    let Asked {
        caller,
        arguments,
        audit,
        ..
    } = asked;
    let key = check_key(asked.idempotency_key)?;
    let batch = Batch::read(arguments, caller, key, gateway.policy.bounds.batch_bytes)?;
    let request_id = audit.request_id();
    let prepare = |index: &usize| {
        let mut one = batch.prepare(*index, caller, &gateway.policy)?;
        one.note_request(request_id);
        Ok::<_, Error>(one)
    };
    let indices: Vec<usize> = (0..batch.programs.len()).collect();
    let keys: Vec<Key> = batch.programs.iter().map(|(_, named)| named.key).collect();
    let job_ids: Vec<String> = batch
        .programs
        .iter()
        .map(|(_, named)| named.submitted.job_id.clone())
        .collect();
    // A mistake in the last one sends nothing. The Jobs are made again when it is their turn, because all at once may be
    // larger than the machine.
    let check = || -> Result<(Vec<Usage>, Vec<AuditedJob>), ApiError> {
        let _preparing = asked.places.for_preparing(&caller.name)?;
        let job = |index| prepare(index).map(|one| (one.usage(), AuditedJob::submitted(one.job(), caller)));
        let checked = indices.iter().map(job).collect::<Result<Vec<_>, Error>>()?;
        Ok(checked.into_iter().unzip())
    };
    // Without a place for them no Job is made at all.
    let is_full = gateway.snapshots.seems_full(
        &caller.name,
        &job_ids,
        gateway.policy.permissions(caller.account.as_ref()).open_jobs,
    );
    let mut checked = match is_full {
        true => None,
        false => Some(check()?),
    };
    let places: Vec<Place<'_>> = batch
        .programs
        .iter()
        .map(|(_, named)| Place::new(&named.submitted, &named.after))
        .collect();
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        check_order(gateway, connection, caller, &places)?;
        let mut reserved = reserve(gateway, connection, caller, job_ids.clone(), &keys)?;
        let (usages, jobs) = match checked.take() {
            Some(checked) => checked,
            None => check()?,
        };
        reserved.enter(connection, caller, &usages)?;
        audit.intend(jobs)?;
        reserved.is_sent = true;
        let outcomes = operations::submit_each(connection, &indices, |index| prepare(index).map(Cow::Owned))
            // Then nothing was sent.
            .inspect_err(|_| reserved.is_sent = false)?;
        reserved.end(connection, &outcomes);
        let mut rows = Vec::new();
        let mut first_refusal = None;
        let mut job_ids = Vec::new();
        let made: Vec<&Submitted> = outcomes.iter().flatten().collect();
        let headers = warnings(&made);
        for (
            (
                _,
                Named {
                    submitted,
                    key,
                    program_path,
                    ..
                },
            ),
            outcome,
        ) in batch.programs.iter().zip(outcomes)
        {
            let mut row = json!({
                "job_id": submitted.job_id,
                "batch_id": submitted.batch_id,
                "program": program_path,
                "submitted": asked.when,
            });
            match outcome {
                Ok(_) => {
                    audit.done(&submitted.job_id, MADE);
                    job_ids.push(submitted.job_id.clone());
                }
                Err(error) => {
                    // An id that the server has made is kept only where the job may exist: then it is asked for under it.
                    if error.job_ids.is_empty() && *key != Key::JobId {
                        row["job_id"] = Value::Null;
                    }
                    let refusal = refusal(error, *key);
                    audit.not_done(&submitted.job_id, &refusal);
                    row["submitted"] = Value::Null;
                    row["reason"] = refusal.error.to_string().into();
                    row["error"] = refusal.body();
                    first_refusal.get_or_insert(refusal);
                }
            }
            rows.push(row);
        }
        match first_refusal {
            None => Ok(Reply {
                body: rows.into(),
                headers,
                job_ids,
            }),
            Some(refusal) => Err(ApiError {
                detail: Some(("batch", rows.into())),
                ..refusal
            }),
        }
    })
}

/// What the log of decisions says of a job that is there now: this request has made it, or the same one before it.
const MADE: &str = "created";

/// The header with what the cluster warned of.
fn warnings(submitted: &[&Submitted]) -> Vec<(&'static str, String)> {
    // Proxies bound the size of headers; the first few say it all.
    let few: Vec<Warning> = operations::submission_warnings(submitted.iter().copied())
        .into_iter()
        .take(3)
        .map(|warning| Warning {
            job_ids: warning.job_ids.into_iter().take(10).collect(),
            ..warning
        })
        .collect();
    match few.as_slice() {
        [] => Vec::new(),
        few => vec![("Abba-Warnings", answer::warnings(few))],
    }
}

/// The programs of a batch, with what they have in common.
struct Batch<'a> {
    programs: Vec<(Value, Named)>,
    common: Arguments,
    /// The request's key.
    key: Option<&'a str>,
}

impl<'a> Batch<'a> {
    /// Reads what a request says of its programs, as far as that needs no Job, and names the jobs.
    ///
    /// Errors: they are too many, or come to more than `most_bytes`; or one cannot be named.
    fn read(mut arguments: Arguments, caller: &Caller, key: Option<&'a str>, most_bytes: usize) -> Result<Self, Error> {
        let programs = arguments.array("programs")?.unwrap_or_default();
        if programs.is_empty() || programs.len() > LARGEST_BATCH {
            return Err(Error::input(format!(
                "`programs` must be an array of 1 to {LARGEST_BATCH} programs, not of {}.",
                programs.len()
            )));
        }
        let own: usize = programs.iter().map(arguments::size).sum();
        let bytes = own + programs.len() * arguments.size();
        if bytes > most_bytes {
            return Err(Error::input(format!(
                "`programs` come to {bytes} bytes with what they have in common, which counts for each, and the abba server \
                 takes {most_bytes}."
            ))
            .meaning("No job was created.")
            .advise("Submit fewer programs at a time."));
        }
        let mut batch = Self {
            programs: Vec::with_capacity(programs.len()),
            common: arguments,
            key,
        };
        for (index, program) in programs.into_iter().enumerate() {
            let batch_id = batch
                .programs
                .first()
                .map(|(_, first)| first.submitted.batch_id.as_str());
            let named = batch
                .arguments(program.clone())
                .and_then(|own| submission::name(own, caller, batch.key_of(index).as_deref(), batch_id))
                .map_err(|error| of_program(index, error))?;
            batch.programs.push((program, named));
        }
        let all = batch.programs.iter();
        let awaited: BTreeSet<String> = all.flat_map(|(_, named)| named.after.keys().cloned()).collect();
        for (_, named) in &mut batch.programs {
            named.is_awaited = awaited.contains(&named.submitted.job_id);
        }
        Ok(batch)
    }

    /// The arguments of a program, its own and those that all have in common.
    fn arguments(&self, program: Value) -> Result<Arguments, Error> {
        let mut arguments = Arguments::of_element(program, &self.common)?;
        arguments.check(PROGRAM.iter().chain(SETTINGS))?;
        Ok(arguments)
    }

    /// The request's key with the program's place in it: that of a program without a `job_id`.
    fn key_of(&self, index: usize) -> Option<String> {
        self.key.map(|key| format!("{key}\0{index}"))
    }

    /// The Job of a program; each time the same.
    fn prepare(&self, index: usize, caller: &Caller, policy: &Policy) -> Result<PreparedJob, Error> {
        let (program, named) = &self.programs[index];
        self.arguments(program.clone())
            .and_then(|own| {
                let key = self.key_of(index);
                submission::prepare(own, caller, policy, key.as_deref(), Some(named))
            })
            .map(|(prepared, _)| prepared)
            .map_err(|error| of_program(index, error))
    }
}

/// A job's place in the order of its batch.
struct Place<'a> {
    job_id: &'a str,
    batch_id: &'a str,
    after: &'a BTreeMap<String, String>,
}

impl<'a> Place<'a> {
    fn new(submitted: &'a Submitted, after: &'a BTreeMap<String, String>) -> Self {
        Self {
            job_id: &submitted.job_id,
            batch_id: &submitted.batch_id,
            after,
        }
    }
}

/// Refuses programs that could never start: those that run after what is no job of the caller's in the same batch, or after
/// each other. A job that is there already was looked at when it was made: what it runs after may be gone by now.
fn check_order(
    gateway: &Gateway,
    connection: &Connection<'_>,
    caller: &Caller,
    places: &[Place<'_>],
) -> Result<(), Error> {
    if places.iter().all(|place| place.after.is_empty()) {
        return Ok(());
    }
    let batches: HashMap<&str, &str> = places.iter().map(|place| (place.job_id, place.batch_id)).collect();
    let orders: Vec<(&str, &BTreeMap<String, String>)> =
        places.iter().map(|place| (place.job_id, place.after)).collect();
    if let Some(program) = order::in_circle(&orders) {
        return Err(of_program(
            program,
            Error::input("It could never start: it, or one that it runs after, waits for itself.")
                .meaning("No job was created."),
        ));
    }
    let is_his = |store: &JobStore, id: &str, batch_id: &str| {
        let job = store.job(id);
        job.is_some_and(|job| job.record.batch_id == batch_id && caller.owns(&job))
    };
    // What the request does not hold itself.
    let others = || {
        let all = places.iter().enumerate();
        let named = all.flat_map(|(program, place)| place.after.keys().map(move |id| (program, place, id)));
        named.filter(|(_, place, id)| batches.get(id.as_str()) != Some(&place.batch_id))
    };
    let ids: BTreeSet<String> = others().map(|(_, _, id)| id.clone()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let strange = RefCell::new(None);
    let outcome = gateway.snapshots.ask(
        connection,
        &caller.name,
        &JobSelector::Jobs(ids.into_iter().collect()),
        |store| {
            let wrong: Vec<(usize, &Place<'_>, &String)> = others()
                .filter(|(_, place, id)| !is_his(store, id, place.batch_id))
                .filter(|(_, place, _)| !is_his(store, place.job_id, place.batch_id))
                .collect();
            let Some((program, place, id)) = wrong.first() else {
                return Ok(());
            };
            strange.replace(Some((*program, place.batch_id, (*id).clone())));
            let asked: BTreeSet<&str> = wrong.iter().flat_map(|(_, place, id)| [place.job_id, id]).collect();
            Err(Error::new(ErrorClass::NotFound, "").about(asked))
        },
    );
    match (outcome, strange.into_inner()) {
        (Err(error), Some((program, batch_id, id))) if error.class == ErrorClass::NotFound => Err(of_program(
            program,
            Error::input(format!(
                "`after` names \"{id}\", which is no job of yours in batch \"{batch_id}\"."
            ))
            .meaning("No job was created.")
            .advise("Submit what a program runs after before it, or in the same request."),
        )),
        // Whether an earlier request has made a job is not known here.
        (Err(error), _) => Err(of_this_request(error)),
        (Ok(()), _) => Ok(()),
    }
}

fn of_program(index: usize, error: Error) -> Error {
    error.after(format_args!("Program {} of the batch:", index + 1))
}

/// A place for jobs that are about to be submitted, which ends whatever becomes of the request.
struct Reserved<'a> {
    gateway: &'a Gateway,
    reservation: Option<Reservation>,
    /// The same in the ledger of what jobs take up.
    entered: Option<Entered<'a>>,
    job_ids: Vec<String>,
    /// Whether anything was sent to the cluster.
    is_sent: bool,
}

impl<'a> Reserved<'a> {
    /// Counts among the caller's what the jobs will take up. Where the caller may have no more, that is an error.
    fn enter(&mut self, connection: &Connection<'_>, caller: &Caller, usages: &[Usage]) -> Result<(), ApiError> {
        let gateway: &'a Gateway = self.gateway;
        let wanted: Vec<(String, Usage)> = self.job_ids.iter().cloned().zip(usages.iter().copied()).collect();
        let permissions = gateway.policy.permissions(caller.account.as_ref());
        let has_others = gateway.has_others();
        let most = Holdings {
            // A server alone has counted them when they were reserved.
            open_jobs: if has_others {
                permissions.open_jobs as u64
            } else {
                u64::MAX
            },
            ..permissions.holdings
        };
        let mut known = match gateway.snapshots.held() {
            Some(known) => known,
            None => gateway.snapshots.of_now(connection)?,
        };
        let _booking = has_others
            .then(|| gateway.places.for_booking(&caller.name))
            .transpose()?;
        let now = Timestamp::now().as_second();
        // A look at the cluster, as `known` may become, does not tell a job that is gone from one that is about to be made.
        let followed = known.clone();
        let mut entered = None;
        let mut book = |text: &str| {
            // Whoever was faster is in the text now.
            entered = None;
            let mut booked = Bookings::read(text, now);
            followed.read(|store| {
                booked.remove_gone(store);
                gateway.ledger.remove_gone(store);
            });
            let enter = |known: &Knowledge| {
                known.read(|store| gateway.ledger.enter(store, &caller.name, &wanted, &most, &booked))
            };
            let outcome = match enter(&known) {
                // Some may have ended, or gone, in the meantime.
                Err(refusal) if refusal.status == 429 => match gateway.snapshots.of_now(connection) {
                    Ok(new) => {
                        known = new;
                        enter(&known)
                    }
                    Err(error) => Err(error.into()),
                },
                outcome => outcome,
            };
            let is_entered = outcome.is_ok();
            entered = Some(outcome);
            is_entered.then(|| {
                booked.add(&caller.name, &wanted, now);
                known.read(|store| booked.text(store, now))
            })
        };
        if has_others {
            operations::change_bookings(connection, &mut book).map_err(of_this_request)?;
        } else {
            book("");
        }
        if let Some(entered) = entered.transpose()? {
            let new = entered.job_ids();
            if let Err(refusal) = gateway.count_jobs(caller, new.len()) {
                gateway.unbook(connection, new);
                // Others of them are there already.
                let has_some = new.len() < self.job_ids.len();
                return Err(match has_some {
                    true => ApiError {
                        error: of_this_request(refusal.error),
                        ..refusal
                    },
                    false => refusal,
                });
            }
            self.entered = Some(entered);
        }
        Ok(())
    }

    /// Ends it with what became of each job.
    fn end(mut self, connection: &Connection<'_>, outcomes: &[Result<Submitted, Error>]) {
        // A job that was refused for certain has an error that names none.
        let is_refused = |outcome: &Result<Submitted, Error>| matches!(outcome, Err(error) if error.job_ids.is_empty());
        let all = self.job_ids.iter().zip(outcomes);
        let refused: Vec<String> = all
            .filter(|(_, outcome)| is_refused(outcome))
            .map(|(id, _)| id.clone())
            .collect();
        self.release(&refused);
        self.gateway.unbook(connection, &refused);
    }

    fn release(&mut self, refused: &[String]) {
        if let Some(reservation) = self.reservation.take() {
            self.gateway.snapshots.submitted(reservation, refused);
        }
        if let Some(entered) = self.entered.take() {
            entered.sent(refused);
        }
    }
}

impl Drop for Reserved<'_> {
    /// Without an end of its own, whether a job that was sent is there shows with the next look at the cluster.
    fn drop(&mut self) {
        let none_is_there = if self.is_sent {
            Vec::new()
        } else {
            std::mem::take(&mut self.job_ids)
        };
        self.release(&none_is_there);
    }
}

/// A place for jobs that are about to be submitted. Refused where the caller would have too many that have not ended, or
/// where the request's `Idempotency-Key` was used for others.
fn reserve<'a>(
    gateway: &'a Gateway,
    connection: &Connection<'_>,
    caller: &Caller,
    job_ids: Vec<String>,
    keys: &[Key],
) -> Result<Reserved<'a>, ApiError> {
    refuse_archived(gateway, connection, caller, &job_ids, keys)?;
    let reserved = gateway
        .snapshots
        .reserve(
            connection,
            &caller.name,
            &job_ids,
            gateway.policy.permissions(caller.account.as_ref()).open_jobs,
        )
        // Whether an earlier request of the same key has made one is not known here.
        .map_err(of_this_request)?;
    let reservation = reserved.map_err(|open| {
        let error = Error::new(
            ErrorClass::Unavailable,
            format!(
                "You have {open} jobs that have not ended, and the abba server allows {}.",
                gateway.policy.permissions(caller.account.as_ref()).open_jobs
            ),
        )
        .meaning("No job was created.")
        .advise("Wait until some have ended, or cancel some.");
        ApiError::too_many(error, 10)
    })?;
    let reserved = Reserved {
        gateway,
        reservation: Some(reservation),
        entered: None,
        job_ids,
        is_sent: false,
    };
    let mut of_header = reserved
        .job_ids
        .iter()
        .zip(keys)
        .filter(|(_, key)| **key == Key::Header);
    if of_header.any(|(id, _)| gateway.snapshots.has_other_of_same_key(id)) {
        return Err(key_was_used(Vec::new()));
    }
    Ok(reserved)
}

/// Refuses ids that callers bring and that the archive has: their jobs have run, and the cluster has forgotten them since. A
/// submission that is repeated while it has them is answered by the cluster.
///
/// An archive that does not answer refuses nothing: most ids are new, and it keeps what it has of the others. It is waited for
/// until that is known, as by others.
fn refuse_archived(
    gateway: &Gateway,
    connection: &Connection<'_>,
    caller: &Caller,
    job_ids: &[String],
    keys: &[Key],
) -> Result<(), ApiError> {
    let Some(archive) = &gateway.archive else {
        return Ok(());
    };
    let brought = job_ids.iter().zip(keys).filter(|(_, key)| **key != Key::None);
    let archived = archive.those_in(connection, brought.map(|(id, _)| id.clone()).collect());
    if archived.is_empty() {
        return Ok(());
    }
    let which = JobSelector::Jobs(archived);
    let in_cluster = gateway.snapshots.ask(connection, &caller.name, &which, |store| {
        let is_gone = |id: &&String| store.job(id).is_none();
        match &which {
            JobSelector::Jobs(ids) if ids.iter().any(|id| is_gone(&id)) => {
                Err(snapshot::no_jobs(ids.iter().filter(is_gone).cloned().collect()))
            }
            _ => Ok(()),
        }
    });
    match in_cluster {
        Err(error) if error.class == ErrorClass::NotFound => Err(is_archived(error.job_ids)),
        answer => answer.map_err(|error| of_this_request(error).into()),
    }
}

/// The words are the same whoever had the job: whose it was is not told.
fn is_archived(job_ids: Vec<String>) -> ApiError {
    let error = Error::new(
        ErrorClass::Invalid,
        format!(
            "{} was there already: it has ended, and the archive has it.",
            crate::error::name_some(&job_ids)
        ),
    )
    .meaning(NO_JOB_OF_REQUEST)
    .advise("If it is to run again, submit the program anew, with a new `job_id` or `Idempotency-Key`.");
    ApiError::new(409, error.about(job_ids))
}

/// What went wrong with a submission. A Job of that name that is another was made by an earlier submission of the same key:
/// of another program, or of this one before it, or the server's settings, were changed. So its id is told.
fn refusal(error: Error, key: Key) -> ApiError {
    match (error.class, key) {
        (ErrorClass::NameTaken, Key::Header) => return key_was_used(error.job_ids),
        (ErrorClass::NameTaken, _) => return id_was_used(error.job_ids),
        _ => {}
    }
    let job_ids = error.job_ids.clone();
    let mut refusal = ApiError::from(error);
    if !job_ids.is_empty() {
        refusal.error.consequence = Some(format!(
            "Whether the job was created is not known. {}",
            match key {
                Key::JobId => "The same submission with the same `job_id` is safe.",
                Key::Header => "The same request with the same `Idempotency-Key` is safe.",
                Key::None => "Ask for its status before you submit the program again.",
            }
        ));
        refusal.error.job_ids = job_ids;
    }
    refusal
}

/// The words are the same whoever has made the job: whose it is is not told.
fn id_was_used(job_ids: Vec<String>) -> ApiError {
    let error = Error::new(
        ErrorClass::Invalid,
        format!(
            "Job \"{}\" is there already, of another program or other arguments.",
            job_ids.first().map_or("", String::as_str)
        ),
    )
    .meaning(NO_JOB_OF_REQUEST)
    .advise("If that job is not what you want, submit the program anew, with a new `job_id`.");
    ApiError::new(409, error.about(job_ids))
}

const NO_JOB_OF_REQUEST: &str = "This request has created no job.";

fn of_this_request(error: Error) -> Error {
    let consequence = Some(NO_JOB_OF_REQUEST.into());
    Error { consequence, ..error }
}

fn key_was_used(job_ids: Vec<String>) -> ApiError {
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
        .meaning(NO_JOB_OF_REQUEST)
        .advise(advice);
    ApiError::new(409, error.about(job_ids))
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

#[cfg(test)]
mod tests {
    use crate::gateway::fake_cluster::{self, program, programs, server, server_with, Cluster, Server, JOBS};
    use crate::gateway::policy::Settings;
    use crate::transport::FailureKind;
    use serde_json::{json, Value};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;

    /// Two servers of one namespace, of which each knows the other's jobs late: what it sees is good for hours.
    fn two_servers(change: fn(&mut Settings)) -> [Server; 2] {
        let of_two = || {
            server_with(|settings| {
                settings.bounds.servers = 2;
                change(settings);
            })
        };
        let one = of_two();
        let other = Server {
            cluster: Arc::clone(&one.cluster),
            ..of_two()
        };
        for server in [&one, &other] {
            assert_eq!(server.get("daemon", "jobs").1, json!([]));
        }
        [one, other]
    }

    #[test]
    fn two_servers_let_a_caller_have_no_more_than_one_does() {
        type Change = fn(&mut Settings);
        let bounds: [(Change, &str); 3] = [
            (|settings| settings.open_jobs = 2, "have not ended"),
            (|settings| settings.kept_jobs = 2, "ended too"),
            (|settings| settings.open_cpu = Some("2".into()), "processor cores"),
        ];
        for (change, words) in bounds {
            let [one, other] = two_servers(change);
            one.submit("daemon", "b");
            let mut again = program("a.R");
            again["batch_group_id"] = "b".into();
            again["job_id"] = id_of("a").into();
            assert_eq!(other.post("daemon", "submit-job", &again, None).0, 200);
            let (status, body) = one.post("daemon", "submit-job", &program("a.R"), None);
            assert_eq!(status, 429, "{body}");
            assert!(body["message"].as_str().unwrap().contains(words), "{body}");
            // Others are not concerned, and neither is who sends the same again.
            one.submit("bin", "b");
            assert_eq!(one.post("daemon", "submit-job", &again, None).0, 200);
        }
    }

    #[test]
    fn of_many_that_are_submitted_through_two_servers_at_once_as_many_are_made_as_are_permitted() {
        let servers = two_servers(|settings| settings.open_jobs = 5);
        std::thread::scope(|scope| {
            for number in 0..16 {
                let server = &servers[number % 2];
                scope.spawn(move || server.post("daemon", "submit-job", &program("a.R"), None).0);
            }
        });
        let objects = servers[0].cluster.objects.lock().unwrap();
        assert_eq!(objects.keys().filter(|path| path.starts_with(JOBS)).count(), 5);
    }

    #[test]
    fn what_the_cluster_refuses_is_not_counted_by_the_other_server_and_without_the_right_each_counts_alone() {
        let [one, other] = two_servers(|settings| settings.open_jobs = 1);
        one.cluster.fails(&format!("POST {JOBS}"), FailureKind::Forbidden);
        assert_eq!(one.post("daemon", "submit-job", &program("a.R"), None).0, 502);
        one.cluster.heals();
        other.submit("daemon", "b");
        let [one, other] = two_servers(|settings| settings.open_jobs = 1);
        one.cluster.fails("/leases", FailureKind::Forbidden);
        one.submit("daemon", "b");
        assert_eq!(one.post("daemon", "submit-job", &program("a.R"), None).0, 429);
        other.submit("daemon", "b");
    }

    /// An id that a caller has made.
    fn id_of(name: &str) -> String {
        format!("{name}-fbc3131d-a850-4081-8224-c06ef32821da")
    }

    /// A program of batch "b" that runs after others.
    fn after(name: &str, before: &[&str]) -> Value {
        let mut body = program(&format!("{name}.R"));
        body["job_id"] = id_of(name).into();
        body["batch_group_id"] = "b".into();
        body["after"] = before
            .iter()
            .map(|name| (id_of(name), json!(name)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        body
    }

    fn submit(server: &Server, user: &str, programs: &[Value]) -> (u16, Value) {
        server.post(user, "submit-batch", &json!({"programs": programs}), None)
    }

    #[test]
    fn a_program_waits_for_those_of_its_request_and_of_earlier_ones() {
        let server = server();
        // In any order.
        let (status, body) = submit(&server, "daemon", &[after("b", &["a"]), after("a", &[])]);
        assert_eq!(status, 200, "{body}");
        let mut last = after("c", &["a", "b"]);
        last["on_failure"] = "stop".into();
        assert_eq!(server.post("daemon", "submit-job", &last, None).0, 200);
        let (first, job) = (server.cluster.job(&id_of("a")), server.cluster.job(&id_of("c")));
        assert!(first["spec"].get("suspend").is_none());
        assert_eq!(job["spec"]["suspend"], true);
        assert_eq!(job["metadata"]["labels"]["abba/waiting"], "true");
        assert_eq!(job["metadata"]["annotations"]["abba/on-failure"], "stop");
        let named: Value =
            serde_json::from_str(job["metadata"]["annotations"]["abba/after"].as_str().unwrap()).unwrap();
        assert_eq!(named, json!({id_of("a"): "a", id_of("b"): "b"}));
        // All calls tell it in words.
        let (_, rows) = server.get("daemon", "jobs?batch_id=b");
        let reasons: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row["reason"]).collect();
        assert!(
            reasons.contains(&&json!("The program waits for a and b.")),
            "{reasons:?}"
        );
        let (_, update) = server.get("daemon", &format!("watch-jobs?job_id={}&wait=0", id_of("b")));
        assert_eq!(update["obstacles"][0]["what"], "The program waits for a.");
        let (_, explained) = server.get("daemon", &format!("explain-job?id={}", id_of("b")));
        assert_eq!(explained["reason"], "The program waits for a.");
        let (_, kept) = server.get("daemon", "batch-arguments?batch_id=b");
        let kept = kept
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["job_id"] == id_of("c").as_str());
        assert_eq!(
            kept.map(|row| (&row["after"], &row["on_failure"])),
            Some((&named, &json!("stop")))
        );
        // One that waits takes up a place, too, and can be cancelled.
        assert_eq!(server.gateway.snapshots.seen().unwrap().1, 3);
        let (_, done) = server.post("daemon", "cancel-job", &json!({"job_id": id_of("c")}), None);
        assert_eq!(done[0]["done"], "kept from starting");
    }

    #[test]
    fn what_others_of_its_request_run_after_is_kept_for_them_whatever_the_caller_says() {
        let server = server_with(|settings| settings.keep_days = Some(0.5));
        let mut denied = after("a", &[]);
        denied["awaited"] = false.into();
        assert_eq!(submit(&server, "daemon", &[after("b", &["a"]), denied]).0, 200);
        let kept = |name: &str| {
            let job = server.cluster.job(&id_of(name));
            (
                job["spec"]["ttlSecondsAfterFinished"].as_u64(),
                job["metadata"]["annotations"]["abba/awaited"] == "true",
            )
        };
        assert_eq!(kept("a"), (Some(7 * 24 * 3600), true));
        assert_eq!(kept("b"), (Some(12 * 3600), false));
        // In another grouping it is the same submission.
        assert_eq!(submit(&server, "daemon", &[after("a", &[])]).0, 200);
        assert_eq!(kept("a"), (Some(7 * 24 * 3600), true));
    }

    #[test]
    fn what_runs_after_others_is_made_once_however_often_it_is_sent() {
        let server = server();
        let batch = [after("a", &[]), after("b", &["a"])];
        for _ in 0..2 {
            assert_eq!(submit(&server, "daemon", &batch).0, 200);
        }
        // Started in the meantime.
        server.cluster.releases(&id_of("b"));
        assert_eq!(submit(&server, "daemon", &batch).0, 200);
        // What it runs after was removed.
        server
            .cluster
            .objects
            .lock()
            .unwrap()
            .remove(&format!("{JOBS}/{}", id_of("a")));
        assert_eq!(submit(&server, "daemon", &batch[1..]).0, 200);
        assert_eq!(server.cluster.job(&id_of("b"))["spec"]["suspend"], false);
        assert_eq!(server.cluster.objects.lock().unwrap().len(), 1);
        // Another order is another submission.
        for other in [after("b", &[]), {
            let mut named_otherwise = after("b", &["a"]);
            named_otherwise["after"][id_of("a")] = "z".into();
            named_otherwise
        }] {
            let (status, body) = submit(&server, "daemon", &[other]);
            assert_eq!(status, 409, "{body}");
        }
    }

    #[test]
    fn nobody_waits_for_what_is_not_theirs_or_in_a_circle() {
        let server = server();
        let mut elsewhere = after("x", &[]);
        elsewhere["batch_group_id"] = "other".into();
        assert_eq!(submit(&server, "daemon", &[elsewhere]).0, 200);
        assert_eq!(submit(&server, "bin", &[after("theirs", &[])]).0, 200);
        let words = |body: &Value| {
            body.to_string()
                .replace("theirs", "ID")
                .replace("none", "ID")
                .replace("x-", "ID-")
        };
        let mut refusals = Vec::new();
        for name in ["theirs", "none", "x"] {
            let (status, body) = submit(&server, "daemon", &[after("a", &[]), after("b", &["a", name])]);
            assert_eq!(
                (status, &body["consequence"]),
                (400, &json!("No job was created.")),
                "{body}"
            );
            refusals.push(words(&body));
        }
        // Whether there is such a job is not told.
        assert!(refusals[0].contains("Program 2 of the batch: `after` names") && refusals[0] == refusals[1]);
        assert_eq!(refusals[1], refusals[2]);
        // An operator runs programs in their own name.
        assert_eq!(submit(&server, "sys", &[after("b", &["theirs"])]).0, 400);
        for circle in [
            vec![after("a", &["a"])],
            vec![after("a", &[]), after("b", &["a", "c"]), after("c", &["b"])],
        ] {
            let (status, body) = submit(&server, "daemon", &circle);
            assert_eq!(status, 400, "{body}");
            assert!(
                body["message"].as_str().unwrap().contains("could never start"),
                "{body}"
            );
        }
        for (name, wrong) in [
            ("after", json!({"../x": "x"})),
            ("after", json!({id_of("a"): ""})),
            ("after", json!({id_of("a"): "a\nb"})),
            ("after", json!([id_of("a")])),
            ("on_failure", json!("ignore")),
        ] {
            let mut body = after("b", &[]);
            body[name] = wrong.clone();
            assert_eq!(
                submit(&server, "daemon", &[after("a", &[]), body]).0,
                400,
                "{name} {wrong}"
            );
        }
        assert_eq!(server.cluster.count("POST"), 2);
    }

    #[test]
    fn open_jobs_are_counted_for_each_caller() {
        let server = server_with(|settings| settings.open_jobs = 3);
        let ids: Vec<String> = (0..3).map(|_| server.submit("daemon", "b")).collect();
        let (status, body) = server.post("daemon", "submit-job", &program("a.R"), None);
        assert_eq!(status, 429, "{body}");
        assert_eq!(body["consequence"], "No job was created.");
        assert_eq!(
            server.post("bin", "submit-batch", &programs(&["a.R", "b.R"]), None).0,
            200
        );
        assert_eq!(
            server.post("bin", "submit-batch", &programs(&["a.R", "b.R"]), None).0,
            429
        );
        // One that has ended makes place, although the list that shows it is not due.
        server.cluster.ends(&ids[0], "");
        assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 200);
        assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 429);
    }

    #[test]
    fn callers_do_not_slip_in_side_by_side() {
        let server = server_with(|settings| settings.open_jobs = 5);
        let created = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..30 {
                scope.spawn(|| {
                    if server.post("daemon", "submit-job", &program("a.R"), None).0 == 200 {
                        created.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(created.into_inner(), 5);
        assert_eq!(server.cluster.count("POST"), 5);
    }

    #[test]
    fn a_batch_counts_as_many_jobs_as_it_makes_in_the_rate_and_a_repetition_as_none() {
        let server = server_with(|settings| settings.jobs_per_minute = 3);
        let two = programs(&["a.R", "b.R"]);
        let first = server.post("daemon", "submit-batch", &two, Some("k"));
        assert_eq!(first.0, 200);
        let answer = server.send("daemon", "POST", "submit-batch", &two, None);
        let [("Retry-After", seconds)] = &answer.headers[..] else {
            panic!("{:?}", answer.headers);
        };
        assert_eq!(answer.status, 429);
        // Less, where the requests themselves took their time.
        assert!((1..=20).contains(&seconds.parse::<u32>().unwrap()), "{seconds}");
        assert!(answer.body.contains("the abba server takes 3") && answer.body.contains("No job was created"));
        assert_eq!(server.cluster.count("POST"), 2);
        // Of a batch of which a part is there it is not said that no job was created.
        let four = programs(&["a.R", "b.R", "c.R", "d.R"]);
        let (status, body) = server.post("daemon", "submit-batch", &four, Some("k"));
        assert_eq!(
            (status, &body["consequence"]),
            (429, &json!("This request has created no job."))
        );
        // What is there already is no work for the cluster, and others are not concerned.
        for _ in 0..5 {
            assert_eq!(server.post("daemon", "submit-batch", &two, Some("k")), first);
        }
        assert_eq!(server.post("bin", "submit-batch", &two, None).0, 200);
        assert_eq!(server.post("daemon", "submit-job", &program("c.R"), None).0, 200);
        assert_eq!(server.post("daemon", "submit-job", &program("d.R"), None).0, 429);
        // Requests that make no job are answered.
        assert_eq!(server.get("daemon", "jobs").1.as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_repetition_is_answered_while_the_rate_is_exceeded() {
        let server = server_with(|settings| settings.jobs_per_minute = 3);
        let many = programs(&["a.R"; 20]);
        let first = server.post("daemon", "submit-batch", &many, Some("k"));
        assert_eq!(first.0, 200);
        assert_eq!(server.post("daemon", "submit-job", &program("b.R"), None).0, 429);
        assert_eq!(server.post("daemon", "submit-batch", &many, Some("k")), first);
    }

    #[test]
    fn what_the_rate_refuses_counts_for_no_other_server() {
        let [one, other] = two_servers(|settings| {
            settings.jobs_per_minute = 2;
            settings.open_jobs = 3;
        });
        one.submit("daemon", "b");
        let two = programs(&["a.R", "b.R"]);
        for _ in 0..3 {
            assert_eq!(one.post("daemon", "submit-batch", &two, None).0, 429);
        }
        // Each has its half of the rate; of the three open jobs two are left.
        assert_eq!(other.post("daemon", "submit-batch", &two, None).0, 200);
    }

    #[test]
    fn jobs_that_have_ended_count_among_those_that_are_kept() {
        let server = server_with(|settings| settings.kept_jobs = 2);
        let first = server.post("daemon", "submit-job", &program("a.R"), Some("k"));
        server.cluster.ends(first.1["job_id"].as_str().unwrap(), "");
        assert_eq!(server.post("daemon", "submit-job", &program("b.R"), None).0, 200);
        let (status, body) = server.post("daemon", "submit-job", &program("c.R"), None);
        assert_eq!((status, &body["consequence"]), (429, &json!("No job was created.")));
        assert!(body["advice"].as_str().unwrap().contains("abba_remove_job()"), "{body}");
        // The same request again makes none, and another caller's jobs are another's.
        assert_eq!(server.post("daemon", "submit-job", &program("a.R"), Some("k")), first);
        assert_eq!(server.post("bin", "submit-job", &program("c.R"), None).0, 200);
        let three = programs(&["a.R", "b.R", "c.R"]);
        assert_eq!(server.post("sys", "submit-batch", &three, None).0, 403);
        // After the server was started again, too.
        let again = Server {
            cluster: server.cluster,
            ..server_with(|settings| settings.kept_jobs = 2)
        };
        assert_eq!(again.post("daemon", "submit-job", &program("c.R"), None).0, 429);
        // Once one is gone there is a place.
        let gone = first.1["job_id"].as_str().unwrap();
        again
            .cluster
            .objects
            .lock()
            .unwrap()
            .retain(|path, _| !path.contains(gone));
        assert_eq!(again.post("daemon", "submit-job", &program("c.R"), None).0, 200);
        assert_eq!(again.post("daemon", "submit-job", &program("d.R"), None).0, 429);
    }

    #[test]
    fn the_programs_of_kept_jobs_have_a_bound_in_bytes() {
        let server = server_with(|settings| settings.kept_program_bytes = 100);
        let of_size = |bytes: usize| json!({"file_path": "a.R", "program_text": "#".repeat(bytes)});
        assert_eq!(server.post("daemon", "submit-job", &of_size(101), None).0, 403);
        let (_, first) = server.post("daemon", "submit-job", &of_size(60), None);
        server.cluster.ends(first["job_id"].as_str().unwrap(), "");
        assert_eq!(server.post("daemon", "submit-job", &of_size(41), None).0, 429);
        assert_eq!(server.post("daemon", "submit-job", &of_size(40), None).0, 200);
    }

    #[test]
    fn limits_of_open_jobs_have_bounds_together_also_side_by_side() {
        for open in [
            |settings: &mut Settings| settings.open_cpu = Some("5".into()),
            |settings: &mut Settings| settings.open_memory = Some("2560M".into()),
        ] {
            let server = server_with(open);
            let created = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..20 {
                    scope.spawn(|| {
                        if server.post("daemon", "submit-job", &program("a.R"), None).0 == 200 {
                            created.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
            });
            assert_eq!(created.into_inner(), 5);
            assert_eq!(server.cluster.count("POST"), 5);
            let ids: Vec<String> = server
                .get("daemon", "jobs")
                .1
                .as_array()
                .unwrap()
                .iter()
                .map(|job| job["job_id"].as_str().unwrap().to_string())
                .collect();
            server.cluster.ends(&ids[0], "");
            assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 200);
            assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 429);
        }
    }

    #[test]
    fn what_a_batch_becomes_is_bounded_and_refused_before_anything_is_made() {
        let server = server_with(|settings| settings.bounds.batch_bytes = 50_000);
        let mut batch = programs(&["a.R"; 40]);
        assert_eq!(server.post("daemon", "submit-batch", &batch, None).0, 200);
        // In common: once in the request, and in each of its jobs.
        batch["arguments"] = json!(["x".repeat(2000)]);
        let (status, body) = server.post("daemon", "submit-batch", &batch, None);
        assert_eq!((status, &body["class"]), (400, &json!("input")));
        assert!(body["message"].as_str().unwrap().contains("takes 50000"), "{body}");
        batch["programs"].as_array_mut().unwrap().truncate(20);
        assert_eq!(server.post("daemon", "submit-batch", &batch, None).0, 200);
        assert_eq!(server.cluster.count("POST"), 60);
    }

    #[test]
    fn mounts_are_bounded_by_the_server_too() {
        let mounts = |count: usize| {
            let volume =
                |k: usize| json!({"name": format!("v{k}"), "nfs": {"server": "192.0.2.1", "path": "/studies"}});
            let mount = |k: usize| json!({"name": format!("v{k}"), "mountPath": format!("/m{k}")});
            let mut program = program("a.R");
            program["mounts"] = json!({
                "volumes": (0..count).map(volume).collect::<Vec<_>>(),
                "volumeMounts": (0..count).map(mount).collect::<Vec<_>>(),
            });
            program
        };
        let server = server_with(|settings| settings.bounds.mounts = 3);
        assert_eq!(server.post("daemon", "submit-job", &mounts(3), None).0, 200);
        let (status, body) = server.post("daemon", "submit-job", &mounts(4), None);
        assert_eq!(status, 400);
        assert!(body["message"].as_str().unwrap().contains("at most 3"), "{body}");
        assert_eq!(
            fake_cluster::server().post("daemon", "submit-job", &mounts(33), None).0,
            400
        );
    }

    #[test]
    fn too_many_open_jobs_are_refused_before_a_job_is_made() {
        let server = server_with(|settings| settings.open_jobs = 2);
        // The last one would be refused for itself, once it is made.
        let mut batch = programs(&["a.R", "b.R", "c.R"]);
        batch["programs"][2]["memory_limit"] = "512G".into();
        assert_eq!(server.post("daemon", "submit-batch", &batch, None).0, 429);
        batch["programs"].as_array_mut().unwrap().swap_remove(0);
        assert_eq!(server.post("daemon", "submit-batch", &batch, None).0, 403);
        assert_eq!(server.cluster.count("POST"), 0);
        // What was refused takes no place.
        assert_eq!(
            server
                .post("daemon", "submit-batch", &programs(&["a.R", "b.R"]), None)
                .0,
            200
        );
    }

    #[test]
    fn a_submission_that_was_refused_takes_no_place() {
        let server = server_with(|settings| settings.open_jobs = 1);
        server.cluster.fails("POST", FailureKind::Invalid);
        assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 400);
        server.cluster.heals();
        assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 200);
    }

    #[test]
    fn a_panic_in_a_submission_takes_no_place_for_good() {
        let server = server_with(|settings| settings.open_jobs = 1);
        server.cluster.panics_at_next_create();
        assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 500);
        assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 200);
        assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 429);
    }

    #[test]
    fn the_same_key_makes_one_job_also_where_no_other_is_allowed() {
        let server = server_with(|settings| settings.open_jobs = 1);
        let first = server.post("daemon", "submit-job", &program("a.R"), Some("k"));
        assert_eq!(first.0, 200);
        for _ in 0..3 {
            assert_eq!(server.post("daemon", "submit-job", &program("a.R"), Some("k")), first);
        }
        // After the server was started again, too.
        let again = Server {
            cluster: server.cluster,
            ..server_with(|settings| settings.open_jobs = 1)
        };
        assert_eq!(again.post("daemon", "submit-job", &program("a.R"), Some("k")), first);
        assert_eq!(again.get("daemon", "jobs").1.as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_same_key_for_anything_else_is_refused() {
        let server = server();
        assert_eq!(server.post("daemon", "submit-job", &program("a.R"), Some("k")).0, 200);
        for (name, value) in [
            ("program_text", json!("2 + 2\n")),
            ("file_path", json!("b.R")),
            ("container", json!("registry.example.com/r:4.3")),
            ("memory_limit", json!("1G")),
            ("cpu_limit", json!(0.5)),
            ("user_tag", json!("other")),
            ("batch_group_id", json!("other")),
            ("time_limit_seconds", json!(60)),
            ("arguments", json!(["x"])),
            ("environment", json!({"A": "x"})),
        ] {
            let mut body = program("a.R");
            body[name] = value;
            let (status, body) = server.post("daemon", "submit-job", &body, Some("k"));
            assert_eq!(status, 409, "{name}: {body}");
            assert_eq!(body["consequence"], "This request has created no job.");
        }
        // Another caller's key is another key.
        assert_eq!(server.post("bin", "submit-job", &program("b.R"), Some("k")).0, 200);
        let mine = server.get("daemon", "jobs").1;
        assert_eq!(mine.as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_request_that_is_made_again_and_means_something_else_by_now_names_the_job_that_is_there() {
        let server = server();
        let (_, first) = server.post("daemon", "submit-batch", &programs(&["a.R", "b.R"]), Some("k"));
        let (_, single) = server.post("daemon", "submit-job", &program("a.R"), Some("single"));
        // Its answer was lost; until it is made again the server gets another container as its default.
        let server = Server {
            cluster: server.cluster,
            ..server_with(|settings| settings.default_container = Some("registry.example.com/r:4.3".into()))
        };
        let (status, body) = server.post("daemon", "submit-batch", &programs(&["a.R", "b.R"]), Some("k"));
        assert_eq!(status, 409);
        for (row, first) in body["batch"].as_array().unwrap().iter().zip(first.as_array().unwrap()) {
            assert_eq!((&row["job_id"], &row["submitted"]), (&first["job_id"], &Value::Null));
        }
        let (status, body) = server.post("daemon", "submit-job", &program("a.R"), Some("single"));
        assert_eq!((status, &body["job_id"]), (409, &json!([single["job_id"]])));
        let mine = server.get("daemon", "jobs").1;
        assert_eq!(mine.as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_batch_with_a_key_is_made_once() {
        let server = server();
        let first = server.post("daemon", "submit-batch", &programs(&["a.R", "b.R"]), Some("k"));
        assert_eq!(first.0, 200);
        assert_eq!(first.1[0]["batch_id"], first.1[1]["batch_id"]);
        assert_eq!(
            server.post("daemon", "submit-batch", &programs(&["a.R", "b.R"]), Some("k")),
            first
        );
        assert_eq!(
            server
                .post("daemon", "submit-batch", &programs(&["b.R", "a.R"]), Some("k"))
                .0,
            409
        );
        assert_eq!(server.get("daemon", "jobs").1.as_array().unwrap().len(), 2);
    }

    #[test]
    fn keys_that_are_no_keys_are_refused() {
        let server = server();
        for key in ["", "a b", "a\r\nb", "\u{e9}", &"x".repeat(201)] {
            assert_eq!(
                server.post("daemon", "submit-job", &program("a.R"), Some(key)).0,
                400,
                "{key:?}"
            );
        }
        assert_eq!(server.cluster.count("POST"), 0);
    }

    #[test]
    fn a_batch_that_is_refused_in_part_says_which() {
        let server = server();
        let (_, batch) = server.post("daemon", "submit-batch", &programs(&["a.R", "b.R", "c.R"]), Some("k"));
        let taken = batch[1]["job_id"].as_str().unwrap().to_string();
        // The second name belongs to a job of other content.
        let mut other = server.cluster.job(&taken);
        other["metadata"]["annotations"]["abba/submission"] = "other".into();
        let cluster = Arc::<Cluster>::default();
        cluster.objects.lock().unwrap().insert(format!("{JOBS}/{taken}"), other);
        let server = Server {
            cluster,
            ..fake_cluster::server()
        };
        let (status, body) = server.post("daemon", "submit-batch", &programs(&["a.R", "b.R", "c.R"]), Some("k"));
        assert_eq!((status, &body["class"]), (409, &json!("batch_incomplete")));
        let rows = body["batch"].as_array().unwrap();
        assert_eq!(rows[0]["submitted"], "2026-01-01T00:00:00Z");
        // An earlier request may have made it: nobody knows that there is surely no job.
        assert_eq!(
            (&rows[1]["job_id"], &rows[1]["submitted"]),
            (&json!(taken), &Value::Null)
        );
        let reason = rows[1]["reason"].as_str().unwrap();
        assert!(
            reason.contains("Idempotency-Key") && reason.contains(&taken),
            "{reason}"
        );
        assert_eq!((&rows[2]["program"], &rows[2]["reason"]), (&json!("c.R"), &Value::Null));

        // Wrong arguments are refused before the first is sent, and the program is named.
        let (status, body) = server.post(
            "daemon",
            "submit-batch",
            &json!({"programs": [program("a.R"), {"file_path": "b.R"}]}),
            None,
        );
        assert_eq!(status, 400);
        assert!(body["message"]
            .as_str()
            .unwrap()
            .starts_with("Program 2 of the batch: "));
        assert_eq!(server.cluster.count("POST"), 3);
    }

    #[test]
    fn a_submission_whose_outcome_is_not_known_says_so_and_can_be_repeated() {
        let server = server();
        server.cluster.fails("POST", FailureKind::Timeout);
        let (status, body) = server.post("daemon", "submit-job", &program("a.R"), Some("k"));
        assert_eq!((status, &body["class"]), (504, &json!("timeout")));
        assert!(body["consequence"].as_str().unwrap().contains("is safe"), "{body}");
        assert_eq!(body["job_id"].as_array().unwrap().len(), 1);
        let text = body.to_string();
        for word in ["kubectl", "_local", "secret", "namespace", "k8s"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        server.cluster.heals();
        let server = Server {
            cluster: server.cluster,
            ..fake_cluster::server()
        };
        let (_, again) = server.post("daemon", "submit-job", &program("a.R"), Some("k"));
        assert_eq!(again["job_id"], body["job_id"][0]);
    }

    /// A program under an id that its caller has made.
    fn named(path: &str, number: usize) -> Value {
        let mut program = program(path);
        program["job_id"] = id(number).into();
        program["batch_group_id"] = "b".into();
        program
    }

    fn id(number: usize) -> String {
        format!("t-{number:08x}-a850-4081-8224-c06ef32821da")
    }

    fn job_count(server: &Server) -> usize {
        server.cluster.objects.lock().unwrap().len()
    }

    #[test]
    fn the_same_submission_under_the_same_id_makes_one_job() {
        let server = server_with(|settings| settings.open_jobs = 1);
        let first = server.post("daemon", "submit-job", &named("a.R", 1), None);
        assert_eq!(first, (200, json!({"job_id": id(1), "batch_id": "b"})));
        // Also beside a key, where no other job is allowed, and after a restart of the server.
        for key in [None, Some("k"), Some("other")] {
            assert_eq!(server.post("daemon", "submit-job", &named("a.R", 1), key), first);
        }
        let again = Server {
            cluster: server.cluster,
            ..server_with(|settings| settings.open_jobs = 1)
        };
        assert_eq!(again.post("daemon", "submit-job", &named("a.R", 1), None), first);
        assert_eq!(again.post("daemon", "submit-job", &named("a.R", 2), None).0, 429);
        assert_eq!(job_count(&again), 1);
    }

    #[test]
    fn another_submission_under_the_same_id_is_refused_whoever_made_the_job() {
        let server = server();
        assert_eq!(server.post("daemon", "submit-job", &named("a.R", 1), None).0, 200);
        let mut refusals = Vec::new();
        for (user, name, value) in [
            ("daemon", "program_text", json!("2 + 2\n")),
            ("daemon", "file_path", json!("b.R")),
            ("daemon", "memory_limit", json!("1G")),
            ("daemon", "batch_group_id", json!("other")),
            // Word for word what its owner has submitted.
            ("bin", "user_tag", json!("")),
            ("bin", "program_text", json!("2 + 2\n")),
        ] {
            let mut body = named("a.R", 1);
            body[name] = value;
            let (status, body) = server.post(user, "submit-job", &body, None);
            assert_eq!(
                (status, &body["consequence"]),
                (409, &json!("This request has created no job."))
            );
            refusals.push(body);
        }
        // Nothing tells whose it is.
        refusals.dedup();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert_eq!(job_count(&server), 1);
        assert_eq!(server.get("bin", "jobs").1, json!([]));
    }

    #[test]
    fn programs_with_ids_may_be_repeated_in_any_grouping() {
        let server = server_with(|settings| settings.open_jobs = 5);
        let all: Vec<Value> = (1..=5).map(|number| named(&format!("{number}.R"), number)).collect();
        for group in [&[0, 1, 2][..], &[2], &[4, 1, 3], &[0, 1, 2, 3, 4], &[3, 3, 0]] {
            let programs: Vec<&Value> = group.iter().map(|place| &all[*place]).collect();
            let (status, rows) = server.post("daemon", "submit-batch", &json!({"programs": programs}), Some("k"));
            assert_eq!(status, 200, "{rows}");
            let ids: Vec<String> = group.iter().map(|place| id(place + 1)).collect();
            let told: Vec<&str> = rows
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["job_id"].as_str().unwrap())
                .collect();
            assert_eq!(told, ids);
        }
        assert_eq!(server.post("daemon", "submit-job", &all[4], None).0, 200);
        assert_eq!(job_count(&server), 5);
    }

    #[test]
    fn a_program_with_an_id_of_its_own_does_not_take_part_in_the_requests_key() {
        let server = server();
        let batch = |programs: &[Value]| {
            server.post(
                "daemon",
                "submit-batch",
                &json!({"programs": programs, "batch_group_id": "b"}),
                Some("k"),
            )
        };
        let (status, first) = batch(&[program("a.R"), named("b.R", 1)]);
        assert_eq!((status, &first[1]["job_id"]), (200, &json!(id(1))));
        assert_eq!(batch(&[program("a.R"), named("b.R", 1)]), (200, first));
        // The other's key is for its place.
        assert_eq!(batch(&[named("b.R", 1), program("a.R")]).0, 200);
        assert_eq!(batch(&[program("c.R"), named("b.R", 1)]).0, 409);
        assert_eq!(job_count(&server), 3);
    }

    #[test]
    fn each_program_of_a_batch_keeps_its_id_and_has_its_own_outcome() {
        let server = server();
        assert_eq!(server.post("bin", "submit-job", &named("b.R", 2), None).0, 200);
        let batch = json!({"programs": [named("a.R", 1), named("b.R", 2), named("c.R", 3)]});
        let (status, body) = server.post("daemon", "submit-batch", &batch, None);
        assert_eq!((status, &body["class"]), (409, &json!("batch_incomplete")));
        let rows = body["batch"].as_array().unwrap();
        let ids: Vec<&Value> = rows.iter().map(|row| &row["job_id"]).collect();
        assert_eq!(ids, [&json!(id(1)), &json!(id(2)), &json!(id(3))]);
        assert!(rows[0]["submitted"].is_string() && rows[2]["submitted"].is_string());
        assert_eq!(
            (&rows[1]["submitted"], &rows[1]["error"]["class"]),
            (&Value::Null, &json!("invalid"))
        );
        // A program that is surely not submitted has its id all the same.
        let server = fake_cluster::server();
        server.cluster.fails("POST", FailureKind::Invalid);
        let (_, body) = server.post("daemon", "submit-batch", &batch, None);
        assert_eq!(body["batch"][1]["job_id"], id(2));
        server.cluster.heals();
        assert_eq!(server.post("daemon", "submit-batch", &batch, None).0, 200);
    }

    #[test]
    fn a_submission_whose_answer_was_lost_is_safe_to_repeat_under_its_id() {
        let server = server();
        server.cluster.fails("POST", FailureKind::Timeout);
        let (status, body) = server.post("daemon", "submit-job", &named("a.R", 1), None);
        assert_eq!((status, &body["job_id"]), (504, &json!([id(1)])));
        assert!(
            body["consequence"].as_str().unwrap().contains("`job_id` is safe"),
            "{body}"
        );
    }
}
