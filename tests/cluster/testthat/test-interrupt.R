# Ctrl-C while the cluster does not answer.

# Starts another R that makes a call to a server that never answers, and waits until kubectl is at it.
start_call <- function(call, env = parent.frame()) {
  kubeconfig <- hanging_kubeconfig("n", env)
  script <- withr::local_tempfile(lines = c(
    "library(abba)",
    # The kept kubectl has such tests of its own.
    "options(abba.default.container = 'r-base', abba.k8s.namespace = 'n', abba.k8s.session = FALSE)",
    "tryCatch(",
    paste0("  ", call, ","),
    "  interrupt = function(cnd) cat('interrupted\\n'),",
    "  error = function(cnd) cat(class(cnd)[[1]], '\\n')",
    ")",
    "flush(stdout())",
    "readLines(file('stdin'), 1)",
    "cat('still there\\n')"
  ), .local_envir = env)
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), c("--vanilla", script),
    stdin = "|", stdout = "|", stderr = "|",
    env = c(
      "current",
      R_LIBS = paste(.libPaths(), collapse = ":"), KUBECONFIG = kubeconfig,
      PATH = paste(cluster_kubectl_folder(), Sys.getenv("PATH"), sep = ":")
    )
  )
  withr::defer(process$kill_tree(), envir = env)
  wait_until(function() runs_kubectl(process), what = "kubectl to be started")
  process
}

# The processes that R has started, also those that have ended and were not waited for.
children_of <- function(process) ps::ps_children(process$as_ps_handle(), recursive = TRUE)
pids_of_children <- function(process) vapply(children_of(process), ps::ps_pid, 1L)

# Whether one of them is kubectl: R itself starts other programs before it runs the script.
runs_kubectl <- function(process) {
  name <- function(child) tryCatch(ps::ps_name(child), error = function(error) "")
  "kubectl" %in% vapply(children_of(process), name, "")
}

# processx, which can send it too, loses the exit status of a process that ends at once.
press_ctrl_c <- function(process) tools::pskill(process$get_pid(), tools::SIGINT)

expect_interrupted <- function(process, said = "") {
  children <- children_of(process)
  press_ctrl_c(process)
  output <- character()
  read <- function() {
    output <<- c(output, process$read_output_lines())
    if (length(output) > 0L) TRUE else process$read_error()
  }
  wait_until(read, what = "the call to return")
  expect_identical(output, "interrupted")
  # R goes on, so it is not its end that has ended kubectl.
  expect_true(process$is_alive())
  expect_identical(pids_of_children(process), integer())
  # By their starts, too: numbers of processes come again.
  expect_false(any(vapply(children, ps::ps_is_running, NA)))
  process$write_input("\n")
  process$wait(60000)
  expect_identical(process$get_exit_status(), 0L)
  expect_match(process$read_all_output(), "still there")
  expect_match(process$read_all_error(), said, fixed = TRUE)
}

test_that("Ctrl-C ends the question for a state, and leaves no kubectl behind", {
  expect_interrupted(start_call("abba_get_k8s_job_status_local('test-program-1')"))
})

test_that("Ctrl-C ends the question for a log, and leaves no kubectl behind", {
  expect_interrupted(start_call("abba_get_k8s_job_log_local('test-program-1')"))
})

test_that("Ctrl-C ends a submission, leaves no kubectl behind, and says what that means for the job", {
  path <- local_program("1", "test_program.R")
  expect_interrupted(
    start_call(sprintf("abba_submit_k8s_job_local(%s)", deparse(path))),
    "Whether the job was created is not known"
  )
})

# Starts another R that waits for a program of the real cluster; `call` is its call as text. Gives back the process once
# the call is under way, as `is_under_way` says of it.
start_wait <- function(call, namespace, is_under_way, env = parent.frame()) {
  script <- withr::local_tempfile(lines = c(
    "library(abba)",
    paste0("options(abba.k8s.namespace = ", deparse(namespace), ")"),
    paste0("options(abba.k8s.session = ", getOption("abba.k8s.session"), ")"),
    paste0("tryCatch(", call, ", interrupt = function(cnd) cat('interrupted\\n'))"),
    "flush(stdout())",
    "readLines(file('stdin'), 1)",
    # What was kept for the session is ended with it; here only what the call itself started is looked for.
    "abba:::core_end_session()",
    "cat('ended\\n')",
    "flush(stdout())",
    "readLines(file('stdin'), 1)",
    "cat('still there\\n')"
  ), .local_envir = env)
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), c("--vanilla", script),
    stdin = "|", stdout = "|", stderr = "|", env = c("current", R_LIBS = paste(.libPaths(), collapse = ":"))
  )
  withr::defer(process$kill_tree(), envir = env)
  wait_until(function() runs_kubectl(process) && is_under_way(process), what = "the wait to be under way")
  process
}

expect_left_alone <- function(process, id, said) {
  press_ctrl_c(process)
  output <- character()
  has_printed <- function(line) {
    function() {
      output <<- c(output, process$read_output_lines())
      if (line %in% output) TRUE else output
    }
  }
  # Well before the program ends: its gate is shut.
  wait_until(has_printed("interrupted"), what = "the call to return")
  expect_identical(unname(states(id)), "Running")
  process$write_input("\n")
  wait_until(has_printed("ended"), what = "R to go on")
  wait_until(function() length(pids_of_children(process)) == 0L, what = "nothing to be left behind")
  process$write_input("\n")
  process$wait(60000)
  error <- process$read_all_error()
  for (words in said) expect_match(error, words, fixed = TRUE)
}

test_that("Ctrl-C ends a watch, leaves the jobs running and nothing behind, and prints how to go on", {
  namespace <- local_namespace()
  gate <- local_gate()
  id <- submit(local_program(gate$wait), mounts = gate$mounts)
  wait_for_state(id, "Running")
  process <- start_wait(sprintf("abba_watch_k8s_job_local('%s')", id), namespace, function(process) TRUE)
  expect_left_alone(process, id, c(
    "The jobs go on without you.",
    paste0("To wait for them again: abba_watch_k8s_job_local(\"", id, "\")"),
    paste0("To cancel them: abba_cancel_k8s_job_local(\"", id, "\")")
  ))
  gate$open()
  expect_identical(wait_for_end(id), "Succeeded")
})

test_that("Ctrl-C ends the following of a log, leaves the job running and nothing behind, and prints how to go on", {
  namespace <- local_namespace()
  gate <- local_gate()
  id <- submit(local_program(c("cat('begun\\n')", gate$wait)), mounts = gate$mounts)
  wait_for_state(id, "Running")
  printed <- character()
  has_begun <- function(process) {
    printed <<- c(printed, process$read_output_lines())
    "begun" %in% printed
  }
  process <- start_wait(sprintf("abba_follow_k8s_job_log_local('%s')", id), namespace, has_begun)
  expect_left_alone(process, id, c(
    "The job goes on without you.",
    paste0("To follow it again: abba_follow_k8s_job_log_local(\"", id, "\")"),
    paste0("To cancel it: abba_cancel_k8s_job_local(\"", id, "\")")
  ))
  gate$open()
  expect_identical(wait_for_end(id), "Succeeded")
})
