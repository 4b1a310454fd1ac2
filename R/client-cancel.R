#' Cancel jobs, through the abba API
#'
#' @inherit abba_cancel_k8s_job_local description details return
#' @inheritParams abba_get_job_status
#'
#' @section Errors:
#' If some jobs could not be cancelled, the error for the first of them is raised;
#' its field `done` is the data frame of all, with `NA` for those. The classes of
#' errors are listed in [abba_submit_job()].
#'
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' job <- abba_submit_job("test_programs/test_program.R")
#' abba_cancel_job(job$job_id)
#' }
abba_cancel_job <- function(job_id) {
  client_cancel(list(job_id = check_strings(job_id)))
}

#' @rdname abba_cancel_job
#' @export
abba_cancel_batch <- function(batch_id) {
  client_cancel(list(batch_id = check_string(batch_id)))
}

client_cancel <- function(which, call = rlang::caller_env()) {
  core_value(core_check_which(which), call)
  done <- function(rows) data.frame(job_id = string_column(rows, "job_id"), done = string_column(rows, "done"))
  answer <- client_call(
    "POST", "/cancel-job",
    body = core_value(core_json(which), call), call = call,
    fields = function(body) {
      if (is.list(body$done)) list(done = reading("/cancel-job", done(body$done), call))
    }
  )
  reading("/cancel-job", done(answer$body), call)
}
