# The session of the vignette, from submission to log.
local_namespace()

uuid <- "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

descriptions <- c(
  Pending = paste(
    "The Pod has been accepted by the Kubernetes cluster, but one or more of the containers has not been set up",
    "and made ready to run. This includes time a Pod spends waiting to be scheduled as well as the time spent",
    "downloading container images over the network."
  ),
  Running = paste(
    "The Pod has been bound to a node, and all of the containers have been created. At least one container is",
    "still running, or is in the process of starting or restarting."
  ),
  Succeeded = "All containers in the Pod have terminated in success, and will not be restarted."
)

test_that("the vignette's session gives exactly what it shows", {
  path <- file.path(repository, "test_programs", "test_program.R")
  said <- capture_messages(job <- abba_submit_k8s_job_local(path, container = r_image))
  status <- abba_get_k8s_job_status_local(job$job_id)

  expect_identical(said, paste0("job.batch/", job$job_id, " created\n"))
  expect_identical(job, list(job_id = job$job_id, batch_id = job$batch_id))
  expect_match(job$job_id, paste0("^test-program-", uuid, "$"))
  expect_match(job$batch_id, paste0("^test_program-", uuid, "$"))

  # It may be in any of these states so shortly after, and has a pod or not.
  expect_true(names(status) %in% names(descriptions))
  id <- status[[1L]]$Jobs[[1L]]$id
  expect_true(id %in% c(job$job_id, pods_of(job$job_id)))
  expected <- list(list(
    Jobs = list(list(id = id, path = path)),
    Description = descriptions[[names(status)]]
  ))
  names(expected) <- names(status)
  expect_identical(status, expected)

  wait_for_end(job$job_id)
  status <- abba_get_k8s_job_status_local(job$job_id)
  pod <- pods_of(job$job_id)
  expect_length(pod, 1L)
  expect_identical(status, list(Succeeded = list(
    Jobs = list(list(id = pod, path = path)),
    Description = descriptions[["Succeeded"]]
  )))

  log <- abba_get_k8s_job_log_local(job$job_id)
  expect_identical(log, list(list(
    job_id = job$job_id,
    log = c("[1] 4", "Warning message:", "This is a test warning ", "La-di-da")
  )))

  withr::local_options(width = 80)
  printed <- capture.output({
    print(job)
    print(status)
    print(log)
  })
  printed <- gsub(pod, "<pod>", printed, fixed = TRUE)
  printed <- gsub(job$job_id, "<job>", printed, fixed = TRUE)
  printed <- gsub(job$batch_id, "<batch>", printed, fixed = TRUE)
  printed <- gsub(path, "<path>", printed, fixed = TRUE)
  expect_identical(printed, c(
    "$job_id",
    "[1] \"<job>\"",
    "",
    "$batch_id",
    "[1] \"<batch>\"",
    "",
    "$Succeeded",
    "$Succeeded$Jobs",
    "$Succeeded$Jobs[[1]]",
    "$Succeeded$Jobs[[1]]$id",
    "[1] \"<pod>\"",
    "",
    "$Succeeded$Jobs[[1]]$path",
    "[1] \"<path>\"",
    "",
    "",
    "",
    "$Succeeded$Description",
    "[1] \"All containers in the Pod have terminated in success, and will not be restarted.\"",
    "",
    "",
    "[[1]]",
    "[[1]]$job_id",
    "[1] \"<job>\"",
    "",
    "[[1]]$log",
    "[1] \"[1] 4\"                   \"Warning message:\"       ",
    "[3] \"This is a test warning \" \"La-di-da\"               ",
    "",
    ""
  ))
})

test_that("the message of a submission can be silenced, and nothing else is said", {
  path <- local_program("invisible()")
  expect_silent(suppressMessages(abba_submit_k8s_job_local(path)))
  expect_output(suppressMessages(abba_submit_k8s_job_local(path)), NA)
})

test_that("a path relative to the working directory, or with a tilde, comes back as it was given", {
  folder <- withr::local_tempdir()
  local_program("cat('here\\n')", "a.R", folder)
  withr::local_dir(folder)
  withr::local_envvar(HOME = folder)
  ids <- vapply(c("a.R", "./a.R", "~/a.R"), submit, "")
  paths <- vapply(ids, function(id) abba_get_k8s_job_status_local(id)[[1L]]$Jobs[[1L]]$path, "")
  expect_identical(unname(paths), c("a.R", "./a.R", "~/a.R"))
  expect_setequal(wait_for_end(unname(ids)), "Succeeded")
  expect_identical(unique(lapply(unname(ids), log_of)), list("here"))
})
