# Waiting for jobs, on either road.

# What can be done about a job that cannot start; the first is the default.
stuck_choices <- c("warn", "fail", "wait")

# How to wait, checked: a list.
check_wait <- function(poll_interval_seconds, timeout_seconds, on_stuck, call = rlang::caller_env()) {
  on_stuck <- check_choice(on_stuck, stuck_choices, argument = "on_stuck", call = call)
  check_number(poll_interval_seconds, argument = "poll_interval_seconds", call = call)
  valid <- is.numeric(timeout_seconds) && length(timeout_seconds) == 1L &&
    !is.na(timeout_seconds) && timeout_seconds >= 0
  if (!valid) {
    abort_input("timeout_seconds", "must be a number of seconds, or Inf", timeout_seconds, call)
  }
  list(timeout_seconds = timeout_seconds, on_stuck = on_stuck)
}

# Waits until no job of `which` is Pending or Running, and gives back the status.
#
# wait: how, as of check_wait(). expression: what the user gave for the ids.
# verb: the verb that is told to come back to the wait, without the word for what is waited for.
watch_jobs <- function(road, which, wait, expression = NULL, verb = c("watch_job", "watch_batch")) {
  verbs <- if (is.null(which$batch_id)) c(verb[[1L]], "cancel_job") else c(verb[[2L]], "cancel_batch")
  again <- vapply(verbs, road$call_text, "", which[[1L]], expression, which$everybody)
  page <- if (!is.null(which$batch_id)) {
    page_words(road, "batch", which$batch_id)
  } else if (length(which$job_id) == 1L) {
    page_words(road, "job", which$job_id)
  }
  watching <- road$watch(which)
  on.exit(watching$end())
  wait_for_end(watching$next_update, wait$timeout_seconds, wait$on_stuck, again, page, road$call)
}

# Waits until no job is Pending or Running, and gives back the status.
#
# next_update: of a road's watch(), see roads.R.
# again: the calls that come back to the wait and that cancel the jobs, as text. page: where a server shows the jobs, as
# text, or NULL.
wait_for_end <- function(next_update, timeout_seconds, on_stuck, again, page, call) {
  begin <- proc.time()[["elapsed"]]
  line <- status_line(begin)
  on.exit(line$clear(), add = TRUE)
  told <- character()
  last <- NULL
  # After Ctrl-C and at the end of R's own time limit.
  tell_going_on <- function(condition) {
    line$clear()
    rlang::inform(c(
      "The jobs go on without you.",
      i = paste0("To wait for them again: ", again[[1L]]),
      i = paste0("To cancel them: ", again[[2L]]),
      i = page
    ), use_cli_format = FALSE)
  }
  withCallingHandlers(
    repeat {
      elapsed <- proc.time()[["elapsed"]] - begin
      news <- tryCatch(
        next_update(timeout_seconds - elapsed, last),
        abba_error_kubectl = function(cnd) abort_with_call(cnd, again[[1L]])
      )
      if (!is.null(news)) {
        last <- news
        if (news$ended) {
          return(news$status)
        }
        told <- tell_stuck(news$obstacles, on_stuck, told, line, news, call)
      }
      # The first look counts even where there is no time to wait: its status belongs into the error.
      if (!is.null(last) && proc.time()[["elapsed"]] - begin >= timeout_seconds) {
        abort_wait_timeout(last, timeout_seconds, again, page, call)
      }
      line$show(last)
    },
    interrupt = tell_going_on,
    abba_error_time_limit = tell_going_on
  )
}

# Raises an error that ends a wait, with the call that comes back to it: to repeat the user's own might submit again.
abort_with_call <- function(cnd, again) {
  if (!inherits(cnd, c("abba_error_not_found", "abba_error_invalid"))) {
    come_back <- paste("ait for the jobs again with", again)
    told <- gsub("repeat the call", paste0("w", come_back), cnd$message, fixed = TRUE)
    told <- gsub("Repeat the call", paste0("W", come_back), told, fixed = TRUE)
    if (told == cnd$message) {
      told <- paste0(told, "\n", rlang::format_error_bullets(c(i = paste("To wait for them again:", again))))
    }
    cnd$message <- told
  }
  rlang::cnd_signal(cnd)
}

# News of watched jobs, out of what the core or an API says; NULL where there are none.
read_update <- function(update) {
  if (is.null(update)) {
    return(NULL)
  }
  stopifnot(rlang::is_bool(update$ended), is.list(update$counts))
  obstacles <- lapply(update$obstacles, function(obstacle) {
    stopifnot(rlang::is_bool(obstacle$is_stuck))
    c(
      sapply(c("job_id", "what", "details", "advice"), function(name) one_string(obstacle[[name]]), simplify = FALSE),
      list(is_stuck = obstacle$is_stuck)
    )
  })
  list(
    status = read_status(update$status), counts = update$counts, obstacles = obstacles, ended = update$ended
  )
}

abort_wait_timeout <- function(news, timeout_seconds, again, page, call) {
  rlang::abort(
    c(
      paste0("The jobs have not ended within ", timeout_seconds, " seconds: ", count_words(news$counts), "."),
      x = "They go on.",
      i = paste0("To wait longer: ", again[[1L]]),
      i = page
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
    i = if (nzchar(stuck[[1L]]$details)) paste("Kubernetes says:", stuck[[1L]]$details)
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

draws_line <- function() rlang::is_interactive() && cli::is_dynamic_tty()

# One line at an interactive console that is written anew each second; elsewhere
# nothing at all.
status_line <- function(begin) {
  if (!draws_line()) {
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
