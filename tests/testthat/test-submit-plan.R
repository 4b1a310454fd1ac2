# A plan of three programs: b.R and c.R run after a.R.
local_plan <- function(..., env = parent.frame()) {
  local_programs(c("a.R", "b.R", "c.R"), env = env)
  abba_plan(c("b.R", "a.R", "c.R"), after = c("a", NA, "a"), ...)
}

after_of <- function(job) {
  text <- job$metadata$annotations[["abba/after"]]
  if (!is.null(text)) jsonlite::parse_json(text)
}

test_on_both_roads("a plan is submitted at once, and what runs after others waits for them", {
  kubectl <- local_scripted_kubectl(creates())
  plan <- local_plan(memory_limit = c("1G", "2G", "3G"))
  expect_message(
    batch <- submit_batch(plan, batch_group_id = "b-1", queue = "team-a"),
    "^3 jobs created in batch b-1, of which 2 wait for others\n$"
  )
  expect_identical(class(batch), c("abba_batch", "data.frame"))
  expect_named(batch, c("job_id", "batch_id", "program", "submitted", "name", "run_group"))
  expect_identical(batch$name, c("b", "a", "c"))
  jobs <- sent(kubectl)
  expect_named(jobs, c("a.R", "b.R", "c.R"))
  limits <- vapply(jobs, function(job) program_container(job)$resources$limits$memory, "")
  expect_identical(unname(limits), c("2G", "1G", "3G"))
  first <- jobs[["a.R"]]
  expect_identical(first$metadata$labels[["kueue.x-k8s.io/queue-name"]], "team-a")
  expect_null(first$metadata$labels[["abba/waiting"]])
  expect_null(after_of(first))
  expect_identical(first$metadata$annotations[["abba/awaited"]], "true")
  for (job in jobs[c("b.R", "c.R")]) {
    expect_true(job$spec$suspend)
    expect_identical(job$metadata$labels[["abba/waiting"]], "true")
    expect_identical(after_of(job), stats::setNames(list("a"), batch$job_id[[2L]]))
    # The queue would start it at once.
    expect_null(job$metadata$labels[["kueue.x-k8s.io/queue-name"]])
    expect_identical(job$metadata$annotations[["abba/queue"]], "team-a")
    expect_null(job$metadata$annotations[["abba/on-failure"]])
    expect_null(job$metadata$annotations[["abba/awaited"]])
    # Its pod does not wait.
    expect_null(job$spec$template$metadata$labels[["abba/waiting"]])
  }
})

test_that("what others run after is there for seven days, however short the rest is kept", {
  kubectl <- local_scripted_kubectl(creates())
  submit_batch(local_plan(), keep_days = 1 / 24)
  kept <- vapply(sent(kubectl), function(job) job$spec$ttlSecondsAfterFinished / 3600, 0)
  expect_identical(kept[c("a.R", "b.R", "c.R")], c(a.R = 168, b.R = 1, c.R = 1))
  kubectl <- local_scripted_kubectl(creates())
  submit_batch(local_plan(), keep_days = 30)
  expect_identical(sent(kubectl)[["a.R"]]$spec$ttlSecondsAfterFinished, 30L * 86400L)
})

test_on_both_roads("a plan whose order has a circle is refused with its programs", {
  kubectl <- local_scripted_kubectl(creates())
  plan <- local_plan()
  plan$after[[2L]] <- "c"
  error <- expect_error(submit_batch(plan), class = "abba_error_input")
  expect_match(conditionMessage(error), "whose order has no circle: b, a, c wait for each other.", fixed = TRUE)
  expect_length(sent(kubectl), 0L)
})

test_that("a queue of a Job template is kept from a program that waits, too", {
  kubectl <- local_scripted_kubectl(creates())
  template <- list(metadata = list(labels = list("kueue.x-k8s.io/queue-name" = "night")))
  suppressMessages(submit_batch(local_plan(), job_template = template, on_failure = "stop"))
  job <- sent(kubectl)[["b.R"]]
  expect_null(job$metadata$labels[["kueue.x-k8s.io/queue-name"]])
  expect_identical(job$metadata$annotations[["abba/queue"]], "night")
  expect_identical(job$metadata$annotations[["abba/on-failure"]], "stop")
})

test_on_both_roads("what is given for all programs is for those of a plan that have no own", {
  kubectl <- local_scripted_kubectl(creates())
  plan <- local_plan()
  plan$memory_limit <- c(NA, "2G", NA)
  plan$arguments <- list("--b", character(), c("--c", "1"))
  suppressMessages(submit_batch(plan, memory_limit = "700M"))
  jobs <- sent(kubectl)
  limits <- vapply(jobs, function(job) program_container(job)$resources$limits$memory, "")
  expect_identical(unname(limits), c("2G", "700M", "700M"))
  last <- function(job) utils::tail(unlist(program_container(job)$command), 1L)
  expect_identical(last(jobs[["b.R"]]), "--b")
  expect_identical(last(jobs[["c.R"]]), "1")
  plan$memory_limit[[1L]] <- "512m"
  expect_error(submit_batch(plan), "512M", class = "abba_error_input")
})

