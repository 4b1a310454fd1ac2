# Ctrl-C while kubectl hangs, as another R gets it.

# What another R is told where Ctrl-C is pressed once kubectl hangs, or, with `pause`, once it has ended.
interrupted <- function(call, kubectl, hanging_call = 1L, pause = FALSE, env = parent.frame()) {
  ready <- function() {
    file.exists(kubectl$file(hanging_call, "hangs")) &&
      (!pause || !process_exists(read_pid(kubectl$file(hanging_call, "pid"))))
  }
  interrupt_r(call, kubectl, ready, env)
}

submit_call <- "abba_submit_k8s_job_local('test_program.R', container = 'r', namespace = 'n')"
status_call <- "abba_get_k8s_job_status_local('a-1', namespace = 'n')"
log_call <- "abba_get_k8s_job_log_local('a-1', namespace = 'n')"

test_that("Ctrl-C ends a submission and says which job there may be", {
  local_program()
  kubectl <- local_scripted_kubectl(hangs())
  ended <- interrupted(submit_call, kubectl)
  expect_match(ended$stderr, kubectl$manifest()$metadata$name, fixed = TRUE)
  expect_match(ended$stderr, "Whether the job was created is not known", fixed = TRUE)
  expect_no_match(ended$stderr, "Error", fixed = TRUE)
  expect_identical(kubectl$count(), 1L)
})

test_that("Ctrl-C ends a status", {
  kubectl <- local_scripted_kubectl(hangs())
  interrupted(status_call, kubectl)
  expect_identical(kubectl$count(), 1L)
})

test_that("Ctrl-C ends the second question of a status", {
  kubectl <- local_scripted_kubectl(says(list_of(), on = "*/pods*"), hangs(on = "*/jobs*"))
  interrupted(status_call, kubectl, hanging_call = 2L)
  expect_identical(kubectl$count(), 2L)
})

test_that("Ctrl-C ends the reading of a log", {
  kubectl <- local_scripted_kubectl(hangs(on = "*/log*"), says(list_of(pod("a-1"))))
  # After the pods and the Jobs, of which the log tells whether a program was started again.
  interrupted(log_call, kubectl, hanging_call = 3L)
  expect_identical(kubectl$count(), 3L)
})

test_that("Ctrl-C while the reason of a late start is looked for ends the call", {
  kubectl <- local_scripted_kubectl(hangs(on = "*/events*"), says(list_of(pod("a-1", waiting()))))
  interrupted(log_call, kubectl, hanging_call = 2L)
})

test_that("Ctrl-C while kubectl's configuration is read ends the call, and there is no job", {
  local_program()
  kubectl <- local_scripted_kubectl(hangs(on = "config *"), creates())
  ended <- interrupted("abba_submit_k8s_job_local('test_program.R', container = 'r')", kubectl)
  expect_identical(kubectl$count(), 1L)
  expect_no_match(ended$stderr, "Whether the job was created is not known", fixed = TRUE)
})

test_that("Ctrl-C between two attempts ends the call", {
  local_program()
  answer <- runs(c(
    "echo x > \"$call.hangs\"",
    "echo 'The connection to the server 192.0.2.1:6443 was refused - did you specify the right host or port?' >&2",
    "exit 1"
  ))
  # The fourth pause is the longest. Who presses later than that meets with the fifth attempt, which hangs.
  local_pausing <- function(env = parent.frame()) {
    local_scripted_kubectl(answer, answer, answer, answer, hangs(), env = env)
  }
  kubectl <- local_pausing()
  interrupted(status_call, kubectl, hanging_call = 4L, pause = TRUE)
  expect_lte(kubectl$count(), 5L)

  kubectl <- local_pausing()
  ended <- interrupted(submit_call, kubectl, hanging_call = 4L, pause = TRUE)
  expect_lte(kubectl$count(), 5L)
  # Nothing has arrived, so there is no job to look for.
  if (kubectl$count() == 4L) {
    expect_no_match(ended$stderr, "Whether the job was created is not known", fixed = TRUE)
  }
})

test_that("Ctrl-C after a create whose answer is lost says which job there may be", {
  local_program()
  kubectl <- local_scripted_kubectl(
    fails("Unable to connect to the server: EOF\n", on = "create *"),
    hangs(on = "create *")
  )
  ended <- interrupted(submit_call, kubectl, hanging_call = 2L)
  expect_match(ended$stderr, kubectl$manifest()$metadata$name, fixed = TRUE)
})

test_that("Ctrl-C while a lost create is looked for says which job there may be", {
  local_program()
  kubectl <- local_scripted_kubectl(
    fails("Error from server (AlreadyExists): jobs.batch \"x\" already exists\n", on = "create *"),
    hangs(on = "get *")
  )
  ended <- interrupted(submit_call, kubectl, hanging_call = 2L)
  expect_match(ended$stderr, kubectl$manifest()$metadata$name, fixed = TRUE)
})

test_that("Ctrl-C while it is looked whether a job was created says which job there may be", {
  local_program()
  # The second create is refused, but the first may have been carried out.
  kubectl <- local_scripted_kubectl(
    fails("Unable to connect to the server: EOF\n", on = "create *"),
    fails("Error from server (Forbidden): jobs.batch is forbidden: exceeded quota: q\n", on = "create *"),
    hangs(on = "get *")
  )
  ended <- interrupted(submit_call, kubectl, hanging_call = 3L)
  expect_match(ended$stderr, kubectl$manifest()$metadata$name, fixed = TRUE)
})

