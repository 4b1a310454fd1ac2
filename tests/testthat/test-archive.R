# Jobs of a namespace whose uid is `uid`, all of batch "b-1".
#
# states: of their pods, in the order of submission, by the names of the programs; owners: callers of a server whose
# they are. Gives back their ids.
local_jobs <- function(states, uid = "uid-1", log = charToRaw("[1] 4\nla \xe9\r\n"), owners = NULL, ...,
                       env = parent.frame()) {
  programs <- names(states)
  ids <- sprintf("%s-fbc3131d-a850-4081-8224-c06ef3282%03d", programs, match(programs, all_programs))
  jobs <- Map(function(id, program) {
    # Two are of one second.
    second <- (match(program, all_programs) + 1L) %/% 2L
    path <- paste0(program, ".R")
    full_job(
      id, path,
      created = sprintf("2026-01-01T00:00:%02dZ", second),
      arguments = list(given_path = path, expanded_path = paste0("/s/", path), container = "r:1"),
      annotations = if (program %in% names(owners)) list("abba/owner" = owners[[program]])
    )
  }, ids, programs)
  pods <- Map(function(id, program, state) {
    exit_code <- state$terminated$exitCode
    phase <- if (is.null(exit_code)) "Running" else if (exit_code == 0L) "Succeeded" else "Failed"
    full_pod(id, state, phase, path = paste0(program, ".R"))
  }, ids, programs, states)
  do.call(local_scripted_kubectl, c(list(...), list(
    runs("sleep 30", on = "*watch=1*"),
    says(to_json(list(metadata = list(name = "n", uid = uid))), on = "*/namespaces/n"),
    fails("Error from server (Forbidden): leases is forbidden\n", on = "*/leases*")
  ), unlist(Map(answers_about_one, ids, jobs, pods, MoreArgs = list(log)), recursive = FALSE, use.names = FALSE), list(
    says(to_json(list(gitVersion = "v1.34.1")), on = "*/version*"),
    says(list_of(), on = "*/events*"),
    do.call(pods_of, unname(pods)), do.call(jobs_of, unname(jobs)),
    env = env
  )))
  ids
}
# What a cluster says that is asked for one job alone.
answers_about_one <- function(id, job, pod, log) {
  list(
    says(c(charToRaw(paste0("abba-log-of ", id, "\n")), log), on = paste0("*", id, "*/log*")),
    pods_of(pod, on = paste0("*/pods*28", id, "%29*")), says(list_of(job), on = paste0("*/jobs*28", id, "%29*"))
  )
}
all_programs <- c("t-ae", "t-dm", "t-vs", "t-lb")

local_archive <- function(env = parent.frame()) {
  folder <- withr::local_tempdir(.local_envir = env)
  withr::local_options(abba.archive = folder, .local_envir = env)
  for (name in c("archive_delay", "index_patience")) local_function(name, 0L, asNamespace("abba"), env)
  local_function("archive_pauses", c(0, 0), asNamespace("abba"), env)
  folder
}

new_archiver <- function(folder = getOption("abba.archive")) {
  abba:::archiver(folder, abba:::settings("n"), rlang::current_env())
}

# What a controller is told of jobs that have ended.
told_ended <- function(ids, status = "Succeeded") lapply(ids, function(id) list(id, paste0(id, "-2dbr8"), status))

# Archives jobs, all that is due; gives back what is said.
archive_all <- function(ids, archiver = new_archiver(), status = "Succeeded", steps = 4L) {
  archiver$ended(told_ended(ids, status))
  unlist(lapply(seq_len(steps), function(step) archiver$step()))
}

ask <- function(verb, ...) eval(rlang::call2(verb, ..., namespace = "n"))

answers <- function(ids) {
  list(
    ask("abba_get_k8s_job_status_local", ids), ask("abba_get_k8s_batch_status_local", "b-1"),
    ask("abba_get_k8s_job_log_local", rev(ids)), ask("abba_get_k8s_batch_log_local", "b-1"),
    ask("abba_list_k8s_jobs_local"), ask("abba_list_k8s_jobs_local", status = "Failed", user = "mike", verdict = TRUE),
    ask("abba_list_k8s_jobs_local", since = as.POSIXct("2026-01-01 00:00:01", tz = "UTC"), batch_id = "b-1")
  )
}

