//! The file of API keys.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use jiff::civil::Date;
use serde::Serialize;
use uuid::Uuid;

use super::api_key_uses::{self, ApiKeyUses};
use crate::error::quote_shortened;
use crate::gateway::api_keys::{self, ApiKeys, KeptKey, NewKey, Scope};
use crate::local::accounts;
#[cfg(unix)]
use crate::local::ownership::is_ours;
use crate::local::ownership::{check_folder, folder_of};
use crate::{Error, ErrorClass};

/// A file of keys, read again whenever it has changed: a key that was taken out is refused from the next request on.
#[derive(Debug)]
pub struct ApiKeyFile {
    path: PathBuf,
    read: Mutex<(Option<State>, ApiKeys)>,
    uses: ApiKeyUses,
}

/// A key as it is listed: what is kept of it, and on which day it was used last, in UTC, where that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedKey {
    /// What is kept of it.
    #[serde(flatten)]
    pub key: KeptKey,
    /// When it was used last.
    #[serde(serialize_with = "api_keys::as_text")]
    pub last_used: Option<Date>,
}

/// What tells one state of a file from another.
type State = (SystemTime, u64, (u64, i64, i64));

impl ApiKeyFile {
    /// The file at `path`. Errors: it cannot be read, others than its owner may read or write it or put another in its place,
    /// or a line is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = Self {
            path: path.to_path_buf(),
            read: Mutex::new((None, ApiKeys::default())),
            uses: ApiKeyUses::of(path),
        };
        file.keys()?;
        Ok(file)
    }

    /// The keys that it has now. Errors as of [`Self::open`].
    pub fn keys(&self) -> Result<ApiKeys, Error> {
        let metadata = check(&self.path)?;
        let state = (
            metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            metadata.len(),
            change(&metadata),
        );
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0 != Some(state) {
            let text = fs::read_to_string(&self.path).map_err(|error| unreadable(&self.path, &error))?;
            *read = (Some(state), ApiKeys::parse(&text)?);
        }
        Ok(read.1.clone())
    }

    /// Notes that the key with this id, which is one of `keys`, is used today.
    pub fn note_use(&self, id: &str, keys: &ApiKeys) {
        self.uses.note(id, keys);
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

fn refuse(path: &Path, what: &str) -> Error {
    Error::input(format!("The file of API keys {} {what}.", path.display()))
        .advise("Make keys with abba_api_key_create(), as the account that runs the server.")
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    refuse(path, &format!("cannot be read: {error}"))
}

/// Checks that nobody but this account and root may read or write a file, or put another in its place.
fn check(path: &Path) -> Result<fs::Metadata, Error> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    check_file(&metadata).map_err(|what| refuse(path, what))?;
    // Where a link stands and where it leads to.
    let target = fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
    for folder in [folder_of(path), folder_of(&target)] {
        check_folder(folder).map_err(|what| {
            refuse(path, &what).advise(format!(
                "Keep it in a folder that others cannot write to: as its owner, `chmod go-w {}`.",
                folder.display()
            ))
        })?;
    }
    Ok(metadata)
}

#[cfg(unix)]
fn check_file(metadata: &fs::Metadata) -> Result<(), &'static str> {
    use std::os::unix::fs::MetadataExt;

    if metadata.mode() & 0o077 != 0 && !is_lent_by_root(metadata) {
        return Err("can be read or written by others than its owner");
    }
    if !is_ours(metadata.uid()) {
        return Err("belongs to another account than the one that runs the server, and not to root");
    }
    Ok(())
}

/// Whether root lets a group read a file in which nobody is but this account: one without a name, or its own. So Kubernetes
/// mounts a Secret for a pod with an `fsGroup`, which stays root's and cannot be made the account's.
/// <https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#set-the-security-context-for-a-pod>
#[cfg(unix)]
fn is_lent_by_root(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    use nix::unistd::{Gid, Group};

    let is_for_its_group = metadata.uid() == 0 && metadata.gid() != 0 && metadata.mode() & 0o037 == 0;
    is_for_its_group
        && match Group::from_gid(Gid::from_raw(metadata.gid())) {
            Ok(None) => true,
            Ok(Some(group)) => {
                let own = accounts::account_name();
                own.as_ref() == Some(&group.name) && group.mem.iter().all(|member| own.as_ref() == Some(member))
            }
            Err(_) => false,
        }
}

