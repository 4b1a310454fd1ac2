#' Status of jobs
#'
#' Asks the cluster once for the state of any number of jobs.
#'
#' `"Pending"` and `"Running"` may change; `"Succeeded"` and `"Failed"` are final.
#' `"Unknown"` means that the machine in the cluster that runs the program does
#' not answer: the program may still be running, and its state is known again when
#' the machine returns.
#'
#' @param job_id The ids of jobs, as the element `job_id` of what
#'   [abba_submit_k8s_job_local()] returned: a character vector.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return A list with one element for each state that occurs, named `Pending`,
#'   `Running`, `Succeeded`, `Failed` or `Unknown`, in the order of the ids. Each is
#'   a list of
#'   * `Jobs`: a list with one element for each job, in the order of the ids: a
#'     list of two strings, `id`, the name of the pod (the instance of the
#'     program in the cluster; while there is none, the job's own id), and `path`,
#'     the path of the program as it was given.
#'   * `Description`: what the state means, a string.
#'
#' @section Errors:
#' A job that does not exist (any more) raises an error of class
#' `abba_error_not_found`, whose field `job_id` holds the ids of all such jobs. The
#' classes of other errors are listed in [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_local("test_programs/test_program.R")
#' status <- abba_get_k8s_job_status_local(job$job_id)
#' names(status)
#' }
abba_get_k8s_job_status_local <- function(
    job_id,
    namespace = getOption("abba.k8s.namespace")) {
  status_from_json(core_value(core_status(list(job_id = check_strings(job_id)), settings(namespace))))
}
