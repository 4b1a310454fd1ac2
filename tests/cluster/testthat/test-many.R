# Many jobs at once.
local_namespace()

test_that("one request tells the states of 12 jobs, and results come in the order of the ids", {
  ids <- vapply(1:12, function(i) {
    submit(local_program(sprintf("cat('program', %d, '\\n')", i), paste0("program-", i, ".R")),
      batch_group_id = "bundle", cpu_limit = 0.05
    )
  }, "")
  expect_length(unique(ids), 12L)
  # Mixed, and one of them twice.
  order <- c(12:7, 1:6, 4L)
  expect_identical(unique(unname(wait_for_end(ids))), "Succeeded")

  # One kubectl a call, so that the calls can be counted.
  withr::local_options(abba.k8s.session = FALSE)
  calls <- local_counting_kubectl()
  status <- abba_get_k8s_job_status_local(ids[order])
  expect_length(calls(), 1L)
  expect_match(calls(), paste0("^get\t--raw\t/api/v1/namespaces/", the_namespace(), "/pods[?]labelSelector="))
  pods <- vapply(status$Succeeded$Jobs, `[[`, "", "id")
  expect_identical(names(status), "Succeeded")
  expect_identical(substr(pods, 1L, nchar(ids[order])), ids[order])
  paths <- vapply(status$Succeeded$Jobs, `[[`, "", "path")
  expect_identical(basename(paths), paste0("program-", order, ".R"))

  logs <- abba_get_k8s_job_log_local(ids[order])
  expect_identical(vapply(logs, `[[`, "", "job_id"), ids[order])
  expect_identical(vapply(logs, `[[`, "", "log"), paste("program", order, ""))
  # One more LIST of pods, one of Jobs, which tells whether a program was started again, and one request a log, whose
  # last line says that it is whole.
  expect_length(grep("/pods[?]labelSelector=", calls()), 2L)
  expect_length(grep("/log[?]", calls()), 13L)
  expect_length(calls(), 16L)
})

test_that("jobs in different states are grouped, in the order of the ids", {
  gate <- local_gate()
  good <- local_program("cat('good\\n')")
  bad <- local_program("stop('bad')")
  waiting <- local_program(gate$wait)
  ids <- c(
    submit(bad), submit(good), submit(waiting, mounts = gate$mounts), submit(good), submit(bad),
    submit(good, cpu_limit = 64)
  )
  wait_for_states(ids, function(states) {
    identical(unname(states), c("Failed", "Succeeded", "Running", "Succeeded", "Failed", "Pending"))
  }, 120)
  # The pod of the last one comes at its own time.
  wait_until(function() has_pod(ids[[6L]]), what = "the pod of the large job")

  # One kubectl a call, so that the calls can be counted.
  withr::local_options(abba.k8s.session = FALSE)
  calls <- local_counting_kubectl()
  status <- abba_get_k8s_job_status_local(ids)
  expect_length(calls(), 1L)
  expect_identical(names(status), c("Failed", "Succeeded", "Running", "Pending"))
  job_ids <- lapply(status, function(group) job_ids_of(vapply(group$Jobs, `[[`, "", "id"), ids))
  expect_identical(job_ids, list(
    Failed = ids[c(1, 5)], Succeeded = ids[c(2, 4)], Running = ids[3], Pending = ids[6]
  ))
  gate$open()
  expect_identical(wait_for_end(ids[[3L]]), "Succeeded")
})
