//! Following jobs until they have ended, with one watch stream for any number of them.

mod pending_reasons;
mod stream;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use self::pending_reasons::{reasons_of_waiting, Looks, ReasonsOfJobs};
pub use self::pending_reasons::{LONGEST_LOOK_INTERVAL, REASONS_ASKED};
use self::stream::{unfinished, Outcome};
use super::observation::{not_found, Observation, Observed};
use super::release::{ReleaseNews, Releaser};
use super::{reconnect, Connection, JobSelector};
use crate::domain::diagnosis::{self, Diagnosis};
use crate::domain::job_status::{JobStatus, Status};
use crate::domain::order::{self, Seen};
use crate::error::{Error, ErrorClass};
use crate::kubernetes::{Api, LabelSelector};
use crate::transport::leave_signals_to_main_thread;

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

/// All jobs that are watched, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedJobs {
    /// The jobs as they were seen last.
    pub jobs: Vec<WatchedJob>,
    /// Whether the watch is over: none of them is Pending or Running, or will ever be.
    pub ended: bool,
}

/// Follows jobs until none is Pending or Running, or `tell` breaks off. `tell` gets all jobs, in order, at the beginning
/// and after each change.
///
/// Jobs of them that wait for others of their batch are started in their turn, whether those are watched or not.
///
/// A stream that the server closes or that breaks is taken up again where the jobs stand then, so that no end is missed;
/// while the cluster cannot be reached it is tried again for ever: `connection.patience` is the limit of a single call,
/// its interrupt ends the whole.
///
/// Errors: a job or the batch does not exist; the cluster refuses. Jobs that are removed before they ended are an error
/// once all others have ended.
pub fn watch(
    connection: &Connection<'_>,
    which: &JobSelector,
    tell: &mut dyn FnMut(WatchedJobs) -> ControlFlow<()>,
) -> Result<(), Error> {
    let (api, observation) = connection.observe(which)?;
    let releaser = Releaser::new(connection, api.namespace());
    let wake = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut releasing = Releasing::new(scope, &releaser, &wake);
        watch_from(connection, which, (&api, observation), &mut releasing, tell)
    })
}

fn watch_from<'scope>(
    connection: &Connection<'_>,
    which: &JobSelector,
    (api, mut observation): (&Api<'_>, Observation),
    releasing: &mut Releasing<'scope, '_>,
    tell: &mut dyn FnMut(WatchedJobs) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut reasons = ReasonsOfJobs::new();
    let mut looks = Looks::new();
    let mut backoff = reconnect::backoff();
    let mut refusals = 0;
    let mut has_streamed = false;
    loop {
        let news = news(&observation, which, &reasons);
        let removed = observation.removed();
        let ended = news.ended;
        let none_is_open = news.jobs.iter().all(|job| job.status.status.is_final());
        if tell(news).is_break() || ended {
            return Ok(());
        }
        if none_is_open {
            let mut error = not_found(&removed, api.namespace());
            error.consequence = Some(match removed.len() {
                1 => "It was removed while it was watched, before its end was seen.".into(),
                _ => "They were removed while they were watched, before their ends were seen.".into(),
            });
            return Err(error);
        }
        let begin = Instant::now();
        releasing.see(&observation);
        let look_at = (looks.next(), releasing.wake);
        match stream::follow(connection, which, api, &mut observation, &reasons, look_at, tell) {
            Outcome::Ended => return Ok(()),
            Outcome::LookAtWaiting => {
                looks.taken();
                has_streamed = true;
                // A failure may heal; the stream, which is opened next, will show whether it does.
                if let Ok(true) = observation.look_at_jobs_without_pod(connection, api) {
                    reasons = reasons_of_waiting(&observation, api);
                    continue;
                }
            }
            Outcome::LookAgain => {
                has_streamed = true;
                refusals = 0;
            }
            Outcome::Refused(error) => {
                refusals += 1;
                // A login that is wanted is asked for once: each attempt starts its helper anew.
                let is_final = !has_streamed || refusals == reconnect::ATTEMPTS_AT_REFUSAL;
                if is_final || error.class == ErrorClass::LoginWanted {
                    return Err(error);
                }
            }
        }
        // Whatever ends a stream at once again and again must not make a storm of requests.
        if begin.elapsed() > reconnect::LONGEST_PAUSE {
            backoff.reset();
        }
        if !unfinished(&observation).is_empty() && !backoff.sleep(&connection.patience) {
            return Ok(());
        }
        match reconnect::look_patiently(connection, || Observation::again(connection, api, which, &observation))? {
            Some(seen) => observation = seen,
            None => return Ok(()),
        }
    }
}

