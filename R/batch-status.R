#' Status of a batch
#'
#' The state of all jobs of a batch, as [abba_get_k8s_job_status_local()] gives it
#' for jobs by id.
#'
#' @param batch_id The id of a batch, as the column `batch_id` of what
#'   [abba_submit_k8s_batch_local()] returned, or the `batch_group_id` of your own.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @inherit abba_get_k8s_job_status_local return
#'
#' @section Errors:
#' A batch that does not exist (any more) raises an error of class
#' `abba_error_not_found`. The classes of other errors are listed in
#' [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' status <- abba_get_k8s_batch_status_local("Study_1.tables")
#' lengths(lapply(status, `[[`, "Jobs"))
#' }
abba_get_k8s_batch_status_local <- function(
    batch_id,
    namespace = getOption("abba.k8s.namespace")) {
  status_from_json(core_value(core_status(list(batch_id = check_string(batch_id)), settings(namespace))))
}
