//! A server of the abba API with a cluster that is played, for tests.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;
use serde_json::{json, Value};

use super::bounds::Bounds;
use super::description;
use super::headers::Headers;
use super::policy::tests::settings;
use super::policy::{IdentityMode, Settings};
use super::{Gateway, KeySource, Policy, Request, Response};
use crate::domain::order;
use crate::operations::Connection;
use crate::transport::{Call, Deadline, Failure, FailureKind, Patience, Transport, Verb};

/// A cluster that holds objects by their paths.
#[derive(Default)]
pub struct Cluster {
    pub objects: Mutex<BTreeMap<String, Value>>,
    pub leases: Mutex<BTreeMap<String, Value>>,
    pub logs: Mutex<BTreeMap<String, Vec<u8>>>,
    pub calls: Mutex<Vec<String>>,
    events: Mutex<Vec<Value>>,
    /// How calls whose request line holds the text fail.
    faults: Mutex<Vec<(String, FailureKind)>>,
    /// Calls whose request line holds one of these are not answered.
    held: Mutex<Vec<String>>,
    clock: AtomicUsize,
    is_to_panic: AtomicBool,
    /// How long the answer to a LIST of Jobs is on its way.
    pub slowness: Mutex<Duration>,
    /// How often the Jobs were looked at for a LIST.
    pub looks: AtomicUsize,
    /// The objects at each moment that a LIST or a watch has named.
    moments: Mutex<Vec<BTreeMap<String, Value>>>,
    /// How many moments there were before those: the cluster was set up anew where it is less than before.
    first_moment: AtomicUsize,
    /// Whether watches show nothing of what happens.
    holds_events: AtomicBool,
    /// How often all streams were broken.
    breaks: AtomicUsize,
}

pub const JOBS: &str = "/apis/batch/v1/namespaces/n/jobs";
pub const PODS: &str = "/api/v1/namespaces/n/pods";

impl Cluster {
    pub fn fails(&self, part: &str, kind: FailureKind) {
        self.faults.lock().unwrap().push((part.into(), kind));
    }

    /// Does not answer calls whose request line holds the text until [`Self::lets_go`].
    pub fn holds(&self, part: &str) {
        self.held.lock().unwrap().push(part.into());
    }

    pub fn lets_go(&self) {
        self.held.lock().unwrap().clear();
    }

    /// Whether watches show nothing of what happens from now on.
    pub fn holds_events(&self, holds: bool) {
        // No watch is about to show what comes after this.
        let _objects = self.objects.lock().unwrap();
        self.holds_events.store(holds, Ordering::SeqCst);
    }

    pub fn panics_at_next_create(&self) {
        self.is_to_panic.store(true, Ordering::SeqCst);
    }

    pub fn heals(&self) {
        self.faults.lock().unwrap().clear();
    }

