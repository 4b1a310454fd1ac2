replaced <- function(kubectl) {
  calls <- which(grepl("^replace ", kubectl$requests()))
  stats::setNames(lapply(calls, kubectl$manifest), sub("^replace ", "", kubectl$requests()[calls]))
}

test_on_both_roads("a program that runs is ended by a time limit on its pod, which keeps its log", {
  kubectl <- local_cluster(list(full_pod("a-1", running())))
  expect_identical(cancel("a-1"), data.frame(job_id = "a-1", done = "stopped"))
  changes <- replaced(kubectl)
  expect_named(changes, "/api/v1/namespaces/n/pods/a-1-2dbr8")
  expect_identical(changes[[1]]$spec$activeDeadlineSeconds, 1L)
  who <- if (by_kubectl()) Sys.info()[["user"]] else "daemon"
  expect_identical(changes[[1]]$metadata$annotations[["abba/cancelled-by"]], who)
  # The rest is as it was.
  expect_mapequal(changes[[1]]$spec$containers[[1]], full_pod("a-1", running())$spec$containers[[1]])
  expect_no_match(kubectl$requests(), "^delete")
})

test_on_both_roads("what has not started is kept from starting", {
  on_node <- full_pod("a-1", waiting())
  without_node <- pod("b-2", NULL, "Pending")
  without_node$spec <- list(containers = list())
  # Its node does not begin it any more, and says so a moment later.
  kept_back <- full_pod("a-1", waiting(), "Failed")
  kubectl <- local_cluster(
    list(on_node, without_node), list(full_job("b-2"), full_job("c-3")),
    says(to_json(on_node), on = "get --raw */pods/a-1-2dbr8"),
    says(to_json(kept_back), on = "get --raw */pods/a-1-2dbr8")
  )
  expect_identical(cancel(c("c-3", "b-2", "a-1")), data.frame(
    job_id = c("c-3", "b-2", "a-1"), done = rep("kept from starting", 3L)
  ))
  changes <- replaced(kubectl)
  limits <- vapply(changes, function(object) object$spec$activeDeadlineSeconds, 1L)
  expect_identical(limits[order(names(limits))], c(
    "/api/v1/namespaces/n/pods/a-1-2dbr8" = 1L, "/api/v1/namespaces/n/pods/b-2-2dbr8" = 1L,
    "/apis/batch/v1/namespaces/n/jobs/b-2" = 0L, "/apis/batch/v1/namespaces/n/jobs/c-3" = 0L
  ))
})

test_on_both_roads("cancelling twice, or what has ended, is no error and changes nothing", {
  cancelled <- full_pod("a-1", running())
  cancelled$metadata$annotations[["abba/cancelled-by"]] <- "mike"
  kubectl <- local_cluster(
    list(cancelled, full_pod("b-2"), full_pod("c-3", ended(1L), "Failed")),
    list(full_job("d-4", annotations = list("abba/cancelled-by" = "mike")))
  )
  expect_identical(cancel(c("a-1", "b-2", "c-3", "d-4")), data.frame(
    job_id = c("a-1", "b-2", "c-3", "d-4"),
    done = c("was cancelled before", "had ended", "had ended", "was cancelled before")
  ))
  expect_length(replaced(kubectl), 0L)
})

test_on_both_roads("a program whose node does not answer is cancelled, since it may still run", {
  lost <- full_pod("a-1", running(), conditions = list(condition("Ready", "False"), condition("ContainersReady")))
  kubectl <- local_cluster(list(lost))
  expect_identical(cancel("a-1")$done, "stops when its node answers")
  expect_length(replaced(kubectl), 1L)
})

test_on_both_roads("a batch is cancelled whole, with what was done for each job", {
  kubectl <- local_cluster(
    list(full_pod("a-1"), full_pod("b-2", running(), created = "2026-01-01T00:00:01Z")),
    list(full_job("c-3", created = "2026-01-01T00:00:02Z"))
  )
  expect_identical(cancel_batch("b-1"), data.frame(
    job_id = c("a-1", "b-2", "c-3"), done = c("had ended", "stopped", "kept from starting")
  ))
  if (by_kubectl()) expect_match(utils::URLdecode(kubectl$requests()[[1]]), "abba/batch-id=b-1", fixed = TRUE)
})

test_on_both_roads("where somebody else was faster, the change is made again on what is there now", {
  kubectl <- local_cluster(
    list(full_pod("a-1", running())), list(),
    fails("Error from server (Conflict): the object has been modified\n", on = "replace *"),
    runs("exec cat \"$manifest\"", on = "replace *")
  )
  expect_identical(cancel("a-1")$done, "stopped")
  expect_length(replaced(kubectl), 2L)
})

