//! The logs of programs that run, kept while they are written: of a long log the cluster keeps the end alone.
//!
//! A node puts a log of more than 10 MiB aside and begins a new one, and gives only that. Who follows it from its beginning
//! gets all of it. So each controller with an archive follows the logs of all jobs that run, a bounded number at a time, and
//! appends what comes to a file for each pod, its part, line by line as the node wrote it, with the times: by these the next
//! controller goes on where this one was ended, and the archive puts the part before what the cluster gives in the end. Where
//! something was lost between two streams the part says so.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::domain::followed_log::FollowedLog;
use crate::kubernetes::{Api, LogQuestion};
use crate::transport::{leave_signals_to_main_thread, Backoff, Patience, Transport};

/// So many logs are followed at a time, each by a connection.
const FOLLOWED_AT_ONCE: usize = if cfg!(test) { 2 } else { 50 };

/// A log of which nothing has come for so long gives its place to another one that waits for one.
const QUIET: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 5000 });

/// How often it is looked which jobs run.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 500 });

/// The pauses before a log is opened again.
const PAUSES: (Duration, Duration) = match cfg!(test) {
    true => (Duration::from_millis(2), Duration::from_millis(4)),
    false => (Duration::from_millis(300), Duration::from_secs(10)),
};

/// A part is no longer than this, in bytes: whatever is kept is put together in memory in the end.
const LONGEST_PART: u64 = if cfg!(test) { 4096 } else { 100 << 20 };

/// A part that is longer is put together alone.
const LONG_PART: u64 = 10 << 20;

/// The line of a part that stands where something may be missing. No line of a node begins so.
const GAP: &[u8] = b"\0abba: here something may be missing";

/// The parts of logs in the folder of an archive.
#[derive(Clone, Debug)]
pub(super) struct LogParts {
    folder: PathBuf,
}

impl LogParts {
    /// Those of a namespace, by its uid.
    pub fn new(archive: &str, namespace_uid: &str) -> Self {
        Self {
            folder: Path::new(archive).join(".part").join(namespace_uid),
        }
    }

    /// The parts of a pod, each by another controller.
    fn of_pod(&self, pod_name: &str) -> Vec<PathBuf> {
        self.whose(|name| name.split_once('.').is_some_and(|(pod, _)| pod == pod_name))
    }

    /// Those of all pods of a job.
    fn of_job(&self, job_id: &str) -> Vec<PathBuf> {
        self.whose(|name| name.strip_prefix(job_id).is_some_and(|rest| rest.starts_with('-')))
    }

    fn whose(&self, is_meant: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_meant = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(&is_meant);
        entries.filter(is_meant).map(|entry| entry.path()).collect()
    }

    /// The part of a pod that has most; `None`: there is none.
    pub fn best(&self, pod_name: &str) -> Option<PathBuf> {
        self.of_pod(pod_name).into_iter().max_by_key(|path| size(path))
    }

    /// Whether a job has a part that is not put together beside others.
    pub fn is_long(&self, job_id: &str) -> bool {
        self.of_job(job_id).iter().any(|path| size(path) > LONG_PART)
    }

    /// Removes the parts of a job.
    pub fn remove(&self, job_id: &str) {
        for path in self.of_job(job_id) {
            // What stays is removed some weeks later.
            let _ = fs::remove_file(path);
        }
    }

