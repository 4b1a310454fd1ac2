#' Wait for jobs, through the abba API
#'
#' Waits until no job is `"Pending"` or `"Running"`, and returns the status. The API is
#' asked every few seconds. A connection that breaks, a server that restarts or a laptop
#' that sleeps do not end the wait.
#'
#' At an interactive console a line shows how many jobs are in which state. Ctrl-C ends
#' the wait and leaves the jobs alone.
#'
#' @param poll_interval_seconds How long to wait before the API is asked again.
#' @param timeout_seconds After how many seconds the wait ends; `Inf` for never. The
#'   jobs go on.
#' @inheritParams abba_watch_k8s_job_local
#' @inheritParams abba_get_job_status
#'
#' @return The status, as of [abba_get_job_status()].
#'
#' @section Errors:
#' When the time is over, an error of class `abba_error_wait_timeout` is raised. Its
#' field `status` holds the last status, as would have been returned. The classes of
#' other errors are listed in [abba_submit_job()].
#'
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' names(abba_watch_job(job$job_id))
#' }
abba_watch_job <- function(
    job_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait")) {
  job_id <- check_strings(job_id)
  client_watch(
    list(job_id = job_id), poll_interval_seconds, timeout_seconds, on_stuck,
    c("abba_watch_job", "abba_cancel_job")
  )
}

#' @rdname abba_watch_job
#' @param batch_group_id The id of a batch: all its jobs are waited for, those too
#'   that are submitted in the meantime.
#' @export
abba_watch_batch <- function(
    batch_group_id,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait")) {
  batch_group_id <- check_string(batch_group_id)
  client_watch(
    list(batch_id = batch_group_id), poll_interval_seconds, timeout_seconds, on_stuck,
    c("abba_watch_batch", "abba_cancel_batch")
  )
}

#' Submit a program and wait for its end, through the abba API
#'
#' [abba_submit_job()] and [abba_watch_job()] in one.
#'
#' @param ... The arguments of [abba_submit_job()].
#' @inheritParams abba_watch_job
#'
#' @return The status, as of [abba_get_job_status()].
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' abba_submit_job_and_poll("test_programs/test_program.R")
#' }
abba_submit_job_and_poll <- function(
    ...,
    poll_interval_seconds = 3,
    timeout_seconds = 600,
    on_stuck = c("warn", "fail", "wait")) {
  on_stuck <- check_choice(on_stuck, stuck_choices)
  check_client_wait(poll_interval_seconds, timeout_seconds, rlang::current_env())
  job <- abba_submit_job(...)
  abba_watch_job(job$job_id, poll_interval_seconds, timeout_seconds, on_stuck)
}

# Waits for the jobs of `which`. `verbs`: the functions that wait for them and that cancel them.
client_watch <- function(which, poll_interval_seconds, timeout_seconds, on_stuck, verbs, call = rlang::caller_env()) {
  on_stuck <- check_choice(on_stuck, stuck_choices, call = call)
  check_client_wait(poll_interval_seconds, timeout_seconds, call)
  core_value(core_check_which(which), call)
  ids <- which[[1L]]
  wait_for_end(
    client_news(which, max(0.1, poll_interval_seconds), on_stuck, call),
    timeout_seconds, on_stuck, vapply(verbs, call_text, "", ids = ids, USE.NAMES = FALSE), call
  )
}

check_client_wait <- function(poll_interval_seconds, timeout_seconds, call) {
  check_wait(poll_interval_seconds, timeout_seconds, call)
  if (poll_interval_seconds < 0) {
    abort_input("poll_interval_seconds", "must not be negative", poll_interval_seconds, call)
  }
}

# The function of wait_for_end() that gets news from the API, every so many seconds.
client_news <- function(which, interval, on_stuck, call) {
  seen <- FALSE
  due <- -Inf
  obstacles_due <- -Inf
  obstacles <- list()
  known <- character()
  # Once the jobs were seen, an API that is not there is waited for. A try of its own is short, so that the time limit
  # of the wait holds.
  ask <- function(seconds) {
    if (!seen) {
      return(client_status(which, call = call))
    }
    limit <- min(client_seconds(call), max(1, min(10, seconds)))
    tryCatch(
      client_status(which, seconds = limit, call = call),
      abba_error_unavailable = function(cnd) NULL,
      abba_error_timeout = function(cnd) NULL
    )
  }
  function(seconds, last) {
    pause <- due - proc.time()[["elapsed"]]
    if (pause > 0) {
      # Short steps keep the line of the console alive.
      Sys.sleep(max(0, min(pause, seconds, 1)))
      if (proc.time()[["elapsed"]] < due) {
        return(NULL)
      }
    }
    status <- ask(seconds)
    now <- proc.time()[["elapsed"]]
    due <<- now + interval
    if (is.null(status)) {
      return(NULL)
    }
    seen <<- TRUE
    if (on_stuck != "wait" && "Pending" %in% names(status) && now >= obstacles_due) {
      obstacles_due <<- now + max(interval, 10)
      obstacles <<- client_obstacles(which, known, call)
      known <<- c(known, vapply(Filter(function(obstacle) obstacle$is_stuck, obstacles), `[[`, "", "job_id"))
    }
    list(
      status = status,
      counts = lapply(status, function(group) length(group$Jobs)),
      obstacles = if ("Pending" %in% names(status)) obstacles else list(),
      ended = !any(names(status) %in% c("Pending", "Running"))
    )
  }
}

# What keeps jobs from starting, for at most three of them at a time; `known`: those that need not be asked for. A list
# as of core_watch_next(); empty where the API does not say.
client_obstacles <- function(which, known, call) {
  tryCatch(
    {
      jobs <- client_call("GET", "/jobs", list(status = "Pending", batch_id = which$batch_id), call = call)$body
      ids <- string_column(jobs, "job_id")
      # A job that has no pod at all, as under a quota, comes in the list without a reason.
      ids <- ids[order(is.na(string_column(jobs, "reason")))]
      ids <- setdiff(if (is.null(which$job_id)) ids else intersect(ids, which$job_id), known)
      obstacles <- lapply(utils::head(ids, 3L), function(id) {
        why <- client_call("GET", "/explain-job", list(job_id = id), seconds = 10, call = call)$body
        list(
          job_id = id, what = why$reason %||% "", details = why$details %||% "", advice = why$advice %||% "",
          is_stuck = isTRUE(why$is_stuck) && identical(why$status, "Pending")
        )
      })
      # Where Kubernetes says nothing, nothing is in the way.
      Filter(function(obstacle) obstacle$is_stuck || nzchar(obstacle$details), obstacles)
    },
    # The wait does not depend on it.
    abba_error = function(cnd) list()
  )
}
