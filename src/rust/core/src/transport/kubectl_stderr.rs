//! Reads kubectl's stderr, where each call is one kubectl.
//!
//! With `--raw` kubectl tells a server's error as `Error from server (REASON): MESSAGE`, an unreachable server in a
//! sentence of its own, and exits with 1 for both. The texts are those of kubectl 1.34 as seen, and of its source
//! (`k8s.io/kubectl/pkg/cmd/util/helpers.go`).

use super::{words, FailureKind};

/// Whether a line is for debugging: it begins like `E1124 10:00:00.000000   42 file.go:1]`.
pub fn is_debugging(line: &str) -> bool {
    let mut characters = line.chars();
    matches!(characters.next(), Some('E' | 'W' | 'I' | 'F'))
        && characters.by_ref().take(4).filter(char::is_ascii_digit).count() == 4
        && line.contains(']')
}

/// kubectl's words without its debugging lines.
pub fn without_debugging_lines(stderr: &str) -> String {
    let kept: Vec<&str> = stderr.lines().filter(|line| !is_debugging(line)).collect();
    let kept = kept.join("\n").trim().to_string();
    if kept.is_empty() {
        stderr.trim().to_string()
    } else {
        kept
    }
}

/// What kind of failure kubectl's stderr tells.
pub fn classify(stderr: &str) -> FailureKind {
    let words = without_debugging_lines(stderr);
    let says = |text: &str| words.contains(text);
    let is_servers = says("Error from server") || (says("The ") && says(" is invalid"));
    if is_servers {
        if let Some(kind) = words::of_refusal(&words) {
            return kind;
        }
    }
    if let Some(reason) = server_reason(&words) {
        return FailureKind::of_reason(reason).unwrap_or(FailureKind::Other);
    }
    if says("Error from server:") {
        return FailureKind::Server;
    }
    if words
        .lines()
        .any(|line| line.starts_with("The ") && line.contains(" is invalid"))
    {
        return FailureKind::Invalid;
    }
    // kubectl asks on its standard input for a user name where the configuration has none.
    if words == "error: EOF" {
        return FailureKind::Unauthorized;
    }
    if let Some(kind) = words::of_connection(&words) {
        return kind;
    }
    if says("You must be logged in to the server") || says("the server has asked for the client to provide credentials")
    {
        return FailureKind::Unauthorized;
    }
    if says("The connection to the server localhost:8080 was refused") || says("no configuration has been provided") {
        return FailureKind::NotConfigured;
    }
    if says("error loading config file")
        || says("invalid configuration:")
        || says("current-context must exist")
        || says("Error in configuration")
        || (says("error: context ") && says("does not exist"))
        || (says("error: unable to read") && says("certificate"))
    {
        return FailureKind::ConfigurationBroken;
    }
    if says("was refused - did you specify the right host or port?") || says("connection refused") {
        return FailureKind::Refused;
    }
    if says("Unable to connect to the server")
        || says("error: unable to upgrade connection")
        || says("connection reset by peer")
        || says("broken pipe")
        || says("i/o timeout")
        // How a connection of HTTP/2 breaks in the middle of an answer.
        || says("stream error:")
        || says("http2: ")
        || says("EOF")
    {
        return FailureKind::Unreachable;
    }
    FailureKind::Other
}

/// The REASON of `Error from server (REASON): MESSAGE`.
fn server_reason(words: &str) -> Option<&str> {
    words
        .lines()
        .find_map(|line| line.strip_prefix("Error from server (")?.split_once("):"))
        .map(|(reason, _)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_were_seen() {
        for (stderr, kind) in [
            ("Error from server (NotFound): namespaces \"nope\" not found\n", FailureKind::NotFound),
            ("Error from server (AlreadyExists): jobs.batch \"a\" already exists\n", FailureKind::AlreadyExists),
            ("Error from server (Forbidden): jobs.batch is forbidden: User \"u\" cannot create\n", FailureKind::Forbidden),
            ("Error from server (BadRequest): Job in version \"v1\" cannot be handled\n", FailureKind::Invalid),
            ("The Job \"x\" is invalid: spec.template: Required value\n", FailureKind::Invalid),
            ("error: You must be logged in to the server (Unauthorized)\n", FailureKind::Unauthorized),
            ("The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n", FailureKind::Refused),
            ("The connection to the server localhost:8080 was refused - did you specify the right host or port?\n", FailureKind::NotConfigured),
            ("Error from server: Get \"https://127.0.0.1:10250/containerLogs/x\": dial tcp 127.0.0.1:10250: connect: connection refused\n", FailureKind::Server),
            ("error: error loading config file \"/x\": yaml: line 1\n", FailureKind::ConfigurationBroken),
            ("Unable to connect to the server: net/http: TLS handshake timeout\n", FailureKind::Unreachable),
            ("Unable to connect to the server: getting credentials: exec: executable x not found\n", FailureKind::LoginHelperMissing),
            ("Error from server (TooManyRequests): the server has received too many requests\n", FailureKind::TooManyRequests),
            ("error: http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR, debug=\"\"\n", FailureKind::Unreachable),
            ("error: EOF\n", FailureKind::Unauthorized),
            ("error: unexpected EOF\n", FailureKind::Unreachable),
            ("error: stream error: stream ID 1; INTERNAL_ERROR; received from peer\n", FailureKind::Unreachable),
            ("error: http2: client connection lost\n", FailureKind::Unreachable),
            ("Error from server: admission webhook \"v\" denied the request: label team is missing\n", FailureKind::RuleRefused),
            ("Error from server ([limits] <program> (a): none): admission webhook \"v\" denied the request: x\n", FailureKind::RuleRefused),
            ("Error from server (Forbidden): admission webhook \"v\" denied the request: x\n", FailureKind::RuleRefused),
            ("Error from server (InternalError): Internal error occurred: failed calling webhook \"v\": x509: y\n", FailureKind::RuleNotChecked),
            ("The jobs \"x\" is invalid: : ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no\n", FailureKind::RuleRefused),
            ("Error from server (Forbidden): <!DOCTYPE html><html></html>\n", FailureKind::Stranger),
            ("Error from server (InternalError): an error on the server (\"<html><head><title>502</title></head></html>\") has prevented it\n", FailureKind::Stranger),
            ("Unable to connect to the server: tls: failed to verify certificate: x509: unknown\n", FailureKind::Certificate),
            ("Error from server: Get \"https://node:10250/x\": x509: certificate signed by unknown authority\n", FailureKind::Server),
            ("Segmentation fault\n", FailureKind::Other),
            ("", FailureKind::Other),
        ] {
            assert_eq!(classify(stderr), kind, "{stderr}");
        }
    }

    #[test]
    fn debugging_lines_are_passed_over() {
        let stderr =
            "E1124 03:00:00.000000   42 memcache.go:265] \"Unhandled Error\"\nError from server (Forbidden): no\n";
        assert_eq!(classify(stderr), FailureKind::Forbidden);
        assert_eq!(without_debugging_lines(stderr), "Error from server (Forbidden): no");
        // Rather the debugging lines than nothing.
        assert!(!without_debugging_lines("E1124 03:00:00.000000   42 a.go:1] x\n").is_empty());
    }
}
