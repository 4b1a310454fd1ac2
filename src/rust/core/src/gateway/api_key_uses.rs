//! On which day each API key was used last: a file beside that of the keys, `<its name>.used`, with a line `id:day` for each.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::civil::Date;

use super::api_key_file::{lock, replace_file};
use super::api_keys::{self, ApiKeys};
use crate::local::ownership::folder_of;

/// The days by the ids of keys.
type Days = BTreeMap<String, Date>;

/// After a day could not be written down, none is for this long.
const REST: Duration = Duration::from_secs(600);

/// The days on which the keys of a file were used last. A day is written once a key.
#[derive(Debug)]
pub struct ApiKeyUses {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    noted: Days,
    failed: Option<Instant>,
}

/// The file beside that of the keys at `keys`.
fn path_of(keys: &Path) -> PathBuf {
    // Of a link what it leads to: there new files can be made.
    let target = fs::canonicalize(keys).unwrap_or_else(|_| keys.to_path_buf());
    let mut name = target.into_os_string();
    name.push(".used");
    name.into()
}

/// When the keys of the file at `keys` were used last, as far as that was written down.
pub fn days(keys: &Path) -> Days {
    parse(&fs::read_to_string(path_of(keys)).unwrap_or_default())
}

/// What is no line is nobody's loss.
fn parse(text: &str) -> Days {
    let read = |line: &str| {
        let (id, day) = line.trim().split_once(':')?;
        Some((id.to_string(), day.parse().ok()?))
    };
    text.lines().filter_map(read).collect()
}

impl ApiKeyUses {
    /// Of the keys in the file at `keys`.
    pub fn of(keys: &Path) -> Self {
        Self {
            path: path_of(keys),
            state: Mutex::default(),
        }
    }

    /// Notes that a key is used today. `keys`: those that there are; of others nothing is kept. Nobody is refused where it
    /// cannot be written down, which is said once on standard error.
    pub fn note(&self, id: &str, keys: &ApiKeys) {
        let today = api_keys::today();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.noted.get(id) == Some(&today) || state.failed.is_some_and(|failed| failed.elapsed() < REST) {
            return;
        }
        match self.write(id, today, keys) {
            Ok(()) => {
                state.noted.insert(id.into(), today);
                state.failed = None;
            }
            Err(error) => {
                if state.failed.is_none() {
                    let path = self.path.display();
                    eprintln!("abba: the last use of API keys cannot be kept in {path}: {error}");
                }
                state.failed = Some(Instant::now());
            }
        }
    }

    fn write(&self, id: &str, today: Date, keys: &ApiKeys) -> io::Result<()> {
        let _lock = lock(folder_of(&self.path))?;
        let mut days = match fs::read_to_string(&self.path) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Days::new(),
            Err(error) => return Err(error),
        };
        days.retain(|id, _| keys.kept().iter().any(|key| key.id == *id));
        days.insert(id.into(), today);
        let text: String = days.iter().map(|(id, day)| format!("{id}:{day}\n")).collect();
        replace_file(&self.path, &text, None)
    }
}
