//! The labels and annotations by which abba knows its own Jobs, and the rules for their values.
//!
//! Rules: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>

use crate::error::quote_shortened;
use crate::Error;

/// Standard label that says who made the object; its value is [`MANAGED_BY_ABBA`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on everything that abba makes.
pub const MANAGED_BY_ABBA: &str = "abba";
/// Label with the job's id, on the Job and on its pod. Kubernetes' own `batch.kubernetes.io/job-name` is on the pod
/// only, and only since Kubernetes 1.27; with this one the same selector finds both.
pub const JOB_ID: &str = "abba/job-id";
/// Label with the batch id.
pub const BATCH_ID: &str = "abba/batch-id";
/// Label with the program's file name, made a legal value.
pub const PROGRAM: &str = "abba/program";
/// Label with the submitting user's name, made a legal value.
pub const USER: &str = "abba/user";
/// Label with the user's own tag, made a legal value.
pub const USER_TAG: &str = "abba/user-tag";
/// Kueue's label of a Job with the name of its queue.
///
/// <https://kueue.sigs.k8s.io/docs/tasks/run/jobs/>
pub const QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// Label of a suspended Job that waits for others of its batch; its value is "true".
pub const WAITING: &str = "abba/waiting";
/// Annotation of the Lease with the jobs that servers of the abba API are about to submit: JSON.
pub const BOOKINGS: &str = "abba/bookings";
/// Annotation of a Job with the jobs of its batch that it runs after: a JSON object with their ids, and the names of their
/// programs as values.
pub const AFTER: &str = "abba/after";
/// Annotation of a Job that others of its batch run after: "true".
pub const AWAITED: &str = "abba/awaited";
/// Annotation of a Job that is not to start once any job of its batch has failed: "stop".
pub const ON_FAILURE: &str = "abba/on-failure";
/// Annotation of a Job that was not started because of another: a JSON object that says which, and what happened to it.
pub const NOT_STARTED: &str = "abba/not-started";
/// Annotation of a Job that waits: the queue that it goes to then, the later value of [`QUEUE`].
pub const QUEUE_AFTER_WAIT: &str = "abba/queue";
/// Annotation with the program's path, word for word as it was given.
pub const PROGRAM_PATH: &str = "abba/program-path";
/// Annotation of a Job of a caller of the abba API: the bytes of the program that its pod carries.
pub const PROGRAM_BYTES: &str = "abba/program-bytes";
/// Annotation with the SHA-256 of the program, 64 hexadecimal digits.
pub const PROGRAM_SHA256: &str = "abba/program-sha256";
/// Annotation with the user's tag, word for word.
pub const USER_TAG_VERBATIM: &str = "abba/user-tag";
/// Annotation of a Job with the id of the request to the abba server that made it, as the server's log of decisions has it.
pub const REQUEST_ID: &str = "abba/request-id";
/// Annotation with a fingerprint of the submission: tells our own Job from another of the same name when the answer to a
/// create was lost.
pub const SUBMISSION: &str = "abba/submission";
/// Annotation of a Job or pod that was cancelled: by whom.
pub const CANCELLED: &str = "abba/cancelled-by";
/// Annotation of the Job and the pod of a caller of the abba API: the caller's name, word for word. (The label
/// [`USER`] may be the same for two names.)
pub const OWNER: &str = "abba/owner";
/// Annotation of a Job with the user's arguments as JSON, so that it can be submitted again.
pub const ARGUMENTS: &str = "abba/arguments";
/// Annotation of the pod that carries the program's text.
pub const PROGRAM_TEXT: &str = "abba/program-text";
/// Annotation of the pod that carries the program's bytes as base64.
pub const PROGRAM_BASE64: &str = "abba/program-base64";

/// Whether abba reads this label or annotation back. Program text and what only people read are skipped to save memory.
pub fn is_read_back(name: &str) -> bool {
    name == QUEUE
        || name.starts_with("abba/")
            && ![PROGRAM_TEXT, PROGRAM_BASE64, REQUEST_ID, USER_TAG, USER_TAG_VERBATIM].contains(&name)
}

/// The longest legal label value, in characters.
pub const MAXIMUM_LENGTH: usize = 63;

