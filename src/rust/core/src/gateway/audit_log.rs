//! The log of decisions: who wanted what, what was to be done, and what came of it, in lines of JSON.
//!
//! Of each request there is a line (`"phase": "request"`). Whatever changes something has two more for each job: one before
//! it is done (`"intent"`), one after it (`"outcome"`). All lines of a request have its id, which the caller gets in the
//! header `Abba-Request-Id`, and which a job that was submitted has as an annotation.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{json, Map, Value};
use uuid::Uuid;

use super::answer::{escaped, ApiError, Reply};
use super::caller::Caller;
use super::headers::Headers;
use crate::domain::order::Step;
use crate::error::quote_shortened;
use crate::kubernetes::labels;
use crate::kubernetes::objects::PROGRAM_CONTAINER;
use crate::local::log_file::LogFile;
use crate::operations::JobSnapshot;
use crate::transport::{Failure, FailureKind};
use crate::{Error, ErrorClass};

/// The administrator's settings of the log, unchecked.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Settings {
    /// The file; `None`: standard error.
    pub file: Option<PathBuf>,
    /// Whether nothing is done that cannot be written down.
    #[serde(default)]
    pub required: bool,
    /// The proxies whose word on where a request comes from is taken: addresses, or networks as `192.0.2.0/24`.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
}

/// The log of a server.
#[derive(Debug)]
pub struct AuditLog {
    sink: Sink,
    pub(super) is_required: bool,
    trusted_proxies: Vec<Network>,
    strangers: Mutex<Strangers>,
    /// Lines that were written, and how often some could not be.
    written: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug)]
enum Sink {
    File(LogFile),
    #[cfg(not(test))]
    StandardError,
    /// What would come to standard error.
    #[cfg(test)]
    Memory(Mutex<String>),
}

/// The jobs that the line of a request names, unless it is about what they have written: a list is asked for each second,
/// and may be long.
const NAMED_JOBS: usize = 20;

/// The longest reason, in characters. A request does not decide how long a line is.
const LONGEST_REASON: usize = 1000;

/// The longest of what a request says of itself, in characters.
const LONGEST_WORD: usize = 100;

/// For each kind of answer so many requests of callers that are not known, and of those that ask too often, have a line in a
/// minute; the others are counted.
const STRANGERS_A_MINUTE: u64 = 60;

const MINUTE: Duration = Duration::from_secs(60);

/// The requests of callers that are not known, in the minute that runs.
#[derive(Debug, Default)]
struct Strangers {
    /// When the minute began, by two clocks.
    began: Option<(Instant, Timestamp)>,
    /// How many there were, by the decision.
    seen: Map<String, Value>,
}

impl Strangers {
    /// The line that counts those that had none, once the minute is over.
    fn count(&mut self) -> Option<Map<String, Value>> {
        let (began, when) = self.began?;
        if began.elapsed() < MINUTE {
            return None;
        }
        self.began = None;
        let mut counted = Map::new();
        for (word, seen) in std::mem::take(&mut self.seen) {
            let more = seen.as_u64().unwrap_or_default().saturating_sub(STRANGERS_A_MINUTE);
            if more > 0 {
                counted.insert(word, more.into());
            }
        }
        if counted.is_empty() {
            return None;
        }
        let line = json!({"when": now(), "phase": "count", "since": time(when), "not_logged": counted});
        line.as_object().cloned()
    }

    /// Whether one more is to have a line.
    fn has_line(&mut self, decision: &str) -> bool {
        self.began.get_or_insert_with(|| (Instant::now(), Timestamp::now()));
        let seen = self.seen.get(decision).and_then(Value::as_u64).unwrap_or_default() + 1;
        self.seen.insert(decision.into(), seen.into());
        seen <= STRANGERS_A_MINUTE
    }
}

