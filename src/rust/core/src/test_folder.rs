//! A folder for a test.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A new folder that goes with the test. Its path is short enough for sockets in it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("abba-test-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// The path of what may lie in it.
    pub fn path(&self, name: &str) -> String {
        self.join(name).to_str().unwrap().to_string()
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
