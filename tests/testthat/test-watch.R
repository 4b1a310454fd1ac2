no_jobs <- function() says(list_of(), on = "*/jobs*")
succeeded <- function(id = test_job, path = "/home/mike/repos/abba/test_programs/test_program.R") {
  list(Succeeded = list(
    Jobs = list(list(id = paste0(id, "-2dbr8"), path = path)),
    Description = "All containers in the Pod have terminated in success, and will not be restarted."
  ))
}
watched <- function(kubectl) sum(grepl("watch=1", kubectl$requests(), fixed = TRUE))

test_on_both_roads("what has ended is told at once, without a watch", {
  kubectl <- local_scripted_kubectl(pods_of(pod(test_job)))
  expect_silent(status <- watch())
  expect_identical(status, succeeded())
  if (by_kubectl()) expect_identical(kubectl$count(), 1L)
})

test_on_both_roads("a watch returns the status once the program has ended, and leaves no kubectl behind", {
  kubectl <- local_scripted_kubectl(
    watches(change(pod(test_job, waiting()), "ADDED"), change(pod(test_job, running())), change(pod(test_job))),
    pods_of(pod(test_job, NULL, "Pending")), pods_of(pod(test_job, running())), pods_of(pod(test_job))
  )
  expect_identical(watch(), succeeded())
  expect_ended(kubectl$pids())
})

test_that("the stream begins where the list ended, and asks for these jobs alone", {
  list <- sub("\"metadata\":[]", "\"metadata\":{\"resourceVersion\":\"4711\"}", list_of(
    pod("a-1", running()), pod("b-2", running())
  ), fixed = TRUE)
  kubectl <- local_scripted_kubectl(
    watches(change(pod("a-1")), change(pod("b-2"))), says(list, on = "*/pods*")
  )
  watch(c("a-1", "b-2"))
  asked <- utils::URLdecode(kubectl$requests()[[2]])
  expect_match(asked, "^get /api/v1/namespaces/n/pods[?]watch=1&allowWatchBookmarks=true&")
  expect_match(asked, "resourceVersion=4711&", fixed = TRUE)
  expect_match(asked, "abba/job-id in (a-1,b-2)", fixed = TRUE)
})

test_on_both_roads("of several jobs the last is waited for, and all are told in the order of the ids", {
  local_scripted_kubectl(
    watches(
      change(pod("c-3", ended(2L), "Failed", path = "c.R")), change(pod("a-1", path = "a.R")),
      change(pod("b-2", path = "b.R"))
    ),
    pods_of(
      pod("a-1", running(), path = "a.R"), pod("b-2", running(), path = "b.R"), pod("c-3", running(), path = "c.R")
    ),
    pods_of(pod("a-1", path = "a.R"), pod("b-2", path = "b.R"), pod("c-3", ended(2L), "Failed", path = "c.R"))
  )
  status <- watch(c("b-2", "c-3", "a-1"))
  expect_named(status, c("Succeeded", "Failed"))
  expect_identical(vapply(status$Succeeded$Jobs, `[[`, "", "path"), c("b.R", "a.R"))
  expect_identical(vapply(status$Failed$Jobs, `[[`, "", "path"), "c.R")
})

test_that("a pod that does not exist yet is pending, not the end", {
  kubectl <- local_scripted_kubectl(
    watches(change(pod(test_job, running()), "ADDED"), change(pod(test_job))),
    says(list_of(), on = "*/events*"),
    says(list_of(), on = "*/pods*"),
    says(list_of(job(test_job)), on = "*/jobs*")
  )
  expect_identical(watch(), succeeded())
})

test_on_both_roads("an unknown state ends a wait", {
  lost <- pod(test_job, running(), conditions = list(condition("Ready", "False"), condition("ContainersReady")))
  local_scripted_kubectl(watches(change(lost)), pods_of(pod(test_job, running())), pods_of(lost))
  expect_named(watch(), "Unknown")
})

