//! The verdicts of many jobs at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use uuid::Uuid;

use super::observation::{Observation, Observed};
use super::parallel_map::{over, parallel_map_unless_stopped};
use super::{log, stopped, Connection, JobSnapshot};
use crate::domain::job_status::Status;
use crate::domain::verdict::{Finding, LogPatternSettings, LogPatterns, Verdict};
use crate::error::{Error, Warning};
use crate::kubernetes::objects::Pod;
use crate::kubernetes::Api;

/// How many logs are read for one list at most. A list of a week's jobs would else read gigabytes.
const MOST_LOGS: usize = if cfg!(test) { 5 } else { 1000 };

/// How many verdicts are kept: with the longest lines some 20 MB.
const MOST_KEPT: usize = 20_000;

/// The verdicts of some jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// In the order of the jobs; `None` where the program has not ended, or its log is not known.
    pub findings: Vec<Option<Finding>>,
    /// That logs were not read because there were too many.
    pub warning: Option<Warning>,
}

/// What is known of a job before its log is read.
pub(super) struct Asked<'a> {
    pub job_id: &'a str,
    pub status: Status,
    pub pod_uid: Option<Uuid>,
    /// The verdict that needs no log.
    pub verdict: Option<Verdict>,
}

/// The verdicts of jobs that were seen before. Logs are read until `until`: what is missing then is read when the same is
/// asked again.
///
/// Errors: the cluster cannot be asked. A log that cannot be read, and a job that is gone, have no verdict.
pub fn verdicts(connection: &Connection<'_>, jobs: &[&JobSnapshot], until: Instant) -> Result<Verdicts, Error> {
    let asked = jobs.iter().map(|job| Asked {
        job_id: &job.record.job_id,
        status: job.record.status,
        pod_uid: job.pod_uid,
        verdict: job.verdict,
    });
    let wanted = Wanted::new(asked, connection.log_patterns);
    if wanted.logs.is_empty() {
        return Ok(wanted.verdicts);
    }
    let ids: Vec<String> = wanted.logs.iter().map(|(_, id)| (*id).to_string()).collect();
    let api = connection.api()?;
    let (observation, _) = Observation::of_jobs_that_exist(connection, &api, &ids)?;
    wanted.read(connection, &api, Some(until), |id| match observation.of(id) {
        Some(Observed::Pod(pod)) => Some(pod),
        _ => None,
    })
}

/// Verdicts, and the logs that are to be read for more of them.
pub(super) struct Wanted<'a> {
    verdicts: Verdicts,
    /// The jobs' places, and their ids.
    logs: Vec<(usize, &'a str)>,
    /// Those beyond the bound.
    left: Vec<String>,
}

impl<'a> Wanted<'a> {
    /// Takes what needs no log, or is kept.
    pub fn new(jobs: impl Iterator<Item = Asked<'a>>, patterns: &LogPatterns) -> Self {
        let mut wanted = Self {
            verdicts: Verdicts::default(),
            logs: Vec::new(),
            left: Vec::new(),
        };
        let kept = Kept::of(patterns);
        for (place, job) in jobs.enumerate() {
            let kept = job.pod_uid.and_then(|uid| kept.findings.get(&uid)).cloned();
            let without_log = job.verdict.map(|verdict| Finding {
                verdict,
                line: None,
                work_is_missing: false,
            });
            // Of a program that was killed the log tells nothing of that.
            let log_tells = match job.verdict {
                None => job.status == Status::Succeeded,
                verdict => verdict == Some(Verdict::Errors),
            };
            if log_tells && kept.is_none() {
                match wanted.logs.len() < MOST_LOGS {
                    true => wanted.logs.push((place, job.job_id)),
                    false => wanted.left.push(job.job_id.to_string()),
                }
            }
            wanted.verdicts.findings.push(kept.unwrap_or(without_log));
        }
        wanted
    }

    /// Reads the logs, several at once.
    ///
    /// Errors: the user wants to stop. What was read until then is kept.
    pub fn read<'b>(
        mut self,
        connection: &Connection<'_>,
        api: &Api<'_>,
        until: Option<Instant>,
        pod_of: impl Fn(&str) -> Option<&'b Pod>,
    ) -> Result<Verdicts, Error> {
        type Place<'a> = (usize, &'a str, Option<&'a Pod>);
        let pods: Vec<Place<'_>> = self.logs.iter().map(|(place, id)| (*place, *id, pod_of(id))).collect();
        let find = over(
            connection,
            api.namespace(),
            |(_, id, pod): &Place<'_>, connection, api| {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(None);
                }
                let Some(pod) = pod.filter(|pod| pod.has_started()) else {
                    return Ok(Some(None));
                };
                let (finding, is_whole) = log::finding(connection, api, id, pod)?;
                if let (true, Some(uid)) = (is_whole, pod.metadata.uid) {
                    Kept::of(connection.log_patterns).keep(uid, finding.clone());
                }
                Ok::<_, Error>(Some(finding))
            },
        );
        let outcomes = parallel_map_unless_stopped(&pods, &connection.patience, find).map_err(stopped)?;
        let mut late = Vec::new();
        for ((place, id, _), outcome) in pods.into_iter().zip(outcomes) {
            match outcome? {
                Some(Some(finding)) => self.verdicts.findings[place] = Some(finding),
                Some(None) => {}
                None => late.push(id.to_string()),
            }
        }
        late.append(&mut self.left);
        if !late.is_empty() {
            self.verdicts.warning = Some(too_many(late));
        }
        Ok(self.verdicts)
    }
}

