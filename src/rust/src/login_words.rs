//! Shows what a login helper says while R waits.

use std::ffi::{c_char, c_int, c_void, CStr, CString};

use abba_core::transport::take_words_for_user;

// Both are part of R's documented API ("Writing R Extensions", 6.5 and 8.1.6).
extern "C-unwind" {
    fn REprintf(format: *const c_char, ...);
    fn R_ToplevelExec(function: extern "C-unwind" fn(*mut c_void), data: *mut c_void) -> c_int;
}

const FORMAT: &CStr = c"%s\n";

extern "C-unwind" fn print(text: *mut c_void) {
    // SAFETY: called in R's own thread, by `R_ToplevelExec`, with the pointer of a string that outlives it. If R jumps,
    // it jumps back into `R_ToplevelExec`; this frame owns nothing that the jump would leave behind.
    unsafe { REprintf(FORMAT.as_ptr(), text.cast::<c_char>()) }
}

/// Shows what kubectl has said since the last time, if anything. Not a message that can be muffled: it may be the code
/// that the user has to enter before anything goes on. Must be called in R's own thread.
pub fn show() {
    for words in take_words_for_user() {
        let text = format!("kubectl waits, and says:\n{}", words.replace('\0', " "));
        if let Ok(text) = CString::new(text) {
            // SAFETY: `print` fits the expected type, and reads a string that lives until it has returned.
            unsafe { R_ToplevelExec(print, text.as_ptr().cast_mut().cast::<c_void>()) };
        }
    }
}
