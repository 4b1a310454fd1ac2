//! What a kubectl proxy was started from, so that a change is noticed.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs::Metadata;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What kubectl's behaviour depends on: the program, the environment (login helpers read it too), its configuration
/// files, and the files that those name: certificates, keys, tokens, login helpers.
#[derive(Clone, Debug)]
pub struct Configuration {
    kubectl: PathBuf,
    environment: u64,
    /// Whether a login helper gives the login. What it knows by itself nobody here can see.
    has_login_helper: bool,
    files: Vec<(PathBuf, FileState)>,
}

/// A file as it was seen. Links are followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum FileState {
    /// It is not there, or cannot be read.
    Absent,
    /// What it holds, as a hash. Rewriting a file with what it holds already is no change.
    Content(u64),
    /// For what is too long to read at each call, or no regular file.
    Outside {
        length: u64,
        modified: Option<SystemTime>,
        inode: (u64, u64),
        changed: (i64, i64),
    },
}

/// The longest file that is read at each call. A kubectl configuration has a few KB.
const LONGEST_READ: u64 = 1024 * 1024;

/// Environment variables that a terminal changes when its window does, and on which no login depends.
const OF_THE_TERMINAL: [&str; 2] = ["COLUMNS", "LINES"];

/// The keys of a kubectl configuration whose values are paths.
/// <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>
const KEYS_OF_PATHS: [&str; 5] = [
    "client-certificate",
    "client-key",
    "certificate-authority",
    "tokenFile",
    "command",
];

/// The keys under which a login helper is named.
const KEYS_OF_LOGIN_HELPERS: [&str; 2] = ["exec", "auth-provider"];

impl Configuration {
    /// As it is now.
    pub fn now(kubectl: &Path) -> Self {
        let mut files = vec![(kubectl.to_path_buf(), state(kubectl))];
        let mut has_login_helper = false;
        for file in configuration_files() {
            files.push((file.clone(), state(&file)));
            let text = match std::fs::metadata(&file) {
                Ok(metadata) if is_short_file(&metadata) => std::fs::read(&file).unwrap_or_default(),
                _ => Vec::new(),
            };
            let text = String::from_utf8_lossy(&text);
            has_login_helper |= KEYS_OF_LOGIN_HELPERS
                .iter()
                .any(|key| !values_of(&text, key).is_empty());
            for value in KEYS_OF_PATHS.iter().flat_map(|key| values_of(&text, key)) {
                if let Some(named) = named_file(&file, value) {
                    files.push((named.clone(), state(&named)));
                }
            }
        }
        Self {
            kubectl: kubectl.to_path_buf(),
            environment: environment(),
            has_login_helper,
            files,
        }
    }

    /// Whether it is still so.
    pub fn is_current(&self, kubectl: &Path) -> bool {
        self.kubectl == kubectl
            && self.environment == environment()
            && self.files.iter().all(|(file, seen)| state(file) == *seen)
    }

    /// A number that names this configuration.
    pub fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.kubectl, self.environment, &self.files).hash(&mut hasher);
        hasher.finish()
    }

    /// The same where the login comes from a helper, which may have another one by now.
    pub fn login_of_helper(&self) -> Option<u64> {
        self.has_login_helper.then(|| self.number())
    }
}

/// All variables, which name the configuration files among others.
fn environment() -> u64 {
    let mut variables: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| !OF_THE_TERMINAL.iter().any(|ignored| name == ignored))
        .collect();
    variables.sort();
    let mut hasher = DefaultHasher::new();
    variables.hash(&mut hasher);
    hasher.finish()
}

/// kubectl's rule: KUBECONFIG lists files, else `~/.kube/config`; without HOME that is below the working directory (seen
/// with kubectl 1.34). <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>
fn configuration_files() -> Vec<PathBuf> {
    match std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        Some(list) => std::env::split_paths(&list)
            .filter(|file| !file.as_os_str().is_empty())
            .collect(),
        None => {
            let home = std::env::var_os("HOME").unwrap_or_default();
            vec![Path::new(&home).join(".kube").join("config")]
        }
    }
}

fn is_short_file(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.len() <= LONGEST_READ
}

