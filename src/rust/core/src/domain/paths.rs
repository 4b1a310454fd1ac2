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

/// Whether a path is one of Windows, with a drive or a server: elsewhere `\` is a letter of a name like any other.
fn is_of_windows(path: &str) -> bool {
    let bytes = path.as_bytes();
    let has_drive = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.get(1) == Some(&b':')
        && matches!(bytes.get(2), Some(b'/' | b'\\'));
    has_drive || path.starts_with("\\\\")
}

/// The folder and the last part of a path; the folder keeps its `/` where it is the root. One of Windows has `\` between
/// its parts, too.
pub fn split(path: &str) -> (&str, &str) {
    let separators: &[char] = match is_of_windows(path) {
        true => &['/', '\\'],
        false => &['/'],
    };
    match path.rfind(separators) {
        Some(0) => ("/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => ("/", path),
    }
}

/// The last part of a path.
pub fn file_name(path: &str) -> &str {
    split(path).1
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
    fn paths_are_split_as_their_system_does() {
        for (path, folder, name) in [
            ("/x/a.R", "/x", "a.R"),
            ("/a.R", "/", "a.R"),
            ("a.R", "/", "a.R"),
            ("/x/a\\b.R", "/x", "a\\b.R"),
            ("a:b\\c.R", "/", "a:b\\c.R"),
            ("/x/C:\\a.R", "/x", "C:\\a.R"),
            ("C:\\Users\\mike\\a.R", "C:\\Users\\mike", "a.R"),
            ("C:/Users/mike/a.R", "C:/Users/mike", "a.R"),
            ("c:/Users\\a.R", "c:/Users", "a.R"),
            ("\\\\server\\share\\a.R", "\\\\server\\share", "a.R"),
        ] {
            assert_eq!(split(path), (folder, name));
        }
    }

    #[test]
    fn a_folder_holds_itself_and_what_is_below() {
        assert!(is_in("/a", "/a") && is_in("/a/b", "/a") && is_in("/a", "/"));
        assert!(!is_in("/ab", "/a") && !is_in("/", "/a"));
    }
}
