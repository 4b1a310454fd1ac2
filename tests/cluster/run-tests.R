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
#   and those of tests/testthat/side-by-side.R

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
  runs$label <- paste0(runs$name, ifelse(runs$session, "", " (one kubectl a call)"))
  runs[order(runs$alone, match(runs$name, first), !runs$session), ]
}

session <- Sys.getenv("ABBA_TEST_SESSION")
stopifnot(session %in% c("", "true", "false"))
here <- find_here()
runs <- runs_of(here, if (length(commandArgs(TRUE)) > 0L) commandArgs(TRUE)[[1L]], session)
if (nrow(runs) == 0L) stop("no test file has such a name")
source(file.path(here, "..", "testthat", "side-by-side.R"))
start_cluster(file.path(here, "cluster"))
cat("abba", format(utils::packageVersion("abba")), "in", find.package("abba"), "\n")
since <- Sys.time()
results <- run_side_by_side(runs, "cluster", at_once = 4L, function(i, results) {
  file <- file.path(here, "testthat", paste0("test-", runs$name[[i]], ".R"))
  c(file.path(here, "run-file.R"), file, runs$session[[i]], results)
})
cat(sprintf("%-47s %6.1f s\n", "all files", as.numeric(difftime(Sys.time(), since, units = "secs"))))
for (i in which(results$bad)) {
  cat("failed: ", results$label[[i]], ": ", results$test[[i]], "\n", sep = "")
}
cat(sprintf("%d passed, %d failed\n", sum(!results$bad), sum(results$bad)))
quit(status = if (any(results$bad)) 1L else 0L)
