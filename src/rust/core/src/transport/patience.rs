//! How long a call may take, and who may end it earlier.

use std::time::{Duration, Instant};

/// A time limit, and a question whether the user wants to stop.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    limit: Duration,
    deadline: Instant,
    interrupted: &'a dyn Fn() -> bool,
}

/// How often an interrupt is looked for while waiting. Ctrl-C is to return within 0.2 s.
const INTERRUPT_CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl<'a> Patience<'a> {
    /// Patience that begins now and lasts `limit`. `interrupted` is asked about twenty times a second and answers
    /// whether to give up; it is asked no more after it has said so.
    pub fn new(limit: Duration, interrupted: &'a dyn Fn() -> bool) -> Self {
        // A limit beyond what the clock can hold is as good as a century.
        let now = Instant::now();
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        Self {
            limit,
            deadline: now.checked_add(limit).unwrap_or(now + century),
            interrupted,
        }
    }

    /// The same, beginning anew.
    #[must_use]
    pub fn renewed(&self) -> Self {
        Self::new(self.limit, self.interrupted)
    }

    /// The same, but giving up earlier: after a share of what is left.
    #[must_use]
    pub fn share_of_rest(&self, share: f64) -> Self {
        let mut shorter = *self;
        shorter.deadline = Instant::now() + self.rest().mul_f64(share);
        shorter
    }

    /// The whole limit.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// What is left of it.
    pub fn rest(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.rest().is_zero()
    }

    /// Asks whether the user wants to stop.
    pub fn is_interrupted(&self) -> bool {
        (self.interrupted)()
    }

    /// How long to wait before looking for an interrupt again, where there is no time limit.
    pub fn look_interval(&self) -> Duration {
        INTERRUPT_CHECK_INTERVAL
    }

    /// How long to wait before looking for an interrupt again, within the time limit.
    pub fn next_look(&self) -> Duration {
        self.rest().min(INTERRUPT_CHECK_INTERVAL)
    }

    /// Waits for `duration`, or until the limit. `false` where the user wants to stop.
    pub fn sleep(&self, duration: Duration) -> bool {
        let end = Instant::now() + duration.min(self.rest());
        loop {
            if self.is_interrupted() {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(INTERRUPT_CHECK_INTERVAL));
        }
    }
}
