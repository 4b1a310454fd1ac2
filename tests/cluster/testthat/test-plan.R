# A plan: programs that run in their order, started by whoever is there.
local_namespace()

# Submits a plan of these programs: a list of what each runs after, by their names. `text`: of some of them.
submit_plan <- function(after, text = character(), ..., env = parent.frame()) {
  folder <- withr::local_tempdir(pattern = "plan-", .local_envir = env)
  lines <- stats::setNames(rep("cat('done\\n')", length(after)), names(after))
  lines[names(text)] <- text
  paths <- vapply(names(after), function(name) local_program(lines[[name]], paste0(name, ".R"), folder, env), "")
  submit_batch(abba_plan(unname(paths), after = unname(after)), ...)
}

# The jobs of a batch as the cluster has them, by the names of their programs.
jobs_of_plan <- function(batch) {
  jobs <- abba_list_k8s_jobs_local(batch_id = batch$batch_id[[1L]])
  jobs <- jobs[match(batch$job_id, jobs$job_id), ]
  row.names(jobs) <- sub("[.]R$", "", basename(jobs$program))
  jobs
}

# Each program that ran began after all those had ended that it runs after, by the node's own times.
expect_in_order <- function(jobs, after) {
  for (name in row.names(jobs)[!is.na(jobs$started)]) {
    before <- after[[name]]
    expect_identical(jobs[before, "status"], rep("Succeeded", length(before)), info = name)
    expect_true(all(jobs[before, "finished"] <= jobs[name, "started"]), info = name)
  }
}

test_that("a wait runs a plan in order, and what comes after a failure is not started until it is mended", {
  after <- list(
    left = "top", bottom = c("left", "right"), right = "top", top = character(),
    next_one = "bad", bad = character(), last = c("next_one", "top")
  )
  batch <- submit_plan(after, c(bad = "stop('no')"))
  expect_identical(batch$name, names(after))
  ids <- stats::setNames(batch$job_id, batch$name)
  status <- abba_watch_k8s_batch_local(batch$batch_id[[1L]])
  expect_identical(sort(names(status)), c("Failed", "Succeeded"))
  jobs <- jobs_of_plan(batch)
  expect_identical(jobs[c("top", "left", "right", "bottom"), "status"], rep("Succeeded", 4L))
  expect_in_order(jobs, after)

  lost <- c("next_one", "last")
  expect_identical(jobs[lost, "status"], c("Failed", "Failed"))
  expect_identical(jobs[lost, "reason"], rep("The program was not started, because bad failed.", 2L))
  expect_length(unlist(lapply(ids[lost], pods_of)), 0L)
  expect_match(log_of(ids[["last"]])[[1L]], "abba: The program was not started, because bad failed.", fixed = TRUE)
  # The cluster has ended them by itself, and no pod was ever made.
  for (id in ids[lost]) {
    wait_until(function() "True" %in% field("job", id, ".status.conditions[?(@.type==\"Failed\")].status"), 180)
    events <- kubectl_json("get", "events", "--namespace", the_namespace(), "--field-selector", paste0(
      "involvedObject.name=", id
    ))$items
    expect_false("SuccessfulCreate" %in% vapply(events, `[[`, "", "reason"))
  }
  done <- abba_cancel_k8s_job_local(ids[lost])
  expect_identical(unique(done$done), "had ended")

  write_program("cat('mended\\n')", batch$program[batch$name == "bad"])
  again <- suppressMessages(abba_rerun_k8s_batch_local(batch$batch_id[[1L]]))
  expect_setequal(basename(again$program), c("bad.R", "next_one.R", "last.R"))
  expect_identical(names(abba_watch_k8s_batch_local(again$batch_id[[1L]])), "Succeeded")
  expect_in_order(jobs_of_plan(again), list(bad = character(), next_one = "bad", last = "next_one"))
})

test_that("with on_failure = \"stop\" nothing of a plan starts after a failure, whatever it depends on", {
  gate <- local_gate()
  after <- list(first = character(), last = "first", bad = character(), other = "slow", slow = character())
  batch <- submit_plan(after, c(bad = "stop('no')", slow = gate$wait), mounts = gate$mounts, on_failure = "stop")
  ids <- stats::setNames(batch$job_id, batch$name)
  wait_for_state(ids[["bad"]], "Failed")
  expect_identical(names(abba_watch_k8s_job_local(ids[["last"]])), "Failed")
  expect_match(jobs_of_plan(batch)["last", "reason"], "because bad failed", fixed = TRUE)
  # What runs already goes on; what waits for it is not started.
  gate$open()
  expect_identical(sort(names(abba_watch_k8s_batch_local(batch$batch_id[[1L]]))), c("Failed", "Succeeded"))
  jobs <- jobs_of_plan(batch)
  expect_identical(jobs[c("slow", "other"), "status"], c("Succeeded", "Failed"))
  expect_identical(pods_of(ids[["other"]]), character())
})

