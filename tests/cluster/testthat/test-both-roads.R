# The behaviours that both roads share, by kubectl of this machine and through an abba server, on the same cluster.
local_namespace()
missing_image <- cluster_image("no-such-image:1")
server <- local_abba_server(paste0(
  "options(abba.permitted.containers = ", deparse(missing_image), ", abba.k8s.keep.days = 2)"
))

test_program <- file.path(repository, "test_programs", "test_program.R")
quiet <- function(code) suppressMessages(code)
fifth <- 0.2

# What cannot be pulled is told where one waits for it. The server permits this image here; which ones is tested where
# permits are.
stuck <- quiet(roads$api$submit(
  test_program,
  batch_group_id = "never", container = missing_image, cpu_limit = fifth
))

test_both_roads("a program is submitted and waited for in one call, and gives its log", function(road) {
  said <- capture_messages(
    status <- road$submit_and_poll(test_program, cpu_limit = fifth, poll_interval_seconds = 0.5)
  )
  expect_match(said[[1L]], "^job.batch/test-program-[-0-9a-f]{36} created")
  job_id <- sub("^job.batch/(.*) created\n$", "\\1", said[[1L]])
  expect_identical(names(status), "Succeeded")
  expect_identical(status$Succeeded$Jobs[[1L]]$path, test_program)
  expect_identical(road$log(job_id), list(list(
    job_id = job_id, log = c("[1] 4", "Warning message:", "This is a test warning ", "La-di-da")
  )))
  # The cluster keeps it for as many days as usual, and on a server as its administrator says.
  kept <- field("job", job_id, ".spec.ttlSecondsAfterFinished")
  expect_identical(kept, if (identical(road, roads$api)) "172800" else "604800")
})

test_that("both roads tell the same of the same jobs, to the last attribute", {
  good <- local_program(c("cat('caf\u00e9 \U1F600\\n\\n')", "message('a\\tb ')"), "good.R")
  bad <- local_program("stop('bad')", "bad.R")
  silent <- local_program("invisible()", "silent.R")
  batch <- quiet(roads$local$submit_batch(c(good, bad), batch_group_id = "same", cpu_limit = fifth, keep_days = 0.5))
  expect_identical(field("job", batch$job_id[[1L]], ".spec.ttlSecondsAfterFinished"), "43200")
  job <- quiet(roads$api$submit(silent, batch_group_id = "same", cpu_limit = fifth))
  quiet(roads$api$submit(good, cpu_limit = 0.1, user_tag = "tag", memory_limit = "128M"))
  roads$local$watch_batch("same")
  ids <- c(batch$job_id, job$job_id)
  # What the server has seen of all jobs a second ago is good enough for it, and the cluster tells events of a
  # job late: two answers of one moment are compared, not later ones.
  same <- function(local, api) {
    found <- list("no answer", "none yet")
    try(silent = TRUE, wait_until(function() {
      found <<- list(local(), api())
      identical(found[[1L]], found[[2L]])
    }, timeout = 30))
    expect_identical(found[[2L]], found[[1L]])
  }
  for (some in list(ids, rev(ids), c(ids, ids[[1L]]), ids[[3L]])) {
    same(function() roads$local$status(some), function() roads$api$status(some))
    same(function() roads$local$log(some), function() roads$api$log(some))
  }
  same(function() roads$local$batch_status("same"), function() roads$api$batch_status("same", everybody = TRUE))
  same(function() roads$local$batch_log("same"), function() roads$api$batch_log("same", everybody = TRUE))
  for (arguments in list(
    list(), list(batch_id = "same"), list(status = "Failed"),
    list(status = c("Succeeded", "Failed"), batch_id = "same"), list(since = Sys.time() + 3600),
    list(batch_id = "no-such-batch")
  )) {
    same(function() do.call(roads$local$list, arguments), function() do.call(roads$api$list, arguments))
  }
  # Callers of a server are not told its namespace, which the scheduler's words have.
  without_namespace <- function(explanation) {
    explanation$events$message <- sub(paste0(the_namespace(), "/"), "", explanation$events$message, fixed = TRUE)
    explanation
  }
  for (id in ids) {
    same(function() without_namespace(roads$local$explain(id)), function() roads$api$explain(id))
  }
  expect_identical(roads$api$cancel(ids), roads$local$cancel(ids))
  expect_identical(roads$api$cancel_batch("same", everybody = TRUE), roads$local$cancel_batch("same"))
})

