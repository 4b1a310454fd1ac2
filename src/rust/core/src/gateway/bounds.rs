//! How much of the server a caller may take, so that others are answered whatever one of them does.

use std::time::Duration;

use serde::Deserialize;

use super::answer::ApiError;
use super::turns::{Full, Turn, Turns};
use crate::domain::mounts::MOST_MOUNTS;
use crate::{Error, ErrorClass};

/// The administrator's bounds; each is an option.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// Requests of one caller that are under way at all servers, at most; those that wait for a change of jobs and those that read logs are
    /// counted apart.
    pub requests_at_once: usize,
    /// Requests of all callers that read logs at a time; the others wait for their turn.
    pub log_reads: usize,
    /// For how many seconds they do.
    pub log_wait_seconds: f64,
    /// Bytes of what the programs of a request say, at most: what they have in common counts for each.
    pub batch_bytes: usize,
    /// Volumes of a program, at most, and volume mounts.
    pub mounts: usize,
    /// Requests a minute of all together that no known caller has sent.
    pub strangers_per_minute: u32,
    /// How many servers there are on the namespace: with more than one, each tells the others what it is about to submit, and
    /// answers its part of the requests that a caller may make.
    pub servers: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            requests_at_once: 8,
            log_reads: 4,
            log_wait_seconds: 20.0,
            batch_bytes: 64 * 1024 * 1024,
            mounts: MOST_MOUNTS,
            strangers_per_minute: 600,
            servers: 1,
        }
    }
}

impl Bounds {
    /// The part of what a caller may have of all servers together that each of them gives.
    pub fn of_each_server(&self, of_all: usize) -> usize {
        of_all.div_ceil(self.servers.max(1))
    }

    /// Checks the settings. Errors name the option that is wrong.
    pub fn check(&self) -> Result<(), Error> {
        for (name, count) in [
            ("abba.api.requests.at.once", self.requests_at_once),
            ("abba.api.log.reads", self.log_reads),
            ("abba.api.batch.bytes", self.batch_bytes),
            ("abba.api.strangers.per.minute", self.strangers_per_minute as usize),
            ("abba.api.servers", self.servers),
        ] {
            if count == 0 {
                return Err(Error::input(format!("The option `{name}` must be at least 1.")));
            }
        }
        if self.mounts > MOST_MOUNTS {
            return Err(Error::input(format!(
                "The option `abba.api.mounts` must be from 0 to {MOST_MOUNTS}."
            )));
        }
        if !(0.0..=3600.0).contains(&self.log_wait_seconds) {
            return Err(Error::input(
                "The option `abba.api.log.wait` must be a number of seconds from 0 to 3600.",
            ));
        }
        Ok(())
    }
}

/// Requests of all callers that may be under way. Each has a thread.
const MOST_REQUESTS: usize = 200;

/// A request with a larger body is held in memory several times over, and takes a place among these.
const LARGE: usize = 64 * 1024;
const MOST_LARGE: usize = 16;

/// Requests that may wait for a change of jobs. Each has a thread, and does nothing with it.
const MOST_WATCHING: usize = 1000;
const MOST_WATCHING_OF_ONE: usize = 100;

/// For how long a request waits for others of its caller.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 10 });

/// Large requests that are read, or whose Jobs are made, at a time: it takes a core each. Half of the machine's cores, so that
/// the others answer what is quick meanwhile; but two, so that one caller does not take them all.
fn prepared_at_once() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    (cores / 2).clamp(2, 8)
}

/// The places that requests take. What reads logs, which may take long, has places of its own, and takes none of those of
/// submissions, cancellations and looks.
#[derive(Debug)]
pub struct Places {
    requests: Turns,
    large: Turns,
    logs: Turns,
    watching: Turns,
    preparing: Turns,
    booking: Turns,
    log_patience: Duration,
}

