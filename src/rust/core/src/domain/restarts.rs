//! Whether a job's program was started more than once.
//!
//! `backoffLimit: 0` and `restartPolicy: Never` forbid it but for one case: where a Job that runs is suspended, the Job
//! controller removes its pod, which counts as no failure, and makes another when the Job is resumed. What is left of
//! that is in the Job, as long as there is one: the condition `Suspended` with the reason `JobResumed`, and the generation,
//! which counts the changes of its spec (seen with Kubernetes 1.34). A Job that a queue suspends as it is made, and lets go
//! once, has the condition, too, and the generation 2.
//!
//! The other case is a node whose runtime was killed: the kubelet makes a container anew where it finds one that was made and
//! not started, or of which the runtime knows nothing any more, whatever the policy (`ShouldContainerBeRestarted` in its
//! `container/helpers.go`), and its `restartCount` counts both. What it knew of the one before is in `lastState`: how it
//! ended; or that it waited, where it was never seen to run, as one that was made a moment before the runtime was killed.
//!
//! What nothing but its events tells (for an hour, where it is explained): where somebody takes the finalizer
//! `batch.kubernetes.io/job-tracking` from a pod that runs, as the recipes for pods that hang in "Terminating" say, and deletes
//! it, the Job controller counts no failure and makes another one (seen with Kubernetes 1.34).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Sum;

use crate::error::Warning;
use crate::kubernetes::objects::{Event, Job, Pod};

/// How often a program was started, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Starts {
    /// Not at all, or once.
    #[default]
    Once,
    /// Its node has made its container anew. Whether the program had begun in the one before nobody knows.
    PerhapsInPod,
    /// The Job was suspended and resumed when it had a pod, or could have had one. Whether its program had begun in it
    /// nobody knows any more.
    PerhapsAgain,
    /// More than once.
    Again,
}

/// The least generation of a Job that was suspended after its pod could have started, and resumed: 1 as it is made, and one
/// more for each change.
const LEAST_GENERATION: u64 = 3;

/// The starts of a program in some pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    known: u64,
    /// Containers that may have started.
    perhaps: u64,
}

impl Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |all, one| Self {
            known: all.known + one.known,
            perhaps: all.perhaps + one.perhaps,
        })
    }
}

/// What the pods of a job say, which are all that are still there: several have started, or the node has started the
/// container of one anew.
pub fn of_pods<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Starts {
    of_count(pods.into_iter().map(starts_in).sum())
}

/// What so many starts in all pods of a job are.
pub fn of_count(starts: Count) -> Starts {
    match (starts.known, starts.known + starts.perhaps) {
        (_, 0 | 1) => Starts::Once,
        (0 | 1, _) => Starts::PerhapsInPod,
        _ => Starts::Again,
    }
}

/// How often a program was started in a pod.
pub fn starts_in(pod: &Pod) -> Count {
    let mut starts = Count {
        known: u64::from(pod.has_started()),
        perhaps: 0,
    };
    let Some(container) = pod.program_container().filter(|container| container.restart_count > 0) else {
        return starts;
    };
    starts.perhaps = u64::from(container.restart_count) - 1;
    // Of the last one before it there is more to know than of the others.
    match &container.last_state.terminated {
        Some(end) if matches!(end.reason.as_str(), "StartError" | "ContainerCannotRun") => {}
        Some(_) => starts.known += 1,
        None => starts.perhaps += 1,
    }
    starts
}

/// Whether a Job of this generation may be one of those for which [`of_job`] says something: tells from its metadata
/// whether the Job itself must be looked at.
pub fn is_worth_a_look(generation: u64) -> bool {
    generation >= LEAST_GENERATION
}

/// What the Job says of a program whose newest pod has started (or ended, and is gone).
pub fn of_job(job: &Job) -> Starts {
    match is_worth_a_look(job.metadata.generation) && job.was_resumed() {
        true => Starts::PerhapsAgain,
        false => Starts::Once,
    }
}

/// Whether the events of a pod, which may be gone, say that it has started.
pub fn say_that_it_started(events: &[Event]) -> bool {
    events.iter().any(|event| event.reason == "Started")
}

/// What must be said about jobs: at most one warning for those whose program was started more than once, and one for each
/// reason why it may have been.
pub fn warnings<'a>(jobs: impl IntoIterator<Item = (&'a str, Starts)>) -> Vec<Warning> {
    let mut told: BTreeMap<Reverse<Starts>, BTreeSet<&str>> = BTreeMap::new();
    for (job_id, starts) in jobs {
        told.entry(Reverse(starts)).or_default().insert(job_id);
    }
    told.into_iter()
        .map(|(starts, job_ids)| (starts.0, job_ids))
        .filter(|(starts, _)| *starts != Starts::Once)
        .map(|(starts, job_ids)| Warning {
            class: "started_again",
            message: format!("{} {}", programs_of(&job_ids), words(starts, job_ids.len() == 1)),
            advice: ADVICE.into(),
            job_ids: job_ids.into_iter().map(String::from).collect(),
        })
        .collect()
}

fn programs_of(job_ids: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = job_ids.iter().take(SHOWN).map(|id| format!("\"{id}\"")).collect();
    let shown = shown.join(", ");
    match job_ids.len() {
        1 => format!("The program of job {shown}"),
        count if count <= SHOWN => format!("The programs of the jobs {shown}"),
        count => format!("The programs of the jobs {shown} and {} more", count - SHOWN),
    }
}

