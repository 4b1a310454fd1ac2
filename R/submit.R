#' Submit an R program as a Kubernetes job
#'
#' Sends a program to the cluster, where it runs in a container by itself. The
#' program's text travels with the job, unless a mount holds it: then it runs
#' where it is, with its own folder as working directory.
#'
#' The program runs once: if it fails it is not tried again. Its output and its
#' messages make up one log, in the order in which they were written, which
#' [abba_get_k8s_job_log_local()] reads. The job and its log are kept for a week
#' after its end.
#'
#' The program finds its job's id in the environment variable `ABBA_JOB_ID`, its
#' batch id in `ABBA_BATCH_ID`, and the number of whole cores that it may use
#' in `MC_CORES`, `OMP_NUM_THREADS` and their like.
#'
#' If the answer of the cluster gets lost on the way, the job is submitted again
#' under the same name, so that there is exactly one. An error says whether a job
#' may have been created all the same.
#'
#' @param file_path The program: a file on this machine. A program that is sent
#'   along has at most 256 KiB; one in a mount may have any size.
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
#'   `"registry.example.com/path/name:tag"`. It must hold R.
#' @param mounts Storage for the program: `''` for none, or
#'   `list(volumes = list(...), volumeMounts = list(...))` with Kubernetes' own
#'   [volumes](https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/volume/)
#'   and
#'   [volume mounts](https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#volumes-1)
#'   as R lists. A vector of length one becomes a single value; wrap it in [I()]
#'   where Kubernetes wants a list.
#' @param auto_mount_home Whether your home folder (or that of `username`) is
#'   mounted from an NFS server under the path that it has here.
#' @param home_nfs_ip_address That server.
#' @param namespace The Kubernetes namespace; `NULL` means that of kubectl's current
#'   context, in a pod that of its service account, else `default`.
#' @param username The user on this machine that the program runs as: the
#'   container gets the user's number and groups. With `NULL` it runs as the
#'   container image says.
#' @param time_limit_seconds After how many seconds the program is ended and
#'   counts as failed; its log is kept. `NULL` for no limit.
#'
#' @return A list of two strings: `job_id`, by which the other functions know the
#'   job, and `batch_id`. A message says that the job was created; use
#'   [suppressMessages()] to silence it.
#'
#' @section Errors:
#' Arguments that cannot be right raise an error of class `abba_error_input`
#' before anything is sent. The classes of other errors are listed in
#' [abba-package].
#'
#' @seealso [abba_get_k8s_job_status_local()], [abba_get_k8s_job_log_local()]
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
    time_limit_seconds = NULL) {
  arguments <- submit_arguments(
    file_path, batch_group_id, user_tag, cpu_limit, memory_limit, container,
    mounts, auto_mount_home, home_nfs_ip_address, username, time_limit_seconds
  )
  submitted <- core_value(core_submit(list(arguments), settings(namespace)))[[1L]]
  if (!is.null(submitted$error)) {
    abort_record(submitted$error, rlang::current_env())
  }
  submitted <- submitted[c("job_id", "batch_id")]
  message("job.batch/", submitted$job_id, " created")
  submitted
}

# The arguments of one submission as the core wants them, their R types checked.
submit_arguments <- function(
    file_path, batch_group_id, user_tag, cpu_limit, memory_limit, container,
    mounts, auto_mount_home, home_nfs_ip_address, username, time_limit_seconds,
    job_id = NULL, call = rlang::caller_env()) {
  if (is.null(container)) {
    rlang::abort(
      c(
        "`container` is missing.",
        i = "Give the container image, or set options(abba.default.container = ...)."
      ),
      class = error_classes("input"),
      call = call
    )
  }
  string <- function(x, null = FALSE, empty = FALSE, argument = rlang::caller_arg(x)) {
    check_string(x, null, empty, argument = argument, call = call)
  }
  file_path <- string(file_path)
  list(
    given_path = file_path,
    expanded_path = path.expand(file_path),
    batch_group_id = string(batch_group_id, empty = TRUE),
    user_tag = string(user_tag, empty = TRUE),
    cpu_limit = check_number_or_string(cpu_limit, call = call),
    memory_limit = check_memory_limit(memory_limit, call = call),
    container = string(container, empty = TRUE),
    mounts = check_mounts(mounts, call = call),
    auto_mount_home = check_flag(auto_mount_home, call = call),
    home_nfs_ip_address = string(home_nfs_ip_address, null = TRUE),
    username = string(username, null = TRUE),
    time_limit_seconds = check_number(time_limit_seconds, null = TRUE, call = call),
    job_id = job_id
  )
}

# A number of bytes is allowed, as Kubernetes allows it.
check_memory_limit <- function(memory_limit, call = rlang::caller_env()) {
  memory_limit <- check_number_or_string(
    memory_limit,
    argument = "memory_limit", call = call
  )
  if (is.numeric(memory_limit)) {
    memory_limit <- format(memory_limit, scientific = FALSE, digits = 15)
  }
  memory_limit
}

# NULL for no mounts.
check_mounts <- function(mounts, call = rlang::caller_env()) {
  if (is.null(mounts) || identical(mounts, "")) {
    return(NULL)
  }
  if (!is.list(mounts)) {
    abort_input(
      "mounts", "must be '' or list(volumes = list(...), volumeMounts = list(...))",
      mounts, call
    )
  }
  as_utf8(mounts, "mounts", call)
}
