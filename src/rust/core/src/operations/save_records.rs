//! Saves logs and records as files of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use ed25519_dalek::{SigningKey, VerifyingKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record_files::{self, path_of, RecordFile};
use super::verify::read_public_keys;
use crate::domain::dsse::{self, Envelope, Verified};
use crate::domain::program::hexadecimal;
use crate::domain::record::{file_uri, NotFound, Resource, Role, Statement};
use crate::domain::{paths, plan};
use crate::error::quote_shortened;
use crate::kubernetes::time;
use crate::local::files::{self, FileFacts, Looked};
use crate::{Error, ErrorClass};

/// What is to be saved, and where.
#[derive(Debug, Deserialize)]
pub struct SaveArguments {
    /// The folder that gets the files: an absolute path. It is made where it is not there.
    pub folder: String,
    /// The folder that relative paths of inputs and outputs belong to: an absolute path.
    pub study_folder: String,
    /// The jobs, in the order of their submission.
    pub jobs: Vec<JobToSave>,
    /// The PEM file of the private key that records are signed with; `None`: they are not signed.
    #[serde(default)]
    pub key: Option<String>,
    /// PEM files of the public keys whose records count as one's own.
    #[serde(default)]
    pub public_keys: Vec<String>,
}

/// A job whose log and record are to be saved.
#[derive(Debug, Deserialize)]
pub struct JobToSave {
    /// Its record, as JSON.
    pub record: String,
    /// Its log, in parts, each in base64.
    pub log: Vec<String>,
    /// The name of its program in a plan; `None`: its files have the name of the program's file.
    #[serde(default)]
    pub name: Option<String>,
    /// The files that it wrote, as a plan has them.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// The files that it read.
    #[serde(default)]
    pub inputs: Vec<String>,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SavedJob {
    /// The job.
    pub job_id: String,
    /// The program's path as it was given.
    pub program: String,
    /// Its state.
    pub status: String,
    /// The path of its log; `None`: nothing was saved.
    pub log: Option<String>,
    /// The path of its record.
    pub record: Option<String>,
    /// Why nothing was saved, or what must be known of what was.
    pub notes: Vec<String>,
}

/// Saves the log and the record of each job that has ended. What was saved before stays as it is: what a file was when it was
/// looked at first is what its record says.
///
/// Errors, of class `Input`: the key or the folder cannot be used, or a file cannot be written.
pub fn save_records(arguments: &SaveArguments) -> Result<Vec<SavedJob>, Error> {
    let signer = Signer::read(arguments.key.as_deref(), &arguments.public_keys)?;
    make_folder(Path::new(&arguments.folder))?;
    let mut looked = Looked::default();
    let mut save = Save {
        arguments,
        signer: &signer,
        looked: &mut looked,
    };
    arguments.jobs.iter().map(|job| save.job(job)).collect()
}

/// Who signs records, and whose records are believed.
#[derive(Debug, Default)]
pub(super) struct Signer {
    /// The key that they are signed with; `None`: they are not signed, and each record is believed.
    key: Option<SigningKey>,
    /// Those of which each record needs a signature of one.
    known: Vec<VerifyingKey>,
}

impl Signer {
    /// Reads the keys of these PEM files.
    ///
    /// Errors, of class `Input`: one cannot be read, or is none.
    pub(super) fn read(key: Option<&str>, public_keys: &[String]) -> Result<Self, Error> {
        let Some(key) = key.map(read_private_key).transpose()? else {
            return Ok(Self::default());
        };
        let mut known = vec![key.verifying_key()];
        for path in public_keys {
            known.extend(read_public_keys(path, "abba.record.public.key")?);
        }
        Ok(Self { key: Some(key), known })
    }

    /// Why what a record says must not be signed; `None`: it may be.
    fn doubt(&self, record: &RecordFile) -> Option<Doubt> {
        self.key.as_ref()?;
        let Some(envelope) = &record.envelope else {
            return Some(Doubt::Unsigned);
        };
        match envelope.verify(&self.known) {
            Verified::Good => None,
            Verified::OtherKey => Some(Doubt::OtherKey),
            Verified::Wrong => Some(Doubt::Wrong),
        }
    }
}

/// Why a record is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    Unsigned,
    OtherKey,
    Wrong,
}

