# Calls of the package, and what they raise.

image <- "registry.example.com/openval_4.2.1_focal:2023.09.0.02"

submit <- function(file_path = "test_program.R", ..., container = image, namespace = "n") {
  on_road("submit_job", file_path, ..., container = container, namespace = namespace)
}
status <- function(job_id = test_job, ..., namespace = "n") {
  on_road("get_job_status", job_id, ..., namespace = namespace)
}
log_of <- function(job_id = test_job, ..., namespace = "n") {
  on_road("get_job_log", job_id, ..., namespace = namespace)
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

utc <- function(text) as.POSIXct(text, format = "%Y-%m-%dT%H:%M:%SZ", tz = "UTC")

# --- Processes ---------------------------------------------------------------

# Waits for a condition; FALSE where it does not come true. The time is for a machine that stands still now and then: a
# test that goes well does not take it.
wait_until <- function(condition, seconds = 60) {
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

# Ctrl-C, as a process gets it. processx, which can send it too, loses the exit status of a process that ends at once:
# the last thing its `interrupt()` does is to reap the process.
press_ctrl_c <- function(process) tools::pskill(process$get_pid(), tools::SIGINT)

# Waits for its end: what it printed, what it said, and its exit status.
finish <- function(process) {
  stdout <- strsplit(process$read_all_output(), "\n")[[1L]]
  stderr <- process$read_all_error()
  # It closes its streams a moment before it ends.
  process$wait(60000)
  list(stdout = stdout, stderr = stderr, exit_status = process$get_exit_status())
}

run_r <- function(code, ...) {
  finish(start_r(code, ...))
}

submit_batch <- function(file_paths, ..., container = image, namespace = "n") {
  on_road("submit_batch", file_paths, ..., container = container, namespace = namespace)
}
batch_status <- function(batch_id = "b-1", ..., namespace = "n") {
  on_road("get_batch_status", batch_id, ..., namespace = namespace)
}
batch_log <- function(batch_id = "b-1", ..., namespace = "n") {
  on_road("get_batch_log", batch_id, ..., namespace = namespace)
}
watch <- function(job_id = test_job, ..., namespace = "n") {
  on_road("watch_job", job_id, ..., namespace = namespace)
}
watch_batch <- function(batch_group_id = "b-1", ..., namespace = "n") {
  on_road("watch_batch", batch_group_id, ..., namespace = namespace)
}
follow <- function(job_id = test_job, ..., namespace = "n") {
  on_road("follow_job_log", job_id, ..., namespace = namespace)
}
list_jobs <- function(..., namespace = "n") {
  on_road("list_jobs", ..., namespace = namespace)
}
cancel <- function(job_id = test_job, ..., namespace = "n") {
  on_road("cancel_job", job_id, ..., namespace = namespace)
}
cancel_batch <- function(batch_id = "b-1", ..., namespace = "n") {
  on_road("cancel_batch", batch_id, ..., namespace = namespace)
}
remove_job <- function(job_id = test_job, ..., namespace = "n") {
  on_road("remove_job", job_id, ..., namespace = namespace)
}
remove_batch <- function(batch_id = "b-1", ..., namespace = "n") {
  on_road("remove_batch", batch_id, ..., namespace = namespace)
}
explain <- function(job_id = test_job, ..., namespace = "n") {
  on_road("explain_job", job_id, ..., namespace = namespace)
}
rerun <- function(batch_id = "b-1", ..., namespace = "n") {
  on_road("rerun_batch", batch_id, ..., namespace = namespace)
}

# Programs in a folder of their own, as for `local_program()`.
local_programs <- function(names, env = parent.frame()) {
  folder <- withr::local_tempdir(pattern = "programs-", .local_envir = env)
  withr::local_dir(folder, .local_envir = env)
  for (name in names) {
    write_bytes(paste0("print(\"", name, "\")\n"), name)
  }
  invisible(names)
}

# Checks that each call is refused before kubectl starts, as wrong input, and
# prints what a user reads of each. Over the API they read the same, and nothing is
# sent either. `...`: calls, not evaluated.
refuse <- function(...) {
  calls <- rlang::enquos(...)
  kubectl <- local_scripted_kubectl(fails("error: kubectl was started\n"))
  ask <- function(call) tryCatch(rlang::eval_tidy(call), error = identity)
  is_refused <- function(error) identical(class(error)[1:2], c("abba_error_input", "abba_error"))
  errors <- lapply(calls, ask)
  for (i in seq_along(calls)) {
    cat("> ", rlang::as_label(calls[[i]]), "\n", sep = "")
    if (!is_refused(errors[[i]])) {
      cat("NOT REFUSED: ", class(errors[[i]]), "\n")
      if (inherits(errors[[i]], "condition")) cat(conditionMessage(errors[[i]]), "\n")
    } else {
      cat(conditionMessage(errors[[i]]), "\n\n", sep = "")
    }
    expect_true(is_refused(errors[[i]]))
  }
  local_road("api")
  for (i in seq_along(calls)) {
    text <- paste(deparse(rlang::quo_get_expr(calls[[i]])), collapse = "")
    if (!grepl(of_kubectl_alone, text)) {
      error <- ask(calls[[i]])
      expect_true(is_refused(error), label = text)
      expect_identical(first_words(error), first_words(errors[[i]]), label = text)
    }
  }
  expect_identical(kubectl$count(), 0L)
}
# The rule that was broken, without what a road says beside it.
first_words <- function(error) {
  words <- sub("\n.*$", "", conditionMessage(error))
  words <- sub("^Program [0-9]+ of the batch: ", "", words)
  gsub("abba_([a-z]+)_k8s_([a-z_]+)_local", "abba_\\1_\\2", words)
}
# Arguments that the API has not, or chooses itself.
of_kubectl_alone <- "^with\\(|namespace|username|home_nfs|auto_mount_home = TRUE|container = NULL|_local[(]"

# What a controller says until a message fits the pattern `last`, at which it is interrupted.
controller_says <- function(last) {
  said <- character()
  note <- function(condition) {
    said <<- c(said, conditionMessage(condition))
    if (grepl(last, conditionMessage(condition))) rlang::interrupt()
    invokeRestart("muffleMessage")
  }
  tryCatch(
    withCallingHandlers(abba_run_controller_local(namespace = "n"), message = note),
    interrupt = function(condition) said
  )
}

# What another R is told where Ctrl-C is pressed while `call` waits: once the
# condition `ready` holds. Its kubectl must be gone soon, R goes on.
interrupt_r <- function(call, kubectl, ready, env = parent.frame()) {
  process <- start_r(
    c(
      "result <- tryCatch(",
      paste0("  { ", call, "; 'returned' },"),
      "  interrupt = function(cnd) 'interrupted',",
      "  error = function(cnd) paste('error:', conditionMessage(cnd))",
      ")",
      "cat('result:', result, '\\n')",
      "cat('sum:', sum(1:10), '\\n')"
    ),
    env = env
  )
  expect_true(wait_until(ready), label = "the call waits")
  press_ctrl_c(process)
  ended <- finish(process)
  # R ends the line of the prompt where the interrupt is found by asking for it, and not where its own code is stopped.
  ended$stderr <- sub("^\n", "", ended$stderr)
  expect_identical(ended$exit_status, 0L, info = ended$stderr)
  expect_identical(utils::tail(ended$stdout, 2L), c("result: interrupted ", "sum: 55 "))
  expect_ended(c(kubectl$pids(), kubectl$helpers()))
  ended
}