sha256_of <- function(path) sub(" .*", "", processx::run("sha256sum", path)$stdout)

test_both_roads("a batch is submitted, waited for, read and saved with its records", function(road) {
  study <- withr::local_tempdir()
  # Of a carriage return before a line end containerd keeps nothing.
  bytes <- local_program("writeBin(as.raw(c(0xe9, 13, 97, 10, 97)), pipe('cat', 'wb'))", "bytes.R", folder = study)
  bad <- local_program(c("options(abba.session.info = FALSE)", "stop('bad')"), "bad.R", folder = study)
  writeLines("1", file.path(study, "dm.csv"))
  expect_message(
    batch <- road$submit_batch(c(bytes, bad), cpu_limit = fifth, memory_limit = "256M"),
    "2 jobs created in batch bytes-",
    fixed = TRUE
  )
  expect_s3_class(batch, c("abba_batch", "data.frame"), exact = TRUE)
  expect_identical(names(batch), c("job_id", "batch_id", "program", "submitted"))
  expect_identical(batch$program, c(bytes, bad))
  expect_length(unique(batch$batch_id), 1L)
  expect_identical(attr(batch$submitted, "tzone"), "UTC")
  expect_lt(abs(as.numeric(difftime(Sys.time(), batch$submitted[[1L]], units = "secs"))), 60)
  batch_id <- batch$batch_id[[1L]]
  status <- road$watch_batch(batch_id, poll_interval_seconds = 0.5)
  expect_setequal(names(status), c("Succeeded", "Failed"))
  expect_identical(road$batch_status(batch_id), status)
  logs <- road$batch_log(batch_id)
  expect_setequal(vapply(logs, function(log) log$log[[length(log$log)]], ""), c("a", "Execution halted"))
  wait_for_events(batch$job_id)
  saved <- road$save_batch(batch_id, file.path(study, "logs"), inputs = list(bytes = "dm.csv"), study_folder = study)
  expect_identical(saved$notes, c(NA_character_, NA_character_))
  expect_identical(readBin(saved$log[[1L]], "raw", 99L), as.raw(c(0xe9, 0x0d, 0x61, 0x0a, 0x61)))
  record <- jsonlite::fromJSON(saved$record[[1L]], simplifyVector = FALSE)
  dependencies <- record$predicate$buildDefinition$resolvedDependencies
  names(dependencies) <- vapply(dependencies, function(one) one$annotations$abba_role, "")
  expect_identical(dependencies$package$uri, "pkg:generic/R@4.2.2")
  expect_identical(dependencies$program$digest$sha256, sha256_of(bytes))
  expect_identical(dependencies$input$digest$sha256, sha256_of(file.path(study, "dm.csv")))
  expect_match(dependencies$image$digest$sha256, "^[0-9a-f]{64}$")
  run <- record$predicate$runDetails$metadata$abba_run
  expect_identical(run[c("status", "exit_code", "verdict", "attempts")], list(
    status = "Succeeded", exit_code = 0L, verdict = "clean", attempts = 1L
  ))
  expect_true("Started" %in% vapply(run$events, `[[`, "", "reason"))
  of_both <- lapply(saved$record, function(path) {
    jsonlite::fromJSON(path)$predicate$runDetails$metadata$abba_session
  })
  expect_match(of_both[[1L]]$R, "^R version 4[.]2[.]2")
  expect_setequal(of_both[[1L]]$loaded, "compiler")
  expect_identical(of_both[[2L]], list(missing = "The program has switched the note off."))
  # No words about the end of the one that failed.
  expect_identical(road$explain(batch$job_id[[2L]])$details, NA_character_)
  found <- function() {
    checked <- abba_verify(file.path(study, "logs"))
    checked$file[!checked$result %in% c("ok", "unsigned")]
  }
  expect_identical(found(), character())
  writeBin(as.raw(c(0xe8, 0x0d, 0x61, 0x0a, 0x61)), saved$log[[1L]])
  # A byte was changed.
  expect_identical(found(), "bytes.log")
  road$save_batch(batch_id, file.path(study, "logs"))
  expect_identical(found(), character())
})

