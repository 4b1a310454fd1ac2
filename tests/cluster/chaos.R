# Chaos: while programs are submitted, watched, read, cancelled and rerun by several R processes at once, the API
# server, etcd, the kubelet, containerd and the kept kubectl are killed, stopped and paused at random. At the end the
# cluster is whole again, and what abba says is compared with what the cluster and the programs themselves say:
#   - each job was started at most once, unless abba says that it was started again: a start writes a line to a mount;
#   - no job is lost, and none is there whose id nobody was told;
#   - each status is true, and each log whole, or its gap is said, but for the part that was lost with containerd;
#   - whatever failed on the way was an error of one of abba's classes.
#
# Usage: tests/cluster/chaos [--programs N] [--minutes N] [--seed N] [--workers N] [--calm]
#   --programs  how many programs are submitted first (200); reruns come on top
#   --minutes   how long parts are killed (5); the programs may take longer
#   --seed      of the order of kills and of what the workers do (1); the timing is the machine's
#   --workers   R processes that work side by side (3)
#   --calm      kill nothing: the same on a cluster that others use
# Without --calm it must have the cluster for itself. The last line is "chaos: ok" or "chaos: N faults"; the exit status
# is 0 or 1.
library(abba)
here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))))
Sys.setenv(ABBA_CLUSTER_SCRIPT = file.path(here, "cluster"))
for (file in c("helper-cluster.R", "helper-jobs.R")) source(file.path(here, "testthat", file))

read_options <- function(given) {
  options <- list(programs = 200, minutes = 5, seed = 1, workers = 3, calm = FALSE)
  while (length(given) > 0L) {
    name <- sub("^--", "", given[[1L]])
    if (name == "calm") {
      options$calm <- TRUE
      given <- given[-1L]
      next
    }
    number <- if (length(given) >= 2L) suppressWarnings(as.numeric(given[[2L]])) else NA
    if (!startsWith(given[[1L]], "--") || !name %in% names(options) || is.na(number) || number < 0) {
      stop("unknown or incomplete: ", given[[1L]], "; see the head of tests/cluster/chaos.R", call. = FALSE)
    }
    options[[name]] <- number
    given <- given[-(1:2)]
  }
  options
}

say <- function(...) cat(format(Sys.time(), "%H:%M:%S "), ..., "\n", sep = "")

# The programs: each notes its start and its end in the mount, prints numbered lines, and one in five fails.
write_programs <- function(count, folder) {
  vapply(seq_len(count), function(i) {
    lines <- sample(c(10L, 100L, 3000L), 1L)
    local_program(c(
      "job <- Sys.getenv('ABBA_JOB_ID')",
      "cat(Sys.getenv('HOSTNAME'), '\\n', file = file.path('/chaos/starts', job), append = TRUE)",
      sprintf("for (i in 1:%d) {", lines),
      "  cat('line', i, '\\n')",
      sprintf("  if (i %%%% %d == 0L) Sys.sleep(1)", max(2L, lines %/% 4L)),
      "}",
      if (i %% 5L == 0L) "stop('as planned')",
      "cat('end\\n')",
      "file.create(file.path('/chaos/ends', job))"
    ), sprintf("p-%d-%d.R", i, lines), folder)
  }, "")
}

