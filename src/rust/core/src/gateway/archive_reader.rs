//! Who reads the index of an archive for a server: a process of its own, so that a folder that does not answer, as one that is
//! mounted from a machine that is away, keeps those waiting alone who ask for what is in it, and them for a while.
//!
//! A question is JSON, and so is its answer; an empty one is answered as soon as the process is there. One that does
//! not answer is ended, and another one started; until that has answered, questions are refused at once.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::archive::{AskIndex, Question};
use super::archiving::last_words;
use crate::operations::ArchivedJob;
use crate::transport::{Backoff, Deadline, OwnProgram, Patience, Responder};

/// For how long a request waits in all, also for those before it.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long the process may take to be there.
const LONGEST_START: Duration = Duration::from_secs(60);

/// The pauses before the process is started again.
const PAUSES: (Duration, Duration) = match cfg!(test) {
    true => (Duration::from_millis(2), Duration::from_millis(4)),
    false => (Duration::from_secs(1), Duration::from_secs(30)),
};

type Rows = Result<Vec<ArchivedJob>, String>;

/// A question, and where the answer goes.
struct Asking {
    question: Question,
    answer: Sender<Rows>,
    /// Whoever asks waits until then.
    until: Instant,
}

/// Why questions are refused; `None`: they are answered.
type Trouble = Mutex<Option<String>>;

/// Keeps the process, and has it answer.
pub struct IndexReader {
    questions: Receiver<Asking>,
    /// Gone with the server.
    trouble: Weak<Trouble>,
}

/// How a server asks the index of its archive, and who is to answer it, by [`IndexReader::keep`].
pub fn index_reader() -> (AskIndex, IndexReader) {
    let (sender, questions) = mpsc::channel();
    let trouble = Arc::new(Trouble::default());
    let reader = IndexReader {
        questions,
        trouble: Arc::downgrade(&trouble),
    };
    // Each request asks from a thread of its own.
    let sender = Mutex::new(sender);
    let ask = move |question| {
        if let Some(why) = &*lock(&trouble) {
            return Err(why.clone());
        }
        let (answer, answered) = mpsc::channel();
        let asking = Asking {
            question,
            answer,
            until: Instant::now() + LONGEST_WAIT,
        };
        lock(&sender).send(asking).map_err(|_| "nobody reads it".to_string())?;
        let answered = answered.recv_timeout(LONGEST_WAIT);
        answered.unwrap_or_else(|_| Err("the questions before this one take too long".into()))
    };
    (Box::new(ask), reader)
}

impl IndexReader {
    /// Keeps a process of this program, and has it answer the questions, each within so long, until the server is gone.
    pub fn keep(self, program: &OwnProgram, patience: Duration) {
        let is_stopped = || self.trouble.strong_count() == 0;
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        while !is_stopped() {
            match Responder::start(program) {
                Ok(process) => self.serve(process, patience, &is_stopped, &mut backoff),
                Err(error) => self.refuse(&error),
            }
            backoff.sleep(&Patience::new(Duration::MAX, &is_stopped));
        }
    }

    /// Has a process answer for as long as it does.
    fn serve(&self, mut process: Responder, patience: Duration, is_stopped: &dyn Fn() -> bool, backoff: &mut Backoff) {
        let deadline = |limit| Deadline::new(limit, is_stopped);
        // The first question is for the folder's sake: that its answer holds nothing is no matter.
        let first = process
            .ask("", &deadline(LONGEST_START))
            .and_then(|_| process.ask(&line(&Question::default()), &deadline(patience)));
        if let Err(error) = first {
            // Before the process is ended, which takes as long as the folder holds it.
            return self.refuse(&error);
        }
        backoff.reset();
        self.set(None);
        while let Ok(asking) = self.questions.recv() {
            // When an answer took long, those who have given up meanwhile keep nobody else waiting.
            if asking.until < Instant::now() {
                continue;
            }
            match process.ask(&line(&asking.question), &deadline(patience)) {
                // Whoever has asked may have given up.
                Ok(answer) => drop(asking.answer.send(rows(&answer))),
                Err(error) => {
                    self.refuse(&error);
                    let _ = asking.answer.send(Err(why(&error)));
                    return;
                }
            }
        }
    }

    fn set(&self, why: Option<String>) {
        if let Some(trouble) = self.trouble.upgrade() {
            *lock(&trouble) = why;
        }
    }

    /// Refuses the questions that are asked and will be.
    fn refuse(&self, error: &io::Error) {
        self.set(Some(why(error)));
        for asking in self.questions.try_iter() {
            let _ = asking.answer.send(Err(why(error)));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the process does not answer, for the administrator.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            "its folder does not answer, as one that is mounted from a machine that is away; it is tried again".into()
        }
        io::ErrorKind::UnexpectedEof => format!(
            "the process that reads it has ended, and is started again: {}",
            last_words(error.to_string().as_bytes())
        ),
        _ => format!("the process that reads it cannot be started: {error}"),
    }
}

fn line(question: &Question) -> String {
    serde_json::to_string(question).unwrap_or_default()
}

