# Waiting for jobs and reading their logs in one: R/wait-for-log.R.

test_that("waiting for a log gives the log of the end, and a submission may come before", {
  local_program()
  answers <- function() {
    list(
      makes_jobs("POST /submit-job"),
      news("Running"), news("Failed"),
      replies(log_json("a"), on = "GET /job-log"),
      replies(list(list(pod_id = "p", log = list("b"))), on = "GET /batch-log")
    )
  }
  rlang::inject(local_scripted_api(!!!answers()))
  expect_identical(abba_wait_for_job_log(test_job), list(list(job_id = test_job, log = "a")))
  rlang::inject(local_scripted_api(!!!answers()))
  expect_identical(abba_wait_for_batch_log("b"), list(list(pod_id = "p", log = "b")))
  rlang::inject(local_scripted_api(!!!answers()))
  expect_identical(
    suppressMessages(abba_submit_and_get_log("test_program.R")),
    list(list(job_id = test_job, log = "a"))
  )
  rlang::inject(local_scripted_api(!!!answers()))
  expect_named(suppressMessages(abba_submit_job_and_poll("test_program.R")), "Failed")
})

test_that("what is wrong in a log is warned of where it was waited for", {
  log <- log_json("Error: boom")
  log[[1L]]$warning <- list(
    class = "log_verdict", message = "R printed an error.", advice = "Read the log.", job_id = list(test_job)
  )
  local_scripted_api(news("Succeeded"), replies(log, on = "GET /job-log"))
  warning <- expect_warning(found <- abba_wait_for_job_log(test_job), class = "abba_warning_log_verdict")
  expect_identical(warning$job_id, test_job)
  expect_identical(found, list(list(job_id = test_job, log = "Error: boom")))
})

test_that("where the wait ends before the job does, no log is read", {
  api <- local_scripted_api(news("Running"), replies(log_json("a"), on = "GET /job-log"))
  expect_s3_class(raised(abba_wait_for_job_log(test_job, timeout_seconds = 0)), "abba_error_wait_timeout")
  expect_false("GET /job-log" %in% api$calls())
  stuck <- list(
    job_id = test_job, what = "The image cannot be pulled.", details = "not found", advice = "Check its name.",
    is_stuck = TRUE
  )
  api <- local_scripted_api(news("Pending", list(stuck)), replies(log_json("a"), on = "GET /job-log"))
  expect_s3_class(raised(abba_wait_for_job_log(test_job, on_stuck = "fail")), "abba_error_stuck")
  expect_false("GET /job-log" %in% api$calls())
})

test_that("how to wait is checked before anything is sent, also before the submission", {
  local_program()
  api <- local_scripted_api(makes_jobs("POST /submit-job"))
  for (wrong in list(
    list(timeout_seconds = NA), list(timeout_seconds = "1"), list(poll_interval_seconds = "soon"),
    list(on_stuck = "cry")
  )) {
    for (verb in list(abba_submit_and_get_log, abba_wait_for_job_log, abba_wait_for_batch_log)) {
      expect_s3_class(raised(do.call(verb, c("test_program.R", wrong))), "abba_error_input")
    }
  }
  expect_length(api$requests(), 0L)
})

test_that("a program that cannot be submitted is not waited for", {
  local_program()
  api <- local_scripted_api(refuses("forbidden", 403L))
  expect_s3_class(raised(abba_submit_and_get_log("test_program.R")), "abba_error_forbidden")
  expect_identical(unique(api$calls()), "POST /submit-job")
})
