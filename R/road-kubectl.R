# The functions of the road over the kubectl of this machine: calls of the core and nothing else.
kubectl_functions <- function(settings, call, submit_verb) {
  value <- function(answer) core_value(answer, call)
  archive <- archive_reader(settings, call)
  # The answer about jobs, with what the archive has of those that are gone.
  with_archive <- function(which, answer) {
    if (is.null(archive)) answer(NULL) else archive$beside_cluster(which, answer)
  }
  status <- function(which) {
    with_archive(which, function(archived) read_status(value(core_status(which, archived, settings))))
  }
  done <- function(rows) {
    failed <- Filter(Negate(is.null), lapply(rows, `[[`, "error"))
    if (length(failed) > 0L) {
      abort_record(failed[[1L]], call, done = read_done(rows))
    }
    read_done(rows)
  }
  list(
    status = status,
    log = function(which) {
      with_archive(which, function(archived) read_logs(value(core_log(which, archived, settings))))
    },
    cancel = function(which) done(value(core_cancel(which, settings))),
    remove = function(which) {
      everybody <- isTRUE(which$everybody)
      which$everybody <- NULL
      done(value(core_remove(which, everybody, settings)))
    },
    list = function(arguments) {
      if (!is.null(arguments$status)) arguments$status <- I(arguments$status)
      in_cluster <- function(arguments) jobs_frame(value(core_list(arguments, settings)), arguments$verdict)
      jobs <- in_cluster(arguments)
      if (is.null(archive)) {
        return(jobs)
      }
      archive$list(arguments, jobs, function() {
        # A job that is in another state now is not what it was when it was archived.
        if (is.null(arguments$status)) return(jobs$job_id)
        in_cluster(utils::modifyList(arguments, list(status = NULL, verdict = FALSE)))$job_id
      })
    },
    jobs_of_batch = function(which) {
      arguments <- list(batch_id = which$batch_id, verdict = FALSE)
      jobs <- jobs_frame(value(core_list(arguments, settings)), FALSE)
      if (is.null(archive)) jobs else archive$list(arguments, jobs, function() jobs$job_id)
    },
    records = function(job_ids) {
      with_archive(list(job_id = job_ids), function(archived) value(core_records(job_ids, archived, settings)))
    },
    explain = function(job_id) {
      read <- function(body) read_explanation(body, submit_verb, settings$namespace)
      answer <- function() read(value(core_explain(job_id, settings)))
      if (is.null(archive)) answer() else archive$explain(job_id, answer, read)
    },
    watch = function(which) {
      watched <- which
      watching <- value(core_watch_begin(watched, settings))
      update <- function(seconds, last) {
        answer <- core_watch_next(watching, max(0.05, min(1, seconds)))
        if (!is.null(answer$error)) {
          abort_record(answer$error, call, status = last$status)
        }
        read_update(value(answer))
      }
      # What the archive has is not waited for. What it lacks, too, is an error as without one.
      without_archived <- function(not_found) {
        if (is.null(archive)) rlang::cnd_signal(not_found)
        status <- tryCatch(
          {
            # A batch has a status without them.
            if (length(not_found$job_id) > 0L) status(list(job_id = not_found$job_id))
            status(which)
          },
          abba_error_not_found = function(cnd) {
            cnd$status <- not_found$status
            rlang::cnd_signal(cnd)
          }
        )
        if (!any(c("Pending", "Running") %in% names(status))) {
          return(list(status = status, counts = list(), obstacles = list(), ended = TRUE))
        }
        core_watch_end(watching)
        if (!is.null(which$job_id)) watched$job_id <<- I(setdiff(watched$job_id, not_found$job_id))
        watching <<- value(core_watch_begin(watched, settings))
        NULL
      }
      list(
        next_update = function(seconds, last) {
          news <- tryCatch(update(seconds, last), abba_error_not_found = without_archived)
          if (!is.null(archive) && isTRUE(news$ended)) news$status <- status(which)
          news
        },
        end = function() core_watch_end(watching)
      )
    },
    follow = function(job_id, from_now) {
      following <- value(core_follow_begin(job_id, from_now, settings))
      list(
        next_lines = function() {
          news <- value(core_follow_next(following, 1))
          if (!is.null(news$log)) news$log <- read_logs(news$log)
          news
        },
        end = function() core_follow_end(following)
      )
    },
    prepare = function(submissions) {
      ready <- lapply(submissions, kubectl_submission, template = template_reader(call), call = call)
      parts <- split(seq_along(ready), ceiling(seq_along(ready) / batch_part))
      # The core checks all that it is given before it sends the first of them, but a part at a time.
      if (length(parts) > 1L) {
        value(core_check_submissions(ready))
      }
      list(ready = ready, parts = parts)
    },
    submit = function(ready) {
      answer <- core_submit(ready, settings)
      if (is_interrupted(answer$error)) {
        return(rep(list(list(error = answer$error)), length(ready)))
      }
      if (!is.null(answer$error)) {
        # Nothing was sent.
        abort_record(answer$error, call, may_exist = FALSE)
      }
      raise_warnings(answer$warnings)
      structure(answer$value, interrupted = isTRUE(answer$interrupted))
    },
    submit_one = function(ready) {
      answer <- core_submit(list(ready), settings)
      error <- answer$error %||% answer$value[[1L]]$error
      if (is_interrupted(error)) {
        tell_interrupted(error)
        return(FALSE)
      }
      if (!is.null(error)) {
        abort_record(error, call)
      }
      raise_warnings(answer$warnings)
      structure(TRUE, interrupted = isTRUE(answer$interrupted))
    },
    kept_submissions = function(batch_id, states) {
      kept <- with_archive(list(batch_id = batch_id), function(archived) {
        value(core_kept_submissions(batch_id, as.character(states), archived, settings))
      })
      lapply(kept, function(one) {
        paths <- one$arguments[c("given_path", "expanded_path")]
        arguments <- one$arguments[setdiff(names(one$arguments), names(paths))]
        c(
          one[c("job_id", "ending", "open_predecessors", "in_place")],
          list(file_path = paths$given_path, read_from = paths$expanded_path, arguments = arguments)
        )
      })
    }
  )
}

# How many programs are submitted in one go, between two steps of the progress bar.
batch_part <- 100L

# The arguments of a submission as the core reads them. `template`: a template_reader().
kubectl_submission <- function(submission, template, call) {
  if (is.null(submission$container)) {
    abort_words(c(
      "`container` is missing.", i = "Give the container image, or set options(abba.default.container = ...)."
    ), call)
  }
  submission$job_template <- template(submission$job_template)
  path <- submission$file_path
  c(
    list(
      given_path = path,
      expanded_path = submission$read_from %||% expand_path(path, call)
    ),
    submission[setdiff(names(submission), c("file_path", "read_from", "in_place", "rerun_of"))]
  )
}
