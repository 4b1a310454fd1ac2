//! The calls of the abba API, against a cluster that is played.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::{json, Value};

use super::caller::Credentials;
use super::policy::tests::settings;
use super::policy::{IdentityMode, Settings};
use super::{Answer, Gateway, Policy, Request};
use crate::operations::Connection;
use crate::transport::{Call, Deadline, Failure, FailureKind, Patience, Transport, Verb};

/// A cluster that holds objects by their paths.
#[derive(Default)]
struct Cluster {
    objects: Mutex<BTreeMap<String, Value>>,
    logs: Mutex<BTreeMap<String, Vec<u8>>>,
    calls: Mutex<Vec<String>>,
    /// How calls whose request line holds the text fail.
    faults: Mutex<Vec<(String, FailureKind)>>,
    clock: AtomicUsize,
    /// How long the answer to a LIST of Jobs is on its way.
    slowness: Mutex<Duration>,
    /// How often the Jobs were looked at for a LIST.
    looks: AtomicUsize,
}

const JOBS: &str = "/apis/batch/v1/namespaces/n/jobs";
const PODS: &str = "/api/v1/namespaces/n/pods";

impl Cluster {
    fn fails(&self, part: &str, kind: FailureKind) {
        self.faults.lock().unwrap().push((part.into(), kind));
    }

    fn heals(&self) {
        self.faults.lock().unwrap().clear();
    }

    fn count(&self, part: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| call.contains(part)).count()
    }

    fn lists(&self) -> usize {
        self.count("pods?labelSelector")
    }

    fn job(&self, job_id: &str) -> Value {
        self.objects.lock().unwrap()[&format!("{JOBS}/{job_id}")].clone()
    }

    /// Who has cancelled a job that has a pod.
    fn cancelled_by(&self, job_id: &str) -> Value {
        self.objects.lock().unwrap()[&format!("{PODS}/{job_id}-x")]["metadata"]["annotations"]["abba/cancelled-by"]
            .clone()
    }

    /// Gives a job a pod in a state of its container, as Kubernetes has it.
    fn runs(&self, job_id: &str, state: Value) {
        let job = self.job(job_id);
        let phase = match state.get("terminated") {
            Some(terminated) if terminated["exitCode"] == 0 => "Succeeded",
            Some(_) => "Failed",
            None => "Running",
        };
        let mut pod = json!({
            "metadata": job["spec"]["template"]["metadata"],
            "spec": {"nodeName": "node-1", "containers": job["spec"]["template"]["spec"]["containers"]},
            "status": {"phase": phase, "containerStatuses": [{"name": "program", "state": state}]},
        });
        pod["metadata"]["name"] = format!("{job_id}-x").into();
        pod["metadata"]["creationTimestamp"] = job["metadata"]["creationTimestamp"].clone();
        self.objects.lock().unwrap().insert(format!("{PODS}/{job_id}-x"), pod);
    }

    fn ends(&self, job_id: &str, log: &str) {
        self.runs(
            job_id,
            json!({"terminated": {"exitCode": 0, "startedAt": "2026-01-01T00:00:01Z", "finishedAt": "2026-01-01T00:00:02Z"}}),
        );
        let log = format!("abba-log-of {job_id}\n{log}");
        self.logs
            .lock()
            .unwrap()
            .insert(format!("{job_id}-x"), log.into_bytes());
    }

    fn start(&self, job_id: &str) {
        self.runs(job_id, json!({"running": {"startedAt": "2026-01-01T00:00:01Z"}}));
    }

    fn list(&self, collection: &str, query: &str) -> Vec<u8> {
        let query = percent_decode_str(query).decode_utf8().unwrap().into_owned();
        let ids: Option<Vec<&str>> = query
            .split_once("job-id in (")
            .map(|(_, rest)| rest.trim_end_matches(')').split(',').collect());
        let batch = query
            .split_once("abba/batch-id=")
            .map(|(_, rest)| rest.split([',', '&']).next().unwrap_or_default());
        let items: Vec<Value> = self
            .objects
            .lock()
            .unwrap()
            .iter()
            .filter(|(path, _)| path.starts_with(collection))
            .map(|(_, object)| object.clone())
            .filter(|object| {
                let id = object["metadata"]["labels"]["abba/job-id"].as_str().unwrap_or_default();
                let batch_of = object["metadata"]["labels"]["abba/batch-id"].as_str();
                ids.as_ref().is_none_or(|ids| ids.contains(&id)) && (batch.is_none() || batch == batch_of)
            })
            .collect();
        if collection == JOBS {
            self.looks.fetch_add(1, Ordering::SeqCst);
            let slowness = *self.slowness.lock().unwrap();
            std::thread::sleep(slowness);
        }
        json!({"metadata": {"resourceVersion": "1"}, "items": items})
            .to_string()
            .into_bytes()
    }

    fn create(&self, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut job: Value = serde_json::from_slice(body).unwrap();
        let path = format!("{JOBS}/{}", job["metadata"]["name"].as_str().unwrap());
        let mut objects = self.objects.lock().unwrap();
        if objects.contains_key(&path) {
            return Err(Failure::new(FailureKind::AlreadyExists, ""));
        }
        let second = self.clock.fetch_add(1, Ordering::SeqCst);
        job["metadata"]["creationTimestamp"] = format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60).into();
        objects.insert(path, job.clone());
        Ok(job.to_string().into_bytes())
    }
}

