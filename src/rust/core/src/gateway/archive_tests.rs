use std::sync::{Arc, Mutex};

use serde_json::{json, Value};

use super::super::fake_cluster::{server, Server, JOBS, PODS};
use super::*;
use crate::test_folder::Folder;

/// An archive in a folder that goes with the test, and what its index has.
struct Kept {
    folder: Folder,
    rows: Arc<Mutex<Result<Vec<ArchivedJob>, String>>>,
}

impl Kept {
    /// A server with an archive.
    fn server() -> (Server, Self) {
        let kept = Self {
            folder: Folder::new(),
            rows: Arc::new(Mutex::new(Ok(Vec::new()))),
        };
        let server = server();
        let namespace = json!({"metadata": {"name": "n", "uid": "uid-1"}});
        let path = "/api/v1/namespaces/n".to_string();
        server.cluster.objects.lock().unwrap().insert(path, namespace);
        (kept.of(server), kept)
    }

    /// The server with this archive; it knows nothing of the cluster yet.
    fn of(&self, server: Server) -> Server {
        let rows = Arc::clone(&self.rows);
        // As R does it.
        let ask = move |question: Question| {
            let is_meant = |job: &ArchivedJob| {
                let owner_or_user = job.owner.as_ref().unwrap_or(&job.user);
                job.namespace_uid == question.namespace_uid
                    && (question.job_ids.is_empty() || question.job_ids.contains(&job.job_id))
                    && question.batch_id.as_ref().is_none_or(|id| *id == job.batch_id)
                    && (question.owner.is_none() || question.owner == job.owner)
                    && question.owner_or_user.as_ref().is_none_or(|user| user == owner_or_user)
                    && (question.status.is_empty() || question.status.contains(&job.status))
            };
            let mut rows = rows.lock().unwrap().clone()?;
            rows.retain(is_meant);
            rows.truncate(question.most.unwrap_or(usize::MAX));
            Ok(rows)
        };
        let folder = self.folder.to_string_lossy().into_owned();
        Server {
            gateway: super::super::fake_cluster::server()
                .gateway
                .with_archive(Archive::new(folder, Box::new(ask))),
            ..server
        }
    }

    /// Archives jobs that have ended, and lets the cluster forget them.
    fn archive(&self, server: Server, ids: &[&String]) -> Server {
        let ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        let place = operations::place(&server.connection()).unwrap();
        let folder = self.folder.to_string_lossy();
        let outcomes = operations::archive(&server.connection(), &folder, None, &[], &place, &ids).unwrap();
        let new = outcomes.into_iter().map(|outcome| outcome.job.unwrap());
        self.rows.lock().unwrap().as_mut().unwrap().extend(new);
        {
            let mut objects = server.cluster.objects.lock().unwrap();
            for id in &ids {
                objects.remove(&format!("{JOBS}/{id}"));
                objects.remove(&format!("{PODS}/{id}-x"));
            }
        }
        self.of(server)
    }
}

fn fails(server: &Server, id: &str) {
    server.cluster.ends(id, "[1] 1\nError: no\n");
    server.cluster.runs(
        id,
        json!({"terminated": {"exitCode": 1, "startedAt": "2026-01-01T00:00:01Z", "finishedAt": "2026-01-01T00:00:02Z"}}),
    );
}

#[test]
fn a_forgotten_job_is_answered_for_as_while_the_cluster_had_it() {
    let (server, kept) = Kept::server();
    let (first, second) = (server.submit("daemon", "b"), server.submit("daemon", "b"));
    server.cluster.ends(&first, "[1] 2\n");
    fails(&server, &second);
    let server = kept.of(server);
    let targets = [
        format!("job-status?job_id={second},{first}"),
        "batch-status?batch_id=b".into(),
        format!("job-log?job_id={first}"),
        format!("job-log?job_id={second},{first}"),
        "batch-log?batch_id=b".into(),
        format!("job-record?job_id={second}"),
        "batch-arguments?batch_id=b&status=Failed".into(),
        "batch-arguments?batch_id=b".into(),
        format!("watch-jobs?job_id={second},{first}"),
        "watch-jobs?batch_id=b&wait=20".into(),
    ];
    let lists = ["jobs?verdict=true", "jobs?batch_id=b", "jobs?status=Failed&user=daemon"];
    let answers = |server: &Server| targets.each_ref().map(|target| server.get("daemon", target));
    let listed = |server: &Server, sign: Value| {
        lists.map(|target| {
            let (status, mut rows) = server.get("daemon", target);
            for row in rows.as_array_mut().unwrap() {
                let archived = row.as_object_mut().unwrap().remove("archived");
                assert_eq!(archived.unwrap_or_default(), sign, "{target}");
            }
            (status, rows)
        })
    };
    let explain = |server: &Server| server.get("daemon", &format!("explain-job?job_id={second}"));
    let (before, lists_before) = (answers(&server), listed(&server, Value::Null));
    let (_, explained) = explain(&server);
    let server = kept.archive(server, &[&first, &second]);
    assert_eq!(answers(&server), before);
    assert_eq!(listed(&server, true.into()), lists_before);
    let (status, mut archived) = explain(&server);
    assert_eq!(
        (status, archived.as_object_mut().unwrap().remove("archived")),
        (200, Some(true.into()))
    );
    assert_eq!(archived, explained);
    assert!(explained["advice"].is_string(), "{explained}");
    assert_eq!(server.get("daemon", "jobs?archived=false"), (200, json!([])));
}

