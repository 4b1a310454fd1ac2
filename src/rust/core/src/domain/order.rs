//! The order of a batch's programs in the cluster: which of those that wait may start, and which never will.
//!
//! A job that waits is a suspended Job that names those it waits for. What to do follows from where all jobs of its batch
//! stand, and from nothing else: it may be found out at any time, by anybody, and as often as one likes.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use crate::domain::diagnosis::Diagnosis;
use crate::domain::job_status::Status;
use crate::domain::paths;
use crate::kubernetes::labels;
use crate::kubernetes::objects::Job;

/// What becomes of the programs that wait when one of their batch fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Those that do not depend on it go on.
    #[default]
    Continue,
    /// None of them starts.
    Stop,
}

impl OnFailure {
    /// Whether it is the usual one, which a Job need not say.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// The job because of which another was not started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The job.
    pub job_id: String,
    /// The name of its program.
    pub program: String,
    /// What happened to it.
    pub event: CauseEvent,
}

/// What happened to a job so that others are not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CauseEvent {
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl Cause {
    /// As in "not started, because t_adsl failed".
    pub fn words(&self) -> String {
        let event = match self.event {
            CauseEvent::Failed => "failed",
            CauseEvent::Cancelled => "was cancelled",
        };
        format!("{} {event}", self.program)
    }
}

/// What a Job says about its place in the order of its batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Whether it waits.
    pub waits: bool,
    /// The jobs that it runs after, with the names of their programs.
    pub after: BTreeMap<String, String>,
    /// What becomes of it when others of its batch fail.
    pub on_failure: OnFailure,
    /// Why it was not started.
    pub not_started: Option<Cause>,
}

impl Order {
    /// What a Job says; `None` where it says nothing.
    pub fn of_job(job: &Job) -> Option<Self> {
        let annotation = |name: &str| job.metadata.annotations.get(name);
        let waits = job.metadata.labels.contains_key(labels::WAITING);
        let not_started = annotation(labels::NOT_STARTED).map(|text| {
            serde_json::from_str(text).unwrap_or_else(|_| Cause {
                job_id: String::new(),
                program: "another program".into(),
                event: CauseEvent::Failed,
            })
        });
        let after = annotation(labels::AFTER);
        if !waits && after.is_none() && not_started.is_none() {
            return None;
        }
        Some(Self {
            waits,
            after: after
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default(),
            on_failure: match annotation(labels::ON_FAILURE).map(String::as_str) {
                Some("stop") => OnFailure::Stop,
                _ => OnFailure::Continue,
            },
            not_started,
        })
    }
}

/// Whether a Job waits for others of its batch.
pub fn waits(job: &Job) -> bool {
    job.metadata.labels.contains_key(labels::WAITING)
}

/// Has a Job that is about to be made wait for others. `after` is not empty.
pub fn have_wait(job: &mut Value, after: &BTreeMap<String, String>, on_failure: OnFailure) {
    job["metadata"]["labels"][labels::WAITING] = json!("true");
    job["metadata"]["annotations"][labels::AFTER] = json!(json!(after).to_string());
    if on_failure == OnFailure::Stop {
        job["metadata"]["annotations"][labels::ON_FAILURE] = json!("stop");
    }
    // A queue would let it go as soon as it has room.
    let queue = job["metadata"]["labels"]
        .as_object_mut()
        .and_then(|all| all.remove(labels::QUEUE));
    if let Some(queue) = queue {
        job["metadata"]["annotations"][labels::QUEUE_AFTER_WAIT] = queue;
    }
    job["spec"]["suspend"] = json!(true);
}

/// What is to be done about a job that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It may start: all that it waits for have succeeded.
    Release,
    /// It never will.
    NotStart(Cause),
}

