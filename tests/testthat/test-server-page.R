page_file <- function(name) {
  path <- system.file("plumber/abba", name, package = "abba", mustWork = TRUE)
  rawToChar(readBin(path, "raw", file.size(path)))
}

test_that("the API's description has the routes of the server, and no others", {
  local_api()
  routes <- unlist(lapply(unlist(router()$endpoints), function(route) paste(route$verbs, route$path)))
  # What the pages load.
  routes <- unname(grep("[.](js|css|html)$", routes, value = TRUE, invert = TRUE))
  described <- vapply(operations_of(read_openapi()), function(one) paste(toupper(one$method), one$path), "")
  # What can be asked for with GET can with HEAD, which the description does not repeat.
  of_head <- sub("^GET", "HEAD", grep("^GET", described, value = TRUE))
  expect_identical(sort(routes), sort(c(described, unname(of_head))))
})

test_that("the API's description is whole: each reference leads somewhere, each call is described", {
  document <- read_openapi()
  expect_match(document$openapi, "^3[.]0[.]")
  expect_identical(document$info$version, as.character(utils::packageVersion("abba")))
  references <- grep("^#/", unlist(document), value = TRUE)
  expect_gt(length(references), 50L)
  for (reference in unique(references)) {
    expect_no_error(resolve(list("$ref" = reference), document))
  }
  operations <- operations_of(document)
  ids <- vapply(operations, `[[`, "", "operationId")
  expect_identical(ids, unique(ids))
  tags <- vapply(document$tags, `[[`, "", "name")
  for (one in operations) {
    expect_true(nzchar(one$summary), label = one$path)
    expect_true(all(unlist(one$tags) %in% tags), label = one$path)
    for (parameter in one$parameters) {
      described <- c("name", "in", "description", "schema") %in% names(resolve(parameter, document))
      expect_true(all(described), label = one$path)
    }
    for (response in one$responses) {
      expect_true(nzchar(resolve(response, document)$description), label = one$path)
    }
  }
})

test_that("each call tells all errors that it may answer with", {
  document <- read_openapi()
  statuses <- function(path, method = "get") names(document$paths[[path]][[method]]$responses)
  every <- c("400", "401", "403", "429", "500", "503")
  cluster <- c(every, "502", "504")
  expect_setequal(statuses("/whoami"), c("200", every))
  expect_setequal(statuses("/jobs"), c("200", cluster))
  expect_setequal(statuses("/watch-jobs"), c("200", "404", cluster))
  expect_setequal(statuses("/job-log"), c("200", "404", cluster))
  expect_setequal(statuses("/batch-arguments"), c("200", "404", cluster))
  expect_setequal(statuses("/submit-job", "post"), c("200", "409", "413", cluster))
  expect_setequal(statuses("/submit-batch", "post"), c("200", "409", "413", cluster))
  expect_setequal(statuses("/cancel-job", "post"), c("200", "404", "413", cluster))
})

test_that("the examples of the description are as their schemas say", {
  document <- read_openapi()
  seen <- 0L
  for (one in operations_of(document)) {
    for (part in c(list(one$requestBody), unname(one$responses))) {
      content <- content_of(part, document)
      for (example in content$examples) {
        expect_null(misfits(example, content$schema, document, one$path))
        seen <- seen + 1L
      }
    }
  }
  expect_gt(seen, 100L)
})

test_that("the check of examples sees what is wrong", {
  document <- read_openapi()
  job <- content_of(document$paths[["/jobs"]]$get$responses[["200"]], document)
  example <- job$examples[[1L]]
  changed <- function(...) list(utils::modifyList(example[[1L]], list(...)))
  expect_null(misfits(changed(exit_code = 1), job$schema, document))
  expect_identical(misfits(changed(exit_code = "1"), job$schema, document), "$[1].exit_code is no integer")
  expect_identical(misfits(changed(status = "Done"), job$schema, document), "$[1].status is Done")
  expect_identical(misfits(changed(colour = "red"), job$schema, document), "$[1] has a colour")
  expect_identical(misfits(list(example[[1L]][-1L]), job$schema, document), "$[1] has no job_id")
})

test_that("what the server answers without a cluster is as the description says", {
  api <- local_api()
  pr <- router()
  document <- read_openapi()
  for (path in c("/whoami", "/permitted-containers", "/health", "/jobs", "/job-status")) {
    answer <- ask_router(pr, path, key = api$keys$daemon)
    content <- content_of(document$paths[[path]]$get$responses[[as.character(answer$status)]], document)
    expect_null(misfits(jsonlite::parse_json(answer$text), content$schema, document, path))
  }
})

test_that("the description is served as it is", {
  local_api()
  pr <- router()
  answer <- ask_router(pr, "/openapi.json")
  expect_identical(answer$status, 200L)
  expect_identical(answer$text, page_file("openapi.json"))
  expect_match(answer$headers[["content-type"]], "^application/json")
  # What plumber itself would say, and what others ask it for.
  expect_identical(pr$getApiSpec()[c("openapi", "info", "security")], read_openapi()[c("openapi", "info", "security")])
  expect_setequal(names(pr$getApiSpec()$paths), names(read_openapi()$paths))
})

