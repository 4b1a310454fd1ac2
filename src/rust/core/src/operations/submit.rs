//! Submitting a program as a Job.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::side_by_side::side_by_side;
use super::{failure_words, Connection};
use crate::domain::container::check_container;
use crate::domain::identity::Identity;
use crate::domain::job_name;
use crate::domain::manifest::{self, JobRequest};
use crate::domain::mounts::Mounts;
use crate::domain::program::{hexadecimal, Program};
use crate::domain::quantity::{CpuLimit, MemoryLimit};
use crate::error::quote_shortened;
use crate::kubernetes::labels::check_label_value;
use crate::kubernetes::objects::Job;
use crate::kubernetes::Api;
use crate::local::{accounts, program_file};
use crate::transport::{FailureKind, Patience};
use crate::{Error, ErrorClass};

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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubmitArguments {
    /// The program's path as it was written.
    pub given_path: String,
    /// The same with `~` replaced.
    pub expanded_path: String,
    /// Where the program lies on the machine of a caller of the abba API, who alone reads it there; `None`: not told. For
    /// the record only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_path: Option<String>,
    /// The batch that the job belongs to; empty: a new one.
    pub batch_group_id: String,
    /// The user's own tag; empty: none.
    pub user_tag: String,
    /// Limit of processor cores.
    pub cpu_limit: CpuArgument,
    /// Limit of memory.
    pub memory_limit: String,
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
    /// The id of an earlier submission of this very program whose outcome is not known; `None`: a new one.
    pub job_id: Option<String>,
}

/// A Job that is ready to be sent.
#[derive(Clone, Debug)]
pub struct PreparedJob {
    job: Job,
    submitted: Submitted,
    submission: String,
    program_path: String,
}

impl PreparedJob {
    /// The program's path as it was given.
    pub fn program_path(&self) -> &str {
        &self.program_path
    }

    /// The Job as it will be sent.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Its ids.
    pub fn submitted(&self) -> &Submitted {
        &self.submitted
    }
}

/// What a user needs to find the job again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The job's id.
    pub job_id: String,
    /// The batch that it belongs to.
    pub batch_id: String,
}

/// Where a submission comes from, when it is not from this machine's user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The caller of the abba API to whom the job belongs.
    pub owner: Option<String>,
    /// What the ids end with, so that the same request makes the same ids; `None`: random ones.
    pub uuid: Option<Uuid>,
}

/// Checks the arguments, reads the program, and makes the Job. Speaks to nobody.
pub fn prepare(arguments: &SubmitArguments) -> Result<PreparedJob, Error> {
    let program = program_file::read(&arguments.given_path, &arguments.expanded_path)?;
    prepare_program(arguments, program, Origin::default())
}

/// The same for a program that is known already: it is not looked for on this machine.
pub fn prepare_program(arguments: &SubmitArguments, program: Program, origin: Origin) -> Result<PreparedJob, Error> {
    let Values {
        cpu_limit,
        memory_limit,
        time_limit_seconds,
        run_as,
        mut mounts,
    } = values(arguments)?;
    let mounted_home = add_home(&mut mounts, arguments, run_as.as_ref())?;

    let file_name = program.file_name().to_string();
    let batch_id = if arguments.batch_group_id.is_empty() {
        job_name::batch_id(&file_name, origin.uuid.unwrap_or_else(Uuid::new_v4))
    } else {
        arguments.batch_group_id.clone()
    };
    let job_id = match &arguments.job_id {
        Some(job_id) => {
            job_name::check_job_id(job_id)?;
            job_id.clone()
        }
        None => job_name::job_id(&file_name, origin.uuid.unwrap_or_else(Uuid::new_v4)),
    };
    let user = run_as
        .as_ref()
        .map_or_else(accounts::current_name, |user| user.name.clone());
    let kept = SubmitArguments {
        expanded_path: program.absolute_path.clone(),
        batch_group_id: batch_id.clone(),
        job_id: None,
        // An option of the session that this job does not use.
        home_nfs_ip_address: arguments
            .home_nfs_ip_address
            .clone()
            .filter(|_| arguments.auto_mount_home),
        ..arguments.clone()
    };
    let kept = serde_json::to_string(&kept)
        .map_err(|error| Error::input(format!("The arguments cannot be written as JSON: {error}.")))?;
    let mut submission = program.submission(&job_id, &batch_id);
    if origin.uuid.is_some() {
        // The same key with another container, say, is not the same request.
        let parts = [
            submission.as_str(),
            kept.as_str(),
            origin.owner.as_deref().unwrap_or_default(),
        ];
        submission = hexadecimal(&Sha256::digest(parts.join("\n")));
    }
    let program_path = program.given_path.clone();
    let job = manifest::job(&JobRequest {
        arguments: kept,
        job_id: job_id.clone(),
        batch_id: batch_id.clone(),
        submission: submission.clone(),
        program,
        container: arguments.container.clone(),
        cpu_limit,
        memory_limit,
        mounts,
        run_as,
        mounted_home,
        user,
        owner: origin.owner,
        user_tag: arguments.user_tag.clone(),
        time_limit_seconds,
    })?;
    Ok(PreparedJob {
        job,
        submitted: Submitted { job_id, batch_id },
        submission,
        program_path,
    })
}

