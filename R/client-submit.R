#' Submit an R program through the abba API
#'
#' Sends a program to the abba API of your department, which runs it in the cluster
#' under your name. You need no `kubectl` for this, only the API's address and a key:
#' see the section "Address and key".
#'
#' The program's text is read on this machine and travels with the request. Where you
#' name storage in `mounts`, or use `auto_mount_home`, and it holds the program, the
#' program runs where it is, with its own folder as working directory; then it need
#' not be on this machine.
#'
#' The program runs once: if it fails it is not tried again. Its output and its
#' messages make up one log, which [abba_get_job_log()] reads. The job and its log are
#' kept for a week after its end.
#'
#' If the answer of the API gets lost on the way, the request is repeated under the
#' same key, so that there is exactly one job. An error says whether a job may have
#' been created all the same.
#'
#' @param file_path The program: a file on this machine, or, in a mount, its whole
#'   path. A program that is sent along has at most 256 KiB; one in a mount may have
#'   any size.
#' @param container The container image, as `"registry.example.com/path/name:tag"`:
#'   one of [abba_permitted_containers()]. With `NULL` the API's own default.
#' @param mounts Storage for the program, as for [abba_submit_k8s_job_local()], out of
#'   what your administrator permits.
#' @param auto_mount_home Whether your home folder is mounted under the path that it
#'   has on the API's server.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return A list of two strings: `job_id`, by which the other functions know the
#'   job, and `batch_id`. A message says that the job was created; use
#'   [suppressMessages()] to silence it.
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
#'
#' @section Errors:
#' The conditions are those of [abba_submit_k8s_job_local()] and its companions, listed
#' in [abba-package]; what makes no sense is refused with one of class
#' `abba_error_input`. An API that cannot be reached raises one of class
#' `abba_error_unavailable`, one that does not answer in time `abba_error_timeout`, an
#' address where there is no abba API `abba_error_not_configured`, and a key that is
#' not known `abba_error_unauthorized`.
#'
#' @seealso [abba_watch_job()], [abba_get_job_status()], [abba_get_job_log()]
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' abba_get_job_status(job$job_id)
#' }
abba_submit_job <- function(
    file_path,
    batch_group_id = "",
    user_tag = "",
    cpu_limit = 1L,
    memory_limit = "512M",
    container = getOption("abba.default.container"),
    mounts = "",
    auto_mount_home = FALSE,
    time_limit_seconds = NULL) {
  call <- rlang::current_env()
  arguments <- client_submit_arguments(
    file_path, user_tag, cpu_limit, memory_limit, container, mounts, auto_mount_home, time_limit_seconds
  )
  arguments$batch_group_id <- client_batch_id(batch_group_id)
  answer <- withCallingHandlers(
    client_call(
      "POST", "/submit-job",
      body = core_value(core_json(arguments), call),
      request_key = core_value(core_new_request_key(), call),
      lost = "Whether the job was created is not known.", call = call
    ),
    interrupt = function(condition) {
      rlang::inform(c(
        "Whether the job was created is not known.",
        i = "abba_list_jobs() shows it if it was."
      ), use_cli_format = FALSE)
    }
  )
  submitted <- reading(
    "/submit-job",
    list(job_id = one_string(answer$body$job_id), batch_id = one_string(answer$body$batch_id)),
    call, "The job was probably created: abba_list_jobs(since = Sys.Date()) shows it then."
  )
  message("job.batch/", submitted$job_id, " created")
  submitted
}

# The arguments of one submission as the API wants them, their R types checked and the program read. What an argument
# may be is checked by the API.
#
# read_from: where the program is read, if not where `file_path` says; NULL: nowhere, it is submitted by its path alone.
# in_place: whether it may run where it is, in a mount: then it need not be on this machine. NULL: if there are mounts.
client_submit_arguments <- function(
    file_path, user_tag, cpu_limit, memory_limit, container, mounts, auto_mount_home, time_limit_seconds,
    read_from = file_path, in_place = NULL, call = rlang::caller_env()) {
  string <- function(x, null = FALSE, empty = FALSE, argument = rlang::caller_arg(x)) {
    check_string(x, null, empty, argument = argument, call = call)
  }
  file_path <- string(file_path)
  mounts <- check_mounts(mounts, call = call)
  auto_mount_home <- check_flag(auto_mount_home, call = call)
  in_place <- in_place %||% (!is.null(mounts) || auto_mount_home)
  program <- if (!is.null(read_from)) {
    core_value(core_carry_program(read_from, path.expand(read_from), in_place), call)
  }
  # For the record as it was given; where it may run in place, the API must know where that is.
  path <- if (in_place && !is.null(program)) program$path else file_path
  arguments <- list(
    file_path = path,
    # So that it can be read again, from another working directory too.
    absolute_path = if (!identical(program$path, path)) program$path,
    program_text = program$text,
    program_base64 = program$base64,
    user_tag = string(user_tag, empty = TRUE),
    cpu_limit = check_number_or_string(cpu_limit, call = call),
    memory_limit = check_memory_limit(memory_limit, call = call),
    container = string(container, null = TRUE),
    mounts = mounts,
    auto_mount_home = auto_mount_home,
    time_limit_seconds = check_number(time_limit_seconds, null = TRUE, call = call)
  )
  arguments[!vapply(arguments, is.null, NA)]
}

# The batch id as the API wants it: NULL for a new one.
client_batch_id <- function(batch_group_id, call = rlang::caller_env()) {
  batch_group_id <- check_string(batch_group_id, empty = TRUE, call = call)
  if (batch_group_id == "") NULL else batch_group_id
}
