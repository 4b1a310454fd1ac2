# Programs that go through queues of Kueue, which is added to the cluster for this file.
cluster("start", "kueue")

# A namespace that Kueue looks after, with two queues of one cohort, "a" and "b", until env ends. Each may run one
# program of a fifth of a core, and another one while the other queue has none.
local_queues <- function(env = parent.frame()) {
  namespace <- local_namespace(env)
  kubectl("label", "namespace", namespace, "abba-test-cluster/kueue=")
  object <- function(kind, name, ...) {
    list(apiVersion = "kueue.x-k8s.io/v1beta2", kind = kind, metadata = list(name = name), spec = list(...))
  }
  quotas <- list(list(name = "cpu", nominalQuota = "200m"), list(name = "memory", nominalQuota = "100Gi"))
  whole <- paste0(namespace, "-", c("a", "b"))
  objects <- c(
    # An empty list would be an array.
    list(object("ResourceFlavor", namespace, nodeTaints = list())),
    lapply(whole, function(name) {
      object(
        "ClusterQueue", name,
        cohortName = namespace, queueingStrategy = "StrictFIFO",
        namespaceSelector = list(matchLabels = list(`kubernetes.io/metadata.name` = namespace)),
        preemption = list(reclaimWithinCohort = "Any", withinClusterQueue = "Never"),
        resourceGroups = list(list(
          coveredResources = list("cpu", "memory"), flavors = list(list(name = namespace, resources = quotas))
        ))
      )
    }),
    Map(function(name, cluster_queue) object("LocalQueue", name, clusterQueue = cluster_queue), c("a", "b"), whole)
  )
  withr::defer(
    kubectl("delete", "--wait=false", paste0("clusterqueue/", whole), paste0("resourceflavor/", namespace)),
    envir = env
  )
  apply_manifest(list(apiVersion = "v1", kind = "List", items = unname(objects)), namespace)
  kubectl("wait", "--for=condition=Active", "localqueue/a", "localqueue/b", "--namespace", namespace, "--timeout=60s")
  namespace
}

explained <- function(id) suppressWarnings(abba_explain_k8s_job_local(id))

# The place of a job that waits in a queue of so many, from its reason; NA while it says no such thing.
place_of <- function(id, count) {
  reason <- explained(id)$reason
  said <- paste0(".*at place ([0-9]+) of ", count, "\\b.*")
  if (isTRUE(grepl(said, reason))) as.integer(sub(said, "\\1", reason)) else NA_integer_
}

# When the queue has let a job go the last time.
let_go_at <- function(id, workloads) {
  of_job <- Filter(function(workload) identical(workload$metadata$ownerReferences[[1L]]$name, id), workloads)[[1L]]
  Filter(function(condition) condition$type == "QuotaReserved", of_job$status$conditions)[[1L]]$lastTransitionTime
}

