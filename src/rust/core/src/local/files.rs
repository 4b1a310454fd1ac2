//! Looking for files on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::domain::plan;
use crate::error::quote_shortened;
use crate::Error;

/// Whether there is a file or a folder for which an absolute path stands, in which `*` and `?` stand for a part of a name.
/// A file that has such letters in its name is found by it, too.
pub fn is_any_there(pattern: &str) -> bool {
    if Path::new(pattern).exists() {
        return true;
    }
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = match part.contains(['*', '?']) {
            true => found.iter().flat_map(|folder| entries(folder, part)).collect(),
            false => found.into_iter().map(|folder| folder.join(part)).collect(),
        };
        found.retain(|path| path.exists());
    }
    !found.is_empty()
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

    #[test]
    fn a_pattern_stands_for_parts_of_names() {
        let folder = std::env::temp_dir().join(format!("abba-core-test-{}", uuid::Uuid::new_v4()));
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
        fs::remove_dir_all(folder).unwrap();
    }
}