    /// Whether somebody has written to a part of a pod within the last minute.
    pub fn is_written(&self, pod_name: &str) -> bool {
        self.of_pod(pod_name).iter().any(|path| {
            let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
            changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < Duration::from_secs(60)))
        })
    }

    /// Follows the logs of the jobs that run until it is stopped. `running`: the ids of these and the names of their pods.
    pub fn keep(
        &self,
        api: &Api<'_>,
        patience: &Patience<'_>,
        running: &dyn Fn() -> Vec<(String, String)>,
        stopped: &(dyn Fn() -> bool + Sync),
    ) {
        // Another controller has parts of its own, so that no two write into one file.
        let writer = uuid::Uuid::new_v4().simple().to_string();
        let (transport, namespace) = (api.transport(), api.namespace());
        let mut followers: HashMap<String, Arc<Follower>> = HashMap::new();
        let mut served: HashMap<String, Instant> = HashMap::new();
        thread::scope(|scope| {
            while !stopped() {
                followers.retain(|_, follower| !follower.is_over.load(Ordering::Relaxed));
                let jobs = running();
                let pods: HashSet<&String> = jobs.iter().map(|(_, pod)| pod).collect();
                served.retain(|pod, _| pods.contains(pod));
                for (_, follower) in followers.iter().filter(|(pod, _)| !pods.contains(pod)) {
                    follower.has_ended.store(true, Ordering::Relaxed);
                }
                let mut waiting: Vec<&(String, String)> =
                    jobs.iter().filter(|(_, pod)| !followers.contains_key(pod)).collect();
                // Those that never had a place come first.
                waiting.sort_by_key(|(_, pod)| served.get(pod).copied());
                let free = FOLLOWED_AT_ONCE.saturating_sub(followers.len());
                let rest = waiting.split_off(free.min(waiting.len()));
                for (job_id, pod) in waiting {
                    let follower = Arc::new(Follower::default());
                    followers.insert(pod.clone(), Arc::clone(&follower));
                    served.insert(pod.clone(), Instant::now());
                    let log = Log {
                        parts: self,
                        path: self.folder.join(format!("{pod}.{writer}")),
                        job_id: job_id.clone(),
                        pod_name: pod.clone(),
                    };
                    scope.spawn(move || {
                        leave_signals_to_main_thread();
                        follower.follow(&log, transport, namespace, stopped);
                        follower.is_over.store(true, Ordering::Relaxed);
                    });
                }
                let quiet = followers.values().filter(|follower| follower.is_quiet());
                for (follower, _) in quiet.zip(rest) {
                    follower.yields.store(true, Ordering::Relaxed);
                }
                patience.sleep(LOOK);
            }
        });
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Takes the lines of a part, as a stream would bring them: the whole lines alone, since whoever wrote it may have been killed.
/// Gives back how many bytes they have, and whether something may be missing among them.
///
/// Errors: the file cannot be read.
pub(super) fn replay(path: &Path, line: &mut dyn FnMut(&[u8])) -> io::Result<(u64, bool)> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let (mut bytes, mut has_gap) = (0, false);
    let mut text = Vec::new();
    loop {
        text.clear();
        // No more is held than a part may have.
        let read = file.by_ref().take(2 * LONGEST_PART).read_until(b'\n', &mut text)?;
        let Some(whole) = text.strip_suffix(b"\n") else {
            return Ok((bytes, has_gap));
        };
        bytes += read as u64;
        match whole == GAP {
            true => has_gap = true,
            false => line(whole),
        }
    }
}

/// A log that is followed, and the file where it is kept.
struct Log<'a> {
    parts: &'a LogParts,
    path: PathBuf,
    job_id: String,
    pod_name: String,
}

/// What follows one log.
#[derive(Debug, Default)]
struct Follower {
    /// When something has come last.
    heard: Mutex<Option<Instant>>,
    /// Whether it is to give its place to another.
    yields: AtomicBool,
    /// Whether its program runs no longer.
    has_ended: AtomicBool,
    is_over: AtomicBool,
}

impl Follower {
    fn is_quiet(&self) -> bool {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| heard.elapsed() > QUIET)
    }

    fn hears(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn follow(&self, log: &Log<'_>, transport: &dyn Transport, namespace: &str, stopped: &dyn Fn() -> bool) {
        let is_to_stop = || stopped() || self.yields.load(Ordering::Relaxed);
        // Taken up again now and then, in case the connection is dead and nobody says so.
        let patience = Patience::new(Duration::from_secs(600), &is_to_stop);
        let api = Api::in_namespace(transport, namespace, patience);
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        self.hears();
        loop {
            let had_ended = self.has_ended.load(Ordering::Relaxed);
            let new = match Part::open(log) {
                Ok(part) if part.bytes >= LONGEST_PART => return,
                Ok(part) => part.read(&api, &patience, &log.pod_name, self),
                // Until there is room, or the right to write.
                Err(_) => 0,
            };
            // What the program wrote last has come with the stream that was opened after its end.
            if is_to_stop() || had_ended {
                return;
            }
            if new > 0 {
                backoff.reset();
            }
            if !backoff.sleep(&patience) {
                return;
            }
        }
    }
}

/// A part that is written.
struct Part {
    log: FollowedLog,
    /// Without a buffer: of what was held in memory the node may have nothing any more when somebody goes on.
    file: File,
    bytes: u64,
}

impl Part {
    /// Opens a part, or goes on with what another controller has of it.
    ///
    /// Errors: it cannot be read or written.
    fn open(of: &Log<'_>) -> io::Result<Self> {
        fs::create_dir_all(&of.parts.folder)?;
        if let (false, Some(other)) = (of.path.exists(), of.parts.best(&of.pod_name)) {
            fs::copy(other, &of.path)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&of.path)?;
        let mut log = FollowedLog::new(&of.job_id);
        let (bytes, _) = replay(&of.path, &mut |line| {
            log.take(line);
        })?;
        file.set_len(bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { log, file, bytes })
    }

