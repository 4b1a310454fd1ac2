//! R's open files: what the processes that outlive a call do not get from it, and what is done with each.

use std::ffi::c_int;
use std::os::fd::BorrowedFd;

extern "C" {
    fn fcntl(descriptor: c_int, command: c_int, ...) -> c_int;
}

// The same numbers on Linux and macOS (POSIX fixes the names alone).
const F_GETFD: c_int = 1;
const F_SETFD: c_int = 2;
const FD_CLOEXEC: c_int = 1;

/// Calls a function, and meanwhile no program that is started inherits an open file of R's beside the standard streams:
/// connections, pipes and sockets that R opens are inherited by default. Afterwards all is as it was.
pub fn with_nothing_inherited(start: &mut dyn FnMut()) {
    let changed: Vec<(c_int, c_int)> = open_descriptors()
        .filter_map(|descriptor| {
            // SAFETY: reads flags; a descriptor that is not open is an error and no more.
            let flags = unsafe { fcntl(descriptor, F_GETFD) };
            (flags >= 0 && flags & FD_CLOEXEC == 0).then_some((descriptor, flags))
        })
        .collect();
    for &(descriptor, flags) in &changed {
        // SAFETY: sets a flag that matters to a program that is started only.
        unsafe { fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC) };
    }
    start();
    for &(descriptor, flags) in &changed {
        // SAFETY: as above.
        unsafe { fcntl(descriptor, F_SETFD, flags) };
    }
}

/// Calls a function with each open file but the standard streams.
pub fn each_open(mut look: impl FnMut(BorrowedFd<'_>)) {
    for descriptor in open_descriptors() {
        // SAFETY: it is borrowed for this one call. Where it was closed meanwhile, what is asked of it is an error.
        look(unsafe { BorrowedFd::borrow_raw(descriptor) });
    }
}

/// All but the standard streams. `/dev/fd` lists them on Linux and macOS.
fn open_descriptors() -> impl Iterator<Item = c_int> {
    let entries: Vec<_> = std::fs::read_dir("/dev/fd")
        .map(|entries| entries.flatten().collect())
        .unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
}