# What each worker does, in an R process of its own: a list of `jobs`, a data frame of the jobs that it was told of;
# `maybe`, ids of which it was told that nobody knows; `errors`, classes of what failed; `faults`.
work <- function(settings) {
  options(settings$options)
  library(abba)
  set.seed(settings$seed)
  jobs <- data.frame(job_id = character(), batch_id = character(), program = character())
  maybe <- errors <- faults <- character()
  calls <- 0L
  attempt <- function(expr) {
    calls <<- calls + 1L
    tryCatch(
      suppressWarnings(suppressMessages(expr), classes = "abba_warning"),
      abba_error = function(cnd) {
        errors <<- c(errors, class(cnd)[[1L]])
        cnd
      },
      error = function(cnd) {
        faults <<- c(faults, paste("an error without a class:", conditionMessage(cnd)))
        cnd
      },
      warning = function(cnd) {
        faults <<- c(faults, paste("a warning without a class:", conditionMessage(cnd)))
        cnd
      }
    )
  }
  pause <- function() Sys.sleep(stats::runif(1L, 0, 1.5))
  # Submits until every program has its job; `submit` takes what is left.
  until_all <- function(submit, rest) {
    while (Sys.time() < settings$give_up) {
      answer <- attempt(submit(rest))
      if (is.data.frame(answer)) {
        jobs <<- rbind(jobs, as.data.frame(answer)[c("job_id", "batch_id", "program")])
        return(answer)
      }
      if (inherits(answer, "abba_error_batch_incomplete")) rest <- answer$batch
      # Nothing is left to be run again.
      if (inherits(answer, "abba_error_not_found")) break
      pause()
    }
    if (is.data.frame(rest)) maybe <<- c(maybe, rest$job_id)
    NULL
  }
  submit_batch <- function(programs) {
    until_all(function(rest) {
      abba_submit_k8s_batch_local(rest, mounts = settings$mounts, cpu_limit = 0.05, memory_limit = "128M")
    }, programs)
  }
  submit_one <- function(program) {
    while (Sys.time() < settings$give_up) {
      answer <- attempt(
        abba_submit_k8s_job_local(program, mounts = settings$mounts, cpu_limit = 0.05, memory_limit = "128M")
      )
      if (!inherits(answer, "condition")) {
        jobs <<- rbind(jobs, data.frame(job_id = answer$job_id, batch_id = answer$batch_id, program = program))
        return()
      }
      if (length(answer$job_id) > 0L) {
        maybe <<- c(maybe, answer$job_id)
        return()
      }
      pause()
    }
  }
  some <- function(ids) ids[sample.int(length(ids), 1L)]
  deeds <- list(
    watch = function() attempt(abba_watch_k8s_batch_local(some(jobs$batch_id), timeout_seconds = 5, on_stuck = "wait")),
    status = function() attempt(abba_get_k8s_job_status_local(unique(c(some(jobs$job_id), some(jobs$job_id))))),
    log = function() attempt(abba_get_k8s_job_log_local(some(jobs$job_id))),
    batch_log = function() attempt(abba_get_k8s_batch_log_local(some(jobs$batch_id))),
    explain = function() attempt(abba_explain_k8s_job_local(some(jobs$job_id))),
    list = function() attempt(abba_list_k8s_jobs_local()),
    cancel = function() attempt(abba_cancel_k8s_job_local(some(jobs$job_id))),
    rerun = function() {
      if (calls %% 3L == 0L) until_all(function(rest) abba_rerun_k8s_batch_local(rest), some(jobs$batch_id))
    }
  )
  left <- settings$programs
  while (length(left) > 0L || Sys.time() < settings$end) {
    if (Sys.time() >= settings$give_up) break
    if (length(left) > 0L) {
      now <- seq_len(min(length(left), sample(c(1L, 3L, 10L), 1L)))
      if (length(now) == 1L) submit_one(left[now]) else submit_batch(left[now])
      left <- left[-now]
    }
    if (nrow(jobs) > 0L) for (deed in sample(names(deeds), 2L)) deeds[[deed]]()
    pause()
  }
  if (length(left) > 0L) faults <- c(faults, paste(length(left), "programs could not be submitted to the end"))
  list(jobs = jobs, maybe = maybe, errors = errors, faults = faults, calls = calls)
}

# Kills one of the kept kubectls that the workers have started.
kill_a_kubectl <- function(workers) {
  children <- unlist(lapply(workers, function(worker) {
    tryCatch(ps::ps_children(worker$as_ps_handle(), recursive = TRUE), error = function(cnd) NULL)
  }), recursive = FALSE)
  is_kubectl <- vapply(children, function(child) {
    tryCatch(ps::ps_name(child) == "kubectl", error = function(cnd) FALSE)
  }, NA)
  kept <- children[is_kubectl]
  if (length(kept) > 0L) try(ps::ps_kill(kept[[sample.int(length(kept), 1L)]]), silent = TRUE)
}

# Kills, stops and pauses parts of the cluster until `end`: a data frame of what was done, to which part, and from when
# to when the part was away (POSIXct).
spread_chaos <- function(workers, end) {
  done <- data.frame(how = character(), part = character(), from = Sys.time()[0L], to = Sys.time()[0L])
  # Whatever happens here, the cluster is whole afterwards.
  on.exit(mend())
  while (Sys.time() < end) {
    Sys.sleep(stats::runif(1L, 1, 8))
    part <- sample(c("apiserver", "etcd", "kubelet", "containerd", "kubectl"), 1L)
    how <- if (part == "kubectl") "kill" else sample(c("kill", "stop", "pause"), 1L)
    say(how, " ", part)
    from <- Sys.time()
    if (part == "kubectl") {
      kill_a_kubectl(workers)
    } else {
      cluster(how, part)
      Sys.sleep(stats::runif(1L, 0, 10))
      cluster(if (how == "pause") "resume" else "start", part)
    }
    done <- rbind(done, data.frame(how = how, part = part, from = from, to = Sys.time()))
  }
  done
}

