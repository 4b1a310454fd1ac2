# A Job template: from an R list or a file to what the core merges.

read_template <- function(x) {
  jsonlite::parse_json(check_job_template(x, argument = "job_template", call = NULL))
}

template_file <- function(lines, ending = ".yaml", env = parent.frame()) {
  file <- withr::local_tempfile(fileext = ending, .local_envir = env)
  writeLines(enc2utf8(lines), file, useBytes = TRUE)
  file
}

of_pod <- function(...) list(spec = list(template = list(spec = list(...))))

pod_of <- function(template) template$spec$template$spec

test_that("there may be none", {
  expect_null(check_job_template(NULL))
})

test_that("a list becomes Kubernetes' objects", {
  template <- of_pod(
    nodeSelector = list(disk = "ssd"),
    tolerations = list(list(key = "gpu", operator = "Exists")),
    terminationGracePeriodSeconds = 5,
    containers = list(list(name = "program", securityContext = list(capabilities = list(drop = I("ALL")))))
  )
  pod <- pod_of(read_template(template))
  expect_identical(pod$nodeSelector, list(disk = "ssd"))
  expect_identical(pod$tolerations, list(list(key = "gpu", operator = "Exists")))
  expect_identical(pod$terminationGracePeriodSeconds, 5L)
  expect_identical(pod$containers[[1L]]$securityContext$capabilities$drop, list("ALL"))
})

test_that("YAML is read as Kubernetes reads it", {
  file <- template_file(c(
    "# For the cluster of the department", "---", "apiVersion: batch/v1", "kind: Job",
    "spec:", "  template:", "    metadata:", "      labels: {sex: n, country: NA, \u00e9tude: \"1\"}",
    "      annotations:", "        sidecar.istio.io/inject: null",
    "    spec:", "      hostNetwork: no", "      automountServiceAccountToken: yes",
    "      imagePullSecrets:", "        - name: registry",
    "      securityContext:", "        runAsUser: 3000000000", "        supplementalGroups: [7]",
    "      volumes:", "        - name: scratch", "          emptyDir: {}",
    "        - name: settings", "          configMap: {name: s, defaultMode: 0644}",
    "      tolerations: []"
  ))
  template <- read_template(file)
  expect_identical(template$spec$template$metadata$labels, list(sex = "n", country = "NA", "\u00e9tude" = "1"))
  annotations <- template$spec$template$metadata$annotations
  expect_named(annotations, "sidecar.istio.io/inject")
  expect_null(annotations[[1L]])
  pod <- pod_of(template)
  expect_identical(pod[c("automountServiceAccountToken", "hostNetwork")], list(
    automountServiceAccountToken = TRUE, hostNetwork = FALSE
  ))
  expect_identical(pod$imagePullSecrets, list(list(name = "registry")))
  expect_identical(pod$securityContext, list(runAsUser = 3e9, supplementalGroups = list(7L)))
  expect_identical(pod$volumes[[1L]]$emptyDir, stats::setNames(list(), character()))
  expect_identical(pod$volumes[[2L]]$configMap$defaultMode, 420L)
  expect_identical(pod$tolerations, list())
})

test_that("a file of JSON, a list and a file of YAML give one template", {
  list <- of_pod(imagePullSecrets = list(list(name = "a")), priority = 100000, nodeSelector = list(a = NULL))
  json <- paste0(
    "{\"spec\":{\"template\":{\"spec\":{\"imagePullSecrets\":[{\"name\":\"a\"}],",
    "\"priority\":100000,\"nodeSelector\":{\"a\":null}}}}}"
  )
  yaml <- c(
    "spec:", "  template:", "    spec:", "      imagePullSecrets: [{name: a}]", "      priority: 100000",
    "      nodeSelector: {a: }"
  )
  expected <- check_job_template(list)
  expect_identical(check_job_template(template_file(json, ".json")), expected)
  expect_identical(check_job_template(template_file(paste0("\ufeff", json), ".JSON")), expected)
  expect_identical(check_job_template(template_file(yaml, ".yml")), expected)
  expect_match(expected, "\"nodeSelector\":{\"a\":null}", fixed = TRUE)
})

