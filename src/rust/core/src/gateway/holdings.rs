//! What the jobs of a caller take up in the cluster together.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::ApiError;
use super::permissions::not_permitted;
use super::policy::{of_option, Settings};
use crate::domain::job_status::Status;
use crate::domain::quantity::{ByteLimit, CpuLimit};
use crate::domain::usage::Usage;
use crate::gateway::bookings::Bookings;
use crate::operations::JobStore;
use crate::{Error, ErrorClass};

/// What jobs take up together; or how much of it is permitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Limits of processor cores of those that have not ended, in thousandths.
    pub open_millicores: u64,
    /// Limits of memory of those that have not ended, in bytes.
    pub open_memory: u64,
    /// How many have not ended.
    pub open_jobs: u64,
    /// How many there are, ended ones too.
    pub kept_jobs: u64,
    /// Bytes of the programs that they carry.
    pub program_bytes: u64,
}

impl Holdings {
    /// What is permitted to a caller.
    ///
    /// Errors: an option is wrong, and is named.
    pub fn most(settings: &Settings) -> Result<Self, Error> {
        if settings.kept_jobs == 0 || settings.kept_program_bytes == 0 {
            return Err(Error::input(
                "The options `abba.api.kept.jobs` and `abba.api.kept.program.bytes` must be at least 1.",
            ));
        }
        let cores = settings.open_cpu.as_deref().map(CpuLimit::parse).transpose();
        let memory = settings.open_memory.as_deref().map(ByteLimit::of_memory).transpose();
        let cores = cores.map_err(of_option("abba.api.open.cpu"))?;
        let memory = memory.map_err(of_option("abba.api.open.memory"))?;
        Ok(Self {
            open_millicores: cores.map_or(u64::MAX, |limit| (limit.cores() * 1000.0).round() as u64),
            open_memory: memory.map_or(u64::MAX, |limit| limit.bytes() as u64),
            open_jobs: u64::MAX,
            kept_jobs: settings.kept_jobs,
            program_bytes: settings.kept_program_bytes,
        })
    }

    /// What an owner's jobs take up.
    fn of(store: &JobStore, owner: &str) -> Self {
        let mut holdings = Self::default();
        for job in store.of_owner(owner) {
            let is_open = !matches!(job.status.status, Status::Succeeded | Status::Failed);
            holdings.add(&job.usage, is_open);
        }
        holdings
    }

    /// Counts a job.
    pub fn add(&mut self, usage: &Usage, is_open: bool) {
        if is_open {
            self.open_millicores = self.open_millicores.saturating_add(usage.millicores);
            self.open_memory = self.open_memory.saturating_add(usage.memory);
            self.open_jobs += 1;
        }
        self.kept_jobs += 1;
        self.program_bytes = self.program_bytes.saturating_add(usage.program_bytes);
    }

    /// Each the larger of the two.
    #[must_use]
    pub fn or_more(&self, other: &Self) -> Self {
        Self {
            open_millicores: self.open_millicores.max(other.open_millicores),
            open_memory: self.open_memory.max(other.open_memory),
            open_jobs: self.open_jobs.max(other.open_jobs),
            kept_jobs: self.kept_jobs.max(other.kept_jobs),
            program_bytes: self.program_bytes.max(other.program_bytes),
        }
    }

