//! What jobs were submitted with, so that they can be submitted again.

use std::collections::HashSet;

use serde::Serialize;

use super::job_store::account;
use super::observation::{no_batch, Observation};
use super::submit::ran_in_place;
use super::{Archived, ArchivedJob, Connection, JobSelector};
use crate::domain::job_status::{self, Status};
use crate::domain::submission::SubmitArguments;
use crate::error::{Error, ErrorClass};
use crate::kubernetes::LabelSelector;
use crate::kubernetes::{labels, time};

/// The error where jobs that were cancelled, and are to run again, go on.
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

/// The error where jobs have not ended, and programs that are to run again run after them.
pub fn predecessors_have_not_ended(ids: Vec<String>) -> Error {
    let first = ids.first().cloned().unwrap_or_default();
    let what = match ids.len() {
        0 | 1 => format!("Job \"{first}\" has not ended, and a program that is to run again runs after it."),
        more => format!(
            "{more} jobs have not ended, such as \"{first}\", and programs that are to run again run after them."
        ),
    };
    Error::new(ErrorClass::NotEnded, what)
        .meaning("Nothing was submitted again, so that no program runs before those that it runs after.")
        .advise(
            "Wait for the batch, and repeat the call. What is on a node that does not answer runs again, too, with \
             `include_unknown = TRUE`.",
        )
        .about(ids)
}

/// What a job was submitted with.
#[derive(Clone, Debug, Serialize)]
pub struct KeptSubmission {
    /// The job.
    pub job_id: String,
    /// Its state.
    pub status: Status,
    /// Whether it was cancelled, or taken back by its queue, and has not ended yet.
    pub ending: bool,
    /// The jobs that it runs after, and that have not ended: those of them that are not told themselves.
    pub open_predecessors: Vec<String>,
    /// Whether its program ran where it was, in a mount; else its text was sent.
    pub in_place: bool,
    /// The number of the account that it runs as; `None`: as its image says.
    pub uid: Option<u32>,
    /// What it was submitted with.
    pub arguments: SubmitArguments,
}

/// What the jobs of a batch were submitted with, in the order of their submission: those in one of the states, all where
/// none is named. `owner`: only those of this caller of the abba API. What was cancelled and has not ended yet counts as
/// failed, too: it will have. `archived`: what the archive has of the batch, for jobs that the cluster has no longer.
///
/// Errors: there is no such batch, or `owner` has no job in it; a job does not say what it was submitted with; the cluster
/// cannot be asked.
pub fn kept_submissions(
    connection: &Connection<'_>,
    batch_id: &str,
    owner: Option<&str>,
    statuses: &[String],
    archived: &Archived,
) -> Result<Vec<KeptSubmission>, Error> {
    let api = connection.api()?;
    let observation = Observation::of_all(connection, &api, &LabelSelector::Batch(batch_id))?;
    let mut own: Vec<_> = observation
        .jobs_with_pods()
        .filter(|(job, _)| owner.is_none_or(|owner| job.metadata.annotation(labels::OWNER) == Some(owner)))
        .collect();
    if own.is_empty() && archived.jobs().is_empty() {
        return Err(no_batch(batch_id, api.namespace()));
    }
    own.sort_by_key(|(job, _)| (&job.metadata.creation_timestamp, &job.metadata.name));
    let there: HashSet<String> = own.iter().map(|(job, _)| job.metadata.name.clone()).collect();
    let mut kept = Vec::new();
    let mut others_open = HashSet::new();
    for (job, pod) in own {
        let job_id = &job.metadata.name;
        let status = job_status::status(job, pod);
        let ending = job_status::is_being_cancelled(job, pod) || job_status::may_run_again(job, pod);
        let is_meant = |name: &String| name == status.name() || (ending && name == Status::Failed.name());
        if !statuses.is_empty() && !statuses.iter().any(is_meant) {
            if !status.has_ended() {
                others_open.insert(job_id);
            }
            continue;
        }
        let arguments = SubmitArguments::of_job(job).ok_or_else(|| no_submission(job_id))?;
        let submitted = time::parse(&job.metadata.creation_timestamp);
        let place = (job_id.clone(), submitted.map(|time| time.as_second()));
        let one = KeptSubmission {
            job_id: job_id.clone(),
            status,
            ending,
            open_predecessors: Vec::new(),
            // Where that cannot be found out any more, the program is asked for.
            in_place: ran_in_place(&arguments).unwrap_or(false),
            uid: account(job),
            arguments,
        };
        kept.push((place, one));
    }
    let kept = kept.into_iter().map(|(place, mut one)| {
        let before = one.arguments.after.keys();
        one.open_predecessors = before.filter(|id| others_open.contains(id)).cloned().collect();
        (place, Ok(one))
    });
    let is_meant = |job: &ArchivedJob| statuses.is_empty() || statuses.contains(&job.status);
    let archived = archived.those(|job| !there.contains(&job.job_id) && is_meant(job));
    archived
        .beside(&JobSelector::Batch(batch_id.into()), kept, |job| {
            archived.submission(job)
        })
        .into_iter()
        .collect()
}

