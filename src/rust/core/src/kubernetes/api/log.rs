//! Logs of pods.

use std::cell::Cell;
use std::ops::ControlFlow;

use super::attempts::{Attempts, LONGEST_PAUSE};
use super::lines::LineBuffer;
use super::{encode, garbage, Api};
use crate::kubernetes::objects::PROGRAM_CONTAINER;
use crate::transport::{is_whole_page, Call, Failure, FailureKind, Patience};

/// What [`Api::log_lines`] reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogQuestion<'a> {
    /// Leaves out what is older: RFC 3339 with whole seconds, as the API server cuts it to those.
    pub since: Option<&'a str>,
    /// The newest line alone.
    pub newest_line_only: bool,
    /// Goes on until the program ends.
    pub follow: bool,
    /// Ends with the beginning of a line that has more bytes, which is given back as one that is not finished.
    pub longest_line: Option<usize>,
}

/// No page that stands in for a log is longer.
const LONGEST_PAGE: usize = 256 * 1024;

impl Api<'_> {
    /// Reads the log of the program's container in a pod with the time before each line, as
    /// `2026-01-01T00:00:00.123456789Z text`, and hands over each line without its end. Gives back what comes after the last
    /// line end: a line that is not finished, one whose rest was cut off, or words of the node, which have no line end.
    ///
    /// The time limit is on silence: a long log over a slow line takes as long as it takes.
    pub fn log_lines(
        &self,
        pod_name: &str,
        question: LogQuestion<'_>,
        patience: &Patience<'_>,
        line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<u8>, Failure> {
        let mut path = format!(
            "{}/{pod_name}/log?container={PROGRAM_CONTAINER}&timestamps=true",
            self.pods()
        );
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
        let deadline = patience.deadline();
        let end = Cell::new(deadline.end());
        let call = Call::get(path);
        // A line begins with its time, and words of the node with a letter: what begins otherwise may be a page for people,
        // which somebody on the way has put in the place of the log.
        let (mut held, mut has_begun) = (Vec::new(), false);
        self.transport.stream(&call, &deadline.movable(&end), &mut |part| {
            end.set(patience.deadline().end());
            if has_begun {
                lines.push(part, line)?;
            } else {
                held.extend_from_slice(part);
                let beginning = held.trim_ascii_start();
                if held.len() <= LONGEST_PAGE && (beginning.is_empty() || beginning.starts_with(b"<")) {
                    return ControlFlow::Continue(());
                }
                has_begun = true;
                lines.push(&std::mem::take(&mut held), line)?;
            }
            match question.longest_line {
                Some(most) if lines.pending.len() > most => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })?;
        if is_whole_page(&held) {
            let page = "A page for people came in the place of the log.";
            return Err(Failure {
                kind: FailureKind::Page,
                ..garbage(&call, page.into())
            });
        }
        let _ = lines.push(&held, line);
        Ok(lines.pending)
    }

    /// The same, opened again while that may heal and nothing has come.
    pub fn log_lines_patiently(
        &self,
        pod_name: &str,
        question: LogQuestion<'_>,
        line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<u8>, Failure> {
        let mut attempts = Attempts::new(self.transport, self.patience.deadline(), LONGEST_PAUSE);
        loop {
            let mut has_come = false;
            let outcome = self.log_lines(pod_name, question, &self.patience, &mut |bytes| {
                has_come = true;
                line(bytes)
            });
            match outcome {
                Err(failure) if failure.kind.is_transient() && !has_come => attempts.wait_after(failure)?,
                outcome => return outcome,
            }
        }
    }

    /// The newest line of a log, with the time before it; empty where there is none. Of a line that the node keeps in
    /// several parts (containerd: 16 KiB each) it is the last part.
    pub fn newest_log_line(&self, pod_name: &str) -> Result<Vec<u8>, Failure> {
        let question = LogQuestion {
            newest_line_only: true,
            ..Default::default()
        };
        let mut newest = Vec::new();
        let pending = self.log_lines_patiently(pod_name, question, &mut |line| {
            newest = line.to_vec();
            ControlFlow::Continue(())
        })?;
        Ok(if pending.is_empty() { newest } else { pending })
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{api, paths, patience, Script};
    use super::*;
    use crate::transport::{Deadline, Transport};
    use std::time::Duration;

    #[test]
    fn a_page_in_the_place_of_a_log_is_no_log() {
        let read = |answer: &str| {
            let script = Script::new([Ok(answer.as_bytes().to_vec())]);
            let mut seen = Vec::new();
            let rest = api(&script).log_lines("a-p", LogQuestion::default(), &patience(), &mut |line| {
                seen.push(String::from_utf8(line.to_vec()).unwrap());
                ControlFlow::Continue(())
            });
            rest.map(|_| seen).map_err(|failure| failure.kind)
        };
        let page = "\n<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>\n";
        assert_eq!(read(page), Err(FailureKind::Page));
        // A program may print one, and a node say anything.
        let printed = "2026-01-01T00:00:00Z <!DOCTYPE html>\n2026-01-01T00:00:00Z <html></html>\n";
        assert_eq!(read(printed).unwrap().len(), 2);
        assert_eq!(read("<nobody>\n"), Ok(vec!["<nobody>".to_string()]));
    }

    #[test]
    fn what_comes_after_the_last_line_end_is_no_line() {
        for follow in [true, false] {
            let script = Script::new([Ok(b"a\nb".to_vec())]);
            let question = LogQuestion {
                since: Some("2026-01-01T00:00:01Z"),
                follow,
                ..Default::default()
            };
            let mut seen = Vec::new();
            let rest = api(&script).log_lines("a-p", question, &patience(), &mut |line| {
                seen.push(String::from_utf8(line.to_vec()).unwrap());
                ControlFlow::Continue(())
            });
            assert_eq!((seen, rest.unwrap()), (vec!["a".to_string()], b"b".to_vec()));
            let path = &paths(&script)[0];
            assert!(path.contains("/pods/a-p/log?container=program&timestamps=true&sinceTime=2026-01-01T00%3A00%3A01Z"));
            assert_eq!(path.ends_with("&follow=true"), follow);
        }
    }

    /// Gives byte after byte, and then nothing more; each byte must have moved the end.
    struct Slow;

    impl Transport for Slow {
        fn stream(
            &self,
            _: &Call,
            deadline: &Deadline<'_>,
            part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
        ) -> Result<Vec<String>, Failure> {
            for byte in b"0123456789\n0123456789\n" {
                let before = deadline.end();
                std::thread::sleep(Duration::from_millis(2));
                assert_eq!(deadline.end(), before);
                let _ = part(&[*byte]);
                assert!(deadline.end() > before);
            }
            Err(Failure::new(FailureKind::Timeout, "silent"))
        }

        fn namespace(&self, _: &Deadline<'_>) -> Result<String, Failure> {
            Ok("n".into())
        }
    }

    #[test]
    fn the_time_limit_of_a_log_is_on_silence() {
        let patience = patience();
        let api = Api::in_namespace(&Slow, "n", patience);
        let mut seen = 0;
        let outcome = api.log_lines("a-p", LogQuestion::default(), &patience, &mut |_| {
            seen += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((seen, outcome.unwrap_err().details.as_deref()), (2, Some("silent")));
    }
}
