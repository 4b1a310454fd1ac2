# Jobs that a controller has archived, and that the cluster has forgotten since.
namespace <- local_namespace()

test_that("jobs that were removed are answered for from the archive, whoever was killed while they were archived", {
  folder <- withr::local_tempdir()
  programs <- c(
    local_program("cat('one\\n', rawToChar(as.raw(0xe9)), '\\n')\nwarning('careful')", "t_ae.R"),
    local_program("cat('two\\n')\nstop('no')", "t_dm.R")
  )
  controller <- function(folder) abba_run_controller_local(archive = folder)
  killed <- local_background(controller, folder)
  batch <- suppressMessages(abba_submit_k8s_batch_local(programs))
  ids <- batch$job_id
  batch_id <- batch$batch_id[[1L]]
  abba_watch_k8s_batch_local(batch_id)
  # It may be anywhere: before the first job, in the midst, or done.
  killed$kill()
  local_background(controller, folder)
  local_background(controller, folder)
  are_archived <- function() setequal(abba_archive(folder)$job_id, ids)
  wait_until(are_archived, 180, what = "both jobs in the archive")

  answers <- function() {
    list(
      abba_get_k8s_batch_status_local(batch_id), abba_get_k8s_job_status_local(rev(ids)),
      abba_get_k8s_batch_log_local(batch_id), abba_get_k8s_job_log_local(rev(ids)),
      abba_list_k8s_jobs_local(batch_id = batch_id, verdict = TRUE), abba_list_k8s_jobs_local(status = "Failed")
    )
  }
  explained <- function() {
    unclass(abba_explain_k8s_job_local(ids[[2L]]))[c("status", "reason", "exit_code", "node", "verdict", "last_lines")]
  }
  from_cluster <- answers()
  explained_before <- explained()
  # With their pods: of those that are on their way out the logs can be read a moment longer.
  kubectl("--namespace", the_namespace(), "delete", "jobs", "--all", "--cascade=foreground")
  expect_identical(nrow(abba_list_k8s_jobs_local()), 0L)
  expect_error(abba_get_k8s_job_log_local(ids), class = "abba_error_not_found")

  withr::local_options(abba.archive = folder)
  expect_identical(answers(), from_cluster)
  expect_identical(explained(), explained_before)
  month <- file.path(folder, the_namespace(), unique(format(abba_archive()$submitted, "%Y-%m")))
  checked <- do.call(rbind, lapply(month, abba_verify))
  expect_identical(checked$result[checked$role == "log"], c("ok", "ok"))
  # In another namespace of the same cluster they are not known.
  other <- local_namespace()
  expect_identical(nrow(abba_list_k8s_jobs_local()), 0L)
  expect_error(abba_get_k8s_job_status_local(ids), "one of another namespace", class = "abba_error_not_found")
})

test_that("a log of 30 MB is archived whole, though its node has put most of it aside and a controller was killed", {
  folder <- withr::local_tempdir()
  gate <- local_gate()
  path <- local_program(c(
    gate$wait_first,
    "lines <- function(part) sprintf('%8d %s', part * 1e3 + 1:1e3, strrep('x', 990))",
    "print_part <- function(parts) for (part in parts) writeLines(lines(part))",
    "print_part(0:14)",
    gate$has_written,
    "while (!file.exists('/gate/open')) { cat('tick\\n'); Sys.sleep(0.2) }",
    "print_part(15:29)"
  ))
  controller <- function(folder) abba_run_controller_local(archive = folder)
  parts <- function() list.files(file.path(folder, ".part"), recursive = TRUE, full.names = TRUE)
  # When the program has printed the last line that a controller has.
  newest <- function(part) {
    file <- file(part, "rb")
    on.exit(close(file))
    seek(file, max(0, file.size(part) - 4000))
    # The last may be written just now.
    last <- utils::tail(readLines(file, warn = FALSE), 2L)[[1L]]
    as.POSIXct(sub("[.].*$", "", last), format = "%Y-%m-%dT%H:%M:%S", tz = "UTC")
  }
  killed <- local_background(controller, folder)
  id <- submit(path, mounts = gate$mounts, cpu_limit = 1)
  wait_until(function() length(parts()) == 1L && file.size(parts()) > 0, 180, what = "the log to be followed")
  wait_for_new_log(id, gate)
  put_aside <- Sys.time()
  first <- parts()
  wait_until(function() newest(first) > put_aside, 180, what = "the controller to go on with the new log")
  killed$kill()
  killed_at <- Sys.time()
  local_background(controller, folder)
  goes_on <- function() length(parts()) == 2L && newest(setdiff(parts(), first)) > killed_at
  wait_until(goes_on, 180, what = "another controller to go on")
  gate$open()
  expect_identical(wait_for_end(id), "Succeeded")
  is_archived <- function() length(parts()) == 0L && id %in% abba_archive(folder)$job_id
  wait_until(is_archived, 480, what = "the job to be archived for good")

  archived <- abba_archive(folder)
  archived <- archived[archived$job_id == id, ]
  log <- readLines(archived$log)
  expect_identical(log[log != "tick"], sprintf("%8d %s", 1:3e4, strrep("x", 990)))
  expect_false(any(grepl("abba_notes", readLines(archived$record))))
})

