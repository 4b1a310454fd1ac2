//! Pauses between attempts.

use std::time::Duration;

use super::Patience;

/// Pauses that double up to a longest one.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with a pause of `first`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// Begins anew with the first pause.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// Waits for the next pause. `false` where the user wants to stop.
    pub fn sleep(&mut self, patience: &Patience<'_>) -> bool {
        patience.sleep(self.pause())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(300));
        let mut next = || backoff.pause().as_millis();
        assert_eq!([next(), next(), next(), next(), next()], [50, 100, 200, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.pause().as_millis(), 50);
    }
}