test_that("in YAML a map's own values win over those that `<<` brings, as for kubectl", {
  of <- function(...) {
    yaml <- c("spec:", "  template:", "    metadata: {labels: &all {a: b, c: d}}", "    spec:", ...)
    check_job_template(template_file(yaml))
  }
  expected <- paste0(
    "{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\",\"c\":\"d\"}},",
    "\"spec\":{\"nodeSelector\":{\"a\":\"own\",\"c\":\"d\"}}}}}"
  )
  expect_identical(of("      nodeSelector: {<<: *all, a: own}"), expected)
  expect_identical(of("      nodeSelector: {a: own, <<: *all}"), expected)
})

test_that("what programs write after the last document is no further one", {
  yaml <- c("metadata:", "  annotations:", "    a: |", "      # text")
  expected <- check_job_template(template_file(yaml))
  expect_match(expected, "# text", fixed = TRUE)
  expect_identical(check_job_template(template_file(c("---", yaml, "---", "# the end"))), expected)
})

test_that("what is no template is refused, and its name is told", {
  missing <- tempfile(fileext = ".yaml")
  refused <- list(
    list(1, "part of a Job"), list(c("a", "b"), "part of a Job"), list(NA_character_, "single string"),
    list("", "empty"), list(factor("a"), "part of a Job"), list(sum, "part of a Job"),
    list(missing, "cannot be read"), list("gpu", "ends in .yaml"),
    list(template_file("a: [", ".yaml"), "no YAML"), list(template_file("{", ".json"), "no JSON"),
    list(template_file(c("a: 1", "a: 2")), "Duplicate"),
    list(template_file(c("spec: {}", "---", "spec: {}")), "several documents"),
    list(template_file("{\"metadata\": {}, \"metadata\": {}}", ".json"), "the name \"metadata\" stands twice"),
    list(list(metadata = list(labels = list(a = "1", a = "2"))), "the name \"a\" twice"),
    list(template_file("- a"), "no map"), list(template_file(character()), "no map"),
    list(template_file(strrep("#", 2e6)), "1 MiB"),
    list(list(1), "part of a Job"), list(list(a = 1, 2), "names for some"),
    list(of_pod(priority = NA), "NA"), list(of_pod(priority = Inf), "infinite"),
    list(of_pod(hostname = factor("a")), "factor"), list(of_pod(hostname = sum), "function"),
    list(of_pod(restartPolicy = "Never"), "spec.template.spec.restartPolicy belongs to abba: a program runs once"),
    list(list(metadata = list(annotations = list(a = strrep("x", 20000)))), "16384 bytes")
  )
  for (one in refused) {
    error <- raised(check_job_template(one[[1L]], argument = "job_template", call = NULL))
    expect_s3_class(error, "abba_error_input")
    expect_match(conditionMessage(error), "job_template", fixed = TRUE)
    expect_match(conditionMessage(error), one[[2L]], fixed = TRUE)
  }
})

test_that("a file that stands for endless values is refused, and runs nothing", {
  names <- c(letters[1:12])
  lines <- c("a: &a [x, x, x, x]", sprintf("%s: &%s [%s]", names[-1L], names[-1L], vapply(names[-12L], function(name) {
    paste0(rep(paste0("*", name), 8L), collapse = ", ")
  }, "")))
  expect_match(conditionMessage(raised(check_job_template(template_file(lines)))), "too many values")
  marker <- tempfile()
  lines <- sprintf("metadata: {labels: {a: !expr file.create('%s')}}", marker)
  suppressWarnings(try(check_job_template(template_file(lines)), silent = TRUE))
  expect_false(file.exists(marker))
})
