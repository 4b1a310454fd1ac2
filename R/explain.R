#' Explain what happened to a job
#'
#' Says in plain words how a job stands, why it failed or does not start, and what to
#' do about it.
#'
#' @param job_id The id of one job.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return A list of class `abba_explanation`, which prints as text, with the
#'   elements
#'   * `job_id`, `batch_id`, `program`, `user`, `status`, `submitted`, `started`,
#'     `finished`, `exit_code`: as of [abba_list_k8s_jobs_local()].
#'   * `reason`, `advice`, `details`: why it failed or waits, what to do, and
#'     Kubernetes' own words; strings, `NA` where there is nothing to say.
#'   * `call`: for a program that ran out of memory the call that submits it again with
#'     twice as much, and all its other arguments; a string, else `NA`.
#'   * `pod_id`, `node`, `image`, `image_digest`, `cpu_limit`, `memory_limit`:
#'     strings, `NA` where not known.
#'   * `attempts`: how many pods there were, an integer.
#'   * `events`: what Kubernetes noted (for about an hour), the oldest first: a data
#'     frame with the columns `time` (POSIXct), `type`, `reason` and `message`.
#'
#' @inheritSection abba_get_k8s_job_status_local Errors
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' job <- abba_submit_k8s_job_local("test_programs/test_program.R", memory_limit = "16M")
#' abba_watch_k8s_job_local(job$job_id)
#' abba_explain_k8s_job_local(job$job_id)
#' }
abba_explain_k8s_job_local <- function(
    job_id,
    namespace = getOption("abba.k8s.namespace")) {
  explanation <- core_value(core_explain(check_string(job_id), settings(namespace)))
  as_explanation(explanation, "abba_submit_k8s_job_local", namespace)
}

# An explanation out of the list of core_explain() or of an answer of the API, whose times are still text. `verb`: the
# function by which a program that ran out of memory is submitted again.
as_explanation <- function(body, verb, namespace = NULL) {
  text <- function(name) string_or_na(body[[name]])
  texts <- function(...) sapply(c(...), text, simplify = FALSE)
  again <- body$submit_again
  explanation <- c(
    texts("job_id", "batch_id", "program", "user", "status", "submitted", "started", "finished"),
    list(exit_code = integer_or_na(body$exit_code)),
    texts("reason", "details", "advice"),
    list(call = if (is.null(again)) NA_character_ else submission_call(verb, again, namespace)),
    texts("pod_id", "node", "image", "image_digest", "cpu_limit", "memory_limit"),
    list(
      attempts = integer_or_na(body$attempts),
      events = sapply(c("time", "type", "reason", "message"), string_column, rows = body$events, simplify = FALSE)
    )
  )
  for (time in c("submitted", "started", "finished")) {
    explanation[[time]] <- from_kubernetes_time(explanation[[time]])
  }
  explanation$events$time <- from_kubernetes_time(explanation$events$time)
  explanation$events <- as.data.frame(explanation$events)
  structure(explanation, class = "abba_explanation")
}

#' @rdname abba_explain_k8s_job_local
#' @param x An explanation.
#' @param ... Not used.
#' @export
print.abba_explanation <- function(x, ...) {
  sentence <- if (!is.na(x$reason)) {
    x$reason
  } else {
    switch(x$status,
      Succeeded = "The program ran to its end.",
      Running = "The program is running.",
      "There is nothing to say about the program yet."
    )
  }
  time <- function(time) if (is.na(time)) NA else format(time, "%Y-%m-%d %H:%M:%S UTC")
  facts <- c(
    Job = x$job_id, Batch = x$batch_id, Program = x$program, User = x$user,
    Submitted = time(x$submitted), Started = time(x$started), Finished = time(x$finished),
    "Exit status" = x$exit_code,
    Limits = if (!is.na(x$cpu_limit)) paste0(x$cpu_limit, " cores, ", x$memory_limit, " memory"),
    Image = x$image, Digest = x$image_digest, Node = x$node
  )
  facts <- facts[!is.na(facts)]
  cat(x$status, ": ", sentence, "\n", sep = "")
  if (!is.na(x$advice)) cat("What to do: ", x$advice, "\n", sep = "")
  if (!is.na(x$call)) cat("For example: ", x$call, "\n", sep = "")
  if (!is.na(x$details)) cat("Kubernetes says: ", x$details, "\n", sep = "")
  cat("\n")
  cat(paste0("  ", format(paste0(names(facts), ":")), " ", facts), sep = "\n")
  if (nrow(x$events) > 0L) {
    cat("\nEvents:\n")
    cat(
      paste0("  ", format(x$events$time, "%H:%M:%S"), " ", x$events$reason, ": ", x$events$message),
      sep = "\n"
    )
  }
  invisible(x)
}

# A submission as a call on one line, to be copied. `arguments`: those that have not their defaults.
submission_call <- function(verb, arguments, namespace) {
  arguments <- plain_values(arguments)
  if (!is.null(namespace)) {
    before <- setdiff(names(arguments), c("username", "time_limit_seconds"))
    arguments <- c(arguments[before], list(namespace = namespace), arguments[setdiff(names(arguments), before)])
  }
  names(arguments)[[1L]] <- ""
  text <- paste(rlang::expr_deparse(rlang::call2(verb, !!!arguments), width = Inf), collapse = " ")
  # What changes the direction of text would show another call than the one that is made.
  marks <- regmatches(text, gregexpr("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", text))[[1L]]
  for (mark in unique(marks)) {
    text <- gsub(mark, sprintf("\\u{%x}", utf8ToInt(mark)), text, fixed = TRUE)
  }
  text
}

# Lists as calls of list(), numbers that are whole without an L.
plain_values <- function(value, depth = 0L) {
  if (is.list(value)) {
    values <- lapply(value, plain_values, depth + 1L)
    return(if (depth == 0L) values else as.call(c(list(quote(list)), values)))
  }
  if (is.integer(value)) as.numeric(value) else value
}