fn state(file: &Path) -> FileState {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = std::fs::metadata(file) else {
        return FileState::Absent;
    };
    if !is_short_file(&metadata) {
        return FileState::Outside {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            inode: (metadata.dev(), metadata.ino()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
    }
    match std::fs::read(file) {
        Ok(content) => {
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            FileState::Content(hasher.finish())
        }
        Err(_) => FileState::Absent,
    }
}

/// The values of a key in YAML or JSON, as far as they stand beside it in one line. Not a parser: what is taken for a
/// value and is none does no harm, because it is only looked at as a file. Empty for a value that begins in the next
/// line.
pub(super) fn values_of<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let mut values = Vec::new();
    for (start, _) in text.match_indices(key) {
        // The key begins here, and does not go on, as `client-certificate-data` does.
        let before = text[..start].chars().next_back();
        if before.is_some_and(|character| character.is_alphanumeric() || character == '-') {
            continue;
        }
        let rest = text[start + key.len()..].trim_start_matches(['"', '\'']).trim_start();
        let Some(rest) = rest.strip_prefix(':') else {
            continue;
        };
        let line = rest.lines().next().unwrap_or_default().trim();
        let value = match line.chars().next() {
            Some(quote @ ('"' | '\'')) => line[1..].split(quote).next().unwrap_or_default(),
            _ => line
                .split(" #")
                .next()
                .unwrap_or_default()
                .trim_end_matches([',', '}', ']'])
                .trim(),
        };
        values.push(value);
    }
    values
}

/// The file that a configuration file names: relative to its own folder, and a program also by its name on PATH.
fn named_file(configuration_file: &Path, value: &str) -> Option<PathBuf> {
    if value.is_empty() {
        return None;
    }
    let beside = configuration_file.parent().unwrap_or(Path::new("")).join(value);
    if beside.exists() || value.contains('/') {
        return Some(beside);
    }
    which::which(value).ok().or(Some(beside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "users:
- name: a
  user:
    client-certificate: /pki/a.crt # of a
    client-certificate-data: LS0t
    client-key: 'my keys/a.key'
    tokenFile: \"token\"   # rotates
- name: b
  user:
    exec:
      command: aws
      args: [eks, get-token]
";

    #[test]
    fn the_files_that_a_configuration_names_are_found() {
        assert_eq!(values_of(YAML, "client-certificate"), ["/pki/a.crt"]);
        assert_eq!(values_of(YAML, "client-key"), ["my keys/a.key"]);
        assert_eq!(values_of(YAML, "tokenFile"), ["token"]);
        assert_eq!(values_of(YAML, "command"), ["aws"]);
        assert_eq!(values_of(YAML, "exec"), [""]);
        let json = r#"{"users": [{"name": "a", "user": {"client-key":"a.key", "tokenFile" : "/t"}}]}"#;
        assert_eq!(values_of(json, "client-key"), ["a.key"]);
        assert_eq!(values_of(json, "tokenFile"), ["/t"]);
        assert!(values_of(json, "exec").is_empty());
        // Nothing that a file may hold stops the search.
        for text in [
            "client-key",
            "client-key:",
            "client-key:\n",
            "\u{e9}client-key: x",
            "client-key: \"",
        ] {
            let _ = values_of(text, "client-key");
        }
    }

    #[test]
    fn a_named_file_lies_beside_the_one_that_names_it() {
        let file = Path::new("/home/mike/.kube/config");
        assert_eq!(named_file(file, "a.key").unwrap(), Path::new("/home/mike/.kube/a.key"));
        assert_eq!(named_file(file, "/pki/a.key").unwrap(), Path::new("/pki/a.key"));
        assert_eq!(named_file(file, "sh").unwrap(), which::which("sh").unwrap());
        assert_eq!(named_file(file, ""), None);
    }

    #[test]
    fn a_file_is_known_by_what_it_holds() {
        let folder = crate::test_folder::Folder::new();
        let (file, link) = (folder.join("file"), folder.join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(state(&link), FileState::Absent);
        std::fs::write(&file, "one").unwrap();
        let one = state(&link);
        std::fs::write(&file, "two").unwrap();
        assert_ne!(state(&link), one, "same length, perhaps the same moment");
        std::fs::write(folder.join("new"), "one").unwrap();
        std::fs::rename(folder.join("new"), &file).unwrap();
        assert_eq!(state(&link), one);
    }
}
