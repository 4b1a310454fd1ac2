//! A log that is read while it is written, over streams that may break.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use crate::domain::job_log;
use crate::kubernetes::time;

/// Where a followed log stands: what was seen already is known by the time before each line, so that a stream that is
/// opened again loses no line and repeats none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowedLog {
    marker: String,
    /// The time of the newest line that was seen.
    newest: Option<Timestamp>,
    /// How many lines of that time were seen.
    seen_of_newest: usize,
    /// How many lines of that time this stream has shown.
    shown_of_newest: usize,
    /// Whether this stream still shows what was seen before.
    repeats: bool,
    /// How many of the program's lines were seen.
    pub lines: usize,
    /// A fingerprint of these lines.
    fingerprint: u64,
}

impl FollowedLog {
    /// The log of a job from its beginning.
    pub fn new(job_id: &str) -> Self {
        Self {
            marker: job_log::marker(job_id),
            ..Default::default()
        }
    }

    /// A new stream begins.
    pub fn reopened(&mut self) {
        self.shown_of_newest = 0;
        self.repeats = self.newest.is_some();
    }

    /// The time from which a new stream has to begin: whole seconds, in UTC.
    pub fn since(&self) -> Option<String> {
        self.newest.map(time::whole_seconds)
    }

    /// Takes a line with its time before it, as the node wrote it; gives back the program's line where it is new.
    pub fn take(&mut self, line: &[u8]) -> Option<String> {
        let space = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
        let (time, rest) = line.split_at(space);
        // A line without a time, which no kubelet is known to write, counts as one of the time before it.
        let time = time::parse(time).or(self.newest);
        if self.repeats {
            match time.cmp(&self.newest) {
                Ordering::Less => return None,
                Ordering::Equal => {
                    self.shown_of_newest += 1;
                    if self.shown_of_newest <= self.seen_of_newest {
                        return None;
                    }
                }
                Ordering::Greater => {}
            }
            self.repeats = false;
        }
        // From here on everything is new, whatever its time: a node's clock may be set back.
        if time == self.newest {
            self.seen_of_newest += 1;
        } else {
            self.newest = time;
            self.seen_of_newest = 1;
        }
        let text = rest.strip_prefix(b" ").unwrap_or(rest);
        if self.lines == 0 && text == self.marker.as_bytes() {
            return None;
        }
        self.lines += 1;
        let line = job_log::line(text);
        self.fingerprint = with_line(self.fingerprint, &line);
        Some(line)
    }

    /// Whether the lines that were seen are these.
    pub fn is(&self, lines: &[&String]) -> bool {
        self.lines == lines.len() && self.fingerprint == lines.iter().fold(0, |print, line| with_line(print, line))
    }
}

/// The fingerprint of some lines with one more.
fn with_line(fingerprint: u64, line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (fingerprint, line).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_opened_again_loses_nothing_and_repeats_nothing() {
        let lines: Vec<String> = [
            ("00:00:01.5Z", "a"),
            ("00:00:01.5Z", "b"),
            ("00:00:01.51Z", "c"),
            ("00:00:02Z", "d"),
        ]
        .iter()
        .map(|(time, text)| format!("2026-01-01T{time} {text}"))
        .collect();
        // Broken after each number of lines.
        for broken_after in 0..=lines.len() {
            let mut log = FollowedLog::new("j-1");
            let mut seen = Vec::new();
            seen.extend(
                lines[..broken_after]
                    .iter()
                    .filter_map(|line| log.take(line.as_bytes())),
            );
            log.reopened();
            let since = log.since();
            let repeated = lines
                .iter()
                .filter(|line| since.as_ref().is_none_or(|since| line[..19] >= since[..19]));
            seen.extend(repeated.filter_map(|line| log.take(line.as_bytes())));
            assert_eq!(seen, ["a", "b", "c", "d"], "{broken_after}");
        }
    }

    #[test]
    fn a_node_may_write_its_own_time_zone() {
        for (line, since) in [
            ("2026-06-01T14:00:05.123456789+02:00 a", "2026-06-01T12:00:05Z"),
            ("2026-06-01T09:00:05.5-05:00 a", "2026-06-01T14:00:05Z"),
            ("2026-06-01T14:00:05+02:00 a", "2026-06-01T12:00:05Z"),
        ] {
            let mut log = FollowedLog::new("j-1");
            log.take(line.as_bytes());
            assert_eq!(log.since().as_deref(), Some(since), "{line}");
        }
    }

    #[test]
    fn the_end_of_summer_time_loses_no_line_and_repeats_none() {
        let before = "2026-10-25T02:59:59.5+02:00 a";
        let after = [
            "2026-10-25T02:00:00+01:00 b",
            "2026-10-25T02:00:00.25+01:00 c",
            "2026-10-25T03:00:00+01:00 d",
        ];
        for broken_after in 0..=after.len() {
            let mut log = FollowedLog::new("j-1");
            let mut seen = Vec::new();
            let first = [&[before], &after[..broken_after]].concat();
            seen.extend(first.iter().filter_map(|line| log.take(line.as_bytes())));
            log.reopened();
            let again = [&[before], &after[..]].concat();
            seen.extend(again.iter().filter_map(|line| log.take(line.as_bytes())));
            assert_eq!(seen, ["a", "b", "c", "d"], "{broken_after}");
        }
    }

    #[test]
    fn what_was_seen_is_compared_with_the_log_read_whole() {
        let mut log = FollowedLog::new("j-1");
        assert!(log.is(&[]));
        for (second, text) in ["a", "b"].iter().enumerate() {
            log.take(format!("2026-01-01T00:00:0{second}Z {text}").as_bytes());
        }
        let [a, b, c] = ["a", "b", "c"].map(String::from);
        assert!(log.is(&[&a, &b]));
        assert!(!log.is(&[&a]));
        assert!(!log.is(&[&a, &c]));
        assert!(!log.is(&[&b, &a]));
    }

    #[test]
    fn a_clock_that_is_set_back_loses_no_line() {
        let mut log = FollowedLog::new("j-1");
        let take = |log: &mut FollowedLog, line: &str| log.take(line.as_bytes());
        assert_eq!(take(&mut log, "2026-01-01T00:00:09.5Z a").as_deref(), Some("a"));
        assert_eq!(take(&mut log, "2026-01-01T00:00:07.1Z b").as_deref(), Some("b"));
        log.reopened();
        assert_eq!(log.since().as_deref(), Some("2026-01-01T00:00:07Z"));
        assert_eq!(take(&mut log, "2026-01-01T00:00:07.1Z b"), None);
        assert_eq!(take(&mut log, "2026-01-01T00:00:07.2Z c").as_deref(), Some("c"));
    }

    #[test]
    fn the_marker_is_no_line_of_the_program() {
        let mut log = FollowedLog::new("j-1");
        assert_eq!(log.take(b"2026-01-01T00:00:00Z abba-log-of j-1"), None);
        assert_eq!(log.take(b"2026-01-01T00:00:00Z "), Some(String::new()));
        assert_eq!(
            log.take(b"2026-01-01T00:00:01Z abba-log-of j-1").as_deref(),
            Some("abba-log-of j-1")
        );
        assert_eq!(log.lines, 2);
    }
}
