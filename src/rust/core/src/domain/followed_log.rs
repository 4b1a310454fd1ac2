//! A log that is read while it is written, over streams that may break.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::job_log::{self, FirstLine, Markers};
use crate::kubernetes::time;

/// Where the reading of a log stands: what was seen already is known by the time before each line, so that a stream that
/// is opened again loses no line and repeats none.
///
/// A kubelet writes the time before each line of the program, and none before words of its own, which it puts into the
/// same stream: these are never taken for the program's. Where no line has a time, the node is another kind of one, and
/// what was seen is known by the number of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowedLog {
    markers: Markers,
    /// The time of the newest line that was seen.
    newest: Option<Timestamp>,
    /// How many lines of that time were seen.
    seen_of_newest: usize,
    /// How many lines of that time this stream has shown.
    shown_of_newest: usize,
    /// Whether this stream still shows what was seen before.
    repeats: bool,
    /// Whether a line had an earlier time than the one before it: then times do not say what was seen.
    is_set_back: bool,
    /// Whether the node writes no times: then one at the beginning of a line is the program's own.
    has_no_times: bool,
    /// How many lines were seen, the marker among them; `None`: not from the beginning of the log.
    records: Option<usize>,
    /// How many lines this stream has shown.
    shown: usize,
    /// How many lines this stream repeats, where it begins where the log does.
    repeated: Option<usize>,
    /// The newest line with its time, as it came.
    pub last: Vec<u8>,
    /// Whether the lines so far are those of the container's loader, which stand before the marker of the begin.
    awaits_head: bool,
    /// Whether the log begins where the program began.
    pub has_head: bool,
    /// Whether a marker stands at the log's end; `None`: its head does not say that there is to be one.
    pub has_end: Option<bool>,
    /// Whether the newest line ends with that marker.
    pub is_at_end: bool,
    /// A line that comes before the one that was just taken: the text of that marker, which the program itself has printed,
    /// or behind which a process that it left went on.
    pub owed: Option<String>,
    /// What the node itself has written into the stream.
    pub node_words: Option<String>,
    /// How many lines were seen in all streams together, those of the node's markers among them.
    pub taken: usize,
    /// Whether a stream that was opened again did not begin where the one before it ended: the node has put that aside.
    pub has_missed: bool,
    /// How many of the program's lines were seen.
    pub lines: usize,
    /// A fingerprint of these lines.
    fingerprint: u64,
}

impl FollowedLog {
    /// The log of a job from its beginning.
    pub fn new(job_id: &str) -> Self {
        Self {
            markers: Markers::of(job_id),
            records: Some(0),
            ..Default::default()
        }
    }

    /// What was seen so far is left out: the program's lines are counted from here on.
    pub fn begin_here(&mut self) {
        self.lines = 0;
        self.fingerprint = 0;
        self.records = None;
        self.is_at_end = false;
    }

    /// How many lines a stream from the beginning repeats, where that has to say what is new.
    fn by_position(&self) -> Option<usize> {
        self.records.filter(|_| self.newest.is_none() || self.is_set_back)
    }

    /// A new stream begins.
    pub fn reopened(&mut self) {
        self.shown = 0;
        self.shown_of_newest = 0;
        self.repeats = self.newest.is_some();
        self.repeated = self.by_position();
    }

    /// The time from which a new stream has to begin: whole seconds, in UTC. `None`: from the beginning.
    pub fn since(&self) -> Option<String> {
        match self.by_position() {
            Some(_) => None,
            None => self.newest.map(time::whole_seconds),
        }
    }

    /// How long nothing was written before a line that comes now.
    pub fn silence_before(&self, line: &[u8]) -> Duration {
        let times = self.parts(line).0.zip(self.newest);
        times.map_or(Duration::ZERO, |(time, newest)| {
            Duration::try_from(time.duration_since(newest)).unwrap_or_default()
        })
    }

