//! A submission as the user gave it: the one definition of its arguments, their defaults and the rules for their values.
//!
//! R's list of arguments, the abba API's body and the annotation [`labels::ARGUMENTS`] of a Job are read into it by serde.
//! The names of the fields stand in clusters, so they must not change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};

use crate::domain::container::check_container;
use crate::domain::job_name;
use crate::domain::job_template::JobTemplate;
use crate::domain::mounts::Mounts;
use crate::domain::order::{OnFailure, Order};
use crate::domain::paths;
use crate::domain::quantity::{ByteLimit, CpuLimit};
use crate::error::quote_shortened;
use crate::kubernetes::labels::{self, check_label_value, check_queue_name};
use crate::kubernetes::objects::Job;
use crate::Error;

/// A limit of processor cores as the user gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CpuArgument {
    /// A number of cores.
    Number(f64),
    /// Text such as `500m`.
    Text(String),
}

/// What the user gave, unchecked. Kept with the job, so that it can be submitted again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubmitArguments {
    /// The program's path as it was written.
    pub given_path: String,
    /// The same with `~` replaced.
    pub expanded_path: String,
    /// Where the program lies on the machine of a caller of the abba API, who alone reads it there; `None`: not told. For
    /// the record only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute_path: Option<String>,
    /// The batch that the job belongs to; empty: a new one.
    pub batch_group_id: String,
    /// The user's own tag; empty: none.
    pub user_tag: String,
    /// Limit of processor cores.
    pub cpu_limit: CpuArgument,
    /// Limit of memory.
    pub memory_limit: String,
    /// Limit of the node's disk; `None`: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_limit: Option<String>,
    /// The container image.
    pub container: String,
    /// Volumes and volume mounts; `None`: none.
    pub mounts: Option<Value>,
    /// Whether the user's home is mounted from an NFS server.
    pub auto_mount_home: bool,
    /// That server.
    pub home_nfs_ip_address: Option<String>,
    /// The user that the program runs as; `None`: as the image says.
    pub username: Option<String>,
    /// After how many seconds the program is ended; `None`: never.
    pub time_limit_seconds: Option<f64>,
    /// The program's own arguments, which `commandArgs(TRUE)` gives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What the program finds in its environment besides abba's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Whether R starts as with `--vanilla`, and without a personal library.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub vanilla: bool,
    /// The R that is started: its path in the container, or a name on the `PATH` there; `None`: `R`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r_command: Option<String>,
    /// The queue of Kueue that the program goes through; `None`: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The administrator's part of the Job: an object, or its JSON as text; of a caller of the abba API the name of one of the
    /// server's. `None`: none, or the server's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_template: Option<Value>,
    /// For how many days Kubernetes keeps the job and its log after its end; `None`: for [`USUAL_DAYS_KEPT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<f64>,
    /// The jobs of the same batch that it runs after, with the names of their programs. A Job keeps them by themselves, see
    /// [`labels::AFTER`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub after: BTreeMap<String, String>,
    /// Whether others of its batch run after it. A Job says so by itself, see [`labels::AWAITED`].
    #[serde(skip_serializing_if = "is_false")]
    pub awaited: bool,
    /// Whether it may start after another one of its batch has failed.
    #[serde(skip_serializing_if = "OnFailure::is_usual")]
    pub on_failure: OnFailure,
    /// The job's id, where it was made before the submission; `None`: a new one.
    pub job_id: Option<String>,
}

/// For how many days Kubernetes keeps a job and its log after its end: what ended on a Friday night is there on Monday.
pub const USUAL_DAYS_KEPT: f64 = 7.0;

/// Whoever waits for a job must see its end also after an outage, so it is kept for an hour at least.
const LEAST_SECONDS_KEPT: f64 = 3600.0;
const SECONDS_OF_DAY: f64 = 86_400.0;
/// About ten years.
const MOST_DAYS_KEPT: f64 = 3650.0;

impl Default for SubmitArguments {
    fn default() -> Self {
        Self {
            given_path: String::new(),
            expanded_path: String::new(),
            absolute_path: None,
            batch_group_id: String::new(),
            user_tag: String::new(),
            cpu_limit: CpuArgument::Number(1.0),
            memory_limit: "512M".into(),
            disk_limit: None,
            container: String::new(),
            mounts: None,
            auto_mount_home: false,
            home_nfs_ip_address: None,
            username: None,
            time_limit_seconds: None,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            vanilla: false,
            r_command: None,
            queue: None,
            job_template: None,
            keep_days: None,
            after: BTreeMap::new(),
            awaited: false,
            on_failure: OnFailure::Continue,
            job_id: None,
        }
    }
}

