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
#'   all that are still there, which is about a week, unless `keep_days` or the administrator of the API says otherwise,
#'   and without an end where there is an archive, see [abba_archive()].
#' @param verdict Whether the logs of the jobs that have ended are read for errors and
#'   warnings that R printed, `TRUE` or `FALSE`. See the section below for what it costs.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return A data frame of class `abba_jobs` with one row for each job, the newest first, and the columns
#'   `job_id`, `batch_id`, `program`, `user`, `status` (character), `submitted`,
#'   `started`, `finished` (POSIXct, UTC; `NA` where it has not), `exit_code`
#'   (integer, `NA` while there is none), `reason` (character: why it failed or
#'   waits, else `NA`), `verdict` and `verdict_line` (character, see below; `NA` without
#'   `verdict = TRUE`).
#'
#' @section Verdicts:
#' `verdict` says of a job that has ended how its work went, beside the status, which it
#' never changes: `"clean"`, `"warnings"` or `"errors"`, for what was printed in its log;
#' `"errors"` for a program that failed, and `"killed"` where a signal, the cluster or a
#' lack of memory ended it. `verdict_line` is the first line of the worst kind. Both are
#' `NA` while a program runs, and where its log cannot be read. What is looked for in a log
#' is told in [abba_get_k8s_job_log_local()].
#'
#' For that each log is read whole, several at once: small logs take some milliseconds
#' each, those of many megabytes a second or more. One call reads at most 1,000 logs, the
#' newest jobs first, and an abba API as many as it can in ten seconds; where more are left,
#' their verdicts are `NA`, and a warning of class `abba_warning_verdict_missing` names the
#' jobs. The log of an ended job does not change, so what was found is kept in memory, and
#' the same call again goes on with the next ones. So give `batch_id` or `since` where you
#' can.
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
#'
#' # Which programs of a study are Succeeded, but have to be looked at.
#' jobs <- abba_list_k8s_jobs_local(batch_id = "Study_1.tables", verdict = TRUE)
#' subset(jobs, verdict != "clean", c("program", "status", "verdict", "verdict_line"))
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
    namespace = getOption("abba.k8s.namespace"),
    verdict = FALSE) {
  road_kubectl(namespace)$list(list_arguments(user, batch_id, status, since, verdict))
}

#' @rdname abba_list_k8s_jobs_local
#' @export
abba_list_jobs <- function(user = NULL, batch_id = NULL, status = NULL, since = NULL, verdict = FALSE) {
  road_api()$list(list_arguments(user, batch_id, status, since, verdict))
}

# The arguments of a list of jobs, their R types checked.
list_arguments <- function(user, batch_id, status, since, verdict, call = rlang::caller_env()) {
  list(
    user = check_string(user, null = TRUE, call = call),
    batch_id = check_string(batch_id, null = TRUE, call = call),
    status = if (!is.null(status)) check_choice(status, job_states, multiple = TRUE, call = call),
    since = check_since(since, call),
    verdict = check_flag(verdict, call = call)
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
