#' Run jobs of batchtools and futures on Kubernetes
#'
#' Cluster functions for the package batchtools: each of its jobs, or chunk of jobs, runs as a
#' Kubernetes job. With them the packages that stand on batchtools run on the cluster, too:
#' `future.batchtools`, and what uses futures, such as `future.apply`.
#'
#' The registry of batchtools, its working directory, and the packages that jobs load must be
#' there for the programs under the same paths as here: name storage that holds the registry
#' and the working directory in `mounts`, or use `auto_mount_home`, and an image with R and
#' the package batchtools. The program must be allowed to write there, see `username`.
#'
#' Each program runs once. Where it is not known whether a job was created, batchtools submits
#' it again under the same id until it is. A program that was killed, or that could not start
#' in its container, is `expired` for batchtools; [abba_explain_k8s_job_local()] says why. Its
#' id is the `batch.id` of `batchtools::getJobTable()`. An R error in a job is an error for
#' batchtools, and the Kubernetes job is `"Succeeded"`, with the verdict `"errors"`.
#'
#' All jobs of a registry are in one batch: `batchtools-`, the name of its folder, and eight
#' characters that stand for its path. Give `batch_group_id` for another one, such as one for
#' all registries of a plan of futures; it must be the same in each session that uses the registry.
#'
#' @section Resources:
#' `...` are for all jobs; the `resources` of `batchtools::submitJobs()`, `default.resources` of a
#' registry or `resources` of a plan of futures win over them. They have the same names: `cpu_limit`,
#' `memory_limit`, `container`, `job_template`, `time_limit_seconds`, `queue` and all others. Those of
#' batchtools are understood, too: `ncpus` (cores), `memory` (in megabytes), and `walltime` (in
#' seconds); `pm.backend`, `foreach.backend`, `measure.memory` and their like are batchtools' own.
#' Others are an error.
#'
#' @param ... Arguments of [abba_submit_k8s_job_local()], or with `api = TRUE` of [abba_submit_job()],
#'   by name, for all jobs.
#' @param namespace As for [abba_submit_k8s_job_local()].
#' @param api `FALSE` to reach the cluster through `kubectl`, `TRUE` through the abba API of your department.
#' @param scheduler_latency,fs_latency As for `batchtools::makeClusterFunctions()`: for how many
#'   seconds batchtools waits after it has submitted or killed jobs, and for files to appear that a job
#'   on another machine has written.
#'
#' @return An object of class `ClusterFunctions`, as `batchtools::makeClusterFunctions()` makes it.
#'
#' @section Errors:
#' A registry that no storage holds, arguments and resources that cannot be right, and what the cluster
#' refuses stop `batchtools::submitJobs()`. Where the cluster cannot be asked for jobs, batchtools stops with
#' abba's error, and nothing counts as expired. The classes of errors are listed in [abba-package].
#'
#' @seealso `vignette("batchtools")`
#' @export
#' @examplesIf requireNamespace("batchtools", quietly = TRUE)
#' cluster <- abba_cluster_functions(
#'   container = "registry.example.com/openval_4.2.1_focal:2023.09.0.02",
#'   mounts = list(
#'     volumes = list(list(name = "studies", nfs = list(server = "192.0.2.1", path = "/studies"))),
#'     volumeMounts = list(list(name = "studies", mountPath = "/studies"))
#'   ),
#'   memory_limit = "1G"
#' )
#' cluster
#'
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' registry <- batchtools::makeRegistry("/studies/s1/registry", work.dir = "/studies/s1")
#' registry$cluster.functions <- cluster
#' batchtools::batchMap(function(x) x^2, 1:50)
#' batchtools::submitJobs(resources = list(ncpus = 1, walltime = 600))
#' batchtools::waitForJobs()
#' batchtools::reduceResultsList()
#'
#' future::plan(future.batchtools::batchtools_custom, cluster.functions = cluster)
#' future.apply::future_sapply(1:50, function(x) x^2)
#' }
abba_cluster_functions <- function(
    ...,
    namespace = getOption("abba.k8s.namespace"),
    api = FALSE,
    scheduler_latency = 1,
    fs_latency = 65) {
  rlang::check_installed("batchtools", "to run its jobs on Kubernetes.")
  call <- rlang::current_env()
  verb <- if (check_flag(api)) "abba_submit_job" else "abba_submit_k8s_job_local"
  known <- setdiff(names(formals(verb)), c("file_path", "arguments", "namespace"))
  given <- rlang::list2(...)
  check_changes(given, known, verb, call)
  # Options, and the key of an API, may be others by the time of a call.
  road <- if (api) function() road_api(call) else function() road_kubectl(namespace, call)
  road()
  seen <- new.env(parent = emptyenv())
  batchtools::makeClusterFunctions(
    name = "abba",
    submitJob = function(reg, jc) {
      submit_collection(road(), jc, seen, function() {
        resources <- arguments_of_resources(jc$resources, setdiff(known, "batch_group_id"), verb, call)
        arguments <- c(resources, given[setdiff(names(given), names(resources))])
        submission <- check_arguments(submission_of_collection(reg, jc, arguments, verb), call)
        if (!api) check_registry(submission, jc, call)
        submission
      })
    },
    # The name is batchtools' own.
    killJob = function(reg, batch.id) road()$cancel(these_jobs(batch.id, call = call)), # nolint: object_name_linter.
    # batchtools asks first which jobs run, then which wait. Between two looks a job could go from one to the other and
    # be in neither answer, so both come from one look.
    listJobsRunning = function(reg) {
      seen$asker <- parent.frame()
      seen$jobs <- living_jobs(road, reg, given$batch_group_id)
      seen$jobs$job_id[seen$jobs$status != "Pending"]
    },
    listJobsQueued = function(reg) {
      if (!identical(seen$asker, parent.frame())) seen$jobs <- living_jobs(road, reg, given$batch_group_id)
      seen$asker <- NULL
      seen$jobs$job_id[seen$jobs$status == "Pending"]
    },
    store.job.collection = TRUE,
    scheduler.latency = scheduler_latency,
    fs.latency = fs_latency
  )
}

