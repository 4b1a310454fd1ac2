programs <- c("t_1.R", "t_2.R", "t_3.R")

# A create of the program of this name, in the scripted kubectl's shell.
creating <- function(name) paste0("grep -q '\"abba/program-path\":\"", name, "\"' \"$manifest\"")

test_on_both_roads("a batch is a data frame of the contract's columns", {
  local_programs(programs)
  local_scripted_kubectl(creates())
  before <- trunc(Sys.time())
  batch <- suppressMessages(submit_batch(programs))
  expect_identical(class(batch), c("abba_batch", "data.frame"))
  expect_named(batch, c("job_id", "batch_id", "program", "submitted"))
  expect_identical(attr(batch, "row.names"), 1:3)
  expect_identical(batch$program, programs)
  expect_match(batch$job_id, paste0("^t-[123]-", uuid, "$"))
  expect_length(unique(batch$job_id), 3L)
  expect_length(unique(batch$batch_id), 1L)
  expect_match(batch$batch_id[[1]], paste0("^t_1-", uuid, "$"))
  expect_s3_class(batch$submitted, c("POSIXct", "POSIXt"), exact = TRUE)
  expect_identical(attr(batch$submitted, "tzone"), "UTC")
  expect_true(all(batch$submitted >= before & batch$submitted <= Sys.time()))
})

test_on_both_roads("each program is a job of its own under the batch id, sent once", {
  local_programs(programs)
  kubectl <- local_scripted_kubectl(creates())
  batch <- suppressMessages(submit_batch(programs, batch_group_id = "Study_1.tables"))
  jobs <- sent(kubectl)
  expect_length(jobs, 3L)
  expect_setequal(names(jobs), programs)
  for (row in 1:3) {
    job <- jobs[[programs[[row]]]]
    expect_identical(job$metadata$name, batch$job_id[[row]])
    expect_identical(job$metadata$labels[["abba/batch-id"]], "Study_1.tables")
  }
  expect_identical(batch$batch_id, rep("Study_1.tables", 3L))
})

test_on_both_roads("a batch says in one message how many jobs were created", {
  local_programs(programs)
  local_scripted_kubectl(creates())
  expect_words(invisible(submit_batch(programs, batch_group_id = "b-1")))
  expect_words(invisible(submit_batch(programs[1], batch_group_id = "b-1")))
})

test_on_both_roads("who leaves the call by a warning has the data frame of all, and all were submitted", {
  local_program()
  kubectl <- local_scripted_kubectl(warns_of_job())
  warning <- tryCatch(suppressMessages(submit_batch(rep("test_program.R", 3L))), warning = identity)
  expect_s3_class(warning, "abba_warning_cluster_rule")
  expect_identical(sort(warning$batch$job_id), sort(vapply(unname(sent(kubectl)), \(job) job$metadata$name, "")))
  expect_false(anyNA(warning$batch$submitted))
  expect_identical(nrow(warning$batch), 3L)
})

test_that("one Job template is for all programs, and a list has one for each", {
  local_programs(programs)
  priorities <- function(job_template) {
    kubectl <- local_scripted_kubectl(creates())
    suppressMessages(submit_batch(programs, job_template = job_template))
    lapply(unname(sent(kubectl)[programs]), function(job) job$spec$template$spec$priorityClassName)
  }
  template <- function(name) list(spec = list(template = list(spec = list(priorityClassName = name))))
  writeLines("{\"spec\": {\"template\": {\"spec\": {\"priorityClassName\": \"file\"}}}}", "job.json")
  expect_identical(priorities(template("low")), list("low", "low", "low"))
  expect_identical(priorities("job.json"), list("file", "file", "file"))
  expect_identical(priorities(list(template("low"), NULL, "job.json")), list("low", NULL, "file"))
  expect_error(priorities(list(template("low"), 1, NULL)), "`job_template`", class = "abba_error_input")
})

test_on_both_roads("a program may be submitted several times in one batch", {
  local_programs(programs)
  kubectl <- local_scripted_kubectl(creates())
  batch <- suppressMessages(submit_batch(c("t_1.R", "t_1.R"), user_tag = c("a", "b")))
  expect_identical(batch$program, c("t_1.R", "t_1.R"))
  expect_length(unique(batch$job_id), 2L)
  expect_length(sent(kubectl), 2L)
})

