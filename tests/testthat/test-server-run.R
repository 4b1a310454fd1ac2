test_that("a server that is for its own machine is not started for others", {
  local_api(keys = character(), abba.api.identity = "local")
  for (host in c("0.0.0.0", "::", "192.0.2.1", "127.0.0.1.example.com", "localhost.example.com", "127.0.0")) {
    error <- raised(abba_run_api(host = host))
    expect_s3_class(error, "abba_error_input")
    expect_match(conditionMessage(error), "address for others", fixed = TRUE)
  }
  expect_words(tell(abba_run_api(host = "0.0.0.0")))
})

test_that("keys that others may read on their way are told", {
  local_api()
  # An address that is not this machine's, so that nothing listens.
  expect_message(raised(abba_run_api(host = "192.0.2.1")), "speaks HTTP on 192.0.2.1", fixed = TRUE)
})

test_that("operators that no account has are told as the server starts, and keep it from nothing", {
  local_api(abba.api.operators = c("daemon", "no-such-user-here"))
  said <- capture.output(router <- plumber::plumb_api("abba", "abba"), type = "message")
  said <- paste(said, collapse = " ")
  expect_match(said, "names \"no-such-user-here\", and this machine has no such account", fixed = TRUE)
  expect_no_match(said, "daemon", fixed = TRUE)
})

test_that("on Posit Connect nobody calls abba_run_api()", {
  local_api(keys = character(), plumber.sharedSecret = "the-secret")
  withr::local_envvar(RSTUDIO_PRODUCT = "CONNECT")
  expect_words(tell(abba_run_api()))
  withr::local_envvar(RSTUDIO_PRODUCT = NA)
  withr::local_options(abba.api.identity = "connect")
  expect_match(conditionMessage(raised(abba_run_api())), "does not run on Posit Connect", fixed = TRUE)
})

test_that("a Unix socket stands where nobody else can put one, and is no server for a browser", {
  local_api()
  folder <- withr::local_tempdir()
  taken <- file.path(folder, "taken")
  writeLines("a file", taken)
  refused <- function(socket) {
    error <- raised(abba_run_api(socket = socket))
    expect_s3_class(error, "abba_error_input")
    conditionMessage(error)
  }
  expect_match(refused(taken), "is something else", fixed = TRUE)
  expect_match(refused(file.path(folder, strrep("x", 120))), "longer than 107 bytes", fixed = TRUE)
  expect_match(refused("/no/such/folder/socket"), "cannot be read", fixed = TRUE)
  Sys.chmod(folder, "0777", use_umask = FALSE)
  expect_match(refused(file.path(folder, "socket")), "others can write to", fixed = TRUE)
  expect_match(refused(""), "must not be empty", fixed = TRUE)
  local_api(keys = NULL, abba.api.identity = "local")
  expect_match(refused(file.path(folder, "socket")), "no browser opens", fixed = TRUE)
  expect_identical(readLines(taken), "a file")
})

test_that("wrong arguments are refused", {
  local_api()
  expect_words({
    tell(abba_run_api(port = 0))
    tell(abba_run_api(port = 80.5))
    tell(abba_run_api(port = "8000"))
    tell(abba_run_api(host = ""))
    tell(abba_run_api(docs = NA))
    tell(abba_run_api(largest_request = "x"))
    tell(abba_run_api(largest_request = 0))
  })
})

test_that("the routes are those of the API, and all else is answered in its words", {
  api <- local_api()
  local_scripted_kubectl(says(list_of()))
  withr::local_options(plumber.methodNotAllowed = NULL)
  router <- plumber::plumb_api("abba", "abba")
  through <- function(path, ...) {
    req <- api_request(..., key = api$keys$daemon)
    req$PATH_INFO <- path
    wait_for_answer(router$call(req))
  }
  expect_identical(through("/whoami")$body, "{\"user\":\"daemon\",\"operator\":false}")
  expect_identical(through("/jobs")$body, "[]")
  for (path in paste0("/", vapply(abba:::api_calls(), `[[`, "", "name"))) {
    answer <- through(path, method = "DELETE")
    expect_identical(answer$status, 405L)
    expect_match(answer$headers$Allow, "^(GET, HEAD|POST|GET, HEAD, POST)$")
    expect_identical(jsonlite::fromJSON(answer$body)$class, "input")
  }
  for (path in c("/no-such-call", "/jobs/", "/../DESCRIPTION", "/%6aobs", "/JOBS")) {
    answer <- through(path)
    expect_identical(answer$status, 404L)
    expect_identical(answer$headers$`Content-Type`, "application/json")
    expect_identical(jsonlite::fromJSON(answer$body)$class, "not_found")
  }
  # What plumber's own filters would stumble over.
  expect_identical(through("/job-status", query = "?id=%00")$status, 400L)
  expect_identical(through("/whoami", HTTP_COOKIE = "a=%zz; =;")$status, 200L)
  expect_silent(through("/job-status", method = "POST", body = "{}", HTTP_CONTENT_TYPE = "application/x-unknown"))
})

