# The rights that abba needs in a namespace: these, and none besides. It is the Role that the README shows.
namespace <- local_namespace()

rights <- list(
  create_jobs = list(apiGroups = "batch", resources = "jobs", verbs = "create"),
  get_jobs = list(apiGroups = "batch", resources = "jobs", verbs = "get"),
  list_jobs = list(apiGroups = "batch", resources = "jobs", verbs = "list"),
  list_pods = list(apiGroups = "", resources = "pods", verbs = "list"),
  get_logs = list(apiGroups = "", resources = "pods/log", verbs = "get"),
  list_events = list(apiGroups = "", resources = "events", verbs = "list")
)

# Logs in as a user who has all rights but those named.
local_user_without <- function(..., env = parent.frame()) {
  local_cluster_login(user_kubeconfig(namespace, unname(rights[setdiff(names(rights), c(...))]), env), env)
}

# A submission whose first answer is lost.
submit_with_lost_answer <- function(env = parent.frame()) {
  local_kubectl(c(
    "if [ \"$1\" = create ] && [ ! -e \"$base/lost\" ]; then",
    "  \"$real\" \"$@\" >\"$base/lost\" 2>&1",
    "  echo 'Unable to connect to the server: EOF' >&2",
    "  exit 1",
    "fi",
    "exec \"$real\" \"$@\""
  ), env = env)
  submit(program)
}

program <- local_program("cat('ran\\n')")
ended <- submit(program)
large <- submit(program, cpu_limit = 64)
wait_for_end(ended)
wait_until(function() any(grepl("Insufficient cpu", log_of(large))), what = "the scheduler's word")

test_that("with these rights everything works", {
  local_user_without()
  id <- submit(program)
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), "ran")
  expect_match(log_of(large), "Insufficient cpu", all = FALSE)
  expect_true(states(large) == "Pending")
  lost <- submit_with_lost_answer()
  expect_identical(wait_for_end(lost), "Succeeded")
  expect_abba_error(abba_get_k8s_job_status_local("no-such-job"), "not_found", "no-such-job")
})

test_that("with these rights the log says why a job has no pod", {
  create_quota("pods=0")
  withr::defer(kubectl_lines("delete", "quota", "quota"))
  id <- submit(program)
  local_user_without()
  wait_until(function() any(grepl("exceeded quota", log_of(id))), what = "the reason")
  expect_identical(unname(states(id)), "Pending")

  # Without events the reason is only less detailed.
  local_user_without("list_events")
  log <- log_of(id)
  expect_match(log, "^abba: The program has not started")
  expect_no_match(log, "quota")
})

test_that("without the right to create jobs nothing is submitted, and the rest works", {
  local_user_without("create_jobs")
  expect_no_submission(
    abba_submit_k8s_job_local(program), "forbidden",
    paste0("You are not allowed to create jobs in the namespace \"", namespace, "\"."),
    "abba's README has the Role", "cannot create resource \"jobs\""
  )
  expect_identical(unname(states(ended)), "Succeeded")
  expect_identical(log_of(ended), "ran")
})

test_that("without the right to get jobs a submission whose answer is lost is told as open", {
  local_user_without("get_jobs")
  expect_identical(wait_for_end(submit(program)), "Succeeded")
  before <- jobs_in()
  error <- tryCatch(submit_with_lost_answer(), abba_error_kubectl = identity)
  expect_s3_class(error, "abba_error_kubectl")
  expect_match(conditionMessage(error), "Whether the job was created is not known", fixed = TRUE)
  expect_identical(error$job_id, setdiff(jobs_in(), before))
})

test_that("without the right to list jobs the state of a job that has a pod is known, of others not", {
  local_user_without("list_jobs")
  expect_identical(unname(states(ended)), "Succeeded")
  expect_identical(log_of(ended), "ran")
  for (verb in list(abba_get_k8s_job_status_local, abba_get_k8s_job_log_local)) {
    expect_abba_error(
      verb("no-such-job"), "forbidden",
      paste0("You are not allowed to list jobs in the namespace \"", namespace, "\"."), "cannot list resource \"jobs\""
    )
  }
})

test_that("without the right to list pods neither state nor log is known", {
  local_user_without("list_pods")
  for (verb in list(abba_get_k8s_job_status_local, abba_get_k8s_job_log_local)) {
    expect_abba_error(
      verb(ended), "forbidden",
      paste0("You are not allowed to list pods in the namespace \"", namespace, "\"."), "not affected",
      "cannot list resource \"pods\""
    )
  }
})

test_that("without the right to get logs the state is known and the log not", {
  local_user_without("get_logs")
  expect_identical(unname(states(ended)), "Succeeded")
  expect_abba_error(
    abba_get_k8s_job_log_local(ended), "forbidden",
    paste0("You are not allowed to read the logs of pods in the namespace \"", namespace, "\"."), "not affected",
    "cannot get resource \"pods/log\""
  )
  # What has no log needs no right to it.
  expect_match(log_of(large), "Insufficient cpu", all = FALSE)
})

test_that("without the right to list events only the reason is less detailed", {
  local_user_without("list_events")
  expect_identical(wait_for_end(submit(program)), "Succeeded")
  expect_identical(log_of(ended), "ran")
  expect_match(log_of(large), "Insufficient cpu", all = FALSE)
})

test_that("rights in one namespace are none in another", {
  other <- local_cluster_namespace()
  local_user_without()
  expect_no_submission(
    abba_submit_k8s_job_local(program, namespace = other), "forbidden",
    paste0("You are not allowed to create jobs in the namespace \"", other, "\"."),
    namespace = other
  )
  expect_abba_error(abba_get_k8s_job_status_local(ended, namespace = other), "forbidden", other)
})
