//! Reading a program from this machine.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::domain::mounts::Mounts;
use crate::domain::program::Program;
use crate::error::quote_shortened;
use crate::Error;

/// No program is read that is larger than this; no annotation could carry it, and a file of this size is none.
const LARGEST_BYTES: u64 = 64 * 1024 * 1024;

/// Reads the program at `expanded_path` (any `~` replaced); `given_path` is what the user wrote, for the record.
///
/// Errors: it does not exist, is no file, cannot be read, or has a name that Kubernetes cannot hold.
pub fn read(given_path: &str, expanded_path: &str) -> Result<Program, Error> {
    let shown = quote_shortened(given_path);
    let refuse = |what: String| {
        Err(Error::input(format!(
            "`file_path` must name an R program, and {shown} {what}."
        )))
    };
    if expanded_path.is_empty() {
        return refuse("is empty".into());
    }
    let path = Path::new(expanded_path);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if is_there_in_latin1(expanded_path) {
                return refuse(
                    "has its name in Latin-1, which Kubernetes cannot hold: rename it, or copy it, in a session that is \
                     UTF-8 or to a name without accents"
                        .into(),
                );
            }
            if fs::symlink_metadata(path).is_ok() {
                return refuse("is a link to a file that does not exist".into());
            }
            if expanded_path.contains("://") {
                return refuse("is an address: give the path of a file".into());
            }
            if cfg!(unix) && is_windows_path(expanded_path) {
                return refuse("is a path of Windows, which means nothing on this machine".into());
            }
            return match std::env::current_dir() {
                _ if path.is_absolute() => refuse("does not exist".into()),
                Ok(folder) => refuse(format!("does not exist in {}", folder.display())),
                Err(_) => refuse("cannot be found: the working directory does not exist any more".into()),
            };
        }
        Err(error) => return refuse(format!("cannot be read: {error}")),
    };
    if metadata.is_dir() {
        return refuse("is a folder".into());
    }
    // A pipe or a device could keep us for ever.
    if !metadata.is_file() {
        return refuse("is no ordinary file".into());
    }
    if metadata.len() > LARGEST_BYTES {
        return refuse(format!("has {} bytes, more than any program", metadata.len()));
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return refuse(format!("cannot be read: {error}")),
    };
    let absolute = match absolute(path) {
        Ok(absolute) => absolute,
        Err(error) => return refuse(format!("cannot be located: {error}")),
    };
    let Some(absolute_path) = absolute.to_str() else {
        return refuse("has a path that is no UTF-8 text".into());
    };
    Ok(Program {
        given_path: given_path.to_string(),
        absolute_path: absolute_path.to_string(),
        bytes: Some(bytes),
    })
}

/// Whether a path is `C:\...`, `C:/...` or `\\server\...`.
fn is_windows_path(path: &str) -> bool {
    let after_drive = path.strip_prefix(|c: char| c.is_ascii_alphabetic());
    let has_drive = after_drive.is_some_and(|rest| rest.starts_with(":\\") || rest.starts_with(":/"));
    has_drive || path.starts_with("\\\\")
}

/// Whether a file of this name is there whose name is in Latin-1, as R makes it in such a session.
#[cfg(unix)]
fn is_there_in_latin1(path: &str) -> bool {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let bytes: Option<Vec<u8>> = path
        .chars()
        .map(|letter| u8::try_from(u32::from(letter)).ok())
        .collect();
    bytes.is_some_and(|bytes| !path.is_ascii() && Path::new(OsStr::from_bytes(&bytes)).exists())
}

#[cfg(not(unix))]
fn is_there_in_latin1(_: &str) -> bool {
    false
}

/// The same program under the path by which a mount holds it. R's working directory, for one, has lost the links by which
/// users name it, and mounts are named by links, or by what they lead to. A program that no mount holds stays as it is.
#[must_use]
pub fn seen_in_mounts(program: Program, mounts: &Mounts) -> Program {
    if mounts.cover(&program.absolute_path) {
        return program;
    }
    let found = || {
        let real = fs::canonicalize(&program.absolute_path).ok()?;
        let path_in = |folder: String| {
            let rest = real.strip_prefix(fs::canonicalize(&folder).ok()?).ok()?;
            let path = Path::new(&folder).join(rest).to_str()?.to_string();
            mounts.cover(&path).then_some(path)
        };
        mounts.storage_folders().find_map(path_in)
    };
    match found() {
        Some(absolute_path) => Program {
            absolute_path,
            ..program
        },
        None => program,
    }
}

/// The absolute path without `.` and `..`. Symbolic links stay as they are, since the container may know the path only
/// by its link; but `..` behind a link means the link's target, so then all are resolved.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    if absolute.components().any(|component| component == Component::ParentDir) {
        return fs::canonicalize(&absolute);
    }
    Ok(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_folder::Folder;

    #[test]
    fn a_program_is_read_with_its_path_as_given() {
        let folder = Folder::new();
        fs::write(folder.join("a.R"), b"1\n").unwrap();
        let path = folder.join("./x/../a.R");
        fs::create_dir(folder.join("x")).unwrap();
        let program = read("~/a.R", path.to_str().unwrap()).unwrap();
        assert_eq!(program.given_path, "~/a.R");
        assert_eq!(
            program.absolute_path,
            fs::canonicalize(folder.join("a.R")).unwrap().to_str().unwrap()
        );
        assert_eq!(program.bytes.as_deref(), Some(&b"1\n"[..]));
    }

    #[cfg(unix)]
    #[test]
    fn a_program_behind_a_link_is_seen_in_the_mount_of_either_path() {
        let given = Folder::new();
        let folder = fs::canonicalize(&given.0).unwrap();
        fs::create_dir_all(folder.join("real/study")).unwrap();
        fs::write(folder.join("real/study/a.R"), b"1\n").unwrap();
        std::os::unix::fs::symlink(folder.join("real"), folder.join("data")).unwrap();
        let text = |path: &str| folder.join(path).to_str().unwrap().to_string();
        for (program, mount, seen) in [
            ("real/study/a.R", "data", "data/study/a.R"),
            ("data/study/a.R", "real", "real/study/a.R"),
            ("data/study/a.R", "data", "data/study/a.R"),
            ("data/study/a.R", "elsewhere", "data/study/a.R"),
        ] {
            let mut mounts = Mounts::default();
            mounts.add_home(&text(mount), "192.0.2.1");
            let program = read("a.R", &text(program)).unwrap();
            assert_eq!(seen_in_mounts(program, &mounts).absolute_path, text(seen));
        }
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let folder = Folder::new();
        let missing = folder.join("missing.R");
        for (path, word) in [
            (missing.to_str().unwrap(), "does not exist"),
            (folder.to_str().unwrap(), "is a folder"),
            ("", "is empty"),
            ("/dev/zero", "no ordinary file"),
            ("file:///a.R", "is an address"),
            #[cfg(unix)]
            ("C:\\Users\\mike\\a.R", "path of Windows"),
            #[cfg(unix)]
            ("\\\\server\\share\\a.R", "path of Windows"),
        ] {
            let error = read(path, path).unwrap_err();
            assert!(error.message.contains(word), "{}", error.message);
        }
    }
}
