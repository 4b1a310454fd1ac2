//! The body of a call as a file that kubectl can open.
//!
//! Not a pipe: kubectl may exit before it has read, and the SIGPIPE that a write then raises makes R jump through Rust.
//! Not stdin: kubectl asks there for a user name when its configuration has none.

use std::io;
use std::io::Write;

/// A file that is gone when this is dropped, or, on Linux, when the process ends, however it ends.
pub struct ManifestFile {
    path: String,
    #[cfg(target_os = "linux")]
    _memory: std::fs::File,
}

#[cfg(target_os = "linux")]
impl ManifestFile {
    /// Makes the file, in memory.
    pub fn new(body: &[u8]) -> io::Result<Self> {
        use std::os::fd::AsRawFd;

        use nix::sys::memfd::{memfd_create, MFdFlags};

        // Without MFD_CLOEXEC, so that kubectl inherits it under the same number.
        let mut memory = std::fs::File::from(memfd_create("abba-manifest", MFdFlags::empty())?);
        memory.write_all(body)?;
        Ok(Self {
            path: format!("/proc/self/fd/{}", memory.as_raw_fd()),
            _memory: memory,
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl ManifestFile {
    /// Makes the file, in the folder for temporary files, for this user alone.
    pub fn new(body: &[u8]) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("abba-{}.json", uuid::Uuid::new_v4()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path)?.write_all(body)?;
        Ok(Self {
            path: path.to_string_lossy().into_owned(),
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for ManifestFile {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and nothing depends on it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl ManifestFile {
    /// The path under which the child process opens it.
    pub fn path(&self) -> &str {
        &self.path
    }
}