impl Doubt {
    fn words(self) -> &'static str {
        match self {
            Self::Unsigned => "is not signed",
            Self::OtherKey => "is signed with another key, which `abba.record.public.key` does not have",
            Self::Wrong => "is not as it was signed",
        }
    }
}

/// What became of the files of a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// They are as they have to be.
    Whole,
    /// The same, and what was there was not believed.
    Anew(String),
    /// What was there stays, and nothing was written.
    Kept(String),
}

/// Reads a private key of this machine.
///
/// Errors, of class `Input`: it cannot be read, or is none.
fn read_private_key(path: &str) -> Result<SigningKey, Error> {
    let refuse = |what: &str| {
        Error::input(format!(
            "`abba.record.key` must name a file with a private key of ed25519, and {} {what}.",
            quote_shortened(path)
        ))
        .advise("`openssl genpkey -algorithm ed25519 -out record-key.pem` makes one.")
    };
    let pem = fs::read_to_string(path).map_err(|error| refuse(&format!("cannot be read: {error}")))?;
    dsse::private_key(&pem).map_err(refuse)
}

/// Writes the log and then the record of a job under a name. `earlier`: its record that is there. What that has, and the
/// cluster no longer, stays in `statement`. Whoever signs vouches for all that is signed: of a record that is not believed
/// nothing is taken, and where it says what cannot be found out again, it stays as it is.
///
/// Errors, of class `Input`: a file cannot be written.
pub(super) fn write_files(
    folder: &Path,
    name: &str,
    statement: &mut Statement,
    mut log: Vec<u8>,
    earlier: Option<&RecordFile>,
    signer: &Signer,
) -> Result<Written, Error> {
    let internal = |error: serde_json::Error| Error::new(ErrorClass::Internal, format!("JSON: {error}."));
    let (log_path, record_path) = (folder.join(format!("{name}.log")), folder.join(format!("{name}.json")));
    statement.subject[0].name = format!("{name}.log");
    statement.subject[0].annotations.path = Some(format!("{name}.log"));
    let doubt = earlier.and_then(|earlier| signer.doubt(earlier));
    if let Some(earlier) = earlier.filter(|earlier| earlier.is_of_same_start(statement)) {
        let mut merged = statement.clone();
        earlier.keep_run(&mut merged);
        let old_log = read_if_there(&log_path)?.unwrap_or_default();
        let better = match earlier.keep_log(&mut merged, old_log) {
            OldLog::Worse => None,
            OldLog::Better(log) => Some(log),
            OldLog::Changed => {
                return Ok(Written::Kept(format!(
                    "Not saved: \"{name}.log\" is not as it was recorded, and of the log that comes now a part is missing, so it \
                     stays as it is."
                )));
            }
        };
        earlier.keep_files(&mut merged);
        match doubt {
            None => {
                *statement = merged;
                log = better.unwrap_or(log);
            }
            Some(doubt) if doubt == Doubt::OtherKey || merged != *statement => {
                return Ok(Written::Kept(format!(
                    "Not saved: \"{name}.json\" {}, so nothing that it says is signed, and it stays as it is.{}",
                    doubt.words(),
                    match doubt {
                        Doubt::OtherKey => "",
                        _ => " It has what cannot be found out again.",
                    }
                )));
            }
            Some(_) => {}
        }
    }
    let is_as_before = doubt.is_none()
        && earlier.is_some_and(|earlier| {
            statement.set_recorded(&earlier.statement.run().recorded);
            earlier.statement == *statement
        });
    let mut record = Vec::new();
    if !is_as_before {
        statement.set_recorded(&time::whole_seconds(Timestamp::now()));
        let body = serde_json::to_vec_pretty(&statement).map_err(internal)?;
        record = match &signer.key {
            Some(key) => serde_json::to_vec_pretty(&Envelope::sign(&body, key)).map_err(internal)?,
            None => body,
        };
        record.push(b'\n');
    }
    let is_log_as_before = read_if_there(&log_path)?.as_ref() == Some(&log);
    let log = (!is_log_as_before).then_some((&*log_path, &*log));
    let record = (!is_as_before).then_some((&*record_path, &*record));
    let changed: Vec<_> = log.into_iter().chain(record).collect();
    files::write_together(&changed).map_err(|(path, error)| {
        Error::input(format!(
            "`folder` must be one that can be written, and {} cannot: {error}.",
            quote_shortened(&path.to_string_lossy())
        ))
        .advise("What was saved before is whole. Make the same call again when there is room, or the right to write.")
    })?;
    Ok(match doubt {
        None => Written::Whole,
        Some(doubt) => Written::Anew(format!(
            "Its record of before {}: it was made anew, and nothing was taken from that.",
            doubt.words()
        )),
    })
}

