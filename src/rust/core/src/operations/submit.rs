//! Submitting a program as a Job.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::parallel_map::{over, parallel_map};
use super::Connection;
use crate::domain::changed_job;
use crate::domain::cluster_check::namespace_rules::refuses_volumes;
use crate::domain::identity::Identity;
use crate::domain::job_name;
use crate::domain::job_template::JobTemplate;
use crate::domain::manifest::{self, JobRequest};
use crate::domain::mounts::{check_home, Access, Mounts};
use crate::domain::program::{hexadecimal, Program, Runner};
use crate::domain::submission::{SubmitArguments, Values};
use crate::domain::usage::Usage;
use crate::error::{Error, ErrorClass, Hint, Warning};
use crate::kubernetes::objects::Job;
use crate::kubernetes::{labels, Api};
use crate::local::{accounts, program_file};
use crate::transport::FailureKind;

/// A Job that is ready to be sent.
#[derive(Clone, Debug)]
pub struct PreparedJob {
    job: Value,
    submitted: Submitted,
    submission: String,
    program_path: String,
    after: BTreeMap<String, String>,
}

impl PreparedJob {
    /// The jobs that it runs after, with the names of their programs.
    pub fn after(&self) -> &BTreeMap<String, String> {
        &self.after
    }

    /// The program's path as it was given.
    pub fn program_path(&self) -> &str {
        &self.program_path
    }

    /// The Job as it will be sent.
    pub fn job(&self) -> &Value {
        &self.job
    }

    /// What it will take up.
    pub fn usage(&self) -> Usage {
        Job::deserialize(&self.job).map_or_else(|_| Usage::default(), |job| Usage::of_job(&job))
    }

    /// Has the Job say by which request to the abba server it is made. A later request that makes the same Job finds the
    /// first's.
    pub fn note_request(&mut self, request_id: &str) {
        self.job["metadata"]["annotations"][labels::REQUEST_ID] = request_id.into();
    }

    /// Its ids.
    pub fn submitted(&self) -> &Submitted {
        &self.submitted
    }
}

/// What a user needs to find the job again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Submitted {
    /// The job's id.
    pub job_id: String,
    /// The batch that it belongs to.
    pub batch_id: String,
    /// What the cluster warned of as it made the job.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// What rules of the cluster changed in it that abba counts on, see [`changed_job`].
    #[serde(skip)]
    pub changes: Vec<String>,
}

/// The warnings that came with submissions, each text once with the jobs it is about.
pub fn submission_warnings<'a>(submitted: impl IntoIterator<Item = &'a Submitted>) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    for one in submitted {
        let of_cluster = one
            .warnings
            .iter()
            .map(|text| (text, format!("The cluster warns of this job: {text}.")));
        let of_changes = one
            .changes
            .iter()
            .map(|text| (text, format!("A rule of the cluster has changed this job: {text}")));
        for (text, message) in of_cluster.chain(of_changes) {
            if let Some(told) = warnings.iter_mut().find(|warning| warning.message == message) {
                told.job_ids.push(one.job_id.clone());
                continue;
            }
            let advice = match text.contains("violate PodSecurity") {
                _ if one.changes.contains(text) => CHANGED,
                true if refuses_volumes(text) => "The job was created, and its program never starts: the namespace takes no such mounts. Cancel it, and show this to the cluster's administrator.",
                true => "The job was created, and its program may never start. Cancel it and submit it with `username`, so that it runs as a user other than root. Whether it starts is told where the job is explained.",
                false => "The job was created. Show this to the cluster's administrator if you do not know what it means.",
            };
            warnings.push(Warning {
                class: "cluster_rule",
                message,
                advice: advice.into(),
                job_ids: vec![one.job_id.clone()],
            });
        }
    }
    warnings
}

const CHANGED: &str = "The job was created so. Cancel it if it must not run like this, and show this to the cluster's \
                       administrator: a mutating webhook or policy does it.";

