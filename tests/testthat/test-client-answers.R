# What an answer of an abba API brings beside its body.

test_that("the warnings of an answer are raised as the local functions raise them", {
  warning <- list(list(
    class = "log_incomplete", message = "The beginning of the log is lost {} %s.", advice = "Print less.",
    job_id = list(test_job)
  ))
  local_scripted_api(replies(log_json("a"), headers = c("abba-warnings" = to_json(warning))))
  expect_warning(log <- job_log(), class = "abba_warning_log_incomplete")
  expect_identical(log[[1L]]$log, "a")
  expect_api_words(invisible(job_log()))
})

test_that("a header of warnings that makes no sense is let be", {
  for (header in c("", "[", "[1, null]", "{\"class\": \"x\"}", "true")) {
    local_scripted_api(replies(log_json("a"), headers = c("Abba-Warnings" = header)))
    expect_identical(job_log()[[1L]]$log, "a")
  }
})

test_that("the warning of a log's verdict is raised once for all its pages", {
  part <- function(line) {
    list(list(
      job_id = test_job, log = list(line), verdict = "errors", verdict_line = "Error: boom",
      warning = list(class = "log_verdict", message = "R printed an error: Error: boom", job_id = list(test_job))
    ))
  }
  local_scripted_api(replies(part("Error: boom"), headers = list("Abba-Next-Page" = "0.1")), replies(part("[1] 1")))
  warnings <- list()
  found <- withCallingHandlers(abba_get_job_log(test_job), warning = function(cnd) {
    warnings <<- c(warnings, list(cnd))
    rlang::cnd_muffle(cnd)
  })
  expect_length(warnings, 1L)
  expect_s3_class(warnings[[1L]], "abba_warning_log_verdict")
  expect_identical(warnings[[1L]]$job_id, test_job)
  expect_identical(found, list(list(job_id = test_job, log = c("Error: boom", "[1] 1"))))
})
