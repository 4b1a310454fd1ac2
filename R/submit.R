#' Submit an R program as a Kubernetes job
#'
#' Sends a program to the cluster, where it runs in a container by itself:
#' `abba_submit_k8s_job_local()` through the `kubectl` of this machine,
#' `abba_submit_job()` through the abba API of your department, under your name there.
#' For the latter you need no `kubectl`, only the API's address and a key: see the
#' section "Address and key".
#'
#' The program's text travels with the job, unless storage that is named in `mounts`, or
#' your home folder with `auto_mount_home`, holds it: then it runs where it is, with its
#' own folder as working directory; through the API it need not be on this machine then.
#'
#' An R Markdown document (`.Rmd`) or a Quarto document (`.qmd`) is a program, too, where
#' such storage holds it: `rmarkdown::render()` or `quarto render` makes it in its own
#' folder, with what lies beside it, and writes its output there. The image must hold R with
#' the package rmarkdown, and pandoc; or quarto. `arguments` are for `.Rmd` alone.
#'
#' The program runs once: if it fails it is not tried again. Its output and its
#' messages make up one log, in the order in which they were written, which
#' [abba_get_k8s_job_log_local()] reads. The job and its log are kept for a week
#' after its end, unless `keep_days` says otherwise.
#'
#' The program finds its job's id in the environment variable `ABBA_JOB_ID`, its
#' batch id in `ABBA_BATCH_ID`, and the number of whole cores that it may use
#' in `MC_CORES`, `OMP_NUM_THREADS` and their like.
#'
#' The job's id is made before anything is sent. If an answer gets lost on the way, the
#' job is submitted again under the same id, so that there is exactly one. An error says
#' whether a job may have been created all the same.
#'
#' @param file_path The program: a file on this machine, or, through the API, its whole
#'   path in a mount. A program that is sent along has at most 240 KiB; one in a mount may
#'   have any size.
#' @param batch_group_id The batch that the job belongs to, as a string of at most
#'   63 letters, digits, `-`, `_` and `.`. With `''` the job gets a new batch id
#'   made from the program's name.
#' @param user_tag A text of your own, up to 1,000 characters on one line, which
#'   is kept with the job.
#' @param cpu_limit How many processor cores the program may use: a number such as
#'   `1` or `0.5`, or thousandths of a core as a string such as `"500m"`.
#' @param memory_limit How much memory the program may use, as a string such as
#'   `"512M"`, `"1G"` or `"1Gi"`. A program that needs more is ended.
#' @param container The container image, as
#'   `"registry.example.com/path/name:tag"`. It must hold R, see `r_command`. Through the API one of
#'   [abba_permitted_containers()]; with `NULL` the API's own default.
#' @param mounts Storage for the program: `''` for none, or
#'   `list(volumes = list(...), volumeMounts = list(...))` with Kubernetes' own
#'   [volumes](https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/volume/)
#'   and
#'   [volume mounts](https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#volumes-1)
#'   as R lists. A vector of length one becomes a single value; wrap it in [I()]
#'   where Kubernetes wants a list. Through the API it must be out of what your
#'   administrator permits.
#' @param auto_mount_home Whether your home folder (or that of `username`) is
#'   mounted from an NFS server under the path that it has here, through the API under
#'   the one that it has on the API's server. A home that would hide a folder that the
#'   container needs, such as `/usr/sbin` or `/`, is refused.
#' @param home_nfs_ip_address That server.
#' @param namespace The Kubernetes namespace; `NULL` means that of kubectl's current
#'   context, in a pod that of its service account, else `default`.
#' @param username The user on this machine that the program runs as: the
#'   container gets the user's number and groups. With `NULL` it runs as the
#'   container image says.
#' @param time_limit_seconds After how many seconds the program is ended and
#'   counts as failed; its log is kept. `NULL` for no limit.
#' @param arguments The program's own arguments, a character vector, which
#'   `commandArgs(TRUE)` gives in the program letter for letter, as those after the
#'   program's name with `Rscript`. They can be read in the job, so a password is not for
#'   them. At most 96 KiB.
#' @param environment What the program finds in its environment, a character vector with
#'   names such as `c(STUDY = "s1")`, letter for letter: a `$(NAME)` in it is no variable.
#'   It wins over what abba sets, such as `MC_CORES`, and over the container image;
#'   `ABBA_SESSION_INFO = "no"` keeps R from noting its version and its packages for the record
#'   ([abba_save_k8s_batch_local()]);
#'   `ABBA_JOB_ID`, `ABBA_BATCH_ID` and `OPTIND` cannot be set, and what R and the shell that starts
#'   it set themselves, such as `R_HOME` and `args`, stays theirs. **It is no place for
#'   passwords and keys**: it is kept with the job, where all can read it who may
#'   look at jobs. At most 96 KiB.
#' @param vanilla Whether R starts as `R --vanilla` does: it reads no `.Rprofile`, `.Renviron`
#'   and their like, neither those of a home or folder that is mounted nor those of the image
#'   (`Rprofile.site`, `Renviron.site`); and without your personal library, so that a mounted
#'   home puts no packages of its own before those of the image. An image that finds its packages by such
#'   a file needs them named: `environment = c(R_LIBS = "/path/of/library")`. A
#'   variable `R_LIBS_USER` of `environment` stays. Saved workspaces are never read.
#' @param r_command The R that runs the program: its whole path in the container, such as
#'   `"/opt/R/4.2.1/bin/R"`, or a name on the `PATH` that the image sets; `NULL` for `R`. It is for an image with
#'   several versions of R, and for one where only the entry point finds R (a script that sets the `PATH`, or activates
#'   an environment of conda): **the image's entry point is not run**. What else such an entry point sets, set with
#'   `environment`. Where R is not found, the program's log says so, and where there is one.
#' @param queue Where the cluster shares its nodes by [Kueue](https://kueue.sigs.k8s.io): the
#'   name of the queue (a LocalQueue of the namespace) that the program goes through, `NULL`
#'   for none. The job is `"Pending"` until the queue lets it go, and
#'   [abba_explain_k8s_job_local()] says what it waits for; it never starts past its queue. A
#'   queue may end a program to make room for another one, and starts it anew later:
#'   abba warns of programs that were started more than once. An abba API may have a queue
#'   of its own for programs that name none, and permits those that its administrator named.
#' @param job_template What your cluster needs for programs, as your administrator knows
#'   it: a part of a Job as a list, or the path of a YAML or JSON file with it. See the
#'   section "Job template". Through the API the name of one of
#'   [abba_permitted_templates()]; with `NULL` the one named `"default"`, where there is
#'   one.
#' @param keep_days For how many days the cluster keeps the job and its log after its end,
#'   a number such as `30` or `0.5`, at least `1/24` (an hour); `NULL` for seven. **What is
#'   removed is gone, its log with it.** A program that others of a plan run after is kept for seven days at least,
#'   since they could not start without it. Through the API the administrator says it.
#' @param disk_limit How much of its node's disk the program may fill, as a string such as `"2G"`; `NULL` for what the
#'   cluster says. All that it writes outside the storage in `mounts` counts: its temporary files, its working
#'   directory where its text was carried there, its log. A program that writes more is ended, and its log may be
#'   gone then. An abba API may have a default and a largest one.
#'
#' @return A list of two strings: `job_id`, by which the other functions know the
#'   job, and `batch_id`. A message says that the job was created; use
#'   [suppressMessages()] to silence it.
#'
#' @section Job template:
#' Pull secrets, node selectors, tolerations, priorities, service accounts, labels for
#' cost, secrets as environment, GPUs: an administrator gives them once, as the option
#' `abba.k8s.job.template` in the file `Rprofile.site`, and every program has them. A
#' template is a part of a
#' [Job](https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/),
#' at most 16 KiB as JSON:
#'
#' ```
#' spec:
#'   template:
#'     spec:
#'       imagePullSecrets:
#'         - name: registry
#'       tolerations:
#'         - key: statistics
#'           operator: Exists
#'       containers:
#'         - name: program
#'           env:
#'             - name: DB_PASSWORD
#'               valueFrom:
#'                 secretKeyRef: {name: database, key: password}
#' ```
#'
#' It is merged into each Job as Kubernetes merges: maps by their keys; `containers`,
#' `initContainers`, `volumes`, `env`, `imagePullSecrets`, `resourceClaims` and
#' `schedulingGates` by `name`, `volumeMounts` by `mountPath`, `volumeDevices` by
#' `devicePath`, `ports` by `containerPort`, `hostAliases` by `ip`,
#' `topologySpreadConstraints` by `topologyKey`; every other list, such as
#' `tolerations`, as a whole. `null` takes a field away. The program's container is
#' named `program`; each other one in `containers` or `initContainers` runs beside or
#' before it and needs an image. A job is over when its program is; what runs on beside
#' it keeps its cores until it ends, so a helper belongs into `initContainers` with
#' `restartPolicy: Always`, which Kubernetes ends with the program. Storage of the
#' program's container may hold programs, as `mounts` may (not through the API).
#'
#' What users say with arguments wins: `environment` over `env`, `username` over
#' `runAsUser`, `runAsGroup`, `runAsNonRoot` and `supplementalGroups`, `disk_limit` over the limit
#' and the request of `ephemeral-storage`. A volume or a
#' folder that is both in `mounts` and in the template is an error. What belongs to
#' abba is refused by its path, before anything is sent:
#' * of `metadata`, also the pod's, all but `labels` and `annotations`; of these
#'   `abba/...`, `batch.kubernetes.io/...`, `job-name`, `controller-uid` and
#'   `app.kubernetes.io/managed-by`;
#' * of `spec` all but `template`: a program runs once, and is kept as `keep_days` says;
#' * of `spec.template.spec` the fields `restartPolicy`, `activeDeadlineSeconds` (see
#'   `time_limit_seconds`), `shareProcessNamespace` and `ephemeralContainers`, and
#'   volumes named `abba-...`;
#' * of the container `program` the fields `image` (see `container`), `command`,
#'   `args`, `workingDir`, `restartPolicy`, the limits `cpu` and `memory` (see
#'   `cpu_limit`, `memory_limit`; its `requests` and other limits may be set), the
#'   variables `ABBA_JOB_ID`, `ABBA_BATCH_ID` and `OPTIND`, and mounts at `/abba` and
#'   below; of each container `restartPolicyRules`;
#' * instructions of a patch, such as `$patch`.
#'
#' A field that Kubernetes does not know is refused by the cluster. The template is
#' kept with the job, where all can read it who may look at jobs, and a rerun uses it
#' again: passwords belong into a Secret that it names.
#'
#' @section Address and key:
#' Put both into the file `.Renviron` in your home folder, and restart R:
#'
#' ```
#' ABBA_API_ADDRESS=https://connect.example.com/abba
#' ABBA_API_KEY=...
#' ```
#'
#' Your administrator knows the address. On Posit Connect the key is an API key of
#' Connect that you make there yourself; elsewhere your administrator gives you one.
#' The key is never printed, and never sent over a connection that is not encrypted,
#' unless the API is on this machine. [abba_check_api()] says whether all is well.
#' A line `CURL_CA_BUNDLE=/path/to/file.pem` names the certificates to trust where your
#' company signs its own; `https_proxy` and `no_proxy` are obeyed, too.
#'
#' @section Errors:
#' Arguments that cannot be right raise an error of class `abba_error_input`
#' before anything is sent. An API that cannot be reached raises an error of class
#' `abba_error_unavailable`, one that does not answer in time `abba_error_timeout`, an
#' address where there is no abba API `abba_error_not_configured`, and a key that is
#' not known `abba_error_unauthorized`. The classes of other errors are listed in
#' [abba-package].
#'
#' @seealso [abba_watch_k8s_job_local()], [abba_get_k8s_job_status_local()],
#'   [abba_get_k8s_job_log_local()]
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_local(
#'   "/home/mike/repos/abba/test_programs/test_program.R",
#'   container = "registry.example.com/openval_4.2.1_focal:2023.09.0.02"
#' )
#' abba_get_k8s_job_status_local(job$job_id)
#'
#' # A program on an NFS server, run there as yourself
#' abba_submit_k8s_job_local(
#'   "/studies/study1/programs/t_demographics.R",
#'   container = "registry.example.com/openval_4.2.1_focal:2023.09.0.02",
#'   cpu_limit = 2,
#'   memory_limit = "4G",
#'   mounts = list(
#'     volumes = list(
#'       list(name = "studies", nfs = list(server = "192.0.2.1", path = "/studies"))
#'     ),
#'     volumeMounts = list(list(name = "studies", mountPath = "/studies"))
#'   ),
#'   username = Sys.info()[["user"]]
#' )
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' abba_get_job_status(job$job_id)
#' }
abba_submit_k8s_job_local <- function(
    file_path,
    batch_group_id = "",
    user_tag = "",
    cpu_limit = 1L,
    memory_limit = "512M",
    container = getOption("abba.default.container"),
    mounts = "",
    auto_mount_home = FALSE,
    home_nfs_ip_address = getOption("abba.home.nfs.ip.address"),
    namespace = getOption("abba.k8s.namespace"),
    username = NULL,
    time_limit_seconds = NULL,
    arguments = character(),
    environment = character(),
    vanilla = FALSE,
    r_command = getOption("abba.r.command"),
    queue = getOption("abba.k8s.queue"),
    job_template = getOption("abba.k8s.job.template"),
    keep_days = getOption("abba.k8s.keep.days"),
    disk_limit = getOption("abba.k8s.disk.limit")) {
  submit_job(road_kubectl(namespace), mget(names(formals())))
}

#' @rdname abba_submit_k8s_job_local
#' @export
abba_submit_job <- function() submit_job(road_api(), mget(names(formals())))
formals(abba_submit_job) <- over_api(formals(abba_submit_k8s_job_local))

# Submits one program. `arguments`: those of the exported function, by name.
submit_job <- function(road, arguments) {
  submission <- check_arguments(arguments[setdiff(names(arguments), "namespace")], road$call)
  ids <- core_value(core_new_ids(submission$file_path, submission$batch_group_id), road$call)
  submission$batch_group_id <- ids$batch_id
  submission$job_id <- ids$job_ids[[1L]]
  create_job(road, submission)
  list(job_id = submission$job_id, batch_id = submission$batch_group_id)
}

# Creates the job of a submission that has its ids, and says so.
create_job <- function(road, submission, quiet = FALSE) {
  ready <- road$prepare(list(submission))$ready[[1L]]
  kept <- new.env(parent = emptyenv())
  suspendInterrupts({
    # From here on an interrupt must not pass by without a word on the job.
    tell <- function(condition) tell_unknown_job(road, submission$job_id)
    is_made <- withCallingHandlers(
      allowInterrupts(keep_warnings(road$submit_one(ready), kept)),
      interrupt = tell, abba_error_time_limit = tell
    )
    if (is_made && (!quiet || isTRUE(attr(is_made, "interrupted")) || length(kept$warnings) > 0L)) {
      message("job.batch/", submission$job_id, " created")
      tell_page(road, "job", submission$job_id)
    }
  })
  raise_kept(kept)
  if (!is_made || isTRUE(attr(is_made, "interrupted"))) {
    stop_as_r_wanted(road$call)
  }
}

# Says at an interactive console on which page the server shows it.
tell_page <- function(road, view, id) {
  words <- page_words(road, view, id)
  if (!is.null(words)) message(words)
}

# The same as text; NULL elsewhere.
page_words <- function(road, view, id) {
  page <- if (draws_line()) road$page(view, id)
  if (!is.null(page)) cli::format_inline("See it at {.url {page}}")
}

tell_unknown_job <- function(road, job_id) {
  rlang::inform(c(
    "Whether the job was created is not known.",
    i = paste0("Before you submit the program again, ask for it: ", road$call_text("get_job_status", job_id), ".")
  ), use_cli_format = FALSE, job_id = job_id)
}
