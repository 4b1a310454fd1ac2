# Calls of the package, and what they raise.

image <- "registry.example.com/openval_4.2.1_focal:2023.09.0.02"

submit <- function(file_path = "test_program.R", ..., container = image, namespace = "n") {
  abba_submit_k8s_job_local(file_path, ..., container = container, namespace = namespace)
}
status <- function(job_id = test_job, ..., namespace = "n") {
  abba_get_k8s_job_status_local(job_id, ..., namespace = namespace)
}
log_of <- function(job_id = test_job, ..., namespace = "n") {
  abba_get_k8s_job_log_local(job_id, ..., namespace = namespace)
}

# A program in a folder of its own, which is the working directory until the test
# ends. `text` is text or raw bytes, written as it is.
local_program <- function(text = "print(2 + 2)\n", name = "test_program.R", env = parent.frame()) {
  folder <- withr::local_tempdir(pattern = "program-", .local_envir = env)
  withr::local_dir(folder, .local_envir = env)
  write_bytes(text, name)
  invisible(name)
}

# The error that `expr` raises; NULL if there is none.
raised <- function(expr) {
  tryCatch(
    {
      force(expr)
      NULL
    },
    error = identity
  )
}

# Prints what a user reads of the error that `expr` raises.
tell <- function(expr) {
  cat(conditionMessage(raised(expr)), "\n\n", sep = "")
}

# A snapshot that is the same on every machine and in every run.
expect_words <- function(x, error = FALSE, hide = character()) {
  # `cran`: under R CMD check it would be skipped otherwise.
  rlang::inject(expect_snapshot(
    !!rlang::enquo0(x),
    error = error, cran = TRUE, transform = function(lines) stable(lines, hide)
  ))
}

stable <- function(lines, hide = character()) {
  for (text in c(hide, normalizePath(getwd()))) {
    lines <- gsub(text, "<folder>", lines, fixed = TRUE)
  }
  gsub("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", lines)
}

uuid <- "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

# Kubernetes' rules for the name of a job that its pod's name is made from, and
# for the value of a label.
is_job_name <- function(x) grepl("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", x)
is_label_value <- function(x) grepl("^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$", x)

# --- Processes ---------------------------------------------------------------

# Waits for a condition; FALSE where it does not come true.
wait_until <- function(condition, seconds = 20) {
  end <- Sys.time() + seconds
  while (!isTRUE(condition())) {
    if (Sys.time() > end) {
      return(FALSE)
    }
    Sys.sleep(0.01)
  }
  TRUE
}

# Whether a process exists. One that has ended and was not reaped by its parent
# (a zombie) still does.
process_exists <- function(pid, zombie = TRUE) {
  stat <- suppressWarnings(tryCatch(
    readLines(file.path("/proc", pid, "stat"), warn = FALSE),
    error = function(cnd) character()
  ))
  length(stat) > 0L && (zombie || !grepl("^[^)]*\\) Z ", stat[[1L]]))
}

# `pids` are the children of R, which it must also have reaped.
expect_reaped <- function(pids) {
  left <- Filter(process_exists, pids)
  expect_identical(left, pids[0L], label = "kubectl processes left behind")
}

# What kubectl has started is reaped by others, when they like.
expect_ended <- function(pids) {
  gone <- function() !any(vapply(pids, process_exists, NA, zombie = FALSE))
  expect_true(wait_until(gone), label = "kubectl's own children are gone")
}

read_pid <- function(path) as.integer(readLines(path))

# Starts another R that runs `code`, with abba and this PATH.
start_r <- function(code, ..., env = parent.frame()) {
  script <- withr::local_tempfile(fileext = ".R", .local_envir = env)
  writeLines(c("library(abba)", "options(abba.k8s.session = FALSE)", code), script, useBytes = TRUE)
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), c("--vanilla", script),
    stdout = "|", stderr = "|",
    env = c(
      "current",
      R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep),
      R_TESTS = "",
      ...
    )
  )
  withr::defer(process$kill(), envir = env)
  process
}

# Waits for its end: what it printed, what it said, and its exit status.
finish <- function(process) {
  process$wait(60000)
  list(
    stdout = strsplit(process$read_all_output(), "\n")[[1L]],
    stderr = process$read_all_error(),
    exit_status = process$get_exit_status()
  )
}

run_r <- function(code, ...) {
  finish(start_r(code, ...))
}
