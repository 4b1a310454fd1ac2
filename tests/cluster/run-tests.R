# Runs the cluster tier: the package against the real cluster of tests/cluster.
#
# Usage: Rscript tests/cluster/run-tests.R [FILTER]
#   FILTER  a regular expression; only the files test-<name>.R whose name it matches are run
# It starts the cluster if it is not up, and leaves it up. Each file is named with its time. The last line is
# "N passed, N failed", counted in tests; a test that is skipped or that raises a warning has failed.
# The package is the installed `abba`; set R_LIBS to choose the library. ABBA_TEST_SESSION says on which transport:
# "true" (one kubectl kept for the session) or "false" (one kubectl a call).
library(abba)

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

# Names each file with its time when it is done.
file_times <- R6::R6Class("file_times",
  inherit = testthat::Reporter,
  public = list(
    start_file = function(filename) {
      private$end_file()
      private$file <- filename
      private$since <- Sys.time()
    },
    end_reporter = function() private$end_file()
  ),
  private = list(
    file = NULL,
    since = NULL,
    end_file = function() {
      if (!is.null(private$file)) {
        tell_time(private$file, private$since)
      }
    }
  )
)

tell_time <- function(what, since) {
  cat(sprintf("%-28s %6.1f s\n", what, as.numeric(difftime(Sys.time(), since, units = "secs"))))
}

# Tests of the server and its users, which start an R of their own, and tests that choose
# the transport themselves: these are run once, with the transport that a user has.
run_once <- "^(api-.*|both-roads|create-batch|kept-kubectl)$"

# The files to run, as a filter of testthat's.
files_to_run <- function(here, filter, session) {
  files <- list.files(file.path(here, "testthat"), pattern = "^test-.*[.]R$")
  names <- sub("^test-(.*)[.]R$", "\\1", files)
  chosen <- (session | !grepl(run_once, names)) & (is.null(filter) | grepl(filter %||% "", names))
  paste0("^(", paste(names[chosen], collapse = "|"), ")$")
}

`%||%` <- function(x, y) if (is.null(x)) y else x

run <- function(here, filter) {
  cat("abba", format(utils::packageVersion("abba")), "in", find.package("abba"), "\n")
  cat(if (getOption("abba.k8s.session")) "one kubectl for the session" else "one kubectl a call", "\n")
  since <- Sys.time()
  results <- testthat::test_dir(
    file.path(here, "testthat"),
    filter = files_to_run(here, filter, getOption("abba.k8s.session")),
    reporter = testthat::MultiReporter$new(list(file_times$new(), testthat::CheckReporter$new())),
    stop_on_failure = FALSE
  )
  # What failed, in full.
  unlink(file.path(here, "testthat", "testthat-problems.rds"))
  results <- as.data.frame(results)
  bad <- results$failed > 0L | results$error | results$skipped | results$warning > 0L
  tell_time("all files", since)
  for (i in which(bad)) {
    cat("failed: ", results$file[[i]], ": ", results$test[[i]], "\n", sep = "")
  }
  cat(sprintf("%d passed, %d failed\n", sum(!bad), sum(bad)))
  all(!bad) && nrow(results) > 0L
}

session <- Sys.getenv("ABBA_TEST_SESSION", "true")
stopifnot(session %in% c("true", "false"))
options(abba.k8s.session = session == "true")
here <- find_here()
start_cluster(file.path(here, "cluster"))
passed <- run(here, if (length(commandArgs(TRUE)) > 0L) commandArgs(TRUE)[[1L]])
quit(status = if (passed) 0L else 1L)