# The resources that batchtools names by itself, as arguments of a submission.
resources_of_batchtools <- list(
  ncpus = function(x) list(cpu_limit = x),
  memory = function(x) list(memory_limit = if (is.numeric(x)) paste0(format(x, scientific = FALSE), "M") else x),
  walltime = function(x) list(time_limit_seconds = x)
)

# Those that its own functions read.
read_by_batchtools <- c(
  "array.jobs", "blas.threads", "chunks.as.arrayjobs", "foreach.backend", "max.concurrent.jobs", "measure.memory",
  "omp.threads", "pm.backend", "pm.opts", "pp.size"
)

# The arguments of a submission out of resources, of which those of batchtools' own names give way. `known`: the names
# of arguments that there are.
arguments_of_resources <- function(resources, known, verb, call) {
  theirs <- resources[names(resources) %in% names(resources_of_batchtools)]
  own <- resources[!names(resources) %in% c(names(theirs), read_by_batchtools)]
  unknown <- setdiff(names(own), known)
  if (length(unknown) > 0L) {
    rule <- paste0(
      "must hold arguments of ", verb, "(), or ", paste0("`", names(resources_of_batchtools), "`", collapse = ", "),
      ", not `", unknown[[1L]], "`"
    )
    abort_input("resources", rule, NULL, call)
  }
  translated <- do.call(c, unname(Map(function(x, name) resources_of_batchtools[[name]](x), theirs, names(theirs))))
  c(own, translated[setdiff(names(translated), names(own))])
}

# The batch of a registry, the same in each session; `own`: the one that the user gave.
batch_of_registry <- function(reg, own = NULL) {
  if (nzchar(own %||% "")) {
    return(own)
  }
  path <- as_utf8(as.character(reg$file.dir), "file.dir")
  name <- gsub("[^A-Za-z0-9_.-]+", "-", basename(path))
  paste0("batchtools-", substr(name, 1L, 40L), "-", substr(rlang::hash(utf8ToInt(path)), 1L, 8L))
}

