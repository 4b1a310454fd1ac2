//! Cancelling jobs, so that what they have left stays.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{json, Value};

use super::observation::{changes_all_the_time, says_that_jobs_are_gone, Observed, UNTOUCHED};
use super::parallel_map::{over, parallel_map, AT_ONCE};
use super::{error_messages, CancelOutcome, Connection, JobSelector};
use crate::domain::job_status::{self, Status};
use crate::domain::order;
use crate::error::{Error, ErrorClass};
use crate::kubernetes::labels;
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::{Api, Resource};
use crate::local::accounts;
use crate::transport::{Backoff, FailureKind};

/// What was done about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It was running (or about to) and is ended; its log is kept.
    Stopped,
    /// It had not started and will not.
    KeptFromStarting,
    /// Its node does not answer. It is ended as soon as the node does.
    StopsWhenNodeAnswers,
    /// It was cancelled before.
    AlreadyCancelled,
    /// It had ended by itself.
    AlreadyEnded,
}

names!(Cancelled {
    Stopped = "stopped",
    KeptFromStarting = "kept from starting",
    StopsWhenNodeAnswers = "stops when its node answers",
    AlreadyCancelled = "was cancelled before",
    AlreadyEnded = "had ended",
});

/// Cancels jobs, several at once; each with what was done or why not, in order.
///
/// What has a node gets a time limit that is over: its node ends it, and pod and log stay (deleting or suspending the Job
/// would remove both). What has none has nothing to keep: its Job gets such a limit, and the Job controller removes the pod
/// or makes none.
///
/// Errors: a job or the batch does not exist; the cluster cannot be asked.
pub fn cancel(connection: &Connection<'_>, which: &JobSelector) -> Result<Vec<CancelOutcome>, Error> {
    cancel_as(connection, which, &accounts::current_name())
}

/// The same in the name of `user`, which is noted with the job.
pub fn cancel_as(connection: &Connection<'_>, which: &JobSelector, user: &str) -> Result<Vec<CancelOutcome>, Error> {
    let (api, observation) = connection.observe(which)?;
    let jobs: Vec<(&str, Observed<'_>)> = observation.each().collect();
    let looks_left = AtomicUsize::new(LOOKS_IN_ALL);
    let cancel = over(
        connection,
        api.namespace(),
        |(job_id, observed): &(&str, Observed<'_>), connection, api| {
            Cancelling {
                connection,
                api,
                job_id,
                user,
                looks_left: &looks_left,
            }
            .cancel(observed)
        },
    );
    let outcomes = parallel_map(&jobs, &connection.patience, cancel);
    let stopped = || Err(Error::new(ErrorClass::Interrupted, "Stopped before it was cancelled."));
    Ok(jobs
        .iter()
        .zip(outcomes)
        .map(|((job_id, _), outcome)| CancelOutcome {
            job_id: (*job_id).to_string(),
            done: outcome.unwrap_or_else(stopped),
        })
        .collect())
}

/// How often a job is looked at that changes while it is cancelled.
const LOOKS: usize = 10;

/// How often is looked whether a program that was about to start was kept from it, half a minute in all. Mostly the node says
/// so within two seconds; a busy one takes ten and more, and "stopped" would be a guess until then.
const LOOKS_AT_START: usize = 30;

/// How often is looked for that in all, however many jobs a call cancels, which whoever called waits for: half a minute, too.
/// Those whose turn comes later are looked at once.
const LOOKS_IN_ALL: usize = LOOKS_AT_START * AT_ONCE;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 100 });

/// One job that is being cancelled.
struct Cancelling<'a> {
    connection: &'a Connection<'a>,
    api: &'a Api<'a>,
    job_id: &'a str,
    user: &'a str,
    /// How often may be looked whether jobs of this call were kept from starting.
    looks_left: &'a AtomicUsize,
}

/// What one attempt came to.
enum Attempt {
    Done(Cancelled),
    /// It is not any more as it was seen.
    LookAgain,
}

