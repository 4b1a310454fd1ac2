//! The calls of the abba API: one table, from which come the routes, the check of methods and arguments, and the API's
//! description (`inst/plumber/abba/openapi.json`).

mod about;
mod cancel;
mod explain;
mod jobs;
mod kept;
mod log;
mod record;
mod remove;
mod status;
mod submit;
mod watch;

use super::answer::{ApiError, Reply};
use super::arguments::{Argument, Arguments, Kind};
use super::audit_log::Audit;
use super::bounds::Places;
use super::caller::Caller;
#[cfg(test)]
use super::description::Description;
use super::server::{Gateway, WithConnection};
use super::turns::Turn;
use crate::operations::{Connection, JobSelector, JobSnapshot};
use crate::{Error, ErrorClass};
use serde_json::{json, Value};

/// A call.
#[derive(Debug)]
pub struct Call {
    /// Its path without the `/`.
    pub name: &'static str,
    /// HTTP's methods that it has. A POST beside a GET is for more ids than an address can hold.
    pub methods: &'static [&'static str],
    /// The arguments that it knows, in groups.
    arguments: &'static [&'static [Argument]],
    /// Who may make it, and the function that answers.
    pub(super) answers: Answers,
    /// Its part of the API's description, which is no part of the package.
    #[cfg(test)]
    pub(super) description: Description,
}

/// Who may make a call, and the function that answers. What a caller gets is about the jobs that they may see: their own,
/// or, for an operator, everybody's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answers {
    /// Everybody, also without a key; the last argument says whether the sender is a caller that is known.
    Anybody(fn(&Gateway, WithConnection<'_>, bool) -> Result<Reply, ApiError>),
    /// Callers that are known.
    Callers(fn(&Gateway, Asked<'_>) -> Result<Reply, ApiError>),
}

/// What a caller asks for. The arguments are among those that the call knows.
pub(super) struct Asked<'a> {
    pub caller: &'a Caller,
    pub arguments: Arguments,
    /// The header `Idempotency-Key`.
    pub idempotency_key: Option<&'a str>,
    /// When the request came, RFC 3339.
    pub when: &'a str,
    /// What the log of decisions has of the request: whatever changes a job is written there first.
    pub audit: &'a Audit<'a>,
    pub with_connection: WithConnection<'a>,
    pub places: &'a Places,
    /// The place that the request has among these.
    pub place: Option<Turn<'a>>,
}

impl Asked<'_> {
    /// Exchanges the request's place for one among those that read logs, in the caller's turn.
    pub fn begin_to_read_logs(&mut self) -> Result<(), ApiError> {
        self.place = None;
        self.place = Some(self.places.for_logs(&self.caller.name)?);
        Ok(())
    }

    /// Exchanges the request's place for one among those that wait for a change.
    pub fn begin_to_watch(&mut self) -> Result<(), ApiError> {
        self.place = None;
        self.place = Some(self.places.for_watching(&self.caller.name)?);
        Ok(())
    }
}

/// All calls.
pub const CALLS: &[Call] = &[
    submit::SUBMIT_JOB,
    submit::SUBMIT_BATCH,
    status::JOB_STATUS,
    status::BATCH_STATUS,
    watch::WATCH_JOBS,
    log::JOB_LOG,
    log::BATCH_LOG,
    record::JOB_RECORD,
    kept::BATCH_ARGUMENTS,
    cancel::CANCEL_JOB,
    remove::REMOVE_JOB,
    jobs::JOBS,
    explain::EXPLAIN_JOB,
    about::PERMITTED_CONTAINERS,
    about::PERMITTED_TEMPLATES,
    about::WHOAMI,
    about::HEALTH,
    about::LIVE,
    about::READY,
    about::METRICS,
];

/// The call of this name.
pub(super) fn find(name: &str) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.name == name)
}

