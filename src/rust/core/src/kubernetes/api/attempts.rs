//! How often a call is made.

use std::time::Duration;

use crate::transport::{Backoff, Deadline, Failure, FailureKind, Transport};

/// How often a call is tried again. With the pauses between them the attempts outlast a short restart of the API server's
/// front, and do not keep a user waiting long for the news that there is no server.
pub(super) const FURTHER_ATTEMPTS: usize = 4;

/// The first pause between attempts.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 250 });

/// The longest one.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 2000 });

/// What an attempt needs at least: kubectl alone takes a tenth of a second to start, and more on a busy machine.
const TIME_FOR_AN_ATTEMPT: Duration = Duration::from_millis(500);

/// The attempts of one call.
pub(super) struct Attempts<'a> {
    transport: &'a dyn Transport,
    answered: usize,
    deadline: Deadline<'a>,
    backoff: Backoff,
    left: usize,
    /// The words of the last failure.
    last_words: String,
}

impl<'a> Attempts<'a> {
    /// Those of a call over `transport` that ends at `deadline`.
    pub(super) fn new(transport: &'a dyn Transport, deadline: Deadline<'a>, longest_pause: Duration) -> Self {
        Self {
            transport,
            answered: transport.answered(),
            deadline,
            backoff: Backoff::new(FIRST_PAUSE, longest_pause),
            left: FURTHER_ATTEMPTS,
            last_words: String::new(),
        }
    }

    /// The pause after a failure; `None`: give up. A server that is busy is asked again as long as there is time, and not
    /// before the moment that it names; so is one to which this connection broke, while it answers other calls: of many
    /// calls at once some meet with a break at each of a few attempts.
    fn pause_after(&mut self, failure: &Failure) -> Option<Duration> {
        let before = std::mem::replace(&mut self.answered, self.transport.answered());
        let goes_on = match failure.kind {
            FailureKind::TooManyRequests => true,
            FailureKind::Unreachable => self.answered > before,
            _ => false,
        };
        if self.left == 0 && !goes_on {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        let pause = self.backoff.pause();
        let pause = failure.retry_after.map_or(pause, |wanted| wanted.max(pause));
        // An attempt without time would hide this failure behind a time-out.
        (pause + TIME_FOR_AN_ATTEMPT < self.deadline.remaining()).then_some(pause)
    }

    /// A time-out with the words of the failure before it: the time went by with attempts that failed so.
    pub(super) fn with_last_words(&self, failure: Failure) -> Failure {
        match failure.kind {
            FailureKind::Timeout if failure.words.is_empty() => Failure {
                words: self.last_words.clone(),
                ..failure
            },
            _ => failure,
        }
    }

    /// Waits until the next attempt is due.
    ///
    /// Errors: `failure`, where another attempt is not worth it; the same as an interrupt, where the user wants to stop.
    pub(super) fn wait_after(&mut self, failure: Failure) -> Result<(), Failure> {
        let failure = self.with_last_words(failure);
        self.last_words.clone_from(&failure.words);
        match self.pause_after(&failure) {
            Some(pause) if self.deadline.sleep(pause) => Ok(()),
            Some(_) => Err(Failure {
                kind: FailureKind::Interrupted,
                ..failure
            }),
            None => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Call;
    use std::ops::ControlFlow;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A transport that answered so many calls of others.
    #[derive(Default)]
    struct Answers(AtomicUsize);

    impl Transport for Answers {
        fn stream(
            &self,
            call: &Call,
            _: &Deadline<'_>,
            _: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
        ) -> Result<Vec<String>, Failure> {
            panic!("{}", call.request_line())
        }

        fn answered(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }

        fn namespace(&self, _: &Deadline<'_>) -> Result<String, Failure> {
            panic!()
        }
    }

    fn attempts(transport: &Answers) -> Attempts<'_> {
        Attempts::new(
            transport,
            Deadline::new(Duration::from_secs(60), &|| false),
            LONGEST_PAUSE,
        )
    }

    #[test]
    fn a_time_out_does_not_hide_why_the_attempts_before_it_failed() {
        let transport = Answers::default();
        let mut call = attempts(&transport);
        let said = Failure {
            words: "Error from server (InternalError): failed calling webhook".into(),
            ..Failure::new(FailureKind::RuleNotChecked, "")
        };
        assert_eq!(call.wait_after(said.clone()), Ok(()));
        let timeout = || Failure::new(FailureKind::Timeout, "");
        assert_eq!(call.with_last_words(timeout()).words, said.words);
        assert_eq!(call.with_last_words(Failure::new(FailureKind::Forbidden, "")).words, "");
        assert_eq!(attempts(&transport).with_last_words(timeout()).words, "");
    }

    #[test]
    fn a_call_whose_connections_break_is_made_again_while_others_are_answered() {
        let transport = Answers::default();
        let broken = Failure::new(FailureKind::Unreachable, "scripted");
        let mut call = attempts(&transport);
        for _ in 0..100 {
            transport.0.fetch_add(1, Ordering::Relaxed);
            assert!(call.pause_after(&broken).is_some());
        }
        assert!(call.pause_after(&broken).is_none(), "none was answered since");
        // What the server itself answers is no break.
        let mut call = attempts(&transport);
        let mut taken = 0;
        while call
            .pause_after(&Failure::new(FailureKind::Server, "scripted"))
            .is_some()
        {
            transport.0.fetch_add(1, Ordering::Relaxed);
            taken += 1;
        }
        assert_eq!(taken, FURTHER_ATTEMPTS);
    }

    #[test]
    fn a_busy_server_is_asked_until_the_time_is_over_and_never_before_it_wishes() {
        let busy = |wish| Failure {
            retry_after: wish,
            ..Failure::new(FailureKind::TooManyRequests, "scripted")
        };
        let transport = Answers::default();
        let attempts = || attempts(&transport);
        let mut busy_server = attempts();
        for _ in 0..100 {
            assert!(busy_server.pause_after(&busy(None)).is_some());
        }
        let wish = Duration::from_secs(7);
        assert_eq!(attempts().pause_after(&busy(Some(wish))), Some(wish));
        // There is no time for that.
        let wish = Duration::from_secs(600);
        assert_eq!(attempts().pause_after(&busy(Some(wish))), None);
        // Other failures are soon given up.
        let mut failing_server = attempts();
        let failure = Failure::new(FailureKind::Server, "scripted");
        let taken = (0..100)
            .filter(|_| failing_server.pause_after(&failure).is_some())
            .count();
        assert_eq!(taken, FURTHER_ATTEMPTS);
    }
}
