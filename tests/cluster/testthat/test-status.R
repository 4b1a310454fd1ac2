# Every state that a job can be in, and its log in each of them.
local_namespace()

# The one entry of the status of a job.
entry_of <- function(id) {
  status <- abba_get_k8s_job_status_local(id)
  list(state = names(status), id = status[[1L]]$Jobs[[1L]]$id)
}

test_that("a job without a pod is pending, and its id is the job's", {
  local_namespace()
  create_quota("pods=0")
  id <- submit(local_program("1"))
  expect_identical(entry_of(id), list(state = "Pending", id = id))
})

test_once("a job that no node is large enough for is pending, and its log says so", {
  id <- submit(local_program("1"), cpu_limit = 64)
  unschedulable <- function() has_pod(id) && grepl("Insufficient cpu", log_of(id)[[2L]])
  wait_until(unschedulable, what = "the scheduler's word")
  expect_identical(entry_of(id), list(state = "Pending", id = pods_of(id)))
  log <- log_of(id)
  expect_identical(log[[1L]], "abba: The program cannot start: no node of the cluster is large enough for its limits.")
  expect_match(log[[2L]], "^abba: Kubernetes says: Unschedulable: 0/1 nodes are available: 1 Insufficient cpu")
  expect_match(log[[3L]], "^abba: .*`cpu_limit`")
})

test_that("a running job is running, its log grows, and then it has succeeded", {
  gate <- local_gate()
  path <- local_program(c("cat('first\\n')", gate$wait, "cat('second\\n')"))
  id <- submit(path, mounts = gate$mounts)
  expect_identical(wait_for_states(id, function(states) states != "Pending", 60), "Running")
  wait_until(function() identical(log_of(id), "first"), what = "the first line")
  expect_identical(entry_of(id), list(state = "Running", id = pods_of(id)))
  gate$open()
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), c("first", "second"))
})

test_once("a pod from which somebody has taken abba's labels runs, and its log is there once it has ended", {
  gate <- local_gate()
  id <- submit(local_program(c(gate$wait, "cat('ran\\n')")), mounts = gate$mounts)
  wait_for_state(id, "Running")
  pod <- pods_of(id)
  kubectl_lines("label", "pod", pod, "abba/job-id-")
  # The Job knows it a moment later than its pod.
  wait_until(function() identical(entry_of(id), list(state = "Running", id = id)), what = "the Job's word")
  gate$open()
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(entry_of(id)$id, pod)
  expect_identical(log_of(id), "ran")
})

test_once("whatever makes a program fail, the job has failed and its log tells how far it came", {
  folder <- withr::local_tempdir()
  missing <- local_program("1", "missing.R", folder)
  empty <- withr::local_tempdir()
  sub_folder <- file.path(folder, "sub")
  dir.create(sub_folder)
  nowhere <- local_program("1", "nowhere.R", sub_folder)
  ids <- c(
    stop = submit(local_program(c("cat('before\\n')", "stop('boom 100% %s')", "cat('after\\n')"))),
    quit = submit(local_program(c("cat('before\\n')", "quit(status = 3)", "cat('after\\n')"))),
    signal = submit(local_program(c("cat('before\\n')", "tools::pskill(Sys.getpid(), 9L)", "cat('after\\n')"))),
    memory = submit(
      local_program(c("cat('before\\n')", "x <- numeric(1e8); x[] <- 1", "cat('after\\n')")),
      memory_limit = "128M"
    ),
    # The mounts hide the folder that the program lies in.
    no_program = submit(missing, mounts = host_path(empty, folder)),
    no_folder = submit(nowhere, mounts = host_path(empty, folder)),
    time = submit(
      local_program(c("cat('before\\n')", "Sys.sleep(10000)", "cat('after\\n')")),
      time_limit_seconds = 3600
    ),
    no_r = submit(local_program("1"), container = cluster_image("no-r:1")),
    no_shell = submit(local_program("1"), container = cluster_image("pause:1"))
  )
  wait_until(function() identical(log_of(ids[["time"]]), "before"), 180, what = "the program with the time limit")
  shorten_time_limit(ids[["time"]], 10)
  expect_identical(unique(unname(wait_for_end(ids))), "Failed")
  wait_for_pods_to_end(ids)
  status <- abba_get_k8s_job_status_local(ids)
  expect_identical(status$Failed$Description, paste(
    "All containers in the Pod have terminated, and at least one container has terminated in failure. That is, the",
    "container either exited with non-zero status or was terminated by the system."
  ))
  expect_identical(
    vapply(status$Failed$Jobs, `[[`, "", "id"),
    unname(vapply(ids, pods_of, ""))
  )

  logs <- lapply(abba_get_k8s_job_log_local(ids), `[[`, "log")
  names(logs) <- names(ids)
  expect_identical(logs$stop, c("before", "Error: boom 100% %s", "Execution halted"))
  expect_identical(logs$quit, "before")
  expect_identical(logs$signal, "before")
  expect_identical(logs$memory, "before")
  expect_identical(field("pod", pods_of(ids[["memory"]]), ".status..terminated.reason"), "OOMKilled")
  expect_match(logs$no_program, paste("cannot read the program", missing), fixed = TRUE, all = FALSE)
  expect_match(logs$no_folder, paste("cannot read the program", nowhere), fixed = TRUE, all = FALSE)
  expect_identical(logs$time, "before")
  expect_identical(field("pod", pods_of(ids[["time"]]), ".status.reason"), "DeadlineExceeded")
  expect_match(logs$no_r, "The image has no \"R\" on its PATH", fixed = TRUE, all = FALSE)
  expect_identical(logs$no_shell[[1L]], "abba: The program has not run: its container could not be started.")
  expect_match(logs$no_shell[[2L]], "/bin/sh", fixed = TRUE)
  # Nothing of ours appears where programs were not found.
  expect_identical(list.files(empty, all.files = TRUE, no.. = TRUE), character())
})