impl Places {
    /// The places within these bounds.
    pub fn new(bounds: &Bounds) -> Self {
        let of_one = bounds.of_each_server(bounds.requests_at_once);
        // The rest is for others.
        let large_of_one = of_one.div_ceil(4).min(MOST_LARGE / 2);
        Self {
            requests: Turns::new(MOST_REQUESTS, of_one, 3 * of_one),
            large: Turns::new(MOST_LARGE, large_of_one, large_of_one),
            logs: Turns::new(bounds.log_reads, bounds.log_reads.div_ceil(2), 4 * of_one),
            watching: Turns::new(MOST_WATCHING, MOST_WATCHING_OF_ONE, 0),
            booking: Turns::new(1, 1, of_one),
            preparing: Turns::new(prepared_at_once(), prepared_at_once() / 2, of_one),
            log_patience: Duration::from_secs_f64(bounds.log_wait_seconds),
        }
    }

    /// A place for a request of a caller with a body of so many bytes.
    ///
    /// Errors: the caller has too many under way, or all together have.
    pub fn for_request(&self, caller: &str, bytes: usize) -> Result<Turn<'_>, ApiError> {
        let turns = match bytes > LARGE {
            true => &self.large,
            false => &self.requests,
        };
        turns
            .enter(caller, PATIENCE)
            .map_err(|full| refusal_of_request(full, turns, bytes))
    }

    /// Refuses a large request before its body is read where [`Self::for_request`] would refuse it then.
    pub fn check_large(&self, caller: &str, bytes: usize) -> Result<(), ApiError> {
        match bytes > LARGE && self.large.is_full_for(caller) {
            true => Err(refusal_of_request(Full::OfOne, &self.large, bytes)),
            false => Ok(()),
        }
    }

    /// A place among those that wait for a change of their jobs, and do nothing meanwhile.
    ///
    /// Errors: as of [`Self::for_request`].
    pub fn for_watching(&self, caller: &str) -> Result<Turn<'_>, ApiError> {
        self.watching.enter(caller, Duration::ZERO).map_err(|full| {
            refusal(full, || {
                format!("You have {MOST_WATCHING_OF_ONE} requests that wait for a change, and the abba server allows no more.")
            })
        })
    }

    /// A place among those that read logs.
    ///
    /// Errors: as of [`Self::for_request`]; or it was not the caller's turn in time.
    pub fn for_logs(&self, caller: &str) -> Result<Turn<'_>, ApiError> {
        self.logs.enter(caller, self.log_patience).map_err(|full| {
            let most = self.logs.places_of_one();
            refusal(full, || {
                format!("You have too many requests for logs under way: the abba server reads for {most} of one caller at a time.")
            })
        })
    }

    /// A place among the requests that are read or prepared, in the caller's turn.
    ///
    /// Errors: as of [`Self::for_request`].
    pub fn for_preparing(&self, caller: &str) -> Result<Turn<'_>, ApiError> {
        self.preparing
            .enter(caller, PATIENCE)
            .map_err(|full| refusal_of_request(full, &self.preparing, LARGE + 1))
    }

    /// A place for writing down for other servers what is about to be submitted: one at a time, in the caller's turn.
    ///
    /// Errors: as of [`Self::for_request`].
    pub fn for_booking(&self, caller: &str) -> Result<Turn<'_>, ApiError> {
        self.booking
            .enter(caller, PATIENCE)
            .map_err(|full| refusal_of_request(full, &self.booking, 0))
    }

    /// The same for reading a body of so many bytes; one that is small needs none.
    pub fn for_reading(&self, caller: &str, bytes: usize) -> Result<Option<Turn<'_>>, ApiError> {
        (bytes > LARGE).then(|| self.for_preparing(caller)).transpose()
    }

    /// How many requests wait for a place, and how many of them for their turn to read logs.
    #[cfg(test)]
    pub fn waiting(&self) -> (usize, usize) {
        let for_logs = self.logs.waiting();
        (self.requests.waiting() + self.large.waiting() + for_logs, for_logs)
    }

    /// How many requests wait for a change of their jobs.
    #[cfg(test)]
    pub fn watching(&self) -> usize {
        self.watching.taken()
    }
}

