# Batches: many programs in one go, their states and their logs.
local_namespace()

test_that("a batch has one id and a row for each program, and each may have arguments of its own", {
  text <- "cat(basename(getwd()), nchar(Sys.getenv('ABBA_BATCH_ID')), '\\n')"
  programs <- local_programs(c("t_1.R", "t_2.R", "t_3.R"), text)
  folder <- withr::local_tempdir()
  Sys.chmod(folder, "0777", use_umask = FALSE)
  before <- Sys.time()
  said <- capture_messages(batch <- abba_submit_k8s_batch_local(
    programs,
    user_tag = c("one", "two", "three"), cpu_limit = list(0.1, "100m", 0.2), memory_limit = c("256M", "128M", "0.25G"),
    mounts = list("", host_path(folder, "/data"), ""), time_limit_seconds = 600
  ))
  expect_s3_class(batch, "abba_batch")
  expect_identical(names(batch), c("job_id", "batch_id", "program", "submitted"))
  expect_identical(batch$program, programs)
  expect_match(batch$batch_id, "^t_1-")
  expect_length(unique(batch$batch_id), 1L)
  expect_length(unique(batch$job_id), 3L)
  expect_s3_class(batch$submitted, "POSIXct")
  expect_true(all(batch$submitted >= before & batch$submitted <= Sys.time()))
  expect_identical(said, paste0("3 jobs created in batch ", batch$batch_id[[1L]], "\n"))

  of_job <- function(path) {
    vapply(batch$job_id, function(id) paste(field("job", id, path), collapse = " "), "", USE.NAMES = FALSE)
  }
  container <- ".spec.template.spec.containers[0]"
  expect_identical(of_job(paste0(container, ".resources.limits.cpu")), c("100m", "100m", "200m"))
  expect_identical(of_job(paste0(container, ".resources.limits.memory")), c("256M", "128M", "250M"))
  expect_identical(of_job(".metadata.annotations.abba/user-tag"), c("one", "two", "three"))
  expect_identical(of_job(".spec.template.spec.activeDeadlineSeconds"), rep("600", 3L))
  expect_identical(grepl("/data", of_job(paste0(container, ".volumeMounts[*].mountPath"))), c(FALSE, TRUE, FALSE))

  status <- abba_watch_k8s_batch_local(batch$batch_id[[1L]])
  expect_identical(names(status), "Succeeded")
  logs <- abba_get_k8s_batch_log_local(batch$batch_id[[1L]])
  expect_identical(unique(lapply(logs, names)), list(c("pod_id", "log")))
  pods <- vapply(logs, `[[`, "", "pod_id")
  expect_setequal(pods, vapply(batch$job_id, pods_of, ""))
  # A name of a batch, "-" and a uuid.
  expect_identical(unique(vapply(logs, `[[`, "", "log")), paste("work", nchar(batch$batch_id[[1L]]), ""))
})

test_that("a mistake in one of the programs or arguments submits nothing", {
  programs <- local_programs(c("a.R", "b.R", "c.R"), "1")
  before <- jobs_in()
  expect_abba_error(submit_batch(c(programs, "/no/such/program.R")), "input", "/no/such/program.R")
  expect_abba_error(submit_batch(programs, memory_limit = c("256M", "256M", "256m")), "input", "`memory_limit`")
  expect_abba_error(
    submit_batch(programs, cpu_limit = c(0.1, 0.2)), "input", "`cpu_limit` must have one element, or one for each"
  )
  expect_abba_error(submit_batch(character()), "input", "`file_paths` must name at least one program")
  expect_identical(jobs_in(), before)
})

test_that("the state of a batch is grouped, with the jobs that have no pod", {
  local_namespace()
  gate <- local_gate()
  programs <- local_programs(c("waits.R", "ends.R", "fails.R"), c(
    "name <- Sys.getenv('ABBA_JOB_ID')", "if (startsWith(name, 'fails')) stop('no')",
    "if (startsWith(name, 'waits')) {", gate$wait, "}"
  ))
  batch <- submit_batch(programs, batch_group_id = "Study_1.tables", mounts = gate$mounts)
  wanted <- c("Running", "Succeeded", "Failed")
  wait_for_states(batch$job_id, function(states) identical(unname(states), wanted))
  # From here on no pod is made.
  create_quota("pods=1")
  late <- submit_batch(local_program("1", "late.R"), batch_group_id = "Study_1.tables")
  other <- submit(local_program("1", "other.R"))

  status <- abba_get_k8s_batch_status_local("Study_1.tables")
  expect_setequal(names(status), c(wanted, "Pending"))
  ids <- lapply(status, function(group) vapply(group$Jobs, `[[`, "", "id"))
  expect_identical(ids$Pending, late$job_id)
  pods <- vapply(batch$job_id, pods_of, "", USE.NAMES = FALSE)
  expect_identical(ids[wanted], list(Running = pods[[1L]], Succeeded = pods[[2L]], Failed = pods[[3L]]))
  expect_identical(status$Pending$Jobs[[1L]]$path, late$program)

  # The log of what has none says why.
  logs <- abba_get_k8s_batch_log_local("Study_1.tables")
  expect_setequal(vapply(logs, `[[`, "", "pod_id"), c(pods, late$job_id))
  of <- function(pod) Filter(function(log) log$pod_id == pod, logs)[[1L]]$log
  expect_match(of(pods[[3L]]), "Error: no", all = FALSE)
  expect_match(of(late$job_id)[[1L]], "^abba: The program has not started")
  gate$open()
  for (verb in list(abba_get_k8s_batch_status_local, abba_get_k8s_batch_log_local)) {
    expect_abba_error(verb("No_such_batch"), "not_found", "There is no batch \"No_such_batch\"")
  }
})

