//! What was seen of all jobs a moment ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::caller::Caller;
use crate::domain::job_status::Status;
use crate::operations::{survey, Connection, SurveyedJob};
use crate::{Error, ErrorClass};

/// All jobs of the namespace at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The oldest first.
    jobs: Vec<SurveyedJob>,
    places: HashMap<String, usize>,
}

impl Snapshot {
    fn new(jobs: Vec<SurveyedJob>) -> Self {
        let places = jobs
            .iter()
            .enumerate()
            .map(|(place, job)| (job.record.job_id.clone(), place))
            .collect();
        Self { jobs, places }
    }

    /// The jobs with these ids, in their order, if the caller may see all of them.
    ///
    /// Errors: the caller may not see one, or there is none; which of the two is not said.
    pub fn jobs<'a>(&'a self, caller: &Caller, ids: &[String]) -> Result<Vec<&'a SurveyedJob>, Error> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            match self.places.get(id).map(|place| &self.jobs[*place]) {
                Some(job) if may_see(caller, job) => found.push(job),
                _ => missing.push(id.clone()),
            }
        }
        match missing.as_slice() {
            [] => Ok(found),
            [one] => Err(not_found(format!("You have no job \"{one}\".")).about(missing)),
            [first, rest @ ..] => Err(not_found(format!(
                "You have no job \"{first}\", and {} more are missing.",
                rest.len()
            ))
            .about(missing)),
        }
    }

    /// The caller's jobs of a batch, the oldest first.
    ///
    /// Errors: there are none.
    pub fn batch<'a>(&'a self, caller: &'a Caller, batch_id: &str) -> Result<Vec<&'a SurveyedJob>, Error> {
        let found: Vec<&SurveyedJob> = self
            .seen_by(caller)
            .filter(|job| job.record.batch_id == batch_id)
            .collect();
        match found.is_empty() {
            true => Err(not_found(format!("You have no batch \"{batch_id}\"."))),
            false => Ok(found),
        }
    }

    /// All that the caller may see, the oldest first.
    pub fn seen_by<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a SurveyedJob> {
        self.jobs.iter().filter(|job| may_see(caller, job))
    }

    /// How many jobs of a caller's own have not ended.
    fn open_jobs(&self, name: &str) -> usize {
        self.jobs
            .iter()
            .filter(|job| job.owner.as_deref() == Some(name))
            .filter(|job| matches!(job.status.status, Status::Pending | Status::Running | Status::Unknown))
            .count()
    }
}

fn may_see(caller: &Caller, job: &SurveyedJob) -> bool {
    caller.is_operator || job.owner.as_deref() == Some(caller.name.as_str())
}

fn not_found(message: String) -> Error {
    Error::new(ErrorClass::NotFound, message)
        .meaning("It never existed, it was removed, or it is somebody else's: a job is removed a week after its end.")
        .advise("Check the id.")
}

/// The last snapshot, taken anew when it is too old.
#[derive(Debug)]
pub struct Snapshots {
    age: Duration,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    snapshot: Arc<Snapshot>,
    good_until: Instant,
    /// Something was submitted or cancelled since.
    is_outdated: bool,
    /// Jobs that callers have submitted since.
    submitted: HashMap<String, usize>,
}

/// A LIST that takes long is not made more often than this many times its length.
const RESTS: u32 = 5;

/// ... but a snapshot is never older than this.
const OLDEST: Duration = Duration::from_secs(10);

