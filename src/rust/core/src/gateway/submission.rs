//! From a caller's request to a Job.

use std::collections::BTreeMap;

use base64::prelude::{Engine, BASE64_STANDARD};
use serde_json::{json, Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::arguments::{Argument, Arguments, Kind};
use super::caller::Caller;
use super::directory;
use super::permissions::not_permitted;
use super::permitted_mounts;
use super::policy::{IdentityMode, Policy};
use crate::domain::identity::Identity;
use crate::domain::job_name;
use crate::domain::mounts;
use crate::domain::paths;
use crate::domain::program::Program;
use crate::domain::submission::SubmitArguments;
use crate::error::quote_shortened;
use crate::local::accounts;
use crate::operations::{prepare_program, Origin, PreparedJob, Submitted};
use crate::{Error, ErrorClass};

/// The longest path of a program, in bytes: Linux's own bound (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;
/// The length of a uuid as text.
const UUID_LENGTH: usize = 36;
/// The longest name of a file, in bytes (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

/// The arguments that say which program is submitted.
pub const PROGRAM: &[Argument] = &[
    Argument::required(
        "file_path",
        Kind::Text,
        "The program's path. Where the program's text is sent, it is kept for the record only: the server never reads a \
         file of its own. Where it is not sent, a mount must hold the path, and the program runs there in place, as the \
         caller's own user.",
    ),
    Argument::optional(
        "absolute_path",
        Kind::Text,
        "Where the program lies on the caller's machine, for one whose `file_path` does not say it. It is kept for the \
         record only, and told by `/batch-arguments`, so that the caller can read the program again: the server never \
         reads a file of its own.",
    ),
    Argument::optional(
        "program_text",
        Kind::Text,
        "The program's text (UTF-8). Either this or `program_base64`.",
    ),
    Argument::optional(
        "program_base64",
        Kind::Base64,
        "The program's bytes, for one that is not UTF-8. Either this or `program_text`.",
    ),
    Argument::optional(
        "job_id",
        Kind::NewId,
        "The id that the job is to have: at most 63 lower case letters, digits and `-`, and at its end `-` and a random \
         uuid (version 4). The same submission under the same id may be repeated, in any grouping, and never makes a \
         second job; give `batch_group_id` with it. Left out: one is made.",
    ),
    AFTER,
    Argument::optional(
        "awaited",
        Kind::Flag,
        "Whether others of the batch name the job in `after` in a later request; of this request the abba server sees it \
         itself. Such a job is kept for at least seven days after its end, since they could not start any more without it.",
    ),
];

const AFTER: Argument = Argument::optional(
    "after",
    Kind::Variables,
    "What the program runs after: an object with the ids of jobs, and for each the name by which it is told. They are the \
     caller's own, of the same batch, and there already or in the same request. The job is made at once, and waits until all \
     of them have succeeded; where one does not, the program is not started. The abba server starts it in its turn.",
);

/// What becomes of a program that waits where another one fails.
const ON_FAILURE: &[&str] = &["continue", "stop"];

/// The arguments that say how it is to run. The programs of a batch may have them in common. What is in neither list (the
/// namespace, the user that the program runs as, the server of the home folders) is not the caller's to choose. What is a
/// field of [`SubmitArguments`] has its name, and its texts and kinds stand in the API's description wherever it is told.
pub const SETTINGS: &[Argument] = &[
    Argument::optional(
        "batch_group_id",
        Kind::Text,
        "The batch that the job belongs to: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at \
         either end. Left out: one is made from the program's name.",
    ),
    Argument::optional("user_tag", Kind::Text, "Free text that is kept with the job."),
    Argument::optional(
        "cpu_limit",
        Kind::Cpu,
        "Processor cores, such as `1`, `0.5` or `\"500m\"`; within the server's bounds.",
    ),
    Argument::optional(
        "memory_limit",
        Kind::Memory,
        "Memory, such as `\"512M\"`, or a number of bytes; within the server's bounds.",
    ),
    Argument::optional(
        "disk_limit",
        Kind::Bytes,
        "Disk of the node that the program may fill, such as `\"2G\"`, or a number of bytes; within the server's bounds. Left \
         out: the server's default, where it has one.",
    ),
    Argument::optional(
        "container",
        Kind::Text,
        "The container image, one of `/permitted-containers`. Left out: the server's default.",
    ),
    Argument::optional("mounts", Kind::Mounts, "Storage for the program."),
    Argument::optional(
        "auto_mount_home",
        Kind::Flag,
        "Whether the caller's home folder is mounted, where the server permits it.",
    ),
    Argument::optional(
        "time_limit_seconds",
        Kind::Number,
        "The program is ended after this many seconds; within the server's bounds. Left out: the server's default, where it \
         has one.",
    ),
    Argument::optional(
        "arguments",
        Kind::Strings,
        "The program's own arguments, which `commandArgs(TRUE)` gives, letter for letter. They are kept with the job.",
    ),
    Argument::optional(
        "environment",
        Kind::Variables,
        "What the program finds in its environment: an object with a string for each name of letters, digits and `_`; \
         not `ABBA_JOB_ID`, `ABBA_BATCH_ID` and `OPTIND`. It is kept with the job, where it can be read: no place for \
         secrets.",
    ),
    Argument::optional(
        "vanilla",
        Kind::Flag,
        "Whether R starts as with `--vanilla`, without start-up files, and without the personal library of a home that is \
         mounted.",
    ),
    Argument::optional(
        "r_command",
        Kind::Text,
        "The R that is started: its whole path in the container, such as `/opt/R/4.2.1/bin/R`, or a name on the `PATH` that \
         the image sets; its entry point is not run. Left out: `R`.",
    ),
    Argument::optional(
        "queue",
        Kind::Text,
        "The queue that the program goes through, one of those that the server permits. Left out: the first of them, and no \
         queue where it permits none.",
    ),
    Argument::optional(
        "job_template",
        Kind::Text,
        "The name of a Job template, one of `/permitted-templates`: what the cluster needs for such programs. Left out: the \
         one named `default`, where there is one.",
    ),
    Argument::optional(
        "on_failure",
        Kind::Choice(ON_FAILURE),
        "Of a program that waits for others, see `after`: whether it may still start where another one of its batch has \
         failed that it does not depend on (`continue`), or not (`stop`).",
    ),
];

/// By what a submission that is repeated is known as the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// By the argument `job_id`.
    JobId,
    /// By the header `Idempotency-Key`.
    Header,
    /// By nothing: each time it makes another job.
    None,
}

