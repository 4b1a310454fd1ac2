# Runs test files side by side, each in an R of its own: those of the R tier (tests/testthat.R) and the cluster's
# (tests/cluster/run-tests.R). Most of their time they wait. Environment variables:
#
#   ABBA_TEST_PROCESSES  how many files run at a time, where that is to be another number
#   ABBA_TEST_TIMES      a file to which a line for each test file is added, as tools/test wants it

# Runs a test file in this R, and keeps for run_side_by_side() what became of its tests. `package`: whose internal
# functions they may use. `may_skip`: whether a test that is skipped is no failure.
run_test_file <- function(file, results, package = NULL, may_skip = FALSE) {
  found <- as.data.frame(testthat::test_file(
    file,
    package = package, load_package = if (is.null(package)) "none" else "installed",
    reporter = testthat::CheckReporter$new(), stop_on_failure = FALSE
  ))
  unlink(file.path(dirname(file), "testthat-problems.rds"))
  found$bad <- found$failed > 0L | found$error | (found$skipped & !may_skip) | found$warning > 0L
  saveRDS(found[c("test", "bad", "failed", "error", "skipped", "warning", "passed")], results)
}

# Runs files, in this order, and prints of each how it went and what failed in it.
#
# runs: a data frame of `label`, and `alone` where nothing else may run meanwhile. tier: stands before the label in the
# table of times. at_once: how many run at a time. arguments(i, results): those of Rscript for a program that runs the
# file of row i by run_test_file().
#
# All results, as run_test_file() keeps them, with the label of the file. A test that raises a warning has failed.
run_side_by_side <- function(runs, tier, at_once, arguments) {
  processes <- as.integer(Sys.getenv("ABBA_TEST_PROCESSES", at_once))
  waiting <- seq_len(nrow(runs))
  running <- list()
  results <- list()
  on.exit(for (started in running) started$process$kill_tree())
  can_start <- function() {
    length(waiting) > 0L && length(running) < (if (runs$alone[[waiting[[1L]]]]) 1L else processes)
  }
  while (length(waiting) > 0L || length(running) > 0L) {
    while (can_start()) {
      running <- c(running, list(start_run(runs, waiting[[1L]], arguments)))
      waiting <- waiting[-1L]
    }
    processx::poll(lapply(running, function(started) started$process), 1000)
    ended <- !vapply(running, function(started) started$process$is_alive(), NA)
    results <- c(results, lapply(running[ended], finish_run, tier))
    running <- running[!ended]
  }
  do.call(rbind, results)
}

start_run <- function(runs, i, arguments) {
  results <- tempfile("results-", fileext = ".rds")
  output <- tempfile("output-")
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), arguments(i, results),
    stdout = output, stderr = "2>&1", cleanup_tree = TRUE
  )
  list(label = runs$label[[i]], process = process, results = results, output = output, since = Sys.time())
}

finish_run <- function(started, tier) {
  seconds <- as.numeric(difftime(Sys.time(), started$since, units = "secs"))
  results <- if (file.exists(started$results)) readRDS(started$results)
  if (!identical(started$process$get_exit_status(), 0L) || is.null(results)) {
    results <- rbind(results, data.frame(
      test = "the file runs to its end", bad = TRUE, failed = 0L, error = TRUE, skipped = FALSE, warning = 0L,
      passed = 0L
    ))
  }
  cat(sprintf("%-6s %-40s %6.1f s\n", if (any(results$bad)) "FAILED" else "ok", started$label, seconds))
  if (any(results$bad)) {
    cat(paste0("    ", what_failed(readLines(started$output, warn = FALSE))), sep = "\n")
  }
  note_time(seconds, any(results$bad), paste0(tier, ": ", started$label))
  results$label <- rep(started$label, nrow(results))
  results
}

# The part of a run's output that says what failed: behind all messages of the package; everything where there is none.
what_failed <- function(output) {
  summary <- grep("^\u2550\u2550 (Failed|Skipped|Warnings)", output)
  if (length(summary) > 0L) output[summary[[1L]]:length(output)] else output
}

note_time <- function(seconds, bad, label) {
  file <- Sys.getenv("ABBA_TEST_TIMES")
  if (nzchar(file)) {
    cat(sprintf("%.1f\t%s\t%s\n", seconds, if (bad) "FAILED" else "ok", label), file = file, append = TRUE)
  }
}
