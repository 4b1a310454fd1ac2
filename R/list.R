#' Find jobs again
#'
#' Lists the jobs of a namespace: this is how you come back the next day.
#'
#' @param user Whose jobs: a user name, or `NULL` for everybody's.
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
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' abba_list_k8s_jobs_local(user = Sys.info()[["user"]], since = Sys.Date() - 1)
#' abba_list_k8s_jobs_local(status = "Failed")[c("program", "reason")]
#' }
abba_list_k8s_jobs_local <- function(
    user = NULL,
    batch_id = NULL,
    status = NULL,
    since = NULL,
    namespace = getOption("abba.k8s.namespace")) {
  arguments <- list_arguments(user, batch_id, status, since)
  jobs_frame(core_value(core_list(arguments, settings(namespace))))
}

# What a job can be.
job_states <- c("Pending", "Running", "Succeeded", "Failed", "Unknown")

# The arguments of a list of jobs, their R types checked.
list_arguments <- function(user, batch_id, status, since, call = rlang::caller_env()) {
  if (!is.null(status)) {
    status <- check_choice(status, job_states, multiple = TRUE, call = call)
  }
  list(
    user = check_string(user, null = TRUE, call = call),
    batch_id = check_string(batch_id, null = TRUE, call = call),
    status = if (!is.null(status)) I(status),
    since = check_since(since, call)
  )
}

# The data frame of jobs out of rows, whose times are still text.
jobs_frame <- function(rows) {
  texts <- c("job_id", "batch_id", "program", "user", "status", "submitted", "started", "finished")
  columns <- c(
    sapply(texts, string_column, rows = rows, simplify = FALSE),
    list(exit_code = integer_column(rows, "exit_code"), reason = string_column(rows, "reason"))
  )
  for (column in c("submitted", "started", "finished")) {
    columns[[column]] <- from_kubernetes_time(columns[[column]])
  }
  structure(as.data.frame(columns), class = c("abba_jobs", "data.frame"))
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

from_kubernetes_time <- function(text) {
  as.POSIXct(text, format = "%Y-%m-%dT%H:%M:%SZ", tz = "UTC")
}
