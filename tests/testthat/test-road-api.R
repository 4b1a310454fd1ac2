# What the verbs ask of an abba API, and what they make of its answers, with a scripted one.

# Following asks every two seconds; a test does not wait for that.
local_mocked_interval <- function(env = parent.frame()) {
  withr::local_options(abba.api.follow.interval = 0, .local_envir = env)
}

# --- Submitting ------------------------------------------------------------------

test_that("a submission sends the program's text with its path and gives back the ids", {
  local_program("print('caf\u00e9')\n")
  api <- local_scripted_api(makes_jobs("POST /submit-job"))
  expect_message(
    job <- abba_submit_job(
      "test_program.R",
      batch_group_id = "Study_1", user_tag = "t", cpu_limit = 0.5, memory_limit = 1e9, container = "r:1",
      time_limit_seconds = 60
    ),
    paste0("^job.batch/test-program-", uuid, " created")
  )
  expect_identical(job, list(job_id = api$made(), batch_id = "Study_1"))
  request <- api$requests()[[1L]]
  expect_identical(paste(request$method, request$path), "POST /submit-job")
  expect_identical(request$headers[["content-type"]], "application/json")
  expect_identical(request$body[order(names(request$body))], list(
    absolute_path = file.path(getwd(), "test_program.R"),
    auto_mount_home = FALSE, batch_group_id = "Study_1", container = "r:1", cpu_limit = 0.5,
    file_path = "test_program.R", job_id = job$job_id, memory_limit = "1000000000",
    program_text = "print('caf\u00e9')\n",
    time_limit_seconds = 60L, user_tag = "t"
  ))
})

test_that("what is not given is the server's to choose", {
  local_program()
  api <- local_scripted_api(makes_jobs("POST /submit-job"))
  suppressMessages(abba_submit_job("test_program.R"))
  body <- api$requests()[[1L]]$body
  expect_false(any(c("container", "mounts", "time_limit_seconds") %in% names(body)))
  withr::local_options(abba.default.container = "r:2")
  suppressMessages(abba_submit_job("test_program.R"))
  expect_identical(api$requests()[[2L]]$body$container, "r:2")
})

test_that("an API that does not know an argument is not asked for it where it is not wanted", {
  local_program()
  api <- local_scripted_api(makes_jobs("POST /submit-job"))
  suppressMessages(abba_submit_job("test_program.R"))
  suppressMessages(abba_submit_job(
    "test_program.R",
    vanilla = TRUE, r_command = "/opt/R/bin/R", queue = "q", disk_limit = "1G"
  ))
  new <- c("vanilla", "r_command", "queue", "disk_limit")
  expect_false(any(new %in% names(api$requests()[[1L]]$body)))
  expect_identical(
    api$requests()[[2L]]$body[new], list(vanilla = TRUE, r_command = "/opt/R/bin/R", queue = "q", disk_limit = "1G")
  )
})

test_that("the name of a Job template is sent, and a template of one's own is refused", {
  local_program()
  withr::local_options(abba.k8s.job.template = list(metadata = list(labels = list(a = "b"))))
  api <- local_scripted_api(makes_jobs("POST /submit-job"))
  suppressMessages(abba_submit_job("test_program.R"))
  expect_false("job_template" %in% names(api$requests()[[1L]]$body))
  suppressMessages(abba_submit_job("test_program.R", job_template = "gpu"))
  expect_identical(api$requests()[[2L]]$body$job_template, "gpu")
  for (own in list(list(metadata = list(labels = list(a = "b"))), 1, c("a", "b"))) {
    expect_error(abba_submit_job("test_program.R", job_template = own), "`job_template`", class = "abba_error_input")
  }
  expect_length(api$requests(), 2L)
})

test_that("mounts are sent as Kubernetes has them", {
  local_program()
  api <- local_scripted_api(makes_jobs("POST /submit-job"))
  mounts <- list(
    volumes = list(
      list(name = "a", nfs = list(server = "192.0.2.1", path = "/a")), list(name = "b", emptyDir = list())
    ),
    volumeMounts = list(list(name = "a", mountPath = "/a", readOnly = TRUE), list(name = "b", mountPath = "/b"))
  )
  suppressMessages(abba_submit_job("test_program.R", mounts = mounts))
  expect_match(api$requests()[[1L]]$text, "\"emptyDir\":{}", fixed = TRUE)
  body <- api$requests()[[1L]]$body
  expect_identical(body$mounts$volumeMounts[[1L]]$readOnly, TRUE)
  # Where it may run in place, its place is said.
  expect_identical(body$file_path, normalizePath("test_program.R"))
})

