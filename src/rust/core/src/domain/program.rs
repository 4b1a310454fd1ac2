//! A program, and how it gets into the container.

use base64::prelude::{Engine, BASE64_STANDARD};
use sha2::{Digest, Sha256};

use crate::domain::mounts::Mounts;
use crate::kubernetes::labels;
use crate::Error;

/// An R program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The path word for word as the user gave it. For the record only.
    pub given_path: String,
    /// The absolute path, without `.` and `..`.
    pub absolute_path: String,
    /// The program's bytes; `None` where nobody has read them, since it runs in a mount.
    pub bytes: Option<Vec<u8>>,
}

/// How the program gets into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramSource {
    /// A mount holds it: it runs where it is, in its own folder.
    InPlace,
    /// Its text travels in an annotation of the pod, which a `downwardAPI` volume makes a file.
    Text(String),
    /// The same for bytes that are no legal text for Kubernetes, or a name that such a volume cannot have: as base64,
    /// decoded in the container.
    Base64(String),
}

/// Kubernetes' bound on the keys and values of all annotations of an object together (`TotalAnnotationSizeLimitB`).
pub const TOTAL_ANNOTATION_BYTES: usize = 256 * 1024;

impl Program {
    /// The last part of the path.
    pub fn file_name(&self) -> &str {
        self.absolute_path.rsplit('/').next().unwrap_or_default()
    }

    /// The folder of the program, absolute.
    pub fn folder(&self) -> &str {
        match self.absolute_path.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((folder, _)) => folder,
        }
    }

    /// The SHA-256 of the program's bytes: 64 hexadecimal digits.
    pub fn sha256(&self) -> Option<String> {
        self.bytes.as_ref().map(|bytes| hexadecimal(&Sha256::digest(bytes)))
    }

    /// What tells a submission of this program from any other: the same for the same program under the same ids, so that
    /// a submission can be repeated until its outcome is known.
    pub fn submission(&self, job_id: &str, batch_id: &str) -> String {
        let parts = [job_id, batch_id, &self.given_path, &self.sha256().unwrap_or_default()].join("\n");
        hexadecimal(&Sha256::digest(parts))
    }

    /// How it gets into the container. An error where it is too large to be carried; `other_annotations` is what the
    /// pod's other annotations take of [`TOTAL_ANNOTATION_BYTES`].
    pub fn delivery(&self, mounts: &Mounts, other_annotations: usize) -> Result<ProgramSource, Error> {
        if mounts.cover(&self.absolute_path) {
            return Ok(ProgramSource::InPlace);
        }
        let Some(bytes) = &self.bytes else {
            return Err(Error::input(format!(
                "The program \"{}\" lies in no mount, and its text is not given.",
                self.file_name()
            ))
            .advise("Send the program's text with its path, or name the storage that holds it in `mounts`."));
        };
        let (key, delivery) = match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') && !self.file_name().starts_with("..") => {
                (labels::PROGRAM_TEXT, ProgramSource::Text(text.to_string()))
            }
            _ => (
                labels::PROGRAM_BASE64,
                ProgramSource::Base64(BASE64_STANDARD.encode(bytes)),
            ),
        };
        let (ProgramSource::Text(carried) | ProgramSource::Base64(carried)) = &delivery else {
            return Ok(delivery);
        };
        let total = carried.len() + key.len() + other_annotations;
        if total > TOTAL_ANNOTATION_BYTES {
            let encoded = match delivery {
                ProgramSource::Base64(_) => format!(
                    ", {} once encoded because it is not UTF-8 text",
                    kibibytes(carried.len())
                ),
                _ => String::new(),
            };
            return Err(Error::input(format!(
                "The program \"{}\" is too large to be sent with the job: it has {}{encoded}, and Kubernetes takes at most {} with all else that belongs to the job.",
                self.file_name(),
                kibibytes(bytes.len()),
                kibibytes(TOTAL_ANNOTATION_BYTES),
            ))
            .advise("Put it on storage that the cluster can mount and name that in `mounts` (or use `auto_mount_home = TRUE`): then it runs where it is, whatever its size."));
        }
        Ok(delivery)
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kibibytes(bytes: usize) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

