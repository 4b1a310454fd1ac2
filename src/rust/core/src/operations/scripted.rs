//! A cluster for tests: it plays back answers and remembers the calls.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{json, Value};

use super::Connection;
use crate::error::KubectlReport;
use crate::transport::{Call, Deadline, Failure, FailureKind, Patience, Transport, Verb};

/// What a call is answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A body.
    Body(Vec<u8>),
    /// A stream of these parts, which then ends as it says.
    Stream(Vec<String>, StreamEnd),
    /// A failure.
    Fails(FailureKind),
    /// What was sent.
    Echo,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug)]
pub enum StreamEnd {
    /// The server closes it.
    Closes,
    /// It stays open, silent, until somebody has enough.
    Stays,
    /// The same, with bookmarks all the time.
    Lives,
    /// It breaks.
    Breaks(FailureKind),
}

/// A transport that answers each call with the next answer of the first rule that fits; the last one is given again. Metadata
/// for which there is no rule are none.
#[derive(Default)]
pub struct Scripted {
    rules: Vec<(Verb, &'static str, Mutex<VecDeque<Answer>>)>,
    calls: Mutex<Vec<Call>>,
}

impl Scripted {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule for reads whose path contains `part`.
    pub fn get(self, part: &'static str, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.on(Verb::Get, part, answers)
    }

    /// Adds a rule.
    pub fn on(mut self, verb: Verb, part: &'static str, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.rules.push((verb, part, Mutex::new(answers.into_iter().collect())));
        self
    }

    /// The paths of the calls so far that contain `part`.
    pub fn paths(&self, part: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .map(|call| call.path.clone())
            .filter(|path| path.contains(part))
            .collect()
    }

    /// The objects that were sent.
    pub fn sent(&self) -> Vec<(String, Value)> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .filter_map(|call| {
                let body = call.body.as_ref()?;
                Some((call.path.clone(), serde_json::from_slice(body).unwrap()))
            })
            .collect()
    }
}

impl Transport for Scripted {
    fn stream(
        &self,
        call: &Call,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<String>, Failure> {
        self.calls.lock().unwrap().push(call.clone());
        let rule = self
            .rules
            .iter()
            .find(|(verb, part, _)| *verb == call.verb && call.path.contains(part));
        let Some((_, _, answers)) = rule else {
            if call.metadata_only {
                let _ = part(br#"{"items": []}"#);
                return Ok(Vec::new());
            }
            panic!("no answer for {}", call.request_line());
        };
        let answer = {
            let mut answers = answers.lock().unwrap();
            match answers.len() {
                1 => answers[0].clone(),
                _ => answers.pop_front().unwrap(),
            }
        };
        let failure = |kind| {
            Err(Failure {
                report: Some(KubectlReport {
                    request: call.request_line(),
                    ..Default::default()
                }),
                ..Failure::new(kind, "scripted")
            })
        };
        match answer {
            Answer::Body(body) => {
                let _ = part(&body);
                Ok(Vec::new())
            }
            Answer::Echo => {
                let _ = part(call.body.as_deref().unwrap_or_default());
                Ok(Vec::new())
            }
            Answer::Fails(kind) => failure(kind),
            Answer::Stream(parts, end) => {
                for text in parts {
                    if part(text.as_bytes()).is_break() {
                        return Ok(Vec::new());
                    }
                }
                match end {
                    StreamEnd::Closes => Ok(Vec::new()),
                    StreamEnd::Breaks(kind) => failure(kind),
                    StreamEnd::Stays | StreamEnd::Lives => loop {
                        if matches!(end, StreamEnd::Lives) && part(event("BOOKMARK", &json!({})).as_bytes()).is_break()
                        {
                            return Ok(Vec::new());
                        }
                        if deadline.is_interrupted() {
                            return failure(FailureKind::Interrupted);
                        }
                        if deadline.has_passed() {
                            return failure(FailureKind::Timeout);
                        }
                        std::thread::sleep(Duration::from_millis(2));
                    },
                }
            }
        }
    }

    fn namespace(&self, _: &Deadline<'_>) -> Result<String, Failure> {
        Ok("n".into())
    }
}

fn never() -> bool {
    false
}

/// A connection whose calls are not tried again, since there is no time for it.
pub fn impatient(cluster: &Scripted) -> Connection<'_> {
    connection(cluster, Duration::from_millis(400))
}

/// A connection with time enough.
pub fn patient(cluster: &Scripted) -> Connection<'_> {
    connection(cluster, Duration::from_secs(60))
}

fn connection(cluster: &Scripted, limit: Duration) -> Connection<'_> {
    Connection {
        transport: cluster,
        namespace: Some("n"),
        patience: Patience::new(limit, &never),
        log_patterns: &crate::domain::verdict::MESSAGES_OF_R,
        owner: None,
    }
}

/// The answer to a LIST at the moment `version`.
pub fn list(version: u32, items: impl IntoIterator<Item = Value>) -> Answer {
    let items: Vec<Value> = items.into_iter().collect();
    Answer::Body(
        json!({"metadata": {"resourceVersion": version.to_string()}, "items": items})
            .to_string()
            .into_bytes(),
    )
}

/// An object as an answer.
pub fn object(object: &Value) -> Answer {
    Answer::Body(object.to_string().into_bytes())
}

/// The pod of a job, created at that second, in a state as `json!({"running": {}})`.
pub fn pod(id: &str, second: u32, state: Value) -> Value {
    json!({
        "metadata": {
            "name": format!("{id}-p"),
            "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            "labels": {"abba/job-id": id},
            "annotations": {"abba/program-path": format!("{id}.R")},
        },
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "", "containerStatuses": [{"name": "program", "image": "r", "state": state}]},
    })
}

/// The Job, created at that second.
pub fn job(id: &str, second: u32) -> Value {
    json!({
        "metadata": {
            "name": id,
            "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            "labels": {"abba/job-id": id, "abba/batch-id": "b", "abba/user": "mike"},
            "annotations": {"abba/program-path": format!("{id}.R")},
        },
    })
}

pub fn running() -> Value {
    json!({"running": {"startedAt": "2026-01-01T00:00:30Z"}})
}

pub fn ended(exit_code: i32) -> Value {
    json!({"terminated": {"exitCode": exit_code, "reason": if exit_code == 0 { "Completed" } else { "Error" }}})
}

pub fn waiting() -> Value {
    json!({"waiting": {"reason": "ContainerCreating"}})
}

/// A line of a watch.
pub fn event(event_type: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": event_type, "object": object}))
}

/// What a watch shows whose moment is too long ago.
pub fn gone() -> String {
    event(
        "ERROR",
        &json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410}),
    )
}

#[test]
fn answers_are_given_in_turn_and_the_last_again() {
    let cluster = Scripted::new().get("/pods", [list(1, []), list(2, [])]);
    let ask = || {
        let answer = cluster.send(&Call::get("/pods"), &Deadline::new(Duration::from_secs(1), &never));
        String::from_utf8(answer.unwrap()).unwrap()
    };
    assert!(ask().contains("\"1\""));
    assert!(ask().contains("\"2\"") && ask().contains("\"2\""));
}
