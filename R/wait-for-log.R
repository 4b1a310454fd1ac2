#' Wait for jobs and read their logs, through the abba API
#'
#' [abba_watch_job()] and [abba_get_job_log()] in one, [abba_watch_batch()] and
#' [abba_get_batch_log()] in one, and the submission before them.
#'
#' @inheritParams abba_watch_k8s_job_local
#' @inheritParams abba_get_k8s_job_status_local
#'
#' @return The logs, as of [abba_get_job_log()] and [abba_get_batch_log()], once no job is
#'   `"Pending"` or `"Running"`. They are returned whether the programs have succeeded
#'   or not.
#'
#' @inheritSection abba_watch_k8s_job_local Errors
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
  wait <- check_wait(poll_interval_seconds, timeout_seconds, on_stuck)
  wait_for_log(road_api(), these_jobs(job_id), wait)
}

#' @rdname abba_wait_for_job_log
#' @export
abba_wait_for_batch_log <- function(
    batch_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait"),
    everybody = FALSE) {
  wait <- check_wait(poll_interval_seconds, timeout_seconds, on_stuck)
  wait_for_log(road_api(), this_batch(batch_id, everybody = everybody), wait)
}

#' @rdname abba_wait_for_job_log
#' @param ... The arguments of [abba_submit_job()].
#' @export
abba_submit_and_get_log <- function(
    ...,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait")) {
  wait <- check_wait(poll_interval_seconds, timeout_seconds, on_stuck)
  job <- abba_submit_job(...)
  wait_for_log(road_api(), these_jobs(job$job_id), wait)
}

wait_for_log <- function(road, which, wait) {
  watch_jobs(road, which, wait, verb = c("wait_for_job_log", "wait_for_batch_log"))
  road$log(which)
}