test_that("a controller archives what has ended, and answers are the same when the cluster has forgotten it", {
  folder <- local_archive()
  ids <- local_jobs(list("t-ae" = ended(), "t-dm" = ended(3L)))
  said <- controller_says("Archived: ")
  expect_match(said, "Archived: 2 jobs", fixed = TRUE, all = FALSE)
  files <- list.files(folder, recursive = TRUE)
  expect_setequal(files, c("index.sqlite", paste0("n/2026-01/", ids, ".log"), paste0("n/2026-01/", ids, ".json")))
  log <- bytes_of_file(file.path(folder, "n/2026-01", paste0(ids[[1L]], ".log")))
  expect_identical(log, charToRaw("[1] 4\nla \xe9\r\n"))
  expect_identical(unique(abba_verify(file.path(folder, "n", "2026-01"))$result), c("unsigned", "ok"))

  withr::with_options(list(abba.archive = NULL), {
    from_cluster <- answers(ids)
    explained <- abba_explain_k8s_job_local(ids[[2L]], namespace = "n")
  })
  expect_identical(answers(ids), from_cluster)
  local_jobs(list())
  expect_identical(answers(ids), from_cluster)
  forgotten <- abba_explain_k8s_job_local(ids[[2L]], namespace = "n")
  same <- c(
    "job_id", "batch_id", "program", "user", "status", "submitted", "started", "finished", "exit_code", "reason",
    "details", "advice", "pod_id", "node", "cpu_limit", "memory_limit", "attempts", "events", "verdict", "verdict_line",
    "last_lines"
  )
  expect_identical(forgotten[same], explained[same])
  expect_identical(forgotten$archive, file.path(folder, "n/2026-01", paste0(ids[[2L]], ".json")))
  jobs <- abba_archive()
  expect_identical(jobs$job_id, ids)
  expect_identical(unique(jobs$namespace_uid), "uid-1")
  expect_true(all(file.exists(jobs$log, jobs$record)))
})

test_that("the cluster is the truth while it has a job, and both are put together in order", {
  local_archive()
  archived <- local_jobs(list("t-ae" = ended(), "t-dm" = ended(), "t-vs" = ended()))
  expect_identical(archive_all(archived), "Archived: 3 jobs")
  # One runs again, as after the loss of its node, and another one is new.
  ids <- local_jobs(list("t-dm" = running(), "t-lb" = ended(1L)))
  all <- c(archived, ids[[2L]])
  jobs <- ask("abba_list_k8s_jobs_local")
  expect_identical(jobs$job_id, all[c(4L, 3L, 1L, 2L)])
  expect_identical(jobs$status, c("Failed", "Succeeded", "Succeeded", "Running"))
  expect_identical(ask("abba_list_k8s_jobs_local", status = "Succeeded")$job_id, archived[c(3L, 1L)])
  ids_in <- function(status) lapply(status, function(group) vapply(group$Jobs, `[[`, "", "id"))
  pods <- paste0(all, "-2dbr8")
  expected <- list(Succeeded = pods[c(1L, 3L)], Running = pods[[2L]], Failed = pods[[4L]])
  expect_identical(ids_in(ask("abba_get_k8s_batch_status_local", "b-1")), expected)
  expect_identical(ids_in(ask("abba_get_k8s_job_status_local", all)), expected)
  expect_identical(vapply(ask("abba_get_k8s_batch_log_local", "b-1"), `[[`, "", "pod_id"), pods[c(1L, 2L, 4L, 3L)])
})