/// What the process answers: an object of columns, each an array; or an array of a string, why there are none.
fn rows(answer: &[u8]) -> Rows {
    let columns = match serde_json::from_slice(answer) {
        Ok(Value::Object(columns)) => columns,
        Ok(Value::Array(why)) if !why.is_empty() => {
            return Err(why.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
        }
        _ => return Err("its answer is no data frame".into()),
    };
    let count = columns.values().filter_map(Value::as_array).map(Vec::len).max();
    let mut rows = vec![Map::new(); count.unwrap_or_default()];
    for (name, values) in columns {
        let Value::Array(values) = values else { continue };
        for (row, value) in rows.iter_mut().zip(values) {
            if !value.is_null() {
                row.insert(name.clone(), value);
            }
        }
    }
    let read = |row| serde_json::from_value(Value::Object(row)).map_err(|error| format!("its rows are none: {error}"));
    rows.into_iter().map(read).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::test_folder::Folder;
    use std::fs;
    use std::path::Path;
    use std::thread;

    const LONG: Duration = Duration::from_secs(600);

    /// An index that this shell script reads.
    fn index(script: &str, patience: Duration) -> AskIndex {
        let (ask, reader) = index_reader();
        let program = OwnProgram::shell(&format!("read number line; echo \"$number \"; {script}"));
        thread::spawn(move || reader.keep(&program, patience));
        ask
    }

    /// Asks until the answer is as wanted.
    fn ask_until(ask: &AskIndex, is_wanted: impl Fn(&Rows) -> bool) -> Rows {
        let begin = Instant::now();
        loop {
            let rows = ask(Question::default());
            if is_wanted(&rows) {
                return rows;
            }
            assert!(begin.elapsed() < LONG, "{rows:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn columns_become_jobs() {
        let answer = r#"{"job_id": ["a", "b"], "submitted": [1800000000, null], "is_final": [true, null], "pod_id": ["p", null]}"#;
        let ask = index(
            &format!("while read number line; do echo $number '{answer}'; done"),
            LONG,
        );
        let rows = ask(Question::default()).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].submitted, rows[0].is_final), (Some(1_800_000_000), true));
        assert_eq!((rows[1].job_id.as_str(), &rows[1].pod_id), ("b", &None));
    }

    #[test]
    fn what_is_no_row_is_told() {
        for (answer, told) in [
            (r#"["the disk is gone"]"#, "the disk is gone"),
            ("[]", "its answer is no data frame"),
            ("Error", "its answer is no data frame"),
            (r#"{"submitted": ["x"]}"#, "its rows are none"),
        ] {
            let ask = index(
                &format!("while read number line; do echo $number '{answer}'; done"),
                LONG,
            );
            let why = ask(Question::default()).unwrap_err();
            assert!(why.starts_with(told), "{why}");
        }
    }

    #[test]
    fn a_process_that_hangs_is_ended_and_meanwhile_questions_are_refused_at_once() {
        let folder = Folder::new();
        let hangs = folder.path("hangs");
        let script = format!(
            "while read number line; do [ ! -e {hangs} ] || {{ echo $$ >> {hangs}; exec sleep 1000; }}; echo $number '{{\"job_id\": []}}'; done"
        );
        let ask = index(&script, Duration::from_millis(300));
        ask_until(&ask, Result::is_ok).unwrap();
        fs::write(&hangs, "").unwrap();
        let why = ask_until(&ask, Result::is_err).unwrap_err();
        assert!(why.starts_with("its folder does not answer"), "{why}");
        // Until another one has answered. It is asked again and again.
        let hung = || {
            fs::read_to_string(&hangs)
                .unwrap()
                .lines()
                .map(String::from)
                .collect::<Vec<_>>()
        };
        let begin = Instant::now();
        while hung().len() < 3 {
            assert!(ask(Question::default()).is_err());
            assert!(begin.elapsed() < LONG);
        }
        let left = hung();
        fs::remove_file(&hangs).unwrap();
        assert_eq!(ask_until(&ask, Result::is_ok).unwrap(), []);
        for id in left {
            assert!(!Path::new("/proc").join(id).exists());
        }
    }

    #[test]
    fn a_process_that_ends_is_started_again_and_ends_with_the_server() {
        let folder = Folder::new();
        let id = folder.path("id");
        let script = format!("echo $$ > {id}; read number first; echo $number '[\"\"]'; read line; echo no more >&2");
        let ask = index(&script, LONG);
        let why = ask(Question::default()).unwrap_err();
        assert!(why.ends_with("is started again: no more"), "{why}");
        // The next one waits for a question.
        let begin = Instant::now();
        let is_there = || {
            let id = fs::read_to_string(&id).unwrap_or_default();
            !id.trim().is_empty() && Path::new("/proc").join(id.trim()).exists()
        };
        while !is_there() {
            assert!(begin.elapsed() < LONG);
        }
        drop(ask);
        while is_there() {
            assert!(begin.elapsed() < LONG);
        }
    }

    #[test]
    fn a_program_that_cannot_be_started_is_told() {
        let (ask, reader) = index_reader();
        thread::spawn(move || reader.keep(&OwnProgram::at("/no/such/R"), LONG));
        let why = ask_until(&ask, Result::is_err).unwrap_err();
        assert!(why.contains("cannot be started"), "{why}");
    }
}
