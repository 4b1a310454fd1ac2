#' Log of jobs and batches
#'
#' Reads what programs have printed so far, output and messages in the order in
#' which they were written: through `kubectl`, or through the abba API. The logs of many
#' jobs are read several at once.
#'
#' Where a program has not started, its log says why, in lines that begin with
#' `abba: `.
#'
#' Bytes that are no UTF-8 text appear as the replacement character U+FFFD.
#'
#' @inheritParams abba_get_k8s_job_status_local
#'
#' @return For jobs by id a list with one element for each job, in the order of the ids:
#'   a list of `job_id`, a string, and `log`, a character vector with one element a line.
#'   For a batch one element for each job, in the order of their creation: a list of
#'   `pod_id`, a string, the name of the pod (the job's own id where there is no pod), and
#'   `log`.
#'
#' @section The beginning of a long log:
#' A cluster keeps the newest part only of a long log, about 10 MiB unless its
#' administrator set it otherwise. Where the beginning is lost, the log has what
#' is left, and a warning of class `abba_warning_log_incomplete` says so.
#'
#' @section The end of a log:
#' A cluster that loses the connection to a machine in the middle of a log answers as
#' if the log ended there. So for a program that has ended, the end is compared with the
#' newest line of the log and the rest is read again. Where that fails, the log has what
#' is there, and a warning of class `abba_warning_log_incomplete` says that its end is
#' missing. It says so, too, where the machine itself did not keep the end, as when its
#' container runtime was updated meanwhile. Of a program that was killed, as at its memory limit,
#' nobody knows how its log was to end.
#'
#' @section The log of the last start:
#' A program that was started more than once has the log of its last start alone. A warning
#' of class `abba_warning_started_again` says so, see [abba_get_k8s_job_status_local()].
#'
#' @section Many logs:
#' A log that cannot be read does not take the others with it: its `log` is `NA`, and a
#' warning of class `abba_warning_log_unavailable` names its job. Where none of the logs
#' can be read, that is an error.
#'
#' @section Errors in the log of a job that is Succeeded:
#' A job is Succeeded where its program ended with status 0. So is one that went on after
#' an error, as with `options(error = )`, in `try()`, or where a worker of
#' `parallel::mclapply()` was killed. Where R printed an error in the log of such a job,
#' or lost results of workers, a warning of class `abba_warning_log_verdict` names the job
#' and the first such line. R's own warnings raise none: a log that has them is there to be
#' read, and [abba_explain_k8s_job_local()] shows the first of them.
#'
#' @section What is looked for in a log:
#' The default are R's own messages, in all the languages that R speaks. As errors count
#' lines that begin with `Error in ... : `, `Error: `, `Error : `, `Error during wrapup: `,
#' `Fatal error: ` or ` *** caught `, and the line `Execution halted`; as warnings lines that
#' begin with `Warning in ... : `, `Warning: ` or `There were ... warnings (use warnings()`,
#' the lines `Warning message:` and `Warning messages:`, and what the package parallel says
#' of lost workers (`scheduled core 2 did not deliver a result`). R begins no new line for a
#' message: it is found behind what the program has printed without a line end, too, where it
#' names a call or stands behind `...` or `%`. As errors count, too, errors that are printed
#' (`<simpleError in f(): boom>`), failed tests of testthat, a package that `require()` cannot
#' load, a command of `system()` that was killed, the end of a program in C++, Python or Java
#' (`terminate called`, `Traceback`), and `No space left on device`. A figure alone is the
#' program's result (`Error: 0.05`), and so are the strata of `aov()` (`Error: Within`).
#'
#' An error of which a program prints the text alone looks like any other line, as with
#' `tryCatch(..., error = function(e) message(e))`, and an error that it hides, as with
#' `try(..., silent = TRUE)`, leaves no line: such a log is `clean`. Programs that catch errors
#' had better say `warning(e)`, or begin the line with `Error: `.
#'
#' The option `abba.log.patterns` adds to them: a list of the character vectors `errors`,
#' `warnings` and `ignore`, regular expressions each, and of `default`; all may be left out.
#'
#' ```r
#' options(abba.log.patterns = list(
#'   errors = "^ERROR:",
#'   warnings = "^NOTE: .*uninitialized",
#'   ignore = "^Warning messages?:.* was built under R version"
#' ))
#' ```
#'
#' A line that fits an expression of `ignore` counts as neither. The text of R's warnings
#' and of long errors stands on the lines below: `ignore` is compared with the whole
#' message, too, its lines joined by one space (`Warning message: package 'x' was built
#' under R version 4.2.3`). A list of warnings is ignored where each of them is. With
#' `default = FALSE` R's own messages are not looked for, and the option replaces them.
#'
#' Expressions are written as for `grepl(perl = TRUE)`, but without look-around and
#' backreferences, and `\\w`, `\\d`, `\\s` and `(?i)` know ASCII alone: so a line is
#' searched in one pass, whatever it holds. There are at most 100, of at most 1,000
#' characters. One that is wrong is an error of class `abba_error_input`, before anything
#' is sent. Through the abba API the logs are read by the server, whose administrator sets
#' this option there; that of your own session has no effect.
#'
#' @section Errors:
#' A job or a batch that does not exist (any more) raises an error of class
#' `abba_error_not_found`. A log that cannot be read because the machine in the
#' cluster that holds it does not answer raises one of class
#' `abba_error_unavailable`: it is never taken for an empty log. The classes of
#' other errors are listed in [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_local("test_programs/test_program.R")
#' log <- abba_get_k8s_job_log_local(job$job_id)
#' writeLines(log[[1]]$log)
#'
#' logs <- abba_get_k8s_batch_log_local("Study_1.tables")
#' for (log in logs) writeLines(log$log)
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' log <- abba_get_job_log(job$job_id)
#' writeLines(log[[1]]$log)
#' }
abba_get_k8s_job_log_local <- function(
    job_id,
    namespace = getOption("abba.k8s.namespace")) {
  road_kubectl(namespace)$log(these_jobs(job_id))
}

