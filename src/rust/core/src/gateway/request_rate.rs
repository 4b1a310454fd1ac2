//! How often a caller may ask, and how many jobs they may submit.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Counts requests by a token bucket for each caller: a caller who was quiet may ask a minute's worth at once, and after
/// that as often as the tokens come back.
#[derive(Debug)]
pub struct RequestRate {
    per_minute: f64,
    callers: HashMap<String, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// Callers whose buckets are full again are forgotten when there are more than this many.
const MANY_CALLERS: usize = 10_000;

impl RequestRate {
    /// At most `per_minute` requests a minute for each caller.
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute: f64::from(per_minute),
            callers: HashMap::new(),
        }
    }

    /// Counts a request at `now`; an error says after how many whole seconds the next one is allowed.
    pub fn ask(&mut self, caller: &str, now: Instant) -> Result<(), u64> {
        self.ask_for(caller, 1, now)
    }

    /// The same for as much as `count` requests. More than a minute's worth is granted to who was quiet for a minute, and
    /// waited for afterwards. None is always granted: a repetition makes no job, however many were made before it.
    pub fn ask_for(&mut self, caller: &str, count: usize, now: Instant) -> Result<(), u64> {
        if count == 0 {
            return Ok(());
        }
        if self.callers.len() > MANY_CALLERS {
            self.callers
                .retain(|_, bucket| now.duration_since(bucket.filled) < Duration::from_secs(60));
        }
        let per_minute = self.per_minute;
        let bucket = self.callers.entry(caller.to_string()).or_insert(Bucket {
            tokens: per_minute,
            filled: now,
        });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * per_minute / 60.0).min(per_minute);
        bucket.filled = now;
        let count = count as f64;
        let needed = count.min(per_minute);
        if bucket.tokens >= needed {
            bucket.tokens -= count;
            return Ok(());
        }
        Err(((needed - bucket.tokens) * 60.0 / per_minute).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_at_once_and_then_as_the_minute_passes() {
        let mut rate = RequestRate::new(60);
        let begin = Instant::now();
        for _ in 0..60 {
            assert_eq!(rate.ask("alice", begin), Ok(()));
        }
        assert_eq!(rate.ask("alice", begin), Err(1));
        // Others are not concerned.
        assert_eq!(rate.ask("bob", begin), Ok(()));
        let later = begin + Duration::from_millis(1001);
        assert_eq!(rate.ask("alice", later), Ok(()));
        assert_eq!(rate.ask("alice", later), Err(1));
    }

    #[test]
    fn many_at_once_count_as_many_and_more_than_a_minutes_worth_is_waited_for_afterwards() {
        let mut rate = RequestRate::new(60);
        let begin = Instant::now();
        assert_eq!(rate.ask_for("alice", 50, begin), Ok(()));
        assert_eq!(rate.ask_for("alice", 20, begin), Err(10));
        assert_eq!(rate.ask_for("alice", 10, begin), Ok(()));
        assert_eq!(rate.ask_for("bob", 180, begin), Ok(()));
        assert_eq!(rate.ask("bob", begin), Err(121));
        assert_eq!(rate.ask_for("bob", 0, begin), Ok(()));
        assert_eq!(rate.ask("bob", begin + Duration::from_secs(122)), Ok(()));
    }

    #[test]
    fn a_slow_rate_says_how_long_to_wait() {
        let mut rate = RequestRate::new(2);
        let begin = Instant::now();
        assert!(rate.ask("alice", begin).is_ok() && rate.ask("alice", begin).is_ok());
        assert_eq!(rate.ask("alice", begin), Err(30));
    }
}
