# What goes wrong between here and the cluster: each kind has a class of its own and says what it means for the job.
namespace <- local_namespace()

program <- local_program("cat('ran\\n')")

# What a user may do who lacks nothing.
all_rights <- list(
  jobs = list(apiGroups = "batch", resources = "jobs", verbs = c("create", "get", "list")),
  pods = list(apiGroups = "", resources = "pods", verbs = "list"),
  logs = list(apiGroups = "", resources = "pods/log", verbs = "get"),
  events = list(apiGroups = "", resources = "events", verbs = "list")
)

# A job that has ended, for the tests that read.
ended <- submit(program)
wait_for_end(ended)

test_that("without kubectl, the message says how to get it", {
  folder <- withr::local_tempdir()
  withr::local_envvar(PATH = folder)
  # The check on the cluster needs the real one, which is not on this PATH.
  for (words in c("There is no kubectl program", "Install kubectl", "abba.kubectl")) {
    expect_no_submission(abba_submit_k8s_job_local(program), "kubectl_missing", words)
  }
  expect_abba_error(abba_get_k8s_job_status_local(ended), "kubectl_missing", "There is no kubectl program")
  expect_abba_error(abba_get_k8s_job_log_local(ended), "kubectl_missing", "There is no kubectl program")
})

test_that("with kubectl and nothing configured, the message says so", {
  empty <- withr::local_tempfile(lines = character())
  withr::local_envvar(HOME = withr::local_tempdir())
  for (kubeconfig in c(empty, "", file.path(tempdir(), "no-such-file"))) {
    withr::local_envvar(KUBECONFIG = kubeconfig)
    expect_no_submission(
      abba_submit_k8s_job_local(program), "not_configured",
      "kubectl does not know which cluster to speak to.", "KUBECONFIG"
    )
    expect_abba_error(abba_get_k8s_job_status_local(ended), "not_configured", "does not know which cluster")
  }
})

test_that("a configuration that cannot be read is named", {
  kubeconfig <- broken_kubeconfig()
  withr::local_envvar(KUBECONFIG = kubeconfig)
  expect_no_submission(
    abba_submit_k8s_job_local(program), "not_configured", "kubectl cannot use its configuration.", kubeconfig
  )
  expect_abba_error(abba_get_k8s_job_status_local(ended), "not_configured", kubeconfig)
  # The same where the namespace has to be read from it.
  expect_no_submission(
    abba_submit_k8s_job_local(program, namespace = NULL), "not_configured", kubeconfig,
    namespace = namespace
  )
})

test_that("a server that refuses connections is one that cannot be reached", {
  local_cluster_login(refusing_kubeconfig(namespace))
  error <- expect_no_submission(
    abba_submit_k8s_job_local(program), "unavailable", "The cluster cannot be reached.", "127.0.0.1:1"
  )
  expect_match(error$stderr, "refused")
  # The kept kubectl answers over HTTP and does not end.
  expect_identical(error$exit_status, if (!getOption("abba.k8s.session")) 1L)
  expect_match(error$request, paste0("^POST /apis/batch/v1/namespaces/", namespace, "/jobs"))
  expect_abba_error(
    abba_get_k8s_job_status_local(ended), "unavailable", "The cluster cannot be reached.", "not affected"
  )
})

test_that("a server that never answers is given up after the time limit", {
  local_cluster_login(hanging_kubeconfig(namespace))
  withr::local_options(abba.k8s.request.timeout = 2)
  expect_abba_error(
    abba_get_k8s_job_status_local(ended), "timeout",
    "did not answer within 2 seconds", "`abba.k8s.request.timeout`", "not affected"
  )
  before <- jobs_in()
  error <- expect_abba_error(
    abba_submit_k8s_job_local(program), "timeout",
    "did not answer within 2 seconds", "Whether the job was created is not known"
  )
  expect_length(error$job_id, 1L)
  expect_match(conditionMessage(error), error$job_id, fixed = TRUE)
  expect_identical(jobs_in(), before)
})

test_that("a login that the server does not accept is told as such", {
  local_cluster_login(bad_token_kubeconfig(namespace))
  expect_no_submission(
    abba_submit_k8s_job_local(program), "unauthorized", "The cluster does not accept your login.", "Log in again"
  )
  expect_abba_error(abba_get_k8s_job_status_local(ended), "unauthorized", "does not accept your login")
  expect_abba_error(abba_get_k8s_job_log_local(ended), "unauthorized", "does not accept your login")
})

test_that("a namespace that does not exist is named", {
  expect_no_submission(
    abba_submit_k8s_job_local(program, namespace = "no-such-namespace"), "not_found",
    "in the namespace \"no-such-namespace\"", "argument `namespace`"
  )
  error <- expect_abba_error(
    abba_get_k8s_job_status_local(ended, namespace = "no-such-namespace"), "not_found",
    ended, "in the namespace \"no-such-namespace\""
  )
  expect_identical(error$job_id, ended)
  expect_abba_error(
    abba_get_k8s_job_log_local(ended, namespace = "no-such-namespace"), "not_found", "\"no-such-namespace\""
  )
})

test_that("jobs that do not exist are named, all of them and only them", {
  unknown <- paste0("test-program-00000000-0000-4000-8000-00000000000", 1:2)
  for (verb in list(abba_get_k8s_job_status_local, abba_get_k8s_job_log_local)) {
    error <- expect_abba_error(verb(unknown[[1L]]), "not_found", unknown[[1L]], namespace)
    expect_identical(error$job_id, unknown[[1L]])
    error <- expect_abba_error(verb(c(unknown[[1L]], ended, unknown[[2L]])), "not_found", unknown, namespace)
    expect_identical(error$job_id, unknown)
    expect_no_match(conditionMessage(error), ended, fixed = TRUE)
  }
})

test_that("a job that somebody has deleted is not found any more", {
  gate <- local_gate()
  id <- submit(local_program(gate$wait), mounts = gate$mounts)
  wait_for_state(id, "Running")
  kubectl_lines("delete", "job", id, "--cascade=foreground")
  error <- expect_abba_error(abba_get_k8s_job_status_local(id), "not_found", id, "or it was removed")
  expect_identical(error$job_id, id)
  error <- expect_abba_error(abba_get_k8s_job_log_local(c(ended, id)), "not_found", id)
  expect_identical(error$job_id, id)
})

test_that("a job that is deleted while its log is read is not found", {
  id <- submit(program)
  wait_for_end(id)
  local_kubectl(c(
    "case \"$*\" in */log[?]*)",
    sprintf("  \"$real\" delete job %s --namespace %s --cascade=foreground >/dev/null ;;", id, namespace),
    "esac",
    "exec \"$real\" \"$@\""
  ))
  error <- expect_abba_error(abba_get_k8s_job_log_local(id), "not_found", id, namespace)
  expect_identical(error$job_id, id)
})

test_that("a quota on jobs that is used up is told, and no job is made", {
  local_namespace()
  create_quota_of_jobs(1)
  id <- submit(program)
  expect_no_submission(
    abba_submit_k8s_job_local(program), "forbidden",
    paste0("The quota in the namespace \"", the_namespace(), "\" does not allow another job."),
    "exceeded quota"
  )
  expect_identical(jobs_in(), id)
})
