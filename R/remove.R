#' Remove jobs that have ended
#'
#' Removes jobs for good, with their pods and **their logs**: read what you want to keep
#' first, with [abba_get_k8s_job_log_local()] or [abba_get_job_log()]. What has ended is
#' removed by the cluster itself a week later; this gives back its place before that. It
#' works through `kubectl`, or through the abba API.
#'
#' Only jobs that have ended are removed. Where one of those that you name has not, none
#' is removed, and the error says which; end it with [abba_cancel_k8s_job_local()] or
#' [abba_cancel_job()] first. A job that was cancelled has ended once its program has, and
#' one whose status is `"Unknown"` may still run.
#'
#' To repeat the call is no error, whatever became of it: what is not there any more is
#' `"gone"`. A job that was submitted anew under the same id in the meantime is never
#' removed.
#'
#' The jobs are your own: those that were submitted under the name of your account here,
#' or under your name through the API. Of a batch that others use, too, yours are
#' removed. To name somebody else's job is an error through `kubectl`, and for an operator
#' of the API; to other callers of the API such a job is `"gone"`.
#'
#' @param everybody `TRUE` to remove jobs that others have submitted, too, or you under
#'   another name. Through the API only its operators may say so.
#' @inheritParams abba_get_k8s_job_status_local
#'
#' @return A data frame with one row for each job, in the order of the ids, and the
#'   columns `job_id` and `done`: `"removed"` or `"gone"`. A batch of which nothing is
#'   left has no rows. It is returned invisibly, and a message counts what was done; use
#'   [suppressMessages()] to silence it.
#'
#' @section Errors:
#' A job that has not ended is an error of class `abba_error_not_ended`, whose field
#' `job_id` names all such jobs. If some jobs could not be removed for another reason, the
#' error for the first of them is raised; its field `done` is the data frame of all, with
#' `NA` for those. The classes of errors are listed in [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_and_poll_local("test_programs/test_program.R")
#'
#' # Those of my jobs that ended before yesterday, their logs kept in files.
#' jobs <- abba_list_k8s_jobs_local(user = Sys.info()[["user"]])
#' old <- subset(jobs, status %in% c("Succeeded", "Failed") & finished < Sys.time() - 24 * 3600)
#' for (log in abba_get_k8s_job_log_local(old$job_id)) writeLines(log$log, paste0(log$job_id, ".log"))
#' abba_remove_k8s_job_local(old$job_id)
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' abba_remove_batch("Study_1.tables")
#' }
abba_remove_k8s_job_local <- function(
    job_id,
    namespace = getOption("abba.k8s.namespace"),
    everybody = FALSE) {
  tell_done(road_kubectl(namespace)$remove(these_jobs(job_id, everybody)))
}

#' @rdname abba_remove_k8s_job_local
#' @export
abba_remove_job <- function(job_id, everybody = FALSE) {
  tell_done(road_api()$remove(these_jobs(job_id, everybody)))
}

#' @rdname abba_remove_k8s_job_local
#' @export
abba_remove_k8s_batch_local <- function(
    batch_id,
    namespace = getOption("abba.k8s.namespace"),
    everybody = FALSE) {
  tell_done(road_kubectl(namespace)$remove(this_batch(batch_id, everybody = everybody)))
}

#' @rdname abba_remove_k8s_job_local
#' @export
abba_remove_batch <- function(batch_id, everybody = FALSE) {
  tell_done(road_api()$remove(this_batch(batch_id, everybody = everybody)))
}
