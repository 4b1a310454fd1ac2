//! The boundary between R and abba's core.
//!
//! Every function that R calls is infallible: it returns a list with the elements `value`, `warnings` and `error`, and
//! `R/conditions.R` turns the latter two into classed conditions. (extendr makes of an `Err` an R error with the text as
//! a format string, which a `%` in kubectl's words would crash.)

mod background;
#[cfg(unix)]
mod descriptors;
mod gateway;
mod interrupt;
mod jobs;
mod login_words;
mod objects;
mod registration;
mod settings;
mod values;

use std::panic::{catch_unwind, AssertUnwindSafe};

use abba_core::{Error, ErrorClass, Warning};
use extendr_api::prelude::*;
use extendr_api::SEXP;

use values::{answer_to_r, Value};

/// A value for R, with what must be said about it.
struct Answer {
    value: Value,
    warnings: Vec<Warning>,
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self {
            value,
            warnings: Vec::new(),
        }
    }
}

/// Runs what R asked for; whatever happens, R gets a list.
fn respond(operation: impl FnOnce() -> std::result::Result<Answer, Error>) -> SEXP {
    interrupt::forget();
    let outcome = catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_string())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(
            Error::new(ErrorClass::Internal, format!("abba itself failed: {words}."))
                .advise("Please report this to abba's maintainers, with what you did."),
        )
    });
    answer_to_r(outcome.map(|answer| (answer.value, answer.warnings)))
        .make()
        .into_sexp()
}

extendr_module! {
    mod abba;
    use jobs;
    use gateway;
}