#[test]
fn an_archived_job_is_for_its_owner_and_operators_alone() {
    let (server, kept) = Kept::server();
    let (theirs, mine) = (server.submit("bin", "shared"), server.submit("daemon", "shared"));
    let only_theirs = server.submit("bin", "theirs");
    for id in [&theirs, &mine, &only_theirs] {
        server.cluster.ends(id, "x\n");
    }
    let server = kept.archive(server, &[&theirs, &mine, &only_theirs]);
    let none = theirs.replace(|c: char| c.is_ascii_digit(), "0");
    for call in ["job-status", "job-log", "explain-job", "watch-jobs"] {
        let of = |id: &str| {
            let (status, body) = server.get("daemon", &format!("{call}?job_id={id}"));
            (status, body.to_string().replace(id, "ID"))
        };
        assert_eq!(of(&theirs), of(&none), "{call}");
        assert_eq!(of(&theirs).0, 404, "{call}");
        assert_eq!(server.get("daemon", &format!("{call}?job_id={mine}")).0, 200, "{call}");
        assert_eq!(server.get("sys", &format!("{call}?job_id={theirs}")).0, 200, "{call}");
        // Also beside one of their own.
        assert_ne!(
            server.get("daemon", &format!("{call}?job_id={mine},{theirs}")).0,
            200,
            "{call}"
        );
    }
    for call in ["batch-status", "batch-log", "watch-jobs"] {
        let of = |user: &str, rest: &str| server.get(user, &format!("{call}?batch_id={rest}"));
        assert_eq!(of("daemon", "theirs").0, 404, "{call}");
        assert_eq!(of("daemon", "theirs&everybody=true").0, 403, "{call}");
        let own = of("daemon", "shared").1.to_string();
        assert!(own.contains(&mine) && !own.contains(&theirs), "{own}");
        assert_eq!(of("sys", "shared").0, 404, "{call}");
        let all = of("sys", "shared&everybody=true").1.to_string();
        assert!(all.contains(&mine) && all.contains(&theirs), "{all}");
    }
    assert_eq!(server.get("daemon", &format!("job-record?job_id={theirs}")).0, 404);
    assert_eq!(server.get("sys", &format!("job-record?job_id={theirs}")).0, 200);
    // Who submits again runs programs in their own name.
    let arguments = |user: &str, batch: &str| server.get(user, &format!("batch-arguments?batch_id={batch}"));
    let own = arguments("daemon", "shared").1.to_string();
    assert!(own.contains(&mine) && !own.contains(&theirs), "{own}");
    assert_eq!(
        [arguments("daemon", "theirs").0, arguments("sys", "theirs").0],
        [404, 404]
    );
    let list = |user: &str, rest: &str| server.get(user, &format!("jobs{rest}")).1.to_string();
    assert!(list("daemon", "").contains(&mine) && !list("daemon", "").contains(&theirs));
    assert_eq!(list("daemon", "?user=bin"), "[]");
    assert!(list("sys", "?user=bin").contains(&only_theirs) && !list("sys", "?user=bin").contains(&mine));
    // The name has another owner now.
    for job in kept.rows.lock().unwrap().as_mut().unwrap() {
        job.uid = Some(4_000_000_000);
    }
    assert_eq!(server.get("daemon", &format!("job-status?job_id={mine}")).0, 404);
    assert_eq!(list("daemon", ""), "[]");
    // What was not submitted by a caller is an operator's.
    for job in kept.rows.lock().unwrap().as_mut().unwrap() {
        (job.owner, job.user) = (None, "daemon".into());
    }
    assert_eq!(server.get("daemon", &format!("job-status?job_id={mine}")).0, 404);
    assert_eq!(server.get("sys", &format!("job-status?job_id={mine}")).0, 200);
}

