//! Jobs that the cluster has forgotten and an archive has, for those who may see them: a job's owner and operators, as while
//! the cluster had it.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::answer::ApiError;
use super::caller::Caller;
use super::calls::Asked;
use super::snapshot;
use super::Gateway;
use crate::kubernetes::time;
use crate::operations::{self, Archived, ArchivedJob, Connection, JobSelector, JobSnapshot, Place};
use crate::{Error, ErrorClass};

/// What the index of an archive is asked for: the jobs for which all of this holds, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Question {
    /// They were in this namespace.
    pub namespace_uid: String,
    /// They are among these; empty: all.
    pub job_ids: Vec<String>,
    /// They are of this batch.
    pub batch_id: Option<String>,
    /// They belong to this caller of the abba API.
    pub owner: Option<String>,
    /// They belong to this caller, or, where they belong to none, have this user.
    pub owner_or_user: Option<String>,
    /// They are in one of these states; empty: in any.
    pub status: Vec<String>,
    /// They were submitted at this time or later, RFC 3339.
    pub since: Option<String>,
    /// No more than so many.
    pub most: Option<usize>,
}

/// Asks the index of an archive. Errors: why it does not answer, for the administrator.
pub type AskIndex = Box<dyn Fn(Question) -> Result<Vec<ArchivedJob>, String> + Send + Sync>;

/// The archive that a server answers from.
pub struct Archive {
    folder: String,
    ask: AskIndex,
    /// Where the server's jobs are, once that is known.
    place: Mutex<Option<Place>>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Archive").field("folder", &self.folder).finish()
    }
}

impl Archive {
    /// An archive in a folder, and its index.
    pub fn new(folder: String, ask: AskIndex) -> Self {
        Self {
            folder,
            ask,
            place: Mutex::default(),
        }
    }

    /// The jobs that are asked for and that the caller may see; the namespace is filled in.
    ///
    /// Errors: the index does not answer; the server may not `get` its namespace.
    pub(super) fn jobs(
        &self,
        connection: &Connection<'_>,
        caller: &Caller,
        question: Question,
    ) -> Result<Vec<ArchivedJob>, ApiError> {
        let question = Question {
            namespace_uid: self.namespace_uid(connection)?,
            owner: (!caller.is_operator).then(|| caller.name.clone()),
            ..question
        };
        let mut jobs = self.answer(question).map_err(unreadable)?;
        jobs.retain(|job| caller.is_operator || caller.is_owner(job.owner.as_deref(), job.uid));
        Ok(jobs)
    }

    /// Those of the ids that the archive has, whosoever they are; none where it does not answer.
    pub(super) fn those_in(&self, connection: &Connection<'_>, job_ids: Vec<String>) -> Vec<String> {
        if job_ids.is_empty() {
            // That would ask for all.
            return Vec::new();
        }
        let Ok(namespace_uid) = self.namespace_uid(connection) else {
            return Vec::new();
        };
        let question = Question {
            namespace_uid,
            job_ids,
            ..Default::default()
        };
        let jobs = self.answer(question).unwrap_or_default();
        jobs.into_iter().map(|job| job.job_id).collect()
    }

    /// What the index has. Errors: why it does not answer, or that it answers another question.
    fn answer(&self, question: Question) -> Result<Vec<ArchivedJob>, String> {
        let (namespace_uid, batch_id) = (question.namespace_uid.clone(), question.batch_id.clone());
        let job_ids: HashSet<String> = question.job_ids.iter().cloned().collect();
        let is_meant = |job: &ArchivedJob| {
            job.namespace_uid == namespace_uid
                && (job_ids.is_empty() || job_ids.contains(&job.job_id))
                && batch_id.as_ref().is_none_or(|id| *id == job.batch_id)
        };
        let jobs = (self.ask)(question)?;
        match jobs.iter().find(|job| !is_meant(job)) {
            Some(job) => Err(format!(
                "job \"{}\" is in its answer, and was not asked for",
                job.job_id
            )),
            None => Ok(jobs),
        }
    }

    fn namespace_uid(&self, connection: &Connection<'_>) -> Result<String, Error> {
        let known = || self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = known().as_ref() {
            return Ok(place.namespace_uid.clone());
        }
        let place = operations::place(connection)?;
        let uid = place.namespace_uid.clone();
        *known() = Some(place);
        Ok(uid)
    }

    fn with(&self, jobs: Vec<ArchivedJob>) -> Archived {
        Archived::new(self.folder.clone(), jobs)
    }
}

/// The refusal where the archive does not answer. An answer is never silently without what may be there.
fn unreadable(why: String) -> ApiError {
    let told = Error::new(ErrorClass::Unavailable, "The abba server cannot read its archive.")
        .meaning("What the cluster has forgotten is not known.")
        .advise("Repeat the call in a minute; if it does not heal, tell the administrator of the abba server.");
    ApiError {
        reason: format!("The archive cannot be read: {why}"),
        retry_after: Some(10),
        ..ApiError::new(503, told)
    }
}

/// Jobs that a caller may see.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those that the cluster has.
    pub jobs: Vec<JobSnapshot>,
    /// Those that it has no longer.
    pub archived: Archived,
}