impl Asked<'_> {
    /// Whether the jobs of everybody are meant.
    ///
    /// Errors: the caller is no operator.
    fn everybody(&mut self) -> Result<bool, Error> {
        let everybody = self.arguments.value(&EVERYBODY)? == Some(Value::Bool(true));
        if everybody && !self.caller.is_operator {
            return Err(Error::new(
                ErrorClass::Forbidden,
                "Only operators of the abba server may ask for the jobs of everybody.",
            )
            .meaning("Nothing was done.")
            .advise("Leave out `everybody`: your own jobs are meant then."));
        }
        Ok(everybody)
    }

    /// A connection by which only jobs are seen that the caller may see.
    fn own<'b>(&'b self, connection: &Connection<'b>) -> Connection<'b> {
        Connection {
            owner: self.caller.owner(),
            ..*connection
        }
    }

    /// The jobs that are meant, if the caller may see them. Of a batch an operator means their own, like anybody, unless
    /// `everybody` says otherwise: others may put jobs into a batch of any name.
    pub(super) fn seen(
        &self,
        gateway: &Gateway,
        connection: &Connection<'_>,
        which: &JobSelector,
        everybody: bool,
    ) -> Result<Vec<JobSnapshot>, Error> {
        if everybody || !self.caller.is_operator || matches!(which, JobSelector::Jobs(_)) {
            return gateway.seen(connection, self.caller, which);
        }
        gateway
            .seen(connection, &self.caller.as_anybody(), which)
            .map_err(|error| match error.class {
                ErrorClass::NotFound => error.advise("Check the id. If you mean jobs of others, say so: `everybody`."),
                _ => error,
            })
    }
}

impl Call {
    /// The arguments that it knows.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &'static Argument> + Clone {
        self.arguments.iter().copied().flatten()
    }

    /// Whether it changes something: what only reads has a GET.
    pub(super) fn changes(&self) -> bool {
        !self.methods.contains(&"GET")
    }

    /// Whether its line in the log of decisions names all jobs: those whose programs' output it tells.
    pub(super) fn reads_logs(&self) -> bool {
        [log::JOB_LOG.name, log::BATCH_LOG.name, record::JOB_RECORD.name].contains(&self.name)
    }

    /// Whether it makes jobs, which run as the caller's account.
    pub(super) fn submits(&self) -> bool {
        self.arguments()
            .any(|argument| argument.name == "file_path" || argument.name == "programs")
    }
}

const JOB_IDS: Argument = Argument::required(
    "job_id",
    Kind::Ids,
    "One id, or several with commas between them; in a body also an array. `id` is a synonym.",
);

/// One of them, see [`Arguments::jobs_or_batch`].
const JOBS_OR_BATCH: &[Argument] = &[
    Argument {
        is_required: false,
        ..JOB_IDS
    },
    Argument::optional("batch_id", Kind::Text, "All jobs of this batch."),
];

const BATCH_ID: Argument = Argument::required("batch_id", Kind::Id, "The batch. `id` is a synonym.");

const EVERYBODY: Argument = Argument::optional(
    "everybody",
    Kind::Flag,
    "For operators: the jobs of everybody in the batch, not their own alone.",
);

const STATUS: Argument = Argument::optional(
    "status",
    Kind::Texts,
    "Only jobs in these states, with commas between them.",
);

