# An API tells nobody what others have submitted.
of_caller <- list("abba/owner" = "daemon")
kept <- function(path, ...) {
  utils::modifyList(list(
    given_path = path, expanded_path = file.path(getwd(), path), absolute_path = file.path(getwd(), path),
    batch_group_id = "b-1", user_tag = "first", cpu_limit = "250m", memory_limit = "1G", container = "r:1",
    auto_mount_home = FALSE, time_limit_seconds = 90,
    arguments = c("--first", ""), environment = list(A = "first"), vanilla = TRUE,
    r_command = "/opt/R/bin/R", queue = "team-a", keep_days = 2,
    disk_limit = "3G"
  ), list(...))
}
# A batch of which a-1 has succeeded, b-2 failed, c-3 was cancelled before it began, d-4 is
# running and e-5 unknown.
local_batch <- function(create = creates(), env = parent.frame()) {
  programs <- c("a.R", "b.R", "c.R", "d.R", "e.R")
  local_programs(programs, env = env)
  ids <- c("a-1", "b-2", "c-3", "d-4", "e-5")
  jobs <- Map(function(id, path, second) {
    created <- paste0("2026-01-01T00:00:0", second, "Z")
    full_job(id, path, created = created, arguments = kept(path), annotations = of_caller)
  }, ids, programs, 1:5)
  jobs[["c-3"]]$status$conditions <- list(condition("Failed", reason = "DeadlineExceeded"))
  jobs[["c-3"]]$metadata$annotations[["abba/cancelled-by"]] <- "mike"
  lost <- list(condition("Ready", "False"), condition("ContainersReady"))
  of_pod <- function(id, state, second, ...) {
    pod(id, state, ..., created = paste0("2026-01-01T00:00:0", second, "Z"))
  }
  local_scripted_kubectl(
    create,
    # Not in the order of their submission.
    pods_of(
      of_pod("e-5", running(), 5, conditions = lost), of_pod("d-4", running(), 4),
      of_pod("b-2", ended(1L), 2, "Failed"), of_pod("a-1", ended(), 1)
    ),
    do.call(jobs_of, unname(rev(jobs))),
    env = env
  )
}

test_that("the Job template is kept as it was, and can be replaced and taken away", {
  template <- list(spec = list(template = list(
    metadata = list(annotations = list("sidecar.istio.io/inject" = NULL)),
    spec = list(
      tolerations = list(list(key = "a")),
      volumes = list(list(name = "v", emptyDir = stats::setNames(list(), character())))
    )
  )))
  local_programs("b.R")
  rerun_of <- function(...) {
    job <- full_job("b-2", "b.R", arguments = kept("b.R"))
    arguments <- jsonlite::parse_json(job$metadata$annotations[["abba/arguments"]])
    arguments$job_template <- template
    job$metadata$annotations[["abba/arguments"]] <- to_json(arguments)
    kubectl <- local_scripted_kubectl(
      creates(), says(list_of(pod("b-2", ended(1L), "Failed")), on = "*/pods*"), says(list_of(job), on = "*/jobs*")
    )
    suppressMessages(rerun(...))
    sent(kubectl)[[1L]]
  }
  job <- rerun_of()
  expect_identical(job$spec$template$spec$tolerations, list(list(key = "a")))
  expect_true("v" %in% vapply(job$spec$template$spec$volumes, `[[`, "", "name"))
  expect_null(job$spec$template$metadata$annotations[["sidecar.istio.io/inject"]])
  expect_identical(
    jsonlite::parse_json(job$metadata$annotations[["abba/arguments"]])$job_template,
    jsonlite::parse_json(check_job_template(template))
  )
  withr::local_options(abba.k8s.job.template = list(metadata = list(labels = list(a = "b"))))
  expect_identical(rerun_of()$spec$template$spec$tolerations, list(list(key = "a")))
  other <- rerun_of(job_template = list(metadata = list(labels = list(c = "d"))))
  expect_identical(other$metadata$labels$c, "d")
  expect_null(other$spec$template$spec$tolerations)
  expect_null(rerun_of(job_template = NULL)$spec$template$spec$tolerations)
})

