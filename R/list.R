#' Find jobs again
#'
#' Lists the jobs of a namespace, or your jobs of an abba API: this is how you come back
#' the next day.
#'
#' @param user Whose jobs: a user name, or `NULL` for everybody's; through the API `NULL`
#'   for your own, and for everybody's where you are named as its operator. Only operators
#'   see the jobs of others.
#' @param batch_id The jobs of one batch, or `NULL` for all.
#' @param status The jobs in some states: a character vector out of `"Pending"`,
#'   `"Running"`, `"Succeeded"`, `"Failed"` and `"Unknown"`, or `NULL` for all.
#' @param since The jobs submitted since then: a [Date] or [POSIXct], or `NULL` for
#'   all that are still there, which is about a week.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return A data frame of class `abba_jobs` with one row for each job, the newest first, and the columns
#'   `job_id`, `batch_id`, `program`, `user`, `status` (character), `submitted`,
#'   `started`, `finished` (POSIXct, UTC; `NA` where it has not), `exit_code`
#'   (integer, `NA` while there is none) and `reason` (character: why it failed or
#'   waits, else `NA`).
#'
#' @section Errors:
#' The classes of errors are listed in [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' abba_list_k8s_jobs_local(user = Sys.info()[["user"]], since = Sys.Date() - 1)
#' abba_list_k8s_jobs_local(status = "Failed")[c("program", "reason")]
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' abba_list_jobs(since = Sys.Date() - 1)
#' }
abba_list_k8s_jobs_local <- function(
    user = NULL,
    batch_id = NULL,
    status = NULL,
    since = NULL,
    namespace = getOption("abba.k8s.namespace")) {
  road_kubectl(namespace)$list(list_arguments(user, batch_id, status, since))
}

#' @rdname abba_list_k8s_jobs_local
#' @export
abba_list_jobs <- function(user = NULL, batch_id = NULL, status = NULL, since = NULL) {
  road_api()$list(list_arguments(user, batch_id, status, since))
}

# The arguments of a list of jobs, their R types checked.
list_arguments <- function(user, batch_id, status, since, call = rlang::caller_env()) {
  list(
    user = check_string(user, null = TRUE, call = call),
    batch_id = check_string(batch_id, null = TRUE, call = call),
    status = if (!is.null(status)) check_choice(status, job_states, multiple = TRUE, call = call),
    since = check_since(since, call)
  )
}

# A time as Kubernetes writes it.
check_since <- function(since, call = rlang::caller_env()) {
  if (is.null(since)) {
    return(NULL)
  }
  if (!inherits(since, c("Date", "POSIXct")) || length(since) != 1L || is.na(since)) {
    abort_input("since", "must be a Date or a POSIXct", since, call)
  }
  if (is.infinite(since)) {
    abort_input("since", "must be finite", NULL, call)
  }
  if (inherits(since, "Date")) {
    # Midnight here, not in Greenwich.
    since <- as.POSIXct(format(since))
  }
  format(since, "%Y-%m-%dT%H:%M:%SZ", tz = "UTC")
}
