#' Find jobs again, through the abba API
#'
#' Lists your jobs: this is how you come back the next day.
#'
#' @param user Whose jobs: a user name; `NULL` for your own, and for everybody's where
#'   you are named as operator of the API. Only operators see the jobs of others.
#' @inheritParams abba_list_k8s_jobs_local
#' @inherit abba_list_k8s_jobs_local return
#'
#' @section Errors:
#' The classes of errors are listed in [abba_submit_job()].
#'
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' abba_list_jobs(since = Sys.Date() - 1)
#' abba_list_jobs(status = "Failed")[c("program", "reason")]
#' }
abba_list_jobs <- function(user = NULL, batch_id = NULL, status = NULL, since = NULL) {
  call <- rlang::current_env()
  arguments <- list_arguments(user, batch_id, status, since)
  if (!is.null(arguments$status)) {
    arguments$status <- paste(arguments$status, collapse = ",")
  }
  answer <- client_call("GET", "/jobs", arguments)
  reading("/jobs", jobs_frame(answer$body), call)
}
