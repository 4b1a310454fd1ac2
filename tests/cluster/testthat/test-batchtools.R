# batchtools and futures, with the real packages. The image has R alone: packages are those of the node, which is this
# machine, and of the same Debian, and so is the one library that they need beside it.
local_namespace()
withr::local_options(batchtools.verbose = FALSE, batchtools.progress = FALSE, .local_envir = teardown_env())

# A study's folder on the node, and the arguments with which programs can use it.
local_study <- function(env = parent.frame()) {
  folder <- normalizePath(withr::local_tempdir("study-", .local_envir = env))
  Sys.chmod(folder, "0777", use_umask = FALSE)
  stopifnot(file.copy(Sys.glob("/usr/lib/*/libuv.so.1"), folder))
  machine <- host_path("/usr", "/host", name = "machine")
  libraries <- sub("^/usr/", "/host/", grep("^/usr/", .libPaths(), value = TRUE))
  list(
    folder = folder,
    arguments = list(
      mounts = Map(c, host_path(folder), machine),
      environment = c(R_LIBS = paste(libraries, collapse = ":"), LD_LIBRARY_PATH = folder),
      cpu_limit = 0.2, fs_latency = 20
    )
  )
}
local_registry <- function(study, ...) {
  registry <- batchtools::makeRegistry(
    file.path(study$folder, "registry"), study$folder,
    conf.file = NA, make.default = FALSE
  )
  registry$cluster.functions <- do.call(abba_cluster_functions, c(study$arguments, list(...)))
  registry
}

test_that("a map runs each element once, a killed one does not count as done, and can run again", {
  study <- local_study()
  registry <- local_registry(study)
  gate <- file.path(study$folder, "open")
  square <- function(x, gate, folder) {
    cat("run\n", file = file.path(folder, paste0("ran-", x)), append = TRUE)
    if (x == 6) while (!file.exists(gate)) Sys.sleep(0.05)
    if (x == 5) stop("no five")
    x^2
  }
  batchtools::batchMap(square, 1:6, more.args = list(gate = gate, folder = study$folder), reg = registry)
  # Two elements a job.
  ids <- data.frame(job.id = 1:6, chunk = c(1L, 1L, 2L, 2L, 3L, 4L))
  batchtools::submitJobs(ids, resources = list(walltime = 600, memory = 256), reg = registry)
  expect_false(batchtools::waitForJobs(1:5, sleep = 0.5, reg = registry))
  expect_identical(unlist(batchtools::reduceResultsList(1:4, reg = registry)), c(1, 4, 9, 16))
  expect_match(batchtools::getErrorMessages(reg = registry)$message, "no five", fixed = TRUE)
  expect_match(batchtools::getLog(5, reg = registry), "no five", fixed = TRUE, all = FALSE)

  wait_until(function() file.exists(file.path(study$folder, "ran-6")), what = "the sixth to begin")
  expect_identical(batchtools::findOnSystem(reg = registry)$job.id, 6L)
  jobs <- batchtools::getJobTable(reg = registry)$batch.id
  # What R printed in the job is in the log of abba, too, which tells of an error in a program that has succeeded.
  expect_identical(unname(wait_for_end(jobs[[5L]])), "Succeeded")
  expect_warning(log <- log_of(jobs[[5L]]), class = "abba_warning_log_verdict")
  expect_match(log, "no five", fixed = TRUE, all = FALSE)
  expect_true(all(batchtools::killJobs(6, reg = registry)$killed))
  expect_identical(unname(wait_for_end(jobs[[6L]])), "Failed")
  expect_identical(batchtools::findOnSystem(reg = registry)$job.id, integer())
  expect_identical(abba_explain_k8s_job_local(jobs[[6L]])$reason, "The program was cancelled.")

  file.create(gate)
  batchtools::submitJobs(6, reg = registry)
  expect_true(batchtools::waitForJobs(6, sleep = 0.5, reg = registry))
  expect_identical(batchtools::loadResult(6, reg = registry), 36)
  runs <- vapply(1:6, function(x) length(readLines(file.path(study$folder, paste0("ran-", x)))), 1L)
  expect_identical(runs, c(1L, 1L, 1L, 1L, 1L, 2L))
  # Four jobs, and the killed one again.
  expect_length(jobs_in(), 5L)
})

test_that("futures run as jobs, and one whose program is killed is an error", {
  study <- local_study()
  withr::local_dir(study$folder)
  withr::local_options(future.cache.path = file.path(study$folder, ".future"), future.wait.interval = 0.2)
  functions <- do.call(abba_cluster_functions, c(study$arguments, list(batch_group_id = "futures")))
  before <- future::plan(
    future.batchtools::batchtools_custom,
    cluster.functions = functions, conf.file = NA, resources = list(memory = 256)
  )
  withr::defer(future::plan(before))
  values <- future.apply::future_sapply(1:6, function(x) c(x^2, Sys.getpid()), future.chunk.size = 3)
  expect_identical(values[1L, ], (1:6)^2)
  expect_identical(nrow(abba_list_k8s_jobs_local(batch_id = "futures")), 2L)
  killed <- future::future({
    cat("before the end\n")
    tools::pskill(Sys.getpid(), 9L)
    Sys.sleep(600)
  })
  expect_error(future::value(killed), "expired")
  ends <- wait_for_end(abba_list_k8s_jobs_local(batch_id = "futures")$job_id)
  expect_identical(sort(unname(ends)), c("Failed", "Succeeded", "Succeeded"))
})
