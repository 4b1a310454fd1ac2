//! Several calls to the cluster at once.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::Connection;
use crate::kubernetes::api::Stopped;
use crate::kubernetes::Api;
use crate::transport::{leave_signals_to_main_thread, Patience};

/// How many calls are under way at once. More bring nothing: with 8 an API server on two cores is busy, and its own
/// fairness rules begin to hold back a single user.
pub(super) const AT_ONCE: usize = 8;

/// Does `work` for each item, several at once, and gives back the results in the items' order.
///
/// Errors: the user wants to stop. An interrupt is taken by asking for it, so it counts also where all work was done.
pub(super) fn parallel_map_unless_stopped<Item: Sync, Outcome: Send>(
    items: &[Item],
    patience: &Patience<'_>,
    work: impl Fn(&Item, &Patience<'_>) -> Outcome + Sync,
) -> Result<Vec<Outcome>, Stopped> {
    let stopped = Cell::new(false);
    let interrupted = || {
        stopped.set(stopped.get() || patience.is_interrupted());
        stopped.get()
    };
    let outcomes = parallel_map(items, &Patience::new(patience.limit(), &interrupted), work);
    match stopped.get() {
        true => Err(Stopped),
        false => outcomes.into_iter().collect::<Option<_>>().ok_or(Stopped),
    }
}

/// The same for work of which each part has its own outcome; `None` for an item that was not begun because the user wants
/// to stop. What is under way then is told so by its own patience.
pub(super) fn parallel_map<Item: Sync, Outcome: Send>(
    items: &[Item],
    patience: &Patience<'_>,
    work: impl Fn(&Item, &Patience<'_>) -> Outcome + Sync,
) -> Vec<Option<Outcome>> {
    let mut outcomes: Vec<Option<Outcome>> = items.iter().map(|_| None).collect();
    if let [item] = items {
        // Not worth a thread.
        outcomes[0] = Some(work(item, patience));
        return outcomes;
    }
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let limit = patience.limit();
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..AT_ONCE.min(items.len()) {
            let sender = sender.clone();
            let (next, stop, work) = (&next, &stop, &work);
            scope.spawn(move || {
                leave_signals_to_main_thread();
                let stopped = || stop.load(Ordering::Relaxed);
                while !stopped() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else {
                        return;
                    };
                    let outcome = work(item, &Patience::new(limit, &stopped));
                    if sender.send((index, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        loop {
            match receiver.recv_timeout(patience.poll_interval()) {
                Ok((index, outcome)) => outcomes[index] = Some(outcome),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            // Asked in this thread alone: it may be R's.
            if !stop.load(Ordering::Relaxed) && patience.is_interrupted() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    outcomes
}

/// `work` over a connection and its API in a namespace, which each thread has with a patience of its own: for the two above.
pub(super) fn over<'a, Item, Outcome>(
    connection: &Connection<'a>,
    namespace: &'a str,
    work: impl Fn(&Item, &Connection<'_>, &Api<'_>) -> Outcome + Sync + 'a,
) -> impl Fn(&Item, &Patience<'_>) -> Outcome + Sync + 'a {
    let Connection {
        transport,
        log_patterns,
        owner,
        ..
    } = *connection;
    move |item, patience| {
        let connection = Connection {
            transport,
            namespace: Some(namespace),
            patience: *patience,
            log_patterns,
            owner,
        };
        work(item, &connection, &Api::in_namespace(transport, namespace, *patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_item_is_done_once_and_in_order() {
        let items: Vec<usize> = (0..100).collect();
        let outcomes = parallel_map(&items, &Patience::new(Duration::from_secs(60), &|| false), |item, _| {
            item * 2
        });
        let outcomes: Vec<usize> = outcomes.into_iter().map(Option::unwrap).collect();
        assert_eq!(outcomes, (0..100).map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn an_interrupt_ends_what_is_under_way_and_begins_nothing_new() {
        let items = [(); 100];
        let outcomes = parallel_map(
            &items,
            &Patience::new(Duration::from_secs(60), &|| true),
            |(), patience| patience.sleep(Duration::from_secs(600)),
        );
        let begun = outcomes.iter().flatten().count();
        assert!(begun < items.len());
        // `false`: their own patience told them.
        assert!(outcomes.into_iter().flatten().all(|slept_on| !slept_on));
    }

    #[test]
    fn an_interrupt_counts_also_where_all_work_was_done() {
        for items in [&[()] as &[()], &[(); 3]] {
            let asked_once = Cell::new(false);
            let once = || !asked_once.replace(true);
            let patience = Patience::new(Duration::from_secs(60), &once);
            // A single item asks by itself.
            let outcomes = parallel_map_unless_stopped(items, &patience, |(), patience| {
                patience.is_interrupted();
                thread::sleep(Duration::from_millis(1));
            });
            assert!(outcomes.is_err());
            assert!(asked_once.get());
        }
    }

    #[test]
    fn nothing_to_do_is_done_and_one_item_is_done_here() {
        let patience = Patience::new(Duration::from_secs(60), &|| false);
        assert!(parallel_map(&[] as &[()], &patience, |(), _| ()).is_empty());
        let here = thread::current().id();
        let outcomes = parallel_map(&[()], &patience, |(), _| thread::current().id());
        assert_eq!(outcomes, [Some(here)]);
    }

    #[test]
    fn no_more_than_the_bound_are_under_way_at_once() {
        let under_way = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let items = [(); 64];
        parallel_map(
            &items,
            &Patience::new(Duration::from_secs(60), &|| false),
            |(), patience| {
                most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                patience.sleep(Duration::from_millis(2));
                // However late the second thread begins.
                while most.load(Ordering::SeqCst) < 2 {
                    thread::yield_now();
                }
                under_way.fetch_sub(1, Ordering::SeqCst);
            },
        );
        let most = most.into_inner();
        assert!((2..=AT_ONCE).contains(&most), "{most}");
    }

    #[test]
    fn each_item_has_the_whole_time_limit() {
        let items = [(); 10];
        let limit = Duration::from_secs(60);
        let outcomes = parallel_map(&items, &Patience::new(limit, &|| false), |(), patience| {
            patience.limit()
        });
        assert!(outcomes.into_iter().all(|outcome| outcome == Some(limit)));
    }
}
