//! From the bytes of a container's log to lines of text.
//!
//! Kubernetes rotates a container's log at 10 MiB and its log API gives the newest file only, in silence. So the
//! container first prints a marker line with the job's id; where the log does not begin with it, its head is lost.

/// The part of the container's shell text that prints the marker.
pub const PRINT_MARKER: &str = "printf 'abba-log-of %s\\n' \"$ABBA_JOB_ID\"";

/// The marker line of a job, without its line end.
pub fn marker(job_id: &str) -> String {
    format!("abba-log-of {job_id}")
}

/// One line's text: a `\r` before its end is dropped, bytes that are no UTF-8 become U+FFFD, and so does NUL, which R
/// cannot hold.
pub fn line(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..end]);
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}")
    } else {
        text.into_owned()
    }
}

/// How the words begin that a node puts into a log when it cannot read on. They come in the body of a successful answer,
/// without a time before them and without a line end (kubelet: `GetContainerLogs`, `ReadLogs` in
/// `cri-client/pkg/logs/logs.go`, whose error `WriteError` puts after what was sent).
const WORDS_OF_NODES: [&str; 11] = [
    "unable to retrieve container logs for ",
    "failed to try resolving symlinks in path ",
    "failed to open log file ",
    "failed to stat ",
    "failed to tail ",
    "failed to seek in log file ",
    "failed to seek ",
    "failed to create fsnotify watcher: ",
    "failed to watch directory ",
    "failed to read log file ",
    "rpc error: code = ",
];

/// Whether text begins as words of a node do.
pub fn is_of_node(text: &[u8]) -> bool {
    WORDS_OF_NODES.iter().any(|words| text.starts_with(words.as_bytes()))
}

/// Whether the node says in these words that it has a log no longer.
pub fn says_that_log_is_lost(words: &str) -> bool {
    WORDS_OF_NODES[..2].iter().any(|beginning| words.starts_with(beginning))
}

/// How many lines of a failed program's log go with its explanation, and how many characters of each.
const LAST_LINES: usize = 10;
const LONGEST_LAST_LINE: usize = 500;

/// The last lines of a log, each shortened.
pub fn last_lines(lines: &[String]) -> Vec<String> {
    let shortened = |line: &String| match line.char_indices().nth(LONGEST_LAST_LINE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.clone(),
    };
    lines[lines.len().saturating_sub(LAST_LINES)..]
        .iter()
        .map(shortened)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_kinds() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"a\r", "a"),
            (b"10%\r20%", "10%\r20%"),
            (b"\xe9t\xe9", "\u{FFFD}t\u{FFFD}"),
            (b"a\0b", "a\u{FFFD}b"),
            ("é\u{1b}[31m".as_bytes(), "é\u{1b}[31m"),
        ] {
            assert_eq!(line(bytes), text);
        }
    }
}