impl AuditLog {
    /// The log of these settings.
    ///
    /// Errors: a setting is none, or the log is required and its file cannot be written.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let sink = match &settings.file {
            Some(path) => Sink::File(LogFile::new(path)),
            #[cfg(test)]
            None => Sink::Memory(Mutex::default()),
            #[cfg(not(test))]
            None => Sink::StandardError,
        };
        let log = Self {
            sink,
            is_required: settings.required,
            trusted_proxies: settings
                .trusted_proxies
                .iter()
                .map(|text| Network::parse(text))
                .collect::<Result<_, _>>()?,
            strangers: Mutex::default(),
            written: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        match (log.check(), &settings.file) {
            (Err(error), Some(path)) if settings.required => Err(unwritable(path, &error)),
            _ => Ok(log),
        }
    }

    /// Whether lines can be written, as far as that can be known without one.
    pub fn check(&self) -> io::Result<()> {
        match &self.sink {
            Sink::File(file) => file.check(),
            _ => Ok(()),
        }
    }

    /// Whether nothing is done that cannot be written down.
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    /// How many lines were written, and how often some could not be.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.written.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        )
    }

    /// Writes lines to where they belong. Errors: what is to be said on standard error instead, and why.
    fn write(&self, lines: &[Map<String, Value>], is_kept: bool) -> Result<(), (String, io::Error)> {
        let text: String = lines.iter().map(|line| format!("{}\n", as_line(line))).collect();
        let outcome = match &self.sink {
            Sink::File(file) => file.append(&text, is_kept),
            #[cfg(not(test))]
            Sink::StandardError => io::stderr().lock().write_all(text.as_bytes()),
            #[cfg(test)]
            Sink::Memory(kept) => {
                kept.lock().unwrap().push_str(&text);
                Ok(())
            }
        };
        match outcome {
            Ok(()) => {
                self.written.fetch_add(lines.len() as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let said = format!("abba: the log of decisions cannot be written: {error}\n{text}");
                Err((said, error))
            }
        }
    }

    /// Makes a step with a job that waits for others, which no request asks for: with a line before it and one after, under an
    /// id of their own.
    ///
    /// Errors: that of `make`; or the line before cannot be written, and must be.
    pub fn of_own_accord(
        &self,
        job: Option<&JobSnapshot>,
        step: &Step,
        make: impl FnOnce() -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        // Without it there is nothing to be done.
        let Some(job) = job else { return make() };
        let (what, words, reason) = match step {
            Step::Release => ("start-in-turn", "released", String::new()),
            Step::NotStart(cause) => ("keep-from-starting", "not started", cause.words()),
        };
        let audit = Audit {
            is_of_server: true,
            ..Audit::new(self, what, String::new())
        };
        audit
            .intend([AuditedJob::there(job, false)])
            .map_err(|refusal| Failure::new(FailureKind::Other, refusal.reason))?;
        let made = make();
        audit.note(
            &job.record.job_id,
            match &made {
                Ok(is_made) => Outcome {
                    reason: reason.chars().take(LONGEST_REASON).collect(),
                    ..Outcome::allowed(Some(if *is_made { words } else { "nothing: it waits no longer" }))
                },
                Err(failure) => Outcome {
                    decision: "failed",
                    status: 502,
                    done: failure.kind.leaves_outcome_open().then(|| "not known".into()),
                    reason: failure.words.chars().take(LONGEST_REASON).collect(),
                },
            },
        );
        audit.finish_deeds();
        made
    }

    /// Whether lines go to standard error anyway.
    fn is_standard_error(&self) -> bool {
        !matches!(self.sink, Sink::File(_)) && !cfg!(test)
    }

    /// The address that a request comes from: `peer`, or, where that is a proxy whose word is taken, the last address in
    /// `X-Forwarded-For` that is none. `is_on_socket`: the server listens on a Unix socket, which a proxy alone reaches.
    pub fn address(&self, peer: &str, headers: &Headers, is_on_socket: bool) -> String {
        let is_trusted = |address: &IpAddr| self.trusted_proxies.iter().any(|network| network.holds(address));
        let peer_is_trusted = is_on_socket || peer.parse().is_ok_and(|address| is_trusted(&address));
        if !peer_is_trusted {
            return peer.to_string();
        }
        let forwarded = headers.get("x-forwarded-for").unwrap_or_default();
        let mut nearest = peer.to_string();
        for text in forwarded.rsplit(',') {
            // Beyond what is no address nothing is known.
            let Some(address) = address(text.trim()) else { break };
            nearest = address.to_string();
            if !is_trusted(&address) {
                break;
            }
        }
        nearest
    }

    /// All lines so far that came to no file.
    #[cfg(test)]
    pub fn lines(&self) -> Vec<Value> {
        let Sink::Memory(kept) = &self.sink else {
            return Vec::new();
        };
        let text = kept.lock().unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::input(format!(
        "The option `abba.api.log` names the file {}, which cannot be written: {error}.",
        path.display()
    ))
    .meaning("The server is not started, since the option `abba.api.log.required` is TRUE.")
    .advise("Name a file that the account of the server may write, in a folder that is there.")
}

/// An address as a proxy writes it: some add the port, and IPv6 has brackets then.
fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = match text.parse() {
        Ok(address) => address,
        Err(_) => text.parse::<std::net::SocketAddr>().ok()?.ip(),
    };
    Some(address.to_canonical())
}

