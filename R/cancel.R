#' Cancel jobs
#'
#' Ends programs that run, and keeps those that have not started from starting. What
#' a program has printed stays, and so does the record of the job: its status is
#' `"Failed"`, and [abba_explain_k8s_job_local()] and [abba_list_k8s_jobs_local()]
#' say that it was cancelled. It works through `kubectl`, or through the abba API.
#'
#' A program that runs is told to end (SIGTERM), which ends R within a second or two,
#' and made to after 30 seconds. To cancel what has ended, or was cancelled before, is
#' no error. A job that has not started is removed from its queue; where its pod was
#' on the way to a node, it is waited for up to 3 seconds to tell whether the program
#' has begun. A job that a queue of the cluster holds back ends at once.
#'
#' Where a container that the cluster put beside a program goes on after the program's
#' end, cancelling ends it: the job's status and log stay, and its cores are free.
#'
#' @inheritParams abba_get_k8s_job_status_local
#'
#' @return A data frame with one row for each job, in the order of the ids, and the
#'   columns `job_id` and `done`: `"stopped"`, `"kept from starting"`,
#'   `"stops when its node answers"`, `"was cancelled before"` or `"had ended"`. It is returned invisibly, and a message
#'   counts what was done; use [suppressMessages()] to silence it.
#'
#' @section Errors:
#' If some jobs could not be cancelled, the error for the first of them is raised;
#' its field `done` is the data frame of all, with `NA` for those. The classes of
#' errors are listed in [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_local("test_programs/test_program.R")
#' abba_cancel_k8s_job_local(job$job_id)
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' abba_cancel_job(job$job_id)
#' }
abba_cancel_k8s_job_local <- function(
    job_id,
    namespace = getOption("abba.k8s.namespace")) {
  tell_done(road_kubectl(namespace)$cancel(these_jobs(job_id)))
}

#' @rdname abba_cancel_k8s_job_local
#' @export
abba_cancel_job <- function(job_id) {
  tell_done(road_api()$cancel(these_jobs(job_id)))
}

#' @rdname abba_cancel_k8s_job_local
#' @export
abba_cancel_k8s_batch_local <- function(
    batch_id,
    namespace = getOption("abba.k8s.namespace")) {
  tell_done(road_kubectl(namespace)$cancel(this_batch(batch_id)))
}

#' @rdname abba_cancel_k8s_job_local
#' @export
abba_cancel_batch <- function(batch_id, everybody = FALSE) {
  tell_done(road_api()$cancel(this_batch(batch_id, everybody = everybody)))
}

# Gives back what was done for each job, and says how often.
tell_done <- function(done) {
  outcomes <- unique(done$done)
  words <- if (length(outcomes) > 1L) counts_text(done$done) else outcomes
  message(paste(c(counted(nrow(done), "job"), words), collapse = ": "))
  invisible(done)
}

# What was done for each job, out of the core's or an API's rows.
read_done <- function(rows) {
  data.frame(job_id = text_column(rows, "job_id"), done = text_column(rows, "done"))
}
