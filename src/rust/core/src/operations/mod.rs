//! What a user asks for, each in a file of its own.

mod archive;
mod archive_files;
mod bookings;
mod cancel;
mod check;
mod error_messages;
mod explain;
mod follow;
#[cfg(test)]
mod fuzz;
mod job_outcome;
mod job_store;
mod list;
mod log;
mod log_check;
mod log_parts;
mod observation;
mod outdated;
mod parallel_map;
mod plan;
mod queue;
mod reconnect;
mod record;
mod record_files;
#[cfg(test)]
mod record_tests;
mod reflector;
mod release;
mod remove;
mod rerun;
mod save_records;
#[cfg(test)]
mod scripted;
mod status;
mod submit;
mod upload;
mod verdicts;
mod verify;
mod version;
mod watch;
mod watch_update;

pub use archive::{archive, archived_explanation, archived_jobs, place, ArchiveOutcome, Archived, ArchivedJob, Place};
pub use bookings::change_bookings;
pub use cancel::{cancel, cancel_as, Cancelled};
pub use check::{check_cluster, CheckArguments, CheckReport, Reached};
pub use explain::explain;
pub use follow::follow;
pub use job_outcome::{CancelOutcome, JobOutcome, RemoveOutcome};
pub use job_store::{JobCounts, JobSnapshot, JobStore, Kept, Part};
pub use list::{list, JobList, ListArguments};
pub use log::{log, log_page, LogOfJob, LogPage, LogPosition, Logs};
pub use log_check::{log_check, CheckedLog};
pub use observation::{current_version, existing_jobs, job_names};
pub use outdated::{outdated, Outdated, OutdatedArguments, PlannedProgram};
pub use plan::{plan, PlanArguments, PlanColumns};
pub use record::{records, RecordOfJob};
pub use reflector::{reflect, Audience, Change};
pub use release::{hold_lease, run_controller, take_step, MakeStep, ReleaseNews, Steps, LIMIT_OF_CHANGE};
pub use remove::{of_others, remove, Removed, Submitter};
pub use rerun::{does_not_end, kept_submissions, predecessors_have_not_ended, KeptSubmission};
pub use save_records::{save_records, JobToSave, SaveArguments, SavedJob};
pub use status::status;
pub use submit::{
    prepare, prepare_all, prepare_program, storage_access, submission_warnings, submit, submit_each, submit_many,
    Origin, PreparedJob, Submitted,
};
pub use upload::{program_upload, ProgramUpload};
pub use verdicts::{verdicts, Verdicts};
pub use verify::{verify, CheckResult, CheckedFile};
pub use version::server_version;
pub use watch::{obstacles, watch, WatchedJob, WatchedJobs, LONGEST_LOOK_INTERVAL, REASONS_ASKED};
pub use watch_update::{Obstacle, WatchUpdate};

use serde::{Deserialize, Deserializer};

use crate::domain::verdict::LogPatterns;
use crate::kubernetes::objects::ObjectMeta;
use crate::kubernetes::{labels, Api};
use crate::transport::{Patience, Transport};
use crate::Error;

/// The error for a user who wants to stop.
fn stopped(_: crate::kubernetes::api::Stopped) -> Error {
    Error::new(crate::ErrorClass::Interrupted, "Stopped.")
}

/// Which jobs an operation is about. As JSON an object with either `job_id`, a string or an array of strings, or `batch_id`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub enum JobSelector {
    /// Those with these ids, in this order.
    #[serde(rename = "job_id", deserialize_with = "one_or_many")]
    Jobs(Vec<String>),
    /// All of a batch, in the order of their creation.
    #[serde(rename = "batch_id")]
    Batch(String),
}

/// Reads strings of which one may stand without its array, as R has it.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}

/// A caller of the abba API, to whom jobs belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Its name, word for word.
    pub name: &'a str,
    /// The number of its account, where it is known: a name may get a new owner.
    pub uid: Option<u32>,
}

impl Owner<'_> {
    /// Whether an object that names its owner is of this one. `uid`: the number of the account that the program runs as, where
    /// the object tells it.
    fn has(&self, metadata: &ObjectMeta, uid: Option<u32>) -> bool {
        let is_named = metadata.annotation(labels::OWNER) == Some(self.name);
        is_named && self.uid.zip(uid).is_none_or(|(own, of_job)| own == of_job)
    }
}

/// How the cluster is reached, and which jobs are seen there: what every operation needs.
#[derive(Clone, Copy)]
pub struct Connection<'a> {
    /// Carries the calls.
    pub transport: &'a dyn Transport,
    /// The namespace; `None`: the one that the user's configuration names.
    pub namespace: Option<&'a str>,
    /// How long each call may take.
    pub patience: Patience<'a>,
    /// What is looked for in logs.
    pub log_patterns: &'a LogPatterns,
    /// Whose jobs are looked at by their ids or their batch: to this caller of the abba API another's are as none, however the
    /// ids were found out before. `None`: everybody's.
    pub owner: Option<Owner<'a>>,
}

impl<'a> Connection<'a> {
    fn api(&self) -> Result<Api<'a>, Error> {
        Api::new(self.transport, self.namespace, self.patience)
            .map_err(|failure| error_messages::error(&failure, "read kubectl's configuration", "", &self.patience))
    }

    /// The namespace in which the jobs are.
    ///
    /// Errors: the user's configuration, which names it, cannot be read.
    pub fn namespace(&self) -> Result<String, Error> {
        Ok(self.api()?.namespace().to_string())
    }

    /// The error for a failure of `api` while it did something, as "list pods".
    fn error(&self, api: &Api<'_>, failure: &crate::transport::Failure, doing: &str) -> Error {
        error_messages::error_at(api, failure, doing, &self.patience)
    }
}

/// The error for a failure that came before any cluster was involved.
pub fn error_of(failure: &crate::transport::Failure, patience: &Patience<'_>) -> Error {
    error_messages::error(failure, "be started", "", patience)
}

/// Checks which jobs are meant, before anything is sent: at least one id and each a legal name, or a legal batch id.
pub fn check(which: &JobSelector) -> Result<(), Error> {
    match which {
        JobSelector::Jobs(job_ids) if job_ids.is_empty() => Err(Error::input(
            "`job_id` must hold at least one job's id, and it is empty.",
        )),
        JobSelector::Jobs(job_ids) => job_ids
            .iter()
            .try_for_each(|id| crate::domain::job_name::check_job_id(id)),
        JobSelector::Batch(batch_id) => labels::check_label_value("batch_id", batch_id),
    }
}
