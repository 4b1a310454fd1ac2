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
    if (x == 50) while (!file.exists(gate)) Sys.sleep(0.05)
    if (x == 49) stop("not this one")
    x^2
  }
  batchtools::batchMap(square, 1:50, more.args = list(gate = gate, folder = study$folder), reg = registry)
  # Six elements a job, and one for each of the last two: the node has room for a few jobs at once.
  ids <- data.frame(job.id = 1:50, chunk = c(rep(1:8, each = 6L), 9L, 10L))
  batchtools::submitJobs(ids, resources = list(walltime = 600, memory = 256), reg = registry)
  expect_false(batchtools::waitForJobs(1:49, sleep = 0.5, reg = registry))
  expect_identical(unlist(batchtools::reduceResultsList(1:48, reg = registry)), (1:48)^2)
  expect_match(batchtools::getErrorMessages(reg = registry)$message, "not this one", fixed = TRUE)
  expect_match(batchtools::getLog(49, reg = registry), "not this one", fixed = TRUE, all = FALSE)

  wait_until(function() file.exists(file.path(study$folder, "ran-50")), what = "the last to begin")
  expect_identical(batchtools::findOnSystem(reg = registry)$job.id, 50L)
  jobs <- batchtools::getJobTable(reg = registry)$batch.id
  # What R printed in the job is in the log of abba, too, which tells of an error in a program that has succeeded.
  expect_identical(unname(wait_for_end(jobs[[49L]])), "Succeeded")
  expect_warning(log <- log_of(jobs[[49L]]), class = "abba_warning_log_verdict")
  expect_match(log, "not this one", fixed = TRUE, all = FALSE)
  expect_true(all(batchtools::killJobs(50, reg = registry)$killed))
  expect_identical(unname(wait_for_end(jobs[[50L]])), "Failed")
  expect_identical(batchtools::findOnSystem(reg = registry)$job.id, integer())
  expect_identical(abba_explain_k8s_job_local(jobs[[50L]])$reason, "The program was cancelled.")

  file.create(gate)
  batchtools::submitJobs(50, reg = registry)
  expect_true(batchtools::waitForJobs(50, sleep = 0.5, reg = registry))
  expect_identical(batchtools::loadResult(50, reg = registry), 2500)
  runs <- vapply(1:50, function(x) length(readLines(file.path(study$folder, paste0("ran-", x)))), 1L)
  expect_identical(runs, c(rep(1L, 49L), 2L))
  # Ten jobs, and the killed one again.
  expect_length(jobs_in(), 11L)
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
  # What stands on futures runs the same way.
  squares <- furrr::future_map_dbl(1:4, function(x) x^2, .options = furrr::furrr_options(chunk_size = 2))
  expect_identical(squares, (1:4)^2)
  expect_identical(nrow(abba_list_k8s_jobs_local(batch_id = "futures")), 4L)
  killed <- future::future({
    cat("before the end\n")
    tools::pskill(Sys.getpid(), 9L)
    Sys.sleep(600)
  })
  expect_error(future::value(killed), "expired")
  ends <- wait_for_end(abba_list_k8s_jobs_local(batch_id = "futures")$job_id)
  expect_identical(sort(unname(ends)), c("Failed", rep("Succeeded", 4L)))
})