/// A program of a request before its Job is made.
#[derive(Clone, Debug)]
pub struct Named {
    /// The ids that its job gets.
    pub submitted: Submitted,
    /// By what it is known.
    pub key: Key,
    /// Its path as it was given.
    pub program_path: String,
    /// The jobs that it runs after, with their names.
    pub after: BTreeMap<String, String>,
    /// Whether another program of the request runs after it.
    pub is_awaited: bool,
}

/// The ids of the Job that a caller asks for; `batch_id`: that of the batch which it belongs to unless it says another one.
/// Nothing else of the arguments is looked at, and none of them is read twice: `arguments` are used up.
///
/// Errors: as of [`prepare`].
pub fn name(
    mut arguments: Arguments,
    caller: &Caller,
    key: Option<&str>,
    batch_id: Option<&str>,
) -> Result<Named, Error> {
    let program_path = file_path(&mut arguments)?;
    let job_id = arguments.text("job_id")?;
    let (uuid, key) = known_by(job_id.as_deref(), caller, key)?;
    let program = program(program_path.clone(), Some(Vec::new()))?;
    let uuid = || uuid.unwrap_or_else(Uuid::new_v4);
    let own_batch_id = arguments.text("batch_group_id")?;
    Ok(Named {
        submitted: Submitted {
            job_id: job_id.unwrap_or_else(|| job_name::job_id(program.file_name(), uuid())),
            batch_id: own_batch_id
                .or_else(|| batch_id.map(String::from))
                .unwrap_or_else(|| job_name::batch_id(program.file_name(), uuid())),
            warnings: Vec::new(),
            changes: Vec::new(),
        },
        key,
        program_path,
        after: after(&mut arguments)?,
        is_awaited: false,
    })
}

fn after(arguments: &mut Arguments) -> Result<BTreeMap<String, String>, Error> {
    let value = arguments.value(&AFTER)?.unwrap_or_else(|| json!({}));
    let after: BTreeMap<String, String> =
        serde_json::from_value(value).map_err(|error| Error::input(format!("`after` cannot be read: {error}.")))?;
    for (id, name) in &after {
        job_name::check_job_id(id)?;
        check_name(name)?;
    }
    Ok(after)
}

