//! The Unix socket that a server listens on.

use std::path::Path;

use crate::error::quote_shortened;
#[cfg(unix)]
use crate::local::ownership::{check_folder, folder_of};
use crate::Error;

/// The longest path of a socket, in bytes: `sun_path` of <https://man7.org/linux/man-pages/man7/unix.7.html>, without the NUL.
#[cfg(unix)]
const LONGEST_PATH: usize = 107;

/// Makes way for a socket at `path`: one that nobody listens on any more is taken away.
///
/// Errors: a socket cannot be made there, something else stands there, or a program listens on it.
#[cfg(unix)]
pub fn make_way(path: &Path) -> Result<(), Error> {
    use std::io::ErrorKind;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::FileTypeExt;

    use std::os::unix::net::UnixStream;

    let refuse = |what: &str| {
        let shown = quote_shortened(&path.to_string_lossy());
        Error::input(format!("`socket` must be the path of a socket, and {shown} {what}."))
            .meaning("The server is not started.")
    };
    if path.as_os_str().as_bytes().len() > LONGEST_PATH {
        return Err(refuse(&format!("is longer than {LONGEST_PATH} bytes")));
    }
    // Whoever can write to it can put a socket of their own there, and gets what the web server sends, keys too.
    check_folder(folder_of(path)).map_err(|what| refuse(&what))?;
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refuse(&format!("cannot be looked at: {error}"))),
    };
    if !there.file_type().is_socket() {
        return Err(refuse("is something else"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| refuse(&format!("cannot be taken away: {error}")))
        }
        Ok(_) => Err(refuse("is in use: a program listens on it")),
        Err(error) => Err(refuse(&format!("cannot be tried: {error}"))),
    }
}

/// There are no Unix sockets here.
#[cfg(not(unix))]
pub fn make_way(path: &Path) -> Result<(), Error> {
    let shown = quote_shortened(&path.to_string_lossy());
    Err(Error::input(format!(
        "`socket` cannot be {shown}: this machine has no Unix sockets."
    )))
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::test_folder::Folder;

    #[test]
    fn a_socket_that_nobody_listens_on_is_taken_away_and_nothing_else() {
        let folder = Folder::new();
        let socket = folder.join("s");
        make_way(&socket).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        assert!(make_way(&socket).unwrap_err().message.contains("in use"));
        drop(listener);
        assert!(socket.exists());
        make_way(&socket).unwrap();
        assert!(!socket.exists());
        fs::write(&socket, "text").unwrap();
        assert!(make_way(&socket).unwrap_err().message.contains("something else"));
        assert!(socket.exists());
        if std::os::unix::fs::chown(&folder.0, Some(1), None).is_ok() {
            // In the folder of another account, which can put its own socket there; root alone can try this.
            assert!(make_way(&folder.join("t"))
                .unwrap_err()
                .message
                .contains("another account"));
            std::os::unix::fs::chown(&folder.0, Some(0), None).unwrap();
        }
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(make_way(&folder.join("t"))
            .unwrap_err()
            .message
            .contains("others can write"));
        assert!(make_way(&folder.join("x".repeat(200)))
            .unwrap_err()
            .message
            .contains("longer"));
        assert!(make_way(&folder.join("none").join("s")).is_err());
    }
}
