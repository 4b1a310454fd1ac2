# An archive of a hundred thousand jobs of a year: how long they take to be listed, and how long one of them takes
# to be found. A program of its own, which needs no cluster: `R_LIBS=build/library Rscript bench/archive.R
# [NUMBER]`.
library(abba)
count <- c(as.integer(commandArgs(TRUE)), 100000L)[[1L]]
rounds <- 11L
folder <- tempfile("archive-")
dir.create(folder)
uuids <- sprintf("%08x-0000-4000-8000-%012x", seq_len(count), seq_len(count))
submitted <- 1767225600 + sort(sample(365L * 86400L, count, replace = TRUE))
index <- abba:::open_index(folder)
jobs <- data.frame(
  job_id = paste0("t-demographics-", uuids), batch_id = paste0("Study_", seq_len(count) %% 1000L, ".tables"),
  program = paste0("/studies/s", seq_len(count) %% 1000L, "/programs/t_demographics.R"),
  user = paste0("user", seq_len(count) %% 50L), namespace = "statistics", namespace_uid = uuids[[1L]],
  status = ifelse(seq_len(count) %% 20L == 0L, "Failed", "Succeeded"),
  reason = ifelse(seq_len(count) %% 20L == 0L, "R ended with exit status 1.", NA), verdict = "warnings",
  verdict_line = "Warning message: NAs introduced by coercion", pod_id = paste0("t-demographics-", uuids, "-2dbr8"),
  path = paste0("statistics/", format(.POSIXct(submitted, tz = "UTC"), "%Y-%m"), "/t-demographics-", uuids),
  submitted = submitted, started = submitted + 3, finished = submitted + 60, exit_code = 0L, is_final = 1L
)
invisible(abba:::with_index(folder, function(index) DBI::dbAppendTable(index, "jobs", jobs)))
DBI::dbDisconnect(index)

figures <- function(code) {
  code <- substitute(code)
  times <- vapply(seq_len(rounds), function(round) {
    taken <- system.time(eval(code, globalenv()))
    c(taken[["elapsed"]], sum(taken[c("user.self", "sys.self")]))
  }, c(0, 0))
  # On a machine that does other things, too, the processor's time says more.
  sprintf(
    "median %.3f s, least %.3f s, most %.3f s; of the processor, median %.3f s",
    stats::median(times[1L, ]), min(times[1L, ]), max(times[1L, ]), stats::median(times[2L, ])
  )
}
# What abba_list_k8s_jobs_local() does where the cluster has none of them.
listed <- function(..., columns = abba:::listed_columns) {
  query <- abba:::archived_jobs_query(list(namespace_uid = uuids[[1L]], ...), NULL, columns)
  rows <- abba:::ask_index(folder, query, NULL)
  abba:::archived_frame(rows, FALSE)
}
stopifnot(nrow(listed()) == count)
id <- jobs$job_id[[count %/% 2L]]
one <- function() abba:::ask_index(folder, list(sql = "SELECT * FROM jobs WHERE job_id = ?", values = list(id)), NULL)
stopifnot(nrow(one()) == 1L)
tell <- function(what, figures) cat(what, ": ", figures, "\n", sep = "")
tell(paste("all", count), figures(listed()))
tell(paste("those of a batch,", sum(jobs$batch_id == "Study_1.tables")), figures(listed(batch_id = "Study_1.tables")))
tell("those of the last week", figures(listed(since = "2026-12-24T00:00:00Z")))
tell("one, by its id", figures(one()))
unlink(folder, recursive = TRUE)
