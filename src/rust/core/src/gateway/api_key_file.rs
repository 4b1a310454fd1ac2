//! The file of API keys.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::gateway::api_keys::ApiKeys;
use crate::Error;

/// A file of keys, read again whenever it has changed: a key that was taken out is refused from the next request on.
#[derive(Debug)]
pub struct ApiKeyFile {
    path: PathBuf,
    read: Mutex<(Option<State>, ApiKeys)>,
}

/// What tells one state of a file from another.
type State = (SystemTime, u64, (u64, i64, i64));

impl ApiKeyFile {
    /// The file at `path`. Errors: it cannot be read, others than its owner may read or write it, or a line is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = Self {
            path: path.to_path_buf(),
            read: Mutex::new((None, ApiKeys::default())),
        };
        file.keys()?;
        Ok(file)
    }

    /// The keys that it has now. Errors as of [`Self::open`].
    pub fn keys(&self) -> Result<ApiKeys, Error> {
        let refuse = |what: String| {
            Error::input(format!("The file of API keys {} {what}.", self.path.display()))
                .advise("Make keys with abba_api_key_create(), as the account that runs the server.")
        };
        let metadata = fs::metadata(&self.path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        check_mode(&metadata).map_err(refuse)?;
        let state = (
            metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            metadata.len(),
            change(&metadata),
        );
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0 != Some(state) {
            let text = fs::read_to_string(&self.path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
            *read = (Some(state), ApiKeys::parse(&text)?);
        }
        Ok(read.1.clone())
    }
}

/// The file's number and when it was changed last: unlike the time of its modification nobody sets that.
#[cfg(unix)]
fn change(metadata: &fs::Metadata) -> (u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;

    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn change(_: &fs::Metadata) -> (u64, i64, i64) {
    (0, 0, 0)
}

#[cfg(unix)]
fn check_mode(metadata: &fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;

    match metadata.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => Err("can be read or written by others than its owner".into()),
    }
}

#[cfg(not(unix))]
fn check_mode(_: &fs::Metadata) -> Result<(), String> {
    Ok(())
}

/// Adds a line to the file at `path`, and makes the file, for its owner alone, where there is none.
pub fn append(path: &Path, line: &str) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .map_err(|error| {
            Error::input(format!(
                "The file of API keys {} cannot be written: {error}.",
                path.display()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::api_keys;

    #[test]
    fn keys_come_and_go_while_the_file_is_used() {
        let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&folder).unwrap();
        let path = folder.join("keys");
        assert!(ApiKeyFile::open(&path).is_err());
        let (alice, bob) = (api_keys::create("alice").unwrap(), api_keys::create("bob").unwrap());
        append(&path, &alice.line).unwrap();
        let file = ApiKeyFile::open(&path).unwrap();
        assert_eq!(file.keys().unwrap().user_of(&alice.key), Some("alice"));
        append(&path, &bob.line).unwrap();
        assert_eq!(file.keys().unwrap().user_of(&bob.key), Some("bob"));
        fs::write(&path, format!("{}\n", bob.line)).unwrap();
        assert_eq!(file.keys().unwrap().user_of(&alice.key), None);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(file.keys().unwrap_err().message.contains("others"));
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