test_that("a watch that the server closes, breaks or refuses is taken up again, and no end is missed", {
  half <- change(pod(test_job))
  broken <- list(
    "closed at once" = closes(),
    "closed after a change" = closes(change(pod(test_job, running()))),
    "ended in the middle of a line" = says(substr(half, 1L, 40L), on = "*watch=1*"),
    "too old" = closes(gone_410()),
    "an error that stays open" = watches(gone_410()),
    "too old, as an answer" = fails("Error from server (Expired): too old resource version: 1 (2)\n", on = "*watch=1*"),
    "an unknown kind of event" = watches(change(pod(test_job, running()), "SOMETHING_NEW")),
    "the pod was deleted" = watches(change(pod(test_job, running()), "DELETED")),
    "no JSON" = watches("<html>"),
    "JSON of another kind" = watches("{\"kind\": \"Status\", \"code\": 500}"),
    "a pod that is none" = watches(change(list(metadata = list(name = 1L)))),
    "ended by a signal" = dies(on = "*watch=1*"),
    "the server was restarted" = fails(
      "The connection to the server 192.0.2.1:6443 was refused - did you specify the right host or port?\n",
      on = "*watch=1*"
    ),
    "the server failed" = fails("Error from server (InternalError): etcdserver: no leader\n", on = "*watch=1*"),
    "too many requests" = fails("Error from server (TooManyRequests): later\n", on = "*watch=1*"),
    "unknown words" = fails("boom\n", 7L, on = "*watch=1*")
  )
  for (name in names(broken)) {
    kubectl <- local_scripted_kubectl(
      broken[[name]], pods_of(pod(test_job, running())), pods_of(pod(test_job))
    )
    expect_identical(watch(timeout_seconds = 60), succeeded(), info = name)
    expect_identical(kubectl$count(), 3L, info = name)
    expect_ended(kubectl$pids())
  }
})

test_that("a stream that breaks again and again is not opened without a pause", {
  kubectl <- local_scripted_kubectl(closes(), pods_of(pod(test_job, running())))
  error <- raised(watch(timeout_seconds = 2))
  expect_s3_class(error, "abba_error_wait_timeout")
  # With a pause that doubles from a tenth of a second on there is time for five.
  expect_lte(watched(kubectl), 6L)
  for (event in list(gone_410(), change(pod(test_job, running()), "SOMETHING_NEW"))) {
    kubectl <- local_scripted_kubectl(closes(event), pods_of(pod(test_job, running())))
    raised(watch(timeout_seconds = 2))
    expect_lte(watched(kubectl), 6L)
  }
})

test_that("bookmarks and lines without anything are no news", {
  kubectl <- local_scripted_kubectl(
    watches(bookmark(), bookmark(), change(pod(test_job, running())), bookmark(), change(pod(test_job))),
    pods_of(pod(test_job, running()))
  )
  expect_identical(watch(), succeeded())
  expect_identical(watched(kubectl), 1L)
})

test_that("a stream that comes in pieces is put together", {
  line <- change(pod(test_job))
  kubectl <- local_scripted_kubectl(
    runs(c(
      paste0("printf '%s' ", shQuote(substr(line, 1L, 30L))), "sleep 0.2",
      paste0("printf '%s\\n' ", shQuote(substr(line, 31L, nchar(line)))), "exec sleep 1000"
    ), on = "*watch=1*"),
    pods_of(pod(test_job, running()))
  )
  expect_identical(watch(), succeeded())
  expect_identical(watched(kubectl), 1L)
})

test_that("while the cluster cannot be reached, it is asked again and again", {
  refused <- fails("Unable to connect to the server: dial tcp 192.0.2.1:6443: i/o timeout\n", on = "*/pods*")
  kubectl <- local_scripted_kubectl(
    closes(),
    pods_of(pod(test_job, running())),
    refused, refused, refused, refused, refused, refused,
    pods_of(pod(test_job))
  )
  expect_identical(watch(), succeeded())
  expect_identical(kubectl$count(), 9L)
})

