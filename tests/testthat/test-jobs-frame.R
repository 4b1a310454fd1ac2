# The data frame of jobs: R/jobs-frame.R.

# A job that has ended and one that waits, as an API has them, and as the core has them.
api_rows <- function() {
  list(
    job_json(verdict = "errors", verdict_line = "Error: boom"),
    with_nulls(
      job_json(job_id = "b-2", status = "Pending"),
      "started", "finished", "exit_code", "reason", "verdict", "verdict_line"
    )
  )
}
core_columns <- function() {
  list(
    job_id = c(test_job, "b-2"), batch_id = c("b", "b"), program = rep("test_program.R", 2L), user = rep("mike", 2L),
    status = c("Failed", "Pending"), submitted = rep("2026-01-01T00:00:00Z", 2L),
    started = c("2026-01-01T00:00:01Z", NA), finished = c("2026-01-01T00:00:02Z", NA),
    reason = c("The program failed.", NA), exit_code = c(1L, NA)
  )
}

test_that("an API's rows and the core's columns make the same data frame", {
  jobs <- jobs_frame(api_rows(), verdict = FALSE)
  expect_identical(jobs, jobs_frame(core_columns(), verdict = FALSE))
  expect_identical(class(jobs), c("abba_jobs", "data.frame"))
  expect_identical(jobs$started, as.POSIXct(c("2026-01-01 00:00:01", NA), tz = "UTC"))
  expect_identical(attr(jobs$submitted, "tzone"), "UTC")
  expect_identical(jobs$exit_code, c(1L, NA))
  expect_identical(jobs$reason, c("The program failed.", NA))
})

test_that("the columns are the same whether verdicts were asked for or not", {
  with <- jobs_frame(api_rows(), verdict = TRUE)
  asked <- c(core_columns(), list(verdict = c("errors", NA), verdict_line = c("Error: boom", NA)))
  expect_identical(with, jobs_frame(asked, verdict = TRUE))
  expect_identical(with$verdict, c("errors", NA))
  expect_identical(with$verdict_line, c("Error: boom", NA))
  without <- jobs_frame(api_rows(), verdict = FALSE)
  expect_identical(lapply(with, class), lapply(without, class))
  expect_identical(without$verdict, rep(NA_character_, 2L))
  # So lists can be put together.
  expect_identical(dim(rbind(with, without)), c(4L, 12L))
})

test_that("no jobs are a data frame without rows, of the same columns", {
  some <- lapply(jobs_frame(api_rows(), verdict = TRUE), class)
  for (verdict in c(TRUE, FALSE)) {
    none <- jobs_frame(list(), verdict = verdict)
    expect_identical(nrow(none), 0L)
    expect_identical(lapply(none, class), some)
  }
  none <- lapply(core_columns(), `[`, 0L)
  expect_identical(jobs_frame(none, verdict = FALSE), jobs_frame(list(), verdict = FALSE))
  local_scripted_kubectl(says(list_of()))
  expect_identical(list_jobs(), jobs_frame(list(), verdict = FALSE))
  expect_identical(list_jobs(verdict = TRUE), list_jobs())
})

test_that("text stays text: no string becomes a factor, a number or NA", {
  row <- job_json(job_id = "1", program = "caf\u00e9 \"1\".R", reason = "NA", verdict = "clean", verdict_line = "")
  jobs <- jobs_frame(list(row), verdict = TRUE)
  expect_identical(jobs$job_id, "1")
  expect_identical(jobs$program, "caf\u00e9 \"1\".R")
  expect_identical(jobs$reason, "NA")
  expect_identical(jobs$verdict_line, "")
})

test_that("rows of another shape are not believed", {
  for (bad in list(
    list(job_json(exit_code = "1")), list(job_json(status = 1L)), list(job_json(program = TRUE)),
    list(job_json(user = list("a", "b")))
  )) {
    expect_s3_class(raised(jobs_frame(bad, verdict = FALSE)), "error")
  }
  expect_s3_class(raised(jobs_frame(list(job_json(verdict = TRUE)), verdict = TRUE)), "error")
})
