local_path <- function(env = parent.frame()) {
  file.path(withr::local_tempdir("templates-", .local_envir = env), "abba api")
}

test_that("the directory has a plumber file and a note", {
  path <- local_path()
  expect_message(returned <- create_batch_api(path), "plumber.R")
  expect_identical(returned, path)
  expect_setequal(list.files(path, all.files = TRUE, no.. = TRUE), c("README.md", "plumber.R"))
})

test_that("the plumber file serves the API, the page and the description", {
  path <- local_path()
  suppressMessages(create_batch_api(path))
  local_api(keys = character(), plumber.sharedSecret = "the-secret")
  # What the file sets, and no longer than this test.
  withr::local_options(options())
  pr <- plumber::plumb(file.path(path, "plumber.R"))
  package <- plumber::plumb_api("abba", "abba")
  routes <- function(pr) {
    sort(vapply(unlist(pr$endpoints), function(route) paste(route$verbs, route$path, collapse = " "), ""))
  }
  expect_identical(routes(pr), routes(package))
  known <- c("plumber-shared-secret" = "the-secret", "rstudio-connect-credentials" = "{\"user\": \"bin\"}")
  ask <- function(path) ask_router(pr, path, headers = known)
  expect_identical(jsonlite::parse_json(ask("/whoami")$text)$user, "bin")
  expect_identical(ask_router(pr, "/openapi.json")$text, ask_router(package, "/openapi.json")$text)
  expect_match(ask_router(pr, "/")$text, "<title>abba", fixed = TRUE)
  expect_identical(ask("/nothing")$status, 404L)
})

test_that("every option of the server is laid out in the plumber file, with its default", {
  path <- local_path()
  suppressMessages(create_batch_api(path))
  text <- readLines(file.path(path, "plumber.R"))
  functions <- Filter(is.function, as.list(asNamespace("abba"), all.names = TRUE))
  sources <- unlist(lapply(functions, function(one) c(deparse(args(one)), deparse(body(one)))))
  named <- unlist(regmatches(sources, gregexpr("(?<=\")abba[.][a-z0-9.]+[a-z](?=\")", sources, perl = TRUE)))
  # Of people's R sessions, and no option.
  of_clients <- c(
    "abba.api.address", "abba.api.key", "abba.api.follow.interval", "abba.api.request.timeout", "abba.css",
    "abba.k8s.disk.limit", "abba.k8s.job.template", "abba.k8s.queue", "abba.k8s.request.timeout", "abba.k8s.session",
    "abba.r.command", "abba.record.public.key"
  )
  named <- setdiff(named, of_clients)
  expect_gt(length(named), 40L)
  for (option in named) {
    expect_true(any(grepl(paste0(option, " = "), text, fixed = TRUE)), label = option)
  }
  # What it sets is what holds without it: the server starts with the same policy.
  policy <- get("api_policy", asNamespace("abba"))
  unset <- names(options())[startsWith(names(options()), "abba.")]
  withr::local_options(stats::setNames(vector("list", length(unset)), unset))
  without <- policy("connect")
  withr::local_options(options())
  eval(parse(text = text)[[1L]], globalenv())
  expect_equal(policy("connect"), without)
})
