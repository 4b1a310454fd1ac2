//! Who may change what the server relies on: its keys, its socket, its log.

use std::path::Path;

#[cfg(unix)]
use super::accounts;

/// Whether an account is this one or root.
#[cfg(unix)]
pub fn is_ours(uid: u32) -> bool {
    uid == 0 || Some(uid) == accounts::own_uid()
}

/// Checks that nobody but this account and root may put something else in the place of what is in a folder.
///
/// Errors: why they may, or that it cannot be known, as in "it is in a folder that others can write to".
#[cfg(unix)]
pub fn check_folder(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;

    let metadata = std::fs::metadata(folder).map_err(|error| format!("is in a folder that cannot be read: {error}"))?;
    // In a folder like /tmp nobody takes away what is somebody else's.
    let is_sticky = metadata.mode() & 0o1000 != 0;
    if metadata.mode() & 0o022 != 0 && !is_sticky {
        return Err("is in a folder that others can write to".into());
    }
    match is_ours(metadata.uid()) {
        true => Ok(()),
        false => Err("is in a folder of another account than the one that runs the server".into()),
    }
}

/// Here files have no owners that are numbers.
#[cfg(not(unix))]
pub fn check_folder(_: &Path) -> Result<(), String> {
    Ok(())
}

/// The folder that a path leads through last.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