/// What the values of a submission mean.
#[derive(Clone, Debug)]
pub struct Values {
    /// Limit of processor cores.
    pub cpu_limit: CpuLimit,
    /// Limit of memory.
    pub memory_limit: ByteLimit,
    /// Limit of the node's disk.
    pub disk_limit: Option<ByteLimit>,
    /// After how many seconds the program is ended.
    pub time_limit_seconds: Option<u64>,
    /// For how many seconds the job is kept after its end.
    pub seconds_kept: u32,
    /// Volumes and volume mounts.
    pub mounts: Mounts,
    /// The administrator's part of the Job; `None`: none, or one that is told by its name.
    pub template: Option<JobTemplate>,
}

impl SubmitArguments {
    /// The arguments that a Job keeps; `None` where it keeps none that can be read.
    pub fn of_job(job: &Job) -> Option<Self> {
        let kept = job.metadata.annotations.get(labels::ARGUMENTS)?;
        serde_json::from_str(kept)
            .ok()
            // Nothing is submitted without a path: an object without one is something else.
            .filter(|kept: &Self| !kept.given_path.is_empty() && !kept.container.is_empty())
            .map(|kept| Self {
                after: Order::of_job(job).unwrap_or_default().after,
                ..kept
            })
    }

    /// The same as a Job keeps them.
    ///
    /// Errors: they cannot be written as JSON.
    pub fn text_for_job(&self) -> Result<String, Error> {
        let kept = Self {
            after: BTreeMap::new(),
            awaited: false,
            ..self.clone()
        };
        serde_json::to_string(&kept)
            .map_err(|error| Error::input(format!("The arguments cannot be written as JSON: {error}.")))
    }

    /// Checks the values by themselves: without the program, the account and the home's server.
    ///
    /// Errors: [`crate::ErrorClass::Input`], naming the argument and the rule.
    pub fn values(&self) -> Result<Values, Error> {
        check_container(&self.container)?;
        let cpu_limit = match &self.cpu_limit {
            CpuArgument::Number(cores) => CpuLimit::from_number(*cores)?,
            CpuArgument::Text(text) => CpuLimit::parse(text)?,
        };
        let memory_limit = ByteLimit::of_memory(&self.memory_limit)?;
        check_user_tag(&self.user_tag)?;
        if !self.batch_group_id.is_empty() {
            check_label_value("batch_group_id", &self.batch_group_id)?;
        }
        check_program_arguments(&self.arguments)?;
        check_environment(&self.environment)?;
        if let Some(command) = &self.r_command {
            check_r_command(command)?;
        }
        if let Some(queue) = &self.queue {
            check_queue_name("queue", queue)?;
        }
        if let Some(job_id) = &self.job_id {
            job_name::check_job_id(job_id)?;
        }
        self.after.keys().try_for_each(|id| job_name::check_job_id(id))?;
        check_size("after", &json!(self.after))?;
        Ok(Values {
            cpu_limit,
            memory_limit,
            disk_limit: self.disk_limit.as_deref().map(ByteLimit::of_disk).transpose()?,
            time_limit_seconds: self.time_limit_seconds.map(check_time_limit).transpose()?,
            seconds_kept: self.seconds_kept()?,
            mounts: match &self.mounts {
                Some(value) => Mounts::from_value(value)?,
                None => Mounts::default(),
            },
            template: match &self.job_template {
                Some(Value::String(text)) if !text.trim_start().starts_with('{') => None,
                Some(Value::String(text)) => Some(JobTemplate::parse(text)?),
                Some(value) => Some(JobTemplate::from_value(value)?),
                None => None,
            },
        })
    }

    /// For how many seconds the job is kept after its end. One that others wait for has to be there until they start: nobody
    /// would know any more that it has succeeded.
    fn seconds_kept(&self) -> Result<u32, Error> {
        let usual = check_keep_days(USUAL_DAYS_KEPT)?;
        let asked = self.keep_days.map_or(Ok(usual), check_keep_days)?;
        Ok(if self.awaited { asked.max(usual) } else { asked })
    }

