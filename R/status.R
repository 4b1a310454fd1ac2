#' Status of jobs and batches
#'
#' Asks once for the state of any number of jobs, or of all jobs of a batch: the cluster
#' through `kubectl`, or the abba API of your department.
#'
#' `"Pending"` and `"Running"` may change; `"Succeeded"` and `"Failed"` are final.
#' `"Unknown"` means that the machine in the cluster that runs the program does
#' not answer: the program may still be running, and its state is known again when
#' the machine returns.
#'
#' @param job_id The ids of jobs, as the element `job_id` of what
#'   [abba_submit_k8s_job_local()] or [abba_submit_job()] returned: a character vector.
#' @param batch_id The id of a batch, as the column `batch_id` of what
#'   [abba_submit_k8s_batch_local()] or [abba_submit_batch()] returned, or the
#'   `batch_group_id` of your own.
#' @param everybody For operators of the API: `TRUE` for the jobs that everybody has in the
#'   batch. They mean their own otherwise, as all do: others may use a batch id, too.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return A list with one element for each state that occurs, named `Pending`,
#'   `Running`, `Succeeded`, `Failed` or `Unknown`, in the order of the ids (of a batch,
#'   of the jobs' creation). Each is a list of
#'   * `Jobs`: a list with one element for each job, in the same order: a
#'     list of two strings, `id`, the name of the pod (the instance of the
#'     program in the cluster; while there is none, the job's own id), and `path`,
#'     the path of the program as it was given.
#'   * `Description`: what the state means, a string.
#'
#' @section Programs that were started more than once:
#' Where somebody, or a queue of the cluster, suspends a job that runs, Kubernetes removes
#' its pod with the log, and starts the program anew when the job is resumed. A node whose container runtime was
#' killed may make a container anew. A warning of
#' class `abba_warning_started_again` says that this was so, or may have been; its field
#' `job_id` holds the ids of the jobs. On the cluster's road the status of a batch says it
#' always, that of single jobs only where their pods show it: their Jobs are not asked for.
#' [abba_get_k8s_job_log_local()] raises it, too, and [abba_explain_k8s_job_local()] has it
#' as the `reason`.
#'
#' @section Errors:
#' A job or a batch that does not exist (any more), or through the API one that is
#' somebody else's, raises an error of class `abba_error_not_found`, whose field `job_id`
#' holds the ids of all such jobs. The classes of other errors are listed in
#' [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_local("test_programs/test_program.R")
#' status <- abba_get_k8s_job_status_local(job$job_id)
#' names(status)
#'
#' status <- abba_get_k8s_batch_status_local("Study_1.tables")
#' lengths(lapply(status, `[[`, "Jobs"))
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' names(abba_get_job_status(job$job_id))
#' }
abba_get_k8s_job_status_local <- function(
    job_id,
    namespace = getOption("abba.k8s.namespace")) {
  road_kubectl(namespace)$status(these_jobs(job_id))
}

#' @rdname abba_get_k8s_job_status_local
#' @export
abba_get_job_status <- function(job_id) {
  road_api()$status(these_jobs(job_id))
}

#' @rdname abba_get_k8s_job_status_local
#' @export
abba_get_k8s_batch_status_local <- function(
    batch_id,
    namespace = getOption("abba.k8s.namespace")) {
  road_kubectl(namespace)$status(this_batch(batch_id))
}

#' @rdname abba_get_k8s_job_status_local
#' @export
abba_get_batch_status <- function(batch_id, everybody = FALSE) {
  road_api()$status(this_batch(batch_id, everybody = everybody))
}

# The status of jobs out of the core's or an API's groups of jobs by state.
read_status <- function(groups) {
  stopifnot(is.list(groups), names(groups) %in% job_states)
  lapply(groups, function(group) {
    columns <- text_columns(group$Jobs, c("id", "path"))
    stopifnot(!anyNA(columns$id))
    list(Jobs = .mapply(list, columns, NULL), Description = one_string(group$Description))
  })
}
