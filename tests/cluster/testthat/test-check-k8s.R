# The doctor: what it finds on a real cluster, and what an administrator makes of its text.
namespace <- local_namespace()

# The Role of the README.
role <- list(
  list(apiGroups = "batch", resources = "jobs", verbs = c("create", "get", "list", "update", "delete")),
  list(apiGroups = "", resources = "pods", verbs = c("get", "list", "watch", "update")),
  list(apiGroups = "", resources = "pods/log", verbs = "get"),
  list(apiGroups = "", resources = "events", verbs = "list")
)

local_user <- function(rules = role, namespace = the_namespace(), env = parent.frame()) {
  local_cluster_login(user_kubeconfig(namespace, rules, env), env)
}

check <- function(...) abba_check_k8s_local(...)

# The checks that came out so, by their names.
checks_with <- function(found, result) found$check[found$result == result]
problems <- function(found) checks_with(found, "problem")

# One cell of what was found.
what <- function(found, check) found$what[found$check == check]
result_of <- function(found, check) found$result[found$check == check]

printed <- function(found) utils::capture.output(print(found))

# What the text for the administrator has as YAML.
yaml_of <- function(lines) lines[seq(match("apiVersion: rbac.authorization.k8s.io/v1", lines), length(lines))]

# What kubectl makes of that YAML, as nested lists.
objects_of <- function(yaml) {
  file <- withr::local_tempfile(lines = yaml)
  json <- kubectl("create", "--dry-run=client", "--output", "json", "--filename", file)
  documents <- strsplit(gsub("\n}\n", "\n}\n\001", json), "\001", fixed = TRUE)[[1L]]
  lapply(documents, jsonlite::fromJSON, simplifyVector = FALSE)
}

# Applies the printed YAML as the administrator would, and removes it when the test ends.
apply_printed <- function(found, env = parent.frame()) {
  lines <- printed(found)
  yaml <- head(yaml_of(lines), -1L)
  file <- withr::local_tempfile(lines = yaml, .local_envir = env)
  kubectl("apply", "--filename", file)
  withr::defer(kubectl("delete", "--filename", file, "--ignore-not-found"), envir = env)
  yaml
}

wait_until_ok <- function(what = "the new rights") {
  wait_until(function() {
    found <- problems(check())
    if (length(found) == 0L) TRUE else found
  }, what = what)
}

test_that("to the administrator everything is in order, and nothing is left behind", {
  before <- c(jobs_in(), kubectl_lines("get", "pods", "--output", "name"))
  found <- check()
  expect_s3_class(found, "abba_check")
  expect_identical(names(found), c("check", "result", "what", "advice"))
  expect_identical(problems(found), character())
  # No program has run here with this image.
  expect_identical(checks_with(found, "not known"), "container")
  expect_identical(attr(found, "for_admin"), NA_character_)
  expect_no_match(printed(found), "administrator of the cluster")
  expect_identical(c(jobs_in(), kubectl_lines("get", "pods", "--output", "name")), before)
})

test_once("with the README's Role nothing is a problem, and what is hidden is said to be", {
  local_user()
  found <- check()
  expect_identical(problems(found), character())
  expect_setequal(checks_with(found, "not known"), c("container", "quota", "limit range", "network", "nodes"))
  expect_match(what(found, "nodes"), "not allowed to list the nodes")
  # Both are seen by the trial.
  expect_identical(result_of(found, "namespace"), "ok")
  expect_identical(result_of(found, "pod security"), "ok")
})

test_once("a user who lacks rights gets exactly those, and they are enough once applied", {
  local_user(list(
    list(apiGroups = "batch", resources = "jobs", verbs = c("create", "list")),
    list(apiGroups = "", resources = "pods", verbs = c("get", "list", "update")),
    list(apiGroups = "", resources = "events", verbs = "list")
  ))
  found <- check()
  missing <- paste("right to", c("get jobs", "update jobs", "delete jobs", "watch pods", "get pods/log"))
  expect_identical(problems(found), missing)
  yaml <- apply_printed(found)
  objects <- objects_of(yaml)
  expect_identical(objects[[1L]]$rules, list(
    list(apiGroups = list("batch"), resources = list("jobs"), verbs = list("get", "update", "delete")),
    list(apiGroups = list(""), resources = list("pods"), verbs = list("watch")),
    list(apiGroups = list(""), resources = list("pods/log"), verbs = list("get"))
  ))
  expect_identical(objects[[2L]]$subjects[[1L]]$kind, "User")
  wait_until_ok()
  expect_identical(attr(check(), "for_admin"), NA_character_)
})

