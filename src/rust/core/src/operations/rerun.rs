//! Submitting again what has failed.

use std::time::{Duration, Instant};

use super::observation::Observation;
use super::submit::ran_in_place;
use super::{Connection, SubmitArguments};
use crate::domain::job_name;
use crate::domain::job_status::{self, Status};
use crate::error::{Error, ErrorClass};
use crate::kubernetes::labels;
use crate::kubernetes::objects::Job;
use crate::kubernetes::Selection;

/// One job that is to be submitted again.
#[derive(Clone, Debug)]
pub struct Again {
    /// The job.
    pub rerun_of: String,
    /// What it was submitted with.
    pub arguments: SubmitArguments,
}

/// What is left of a rerun of which some programs could not be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestOfRerun {
    /// The batch id that the rerun got.
    pub batch_id: String,
    /// The jobs to submit again, each with the id under which it may have been created, if any.
    pub jobs: Vec<(String, Option<String>)>,
}

/// How long is waited for programs that were cancelled and have not ended: their node gives them 30 seconds.
const LONGEST_END: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 40_000 });

/// The pause between two looks at them.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 300 });

/// Those jobs of a batch that have failed or were cancelled (with `include_unknown` also those whose node does not
/// answer), in the order of their submission, with a new batch id; or those of `rest`, whatever their state. What was
/// cancelled a moment ago is waited for: the same program must not run twice at a time, and must not be forgotten.
///
/// Errors: there is no such batch; a job does not say what it was submitted with; one that was cancelled does not end
/// ([`ErrorClass::Timeout`]); the cluster cannot be asked.
pub fn arguments_to_rerun(
    connection: &Connection<'_>,
    batch_id: &str,
    include_unknown: bool,
    rest: Option<&RestOfRerun>,
) -> Result<Vec<Again>, Error> {
    let api = connection.api()?;
    let deadline = Instant::now() + LONGEST_END;
    let (order, observation) = loop {
        // Raises the error for a batch that does not exist.
        let order = Observation::of_batch(connection, &api, batch_id)?.job_ids;
        let observation = Observation::of_all(connection, &api, &Selection::Batch(batch_id))?;
        let ending = match rest {
            Some(_) => Vec::new(),
            None => being_cancelled(&observation),
        };
        if ending.is_empty() {
            break (order, observation);
        }
        if Instant::now() >= deadline {
            return Err(does_not_end(ending));
        }
        if !connection.patience.sleep(PAUSE) {
            return Err(Error::new(ErrorClass::Interrupted, "Stopped.").meaning("Nothing was submitted."));
        }
    };
    let mut failed: Vec<(usize, Again)> = Vec::new();
    for (job, pod) in observation.jobs_with_pods() {
        let id = &job.metadata.name;
        let status = pod.map_or_else(|| job_status::of_job(job), job_status::of_pod).status;
        let left = rest.and_then(|rest| rest.jobs.iter().find(|(rerun_of, _)| rerun_of == id));
        let is_meant = match rest {
            Some(_) => left.is_some(),
            None => status == Status::Failed || (include_unknown && status == Status::Unknown),
        };
        if !is_meant {
            continue;
        }
        let mut arguments = kept_arguments(job)?;
        arguments.job_id = left.and_then(|(_, job_id)| job_id.clone());
        let position = order.iter().position(|known| known == id).unwrap_or(usize::MAX);
        let again = Again {
            rerun_of: id.clone(),
            arguments,
        };
        failed.push((position, again));
    }
    failed.sort_by_key(|(position, _)| *position);
    let mut again: Vec<Again> = failed.into_iter().map(|(_, again)| again).collect();
    if let Some(first) = again.first() {
        let name = first.arguments.expanded_path.rsplit('/').next().unwrap_or_default();
        let new_batch_id = rest.map_or_else(|| job_name::new_batch_id(name), |rest| rest.batch_id.clone());
        for job in &mut again {
            job.arguments.batch_group_id.clone_from(&new_batch_id);
        }
    }
    Ok(again)
}

/// The jobs that were cancelled and have not ended yet.
fn being_cancelled(observation: &Observation) -> Vec<String> {
    let mut ids: Vec<String> = observation
        .jobs_with_pods()
        .filter(|(job, pod)| job_status::is_being_cancelled(job, *pod))
        .map(|(job, _)| job.metadata.name.clone())
        .collect();
    ids.sort_unstable();
    ids
}

/// The error where jobs that were cancelled go on.
pub fn does_not_end(ids: Vec<String>) -> Error {
    let first = ids.first().cloned().unwrap_or_default();
    let what = match ids.len() {
        0 | 1 => format!("Job \"{first}\" was cancelled and has not ended yet."),
        more => format!("{more} jobs were cancelled and have not ended yet, such as \"{first}\"."),
    };
    Error::new(ErrorClass::Timeout, what)
        .meaning("Nothing was submitted again, so that no program runs twice at a time.")
        .advise("Repeat the call when they have ended.")
        .about(ids)
}

