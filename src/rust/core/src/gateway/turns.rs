//! Places for work of a kind that callers take in turn, so that none of them takes the places of all others.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A number of places, of which one caller may have some. Those who find none wait. A place that gets free goes to the
/// caller that has the fewest, and of several to the one whose turn is longest ago, however many requests others have
/// waiting.
#[derive(Debug)]
pub struct Turns {
    places: usize,
    places_of_one: usize,
    /// How many requests of one caller may wait.
    waiting_of_one: usize,
    state: Mutex<State>,
}

/// A place, held until this is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    caller: String,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The caller has as many as one caller may have.
    OfOne,
    /// All are taken.
    OfAll,
    /// It has waited, and there was none in this time.
    TooLong,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// How many turns there were, and how many requests have waited.
    count: u64,
    callers: HashMap<String, Queue>,
}

/// What a caller has.
#[derive(Debug, Default)]
struct Queue {
    taken: usize,
    /// When the last turn was, in turns.
    last: u64,
    /// Those that wait, by their numbers; they are told when they have a place.
    waiting: VecDeque<(u64, Sender<()>)>,
}

impl Turns {
    /// Turns with this many places, of which one caller may have `places_of_one` and may wait for more with
    /// `waiting_of_one` requests.
    pub fn new(places: usize, places_of_one: usize, waiting_of_one: usize) -> Self {
        Self {
            places,
            places_of_one: places_of_one.min(places),
            waiting_of_one,
            state: Mutex::default(),
        }
    }

    /// How many places one caller may have.
    pub fn places_of_one(&self) -> usize {
        self.places_of_one
    }

    /// Whether a further request of a caller would be refused at once.
    pub fn is_full_for(&self, caller: &str) -> bool {
        let state = self.state();
        let own = state.callers.get(caller);
        own.is_some_and(|own| own.taken >= self.places_of_one && own.waiting.len() >= self.waiting_of_one)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a caller; waits for one up to `patience`.
    ///
    /// Errors: there was none in this time, or too many requests of the caller wait already.
    pub fn enter(&self, caller: &str, patience: Duration) -> Result<Turn<'_>, Full> {
        let turn = || Turn {
            turns: self,
            caller: caller.to_string(),
        };
        let (number, told) = {
            let mut state = self.state();
            let own = state.callers.get(caller);
            let (taken, waiting) = own.map_or((0, 0), |own| (own.taken, own.waiting.len()));
            if state.taken < self.places && taken < self.places_of_one && waiting == 0 {
                state.take(caller);
                return Ok(turn());
            }
            if patience.is_zero() || waiting >= self.waiting_of_one {
                return Err(match taken >= self.places_of_one || waiting > 0 {
                    true => Full::OfOne,
                    false => Full::OfAll,
                });
            }
            let (sender, told) = mpsc::channel();
            state.count += 1;
            let number = state.count;
            let own = state.callers.entry(caller.to_string()).or_default();
            own.waiting.push_back((number, sender));
            (number, told)
        };
        if told.recv_timeout(patience).is_ok() {
            return Ok(turn());
        }
        let mut state = self.state();
        let own = state.callers.entry(caller.to_string()).or_default();
        let before = own.waiting.len();
        own.waiting.retain(|(waiting, _)| *waiting != number);
        if own.waiting.len() == before {
            // It was given a place in the last moment.
            return Ok(turn());
        }
        state.forget(caller);
        Err(Full::TooLong)
    }

    /// Gives the places that are free to those who wait.
    fn give(&self, state: &mut State) {
        while state.taken < self.places {
            let next = state
                .callers
                .iter()
                .filter(|(_, own)| own.taken < self.places_of_one && !own.waiting.is_empty())
                .min_by_key(|(_, own)| (own.taken, own.last))
                .map(|(caller, _)| caller.clone());
            let Some(caller) = next else { return };
            let waiting = state.callers.get_mut(&caller).and_then(|own| own.waiting.pop_front());
            state.take(&caller);
            if let Some((_, sender)) = waiting {
                // Who has just given up takes the place and gives it back.
                let _ = sender.send(());
            }
        }
    }

    /// How many places are taken.
    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.state().taken
    }

    /// How many requests wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.state().callers.values().map(|own| own.waiting.len()).sum()
    }
}

