# Runs one file of the cluster tier; started by run-tests.R, which has logged in to the cluster.
#
# Usage: Rscript tests/cluster/run-file.R FILE SESSION RESULTS
#   SESSION  TRUE: one kubectl kept for the session; FALSE: one kubectl a call
#   RESULTS  the file for what became of its tests, see run_test_file() of tests/testthat/side-by-side.R
library(abba)
arguments <- commandArgs(TRUE)
options(abba.k8s.session = as.logical(arguments[[2L]]))
source(file.path(dirname(arguments[[1L]]), "..", "..", "testthat", "side-by-side.R"))
run_test_file(arguments[[1L]], arguments[[3L]])
