//! Absolute paths as text. What they name need not be on this machine.

/// The path without empty parts, `.` and a `/` at its end. `None` where it is not absolute, has a `..` (behind a link that
/// may lead anywhere), or holds a NUL.
pub fn normalise(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    (!parts.contains(&"..")).then(|| format!("/{}", parts.join("/")))
}

/// Whether a normalised `path` is the normalised `folder` or below it.
pub fn is_in(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The last part of a path. One of Windows has `\` between its parts, too.
pub fn file_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_of_windows = path.as_bytes().get(1) == Some(&b':') || path.starts_with("\\\\");
    match is_of_windows {
        true => name.rsplit('\\').next().unwrap_or_default(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_what_says_nothing() {
        assert_eq!(normalise("/a//b/./c/").as_deref(), Some("/a/b/c"));
        assert_eq!(normalise("///").as_deref(), Some("/"));
        assert_eq!(normalise("/..a/b..").as_deref(), Some("/..a/b.."));
        for path in ["", "a/b", "/a/../b", "/..", "/a\0b", "./a"] {
            assert_eq!(normalise(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_folder_holds_itself_and_what_is_below() {
        assert!(is_in("/a", "/a") && is_in("/a/b", "/a") && is_in("/a", "/"));
        assert!(!is_in("/ab", "/a") && !is_in("/", "/a"));
    }
}