/// Where a submission comes from, when it is not from this machine's user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The caller of the abba API to whom the job belongs.
    pub owner: Option<String>,
    /// The account that the program runs as, where it was looked up already.
    pub run_as: Option<Identity>,
    /// What the ids end with, so that the same request makes the same ids; `None`: random ones.
    pub uuid: Option<Uuid>,
    /// The template that the server has for it, where the caller may only name one.
    pub template: Option<JobTemplate>,
}

/// Checks the arguments, reads the program, and makes the Job. Speaks to nobody.
pub fn prepare(arguments: &SubmitArguments) -> Result<PreparedJob, Error> {
    let read = |mounts: &Mounts| {
        program_file::read(&arguments.given_path, &arguments.expanded_path)
            .map(|program| program_file::seen_in_mounts(program, mounts))
    };
    prepare_with(arguments, read, Origin::default())
}

/// The same for the programs of a batch, until one is refused.
///
/// Errors: of the first that is refused, with its arguments.
pub fn prepare_all(all: &[SubmitArguments]) -> Result<Vec<PreparedJob>, (&SubmitArguments, Error)> {
    accounts::each_once(|| {
        all.iter()
            .map(|one| prepare(one).map_err(|error| (one, error)))
            .collect()
    })
}

/// The same for a program that is known already: it is not looked for on this machine.
pub fn prepare_program(arguments: &SubmitArguments, program: Program, origin: Origin) -> Result<PreparedJob, Error> {
    prepare_with(arguments, |_| Ok(program), origin)
}

/// `read` gives the program, once the mounts are known that may hold it.
fn prepare_with(
    arguments: &SubmitArguments,
    read: impl FnOnce(&Mounts) -> Result<Program, Error>,
    origin: Origin,
) -> Result<PreparedJob, Error> {
    let mut values = arguments.values()?;
    let run_as = match origin.run_as.clone() {
        Some(known) => Some(known),
        None => account(arguments)?,
    };
    let mounted_home = add_home(&mut values.mounts, arguments, run_as.as_ref())?;
    let template = match (&arguments.job_template, values.template.take(), &origin) {
        (
            _,
            None,
            Origin {
                owner: Some(_),
                template,
                ..
            },
        ) => template.clone(),
        (Some(name), None, _) => return Err(no_template(name)),
        (_, own, _) => own,
    };
    let storage = match &template {
        Some(template) => template.with_mounts(&values.mounts)?,
        None => values.mounts.clone(),
    };
    // A caller's program is the one that was sent, whatever the server's template has under the same path.
    let storage = if origin.owner.is_some() {
        values.mounts.clone()
    } else {
        storage
    };
    let program = read(&storage)?;
    program.check(storage.access(&program.absolute_path))?;
    if program.runner() == Runner::Quarto && !arguments.arguments.is_empty() {
        return Err(Error::input(
            "`arguments` do not reach a Quarto document, since `quarto render` starts its R without them.",
        )
        .advise("Give them by `environment`, and read them with Sys.getenv() in the document."));
    }
    let program = program.without_byte_order_mark(&storage)?;

    let file_name = program.file_name().to_string();
    let batch_id = if arguments.batch_group_id.is_empty() {
        job_name::batch_id(&file_name, origin.uuid.unwrap_or_else(Uuid::new_v4))
    } else {
        arguments.batch_group_id.clone()
    };
    let job_id = arguments
        .job_id
        .clone()
        .unwrap_or_else(|| job_name::job_id(&file_name, origin.uuid.unwrap_or_else(Uuid::new_v4)));
    let user = run_as
        .as_ref()
        .map_or_else(accounts::current_name, |user| user.name.clone());
    let kept = SubmitArguments {
        expanded_path: program.absolute_path.clone(),
        batch_group_id: batch_id.clone(),
        job_id: None,
        job_template: match &template {
            Some(template) if origin.owner.is_none() => Some(json!(template)),
            _ => arguments.job_template.clone(),
        },
        // An option of the session that this job does not use.
        home_nfs_ip_address: arguments
            .home_nfs_ip_address
            .clone()
            .filter(|_| arguments.auto_mount_home),
        ..arguments.clone()
    };
    let mut submission = program.submission(&job_id, &batch_id);
    if origin.uuid.is_some() {
        // The same key with another container, say, or another place in the order, is not the same request.
        let (arguments, after) = (kept.text_for_job()?, json!(kept.after).to_string());
        let mut parts = vec![
            submission.as_str(),
            arguments.as_str(),
            origin.owner.as_deref().unwrap_or_default(),
        ];
        // One that waits for nobody is known as ever, also across a change of the server's version.
        parts.extend((!kept.after.is_empty()).then_some(after.as_str()));
        submission = hexadecimal(&Sha256::digest(parts.join("\n")));
    }
    let program_path = program.given_path.clone();
    let after = kept.after.clone();
    let job = manifest::manifest(&JobRequest {
        arguments: kept,
        job_id: job_id.clone(),
        batch_id: batch_id.clone(),
        submission: submission.clone(),
        program,
        values,
        storage,
        template,
        run_as,
        mounted_home,
        user,
        owner: origin.owner,
    })?;
    Ok(PreparedJob {
        job,
        submitted: Submitted {
            job_id,
            batch_id,
            warnings: Vec::new(),
            changes: Vec::new(),
        },
        submission,
        program_path,
        after,
    })
}

