local_explained <- function(pods = list(), jobs = list(full_job(test_job)), job_events = list(), pod_events = list(),
                            log = NULL, env = parent.frame()) {
  local_scripted_kubectl(
    says(charToRaw(paste(c(paste("abba-log-of", test_job), log, ""), collapse = "\n")), on = "*/log*"),
    says(do.call(list_of, pod_events), on = "*/events*kind%3DPod*"),
    says(do.call(list_of, job_events), on = "*/events*"),
    do.call(pods_of, pods), do.call(jobs_of, jobs),
    env = env
  )
}

test_on_both_roads("an explanation is a list of the documented elements", {
  local_explained(
    list(full_pod(test_job, ended(3L), "Failed")),
    job_events = list(event("SuccessfulCreate", "Created pod", "Normal")),
    pod_events = list(event("Started", "Started container program", "Normal"))
  )
  explanation <- explain()
  expect_s3_class(explanation, "abba_explanation", exact = TRUE)
  events <- explanation$events
  expect_identical(unclass(explanation)[setdiff(names(explanation), "events")], list(
    job_id = test_job, batch_id = "b-1", program = "/home/mike/repos/abba/test_programs/test_program.R",
    user = "mike", status = "Failed", submitted = utc("2026-01-01T00:00:00Z"),
    started = utc("2026-01-01T00:00:05Z"), finished = utc("2026-01-01T00:01:05Z"), exit_code = 3L,
    reason = "The program ended with exit status 3.", details = NA_character_,
    advice = "Read its log: an R error ends a program with exit status 1.", call = NA_character_,
    pod_id = paste0(test_job, "-2dbr8"), node = "node-1", image = "registry.example.com/r-base:4.2.2",
    image_digest = "registry.example.com/r-base@sha256:0123", cpu_limit = "500m", memory_limit = "512M",
    attempts = 1L, verdict = "errors", verdict_line = NA_character_, last_lines = character(),
    archive = NA_character_
  ))
  expect_identical(events, data.frame(
    time = utc(rep("2026-01-01T00:00:02Z", 2L)), type = "Normal", reason = c("SuccessfulCreate", "Started"),
    message = c("Created pod", "Started container program")
  ))
})

test_on_both_roads("an explanation tells the errors and warnings that R printed, beside the status", {
  verdict <- function(...) {
    local_explained(...)
    unclass(explain())[c("status", "verdict", "verdict_line")]
  }
  expect_identical(
    verdict(list(full_pod(test_job)), log = c("Warning message:", "Error in f() : boom")),
    list(status = "Succeeded", verdict = "errors", verdict_line = "Error in f() : boom")
  )
  local_explained(list(full_pod(test_job)), log = "Error in f() : boom")
  expect_output(print(explain()), "Verdict: +errors in its log: Error in f\\(\\) : boom")
  expect_identical(
    verdict(list(full_pod(test_job)), log = "[1] 4"),
    list(status = "Succeeded", verdict = "clean", verdict_line = NA_character_)
  )
  expect_identical(
    verdict(list(full_pod(test_job, running()))),
    list(status = "Running", verdict = NA_character_, verdict_line = NA_character_)
  )
})

test_that("an explanation looks for the user's patterns", {
  withr::local_options(abba.log.patterns = list(warnings = "^NOTE:", ignore = "^Warning: of no importance"))
  local_explained(list(full_pod(test_job)), log = c("Warning: of no importance", "NOTE: x is uninitialized"))
  expect_identical(
    unclass(explain())[c("verdict", "verdict_line")],
    list(verdict = "warnings", verdict_line = "NOTE: x is uninitialized")
  )
})

test_on_both_roads("a job without a pod has NA where nothing is known, and a data frame without rows for no events", {
  local_explained()
  explanation <- explain()
  names <- c(
    "details", "advice", "call", "pod_id", "node", "image_digest", "cpu_limit", "memory_limit", "verdict",
    "verdict_line"
  )
  for (name in names) {
    expect_identical(explanation[[name]], NA_character_, info = name)
  }
  expect_identical(explanation$exit_code, NA_integer_)
  expect_identical(explanation$started, utc(NA_character_))
  expect_identical(explanation$attempts, 0L)
  expect_identical(dim(explanation$events), c(0L, 4L))
  expect_named(explanation$events, c("time", "type", "reason", "message"))
})