impl Transport for Cluster {
    fn stream(
        &self,
        call: &Call,
        _: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let line = call.request_line();
        self.calls.lock().unwrap().push(line.clone());
        let fault = self
            .faults
            .lock()
            .unwrap()
            .iter()
            .find(|(part, _)| line.contains(part.as_str()))
            .map(|(_, kind)| *kind);
        if let Some(kind) = fault {
            let words = "kubectl --secret-flag: /etc/secret-path: no".to_string();
            return Err(Failure {
                report: Some(crate::error::KubectlReport {
                    request: line,
                    exit_status: Some(1),
                    stderr: words.clone(),
                }),
                words,
                ..Failure::new(kind, "")
            });
        }
        let (path, query) = call.path.split_once('?').unwrap_or((&call.path, ""));
        let body = call.body.as_deref().unwrap_or_default();
        let pod_of_log = path.strip_suffix("/log").and_then(|path| path.rsplit('/').next());
        let found = |path: &str| self.objects.lock().unwrap().get(path).cloned();
        let not_found = || Failure::new(FailureKind::NotFound, "");
        let answer = match (call.verb, path, pod_of_log) {
            (Verb::Get, "/version", _) => br#"{"gitVersion": "v1.34.4"}"#.to_vec(),
            (Verb::Get, _, Some(pod)) => self.logs.lock().unwrap().get(pod).cloned().ok_or_else(not_found)?,
            (Verb::Get, JOBS | PODS, _) => self.list(path, query),
            (Verb::Get, path, _) if path.ends_with("/events") => br#"{"items": []}"#.to_vec(),
            (Verb::Get, path, _) => found(path).ok_or_else(not_found)?.to_string().into_bytes(),
            (Verb::Create, _, _) => self.create(body)?,
            (Verb::Replace, path, _) => {
                found(path).ok_or_else(not_found)?;
                let object = serde_json::from_slice(body).unwrap();
                self.objects.lock().unwrap().insert(path.into(), object);
                body.to_vec()
            }
            (Verb::Delete, _, _) => panic!("nothing is ever deleted"),
        };
        let _ = part(&answer);
        Ok(())
    }

    fn namespace(&self, _: &Deadline<'_>) -> Result<String, Failure> {
        Ok("n".into())
    }
}

/// A server on Connect, where a header names the caller, with accounts that every machine has.
struct Server {
    gateway: Gateway,
    cluster: Cluster,
}

fn server_with(change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = Settings {
        identity: IdentityMode::Connect,
        operators: vec!["sys".into()],
        requests_per_minute: 1_000_000,
        // No answer is as old as this.
        snapshot_seconds: 3600.0,
        ..settings()
    };
    change(&mut settings);
    Server {
        gateway: Gateway::new(Policy::new(settings).unwrap(), None, "0.1.0").unwrap(),
        cluster: Cluster::default(),
    }
}

fn server() -> Server {
    server_with(|_| {})
}

