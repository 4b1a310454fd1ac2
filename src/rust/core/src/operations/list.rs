//! Finding jobs again.

use serde::Deserialize;

use super::observation::{Observation, Observed};
use super::verdicts::{Asked, Verdicts, Wanted};
use super::Connection;
use crate::domain::job_record::{self, JobRecord};
use crate::domain::order::{self, Order, Seen};
use crate::domain::verdict;
use crate::error::Error;
use crate::kubernetes::labels;
use crate::kubernetes::{Api, LabelSelector};

/// Which jobs to list; all where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ListArguments {
    /// Those of a user.
    pub user: Option<String>,
    /// Those of a batch.
    pub batch_id: Option<String>,
    /// Those in one of these states.
    #[serde(rename = "status", deserialize_with = "super::one_or_many")]
    pub statuses: Vec<String>,
    /// Those submitted at this time or later, RFC 3339 in UTC with whole seconds.
    pub since: Option<String>,
    /// Whether their logs are read for their verdicts.
    pub verdict: bool,
}

/// A list of jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobList {
    /// The newest first.
    pub records: Vec<JobRecord>,
    /// Their verdicts, where they were asked for.
    pub verdicts: Option<Verdicts>,
}

/// The jobs of abba in the namespace, the newest first.
///
/// Errors: the batch id is none; the cluster cannot be asked. That there are none is no error.
pub fn list(connection: &Connection<'_>, arguments: &ListArguments) -> Result<JobList, Error> {
    let user = arguments
        .user
        .as_deref()
        .map(|user| labels::sanitise(user, labels::MAXIMUM_LENGTH));
    let selection = match &arguments.batch_id {
        Some(batch_id) => {
            labels::check_label_value("batch_id", batch_id)?;
            LabelSelector::Batch(batch_id)
        }
        None => LabelSelector::User(user.as_deref()),
    };
    let api = connection.api()?;
    let observation = Observation::of_all(connection, &api, &selection)?;
    let mut records: Vec<JobRecord> = observation
        .jobs_with_pods()
        .map(|(job, pod)| {
            let mut record = job_record::of(job, pod);
            if let (Some(order), None) = (Order::of_job(job).filter(|order| order.waits), pod) {
                let seen = |id: &str| match observation.of(id) {
                    Some(before) => Seen::Is(before.status().status),
                    None => Seen::NotKnown,
                };
                record.reason = Some(order::waiting(&order, seen).what);
            }
            record
        })
        .filter(|record| user.as_ref().is_none_or(|user| *user == record.user))
        .filter(|record| arguments.since.as_ref().is_none_or(|since| *since <= record.submitted))
        .filter(|record| {
            arguments.statuses.is_empty() || arguments.statuses.iter().any(|name| name == record.status.name())
        })
        .collect();
    records.sort_by(|a, b| (&b.submitted, &a.job_id).cmp(&(&a.submitted, &b.job_id)));
    let verdicts = match arguments.verdict {
        true => Some(verdicts_of(connection, &api, &observation, &records)?),
        false => None,
    };
    Ok(JobList { records, verdicts })
}

fn verdicts_of(
    connection: &Connection<'_>,
    api: &Api<'_>,
    observation: &Observation,
    records: &[JobRecord],
) -> Result<Verdicts, Error> {
    let pod_of = |id: &str| match observation.of(id) {
        Some(Observed::Pod(pod)) => Some(pod),
        _ => None,
    };
    let asked = records.iter().map(|record| {
        let pod = pod_of(&record.job_id);
        Asked {
            job_id: &record.job_id,
            status: record.status,
            pod_uid: pod.and_then(|pod| pod.metadata.uid),
            verdict: pod.and_then(verdict::of_failed),
        }
    });
    Wanted::new(asked, connection.log_patterns).read(connection, api, None, pod_of)
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{ended, job, list as answer, patient, pod, running, Scripted};
    use super::*;
    use crate::ErrorClass;
    use serde_json::json;

    fn cluster() -> Scripted {
        let mut annas = job("d", 4);
        annas["metadata"]["labels"]["abba/user"] = json!("anna");
        Scripted::new()
            .get("/pods", [answer(1, [pod("a", 1, ended(1)), pod("b", 1, running())])])
            .get("/jobs", [answer(1, [job("b", 1), job("c", 3), job("a", 1), annas])])
    }

    fn ids(arguments: &ListArguments) -> Vec<String> {
        let cluster = cluster();
        let records = list(&patient(&cluster), arguments).unwrap().records;
        records.into_iter().map(|record| record.job_id).collect()
    }

    #[test]
    fn the_newest_comes_first_and_of_one_second_the_ids_decide() {
        assert_eq!(ids(&ListArguments::default()), ["d", "c", "a", "b"]);
    }

    #[test]
    fn jobs_are_chosen() {
        let states = |names: &[&str]| ListArguments {
            statuses: names.iter().map(|name| (*name).to_string()).collect(),
            ..Default::default()
        };
        assert_eq!(ids(&states(&["Failed"])), ["a"]);
        assert_eq!(ids(&states(&["Running", "Pending"])), ["d", "c", "b"]);
        assert!(ids(&states(&["Unknown"])).is_empty());
        let since = |time: &str| ListArguments {
            since: Some(time.into()),
            ..Default::default()
        };
        assert_eq!(ids(&since("2026-01-01T00:00:03Z")), ["d", "c"]);
        let anna = ListArguments {
            user: Some("anna".into()),
            ..Default::default()
        };
        assert_eq!(ids(&anna), ["d"]);
    }

    #[test]
    fn the_cluster_is_asked_for_no_more_than_is_wanted() {
        for (arguments, selector) in [
            (ListArguments::default(), "managed-by%3Dabba"),
            (
                ListArguments {
                    user: Some("DOMAIN\\mike".into()),
                    ..Default::default()
                },
                "%2Cabba%2Fuser%3DDOMAIN-mike",
            ),
            (
                ListArguments {
                    batch_id: Some("b".into()),
                    ..Default::default()
                },
                "%2Cabba%2Fbatch-id%3Db",
            ),
        ] {
            let cluster = cluster();
            list(&patient(&cluster), &arguments).unwrap();
            let asked = cluster.paths("");
            assert_eq!(asked.len(), 2);
            assert!(asked.iter().all(|path| path.ends_with(selector)), "{asked:?}");
        }
    }

    #[test]
    fn no_jobs_are_no_error_and_a_batch_id_that_is_none_is_one() {
        let cluster = Scripted::new()
            .get("/pods", [answer(1, [])])
            .get("/jobs", [answer(1, [])]);
        assert_eq!(
            list(&patient(&cluster), &ListArguments::default()).unwrap(),
            JobList::default()
        );
        let wrong = ListArguments {
            batch_id: Some("a b".into()),
            ..Default::default()
        };
        let cluster = Scripted::new();
        assert_eq!(list(&patient(&cluster), &wrong).unwrap_err().class, ErrorClass::Input);
    }
}
