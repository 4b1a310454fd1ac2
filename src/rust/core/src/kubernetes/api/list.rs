//! Lists of objects.

use std::ops::ControlFlow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::selection::{by_job_name, JOB_NAME};
use super::{encode, unreadable, Api, LabelSelector, Stopped};
use crate::kubernetes::labels;
use crate::kubernetes::list_reader::ListReader;
use crate::kubernetes::objects::{Event, Job, List, Name, Named, Pod};
use crate::transport::{Call, Failure, FailureKind};

/// How many bytes of an answer are kept to show how it begins.
const LONGEST_BEGINNING: usize = 800;

/// A pod with the name of its Job.
struct PodOfJob {
    job_name: String,
    pod: Box<Pod>,
}

impl<'de> Deserialize<'de> for PodOfJob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let labels = &object["metadata"]["labels"];
        let name = labels[JOB_NAME].as_str().or(labels[labels::JOB_ID].as_str());
        Ok(Self {
            job_name: name.unwrap_or_default().to_string(),
            pod: Deserialize::deserialize(object).map_err(serde::de::Error::custom)?,
        })
    }
}

/// What a LIST found.
#[derive(Debug)]
pub struct Listed<T> {
    /// The objects.
    pub items: Vec<T>,
    /// The moment of the LIST.
    pub resource_version: String,
}

impl Api<'_> {
    /// The pods of a selection: in one LIST, as long as its ids fit into one request.
    ///
    /// Each by itself in memory: a list of ten thousand would otherwise be moved as a whole each time it grows.
    pub fn list_pods(&self, selection: &LabelSelector<'_>) -> Result<Listed<Box<Pod>>, Failure> {
        self.list(&self.pods(), selection, Call::get)
    }

    /// The pods of these Jobs with the names of those, also where they have lost abba's labels.
    pub fn list_pods_of_jobs(&self, job_ids: &[&str]) -> Result<Vec<(String, Box<Pod>)>, Failure> {
        let mut found = Vec::new();
        for selector in by_job_name(job_ids) {
            let call = Call::get(format!("{}?labelSelector={}", self.pods(), encode(&selector)));
            found.extend(self.read_list::<PodOfJob>(&call)?.items);
        }
        Ok(found.into_iter().map(|one| (one.job_name, one.pod)).collect())
    }

    /// The Jobs of a selection.
    pub fn list_jobs(&self, selection: &LabelSelector<'_>) -> Result<Listed<Job>, Failure> {
        self.list(&self.jobs(), selection, Call::get)
    }

    /// The metadata of the Jobs of a selection: their names and when they were created. Costs less than the Jobs themselves,
    /// which hold their programs.
    pub fn list_job_names(&self, selection: &LabelSelector<'_>) -> Result<Vec<Name>, Failure> {
        let listed: Listed<Named> = self.list(&self.jobs(), selection, Call::get_metadata)?;
        Ok(listed.items.into_iter().map(|named| named.metadata).collect())
    }

    fn list<T: DeserializeOwned>(
        &self,
        resource: &str,
        selection: &LabelSelector<'_>,
        call: impl Fn(String) -> Call,
    ) -> Result<Listed<T>, Failure> {
        let mut listed = Listed {
            items: Vec::new(),
            resource_version: String::new(),
        };
        for selector in selection.selectors() {
            let path = format!("{resource}?labelSelector={}", encode(&selector));
            let list: List<T> = self.read_list(&call(path))?;
            listed.items.extend(list.items);
            // Of several lists the first: a watch from there sees too much rather than too little.
            if listed.resource_version.is_empty() {
                listed.resource_version = list.metadata.resource_version;
            }
        }
        Ok(listed)
    }

    /// The events about an object, oldest first. `kind` is `Job` or `Pod`.
    pub fn list_events(&self, kind: &str, name: &str) -> Result<Vec<Event>, Failure> {
        self.list_events_with(&format!("involvedObject.kind={kind},involvedObject.name={name}"))
    }

    /// The events of the last hour that tell why a Job's pod could not be made, oldest first.
    pub fn list_refused_pods(&self) -> Result<Vec<Event>, Failure> {
        self.list_events_with("involvedObject.kind=Job,reason=FailedCreate")
    }

    fn list_events_with(&self, selector: &str) -> Result<Vec<Event>, Failure> {
        let path = format!(
            "/api/v1/namespaces/{}/events?fieldSelector={}",
            self.namespace,
            encode(selector)
        );
        let mut events = self.read::<List<Event>>(&Call::get(path))?.items;
        events.sort_by_key(Event::time);
        Ok(events)
    }

    /// The same; nothing where they cannot be had, since they only make a reason clearer.
    pub fn list_events_if_allowed(&self, kind: &str, name: &str) -> Result<Vec<Event>, Stopped> {
        match self.list_events(kind, name) {
            Ok(events) => Ok(events),
            Err(failure) if failure.kind == FailureKind::Interrupted => Err(Stopped),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Reads a list while it arrives: a long one would fill the memory.
    pub(super) fn read_list<T: DeserializeOwned>(&self, call: &Call) -> Result<List<T>, Failure> {
        self.read_with(|deadline| {
            let mut reader = ListReader::new();
            let mut beginning = Vec::new();
            let mut no_list = None;
            self.transport
                .stream(call, deadline, &mut |part| {
                    let missing = LONGEST_BEGINNING.saturating_sub(beginning.len());
                    beginning.extend_from_slice(&part[..missing.min(part.len())]);
                    match reader.push(part) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(error) => {
                            no_list = Some(error);
                            ControlFlow::Break(())
                        }
                    }
                })
                .map_err(unless_it_is_the_servers)?;
            no_list
                .map_or_else(|| reader.finish(), Err)
                .map_err(|error| unreadable(call, &beginning, &error))
        })
    }
}

