//! Looking for files on this machine.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::plan;
use crate::domain::program::hexadecimal;
use crate::error::quote_shortened;
use crate::Error;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// The SHA-256 of its bytes, as hexadecimal digits.
    pub sha256: String,
    /// The same without the byte order mark at its beginning; `None` where it has none.
    pub sha256_without_mark: Option<String>,
    /// How many bytes it has.
    pub bytes: u64,
    /// When it was changed last; `None` where the file system does not say.
    pub modified: Option<Timestamp>,
}

/// Files that were looked at, each once.
#[derive(Debug, Default)]
pub struct Looked {
    files: BTreeMap<PathBuf, Result<FileFacts, io::ErrorKind>>,
}

impl Looked {
    /// What is known of a file.
    ///
    /// Errors: it is not there, or cannot be read.
    pub fn at(&mut self, path: &Path) -> Result<FileFacts, io::ErrorKind> {
        if let Some(known) = self.files.get(path) {
            return known.clone();
        }
        let facts = look_at(path).map_err(|error| error.kind());
        self.files.insert(path.to_path_buf(), facts.clone());
        facts
    }
}

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

fn look_at(path: &Path) -> io::Result<FileFacts> {
    // A pipe or a device could keep us for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = File::open(path)?;
    let mut beginning = Vec::new();
    Read::take(&mut file, MARK.len() as u64).read_to_end(&mut beginning)?;
    let mut hash = Sha256::new_with_prefix(&beginning);
    let mut without_mark = (beginning == MARK).then(Sha256::new);
    let mut bytes = beginning.len() as u64;
    let mut part = vec![0; 128 * 1024];
    loop {
        match file.read(&mut part) {
            Ok(0) => break,
            Ok(count) => {
                bytes += count as u64;
                hash.update(&part[..count]);
                if let Some(hash) = &mut without_mark {
                    hash.update(&part[..count]);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let modified = file.metadata()?.modified().ok();
    Ok(FileFacts {
        sha256: hexadecimal(&hash.finalize()),
        sha256_without_mark: without_mark.map(|hash| hexadecimal(&hash.finalize())),
        bytes,
        modified: modified.and_then(|modified| Timestamp::try_from(modified).ok()),
    })
}

/// Writes each file whole or not at all, and none before all are on the disk: whoever reads one meanwhile gets the one before.
/// A link of its name is replaced, not followed.
///
/// Errors: which of them cannot be written, and why; then nothing is left behind.
pub fn write_together<'a>(files: &[(&'a Path, &[u8])]) -> Result<(), (&'a Path, io::Error)> {
    let mut unfinished = Vec::new();
    let written = write_unfinished(files, &mut unfinished).and_then(|()| {
        let mut both = files.iter().zip(&unfinished);
        both.try_for_each(|((path, _), unfinished)| fs::rename(unfinished, path).map_err(|error| (*path, error)))
    });
    if written.is_err() {
        for path in unfinished {
            let _ = fs::remove_file(path);
        }
    }
    written
}

/// Writes files under other names, which are added to `unfinished`.
fn write_unfinished<'a>(
    files: &[(&'a Path, &[u8])],
    unfinished: &mut Vec<PathBuf>,
) -> Result<(), (&'a Path, io::Error)> {
    for (path, bytes) in files {
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = folder.join(format!(".abba-{}.tmp", Uuid::new_v4()));
        let made = OpenOptions::new().write(true).create_new(true).open(&name);
        unfinished.push(name);
        made.and_then(|mut file| {
            file.write_all(bytes)?;
            // Else a machine that loses its power may keep the new name with nothing in it.
            file.sync_all()
        })
        .map_err(|error| (*path, error))?;
    }
    Ok(())
}

/// The files for which an absolute path stands, in order: with `*` and `?` for a part of a name, and a folder for all files in
/// it.
pub fn found(pattern: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in matching(pattern) {
        collect(path, &mut files, 0);
    }
    files.sort();
    files.dedup();
    files
}

/// No folder of a study is nested deeper; a link that leads back up would be followed for ever.
const DEEPEST: usize = 40;

fn collect(path: PathBuf, files: &mut Vec<PathBuf>, depth: usize) {
    if !path.is_dir() {
        files.push(path);
    } else if depth < DEEPEST {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            collect(entry.path(), files, depth + 1);
        }
    }
}

/// Whether there is a file or a folder for which an absolute path stands, in which `*` and `?` stand for a part of a name.
/// A file that has such letters in its name is found by it, too.
pub fn is_any_there(pattern: &str) -> bool {
    !matching(pattern).is_empty()
}

/// The files and folders that an absolute path names. A file that has `*` in its name is found by it, too.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let path = PathBuf::from(pattern);
    if path.exists() {
        return vec![path];
    }
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = match part.contains(['*', '?']) {
            true => found.iter().flat_map(|folder| entries(folder, part)).collect(),
            false => found.into_iter().map(|folder| folder.join(part)).collect(),
        };
        found.retain(|path| path.exists());
    }
    found
}

/// The lines of a text file, without their ends. Bytes that are no UTF-8 text become U+FFFD.
///
/// Errors, of class `Input`: the file cannot be read.
pub fn lines(path: &str) -> Result<Vec<String>, Error> {
    let bytes =
        fs::read(path).map_err(|error| Error::input(format!("{} cannot be read: {error}.", quote_shortened(path))))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::to_string).collect())
}

/// The entries of a folder whose names a pattern stands for; none where it cannot be read.
fn entries(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| plan::matches(pattern, name))
        })
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_folder::Folder;

    #[test]
    fn a_pattern_stands_for_parts_of_names() {
        let folder = Folder::new();
        let base = folder.to_str().unwrap();
        fs::create_dir_all(folder.join("sdtm/v1")).unwrap();
        fs::write(folder.join("sdtm/v1/dm.rds"), "").unwrap();
        fs::write(folder.join("what?"), "").unwrap();
        for (pattern, is_there) in [
            ("sdtm/v1/dm.rds", true),
            ("sdtm", true),
            ("s*/v?/d*.rds", true),
            ("*/dm.rds", false),
            ("sdtm/v1/ae*", false),
            ("none/*", false),
            ("what?", true),
            ("*", true),
        ] {
            assert_eq!(is_any_there(&format!("{base}/{pattern}")), is_there, "{pattern}");
        }
    }
}
