//! Work that goes on in a thread of its own, while R asks for its news.
//!
//! R's own thread draws its status line and prints between two questions; the work never touches R.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use abba_core::transport::leave_signals_to_main_thread;
use abba_core::{Error, ErrorClass};

use crate::objects::Argument;
use crate::settings::is_pending;

/// What the thread says.
enum Message<News, Outcome> {
    News(News),
    Ended(Result<Outcome, Error>),
}

/// Work under way. It ends by [`Background::end`], or when R no longer holds it.
pub struct Background<News: 'static, Outcome: 'static> {
    messages: Receiver<Message<News, Outcome>>,
    stop: Arc<AtomicBool>,
    /// How it ended, until the news before that have been taken.
    failed: RefCell<Option<Error>>,
}

/// What came of a question.
pub struct Answer<News, Outcome> {
    /// All that was said since the last question.
    pub news: Vec<News>,
    /// How the work ended, once it has.
    pub outcome: Option<Outcome>,
}

impl<News, Outcome> Drop for Background<News, Outcome> {
    fn drop(&mut self) {
        // The work looks at this about twenty times a second.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How long an end is waited for. The work looks for it every 50 ms, and then ends kubectl.
const LONGEST_END: Duration = Duration::from_secs(2);

/// How often Ctrl-C is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// For so long news are gathered once the first is there: printing each line of a long log by itself takes R far longer
/// than reading it takes the thread, and nobody sees the difference.
const GATHER: Duration = Duration::from_millis(10);

impl<News: Send + 'static, Outcome: Send + 'static> Background<News, Outcome> {
    /// Begins `work`. It is given the question whether to stop, and a way to tell news, which breaks off when nobody
    /// listens any more.
    pub fn begin(
        work: impl FnOnce(&dyn Fn() -> bool, &mut dyn FnMut(News) -> ControlFlow<()>) -> Result<Outcome, Error>
            + Send
            + 'static,
    ) -> Result<Self, Error> {
        let (sender, messages) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        spawn("abba-background", move || {
            let ended = work(
                &|| stopped.load(Ordering::Relaxed),
                &mut |news| match sender.send(Message::News(news)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                },
            );
            // Nobody may be listening any more.
            let _ = sender.send(Message::Ended(ended));
        })?;
        Ok(Self {
            messages,
            stop,
            failed: RefCell::new(None),
        })
    }

    /// The work that R holds by a pointer.
    ///
    /// Errors: it is another pointer, or of a session that has ended.
    pub fn of(pointer: Argument<'_>) -> Result<&Self, Error> {
        pointer.pointee().ok_or_else(gone)
    }

    /// Ends the work and waits until it is over, so that no kubectl of it is left when R goes on (or ends). R would only
    /// let go of it when it tidies up its memory.
    pub fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + LONGEST_END;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(rest) {
                Ok(Message::News(_)) => {}
                Ok(Message::Ended(_)) | Err(_) => return,
            }
        }
    }

    /// Waits up to `patience` for something to be said, and takes all of it. How the work failed is told after all news.
    pub fn ask(&self, patience: Duration) -> Result<Answer<News, Outcome>, Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut deadline = Instant::now() + patience;
        let mut news = Vec::new();
        loop {
            if is_pending() {
                return Err(Error::new(ErrorClass::Interrupted, "Stopped."));
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(rest.min(LOOK_INTERVAL)) {
                Ok(Message::News(one)) => {
                    if news.is_empty() {
                        deadline = deadline.min(Instant::now() + GATHER);
                    }
                    news.push(one);
                    if Instant::now() >= deadline {
                        return Ok(Answer { news, outcome: None });
                    }
                }
                Ok(Message::Ended(Err(error))) if news.is_empty() => return Err(error),
                Ok(Message::Ended(Err(error))) => {
                    // What came before it must not be lost: it is the next answer.
                    self.failed.replace(Some(error));
                    return Ok(Answer { news, outcome: None });
                }
                Ok(Message::Ended(Ok(outcome))) => {
                    return Ok(Answer {
                        news,
                        outcome: Some(outcome),
                    })
                }
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) if rest <= LOOK_INTERVAL => return Ok(Answer { news, outcome: None }),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Does something in a thread of its own, which leaves signals to R's.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = move || {
        leave_signals_to_main_thread();
        work();
    };
    let started = thread::Builder::new().name(name.into()).spawn(thread);
    started
        .map(drop)
        .map_err(|error| Error::new(ErrorClass::Internal, format!("A thread cannot be started: {error}.")))
}

fn gone() -> Error {
    Error::new(ErrorClass::Internal, "The work in the background is gone.")
}