#[test]
fn the_cluster_is_the_truth_while_it_has_a_job() {
    let (server, kept) = Kept::server();
    let (archived, again) = (server.submit("daemon", "b"), server.submit("daemon", "b"));
    for id in [&archived, &again] {
        server.cluster.ends(id, "x\n");
    }
    let objects = server.cluster.objects.lock().unwrap().clone();
    let server = kept.archive(server, &[&archived, &again]);
    let job = format!("{JOBS}/{again}");
    server
        .cluster
        .objects
        .lock()
        .unwrap()
        .insert(job.clone(), objects[&job].clone());
    server.cluster.start(&again);
    let new = server.submit("daemon", "b");
    let server = kept.of(server);
    let states = json!({
        "Succeeded": [format!("{archived}-x")], "Running": [format!("{again}-x")], "Pending": [new]
    });
    let in_states = |target: &str| {
        let (status, body) = server.get("daemon", target);
        assert_eq!(status, 200, "{target}: {body}");
        let ids = |group: &Value| {
            let jobs = group["Jobs"].as_array().unwrap();
            jobs.iter().map(|job| job["id"].clone()).collect::<Value>()
        };
        let groups = body.as_object().unwrap();
        groups
            .iter()
            .map(|(state, group)| (state.clone(), ids(group)))
            .collect::<Value>()
    };
    assert_eq!(in_states("batch-status?batch_id=b"), states);
    assert_eq!(
        in_states(&format!("job-status?job_id={new},{archived},{again}")),
        states
    );
    let (_, rows) = server.get("daemon", "jobs");
    let told: Vec<(&str, &str)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["job_id"].as_str().unwrap(), row["status"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            (new.as_str(), "Pending"),
            (again.as_str(), "Running"),
            (archived.as_str(), "Succeeded")
        ]
    );
    assert_eq!(
        server
            .get("daemon", "jobs?status=Succeeded")
            .1
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_log_that_the_archive_has_comes_in_pages_too() {
    let (server, kept) = Kept::server();
    let (archived, there) = (server.submit("daemon", "b"), server.submit("daemon", "b"));
    server.cluster.ends(&archived, "1\n2\n3\n");
    server.cluster.ends(&there, "4\n");
    let server = kept.archive(server, &[&archived]);
    let get = |page: &str| {
        server
            .get("daemon", &format!("job-log?job_id={there},{archived}&page={page}"))
            .1
    };
    let logs = |body: Value| -> Vec<Value> { body.as_array().unwrap().iter().map(|log| log["log"].clone()).collect() };
    assert_eq!(logs(get("0.0")), [json!(["4"]), json!(["1", "2", "3"])]);
    assert_eq!(logs(get("1.2")), [json!(["3"])]);
    assert_eq!(logs(get("2.0")), [] as [Value; 0]);
}

#[test]
fn an_archived_job_is_not_run_again_by_its_id() {
    let (server, kept) = Kept::server();
    let mut body = super::super::fake_cluster::program("a.R");
    let id = "a-fbc3131d-a850-4081-8224-c06ef3282001".to_string();
    body["job_id"] = json!(id);
    let submit = |server: &Server, user: &str, body: &Value, key| server.post(user, "submit-job", body, key);
    let without_id = super::super::fake_cluster::program("b.R");
    assert_eq!(submit(&server, "daemon", &body, None).0, 200);
    let (_, of_key) = submit(&server, "daemon", &without_id, Some("key-1"));
    let of_key = of_key["job_id"].as_str().unwrap().to_string();
    for id in [&id, &of_key] {
        server.cluster.ends(id, "x\n");
    }
    let objects = server.cluster.objects.lock().unwrap().clone();
    let server = kept.archive(server, &[&id, &of_key]);
    for user in ["daemon", "bin"] {
        let (status, refusal) = submit(&server, user, &body, None);
        assert_eq!(status, 409, "{refusal}");
        let words = refusal["message"].as_str().unwrap();
        assert!(words.contains(&id) && words.contains("the archive has it"), "{refusal}");
        let batch = json!({"programs": [body, without_id]});
        assert_eq!(server.post(user, "submit-batch", &batch, None).0, 409);
    }
    assert_eq!(submit(&server, "daemon", &without_id, Some("key-1")).0, 409);
    assert_eq!(submit(&server, "daemon", &without_id, Some("key-2")).0, 200);
    let there = |server: &Server| {
        let objects = server.cluster.objects.lock().unwrap();
        objects.contains_key(&format!("{JOBS}/{id}"))
    };
    assert!(!there(&server));
    // While the cluster has it, the same submission is safe.
    let job = format!("{JOBS}/{id}");
    server
        .cluster
        .objects
        .lock()
        .unwrap()
        .insert(job.clone(), objects[&job].clone());
    let server = kept.of(server);
    assert_eq!(submit(&server, "daemon", &body, None).0, 200);
    // An archive that does not answer stops nobody.
    *kept.rows.lock().unwrap() = Err("the disk is gone".into());
    assert_eq!(submit(&server, "daemon", &without_id, Some("key-3")).0, 200);
}

#[test]
fn nothing_of_an_archived_job_can_be_cancelled() {
    let (server, kept) = Kept::server();
    let (mine, theirs) = (server.submit("daemon", "b"), server.submit("bin", "c"));
    for id in [&mine, &theirs] {
        server.cluster.ends(id, "x\n");
    }
    let server = kept.archive(server, &[&mine, &theirs]);
    for body in [json!({"job_id": mine}), json!({"batch_id": "b"})] {
        let (status, refusal) = server.post("daemon", "cancel-job", &body, None);
        assert_eq!(status, 404);
        let words = refusal["message"].as_str().unwrap();
        assert!(words.contains("is archived") && words.contains(&mine), "{refusal}");
    }
    let (_, refusal) = server.post("daemon", "cancel-job", &json!({"job_id": theirs}), None);
    assert!(
        refusal["message"].as_str().unwrap().starts_with("You have no job"),
        "{refusal}"
    );
}

#[test]
fn an_archive_that_cannot_be_read_is_told_and_is_no_outage() {
    let (server, kept) = Kept::server();
    let mine = server.submit("daemon", "b");
    let server = kept.of(server);
    *kept.rows.lock().unwrap() = Err("the disk /secret is gone".into());
    for target in ["jobs", "batch-status?batch_id=b", "job-status?job_id=none-1"] {
        let answer = server.send("daemon", "GET", target, &Value::Null, None);
        assert_eq!(answer.status, 503, "{target}: {}", answer.body);
        assert!(answer.body.contains("cannot read its archive") && !answer.body.contains("secret"));
        assert!(answer.decision.contains("/secret"), "{}", answer.decision);
    }
    assert_eq!(server.get("daemon", &format!("job-status?job_id={mine}")).0, 200);
    assert_eq!(server.get("daemon", "jobs?archived=false").0, 200);
}

#[test]
fn an_answer_to_another_question_is_none() {
    let (server, kept) = Kept::server();
    let (asked, other) = (server.submit("daemon", "b"), server.submit("daemon", "c"));
    for id in [&asked, &other] {
        server.cluster.ends(id, "x\n");
    }
    let server = kept.archive(server, &[&asked, &other]);
    let rows = kept.rows.lock().unwrap().clone().unwrap();
    let of_other: Vec<_> = rows.into_iter().filter(|row| row.job_id == other).collect();
    let archive = Archive::new("/archive".into(), Box::new(move |_| Ok(of_other.clone())));
    let server = Server {
        gateway: super::super::fake_cluster::server().gateway.with_archive(archive),
        ..server
    };
    for target in [format!("job-status?job_id={asked}"), "batch-status?batch_id=b".into()] {
        let (status, refusal) = server.get("daemon", &target);
        assert_eq!(status, 503, "{target}: {refusal}");
    }
    assert_eq!(server.get("daemon", "batch-status?batch_id=c").0, 200);
}

#[test]
fn a_list_that_leaves_archived_jobs_out_says_so() {
    let (server, kept) = Kept::server();
    let ids: Vec<String> = (0..5).map(|_| server.submit("daemon", "b")).collect();
    ids.iter().for_each(|id| server.cluster.ends(id, "x\n"));
    let server = kept.archive(server, &ids.iter().collect::<Vec<_>>());
    let answer = server.send("daemon", "GET", "jobs", &Value::Null, None);
    let (name, warnings) = &answer.headers[0];
    assert!(
        *name == "Abba-Warnings" && warnings.contains("archive_cut"),
        "{warnings}"
    );
}