impl State {
    fn take(&mut self, caller: &str) {
        self.taken += 1;
        self.count += 1;
        let count = self.count;
        let own = self.callers.entry(caller.to_string()).or_default();
        own.taken += 1;
        own.last = count;
    }

    /// Forgets a caller who has and wants nothing.
    fn forget(&mut self, caller: &str) {
        let is_idle = |own: &Queue| own.taken == 0 && own.waiting.is_empty();
        if self.callers.get(caller).is_some_and(is_idle) {
            self.callers.remove(caller);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.taken -= 1;
        if let Some(own) = state.callers.get_mut(&self.caller) {
            own.taken -= 1;
        }
        self.turns.give(&mut state);
        state.forget(&self.caller);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fake_cluster::wait_until;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn one_caller_gets_some_places_and_another_finds_one_at_once() {
        let turns = Turns::new(4, 2, 0);
        let held: Vec<_> = (0..2).map(|_| turns.enter("a", LONG).unwrap()).collect();
        assert_eq!(turns.enter("a", LONG).unwrap_err(), Full::OfOne);
        assert!(turns.is_full_for("a") && !turns.is_full_for("b"));
        let of_b = turns.enter("b", Duration::ZERO).unwrap();
        let of_c = turns.enter("c", Duration::ZERO).unwrap();
        assert_eq!(turns.enter("d", Duration::ZERO).unwrap_err(), Full::OfAll);
        drop((held, of_b, of_c));
        assert_eq!((turns.taken(), turns.state().callers.len()), (0, 0));
    }

    #[test]
    fn who_waits_longer_than_its_patience_is_told_so_and_leaves_nothing_behind() {
        let turns = Turns::new(1, 1, 5);
        let held = turns.enter("a", LONG).unwrap();
        let short = Duration::from_millis(5);
        assert_eq!(turns.enter("a", short).unwrap_err(), Full::TooLong);
        assert_eq!(turns.enter("b", short).unwrap_err(), Full::TooLong);
        assert_eq!(turns.waiting(), 0);
        drop(held);
        assert_eq!((turns.taken(), turns.state().callers.len()), (0, 0));
    }

    #[test]
    fn a_caller_with_hundreds_waiting_does_not_keep_another_waiting_behind_them() {
        let turns = Turns::new(1, 1, 1000);
        let order = Mutex::new(Vec::new());
        let held = turns.enter("a", LONG).unwrap();
        std::thread::scope(|scope| {
            let wait = |caller: &'static str| {
                let before = turns.waiting();
                let (turns, order) = (&turns, &order);
                scope.spawn(move || {
                    let _turn = turns.enter(caller, LONG).unwrap();
                    order.lock().unwrap().push(caller);
                });
                wait_until(|| turns.waiting() > before);
            };
            (0..200).for_each(|_| wait("a"));
            (0..2).for_each(|_| wait("b"));
            wait("c");
            drop(held);
        });
        let order = order.into_inner().unwrap();
        // Each in turn: b and c, whose turn never was, before a; then the second of b after one of a.
        assert_eq!(order.len(), 203);
        assert!(
            order[..2].contains(&"b") && order[..2].contains(&"c"),
            "{:?}",
            &order[..5]
        );
        assert_eq!(order[..4].iter().filter(|caller| **caller == "b").count(), 2);
        assert_eq!(turns.taken(), 0);
    }

    #[test]
    fn no_more_at_a_time_than_there_are_places_and_each_is_given_back() {
        let turns = Turns::new(3, 2, 100);
        let (working, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for number in 0..60 {
                let (turns, working, most) = (&turns, &working, &most);
                scope.spawn(move || {
                    let patience = Duration::from_millis(if number % 7 == 0 { 1 } else { 600_000 });
                    if let Ok(_turn) = turns.enter(["a", "b", "c"][number % 3], patience) {
                        most.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        working.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!((turns.taken(), turns.waiting()), (0, 0));
        assert_eq!(turns.state().callers.len(), 0);
    }

    #[test]
    fn a_panic_gives_the_place_back() {
        let turns = Turns::new(1, 1, 0);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = turns.enter("a", LONG).unwrap();
            panic!("for the test");
        }));
        assert!(panicked.is_err());
        assert!(turns.enter("a", Duration::ZERO).is_ok());
    }
}
