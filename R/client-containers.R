#' Which container images the abba API permits
#'
#' @return A character vector: the images that `container` of [abba_submit_job()] may
#'   name.
#'
#' @section Errors:
#' The classes of errors are listed in [abba_submit_job()].
#'
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' abba_permitted_containers()
#' }
abba_permitted_containers <- function() {
  call <- rlang::current_env()
  answer <- client_call("GET", "/permitted-containers")
  reading("/permitted-containers", vapply(answer$body, one_string, "", USE.NAMES = FALSE), call)
}
