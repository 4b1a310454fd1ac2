# The functions of the road over an abba API: paths, keys and pages.
api_functions <- function(call, submit_verb) {
  list(
    status = function(which) client_status(which, call = call),
    log = function(which) client_log(which, call = call),
    cancel = function(which) client_done("/cancel-job", which, call),
    remove = function(which) client_done("/remove-job", which, call),
    list = function(arguments) {
      if (!is.null(arguments$status)) arguments$status <- paste(arguments$status, collapse = ",")
      verdict <- arguments$verdict
      # An abba API that knows no verdicts is asked for none.
      arguments$verdict <- if (verdict) "true"
      answer <- client_call("GET", "/jobs", arguments, call = call)
      reading("/jobs", jobs_frame(answer$body, verdict), call)
    },
    jobs_of_batch = function(which) {
      # An operator means their own, unless they say otherwise.
      me <- client_call("GET", "/whoami", call = call)$body
      user <- if (isTRUE(me$operator) && !isTRUE(which$everybody)) one_string(me$user)
      answer <- client_call("GET", "/jobs", list(batch_id = which$batch_id, user = user), call = call)
      reading("/jobs", jobs_frame(answer$body, FALSE), call)
    },
    records = function(job_ids) lapply(job_ids, client_record, call = call),
    explain = function(job_id) {
      answer <- client_ask("/explain-job", list(job_id = job_id), call = call)
      reading("/explain-job", read_explanation(answer$body, submit_verb), call)
    },
    watch = function(which) {
      core_value(core_check_which(jobs_of(which)), call)
      list(next_update = client_updates(which, longest_wait(), call), end = function() NULL)
    },
    follow = function(job_id, from_now) {
      list(next_lines = client_lines(list(job_id = job_id), from_now, call), end = function() NULL)
    },
    prepare = function(submissions) {
      programs <- lapply(submissions, api_submission, call = call)
      batch_ids <- vapply(submissions, `[[`, "", "batch_group_id")
      texts <- vapply(programs, function(program) core_value(core_json(program), call), "")
      parts <- requests_in_order(nchar(texts, "bytes"), batch_ids, programs)
      if (length(parts) > 1L) {
        check_programs(programs, call)
      }
      ready <- Map(
        function(program, text, batch_id) list(job_id = program$job_id, text = text, batch_id = batch_id),
        programs, texts, batch_ids
      )
      list(ready = unname(ready), parts = parts)
    },
    submit = function(ready) {
      ids <- vapply(ready, `[[`, "", "job_id")
      body <- paste0(
        "{\"batch_group_id\":", core_value(core_json(ready[[1L]]$batch_id), call),
        ",\"programs\":[", paste(vapply(ready, `[[`, "", "text"), collapse = ","), "]}"
      )
      rows <- tryCatch(
        client_call(
          "POST", "/submit-batch",
          body = body, call = call, new_jobs = ids, fields = function(body) list(batch = body$batch)
        )$body,
        abba_error_batch_incomplete = function(condition) condition$batch
      )
      reading("/submit-batch", read_outcomes(rows, ids), call)
    },
    submit_one = function(ready) {
      body <- sub("^[{]", paste0("{\"batch_group_id\":", core_value(core_json(ready$batch_id), call), ","), ready$text)
      answer <- client_call("POST", "/submit-job", body = body, call = call, new_jobs = ready$job_id)
      reading(
        "/submit-job", stopifnot(identical(answer$body$job_id, ready$job_id)), call,
        paste0("The job was probably created: ", call_text("abba_get_job_status", ready$job_id), " shows it then.")
      )
      TRUE
    },
    kept_submissions = function(batch_id, states) {
      states <- if (!is.null(states)) paste(states, collapse = ",")
      answer <- client_call("GET", "/batch-arguments", list(batch_id = batch_id, status = states), call = call)
      reading("/batch-arguments", lapply(answer$body, kept_from_json), call)
    }
  )
}

# Does something to jobs: the data frame of what was done for each.
client_done <- function(path, which, call) {
  core_value(core_check_which(jobs_of(which)), call)
  answer <- client_call(
    "POST", path,
    body = core_value(core_json(which), call), call = call,
    fields = function(body) {
      if (is.list(body$done)) list(done = reading(path, read_done(body$done), call))
    }
  )
  reading(path, read_done(answer$body), call)
}

# What one request carries at most; the bytes leave room below the 4 MiB that an API takes.
programs_of_request <- 50L
bytes_of_request <- 4 * 1024^2 - 64 * 1024

# Divides programs with so many bytes into requests, each for one batch: a list of their numbers.
requests_of <- function(bytes, batch_ids) {
  requests <- list()
  begin <- 1L
  while (begin <= length(bytes)) {
    rest <- seq(begin, length(bytes))
    fit <- cumsum(bytes[rest]) <= bytes_of_request & seq_along(rest) <= programs_of_request &
      cumsum(batch_ids[rest] != batch_ids[[begin]]) == 0L
    # Of one that is too large the API says so.
    fit[[1L]] <- TRUE
    requests <- c(requests, list(rest[fit]))
    begin <- begin + sum(fit)
  }
  requests
}