test_that("a refusal ends a watch as an error", {
  forbidden <- "Error from server (Forbidden): pods is forbidden: User \"mike\" cannot watch resource \"pods\"\n"
  local_scripted_kubectl(fails(forbidden, on = "*watch=1*"), pods_of(pod(test_job, running())))
  expect_s3_class(raised(watch()), "abba_error_forbidden")
  expect_words(abba_watch_k8s_job_local(test_job, namespace = "n"), error = TRUE)

  local_scripted_kubectl(
    closes(), pods_of(pod(test_job, running())),
    fails("error: You must be logged in to the server (Unauthorized)\n", on = "*/pods*")
  )
  expect_s3_class(raised(watch()), "abba_error_unauthorized")
})

test_on_both_roads("a job that is removed while it is watched is an error that names it", {
  local_scripted_kubectl(
    watches(change(pod(test_job, running()), "DELETED")),
    pods_of(pod(test_job, running())), pods_of(),
    if (!by_kubectl()) says(list_of(full_job(test_job)), on = "*/jobs*"), no_jobs()
  )
  error <- raised(watch())
  expect_s3_class(error, "abba_error_not_found")
  expect_identical(error$job_id, test_job)
})

test_on_both_roads("a job that does not exist is an error, and is not waited for", {
  kubectl <- local_scripted_kubectl(pods_of(), no_jobs())
  expect_s3_class(raised(watch("no-such-job")), "abba_error_not_found")
  expect_identical(kubectl$count(), 2L)
})

test_that("a cluster that cannot be reached at first is an error, and is not waited for", {
  local_scripted_kubectl(fails("Unable to connect to the server: dial tcp: lookup x: no such host\n"))
  expect_s3_class(raised(watch()), "abba_error_unavailable")
  withr::local_options(abba.k8s.request.timeout = 1)
  local_scripted_kubectl(hangs())
  expect_s3_class(raised(watch()), "abba_error_timeout")
})

# --- The time limit -----------------------------------------------------------

test_on_both_roads("a time limit ends the wait with the last status and says how to go on", {
  kubectl <- local_scripted_kubectl(watches(bookmark()), pods_of(pod(test_job, running())))
  error <- raised(watch(timeout_seconds = 2))
  expect_identical(class(error)[1:3], c("abba_error_wait_timeout", "abba_error_timeout", "abba_error"))
  expect_ended(kubectl$pids())
  expect_identical(error$status, status())
  local_scripted_kubectl(watches(bookmark()), pods_of(pod("a-1", running()), pod("b-2", waiting())))
  if (by_kubectl()) {
    expect_words(abba_watch_k8s_job_local(c("a-1", "b-2"), timeout_seconds = 0.5, namespace = "n"), error = TRUE)
  }
})

test_that("after a time limit no kubectl is left, without waiting for R to tidy up", {
  kubectl <- local_scripted_kubectl(watches(bookmark()), pods_of(pod(test_job, running())))
  longer_until(function(seconds) raised(watch(timeout_seconds = seconds)), function() kubectl$hangs() > 0L)
  expect_reaped(kubectl$pids())
})

test_on_both_roads("without any time the status is told all the same", {
  local_scripted_kubectl(watches(bookmark()), pods_of(pod(test_job, running())))
  error <- raised(watch(timeout_seconds = 0))
  expect_named(error$status, "Running")
  local_scripted_kubectl(pods_of(pod(test_job)))
  expect_identical(watch(timeout_seconds = 0), succeeded())
  expect_identical(watch(timeout_seconds = 0L), succeeded())
})

test_on_both_roads("with Inf there is no time limit", {
  local_scripted_kubectl(
    runs(c(
      "sleep 1.5", paste("printf '%s\\n'", shQuote(change(pod(test_job)))), "exec sleep 1000"
    ), on = "*watch=1*"),
    pods_of(pod(test_job, running())), pods_of(pod(test_job))
  )
  expect_identical(watch(timeout_seconds = Inf), succeeded())
})

