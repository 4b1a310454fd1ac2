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
    /// When it, its name or its rights were changed last, which nobody can set; `None` where the system does not say.
    pub placed: Option<Timestamp>,
}

/// Files that were looked at, each once, whatever names it has through links.
#[derive(Debug, Default)]
pub struct Looked {
    files: BTreeMap<PathBuf, Result<FileFacts, io::ErrorKind>>,
}

impl Looked {
    /// What is known of a file.
    ///
    /// Errors: it is not there, or cannot be read.
    pub fn at(&mut self, path: &Path) -> Result<FileFacts, io::ErrorKind> {
        let place = identity(path);
        if let Some(known) = self.files.get(&place) {
            return known.clone();
        }
        let facts = look_at(path).map_err(|error| error.kind());
        self.files.insert(place, facts.clone());
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
    let metadata = file.metadata()?;
    let modified = metadata.modified().ok();
    Ok(FileFacts {
        sha256: hexadecimal(&hash.finalize()),
        sha256_without_mark: without_mark.map(|hash| hexadecimal(&hash.finalize())),
        bytes,
        modified: modified.and_then(|modified| Timestamp::try_from(modified).ok()),
        placed: placed(&metadata),
    })
}

#[cfg(unix)]
fn placed(metadata: &fs::Metadata) -> Option<Timestamp> {
    Timestamp::from_second(std::os::unix::fs::MetadataExt::ctime(metadata)).ok()
}

#[cfg(not(unix))]
fn placed(_: &fs::Metadata) -> Option<Timestamp> {
    None
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

/// What an absolute path stands for: with `*` and `?` for a part of a name, and a folder for all files in it.
#[derive(Debug, Default)]
pub struct Found {
    /// The files, in order. One that has several names through links is here under each of them: a link can be made to lead
    /// elsewhere.
    pub files: Vec<PathBuf>,
    /// What could not be looked at, and why.
    pub unseen: Vec<(PathBuf, String)>,
    /// Whether there is a file or a folder of that name; the folder may be empty.
    pub is_there: bool,
}

/// Looks for the files for which an absolute path stands. As for R's `list.files()` and `Sys.glob()`, names that begin with a
/// point are none of them unless the path has them: editors and file servers put such files beside those of a study.
pub fn found(pattern: &str) -> Found {
    let mut found = Found::default();
    let paths = matching(pattern, &mut found.unseen);
    found.is_there = !paths.is_empty();
    collect(paths, Path::new(pattern), MOST_LINKED_FOLDERS, &mut found);
    found.files.sort();
    found.files.dedup();
    found.unseen.sort();
    found.unseen.dedup();
    found
}

/// How many folders are looked at that only links lead to. Links to folders with links are more paths than can be walked:
/// forty folders, each with two links to the next one, are 2^40.
const MOST_LINKED_FOLDERS: usize = 100_000;

/// A path that is to be looked at.
struct Open {
    path: PathBuf,
    /// The folders of the links that have led to it, without links themselves.
    of_links: Vec<PathBuf>,
}

/// Adds these files, and those of these folders and of the ones below them. Those of a folder that a link leads to are
/// named by that link. `named`: the path that somebody has named; `most`: see [`MOST_LINKED_FOLDERS`].
fn collect(paths: Vec<PathBuf>, named: &Path, most: usize, found: &mut Found) {
    let is_linked_folder = |path: &Path| path.is_symlink() && path.is_dir();
    let begin = |path: PathBuf| {
        let is_followed = path == named || !is_linked_folder(&path);
        let of_links = match path.parent() {
            Some(parent) if !is_followed => vec![identity(parent)],
            _ => Vec::new(),
        };
        Open { path, of_links }
    };
    let mut open: Vec<Open> = paths.into_iter().rev().map(begin).collect();
    let mut linked = 0;
    while let Some(Open { path, of_links }) = open.pop() {
        let is_link = path.is_symlink();
        match fs::metadata(&path) {
            Err(error) => found.unseen.push((path, why_unseen(error.kind(), is_link))),
            Ok(metadata) if metadata.is_file() => found.files.push(path),
            Ok(metadata) if metadata.is_dir() => match entries_of(&path) {
                Err(error) => found.unseen.push((path, why_unseen(error.kind(), is_link))),
                Ok((folder, mut entries)) => {
                    // A link to a folder that holds it leads to the files that it lies among, and to all beside them; so
                    // does one to a folder through which the way has come.
                    if is_link && of_links.iter().any(|of_link| of_link.starts_with(&folder)) {
                        continue;
                    }
                    linked += usize::from(!of_links.is_empty());
                    if linked > most {
                        found.unseen.push((path, "links lead to too many folders".into()));
                        open.retain(|open| open.of_links.is_empty());
                        continue;
                    }
                    entries.retain(|entry| !is_hidden(entry));
                    entries.sort();
                    open.extend(entries.into_iter().rev().map(|path| {
                        let mut of_links = of_links.clone();
                        if is_linked_folder(&path) {
                            of_links.push(folder.clone());
                        }
                        Open { path, of_links }
                    }));
                }
            },
            // A pipe or a socket beside files has no text. One that was named is missed.
            Ok(_) if path == named => found.unseen.push((path, "it is no file".into())),
            Ok(_) => {}
        }
    }
}

/// Where a folder is without links, and what it has.
fn entries_of(folder: &Path) -> io::Result<(PathBuf, Vec<PathBuf>)> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    Ok((fs::canonicalize(folder)?, entries.collect::<io::Result<_>>()?))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Why something cannot be looked at.
pub fn why_unseen(kind: io::ErrorKind, is_link: bool) -> String {
    match kind {
        io::ErrorKind::NotFound if is_link => "it is a link that leads nowhere".into(),
        io::ErrorKind::InvalidInput => "it is no file".into(),
        kind => kind.to_string(),
    }
}

/// A path without links, by which two names of one file are known to be. Of one that is not there the folder is looked at.
pub fn identity(path: &Path) -> PathBuf {
    let of_folder = || Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
    fs::canonicalize(path)
        .ok()
        .or_else(of_folder)
        .unwrap_or_else(|| path.to_path_buf())
}

/// Whether there is a file or a folder for which an absolute path stands, in which `*` and `?` stand for a part of a name.
/// A file that has such letters in its name is found by it, too.
pub fn is_any_there(pattern: &str) -> bool {
    !matching(pattern, &mut Vec::new()).is_empty()
}

/// The files and folders that an absolute path names. A file that has `*` in its name is found by it, too. `unseen` gets what
/// may be one and cannot be looked at.
fn matching(pattern: &str, unseen: &mut Vec<(PathBuf, String)>) -> Vec<PathBuf> {
    let path = PathBuf::from(pattern);
    if path.exists() {
        return vec![path];
    }
    let is_missing = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let is_pattern = part.contains(['*', '?']);
        let mut next = Vec::new();
        for folder in found {
            match is_pattern {
                false => next.push(folder.join(part)),
                true => match entries(&folder, part) {
                    Ok(entries) => next.extend(entries),
                    Err(error) if is_missing(error.kind()) => {}
                    Err(error) => unseen.push((folder, why_unseen(error.kind(), false))),
                },
            }
        }
        next.retain(|path| match fs::metadata(path) {
            Ok(_) => true,
            // Of a name that was listed it is known that it is there.
            Err(error) if is_missing(error.kind()) && !is_pattern => false,
            Err(error) => {
                unseen.push((path.clone(), why_unseen(error.kind(), path.is_symlink())));
                false
            }
        });
        found = next;
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

/// The entries of a folder whose names a pattern stands for.
fn entries(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_meant = name.to_str().is_some_and(|name| plan::matches(pattern, name));
        if is_meant && (pattern.starts_with('.') || !is_hidden(&entry.path())) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
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

    #[cfg(unix)]
    #[test]
    fn each_file_of_a_folder_is_found_under_the_names_of_its_links_and_what_cannot_be_seen_is_said() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;
        let folder = Folder::new();
        let base = folder.path("study/adam");
        fs::create_dir_all(folder.join("study/adam/v1/deep")).unwrap();
        fs::create_dir_all(folder.join("other")).unwrap();
        for name in [
            "study/adam/a.rds",
            "study/adam/v1/deep/b.rds",
            "study/beside.rds",
            "other/c.rds",
        ] {
            fs::write(folder.join(name), "").unwrap();
        }
        // What editors, file servers and abba itself put there.
        for name in [".nfs0001", ".~lock.a.rds#", ".abba-1.tmp"] {
            fs::write(folder.join("study/adam").join(name), "").unwrap();
        }
        fs::create_dir(folder.join("study/adam/.snapshot")).unwrap();
        fs::write(folder.join("study/adam/.snapshot/old.rds"), "").unwrap();
        // Links up and across: followed for ever they would be 2^40 paths.
        let at = |name: &str| folder.join("study/adam").join(name);
        for (to, name) in [
            (".", "itself"),
            ("..", "up"),
            ("v1", "current"),
            ("v1", "latest"),
            ("../../other", "other"),
            ("none", "broken"),
        ] {
            symlink(to, at(name)).unwrap();
        }
        symlink("../..", at("v1/up")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let of = |pattern: &str| {
            let found = found(pattern);
            let name = |path: &Path| path.to_str().unwrap().replace(&(base.clone() + "/"), "");
            let unseen = found.unseen.iter().map(|(path, why)| format!("{}: {why}", name(path)));
            (
                found.files.iter().map(|path| name(path)).collect::<Vec<_>>().join(" "),
                unseen.collect::<Vec<_>>().join(" "),
            )
        };
        let broken = "broken: it is a link that leads nowhere".to_string();
        for pattern in [base.clone(), format!("{base}/*")] {
            assert_eq!(
                of(&pattern),
                (
                    "a.rds current/deep/b.rds latest/deep/b.rds other/c.rds v1/deep/b.rds".into(),
                    broken.clone()
                ),
                "{pattern}"
            );
        }
        assert_eq!(of(&format!("{base}/.nfs*")).0, ".nfs0001");
        assert_eq!(of(&format!("{base}/socket")).1, "socket: it is no file");
        assert_eq!(of(&format!("{base}/current")).0, "current/deep/b.rds");
        assert!(found(&base).is_there && !found(&(base.clone() + "/none")).is_there);
        // Links to each other and folders that are nested deep end, too.
        let deep = (0..60).fold(folder.join("deep"), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("x.rds"), "").unwrap();
        symlink("loop", folder.join("deep/loop")).unwrap();
        let deep = found(&folder.path("deep"));
        assert_eq!((deep.files.len(), deep.unseen.len()), (1, 1));
        // So do folders with links to each other, and links that are more ways than can be walked.
        for (name, to) in [("one", "two"), ("two", "one")] {
            fs::create_dir_all(folder.join("both").join(name)).unwrap();
            fs::write(folder.join("both").join(name).join("x.rds"), "").unwrap();
            symlink(format!("../{to}"), folder.join("both").join(name).join("other")).unwrap();
        }
        let both = found(&folder.path("both"));
        assert_eq!((both.files.len(), both.unseen.len()), (4, 0));
        for number in 0..30 {
            let ways = folder.join(format!("ways/{number}"));
            fs::create_dir_all(&ways).unwrap();
            for name in ["a", "b"] {
                symlink(format!("../{}", number + 1), ways.join(name)).unwrap();
            }
        }
        fs::create_dir(folder.join("ways/30")).unwrap();
        let (ways, mut found_ways) = (folder.join("ways"), Found::default());
        collect(vec![ways.clone()], &ways, 1000, &mut found_ways);
        let mut unseen = found_ways.unseen.iter();
        assert!(unseen.len() > 0 && unseen.all(|(_, why)| why == "links lead to too many folders"));
        // That of one file with two names is the same.
        assert_eq!(identity(&at("current/deep/b.rds")), identity(&at("v1/deep/b.rds")));
        assert_eq!(identity(&at("current/none")), identity(&at("v1/none")));
    }
}
