# Measures the abba server under a department: 100 clients at once, for two minutes.
#
# Usage: make bench-api BENCH="[SECONDS] [CLIENTS] [PAUSE] [SUBMISSIONS] [KEPT]"
#   SECONDS  how long (120); CLIENTS  how many (100); PAUSE  seconds that a client waits between its requests (1)
#   SUBMISSIONS  one request in so many is a submission (50); 0: none, so that the number of jobs stays as it is
#   KEPT  so many jobs of another caller are in the namespace before (0); held back (`suspend`), so that none runs
# It takes the project's cluster, a namespace of its own, and a server with the documented Role. Of five requests three
# ask for the state of a job, one for all jobs, one for a log of 200 lines.
# Printed: requests, errors, times in ms, and the memory of the server's process in MiB, at the start and after each
# tenth of the time.
library(abba)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
testthat_folder <- file.path(here, "../tests/cluster/testthat")
Sys.setenv(ABBA_CLUSTER_SCRIPT = normalizePath(file.path(testthat_folder, "../cluster")))
for (file in c("helper-cluster.R", "helper-jobs.R", "helper-api-server.R")) {
  source(file.path(testthat_folder, file))
}
arguments <- as.numeric(commandArgs(TRUE))
seconds <- if (length(arguments) >= 1L) arguments[[1L]] else 120
clients <- if (length(arguments) >= 2L) arguments[[2L]] else 100
pause <- if (length(arguments) >= 3L) arguments[[3L]] else 1
submissions <- if (length(arguments) >= 4L) arguments[[4L]] else 50
kept <- if (length(arguments) >= 5L) arguments[[5L]] else 0

# Jobs of the caller "games", a hundred with each kubectl, made of a job that the server has made.
keep_jobs <- function(namespace, job_id, count) {
  job <- kubectl_json("get", "job", job_id, "--namespace", namespace)
  for (first in seq(1, length.out = ceiling(count / 100), by = 100)) {
    jobs <- lapply(seq(first, min(first + 99, count)), function(k) {
      name <- sprintf("kept-00000000-0000-4000-8000-%012d", as.integer(k))
      metadata <- job$metadata[c("labels", "annotations")]
      metadata$name <- name
      metadata$labels[["abba/job-id"]] <- name
      metadata$annotations[["abba/owner"]] <- "games"
      spec <- job$spec[setdiff(names(job$spec), c("selector", "manualSelector"))]
      spec$suspend <- TRUE
      own <- c("abba/job-id", "abba/batch-id", "abba/user", "app.kubernetes.io/managed-by")
      spec$template$metadata$labels <- metadata$labels[intersect(own, names(metadata$labels))]
      list(apiVersion = "batch/v1", kind = "Job", metadata = metadata, spec = spec)
    })
    file <- tempfile(fileext = ".json")
    jsonlite::write_json(list(apiVersion = "v1", kind = "List", items = jobs), file, auto_unbox = TRUE, null = "null")
    kubectl("create", "--namespace", namespace, "--filename", file)
    unlink(file)
  }
}

main <- function() {
  namespace <- local_namespace()
  # One key stands for as many callers as there are clients.
  server <- local_api_server(
    users = c("daemon", "games"),
    abba.api.open.jobs = 10000, abba.api.requests.at.once = clients, abba.api.log.reads = 8
  )
  ids <- vapply(1:20, function(k) submit_to(server, text = "for (i in 1:200) cat('line', i, '\\n')"), "")
  all_jobs <- paste0("job-status?job_id=", paste(ids, collapse = ","))
  wait_until(function() identical(names(request(server, all_jobs, user = "daemon")$body), "Succeeded"), 300)

  if (kept > 0) keep_jobs(namespace, ids[[1L]], kept)
  times <- new.env()
  times$all <- list()
  statuses <- integer()
  memory <- memory_of(server)
  pool <- curl::new_pool(total_con = clients, host_con = clients)
  next_start <- stats::runif(clients, 0, max(pause, 0.1))
  is_busy <- rep(FALSE, clients)
  count <- 0L
  program <- paste0(
    "{\"file_path\": \"/a.R\", \"program_text\": \"1\", ",
    "\"cpu_limit\": 0.01, \"memory_limit\": \"128M\"}"
  )
  new_request <- function(client) {
    count <<- count + 1L
    id <- ids[[client %% length(ids) + 1L]]
    reads <- c("job-status", "job-status", "job-status", "jobs", "job-log")
    kind <- if (submissions > 0 && count %% submissions == 0) "submit-job" else reads[[count %% 5L + 1L]]
    handle <- curl::new_handle(timeout = 60)
    curl::handle_setheaders(
      handle,
      Authorization = paste("Key", server$keys$daemon), "Content-Type" = "application/json"
    )
    target <- switch(kind,
      "submit-job" = {
        curl::handle_setopt(handle, copypostfields = program)
        "submit-job"
      },
      jobs = "jobs",
      paste0(kind, "?job_id=", id)
    )
    is_busy[[client]] <<- TRUE
    done <- function(status, seconds) {
      times$all[[length(times$all) + 1L]] <- list(kind = kind, status = status, seconds = seconds)
      is_busy[[client]] <<- FALSE
      next_start[[client]] <<- proc.time()[["elapsed"]] - begin + pause
    }
    curl::handle_setopt(handle, url = paste0(server$address, "/", target))
    curl::multi_add(handle,
      pool = pool,
      done = function(answer) done(answer$status_code, answer$times[["total"]]),
      fail = function(message) done(-1L, NA_real_)
    )
  }
  begin <- proc.time()[["elapsed"]]
  repeat {
    now <- proc.time()[["elapsed"]] - begin
    if (now > seconds) break
    for (client in which(!is_busy & next_start <= now)) new_request(client)
    if (now > length(memory) * seconds / 10) memory <- c(memory, memory_of(server))
    curl::multi_run(timeout = 0.01, poll = TRUE, pool = pool)
  }
  curl::multi_run(timeout = 30, pool = pool)
  memory <- c(memory, memory_of(server))

  rows <- do.call(rbind.data.frame, times$all)
  ok <- rows$status == 200L
  cat(sprintf("%d clients, %g s, pause %g s: %d requests, %.0f a second, %d without status 200\n",
    clients, seconds, pause, nrow(rows), nrow(rows) / seconds, sum(!ok)
  ))
  if (any(!ok)) print(table(rows$kind[!ok], rows$status[!ok]))
  for (kind in c("all", sort(unique(rows$kind)))) {
    ms <- 1000 * rows$seconds[ok & (kind == "all" | rows$kind == kind)]
    quantiles <- stats::quantile(ms, c(0.5, 0.95, 0.99, 1))
    line <- "%-12s %6d  p50 %6.1f  p95 %6.1f  p99 %6.1f  max %7.1f ms\n"
    cat(do.call(sprintf, c(list(line, kind, length(ms)), as.list(quantiles))))
  }
  cat(sprintf("memory of the server: %s MiB\n", paste(round(memory), collapse = ", ")))
}
main()
