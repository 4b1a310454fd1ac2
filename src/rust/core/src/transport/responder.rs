//! A program that is kept, and is asked again and again: each line on its stdin is a number and a question, and the line on its
//! stdout that begins with the same number is the answer. Whatever else it prints is none.

use std::io::{self, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use super::process::{self, Heard, OwnProgram, Running, PARTS_WAITING};
use super::Deadline;

/// So much of what the program says on stderr is kept.
const LAST_WORDS: usize = 4096;

/// The program; it is ended and reaped with this.
pub struct Responder {
    running: Running,
    questions: Sender<Vec<u8>>,
    streams: Receiver<Heard>,
    /// The number of the last question.
    asked: u64,
    /// What has come of the next line.
    begun: Vec<u8>,
    stderr: Vec<u8>,
}

impl Responder {
    /// Starts a program, in a process group of its own.
    ///
    /// Errors: it cannot be started.
    pub fn start(program: &OwnProgram) -> io::Result<Self> {
        let mut command = program.command();
        command
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
            asked: 0,
            begun: Vec::new(),
            stderr: Vec::new(),
        })
    }

    /// Asks, and gives back the answer, without its number and end of line. After an error it is of no more use: it may be at
    /// that question yet.
    ///
    /// Errors: it has ended, of kind `UnexpectedEof` with its last words; it does not answer in time; the user wants to stop.
    pub fn ask(&mut self, question: &str, deadline: &Deadline<'_>) -> io::Result<Vec<u8>> {
        self.asked += 1;
        let number = format!("{} ", self.asked);
        // Where it has ended its streams say so.
        let _ = self.questions.send(format!("{number}{question}\n").into_bytes());
        loop {
            if deadline.is_interrupted() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let heard = self
                .streams
                .recv_timeout(deadline.poll_interval().max(Duration::from_millis(1)));
            match heard {
                Ok(Heard::Stdout(part)) => {
                    if let Some(answer) = self.answer(&part, number.as_bytes()) {
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

    /// The answer with this number, where a part of the output has its end. Nobody waits for what else is in that.
    fn answer(&mut self, part: &[u8], number: &[u8]) -> Option<Vec<u8>> {
        let mut answer = None;
        for piece in part.split_inclusive(|&byte| byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if self.begun.ends_with(b"\n") {
                let mut line = std::mem::take(&mut self.begun);
                line.pop();
                if line.starts_with(number) {
                    line.drain(..number.len());
                    answer = Some(line);
                }
            }
        }
        answer
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
    use std::path::Path;

    fn shell(script: &str) -> Responder {
        Responder::start(&OwnProgram::shell(script)).unwrap()
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
    fn what_is_printed_beside_the_answers_is_none() {
        let script = "echo Welcome; echo; while read number question; do
            echo; echo 0 old; echo $question; echo \"$number $question\"; echo more; printf 'no end'; echo; done";
        let mut program = shell(script);
        for question in ["", "a", "b 2", "c"] {
            assert_eq!(program.ask(question, &patient()).unwrap(), question.as_bytes());
        }
    }

    #[test]
    fn one_that_ends_says_its_last_words() {
        let mut program = shell("read line; echo 1 answer; read line; head -c 100000 /dev/zero >&2; echo no more >&2");
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
        let mut program = shell("read line; echo 1 $$; exec sleep 1000");
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