/// Adds the home folder to the mounts where that is wanted; its path.
fn add_home(
    mounts: &mut Mounts,
    arguments: &SubmitArguments,
    run_as: Option<&Identity>,
) -> Result<Option<String>, Error> {
    if !arguments.auto_mount_home {
        return Ok(None);
    }
    let server = check_nfs_server(arguments.home_nfs_ip_address.as_deref())?;
    let home = match run_as {
        Some(user) => user.home.clone(),
        None => accounts::current()?.home,
    };
    mounts.add_home(&home, server);
    Ok(Some(home))
}

/// Whether a program that was submitted with these arguments, as its job keeps them, ran where it was, in a mount.
///
/// Errors: they are no legal arguments (any more: an account may be gone).
pub(super) fn ran_in_place(kept: &SubmitArguments) -> Result<bool, Error> {
    let Values { run_as, mut mounts, .. } = values(kept)?;
    add_home(&mut mounts, kept, run_as.as_ref())?;
    Ok(mounts.cover(&kept.expanded_path))
}

/// Checks what can be checked of arguments without the program and the home's server, which a change of arguments may
/// leave to the first submission. Speaks to nobody.
pub fn check_values(arguments: &SubmitArguments) -> Result<(), Error> {
    values(arguments).map(|_| ())
}

/// What the user's values mean.
struct Values {
    cpu_limit: CpuLimit,
    memory_limit: MemoryLimit,
    time_limit_seconds: Option<u64>,
    run_as: Option<Identity>,
    mounts: Mounts,
}

fn values(arguments: &SubmitArguments) -> Result<Values, Error> {
    check_container(&arguments.container)?;
    let cpu_limit = match &arguments.cpu_limit {
        CpuArgument::Number(cores) => CpuLimit::from_number(*cores)?,
        CpuArgument::Text(text) => CpuLimit::parse(text)?,
    };
    let memory_limit = MemoryLimit::parse(&arguments.memory_limit)?;
    check_user_tag(&arguments.user_tag)?;
    if !arguments.batch_group_id.is_empty() {
        check_label_value("batch_group_id", &arguments.batch_group_id)?;
    }
    Ok(Values {
        cpu_limit,
        memory_limit,
        time_limit_seconds: arguments.time_limit_seconds.map(check_time_limit).transpose()?,
        run_as: arguments.username.as_deref().map(accounts::find).transpose()?,
        mounts: match &arguments.mounts {
            Some(value) => Mounts::from_value(value)?,
            None => Mounts::default(),
        },
    })
}

/// Sends a prepared Job.
///
/// `Ok` means that exactly one such Job exists. An error says that there is none, or, where that cannot be known, that
/// there may be one, and its `job_ids` names it; so it does where the name is taken ([`ErrorClass::NameTaken`]).
pub fn submit(connection: &Connection<'_>, prepared: &PreparedJob) -> Result<Submitted, Error> {
    let api = connection.api().map_err(|error| error.meaning(NO_JOB))?;
    send(&api, &connection.patience, prepared)
}

/// Sends many prepared Jobs, several at once. Each has its own outcome, in order; [`crate::ErrorClass::Interrupted`] for
/// those that were not begun because the user wants to stop.
///
/// Errors: the namespace cannot be found out; then nothing was sent.
pub fn submit_many(
    connection: &Connection<'_>,
    prepared: &[PreparedJob],
) -> Result<Vec<Result<Submitted, Error>>, Error> {
    let api = connection.api().map_err(|error| error.meaning(NO_JOB))?;
    let (transport, namespace) = (api.transport(), api.namespace());
    let outcomes = side_by_side(prepared, &connection.patience, |prepared, patience| {
        send(&Api::in_namespace(transport, namespace, *patience), patience, prepared)
    });
    let not_begun = || Err(Error::new(ErrorClass::Interrupted, "Stopped before it was submitted.").meaning(NO_JOB));
    Ok(outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(not_begun))
        .collect())
}

