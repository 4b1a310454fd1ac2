#' Follow the log of a job, through the abba API
#'
#' Prints the lines of a program as it writes them, until it ends. The API is asked every
#' two seconds.
#'
#' A line is printed when it is whole. When the program has ended, the log is read once
#' more; if lines were missed on the way, which happens where a cluster cuts a very long
#' log, a warning of class `abba_warning_log_incomplete` says so.
#'
#' Ctrl-C ends the printing and leaves the job alone.
#'
#' @inheritParams abba_follow_k8s_job_log_local
#'
#' @return The whole log, invisibly, as of [abba_get_job_log()].
#'
#' @inheritSection abba_get_job_status Errors
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' abba_follow_job_log(job$job_id)
#' }
abba_follow_job_log <- function(job_id, from = c("start", "now")) {
  job_id <- check_string(job_id)
  from <- check_choice(from, c("start", "now"))
  telling_how_to_return(
    job_id, c("abba_follow_job_log", "abba_cancel_job"),
    invisible(client_follow(job_id, from == "now", rlang::current_env()))
  )
}

# An option for tests alone: a followed log must not ask more often than a watched job.
follow_interval_seconds <- function() getOption("abba.api.follow.interval", 2)

client_follow <- function(job_id, from_now, call) {
  which <- list(job_id = job_id)
  ask <- client_news(which, follow_interval_seconds(), "wait", call)
  seen <- character()
  repeat {
    # The status first: a log that is read after the end is whole.
    news <- ask(Inf)
    if (is.null(news)) {
      next
    }
    if (news$ended) {
      break
    }
    if (names(news$status)[[1L]] == "Pending") {
      # What the API gives as its log now is why it has not started.
      from_now <- FALSE
      next
    }
    fresh <- if (from_now) whole_lines(client_log(which, call)[[1L]]$log) else lines_after(which, length(seen), call)
    if (!from_now) {
      print_lines(fresh)
    }
    seen <- c(seen, fresh)
    from_now <- FALSE
  }
  log <- client_log(which, call)
  lines <- log[[1L]]$log
  if (from_now) {
    return(log)
  }
  if (identical(seen, lines[seq_along(seen)])) {
    print_lines(lines[seq_along(lines) > length(seen)])
  } else {
    raise_warnings(list(list(
      class = "log_incomplete",
      message = "Lines were missed while the log was followed.",
      advice = "The list that is returned has all that is left of it.",
      job_id = job_id
    )))
  }
  log
}

# The last line may still be written.
whole_lines <- function(lines) {
  lines[-length(lines)]
}

# The whole lines after the first `count` ones; none where the API cannot say so now.
lines_after <- function(which, count, call) {
  answer <- tryCatch(
    client_ask("/job-log", which, page = paste0("0.", count), seconds = 10, call = call),
    abba_error_unavailable = function(cnd) NULL,
    abba_error_timeout = function(cnd) NULL
  )
  if (is.null(answer)) {
    return(character())
  }
  logs <- reading("/job-log", logs_from_json(answer$body, "job_id"), call)
  if (length(logs) == 0L) character() else whole_lines(logs[[1L]]$lines)
}
