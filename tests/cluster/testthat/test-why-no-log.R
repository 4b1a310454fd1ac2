# What stands in the log of a program that has not run.

# Waits until the log has a line with these words, and gives the log back.
log_with <- function(id, words) {
  log <- character()
  found <- function() {
    log <<- log_of(id)
    if (any(grepl(words, log, fixed = TRUE))) TRUE else log
  }
  wait_until(found, 120, what = paste0("a log that says \"", words, "\""))
  log
}

expect_abba_lines <- function(log) {
  expect_true(length(log) >= 2L)
  expect_match(log, "^abba: .")
}

test_that("an image that does not exist is named, with the cause", {
  local_namespace()
  id <- submit(local_program("1"), container = cluster_image("nope:1"))
  log <- log_with(id, "not found")
  expect_abba_lines(log)
  expect_identical(
    log[[1L]],
    paste0("abba: The program has not started: its container image \"", cluster_image("nope:1"), "\" cannot be pulled.")
  )
  expect_match(log[[2L]], "not found")
  expect_match(log[[3L]], "Check the image's name and tag")
  expect_identical(states(id)[[1L]], "Pending")
})

test_that("a registry that does not answer is told", {
  local_namespace()
  # Port 1 is nobody's.
  id <- submit(local_program("1"), container = "127.0.0.1:1/r-base:4.2.2")
  log <- log_with(id, "connection refused")
  expect_abba_lines(log)
  expect_match(log[[1L]], "\"127.0.0.1:1/r-base:4.2.2\" cannot be pulled", fixed = TRUE)
})

test_that("a mount that does not exist is told", {
  local_namespace()
  folder <- file.path(withr::local_tempdir(), "nope")
  mounts <- list(
    volumes = list(list(name = "data", hostPath = list(path = folder, type = "Directory"))),
    volumeMounts = list(list(name = "data", mountPath = "/data"))
  )
  id <- submit(local_program("1"), mounts = mounts)
  log <- log_with(id, "FailedMount")
  expect_abba_lines(log)
  expect_match(log, folder, fixed = TRUE, all = FALSE)
  expect_match(log, "`mounts`", fixed = TRUE, all = FALSE)
})

test_that("a namespace without a service account is told", {
  # The cluster gives each namespace one, unless a policy forbids it.
  name <- unique_name("no-service-account")
  withr::defer(kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", name))
  apply_manifest(gsub("NAME", name, c(
    "apiVersion: admissionregistration.k8s.io/v1",
    "kind: ValidatingAdmissionPolicy",
    "metadata: {name: NAME}",
    "spec:",
    "  failurePolicy: Fail",
    "  matchConstraints:",
    "    resourceRules:",
    "    - {apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [serviceaccounts]}",
    "  validations: [{expression: 'false', message: none here}]",
    "---",
    "apiVersion: admissionregistration.k8s.io/v1",
    "kind: ValidatingAdmissionPolicyBinding",
    "metadata: {name: NAME}",
    "spec:",
    "  policyName: NAME",
    "  validationActions: [Deny]",
    "  matchResources: {namespaceSelector: {matchLabels: {service-account: NAME}}}"
  )), "default")
  local_namespace()
  kubectl("label", "namespace", the_namespace(), paste0("service-account=", name))
  wait_until_refused(c("create", "serviceaccount", "other"), "none here")
  kubectl_lines("delete", "serviceaccount", "default")

  id <- submit(local_program("1"))
  log <- log_with(id, "serviceaccount \"default\" not found")
  expect_abba_lines(log)
  expect_identical(log[[1L]], "abba: The program has not started: Kubernetes cannot make its pod.")
  expect_match(log[[2L]], "^abba: Kubernetes says: FailedCreate: ")
  expect_match(log[[3L]], "service account", fixed = TRUE)
  expect_identical(states(id)[[1L]], "Pending")
})

test_that("a quota on pods that is used up is told, and the program runs when there is room", {
  local_namespace()
  create_quota("pods=0")
  id <- submit(local_program("cat('ran\\n')"))
  log <- log_with(id, "exceeded quota")
  expect_abba_lines(log)
  expect_identical(log[[1L]], "abba: The program has not started: Kubernetes cannot make its pod.")
  expect_match(log[[3L]], "It starts when other jobs in the namespace have ended")
  kubectl_lines("delete", "quota", "quota")
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), "ran")
})

test_that("limits that the namespace does not allow are told", {
  local_namespace()
  apply_manifest(c(
    "apiVersion: v1",
    "kind: LimitRange",
    "metadata: {name: limits}",
    "spec: {limits: [{type: Container, max: {cpu: 100m}}]}"
  ), the_namespace())
  id <- submit(local_program("1"), cpu_limit = 1)
  log <- log_with(id, "maximum cpu usage per Container is 100m")
  expect_abba_lines(log)
  expect_match(log[[3L]], "Ask for limits that the namespace allows.", fixed = TRUE)
})
