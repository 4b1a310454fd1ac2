#' Submit again what failed of a batch, through the abba API
#'
#' @inherit abba_rerun_k8s_batch_local description
#'
#' @details
#' The programs are read on this machine, from the files that they were submitted from,
#' whatever the working directory is now. A program that ran where it was, in a mount,
#' is submitted by its path alone.
#'
#' Only your own jobs are submitted again, since the programs run under your name: an
#' operator's, too. What was cancelled a moment ago is waited for until it has ended, so
#' that it does not run twice at a time. A job whose status is `"Unknown"` may still be
#' running, and is left out unless you ask for it.
#'
#' @param ... Arguments of [abba_submit_job()] that replace those of the first submission
#'   for all programs, such as `memory_limit = "4G"`; not `file_path`. `NULL` takes an
#'   argument away: `time_limit_seconds = NULL` submits without the time limit of the
#'   first submission.
#' @inheritParams abba_rerun_k8s_batch_local
#'
#' @return A data frame as of [abba_submit_batch()], with no row where nothing has failed.
#'
#' @section Errors:
#' A job that was cancelled and does not end within 40 seconds is an error of class
#' `abba_error_timeout`, and nothing is submitted. All programs are read before the first
#' is sent, and one that is not there is an error of class `abba_error_input` that names it.
#' If some programs could not be submitted, an error of class `abba_error_batch_incomplete`
#' says so, as of [abba_submit_batch()]; give its field `batch` as `batch_id` to submit the
#' rest: nothing is submitted twice. The other classes of errors are listed in
#' [abba_submit_job()].
#'
#' @seealso [abba_watch_batch()] to wait for the end
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' again <- abba_rerun_batch("Study_1.tables", memory_limit = "1G")
#' abba_watch_batch(again$batch_id[[1]])
#' }
abba_rerun_batch <- function(batch_id, ..., include_unknown = FALSE) {
  call <- rlang::current_env()
  client_address(call)
  changes <- check_changes(
    rlang::list2(...), call, "abba_submit_job",
    without = c("home_nfs_ip_address", "username")
  )
  include_unknown <- check_flag(include_unknown)
  batch <- if (is.data.frame(batch_id)) check_rest_of_rerun(batch_id, call)
  batch_id <- if (is.null(batch)) check_string(batch_id) else batch$rerun_of_batch[[1L]]
  core_value(core_check_which(list(batch_id = batch_id)), call)
  core_value(core_check_values(changes$values), call)
  # What is left of an earlier call is submitted whatever its state is by now.
  status <- if (is.null(batch)) paste(c("Failed", if (include_unknown) "Unknown"), collapse = ",")
  kept <- kept_submissions(batch_id, status, call)
  ids <- vapply(kept, `[[`, "", "job_id")
  if (is.null(batch)) {
    new_batch_id <- if (length(kept) > 0L) {
      changes$values$batch_group_id %||% core_value(core_new_ids(kept[[1L]]$file_path, ""), call)$batch_id
    }
    batch <- rerun_batch(lapply(kept, function(one) {
      list(batch_id = new_batch_id, program = one$file_path, rerun_of = one$job_id)
    }), batch_id)
  }
  if (nrow(batch) == 0L) {
    return(nothing_to_rerun(batch))
  }
  program_of <- function(row) {
    place <- match(batch$rerun_of[[row]], ids)
    if (is.na(place)) {
      abort_record(list(
        class = "not_found",
        message = paste0("Job \"", batch$rerun_of[[row]], "\", which is to run again, is not there any more."),
        advice = paste0("Submit its program again with abba_submit_job(): ", batch$program[[row]]),
        job_id = batch$rerun_of[[row]]
      ), call)
    }
    rerun_arguments(kept[[place]], changes, call)
  }
  submit_rows(batch, program_of, "in place of `batch_id`", call)
}

# What the jobs of a batch were submitted with. Jobs that were cancelled a moment ago are waited for as in
# abba_rerun_k8s_batch_local(), unless they are meant whatever their state is (`status` is NULL).
kept_submissions <- function(batch_id, status, call) {
  # Their node gives them 30 seconds.
  end <- proc.time()[["elapsed"]] + 40
  repeat {
    answer <- client_call("GET", "/batch-arguments", list(batch_id = batch_id, status = status), call = call)
    kept <- reading("/batch-arguments", lapply(answer$body, kept_from_json), call)
    ending <- vapply(kept[vapply(kept, `[[`, NA, "ending")], `[[`, "", "job_id")
    if (is.null(status) || length(ending) == 0L) {
      return(kept)
    }
    if (proc.time()[["elapsed"]] >= end) {
      core_value(core_does_not_end(ending), call)
    }
    Sys.sleep(1)
  }
}

# What a job was submitted with, out of an answer of the API: a list of `job_id`, `ending`, `in_place`, `file_path`,
# `absolute_path` and `arguments`, those of abba_submit_job() that stay.
kept_from_json <- function(row) {
  stopifnot(rlang::is_bool(row$ending), rlang::is_bool(row$in_place))
  stopifnot(rlang::is_string(row$file_path), nzchar(row$file_path))
  arguments <- c("user_tag", "cpu_limit", "memory_limit", "container", "auto_mount_home")
  stopifnot(!vapply(row[arguments], is.null, NA))
  list(
    job_id = one_string(row$job_id), ending = row$ending, in_place = row$in_place, file_path = row$file_path,
    absolute_path = if (!is.null(row$absolute_path)) one_string(row$absolute_path),
    arguments = c(row[arguments], list(mounts = row$mounts, time_limit_seconds = row$time_limit_seconds))
  )
}

# The arguments of a submission that is made again.
rerun_arguments <- function(kept, changes, call) {
  arguments <- kept$arguments
  values <- changes$values[setdiff(names(changes$values), "batch_group_id")]
  arguments[names(values)] <- values
  arguments[changes$none] <- list(NULL)
  # With other storage it is the API that says whether a program can run in place.
  same_storage <- !any(c("mounts", "auto_mount_home") %in% c(names(changes$values), changes$none))
  in_place <- if (same_storage) kept$in_place else !is.null(arguments$mounts) || arguments$auto_mount_home
  read_from <- if (same_storage && kept$in_place) NULL else kept$absolute_path %||% kept$file_path
  if (!is.null(read_from) && !grepl("^(/|~|[A-Za-z]:[/\\\\]|\\\\\\\\)", read_from)) {
    # A file of that name in the working directory may be another program.
    abort_record(list(
      class = "invalid",
      message = paste0(
        "Where the program \"", read_from, "\" of job \"", kept$job_id, "\" lies is not known: ",
        "it was not submitted by this package."
      ),
      advice = "Submit it again with abba_submit_job().",
      job_id = kept$job_id
    ), call)
  }
  rlang::exec(
    client_submit_arguments, kept$file_path, !!!arguments,
    read_from = read_from, in_place = in_place, call = call
  )
}
