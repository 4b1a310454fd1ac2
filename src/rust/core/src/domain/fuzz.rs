//! Broken inputs for what the domain reads; see [`crate::fuzz`].

use jiff::Timestamp;
use serde_json::{json, Value};

use super::changed_job;
use super::cluster_check::{dry_run, image, namespace_rules, nodes, rights, versions, Needs};
use super::followed_log::{compare_ends, End, FollowedLog};
use super::job_log::{FirstLine, Markers};
use super::job_status::{self, Status};
use super::job_template::{JobTemplate, Precedence};
use super::mounts::Mounts;
use super::program::{Program, ProgramSource, Runner};
use super::quantity::{parse_quantity, ByteLimit, CpuLimit};
use super::queue::{Place, QueueLook};
use super::submission::SubmitArguments;
use super::verdict::{self, LogPatterns, Verdict};
use super::{container, diagnosis, job_log, job_name, job_record, paths, restarts, session};
use crate::fuzz::{fuzz, token, Rng};
use crate::kubernetes::cluster_objects;
use crate::kubernetes::labels;
use crate::kubernetes::objects::{Event, Job, List, Pod, WatchEvent};
use crate::kubernetes::time;

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// The field of an object, where it can be read; else the default.
fn field<T: serde::de::DeserializeOwned + Default>(object: &mut Value, name: &str) -> T {
    serde_json::from_value(object[name].take()).unwrap_or_default()
}

/// The elements of an array that can be read.
fn elements<T: serde::de::DeserializeOwned>(object: &mut Value, name: &str) -> Vec<T> {
    let items: Vec<Value> = field(object, name);
    items
        .into_iter()
        .filter_map(|item| serde_json::from_value(item).ok())
        .collect()
}