/// The bytes of a file; `None` where there is none.
///
/// Errors, of class `Input`: it is there, and cannot be read.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot_be_read(path, &error)),
    }
}

/// The error about a file that is there and cannot be read: what it has may be better than what is to take its place.
pub(super) fn cannot_be_read(path: &Path, error: &io::Error) -> Error {
    Error::input(format!(
        "`folder` must be one that can be read, and {} cannot: {error}.",
        quote_shortened(&path.to_string_lossy())
    ))
    .meaning("What is there stays as it is: nothing was written in its place.")
    .advise("Make the same call again when it can be read.")
}

/// Makes a folder that is not there.
///
/// Errors, of class `Input`: it cannot be made.
pub(super) fn make_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|error| {
        Error::input(format!(
            "`folder` must be a folder, and {} cannot be made: {error}.",
            quote_shortened(&folder.to_string_lossy())
        ))
    })
}

struct Save<'a> {
    arguments: &'a SaveArguments,
    signer: &'a Signer,
    looked: &'a mut Looked,
}

/// Where a job's files go.
enum Place {
    /// There is nothing of this job yet.
    New(String),
    /// This is its record, or that of an earlier run of its program.
    Has(String, Box<RecordFile>),
    /// A later run of the program has this record.
    Taken(Box<RecordFile>),
}

