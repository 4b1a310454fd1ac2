#' Wait for jobs and read their logs, through the abba API
#'
#' [abba_watch_job()] and [abba_get_job_log()] in one, [abba_watch_batch()] and
#' [abba_get_batch_log()] in one, and the submission before them.
#'
#' @inheritParams abba_watch_job
#' @inheritParams abba_get_job_status
#'
#' @return The logs, as of [abba_get_job_log()] and [abba_get_batch_log()], once no job is
#'   `"Pending"` or `"Running"`. They are returned whether the programs have succeeded
#'   or not.
#'
#' @inheritSection abba_watch_job Errors
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' log <- abba_submit_and_get_log("test_programs/test_program.R")
#' writeLines(log[[1]]$log)
#' }
abba_wait_for_job_log <- function(
    job_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait")) {
  job_id <- check_strings(job_id)
  client_watch(
    list(job_id = job_id), poll_interval_seconds, timeout_seconds, on_stuck,
    c("abba_wait_for_job_log", "abba_cancel_job")
  )
  client_log(list(job_id = job_id))
}

#' @rdname abba_wait_for_job_log
#' @export
abba_wait_for_batch_log <- function(
    batch_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait")) {
  batch_id <- check_string(batch_id)
  client_watch(
    list(batch_id = batch_id), poll_interval_seconds, timeout_seconds, on_stuck,
    c("abba_wait_for_batch_log", "abba_cancel_batch")
  )
  client_log(list(batch_id = batch_id))
}

#' @rdname abba_wait_for_job_log
#' @param ... The arguments of [abba_submit_job()].
#' @export
abba_submit_and_get_log <- function(
    ...,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait")) {
  on_stuck <- check_choice(on_stuck, stuck_choices)
  check_client_wait(poll_interval_seconds, timeout_seconds, rlang::current_env())
  job <- abba_submit_job(...)
  abba_wait_for_job_log(job$job_id, poll_interval_seconds, timeout_seconds, on_stuck)
}
