//! From the bytes of a container's log to lines of text.
//!
//! Kubernetes rotates a container's log at 10 MiB and its log API gives the newest file only, in silence. So the
//! container first prints a marker line with the job's id; where the log does not begin with it, its head is lost.
//!
//! What a program prints while the container runtime of its node is away is lost, too, where the program ends before the
//! runtime is back (seen with containerd 1.6): so the container prints another marker last of all. It stands behind what
//! the program has printed, which need not end with a line end: then it is the end of that line.

/// The part of the container's shell text that prints the markers: the first at once, the last however the shell ends.
pub const PRINT_MARKERS: &str = r#"printf 'abba: begin of the log of %s\n' "$ABBA_JOB_ID"
trap 'printf "abba: end of the log of %s\n" "$ABBA_JOB_ID"' EXIT
trap 'exit 143' TERM"#;

/// The lines and ends of lines in a job's log that are not the program's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markers {
    begin: String,
    begin_without_end: String,
    end: String,
}

/// The first line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLine {
    /// The marker of the begin; the log has one of its end, too.
    Begin,
    /// The marker of jobs that a version of abba has made whose logs have none of their end.
    BeginWithoutEnd,
    /// A line of the program: the head is lost.
    OfProgram,
}

impl Markers {
    /// Those of a job.
    pub fn of(job_id: &str) -> Self {
        Self {
            begin: format!("abba: begin of the log of {job_id}"),
            begin_without_end: format!("abba-log-of {job_id}"),
            end: format!("abba: end of the log of {job_id}"),
        }
    }

    /// What a line, without its line end, is as the first of a log.
    pub fn first_line(&self, text: &[u8]) -> FirstLine {
        match text {
            _ if text == self.begin.as_bytes() => FirstLine::Begin,
            _ if text == self.begin_without_end.as_bytes() => FirstLine::BeginWithoutEnd,
            _ => FirstLine::OfProgram,
        }
    }

    /// The marker of the end.
    pub fn end(&self) -> &str {
        &self.end
    }

    /// What a log shows of the lines behind its head: the marker of its end is none where it is the last of all.
    #[cfg(test)]
    pub fn lines_of_program(&self, printed: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        for (at, text) in printed.iter().enumerate() {
            let before = self.before_end(text);
            if before.is_none_or(|text| !text.is_empty()) {
                lines.push(line(before.unwrap_or(text)));
            }
            if before.is_some() && at + 1 < printed.len() {
                lines.push(self.end.clone());
            }
        }
        lines
    }

    /// What stands before the marker of the end, where a line, without its line end, ends with that.
    pub fn before_end<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        text.strip_suffix(self.end.as_bytes())
    }
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

/// Whether a line may stand before the marker of the begin: of the program that loads others, which complains of
/// `LD_PRELOAD` (glibc), or of the shell itself, of which bash complains of a locale that the image does not have.
pub fn is_of_loader(text: &[u8]) -> bool {
    [&b"ERROR: ld.so: "[..], b"/bin/sh: ", b"sh: "]
        .iter()
        .any(|beginning| text.starts_with(beginning))
}

/// What R says of a program that is not text in the encoding of its session.
const NO_TEXT_TO_R: [&str; 2] = ["invalid multibyte character in parser", "EOF whilst reading MBCS char"];

/// What to do about an error of R in the last lines of a failed program, where abba knows more of it than R.
pub fn advice(last_lines: &[String]) -> Option<&'static str> {
    let says = |line: &String| NO_TEXT_TO_R.iter().any(|words| line.contains(words));
    last_lines.iter().any(says).then_some(
        "R in the container reads programs as UTF-8, and this one has another encoding, as Latin-1. Save it as UTF-8, in \
         RStudio by File, \"Save with Encoding...\", and submit it again.",
    )
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
