//! What happens to objects, as it happens.

use std::ops::ControlFlow;

use serde::de::DeserializeOwned;

use super::lines::LineBuffer;
use super::{encode, parse, Api, LabelSelector};
use crate::kubernetes::objects::{Pod, WatchEvent};
use crate::transport::{Call, Failure, Patience};

/// After how many seconds the server ends a watch, so that what it cannot show (a Job that fails without a pod) is looked
/// for from time to time.
const WATCH_SECONDS: u32 = 240;

impl Api<'_> {
    /// Follows what happens to the pods of a selection from `resource_version` on, until `event` breaks off, the server
    /// closes the stream (it does so after some minutes), or it breaks.
    ///
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
    pub fn watch_pods(
        &self,
        selection: &LabelSelector<'_>,
        resource_version: &str,
        patience: &Patience<'_>,
        event: &mut dyn FnMut(WatchEvent<Pod>) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let from = (resource_version, WATCH_SECONDS);
        self.watch(&self.pods(), selection, from, patience, &mut || {}, event)
    }

    /// The same for objects of any kind. `from`: the moment, and after how many seconds the server ends the stream. `heard`
    /// is called with each part of the answer, and over the kept kubectl when it begins.
    pub(super) fn watch<T: DeserializeOwned>(
        &self,
        resource: &str,
        selection: &LabelSelector<'_>,
        from: (&str, u32),
        patience: &Patience<'_>,
        heard: &mut dyn FnMut(),
        event: &mut dyn FnMut(WatchEvent<T>) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let (resource_version, seconds) = from;
        let path = format!(
            "{resource}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}&labelSelector={}",
            encode(resource_version),
            encode(&selection.one_selector())
        );
        let mut lines = LineBuffer::default();
        let mut no_event = None;
        let call = Call::get(path);
        self.transport.stream(&call, &patience.deadline(), &mut |part| {
            heard();
            lines.push(part, &mut |line| match parse::<WatchEvent<T>>(&call, line) {
                Ok(parsed) => event(parsed),
                Err(failure) => {
                    no_event = Some(failure);
                    ControlFlow::Break(())
                }
            })
        })?;
        no_event.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{api, paths, patience, Script};
    use super::*;
    use crate::transport::FailureKind;
    use serde_json::json;

    /// Each event as its kind and its moment.
    fn watched(answer: &str, stop_at: Option<&str>) -> (Vec<String>, Result<(), Failure>) {
        let script = Script::new([Ok(answer.as_bytes().to_vec())]);
        let mut seen = Vec::new();
        let result = api(&script).watch_pods(&LabelSelector::Batch("b"), "7", &patience(), &mut |event| {
            seen.push(match event {
                WatchEvent::Added(changed) => format!("added {}", changed.resource_version),
                WatchEvent::Modified(changed) => format!("modified {}", changed.resource_version),
                WatchEvent::Deleted(changed) => format!("deleted {}", changed.resource_version),
                WatchEvent::Bookmark(bookmark) => format!("bookmark {}", bookmark.metadata.resource_version),
                WatchEvent::Error(_) => "error".to_string(),
            });
            match stop_at.is_some() && seen.last().map(String::as_str) == stop_at {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        (seen, result)
    }

    #[test]
    fn a_watch_names_its_moment_and_its_jobs() {
        let script = Script::new([Ok(Vec::new())]);
        let go_on = &mut |_| ControlFlow::Continue(());
        api(&script)
            .watch_pods(&LabelSelector::Batch("b"), "7", &patience(), go_on)
            .unwrap();
        assert_eq!(
            paths(&script),
            ["/api/v1/namespaces/n/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion=7&labelSelector=app.kubernetes.io%2Fmanaged-by%3Dabba%2Cabba%2Fbatch-id%3Db"]
        );
        // More ids than fit into one request: all of abba's pods are watched.
        let id = "x".repeat(63);
        let ids = vec![id.as_str(); 1000];
        let script = Script::new([Ok(Vec::new())]);
        let go_on = &mut |_| ControlFlow::Continue(());
        api(&script)
            .watch_pods(&LabelSelector::Jobs(&ids), "7", &patience(), go_on)
            .unwrap();
        assert!(paths(&script)[0].ends_with("labelSelector=app.kubernetes.io%2Fmanaged-by%3Dabba"));
    }

    #[test]
    fn the_events_of_a_watch_are_handed_over_until_somebody_has_enough() {
        let line = |kind: &str, version: &str| {
            let object = json!({"metadata": {"resourceVersion": version}});
            json!({"type": kind, "object": object}).to_string()
        };
        let lines = [
            line("ADDED", "8"),
            line("MODIFIED", "9"),
            line("BOOKMARK", "10"),
            line("DELETED", "11"),
            line("ERROR", ""),
        ];
        let text = lines.map(|line| line + "\n").concat();
        let all = ["added 8", "modified 9", "bookmark 10", "deleted 11", "error"];
        let (seen, result) = watched(&text, None);
        assert_eq!(seen, all);
        result.unwrap();
        let (seen, result) = watched(&text, Some("bookmark 10"));
        assert_eq!(seen, all[..3]);
        result.unwrap();
        // The end of a stream that broke in the middle of a line is no event.
        assert_eq!(watched(&text[..text.len() - 5], None).0, all[..4]);
    }

    #[test]
    fn a_line_of_a_watch_that_is_no_event_is_a_failure() {
        for line in [
            "<html>\n",
            "{}\n",
            "\n",
            "{\"type\": \"ADDED\"}\n",
            "{\"type\": \"NEW\", \"object\": {}}\n",
        ] {
            let (seen, result) = watched(line, None);
            assert!(seen.is_empty());
            assert_eq!(result.unwrap_err().kind, FailureKind::MalformedResponse, "{line}");
        }
    }
}
