# The doctor with a scripted kubectl: what a cluster will not do on demand.

check <- function(container = image, ..., namespace = "n") {
  abba_check_k8s_local(container, ..., namespace = namespace)
}
problems <- function(found) found$check[found$result == "problem"]
what <- function(found, check) found$what[found$check == check]

# What kubectl is asked for, as patterns of its arguments.
asks <- list(
  client = "version *",
  configuration = "config view *",
  server = "get --raw /version",
  login = "create --raw */selfsubjectreviews *",
  rules = "create --raw */selfsubjectrulesreviews *",
  right = "create --raw */selfsubjectaccessreviews *",
  job = "create --raw /apis/batch/*",
  pod = "create --raw /api/v1/namespaces/n/pods*",
  namespace = "get --raw /api/v1/namespaces/n",
  quotas = "get --raw */resourcequotas",
  ranges = "get --raw */limitranges",
  policies = "get --raw */networkpolicies",
  pods = "get --raw */pods*",
  events = "get --raw */events*",
  queue = "get --raw */localqueues/*",
  nodes = "get --raw /api/v1/nodes"
)

now <- function() format(Sys.time(), "%Y-%m-%dT%H:%M:%SZ", tz = "UTC")

review <- function(username = "mike", time = now()) {
  to_json(list(metadata = list(creationTimestamp = time), status = list(userInfo = list(username = username))))
}
rules <- function(...) to_json(list(status = list(resourceRules = list(...))))
everything <- rules(list(verbs = list("*"), apiGroups = list("*"), resources = list("*")))
node <- list(
  spec = list(unschedulable = FALSE),
  status = list(
    allocatable = list(cpu = "4", memory = "8Gi"), conditions = list(condition("Ready"))
  )
)
configuration <- to_json(list(
  "current-context" = "prod",
  contexts = list(list(name = "prod", context = list(cluster = "c", namespace = "rstudio"))),
  clusters = list(list(name = "c", cluster = list(server = "https://k8s.example.com:6443")))
))
bounded_network <- list(
  metadata = list(name = "programs"),
  spec = list(podSelector = structure(list(), names = character()), policyTypes = list("Egress"))
)
version <- function(version) to_json(list(clientVersion = list(gitVersion = version)))

# A cluster where all is in order, but for the answers given, which go first.
local_cluster <- function(..., env = parent.frame()) {
  given <- list(...)
  usual <- list(
    says(version("v1.34.4"), on = asks$client),
    says(configuration, on = asks$configuration),
    says(to_json(list(gitVersion = "v1.34.4")), on = asks$server),
    says(review(), on = asks$login),
    says(everything, on = asks$rules),
    says(to_json(list(status = list(allowed = FALSE))), on = asks$right),
    creates(on = asks$job),
    creates(on = asks$pod),
    says(to_json(list(metadata = list(name = "n"), status = list(phase = "Active"))), on = asks$namespace),
    says(list_of(list(metadata = list(name = "q"), spec = list(hard = list(pods = "9")))), on = asks$quotas),
    says(list_of(), on = asks$ranges),
    says(list_of(bounded_network), on = asks$policies),
    says(list_of(), on = asks$pods),
    says(list_of(), on = asks$events),
    says(list_of(node), on = asks$nodes)
  )
  # Two answers to the same would be given one after the other.
  is_new <- !vapply(usual, `[[`, "", "on") %in% vapply(given, `[[`, "", "on")
  do.call(local_scripted_kubectl, c(given, usual[is_new], list(env = env)))
}

# The path of the scripted kubectl is another in each run; so is where the lines that hold it are broken.
show <- function(found, kubectl) {
  found$what <- gsub(dirname(dirname(kubectl$program)), "/usr", found$what, fixed = TRUE)
  print(found)
}

test_that("where all is in order, it says so", {
  kubectl <- local_cluster()
  found <- check()
  expect_identical(problems(found), character())
  expect_identical(dim(found), c(26L, 4L))
  expect_identical(attr(found, "for_admin"), NA_character_)
  expect_true(all(is.na(found$advice)))
  expect_words(show(found, kubectl))
})