/// Jobs with their pods and events, as a cluster showed them.
fn observed_jobs() -> Vec<String> {
    let metadata = json!({
        "name": "a-3f0e6a53-8a5b-4d7c-9f3e-1c2d3e4f5a6b", "namespace": "n", "uid": "1", "generation": 3, "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"abba/job-id": "a-3f0e6a53-8a5b-4d7c-9f3e-1c2d3e4f5a6b", "abba/batch-id": "b", "abba/user": "mike", "job-name": "a"},
        "annotations": {
            "abba/program-path": "/p/a.R", "abba/program-text": "1", "abba/cancelled-by": "mike", "abba/owner": "mike",
            "abba/arguments": r#"{"given_path":"a.R","expanded_path":"/p/a.R","batch_group_id":"b","cpu_limit":0.5,"memory_limit":"1G","container":"r:1","auto_mount_home":false,"time_limit_seconds":60.0}"#,
        },
    });
    let template = json!({"metadata": {"creationTimestamp": null}, "spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 60,
        "containers": [{"name": "program", "image": "r:1", "resources": {"limits": {"cpu": "500m", "memory": "1G"}}}]}});
    let job = |conditions: Value| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "status": {"conditions": conditions},
            "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": 86400, "suspend": false, "template": template}})
    };
    let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:01:00Z"});
    let container = |name: &str, state: Value| json!({"name": name, "image": "r:1", "imageID": "r@sha256:0", "state": state, "restartCount": 1, "started": true});
    let pod = |phase: &str, reason: &str, conditions: Value, containers: Value, init: Value| {
        json!({"metadata": metadata, "spec": {"nodeName": "node-1", "activeDeadlineSeconds": 60, "containers": template["spec"]["containers"]},
            "status": {"phase": phase, "reason": reason, "message": "m", "startTime": "2026-01-01T00:00:01Z", "conditions": conditions,
                "containerStatuses": containers, "initContainerStatuses": init, "ephemeralContainerStatuses": []}})
    };
    let event = |reason: &str, message: &str| {
        json!({"reason": reason, "message": message, "type": "Warning", "lastTimestamp": "2026-01-01T00:00:03Z", "eventTime": null, "count": 2,
            "involvedObject": {"kind": "Pod", "name": "a"}})
    };
    let end = |code: i32, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason, "message": "no: abba-session 1\nR=R 4\npackages=2\nattached=a 1,b\nend\n", "startedAt": "2026-01-01T00:00:02Z", "finishedAt": "2026-01-01T00:00:59Z"}});
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:02Z"}});
    let waiting = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
    let none = || json!([]);
    let unscheduled = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {gpu: true}. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.";
    [
        json!({"job": job(none()), "pods": [pod("Running", "", json!([condition("Ready", "False", "", ""), condition("ContainersReady", "True", "", "")]), json!([container("program", running.clone())]), none())], "events": [event("Started", "Started container program")]}),
        json!({"job": job(json!([condition("Complete", "True", "", "")])), "pods": [pod("Succeeded", "", none(), json!([container("program", end(0, "Completed")), container("istio-proxy", running.clone())]), none())], "events": []}),
        json!({"job": job(json!([condition("Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")])), "pods": [pod("Failed", "", none(), json!([container("program", end(137, "OOMKilled"))]), none()), pod("Failed", "Evicted", none(), none(), none())], "events": [event("Evicted", "The node was low on resource: memory.")]}),
        json!({"job": job(json!([condition("Suspended", "False", "JobResumed", "Job resumed")])), "pods": [pod("Failed", "DeadlineExceeded", json!([condition("DisruptionTarget", "True", "PreemptionByScheduler", "default-scheduler: preempting")]), json!([container("program", end(143, "Error"))]), none())], "events": [event("Preempted", "Preempted by pod 1 on node node-1")]}),
        json!({"job": job(json!([condition("Suspended", "True", "JobSuspended", "Job suspended")])), "pods": [], "events": [event("FailedCreate", "Error creating: pods \"a\" is forbidden: exceeded quota: q, requested: limits.cpu=1, used: limits.cpu=2, limited: limits.cpu=2")]}),
        json!({"job": {"metadata": {"name": "a", "labels": {"kueue.x-k8s.io/queue-name": "q"}}, "spec": {"suspend": true}}, "pods": [], "events": [],
            "workload": {"status": {"conditions": [condition("QuotaReserved", "False", "Pending", "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 1 more needed"), condition("Evicted", "True", "Preempted", "Preempted to accommodate a workload")]}},
            "waiting": [{"metadata": {"ownerReferences": [{"kind": "Job", "name": "a"}]}, "positionInLocalQueue": 0, "positionInClusterQueue": 3}]}),
        json!({"job": job(none()), "pods": [pod("Pending", "", json!([condition("PodScheduled", "False", "Unschedulable", unscheduled)]), none(), none())], "events": [event("FailedScheduling", unscheduled)]}),
        json!({"job": job(none()), "pods": [pod("Pending", "", none(), json!([container("program", waiting("ImagePullBackOff", "Back-off pulling image \"r:1\""))]), json!([container("wait", waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container")), container("istio-init", end(1, "Error"))]))], "events": [event("Failed", "Failed to pull image \"r:1\": rpc error: code = NotFound desc = failed to pull and unpack image: not found"), event("FailedMount", "MountVolume.SetUp failed for volume \"d\" : mount failed: exit status 32")]}),
        json!({"job": job(none()), "pods": [pod("Unknown", "NodeLost", none(), json!([container("program", end(128, "StartError"))]), json!([container("x", running)]))], "events": [event("NodeNotReady", "Node is not ready")]}),
    ]
    .iter()
    .map(Value::to_string)
    .collect()
}

#[test]
fn whatever_jobs_and_pods_look_like_something_can_be_said_of_them() {
    fuzz(1500, &observed_jobs(), |input, _| {
        let _ = serde_json::from_slice::<List<Pod>>(input);
        let Ok(mut seen) = serde_json::from_slice::<Value>(input) else {
            return;
        };
        if !seen.is_object() {
            return;
        }
        let job: Job = field(&mut seen, "job");
        let pods: Vec<Pod> = elements(&mut seen, "pods");
        let events: Vec<Event> = elements(&mut seen, "events");
        for pod in &pods {
            check_pod(pod, &events);
        }
        let newest = job_status::newest(&pods);
        let starts = restarts::of_pods(&pods).max(restarts::of_job(&job));
        let _ = (restarts::explained(starts), restarts::say_that_it_started(&events));
        let _ = restarts::warnings([("a", starts)]);
        let _ = job_status::is_being_cancelled(&job, newest);
        let _ = image::seen("r:1", &pods);
        let place = Place::of_job("a", &elements(&mut seen, "waiting"));
        let look = QueueLook::Queued {
            workload: field(&mut seen, "workload"),
            place,
        };
        assert!(!diagnosis::of_job_without_pod(&job, &events, &look).lines().is_empty());
        let record = serde_json::to_value(job_record::of(&job, newest)).unwrap();
        let explained =
            serde_json::to_value(job_record::explain(&job, newest, pods.len(), starts, events, &look)).unwrap();
        assert_eq!(record["status"], explained["status"]);
        let statuses: Vec<_> = pods.iter().map(job_status::of_pod).collect();
        let report = job_status::by_status(statuses);
        assert_eq!(report.counts().values().sum::<usize>(), pods.len());
        // A Job that is written back is the one that was read.
        let written = serde_json::to_string(&job).unwrap();
        let again: Job = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), written);
        if let Some(kept) = SubmitArguments::of_job(&job) {
            let again: SubmitArguments = serde_json::from_str(&kept.text_for_job().unwrap()).unwrap();
            assert_eq!(again.text_for_job().unwrap(), kept.text_for_job().unwrap());
            let _ = (kept.values().is_ok(), kept.home_server().is_ok());
            if let Some(again) = kept.with_twice_the_memory() {
                serde_json::to_value(again).unwrap();
            }
        }
    });
}

