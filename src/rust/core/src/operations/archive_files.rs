//! Reading the files of an archive. Its folder may not answer, as one that is mounted from a machine that is away: then whoever
//! asks is told so after a while, and the thread alone waits on that reads.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::domain::program::hexadecimal;
use crate::transport::leave_signals_to_main_thread;

/// How often in a row nothing may come of a file, [`LOOK`] each time. It is no time on the clock: a process that stands still has
/// not waited for its own threads.
const QUIET_LOOKS: u32 = if cfg!(test) { 20 } else { 300 };
const LOOK: Duration = Duration::from_millis(50);

/// So many threads may wait for a folder that does not answer. More are not begun.
const MOST_WAITING: usize = 4;

/// How much is read at once.
const PART_BYTES: usize = 1024 * 1024;

/// Does what may never end, each in a thread of its own.
#[derive(Debug)]
pub(super) struct Patiently {
    /// The threads that nobody waits for any more, for as long as they are there.
    left: Mutex<Vec<Weak<()>>>,
}

/// That of the archive.
pub(super) static PATIENTLY: Patiently = Patiently::new();

impl Patiently {
    const fn new() -> Self {
        Self {
            left: Mutex::new(Vec::new()),
        }
    }

    /// Does something; it is left where it gives no sign of life for a while. It is given what tells that.
    ///
    /// Errors: its own; [`io::ErrorKind::TimedOut`].
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Fn()) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let does_not_answer = || io::Error::new(io::ErrorKind::TimedOut, "its folder does not answer");
        if self.left() >= MOST_WAITING {
            return Err(does_not_answer());
        }
        let (sender, signs) = mpsc::channel();
        let here = Arc::new(());
        let thread = Arc::downgrade(&here);
        thread::Builder::new().name("abba-archive".into()).spawn(move || {
            leave_signals_to_main_thread();
            let _here = here;
            let outcome = work(&|| drop(sender.send(None)));
            // Nobody may wait for it any more.
            let _ = sender.send(Some(outcome));
        })?;
        let mut quiet_looks = 0;
        loop {
            match signs.recv_timeout(LOOK) {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => quiet_looks = 0,
                Err(RecvTimeoutError::Timeout) if quiet_looks < QUIET_LOOKS => quiet_looks += 1,
                Err(_) => {
                    lock(&self.left).push(thread);
                    return Err(does_not_answer());
                }
            }
        }
    }

    /// How many threads wait that nobody waits for.
    fn left(&self) -> usize {
        let mut left = lock(&self.left);
        left.retain(|thread| thread.strong_count() > 0);
        left.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a file has.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub bytes: Vec<u8>,
    /// Which state of which file that is; `None`: it was changed meanwhile, or the system does not tell.
    state: Option<FileState>,
}

/// A file and when it was changed last: device, number, size, and the times of its bytes and of what the system has of it. That
/// time nobody can set back.
type FileState = [i128; 7];

/// Reads a file.
///
/// Errors: as those of [`Patiently::run`].
pub(super) fn contents(path: &Path) -> io::Result<Contents> {
    let path = path.to_path_buf();
    PATIENTLY.run(move |is_alive| {
        let mut file = File::open(path)?;
        let before = state(&file.metadata()?);
        let mut bytes = Vec::new();
        while (&mut file).take(PART_BYTES as u64).read_to_end(&mut bytes)? > 0 {
            is_alive();
        }
        let state = state(&file.metadata()?).filter(|state| before == Some(*state));
        Ok(Contents { bytes, state })
    })
}

#[cfg(unix)]
fn state(metadata: &Metadata) -> Option<FileState> {
    use std::os::unix::fs::MetadataExt;
    Some([
        metadata.dev().into(),
        metadata.ino().into(),
        metadata.size().into(),
        metadata.mtime().into(),
        metadata.mtime_nsec().into(),
        metadata.ctime().into(),
        metadata.ctime_nsec().into(),
    ])
}

#[cfg(not(unix))]
fn state(_: &Metadata) -> Option<FileState> {
    None
}

/// The SHA-256 of files, each computed once for as long as the file does not change: a long log is read in many pages.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: Mutex<HashMap<FileState, String>>,
}

