# Runs the R tier: each test file side by side with others, in an R of its own (testthat/side-by-side.R).
#
# Usage: Rscript testthat.R [FILE RESULTS]
# With arguments it is such an R; R CMD check gives none.
source("testthat/side-by-side.R")
arguments <- commandArgs(TRUE)
if (length(arguments) > 0L) {
  library(abba)
  # On CRAN testthat skips the snapshots, among which are messages of other packages.
  run_test_file(arguments[[1L]], arguments[[2L]], package = "abba", may_skip = Sys.getenv("NOT_CRAN") != "true")
} else {
  # The file of R CMD check that this names by a relative path is for this R alone.
  Sys.setenv(R_TESTS = "")
  names <- sub("^test-(.*)[.]R$", "\\1", list.files("testthat", "^test-.*[.]R$"))
  # Some of them where others have been run already, by a regular expression.
  names <- grep(Sys.getenv("ABBA_TEST_FILES"), names, value = TRUE)
  # Those that take longest begin, so that none of them is left for the end.
  first <- c("log", "conditions", "submit", "objects", "client-request", "watch", "follow", "interrupt", "session")
  runs <- data.frame(label = c(intersect(first, names), setdiff(names, first)), alone = FALSE)
  # Not more than CRAN has cores for; and beside the cluster's tests more would not end sooner.
  results <- run_side_by_side(runs, "R", at_once = 2L, function(i, results) {
    c("testthat.R", file.path("testthat", paste0("test-", runs$label[[i]], ".R")), results)
  })
  cat(sprintf(
    "[ FAIL %d | WARN %d | SKIP %d | PASS %d ]\n", sum(results$failed, results$error), sum(results$warning),
    sum(results$skipped), sum(results$passed)
  ))
  if (any(results$bad)) stop("Test failures")
}