#[cfg(not(unix))]
fn check_file(_: &fs::Metadata) -> Result<(), &'static str> {
    Ok(())
}

/// Makes a key for the account `user`, and keeps it in the file at `path`, which is made where there is none.
///
/// Errors: there is no such account, or it cannot be looked up; an argument cannot stand in the file; the file cannot be used.
pub fn add(path: &Path, user: &str, days: Option<u32>, scope: Scope, note: &str) -> Result<NewKey, Error> {
    // Its rule before anything is looked up.
    api_keys::create(user, days, scope, note)?;
    let account = accounts::look_up(user, false).map_err(|reason| {
        Error::new(
            ErrorClass::Unavailable,
            format!("The account {} cannot be looked up: {reason}.", quote_shortened(user)),
        )
        .meaning("No key was made.")
        .advise("Repeat the call when the directory of accounts answers.")
    })?;
    let Some(account) = account else {
        return Err(Error::input(format!(
            "`user` must be the name of an account of this machine, and there is no account {}.",
            quote_shortened(user)
        ))
        .meaning("No key was made.")
        .advise("Give a name as `id` shows it: the user's programs run as that account."));
    };
    replace_text(path, |text| {
        let kept = ApiKeys::parse(text)?;
        let new = loop {
            let new = api_keys::create(&account.name, days, scope, note)?;
            if kept.kept().iter().all(|other| other.id != new.kept.id) {
                break new;
            }
        };
        // An editor leaves the last line without its end.
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        Ok((format!("{text}{end}{}\n", new.kept.line()), new))
    })
}

/// The keys of the file at `path`. Errors as of [`ApiKeyFile::open`].
pub fn list(path: &Path) -> Result<Vec<ListedKey>, Error> {
    let keys = ApiKeyFile::open(path)?.keys()?;
    let days = api_key_uses::days(path);
    Ok(keys.kept().iter().map(|key| listed(key, &days)).collect())
}

fn listed(key: &KeptKey, days: &BTreeMap<String, Date>) -> ListedKey {
    ListedKey {
        key: key.clone(),
        last_used: days.get(&key.id).copied(),
    }
}

/// Takes the key with this id out of the file at `path`; what was kept of it.
///
/// Errors: there is none; the file cannot be used.
pub fn revoke(path: &Path, id: &str) -> Result<ListedKey, Error> {
    check(path)?;
    replace_text(path, |text| {
        let keys = ApiKeys::parse(text)?;
        let key = keys.kept().iter().find(|key| key.id == id);
        match key.zip(api_keys::without(text, id)) {
            Some((key, rest)) => Ok((rest, listed(key, &api_key_uses::days(path)))),
            None => Err(Error::input(format!(
                "The file of API keys {} has no key with the id {}.",
                path.display(),
                quote_shortened(id)
            ))
            .advise("abba_api_key_list() shows all keys with their ids.")),
        }
    })
}

/// Replaces the text of a file in one step, so that a server reads the old one or the new one; one process at a time.
fn replace_text<T>(path: &Path, with: impl FnOnce(&str) -> Result<(String, T), Error>) -> Result<T, Error> {
    let unwritable = |error: io::Error| {
        Error::input(format!(
            "The file of API keys {} cannot be written: {error}.",
            path.display()
        ))
    };
    // What a link leads to is replaced, not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = folder_of(&target);
    let _lock = lock(folder).map_err(unwritable)?;
    let (text, owner) = match fs::symlink_metadata(&target) {
        Ok(_) => {
            let metadata = check(path)?;
            (
                fs::read_to_string(&target).map_err(|error| unreadable(path, &error))?,
                Some(metadata),
            )
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let (text, result) = with(&text)?;
    replace_file(&target, &text, owner.as_ref()).map_err(unwritable)?;
    // Without it a power cut may bring a key back that was taken out.
    #[cfg(unix)]
    let _ = fs::File::open(folder).and_then(|folder| folder.sync_all());
    Ok(result)
}

/// Writes a file in the place of that at `path`, in one step.
pub(super) fn replace_file(path: &Path, text: &str, owner: Option<&fs::Metadata>) -> io::Result<()> {
    let new = folder_of(path).join(format!(".api-keys-{}", Uuid::new_v4().simple()));
    let replaced = write_new(&new, text, owner).and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&new);
    }
    replaced
}

