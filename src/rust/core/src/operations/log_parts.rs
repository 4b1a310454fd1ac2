//! The logs of programs that run, kept while they are written: of a long log the cluster keeps the end alone.
//!
//! A node puts a log of more than 10 MiB aside and begins a new one, and gives only that. Who follows it from its beginning
//! gets all of it, as long as the node keeps up. So each controller with an archive follows the logs of all jobs that run, a bounded number at a time, and
//! appends what comes to a file for each pod, its part, line by line as the node wrote it, with the times: by these the next
//! controller goes on where this one was ended, and the archive puts the part before what the cluster gives in the end. Where
//! something was lost between two streams the part says so.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

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

/// A line that is longer is not kept, nor what comes behind it.
const LONGEST_LINE: usize = if cfg!(test) { 2048 } else { 10 << 20 };

/// No node puts a log of fewer bytes aside.
const LEAST_PUT_ASIDE: u64 = if cfg!(test) { 10 } else { 1 << 20 };

/// No log that a node has put aside was written in less time: it looks for long ones each 10 s, and at the most each 3 s.
const SILENCE: Duration = Duration::from_secs(2);

/// After so many bytes in one stream, and then nothing for so long, it is opened again.
const BURST: u64 = if cfg!(test) { 1000 } else { 1 << 20 };
const AFTER_BURST: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

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

    /// The parts of a job, each with its pod: by each controller one of each pod.
    fn of_job(&self, job_id: &str) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let pod_of = |name: &str| {
            let (pod, _) = name.strip_prefix(job_id)?.strip_prefix('.')?.rsplit_once('.')?;
            Some(pod.to_string())
        };
        entries
            .filter_map(|entry| Some((pod_of(entry.file_name().to_str()?)?, entry.path())))
            .collect()
    }

    /// Those of one pod.
    fn of_pod<'a>(&self, job_id: &str, pod_name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        let of_job = self.of_job(job_id).into_iter();
        of_job.filter(move |(pod, _)| pod == pod_name).map(|(_, path)| path)
    }

    /// The part of a pod that has most; `None`: there is none.
    pub fn best(&self, job_id: &str, pod_name: &str) -> Option<PathBuf> {
        self.of_pod(job_id, pod_name).max_by_key(|path| size(path))
    }

    /// The pod of a job whose log was written last, and the part of it that has most.
    pub fn newest(&self, job_id: &str) -> Option<(String, PathBuf)> {
        let (pod, _) = self.of_job(job_id).into_iter().max_by_key(|(_, path)| changed(path))?;
        let best = self.best(job_id, &pod)?;
        Some((pod, best))
    }

    /// Whether a job has a part that is not put together beside others.
    pub fn is_long(&self, job_id: &str) -> bool {
        self.of_job(job_id).iter().any(|(_, path)| size(path) > LONG_PART)
    }

    /// Removes the parts of a pod.
    pub fn remove(&self, job_id: &str, pod_name: &str) {
        for path in self.of_pod(job_id, pod_name) {
            // What stays is removed some weeks later.
            let _ = fs::remove_file(path);
        }
    }

    /// Whether somebody has written to a part of a pod within the last minute.
    pub fn is_written(&self, job_id: &str, pod_name: &str) -> bool {
        let Some(newest) = self.of_pod(job_id, pod_name).filter_map(|path| changed(&path)).max() else {
            return false;
        };
        // By the clock of the file server, which the times of files are of.
        let probe = self.folder.join(format!(".{}", uuid::Uuid::new_v4().simple()));
        let now = File::create(&probe).ok().and_then(|_| changed(&probe));
        let _ = fs::remove_file(&probe);
        let now = now.unwrap_or_else(SystemTime::now);
        now.duration_since(newest)
            .map_or(true, |age| age < Duration::from_secs(60))
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
        // Pods of whose logs no more is kept.
        let mut full: HashSet<String> = HashSet::new();
        thread::scope(|scope| {
            while !stopped() {
                followers.retain(|pod, follower| {
                    if follower.is_full.load(Ordering::Relaxed) {
                        full.insert(pod.clone());
                    }
                    !follower.is_over.load(Ordering::Relaxed)
                });
                let jobs = running();
                let pods: HashSet<&String> = jobs.iter().map(|(_, pod)| pod).collect();
                served.retain(|pod, _| pods.contains(pod));
                full.retain(|pod| pods.contains(pod));
                for (_, follower) in followers.iter().filter(|(pod, _)| !pods.contains(pod)) {
                    follower.has_ended.store(true, Ordering::Relaxed);
                }
                let waits = |pod: &String| !followers.contains_key(pod) && !full.contains(pod);
                let mut waiting: Vec<&(String, String)> = jobs.iter().filter(|(_, pod)| waits(pod)).collect();
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
                        path: self.folder.join(format!("{job_id}.{pod}.{writer}")),
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

/// When a file was changed.
fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
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
    /// Whether no more of the log is kept.
    is_full: AtomicBool,
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
        let mut was_there = false;
        self.hears();
        loop {
            let had_ended = self.has_ended.load(Ordering::Relaxed);
            let new = match Part::open(log, !was_there) {
                Ok(Some(part)) => {
                    was_there = true;
                    part.read(&api, &patience, &log.pod_name, self)
                }
                Ok(None) => {
                    self.is_full.store(true, Ordering::Relaxed);
                    0
                }
                // It is in the archive.
                Err(error) if was_there && error.kind() == io::ErrorKind::NotFound => return,
                // Until there is room, or the right to write.
                Err(_) => 0,
            };
            // What the program wrote last has come with the stream that was opened after its end.
            if is_to_stop() || had_ended || self.is_full.load(Ordering::Relaxed) {
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
    /// Opens a part, or begins it with what another controller has of it; `None`: it is full.
    ///
    /// Errors: it cannot be read or written; it is not there, and is not to be made.
    fn open(of: &Log<'_>, make: bool) -> io::Result<Option<Self>> {
        fs::create_dir_all(&of.parts.folder)?;
        let other = match make && !of.path.exists() {
            true => of.parts.best(&of.job_id, &of.pod_name),
            false => None,
        };
        if size(other.as_ref().unwrap_or(&of.path)) >= LONGEST_PART {
            return Ok(None);
        }
        if let Some(other) = other {
            fs::copy(other, &of.path)?;
        }
        let mut file = OpenOptions::new()
            .create(make)
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
        Ok(Some(Self { log, file, bytes }))
    }

    /// Reads a log from where the part ends, until the stream ends or is to stop, the part is full, or it cannot be written.
    /// How many lines were new.
    fn read(mut self, api: &Api<'_>, patience: &Patience<'_>, pod_name: &str, follower: &Follower) -> usize {
        let begun = self.log.taken;
        while self.read_stream(api, patience, pod_name, follower) {}
        self.log.taken - begun
    }

    /// Reads one stream. Gives back whether the next one is to be opened at once.
    ///
    /// A node that puts a log aside goes on with the new one in the same stream. If it has done so twice before it has seen
    /// the first time, all that was between is left out of the stream, without a sign. What is left out was written in the
    /// time between two looks of the node for long logs: so before the first line that is so much later than
    /// the one before it, another stream is opened, which shows both or tells that the one before was put aside; and after
    /// many lines, as soon as the program is silent, before it can be put aside.
    fn read_stream(&mut self, api: &Api<'_>, patience: &Patience<'_>, pod_name: &str, follower: &Follower) -> bool {
        self.log.reopened();
        let since = self.log.since();
        let question = LogQuestion {
            since: since.as_deref(),
            follow: true,
            longest_line: Some(LONGEST_LINE),
            ..Default::default()
        };
        let (begun, begun_bytes) = (self.log.taken, self.bytes);
        let (heard, is_burst, is_to_verify) = (Cell::new(Instant::now()), Cell::new(false), Cell::new(false));
        let is_over = || {
            is_to_verify.set(is_to_verify.get() || (is_burst.get() && heard.get().elapsed() > AFTER_BURST));
            is_to_verify.get() || patience.is_interrupted()
        };
        let limited = Patience::new(patience.limit(), &is_over);
        let read = api.log_lines(pod_name, question, &limited, &mut |line| {
            let before = self.log.taken;
            if before > begun && self.bytes >= LEAST_PUT_ASIDE && self.log.silence_before(line) >= SILENCE {
                is_to_verify.set(true);
                return ControlFlow::Break(());
            }
            self.log.take(line);
            if self.log.taken == before {
                return ControlFlow::Continue(());
            }
            follower.hears();
            heard.set(Instant::now());
            // What was seen last did not come again: it was put aside meanwhile.
            let is_after_gap = before == begun && self.log.has_missed;
            let gap = if is_after_gap { self.write(GAP) } else { Ok(()) };
            match gap.and_then(|()| self.write(line)) {
                Ok(()) if self.bytes < LONGEST_PART => {
                    is_burst.set(self.bytes - begun_bytes >= BURST);
                    ControlFlow::Continue(())
                }
                Ok(()) => {
                    let _ = self.write(GAP);
                    ControlFlow::Break(())
                }
                // What is there of the line is taken off when the part is opened again.
                Err(_) => ControlFlow::Break(()),
            }
        });
        if read.is_ok_and(|unfinished| unfinished.len() > LONGEST_LINE) && self.write(GAP).is_ok() {
            // A line that does not end: what comes of it is not held in memory, and nothing can be kept behind it.
            follower.is_full.store(true, Ordering::Relaxed);
        }
        // Whether the stream broke or ended, it is opened again from where the file ends.
        is_to_verify.get() && !patience.is_interrupted()
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
    use super::super::scripted::{ended, job, list, object, patient, pod, running, Answer, Scripted, StreamEnd};
    use super::*;
    use crate::test_folder::Folder;
    use crate::transport::FailureKind;
    use serde_json::{json, Value};

    /// The folder of an archive.
    impl Folder {
        fn parts(&self) -> LogParts {
            LogParts::new(&self.0.to_string_lossy(), "uid-1")
        }

        /// What is kept of the log of job "a".
        fn part(&self) -> Vec<u8> {
            let path = self.parts().best("a", "a-p");
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

        /// Puts a part of job "a" there.
        fn put(&self, text: &str) {
            fs::create_dir_all(&self.parts().folder).unwrap();
            fs::write(self.parts().folder.join("a.a-p.1"), text).unwrap();
        }

        /// Archives job "a", of which the cluster gives this log in the end: its row, its log, its record.
        fn archive(&self, log: Answer) -> (ArchivedJob, String, String) {
            let row = self.archive_from([pod("a", 1, ended(0))], [job("a", 1)], log);
            let (log, record) = self.archived();
            (row.unwrap(), log, record)
        }

        /// Archives it from a cluster with these pods and Jobs; its row.
        fn archive_from<const N: usize, const M: usize>(
            &self,
            pods: [Value; N],
            jobs: [Value; M],
            log: Answer,
        ) -> Option<ArchivedJob> {
            let cluster = Scripted::new()
                .get("/version", [object(&json!({"gitVersion": "v1.34.1"}))])
                .get("/events", [list(1, [])])
                .get("tailLines=1", [Answer::Body(line(9, "the end").into_bytes())])
                .get("/log?", [log])
                .get("/pods?", [list(1, pods)])
                .get("/jobs", [list(1, jobs)]);
            let place = Place {
                namespace: "n".into(),
                namespace_uid: "uid-1".into(),
            };
            let folder = self.0.to_string_lossy();
            let outcomes = archive(&patient(&cluster), &folder, None, &[], &place, &["a".into()]).unwrap();
            assert_eq!(outcomes[0].error, None);
            outcomes[0].job.clone()
        }

        fn archived(&self) -> (String, String) {
            let file = |ending: &str| fs::read_to_string(self.0.join(format!("n/2026-01/a.{ending}"))).unwrap();
            (file("log"), file("json"))
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
        assert!(folder.parts().of_job("a").is_empty());
    }

    #[test]
    fn a_controller_that_is_killed_anywhere_loses_nothing_and_repeats_nothing() {
        let whole = log_from(0);
        for killed_at in (0..=whole.len()).step_by(3) {
            let folder = Folder::new();
            folder.put(&whole[..killed_at]);
            let cluster = Scripted::new().get("follow=true", [Answer::Stream(vec![whole.clone()], StreamEnd::Closes)]);
            folder.keep(&cluster, &["a"], &|| folder.part() == whole.as_bytes());
            let (row, log, _) = folder.archive(body(whole.clone()));
            assert_eq!((log.as_str(), row.is_final), (PROGRAM, true), "{killed_at}");
        }
    }

    #[test]
    fn what_was_lost_in_the_midst_is_said() {
        let folder = Folder::new();
        folder.put(&log_from(0).replace(&log_from(3), ""));
        // Whoever was to follow it comes too late.
        let cluster = Scripted::new().get("follow=true", [stream(&log_from(6))]);
        let is_kept = || folder.part().ends_with(line(9, "the end").as_bytes());
        folder.keep(&cluster, &["a"], &is_kept);
        let (row, log, record) = folder.archive(body(log_from(6)));
        assert_eq!(log, "one\ntwo\nsix\nseven\neight\nthe end\n");
        assert!(record.contains("in the midst of the log"), "{record}");
        // Something may still be written.
        assert!(!row.is_final);
        assert!(!folder.parts().of_job("a").is_empty());
    }

    fn failed_job() -> Value {
        let mut job = job("a", 1);
        job["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        job
    }

    #[test]
    fn what_was_kept_of_a_log_is_archived_where_its_pod_is_gone() {
        let lost = Answer::Fails(FailureKind::NotFound);
        let folder = Folder::new();
        folder.put(&log_from(0));
        let row = folder.archive_from([], [failed_job()], lost.clone()).unwrap();
        let (log, record) = folder.archived();
        assert_eq!((log.as_str(), row.status.as_str()), (PROGRAM, "Failed"));
        assert_eq!(
            (row.pod_id.as_deref(), record.contains("its pod was gone")),
            (Some("a-p"), true)
        );
        // Somebody may still write to it.
        assert!(!row.is_final && !folder.parts().of_job("a").is_empty());
        let part = File::options()
            .append(true)
            .open(folder.parts().best("a", "a-p").unwrap());
        part.unwrap()
            .set_modified(SystemTime::now() - Duration::from_secs(90))
            .unwrap();
        let again = folder.archive_from([], [failed_job()], lost.clone()).unwrap();
        assert!(again.is_final && folder.parts().of_job("a").is_empty());
        assert_eq!(folder.archive_from([], [failed_job()], lost.clone()), Some(again));
        assert_eq!(folder.archived().0, PROGRAM);

        // A log whose end has come is whole.
        let folder = Folder::new();
        let (begin, end) = ("abba: begin of the log of a", "abba: end of the log of a");
        folder.put(&[line(0, begin), line(1, "one"), line(2, end)].concat());
        let row = folder.archive_from([], [failed_job()], lost).unwrap();
        assert_eq!((row.is_final, folder.archived().0.as_str()), (true, "one\n"));
        assert!(folder.parts().of_job("a").is_empty());
    }

    #[test]
    fn the_part_of_a_program_that_has_not_ended_or_is_not_there_stays() {
        let folder = Folder::new();
        folder.put(&log_from(0));
        let none = Answer::Fails(FailureKind::NotFound);
        assert_eq!(
            folder.archive_from([pod("a", 1, running())], [job("a", 1)], none.clone()),
            None
        );
        assert_eq!(folder.archive_from([], [], none), None);
        // Nor goes that of another pod with the one that is archived.
        let other = folder.parts().folder.join("a.a-q.1");
        fs::write(&other, line(0, "x")).unwrap();
        assert!(folder.archive(body(log_from(0))).0.is_final);
        assert_eq!(folder.parts().of_job("a"), [("a-q".to_string(), other)]);
    }

    #[test]
    fn the_parts_of_a_job_are_known_however_its_pod_is_named() {
        let folder = Folder::new();
        let parts = folder.parts();
        let id = format!("t-demographics-by-visit-{}", uuid::Uuid::new_v4());
        // Kubernetes shortens a name before it adds its five letters.
        let pod = format!("{}x1x2x", &id[..58]);
        fs::create_dir_all(&parts.folder).unwrap();
        let path = parts.folder.join(format!("{id}.{pod}.writer"));
        File::create(&path).unwrap().set_len(LONG_PART + 1).unwrap();
        fs::write(parts.folder.join(format!("{id}-2.{pod}.writer")), "").unwrap();
        assert!(parts.is_long(&id));
        assert_eq!(parts.newest(&id), Some((pod.clone(), path)));
        parts.remove(&id, &pod);
        assert!(parts.of_job(&id).is_empty());
        assert_eq!(parts.of_job(&format!("{id}-2")).len(), 1);
    }

    #[test]
    fn lines_as_of_the_marker_of_the_end_and_behind_it_are_archived() {
        let folder = Folder::new();
        let end = "abba: end of the log of a";
        let texts = ["abba: begin of the log of a", "one", end, "two", end];
        let kept: String = texts
            .iter()
            .enumerate()
            .map(|(second, text)| line(second, text))
            .collect();
        folder.put(&kept);
        let last = line(5, "of a process that went on") + &line(9, "the end");
        let (_, log, record) = folder.archive(body(line(4, end) + &last));
        assert_eq!(
            log,
            format!("one\n{end}\ntwo\n{end}\nof a process that went on\nthe end\n")
        );
        assert!(!record.contains("abba_notes"), "{record}");
        // Whatever its node gives, what the program printed is there.
        let folder = Folder::new();
        folder.put(&kept);
        let (row, log, record) = folder.archive(Answer::Fails(FailureKind::NotFound));
        assert_eq!((log, row.is_final), (format!("one\n{end}\ntwo\n"), true), "{record}");
    }

    /// What is kept of job "a", of which these streams come one after the other, until `is_done`.
    fn kept<const N: usize>(streams: [Answer; N], is_done: &(dyn Fn(&[u8]) -> bool + Sync)) -> (String, usize) {
        let folder = Folder::new();
        let cluster = Scripted::new().get("follow=true", streams);
        folder.keep(&cluster, &["a"], &|| is_done(&folder.part()));
        (
            String::from_utf8(folder.part()).unwrap(),
            cluster.paths("follow=true").len(),
        )
    }

    #[test]
    fn a_line_that_is_much_later_is_only_believed_where_the_one_before_is_still_there() {
        let begin = line(0, "abba-log-of a") + &line(1, "one");
        let (later, end) = (line(30, "thirty"), line(31, "the end"));
        let is_done = |part: &[u8]| part.ends_with(line(31, "the end").as_bytes());
        // The program was silent.
        let silent = begin.clone() + &later + &end;
        let (part, streams) = kept([stream(&(begin.clone() + &later)), stream(&silent)], &is_done);
        assert_eq!((part, streams), (silent, 2));
        // The stream left out a whole log that its node had put aside.
        let (part, streams) = kept(
            [stream(&(begin.clone() + &later)), stream(&(later.clone() + &end))],
            &is_done,
        );
        let gap = String::from_utf8(GAP.to_vec()).unwrap() + "\n";
        assert_eq!((part, streams), (begin + &gap + &later + &end, 2));
    }

    #[test]
    fn after_many_lines_a_log_is_opened_again_when_its_program_is_silent() {
        let many: String = (0..50).map(|second| line(second, &"x".repeat(40))).collect();
        // What comes minutes after is believed, whatever is put aside in between.
        let next = "2026-01-01T00:30:00Z the end\n";
        let parts = vec![many.clone(), next.to_string()];
        let streams = [stream(&many), Answer::Stream(parts, StreamEnd::Stays)];
        let (part, streams) = kept(streams, &|part| part.ends_with(next.as_bytes()));
        assert_eq!((part, streams), (many + next, 2));
    }

    #[test]
    fn nothing_is_done_about_a_log_of_which_no_more_is_kept() {
        let looks = |part: &str, answer: Answer, until: &dyn Fn(&Folder) -> bool| {
            let folder = Folder::new();
            folder.put(part);
            let cluster = Scripted::new().get("follow=true", [answer]);
            let (looks, begin) = (Cell::new(0), Instant::now());
            let stopped = AtomicBool::new(false);
            let is_stopped = || stopped.load(Ordering::Relaxed);
            let running = || {
                assert!(begin.elapsed() < Duration::from_secs(600));
                looks.set(looks.get() + usize::from(until(&folder)));
                stopped.store(looks.get() == 20, Ordering::Relaxed);
                vec![("a".to_string(), "a-p".to_string())]
            };
            let patience = Patience::new(Duration::from_secs(60), &is_stopped);
            let api = Api::in_namespace(&cluster, "n", patience);
            folder.parts().keep(&api, &patience, &running, &is_stopped);
            (cluster.paths("follow=true").len(), folder.parts().of_job("a").len())
        };
        // What another controller has filled is not read, nor copied.
        let long = line(0, &"x".repeat(LONGEST_PART as usize));
        assert_eq!(looks(&long, body(String::new()), &|_| true), (0, 1));
        // A line without an end is not held in memory, and not asked for again.
        let endless = stream(&(line(0, "one") + "2026-01-01T00:00:01Z " + &"x".repeat(2 * LONGEST_LINE)));
        let has_gap = |folder: &Folder| folder.part().ends_with(&[GAP, b"\n"].concat());
        assert_eq!(looks("", endless, &has_gap), (1, 2));
    }

    #[test]
    fn a_part_that_was_archived_is_not_written_again() {
        let folder = Folder::new();
        let cluster = Scripted::new().get("follow=true", [Answer::Stream(vec![log_from(0)], StreamEnd::Closes)]);
        let (looks, stopped) = (Cell::new(0), AtomicBool::new(false));
        let is_stopped = || stopped.load(Ordering::Relaxed);
        let running = || {
            let is_kept = folder.part() == log_from(0).as_bytes();
            match (looks.get(), is_kept) {
                (0, false) => return vec![("a".to_string(), "a-p".to_string())],
                (0, true) => folder.parts().remove("a", "a-p"),
                (looks, _) => stopped.store(looks == 20, Ordering::Relaxed),
            }
            looks.set(looks.get() + 1);
            Vec::new()
        };
        let patience = Patience::new(Duration::from_secs(60), &is_stopped);
        let api = Api::in_namespace(&cluster, "n", patience);
        folder.parts().keep(&api, &patience, &running, &is_stopped);
        assert!(folder.parts().of_job("a").is_empty());
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
        let kept = |id: &str| folder.parts().of_job(id).len();
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