test_that("printed, an explanation says what happened, why, and what to do", {
  lost <- list(condition("Ready", "False"), condition("ContainersReady"))
  cancelled <- full_pod(test_job, ended(143L), "Failed", reason = "DeadlineExceeded")
  cancelled$metadata$annotations[["abba/cancelled-by"]] <- "mike"
  late <- full_pod(test_job, ended(143L), "Failed", reason = "DeadlineExceeded")
  late$spec$activeDeadlineSeconds <- 60L
  say <- function(...) {
    local_explained(...)
    print(explain())
  }
  quota <- "Error creating: pods \"x-\" is forbidden: exceeded quota: small, requested: pods=1"
  limit_reached <- condition(
    "Failed",
    reason = "BackoffLimitExceeded", message = "Job has reached the specified backoff limit"
  )
  expect_words({
    say(
      list(full_pod(test_job, ended(1L), "Failed")),
      job_events = list(event("SuccessfulCreate", "Created pod", "Normal"))
    )

    # It ran to its end
    say(list(full_pod(test_job)))

    # R printed why it failed
    say(
      list(full_pod(test_job, ended(1L), "Failed")),
      log = c("[1] 1", "Error in f() : no adsl", "Calls: f", "Execution halted")
    )

    # It was killed in the midst of its work
    say(list(full_pod(test_job, ended(137L, "OOMKilled"), "Failed")), log = c("Error in g() : caught", "step 7"))

    # It is running
    say(list(full_pod(test_job, running())))

    # It was cancelled
    say(list(cancelled))

    # Its time limit was over
    say(list(late))

    # It was evicted
    say(list(full_pod(test_job, ended(137L), "Failed", reason = "Evicted")))

    # Its node is lost
    say(list(full_pod(test_job, running(), conditions = lost)))

    # Its image does not exist
    say(
      list(full_pod(test_job, waiting("ImagePullBackOff", "Back-off"))),
      pod_events = list(event("Failed", "Failed to pull image \"r:none\": not found"))
    )

    # The quota is used up
    say(job_events = list(event("FailedCreate", quota)))

    # Somebody has deleted its pod
    say(jobs = list(full_job(test_job, conditions = list(limit_reached))))

    # Nothing is known yet
    say()
  })
})

test_that("no call is shown that submits again what batchtools alone can submit", {
  kept <- list(
    given_path = "a.R", absolute_path = "/s/a.R", expanded_path = "/s/a.R", batch_group_id = "b-1", container = "r:1",
    memory_limit = "16M"
  )
  call_for <- function(path) {
    local_explained(
      list(full_pod(test_job, ended(137L, "OOMKilled"), "Failed")),
      list(full_job(test_job, path, arguments = kept))
    )
    explain()$call
  }
  expect_match(call_for("/s/a.R"), "memory_limit = \"32M\"", fixed = TRUE)
  expect_identical(call_for("/usr/lib/R/site-library/abba/programs/batchtools.R"), NA_character_)
})

test_on_both_roads("print gives back the explanation, invisibly", {
  local_explained(list(full_pod(test_job)))
  explanation <- explain()
  expect_output(expect_invisible(given <- print(explanation)))
  expect_identical(given, explanation)
})

test_on_both_roads("text of the cluster is printed as it is", {
  words <- "100% %s {x} \"q\" \\n \u00e9"
  local_explained(
    list(full_pod(test_job, waiting("CreateContainerConfigError", words))), pod_events = list(event("Failed", words))
  )
  printed <- utils::capture.output(print(explain()))
  expect_match(printed, words, fixed = TRUE, all = FALSE)
  expect_length(grep(words, printed, fixed = TRUE), 2L)
})

test_on_both_roads("of several pods the newest is explained, and all are counted", {
  local_explained(list(
    full_pod(test_job, ended(1L), "Failed", suffix = "old01", created = "2026-01-01T00:00:09Z"),
    full_pod(test_job, running(), suffix = "new01", created = "2026-01-01T00:00:10Z")
  ))
  explanation <- explain()
  expect_identical(explanation$attempts, 2L)
  expect_identical(explanation$pod_id, paste0(test_job, "-new01"))
  expect_identical(explanation$status, "Running")
})

test_on_both_roads("events are told in the order of time, also those of the newer API", {
  newer <- list(reason = "Pulled", message = "m", type = "Normal", eventTime = "2026-01-01T00:00:01.123456Z")
  newer["lastTimestamp"] <- list(NULL)
  local_explained(list(full_pod(test_job)), pod_events = list(event("Started", "s"), newer))
  events <- explain()$events
  expect_identical(events$reason, c("Pulled", "Started"))
  expect_identical(events$time, utc(c("2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z")))
})

test_on_both_roads("without the right to read events these are left out", {
  local_scripted_kubectl(
    fails("Error from server (Forbidden): events is forbidden\n", on = "*/events*"),
    pods_of(full_pod(test_job, ended(1L), "Failed"))
  )
  expect_silent(explanation <- explain())
  expect_identical(nrow(explanation$events), 0L)
  expect_identical(explanation$reason, "The program ended with exit status 1.")
})

test_on_both_roads("a job that does not exist is an error that names it", {
  local_explained(jobs = list())
  error <- raised(explain("no-such-job"))
  expect_s3_class(error, "abba_error_not_found")
  expect_identical(error$job_id, "no-such-job")
})

test_that("bad arguments are refused before kubectl starts", {
  expect_words(refuse(
    explain(NULL), explain(character()), explain(c("a-1", "b-2")), explain(NA_character_), explain(""), explain(1),
    explain("A B"), explain(namespace = "A")
  ))
})
