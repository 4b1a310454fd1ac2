//! Looking again at a cluster that cannot be reached for a while.

use std::time::Duration;

use super::observation::says_that_jobs_are_gone;
use super::Connection;
use crate::error::{Error, ErrorClass};
use crate::transport::Backoff;

/// The first pause before a stream that ended is taken up again.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 50 });

/// The longest such pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 5000 });

/// How often something is tried again, on the way back from an outage, that the cluster refuses: a server that has just
/// started may refuse for a moment what it allows, until it has read its rules.
pub(super) const ATTEMPTS_AT_REFUSAL: usize = 7;

/// The pauses of somebody who waits for the cluster.
pub(super) fn backoff() -> Backoff {
    Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
}

/// Looks until the cluster can be reached: for ever, or until the user wants to stop (`None`). For looks after the first,
/// which has shown that the user may look.
///
/// Errors: those that do not heal.
pub(super) fn look_patiently<T>(
    connection: &Connection<'_>,
    mut look: impl FnMut() -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut backoff = backoff();
    let mut refusals = 0;
    loop {
        match look() {
            Ok(seen) => return Ok(Some(seen)),
            Err(error) if error.class == ErrorClass::Interrupted => return Ok(None),
            Err(error) => {
                if !error.is_transient() {
                    refusals += 1;
                    let is_transient = match error.class {
                        ErrorClass::Forbidden | ErrorClass::Unauthorized | ErrorClass::Kubectl => true,
                        ErrorClass::NotFound => !says_that_jobs_are_gone(&error),
                        _ => false,
                    };
                    if !is_transient || refusals == ATTEMPTS_AT_REFUSAL {
                        return Err(error);
                    }
                }
                if !backoff.sleep(&connection.patience) {
                    return Ok(None);
                }
            }
        }
    }
}