test_that("a namespace that bounds neither amounts nor the network is fit for programs, and what to have is said", {
  local_cluster(says(list_of(), on = asks$quotas), says(list_of(), on = asks$policies))
  found <- check()
  expect_identical(problems(found), character())
  expect_identical(attr(found, "for_admin"), NA_character_)
  advised <- found[!is.na(found$advice), ]
  expect_identical(advised$check, c("quota", "network"))
  expect_words(writeLines(strwrap(c(advised$what, advised$advice), 80)))
  for (file in c("deploy/base/bounds.yaml", "deploy/base/network.yaml")) {
    expect_true(any(grepl(file, advised$advice, fixed = TRUE)))
    expect_true(nzchar(system.file(file, package = "abba")))
  }
})

test_that("what is sent is a dry run of the very job", {
  kubectl <- local_cluster()
  check(cpu_limit = 0.5, memory_limit = "1G")
  requests <- kubectl$requests()
  sent <- grep("^create .*/(jobs|pods)", requests)
  expect_length(sent, 2L)
  expect_match(requests[sent], "?dryRun=All&fieldValidation=Strict", fixed = TRUE)
  # Reviews are answered and not kept; nothing else writes.
  expect_match(requests[-sent], "^(get|version|config) |selfsubject[a-z]*reviews$")
  job <- kubectl$manifest(sent[[1L]])
  container <- job$spec$template$spec$containers[[1L]]
  expect_identical(container$image, image)
  expect_identical(container$resources$limits, list(cpu = "500m", memory = "1G"))
  expect_identical(kubectl$manifest(sent[[2L]])$spec, job$spec$template$spec)
})

test_that("the dry run has the Job template, and one that cannot be used is an error", {
  kubectl <- local_cluster()
  withr::local_options(abba.k8s.job.template = list(spec = list(template = list(spec = list(
    nodeSelector = list(disk = "ssd"),
    containers = list(list(name = "program", resources = list(limits = list("nvidia.com/gpu" = 1))))
  )))))
  # No node is what the template asks for.
  expect_identical(problems(check()), "nodes")
  sent <- grep("^create .*/(jobs|pods)", kubectl$requests())
  job <- kubectl$manifest(sent[[1L]])
  expect_identical(job$spec$template$spec$nodeSelector, list(disk = "ssd"))
  expect_identical(kubectl$manifest(sent[[2L]])$spec, job$spec$template$spec)
  expect_error(check(job_template = list(status = list())), "status belongs to", class = "abba_error_input")
})

test_that("rights that are missing come with the Role that gives them", {
  kubectl <- local_cluster(
    says(rules(
      list(verbs = list("create", "get", "list"), apiGroups = list("batch"), resources = list("jobs")),
      list(verbs = list("get", "list", "watch"), apiGroups = list(""), resources = list("pods"))
    ), on = asks$rules),
    says(review("system:serviceaccount:rstudio:connect"), on = asks$login),
    fails("Error from server (Forbidden): resourcequotas is forbidden: no", on = asks$quotas),
    fails("Error from server (Forbidden): nodes is forbidden: no", on = asks$nodes)
  )
  found <- check()
  expect_identical(
    problems(found),
    c(
      "right to update jobs", "right to delete jobs", "right to update pods", "right to get pods/log",
      "right to list events"
    )
  )
  # Pods are tried by those who may create them.
  expect_false(any(grepl("^create /api/v1/namespaces/n/pods", kubectl$requests())))
  expect_words(show(found, kubectl))
})

test_that("a right that only another authorizer gives is one", {
  local_cluster(
    says(rules(), on = asks$rules),
    says(to_json(list(status = list(allowed = TRUE))), on = asks$right)
  )
  expect_identical(problems(check()), character())
  local_cluster(says("{\"status\": {\"resourceRules\": null}}", on = asks$rules))
  expect_length(problems(check()), 11L)
})

test_that("without kubectl there is a report all the same", {
  withr::local_options(abba.kubectl = "no-such-kubectl")
  found <- check()
  expect_identical(problems(found), "kubectl")
  expect_identical(sum(found$result == "not known"), 25L)
  expect_words(print(found))
})

test_that("a kubectl that talks nonsense, dies or hangs is found out at once", {
  expect_found_out <- function(found) {
    expect_identical(problems(found), "kubectl")
    expect_identical(what(found, "trial"), "kubectl does not work.")
    expect_identical(kubectl$count(), 1L)
    expect_reaped(kubectl$pids())
    expect_ended(kubectl$helpers())
  }
  for (answer in list(says("hello"), says("{}"), says(""), dies(), fails("Segmentation fault"))) {
    kubectl <- local_scripted_kubectl(answer)
    expect_found_out(check())
  }
  of_test <- rlang::current_env()
  ask <- function() {
    kubectl <<- local_scripted_kubectl(hangs(), env = of_test)
    check()
  }
  expect_found_out(at_time_limit(ask, function() kubectl$hangs() > 0L, 0.5))
})

