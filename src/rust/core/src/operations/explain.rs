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
    let pods: Vec<String> = match pod {
        Some(pod) => vec![pod.metadata.name.clone()],
        None => events.iter().filter_map(created_pod).map(String::from).collect(),
    };
    for pod in pods {
        events.extend(api.list_events_if_allowed("Pod", &pod).map_err(stopped)?);
    }
    events.sort_by_key(Event::time);
    Ok(job_record::explain(
        job,
        pod,
        observation.attempts(job_id),
        events,
        connection.namespace,
    ))
}

/// The name of the pod whose making this event of a Job tells: where the pod is gone, nothing else does.
fn created_pod(event: &Event) -> Option<&str> {
    match event.reason.as_str() {
        "SuccessfulCreate" => event.message.strip_prefix("Created pod: "),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_that_is_gone_is_known_by_its_making() {
        let event = |reason: &str, message: &str| Event {
            reason: reason.into(),
            message: message.into(),
            ..Default::default()
        };
        assert_eq!(
            created_pod(&event("SuccessfulCreate", "Created pod: a-1-x7k2p")),
            Some("a-1-x7k2p")
        );
        assert_eq!(created_pod(&event("SuccessfulDelete", "Deleted pod: a-1-x7k2p")), None);
    }
}
