# What happened to a job, in plain words.
local_namespace()

explain <- function(id) abba_explain_k8s_job_local(id)

# Waits until the explanation's `element` has these words, and gives the explanation back.
explained <- function(id, words, element = "details") {
  found <- NULL
  has_words <- function() {
    found <<- explain(id)
    if (isTRUE(grepl(words, found[[element]], fixed = TRUE))) TRUE else found[[element]]
  }
  wait_until(has_words, 120, what = paste0("\"", words, "\""))
  found
}

test_that("a program that ran to its end has a record", {
  id <- submit(local_program("cat('ran\\n')"), batch_group_id = "b", memory_limit = "256M")
  wait_for_end(id)
  wait_for_events(id)
  x <- explain(id)
  expect_s3_class(x, "abba_explanation")
  expect_identical(
    names(x),
    c(
      "job_id", "batch_id", "program", "user", "status", "submitted", "started", "finished", "exit_code", "reason",
      "details", "advice", "call", "pod_id", "node", "image", "image_digest", "cpu_limit", "memory_limit", "attempts",
      "events", "verdict", "verdict_line", "last_lines", "archive"
    )
  )
  expect_identical(x$status, "Succeeded")
  expect_identical(x[["verdict"]], "clean")
  expect_identical(x$exit_code, 0L)
  expect_identical(x$batch_id, "b")
  expect_identical(x$pod_id, pods_of(id))
  expect_identical(x$node, "127.0.0.1")
  expect_identical(x$image, r_image)
  expect_match(x$image_digest, "sha256:[0-9a-f]{64}$")
  expect_identical(c(x$cpu_limit, x$memory_limit), c("200m", "256M"))
  expect_identical(x$attempts, 1L)
  for (time in x[c("submitted", "started", "finished")]) expect_s3_class(time, "POSIXct")
  expect_true(x$submitted <= x$started && x$started <= x$finished)
  expect_true(all(is.na(c(x$reason, x$advice, x$details, x$call))))
  expect_identical(names(x$events), c("time", "type", "reason", "message"))
  expect_true(all(c("SuccessfulCreate", "Scheduled", "Started") %in% x$events$reason))
  printed <- capture.output(print(x))
  expect_identical(printed[[1L]], "Succeeded: The program ran to its end.")
  expect_match(printed, paste0("Job: +", id), all = FALSE)
  capture.output(shown <- withVisible(print(x)))
  expect_false(shown$visible)
})

test_that("a program that ran out of memory has the very call with a larger limit, which works", {
  folder <- withr::local_tempdir()
  Sys.chmod(folder, "0755", use_umask = FALSE)
  program <- local_program(c("x <- rep(1, 2.5e7)", "cat(length(x), readLines('/data/it\\'s'), '\\n')"))
  writeLines("there", file.path(folder, "it's"))
  id <- submit(
    program,
    cpu_limit = 0.3, memory_limit = "200M", batch_group_id = "tables", user_tag = "say \"100%\" \\ `x`",
    mounts = host_path(folder, "/data"), username = "nobody", time_limit_seconds = 600
  )
  expect_identical(wait_for_end(id), "Failed")
  x <- explain(id)
  expect_identical(x$reason, "The program needed more memory than its limit of 200M.")
  expect_match(x$advice, "`memory_limit`")
  expect_match(capture.output(print(x)), paste("For example:", x$call), fixed = TRUE, all = FALSE)
  call <- rlang::parse_expr(x$call)
  expect_identical(call[[1L]], quote(abba_submit_k8s_job_local))
  arguments <- lapply(as.list(call)[-1L], eval)
  expect_identical(arguments[["memory_limit"]], "400M")
  expect_identical(arguments[["namespace"]], the_namespace())
  again <- suppressMessages(eval(call))
  expect_identical(again$batch_id, "tables")
  expect_identical(wait_for_end(again$job_id), "Succeeded")
  expect_identical(log_of(again$job_id), "25000000 there ")
  # It differs from the first in its memory alone.
  kept <- function(id) {
    jsonlite::fromJSON(field("job", id, ".metadata.annotations.abba/arguments"), simplifyVector = FALSE)
  }
  expect_identical(kept(again$job_id), utils::modifyList(kept(id), list(memory_limit = "400M")))
})

