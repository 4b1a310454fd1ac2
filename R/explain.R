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
#'   * `reason`, `advice`, `details`: why it failed or waits, or that it was (or may have
#'     been) started more than once, what to do, and Kubernetes' own words; strings, `NA`
#'     where there is nothing to say.
#'   * `call`: for a program that ran out of memory the call that submits it again with
#'     twice as much, and all its other arguments; a string, else `NA`.
#'   * `pod_id`, `node`, `image`, `image_digest`, `cpu_limit`, `memory_limit`:
#'     strings, `NA` where not known.
#'   * `attempts`: how many pods there were, as far as is known, an integer.
#'   * `events`: what Kubernetes noted (for about an hour), the oldest first: a data
#'     frame with the columns `time` (POSIXct), `type`, `reason` and `message`.
#'   * `verdict`, `verdict_line`: what R printed in the log, beside the status, which it
#'     never changes: `"clean"`, `"warnings"` or `"errors"`, and the first such line;
#'     for a program that failed `"errors"`, or `"killed"` where a signal, the cluster
#'     or a lack of memory ended it. Strings, `NA` while the program runs, and where the
#'     log cannot be read. What is looked for in a log is told in
#'     [abba_get_k8s_job_log_local()].
#'   * `last_lines`: of a program that has failed the last lines of its log, at most ten, each
#'     shortened to 500 characters; a character vector, empty where the log cannot be read.
#'   * `archive`: where the cluster has forgotten the job, and all of this comes from an archive, see
#'     [abba_archive()]: the path of its record, or that it is an archive of the abba server; a string, else `NA`.
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
#'
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R", memory_limit = "16M")
#' abba_watch_job(job$job_id)
#' abba_explain_job(job$job_id)
#' }
abba_explain_k8s_job_local <- function(
    job_id,
    namespace = getOption("abba.k8s.namespace")) {
  road_kubectl(namespace)$explain(check_string(job_id))
}

#' @rdname abba_explain_k8s_job_local
#' @export
abba_explain_job <- function(job_id) {
  road_api()$explain(check_string(job_id))
}

# An explanation out of what the core or an API says. `submit`: the function that submits a program again by this road.
read_explanation <- function(body, submit, namespace = NULL) {
  texts <- function(...) sapply(c(...), function(name) string_or_na(body[[name]]), simplify = FALSE)
  times <- lapply(texts("submitted", "started", "finished"), from_kubernetes_time)
  # A collection of batchtools' jobs is gone once it has begun: batchtools submits a new one.
  again <- if (!isTRUE(grepl("/abba/programs/batchtools[.]R$", body$program))) body$submit_again
  events <- text_columns(body$events, c("time", "type", "reason", "message"))
  events$time <- from_kubernetes_time(events$time)
  structure(
    c(
      texts("job_id", "batch_id", "program", "user", "status"), times,
      list(exit_code = integer_or_na(body$exit_code)), texts("reason", "details", "advice"),
      list(call = if (is.null(again)) NA_character_ else verb_text(submit, again, namespace)),
      texts("pod_id", "node", "image", "image_digest", "cpu_limit", "memory_limit"),
      list(attempts = integer_or_na(body$attempts), events = as.data.frame(events)),
      texts("verdict", "verdict_line"),
      # An older abba API tells none.
      list(
        last_lines = as.character(unlist(body$last_lines)),
        archive = if (isTRUE(body$archived)) "of the abba server" else NA_character_
      )
    ),
    class = "abba_explanation"
  )
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
  has_failed <- identical(x$status, "Failed")
  time <- function(time) if (is.na(time)) NA else format(time, "%Y-%m-%d %H:%M:%S UTC")
  facts <- c(
    Job = x$job_id, Batch = x$batch_id, Program = x$program, User = x$user,
    Submitted = time(x$submitted), Started = time(x$started), Finished = time(x$finished),
    "Exit status" = x$exit_code,
    Limits = if (!is.na(x$cpu_limit)) paste0("cpu ", x$cpu_limit, ", memory ", x$memory_limit),
    Image = x$image, Digest = x$image_digest, Node = x$node, Archive = x$archive,
    Verdict = if (!is.na(x$verdict_line) && !has_failed) paste0(x$verdict, " in its log: ", x$verdict_line)
  )
  facts <- facts[!is.na(facts)]
  cat(x$status, ": ", sentence, "\n", sep = "")
  if (has_failed && !is.na(x$verdict_line)) cat("Its log says: ", x$verdict_line, "\n", sep = "")
  if (!is.na(x$advice)) cat("What to do: ", x$advice, "\n", sep = "")
  if (!is.na(x$call)) cat("For example: ", x$call, "\n", sep = "")
  if (!is.na(x$details)) cat("Kubernetes says: ", x$details, "\n", sep = "")
  cat("\n")
  cat(paste0("  ", format(paste0(names(facts), ":")), " ", facts), sep = "\n")
  if (length(x$last_lines) > 0L) {
    cat("\nThe last lines of its log:\n")
    cat(paste0("  ", x$last_lines), sep = "\n")
  }
  if (nrow(x$events) > 0L) {
    cat("\nEvents:\n")
    events <- paste0(format(x$events$time, "%H:%M:%S"), " ", x$events$reason, ": ", x$events$message)
    cat(strwrap(events, getOption("width"), indent = 2L, exdent = 4L), sep = "\n")
  }
  invisible(x)
}
