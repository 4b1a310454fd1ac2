# Submitting and waiting in one call.
local_namespace()

poll <- function(...) suppressMessages(abba_submit_k8s_job_and_poll_local(..., cpu_limit = 0.2))

test_that("a program is submitted once and waited for", {
  path <- local_program("cat('ran\\n')")
  said <- capture_messages(
    status <- abba_submit_k8s_job_and_poll_local(path, cpu_limit = 0.2, poll_interval_seconds = 1)
  )
  id <- jobs_in()
  expect_identical(said, paste0("job.batch/", id, " created\n"))
  expect_identical(status, abba_get_k8s_job_status_local(id))
  expect_identical(names(status), "Succeeded")
  expect_identical(names(poll(local_program("stop('no')"))), "Failed")
})

test_that("a time limit leaves the job running, and says how to go on", {
  gate <- local_gate()
  before <- jobs_in()
  error <- tryCatch(
    poll(local_program(gate$wait), mounts = gate$mounts, timeout_seconds = 1),
    abba_error_wait_timeout = identity
  )
  id <- setdiff(jobs_in(), before)
  expect_length(id, 1L)
  expect_match(conditionMessage(error), paste0("abba_watch_k8s_job_local(\"", id, "\")"), fixed = TRUE)
  gate$open()
  expect_identical(names(abba_watch_k8s_job_local(id)), "Succeeded")
})

test_that("a mistake in the arguments of the wait submits nothing", {
  path <- local_program("1")
  before <- jobs_in()
  expect_abba_error(poll(path, timeout_seconds = "long"), "input", "`timeout_seconds`")
  expect_abba_error(poll(path, poll_interval_seconds = "often"), "input", "`poll_interval_seconds`")
  expect_error(poll(path, on_stuck = "shout"), "`on_stuck`")
  expect_abba_error(poll(path, memory_limit = "512m"), "input", "`memory_limit`")
  expect_identical(jobs_in(), before)
})

test_that("what keeps the program from starting is told with the job's id", {
  error <- tryCatch(
    suppressMessages(abba_submit_k8s_job_and_poll_local(local_program("1"), cpu_limit = 64, on_stuck = "fail")),
    abba_error_stuck = identity
  )
  expect_true(error$job_id %in% jobs_in())
  abba_cancel_k8s_job_local(error$job_id)
})