fn no_template(name: &Value) -> Error {
    Error::input(format!(
        "`job_template` is {name}, which only an abba API can know: it is the name of one of its templates."
    ))
    .advise("Through kubectl give the template itself, as a list or as the path of a file.")
}

/// Adds the home folder to the mounts where that is wanted; its path.
fn add_home(
    mounts: &mut Mounts,
    arguments: &SubmitArguments,
    run_as: Option<&Identity>,
) -> Result<Option<String>, Error> {
    let Some(server) = arguments.home_server()? else {
        return Ok(None);
    };
    let home = match run_as {
        Some(user) => user.home.clone(),
        None => accounts::current()?.home,
    };
    let home = check_home(&home)?;
    mounts.add_home(&home, server);
    Ok(Some(home))
}

/// Whether a program that was submitted with these arguments, as its job keeps them, ran where it was, in a mount.
///
/// Errors: they are no legal arguments (any more: an account may be gone).
pub(super) fn ran_in_place(kept: &SubmitArguments) -> Result<bool, Error> {
    Ok(storage_access(kept, &kept.expanded_path)?.is_some())
}

/// What a program that is submitted with these arguments may do at `path` (absolute) of the storage that it gets; `None`:
/// no storage holds that path.
///
/// Errors: they are no legal arguments.
pub fn storage_access(arguments: &SubmitArguments, path: &str) -> Result<Option<Access>, Error> {
    let Values {
        mut mounts, template, ..
    } = arguments.values()?;
    let run_as = account(arguments)?;
    add_home(&mut mounts, arguments, run_as.as_ref())?;
    if let Some(template) = template {
        mounts = template.with_mounts(&mounts)?;
    }
    Ok(mounts.access(path))
}

/// The account that the program runs as; `None`: as the image says.
fn account(arguments: &SubmitArguments) -> Result<Option<Identity>, Error> {
    arguments.username.as_deref().map(accounts::find).transpose()
}

/// Sends a prepared Job.
///
/// `Ok` means that exactly one such Job exists. An error says that there is none, or, where that cannot be known, that
/// there may be one, and its `job_ids` names it; so it does where the name is taken ([`ErrorClass::NameTaken`]).
pub fn submit(connection: &Connection<'_>, prepared: &PreparedJob) -> Result<Submitted, Error> {
    let api = connection.api().map_err(|error| error.meaning(NO_JOB))?;
    send(connection, &api, prepared)
}

