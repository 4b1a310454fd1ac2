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
  reading("/explain-job", as_explanation(answer$body, "abba_submit_job"), call)
}
