//! Logs of pods.

use std::ops::ControlFlow;

use super::lines::LineBuffer;
use super::{encode, Api};
use crate::kubernetes::objects::PROGRAM_CONTAINER;
use crate::transport::{Call, Failure, Patience};

/// What [`Api::log_lines`] reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogQuestion<'a> {
    /// Leaves out what is older: RFC 3339 with whole seconds, as the API server cuts it to those.
    pub since: Option<&'a str>,
    /// The newest line alone.
    pub newest_line_only: bool,
    /// Goes on until the program ends.
    pub follow: bool,
}

impl Api<'_> {
    fn log_path(&self, pod_name: &str) -> String {
        format!("{}/{pod_name}/log?container={PROGRAM_CONTAINER}", self.pods())
    }

    /// The log of the program's container in a pod: bytes, as the node gives them.
    pub fn log(&self, pod_name: &str) -> Result<Vec<u8>, Failure> {
        self.read_bytes(&Call::get(self.log_path(pod_name)))
    }

    /// Reads the log of a pod with the time before each line, as `2026-01-01T00:00:00.123456789Z text`, and hands over each
    /// line without its end. `since`, RFC 3339 with whole seconds, leaves out what is older; `newest_line_only` all but
    /// one; `follow` goes on until the program ends, `line` breaks off or the stream breaks. A line without an end is
    /// handed over only where the log is not followed.
    pub fn log_lines(
        &self,
        pod_name: &str,
        question: LogQuestion<'_>,
        patience: &Patience<'_>,
        line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let mut path = self.log_path(pod_name) + "&timestamps=true";
        if let Some(since) = question.since {
            path.push_str("&sinceTime=");
            path.push_str(&encode(since));
        }
        if question.newest_line_only {
            path.push_str("&tailLines=1");
        }
        if question.follow {
            path.push_str("&follow=true");
        }
        let mut lines = LineBuffer::default();
        self.transport
            .stream(&Call::get(path), &patience.deadline(), &mut |part| {
                lines.push(part, line)
            })?;
        if !question.follow && !lines.pending.is_empty() {
            let _ = line(&lines.pending);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{api, paths, patience, Script};
    use super::*;

    #[test]
    fn a_line_without_an_end_counts_where_the_log_is_not_followed() {
        for (follow, expected) in [(true, vec!["a"]), (false, vec!["a", "b"])] {
            let script = Script::new([Ok(b"a\nb".to_vec())]);
            let question = LogQuestion {
                since: Some("2026-01-01T00:00:01Z"),
                follow,
                ..Default::default()
            };
            let mut seen = Vec::new();
            api(&script)
                .log_lines("a-p", question, &patience(), &mut |line| {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(seen, expected);
            let path = &paths(&script)[0];
            assert!(path.contains("/pods/a-p/log?container=program&timestamps=true&sinceTime=2026-01-01T00%3A00%3A01Z"));
            assert_eq!(path.ends_with("&follow=true"), follow);
        }
    }
}
