# Waiting for jobs.
namespace <- local_namespace()

# What keeps these from starting takes the node some time to find out. Port 1 is nobody's.
of_no_registry <- submit(local_program("1"), container = "127.0.0.1:1/r-base:4.2.2")
of_no_secret <- submit(local_program("1"), mounts = list(
  volumes = list(list(name = "s", secret = list(secretName = "no-such-secret"))),
  volumeMounts = list(list(name = "s", mountPath = "/s"))
))
of_no_image <- c(
  submit(local_program("1"), container = cluster_image("nope:1")),
  submit(local_program("1"), container = cluster_image("nope:1"))
)

test_that("many jobs are watched in one stream, and nothing is asked while nothing changes", {
  gate <- local_gate()
  path <- local_program(gate$wait)
  batch <- submit_batch(rep(path, 3L), mounts = gate$mounts, cpu_limit = 0.05)
  wait_for_state(batch$job_id, "Running")
  # A time limit of nothing tells the state and ends.
  id <- batch$job_id[[1L]]
  error <- expect_abba_error(abba_watch_k8s_job_local(id, timeout_seconds = 0), "wait_timeout", "1 Running")
  expect_identical(names(error$status), "Running")
  # The call that comes back says the namespace where it is not the usual one.
  withr::with_options(list(abba.k8s.namespace = NULL), expect_abba_error(
    abba_watch_k8s_job_local(id, timeout_seconds = 0, namespace = namespace), "wait_timeout",
    paste0("abba_watch_k8s_job_local(\"", id, "\", namespace = \"", namespace, "\")")
  ))
  base <- local_noted_kubectl()
  watching <- watch_in_background(batch$job_id)
  wait_until(function() length(watches_of(base)) == 1L, what = "the watch")
  gate$open()
  outcome <- outcome_of(watching)
  expect_identical(names(outcome$value), "Succeeded")
  pods <- vapply(outcome$value$Succeeded$Jobs, `[[`, "", "id")
  expect_identical(job_ids_of(pods, batch$job_id), batch$job_id)
  expect_identical(outcome$warnings, list())
  # The state at the beginning, and the stream.
  expect_length(calls_of(base), 2L)
  # What has ended needs no stream.
  expect_identical(abba_watch_k8s_job_local(batch$job_id, timeout_seconds = Inf), outcome$value)
  expect_length(watches_of(base), 1L)
})

test_that("a job without a pod is waited for", {
  local_namespace()
  create_quota("pods=0")
  id <- submit(local_program("1"))
  watching <- watch_in_background(id, on_stuck = "fail")
  # A quota is no reason to give up.
  why <- function() grepl("exceeded quota", abba_explain_k8s_job_local(id)$details)
  wait_until(why, what = "the refusal")
  error <- expect_abba_error(
    abba_watch_k8s_job_local(id, timeout_seconds = 3), "wait_timeout", "1 Pending", "They go on.",
    paste0("To wait longer: abba_watch_k8s_job_local(\"", id, "\")")
  )
  expect_identical(error$status$Pending$Jobs[[1L]]$id, id)
  expect_s3_class(error, "abba_error_timeout")
  expect_true(watching$is_alive())
  kubectl_lines("delete", "quota", "quota")
  outcome <- outcome_of(watching)
  expect_identical(names(outcome$value), "Succeeded")
  expect_identical(outcome$warnings, list())
})