# The jobs of a registry that have not ended. One whose node does not answer may still run. `road`: a function that
# gives the road; nobody is asked where the registry has no job on the cluster.
living_jobs <- function(road, reg, batch_id) {
  if (!any(!is.na(reg$status$submitted) & is.na(reg$status$done))) {
    return(list(job_id = character(), status = character()))
  }
  states <- c("Pending", "Running", "Unknown")
  road()$list(list(batch_id = batch_of_registry(reg, batch_id), status = states, verdict = FALSE))
}

# All arguments of the submission of a collection, those that are not in `arguments` with their defaults.
submission_of_collection <- function(reg, jc, arguments, verb) {
  ids <- jc$jobs$job.id
  own <- list(
    file_path = system.file("programs", "batchtools.R", package = "abba", mustWork = TRUE),
    arguments = as.character(c(jc$uri, jc$log.file)),
    batch_group_id = batch_of_registry(reg, arguments$batch_group_id),
    user_tag = arguments$user_tag %||% if (length(ids) == 1L) {
      paste("batchtools job", ids)
    } else {
      paste0(length(ids), " batchtools jobs from ", min(ids), " to ", max(ids))
    }
  )
  all <- get(verb)
  body(all) <- quote(mget(names(formals())))
  submission <- do.call(all, c(own, arguments[setdiff(names(arguments), names(own))]), quote = TRUE)
  submission[setdiff(names(submission), "namespace")]
}

# Refuses a registry that programs could not use.
check_registry <- function(submission, jc, call) {
  folder <- as.character(jc$file.dir)
  access <- core_value(core_storage_access(
    kubectl_submission(submission, template_reader(call), call), as_utf8(as.character(jc$uri), "file.dir", call)
  ), call)
  if (identical(access, "write")) {
    return(invisible())
  }
  is_read_only <- identical(access, "read")
  abort_record(list(
    class = "input",
    message = paste0(
      "The registry ", describe(folder),
      if (is_read_only) " is in storage that is mounted read-only" else " is in no storage that `mounts` names",
      ": programs read their jobs there, and write their results."
    ),
    consequence = "No job was created.",
    advice = if (is_read_only) {
      "Let `mounts` name that storage without `readOnly`, or make the registry where a program may write."
    } else {
      paste(
        "Name the storage that holds it in `mounts`, under the path that it has here, or use `auto_mount_home = TRUE`",
        "for a registry in your home folder."
      )
    }
  ), call)
}

# Submits a collection: what batchtools wants to know of it. `make_submission`: a function that gives its arguments.
submit_collection <- function(road, jc, seen, make_submission) {
  result <- function(status, id = NA_character_, words = NA_character_) {
    batchtools::makeSubmitJobResult(status, batch.id = id, msg = words)
  }
  # batchtools asks again for a collection after an error that passes. It gets the same id then, and is created once.
  if (!identical(seen$hash, jc$job.hash)) {
    seen$hash <- jc$job.hash
    seen$id <- NULL
    seen$is_uncertain <- FALSE
  }
  tryCatch(
    {
      submission <- make_submission()
      if (is.null(seen$id)) {
        name <- if (identical(jc$job.name, jc$job.hash)) paste0("batchtools-", jc$jobs$job.id[[1L]]) else jc$job.name
        seen$id <- core_value(core_new_ids(name, submission$batch_group_id), road$call)$job_ids[[1L]]
      }
      submission$job_id <- seen$id
      create_job(road, submission, quiet = TRUE)
      result(0L, seen$id)
    },
    abba_error = function(error) {
      if (is_stop(error)) rlang::cnd_signal(error)
      may_exist <- !is.null(seen$id) && seen$id %in% error$job_id && !inherits(error, "abba_error_invalid")
      if (!may_exist && !seen$is_uncertain || inherits(error, c("abba_error_input", "abba_error_invalid"))) {
        return(result(101L, words = conditionMessage(error)))
      }
      if (!seen$is_uncertain) {
        rlang::inform(c(
          paste0("Whether job ", seen$id, " was created is not known: it is submitted under the same id until it is."),
          x = conditionMessage(error)
        ), use_cli_format = FALSE)
      }
      seen$is_uncertain <- TRUE
      result(1L, words = error$message)
    }
  )
}
