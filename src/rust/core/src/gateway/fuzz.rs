//! Broken requests, and broken files of the administrator; see [`crate::fuzz`].

use std::time::Duration;

use serde_json::{json, Value};

use super::api_keys::{self, ApiKeys};
use super::arguments::{Argument, Arguments};
use super::caller::{identify, Credentials};
use super::calls::CALLS;
use super::fake_cluster::{decision, server};
use super::policy::tests::settings;
use super::policy::{IdentityMode, Settings};
use super::submission::{PROGRAM, SETTINGS};
use super::{description, permitted_mounts, Policy, Request};
use crate::domain::mounts::Mounts;
use crate::domain::paths;
use crate::domain::verdict::MESSAGES_OF_R;
use crate::fuzz::fuzz;
use crate::operations::Connection;
use crate::transport::Patience;

const QUERIES: &[&str] = &[
    "?file_path=%2Fa%20b%2Bc.R&cpu_limit=0.5&x=",
    "job_id=a-3f0e6a53-8a5b-4d7c-9f3e-1c2d3e4f5a6b,b&status=Pending,Running",
    "id=x&page=0.7&wait=0&state=0",
    "mounts={\"volumes\":[]}&vanilla=TRUE&time_limit_seconds=60&arguments=[\"a\"]&environment={\"A\":\"b\"}&memory_limit=1G",
];

#[test]
fn any_query_and_body_are_arguments_or_refused() {
    let bodies = [
        r#"{"file_path": "/a.R", "program_text": "1\n", "cpu_limit": 0.5, "memory_limit": 536870912, "arguments": ["a"], "environment": {"A": "b"}, "vanilla": true}"#,
        r#"{"programs": [{"file_path": "/a.R"}], "batch_group_id": "b", "mounts": {"volumes": [], "volumeMounts": []}}"#,
        r#"{"job_id": ["a", "b"], "status": "Failed", "wait": 0, "x": null}"#,
    ];
    let samples: Vec<&str> = QUERIES.iter().chain(&bodies).copied().collect();
    let known: Vec<&Argument> = PROGRAM
        .iter()
        .chain(SETTINGS)
        .chain(CALLS.iter().flat_map(|call| call.arguments()))
        .collect();
    fuzz(2000, &samples, |input, rng| {
        let arguments = match rng.bool() {
            true => Arguments::read(&String::from_utf8_lossy(input), b""),
            false => Arguments::read(QUERIES[rng.usize(..QUERIES.len())], input),
        };
        let Ok(mut arguments) = arguments else { return };
        let _ = arguments.clone().check(known.iter().copied());
        let _ = arguments.clone().jobs_or_batch();
        let _ = (arguments.clone().statuses(), arguments.clone().array("programs"));
        for argument in &known {
            let _ = (
                arguments.clone().number(argument.name),
                arguments.clone().texts(argument.name),
            );
            // What was read has its kind.
            if let Ok(Some(value)) = arguments.value(argument) {
                assert!(!value.is_null());
            }
            assert!(!arguments.has(argument.name));
        }
    });
}