test_that("a pod that is refused for good is told at once, and whether to give up is the user's choice", {
  local_namespace()
  forbid_pods()
  id <- submit(local_program("1"))
  # The watch begins before the refusal is known.
  error <- expect_abba_error(
    abba_watch_k8s_job_local(id, on_stuck = "fail", timeout_seconds = 60), "stuck",
    "Kubernetes cannot make its pod", paste0("Job ", id, " cannot start."),
    "Ask for limits that the namespace allows.", "maximum cpu usage per Container is 10m"
  )
  expect_identical(error$job_id, id)
  expect_identical(names(error$status), "Pending")
  watching <- local_background(function(id) {
    withCallingHandlers(abba_watch_k8s_job_local(id), abba_warning_stuck = function(warning) cat("warned\n"))
  }, id)
  wait_until(has_printed(watching, "warned"), what = "the warning")
  expect_true(watching$is_alive())
  outcome <- outcome_of(watch_in_background(id, timeout_seconds = 4, on_stuck = "wait"))
  expect_s3_class(outcome$value, "abba_error_wait_timeout")
  expect_identical(outcome$warnings, list())
  # It is still there.
  expect_identical(unname(states(id)), "Pending")
  abba_cancel_k8s_job_local(id)
  # It was told once, however long the wait was.
  outcome <- outcome_of(watching)
  expect_identical(names(outcome$value), "Failed")
  expect_length(outcome$warnings, 1L)
  expect_s3_class(outcome$warnings[[1L]], "abba_warning_stuck")
  expect_identical(outcome$warnings[[1L]]$job_id, id)
  expect_match(conditionMessage(outcome$warnings[[1L]]), "maximum cpu usage per Container is 10m", fixed = TRUE)
})

test_that("an image that does not exist is told once it is certain, with the cause", {
  outcome <- outcome_of(watch_in_background(of_no_image, on_stuck = "fail", timeout_seconds = 110))
  expect_s3_class(outcome$value, "abba_error_stuck")
  words <- paste0("\"", cluster_image("nope:1"), "\" cannot be pulled")
  expect_match(conditionMessage(outcome$value), words, fixed = TRUE)
  expect_match(conditionMessage(outcome$value), "not found", fixed = TRUE)
  expect_true(outcome$value$job_id[[1L]] %in% of_no_image)
  abba_cancel_k8s_job_local(of_no_image)
})

test_that("a registry that does not answer is waited for", {
  wait_for_details(of_no_registry, "ImagePullBackOff")
  expect_abba_error(abba_watch_k8s_job_local(of_no_registry, on_stuck = "fail", timeout_seconds = 3), "wait_timeout")
  abba_cancel_k8s_job_local(of_no_registry)
})

test_that("limits that no node has are told at once, and a full node is waited for", {
  id <- submit(local_program("1"), cpu_limit = 64)
  error <- expect_abba_error(
    abba_watch_k8s_job_local(id, on_stuck = "fail", timeout_seconds = 60), "stuck",
    "no node of the cluster is large enough for its limits", "smaller `cpu_limit`", "Insufficient cpu"
  )
  expect_identical(error$job_id, id)
  expect_identical(abba_cancel_k8s_job_local(id)$done, "kept from starting")

  gate <- local_gate()
  path <- local_program(gate$wait)
  # The node's memory is large and nobody else here needs half of it.
  size <- as.numeric(sub("Ki$", "", field("node", "--all-namespaces", ".items[0].status.allocatable.memory")))
  most <- paste0(floor(size * 0.6), "Ki")
  first <- submit(path, mounts = gate$mounts, memory_limit = most)
  wait_for_state(first, "Running")
  second <- submit(path, mounts = gate$mounts, memory_limit = most)
  wait_for_details(second, "Insufficient memory")
  expect_abba_error(
    abba_watch_k8s_job_local(second, on_stuck = "fail", timeout_seconds = 3), "wait_timeout", "1 Pending"
  )
  gate$open()
  expect_identical(names(abba_watch_k8s_job_local(c(first, second), on_stuck = "fail")), "Succeeded")
})

test_that("a mount that is not there is told", {
  wait_for_details(of_no_secret, "no-such-secret")
  expect_match(reason_of(of_no_secret), "its container cannot be made ready")
  abba_cancel_k8s_job_local(of_no_secret)
})