test_on_both_roads("what has failed or was cancelled is submitted again, with its first arguments and a new batch id", {
  kubectl <- local_batch()
  expect_message(batch <- rerun(), "^2 jobs created in batch b-")
  expect_identical(class(batch), c("abba_batch", "data.frame"))
  expect_named(batch, c("job_id", "batch_id", "program", "submitted"))
  expect_identical(batch$program, c("b.R", "c.R"))
  expect_match(batch$batch_id, paste0("^b-", uuid, "$"), all = TRUE)
  expect_length(unique(batch$batch_id), 1L)
  expect_s3_class(batch$submitted, "POSIXct")
  expect_false(anyNA(batch$submitted))
  jobs <- sent(kubectl)
  expect_named(jobs, c("b.R", "c.R"))
  for (job in jobs) {
    expect_identical(program_container(job)$image, "r:1")
    expect_identical(program_container(job)$resources$limits, list(
      cpu = "250m", `ephemeral-storage` = "3G", memory = "1G"
    ))
    expect_identical(job$metadata$annotations[["abba/user-tag"]], "first")
    expect_identical(job$spec$template$spec$activeDeadlineSeconds, 90L)
    expect_identical(utils::tail(program_container(job)$command, 3L), list("--args", "--first", ""))
    expect_true(list(list(name = "A", value = "first")) %in% program_container(job)$env)
    expect_true(all(c("/opt/R/bin/R", "--vanilla") %in% unlist(program_container(job)$command)))
    expect_identical(job$metadata$labels[["kueue.x-k8s.io/queue-name"]], "team-a")
    expect_identical(job$metadata$labels[["abba/batch-id"]], batch$batch_id[[1]])
    # How long jobs are kept is the server's to say.
    expect_identical(job$spec$ttlSecondsAfterFinished, if (by_kubectl()) 172800L else 604800L)
  }
  expect_identical(vapply(jobs, function(job) job$metadata$name, "", USE.NAMES = FALSE), batch$job_id)
  expect_false(any(batch$job_id %in% c("b-2", "c-3")))
})

test_on_both_roads("what is unknown is submitted again on demand only, since it may still run", {
  kubectl <- local_batch()
  expect_identical(suppressMessages(rerun(include_unknown = TRUE))$program, c("b.R", "c.R", "e.R"))
})

test_on_both_roads("a program that was mended runs as it is now, not a file of that name in the working directory", {
  kubectl <- local_batch()
  writeLines("print('mended')", "b.R")
  local_programs(c("b.R", "c.R"))
  suppressMessages(rerun())
  text <- sent(kubectl)[["b.R"]]$spec$template$metadata$annotations[["abba/program-text"]]
  expect_identical(text, "print('mended')\n")
})

test_on_both_roads("arguments that are given replace the first ones, for all programs", {
  kubectl <- local_batch()
  batch <- suppressMessages(rerun(
    memory_limit = "4G", cpu_limit = 2, container = "r:2", user_tag = "second", batch_group_id = "again",
    time_limit_seconds = 10, arguments = "--second",
    mounts = list(
      volumes = list(list(name = "v", nfs = list(server = "192.0.2.1", path = "/v"))),
      volumeMounts = list(list(name = "v", mountPath = "/v"))
    )
  ))
  expect_identical(batch$batch_id, c("again", "again"))
  for (job in sent(kubectl)) {
    expect_identical(program_container(job)$image, "r:2")
    expect_identical(
      program_container(job)$resources$limits, list(cpu = "2", `ephemeral-storage` = "3G", memory = "4G")
    )
    expect_identical(job$metadata$annotations[["abba/user-tag"]], "second")
    expect_identical(job$spec$template$spec$activeDeadlineSeconds, 10L)
    expect_identical(utils::tail(program_container(job)$command, 2L), list("--args", "--second"))
    expect_true("/v" %in% vapply(program_container(job)$volumeMounts, `[[`, "", "mountPath"))
  }
})

