# A component of the cluster goes away and comes back. Each is taken away once, with all at work that must bear it, on
# both transports; the tests then look at what came of it.
namespace <- local_namespace()

both_transports <- list(kept = TRUE, one_a_call = FALSE)

# The value of code() on each transport.
on_both_transports <- function(code) {
  lapply(both_transports, function(session) withr::with_options(list(abba.k8s.session = session), code()))
}

# The same as local_background(), on each transport.
background_on_both_transports <- function(code, ..., env = parent.frame()) {
  on_both_transports(function() local_background(code, ..., env = env))
}

program <- local_program("cat('ran\\n')")
ended <- submit(program)
wait_for_end(ended)

# ---- The API server -----------------------------------------------------------------------------

counted <- local_gate()
counts <- submit(counting_program(), mounts = counted$mounts)
following <- background_on_both_transports(function(id) abba_follow_k8s_job_log_local(id), counts)
let_count(counted, 10)
for (one in following) wait_until(has_printed(one, numbered(1:10)), what = "the first lines")

gate <- local_gate()
ends <- submit(local_program(c("cat('begun\\n')", "mark <- 'ends in the outage'", gate$wait)), mounts = gate$mounts)
wait_for_state(ends, "Running")
following_end <- background_on_both_transports(function(id) abba_follow_k8s_job_log_local(id), ends)
for (one in following_end) wait_until(has_printed(one, "begun"), what = "the following")
# A watch is under way when the API server has it. Nobody else watches the pods of a namespace, and who follows a log
# does so until the program begins.
watches <- function() {
  metrics <- lines_of(kubectl("get", "--raw", "/metrics"))
  of_pods <- "^apiserver_longrunning_requests[{].*resource=\"pods\",scope=\"namespace\".*verb=\"WATCH\""
  sum(as.numeric(sub(".* ", "", grep(of_pods, metrics, value = TRUE))))
}
wait_until(function() if (watches() == 0) TRUE else watches(), what = "no watch")
watching_end <- background_on_both_transports(function(id) abba_watch_k8s_job_local(id), ends)
wait_until(function() if (watches() == 2) TRUE else watches(), what = "both watches")

jobs_before <- jobs_in()
submission_without_server <- NULL
followed_without_server <- NULL
read_during_restart <- NULL
first_attempt <- NULL
with_component_stopped("apiserver", {
  let_count(counted, 20)
  gate$open()
  wait_until(function() !runs_here("ends in the outage"), what = "the program to end")
  # Each is tried again as long as a call is: those who follow and watch have had no answer for longer than that.
  submission_without_server <- on_both_transports(function() {
    tryCatch(abba_submit_k8s_job_local(program), error = identity)
  })
  followed_without_server <- vapply(c(following, following_end, watching_end), function(one) one$is_alive(), NA)
  # The first attempt meets no server; when its answer is there, the server is back.
  local({
    base <- local_kubectl(c(
      "\"$real\" \"$@\" 2>\"$base/stderr\"",
      "status=$?",
      "cat \"$base/stderr\" >&2",
      "if [ ! -e \"$base/first\" ]; then",
      "  mv \"$base/stderr\" \"$base/first\"",
      sprintf("  %s start apiserver >\"$base/start\" 2>&1", shQuote(cluster_script)),
      "fi",
      "exit $status"
    ))
    # The start of the server is part of the first attempt.
    withr::local_options(abba.k8s.request.timeout = 180)
    read_during_restart <<- abba_get_k8s_job_status_local(ended)
    first_attempt <<- readLines(file.path(base, "first"))
  })
})
jobs_after <- jobs_in()

test_that("a read that begins while the API server restarts succeeds", {
  expect_match(first_attempt, "127.0.0.1:6443 was refused", all = FALSE)
  expect_identical(names(read_during_restart), "Succeeded")
})

test_that("without the API server a submission fails and says that there is no job", {
  for (error in submission_without_server) {
    expect_abba_error(stop(error), "unavailable", "The cluster cannot be reached.", "No job was created.")
  }
  expect_identical(jobs_after, jobs_before)
})

test_that("a restart of the API server loses no line and repeats none", {
  expect_true(all(followed_without_server))
  for (one in following) wait_until(has_printed(one, numbered(1:20)), what = "the lines of the meantime")
  let_count(counted, 30)
  counted$open()
  for (one in following) {
    outcome <- outcome_of(one)
    expect_identical(output_of(one), numbered(1:30))
    expect_identical(outcome$value[[1L]]$log, numbered(1:30))
    expect_identical(outcome$warnings, list())
  }
})

