//! A log that is read while it is written, over streams that may break.

use crate::domain::job_log;

/// Where a followed log stands: what was seen already is known by the time before each line, so that a stream that is
/// opened again loses no line and repeats none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowedLog {
    marker: String,
    /// The time of the newest line that was seen, as the node wrote it.
    newest: String,
    /// How many lines of that time were seen.
    seen_of_newest: usize,
    /// How many lines of that time this stream has shown.
    shown_of_newest: usize,
    /// How many of the program's lines were seen.
    pub lines: usize,
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
    }

    /// The time from which a new stream has to begin: whole seconds.
    pub fn since(&self) -> Option<String> {
        let seconds = self.newest.split(['.', 'Z']).next()?;
        (!seconds.is_empty()).then(|| format!("{seconds}Z"))
    }

    /// Takes a line with its time before it, as the node wrote it; gives back the program's line where it is new.
    pub fn take(&mut self, line: &[u8]) -> Option<String> {
        let space = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
        let (time, rest) = line.split_at(space);
        let time = String::from_utf8_lossy(time).into_owned();
        match comparable(&time).cmp(&comparable(&self.newest)) {
            std::cmp::Ordering::Less => return None,
            std::cmp::Ordering::Equal => {
                self.shown_of_newest += 1;
                if self.shown_of_newest <= self.seen_of_newest {
                    return None;
                }
                self.seen_of_newest = self.shown_of_newest;
            }
            std::cmp::Ordering::Greater => {
                self.newest = time;
                self.seen_of_newest = 1;
                self.shown_of_newest = 1;
            }
        }
        let text = rest.strip_prefix(b" ").unwrap_or(rest);
        if self.lines == 0 && text == self.marker.as_bytes() {
            return None;
        }
        self.lines += 1;
        Some(job_log::line(text))
    }
}

/// A time as text that sorts as times do: the node leaves out zeros at the end of the fraction.
fn comparable(time: &str) -> String {
    match time.trim_end_matches('Z').split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{fraction:0<9}"),
        None if time.is_empty() => String::new(),
        None => format!("{}.000000000", time.trim_end_matches('Z')),
    }
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
