# The cluster functions for batchtools, with the real package, and a scripted kubectl.

# A registry in a folder of its own until the test ends, with storage that holds it.
local_registry <- function(env = parent.frame()) {
  withr::local_options(batchtools.verbose = FALSE, batchtools.progress = FALSE, .local_envir = env)
  # A user's own configuration is none of these tests.
  withr::local_envvar(R_BATCHTOOLS_SEARCH_PATH = withr::local_tempdir(.local_envir = env), .local_envir = env)
  folder <- normalizePath(withr::local_tempdir("study-", .local_envir = env))
  registry <- batchtools::makeRegistry(file.path(folder, "registry"), folder, conf.file = NA, make.default = FALSE)
  withr::defer(rm(list = ls(registry), envir = registry), envir = env)
  list(registry = registry, folder = folder, mounts = storage_at(folder))
}
storage_at <- function(folder, ...) {
  list(
    volumes = list(list(name = "study", nfs = list(server = "192.0.2.1", path = folder))),
    volumeMounts = list(list(name = "study", mountPath = folder, ...))
  )
}
cluster_functions <- function(..., container = "r:1") {
  road <- if (by_kubectl()) list(namespace = "n") else list(api = TRUE)
  do.call(abba_cluster_functions, c(list(..., container = container, scheduler_latency = 0, fs_latency = 0), road))
}
# Has the registry hold so many jobs, and submits them in chunks of the sizes given.
submit_chunks <- function(registry, sizes = 1L, ...) {
  batchtools::batchMap(identity, seq_len(sum(sizes)), reg = registry)
  ids <- data.frame(job.id = seq_len(sum(sizes)), chunk = rep(seq_along(sizes), sizes))
  batchtools::submitJobs(ids, ..., reg = registry)
}

test_on_both_roads("each chunk of jobs is a job, whose program gets the files of the registry", {
  study <- local_registry()
  kubectl <- local_scripted_kubectl(creates())
  study$registry$cluster.functions <- cluster_functions(mounts = study$mounts, cpu_limit = 0.5)
  expect_silent(submit_chunks(study$registry, c(3L, 1L)))
  jobs <- lapply(which(grepl("^create ", kubectl$requests())), kubectl$manifest)
  expect_length(jobs, 2L)
  table <- batchtools::getJobTable(reg = study$registry)
  expect_identical(vapply(jobs, function(job) job$metadata$name, ""), unique(table$batch.id))
  expect_match(table$batch.id, paste0("^batchtools-[14]-", uuid, "$"))
  batch_ids <- vapply(jobs, function(job) job$metadata$labels[["abba/batch-id"]], "")
  expect_match(batch_ids, "^batchtools-registry-[0-9a-f]{8}$")
  expect_identical(unique(batch_ids), batch_of_registry(study$registry))
  container <- program_container(jobs[[1L]])
  expect_identical(container$resources$limits$cpu, "500m")
  hash <- table$job.hash[[1L]]
  arguments <- jsonlite::fromJSON(jobs[[1L]]$metadata$annotations[["abba/arguments"]])
  expect_identical(
    arguments$arguments, file.path(study$registry$file.dir, c("jobs", "logs"), paste0(hash, c(".rds", ".log")))
  )
  expect_identical(arguments$user_tag, "3 batchtools jobs from 1 to 3")
  # What the program reads is there.
  expect_true(file.exists(arguments$arguments[[1L]]))
})

test_on_both_roads("resources are arguments of a submission, by abba's names or by those of batchtools", {
  study <- local_registry()
  kubectl <- local_scripted_kubectl(creates())
  study$registry$cluster.functions <- cluster_functions(
    mounts = study$mounts, memory_limit = "1G", environment = c(A = "1"), time_limit_seconds = 7
  )
  submit_chunks(study$registry, resources = list(
    ncpus = 2L, memory = 300, walltime = 60, container = "r:2", measure.memory = TRUE, max.concurrent.jobs = 10L
  ))
  job <- kubectl$manifest()
  container <- program_container(job)
  expect_identical(container$image, "r:2")
  expect_identical(container$resources$limits[c("cpu", "memory")], list(cpu = "2", memory = "300M"))
  expect_identical(job$spec$template$spec$activeDeadlineSeconds, 60L)
  expect_match(jsonlite::toJSON(container$env), "\"A\"", fixed = TRUE)
  known <- c("cpu_limit", "memory_limit")
  expect_identical(
    arguments_of_resources(list(ncpus = 2, memory = "1Gi", cpu_limit = 1), known, "verb", NULL),
    list(cpu_limit = 1, memory_limit = "1Gi")
  )
})

