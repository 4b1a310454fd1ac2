# Logs of which the node keeps the newest part only.
local_namespace()

test_that("a log of 60 MB comes without its beginning, and a warning says so", {
  gate <- local_gate()
  path <- local_program(c(
    "line <- strrep('x', 99)",
    "for (i in 1:60) writeLines(rep(line, 1e4))",
    gate$wait,
    "cat('the end\\n')"
  ))
  id <- submit(path, mounts = gate$mounts, cpu_limit = 1)
  # The node looks at the sizes every ten seconds.
  beginning <- function() {
    wait_until(function() has_pod(id), what = "a pod")
    tryCatch(
      kubectl_lines("logs", pods_of(id), "--limit-bytes", "12"),
      error = function(cnd) "not started"
    )
  }
  wait_until(function() identical(beginning(), "abba-log-of "), what = "the marker line")
  wait_until(function() !identical(beginning(), "abba-log-of "), 120, what = "the node to begin a new log")
  gate$open()
  expect_identical(wait_for_end(id), "Succeeded")

  warning <- NULL
  log <- withCallingHandlers(
    abba_get_k8s_job_log_local(id),
    abba_warning = function(cnd) {
      warning <<- cnd
      rlang::cnd_muffle(cnd)
    }
  )
  expect_s3_class(warning, "abba_warning_log_incomplete")
  expect_identical(warning$job_id, id)
  expect_match(
    conditionMessage(warning), paste0("The beginning of the log of job \"", id, "\" is missing."),
    fixed = TRUE
  )
  lines <- log[[1L]]$log
  expect_identical(lines[[length(lines)]], "the end")
  expect_lt(length(lines), 600001L)
  expect_identical(unique(lines[-length(lines)]), rep(strrep("x", 99), min(1L, length(lines) - 1L)))
})

test_that("a log of 5 MB comes whole, without the marker line and without a warning", {
  path <- local_program(c(
    "cat(sprintf('line %6d %s', 1:50000, strrep('x', 87)), sep = '\\n')",
    "message('the end')"
  ))
  id <- submit(path, cpu_limit = 1)
  expect_identical(wait_for_end(id), "Succeeded")
  expect_silent(log <- log_of(id))
  expect_identical(log, c(sprintf("line %6d %s", 1:50000, strrep("x", 87)), "the end"))
})
