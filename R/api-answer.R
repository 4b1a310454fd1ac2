#' Answer a request to the abba API
#'
#' What the routes of an abba server call: decides who the caller is and whether they
#' may do what they ask for, does it, and fills the response. [abba_run_api()] starts a
#' server whose routes do nothing else.
#'
#' The options are read at the first request of the R process.
#'
#' @param call The name of the call, a string: the path without its `/`, such as
#'   `"submit-job"`.
#' @param req,res The request and the response, as plumber hands them to a route.
#'
#' @return `res`, with status, headers and body (JSON).
#'
#' @section The log of decisions:
#' Each request makes one line of JSON: when, who, from which address, what, which jobs, the
#' decision (`"allowed"`, `"refused"` or `"failed"`), the HTTP status and the reason. It goes to the
#' file in the option `abba.api.log`, or else to standard error. No line holds a key or
#' a program's text.
#'
#' @export
#' @examples
#' # A route of a plumber file:
#' #* @get /job-status
#' #* @parser unread
#' function(req, res) abba_api_answer("job-status", req, res)
abba_api_answer <- function(call, req, res) {
  answer <- tryCatch(
    core_value(core_gateway_answer(api_gateway(), api_request(call, req), api_body(req), api_settings())),
    # A fault of the server: its words are for the administrator alone.
    error = function(error) api_fault(call, error)
  )
  log_decision(answer$decision)
  res$status <- answer$status
  res$setHeader("Content-Type", "application/json")
  res$setHeader("Cache-Control", "no-store")
  res$setHeader("X-Content-Type-Options", "nosniff")
  for (name in names(answer$headers)) {
    res$setHeader(name, answer$headers[[name]])
  }
  res$body <- answer$body
  res
}

#' @rdname abba_api_answer
#' @description
#' `abba_api_set_up()` readies a router for such routes: it reads the options, so that a mistake in
#' them shows when the server starts, and answers what has no route.
#' @param pr The router, as plumber hands it to a function marked `@plumber`.
#' @export
abba_api_set_up <- function(pr) {
  api_open()
  # Read as text, so that an array of one, an empty object and a null stay what they are.
  description <- jsonlite::read_json(system.file("plumber/abba/openapi.json", package = "abba", mustWork = TRUE))
  pr$setApiSpec(function(spec) description)
  # plumber's own docs would stand at the addresses of ours, without their protection.
  pr$setDocs(FALSE)
  pr$set404Handler(function(req, res) abba_api_answer(sub("^/", "", req$PATH_INFO), req, res))
  pr$setErrorHandler(function(req, res, error) {
    answer <- api_fault(req$PATH_INFO, error)
    log_decision(answer$decision)
    res$status <- 500L
    res$setHeader("Content-Type", "application/json")
    # It is JSON already; plumber would write it as a string of JSON.
    res$serializer <- function(value, req, res, ...) {
      res$body <- value
      res$toResponse()
    }
    answer$body
  })
  invisible(pr)
}

# The server's state, which lasts as long as the R process. `docs`: whether the API's description is shown.
the_server <- new.env(parent = emptyenv())

# The gateway, opened at the first request. `identity` as of `api_identity()`.
api_gateway <- function() {
  if (is.null(the_server$gateway)) {
    api_open()
  }
  the_server$gateway
}

# Opens the gateway from the options as they are now. An option that is wrong is an
# error here, and so before anybody is answered.
api_open <- function(call = rlang::caller_env()) {
  api_settings(call)
  identity <- api_identity()
  key_file <- if (identity == "keys") api_key_file()
  the_server$gateway <- core_value(
    core_gateway_open(api_policy(identity, call), key_file, as.character(utils::packageVersion("abba"))), call
  )
  invisible(identity)
}

# The request as the core wants it. Text that is not UTF-8 cannot be anything that is
# known, so it need only be harmless.
api_request <- function(call, req) {
  text <- function(name) {
    value <- req[[name]]
    if (is.null(value)) NULL else iconv(value[[1L]], "UTF-8", "UTF-8", sub = "?")
  }
  forwarded <- c(
    "HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_REAL_IP", "HTTP_VIA"
  )
  list(
    call = call,
    query = text("QUERY_STRING"),
    headers = list(
      authorization = text("HTTP_AUTHORIZATION"),
      connect_credentials = text("HTTP_RSTUDIO_CONNECT_CREDENTIALS"),
      host = text("HTTP_HOST"),
      origin = text("HTTP_ORIGIN"),
      forwarded = if (any(forwarded %in% ls(req))) "yes",
      idempotency_key = text("HTTP_IDEMPOTENCY_KEY")
    ),
    when = api_now(),
    from = text("REMOTE_ADDR")
  )
}

api_body <- function(req) {
  body <- req$bodyRaw
  if (is.raw(body)) body else raw()
}

api_now <- function() format(Sys.time(), "%Y-%m-%dT%H:%M:%SZ", tz = "UTC")

api_fault <- function(call, error) {
  body <- list(
    class = "internal",
    message = "The abba server failed.",
    advice = "Tell the administrator of the abba server; its log says more."
  )
  decision <- list(
    when = api_now(), what = call, decision = "failed", status = 500L, reason = conditionMessage(error)
  )
  as_json <- function(x) as.character(jsonlite::toJSON(x, auto_unbox = TRUE))
  list(status = 500L, headers = list("Retry-After" = "10"), body = as_json(body), decision = as_json(decision))
}

# A decision that cannot be kept where it should be is at least said.
log_decision <- function(line) {
  file <- getOption("abba.api.log")
  kept <- !is.null(file) && tryCatch(
    {
      cat(line, "\n", file = file, append = TRUE, sep = "")
      TRUE
    },
    error = function(error) {
      cat("abba: the log of decisions cannot be written: ", conditionMessage(error), "\n", file = stderr(), sep = "")
      FALSE
    },
    warning = function(warning) {
      cat("abba: the log of decisions cannot be written: ", conditionMessage(warning), "\n", file = stderr(), sep = "")
      FALSE
    }
  )
  if (!kept) {
    cat(line, "\n", file = stderr(), sep = "")
  }
}
