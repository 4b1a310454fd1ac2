# Cancelling jobs.
local_namespace()

cancel <- function(...) abba_cancel_k8s_job_local(...)

test_that("a running program is ended, and its log and record stay", {
  gate <- local_gate()
  id <- submit(local_program(c("cat('begun\\n')", gate$wait, "cat('after\\n')")), mounts = gate$mounts)
  wait_until(function() identical(log_of(id), "begun"), what = "the program to start")
  expect_identical(cancel(id), data.frame(job_id = id, done = "stopped"))
  expect_identical(wait_for_end(id), "Failed")
  wait_until(function() identical(field("pod", pods_of(id), ".status.phase"), "Failed"), what = "the pod to end")
  # The gate stays shut: it was ended.
  expect_identical(log_of(id), "begun")
  expect_identical(reason_of(id), "The program was cancelled.")
  record <- abba_list_k8s_jobs_local()
  record <- record[record$job_id == id, ]
  expect_identical(record$status, "Failed")
  expect_identical(record$reason, "The program was cancelled.")
  expect_identical(record$exit_code, 143L)
  expect_false(is.na(record$finished))
  # Twice is no error.
  expect_identical(cancel(id), data.frame(job_id = id, done = "was cancelled before"))
})

test_once("what has ended by itself had ended, and is not taken for cancelled", {
  ids <- c(submit(local_program("cat('ran\\n')")), submit(local_program("stop('no')")))
  wait_for_end(ids)
  expect_identical(cancel(ids), data.frame(job_id = ids, done = rep("had ended", 2L)))
  expect_identical(unname(states(ids)), c("Succeeded", "Failed"))
  expect_identical(reason_of(ids[[2L]]), "The program ended with exit status 1.")
  expect_true(is.na(reason_of(ids[[1L]])))
})

test_once("what has not started is kept from starting", {
  folder <- withr::local_tempdir()
  Sys.chmod(folder, "0777", use_umask = FALSE)
  program <- local_program("cat('ran\\n', file = '/data/ran')")
  mounts <- host_path(folder, "/data")
  large <- submit(program, mounts = mounts, cpu_limit = 64)
  image <- submit(program, mounts = mounts, container = cluster_image("nope:1"))
  wait_for_details(large, "Insufficient cpu")
  wait_for_details(image, "ImagePull")
  ids <- c(large, image)
  expect_identical(cancel(ids)$done, rep("kept from starting", 2L))
  expect_identical(unname(wait_for_end(ids)), rep("Failed", 2L))
  why <- "The program has not run: it was cancelled before it started."
  for (id in ids) {
    expect_identical(reason_of(id), why)
    wait_until(function() identical(log_of(id), paste("abba:", why)), what = "the log")
  }
  expect_identical(cancel(ids)$done, rep("was cancelled before", 2L))
  expect_identical(abba_list_k8s_jobs_local(status = "Failed")$reason[1:2], rep(reason_of(large), 2L))
  expect_identical(list.files(folder), character())
})

test_once("a job without a pod never gets one", {
  local_namespace()
  create_quota("pods=0")
  id <- submit(local_program("1"))
  wait_for_details(id, "exceeded quota")
  expect_identical(cancel(id)$done, "kept from starting")
  expect_identical(wait_for_end(id), "Failed")
  kubectl_lines("delete", "quota", "quota")
  expect_identical(reason_of(id), "The program has not run: it was cancelled before it started.")
  expect_identical(pods_of(id), character())
  expect_identical(cancel(id)$done, "was cancelled before")
})

test_once("a job that a queue holds back says so, ends when it is cancelled, and never starts", {
  local_namespace()
  create_quota("pods=0")
  id <- submit(local_program("1"))
  suspend <- function(value) kubectl_lines("patch", "job", id, "-p", paste0("{\"spec\": {\"suspend\": ", value, "}}"))
  suspend("true")
  kubectl_lines("delete", "quota", "quota")
  wait_for_details(id, "JobSuspended")
  expect_identical(reason_of(id), "The program waits in the cluster's queue: its job is suspended.")
  expect_identical(unname(states(id)), "Pending")
  expect_identical(cancel(id)$done, "kept from starting")
  why <- "The program has not run: it was cancelled before it started."
  expect_identical(unname(states(id)), "Failed")
  expect_identical(reason_of(id), why)
  suspend("false")
  has_failed <- function() identical(field("job", id, ".status.conditions[?(@.type=='Failed')].status"), "True")
  wait_until(has_failed, what = "the job to end")
  expect_identical(reason_of(id), why)
  expect_identical(pods_of(id), character())
})

