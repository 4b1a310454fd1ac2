//! Reads kubectl's stderr, where each call is one kubectl.
//!
//! With `--raw` kubectl tells a server's error as `Error from server (REASON): MESSAGE`, an unreachable server in a
//! sentence of its own, and exits with 1 for both. The texts are those of kubectl 1.34 as seen, and of its source
//! (`k8s.io/kubectl/pkg/cmd/util/helpers.go`).

use super::{words, FailureKind};

/// Whether a line is for debugging: it begins like `E1124 10:00:00.000000   42 file.go:1]`, maybe indented.
pub fn is_debugging(line: &str) -> bool {
    let mut characters = line.trim_start().chars();
    matches!(characters.next(), Some('E' | 'W' | 'I' | 'F'))
        && characters.by_ref().take(4).filter(char::is_ascii_digit).count() == 4
        && line.contains(']')
}

/// How Go's list of all that ran begins, where kubectl itself breaks down.
const OF_THE_RUNTIME: [&str; 2] = ["runtime stack:", "goroutine "];

/// kubectl's words without its debugging lines.
pub fn without_debugging_lines(stderr: &str) -> String {
    let kept: Vec<&str> = stderr
        .lines()
        .take_while(|line| !OF_THE_RUNTIME.iter().any(|beginning| line.starts_with(beginning)))
        .filter(|line| !is_debugging(line))
        // lines() takes one of them from an end that a terminal or a wrapper has written with several.
        .map(|line| line.trim_end_matches('\r'))
        .collect();
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
    if let Some(kind) = status_without_object(&words).and_then(words::of_strangers_status) {
        return kind;
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
    // Go's words where the system gives kubectl no memory or no thread.
    if words.starts_with("fatal error: ") || words.starts_with("runtime: ") || says("pthread_create failed") {
        return FailureKind::KubectlDied;
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
        // A `tokenFile`.
        || (words.starts_with("error: open ") && (says("no such file") || says("permission denied")))
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

/// The status of an answer without an error object, and of none that kubectl knows a reason for.
fn status_without_object(words: &str) -> Option<u16> {
    let (_, rest) = words.split_once("the server responded with the status code ")?;
    rest.split_once(' ')?.0.parse().ok()
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
            ("error: open /nope/token: no such file or directory\n", FailureKind::ConfigurationBroken),
            ("error: host must be a URL or a host:port pair: \"https://x \"\n", FailureKind::ConfigurationBroken),
            ("Error from server: the server responded with the status code 407 but did not return more information\n", FailureKind::Proxy),
            ("Error from server: the server responded with the status code 413 but did not return more information\n", FailureKind::Invalid),
            ("Error from server: the server responded with the status code 451 but did not return more information\n", FailureKind::Page),
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
            ("fatal error: failed to reserve page summary memory\n\nruntime stack:\nruntime.throw(", FailureKind::KubectlDied),
            ("runtime/cgo: pthread_create failed: Resource temporarily unavailable\nSIGABRT: abort\n", FailureKind::KubectlDied),
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
        let broken = "fatal error: out of memory\n\ngoroutine 0 [idle]:\nruntime.x(0x1)\n";
        assert_eq!(without_debugging_lines(broken), "fatal error: out of memory");
        // Also where somebody has indented them.
        let indented = format!("  {stderr}");
        assert_eq!(without_debugging_lines(&indented), without_debugging_lines(stderr));
        assert_eq!(without_debugging_lines("error: a\r\r\nb"), "error: a\nb");
        // Rather the debugging lines than nothing.
        assert!(!without_debugging_lines("E1124 03:00:00.000000   42 a.go:1] x\n").is_empty());
    }
}
