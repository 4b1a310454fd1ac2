//! The API calls that abba uses, each as a function.
//!
//! Reads are tried again while the failure may heal; a create is tried again under the same name, so that however often
//! its answer is lost there is one Job; a delete is tried again for the very Job that was seen, and no other of its name.

mod attempts;
mod create;
mod delete;
#[cfg(test)]
mod fuzz;
mod lease;
mod lines;
mod list;
mod log;
mod queue;
mod reflect;
mod review;
#[cfg(test)]
mod scripted;
mod selection;
mod update;
mod watch;

pub use create::{CreateFailure, Created};
pub use delete::{DeleteFailure, Deletion};
pub use lease::{Lease, LEASE_SECONDS};
pub use list::Listed;
pub use log::LogQuestion;
pub use reflect::{Reflected, ALL, REFLECT_SECONDS};
pub use selection::LabelSelector;
pub use update::Resource;

use attempts::{Attempts, LONGEST_PAUSE};
use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};
use serde::de::DeserializeOwned;

use super::objects::Pod;
use crate::error::KubectlReport;
use crate::transport::{is_whole_page, Call, Deadline, Failure, FailureKind, Patience, Transport};

/// What stays as it is in a query's value (RFC 3986, unreserved).
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The API of one cluster, in one namespace.
pub struct Api<'a> {
    transport: &'a dyn Transport,
    namespace: String,
    patience: Patience<'a>,
}

/// The user wants to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stopped;

impl<'a> Api<'a> {
    /// The API as `transport` reaches it. Without a namespace it is the one that the user's configuration names.
    /// `patience` is the limit of each call.
    pub fn new(transport: &'a dyn Transport, namespace: Option<&str>, patience: Patience<'a>) -> Result<Self, Failure> {
        let namespace = match namespace {
            Some(namespace) => namespace.to_string(),
            None => transport.namespace(&patience.deadline())?,
        };
        Ok(Self {
            transport,
            namespace,
            patience,
        })
    }

    /// How it is reached, for [`Self::in_namespace`] in another thread.
    pub fn transport(&self) -> &'a dyn Transport {
        self.transport
    }

    /// The API in a namespace that is known.
    pub fn in_namespace(transport: &'a dyn Transport, namespace: &str, patience: Patience<'a>) -> Self {
        Self {
            transport,
            namespace: namespace.to_string(),
            patience,
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn jobs(&self) -> String {
        format!("/apis/batch/v1/namespaces/{}/jobs", self.namespace)
    }

    fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }

    /// One pod.
    pub fn get_pod(&self, name: &str) -> Result<Pod, Failure> {
        self.read(&Call::get(format!("{}/{name}", self.pods())))
    }

    fn read<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failure> {
        parse(call, &self.read_bytes(call)?)
    }

    fn read_bytes(&self, call: &Call) -> Result<Vec<u8>, Failure> {
        self.read_with(|deadline| self.transport.send(call, deadline))
    }

    /// Reads, and again while the failure may heal.
    fn read_with<T>(&self, read: impl Fn(&Deadline<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let deadline = self.patience.deadline();
        let mut attempts = Attempts::new(self.transport, deadline, LONGEST_PAUSE);
        loop {
            match read(&deadline) {
                Err(failure) if failure.kind.is_transient() => attempts.wait_after(failure)?,
                outcome => return outcome.map_err(|failure| attempts.with_last_words(failure)),
            }
        }
    }
}

/// Reads the answer to a call.
fn parse<T: DeserializeOwned>(call: &Call, answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| unreadable(call, answer, &error))
}

/// The failure for an answer that cannot be read. `beginning` is the answer, or its first part.
fn unreadable(call: &Call, beginning: &[u8], error: &serde_json::Error) -> Failure {
    let is_page = is_whole_page(beginning);
    // kubectl asks so where its configuration has no login, and goes on with none.
    let asks = beginning.starts_with(b"Please enter ");
    let beginning: String = String::from_utf8_lossy(beginning).chars().take(200).collect();
    // It may quote a text of the answer, however long that is.
    let error: String = error.to_string().chars().take(200).collect();
    let failure = garbage(
        call,
        format!("The answer cannot be read ({error}); it begins: {beginning:?}"),
    );
    Failure {
        kind: match (is_page, asks) {
            (true, _) => FailureKind::Page,
            (_, true) => FailureKind::Unauthorized,
            _ => failure.kind,
        },
        ..failure
    }
}

/// The failure for an answer that is none to this call.
fn garbage(call: &Call, details: String) -> Failure {
    Failure {
        report: Some(KubectlReport {
            request: call.request_line(),
            ..Default::default()
        }),
        ..Failure::new(FailureKind::MalformedResponse, details)
    }
}

fn encode(value: &str) -> String {
    utf8_percent_encode(value, QUERY_VALUE).to_string()
}

#[cfg(test)]
mod tests {
    use super::scripted::{failure, patience, Script};
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_read_is_told_shortened() {
        let answer = format!("{{\"items\": \"{}\"}}", "é".repeat(10_000));
        let failure = parse::<crate::kubernetes::objects::List<Pod>>(&Call::get("/x"), answer.as_bytes()).unwrap_err();
        let details = failure.details.unwrap();
        assert!(details.len() < 2000 && details.contains("invalid type"), "{details}");
    }

    #[test]
    fn a_read_heals_by_itself() {
        let list = || Ok(br#"{"items": []}"#.to_vec());
        let script = Script::new([
            failure(FailureKind::Refused),
            failure(FailureKind::TooManyRequests),
            list(),
        ]);
        let api = Api::new(&script, None, patience()).unwrap();
        assert!(api.list_pods(&LabelSelector::Jobs(&["a-1"])).unwrap().items.is_empty());
        assert_eq!(
            script.calls.lock().unwrap()[0].path,
            "/api/v1/namespaces/from-configuration/pods?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dabba%2Cabba%2Fjob-id%20in%20%28a-1%29"
        );
    }
}
