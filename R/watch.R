#' Wait for jobs
#'
#' Waits until no job is `"Pending"` or `"Running"`, and returns the status.
#'
#' The cluster says when something changes; it is not asked again and again. A
#' connection that breaks, a server that restarts or a laptop that sleeps do not end
#' the wait.
#'
#' At an interactive console a line shows how many jobs are in which state, and
#' what a job waits for. Ctrl-C ends the wait and leaves the jobs alone.
#'
#' @param poll_interval_seconds Has no effect: there is no polling. It is there for
#'   programs that give it.
#' @param timeout_seconds After how many seconds the wait ends; `Inf` for never. The
#'   jobs go on.
#' @param on_stuck What to do when something keeps a job from starting that does
#'   not heal by itself, such as an image that does not exist: `"warn"` once and
#'   wait, `"fail"` with an error of class `abba_error_stuck`, or `"wait"` in
#'   silence. The jobs stay as they are in any case.
#' @inheritParams abba_get_k8s_job_status_local
#'
#' @return The status, as of [abba_get_k8s_job_status_local()].
#'
#' @section What cannot heal:
#' Something keeps a job from starting for good where its image does not exist or may
#' not be pulled, its container cannot be made, the namespace lacks the service
#' account or does not allow the limits, or no node of the cluster is large enough for
#' them. The last is known from the scheduler's words, which tell it since Kubernetes
#' 1.32. It can heal on a cluster that adds nodes by itself: once that is under way it
#' counts no more, but it may count before; use `"warn"` there.
#'
#' A full cluster, a quota that is used up, or a registry that does not answer are
#' waited for.
#'
#' @section Errors:
#' When the time is over, an error of class `abba_error_wait_timeout` is raised. Its
#' field `status` holds the last status, as would have been returned. If somebody
#' removes jobs before they have ended, the others are waited for, and then an error of
#' class `abba_error_not_found` names those jobs; it has the field `status` too. The
#' classes of other errors are listed in [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_local("test_programs/test_program.R")
#' status <- abba_watch_k8s_job_local(job$job_id)
#' names(status)
#' }
abba_watch_k8s_job_local <- function(
    job_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait"),
    namespace = getOption("abba.k8s.namespace")) {
  expression <- rlang::enexpr(job_id)
  job_id <- check_strings(job_id)
  watch_jobs(
    list(job_id = job_id), poll_interval_seconds, timeout_seconds, on_stuck, namespace,
    again = c(
      call_text("abba_watch_k8s_job_local", job_id, expression, namespace),
      call_text("abba_cancel_k8s_job_local", job_id, expression, namespace)
    )
  )
}

#' @rdname abba_watch_k8s_job_local
#' @param batch_group_id The id of a batch: all its jobs are waited for, those too
#'   that are submitted in the meantime.
#' @export
abba_watch_k8s_batch_local <- function(
    batch_group_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait"),
    namespace = getOption("abba.k8s.namespace")) {
  batch_group_id <- check_string(batch_group_id)
  watch_jobs(
    list(batch_id = batch_group_id), poll_interval_seconds, timeout_seconds, on_stuck, namespace,
    again = c(
      call_text("abba_watch_k8s_batch_local", batch_group_id, NULL, namespace),
      call_text("abba_cancel_k8s_batch_local", batch_group_id, NULL, namespace)
    )
  )
}

#' Submit a program and wait for its end
#'
#' [abba_submit_k8s_job_local()] and [abba_watch_k8s_job_local()] in one.
#'
#' @param ... The arguments of [abba_submit_k8s_job_local()].
#' @inheritParams abba_watch_k8s_job_local
#'
#' @return The status, as of [abba_get_k8s_job_status_local()].
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' abba_submit_k8s_job_and_poll_local("test_programs/test_program.R")
#' }
abba_submit_k8s_job_and_poll_local <- function(
    ...,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait"),
    namespace = getOption("abba.k8s.namespace")) {
  on_stuck <- check_choice(on_stuck, stuck_choices)
  check_wait(poll_interval_seconds, timeout_seconds, rlang::current_env())
  job <- abba_submit_k8s_job_local(..., namespace = namespace)
  abba_watch_k8s_job_local(
    job$job_id, poll_interval_seconds, timeout_seconds, on_stuck, namespace
  )
}

# What can be done about a job that cannot start; the first is the default.
stuck_choices <- c("warn", "fail", "wait")

# Waits for the jobs of `which`. `again`: the calls that come back to them and that
# cancel them, as text.
watch_jobs <- function(
    which, poll_interval_seconds, timeout_seconds, on_stuck, namespace, again,
    call = rlang::caller_env()) {
  on_stuck <- check_choice(on_stuck, stuck_choices, call = call)
  check_wait(poll_interval_seconds, timeout_seconds, call)
  settings <- settings(namespace, call)
  watching <- core_value(core_watch_begin(which, settings), call)
  on.exit(core_watch_end(watching))
  next_news <- function(seconds, last) {
    answer <- core_watch_next(watching, max(0.05, min(1, seconds)))
    if (!is.null(answer$error)) {
      abort_record(answer$error, call, status = last$status)
    }
    news <- core_value(answer, call)
    # Where the last job was removed while it was watched, none is left.
    if (length(news$status) > 0L) {
      news$status <- status_from_json(news$status)
    }
    news
  }
  wait_for_end(next_news, timeout_seconds, on_stuck, again, call)
}

