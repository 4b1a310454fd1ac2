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