/// Addresses that begin with the same bits.
#[derive(Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Result<Self, Error> {
        let read = || {
            let (address, bits) = match text.split_once('/') {
                Some((address, bits)) => (address, Some(bits.parse().ok()?)),
                None => (text, None),
            };
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits: u32 = bits.unwrap_or(most);
            (bits <= most).then_some(Self { address, bits })
        };
        read().ok_or_else(|| {
            Error::input(format!(
                "The option `abba.api.trusted.proxies` has {}, which is no address and no network.",
                quote_shortened(text)
            ))
            .advise("Give addresses, such as \"127.0.0.1\", or networks, such as \"192.0.2.0/24\".")
        })
    }

    fn holds(&self, address: &IpAddr) -> bool {
        // Shifting by all bits is no shift.
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = u32::from(own) ^ u32::from(other);
                differing.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = u128::from(own) ^ u128::from(other);
                differing.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// A moment as the log has it: RFC 3339, UTC.
fn time(when: Timestamp) -> String {
    format!("{when:.3}")
}

fn now() -> String {
    time(Timestamp::now())
}

/// One line. Whatever does not show, or turns the direction of text, is escaped: it would show whoever looks at the log
/// something else than what stands there.
fn as_line(line: &Map<String, Value>) -> String {
    escaped(&Value::Object(line.clone()), is_harmless)
}

/// Control characters, line ends, the format characters of Unicode 16 (general category Cf) and what it lets programs show as
/// nothing (`Default_Ignorable_Code_Point`) are not.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn shortened(text: &str) -> String {
    match text.chars().nth(LONGEST_WORD) {
        Some(_) => text.chars().take(LONGEST_WORD).chain("...".chars()).collect(),
        None => text.to_string(),
    }
}

/// What the log has of one request.
pub(super) struct Audit<'a> {
    log: &'a AuditLog,
    request_id: String,
    what: &'a str,
    from: String,
    who: OnceCell<Who>,
    asks_too_often: Cell<bool>,
    /// Whether it is what the server does of its own accord, and no request.
    is_of_server: bool,
    deeds: RefCell<Vec<Deed>>,
}

/// The caller, and the id of the key that they came with.
struct Who {
    name: String,
    key_id: Option<String>,
}

/// What became of the lines of a request.
pub(super) struct Written {
    /// The line of the request.
    pub line: String,
    /// What R is to say on standard error, which may be another one than the process's: a console.
    pub said: String,
    /// The answer, where without its line the caller must not get what they asked for.
    pub refusal: Option<ApiError>,
}

/// Something that is done to a job.
struct Deed {
    /// What names it in its lines.
    job: Map<String, Value>,
    /// What came of it; `None`: that of the request.
    outcome: Option<Outcome>,
}

/// What came of something, as its line has it.
struct Outcome {
    decision: &'static str,
    status: u16,
    done: Option<String>,
    reason: String,
}

impl Outcome {
    fn allowed(done: Option<&str>) -> Self {
        Self {
            decision: "allowed",
            status: 200,
            done: done.map(String::from),
            reason: String::new(),
        }
    }

    fn of_refusal(refusal: &ApiError) -> Self {
        // Where the error names the job that was to be made, it may be there; and whatever abba was doing when it failed.
        let is_unknown = refusal.status == 500 || refusal.status > 500 && !refusal.error.job_ids.is_empty();
        Self {
            decision: if refusal.status < 500 { "refused" } else { "failed" },
            status: refusal.status,
            done: is_unknown.then(|| "not known".into()),
            reason: refusal.reason.chars().take(LONGEST_REASON).collect(),
        }
    }

    fn is_done(&self) -> bool {
        self.decision == "allowed"
    }
}

/// A job as the lines about it name it: what it is, and under which account, from which program, in which image it runs.
pub(super) struct AuditedJob {
    /// What both lines have.
    name: Map<String, Value>,
    /// What the line before the deed has.
    facts: Map<String, Value>,
}