test_that("what cannot be right stops before anything is sent, and says why", {
  study <- local_registry()
  kubectl <- local_scripted_kubectl(fails("error: kubectl was started\n"))
  batchtools::batchMap(identity, 1, reg = study$registry)
  try_with <- function(..., resources = list()) {
    study$registry$cluster.functions <- cluster_functions(...)
    tell(batchtools::submitJobs(resources = resources, reg = study$registry))
  }
  expect_words(
    {
      tell(cluster_functions(cpu = 1))
      tell(cluster_functions(1))
      tell(cluster_functions(arguments = "a"))
      tell(cluster_functions(cpu_limit = TRUE))
      tell(abba_cluster_functions(api = NA))

      # No storage holds the registry
      try_with()

      # It may only be read
      try_with(mounts = storage_at(study$folder, readOnly = TRUE))

      # Resources that there are not
      try_with(mounts = study$mounts, resources = list(nodes = 2))
      try_with(mounts = study$mounts, resources = list(cpu_limit = "much"))
    },
    hide = study$folder
  )
  expect_identical(kubectl$count(), 0L)
})

test_on_both_roads("jobs that wait and jobs that run are told from one look, and one of a lost node may run", {
  study <- local_registry()
  lost <- full_pod("d-4", running(), conditions = list(condition("Ready", "False"), condition("ContainersReady")))
  batch <- batch_of_registry(study$registry)
  kubectl <- local_cluster(
    list(full_pod("a-1"), full_pod("b-2", running()), lost),
    lapply(c("a-1", "b-2", "c-3", "d-4"), full_job, batch_id = batch)
  )
  functions <- cluster_functions(mounts = study$mounts)
  # Nobody is asked for the jobs of a registry that has none on the cluster.
  expect_identical(functions$listJobsQueued(study$registry), character())
  expect_identical(kubectl$count(), 0L)
  study$registry$status <- data.frame(submitted = 1, done = NA_real_)
  looks <- function() sum(grepl("/jobs", kubectl$requests(), fixed = TRUE))
  both <- function() {
    c(functions$listJobsRunning(study$registry), "queued", functions$listJobsQueued(study$registry))
  }
  expect_setequal(both()[1:2], c("b-2", "d-4"))
  before <- looks()
  expect_identical(both()[3:4], c("queued", "c-3"))
  if (by_kubectl()) expect_identical(looks(), 2L * before)
  # Asked by itself, each looks.
  expect_identical(functions$listJobsQueued(study$registry), "c-3")
  expect_identical(functions$listJobsQueued(study$registry), "c-3")
  if (by_kubectl()) expect_identical(looks(), 4L * before)
  if (by_kubectl()) expect_match(utils::URLdecode(kubectl$requests()[[1L]]), batch, fixed = TRUE)
})

test_that("a cluster that cannot be asked is an error, and no job counts as expired", {
  study <- local_registry()
  kubectl <- local_scripted_kubectl(creates(), fails("Unable to connect to the server: EOF\n"))
  study$registry$cluster.functions <- cluster_functions(mounts = study$mounts)
  submit_chunks(study$registry)
  expect_s3_class(raised(batchtools::findOnSystem(reg = study$registry)), "abba_error_kubectl")
  expect_match(kubectl$requests()[[2L]], "^get ")
})

test_on_both_roads("a job of batchtools is killed by cancelling its job", {
  study <- local_registry()
  kubectl <- local_cluster(list(full_pod("a-1", running())))
  cluster_functions(mounts = study$mounts)$killJob(study$registry, "a-1")
  expect_identical(grep("^replace ", kubectl$requests(), value = TRUE), "replace /api/v1/namespaces/n/pods/a-1-2dbr8")
  expect_s3_class(
    raised(cluster_functions(mounts = study$mounts)$killJob(study$registry, "nope")), "abba_error_not_found"
  )
})

