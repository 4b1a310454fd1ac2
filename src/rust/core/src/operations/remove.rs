//! Removing jobs that have ended.

use std::collections::{BTreeSet, HashMap};

use super::observation::{changes_all_the_time, Observation};
use super::parallel_map::{over, parallel_map};
use super::{check, Connection, JobSelector, RemoveOutcome};
use crate::domain::job_status::{self, Status};
use crate::domain::order::{self, Order};
use crate::error::{Error, ErrorClass};
use crate::kubernetes::api::Deletion;
use crate::kubernetes::labels;
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::{Api, LabelSelector};

/// What became of a job that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It and its log are removed.
    Removed,
    /// There is no such job, or no longer.
    Gone,
}

names!(Removed { Removed = "removed", Gone = "gone" });

/// Whose jobs may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitter<'a> {
    /// Everybody's.
    Anybody,
    /// Those that this account submitted by kubectl, or an abba server for it. To name another's is an error.
    Account(&'a str),
}

/// Removes jobs that have ended, with their pods and logs, several at once; each with what was done or why not, in order. What
/// is not there is [`Removed::Gone`], and a batch of which nothing is left has no outcomes, so that the call can be repeated
/// whatever became of it. All are looked at before the first is removed.
///
/// Errors, and nothing is removed: a job has not ended; it is another's; an id is no id; the cluster cannot be asked.
pub fn remove(
    connection: &Connection<'_>,
    which: &JobSelector,
    submitter: Submitter<'_>,
) -> Result<Vec<RemoveOutcome>, Error> {
    check(which)?;
    let api = connection.api()?;
    let observation = match which {
        JobSelector::Jobs(ids) => look(connection, &api, ids)?,
        JobSelector::Batch(batch_id) => Observation::of_all(connection, &api, &LabelSelector::Batch(batch_id))?,
    };
    let seen: HashMap<&str, Seen<'_>> = observation
        .jobs_with_pods()
        .map(|(job, pod)| (job.metadata.name.as_str(), Seen { job, pod }))
        .collect();
    let job_ids: Vec<&str> = match which {
        JobSelector::Jobs(ids) => ids.iter().map(String::as_str).collect(),
        JobSelector::Batch(_) => {
            let mut own: Vec<&Job> = seen.values().map(|seen| seen.job).collect();
            own.retain(|job| is_of(job, submitter));
            own.sort_by_key(|job| (&job.metadata.creation_timestamp, &job.metadata.name));
            own.into_iter().map(|job| job.metadata.name.as_str()).collect()
        }
    };
    check_all(&job_ids, &seen, submitter)?;
    check_nobody_waits(connection, &api, &job_ids, &seen)?;
    let mut distinct: Vec<&str> = job_ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let remove = over(connection, api.namespace(), |job_id: &&str, connection, api| match seen
        .get(job_id)
        .filter(|seen| is_of(seen.job, submitter))
    {
        Some(seen) => remove_one(connection, api, seen.job),
        None => Ok(Removed::Gone),
    });
    let outcomes = parallel_map(&distinct, &connection.patience, remove);
    let outcomes: HashMap<&str, _> = distinct.iter().copied().zip(outcomes).collect();
    let stopped = || Err(Error::new(ErrorClass::Interrupted, "Stopped before it was removed."));
    Ok(job_ids
        .into_iter()
        .map(|job_id| RemoveOutcome {
            job_id: job_id.to_string(),
            done: outcomes[job_id].clone().unwrap_or_else(stopped),
        })
        .collect())
}

/// A Job with its newest pod.
#[derive(Clone, Copy)]
struct Seen<'a> {
    job: &'a Job,
    pod: Option<&'a Pod>,
}

impl Seen<'_> {
    /// Whether its program has ended for good. One that is suspended may have been stopped to go on later, and a state that is
    /// not known is no end.
    fn has_ended(&self) -> bool {
        let status = job_status::status(self.job, self.pod);
        let may_go_on = self.job.spec.suspend == Some(true) && !job_status::is_cancelled(&self.job.metadata);
        matches!(status, Status::Succeeded | Status::Failed) && !may_go_on
    }
}

fn look(connection: &Connection<'_>, api: &Api<'_>, ids: &[String]) -> Result<Observation, Error> {
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.sort_unstable();
    ids.dedup();
    Observation::of_all(connection, api, &LabelSelector::Jobs(&ids))
}

fn is_of(job: &Job, submitter: Submitter<'_>) -> bool {
    match submitter {
        Submitter::Anybody => true,
        Submitter::Account(name) => *user_of(job) == labels::sanitise(name, labels::MAXIMUM_LENGTH),
    }
}