test_on_both_roads("changes within the time limit stand in the status of its error", {
  of_test <- rlang::current_env()
  error <- NULL
  ask <- function(seconds) {
    local_scripted_kubectl(
      watches(change(pod("a-1"))), pods_of(pod("a-1", running()), pod("b-2", running())),
      pods_of(pod("a-1"), pod("b-2", running())),
      env = of_test
    )
    error <<- raised(watch(c("a-1", "b-2"), timeout_seconds = seconds))
  }
  # Until the time is enough for a change to come.
  longer_until(ask, function() length(error$status) > 1L, 2)
  expect_named(error$status, c("Succeeded", "Running"))
  expect_match(conditionMessage(error), "1 Running, 1 Succeeded", fixed = TRUE)
})

# --- What cannot start --------------------------------------------------------

no_image <- function(id = test_job) {
  pod(id, waiting("ImagePullBackOff", "Back-off pulling image \"r:none\""), image = "r:none")
}

# A line for a kubectl that waits until R has told once what keeps jobs from starting: of news that come together R
# looks at the last alone.
wait_until_told <- function(env = parent.frame()) {
  gate <- withr::local_tempfile(.local_envir = env)
  tell <- abba:::tell_stuck
  noted <- function(...) {
    on.exit(file.create(gate))
    tell(...)
  }
  local_function("tell_stuck", noted, asNamespace("abba"), env)
  paste("until [ -e", shQuote(gate), "]; do sleep 0.05; done")
}

test_on_both_roads("what cannot start is warned of once, and waited for", {
  kubectl <- local_scripted_kubectl(
    runs(c(
      paste("printf '%s\\n'", shQuote(change(no_image()))), wait_until_told(),
      paste("printf '%s\\n'", shQuote(change(no_image()))), "sleep 0.5",
      paste("printf '%s\\n'", shQuote(change(pod(test_job)))), "exec sleep 1000"
    ), on = "*watch=1*"),
    says(list_of(), on = "*/events*"),
    pods_of(no_image()), pods_of(no_image()), pods_of(no_image()), pods_of(pod(test_job))
  )
  warnings <- list()
  status <- withCallingHandlers(watch(), warning = function(warning) {
    warnings <<- c(warnings, list(warning))
    invokeRestart("muffleWarning")
  })
  expect_identical(status, succeeded())
  expect_length(warnings, 1L)
  expect_identical(class(warnings[[1]])[1:2], c("abba_warning_stuck", "abba_warning"))
  expect_identical(warnings[[1]]$job_id, test_job)
})

test_that("the warning says what is the matter, and the way out", {
  stuck <- c("a-1", "b-2", "c-3")
  ends <- vapply(stuck, function(id) paste("printf '%s\\n'", shQuote(change(pod(id)))), "")
  local_scripted_kubectl(
    runs(c(wait_until_told(), ends, "exec sleep 1000"), on = "*watch=1*"),
    do.call(pods_of, lapply(stuck, no_image))
  )
  expect_words(invisible(abba_watch_k8s_job_local(stuck, namespace = "n")))
})

test_on_both_roads("with on_stuck = 'fail' it is an error with the status, and the jobs stay as they are", {
  kubectl <- local_scripted_kubectl(watches(bookmark()), pods_of(no_image("a-1"), pod("b-2", running())))
  error <- raised(watch(c("a-1", "b-2"), on_stuck = "fail"))
  expect_identical(class(error)[1:2], c("abba_error_stuck", "abba_error"))
  expect_identical(error$job_id, "a-1")
  expect_named(error$status, c("Pending", "Running"))
  expect_no_match(kubectl$requests(), "^(delete|replace|create)")
  expect_ended(kubectl$pids())
  if (by_kubectl()) {
    expect_words(abba_watch_k8s_job_local(c("a-1", "b-2"), on_stuck = "fail", namespace = "n"), error = TRUE)
  } else {
    expect_words(cat(conditionMessage(error)))
  }
})

