//! A program of this machine made ready to be sent to an abba API.

use std::path::Path;

use serde_json::Value;

use crate::domain::mounts::{Access, Mounts};
use crate::domain::program::ProgramSource;
use crate::local::program_file;
use crate::Error;

/// What is sent of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramUpload {
    /// Its absolute path, without `.` and `..` where the program is on this machine.
    pub absolute_path: String,
    /// Its text, or the same as base64; `None`: it can only run where it is.
    pub contents: Option<ProgramSource>,
}

/// Reads the program at `expanded_path` (any `~` replaced); `given_path` is what the user wrote, for error messages.
///
/// `in_place` says that the job has storage that may hold the program: then it need not be on this machine, and may be
/// larger than what a job carries; whether the storage holds it is for the API to say.
///
/// Errors: as of [`program_file::read`], and where it is too large to be carried.
/// A program behind a link gets the path by which one of `mounts` holds it.
pub fn program_upload(
    given_path: &str,
    expanded_path: &str,
    in_place: bool,
    mounts: Option<&Value>,
) -> Result<ProgramUpload, Error> {
    // What is wrong with them the API says.
    let mounts = mounts
        .and_then(|mounts| Mounts::from_value(mounts).ok())
        .unwrap_or_default();
    let path = Path::new(expanded_path);
    if in_place && path.is_absolute() && !path.exists() {
        return Ok(ProgramUpload {
            absolute_path: expanded_path.to_string(),
            contents: None,
        });
    }
    let program = program_file::read(given_path, expanded_path)?;
    program.check(in_place.then_some(Access::Write))?;
    let contents = match program.delivery(&Mounts::default(), 0) {
        Ok(delivery) => Some(delivery),
        Err(_) if in_place => None,
        Err(error) => return Err(error),
    };
    Ok(ProgramUpload {
        absolute_path: program_file::seen_in_mounts(program, &mounts).absolute_path,
        contents,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_folder::Folder;
    use std::fs;

    #[test]
    fn text_travels_as_text_and_other_bytes_as_base64() {
        let folder = Folder::new();
        let path = folder.join("a.R");
        let path_text = path.to_str().unwrap();
        for (bytes, contents) in [
            (&b"caf\xc3\xa9\n"[..], ProgramSource::Text("caf\u{e9}\n".into())),
            (b"caf\xe9", ProgramSource::Base64("Y2Fm6Q==".into())),
        ] {
            fs::write(&path, bytes).unwrap();
            let carried = program_upload("a.R", path_text, false, None).unwrap();
            assert_eq!(carried.contents, Some(contents));
            assert_eq!(carried.absolute_path, path_text);
        }
    }

    #[test]
    fn what_cannot_be_carried_runs_in_place_or_not_at_all() {
        let folder = Folder::new();
        let path = folder.join("large.R");
        fs::write(&path, vec![b'#'; 300 * 1024]).unwrap();
        let missing = folder.join("missing.R");
        for path in [path.to_str().unwrap(), missing.to_str().unwrap()] {
            assert!(program_upload(path, path, false, None).is_err());
            let carried = program_upload(path, path, true, None).unwrap();
            assert_eq!((carried.absolute_path.as_str(), carried.contents), (path, None));
        }
        // Nobody knows where a path that is not absolute begins.
        assert!(program_upload("missing.R", "missing.R", true, None).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_program_behind_a_link_is_named_as_the_mount_holds_it() {
        let folder = Folder::new();
        fs::create_dir_all(folder.join("real/study")).unwrap();
        fs::write(folder.join("real/study/a.R"), b"1\n").unwrap();
        std::os::unix::fs::symlink(folder.join("real"), folder.join("data")).unwrap();
        let text = |path: &str| folder.path(path);
        let mounts = serde_json::json!({
            "volumes": [{"name": "d", "nfs": {"server": "192.0.2.1", "path": "/d"}}],
            "volumeMounts": [{"name": "d", "mountPath": text("data")}],
        });
        let path_of = |mounts| {
            program_upload("a.R", &text("real/study/a.R"), true, mounts)
                .unwrap()
                .absolute_path
        };
        assert_eq!(path_of(Some(&mounts)), text("data/study/a.R"));
        // What is no storage changes nothing.
        assert_eq!(
            path_of(Some(&serde_json::json!({"volumes": 1}))),
            text("real/study/a.R")
        );
    }
}
