//! Broken answers of a cluster, for the operations that read them; see [`crate::fuzz`].

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use super::scripted::{ended, pod};
use super::{log, Archived, Connection, JobSelector};
use crate::domain::job_log::{FirstLine, Markers};
use crate::domain::verdict::MESSAGES_OF_R;
use crate::fuzz::{fuzz_slowly, Rng};
use crate::kubernetes::time;
use crate::transport::{Call, Deadline, Failure, FailureKind, Patience, Transport};

/// A cluster whose connection to the node breaks again and again while a log is read.
struct Breaks {
    /// The log, each line with its time and without its end.
    lines: Vec<Vec<u8>>,
    ends_with_newline: bool,
    /// How often it still breaks.
    breaks: Mutex<(usize, Rng)>,
}

const WORDS: &str = "failed to watch directory \"/var/log/pods/n_a\": no space left on device";

impl Breaks {
    fn log(&self, lines: &[Vec<u8>]) -> Vec<u8> {
        let mut log = lines.join(&b'\n');
        if self.ends_with_newline && !lines.is_empty() {
            log.push(b'\n');
        }
        log
    }
}

impl Transport for Breaks {
    fn stream(
        &self,
        call: &Call,
        _: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<String>, Failure> {
        if !call.path.contains("/log?") {
            let items = if call.path.contains("/pods?") {
                json!([pod("a", 1, ended(0))])
            } else {
                json!([])
            };
            let _ = part(json!({"items": items}).to_string().as_bytes());
            return Ok(Vec::new());
        }
        let mut breaks = self.breaks.lock().unwrap();
        let (left, rng) = &mut *breaks;
        if call.path.contains("tailLines=1") {
            let _ = part(&self.log(&self.lines[self.lines.len().saturating_sub(1)..]));
            return Ok(Vec::new());
        }
        let since = call.path.split_once("sinceTime=").map(|(_, rest)| {
            let since = rest.split('&').next().unwrap_or_default().replace("%3A", ":");
            time::parse(since).unwrap()
        });
        let shown = self.lines.iter().filter(|line| {
            let stamp = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            since.is_none_or(|since| time::parse(stamp).is_none_or(|time| time >= since))
        });
        let mut log = self.log(&shown.cloned().collect::<Vec<_>>());
        if *left == 0 {
            let _ = part(&log);
            return Ok(Vec::new());
        }
        *left -= 1;
        log.truncate(rng.usize(..=log.len()));
        // How it breaks: as if the log ended there, with the node's words for it, or with an error.
        if rng.u8(..4) == 0 && (log.is_empty() || log.ends_with(b"\n")) {
            log.extend_from_slice(WORDS.as_bytes());
        }
        let _ = part(&log);
        match rng.bool() {
            true => Ok(Vec::new()),
            false => Err(Failure::new(FailureKind::Unreachable, "unexpected EOF")),
        }
    }

    fn namespace(&self, _: &Deadline<'_>) -> Result<String, Failure> {
        Ok("n".into())
    }
}

#[test]
fn a_log_is_whole_or_says_what_is_missing() {
    let samples = [
        "abba-log-of a\n[1] 4\nWarning message:\nThis is a test warning \nLa-di-da\n",
        "abba-log-of a\nx\nx\nx\nx\n\n\nabba-log-of a\nfailed to stat x\n",
        "abba-log-of a\n\u{e9}t\u{e9}\r\n10%\r20%\r\nrpc error: code = Unavailable",
        "x\n2026-01-01T00:00:01Z y",
        "abba: begin of the log of a\nx\n\nyabba: end of the log of a\n",
        "abba: begin of the log of a\nabba: end of the log of a\nfailed to stat x\n",
    ];
    fuzz_slowly(20_000, &samples, |input, rng| {
        let mut now: i64 = 1_767_225_600_000_000_000;
        let (text, ends_with_newline) = match input.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (input, false),
        };
        let texts: Vec<&[u8]> = text.split(|byte| *byte == b'\n').take(60).collect();
        let lines = texts.iter().map(|text| {
            now += [0, 1, 1_000, 400_000_000, 1_000_000_000, 5_000_000_000][rng.usize(..6)];
            let stamp = jiff::Timestamp::from_nanosecond(i128::from(now)).unwrap();
            [format!("{stamp} ").as_bytes(), text].concat()
        });
        let cluster = Breaks {
            lines: lines.collect(),
            ends_with_newline,
            breaks: Mutex::new((rng.usize(..8), rng.fork())),
        };
        let connection = Connection {
            transport: &cluster,
            namespace: Some("n"),
            patience: Patience::new(Duration::from_secs(60), &|| false),
            log_patterns: &MESSAGES_OF_R,
            owner: None,
        };
        let markers = Markers::of("a");
        let first = markers.first_line(texts[0]);
        let has_head = first != FirstLine::OfProgram;
        let of_program = &texts[usize::from(has_head)..];
        let has_end = of_program.iter().any(|text| markers.before_end(text).is_some());
        let expected = markers.lines_of_program(of_program);
        // None of it has come, and that is said.
        let Ok(logs) = log(&connection, &JobSelector::Jobs(vec!["a".into()]), &Archived::default()) else {
            return;
        };
        let said = |words: &str| logs.warnings.iter().any(|warning| warning.message.contains(words));
        let lines = &logs.logs[0].lines;
        if said("its end is missing") {
            assert!(expected.starts_with(lines), "{lines:?}");
        } else {
            assert_eq!(*lines, expected);
        }
        assert!(has_head || said("beginning of the log"));
        let is_cut = first == FirstLine::Begin && !has_end;
        assert!(said("its end is missing") || said("The end of the log") == is_cut);
    });
}