test_that("a forgotten batch is waited for at once, saved, drawn and run again from the archive", {
  local_archive()
  ids <- local_jobs(list("t-ae" = ended(), "t-dm" = ended(3L)))
  saved <- function() {
    folder <- withr::local_tempdir()
    rows <- abba_save_k8s_batch_local("b-1", folder, namespace = "n")
    files <- lapply(c(rows$log, rows$record), bytes_of_file)
    record <- function(path) sub("\"recorded\": \"[^\"]*\"", "", rawToChar(bytes_of_file(path)))
    list(rows[c("job_id", "program", "status", "notes")], lapply(rows$log, bytes_of_file), lapply(rows$record, record))
  }
  before <- withr::with_options(list(abba.archive = NULL), {
    list(status = ask("abba_get_k8s_batch_status_local", "b-1"), saved = saved())
  })
  archive_all(ids[[1L]])
  archive_all(ids[[2L]], status = "Failed")
  local_jobs(list())
  expect_identical(ask("abba_watch_k8s_batch_local", "b-1"), before$status)
  expect_identical(ask("abba_watch_k8s_job_local", ids), before$status)
  expect_identical(saved(), before$saved)
  expect_error(ask("abba_watch_k8s_job_local", c(ids, "x-1")), class = "abba_error_not_found")

  batch <- abba_list_k8s_jobs_local(batch_id = "b-1", namespace = "n")[c("job_id", "batch_id", "program", "submitted")]
  class(batch) <- c("abba_batch", "data.frame")
  expect_identical(summary(batch, namespace = "n")$jobs, 2L)

  # One is there still.
  local_jobs(list("t-dm" = ended(3L)))
  expect_identical(ask("abba_watch_k8s_job_local", ids), before$status)
  expect_identical(ask("abba_watch_k8s_batch_local", "b-1"), before$status)

  # The program is read where it was, as of a batch that the cluster has.
  local_jobs(list())
  expect_error(ask("abba_rerun_k8s_batch_local", "b-1"), "t-dm.R", class = "abba_error_input", fixed = TRUE)
  road <- abba:::road_kubectl("n", environment())
  kept <- road$kept_submissions("b-1", "Failed")
  expect_identical(vapply(kept, `[[`, "", "job_id"), ids[[2L]])
  expect_identical(kept[[1L]][c("ending", "in_place", "file_path", "read_from")], list(
    ending = FALSE, in_place = FALSE, file_path = "t-dm.R", read_from = "/s/t-dm.R"
  ))
  expect_identical(kept[[1L]]$arguments$container, "r:1")

  # A changed log is not saved as the one that was recorded.
  jobs <- abba_archive()
  cat("more\n", file = jobs$log[jobs$job_id == ids[[2L]]], append = TRUE)
  expect_error(saved(), "is not the one that was recorded", class = "abba_error")
})

test_that("of jobs that are removed while they are waited for, those that the archive lacks are an error", {
  local_archive()
  archived <- local_jobs(list("t-ae" = ended()))
  archive_all(archived)
  ids <- c(archived, sub("t-ae", "t-dm", archived))
  # A cluster that has these jobs until a watch is open.
  local_removed_jobs <- function(ids, env = parent.frame()) {
    until_watched <- function(objects, on) {
      script <- c("[ ! -e \"$base/watched\" ] || exec echo '{\"items\": []}'", "exec cat \"$answer.out\"")
      new_answer(script, stdout = do.call(list_of, objects), on = on)
    }
    pods <- lapply(ids, full_pod, running())
    removed <- paste0(vapply(pods, change, "", type = "DELETED"), "\n", collapse = "")
    local_scripted_kubectl(
      new_answer(c(": > \"$base/watched\"", "exec cat \"$answer.out\""), stdout = removed, on = "*watch=1*"),
      says(to_json(list(metadata = list(name = "n", uid = "uid-1"))), on = "*/namespaces/n"),
      until_watched(pods, "*/pods*"), until_watched(lapply(ids, full_job), "*/jobs*"),
      env = env
    )
  }
  local_removed_jobs(ids)
  without <- withr::with_options(list(abba.archive = NULL), raised(ask("abba_watch_k8s_batch_local", "b-1")))
  expect_s3_class(without, "abba_error_not_found")
  expect_identical(without$job_id, ids)
  for (wait in list(list("abba_watch_k8s_batch_local", "b-1"), list("abba_watch_k8s_job_local", ids))) {
    local_removed_jobs(ids)
    error <- raised(do.call(ask, wait))
    expect_s3_class(error, "abba_error_not_found")
    expect_identical(error$job_id, ids[[2L]])
    expect_identical(error$status, without$status)
  }
  local_removed_jobs(archived)
  expect_named(ask("abba_watch_k8s_batch_local", "b-1"), "Succeeded")
})

test_that("jobs of another namespace or cluster are never taken for one's own", {
  local_archive()
  ids <- local_jobs(list("t-ae" = ended()))
  archive_all(ids)
  local_jobs(list(), uid = "uid-2")
  expect_identical(nrow(ask("abba_list_k8s_jobs_local")), 0L)
  expect_error(ask("abba_get_k8s_batch_status_local", "b-1"), class = "abba_error_not_found")
  for (verb in c("abba_get_k8s_job_status_local", "abba_get_k8s_job_log_local", "abba_explain_k8s_job_local")) {
    error <- expect_error(ask(verb, ids), class = "abba_error_not_found")
    expect_match(conditionMessage(error), "one of another namespace, \"n\" (uid-1)", fixed = TRUE)
    error <- expect_error(ask(verb, "x-1"), class = "abba_error_not_found")
    expect_match(conditionMessage(error), "The archive does not have it, either", fixed = TRUE)
  }
  expect_identical(abba_archive(namespace = "n")$job_id, ids)
  expect_identical(nrow(abba_archive(namespace = "m")), 0L)
})

