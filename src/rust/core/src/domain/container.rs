//! The name of a container image.

use crate::error::quote_shortened;
use crate::Error;

/// Checks the form of an image's name: `[host[:port]/]path[:tag][@digest]`, as the container runtimes read it.
/// Grammar: <https://pkg.go.dev/github.com/distribution/reference>
pub fn check_container(container: &str) -> Result<(), Error> {
    if is_image_reference(container) {
        return Ok(());
    }
    let error = Error::input(format!(
        "`container` must be the name of a container image, not {}.",
        quote_shortened(container)
    ));
    Err(error.advise(
        "An image's name looks like \"registry.example.com/path/name:tag\": lower case, no spaces, the tag after a colon.",
    ))
}

fn is_image_reference(text: &str) -> bool {
    if text.len() > 512 {
        return false;
    }
    let (rest, digest_is_legal) = match text.split_once('@') {
        Some((rest, digest)) => (rest, is_digest(digest)),
        None => (text, true),
    };
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    // A colon before the last slash belongs to the host's port, a later one to the tag.
    let (name, tag_is_legal) = match rest[last..].split_once(':') {
        Some((_, tag)) => (&rest[..rest.len() - tag.len() - 1], is_tag(tag)),
        None => (rest, true),
    };
    let mut components: Vec<&str> = name.split('/').collect();
    let host_is_legal = match components.first() {
        Some(first) if components.len() > 1 && is_host_like(first) => {
            let legal = is_host(first);
            components.remove(0);
            legal
        }
        _ => true,
    };
    digest_is_legal && tag_is_legal && host_is_legal && components.iter().all(|c| is_path_component(c))
}

fn is_host_like(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.chars().any(|c| c.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port_is_legal) = match text.rsplit_once(':') {
        Some((host, port)) => (host, !port.is_empty() && port.chars().all(|c| c.is_ascii_digit())),
        None => (text, true),
    };
    port_is_legal
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Runs of lower case letters and digits, with `.`, `_`, `__` or hyphens between them.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text
            .split(alphanumeric)
            .all(|between| matches!(between, "" | "." | "_" | "__") || between.chars().all(|c| c == '-'))
}

fn is_tag(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.starts_with(['.', '-'])
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_digest(text: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.chars().all(|c| c.is_ascii_alphanumeric())
    };
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.split(['+', '.', '-', '_']).all(is_word)
            && hex.len() >= 32
            && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_use_are_accepted() {
        let digest = format!("a/b@sha256:{}", "0a".repeat(32));
        for name in [
            "r-base",
            "r-base:4.2.2",
            "127.0.0.1:5000/r-base:4.2.2",
            "localhost:5000/r-base",
            "registry.example.com/openval_4.2.1_focal:2023.09.0.02",
            "Registry.Example.com/a/b__c/d--e:T_a.g-1",
            &digest,
        ] {
            assert!(check_container(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_no_runtime_reads_is_refused() {
        for name in [
            "",
            " ",
            "r base",
            "r-base:",
            "R-Base",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a:tag with space",
            "a@sha256:short",
            &format!("a@sha 256:{}", "0a".repeat(32)),
            &format!("a@:{}", "0a".repeat(32)),
            "host:port/a",
            "a;b",
            "$(a)",
            "a\nb",
            "é",
            &"a".repeat(600),
        ] {
            assert!(check_container(name).is_err(), "{name}");
        }
    }
}
