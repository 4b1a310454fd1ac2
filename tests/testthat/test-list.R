columns <- c(
  "job_id", "batch_id", "program", "user", "status", "submitted", "started", "finished", "exit_code", "reason",
  "verdict", "verdict_line"
)

local_jobs <- function(env = parent.frame()) {
  local_scripted_kubectl(
    pods_of(
      full_pod("a-1"),
      full_pod("b-2", ended(1L), "Failed"),
      full_pod("c-3", list(running = list(startedAt = "2026-01-03T00:00:05Z")))
    ),
    jobs_of(
      full_job("a-1", "a.R", created = "2026-01-01T00:00:00Z"),
      full_job("b-2", "b.R", created = "2026-01-02T00:00:00Z", user = "anna", batch_id = "b-9"),
      full_job("c-3", "c.R", created = "2026-01-03T00:00:00Z"),
      full_job("d-4", "d.R", created = "2026-01-04T00:00:00Z")
    ),
    env = env
  )
}

test_on_both_roads("jobs are listed in a data frame of the contract's columns, the newest first", {
  local_jobs()
  jobs <- list_jobs()
  expect_identical(class(jobs), c("abba_jobs", "data.frame"))
  expect_named(jobs, columns)
  expect_identical(attr(jobs, "row.names"), 1:4)
  expect_identical(as.list(jobs)[columns], list(
    job_id = c("d-4", "c-3", "b-2", "a-1"),
    batch_id = c("b-1", "b-1", "b-9", "b-1"),
    program = c("d.R", "c.R", "b.R", "a.R"),
    user = c("mike", "mike", "anna", "mike"),
    status = c("Pending", "Running", "Failed", "Succeeded"),
    submitted = utc(paste0("2026-01-0", 4:1, "T00:00:00Z")),
    started = utc(c(NA, "2026-01-03T00:00:05Z", "2026-01-01T00:00:05Z", "2026-01-01T00:00:05Z")),
    finished = utc(c(NA, NA, "2026-01-01T00:01:05Z", "2026-01-01T00:01:05Z")),
    exit_code = c(NA, NA, 1L, 0L),
    reason = c(
      "The program has not started yet: Kubernetes has just accepted its job.", NA,
      "The program ended with exit status 1.", NA
    ),
    verdict = rep(NA_character_, 4L), verdict_line = rep(NA_character_, 4L)
  ))
})

test_that("two calls of kubectl answer for all jobs", {
  kubectl <- local_jobs()
  list_jobs(namespace = "team-1")
  selector <- "?labelSelector=app.kubernetes.io/managed-by=abba"
  # Both at once, so in either order.
  expect_setequal(vapply(kubectl$requests(), utils::URLdecode, "", USE.NAMES = FALSE), c(
    paste0("get /api/v1/namespaces/team-1/pods", selector),
    paste0("get /apis/batch/v1/namespaces/team-1/jobs", selector)
  ))
})

test_on_both_roads("jobs are chosen by status and by time", {
  local_jobs()
  ids <- function(...) list_jobs(...)$job_id
  expect_identical(ids(status = "Failed"), "b-2")
  expect_identical(ids(status = c("Running", "Pending")), c("d-4", "c-3"))
  expect_identical(ids(status = "Unknown"), character())
  expect_identical(ids(since = utc("2026-01-03T00:00:00Z")), c("d-4", "c-3"))
  expect_identical(ids(since = utc("2026-01-03T00:00:01Z")), "d-4")
  expect_identical(ids(since = as.POSIXct("2026-01-03 01:00:00", tz = "Europe/Berlin")), c("d-4", "c-3"))
  expect_identical(ids(status = "Succeeded", since = utc("2026-01-02T00:00:00Z")), character())
  expect_identical(ids(user = "anna"), "b-2")
})

test_on_both_roads("a date begins at midnight where the user is", {
  local_jobs()
  withr::local_timezone("America/New_York")
  # Midnight there is five hours later than in Greenwich.
  expect_identical(list_jobs(since = as.Date("2026-01-03"))$job_id, "d-4")
  withr::local_timezone("UTC")
  expect_identical(list_jobs(since = as.Date("2026-01-03"))$job_id, c("d-4", "c-3"))
})

test_that("the cluster is asked for one user's jobs, or one batch's", {
  kubectl <- local_jobs()
  list_jobs(user = "mike")
  list_jobs(user = "DOMAIN\\mike m")
  list_jobs(batch_id = "Study_1.tables")
  asked <- vapply(kubectl$requests(), utils::URLdecode, "", USE.NAMES = FALSE)
  expect_match(asked[1:2], "abba/user=mike$")
  # A name is looked for as it is written on the job: as a legal label.
  expect_match(asked[3:4], "abba/user=DOMAIN-mike-m$")
  expect_match(asked[5:6], "abba/batch-id=Study_1.tables$")
})

test_on_both_roads("a cancelled job is told apart from one that failed by itself", {
  cancelled <- full_pod("a-1", ended(143L), "Failed", reason = "DeadlineExceeded")
  cancelled$metadata$annotations[["abba/cancelled-by"]] <- "mike"
  local_scripted_kubectl(
    pods_of(cancelled, full_pod("b-2", ended(1L), "Failed")),
    jobs_of(full_job("a-1"), full_job("b-2"), full_job(
      "c-3",
      annotations = list("abba/cancelled-by" = "mike"), conditions = list(condition("Failed"))
    ))
  )
  expect_words(list_jobs()[c("job_id", "status", "reason")])
})