test_that("an archiver that is killed at any moment leaves nothing that the next one does not mend", {
  ids <- local_jobs(list("t-ae" = ended(), "t-dm" = ended()))
  kill <- function(name, when) {
    body <- if (when == "before") "die()" else "{ value <- was(...); die(); value }"
    sprintf("was <- abba:::%s; put('%s', function(...) %s)", name, name, body)
  }
  for (point in list(
    c("index_version_of", "before"), c("with_index", "after"), c("in_index", "after"), c("core_archive", "before"),
    c("core_archive", "after"), c("put_into_index", "after")
  )) {
    folder <- local_archive()
    killed <- run_r(c(
      "die <- function() { tools::pskill(Sys.getpid(), tools::SIGKILL); Sys.sleep(60) }",
      "put <- function(name, value) assignInNamespace(name, value, 'abba')",
      "put('archive_delay', 0)",
      paste0("archiver <- abba:::archiver(", deparse(folder), ", abba:::settings('n'), environment())"),
      paste0("archiver$ended(", paste(deparse(told_ended(ids)), collapse = ""), ")"),
      do.call(kill, as.list(point)),
      "for (step in 1:4) archiver$step()"
    ))
    expect_false(identical(killed$exit_status, 0L), label = toString(point))
    # What the death in the midst of a file leaves.
    unfinished <- file.path(folder, c("n", "."), c(".abba-1.tmp", ".abba-2.tmp"))
    dir.create(file.path(folder, "n"), showWarnings = FALSE)
    file.create(unfinished)
    Sys.setFileTime(unfinished[[1L]], Sys.time() - 2 * 24 * 3600)
    archive_all(ids)
    expect_identical(abba_archive(folder)$job_id, ids, label = toString(point))
    files <- paste0("2026-01/", rep(ids, 2L), rep(c(".log", ".json"), each = 2L))
    expect_setequal(list.files(file.path(folder, "n"), recursive = TRUE), files)
    checked <- abba_verify(file.path(folder, "n", "2026-01"))
    expect_identical(unique(checked$result[checked$role == "log"]), "ok")
    expect_identical(file.exists(unfinished), c(FALSE, TRUE))
  }
})

test_that("what is archived is not read again, and what the record says does not change", {
  folder <- local_archive()
  ids <- local_jobs(list("t-ae" = ended(), "t-dm" = ended()))
  expect_identical(archive_all(ids), "Archived: 2 jobs")
  files <- list.files(folder, recursive = TRUE, full.names = TRUE)
  before <- lapply(files, bytes_of_file)
  kubectl <- local_scripted_kubectl(says(to_json(list(metadata = list(uid = "uid-1"))), on = "*/namespaces/n"))
  expect_null(archive_all(ids))
  expect_identical(kubectl$count(), 1L)
  expect_identical(lapply(files, bytes_of_file), before)
})

test_that("an archive that cannot be written is told, and is written when it can be", {
  folder <- local_archive()
  ids <- local_jobs(list("t-ae" = ended()))
  writeLines("", file.path(folder, "n"))
  archiver <- new_archiver()
  said <- archive_all(ids, archiver, steps = 2L)
  expect_match(said, "The archive cannot be written: .*cannot be made.*It is tried again", all = TRUE)
  expect_identical(archiver$stand()[c("archived", "due")], list(archived = 0, due = 1L))
  expect_match(archiver$stand()$trouble, "The archive cannot be written", fixed = TRUE)
  unlink(file.path(folder, "n"))
  # It waits a minute with a job that could not be archived.
  archiver$ended(told_ended(ids))
  expect_identical(archiver$step(), "Archived: 1 job")
  expect_identical(nrow(abba_archive()), 1L)
  expect_identical(archiver$stand(), list(archived = 1, due = 0L, trouble = NULL))

  # The index cannot be written.
  folder <- local_archive()
  dir.create(file.path(folder, "index.sqlite"))
  archiver <- new_archiver()
  expect_match(archive_all(ids, archiver, steps = 2L), "The archive cannot be written: index.sqlite: ", fixed = TRUE)
  expect_error(ask("abba_list_k8s_jobs_local"), class = "abba_error_archive")
  unlink(file.path(folder, "index.sqlite"), recursive = TRUE)
  said <- unlist(lapply(1:3, function(step) archiver$step()))
  expect_identical(said, "Archived: 1 job")
  expect_identical(nrow(abba_archive()), 1L)
})