/// Makes a step on the Job as it is now. `false`, and no change, where it does not wait any more, or was cancelled.
pub fn take(job: &mut Value, step: &Step) -> bool {
    let metadata = &job["metadata"];
    let waits = metadata["labels"].get(labels::WAITING).is_some() && job["spec"]["suspend"] == json!(true);
    if !waits || metadata["annotations"].get(labels::CANCELLED).is_some() {
        return false;
    }
    no_longer_waits(job);
    match step {
        Step::Release => {
            let queue = job["metadata"]["annotations"]
                .as_object_mut()
                .and_then(|all| all.remove(labels::QUEUE_AFTER_WAIT));
            match queue {
                // The queue lets it go.
                Some(queue) => job["metadata"]["labels"][labels::QUEUE] = queue,
                None => job["spec"]["suspend"] = json!(false),
            }
        }
        Step::NotStart(cause) => {
            job["metadata"]["annotations"][labels::NOT_STARTED] = json!(json!(cause).to_string());
            // Over before the Job controller has made a pod; and while a Job is suspended its limit does not count.
            job["spec"]["activeDeadlineSeconds"] = json!(0);
            job["spec"]["suspend"] = json!(false);
        }
    }
    true
}

/// Takes a Job out of those that wait.
pub fn no_longer_waits(job: &mut Value) {
    if let Some(all) = job.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        all.remove(labels::WAITING);
    }
}

/// Where a job stands, for those that wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not ended, or its end is not known.
    Open,
    /// Its pod has failed, and whether that is its end is known in a moment.
    Failing,
    /// It has succeeded.
    Succeeded,
    /// It has ended otherwise, or was not started, because of this.
    Lost(Cause),
}

impl Standing {
    /// Of a job in this state. `order`: what its Job says; `is_cancelled`: whether it or its pod was cancelled.
    pub fn new(job_id: &str, path: &str, status: Status, is_cancelled: bool, order: Option<&Order>) -> Self {
        match (order.and_then(|order| order.not_started.as_ref()), status) {
            (Some(cause), _) => Self::Lost(cause.clone()),
            (None, Status::Succeeded) => Self::Succeeded,
            (None, Status::Failed) => Self::Lost(Cause {
                job_id: job_id.into(),
                program: program_name(path),
                event: match is_cancelled {
                    true => CauseEvent::Cancelled,
                    false => CauseEvent::Failed,
                },
            }),
            (None, Status::Pending | Status::Running | Status::Unknown) => Self::Open,
        }
    }
}

/// The name of a program: its file name without the ending.
pub fn program_name(path: &str) -> String {
    let file = paths::file_name(path);
    match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem.into(),
        _ => file.into(),
    }
}

/// One job of a batch.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The job.
    pub job_id: &'a str,
    /// Where it stands.
    pub standing: Standing,
    /// What its Job says, if it waits.
    pub waiting: Option<&'a Order>,
}

/// What is to be done about those jobs that wait. `members`: the jobs of one batch and one owner, as far as they are known; in
/// any order, and as they were at any moments. Since a job that has ended stays so, what follows from them never becomes
/// wrong, at worst it comes late.
pub fn steps<'a>(members: &[Member<'a>]) -> Vec<(&'a str, Step)> {
    let of_id: HashMap<&str, &Member<'a>> = members.iter().map(|member| (member.job_id, member)).collect();
    let mut waiting: Vec<(&'a str, &'a Order)> = members
        .iter()
        .filter(|member| member.standing == Standing::Open)
        .filter_map(|member| Some((member.job_id, member.waiting?)))
        .collect();
    if waiting.is_empty() {
        return Vec::new();
    }
    waiting.sort_unstable_by_key(|(id, _)| *id);
    let mut dependents: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, (_, order)) in waiting.iter().enumerate() {
        for before in order.after.keys() {
            dependents.entry(before).or_default().push(place);
        }
    }
    let mut lost: Vec<(&str, &Cause)> = members
        .iter()
        .filter_map(|member| match &member.standing {
            Standing::Lost(cause) => Some((member.job_id, cause)),
            Standing::Open | Standing::Failing | Standing::Succeeded => None,
        })
        .collect();
    lost.sort_unstable_by_key(|(id, _)| *id);
    let first_loss = lost.first().map(|(_, cause)| *cause);
    let mut causes: Vec<Option<&Cause>> = vec![None; waiting.len()];
    let mut queue: VecDeque<(&str, &Cause)> = lost.into();
    while let Some((id, cause)) = queue.pop_front() {
        for place in dependents.get(id).into_iter().flatten() {
            if causes[*place].is_none() {
                causes[*place] = Some(cause);
                queue.push_back((waiting[*place].0, cause));
            }
        }
    }
    let is_one_failing = members.iter().any(|member| member.standing == Standing::Failing);
    let has_succeeded = |id: &String| {
        of_id
            .get(id.as_str())
            .is_some_and(|member| member.standing == Standing::Succeeded)
    };
    waiting
        .iter()
        .zip(causes)
        .filter_map(|((id, order), cause)| {
            let cause = cause.or(first_loss.filter(|_| order.on_failure == OnFailure::Stop));
            match cause {
                Some(cause) => Some((*id, Step::NotStart(cause.clone()))),
                None if order.on_failure == OnFailure::Stop && is_one_failing => None,
                // One that names nobody cannot be read: nobody knows what it waits for.
                None if !order.after.is_empty() && order.after.keys().all(has_succeeded) => Some((*id, Step::Release)),
                None => None,
            }
        })
        .collect()
}