test_that("a kubectl that is too old or too new is told which to install", {
  local_cluster(says(version("v1.20.1"), on = asks$client))
  found <- check()
  expect_identical(problems(found), "kubectl version")
  expect_words(cat(what(found, "kubectl version"), found$advice[found$check == "kubectl version"], sep = "\n"))
  local_cluster(says(version("v1.36.0"), on = asks$client))
  expect_match(what(check(), "kubectl version"), "too new")
  local_cluster(says(to_json(list(gitVersion = "v1.33.4-eks-1")), on = asks$server))
  expect_identical(problems(check()), character())
})

test_that("a clock that is wrong is told", {
  at <- function(seconds) format(Sys.time() - seconds, "%Y-%m-%dT%H:%M:%SZ", tz = "UTC")
  for (ahead in c(3600, -3600)) {
    local_cluster(says(review(time = at(ahead)), on = asks$login))
    found <- check()
    expect_identical(problems(found), "clock")
    expect_match(what(found, "clock"), if (ahead > 0) "(60|59) minutes ahead" else "(60|59) minutes behind")
  }
  local_cluster(says(review(time = "yesterday"), on = asks$login))
  expect_identical(problems(check()), character())
})

test_that("a configuration that names no cluster is told", {
  local_cluster(says("{\"contexts\": null, \"current-context\": \"\"}", on = asks$configuration))
  expect_identical(problems(check()), "configuration")
  local_cluster(says("{\"contexts\": null, \"current-context\": \"gone\"}", on = asks$configuration))
  expect_match(what(check(), "configuration"), "no such context")
  local_cluster(fails("error: error loading config file \"/x\": yaml: line 1", on = asks$configuration))
  expect_match(what(check(), "configuration"), "yaml: line 1")
})

test_that("the namespace is kubectl's where none is given", {
  kubectl <- local_cluster(
    fails("Error from server (NotFound): namespaces \"rstudio\" not found", on = "get --raw /api/v1/namespaces/rstudio")
  )
  found <- check(namespace = NULL)
  expect_identical(problems(found), "namespace")
  expect_match(what(found, "namespace"), "\"rstudio\"")
})

test_that("a login that is none is told", {
  for (words in c(
    "error: You must be logged in to the server (Unauthorized)",
    "Error from server (Forbidden): selfsubjectreviews is forbidden: User \"system:anonymous\" cannot create"
  )) {
    local_cluster(fails(words, on = asks$login))
    found <- check()
    expect_identical(problems(found), "login")
    expect_identical(what(found, "nodes"), "The login is not accepted.")
  }
  # A cluster that is too old to say who one is may work all the same.
  local_cluster(fails(
    "Error from server (NotFound): the server could not find the requested resource",
    on = asks$login
  ))
  expect_identical(problems(check()), character())
})

test_that("the queue that programs go through is looked at", {
  queue_row <- function(answer) {
    kubectl <- local_cluster(answer, env = parent.frame())
    found <- check(queue = "team")
    job <- kubectl$manifest(grep("^create .*/jobs", kubectl$requests())[[1L]])
    expect_identical(job$metadata$labels[["kueue.x-k8s.io/queue-name"]], "team")
    unlist(found[found$check == "queue", c("result", "what")])
  }
  queue <- function(...) {
    to_json(list(status = list(conditions = list(...), pendingWorkloads = 3L, admittedWorkloads = 2L)))
  }
  open <- queue_row(says(queue(condition("Active")), on = asks$queue))
  expect_identical(open[["result"]], "ok")
  expect_match(open[["what"]], "2 of its programs have been let go, and 3 wait", fixed = TRUE)
  closed <- queue_row(says(queue(condition("Active", "False")), on = asks$queue))
  expect_identical(closed[["result"]], "problem")
  missing <- fails(
    "Error from server (NotFound): localqueues.kueue.x-k8s.io \"team\" not found",
    on = asks$queue
  )
  expect_match(queue_row(missing)[["what"]], "There is no queue \"team\" in the namespace", fixed = TRUE)
  none <- fails("Error from server (NotFound): the server could not find the requested resource", on = asks$queue)
  expect_match(queue_row(none)[["what"]], "The cluster has no Kueue", fixed = TRUE)
  forbidden <- fails("Error from server (Forbidden): localqueues is forbidden: no", on = asks$queue)
  expect_identical(queue_row(forbidden)[["result"]], "not known")
})