fn write_new(path: &Path, text: &str, owner: Option<&fs::Metadata>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    #[cfg(unix)]
    if let Some(owner) = owner {
        use std::os::unix::fs::{fchown, MetadataExt};

        // root makes keys for the account of the server.
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (owner.uid(), owner.gid()) {
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    #[cfg(not(unix))]
    let _ = owner;
    file.sync_all()
}

/// Waits until no other process changes files of keys in this folder. The lock is the folder's, so that no file of its own
/// is left behind.
#[cfg(unix)]
pub(super) fn lock(folder: &Path) -> io::Result<nix::fcntl::Flock<fs::File>> {
    let folder = fs::File::open(folder)?;
    nix::fcntl::Flock::lock(folder, nix::fcntl::FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

/// Nothing is locked: servers run on Unix.
#[cfg(not(unix))]
pub(super) fn lock(folder: &Path) -> io::Result<fs::Metadata> {
    fs::metadata(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::api_keys::tests::key_of;
    use crate::test_folder::Folder;

    fn add_for(path: &Path, user: &str) -> NewKey {
        add(path, user, Some(90), Scope::Submit, "").unwrap()
    }

    fn user_of(file: &ApiKeyFile, key: &NewKey) -> Option<String> {
        file.keys().unwrap().find(&key.key).map(|kept| kept.user.clone())
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_day_of_a_keys_last_use_is_kept_and_told() {
        let folder = Folder::new();
        let path = folder.join("keys");
        let (daemon, bin) = (add_for(&path, "daemon"), add_for(&path, "bin"));
        let file = ApiKeyFile::open(&path).unwrap();
        let last_uses = || list(&path).unwrap().iter().map(|key| key.last_used).collect::<Vec<_>>();
        assert_eq!(last_uses(), [None, None]);
        file.note_use(&bin.kept.id, &file.keys().unwrap());
        // The day may have changed meanwhile.
        assert!(last_uses()[0].is_none() && last_uses()[1].is_some());
        let used = path.with_extension("used");
        let text = fs::read_to_string(&used).unwrap();
        assert!(!text.contains(&bin.kept.line()) && !text.contains(&bin.key));
        // One of before is replaced, and of a key that is gone nothing is kept; a broken line hurts nobody.
        fs::write(&used, format!("{}:2026-01-01\ngone:2026-01-01\nx\n", daemon.kept.id)).unwrap();
        assert_eq!(last_uses(), [Some("2026-01-01".parse().unwrap()), None]);
        ApiKeyFile::open(&path)
            .unwrap()
            .note_use(&daemon.kept.id, &file.keys().unwrap());
        assert!(last_uses()[0] > Some("2026-01-01".parse().unwrap()));
        assert!(!fs::read_to_string(&used).unwrap().contains("gone"));
        let revoked = revoke(&path, &daemon.kept.id).unwrap();
        assert!(revoked.last_used.is_some());
        // Where it cannot be kept, nobody is the worse for it.
        fs::remove_file(&used).unwrap();
        fs::create_dir(&used).unwrap();
        let file = ApiKeyFile::open(&path).unwrap();
        file.note_use(&bin.kept.id, &file.keys().unwrap());
        assert_eq!(last_uses(), [None]);
    }

    #[test]
    fn keys_come_and_go_while_the_file_is_used() {
        let folder = Folder::new();
        let path = folder.join("keys");
        assert!(ApiKeyFile::open(&path).is_err());
        let daemon = add_for(&path, "daemon");
        let file = ApiKeyFile::open(&path).unwrap();
        assert_eq!(user_of(&file, &daemon).as_deref(), Some("daemon"));
        let bin = add_for(&path, "bin");
        assert_eq!(user_of(&file, &bin).as_deref(), Some("bin"));
        let ids: Vec<String> = list(&path).unwrap().into_iter().map(|listed| listed.key.id).collect();
        assert_eq!(ids, [daemon.kept.id.clone(), bin.kept.id.clone()]);
        assert_eq!(revoke(&path, &daemon.kept.id).unwrap().key, daemon.kept);
        assert_eq!(user_of(&file, &daemon), None);
        assert_eq!(user_of(&file, &bin).as_deref(), Some("bin"));
        assert!(revoke(&path, &daemon.kept.id)
            .unwrap_err()
            .message
            .contains("no key with the id"));
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_last_line_without_its_end_is_mended_and_keys_of_before_stay() {
        let folder = Folder::new();
        let path = folder.join("keys");
        let first = add_for(&path, "daemon");
        let line = fs::read_to_string(&path).unwrap();
        let fields: Vec<&str> = line.split(':').collect();
        fs::write(&path, format!("# ours\ndaemon:{}", fields[2])).unwrap();
        let second = add_for(&path, "bin");
        let file = ApiKeyFile::open(&path).unwrap();
        assert_eq!(user_of(&file, &first).as_deref(), Some("daemon"));
        assert_eq!(user_of(&file, &second).as_deref(), Some("bin"));
        assert!(fs::read_to_string(&path).unwrap().starts_with("# ours\n"));
    }

    #[test]
    fn many_at_a_time_lose_no_key_and_a_reader_never_sees_half_a_file() {
        let folder = Folder::new();
        let path = folder.join("keys");
        add_for(&path, "daemon");
        let file = ApiKeyFile::open(&path).unwrap();
        std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..5).for_each(|_| drop(add_for(&path, "bin")))))
                .collect();
            while !makers.iter().all(|maker| maker.is_finished()) {
                assert!(!file.keys().unwrap().kept().is_empty());
            }
        });
        assert_eq!(list(&path).unwrap().len(), 41);
    }

    #[test]
    fn an_account_that_is_not_there_gets_no_key() {
        let folder = Folder::new();
        let error = add(&folder.join("keys"), "no-such-user-here", None, Scope::Submit, "").unwrap_err();
        assert!(error.message.contains("no account"), "{}", error.message);
        assert!(!folder.join("keys").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_or_replace_is_refused() {
        let folder = Folder::new();
        let path = folder.join("keys");
        add_for(&path, "daemon");
        let file = ApiKeyFile::open(&path).unwrap();
        let refusal = || file.keys().unwrap_err().message;
        set_mode(&path, 0o640);
        assert!(refusal().contains("others than its owner"));
        assert!(add(&path, "daemon", None, Scope::Submit, "").is_err());
        set_mode(&path, 0o600);
        for mode in [0o775, 0o757] {
            set_mode(&folder.0, mode);
            assert!(refusal().contains("folder that others can write to"));
        }
        set_mode(&folder.0, 0o1777);
        file.keys().unwrap();
        set_mode(&folder.0, 0o755);
        // By a link from a folder that others can write to.
        let other = Folder::new();
        let link = other.0.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let linked = ApiKeyFile::open(&link).unwrap();
        let new = add_for(&link, "bin");
        assert_eq!(user_of(&linked, &new).as_deref(), Some("bin"));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        set_mode(&other.0, 0o777);
        assert!(linked.keys().is_err());
        if accounts::own_uid() == Some(0) {
            // As Kubernetes mounts a Secret: it stays root's, and a group without a name may read it.
            let lend = |gid, mode| {
                std::os::unix::fs::chown(&path, Some(0), Some(gid)).unwrap();
                set_mode(&path, mode);
            };
            lend(4_100_900_900, 0o440);
            file.keys().unwrap();
            for (gid, mode) in [(4_100_900_900, 0o460), (4_100_900_900, 0o444), (1, 0o440), (0, 0o440)] {
                lend(gid, mode);
                assert!(refusal().contains("others than its owner"), "{gid} {mode:o}");
            }
            set_mode(&path, 0o600);
            std::os::unix::fs::chown(&path, Some(1), Some(1)).unwrap();
            assert!(refusal().contains("another account"));
        }
    }

    #[test]
    fn a_file_with_a_line_that_is_none_is_not_changed() {
        let folder = Folder::new();
        let path = folder.join("keys");
        add_for(&path, "daemon");
        let broken = format!("{}\nbroken", key_of("bin").kept.line());
        fs::write(&path, &broken).unwrap();
        assert!(add(&path, "bin", None, Scope::Submit, "").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), broken);
    }
}
