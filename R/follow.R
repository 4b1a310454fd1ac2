#' Follow the log of a job
#'
#' Prints the lines of a program as it writes them, until it ends: through `kubectl`, or
#' through the abba API, which is asked every two seconds.
#'
#' A connection that breaks is taken up again: no line is lost and none is printed
#' twice. A line is printed when it is whole. When the program has ended, the log is read
#' once more as a whole and compared with what was printed; if lines were missed on the
#' way, which happens where a cluster cuts a very long log, a warning of class
#' `abba_warning_log_incomplete` says so.
#'
#' Ctrl-C ends the printing and leaves the job alone.
#'
#' @param job_id The id of one job. If it has not started yet, it is waited for.
#' @param from `"start"`: from the first line; `"now"`: what comes from now on.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return The whole log, invisibly, as of [abba_get_k8s_job_log_local()].
#'
#' @inheritSection abba_get_k8s_job_log_local Errors
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_local("test_programs/test_program.R")
#' abba_follow_k8s_job_log_local(job$job_id)
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' abba_follow_job_log(job$job_id)
#' }
abba_follow_k8s_job_log_local <- function(
    job_id,
    from = c("start", "now"),
    namespace = getOption("abba.k8s.namespace")) {
  follow_log(road_kubectl(namespace), check_string(job_id), check_choice(from, c("start", "now")))
}

#' @rdname abba_follow_k8s_job_log_local
#' @export
abba_follow_job_log <- function(job_id, from = c("start", "now")) {
  follow_log(road_api(), check_string(job_id), check_choice(from, c("start", "now")))
}

follow_log <- function(road, job_id, from) {
  # Evaluated here: what is wrong with it is said before anything is sent.
  from_now <- from == "now"
  following <- road$follow(job_id, from_now)
  on.exit(following$end())
  # After Ctrl-C and at the end of R's own time limit.
  tell_going_on <- function(condition) {
    rlang::inform(c(
      "The job goes on without you.",
      i = paste("To follow it again:", road$call_text("follow_job_log", job_id)),
      i = paste("To cancel it:", road$call_text("cancel_job", job_id))
    ), use_cli_format = FALSE)
  }
  withCallingHandlers(
    repeat {
      news <- following$next_lines()
      print_lines(news$lines)
      if (!is.null(news$log)) {
        return(invisible(news$log))
      }
    },
    interrupt = tell_going_on,
    abba_error_time_limit = tell_going_on
  )
}

print_lines <- function(lines) {
  if (length(lines) > 0L) {
    writeLines(lines)
    utils::flush.console()
  }
}
