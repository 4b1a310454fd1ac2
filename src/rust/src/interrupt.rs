//! Whether the user pressed Ctrl-C.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

// extendr does not offer these two; both are part of R's documented API ("Writing R Extensions", 6.12 and 8.1.6).
extern "C-unwind" {
    fn R_CheckUserInterrupt();
    fn R_ToplevelExec(function: extern "C-unwind" fn(*mut c_void), data: *mut c_void) -> c_int;
}

extern "C-unwind" fn check(_: *mut c_void) {
    // SAFETY: called in R's own thread, by `R_ToplevelExec`. If there is an interrupt, R jumps from here back into
    // `R_ToplevelExec`; this frame owns nothing that the jump would leave behind.
    unsafe { R_CheckUserInterrupt() }
}

/// Whether an interrupt was taken from R since [`forget`].
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether the user wants to stop. The interrupt is taken from R by asking; [`was_taken`] remembers it, because work that
/// is all done by then succeeds, and R must stop all the same. Must be called in R's own thread.
pub fn is_pending() -> bool {
    // SAFETY: `check` fits the expected type and takes no data. `R_ToplevelExec` gives FALSE where R jumped.
    let is_pending = unsafe { R_ToplevelExec(check, std::ptr::null_mut()) == 0 };
    TAKEN.fetch_or(is_pending, Ordering::Relaxed);
    is_pending
}

/// Whether an interrupt was taken from R by the call that R has made.
pub fn was_taken() -> bool {
    TAKEN.load(Ordering::Relaxed)
}

/// Begins a call from R.
pub fn forget() {
    TAKEN.store(false, Ordering::Relaxed);
}