    /// The home folders' server, where the home is to be mounted.
    ///
    /// Errors: it is wanted and no server, or no legal one, is given.
    pub fn home_server(&self) -> Result<Option<&str>, Error> {
        match self.auto_mount_home {
            true => check_nfs_server(self.home_nfs_ip_address.as_deref()).map(Some),
            false => Ok(None),
        }
    }

    /// The arguments that submit the program again with twice the memory; `None` where the limit cannot be doubled.
    pub fn with_twice_the_memory(mut self) -> Option<SubmitAgain> {
        self.memory_limit = twice(&self.memory_limit)?;
        let file_name = paths::file_name(&self.expanded_path);
        if job_name::is_own_batch_id(&self.batch_group_id, file_name) {
            self.batch_group_id = String::new();
        }
        if !self.auto_mount_home {
            self.home_nfs_ip_address = None;
        }
        let usual = serde_json::to_value(Self::default()).ok()?;
        let Value::Object(mut arguments) = serde_json::to_value(&self).ok()? else {
            return None;
        };
        let of_program = [
            "given_path",
            "expanded_path",
            "absolute_path",
            "job_id",
            "after",
            "awaited",
            "on_failure",
        ];
        arguments.retain(|name, value| {
            let is_usual = usual.get(name) == Some(value) && name != "memory_limit";
            !is_usual && !of_program.contains(&name.as_str())
        });
        // A relative path means something in the working directory of then only.
        let is_relative = !self.given_path.starts_with(['/', '~']) && !self.expanded_path.is_empty();
        Some(SubmitAgain {
            file_path: match is_relative {
                true => self.expanded_path,
                false => self.given_path.clone(),
            },
            arguments,
            given_path: self.given_path,
        })
    }
}

/// The arguments of a submission that is to be made again, under the names that users give them; those with their defaults
/// are left out, but for `memory_limit`, and for `container`, whose default is an option of the session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubmitAgain {
    /// Where the program is read.
    pub file_path: String,
    /// All others, in their order.
    #[serde(flatten)]
    pub arguments: Map<String, Value>,
    #[serde(skip)]
    given_path: String,
}

impl SubmitAgain {
    /// The same for a caller of the abba API, who may give the arguments that `is_theirs`, and on whose machine it is not
    /// known where a relative path began.
    #[must_use]
    pub fn for_callers(mut self, is_theirs: impl Fn(&str) -> bool) -> Self {
        self.arguments.retain(|name, _| is_theirs(name));
        Self {
            file_path: self.given_path.clone(),
            ..self
        }
    }
}

/// A quantity like `512M`, twice.
fn twice(quantity: &str) -> Option<String> {
    let unit_begins = quantity
        .rfind(|c: char| c.is_ascii_digit() || c == '.')
        .map_or(0, |last| last + 1);
    let (number, unit) = quantity.split_at(unit_begins);
    let number: f64 = number.parse().ok()?;
    number.is_finite().then(|| format!("{}{unit}", 2.0 * number))
}

fn check_user_tag(tag: &str) -> Result<(), Error> {
    const LONGEST: usize = 1000;
    if tag.chars().count() <= LONGEST && !tag.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::input(format!(
        "`user_tag` must be one line of at most {LONGEST} characters, not {}.",
        quote_shortened(tag)
    )))
}