    /// Reads a log from where the part ends, until the stream ends or is to stop, the part is full, or it cannot be written.
    /// How many lines were new.
    fn read(mut self, api: &Api<'_>, patience: &Patience<'_>, pod_name: &str, follower: &Follower) -> usize {
        self.log.reopened();
        let since = self.log.since();
        let question = LogQuestion {
            since: since.as_deref(),
            follow: true,
            ..Default::default()
        };
        let begun = self.log.taken;
        let read = api.log_lines(pod_name, question, patience, &mut |line| {
            let before = self.log.taken;
            self.log.take(line);
            if self.log.taken == before {
                return ControlFlow::Continue(());
            }
            follower.hears();
            // What was seen last did not come again: it was put aside meanwhile.
            let is_after_gap = before == begun && self.log.has_missed;
            let gap = if is_after_gap { self.write(GAP) } else { Ok(()) };
            match gap.and_then(|()| self.write(line)) {
                Ok(()) if self.bytes < LONGEST_PART => ControlFlow::Continue(()),
                Ok(()) => {
                    let _ = self.write(GAP);
                    ControlFlow::Break(())
                }
                // What is there of the line is taken off when the part is opened again.
                Err(_) => ControlFlow::Break(()),
            }
        });
        // Whether the stream broke or ended, it is opened again from where the file ends.
        drop(read);
        self.log.taken - begun
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(&[line, b"\n"].concat())?;
        self.bytes += line.len() as u64 + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::archive::{archive, ArchivedJob, Place};
    use super::super::scripted::{ended, job, list, object, patient, pod, Answer, Folder, Scripted, StreamEnd};
    use super::*;
    use crate::transport::FailureKind;
    use serde_json::json;

    /// The folder of an archive.
    impl Folder {
        fn parts(&self) -> LogParts {
            LogParts::new(&self.0.to_string_lossy(), "uid-1")
        }

        /// What is kept of the log of job "a".
        fn part(&self) -> Vec<u8> {
            let path = self.parts().best("a-p");
            path.and_then(|path| fs::read(path).ok()).unwrap_or_default()
        }

        /// Follows the logs of jobs by one controller until `is_done`.
        fn keep(&self, cluster: &Scripted, ids: &[&str], is_done: &(dyn Fn() -> bool + Sync)) {
            let begin = Instant::now();
            let stopped = || {
                assert!(begin.elapsed() < Duration::from_secs(600));
                is_done()
            };
            let patience = Patience::new(Duration::from_secs(60), &stopped);
            let api = Api::in_namespace(cluster, "n", patience);
            let running = || ids.iter().map(|id| ((*id).to_string(), format!("{id}-p"))).collect();
            self.parts().keep(&api, &patience, &running, &stopped);
        }

        /// Archives job "a", of which the cluster gives this log in the end: its row, its log, its record.
        fn archive(&self, log: Answer) -> (ArchivedJob, String, String) {
            let cluster = Scripted::new()
                .get("/version", [object(&json!({"gitVersion": "v1.34.1"}))])
                .get("/events", [list(1, [])])
                .get("tailLines=1", [Answer::Body(line(9, "the end").into_bytes())])
                .get("/log?", [log])
                .get("/pods?", [list(1, [pod("a", 1, ended(0))])])
                .get("/jobs", [list(1, [job("a", 1)])]);
            let place = Place {
                namespace: "n".into(),
                namespace_uid: "uid-1".into(),
            };
            let folder = self.0.to_string_lossy();
            let outcomes = archive(&patient(&cluster), &folder, None, &place, &["a".into()]).unwrap();
            let file = |ending: &str| fs::read_to_string(self.0.join(format!("n/2026-01/a.{ending}"))).unwrap();
            (outcomes[0].job.clone().unwrap(), file("log"), file("json"))
        }
    }

    fn line(second: usize, text: &str) -> String {
        format!("2026-01-01T00:00:{second:02}Z {text}\n")
    }

    /// The log as its node writes it, from `first` on.
    fn log_from(first: usize) -> String {
        let texts = [
            "abba-log-of a",
            "one",
            "two",
            "two",
            "",
            "five",
            "six",
            "seven",
            "eight",
            "the end",
        ];
        texts
            .iter()
            .enumerate()
            .skip(first)
            .map(|(second, text)| line(second, text))
            .collect()
    }

    const PROGRAM: &str = "one\ntwo\ntwo\n\nfive\nsix\nseven\neight\nthe end\n";

    fn stream(text: &str) -> Answer {
        Answer::Stream(vec![text.to_string()], StreamEnd::Stays)
    }

    fn body(text: String) -> Answer {
        Answer::Body(text.into_bytes())
    }

    #[test]
    fn a_log_whose_beginning_its_node_has_put_aside_is_archived_whole() {
        let folder = Folder::new();
        let begin = &log_from(0)[..log_from(0).find("eight").unwrap()];
        let begin = &begin[..begin.rfind('\n').unwrap() + 1];
        let cluster = Scripted::new().get("follow=true", [stream(begin)]);
        folder.keep(&cluster, &["a"], &|| folder.part() == begin.as_bytes());
        let (row, log, record) = folder.archive(body(log_from(7)));
        assert_eq!(log, PROGRAM);
        assert!(row.is_final && !record.contains("abba_notes"), "{record}");
        assert!(folder.parts().of_pod("a-p").is_empty());
    }

    #[test]
    fn a_controller_that_is_killed_anywhere_loses_nothing_and_repeats_nothing() {
        let whole = log_from(0);
        for killed_at in (0..=whole.len()).step_by(3) {
            let folder = Folder::new();
            fs::create_dir_all(&folder.parts().folder).unwrap();
            fs::write(folder.parts().folder.join("a-p.1"), &whole[..killed_at]).unwrap();
            let cluster = Scripted::new().get("follow=true", [Answer::Stream(vec![whole.clone()], StreamEnd::Closes)]);
            folder.keep(&cluster, &["a"], &|| folder.part() == whole.as_bytes());
            let (row, log, _) = folder.archive(body(whole.clone()));
            assert_eq!((log.as_str(), row.is_final), (PROGRAM, true), "{killed_at}");
        }
    }

    #[test]
    fn what_was_lost_in_the_midst_is_said() {
        let folder = Folder::new();
        fs::create_dir_all(&folder.parts().folder).unwrap();
        let before = log_from(0).replace(&log_from(3), "");
        let old = folder.parts().folder.join("a-p.1");
        fs::write(&old, before).unwrap();
        // Whoever was to follow it comes too late.
        let cluster = Scripted::new().get("follow=true", [stream(&log_from(6))]);
        let is_kept = || folder.part().ends_with(line(9, "the end").as_bytes());
        folder.keep(&cluster, &["a"], &is_kept);
        let (row, log, record) = folder.archive(body(log_from(6)));
        assert_eq!(log, "one\ntwo\nsix\nseven\neight\nthe end\n");
        assert!(record.contains("in the midst of the log"), "{record}");
        // Something may still be written.
        assert!(!row.is_final);
        assert!(!folder.parts().of_pod("a-p").is_empty());
    }

    #[test]
    fn of_a_log_that_is_too_long_its_beginning_and_its_end_are_there() {
        let folder = Folder::new();
        let many: String = (1..200)
            .map(|n| format!("2026-01-01T00:00:01.{n:03}Z {}\n", "x".repeat(99)))
            .collect();
        let cluster = Scripted::new().get("follow=true", [stream(&(line(0, "abba-log-of a") + &many))]);
        let is_full = || folder.part().len() as u64 > LONGEST_PART;
        folder.keep(&cluster, &["a"], &is_full);
        let (_, log, record) = folder.archive(body(log_from(7)));
        assert!(
            log.starts_with("xxx") && log.ends_with("seven\neight\nthe end\n"),
            "{log}"
        );
        assert!(log.len() < 5000 && record.contains("in the midst of the log"));
    }

    #[test]
    fn more_logs_than_places_take_turns() {
        let folder = Folder::new();
        let cluster = Scripted::new().get("follow=true", [stream(&line(0, "x"))]);
        let ids = ["a", "b", "c", "d", "e"];
        let kept = |id: &str| folder.parts().of_pod(&format!("{id}-p")).len();
        folder.keep(&cluster, &ids, &|| ids.iter().all(|id| kept(id) == 1));
    }

    #[test]
    fn a_log_that_its_node_does_not_give_yet_is_asked_for_again() {
        let folder = Folder::new();
        let fails = [FailureKind::NotFound, FailureKind::Server, FailureKind::Unreachable].map(Answer::Fails);
        let then = Answer::Stream(vec![log_from(0)], StreamEnd::Closes);
        let cluster = Scripted::new().get("follow=true", fails.into_iter().chain([then]));
        folder.keep(&cluster, &["a"], &|| folder.part() == log_from(0).as_bytes());
    }
}