# The same so that no request names a program of a later one in `after`: the API knows those that are there, or in the
# same request.
requests_in_order <- function(bytes, batch_ids, programs) {
  ids <- vapply(programs, `[[`, "", "job_id")
  before <- lapply(programs, function(program) {
    rows <- match(names(program$after), ids)
    rows[!is.na(rows)]
  })
  order <- order(levels_of(before))
  lapply(requests_of(bytes[order], batch_ids[order]), function(part) order[part])
}

# The length of the longest way to each program; NA for those that wait for each other, which the API refuses. `before`:
# for each the numbers of those that it runs after.
levels_of <- function(before) {
  count <- length(before)
  followers <- split(rep(seq_len(count), lengths(before)), factor(unlist(before), seq_len(count)))
  open <- lengths(before)
  level <- rep(NA_integer_, count)
  ready <- which(open == 0L)
  now <- 0L
  while (length(ready) > 0L) {
    level[ready] <- now
    ended <- tabulate(unlist(followers[ready]), count)
    open <- open - ended
    ready <- which(ended > 0L & open == 0L)
    now <- now + 1L
  }
  level
}

# The API checks values, but a request at a time: where there are several, the core checks all of them before.
check_programs <- function(programs, call) {
  carried <- !vapply(programs, function(program) is.null(c(program$program_text, program$program_base64)), NA)
  # The home's server is the API's to choose, too.
  others <- c("file_path", "absolute_path", "program_text", "program_base64", "container", "auto_mount_home")
  core_value(core_check_submissions(unname(lapply(programs[carried], function(program) {
    path <- program$absolute_path %||% program$file_path
    # A container that is not given is the API's to choose.
    c(
      list(given_path = path, expanded_path = path, container = program$container %||% "image"),
      program[setdiff(names(program), others)]
    )
  }))), call)
}

# The arguments of a submission as the API wants them, the program read. What an argument may be is checked by the API.
api_submission <- function(submission, call) {
  if (is.list(submission$job_template)) {
    abort_input(
      "job_template", "must be the name of a template of the API, one of abba_permitted_templates()",
      submission$job_template, call
    )
  }
  path <- submission$file_path
  in_place <- submission$in_place %||% (!is.null(submission$mounts) || submission$auto_mount_home)
  program <- if (!isTRUE(submission$in_place)) {
    from <- read_from(submission, call)
    core_value(core_carry_program(from, expand_path(from, call), in_place, submission$mounts), call)
  }
  # For the record as it was given; where it may run in place, the API must know where that is.
  path <- if (in_place && !is.null(program)) program$path else path
  own <- c("file_path", "batch_group_id", "read_from", "in_place", "rerun_of")
  arguments <- c(
    list(
      file_path = path,
      # So that it can be read again, from another working directory too.
      absolute_path = if (!identical(program$path, path)) program$path,
      program_text = program$text,
      program_base64 = program$base64
    ),
    submission[setdiff(names(submission), own)]
  )
  arguments[!vapply(arguments, is.null, NA)]
}

# Where a program is read on this machine. Of one that is submitted again that must be known: a file of that name in the
# working directory may be another program.
read_from <- function(submission, call) {
  from <- submission$read_from
  if (!is.null(from) && !grepl("^(/|~|[A-Za-z]:[/\\\\]|\\\\\\\\)", from)) {
    abort_record(list(
      class = "invalid",
      message = paste0(
        "Where the program \"", from, "\" of job \"", submission$rerun_of, "\" lies is not known: ",
        "it was not submitted by this package."
      ),
      advice = "Submit it again with abba_submit_job().",
      job_id = submission$rerun_of
    ), call)
  }
  from %||% submission$file_path
}

# What became of the programs of a request, out of the rows of its answer, see submit() of a road. `ids`: the jobs that
# were asked for.
read_outcomes <- function(rows, ids) {
  stopifnot(identical(text_column(rows, "job_id"), ids))
  times <- from_kubernetes_time(text_column(rows, "submitted"))
  reasons <- text_column(rows, "reason")
  lapply(seq_along(ids), function(row) {
    if (!is.na(times[[row]])) {
      return(list(submitted = times[[row]]))
    }
    error <- rows[[row]]$error
    if (is_error_body(error)) {
      return(list(error = as_record(error)))
    }
    list(error = list(message = if (is.na(reasons[[row]])) "The API did not say why." else reasons[[row]]))
  })
}