/// The error where it is not known what a job was submitted with.
pub(super) fn no_submission(job_id: &str) -> Error {
    Error::new(
        ErrorClass::Invalid,
        format!("Job \"{job_id}\" does not say what it was submitted with."),
    )
    .advise("Submit its program again by hand.")
    .about([job_id])
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

    fn kept(cluster: &Scripted, statuses: &[&str]) -> Result<Vec<KeptSubmission>, Error> {
        let statuses: Vec<String> = statuses.iter().map(ToString::to_string).collect();
        kept_submissions(&patient(cluster), "b", None, &statuses, &Archived::default())
    }

    fn paths(kept: Result<Vec<KeptSubmission>, Error>) -> Vec<String> {
        kept.unwrap()
            .into_iter()
            .map(|kept| kept.arguments.given_path)
            .collect()
    }

    #[test]
    fn jobs_of_the_states_come_in_the_order_of_their_submission() {
        let failed = kept(&cluster(), &["Failed"]).unwrap();
        assert_eq!(failed[0].arguments.memory_limit, "1G");
        assert!(!failed[0].ending && !failed[0].in_place);
        assert_eq!(paths(Ok(failed)), ["c.R", "d.R", "e.R"]);
        assert_eq!(
            paths(kept(&cluster(), &["Failed", "Unknown"])),
            ["b.R", "c.R", "d.R", "e.R"]
        );
        assert_eq!(paths(kept(&cluster(), &[])).len(), 6);
    }

    #[test]
    fn jobs_that_have_not_ended_are_told_with_what_runs_after_them() {
        let after = |id: &str, second, before: &[&str]| {
            let mut job = submitted(id, second);
            let before: Value = before.iter().map(|id| (id.to_string(), json!(id))).collect();
            job["metadata"]["annotations"][labels::AFTER] = json!(before.to_string());
            job
        };
        let cluster = || {
            Scripted::new()
                .get(
                    "/pods",
                    [list(
                        1,
                        [
                            pod("bad", 1, ended(1)),
                            pod("good", 2, ended(0)),
                            pod("slow", 3, running()),
                            lost("away", 4),
                            pod("z", 6, ended(1)),
                        ],
                    )],
                )
                .get(
                    "/jobs",
                    [list(
                        1,
                        [
                            submitted("bad", 1),
                            submitted("good", 2),
                            submitted("slow", 3),
                            submitted("away", 4),
                            submitted("waits", 5),
                            after("z", 6, &["bad", "good", "slow", "away", "waits", "removed"]),
                        ],
                    )],
                )
        };
        let open = |statuses: &[&str]| kept(&cluster(), statuses).unwrap().pop().unwrap().open_predecessors;
        assert_eq!(open(&["Failed"]), ["away", "slow", "waits"]);
        assert_eq!(open(&["Failed", "Unknown"]), ["slow", "waits"]);
        // All are told with their states.
        assert_eq!(open(&[]), [""; 0]);
        let one = predecessors_have_not_ended(vec!["slow".into()]);
        assert_eq!(
            one.message,
            "Job \"slow\" has not ended, and a program that is to run again runs after it."
        );
        assert_eq!(
            (one.class, one.job_ids),
            (ErrorClass::NotEnded, vec!["slow".to_string()])
        );
        let two = predecessors_have_not_ended(vec!["slow".into(), "waits".into()]);
        assert_eq!(
            two.message,
            "2 jobs have not ended, such as \"slow\", and programs that are to run again run after them."
        );
    }

    fn cancelled(mut object: Value) -> Value {
        object["metadata"]["annotations"][labels::CANCELLED] = json!("mike");
        object
    }

    #[test]
    fn a_job_that_was_cancelled_a_moment_ago_is_about_to_end() {
        let cluster = Scripted::new()
            .get(
                "/pods",
                [list(1, [cancelled(pod("a", 1, running())), pod("b", 2, ended(1))])],
            )
            // c has no pod yet and is cancelled by its Job.
            .get(
                "/jobs",
                [list(
                    1,
                    [submitted("a", 1), submitted("b", 2), cancelled(submitted("c", 3))],
                )],
            );
        let ending: Vec<bool> = kept(&cluster, &["Failed"])
            .unwrap()
            .iter()
            .map(|kept| kept.ending)
            .collect();
        assert_eq!(ending, [true, false, true]);
        let one = does_not_end(vec!["a".into()]);
        assert_eq!(one.message, "Job \"a\" was cancelled and has not ended yet.");
        assert_eq!((one.class, one.job_ids), (ErrorClass::Timeout, vec!["a".to_string()]));
        let two = does_not_end(vec!["a".into(), "b".into()]);
        assert_eq!(
            two.message,
            "2 jobs were cancelled and have not ended yet, such as \"a\"."
        );
    }

    #[test]
    fn a_program_that_its_queue_has_taken_back_is_waited_for() {
        let mut taken = pod("a", 1, ended(143));
        taken["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:09Z");
        let mut suspended = submitted("b", 2);
        suspended["spec"] = json!({"suspend": true});
        let cluster = Scripted::new()
            .get(
                "/pods",
                [list(1, [taken, pod("b", 2, ended(143)), pod("c", 3, ended(143))])],
            )
            .get("/jobs", [list(1, [submitted("a", 1), suspended, submitted("c", 3)])]);
        let kept = kept(&cluster, &["Failed"]).unwrap();
        let ending: Vec<bool> = kept.iter().map(|kept| kept.ending).collect();
        assert_eq!(ending, [true, true, false]);
    }

    #[test]
    fn only_the_owners_jobs_are_told() {
        let mut owned = submitted("a", 1);
        owned["metadata"]["annotations"][labels::OWNER] = json!("mike");
        let cluster = || {
            Scripted::new()
                .get("/pods", [list(1, [])])
                .get("/jobs", [list(1, [owned.clone(), submitted("b", 2)])])
        };
        let of = |owner| kept_submissions(&patient(&cluster()), "b", Some(owner), &[], &Archived::default());
        assert_eq!(paths(of("mike")), ["a.R"]);
        assert_eq!(of("jane").unwrap_err().class, ErrorClass::NotFound);
    }

    #[test]
    fn a_job_that_does_not_say_with_what_it_was_submitted_is_named_where_it_is_meant() {
        for said in [None, Some("{}"), Some("nonsense")] {
            let mut job = job("a", 1);
            if let Some(said) = said {
                job["metadata"]["annotations"][labels::ARGUMENTS] = json!(said);
            }
            let cluster = || {
                Scripted::new()
                    .get("/pods", [list(1, [pod("a", 1, ended(1))])])
                    .get("/jobs", [list(1, [job.clone()])])
            };
            let error = kept(&cluster(), &["Failed"]).unwrap_err();
            assert_eq!(
                (error.class, error.job_ids),
                (ErrorClass::Invalid, vec!["a".to_string()])
            );
            assert!(kept(&cluster(), &["Unknown"]).unwrap().is_empty());
        }
    }

    #[test]
    fn a_batch_that_does_not_exist_is_an_error() {
        let cluster = Scripted::new().get("/pods", [list(1, [])]).get("/jobs", [list(1, [])]);
        assert_eq!(kept(&cluster, &[]).unwrap_err().class, ErrorClass::NotFound);
    }
}
