//! Which programs of a plan have to run again, and why: what has changed since their records were made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record_files::{self, path_of, RecordFile};
use super::save_records::{CHANGED_AFTER_END, OLDER_THAN_RUN, PLACED_AFTER_START};
use super::verify::is_recorded;
use crate::domain::job_template::JobTemplate;
use crate::domain::mounts::Mounts;
use crate::domain::quantity::CpuLimit;
use crate::domain::record::{self, file_uri, Resource, Role};
use crate::domain::submission::SubmitArguments;
use crate::domain::{paths, plan};
use crate::error::quote_shortened;
use crate::kubernetes::time;
use crate::local::files::{self, Found, Looked};
use crate::Error;

/// A plan, and where its records are.
#[derive(Debug, Deserialize)]
pub struct OutdatedArguments {
    /// The folder of the records: an absolute path. It need not be there.
    pub records: String,
    /// The folder that relative paths belong to: an absolute path.
    pub study_folder: String,
    /// The programs.
    pub programs: Vec<PlannedProgram>,
}

/// A program of a plan.
#[derive(Debug, Deserialize)]
pub struct PlannedProgram {
    /// Its name in the plan.
    pub name: String,
    /// The files that it reads.
    pub inputs: Vec<String>,
    /// The files that it writes.
    pub outputs: Vec<String>,
    /// The names of those that it runs after.
    pub after: Vec<String>,
    /// What it would be submitted with. A container that is empty is not compared.
    pub arguments: SubmitArguments,
}

/// Whether a program has to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outdated {
    /// Whether it has to.
    pub outdated: bool,
    /// Why, in sentences.
    pub why: Vec<String>,
}

/// Looks at each program of a plan. A file that cannot be read here counts as changed.
///
/// Errors, of class `Input`: the folder of the records is there and cannot be read.
pub fn outdated(arguments: &OutdatedArguments) -> Result<Vec<Outdated>, Error> {
    let records = Records::read(&arguments.records)?;
    let mut looked = Looked::default();
    let paths: Vec<String> = arguments
        .programs
        .iter()
        .map(|program| program_path(arguments, program))
        .collect();
    // As text, which is compared faster than a path.
    let identities: Vec<OsString> = paths
        .iter()
        .map(|path| files::identity(Path::new(path)).into())
        .collect();
    let mut count: HashMap<&OsStr, usize> = HashMap::new();
    for identity in &identities {
        *count.entry(identity).or_default() += 1;
    }
    let mut rows: Vec<Outdated> = arguments
        .programs
        .iter()
        .zip(paths.iter().zip(&identities))
        .map(|(program, (path, identity))| {
            let is_only_one = count.get(identity.as_os_str()) == Some(&1);
            let why = match records.of(&program.name, path, identity, is_only_one) {
                Some(record) => Comparison {
                    arguments,
                    program,
                    path,
                    record,
                    looked: &mut looked,
                    why: Vec::new(),
                }
                .reasons(),
                None => vec!["It has no record.".to_string()],
            };
            Outdated {
                outdated: !why.is_empty(),
                why,
            }
        })
        .collect();
    spread(&arguments.programs, &mut rows);
    Ok(rows)
}

/// A program runs where one before it runs.
fn spread(programs: &[PlannedProgram], rows: &mut [Outdated]) {
    let place: BTreeMap<&str, usize> = programs
        .iter()
        .zip(0..)
        .map(|(program, row)| (program.name.as_str(), row))
        .collect();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); programs.len()];
    for (row, program) in programs.iter().enumerate() {
        for before in program.after.iter().filter_map(|name| place.get(name.as_str())) {
            followers[*before].push(row);
        }
    }
    let mut open: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].outdated).collect();
    while let Some(row) = open.pop() {
        for follower in &followers[row] {
            if !rows[*follower].outdated {
                rows[*follower].outdated = true;
                open.push(*follower);
            }
        }
    }
    for (row, program) in programs.iter().enumerate() {
        let runs = |name: &&String| place.get(name.as_str()).is_some_and(|before| rows[*before].outdated);
        let before: Vec<String> = program
            .after
            .iter()
            .filter(runs)
            .map(|name| quote_shortened(name))
            .collect();
        if !before.is_empty() {
            let verb = if before.len() == 1 { "runs" } else { "run" };
            rows[row].why.push(format!("{} {verb} before it.", before.join(", ")));
        }
    }
}

