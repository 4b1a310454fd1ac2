#' Write an abba server that can be deployed on Posit Connect
#'
#' Writes a directory with a plumber file in which every option of an abba server is laid
#' out and explained, and a note on how to deploy it. The options are set to their defaults, or
#' commented out where there is none. Fill in those of your department, read the note, and
#' deploy.
#'
#' The directory serves elsewhere, too: `plumber::pr_run(plumber::pr("plumber.R"), port = 8000)` in it
#' runs the server on this machine.
#'
#' @param path The directory, which is made. Nothing is overwritten: it must not exist, or be
#'   empty.
#'
#' @return The path, invisibly. A message says what to do next.
#' @seealso [abba_run_api()] runs a server without such a directory;
#'   `vignette("api_setup")`.
#' @export
#' @examples
#' path <- file.path(tempdir(), "abba-api")
#' create_batch_api(path)
#' list.files(path)
#' unlink(path, recursive = TRUE)
create_batch_api <- function(path) {
  path <- write_template("batch-api", path)
  rlang::inform(c(
    paste0("The abba server is in ", path, "."),
    i = "Set its options in plumber.R; README.md says how to deploy it."
  ), use_cli_format = FALSE)
  invisible(path)
}
