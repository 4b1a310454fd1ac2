# One round on the test cluster with the newest R outside and inside of the container. Called by tools/test-current.
#
# Usage: Rscript current-round.R IMAGE TREE FOLDER
# TREE, FOLDER: where the root folder and the working directory lie on the node.
library(abba)
given <- commandArgs(TRUE)
options(abba.default.container = given[[1L]])

folder <- tempfile("programs-")
dir.create(folder)
program <- function(name, ...) {
  path <- file.path(folder, name)
  writeLines(c(...), path)
  path
}
version <- paste0("R ", getRversion())
good <- program("good.R", "cat('R', format(getRversion()), '\\n')", "message('La-di-da')")
bad <- program("bad.R", "stop('no such study')")

output <- utils::capture.output(demo("session", package = "abba", ask = FALSE))
writeLines(output)
stopifnot(c("[1] \"Succeeded\"", "[1] 4", "La-di-da") %in% output)

batch <- abba_submit_k8s_batch_local(c(good, bad), cpu_limit = 0.2)
states <- abba_watch_k8s_batch_local(batch$batch_id[[1L]], timeout_seconds = 300)
print(states)
log <- abba_get_k8s_job_log_local(batch$job_id[[1L]])[[1L]]$log
print(log)
why <- abba_explain_k8s_job_local(batch$job_id[[2L]])
print(why)
stopifnot(
  identical(trimws(log), c(version, "La-di-da")),
  setequal(names(states), c("Succeeded", "Failed")),
  any(grepl("no such study", unlist(why), fixed = TRUE)),
  all(batch$job_id %in% abba_list_k8s_jobs_local()$job_id)
)
invisible(lapply(batch$job_id, abba_remove_k8s_job_local))

# Futures run as jobs, too: in a folder that the programs see, with the packages of here.
study <- file.path(getwd(), "study")
unlink(study, recursive = TRUE)
dir.create(study)
stopifnot(file.copy(Sys.glob("/usr/lib/*/libuv.so.1"), study))
volume <- function(name, path) list(name = name, hostPath = list(path = path))
futures <- basename(tempfile("futures-"))
functions <- abba_cluster_functions(
  mounts = list(
    volumes = list(volume("study", file.path(given[[3L]], "study")), volume("tree", file.path(given[[2L]], "usr"))),
    volumeMounts = list(list(name = "study", mountPath = study), list(name = "tree", mountPath = "/host"))
  ),
  environment = c(R_LIBS = "/host/lib/R/site-library:/host/lib/R/library", LD_LIBRARY_PATH = study),
  cpu_limit = 0.2, batch_group_id = futures
)
options(batchtools.verbose = FALSE, future.cache.path = file.path(study, ".future"))
setwd(study)
future::plan(future.batchtools::batchtools_custom, cluster.functions = functions, conf.file = NA)
values <- future.apply::future_sapply(1:4, function(x) paste("R", getRversion(), x^2), future.chunk.size = 2)
print(values)
stopifnot(identical(values, paste(version, (1:4)^2)))
# A value is there before its program has ended.
invisible(abba_watch_k8s_batch_local(futures, timeout_seconds = 300))
invisible(abba_remove_k8s_batch_local(futures))