fn too_many(job_ids: Vec<String>) -> Warning {
    Warning {
        class: "verdict_missing",
        message: match job_ids.len() {
            1 => "The log of one job was not read, so its verdict is missing: there were too many.".into(),
            count => format!("The logs of {count} jobs were not read, so their verdicts are missing: there were too many."),
        },
        advice: format!(
            "Make the same call again for the next ones, since those that were read are kept, or list fewer jobs. One call reads at most {MOST_LOGS} logs."
        ),
        job_ids,
    }
}

/// The verdicts of logs that were read whole: an ended program's log does not change any more.
struct Kept {
    /// What was looked for in them.
    patterns: LogPatternSettings,
    /// By the uids of their pods.
    findings: BTreeMap<Uuid, Option<Finding>>,
    /// The uids, the oldest first.
    order: VecDeque<Uuid>,
}

impl Kept {
    const fn new() -> Self {
        Self {
            patterns: LogPatternSettings::OF_R,
            findings: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// What is kept for these patterns.
    fn of(patterns: &LogPatterns) -> MutexGuard<'static, Self> {
        static KEPT: Mutex<Kept> = Mutex::new(Kept::new());
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.look_for(patterns);
        kept
    }

    /// Forgets what was found with other patterns.
    fn look_for(&mut self, patterns: &LogPatterns) {
        if self.patterns != *patterns.settings() {
            *self = Self {
                patterns: patterns.settings().clone(),
                ..Self::new()
            };
        }
    }

    fn keep(&mut self, uid: Uuid, finding: Option<Finding>) {
        if self.findings.insert(uid, finding).is_none() {
            self.order.push_back(uid);
        }
        if self.order.len() > MOST_KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.findings.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{ended, job, list as answer, patient, pod, running, Answer, Scripted};
    use super::super::{list, JobList, JobSnapshot, JobStore, ListArguments};
    use super::*;
    use crate::domain::verdict::MESSAGES_OF_R;
    use crate::transport::FailureKind;
    use serde_json::{json, Value};

    const WITH_VERDICT: ListArguments = ListArguments {
        user: None,
        batch_id: None,
        statuses: Vec::new(),
        since: None,
        verdict: true,
    };

    /// The pod of a job, one that no other test has.
    fn known(id: &str, state: Value) -> Value {
        let mut pod = pod(id, 1, state);
        pod["metadata"]["uid"] = json!(Uuid::new_v4().to_string());
        pod
    }

    fn log_of(id: &str, line: &str) -> Answer {
        Answer::Body(format!("abba-log-of {id}\n{line}\n").into_bytes())
    }

    /// The verdicts of a list, by the jobs' ids.
    fn told(list: &JobList) -> Vec<(&str, Option<&str>, Option<&str>)> {
        let findings = &list.verdicts.as_ref().unwrap().findings;
        assert_eq!(findings.len(), list.records.len());
        let mut told: Vec<_> = list
            .records
            .iter()
            .zip(findings)
            .map(|(record, finding)| {
                let finding = finding.as_ref();
                let line = finding.and_then(|finding| finding.line.as_deref());
                (
                    record.job_id.as_str(),
                    finding.map(|finding| finding.verdict.name()),
                    line,
                )
            })
            .collect();
        told.sort_unstable();
        told
    }

    #[test]
    fn each_job_has_the_verdict_of_its_end_and_of_its_log() {
        let ids = ["bad", "clean", "dead", "gone", "lost", "mute", "runs", "warn"];
        let mut oom = known("dead", ended(137));
        oom["status"]["phase"] = json!("Failed");
        let mut mute = known("mute", ended(1));
        mute["status"]["phase"] = json!("Failed");
        let pods = [
            known("bad", ended(0)),
            known("clean", ended(0)),
            oom,
            known("lost", ended(0)),
            mute,
            known("runs", running()),
            known("warn", ended(0)),
        ];
        let cluster = Scripted::new()
            .get("/bad-p/log", [log_of("bad", "Error in f() : boom")])
            .get("/clean-p/log", [log_of("clean", "[1] 1")])
            .get("/lost-p/log", [Answer::Fails(FailureKind::Server)])
            .get("/mute-p/log", [Answer::Fails(FailureKind::Server)])
            .get("/warn-p/log", [log_of("warn", "Warning: careful")])
            .get("/pods", [answer(1, pods)])
            .get("/jobs", [answer(1, ids.map(|id| job(id, 1)))]);
        let expected = [
            ("bad", Some("errors"), Some("Error in f() : boom")),
            ("clean", Some("clean"), None),
            ("dead", Some("killed"), None),
            ("gone", None, None),
            ("lost", None, None),
            ("mute", Some("errors"), None),
            ("runs", None, None),
            ("warn", Some("warnings"), Some("Warning: careful")),
        ];
        let first = list(&patient(&cluster), &WITH_VERDICT).unwrap();
        assert_eq!(told(&first), expected);
        assert_eq!(first.verdicts.as_ref().unwrap().warning, None);
        // Neither the log of a program that runs nor that of one that was killed is read.
        assert!(cluster.paths("/runs-p/log").is_empty() && cluster.paths("/dead-p/log").is_empty());
        // What was read is kept; what could not be read is tried again.
        let before = ["bad", "lost"].map(|id| cluster.paths(&format!("/{id}-p/log")).len());
        assert_eq!(told(&list(&patient(&cluster), &WITH_VERDICT).unwrap()), expected);
        let after = ["bad", "lost"].map(|id| cluster.paths(&format!("/{id}-p/log")).len());
        assert!(after[0] == before[0] && after[1] > before[1], "{before:?} {after:?}");
    }

    #[test]
    fn without_being_asked_no_log_is_read() {
        let cluster = Scripted::new()
            .get("/pods", [answer(1, [known("a", ended(0))])])
            .get("/jobs", [answer(1, [job("a", 1)])]);
        let listed = list(&patient(&cluster), &ListArguments::default()).unwrap();
        assert_eq!((listed.verdicts, cluster.paths("").len()), (None, 2));
    }

    /// A cluster of nine jobs that are Succeeded.
    fn nine() -> Scripted {
        let ids: Vec<String> = (1..10).map(|k| format!("j{k}")).collect();
        Scripted::new()
            .get("/log", [Answer::Body(b"abba-log-of j\nError: x\n".to_vec())])
            .get("/pods", [answer(1, ids.iter().map(|id| known(id, ended(0))))])
            .get("/jobs", [answer(1, ids.iter().zip(1..).map(|(id, k)| job(id, k)))])
    }

    #[test]
    fn of_many_logs_the_newest_are_read_and_the_next_call_reads_the_next() {
        let cluster = nine();
        let ask = || {
            let verdicts = list(&patient(&cluster), &WITH_VERDICT).unwrap().verdicts.unwrap();
            let known: Vec<bool> = verdicts.findings.iter().map(Option::is_some).collect();
            (known, verdicts.warning)
        };
        let (known, warning) = ask();
        assert_eq!(known, [true, true, true, true, true, false, false, false, false]);
        let warning = warning.unwrap();
        assert_eq!(
            (warning.class, warning.job_ids),
            ("verdict_missing", ["j4", "j3", "j2", "j1"].map(String::from).to_vec())
        );
        assert!(warning.message.starts_with("The logs of 4 jobs"), "{}", warning.message);
        let read = cluster.paths("/log").len();
        assert_eq!(ask(), (vec![true; 9], None));
        assert!(cluster.paths("/log").len() > read);
    }

    #[test]
    fn after_its_time_no_log_is_read_and_the_rest_is_named() {
        let cluster = nine();
        let store = JobStore::listed(&patient(&cluster)).unwrap();
        let jobs: Vec<JobSnapshot> = store.jobs().collect();
        let found = verdicts(&patient(&cluster), &jobs.iter().collect::<Vec<_>>(), Instant::now()).unwrap();
        assert_eq!(found.findings, vec![None; 9]);
        assert_eq!(found.warning.unwrap().job_ids.len(), 9);
        assert!(cluster.paths("/log").is_empty());
    }

    #[test]
    fn what_is_kept_is_of_the_same_patterns_and_bounded() {
        let mut kept = Kept::new();
        let uids: Vec<Uuid> = (0..=MOST_KEPT).map(|_| Uuid::new_v4()).collect();
        for uid in &uids {
            kept.keep(*uid, None);
            kept.keep(*uid, None);
        }
        assert_eq!((kept.findings.len(), kept.order.len()), (MOST_KEPT, MOST_KEPT));
        assert!(!kept.findings.contains_key(&uids[0]) && kept.findings.contains_key(&uids[MOST_KEPT]));
        kept.look_for(&MESSAGES_OF_R);
        assert_eq!(kept.findings.len(), MOST_KEPT);
        let others = LogPatternSettings {
            ignore: vec!["x".into()],
            ..LogPatternSettings::OF_R
        };
        kept.look_for(&LogPatterns::new(others).unwrap());
        assert_eq!((kept.findings.len(), kept.order.len()), (0, 0));
    }
}
