//! What is known of all jobs.
//!
//! Two watches keep it up to date, see [`following`], so that an answer asks the cluster for next to nothing, and so that
//! the jobs of plans start in their turn. Where they
//! cannot, because nobody has begun them, or the server's login may not watch, or a stream has just broken, it is a LIST,
//! which is good for a moment. Callers ask side by side: of those who need a look at the cluster at the same moment one
//! takes it, and the others wait for what it sees.

mod following;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use self::following::Follow;
pub use self::following::Following;
use super::caller::Caller;
use crate::error::name_some;
use crate::operations::{
    self, CancelOutcome, Cancelled, Connection, JobSelector, JobSnapshot, JobStore, RemoveOutcome, Removed,
};
use crate::{Error, ErrorClass};

/// The jobs that are meant, if the caller may see them.
///
/// Errors: there are none, or the caller may not see one; which of the two is not said.
pub fn seen(store: &JobStore, caller: &Caller, which: &JobSelector) -> Result<Vec<JobSnapshot>, Error> {
    match which {
        JobSelector::Jobs(ids) => jobs(store, caller, ids),
        JobSelector::Batch(batch_id) => batch(store, caller, batch_id),
    }
}

/// The jobs with these ids, in their order, if the caller may see all of them.
///
/// Errors: the caller may not see one, or there is none; which of the two is not said.
fn jobs(store: &JobStore, caller: &Caller, ids: &[String]) -> Result<Vec<JobSnapshot>, Error> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for id in ids {
        match store.job(id) {
            Some(job) if may_see(caller, &job) => found.push(job),
            _ => missing.push(id.clone()),
        }
    }
    match missing.is_empty() {
        true => Ok(found),
        false => Err(no_jobs(missing)),
    }
}

/// The caller's jobs of a batch, the oldest first.
///
/// Errors: there are none.
fn batch(store: &JobStore, caller: &Caller, batch_id: &str) -> Result<Vec<JobSnapshot>, Error> {
    let mut found: Vec<JobSnapshot> = store.of_batch(batch_id).filter(|job| may_see(caller, job)).collect();
    sort(&mut found);
    match found.is_empty() {
        true => Err(no_batch(batch_id)),
        false => Ok(found),
    }
}

/// All that the caller may see, the oldest first.
pub fn seen_by(store: &JobStore, caller: &Caller) -> Vec<JobSnapshot> {
    let mut found: Vec<JobSnapshot> = match caller.is_operator {
        true => store.jobs().collect(),
        false => store
            .of_owner(&caller.name)
            .filter(|job| may_see(caller, job))
            .collect(),
    };
    sort(&mut found);
    found
}

fn sort(jobs: &mut [JobSnapshot]) {
    jobs.sort_by(|a, b| (&a.record.submitted, &a.record.job_id).cmp(&(&b.record.submitted, &b.record.job_id)));
}

fn may_see(caller: &Caller, job: &JobSnapshot) -> bool {
    caller.is_operator || caller.owns(job)
}

/// The error where a caller has no job in a batch.
pub fn no_batch(batch_id: &str) -> Error {
    not_found(format!("You have no batch \"{batch_id}\"."))
}

fn not_found(message: String) -> Error {
    Error::new(ErrorClass::NotFound, message)
        .meaning("It never existed, it was removed, or it is somebody else's: a job is removed some days after its end, usually seven.")
        .advise("Check the id.")
}

pub(super) fn no_jobs(missing: Vec<String>) -> Error {
    let jobs = if missing.len() == 1 { "job" } else { "jobs" };
    not_found(format!("You have no {jobs} {}.", name_some(&missing))).about(missing)
}

/// An error of an operation for a caller, who knows neither namespace nor kubectl: a job that went away since the snapshot
/// is as one that never was.
pub fn in_words_for_callers(error: Error) -> Error {
    let is_of_jobs = error.class == ErrorClass::NotFound && !error.job_ids.is_empty() && error.kubectl.is_none();
    match is_of_jobs {
        true => no_jobs(error.job_ids),
        false => error,
    }
}

