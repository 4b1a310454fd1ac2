#' Wait for jobs
#'
#' Waits until no job is `"Pending"` or `"Running"`, and returns the status: through
#' `kubectl`, or through the abba API.
#'
#' The cluster, or the API, says when something changes; it is not asked again and again.
#' A connection that breaks, a server that restarts or a laptop that sleeps do not end the
#' wait.
#'
#' Programs of a plan that wait for others ([abba_plan()]) are started in their turn for as long
#' as the wait lasts, those of the whole batch.
#'
#' At an interactive console a line shows how many jobs are in which state, and
#' what a job waits for. Ctrl-C ends the wait and leaves the jobs alone.
#'
#' @param batch_group_id The id of a batch: all its jobs are waited for, those too
#'   that are submitted in the meantime.
#' @param poll_interval_seconds Has no effect: there is no polling. It is there for
#'   programs that give it.
#' @param timeout_seconds After how many seconds the wait ends; `Inf` for never. The
#'   jobs go on.
#' @param on_stuck What to do when something keeps a job from starting that does
#'   not heal by itself, such as an image that does not exist: `"warn"` once and
#'   wait, `"fail"` with an error of class `abba_error_stuck`, or `"wait"` in
#'   silence. The jobs stay as they are in any case.
#' @inheritParams abba_get_k8s_job_status_local
#'
#' @return The status, as of [abba_get_k8s_job_status_local()].
#'
#' @section What cannot heal:
#' Something keeps a job from starting for good where its image does not exist or may
#' not be pulled, its container cannot be made, the namespace lacks the service
#' account or does not allow the limits, or no node of the cluster is large enough for
#' them. The last is known from the scheduler's words, which tell it since Kubernetes
#' 1.32. It can heal on a cluster that adds nodes by itself: once that is under way it
#' counts no more, but it may count before; use `"warn"` there.
#'
#' A full cluster, a quota that is used up, or a registry that does not answer are
#' waited for.
#'
#' @section Errors:
#' When the time is over, an error of class `abba_error_wait_timeout` is raised. Its
#' field `status` holds the last status, as would have been returned. If somebody
#' removes jobs before they have ended, the others are waited for, and then an error of
#' class `abba_error_not_found` names those jobs; it has the field `status` too. The
#' classes of other errors are listed in [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_local("test_programs/test_program.R")
#' status <- abba_watch_k8s_job_local(job$job_id)
#' names(status)
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' names(abba_watch_job(job$job_id))
#' }
abba_watch_k8s_job_local <- function(
    job_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait"),
    namespace = getOption("abba.k8s.namespace")) {
  expression <- rlang::enexpr(job_id)
  wait <- check_wait(poll_interval_seconds, timeout_seconds, on_stuck)
  watch_jobs(road_kubectl(namespace), these_jobs(job_id), wait, expression)
}

#' @rdname abba_watch_k8s_job_local
#' @export
abba_watch_job <- function(
    job_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait")) {
  expression <- rlang::enexpr(job_id)
  wait <- check_wait(poll_interval_seconds, timeout_seconds, on_stuck)
  watch_jobs(road_api(), these_jobs(job_id), wait, expression)
}

#' @rdname abba_watch_k8s_job_local
#' @export
abba_watch_k8s_batch_local <- function(
    batch_group_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait"),
    namespace = getOption("abba.k8s.namespace")) {
  wait <- check_wait(poll_interval_seconds, timeout_seconds, on_stuck)
  watch_jobs(road_kubectl(namespace), this_batch(batch_group_id, "batch_group_id"), wait)
}

#' @rdname abba_watch_k8s_job_local
#' @export
abba_watch_batch <- function(
    batch_group_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait"),
    everybody = FALSE) {
  wait <- check_wait(poll_interval_seconds, timeout_seconds, on_stuck)
  watch_jobs(road_api(), this_batch(batch_group_id, "batch_group_id", everybody), wait)
}

#' Submit a program and wait for its end
#'
#' [abba_submit_k8s_job_local()] and [abba_watch_k8s_job_local()] in one;
#' [abba_submit_job()] and [abba_watch_job()] in one.
#'
#' @param ... The arguments of [abba_submit_k8s_job_local()], or of [abba_submit_job()].
#' @inheritParams abba_watch_k8s_job_local
#'
#' @return The status, as of [abba_get_k8s_job_status_local()].
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' abba_submit_k8s_job_and_poll_local("test_programs/test_program.R")
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' abba_submit_job_and_poll("test_programs/test_program.R")
#' }
abba_submit_k8s_job_and_poll_local <- function(
    ...,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait"),
    namespace = getOption("abba.k8s.namespace")) {
  wait <- check_wait(poll_interval_seconds, timeout_seconds, on_stuck)
  job <- abba_submit_k8s_job_local(..., namespace = namespace)
  watch_jobs(road_kubectl(namespace), these_jobs(job$job_id), wait)
}

#' @rdname abba_submit_k8s_job_and_poll_local
#' @export
abba_submit_job_and_poll <- function(
    ...,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait")) {
  wait <- check_wait(poll_interval_seconds, timeout_seconds, on_stuck)
  job <- abba_submit_job(...)
  watch_jobs(road_api(), these_jobs(job$job_id), wait)
}
