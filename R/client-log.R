#' Log of jobs and batches, through the abba API
#'
#' Reads what programs have printed so far, output and messages in the order in which
#' they were written.
#'
#' @inherit abba_get_k8s_job_log_local details
#' @inheritParams abba_get_job_status
#'
#' @return For `abba_get_job_log()` a list with one element for each job, in the order
#'   of the ids: a list of `job_id`, a string, and `log`, a character vector with one
#'   element a line. For `abba_get_batch_log()` one element for each job of the batch,
#'   in the order of their creation: a list of `pod_id`, a string, the name of the pod
#'   (the job's own id where there is no pod), and `log`.
#'
#' @inheritSection abba_get_k8s_job_log_local The beginning of a long log
#' @inheritSection abba_get_job_status Errors
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' log <- abba_get_job_log(job$job_id)
#' writeLines(log[[1]]$log)
#' }
abba_get_job_log <- function(job_id) {
  client_log(list(job_id = check_strings(job_id)))
}

#' @rdname abba_get_job_log
#' @export
abba_get_batch_log <- function(batch_id) {
  client_log(list(batch_id = check_string(batch_id)))
}