mend <- function() {
  say("the cluster is mended")
  for (part in c("etcd", "containerd", "apiserver", "kubelet")) try(cluster("resume", part), silent = TRUE)
  cluster("up")
  cluster("wait-ready")
}

# How a Job has ended, in abba's words; NA while it has not: Kubernetes says so of the Job a moment later than of its
# pod.
end_of <- function(job) {
  holding <- Filter(function(condition) condition$status == "True", job$status$conditions)
  types <- vapply(holding, function(condition) condition$type, "")
  if ("Complete" %in% types) "Succeeded" else if ("Failed" %in% types) "Failed" else NA_character_
}

# The ids of jobs whose programs ran while containerd was killed or stopped. It carries what a program prints to the
# log. Where the end is lost, abba says so; of a part within nobody knows.
ran_without_containerd <- function(pods, done) {
  away <- done[done$part == "containerd" & done$how != "pause", ]
  ran <- vapply(pods, function(pod) {
    ended <- pod$status$containerStatuses[[1L]]$state$terminated
    if (is.null(ended$startedAt)) {
      return(FALSE)
    }
    times <- as.POSIXct(c(ended$startedAt, ended$finishedAt), format = "%Y-%m-%dT%H:%M:%SZ", tz = "UTC")
    any(times[[1L]] <= away$to & times[[2L]] + 1 >= away$from)
  }, NA)
  unique(vapply(pods[ran], function(pod) pod$metadata$labels[["abba/job-id"]], ""))
}

# What all say at the end, compared: a character vector of faults. `done` is what spread_chaos() gives.
compare <- function(jobs, maybe, folder, done) {
  faults <- character()
  fault <- function(what, ids) {
    if (length(ids) > 0L) {
      shown <- paste(utils::head(ids, 5L), collapse = " ")
      faults <<- c(faults, paste0(what, ": ", length(ids), " (", shown, ")"))
    }
  }
  there <- kubectl_json("get", "jobs", "--namespace", the_namespace())$items
  pods <- kubectl_json("get", "pods", "--namespace", the_namespace())$items
  names(there) <- vapply(there, function(job) job$metadata$name, "")
  fault("lost, though their submission succeeded", setdiff(jobs$job_id, names(there)))
  fault("in the cluster, and nobody was told of them", setdiff(names(there), c(jobs$job_id, maybe)))

  ids <- names(there)
  told <- list(started_again = character(), log_incomplete = character())
  noting <- function(code) {
    withCallingHandlers(code, abba_warning = function(cnd) {
      for (kind in names(told)) {
        if (inherits(cnd, paste0("abba_warning_", kind))) told[[kind]] <<- c(told[[kind]], cnd$job_id)
      }
      invokeRestart("muffleWarning")
    })
  }
  in_parts <- function(ask) {
    parts <- split(ids, (seq_along(ids) - 1L) %/% 100L)
    unlist(lapply(unname(parts), function(part) noting(ask(part))), recursive = FALSE)
  }
  listed <- abba_list_k8s_jobs_local()
  statuses <- stats::setNames(listed$status, listed$job_id)[ids]
  in_parts(abba_get_k8s_job_status_local)
  logs <- lapply(in_parts(abba_get_k8s_job_log_local), `[[`, "log")
  names(logs) <- ids

  starts <- vapply(ids, function(id) {
    file <- file.path(folder, "starts", id)
    if (file.exists(file)) length(readLines(file)) else 0L
  }, 0L)
  has_ended <- file.exists(file.path(folder, "ends", ids))
  fault("started more than once, and nobody says so", setdiff(ids[starts > 1L], told$started_again))

  of_cluster <- vapply(there, end_of, "")
  # A node that was away may call a pod Failed that the Job has counted as succeeded: a program that ended by itself in
  # the second in which it was cancelled. abba goes by the pod.
  of_pods <- vapply(pods, function(pod) pod$status$phase, "")
  names(of_pods) <- vapply(pods, function(pod) pod$metadata$labels[["abba/job-id"]], "")
  is_contradictory <- of_cluster %in% "Succeeded" & of_pods[ids] %in% "Failed"
  is_other <- (is.na(statuses) | statuses != of_cluster) & !is_contradictory
  others <- paste0(ids, " is ", statuses, ", in Kubernetes ", of_cluster)
  fault("with another status than Kubernetes gives them", others[is_other])
  fault("Succeeded without the program's end", ids[statuses %in% "Succeeded" & !has_ended])

  programs <- vapply(there, function(job) basename(job$metadata$annotations[["abba/program-path"]]), "")
  lines_wanted <- as.integer(sub("^p-[0-9]+-([0-9]+)[.]R$", "\\1", programs))
  # The gap of each log as a sentence; NA for a log that is whole, or that abba says it cannot read.
  gaps <- vapply(seq_along(ids), function(i) {
    log <- logs[[i]]
    if (length(log) == 1L && is.na(log)) {
      return(NA_character_)
    }
    numbers <- as.integer(sub("^line ([0-9]+) $", "\\1", grep("^line [0-9]+ $", log, value = TRUE)))
    has_end <- "end" %in% log
    is_whole <- identical(numbers, seq_len(lines_wanted[[i]])) && has_end
    is_beginning <- identical(numbers, seq_along(numbers))
    if (if (statuses[[i]] %in% "Succeeded") is_whole else is_beginning) {
      return(NA_character_)
    }
    sprintf(
      "%s (%s): %d of %d numbered lines%s%s", ids[[i]], statuses[[i]], length(numbers), lines_wanted[[i]],
      if (is_beginning) "" else ", not the first ones", if (has_end) "" else ", no end"
    )
  }, "")
  is_silent <- !is.na(gaps) & !ids %in% told$log_incomplete
  is_within <- grepl("not the first ones", gaps, fixed = TRUE)
  lost_by_node <- is_within & ids %in% ran_without_containerd(pods, done)
  fault("with a gap in the log that nobody mentions", gaps[is_silent & !lost_by_node])
  for (gap in gaps[is_silent & lost_by_node]) say("a part is lost within ", gap)
  unread <- vapply(logs, function(log) length(log) == 1L && is.na(log), NA)
  fault("whose log cannot be read though the cluster is whole", ids[unread])

  say(sprintf(
    "%d jobs: %s; started again and said so: %d; a gap in the log and said so: %d", length(ids),
    paste(names(table(statuses)), table(statuses), collapse = ", "), length(unique(told$started_again)),
    length(unique(told$log_incomplete))
  ))
  say(sprintf(
    "cannot be known: %d logs lost a part while containerd was away; pod and Job of %d jobs contradict each other",
    sum(is_silent & lost_by_node), sum(is_contradictory)
  ))
  faults
}

