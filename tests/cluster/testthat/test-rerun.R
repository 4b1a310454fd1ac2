# Submitting again what failed of a batch.
local_namespace()

rerun <- function(...) suppressMessages(abba_rerun_k8s_batch_local(...))

kept <- function(id) {
  jsonlite::fromJSON(field("job", id, ".metadata.annotations.abba/arguments"), simplifyVector = FALSE)
}

test_that("what failed or was cancelled runs again, with the same arguments and the program as it is now", {
  local_namespace()
  gate <- local_gate()
  folder <- withr::local_tempdir()
  good <- local_program("cat('good\\n')", "good.R", folder)
  bad <- local_program("stop('no')", "bad.R", folder)
  slow <- local_program(gate$wait, "slow.R", folder)
  large <- local_program("cat('large\\n')", "large.R", folder)
  batch <- submit_batch(
    c(good, bad, slow, large),
    batch_group_id = "b", user_tag = c("1", "2", "3", "4"), cpu_limit = c(0.1, 0.2, 0.1, 64), memory_limit = "300M",
    mounts = gate$mounts, username = "nobody", time_limit_seconds = 900
  )
  ids <- batch$job_id
  wait_for_states(ids, function(states) identical(unname(states), c("Succeeded", "Failed", "Running", "Pending")))
  abba_cancel_k8s_job_local(ids[3:4])
  expect_identical(unname(wait_for_end(ids)), c("Succeeded", "Failed", "Failed", "Failed"))

  write_program("cat('mended\\n')", bad)
  gate$open()
  again <- rerun("b", cpu_limit = 0.3)
  expect_s3_class(again, "abba_batch")
  expect_identical(names(again), c("job_id", "batch_id", "program", "submitted"))
  expect_setequal(again$program, c(bad, slow, large))
  expect_length(unique(again$batch_id), 1L)
  expect_false(again$batch_id[[1L]] == "b")
  expect_identical(names(abba_watch_k8s_batch_local(again$batch_id[[1L]])), "Succeeded")
  expect_identical(log_of(again$job_id[again$program == bad]), "mended")
  for (program in c(bad, slow, large)) {
    before <- kept(ids[batch$program == program])
    changed <- list(cpu_limit = 0.3, batch_group_id = again$batch_id[[1L]])
    expect_identical(kept(again$job_id[again$program == program]), utils::modifyList(before, changed))
  }
  # The first batch is as it was.
  counts <- lengths(lapply(abba_get_k8s_batch_status_local("b"), `[[`, "Jobs"))
  expect_identical(counts[c("Succeeded", "Failed")], c(Succeeded = 1L, Failed = 3L))
  expect_setequal(abba_list_k8s_jobs_local(batch_id = "b")$job_id, ids)

  # Where nothing has failed nothing runs.
  before <- jobs_in()
  expect_message(none <- abba_rerun_k8s_batch_local(again$batch_id[[1L]]), "Nothing of the batch has failed")
  expect_identical(nrow(none), 0L)
  expect_identical(names(none), names(again))
  expect_identical(jobs_in(), before)
})

test_that("a mistake submits nothing", {
  batch <- submit_batch(local_program("stop('no')"))
  id <- batch$batch_id[[1L]]
  wait_for_end(batch$job_id)
  before <- jobs_in()
  expect_abba_error(rerun(id, memory_limit = "512m"), "input", "`memory_limit`")
  expect_abba_error(rerun(id, file_path = "x.R"), "input", "`file_path`")
  expect_abba_error(rerun(id, 1), "input", "unnamed")
  unlink(batch$program)
  expect_abba_error(rerun(id), "input", batch$program)
  expect_abba_error(rerun("no-such-batch"), "not_found", "no-such-batch")
  expect_identical(jobs_in(), before)
})

test_that("what could not be submitted again can be later, and nothing twice", {
  local_namespace()
  programs <- local_programs(paste0("p_", 1:4, ".R"), "stop('no')")
  batch <- submit_batch(programs, batch_group_id = "b")
  wait_for_end(batch$job_id)
  create_quota_of_jobs(6)
  error <- expect_abba_error(rerun("b", memory_limit = "256M"), "batch_incomplete", "2 of 4", "in place of `batch_id`")
  rest <- error$batch
  expect_identical(sum(is.na(rest$submitted)), 2L)
  delete_quota_of_jobs()
  again <- rerun(rest, memory_limit = "256M")
  done <- !is.na(rest$submitted)
  expect_identical(again$job_id[done], rest$job_id[done])
  expect_identical(again$program, rest$program)
  expect_length(unique(again$batch_id), 1L)
  expect_setequal(jobs_in(), c(batch$job_id, again$job_id))
  expect_length(jobs_in(), 8L)
  for (id in again$job_id) expect_identical(kept(id)$memory_limit, "256M")
})