/// All jobs as they were seen, with the reasons of those that have not started.
fn news(observation: &Observation, which: &JobSelector, reasons: &ReasonsOfJobs) -> WatchedJobs {
    let mut waiting = 0;
    let watched = |(job_id, observed): (&str, Observed<'_>)| {
        let status = observed.status();
        let reasons = reasons.get(job_id);
        let obstacle = match observed {
            _ if status.status != Status::Pending => None,
            Observed::Pod(pod) => Some(diagnosis::of_unstarted_pod(
                pod,
                reasons.map_or(&[], |reasons| &reasons.events),
            )),
            Observed::Job(job) if order::waits(job) => {
                let why =
                    order::Order::of_job(job).map(|order| order::waiting(&order, |id| seen(observation, which, id)));
                waiting += 1;
                // Of a large plan nobody reads what each of its programs waits for.
                why.filter(|why| why.is_stuck || waiting <= REASONS_ASKED)
            }
            Observed::Job(job) => {
                reasons.map(|reasons| diagnosis::of_job_without_pod(job, &reasons.events, &reasons.queue))
            }
        };
        WatchedJob {
            job_id: job_id.to_string(),
            status,
            obstacle,
        }
    };
    let jobs: Vec<WatchedJob> = observation.each().map(watched).collect();
    WatchedJobs {
        ended: jobs.iter().all(|job| job.status.status.is_final()) && observation.removed().is_empty(),
        jobs,
    }
}

/// Where a job stands that another one waits for. That it is missing can be seen where its batch is watched.
fn seen(observation: &Observation, which: &JobSelector, job_id: &str) -> Seen {
    match (observation.of(job_id), which) {
        (Some(observed), _) => Seen::Is(observed.status().status),
        (None, JobSelector::Batch(_)) => Seen::Missing,
        (None, JobSelector::Jobs(_)) => Seen::NotKnown,
    }
}

/// What starts those of the watched jobs that wait for others, in a thread of its own.
struct Releasing<'scope, 'env> {
    scope: &'scope thread::Scope<'scope, 'env>,
    releaser: &'scope Releaser<'env>,
    /// Set where the stream of pods does not show that a job has ended.
    wake: &'scope AtomicBool,
    is_begun: bool,
}

impl<'scope, 'env> Releasing<'scope, 'env> {
    fn new(
        scope: &'scope thread::Scope<'scope, 'env>,
        releaser: &'scope Releaser<'env>,
        wake: &'scope AtomicBool,
    ) -> Self {
        Self {
            scope,
            releaser,
            wake,
            is_begun: false,
        }
    }