test_both_roads("a wait for what runs ends at its time limit; it is cancelled, and keeps its log", function(road) {
  program <- local_program(c("cat('begun\\n')", "Sys.sleep(1e6)"), "endless.R")
  job <- quiet(road$submit(program, cpu_limit = fifth))
  expect_named(job, c("job_id", "batch_id"))
  expect_match(job$batch_id, "^endless-")
  wait_until(function() identical(road$log(job$job_id)[[1L]]$log, "begun"), what = "the first line")
  error <- expect_abba_error(road$watch(job$job_id, timeout_seconds = 1), "wait_timeout", job$job_id)
  expect_identical(names(error$status), "Running")
  expect_identical(road$cancel(job$job_id), data.frame(job_id = job$job_id, done = "stopped"))
  expect_identical(names(road$watch(job$job_id, poll_interval_seconds = 0.5)), "Failed")
  expect_identical(road$log(job$job_id)[[1L]]$log[[1L]], "begun")
  expect_match(road$explain(job$job_id)$reason, "cancelled", fixed = TRUE)
  wait_until(function() grepl("cancelled", road$list(batch_id = job$batch_id)$reason), what = "the reason in the list")
})

test_both_roads("what failed or was cancelled of a batch runs again, from the file as it is now", function(road) {
  folder <- withr::local_tempdir()
  good <- local_program("cat('good\\n')", "good.R", folder)
  local_program("stop('no')", "bad.R", folder)
  slow <- local_program(
    "if (startsWith(Sys.getenv('ABBA_BATCH_ID'), 'good')) Sys.sleep(600) else cat('slow\\n')", "slow.R", folder
  )
  # Submitted from one working directory, run again from another, where a file of that name is another program.
  batch <- withr::with_dir(folder, quiet(road$submit_batch(
    c(good, "bad.R", slow),
    user_tag = "tag", cpu_limit = c(0.1, 0.2, 0.1), memory_limit = "200M", time_limit_seconds = 900
  )))
  first <- batch$batch_id[[1L]]
  wait_for_states(batch$job_id, function(states) identical(unname(states), c("Succeeded", "Failed", "Running")))
  # It has up to 30 seconds to end, and is not forgotten for that.
  road$cancel(batch$job_id[[3L]])
  local_program("cat('mended\\n')", "bad.R", folder)
  elsewhere <- withr::local_tempdir()
  local_program("cat('another\\n')", "bad.R", elsewhere)
  withr::local_dir(elsewhere)
  again <- quiet(road$rerun_batch(first, cpu_limit = 0.3))
  expect_s3_class(again, c("abba_batch", "data.frame"), exact = TRUE)
  expect_identical(names(again), c("job_id", "batch_id", "program", "submitted"))
  expect_setequal(again$program, c("bad.R", slow))
  expect_length(unique(again$batch_id), 1L)
  expect_false(again$batch_id[[1L]] == first)
  expect_identical(names(road$watch_batch(again$batch_id[[1L]], poll_interval_seconds = 0.5)), "Succeeded")
  expect_identical(road$log(again$job_id[again$program == "bad.R"])[[1L]]$log, "mended")
  expect_identical(road$log(again$job_id[again$program == slow])[[1L]]$log, "slow")
  kept <- function(id) {
    jsonlite::fromJSON(field("job", id, ".metadata.annotations.abba/arguments"), simplifyVector = FALSE)
  }
  for (program in again$program) {
    changed <- list(cpu_limit = 0.3, batch_group_id = again$batch_id[[1L]])
    expect_identical(
      kept(again$job_id[again$program == program]),
      utils::modifyList(kept(batch$job_id[batch$program == program]), changed)
    )
  }
  # Where nothing has failed nothing runs.
  before <- jobs_in()
  expect_message(none <- road$rerun_batch(again$batch_id[[1L]]), "Nothing of the batch has failed")
  expect_identical(dim(none), c(0L, 4L))
  expect_identical(jobs_in(), before)
  # Nor where a program is not there any more.
  unlink(file.path(folder, "bad.R"))
  expect_abba_error(road$rerun_batch(first), "input", "bad.R")
  expect_identical(jobs_in(), before)
})

test_both_roads("an image that cannot be pulled is told of while one waits", function(road) {
  error <- expect_abba_error(
    road$watch(stuck$job_id, poll_interval_seconds = 1, timeout_seconds = 120, on_stuck = "fail"), "stuck"
  )
  expect_identical(error$job_id, stuck$job_id)
  expect_identical(names(error$status), "Pending")
})