/// Checks the name by which a job is told that others run after.
fn check_name(name: &str) -> Result<(), Error> {
    match name.trim().is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        false => Ok(()),
        true => Err(Error::input(format!(
            "`after` must give a name of at most {LONGEST_NAME} bytes on one line to each job, not {}.",
            quote_shortened(name)
        ))),
    }
}

fn file_path(arguments: &mut Arguments) -> Result<String, Error> {
    arguments
        .text("file_path")?
        .ok_or_else(|| Error::input("`file_path` is missing: the path of the program."))
}

/// The uuid of a submission that is known by its id or by the request's key.
fn known_by(job_id: Option<&str>, caller: &Caller, key: Option<&str>) -> Result<(Option<Uuid>, Key), Error> {
    Ok(match (job_id, key) {
        (Some(job_id), _) => (Some(uuid_of_id(job_id)?), Key::JobId),
        (None, Some(key)) => (Some(uuid_of_key(&caller.name, key)), Key::Header),
        (None, None) => (None, Key::None),
    })
}

/// Makes the Job that a caller asks for. `arguments` are out of [`PROGRAM`] and [`SETTINGS`]; `key` is the request's, with
/// the program's place in it. An argument `job_id` goes before it. `named`: what [`name`] has made of the same arguments, and
/// for which this makes the same Job each time; `None`: its ids are made here.
///
/// The program runs as the caller's account on this machine. Its file is not read here: its text comes with the request,
/// or it lies in a mount and is read there by the caller's own user.
///
/// Errors: an argument is wrong ([`ErrorClass::Input`]) or not permitted ([`ErrorClass::Forbidden`]).
pub fn prepare(
    mut arguments: Arguments,
    caller: &Caller,
    policy: &Policy,
    key: Option<&str>,
    named: Option<&Named>,
) -> Result<(PreparedJob, Key), Error> {
    let run_as = run_as(caller, policy)?;
    let given_path = file_path(&mut arguments)?;
    let bytes = program_bytes(&mut arguments)?;
    let program = program(given_path, bytes)?;
    let after = after(&mut arguments)?;
    let mut submit = asked(&mut arguments)?;
    if submit
        .absolute_path
        .as_ref()
        .is_some_and(|path| path.len() > LONGEST_PATH || path.contains('\0'))
    {
        return Err(Error::input(
            "`absolute_path` must be a path on the caller's machine, and holds a NUL or is longer than a path can be.",
        ));
    }
    let (uuid, key) = known_by(submit.job_id.as_deref(), caller, key)?;
    if let Some(Named {
        submitted, is_awaited, ..
    }) = named
    {
        submit.job_id = Some(submitted.job_id.clone());
        submit.batch_group_id = submitted.batch_id.clone();
        submit.awaited |= is_awaited;
    }
    let permissions = policy.permissions(caller.account.as_ref());
    let template = permissions.template(submit.job_template.as_ref().and_then(Value::as_str))?;
    submit.container = permissions.container(Some(submit.container.as_str()).filter(|given| !given.is_empty()))?;
    submit.queue = permissions.queue(submit.queue)?;
    let values = submit.values()?;
    permissions.check_cpu_limit(&values.cpu_limit)?;
    permissions.check_memory_limit(&values.memory_limit)?;
    let time_limit = permissions.time_limit(values.time_limit_seconds)?;
    submit.time_limit_seconds = time_limit.map(|seconds| seconds as f64);
    submit.disk_limit = permissions.disk_limit(values.disk_limit.as_ref(), template.as_ref())?;
    if submit.mounts.is_some() {
        values.mounts.check_count(policy.bounds.mounts)?;
        let mounts = permitted_mounts::check(&values.mounts, &permissions.permitted_mounts)?;
        submit.mounts = Some(json!({"volumes": mounts.volumes, "volumeMounts": mounts.volume_mounts}));
    }
    if submit.auto_mount_home && policy.home_nfs_ip_address.is_none() {
        let message = "Home folders cannot be mounted here.";
        return Err(not_permitted(message, "Leave `auto_mount_home` out."));
    }
    if let (true, Some(account)) = (submit.auto_mount_home, &run_as) {
        check_home(&account.home, policy)?;
    }
    let submit = SubmitArguments {
        expanded_path: program.absolute_path.clone(),
        given_path: program.given_path.clone(),
        home_nfs_ip_address: policy.home_nfs_ip_address.clone(),
        username: run_as.as_ref().map(|identity| identity.name.clone()),
        keep_days: policy.keep_days,
        after,
        ..submit
    };
    let origin = Origin {
        owner: Some(caller.name.clone()),
        run_as,
        uuid,
        template,
    };
    Ok((prepare_program(&submit, program, origin)?, key))
}

