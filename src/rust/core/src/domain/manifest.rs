//! From what the user asked for to the Job that Kubernetes gets.

use std::collections::BTreeMap;

use serde_json::{json, Value};

use crate::domain::identity::Identity;
use crate::domain::job_log;
use crate::domain::job_template::{JobTemplate, Precedence};
use crate::domain::mounts::Mounts;
use crate::domain::order;
use crate::domain::program::{survives_r_launcher, Program, ProgramSource, Runner};
use crate::domain::quantity::ByteLimit;
use crate::domain::session;
use crate::domain::submission::{SubmitArguments, Values};
use crate::kubernetes::labels;
use crate::kubernetes::objects::{
    Capabilities, Container, EnvVar, Job, JobSpec, JobStatus, ObjectMeta, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, SecurityContext, PROGRAM_CONTAINER,
};
use crate::Error;

/// Where a carried program appears in the container.
const PROGRAM_FOLDER: &str = "/abba/program";
/// Where its base64 form appears, when it needs one.
const CARRIED_FOLDER: &str = "/abba/carried";
/// The working directory of a carried program: empty and writable. The home, too, of a user who has none in the image.
const WORKING_FOLDER: &str = "/abba/work";
/// Where temporary files go when the image's own folder for them cannot be written.
const TEMPORARY_FOLDER: &str = "/abba/tmp";
/// Where a link to the program stands when R's launcher cannot take its real path.
const LINK_FOLDER: &str = "/abba/link";

/// What a program may rely on and an image may lack; what the image has, stays. It has no "$(", which Kubernetes would
/// replace.
const COMPLETE_ENVIRONMENT: &str = r#"if [ -z "$LC_ALL$LC_CTYPE$LANG" ]; then
  # Without a UTF-8 locale R prints text as escapes. musl has this one and no list.
  case `locale -a 2>/dev/null` in
    "" | *C.UTF-8* | *C.utf8*) export LANG=C.UTF-8 ;;
    *en_US.utf8*) export LANG=en_US.UTF-8 ;;
  esac
else
  # For a locale that the image does not have R takes C, and prints text as escapes, too. It says so of the others.
  case `locale 2>&1` in
    *"Cannot set LC_CTYPE"*)
      [ -z "$LC_ALL" ] || export LANG="$LC_ALL"
      unset LC_ALL
      case `locale -a 2>/dev/null` in
        *C.UTF-8* | *C.utf8*) export LC_CTYPE=C.UTF-8 ;;
        *en_US.utf8*) export LC_CTYPE=en_US.UTF-8 ;;
      esac ;;
  esac
fi
if [ -z "$TZ" ]; then
  # Without TZ R asks systemd, and its complaint stands in the log.
  # No variable of another name: it might be one of the user's.
  TZ=`{ readlink /etc/localtime || cat /etc/timezone; } 2>/dev/null`
  TZ="${TZ##*zoneinfo/}"
  if [ -n "$TZ" ] && [ -f "/usr/share/zoneinfo/$TZ" ]; then
    export TZ
  elif [ ! -e /etc/localtime ]; then
    export TZ=UTC
  else
    TZ=
  fi
else
  case $TZ in
    [A-Z]*/*) [ -f "${TZDIR:-/usr/share/zoneinfo}/$TZ" ] ||
      printf 'Warning: The image has no time zone "%s", and R takes UTC for it.\n' "$TZ" ;;
  esac
fi
if [ ! -d "$HOME" ] || [ ! -x "$HOME" ] || { [ "$HOME" = / ] && [ ! -w / ]; }; then
  export HOME=/abba/work
fi
if [ ! -d "${TMPDIR:-/tmp}" ] || [ ! -w "${TMPDIR:-/tmp}" ]; then
  export TMPDIR=/abba/tmp
fi"#;

/// Says where R is, when the image does not find it, and ends as a shell does that finds no command. dash takes each file
/// for a command, also a folder.
const FIND_R: &str = r#"case $1 in
  /*) [ -f "$1" ] && [ -x "$1" ] ;;
  *) command -v "$1" >/dev/null ;;
esac || {
  case $1 in
    /*) printf 'abba: The image has no program "%s".\n' "$1" ;;
    *) printf 'abba: The image has no "%s" on its PATH; its entry point is not run.\n' "$1" ;;
  esac
  for found in /usr/bin/R /usr/local/bin/R /usr/local/*/bin/R /usr/lib*/R/bin/R \
    /opt/*/bin/R /opt/*/*/bin/R /opt/*/*/*/bin/R; do
    if [ -f "$found" ] && [ -x "$found" ]; then
      printf 'abba: There is %s: submit the program with r_command = "%s".\n' "$found" "$found"
    fi
  done
  exit 127
}"#;