main <- function() {
  wanted <- read_options(commandArgs(TRUE))
  set.seed(wanted$seed)
  cluster("up")
  local_namespace()
  folder <- withr::local_tempdir("chaos-")
  for (name in c("starts", "ends", "programs")) dir.create(file.path(folder, name))
  programs <- write_programs(wanted$programs, file.path(folder, "programs"))
  end <- Sys.time() + 60 * wanted$minutes
  abba_options <- options()[startsWith(names(options()), "abba.")]
  workers <- lapply(seq_len(wanted$workers), function(k) {
    settings <- list(
      seed = wanted$seed + k, programs = programs[(seq_along(programs) - 1L) %% wanted$workers + 1L == k], end = end,
      give_up = end + 20 * 60, mounts = host_path(folder, "/chaos"), options = abba_options
    )
    callr::r_bg(work, list(settings), libpath = .libPaths(), supervise = TRUE)
  })
  withr::defer(for (worker in workers) worker$kill_tree())
  done <- if (!wanted$calm) spread_chaos(workers, end)
  for (worker in workers) worker$wait()
  results <- lapply(workers, function(worker) worker$get_result())
  of_all <- function(name) unlist(lapply(results, `[[`, name))
  jobs <- unique(do.call(rbind, lapply(results, `[[`, "jobs")))
  say("all is submitted; the rest is waited for")
  all_ended <- function() {
    open <- abba_list_k8s_jobs_local(status = c("Pending", "Running", "Unknown"))$job_id
    there <- kubectl_json("get", "jobs", "--namespace", the_namespace())$items
    ended <- vapply(there, end_of, "")
    if (length(open) == 0L && !anyNA(ended)) TRUE else open
  }
  wait_until(all_ended, timeout = 1200, interval = 2, what = "the end of all jobs")
  faults <- c(of_all("faults"), compare(jobs, of_all("maybe"), folder, done))
  say(
    sum(of_all("calls")), " calls of abba, of which failed: ",
    paste(names(table(of_all("errors"))), table(of_all("errors")), collapse = ", ")
  )
  if (length(done) > 0L) {
    deeds <- table(paste(done$how, done$part))
    say("done to the cluster: ", paste(names(deeds), deeds, collapse = ", "))
  }
  for (fault in faults) say("FAULT: ", fault)
  cat(if (length(faults) == 0L) "chaos: ok\n" else paste0("chaos: ", length(faults), " faults\n"))
  length(faults) == 0L
}

quit(status = if (main()) 0L else 1L)
