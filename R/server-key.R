#' API keys of users
#'
#' An abba server knows a user by an API key. `abba_api_key_create()` makes one and adds its hash to a
#' file; `abba_api_key_list()` shows what the file has; `abba_api_key_revoke()` takes a key back.
#'
#' The key itself is not kept: give it to the user, who sets the environment variable
#' `ABBA_API_KEY` to it. A user may have several keys. A running server sees each change from the next
#' request on; the file is replaced in one step, and several people may change it at a time.
#'
#' The file holds a line for each key: `user:id:hash:created:expires:scope:note`. Lines of before keys had
#' ends, `user:hash`, hold: such a key has no end.
#'
#' On which day each key was used last, the server keeps in a file beside that of the keys, with `.used` at the end
#' of its name, where its account can write to their folder.
#'
#' @param user The name of the user's account on the server, as `id` shows it: the
#'   user's programs run as that account. There has to be one.
#' @param file The file of keys, made where it is missing; readable for its owner alone, in a folder that
#'   others cannot write to.
#' @param expires_days For how many days after today the key is good, a whole number; `Inf`: it has no end.
#' @param scope What the key is good for: `"submit"` for everything, `"read"` for looking at jobs alone.
#' @param note What you want to know of the key later, such as whose laptop it is on. A line without colons.
#' @param id The id of the key, a string, as `abba_api_key_list()` shows it.
#'
#' @return `abba_api_key_create()`: the key, a string. `abba_api_key_list()`: a data frame with a row for each
#'   key: `id`, `user`, `scope`, `note`, `created`, `expires` (dates in UTC; `NA`: not known, or no end),
#'   `expired`, and `last_used` (`NA`: never, or not known). `abba_api_key_revoke()`: the row of the key that was taken
#'   back, invisibly.
#' @export
#' @examples
#' file <- tempfile("api-keys-")
#' me <- Sys.info()[["effective_user"]]
#' key <- abba_api_key_create(me, file, note = "laptop")
#' keys <- abba_api_key_list(file)
#' keys
#' abba_api_key_revoke(keys$id, file)
#' unlink(file)
abba_api_key_create <- function(
    user,
    file = getOption("abba.api.keys"),
    expires_days = 90,
    scope = c("submit", "read"),
    note = "") {
  user <- check_string(user)
  file <- check_string(file)
  scope <- check_choice(scope, c("submit", "read"))
  note <- check_string(note, empty = TRUE)
  # Inf is the one infinite number that means something here.
  days <- if (!identical(as.vector(expires_days), Inf)) check_number(expires_days)
  if (!is.null(days) && (days != round(days) || days < 1)) {
    abort_input("expires_days", "must be a whole number of days from 1 on, or Inf", days, rlang::current_env())
  }
  core_value(core_api_key_create(user, expand_path(file, rlang::current_env(), "file"), days, scope, note))
}

#' @rdname abba_api_key_create
#' @export
abba_api_key_list <- function(file = getOption("abba.api.keys")) {
  file <- check_string(file)
  api_key_rows(core_value(core_api_key_list(expand_path(file, rlang::current_env(), "file"))))
}

#' @rdname abba_api_key_create
#' @export
abba_api_key_revoke <- function(id, file = getOption("abba.api.keys")) {
  id <- check_string(id)
  file <- check_string(file)
  revoked <- core_value(core_api_key_revoke(id, expand_path(file, rlang::current_env(), "file")))
  invisible(api_key_rows(list(revoked)))
}

api_key_rows <- function(keys) {
  text <- function(name) vapply(keys, function(key) if (is.null(key[[name]])) NA_character_ else key[[name]], "")
  day <- function(name) as.Date(text(name), format = "%Y-%m-%d")
  expires <- day("expires")
  today <- as.Date(format(Sys.time(), tz = "UTC", "%Y-%m-%d"))
  data.frame(
    id = text("id"), user = text("user"), scope = text("scope"), note = text("note"),
    created = day("created"), expires = expires, expired = !is.na(expires) & expires < today,
    last_used = day("last_used")
  )
}
