# Logs of which the node keeps the newest part only.
local_namespace()

test_that("a log of 60 MB comes without its beginning, and a warning says so", {
  gate <- local_gate()
  path <- local_program(c(
    gate$wait_first,
    "line <- strrep('x', 99)",
    "for (i in 1:60) writeLines(rep(line, 1e4))",
    gate$has_written,
    gate$wait,
    "cat('the end\\n')"
  ))
  id <- submit(path, mounts = gate$mounts, cpu_limit = 1)
  wait_for_new_log(id, gate)
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
    conditionMessage(warning), paste0("The beginning of the log of job \"", id, "\" is missing"),
    fixed = TRUE
  )
  lines <- log[[1L]]$log
  expect_identical(lines[[length(lines)]], "the end")
  expect_lt(length(lines), 600001L)
  # The first may be the end of a line that began in the log that was put aside.
  expect_match(lines[[1L]], "^(x{1,99}|the end)$")
  expect_true(all(lines[-c(1L, length(lines))] == strrep("x", 99)))
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