test_on_both_roads("of some rows of a plan those are not waited for that are not among them, and that is told", {
  kubectl <- local_scripted_kubectl(creates())
  plan <- local_plan()
  told <- testthat::capture_messages(submit_batch(plan[c(1L, 3L), ]))
  expect_identical(told[[1L]], "Not among the programs that are submitted, and so not waited for: a.")
  expect_null(after_of(sent(kubectl)[["b.R"]]))
  expect_error(submit_batch(plan[0L, ]), "at least one program", class = "abba_error_input")
})

test_that("the rest of a plan waits for those that were submitted before, with its own arguments", {
  plan <- local_plan(memory_limit = c("1G", "2G", "3G"))
  fails_for_b <- runs(c(
    "if grep -q '\"abba/program-path\":\"b.R\"' \"$manifest\"; then",
    "  echo 'Error from server (Forbidden): no' >&2; exit 1; fi", "exec cat \"$manifest\""
  ))
  local_scripted_kubectl(fails_for_b)
  error <- raised(submit_batch(plan))
  expect_s3_class(error, "abba_error_batch_incomplete")
  expect_identical(is.na(error$batch$submitted), c(TRUE, FALSE, FALSE))
  kubectl <- local_scripted_kubectl(creates())
  # Also a part of the data frame, in another session.
  file <- withr::local_tempfile()
  saveRDS(error$batch[1L, ], file)
  batch <- suppressMessages(submit_batch(readRDS(file)))
  job <- sent(kubectl)[["b.R"]]
  expect_identical(job$metadata$name, error$batch$job_id[[1L]])
  expect_identical(after_of(job), stats::setNames(list("a"), error$batch$job_id[[2L]]))
  expect_identical(program_container(job)$resources$limits$memory, "1G")
  expect_named(batch, c("job_id", "batch_id", "program", "submitted", "name", "run_group"))
})

test_on_both_roads("on_failure is one of two words", {
  local_plan()
  expect_error(submit_batch("a.R", on_failure = "ignore"), "`on_failure`", class = "abba_error_input")
})

# What a scripted API was asked to submit.
bodies_of <- function(api) {
  lapply(Filter(function(request) request$path == "/submit-batch", api$requests()), `[[`, "body")
}

test_that("over the API no request names a program of a later one, and all of a plan is in one batch", {
  local_programs(c("a.R", "b.R", "c.R", "d.R"))
  local_function("programs_of_request", 2L, asNamespace("abba"), environment())
  api <- local_scripted_api(makes_jobs())
  # The last of them runs first.
  plan <- abba_plan(c("d.R", "c.R", "b.R", "a.R"), after = list(c("a", "c"), "b", "a", character()))
  batch <- suppressMessages(abba_submit_batch(plan, on_failure = "stop"))
  expect_identical(batch$name, c("d", "c", "b", "a"))
  bodies <- bodies_of(api)
  expect_length(bodies, 2L)
  known <- character()
  for (body in bodies) {
    expect_identical(body$batch_group_id, batch$batch_id[[1L]])
    known <- c(known, vapply(body$programs, `[[`, "", "job_id"))
    for (program in body$programs) expect_true(all(names(program$after) %in% known))
    expect_identical(unique(vapply(body$programs, `[[`, "", "on_failure")), "stop")
  }
  expect_identical(known, rev(batch$job_id))
  expect_identical(bodies[[2L]]$programs[[2L]]$after, stats::setNames(list("c", "a"), batch$job_id[c(2L, 4L)]))
})

# The programs that a scripted API was asked to run, by their paths.
asked <- function(api) {
  programs <- unlist(lapply(bodies_of(api), `[[`, "programs"), recursive = FALSE)
  stats::setNames(programs, vapply(programs, `[[`, "", "file_path"))
}

