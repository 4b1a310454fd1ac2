# What create_batch_api() and create_batch_job() write, at work on the real cluster.
local_namespace()

local_written <- function(create, env = parent.frame()) {
  path <- file.path(withr::local_tempdir("written-", .local_envir = env), "here")
  suppressMessages(create(path))
}

test_that("the document runs a program and shows its log", {
  local_abba_server(user = "daemon")
  path <- local_written(create_batch_job)
  # A line as of the end of what the document shows as it is.
  program <- local_program("cat('```\\n<b>four</b>:', 2 + 2, '\\n')", "four.R")
  rendered <- rmarkdown::render(
    file.path(path, "job.Rmd"),
    params = list(program = program, container = r_image), quiet = TRUE, envir = new.env()
  )
  text <- paste(readLines(rendered), collapse = "\n")
  # Not expect_match(), which takes a minute to make such a long text ready for its message.
  expect_true(grepl("&lt;b&gt;four&lt;/b&gt;: 4", text, fixed = TRUE))
  expect_true(grepl("<title>four.R on the cluster</title>", text, fixed = TRUE))
  expect_true(grepl("<td[^>]*>Succeeded</td>", text))
  # The record of a run is whole: it shows the same on a machine that reaches nothing else.
  expect_false(grepl("src *= *\"https?:", text))
})

test_that("the rendering fails where the program does", {
  local_abba_server(user = "daemon")
  path <- local_written(create_batch_job)
  program <- local_program("stop('no data')", "t_age.R")
  render <- function() {
    rmarkdown::render(file.path(path, "job.Rmd"), params = list(program = program), quiet = TRUE, envir = new.env())
  }
  said <- capture.output(
    expect_error(suppressMessages(render()), "t_age.R has not succeeded.*is Failed"),
    type = "message"
  )
  expect_match(said, "Error: no data", fixed = TRUE, all = FALSE)
})

test_that("the written server serves", {
  path <- local_written(create_batch_api)
  port <- free_port()
  file <- file.path(path, "plumber.R")
  text <- readLines(file)
  # What an administrator fills in.
  text <- sub("^  # (abba.default.container = ).*$", paste0("  \\1", deparse(r_image), ","), text)
  text <- sub("^  # (abba.k8s.namespace = ).*$", paste0("  \\1", deparse(the_namespace()), ","), text)
  # Without Connect.
  text <- sub("abba.api.identity = \"connect\"", "abba.api.identity = \"local\"", text, fixed = TRUE)
  writeLines(text, file)
  log <- file.path(path, "log")
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"),
    c("-e", paste0("plumber::pr_run(plumber::pr('plumber.R'), port = ", port, ")")),
    wd = path, stdout = log, stderr = "2>&1",
    env = c("current", R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep))
  )
  withr::defer(process$kill())
  withr::local_options(abba.api.address = paste0("http://127.0.0.1:", port), abba.api.key = told_key(log))
  wait_until(function() isTRUE(abba_check_api()$cluster), what = "the server")
  job <- suppressMessages(abba_submit_job(local_program("cat('hello\\n')"), cpu_limit = 0.2, container = NULL))
  expect_identical(wait_for_end(job$job_id), "Succeeded")
  expect_identical(abba_get_job_log(job$job_id)[[1L]]$log, "hello")
})
