//! The archiving that a server has done: by a process of its own, so that nobody waits for a slow disk or a long log, and
//! one that is killed takes no answers with it.
//!
//! That process tells how it stands about once a second, and ends by itself when nobody reads that any more.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::transport::{run_own, Backoff, Deadline, OwnProgram, Patience};

/// The pauses before the process is started again.
const PAUSES: (Duration, Duration) = match cfg!(test) {
    true => (Duration::from_millis(2), Duration::from_millis(4)),
    false => (Duration::from_secs(2), Duration::from_secs(60)),
};

/// Of which nothing is heard for so long, that does not work. Long logs, and an index that is made anew, take a while.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

/// So much of what the process says is held, should a line have no end.
const LONGEST_LINE: usize = 64 * 1024;

/// How the archiving stands, as the process tells it: a line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Line {
    /// How many jobs it has archived since it began.
    archived: u64,
    /// How many it knows that have ended and are not archived.
    due: u64,
    /// What does not work.
    #[serde(default)]
    trouble: Option<String>,
}

/// How the archiving stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// How many jobs were archived since the server began.
    pub archived: u64,
    /// How many are known that have ended and are not archived.
    pub due: u64,
    /// Whether it works.
    pub is_up: bool,
}

/// The archiving that a server has done.
#[derive(Debug, Default)]
pub struct Archiving {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    last: Line,
    /// When that came.
    heard: Option<Instant>,
    /// How many jobs processes have archived that have ended.
    before: u64,
    /// The trouble that was said on standard error last.
    said: Option<String>,
}

impl Archiving {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub fn stand(&self) -> Stand {
        let told = self.told();
        Stand {
            archived: told.before + told.last.archived,
            due: told.last.due,
            is_up: told.last.trouble.is_none() && told.heard.is_some_and(|heard| heard.elapsed() < LONGEST_SILENCE),
        }
    }

    /// Takes a line of the process. What is to be said to the administrator.
    fn hears(&self, line: &[u8]) -> Option<String> {
        // Whatever else R prints is none of it.
        let line: Line = serde_json::from_slice(line).ok()?;
        let mut told = self.told();
        told.heard = Some(Instant::now());
        told.last = line;
        told.news()
    }

    /// The process has ended. What is to be said to the administrator.
    fn ended(&self, why: &str) -> Option<String> {
        let mut told = self.told();
        told.before += std::mem::take(&mut told.last.archived);
        told.heard = None;
        told.last.trouble = Some(format!(
            "The process that archives has ended, and is started again: {why}"
        ));
        told.news()
    }

    /// Keeps a process of this program at it until it is stopped.
    pub fn keep(&self, program: &OwnProgram, stopped: &dyn Fn() -> bool) {
        let deadline = Deadline::new(Duration::MAX, stopped);
        let patience = Patience::new(Duration::MAX, stopped);
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        while !stopped() {
            let mut rest = Vec::new();
            let mut part = |bytes: &[u8]| {
                rest.extend_from_slice(bytes);
                while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                    say(self.hears(&rest[..end]));
                    rest.drain(..=end);
                }
                rest.truncate(LONGEST_LINE);
                ControlFlow::Continue(())
            };
            let run = run_own(program, &deadline, &mut part);
            if stopped() {
                return;
            }
            if self.told().heard.is_some() {
                backoff.reset();
            }
            say(self.ended(&match run {
                Ok((_, stderr)) => last_words(&stderr),
                Err(error) => error.to_string(),
            }));
            backoff.sleep(&patience);
        }
    }
}

impl Told {
    /// What is to be said, where it is another trouble than that which was said last, or none any more.
    fn news(&mut self) -> Option<String> {
        if self.last.trouble == self.said {
            return None;
        }
        self.said.clone_from(&self.last.trouble);
        Some(match &self.said {
            Some(trouble) => format!("abba: the archive: {trouble}\n"),
            None => "abba: the archive: it is written again.\n".into(),
        })
    }
}

/// The end of what a process has said, on one line.
pub(super) fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.join(" ");
    let skipped = words.chars().count().saturating_sub(500);
    words.chars().skip(skipped).collect()
}

fn say(text: Option<String>) {
    if let Some(text) = text {
        // There is nobody else to tell.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Keeps this shell script at it until it has told something.
    fn keep(script: &str, is_done: &(dyn Fn(&Archiving) -> bool + Sync)) -> Archiving {
        let archiving = Archiving::default();
        let begin = Instant::now();
        archiving.keep(&OwnProgram::shell(script), &|| {
            assert!(begin.elapsed() < Duration::from_secs(600));
            is_done(&archiving)
        });
        archiving
    }

    #[test]
    fn a_process_that_ends_is_started_again_and_what_it_had_archived_counts() {
        let script = r#"echo words of R; echo '{"archived":2,"due":1,"trouble":null}'; echo no more >&2"#;
        let archiving = keep(script, &|archiving| archiving.stand().archived >= 6);
        let said = archiving.told().said.clone();
        // Between two processes, or while the last still runs.
        assert!(said.is_none_or(|said| said.ends_with("is started again: no more")));
    }

    #[test]
    fn what_does_not_work_is_said_once_and_so_is_that_it_works_again() {
        let archiving = Archiving::default();
        assert!(!archiving.stand().is_up);
        let line = |trouble: &str| format!(r#"{{"archived":0,"due":3,"trouble":{trouble}}}"#);
        assert_eq!(archiving.hears(b"> library(abba)"), None);
        assert_eq!(archiving.hears(line("null").as_bytes()), None);
        assert!(archiving.stand().is_up);
        let full = line("\"No space left on device.\"");
        assert_eq!(
            archiving.hears(full.as_bytes()).unwrap(),
            "abba: the archive: No space left on device.\n"
        );
        assert_eq!(archiving.hears(full.as_bytes()), None);
        let stand = archiving.stand();
        assert_eq!((stand.due, stand.is_up), (3, false));
        assert_eq!(
            archiving.hears(line("null").as_bytes()).unwrap(),
            "abba: the archive: it is written again.\n"
        );
        assert!(archiving.stand().is_up);
    }

    #[test]
    fn a_program_that_cannot_be_started_is_said() {
        let archiving = Archiving::default();
        let stopped = || archiving.told().said.is_some();
        archiving.keep(&OwnProgram::at("/no/such/R"), &stopped);
        assert!(!archiving.stand().is_up);
    }
}