test_that("two controllers on one archive do no harm", {
  local_archive()
  ids <- local_jobs(list("t-ae" = ended(), "t-dm" = ended(), "t-vs" = ended()))
  archivers <- list(new_archiver(), new_archiver())
  lapply(archivers, function(archiver) archiver$ended(told_ended(ids)))
  said <- unlist(lapply(1:3, function(step) lapply(archivers, function(archiver) archiver$step())))
  expect_identical(said, "Archived: 3 jobs")
  # While one is at it, the other one waits.
  ids <- local_jobs(list("t-lb" = ended()))
  other <- abba:::connect_index(getOption("abba.archive"), RSQLite::SQLITE_RW)
  withr::defer(DBI::dbDisconnect(other))
  DBI::dbExecute(other, "BEGIN IMMEDIATE")
  archivers[[1L]]$ended(told_ended(ids))
  local_function("archive_pauses", c(0, 0), asNamespace("abba"), environment())
  expect_null(archivers[[1L]]$step())
  # Who reads does not.
  expect_identical(nrow(abba_archive()), 3L)
  DBI::dbExecute(other, "ROLLBACK")
  expect_identical(archivers[[1L]]$step(), "Archived: 1 job")
  expect_identical(nrow(abba_archive()), 4L)
})

test_that("an index that is missing or damaged is made again from the files", {
  folder <- local_archive()
  ids <- local_jobs(list("t-ae" = ended(), "t-dm" = ended(3L)))
  archive_all(ids[[1L]])
  archive_all(ids[[2L]], status = "Failed")
  before <- abba_archive()
  index <- file.path(folder, "index.sqlite")
  # The first page, which is read to begin with, is as it was.
  in_the_middle <- function(path) {
    bytes <- bytes_of_file(path)
    bytes[4097:length(bytes)] <- as.raw(255L)
    writeBin(bytes, path)
  }
  damages <- list(unlink, function(path) writeLines(strrep("no database", 1000L), path), in_the_middle)
  for (damage in damages) {
    damage(index)
    expect_error(ask("abba_list_k8s_jobs_local"), class = "abba_error_archive")
    expect_identical(new_archiver()$step(), "The index has got what it did not have: 2 jobs")
    expect_identical(abba_archive(), before)
  }
  # A job whose name its file does not have is none.
  record <- before$record[[1L]]
  file.copy(record, file.path(dirname(record), "copy.json"))
  expect_null(new_archiver()$step())
})

test_that("what the index does not take is due as before", {
  folder <- local_archive()
  local_function("index_patience", 10L, asNamespace("abba"), environment())
  ids <- local_jobs(list("t-ae" = ended()))
  archiver <- new_archiver()
  archiver$step()
  # Who reads keeps others from ending a change.
  reader <- abba:::connect_index(folder, RSQLite::SQLITE_RO)
  DBI::dbExecute(reader, "BEGIN")
  expect_identical(DBI::dbGetQuery(reader, "SELECT count(*) FROM jobs")[[1L]], 0L)
  archive_all(ids, archiver)
  expect_identical(archiver$stand()[c("archived", "due")], list(archived = 0, due = 1L))
  DBI::dbDisconnect(reader)
  expect_identical(archiver$step(), "Archived: 1 job")
  expect_identical(archiver$stand()$due, 0L)
  expect_identical(nrow(abba_archive()), 1L)
})

test_that("an index that is being made is never one that has nothing", {
  folder <- local_archive()
  ids <- local_jobs(list("t-ae" = ended(), "t-dm" = ended()))
  archive_all(ids)
  archiver <- new_archiver()
  archiver$step()
  # It is lost while an archiver runs, which makes it with all that the files have when it archives the next one.
  index <- file.path(folder, "index.sqlite")
  unlink(index)
  new <- local_jobs(list("t-vs" = ended()))
  read <- list()
  core_archived_jobs <- abba:::core_archived_jobs
  local_function("core_archived_jobs", function(...) {
    read <<- c(read, list(tryCatch(nrow(abba_archive()), abba_error_archive = conditionMessage)))
    core_archived_jobs(...)
  }, asNamespace("abba"), environment())
  expect_identical(archive_all(new, archiver), "Archived: 1 job")
  expect_match(read[[1L]], "being made", fixed = TRUE)
  expect_identical(nrow(abba_archive()), 3L)

  # One that was begun and not filled, as by an archiver that was killed.
  unlink(index)
  begun <- abba:::connect_index(folder, RSQLite::SQLITE_RWC)
  for (sql in abba:::index_schema) DBI::dbExecute(begun, sql)
  DBI::dbExecute(begun, "DROP TABLE jobs")
  DBI::dbDisconnect(begun)
  expect_error(abba_archive(), "being made", class = "abba_error_archive", fixed = TRUE)
  expect_identical(new_archiver()$step(), "The index has got what it did not have: 3 jobs")
})

