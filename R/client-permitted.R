#' Which container images and Job templates the abba API permits
#'
#' A Job template is what a cluster needs for some programs, such as a node with a GPU, as your
#' administrator has set it up.
#'
#' @return A character vector: the images that `container` of [abba_submit_job()] may name, and the names that
#'   its `job_template` may be. The template named `"default"` is that of programs for which none is named.
#'
#' @section Errors:
#' The classes of errors are listed in [abba_submit_job()].
#'
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' abba_permitted_containers()
#' abba_permitted_templates()
#' }
abba_permitted_containers <- function() client_texts("/permitted-containers", rlang::current_env())

#' @rdname abba_permitted_containers
#' @export
abba_permitted_templates <- function() client_texts("/permitted-templates", rlang::current_env())

client_texts <- function(path, call) {
  answer <- client_call("GET", path, call = call)
  reading(path, vapply(answer$body, one_string, "", USE.NAMES = FALSE), call)
}