/// Checks that a home folder may be mounted: its path is whatever the record of the account says, which the storage may not
/// have been shared for.
fn check_home(home: &str, policy: &Policy) -> Result<(), Error> {
    let refuse = |error: Error| Error {
        class: ErrorClass::Forbidden,
        ..error
    };
    let path = mounts::check_home(home).map_err(refuse)?;
    let Some(folders) = &policy.home_path else {
        return Ok(());
    };
    if folders
        .iter()
        .any(|folder| &path != folder && paths::is_in(&path, folder))
    {
        return Ok(());
    }
    Err(not_permitted(
        format!(
            "The home folder {} of your account cannot be mounted: homes lie below {} here.",
            quote_shortened(home),
            folders.join(" or ")
        ),
        "Leave `auto_mount_home` out, or ask the administrator of the abba server, who says with the option `abba.home.path` \
         where homes lie.",
    ))
}

/// A submission with what the caller has given of the arguments that are the caller's to choose; all else has its default.
fn asked(arguments: &mut Arguments) -> Result<SubmitArguments, Error> {
    let mut fields = Map::new();
    for argument in PROGRAM.iter().chain(SETTINGS) {
        if let Some(value) = arguments.value(argument)? {
            fields.insert(argument.name.into(), value);
        }
    }
    serde_json::from_value(fields.into())
        .map_err(|error| Error::input(format!("The arguments cannot be read: {error}.")))
}

/// Whether a caller may give an argument of a submission beside its program.
pub fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|argument| argument.name == name)
}

/// The settings of a submission as its job keeps them, under the names that callers give them, and none of the server's. The
/// batch is not among them: its job is asked for by it.
///
/// Errors: they cannot be written as JSON, which is a mistake of abba itself.
pub fn kept_settings(kept: &SubmitArguments) -> Result<Map<String, Value>, Error> {
    let written = super::answer::json(kept)?;
    let settings = SETTINGS.iter().filter(|argument| argument.name != "batch_group_id");
    Ok(settings
        .map(|argument| {
            let value = written.get(argument.name).cloned();
            (argument.name.to_string(), value.unwrap_or_else(|| argument.kind.none()))
        })
        .collect())
}

/// The account that a caller's programs run as. The caller of a local server is the account that runs it, and root's
/// programs run as the container image says, as they do without a server.
fn run_as(caller: &Caller, policy: &Policy) -> Result<Option<Identity>, Error> {
    let account = caller.account.as_ref();
    match (policy.identity, account) {
        (IdentityMode::Local, Some(own)) => Ok(Some(own.clone()).filter(|own| own.uid != 0)),
        _ => directory::run_as(&caller.name, account, policy, accounts::own_uid()).map(Some),
    }
}

fn program_bytes(arguments: &mut Arguments) -> Result<Option<Vec<u8>>, Error> {
    let text = arguments.text_or_empty("program_text")?;
    let base64 = arguments.text_or_empty("program_base64")?;
    match (text, base64) {
        (Some(_), Some(_)) => Err(Error::input(
            "Either `program_text` or `program_base64` is given, not both.",
        )),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(text)) => BASE64_STANDARD
            .decode(text)
            .map(Some)
            .map_err(|error| Error::input(format!("`program_base64` is no base64: {error}."))),
        (None, None) => Ok(None),
    }
}