/// One of these jobs that could never start, since it runs after itself, after one that waits for it, or after such a one; its place among them. Each is told with those
/// that it runs after, of which others may be elsewhere.
pub fn in_circle(jobs: &[(&str, &BTreeMap<String, String>)]) -> Option<usize> {
    let places: HashMap<&str, usize> = jobs.iter().enumerate().map(|(place, (id, _))| (*id, place)).collect();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); jobs.len()];
    let mut open: Vec<usize> = vec![0; jobs.len()];
    for (place, (_, after)) in jobs.iter().enumerate() {
        for before in after.keys().filter_map(|id| places.get(id.as_str())) {
            followers[*before].push(place);
            open[place] += 1;
        }
    }
    let mut ready: Vec<usize> = (0..jobs.len()).filter(|place| open[*place] == 0).collect();
    while let Some(place) = ready.pop() {
        for follower in &followers[place] {
            open[*follower] -= 1;
            if open[*follower] == 0 {
                ready.push(*follower);
            }
        }
    }
    // Those that only wait for some of a circle are left as well.
    open.iter().position(|open| *open > 0)
}

/// Where one stands that another waits for, as far as it is known to the one who tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is in this state.
    Is(Status),
    /// It is not there.
    Missing,
    /// It was not looked at.
    NotKnown,
}

/// Why a job waits, in words. `seen`: where those stand that it waits for.
pub fn waiting(order: &Order, seen: impl Fn(&str) -> Seen) -> Diagnosis {
    let names = |wanted: &dyn Fn(Seen) -> bool| -> Vec<&str> {
        let those = order.after.iter().filter(|(id, _)| wanted(seen(id)));
        those.map(|(_, name)| name.as_str()).collect()
    };
    if order.after.is_empty() {
        return Diagnosis::new(
            "The program waits for others, and which ones cannot be read from its job.",
            "Cancel it, and submit it again.",
            "",
        )
        .stuck(true);
    }
    let missing = names(&|seen| seen == Seen::Missing);
    if !missing.is_empty() {
        return Diagnosis::new(
            format!(
                "The program waits for {}, and there {} no such {} in its batch (any more).",
                listed(&missing),
                if missing.len() == 1 { "is" } else { "are" },
                if missing.len() == 1 { "job" } else { "jobs" },
            ),
            "Cancel it, and submit it again by itself, once what it needs is there.",
            "",
        )
        .stuck(true);
    }
    let lost = names(&|seen| seen == Seen::Is(Status::Unknown));
    if !lost.is_empty() {
        return Diagnosis::new(
            format!(
                "The program waits for {}, of which the state is not known: the node does not answer.",
                listed(&lost)
            ),
            "It starts when the node answers again and all that it waits for have succeeded.",
            "",
        );
    }
    let open = names(&|seen| seen != Seen::Is(Status::Succeeded));
    match open.as_slice() {
        [] => Diagnosis::new(
            "The program waits to be started: all that it waited for have succeeded.",
            "",
            "",
        ),
        open => Diagnosis::new(
            format!("The program waits for {}.", listed(open)),
            match open.len() {
                1 => "It starts once that has succeeded.",
                _ => "It starts once these have succeeded.",
            },
            "",
        ),
    }
}

