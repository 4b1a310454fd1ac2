# Runs the cluster tier: the package against the real cluster of tests/cluster.
#
# Usage: Rscript tests/cluster/run-tests.R [FILTER]
#   FILTER  a regular expression; only the files test-<name>.R whose name it matches are run
# It starts the cluster if it is not up, and leaves it up. Files run side by side, each in an R process of its own; the
# output of each is printed when it ends, with its time. The last line is "N passed, N failed", counted in tests; a test
# that is skipped or that raises a warning has failed.
# The package is the installed `abba`; set R_LIBS to choose the library. Environment variables:
#   ABBA_TEST_SESSION    on which transport: "true" (one kubectl kept for the session) or "false" (one kubectl a call);
#                        by default all files on the first and those of `each_transport` on the second, too
#   ABBA_TEST_PROCESSES  how many files run at a time, 4 by default: most of their time they wait for the cluster
#   ABBA_TEST_TIMES      a file to which a line for each test file is added, as tools/test wants it

# Files that stop components of the cluster or fill the whole machine: alone, after all others.
alone <- c("api-attacks", "api-outage", "outage")

# Files that are run on both transports, because what they look at comes another way with one kubectl a call
# (src/rust/core/src/transport/kubectl.rs): what is sent (session, sizes), bytes of answers (bytes), warnings
# (check-k8s), GET, POST, PUT and DELETE (status, session, cancel), `config view` (errors), kubectl's words for what
# fails (errors, rights, busy-server), and Ctrl-C (interrupt). Tests that put a script in kubectl's place, such as those
# of lost answers, broken streams and noted watches, choose that transport themselves, and "outage" tries both.
each_transport <- c(
  "busy-server", "bytes", "cancel", "check-k8s", "errors", "interrupt", "rights", "session", "sizes", "status"
)

# Files that are started first: those with a program that needs a whole core, for which there is room at the beginning,
# and those that take longest, so that none of them is left for the end.
first <- c(
  "queue", "deploy", "create-batch", "session", "both-roads", "watch", "api-page", "kept-kubectl", "busy-server",
  "explain"
)

`%||%` <- function(x, y) if (is.null(x)) y else x

# The folder of this script.
find_here <- function() {
  script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  # R writes spaces in this path so.
  dirname(normalizePath(gsub("~+~", " ", script, fixed = TRUE)))
}

# Starts the cluster, and has kubectl use it: with a copy of its configuration, so that nothing of the user's is read or
# changed, and nothing of the cluster's either.
start_cluster <- function(cluster) {
  answer <- suppressWarnings(system2(cluster, "up", stdout = TRUE))
  if (!is.null(attr(answer, "status"))) {
    quit(status = 1L)
  }
  folder <- tempfile("kubectl-")
  dir.create(folder, mode = "0700")
  kubeconfig <- file.path(folder, "config")
  stopifnot(file.copy(answer[[length(answer)]], kubeconfig))
  Sys.chmod(kubeconfig, "0600")
  Sys.setenv(
    KUBECONFIG = kubeconfig,
    KUBECACHEDIR = file.path(folder, "cache"),
    KUBERC = "off",
    PATH = paste(system2(cluster, "kubectl-path", stdout = TRUE), Sys.getenv("PATH"), sep = ":"),
    ABBA_CLUSTER_SCRIPT = cluster
  )
}

# What is to be run: a data frame of `name`, `session` and `alone`, in the order in which it is started.
runs_of <- function(here, filter, session) {
  names <- sub("^test-(.*)[.]R$", "\\1", list.files(file.path(here, "testthat"), pattern = "^test-.*[.]R$"))
  known <- c(alone, each_transport, first)
  if (!all(known %in% names)) stop("no such test files: ", paste(setdiff(known, names), collapse = ", "))
  names <- names[is.null(filter) | grepl(filter %||% "", names)]
  runs <- data.frame(name = names, session = rep(TRUE, length(names)))
  if (session == "false") runs$session <- FALSE
  if (session == "") {
    runs <- rbind(runs, data.frame(name = names, session = FALSE)[names %in% each_transport, ])
  }
  runs$alone <- runs$name %in% alone
  runs[order(runs$alone, match(runs$name, first), !runs$session), ]
}

