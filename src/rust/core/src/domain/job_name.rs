//! The names of jobs and batches.
//!
//! A job's id is the Job's name in Kubernetes. Its pod's name and the value of a label are made from it, so it must be
//! a DNS label: <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names>

use uuid::Uuid;

use crate::error::quote_shortened;
use crate::kubernetes::labels;
use crate::Error;

/// The longest legal job id, in characters.
pub const MAXIMUM_LENGTH: usize = 63;

/// A slug of at most this many characters, a hyphen and a uuid (36) make [`MAXIMUM_LENGTH`].
const SLUG_LENGTH: usize = MAXIMUM_LENGTH - 1 - 36;

/// The beginning of a job's id: the program's file name without its extension in lower case, everything outside
/// `[a-z0-9]` as a hyphen, runs of hyphens as one; `job` where nothing is left.
pub fn slug(file_name: &str) -> String {
    let mut slug = String::new();
    for c in stem(file_name).to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == SLUG_LENGTH {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "job" } else { slug }.to_string()
}

/// A new job's id: the slug of the program's file name, `-`, `uuid`.
pub fn job_id(file_name: &str, uuid: Uuid) -> String {
    format!("{}-{uuid}", slug(file_name))
}

/// A new batch id: the file name without extension as a legal label value, `-`, `uuid`; at most 63 characters.
pub fn batch_id(file_name: &str, uuid: Uuid) -> String {
    let name = labels::sanitise(stem(file_name), SLUG_LENGTH);
    let name = if name.is_empty() { "batch" } else { &name };
    format!("{name}-{uuid}")
}

/// A new batch id with a random uuid.
pub fn new_batch_id(file_name: &str) -> String {
    batch_id(file_name, Uuid::new_v4())
}

/// A new job's id with a random uuid.
pub fn new_job_id(file_name: &str) -> String {
    job_id(file_name, Uuid::new_v4())
}

/// Whether `id` is a batch id that was made for this program, and not one that the user gave.
pub fn is_own_batch_id(id: &str, file_name: &str) -> bool {
    const UUID_LENGTH: usize = 36;
    id.len().checked_sub(UUID_LENGTH).is_some_and(|begin| {
        id.is_char_boundary(begin) && Uuid::parse_str(&id[begin..]).is_ok_and(|uuid| id == batch_id(file_name, uuid))
    })
}

/// The file name without its last extension. A name that is all extension (`.r`) has no stem.
fn stem(file_name: &str) -> &str {
    file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem)
}

/// Checks that `id` can be a job's id at all, before anything is sent.
pub fn check_job_id(id: &str) -> Result<(), Error> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let legal = id.len() <= MAXIMUM_LENGTH
        && edge(id.chars().next())
        && edge(id.chars().last())
        && id
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if legal {
        return Ok(());
    }
    Err(Error::input(format!(
        "`job_id` must be the id of a job, not {}.",
        quote_shortened(id)
    ))
    .advise(
        "A job's id has at most 63 characters out of lower case letters, digits and '-'; it is the element `job_id` of what submitting the program returned.",
    ))
}

/// Checks that `namespace` can be a Kubernetes namespace, before anything is sent.
pub fn check_namespace(namespace: &str) -> Result<(), Error> {
    if check_job_id(namespace).is_ok() {
        return Ok(());
    }
    Err(Error::input(format!(
        "`namespace` must be the name of a Kubernetes namespace, not {}.",
        quote_shortened(namespace)
    ))
    .advise("A namespace's name has at most 63 characters out of lower case letters, digits and '-', beginning and ending with a letter or a digit."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slug_follows_the_contract() {
        for (name, expected) in [
            ("test_program.R", "test-program"),
            ("My Program (v2).R", "my-program-v2"),
            ("日本語.R", "job"),
            (".r", "job"),
            ("-x.R", "x"),
            ("a..b.Rmd", "a-b"),
            ("$(touch x).R", "touch-x"),
            ("no_extension", "no-extension"),
        ] {
            assert_eq!(slug(name), expected, "{name}");
        }
    }

    #[test]
    fn every_name_gives_a_legal_job_id_and_batch_id() {
        let long = "x_".repeat(100);
        for name in [
            long.as_str(),
            "",
            ".",
            "..",
            "İstanbul.R",
            "a\nb.R",
            "---.R",
            "%s%n.R",
            "a'\"b.R",
        ] {
            let id = job_id(name, Uuid::new_v4());
            assert!(check_job_id(&id).is_ok(), "{id}");
            let batch = batch_id(name, Uuid::new_v4());
            assert!(labels::is_label_value(&batch), "{batch}");
        }
    }

    #[test]
    fn batch_id_keeps_the_underscore() {
        assert!(batch_id("test_program.R", Uuid::nil()).starts_with("test_program-0000"));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let huge = "a".repeat(1_000_000);
        for id in [
            "",
            "x; rm -rf /",
            "../../secrets",
            "A",
            "a_b",
            "-a",
            "a-",
            "é",
            "a\n",
            &huge,
        ] {
            let error = check_job_id(id).unwrap_err();
            assert!(error.message.len() < 300, "{}", error.message);
        }
    }
}