test_that("a batch is watched with the jobs that are submitted in the meantime", {
  local_namespace()
  create_quota_of_pods(2)
  gate <- local_gate()
  submit_batch(local_program(gate$wait, "first.R"), batch_group_id = "b", mounts = gate$mounts)
  base <- local_noted_kubectl()
  watching <- local_background(function() abba_watch_k8s_batch_local("b"))
  wait_until(function() length(watches_of(base)) >= 1L, what = "the watch")
  # One with a pod, and one that has none when all others have ended.
  submit_batch(local_program(gate$wait, "second.R"), batch_group_id = "b", mounts = gate$mounts)
  wait_until(function() length(jobs_in()) == 2L && all(lengths(lapply(jobs_in(), pods_of)) == 1L), what = "the pods")
  submit_batch(local_program("1", "third.R"), batch_group_id = "b", mounts = gate$mounts)
  gate$open()
  ended <- function() length(abba_get_k8s_batch_status_local("b")$Succeeded$Jobs) >= 2L
  wait_until(ended, what = "the first two to end")
  kubectl_lines("delete", "quota", "quota")
  outcome <- outcome_of(watching)
  expect_identical(names(outcome$value), "Succeeded")
  expect_length(outcome$value$Succeeded$Jobs, 3L)
})

test_that("a job that somebody removes keeps no other from being waited for", {
  gate <- local_gate()
  kept <- submit(local_program(gate$wait), mounts = gate$mounts)
  removed <- submit(local_program("1"), cpu_limit = 64)
  wait_for_states(c(kept, removed), function(states) identical(unname(states), c("Running", "Pending")))
  wait_until(function() has_pod(removed), what = "its pod")
  base <- local_noted_kubectl()
  watching <- watch_in_background(c(kept, removed), on_stuck = "wait")
  wait_until(function() length(watches_of(base)) >= 1L, what = "the watch")
  kubectl_lines("delete", "job", removed)
  gate$open()
  outcome <- outcome_of(watching)
  expect_s3_class(outcome$value, "abba_error_not_found")
  expect_match(conditionMessage(outcome$value), removed, fixed = TRUE)
  expect_match(conditionMessage(outcome$value), "removed while it was watched", fixed = TRUE)
  expect_identical(names(outcome$value$status), "Succeeded")
})

test_that("a job that ended and is removed while others run has ended", {
  gate <- local_gate()
  gate_too <- local_gate()
  program <- local_program(gate$wait)
  ids <- c(submit(program, mounts = gate$mounts), submit(program, mounts = gate_too$mounts))
  wait_for_state(ids, "Running")
  base <- local_noted_kubectl()
  watching <- watch_in_background(ids)
  wait_until(function() length(watches_of(base)) >= 1L, what = "the watch")
  gate$open()
  wait_for_state(ids[[1L]], "Succeeded")
  # As the cluster does a week later, or an administrator's broom at once.
  kubectl_lines("delete", "job", ids[[1L]], "--wait=true")
  wait_until(function() length(pods_of(ids[[1L]])) == 0L, what = "its pod to be gone")
  gate_too$open()
  outcome <- outcome_of(watching)
  expect_identical(names(outcome$value), "Succeeded")
  expect_length(outcome$value$Succeeded$Jobs, 2L)
})

test_that("a job whose pod somebody deletes has failed, and the wait ends", {
  gate <- local_gate()
  id <- submit(local_program(gate$wait), mounts = gate$mounts)
  wait_for_state(id, "Running")
  watching <- watch_in_background(id)
  wait_until(function() watching$is_alive(), what = "the watch")
  kubectl_lines("delete", "pod", pods_of(id), "--wait=false")
  expect_identical(names(outcome_of(watching)$value), "Failed")
})

test_that("ids that are none, and jobs that do not exist, are refused", {
  expect_abba_error(abba_watch_k8s_job_local("no-such-job"), "not_found", "no-such-job")
  expect_abba_error(abba_watch_k8s_batch_local("no-such-batch"), "not_found", "no-such-batch")
  expect_abba_error(abba_watch_k8s_job_local("x", timeout_seconds = -1), "input", "`timeout_seconds`")
  expect_abba_error(abba_watch_k8s_job_local("x", timeout_seconds = NA), "input", "`timeout_seconds`")
})