test_that("what is too large or of unknown length is refused before it is read", {
  api <- local_api(abba.api.largest.request = 1000)
  withr::local_options(plumber.methodNotAllowed = NULL)
  router <- plumber::plumb_api("abba", "abba")
  early <- function(..., key = api$keys$daemon) {
    router$onHeaders(api_request(method = "POST", PATH_INFO = "/submit-job", ..., key = key))
  }
  expect_null(early())
  expect_null(early(CONTENT_LENGTH = "1000"))
  expect_null(early(HTTP_UPGRADE = "h2c"))
  for (length in c("1001", "1073741824", "1e99", "x", "-", "NaN", "Inf", "1, 1")) {
    expect_identical(early(CONTENT_LENGTH = length)$status, 413L)
  }
  # Another header says nothing of the length.
  expect_identical(early(CONTENT_LENGTH = "1001", headers = c(content_length = "1"))$status, 413L)
  expect_identical(early(CONTENT_LENGTH = "1", headers = c(content_length = "1"))$status, 400L)
  expect_identical(early(HTTP_TRANSFER_ENCODING = "chunked")$status, 411L)
  expect_identical(early(HTTP_TRANSFER_ENCODING = "chunked", CONTENT_LENGTH = "5")$status, 411L)
  expect_identical(early(HTTP_UPGRADE = "WebSocket")$status, 400L)
  # No browser takes it for a page.
  headers <- early(CONTENT_LENGTH = "1001")$headers
  expect_identical(headers$`X-Content-Type-Options`, "nosniff")
  expect_match(headers$`Content-Security-Policy`, "default-src 'none'", fixed = TRUE)
  # A sender that is not known sends no body at all.
  expect_identical(early(CONTENT_LENGTH = "1", key = NULL)$status, 401L)
  expect_identical(early(CONTENT_LENGTH = "1", key = "x")$status, 401L)
  expect_null(early(key = NULL))
  expect_words({
    cat(early(CONTENT_LENGTH = "1001")$body, "\n")
    cat(early(HTTP_TRANSFER_ENCODING = "chunked")$body, "\n")
  })
})

test_that("bodies that are sent slowly leave R the connections that it needs, and others their place", {
  users <- c("daemon", "bin", "sys", "games", "man")
  api <- local_api(keys = users)
  withr::local_options(plumber.methodNotAllowed = NULL)
  router <- plumber::plumb_api("abba", "abba")
  begin <- function(user) {
    req <- api_request(method = "POST", PATH_INFO = "/whoami", CONTENT_LENGTH = "1", key = api$keys[[user]])
    list(req = req, early = router$onHeaders(req))
  }
  is_let_in <- function(begun) is.null(begun$early)
  # Of one caller sixteen, of all sixty-four.
  held <- lapply(rep(users[1:4], each = 16), begin)
  expect_true(all(vapply(held[1:16], is_let_in, NA)))
  answer <- begin("daemon")$early
  expect_identical(answer$status, 503L)
  expect_identical(answer$headers$`Retry-After`, "2")
  expect_true(all(vapply(held, is_let_in, NA)))
  expect_false(is_let_in(begin("man")))
  # However the header is written: the caller counts.
  for (header in c("key %s", "KEY %s", "kEy  %s", "Key %s ")) {
    req <- api_request(
      method = "POST", PATH_INFO = "/whoami", CONTENT_LENGTH = "1",
      HTTP_AUTHORIZATION = sprintf(header, api$keys$daemon)
    )
    expect_identical(router$onHeaders(req)$status, 503L, info = header)
  }
  # One that has been read makes place, and those that nobody holds any more.
  finish_answer(abba_api_answer("whoami", held[[1L]]$req, api_response()))
  expect_true(is_let_in(begin("man")))
  rm(held, answer)
  # R's garbage is collected for them every few seconds.
  wait_until(function() is_let_in(begin("daemon")))
})