/// Whether R's own launcher would hand `path` on as it is. `R` is a shell script that expands the path unquoted, so
/// that for `report[1].R` it runs `report1.R` if there is one, splits it at tabs, and writes spaces as `~+~` and line ends
/// as `~n~` on the way: a path that holds any of these has to be reached under another name. (Seen with R 4.2.2.)
pub fn survives_r_launcher(path: &str) -> bool {
    let has_code = ["~+~", "~n~"].iter().any(|code| path.contains(code));
    !has_code && !path.contains(['*', '?', '[', ']', '\\']) && !path.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn program(path: &str, bytes: &[u8]) -> Program {
        Program {
            given_path: path.into(),
            absolute_path: path.into(),
            bytes: Some(bytes.to_vec()),
        }
    }

    #[test]
    fn parts_of_the_path() {
        let in_root = program("/a.R", b"");
        assert_eq!((in_root.folder(), in_root.file_name()), ("/", "a.R"));
        let deeper = program("/x/y/a b.R", b"");
        assert_eq!((deeper.folder(), deeper.file_name()), ("/x/y", "a b.R"));
    }

    #[test]
    fn fingerprint_is_sha256() {
        assert_eq!(
            program("/a.R", b"abc").sha256().unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn text_travels_as_it_is_and_other_bytes_as_base64() {
        let none = Mounts::default();
        assert_eq!(
            program("/a.R", "é\r\n".as_bytes()).delivery(&none, 0).unwrap(),
            ProgramSource::Text("é\r\n".into())
        );
        for (path, bytes) in [("/a.R", &b"\xe9"[..]), ("/a.R", b"a\0b"), ("/..a.R", b"1")] {
            assert!(matches!(
                program(path, bytes).delivery(&none, 0).unwrap(),
                ProgramSource::Base64(_)
            ));
        }
    }

    #[test]
    fn a_mounted_program_stays_where_it_is_whatever_its_size() {
        let mounts = Mounts::from_value(&json!({
            "volumes": [{"name": "d", "emptyDir": {}}],
            "volumeMounts": [{"name": "d", "mountPath": "/d"}],
        }))
        .unwrap();
        let large = vec![b'x'; TOTAL_ANNOTATION_BYTES * 2];
        assert_eq!(
            program("/d/a.R", &large).delivery(&mounts, 0).unwrap(),
            ProgramSource::InPlace
        );
    }

    #[test]
    fn a_program_that_nobody_has_read_runs_in_a_mount_only() {
        let unread = Program {
            bytes: None,
            ..program("/d/a.R", b"")
        };
        assert_eq!(unread.sha256(), None);
        let error = unread.delivery(&Mounts::default(), 0).unwrap_err();
        assert!(error.message.contains("no mount"), "{}", error.message);
    }

    #[test]
    fn too_large_names_the_size_and_the_way_out() {
        let bytes = vec![b'x'; 300 * 1024];
        let error = program("/a.R", &bytes).delivery(&Mounts::default(), 0).unwrap_err();
        assert!(error.message.contains("300.0 KiB"), "{}", error.message);
        assert!(error.advice.unwrap().contains("mounts"));
        // The bound is on all annotations together.
        let bytes = vec![b'x'; TOTAL_ANNOTATION_BYTES - labels::PROGRAM_TEXT.len() - 10];
        assert!(program("/a.R", &bytes).delivery(&Mounts::default(), 10).is_ok());
        assert!(program("/a.R", &bytes).delivery(&Mounts::default(), 11).is_err());
    }

    #[test]
    fn paths_that_the_launcher_changes_are_known() {
        for path in ["/a b.R", "/$(touch x).R", "/p%s.R", "/q'\"`.R", "/日本.R"] {
            assert!(survives_r_launcher(path), "{path}");
        }
        for path in [
            "/report[1].R",
            "/a*.R",
            "/a?.R",
            "/a\tb.R",
            "/a\nb.R",
            "/a~+~b.R",
            "/~n~.R",
            "/a\\b.R",
        ] {
            assert!(!survives_r_launcher(path), "{path}");
        }
    }
}