impl Cancelling<'_> {
    fn cancel(&self, observed: &Observed<'_>) -> Result<Cancelled, Error> {
        // What runs was seen a moment ago and cannot un-start; what does not is looked at anew, since with many jobs their
        // turn may come late.
        if let Observed::Pod(pod) = observed {
            if !pod.spec.node_name.is_empty() {
                if let Attempt::Done(done) = self.attempt_on_node(pod)? {
                    return Ok(done);
                }
            }
        }
        for _ in 0..LOOKS {
            let which = JobSelector::Jobs(vec![self.job_id.to_string()]);
            let (_, observation) = match self.connection.observe(&which) {
                // It was removed in the meantime.
                Err(error) if says_that_jobs_are_gone(&error) => return Ok(Cancelled::AlreadyEnded),
                looked => looked?,
            };
            let attempt = match observation.of(self.job_id) {
                Some(Observed::Pod(pod)) if !pod.spec.node_name.is_empty() => self.attempt_on_node(pod)?,
                Some(Observed::Pod(pod)) => self.attempt_without_node(pod)?,
                Some(Observed::Job(job)) => match self.attempt_on_job(job)? {
                    Attempt::LookAgain => self.attempt_on_unnamed_pod()?,
                    done => done,
                },
                None => Attempt::Done(Cancelled::AlreadyEnded),
            };
            match attempt {
                Attempt::Done(done) => return Ok(done),
                Attempt::LookAgain if self.connection.patience.sleep(PAUSE) => {}
                Attempt::LookAgain => {
                    return Err(Error::new(ErrorClass::Interrupted, "Stopped before it was cancelled."))
                }
            }
        }
        Err(changes_all_the_time(self.job_id, "cancelled"))
    }

    /// Cancels what has a node, by its pod.
    fn attempt_on_node(&self, pod: &Pod) -> Result<Attempt, Error> {
        let status = job_status::of_pod(pod).status;
        // An unknown state may still be a running program.
        if matches!(status, Status::Succeeded | Status::Failed) {
            if let (Some(_), Some(limit)) = (pod.kept_by(), job_status::limit_after_end(pod)) {
                return self.end_the_rest(pod, limit);
            }
            return Ok(Attempt::Done(match job_status::is_cancelled(&pod.metadata) {
                true => Cancelled::AlreadyCancelled,
                false => Cancelled::AlreadyEnded,
            }));
        }
        if job_status::is_cancelled(&pod.metadata) {
            return Ok(Attempt::Done(Cancelled::AlreadyCancelled));
        }
        // It may end by itself before it is told: then it must not look cancelled.
        let changed = self.update(Resource::Pod, &pod.metadata.name, &|object| {
            let runs = Pod::deserialize(&*object)
                .is_ok_and(|pod| !matches!(job_status::of_pod(&pod).status, Status::Succeeded | Status::Failed));
            if runs {
                end_now(object, POD_LIMIT, self.user);
            }
            runs
        })?;
        Ok(match changed {
            false => Attempt::LookAgain,
            true if status == Status::Unknown => Attempt::Done(Cancelled::StopsWhenNodeAnswers),
            true if pod.has_started() => Attempt::Done(Cancelled::Stopped),
            true => Attempt::Done(self.what_became_of(&pod.metadata.name)?),
        })
    }

    /// Ends what goes on in a pod whose program has ended: containers of others. The limit is over, and the program had ended
    /// before it, so that its state stays.
    fn end_the_rest(&self, pod: &Pod, limit: u32) -> Result<Attempt, Error> {
        self.update(Resource::Pod, &pod.metadata.name, &|object| {
            // A limit may be made smaller only.
            let is_larger = object["spec"]["activeDeadlineSeconds"]
                .as_u64()
                .is_none_or(|seconds| seconds > u64::from(limit));
            if is_larger {
                object["spec"]["activeDeadlineSeconds"] = json!(limit);
            }
            is_larger
        })?;
        Ok(Attempt::Done(Cancelled::AlreadyEnded))
    }

    /// Whether a program that was about to start did so. Where that cannot be seen it may have.
    ///
    /// Errors: the user wants to stop.
    fn what_became_of(&self, pod_name: &str) -> Result<Cancelled, Error> {
        let stopped = || {
            Error::new(ErrorClass::Interrupted, "Stopped.")
                .meaning(format!(
                    "Job \"{}\" was cancelled; whether its program had started was not seen.",
                    self.job_id
                ))
                .about([self.job_id])
        };
        let mut backoff = Backoff::new(PAUSE, 10 * PAUSE);
        for _ in 0..LOOKS_AT_START {
            if !backoff.sleep(&self.connection.patience) {
                return Err(stopped());
            }
            match self.api.get_pod(pod_name) {
                Ok(pod) if pod.has_started() => return Ok(Cancelled::Stopped),
                Ok(pod) if job_status::of_pod(&pod).status == Status::Failed => return Ok(Cancelled::KeptFromStarting),
                Err(failure) if failure.kind == FailureKind::Interrupted => return Err(stopped()),
                _ => {}
            }
            let take = |left: usize| left.checked_sub(1);
            if self
                .looks_left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_err()
            {
                break;
            }
        }
        Ok(Cancelled::Stopped)
    }

    /// Cancels what no node has taken yet. First the pod gets its limit, while it has no node: should one take it now,
    /// that node ends it. Then the Job, whose controller removes the pod.
    fn attempt_without_node(&self, pod: &Pod) -> Result<Attempt, Error> {
        let changed = self.update(Resource::Pod, &pod.metadata.name, &|object| {
            let has_node = object["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
            if !has_node {
                end_now(object, POD_LIMIT, self.user);
            }
            !has_node
        })?;
        match changed {
            true => self.update_job(&|_| true),
            false => Ok(Attempt::LookAgain),
        }
    }

    /// Cancels what has a pod that its labels do not show: it was made a moment ago, or they were taken from it.
    fn attempt_on_unnamed_pod(&self) -> Result<Attempt, Error> {
        let pods = self.api.list_pods_of_jobs(&[self.job_id]).map_err(|failure| {
            self.connection
                .error(self.api, &failure, "list pods")
                .meaning(UNTOUCHED)
        })?;
        match job_status::newest(pods.iter().map(|(_, pod)| pod.as_ref())) {
            Some(pod) if !pod.spec.node_name.is_empty() => self.attempt_on_node(pod),
            Some(pod) => self.attempt_without_node(pod),
            None => Ok(Attempt::LookAgain),
        }
    }

    /// Cancels what has no pod, unless the Job has got one since it was looked at: that may run by now, and the Job
    /// controller would remove it with its log. Should it make one in this very moment, it removes it again before a node can
    /// start it: that takes a node some tenths of a second at least, and what has not started has no log to lose.
    fn attempt_on_job(&self, job: &Job) -> Result<Attempt, Error> {
        if job_status::is_cancelled(&job.metadata) {
            return Ok(Attempt::Done(Cancelled::AlreadyCancelled));
        }
        match job_status::of_job(job).status.is_final() {
            true => Ok(Attempt::Done(Cancelled::AlreadyEnded)),
            false => self.update_job(&|object| {
                let is_over = object["metadata"]["annotations"].get(labels::NOT_STARTED).is_some();
                !is_over && object["status"]["active"].as_u64().unwrap_or_default() == 0
            }),
        }
    }

    /// Ends the Job, unless it was cancelled or is not any more as it `may` be.
    fn update_job(&self, may: &dyn Fn(&Value) -> bool) -> Result<Attempt, Error> {
        let is_as_seen = Cell::new(false);
        let changed = self.update(Resource::Job, self.job_id, &|object| {
            let cancelled = object["metadata"]["annotations"].get(labels::CANCELLED).is_some();
            is_as_seen.set(cancelled || may(object));
            let change = !cancelled && is_as_seen.get();
            if change {
                end_now(object, JOB_LIMIT, self.user);
            }
            change
        })?;
        Ok(match changed {
            true => Attempt::Done(Cancelled::KeptFromStarting),
            false if is_as_seen.get() => Attempt::Done(Cancelled::AlreadyCancelled),
            false => Attempt::LookAgain,
        })
    }

    /// `false` where nothing was changed, or the object is not there any more, or is another's by now.
    fn update(&self, resource: Resource, name: &str, change: &dyn Fn(&mut Value) -> bool) -> Result<bool, Error> {
        let is_meant = |object: &Value| {
            let owner = &object["metadata"]["annotations"][labels::OWNER];
            self.connection.owner.is_none_or(|meant| *owner == meant.name)
        };
        match self
            .api
            .update(resource, name, &|object| is_meant(object) && change(object))
        {
            Ok(changed) => Ok(changed),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(false),
            Err(failure) => {
                let doing = match resource {
                    Resource::Pod => "change pods",
                    Resource::Job => "change jobs",
                };
                let error = error_messages::error(&failure, doing, self.api.namespace(), &self.connection.patience);
                let job_id = self.job_id;
                let consequence = match failure.kind.leaves_outcome_open() {
                    true => format!(
                        "Whether job \"{job_id}\" was cancelled is not known; to cancel it once more does no harm."
                    ),
                    false => format!("Job \"{job_id}\" was not cancelled."),
                };
                Err(error.meaning(consequence).about([job_id]))
            }
        }
    }
}