test_both_roads("a program that is no text runs as it is, and its log is followed as it is written", function(road) {
  program <- local_program(
    charToRaw("# caf\xe9\nfor (i in 1:3) { cat('line', i, '\\n'); Sys.sleep(0.5) }\n"), "b\u00e9 \u65e5 $(x).R"
  )
  job <- quiet(road$submit(program, cpu_limit = fifth))
  printed <- capture.output(log <- road$follow(job$job_id))
  expect_identical(printed, paste("line", 1:3, ""))
  expect_identical(log, list(list(job_id = job$job_id, log = printed)))
  expect_identical(road$status(job$job_id)$Succeeded$Jobs[[1L]]$path, program)
})

test_both_roads("what does not exist or cannot be right has the same class of error", function(road) {
  missing <- "test-program-00000000-0000-4000-8000-000000000000"
  for (ask in road[c("status", "log", "watch", "cancel", "explain", "follow")]) {
    error <- expect_abba_error(ask(missing), "not_found")
    expect_identical(error$job_id, missing)
  }
  for (ask in road[c("batch_status", "batch_log", "watch_batch", "cancel_batch", "rerun_batch")]) {
    expect_abba_error(ask("no-such-batch"), "not_found")
  }
  for (arguments in list(
    list("missing.R"), list(test_program, cpu_limit = -1), list(test_program, memory_limit = "512m"),
    list(test_program, container = "no image"), list(test_program, batch_group_id = "a b"),
    list(test_program, mounts = list(volumes = 1)), list(test_program, user_tag = "a\nb"),
    list(test_program, time_limit_seconds = -1)
  )) {
    before <- jobs_in()
    expect_abba_error(do.call(road$submit, arguments), "input")
    expect_identical(jobs_in(), before)
  }
})

test_both_roads("a namespace that takes no more jobs refuses them with the same class", function(road) {
  # Of another namespace, so the server is another.
  local_namespace()
  if (identical(road, roads$api)) local_abba_server()
  create_quota_of_jobs(2)
  quiet(road$submit(test_program, cpu_limit = fifth))
  programs <- c(test_program, local_program("cat('x\\n')"))
  before <- length(jobs_in())
  error <- expect_abba_error(road$submit_batch(programs, cpu_limit = fifth), "batch_incomplete", "1 of 2 programs")
  expect_identical(sum(is.na(error$batch$submitted)), 1L)
  expect_match(stats::na.omit(error$batch$reason), "quota", fixed = TRUE)
  expect_abba_error(road$submit(test_program, cpu_limit = fifth), "forbidden", "quota")
  kubectl_lines("delete", "quota", "quota")
  wait_until(function() {
    batch <- tryCatch(quiet(road$submit_batch(error$batch, cpu_limit = fifth)), abba_error_batch_incomplete = identity)
    is.data.frame(batch) && identical(batch$program, programs)
  }, what = "the rest of the batch")
  expect_length(jobs_in(), before + 2L)
})

test_both_roads("ended jobs are removed with their pods and logs, and none where one still runs", function(road) {
  gate <- local_gate()
  batch_id <- paste0("removed-", if (identical(road, roads$api)) "api" else "local")
  quick <- local_program("cat('read me first\\n')", "quick.R")
  ended <- quiet(road$submit_batch(rep(quick, 2L), batch_group_id = batch_id, cpu_limit = 0.1))$job_id
  open <- quiet(roads$local$submit(
    local_program(gate$wait, "open.R"),
    batch_group_id = batch_id, cpu_limit = 0.1, mounts = gate$mounts
  ))$job_id
  road$watch(ended)
  expect_identical(road$log(ended[[1L]])[[1L]]$log, "read me first")
  error <- tryCatch(road$remove(c(ended, open), everybody = TRUE), error = identity)
  expect_s3_class(error, "abba_error_not_ended")
  expect_identical(error$job_id, open)
  expect_true(all(c(ended, open) %in% jobs_in()))

  expect_identical(road$remove(ended[[1L]]), data.frame(job_id = ended[[1L]], done = "removed"))
  expect_identical(road$remove(ended), data.frame(job_id = ended, done = c("gone", "removed")))
  # What is on its way out is still seen by kubectl.
  wait_until(function() length(unlist(lapply(ended, pods_of))) == 0L, what = "the pods to go")
  expect_s3_class(tryCatch(road$status(ended), error = identity), "abba_error_not_found")
  gate$open()
  roads$local$watch(open)
  expect_identical(
    road$remove_batch(batch_id, everybody = TRUE), data.frame(job_id = open, done = "removed")
  )
  expect_identical(nrow(road$remove_batch(batch_id)), 0L)
})