    /// Takes a line with its time before it, as the node wrote it; gives back the program's line where it is new. Whoever
    /// calls takes [`Self::owed`] first.
    pub fn take(&mut self, line: &[u8]) -> Option<String> {
        let is_first = self.records == Some(0);
        self.has_no_times |= is_first && parts(line).0.is_none() && !job_log::is_of_node(line);
        let (time, text) = self.parts(line);
        self.shown += 1;
        if time.is_none() && self.newest.is_some() {
            // The first line of a stream may be the rest of a long line, which a node keeps in several parts, some of them
            // older than the stream: it was seen.
            if self.shown > 1 {
                self.node_words = Some(job_log::line(line));
            }
            return None;
        }
        if let Some(repeated) = self.repeated {
            if self.shown <= repeated {
                return None;
            }
        } else if self.repeats {
            match time.cmp(&self.newest) {
                Ordering::Less => return None,
                Ordering::Equal => {
                    self.shown_of_newest += 1;
                    // What comes after the last line that was seen is new, also where its time is an earlier one.
                    self.repeats = self.shown_of_newest < self.seen_of_newest;
                    if self.shown_of_newest <= self.seen_of_newest {
                        return None;
                    }
                }
                Ordering::Greater => self.has_missed |= self.shown_of_newest < self.seen_of_newest,
            }
            self.repeats = false;
        }
        // From here on everything is new, whatever its time: a node's clock may be set back.
        if time == self.newest {
            self.seen_of_newest += 1;
        } else {
            self.is_set_back |= time < self.newest;
            self.newest = time;
            self.seen_of_newest = 1;
        }
        self.taken += 1;
        self.last.clear();
        self.last.extend_from_slice(line);
        self.records = self.records.map(|records| records + 1);
        self.take_text(text, is_first)
    }

    /// Takes what comes after the last line end of a log that was read to its end.
    pub fn take_unfinished(&mut self, line: &[u8]) -> Option<String> {
        self.take_text(self.parts(line).1, self.records == Some(0))
    }

    /// A line without the time before it, as the program wrote it, and the line end that it had there, if any.
    pub fn written<'a>(&self, line: &'a [u8]) -> (&'a [u8], &'static [u8]) {
        let text = self.parts(line).1;
        match self.markers.before_end(text) {
            Some(unfinished) => (unfinished, b""),
            None => (text, b"\n"),
        }
    }

    fn parts<'a>(&self, line: &'a [u8]) -> (Option<Timestamp>, &'a [u8]) {
        match self.has_no_times {
            true => (None, line),
            false => parts(line),
        }
    }

    fn take_text(&mut self, text: &[u8], is_first: bool) -> Option<String> {
        let is_first = is_first || std::mem::take(&mut self.awaits_head);
        let first_line = match is_first || (self.records.is_none() && self.lines == 0) {
            true => self.markers.first_line(text),
            false => FirstLine::OfProgram,
        };
        self.awaits_head = is_first && job_log::is_of_loader(text);
        if first_line != FirstLine::OfProgram {
            self.has_head |= is_first;
            self.has_end = self.has_end.or((first_line == FirstLine::Begin).then_some(false));
            return None;
        }
        if std::mem::take(&mut self.is_at_end) {
            self.owed = Some(self.counted(self.markers.end().into()));
        }
        let text = match self.markers.before_end(text) {
            Some(unfinished) => {
                self.has_end = Some(true);
                self.is_at_end = true;
                match unfinished {
                    b"" => return None,
                    unfinished => unfinished,
                }
            }
            None => text,
        };
        Some(self.counted(job_log::line(text)))
    }

    fn counted(&mut self, line: String) -> String {
        self.lines += 1;
        self.fingerprint = with_line(self.fingerprint, &line);
        line
    }

    /// What the node wrote, where `unfinished`, what comes after the last line end, is no line of the program; `None`: it
    /// is one, or the beginning of one.
    pub fn words_in(&self, unfinished: &[u8]) -> Option<String> {
        let is_program = match self.newest {
            Some(_) => parts(unfinished).0.is_some() || is_beginning_of_time(unfinished),
            None => parts(unfinished).0.is_some() || !job_log::is_of_node(unfinished),
        };
        (!is_program).then(|| job_log::line(unfinished))
    }

    /// Whether a line without an end can be one of the program: where other lines have times, it needs one, too.
    pub fn may_be_line(&self, unfinished: &[u8]) -> bool {
        self.newest.is_none() || parts(unfinished).0.is_some()
    }

    /// Whether the lines that were seen are the first ones of these.
    pub fn begins(&self, lines: &[String]) -> bool {
        lines
            .get(..self.lines)
            .is_some_and(|first| self.fingerprint == first.iter().fold(0, |print, line| with_line(print, line)))
    }
}