test_once("a user without any right is told all, and can work once they are given", {
  local_user(list(list(apiGroups = "", resources = "configmaps", verbs = "get")))
  found <- check()
  expect_identical(problems(found), grep("^right to ", found$check, value = TRUE))
  expect_identical(result_of(found, "trial"), "not known")
  apply_printed(found)
  wait_until_ok()
  id <- submit(local_program("cat('ran\\n')"))
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), "ran")
  found <- check()
  expect_identical(result_of(found, "container"), "ok")
  expect_match(what(found, "container"), "has run on the node")
})

test_once("an earlier grant is not taken back by a later one", {
  kubeconfig <- user_kubeconfig(namespace, list(list(apiGroups = "", resources = "events", verbs = "list")))
  local_cluster_login(kubeconfig)
  apply_printed(check())
  wait_until_ok()
  # Of what the first text gave, the administrator later takes back one right: the second text gives that one.
  role_name <- sub("^.*/", "", grep("/abba-user", kubectl_lines("get", "roles", "--output", "name"), value = TRUE))
  patch <- "[{\"op\": \"remove\", \"path\": \"/rules/2\"}]"
  kubectl_lines("patch", "role", role_name, "--type=json", "--patch", patch)
  wait_until(function() identical(problems(check()), "right to get pods/log"), what = "the right to be gone")
  apply_printed(check())
  expect_true(wait_until_ok())
})

test_once("a service account is bound as one", {
  kubectl_lines("create", "serviceaccount", "connect")
  token <- kubectl_lines("create", "token", "connect")
  local_cluster_login(write_kubeconfig(namespace, user = list(token = token)))
  found <- check()
  expect_match(what(found, "login"), paste0("system:serviceaccount:", namespace, ":connect"), fixed = TRUE)
  objects <- objects_of(apply_printed(found))
  expect_identical(
    objects[[2L]]$subjects,
    list(list(kind = "ServiceAccount", name = "connect", namespace = namespace))
  )
  wait_until_ok()
})

test_that("a namespace that does not exist is named", {
  found <- check(namespace = "no-such-namespace")
  expect_identical(problems(found), "namespace")
  expect_match(attr(found, "for_admin"), "There is no namespace \"no-such-namespace\"")
  # A user sees it by the trial, or not at all.
  local_user()
  found <- check(namespace = "no-such-namespace")
  expect_identical(result_of(found, "trial"), "not known")
  expect_true(all(grepl("^right to ", problems(found))))
  expect_match(what(found, "namespace"), "or not exist")
})

test_that("a login that is refused, and none at all, are told as such", {
  local_cluster_login(bad_token_kubeconfig(namespace))
  found <- check()
  expect_identical(problems(found), "login")
  expect_match(what(found, "login"), "does not accept your login")
  expect_identical(result_of(found, "cluster"), "ok")
  expect_true(all(what(found, c("trial")) == "The login is not accepted."))

  # The API server of the tests knows no anonymous user; others tell of one.
  local_cluster_login(write_kubeconfig(namespace, user = structure(list(), names = character())))
  found <- check()
  expect_identical(problems(found), "login")
})

test_that("a server that refuses, or hangs, and nothing configured, each give a report", {
  local_cluster_login(refusing_kubeconfig(namespace))
  found <- check()
  expect_identical(problems(found), "cluster")
  expect_match(what(found, "cluster"), "cannot be reached.*refused")
  expect_identical(attr(found, "for_admin"), NA_character_)

  local_cluster_login(hanging_kubeconfig(namespace))
  withr::local_options(abba.k8s.request.timeout = 2)
  found <- check()
  expect_identical(problems(found), "cluster")
  expect_match(what(found, "cluster"), "did not answer within 2 seconds")

  withr::local_envvar(HOME = withr::local_tempdir(), KUBECONFIG = "")
  found <- check(namespace = NULL)
  expect_identical(problems(found), "configuration")
  withr::local_envvar(KUBECONFIG = broken_kubeconfig())
  found <- check()
  expect_identical(problems(found), "configuration")
})

