//! A file that lines are added to, for years, while others move it away.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A log file. It is opened by its name anew once another file stands there, or none: what turns logs over renames the file,
/// and needs to tell nobody (logrotate without `copytruncate`).
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    open: Mutex<Option<File>>,
}

impl LogFile {
    /// The file at `path`, which is made, for its owner alone, when the first line is written.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            open: Mutex::new(None),
        }
    }

    /// Adds lines, each with its end; `is_kept`: they are on the disk when this returns. All of them are written or none, as
    /// far as the file system can.
    ///
    /// The thread must have SIGXFSZ blocked, which else ends the process where a limit on the size of files is met.
    ///
    /// Errors: they cannot be written.
    pub fn append(&self, lines: &str, is_kept: bool) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = |file: &File| Ok::<_, io::Error>(is_same(&file.metadata()?, &fs::metadata(&self.path)?));
        let mut file = match open.take() {
            Some(file) if is_there(&file).unwrap_or(false) => file,
            _ => self.open()?,
        };
        // After an error it is looked at anew.
        write_whole(&mut file, lines.as_bytes())?;
        if is_kept && file.metadata()?.is_file() {
            file.sync_data()?;
        }
        *open = Some(file);
        Ok(())
    }

    /// Whether lines can be written, as far as that can be known without one.
    ///
    /// Errors: they cannot.
    pub fn check(&self) -> io::Result<()> {
        self.open().map(drop)
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.path)?;
        check_owners(&self.path, &file)?;
        if file.metadata()?.is_file() && !ends_whole(&self.path) {
            file.write_all(b"\n")?;
        }
        Ok(file)
    }
}

/// Refuses a file that another account than this one and root can change, or has put there: one that lay in `/tmp` before, or a
/// link to a file that is no log. What is no file, as standard error, nobody can change.
#[cfg(unix)]
fn check_owners(path: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;

    use super::ownership::{folder_of, is_ours};

    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(());
    }
    let refuse = |what: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    let folder = fs::metadata(folder_of(path))?;
    if !is_ours(metadata.uid()) || !is_ours(fs::symlink_metadata(path)?.uid()) {
        return refuse("it belongs to another account than the one that runs the server, and not to root");
    }
    if metadata.mode() & 0o002 != 0 || folder.mode() & 0o1002 == 0o002 {
        return refuse("everybody can write to it, or to its folder");
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_owners(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

/// Whether a file that a server that was killed in the midst of a line left behind ends with a whole one.
fn ends_whole(path: &Path) -> bool {
    use std::io::{Read, Seek, SeekFrom};

    let last = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok::<_, io::Error>(byte[0])
    };
    // One that is empty, or that this account may not read, is taken to be whole.
    last().map_or(true, |byte| byte == b'\n')
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Where files have no numbers one that is open cannot be renamed either.
#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// Writes all, or takes back the part that was written: half a line is no line.
fn write_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata().map_or(0, |metadata| metadata.len());
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let after = before + written as u64;
                if written > 0 && file.metadata().is_ok_and(|metadata| metadata.len() == after) {
                    let _ = file.set_len(before);
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::test_folder::Folder;
    use std::os::unix::fs::{symlink, PermissionsExt};

    #[test]
    fn it_is_for_its_owner_alone_from_the_start() {
        let folder = Folder::new();
        LogFile::new(&folder.join("log")).append("a\n", true).unwrap();
        assert_eq!(
            fs::metadata(folder.join("log")).unwrap().permissions().mode() & 0o777,
            0o600
        );
        // One that the administrator has made stays as it is.
        fs::set_permissions(folder.join("log"), fs::Permissions::from_mode(0o640)).unwrap();
        LogFile::new(&folder.join("log")).append("b\n", false).unwrap();
        assert_eq!(
            fs::metadata(folder.join("log")).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(fs::read_to_string(folder.join("log")).unwrap(), "a\nb\n");
    }

    #[test]
    fn a_file_that_another_account_can_change_is_no_log() {
        let folder = Folder::new();
        let log = LogFile::new(&folder.join("log"));
        log.append("a\n", false).unwrap();
        let refused = |words: &str| {
            let error = LogFile::new(&folder.join("log")).append("b\n", false).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        };
        fs::set_permissions(folder.join("log"), fs::Permissions::from_mode(0o666)).unwrap();
        refused("everybody can write");
        fs::set_permissions(folder.join("log"), fs::Permissions::from_mode(0o660)).unwrap();
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
        refused("everybody can write");
        // As /tmp is.
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o1777)).unwrap();
        LogFile::new(&folder.join("log")).append("b\n", false).unwrap();
        // Root alone can give files to others.
        if std::os::unix::fs::chown(folder.join("log"), Some(1), None).is_ok() {
            refused("another account");
            let own = folder.0.join("own");
            fs::write(&own, "x\n").unwrap();
            fs::remove_file(folder.join("log")).unwrap();
            symlink(&own, folder.join("log")).unwrap();
            LogFile::new(&folder.join("log")).append("c\n", false).unwrap();
            std::os::unix::fs::lchown(folder.join("log"), Some(1), None).unwrap();
            refused("another account");
            assert_eq!(fs::read_to_string(&own).unwrap(), "x\nc\n");
        }
    }

    #[test]
    fn a_file_that_was_moved_or_removed_is_made_anew() {
        let folder = Folder::new();
        let log = LogFile::new(&folder.join("log"));
        log.append("a\n", false).unwrap();
        let moved = folder.0.join("log.1");
        fs::rename(folder.join("log"), &moved).unwrap();
        log.append("b\n", false).unwrap();
        log.append("c\n", false).unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "a\n");
        assert_eq!(fs::read_to_string(folder.join("log")).unwrap(), "b\nc\n");
        fs::remove_file(folder.join("log")).unwrap();
        log.append("d\n", false).unwrap();
        assert_eq!(fs::read_to_string(folder.join("log")).unwrap(), "d\n");
        // What turns it over may have made the new one already.
        fs::rename(folder.join("log"), &moved).unwrap();
        fs::write(folder.join("log"), "").unwrap();
        log.append("e\n", false).unwrap();
        assert_eq!(fs::read_to_string(folder.join("log")).unwrap(), "e\n");
    }

    #[test]
    fn a_line_that_was_broken_off_does_not_spoil_the_next() {
        let folder = Folder::new();
        fs::write(folder.join("log"), "a\nhalf").unwrap();
        LogFile::new(&folder.join("log")).append("b\n", false).unwrap();
        assert_eq!(fs::read_to_string(folder.join("log")).unwrap(), "a\nhalf\nb\n");
    }

    #[test]
    fn a_full_disk_and_a_missing_folder_are_errors_and_heal() {
        let folder = Folder::new();
        symlink("/dev/full", folder.join("log")).unwrap();
        let log = LogFile::new(&folder.join("log"));
        assert_eq!(log.append("a\n", true).unwrap_err().kind(), io::ErrorKind::StorageFull);
        fs::remove_file(folder.join("log")).unwrap();
        log.append("b\n", true).unwrap();
        assert_eq!(fs::read_to_string(folder.join("log")).unwrap(), "b\n");
        assert!(LogFile::new(&folder.0.join("none/log")).append("a\n", false).is_err());
        assert!(LogFile::new(&folder.0.join("none/log")).check().is_err());
    }
}