/// Those of the files that this process reads.
pub(super) static DIGESTS: std::sync::LazyLock<Digests> = std::sync::LazyLock::new(Digests::default);

/// A file that was changed in the last so many seconds may be changed again without another time: clocks of file systems are
/// coarse, and not ours.
const SETTLED: i128 = 10;

/// So many are kept.
const MOST_KNOWN: usize = 10_000;

impl Digests {
    /// The SHA-256 of what was read, as hexadecimal digits.
    pub fn of(&self, contents: &Contents) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs().into());
        self.at(now, contents.state, || hexadecimal(&Sha256::digest(&contents.bytes)))
    }

    fn at(&self, now: i128, state: Option<FileState>, compute: impl FnOnce() -> String) -> String {
        let state = state.filter(|[_, _, _, modified, _, changed, _]| now - modified.max(changed) > SETTLED);
        if let Some(known) = state.and_then(|state| lock(&self.known).get(&state).cloned()) {
            return known;
        }
        let digest = compute();
        if let Some(state) = state {
            let mut known = lock(&self.known);
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
            known.insert(state, digest.clone());
        }
        digest
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::test_folder::Folder;
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    #[test]
    fn a_digest_is_computed_once_for_each_state_of_a_file() {
        let digests = Digests::default();
        let mut computed = 0;
        let mut digest = |now, state| {
            digests.at(now, state, || {
                computed += 1;
                computed.to_string()
            })
        };
        let state = [1, 2, 3, 100, 5, 100, 7];
        // It may be changed in the same moment.
        assert_eq!(digest(100, Some(state)), "1");
        assert_eq!(digest(110, Some(state)), "2");
        assert_eq!(digest(111, Some(state)), "3");
        assert_eq!(digest(200, Some(state)), "3");
        for place in 0..state.len() {
            let mut other = state;
            other[place] += 1;
            assert_eq!(digest(200, Some(other)), (4 + place).to_string());
        }
        // Whose clock is ahead, that is not known yet.
        assert_eq!(digest(90, Some(state)), "11");
        assert_eq!(digest(200, None), "12");
        assert_eq!(digest(200, Some(state)), "3");
    }

    #[test]
    fn each_change_of_a_file_is_another_state_of_it() {
        let folder = Folder::new();
        let path = folder.join("a.log");
        fs::write(&path, "one").unwrap();
        let first = contents(&path).unwrap();
        assert_eq!(
            (first.bytes.as_slice(), first.state),
            (b"one".as_slice(), contents(&path).unwrap().state)
        );
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        // Of the same size, in the same place and with its old time.
        let begin = std::time::Instant::now();
        while contents(&path).unwrap().state == first.state {
            assert!(begin.elapsed() < Duration::from_secs(600));
            let mut file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all(b"two").unwrap();
            file.set_modified(modified).unwrap();
        }
    }

    #[test]
    fn what_does_not_answer_is_left_and_not_asked_by_ever_more_threads() {
        let folder = Folder::new();
        // To open it for reading takes until somebody opens it for writing.
        let path = folder.join("a.log");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let patiently = Patiently::new();
        let open = || {
            let path = path.clone();
            patiently.run(move |_| File::open(path).map(drop))
        };
        for _ in 0..MOST_WAITING + 2 {
            assert_eq!(open().unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(patiently.left(), MOST_WAITING);
        // It answers again.
        let begin = std::time::Instant::now();
        while patiently.left() > 0 {
            assert!(begin.elapsed() < Duration::from_secs(600));
            drop(OpenOptions::new().read(true).write(true).open(&path).unwrap());
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        open().unwrap();
    }

    #[test]
    fn a_long_file_is_read_whole_however_long_that_takes() {
        let folder = Folder::new();
        let path = folder.join("a.log");
        fs::write(&path, vec![b'x'; 3 * PART_BYTES + 1]).unwrap();
        assert_eq!(contents(&path).unwrap().bytes.len(), 3 * PART_BYTES + 1);
        let slow = Patiently::new().run(|is_alive| {
            for _ in 0..2 * QUIET_LOOKS {
                thread::sleep(LOOK);
                is_alive();
            }
            Ok(())
        });
        slow.unwrap();
    }
}
