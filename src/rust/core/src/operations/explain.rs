//! What happened to a job, and what to do.

use super::observation::{not_found, Observation};
use super::{check, stopped, Connection, Which};
use crate::domain::job_record::{self, Explanation};
use crate::error::Error;
use crate::kubernetes::objects::Event;
use crate::kubernetes::Selection;

/// Explains a job.
///
/// Errors: it does not exist; the cluster cannot be asked. Without the right to read events those are left out.
pub fn explain(connection: &Connection<'_>, job_id: &str) -> Result<Explanation, Error> {
    check(&Which::Jobs(vec![job_id.to_string()]))?;
    let api = connection.api()?;
    let ids = [job_id];
    let observation = Observation::of_all(connection, &api, &Selection::Jobs(&ids))?;
    let Some((job, pod)) = observation.jobs_with_pods().next() else {
        return Err(not_found(&ids, api.namespace()));
    };
    let mut events = api.list_events_if_allowed("Job", job_id).map_err(stopped)?;
    if let Some(pod) = pod {
        events.extend(api.list_events_if_allowed("Pod", &pod.metadata.name).map_err(stopped)?);
        events.sort_by_key(Event::time);
    }
    Ok(job_record::explain(job, pod, observation.attempts(job_id), events))
}