/// What is known, and how.
#[derive(Clone, Debug)]
pub enum Knowledge {
    /// By a LIST.
    Listed(Arc<JobStore>),
    /// By watches.
    Followed(Arc<RwLock<JobStore>>),
}

impl Knowledge {
    /// Reads what is known.
    pub fn read<T>(&self, read: impl FnOnce(&JobStore) -> T) -> T {
        match self {
            Self::Listed(store) => read(store),
            Self::Followed(store) => read(&store.read().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

/// What is known of all jobs, and the looks at the cluster by which it is.
#[derive(Debug)]
pub struct Snapshots {
    age: Duration,
    /// Whether the watches end where nobody asks.
    rests: bool,
    state: Mutex<State>,
    /// Something of `state` has changed.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// How many looks were begun so far.
    begun: u64,
    /// What had changed when the one under way began; `None`: none is under way.
    under_way: Option<u64>,
    /// The number of the one that ended last, and what came of it.
    last: Option<(u64, Result<Knowledge, Error>)>,
    /// How often something was submitted, cancelled or removed so far.
    changes: u64,
    /// Submissions that what is known does not show for certain.
    submissions: Vec<Submission>,
    /// Jobs that were cancelled or removed, which what is known may not show yet.
    changed: HashMap<String, Changed>,
    /// What the cluster does not have, or the caller may not see, and when that was found.
    missing: HashMap<String, Instant>,
    /// When somebody has asked last.
    asked: Option<Instant>,
    follow: Option<Follow>,
    /// How many there were so far.
    follows: u64,
}

#[derive(Debug)]
struct Held {
    knowledge: Knowledge,
    begun: Instant,
    good_until: Instant,
    /// What had changed when it was begun.
    changes: u64,
}

#[derive(Debug)]
struct Submission {
    number: u64,
    owner: String,
    job_ids: Vec<String>,
    /// Those that no watch has shown.
    unseen: HashSet<String>,
    /// When it was over, and what had changed then; `None`: it is under way.
    ended: Option<(Instant, u64)>,
}

/// What was done to a job.
#[derive(Debug)]
struct Changed {
    /// The caller who did it.
    by: String,
    is_removed: bool,
    when: Instant,
    changes: u64,
}

impl State {
    fn known<T>(&self, read: impl FnOnce(&JobStore) -> T) -> Option<T> {
        self.held.as_ref().map(|held| held.knowledge.read(read))
    }

    /// Whether what is held is not too old.
    fn is_good(&self, age: Duration) -> bool {
        let now = Instant::now();
        self.held.as_ref().is_some_and(|held| {
            now < held.good_until
                && match &held.knowledge {
                    // The watches are ahead of it.
                    Knowledge::Listed(_) => !self
                        .follow
                        .as_ref()
                        .is_some_and(|follow| now > held.begun + age && now < follow.live_at() + age),
                    Knowledge::Followed(store) => self
                        .follow
                        .as_ref()
                        .is_some_and(|follow| follow.is_of(store) && now < follow.live_at() + age),
                }
        })
    }

    /// Whether what is held shows what a caller has submitted, cancelled and removed. What others have done meanwhile shows in a
    /// moment; with many who do something all the time nobody else would be answered at once.
    fn is_up_to_date(&self, caller: &str) -> bool {
        self.held.as_ref().is_some_and(|held| match &held.knowledge {
            Knowledge::Listed(_) => held.changes == self.changes,
            Knowledge::Followed(_) => self.unshown_since(&|by, _| by == caller).is_none(),
        })
    }

    /// Since when the watches should have shown something that was done, and have not, of what is meant: by whom and when it
    /// was done.
    fn unshown_since(&self, is_meant: &dyn Fn(&str, Instant) -> bool) -> Option<Instant> {
        let submitted = self
            .submissions
            .iter()
            .filter(|submission| !submission.unseen.is_empty())
            .filter_map(|submission| Some((submission.owner.as_str(), submission.ended?.0)));
        let changed = self.changed.values().map(|changed| (changed.by.as_str(), changed.when));
        let meant = submitted.chain(changed).filter(|(by, when)| is_meant(by, *when));
        meant.map(|(_, when)| when).min()
    }

    /// Forgets what was done that the watches have shown.
    fn forget_what_is_shown(&mut self) {
        let Some(Follow { store, .. }) = &self.follow else {
            return;
        };
        let store = store.read().unwrap_or_else(PoisonError::into_inner);
        for submission in &mut self.submissions {
            submission.unseen.retain(|id| !store.contains(id));
        }
        self.submissions
            .retain(|submission| submission.ended.is_none() || !submission.unseen.is_empty());
        self.changed.retain(|id, changed| match changed.is_removed {
            true => store.contains(id),
            false => !store.is_cancelled_or_over(id),
        });
    }

    fn is_known(&self, job_id: &str) -> bool {
        self.known(|store| store.contains(job_id)).unwrap_or(false)
    }

    /// How many jobs of `owner` have not ended, with those submitted meanwhile and those of `job_ids` that are new.
    fn open_jobs(&self, owner: &str, job_ids: &[String]) -> (usize, usize) {
        let submitted: HashSet<&String> = self
            .submissions
            .iter()
            .filter(|submission| submission.owner == owner)
            .flat_map(|submission| &submission.job_ids)
            .filter(|id| !self.is_known(id))
            .collect();
        let more: HashSet<&String> = job_ids
            .iter()
            .filter(|id| !self.is_known(id) && !submitted.contains(id))
            .collect();
        let seen = self.known(|store| store.counts_of(owner).open).unwrap_or(0);
        (seen + submitted.len(), more.len())
    }
}

/// Jobs that are about to be submitted, counted among their owner's open ones; [`Snapshots::submitted`] ends it.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    number: u64,
}

/// What some jobs looked like at a moment; see [`Snapshots::wait_for_next`].
#[derive(Debug)]
pub struct Stand {
    looks: u64,
    of_jobs: Option<(u64, usize)>,
}

/// A LIST that takes long is not made more often than this many times its length.
const RESTS: u32 = 5;

/// For requests that wait no look is taken within this time of the one before.
const WAIT_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 500 });

/// ... but what is known by a LIST is never older than this.
const OLDEST: Duration = Duration::from_secs(10);

/// So long the watches are waited for to show what the cluster has; then a LIST is taken.
const CATCH_UP: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 3 });

