# The functions of the road over the kubectl of this machine: calls of the core and nothing else.
kubectl_functions <- function(settings, call, submit_verb) {
  value <- function(answer) core_value(answer, call)
  done <- function(rows) {
    failed <- Filter(Negate(is.null), lapply(rows, `[[`, "error"))
    if (length(failed) > 0L) {
      abort_record(failed[[1L]], call, done = read_done(rows))
    }
    read_done(rows)
  }
  list(
    status = function(which) read_status(value(core_status(which, settings))),
    log = function(which) read_logs(value(core_log(which, settings))),
    cancel = function(which) done(value(core_cancel(which, settings))),
    remove = function(which) {
      everybody <- isTRUE(which$everybody)
      which$everybody <- NULL
      done(value(core_remove(which, everybody, settings)))
    },
    list = function(arguments) {
      if (!is.null(arguments$status)) arguments$status <- I(arguments$status)
      jobs_frame(value(core_list(arguments, settings)), arguments$verdict)
    },
    jobs_of_batch = function(which) {
      jobs_frame(value(core_list(list(batch_id = which$batch_id, verdict = FALSE), settings)), FALSE)
    },
    records = function(job_ids) value(core_records(job_ids, settings)),
    explain = function(job_id) read_explanation(value(core_explain(job_id, settings)), submit_verb, settings$namespace),
    watch = function(which) {
      watching <- value(core_watch_begin(which, settings))
      list(
        next_update = function(seconds, last) {
          answer <- core_watch_next(watching, max(0.05, min(1, seconds)))
          if (!is.null(answer$error)) {
            abort_record(answer$error, call, status = last$status)
          }
          read_update(value(answer))
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
      kept <- value(core_kept_submissions(batch_id, as.character(states), settings))
      lapply(kept, function(one) {
        paths <- one$arguments[c("given_path", "expanded_path")]
        arguments <- one$arguments[setdiff(names(one$arguments), names(paths))]
        c(
          one[c("job_id", "ending", "in_place")],
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
    rlang::abort(
      c(
        "`container` is missing.",
        i = "Give the container image, or set options(abba.default.container = ...)."
      ),
      class = error_classes("input"),
      call = call
    )
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
