#' Which Job templates the abba API permits
#'
#' A Job template is what a cluster needs for some programs, such as a node with a GPU, as your
#' administrator has set it up.
#'
#' @return A character vector: the names that `job_template` of [abba_submit_job()] may be. The one named
#'   `"default"` is that of programs for which none is named.
#'
#' @section Errors:
#' The classes of errors are listed in [abba_submit_job()].
#'
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' abba_permitted_templates()
#' }
abba_permitted_templates <- function() {
  call <- rlang::current_env()
  answer <- client_call("GET", "/permitted-templates")
  reading("/permitted-templates", vapply(answer$body, one_string, "", USE.NAMES = FALSE), call)
}