test_that("a program in a mount need not be here, and may be large", {
  folder <- withr::local_tempdir()
  api <- local_scripted_api(makes_jobs("POST /submit-job"))
  mounts <- list(
    volumes = list(list(name = "a", nfs = list(server = "192.0.2.1", path = "/a"))),
    volumeMounts = list(list(name = "a", mountPath = "/a"))
  )
  suppressMessages(abba_submit_job("/a/not/here.R", mounts = mounts))
  expect_identical(api$requests()[[1L]]$body$file_path, "/a/not/here.R")
  large <- file.path(normalizePath(folder), "large.R")
  writeLines(strrep("#", 300 * 1024), large)
  suppressMessages(abba_submit_job(large, mounts = mounts))
  expect_identical(api$requests()[[2L]]$body$file_path, large)
  for (request in api$requests()) {
    expect_false(any(c("program_text", "program_base64") %in% names(request$body)))
  }
})

# --- Reading ---------------------------------------------------------------------

test_that("ids are asked for in one request, many of them in its body", {
  api <- local_scripted_api(replies(status_json()))
  abba_get_job_status(c("a-1", "b-2"))
  ids <- paste0("test-program-", 1:1000)
  abba_get_job_status(ids)
  abba_get_batch_status("Study_1.tables")
  requests <- api$requests()
  expect_identical(requests[[1L]]$query, "job_id=a-1,b-2")
  expect_identical(requests[[2L]]$method, "POST")
  expect_identical(unlist(requests[[2L]]$body$job_id), ids)
  expect_identical(paste(requests[[3L]]$path, requests[[3L]]$query), "/batch-status batch_id=Study_1.tables")
})

test_that("a log is the very list of the contract, with any text in it", {
  lines <- c("[1] 4", "", "caf\u00e9 \U1F600", "a\tb", "\"quoted\\\"", "trailing ")
  local_scripted_api(replies(log_json(lines)))
  expect_identical(abba_get_job_log(test_job), list(list(job_id = test_job, log = lines)))
  local_scripted_api(replies(log_json(character())))
  expect_identical(abba_get_job_log(test_job), list(list(job_id = test_job, log = character())))
  local_scripted_api(replies(list(list(pod_id = "p-1", log = list("a")))))
  expect_identical(abba_get_batch_log("b"), list(list(pod_id = "p-1", log = "a")))
})

test_that("the pages of logs are joined", {
  log <- function(id, ...) list(job_id = id, log = list(...))
  page <- function(logs, token) replies(logs, headers = c("Abba-Next-Page" = token))
  api <- local_scripted_api(
    page(list(log("a", "1", "2")), "0.2"),
    page(list(log("a", "3"), log("b"), log("a", "1")), "2.1"),
    page(list(log("a", "2", "3")), "3.0"),
    replies(list(log("c", "x")))
  )
  expect_identical(abba_get_job_log(c("a", "b", "a", "c")), list(
    list(job_id = "a", log = c("1", "2", "3")), list(job_id = "b", log = character()),
    list(job_id = "a", log = c("1", "2", "3")), list(job_id = "c", log = "x")
  ))
  expect_identical(
    vapply(api$requests(), `[[`, "", "query"),
    paste0("job_id=a,b,a,c", c("", "&page=0.2", "&page=2.1", "&page=3.0"))
  )
})

test_that("pages that lead nowhere are not followed for ever", {
  for (token in c("0.0", "x", "0.2\\", "-1.0", "7.0", "1.-1")) {
    local_scripted_api(
      replies(log_json("a"), headers = c("Abba-Next-Page" = "0.1")),
      replies(log_json("b"), headers = c("Abba-Next-Page" = token))
    )
    expect_s3_class(raised(abba_get_job_log(test_job)), "abba_error_kubectl")
  }
})

test_that("a page that cannot be read leaves no half of a log", {
  local_scripted_api(
    replies(log_json("a"), headers = c("Abba-Next-Page" = "0.1")),
    replies_html("Bad Gateway", 502L, headers = much_later)
  )
  expect_s3_class(raised(abba_get_job_log(test_job)), "abba_error_unavailable")
})

test_that("answers of another shape are refused", {
  for (body in list(
    list(), list(Asleep = list()), list(Succeeded = list(Jobs = list(list(id = 1)), Description = "x")),
    list(Succeeded = list(Jobs = list(list(id = "a", path = "b")))), list("Succeeded")
  )) {
    local_scripted_api(replies(body))
    error <- raised(abba_get_job_status(test_job))
    expect_identical(class(error)[1:2], c("abba_error_kubectl", "abba_error"))
  }
  for (body in list(
    list(log = "a"), list(list(log = list("a"))), list(list(job_id = "a", log = "text")),
    list(list(job_id = "a", log = list(1)))
  )) {
    local_scripted_api(replies(body))
    expect_s3_class(raised(abba_get_job_log(test_job)), "abba_error_kubectl")
  }
})