/// The answer of what became of jobs, by their ids, in words or as an error: a row for each, or the first refusal with these
/// rows. The log of decisions gets it, too. `job_ids` are those of the answer.
fn told_of_each(
    audit: &Audit<'_>,
    outcomes: impl Iterator<Item = (String, Result<&'static str, Error>)>,
    job_ids: Vec<String>,
) -> Result<Reply, ApiError> {
    let mut rows = Vec::new();
    let mut first_refusal = None;
    for (job_id, done) in outcomes {
        rows.push(json!({"job_id": job_id, "done": done.as_ref().ok()}));
        match done {
            Ok(done) => audit.done(&job_id, done),
            Err(error) => {
                let refusal = ApiError::from(error);
                audit.not_done(&job_id, &refusal);
                first_refusal.get_or_insert(refusal);
            }
        }
    }
    match first_refusal {
        None => Ok(Reply {
            body: rows.into(),
            job_ids,
            ..Default::default()
        }),
        Some(refusal) => Err(ApiError {
            detail: Some(("done", rows.into())),
            ..refusal
        }),
    }
}

/// Whose job it is: word for word where it came through the API, else as its label has it.
pub(super) fn owner_or_user(job: &JobSnapshot) -> &str {
    job.owner.as_deref().unwrap_or(&job.record.user)
}

/// The jobs, for the log of decisions.
fn logged_ids(jobs: &[JobSnapshot]) -> Vec<String> {
    jobs.iter().map(|job| job.record.job_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fake_cluster::{self, program, server, server_with, Server, JOBS};
    use serde_json::json;

    #[test]
    fn a_job_from_its_submission_to_its_log() {
        let server = server();
        let id = server.submit("daemon", "b");
        let (status, body) = server.get("daemon", &format!("job-status?job_id={id}"));
        assert_eq!(status, 200);
        assert_eq!(body["Pending"]["Jobs"], json!([{"id": id, "path": "a.R"}]));
        server.cluster.ends(&id, "[1] 2\n");
        let server = Server {
            cluster: server.cluster,
            ..fake_cluster::server()
        };
        let (_, body) = server.get("daemon", &format!("job-status?id={id}"));
        assert_eq!(body["Succeeded"]["Jobs"][0]["id"], format!("{id}-x"));
        assert_eq!(
            server.get("daemon", &format!("job-log?job_id={id}")),
            (
                200,
                json!([{"job_id": id, "log": ["[1] 2"], "verdict": "clean", "verdict_line": null}])
            )
        );
        assert_eq!(
            server.get("daemon", "batch-log?batch_id=b"),
            (
                200,
                json!([{"pod_id": format!("{id}-x"), "log": ["[1] 2"], "verdict": "clean", "verdict_line": null}])
            )
        );
        assert_eq!(server.get("daemon", "batch-status?batch_id=b").1, body);
        let (_, rows) = server.get("daemon", "jobs");
        assert_eq!(rows[0]["job_id"], id.as_str());
        assert_eq!(
            (&rows[0]["user"], &rows[0]["exit_code"], &rows[0]["reason"]),
            (&json!("daemon"), &json!(0), &Value::Null)
        );
        let (status, body) = server.get("daemon", &format!("explain-job?job_id={id}"));
        assert_eq!(
            (status, &body["user"], &body["node"]),
            (200, &json!("daemon"), &json!("node-1"))
        );
        assert_eq!(
            server.get("daemon", "whoami"),
            (200, json!({"user": "daemon", "operator": false}))
        );
        assert_eq!(
            server.get("daemon", "permitted-containers").1.as_array().unwrap().len(),
            3
        );
    }

    #[test]
    fn a_job_that_has_become_anothers_since_it_was_seen_is_as_none() {
        // What was seen stays good for as long as the test lasts, as that of a second server may be old.
        let server = server_with(|settings| settings.snapshot_seconds = 600.0);
        for (has_pod, calls) in [
            (
                true,
                &["cancel-job", "remove-job", "job-log", "job-record", "explain-job"][..],
            ),
            (false, &["cancel-job", "remove-job", "explain-job"]),
        ] {
            for call in calls {
                let id = server.submit("daemon", "b");
                if has_pod && *call != "cancel-job" {
                    server.cluster.ends(&id, "the secret of bin\n");
                } else if has_pod {
                    server.cluster.start(&id);
                }
                assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200);
                let before = {
                    let mut objects = server.cluster.objects.lock().unwrap();
                    let is_meant = |path: &String| path.contains(&id);
                    for (_, object) in objects.iter_mut().filter(|(path, _)| is_meant(path)) {
                        object["metadata"]["annotations"]["abba/owner"] = "bin".into();
                    }
                    objects.clone()
                };
                let (status, body) = match *call {
                    "cancel-job" | "remove-job" => server.post("daemon", call, &json!({"job_id": id}), None),
                    _ => server.get("daemon", &format!("{call}?job_id={id}")),
                };
                match *call {
                    "remove-job" => assert_eq!((status, &body[0]["done"]), (200, &json!("gone"))),
                    _ => assert_eq!((status, &body["class"]), (404, &json!("not_found")), "{call}: {body}"),
                }
                assert!(!body.to_string().contains("secret"), "{call}: {body}");
                assert_eq!(*server.cluster.objects.lock().unwrap(), before, "{call}");
            }
        }
    }

    #[test]
    fn somebody_elses_job_is_as_none_in_every_call() {
        let server = server();
        let theirs = server.submit("bin", "theirs");
        server.cluster.start(&theirs);
        let none = theirs.replace(|c: char| c.is_ascii_digit(), "0");
        for call in ["job-status", "job-log", "job-record", "explain-job"] {
            let of = |id: &str| {
                let (status, body) = server.get("daemon", &format!("{call}?job_id={id}"));
                (status, body.to_string().replace(id, "ID"))
            };
            assert_eq!(of(&theirs), of(&none), "{call}");
            assert_eq!(of(&theirs).0, 404, "{call}");
            // Also beside one of their own.
            let mine = server.submit("daemon", "mine");
            assert_eq!(
                server.get("daemon", &format!("{call}?job_id={mine},{theirs}")).0,
                404,
                "{call}"
            );
        }
        for call in ["batch-status", "batch-log"] {
            let of = |id: &str| {
                let (status, body) = server.get("daemon", &format!("{call}?batch_id={id}"));
                (status, body.to_string().replace(id, "ID"))
            };
            assert_eq!(of("theirs"), of("none"), "{call}");
            assert_eq!(of("theirs").0, 404, "{call}");
        }
        for body in [json!({"job_id": theirs}), json!({"batch_id": "theirs"})] {
            assert_eq!(server.post("daemon", "cancel-job", &body, None).0, 404, "{body}");
        }
        assert_eq!(server.cluster.count("PUT"), 0);
        assert!(!server.get("daemon", "jobs").1.to_string().contains(&theirs));
        assert_eq!(server.get("daemon", "jobs?user=bin"), (200, json!([])));
    }

    #[test]
    fn an_operator_sees_and_cancels_everybodys() {
        let server = server();
        let theirs = server.submit("bin", "theirs");
        server.cluster.start(&theirs);
        assert_eq!(server.get("sys", &format!("job-status?job_id={theirs}")).0, 200);
        assert_eq!(server.get("sys", "jobs?user=bin").1[0]["user"], "bin");
        assert_eq!(
            server.post("sys", "cancel-job", &json!({"job_id": theirs}), None),
            (200, json!([{"job_id": theirs, "done": "stopped"}]))
        );
        // Who did it is noted.
        assert_eq!(server.cluster.cancelled_by(&theirs), "sys");
    }

    #[test]
    fn a_batch_is_an_operators_own_unless_they_say_otherwise() {
        let server = server();
        let (theirs, mine) = (server.submit("bin", "study-1"), server.submit("sys", "study-1"));
        server.submit("bin", "theirs");
        for id in [&theirs, &mine] {
            server.cluster.ends(id, "x\n");
        }
        for call in ["batch-status", "batch-log", "watch-jobs"] {
            let (_, own) = server.get("sys", &format!("{call}?batch_id=study-1"));
            assert!(
                own.to_string().contains(&mine) && !own.to_string().contains(&theirs),
                "{call}: {own}"
            );
            let (_, all) = server.get("sys", &format!("{call}?batch_id=study-1&everybody=true"));
            assert!(
                all.to_string().contains(&mine) && all.to_string().contains(&theirs),
                "{call}: {all}"
            );
            // What is somebody else's alone is none, and the answer says how to ask for it.
            let (status, none) = server.get("sys", &format!("{call}?batch_id=theirs"));
            assert_eq!(status, 404, "{call}: {none}");
            assert_eq!(
                server.get("sys", &format!("{call}?batch_id=theirs&everybody=true")).0,
                200,
                "{call}"
            );
            // Nobody gets more by saying so.
            let (status, refusal) = server.get("daemon", &format!("{call}?batch_id=study-1&everybody=true"));
            assert_eq!((status, &refusal["class"]), (403, &json!("forbidden")), "{call}");
        }
        for id in [&theirs, &mine] {
            server.cluster.start(id);
        }
        let cancel = |body: &Value| server.post("sys", "cancel-job", body, None);
        assert_eq!(
            cancel(&json!({"batch_id": "study-1"})),
            (200, json!([{"job_id": mine, "done": "stopped"}]))
        );
        assert_eq!(server.cluster.cancelled_by(&theirs), Value::Null);
        let (status, done) = cancel(&json!({"batch_id": "study-1", "everybody": true}));
        assert_eq!((status, done.as_array().unwrap().len()), (200, 2));
        assert_eq!(server.cluster.cancelled_by(&theirs), "sys");
    }

    #[test]
    fn a_name_that_gets_a_new_owner_has_nothing_of_the_old_ones() {
        use crate::domain::identity::Identity;
        use crate::gateway::directory::Directory;

        let mut server = server();
        let id = server.submit("daemon", "b");
        let sees = |server: &Server| {
            let of_batch = server.get("daemon", "batch-status?batch_id=b").0;
            let jobs = server.get("daemon", "jobs").1.as_array().unwrap().len();
            let kept = server.get("daemon", "batch-arguments?batch_id=b").1;
            let kept = kept.as_array().map_or(0, Vec::len);
            (
                server.get("daemon", &format!("job-log?job_id={id}")).0 == 200,
                of_batch,
                jobs,
                kept,
            )
        };
        server.cluster.ends(&id, "x\n");
        assert_eq!(sees(&server), (true, 200, 1, 1));
        server.gateway.directory = Directory::default();
        server.gateway.directory.look_up = |name, _| {
            let (name, home) = (name.to_string(), "/home/new".into());
            let groups = Vec::new();
            Ok(Some(Identity {
                name,
                uid: 5000,
                gid: 5000,
                groups,
                home,
            }))
        };
        assert_eq!(sees(&server), (false, 404, 0, 0));
        assert_eq!(server.post("daemon", "cancel-job", &json!({"job_id": id}), None).0, 404);
        // One of their own in the same batch is all that they get.
        server.submit("daemon", "b");
        assert_eq!(sees(&server), (false, 200, 1, 1));
        // Somebody whose account is gone still has what they left.
        server.gateway.directory = Directory::default();
        server.gateway.directory.look_up = |_, _| Ok(None);
        assert!(sees(&server).0);
        server.gateway.directory = Directory::default();
        assert_eq!(server.get("sys", "jobs").1.as_array().unwrap().len(), 2);
    }

    #[test]
    fn owners_whose_labels_are_the_same_do_not_see_each_other() {
        // "a.b" and "a_b" are no accounts everywhere, so their jobs are put there as the server would have made them.
        let server = server();
        let id = server.submit("daemon", "b");
        let mut job = server.cluster.job(&id);
        for owner in ["a.b", "a_b"] {
            let name = format!("j-{}", if owner == "a.b" { 1 } else { 2 });
            job["metadata"]["name"] = name.clone().into();
            job["metadata"]["labels"]["abba/job-id"] = name.clone().into();
            job["metadata"]["labels"]["abba/user"] = "a_b".into();
            job["metadata"]["annotations"]["abba/owner"] = owner.into();
            let path = format!("{JOBS}/{name}");
            server.cluster.objects.lock().unwrap().insert(path, job.clone());
        }
        for (owner, mine, theirs) in [("a.b", "j-1", "j-2"), ("a_b", "j-2", "j-1")] {
            assert_eq!(server.get(owner, &format!("job-status?job_id={mine}")).0, 200);
            assert_eq!(server.get(owner, &format!("job-status?job_id={theirs}")).0, 404);
            assert_eq!(server.get(owner, "jobs").1.as_array().unwrap().len(), 1);
        }
    }

    #[test]
    fn arguments_that_are_none_are_refused_before_the_cluster_is_asked() {
        let server = server();
        for target in [
            "jobs?status=running",
            "jobs?since=yesterday",
            "jobs?since=2026-01-01T00:00:00%2B01:00",
            "jobs?batch_id=a%20b",
            "jobs?namespace=kube-system",
            "jobs?status=Running&status=Failed",
            "job-status",
            "job-status?job_id=",
            "job-status?job_id=a,,b",
            "job-status?job_id=..%2F..%2Fsecrets",
            "job-status?job_id=a%3Brm%20-rf%20%2F",
            "job-status?job_id=a%0d%0ab",
            "job-status?job_id=%24(id)",
            "batch-status?batch_id=a,b",
            "batch-status?batch_id=%2e%2e%2fx",
            "explain-job?job_id=a-1,b-1&x=1",
            "whoami?x=1",
            "permitted-containers?x=1",
        ] {
            let (status, body) = server.get("daemon", target);
            assert_eq!((status, &body["class"]), (400, &json!("input")), "{target}: {body}");
        }
        assert_eq!(server.cluster.calls.lock().unwrap().len(), 0);
    }

    #[test]
    fn each_call_has_its_methods() {
        let server = server();
        for (method, call, allow) in [
            ("GET", "submit-job", "POST"),
            ("DELETE", "job-status", "GET, HEAD, POST"),
            ("POST", "jobs", "GET, HEAD"),
            ("POST", "batch-arguments", "GET, HEAD"),
            ("HEAD", "submit-job", "POST"),
            ("TRACE", "whoami", "GET, HEAD"),
            ("PUT", "cancel-job", "POST"),
            ("POST", "health", "GET, HEAD"),
        ] {
            let answer = server.send("daemon", method, call, &Value::Null, None);
            assert_eq!(answer.status, 405, "{method} {call}");
            assert_eq!(answer.headers, [("Allow", allow.to_string())]);
        }
        assert_eq!(server.get("daemon", "no-such-call").0, 404);
        for call in ["jobs", "whoami", "health", "live"] {
            assert_eq!(
                server.send("daemon", "HEAD", call, &Value::Null, None).status,
                200,
                "{call}"
            );
        }
    }

    #[test]
    fn a_job_that_was_removed_a_moment_ago_is_as_none() {
        let server = server();
        let id = server.submit("daemon", "b");
        assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200);
        server.cluster.objects.lock().unwrap().clear();
        for call in ["job-log", "explain-job"] {
            let (status, body) = server.get("daemon", &format!("{call}?job_id={id}"));
            assert_eq!((status, &body["class"]), (404, &json!("not_found")), "{body}");
            assert!(
                body["message"].as_str().unwrap().starts_with("You have no job"),
                "{body}"
            );
            assert!(!body.to_string().contains("namespace"), "{body}");
        }
    }

    #[test]
    fn every_argument_of_the_table_is_read() {
        let server = server();
        let legal = |argument: &Argument| match argument.kind {
            Kind::Programs => json!([program("a.R")]),
            _ => json!("a-1"),
        };
        for call in CALLS {
            for argument in call.arguments() {
                let others = call
                    .arguments()
                    .filter(|other| (other.is_required || other.name == "program_text") && other.name != argument.name);
                let mut body: Value = others.map(|other| (other.name.to_string(), legal(other))).collect();
                body[argument.name] = json!([[]]);
                let answer = server.send("daemon", call.methods[0], call.name, &body, None);
                let named = format!("`{}`", argument.name);
                assert_eq!(answer.status, 400, "{} {named}", call.name);
                assert!(answer.body.contains(&named), "{} {named}: {}", call.name, answer.body);
            }
        }
    }
}