test_that("bad arguments are refused before kubectl starts", {
  local_programs(programs)
  expect_words(refuse(
    submit_batch(NULL), submit_batch(character()), submit_batch(NA_character_), submit_batch(1), submit_batch(""),
    submit_batch(list("t_1.R")), submit_batch(c("t_1.R", NA)), submit_batch(c("t_1.R", "nope.R")),
    submit_batch(data.frame(x = 1)), submit_batch(data.frame(job_id = 1, batch_id = 1, program = 1, submitted = 1)),
    submit_batch(programs, batch_group_id = NA_character_), submit_batch(programs, batch_group_id = "a b"),
    submit_batch(programs, batch_group_id = c("a", "b", "c")), submit_batch(programs, batch_group_id = NULL),
    submit_batch(programs, container = NULL), submit_batch(programs, container = c("r:1", "r:2")),
    submit_batch(programs, container = c("r:1", NA, "r:3")), submit_batch(programs, container = 1),
    submit_batch(programs, user_tag = NULL), submit_batch(programs, user_tag = c("a", "b")),
    submit_batch(programs, cpu_limit = c(1, 2)), submit_batch(programs, cpu_limit = c(1, NA, 2)),
    submit_batch(programs, cpu_limit = -1), submit_batch(programs, memory_limit = "512m"),
    submit_batch(programs, memory_limit = list("1G", NULL, "2G")), submit_batch(programs, mounts = 1),
    submit_batch(programs, mounts = list(1, 2)), submit_batch(programs, mounts = list(volume = 1)),
    submit_batch(programs, auto_mount_home = NA), submit_batch(programs, auto_mount_home = c(TRUE, FALSE)),
    submit_batch(programs, auto_mount_home = TRUE), submit_batch(programs, home_nfs_ip_address = 1),
    submit_batch(programs, username = "no such user"), submit_batch(programs, time_limit_seconds = 0),
    submit_batch(programs, time_limit_seconds = c(1, 2)), submit_batch(programs, namespace = "A")
  ))
})

test_on_both_roads("a mistake in the last of many programs submits nothing", {
  names <- sprintf("t_%03d.R", 1:150)
  local_programs(names)
  kubectl <- local_scripted_kubectl(creates())
  error <- raised(submit_batch(c(names, "nope.R")))
  expect_s3_class(error, "abba_error_input")
  expect_match(conditionMessage(error), "nope.R", fixed = TRUE)
  expect_identical(kubectl$count(), 0L)
})

test_on_both_roads("an error is that of the function that the user called", {
  local_programs(programs)
  withr::local_options(abba.api.request.timeout = 1)
  local_scripted_kubectl(fails("Error from server (Forbidden): jobs.batch is forbidden\n"))
  of_batch <- function(error) as.character(conditionCall(error)[[1L]])
  verb <- verb_name("submit_batch")
  expect_identical(of_batch(raised(submit_batch(programs, cpu_limit = 1:2))), verb)
  expect_identical(of_batch(raised(submit_batch(programs, cpu_limit = NA))), verb)
  expect_identical(of_batch(raised(submit_batch("nope.R"))), verb)
  expect_identical(of_batch(raised(submit_batch(data.frame()))), verb)
  expect_identical(of_batch(raised(submit_batch(programs))), verb)
})

test_that("more than a hundred programs are submitted whole, in order", {
  names <- sprintf("t_%03d.R", 1:230)
  local_programs(names)
  kubectl <- local_scripted_kubectl(creates())
  batch <- suppressMessages(submit_batch(names))
  expect_identical(batch$program, names)
  expect_identical(kubectl$count(), 230L)
  expect_true(all(startsWith(batch$job_id, sub("_", "-", sub(".R", "-", names, fixed = TRUE), fixed = TRUE))))
})

test_that("what cannot be sent any more, once a hundred were submitted, is left for the next call", {
  names <- sprintf("t_%03d.R", 1:150)
  local_programs(names)
  gone <- file.path(getwd(), "t_150.R")
  kubectl <- local_scripted_kubectl(runs(c(paste("rm -f", shQuote(gone)), "exec cat \"$manifest\"")))
  error <- raised(submit_batch(names))
  expect_s3_class(error, "abba_error_batch_incomplete")
  expect_identical(is.na(error$batch$submitted), rep(c(FALSE, TRUE), c(100L, 50L)))
  expect_match(error$batch$reason[101:150], "t_150.R", fixed = TRUE)
  expect_identical(kubectl$count(), 100L)
  writeLines("1", gone)
  kubectl <- local_scripted_kubectl(creates())
  batch <- suppressMessages(submit_batch(error$batch))
  expect_false(anyNA(batch$submitted))
  expect_identical(batch$job_id[1:100], error$batch$job_id[1:100])
  expect_setequal(names(sent(kubectl)), names[101:150])
})