/// What a job keeps of its submission.
fn kept_arguments(job: &Job) -> Result<SubmitArguments, Error> {
    let id = &job.metadata.name;
    let kept = job.metadata.annotations.get(labels::ARGUMENTS);
    kept.and_then(|kept| serde_json::from_str(kept).ok()).ok_or_else(|| {
        Error::new(
            ErrorClass::Invalid,
            format!("Job \"{id}\" does not say what it was submitted with."),
        )
        .advise("Submit its program again by hand.")
        .about([id])
    })
}

/// What a job of a caller of the abba API was submitted with.
#[derive(Clone, Debug)]
pub struct KeptSubmission {
    /// The job.
    pub job_id: String,
    /// Its state.
    pub status: Status,
    /// Whether it was cancelled and has not ended yet.
    pub ending: bool,
    /// What it was submitted with.
    pub arguments: SubmitArguments,
    /// Whether its program ran where it was, in a mount; else its text was sent.
    pub in_place: bool,
}

/// What the jobs of a batch that belong to `owner` were submitted with, in the order of their submission: those in one of
/// the states, all where none is named. What was cancelled and has not ended yet counts as failed, too. `None`: `owner` has
/// no job in such a batch.
///
/// Errors: a job does not say what it was submitted with; the cluster cannot be asked.
pub fn kept_submissions(
    connection: &Connection<'_>,
    batch_id: &str,
    owner: &str,
    statuses: &[String],
) -> Result<Option<Vec<KeptSubmission>>, Error> {
    let api = connection.api()?;
    let observation = Observation::of_all(connection, &api, &Selection::Batch(batch_id))?;
    let mut own: Vec<_> = observation
        .jobs_with_pods()
        .filter(|(job, _)| {
            job.metadata
                .annotations
                .get(labels::OWNER)
                .is_some_and(|of| of == owner)
        })
        .collect();
    if own.is_empty() {
        return Ok(None);
    }
    own.sort_by_key(|(job, _)| (&job.metadata.creation_timestamp, &job.metadata.name));
    let mut kept = Vec::new();
    for (job, pod) in own {
        let status = pod.map_or_else(|| job_status::of_job(job), job_status::of_pod).status;
        let ending = job_status::is_being_cancelled(job, pod);
        let is_meant = |name: &String| name == status.name() || (ending && name == Status::Failed.name());
        if !statuses.is_empty() && !statuses.iter().any(is_meant) {
            continue;
        }
        let arguments = kept_arguments(job)?;
        kept.push(KeptSubmission {
            job_id: job.metadata.name.clone(),
            status,
            ending,
            // Where that cannot be found out any more, the program is asked for.
            in_place: ran_in_place(&arguments).unwrap_or(false),
            arguments,
        });
    }
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{ended, job, list, patient, pod, running, Scripted};
    use super::*;
    use serde_json::{json, Value};

    /// A Job that says what it was submitted with.
    fn submitted(id: &str, second: u32) -> Value {
        let mut job = job(id, second);
        let arguments = json!({
            "given_path": format!("{id}.R"), "expanded_path": format!("/programs/{id}.R"), "batch_group_id": "b",
            "user_tag": "t", "cpu_limit": "500m", "memory_limit": "1G", "container": "r", "mounts": null,
            "auto_mount_home": false, "home_nfs_ip_address": null, "username": null, "time_limit_seconds": 9.0,
            "job_id": null,
        });
        job["metadata"]["annotations"][labels::ARGUMENTS] = json!(arguments.to_string());
        job
    }

    fn lost(id: &str, second: u32) -> Value {
        let mut pod = pod(id, second, running());
        pod["status"]["conditions"] =
            json!([{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]);
        pod
    }

    /// e and c failed, d was ended before it had a pod, b's node is lost, a has succeeded, f runs.
    fn cluster() -> Scripted {
        let mut without_pod = submitted("d", 4);
        without_pod["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        Scripted::new()
            .get(
                "/pods",
                [list(
                    1,
                    [
                        pod("e", 5, ended(1)),
                        pod("c", 3, ended(2)),
                        lost("b", 2),
                        pod("a", 1, ended(0)),
                        pod("f", 6, running()),
                    ],
                )],
            )
            .get(
                "/jobs",
                [list(
                    1,
                    ["f", "a", "e", "c", "b"]
                        .iter()
                        .zip([6, 1, 5, 3, 2])
                        .map(|(id, second)| submitted(id, second))
                        .chain([without_pod]),
                )],
            )
    }

    fn paths(again: &[Again]) -> Vec<&str> {
        again.iter().map(|again| again.arguments.given_path.as_str()).collect()
    }

    #[test]
    fn what_has_failed_comes_in_the_order_of_its_submission_under_one_new_batch_id() {
        let cluster = cluster();
        let arguments = arguments_to_rerun(&patient(&cluster), "b", false, None).unwrap();
        assert_eq!(paths(&arguments), ["c.R", "d.R", "e.R"]);
        assert!(arguments
            .iter()
            .all(|again| again.arguments.batch_group_id == arguments[0].arguments.batch_group_id));
        assert!(arguments[0].arguments.batch_group_id.starts_with("c-"));
        assert_ne!(arguments[0].arguments.batch_group_id, "b");
        assert_eq!(arguments[0].arguments.memory_limit, "1G");
        assert_eq!(arguments[0].arguments.job_id, None);
    }

    #[test]
    fn what_is_unknown_comes_on_demand() {
        let cluster = cluster();
        let arguments = arguments_to_rerun(&patient(&cluster), "b", true, None).unwrap();
        assert_eq!(paths(&arguments), ["b.R", "c.R", "d.R", "e.R"]);
    }

    fn cancelled(mut object: Value) -> Value {
        object["metadata"]["annotations"][labels::CANCELLED] = json!("mike");
        object
    }

    #[test]
    fn what_was_cancelled_a_moment_ago_is_waited_for() {
        let going = || list(1, [cancelled(pod("a", 1, running())), pod("b", 2, ended(1))]);
        let over = || list(1, [cancelled(pod("a", 1, ended(143))), pod("b", 2, ended(1))]);
        let jobs = || list(1, [submitted("a", 1), submitted("b", 2)]);
        let cluster = Scripted::new()
            .get("/pods", [going(), going(), going(), going(), over()])
            .get("/jobs", [jobs()]);
        let arguments = arguments_to_rerun(&patient(&cluster), "b", false, None).unwrap();
        assert_eq!(paths(&arguments), ["a.R", "b.R"]);

        // What has no pod yet is cancelled by its Job.
        let mut over = cancelled(submitted("a", 1));
        over["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        let without_pod = || list(1, [cancelled(submitted("a", 1))]);
        let cluster = Scripted::new().get("/pods", [list(1, [])]).get(
            "/jobs",
            [
                without_pod(),
                without_pod(),
                without_pod(),
                without_pod(),
                list(1, [over]),
            ],
        );
        let arguments = arguments_to_rerun(&patient(&cluster), "b", false, None).unwrap();
        assert_eq!(paths(&arguments), ["a.R"]);

        let cluster = Scripted::new().get("/pods", [going()]).get("/jobs", [jobs()]);
        let error = arguments_to_rerun(&patient(&cluster), "b", false, None).unwrap_err();
        assert_eq!(
            (error.class, error.job_ids.as_slice()),
            (ErrorClass::Timeout, &["a".to_string()][..])
        );
        assert_eq!(error.message, "Job \"a\" was cancelled and has not ended yet.");
        let two = does_not_end(vec!["a".into(), "b".into()]);
        assert_eq!(
            two.message,
            "2 jobs were cancelled and have not ended yet, such as \"a\"."
        );
    }

    #[test]
    fn where_nothing_has_failed_there_is_nothing_to_do() {
        let cluster = Scripted::new()
            .get("/pods", [list(1, [pod("a", 1, ended(0))])])
            .get("/jobs", [list(1, [job("a", 1)])]);
        assert!(arguments_to_rerun(&patient(&cluster), "b", true, None)
            .unwrap()
            .is_empty());
    }

    #[test]
    fn a_job_that_does_not_say_with_what_it_was_submitted_is_named() {
        for kept in [None, Some("{}"), Some("nonsense")] {
            let mut job = job("a", 1);
            if let Some(kept) = kept {
                job["metadata"]["annotations"][labels::ARGUMENTS] = json!(kept);
            }
            let cluster = Scripted::new()
                .get("/pods", [list(1, [pod("a", 1, ended(1))])])
                .get("/jobs", [list(1, [job])]);
            let error = arguments_to_rerun(&patient(&cluster), "b", false, None).unwrap_err();
            assert_eq!(
                (error.class, error.job_ids),
                (ErrorClass::Invalid, vec!["a".to_string()])
            );
        }
    }

    #[test]
    fn a_batch_that_does_not_exist_is_an_error() {
        let cluster = Scripted::new().get("/pods", [list(1, [])]).get("/jobs", [list(1, [])]);
        let error = arguments_to_rerun(&patient(&cluster), "b", false, None).unwrap_err();
        assert_eq!(error.class, ErrorClass::NotFound);
    }
}