test_on_both_roads("mounts, a time limit, a user and a tag can be taken away", {
  local_programs("b.R")
  mounts <- list(
    volumes = list(list(name = "v", nfs = list(server = "192.0.2.1", path = "/v"))),
    volumeMounts = list(list(name = "v", mountPath = "/v"))
  )
  kubectl <- local_scripted_kubectl(
    creates(), pods_of(pod("b-2", ended(1L), "Failed")),
    jobs_of(full_job("b-2", "b.R", arguments = kept("b.R", mounts = mounts), annotations = of_caller))
  )
  suppressMessages(rerun())
  taken <- list(mounts = "", time_limit_seconds = NULL, user_tag = "", arguments = character(), vanilla = FALSE)
  # Through an API a user submits as themselves.
  taken <- c(taken, list(r_command = NULL, queue = NULL), if (by_kubectl()) list(username = NULL))
  suppressMessages(do.call(rerun, taken))
  jobs <- sent(kubectl)
  paths <- lapply(jobs, function(job) vapply(program_container(job)$volumeMounts, `[[`, "", "mountPath"))
  expect_identical(vapply(paths, function(path) "/v" %in% path, NA, USE.NAMES = FALSE), c(TRUE, FALSE))
  limits <- lapply(unname(jobs), function(job) job$spec$template$spec$activeDeadlineSeconds)
  expect_identical(limits, list(90L, NULL))
  queues <- lapply(unname(jobs), function(job) job$metadata$labels[["kueue.x-k8s.io/queue-name"]])
  # A server that has queues puts what names none into its first.
  expect_identical(queues, list("team-a", if (!by_kubectl()) "a"))
  for (word in c("--args", "--vanilla", "/opt/R/bin/R")) {
    has <- vapply(unname(jobs), function(job) word %in% program_container(job)$command, NA)
    expect_identical(has, c(TRUE, FALSE), info = word)
  }
})

test_on_both_roads("what was cancelled a moment ago is waited for", {
  local_programs("a.R")
  ending <- full_pod("a-1", running())
  ending$metadata$annotations[["abba/cancelled-by"]] <- "mike"
  ended <- full_pod("a-1", ended(143L), "Failed")
  ended$metadata$annotations <- ending$metadata$annotations
  local_scripted_kubectl(
    creates(), pods_of(ending), pods_of(ended),
    jobs_of(full_job("a-1", "a.R", arguments = kept("a.R"), annotations = of_caller))
  )
  expect_identical(suppressMessages(rerun())$program, "a.R")
})

test_on_both_roads("a program that ran in place is submitted by its path alone, and without its mount with its text", {
  local_programs(c("a.R", "b.R"))
  mounts <- function(path) {
    list(
      volumes = list(list(name = "v", nfs = list(server = "192.0.2.1", path = path))),
      volumeMounts = list(list(name = "v", mountPath = path))
    )
  }
  batch_in <- function(folder) {
    path <- file.path(folder, "a.R")
    arguments <- kept(path, expanded_path = path, absolute_path = NULL, mounts = mounts(folder))
    local_scripted_kubectl(
      creates(), pods_of(pod("a-1", ended(1L), "Failed")),
      jobs_of(full_job("a-1", path, arguments = arguments, annotations = of_caller)),
      env = parent.frame()
    )
  }
  text_of <- function(job) job$spec$template$metadata$annotations[["abba/program-text"]]
  # Through an API it need not be on this machine.
  for (folder in c(getwd(), if (!by_kubectl()) "/no-such-folder")) {
    kubectl <- batch_in(folder)
    suppressMessages(rerun(memory_limit = "2G"))
    job <- sent(kubectl)[[file.path(folder, "a.R")]]
    expect_true(paste0("--file=", file.path(folder, "a.R")) %in% program_container(job)$command)
    expect_null(text_of(job))
  }
  if (!by_kubectl()) expect_s3_class(raised(rerun(mounts = "")), "abba_error_input")
  kubectl <- batch_in(getwd())
  suppressMessages(rerun(mounts = ""))
  expect_identical(text_of(sent(kubectl)[[1L]]), "print(\"a.R\")\n")
})

test_on_both_roads("where nothing has failed, nothing is submitted and it is said", {
  kubectl <- local_scripted_kubectl(
    pods_of(pod("a-1")), jobs_of(full_job("a-1", arguments = list(), annotations = of_caller))
  )
  expect_words(batch <- rerun())
  expect_identical(class(batch), c("abba_batch", "data.frame"))
  expect_named(batch, c("job_id", "batch_id", "program", "submitted"))
  expect_identical(vapply(batch, function(column) class(column)[[1]], ""), c(
    job_id = "character", batch_id = "character", program = "character", submitted = "POSIXct"
  ))
  expect_identical(nrow(batch), 0L)
  expect_no_match(kubectl$requests(), "^create")
})

