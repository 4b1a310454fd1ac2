//! What the servers of a namespace write for each other.

use super::observation::UNTOUCHED;
use super::Connection;
use crate::error::Error;
use crate::transport::FailureKind;

/// Changes the text that the servers of the namespace share: `change` gets it, and gives the one that is to stand in its
/// place, again where another server was faster; `None`: it stays. Without the right to it `change` gets an empty text once,
/// and nothing is written.
///
/// Errors: the cluster does not answer, and what was last given may stand there or not.
pub fn change_bookings(
    connection: &Connection<'_>,
    change: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<(), Error> {
    let api = connection.api()?;
    let mut is_asked = false;
    let outcome = api.change_bookings(&mut |text| {
        is_asked = true;
        change(text)
    });
    match outcome {
        Err(failure) if failure.kind == FailureKind::Forbidden => {
            if !is_asked {
                change("");
            }
            Ok(())
        }
        outcome => outcome.map_err(|failure| connection.error(&api, &failure, "change leases").meaning(UNTOUCHED)),
    }
}