impl AuditedJob {
    /// A Job that is about to be made. It says itself what it will be.
    pub fn submitted(job: &Value, caller: &Caller) -> Self {
        let (metadata, pod) = (&job["metadata"], &job["spec"]["template"]["spec"]);
        let (annotations, context) = (&metadata["annotations"], &pod["securityContext"]);
        let containers = pod["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let container = containers
            .iter()
            .find(|container| container["name"] == PROGRAM_CONTAINER)
            .unwrap_or(&Value::Null);
        let mut limits = container["resources"]["limits"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        limits.insert("time_limit_seconds".into(), pod["activeDeadlineSeconds"].clone());
        let image = container["image"].as_str();
        let name = json!({
            "job": metadata["name"], "batch": metadata["labels"][labels::BATCH_ID],
            "owner": shortened(&caller.name), "as_operator": false,
        });
        let facts = json!({
            "program": annotations[labels::PROGRAM_PATH],
            "sha256": annotations[labels::PROGRAM_SHA256],
            "account": {
                "name": caller.account.as_ref().map(|account| account.name.clone()),
                "uid": context["runAsUser"], "gid": context["runAsGroup"], "groups": context["supplementalGroups"],
            },
            "image": image,
            "digest": image.and_then(digest),
            "limits": limits,
            "mounts": mounts(pod, container),
        });
        Self::new(name, facts)
    }

    /// A job that is there, and to which something is about to be done for a caller.
    pub fn seen(job: &JobSnapshot, caller: &Caller) -> Self {
        Self::there(job, !caller.owns(job))
    }

    fn there(job: &JobSnapshot, as_operator: bool) -> Self {
        let owner = super::calls::owner_or_user(job);
        let name = json!({
            "job": job.record.job_id, "batch": job.record.batch_id,
            "owner": shortened(owner), "as_operator": as_operator,
        });
        let image = job.image.as_deref();
        let facts = json!({
            "program": job.record.program, "sha256": job.sha256, "account": {"uid": job.uid},
            "image": image, "digest": image.and_then(digest), "state": job.record.status.name(),
        });
        Self::new(name, facts)
    }

    fn new(name: Value, facts: Value) -> Self {
        let object = |value: Value| match value {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        Self {
            name: object(name),
            facts: object(facts),
        }
    }
}

/// The digest in the name of an image, where it has one.
fn digest(image: &str) -> Option<&str> {
    image.split_once('@').map(|(_, digest)| digest)
}

/// The storage that a program sees: where it is mounted, and the volume without its name. abba's own folders hold nothing
/// but the program, and what it writes there goes with it.
fn mounts(pod: &Value, container: &Value) -> Vec<Value> {
    let volumes = pod["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mounted = container["volumeMounts"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let of = |mount: &Value| {
        let name = mount["name"].as_str().filter(|name| !name.starts_with("abba-"))?;
        let mut volume = volumes
            .iter()
            .find(|volume| volume["name"] == name)?
            .as_object()?
            .clone();
        volume.remove("name");
        volume.insert("path".into(), mount["mountPath"].clone());
        volume.insert("read_only".into(), (mount["readOnly"] == true).into());
        for (key, field) in [("sub_path", "subPath"), ("sub_path", "subPathExpr")] {
            if let Some(value) = mount.get(field) {
                volume.insert(key.into(), value.clone());
            }
        }
        Some(Value::Object(volume))
    };
    mounted.iter().filter_map(of).collect()
}

impl<'a> Audit<'a> {
    /// Of a request for a call, which came from an address.
    pub fn new(log: &'a AuditLog, what: &'a str, from: String) -> Self {
        Self {
            log,
            request_id: Uuid::new_v4().to_string(),
            what,
            from,
            who: OnceCell::new(),
            asks_too_often: Cell::new(false),
            is_of_server: false,
            deeds: RefCell::default(),
        }
    }

    /// The id of the request.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Notes who asks.
    pub fn is_from(&self, caller: &Caller) {
        let _ = self.who.set(Who {
            name: caller.name.clone(),
            key_id: caller.key_id.clone(),
        });
    }

    /// Notes that the caller asks too often: of such requests some have a line, and the others are counted.
    pub fn asks_too_often(&self) {
        self.asks_too_often.set(true);
    }

    fn line(&self, phase: &str) -> Map<String, Value> {
        let who = self.who.get();
        let line = json!({
            "when": now(),
            "request": self.request_id,
            "phase": phase,
            "who": who.map(|who| shortened(&who.name)),
            "key": who.and_then(|who| who.key_id.clone()),
            "from": shortened(&self.from),
            "what": shortened(self.what),
        });
        let mut line = line.as_object().cloned().unwrap_or_default();
        if self.is_of_server {
            line.insert("actor".into(), "server".into());
        }
        line
    }

    /// Writes down what came of what was done, where no request asked for it.
    fn finish_deeds(&self) {
        let of_none = Outcome {
            decision: "failed",
            status: 500,
            done: Some("not known".into()),
            reason: String::new(),
        };
        let (lines, ..) = self.outcomes(&of_none, &Ok(Reply::default()));
        if let Err((said, _)) = self.log.write(&lines, self.log.is_required) {
            let _ = io::stderr().lock().write_all(said.as_bytes());
        }
    }

    /// Writes down what is about to be done to jobs.
    ///
    /// Errors (503): that cannot be done, and must be.
    pub fn intend(&self, jobs: impl IntoIterator<Item = AuditedJob>) -> Result<(), ApiError> {
        let mut lines = Vec::new();
        let mut deeds = Vec::new();
        for job in jobs {
            let mut line = self.line("intent");
            line.extend(job.name.clone());
            line.extend(job.facts);
            lines.push(line);
            deeds.push(Deed {
                job: job.name,
                outcome: None,
            });
        }
        if let Err((said, error)) = self.log.write(&lines, self.log.is_required) {
            let _ = io::stderr().lock().write_all(said.as_bytes());
            if self.log.is_required {
                return Err(no_log(&error));
            }
        }
        self.deeds.borrow_mut().extend(deeds);
        Ok(())
    }

    /// Notes that something was done to a job.
    pub fn done(&self, job_id: &str, done: &str) {
        self.note(job_id, Outcome::allowed(Some(done)));
    }

    /// Notes that nothing was done to a job, or that this is not known.
    pub fn not_done(&self, job_id: &str, refusal: &ApiError) {
        self.note(job_id, Outcome::of_refusal(refusal));
    }

    fn note(&self, job_id: &str, outcome: Outcome) {
        let mut deeds = self.deeds.borrow_mut();
        if let Some(deed) = deeds.iter_mut().find(|deed| deed.job["job"] == job_id) {
            deed.outcome = Some(outcome);
        }
    }

    /// Writes down what came of a request. `names_all`: its line names all jobs.
    pub fn finish(&self, outcome: &Result<Reply, ApiError>, names_all: bool) -> Written {
        let of_request = match outcome {
            Ok(_) => Outcome::allowed(None),
            Err(refusal) => Outcome::of_refusal(refusal),
        };
        let (mut lines, named, decision) = self.outcomes(&of_request, outcome);
        let mut line = self.line("request");
        let count = named.len();
        let most = if names_all { count } else { NAMED_JOBS };
        let named: Vec<String> = named.iter().take(most).map(|id| shortened(id)).collect();
        line.insert("job".into(), named.into());
        line.insert("jobs".into(), count.into());
        line.insert("decision".into(), decision.into());
        line.insert("status".into(), of_request.status.into());
        line.insert("reason".into(), of_request.reason.into());
        let text = as_line(&line);
        let is_known = self.who.get().is_some();
        let mut said = String::new();
        {
            let mut strangers = self.log.strangers.lock().unwrap_or_else(PoisonError::into_inner);
            lines.extend(strangers.count());
            let has_line = match (is_known, self.asks_too_often.get()) {
                (true, false) => true,
                (true, true) => strangers.has_line("too_often"),
                (false, _) => strangers.has_line(decision),
            };
            if has_line {
                if self.log.is_standard_error() {
                    said = format!("{text}\n");
                } else {
                    lines.push(line);
                }
            }
        }
        let has_deeds = !self.deeds.borrow().is_empty();
        let mut refusal = None;
        if !lines.is_empty() {
            if let Err((instead, error)) = self.log.write(&lines, self.log.is_required && has_deeds) {
                said.insert_str(0, &instead);
                // What was done stays done, and the caller is told; what was only looked at is not told.
                let must_be = self.log.is_required && is_known && outcome.is_ok() && !has_deeds;
                refusal = must_be.then(|| no_log(&error));
            }
        }
        Written {
            line: text,
            said,
            refusal,
        }
    }

    /// The lines on what was done to each job, the jobs that the request was about, and its decision.
    fn outcomes(
        &self,
        of_request: &Outcome,
        outcome: &Result<Reply, ApiError>,
    ) -> (Vec<Map<String, Value>>, Vec<String>, &'static str) {
        let deeds = self.deeds.borrow();
        if deeds.is_empty() {
            let named = match outcome {
                Ok(reply) => reply.job_ids.clone(),
                Err(refusal) => refusal.error.job_ids.clone(),
            };
            return (Vec::new(), named, of_request.decision);
        }
        let mut lines = Vec::new();
        let mut done = 0;
        for deed in deeds.iter() {
            let of_job = deed.outcome.as_ref().unwrap_or(of_request);
            done += usize::from(of_job.is_done());
            let mut line = self.line("outcome");
            line.extend(deed.job.clone());
            line.insert("decision".into(), of_job.decision.into());
            line.insert("done".into(), of_job.done.clone().into());
            line.insert("status".into(), of_job.status.into());
            line.insert("reason".into(), of_job.reason.clone().into());
            lines.push(line);
        }
        let named = deeds
            .iter()
            .filter_map(|deed| deed.job["job"].as_str().map(String::from))
            .collect();
        let decision = match done {
            0 => of_request.decision,
            _ if done == deeds.len() => "allowed",
            _ => "partly",
        };
        (lines, named, decision)
    }
}

/// The refusal where the log cannot be written.
fn no_log(error: &io::Error) -> ApiError {
    let error = Error {
        details: Some(format!("The log cannot be written: {error}.")),
        ..Error::new(
            ErrorClass::Unavailable,
            "The abba server cannot write its log of decisions, and does nothing that is not in it.",
        )
        .meaning("Nothing was done.")
        .advise("Tell the administrator of the abba server, and repeat the call later.")
    };
    let reason = format!("{} {}", error.message, error.details.as_deref().unwrap_or_default());
    ApiError::new(503, error).because(reason).again_in(30)
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::headers;
    use super::*;
    use crate::gateway::fake_cluster::{program, programs, server, server_with, Server, PODS};
    use crate::transport::FailureKind;

    /// The lines of a phase about the last request.
    fn last(server: &Server, phase: &str) -> Vec<Value> {
        let lines = server.gateway.audit_log().lines();
        let request = lines.last().unwrap()["request"].clone();
        let is_meant = |line: &Value| line["request"] == request && line["phase"] == phase;
        lines.into_iter().filter(is_meant).collect()
    }

    fn of_all(lines: &[Value], name: &str) -> Vec<String> {
        lines
            .iter()
            .map(|line| line[name].as_str().unwrap().to_string())
            .collect()
    }

    #[test]
    fn a_submission_is_written_down_before_it_is_made_with_all_that_it_is() {
        let server = server();
        let mut body = program("/studies/a.R");
        body["container"] = "registry.example.com/r:4.3".into();
        body["time_limit_seconds"] = 60.into();
        body["mounts"] = json!({
            "volumes": [{"name": "s", "nfs": {"server": "192.0.2.1", "path": "/studies/s1"}}],
            "volumeMounts": [{"name": "s", "mountPath": "/data", "readOnly": true}],
        });
        let answer = server.send("daemon", "POST", "submit-job", &body, None);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let lines = server.gateway.audit_log().lines();
        assert_eq!(of_all(&lines, "phase"), ["intent", "outcome", "request"]);
        assert!(lines.iter().all(|line| line["request"] == answer.request_id.as_str()));
        let intent = &lines[0];
        let job = server.cluster.job(intent["job"].as_str().unwrap());
        assert_eq!(
            job["metadata"]["annotations"]["abba/request-id"],
            answer.request_id.as_str()
        );
        for (name, value) in [
            ("who", json!("daemon")),
            ("key", Value::Null),
            ("what", json!("submit-job")),
            ("from", json!("127.0.0.1")),
            ("owner", json!("daemon")),
            ("as_operator", json!(false)),
            ("program", json!("/studies/a.R")),
            ("image", json!("registry.example.com/r:4.3")),
            ("digest", Value::Null),
            (
                "limits",
                json!({"cpu": "1", "memory": "512M", "time_limit_seconds": 60}),
            ),
        ] {
            assert_eq!(intent[name], value, "{name}: {intent}");
        }
        assert_eq!(intent["account"]["name"], "daemon");
        assert_eq!(
            intent["account"]["uid"],
            job["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
        );
        assert_eq!(intent["sha256"], job["metadata"]["annotations"]["abba/program-sha256"]);
        let mounts = json!([
            {"nfs": {"server": "192.0.2.1", "path": "/studies/s1", "readOnly": true}, "path": "/data", "read_only": true}
        ]);
        let nfs = &intent["mounts"][0]["nfs"];
        assert_eq!(
            (&nfs["server"], &nfs["path"]),
            (&json!("192.0.2.1"), &json!("/studies/s1"))
        );
        assert_eq!(intent["mounts"][0]["path"], mounts[0]["path"]);
        assert_eq!(intent["mounts"][0]["read_only"], true);
        assert_eq!(intent["mounts"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&lines[1]["decision"], &lines[1]["done"]),
            (&json!("allowed"), &json!("created"))
        );
        assert!(!lines.iter().any(|line| line.to_string().contains("1 + 1")));
    }

    #[test]
    fn of_a_batch_that_was_made_in_part_each_job_has_its_own_line() {
        let server = server();
        let one = json!({"programs": [program("b.R")]});
        server.post("daemon", "submit-batch", &one, Some("k"));
        // Its first program is another one under the same key.
        let mut batch = programs(&["a.R", "c.R", "d.R", "e.R"]);
        batch["programs"][3]["program_text"] = "2\n".into();
        server.cluster.fails("POST", FailureKind::Invalid);
        let (status, _) = server.post("daemon", "submit-batch", &batch, None);
        assert_eq!(status, 400);
        assert_eq!(last(&server, "request")[0]["decision"], "refused");
        server.cluster.heals();

        let ids: Vec<String> = (0..4)
            .map(|n| format!("x-{n}0000000-0000-4000-8000-000000000000"))
            .collect();
        let mut batch = programs(&["a.R", "c.R", "d.R", "e.R"]);
        for (program, id) in batch["programs"].as_array_mut().unwrap().iter_mut().zip(&ids) {
            program["job_id"] = id.clone().into();
        }
        // The third is there already, of another program.
        let mut other = program("other.R");
        other["job_id"] = ids[2].clone().into();
        assert_eq!(server.post("daemon", "submit-job", &other, None).0, 200);
        let (status, body) = server.post("daemon", "submit-batch", &batch, None);
        assert_eq!(status, 409, "{body}");
        assert_eq!(of_all(&last(&server, "intent"), "job"), ids);
        let outcomes = last(&server, "outcome");
        assert_eq!(of_all(&outcomes, "job"), ids);
        assert_eq!(
            of_all(&outcomes, "decision"),
            ["allowed", "allowed", "refused", "allowed"]
        );
        assert_eq!(outcomes[2]["status"], 409);
        let request = &last(&server, "request")[0];
        assert_eq!(
            (&request["decision"], &request["status"]),
            (&json!("partly"), &json!(409))
        );
        assert_eq!(request["jobs"], 4);
    }

    #[test]
    fn of_jobs_that_are_cancelled_each_has_a_line_also_where_one_fails_and_an_operator_is_named() {
        let server = server();
        let ids: Vec<String> = (0..3).map(|_| server.submit("bin", "b")).collect();
        for id in &ids {
            server.cluster.start(id);
        }
        server
            .cluster
            .fails(&format!("PUT {PODS}/{}", ids[1]), FailureKind::Forbidden);
        assert_eq!(server.post("sys", "cancel-job", &json!({"job_id": ids}), None).0, 502);
        let (intents, outcomes) = (last(&server, "intent"), last(&server, "outcome"));
        assert_eq!(
            (of_all(&intents, "job"), of_all(&outcomes, "job")),
            (ids.clone(), ids.clone())
        );
        assert_eq!(of_all(&outcomes, "decision"), ["allowed", "failed", "allowed"]);
        assert_eq!(outcomes[0]["done"], "stopped");
        assert!(
            outcomes[1]["reason"].as_str().unwrap().contains("kubectl"),
            "{}",
            outcomes[1]
        );
        for line in intents.iter().chain(&outcomes) {
            assert_eq!(
                (&line["who"], &line["owner"], &line["as_operator"]),
                (&json!("sys"), &json!("bin"), &json!(true))
            );
        }
        assert!(
            intents[0]["sha256"].is_string()
                && intents[0]["image"].is_string()
                && intents[0]["account"]["uid"].is_number()
        );
        assert_eq!(last(&server, "request")[0]["decision"], "partly");
    }

    #[test]
    fn each_of_many_jobs_is_named_by_whatever_changes_or_reads_them() {
        let server = server();
        let paths: Vec<String> = (0..60).map(|n| format!("p{n}.R")).collect();
        let mut batch = programs(&paths.iter().map(String::as_str).collect::<Vec<_>>());
        batch["batch_group_id"] = "b".into();
        let (status, rows) = server.post("daemon", "submit-batch", &batch, None);
        assert_eq!(status, 200, "{rows}");
        let ids = of_all(rows.as_array().unwrap(), "job_id");
        assert_eq!(of_all(&last(&server, "intent"), "job"), ids);
        assert_eq!(of_all(&last(&server, "outcome"), "job"), ids);
        for id in &ids {
            server.cluster.ends(id, "x\n");
        }
        assert_eq!(server.get("daemon", "batch-log?batch_id=b").0, 200);
        assert_eq!(last(&server, "request")[0]["job"].as_array().unwrap().len(), 60);
        assert_eq!(server.get("daemon", "batch-status?batch_id=b").0, 200);
        let request = &last(&server, "request")[0];
        assert_eq!(
            (request["job"].as_array().unwrap().len(), &request["jobs"]),
            (NAMED_JOBS, &json!(60))
        );
        assert_eq!(
            server.post("daemon", "cancel-job", &json!({"batch_id": "b"}), None).0,
            200
        );
        assert_eq!(last(&server, "outcome").len(), 60);
    }

    #[test]
    fn what_cannot_be_written_down_is_done_only_where_it_need_not_be() {
        for is_required in [false, true] {
            let full = server_with(|settings| settings.log.file = Some("/dev/full".into()));
            let mut server = server();
            let id = server.submit("daemon", "b");
            server.cluster.start(&id);
            server.gateway = full.gateway;
            server.gateway.audit_log_mut().is_required = is_required;
            let (submitted, body) = server.post("daemon", "submit-job", &program("a.R"), None);
            let (cancelled, _) = server.post("daemon", "cancel-job", &json!({"job_id": id}), None);
            let (read, _) = server.get("daemon", "jobs");
            let wanted = if is_required { 503 } else { 200 };
            assert_eq!((submitted, cancelled, read), (wanted, wanted, wanted), "{body}");
            assert_eq!(server.cluster.count("PUT"), usize::from(!is_required));
            assert_eq!(server.cluster.count("POST"), 1 + usize::from(!is_required));
            if is_required {
                assert!(body["details"].as_str().unwrap().contains("No space left"), "{body}");
                assert!(!body.to_string().contains("/dev/full"));
            }
            // What tells of the server itself is told.
            assert_eq!(server.get("", "health").0, 200);
            assert_eq!(server.get("", "jobs").0, 401);
            // The place of the job that was not made is free.
            assert_eq!(
                server.gateway.snapshots.seen().map(|(_, open, _)| open),
                Some(1 + usize::from(!is_required))
            );
        }
    }

    #[test]
    fn a_log_that_must_be_written_and_cannot_keeps_the_server_from_starting() {
        let settings = |required| Settings {
            file: Some("/no/such/folder/log".into()),
            required,
            trusted_proxies: Vec::new(),
        };
        AuditLog::new(&settings(false)).unwrap();
        let error = AuditLog::new(&settings(true)).unwrap_err();
        assert!(
            error.message.contains("abba.api.log") && error.message.contains("No such file"),
            "{}",
            error.message
        );
    }

    #[test]
    fn strangers_have_some_lines_in_a_minute_and_then_a_count() {
        let server = server();
        for _ in 0..100 {
            assert_eq!(server.get("", "jobs").0, 401);
        }
        assert_eq!(server.get("", "live").0, 200);
        let lines = server.gateway.audit_log().lines();
        assert_eq!(lines.len() as u64, STRANGERS_A_MINUTE + 1);
        // Callers that are known always have theirs.
        assert_eq!(server.get("daemon", "whoami").0, 200);
        assert_eq!(server.gateway.audit_log().lines().len() as u64, STRANGERS_A_MINUTE + 2);
        {
            let mut strangers = server.gateway.audit_log().strangers.lock().unwrap();
            let (began, when) = strangers.began.unwrap();
            strangers.began = Some((began.checked_sub(MINUTE).unwrap(), when));
        }
        assert_eq!(server.get("", "jobs").0, 401);
        let lines = server.gateway.audit_log().lines();
        let count = &lines[lines.len() - 2];
        assert_eq!(
            (&count["phase"], &count["not_logged"]),
            (&json!("count"), &json!({"refused": 40}))
        );
        assert_eq!(lines.last().unwrap()["phase"], "request");
    }

    #[test]
    fn who_asks_too_often_does_not_fill_the_log() {
        let server = server_with(|settings| settings.requests_per_minute = 1);
        let answered = (0..200).filter(|_| server.get("daemon", "whoami").0 == 200).count() as u64;
        let lines = server.gateway.audit_log().lines();
        assert_eq!(lines.len() as u64, answered + STRANGERS_A_MINUTE);
        assert!(lines.iter().all(|line| line["who"] == "daemon"));
    }

    #[test]
    fn what_turns_or_breaks_text_is_escaped() {
        let text = "a\u{202e}b\u{9b}c\u{7f}\u{2028}\u{e0041}d\r\n\u{e9}\u{3164}\u{34f}e";
        let line = json!({"reason": text});
        let written = as_line(line.as_object().unwrap());
        assert!(written.chars().all(is_harmless), "{written}");
        assert!(
            written.contains("a\\u202eb\\u009bc\\u007f\\u2028\\udb40\\udc41d\\r\\n\u{e9}\\u3164\\u034fe"),
            "{written}"
        );
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), line);

        let server = server();
        server.post("daemon", "submit-job", &program("/s/a\u{202e}R.b\u{9b}.R"), None);
        assert_eq!(last(&server, "intent")[0]["program"], "/s/a\u{202e}R.b\u{9b}.R");
    }

    #[test]
    fn the_address_is_the_callers_where_a_proxy_is_trusted_and_nobody_elses_word() {
        let log = |trusted: &[&str]| {
            let trusted_proxies = trusted.iter().map(ToString::to_string).collect();
            AuditLog::new(&Settings {
                trusted_proxies,
                ..Settings::default()
            })
        };
        let from = |trusted: &[&str], peer: &str, forwarded: &str| {
            let fields = [("X-Forwarded-For", forwarded)];
            log(trusted).unwrap().address(peer, &headers(&fields), peer.is_empty())
        };
        for (trusted, peer, forwarded, address) in [
            (&[][..], "127.0.0.1", "203.0.113.7", "127.0.0.1"),
            (&["127.0.0.1"], "127.0.0.1", "203.0.113.7", "203.0.113.7"),
            (&["127.0.0.1"], "192.0.2.9", "203.0.113.7", "192.0.2.9"),
            // What the caller says of itself stands before what the proxy says.
            (&["127.0.0.1"], "127.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
            (
                &["127.0.0.1", "10.0.0.0/8"],
                "127.0.0.1",
                "203.0.113.7, 10.1.2.3",
                "203.0.113.7",
            ),
            (&["10.0.0.0/8"], "::ffff:10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
            (&["2001:db8::/32"], "2001:db8::1", "[2001:db9::2]:80", "2001:db9::2"),
            (&["127.0.0.1"], "127.0.0.1", "203.0.113.7, unknown", "127.0.0.1"),
            (&["127.0.0.1"], "127.0.0.1", "", "127.0.0.1"),
            (&["0.0.0.0/0"], "192.0.2.1", "10.0.0.1", "10.0.0.1"),
            (&[], "", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
            (&[], "", "", ""),
        ] {
            assert_eq!(
                from(trusted, peer, forwarded),
                address,
                "{trusted:?} {peer} {forwarded}"
            );
        }
        for wrong in ["localhost", "10.0.0.0/33", "10.0.0.0/x", "", "::/129"] {
            let error = log(&[wrong]).unwrap_err();
            assert!(error.message.contains("abba.api.trusted.proxies"), "{}", error.message);
        }
    }

    #[test]
    fn a_fault_of_abba_itself_has_its_lines_too() {
        let mut server = server();
        server.gateway.directory.look_up = |_, _| panic!("a fault of the test");
        let answer = server.send("daemon", "POST", "submit-job", &program("a.R"), None);
        assert_eq!(answer.status, 500);
        let line = &last(&server, "request")[0];
        assert_eq!(
            (&line["request"], &line["decision"]),
            (&json!(answer.request_id), &json!("failed"))
        );
    }
}
