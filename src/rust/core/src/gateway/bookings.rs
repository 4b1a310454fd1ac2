//! The jobs that the servers of a namespace are about to submit, or have submitted a moment ago: so that two servers, of
//! which each knows the other's jobs a second late, let a caller have no more than one.
//!
//! They stand as an annotation of the Lease of the namespace, and are written before the jobs are made, by whoever has read
//! what stood there before.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Gateway;
use crate::domain::usage::Usage;
use crate::operations::{self, Connection, JobStore};

/// After so many seconds each server knows of a job, or it was never made.
const UNTIL_SEEN: i64 = 60;

/// After so many it knows of one that another server knows of.
const UNTIL_SEEN_BY_ALL: i64 = 15;

/// Kubernetes takes 256 KiB for all annotations of an object. Beyond this the oldest are forgotten.
const MOST_BYTES: usize = 200 * 1024;

/// All that are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bookings(Vec<Booking>);

/// Jobs of a request that take up the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Booking {
    owner: String,
    /// When it was made, in seconds since 1970.
    at: i64,
    /// Of each.
    usage: Usage,
    jobs: Vec<String>,
}

impl Bookings {
    /// Reads what stands there, as of `now`, in seconds since 1970. Nothing that can be read is nothing.
    pub fn read(text: &str, now: i64) -> Self {
        let mut all: Self = serde_json::from_str(text).unwrap_or_default();
        all.0
            .retain(|booking| now.abs_diff(booking.at) < UNTIL_SEEN.unsigned_abs());
        all
    }

    /// As it is written, without what all servers know of by now, as far as `store` tells.
    pub fn text(mut self, store: &JobStore, now: i64) -> String {
        self.0.retain(|booking| {
            now.abs_diff(booking.at) < UNTIL_SEEN_BY_ALL.unsigned_abs()
                || !booking.jobs.iter().all(|id| store.contains(id))
        });
        loop {
            let text = serde_json::to_string(&self).unwrap_or_default();
            if text.len() <= MOST_BYTES || self.0.is_empty() {
                return text;
            }
            self.0.remove(0);
        }
    }

    /// Adds jobs of a caller.
    pub fn add(&mut self, owner: &str, jobs: &[(String, Usage)], now: i64) {
        let known: HashSet<String> = self.of(owner).map(|(id, _)| id.to_string()).collect();
        for (id, usage) in jobs.iter().filter(|(id, _)| !known.contains(id)) {
            match self.0.last_mut() {
                Some(last) if last.owner == owner && last.at == now && last.usage == *usage => {
                    last.jobs.push(id.clone());
                }
                _ => self.0.push(Booking {
                    owner: owner.into(),
                    at: now,
                    usage: *usage,
                    jobs: vec![id.clone()],
                }),
            }
        }
    }

    /// Takes jobs out of which there are surely none.
    pub fn remove(&mut self, job_ids: &[String]) {
        let gone: HashSet<&String> = job_ids.iter().collect();
        for booking in &mut self.0 {
            booking.jobs.retain(|id| !gone.contains(id));
        }
        self.0.retain(|booking| !booking.jobs.is_empty());
    }

    /// Takes jobs out that were there and are gone.
    pub fn remove_gone(&mut self, store: &JobStore) {
        for booking in &mut self.0 {
            booking.jobs.retain(|id| !store.is_gone(id));
        }
        self.0.retain(|booking| !booking.jobs.is_empty());
    }

    /// Those of a caller.
    pub fn of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = (&'a str, Usage)> {
        let own = self.0.iter().filter(move |booking| booking.owner == owner);
        own.flat_map(|booking| booking.jobs.iter().map(|id| (id.as_str(), booking.usage)))
    }
}

impl Gateway {
    /// Whether there are other servers on the namespace.
    pub(super) fn has_others(&self) -> bool {
        self.policy.bounds.servers > 1
    }

    /// Counts jobs no more of which there are surely none, in this server and in all others. Where they cannot be told, these
    /// count them for a minute.
    pub(super) fn unbook(&self, connection: &Connection<'_>, job_ids: &[String]) {
        self.ledger.remove(job_ids);
        if job_ids.is_empty() || !self.has_others() {
            return;
        }
        let _ = operations::change_bookings(connection, &mut |text| {
            let now = Timestamp::now().as_second();
            let before = Bookings::read(text, now);
            let mut after = before.clone();
            after.remove(job_ids);
            let known = self.snapshots.held().filter(|_| after != before)?;
            Some(known.read(|store| after.text(store, now)))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, millicores: u64) -> (String, Usage) {
        let usage = Usage {
            millicores,
            ..Default::default()
        };
        (id.into(), usage)
    }

    fn ids(bookings: &Bookings, owner: &str) -> Vec<String> {
        bookings.of(owner).map(|(id, _)| id.to_string()).collect()
    }

    #[test]
    fn what_is_written_is_read_until_it_is_old() {
        let store = JobStore::default();
        let mut bookings = Bookings::default();
        bookings.add("mike", &[job("a", 1), job("b", 1), job("c", 2)], 100);
        bookings.add("olga", &[job("d", 1)], 130);
        bookings.add("mike", &[job("a", 1), job("e", 1)], 130);
        assert_eq!(bookings.0.len(), 4);
        let text = bookings.text(&store, 130);
        let read = Bookings::read(&text, 140);
        assert_eq!(ids(&read, "mike"), ["a", "b", "c", "e"]);
        assert_eq!(ids(&Bookings::read(&text, 170), "mike"), ["e"]);
        let mut rest = read;
        rest.remove(&["a".into(), "b".into(), "d".into()]);
        assert_eq!(
            (ids(&rest, "mike"), ids(&rest, "olga").len()),
            (vec!["c".into(), "e".into()], 0)
        );
        for text in ["", "x", "{}", "[1]"] {
            assert_eq!(Bookings::read(text, 0), Bookings::default());
        }
    }

    #[test]
    fn an_annotation_does_not_become_too_large_for_its_object() {
        let mut bookings = Bookings::default();
        for second in 0..10 {
            let jobs: Vec<_> = (0..1000).map(|k| job(&format!("{k:050}-{second}"), 1)).collect();
            bookings.add("mike", &jobs, second);
        }
        let text = bookings.text(&JobStore::default(), 10);
        assert!(text.len() <= MOST_BYTES);
        assert!(Bookings::read(&text, 10).of("mike").any(|(id, _)| id.ends_with("-9")));
    }
}
