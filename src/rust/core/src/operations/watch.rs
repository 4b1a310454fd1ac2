//! Following jobs until they have ended, with one watch stream for any number of them.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::observation::{Observation, Observed, UNTOUCHED};
use super::{Connection, Which};
use crate::domain::diagnosis::{self, Diagnosis};
use crate::domain::job_status::{JobStatus, Status};
use crate::error::Error;
use crate::kubernetes::objects::Pod;
use crate::kubernetes::{Api, Selection};
use crate::transport::{FailureKind, Patience};

/// One job, as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedJob {
    /// The job's id.
    pub job_id: String,
    /// Its state.
    pub status: JobStatus,
    /// While it has not started: why.
    pub obstacle: Option<Diagnosis>,
}

/// The server sends something at least once a minute (bookmarks). After this much silence the connection is taken for
/// dead: a laptop may have slept.
const LONGEST_SILENCE: Duration = if cfg!(test) {
    Duration::from_millis(500)
} else {
    Duration::from_secs(150)
};

/// While a job has no pod, its end shows in the Job alone, which is not watched: somebody has deleted the pod, or the job
/// was cancelled before it had one. So it is looked at anew this often.
const LOOK_AT_JOBS_INTERVAL: Duration = if cfg!(test) {
    Duration::from_millis(50)
} else {
    Duration::from_secs(10)
};

/// How often changes are told at most.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// The first and the longest pause before a broken watch is taken up again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// For how many jobs without a pod the reason is asked for, at most; each costs a call.
const REASONS_ASKED: usize = 3;

/// Follows jobs until none is Pending or Running, or `tell` breaks off. `tell` gets all jobs, in order, at the beginning
/// and after each change.
///
/// A stream that the server closes or that breaks is taken up again where the jobs stand then, so that no end is missed;
/// while the cluster cannot be reached it is tried again for ever: `connection.patience` is the limit of a single call,
/// its interrupt ends the whole.
///
/// Errors: a job or the batch does not exist, or not any more; the cluster refuses.
pub fn watch(
    connection: &Connection<'_>,
    which: &Which,
    tell: &mut dyn FnMut(&[WatchedJob]) -> ControlFlow<()>,
) -> Result<(), Error> {
    let (api, mut observation) = connection.observe(which)?;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let jobs = watched(&observation, &api);
        let all_ended = jobs.iter().all(|job| job.status.status.is_final());
        if tell(&jobs).is_break() || all_ended {
            return Ok(());
        }
        let healthy = follow(connection, which, &api, &mut observation, tell)?;
        match healthy {
            Follow::Ended => return Ok(()),
            Follow::LookAgain => pause = SHORTEST_PAUSE,
            Follow::Broken => {}
        }
        if !connection.patience.renewed().sleep(pause) {
            return Ok(());
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        observation = match observe_patiently(connection, which, pause)? {
            Some((_, observation)) => observation,
            None => return Ok(()),
        };
    }
}