/// Why a job was not started, in words.
pub fn not_started(cause: &Cause) -> Diagnosis {
    Diagnosis::new(
        format!("The program was not started, because {}.", cause.words()),
        format!(
            "Mend {}, and have what failed of the batch run again: this one runs then, too, after it.",
            cause.program
        ),
        "",
    )
}

/// Names in a sentence, not too many.
fn listed(names: &[&str]) -> String {
    const MOST: usize = 5;
    match names {
        [] => String::new(),
        [one] => (*one).into(),
        [some @ .., last] if names.len() <= MOST => format!("{} and {last}", some.join(", ")),
        _ => format!("{} and {} more", names[..MOST - 1].join(", "), names.len() - (MOST - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz_slowly, Rng};
    use serde::Deserialize;

    /// A job of a plan as the cluster has it.
    #[derive(Clone)]
    struct Real {
        job: Value,
        status: Status,
    }

    impl Real {
        fn new(place: usize, after: &[usize], on_failure: OnFailure) -> Self {
            let mut job = json!({
                "metadata": {
                    "name": id(place), "labels": {labels::QUEUE: "q"},
                    "annotations": {labels::PROGRAM_PATH: format!("/study/p{place}.R")},
                },
                "spec": {},
            });
            if !after.is_empty() {
                let after = after.iter().map(|before| (id(*before), format!("p{before}"))).collect();
                have_wait(&mut job, &after, on_failure);
            }
            Self {
                job,
                status: Status::Pending,
            }
        }

        fn order(&self) -> Option<Order> {
            Order::of_job(&Job::deserialize(&self.job).unwrap())
        }

        fn is_cancelled(&self) -> bool {
            self.job["metadata"]["annotations"].get(labels::CANCELLED).is_some()
        }

        fn waits(&self) -> bool {
            self.order().is_some_and(|order| order.waits)
        }

        fn cause(&self) -> Option<Cause> {
            self.order().and_then(|order| order.not_started)
        }
    }

    fn id(place: usize) -> String {
        format!("p{place}-1")
    }

    /// What somebody does who sees these jobs.
    fn steps_of(seen: &[&Real]) -> Vec<(String, Step)> {
        let parts: Vec<(String, Option<Order>)> = seen
            .iter()
            .map(|real| (real.job["metadata"]["name"].as_str().unwrap().to_string(), real.order()))
            .collect();
        let members: Vec<Member<'_>> = seen
            .iter()
            .zip(&parts)
            .map(|(real, (job_id, order))| Member {
                job_id,
                standing: Standing::new(
                    job_id,
                    real.job["metadata"]["annotations"][labels::PROGRAM_PATH]
                        .as_str()
                        .unwrap(),
                    real.status,
                    real.is_cancelled(),
                    order.as_ref(),
                ),
                waiting: order.as_ref().filter(|order| order.waits),
            })
            .collect();
        let steps = steps(&members);
        steps.into_iter().map(|(id, step)| (id.to_string(), step)).collect()
    }

    fn place_of(id: &str) -> usize {
        id[1..id.len() - 2].parse().unwrap()
    }

    #[test]
    fn whoever_looks_whenever_no_program_starts_too_early_and_each_has_its_end() {
        fuzz_slowly(600, &[""], |_, rng: &mut Rng| {
            let count = rng.usize(1..30);
            let on_failure = [OnFailure::Continue, OnFailure::Stop][usize::from(rng.u8(..4) == 0)];
            let graph: Vec<Vec<usize>> = (0..count)
                .map(|place| (0..place).filter(|_| rng.usize(..place.max(4)) < 2).collect())
                .collect();
            let ends_badly: Vec<bool> = (0..count).map(|_| rng.u8(..10) == 0).collect();
            let mut real: Vec<Real> = (0..count)
                .map(|place| Real::new(place, &graph[place], on_failure))
                .collect();
            // What each of the two who look has seen of each job, and when.
            let mut seen: [Vec<Option<Real>>; 2] = [vec![None; count], vec![None; count]];
            let succeeded = |real: &[Real], place: usize| real[place].status == Status::Succeeded;
            for _ in 0..100_000 {
                if real.iter().all(|real| real.status.is_final()) {
                    break;
                }
                let place = rng.usize(..count);
                match rng.u8(..4) {
                    // A program gets on, unless it waits.
                    0 if !real[place].waits() && real[place].cause().is_none() => {
                        real[place].status = match (real[place].status, ends_badly[place]) {
                            (Status::Pending, _) => Status::Running,
                            (Status::Running, true) => Status::Failed,
                            (Status::Running, false) => Status::Succeeded,
                            (ended, _) => ended,
                        };
                    }
                    0 => {}
                    // Somebody cancels what waits.
                    1 if rng.u8(..100) == 0 && real[place].waits() => {
                        real[place].job["metadata"]["annotations"][labels::CANCELLED] = json!("mike");
                        no_longer_waits(&mut real[place].job);
                        real[place].status = Status::Failed;
                    }
                    1 | 2 => seen[rng.usize(..2)][place] = Some(real[place].clone()),
                    _ => {
                        let who = rng.usize(..2);
                        let known: Vec<&Real> = seen[who].iter().flatten().collect();
                        for (id, step) in steps_of(&known) {
                            // Others may be faster, and some steps are lost.
                            if rng.u8(..4) == 0 {
                                continue;
                            }
                            let place = place_of(&id);
                            if !take(&mut real[place].job, &step) {
                                continue;
                            }
                            match step {
                                Step::Release => {
                                    assert!(graph[place].iter().all(|before| succeeded(&real, *before)));
                                    assert_eq!(real[place].job["metadata"]["labels"][labels::QUEUE], "q");
                                    assert_eq!(real[place].job["spec"]["suspend"], true, "left to the queue");
                                }
                                Step::NotStart(cause) => {
                                    let at = place_of(&cause.job_id);
                                    assert_eq!(real[at].status, Status::Failed);
                                    assert_eq!(real[at].cause(), None, "told is the first of the chain");
                                    real[place].status = Status::Failed;
                                }
                            }
                        }
                    }
                }
            }
            for (place, one) in real.iter().enumerate() {
                assert!(one.status.is_final(), "{place} of {graph:?}");
                let is_lost = graph[place].iter().any(|before| !succeeded(&real, *before));
                match one.cause() {
                    Some(_) => assert!(is_lost || on_failure == OnFailure::Stop),
                    None => assert!(!is_lost || one.is_cancelled(), "{place} of {graph:?}"),
                }
            }
        });
    }

    fn standing(place: usize, status: Status) -> Real {
        Real {
            status,
            ..Real::new(place, &[], OnFailure::Continue)
        }
    }

    #[test]
    fn a_job_keeps_waiting_for_one_that_is_not_there_or_not_known() {
        let waiting = Real::new(2, &[0, 1], OnFailure::Continue);
        let (done, open) = (standing(0, Status::Succeeded), standing(1, Status::Unknown));
        assert!(steps_of(&[&done, &waiting]).is_empty());
        assert!(steps_of(&[&done, &open, &waiting]).is_empty());
        let both = standing(1, Status::Succeeded);
        assert_eq!(steps_of(&[&done, &both, &waiting]), [(id(2), Step::Release)]);
        // One whose annotation cannot be read.
        let mut unreadable = waiting.clone();
        unreadable.job["metadata"]["annotations"][labels::AFTER] = json!("?");
        assert!(steps_of(&[&done, &both, &unreadable]).is_empty());
    }

    #[test]
    fn all_that_depend_on_a_failure_are_told_its_program() {
        let failed = standing(0, Status::Failed);
        let next = Real::new(1, &[0], OnFailure::Continue);
        let last = Real::new(2, &[1], OnFailure::Continue);
        let other = Real::new(3, &[4], OnFailure::Continue);
        let words: Vec<(String, String)> = steps_of(&[&last, &failed, &next, &other])
            .into_iter()
            .map(|(id, step)| match step {
                Step::NotStart(cause) => (id, not_started(&cause).what),
                Step::Release => panic!("{id}"),
            })
            .collect();
        let expected = "The program was not started, because p0 failed.";
        assert_eq!(words, [id(1), id(2)].map(|id| (id, expected.to_string())));
    }

    #[test]
    fn at_the_first_failure_nothing_that_waits_starts_where_that_is_wanted() {
        let mut failed = standing(0, Status::Failed);
        failed.job["metadata"]["annotations"][labels::CANCELLED] = json!("mike");
        let done = standing(1, Status::Succeeded);
        let stops = Real::new(2, &[1], OnFailure::Stop);
        let steps = steps_of(&[&failed, &done, &stops]);
        let [(_, Step::NotStart(cause))] = steps.as_slice() else {
            panic!("{steps:?}");
        };
        assert_eq!(cause.words(), "p0 was cancelled");
        let goes_on = Real::new(2, &[1], OnFailure::Continue);
        assert_eq!(steps_of(&[&failed, &done, &goes_on]), [(id(2), Step::Release)]);
    }

    #[test]
    fn a_job_that_is_not_started_can_never_make_a_pod() {
        let cause = Cause {
            job_id: id(0),
            program: "p0".into(),
            event: CauseEvent::Failed,
        };
        let mut job = Real::new(1, &[0], OnFailure::Continue).job;
        assert!(take(&mut job, &Step::NotStart(cause.clone())));
        assert_eq!(
            (&job["spec"]["activeDeadlineSeconds"], &job["spec"]["suspend"]),
            (&json!(0), &json!(false))
        );
        assert!(job["metadata"]["labels"].get(labels::QUEUE).is_none());
        // Whatever comes later.
        assert!(!take(&mut job, &Step::Release));
        let order = Order::of_job(&Job::deserialize(&job).unwrap()).unwrap();
        assert_eq!((order.waits, order.not_started), (false, Some(cause)));
    }

    #[test]
    fn what_a_program_waits_for_is_told_with_those_that_are_not_done() {
        let after = (0..9).map(|place| (id(place), format!("p{place}"))).collect();
        let order = Order {
            waits: true,
            after,
            ..Default::default()
        };
        let what = |done: usize, other: Seen| {
            let found = waiting(&order, |id| match place_of(id) {
                place if place < done => Seen::Is(Status::Succeeded),
                8 => other,
                _ => Seen::Is(Status::Running),
            });
            (found.what, found.is_stuck)
        };
        let pending = Seen::Is(Status::Pending);
        assert_eq!(
            what(0, pending),
            ("The program waits for p0, p1, p2, p3 and 5 more.".into(), false)
        );
        assert_eq!(what(6, pending), ("The program waits for p6, p7 and p8.".into(), false));
        assert_eq!(what(8, pending), ("The program waits for p8.".into(), false));
        assert!(what(9, pending).0.contains("waits to be started"));
        assert_eq!(
            what(8, Seen::Missing),
            (
                "The program waits for p8, and there is no such job in its batch (any more).".into(),
                true
            )
        );
        assert!(what(8, Seen::Is(Status::Unknown)).0.contains("does not answer"));
    }

    #[test]
    fn a_program_is_named_by_its_file_without_the_ending() {
        for (path, name) in [
            ("/a/t_adsl.R", "t_adsl"),
            ("t.1.Rmd", "t.1"),
            ("a/.R", ".R"),
            ("x", "x"),
            ("", ""),
        ] {
            assert_eq!(program_name(path), name);
        }
    }
}