test_that("of two archivers that find the index damaged one alone sets it aside", {
  folder <- local_archive()
  ids <- local_jobs(list("t-ae" = ended()))
  archive_all(ids)
  index <- file.path(folder, "index.sqlite")
  writeLines(strrep("no database", 1000L), index)
  damaged <- bytes_of_file(index)
  # The other one has made it anew since this one has looked.
  is_usable <- abba:::is_usable
  looks <- 0
  local_function("is_usable", function(index) {
    looks <<- looks + 1
    was <- is_usable(index)
    if (looks == 1) new_archiver()$step()
    was
  }, asNamespace("abba"), environment())
  new_archiver()$step()
  expect_identical(bytes_of_file(paste0(index, ".old")), damaged)
  expect_identical(nrow(abba_archive()), 1L)
})

test_that("another job of the same id never takes the place of one that is archived", {
  folder <- local_archive()
  ids <- local_jobs(list("t-ae" = ended()), owners = c("t-ae" = "daemon"))
  archive_all(ids)
  before <- abba_archive()
  files <- lapply(c(before$log, before$record), bytes_of_file)
  row <- abba:::ask_index(folder, list(sql = "SELECT * FROM jobs", values = NULL), NULL)
  put <- function(...) {
    job <- utils::modifyList(as.list(row), list(status = "Failed", path = "n/2026-02/x", ...))
    abba:::with_index(folder, NULL, function(index, found) abba:::put_into_index(index, list(job)))
  }
  put(submitted = row$submitted + 1)
  put(owner = "bin")
  expect_identical(abba_archive(), before)
  # Its files are not written, either, which is said once.
  local_jobs(list("t-ae" = ended(1L)), owners = c("t-ae" = "bin"), log = charToRaw("another\n"))
  archiver <- new_archiver()
  said <- archive_all(ids, archiver, status = "Failed")
  expect_match(said, "The archive has another job \"t-ae-", fixed = TRUE)
  expect_identical(archiver$stand(), list(archived = 0, due = 0L, trouble = NULL))
  expect_identical(lapply(c(before$log, before$record), bytes_of_file), files)
  expect_identical(abba_archive(), before)
  # That of another namespace has a place of its own.
  put(namespace_uid = "uid-2")
  expect_identical(nrow(abba_archive()), 2L)
  expect_identical(abba_archive(namespace = "n")$namespace_uid, c("uid-1", "uid-2"))
})

test_that("an archiver takes very many jobs that have ended at once", {
  local_archive()
  local_jobs(list())
  archiver <- new_archiver()
  jobs <- told_ended(sprintf("t-%06d", seq_len(50000L)))
  before <- proc.time()[["user.self"]]
  archiver$ended(jobs)
  archiver$ended(jobs[1:10])
  # One by one it was a minute.
  expect_lt(proc.time()[["user.self"]] - before, 10)
  expect_identical(archiver$stand()$due, 50000L)
})

test_that("a changed log is told, and a log that is gone is no empty one", {
  local_archive()
  ids <- local_jobs(list("t-ae" = ended()))
  archive_all(ids)
  local_jobs(list())
  cat("more\n", file = abba_archive()$log, append = TRUE)
  expect_warning(log <- ask("abba_get_k8s_job_log_local", ids), "is not the one that was recorded")
  expect_identical(log[[1L]]$log[[3L]], "more")
  unlink(abba_archive()$log)
  expect_error(ask("abba_get_k8s_job_log_local", ids), "does not give the log", class = "abba_error_unavailable")
  unlink(abba_archive()$record)
  expect_error(ask("abba_explain_k8s_job_local", ids), "has no record", class = "abba_error_unavailable")
})

