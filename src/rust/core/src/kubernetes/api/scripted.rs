//! A transport for tests.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;

use super::Api;
use crate::transport::{Call, Deadline, Failure, FailureKind, Patience, Transport, Verb};

/// A transport that plays back answers and remembers the calls.
pub(super) struct Script {
    answers: Mutex<VecDeque<Result<Vec<u8>, Failure>>>,
    pub(super) calls: Mutex<Vec<Call>>,
}

impl Script {
    pub(super) fn new(answers: impl IntoIterator<Item = Result<Vec<u8>, Failure>>) -> Self {
        Self {
            answers: Mutex::new(answers.into_iter().collect()),
            calls: Mutex::default(),
        }
    }

    pub(super) fn verbs(&self) -> Vec<Verb> {
        self.calls.lock().unwrap().iter().map(|call| call.verb).collect()
    }
}

impl Transport for Script {
    fn send(&self, call: &Call, _: &Deadline<'_>) -> Result<Vec<u8>, Failure> {
        self.calls.lock().unwrap().push(call.clone());
        self.answers.lock().unwrap().pop_front().expect("one call too many")
    }

    fn stream(
        &self,
        call: &Call,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<String>, Failure> {
        let _ = part(&self.send(call, deadline)?);
        Ok(Vec::new())
    }

    fn namespace(&self, _: &Deadline<'_>) -> Result<String, Failure> {
        Ok("from-configuration".into())
    }
}

pub(super) fn failure(kind: FailureKind) -> Result<Vec<u8>, Failure> {
    Err(Failure::new(kind, "scripted"))
}

/// Time enough, and nobody who wants to stop.
pub(super) fn patience() -> Patience<'static> {
    Patience::new(Duration::from_secs(60), &|| false)
}

pub(super) fn api(script: &Script) -> Api<'_> {
    Api::new(script, Some("n"), patience()).unwrap()
}

pub(super) fn paths(script: &Script) -> Vec<String> {
    script
        .calls
        .lock()
        .unwrap()
        .iter()
        .map(|call| call.path.clone())
        .collect()
}