test_that("a cluster that stops answering ends the examination", {
  kubectl <- local_cluster(hangs(on = asks$rules))
  found <- at_time_limit(check, function() kubectl$hangs() > 0L)
  expect_identical(problems(found), character())
  expect_identical(what(found, "right to create jobs"), "The cluster does not answer any more.")
  expect_identical(found$check[[26L]], "trial")
  expect_reaped(kubectl$pids())
  expect_ended(kubectl$helpers())
})

test_that("a container that is none, or not permitted, is told with and without a cluster", {
  kubectl <- local_cluster()
  expect_identical(problems(check(NULL)), "container")
  expect_identical(problems(check("r base")), "container")
  withr::local_options(abba.permitted.containers = list("r:1", "r:2"))
  found <- check("r:3")
  expect_identical(problems(found), "container")
  expect_identical(what(found, "trial"), "There is no container image to try a job with.")
  expect_identical(problems(check("r:2")), character())
  withr::local_options(abba.kubectl = "no-such-kubectl")
  expect_identical(problems(check("r:3")), c("kubectl", "container"))
})

test_that("what the server says of the trial is told", {
  refusal <- paste(
    "Error from server (Forbidden): admission webhook \"policy.example.com\" denied the request:",
    "label %s is missing"
  )
  local_cluster(fails(refusal, on = asks$job))
  found <- check()
  expect_identical(problems(found), "trial")
  expect_match(attr(found, "for_admin"), "label %s is missing", fixed = TRUE)
  # A webhook that cannot be asked without effect tells nothing.
  local_cluster(fails(
    "Error from server (BadRequest): admission webhook \"x\" does not support dry run",
    on = asks$job
  ))
  expect_identical(problems(check()), character())
  # Pod Security warns about jobs, and refuses pods.
  warning <- "Warning: would violate PodSecurity \"restricted:latest\": runAsNonRoot != true"
  local_cluster(
    runs(c(paste0("echo '", warning, "' >&2"), "exec cat \"$manifest\""), on = asks$job),
    says(rules(list(
      verbs = list("get", "list", "watch", "update", "create"), apiGroups = list("batch"), resources = list("*")
    )), on = asks$rules),
    says(to_json(list(status = list(allowed = TRUE))), on = asks$right)
  )
  found <- check()
  expect_identical(found$result[found$check == "pod security"], "not known")
  expect_match(what(found, "pod security"), "runAsNonRoot != true")
})

test_that("arguments that no submission could have are refused before kubectl is started", {
  kubectl <- local_cluster()
  for (refused in list(
    raised(check(cpu_limit = "lots")), raised(check(memory_limit = "512m")), raised(check(namespace = "A b")),
    raised(check(username = "no-such-user-here")), raised(check(1)), raised(check(c("a", "b")))
  )) {
    expect_s3_class(refused, "abba_error_input")
  }
  withr::local_options(abba.permitted.containers = 1)
  expect_s3_class(raised(check()), "abba_error_input")
  expect_identical(kubectl$count(), 0L)
})

test_that("some columns or rows of it still print", {
  local_cluster(fails("Error from server (NotFound): namespaces \"n\" not found", on = asks$namespace))
  found <- check()
  expect_output(print(found[c("check", "result")]), "check +result")
  expect_output(print(found[found$result == "problem", ]), "PROBLEM +namespace")
})

test_that("Ctrl-C ends it, and leaves no kubectl behind", {
  kubectl <- local_cluster(hangs(on = asks$login))
  process <- start_r("abba_check_k8s_local('r:1', namespace = 'n')")
  expect_true(wait_until(function() kubectl$hangs() > 0L), label = "kubectl is called")
  press_ctrl_c(process)
  ended <- finish(process)
  # Stopped by the interrupt, not by a report.
  expect_identical(ended$stdout, character())
  expect_false(ended$exit_status == 0L)
  expect_ended(kubectl$pids())
  expect_ended(kubectl$helpers())
})
