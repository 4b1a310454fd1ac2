//! What happened to a job, and what to do.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use super::observation::{not_found, Observation, Observed};
use super::queue::Queues;
use super::{check, log, stopped, Connection, JobSelector};
use crate::domain::job_log;
use crate::domain::job_record::{self, Explanation};
use crate::domain::job_status::{self, Status};
use crate::domain::order::{self, Order, Seen};
use crate::domain::queue::QueueLook;
use crate::domain::restarts::{self, Starts};
use crate::domain::verdict::Verdict;
use crate::error::Error;
use crate::kubernetes::api::Stopped;
use crate::kubernetes::objects::{Event, Job, ObjectMeta, Pod};
use crate::kubernetes::{labels, Api, LabelSelector};
use crate::transport::FailureKind;

/// Explains a job.
///
/// Errors: it does not exist; the cluster cannot be asked. Without the right to read events those are left out; a log that
/// cannot be read has no verdict and no last lines.
pub fn explain(connection: &Connection<'_>, job_id: &str) -> Result<Explanation, Error> {
    let Explained {
        mut explanation,
        api,
        pod,
        ..
    } = without_log(connection, job_id)?;
    let has_failed = explanation.record.status == Status::Failed;
    let is_read = has_failed || explanation.record.status == Status::Succeeded;
    if let Some(pod) = pod.filter(|pod| is_read && pod.has_started()) {
        let log = log::log_of_job(connection, &api, job_id, &Observed::Pod(&pod), None)?.0;
        if has_failed {
            explanation.last_lines = job_log::last_lines(&log.lines);
            if let Some(advice) = job_log::advice(&explanation.last_lines) {
                explanation.advice = Some(advice.into());
            }
        }
        // Of a program that was killed the log tells nothing of that.
        let finding = log.finding.filter(|_| explanation.verdict != Some(Verdict::Killed));
        if let Some(finding) = finding {
            explanation.verdict = Some(finding.verdict);
            explanation.verdict_line = finding.line;
        }
    }
    Ok(explanation)
}

/// A job explained, and what that was made of.
pub(super) struct Explained<'a> {
    /// With the verdict that needs no log.
    pub explanation: Explanation,
    /// The API for what comes next.
    pub api: Api<'a>,
    /// The job.
    pub job: Job,
    /// Its newest pod.
    pub pod: Option<Pod>,
}

/// Explains a job without its log.
///
/// Errors: it does not exist; the cluster cannot be asked.
pub(super) fn without_log<'a>(connection: &Connection<'a>, job_id: &str) -> Result<Explained<'a>, Error> {
    check(&JobSelector::Jobs(vec![job_id.to_string()]))?;
    let api = connection.api()?;
    let ids = [job_id];
    let mut observation = Observation::of_all(connection, &api, &LabelSelector::Jobs(&ids))?;
    let Some((_, pod)) = of_job(&observation, job_id) else {
        return Err(not_found(&ids, api.namespace()));
    };
    let mut events = api.list_events_if_allowed("Job", job_id).map_err(stopped)?;
    if pod.is_none() && events.iter().any(|event| created_pod(event).is_some()) {
        // The pod was made between the two looks, or is gone.
        observation = Observation::of_all(connection, &api, &LabelSelector::Jobs(&ids))?;
    }
    observation.look_again_for_pods(connection, &api, None)?;
    let Some((job, pod)) = of_job(&observation, job_id) else {
        return Err(not_found(&ids, api.namespace()));
    };
    let job = job.as_ref();
    let created: BTreeSet<String> = events.iter().filter_map(created_pod).map(String::from).collect();
    let mut starts = observation.starts(job_id);
    let mut started = BTreeSet::new();
    let newest = pod.map(|pod| pod.metadata.name.as_str());
    for name in created
        .iter()
        .map(String::as_str)
        .chain(newest.filter(|name| !created.contains(*name)))
    {
        // Of those before the newest only where there were some.
        if newest.is_none_or(|newest| newest == name) || starts != Starts::Once || created.len() > 1 {
            let of_pod = api.list_events_if_allowed("Pod", name).map_err(stopped)?;
            if restarts::say_that_it_started(&of_pod) {
                started.insert(name);
            }
            events.extend(of_pod);
        }
    }
    if starts == Starts::PerhapsAgain || pod.is_some_and(Pod::has_started) {
        started.extend(newest);
    }
    // Also where the Job has made a pod anew for another reason, as when somebody has taken the finalizer from the first, by
    // which the Job controller counts its pods, and has deleted it.
    if started.len() > 1 {
        starts = Starts::Again;
    }
    events.sort_by_key(Event::time);
    let known = observation
        .pod_names(job_id)
        .into_iter()
        .chain(created.iter().map(String::as_str));
    let attempts = known.collect::<BTreeSet<&str>>().len();
    let look = match pod {
        Some(_) => QueueLook::NotKnown,
        None => Queues::new(&api).look(job).map_err(stopped)?,
    };
    let mut explanation = job_record::explain(job, pod, attempts, starts, events, &look);
    if observation.jobs_with_pods().next().is_none() {
        let left = "Somebody has deleted the job and left its pod, which Kubernetes removes no more: show this to the cluster's administrator.";
        explanation.advice = Some(match explanation.advice {
            Some(advice) => format!("{advice} {left}"),
            None => left.into(),
        });
    }
    if let (Some(order), None) = (Order::of_job(job).filter(|order| order.waits), pod) {
        explain_waiting(&mut explanation, connection, &api, job, &order)?;
    }
    let (job, pod) = (job.clone(), pod.cloned());
    Ok(Explained {
        explanation,
        api,
        job,
        pod,
    })
}

