# Measures all subjects, or those named, and prints the table. Run by bench/run.
library(abba)
# Those of the abba server, and archive.R, are programs of their own.
others <- c("bench/run.R", "bench/api-load.R", "bench/api-attack.R", "bench/archive.R")
files <- setdiff(list.files("bench", "[.]R$", full.names = TRUE), others)
for (file in files) source(file)

arguments <- commandArgs(TRUE)
keep <- "--keep" %in% arguments
chosen <- setdiff(arguments, "--keep")
image <- Sys.getenv("ABBA_BENCH_IMAGE")
options(abba.default.container = image)

subjects <- list(
  `first-call` = bench_first_call, submit = bench_submit, status = bench_status, many = bench_many, logs = bench_logs,
  end = bench_end, watch = bench_watch, scale = bench_scale, plan = bench_plan
)
stopifnot(chosen %in% names(subjects))
if (length(chosen) > 0L) subjects <- subjects[chosen]

machine <- function() {
  model <- sub(".*: ", "", grep("^model name", readLines("/proc/cpuinfo"), value = TRUE)[[1L]])
  memory <- as.numeric(gsub("[^0-9]", "", grep("^MemTotal", readLines("/proc/meminfo"), value = TRUE))) / 1024^2
  sprintf(
    "%s: %d cores (%s), %.0f GiB of memory, Linux %s. Load average at the beginning %s, at the end %s; %.0f s in all.",
    format(Sys.Date()), parallel::detectCores(), model, memory, Sys.info()[["release"]], load_before, load_now(),
    now() - begin
  )
}

load_now <- function() sub(" .*", "", readLines("/proc/loadavg"))

# After each subject, so that what was measured is kept whatever comes.
save_figures <- function() {
  utils::write.csv(do.call(rbind, raw_figures), "build/bench/figures.csv", row.names = FALSE)
  writeLines(c(machine(), "", table_lines()), "build/bench/table.md")
}

begin <- now()
load_before <- load_now()
failed <- character()
new_namespace("noise")
noise("at the beginning")
for (name in names(subjects)) {
  say(name)
  taken <- seconds(tryCatch(subjects[[name]](), error = function(condition) {
    failed <<- c(failed, name)
    say(name, " failed: ", conditionMessage(condition))
  }))
  say(sprintf("%s took %.0f s", name, taken))
  save_figures()
}
new_namespace("noise-2")
noise("at the end")
save_figures()
table <- readLines("build/bench/table.md")
writeLines(table)
if (length(failed) > 0L) stop("not measured: ", paste(failed, collapse = ", "), call. = FALSE)
if (keep) {
  readme <- readLines("bench/README.md")
  marks <- match(c("<!-- begin of the table -->", "<!-- end of the table -->"), readme)
  stopifnot(!anyNA(marks))
  writeLines(c(readme[seq_len(marks[[1L]])], "", table, "", readme[marks[[2L]]:length(readme)]), "bench/README.md")
}