/// The program at a path of the caller's machine, which may be another system than this one.
fn program(given_path: String, bytes: Option<Vec<u8>>) -> Result<Program, Error> {
    let refuse = |what: &str| {
        Err(Error::input(format!(
            "`file_path` must be the path of a program, and {} {what}.",
            quote_shortened(&given_path)
        )))
    };
    if given_path.len() > LONGEST_PATH {
        return refuse("is longer than a path can be");
    }
    if given_path.contains('\0') {
        return refuse("holds a NUL");
    }
    let absolute_path = match paths::normalise(&given_path) {
        Some(path) => path,
        None if bytes.is_none() => {
            return refuse("is not absolute, or holds `..`, and the program's text is not given")
        }
        // For the record; the name is what the program is called in the container.
        None => format!("/{}", paths::file_name(&given_path)),
    };
    let name = absolute_path.rsplit('/').next().unwrap_or_default();
    if name.is_empty() || name == "." || name == ".." {
        return refuse("names no file");
    }
    if name.len() > LONGEST_NAME {
        return refuse("has a longer name than a file can have");
    }
    Ok(Program {
        given_path,
        absolute_path,
        bytes,
    })
}

/// The uuid at the end of an id that a caller has made.
fn uuid_of_id(job_id: &str) -> Result<Uuid, Error> {
    let uuid = job_name::check_job_id(job_id)
        .ok()
        .and_then(|()| job_id.split_at_checked(job_id.len().checked_sub(UUID_LENGTH)?))
        .filter(|(name, _)| name.len() > 1 && name.ends_with('-'))
        .and_then(|(_, uuid)| Uuid::parse_str(uuid).ok())
        .filter(|uuid| uuid.get_version_num() == 4);
    uuid.ok_or_else(|| {
        Error::input(format!(
            "`job_id` must be an id for a new job, with a random uuid at its end, not {}.",
            quote_shortened(job_id)
        ))
        .advise("Leave it out, and the abba server makes one.")
    })
}