test_that("two queues share the cluster: borrowed room is given back, the order kept, and no program lost", {
  local_queues()
  gate <- local_gate()
  note <- function(what) {
    sprintf("cat('%s', Sys.getenv('ABBA_JOB_ID'), '\\n', file = '/gate/notes', append = TRUE)", what)
  }
  path <- local_program(c(note("begin"), gate$wait, note("end")))
  to <- function(queue, count) {
    paths <- rep(path, count)
    suppressMessages(abba_submit_k8s_batch_local(paths, queue = queue, cpu_limit = 0.2, mounts = gate$mounts))$job_id
  }
  noted <- function(what) {
    notes <- if (file.exists(gate$file("notes"))) readLines(gate$file("notes")) else character()
    trimws(sub("^[a-z]* ", "", notes[startsWith(notes, what)]))
  }

  # While the other queue is empty, one runs on its own room and one on what is borrowed.
  first <- to("a", 2L)
  wait_until(function() setequal(noted("begin"), first), what = "two programs of queue a")
  a <- to("a", 5L)
  places <- NULL
  have_places <- function() {
    places <<- vapply(a, place_of, 1L, 5L)
    if (identical(sort(unname(places)), 1:5)) TRUE else places
  }
  wait_until(have_places, what = "their places in the queue")
  in_order <- a[order(places)]
  why <- paste(
    "The program waits in the queue \"a\" at place 1 of 5:", "the queue has not enough processor cores left."
  )
  next_one <- NULL
  is_told <- function() identical((next_one <<- explained(in_order[[1L]]))$reason, why)
  wait_until(is_told, what = "the reason of the next program")
  expect_match(next_one$details, "insufficient unused quota for cpu", fixed = TRUE)
  expect_identical(log_of(in_order[[1L]])[[1L]], paste("abba:", why))
  expect_identical(unique(unname(states(a))), "Pending")
  expect_identical(unlist(lapply(a, pods_of)), character())

  # The other queue wants its own room back: one of the two is ended, and waits for its second start.
  b <- to("b", 5L)
  taken <- function() first[vapply(first, function(id) grepl("to make room for another one", explained(id)$reason), NA)]
  again <- character()
  wait_until(function() length(again <<- taken()) == 1L, what = "a program that is put back into its queue")
  anew <- "It will start anew. The program waits in the queue \"a\" at place 1 of 6"
  wait_until(function() grepl(anew, explained(again)$reason, fixed = TRUE), what = "its place in the queue")
  wait_for_state(again, "Pending")
  wait_until(function() any(b %in% noted("begin")), what = "a program of queue b")

  all <- c(first, a, b)
  gate$open()
  ended <- function() {
    seen <- suppressWarnings(states(all))
    # A success is told of those only that have come to their end, and nothing ever fails.
    stopifnot(all(all[seen == "Succeeded"] %in% noted("end")), !any(seen %in% c("Failed", "Unknown")))
    all(seen == "Succeeded")
  }
  wait_until(ended, 300, interval = 0.3, what = "the end of all programs")
  expect_identical(sort(noted("end")), sort(all))

  # Each ran as often as is said of it.
  starts <- table(factor(noted("begin"), all))
  expect_identical(unname(starts[[again]]), 2L)
  told <- vapply(all, function(id) explained(id)$attempts, 1L)
  expect_identical(as.vector(starts), unname(told))
  expect_match(explained(again)$reason, "The program was started more than once.", fixed = TRUE)
  warned <- expect_warning(abba_get_k8s_job_log_local(all), class = "abba_warning_started_again")
  expect_identical(sort(warned$job_id), sort(names(starts)[starts > 1L]))

  # First come, first served: the program that was put back goes first, and the others follow by their places. Two that
  # run at the same time, once the other queue is empty, may begin in either order.
  workloads <- kubectl_json("get", "workloads.kueue.x-k8s.io", "--namespace", the_namespace())$items
  expect_false(is.unsorted(vapply(c(again, in_order), let_go_at, "", workloads)))
})

test_that("a program that is cancelled in its queue gives up its place, and another queue may be had by a rerun", {
  namespace <- local_queues()
  close <- function(how) {
    patch <- paste0("{\"spec\": {\"stopPolicy\": \"", how, "\"}}")
    kubectl("patch", "localqueue", "a", "--namespace", namespace, "--type", "merge", "--patch", patch)
  }
  found <- function(...) {
    checked <- abba_check_k8s_local(...)
    checked[checked$check == "queue", ]
  }
  expect_identical(found()$result, "ok")
  expect_match(found(queue = "a")$what, "lets programs go: 0 of its programs have been let go, and 0 wait")
  gpu <- list(limits = list(`example.com/gpu` = "1"))
  program <- list(name = "program", resources = gpu)
  with_gpu <- list(spec = list(template = list(spec = list(containers = list(program)))))
  expect_match(found(queue = "a", job_template = with_gpu)$what, "has no quota of example.com/gpu", fixed = TRUE)
  close("Hold")
  wait_until(function() identical(found(queue = "a")$result, "problem"), what = "the queue to close")
  stuck <- submit(local_program("1"), queue = "nosuch")
  id <- submit(local_program("cat('ran\\n')"), queue = "a", batch_group_id = "held")
  wait_until(function() grepl("which is closed", explained(id)$reason), what = "the reason")
  expect_error(
    abba_watch_k8s_job_local(id, timeout_seconds = 1, on_stuck = "fail"),
    class = "abba_error_wait_timeout"
  )
  expect_identical(abba_cancel_k8s_job_local(id)$done, "kept from starting")
  expect_identical(unname(states(id)), "Failed")
  expect_identical(explained(id)$reason, "The program has not run: it was cancelled before it started.")
  again <- suppressMessages(abba_rerun_k8s_batch_local("held", queue = "b"))$job_id
  expect_identical(wait_for_end(again), "Succeeded")
  expect_identical(log_of(again), "ran")
  expect_identical(pods_of(id), character())
  is_told <- function() identical(explained(stuck)$details, "LocalQueue nosuch doesn't exist")
  wait_until(is_told, what = "the word about a queue that is not there")
})