test_that("a program that ends while the API server is down is not missed", {
  for (one in watching_end) {
    outcome <- outcome_of(one)
    expect_identical(names(outcome$value), "Succeeded")
    expect_identical(outcome$warnings, list())
  }
  for (one in following_end) expect_identical(outcome_of(one)$value[[1L]]$log, "begun")
})

test_that("a watch from too long ago begins anew", {
  gate <- local_gate()
  id <- submit(local_program(gate$wait), mounts = gate$mounts)
  wait_for_state(id, "Running")
  # The first watch asks for what happened since the cluster's first moment. The server has begun anew since then, does
  # not remember it, and says 410 Gone.
  base <- local_noted_kubectl(c(
    "case $* in *watch=1*)",
    "  if [ ! -e \"$base/gone\" ]; then",
    "    path=$(printf '%s' \"$3\" | sed 's/resourceVersion=[0-9]*/resourceVersion=1/')",
    "    \"$real\" get --raw \"$path\" \"${@:4}\" >\"$base/answer\" 2>&1; status=$?",
    "    mv \"$base/answer\" \"$base/gone\"; cat \"$base/gone\"; exit $status",
    "  fi;;",
    "esac"
  ))
  writeLines(sub("^#!/bin/sh$", "#!/bin/bash", readLines(file.path(base, "kubectl"))), file.path(base, "kubectl"))
  watching <- watch_in_background(id)
  wait_until(function() length(watches_of(base)) >= 2L, what = "the second watch")
  expect_match(readLines(file.path(base, "gone")), "too old resource version|Expired", all = FALSE)
  gate$open()
  expect_identical(names(outcome_of(watching)$value), "Succeeded")
})

# ---- The node -----------------------------------------------------------------------------------

gates <- list(local_gate(), local_gate(), local_gate())
path <- local_program(c("cat('first\\n')", gates[[1L]]$wait, "if (file.exists('/gate/fail')) stop('no')"))
# One goes on, one succeeds and one fails while the node does not answer.
ids <- vapply(gates, function(gate) submit(path, mounts = gate$mounts, cpu_limit = 0.1), "")
gate <- local_gate()
cancelled <- vapply(both_transports, function(session) submit(path, mounts = gate$mounts, cpu_limit = 0.1), "")
kept <- submit(path, mounts = gate$mounts, cpu_limit = 0.1)
batch <- submit_batch(local_program(gate$wait), batch_group_id = "b", mounts = gate$mounts)
evicted <- submit(path, mounts = gate$mounts, cpu_limit = 0.1)
all_ids <- c(ids, cancelled, kept, batch$job_id, evicted)
wait_for_state(all_ids, "Running")
wait_until(function() identical(log_of(ids[[1L]]), "first"), what = "the program to start")

unknown <- NULL
watched <- NULL
explained <- NULL
log_error <- NULL
cancelling <- NULL
run_again <- NULL
run_again_if_unknown <- NULL
evicted_explained <- NULL
# What a node writes that ran short of memory; making it run short would take the whole machine along.
eviction <- "The node was low on resource: memory. Threshold quantity: 100Mi, available: 84Mi."
with_component_stopped("kubelet", {
  # They end without anybody to tell.
  gates[[2L]]$open()
  file.create(gates[[3L]]$file("fail"))
  gates[[3L]]$open()
  patch <- list(status = list(phase = "Failed", reason = "Evicted", message = eviction))
  kubectl_lines(
    "patch", "pod", pods_of(evicted), "--subresource=status", "--type=merge",
    "--patch", jsonlite::toJSON(patch, auto_unbox = TRUE)
  )
  evicted_explained <- abba_explain_k8s_job_local(evicted)
  watched <- lapply(background_on_both_transports(function(ids) abba_watch_k8s_job_local(ids), kept), outcome_of)
  wait_for_state(setdiff(all_ids, evicted), "Unknown")
  unknown <- on_both_transports(function() abba_get_k8s_job_status_local(ids))
  log_error <- on_both_transports(function() tryCatch(log_of(ids[[1L]]), error = identity))
  explained <- on_both_transports(function() abba_explain_k8s_job_local(kept))
  cancelling <- Map(function(id, session) {
    withr::with_options(list(abba.k8s.session = session), abba_cancel_k8s_job_local(id))
  }, cancelled, both_transports)
  run_again <- abba_rerun_k8s_batch_local("b")
  run_again_if_unknown <- suppressMessages(abba_rerun_k8s_batch_local("b", include_unknown = TRUE))
})

