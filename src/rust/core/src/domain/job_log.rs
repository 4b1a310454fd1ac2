//! From the bytes of a container's log to lines of text.
//!
//! Kubernetes rotates a container's log at 10 MiB and its log API gives the newest file only, in silence. So the
//! container first prints a marker line with the job's id; where the log does not begin with it, its head is lost.

/// The part of the container's shell text that prints the marker.
pub const PRINT_MARKER: &str = "printf 'abba-log-of %s\\n' \"$ABBA_JOB_ID\"";

/// A log as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLog {
    /// The program's lines, valid UTF-8 without NUL, in the order they were written.
    pub lines: Vec<String>,
    /// Whether the log begins where the program began.
    pub has_head: bool,
}

/// The marker line of a job, without its line end.
pub fn marker(job_id: &str) -> String {
    format!("abba-log-of {job_id}")
}

/// Reads the bytes of a log. Lines end at `\n`, a `\r` before it is dropped, bytes that are no UTF-8 become U+FFFD, and
/// so does NUL, which R cannot hold.
pub fn read(bytes: &[u8], job_id: &str) -> JobLog {
    let marker = marker(job_id);
    let (body, has_head) = match bytes.strip_prefix(marker.as_bytes()) {
        Some([b'\n', rest @ ..]) => (rest, true),
        Some([]) => (&b""[..], true),
        _ => (bytes, false),
    };
    JobLog {
        lines: lines(body),
        has_head,
    }
}

/// Splits text into lines as [`read`] does.
pub fn lines(bytes: &[u8]) -> Vec<String> {
    let Some(body) = bytes.strip_suffix(b"\n").or(Some(bytes)).filter(|_| !bytes.is_empty()) else {
        return Vec::new();
    };
    body.split(|&byte| byte == b'\n').map(line).collect()
}

/// One line's text, as [`read`] has it.
pub fn line(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..end]);
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}")
    } else {
        text.into_owned()
    }
}

/// What the node says instead of a log when it has lost it. It comes as the body of a successful answer
/// (kubelet: `GetContainerLogs`, `ReadLogs`).
pub fn says_that_log_is_lost(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    let lost = [
        "unable to retrieve container logs for ",
        "failed to try resolving symlinks in path ",
    ]
    .iter()
    .any(|beginning| text.starts_with(beginning));
    (lost && !text.contains('\n')).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> JobLog {
        read(text.as_bytes(), "job-1")
    }

    #[test]
    fn the_log_of_the_contract() {
        let log = read_text("abba-log-of job-1\n[1] 4\nWarning message:\nThis is a test warning \nLa-di-da\n");
        assert_eq!(
            log.lines,
            ["[1] 4", "Warning message:", "This is a test warning ", "La-di-da"]
        );
        assert!(log.has_head);
    }

    #[test]
    fn a_missing_head_is_noticed() {
        assert!(!read_text("line 77\nline 78\n").has_head);
        assert!(!read_text("abba-log-of job-10\nx\n").has_head);
        assert!(!read_text("").has_head);
        assert!(read_text("abba-log-of job-1\n").has_head);
        // Only the first line is ours: a program may print the same text.
        assert_eq!(
            read_text("abba-log-of job-1\nabba-log-of job-1\n").lines,
            ["abba-log-of job-1"]
        );
    }

    #[test]
    fn lines_of_all_kinds() {
        let body = |bytes: &[u8]| lines(bytes);
        assert_eq!(body(b""), Vec::<String>::new());
        assert_eq!(body(b"\n"), [""]);
        assert_eq!(body(b"a\n\nb"), ["a", "", "b"]);
        assert_eq!(body(b"a\r\nb\r\n"), ["a", "b"]);
        assert_eq!(body(b"10%\r20%\n"), ["10%\r20%"]);
        assert_eq!(body(b"\xe9t\xe9\n"), ["\u{FFFD}t\u{FFFD}"]);
        assert_eq!(body(b"a\0b\n"), ["a\u{FFFD}b"]);
        assert_eq!(body("é\u{1b}[31m".as_bytes()), ["é\u{1b}[31m"]);
    }

    #[test]
    fn the_nodes_excuse_is_no_log() {
        assert!(says_that_log_is_lost(b"unable to retrieve container logs for containerd://abc").is_some());
        assert!(says_that_log_is_lost(b"unable to retrieve container logs for x\nmore\n").is_none());
        assert!(says_that_log_is_lost(b"[1] 4\n").is_none());
    }
}