test_on_both_roads("where some programs are refused, the error holds the data frame of all", {
  local_programs(programs)
  kubectl <- local_scripted_kubectl(runs(c(
    paste0("if ", creating("t_2.R"), "; then"),
    "  echo 'Error from server (Forbidden): jobs.batch is forbidden: exceeded quota: small' >&2; exit 1",
    "fi", "exec cat \"$manifest\""
  ), on = "create *"))
  error <- raised(submit_batch(programs, batch_group_id = "b-1"))
  expect_identical(
    class(error)[1:3], c("abba_error_batch_incomplete", "abba_error_kubectl", "abba_error")
  )
  batch <- error$batch
  expect_identical(class(batch), c("abba_batch", "data.frame"))
  expect_named(batch, c("job_id", "batch_id", "program", "submitted", "reason"))
  expect_identical(batch$program, programs)
  expect_identical(is.na(batch$submitted), c(FALSE, TRUE, FALSE))
  # Its id is that of all attempts to submit it.
  expect_false(anyNA(batch$job_id))
  expect_identical(is.na(batch$reason), c(TRUE, FALSE, TRUE))
  expect_match(batch$reason[[2]], "exceeded quota: small", fixed = TRUE)
  if (by_kubectl()) expect_words(submit_batch(programs, batch_group_id = "b-1"), error = TRUE)
})

test_on_both_roads("calling again with the data frame submits only the rest, under the same batch id", {
  local_programs(programs)
  local_scripted_kubectl(runs(c(
    paste0("if ! ", creating("t_1.R"), "; then"),
    "  echo 'Error from server (Forbidden): jobs.batch is forbidden: exceeded quota: small' >&2; exit 1",
    "fi", "exec cat \"$manifest\""
  ), on = "create *"))
  first <- raised(submit_batch(programs, user_tag = c("x", "y", "z")))$batch
  kubectl <- local_scripted_kubectl(creates())
  expect_words(second <- submit_batch(first, user_tag = c("x", "y", "z")))
  expect_setequal(names(sent(kubectl)), c("t_2.R", "t_3.R"))
  # Each gets its own argument of those given for all programs.
  expect_identical(sent(kubectl)[["t_3.R"]]$metadata$annotations[["abba/user-tag"]], "z")
  expect_named(second, c("job_id", "batch_id", "program", "submitted"))
  expect_false(anyNA(second$job_id))
  expect_identical(second$job_id[[1]], first$job_id[[1]])
  expect_identical(second$submitted[[1]], first$submitted[[1]])
  expect_identical(second$batch_id, first$batch_id)

  # And once more, there is nothing left.
  kubectl <- local_scripted_kubectl(creates())
  expect_words(third <- submit_batch(second))
  expect_identical(third, second)
  expect_identical(kubectl$count(), 0L)
})

test_on_both_roads("a create whose answer is lost is found again, and not made twice", {
  local_programs(programs)
  kubectl <- local_scripted_kubectl(
    # The first create of this program arrives, and its answer does not.
    runs(c(
      paste0("if ", creating("t_2.R"), "; then"),
      "  if [ ! -e \"$base/lost\" ]; then",
      "    cp \"$manifest\" \"$base/lost\"",
      "    echo 'Unable to connect to the server: EOF' >&2; exit 1",
      "  fi",
      "  echo 'Error from server (AlreadyExists): jobs.batch \"x\" already exists' >&2; exit 1",
      "fi", "exec cat \"$manifest\""
    ), on = "create *"),
    runs("exec cat \"$base/lost\"", on = "get */jobs/*")
  )
  batch <- suppressMessages(submit_batch(programs))
  expect_false(anyNA(batch$submitted))
  expect_identical(sum(grepl("^create ", kubectl$requests())), 4L)
  expect_length(unique(vapply(sent(kubectl), function(job) job$metadata$name, "")), 3L)
})

test_that("where it is not known whether a job was created, the next call asks for that very job", {
  local_programs(programs)
  of_test <- rlang::current_env()
  kubectl <- NULL
  ask <- function() {
    kubectl <<- local_scripted_kubectl(
      runs(c(
        paste0("if ", creating("t_2.R"), "; then cp \"$manifest\" \"$base/lost\"; exec sleep 1000; fi"),
        "exec cat \"$manifest\""
      ), on = "create *"),
      runs("exec sleep 1000", on = "get *"),
      env = of_test
    )
    raised(submit_batch(programs, batch_group_id = "b-1"))
  }
  error <- NULL
  # Until the time is enough for those that are answered, and for the one that is not to arrive.
  is_sent <- function() sum(!is.na(error$batch$submitted)) == 2L && "t_2.R" %in% names(sent(kubectl))
  at_time_limit(function() error <<- ask(), is_sent, 2)
  expect_s3_class(error, "abba_error_batch_incomplete")
  batch <- error$batch
  lost <- sent(kubectl)[["t_2.R"]]$metadata$name
  expect_identical(is.na(batch$submitted), c(FALSE, TRUE, FALSE))
  # Its id is kept, since there may be a job.
  expect_identical(batch$job_id[[2]], lost)
  expect_match(conditionMessage(error), "did not answer", fixed = TRUE)
  expect_reaped(kubectl$pids())

  again <- local_scripted_kubectl(
    fails("Error from server (AlreadyExists): jobs.batch \"x\" already exists\n", on = "create *"),
    runs(paste("exec cat", shQuote(file.path(dirname(dirname(kubectl$file(1L, "x"))), "lost"))), on = "get *")
  )
  second <- suppressMessages(submit_batch(batch))
  expect_identical(names(sent(again)), "t_2.R")
  expect_identical(second$job_id, batch$job_id)
  expect_false(anyNA(second$submitted))
})