fn user_of(job: &Job) -> &str {
    job.metadata.labels.get(labels::USER).map_or("", String::as_str)
}

/// Refuses the whole where one job is another's or has not ended.
fn check_all(job_ids: &[&str], seen: &HashMap<&str, Seen<'_>>, submitter: Submitter<'_>) -> Result<(), Error> {
    let there = || job_ids.iter().filter_map(|id| seen.get(id));
    if let Submitter::Account(_) = submitter {
        let others: Vec<&Job> = there()
            .map(|seen| seen.job)
            .filter(|job| !is_of(job, submitter))
            .collect();
        if let Some(first) = others.first() {
            let of = user_of(first);
            return Err(of_others(
                others.iter().map(|job| job.metadata.name.clone()).collect(),
                of,
            ));
        }
    }
    let open: Vec<String> = there()
        .filter(|seen| is_of(seen.job, submitter) && !seen.has_ended())
        .map(|seen| seen.job.metadata.name.clone())
        .collect();
    match open.is_empty() {
        true => Ok(()),
        false => Err(not_ended(open).meaning("Nothing was removed.")),
    }
}

/// Refuses the whole where programs wait for one of these: they could not start any more, since nobody would know that it has
/// succeeded.
fn check_nobody_waits(
    connection: &Connection<'_>,
    api: &Api<'_>,
    job_ids: &[&str],
    seen: &HashMap<&str, Seen<'_>>,
) -> Result<(), Error> {
    let there = job_ids
        .iter()
        .filter_map(|id| seen.get(id))
        .map(|seen| &seen.job.metadata);
    let batches: BTreeSet<&str> = there
        .filter(|job| job.annotation(labels::AWAITED).is_some())
        .filter_map(|job| job.labels.get(labels::BATCH_ID).map(String::as_str))
        .collect();
    for batch in batches {
        let observation = Observation::of_all(connection, api, &LabelSelector::Batch(batch))?;
        for (job, _) in observation.jobs_with_pods().filter(|(job, _)| order::waits(job)) {
            let after = Order::of_job(job).unwrap_or_default().after;
            if let Some(id) = after.keys().find(|id| job_ids.contains(&id.as_str())) {
                let program = job.metadata.annotation(labels::PROGRAM_PATH).map(order::program_name);
                return Err(Error::new(
                    ErrorClass::NotEnded,
                    format!(
                        "Program \"{}\" waits for job \"{id}\", and starts only as long as that is there.",
                        program.unwrap_or_default()
                    ),
                )
                .meaning("Nothing was removed.")
                .advise("Remove it when the programs that run after it have started, or cancel them first.")
                .about([id]));
            }
        }
    }
    Ok(())
}

/// The error where jobs of others are named; the first of them is `user`'s.
pub fn of_others(job_ids: Vec<String>, user: &str) -> Error {
    let message = match job_ids.as_slice() {
        [one] => format!("Job \"{one}\" was submitted by \"{user}\"."),
        [first, rest @ ..] => format!(
            "{} jobs were submitted by others, such as \"{first}\" by \"{user}\".",
            rest.len() + 1
        ),
        [] => String::new(),
    };
    Error::input(message)
        .meaning("Nothing was removed.")
        .advise("To remove jobs of others, too, say so: `everybody = TRUE`.")
        .about(job_ids)
}

fn not_ended(job_ids: Vec<String>) -> Error {
    let message = match job_ids.as_slice() {
        [one] => format!("Job \"{one}\" has not ended, and only ended jobs can be removed."),
        [first, rest @ ..] => format!(
            "{} jobs have not ended, such as \"{first}\", and only ended jobs can be removed.",
            rest.len() + 1
        ),
        [] => String::new(),
    };
    Error::new(ErrorClass::NotEnded, message)
        .advise("Cancel what still runs, or wait for its end; then repeat the call.")
        .about(job_ids)
}

fn not_known(job_id: &str) -> String {
    format!("Whether job \"{job_id}\" was removed is not known; to remove it once more does no harm.")
}

/// How often a job is looked at that changes while it is removed.
const LOOKS: usize = 5;