#[test]
fn whatever_a_caller_asks_is_answered_as_the_description_says() {
    let job = "a-3f0e6a53-8a5b-4d7c-9f3e-1c2d3e4f5a6b";
    let program = json!({"file_path": "/a.R", "program_text": "1 + 1\n", "batch_group_id": "b", "job_id": job});
    let mut samples = vec![
        json!({"method": "POST", "call": "submit-job", "body": program, "key": "k"}),
        json!({"method": "POST", "call": "submit-job", "body": {"file_path": "/studies/a.R", "cpu_limit": "500m", "memory_limit": "512M", "time_limit_seconds": 60,
            "mounts": {"volumes": [{"name": "d", "nfs": {"server": "192.0.2.1", "path": "/studies"}}], "volumeMounts": [{"name": "d", "mountPath": "/studies"}]},
            "arguments": ["a"], "environment": {"A": "b"}, "vanilla": true, "r_command": "/opt/R/4.2.1/bin/R", "container": "registry.example.com/r:4.2"}}),
        json!({"method": "POST", "call": "submit-batch", "body": {"programs": [program, {"file_path": "/b.R", "program_base64": "MSsx"}], "user_tag": "t"}, "key": "k"}),
        json!({"method": "GET", "call": "job-log", "query": format!("job_id={job}&page=0.0")}),
        json!({"method": "GET", "call": "batch-log", "query": "batch_id=b"}),
        json!({"method": "POST", "call": "job-status", "body": {"job_id": [job]}}),
        json!({"method": "GET", "call": "watch-jobs", "query": format!("job_id={job}&wait=0&state=x")}),
    ];
    samples.extend(CALLS.iter().map(
        |call| json!({"method": call.methods[0], "call": call.name, "query": format!("job_id={job}"), "user": "sys"}),
    ));
    samples.extend(
        CALLS
            .iter()
            .map(|call| json!({"method": call.methods[0], "call": call.name, "query": "batch_id=b", "user": "daemon"})),
    );
    let samples: Vec<String> = samples.iter().map(Value::to_string).collect();
    fuzz(400, &samples, |input, rng| {
        let Ok(asked) = serde_json::from_slice::<Value>(input) else {
            return;
        };
        let text = |name: &str, usual: &str| asked.get(name).and_then(Value::as_str).unwrap_or(usual).to_string();
        let (method, call, query) = (text("method", "GET"), text("call", ""), text("query", ""));
        let body = asked.get("body").map(Value::to_string).unwrap_or_default();
        let credentials = json!({"user": text("user", "daemon")}).to_string();
        let key = asked.get("key").and_then(Value::as_str);
        let server = server();
        let ask = |request: Request<'_>| {
            server.gateway.answer(request, &|operation| {
                operation(&Connection {
                    transport: &server.cluster,
                    namespace: Some("n"),
                    patience: Patience::new(Duration::from_secs(5), &|| false),
                    log_patterns: &MESSAGES_OF_R,
                })
            })
        };
        let usual = Request {
            method: "POST",
            call: "submit-job",
            body: samples_body(&program),
            credentials: Credentials {
                connect_credentials: Some("{\"user\": \"daemon\"}"),
                ..Default::default()
            },
            when: "2026-01-01T00:00:00Z",
            from: "127.0.0.1",
            ..Default::default()
        };
        if rng.bool() {
            assert_eq!(ask(usual).status, 200);
            server.cluster.ends(job, "x\ny\n");
        }
        let answer = ask(Request {
            method: &method,
            call: &call,
            query: &query,
            body: body.as_bytes(),
            credentials: Credentials {
                connect_credentials: Some(&credentials),
                ..Default::default()
            },
            idempotency_key: key,
            ..usual
        });
        let said: Value = serde_json::from_str(&answer.body).unwrap();
        let wrong = description::misfits(&call, &method, answer.status, &said);
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_ne!(answer.status, 500, "{said}");
        assert!(decision(&answer).is_object() && !answer.decision.contains('\n'));
        // Nothing that a caller sends makes the server ask beyond its own namespace.
        let calls = server.cluster.calls.lock().unwrap();
        assert!(
            calls
                .iter()
                .all(|call| call.contains("/namespaces/n/") || call.contains("/version")),
            "{calls:?}"
        );
    });
}

/// The body, for as long as the tests run.
fn samples_body(program: &Value) -> &'static [u8] {
    use std::sync::OnceLock;
    static BODY: OnceLock<Vec<u8>> = OnceLock::new();
    BODY.get_or_init(|| program.to_string().into_bytes())
}

