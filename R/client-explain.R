#' Explain what happened to a job, through the abba API
#'
#' @inherit abba_explain_k8s_job_local description return
#' @param job_id The id of one job.
#'
#' @inheritSection abba_get_job_status Errors
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R", memory_limit = "16M")
#' abba_watch_job(job$job_id)
#' abba_explain_job(job$job_id)
#' }
abba_explain_job <- function(job_id) {
  call <- rlang::current_env()
  answer <- client_ask("/explain-job", list(job_id = check_string(job_id)))
  reading("/explain-job", as_explanation(explanation_from_json(answer$body)), call)
}

# The list of core_explain() out of an answer of the API.
explanation_from_json <- function(body) {
  text <- function(name) string_or_na(body[[name]])
  texts <- function(...) sapply(c(...), text, simplify = FALSE)
  c(
    texts("job_id", "batch_id", "program", "user", "status", "submitted", "started", "finished"),
    list(exit_code = integer_or_na(body$exit_code)),
    texts(
      "reason", "details", "advice", "call", "pod_id", "node", "image", "image_digest", "cpu_limit", "memory_limit"
    ),
    list(
      attempts = integer_or_na(body$attempts),
      events = sapply(c("time", "type", "reason", "message"), string_column, rows = body$events, simplify = FALSE)
    )
  )
}
