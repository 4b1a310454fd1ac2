# What the server answers on the real cluster, against its own description of it.
local_namespace()
server <- local_abba_server(user = "daemon")
key <- getOption("abba.api.key")
source(file.path(repository, "tests", "testthat", "helper-openapi.R"), local = TRUE)
document <- read_openapi()

# Asks the server, checks that the answer is what the description says of this call and status, and gives it back.
expect_described <- function(status, path, ..., body = NULL) {
  response <- ask(path, ..., body = body)
  told <- document$paths[[path]][[if (is.null(body)) "get" else "post"]]$responses[[as.character(status)]]
  expect_identical(httr2::resp_status(response), as.integer(status), label = path)
  expect_false(is.null(told), label = paste(path, "has no", status))
  value <- jsonlite::parse_json(httr2::resp_body_string(response))
  expect_null(misfits(value, content_of(told, document)$schema, document, path))
  invisible(list(value = value, headers = httr2::resp_headers(response)))
}

# The arguments are a GET's in its query or a POST's in its body.
ask <- function(path, ..., body = NULL, key = getOption("abba.api.key"), headers = list()) {
  request <- httr2::request(paste0(server$address, path))
  request <- httr2::req_error(request, is_error = function(response) FALSE)
  # httr2 0.2.2 waits after a 429 even where it does not try again.
  request <- httr2::req_retry(request, max_tries = 2L, is_transient = function(response) FALSE)
  if (!is.null(key)) request <- httr2::req_headers(request, Authorization = paste("Key", key))
  request <- httr2::req_headers(httr2::req_url_query(request, ...), !!!headers)
  if (!is.null(body)) request <- httr2::req_body_json(request, body)
  httr2::req_perform(request)
}

test_that("the description is an OpenAPI 3.0 document by the schema of OpenAPI itself", {
  program <- paste(
    "import json, sys, jsonschema",
    "schema, document = (json.load(open(name, encoding='utf-8')) for name in sys.argv[1:])",
    "jsonschema.Draft4Validator.check_schema(schema)",
    "for error in jsonschema.Draft4Validator(schema).iter_errors(document):",
    "    print(list(error.absolute_path), error.message[:300])",
    sep = "\n"
  )
  found <- processx::run("/usr/bin/python3", c(
    "-c", program, "/usr/share/openapi-specification/schemas/v3.0/schema.json",
    system.file("plumber/abba/openapi.json", package = "abba")
  ))
  expect_identical(found$stdout, "")
})

test_that("every call answers as the description says", {
  for (path in c("/whoami", "/permitted-containers", "/health")) expect_described(200, path)
  submitted <- expect_described(200, "/submit-job", body = list(
    file_path = "/home/mike/t_age.R", program_text = "cat('a\\n'); stop('no data')", cpu_limit = 0.2
  ))$value
  batch <- expect_described(200, "/submit-batch", body = list(
    programs = list(
      list(file_path = "/home/mike/t_1.R", program_text = "1 + 1"),
      list(file_path = "/home/mike/t_2.R", program_text = "Sys.sleep(600)")
    ),
    cpu_limit = "200m", memory_limit = 268435456
  ))$value
  ids <- vapply(batch, `[[`, "", "job_id")
  expect_described(200, "/jobs")
  expect_described(200, "/explain-job", job_id = submitted$job_id)
  wait_for_end(c(submitted$job_id, ids[[1L]]))
  wait_for_state(ids[[2L]], "Running")
  expect_described(200, "/jobs", batch_id = submitted$batch_id)
  expect_described(200, "/explain-job", job_id = submitted$job_id)
  expect_described(200, "/job-status", job_id = paste(ids, collapse = ","))
  expect_described(200, "/job-status", body = list(job_id = ids))
  expect_described(200, "/job-log", job_id = submitted$job_id)
  expect_described(200, "/job-log", body = list(job_id = ids))
  expect_described(200, "/job-record", job_id = submitted$job_id)
  expect_described(200, "/watch-jobs", job_id = submitted$job_id)
  expect_described(200, "/watch-jobs", body = list(job_id = ids, wait = 0))
  expect_described(200, "/batch-status", batch_id = batch[[1L]]$batch_id)
  expect_described(200, "/batch-log", batch_id = batch[[1L]]$batch_id)
  expect_described(200, "/batch-arguments", batch_id = batch[[1L]]$batch_id)
  expect_described(200, "/batch-arguments", batch_id = submitted$batch_id)
  expect_described(200, "/cancel-job", body = list(job_id = ids))
  expect_described(200, "/cancel-job", body = list(batch_id = batch[[1L]]$batch_id))
})

test_that("every error answers as the description says", {
  program <- list(file_path = "/a.R", program_text = "1", cpu_limit = 0.2)
  for (path in c(
    "/job-status", "/job-log", "/batch-status", "/batch-log", "/batch-arguments", "/explain-job", "/watch-jobs"
  )) {
    expect_described(400, path)
  }
  expect_described(400, "/submit-job", body = list(file_path = "/a.R"))
  expect_described(400, "/submit-batch", body = list(programs = list()))
  for (path in c("/jobs", "/whoami", "/permitted-containers")) {
    expect_described(401, path, key = NULL)
    expect_described(401, path, key = "wrong")
    expect_described(400, path, colour = "red")
  }
  expect_described(403, "/submit-job", body = c(program, container = "registry.example.com/other:1"))
  for (path in c("/job-status", "/job-log", "/job-record", "/explain-job", "/watch-jobs")) {
    expect_described(404, path, job_id = "none")
  }
  for (path in c("/batch-status", "/batch-log", "/batch-arguments")) expect_described(404, path, batch_id = "none")
  expect_described(404, "/cancel-job", body = list(job_id = "none"))
  used <- list(`Idempotency-Key` = "the-same")
  expect_described(200, "/submit-job", body = program, headers = used)
  program$program_text <- "2"
  expect_described(409, "/submit-job", body = program, headers = used)
})

test_that("who asks too often is told so as the description says", {
  server <<- local_abba_server("options(abba.api.requests.per.minute = 1)", user = "daemon")
  # The start of the server may have used up the one that is allowed.
  ask("/whoami")
  answer <- expect_described(429, "/whoami")
  expect_match(answer$headers[["Retry-After"]], "^[0-9]+$")
})