const NO_JOB: &str = "No job was created.";

fn send(api: &Api<'_>, patience: &Patience<'_>, prepared: &PreparedJob) -> Result<Submitted, Error> {
    let job_id = &prepared.submitted.job_id;
    let Err(created) = api.create_job(&prepared.job, &prepared.submission) else {
        return Ok(prepared.submitted.clone());
    };
    let namespace = api.namespace();
    let error = failure_words::error(&created.failure, "create jobs", namespace, patience);
    if !created.may_exist {
        if created.failure.kind == FailureKind::AlreadyExists {
            let taken = Error::new(
                ErrorClass::NameTaken,
                format!("Job \"{job_id}\" is there already, of another program, or of this one before it was changed."),
            );
            return Err(Error {
                kubectl: error.kubectl,
                ..taken
            }
            .meaning("This submission has created no job.")
            .advise("If that job is not what you want, submit the program anew, by itself.")
            // Most likely an earlier attempt has made it: nobody may take it for one that does not exist.
            .about([job_id]));
        }
        return Err(error.meaning(NO_JOB));
    }
    Err(error
        .meaning(format!(
            "Whether the job was created is not known. Before you submit the program again, ask for it: abba_get_k8s_job_status_local(\"{job_id}\", namespace = \"{namespace}\")."
        ))
        .about([job_id]))
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

fn check_time_limit(seconds: f64) -> Result<u64, Error> {
    // Kubernetes holds it as a 32 bit number of seconds (`activeDeadlineSeconds`).
    if seconds.fract() == 0.0 && (1.0..=f64::from(i32::MAX)).contains(&seconds) {
        return Ok(seconds as u64);
    }
    Err(Error::input(format!(
        "`time_limit_seconds` must be a whole number of seconds, at least 1, not {seconds}."
    )))
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

    fn arguments() -> SubmitArguments {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs");
        SubmitArguments {
            given_path: path.into(),
            expanded_path: path.into(),
            absolute_path: None,
            batch_group_id: String::new(),
            user_tag: String::new(),
            cpu_limit: CpuArgument::Number(1.0),
            memory_limit: "512M".into(),
            container: "r-base:4.2.2".into(),
            mounts: None,
            auto_mount_home: false,
            home_nfs_ip_address: None,
            username: None,
            time_limit_seconds: None,
            job_id: None,
        }
    }

    fn refused(change: impl FnOnce(&mut SubmitArguments)) -> String {
        let mut arguments = arguments();
        change(&mut arguments);
        let error = prepare(&arguments).unwrap_err();
        assert_eq!(error.class, crate::ErrorClass::Input);
        error.message
    }

    #[test]
    fn every_submission_is_one_of_its_own() {
        let (one, two) = (prepare(&arguments()).unwrap(), prepare(&arguments()).unwrap());
        assert_ne!(one.submitted.job_id, two.submitted.job_id);
        assert_ne!(one.submitted.batch_id, two.submitted.batch_id);
        assert_ne!(one.submission, two.submission);
    }

    #[test]
    fn a_batch_id_is_used_as_it_is() {
        let mut arguments = arguments();
        arguments.batch_group_id = "Study_1.batch-2".into();
        assert_eq!(prepare(&arguments).unwrap().submitted.batch_id, "Study_1.batch-2");
    }

    #[test]
    fn bad_arguments_are_named() {
        assert!(refused(|a| a.batch_group_id = "a b".into()).contains("`batch_group_id`"));
        assert!(refused(|a| a.container = "a b".into()).contains("`container`"));
        assert!(refused(|a| a.cpu_limit = CpuArgument::Text("lots".into())).contains("`cpu_limit`"));
        assert!(refused(|a| a.memory_limit = "512m".into()).contains("`memory_limit`"));
        assert!(refused(|a| a.user_tag = "a\nb".into()).contains("`user_tag`"));
        assert!(refused(|a| a.username = Some("no-such-user-here".into())).contains("`username`"));
        assert!(refused(|a| a.auto_mount_home = true).contains("`home_nfs_ip_address`"));
        for seconds in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY, 1e10] {
            assert!(refused(|a| a.time_limit_seconds = Some(seconds)).contains("`time_limit_seconds`"));
        }
        assert!(refused(|a| {
            a.auto_mount_home = true;
            a.home_nfs_ip_address = Some("x; rm".into());
        })
        .contains("`home_nfs_ip_address`"));
    }
}