/// The records of a folder.
struct Records {
    /// Each with the address of its program, and where that is without links.
    files: Vec<(RecordFile, String, Option<OsString>)>,
}

impl Records {
    fn read(folder: &str) -> Result<Self, Error> {
        let at = Path::new(folder);
        if !at.exists() {
            return Ok(Self { files: Vec::new() });
        }
        let names = record_files::names(at, ".json").map_err(|error| {
            Error::input(format!(
                "`records` must be a folder, and {} cannot be read: {error}.",
                quote_shortened(folder)
            ))
        })?;
        let files = names.iter().filter_map(|name| {
            let record = record_files::read(at, name).ok().flatten()?;
            let program = record.statement.of_role(Role::Program).next()?.clone();
            let identity = record.identity(&program).map(OsString::from);
            Some((record, program.uri, identity))
        });
        Ok(Self { files: files.collect() })
    }

    /// The last record of a program: that of its name in the plan, or else of its path, where no other step of the plan has
    /// that.
    fn of(&self, name: &str, path: &str, identity: &OsStr, is_only_one: bool) -> Option<&RecordFile> {
        let uri = file_uri(path);
        let base = record_files::safe_name(name);
        let of_name = |record: &&RecordFile| {
            let rest = record.name.strip_prefix(&base);
            let is_number = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(is_number))
        };
        let latest = |one: &&RecordFile, two: &&RecordFile| one.statement.order().cmp(&two.statement.order());
        let of_path = self
            .files
            .iter()
            .filter(|(_, its_uri, its_identity)| *its_uri == uri || its_identity.as_deref() == Some(identity))
            .map(|(record, ..)| record);
        match is_only_one {
            true => of_path.max_by(latest),
            false => of_path.filter(of_name).max_by(latest),
        }
    }
}

fn program_path(arguments: &OutdatedArguments, program: &PlannedProgram) -> String {
    let path = &program.arguments.expanded_path;
    match record::is_absolute(path) {
        true => plan::absolute("/", path),
        false => plan::absolute(&arguments.study_folder, path),
    }
}

struct Comparison<'a> {
    arguments: &'a OutdatedArguments,
    program: &'a PlannedProgram,
    path: &'a str,
    record: &'a RecordFile,
    looked: &'a mut Looked,
    why: Vec<String>,
}