/// The seconds of a time limit.
///
/// Errors: it is no whole number, or not one that Kubernetes can hold.
pub fn check_time_limit(seconds: f64) -> Result<u64, Error> {
    // Kubernetes holds it as a 32 bit number of seconds (`activeDeadlineSeconds`).
    if seconds.fract() == 0.0 && (1.0..=f64::from(i32::MAX)).contains(&seconds) {
        return Ok(seconds as u64);
    }
    Err(Error::input(format!(
        "`time_limit_seconds` must be a whole number of seconds, at least 1, not {seconds}."
    )))
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The whole seconds of a number of days for which a job is kept after its end.
///
/// Errors: it is less than an hour, or more than ten years.
pub fn check_keep_days(days: f64) -> Result<u32, Error> {
    let seconds = (days * SECONDS_OF_DAY).round();
    if seconds >= LEAST_SECONDS_KEPT && days <= MOST_DAYS_KEPT {
        return Ok(seconds as u32);
    }
    Err(Error::input(format!(
        "`keep_days` must be a number of days from 1/24 (an hour) to {MOST_DAYS_KEPT}, not {days}."
    )))
}

/// The bytes of a program's own texts, at most. Linux starts no program with a longer argument (`MAX_ARG_STRLEN`), and
/// Kubernetes keeps 256 KiB of annotations with an object.
const MOST_BYTES: usize = 96 * 1024;

fn check_program_arguments(arguments: &[String]) -> Result<(), Error> {
    if arguments.iter().any(|argument| argument.contains('\0')) {
        return Err(Error::input("`arguments` must not hold a NUL, which ends a text."));
    }
    check_size("arguments", &json!(arguments))
}

/// What says to a program which job it is.
const OWN_VARIABLES: [&str; 2] = ["ABBA_JOB_ID", "ABBA_BATCH_ID"];

/// The names are those that a shell passes on: Kubernetes has more.
fn check_environment(environment: &BTreeMap<String, String>) -> Result<(), Error> {
    for (name, value) in environment {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err(Error::input(format!(
                "A name in `environment` must be of letters, digits and `_`, and begin with no digit, not {}.",
                quote_shortened(name)
            )));
        }
        if OWN_VARIABLES.contains(&name.as_str()) {
            return Err(Error::input(format!(
                "`environment` must not set {name}: it says which job it is."
            )));
        }
        // dash ends at once where its value is no number.
        if name == "OPTIND" {
            return Err(Error::input(
                "`environment` must not set OPTIND: the shell that starts R has it for itself.",
            ));
        }
        if value.contains('\0') {
            return Err(Error::input(format!(
                "`environment` must not hold a NUL, which ends a text, and that of {name} does."
            )));
        }
    }
    check_size("environment", &json!(environment))
}

/// A path or a name, and nothing with it: an option in it would be taken for a part of the name.
fn check_r_command(command: &str) -> Result<(), Error> {
    const LONGEST: usize = 1000;
    let name = command.rsplit('/').next().unwrap_or_default();
    let is_text = command.len() <= LONGEST && !command.chars().any(|c| c.is_whitespace() || c.is_control());
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
    };
    if !is_text || !is_name(name) || (!command.starts_with('/') && command.contains('/')) {
        return Err(Error::input(format!(
            "`r_command` must be the whole path of an R in the container, such as \"/opt/R/4.2.1/bin/R\", or the name of \
             one on the PATH there, without spaces and options, not {}.",
            quote_shortened(command)
        )));
    }
    if name == "Rscript" {
        return Err(
            Error::input("`r_command` must start R itself, and Rscript takes other options.")
                .advise("Give the R that lies beside it."),
        );
    }
    Ok(())
}

/// The size as the Job keeps it, where a control character takes six bytes.
fn check_size(name: &str, value: &Value) -> Result<(), Error> {
    let size = value.to_string().len();
    if size <= MOST_BYTES {
        return Ok(());
    }
    Err(Error::input(format!(
        "`{name}` must have at most {MOST_BYTES} bytes, and has {size} as it is kept with the job."
    ))
    .advise("Put what is longer into a file of a mount."))
}

