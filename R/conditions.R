# From the records that the Rust core returns to classed R conditions.

# Gives back the value of a core function's answer, or raises what it says.
#
# answer: list(value, warnings, error, interrupted), as made by `answer_to_r()` in
#   src/rust/src/values.rs.
# call: the environment of the verb that the user called.
core_value <- function(answer, call = rlang::caller_env()) {
  if (!is.null(answer$error)) {
    abort_record(answer$error, call)
  }
  raise_warnings(answer$warnings)
  if (isTRUE(answer$interrupted)) {
    # It came when all was done.
    stop_as_r_wanted(call)
  }
  answer$value
}

raise_warnings <- function(records) {
  for (record in records) {
    rlang::warn(
      c(record$message, i = record$advice),
      class = c(paste0("abba_warning_", record$class), "abba_warning"),
      use_cli_format = FALSE,
      job_id = as.character(record$job_id)
    )
  }
}

# Keeps the warnings of abba that `code` raises in `kept`, an environment, for raise_kept(). Who makes jobs tells of
# them first: a caller may take a warning for an error, as `options(warn = 2)` does, and would submit them again.
keep_warnings <- function(code, kept) {
  withCallingHandlers(code, abba_warning = function(condition) {
    kept$warnings <- c(kept$warnings, list(condition))
    rlang::cnd_muffle(condition)
  })
}

# batch: the data frame that they tell of, which is lost to a caller who leaves the call by them.
raise_kept <- function(kept, batch = NULL) {
  for (condition in kept$warnings) {
    condition$batch <- batch
    rlang::cnd_signal(condition)
  }
}

# Raises an error of a class of abba. Its words are final: kubectl's may hold braces or percent signs. ... : further
# fields of the condition.
abort_words <- function(words, call, class = "input", ...) {
  rlang::abort(words, class = error_classes(class), call = call, use_cli_format = FALSE, ...)
}

# ... : further fields of the condition.
abort_record <- function(record, call, ...) {
  if (is_interrupted(record)) {
    # The core has taken it from R, which is told to go on with it.
    tell_interrupted(record)
    stop_as_r_wanted(call)
  }
  abort_words(
    c(
      record$message,
      x = consequence_words(record),
      i = record$advice,
      i = record$details,
      i = kubectl_words(record$stderr)
    ),
    call, record$class,
    request = record$request,
    exit_status = record$exit_status,
    stderr = record$stderr,
    job_id = as.character(record$job_id),
    ...
  )
}

# What an error means for the job, with the call that the user should make next where the core hints at one.
consequence_words <- function(record) {
  if (!identical(record$hint, "ask_status")) {
    return(record$consequence)
  }
  ask <- verb_text(
    "abba_get_k8s_job_status_local", list(job_id = record$job_id[[1L]]), record$namespace
  )
  paste0(record$consequence, " Before you submit the program again, ask for it: ", ask, ".")
}

# Stops as R wanted to while the core worked: with an interrupt after Ctrl-C, with R's own error where a limit of
# `setTimeLimit()` was over.
#
# time_limit: R's message about that; NULL for Ctrl-C.
stop_as_r_wanted <- function(call, time_limit = core_time_limit()$value) {
  if (is.null(time_limit)) {
    rlang::interrupt()
  }
  abort_words(time_limit, call, "time_limit")
}

# Whether a condition is the wish of the user or of R to stop.
is_stop <- function(condition) inherits(condition, c("interrupt", "abba_error_time_limit"))

is_interrupted <- function(record) identical(record$class, "interrupted")

# Says what an interrupt means for a job: an interrupt itself has no message.
tell_interrupted <- function(record) {
  if (!is.null(record$consequence)) {
    rlang::inform(consequence_words(record), job_id = as.character(record$job_id))
  }
}

# The classes of an error, most specific first, without those that R adds.
error_classes <- function(class) {
  of_kubectl <- !class %in% c("input", "internal", "time_limit", "archive")
  unique(c(
    paste0("abba_error_", class),
    if (of_kubectl) "abba_error_kubectl",
    "abba_error"
  ))
}

kubectl_words <- function(stderr) {
  if (is.null(stderr)) {
    return(NULL)
  }
  longest <- 2000L
  if (nchar(stderr) > longest) {
    stderr <- paste0(substr(stderr, 1L, longest), " ...")
  }
  paste("kubectl said:", stderr)
}