test_that("a queue that is not there is told, and a program never starts past it", {
  # A namespace in which nobody but abba itself suspends the job.
  namespace <- local_namespace()
  id <- submit(local_program("1"), queue = "nosuch")
  expect_identical(explained(id)$reason, "The program waits for the queue \"nosuch\", which does not exist.")
  expect_error(abba_watch_k8s_job_local(id, timeout_seconds = 60, on_stuck = "fail"), class = "abba_error_stuck")
  expect_identical(unname(states(id)), "Pending")
  expect_identical(pods_of(id), character())
  expect_identical(abba_list_k8s_jobs_local()$reason, "The program waits in the queue \"nosuch\".")
  checked <- abba_check_k8s_local(queue = "nosuch")
  expect_match(checked$what[checked$check == "queue"], "There is no queue \"nosuch\"", fixed = TRUE)

  # Without the rights to look at queues less is said, and all the rest works.
  local_cluster_login(user_kubeconfig(namespace, documented_role))
  expect_identical(explained(id)$reason, "The program waits in the queue \"nosuch\".")
  expect_error(abba_watch_k8s_job_local(id, timeout_seconds = 2), class = "abba_error_wait_timeout")
  checked <- abba_check_k8s_local(queue = "nosuch")
  expect_identical(checked$result[checked$check == "queue"], "not known")
  expect_identical(abba_cancel_k8s_job_local(id)$done, "kept from starting")
  expect_identical(unname(states(id)), "Failed")
})

test_that("a program of a plan is let go into its queue by a server that nobody asks, and not past it", {
  namespace <- local_queues()
  let <- function(how) {
    patch <- paste0("{\"spec\": {\"stopPolicy\": \"", how, "\"}}")
    kubectl("patch", "localqueue", "a", "--namespace", namespace, "--type", "merge", "--patch", patch)
  }
  let("Hold")
  local_api_server(users = "daemon")
  programs <- c(local_program("cat('ran\\n')", "first.R"), local_program("cat('ran\\n')", "second.R"))
  plan <- abba_plan(programs, after = c(NA, "first"))
  plan$queue <- c(NA, "a")
  ids <- suppressMessages(abba_submit_k8s_batch_local(plan, cpu_limit = 0.2))$job_id
  wait_until(function() grepl("which is closed", explained(ids[[2L]])$reason), 180, what = "the queue to have it")
  expect_identical(unname(states(ids)), c("Succeeded", "Pending"))
  expect_identical(field("job", ids[[2L]], ".spec.suspend"), "true")
  expect_identical(pods_of(ids[[2L]]), character())
  let("None")
  expect_identical(unname(wait_for_end(ids)), c("Succeeded", "Succeeded"))
  expect_length(pods_of(ids[[2L]]), 1L)
})

test_that("what runs after a program that a queue takes back waits until that has run again", {
  local_queues()
  local_api_server(users = "daemon")
  gate <- local_gate()
  submit <- function(programs, queue) {
    suppressMessages(
      abba_submit_k8s_batch_local(programs, queue = queue, cpu_limit = 0.2, mounts = gate$mounts)
    )$job_id
  }
  waits <- local_program(gate$wait, "waits.R")
  # It takes the room of the queue itself, so that the next one runs on what is borrowed.
  own <- submit(waits, "a")
  wait_for_state(own, "Running")
  plan <- abba_plan(c(waits, local_program("cat('ran\\n')", "after.R")), after = c(NA, "waits"))
  ids <- submit(plan, "a")
  wait_for_state(ids[[1L]], "Running")
  other <- submit(waits, "b")
  is_back <- function() grepl("It will start anew.", explained(ids[[1L]])$reason, fixed = TRUE)
  wait_until(is_back, what = "the first program to be back in its queue")
  wait_for_state(other, "Running")
  expect_identical(unname(states(ids)), c("Pending", "Pending"))
  expect_match(explained(ids[[2L]])$reason, "waits for waits")
  gate$open()
  expect_identical(unname(suppressWarnings(wait_for_end(c(own, other, ids)))), rep("Succeeded", 4L))
})

test_that("programs of an abba server's callers go through the queues that its administrator permits", {
  local_queues()
  server <- local_api_server(abba.permitted.queues = c("b", "a"), users = "daemon")
  withr::local_options(
    abba.api.address = server$address, abba.api.key = server$keys$daemon, abba.default.container = NULL
  )
  path <- local_program("cat('ran\\n')")
  submit_api <- function(...) suppressMessages(abba_submit_job(path, cpu_limit = 0.2, ...))$job_id
  ids <- c(submit_api(), submit_api(queue = "a"))
  queue_of <- function(id) field("job", id, ".metadata.labels.kueue\\.x-k8s\\.io/queue-name")
  expect_identical(vapply(ids, queue_of, "", USE.NAMES = FALSE), c("b", "a"))
  expect_named(abba_watch_job(ids), "Succeeded")
  expect_abba_error(submit_api(queue = "other"), "forbidden", "The queue \"other\" is not permitted here.", "b, a")
})
