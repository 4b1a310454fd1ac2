# A kubectl that says what there is and accepts each removal. The Jobs are of the account that runs the tests, unless
# they are given as `jobs`.
local_ended <- function(pods = list(), jobs = list(), ..., env = parent.frame()) {
  own <- lapply(lapply(pods, `[[`, "metadata"), function(of) {
    full_job(of$labels[["abba/job-id"]], user = Sys.info()[["user"]], created = of$creationTimestamp)
  })
  jobs <- c(own[!vapply(own, function(job) any(names_of(jobs) == job$metadata$name), NA)], jobs)
  jobs <- Map(function(job, number) {
    job$metadata$uid <- sprintf("00000000-0000-4000-8000-%012d", number)
    job$metadata$resourceVersion <- "7"
    job
  }, jobs, seq_along(jobs))
  answers <- c(
    list(...),
    lapply(jobs, function(job) says(to_json(job), on = paste0("get --raw */jobs/", job$metadata$name))),
    list(
      says("{\"kind\":\"Status\",\"status\":\"Success\"}", on = "delete *"),
      says(do.call(list_of, pods), on = "*/pods[?]*"),
      says(do.call(list_of, jobs), on = "*/jobs[?]*")
    )
  )
  do.call(local_scripted_kubectl, c(answers, list(env = env)))
}
names_of <- function(jobs) vapply(jobs, function(job) job$metadata$name, "")
deleted <- function(kubectl) {
  calls <- which(grepl("^delete ", kubectl$requests()))
  stats::setNames(lapply(calls, kubectl$manifest), sub("^delete .*/jobs/", "", kubectl$requests()[calls]))
}

test_on_both_roads("ended jobs are removed with their pods, and what is not there is gone", {
  kubectl <- local_ended(list(full_pod("a-1"), full_pod("b-2", ended(1L), "Failed")))
  expect_identical(
    remove_job(c("b-2", "x-9", "a-1", "a-1")),
    data.frame(job_id = c("b-2", "x-9", "a-1", "a-1"), done = c("removed", "gone", "removed", "removed"))
  )
  options <- deleted(kubectl)
  expect_setequal(names(options), c("a-1", "b-2"))
  # The very Job that was seen, and its pod after it.
  expect_identical(options[["a-1"]]$propagationPolicy, "Background")
  expect_identical(
    options[["a-1"]]$preconditions,
    list(uid = "00000000-0000-4000-8000-000000000001", resourceVersion = "7")
  )
})

test_on_both_roads("a batch is removed, and of one that is gone nothing is left to tell", {
  kubectl <- local_ended(list(full_pod("a-1"), full_pod("b-2", created = "2026-01-01T00:00:01Z")))
  expect_identical(remove_batch("b-1"), data.frame(job_id = c("a-1", "b-2"), done = "removed"))
  expect_length(deleted(kubectl), 2L)
  local_ended()
  expect_identical(remove_batch("b-1"), data.frame(job_id = character(), done = character()))
})

test_on_both_roads("where one job has not ended none is removed, and the error names it", {
  cancelled <- full_pod("b-2", running())
  cancelled$metadata$annotations[["abba/cancelled-by"]] <- "mike"
  for (open in list(full_pod("b-2", running()), full_pod("b-2", waiting()), cancelled)) {
    kubectl <- local_ended(list(full_pod("a-1"), open))
    for (error in list(raised(remove_job(c("a-1", "b-2"))), raised(remove_batch("b-1")))) {
      expect_s3_class(error, "abba_error_not_ended")
      expect_identical(error$job_id, "b-2")
    }
    expect_length(deleted(kubectl), 0L)
  }
  if (by_kubectl()) expect_words(abba_remove_k8s_job_local(c("a-1", "b-2"), namespace = "n"), error = TRUE)
})

test_on_both_roads("where some jobs cannot be removed, the error holds the data frame of all", {
  forbidden <- "Error from server (Forbidden): jobs.batch \"b-2\" is forbidden: User \"mike\" cannot delete\n"
  local_ended(
    list(full_pod("a-1"), full_pod("b-2")), list(),
    fails(forbidden, on = "delete *b-2*")
  )
  error <- raised(remove_job(c("a-1", "b-2")))
  expect_s3_class(error, "abba_error_forbidden")
  expect_identical(error$done, data.frame(job_id = c("a-1", "b-2"), done = c("removed", NA)))
  expect_identical(error$job_id, "b-2")
  if (by_kubectl()) expect_words(abba_remove_k8s_job_local(c("a-1", "b-2"), namespace = "n"), error = TRUE)
})

test_on_both_roads("an answer that was lost is made up for", {
  # The first delete arrives, and its answer does not.
  until_gone <- function(object, on) {
    runs(paste("[ ! -e \"$base/gone\" ] && echo", shQuote(list_of(object)), "|| echo '{\"items\": []}'"), on = on)
  }
  job <- full_job("a-1", user = Sys.info()[["user"]])
  job$metadata$uid <- "00000000-0000-4000-8000-000000000001"
  kubectl <- local_scripted_kubectl(
    runs(c(
      "touch \"$base/gone\"",
      "echo 'Unable to connect to the server: net/http: TLS handshake timeout' >&2", "exit 1"
    ), on = "delete *"),
    until_gone(full_pod("a-1"), "*/pods[?]*"), until_gone(job, "*/jobs[?]*"),
    runs(c(
      paste("[ ! -e \"$base/gone\" ] && { echo", shQuote(to_json(job)), "; exit 0; }"),
      "echo 'Error from server (NotFound): jobs.batch \"a-1\" not found' >&2", "exit 1"
    ), on = "get --raw */jobs/a-1")
  )
  expect_identical(remove_job("a-1"), data.frame(job_id = "a-1", done = "removed"))
  expect_length(deleted(kubectl), 1L)
})

test_that("jobs of others are removed only where that is said", {
  kubectl <- local_ended(list(full_pod("a-1"), full_pod("b-2")), list(full_job("b-2", user = "anna-who-is-nobody")))
  error <- raised(abba_remove_k8s_job_local(c("a-1", "b-2"), namespace = "n"))
  expect_s3_class(error, "abba_error_input")
  expect_identical(error$job_id, "b-2")
  expect_length(deleted(kubectl), 0L)
  expect_words(abba_remove_k8s_job_local("b-2", namespace = "n"), error = TRUE)
  # Of a batch of both each removes their own.
  expect_identical(
    abba_remove_k8s_batch_local("b-1", namespace = "n"),
    data.frame(job_id = "a-1", done = "removed")
  )
  expect_identical(
    abba_remove_k8s_job_local("b-2", namespace = "n", everybody = TRUE),
    data.frame(job_id = "b-2", done = "removed")
  )
})

test_that("bad arguments are refused before kubectl starts", {
  expect_words(refuse(
    remove_job(NULL), remove_job(character()), remove_job(c("a-1", NA)), remove_job(""), remove_job("A B"),
    remove_job(everybody = NA), remove_job(everybody = "yes"), remove_job(namespace = "A"),
    remove_batch(NULL), remove_batch(c("a", "b")), remove_batch("a b")
  ))
})