impl Found {
    /// The jobs, each as the one or the other function has it: in the order of the ids, of a batch in that of submission.
    pub fn each<'a, T>(
        &'a self,
        which: &JobSelector,
        in_cluster: impl Fn(&'a JobSnapshot) -> T,
        in_archive: impl Fn(&'a ArchivedJob) -> T,
    ) -> Vec<T> {
        let jobs = self.jobs.iter().map(|job| {
            let submitted = time::parse(&job.record.submitted).map(|time| time.as_second());
            ((job.record.job_id.clone(), submitted), in_cluster(job))
        });
        self.archived.beside(which, jobs, in_archive)
    }

    /// Their ids, in the same order.
    pub fn ids(&self, which: &JobSelector) -> Vec<String> {
        self.each(which, |job| job.record.job_id.clone(), |job| job.job_id.clone())
    }
}

impl Asked<'_> {
    /// The jobs that are meant, if the caller may see them, as of [`Asked::seen`], also those that the cluster has forgotten.
    ///
    /// Errors: as those of that, and of [`Archive::jobs`].
    pub(super) fn found(
        &self,
        gateway: &Gateway,
        connection: &Connection<'_>,
        which: &JobSelector,
        everybody: bool,
    ) -> Result<Found, ApiError> {
        self.found_again(gateway, connection, which, everybody, &mut None)
    }

    /// The same for who looks again and again: what the archive has of a batch is asked for once, and again where the cluster
    /// has none of it.
    ///
    /// Errors: as those of [`Self::found`].
    pub(super) fn found_again(
        &self,
        gateway: &Gateway,
        connection: &Connection<'_>,
        which: &JobSelector,
        everybody: bool,
        of_batch: &mut Option<Archived>,
    ) -> Result<Found, ApiError> {
        let seen = self.seen(gateway, connection, which, everybody);
        let is_gone = matches!(&seen, Err(error) if error.class == ErrorClass::NotFound);
        match (which, &gateway.archive, seen) {
            (JobSelector::Jobs(ids), Some(archive), Err(error)) if is_gone && !error.job_ids.is_empty() => {
                let question = Question {
                    job_ids: error.job_ids.clone(),
                    ..Default::default()
                };
                let archived = archive.jobs(connection, self.caller, question)?;
                let is_there: HashSet<&str> = archived.iter().map(|job| job.job_id.as_str()).collect();
                let is_missing = |id: &&String| !is_there.contains(id.as_str());
                let missing: Vec<String> = error.job_ids.iter().filter(is_missing).cloned().collect();
                if !missing.is_empty() {
                    return Err(snapshot::no_jobs(missing).into());
                }
                let rest: Vec<String> = ids.iter().filter(is_missing).cloned().collect();
                let jobs = match rest.is_empty() {
                    true => Vec::new(),
                    false => gateway.seen(connection, self.caller, &JobSelector::Jobs(rest))?,
                };
                let archived = archive.with(archived);
                Ok(Found { jobs, archived })
            }
            (JobSelector::Batch(batch_id), Some(archive), seen) if is_gone || seen.is_ok() => {
                let archived = match of_batch.take().filter(|_| !is_gone) {
                    Some(known) => known,
                    None => {
                        let whose = match everybody {
                            true => self.caller.clone(),
                            false => self.caller.as_anybody(),
                        };
                        let question = Question {
                            batch_id: Some(batch_id.clone()),
                            ..Default::default()
                        };
                        archive.with(archive.jobs(connection, &whose, question)?)
                    }
                };
                let archived = of_batch.insert(archived);
                let jobs = match seen {
                    Err(_) if !archived.jobs().is_empty() => Vec::new(),
                    seen => seen?,
                };
                let known: HashSet<&str> = jobs.iter().map(|job| job.record.job_id.as_str()).collect();
                let archived = archived.those(|job| !known.contains(job.job_id.as_str()));
                Ok(Found { jobs, archived })
            }
            (_, _, seen) => Ok(Found {
                jobs: seen?,
                archived: Archived::default(),
            }),
        }
    }

    /// The error that the cluster does not have jobs that are to be changed, in the words that fit those that are archived.
    pub(super) fn not_in_cluster(
        &self,
        gateway: &Gateway,
        connection: &Connection<'_>,
        which: &JobSelector,
        everybody: bool,
        error: Error,
    ) -> ApiError {
        if error.class != ErrorClass::NotFound || gateway.archive.is_none() {
            return error.into();
        }
        match self.found(gateway, connection, which, everybody) {
            Ok(found) if !found.archived.jobs().is_empty() => {
                let ids = found.archived.jobs().iter().map(|job| job.job_id.clone());
                let ids: Vec<String> = ids.collect();
                let (what, verb) = match ids.len() {
                    1 => ("The job", "is"),
                    _ => ("The jobs", "are"),
                };
                Error::new(
                    ErrorClass::NotFound,
                    format!("{what} {} {verb} archived.", crate::error::name_some(&ids)),
                )
                .meaning("It ended, and the cluster has forgotten it since: nothing runs that could be ended.")
                .advise("Its status, log and explanation are in the archive.")
                .about(ids)
                .into()
            }
            _ => error.into(),
        }
    }
}

/// Whose job it is: as of [`super::calls::owner_or_user`].
pub(super) fn owner_or_user(job: &ArchivedJob) -> &str {
    job.owner.as_deref().unwrap_or(&job.user)
}

/// An error of reading a file of the archive, for callers.
pub(super) fn of_file(error: Error) -> ApiError {
    match error.class {
        ErrorClass::LogUnavailable => ApiError {
            retry_after: None,
            ..error.into()
        },
        _ => error.into(),
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