# Jobs that have ended, with these logs, and with pods that no other test has.
local_ended <- function(logs, env = parent.frame()) {
  known <- function(id, uid) {
    pod <- full_pod(id)
    pod$metadata$uid <- uid
    pod
  }
  uids <- sprintf("%08x-0000-4000-8000-%012x", sample.int(.Machine$integer.max, length(logs)), seq_along(logs))
  answers <- Map(function(id, text) {
    says(charToRaw(paste0("abba-log-of ", id, "\n", text, "\n")), on = paste0("*/pods/", id, "-*/log*"))
  }, names(logs), logs)
  rlang::inject(local_scripted_kubectl(
    !!!unname(answers),
    says(do.call(list_of, unname(Map(known, names(logs), uids))), on = "*/pods*"),
    says(do.call(list_of, lapply(names(logs), full_job)), on = "*/jobs*"),
    env = env
  ))
}

test_that("verdicts are told where they are asked for, and the log of an ended job is read once", {
  kubectl <- local_ended(c("a-1" = "[1] 4", "b-2" = "Error in f() : boom", "c-3" = "Warning message:\ncareful"))
  reads <- function() sum(grepl("/log", kubectl$requests()))
  expect_true(all(is.na(list_jobs()$verdict)))
  expect_identical(reads(), 0L)
  jobs <- list_jobs(verdict = TRUE)
  jobs <- jobs[order(jobs$job_id), ]
  expect_identical(jobs$verdict, c("clean", "errors", "warnings"))
  expect_identical(jobs$verdict_line, c(NA, "Error in f() : boom", "Warning message: careful"))
  expect_identical(jobs$status, rep("Succeeded", 3L))
  once <- reads()
  expect_gte(once, 3L)
  expect_setequal(list_jobs(verdict = TRUE)$verdict, c("clean", "errors", "warnings"))
  expect_identical(reads(), once)
})

test_that("a log that cannot be read is NA, and the list is there; a killed program needs no log", {
  local_scripted_kubectl(
    fails("Error from server: Get \"https://192.0.2.9:10250/x\": dial tcp 192.0.2.9:10250: refused\n", on = "*/log*"),
    says(list_of(
      full_pod("a-1"), full_pod("b-2", ended(137L, "OOMKilled"), "Failed"), full_pod("c-3", running()),
      full_pod("d-4", ended(1L), "Failed"), full_pod("e-5", ended(143L), "Failed", reason = "DeadlineExceeded")
    ), on = "*/pods*"),
    says(do.call(list_of, lapply(c("a-1", "b-2", "c-3", "d-4", "e-5"), full_job)), on = "*/jobs*")
  )
  expect_silent(jobs <- list_jobs(verdict = TRUE))
  expect_identical(jobs$verdict[order(jobs$job_id)], c(NA, "killed", NA, "errors", "killed"))
  expect_true(all(is.na(jobs$verdict_line)))
})

test_that("the user's patterns decide for a list, also where others were used before", {
  local_ended(c("a-1" = "NOTE: x is uninitialized", "b-2" = "Warning message:\npackage 'x' was built under R 4.2.3"))
  verdicts <- function() {
    jobs <- list_jobs(verdict = TRUE)
    jobs$verdict[order(jobs$job_id)]
  }
  expect_identical(verdicts(), c("clean", "warnings"))
  withr::local_options(abba.log.patterns = list(warnings = "^NOTE: .*uninitialized", ignore = "was built under R"))
  expect_identical(verdicts(), c("warnings", "clean"))
  withr::local_options(abba.log.patterns = NULL)
  expect_identical(verdicts(), c("clean", "warnings"))
})

test_that("bad arguments are refused before kubectl starts", {
  expect_words(refuse(
    list_jobs(user = 1), list_jobs(user = ""), list_jobs(user = NA_character_), list_jobs(user = c("a", "b")),
    list_jobs(batch_id = ""), list_jobs(batch_id = "a b"), list_jobs(batch_id = 1), list_jobs(batch_id = c("a", "b")),
    list_jobs(status = "Done"), list_jobs(status = c("Failed", "failed")), list_jobs(status = NA_character_),
    list_jobs(status = 1), list_jobs(status = character()), list_jobs(status = TRUE),
    list_jobs(since = "2026-01-01"), list_jobs(since = NA), list_jobs(since = as.Date(NA)), list_jobs(since = 1),
    list_jobs(since = Sys.time()[0L]), list_jobs(since = as.Date(c("2026-01-01", "2026-01-02"))),
    list_jobs(since = as.Date(Inf)), list_jobs(since = as.POSIXct(-Inf)),
    list_jobs(namespace = "A"), list_jobs(namespace = ""), list_jobs(verdict = NA), list_jobs(verdict = "yes"),
    list_jobs(verdict = NULL)
  ))
})

test_on_both_roads("an error is that of the function that the user called", {
  of <- function(error) as.character(conditionCall(error)[[1L]])
  expect_identical(of(raised(list_jobs(status = "Done"))), verb_name("list_jobs"))
  expect_identical(of(raised(list_jobs(since = 1))), verb_name("list_jobs"))
})

test_that("faults of kubectl are told as those of other reads are", {
  local_scripted_kubectl(fails("Error from server (Forbidden): pods is forbidden: User \"mike\" cannot list\n"))
  expect_words(abba_list_k8s_jobs_local(namespace = "n"), error = TRUE)
  local_scripted_kubectl(says("[]"))
  expect_identical(class(raised(list_jobs()))[1:2], c("abba_error_kubectl", "abba_error"))
})