    /// Checks that a caller who has `self` may have `more`.
    ///
    /// Errors: 429, where it is to be waited for; 403, where `more` would be too much by itself.
    fn check(&self, more: &Self, most: &Self) -> Result<(), ApiError> {
        const TO_END: &str = "Wait until some have ended, or cancel some.";
        const TO_GO: &str =
            "Remove jobs that have ended with abba_remove_job(), or wait: each is removed some days after its end.";
        let cores: Shown = |millicores| format!("{} cores", millicores as f64 / 1000.0);
        let megabytes: Shown = |bytes| format!("{:.1} MB", bytes as f64 / 1e6);
        let jobs: Shown = |count| format!("{count} jobs");
        let kinds: [(&str, Amount, Shown, &str, u64); 5] = [
            ("those that have not ended", |held| held.open_jobs, jobs, TO_END, 10),
            (
                "processor cores of jobs that have not ended",
                |held| held.open_millicores,
                cores,
                TO_END,
                10,
            ),
            (
                "memory of jobs that have not ended",
                |held| held.open_memory,
                megabytes,
                TO_END,
                10,
            ),
            (
                "jobs that the cluster keeps, those that have ended too",
                |held| held.kept_jobs,
                jobs,
                TO_GO,
                60,
            ),
            (
                "programs of jobs that the cluster keeps",
                |held| held.program_bytes,
                megabytes,
                TO_GO,
                60,
            ),
        ];
        for (what, amount, shown, advice, seconds) in kinds {
            let (has, more, most) = (amount(self), amount(more), amount(most));
            if more > most {
                let message = format!(
                    "This request comes to {} ({what}), and the abba server allows {} for each caller.",
                    shown(more),
                    shown(most)
                );
                let advice = "Submit fewer programs at a time, or with smaller limits.";
                return Err(not_permitted(message, advice).into());
            }
            if more > 0 && has.saturating_add(more) > most {
                let error = Error::new(
                    ErrorClass::Unavailable,
                    format!(
                        "You have {} ({what}), with this request it would be {}, and the abba server allows {}.",
                        shown(has),
                        shown(has.saturating_add(more)),
                        shown(most)
                    ),
                )
                .meaning("No job was created.")
                .advise(advice);
                return Err(ApiError::too_many(error, seconds));
            }
        }
        Ok(())
    }
}

/// One of the amounts.
type Amount = fn(&Holdings) -> u64;

/// How an amount is told.
type Shown = fn(u64) -> String;

/// After this long a job that was sent is in whatever snapshot is used.
const UNTIL_SEEN: Duration = Duration::from_secs(60);

/// The jobs that were sent, or are about to be, and may not be in a snapshot yet.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    owner: String,
    job_id: String,
    usage: Usage,
    /// When it was sent; `None`: it is about to be.
    sent: Option<Instant>,
}

/// Jobs that are about to be sent, counted among their owner's. Where it goes out of use before [`Self::sent`], there are none.
#[derive(Debug)]
#[must_use]
pub struct Entered<'a> {
    ledger: &'a Ledger,
    job_ids: Vec<String>,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts jobs no more of which there are surely none.
    pub fn remove(&self, job_ids: &[String]) {
        self.entries().retain(|entry| !job_ids.contains(&entry.job_id));
    }

    /// Counts jobs no more that were there and are gone.
    pub fn remove_gone(&self, store: &JobStore) {
        self.entries().retain(|entry| !store.is_gone(&entry.job_id));
    }

    /// Counts jobs that are about to be sent, if their owner may have as much. A job that is there already, because the
    /// request is made again, takes up nothing. `booked`: what all servers of the namespace are about to send.
    ///
    /// Errors: as of [`Holdings::check`].
    pub fn enter(
        &self,
        store: &JobStore,
        owner: &str,
        wanted: &[(String, Usage)],
        most: &Holdings,
        booked: &Bookings,
    ) -> Result<Entered<'_>, ApiError> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.sent.is_none_or(|when| when.elapsed() < UNTIL_SEEN));
        let mut has = Holdings::of(store, owner);
        let mut known = HashSet::new();
        for entry in entries.iter().filter(|entry| !store.contains(&entry.job_id)) {
            if known.insert(entry.job_id.as_str()) && entry.owner == owner {
                has.add(&entry.usage, true);
            }
        }
        for (job_id, usage) in booked.of(owner) {
            if !store.contains(job_id) && known.insert(job_id) {
                has.add(&usage, true);
            }
        }
        let mut more = Holdings::default();
        let mut new = Vec::new();
        for (job_id, usage) in wanted {
            if !store.contains(job_id) && known.insert(job_id) {
                more.add(usage, true);
                new.push((job_id.clone(), *usage));
            }
        }
        has.check(&more, most)?;
        let job_ids = new.iter().map(|(job_id, _)| job_id.clone()).collect();
        entries.extend(new.into_iter().map(|(job_id, usage)| Entry {
            owner: owner.into(),
            job_id,
            usage,
            sent: None,
        }));
        Ok(Entered { ledger: self, job_ids })
    }
}