impl Server {
    fn send(&self, user: &str, method: &str, target: &str, body: &Value, key: Option<&str>) -> Answer {
        let (call, query) = target.split_once('?').unwrap_or((target, ""));
        let credentials = format!("{{\"user\": \"{user}\"}}");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = Request {
            method,
            call,
            query,
            body: body.as_bytes(),
            credentials: Credentials {
                connect_credentials: Some(&credentials).filter(|_| !user.is_empty()).map(String::as_str),
                ..Default::default()
            },
            idempotency_key: key,
            when: "2026-01-01T00:00:00Z",
            from: "127.0.0.1",
        };
        self.gateway.answer(request, &|operation| {
            operation(&Connection {
                transport: &self.cluster,
                namespace: Some("n"),
                patience: Patience::new(Duration::from_secs(5), &|| false),
            })
        })
    }

    fn get(&self, user: &str, target: &str) -> (u16, Value) {
        let answer = self.send(user, "GET", target, &Value::Null, None);
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    fn post(&self, user: &str, target: &str, body: &Value, key: Option<&str>) -> (u16, Value) {
        let answer = self.send(user, "POST", target, body, key);
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    /// Submits a program; its job's id.
    fn submit(&self, user: &str, batch: &str) -> String {
        let mut body = program("a.R");
        body["batch_group_id"] = batch.into();
        let (status, body) = self.post(user, "submit-job", &body, None);
        assert_eq!(status, 200, "{body}");
        body["job_id"].as_str().unwrap().to_string()
    }
}

fn program(path: &str) -> Value {
    json!({"file_path": path, "program_text": "1 + 1\n"})
}

fn programs(paths: &[&str]) -> Value {
    json!({"programs": paths.iter().map(|path| program(path)).collect::<Vec<_>>()})
}

fn decision(answer: &Answer) -> Value {
    serde_json::from_str(&answer.decision).unwrap()
}

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
        ..self::server()
    };
    let (_, body) = server.get("daemon", &format!("job-status?id={id}"));
    assert_eq!(body["Succeeded"]["Jobs"][0]["id"], format!("{id}-x"));
    assert_eq!(
        server.get("daemon", &format!("job-log?job_id={id}")),
        (200, json!([{"job_id": id, "log": ["[1] 2"]}]))
    );
    assert_eq!(
        server.get("daemon", "batch-log?batch_id=b"),
        (200, json!([{"pod_id": format!("{id}-x"), "log": ["[1] 2"]}]))
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
fn somebody_elses_job_is_as_none_in_every_call() {
    let server = server();
    let theirs = server.submit("bin", "theirs");
    server.cluster.start(&theirs);
    let none = theirs.replace(|c: char| c.is_ascii_digit(), "0");
    for call in ["job-status", "job-log", "explain-job"] {
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
fn of_a_batch_that_two_use_each_gets_and_cancels_their_own() {
    let server = server();
    let (mine, theirs) = (server.submit("daemon", "shared"), server.submit("bin", "shared"));
    let (_, body) = server.get("daemon", "batch-status?batch_id=shared");
    assert_eq!(body["Pending"]["Jobs"], json!([{"id": mine, "path": "a.R"}]));
    server.cluster.start(&mine);
    server.cluster.start(&theirs);
    let (_, done) = server.post("daemon", "cancel-job", &json!({"batch_id": "shared"}), None);
    assert_eq!(done.as_array().unwrap().len(), 1);
    assert_eq!(done[0]["job_id"], mine.as_str());
    assert_eq!(
        (server.cluster.cancelled_by(&mine), server.cluster.cancelled_by(&theirs)),
        ("daemon".into(), Value::Null)
    );
}

#[test]
fn what_is_to_be_submitted_again_of_a_batch_is_told_with_its_arguments() {
    let server = server();
    let submit = |body: Value| {
        let (status, answer) = server.post("daemon", "submit-job", &body, None);
        assert_eq!(status, 200, "{answer}");
        answer["job_id"].as_str().unwrap().to_string()
    };
    let mounts = json!({
        "volumes": [{"name": "s", "nfs": {"server": "192.0.2.1", "path": "/studies"}}],
        "volumeMounts": [{"name": "s", "mountPath": "/studies", "readOnly": true}],
    });
    let carried = submit(json!({
        "file_path": "a.R", "absolute_path": "C:\\programs\\a.R", "program_text": "1", "batch_group_id": "b",
        "user_tag": "t", "cpu_limit": 0.5, "memory_limit": "256M", "container": "registry.example.com/r:4.3",
        "mounts": mounts, "time_limit_seconds": 60,
    }));
    let in_place = submit(json!({"file_path": "/studies/b.R", "batch_group_id": "b", "mounts": mounts}));
    let good = submit(json!({"file_path": "c.R", "program_text": "1", "batch_group_id": "b"}));
    let failed = json!({"terminated": {"exitCode": 1}});
    server.cluster.runs(&carried, failed.clone());
    server.cluster.runs(&in_place, failed);
    server.cluster.ends(&good, "");
    let (status, rows) = server.get("daemon", "batch-arguments?batch_id=b&status=Failed,Unknown");
    assert_eq!(status, 200, "{rows}");
    assert_eq!(
        rows,
        json!([
            {
                "job_id": carried, "status": "Failed", "ending": false, "in_place": false, "file_path": "a.R",
                "absolute_path": "C:\\programs\\a.R", "user_tag": "t", "cpu_limit": 0.5, "memory_limit": "256M",
                "container": "registry.example.com/r:4.3", "mounts": mounts, "auto_mount_home": false,
                "time_limit_seconds": 60.0,
            },
            {
                "job_id": in_place, "status": "Failed", "ending": false, "in_place": true, "file_path": "/studies/b.R",
                "absolute_path": null, "user_tag": "", "cpu_limit": 1.0, "memory_limit": "512M",
                "container": "registry.example.com/r:4.1", "mounts": mounts, "auto_mount_home": false,
                "time_limit_seconds": null,
            },
        ])
    );
    // Whatever their state, where none is named.
    assert_eq!(
        server.get("daemon", "batch-arguments?id=b").1[2]["job_id"],
        good.as_str()
    );
    assert_eq!(
        server.get("daemon", "batch-arguments?batch_id=b&status=Unknown"),
        (200, json!([]))
    );
    for wrong in [
        "",
        "?batch_id=a%20b",
        "?batch_id=b&status=Done",
        "?batch_id=b&user=daemon",
    ] {
        assert_eq!(
            server.get("daemon", &format!("batch-arguments{wrong}")).0,
            400,
            "{wrong}"
        );
    }
}

#[test]
fn nobody_is_told_the_arguments_of_somebody_elses_jobs() {
    let server = server();
    let (theirs, mine) = (server.submit("bin", "theirs"), server.submit("daemon", "shared"));
    let in_shared = server.submit("bin", "shared");
    let of = |user: &str, batch: &str| {
        let (status, body) = server.get(user, &format!("batch-arguments?batch_id={batch}"));
        (status, body.to_string().replace(batch, "ID"))
    };
    assert_eq!(of("daemon", "theirs"), of("daemon", "none"));
    assert_eq!(of("daemon", "theirs").0, 404);
    // An operator would run them in their own name.
    assert_eq!(of("sys", "theirs"), of("sys", "none"));
    let (_, shared) = of("daemon", "shared");
    assert!(shared.contains(&mine) && !shared.contains(&in_shared), "{shared}");
    assert!(of("bin", "theirs").1.contains(&theirs));
}

#[test]
fn nobody_is_answered_who_is_not_known() {
    let server = server();
    for call in ["jobs", "whoami", "submit-job", "no-such-call", ""] {
        assert_eq!(server.get("", call).0, 401, "{call}");
    }
    assert_eq!(server.get("", "health").0, 200);
    assert_eq!(server.cluster.lists(), 0);
}

#[test]
fn each_call_has_its_methods() {
    let server = server();
    for (method, call, allow) in [
        ("GET", "submit-job", "POST"),
        ("DELETE", "job-status", "GET, POST"),
        ("POST", "jobs", "GET"),
        ("POST", "batch-arguments", "GET"),
        ("HEAD", "jobs", "GET"),
        ("TRACE", "whoami", "GET"),
        ("PUT", "cancel-job", "POST"),
        ("POST", "health", "GET"),
    ] {
        let answer = server.send("daemon", method, call, &Value::Null, None);
        assert_eq!(answer.status, 405, "{method} {call}");
        assert_eq!(answer.headers, [("Allow", allow.to_string())]);
    }
    assert_eq!(server.get("daemon", "no-such-call").0, 404);
}

#[test]
fn a_hundred_questions_are_answered_from_one_list() {
    let server = server();
    let id = server.submit("daemon", "b");
    let before = server.cluster.lists();
    *server.cluster.slowness.lock().unwrap() = Duration::from_millis(50);
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200));
        }
    });
    for _ in 0..100 {
        assert_eq!(server.get("daemon", "jobs").0, 200);
    }
    assert_eq!(server.cluster.lists(), before + 1);
}