test_once("a quota that is used up is told with its numbers, also by the trial alone", {
  local_namespace()
  # A pod without limits is refused for that, and in other words.
  kubectl_lines("create", "quota", "quota", "--hard=limits.cpu=500m")
  wait_until_refused(c("run", "probe", "--image", "x"), "failed quota: quota: must specify limits.cpu")
  found <- check()
  expect_identical(problems(found), c("quota", "trial"))
  expect_match(what(found, "quota"), "allows 500m of limits.cpu, 0 is used, and a program needs 1", fixed = TRUE)
  expect_identical(problems(check(cpu_limit = 0.5)), character())

  # Who may create pods and not read quotas.
  local_user(c(role, list(list(apiGroups = "", resources = "pods", verbs = "create"))))
  found <- check()
  expect_identical(problems(found), c("quota", "trial"))
  expect_match(what(found, "quota"), "exceeded quota")
  # Who may do neither learns of it from what happened.
  local_user()
  expect_identical(result_of(check(), "quota"), "not known")
  id <- submit(local_program("1"), cpu_limit = 1)
  wait_until(function() any(grepl("exceeded quota", log_of(id))), what = "the refusal of the pod")
  found <- check()
  expect_identical(result_of(found, "quota"), "not known")
  expect_match(what(found, "quota"), "kept a program from starting lately.*exceeded quota")
})

test_once("a quota on jobs is seen with the Role alone", {
  local_namespace()
  create_quota("count/jobs.batch=0", c("create", "job", "probe", "--image", "x"))
  local_user()
  found <- check()
  expect_identical(problems(found), c("quota", "trial"))
})

test_once("a LimitRange that is too small is told with its bound", {
  local_namespace()
  apply_manifest(list(
    apiVersion = "v1", kind = "LimitRange", metadata = list(name = "small"),
    spec = list(limits = list(list(type = "Container", max = list(memory = "256Mi"))))
  ), the_namespace())
  wait_until_refused(
    c("run", "probe", "--image", "x", "--overrides", paste0(
      "{\"spec\": {\"containers\": [{\"name\": \"x\", \"image\": \"x\", ",
      "\"resources\": {\"limits\": {\"memory\": \"1Gi\"}}}]}}"
    )),
    "maximum memory usage"
  )
  found <- check()
  expect_identical(problems(found), c("limit range", "trial"))
  expect_match(what(found, "limit range"), "at most 256Mi of memory, and a program asks for 512M", fixed = TRUE)
  expect_identical(problems(check(memory_limit = "128M")), character())
  local_user(c(role, list(list(apiGroups = "", resources = "pods", verbs = "create"))))
  found <- check()
  expect_identical(problems(found), c("limit range", "trial"))
})

test_that("the Pod Security level restricted wants a user", {
  local_namespace()
  kubectl("label", "namespace", the_namespace(), "pod-security.kubernetes.io/enforce=restricted")
  wait_until_refused(
    c("run", "probe", "--image", "x", "--overrides", "{\"spec\": {\"hostNetwork\": true}}"),
    "violates PodSecurity"
  )
  found <- check()
  expect_identical(problems(found), c("pod security", "trial"))
  expect_match(what(found, "pod security"), "enforces the level \"restricted\"", fixed = TRUE)
  expect_identical(problems(check(username = "games")), character())
  # Level and mounts together: the job would be taken, and its pod never made.
  mounts <- list(
    volumes = list(list(name = "studies", nfs = list(server = "192.0.2.1", path = "/studies"))),
    volumeMounts = list(list(name = "studies", mountPath = "/studies"))
  )
  found <- check(username = "games", mounts = mounts)
  expect_identical(problems(found), c("pod security", "trial"))
  expect_match(what(found, "pod security"), "refuses volumes of the kind nfs")
  expect_match(what(found, "trial"), "would accept a job, and refuse its pod.*restricted volume types")
  expect_match(attr(found, "for_admin"), "volumes of the kind nfs")
  home <- check(username = "games", auto_mount_home = TRUE, home_nfs_ip_address = "192.0.2.1")
  expect_identical(problems(home), c("pod security", "trial"))
  # What a server's options offer is what its callers will mount.
  withr::with_options(list(abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies"))), {
    expect_identical(problems(check(username = "games")), "pod security")
  })
  # With the Role alone there is the server's warning.
  local_user()
  found <- check()
  expect_identical(result_of(found, "pod security"), "not known")
  expect_match(what(found, "pod security"), "would violate PodSecurity")
  expect_identical(result_of(check(username = "games"), "pod security"), "ok")
})

test_once("limits that no node has, and an image that cannot be pulled, are told", {
  found <- check(cpu_limit = 100000, memory_limit = "1P")
  expect_identical(problems(found), "nodes")
  expect_match(what(found, "nodes"), "No node is large enough for a program with 100000 cores and 1P of memory")

  image <- cluster_image("no-such-image:1")
  id <- submit(local_program("1"), container = image)
  # The log knows it a moment earlier, from the node's event.
  has_failed <- function() identical(problems(found <<- check(container = image)), "container")
  # The node pulls one image after the other.
  wait_until(has_failed, 120, what = "the failed pull")
  expect_match(what(found, "container"), id, fixed = TRUE)
})