/// So long they are waited for to show what was just submitted, cancelled or removed.
const SHOW: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 1 });

/// For so long the cluster is not asked again for what it did not have.
const MISSING: Duration = Duration::from_secs(if cfg!(test) { 3600 } else { 10 });

/// How many ids are remembered that the cluster did not have.
const MOST_MISSING: usize = 10_000;

/// How many jobs are asked for one by one, at most, that no watch has shown.
const ASKED_ONE_BY_ONE: usize = 10;

/// Sees to it that those who wait go on, whatever becomes of the one that they wait for.
struct UnderWay<'a>(&'a Snapshots);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().under_way = None;
        self.0.ended.notify_all();
    }
}

impl Snapshots {
    /// What is known is good for `age`, or longer where a LIST takes long. `rests`: whether the watches end where nobody has
    /// asked for long.
    pub fn new(age: Duration, rests: bool) -> Self {
        let state = State {
            // Jobs may wait since before the start.
            asked: Some(Instant::now()),
            ..Default::default()
        };
        Self {
            age,
            rests,
            state: Mutex::new(state),
            ended: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error of the cluster with how old is what is known.
    pub fn with_age(&self, error: Error) -> Error {
        self.state().with_age(error)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Instant) -> MutexGuard<'a, State> {
        let time = until.saturating_duration_since(Instant::now());
        let waited = self.ended.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Notes that somebody asks for something that needs the cluster.
    pub fn note_question(&self) {
        self.state().asked = Some(Instant::now());
    }

    /// What is known and not too old, with what a caller has done, and whether the cluster was looked at for this very question.
    pub fn recent(&self, connection: &Connection<'_>, caller: &str) -> Result<(Knowledge, bool), Error> {
        let mut state = self.state();
        loop {
            state.forget_what_is_shown();
            if !state.is_good(self.age) {
                break;
            }
            if let Some(held) = state.held.as_ref().filter(|_| state.is_up_to_date(caller)) {
                return Ok((held.knowledge.clone(), false));
            }
            // A watch shows it in a moment.
            match state.unshown_since(&|by, _| by == caller).map(|since| since + SHOW) {
                Some(until) if state.held_is_followed() && Instant::now() < until => state = self.wait(state, until),
                _ => break,
            }
        }
        // The one under way is as recent as can be, unless something was submitted or cancelled since it began.
        let wanted = match state.under_way {
            Some(changes) if changes == state.changes => state.begun,
            _ => state.begun + 1,
        };
        Ok((self.take(connection, state, wanted)?, true))
    }

    /// How old is what is known, how many of the jobs have not ended, and how many there are; `None`: nothing is known yet.
    pub fn seen(&self) -> Option<(Duration, usize, usize)> {
        let (knowledge, age) = {
            let state = self.state();
            let held = state.held.as_ref()?;
            (held.knowledge.clone(), held.begun.elapsed())
        };
        let counts = knowledge.read(JobStore::counts);
        Some((age, counts.open, counts.kept))
    }

    /// Whether it is by watches.
    #[cfg(test)]
    pub fn is_followed(&self) -> bool {
        self.state().held_is_followed()
    }

    /// How the jobs that are meant stand, before they are asked for.
    pub fn stand(&self, which: &JobSelector) -> Stand {
        let state = self.state();
        Stand {
            looks: state.last.as_ref().map_or(0, |(number, _)| *number),
            of_jobs: state.stand(which),
        }
    }

    /// Waits until the jobs may stand otherwise, or another look is due for the caller, but not beyond `deadline`.
    pub fn wait_for_next(&self, caller: &str, which: &JobSelector, stand: &Stand, deadline: Instant) {
        let mut state = self.state();
        loop {
            let is_new = match (&stand.of_jobs, state.stand(which)) {
                (Some(then), Some(now)) => *then != now,
                _ => state.last.as_ref().is_some_and(|(number, _)| *number > stand.looks),
            };
            let now = Instant::now();
            let due = state.held.as_ref().filter(|_| state.is_up_to_date(caller));
            // Who waits does not ask for a new one more often than this, whatever the server's settings.
            let due = due.map(|held| held.good_until.max(held.begun + WAIT_INTERVAL).min(deadline));
            match due {
                Some(due) if !is_new && now < due => state = self.wait(state, due),
                _ => return,
            }
        }
    }

    /// What is known, however old it is.
    pub fn held(&self) -> Option<Knowledge> {
        self.state().held.as_ref().map(|held| held.knowledge.clone())
    }

    /// What is known at a moment after this call.
    pub fn of_now(&self, connection: &Connection<'_>) -> Result<Knowledge, Error> {
        let state = self.state();
        let wanted = state.begun + 1;
        self.take(connection, state, wanted)
    }

    /// The look of the number `wanted` or a later one: waits for it, or takes it where nobody does.
    fn take(
        &self,
        connection: &Connection<'_>,
        mut state: MutexGuard<'_, State>,
        wanted: u64,
    ) -> Result<Knowledge, Error> {
        loop {
            match &state.last {
                Some((number, outcome)) if *number >= wanted => return outcome.clone(),
                _ if state.under_way.is_none() => break,
                _ => state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        let changes = state.changes;
        state.begun += 1;
        let number = state.begun;
        state.under_way = Some(changes);
        drop(state);

        let under_way = UnderWay(self);
        let begin = Instant::now();
        let outcome = self.look(connection, begin);
        let mut state = self.state();
        let outcome = outcome.map_err(|error| state.with_age(error));
        if let Ok((knowledge, begun)) = &outcome {
            let good_for = match knowledge {
                Knowledge::Followed(_) => self.age,
                Knowledge::Listed(_) => {
                    // What was over when it began is in it.
                    let is_later = |ended: u64| ended > changes;
                    state
                        .submissions
                        .retain(|submission| submission.ended.is_none_or(|(_, ended)| is_later(ended)));
                    state.changed.retain(|_, changed| is_later(changed.changes));
                    self.age.max((begun.elapsed() * RESTS).min(OLDEST))
                }
            };
            state.held = Some(Held {
                knowledge: knowledge.clone(),
                begun: *begun,
                good_until: *begun + good_for,
                changes,
            });
        }
        let outcome = outcome.map(|(knowledge, _)| knowledge);
        state.last = Some((number, outcome.clone()));
        drop(state);
        drop(under_way);
        outcome
    }

    /// Looks at the cluster: sees to it that the watches show what it has at this moment, or takes a LIST. Gives back when
    /// that was begun, too.
    fn look(&self, connection: &Connection<'_>, begin: Instant) -> Result<(Knowledge, Instant), Error> {
        if let Some(followed) = self.look_by_watches(connection, begin)? {
            return Ok(followed);
        }
        let begun = Instant::now();
        let store = JobStore::listed(connection)?;
        Ok((Knowledge::Listed(Arc::new(store)), begun))
    }

    /// Asks for what is meant; where it is not known, the cluster is asked whether there is such a job, once in a while:
    /// another process may have submitted it a moment ago.
    pub fn ask<T>(
        &self,
        connection: &Connection<'_>,
        caller: &str,
        which: &JobSelector,
        question: impl Fn(&JobStore) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (knowledge, is_new) = self.recent(connection, caller)?;
        let error = match knowledge.read(&question) {
            Err(error) if error.class == ErrorClass::NotFound => error,
            answer => return answer,
        };
        let missing: Vec<String> = match which {
            JobSelector::Jobs(_) => self.not_remembered(&error.job_ids),
            JobSelector::Batch(batch_id) => self.not_remembered(&[format!("{BATCH}{batch_id}")]),
        };
        if missing.is_empty() {
            return Err(error);
        }
        let answer = match &knowledge {
            Knowledge::Listed(_) if is_new => Err(error),
            Knowledge::Listed(_) => self.of_now(connection)?.read(&question),
            Knowledge::Followed(_) => {
                let there = match which {
                    JobSelector::Jobs(_) if missing.len() <= ASKED_ONE_BY_ONE => {
                        operations::existing_jobs(connection, &missing)?
                    }
                    JobSelector::Jobs(_) => operations::job_names(connection, &JobSelector::Jobs(missing.clone()))?,
                    JobSelector::Batch(_) => operations::job_names(connection, which)?,
                };
                match self.waits_for(&knowledge, &there) {
                    true => knowledge.read(&question),
                    false => question(&JobStore::listed(connection)?),
                }
            }
        };
        if answer.is_err() {
            self.remember(missing);
        }
        answer
    }

    /// Those of which it is not known that the cluster did not have them a moment ago.
    fn not_remembered(&self, names: &[String]) -> Vec<String> {
        let state = self.state();
        let is_remembered = |name: &String| state.missing.get(name).is_some_and(|when| when.elapsed() < MISSING);
        names.iter().filter(|name| !is_remembered(name)).cloned().collect()
    }

    fn remember(&self, missing: Vec<String>) {
        let mut state = self.state();
        let now = Instant::now();
        if state.missing.len() + missing.len() > MOST_MISSING {
            state.missing.retain(|_, when| when.elapsed() < MISSING);
        }
        for name in missing {
            if state.missing.len() < MOST_MISSING {
                state.missing.insert(name, now);
            }
        }
    }

    /// Waits until what is followed has all of these jobs; `false`: it does not get them.
    fn waits_for(&self, knowledge: &Knowledge, job_ids: &[String]) -> bool {
        let until = Instant::now() + SHOW;
        let mut state = self.state();
        loop {
            if knowledge.read(|store| job_ids.iter().all(|id| store.contains(id))) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            state = self.wait(state, until);
        }
    }

    /// Reserves a caller's place for jobs that are about to be submitted, unless more than `limit` of theirs would be open.
    /// A job that is there already, because the request is made again, takes no place.
    ///
    /// Errors: the cluster cannot be asked. The inner error: there is no place; how many jobs are open.
    pub fn reserve(
        &self,
        connection: &Connection<'_>,
        owner: &str,
        job_ids: &[String],
        limit: usize,
    ) -> Result<Result<Reservation, usize>, Error> {
        let was_good = self.state().is_good(self.age);
        if !was_good {
            self.recent(connection, owner)?;
        }
        let reserve = || {
            let mut state = self.state();
            let (open, more) = state.open_jobs(owner, job_ids);
            if more > 0 && open + more > limit {
                return Err(open);
            }
            let number = state.submissions.last().map_or(0, |last| last.number + 1);
            let unseen = job_ids.iter().filter(|id| !state.is_known(id)).cloned().collect();
            state.submissions.push(Submission {
                number,
                owner: owner.to_string(),
                job_ids: job_ids.to_vec(),
                unseen,
                ended: None,
            });
            Ok(Reservation { number })
        };
        match reserve() {
            // Some may have ended in the meantime, or been submitted by another process.
            Err(_) if was_good => {
                self.of_now(connection)?;
                Ok(reserve())
            }
            outcome => Ok(outcome),
        }
    }

    /// Whether [`Self::reserve`] would find no place, as far as that is known without asking the cluster.
    pub fn seems_full(&self, owner: &str, job_ids: &[String], limit: usize) -> bool {
        let (open, more) = self.state().open_jobs(owner, job_ids);
        more > 0 && open + more > limit
    }

    /// Ends a reservation: the jobs were submitted, all but `refused`, of which there is surely none.
    pub fn submitted(&self, reservation: Reservation, refused: &[String]) {
        let mut state = self.state();
        state.changes += 1;
        let ended = Some((Instant::now(), state.changes));
        if let Some(submission) = state
            .submissions
            .iter_mut()
            .find(|submission| submission.number == reservation.number)
        {
            submission.ended = ended;
            submission.job_ids.retain(|id| !refused.contains(id));
            submission.unseen.retain(|id| !refused.contains(id));
        }
        drop(state);
        self.ended.notify_all();
    }

    /// Notes what a caller has cancelled, if anything.
    pub fn cancelled(&self, by: &str, outcomes: &[CancelOutcome]) {
        let changed = outcomes.iter().filter(|outcome| {
            !matches!(
                outcome.done,
                Ok(Cancelled::AlreadyEnded | Cancelled::AlreadyCancelled) | Err(_)
            )
        });
        self.note_changes(by, changed.map(|outcome| outcome.job_id.as_str()), false);
    }

    /// Notes what a caller has removed, if anything.
    pub fn removed(&self, by: &str, outcomes: &[RemoveOutcome]) {
        let removed = outcomes.iter().filter(|outcome| outcome.done == Ok(Removed::Removed));
        self.note_changes(by, removed.map(|outcome| outcome.job_id.as_str()), true);
    }

    fn note_changes<'a>(&self, by: &str, job_ids: impl Iterator<Item = &'a str>, is_removed: bool) {
        let mut state = self.state();
        let changes = state.changes + 1;
        for id in job_ids {
            state.changes = changes;
            let when = Instant::now();
            state.changed.insert(
                id.to_string(),
                Changed {
                    by: by.to_string(),
                    is_removed,
                    when,
                    changes,
                },
            );
        }
        drop(state);
        self.ended.notify_all();
    }

    /// Whether another job than `job_id` ends as it does, with the uuid that the caller's key makes.
    pub fn has_other_of_same_key(&self, job_id: &str) -> bool {
        fn uuid(id: &str) -> Option<&str> {
            id.get(id.len().saturating_sub(UUID)..)
        }
        let (state, wanted) = (self.state(), uuid(job_id));
        let is_such = |id: &str| id != job_id && uuid(id) == wanted;
        let mut submitted = state.submissions.iter().flat_map(|submission| &submission.job_ids);
        wanted.is_some()
            && (submitted.any(|id| is_such(id)) || state.known(|store| store.ids().any(is_such)).unwrap_or(false))
    }
}

impl State {
    fn held_is_followed(&self) -> bool {
        matches!(
            self.held,
            Some(Held {
                knowledge: Knowledge::Followed(_),
                ..
            })
        )
    }

    fn stand(&self, which: &JobSelector) -> Option<(u64, usize)> {
        match self.held_is_followed() {
            true => self.known(|store| store.stand(which)),
            false => None,
        }
    }

    /// The error with how old is what is known.
    fn with_age(&self, error: Error) -> Error {
        match &self.held {
            Some(held) if matches!(error.class, ErrorClass::Unavailable | ErrorClass::Timeout) => {
                let seconds = held.begun.elapsed().as_secs();
                let age = format!("What the abba server knows of jobs is {seconds} s old.");
                let consequence = match &error.consequence {
                    Some(consequence) => format!("{consequence} {age}"),
                    None => age,
                };
                Error {
                    consequence: Some(consequence),
                    ..error
                }
            }
            _ => error,
        }
    }
}

/// Before a batch's id among what is missing: no job's id has a blank.
const BATCH: &str = "batch ";

/// The length of a uuid as text.
const UUID: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fake_cluster::{self, server, wait_until, Server};
    use crate::kubernetes::objects::{Job, Pod};
    use crate::operations::Kept;
    use crate::transport::FailureKind;
    use serde_json::json;
    use std::sync::atomic::Ordering;

    /// A job of the batch "shared".
    fn put(store: &mut JobStore, id: &str, owner: Option<&str>, phase: &str) {
        // The label is the same for names that differ.
        let labels = json!({"abba/batch-id": "shared", "abba/user": "a-b", "abba/job-id": id});
        let mut annotations = json!({"abba/program-path": "/a.R"});
        if let Some(owner) = owner {
            annotations["abba/owner"] = owner.into();
        }
        let metadata = json!({"name": id, "labels": labels, "annotations": annotations});
        let spec = json!({"template": {"spec": {"securityContext": {"runAsUser": 1}}}});
        let job: Job = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let mut pod = json!({"metadata": metadata, "status": {"phase": phase}});
        pod["metadata"]["name"] = format!("{id}-x").into();
        let pod: Pod = serde_json::from_value(pod).unwrap();
        store.put(job.part().unwrap());
        store.put(pod.part().unwrap());
    }

    fn caller(name: &str, is_operator: bool) -> Caller {
        Caller {
            name: name.into(),
            is_operator,
            scope: Default::default(),
            key_id: None,
            uid: Some(1),
            account: None,
        }
    }

    fn store() -> JobStore {
        let mut store = JobStore::default();
        put(&mut store, "j1", Some("a b"), "Running");
        put(&mut store, "j2", Some("a.b"), "Succeeded");
        put(&mut store, "j3", None, "Failed");
        store
    }

    #[test]
    fn somebody_elses_job_looks_like_none() {
        let store = store();
        let me = caller("a b", false);
        let words = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let error = jobs(&store, &me, &ids).unwrap_err();
            assert_eq!(error.class, ErrorClass::NotFound);
            format!("{error}").replace(&ids[0], "X")
        };
        assert_eq!(words(&["j2"]), words(&["none"]));
        assert_eq!(words(&["j3"]), words(&["none"]));
        assert_eq!(jobs(&store, &me, &["j1".into()]).unwrap().len(), 1);
        assert!(jobs(&store, &me, &["j1".into(), "j2".into()]).is_err());
        assert_eq!(
            jobs(&store, &caller("o", true), &["j3".into(), "j1".into()]).unwrap()[0]
                .record
                .job_id,
            "j3"
        );
    }

    #[test]
    fn of_a_batch_that_two_share_each_sees_their_own() {
        let store = store();
        let seen = |name| {
            let caller = caller(name, false);
            batch(&store, &caller, "shared").map(|jobs| jobs.len())
        };
        assert_eq!((seen("a b").unwrap(), seen("a.b").unwrap()), (1, 1));
        assert_eq!(seen("a-b").unwrap_err().class, ErrorClass::NotFound);
        assert_eq!(seen_by(&store, &caller("o", true)).len(), 3);
        assert_eq!((store.counts_of("a b").open, store.counts_of("a.b").open), (1, 0));
    }

    #[test]
    fn a_hundred_questions_are_answered_from_one_list() {
        let server = server();
        let id = server.submit("daemon", "b");
        let before = server.cluster.lists();
        *server.cluster.slowness.lock().unwrap() = Duration::from_millis(50);
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200));
            }
        });
        for _ in 0..100 {
            assert_eq!(server.get("daemon", "jobs").0, 200);
        }
        assert_eq!(server.cluster.lists(), before + 1);
    }

    #[test]
    fn cancels_of_a_job_that_has_ended_make_no_list_of_the_namespace_and_change_nothing() {
        let server = server();
        let id = server.submit("daemon", "b");
        server.cluster.ends(&id, "");
        let look = format!("job-status?job_id={id}");
        assert_eq!(server.get("daemon", &look).0, 200);
        let made = || ["jobs", "pods"].map(|kind| server.cluster.whole_lists(kind));
        let before = made();
        for _ in 0..10 {
            let (status, rows) = server.post("daemon", "cancel-job", &json!({"job_id": id}), None);
            assert_eq!((status, &rows[0]["done"]), (200, &json!("had ended")), "{rows}");
            assert_eq!(server.get("daemon", &look).0, 200);
        }
        assert_eq!((made(), server.cluster.count("PUT")), (before, 0));
    }

    #[test]
    fn who_waits_for_a_list_that_fails_is_told_so_and_does_not_make_it_again() {
        let server = server();
        server.cluster.fails("jobs?labelSelector", FailureKind::Timeout);
        server.cluster.holds("jobs?labelSelector");
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| assert_eq!(server.get("daemon", "jobs").0, 504));
            }
            wait_until(|| server.cluster.count("jobs?labelSelector") > 0);
            server.cluster.lets_go();
        });
        // Who comes as it fails may make another one.
        assert!(server.cluster.lists() <= 2, "{}", server.cluster.lists());
    }

    #[test]
    fn what_was_just_submitted_is_known_at_once() {
        let server = server();
        assert_eq!(server.get("daemon", "jobs").1, json!([]));
        let id = server.submit("daemon", "b");
        assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200);
        assert_eq!(server.get("daemon", "jobs").1.as_array().unwrap().len(), 1);
        // By another process, too.
        let other = Server {
            cluster: server.cluster,
            ..fake_cluster::server()
        };
        let foreign = other.submit("daemon", "b");
        let server = Server {
            cluster: other.cluster,
            ..server
        };
        assert_eq!(server.get("daemon", &format!("job-status?job_id={foreign}")).0, 200);
    }

    #[test]
    fn a_list_that_was_under_way_when_a_job_was_submitted_does_not_hide_it() {
        let server = server();
        // An older list is there, so that the submission need not wait for one.
        assert_eq!(server.get("daemon", "jobs").0, 200);
        server.submit("bin", "b");
        let looks = || server.cluster.looks.load(Ordering::SeqCst);
        let before = looks();
        *server.cluster.slowness.lock().unwrap() = Duration::from_millis(500);
        std::thread::scope(|scope| {
            scope.spawn(|| server.get("bin", "jobs"));
            while looks() == before {
                std::thread::yield_now();
            }
            let id = server.submit("daemon", "b");
            assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200);
        });
        assert_eq!(server.get("daemon", "jobs").1.as_array().unwrap().len(), 1);
    }
}
