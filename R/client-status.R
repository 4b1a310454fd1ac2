#' Status of jobs and batches, through the abba API
#'
#' Asks the abba API for the state of any number of jobs of yours, or of all jobs of a
#' batch.
#'
#' @inherit abba_get_k8s_job_status_local details
#' @param job_id The ids of jobs, as the element `job_id` of what [abba_submit_job()]
#'   returned: a character vector.
#'
#' @inherit abba_get_k8s_job_status_local return
#'
#' @section Errors:
#' A job or a batch that does not exist (any more), or that is somebody else's, raises an
#' error of class `abba_error_not_found`. The classes of other errors are listed in
#' [abba_submit_job()].
#'
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' names(abba_get_job_status(job$job_id))
#' }
abba_get_job_status <- function(job_id) {
  client_status(list(job_id = check_strings(job_id)))
}

#' @rdname abba_get_job_status
#' @param batch_id The id of a batch, as the column `batch_id` of what
#'   [abba_submit_batch()] returned, or the `batch_group_id` of your own.
#' @export
abba_get_batch_status <- function(batch_id) {
  client_status(list(batch_id = check_string(batch_id)))
}
