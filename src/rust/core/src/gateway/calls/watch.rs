//! Waiting for a change of jobs.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::TryLockError;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::answer::{self, ApiError, Reply};
use super::super::archive::Found;
use super::super::cluster_words;
#[cfg(test)]
use super::super::description::{Description, Schema, OF_JOBS};
use super::{Answers, Argument, Asked, Call, Gateway, Kind, EVERYBODY, JOB_IDS};
use crate::domain::job_status::Status;
use crate::domain::program::hexadecimal;
use crate::operations::{
    self, Archived, ArchivedJob, JobSelector, JobSnapshot, WatchUpdate, WatchedJob, WatchedJobs, REASONS_ASKED,
};
use crate::Error;

pub(super) const WATCH_JOBS: Call = Call {
    name: "watch-jobs",
    methods: &["GET", "POST"],
    arguments: &[&[
        Argument {
            is_required: false,
            ..JOB_IDS
        },
        Argument::optional(
            "batch_id",
            Kind::Text,
            "All jobs of this batch, also those that are submitted in the meantime.",
        ),
        EVERYBODY,
        Argument::optional(
            "wait",
            Kind::Number,
            "For how many seconds to wait for a change: from 0 to 20; left out: 20.",
        ),
        Argument::optional(
            "state",
            Kind::Text,
            "The element `state` of the answer before: a change is what differs from it. Left out: the answer comes at once.",
        ),
    ]],
    answers: Answers::Callers(watch),
    #[cfg(test)]
    description: Description {
        id: "getWatchJobs",
        summary: "Wait for a change of jobs",
        text: "Answers as soon as the jobs differ from `state`, or after `wait` seconds: what is Pending or Running, what keeps jobs from starting, and whether all have ended. Without `state` it answers at once. Ask again with the `state` of each answer until `ended` is true. Either `job_id` or `batch_id` is given.",
        requests: &[("job", "Wait for a job", r#"{"job_id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "state": "9f86d081884c7d659a2feaa0c55ad015"}"#)],
        answer: Schema::One("WatchUpdate"),
        answer_text: "The jobs as they stand.",
        examples: &[("waits", "A job that waits", r#"{"status": {"Pending": {"Jobs": [{"id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "path": "/studies/s1/t_age.R"}], "Description": "The Pod has been accepted by the Kubernetes cluster, but one or more of the containers has not been set up and made ready to run. This includes time a Pod spends waiting to be scheduled as well as the time spent downloading container images over the network."}}, "counts": {"Pending": 1}, "obstacles": [{"job_id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "what": "The job waits for free space in the cluster.", "details": "0/3 nodes are available: 3 Insufficient cpu.", "advice": "", "is_stuck": false}], "ended": false, "state": "9f86d081884c7d659a2feaa0c55ad015"}"#)],
        ..OF_JOBS
    },
};

const LONGEST_WAIT: f64 = 20.0;

/// How long a request waits that does not say it. In a test only a change ends it.
const DEFAULT_WAIT: f64 = if cfg!(test) { 3600.0 } else { LONGEST_WAIT };

/// A request that waits does nothing but look at what is known, which serves all.
fn watch(gateway: &Gateway, mut asked: Asked<'_>) -> Result<Reply, ApiError> {
    let wait = asked.arguments.number("wait")?;
    if wait.is_some_and(|wait| !(0.0..=LONGEST_WAIT).contains(&wait)) {
        return Err(Error::input("`wait` must be a number of seconds from 0 to 20.").into());
    }
    let state = asked.arguments.text("state")?;
    let everybody = asked.everybody()?;
    let which = asked.arguments.jobs_or_batch()?;
    let deadline = Instant::now() + Duration::from_secs_f64(wait.unwrap_or(DEFAULT_WAIT));
    asked.begin_to_watch()?;
    let mut archived = None;
    loop {
        let stand = gateway.snapshots.stand(&which);
        let found = look(gateway, &asked, &which, everybody, &mut archived)?;
        let update = update(gateway, &found, &which)?;
        if state.as_ref() != update["state"].as_str().map(String::from).as_ref() || Instant::now() >= deadline {
            return Ok(Reply {
                body: update,
                job_ids: found.ids(&which),
                ..Default::default()
            });
        }
        match ask_for_reasons(gateway, &asked, &found.jobs) {
            true => {}
            false => gateway
                .snapshots
                .wait_for_next(&asked.caller.name, &which, &stand, deadline),
        }
    }
}

/// The jobs that are meant; `archived`: as of [`Asked::found_again`]. It takes no place of those that work with the cluster: of all that wait one asks it.
fn look(
    gateway: &Gateway,
    asked: &Asked<'_>,
    which: &JobSelector,
    everybody: bool,
    archived: &mut Option<Archived>,
) -> Result<Found, ApiError> {
    gateway.unless_outage(|| {
        let mut found = Found::default();
        (asked.with_connection)(&mut |connection| {
            found = asked.found_again(gateway, connection, which, everybody, archived)?;
            Ok(Reply::default())
        })?;
        Ok(found)
    })
}

/// Asks the cluster why some jobs have not started, as the local watch does. `false`: there was nothing to ask, or another
/// request is asking.
fn ask_for_reasons(gateway: &Gateway, asked: &Asked<'_>, jobs: &[JobSnapshot]) -> bool {
    let waiting = |has_pod: bool| {
        jobs.iter()
            // What waits for others says itself for which.
            .filter(|job| job.status.status == Status::Pending && !job.waits)
            .filter(move |job| (job.status.id != job.record.job_id) == has_pod)
            .take(REASONS_ASKED)
    };
    // Those without a pod come first: their events alone say why.
    let mut due: Vec<&JobSnapshot> = waiting(false).chain(waiting(true)).collect();
    due.retain(|job| gateway.watchers.should_ask(job));
    if due.is_empty() {
        return false;
    }
    let _asking = match gateway.watchers.asking.try_lock() {
        Err(TryLockError::WouldBlock) => return false,
        Err(TryLockError::Poisoned(asking)) => asking.into_inner(),
        Ok(asking) => asking,
    };
    let which = JobSelector::Jobs(due.iter().map(|job| job.record.job_id.clone()).collect());
    let mut obstacles = HashMap::default();
    // The wait does not depend on it.
    let _ = gateway.with_cluster(asked.with_connection, &mut |connection| {
        let namespace = connection.namespace()?;
        obstacles = operations::obstacles(connection, &which)?;
        for obstacle in obstacles.values_mut() {
            obstacle.details = cluster_words::of_objects_for_callers(&obstacle.details, &namespace);
        }
        Ok(Reply::default())
    });
    gateway.watchers.note(&due, obstacles);
    true
}

fn update(gateway: &Gateway, found: &Found, which: &JobSelector) -> Result<Value, Error> {
    let waiting = Cell::new(0);
    let is_told = |job: &JobSnapshot| {
        waiting.set(waiting.get() + usize::from(job.waits));
        // Of a large plan nobody reads what each of its programs waits for.
        !job.waits || waiting.get() <= REASONS_ASKED
    };
    let in_cluster = |job: &JobSnapshot| WatchedJob {
        job_id: job.record.job_id.clone(),
        status: job.status.clone(),
        obstacle: match job.status.status {
            Status::Pending if is_told(job) => gateway.watchers.obstacle(job),
            _ => None,
        },
    };
    let in_archive = |job: &ArchivedJob| WatchedJob {
        job_id: job.job_id.clone(),
        status: job.status(),
        obstacle: None,
    };
    let jobs: Vec<WatchedJob> = found.each(which, in_cluster, in_archive);
    let mut update = answer::json(&WatchUpdate::from(WatchedJobs {
        ended: jobs.iter().all(|job| job.status.status.is_final()),
        jobs,
    }))?;
    let state = hexadecimal(&Sha256::digest(update.to_string()));
    update["state"] = state[..32].into();
    Ok(update)
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Value};

    use crate::gateway::fake_cluster::{server, server_with, wait_until, Server};
    use crate::transport::FailureKind;

    /// A server that looks at its cluster again and again for those who wait.
    fn attentive() -> Server {
        server_with(|settings| settings.snapshot_seconds = 0.0)
    }

    fn watch(server: &Server, target: &str) -> Value {
        let (status, body) = server.get("daemon", &format!("watch-jobs?{target}"));
        assert_eq!(status, 200, "{target}: {body}");
        body
    }

    fn state(update: &Value) -> &str {
        update["state"].as_str().unwrap()
    }

    #[test]
    fn without_a_state_the_answer_comes_at_once_and_is_that_of_a_local_watch() {
        let server = server();
        let (pending, running) = (server.submit("daemon", "b"), server.submit("daemon", "b"));
        server.cluster.start(&running);
        let update = watch(&server, "batch_id=b");
        assert_eq!(update["counts"], json!({"Pending": 1, "Running": 1}));
        assert_eq!(update["status"]["Pending"]["Jobs"][0]["id"], pending.as_str());
        assert_eq!(update["ended"], false);
        assert_eq!(update["obstacles"], json!([]));
    }

    #[test]
    fn a_change_ends_the_wait() {
        let server = attentive();
        let id = server.submit("daemon", "b");
        server.cluster.start(&id);
        let before = watch(&server, &format!("job_id={id}"));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| watch(&server, &format!("job_id={id}&state={}", state(&before))));
            wait_until(|| server.gateway.places.watching() == 1);
            assert!(!waiting.is_finished());
            server.cluster.ends(&id, "");
            wait_until(|| waiting.is_finished());
            let after = waiting.join().unwrap();
            assert_eq!(
                (&after["ended"], &after["counts"]),
                (&json!(true), &json!({"Succeeded": 1}))
            );
            // What has been seen of it is nothing new.
            assert_eq!(
                watch(&server, &format!("job_id={id}&wait=0&state={}", state(&after))),
                after
            );
        });
    }

    #[test]
    fn the_wait_has_its_limit() {
        let server = server();
        let id = server.submit("daemon", "b");
        server.cluster.start(&id);
        let before = watch(&server, &format!("job_id={id}"));
        for wait in ["0", "0.1"] {
            let again = watch(&server, &format!("job_id={id}&wait={wait}&state={}", state(&before)));
            assert_eq!(again, before);
        }
        for wait in ["-1", "20.1", "NaN", "inf", "x"] {
            assert_eq!(
                server.get("daemon", &format!("watch-jobs?job_id={id}&wait={wait}")).0,
                400,
                "{wait}"
            );
        }
        assert_eq!(server.get("daemon", "watch-jobs").0, 400);
        assert_eq!(
            server.get("daemon", &format!("watch-jobs?job_id={id}&batch_id=b")).0,
            400
        );
    }

    #[test]
    fn a_job_that_is_somebody_elses_or_nobodys_is_not_waited_for() {
        let server = server();
        let theirs = server.submit("bin", "shared");
        let none = theirs.replace(|c: char| c.is_ascii_digit(), "0");
        let of = |id: &str| {
            let (status, body) = server.get("daemon", &format!("watch-jobs?job_id={id}&state=x"));
            (status, body.to_string().replace(id, "ID"))
        };
        assert_eq!(of(&theirs), of(&none));
        assert_eq!(of(&theirs).0, 404);
        // Of a batch that two use each sees their own.
        let mine = server.submit("daemon", "shared");
        let update = watch(&server, "batch_id=shared");
        assert_eq!(
            update["status"]["Pending"]["Jobs"],
            json!([{"id": mine, "path": "a.R"}])
        );
    }

    #[test]
    fn a_hundred_that_wait_cost_one_list() {
        let server = server();
        let id = server.submit("daemon", "b");
        server.cluster.start(&id);
        let before = watch(&server, "batch_id=b");
        let lists = server.cluster.lists();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..100)
                .map(|_| scope.spawn(|| watch(&server, &format!("batch_id=b&state={}", state(&before)))))
                .collect();
            wait_until(|| server.gateway.places.watching() == 100);
            assert_eq!(server.cluster.lists(), lists);
            // Others are answered meanwhile.
            assert_eq!(server.get("bin", "jobs").0, 200);
            server.cluster.start(&server.submit("daemon", "b"));
            wait_until(|| waiting.iter().all(|one| one.is_finished()));
        });
        assert_eq!(server.cluster.lists(), lists + 1);
    }

    #[test]
    fn what_keeps_a_job_from_starting_is_told_once_it_is_known() {
        let server = attentive();
        let id = server.submit("daemon", "b");
        let before = watch(&server, "batch_id=b");
        server.cluster.note(
            "Job",
            &id,
            "FailedCreate",
            "Error creating: n/x exceeded quota: q, requested: pods=1, used: pods=7, limited: pods=8",
        );
        let after = watch(&server, &format!("batch_id=b&state={}", state(&before)));
        let obstacle = &after["obstacles"][0];
        assert_eq!(obstacle["job_id"], id.as_str());
        assert!(
            obstacle["details"].as_str().unwrap().contains("exceeded quota"),
            "{obstacle}"
        );
        let (_, explained) = server.get("daemon", &format!("explain-job?job_id={id}"));
        for told in [&after, &explained] {
            assert!(!told.to_string().contains("pods=7"), "{told}");
            assert!(!told.to_string().contains("n/x"), "{told}");
        }
        // It is known for a while: nobody asks again.
        assert_eq!(watch(&server, "batch_id=b"), after);
        // Once the program runs, nothing is in its way. Who asks at this very moment may be told this first.
        server.cluster.start(&id);
        let mut after = after;
        while after["counts"] == json!({"Pending": 1}) {
            after = watch(&server, &format!("batch_id=b&state={}", state(&after)));
        }
        assert_eq!(
            (&after["counts"], &after["obstacles"]),
            (&json!({"Running": 1}), &json!([]))
        );
    }

    #[test]
    fn a_cluster_that_goes_away_ends_the_wait_with_an_error() {
        let server = attentive();
        let id = server.submit("daemon", "b");
        server.cluster.start(&id);
        let before = watch(&server, "batch_id=b");
        server.cluster.fails("GET", FailureKind::Timeout);
        let (status, body) = server.get("daemon", &format!("watch-jobs?batch_id=b&state={}", state(&before)));
        assert_eq!((status, &body["class"]), (504, &json!("timeout")));
        server.cluster.heals();
    }
}
