#' Logs of a batch
#'
#' The log of every job of a batch, as [abba_get_k8s_job_log_local()] gives it for
#' jobs by id. The logs are read several at once.
#'
#' @inheritParams abba_get_k8s_batch_status_local
#'
#' @return A list with one element for each job, in the order of their creation: a
#'   list of `pod_id`, a string, the name of the pod (the job's own id where there
#'   is no pod), and `log`, a character vector with one element a line.
#'
#' @inheritSection abba_get_k8s_job_log_local The beginning of a long log
#' @inheritSection abba_get_k8s_batch_status_local Errors
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' logs <- abba_get_k8s_batch_log_local("Study_1.tables")
#' for (log in logs) writeLines(log$log)
#' }
abba_get_k8s_batch_log_local <- function(
    batch_id,
    namespace = getOption("abba.k8s.namespace")) {
  core_value(core_log(list(batch_id = check_string(batch_id)), settings(namespace)))
}
