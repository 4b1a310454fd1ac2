# A server that has a bad day: it is slower then, and nothing is lost and nothing done twice.
local_namespace()

# Of any three requests that follow each other one meets with the fault, so that of the first four one or two do.
count <- 4L

# Submits programs, waits for their end and reads their logs, while every third request meets with `fault`.
run_batch <- function(fault, fault_for = "") {
  requests <- local_path_proxy("-fault", fault, "-fault-every", "3", "-fault-for", fault_for)
  programs <- local_many_programs(count)
  batch <- suppressMessages(abba_submit_k8s_batch_local(programs, cpu_limit = 0.05))
  expect_false(anyNA(batch$submitted))
  batch_id <- unique(batch$batch_id)
  expect_length(batch_id, 1L)
  expect_named(abba_watch_k8s_batch_local(batch_id), "Succeeded")
  logs <- abba_get_k8s_job_log_local(batch$job_id)
  expect_identical(vapply(logs, `[[`, "", "log"), paste(seq_len(count), ""))
  # As the administrator sees it: each once.
  selector <- paste0("abba/batch-id=", batch_id)
  names <- kubectl_lines("get", "jobs", "--selector", selector, "--output", "name")
  expect_setequal(names, paste0("job.batch/", batch$job_id))
  expect_length(kubectl_lines("get", "pods", "--selector", selector, "--output", "name"), count)
  requests()
}

test_that("a server that answers 429 loses nothing", {
  requests <- run_batch("busy")
  # Some creates had to be repeated.
  expect_gt(sum(grepl("^POST", requests)), count)
})

test_that("a server that drops connections loses nothing", {
  expect_gt(sum(grepl("^POST", run_batch("drop"))), count)
})

test_that("a server whose answers are lost has each job once", {
  expect_gt(sum(grepl("^POST", run_batch("lose"))), count)
})

test_that("a server whose answers are cut in the middle has each job once, and each log is whole", {
  requests <- run_batch("cut")
  expect_gt(sum(grepl("^POST", requests)), count)
  expect_gt(sum(grepl("/log[?]", requests)), count)
})

test_that("a create whose every answer is lost makes one job, and it is found", {
  requests <- local_path_proxy("-fault", "lose", "-fault-every", "1", "-fault-for", "POST ")
  id <- submit(local_program("cat('ran\\n')"), batch_group_id = "all-lost")
  expect_gt(sum(grepl("^POST", requests())), 1L)
  expect_identical(kubectl_lines("get", "jobs", "--selector", "abba/batch-id=all-lost", "--output", "name"), paste0(
    "job.batch/", id
  ))
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), "ran")
})

test_once("a server that is busy all the time is given up with an error that says so", {
  # Longer than a call may take.
  local_path_proxy("-fault", "busy", "-fault-every", "1", "-retry-after", "60")
  # One kubectl a call waits by itself as long as the server asks, and the time limit may be over before it says so.
  withr::local_options(abba.k8s.session = TRUE)
  expect_no_submission(
    abba_submit_k8s_job_local(local_program("1")), "unavailable", "The cluster is too busy to answer."
  )
  expect_abba_error(abba_get_k8s_job_status_local("a-1"), "unavailable", "The cluster is too busy to answer.")
})

test_that("a followed log and a watch go on where the connection breaks", {
  gate <- local_gate()
  id <- submit(local_program(c(
    "for (i in 1:30) { cat('line', i, '\\n'); Sys.sleep(0.05) }",
    gate$wait,
    "for (i in 31:60) cat('line', i, '\\n')"
  )), mounts = gate$mounts)
  wait_for_state(id, "Running")
  requests <- local_path_proxy("-fault", "cut", "-fault-every", "2", "-fault-for", "follow=true")
  following <- follow_in_background(id)
  # A program that had ended before would be read without following it.
  wait_until(function() sum(grepl("follow=true", requests())) > 1L, what = "the second stream")
  gate$open()
  outcome <- outcome_of(following)
  expect_identical(output_of(following), paste("line", 1:60, ""))
  expect_identical(outcome$value[[1L]]$log, paste("line", 1:60, ""))
  expect_identical(outcome$warnings, list())
})