test_that("the page may run its own script only", {
  local_api()
  pr <- router()
  for (path in c("/", "/main.js", "/abba.css")) {
    answer <- ask_router(pr, path)
    expect_identical(answer$status, 200L)
    expect_identical(answer$headers[["cache-control"]], "no-store")
    expect_identical(answer$headers[["x-content-type-options"]], "nosniff")
    expect_match(answer$headers[["permissions-policy"]], "camera=(), ", fixed = TRUE)
    # What has opened it, or is in a frame around it, learns nothing of it and cannot be laid over it.
    expect_identical(answer$headers[["cross-origin-opener-policy"]], "same-origin")
    expect_identical(answer$headers[["cross-origin-resource-policy"]], "same-origin")
    expect_match(answer$headers[["content-security-policy"]], "frame-ancestors 'self'", fixed = TRUE)
    policy <- answer$headers[["content-security-policy"]]
    expect_match(
      policy, "^default-src 'none'; script-src 'self' 'sha256-[^ ;]+'; style-src 'self'; connect-src 'self';"
    )
    expect_match(policy, "require-trusted-types-for 'script'", fixed = TRUE)
    expect_no_match(policy, "unsafe")
  }
  expect_identical(ask_router(pr, "/")$text, page_file("page/index.html"))
  html <- page_file("page/index.html")
  # The script of the hash.
  expect_length(gregexpr("<script(?![^>]* src=)", html, perl = TRUE)[[1L]], 1L)
  expect_no_match(html, "<style|\\son[a-z]+=|\\sstyle=|javascript:", perl = TRUE)
  # Relative addresses only: the server may stand behind a path.
  expect_no_match(html, "(src|href)=\"(/|https?:)", perl = TRUE)
})

test_that("no answer is packed in the thread that serves all connections, and files are read there", {
  api <- local_api()
  pr <- router()
  takes_gzip <- c("accept-encoding" = "gzip, deflate")
  for (path in c("/", "/__docs__/swagger-ui-bundle.js", "/live", "/whoami", "/nothing")) {
    for (method in c("GET", "HEAD")) {
      answer <- ask_router(pr, path, method, key = api$keys$daemon, headers = takes_gzip)
      expect_identical(answer$headers[["content-encoding"]], "identity", info = path)
    }
    expect_null(ask_router(pr, path, key = api$keys$daemon)$headers[["content-encoding"]], info = path)
  }
  req <- api_request(method = "POST", PATH_INFO = "/whoami", CONTENT_LENGTH = "1", headers = takes_gzip)
  expect_identical(pr$onHeaders(req)$headers[["Content-Encoding"]], "identity")
  req <- api_request(PATH_INFO = "/__docs__/swagger-ui-bundle.js")
  expect_true(file.exists(pr$call(req)$body$file))
})

test_that("Swagger UI reaches this server alone", {
  local_api()
  pr <- router()
  for (path in c("/__docs__/", "/__docs__/index.html", "/__docs__/docs.js", "/__docs__/swagger-ui-bundle.js")) {
    answer <- ask_router(pr, path)
    expect_identical(answer$status, 200L)
    policy <- answer$headers[["content-security-policy"]]
    expect_match(policy, "script-src 'self' 'sha256-[^ ;]+';")
    expect_match(policy, "connect-src 'self';", fixed = TRUE)
  }
  # plumber's own, which has no such policy, is not there.
  expect_length(pr$mounts, 0L)
})

test_that("without docs there is no Swagger UI", {
  api <- local_api()
  pr <- router()
  server <- get("the_server", asNamespace("abba"))
  server$docs <- FALSE
  withr::defer(server$docs <- NULL)
  answer <- ask_router(pr, "/__docs__/", key = api$keys$daemon)
  expect_identical(answer$status, 404L)
  expect_identical(jsonlite::parse_json(answer$text)$class, "not_found")
  expect_identical(ask_router(pr, "/")$status, 200L)
})

test_that("a file that the server does not name is not served", {
  expect_error(abba_api_file("../DESCRIPTION", new.env(), NULL), class = "abba_error_input")
  api <- local_api()
  expect_identical(ask_router(router(), "/__docs__/../DESCRIPTION", key = api$keys$daemon)$status, 404L)
})

test_that("a fault of the server is JSON that says nothing of the server", {
  local_api()
  pr <- router()
  pr$handle("GET", "/fault", function(req, res) stop("no such file: /etc/secret-path"))
  answer <- ask_router(pr, "/fault")
  expect_identical(answer$status, 500L)
  expect_identical(sum(names(answer$headers) == "content-type"), 1L)
  expect_identical(jsonlite::parse_json(answer$text)$class, "internal")
  expect_no_match(answer$text, "secret-path")
  expect_match(readLines(getOption("abba.api.log")), "secret-path")
})