    pub fn count(&self, part: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| call.contains(part)).count()
    }

    /// Breaks all watches that are open.
    pub fn breaks_streams(&self) {
        self.breaks.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts its moments from there on.
    pub fn begins_at(&self, moment: usize) {
        self.first_moment.store(moment, Ordering::SeqCst);
    }

    /// Forgets all objects and begins to count its moments anew.
    pub fn is_set_up_anew(&self) {
        self.objects.lock().unwrap().clear();
        self.moments.lock().unwrap().clear();
        self.first_moment.store(0, Ordering::SeqCst);
        self.breaks_streams();
    }

    /// How many LISTs of all objects of a kind were asked for.
    pub fn whole_lists(&self, kind: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        let is_list = |call: &&String| {
            let call = call.trim_end_matches("&limit=500");
            call.contains(&format!("/{kind}?labelSelector")) && call.ends_with("managed-by%3Dabba")
        };
        calls.iter().filter(is_list).count()
    }

    /// Names the moment.
    fn moment(&self, objects: BTreeMap<String, Value>) -> usize {
        let mut moments = self.moments.lock().unwrap();
        moments.push(objects);
        self.first_moment.load(Ordering::SeqCst) + moments.len()
    }

    /// What happens to the objects of a collection after a moment, until the stream is broken or nobody wants it.
    fn watch(
        &self,
        collection: &str,
        query: &str,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let breaks = self.breaks.load(Ordering::SeqCst);
        let from = query
            .split('&')
            .find_map(|field| field.strip_prefix("resourceVersion="));
        let from: usize = from.unwrap().parse().unwrap();
        let then = from.checked_sub(self.first_moment.load(Ordering::SeqCst) + 1);
        let Some(mut then) = then.and_then(|place| self.moments.lock().unwrap().get(place).cloned()) else {
            return Err(Failure::new(FailureKind::Other, "too old resource version"));
        };
        let _ = part(b"");
        while self.breaks.load(Ordering::SeqCst) == breaks {
            let now = {
                let objects = self.objects.lock().unwrap();
                match self.holds_events.load(Ordering::SeqCst) {
                    true => then.clone(),
                    false => objects.clone(),
                }
            };
            if now != then {
                let moment = self.moment(now.clone()).to_string();
                let event = |kind: &str, object: &Value| {
                    let mut object = object.clone();
                    object["metadata"]["resourceVersion"] = moment.clone().into();
                    format!("{}\n", json!({"type": kind, "object": object}))
                };
                let is_meant = |path: &&String| path.starts_with(collection);
                let mut text = String::new();
                for path in then.keys().filter(is_meant).filter(|path| !now.contains_key(*path)) {
                    text += &event("DELETED", &then[path]);
                }
                for path in now.keys().filter(is_meant) {
                    match then.get(path) {
                        Some(before) if *before == now[path] => {}
                        Some(_) => text += &event("MODIFIED", &now[path]),
                        None => text += &event("ADDED", &now[path]),
                    }
                }
                then = now;
                if part(text.as_bytes()).is_break() {
                    return Ok(());
                }
            }
            if deadline.is_interrupted() {
                return Err(Failure::new(FailureKind::Interrupted, ""));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Failure::new(FailureKind::Unreachable, "unexpected EOF"))
    }

    pub fn lists(&self) -> usize {
        self.count("pods?labelSelector")
    }

    pub fn job(&self, job_id: &str) -> Value {
        self.objects.lock().unwrap()[&format!("{JOBS}/{job_id}")].clone()
    }

    /// Lets a job go that waits for others, as a controller does.
    pub fn releases(&self, job_id: &str) {
        let mut objects = self.objects.lock().unwrap();
        let job = objects.get_mut(&format!("{JOBS}/{job_id}")).unwrap();
        assert!(order::take(job, &order::Step::Release));
    }

    /// Who has cancelled a job that has a pod.
    pub fn cancelled_by(&self, job_id: &str) -> Value {
        self.objects.lock().unwrap()[&format!("{PODS}/{job_id}-x")]["metadata"]["annotations"]["abba/cancelled-by"]
            .clone()
    }

    /// Gives a job a pod in a state of its container, as Kubernetes has it.
    pub fn runs(&self, job_id: &str, state: Value) {
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
        let mut objects = self.objects.lock().unwrap();
        objects.insert(format!("{PODS}/{job_id}-x"), pod);
        if phase == "Failed" {
            let job = objects.get_mut(&format!("{JOBS}/{job_id}")).unwrap();
            job["status"]["conditions"] = json!([{"type": "Failed", "status": "True"}]);
        }
    }

    pub fn ends(&self, job_id: &str, log: &str) {
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

    pub fn start(&self, job_id: &str) {
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
        let objects = self.objects.lock().unwrap().clone();
        let items: Vec<Value> = objects
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
        let moment = self.moment(objects);
        json!({"metadata": {"resourceVersion": moment.to_string()}, "items": items})
            .to_string()
            .into_bytes()
    }

    /// Has the cluster note an event about an object.
    pub fn note(&self, kind: &str, name: &str, reason: &str, message: &str) {
        let event = json!({
            "involvedObject": {"kind": kind, "name": name}, "type": "Warning", "reason": reason, "message": message,
        });
        self.events.lock().unwrap().push(event);
    }

    fn events_of(&self, query: &str) -> Vec<u8> {
        let query = percent_decode_str(query).decode_utf8().unwrap().into_owned();
        let events = self.events.lock().unwrap();
        let is_meant = |event: &&Value| query.contains(event["involvedObject"]["name"].as_str().unwrap());
        let items: Vec<&Value> = events.iter().filter(is_meant).collect();
        json!({"metadata": {}, "items": items}).to_string().into_bytes()
    }

    /// Where objects of this path are.
    fn kept(&self, path: &str) -> &Mutex<BTreeMap<String, Value>> {
        match path.contains("/leases") {
            true => &self.leases,
            false => &self.objects,
        }
    }

    fn create(&self, collection: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        assert!(!self.is_to_panic.swap(false, Ordering::SeqCst), "for the test");
        let mut job: Value = serde_json::from_slice(body).unwrap();
        let path = format!("{collection}/{}", job["metadata"]["name"].as_str().unwrap());
        let mut objects = self.kept(&path).lock().unwrap();
        if objects.contains_key(&path) {
            return Err(Failure::new(FailureKind::AlreadyExists, ""));
        }
        let second = self.clock.fetch_add(1, Ordering::SeqCst);
        job["metadata"]["creationTimestamp"] = format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60).into();
        job["metadata"]["uid"] = format!("00000000-0000-4000-8000-{second:012}").into();
        job["metadata"]["resourceVersion"] = "1".into();
        objects.insert(path, job.clone());
        Ok(job.to_string().into_bytes())
    }
}

impl Transport for Cluster {
    fn stream(
        &self,
        call: &Call,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<String>, Failure> {
        let line = call.request_line();
        // What servers write for each other is no part of what is done.
        let is_of_lease = line.contains("/leases");
        if !is_of_lease {
            self.calls.lock().unwrap().push(line.clone());
        }
        let is_held = || {
            self.held
                .lock()
                .unwrap()
                .iter()
                .any(|part| line.contains(part.as_str()) && (!is_of_lease || part.contains("/leases")))
        };
        while is_held() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let fault = self
            .faults
            .lock()
            .unwrap()
            .iter()
            .find(|(part, _)| line.contains(part.as_str()) && (!is_of_lease || part.contains("/leases")))
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
        if query.starts_with("watch=1") {
            return self.watch(path, query, deadline, part).map(|()| Vec::new());
        }
        let body = call.body.as_deref().unwrap_or_default();
        let pod_of_log = path.strip_suffix("/log").and_then(|path| path.rsplit('/').next());
        let found = |path: &str| self.kept(path).lock().unwrap().get(path).cloned();
        let not_found = || Failure::new(FailureKind::NotFound, "");
        let answer = match (call.verb, path, pod_of_log) {
            (Verb::Get, "/version", _) => br#"{"gitVersion": "v1.34.4"}"#.to_vec(),
            (Verb::Get, _, Some(pod)) => self.logs.lock().unwrap().get(pod).cloned().ok_or_else(not_found)?,
            (Verb::Get, JOBS | PODS, _) => self.list(path, query),
            (Verb::Get, path, _) if path.ends_with("/events") => self.events_of(query),
            (Verb::Get, path, _) => found(path).ok_or_else(not_found)?.to_string().into_bytes(),
            (Verb::Create, path, _) => self.create(path, body)?,
            (Verb::Replace, path, _) => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                let mut objects = self.kept(path).lock().unwrap();
                let there = objects.get(path).ok_or_else(not_found)?;
                if is_of_lease {
                    let version = &there["metadata"]["resourceVersion"];
                    if object["metadata"]["resourceVersion"] != *version {
                        return Err(Failure::new(FailureKind::Conflict, ""));
                    }
                    let next: u64 = version.as_str().unwrap().parse().unwrap();
                    object["metadata"]["resourceVersion"] = (next + 1).to_string().into();
                }
                objects.insert(path.into(), object);
                body.to_vec()
            }
            (Verb::Delete, path, _) => {
                let object = found(path).ok_or_else(not_found)?;
                let options: Value = serde_json::from_slice(body).unwrap();
                if options["preconditions"]["uid"] != object["metadata"]["uid"] {
                    return Err(Failure::new(FailureKind::Conflict, ""));
                }
                let id = path.rsplit('/').next().unwrap_or_default();
                let mut objects = self.objects.lock().unwrap();
                objects.remove(path);
                objects.remove(&format!("{PODS}/{id}-x"));
                br#"{"kind": "Status", "status": "Success"}"#.to_vec()
            }
        };
        let _ = part(&answer);
        Ok(Vec::new())
    }

    fn namespace(&self, _: &Deadline<'_>) -> Result<String, Failure> {
        Ok("n".into())
    }
}

/// What Connect and its content know.
pub const SECRET: &str = "a-secret-of-the-host";

/// A server on Connect, where a header names the caller, with accounts that every machine has.
pub struct Server {
    pub gateway: Gateway,
    pub cluster: Arc<Cluster>,
    /// How long a call to the cluster may take.
    pub patience: Duration,
}

pub fn server_with(change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = Settings {
        identity: IdentityMode::Connect,
        secret: Some(SECRET.into()),
        operators: vec!["sys".into()],
        requests_per_minute: 1_000_000,
        jobs_per_minute: 1_000_000,
        bounds: Bounds {
            requests_at_once: 1000,
            ..Default::default()
        },
        // No answer is as old as this.
        snapshot_seconds: 3600.0,
        ..settings()
    };
    change(&mut settings);
    Server {
        gateway: Gateway::new(Policy::new(settings).unwrap(), KeySource::None, "0.1.0").unwrap(),
        cluster: Arc::default(),
        patience: Duration::from_secs(5),
    }
}

pub fn server() -> Server {
    server_with(|_| {})
}

impl Server {
    pub fn connection(&self) -> Connection<'_> {
        Connection {
            transport: self.cluster.as_ref(),
            namespace: Some("n"),
            patience: Patience::new(self.patience, &|| false),
            log_patterns: &crate::domain::verdict::MESSAGES_OF_R,
            owner: None,
        }
    }

    pub fn send(&self, user: &str, method: &str, target: &str, body: &Value, key: Option<&str>) -> Response {
        self.answer(&request_of(user, method, target, body, key))
    }

    /// Sends a request with these headers and no others.
    pub fn send_bytes(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
        self.answer(&request(method, target, fields, body))
    }

    fn answer(&self, request: &Request) -> Response {
        let answer = self.gateway.answer(request, &|operation| operation(&self.connection()));
        // What the API's description says of each answer is true.
        let body = body_of(&answer);
        let wrong = description::misfits(&request.call, &request.method, answer.status, &body);
        assert!(wrong.is_empty(), "{}: {wrong:?}", request.call);
        answer
    }

    pub fn get(&self, user: &str, target: &str) -> (u16, Value) {
        let answer = self.send(user, "GET", target, &Value::Null, None);
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    pub fn post(&self, user: &str, target: &str, body: &Value, key: Option<&str>) -> (u16, Value) {
        let answer = self.send(user, "POST", target, body, key);
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    /// Submits a program; its job's id.
    pub fn submit(&self, user: &str, batch: &str) -> String {
        let mut body = program("a.R");
        body["batch_group_id"] = batch.into();
        let (status, body) = self.post(user, "submit-job", &body, None);
        assert_eq!(status, 200, "{body}");
        body["job_id"].as_str().unwrap().to_string()
    }
}

/// A request with these headers and no others.
pub fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Request {
    let (call, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method: method.into(),
        call: call.into(),
        query: query.into(),
        body: body.into(),
        headers: Headers::new(fields.iter().map(|(name, value)| ((*name).into(), (*value).into()))),
        when: "2026-01-01T00:00:00Z".into(),
        from: "127.0.0.1".into(),
    }
}

/// What a user sends; `""`: somebody who is not known.
pub fn request_of(user: &str, method: &str, target: &str, body: &Value, key: Option<&str>) -> Request {
    let credentials = json!({"user": user}).to_string();
    let mut fields = vec![("plumber-shared-secret", SECRET)];
    fields.extend((!user.is_empty()).then_some(("rstudio-connect-credentials", credentials.as_str())));
    fields.extend((method == "POST").then_some(("content-type", "application/json")));
    fields.extend(key.map(|key| ("idempotency-key", key)));
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    request(method, target, &fields, body.as_bytes())
}

/// Waits for a condition.
pub fn wait_until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(600));
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn program(path: &str) -> Value {
    json!({"file_path": path, "program_text": "1 + 1\n"})
}

pub fn programs(paths: &[&str]) -> Value {
    json!({"programs": paths.iter().map(|path| program(path)).collect::<Vec<_>>()})
}

/// The body: JSON, or text.
pub fn body_of(answer: &Response) -> Value {
    match answer.headers.iter().any(|(name, _)| *name == "Content-Type") {
        true => answer.body.clone().into(),
        false => serde_json::from_str(&answer.body).unwrap(),
    }
}

pub fn decision(answer: &Response) -> Value {
    serde_json::from_str(&answer.decision).unwrap()
}