impl Comparison<'_> {
    fn reasons(mut self) -> Vec<String> {
        let run = self.record.statement.run();
        if run.status != "Succeeded" {
            self.why.push(format!("Its last run is {}.", run.status));
        }
        self.program_text();
        self.parameters();
        self.inputs();
        self.outputs();
        self.why
    }

    fn program_text(&mut self) {
        let path = self.path;
        let recorded = self.record.statement.of_role(Role::Program).next();
        let recorded = recorded.filter(|resource| resource.sha256().is_some());
        match (self.looked.at(Path::new(path)), recorded) {
            (Err(_), _) => self
                .why
                .push(format!("The program cannot be read here: {}.", quote_shortened(path))),
            (_, None) => self.why.push("Its record does not say which text ran.".into()),
            (Ok(facts), Some(resource)) if !is_recorded(resource, &facts) => {
                self.why.push("The program was changed.".into())
            }
            _ => {}
        }
    }

    fn parameters(&mut self) {
        let recorded = &self.record.statement.predicate.build_definition.external_parameters;
        if recorded.is_empty() {
            return self
                .why
                .push("Its record does not say what it was submitted with.".into());
        }
        let now = record::parameters(&self.program.arguments);
        for name in THAT_MATTER {
            if name == "container" && self.program.arguments.container.is_empty() {
                continue;
            }
            if comparable(name, &now) != comparable(name, recorded) {
                self.why.push(format!("`{name}` is another one."));
            }
        }
        let image = &self.program.arguments.container;
        let ran = self
            .record
            .statement
            .of_role(Role::Image)
            .next()
            .and_then(Resource::sha256);
        if let (Some((_, digits)), Some(ran)) = (image.rsplit_once("@sha256:"), ran) {
            if digits != ran {
                self.why.push("The image has another digest.".into());
            }
        }
    }

    fn inputs(&mut self) {
        let recorded = recorded(self.record, Role::Input);
        let mut now = BTreeMap::new();
        for input in &self.program.inputs {
            let found = files::found(&plan::absolute(&self.arguments.study_folder, input));
            if !found.is_there && found.unseen.is_empty() {
                self.why
                    .push(format!("The input {} cannot be seen here.", quote_shortened(input)));
            }
            self.unseen("input", &found);
            now.extend(found.files.into_iter().map(|path| {
                let identity = files::identity(&path);
                (path, identity)
            }));
        }
        // A file is known by its path. Only where a path is new, as of a study with other links, it is known by what it leads
        // to: what a path of the record leads to may be another file by now.
        let by_path: BTreeMap<&Path, &Resource> =
            recorded.iter().map(|one| (one.path.as_path(), one.resource)).collect();
        let mut by_identity: BTreeMap<&Path, Vec<&Resource>> = BTreeMap::new();
        for one in recorded.iter().filter(|one| !now.contains_key(&one.path)) {
            by_identity.entry(&one.identity).or_default().push(one.resource);
        }
        let mut known_by_identity = BTreeSet::new();
        for (path, identity) in &now {
            let name = name_of(path);
            let resources = match by_path.get(path.as_path()) {
                Some(resource) => vec![*resource],
                None => {
                    known_by_identity.insert(identity.as_path());
                    by_identity.get(identity.as_path()).cloned().unwrap_or_default()
                }
            };
            match self.looked.at(path) {
                Err(_) => self.why.push(format!("The input {name} cannot be read here.")),
                Ok(_) if resources.is_empty() => self.why.push(format!("The input {name} is not in its record.")),
                Ok(facts) if !resources.iter().all(|resource| is_recorded(resource, &facts)) => {
                    self.why.push(format!("The input {name} was changed."));
                }
                Ok(_) => {
                    let notes: Vec<&String> = resources.iter().flat_map(|one| &one.annotations.notes).collect();
                    if notes.iter().any(|note| *note != PLACED_AFTER_START) {
                        self.why.push(format!("The input {name} was changed while it ran."));
                    } else if !notes.is_empty() {
                        self.why.push(format!(
                            "The input {name} may have been another file: its status was changed after the program had \
                             started."
                        ));
                    }
                }
            }
        }
        let is_gone =
            |one: &&Recorded<'_>| !now.contains_key(&one.path) && !known_by_identity.contains(one.identity.as_path());
        for one in recorded.iter().filter(is_gone) {
            let name = quote_shortened(paths::file_name(&one.resource.name));
            self.why
                .push(format!("The input {name} is not there any more, or not one."));
        }
    }

    /// What cannot be looked at counts as changed.
    fn unseen(&mut self, role: &str, found: &Found) {
        for (path, why) in &found.unseen {
            let path = path.to_string_lossy();
            let name = quote_shortened(paths::file_name(&path));
            self.why.push(format!("The {role} {name} cannot be read here: {why}."));
        }
    }

    fn outputs(&mut self) {
        let record = self.record;
        let finished = record.statement.predicate.run_details.metadata.finished_on.as_deref();
        let recorded_here = recorded(record, Role::Output);
        let known: BTreeSet<&Path> = recorded_here
            .iter()
            .flat_map(|one| [one.path.as_path(), one.identity.as_path()])
            .collect();
        for output in &self.program.outputs {
            let path = plan::absolute(&self.arguments.study_folder, output);
            let found = files::found(&path);
            self.unseen("output", &found);
            let is_missing = found.files.is_empty() && found.unseen.is_empty();
            let folder = files::identity(Path::new(&path));
            if is_missing && !recorded_here.iter().any(|one| one.identity.starts_with(&folder)) {
                self.why
                    .push(format!("The output {} is not there.", quote_shortened(output)));
            }
            for file in &found.files {
                if !known.contains(file.as_path()) && !known.contains(files::identity(file).as_path()) {
                    self.why
                        .push(format!("The output {} is not in its record.", name_of(file)));
                }
            }
        }
        for Recorded { path, resource, .. } in recorded_here.into_iter().chain(recorded(record, Role::Log)) {
            let name = quote_shortened(paths::file_name(&resource.name));
            let role = resource.annotations.role.name();
            match self.looked.at(&path) {
                Err(_) => self.why.push(format!("The {role} {name} is not there.")),
                Ok(facts) if !is_recorded(resource, &facts) => {
                    self.why.push(format!("The {role} {name} is not as recorded."));
                }
                Ok(_) if is_of_another(resource, finished) => {
                    self.why
                        .push(format!("The {role} {name} was changed after the program had ended."));
                }
                Ok(_) => {}
            }
        }
    }
}

