# Requests to the abba server without HTTP: what plumber would hand to its routes.

# An abba server with these options until the test ends. `keys`: users that get a key; a
# list of the keys by user is given back, with the paths of the files that it uses.
local_api <- function(..., keys = "daemon", env = parent.frame()) {
  folder <- withr::local_tempdir(pattern = "api-", .local_envir = env)
  file <- if (length(keys) > 0L) file.path(folder, "api-keys")
  made <- lapply(stats::setNames(nm = keys), function(user) abba_api_key_create(user, file))
  withr::local_envvar(RSTUDIO_PRODUCT = NA, PLUMBER_SHAREDSECRET = NA, .local_envir = env)
  withr::local_options(
    abba.api.identity = NULL,
    # Accounts that every machine has.
    abba.api.least.uid = 1,
    abba.api.keys = file,
    abba.api.log = file.path(folder, "log"),
    abba.default.container = image,
    abba.k8s.namespace = "n",
    # A kubectl that stands still for a while is no fault.
    abba.api.cluster.timeout = 60,
    .local_envir = env
  )
  withr::local_options(..., .local_envir = env)
  forget_server()
  withr::defer(forget_server(), envir = env)
  list(keys = made, key_file = file, log = getOption("abba.api.log"))
}

# The options are read at the first request.
forget_server <- function() {
  assign("gateway", NULL, envir = abba:::the_server)
  assign("sending", list(), envir = abba:::the_server)
  assign("collected", 0, envir = abba:::the_server)
  assign("looked", 0, envir = abba:::the_server)
}

# The key of a local server, which is opened for it.
local_key <- function() {
  abba:::api_open()
  said <- capture.output(abba:::tell_local_key(), type = "message")
  sub(".*abba.api.key = \"(abba_[0-9a-f]{64})\".*", "\\1", said[[length(said)]])
}

# A request as plumber has it, with the headers of `...`, such as HTTP_HOST = "localhost", and those of `headers`, with
# their names as they were sent.
api_request <- function(method = "GET", query = "", body = NULL, ..., key = NULL, headers = character()) {
  bytes <- if (is.null(body)) raw() else if (is.raw(body)) body else charToRaw(enc2utf8(body))
  req <- list(
    REQUEST_METHOD = method, QUERY_STRING = query, REMOTE_ADDR = "127.0.0.1", HTTP_HOST = "127.0.0.1:8000",
    HTTP_AUTHORIZATION = if (!is.null(key)) paste("Key", key),
    HTTP_CONTENT_TYPE = if (method == "POST") "application/json",
    rook.input = list(read = function() bytes)
  )
  req <- utils::modifyList(req, list(...))
  # Without those that are NULL.
  sent <- unlist(req[grepl("^(HTTP_|CONTENT_LENGTH$)", names(req))])
  names(sent) <- gsub("_", "-", tolower(sub("^HTTP_", "", names(sent))))
  # httpuv has both: what was sent, and CGI's names, where one of `A-B` and `A_B` is lost.
  for (name in names(headers)) req[[paste0("HTTP_", toupper(gsub("-", "_", name)))]] <- headers[[name]]
  list2env(c(req, list(HEADERS = c(sent, headers))))
}

api_response <- function() {
  res <- new.env()
  res$headers <- list()
  res$setHeader <- function(name, value) res$headers[[name]] <- value
  res
}

# Sends a request and waits for its answer: `status`, `headers`, `text`, and the parsed `body`.
ask_api <- function(call, ...) {
  finish_answer(abba_api_answer(call, api_request(...), api_response()))
}

# An answer that needs the cluster comes later: what it is then.
wait_for_answer <- function(answer) {
  if (!inherits(answer, "promise")) {
    return(answer)
  }
  done <- NULL
  promises::then(answer, function(value) done <<- value)
  wait_until(function() {
    later::run_now(0.05)
    !is.null(done)
  }, 120)
  done
}

finish_answer <- function(answer) {
  answer <- wait_for_answer(answer)
  # A large one comes as a file, which whoever sends it removes.
  if (is.list(answer$body)) {
    file <- answer$body$file
    answer$body <- `Encoding<-`(readChar(file, file.size(file), useBytes = TRUE), "UTF-8")
    unlink(file)
  }
  is_json <- identical(answer$headers$`Content-Type`, "application/json")
  list(
    status = answer$status, headers = answer$headers, text = answer$body,
    # The metrics are text, and an answer to HEAD has none.
    body = if (is_json && nzchar(answer$body)) jsonlite::fromJSON(answer$body, simplifyVector = FALSE)
  )
}

submit_api <- function(..., body = "{\"file_path\": \"/x/a.R\", \"program_text\": \"1\"}") {
  ask_api("submit-job", method = "POST", body = body, ...)
}

# The lines of the log of decisions, parsed.
decisions <- function(api) {
  lapply(readLines(api$log), jsonlite::fromJSON, simplifyVector = FALSE)
}

# Where nothing of the server may show: kubectl, its words, paths, calls of R.
expect_nothing_of_server <- function(text) {
  # A class of errors is named so.
  text <- sub("\"class\":\"kubectl[a-z_]*\"", "", text)
  for (words in c("kubectl", "/tmp", getwd(), "core_", "tryCatch", "abba.k8s", "_local", "namespace")) {
    expect_no_match(text, words, fixed = TRUE)
  }
}
