//! A program that is kept, and is asked again and again: each line on its stdin is a question, the next line on its stdout the
//! answer.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use super::process::{self, Heard, Running, PARTS_WAITING};
use super::Deadline;

/// So much of what the program says on stderr is kept.
const LAST_WORDS: usize = 4096;

/// The program; it is ended and reaped with this.
pub struct Responder {
    running: Running,
    questions: Sender<Vec<u8>>,
    streams: Receiver<Heard>,
    /// What has come of the next answer.
    begun: Vec<u8>,
    stderr: Vec<u8>,
}

impl Responder {
    /// Starts a program with arguments (no shell), in a process group of its own.
    ///
    /// Errors: it cannot be started.
    pub fn start<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = Running::start(&mut command)?;
        let child = &mut running.0;
        let (sender, streams) = mpsc::sync_channel(PARTS_WAITING);
        process::read_in_background(child.stdout.take(), sender.clone(), Heard::Stdout)?;
        process::read_in_background(child.stderr.take(), sender, Heard::Stderr)?;
        let (questions, lines) = mpsc::channel();
        write_in_background(child.stdin.take(), lines)?;
        Ok(Self {
            running,
            questions,
            streams,
            begun: Vec::new(),
            stderr: Vec::new(),
        })
    }

    /// Asks, and gives back the answer, without its end of line. After an error it is of no more use: the answer may come yet.
    ///
    /// Errors: it has ended, of kind `UnexpectedEof` with its last words; it does not answer in time; the user wants to stop.
    pub fn ask(&mut self, question: &str, deadline: &Deadline<'_>) -> io::Result<Vec<u8>> {
        // Where it has ended its streams say so.
        let _ = self.questions.send(format!("{question}\n").into_bytes());
        loop {
            if deadline.is_interrupted() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let heard = self
                .streams
                .recv_timeout(deadline.poll_interval().max(Duration::from_millis(1)));
            match heard {
                Ok(Heard::Stdout(part)) => {
                    let before = self.begun.len();
                    let end = part.iter().position(|&byte| byte == b'\n');
                    self.begun.extend_from_slice(&part);
                    if let Some(end) = end {
                        let rest = self.begun.split_off(before + end + 1);
                        let mut answer = std::mem::replace(&mut self.begun, rest);
                        answer.pop();
                        return Ok(answer);
                    }
                }
                Ok(Heard::Stderr(words)) => self.hear(&words),
                Ok(Heard::Closed) | Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                // Last: what has come while this process stood still has come in time.
                Err(RecvTimeoutError::Timeout) if deadline.has_passed() => return Err(io::ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn hear(&mut self, words: &[u8]) {
        self.stderr.extend_from_slice(words);
        let skipped = self.stderr.len().saturating_sub(LAST_WORDS);
        self.stderr.drain(..skipped);
    }

    fn ended(&mut self) -> io::Error {
        self.running.end_group();
        let mut words = Vec::new();
        process::hear_the_rest(&self.streams, 1, &mut words);
        self.hear(&words);
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            String::from_utf8_lossy(&self.stderr).into_owned(),
        )
    }
}

/// Writes to a stream in a thread of its own: a program that does not read would block whoever asks.
fn write_in_background(stream: Option<ChildStdin>, lines: Receiver<Vec<u8>>) -> io::Result<()> {
    let Some(mut stream) = stream else { return Ok(()) };
    thread::Builder::new().name("abba-writer".into()).spawn(move || {
        process::leave_signals_to_main_thread();
        for line in lines {
            if stream.write_all(&line).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Responder {
        Responder::start(Path::new("/bin/sh"), &["-c", script]).unwrap()
    }

    fn patient() -> Deadline<'static> {
        Deadline::new(Duration::from_secs(600), &|| false)
    }

    #[test]
    fn questions_and_answers_may_be_long_and_many() {
        let mut cat = shell("exec cat");
        for length in [0, 1, 3_000_000, 10] {
            let question = "x".repeat(length);
            assert_eq!(cat.ask(&question, &patient()).unwrap(), question.as_bytes());
        }
    }

    #[test]
    fn one_that_ends_says_its_last_words() {
        let mut program = shell("read line; echo answer; read line; head -c 100000 /dev/zero >&2; echo no more >&2");
        assert_eq!(program.ask("", &patient()).unwrap(), b"answer");
        for _ in 0..2 {
            let error = program.ask("", &patient()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert!(error.to_string().ends_with("no more\n"), "{error}");
            assert!(error.to_string().len() <= LAST_WORDS);
        }
    }

    #[test]
    fn one_that_does_not_answer_is_left_and_ended() {
        let mut program = shell("read line; echo $$; exec sleep 1000");
        let id = String::from_utf8(program.ask("", &patient()).unwrap()).unwrap();
        // More than a pipe takes.
        let question = "x".repeat(3_000_000);
        let soon = Deadline::new(Duration::from_millis(100), &|| false);
        assert_eq!(
            program.ask(&question, &soon).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        let stop = Deadline::new(Duration::from_secs(600), &|| true);
        assert_eq!(program.ask("", &stop).unwrap_err().kind(), io::ErrorKind::Interrupted);
        drop(program);
        assert!(!Path::new("/proc").join(id).exists());
    }
}