# --- Waiting -----------------------------------------------------------------------

test_that("a wait ends when nothing is pending or running, and asks for what differs from the last answer", {
  for (end in c("Succeeded", "Failed", "Unknown")) {
    api <- local_scripted_api(news("Pending"), news("Running"), news(end))
    expect_named(abba_watch_job(test_job), end)
    expect_identical(
      vapply(api$requests(), `[[`, "", "query"),
      paste0("job_id=", test_job, "&wait=", c("0", "20&state=of-Pending", "20&state=of-Running"))
    )
  }
  ids <- paste0("test-program-", 1:1000)
  api <- local_scripted_api(news("Pending", on = "POST /watch-jobs"), news("Failed", on = "POST /watch-jobs"))
  abba_watch_job(ids)
  body <- api$requests()[[2L]]$body
  expect_identical(unlist(body$job_id), ids)
  expect_identical(body[c("state", "wait")], list(state = "of-Pending", wait = 20L))
})

test_that("an API that is away for a while does not end a wait that has begun", {
  local_scripted_api(
    news(on = "*"), replies_html("Bad Gateway", 502L, headers = much_later), cuts(),
    refuses("timeout", 504L, headers = much_later), news("Succeeded", on = "*")
  )
  expect_named(abba_watch_batch("b"), "Succeeded")
})

test_that("a wait that cannot begin or go on says why", {
  local_scripted_api(replies_html("Bad Gateway", 502L, headers = much_later))
  expect_s3_class(raised(abba_watch_job(test_job)), "abba_error_unavailable")
  for (class in c("not_found", "unauthorized", "forbidden")) {
    local_scripted_api(news(), refuses(class, 404L, on = "GET /watch-jobs"))
    error <- raised(abba_watch_job(test_job))
    expect_s3_class(error, paste0("abba_error_", class))
    expect_named(error$status, "Running")
  }
})

test_that("a wait ends at its time limit with the status as it was", {
  api <- local_scripted_api(news())
  for (limit in c(0, 0.3)) {
    error <- raised(abba_watch_job(test_job, timeout_seconds = limit))
    expect_identical(class(error)[1:3], c("abba_error_wait_timeout", "abba_error_timeout", "abba_error"))
    expect_named(error$status, "Running")
  }
  waits <- as.numeric(sub("^.*&wait=([0-9.e-]+).*$", "\\1", vapply(api$requests(), `[[`, "", "query")))
  expect_true(all(waits <= 0.3))
  expect_words({
    tell(abba_watch_job(test_job, timeout_seconds = 0))
    tell(abba_watch_batch("b", timeout_seconds = 0))
    tell(abba_wait_for_job_log(test_job, timeout_seconds = 0))
    tell(abba_wait_for_batch_log("b", timeout_seconds = 0))
  })
})

test_that("news of another shape are not believed", {
  good <- news_json("Succeeded")
  for (bad in list(
    list(), good["status"], utils::modifyList(good, list(ended = "yes")), utils::modifyList(good, list(state = 1)),
    replace(good, "status", list(list(Asleep = list()))), replace(good, "obstacles", list(list(1)))
  )) {
    local_scripted_api(replies(bad))
    expect_identical(class(raised(abba_watch_job(test_job)))[1:2], c("abba_error_kubectl", "abba_error"))
  }
})

test_that("Ctrl-C leaves the jobs alone and says how to come back", {
  # While the answer is waited for.
  api <- local_scripted_api(news(), never_replies("GET /watch-jobs"))
  process <- start_r(c(
    paste0("options(abba.api.address = ", deparse(api$address), ")"),
    paste0("tryCatch(abba_watch_job('", test_job, "'), interrupt = function(cnd) cat('stopped\\n'))")
  ))
  expect_true(wait_until(function() length(api$requests()) >= 2L))
  press_ctrl_c(process)
  ran <- finish(process)
  expect_identical(ran$stdout, "stopped", info = ran$stderr)
  expect_match(ran$stderr, paste0("abba_watch_job(\"", test_job, "\")"), fixed = TRUE)
  expect_match(ran$stderr, paste0("abba_cancel_job(\"", test_job, "\")"), fixed = TRUE)
})

# --- Following ---------------------------------------------------------------------

