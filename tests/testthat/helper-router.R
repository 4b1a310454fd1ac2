# The router of the server, in this R: nobody listens.
router <- function() plumber::plumb_api("abba", "abba")

# What the router answers to a request: a list of `status`, `headers` (by lower-case name) and `body` (bytes).
ask_router <- function(pr, path, method = "GET", query = "", key = NULL, headers = NULL) {
  request <- new.env()
  request$REQUEST_METHOD <- method
  request$PATH_INFO <- path
  request$QUERY_STRING <- query
  request$HEADERS <- c(host = "127.0.0.1:8000", authorization = if (!is.null(key)) paste("Key", key), headers)
  # plumber's own filters, which what has no route passes, read CGI's name.
  request$HTTP_PLUMBER_SHARED_SECRET <- unname(headers["plumber-shared-secret"])
  request$REMOTE_ADDR <- "127.0.0.1"
  request$rook.input <- list(read_lines = character, read = function(...) raw(), rewind = function() NULL)
  answer <- wait_for_answer(pr$call(request))
  body <- answer$body
  if (is.list(body)) {
    file <- body$file
    owned <- isTRUE(body$owned)
    body <- readBin(file, "raw", file.size(file))
    if (owned) unlink(file)
  }
  if (is.character(body)) body <- charToRaw(body)
  headers <- as.list(answer$headers)
  names(headers) <- tolower(names(headers))
  list(status = answer$status, headers = headers, body = body, text = rawToChar(body))
}