/// The failure of a LIST of pods or Jobs. Every API server has those, and an empty list of them in any namespace: an answer
/// that there is nothing at such a path is another's, which stands before it and may soon lead there.
fn unless_it_is_the_servers(failure: Failure) -> Failure {
    // kubectl's words for an answer 404 without an error object, and Go's own.
    let no_object = ["the server could not find the requested resource", "HTTP status 404"];
    match failure.kind {
        FailureKind::NotFound if no_object.iter().any(|words| failure.words.contains(words)) => Failure {
            kind: FailureKind::Unreachable,
            ..failure
        },
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{api, failure, paths, Script};
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_asked_for_without_the_objects() {
        let script = Script::new([Ok(br#"{"items": [{"metadata": {"name": "a-1"}}]}"#.to_vec())]);
        let api = api(&script);
        assert_eq!(api.list_job_names(&LabelSelector::Batch("b")).unwrap()[0].name, "a-1");
        let calls = script.calls.lock().unwrap();
        assert!(calls[0].metadata_only);
    }

    #[test]
    fn what_is_no_list_is_not_taken_for_an_empty_one() {
        for answer in ["", "{}", "null", "<html>", "{\"items\": 1}"] {
            let script = Script::new([Ok(answer.as_bytes().to_vec())]);
            let api = api(&script);
            assert_eq!(
                api.list_pods(&LabelSelector::Jobs(&["a-1"])).unwrap_err().kind,
                FailureKind::MalformedResponse,
                "{answer}"
            );
        }
    }

    #[test]
    fn an_answer_404_of_what_stands_before_the_server_heals() {
        for words in [
            "Error from server (NotFound): the server could not find the requested resource",
            "Unable to connect to the server: HTTP status 404: 404 page not found",
        ] {
            let not_found = Failure {
                words: words.to_string(),
                ..Failure::new(FailureKind::NotFound, "")
            };
            let list = Ok(br#"{"items": []}"#.to_vec());
            let script = Script::new([Err(not_found), list]);
            api(&script).list_jobs(&LabelSelector::Batch("b")).unwrap();
        }
    }

    #[test]
    fn a_list_in_parts_is_one_list_of_the_first_moment() {
        let part = |version: &str, name: &str| {
            let list = json!({"metadata": {"resourceVersion": version}, "items": [{"metadata": {"name": name}}]});
            Ok(serde_json::to_vec(&list).unwrap())
        };
        let id = "x".repeat(63);
        let ids = vec![id.as_str(); 150];
        let script = Script::new([part("7", "a"), part("9", "b")]);
        let listed = api(&script).list_pods(&LabelSelector::Jobs(&ids)).unwrap();
        assert_eq!(listed.resource_version, "7");
        let names: Vec<&str> = listed.items.iter().map(|pod| pod.metadata.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        // Where one part fails there is no list at all.
        let script = Script::new([part("7", "a"), failure(FailureKind::Forbidden)]);
        let failed = api(&script).list_pods(&LabelSelector::Jobs(&ids)).unwrap_err();
        assert_eq!(failed.kind, FailureKind::Forbidden);
    }

    #[test]
    fn events_come_in_the_order_of_time_whichever_api_they_are_of() {
        let events = json!({"items": [
            {"reason": "c", "lastTimestamp": "2026-01-01T00:00:03Z"},
            {"reason": "b", "lastTimestamp": null, "eventTime": "2026-01-01T00:00:02.5Z"},
            {"reason": "a", "lastTimestamp": "2026-01-01T00:00:01Z", "eventTime": null},
        ]});
        let script = Script::new([Ok(serde_json::to_vec(&events).unwrap())]);
        let events = api(&script).list_events("Pod", "a-p").unwrap();
        let reasons: Vec<&str> = events.iter().map(|event| event.reason.as_str()).collect();
        assert_eq!(reasons, ["a", "b", "c"]);
        assert_eq!(
            paths(&script),
            ["/api/v1/namespaces/n/events?fieldSelector=involvedObject.kind%3DPod%2CinvolvedObject.name%3Da-p"]
        );
    }
}
