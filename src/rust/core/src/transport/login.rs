//! Logins that a helper program gives, and that may wait for a person.
//!
//! A login helper (`exec` in kubectl's configuration) writes to kubectl's stderr. When it needs a person, it says there what to
//! do ("open ... and enter the code ...") and waits; kubectl sends nothing meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::kubectl_stderr;

/// kubectl gives each login helper this variable.
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#input-and-output-formats>
#[cfg(target_os = "linux")]
const VARIABLE_OF_HELPERS: &str = "KUBERNETES_EXEC_INFO";

/// Whether a login helper runs in a process group. `None`: the system does not tell.
#[cfg(target_os = "linux")]
pub fn helper_runs(group: u32) -> Option<bool> {
    if std::env::var_os(VARIABLE_OF_HELPERS).is_some() {
        // Then every program has it.
        return None;
    }
    let processes = std::fs::read_dir("/proc").ok()?;
    let is_helper = |folder: std::path::PathBuf| {
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
        // After the name, which may hold anything: state, parent, group.
        let its_group = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(2));
        its_group.and_then(|text| text.parse().ok()) == Some(group)
            && std::fs::read(folder.join("environ")).is_ok_and(|environment| {
                let mut variables = environment.split(|byte| *byte == 0);
                variables.any(|variable| variable.starts_with(VARIABLE_OF_HELPERS.as_bytes()))
            })
    };
    Some(processes.flatten().any(|entry| is_helper(entry.path())))
}

/// Whether a login helper runs in a process group. `None`: the system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn helper_runs(_: u32) -> Option<bool> {
    None
}

/// How long a call waits before the words of kubectl are shown: most helpers have nothing to say that a user must see.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// Shows kubectl's words to the user while a call waits for its answer.
pub struct Words {
    begun: Instant,
    shown: usize,
}

impl Words {
    /// Of a call that begins now. `seen` bytes of kubectl's stderr are older.
    pub fn new(seen: usize) -> Self {
        Self {
            begun: Instant::now(),
            shown: seen,
        }
    }

    /// Whether it is time to show words.
    pub fn are_due(&self) -> bool {
        self.begun.elapsed() >= SHOWN_AFTER
    }

    /// How many bytes of kubectl's stderr were shown. Only the kept kubectl, a thing of Unix, needs it.
    #[cfg(unix)]
    pub fn shown(&self) -> usize {
        self.shown
    }

    /// Shows what is new in kubectl's stderr, up to the end of its last line; a line that goes unfinished for a while, as a
    /// prompt does, is shown too.
    pub fn show(&mut self, stderr: &[u8]) {
        if !self.are_due() {
            return;
        }
        let new = stderr.get(self.shown..).unwrap_or_default();
        if new.is_empty() {
            return;
        }
        self.shown = stderr.len();
        let words = of_people(&String::from_utf8_lossy(new));
        let is_end = words
            .lines()
            .any(|line| OF_THE_END.iter().any(|beginning| line.starts_with(beginning)));
        if !words.is_empty() && !is_end {
            queue().push(words);
        }
    }
}

/// How kubectl begins to tell why it gives up. It does not wait then, and its error has these words.
const OF_THE_END: [&str; 5] = [
    "Error from server",
    "Error in configuration",
    "The connection to the server ",
    "Unable to connect to the server: ",
    "error: You must be logged in to the server",
];

/// kubectl's words without its debugging lines; empty where there is nothing else.
pub fn of_people(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| !kubectl_stderr::is_debugging(line))
        .collect();
    lines.join("\n").trim().to_string()
}

/// What is to be shown. Words come in the thread of a call, and are shown in the user's.
static QUEUE: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn queue() -> MutexGuard<'static, Vec<String>> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what kubectl, or its login helper, has said to the user while calls wait. Whoever waits for a call shows it at once:
/// it may be a code that is wanted to log in.
pub fn take_words_for_user() -> Vec<String> {
    match QUEUE.try_lock() {
        Ok(mut words) => std::mem::take(&mut *words),
        // Another time.
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_kubectl_gives_up_is_nothing_to_show_while_it_waits() {
        let mut words = Words {
            begun: Instant::now() - SHOWN_AFTER,
            shown: 0,
        };
        let mut show = |stderr: &str| {
            words.show(stderr.as_bytes());
            words.shown
        };
        let mine = "of the test of why kubectl gives up";
        // Other tests of this process may show words, too.
        let shown = || take_words_for_user().iter().any(|words| words.contains(mine));
        assert!(show(&format!("Error from server (InternalError): {mine}\n")) > 0);
        assert!(!shown());
        let more = format!("Error from server (InternalError): {mine}\nopen https://x: {mine}\n");
        show(&more);
        assert!(shown());
    }
}