fn words(starts: Starts, is_one: bool) -> String {
    let (was, its_job) = match is_one {
        true => ("was", "its job was"),
        false => ("were", "their jobs were"),
    };
    match starts {
        Starts::PerhapsInPod => {
            let made = match is_one {
                true => "its node has made its container",
                false => "their nodes have made their containers",
            };
            format!("may have been started more than once: {made} anew, and nothing says whether the program had begun in the one before.")
        }
        Starts::PerhapsAgain => {
            format!("may have been started more than once: {its_job} suspended and resumed, by a queue or by somebody.")
        }
        _ => format!("{was} started more than once."),
    }
}

/// What it means, and what to do.
const ADVICE: &str =
    "The log is that of the last start; what the program printed before is in no log. Check what it had \
written by then: files and databases may hold the work of both starts.";

/// The same for one job that is explained: what is the matter, and what to do. `None` where nothing is.
pub fn explained(starts: Starts) -> Option<(String, &'static str)> {
    (starts != Starts::Once).then(|| (format!("The program {}", words(starts, true)), ADVICE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn job(generation: u64, conditions: Value) -> Job {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "generation": generation},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn pod(state: Value, restart_count: u32) -> Pod {
        made_anew(state, restart_count, json!({}))
    }

    fn made_anew(state: Value, restart_count: u32, last: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a-1", "generation": 1},
            "status": {"containerStatuses": [
                {"name": "program", "restartCount": restart_count, "state": state, "lastState": last},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn only_a_job_that_was_suspended_after_its_pod_could_start_may_have_started_again() {
        let resumed = json!([
            {"type": "Suspended", "status": "False", "reason": "JobResumed"},
            {"type": "Complete", "status": "True", "reason": "CompletionsReached"},
        ]);
        for (generation, conditions, expected) in [
            (3, resumed.clone(), Starts::PerhapsAgain),
            // Suspended as it was made, resumed, preempted and resumed.
            (4, resumed.clone(), Starts::PerhapsAgain),
            // Suspended as it was made, and let go once.
            (2, resumed, Starts::Once),
            (
                2,
                json!([{"type": "Suspended", "status": "True", "reason": "JobSuspended"}]),
                Starts::Once,
            ),
            // Changed in another way.
            (5, json!([]), Starts::Once),
        ] {
            assert_eq!(of_job(&job(generation, conditions)), expected, "{generation}");
        }
    }

    #[test]
    fn pods_that_have_started_are_counted_and_so_are_restarts() {
        let (running, waiting) = (
            json!({"running": {}}),
            json!({"waiting": {"reason": "ContainerCreating"}}),
        );
        let ended = json!({"terminated": {"exitCode": 143, "reason": "Error"}});
        for (pods, expected) in [
            (vec![pod(running.clone(), 0)], Starts::Once),
            (vec![pod(ended.clone(), 0), pod(waiting.clone(), 0)], Starts::Once),
            (vec![pod(ended, 0), pod(running.clone(), 0)], Starts::Again),
            (vec![], Starts::Once),
        ] {
            assert_eq!(of_pods(&pods), expected, "{pods:?}");
        }
    }

    #[test]
    fn a_container_that_was_made_and_not_started_is_no_start() {
        let running = json!({"running": {}});
        let end = |reason: &str| json!({"terminated": {"exitCode": 128, "reason": reason}});
        let waited = json!({"waiting": {}});
        for (state, restarts, last, expected) in [
            (running.clone(), 1, end("StartError"), Starts::Once),
            (running.clone(), 1, end("ContainerCannotRun"), Starts::Once),
            (running.clone(), 1, end("Error"), Starts::Again),
            // The node has seen it run.
            (running.clone(), 1, end("ContainerStatusUnknown"), Starts::Again),
            (running.clone(), 1, waited.clone(), Starts::PerhapsInPod),
            (running.clone(), 1, json!({}), Starts::PerhapsInPod),
            (running.clone(), 2, end("StartError"), Starts::PerhapsInPod),
            (running, 2, end("Error"), Starts::Again),
            // The program has not begun in this one.
            (
                json!({"waiting": {"reason": "CreateContainerError"}}),
                1,
                waited,
                Starts::Once,
            ),
        ] {
            let pod = made_anew(state, restarts, last);
            assert_eq!(of_pods([&pod]), expected, "{pod:?}");
        }
    }

    #[test]
    fn jobs_are_told_together() {
        assert!(warnings([("a", Starts::Once)]).is_empty());
        let told = warnings([
            ("b", Starts::Again),
            ("a", Starts::PerhapsAgain),
            ("c", Starts::PerhapsInPod),
            ("b", Starts::Again),
        ]);
        let messages: Vec<&str> = told.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "The program of job \"b\" was started more than once.",
                "The program of job \"a\" may have been started more than once: its job was suspended and resumed, by a \
                 queue or by somebody.",
                "The program of job \"c\" may have been started more than once: its node has made its container anew, and nothing \
                 says whether the program had begun in the one before.",
            ]
        );
        let ids: Vec<String> = (0..8).map(|n| format!("a-{n}")).collect();
        let told = warnings(ids.iter().map(|id| (id.as_str(), Starts::Again)));
        assert!(
            told[0].message.ends_with("and 3 more were started more than once."),
            "{told:?}"
        );
        assert_eq!(told[0].job_ids, ids);
    }
}