test_once("jobs that are cancelled the moment they are submitted end, and what they tell is true", {
  gate <- local_gate()
  program <- local_program(c("cat(Sys.getenv('ABBA_JOB_ID'), '\\n', file = '/gate/begun', append = TRUE)", gate$wait))
  done <- lapply(1:6, function(i) {
    id <- submit(program, mounts = gate$mounts)
    # At six moments between the job's creation and its program's start.
    Sys.sleep((i - 1) * 0.12)
    cancel(id)
  })
  done <- do.call(rbind, done)
  expect_true(all(done$done %in% c("stopped", "kept from starting")))
  expect_identical(unique(unname(wait_for_end(done$job_id))), "Failed")
  begun <- if (file.exists(gate$file("begun"))) trimws(readLines(gate$file("begun"))) else character()
  expect_true(all(begun %in% done$job_id[done$done == "stopped"]))
  never_run <- "The program has not run: it was cancelled before it started."
  for (row in seq_len(nrow(done))) {
    id <- done$job_id[[row]]
    wait_until(function() !any(runs_here(id)), what = "nothing of it to run")
    if (done$done[[row]] == "stopped") {
      # What has begun is not deleted with its log. One whose slow node did not say in time whether it began is told as
      # stopped, too.
      reason <- reason_of(id)
      expect_true(reason %in% c("The program was cancelled.", if (!id %in% begun) never_run), label = reason)
      expect_true(has_pod(id))
    } else {
      expect_identical(reason_of(id), never_run)
    }
  }
})

test_that("a batch is cancelled, whatever its jobs are at", {
  local_namespace()
  gate <- local_gate()
  text <- c("if (startsWith(Sys.getenv('ABBA_JOB_ID'), 'runs')) {", gate$wait, "}")
  programs <- local_programs(c("runs.R", "ended.R"), text)
  batch <- submit_batch(programs, batch_group_id = "b", mounts = gate$mounts)
  large <- submit_batch(local_program("1", "large.R"), batch_group_id = "b", cpu_limit = 64)
  wait_for_states(batch$job_id, function(states) identical(unname(states), c("Running", "Succeeded")))
  wait_until(function() has_pod(large$job_id), what = "its pod")
  ids <- c(batch$job_id, large$job_id)
  done <- abba_cancel_k8s_batch_local("b")
  expect_identical(done$done[match(ids, done$job_id)], c("stopped", "had ended", "kept from starting"))
  expect_identical(nrow(done), 3L)
  wait_for_end(ids)
  expect_identical(
    abba_cancel_k8s_batch_local("b")$done[match(ids, done$job_id)],
    c("was cancelled before", "had ended", "was cancelled before")
  )
  listed <- abba_list_k8s_jobs_local(batch_id = "b")
  expect_match(listed$reason[match(ids, listed$job_id)][-2L], "cancelled")
  expect_abba_error(abba_cancel_k8s_batch_local("no-such-batch"), "not_found", "no-such-batch")
})

test_once("a program that does not want to end has 30 seconds, and is told of as ending", {
  gate <- local_gate()
  # R ends at SIGTERM; its child, which it waits for, does not.
  program <- local_program(c(
    "cat('begun\\n')", "invisible(file.create('/gate/begun'))",
    "system2('/bin/sh', c('-c', shQuote('trap \"\" TERM; while [ ! -e /gate/open ]; do sleep 0.1; done')))"
  ))
  id <- submit(program, mounts = gate$mounts)
  wait_until(function() file.exists(gate$file("begun")), what = "the program to begin")
  expect_identical(cancel(id)$done, "stopped")
  expect_identical(cancel(id)$done, "was cancelled before")
  gate$open()
  expect_identical(wait_for_end(id), "Failed")
  expect_identical(reason_of(id), "The program was cancelled.")
  expect_identical(log_of(id), "begun")
})

test_that("jobs that do not exist, or may not be changed, are errors", {
  expect_abba_error(cancel("no-such-job"), "not_found", "no-such-job")
  gate <- local_gate()
  ids <- c(submit(local_program(gate$wait), mounts = gate$mounts), submit(local_program("1")))
  wait_for_states(ids, function(states) identical(unname(states), c("Running", "Succeeded")))
  withr::with_envvar(character(), {
    rights <- list(
      list(apiGroups = "batch", resources = "jobs", verbs = c("get", "list")),
      list(apiGroups = "", resources = "pods", verbs = c("get", "list"))
    )
    local({
      local_cluster_login(user_kubeconfig(the_namespace(), rights))
      error <- expect_abba_error(cancel(ids), "forbidden", "You are not allowed to change pods", "was not cancelled")
      expect_identical(error$done, data.frame(job_id = ids, done = c(NA, "had ended")))
    })
  })
  expect_identical(unname(states(ids[[1L]])), "Running")
  gate$open()
})