/// A Job with its newest pod. Of a pod whose Job somebody has deleted alone (`--cascade=orphan`) the Job is what the pod says of
/// it.
fn of_job<'a>(observation: &'a Observation, job_id: &str) -> Option<(Cow<'a, Job>, Option<&'a Pod>)> {
    if let Some((job, pod)) = observation.jobs_with_pods().next() {
        return Some((Cow::Borrowed(job), pod));
    }
    let Some(Observed::Pod(pod)) = observation.of(job_id) else {
        return None;
    };
    let job = Job {
        metadata: ObjectMeta {
            name: job_id.into(),
            uid: None,
            generation: 0,
            deletion_timestamp: None,
            ..pod.metadata.clone()
        },
        ..Default::default()
    };
    Some((Cow::Owned(job), Some(pod)))
}

/// Says what a job waits for, and who starts it then.
fn explain_waiting(
    explanation: &mut Explanation,
    connection: &Connection<'_>,
    api: &Api<'_>,
    job: &Job,
    order: &Order,
) -> Result<(), Error> {
    let ids: Vec<&str> = order.after.keys().map(String::as_str).collect();
    let before = Observation::of_all(connection, api, &LabelSelector::Jobs(&ids))?;
    let belongs = |other: &Job| {
        let of = |job: &Job| {
            let (batch_id, owner) = (
                job.metadata.labels.get(labels::BATCH_ID),
                job.metadata.annotations.get(labels::OWNER),
            );
            (batch_id.cloned(), owner.cloned())
        };
        of(other) == of(job)
    };
    let seen: HashMap<&str, Seen> = before
        .jobs_with_pods()
        .filter(|(job, _)| belongs(job))
        .map(|(job, pod)| (job.metadata.name.as_str(), Seen::Is(job_status::status(job, pod))))
        .collect();
    let diagnosis = order::waiting(order, |id| seen.get(id).copied().unwrap_or(Seen::Missing));
    let whoever = "while somebody waits for its batch in R, or a controller of abba runs";
    let who = match api.get_lease() {
        Ok(Some(lease)) if lease.is_held => format!("A controller of abba is there to start it (on {}).", lease.holder),
        Ok(_) => format!("No controller of abba is there to start it: it starts {whoever}."),
        Err(failure) if failure.kind == FailureKind::Interrupted => return Err(stopped(Stopped)),
        Err(_) => format!("Whether a controller of abba is there cannot be seen: it starts {whoever}."),
    };
    let is_stuck = diagnosis.is_stuck;
    let said = [diagnosis.advice, if is_stuck { String::new() } else { who }];
    explanation.advice = Some(
        said.iter()
            .filter(|text| !text.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
    );
    explanation.record.reason = Some(diagnosis.what);
    explanation.is_stuck = is_stuck;
    Ok(())
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
    use super::super::scripted::{ended, job, list, patient, pod, waiting, Answer, Scripted};
    use super::*;
    use crate::transport::FailureKind;
    use crate::ErrorClass;
    use serde_json::{json, Value};

    fn noted(reason: &str, second: u32) -> Value {
        json!({"reason": reason, "message": "", "type": "Normal",
            "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z")})
    }

    #[test]
    fn events_of_the_job_and_of_its_newest_pod_stand_in_the_order_of_time() {
        let mut second = pod("a", 9, ended(1));
        second["metadata"]["name"] = json!("a-p2");
        let cluster = Scripted::new()
            .get(
                "kind%3DPod%2CinvolvedObject.name%3Da-p2",
                [list(1, [noted("Started", 4), noted("Pulled", 2)])],
            )
            .get(
                "kind%3DJob",
                [list(1, [noted("Completed", 5), noted("SuccessfulCreate", 1)])],
            )
            .get("/pods", [list(1, [pod("a", 1, ended(1)), second])])
            .get("/jobs", [list(1, [job("a", 1)])]);
        let explanation = explain(&patient(&cluster), "a").unwrap();
        let reasons: Vec<&str> = explanation.events.iter().map(|event| event.reason.as_str()).collect();
        assert_eq!(reasons, ["SuccessfulCreate", "Pulled", "Started", "Completed"]);
        assert_eq!(explanation.attempts, 2);
        assert_eq!(explanation.pod_id.as_deref(), Some("a-p2"));
    }

    #[test]
    fn a_pod_made_anew_for_one_that_others_took_from_the_job_is_a_second_start() {
        let created = |pod: &str, second| {
            let mut event = noted("SuccessfulCreate", second);
            event["message"] = json!(format!("Created pod: {pod}"));
            event
        };
        for (of_first, words) in [(vec![noted("Started", 2)], Some("more than once")), (vec![], None)] {
            let cluster = Scripted::new()
                .get("involvedObject.name%3Da-p1", [list(1, of_first)])
                .get("kind%3DPod", [list(1, [noted("Started", 6)])])
                .get("kind%3DJob", [list(1, [created("a-p1", 1), created("a-p", 5)])])
                .get("/pods", [list(1, [pod("a", 5, ended(0))])])
                .get("/jobs", [list(1, [job("a", 1)])]);
            let reason = explain(&patient(&cluster), "a").unwrap().record.reason;
            assert_eq!(
                reason.is_some_and(|reason| reason.contains("more than once")),
                words.is_some()
            );
        }
    }

    #[test]
    fn a_pod_that_was_left_without_its_job_is_explained() {
        let cluster = Scripted::new()
            .get("/events", [list(1, []), list(1, [])])
            .get("/pods", [list(1, [pod("a", 1, ended(3))])])
            .get("/jobs", [list(1, [])]);
        let explanation = explain(&patient(&cluster), "a").unwrap();
        assert_eq!(explanation.pod_id.as_deref(), Some("a-p"));
        assert!(explanation.record.reason.unwrap().contains("exit status 3"));
        assert!(explanation.advice.unwrap().contains("left its pod"));
    }

    #[test]
    fn a_program_that_was_started_again_is_told_as_far_as_the_events_reach() {
        let created = |pod: &str, second| {
            let mut event = noted("SuccessfulCreate", second);
            event["message"] = json!(format!("Created pod: {pod}"));
            event
        };
        let mut resumed = job("a", 1);
        resumed["metadata"]["generation"] = json!(3);
        resumed["status"] = json!({"conditions": [{"type": "Suspended", "status": "False", "reason": "JobResumed"}]});
        for (events_of_first, events_of_job, words) in [
            (
                vec![noted("Started", 2)],
                vec![created("a-p1", 1), created("a-p", 5)],
                "was started more than once.",
            ),
            // It had no node yet.
            (
                vec![],
                vec![created("a-p1", 1), created("a-p", 5)],
                "may have been started more than once:",
            ),
            // They are gone after an hour.
            (vec![], vec![], "may have been started more than once:"),
        ] {
            let cluster = Scripted::new()
                .get("involvedObject.name%3Da-p1", [list(1, events_of_first)])
                .get("kind%3DPod", [list(1, [])])
                .get("kind%3DJob", [list(1, events_of_job)])
                .get("/pods", [list(1, [pod("a", 5, ended(0))])])
                .get("/jobs", [list(1, [resumed.clone()])]);
            let explanation = explain(&patient(&cluster), "a").unwrap();
            let reason = explanation.record.reason.unwrap();
            assert!(reason.contains(words), "{reason}");
            assert_eq!(explanation.attempts, 2);
            assert!(explanation
                .advice
                .unwrap()
                .contains("The log is that of the last start"));
        }
        resumed["metadata"]["generation"] = json!(2);
        let cluster = Scripted::new()
            .get("/events", [list(1, [created("a-p", 5)])])
            .get("/pods", [list(1, [pod("a", 5, ended(0))])])
            .get("/jobs", [list(1, [resumed])]);
        let explanation = explain(&patient(&cluster), "a").unwrap();
        assert_eq!((explanation.record.reason, explanation.attempts), (None, 1));
    }

    #[test]
    fn a_pod_that_is_made_while_the_job_is_explained_speaks_for_it() {
        let mut created = noted("SuccessfulCreate", 1);
        created["message"] = json!("Created pod: a-p");
        let cluster = Scripted::new()
            .get("kind%3DPod", [list(1, [noted("FailedScheduling", 2)])])
            .get("kind%3DJob", [list(1, [created])])
            .get("/pods", [list(1, []), list(1, [pod("a", 1, waiting())])])
            .get("/jobs", [list(1, [job("a", 1)])]);
        let explanation = explain(&patient(&cluster), "a").unwrap();
        assert_eq!(explanation.pod_id.as_deref(), Some("a-p"));
    }

    fn verdict(exit_code: i32, text: &str) -> (Option<Verdict>, Option<String>) {
        let explanation = explained(exit_code, text);
        (explanation.verdict, explanation.verdict_line)
    }

    /// A job whose program has ended with this status and this log.
    fn explained(exit_code: i32, text: &str) -> Explanation {
        let time = |line: &str| format!("2026-01-01T00:00:00Z {line}\n");
        let newest = text.lines().last().unwrap_or_default();
        let cluster = Scripted::new()
            .get("/events", [list(1, [])])
            .get("tailLines=1", [Answer::Body(time(newest).into_bytes())])
            .get(
                "/log?",
                [Answer::Body(text.lines().map(time).collect::<String>().into_bytes())],
            )
            .get("/pods?", [list(1, [pod("a", 1, ended(exit_code))])])
            .get("/jobs", [list(1, [job("a", 1)])]);
        explain(&patient(&cluster), "a").unwrap()
    }

    #[test]
    fn a_program_that_is_no_text_to_r_is_told_with_the_way_out() {
        let advice = |text: &str| explained(1, text).advice.unwrap();
        let of_r = "Error: invalid multibyte character in parser at line 3\nExecution halted";
        assert!(advice(&format!("abba-log-of a\n{of_r}")).contains("Save it as UTF-8"));
        assert!(advice("abba-log-of a\nError: boom\nExecution halted").starts_with("Read its log"));
    }

    #[test]
    fn what_r_printed_stands_beside_the_status() {
        assert_eq!(verdict(0, "abba-log-of a\n[1] 1"), (Some(Verdict::Clean), None));
        let boom = "abba-log-of a\nError in f() : boom\n[1] 1";
        let line = Some("Error in f() : boom".to_string());
        assert_eq!(verdict(0, boom), (Some(Verdict::Errors), line.clone()));
        assert_eq!(verdict(1, boom), (Some(Verdict::Errors), line));
        assert_eq!(verdict(137, boom), (Some(Verdict::Killed), None));
        // A log without its beginning is not known to be clean.
        assert_eq!(verdict(0, "[1] 1"), (None, None));
    }

    #[test]
    fn of_a_program_that_failed_or_was_killed_the_log_ends_the_explanation() {
        let long = format!("abba-log-of a\n{}\n1\n2", "x".repeat(5000));
        for exit_code in [1, 137] {
            let lines = explained(exit_code, &long).last_lines;
            assert_eq!(lines.len(), 3);
            assert!(lines[0].ends_with("...") && lines[0].len() < 600, "{}", lines[0].len());
            assert_eq!(lines[1..], ["1", "2"]);
        }
        let many: String = (1..=30).map(|line| format!("\n{line}")).collect();
        let lines = explained(1, &format!("abba-log-of a{many}")).last_lines;
        assert_eq!((lines.len(), lines[0].as_str()), (10, "21"));
        assert_eq!(explained(0, "abba-log-of a\n1").last_lines, Vec::<String>::new());
    }

    #[test]
    fn without_the_right_to_read_events_the_rest_is_told() {
        let cluster = Scripted::new()
            .get("/events", [Answer::Fails(FailureKind::Forbidden)])
            .get("/pods", [list(1, [pod("a", 1, ended(1))])])
            .get("/jobs", [list(1, [job("a", 1)])]);
        let explanation = explain(&patient(&cluster), "a").unwrap();
        assert!(explanation.events.is_empty());
        assert_eq!(explanation.record.exit_code, Some(1));
    }

    #[test]
    fn an_interrupt_and_a_job_that_is_not_there_are_errors() {
        let cluster = Scripted::new()
            .get("/events", [Answer::Fails(FailureKind::Interrupted)])
            .get("/pods", [list(1, [])])
            .get("/jobs", [list(1, [job("a", 1)])]);
        let error = explain(&patient(&cluster), "a").unwrap_err();
        assert_eq!(error.class, ErrorClass::Interrupted);
        let cluster = Scripted::new().get("/pods", [list(1, [])]).get("/jobs", [list(1, [])]);
        let error = explain(&patient(&cluster), "a").unwrap_err();
        assert_eq!(
            (error.class, error.job_ids),
            (ErrorClass::NotFound, vec!["a".to_string()])
        );
    }

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
