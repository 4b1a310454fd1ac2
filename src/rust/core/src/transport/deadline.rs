//! How long a call may take, and who may end it earlier.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The time limit of each call, and a question whether the user wants to stop. Every call begins with a new
/// [`Deadline`], which is all that a transport takes.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    limit: Duration,
    interrupted: &'a dyn Fn() -> bool,
}

/// When a call that has begun must have ended.
#[derive(Clone, Copy)]
pub struct Deadline<'a> {
    end: Instant,
    /// Until when a person may take to log in: the end of the whole call, also for an attempt of it.
    end_of_login: Instant,
    /// Where the limit is on silence: the end as the last sign of life has moved it.
    moved_end: Option<&'a Cell<Instant>>,
    interrupted: &'a dyn Fn() -> bool,
}

/// How often an interrupt is looked for while waiting. Ctrl-C is to return within 0.2 s.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

impl<'a> Patience<'a> {
    /// Gives each call `limit`. `interrupted` is asked about twenty times a second and answers whether to give up; it is
    /// asked no more after it has said so.
    pub fn new(limit: Duration, interrupted: &'a dyn Fn() -> bool) -> Self {
        Self { limit, interrupted }
    }

    /// The deadline of a call that begins now.
    #[must_use]
    pub fn deadline(&self) -> Deadline<'a> {
        Deadline::new(self.limit, self.interrupted)
    }

    /// The time limit of each call.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Asks whether the user wants to stop.
    pub fn is_interrupted(&self) -> bool {
        (self.interrupted)()
    }

    /// How long to wait before looking for an interrupt again.
    pub fn poll_interval(&self) -> Duration {
        POLL_INTERVAL
    }

    /// Waits for `duration`. `false` where the user wants to stop.
    pub fn sleep(&self, duration: Duration) -> bool {
        Deadline::new(duration, self.interrupted).sleep(duration)
    }
}

impl<'a> Deadline<'a> {
    /// A deadline that is `limit` away. `interrupted` as for [`Patience::new`].
    pub fn new(limit: Duration, interrupted: &'a dyn Fn() -> bool) -> Self {
        // A limit beyond what the clock can hold is as good as a century.
        let now = Instant::now();
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let end = now.checked_add(limit).unwrap_or(now + century);
        Self {
            end,
            end_of_login: end,
            moved_end: None,
            interrupted,
        }
    }

    /// The same limit on silence in place of the whole: it ends where `end` says, which [`Self::end`] of a new deadline moves
    /// with each sign of life.
    #[must_use]
    pub fn movable(self, end: &'a Cell<Instant>) -> Self {
        Self {
            moved_end: Some(end),
            ..self
        }
    }

    /// When it is.
    pub fn end(&self) -> Instant {
        self.moved_end.map_or(self.end, Cell::get)
    }

    /// An earlier one: after this fraction of the time that remains.
    #[must_use]
    pub fn fraction(&self, fraction: f64) -> Self {
        Self {
            end_of_login: self.end_of_login,
            ..Self::new(self.remaining().mul_f64(fraction), self.interrupted)
        }
    }

    /// The same limit for a login that waits for a person: that of the whole call.
    #[must_use]
    pub(super) fn of_login(&self) -> Self {
        Self {
            end: self.end_of_login,
            ..*self
        }
    }

    /// The same with another way to know that the user wants to stop. Only the kept kubectl, a thing of Unix, needs it.
    #[cfg(unix)]
    #[must_use]
    pub(super) fn or_when<'b>(&self, interrupted: &'b dyn Fn() -> bool) -> Deadline<'b>
    where
        'a: 'b,
    {
        Deadline {
            end: self.end,
            end_of_login: self.end_of_login,
            moved_end: self.moved_end,
            interrupted,
        }
    }

    /// The time that remains.
    pub fn remaining(&self) -> Duration {
        self.end().saturating_duration_since(Instant::now())
    }

    /// Whether no time remains.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Asks whether the user wants to stop.
    pub fn is_interrupted(&self) -> bool {
        (self.interrupted)()
    }

    /// How long to wait before looking for an interrupt again, within the time that remains.
    pub fn poll_interval(&self) -> Duration {
        self.remaining().min(POLL_INTERVAL)
    }

    /// Waits for `duration`, or until the deadline. `false` where the user wants to stop.
    pub fn sleep(&self, duration: Duration) -> bool {
        let end = Instant::now() + duration.min(self.remaining());
        loop {
            if self.is_interrupted() {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(POLL_INTERVAL));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_on_silence_stays_one_where_a_login_may_be_waited_for() {
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let moved = Cell::new(Instant::now() + century / 2);
        let whole = Deadline::new(Duration::ZERO, &|| false).movable(&moved);
        let never = || false;
        assert!(!whole.has_passed());
        // The kept kubectl carries a call under this one.
        assert!(!whole.of_login().or_when(&never).has_passed());
    }
}