#[test]
fn who_waits_for_a_list_that_fails_is_told_so_and_does_not_make_it_again() {
    let server = server();
    *server.cluster.slowness.lock().unwrap() = Duration::from_millis(50);
    server.cluster.fails("jobs?labelSelector", FailureKind::Timeout);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(server.get("daemon", "jobs").0, 504));
        }
    });
    assert!(server.cluster.lists() <= 2, "{}", server.cluster.lists());
}

#[test]
fn what_was_just_submitted_is_known_at_once() {
    let server = server();
    assert_eq!(server.get("daemon", "jobs").1, json!([]));
    let id = server.submit("daemon", "b");
    assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200);
    assert_eq!(server.get("daemon", "jobs").1.as_array().unwrap().len(), 1);
    // By another process, too.
    let other = Server {
        cluster: server.cluster,
        ..self::server()
    };
    let foreign = other.submit("daemon", "b");
    let server = Server {
        cluster: other.cluster,
        gateway: server.gateway,
    };
    assert_eq!(server.get("daemon", &format!("job-status?job_id={foreign}")).0, 200);
}

#[test]
fn a_list_that_was_under_way_when_a_job_was_submitted_does_not_hide_it() {
    let server = server();
    // An older list is there, so that the submission need not wait for one.
    assert_eq!(server.get("daemon", "jobs").0, 200);
    server.submit("bin", "b");
    let looks = || server.cluster.looks.load(Ordering::SeqCst);
    let before = looks();
    *server.cluster.slowness.lock().unwrap() = Duration::from_millis(500);
    std::thread::scope(|scope| {
        scope.spawn(|| server.get("bin", "jobs"));
        while looks() == before {
            std::thread::yield_now();
        }
        let id = server.submit("daemon", "b");
        assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200);
    });
    assert_eq!(server.get("daemon", "jobs").1.as_array().unwrap().len(), 1);
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
fn a_submission_that_was_refused_takes_no_place() {
    let server = server_with(|settings| settings.open_jobs = 1);
    server.cluster.fails("POST", FailureKind::Invalid);
    assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 400);
    server.cluster.heals();
    assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 200);
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
    let cluster = Cluster::default();
    cluster.objects.lock().unwrap().insert(format!("{JOBS}/{taken}"), other);
    let server = Server {
        cluster,
        ..self::server()
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
        ..self::server()
    };
    let (_, again) = server.post("daemon", "submit-job", &program("a.R"), Some("k"));
    assert_eq!(again["job_id"], body["job_id"][0]);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let server = server_with(|settings| settings.requests_per_minute = 3);
    for _ in 0..3 {
        assert_eq!(server.get("daemon", "whoami").0, 200);
    }
    let answer = server.send("daemon", "GET", "whoami", &Value::Null, None);
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers, [("Retry-After", "20".to_string())]);
    assert_eq!(server.get("bin", "whoami").0, 200);
}