/// Sends many prepared Jobs, several at once. Each has its own outcome, in order; [`crate::ErrorClass::Interrupted`] for
/// those that were not begun because the user wants to stop.
///
/// Errors: the namespace cannot be found out; then nothing was sent.
pub fn submit_many(
    connection: &Connection<'_>,
    prepared: &[PreparedJob],
) -> Result<Vec<Result<Submitted, Error>>, Error> {
    submit_each(connection, prepared, |one| Ok(Cow::Borrowed(one)))
}

/// The same for Jobs of which each is made by `prepare` when it is its turn, so that no more are held than are sent at a
/// time. An error of `prepare` is its Job's outcome.
pub fn submit_each<'a, Item: Sync>(
    connection: &Connection<'_>,
    items: &'a [Item],
    prepare: impl Fn(&'a Item) -> Result<Cow<'a, PreparedJob>, Error> + Sync,
) -> Result<Vec<Result<Submitted, Error>>, Error> {
    let api = connection.api().map_err(|error| error.meaning(NO_JOB))?;
    // Where a login is wanted, each further program would start the login helper anew.
    let no_login: Mutex<Option<Error>> = Mutex::new(None);
    let items: Vec<&Item> = items.iter().collect();
    let submit = over(connection, api.namespace(), |item: &&'a Item, connection, api| {
        let known = || no_login.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = known().as_ref() {
            return Err(error.clone());
        }
        let prepared = prepare(item).map_err(|error| error.meaning(NO_JOB))?;
        let outcome = send(connection, api, &prepared);
        if let Err(error) = &outcome {
            if error.class == ErrorClass::LoginWanted && error.job_ids.is_empty() {
                known().get_or_insert_with(|| error.clone());
            }
        }
        outcome
    });
    let outcomes = parallel_map(&items, &connection.patience, submit);
    let not_begun = || Err(Error::new(ErrorClass::Interrupted, "Stopped before it was submitted.").meaning(NO_JOB));
    Ok(outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(not_begun))
        .collect())
}

const NO_JOB: &str = "No job was created.";

