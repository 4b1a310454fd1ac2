# Namespaces that enforce the Pod Security Standards of Kubernetes.

local_secure_namespace <- function(level, env = parent.frame()) {
  namespace <- local_namespace(env)
  kubectl("label", "namespace", namespace, paste0("pod-security.kubernetes.io/enforce=", level))
  wait_until_refused(
    c("run", "probe", "--image", "x", "--overrides", "{\"spec\": {\"hostNetwork\": true}}"),
    "violates PodSecurity"
  )
}

program <- local_program(c("system('id -u')", "writeLines('1', 'x')", "cat('ran\\n')"))

test_that("programs run at the level baseline", {
  local_secure_namespace("baseline")
  ids <- c(submit(program), submit(program, username = "games"))
  expect_setequal(wait_for_end(ids), "Succeeded")
  logs <- lapply(abba_get_k8s_job_log_local(ids), `[[`, "log")
  expect_identical(logs[[1L]], c("0", "ran"))
  expect_identical(logs[[2L]][[2L]], "ran")
})

test_that("at the level restricted programs run as a user, and as nobody in particular they are refused", {
  local_secure_namespace("restricted")
  expect_silent(as_user <- submit(program, username = "games"))
  # The API server takes the job, and warns that it will refuse its pod.
  expect_warning(as_root <- submit(program), "username", class = "abba_warning_cluster_rule")
  expect_identical(wait_for_end(as_user), "Succeeded")
  expect_match(log_of(as_user)[[1L]], "^[1-9][0-9]*$")
  expect_identical(log_of(as_user)[[2L]], "ran")

  is_refused <- function() any(grepl("violates PodSecurity \"restricted:latest\"", log_of(as_root), fixed = TRUE))
  wait_until(is_refused, what = "the refusal")
  expect_identical(unname(states(as_root)), "Pending")
  log <- log_of(as_root)
  expect_match(log, "^abba: ")
  expect_identical(log[[1L]], "abba: The program has not started: Kubernetes cannot make its pod.")
  expect_match(log, "runAsNonRoot", all = FALSE)
})