test_that("over the API the rest of a plan waits for those that were submitted before, too", {
  plan <- local_plan(memory_limit = c("1G", "2G", "3G"))
  local_function("programs_of_request", 2L, asNamespace("abba"), environment())
  api <- local_scripted_api(
    makes_jobs(), refuses("forbidden", 403L, message = "No.", on = "POST /submit-batch")
  )
  error <- raised(abba_submit_batch(plan))
  expect_s3_class(error, "abba_error_batch_incomplete")
  expect_identical(sum(is.na(error$batch$submitted)), 1L)
  first <- asked(api)
  api <- local_scripted_api(makes_jobs())
  file <- withr::local_tempfile()
  # One that was made, too: nobody knows whether its answer was lost.
  again <- error$batch[error$batch$program != "a.R", ]
  again$submitted[] <- NA
  saveRDS(again, file)
  batch <- suppressMessages(abba_submit_batch(readRDS(file)))
  rest <- asked(api)
  expect_named(rest, c("b.R", "c.R"), ignore.order = TRUE)
  # Each is the same submission.
  expect_identical(rest[["b.R"]], first[["b.R"]])
  expect_identical(rest[["c.R"]], first[["c.R"]])
  expect_identical(rest[["b.R"]]$after, stats::setNames(list("a"), first[["a.R"]]$job_id))
  expect_identical(rest[["b.R"]]$memory_limit, "1G")
})

test_that("over the API a rerun keeps the order, and what becomes of it where one fails", {
  local_programs(c("a.R", "b.R"))
  row <- function(path, after) {
    list(
      job_id = paste0(path, "-id"), status = "Failed", ending = FALSE, in_place = FALSE, file_path = path,
      absolute_path = file.path(getwd(), path), user_tag = "", cpu_limit = 1L, memory_limit = "1G", container = "r:1",
      auto_mount_home = FALSE, after = after, on_failure = "stop"
    )
  }
  rows <- list(row("b.R", list("a.R-id" = "a", "d.R-id" = "d")), row("a.R", structure(list(), names = character())))
  api <- local_scripted_api(replies(rows, on = "GET /batch-arguments"), makes_jobs())
  expect_message(again <- abba_rerun_batch("b-1"), "2 jobs created in batch [^ ]+, of which 1 waits for others")
  programs <- asked(api)
  expect_named(programs, c("a.R", "b.R"))
  expect_identical(programs[["b.R"]]$after, stats::setNames(list("a"), programs[["a.R"]]$job_id))
  expect_null(programs[["a.R"]]$after)
  expect_identical(programs[["b.R"]]$on_failure, "stop")
})

# What a program of a batch was submitted with.
kept <- function(path) {
  list(given_path = path, expanded_path = file.path(getwd(), path), batch_group_id = "b-1", container = "r:1")
}
waiting_job <- function(id, path, after, ..., annotations = list()) {
  job <- full_job(
    id, path,
    arguments = kept(path), annotations = c(list("abba/after" = to_json(after)), annotations), ...
  )
  job$spec$suspend <- TRUE
  job$metadata$labels[["abba/waiting"]] <- if (length(annotations) == 0L) "true"
  job
}
not_started <- function() {
  list("abba/not-started" = to_json(list(job_id = "a-1", program = "a", event = "failed")))
}

test_that("a rerun keeps the order, and does not wait for what has succeeded", {
  local_programs(c("a.R", "b.R", "c.R"))
  kubectl <- local_scripted_kubectl(
    creates(), pods_of(pod("a-1", ended(1L), "Failed", path = "a.R"), pod("d-4", path = "d.R")),
    jobs_of(
      full_job("a-1", "a.R", arguments = kept("a.R"), created = "2026-01-01T00:00:01Z"),
      waiting_job("b-2", "b.R", list("a-1" = "a", "d-4" = "d"), annotations = not_started()),
      waiting_job("c-3", "c.R", list("b-2" = "b"), annotations = not_started()),
      full_job("d-4", "d.R", arguments = kept("d.R"))
    )
  )
  expect_message(again <- rerun("b-1"), "3 jobs created in batch [^ ]+, of which 2 wait for others")
  expect_named(again, c("job_id", "batch_id", "program", "submitted"))
  jobs <- sent(kubectl)
  id_of <- function(path) again$job_id[again$program == path]
  expect_null(after_of(jobs[["a.R"]]))
  expect_identical(after_of(jobs[["b.R"]]), stats::setNames(list("a"), id_of("a.R")))
  expect_identical(after_of(jobs[["c.R"]]), stats::setNames(list("b"), id_of("b.R")))
})