test_that("of large bodies a caller sends no more than are answered at a time or wait for it", {
  api <- local_api(keys = c("daemon", "bin"))
  withr::local_options(plumber.methodNotAllowed = NULL)
  router <- plumber::plumb_api("abba", "abba")
  begin <- function(user, bytes) {
    req <- api_request(method = "POST", PATH_INFO = "/whoami", CONTENT_LENGTH = bytes, key = api$keys[[user]])
    list(req = req, early = router$onHeaders(req))
  }
  held <- lapply(rep("daemon", 5), begin, bytes = "1000000")
  expect_identical(vapply(held, function(begun) is.null(begun$early), NA), rep(c(TRUE, FALSE), c(4L, 1L)))
  expect_identical(held[[5L]]$early$status, 503L)
  # Small ones have their place, and so have others.
  expect_null(begin("daemon", "65536")$early)
  expect_null(begin("bin", "1000000")$early)
  finish_answer(abba_api_answer("whoami", held[[1L]]$req, api_response()))
  expect_null(begin("daemon", "1000000")$early)
  # Those that were broken off are gone.
  rm(held)
  suppressWarnings(gc(full = TRUE))
  expect_null(begin("daemon", "1000000")$early)
})

test_that("a caller who sends all the time what is refused does not make R collect all garbage", {
  local_api()
  server <- abba:::the_server
  requests <- list(new.env(), new.env())
  since <- function(...) {
    server$sending <- Map(function(req, when) {
      rlang::new_weakref(req, value = list(caller = "daemon", is_large = TRUE, since = when))
    }, requests, list(...))
  }
  server$collected <- 100
  withr::defer(server$collected <- 0)
  since(140, 141)
  expect_false(abba:::is_worth_collecting(142))
  # Some that may have been broken off, and some that were there when R looked last.
  expect_true(abba:::is_worth_collecting(147))
  since(99, 146)
  expect_false(abba:::is_worth_collecting(147))
  # None keeps its place for ever.
  expect_true(abba:::is_worth_collecting(161))
})

test_that("a fault before a body is read shows nothing of the server", {
  api <- local_api()
  withr::local_options(plumber.methodNotAllowed = NULL)
  router <- plumber::plumb_api("abba", "abba")
  assign("sending", list("/tmp/secret"), envir = abba:::the_server)
  withr::defer(assign("sending", list(), envir = abba:::the_server))
  req <- api_request(method = "POST", PATH_INFO = "/whoami", CONTENT_LENGTH = "1", key = api$keys$daemon)
  answer <- router$onHeaders(req)
  expect_identical(answer$status, 500L)
  expect_nothing_of_server(answer$body)
  expect_identical(decisions(api)[[1L]]$status, 500L)
})

test_that("calls of the API and its pages go past plumber, and what an administrator adds goes through it", {
  api <- local_api()
  router <- plumber::plumb_api("abba", "abba")
  router$handle("GET", "/own", function(res) {
    res$body <- "mine"
    res
  })
  seen <- character()
  router$registerHook("preroute", function(req) seen <<- c(seen, req$PATH_INFO))
  expect_identical(ask_router(router, "/whoami", key = api$keys$daemon)$status, 200L)
  expect_identical(ask_router(router, "/whoami", method = "HEAD", key = api$keys$daemon)$text, "")
  expect_identical(ask_router(router, "/whoami", method = "DELETE", key = api$keys$daemon)$status, 405L)
  expect_identical(ask_router(router, "/submit-job")$status, 401L)
  for (path in c("/", "/main.js", "/__docs__/")) expect_identical(ask_router(router, path)$status, 200L)
  expect_identical(seen, character())
  expect_identical(ask_router(router, "/own")$text, "mine")
  expect_identical(ask_router(router, "/whoami/", key = api$keys$daemon)$status, 404L)
  expect_identical(ask_router(router, "/../main.js", key = api$keys$daemon)$status, 404L)
  expect_identical(seen, c("/own", "/whoami/", "/../main.js"))
})

test_that("a fault of the server shows nothing of it", {
  api <- local_api()
  withr::local_options(plumber.methodNotAllowed = NULL)
  router <- plumber::plumb_api("abba", "abba")
  router$handle("GET", "/fault", function() stop("/tmp/secret: \r\n%s %n"))
  req <- api_request()
  req$PATH_INFO <- "/fault"
  answer <- router$call(req)
  expect_identical(answer$status, 500L)
  expect_identical(
    jsonlite::fromJSON(answer$body),
    list(
      class = "internal", message = "The abba server failed.",
      advice = "Tell the administrator of the abba server; its log says more."
    )
  )
  expect_match(decisions(api)[[1L]]$reason, "/tmp/secret", fixed = TRUE)
})
