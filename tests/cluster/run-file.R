# Runs one file of the cluster tier; started by run-tests.R, which has logged in to the cluster.
#
# Usage: Rscript tests/cluster/run-file.R FILE SESSION RESULTS
#   SESSION  TRUE: one kubectl kept for the session; FALSE: one kubectl a call
#   RESULTS  the file for a data frame of `test`, `bad` and `seconds`
library(abba)
arguments <- commandArgs(TRUE)
options(abba.k8s.session = as.logical(arguments[[2L]]))
results <- as.data.frame(testthat::test_file(
  arguments[[1L]],
  reporter = testthat::CheckReporter$new(), stop_on_failure = FALSE
))
unlink(file.path(dirname(arguments[[1L]]), "testthat-problems.rds"))
bad <- results$failed > 0L | results$error | results$skipped | results$warning > 0L
saveRDS(data.frame(test = results$test, bad = bad, seconds = results$real), arguments[[3L]])
