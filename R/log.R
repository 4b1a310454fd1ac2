#' Log of jobs
#'
#' Reads what programs have printed so far, output and messages in the order in
#' which they were written.
#'
#' Where a program has not started, its log says why, in lines that begin with
#' `abba: `.
#'
#' Bytes that are no UTF-8 text appear as the replacement character U+FFFD.
#'
#' @inheritParams abba_get_k8s_job_status_local
#'
#' @return A list with one element for each job, in the order of the ids: a list
#'   of `job_id`, a string, and `log`, a character vector with one element a line.
#'
#' @section The beginning of a long log:
#' A cluster keeps the newest part only of a long log, about 10 MiB unless its
#' administrator set it otherwise. Where the beginning is lost, the log has what
#' is left, and a warning of class `abba_warning_log_incomplete` says so.
#'
#' @section Errors:
#' A job that does not exist (any more) raises an error of class
#' `abba_error_not_found`. A log that cannot be read because the machine in the
#' cluster that holds it does not answer raises one of class
#' `abba_error_unavailable`: it is never taken for an empty log. The classes of
#' other errors are listed in [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_local("test_programs/test_program.R")
#' log <- abba_get_k8s_job_log_local(job$job_id)
#' writeLines(log[[1]]$log)
#' }
abba_get_k8s_job_log_local <- function(
    job_id,
    namespace = getOption("abba.k8s.namespace")) {
  core_value(core_log(list(job_id = check_strings(job_id)), settings(namespace)))
}
