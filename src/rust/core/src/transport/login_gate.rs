//! One login at a time.
//!
//! Where a login helper gives the login, calls that begin together would each start one: several browser windows, several
//! codes. So the first call goes alone until it is answered, and the others then find the login that it has got. Where it gets
//! none, those that waited for it fail as it did.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Deadline, Failure, FailureKind};

/// How long an answer shows that there is a login.
const PROVEN_FOR: Duration = Duration::from_secs(60);

/// How often somebody who waits looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What is known of the login.
struct State {
    /// The process and the configuration that this is about: a forked child of R begins anew.
    about: (u32, u64),
    /// When a call was last answered.
    proven: Option<Instant>,
    /// Whether a call goes alone now.
    tried: bool,
    /// How often a login has failed, and how it did last.
    failures: u64,
    last_failure: Option<Failure>,
}

impl State {
    const fn new(about: (u32, u64)) -> Self {
        Self {
            about,
            proven: None,
            tried: false,
            failures: 0,
            last_failure: None,
        }
    }
}

static STATE: Mutex<State> = Mutex::new(State::new((0, 0)));

/// The right to call. Others wait while one is held that goes alone.
pub struct Pass {
    about: (u32, u64),
    alone: bool,
}

/// Waits until a call may be made with the login of a configuration, named by any number.
///
/// Errors: the call that was waited for got no login; the user wants to stop; the time is over.
pub fn enter(configuration: u64, deadline: &Deadline<'_>) -> Result<Pass, Failure> {
    let about = (std::process::id(), configuration);
    let mut seen = None;
    loop {
        {
            let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
            if state.about != about {
                *state = State::new(about);
                seen = None;
            }
            if state.failures > *seen.get_or_insert(state.failures) {
                if let Some(failure) = &state.last_failure {
                    return Err(failure.clone());
                }
            }
            if state.proven.is_some_and(|moment| moment.elapsed() < PROVEN_FOR) {
                return Ok(Pass { about, alone: false });
            }
            if !state.tried {
                state.tried = true;
                return Ok(Pass { about, alone: true });
            }
        }
        if deadline.is_interrupted() {
            return Err(Failure::new(FailureKind::Interrupted, ""));
        }
        if deadline.has_passed() {
            return Err(Failure::new(
                FailureKind::LoginPending,
                "Another call waited for the login all the time.",
            ));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

impl Pass {
    /// Whether others wait for this call.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Notes that there is a login: the others may go on.
    pub fn has_login(&mut self) {
        self.change(|state| state.proven = Some(Instant::now()));
    }

    /// Notes that there is none, and why.
    pub fn has_no_login(&mut self, failure: &Failure) {
        self.change(|state| {
            state.proven = None;
            state.failures += 1;
            state.last_failure = Some(failure.clone());
        });
    }

    fn change(&mut self, note: impl FnOnce(&mut State)) {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        if state.about == self.about {
            note(&mut state);
            if std::mem::replace(&mut self.alone, false) {
                state.tried = false;
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.alone {
            self.change(|_| {});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    // The state is one for the process: a single test, so that no other changes it.
    #[test]
    fn one_call_goes_alone_until_there_is_a_login() {
        let now = Deadline::new(Duration::ZERO, &|| false);
        let soon = Deadline::new(Duration::from_secs(20), &|| false);
        let first = enter(1, &soon).unwrap();
        assert!(first.is_alone());
        assert_eq!(enter(1, &now).err().unwrap().kind, FailureKind::LoginPending);
        let failure = Failure::new(FailureKind::LoginHelperFailed, "scripted");
        let is_waiting = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let asked = || {
                    is_waiting.store(true, Ordering::SeqCst);
                    false
                };
                enter(1, &Deadline::new(Duration::from_secs(600), &asked)).err()
            });
            // It shares a failure that it has seen coming.
            while !is_waiting.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            let mut first = first;
            first.has_no_login(&failure);
            assert_eq!(waits.join().unwrap(), Some(failure.clone()));
        });
        // A call that begins later tries for itself.
        let mut second = enter(1, &soon).unwrap();
        assert!(second.is_alone());
        second.has_login();
        assert!(!enter(1, &now).unwrap().is_alone());
        // Whoever is interrupted lets others try; another configuration is another login.
        drop(enter(2, &now).unwrap());
        assert!(enter(2, &now).unwrap().is_alone());
    }
}
