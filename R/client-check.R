#' Check the way to the abba API
#'
#' Asks the abba API whether it is well and who you are to it. Run it when you have set
#' the address and the key, or when something does not work.
#'
#' @return A list of class `abba_api_check`, which prints as text, with the elements
#'   * `address`: where the API is.
#'   * `cluster`: whether the API reaches its cluster, `TRUE` or `FALSE`.
#'   * `abba`, `kubernetes`: their versions on the server, strings, `NA` where not known.
#'   * `user`: who you are to the API, a string; `operator`: whether you may see and cancel
#'     the jobs of others.
#'
#' @inheritSection abba_submit_job Address and key
#' @section Errors:
#' An API that cannot be reached or does not know you raises an error that says what to
#' do. The classes of errors are listed in [abba_submit_job()].
#'
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' abba_check_api()
#' }
abba_check_api <- function() {
  call <- rlang::current_env()
  health <- client_call(
    "GET", "/health",
    repeats = FALSE, seconds = min(client_seconds(call), 15),
    # An API whose cluster is away says so with an error's status.
    accept = function(status, body) status == 503L && is.list(body$health)
  )
  state <- health$body$health %||% health$body
  whoami <- client_call("GET", "/whoami")
  reading("/whoami", call = call, {
    structure(
      list(
        address = client_address(call),
        cluster = isTRUE(state$cluster),
        abba = string_or_na(state$versions$abba),
        kubernetes = string_or_na(state$versions$kubernetes),
        user = one_string(whoami$body$user),
        operator = isTRUE(whoami$body$operator)
      ),
      class = "abba_api_check"
    )
  })
}

#' @rdname abba_check_api
#' @param x What `abba_check_api()` returned.
#' @param ... Not used.
#' @export
print.abba_api_check <- function(x, ...) {
  version <- function(name, version) if (is.na(version)) "" else paste0(" (", name, " ", version, ")")
  cat(
    paste0("The abba API at ", x$address, " answers", version("abba", x$abba), "."),
    if (x$cluster) {
      paste0("It reaches its cluster", version("Kubernetes", x$kubernetes), ".")
    } else {
      paste(
        "It does not reach its cluster at the moment: jobs cannot be submitted or read.",
        "Tell your administrator if it lasts."
      )
    },
    paste0("You are ", x$user, if (x$operator) ", an operator: you may see and cancel the jobs of others", "."),
    sep = "\n"
  )
  invisible(x)
}
