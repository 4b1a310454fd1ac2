# A server behind a path, as cluster managers have them: https://host/k8s/clusters/c-1. Every verb goes there.
local_namespace()

test_that("a job is submitted, watched, listed, explained, read and cancelled through a server behind a path", {
  requests <- local_path_proxy()
  gate <- local_gate()
  path <- local_program(c("cat('one\\n')", gate$wait, "cat('two\\n')"))
  id <- submit(path, batch_group_id = "behind-a-path", mounts = gate$mounts)
  following <- follow_in_background(id)
  wait_until(has_printed(following, "one"), what = "the first line")
  watching <- watch_in_background(id)
  wait_until(function() any(grepl("watch=1", requests())), what = "the watch")
  gate$open()
  expect_named(outcome_of(watching)$value, "Succeeded")
  expect_identical(outcome_of(following)$value[[1L]]$log, c("one", "two"))
  expect_identical(output_of(following), c("one", "two"))
  expect_named(abba_watch_k8s_job_local(id), "Succeeded")
  expect_named(abba_watch_k8s_batch_local("behind-a-path"), "Succeeded")
  expect_named(abba_get_k8s_job_status_local(id), "Succeeded")
  expect_identical(log_of(id), c("one", "two"))
  expect_identical(abba_list_k8s_jobs_local(batch_id = "behind-a-path")$job_id, id)
  expect_identical(abba_explain_k8s_job_local(id)$exit_code, 0L)

  gate <- local_gate()
  waits <- submit(local_program(c("cat('begun\\n')", gate$wait)), mounts = gate$mounts)
  wait_for_state(waits, "Running")
  wait_until(function() identical(log_of(waits), "begun"), what = "its first line")
  abba_cancel_k8s_job_local(waits)
  expect_identical(wait_for_end(waits), "Failed")
  expect_identical(log_of(waits)[[1L]], "begun")

  seen <- requests()
  expect_match(seen, paste0("^(GET|POST|PUT) ", server_path, "/"))
  for (part in c("POST [^ ]*/jobs[?]", "watch=1", "/log[?][^ ]*follow=true", "PUT [^ ]*/pods/", "/events[?]")) {
    expect_match(seen, part, all = FALSE)
  }
  # What it did is in the cluster, as the administrator sees it.
  expect_setequal(jobs_in(), c(id, waits))
})

test_that("a batch goes through a server behind a path", {
  local_path_proxy()
  programs <- local_many_programs(10)
  batch <- suppressMessages(abba_submit_k8s_batch_local(programs, cpu_limit = 0.1))
  expect_named(abba_watch_k8s_batch_local(batch$batch_id[[1L]]), "Succeeded")
  logs <- abba_get_k8s_batch_log_local(batch$batch_id[[1L]])
  expect_setequal(vapply(logs, `[[`, "", "log"), paste(1:10, ""))
})

test_that("a login that the server in front refuses is told as such", {
  local_path_proxy(token = "another-token")
  expect_no_submission(
    abba_submit_k8s_job_local(local_program("1")), "unauthorized", "The cluster does not accept your login."
  )
  expect_abba_error(abba_get_k8s_job_status_local("a-1"), "unauthorized")
})