/// How much later than the end of the program, in seconds, an output may have been changed that is still the program's own.
/// The time of a file is that of the file server, and the end that of the node: their clocks differ.
const CLOCKS_DIFFER_BY: i64 = 60;

/// Whether a record says of an output that it is not what the program left. One that is older than the run may be another
/// program's, which the same pattern stands for.
fn is_of_another(resource: &Resource, finished: Option<&str>) -> bool {
    let second = |time: Option<&str>| time.and_then(time::parse).map(Timestamp::as_second);
    let is_soon = || {
        let (modified, finished) = (second(resource.annotations.modified.as_deref()), second(finished));
        matches!((modified, finished), (Some(modified), Some(finished)) if modified - finished <= CLOCKS_DIFFER_BY)
    };
    let mut notes = resource.annotations.notes.iter();
    resource.annotations.role == Role::Output
        && notes.any(|note| note != OLDER_THAN_RUN && (note != CHANGED_AFTER_END || !is_soon()))
}

/// A file that a record names.
struct Recorded<'a> {
    path: PathBuf,
    /// Where that leads to now.
    identity: PathBuf,
    resource: &'a Resource,
}

/// The files of a role that a record names. Several can be one file by now.
fn recorded(record: &RecordFile, role: Role) -> Vec<Recorded<'_>> {
    let of_role = record.statement.of_role(role);
    of_role
        .map(|resource| {
            let path = PathBuf::from(path_of(&record.folder, resource));
            let identity = files::identity(&path);
            Recorded {
                path,
                identity,
                resource,
            }
        })
        .collect()
}

/// The name of a file, quoted.
fn name_of(path: &Path) -> String {
    quote_shortened(paths::file_name(&path.to_string_lossy()))
}

/// The arguments of a submission that can change what a program makes. R sees the limit of cores, and not the others.
const THAT_MATTER: [&str; 9] = [
    "container",
    "cpu_limit",
    "arguments",
    "environment",
    "vanilla",
    "r_command",
    "mounts",
    "auto_mount_home",
    "job_template",
];

/// An argument so that equal ones are equal; what says nothing is `None`.
fn comparable(name: &str, parameters: &Map<String, Value>) -> Option<Value> {
    let value = parameters.get(name)?;
    if name == "cpu_limit" {
        let limit = match value {
            Value::String(text) => CpuLimit::parse(text).ok(),
            value => value.as_f64().and_then(|cores| CpuLimit::from_number(cores).ok()),
        };
        return limit.map(|limit| limit.cores().into());
    }
    if name == "job_template" {
        let template = match value {
            Value::String(text) => JobTemplate::parse(text),
            value => JobTemplate::from_value(value),
        };
        // A caller of the abba API has a template's name alone, and a record may have one that this abba does not take.
        return template.map_or_else(|_| Some(value.clone()), |template| template.that_matters());
    }
    if name == "mounts" && value.is_object() {
        return Mounts::from_value(value).map_or_else(|_| Some(value.clone()), |mounts| mounts.that_matter());
    }
    let says_nothing = match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    };
    (!says_nothing).then(|| value.clone())
}