fn check_pod(pod: &Pod, events: &[Event]) {
    let status = job_status::of_pod(pod).status;
    let code = pod.terminated().map(|terminated| terminated.exit_code);
    // Kubernetes or the program's own end has said so, and nothing else is an end.
    match status {
        Status::Succeeded => assert!(pod.status.phase == "Succeeded" || code == Some(0)),
        Status::Failed => assert!(pod.status.phase == "Failed" || code.is_some()),
        _ => assert!(!matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")),
    }
    let noted = session::of_ended(Some(pod), Runner::R);
    assert!(noted.session.missing.is_none() || noted.packages.is_empty());
    let of_failed = verdict::of_failed(pod);
    assert_eq!(of_failed.is_some(), status == Status::Failed);
    assert!(verdict::of_log(pod, &[], &verdict::MESSAGES_OF_R).is_none_or(|_| status.is_final()));
    assert!(!diagnosis::of_unstarted_pod(pod, events).lines().is_empty());
    assert!(!diagnosis::of_lost_node(pod).lines().is_empty());
    for said in [diagnosis::of_failed(pod), diagnosis::of_kept_pod(pod)]
        .into_iter()
        .flatten()
    {
        assert!(said
            .lines()
            .iter()
            .all(|line| line.starts_with("abba: ") && !line.contains('\n')));
    }
    assert!(job_status::limit_after_end(pod).is_none_or(|limit| limit > 0));
    let _ = (
        diagnosis::ran_out_of_memory(pod),
        job_status::limit_was_over(pod),
        pod.started_at(),
    );
}

#[test]
fn whatever_a_watch_says_is_an_event_or_refused() {
    let pod =
        r#"{"metadata":{"name":"a","resourceVersion":"7","labels":{"abba/job-id":"b"}},"status":{"phase":"Running"}}"#;
    let samples = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
        .map(|kind| format!(r#"{{"type":"{kind}","object":{pod}}}"#));
    fuzz(2000, &samples, |input, _| {
        if let Ok(WatchEvent::<Pod>::Added(changed) | WatchEvent::Modified(changed)) = serde_json::from_slice(input) {
            check_pod(&changed.object, &[]);
        }
    });
}

#[test]
fn whatever_a_clusters_rules_look_like_the_doctor_has_a_finding() {
    let samples = [
        json!({"quotas": [{"metadata": {"name": "q"}, "spec": {"hard": {"limits.cpu": "2", "limits.memory": "4Gi", "count/jobs.batch": "10", "pods": "3"}, "scopes": ["NotTerminating"], "scopeSelector": {"matchExpressions": []}}, "status": {"used": {"limits.cpu": "1500m", "limits.memory": "1e9", "pods": "3"}}}]}),
        json!({"ranges": [{"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "min": {"cpu": "100m"}, "max": {"memory": "512Mi", "cpu": "1"}}, {"type": "Pod", "max": {"ephemeral-storage": "1Gi"}}]}}]}),
        json!({"namespace": {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.34"}}, "status": {"phase": "Active"}}}),
        json!({"nodes": [{"metadata": {"name": "node-1"}, "spec": {"unschedulable": false, "taints": [{"key": "gpu", "effect": "NoSchedule"}]}, "status": {"allocatable": {"cpu": "1930m", "memory": "7096Mi", "pods": "110"}, "conditions": [{"type": "Ready", "status": "True"}]}}]}),
        json!({"policies": [{"metadata": {"name": "p"}, "spec": {"podSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, "policyTypes": ["Egress"], "egress": [{}]}}]}),
        json!({"review": {"status": {"resourceRules": [{"verbs": ["*"], "apiGroups": ["batch"], "resources": ["jobs"], "resourceNames": []}, {"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]}}}),
        json!({"kubectl": "v1.34.4", "server": "v1.33+eks-1", "username": "system:serviceaccount:n:default"}),
    ]
    .map(|sample| sample.to_string());
    let job: Job = serde_json::from_value(json!({"spec": {"template": {"spec": {"containers": [{"name": "program",
        "resources": {"limits": {"cpu": "500m", "memory": "1G"}}}]}}}}))
    .unwrap();
    fuzz(1500, &samples, |input, _| {
        let Ok(mut seen) = serde_json::from_slice::<Value>(input) else {
            return;
        };
        if !seen.is_object() {
            return;
        }
        let needs = Needs::of(&json!(job));
        let _ = Needs::of(&seen).words();
        // What the cluster says of a trial may be anything, too.
        let words = seen["server"].to_string();
        let trials = dry_run::DryRuns {
            job: dry_run::DryRun::Accepted {
                warnings: vec![words.clone()],
                changes: changed_job::changes(&json!(job), &seen),
            },
            pod: dry_run::DryRun::Refused { words },
        };
        let _ = trials.finding(namespace_rules::POD_SECURITY_WORDS);
        let evidence = namespace_rules::Evidence {
            trials: &trials,
            refused_pods: &[],
        };
        let _ = needs.words();
        let quotas: Vec<cluster_objects::ResourceQuota> = elements(&mut seen, "quotas");
        let ranges: Vec<cluster_objects::LimitRange> = elements(&mut seen, "ranges");
        let policies: Vec<cluster_objects::NetworkPolicy> = elements(&mut seen, "policies");
        let namespace: cluster_objects::Namespace = field(&mut seen, "namespace");
        let nodes: Vec<cluster_objects::Node> = elements(&mut seen, "nodes");
        let subject = rights::Subject::of_username(seen["username"].as_str().unwrap_or_default());
        for finding in [
            namespace_rules::quota(Ok(&quotas), &needs, evidence),
            namespace_rules::limit_range(Ok(&ranges), &needs, evidence),
            namespace_rules::pod_security(
                Ok(&namespace),
                &job,
                &namespace_rules::Storage::of(&json!(job), false),
                evidence,
            ),
            namespace_rules::network(Ok(&policies), &[("a".to_string(), "b".to_string())].into()),
            nodes::enough(&nodes, &needs),
            versions::compare(
                seen["kubectl"].as_str().unwrap_or_default(),
                seen["server"].as_str().unwrap_or_default(),
            ),
        ] {
            serde_json::to_value(finding.outcome).unwrap();
        }
        let _ = rights::role_name("n", &[], &subject);
        let _ = rights::role_yaml("r", "n", &[], &subject);
        let _ = serde_json::from_value::<cluster_objects::SelfSubjectRulesReview>(seen["review"].take());
    });
}

/// A log as a node has it: the instant and the text of each line, none of which ends with a `\r`.
fn log_of_a_node(input: &[u8], rng: &mut Rng) -> Vec<(Timestamp, Vec<u8>)> {
    let mut now: i64 = 1_767_225_600_000_000_000;
    let lines = input.split(|byte| *byte == b'\n').take(60);
    lines
        .map(|line| {
            now += [0, 1, 1_000, 400_000_000, 1_000_000_000, 5_000_000_000][rng.usize(..6)];
            if rng.u8(..200) == 0 {
                // The node's clock is set back.
                now -= rng.i64(1..4_000_000_000);
            }
            (Timestamp::from_nanosecond(i128::from(now)).unwrap(), line.to_vec())
        })
        .collect()
}

/// A line with its time before it, in the node's time zone.
fn stamped(time: Timestamp, line: &[u8], hours: i8) -> Vec<u8> {
    let zone = jiff::tz::Offset::constant(hours);
    let time = zone.to_datetime(time);
    let sign = if hours < 0 { '-' } else { '+' };
    let stamp = match hours {
        0 => format!("{time}Z "),
        _ => format!("{time}{sign}{:02}:00 ", hours.abs()),
    };
    [stamp.as_bytes(), line].concat()
}

fn begins_with_time(line: &[u8]) -> bool {
    line.split(|byte| *byte == b' ').next().and_then(time::parse).is_some()
}

const LOG: &[&str] = &[
    "abba-log-of j-1\n[1] 4\nWarning message:\nThis is a test warning \nLa-di-da\n",
    "abba-log-of j-1\nx\nx\nx\nx\n\n\n\nabba-log-of j-1\n2026-01-01T00:00:01Z x\n",
    "\u{e9}t\u{e9}\r\n10%\r20%\r30%\n\u{1b}[31mred\u{1b}[0m\n日本\n  Error in f() : boom\nExecution halted\n",
    "abba-log-of j-1\nfailed to watch directory \"/var/log/pods\": no space left on device\nrpc error: code = Unavailable\n",
    "abba: begin of the log of j-1\nx\n\nyabba: end of the log of j-1\nz\n",
];

#[test]
fn a_log_that_breaks_anywhere_and_is_opened_again_loses_nothing_and_repeats_nothing() {
    fuzz(1500, LOG, |input, rng| {
        let lines = log_of_a_node(input, rng);
        let hours = [0, 0, 2, -5][rng.usize(..4)];
        let has_times = rng.u8(..4) > 0;
        let is_unclear = |line: &[u8]| begins_with_time(line) || job_log::is_of_node(line);
        if !has_times && lines.iter().take(1).any(|(_, line)| is_unclear(line)) {
            // Without the marker before it, nothing says whose time or words these are.
            return;
        }
        let mut log = FollowedLog::new("j-1");
        let mut taken = Vec::new();
        let breaks = rng.usize(..5);
        let mut seen = 0;
        for attempt in 0..=breaks {
            log.reopened();
            let since = log.since().map(|since| time::parse(since).unwrap());
            let is_hidden = |(time, _): &(Timestamp, Vec<u8>)| since.is_some_and(|since| *time < since);
            if lines.iter().skip(seen).any(is_hidden) {
                // The clock was set back in the midst of a break: no node shows such a line again.
                return;
            }
            let shown: Vec<Vec<u8>> = lines
                .iter()
                .filter(|(time, _)| since.is_none_or(|since| *time >= since))
                .map(|(time, line)| {
                    if has_times {
                        stamped(*time, line, hours)
                    } else {
                        line.clone()
                    }
                })
                .collect();
            // The last attempt comes to the end; the others break anywhere, also in the middle of a line.
            let stream = shown
                .iter()
                .flat_map(|line| [line.as_slice(), b"\n"])
                .collect::<Vec<_>>()
                .concat();
            let end = if attempt == breaks {
                stream.len()
            } else {
                rng.usize(..=stream.len())
            };
            let mut whole = stream[..end].split(|byte| *byte == b'\n').collect::<Vec<_>>();
            let rest = whole.pop().unwrap_or_default();
            let _ = (log.words_in(rest), log.may_be_line(rest));
            for line in &whole {
                let text = log.take(line);
                taken.extend(log.owed.take().into_iter().chain(text));
            }
            seen = seen.max(lines.len() - shown.len() + whole.len());
        }
        let markers = Markers::of("j-1");
        let is_head = |line: &[u8]| markers.first_line(line) != FirstLine::OfProgram;
        let has_head = lines.first().is_some_and(|(_, line)| is_head(line));
        let printed: Vec<&[u8]> = lines[usize::from(has_head)..]
            .iter()
            .map(|(_, line)| line.as_slice())
            .collect();
        let expected = markers.lines_of_program(&printed);
        assert_eq!(taken, expected);
        assert!(log.begins(&expected));
        assert_eq!(log.lines, expected.len());
        assert_eq!(log.node_words, None);
    });
}

#[test]
fn the_words_of_a_node_are_never_a_line_of_the_program() {
    const WORDS: &str = "failed to watch directory \"/var/log/pods/n_a\": no space left on device";
    fuzz(1500, LOG, |input, rng| {
        let lines = log_of_a_node(input, rng);
        let mut log = FollowedLog::new("j-1");
        let mut taken = Vec::new();
        for (time, line) in &lines {
            let text = log.take(&stamped(*time, line, 0));
            taken.extend(log.owed.take().into_iter().chain(text));
            if rng.u8(..4) == 0 {
                taken.extend(log.take(WORDS.as_bytes()));
            }
        }
        assert!(log.words_in(WORDS.as_bytes()).is_some());
        let own = |lines: &[String]| lines.iter().filter(|line| *line == WORDS).count();
        let printed: Vec<String> = lines.iter().map(|(_, line)| job_log::line(line)).collect();
        assert_eq!(own(&taken), own(&printed));
        assert!(taken
            .iter()
            .all(|line| !line.contains(['\0', '\n']) && !line.ends_with('\r')));
    });
}

#[test]
fn any_bytes_are_taken_as_a_log() {
    let stamped = "2026-01-01T00:00:00.5Z abba-log-of j-1\n2026-06-01T14:00:05.123456789+02:00 a\n2026-06-01T14:00:05+02:00\nfailed to stat x";
    fuzz(2000, &[stamped, LOG[0]], |input, rng| {
        let mut log = FollowedLog::new("j-1");
        let mut last = Vec::new();
        for line in input.split(|byte| *byte == b'\n') {
            if rng.u8(..8) == 0 {
                log.reopened();
                let _ = log.since();
            }
            if let Some(text) = log.take(line) {
                assert!(!text.contains('\0') && !text.ends_with('\r'));
                assert_eq!(job_log::line(text.as_bytes()), text);
            }
            assert_eq!(compare_ends(line, line), End::Same);
            let _ = compare_ends(&last, line);
            last = line.to_vec();
        }
        let _ = (log.words_in(&last), log.take_unfinished(&last));
    });
}

#[test]
fn the_verdict_of_a_log_is_the_worst_of_its_parts() {
    fuzz(500, LOG, |input, rng| {
        let text = text(&input[..input.len().min(4096)]);
        let lines: Vec<&str> = text.lines().collect();
        let (head, tail) = lines.split_at(rng.usize(..=lines.len()));
        let of = |lines: &[&str]| verdict::of_lines(lines, &verdict::MESSAGES_OF_R);
        let whole = of(&lines);
        assert_eq!(whole.verdict, of(head).verdict.max(of(tail).verdict));
        assert_eq!(whole.line.is_none(), whole.verdict == Verdict::Clean);
    });
}

#[test]
fn any_patterns_of_a_user_are_searched_for_or_refused() {
    let samples = [
        json!({"errors": ["^ERROR", "(?i)fatal"], "warnings": ["WARN(ING)?:"], "ignore": ["package .* was built under"], "messages_of_r": true}),
        json!({"errors": ["x{10,20}", "[^a]|\\d+$"], "warnings": [], "ignore": [], "messages_of_r": false}),
    ]
    .map(|sample| sample.to_string());
    let log: Vec<&str> = LOG.iter().flat_map(|log| log.lines()).collect();
    fuzz(300, &samples, |input, _| {
        let Ok(settings) = serde_json::from_slice(input) else {
            return;
        };
        if let Ok(patterns) = LogPatterns::new(settings) {
            let found = verdict::of_lines(&log, &patterns);
            assert_eq!(found.line.is_none(), found.verdict == Verdict::Clean);
        }
    });
}

#[test]
fn a_program_of_any_bytes_is_carried_as_it_is_or_refused() {
    let samples = [
        "/p/a.R\n# caf\u{e9}\nprint(1)\n",
        "/a b/\u{65e5}.r\n\u{feff}x <- 1\r\n",
        "C:\\u\\..a.R\n1",
        "/p/a.Rmd\n---\ntitle: x\n---\n",
    ];
    let mounts = Mounts::from_value(
        &json!({"volumes": [{"name": "d", "nfs": {}}], "volumeMounts": [{"name": "d", "mountPath": "/d"}]}),
    )
    .unwrap();
    fuzz(1500, &samples, |input, _| {
        let (path, bytes) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
        let path = text(path);
        let program = Program {
            given_path: path.clone(),
            absolute_path: paths::normalise(&path).unwrap_or_else(|| format!("/{}", paths::file_name(&path))),
            bytes: Some(bytes.to_vec()),
        };
        let (_, _) = (program.submission("j", "b"), program.folder());
        let is_refused = program.check(mounts.access(&program.absolute_path)).is_err();
        let unmarked = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if !is_refused && program.runner() != Runner::R {
            assert!(mounts.cover(&program.absolute_path));
            return;
        }
        assert!(is_refused || !unmarked.iter().all(u8::is_ascii_whitespace));
        let Ok(program) = program.without_byte_order_mark(&mounts) else {
            return;
        };
        assert_eq!(program.bytes.as_deref(), Some(unmarked));
        match program.delivery(&mounts, 0) {
            Ok(ProgramSource::Text(carried)) => assert_eq!(carried.as_bytes(), unmarked),
            Ok(ProgramSource::Base64(carried)) => {
                use base64::prelude::{Engine, BASE64_STANDARD};
                assert_eq!(BASE64_STANDARD.decode(carried).unwrap(), unmarked);
            }
            Ok(ProgramSource::InPlace) => assert!(program.absolute_path.starts_with("/d/")),
            Err(_) => assert!(unmarked.len() > 100 * 1024),
        }
        // Whatever a file is called, the ids of its jobs are legal.
        let uuid = uuid::Uuid::nil();
        let name = program.file_name();
        job_name::check_job_id(&job_name::job_id(name, uuid)).unwrap();
        labels::check_label_value("batch_group_id", &job_name::batch_id(name, uuid)).unwrap();
        let label = labels::sanitise(&path, labels::MAXIMUM_LENGTH);
        assert!(label.is_empty() || labels::is_label_value(&label));
        let _ = super::program::survives_r_launcher(&path);
    });
}

#[test]
fn paths_are_normal_once_they_were_made_so() {
    fuzz(
        5000,
        &[
            "/a//b/./c/",
            "/a/../b",
            "C:\\Users\\a.R",
            "\\\\server\\share\\a.R",
            "~/a.R",
            "/日本/a\n.R",
        ],
        |input, _| {
            let path = text(input);
            let (folder, name) = paths::split(&path);
            assert!(path.ends_with(name) && (folder == "/" || path.starts_with(folder)));
            if let Some(normal) = paths::normalise(&path) {
                assert_eq!(paths::normalise(&normal).as_deref(), Some(normal.as_str()));
                assert!(paths::is_in(&normal, &normal) && paths::is_in(&normal, "/"));
                assert!(paths::is_in(&normal, paths::split(&normal).0));
            }
        },
    );
}

#[test]
fn quantities_and_limits_are_numbers_or_refused() {
    let samples = [
        "0.5",
        "500m",
        "512M",
        "1.5Gi",
        "128e6",
        "1E3",
        "-1",
        "+.5",
        "0.1",
        "536870912",
        "12.Ki",
        "0e999",
        "1e-9",
    ];
    fuzz(5000, &samples, |input, rng| {
        let text = text(input);
        if let Some(amount) = parse_quantity(&text) {
            assert!(!amount.is_nan());
        }
        if let Ok(limit) = CpuLimit::parse(&text) {
            assert!(limit.cores() > 0.0 && limit.whole_cores() >= 1 && limit.quantity() == text);
        }
        if let Ok(limit) = ByteLimit::of_memory(&text) {
            assert!(limit.bytes().is_finite() && limit.quantity() == text);
            let kept = SubmitArguments {
                memory_limit: text.clone(),
                ..SubmitArguments::default()
            };
            // Twice is twice, and a quantity again.
            let twice = kept.with_twice_the_memory().unwrap().arguments["memory_limit"].clone();
            let twice = parse_quantity(twice.as_str().unwrap()).unwrap();
            assert!((twice / limit.bytes() - 2.0).abs() < 1e-9, "{text}");
        }
        let number = f64::from_bits(rng.u64(..));
        for cores in [number, text.parse().unwrap_or(number), f64::from(rng.u32(..)) / 1000.0] {
            if let Ok(limit) = CpuLimit::from_number(cores) {
                assert!((limit.cores() - cores).abs() < 1e-6, "{cores}");
                assert_eq!(CpuLimit::parse(limit.quantity()).unwrap(), limit);
            }
        }
    });
}

#[test]
fn times_are_instants_or_none() {
    let samples = [
        "2026-01-01T00:00:00Z",
        "2026-06-01T14:00:05.123456789+02:00",
        "1969-12-31T23:59:59.5Z",
        "9999-12-31T23:59:59.999999999Z",
    ];
    fuzz(5000, &samples, |input, _| {
        if let Some(instant) = time::parse(input) {
            let seconds = time::parse(time::whole_seconds(instant)).unwrap();
            // A stream from there on leaves nothing out, and is not much too long.
            assert!(
                seconds <= instant && instant.duration_since(seconds).as_secs() == 0,
                "{instant}"
            );
        }
        let event = Event {
            last_timestamp: Some(text(input)),
            ..Event::default()
        };
        let _ = event.time();
    });
}

#[test]
fn images_ids_and_labels_are_legal_or_refused() {
    let samples = [
        "r:1",
        "registry.example.com:5000/openval_4.2.1_focal:2023.09.0.02",
        "r@sha256:0123",
        "a-3f0e6a53-8a5b-4d7c-9f3e-1c2d3e4f5a6b",
        "test_program",
    ];
    fuzz(5000, &samples, |input, _| {
        let text = text(input);
        let is_word = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        assert!(container::check_container(&text).is_err() || is_word(&text));
        assert!(job_name::check_job_id(&text).is_err() || labels::is_label_value(&text));
        assert!(job_name::check_namespace(&text).is_err() || labels::is_label_value(&text));
        assert!(labels::check_label_value("x", &text).is_err() || (is_word(&text) && text.is_ascii()));
        let _ = job_name::is_own_batch_id(&text, token(&mut Rng::with_seed(0)));
    });
}

#[test]
fn mounts_are_objects_or_refused() {
    let sample = json!({"volumes": [{"name": "d", "nfs": {"server": "192.0.2.1", "path": "/x"}}, {"name": "e", "emptyDir": {}}],
        "volumeMounts": [{"name": "d", "mountPath": "/d//"}, {"name": "e", "mountPath": "/d/e", "readOnly": true}]});
    fuzz(2000, &[sample.to_string()], |input, _| {
        let Ok(value) = serde_json::from_slice::<Value>(input) else {
            return;
        };
        if let Ok(mounts) = Mounts::from_value(&value) {
            for folder in mounts.storage_folders() {
                assert_eq!(paths::normalise(&folder).as_deref(), Some(folder.as_str()));
            }
            let _ = mounts.cover("/d/e/a.R");
        }
    });
}

#[test]
fn a_template_is_merged_or_refused_and_never_takes_the_program_away() {
    let sample = json!({"metadata": {"labels": {"cost": "a"}, "annotations": {"x": null}}, "spec": {"template": {
        "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {"serviceAccountName": "s", "priorityClassName": "low", "nodeSelector": {"gpu": "yes"}, "imagePullSecrets": [{"name": "r"}],
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
            "containers": [{"name": "program", "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}], "resources": {"limits": {"nvidia.com/gpu": 1}}},
                {"name": "second", "image": "i:1"}]}}}});
    let job = json!({"metadata": {"name": "a-1", "labels": {"abba/job-id": "a-1"}}, "spec": {"backoffLimit": 0, "template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "program", "image": "r:1", "command": ["R"], "env": [{"name": "ABBA_JOB_ID", "value": "a-1"}]}]}}}});
    fuzz(2000, &[sample.to_string()], |input, _| {
        let Ok(template) = JobTemplate::parse(&text(input)) else {
            return;
        };
        let _ = template.with_mounts(&Mounts::default());
        let merged = template.merged_into(job.clone(), Precedence::default());
        let program = &merged["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(program["command"], json!(["R"]));
        assert_eq!(program["image"], json!("r:1"));
        assert_eq!(merged["metadata"]["name"], json!("a-1"));
        assert_eq!(merged["spec"]["backoffLimit"], json!(0));
        assert_eq!(merged["spec"]["template"]["spec"]["restartPolicy"], json!("Never"));
    });
}
