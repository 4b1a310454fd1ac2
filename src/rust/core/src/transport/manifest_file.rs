//! The body of a call as a file that kubectl can open.
//!
//! Not a pipe: kubectl may exit before it has read, and the SIGPIPE that a write then raises makes R jump through Rust.
//! Not stdin: kubectl asks there for a user name when its configuration has none.

use std::fs::File;
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How the path of a file begins that kubectl inherits.
pub const INHERITED: &str = "/proc/self/fd/";

/// A file that is gone when this is dropped, or, where kubectl inherits it, when the process ends, however it ends.
pub struct ManifestFile {
    path: String,
    /// Held open for kubectl to inherit.
    _open: Option<File>,
    /// Removed in the end.
    folder: Option<PathBuf>,
}

impl ManifestFile {
    /// Makes the file: on Linux without a name, else as [`Self::with_name`].
    pub fn new(body: &[u8]) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;

            let mut file = without_name()?;
            file.write_all(body)?;
            Ok(Self {
                path: format!("{INHERITED}{}", file.as_raw_fd()),
                _open: Some(file),
                folder: None,
            })
        }
        #[cfg(not(target_os = "linux"))]
        Self::with_name(body)
    }

    /// Makes the file in a folder of its own, for this user alone.
    pub fn with_name(body: &[u8]) -> io::Result<Self> {
        let folder = new_folder()?;
        let made = Self {
            path: folder.join("manifest.json").to_string_lossy().into_owned(),
            _open: None,
            folder: Some(folder),
        };
        new_file(Path::new(&made.path))?.write_all(body)?;
        Ok(made)
    }

    /// The path under which the child process opens it.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for ManifestFile {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // Nothing can be done about a failure here, and nothing depends on it.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A file that kubectl inherits under the same number: in memory, or, where the system refuses that
/// (`vm.memfd_noexec = 2`), one on disk whose name is taken away at once.
#[cfg(target_os = "linux")]
fn without_name() -> io::Result<File> {
    use nix::sys::memfd::{memfd_create, MFdFlags};

    // Without MFD_CLOEXEC: kubectl is to inherit it.
    match memfd_create("abba-manifest", MFdFlags::empty()) {
        Ok(memory) => Ok(File::from(memory)),
        Err(_) => on_disk_without_name(),
    }
}

#[cfg(target_os = "linux")]
fn on_disk_without_name() -> io::Result<File> {
    let folder = new_folder()?;
    let file = new_file(&folder.join("manifest.json"));
    let _ = std::fs::remove_dir_all(&folder);
    // The copy has no FD_CLOEXEC.
    Ok(File::from(nix::unistd::dup(&file?)?))
}

/// A new folder that only this user may enter.
fn new_folder() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("abba-{}", uuid::Uuid::new_v4().simple()));
    let builder = &mut std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(builder, 0o700);
    builder.create(&folder)?;
    Ok(folder)
}

fn new_file(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn read_by_child(path: &str) -> Vec<u8> {
        std::process::Command::new("cat").arg(path).output().unwrap().stdout
    }

    #[test]
    fn a_child_reads_the_file_whichever_kind_it_is() {
        let inherited = ManifestFile::new(b"{1}").unwrap();
        assert!(inherited.path().starts_with(INHERITED));
        assert_eq!(read_by_child(inherited.path()), b"{1}");
        let mut on_disk = on_disk_without_name().unwrap();
        on_disk.write_all(b"{2}").unwrap();
        assert_eq!(read_by_child(&format!("{INHERITED}{}", on_disk.as_raw_fd())), b"{2}");
        let named = ManifestFile::with_name(b"{3}").unwrap();
        assert_eq!(read_by_child(named.path()), b"{3}");
        let path = named.path().to_string();
        drop(named);
        assert!(!Path::new(&path).exists());
        assert!(!Path::new(&path).parent().unwrap().exists());
    }
}