# Waits until no job is Pending or Running, and gives back the status.
#
# next_news: a function of a number of seconds and of the last news that waits for news, about a second and at most
#   those seconds, and gives back the list of core_watch_next() or NULL.
wait_for_end <- function(next_news, timeout_seconds, on_stuck, again, call) {
  begin <- proc.time()[["elapsed"]]
  line <- status_line(begin)
  on.exit(line$clear(), add = TRUE)
  told <- character()
  last <- NULL
  withCallingHandlers(
    repeat {
      elapsed <- proc.time()[["elapsed"]] - begin
      news <- next_news(timeout_seconds - elapsed, last)
      if (!is.null(news)) {
        last <- news
        if (news$ended) {
          return(news$status)
        }
        told <- tell_stuck(news$obstacles, on_stuck, told, line, news, call)
      }
      # The first look counts even where there is no time to wait: its status belongs into the error.
      if (!is.null(last) && proc.time()[["elapsed"]] - begin >= timeout_seconds) {
        abort_wait_timeout(last, timeout_seconds, again, call)
      }
      line$show(last)
    },
    interrupt = function(condition) {
      line$clear()
      rlang::inform(c(
        "The jobs go on without you.",
        i = paste0("To wait for them again: ", again[[1L]]),
        i = paste0("To cancel them: ", again[[2L]])
      ), use_cli_format = FALSE)
    }
  )
}

check_wait <- function(poll_interval_seconds, timeout_seconds, call) {
  check_number(poll_interval_seconds, argument = "poll_interval_seconds", call = call)
  valid <- is.numeric(timeout_seconds) && length(timeout_seconds) == 1L &&
    !is.na(timeout_seconds) && timeout_seconds >= 0
  if (!valid) {
    abort_input("timeout_seconds", "must be a number of seconds, or Inf", timeout_seconds, call)
  }
}

abort_wait_timeout <- function(news, timeout_seconds, again, call) {
  rlang::abort(
    c(
      paste0("The jobs have not ended within ", timeout_seconds, " seconds: ", count_words(news$counts), "."),
      x = "They go on.",
      i = paste0("To wait longer: ", again[[1L]])
    ),
    class = c("abba_error_wait_timeout", "abba_error_timeout", "abba_error"),
    call = call, use_cli_format = FALSE, status = news$status
  )
}

# Says once for each job what keeps it from starting for good; gives back the jobs
# that have been told of.
tell_stuck <- function(obstacles, on_stuck, told, line, news, call) {
  stuck <- Filter(function(obstacle) obstacle$is_stuck && !obstacle$job_id %in% told, obstacles)
  if (length(stuck) == 0L || on_stuck == "wait") {
    return(told)
  }
  line$clear()
  ids <- vapply(stuck, `[[`, "", "job_id")
  words <- c(
    stuck[[1L]]$what,
    x = paste0("Job ", ids[[1L]], if (length(ids) > 1L) paste0(" and ", length(ids) - 1L, " more"), " cannot start."),
    i = stuck[[1L]]$advice,
    i = paste("Kubernetes says:", stuck[[1L]]$details)
  )
  if (on_stuck == "fail") {
    rlang::abort(
      words,
      class = c("abba_error_stuck", "abba_error"), call = call,
      use_cli_format = FALSE, job_id = ids, status = news$status
    )
  }
  # R would keep the warning until the wait is over, which may be in the morning.
  rlang::local_options(warn = max(1L, getOption("warn")))
  rlang::warn(words, class = c("abba_warning_stuck", "abba_warning"), use_cli_format = FALSE, job_id = ids)
  c(told, ids)
}

count_words <- function(counts) {
  paste(unlist(counts), names(counts), collapse = ", ")
}

# What the status line says: the seconds since the wait began, how many jobs are in
# each status, and, where one has waited longer than a moment, why it does not start.
# `news` is NULL before the first answer of the cluster.
status_text <- function(elapsed, news) {
  elapsed <- round(elapsed)
  if (is.null(news)) {
    return(paste0(elapsed, " s: asking the cluster"))
  }
  text <- paste0(elapsed, " s: ", count_words(news$counts))
  if (elapsed >= 3 && length(news$obstacles) > 0L) {
    text <- paste0(text, " - ", news$obstacles[[1L]]$what)
  }
  text
}

# One line at an interactive console that is written anew each second; elsewhere
# nothing at all.
status_line <- function(begin) {
  if (!rlang::is_interactive() || !cli::is_dynamic_tty()) {
    return(list(show = function(news) NULL, clear = function() NULL))
  }
  bar <- NULL
  list(
    show = function(news) {
      text <- status_text(proc.time()[["elapsed"]] - begin, news)
      if (is.null(bar)) {
        bar <<- cli::cli_progress_bar(
          format = "{cli::pb_spin} {cli::pb_status}", clear = TRUE, .auto_close = FALSE
        )
      }
      cli::cli_progress_update(id = bar, status = text, force = TRUE)
    },
    clear = function() {
      if (!is.null(bar)) {
        cli::cli_progress_done(id = bar)
        bar <<- NULL
      }
    }
  )
}

# A call of one of the package's functions with these ids, as text to be copied. Many ids stand as the expression that
# the user gave for them.
call_text <- function(name, ids, expression = NULL, namespace = getOption("abba.k8s.namespace")) {
  arguments <- if (length(ids) > 3L) {
    rlang::expr_name(if (is.null(expression)) quote(job_id) else expression)
  } else {
    paste(deparse(ids, width.cutoff = 500L), collapse = "")
  }
  if (!identical(namespace, getOption("abba.k8s.namespace"))) {
    arguments <- paste0(arguments, ", namespace = ", deparse(namespace))
  }
  paste0(name, "(", arguments, ")")
}
