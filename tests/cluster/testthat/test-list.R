# Finding jobs again.
namespace <- local_namespace()

gate <- local_gate()
good <- local_program("cat('ran\\n')", "good.R")
begin <- Sys.time()
ids <- c(
  good = submit(good, batch_group_id = "tables"),
  bad = submit(local_program("quit(status = 3)", "bad.R"), batch_group_id = "listings"),
  runs = submit(local_program(gate$wait, "runs.R"), batch_group_id = "tables", mounts = gate$mounts),
  waits = submit(local_program("1", "waits.R"), cpu_limit = 64),
  nobody = submit(good, username = "nobody", batch_group_id = "of-nobody")
)
wait_for_states(ids, function(states) {
  identical(unname(states), c("Succeeded", "Failed", "Running", "Pending", "Succeeded"))
})
# An event may say so a moment before the pod does, whose word is in the list.
is_told <- function() any(grepl("no node of the cluster is large enough", abba_list_k8s_jobs_local()$reason))
wait_until(is_told, 120, what = "the scheduler's word")

# The names of the jobs that a call lists.
listed <- function(...) {
  found <- abba_list_k8s_jobs_local(...)
  names(ids)[match(found$job_id, ids)]
}

test_that("every column is filled", {
  jobs <- abba_list_k8s_jobs_local()
  expect_s3_class(jobs, c("abba_jobs", "data.frame"), exact = TRUE)
  expect_identical(
    vapply(jobs, function(column) class(column)[[1L]], ""),
    c(
      job_id = "character", batch_id = "character", program = "character", user = "character", status = "character",
      submitted = "POSIXct", started = "POSIXct", finished = "POSIXct", exit_code = "integer", reason = "character",
      verdict = "character", verdict_line = "character"
    )
  )
  expect_setequal(jobs$job_id, ids)
  expect_false(is.unsorted(rev(jobs$submitted)))
  jobs <- jobs[match(ids, jobs$job_id), ]
  expect_identical(jobs$batch_id[c(1:3, 5)], c("tables", "listings", "tables", "of-nobody"))
  expect_match(jobs$batch_id[[4L]], "^waits-")
  expect_identical(basename(jobs$program), c("good.R", "bad.R", "runs.R", "waits.R", "good.R"))
  expect_identical(jobs$program[[1L]], good)
  expect_identical(jobs$user, c(rep(Sys.info()[["user"]], 4L), "nobody"))
  expect_identical(jobs$status, c("Succeeded", "Failed", "Running", "Pending", "Succeeded"))
  expect_identical(jobs$exit_code, c(0L, 3L, NA, NA, 0L))
  expect_identical(is.na(jobs$started), c(FALSE, FALSE, FALSE, TRUE, FALSE))
  expect_identical(is.na(jobs$finished), c(FALSE, FALSE, TRUE, TRUE, FALSE))
  expect_identical(is.na(jobs$reason), c(TRUE, FALSE, TRUE, FALSE, TRUE))
  expect_identical(jobs$reason[[2L]], "The program ended with exit status 3.")
  expect_match(jobs$reason[[4L]], "no node of the cluster is large enough")
  expect_true(all(jobs$submitted >= begin - 1 & jobs$submitted <= Sys.time()))
  expect_true(all(jobs$started >= jobs$submitted, na.rm = TRUE))
  expect_true(all(jobs$finished >= jobs$started, na.rm = TRUE))
  expect_identical(attr(jobs$submitted, "tzone"), "UTC")
  expect_true(all(is.na(jobs$verdict)))
})

test_that("verdicts are told where they are asked for, of R's messages and of the user's own", {
  verdict <- function(columns = "verdict") {
    jobs <- abba_list_k8s_jobs_local(verdict = TRUE)
    jobs[match(c(ids, lost), jobs$job_id), columns]
  }
  lost <- submit(local_program(
    "x <- parallel::mclapply(1:4, function(i) if (i == 2) tools::pskill(Sys.getpid(), 9) else i, mc.cores = 2)",
    "lost.R"
  ), batch_group_id = "listings")
  wait_for_end(lost)
  expect_identical(verdict(), c("clean", "errors", NA, NA, "clean", "warnings"))
  expect_warning(
    abba_get_k8s_job_log_local(lost), "scheduled core 2 did not deliver a result",
    class = "abba_warning_log_verdict"
  )
  withr::local_options(abba.log.patterns = list(errors = "^ran$", ignore = "mclapply|did not deliver a result"))
  told <- verdict(c("status", "verdict", "verdict_line"))
  expect_identical(told$verdict, c("errors", "errors", NA, NA, "errors", "clean"))
  expect_identical(told$verdict_line, c("ran", NA, NA, NA, "ran", NA))
  expect_identical(told$status, c("Succeeded", "Failed", "Running", "Pending", "Succeeded", "Succeeded"))
  kubectl_lines("delete", "job", lost, "--wait=true")
})

test_that("jobs can be picked by user, batch, state and time, and by all of these", {
  expect_setequal(listed(user = "nobody"), "nobody")
  expect_setequal(listed(user = Sys.info()[["user"]]), c("good", "bad", "runs", "waits"))
  expect_setequal(listed(batch_id = "tables"), c("good", "runs"))
  expect_setequal(listed(status = "Pending"), "waits")
  expect_setequal(listed(status = c("Running", "Failed")), c("runs", "bad"))
  expect_setequal(listed(batch_id = "tables", status = "Running", user = Sys.info()[["user"]]), "runs")
  expect_length(listed(batch_id = "tables", user = "nobody"), 0L)
  # Of the day on which they were submitted, wherever its end is now.
  expect_length(listed(since = as.Date(format(begin))), 5L)
  expect_length(listed(since = Sys.Date() + 1), 0L)
  expect_length(listed(since = as.POSIXct(begin - 1)), 5L)
  expect_length(listed(since = Sys.time() + 10), 0L)
  # In whatever time zone the user's clock is.
  elsewhere <- as.POSIXct(format(begin - 1, tz = "Asia/Tokyo"), tz = "Asia/Tokyo")
  expect_length(listed(since = elsewhere), 5L)
  withr::with_timezone("Asia/Tokyo", expect_length(listed(since = Sys.Date() + 2), 0L))
})

test_that("that there are none is no error, and the columns are there", {
  none <- abba_list_k8s_jobs_local(batch_id = "no-such-batch")
  expect_identical(nrow(none), 0L)
  expect_identical(lapply(none, class), lapply(abba_list_k8s_jobs_local(), class))
  expect_identical(nrow(abba_list_k8s_jobs_local(user = "no-such-user")), 0L)
})

test_that("jobs of another namespace are listed there, and others' jobs nowhere", {
  other <- local_cluster_namespace()
  kubectl("create", "job", "foreign", "--image", "x", "--namespace", other)
  id <- submit(good, namespace = other)
  expect_identical(abba_list_k8s_jobs_local(namespace = other)$job_id, id)
  expect_false(id %in% abba_list_k8s_jobs_local()$job_id)
})

test_that("filters that are none are refused", {
  expect_error(abba_list_k8s_jobs_local(status = "Done"), "`status`")
  expect_abba_error(abba_list_k8s_jobs_local(since = "yesterday"), "input", "`since` must be a Date or a POSIXct")
  expect_abba_error(abba_list_k8s_jobs_local(since = as.Date(NA)), "input", "`since`")
  expect_abba_error(abba_list_k8s_jobs_local(batch_id = "a b"), "input", "`batch_id`")
})

gate$open()