test_on_both_roads("where some cannot be submitted again, the error says how to submit the rest, and that works", {
  local_batch(runs(c(
    "if grep -q '\"abba/program-path\":\"c.R\"' \"$manifest\"; then",
    "  echo 'Error from server (Forbidden): jobs.batch is forbidden: exceeded quota: small' >&2; exit 1",
    "fi", "exec cat \"$manifest\""
  ), on = "create *"))
  error <- raised(rerun())
  expect_s3_class(error, "abba_error_batch_incomplete")
  expect_identical(is.na(error$batch$submitted), c(FALSE, TRUE))
  if (by_kubectl()) expect_words(abba_rerun_k8s_batch_local("b-1", namespace = "n"), error = TRUE)
  kubectl <- local_scripted_kubectl(creates())
  rest <- suppressMessages(submit_batch(error$batch))
  expect_named(sent(kubectl), "c.R")
  expect_identical(rest$batch_id, error$batch$batch_id)
})

test_on_both_roads("a program that is no longer there submits nothing", {
  kubectl <- local_batch()
  unlink("c.R")
  error <- raised(rerun())
  expect_s3_class(error, "abba_error_input")
  expect_match(conditionMessage(error), "c.R", fixed = TRUE)
  expect_no_match(kubectl$requests(), "^create")
})

test_on_both_roads("a job that does not say what it was submitted with is an error that names it", {
  kubectl <- local_scripted_kubectl(
    pods_of(pod("a-1", ended(1L), "Failed")), jobs_of(full_job("a-1", annotations = of_caller))
  )
  error <- raised(rerun())
  expect_s3_class(error, "abba_error_invalid")
  expect_identical(error$job_id, "a-1")
  if (by_kubectl()) expect_words(abba_rerun_k8s_batch_local("b-1", namespace = "n"), error = TRUE)
})

test_on_both_roads("a batch that does not exist is an error that names it", {
  local_scripted_kubectl(says(list_of()))
  expect_s3_class(raised(rerun("nope")), "abba_error_not_found")
})

test_that("bad arguments are refused before kubectl starts", {
  expect_words(refuse(
    rerun(NULL), rerun(""), rerun(c("a", "b")), rerun("a b"), rerun(NA_character_), rerun(1),
    rerun("b-1", "4G"), rerun(memory = "4G"), rerun(file_path = "a.R"), rerun(memory_limit = NA),
    rerun(memory_limit = NULL), rerun(memory_limit = "512m"), rerun(memory_limit = c("1G", "2G")),
    rerun(cpu_limit = "lots"), rerun(cpu_limit = -1), rerun(container = ""), rerun(container = "a b"),
    rerun(mounts = 1), rerun(auto_mount_home = NA), rerun(home_nfs_ip_address = 1), rerun(username = ""),
    rerun(user_tag = NULL), rerun(batch_group_id = ""), rerun(batch_group_id = "a b"),
    rerun(time_limit_seconds = 0), rerun(time_limit_seconds = "a"), rerun(user_tag = "a", user_tag = "b"),
    rerun(include_unknown = NA), rerun(include_unknown = 1), rerun(namespace = "A")
  ))
})

test_that("mounts are submitted again as they were, empty arrays and objects too", {
  text <- "{\"volumes\":[{\"name\":\"d\",\"emptyDir\":{},\"items\":[]}],\"volumeMounts\":[]}"
  expect_identical(core_json(with_empty_arrays(jsonlite::parse_json(text)))$value, text)
  expect_null(with_empty_arrays(NULL))
})

test_on_both_roads("at an interactive console a rerun, and a wait that ends before its jobs, name a server's page", {
  local_batch()
  rlang::local_interactive(TRUE)
  withr::local_options(cli.dynamic = TRUE, cli.num_colors = 1L, cli.hyperlink = FALSE)
  see <- function(view, id) {
    if (by_kubectl()) character() else paste0("See it at <http://127.0.0.1:8000/#", view, "=", id, ">")
  }
  said <- utils::capture.output(invisible(rerun(batch_group_id = "again")), type = "message")
  expect_identical(said[-1L], see("batch", "again"))
  ends_with <- function(call) {
    utils::capture.output(error <- raised(call()), type = "message")
    lines <- strsplit(conditionMessage(error), "\n", fixed = TRUE)[[1L]]
    expect_match(lines[[3L]], "To wait longer: ", fixed = TRUE)
    sub("^i ", "", lines[-(1:3)])
  }
  expect_identical(ends_with(function() watch("d-4", timeout_seconds = 0)), see("job", "d-4"))
  expect_identical(ends_with(function() watch_batch(timeout_seconds = 0)), see("batch", "b-1"))
  # There is no page for some jobs.
  expect_identical(ends_with(function() watch(c("d-4", "a-1"), timeout_seconds = 0)), character())
})