/// The same uuid for the same caller and key. It looks like a random one, as all that abba makes.
fn uuid_of_key(caller: &str, key: &str) -> Uuid {
    let hash = Sha256::digest([caller.as_bytes(), b"\0", key.as_bytes()].concat());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::super::policy::tests::settings;
    use super::super::policy::Settings;
    use super::*;

    fn policy() -> Policy {
        Policy::new(settings()).unwrap()
    }

    fn caller(name: &str) -> Caller {
        Caller {
            name: name.into(),
            is_operator: false,
            scope: Default::default(),
            key_id: None,
            uid: None,
            account: accounts::look_up(name, true).unwrap(),
        }
    }

    fn ask(body: &serde_json::Value) -> Result<PreparedJob, Error> {
        ask_as("daemon", body, None)
    }

    fn ask_as(name: &str, body: &serde_json::Value, key: Option<&str>) -> Result<PreparedJob, Error> {
        let mut arguments = Arguments::read("", body.to_string().as_bytes())?;
        arguments.check(PROGRAM.iter().chain(SETTINGS))?;
        prepare(arguments, &caller(name), &policy(), key, None).map(|(prepared, _)| prepared)
    }

    fn body() -> serde_json::Value {
        serde_json::json!({"file_path": "/home/x/a.R", "program_text": "1 + 1\n"})
    }

    fn with(key: &str, value: serde_json::Value) -> serde_json::Value {
        let mut body = body();
        body[key] = value;
        body
    }

    #[test]
    fn a_program_runs_as_its_owner_and_says_whose_it_is() {
        let job = serde_json::to_value(ask(&body()).unwrap().job()).unwrap();
        let daemon = accounts::find("daemon").unwrap();
        let pod = &job["spec"]["template"];
        assert_eq!(pod["spec"]["securityContext"]["runAsUser"], daemon.uid);
        assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
        for metadata in [&job["metadata"], &pod["metadata"]] {
            assert_eq!(metadata["annotations"]["abba/owner"], "daemon");
            assert_eq!(metadata["annotations"]["abba/program-path"], "/home/x/a.R");
        }
        assert_eq!(pod["metadata"]["annotations"]["abba/program-text"], "1 + 1\n");
    }

    #[test]
    fn nobody_runs_as_root_or_as_somebody_who_is_not_there() {
        for name in ["root", "no-such-user-here", "; rm -rf /", "a\nb"] {
            let error = ask_as(name, &body(), None).unwrap_err();
            assert_eq!(error.class, ErrorClass::Forbidden, "{name}");
        }
    }

    #[test]
    fn on_a_local_server_root_does_what_root_does_without_a_server() {
        let policy = Policy::new(Settings {
            identity: IdentityMode::Local,
            ..settings()
        })
        .unwrap();
        let arguments = Arguments::read("", body().to_string().as_bytes()).unwrap();
        let (prepared, _) = prepare(arguments, &caller("root"), &policy, None, None).unwrap();
        let job = serde_json::to_value(prepared.job()).unwrap();
        assert!(job["spec"]["template"]["spec"]["securityContext"]["runAsUser"].is_null());
    }

    /// Takes the names of a struct's fields from serde.
    struct FieldNames<'a>(&'a mut &'static [&'static str]);

    impl<'de> serde::Deserializer<'de> for FieldNames<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_struct<V: serde::de::Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("only the names are wanted"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    #[test]
    fn of_each_argument_it_is_decided_whether_it_is_the_callers_to_choose() {
        let mut fields: &[&str] = &[];
        <SubmitArguments as serde::Deserialize>::deserialize(FieldNames(&mut fields)).unwrap_err();
        let theirs: Vec<&str> = PROGRAM.iter().chain(SETTINGS).map(|argument| argument.name).collect();
        // `file_path` becomes the first two.
        let servers = [
            "given_path",
            "expanded_path",
            "home_nfs_ip_address",
            "username",
            "keep_days",
        ];
        assert!(fields.len() > servers.len());
        for field in fields {
            assert_ne!(theirs.contains(field), servers.contains(field), "{field}");
        }
        assert!(SETTINGS.iter().all(|argument| fields.contains(&argument.name)));
    }

    #[test]
    fn a_caller_chooses_a_template_by_its_name_and_gets_the_default_one_otherwise() {
        let pod = |body: &Value| ask(body).unwrap().job()["spec"]["template"]["spec"].clone();
        assert_eq!(pod(&body())["imagePullSecrets"], json!([{"name": "registry"}]));
        let mut named = body();
        named["job_template"] = "gpu".into();
        let gpu = pod(&named);
        assert_eq!(
            (&gpu["nodeSelector"], &gpu["imagePullSecrets"]),
            (&json!({"gpu": "yes"}), &Value::Null)
        );
        for (wrong, class) in [
            (json!("cpu"), ErrorClass::Forbidden),
            (json!(r#"{"spec": {}}"#), ErrorClass::Forbidden),
            (json!({"spec": {}}), ErrorClass::Input),
        ] {
            named["job_template"] = wrong;
            assert_eq!(ask(&named).unwrap_err().class, class, "{named}");
        }
    }

    /// A node that does not know the field refuses the pod, so that a default of abba's would keep every program there from
    /// running; without it the node adds groups of the image's own `/etc/group`.
    #[test]
    fn the_groups_of_the_image_are_left_out_where_the_administrators_template_asks_for_it_alone() {
        let context_with = |template: &str| {
            let mut settings = settings();
            settings.permitted_templates.insert("default".into(), template.into());
            let policy = Policy::new(settings).unwrap();
            let arguments = Arguments::read("", body().to_string().as_bytes()).unwrap();
            let (prepared, _) = prepare(arguments, &caller("daemon"), &policy, None, None).unwrap();
            prepared.job()["spec"]["template"]["spec"]["securityContext"].clone()
        };
        let mut context = context_with("{}");
        assert_eq!(context.get("supplementalGroupsPolicy"), None);
        // As in the vignette api_setup.
        let strict = r#"{"spec": {"template": {"spec": {"securityContext": {"supplementalGroupsPolicy": "Strict"}}}}}"#;
        context["supplementalGroupsPolicy"] = "Strict".into();
        assert_eq!(context_with(strict), context);
    }

    #[test]
    fn a_callers_program_is_the_one_that_was_sent_whatever_lies_in_the_storage_of_a_template() {
        let template = r#"{"spec": {"template": {"spec": {
            "containers": [{"name": "program", "volumeMounts": [{"name": "h", "mountPath": "/home"}]}],
            "volumes": [{"name": "h", "nfs": {"server": "192.0.2.9", "path": "/home"}}]}}}}"#;
        let mut settings = settings();
        settings.permitted_templates.insert("default".into(), template.into());
        let policy = Policy::new(settings).unwrap();
        let mut arguments = Arguments::read("", body().to_string().as_bytes()).unwrap();
        arguments.check(PROGRAM.iter().chain(SETTINGS)).unwrap();
        let (prepared, _) = prepare(arguments, &caller("daemon"), &policy, None, None).unwrap();
        let template = &prepared.job()["spec"]["template"];
        assert_eq!(template["metadata"]["annotations"]["abba/program-text"], "1 + 1\n");
        assert_eq!(template["spec"]["volumes"][0]["name"], "abba-program");
        assert!(template["spec"]["volumes"].to_string().contains("192.0.2.9"));
    }

    #[test]
    fn what_is_not_the_callers_to_choose_is_refused() {
        for key in [
            "namespace",
            "username",
            "run_as",
            "home_nfs_ip_address",
            "keep_days",
            "backoffLimit",
        ] {
            let error = ask(&with(key, "x".into())).unwrap_err();
            assert_eq!(error.class, ErrorClass::Input, "{key}");
        }
        for (key, value) in [
            ("container", "evil.example/r:1".into()),
            ("cpu_limit", 3.into()),
            ("cpu_limit", "2001m".into()),
            ("memory_limit", "2G".into()),
            ("auto_mount_home", true.into()),
            (
                "mounts",
                serde_json::json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}],
                    "volumeMounts": [{"name": "a", "mountPath": "/x"}]}),
            ),
        ] {
            let error = ask(&with(key, value.clone())).unwrap_err();
            assert_eq!(error.class, ErrorClass::Forbidden, "{key} {value}");
        }
    }

    #[test]
    fn a_home_is_mounted_where_it_lies_below_the_folder_of_homes() {
        let ask = |home: &str, folders: &[&str]| {
            let policy = Policy::new(Settings {
                home_nfs_ip_address: Some("192.0.2.7".into()),
                home_path: Some(folders.iter().map(ToString::to_string).collect()),
                ..settings()
            })
            .unwrap();
            let mut caller = caller("daemon");
            caller.account.as_mut().unwrap().home = home.into();
            let body = with("auto_mount_home", true.into()).to_string();
            let mut arguments = Arguments::read("", body.as_bytes()).unwrap();
            arguments.check(PROGRAM.iter().chain(SETTINGS)).unwrap();
            prepare(arguments, &caller, &policy, None, None)
                .map(|(prepared, _)| prepared.job()["spec"]["template"]["spec"]["volumes"][0]["nfs"]["path"].clone())
        };
        assert_eq!(ask("/home//daemon/", &["/home"]).unwrap(), "/home/daemon");
        assert_eq!(ask("/users/d", &["/home", "/users"]).unwrap(), "/users/d");
        for home in [
            "/",
            "/home",
            "/home/",
            "/home/../studies",
            "/homes/x",
            "/studies",
            "/usr/sbin",
            "/nonexistent",
            "/root",
            "",
        ] {
            let error = ask(home, &["/home"]).unwrap_err();
            assert_eq!(error.class, ErrorClass::Forbidden, "{home}");
            assert!(error.message.starts_with("The home folder"), "{}", error.message);
        }
        // Whatever the administrator says, the container stays whole.
        for home in ["/usr/sbin", "/abba/work", "/etc/x"] {
            assert!(ask(home, &["/usr", "/abba", "/etc"]).is_err(), "{home}");
        }
    }

    #[test]
    fn a_path_alone_needs_a_mount_that_holds_it() {
        let in_mount = serde_json::json!({
            "file_path": "/studies/s1/t_age.R",
            "mounts": {
                "volumes": [{"name": "s", "nfs": {"server": "192.0.2.1", "path": "/studies"}}],
                "volumeMounts": [{"name": "s", "mountPath": "/studies"}],
            },
        });
        let job = serde_json::to_value(ask(&in_mount).unwrap().job()).unwrap();
        let command = job["spec"]["template"]["spec"]["containers"][0]["command"].to_string();
        assert!(command.contains("/studies/s1/t_age.R"), "{command}");
        for path in ["/etc/passwd", "/studies/../etc/passwd", "/studiesx/a.R", "studies/a.R"] {
            let mut body = in_mount.clone();
            body["file_path"] = path.into();
            let error = ask(&body).unwrap_err();
            assert_eq!(error.class, ErrorClass::Input, "{path}");
            assert!(error.message.contains("text is not given"), "{}", error.message);
        }
    }

    #[test]
    fn a_name_never_leads_out_of_its_folder() {
        for path in [
            "",
            "/",
            "..",
            "a/..",
            "/a/..",
            ".",
            "/a/.",
            "a\0b",
            &"x".repeat(300),
            &"/x".repeat(3000),
        ] {
            let refused = ask(&with("file_path", path.into()));
            // "/a/." is the file "a".
            assert!(refused.is_err() || path == "/a/.", "{path:?}");
        }
        for (path, name) in [
            ("C:\\programs\\t 1.R", "t 1.R"),
            ("../x/a.R", "a.R"),
            ("a.R", "a.R"),
            ("/x/$(touch y).R", "$(touch y).R"),
        ] {
            let prepared = ask(&with("file_path", path.into())).unwrap();
            let job = serde_json::to_value(prepared.job()).unwrap();
            let volume = &job["spec"]["template"]["spec"]["volumes"][0];
            assert_eq!(volume["downwardAPI"]["items"][0]["path"], name);
            assert_eq!(prepared.program_path(), path);
        }
    }

    #[test]
    fn where_a_program_lies_on_the_callers_machine_is_kept_and_decides_nothing() {
        let mut asked = with("absolute_path", "/studies/s1/b.R".into());
        asked["mounts"] = serde_json::json!({
            "volumes": [{"name": "s", "nfs": {"server": "192.0.2.1", "path": "/studies"}}],
            "volumeMounts": [{"name": "s", "mountPath": "/studies"}],
        });
        let job = serde_json::to_value(ask(&asked).unwrap().job()).unwrap();
        let kept = job["metadata"]["annotations"]["abba/arguments"].as_str().unwrap();
        assert!(kept.contains(r#""absolute_path":"/studies/s1/b.R""#), "{kept}");
        let template = job["spec"]["template"].to_string();
        assert!(!template.contains("b.R"), "{template}");
        for path in ["/a\0b", &"/x".repeat(3000)] {
            assert!(ask(&with("absolute_path", path.into())).is_err());
        }
    }

    #[test]
    fn the_same_key_makes_the_same_job_of_the_same_caller() {
        let ids = |name: &str, key: Option<&str>| ask_as(name, &body(), key).unwrap().submitted().clone();
        assert_eq!(ids("daemon", Some("1")), ids("daemon", Some("1")));
        assert_ne!(ids("daemon", Some("1")), ids("daemon", Some("2")));
        assert_ne!(ids("daemon", Some("1")), ids("bin", Some("1")));
        assert_ne!(ids("daemon", None), ids("daemon", None));
    }

    #[test]
    fn a_job_has_the_id_that_the_caller_gives_it() {
        let uuid = "fbc3131d-a850-4081-8224-c06ef32821da";
        for id in [format!("a-{uuid}"), format!("{}-{uuid}", "x".repeat(26))] {
            let prepared = ask(&with("job_id", id.clone().into())).unwrap();
            assert_eq!(prepared.submitted().job_id, id);
            // It goes before a key.
            let keyed = ask_as("daemon", &with("job_id", id.clone().into()), Some("k")).unwrap();
            assert_eq!(keyed.submitted(), prepared.submitted());
        }
        for id in [
            "a".to_string(),
            uuid.to_string(),
            format!("-{uuid}"),
            format!("a{uuid}"),
            format!("{}-{uuid}", "x".repeat(27)),
            format!("a-{}", uuid.to_uppercase()),
            format!("a_b-{uuid}"),
            format!("../a-{uuid}"),
            // A uuid that holds a time, and one that is nobody's.
            "a-fbc3131d-a850-1081-8224-c06ef32821da".into(),
            "a-00000000-0000-0000-0000-000000000000".into(),
        ] {
            let error = ask(&with("job_id", id.clone().into())).unwrap_err();
            assert!(error.message.starts_with("`job_id` must be"), "{id}: {}", error.message);
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_and_no_program_at_all() {
        let mut latin1 = serde_json::json!({"file_path": "/a.R"});
        latin1["program_base64"] = BASE64_STANDARD.encode(b"\xe9").into();
        assert!(ask(&latin1).is_ok());
        latin1["program_text"] = "x".into();
        assert!(ask(&latin1).is_err());
        let error = ask(&with("program_text", "".into())).unwrap_err();
        assert!(error.message.contains("is empty"), "{}", error.message);
        assert!(ask(&with("program_text", "a\0b".into())).is_err());
        assert!(ask(&serde_json::json!({"file_path": "/a.R", "program_base64": "%%"})).is_err());
    }
}