label_of <- function(run) paste0(run$name, if (!run$session) " (one kubectl a call)")

# Starts a test file in an R of its own.
start_run <- function(here, run) {
  results <- tempfile("results-", fileext = ".rds")
  output <- tempfile("output-")
  file <- file.path(here, "testthat", paste0("test-", run$name, ".R"))
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), c(file.path(here, "run-file.R"), file, run$session, results),
    stdout = output, stderr = "2>&1", cleanup_tree = TRUE
  )
  list(run = run, process = process, results = results, output = output, since = Sys.time())
}

# The part of a run's output that says what failed: behind all messages of the package; everything where there is none.
what_failed <- function(output) {
  summary <- grep("^\u2550\u2550 (Failed|Skipped|Warnings)", output)
  if (length(summary) > 0L) output[summary[[1L]]:length(output)] else output
}

# The results of a run that has ended: a data frame of `test` and `bad`; prints what it said, and its time.
finish_run <- function(started) {
  seconds <- as.numeric(difftime(Sys.time(), started$since, units = "secs"))
  label <- label_of(started$run)
  results <- if (file.exists(started$results)) readRDS(started$results)
  complete <- started$process$get_exit_status() == 0L && !is.null(results)
  if (!complete) {
    results <- rbind(results, data.frame(test = "the file runs to its end", bad = TRUE, seconds = seconds))
  }
  cat(sprintf("%-6s %-40s %6.1f s\n", if (any(results$bad)) "FAILED" else "ok", label, seconds))
  if (any(results$bad)) {
    cat(paste0("    ", what_failed(readLines(started$output, warn = FALSE))), sep = "\n")
  }
  note_time(seconds, any(results$bad), label)
  results$label <- rep(label, nrow(results))
  results
}

note_time <- function(seconds, bad, label) {
  file <- Sys.getenv("ABBA_TEST_TIMES")
  if (nzchar(file)) {
    cat(sprintf("%.1f\t%s\tcluster: %s\n", seconds, if (bad) "FAILED" else "ok", label), file = file, append = TRUE)
  }
}

# Runs them, at most `processes` at a time; all results.
run_all <- function(here, runs, processes) {
  waiting <- split(runs, seq_len(nrow(runs)))
  running <- list()
  results <- list()
  on.exit(for (started in running) started$process$kill_tree())
  while (length(waiting) > 0L || length(running) > 0L) {
    can_start <- function() {
      length(waiting) > 0L && length(running) < (if (waiting[[1L]]$alone) 1L else processes)
    }
    while (can_start()) {
      running <- c(running, list(start_run(here, waiting[[1L]])))
      waiting <- waiting[-1L]
    }
    processx::poll(lapply(running, function(started) started$process), 1000)
    ended <- !vapply(running, function(started) started$process$is_alive(), NA)
    results <- c(results, lapply(running[ended], finish_run))
    running <- running[!ended]
  }
  do.call(rbind, results)
}

session <- Sys.getenv("ABBA_TEST_SESSION")
stopifnot(session %in% c("", "true", "false"))
here <- find_here()
runs <- runs_of(here, if (length(commandArgs(TRUE)) > 0L) commandArgs(TRUE)[[1L]], session)
if (nrow(runs) == 0L) stop("no test file has such a name")
start_cluster(file.path(here, "cluster"))
cat("abba", format(utils::packageVersion("abba")), "in", find.package("abba"), "\n")
since <- Sys.time()
results <- run_all(here, runs, as.integer(Sys.getenv("ABBA_TEST_PROCESSES", "4")))
cat(sprintf("%-47s %6.1f s\n", "all files", as.numeric(difftime(Sys.time(), since, units = "secs"))))
for (i in which(results$bad)) {
  cat("failed: ", results$label[[i]], ": ", results$test[[i]], "\n", sep = "")
}
cat(sprintf("%d passed, %d failed\n", sum(!results$bad), sum(results$bad)))
quit(status = if (any(results$bad)) 1L else 0L)