/// Goes to the folder of a program that a mount holds, and ends as a shell does that cannot run a command, where the program
/// is not there. Not the container's `workingDir`: the runtime would make a missing folder, in the user's own storage.
const GO_TO_PROGRAM: &str = r#"if ! cd "$1" 2>/dev/null || [ ! -r "$2" ]; then
  printf 'abba: The container cannot read the program %s.\n' "$2"
  printf 'abba: The storage in mounts must hold it under this path, and its user must have the right to read it there.\n'
  exit 126
fi
shift 2"#;

/// Starts R, and ends as it does. The shell stays for the marker of the log's end, and hands SIGTERM on. A signal that it
/// gets ends the first wait, too. (<https://pubs.opengroup.org/onlinepubs/9799919799/utilities/wait.html>) dash would
/// print the signal that has ended R.
const START: &str = r#""$@" &
trap 'kill -TERM "$!"' TERM
wait "$!" 2>/dev/null
set -- "$?"
while [ "$1" -gt 128 ] && kill -0 "$!" 2>/dev/null; do
  wait "$!" 2>/dev/null
  set -- "$?"
done
exit "$1""#;

/// Makes an R Markdown document, and says what of it the image lacks. The document's path comes in a variable, so that
/// `commandArgs(TRUE)` has the program's own arguments alone. R's launcher leaves a text as it is that has no tabs, line
/// ends, backslashes, and patterns of a shell.
const RENDER: &str = "invisible(tryCatch(loadNamespace(\"rmarkdown\"), error = function(e) { \
    writeLines(paste(\"abba:\", c(\"The image has no R package rmarkdown that can be loaded, and rmarkdown makes this document.\", \
      conditionMessage(e)))); \
    quit(status = 127) })); \
  if (!rmarkdown::pandoc_available()) { \
    writeLines(paste(\"abba:\", c(\"The image has no pandoc on its PATH, and rmarkdown needs it.\", \
      \"Where it has one elsewhere, name its folder: environment = c(RSTUDIO_PANDOC = '/folder').\"))); \
    quit(status = 127) }; \
  invisible(rmarkdown::render(Sys.getenv(\"ABBA_DOCUMENT\")))";

/// Has Quarto make a document, with the R that was found. Quarto starts the one beside it, Rscript.
const SET_UP_QUARTO: &str = r#"PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}:/opt/quarto/bin:/usr/lib/rstudio-server/bin/quarto/bin
export PATH
command -v quarto >/dev/null || {
  printf 'abba: The image has no "quarto" on its PATH, and it makes this document; its entry point is not run.\n'
  exit 127
}
if [ -z "$QUARTO_R" ]; then
  QUARTO_R=`command -v "$1"`
  export QUARTO_R="${QUARTO_R%/*}"
fi
set -- quarto render "$2""#;

/// Everything that makes one Job, checked.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// The job's id: the Job's name.
    pub job_id: String,
    /// The batch that the job belongs to.
    pub batch_id: String,
    /// The user's arguments, as they are kept with the Job.
    pub arguments: SubmitArguments,
    /// What their values mean; the mounts have the user's home where it was asked for.
    pub values: Values,
    /// The mounts that may hold the program.
    pub storage: Mounts,
    /// The administrator's part of the Job.
    pub template: Option<JobTemplate>,
    /// The fingerprint of this submission.
    pub submission: String,
    /// The program.
    pub program: Program,
    /// Whom the program runs as; `None`: as the image says.
    pub run_as: Option<Identity>,
    /// The home folder, where it is mounted.
    pub mounted_home: Option<String>,
    /// The name of the submitting user, for the record.
    pub user: String,
    /// The caller of the abba API to whom the job belongs.
    pub owner: Option<String>,
}

/// The Job for a request, ready to be sent.
///
/// Errors: the program is too large to be carried.
pub fn manifest(request: &JobRequest) -> Result<Value, Error> {
    let mut job = json!(job(request)?);
    if let Some(template) = &request.template {
        let variables: Vec<&str> = request.arguments.environment.keys().map(String::as_str).collect();
        job = template.merged_into(
            job,
            Precedence {
                variables: &variables,
                disk: request.values.disk_limit.is_some(),
                account: request.run_as.is_some(),
            },
        );
    }
    // After the template, which may name a queue.
    let after = &request.arguments.after;
    if !after.is_empty() {
        order::have_wait(&mut job, after, request.arguments.on_failure);
    }
    Ok(job)
}