test_that("a rerun submits nothing while a program runs that one of those runs after", {
  local_programs(c("a.R", "b.R", "d.R"))
  kubectl <- local_scripted_kubectl(
    creates(), pods_of(pod("a-1", ended(1L), "Failed", path = "a.R"), pod("d-4", running(), path = "d.R")),
    jobs_of(
      full_job("a-1", "a.R", arguments = kept("a.R"), created = "2026-01-01T00:00:01Z"),
      waiting_job("b-2", "b.R", list("a-1" = "a", "d-4" = "d"), annotations = not_started()),
      full_job("d-4", "d.R", arguments = kept("d.R"))
    )
  )
  error <- expect_error(rerun("b-1"), class = "abba_error_not_ended")
  expect_snapshot(cat(conditionMessage(error)))
  expect_identical(error$job_id, "d-4")
  expect_length(sent(kubectl), 0L)
  # By the API as well.
  rows <- list(list(
    job_id = "b-2", status = "Failed", ending = FALSE, in_place = FALSE, open_predecessors = list("d-4"),
    file_path = "b.R", absolute_path = file.path(getwd(), "b.R"), user_tag = "", cpu_limit = 1L, memory_limit = "1G",
    container = "r:1", auto_mount_home = FALSE, after = list("d-4" = "d")
  ))
  local_scripted_api(replies(rows, on = "GET /batch-arguments"), makes_jobs())
  expect_error(abba_rerun_batch("b-1"), "d-4", class = "abba_error_not_ended")
})

test_on_both_roads("list and status tell of a program that waits, and of one that was not started", {
  local_scripted_kubectl(
    pods_of(pod("a-1", path = "a.R"), pod("d-4", running(), path = "d.R")),
    jobs_of(
      waiting_job("b-2", "b.R", list("a-1" = "a", "d-4" = "d")),
      waiting_job("c-3", "c.R", list("b-2" = "b"), annotations = not_started())
    )
  )
  jobs <- on_road("list_jobs")
  jobs <- jobs[match(c("b-2", "c-3"), jobs$job_id), ]
  expect_identical(jobs$status, c("Pending", "Failed"))
  expect_identical(jobs$reason, c(
    "The program waits for d.", "The program was not started, because a failed."
  ))
})

test_that("an explanation says what a program waits for, and whether a controller is there", {
  explained <- function(lease, jobs = list(full_job("a-1", "a.R"))) {
    local_scripted_kubectl(
      lease, says(list_of(), on = "*/events*"),
      says(list_of(), on = "*/pods*a-1*"), says(do.call(list_of, jobs), on = "*/jobs*a-1*"),
      says(list_of(), on = "*/pods*"), says(list_of(waiting_job("b-2", "b.R", list("a-1" = "a"))), on = "*/jobs*")
    )
    unclass(abba_explain_k8s_job_local("b-2", namespace = "n"))[c("status", "reason", "advice")]
  }
  lease <- function(renewed) {
    renewed <- format(renewed, "%Y-%m-%dT%H:%M:%S.000000Z", tz = "UTC")
    spec <- list(holderIdentity = "host-1", leaseDurationSeconds = 30, renewTime = renewed)
    says(to_json(list(spec = spec)), on = "*/leases/*")
  }
  now <- explained(lease(Sys.time() + 60))
  expect_identical(now[c("status", "reason")], list(status = "Pending", reason = "The program waits for a."))
  expect_match(now$advice, "A controller of abba is there to start it (on host-1)", fixed = TRUE)
  not_found <- "Error from server (NotFound): leases.coordination.k8s.io \"abba-controller\" not found\n"
  none <- fails(not_found, on = "*/leases/*")
  for (absent in list(lease(Sys.time() - 600), none)) {
    expect_match(explained(absent)$advice, "No controller of abba is there", fixed = TRUE)
  }
  forbidden <- fails("Error from server (Forbidden): leases is forbidden\n", on = "*/leases/*")
  expect_match(explained(forbidden)$advice, "cannot be seen", fixed = TRUE)
  removed <- explained(none, jobs = list())
  expect_match(removed$reason, "waits for a, and there is no such job in its batch", fixed = TRUE)
  # One of another batch is none of this.
  other <- explained(none, jobs = list(full_job("a-1", "a.R", batch_id = "other")))
  expect_match(other$reason, "there is no such job", fixed = TRUE)
})

test_that("a controller starts what waits in its turn, says so, and ends with an interrupt", {
  kubectl <- local_scripted_kubectl(
    runs("sleep 30", on = "*watch=1*"),
    says(to_json(waiting_job("b-2", "b.R", list("a-1" = "a"))), on = "get*/jobs/b-2"),
    runs("cat \"$manifest\"", on = "replace*/jobs/b-2*"),
    fails("Error from server (Forbidden): leases is forbidden\n", on = "*/leases*"),
    pods_of(pod("a-1", path = "a.R")), jobs_of(waiting_job("b-2", "b.R", list("a-1" = "a")))
  )
  said <- controller_says("Started: ")
  expect_match(said[[1L]], "The jobs are followed; 1 program waits for others.", fixed = TRUE)
  expect_match(said[[2L]], "Started: b (b-2)", fixed = TRUE)
  changed <- kubectl$manifest(which(grepl("^replace .*/jobs/b-2", kubectl$requests()))[[1L]])
  expect_false(changed$spec$suspend)
  expect_null(changed$metadata$labels[["abba/waiting"]])
})