fn check_nfs_server(address: Option<&str>) -> Result<&str, Error> {
    let Some(address) = address else {
        return Err(Error::input("`auto_mount_home = TRUE` needs `home_nfs_ip_address`, and it is not given.")
            .advise("Give the address of the server that holds the home folders, or set options(abba.home.nfs.ip.address = ...)."));
    };
    let legal = !address.is_empty()
        && address.len() <= 253
        && address
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'));
    if legal {
        return Ok(address);
    }
    Err(Error::input(format!(
        "`home_nfs_ip_address` must be the address of a server, not {}.",
        quote_shortened(address)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> SubmitArguments {
        SubmitArguments {
            given_path: "/p/a.R".into(),
            expanded_path: "/p/a.R".into(),
            batch_group_id: "a-0c7a11b2-6a55-4c5e-9d1c-0d8a3c9f5b10".into(),
            container: "r:1".into(),
            ..SubmitArguments::default()
        }
    }

    /// An annotation of a job that version 0.1.0 submitted, letter for letter.
    const OF_VERSION_0_1_0: &str = r#"{"given_path":"a.R","expanded_path":"/p/a.R","batch_group_id":"b","user_tag":"t","cpu_limit":0.5,"memory_limit":"1G","container":"r:1","mounts":{"volumes":[{"name":"d","emptyDir":{}}],"volumeMounts":[{"name":"d","mountPath":"/d"}]},"auto_mount_home":false,"home_nfs_ip_address":null,"username":"mike","time_limit_seconds":60.0,"job_id":null}"#;

    #[test]
    fn jobs_of_earlier_versions_stay_readable_and_what_is_written_does_not_change() {
        let read: SubmitArguments = serde_json::from_str(OF_VERSION_0_1_0).unwrap();
        assert_eq!(read.cpu_limit, CpuArgument::Number(0.5));
        assert_eq!(
            (read.username.as_deref(), read.time_limit_seconds),
            (Some("mike"), Some(60.0))
        );
        assert_eq!(serde_json::to_string(&read).unwrap(), OF_VERSION_0_1_0);
    }

    #[test]
    fn an_annotation_that_is_no_submission_is_none() {
        for text in ["", "{}", "[]", r#"{"given_path": 1}"#, r#"{"given_path": "a.R"}"#] {
            let job = json!({"metadata": {"annotations": {labels::ARGUMENTS: text}}});
            assert_eq!(
                SubmitArguments::of_job(&serde_json::from_value(job).unwrap()),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn defaults_are_left_out_when_a_program_is_submitted_again() {
        let again = serde_json::to_value(kept().with_twice_the_memory().unwrap()).unwrap();
        assert_eq!(
            again,
            json!({"file_path": "/p/a.R", "memory_limit": "1024M", "container": "r:1"})
        );
    }

    #[test]
    fn an_own_batch_of_a_program_with_a_windows_path_is_not_given_again() {
        let expanded_path = "C:\\Users\\mike\\a.R".to_string();
        let batch_group_id = job_name::batch_id("a.R", uuid::Uuid::new_v4());
        let again = SubmitArguments {
            expanded_path,
            batch_group_id,
            ..kept()
        }
        .with_twice_the_memory();
        assert_eq!(again.unwrap().arguments.get("batch_group_id"), None);
    }

    #[test]
    fn all_that_was_given_is_there_when_a_program_is_submitted_again() {
        let given = SubmitArguments {
            given_path: "a.R".into(),
            batch_group_id: "Study_1".into(),
            user_tag: "t".into(),
            cpu_limit: CpuArgument::Text("500m".into()),
            memory_limit: "1.5Gi".into(),
            disk_limit: Some("2G".into()),
            mounts: Some(json!({"volumes": []})),
            auto_mount_home: true,
            home_nfs_ip_address: Some("192.0.2.1".into()),
            username: Some("mike".into()),
            time_limit_seconds: Some(60.0),
            arguments: vec!["--cut-off".into(), "".into()],
            environment: BTreeMap::from([("STUDY".into(), "s 1".into())]),
            vanilla: true,
            r_command: Some("/opt/R/4.2.1/bin/R".into()),
            queue: Some("team-a".into()),
            job_template: Some(json!({"spec": {"template": {"spec": {"priorityClassName": "low"}}}})),
            keep_days: Some(0.5),
            ..kept()
        };
        let again = given.with_twice_the_memory().unwrap();
        let mut expected = json!({
            "file_path": "/p/a.R", "batch_group_id": "Study_1", "user_tag": "t", "cpu_limit": "500m",
            "memory_limit": "3Gi", "disk_limit": "2G", "container": "r:1", "mounts": {"volumes": []}, "auto_mount_home": true,
            "home_nfs_ip_address": "192.0.2.1", "username": "mike", "time_limit_seconds": 60.0,
            "arguments": ["--cut-off", ""], "environment": {"STUDY": "s 1"}, "vanilla": true,
            "r_command": "/opt/R/4.2.1/bin/R", "queue": "team-a",
            "job_template": {"spec": {"template": {"spec": {"priorityClassName": "low"}}}}, "keep_days": 0.5,
        });
        assert_eq!(serde_json::to_value(&again).unwrap(), expected);
        let is_theirs = |name: &str| name != "home_nfs_ip_address" && name != "username";
        let object = expected.as_object_mut().unwrap();
        object.retain(|name, _| is_theirs(name));
        object["file_path"] = json!("a.R");
        assert_eq!(serde_json::to_value(again.for_callers(is_theirs)).unwrap(), expected);
    }

    #[test]
    fn arguments_of_a_program_are_any_text_but_nul_up_to_a_size() {
        let check = |arguments: &[&str]| {
            let arguments = arguments.iter().map(ToString::to_string).collect();
            SubmitArguments { arguments, ..kept() }.values()
        };
        let most = "x".repeat(MOST_BYTES - 4);
        for good in [
            &["", " ", "--args", "-e", "--version", "$(HOME)", "\n\"'", "\u{1}é日"][..],
            &[&most],
        ] {
            check(good).unwrap();
        }
        for (bad, rule) in [
            (&["a\0b"][..], "NUL"),
            (&[&most, ""], "98304 bytes"),
            (&[&"\u{1}".repeat(20_000)], "98304"),
        ] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.class, crate::ErrorClass::Input);
            assert!(
                error.message.starts_with("`arguments`") && error.message.contains(rule),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn a_job_is_kept_for_an_hour_at_least_and_for_ten_years_at_most() {
        let seconds = |keep_days| {
            SubmitArguments { keep_days, ..kept() }
                .values()
                .map(|values| values.seconds_kept)
        };
        for (days, expected) in [
            (None, 604_800),
            (Some(1.0 / 24.0), 3600),
            (Some(0.5), 43_200),
            (Some(30.0), 2_592_000),
            (Some(3650.0), 315_360_000),
        ] {
            assert_eq!(seconds(days).unwrap(), expected);
        }
        for days in [0.0, -1.0, 0.04, 3651.0, 1e300, f64::NAN, f64::INFINITY] {
            let error = seconds(Some(days)).unwrap_err();
            assert_eq!(error.class, crate::ErrorClass::Input);
            assert!(error.message.starts_with("`keep_days` must be"), "{}", error.message);
        }
    }

    #[test]
    fn variables_have_names_that_a_shell_knows_and_are_not_those_of_the_job() {
        let check = |name: &str, value: &str| {
            let environment = BTreeMap::from([(name.to_string(), value.to_string())]);
            SubmitArguments { environment, ..kept() }.values()
        };
        for name in ["A", "_a1", "MC_CORES", "ABBA_API_ADDRESS"] {
            check(name, "$(HOME)\n\"é").unwrap();
        }
        for name in [
            "",
            "1A",
            "a b",
            "a.b",
            "a-b",
            "A=",
            "é",
            "ABBA_JOB_ID",
            "ABBA_BATCH_ID",
            "OPTIND",
        ] {
            let error = check(name, "").unwrap_err();
            assert_eq!(error.class, crate::ErrorClass::Input);
            assert!(error.message.contains("`environment`"), "{}", error.message);
        }
        assert!(check("A", "a\0").is_err() && check("A", &"x".repeat(MOST_BYTES)).is_err());
    }

    #[test]
    fn the_r_that_is_started_is_a_whole_path_or_a_name_and_nothing_more() {
        let check = |command: &str| {
            let r_command = Some(command.to_string());
            SubmitArguments { r_command, ..kept() }.values()
        };
        for good in ["R", "R-4.2", "R4.2.1", "/opt/R/4.2.1/bin/R", "/opt/\u{e9}$(x)/R", "/R"] {
            check(good).unwrap();
        }
        let long = "/R".repeat(501);
        for bad in [
            "",
            " ",
            "-R",
            "--version",
            "R --vanilla",
            "/opt/my R/bin/R",
            "a\0b",
            "/R\n",
            "bin/R",
            "./R",
            "~/R",
            "/opt/R/",
            "/",
            "/opt/..",
            ".",
            "R;id",
            "$R",
            "/opt/R/bin/-R",
            "\u{a0}R",
            "C:\\R\\bin\\R.exe",
            &long,
        ] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.class, crate::ErrorClass::Input);
            assert!(
                error.message.starts_with("`r_command` must be the whole path"),
                "{bad:?}: {}",
                error.message
            );
        }
        assert!(check("/opt/R/4.2.1/bin/Rscript")
            .unwrap_err()
            .message
            .contains("Rscript"));
    }

    #[test]
    fn a_quantity_doubles_in_its_unit() {
        for (one, two) in [("512M", "1024M"), ("1.5Gi", "3Gi"), ("1000", "2000"), ("0.25G", "0.5G")] {
            assert_eq!(twice(one).as_deref(), Some(two));
        }
        assert_eq!(twice("lots"), None);
    }
}