fn send(connection: &Connection<'_>, api: &Api<'_>, prepared: &PreparedJob) -> Result<Submitted, Error> {
    let job_id = &prepared.submitted.job_id;
    let created = match api.create_job(&prepared.job, &prepared.submission) {
        Ok(created) => {
            return Ok(Submitted {
                changes: changed_job::changes(&prepared.job, &created.job),
                warnings: created.warnings,
                ..prepared.submitted.clone()
            })
        }
        Err(created) => created,
    };
    let namespace = api.namespace();
    let error = connection.error(api, &created.failure, "create jobs");
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
        .meaning("Whether the job was created is not known.")
        .hint(Hint::AskStatus {
            namespace: namespace.to_string(),
        })
        .about([job_id]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::submission::CpuArgument;
    use crate::kubernetes::labels;

    fn arguments() -> SubmitArguments {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs");
        SubmitArguments {
            given_path: path.into(),
            expanded_path: path.into(),
            container: "r-base:4.2.2".into(),
            ..SubmitArguments::default()
        }
    }

    #[test]
    fn a_warning_is_told_once_with_its_jobs_and_the_way_out() {
        let submitted = |id: &str, warnings: &[&str]| Submitted {
            job_id: id.into(),
            batch_id: "b".into(),
            warnings: warnings.iter().map(ToString::to_string).collect(),
            changes: Vec::new(),
        };
        let security = "would violate PodSecurity \"restricted:latest\": runAsNonRoot != true";
        let warnings = submission_warnings(&[submitted("a", &[security]), submitted("c", &[security, "other"])]);
        assert_eq!(warnings.len(), 2);
        assert_eq!(warnings[0].job_ids, ["a", "c"]);
        assert!(warnings[0].message.contains("runAsNonRoot") && warnings[0].advice.contains("`username`"));
        assert!(!warnings[1].advice.contains("`username`"));
        let volumes = "would violate PodSecurity \"restricted:latest\": restricted volume types (volume \"d\" uses restricted volume type \"nfs\")";
        let advice = &submission_warnings(&[submitted("a", &[volumes])])[0].advice;
        assert!(advice.contains("no such mounts") && !advice.contains("`username`"));
        let changed = Submitted {
            changes: vec!["`backoffLimit` is 6: a program that fails is started again.".into()],
            ..submitted("d", &[])
        };
        let warnings = submission_warnings(&[changed]);
        assert!(
            warnings.len() == 1 && warnings[0].class == "cluster_rule",
            "{warnings:?}"
        );
        assert!(warnings[0].message.contains("`backoffLimit` is 6") && warnings[0].advice.contains("Cancel it"));
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

    fn with_template(template: Value) -> SubmitArguments {
        SubmitArguments {
            job_template: Some(template),
            ..arguments()
        }
    }

    #[test]
    fn a_template_is_in_the_job_and_kept_with_it() {
        let template = json!({"spec": {"template": {"spec": {"priorityClassName": "low", "hostname": null}}}});
        for given in [template.clone(), json!(template.to_string())] {
            let job = prepare(&with_template(given)).unwrap().job().clone();
            assert_eq!(job["spec"]["template"]["spec"]["priorityClassName"], "low");
            let kept: SubmitArguments =
                serde_json::from_str(job["metadata"]["annotations"][labels::ARGUMENTS].as_str().unwrap()).unwrap();
            assert_eq!(kept.job_template, Some(template.clone()));
        }
    }

    #[test]
    fn the_storage_of_a_template_holds_programs_as_mounts_do() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        let template = json!({"spec": {"template": {"spec": {
            "containers": [{"name": "program", "volumeMounts": [{"name": "src", "mountPath": folder}]}],
            "volumes": [{"name": "src", "nfs": {"server": "192.0.2.1", "path": "/src"}}],
        }}}});
        let prepared = prepare(&with_template(template.clone())).unwrap();
        let pod = &prepared.job()["spec"]["template"];
        assert_eq!(pod["metadata"]["annotations"].get(labels::PROGRAM_TEXT), None);
        assert!(pod["spec"]["volumes"].to_string().contains("192.0.2.1"));
        let kept = SubmitArguments {
            expanded_path: format!("{folder}/lib.rs"),
            ..with_template(template.clone())
        };
        assert!(ran_in_place(&kept).unwrap());
        let twice = SubmitArguments {
            mounts: Some(json!({"volumes": [{"name": "src", "emptyDir": {}}]})),
            ..with_template(template)
        };
        assert!(prepare(&twice)
            .unwrap_err()
            .message
            .contains("both have a volume \"src\""));
    }

    #[test]
    fn annotations_of_a_template_take_room_from_the_program() {
        let mut template = json!({"spec": {"template": {"metadata": {"annotations": {"a": "x".repeat(10_000)}}}}});
        let program = Program {
            given_path: "/p/a.R".into(),
            absolute_path: "/p/a.R".into(),
            bytes: Some(b"1\n".repeat(120_000)),
        };
        let fits = |template: &Value| {
            prepare_program(&with_template(template.clone()), program.clone(), Origin::default()).is_ok()
        };
        assert!(fits(&json!({})) && !fits(&template));
        template["spec"]["template"]["metadata"]["annotations"] = json!({});
        assert!(fits(&template));
    }

    #[test]
    fn the_name_of_a_template_means_nothing_without_a_server() {
        let error = prepare(&with_template(json!("gpu"))).unwrap_err();
        assert!(
            error.message.contains("`job_template` is \"gpu\"") && error.class == ErrorClass::Input,
            "{}",
            error.message
        );
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
