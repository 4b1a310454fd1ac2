//! What a kubectl proxy was started from, so that a change is noticed.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What kubectl's behaviour depends on: the program, the environment (login helpers read it too), and its
/// configuration files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    kubectl: PathBuf,
    environment: u64,
    files: Vec<(PathBuf, Option<FileState>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: u64,
}

impl Configuration {
    /// As it is now.
    pub fn now(kubectl: &Path) -> Self {
        let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        environment.sort();
        let mut hasher = DefaultHasher::new();
        environment.hash(&mut hasher);
        Self {
            kubectl: kubectl.to_path_buf(),
            environment: hasher.finish(),
            files: files().into_iter().map(|file| (file.clone(), state(&file))).collect(),
        }
    }
}

/// kubectl's rule: KUBECONFIG lists files, else `~/.kube/config`.
/// <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>
fn files() -> Vec<PathBuf> {
    match std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        Some(list) => std::env::split_paths(&list)
            .filter(|file| !file.as_os_str().is_empty())
            .collect(),
        None => std::env::var_os("HOME")
            .map(|home| Path::new(&home).join(".kube").join("config"))
            .into_iter()
            .collect(),
    }
}

fn state(file: &Path) -> Option<FileState> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(FileState {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        #[cfg(unix)]
        inode: std::os::unix::fs::MetadataExt::ino(&metadata),
    })
}
