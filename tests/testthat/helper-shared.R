# What the tests on the cluster use, too.

# Kubernetes' rules for the name of a job that its pod's name is made from, and
# for the value of a label.
is_job_name <- function(x) grepl("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", x)
is_label_value <- function(x) grepl("^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$", x)

# The processes that have a text among their arguments.
processes_with <- function(text) {
  pids <- list.files("/proc", "^[0-9]+$")
  has_text <- function(pid) {
    path <- file.path("/proc", pid, "cmdline")
    bytes <- suppressWarnings(tryCatch(readBin(path, "raw", 1e5), error = function(cnd) raw()))
    grepl(text, rawToChar(replace(bytes, bytes == 0, charToRaw(" "))), fixed = TRUE)
  }
  as.integer(Filter(has_text, pids))
}