/// Removes a Job that was seen to have ended.
fn remove_one(connection: &Connection<'_>, api: &Api<'_>, job: &Job) -> Result<Removed, Error> {
    let job_id = &job.metadata.name;
    let uid = job.metadata.uid;
    let mut generation = job.metadata.generation;
    let mut may_be_ours = false;
    for _ in 0..LOOKS {
        // What is to run on has been changed to do so, which counts it up.
        let is_as_seen = |job: &Job| uid.is_some() && job.metadata.uid == uid && job.metadata.generation == generation;
        match api.delete_job(job_id, &is_as_seen) {
            Ok(Deletion::Deleted) => return Ok(Removed::Removed),
            Ok(Deletion::NotAsSeen { may_be_ours: this_time }) => may_be_ours |= this_time,
            Err(failed) => {
                let consequence = match may_be_ours || failed.may_be_deleted {
                    true => not_known(job_id),
                    false => format!("Job \"{job_id}\" was not removed."),
                };
                let error = connection.error(api, &failed.failure, "remove jobs");
                return Err(error.meaning(consequence).about([job_id]));
            }
        }
        let observation = look(connection, api, std::slice::from_ref(job_id))
            .map_err(|error| error.meaning(not_known(job_id)).about([job_id]))?;
        let now = observation.jobs_with_pods().find(|(job, _)| job.metadata.uid == uid);
        match now.map(|(job, pod)| Seen { job, pod }) {
            // The one that was seen is gone; another of its name is nobody's to remove here.
            None if may_be_ours => return Ok(Removed::Removed),
            None => return Ok(Removed::Gone),
            Some(seen) if !seen.has_ended() => {
                return Err(not_ended(vec![job_id.clone()]).meaning(format!("Job \"{job_id}\" was not removed.")))
            }
            Some(seen) => generation = seen.job.metadata.generation,
        }
    }
    Err(changes_all_the_time(job_id, "removed"))
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Value};

    use super::super::scripted::{
        ended, impatient, job as plain_job, list, object, patient, pod, running, waiting, Answer, Scripted,
    };
    use super::super::Owner;
    use super::*;
    use crate::transport::{FailureKind, Verb};

    fn uid(number: usize) -> String {
        format!("00000000-0000-4000-8000-{number:012}")
    }

    fn job(id: &str, second: u32) -> Value {
        let mut job = plain_job(id, second);
        job["metadata"]["uid"] = json!(uid(second as usize));
        job["metadata"]["generation"] = json!(1);
        job["metadata"]["resourceVersion"] = json!("7");
        job
    }

    fn success() -> Answer {
        object(&json!({"kind": "Status", "status": "Success"}))
    }

    /// a has succeeded, b failed and its pod is gone.
    fn cluster() -> Scripted {
        let mut b = job("b", 2);
        b["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        Scripted::new()
            .get("/jobs/a", [object(&job("a", 1))])
            .get("/jobs/b", [object(&b)])
            .get("/pods?", [list(1, [pod("a", 1, ended(0))])])
            .get("/jobs?", [list(1, [b, job("a", 1)])])
            .on(Verb::Delete, "/jobs/", [success()])
    }

    fn jobs(ids: &[&str]) -> JobSelector {
        JobSelector::Jobs(ids.iter().map(|id| (*id).to_string()).collect())
    }

    fn batch() -> JobSelector {
        JobSelector::Batch("b".into())
    }

    fn done(outcomes: &[RemoveOutcome]) -> Vec<(&str, Removed)> {
        let of = |outcome: &RemoveOutcome| outcome.done.clone().unwrap();
        outcomes
            .iter()
            .map(|outcome| (outcome.job_id.as_str(), of(outcome)))
            .collect()
    }

    #[test]
    fn a_job_that_programs_wait_for_stays() {
        let awaited = |waiting: Value| {
            let mut first = job("a", 1);
            first["metadata"]["labels"][labels::BATCH_ID] = json!("b");
            first["metadata"]["annotations"][labels::AWAITED] = json!("true");
            Scripted::new()
                .get("/pods", [list(1, [pod("a", 1, ended(0))])])
                .get("batch-id", [list(1, [first.clone(), waiting])])
                .get("/jobs?", [list(1, [first.clone()])])
                .get("/jobs/a", [object(&first)])
                .on(Verb::Delete, "/jobs/a", [success()])
        };
        let mut waits = job("z", 2);
        waits["spec"] = json!({});
        order::have_wait(
            &mut waits,
            &[("a".to_string(), "a".to_string())].into(),
            Default::default(),
        );
        let cluster = awaited(waits.clone());
        let which = JobSelector::Jobs(vec!["a".into()]);
        let error = remove(&patient(&cluster), &which, Submitter::Anybody).unwrap_err();
        assert_eq!(
            (error.class, &error.job_ids[..]),
            (ErrorClass::NotEnded, &["a".to_string()][..])
        );
        assert_eq!(
            error.message,
            "Program \"z\" waits for job \"a\", and starts only as long as that is there."
        );
        // Once it has started nobody needs it.
        order::no_longer_waits(&mut waits);
        let outcomes = remove(&patient(&awaited(waits)), &which, Submitter::Anybody).unwrap();
        assert_eq!(outcomes[0].done, Ok(Removed::Removed));
    }

    #[test]
    fn ended_jobs_are_removed_and_what_is_not_there_is_gone() {
        let cluster = cluster();
        let outcomes = remove(
            &patient(&cluster),
            &jobs(&["x", "b", "a", "a"]),
            Submitter::Account("mike"),
        )
        .unwrap();
        assert_eq!(
            done(&outcomes),
            [
                ("x", Removed::Gone),
                ("b", Removed::Removed),
                ("a", Removed::Removed),
                ("a", Removed::Removed)
            ]
        );
        // Each once.
        assert_eq!(cluster.sent().len(), 2);
        let outcomes = remove(&patient(&cluster), &batch(), Submitter::Anybody).unwrap();
        assert_eq!(done(&outcomes), [("a", Removed::Removed), ("b", Removed::Removed)]);
    }

    #[test]
    fn a_batch_of_which_nothing_is_left_is_no_error() {
        let cluster = Scripted::new()
            .get("/pods?", [list(1, [])])
            .get("/jobs?", [list(1, [])]);
        assert_eq!(
            remove(&patient(&cluster), &batch(), Submitter::Account("mike")),
            Ok(Vec::new())
        );
    }

    #[test]
    fn where_one_has_not_ended_nothing_is_removed() {
        let mut lost = pod("c", 3, running());
        lost["status"]["conditions"] =
            json!([{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]);
        let mut cancelled = pod("c", 3, running());
        cancelled["metadata"]["annotations"][labels::CANCELLED] = json!("mike");
        let mut suspended = job("c", 3);
        suspended["spec"] = json!({"suspend": true});
        for (job, pod) in [
            (job("c", 3), Some(pod("c", 3, running()))),
            (job("c", 3), Some(pod("c", 3, waiting()))),
            // It was told to end, and may be writing its last lines.
            (job("c", 3), Some(cancelled)),
            // Its node does not answer, and it may still run.
            (job("c", 3), Some(lost)),
            (job("c", 3), None),
            // It was stopped to go on later.
            (suspended, Some(pod("c", 3, ended(143)))),
        ] {
            let pods: Vec<Value> = pod
                .into_iter()
                .chain([super::super::scripted::pod("a", 1, ended(0))])
                .collect();
            for which in [jobs(&["a", "c"]), batch()] {
                let cluster = Scripted::new()
                    .get("/pods?", [list(1, pods.clone())])
                    .get("/jobs?", [list(1, [self::job("a", 1), job.clone()])]);
                let error = remove(&patient(&cluster), &which, Submitter::Anybody).unwrap_err();
                assert_eq!(
                    (error.class, error.job_ids.as_slice()),
                    (ErrorClass::NotEnded, &["c".to_string()][..])
                );
                assert!(cluster.sent().is_empty());
            }
        }
    }

    #[test]
    fn jobs_of_others_are_removed_on_demand_alone() {
        let cluster = cluster();
        let error = remove(&patient(&cluster), &jobs(&["a", "b"]), Submitter::Account("anna")).unwrap_err();
        assert_eq!((error.class, error.job_ids.len()), (ErrorClass::Input, 2));
        assert!(error.message.contains("\"mike\"") && error.advice.unwrap().contains("everybody"));
        // Of a batch that several use each has their own.
        assert_eq!(
            remove(&patient(&cluster), &batch(), Submitter::Account("anna")),
            Ok(Vec::new())
        );
        // To a caller of the API they are as none, also to who has got the name of somebody who has left.
        fn as_mike(cluster: &Scripted, uid: Option<u32>) -> Connection<'_> {
            Connection {
                owner: Some(Owner { name: "mike", uid }),
                ..patient(cluster)
            }
        }
        let outcomes = remove(&as_mike(&cluster, None), &jobs(&["a"]), Submitter::Anybody).unwrap();
        assert_eq!(done(&outcomes), [("a", Removed::Gone)]);
        assert!(cluster.sent().is_empty());
        let mut of_mike = job("a", 1);
        of_mike["metadata"]["annotations"][labels::OWNER] = json!("mike");
        of_mike["spec"]["template"]["spec"]["securityContext"] = json!({"runAsUser": 5001});
        let mut pod_of_mike = pod("a", 1, ended(0));
        pod_of_mike["metadata"]["annotations"][labels::OWNER] = json!("mike");
        let lists = || {
            Scripted::new()
                .get("/jobs/a", [object(&of_mike)])
                .get("/pods?", [list(1, [pod_of_mike.clone()])])
                .get("/jobs?", [list(1, [of_mike.clone()])])
                .on(Verb::Delete, "/jobs/", [success()])
        };
        for (uid, expected) in [
            (Some(5002), Removed::Gone),
            (Some(5001), Removed::Removed),
            (None, Removed::Removed),
        ] {
            for which in [jobs(&["a"]), batch()] {
                let cluster = lists();
                let outcomes = remove(&as_mike(&cluster, uid), &which, Submitter::Anybody).unwrap();
                let is_other = expected == Removed::Gone;
                assert_eq!(cluster.sent().is_empty(), is_other);
                match which {
                    JobSelector::Batch(_) if is_other => assert!(outcomes.is_empty()),
                    _ => assert_eq!(done(&outcomes), [("a", expected)]),
                }
            }
        }
    }

    #[test]
    fn a_job_that_was_made_anew_or_runs_on_meanwhile_is_left_alone() {
        let mut anew = job("a", 9);
        anew["metadata"]["resourceVersion"] = json!("8");
        let mut resumed = job("a", 1);
        resumed["metadata"]["generation"] = json!(3);
        let lists = |after: &Value, state: Value| {
            Scripted::new()
                .get("/jobs/a", [object(after)])
                .get(
                    "/pods?",
                    [list(1, [pod("a", 1, ended(0))]), list(2, [pod("a", 9, state)])],
                )
                .get("/jobs?", [list(1, [job("a", 1)]), list(2, [after.clone()])])
        };
        let cluster = lists(&anew, ended(0));
        let outcomes = remove(&patient(&cluster), &jobs(&["a"]), Submitter::Anybody).unwrap();
        assert_eq!(done(&outcomes), [("a", Removed::Gone)]);
        assert!(cluster.sent().is_empty());
        let cluster = lists(&resumed, running());
        let outcome = remove(&patient(&cluster), &jobs(&["a"]), Submitter::Anybody)
            .unwrap()
            .remove(0);
        assert_eq!(outcome.done.unwrap_err().class, ErrorClass::NotEnded);
        assert!(cluster.sent().is_empty());
        // One that was changed and has still ended is removed.
        let cluster = lists(&resumed, ended(0)).on(Verb::Delete, "/jobs/a", [success()]);
        let outcomes = remove(&patient(&cluster), &jobs(&["a"]), Submitter::Anybody).unwrap();
        assert_eq!(done(&outcomes), [("a", Removed::Removed)]);
    }

    #[test]
    fn what_a_lost_attempt_has_removed_is_removed() {
        let cluster = Scripted::new()
            .get("/jobs/a", [object(&job("a", 1)), Answer::Fails(FailureKind::NotFound)])
            .get("/pods?", [list(1, [pod("a", 1, ended(0))]), list(2, [])])
            .get("/jobs?", [list(1, [job("a", 1)]), list(2, [])])
            .on(Verb::Delete, "/jobs/a", [Answer::Fails(FailureKind::Unreachable)]);
        let outcomes = remove(&patient(&cluster), &jobs(&["a"]), Submitter::Anybody).unwrap();
        assert_eq!(done(&outcomes), [("a", Removed::Removed)]);
    }

    #[test]
    fn each_job_has_its_own_outcome_and_an_error_says_what_became_of_it() {
        for (kind, words) in [
            (FailureKind::Forbidden, "\"b\" was not removed"),
            (FailureKind::KubectlDied, "is not known"),
        ] {
            let cluster = Scripted::new().on(Verb::Delete, "/jobs/b", [Answer::Fails(kind)]);
            let cluster = {
                let mut b = job("b", 2);
                b["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
                cluster
                    .get("/jobs/a", [object(&job("a", 1))])
                    .get("/jobs/b", [object(&b)])
                    .get("/pods?", [list(1, [pod("a", 1, ended(0))])])
                    .get("/jobs?", [list(1, [b, job("a", 1)])])
                    .on(Verb::Delete, "/jobs/a", [success()])
            };
            let outcomes = remove(&impatient(&cluster), &batch(), Submitter::Anybody).unwrap();
            assert_eq!(outcomes[0].done, Ok(Removed::Removed));
            let error = outcomes[1].done.clone().unwrap_err();
            assert!(error.consequence.unwrap().contains(words), "{kind:?}");
            assert_eq!(error.job_ids, ["b"]);
        }
    }
}