test_that("of a log that is put aside again and again while it is printed nothing is missing without a word", {
  folder <- withr::local_tempdir()
  path <- local_program(c(
    "lines <- function(part) sprintf('%8d %s', part * 1e3 + 1:1e3, strrep('x', 990))",
    "for (part in 0:59) { writeLines(lines(part)); Sys.sleep(0.2) }"
  ))
  local_background(function(folder) abba_run_controller_local(archive = folder), folder)
  id <- submit(path, cpu_limit = 1)
  expect_identical(wait_for_end(id), "Succeeded")
  wait_until(
    function() file.exists(file.path(folder, "index.sqlite")) && id %in% abba_archive(folder)$job_id, 180,
    what = "the job in the archive"
  )

  archived <- abba_archive(folder)
  archived <- archived[archived$job_id == id, ]
  log <- readLines(archived$log)
  expect_identical(utils::tail(log, 1L), sprintf("%8d %s", 60000L, strrep("x", 990)))
  is_whole <- identical(log, sprintf("%8d %s", 1:6e4, strrep("x", 990)))
  # Where its node has left something out it depends on what else it does.
  expect_true(is_whole || any(grepl("of the log of job .* missing", readLines(archived$record))))
})

test_that("a server archives, and answers for jobs that were removed, each caller for their own", {
  folder <- withr::local_tempdir()
  rules <- list(list(apiGroups = "", resources = "namespaces", resourceNames = the_namespace(), verbs = "get"))
  server <- local_api_server(
    abba.archive = folder, abba.api.archive = TRUE, abba.api.operators = "sys", users = c("daemon", "games", "sys"),
    rules = c(documented_role, rules)
  )
  as <- function(user, env = parent.frame()) {
    withr::local_options(abba.api.address = server$address, abba.api.key = server$keys[[user]], .local_envir = env)
  }
  as("daemon")
  job <- suppressMessages(abba_submit_job(local_program("cat('one\\n')\nstop('no')", "t_ae.R")))
  id <- job$job_id
  abba_watch_job(id)
  archived <- function() file.exists(file.path(folder, "index.sqlite")) && id %in% abba_archive(folder)$job_id
  wait_until(archived, 180, what = "the job in the archive")
  # There may be jobs of others that it has archived, too.
  counted <- function() grepl("abba_archived_jobs_total [1-9]", request(server, "metrics", user = "daemon")$text)
  wait_until(counted, what = "the server to say so")
  answers <- function() {
    explained <- unclass(abba_explain_job(id))
    list(
      abba_get_job_status(id), abba_get_batch_status(job$batch_id), abba_get_job_log(id),
      abba_watch_batch(job$batch_id), abba_list_jobs(verdict = TRUE),
      explained[c("status", "reason", "advice", "verdict", "last_lines", "node")]
    )
  }
  from_cluster <- answers()
  kubectl("--namespace", the_namespace(), "delete", "job", id)
  is_gone <- function() identical(request(server, "jobs?archived=false", user = "daemon")$text, "[]")
  wait_until(is_gone, what = "the server to see that the job is gone")
  expect_identical(answers(), from_cluster)
  expect_identical(abba_explain_job(id)$archive, "of the abba server")
  expect_error(abba_cancel_job(id), "is archived", class = "abba_error_not_found")
  saved <- abba_save_batch(job$batch_id, withr::local_tempdir())
  expect_identical(readLines(saved$log)[[1L]], "one")
  as("games")
  expect_identical(nrow(abba_list_jobs()), 0L)
  expect_error(abba_get_job_log(id), "You have no job", class = "abba_error_not_found")
  as("sys")
  expect_true(id %in% abba_list_jobs()$job_id)
})