test_on_both_roads("with on_stuck = 'wait' nothing is said", {
  local_scripted_kubectl(watches(change(pod(test_job))), pods_of(no_image()), pods_of(pod(test_job)))
  expect_silent(status <- watch(on_stuck = "wait"))
  expect_identical(status, succeeded())
})

test_on_both_roads("what heals by itself is not said to be stuck", {
  unschedulable <- pod(test_job, NULL, "Pending", conditions = list(
    condition("PodScheduled", "False", "Unschedulable", "0/1 nodes are available: 1 Insufficient cpu.")
  ))
  for (pod in list(unschedulable, pod(test_job, waiting()), pod(test_job, waiting("ErrImagePull", "timeout")))) {
    local_scripted_kubectl(watches(change(pod(test_job))), pods_of(pod), pods_of(pod(test_job)))
    expect_silent(watch(on_stuck = "fail"))
  }
})

test_on_both_roads("a job that gets no pod is told with the reason of its events", {
  local_scripted_kubectl(
    watches(bookmark()),
    says(list_of(event(
      "FailedCreate", "Error creating: pods \"x-\" is forbidden: serviceaccount \"s\" not found"
    )), on = "*/events*"),
    pods_of(),
    says(list_of(job(test_job)), on = "*/jobs*")
  )
  error <- raised(watch(on_stuck = "fail"))
  expect_s3_class(error, "abba_error_stuck")
  expect_match(conditionMessage(error), "serviceaccount", fixed = TRUE)
})

# --- A batch ------------------------------------------------------------------

test_on_both_roads("a batch is watched whole, with what is submitted in the meantime", {
  kubectl <- local_scripted_kubectl(
    watches(
      change(pod("b-2", NULL, "Pending", path = "b.R"), "ADDED"), change(pod("a-1", path = "a.R")),
      change(pod("b-2", running(), path = "b.R")), change(pod("b-2", path = "b.R"))
    ),
    pods_of(pod("a-1", running(), path = "a.R")),
    # Only another look can show whether there is a job more that has no pod yet.
    pods_of(pod("a-1", path = "a.R"), pod("b-2", path = "b.R")), if (by_kubectl()) no_jobs()
  )
  status <- watch_batch("b-1")
  expect_named(status, "Succeeded")
  expect_identical(vapply(status$Succeeded$Jobs, `[[`, "", "path"), c("a.R", "b.R"))
  if (by_kubectl()) expect_match(utils::URLdecode(kubectl$requests()[[3]]), "abba/batch-id=b-1", fixed = TRUE)
})

test_that("pods of other jobs do not disturb the watch of jobs", {
  kubectl <- local_scripted_kubectl(
    watches(change(pod("x-9", running()), "ADDED"), change(list(metadata = list(name = "y"))), change(pod("a-1"))),
    pods_of(pod("a-1", running()))
  )
  status <- watch("a-1")
  expect_length(status$Succeeded$Jobs, 1L)
  expect_identical(watched(kubectl), 1L)
})

test_that("a time limit of a batch says how to go on with the batch", {
  local_scripted_kubectl(watches(bookmark()), pods_of(pod("a-1", running())), no_jobs())
  expect_words(abba_watch_k8s_batch_local("b-1", timeout_seconds = 0.5, namespace = "n"), error = TRUE)
})

# --- Submit and wait ------------------------------------------------------------

test_on_both_roads("a program is submitted and waited for", {
  local_program()
  kubectl <- local_scripted_kubectl(
    creates(),
    runs(c(
      "id=$(cat \"$base\"/calls/*.manifest | sed 's/.*\"name\":\"\\(test-program-[-0-9a-f]*\\)\".*/\\1/')",
      paste0("printf '%s' ", shQuote(list_of(pod("ID"))), " | sed \"s/ID/$id/g\"")
    ), on = "*/pods*"),
    runs("printf '{\"items\": [%s]}' \"$(cat \"$base\"/calls/*.manifest)\"", on = "*/jobs[?]*")
  )
  expect_message(
    status <- on_road("submit_job_and_poll", "test_program.R", container = image),
    "^job.batch/test-program-.* created"
  )
  expect_named(status, "Succeeded")
  if (by_kubectl()) expect_identical(kubectl$count(), 2L)
  create <- which(startsWith(kubectl$requests(), "create"))
  expect_match(status$Succeeded$Jobs[[1]]$id, kubectl$manifest(create)$metadata$name, fixed = TRUE)
})