/// The Job without the administrator's part.
fn job(request: &JobRequest) -> Result<Job, Error> {
    let (program, given, values) = (&request.program, &request.arguments, &request.values);
    let mut annotations = BTreeMap::from([
        (labels::PROGRAM_PATH.to_string(), program.given_path.clone()),
        (labels::SUBMISSION.to_string(), request.submission.clone()),
    ]);
    if let Some(sha256) = program.sha256() {
        annotations.insert(labels::PROGRAM_SHA256.into(), sha256);
    }
    if let Some(owner) = &request.owner {
        annotations.insert(labels::OWNER.into(), owner.clone());
    }
    if !given.user_tag.is_empty() {
        annotations.insert(labels::USER_TAG_VERBATIM.into(), given.user_tag.clone());
    }
    let mut pod_annotations = with(annotations.clone(), &NO_INJECTION_ANNOTATIONS);
    let annotations_size: usize = pod_annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    let of_template = request.template.as_ref().map_or(0, JobTemplate::pod_annotation_bytes);
    let delivery = program.delivery(&request.storage, annotations_size + of_template)?;
    let disk_limit = values.disk_limit.as_ref().map(ByteLimit::quantity);
    let launch = launch(program, given, &delivery, disk_limit);

    let job_labels = job_labels(request);
    // Of the Job alone: it is what the queue lets go, not its pod.
    let queue = request.arguments.queue.as_deref().map(|queue| (labels::QUEUE, queue));
    annotations.insert(labels::ARGUMENTS.into(), given.text_for_job()?);
    if given.awaited {
        annotations.insert(labels::AWAITED.into(), "true".into());
    }
    if let (Some(_), ProgramSource::Text(text) | ProgramSource::Base64(text)) = (&request.owner, &delivery) {
        annotations.insert(labels::PROGRAM_BYTES.into(), text.len().to_string());
    }
    match delivery {
        ProgramSource::InPlace => {}
        ProgramSource::Text(text) => {
            pod_annotations.insert(labels::PROGRAM_TEXT.into(), text);
        }
        ProgramSource::Base64(text) => {
            pod_annotations.insert(labels::PROGRAM_BASE64.into(), text);
        }
    }

    let Mounts {
        mut volumes,
        mut volume_mounts,
    } = values.mounts.clone();
    volumes.extend(launch.volumes);
    volume_mounts.extend(launch.volume_mounts);

    Ok(Job {
        api_version: "batch/v1".into(),
        kind: "Job".into(),
        metadata: ObjectMeta {
            name: request.job_id.clone(),
            labels: with(job_labels.clone(), queue.as_slice()),
            annotations,
            ..Default::default()
        },
        spec: JobSpec {
            // A second attempt would run a program twice.
            backoff_limit: 0,
            ttl_seconds_after_finished: values.seconds_kept,
            // Kueue would do it. But where Kueue is away, or does not look after the namespace, the program must not start
            // past its queue.
            suspend: queue.is_some().then_some(true),
            template: PodTemplateSpec {
                metadata: ObjectMeta {
                    labels: with(job_labels, &NO_INJECTION_LABELS),
                    annotations: pod_annotations,
                    ..Default::default()
                },
                spec: PodSpec {
                    restart_policy: "Never".into(),
                    automount_service_account_token: false,
                    enable_service_links: false,
                    // As process 1 R would ignore SIGTERM, and ending it would take the full grace period.
                    share_process_namespace: true,
                    // On the pod: a Job's deadline would delete the pod and its log.
                    active_deadline_seconds: values.time_limit_seconds,
                    security_context: Some(pod_security_context(request.run_as.as_ref())),
                    containers: vec![Container {
                        name: PROGRAM_CONTAINER.into(),
                        image: given.container.clone(),
                        command: launch.command,
                        env: environment(request),
                        resources: resources(values),
                        security_context: SecurityContext {
                            allow_privilege_escalation: false,
                            // A user other than root has none anyway; saying so is what the restricted Pod Security
                            // level asks for.
                            capabilities: request
                                .run_as
                                .as_ref()
                                .filter(|user| user.uid != 0)
                                .map(|_| Capabilities {
                                    drop: vec!["ALL".into()],
                                }),
                        },
                        volume_mounts,
                    }],
                    volumes,
                },
            },
        },
        status: JobStatus::default(),
    })
}

/// What the program may use. Of a limit Kubernetes makes a request, too, where none is given: of cores and memory a node gives
/// away what it has, once. Hardly a program fills its disk, so none of it is set aside.
fn resources(values: &Values) -> ResourceRequirements {
    let mut resources = ResourceRequirements {
        limits: BTreeMap::from([
            ("cpu".to_string(), values.cpu_limit.quantity().to_string()),
            ("memory".to_string(), values.memory_limit.quantity().to_string()),
        ]),
        requests: BTreeMap::new(),
    };
    if let Some(limit) = &values.disk_limit {
        resources.limits.insert(DISK.into(), limit.quantity().into());
        resources.requests.insert(DISK.into(), "0".into());
    }
    resources
}

/// The node's own disk: what a container writes outside its volumes, its log, and volumes of the kind `emptyDir`
/// (<https://kubernetes.io/docs/concepts/storage/ephemeral-storage/>).
pub const DISK: &str = "ephemeral-storage";