fn refusal_of_request(full: Full, turns: &Turns, bytes: usize) -> ApiError {
    refusal(full, || {
        let (most, which) = (
            turns.places_of_one(),
            if bytes > LARGE { "large ones" } else { "requests" },
        );
        format!("You have too many requests under way: the abba server answers {most} {which} of one caller at a time.")
    })
}

fn refusal(full: Full, of_one: impl FnOnce() -> String) -> ApiError {
    if full != Full::OfOne {
        return too_busy();
    }
    let error = Error::new(ErrorClass::Unavailable, of_one())
        .meaning("Nothing was asked of the cluster.")
        .advise("Repeat the call when some of them are answered.");
    ApiError::too_many(error, 1)
}

/// The refusal where too many requests are under way.
fn too_busy() -> ApiError {
    let error = Error::new(ErrorClass::Unavailable, "The abba server is too busy to answer.")
        .meaning("Nothing was asked of the cluster.")
        .advise("Repeat the call in a moment.");
    ApiError::new(503, error).again_in(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fake_cluster::{program, programs, server_with, wait_until, Server};
    use serde_json::{json, Value};

    fn server() -> Server {
        server_with(|settings| {
            settings.bounds.requests_at_once = 2;
            settings.bounds.log_wait_seconds = 600.0;
        })
    }

    /// The answer to a caller who asks too much.
    fn is_told_when_to_come_back(server: &Server, user: &str, method: &str, target: &str, body: &Value) {
        let answer = server.send(user, method, target, body, None);
        assert_eq!(
            (answer.status, answer.headers[0].0),
            (429, "Retry-After"),
            "{}",
            answer.body
        );
        assert!(answer.body.contains("\"class\":\"unavailable\""), "{}", answer.body);
    }

    #[test]
    fn hundreds_of_logs_that_one_caller_reads_keep_no_other_from_anything() {
        let server = server();
        let (id, theirs) = (server.submit("daemon", "b"), server.submit("bin", "b"));
        server.cluster.ends(&id, "x\n");
        server.cluster.ends(&theirs, "y\n");
        let log = format!("job-log?job_id={id}");
        server.cluster.holds(&format!("{id}-x/log"));
        std::thread::scope(|scope| {
            let reading: Vec<_> = (0..10).map(|_| scope.spawn(|| server.get("daemon", &log).0)).collect();
            wait_until(|| server.gateway.places.waiting() == (8, 8) && server.cluster.count("/log?") == 2);
            is_told_when_to_come_back(&server, "daemon", "GET", &log, &Value::Null);
            // Logs of others are read meanwhile, and all else is done, for the same caller, too.
            assert_eq!(
                server.get("bin", &format!("job-log?job_id={theirs}")).1[0]["log"],
                json!(["y"])
            );
            assert_eq!(server.get("bin", "jobs?verdict=true").0, 200);
            assert_eq!(server.get("bin", "batch-arguments?batch_id=b").0, 200);
            for user in ["daemon", "bin"] {
                let id = server.submit(user, "b");
                assert_eq!(server.get(user, &format!("job-status?job_id={id}")).0, 200);
                assert_eq!(server.post(user, "cancel-job", &json!({"job_id": id}), None).0, 200);
            }
            server.cluster.lets_go();
            assert!(reading.into_iter().all(|one| one.join().unwrap() == 200));
        });
        assert_eq!(server.gateway.places.waiting(), (0, 0));
    }

    #[test]
    fn who_waits_too_long_for_a_log_is_told_to_come_back() {
        let server = server_with(|settings| {
            settings.bounds.log_reads = 1;
            settings.bounds.log_wait_seconds = 0.01;
        });
        let id = server.submit("daemon", "b");
        server.cluster.ends(&id, "x\n");
        let log = format!("job-log?job_id={id}");
        server.cluster.holds("/log?");
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| server.get("daemon", &log).0);
            wait_until(|| server.cluster.count("/log?") == 1);
            let answer = server.send("daemon", "GET", &log, &Value::Null, None);
            assert_eq!((answer.status, answer.headers[0].0), (503, "Retry-After"));
            // It is no outage of the cluster.
            assert_eq!(server.get("daemon", "jobs").0, 200);
            server.cluster.lets_go();
            assert_eq!(reading.join().unwrap(), 200);
        });
        assert_eq!(server.get("daemon", &log).0, 200);
    }

    #[test]
    fn requests_of_one_caller_that_are_under_way_are_bounded() {
        let server = server();
        server.cluster.holds("POST ");
        let submit = || server.post("daemon", "submit-job", &program("a.R"), None).0;
        std::thread::scope(|scope| {
            let submitting: Vec<_> = (0..8).map(|_| scope.spawn(submit)).collect();
            wait_until(|| server.gateway.places.waiting() == (6, 0) && server.cluster.count("POST") == 2);
            is_told_when_to_come_back(&server, "daemon", "POST", "submit-job", &program("a.R"));
            is_told_when_to_come_back(&server, "daemon", "GET", "jobs", &Value::Null);
            for target in ["jobs", "whoami", "watch-jobs?batch_id=b"] {
                assert!(matches!(server.get("bin", target).0, 200 | 404), "{target}");
            }
            server.cluster.lets_go();
            assert!(submitting.into_iter().all(|one| one.join().unwrap() == 200));
        });
        assert_eq!(server.cluster.count("POST"), 8);
    }

    #[test]
    fn of_large_requests_a_caller_has_fewer_under_way() {
        let server = server();
        server.cluster.holds("POST ");
        let mut large = programs(&["a.R"]);
        large["programs"][0]["program_text"] = "#".repeat(2 * LARGE).into();
        let submit = || server.post("daemon", "submit-batch", &large, None).0;
        std::thread::scope(|scope| {
            let submitting: Vec<_> = (0..2).map(|_| scope.spawn(submit)).collect();
            wait_until(|| server.gateway.places.waiting() == (1, 0) && server.cluster.count("POST") == 1);
            is_told_when_to_come_back(&server, "daemon", "POST", "submit-batch", &large);
            // Also before its body is read.
            let places = &server.gateway.places;
            assert_eq!(places.check_large("daemon", 2 * LARGE).unwrap_err().status, 429);
            assert!(places.check_large("daemon", LARGE).is_ok() && places.check_large("bin", 2 * LARGE).is_ok());
            assert_eq!(server.get("daemon", "jobs").0, 200);
            server.cluster.lets_go();
            assert!(submitting.into_iter().all(|one| one.join().unwrap() == 200));
        });
    }

    #[test]
    fn of_several_servers_each_answers_its_part_of_what_a_caller_may_ask() {
        let of_two = || {
            server_with(|settings| {
                settings.bounds.servers = 2;
                settings.bounds.requests_at_once = 2;
                settings.requests_per_minute = 2;
            })
        };
        let servers = [of_two(), of_two()];
        let asked: usize = servers
            .iter()
            .map(|server| (0..10).filter(|_| server.get("daemon", "whoami").0 == 200).count())
            .sum();
        assert_eq!(asked, 2);
        let answer = servers[0].send("daemon", "GET", "whoami", &Value::Null, None);
        assert!(answer.body.contains("answers 1 requests a minute"), "{}", answer.body);
        assert_eq!(servers[0].gateway.places.requests.places_of_one(), 1);
    }

    #[test]
    fn bounds_that_cannot_be_are_named() {
        let refused = |change: fn(&mut Bounds)| {
            let mut bounds = Bounds::default();
            change(&mut bounds);
            bounds.check().unwrap_err().message
        };
        assert_eq!(Bounds::default().check(), Ok(()));
        assert!(refused(|bounds| bounds.mounts = 33).contains("`abba.api.mounts`"));
        assert!(refused(|bounds| bounds.log_reads = 0).contains("`abba.api.log.reads`"));
        assert!(refused(|bounds| bounds.log_wait_seconds = f64::NAN).contains("`abba.api.log.wait`"));
    }
}
