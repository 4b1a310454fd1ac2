//! Whether R wants to stop: the user pressed Ctrl-C, or a time limit of R (`setTimeLimit()`) is over.

use std::ffi::{c_char, c_int, c_void, CStr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

use extendr_api::SEXP;
use extendr_ffi::{R_NilValue, Rf_xlength, R_CHAR, SEXPTYPE, STRING_ELT, TYPEOF, VECTOR_ELT};

// extendr does not offer these three; all are part of R's documented API ("Writing R Extensions", 6.12 and 8.1.6; the last
// one is of R 4.0).
#[allow(improper_ctypes)] // extendr-ffi declares R's own objects as a struct that may grow.
extern "C-unwind" {
    fn R_CheckUserInterrupt();
    fn R_ToplevelExec(function: extern "C-unwind" fn(*mut c_void), data: *mut c_void) -> c_int;
    fn R_tryCatchError(
        body: extern "C-unwind" fn(*mut c_void) -> SEXP,
        body_data: *mut c_void,
        handler: extern "C-unwind" fn(SEXP, *mut c_void) -> SEXP,
        handler_data: *mut c_void,
    ) -> SEXP;
}

extern "C-unwind" fn check(_: *mut c_void) {
    // SAFETY: called in R's own thread, by `R_ToplevelExec`. If there is an interrupt, R jumps from here back into
    // `R_ToplevelExec`; this frame owns nothing that the jump would leave behind. An error goes to the handler.
    unsafe { R_tryCatchError(check_body, std::ptr::null_mut(), note_time_limit, std::ptr::null_mut()) };
}

extern "C-unwind" fn check_body(_: *mut c_void) -> SEXP {
    // SAFETY: as above.
    unsafe {
        R_CheckUserInterrupt();
        R_NilValue
    }
}

/// Keeps the message of the error that R raises where one of its time limits is over, the only one that
/// `R_CheckUserInterrupt()` raises.
extern "C-unwind" fn note_time_limit(condition: SEXP, _: *mut c_void) -> SEXP {
    // SAFETY: R hands over a condition: a list with its message first.
    unsafe {
        let is_list = TYPEOF(condition) == SEXPTYPE::VECSXP && Rf_xlength(condition) > 0;
        let message = if is_list { VECTOR_ELT(condition, 0) } else { R_NilValue };
        let text = if TYPEOF(message) == SEXPTYPE::STRSXP && Rf_xlength(message) > 0 {
            let text: *const c_char = R_CHAR(STRING_ELT(message, 0));
            CStr::from_ptr(text).to_string_lossy().into_owned()
        } else {
            "reached a time limit of R".to_string()
        };
        if let Ok(mut time_limit) = TIME_LIMIT.lock() {
            *time_limit = Some(text);
        }
        R_NilValue
    }
}

/// Whether R wanted to stop since [`forget`].
static TAKEN: AtomicBool = AtomicBool::new(false);
/// R's message about its time limit, where that was the reason.
static TIME_LIMIT: Mutex<Option<String>> = Mutex::new(None);

/// Whether R wants to stop. The interrupt or the error of a time limit is taken from R by asking; [`was_taken`] and
/// [`time_limit`] remember it, because work that is all done by then succeeds, and R must stop all the same. Must be called in
/// R's own thread.
pub fn is_pending() -> bool {
    // SAFETY: `check` fits the expected type and takes no data. `R_ToplevelExec` gives FALSE where R jumped.
    let is_interrupt = unsafe { R_ToplevelExec(check, std::ptr::null_mut()) == 0 };
    let is_pending = is_interrupt || TIME_LIMIT.lock().is_ok_and(|time_limit| time_limit.is_some());
    TAKEN.fetch_or(is_pending, Ordering::Relaxed);
    is_pending
}

/// Whether R wanted to stop during the call that it has made.
pub fn was_taken() -> bool {
    TAKEN.load(Ordering::Relaxed)
}

/// The message of R's time limit that stopped the call, once; `None`: it was Ctrl-C.
pub fn time_limit() -> Option<String> {
    TIME_LIMIT.lock().ok().and_then(|mut time_limit| time_limit.take())
}

/// Begins a call from R.
pub fn forget() {
    TAKEN.store(false, Ordering::Relaxed);
}