test_that("controllers start programs with nobody watching, and another one goes on where one was killed", {
  gate <- local_gate()
  after <- list(first = character(), second = "first", third = "second", never = "second")
  batch <- submit_plan(after, c(first = gate$wait), mounts = gate$mounts)
  ids <- stats::setNames(batch$job_id, batch$name)
  # A pod is there for the first alone.
  wait_for_state(ids[["first"]], "Running")
  waiting <- abba_explain_k8s_job_local(ids[["second"]])
  expect_identical(waiting$status, "Pending")
  expect_identical(waiting$reason, "The program waits for first.")
  expect_match(waiting$advice, "No controller of abba is there", fixed = TRUE)
  expect_setequal(
    sub("^job.batch/", "", kubectl_lines("get", "jobs", "--selector", "abba/waiting=true", "--output", "name")),
    unname(ids[c("second", "third", "never")])
  )

  controller <- function() abba_run_controller_local()
  is_there <- function() {
    advice <- abba_explain_k8s_job_local(ids[["third"]])$advice
    if (grepl("A controller of abba is there", advice, fixed = TRUE)) TRUE else advice
  }
  killed <- local_background(controller)
  wait_until(is_there, 180, what = "the controller's Lease")
  killed$kill()
  expect_identical(abba_cancel_k8s_job_local(ids[["never"]])$done, "kept from starting")
  # Two at once do no harm.
  local_background(controller)
  local_background(controller)
  gate$open()
  expect_identical(unname(wait_for_end(ids)), c("Succeeded", "Succeeded", "Succeeded", "Failed"))
  expect_in_order(jobs_of_plan(batch), after)
  expect_length(unlist(lapply(ids, pods_of)), 3L)
  expect_identical(reason_of(ids[["never"]]), "The program has not run: it was cancelled before it started.")
})

test_that("an abba server runs a plan in order with nobody asking it, and a rerun keeps the order", {
  server <- local_api_server(abba.cpu.limit = 1000)
  withr::local_options(abba.api.address = server$address, abba.api.key = server$keys$daemon)
  after <- list(
    bottom = c("left", "right"), left = "top", right = "top", top = character(), late = "large", large = character()
  )
  folder <- withr::local_tempdir(pattern = "plan-")
  paths <- vapply(names(after), function(name) local_program("cat('done\\n')", paste0(name, ".R"), folder), "")
  plan <- abba_plan(unname(paths), after = unname(after))
  # No node has room for the large one.
  plan$cpu_limit <- ifelse(plan$name == "large", 900, 0.2)
  batch <- suppressMessages(abba_submit_batch(plan))
  ids <- stats::setNames(batch$job_id, batch$name)
  wait_until(function() identical(field("job", ids[["bottom"]], ".status.succeeded"), "1"), 180)
  wait_until(function() {
    explained <- abba_explain_job(ids[["late"]])
    if (grepl("A controller of abba is there to start it", explained$advice, fixed = TRUE)) TRUE else explained$advice
  }, 180)
  expect_identical(abba_explain_job(ids[["late"]])$reason, "The program waits for large.")
  expect_identical(abba_cancel_job(ids[["large"]])$done, "kept from starting")
  # The large one may not be seen to have ended yet: then the wait warns that it cannot start.
  status <- suppressWarnings(abba_watch_batch(batch$batch_id[[1L]]), classes = "abba_warning_stuck")
  expect_setequal(names(status), c("Succeeded", "Failed"))
  jobs <- jobs_of_plan(batch)
  expect_identical(jobs[c("top", "left", "right", "bottom"), "status"], rep("Succeeded", 4L))
  expect_in_order(jobs, after)
  expect_identical(jobs["late", "reason"], "The program was not started, because large was cancelled.")
  expect_identical(pods_of(ids[["late"]]), character())

  again <- suppressMessages(abba_rerun_batch(batch$batch_id[[1L]], cpu_limit = 0.2))
  expect_setequal(basename(again$program), c("large.R", "late.R"))
  expect_identical(names(abba_watch_batch(again$batch_id[[1L]])), "Succeeded")
  expect_in_order(jobs_of_plan(again), list(large = character(), late = "large"))
})