/// Keeps service meshes from putting a container beside the program: with one that does not end no job would ever be over.
/// Istio reads the label, older versions the annotation, Linkerd its annotation
/// (<https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/>,
/// <https://linkerd.io/2/features/proxy-injection/>). What is off unless a pod asks for it, as Vault's agent, needs nothing.
const NO_INJECTION_LABELS: [(&str, &str); 1] = [("sidecar.istio.io/inject", "false")];
/// See [`NO_INJECTION_LABELS`].
const NO_INJECTION_ANNOTATIONS: [(&str, &str); 2] =
    [("sidecar.istio.io/inject", "false"), ("linkerd.io/inject", "disabled")];

fn with(mut of_pod: BTreeMap<String, String>, added: &[(&str, &str)]) -> BTreeMap<String, String> {
    of_pod.extend(added.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    of_pod
}

fn job_labels(request: &JobRequest) -> BTreeMap<String, String> {
    let sanitised = |text: &str| labels::sanitise(text, labels::MAXIMUM_LENGTH);
    let mut job_labels = BTreeMap::from([
        (labels::MANAGED_BY.to_string(), labels::MANAGED_BY_ABBA.to_string()),
        (labels::JOB_ID.to_string(), request.job_id.clone()),
        (labels::BATCH_ID.to_string(), request.batch_id.clone()),
        (labels::PROGRAM.to_string(), sanitised(request.program.file_name())),
        (labels::USER.to_string(), sanitised(&request.user)),
    ]);
    if !request.arguments.user_tag.is_empty() {
        job_labels.insert(labels::USER_TAG.to_string(), sanitised(&request.arguments.user_tag));
    }
    job_labels
}

fn pod_security_context(run_as: Option<&Identity>) -> PodSecurityContext {
    PodSecurityContext {
        seccomp_profile: SeccompProfile {
            profile_type: "RuntimeDefault".into(),
        },
        run_as_user: run_as.map(|user| user.uid),
        run_as_group: run_as.map(|user| user.gid),
        run_as_non_root: run_as.filter(|user| user.uid != 0).map(|_| true),
        supplemental_groups: run_as.map(|user| user.groups.clone()).unwrap_or_default(),
    }
}

/// What the program finds in its environment. R in a container counts the cores of the node, not those of its limit, so
/// each library that starts threads is told. The user's own variables win.
fn environment(request: &JobRequest) -> Vec<EnvVar> {
    let cores = request.values.cpu_limit.whole_cores().to_string();
    let mut environment = vec![
        ("ABBA_JOB_ID", request.job_id.clone()),
        ("ABBA_BATCH_ID", request.batch_id.clone()),
    ];
    environment.extend(
        [
            "MC_CORES",
            "OMP_NUM_THREADS",
            "OMP_THREAD_LIMIT",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "BLIS_NUM_THREADS",
            "R_DATATABLE_NUM_THREADS",
            "RCPP_PARALLEL_NUM_THREADS",
        ]
        .map(|name| (name, cores.clone())),
    );
    if let Some(user) = &request.run_as {
        // The image may not know the user, and then the home would be "/", where nothing can be written.
        let home = request.mounted_home.as_deref().unwrap_or(WORKING_FOLDER);
        environment.push(("USER", user.name.clone()));
        environment.push(("LOGNAME", user.name.clone()));
        environment.push(("HOME", home.to_string()));
    } else if let Some(home) = &request.mounted_home {
        environment.push(("HOME", home.clone()));
    }
    if request.arguments.vanilla {
        // R's own default is a folder of the home. This is no folder, and empty would be that default again.
        environment.push(("R_LIBS_USER", "/dev/null".to_string()));
        if request.program.runner() == Runner::Quarto {
            environment.push(("QUARTO_KNITR_RSCRIPT_ARGS", "--vanilla".to_string()));
        }
    }
    let own = &request.arguments.environment;
    environment
        .into_iter()
        .filter(|(name, _)| !own.contains_key(*name))
        .chain(own.iter().map(|(name, value)| (name.as_str(), value.clone())))
        .map(|(name, value)| EnvVar {
            name: name.to_string(),
            // Kubernetes replaces $(NAME) in a value; $$ stands for a dollar sign.
            value: value.replace('$', "$$"),
        })
        .collect()
}

struct Launch {
    command: Vec<String>,
    volumes: Vec<Value>,
    volume_mounts: Vec<Value>,
}

/// The command of the container, and the volumes it needs.
///
/// The shell text is made of constants; every path, and each argument of the program, is an argument. R needs `/bin/sh` itself, so every R image has it.
fn launch(program: &Program, given: &SubmitArguments, delivery: &ProgramSource, disk_limit: Option<&str>) -> Launch {
    let empty = || json!({"emptyDir": disk_limit.map_or_else(|| json!({}), |limit| json!({"sizeLimit": limit}))});
    // One descriptor for both streams, or their order is lost.
    let mut script = vec!["exec 2>&1", job_log::PRINT_MARKERS, COMPLETE_ENVIRONMENT];
    let mut arguments: Vec<String> = Vec::new();
    let runner = program.runner();
    let r_command = given.r_command.as_deref().unwrap_or("R");
    // Quarto starts several R.
    if runner != Runner::Quarto && session::is_usual_r(r_command) {
        script.push(session::PREPARE);
        arguments.push(session::hook());
    }
    let mut volumes = Vec::new();
    let mut volume_mounts = Vec::new();
    let mut add_volume = |name: &str, folder: &str, mut volume: Value| {
        volume["name"] = json!(name);
        volumes.push(volume);
        volume_mounts.push(json!({"name": name, "mountPath": folder}));
    };

    let (path, folder) = match delivery {
        ProgramSource::InPlace => (program.absolute_path.clone(), program.folder().to_string()),
        ProgramSource::Text(_) => {
            add_volume(
                "abba-program",
                PROGRAM_FOLDER,
                downward_file(labels::PROGRAM_TEXT, program.file_name()),
            );
            (
                format!("{PROGRAM_FOLDER}/{}", program.file_name()),
                WORKING_FOLDER.to_string(),
            )
        }
        ProgramSource::Base64(_) => {
            let path = format!("{PROGRAM_FOLDER}/{}", program.file_name());
            add_volume(
                "abba-carried",
                CARRIED_FOLDER,
                downward_file(labels::PROGRAM_BASE64, "program.base64"),
            );
            add_volume("abba-program", PROGRAM_FOLDER, empty());
            script.push("base64 -d \"$1\" > \"$2\" || exit 1; shift 2");
            arguments.extend([format!("{CARRIED_FOLDER}/program.base64"), path.clone()]);
            (path, WORKING_FOLDER.to_string())
        }
    };
    add_volume("abba-work", WORKING_FOLDER, empty());
    // Not at /tmp: it would hide what the image has there.
    add_volume("abba-tmp", TEMPORARY_FOLDER, empty());
    let mut start = vec![r_command.to_string()];
    if runner != Runner::Quarto {
        // `-s` is `--no-echo` to R 4 and `--slave` to R 3.
        start.push("-s".into());
        match given.vanilla {
            // All of the others and no start-up files.
            true => start.push("--vanilla".into()),
            false => start.extend(["--no-save", "--no-restore"].map(String::from)),
        }
    }
    match runner {
        Runner::R if survives_r_launcher(&path) => {
            // Programs look for `--file=` to find themselves.
            start.push(format!("--file={path}"));
        }
        Runner::R => {
            let link = format!("{LINK_FOLDER}/program.R");
            add_volume("abba-link", LINK_FOLDER, empty());
            script.push("ln -s \"$1\" \"$2\" || exit 1; shift 2");
            start.push(format!("--file={link}"));
            arguments.extend([path, link]);
        }
        Runner::RMarkdown => {
            script.push("export ABBA_DOCUMENT=\"$1\"; shift");
            start.extend(["-e", RENDER].map(String::from));
            arguments.push(path);
        }
        Runner::Quarto => start.push(path),
    }
    match delivery {
        ProgramSource::InPlace => {
            script.push(GO_TO_PROGRAM);
            arguments.extend([folder, program.absolute_path.clone()]);
        }
        _ => {
            script.push("cd \"$1\" || exit 1; shift");
            arguments.push(folder);
        }
    }
    script.push(FIND_R);
    if runner == Runner::Quarto {
        script.push(SET_UP_QUARTO);
    }
    script.push(START);
    arguments.extend(start);
    if !given.arguments.is_empty() {
        // R and its launcher leave alone what comes after it.
        arguments.push("--args".into());
        arguments.extend_from_slice(&given.arguments);
    }

    let mut command: Vec<String> = vec!["/bin/sh".into(), "-c".into(), script.join("\n"), "sh".into()];
    // Kubernetes replaces $(NAME) in a command where such a variable exists; $$ stands for a dollar sign. The script has
    // no "$(" by itself.
    command.extend(arguments.into_iter().map(|argument| argument.replace('$', "$$")));
    Launch {
        command,
        volumes,
        volume_mounts,
    }
}

/// A volume with one file, whose content is an annotation of the pod.
fn downward_file(annotation: &str, file_name: &str) -> Value {
    json!({"downwardAPI": {"items": [{
        "path": file_name,
        "fieldRef": {"fieldPath": format!("metadata.annotations['{annotation}']")},
    }]}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::submission::CpuArgument;

    fn request(path: &str, bytes: &[u8]) -> JobRequest {
        let arguments = SubmitArguments {
            container: "r-base".into(),
            cpu_limit: CpuArgument::Text("2500m".into()),
            ..SubmitArguments::default()
        };
        JobRequest {
            job_id: "test-program-1".into(),
            batch_id: "test_program-1".into(),
            values: arguments.values().unwrap(),
            storage: Mounts::default(),
            template: None,
            arguments,
            submission: "1".into(),
            program: Program {
                given_path: path.into(),
                absolute_path: path.into(),
                bytes: Some(bytes.to_vec()),
            },
            run_as: None,
            mounted_home: None,
            user: "mike".into(),
            owner: None,
        }
    }

    fn with_mount(mut request: JobRequest, folder: &str) -> JobRequest {
        request.values.mounts = Mounts::from_value(&json!({
            "volumes": [{"name": "d", "hostPath": {"path": "/srv"}}],
            "volumeMounts": [{"name": "d", "mountPath": folder}],
        }))
        .unwrap();
        request.storage = request.values.mounts.clone();
        request
    }

    fn command(job: &Job) -> &[String] {
        &job.spec.template.spec.containers[0].command
    }

    #[test]
    fn a_path_is_an_argument_and_never_shell_text() {
        for path in ["/x/$(touch x).R", "/x/a'b\"c`id`.R", "/x/; rm -rf .R", "/x/-e.R"] {
            let carried = job(&request(path, b"1")).unwrap();
            let in_place = job(&with_mount(request(path, b"1"), "/x")).unwrap();
            for job in [carried, in_place] {
                let command = command(&job);
                assert_eq!(&command[..2], ["/bin/sh", "-c"]);
                assert!(!command[2].contains("touch") && !command[2].contains("rm -rf"));
                assert!(command.contains(&session::hook().replace('$', "$$")));
                let last = command.last().unwrap();
                assert!(last.ends_with(&path.replace('$', "$$")[2..]), "{last}");
            }
        }
    }

    #[test]
    fn a_limit_of_disk_is_one_of_the_container_and_of_the_volumes_that_abba_adds() {
        let disk_of = |path: &str, bytes: &[u8], limit: Option<&str>| {
            let mut request = request(path, bytes);
            request.arguments.disk_limit = limit.map(String::from);
            request.values = request.arguments.values().unwrap();
            let pod = job(&request).unwrap().spec.template.spec;
            let empty: Vec<Value> = pod
                .volumes
                .iter()
                .filter_map(|one| one.get("emptyDir").cloned())
                .collect();
            (json!(pod.containers[0].resources), empty)
        };
        // One with all the volumes there are.
        let (path, bytes) = ("/x/a~+~b.R", b"\xe9");
        let (resources, volumes) = disk_of(path, bytes, None);
        assert_eq!(resources, json!({"limits": {"cpu": "2500m", "memory": "512M"}}));
        assert_eq!(volumes, vec![json!({}); volumes.len()]);
        let (resources, limited) = disk_of(path, bytes, Some("2G"));
        // A whole disk set aside for each program would leave most nodes empty.
        assert_eq!(
            resources,
            json!({
                "limits": {"cpu": "2500m", "memory": "512M", "ephemeral-storage": "2G"},
                "requests": {"ephemeral-storage": "0"},
            })
        );
        assert!(volumes.len() >= 4);
        assert_eq!(limited, vec![json!({"sizeLimit": "2G"}); volumes.len()]);
    }

    #[test]
    fn a_limit_of_disk_goes_before_that_of_a_template_which_holds_where_none_is_given() {
        let template = JobTemplate::from_value(&json!({"spec": {"template": {"spec": {"containers": [{
            "name": "program", "resources": {"limits": {"ephemeral-storage": "9G"},
            "requests": {"ephemeral-storage": "8G", "cpu": "1m"}},
        }]}}}}))
        .unwrap();
        let disk_of = |limit: Option<&str>| {
            let mut request = request("/x/a.R", b"1");
            request.arguments.disk_limit = limit.map(String::from);
            request.values = request.arguments.values().unwrap();
            request.template = Some(template.clone());
            let resources = &manifest(&request).unwrap()["spec"]["template"]["spec"]["containers"][0]["resources"];
            (
                resources["limits"]["ephemeral-storage"].clone(),
                resources["requests"].clone(),
            )
        };
        assert_eq!(
            disk_of(None),
            (json!("9G"), json!({"ephemeral-storage": "8G", "cpu": "1m"}))
        );
        assert_eq!(
            disk_of(Some("2G")),
            (json!("2G"), json!({"ephemeral-storage": "0", "cpu": "1m"}))
        );
    }

    #[test]
    fn kubernetes_replaces_no_variable_in_a_path() {
        let job = job(&request("/x/$(ABBA_JOB_ID).R", b"1")).unwrap();
        assert_eq!(command(&job).last().unwrap(), "--file=/abba/program/$$(ABBA_JOB_ID).R");
        // What is not doubled in the script is no variable of Kubernetes.
        assert!(!command(&job)[2].contains("$("));
    }

    #[test]
    fn arguments_of_the_program_come_last_and_kubernetes_replaces_no_variable_in_them() {
        let mut request = request("/x/a.R", b"1");
        assert!(!command(&job(&request).unwrap()).contains(&"--args".to_string()));
        request.arguments.arguments = ["", "--args", "$(ABBA_JOB_ID)", "a\n'b\""].map(String::from).to_vec();
        let job = job(&request).unwrap();
        let command = command(&job);
        assert_eq!(
            command[command.len() - 6..],
            [
                "--file=/abba/program/a.R",
                "--args",
                "",
                "--args",
                "$$(ABBA_JOB_ID)",
                "a\n'b\""
            ]
        );
        assert!(!command[2].contains("'b"));
    }

    #[test]
    fn the_r_that_is_started_is_an_argument_and_never_shell_text() {
        let mut request = request("/x/a.R", b"1");
        let usual = job(&request).unwrap();
        request.arguments.r_command = Some("/opt/$(touch)/R".into());
        let other = job(&request).unwrap();
        let (usual, other) = (command(&usual), command(&other));
        assert_eq!(usual[2], other[2]);
        let changed: Vec<_> = usual
            .iter()
            .zip(other)
            .filter(|(usual, other)| usual != other)
            .collect();
        assert_eq!(changed, [(&"R".to_string(), &"/opt/$$(touch)/R".to_string())]);
    }

    #[test]
    fn a_job_for_a_queue_is_made_suspended_and_its_pod_knows_nothing_of_the_queue() {
        let mut request = request("/x/a.R", b"1");
        assert_eq!(job(&request).unwrap().spec.suspend, None);
        request.arguments.queue = Some("team-a".into());
        let job = job(&request).unwrap();
        assert_eq!(job.spec.suspend, Some(true));
        assert_eq!(job.metadata.labels[labels::QUEUE], "team-a");
        assert!(!job.spec.template.metadata.labels.contains_key(labels::QUEUE));
    }

    #[test]
    fn vanilla_leaves_out_start_up_files_and_the_personal_library() {
        let library = |job: &Job| {
            let env = &job.spec.template.spec.containers[0].env;
            env.iter()
                .find(|variable| variable.name == "R_LIBS_USER")
                .map(|variable| variable.value.clone())
        };
        let mut request = request("/x/a.R", b"1");
        let usual = job(&request).unwrap();
        assert!(command(&usual).contains(&"--no-restore".to_string()) && library(&usual).is_none());
        request.arguments.vanilla = true;
        let vanilla = job(&request).unwrap();
        let command = command(&vanilla);
        assert_eq!(command[command.len() - 4..][..3], ["R", "-s", "--vanilla"]);
        assert_eq!(library(&vanilla).as_deref(), Some("/dev/null"));
        request.arguments.environment = BTreeMap::from([("R_LIBS_USER".to_string(), "/lib".to_string())]);
        assert_eq!(library(&job(&request).unwrap()).as_deref(), Some("/lib"));
    }

    #[test]
    fn a_path_that_rs_launcher_would_change_is_reached_by_a_link() {
        let job = job(&with_mount(request("/x/a\tb.R", b"1"), "/x")).unwrap();
        let command = command(&job);
        assert_eq!(command.last().unwrap(), "--file=/abba/link/program.R");
        assert!(command.contains(&"/x/a\tb.R".to_string()));
        // The working directory stays the program's own.
        assert!(command.contains(&"/x".to_string()));
    }

    #[test]
    fn a_document_is_made_by_a_constant_call_that_gets_its_path_as_an_argument() {
        let path = "/x/a 'b\t$(touch).Rmd";
        let mut request = with_mount(request(path, b"1"), "/x");
        request.arguments.arguments = vec!["one".into()];
        let document = job(&request).unwrap();
        let command = command(&document);
        let expected = [
            &path.replace('$', "$$"),
            "/x",
            &path.replace('$', "$$"),
            "R",
            "-s",
            "--no-save",
            "--no-restore",
            "-e",
            RENDER,
            "--args",
            "one",
        ];
        assert_eq!(command[5..], expected);
        assert!(!command[2].contains("touch"));
        // R's launcher changes none of it.
        assert!(!RENDER.contains(['\t', '\n', '\\', '*', '?', '[', '$']) && !RENDER.contains("~+~"));
    }

    #[test]
    fn a_quarto_document_is_made_by_quarto_with_the_r_that_is_named() {
        let mut request = with_mount(request("/x/$(a).qmd", b"1"), "/x");
        request.arguments.r_command = Some("/opt/R/bin/R".into());
        request.arguments.vanilla = true;
        let document = job(&request).unwrap();
        let path = "/x/$$(a).qmd";
        assert_eq!(command(&document)[4..], ["/x", path, "/opt/R/bin/R", path]);
        assert!(command(&document)[2].contains("set -- quarto render \"$2\"\n\"$@\" &"));
        let env = &document.spec.template.spec.containers[0].env;
        let of_quarto = env.iter().find(|variable| variable.name == "QUARTO_KNITR_RSCRIPT_ARGS");
        assert_eq!(of_quarto.map(|variable| variable.value.as_str()), Some("--vanilla"));
    }

    #[test]
    fn every_program_has_an_own_folder_for_temporary_files_and_for_a_home() {
        for request in [request("/x/a.R", b"1"), with_mount(request("/x/a.R", b"1"), "/x")] {
            let job = job(&request).unwrap();
            let container = &job.spec.template.spec.containers[0];
            for folder in [WORKING_FOLDER, TEMPORARY_FOLDER] {
                assert!(container.volume_mounts.iter().any(|mount| mount["mountPath"] == folder));
                assert!(COMPLETE_ENVIRONMENT.contains(folder));
            }
        }
    }

    #[test]
    fn the_record_is_complete() {
        let mut request = request("/x/Test é.R", b"print(1)\n");
        request.arguments.user_tag = "Study 1/2".into();
        let job = job(&request).unwrap();
        let pod = &job.spec.template.metadata;
        assert_eq!(job.metadata.annotations[labels::PROGRAM_PATH], "/x/Test é.R");
        assert_eq!(pod.annotations[labels::PROGRAM_PATH], "/x/Test é.R");
        assert_eq!(pod.annotations[labels::PROGRAM_TEXT], "print(1)\n");
        assert!(!job.metadata.annotations.contains_key(labels::PROGRAM_TEXT));
        assert_eq!(job.metadata.annotations[labels::USER_TAG_VERBATIM], "Study 1/2");
        assert_eq!(job.metadata.labels[labels::USER_TAG], "Study-1-2");
        assert_eq!(job.metadata.labels[labels::PROGRAM], "Test--.R");
        // No mesh puts a container beside the program.
        assert_eq!(with(job.metadata.labels.clone(), &NO_INJECTION_LABELS), pod.labels);
        assert_eq!(pod.annotations["sidecar.istio.io/inject"], "false");
        assert_eq!(pod.annotations["linkerd.io/inject"], "disabled");
        for value in job.metadata.labels.values() {
            assert!(labels::is_label_value(value), "{value}");
        }
    }

    #[test]
    fn a_job_runs_once_and_is_kept() {
        let mut request = request("/a.R", b"");
        request.values.time_limit_seconds = Some(60);
        let spec = job(&request).unwrap().spec;
        assert_eq!(spec.backoff_limit, 0);
        assert!(spec.ttl_seconds_after_finished >= 86_400);
        assert_eq!(spec.template.spec.restart_policy, "Never");
        assert_eq!(spec.template.spec.active_deadline_seconds, Some(60));
    }

    #[test]
    fn the_program_is_told_its_cores() {
        let job = job(&request("/a.R", b"")).unwrap();
        let container = &job.spec.template.spec.containers[0];
        let cores = container
            .env
            .iter()
            .find(|variable| variable.name == "MC_CORES")
            .unwrap();
        assert_eq!(cores.value, "2");
        assert_eq!(container.resources.limits["cpu"], "2500m");
    }

    #[test]
    fn a_users_variable_wins_and_kubernetes_replaces_nothing_in_it() {
        let mut request = request("/a.R", b"");
        request.arguments.environment = [("MC_CORES", "1"), ("A", "$(ABBA_JOB_ID)"), ("EMPTY", "")]
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .into();
        let job = job(&request).unwrap();
        let env = &job.spec.template.spec.containers[0].env;
        let values_of = |name: &str| -> Vec<&str> {
            let of_name = env.iter().filter(|variable| variable.name == name);
            of_name.map(|variable| variable.value.as_str()).collect()
        };
        assert_eq!(values_of("MC_CORES"), ["1"]);
        assert_eq!(values_of("OMP_NUM_THREADS"), ["2"]);
        assert_eq!(values_of("A"), ["$$(ABBA_JOB_ID)"]);
        assert_eq!(values_of("EMPTY"), [""]);
    }

    #[test]
    fn a_user_name_becomes_numbers() {
        let mut request = request("/a.R", b"");
        request.run_as = Some(Identity {
            name: "mike".into(),
            uid: 1001,
            gid: 1002,
            groups: vec![1003],
            home: "/home/mike".into(),
        });
        let job = job(&request).unwrap();
        let context = job.spec.template.spec.security_context.unwrap();
        assert_eq!((context.run_as_user, context.run_as_group), (Some(1001), Some(1002)));
        assert_eq!(context.supplemental_groups, [1003]);
        assert_eq!(context.run_as_non_root, Some(true));
    }

    #[test]
    fn a_user_has_a_home_that_can_be_written_wherever_the_program_runs() {
        for request in [request("/x/a.R", b""), with_mount(request("/x/a.R", b""), "/x")] {
            let mut request = request;
            request.run_as = Some(Identity {
                name: "mike".into(),
                uid: 1001,
                gid: 1001,
                groups: Vec::new(),
                home: "/home/mike".into(),
            });
            let job = job(&request).unwrap();
            let container = &job.spec.template.spec.containers[0];
            let home = container.env.iter().find(|variable| variable.name == "HOME").unwrap();
            assert!(container
                .volume_mounts
                .iter()
                .any(|mount| mount["mountPath"] == home.value.as_str()));
        }
    }
}
