//! How often a call is made.

use std::time::Duration;

use crate::transport::{Backoff, Deadline, Failure, FailureKind};

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
    deadline: Deadline<'a>,
    backoff: Backoff,
    left: usize,
}

impl<'a> Attempts<'a> {
    /// Those of a call that ends at `deadline`.
    pub(super) fn new(deadline: Deadline<'a>, longest_pause: Duration) -> Self {
        Self {
            deadline,
            backoff: Backoff::new(FIRST_PAUSE, longest_pause),
            left: FURTHER_ATTEMPTS,
        }
    }

    /// The pause after a failure; `None`: give up. A server that is busy is asked again as long as there is time, and not
    /// before the moment that it names.
    fn pause_after(&mut self, failure: &Failure) -> Option<Duration> {
        if self.left == 0 && failure.kind != FailureKind::TooManyRequests {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        let pause = self.backoff.pause();
        let pause = failure.retry_after.map_or(pause, |wanted| wanted.max(pause));
        // An attempt without time would hide this failure behind a time-out.
        (pause + TIME_FOR_AN_ATTEMPT < self.deadline.remaining()).then_some(pause)
    }

    /// Waits until the next attempt is due.
    ///
    /// Errors: `failure`, where another attempt is not worth it; the same as an interrupt, where the user wants to stop.
    pub(super) fn wait_after(&mut self, failure: Failure) -> Result<(), Failure> {
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
    #[test]
    fn a_busy_server_is_asked_until_the_time_is_over_and_never_before_it_wishes() {
        let busy = |wish| Failure {
            retry_after: wish,
            ..Failure::new(FailureKind::TooManyRequests, "scripted")
        };
        let attempts = || Attempts::new(Deadline::new(Duration::from_secs(60), &|| false), LONGEST_PAUSE);
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