/// Looks at jobs, and while the cluster cannot be reached again and again, first after `pause`. `None` where the user
/// wants to stop.
///
/// Errors: those of [`Connection::observe`] that do not pass.
pub(super) fn observe_patiently<'a>(
    connection: &Connection<'a>,
    which: &Which,
    mut pause: Duration,
) -> Result<Option<(Api<'a>, Observation)>, Error> {
    loop {
        match connection.observe(which) {
            Ok(seen) => return Ok(Some(seen)),
            Err(error) if error.may_heal() => {
                if !connection.patience.renewed().sleep(pause) {
                    return Ok(None);
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

enum Follow {
    /// All jobs have ended, or `tell` broke off, or the user wants to stop.
    Ended,
    /// The stream ended as streams do, or showed something that needs a new look.
    LookAgain,
    /// The stream broke or ended at once, and showed nothing.
    Broken,
}

/// Follows the stream. `tell` is called at once when all jobs have ended, and otherwise at most ten times a second, since
/// it looks at all jobs and a thousand of them may change within one.
fn follow(
    connection: &Connection<'_>,
    which: &Which,
    api: &Api<'_>,
    observation: &mut Observation,
    tell: &mut dyn FnMut(&[WatchedJob]) -> ControlFlow<()>,
) -> Result<Follow, Error> {
    let job_ids = observation.job_ids.clone();
    let ids: Vec<&str> = job_ids.iter().map(String::as_str).collect();
    let selection = match which {
        Which::Jobs(_) => Selection::Jobs(&ids),
        Which::Batch(batch_id) => Selection::Batch(batch_id),
    };
    let resource_version = observation.resource_version.clone();
    let stream = RefCell::new(Stream {
        unfinished: unfinished(observation),
        observation,
        tell,
        untold: false,
        last_told: Instant::now(),
        ended: false,
    });
    let some_without_pod = stream
        .borrow()
        .observation
        .each()
        .any(|(_, observed)| matches!(observed, Observed::Job(_)) && !observed.status().status.is_final());
    let begin = Instant::now();
    let last_heard = Cell::new(begin);
    let changed = Cell::new(false);
    let stopped = Cell::new(false);
    // Asked twenty times a second, from the same thread that hands over the events.
    let interrupted = || {
        let mut stream = stream.borrow_mut();
        stopped.set(stopped.get() || connection.patience.is_interrupted() || stream.tell_what_is_untold().is_break());
        stopped.get()
            || last_heard.get().elapsed() > LONGEST_SILENCE
            || (some_without_pod && begin.elapsed() > LOOK_AT_JOBS_INTERVAL)
    };
    let a_day = Duration::from_secs(24 * 60 * 60);
    let patience = Patience::new(a_day, &interrupted);
    let result = api.watch_pods(&selection, &resource_version, &patience, &mut |event| {
        last_heard.set(Instant::now());
        match event.event_type.as_str() {
            "ADDED" | "MODIFIED" => changed.set(true),
            "BOOKMARK" => return ControlFlow::Continue(()),
            // A pod is gone: only its Job can say what that means.
            "DELETED" => {
                changed.set(true);
                return ControlFlow::Break(());
            }
            // 410 Gone: the moment is too long ago. Or something that we do not know.
            _ => return ControlFlow::Break(()),
        }
        match serde_json::from_value::<Pod>(event.object) {
            Ok(pod) => stream.borrow_mut().take(pod, matches!(which, Which::Batch(_))),
            Err(_) => ControlFlow::Break(()),
        }
    });
    let ended = stream.borrow().ended || stopped.get();
    match result {
        _ if ended => Ok(Follow::Ended),
        // A server (or a proxy before it) that ends each stream at once is not to be asked ten times a second.
        Ok(()) if changed.get() || begin.elapsed() > LONGEST_PAUSE => Ok(Follow::LookAgain),
        Ok(()) => Ok(Follow::Broken),
        Err(failure) => match failure.kind {
            // The silence was too long, or a job has no pod.
            FailureKind::Interrupted => Ok(Follow::LookAgain),
            FailureKind::Forbidden | FailureKind::Unauthorized | FailureKind::KubectlMissing => {
                Err(connection.error(api, &failure, "watch pods").meaning(UNTOUCHED))
            }
            _ if begin.elapsed() > LONGEST_PAUSE => Ok(Follow::LookAgain),
            _ => Ok(Follow::Broken),
        },
    }
}

/// What the stream has shown so far.
struct Stream<'a> {
    observation: &'a mut Observation,
    /// The jobs that have not ended.
    unfinished: HashSet<String>,
    tell: &'a mut dyn FnMut(&[WatchedJob]) -> ControlFlow<()>,
    untold: bool,
    last_told: Instant,
    ended: bool,
}

impl Stream<'_> {
    /// Notes a pod as it is now; breaks off once all jobs have ended.
    fn take(&mut self, pod: Pod, take_up_new_jobs: bool) -> ControlFlow<()> {
        let Some(id) = pod.job_id().map(String::from) else {
            return ControlFlow::Continue(());
        };
        if take_up_new_jobs {
            self.observation.add_job_of(&pod);
        }
        self.observation.put_pod(pod);
        match self.observation.of(&id) {
            Some(observed) if !observed.status().status.is_final() => {
                if take_up_new_jobs {
                    self.unfinished.insert(id);
                }
            }
            _ => {
                self.unfinished.remove(&id);
            }
        }
        self.untold = true;
        if self.unfinished.is_empty() {
            // One of them may have begun again to answer since it was counted.
            self.unfinished = unfinished(self.observation);
        }
        if self.unfinished.is_empty() {
            self.ended = true;
            let _ = (self.tell)(&watched_without_asking(self.observation));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn tell_what_is_untold(&mut self) -> ControlFlow<()> {
        if !self.untold || self.last_told.elapsed() < TELL_INTERVAL {
            return ControlFlow::Continue(());
        }
        self.untold = false;
        self.last_told = Instant::now();
        (self.tell)(&watched_without_asking(self.observation))
    }
}

fn unfinished(observation: &Observation) -> HashSet<String> {
    observation
        .each()
        .filter(|(_, observed)| !observed.status().status.is_final())
        .map(|(id, _)| id.to_string())
        .collect()
}

/// All jobs as they were seen, with the reasons of those that have not started as far as the pods tell them.
fn watched_without_asking(observation: &Observation) -> Vec<WatchedJob> {
    let watched = |(job_id, observed): (&str, Observed<'_>)| {
        let status = observed.status();
        let obstacle = match observed {
            Observed::Pod(pod) if status.status == Status::Pending => Some(diagnosis::of_unstarted_pod(pod, &[])),
            _ => None,
        };
        WatchedJob {
            job_id: job_id.to_string(),
            status,
            obstacle,
        }
    };
    observation.each().map(watched).collect()
}

/// The same, and for some jobs without a pod the events are asked for the reason.
fn watched(observation: &Observation, api: &Api<'_>) -> Vec<WatchedJob> {
    let mut jobs = watched_without_asking(observation);
    let mut asked = 0;
    for watched in &mut jobs {
        if watched.status.status != Status::Pending || asked == REASONS_ASKED {
            continue;
        }
        if let Some(Observed::Job(job)) = observation.of(&watched.job_id) {
            asked += 1;
            let events = api.list_events_if_allowed("Job", &watched.job_id).unwrap_or_default();
            watched.obstacle = Some(diagnosis::of_job_without_pod(job, &events));
        }
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{
        ended, event, gone, impatient, job, list, patient, pod, running, waiting, Answer, Scripted, StreamEnd,
    };
    use super::*;
    use crate::error::ErrorClass;
    use serde_json::json;

    const WATCH: &str = "watch=1";

    /// Watches to the end; each of the news as "id status" pairs.
    fn watch_all(connection: &Connection<'_>, which: &Which) -> Result<Vec<Vec<String>>, Error> {
        let mut news = Vec::new();
        // A watch that misses an end would never return.
        let begin = Instant::now();
        let interrupted = || connection.patience.is_interrupted() || begin.elapsed() > Duration::from_secs(20);
        let connection = &Connection {
            patience: Patience::new(connection.patience.limit(), &interrupted),
            ..*connection
        };
        watch(connection, which, &mut |jobs| {
            news.push(
                jobs.iter()
                    .map(|job| format!("{} {}", job.job_id, job.status.status.name()))
                    .collect(),
            );
            ControlFlow::Continue(())
        })?;
        Ok(news)
    }

    fn jobs(ids: &[&str]) -> Which {
        Which::Jobs(ids.iter().map(|id| (*id).to_string()).collect())
    }

    fn stream(parts: &[String], end: StreamEnd) -> Answer {
        Answer::Stream(parts.to_vec(), end)
    }

    #[test]
    fn what_has_ended_is_told_once_and_not_watched() {
        let cluster = Scripted::new().get("/pods", [list(1, [pod("a", 1, ended(0))])]);
        assert_eq!(watch_all(&patient(&cluster), &jobs(&["a"])).unwrap(), [["a Succeeded"]]);
        assert!(cluster.paths(WATCH).is_empty());
    }

    #[test]
    fn ends_in_the_same_moment_are_told_at_once_and_in_the_order_asked_for() {
        // All in one part, as a busy server sends them.
        let part = ["b", "c", "a"]
            .map(|id| event("MODIFIED", &pod(id, 1, ended(0))))
            .concat();
        let cluster = Scripted::new()
            .get(WATCH, [stream(&[part], StreamEnd::Stays)])
            .get("/pods", [list(1, ["a", "b", "c"].map(|id| pod(id, 1, running())))]);
        let news = watch_all(&patient(&cluster), &jobs(&["c", "a", "b"])).unwrap();
        assert_eq!(
            news,
            [
                ["c Running", "a Running", "b Running"],
                ["c Succeeded", "a Succeeded", "b Succeeded"]
            ]
        );
    }

    #[test]
    fn the_last_end_is_told_however_the_parts_are_cut() {
        let text = event("MODIFIED", &pod("a", 1, waiting())) + &event("MODIFIED", &pod("a", 1, ended(3)));
        let parts: Vec<String> = text
            .as_bytes()
            .chunks(7)
            .map(|part| String::from_utf8(part.to_vec()).unwrap())
            .collect();
        let cluster = Scripted::new()
            .get(WATCH, [stream(&parts, StreamEnd::Stays)])
            .get("/pods", [list(1, [pod("a", 1, running())])]);
        let news = watch_all(&patient(&cluster), &jobs(&["a"])).unwrap();
        assert_eq!(news.last().unwrap(), &["a Failed"]);
        assert_eq!(cluster.paths(WATCH).len(), 1);
    }

    #[test]
    fn a_watch_that_ends_in_whatever_way_begins_anew_where_the_jobs_stand_then() {
        let half = event("MODIFIED", &pod("a", 1, ended(0)))[..50].to_string();
        for first in [
            stream(&[], StreamEnd::Closes),
            stream(&[gone()], StreamEnd::Stays),
            stream(&[half], StreamEnd::Closes),
            stream(&["<html>\n".into()], StreamEnd::Stays),
            stream(&[event("SOMETHING_NEW", &json!({}))], StreamEnd::Stays),
            stream(&[event("DELETED", &pod("a", 1, running()))], StreamEnd::Stays),
            // Nothing is heard for too long: a laptop may have slept.
            stream(&[], StreamEnd::Stays),
            stream(&[], StreamEnd::Breaks(FailureKind::Unreachable)),
            stream(&[], StreamEnd::Breaks(FailureKind::KubectlDied)),
            Answer::Fails(FailureKind::Other),
            Answer::Fails(FailureKind::Server),
            Answer::Fails(FailureKind::TooManyRequests),
        ] {
            let name = format!("{first:?}");
            let cluster = Scripted::new()
                .get(
                    WATCH,
                    [
                        first,
                        stream(&[event("MODIFIED", &pod("a", 1, ended(0)))], StreamEnd::Stays),
                    ],
                )
                .get(
                    "/pods",
                    [list(11, [pod("a", 1, running())]), list(22, [pod("a", 1, running())])],
                );
            let news = watch_all(&patient(&cluster), &jobs(&["a"])).unwrap();
            assert_eq!(news.last().unwrap(), &["a Succeeded"], "{name}");
            let opened = cluster.paths(WATCH);
            assert_eq!(opened.len(), 2, "{name}");
            assert!(opened[0].contains("resourceVersion=11&"), "{name}");
            assert!(opened[1].contains("resourceVersion=22&"), "{name}");
        }
    }

    #[test]
    fn an_end_while_nobody_watched_is_not_missed() {
        let cluster = Scripted::new().get(WATCH, [stream(&[gone()], StreamEnd::Closes)]).get(
            "/pods",
            [list(1, [pod("a", 1, running())]), list(2, [pod("a", 1, ended(0))])],
        );
        let news = watch_all(&patient(&cluster), &jobs(&["a"])).unwrap();
        assert_eq!(news, [["a Running"], ["a Succeeded"]]);
        assert_eq!(cluster.paths(WATCH).len(), 1);
    }

    #[test]
    fn bookmarks_show_that_the_stream_lives_and_are_no_news() {
        let bookmark = event("BOOKMARK", &json!({"metadata": {"resourceVersion": "9"}}));
        let cluster = Scripted::new()
            .get(
                WATCH,
                [stream(
                    &[bookmark.clone(), bookmark, event("MODIFIED", &pod("a", 1, ended(0)))],
                    StreamEnd::Stays,
                )],
            )
            .get("/pods", [list(1, [pod("a", 1, running())])]);
        let news = watch_all(&patient(&cluster), &jobs(&["a"])).unwrap();
        assert_eq!(news, [["a Running"], ["a Succeeded"]]);
    }

    #[test]
    fn while_the_cluster_cannot_be_reached_it_is_asked_again() {
        let cluster = Scripted::new().get(WATCH, [stream(&[], StreamEnd::Closes)]).get(
            "/pods",
            [
                list(1, [pod("a", 1, running())]),
                Answer::Fails(FailureKind::Refused),
                Answer::Fails(FailureKind::Unreachable),
                Answer::Fails(FailureKind::Timeout),
                Answer::Fails(FailureKind::Server),
                list(2, [pod("a", 1, ended(0))]),
            ],
        );
        let news = watch_all(&impatient(&cluster), &jobs(&["a"])).unwrap();
        assert_eq!(news.last().unwrap(), &["a Succeeded"]);
    }

    #[test]
    fn what_does_not_pass_is_an_error() {
        for (kind, class) in [
            (FailureKind::Forbidden, ErrorClass::Forbidden),
            (FailureKind::Unauthorized, ErrorClass::Unauthorized),
        ] {
            let watching = Scripted::new()
                .get(WATCH, [Answer::Fails(kind)])
                .get("/pods", [list(1, [pod("a", 1, running())])]);
            assert_eq!(watch_all(&patient(&watching), &jobs(&["a"])).unwrap_err().class, class);
            let looking = Scripted::new()
                .get(WATCH, [stream(&[], StreamEnd::Closes)])
                .get("/pods", [list(1, [pod("a", 1, running())]), Answer::Fails(kind)]);
            assert_eq!(watch_all(&patient(&looking), &jobs(&["a"])).unwrap_err().class, class);
        }
        let removed = Scripted::new()
            .get(
                WATCH,
                [stream(&[event("DELETED", &pod("a", 1, running()))], StreamEnd::Stays)],
            )
            .get("/pods", [list(1, [pod("a", 1, running())]), list(2, [])])
            .get("/jobs", [list(2, [])]);
        let error = watch_all(&patient(&removed), &jobs(&["a"])).unwrap_err();
        assert_eq!(
            (error.class, error.job_ids),
            (ErrorClass::NotFound, vec!["a".to_string()])
        );
        // The first look is not repeated: the id or the login may be wrong.
        let first = Scripted::new().get("/pods", [Answer::Fails(FailureKind::Refused)]);
        assert_eq!(
            watch_all(&impatient(&first), &jobs(&["a"])).unwrap_err().class,
            ErrorClass::Unavailable
        );
    }

    #[test]
    fn new_jobs_of_a_batch_are_waited_for_too_and_stand_at_the_end() {
        let parts = [
            event("ADDED", &pod("c", 3, waiting())),
            event("MODIFIED", &pod("a", 1, ended(0))),
            event("MODIFIED", &pod("b", 2, ended(0))),
            event("MODIFIED", &pod("c", 3, ended(0))),
        ];
        let cluster = Scripted::new()
            .get(WATCH, [stream(&parts, StreamEnd::Stays)])
            .get("/pods", [list(1, [pod("b", 2, running()), pod("a", 1, running())])])
            .get("/jobs", [list(1, [])]);
        let news = watch_all(&patient(&cluster), &Which::Batch("b".into())).unwrap();
        assert_eq!(news[0], ["a Running", "b Running"]);
        assert_eq!(news.last().unwrap(), &["a Succeeded", "b Succeeded", "c Succeeded"]);
        assert!(cluster.paths(WATCH)[0].contains("batch-id%3Db"));
    }

    #[test]
    fn pods_of_jobs_that_nobody_asked_for_are_passed_over() {
        let parts = [
            event("ADDED", &pod("x", 3, running())),
            event("ADDED", &json!({"metadata": {"name": "no-label"}})),
            event("MODIFIED", &pod("a", 1, ended(0))),
        ];
        let cluster = Scripted::new()
            .get(WATCH, [stream(&parts, StreamEnd::Stays)])
            .get("/pods", [list(1, [pod("a", 1, running())])]);
        let news = watch_all(&patient(&cluster), &jobs(&["a"])).unwrap();
        assert_eq!(news.last().unwrap(), &["a Succeeded"]);
    }

    #[test]
    fn a_job_whose_first_pod_is_replaced_has_not_ended() {
        let mut second = pod("a", 9, running());
        second["metadata"]["name"] = json!("a-p2");
        let mut second_ended = pod("a", 9, ended(0));
        second_ended["metadata"]["name"] = json!("a-p2");
        let cluster = Scripted::new()
            .get(
                WATCH,
                [stream(
                    &[
                        event("ADDED", &second),
                        event("MODIFIED", &pod("a", 1, ended(1))),
                        event("MODIFIED", &second_ended),
                    ],
                    StreamEnd::Stays,
                )],
            )
            .get("/pods", [list(1, [pod("a", 1, running())])]);
        let news = watch_all(&patient(&cluster), &jobs(&["a"])).unwrap();
        assert_eq!(news, [["a Running"], ["a Succeeded"]]);
    }

    #[test]
    fn a_job_without_a_pod_is_pending_and_its_reason_is_asked_for_of_a_few() {
        let ids = ["a", "b", "c", "d", "e"];
        let cluster = Scripted::new()
            .get(
                "/events",
                [list(
                    1,
                    [json!({"reason": "FailedCreate", "type": "Warning", "message": "exceeded quota"})],
                )],
            )
            .get("/pods", [list(1, [])])
            .get("/jobs", [list(1, ids.map(|id| job(id, 1)))]);
        let mut told = Vec::new();
        watch(&patient(&cluster), &jobs(&ids), &mut |jobs| {
            told = jobs.to_vec();
            ControlFlow::Break(())
        })
        .unwrap();
        assert!(told.iter().all(|job| job.status.status == Status::Pending));
        assert_eq!(told.iter().filter(|job| job.obstacle.is_some()).count(), REASONS_ASKED);
        assert!(told[0].obstacle.as_ref().unwrap().details.contains("exceeded quota"));
        assert_eq!(cluster.paths("/events").len(), REASONS_ASKED);
    }

    #[test]
    fn the_end_of_a_job_without_a_pod_is_seen_although_no_pod_shows_it() {
        let mut failed = job("a", 1);
        failed["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        // The stream lives, and there is nothing to see in it.
        let cluster = Scripted::new()
            .get(WATCH, [stream(&[], StreamEnd::Lives)])
            .get("/events", [list(1, [])])
            .get("/pods", [list(1, [])])
            .get("/jobs", [list(1, [job("a", 1)]), list(2, [failed])]);
        let news = watch_all(&patient(&cluster), &jobs(&["a"])).unwrap();
        assert_eq!(news, [["a Pending"], ["a Failed"]]);
    }

    #[test]
    fn a_stream_that_lives_is_not_left_while_there_are_pods() {
        let cluster = Scripted::new()
            .get(WATCH, [stream(&[], StreamEnd::Lives)])
            .get("/pods", [list(1, [pod("a", 1, running())])]);
        let end = Instant::now() + LONGEST_SILENCE * 2;
        let interrupted = || Instant::now() > end;
        let connection = Connection {
            patience: Patience::new(Duration::from_secs(60), &interrupted),
            ..patient(&cluster)
        };
        watch_all(&connection, &jobs(&["a"])).unwrap();
        assert_eq!(cluster.paths(WATCH).len(), 1);
    }

    #[test]
    fn the_user_may_stop_at_any_time() {
        let cluster = Scripted::new()
            .get(WATCH, [stream(&[], StreamEnd::Stays)])
            .get("/pods", [list(1, [pod("a", 1, running())])]);
        let asked = Cell::new(0);
        let interrupted = || {
            asked.set(asked.get() + 1);
            asked.get() > 3
        };
        let connection = Connection {
            patience: Patience::new(Duration::from_secs(60), &interrupted),
            ..patient(&cluster)
        };
        assert_eq!(watch_all(&connection, &jobs(&["a"])).unwrap(), [["a Running"]]);
        assert_eq!(cluster.paths(WATCH).len(), 1);
    }
}