impl Save<'_> {
    fn job(&mut self, job: &JobToSave) -> Result<SavedJob, Error> {
        let internal = |what: String| Error::new(ErrorClass::Internal, what);
        let mut statement = Statement::read(job.record.as_bytes())
            .ok_or_else(|| internal("What is to be saved is no record.".into()))?;
        let mut log = Vec::new();
        for part in &job.log {
            STANDARD
                .decode_vec(part, &mut log)
                .map_err(|error| internal(format!("A log is no base64: {error}.")))?;
        }
        let program = statement
            .program()
            .map(|program| program.name.clone())
            .unwrap_or_default();
        let mut saved = SavedJob {
            job_id: statement.job_id().to_string(),
            program,
            status: statement.run().status.clone(),
            log: None,
            record: None,
            notes: Vec::new(),
        };
        if !["Succeeded", "Failed"].contains(&saved.status.as_str()) {
            saved
                .notes
                .push(format!("Not saved: it has not ended, it is {}.", saved.status));
            return Ok(saved);
        }
        let (name, before) = match self.place(job, &statement, &log)? {
            Place::New(name) => (name, None),
            Place::Has(name, before) => (name, Some(*before)),
            Place::Taken(by) => {
                saved.notes.push(format!(
                    "Not saved: \"{}.json\" is the record of job \"{}\", a later run of the same program.",
                    by.name,
                    by.statement.job_id()
                ));
                return Ok(saved);
            }
        };
        let folder = Path::new(&self.arguments.folder);
        let (log_path, record_path) = (folder.join(format!("{name}.log")), folder.join(format!("{name}.json")));
        if hexadecimal(&Sha256::digest(&log)) != statement.subject[0].sha256().unwrap_or_default() {
            return Err(internal(format!(
                "The log of job \"{}\" is not that of its record.",
                saved.job_id
            )));
        }
        self.add_files(&mut statement, job);
        let earlier = before.filter(|before| before.statement.job_id() == saved.job_id);
        match write_files(folder, &name, &mut statement, log, earlier.as_ref(), self.signer)? {
            Written::Kept(why) => {
                saved.notes.push(why);
                return Ok(saved);
            }
            Written::Anew(what) => saved.notes.push(what),
            Written::Whole => {}
        }
        saved.status.clone_from(&statement.run().status);
        saved.notes.extend(statement.notes());
        saved.log = Some(log_path.to_string_lossy().into_owned());
        saved.record = Some(record_path.to_string_lossy().into_owned());
        Ok(saved)
    }

    /// Where the files of a job go: under the name of its program, with a number where another program of that name is there.
    fn place(&self, job: &JobToSave, statement: &Statement, log: &[u8]) -> Result<Place, Error> {
        let folder = Path::new(&self.arguments.folder);
        let base = record_files::base_name(job.name.as_deref(), statement);
        let mut place = None;
        for number in 1..=MOST_OF_A_NAME {
            let name = record_files::numbered(&base, number);
            match record_files::read(folder, &name) {
                Ok(Some(there)) if there.statement.job_id() == statement.job_id() => {
                    return Ok(Place::Has(name, Box::new(there)));
                }
                // The job's own record may still come.
                Ok(Some(there)) => {
                    place = place.or_else(|| match there.relation(statement, job.name.is_some()) {
                        Relation::Other => None,
                        Relation::Earlier => Some(Place::Has(name, Box::new(there))),
                        Relation::Later => Some(Place::Taken(Box::new(there))),
                    });
                }
                Ok(None) => {
                    let log_path = folder.join(format!("{name}.log"));
                    let is_free = fs::symlink_metadata(&log_path).is_err();
                    // Somebody's own file; or the log that was written before its record could be.
                    let is_same =
                        || Ok::<_, Error>(log_path.is_file() && read_if_there(&log_path)?.as_deref() == Some(log));
                    if is_free || is_same()? {
                        return Ok(place.unwrap_or(Place::New(name)));
                    }
                }
                // A JSON file that is no record is somebody's own.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(cannot_be_read(&folder.join(format!("{name}.json")), &error)),
            }
        }
        Err(Error::input(format!(
            "`folder` must have room for the name {}, and it has more than {MOST_OF_A_NAME} files of that name.",
            quote_shortened(&base)
        )))
    }

    /// A path from the study's folder, where it is below that.
    fn shown(&self, path: &str) -> String {
        record_files::relative(&self.arguments.study_folder, path).unwrap_or_else(|| path.to_string())
    }

    /// Adds what the program read and wrote, as it is now.
    fn add_files(&mut self, statement: &mut Statement, job: &JobToSave) {
        let metadata = &statement.predicate.run_details.metadata;
        let second = |time: &Option<String>| time.as_ref().and_then(time::parse).map(Timestamp::as_second);
        let (started, finished) = (second(&metadata.started_on), second(&metadata.finished_on));
        let note = |role: Role, facts: &FileFacts| -> Option<String> {
            let modified = facts.modified?.as_second();
            // A file that was put in place of another may have kept its own, older time.
            let placed = facts.placed.map_or(modified, Timestamp::as_second).max(modified);
            match role {
                Role::Input if started.is_some_and(|started| modified > started) => Some(CHANGED_AFTER_START),
                Role::Input if started.is_some_and(|started| placed > started) => Some(PLACED_AFTER_START),
                Role::Output if started.is_some_and(|started| modified < started) => Some(OLDER_THAN_RUN),
                Role::Output if finished.is_some_and(|finished| modified > finished + 1) => Some(CHANGED_AFTER_END),
                _ => None,
            }
            .map(String::from)
        };
        let mut resources: [Vec<Resource>; 2] = Default::default();
        let mut not_found = Vec::new();
        for (place, role, told) in [(0, Role::Output, &job.outputs), (1, Role::Input, &job.inputs)] {
            for name in told {
                let path = plan::absolute(&self.arguments.study_folder, name);
                let mut found = files::found(&path);
                let mut has_any = false;
                for file in found.files {
                    let facts = match self.looked.at(&file) {
                        Ok(facts) => facts,
                        Err(kind) => {
                            found.unseen.push((file, files::why_unseen(kind, false)));
                            continue;
                        }
                    };
                    has_any = true;
                    let file = file.to_string_lossy().into_owned();
                    let mut resource = Resource::new(role, self.shown(&file), Some(facts.sha256.clone()));
                    resource.uri = file_uri(&file);
                    resource.annotations.path =
                        Some(record_files::way(&self.arguments.folder, &file).unwrap_or_else(|| file.clone()));
                    resource.annotations.bytes = Some(facts.bytes);
                    resource.annotations.modified = facts.modified.map(time::whole_seconds);
                    resource.annotations.notes.extend(note(role, &facts));
                    let known = &mut resources[place];
                    if known.iter().all(|known| known.uri != resource.uri) {
                        known.push(resource);
                    }
                }
                // An input folder may be empty.
                let is_missing = !has_any && found.unseen.is_empty() && !(role == Role::Input && found.is_there);
                let missing = is_missing.then(|| (name.clone(), None));
                let unseen = found
                    .unseen
                    .into_iter()
                    .map(|(path, why)| (self.shown(&path.to_string_lossy()), Some(why)));
                for (name, why) in unseen.chain(missing) {
                    let missing = NotFound { role, name, why };
                    if !not_found.contains(&missing) {
                        not_found.push(missing);
                    }
                }
            }
        }
        let [outputs, inputs] = resources;
        statement.subject.extend(outputs);
        statement
            .predicate
            .build_definition
            .resolved_dependencies
            .extend(inputs);
        statement.predicate.run_details.metadata.run.not_found = not_found;
        // The program's path is told from the record's folder, too: a study moves as a whole.
        let folder = &self.arguments.folder;
        for resource in &mut statement.predicate.build_definition.resolved_dependencies {
            if let (Role::Program, Some(path)) = (resource.annotations.role, &resource.annotations.path) {
                if let Some(way) = record_files::way(folder, &in_study(&self.arguments.study_folder, path)) {
                    resource.annotations.path = Some(way);
                }
            }
        }
    }
}