    /// Begins, where one of the jobs waits for others.
    fn see(&mut self, observation: &Observation) {
        let batch_ids = observation.waiting_batches();
        if self.is_begun || batch_ids.is_empty() {
            return;
        }
        self.is_begun = true;
        let (releaser, wake) = (self.releaser, self.wake);
        self.scope.spawn(move || {
            leave_signals_to_main_thread();
            let batch_ids: Vec<&str> = batch_ids.iter().map(String::as_str).collect();
            let mut heard = |news| match news {
                // Who may only look leaves it to others.
                ReleaseNews::Trouble(error) if error.class == ErrorClass::Forbidden => ControlFlow::Break(()),
                ReleaseNews::NotStarted { .. } | ReleaseNews::EndedWithoutPod => {
                    wake.store(true, Ordering::Relaxed);
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Continue(()),
            };
            releaser.run(&LabelSelector::Batches(&batch_ids), &|| false, &mut heard);
        });
    }
}

impl Drop for Releasing<'_, '_> {
    fn drop(&mut self) {
        self.releaser.stop();
    }
}

/// Why the jobs that have not started have not, with what the events of some of them say.
///
/// Errors: a job does not exist; the cluster cannot be asked.
pub fn obstacles(connection: &Connection<'_>, which: &JobSelector) -> Result<HashMap<String, Diagnosis>, Error> {
    let (api, observation) = connection.observe(which)?;
    let reasons = reasons_of_waiting(&observation, &api);
    let jobs = news(&observation, which, &reasons).jobs;
    Ok(jobs
        .into_iter()
        .filter_map(|job| Some((job.job_id, job.obstacle?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::observation::UNTOUCHED;
    use super::super::scripted::{
        ended, event, gone, impatient, job, list, patient, pod, running, waiting, Answer, Scripted, StreamEnd,
    };
    use super::pending_reasons::REASONS_ASKED;
    use super::stream::LONGEST_SILENCE;
    use super::*;
    use crate::transport::{FailureKind, Patience};
    use serde_json::json;
    use std::cell::Cell;
    use std::time::Duration;

    const WATCH: &str = "watch=1";

    /// Watches to the end; each of the news as "id status" pairs.
    fn watch_all(connection: &Connection<'_>, which: &JobSelector) -> Result<Vec<Vec<String>>, Error> {
        let mut news = Vec::new();
        // A watch that misses an end would never return.
        let begin = Instant::now();
        let interrupted = || connection.patience.is_interrupted() || begin.elapsed() > Duration::from_secs(120);
        let connection = &Connection {
            patience: Patience::new(connection.patience.limit(), &interrupted),
            ..*connection
        };
        watch(connection, which, &mut |told| {
            news.push(
                told.jobs
                    .iter()
                    .map(|job| format!("{} {}", job.job_id, job.status.status.name()))
                    .collect(),
            );
            ControlFlow::Continue(())
        })?;
        Ok(news)
    }

    fn jobs(ids: &[&str]) -> JobSelector {
        JobSelector::Jobs(ids.iter().map(|id| (*id).to_string()).collect())
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
            (FailureKind::LoginPending, ErrorClass::LoginWanted),
        ] {
            let watching = Scripted::new()
                .get(WATCH, [Answer::Fails(kind)])
                .get("/pods", [list(1, [pod("a", 1, running())])]);
            let error = watch_all(&patient(&watching), &jobs(&["a"])).unwrap_err();
            assert_eq!((error.class, error.consequence.as_deref()), (class, Some(UNTOUCHED)));
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
        // Of a cluster's own 404 nobody concludes that; it is another's, and passes.
        for which in [jobs(&["a"]), JobSelector::Batch("b".into())] {
            let passing = Scripted::new()
                .get(WATCH, [stream(&[], StreamEnd::Closes)])
                .get(
                    "/pods",
                    [
                        list(1, [pod("a", 1, running())]),
                        Answer::Fails(FailureKind::NotFound),
                        list(2, [pod("a", 1, ended(0))]),
                    ],
                )
                .get("/jobs", [list(1, [job("a", 1)])]);
            let told = watch_all(&patient(&passing), &which).unwrap();
            assert_eq!(told.last().unwrap(), &["a Succeeded"]);
        }
        // The first look is not repeated: the id or the login may be wrong.
        let first = Scripted::new().get("/pods", [Answer::Fails(FailureKind::Refused)]);
        assert_eq!(
            watch_all(&impatient(&first), &jobs(&["a"])).unwrap_err().class,
            ErrorClass::Unavailable
        );
    }

    #[test]
    fn a_login_that_ends_while_jobs_are_watched_is_asked_for_once() {
        for kind in [
            FailureKind::LoginPending,
            FailureKind::LoginHelperFailed,
            FailureKind::LoginRefused,
        ] {
            let cluster = Scripted::new().get(WATCH, [stream(&[], StreamEnd::Closes)]).get(
                "/pods",
                [
                    list(1, [pod("a", 1, running())]),
                    Answer::Fails(kind),
                    list(2, [pod("a", 1, ended(0))]),
                ],
            );
            let error = watch_all(&patient(&cluster), &jobs(&["a"])).unwrap_err();
            assert_eq!(
                (error.class, error.class.name()),
                (ErrorClass::LoginWanted, "unauthorized")
            );
            assert_eq!(error.consequence.as_deref(), Some(UNTOUCHED));
        }
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
            .get(
                "/pods",
                [
                    list(1, [pod("b", 2, running()), pod("a", 1, running())]),
                    list(2, [pod("c", 3, ended(0)), pod("b", 2, ended(0)), pod("a", 1, ended(0))]),
                ],
            )
            .get("/jobs", [list(1, [])]);
        let news = watch_all(&patient(&cluster), &JobSelector::Batch("b".into())).unwrap();
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
            .get(WATCH, [stream(&[], StreamEnd::Lives)])
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
        watch(&patient(&cluster), &jobs(&ids), &mut |news| {
            told = news.jobs;
            // The first news do not wait for reasons.
            match told.iter().any(|job| job.obstacle.is_some()) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
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
    fn the_end_of_a_job_is_seen_whose_pod_has_lost_its_labels() {
        let of = |status: serde_json::Value| {
            let mut job = job("a", 1);
            job["status"] = status;
            list(1, [job])
        };
        let cluster = Scripted::new()
            .get(WATCH, [stream(&[], StreamEnd::Lives)])
            .get("/events", [list(1, [])])
            .get("/pods", [list(1, [])])
            .get(
                "/jobs",
                [
                    of(json!({"active": 1, "ready": 1})),
                    of(json!({"conditions": [{"type": "Complete", "status": "True"}]})),
                ],
            );
        let news = watch_all(&patient(&cluster), &jobs(&["a"])).unwrap();
        assert_eq!(news, [["a Running"], ["a Succeeded"]]);
    }

    #[test]
    fn a_stream_that_lives_is_not_left_while_there_are_pods() {
        let cluster = Scripted::new()
            .get(WATCH, [stream(&[], StreamEnd::Lives)])
            .get("/pods", [list(1, [pod("a", 1, running())])]);
        let end = Instant::now() + LONGEST_SILENCE * 2;
        // A machine that stands still makes a silence of its own.
        let (last_asked, silences) = (Cell::new(Instant::now()), Cell::new(0));
        let interrupted = || {
            let since = last_asked.replace(Instant::now()).elapsed();
            silences.set(silences.get() + usize::from(since > LONGEST_SILENCE / 2));
            Instant::now() > end
        };
        let connection = Connection {
            patience: Patience::new(Duration::from_secs(60), &interrupted),
            ..patient(&cluster)
        };
        watch_all(&connection, &jobs(&["a"])).unwrap();
        assert!((1..=1 + silences.get()).contains(&cluster.paths(WATCH).len()));
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