test_on_both_roads("a job that goes away meanwhile had ended", {
  until_gone <- function(object, on) {
    runs(paste("[ ! -e \"$base/gone\" ] && echo", shQuote(list_of(object)), "|| echo '{\"items\": []}'"), on = on)
  }
  pod <- full_pod("a-1", running())
  local_scripted_kubectl(
    runs(c(
      "touch \"$base/gone\"", "echo 'Error from server (NotFound): pods \"a-1-2dbr8\" not found' >&2", "exit 1"
    ), on = "replace *"),
    until_gone(pod, "*/pods[?]*"), until_gone(full_job("a-1"), "*/jobs[?]*"), says(to_json(pod))
  )
  expect_identical(cancel("a-1")$done, "had ended")
})

test_on_both_roads("where some jobs cannot be cancelled, the error holds the data frame of all", {
  forbidden <- "Error from server (Forbidden): pods \"b-2-2dbr8\" is forbidden: User \"mike\" cannot update\n"
  local_cluster(
    list(full_pod("a-1", running()), full_pod("b-2", running()), full_pod("c-3")), list(),
    fails(forbidden, on = "replace *b-2-2dbr8*")
  )
  error <- raised(cancel(c("a-1", "b-2", "c-3")))
  expect_s3_class(error, "abba_error_forbidden")
  expect_identical(error$done, data.frame(
    job_id = c("a-1", "b-2", "c-3"), done = c("stopped", NA, "had ended")
  ))
  expect_identical(error$job_id, "b-2")
  if (by_kubectl()) expect_words(abba_cancel_k8s_job_local(c("a-1", "b-2", "c-3"), namespace = "n"), error = TRUE)
})

test_on_both_roads("a job or a batch that does not exist is an error, and nothing is cancelled", {
  kubectl <- local_cluster(list(full_pod("a-1", running())))
  error <- raised(cancel(c("a-1", "no-such-job")))
  expect_s3_class(error, "abba_error_not_found")
  expect_identical(error$job_id, "no-such-job")
  expect_length(replaced(kubectl), 0L)
  local_cluster()
  expect_s3_class(raised(cancel_batch("nope")), "abba_error_not_found")
  if (by_kubectl()) expect_words(abba_cancel_k8s_batch_local("nope", namespace = "n"), error = TRUE)
})

test_on_both_roads("at the console many jobs are counted, and their data frame is there to be kept", {
  local_cluster(c(lapply(sprintf("a-%d", 1:30), full_pod), list(full_pod("b-2", running()))))
  expect_message(done <- withVisible(cancel_batch("b-1")), "^31 jobs: 30 had ended, 1 stopped\n$")
  expect_false(done$visible)
  expect_identical(dim(done$value), c(31L, 2L))
  expect_message(cancel("b-2"), "^1 job: stopped\n$")
})

test_on_both_roads("an id that is given twice is told twice", {
  local_cluster(list(full_pod("a-1")))
  expect_identical(cancel(c("a-1", "a-1")), data.frame(job_id = c("a-1", "a-1"), done = "had ended"))
})

test_that("a change that hangs is an error that names the job", {
  kubectl <- local_cluster(list(full_pod("a-1", running())), list(), hangs(on = "replace *"))
  error <- at_time_limit(function() raised(cancel("a-1")), function() kubectl$hangs() > 0L)
  expect_s3_class(error, "abba_error_timeout")
  expect_identical(error$job_id, "a-1")
  expect_identical(error$done, data.frame(job_id = "a-1", done = NA_character_))
  expect_reaped(kubectl$pids())
})

test_that("bad arguments are refused before kubectl starts", {
  expect_words(refuse(
    cancel(NULL), cancel(character()), cancel(NA_character_), cancel(c("a-1", NA)), cancel(""), cancel(1),
    cancel("A B"), cancel(list("a-1")), cancel(namespace = "A"),
    cancel_batch(NULL), cancel_batch(""), cancel_batch(c("a", "b")), cancel_batch("a b"), cancel_batch(1)
  ))
})

test_that("Ctrl-C ends the cancelling of many jobs", {
  pods <- lapply(sprintf("job-%03d", 1:40), full_pod, running())
  kubectl <- local_scripted_kubectl(
    says(do.call(list_of, pods), on = "*/pods[?]*"), says(list_of(), on = "*/jobs[?]*"), hangs()
  )
  interrupt_r(
    "abba_cancel_k8s_batch_local('b-1', namespace = 'n')", kubectl, function() length(kubectl$helpers()) > 1L
  )
  expect_lt(kubectl$count(), 20L)
})