test_on_both_roads("a program that was changed since is not taken for the job that there may be", {
  local_programs(programs)
  batch <- data.frame(
    job_id = "t-1-b6c6a9d6-5c6b-4f38-8f21-4a1c6f2f8e01", batch_id = "b-1", program = "t_1.R",
    submitted = as.POSIXct(NA_real_, origin = "1970-01-01", tz = "UTC")
  )
  local_scripted_kubectl(
    fails("Error from server (AlreadyExists): jobs.batch \"x\" already exists\n", on = "create *"),
    says(
      to_json(full_job(batch$job_id, annotations = list("abba/submission" = "of another text"))),
      on = "get */jobs/*"
    )
  )
  error <- raised(submit_batch(batch))
  expect_s3_class(error, "abba_error_batch_incomplete")
  # Its id stays, or the next call would submit the program beside the job that is there.
  expect_identical(error$batch$job_id, batch$job_id)
  if (by_kubectl()) expect_words(cat(conditionMessage(error)))
})

test_that("a kubectl that dies, or says nothing that makes sense, is no success", {
  local_programs(programs)
  for (answer in list(dies(), says("<html>", on = "*"), says("", on = "*"), fails("boom\n", 7L))) {
    withr::local_options(abba.k8s.request.timeout = 2)
    local_scripted_kubectl(answer)
    error <- raised(submit_batch(programs[1:2]))
    expect_s3_class(error, "abba_error_batch_incomplete")
    expect_true(all(is.na(error$batch$submitted)))
    # There may be jobs all the same, so their ids are kept.
    expect_false(anyNA(error$batch$job_id))
  }
})

test_that("without kubectl nothing is sent, and the error says so", {
  local_programs(programs)
  withr::local_options(abba.kubectl = "no-such-kubectl")
  error <- raised(submit_batch(programs))
  expect_s3_class(error, "abba_error_kubectl_missing")
  expect_match(conditionMessage(error), "No job was created.", fixed = TRUE)
})

test_on_both_roads("a data frame without rows submits nothing", {
  kubectl <- local_scripted_kubectl(creates())
  empty <- data.frame(
    job_id = character(), batch_id = character(), program = character(),
    submitted = as.POSIXct(numeric(), origin = "1970-01-01", tz = "UTC")
  )
  batch <- suppressMessages(submit_batch(empty))
  expect_identical(class(batch), c("abba_batch", "data.frame"))
  expect_identical(nrow(batch), 0L)
  expect_identical(kubectl$count(), 0L)
})

test_that("Ctrl-C in the midst of a batch ends it with the data frame of what was submitted", {
  names <- sprintf("t_%03d.R", 1:40)
  local_programs(names)
  kubectl <- local_scripted_kubectl(runs(c(
    paste0("if ", creating("t_00[12].R"), "; then exec cat \"$manifest\"; fi"),
    "echo ready > \"$call.hangs\"", "exec sleep 1000"
  )))
  process <- start_r(c(
    "files <- sprintf('t_%03d.R', 1:40)",
    "error <- tryCatch(",
    "  abba_submit_k8s_batch_local(files, container = 'r', namespace = 'n'),",
    "  error = identity, interrupt = function(cnd) list(batch = data.frame())",
    ")",
    "cat(class(error)[1], '\\n')",
    "cat(nrow(error$batch), sum(!is.na(error$batch$submitted)), '\\n')",
    "cat(sum(is.na(error$batch$submitted) & !is.na(error$batch$job_id)), '\\n')",
    "writeLines(conditionMessage(error))"
  ))
  hanging <- function() sum(file.exists(vapply(seq_len(kubectl$count()), kubectl$file, "", "hangs"))) >= 8L
  expect_true(wait_until(hanging))
  press_ctrl_c(process)
  ended <- finish(process)
  expect_identical(ended$stdout[1:3], c("abba_error_batch_incomplete ", "40 2 ", "38 "), info = ended$stderr)
  expect_match(ended$stdout, "38 of 40 programs", fixed = TRUE, all = FALSE)
  expect_ended(kubectl$pids())
  expect_identical(kubectl$count(), 10L)
})