test_that("a wait with a wrong argument submits nothing", {
  local_program()
  poll <- function(...) abba_submit_k8s_job_and_poll_local("test_program.R", ..., container = image, namespace = "n")
  expect_words(refuse(
    poll(timeout_seconds = -1), poll(timeout_seconds = NA), poll(timeout_seconds = "10"),
    poll(poll_interval_seconds = NA), poll(on_stuck = "give up"), poll(on_stuck = NULL),
    poll(cpu_limit = -1), poll(user_tag = NULL),
    abba_submit_k8s_job_and_poll_local("nope.R", container = image),
    abba_submit_k8s_job_and_poll_local("test_program.R", container = image, namespace = "A")
  ))
})

# --- Arguments ------------------------------------------------------------------

test_that("bad arguments are refused before kubectl starts", {
  expect_words(refuse(
    watch(NULL), watch(character()), watch(NA_character_), watch(c("a-1", NA)), watch(""), watch(1), watch("A B"),
    watch(list("a-1")),
    watch(timeout_seconds = -1), watch(timeout_seconds = NA), watch(timeout_seconds = NA_real_),
    watch(timeout_seconds = NaN), watch(timeout_seconds = -Inf), watch(timeout_seconds = NULL),
    watch(timeout_seconds = c(1, 2)), watch(timeout_seconds = "10"), watch(timeout_seconds = TRUE),
    watch(timeout_seconds = factor(1)),
    watch(poll_interval_seconds = NA), watch(poll_interval_seconds = "3"), watch(poll_interval_seconds = NULL),
    watch(on_stuck = "give up"), watch(on_stuck = NULL), watch(on_stuck = NA_character_),
    watch(on_stuck = c("warn", "fail")), watch(on_stuck = 1), watch(on_stuck = character()),
    watch(namespace = "A"),
    watch_batch(NULL), watch_batch(""), watch_batch(c("a", "b")), watch_batch("a b"), watch_batch(NA_character_),
    watch_batch(timeout_seconds = -1), watch_batch(on_stuck = "give up"), watch_batch(namespace = 1)
  ))
})

test_on_both_roads("an error is that of the function that the user called", {
  of <- function(error) as.character(conditionCall(error)[[1L]])
  expect_identical(of(raised(watch(timeout_seconds = -1))), verb_name("watch_job"))
  expect_identical(of(raised(watch(on_stuck = "x"))), verb_name("watch_job"))
  expect_identical(of(raised(watch_batch(on_stuck = "x"))), verb_name("watch_batch"))
  if (by_kubectl()) expect_identical(of(raised(watch_batch(namespace = 1))), verb_name("watch_batch"))
  local_scripted_kubectl(watches(bookmark()), pods_of(pod(test_job, running())))
  expect_identical(of(raised(watch(timeout_seconds = 0))), verb_name("watch_job"))
})

test_on_both_roads("the interval is accepted and has no effect", {
  local_scripted_kubectl(watches(change(pod(test_job))), pods_of(pod(test_job, running())), pods_of(pod(test_job)))
  expect_identical(watch(poll_interval_seconds = 1000L), succeeded())
  expect_identical(watch(test_job, 0), succeeded())
})

# --- Ctrl-C -----------------------------------------------------------------------