test_once("a job whose pod somebody deletes has failed, and does not run twice", {
  gate <- local_gate()
  path <- local_program(c("cat('once\\n', file = '/gate/runs', append = TRUE)", gate$wait))
  id <- submit(path, mounts = gate$mounts)
  wait_until(function() file.exists(gate$file("runs")), what = "the program to start")
  kubectl_lines("delete", "pod", pods_of(id))
  expect_identical(wait_for_end(id), "Failed")
  expect_identical(entry_of(id), list(state = "Failed", id = id))
  log <- log_of(id)
  expect_identical(log[[1L]], "abba: The program's log is gone: its job has failed, and its pod was removed.")
  # The end of the job, not of the pod, is what says that no other pod will come.
  job_has_failed <- function() grepl("\\bFailed\\b", field("job", id, ".status.conditions[*].type"))
  wait_until(job_has_failed, what = "the job to fail")
  expect_identical(pods_of(id), character())
  expect_identical(readLines(gate$file("runs")), "once")
})

test_once("a program that is started anew after a suspension is told by status, log and explain", {
  gate <- local_gate()
  program <- local_program(c("cat('begun\\n', file = '/gate/begun', append = TRUE)", "cat('here\\n')", gate$wait))
  id <- submit(program, mounts = gate$mounts, batch_group_id = "again")
  begun <- function() if (file.exists(gate$file("begun"))) length(readLines(gate$file("begun"))) else 0L
  suspend <- function(value) kubectl_lines("patch", "job", id, "-p", paste0("{\"spec\": {\"suspend\": ", value, "}}"))
  wait_until(function() begun() == 1L, what = "the first start")
  expect_no_warning(entry_of(id))
  suspend("true")
  wait_until(function() !has_pod(id), what = "the pod to be gone")
  suspend("false")
  wait_until(function() begun() == 2L, what = "the second start")
  gate$open()
  # Each look at it on the way says so.
  suppressWarnings(end <- wait_for_end(id), classes = "abba_warning_started_again")
  expect_identical(unname(end), "Succeeded")
  # The pods of a single job do not tell it, and no further question is asked for its status.
  batch_status <- function(id) abba_get_k8s_batch_status_local("again")
  for (ask in list(batch_status, abba_get_k8s_job_log_local)) {
    told <- expect_warning(ask(id), class = "abba_warning_started_again")
    expect_identical(told$job_id, id)
    expect_match(conditionMessage(told), "started more than once", fixed = TRUE)
  }
  explanation <- abba_explain_k8s_job_local(id)
  expect_identical(explanation$reason, "The program was started more than once.")
  expect_identical(explanation$attempts, 2L)
})