test_that("after Ctrl-C the next call works", {
  kubectl <- local_scripted_kubectl(hangs(), says(list_of(pod("a-1"))))
  process <- start_r(c(
    paste0("tryCatch(", status_call, ", interrupt = function(cnd) cat('interrupted\\n'))"),
    paste0("cat(names(", status_call, "), '\\n')")
  ))
  expect_true(wait_until(function() file.exists(kubectl$file(1L, "hangs"))))
  press_ctrl_c(process)
  ended <- finish(process)
  expect_identical(ended$stdout, c("interrupted", "Succeeded "), info = ended$stderr)
})

test_that("code that cleans up on exit runs after Ctrl-C", {
  kubectl <- local_scripted_kubectl(hangs())
  process <- start_r(c(
    "wait <- function() {",
    "  on.exit(cat('cleaned up\\n'))",
    paste0("  ", status_call),
    "}",
    "wait()"
  ))
  expect_true(wait_until(function() file.exists(kubectl$file(1L, "hangs"))))
  press_ctrl_c(process)
  ended <- finish(process)
  expect_identical(ended$stdout, "cleaned up", info = ended$stderr)
  expect_false(ended$exit_status == 0L)
  expect_ended(c(kubectl$pids(), kubectl$helpers()))
})

test_that("Ctrl-C at the console reaches R alone, so that kubectl is ended by abba", {
  # The terminal sends it to the whole process group of R.
  kubectl <- local_scripted_kubectl(runs(c(
    "trap 'echo hit > \"$call.hit\"' INT",
    "echo ready > \"$call.hangs\"",
    "while :; do sleep 1000; done"
  )))
  process <- start_r(paste0(
    "tryCatch(", status_call, ", interrupt = function(cnd) cat('interrupted\\n'))"
  ))
  expect_true(wait_until(function() file.exists(kubectl$file(1L, "hangs"))))
  group <- function(pid) {
    fields <- sub("^.*\\) ", "", readLines(file.path("/proc", pid, "stat"), warn = FALSE))
    strsplit(fields, " ")[[1]][[3]]
  }
  expect_false(group(kubectl$pids()) == group(process$get_pid()))
  press_ctrl_c(process)
  expect_identical(finish(process)$stdout, "interrupted")
  expect_false(file.exists(kubectl$file(1L, "hit")))
  expect_ended(kubectl$pids())
})

# --- R's own time limits ------------------------------------------------------------

# What becomes of a call that R's time limit meets while `is_waiting()`. R looks for it in its own code as well, so on a
# busy machine a short one may be over before the call waits: then it is twice as long.
with_time_limit <- function(call, is_waiting) {
  limited <- function(seconds) {
    tryCatch(
      {
        setTimeLimit(elapsed = seconds, transient = TRUE)
        on.exit(setTimeLimit())
        call()
      },
      interrupt = function(condition) stop("this was an interrupt"),
      error = identity
    )
  }
  longer_until(limited, is_waiting, 4)
}
while_kubectl_hangs <- function(call) {
  kubectl <- local_scripted_kubectl(hangs())
  # Beyond that of R.
  withr::local_options(abba.k8s.request.timeout = 1000)
  with_time_limit(call, function() kubectl$hangs() > 0L)
}

test_that("a time limit of R is an error with R's message, not an interrupt", {
  error <- while_kubectl_hangs(function() abba_get_k8s_job_status_local("a-1", namespace = "n"))
  expect_s3_class(error, c("abba_error_time_limit", "abba_error"), exact = FALSE)
  # R.utils::withTimeout() knows it by this text.
  expect_match(error$message, "^reached elapsed time limit")
})

test_that("a time limit of R says what it means for the job, and the next call works", {
  local_program()
  said <- character()
  error <- withCallingHandlers(
    while_kubectl_hangs(function() abba_submit_k8s_job_local("test_program.R", container = "r", namespace = "n")),
    message = function(message) {
      said <<- c(said, conditionMessage(message))
      tryInvokeRestart("muffleMessage")
    }
  )
  expect_s3_class(error, "abba_error_time_limit")
  expect_match(paste(said, collapse = " "), "Whether the job was created is not known", fixed = TRUE)
  local_scripted_kubectl(says(list_of(pod("a-1"))))
  expect_named(abba_get_k8s_job_status_local("a-1", namespace = "n"), "Succeeded")
})

test_that("a time limit of R ends a wait, and says how to come back to it", {
  error <- NULL
  expect_message(
    error <- while_kubectl_hangs(function() abba_watch_k8s_job_local("a-1", namespace = "n")),
    "The jobs go on without you"
  )
  expect_s3_class(error, "abba_error_time_limit")
})

test_that("a time limit of R ends a call of the API as one", {
  api <- local_scripted_api(never_replies())
  error <- with_time_limit(job_status, function() length(api$requests()) > 0L)
  expect_s3_class(error, "abba_error_time_limit")
  expect_match(error$message, "^reached elapsed time limit")
})
