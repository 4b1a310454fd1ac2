#' Make an API key for a user
#'
#' Makes a new key by which an abba server knows a user, and adds the key's hash to a
#' file. The key itself is not kept: give it to the user, who sets the environment
#' variable `ABBA_API_KEY` to it.
#'
#' To take a key back, remove the user's line from the file; a running server refuses it
#' from the next request on. A user may have several keys.
#'
#' @param user The name of the user's account on the server, as `id` shows it: the
#'   user's programs run as that account.
#' @param file The file of keys, made where it is missing; readable for its owner alone.
#'
#' @return The key, a string.
#' @export
#' @examples
#' file <- tempfile("api-keys-")
#' key <- abba_api_key_create("mike", file)
#' readLines(file) # the name and the key's hash
#' unlink(file)
abba_api_key_create <- function(user, file = getOption("abba.api.keys")) {
  user <- check_string(user)
  file <- check_string(file)
  core_value(core_api_key_create(user, expand_path(file, rlang::current_env(), "file")))
}