test_that("a batch still has the jobs that have succeeded and whose pods were removed", {
  batch <- submit_batch(local_programs(c("a.R", "b.R"), "1"))
  wait_for_state(batch$job_id, "Succeeded")
  job_is_complete <- function() {
    any(grepl("Complete", field("job", batch$job_id[[1L]], ".status.conditions[*].type")))
  }
  wait_until(job_is_complete, what = "the job to be complete")
  # As when the node that it ran on is taken out of the cluster.
  kubectl_lines("delete", "pod", pods_of(batch$job_id[[1L]]))
  status <- abba_get_k8s_batch_status_local(batch$batch_id[[1L]])
  expect_identical(names(status), "Succeeded")
  expect_setequal(
    vapply(status$Succeeded$Jobs, `[[`, "", "id"), c(batch$job_id[[1L]], pods_of(batch$job_id[[2L]]))
  )
})

test_that("where a quota stops a batch midway the rest can be submitted later, and nothing twice", {
  local_namespace()
  programs <- local_programs(paste0("p_", 1:5, ".R"), "cat('ran\\n')")
  create_quota_of_jobs(2)
  error <- expect_abba_error(
    submit_batch(programs), "batch_incomplete", "exceeded quota", "The others run.", "in place of `file_paths`"
  )
  expect_s3_class(error, "abba_error_kubectl")
  batch <- error$batch
  expect_s3_class(batch, "abba_batch")
  expect_identical(batch$program, programs)
  done <- !is.na(batch$submitted)
  expect_identical(sum(done), 2L)
  expect_false(anyNA(batch$job_id))
  expect_setequal(jobs_in(), batch$job_id[done])
  expect_identical(is.na(batch$reason), done)
  expect_match(batch$reason[!done], "exceeded quota")

  delete_quota_of_jobs()
  again <- submit_batch(batch)
  expect_identical(names(again), c("job_id", "batch_id", "program", "submitted"))
  expect_identical(again$job_id[done], batch$job_id[done])
  expect_identical(again$submitted[done], batch$submitted[done])
  expect_identical(again$batch_id, batch$batch_id)
  expect_false(anyNA(again$submitted))
  expect_setequal(jobs_in(), again$job_id)
  # All of it once more: there is nothing left to do.
  expect_identical(submit_batch(again), again)
  expect_setequal(jobs_in(), again$job_id)
  expect_identical(names(abba_watch_k8s_batch_local(again$batch_id[[1L]])), "Succeeded")
})

test_that("a program that the server refuses keeps no other from running", {
  programs <- local_programs(c("good.R", "bad.R", "good_too.R"), "1")
  bad <- list(
    volumes = list(list(name = "x", emptyDirectory = list())), volumeMounts = list(list(name = "x", mountPath = "/x"))
  )
  error <- expect_abba_error(
    submit_batch(programs, mounts = list("", bad, "")), "batch_incomplete",
    "1 of 3 programs could not be submitted", "bad.R", "emptyDirectory"
  )
  expect_identical(is.na(error$batch$submitted), c(FALSE, TRUE, FALSE))
  # The mended arguments for the one that is left.
  batch <- submit_batch(error$batch, mounts = list("", "", ""))
  expect_identical(batch$job_id[-2L], error$batch$job_id[-2L])
  expect_identical(unname(wait_for_end(batch$job_id)), rep("Succeeded", 3L))
})

test_that("a job of which it was not known whether it was created is not created twice", {
  local_namespace()
  programs <- local_programs(c("a.R", "b.R", "c.R"), "cat('ran\\n')")
  local({
    # What is created for b is created, but nobody hears of it, and nobody can ask.
    local_kubectl(c(
      "if [ \"$1\" = create ] && grep -q 'abba/program\":\"b.R' \"$5\"; then",
      "  \"$real\" \"$@\" >/dev/null 2>&1",
      "  echo 'Unable to connect to the server: EOF' >&2; exit 1",
      "fi",
      "case $* in *get*/jobs/b-*) echo 'Unable to connect to the server: EOF' >&2; exit 1;; esac",
      "exec \"$real\" \"$@\""
    ))
    error <- expect_abba_error(submit_batch(programs), "batch_incomplete", "1 of 3 programs")
    error <<- error
  })
  expect_identical(is.na(error$batch$submitted), c(FALSE, TRUE, FALSE))
  expect_false(anyNA(error$batch$job_id))
  expect_setequal(jobs_in(), error$batch$job_id)
  batch <- submit_batch(error$batch)
  expect_identical(batch$job_id, error$batch$job_id)
  expect_setequal(jobs_in(), batch$job_id)
})