/// The shortest limit that a pod may have.
const POD_LIMIT: u32 = 1;

/// A limit that is over before the Job controller has made a pod. With one second it would make it first, and the program
/// would run for the rest of that second.
const JOB_LIMIT: u32 = 0;

/// Gives a Job or a pod a time limit in seconds, and notes who did so.
fn end_now(object: &mut Value, seconds: u32, user: &str) {
    object["spec"]["activeDeadlineSeconds"] = json!(seconds);
    object["metadata"]["annotations"][labels::CANCELLED] = json!(user);
    order::no_longer_waits(object);
    // While a Job is suspended its limit does not count: it would keep its place in its queue, and a queue that is strict
    // about the order would wait until there is room for it.
    if object["spec"]["suspend"] == json!(true) {
        object["spec"]["suspend"] = json!(false);
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{
        ended, impatient, job, list, object, patient, pod, running, waiting, Answer, Scripted,
    };
    use super::*;
    use crate::transport::Verb;

    const POD: &str = "/pods/a-p";
    const JOB: &str = "/jobs/a";

    fn jobs(ids: &[&str]) -> JobSelector {
        JobSelector::Jobs(ids.iter().map(|id| (*id).to_string()).collect())
    }

    fn cancel_a(cluster: &Scripted) -> Result<Cancelled, Error> {
        let mut outcomes = cancel(&impatient(cluster), &jobs(&["a"])).unwrap();
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0).done
    }

    fn cluster_with(pod: &Value, answers: impl IntoIterator<Item = Answer>) -> Scripted {
        Scripted::new()
            .get(POD, [object(pod)])
            .get("/pods?", [list(1, [pod.clone()])])
            .on(Verb::Replace, POD, answers)
    }

    #[test]
    fn a_cancelled_object_says_by_whom_and_keeps_the_rest() {
        let mut object = json!({"metadata": {"name": "a", "annotations": {"x": "y"}}, "spec": {"nodeName": "n"}});
        end_now(&mut object, POD_LIMIT, "mike");
        assert_eq!(
            object,
            json!({
                "metadata": {"name": "a", "annotations": {"x": "y", "abba/cancelled-by": "mike"}},
                "spec": {"nodeName": "n", "activeDeadlineSeconds": 1},
            })
        );
    }

    #[test]
    fn a_job_that_a_queue_holds_back_gives_up_its_place() {
        let mut held = job("a", 1);
        held["spec"] = json!({"suspend": true});
        let cluster = Scripted::new()
            .get(JOB, [object(&held)])
            .get("/pods?", [list(1, [])])
            .get("/jobs?", [list(1, [held])])
            .on(Verb::Replace, JOB, [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::KeptFromStarting));
        let (_, sent) = &cluster.sent()[0];
        assert_eq!(sent["spec"], json!({"suspend": false, "activeDeadlineSeconds": 0}));
    }

    #[test]
    fn a_job_that_has_got_its_pod_since_it_was_looked_at_is_ended_by_the_pod() {
        let mut started = job("a", 1);
        started["status"] = json!({"active": 1});
        let cluster = Scripted::new()
            .get(POD, [object(&pod("a", 1, running()))])
            .get(JOB, [object(&started)])
            .get("/pods?", [list(1, []), list(2, [pod("a", 1, running())])])
            .get("/jobs?", [list(1, [job("a", 1)])])
            .on(Verb::Replace, POD, [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::Stopped));
        // The Job stays as it is: its end would take the pod with its log along.
        assert_eq!(limits(&cluster), [(POD_PATH.into(), json!(1))]);
    }

    #[test]
    fn a_pod_that_has_lost_its_labels_is_ended_all_the_same() {
        let mut started = job("a", 1);
        started["status"] = json!({"active": 1, "ready": 1});
        let mut unnamed = pod("a", 1, running());
        unnamed["metadata"]["labels"] = json!({"job-name": "a"});
        let cluster = Scripted::new()
            .get(POD, [object(&unnamed)])
            .get(JOB, [object(&started)])
            .get("job-name", [list(2, [unnamed])])
            .get("/pods?", [list(1, [])])
            .get("/jobs?", [list(1, [started])])
            .on(Verb::Replace, POD, [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::Stopped));
        assert_eq!(limits(&cluster), [(POD_PATH.into(), json!(1))]);
    }

    #[test]
    fn an_interrupt_is_not_lost_while_the_end_is_waited_for() {
        let cluster = cluster_with(&pod("a", 1, waiting()), [Answer::Echo]);
        let changed = || !cluster.sent().is_empty();
        let connection = Connection {
            patience: crate::transport::Patience::new(std::time::Duration::from_secs(60), &changed),
            ..patient(&cluster)
        };
        let outcome = cancel(&connection, &jobs(&["a"])).unwrap().remove(0);
        let error = outcome.done.unwrap_err();
        assert_eq!(error.class, ErrorClass::Interrupted);
        assert!(error.consequence.unwrap().starts_with("Job \"a\" was cancelled"));
    }

    #[test]
    fn a_404_of_the_cluster_is_no_end_of_the_job() {
        let pending = pod("a", 1, waiting());
        let mut no_node = pending.clone();
        no_node["spec"]["nodeName"] = json!("");
        let cluster = Scripted::new().get("/pods?", [list(1, [no_node]), Answer::Fails(FailureKind::NotFound)]);
        assert_eq!(cancel_a(&cluster).unwrap_err().class, ErrorClass::NotFound);
    }

    const POD_PATH: &str = "/api/v1/namespaces/n/pods/a-p";
    const JOB_PATH: &str = "/apis/batch/v1/namespaces/n/jobs/a";

    /// The paths of what was sent, each with the time limit.
    fn limits(cluster: &Scripted) -> Vec<(String, Value)> {
        let limit = |(path, object): (String, Value)| (path, object["spec"]["activeDeadlineSeconds"].clone());
        cluster.sent().into_iter().map(limit).collect()
    }

    #[test]
    fn what_has_a_node_is_ended_there() {
        let cluster = cluster_with(&pod("a", 1, running()), [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::Stopped));
        assert_eq!(limits(&cluster), [(POD_PATH.into(), json!(1))]);
    }

    #[test]
    fn what_was_about_to_start_is_looked_at_until_it_is_clear_whether_it_did() {
        let mut kept_back = pod("a", 1, waiting());
        kept_back["status"]["phase"] = json!("Failed");
        for (later, done) in [
            (kept_back, Cancelled::KeptFromStarting),
            (pod("a", 1, running()), Cancelled::Stopped),
            (pod("a", 1, ended(143)), Cancelled::Stopped),
            // It cannot be seen, so it may have started.
            (pod("a", 1, waiting()), Cancelled::Stopped),
        ] {
            let before = pod("a", 1, waiting());
            let cluster = Scripted::new()
                .get(POD, [object(&before), object(&before), object(&later)])
                .get("/pods?", [list(1, [before])])
                .on(Verb::Replace, POD, [Answer::Echo]);
            assert_eq!(cancel_a(&cluster), Ok(done), "{later}");
            assert_eq!(limits(&cluster), [(POD_PATH.into(), json!(1))]);
        }
    }

    #[test]
    fn what_has_no_node_is_kept_from_starting_by_its_job() {
        let mut without_node = pod("a", 1, waiting());
        without_node["spec"]["nodeName"] = json!("");
        let cluster = Scripted::new()
            .get(POD, [object(&without_node)])
            .get(JOB, [object(&job("a", 1))])
            .get("/pods?", [list(1, [without_node])])
            .on(Verb::Replace, POD, [Answer::Echo])
            .on(Verb::Replace, JOB, [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::KeptFromStarting));
        // The pod first: a node that takes it now ends it.
        assert_eq!(
            limits(&cluster),
            [(POD_PATH.into(), json!(1)), (JOB_PATH.into(), json!(0))]
        );

        let cluster = Scripted::new()
            .get(JOB, [object(&job("a", 1))])
            .get("/pods?", [list(1, [])])
            .get("/jobs?", [list(1, [job("a", 1)])])
            .on(Verb::Replace, JOB, [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::KeptFromStarting));
        assert_eq!(limits(&cluster), [(JOB_PATH.into(), json!(0))]);
    }

    #[test]
    fn a_pod_that_a_node_takes_meanwhile_is_ended_there() {
        let mut without_node = pod("a", 1, waiting());
        without_node["spec"]["nodeName"] = json!("");
        let taken = pod("a", 1, running());
        let cluster = Scripted::new()
            .get(POD, [object(&taken)])
            .get(
                "/pods?",
                [
                    list(1, [without_node.clone()]),
                    list(2, [without_node]),
                    list(3, [taken]),
                ],
            )
            .on(Verb::Replace, POD, [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::Stopped));
        assert_eq!(limits(&cluster), [(POD_PATH.into(), json!(1))]);
    }

    #[test]
    fn a_program_that_ends_meanwhile_does_not_look_cancelled() {
        let cluster = Scripted::new().get(POD, [object(&pod("a", 1, ended(0)))]).get(
            "/pods?",
            [list(1, [pod("a", 1, running())]), list(2, [pod("a", 1, ended(0))])],
        );
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::AlreadyEnded));
        assert!(cluster.sent().is_empty());
    }

    #[test]
    fn what_has_ended_or_was_cancelled_is_left_alone() {
        let mut cancelled = pod("a", 1, running());
        cancelled["metadata"]["annotations"][labels::CANCELLED] = json!("mike");
        for (pod, done) in [
            (pod("a", 1, ended(0)), Cancelled::AlreadyEnded),
            (pod("a", 1, ended(1)), Cancelled::AlreadyEnded),
            (cancelled, Cancelled::AlreadyCancelled),
        ] {
            let cluster = cluster_with(&pod, [Answer::Echo]);
            assert_eq!(cancel_a(&cluster), Ok(done));
            assert!(cluster.sent().is_empty());
        }
    }

    #[test]
    fn of_a_program_that_has_ended_the_containers_beside_it_are_ended_and_its_state_stays() {
        let mut kept = pod("a", 1, ended(0));
        kept["status"]["phase"] = json!("Running");
        kept["status"]["startTime"] = json!("2026-01-01T00:00:00Z");
        let program = &mut kept["status"]["containerStatuses"][0];
        program["state"]["terminated"]["finishedAt"] = json!("2026-01-01T00:00:07Z");
        let statuses = kept["status"]["containerStatuses"].as_array_mut().unwrap();
        statuses.push(json!({"name": "istio-proxy", "state": {"running": {}}}));
        let cluster = cluster_with(&kept, [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::AlreadyEnded));
        assert_eq!(limits(&cluster), [(POD_PATH.into(), json!(8))]);
        let (_, sent) = cluster.sent().remove(0);
        assert!(sent["metadata"]["annotations"][labels::CANCELLED].is_null());
        let sent: Pod = serde_json::from_value(sent).unwrap();
        assert_eq!(job_status::of_pod(&sent).status, Status::Succeeded);
        // It was done before.
        kept["spec"]["activeDeadlineSeconds"] = json!(8);
        let cluster = cluster_with(&kept, [Answer::Echo]);
        assert_eq!(cancel_a(&cluster), Ok(Cancelled::AlreadyEnded));
        assert!(cluster.sent().is_empty());
    }

    #[test]
    fn a_change_that_somebody_else_was_faster_with_is_made_again_on_what_is_there_now() {
        let newer = {
            let mut newer = pod("a", 1, running());
            newer["metadata"]["resourceVersion"] = json!("2");
            newer
        };
        let cluster = Scripted::new()
            .get(POD, [object(&pod("a", 1, running())), object(&newer)])
            .get("/pods?", [list(1, [pod("a", 1, running())])])
            .on(Verb::Replace, POD, [Answer::Fails(FailureKind::Conflict), Answer::Echo]);
        let outcomes = cancel(&patient(&cluster), &jobs(&["a"])).unwrap();
        assert_eq!(outcomes[0].done, Ok(Cancelled::Stopped));
        assert_eq!(cluster.sent()[1].1["metadata"]["resourceVersion"], "2");
    }

    #[test]
    fn of_a_pod_that_went_away_meanwhile_its_job_says_what_became_of_it() {
        let mut ended = job("a", 1);
        ended["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        for (jobs, done) in [
            (vec![], Cancelled::AlreadyEnded),
            (vec![ended], Cancelled::AlreadyEnded),
            // Its pod will be made anew.
            (vec![job("a", 1)], Cancelled::KeptFromStarting),
        ] {
            let cluster = Scripted::new()
                .get(POD, [object(&pod("a", 1, running()))])
                .get(JOB, [object(&job("a", 1))])
                .get("/pods?", [list(1, [pod("a", 1, running())]), list(2, [])])
                .get("/jobs?", [list(2, jobs)])
                .on(Verb::Replace, POD, [Answer::Fails(FailureKind::NotFound)])
                .on(Verb::Replace, JOB, [Answer::Echo]);
            assert_eq!(cancel_a(&cluster), Ok(done));
        }
    }

    #[test]
    fn an_error_says_what_became_of_this_job() {
        for (kind, words) in [
            (FailureKind::Forbidden, "\"a\" was not cancelled"),
            (FailureKind::Timeout, "is not known"),
            (FailureKind::KubectlDied, "is not known"),
        ] {
            let cluster = cluster_with(&pod("a", 1, running()), [Answer::Fails(kind)]);
            let error = cancel_a(&cluster).unwrap_err();
            assert!(error.consequence.unwrap().contains(words), "{kind:?}");
            assert_eq!(error.job_ids, ["a"]);
        }
    }

    #[test]
    fn many_that_are_about_to_start_are_not_waited_for_one_after_the_other() {
        let ids: Vec<String> = (0..80).map(|n| format!("j{n:02}")).collect();
        let cluster = Scripted::new()
            .get("/pods/", [object(&pod("x", 1, waiting()))])
            .get("/pods?", [list(1, ids.iter().map(|id| pod(id, 1, waiting())))])
            .on(Verb::Replace, "/pods/", [Answer::Echo]);
        let outcomes = cancel(&patient(&cluster), &JobSelector::Jobs(ids.clone())).unwrap();
        // Their node does not say in time what became of them.
        assert!(outcomes.iter().all(|outcome| outcome.done == Ok(Cancelled::Stopped)));
        let looks = cluster.paths("/pods/").len();
        // Each is read, changed and looked at.
        assert!(
            (3 * ids.len()..=3 * ids.len() + LOOKS_IN_ALL).contains(&looks),
            "{looks}"
        );
    }

    #[test]
    fn each_of_many_jobs_has_its_own_outcome_in_the_order_asked_for() {
        let ids: Vec<String> = (0..50).map(|n| format!("j{n:02}")).collect();
        let cluster = Scripted::new()
            .get("/pods/j07-p", [Answer::Fails(FailureKind::Forbidden)])
            .get("/pods/", [object(&pod("x", 1, running()))])
            .get("/pods?", [list(1, ids.iter().rev().map(|id| pod(id, 1, running())))])
            .on(Verb::Replace, "/pods/", [Answer::Echo]);
        let outcomes = cancel(&impatient(&cluster), &JobSelector::Jobs(ids.clone())).unwrap();
        let order: Vec<&String> = outcomes.iter().map(|outcome| &outcome.job_id).collect();
        assert_eq!(order, ids.iter().collect::<Vec<_>>());
        for outcome in &outcomes {
            assert_eq!(outcome.done.is_err(), outcome.job_id == "j07", "{}", outcome.job_id);
        }
        assert_eq!(cluster.sent().len(), 49);
    }
}