test_that("a followed log prints each line once and holds back an unfinished one", {
  local_mocked_interval()
  log <- function(...) replies(log_json(c(...)), on = "GET /job-log")
  api <- local_scripted_api(
    news("Pending"), news("Running"), news("Running"), news("Running"), news("Succeeded"),
    log("a", "b", "unfin"), log("unfini"), log("unfinished", "c", "d"), log("a", "b", "unfinished", "c", "d", "e")
  )
  printed <- capture.output(result <- withVisible(abba_follow_job_log(test_job)))
  expect_identical(printed, c("a", "b", "unfinished", "c", "d", "e"))
  expect_false(result$visible)
  expect_identical(result$value[[1L]]$log, printed)
  logs <- Filter(function(request) request$path == "/job-log", api$requests())
  expect_identical(
    vapply(logs, `[[`, "", "query"),
    paste0("job_id=", test_job, c("&page=0.0", "&page=0.2", "&page=0.2", ""))
  )
})

test_that("a log that is followed from now on prints what comes", {
  local_mocked_interval()
  log <- function(...) replies(log_json(c(...)), on = "GET /job-log")
  local_scripted_api(
    news("Running"), news("Running"), news("Failed"),
    log("old", "half"), log("half of it", "new", ""), log("old", "half of it", "new", "last")
  )
  expect_identical(
    capture.output(abba_follow_job_log(test_job, from = "now")), c("half of it", "new", "last")
  )
})

test_that("lines that were missed while a log was followed are not passed over in silence", {
  local_mocked_interval()
  local_scripted_api(
    news("Running"), news("Succeeded"),
    replies(log_json(c("a", "b", "c")), on = "GET /job-log"), replies(log_json(c("x", "y", "z")), on = "GET /job-log")
  )
  expect_warning(capture.output(log <- abba_follow_job_log(test_job)), class = "abba_warning_log_incomplete")
  expect_identical(log[[1L]]$log, c("x", "y", "z"))
})

# --- Finding, explaining, cancelling -------------------------------------------------

test_that("the jobs that are wanted are named to the API", {
  api <- local_scripted_api(replies("[]"))
  jobs <- abba_list_jobs("mike", "b", c("Failed", "Pending"), as.POSIXct("2026-01-01", tz = "UTC"))
  expect_identical(nrow(jobs), 0L)
  expect_identical(
    api$requests()[[1L]]$query, "user=mike&batch_id=b&status=Failed,Pending&since=2026-01-01T00:00:00Z"
  )
})

test_that("an API is asked for verdicts, and says which it could not give", {
  left <- list(list(
    class = "verdict_missing", message = "The log of one job was not read.", advice = "Ask again.", job_id = list("b-2")
  ))
  api <- local_scripted_api(replies(
    list(
      job_json(verdict = "errors", verdict_line = "Error: boom"),
      with_nulls(job_json(job_id = "b-2"), "verdict", "verdict_line")
    ),
    headers = c("Abba-Warnings" = as.character(to_json(left)))
  ))
  warning <- expect_warning(jobs <- abba_list_jobs(verdict = TRUE), class = "abba_warning_verdict_missing")
  expect_identical(warning$job_id, "b-2")
  expect_identical(jobs$verdict, c("errors", NA))
  expect_identical(jobs$verdict_line, c("Error: boom", NA))
  expect_identical(api$requests()[[1L]]$query, "verdict=true")
  local_scripted_api(replies(list(job_json(verdict = 1L, verdict_line = "x"))))
  expect_s3_class(raised(abba_list_jobs(verdict = TRUE)), "abba_error_kubectl")
})

test_that("what ran out of memory is told with the call of this road", {
  again <- 'abba_submit_job("test_program.R", memory_limit = "1024M", container = "r:1")'
  local_scripted_api(replies(c(job_json(reason = "The program needed more memory than its limit."), list(
    submit_again = list(file_path = "test_program.R", memory_limit = "1024M", container = "r:1"),
    memory_limit = "512M", cpu_limit = "1", image = "r:1", attempts = 1L, events = list()
  ))))
  expect_output(print(abba_explain_job(test_job)), paste("For example:", again), fixed = TRUE)
})

test_that("a program behind a link is named to the API as the mount holds it", {
  folder <- normalizePath(withr::local_tempdir("linked-"))
  dir.create(file.path(folder, "real", "study"), recursive = TRUE)
  write_bytes("1\n", file.path(folder, "real", "study", "a.R"))
  file.symlink(file.path(folder, "real"), file.path(folder, "data"))
  api <- local_scripted_api(makes_jobs("*"))
  mounts <- list(
    volumes = list(list(name = "d", nfs = list(server = "192.0.2.1", path = "/d"))),
    volumeMounts = list(list(name = "d", mountPath = file.path(folder, "data")))
  )
  # R's working directory has lost the link.
  withr::local_dir(file.path(folder, "real", "study"))
  suppressMessages(abba_submit_job("a.R", mounts = mounts))
  suppressMessages(abba_submit_job(file.path(folder, "data", "study", "a.R"), mounts = mounts))
  for (request in api$requests()) {
    expect_identical(request$body$file_path, file.path(folder, "data", "study", "a.R"))
  }
})