impl Snapshots {
    /// Snapshots that are good for `age`, or longer where a LIST takes long.
    pub fn new(age: Duration) -> Self {
        Self {
            age,
            held: Mutex::new(None),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot that is not too old, and whether it was taken for this very question.
    pub fn recent(&self, connection: &Connection<'_>) -> Result<(Arc<Snapshot>, bool), Error> {
        if let Some(held) = self.held().as_ref() {
            if !held.is_outdated && Instant::now() < held.good_until {
                return Ok((Arc::clone(&held.snapshot), false));
            }
        }
        Ok((self.take(connection)?, true))
    }

    /// A snapshot of now.
    fn take(&self, connection: &Connection<'_>) -> Result<Arc<Snapshot>, Error> {
        let begin = Instant::now();
        let snapshot = Arc::new(Snapshot::new(survey(connection)?));
        let good_for = self.age.max((begin.elapsed() * RESTS).min(OLDEST));
        *self.held() = Some(Held {
            snapshot: Arc::clone(&snapshot),
            good_until: begin + good_for,
            is_outdated: false,
            submitted: HashMap::new(),
        });
        Ok(snapshot)
    }

    /// Asks a recent snapshot; where it does not know, one of now, since another process may have submitted what is asked
    /// for.
    pub fn ask<T>(
        &self,
        connection: &Connection<'_>,
        question: impl Fn(&Snapshot) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (snapshot, is_new) = self.recent(connection)?;
        match question(&snapshot) {
            Err(error) if error.class == ErrorClass::NotFound && !is_new => question(&*self.take(connection)?),
            answer => answer,
        }
    }

    /// How many open jobs a caller has: those of a snapshot that may be a moment old, and those submitted since.
    pub fn open_jobs(&self, connection: &Connection<'_>, name: &str) -> Result<usize, Error> {
        let is_good = self
            .held()
            .as_ref()
            .is_some_and(|held| Instant::now() < held.good_until);
        if !is_good {
            self.take(connection)?;
        }
        Ok(self.held().as_ref().map_or(0, |held| {
            held.snapshot.open_jobs(name) + held.submitted.get(name).copied().unwrap_or_default()
        }))
    }

    /// Notes that a caller has submitted jobs, or, with none, cancelled some.
    pub fn changed(&self, name: &str, submitted: usize) {
        if let Some(held) = self.held().as_mut() {
            held.is_outdated = true;
            *held.submitted.entry(name.to_string()).or_default() += submitted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job_record::JobRecord;
    use crate::domain::job_status::JobStatus;

    fn job(id: &str, owner: Option<&str>, status: Status) -> SurveyedJob {
        SurveyedJob {
            record: JobRecord {
                job_id: id.into(),
                batch_id: "shared".into(),
                program: "/a.R".into(),
                // The label: the same for names that differ.
                user: "a-b".into(),
                status,
                submitted: "2026-01-01T00:00:00Z".into(),
                started: None,
                finished: None,
                exit_code: None,
                reason: String::new(),
            },
            status: JobStatus {
                id: format!("{id}-x"),
                path: None,
                status,
            },
            owner: owner.map(String::from),
        }
    }

    fn caller(name: &str, is_operator: bool) -> Caller {
        Caller {
            name: name.into(),
            is_operator,
        }
    }

    fn snapshot() -> Snapshot {
        Snapshot::new(vec![
            job("j1", Some("a b"), Status::Running),
            job("j2", Some("a.b"), Status::Succeeded),
            job("j3", None, Status::Failed),
        ])
    }

    #[test]
    fn somebody_elses_job_looks_like_none() {
        let snapshot = snapshot();
        let me = caller("a b", false);
        let words = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let error = snapshot.jobs(&me, &ids).unwrap_err();
            assert_eq!(error.class, ErrorClass::NotFound);
            format!("{error}").replace(&ids[0], "X")
        };
        assert_eq!(words(&["j2"]), words(&["none"]));
        assert_eq!(words(&["j3"]), words(&["none"]));
        assert_eq!(snapshot.jobs(&me, &["j1".into()]).unwrap().len(), 1);
        assert!(snapshot.jobs(&me, &["j1".into(), "j2".into()]).is_err());
        assert_eq!(
            snapshot.jobs(&caller("o", true), &["j3".into(), "j1".into()]).unwrap()[0]
                .record
                .job_id,
            "j3"
        );
    }

    #[test]
    fn of_a_batch_that_two_share_each_sees_their_own() {
        let snapshot = snapshot();
        let seen = |name| {
            let caller = caller(name, false);
            snapshot.batch(&caller, "shared").map(|jobs| jobs.len())
        };
        assert_eq!((seen("a b").unwrap(), seen("a.b").unwrap()), (1, 1));
        assert_eq!(seen("a-b").unwrap_err().class, ErrorClass::NotFound);
        assert_eq!(snapshot.seen_by(&caller("o", true)).count(), 3);
        assert_eq!((snapshot.open_jobs("a b"), snapshot.open_jobs("a.b")), (1, 0));
    }
}
