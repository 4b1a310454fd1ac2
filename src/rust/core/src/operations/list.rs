//! Finding jobs again.

use super::observation::Observation;
use super::Connection;
use crate::domain::job_record::{self, JobRecord};
use crate::domain::labels;
use crate::error::Error;
use crate::kubernetes::Selection;

/// Which jobs to list; all where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListArguments {
    /// Those of a user.
    pub user: Option<String>,
    /// Those of a batch.
    pub batch_id: Option<String>,
    /// Those in one of these states.
    pub statuses: Vec<String>,
    /// Those submitted at this time or later, RFC 3339 in UTC with whole seconds.
    pub since: Option<String>,
}

/// The jobs of abba in the namespace, the newest first.
///
/// Errors: the batch id is none; the cluster cannot be asked. That there are none is no error.
pub fn list(connection: &Connection<'_>, arguments: &ListArguments) -> Result<Vec<JobRecord>, Error> {
    let user = arguments
        .user
        .as_deref()
        .map(|user| labels::sanitise(user, labels::MAXIMUM_LENGTH));
    let selection = match &arguments.batch_id {
        Some(batch_id) => {
            labels::check_label_value("batch_id", batch_id)?;
            Selection::Batch(batch_id)
        }
        None => Selection::User(user.as_deref()),
    };
    let api = connection.api()?;
    let observation = Observation::of_all(connection, &api, &selection)?;
    let mut records: Vec<JobRecord> = observation
        .jobs_with_pods()
        .map(|(job, pod)| job_record::of(job, pod))
        .filter(|record| user.as_ref().is_none_or(|user| *user == record.user))
        .filter(|record| arguments.since.as_ref().is_none_or(|since| *since <= record.submitted))
        .filter(|record| {
            arguments.statuses.is_empty() || arguments.statuses.iter().any(|name| name == record.status.name())
        })
        .collect();
    records.sort_by(|a, b| (&b.submitted, &a.job_id).cmp(&(&a.submitted, &b.job_id)));
    Ok(records)
}
