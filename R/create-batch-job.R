#' Write an R Markdown document that runs a program on the cluster
#'
#' Writes a directory with `job.Rmd`: a document that submits a program through the abba API,
#' waits for its end, and shows its log. Rendered by a scheduler, such as Posit Connect's, it runs the
#' program again and again, and each rendering is the record of one run.
#'
#' The program and its container are parameters of the document. Where the program does
#' not succeed, the rendering fails after the log was shown, so that the scheduler tells you.
#'
#' @inheritParams create_batch_api
#'
#' @return The path, invisibly. A message says what to do next.
#' @seealso [abba_submit_job()] and [abba_wait_for_job_log()], which the document calls.
#' @export
#' @examples
#' path <- file.path(tempdir(), "abba-job")
#' create_batch_job(path)
#' list.files(path)
#' unlink(path, recursive = TRUE)
create_batch_job <- function(path) {
  path <- write_template("batch-job", path)
  rlang::inform(c(
    paste0("The document is ", file.path(path, "job.Rmd"), "."),
    i = paste(
      "Put your program beside it, set ABBA_API_ADDRESS and ABBA_API_KEY, and render it:",
      "rmarkdown::render(\"job.Rmd\", params = list(program = \"your_program.R\"))."
    )
  ), use_cli_format = FALSE)
  invisible(path)
}