/// A path as one below the study's folder, where it is one without its links: so it moves with the study.
fn in_study(study_folder: &str, path: &str) -> String {
    if record_files::relative(study_folder, path).is_some() {
        return path.to_string();
    }
    let without_links = |path: &str| files::identity(Path::new(path)).to_string_lossy().into_owned();
    match record_files::relative(&without_links(study_folder), &without_links(path)) {
        Some(rest) => plan::absolute(study_folder, &rest),
        None => path.to_string(),
    }
}

/// How many records of one name a folder can have.
const MOST_OF_A_NAME: usize = 10_000;

const CHANGED_AFTER_START: &str =
    "It was changed after the program had started: the program may have read another text.";
pub(super) const PLACED_AFTER_START: &str =
    "It was put there, or its rights were changed, after the program had started: the program may have read another file.";
pub(super) const OLDER_THAN_RUN: &str = "It is older than the run: the program did not write it.";
pub(super) const CHANGED_AFTER_END: &str = "It was changed after the program had ended.";

impl Statement {
    /// The program.
    fn program(&self) -> Option<&Resource> {
        self.of_role(Role::Program).next()
    }

    /// By which the later of two runs is known.
    pub(super) fn order(&self) -> (&str, &str) {
        (&self.run().submitted, self.job_id())
    }

    pub(super) fn set_recorded(&mut self, time: &str) {
        self.predicate.run_details.metadata.run.recorded = time.into();
    }

    /// What must be known of what it holds.
    pub(super) fn notes(&self) -> Vec<String> {
        let of_files = self.resources().flat_map(|resource| {
            let name = match resource.annotations.role {
                Role::Log => String::new(),
                _ => format!("{}: ", paths::file_name(&resource.name)),
            };
            let is_known = resource.annotations.role == Role::Program;
            let notes = resource.annotations.notes.iter().filter(move |_| !is_known);
            notes.map(move |note| format!("{name}{note}"))
        });
        let missing = self.run().not_found.iter().map(|missing| {
            let role = missing.role.name();
            match &missing.why {
                None => format!("{}: This {role} was not there.", missing.name),
                Some(why) => format!("{}: This {role} could not be looked at: {why}.", missing.name),
            }
        });
        of_files.chain(missing).collect()
    }
}