test_that("on a node that does not answer a job is unknown, its log an error, and the truth comes back", {
  for (status in unknown) {
    expect_identical(names(status), "Unknown")
    expect_length(status$Unknown$Jobs, 3L)
    expect_identical(
      status$Unknown$Description,
      paste(
        "For some reason the state of the Pod could not be obtained. This phase typically occurs due to an error in",
        "communicating with the node where the Pod should be running."
      )
    )
  }
  for (error in log_error) {
    expect_abba_error(stop(error), "unavailable", "the node that ran the program does not give it", "not affected")
  }
  wanted <- c("Running", "Succeeded", "Failed")
  expect_identical(unname(wait_for_states(ids, function(states) identical(unname(states), wanted))), wanted)
  gates[[1L]]$open()
  expect_identical(wait_for_end(ids[[1L]]), "Succeeded")
  expect_identical(log_of(ids[[1L]]), "first")
  expect_identical(log_of(ids[[3L]])[1:2], c("first", "Error: no"))
})

test_that("a node that does not answer ends the wait, is explained, and its program can be cancelled", {
  for (outcome in watched) expect_identical(names(outcome$value), "Unknown")
  for (found in explained) {
    expect_identical(found$status, "Unknown")
    expect_match(found$reason, "The node \"127.0.0.1\" that runs the program does not answer.", fixed = TRUE)
    expect_match(found$advice, "do not submit it again yet", fixed = TRUE)
  }
  # It may still run, so it is not run again unless that is asked for.
  for (done in cancelling) expect_identical(done$done, "stops when its node answers")
  expect_identical(unname(wait_for_state(cancelled, "Failed")), c("Failed", "Failed"))
  for (id in cancelled) expect_identical(reason_of(id), "The program was cancelled.")
  wait_for_state(kept, "Running")
  gate$open()
  for (watched_again in on_both_transports(function() abba_watch_k8s_job_local(kept))) {
    expect_identical(names(watched_again), "Succeeded")
  }
})

test_that("what is unknown runs again on demand only", {
  expect_identical(nrow(run_again), 0L)
  expect_identical(run_again_if_unknown$program, batch$program)
  gate$open()
  expect_identical(unname(wait_for_end(c(batch$job_id, run_again_if_unknown$job_id))), rep("Succeeded", 2L))
})

test_that("a node that ran short of memory or disk is told", {
  expect_identical(evicted_explained$status, "Failed")
  expect_identical(evicted_explained$reason, "The node ran short of memory or disk and removed the program.")
  expect_identical(evicted_explained$details, paste("Evicted:", eviction))
})

# ---- The controllers ----------------------------------------------------------------------------

test_that("a job that is cancelled before its controller has seen it is never started", {
  folder <- withr::local_tempdir()
  Sys.chmod(folder, "0777", use_umask = FALSE)
  path <- local_program("cat('ran\\n', file = '/data/ran')")
  with_component_stopped("controllers", {
    ids <- unlist(on_both_transports(function() {
      id <- submit(path, mounts = host_path(folder, "/data"))
      expect_identical(abba_cancel_k8s_job_local(id)$done, "kept from starting")
      id
    }))
  })
  for (id in ids) {
    expect_identical(wait_for_end(id), "Failed")
    expect_identical(pods_of(id), character())
    expect_false("SuccessfulCreate" %in% abba_explain_k8s_job_local(id)$events$reason)
  }
  expect_identical(list.files(folder), character())
})

# ---- The container runtime ----------------------------------------------------------------------

test_that("a program that ends while its node's container runtime is away loses the end of its log, and that is told", {
  gate <- local_gate()
  name <- basename(tempfile("ends_alone_", fileext = ".R"))
  prints <- c("cat('begun\\n')", gate$wait, "cat('went on\\n')")
  ends <- submit(local_program(prints, name), mounts = gate$mounts)
  goes_on <- submit(
    local_program(c(prints, "while (!file.exists('/gate/end')) Sys.sleep(0.05)", "cat('end\\n')")),
    mounts = gate$mounts
  )
  for (id in c(ends, goes_on)) wait_until(function() identical(log_of(id), "begun"), what = "the program to begin")
  with_component_stopped("containerd", {
    gate$open()
    # Its processes are those of this machine.
    is_there <- function() processx::run("pgrep", c("--full", name), error_on_status = FALSE)$status == 0L
    wait_until(function() !is_there(), what = "the program to end")
  })
  file.create(gate$file("end"))
  expect_identical(unname(wait_for_end(c(ends, goes_on))), rep("Succeeded", 2L))
  expect_warning(log <- log_of(ends), "^The end of the log of job", class = "abba_warning_log_incomplete")
  expect_identical(log, "begun")
  # What runs on keeps all that it prints meanwhile.
  expect_identical(expect_silent(log_of(goes_on)), c("begun", "went on", "end"))
})