#' @rdname abba_get_k8s_job_log_local
#' @export
abba_get_job_log <- function(job_id) {
  road_api()$log(these_jobs(job_id))
}

#' @rdname abba_get_k8s_job_log_local
#' @export
abba_get_k8s_batch_log_local <- function(
    batch_id,
    namespace = getOption("abba.k8s.namespace")) {
  road_kubectl(namespace)$log(this_batch(batch_id))
}

#' @rdname abba_get_k8s_job_log_local
#' @export
abba_get_batch_log <- function(batch_id, everybody = FALSE) {
  road_api()$log(this_batch(batch_id, everybody = everybody))
}

# The logs of a road's answer, rows of an id, either `log` or `error`, a record, and maybe `warning`, a record. Those
# that could not be read are NA, and a warning names their jobs.
read_logs <- function(rows) {
  raise_warnings(Filter(Negate(is.null), lapply(rows, `[[`, "warning")))
  errors <- Filter(Negate(is.null), lapply(rows, `[[`, "error"))
  if (length(errors) > 0L) {
    ids <- unlist(lapply(errors, `[[`, "job_id"))
    raise_warnings(list(list(
      class = "log_unavailable",
      message = paste0(
        if (length(ids) == 1L) "The log of a job" else paste("The logs of", length(ids), "jobs"),
        " could not be read: ", paste0("\"", ids, "\"", collapse = ", "), "."
      ),
      advice = paste(c(errors[[1L]]$message, errors[[1L]]$advice, errors[[1L]]$details), collapse = " "),
      job_id = ids
    )))
  }
  lapply(rows, function(row) {
    row$log <- row$log %||% NA_character_
    row[setdiff(names(row), c("error", "warning"))]
  })
}

# What is looked for in logs, as the core reads it; NULL for R's own messages and nothing else.
log_patterns_option <- function(call = rlang::caller_env()) {
  patterns <- getOption("abba.log.patterns")
  if (is.null(patterns)) {
    return(NULL)
  }
  if (!is.list(patterns) || (length(patterns) > 0L && is.null(names(patterns)))) {
    abort_input("abba.log.patterns", "must be a list such as list(errors = \"^ERROR:\")", patterns, call)
  }
  if (!all(names(patterns) %in% c("errors", "warnings", "ignore", "default")) || anyDuplicated(names(patterns)) > 0L) {
    abort_input(
      "abba.log.patterns", "must have no elements but `errors`, `warnings`, `ignore` and `default`, each once",
      names(patterns), call
    )
  }
  patterns <- Filter(Negate(is.null), patterns)
  patterns <- Map(function(value, name) {
    argument <- paste0("abba.log.patterns$", name)
    if (name == "default") check_flag(value, argument, call) else I(check_strings(value, argument, call))
  }, patterns, names(patterns))
  if (length(patterns) > 0L) {
    # Before anything is sent.
    core_value(core_check_log_patterns(patterns), call)
    patterns
  }
}