test_that("Ctrl-C leaves the jobs running and prints the call that comes back and the one that cancels", {
  # Kept as it is told to, so that it can be copied.
  kubectl <- local_scripted_kubectl(watches(bookmark()), pods_of(pod("a-1", running()), pod("b-2", running())))
  waits <- function() kubectl$count() >= 2L && file.exists(kubectl$file(2L, "hangs"))
  ended <- interrupt_r("abba_watch_k8s_job_local(c('a-1', 'b-2'), namespace = 'n')", kubectl, waits)
  expect_words(cat(ended$stderr))
  expect_no_match(kubectl$requests(), "^(delete|replace|create)")
})

test_that("Ctrl-C in the wait for a batch prints the calls for the batch", {
  kubectl <- local_scripted_kubectl(watches(bookmark()), pods_of(pod("a-1", running())), no_jobs())
  waits <- function() kubectl$count() >= 3L && file.exists(kubectl$file(3L, "hangs"))
  ended <- interrupt_r("abba_watch_k8s_batch_local('b-1', namespace = 'n')", kubectl, waits)
  expect_words(cat(ended$stderr))
})

test_that("Ctrl-C while the first look hangs ends the wait as well", {
  kubectl <- local_scripted_kubectl(hangs())
  ended <- interrupt_r(
    "abba_watch_k8s_job_local('a-1', namespace = 'n')", kubectl,
    function() file.exists(kubectl$file(1L, "hangs"))
  )
  expect_match(ended$stderr, "abba_cancel_k8s_job_local(\"a-1\", namespace = \"n\")", fixed = TRUE)
})

test_that("Ctrl-C while a submitted program is waited for names its job", {
  local_program()
  kubectl <- local_scripted_kubectl(creates(), hangs())
  ended <- interrupt_r(
    "abba_submit_k8s_job_and_poll_local('test_program.R', container = 'r', namespace = 'n')", kubectl,
    function() kubectl$count() >= 2L && file.exists(kubectl$file(2L, "hangs"))
  )
  id <- kubectl$manifest()$metadata$name
  expect_match(ended$stderr, paste0("abba_watch_k8s_job_local(\"", id, "\", namespace = \"n\")"), fixed = TRUE)
})

test_that("an error that ends a wait names the call that comes back to it", {
  local_program()
  logged_out <- "error: You must be logged in to the server (Unauthorized)\n"
  come_back <- function(error, verb) {
    expect_s3_class(error, "abba_error_unauthorized")
    told <- conditionMessage(error)
    expect_match(told, paste0("ait for the jobs again with ", verb, "(\"test-program-"), fixed = TRUE)
    # After a submission that would submit again.
    expect_no_match(told, "epeat the call")
  }
  local_scripted_kubectl(creates(), fails(logged_out, on = "*/pods*"))
  submitted <- raised(suppressMessages(
    abba_submit_k8s_job_and_poll_local("test_program.R", container = image, namespace = "n")
  ))
  come_back(submitted, "abba_watch_k8s_job_local")
  come_back(raised(watch()), "abba_watch_k8s_job_local")
  local_scripted_api(
    makes_jobs("POST /submit-job"),
    refuses("unauthorized", 401L, advice = "Log in, then repeat the call.", on = "GET /watch-jobs")
  )
  come_back(raised(suppressMessages(abba_submit_job_and_poll("test_program.R"))), "abba_watch_job")
  come_back(raised(suppressMessages(abba_submit_and_get_log("test_program.R"))), "abba_wait_for_job_log")
  # Without such words the call stands by itself.
  local_scripted_api(refuses("unauthorized", 401L, on = "GET /watch-jobs"))
  message <- conditionMessage(raised(abba_watch_job(test_job)))
  expect_match(message, "To wait for them again: abba_watch_job(", fixed = TRUE)
})

test_on_both_roads("a batch's id is refused under the name that the verb has for it", {
  kubectl <- local_scripted_kubectl()
  expect_match(first_words(raised(on_road("watch_batch", "a b"))), "^`batch_group_id` must be")
  for (verb in c("get_batch_status", "get_batch_log", "cancel_batch", "rerun_batch")) {
    expect_match(first_words(raised(on_road(verb, "a b"))), "^`batch_id` must be")
  }
  expect_identical(kubectl$count(), 0L)
})