test_that("every way to fail is told apart", {
  gate <- local_gate()
  ids <- c(
    stop = submit(local_program("stop('boom')")),
    quit = submit(local_program("quit(status = 3)")),
    signal = submit(local_program("tools::pskill(Sys.getpid(), 11L)")),
    time = submit(local_program("Sys.sleep(1e6)"), time_limit_seconds = 3600),
    no_r = submit(local_program("1"), container = cluster_image("no-r:1")),
    no_shell = submit(local_program("1"), container = cluster_image("pause:1")),
    # More than its volume may hold: the node removes it.
    disk = submit(
      local_program(c("writeBin(raw(3e7), '/scratch/large')", gate$wait)),
      mounts = list(
        volumes = c(gate$mounts$volumes, list(list(name = "scratch", emptyDir = list(sizeLimit = "1M")))),
        volumeMounts = c(gate$mounts$volumeMounts, list(list(name = "scratch", mountPath = "/scratch")))
      )
    ),
    # More than the program may write at all.
    own_disk = submit(
      local_program(c("writeBin(raw(3e7), 'large')", gate$wait)), mounts = gate$mounts, disk_limit = "2M"
    )
  )
  wait_for_states(ids[["time"]], function(states) states != "Pending")
  shorten_time_limit(ids[["time"]], 3)
  wait_for_state(ids, "Failed")
  wait_for_pods_to_end(ids)
  reasons <- vapply(ids, reason_of, "")
  expect_identical(reasons[["stop"]], "The program ended with exit status 1.")
  stopped <- explain(ids[["stop"]])
  expect_identical(stopped$verdict_line, "Error: boom")
  expect_identical(stopped$last_lines, c("Error: boom", "Execution halted"))
  expect_identical(reasons[["quit"]], "The program ended with exit status 3.")
  expect_match(reasons[["signal"]], "signal 11")
  expect_identical(reasons[["time"]], "The program was ended because its time limit of 3 seconds was over.")
  expect_match(reasons[["no_r"]], "The container image has no R")
  expect_identical(reasons[["no_shell"]], "The program has not run: its container could not be started.")
  expect_identical(reasons[["disk"]], "The program wrote more to its node's disk than its limit.")
  expect_match(explain(ids[["disk"]])$details, "Evicted: Usage of EmptyDir volume \"scratch\" exceeds the limit")
  expect_match(reasons[["own_disk"]], "^The program wrote more to its node's disk than its .*`disk_limit`")
  expect_match(explain(ids[["own_disk"]])$advice, "larger `disk_limit`")
  expect_identical(explain(ids[["quit"]])$exit_code, 3L)
  expect_true(is.na(explain(ids[["no_shell"]])$exit_code))
  # The same in the list.
  listed <- abba_list_k8s_jobs_local(status = "Failed")
  expect_identical(listed$reason[match(ids, listed$job_id)][1:3], unname(reasons[1:3]))
})

test_that("a pod that is evicted or deleted is told, with what is known of it", {
  gate <- local_gate()
  program <- local_program(gate$wait)
  ids <- c(submit(program, mounts = gate$mounts), submit(program, mounts = gate$mounts))
  wait_for_state(ids, "Running")
  pods <- vapply(ids, pods_of, "", USE.NAMES = FALSE)
  # As `kubectl drain` does.
  eviction <- withr::local_tempfile(lines = jsonlite::toJSON(list(
    apiVersion = "policy/v1", kind = "Eviction", metadata = list(name = pods[[1L]])
  ), auto_unbox = TRUE))
  kubectl_lines(
    "create", "--raw", paste0("/api/v1/namespaces/", the_namespace(), "/pods/", pods[[1L]], "/eviction"), "-f", eviction
  )
  kubectl_lines("delete", "pod", pods[[2L]])
  wait_until(function() length(unlist(lapply(ids, pods_of))) == 0L, what = "the pods to be gone")
  for (i in 1:2) {
    explained(ids[[i]], "Submit the program again", "advice")
    started <- function() "Started" %in% explain(ids[[i]])$events$reason
    wait_until(started, 120, what = "the events of the pod that is gone")
    x <- explain(ids[[i]])
    expect_identical(x$status, "Failed")
    expect_identical(x$reason, "The program's log is gone: its job has failed, and its pod was removed.")
    expect_match(x$advice, "Somebody deleted the pod, or the cluster cleared its node.")
    expect_identical(x$image, r_image)
    expect_identical(x$memory_limit, "512M")
  }
})