impl Entered<'_> {
    /// Those of the jobs that are new.
    pub fn job_ids(&self) -> &[String] {
        &self.job_ids
    }

    /// The jobs were sent, all but `refused`, of which there is surely none.
    pub fn sent(mut self, refused: &[String]) {
        let job_ids = std::mem::take(&mut self.job_ids);
        let mut entries = self.ledger.entries();
        entries.retain_mut(|entry| {
            let is_meant = entry.sent.is_none() && job_ids.contains(&entry.job_id);
            if is_meant {
                entry.sent = Some(Instant::now());
            }
            !is_meant || !refused.contains(&entry.job_id)
        });
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if !self.job_ids.is_empty() {
            let mut entries = self.ledger.entries();
            entries.retain(|entry| entry.sent.is_some() || !self.job_ids.contains(&entry.job_id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Holdings = Holdings {
        open_millicores: 4000,
        open_memory: 4_000_000_000,
        open_jobs: 3,
        kept_jobs: 3,
        program_bytes: 1000,
    };

    fn wanted(ids: &[&str], millicores: u64, program_bytes: u64) -> Vec<(String, Usage)> {
        let usage = Usage {
            millicores,
            memory: 1_000_000_000,
            program_bytes,
        };
        ids.iter().map(|id| (id.to_string(), usage)).collect()
    }

    #[test]
    fn what_a_caller_has_is_what_was_seen_and_what_was_sent_since() {
        let (ledger, store) = (Ledger::default(), JobStore::default());
        let ask = |owner: &str, ids: &[&str], millicores| {
            ledger.enter(
                &store,
                owner,
                &wanted(ids, millicores, 100),
                &MOST,
                &Bookings::default(),
            )
        };
        ask("mike", &["a", "b"], 1000).unwrap().sent(&["b".into()]);
        let under_way = ask("mike", &["c"], 1000).unwrap();
        // Two of four cores; another caller's are another's.
        assert_eq!(ask("mike", &["d"], 2001).unwrap_err().status, 429);
        drop(ask("olga", &["d"], 4000).unwrap());
        drop(ask("mike", &["d"], 2000).unwrap());
        // What was not sent, or refused, takes up nothing.
        drop(under_way);
        drop(ask("mike", &["d"], 3000).unwrap());
        // The same job again takes up nothing either.
        drop(ask("mike", &["a"], 4000).unwrap());
        assert_eq!(ask("mike", &["d"], 3001).unwrap_err().status, 429);
    }

    #[test]
    fn each_bound_is_named_with_the_way_out() {
        let has = Holdings {
            open_millicores: 3500,
            open_memory: 3_500_000_000,
            open_jobs: 3,
            kept_jobs: 3,
            program_bytes: 950,
        };
        let more = |change: fn(&mut Holdings)| {
            let mut more = Holdings::default();
            change(&mut more);
            let refusal = has.check(&more, &MOST).unwrap_err();
            (refusal.status, refusal.error.to_string())
        };
        for (change, status, words) in [
            (
                (|more| more.open_millicores = 1000) as fn(&mut Holdings),
                429,
                &["3.5 cores", "4.5 cores", "allows 4 cores", "cancel some"][..],
            ),
            (
                |more| more.open_memory = 600_000_000,
                429,
                &["4100.0 MB", "cancel some"],
            ),
            (|more| more.kept_jobs = 1, 429, &["3 jobs", "abba_remove_job()"]),
            (|more| more.program_bytes = 51, 429, &["programs", "abba_remove_job()"]),
            (
                |more| more.open_millicores = 4001,
                403,
                &["4.001 cores", "fewer programs"],
            ),
            (|more| more.kept_jobs = 4, 403, &["4 jobs", "fewer programs"]),
        ] {
            let (got, text) = more(change);
            assert_eq!(got, status, "{text}");
            for word in words {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
        // Who has too much already, because the bound was lowered, may do what takes up nothing.
        Holdings { kept_jobs: 9, ..has }
            .check(&Holdings::default(), &MOST)
            .unwrap();
    }
}