# What a job was submitted with, out of an answer of the API: see kept_submissions() of a road.
kept_from_json <- function(row) {
  stopifnot(rlang::is_bool(row$ending), rlang::is_bool(row$in_place))
  stopifnot(rlang::is_string(row$file_path), nzchar(row$file_path))
  known <- c(setdiff(names(formals(abba_submit_job)), c("file_path", "batch_group_id")), "after", "on_failure")
  arguments <- row[intersect(known, names(row))]
  # What is null or empty has its default.
  arguments <- arguments[lengths(arguments) > 0L]
  stopifnot(c("user_tag", "cpu_limit", "memory_limit", "container", "auto_mount_home") %in% names(arguments))
  texts <- unlist(unname(arguments[intersect(vector_arguments(), names(arguments))]), recursive = FALSE)
  stopifnot(vapply(texts, rlang::is_string, NA))
  list(
    job_id = one_string(row$job_id), ending = row$ending,
    open_predecessors = vapply(row$open_predecessors, one_string, ""),
    in_place = row$in_place, file_path = row$file_path,
    read_from = if (is.null(row$absolute_path)) row$file_path else one_string(row$absolute_path),
    arguments = arguments
  )
}

# For how many seconds the API may hold an answer back; at a console less, so that its line stays alive.
longest_wait <- function() if (draws_line()) 2 else 20

# The function that waits for news of jobs, see `next_update` of a road's watch(). `longest`: for how many seconds at
# most.
client_updates <- function(which, longest, call) {
  state <- NULL
  ask <- function(wait, seconds, last) {
    client_ask(
      "/watch-jobs", which, list(wait = wait, state = state),
      seconds = seconds, fields = function(body) list(status = last$status), call = call
    )
  }
  function(seconds, last = NULL) {
    if (is.null(state)) {
      answer <- ask(0, NULL, last)
    } else {
      # Once the jobs were seen, an API that is not there is waited for. A try of its own is short, so that the time
      # limit of the wait holds.
      wait <- max(0, min(longest, seconds))
      limit <- min(client_seconds(call), max(1, min(10, seconds)))
      # What does not heal, as a certificate that has expired, ends the wait.
      wait_on <- function(cnd) if (isFALSE(cnd$may_heal)) rlang::cnd_signal(cnd)
      answer <- tryCatch(
        ask(wait, wait + limit, last),
        abba_error_unavailable = wait_on,
        abba_error_timeout = wait_on
      )
      if (is.null(answer)) {
        Sys.sleep(max(0, min(1, longest, seconds)))
        return(NULL)
      }
    }
    reading("/watch-jobs", call = call, {
      state <<- one_string(answer$body$state)
      read_update(answer$body)
    })
  }
}

# An option for tests alone: for how many seconds the API waits for the end of a job before its log is read once more.
follow_interval_seconds <- function() getOption("abba.api.follow.interval", 2)

# The function that reads what a followed log has more, see `next_lines` of a road's follow().
client_lines <- function(which, from_now, call) {
  next_update <- client_updates(which, follow_interval_seconds(), call)
  seen <- character()
  function() {
    # The status first: a log that is read after the end is whole.
    news <- next_update(Inf)
    if (is.null(news)) {
      return(NULL)
    }
    if (news$ended) {
      log <- client_log(which, call)
      return(list(lines = if (!from_now) lines_left(log[[1L]]$log, seen, which$job_id), log = log))
    }
    if (names(news$status)[[1L]] == "Pending") {
      # What the API gives as its log now is why it has not started.
      from_now <<- FALSE
      return(NULL)
    }
    if (from_now) {
      from_now <<- FALSE
      seen <<- whole_lines(client_log(which, call)[[1L]]$log)
      return(NULL)
    }
    fresh <- lines_after(which, length(seen), call)
    seen <<- c(seen, fresh)
    list(lines = fresh)
  }
}

# Those lines of a whole log that are still to be printed. Where those that were printed are not its first ones, a
# warning says so.
lines_left <- function(lines, seen, job_id) {
  if (identical(seen, lines[seq_along(seen)])) {
    return(lines[seq_along(lines) > length(seen)])
  }
  raise_warnings(list(list(
    class = "log_incomplete",
    message = "Lines were missed while the log was followed.",
    advice = "The list that is returned has all that is left of it.",
    job_id = job_id
  )))
  character()
}

# The last line may still be written.
whole_lines <- function(lines) {
  lines[-length(lines)]
}

# The whole lines after the first `count` ones; none where the API cannot say so now.
lines_after <- function(which, count, call) {
  answer <- tryCatch(
    client_ask("/job-log", which, list(page = paste0("0.", count)), seconds = 10, call = call),
    abba_error_unavailable = function(cnd) NULL,
    abba_error_timeout = function(cnd) NULL
  )
  if (is.null(answer)) {
    return(character())
  }
  logs <- reading("/job-log", logs_from_json(answer$body, "job_id"), call)
  if (length(logs) == 0L) character() else whole_lines(logs[[1L]]$lines)
}