test_that("what keeps a program from starting is told, and what to do", {
  local_namespace()
  large <- submit(local_program("1"), cpu_limit = 64)
  image <- submit(local_program("1"), container = cluster_image("nope:1"))
  # Before, the events may tell more than the list of pods that was read a moment earlier.
  wait_until(function() has_pod(large), what = "its pod")
  x <- explained(large, "Insufficient cpu")
  expect_identical(x$status, "Pending")
  expect_identical(x$reason, "The program cannot start: no node of the cluster is large enough for its limits.")
  expect_match(x$advice, "`cpu_limit`", fixed = TRUE)
  expect_true(all(is.na(c(x$node, x$image_digest))))
  x <- explained(image, "not found")
  expect_match(x$reason, paste0("\"", cluster_image("nope:1"), "\" cannot be pulled"), fixed = TRUE)
  abba_cancel_k8s_job_local(c(large, image))
  expect_identical(reason_of(image), "The program has not run: it was cancelled before it started.")

  create_quota("pods=0")
  x <- explained(submit(local_program("1")), "exceeded quota")
  expect_identical(x$reason, "The program has not started: Kubernetes cannot make its pod.")
  expect_match(x$advice, "It starts when other jobs in the namespace have ended")
  expect_identical(x$attempts, 0L)
  expect_true(is.na(x$pod_id))
  expect_abba_error(explain("no-such-job"), "not_found", "no-such-job")
})

test_that("an error that R printed in the log of a success is told, and the status stays", {
  id <- submit(local_program(
    "options(error = quote(cat('caught\\n')))\nf <- function() stop('boom')\nf()\ncat('after\\n')"
  ))
  wait_for_end(id)
  x <- explain(id)
  expect_identical(x[c("status", "exit_code")], list(status = "Succeeded", exit_code = 0L))
  expect_identical(x[c("verdict", "verdict_line")], list(verdict = "errors", verdict_line = "Error in f() : boom"))
  expect_warning(log <- log_of(id), "Error in f() : boom", fixed = TRUE, class = "abba_warning_log_verdict")
  expect_true(all(c("Error in f() : boom", "caught", "after") %in% log))
})

test_that("a volume claim that is not there is named", {
  claim <- list(
    volumes = list(list(name = "data", persistentVolumeClaim = list(claimName = "studies"))),
    volumeMounts = list(list(name = "data", mountPath = "/data"))
  )
  id <- submit(local_program("cat('never\\n')"), mounts = claim)
  x <- explained(id, "no volume claim \"studies\"", "reason")
  expect_match(x$advice, "`mounts`")
  abba_cancel_k8s_job_local(id)
})

test_that("a program that runs again because others took its pod from the job is told", {
  id <- submit(local_program("Sys.sleep(600)"))
  wait_for_state(id, "Running")
  first <- pods_of(id)
  # By the finalizer the Job controller counts the pods of a Job.
  kubectl_lines("patch", "pod", first, "--type=merge", "--patch", "{\"metadata\":{\"finalizers\":null}}")
  kubectl_lines("delete", "pod", first, "--grace-period=0", "--force")
  wait_until(function() length(setdiff(pods_of(id), first)) == 1L, 120, what = "the second pod")
  wait_for_state(id, "Running")
  # Events come a moment after what they tell of.
  expect_identical(explained(id, "was started more than once", "reason")$attempts, 2L)
  # The Job alone is deleted, and its pod stays.
  kubectl_lines("delete", "job", id, "--cascade=orphan")
  wait_until(function() !id %in% jobs_in(), what = "the end of the job")
  left <- explain(id)
  expect_identical(left$pod_id, pods_of(id))
  expect_match(left$advice, "left its pod", fixed = TRUE)
  kubectl_lines("delete", "pod", left$pod_id, "--grace-period=0", "--force")
})
