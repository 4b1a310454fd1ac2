//! Broken inputs for what kubectl says; see [`crate::fuzz`].

use serde_json::{json, Value};

use super::kubectl::current_configuration;
use super::{kubectl_stderr, login, words, FailureKind};
use crate::fuzz::fuzz;

/// Words of kubectl as they were seen.
pub(super) const WORDS: &[&str] = &[
    "Error from server (NotFound): namespaces \"nope\" not found\n",
    "E1124 03:00:00.000000   42 memcache.go:265] \"Unhandled Error\"\nError from server (Forbidden): jobs.batch is forbidden: User \"u\" cannot create\n",
    "The Job \"x\" is invalid: spec.template: Required value\n",
    "error: You must be logged in to the server (Unauthorized)\n",
    "The connection to the server localhost:8080 was refused - did you specify the right host or port?\n",
    "Unable to connect to the server: getting credentials: exec: executable aws not found\n",
    "Unable to connect to the server: getting credentials: exec: \"/usr/bin/x\": executable file not found in $PATH\n",
    "error: fork/exec ./x: no such file or directory\n",
    "Error from server (InternalError): an error on the server (\"<html><head><title>502</title></head></html>\") has prevented it\n",
    "Error from server: admission webhook \"v\" denied the request: label team is missing\n",
    "Unable to connect to the server: proxyconnect tcp: dial tcp: lookup proxy: no such host\n",
    "To sign in, use a web browser to open https://example.com and enter the code ABCD.\nWARNING: wait",
    "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
];

#[test]
fn whatever_kubectl_says_means_something_and_debugging_lines_change_nothing() {
    fuzz(2000, WORDS, |input, _| {
        let stderr = String::from_utf8_lossy(input);
        let said = kubectl_stderr::without_debugging_lines(&stderr);
        assert_eq!(kubectl_stderr::without_debugging_lines(&said), said);
        assert!(!login::of_people(&stderr).lines().any(kubectl_stderr::is_debugging));
        let kind = kubectl_stderr::classify(&stderr);
        if !login::of_people(&stderr).is_empty() {
            let noisy = format!("I0101 00:00:00.000000   42 a.go:1] \"x\"\n{stderr}");
            assert_eq!(kubectl_stderr::classify(&noisy), kind);
        }
        assert!(words::missing_helper(&stderr).is_none_or(|name| stderr.contains(name)));
        let _ = (
            words::of_refusal(&stderr),
            words::of_connection(&stderr),
            words::is_whole_page(input),
        );
        // What may be tried again is never a login: a helper would ask a person each time.
        assert!(!(kind.is_transient() && kind.wants_login()));
        let _ = FailureKind::of_reason(&stderr);
    });
}

#[test]
fn any_configuration_of_kubectl_names_a_namespace() {
    let configuration = json!({
        "current-context": "b",
        "contexts": [{"name": "a", "context": {"namespace": "one"}}, {"name": "b", "context": {"namespace": "two", "cluster": "d"}}],
        "clusters": [{"name": "d", "cluster": {"server": "https://d", "certificate-authority-data": "DATA+OMITTED"}}],
        "users": null,
    });
    fuzz(2000, &[configuration.to_string()], |input, rng| {
        let Ok(configuration) = serde_json::from_slice::<Value>(input) else {
            return;
        };
        let current = current_configuration(&configuration, rng.bool().then(|| "n".to_string()));
        assert!(!current.namespace.is_empty());
        assert!(current.context_exists || current.server.is_none());
    });
}