test_that("an archive that cannot be used is refused", {
  local_scripted_kubectl(fails("Error from server (Forbidden): namespaces \"n\" is forbidden\n", on = "*/namespaces/n"))
  folder <- local_archive()
  expect_error(abba_run_controller_local(namespace = "n"), class = "abba_error_forbidden")
  expect_error(ask("abba_list_k8s_jobs_local"), class = "abba_error")
  for (wrong in list(1, NA, c("a", "b"))) {
    withr::local_options(abba.archive = wrong)
    expect_error(ask("abba_list_k8s_jobs_local"), "abba.archive", class = "abba_error_input")
    expect_error(abba_archive(wrong), "archive", class = "abba_error_input")
  }
  expect_error(abba_archive(NULL), "archive", class = "abba_error_input")
  expect_error(abba_archive(folder), "there is no index.sqlite in it", class = "abba_error_archive")
  gone <- file.path(folder, "none")
  run <- function() abba_run_controller_local(namespace = "n", archive = gone)
  expect_error(run(), "must be a folder", class = "abba_error_input")
})

# ---- On a server --------------------------------------------------------------------------------------------------

test_that("a server archives by a process of its own, and says in its metrics how that stands", {
  local_archive()
  ids <- local_jobs(list("t-ae" = ended(), "t-dm" = ended()))
  withr::defer(gc())
  api <- local_api(abba.api.archive = TRUE)
  pr <- router()
  metrics <- function() {
    lines <- strsplit(ask_router(pr, "/metrics", key = api$keys$daemon)$text, "\n")[[1L]]
    grep("^abba_archive", lines, value = TRUE)
  }
  done <- c("abba_archive_up 1", "abba_archive_due_jobs 0", "abba_archived_jobs_total 2")
  expect_true(wait_until(function() identical(metrics(), done), 300))
  expect_setequal(abba_archive()$job_id, ids)
})

test_that("where the archive keeps what it has for a while, that is told once, and tried again", {
  local_archive()
  ids <- local_jobs(list("t-ae" = ended()))
  local_function("archive_pause_not_whole", 0, asNamespace("abba"), environment())
  stays <- TRUE
  core_archive <- abba:::core_archive
  local_function("core_archive", function(job_ids, ...) {
    if (!stays) {
      return(core_archive(job_ids, ...))
    }
    error <- list(class = "unavailable", message = "It stays.")
    list(value = lapply(job_ids, function(id) list(job_id = id, job = NULL, error = error, is_kept = TRUE)))
  }, asNamespace("abba"), environment())
  archiver <- new_archiver()
  expect_identical(archive_all(ids, archiver), "It stays.")
  expect_identical(archiver$stand(), list(archived = 0, due = 1L, trouble = NULL))
  stays <- FALSE
  expect_identical(archiver$step(), "Archived: 1 job")
  expect_identical(archiver$stand()$due, 0L)
})

test_that("a process of a server can be started again when temporary files are gone", {
  before <- list.files(tempdir())
  process <- abba:::r_process("read-archive.R", list(abba.archive = "/a"))
  expect_identical(list.files(tempdir()), before)
  given <- unserialize(charToRaw(process$environment$ABBA_SERVER))
  expect_identical(given$libraries, .libPaths())
  expect_identical(given$options$abba.archive, "/a")
})

test_that("a server is to archive into a folder that is named", {
  local_api(abba.archive = NULL, abba.api.archive = TRUE)
  expect_error(abba:::api_open(), "abba.api.archive", class = "abba_error_input")
  local_api(abba.archive = withr::local_tempdir(), abba.api.archive = "yes")
  expect_error(abba:::api_open(), "abba.api.archive", class = "abba_error_input")
})

# Jobs of two callers, archived and forgotten since.
local_forgotten_jobs <- function(env = parent.frame()) {
  local_archive(env)
  owners <- c("t-ae" = "daemon", "t-dm" = "bin", "t-vs" = "daemon")
  ids <- local_jobs(list("t-ae" = ended(), "t-dm" = ended(), "t-vs" = ended(3L)), owners = owners, env = env)
  archive_all(ids)
  archive_all(ids[[3L]], status = "Failed")
  local_jobs(list(), env = env)
  ids
}