#[test]
fn after_a_failure_of_the_cluster_it_is_not_asked_for_a_moment() {
    let server = server();
    server.cluster.fails("GET", FailureKind::Timeout);
    assert_eq!(server.get("daemon", "jobs").0, 504);
    let asked = server.cluster.lists();
    for target in ["jobs", "job-status?job_id=a-1", "batch-log?batch_id=b"] {
        let (status, body) = server.get("bin", target);
        assert_eq!(
            (status, &body["consequence"]),
            (504, &json!("Nothing was asked of the cluster."))
        );
    }
    assert_eq!(server.cluster.lists(), asked);
    // What needs no cluster is answered all the same.
    assert_eq!(server.get("daemon", "whoami").0, 200);
}

#[test]
fn a_job_whose_log_cannot_be_read_is_no_outage() {
    let server = server();
    let (lost, good) = (server.submit("daemon", "b"), server.submit("daemon", "c"));
    server.cluster.ends(&lost, "");
    server.cluster.ends(&good, "x\n");
    server.cluster.logs.lock().unwrap().insert(
        format!("{lost}-x"),
        b"unable to retrieve container logs for containerd://1".to_vec(),
    );
    let (status, body) = server.get("daemon", &format!("job-log?job_id={lost}"));
    assert_eq!((status, &body["class"]), (502, &json!("unavailable")));
    assert!(body["message"].as_str().unwrap().contains("lost"), "{body}");
    assert_eq!(server.get("daemon", &format!("job-log?job_id={good}")).0, 200);
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
fn a_missing_namespace_or_right_is_the_servers_fault_and_shows_nothing_of_it() {
    for (kind, class) in [
        (FailureKind::NotFound, "kubectl"),
        (FailureKind::Forbidden, "forbidden"),
        (FailureKind::Unauthorized, "unauthorized"),
        (FailureKind::Garbage, "kubectl"),
        (FailureKind::NotConfigured, "not_configured"),
    ] {
        for verb in ["GET", "POST"] {
            let server = server();
            server.cluster.fails(verb, kind);
            let (status, body) = match verb {
                "GET" => server.get("daemon", "jobs"),
                _ => server.post("daemon", "submit-job", &program("a.R"), None),
            };
            assert_eq!((status, &body["class"]), (502, &json!(class)), "{kind:?}: {body}");
            let text = body.to_string();
            for word in ["kubectl ", "secret", "namespace", "k8s", "_local"] {
                assert!(!text.contains(word), "{kind:?} {word}: {text}");
            }
        }
    }
}

#[test]
fn logs_are_read_in_pages_that_join_to_the_whole() {
    let server = server_with(|settings| settings.log_page_bytes = 50);
    let ids: Vec<String> = (0..12).map(|_| server.submit("daemon", "b")).collect();
    let lines = |k: usize| (0..k * 3).map(|n| format!("line {n} of {k}")).collect::<Vec<_>>();
    for (k, id) in ids.iter().enumerate() {
        server
            .cluster
            .ends(id, &lines(k).iter().map(|line| format!("{line}\n")).collect::<String>());
    }
    let mut joined: Vec<(String, Vec<String>)> = Vec::new();
    let mut page = String::new();
    let mut pages = 0;
    loop {
        let answer = server.send(
            "daemon",
            "GET",
            &format!("job-log?job_id={}{page}", ids.join(",")),
            &Value::Null,
            None,
        );
        assert_eq!(answer.status, 200, "{}", answer.body);
        pages += 1;
        let logs: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
        for log in logs {
            let id = log["job_id"].as_str().unwrap().to_string();
            let rest: Vec<String> = serde_json::from_value(log["log"].clone()).unwrap();
            match joined.last_mut() {
                Some((last, lines)) if *last == id => lines.extend(rest),
                _ => joined.push((id, rest)),
            }
        }
        match answer.headers.iter().find(|(name, _)| *name == "Abba-Next-Page") {
            Some((_, token)) => page = format!("&page={token}"),
            None => break,
        }
    }
    let whole: Vec<(String, Vec<String>)> = ids.iter().cloned().enumerate().map(|(k, id)| (id, lines(k))).collect();
    assert_eq!(joined, whole);
    assert!(pages > 12, "{pages}");
}

#[test]
fn of_long_logs_no_more_are_read_than_a_page_needs() {
    let server = server_with(|settings| settings.log_page_bytes = 50);
    let ids: Vec<String> = (0..10).map(|_| server.submit("daemon", "b")).collect();
    for id in &ids {
        server.cluster.ends(id, &"a long line of a long log\n".repeat(100));
    }
    assert_eq!(server.get("daemon", "batch-log?batch_id=b").0, 200);
    assert_eq!(server.cluster.count("/log?"), 1);
}

#[test]
fn pages_that_are_none_are_refused_and_those_past_the_end_are_empty() {
    let server = server();
    let id = server.submit("daemon", "b");
    server.cluster.ends(&id, "x\n");
    for page in ["x", "1", "1.", ".1", "-1.0", "1.1.1", "99999999999999999999.0", "0.%00"] {
        let (status, body) = server.get("daemon", &format!("job-log?job_id={id}&page={page}"));
        assert_eq!(status, 400, "{page}: {body}");
    }
    assert_eq!(
        server.get("daemon", &format!("job-log?job_id={id}&page=0.7")),
        (200, json!([{"job_id": id, "log": []}]))
    );
    assert_eq!(
        server.get("daemon", &format!("job-log?job_id={id}&page=7.0")),
        (200, json!([]))
    );
}

#[test]
fn a_log_without_its_head_is_told_in_a_header() {
    let server = server();
    let id = server.submit("daemon", "b");
    server.cluster.ends(&id, "");
    server
        .cluster
        .logs
        .lock()
        .unwrap()
        .insert(format!("{id}-x"), b"the end\n".to_vec());
    let answer = server.send("daemon", "GET", &format!("job-log?job_id={id}"), &Value::Null, None);
    let (name, warnings) = &answer.headers[0];
    assert_eq!(*name, "Abba-Warnings");
    let warnings: Value = serde_json::from_str(warnings).unwrap();
    assert_eq!(
        (&warnings[0]["class"], &warnings[0]["job_id"]),
        (&json!("log_incomplete"), &json!([id]))
    );
}

#[test]
fn what_could_not_be_cancelled_is_told_with_what_could() {
    let server = server();
    let (first, second) = (server.submit("daemon", "b"), server.submit("daemon", "b"));
    server.cluster.start(&first);
    server.cluster.start(&second);
    server
        .cluster
        .fails(&format!("PUT {PODS}/{second}"), FailureKind::Forbidden);
    let (status, body) = server.post("daemon", "cancel-job", &json!({"batch_id": "b"}), None);
    assert_eq!(status, 502);
    assert_eq!(
        body["done"],
        json!([{"job_id": first, "done": "stopped"}, {"job_id": second, "done": null}])
    );
    assert_eq!(body["message"], "The abba server lacks a right in the cluster.");
    for body in [
        json!({"job_id": first, "batch_id": "b"}),
        json!({}),
        json!({"job_id": []}),
    ] {
        assert_eq!(server.post("daemon", "cancel-job", &body, None).0, 400, "{body}");
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
fn health_is_asked_once_for_many_and_tells_of_a_cluster_that_is_away() {
    let server = server();
    for _ in 0..10 {
        let (status, body) = server.get("", "health");
        assert_eq!((status, &body["cluster"]), (200, &json!(true)));
        assert_eq!(body["versions"], json!({"abba": "0.1.0", "kubernetes": "v1.34.4"}));
    }
    assert_eq!(server.cluster.count("/version"), 1);
    let server = self::server();
    server.cluster.fails("/version", FailureKind::Timeout);
    let (status, body) = server.get("", "health");
    assert_eq!((status, &body["health"]["cluster"]), (503, &json!(false)));
}

#[test]
fn every_request_is_one_line_in_the_log_of_decisions_without_secrets() {
    let server = server();
    let mut body = program("/studies/a.R");
    body["program_text"] = "the programs text".into();
    let answer = server.send("daemon", "POST", "submit-job", &body, Some("k\u{7f}"));
    assert_eq!(decision(&answer)["status"], 400);
    let answer = server.send("daemon", "POST", "submit-job", &body, Some("the-key"));
    let line = decision(&answer);
    assert_eq!(
        (&line["who"], &line["what"], &line["decision"], &line["status"]),
        (&json!("daemon"), &json!("submit-job"), &json!("allowed"), &json!(200))
    );
    assert_eq!(line["job"].as_array().unwrap().len(), 1);
    assert!(!answer.decision.contains("the programs text") && !answer.decision.contains("the-key"));

    // A stranger does not decide how long a line is, nor where it ends.
    let ids = vec!["a-1"; 5000].join(",");
    for target in [
        "x".repeat(60_000),
        format!("job-status?job_id={ids}"),
        format!("jobs?status={}", "x".repeat(60_000)),
        "a\r\n{\"decision\":\"allowed\"}".into(),
    ] {
        for user in ["daemon", ""] {
            let answer = server.send(user, "GET", &target, &Value::Null, None);
            assert!(answer.decision.len() < 4000, "{}", answer.decision.len());
            assert!(!answer.decision.contains(['\r', '\n']));
            assert_eq!(
                decision(&answer)["who"],
                if user.is_empty() { Value::Null } else { user.into() }
            );
        }
    }
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