/// The rule of [`check_label_value`], in words.
pub const RULE: &str =
    "at most 63 characters out of letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit";

/// Checks that `value` is a legal label value.
///
/// `argument` is the name under which the user gave it; the empty string is refused too.
pub fn check_label_value(argument: &str, value: &str) -> Result<(), Error> {
    if is_label_value(value) {
        return Ok(());
    }
    Err(Error::input(format!(
        "`{argument}` must be a legal Kubernetes label value, not {}.",
        quote_shortened(value)
    ))
    .advise(format!("A label value has {RULE}.")))
}

/// Whether `value` is a legal label value and not empty.
pub fn is_label_value(value: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    value.len() <= MAXIMUM_LENGTH
        && edge(value.chars().next())
        && edge(value.chars().last())
        && value.chars().all(is_label_character)
}

/// Checks that `name` may be that of a queue: an object's name, and a label's value.
///
/// Errors: [`crate::ErrorClass::Input`], with the rule.
///
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>
pub fn check_queue_name(argument: &str, name: &str) -> Result<(), Error> {
    let is_part = |part: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(part.chars().next())
            && edge(part.chars().last())
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if name.len() <= MAXIMUM_LENGTH && name.split('.').all(is_part) {
        return Ok(());
    }
    Err(Error::input(format!(
        "`{argument}` must be the name of a queue, not {}.",
        quote_shortened(name)
    ))
    .advise(
        "Such a name has at most 63 characters out of lower-case letters, digits, '-' and '.', and begins and ends with a \
         letter or a digit, as does each part between two '.'.",
    ))
}

fn is_label_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Makes any text a legal label value of at most `length` characters: others become `-`, the edges are trimmed.
/// The result is empty (which is legal too) where nothing is left.
pub fn sanitise(text: &str, length: usize) -> String {
    let replaced: String = text
        .chars()
        .map(|c| if is_label_character(c) { c } else { '-' })
        .collect();
    let not_edge = |c: char| !c.is_ascii_alphanumeric();
    let trimmed = replaced.trim_matches(not_edge);
    let cut: String = trimmed.chars().take(length).collect();
    cut.trim_end_matches(not_edge).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_legal_value() {
        for (text, value) in [
            ("test_program", "test_program"),
            ("a b.R", "a-b.R"),
            ("--x--", "x"),
            ("émile", "mile"),
            ("日本語", ""),
            ("$(touch x)", "touch-x"),
        ] {
            assert_eq!(sanitise(text, MAXIMUM_LENGTH), value);
        }
        let long = sanitise(&"a.".repeat(100), 10);
        assert_eq!(long, "a.a.a.a.a");
    }

    #[test]
    fn rule_is_the_servers() {
        for good in ["a", "A-b_c.9", &"x".repeat(63)] {
            assert!(is_label_value(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "é", &"x".repeat(64), "a\n"] {
            assert!(!is_label_value(bad), "{bad}");
        }
    }

    #[test]
    fn a_queue_has_an_objects_name() {
        for good in ["a", "team-a", "0", "a.b-1.c", &"x".repeat(63)] {
            check_queue_name("queue", good).unwrap();
        }
        for bad in [
            "",
            "A",
            "a_b",
            "-a",
            "a-",
            "a..b",
            "a.-b",
            "é",
            "a b",
            "a/b",
            "a\n",
            &"x".repeat(64),
        ] {
            let error = check_queue_name("queue", bad).unwrap_err();
            assert!(
                error.message.contains("`queue` must be the name of a queue"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn what_nobody_asks_for_is_not_read_back() {
        for name in [
            JOB_ID,
            BATCH_ID,
            USER,
            QUEUE,
            PROGRAM_PATH,
            ARGUMENTS,
            CANCELLED,
            SUBMISSION,
        ] {
            assert!(is_read_back(name), "{name}");
        }
        for name in [
            PROGRAM_TEXT,
            PROGRAM_BASE64,
            REQUEST_ID,
            USER_TAG,
            MANAGED_BY,
            "batch.kubernetes.io/job-name",
        ] {
            assert!(!is_read_back(name), "{name}");
        }
    }
}