test_that("a server answers from the archive, everybody for their own jobs and operators for all", {
  ids <- local_forgotten_jobs()
  # What R prints by itself is no answer.
  withr::local_envvar(R_PROFILE_USER = withr::local_tempfile(lines = "cat('Welcome\\n')"))
  api <- local_api(abba.api.operators = "sys", keys = c("daemon", "sys"))
  as <- function(user, call, query = "", ...) ask_api(call, query = query, key = api$keys[[user]], ...)
  ids_of <- function(answer) vapply(answer$body, `[[`, "", "job_id")

  listed <- as("daemon", "jobs", "verdict=true")
  expect_identical(ids_of(listed), ids[c(3L, 1L)])
  expect_identical(lapply(listed$body, `[[`, "archived"), list(TRUE, TRUE))
  expect_identical(lapply(listed$body, `[[`, "verdict"), list("errors", "clean"))
  expect_identical(ids_of(as("sys", "jobs")), ids[c(3L, 1L, 2L)])
  expect_identical(ids_of(as("sys", "jobs", "user=bin")), ids[[2L]])
  expect_identical(ids_of(as("sys", "jobs", "status=Failed&since=2026-01-01T00:00:00Z&batch_id=b-1")), ids[[3L]])
  expect_identical(as("daemon", "jobs", "archived=false")$text, "[]")

  log <- as("daemon", "job-log", paste0("job_id=", ids[[1L]]))
  expect_identical(unlist(log$body[[1L]]$log), c("[1] 4", "la \ufffd"))
  status <- as("daemon", "batch-status", "batch_id=b-1")
  expect_identical(lengths(lapply(status$body, `[[`, "Jobs")), c(Succeeded = 1L, Failed = 1L))
  explained <- as("daemon", "explain-job", paste0("job_id=", ids[[3L]]))$body
  expect_true(explained$archived)
  expect_match(explained$advice, "log")

  for (call in c("job-log", "job-status", "explain-job")) {
    of <- function(id) {
      answer <- as("daemon", call, paste0("job_id=", id))
      c(answer$status, gsub(id, "ID", answer$text, fixed = TRUE))
    }
    # As one that never was.
    expect_identical(of(ids[[2L]]), of(chartr("0123456789", "9876543210", ids[[2L]])), label = call)
    expect_identical(as("daemon", call, paste0("job_id=", ids[[2L]]))$status, 404L, label = call)
    expect_identical(as("sys", call, paste0("job_id=", ids[[2L]]))$status, 200L, label = call)
  }
  body <- paste0("{\"job_id\": \"", ids[[1L]], "\"}")
  refused <- as("daemon", "cancel-job", method = "POST", body = body)
  expect_identical(refused$status, 404L)
  expect_match(refused$body$message, "is archived")
})

test_that("a server whose archive cannot be read says so, and keeps why to itself", {
  local_forgotten_jobs()
  api <- local_api()
  index <- file.path(getOption("abba.archive"), "index.sqlite")
  writeLines(strrep("no database", 1000L), index)
  answer <- ask_api("jobs", key = api$keys$daemon)
  expect_identical(answer$status, 503L)
  expect_match(answer$body$message, "cannot read its archive")
  expect_nothing_of_server(answer$text)
  expect_match(tail(readLines(api$log), 1L), "not a database")
  local_api(abba.archive = 1)
  expect_error(abba:::api_open(), "abba.archive", class = "abba_error_input")
})

test_that("a folder that does not answer keeps nobody waiting who asks for what the cluster has", {
  local_forgotten_jobs()
  id <- local_jobs(list("t-lb" = ended()), "uid-1", charToRaw("x\n"), c("t-lb" = "daemon"), creates())
  local_function("reader_patience", 3, asNamespace("abba"), environment())
  api <- local_api()
  as <- function(call, query = "") ask_api(call, query = query, key = api$keys$daemon)
  # To open it for reading takes until somebody opens it for writing.
  index <- file.path(getOption("abba.archive"), "index.sqlite")
  file.rename(index, paste0(index, ".away"))
  expect_identical(system2("mkfifo", index), 0L)
  answer <- as("jobs")
  expect_identical(answer$status, 503L)
  expect_match(answer$body$message, "cannot read its archive")
  expect_match(tail(readLines(api$log), 1L), "its folder does not answer", fixed = TRUE)
  expect_identical(as("jobs", "archived=false")$status, 200L)
  expect_identical(as("job-status", paste0("job_id=", id))$status, 200L)
  program <- paste0("{\"file_path\": \"/x/a.R\", \"program_text\": \"1\", \"job_id\": \"", sub("t-lb", "a", id), "\"}")
  expect_identical(submit_api(key = api$keys$daemon, body = program)$status, 200L)
  unlink(index)
  file.rename(paste0(index, ".away"), index)
  expect_true(wait_until(function() as("jobs")$status == 200L, 300))
  expect_length(as("jobs")$body, 3L)
})
