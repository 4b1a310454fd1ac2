//! How many do the same at a time.

use std::sync::{Condvar, Mutex, PoisonError};

/// A number of seats: who finds none waits.
#[derive(Debug)]
pub struct Seats {
    free: Mutex<usize>,
    left: Condvar,
}

/// A seat, taken until this is dropped.
#[derive(Debug)]
pub struct Seat<'a>(&'a Seats);

impl Seats {
    /// So many seats, all free.
    pub fn new(count: usize) -> Self {
        Self {
            free: Mutex::new(count),
            left: Condvar::new(),
        }
    }

    /// Takes a seat; waits for one where none is free.
    pub fn take(&self) -> Seat<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .left
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Seat(self)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_than_there_are_seats() {
        let (seats, sitting, most) = (Seats::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    let _seat = seats.take();
                    most.fetch_max(sitting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    sitting.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!(sitting.into_inner(), 0);
    }
}