/// The time before a line, where there is one, and the rest.
fn parts(line: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let space = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    match time::parse(&line[..space]) {
        Some(time) => (Some(time), line.get(space + 1..).unwrap_or_default()),
        None => (None, line),
    }
}

fn is_beginning_of_time(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| byte.is_ascii_digit() || b"-T:.Z+".contains(byte))
}

/// How the newest line of a log, as the node tells it alone, stands to the last line that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is that line.
    Same,
    /// It may be the last part of that line: a node keeps a long line in several parts.
    LastPart,
    /// It is that line, after which the node has written words of its own.
    BeforeNodeWords,
    /// It is another one.
    Other,
}

/// Compares `newest`, the newest line of a log asked for alone, with `last`, the last one that was read; both with their
/// times, and empty where there is none.
pub fn compare_ends(last: &[u8], newest: &[u8]) -> End {
    /// Nodes keep lines in parts of 8 KiB (CRI-O) or 16 KiB.
    const LEAST_LONG_LINE: usize = 8 * 1024;
    // None is not the same as a line without text.
    if last.is_empty() != newest.is_empty() {
        return End::Other;
    }
    let ((last_time, last_text), (newest_time, newest_text)) = (parts(last), parts(newest));
    let is_same_time = last_time == newest_time || last_time.is_none() || newest_time.is_none();
    if is_same_time && job_log::line(last_text) == job_log::line(newest_text) {
        return End::Same;
    }
    if last_text.len() > LEAST_LONG_LINE && newest_time >= last_time && last_text.ends_with(newest_text) {
        return End::LastPart;
    }
    match last_text.strip_prefix(newest_text) {
        Some(rest) if is_same_time && job_log::is_of_node(rest) => End::BeforeNodeWords,
        _ => End::Other,
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
    fn the_rest_of_a_long_line_is_not_shown_again() {
        // Its first part is older than the stream that is opened again, its last one is not.
        let mut log = FollowedLog::new("j-1");
        let mut take = |line: &str| log.take(line.as_bytes());
        assert!(take("2026-01-01T00:00:01.9Z xxxxyyyy").is_some());
        assert!(take("2026-01-01T00:00:02.5Z b").is_some());
        log.reopened();
        assert_eq!(log.since().as_deref(), Some("2026-01-01T00:00:02Z"));
        let again = ["yyyy", "2026-01-01T00:00:02.5Z b", "2026-01-01T00:00:02.6Z c"];
        let seen: Vec<String> = again.iter().filter_map(|line| log.take(line.as_bytes())).collect();
        assert_eq!(seen, ["c"]);
        assert_eq!(log.node_words, None);
    }

    #[test]
    fn lines_without_times_are_known_by_their_number() {
        let lines = ["abba-log-of j-1", "a", "a", "b"];
        for broken_after in 0..=lines.len() {
            let mut log = FollowedLog::new("j-1");
            let mut seen = Vec::new();
            seen.extend(
                lines[..broken_after]
                    .iter()
                    .filter_map(|line| log.take(line.as_bytes())),
            );
            log.reopened();
            assert_eq!(log.since(), None);
            seen.extend(lines.iter().filter_map(|line| log.take(line.as_bytes())));
            assert_eq!(seen, ["a", "a", "b"], "{broken_after}");
        }
    }

    #[test]
    fn where_a_node_writes_no_times_those_of_a_program_are_its_own() {
        let lines = [
            "abba-log-of j-1",
            "a",
            "2026-01-01T00:00:01Z b",
            "c",
            "2026-01-01T00:00:01Z d",
        ];
        let mut log = FollowedLog::new("j-1");
        let mut seen: Vec<String> = lines[..3].iter().filter_map(|line| log.take(line.as_bytes())).collect();
        log.reopened();
        assert_eq!(log.since(), None);
        seen.extend(lines[..4].iter().filter_map(|line| log.take(line.as_bytes())));
        seen.extend(log.take_unfinished(lines[4].as_bytes()));
        assert_eq!(seen, lines[1..]);
        assert_eq!(log.node_words, None);
    }

    #[test]
    fn words_of_the_node_are_no_line() {
        let words = "failed to create fsnotify watcher: too many open files";
        let mut log = FollowedLog::new("j-1");
        assert!(log.words_in(words.as_bytes()).is_some());
        assert!(log.take(b"2026-01-01T00:00:01Z a").is_some());
        assert_eq!(log.words_in(words.as_bytes()).as_deref(), Some(words));
        assert_eq!(log.words_in(b"2026-01-01T00:00:02Z b"), None);
        assert_eq!(log.words_in(b"2026-01-01T00:0"), None);
        assert_eq!(log.take(words.as_bytes()), None);
        assert_eq!(log.node_words.as_deref(), Some(words));
        // The program's own, with a time.
        assert!(log.take(format!("2026-01-01T00:00:03Z {words}").as_bytes()).is_some());
    }

    #[test]
    fn the_end_of_a_log_is_compared_with_its_newest_line() {
        let long = format!("2026-01-01T00:00:01Z {}", "x".repeat(40_000));
        for (last, newest, end) in [
            ("2026-01-01T00:00:01Z a", "2026-01-01T00:00:01Z a", End::Same),
            ("", "", End::Same),
            // The same text at another time is another line.
            ("2026-01-01T00:00:01Z a", "2026-01-01T00:00:02Z a", End::Other),
            ("2026-01-01T00:00:01Z a", "2026-01-01T00:00:01Z ab", End::Other),
            ("2026-01-01T00:00:01Z a", "", End::Other),
            ("", "2026-01-01T00:00:01Z a", End::Other),
            ("", "2026-01-01T00:00:01Z ", End::Other),
            ("2026-01-01T00:00:01Z ", "", End::Other),
            (&long, "2026-01-01T00:00:02Z xxx", End::LastPart),
            (&long, "2026-01-01T00:00:02Z y", End::Other),
            (
                "2026-01-01T00:00:01Z arpc error: code = Unavailable",
                "2026-01-01T00:00:01Z a",
                End::BeforeNodeWords,
            ),
            ("a", "a", End::Same),
            ("a", "b", End::Other),
        ] {
            assert_eq!(compare_ends(last.as_bytes(), newest.as_bytes()), end, "{newest}");
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
        assert!(log.begins(&[]));
        for (second, text) in ["a", "b"].iter().enumerate() {
            log.take(format!("2026-01-01T00:00:0{second}Z {text}").as_bytes());
        }
        let begins = |lines: &[&str]| log.begins(&lines.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(begins(&["a", "b"]));
        assert!(begins(&["a", "b", "c"]));
        assert!(!begins(&["a"]));
        assert!(!begins(&["a", "c"]));
        assert!(!begins(&["b", "a"]));
    }

    #[test]
    fn a_clock_that_is_set_back_loses_no_line() {
        let mut log = FollowedLog::new("j-1");
        let take = |log: &mut FollowedLog, line: &str| log.take(line.as_bytes());
        assert_eq!(take(&mut log, "2026-01-01T00:00:09.5Z a").as_deref(), Some("a"));
        assert_eq!(take(&mut log, "2026-01-01T00:00:07.1Z b").as_deref(), Some("b"));
        // A stream from the time of the newest line would show lines of before again, and leave out others.
        log.reopened();
        assert_eq!(log.since(), None);
        assert_eq!(take(&mut log, "2026-01-01T00:00:09.5Z a"), None);
        assert_eq!(take(&mut log, "2026-01-01T00:00:07.1Z b"), None);
        assert_eq!(take(&mut log, "2026-01-01T00:00:07.2Z c").as_deref(), Some("c"));
    }

    #[test]
    fn a_clock_that_is_set_back_while_a_stream_is_broken_loses_no_line_that_the_node_shows() {
        let mut log = FollowedLog::new("j-1");
        let take = |log: &mut FollowedLog, line: &str| log.take(line.as_bytes());
        assert_eq!(take(&mut log, "2026-01-01T00:00:09.8Z a").as_deref(), Some("a"));
        assert_eq!(take(&mut log, "2026-01-01T00:00:09.8Z b").as_deref(), Some("b"));
        log.reopened();
        assert_eq!(log.since().as_deref(), Some("2026-01-01T00:00:09Z"));
        assert_eq!(take(&mut log, "2026-01-01T00:00:09.8Z a"), None);
        assert_eq!(take(&mut log, "2026-01-01T00:00:09.8Z b"), None);
        assert_eq!(take(&mut log, "2026-01-01T00:00:09.5Z c").as_deref(), Some("c"));
        assert_eq!(take(&mut log, "2026-01-01T00:00:09.6Z d").as_deref(), Some("d"));
        assert_eq!(take(&mut log, "2026-01-01T00:00:08Z e").as_deref(), Some("e"));
        assert_eq!(take(&mut log, "2026-01-01T00:00:08Z f").as_deref(), Some("f"));
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

    #[test]
    fn the_marker_of_the_end_is_no_line_and_leaves_the_last_one_as_it_was() {
        let begin = b"2026-01-01T00:00:00Z abba: begin of the log of j-1";
        let end = "abba: end of the log of j-1";
        for (before, line, written) in [
            ("", None, &b""[..]),
            ("a", Some("a"), b"a"),
            ("a\r", Some("a"), b"a\r"),
            (end, Some(end), end.as_bytes()),
        ] {
            let mut log = FollowedLog::new("j-1");
            assert_eq!(log.take(begin), None);
            assert_eq!((log.has_head, log.has_end), (true, Some(false)));
            assert_eq!(log.take(b"2026-01-01T00:00:01Z ").as_deref(), Some(""));
            let last = format!("2026-01-01T00:00:02Z {before}{end}");
            assert_eq!(log.take(last.as_bytes()).as_deref(), line, "{before}");
            assert_eq!(log.written(last.as_bytes()), (written, &b""[..]));
            assert_eq!((log.has_end, log.lines), (Some(true), 1 + usize::from(line.is_some())));
        }
    }

    #[test]
    fn a_marker_that_the_program_prints_itself_is_a_line() {
        let end = "abba: end of the log of j-1";
        let printed = [
            "abba: begin of the log of j-1",
            "a",
            end,
            "b",
            &format!("c{end}"),
            end,
            "d",
            end,
        ];
        let mut log = FollowedLog::new("j-1");
        let mut seen = Vec::new();
        for line in printed {
            let taken = log.take(format!("2026-01-01T00:00:00Z {line}").as_bytes());
            seen.extend(log.owed.take().into_iter().chain(taken));
        }
        assert_eq!(seen, ["a", end, "b", "c", end, end, "d"]);
        assert_eq!(log.lines, seen.len());
        assert!(log.begins(&seen) && log.has_end == Some(true));
    }

    #[test]
    fn words_of_the_loader_and_of_the_shell_may_stand_before_the_marker_of_the_begin() {
        let words = "ERROR: ld.so: object '/x.so' from LD_PRELOAD cannot be preloaded: ignored.";
        let of_bash = "/bin/sh: warning: setlocale: LC_ALL: cannot change locale (de_DE.UTF-8)";
        let mut log = FollowedLog::new("j-1");
        for text in [words, of_bash, "abba: begin of the log of j-1", words, "a"] {
            let taken = log.take(format!("2026-01-01T00:00:00Z {text}").as_bytes());
            assert_eq!(taken.is_none(), text.starts_with("abba"), "{text}");
        }
        assert_eq!((log.has_head, log.has_end), (true, Some(false)));
    }

    #[test]
    fn a_log_of_before_needs_no_marker_of_its_end() {
        let mut log = FollowedLog::new("j-1");
        assert_eq!(log.take(b"2026-01-01T00:00:00Z abba-log-of j-1"), None);
        assert_eq!((log.has_head, log.has_end), (true, None));
    }
}