#[test]
fn a_file_of_keys_is_read_or_refused_and_a_key_of_it_alone_opens() {
    let (alice, bob) = (api_keys::create("alice").unwrap(), api_keys::create("bob").unwrap());
    let file = format!("# keys\n\n{}\n{}\r\n", alice.line, bob.line);
    fuzz(1000, &[file.as_str(), &alice.line], |input, _| {
        let text = String::from_utf8_lossy(input);
        match ApiKeys::parse(&text) {
            // A line is named by its number alone.
            Err(error) => assert!(error.message.len() < 100, "{}", error.message),
            Ok(keys) => {
                assert!(keys.user_of(&alice.key).is_none_or(|user| text.contains(user)));
                assert_eq!(keys.user_of(&text), None);
            }
        }
    });
}

#[test]
fn nobody_is_known_by_broken_headers() {
    let policy = |identity| Policy::new(Settings { identity, ..settings() }).unwrap();
    let policies = [IdentityMode::Keys, IdentityMode::Connect, IdentityMode::Nobody].map(policy);
    let alice = api_keys::create("alice").unwrap();
    let keys = ApiKeys::parse(&alice.line).unwrap();
    let samples = [
        format!(
            "Key {}\n{{\"user\": \"mike\"}}\nlocalhost:8000\nhttp://localhost:8000",
            alice.key
        ),
        "key x\n{\"user\": \"\"}\n[::1]:80\nnull".into(),
        "Basic eDp5\n[]\n127.0.0.1\nhttp://evil.example".into(),
    ];
    fuzz(2000, &samples, |input, _| {
        let text = String::from_utf8_lossy(input);
        let mut lines = text.split('\n');
        let credentials = Credentials {
            authorization: lines.next(),
            connect_credentials: lines.next(),
            host: lines.next(),
            origin: lines.next(),
            fetch_site: lines.next(),
            peer: lines.next().unwrap_or("127.0.0.1"),
            is_forwarded: false,
        };
        for policy in &policies {
            let Ok(caller) = identify(credentials, policy, &keys, "own") else {
                continue;
            };
            match policy.identity {
                IdentityMode::Keys => assert!(caller.name == "alice" && text.contains(&alice.key)),
                IdentityMode::Connect => assert!(!caller.name.is_empty()),
                IdentityMode::Nobody => assert_eq!(caller.name, "own"),
            }
        }
    });
}

#[test]
fn whatever_mounts_a_caller_asks_for_only_permitted_folders_are_mounted() {
    let policy = Policy::new(settings()).unwrap();
    let sample = json!({"volumes": [{"name": "d", "nfs": {"server": "192.0.2.1", "path": "/studies/a", "readOnly": true}}],
        "volumeMounts": [{"name": "d", "mountPath": "/d//x", "subPath": "y/z", "readOnly": true}]});
    let other = json!({"volumes": [{"name": "d", "hostPath": {"path": "/"}}], "volumeMounts": [{"name": "d", "mountPath": "/", "subPath": "../..", "subPathExpr": "$(X)"}]});
    fuzz(2000, &[sample.to_string(), other.to_string()], |input, _| {
        let Ok(Ok(asked)) = serde_json::from_slice(input).map(|value: Value| Mounts::from_value(&value)) else {
            return;
        };
        let Ok(mounts) = permitted_mounts::check(&asked, &policy.permitted_mounts) else {
            return;
        };
        for volume in &mounts.volumes {
            let kinds: Vec<&str> = volume
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .filter(|key| *key != "name")
                .collect();
            assert_eq!(kinds, ["nfs"]);
            let path = volume["nfs"]["path"].as_str().unwrap();
            assert!(
                paths::normalise(path).is_some_and(|path| paths::is_in(&path, "/studies")),
                "{volume}"
            );
            assert_eq!(volume["nfs"]["server"], "192.0.2.1");
        }
        for mount in &mounts.volume_mounts {
            let sub_path = mount["subPath"].as_str().unwrap_or_default();
            assert!(
                !sub_path.split('/').any(|part| part == "..") && mount.get("subPathExpr").is_none(),
                "{mount}"
            );
        }
    });
}
