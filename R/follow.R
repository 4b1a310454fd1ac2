#' Follow the log of a job
#'
#' Prints the lines of a program as it writes them, until it ends.
#'
#' A connection that breaks is taken up again: no line is lost and none is printed
#' twice. When the program has ended, the log is read once more as a whole and compared
#' with what was printed; if lines were missed on the way, which happens where a cluster
#' cuts a very long log, a warning of class `abba_warning_log_incomplete` says so.
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
abba_follow_k8s_job_log_local <- function(
    job_id,
    from = c("start", "now"),
    namespace = getOption("abba.k8s.namespace")) {
  job_id <- check_string(job_id)
  from <- rlang::arg_match(from)
  following <- core_value(core_follow_begin(job_id, from == "now", settings(namespace)))
  on.exit(core_follow_end(following))
  call <- rlang::current_env()
  withCallingHandlers(
    repeat {
      news <- core_value(core_follow_next(following, 1), call)
      if (length(news$lines) > 0L) {
        writeLines(news$lines)
        utils::flush.console()
      }
      if (!is.null(news$log)) {
        return(invisible(news$log))
      }
    },
    interrupt = function(condition) {
      rlang::inform(c(
        "The job goes on without you.",
        i = paste("To follow it again:", call_text("abba_follow_k8s_job_log_local", job_id, NULL, namespace)),
        i = paste("To cancel it:", call_text("abba_cancel_k8s_job_local", job_id, NULL, namespace))
      ), use_cli_format = FALSE)
    }
  )
}