# A road on which submissions end as the functions say, one after another; each gets the job's id.
scripted_road <- function(...) {
  answers <- list(...)
  asked <- character()
  list(
    call = rlang::current_env(), asked = function() asked,
    call_text = function(...) "a call",
    prepare = function(submissions) list(ready = submissions),
    submit_one = function(ready) {
      asked <<- c(asked, ready$job_id)
      answers[[min(length(asked), length(answers))]](ready$job_id)
    }
  )
}
fails_as <- function(class, may_exist) {
  function(id) rlang::abort("It went wrong.", class = error_classes(class), job_id = if (may_exist) id)
}
collection <- function(hash) list(job.hash = hash, job.name = "fit model", jobs = list(job.id = 7L))
submit_with <- function(road, jc, seen) {
  submit_collection(road, jc, seen, function() list(batch_group_id = "b-1"))
}

test_that("a job that may exist is submitted again under its id, until it is known", {
  seen <- new.env()
  # Once it may exist, an error that says nothing of it does not change that.
  road <- scripted_road(
    fails_as("timeout", TRUE), fails_as("unauthorized", FALSE), function(id) TRUE, fails_as("timeout", FALSE)
  )
  said <- character()
  submit <- function(hash) {
    withCallingHandlers(submit_with(road, collection(hash), seen), message = function(cnd) {
      said <<- c(said, conditionMessage(cnd))
      invokeRestart("muffleMessage")
    })
  }
  results <- lapply(c("job1", "job1", "job1"), submit)
  expect_identical(vapply(results, `[[`, 1L, "status"), c(1L, 1L, 0L))
  expect_identical(unique(road$asked()), results[[3L]]$batch.id)
  expect_match(results[[3L]]$batch.id, paste0("^fit-model-", uuid, "$"))
  expect_match(said, "is submitted under the same id until it is", fixed = TRUE)
  expect_length(said, 1L)
  # Another collection has nothing of this; what was not created stops batchtools at once.
  last <- submit("job2")
  expect_identical(last$status, 101L)
  expect_false(road$asked()[[4L]] == results[[3L]]$batch.id)
})

test_that("Ctrl-C while a job is submitted is an interrupt, which tells the job", {
  road <- scripted_road(function(id) rlang::interrupt())
  said <- NULL
  caught <- tryCatch(
    withCallingHandlers(submit_with(road, collection("job1"), new.env()), message = function(cnd) said <<- cnd),
    interrupt = identity
  )
  expect_s3_class(caught, "interrupt")
  expect_match(conditionMessage(said), "Whether the job was created is not known", fixed = TRUE)
})

test_that("the program writes to the registry's log and to its own, and fails where there is no collection", {
  study <- local_registry()
  batchtools::batchMap(function(x) if (x == 1) cat("one \u00e9\n") else stop("no two"), 1:2, reg = study$registry)
  jc <- batchtools::makeJobCollection(1:2, reg = study$registry)
  saveRDS(jc, jc$uri)
  program <- system.file("programs", "batchtools.R", package = "abba")
  # A name that a shell would take apart.
  log <- file.path(study$folder, "a $(touch x) 'b' \"c\".log")
  run <- function() {
    processx::run(
      file.path(R.home("bin"), "Rscript"), c("--vanilla", program, jc$uri, log),
      error_on_status = FALSE, wd = study$folder,
      env = c("current", R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep), R_TESTS = "")
    )
  }
  first <- run()
  expect_identical(first$status, 0L, info = first$stderr)
  lines <- readLines(log, encoding = "UTF-8")
  expect_identical(lines, strsplit(first$stdout, "\n")[[1L]])
  expect_true("one \u00e9" %in% lines)
  expect_match(lines, "^Error in .* : no two$", all = FALSE)
  batchtools::syncRegistry(reg = study$registry)
  # The collection is gone once it has begun: it runs once.
  again <- run()
  expect_identical(again$status, 1L)
  expect_match(readLines(log), "Error in", all = FALSE)
  expect_identical(list.files(study$folder), sort(c(basename(log), "registry")))
})