/// How a log that was saved stands to the one that is to be saved.
enum OldLog {
    /// The new one takes its place.
    Worse,
    /// The new one is not whole, and this is, or is longer.
    Better(Vec<u8>),
    /// The new one is not whole; this is not what was recorded, and has as much.
    Changed,
}

/// How the job of a record that is there stands to one that is to be saved.
enum Relation {
    /// An earlier run of the same program.
    Earlier,
    /// A later one.
    Later,
    /// Another program, or one that was wanted twice.
    Other,
}

impl RecordFile {
    fn relation(&self, statement: &Statement, by_name: bool) -> Relation {
        if !self.is_of_same_step(statement, by_name) {
            return Relation::Other;
        }
        let is_later = self.statement.order() > statement.order();
        let first = if is_later { statement } else { &self.statement };
        // Of one batch both are wanted, but where the later one is there for the one that failed.
        let is_beside = self.statement.run().batch_id == statement.run().batch_id;
        match (is_beside && first.run().status == "Succeeded", is_later) {
            (true, _) => Relation::Other,
            (false, true) => Relation::Later,
            (false, false) => Relation::Earlier,
        }
    }

    /// Whether it is of the same program, run for the same purpose. `by_name`: the name of its step in the plan is the same.
    fn is_of_same_step(&self, statement: &Statement, by_name: bool) -> bool {
        let is_same_program = match (self.statement.program(), statement.program()) {
            (Some(old), Some(new)) if old.uri.is_empty() && new.uri.is_empty() => old.name == new.name,
            (Some(old), Some(new)) => self.is_same_file(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        let purpose = |statement: &Statement| {
            let given = &statement.predicate.build_definition.external_parameters;
            ["arguments", "environment"].map(|name| given.get(name).cloned())
        };
        is_same_program && (by_name || purpose(&self.statement) == purpose(statement))
    }

    /// Whether a file of it is one of a record that is to lie beside it.
    fn is_same_file(&self, old: &Resource, new: &Resource) -> bool {
        let is_same_place = || self.identity(old).is_some_and(|old| Some(old) == self.identity(new));
        (!old.uri.is_empty() && old.uri == new.uri) || is_same_place()
    }

    /// Whether it is of the same start of the program: one that was started again has another log. Of a pod that is gone
    /// the Job alone tells, and where it succeeded, another pod than one that failed has done so.
    pub(super) fn is_of_same_start(&self, statement: &Statement) -> bool {
        let (old, new) = (self.statement.run(), statement.run());
        match new.pod_id {
            None => (old.status.as_str(), new.status.as_str()) != ("Failed", "Succeeded"),
            Some(_) => old.pod_id == new.pod_id,
        }
    }

    /// Leaves in `statement` how the job went, where the cluster has kept the Job longer than its pod: of that it knows less.
    fn keep_run(&self, statement: &mut Statement) {
        let (old, new) = (self.statement.run(), statement.run());
        if new.node.is_some() || old.pod_id.is_none() {
            return;
        }
        let (old, new) = (&self.statement.predicate, &mut statement.predicate);
        // Which image that was, by its digest, the node has told.
        if let Some(image) = self.statement.of_role(Role::Image).next() {
            let dependencies = &mut new.build_definition.resolved_dependencies;
            match dependencies.iter_mut().find(|new| new.annotations.role == Role::Image) {
                Some(new) => new.clone_from(image),
                None => dependencies.push(image.clone()),
            }
        }
        let before = std::mem::replace(&mut new.run_details, old.run_details.clone())
            .metadata
            .run;
        let run = &mut new.run_details.metadata.run;
        run.not_found = before.not_found;
        if before.events.len() > run.events.len() {
            run.events = before.events;
        }
        if run.verdict.is_none() {
            (run.verdict, run.verdict_line) = (before.verdict, before.verdict_line);
        }
    }

    /// Compares the log that was saved before with the one that comes now. Where that is better, it becomes that of
    /// `statement`.
    fn keep_log(&self, statement: &mut Statement, saved: Vec<u8>) -> OldLog {
        let (old, new) = (&self.statement.subject[0], &statement.subject[0]);
        let is_longer = saved.len() as u64 > new.annotations.bytes.unwrap_or(0);
        let is_better = !new.annotations.notes.is_empty() && (old.annotations.notes.is_empty() || is_longer);
        if !is_better {
            return OldLog::Worse;
        }
        if old.sha256() != Some(&hexadecimal(&Sha256::digest(&saved))) {
            let has_as_much = saved.len() as u64 >= new.annotations.bytes.unwrap_or(0);
            return if has_as_much { OldLog::Changed } else { OldLog::Worse };
        }
        statement.subject[0] = old.clone();
        OldLog::Better(saved)
    }

    /// Leaves in `statement` what was recorded before of files, events and the verdict: it is nearer to the run.
    fn keep_files(&self, statement: &mut Statement) {
        let with_old = |new: &mut Vec<Resource>, old: &[Resource], role: Role| {
            // Where the new ones are, once it is needed: of a study that has moved, or with links.
            let mut places: Option<Vec<(String, Option<PathBuf>)>> = None;
            // Of two names of one file each has an entry of its own.
            let mut taken = BTreeSet::new();
            for resource in old.iter().filter(|old| old.annotations.role == role) {
                let is_same = |new: &Resource| new.uri == resource.uri && new.annotations.role == role;
                let at = new.iter().position(is_same).or_else(|| {
                    let place = |one: &Resource| (path_of(&self.folder, one), self.identity(one));
                    let of_role = |new: &Resource| match new.annotations.role == role {
                        true => place(new),
                        false => (String::new(), None),
                    };
                    let (path, identity) = place(resource);
                    let places = places.get_or_insert_with(|| new.iter().map(of_role).collect());
                    let mut free = (0..places.len()).filter(|at| !taken.contains(at) && places[*at].1.is_some());
                    let same_path = free.clone().find(|at| places[*at].0 == path);
                    same_path.or_else(|| free.find(|at| places[*at].1 == identity))
                });
                taken.extend(at);
                match at {
                    Some(at) => new[at] = resource.clone(),
                    None => new.push(resource.clone()),
                }
            }
        };
        with_old(&mut statement.subject, &self.statement.subject[1..], Role::Output);
        let before = &self.statement.predicate.build_definition.resolved_dependencies;
        let now = &mut statement.predicate.build_definition.resolved_dependencies;
        with_old(now, before, Role::Input);
        let (old, new) = (self.statement.run(), &mut statement.predicate.run_details.metadata.run);
        if old.events.len() > new.events.len() {
            new.events = old.events.clone();
        }
        // Of a file that came after it was looked for it stays known that it was not there.
        for missing in &old.not_found {
            if !new.not_found.contains(missing) {
                new.not_found.push(missing.clone());
            }
        }
        if new.verdict.is_none() {
            new.verdict.clone_from(&old.verdict);
            new.verdict_line.clone_from(&old.verdict_line);
        }
        self.keep_session(statement);
    }

    /// What R noted is gone with its pod, and stays in the record.
    fn keep_session(&self, statement: &mut Statement) {
        let is_known = |statement: &Statement| {
            let session = &statement.predicate.run_details.metadata.session;
            session.as_ref().is_some_and(|session| session.missing.is_none())
        };
        if is_known(statement) || !is_known(&self.statement) {
            return;
        }
        let (old, new) = (&self.statement.predicate, &mut statement.predicate);
        new.run_details
            .metadata
            .session
            .clone_from(&old.run_details.metadata.session);
        let packages = self.statement.of_role(Role::Package).cloned();
        new.build_definition.resolved_dependencies.extend(packages);
        if let Some(version) = old.run_details.builder.version.get("R") {
            new.run_details.builder.version.insert("R".into(), version.clone());
        }
    }
}
