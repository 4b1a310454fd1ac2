//! Broken requests, and broken files of the administrator; see [`crate::fuzz`].

use std::time::Duration;

use serde_json::{json, Value};

use super::api_keys::tests::key_of;
use super::api_keys::ApiKeys;
use super::arguments::{Argument, Arguments};
use super::caller::{identify, Stated};
use super::calls::CALLS;
use super::fake_cluster::{body_of, decision, request, request_of, server, SECRET};
use super::headers::Headers;
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
        json!({"method": "POST", "call": "submit-job", "body": {"file_path": "/studies/a.R", "cpu_limit": "500m", "memory_limit": "512M", "disk_limit": "1G", "time_limit_seconds": 60,
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
        let ask = |request: &Request| {
            server.gateway.answer(request, &|operation| {
                operation(&Connection {
                    transport: server.cluster.as_ref(),
                    namespace: Some("n"),
                    patience: Patience::new(Duration::from_secs(5), &|| false),
                    log_patterns: &MESSAGES_OF_R,
                    owner: None,
                })
            })
        };
        if rng.bool() {
            let usual = request_of("daemon", "POST", "submit-job", &program, None);
            assert_eq!(ask(&usual).status, 200);
            server.cluster.ends(job, "x\ny\n");
        }
        let fields = [
            ("plumber-shared-secret", SECRET),
            ("content-type", "application/json"),
            ("rstudio-connect-credentials", credentials.as_str()),
        ];
        let fields: Vec<_> = fields
            .into_iter()
            .chain(key.map(|key| ("idempotency-key", key)))
            .collect();
        let answer = ask(&Request {
            call: call.clone(),
            query,
            ..request(&method, "", &fields, body.as_bytes())
        });
        let said = body_of(&answer);
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

#[test]
fn a_file_of_keys_is_read_or_refused_and_a_key_of_it_alone_opens() {
    let (alice, bob) = (key_of("alice"), key_of("bob"));
    let (line, other) = (alice.kept.line(), bob.kept.line());
    let file = format!("# keys\n\n{line}\n{other}\r\n");
    fuzz(1000, &[file.as_str(), &line], |input, _| {
        let text = String::from_utf8_lossy(input);
        match ApiKeys::parse(&text) {
            // A line is named by its number alone.
            Err(error) => assert!(error.message.len() < 100, "{}", error.message),
            Ok(keys) => {
                assert!(keys.find(&alice.key).is_none_or(|kept| text.contains(&kept.user)));
                assert_eq!(keys.find(&text), None);
            }
        }
    });
}

#[test]
fn nobody_is_known_by_broken_headers() {
    let policy = |identity| {
        Policy::new(Settings {
            identity,
            secret: Some(SECRET.into()),
            proxy_header: (identity == IdentityMode::Proxy).then(|| "X-User".into()),
            ..settings()
        })
        .unwrap()
    };
    let policies = [
        IdentityMode::Keys,
        IdentityMode::Connect,
        IdentityMode::Proxy,
        IdentityMode::Local,
    ]
    .map(policy);
    let alice = key_of("alice");
    let keys = ApiKeys::one(alice.kept.clone());
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
        let names = [
            "Authorization",
            "RStudio-Connect-Credentials",
            "Host",
            "Origin",
            "Sec-Fetch-Site",
            "X-User",
        ];
        let fields = names.into_iter().zip(lines.by_ref());
        let headers = Headers::new(fields.map(|(name, value)| (name.into(), value.into())));
        let peer = lines.next().unwrap_or("127.0.0.1");
        for policy in &policies {
            let Ok(Stated { name: user, .. }) = identify(&headers, peer, policy, &keys) else {
                continue;
            };
            match policy.identity {
                IdentityMode::Keys | IdentityMode::Local => assert!(user == "alice" && text.contains(&alice.key)),
                IdentityMode::Connect | IdentityMode::Proxy => assert!(!user.is_empty()),
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
        let Ok(mounts) = permitted_mounts::check(&asked, &policy.permissions(None).permitted_mounts) else {
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
