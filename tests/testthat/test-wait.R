# The line that is shown while jobs are waited for.

test_that("the status line says how long, how many in each status, and why what waits does not start", {
  news <- list(
    counts = list(Pending = 2L, Running = 3L, Succeeded = 10L),
    obstacles = list(
      list(job_id = "a-1", what = "The program has not started: no node of the cluster can take it now."),
      list(job_id = "b-2", what = "Something else.")
    )
  )
  expect_identical(status_text(0, news), "0 s: 2 Pending, 3 Running, 10 Succeeded")
  expect_identical(
    status_text(3, news), paste(
      "3 s: 2 Pending, 3 Running, 10 Succeeded -",
      "The program has not started: no node of the cluster can take it now."
    )
  )
  news$obstacles <- list()
  expect_identical(status_text(65.4, news), "65 s: 2 Pending, 3 Running, 10 Succeeded")
  expect_identical(status_text(3, NULL), "3 s: asking the cluster")
})

test_that("the status line is drawn at an interactive console and cleared in the end", {
  rlang::local_interactive(TRUE)
  withr::local_options(cli.dynamic = TRUE, cli.ansi = TRUE, cli.progress_show_after = 0)
  # The program ends once the line says that it runs.
  gate <- withr::local_tempfile()
  text <- status_text
  noted <- function(elapsed, news) {
    if (!is.null(news)) file.create(gate)
    text(elapsed, news)
  }
  local_function("status_text", noted, asNamespace("abba"), rlang::current_env())
  local_scripted_kubectl(
    runs(c(
      paste("until [ -e", shQuote(gate), "]; do sleep 0.05; done"),
      paste("printf '%s\\n'", shQuote(change(pod(test_job)))), "exec sleep 1000"
    ), on = "*watch=1*"),
    pods_of(pod(test_job, running()))
  )
  drawn <- utils::capture.output(status <- watch(), type = "message")
  expect_named(status, "Succeeded")
  expect_match(paste(drawn, collapse = ""), "s: 1 Running", fixed = TRUE)
})

test_that("elsewhere nothing is drawn", {
  local_scripted_kubectl(watches(change(pod(test_job))), pods_of(pod(test_job, running())))
  expect_silent(expect_named(watch(), "Succeeded"))
})
