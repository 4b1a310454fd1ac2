# kubectl's own words, as kubectl 1.34 was seen to say them.
words <- list(
  not_found = "Error from server (NotFound): namespaces \"n\" not found\n",
  forbidden = paste0(
    "Error from server (Forbidden): jobs.batch is forbidden: User \"mike\" cannot create resource ",
    "\"jobs\" in API group \"batch\" in the namespace \"n\"\n"
  ),
  quota = paste0(
    "Error from server (Forbidden): jobs.batch \"x\" is forbidden: exceeded quota: small, ",
    "requested: count/jobs.batch=1, used: count/jobs.batch=5, limited: count/jobs.batch=5\n"
  ),
  unauthorized = "error: You must be logged in to the server (Unauthorized)\n",
  login = "Unable to connect to the server: getting credentials: exec: executable login-helper not found\n",
  invalid = "The Job \"x\" is invalid: spec.template.spec.volumes[0].nfs.server: Required value\n",
  bad_request = paste0(
    "Error from server (BadRequest): Job in version \"v1\" cannot be handled as a Job: strict decoding ",
    "error: unknown field \"spec.template.spec.volumes[0].nsf\"\n"
  ),
  refused = "The connection to the server 192.0.2.1:6443 was refused - did you specify the right host or port?\n",
  unreachable = "Unable to connect to the server: dial tcp: lookup kubernetes.example.com: no such host\n",
  server = "Error from server (InternalError): an error on the server has prevented the request from succeeding\n",
  busy = paste0(
    "Error from server (TooManyRequests): the server has received too many requests and has asked ",
    "us to try again later\n"
  ),
  not_configured = paste0(
    "The connection to the server localhost:8080 was refused - ",
    "did you specify the right host or port?\n"
  ),
  broken = "error: error loading config file \"/home/mike/.kube/config\": yaml: line 3: could not find expected ':'\n",
  no_context = "error: context \"nope\" does not exist\n",
  unknown = "Segmentation fault\n"
)

classes <- c(
  not_found = "not_found", forbidden = "forbidden", quota = "forbidden", unauthorized = "unauthorized",
  login = "unauthorized", invalid = "invalid", bad_request = "invalid", refused = "unavailable",
  unreachable = "unavailable", server = "unavailable", busy = "unavailable",
  not_configured = "not_configured", broken = "not_configured", no_context = "not_configured", unknown = "kubectl"
)

verbs <- c(
  submit = "abba_submit_k8s_job_local('test_program.R', container = 'r', namespace = 'n')",
  status = sprintf("abba_get_k8s_job_status_local('%s', namespace = 'n')", test_job),
  log = sprintf("abba_get_k8s_job_log_local('%s', namespace = 'n')", test_job)
)

# The errors of a verb, one for each answer of kubectl, or of the verb for each answer. What may heal is tried again for
# some seconds, and a busy server until the time limit, so all are asked for at once, in forks of another R.
errors_of <- function(verb, answers, env = parent.frame()) {
  # An answer to a part of the requests leaves the LIST of pods.
  listed <- says(list_of(pod(test_job)), on = "?*")
  kubectls <- lapply(answers, function(answer) local_scripted_kubectl(answer, listed, env = env))
  result <- withr::local_tempfile(fileext = ".rds")
  ran <- run_r(c(
    "options(cli.unicode = FALSE)",
    paste0("kubectls <- ", deparse1(unname(vapply(kubectls, `[[`, "", "program")))),
    paste0("calls <- ", deparse1(rep_len(unname(verbs[verb]), length(answers)))),
    # Children that wait, not work: mclapply() allows no more of them than CRAN has cores for.
    "ask <- function(i) parallel::mcparallel({",
    "  options(abba.kubectl = kubectls[[i]])",
    # The time limit, which is no answer of kubectl, may end the last attempt of a machine that stands still.
    "  for (time in 1:5) {",
    "    error <- tryCatch({ eval(str2lang(calls[[i]])); NULL }, error = identity)",
    "    if (!inherits(error, 'abba_error_timeout')) break",
    "  }",
    "  error",
    "})",
    "errors <- unname(parallel::mccollect(lapply(seq_along(kubectls), ask)))",
    paste0("saveRDS(errors, ", deparse1(result), ")")
  ))
  expect_identical(ran$exit_status, 0L, info = ran$stderr)
  Map(function(kubectl, error) list(error = error, kubectl = kubectl), kubectls, readRDS(result))
}

# Those of all verbs for each of `words`, by verb. Asked for by the first test that wants them.
found_of_words <- NULL
errors_of_words <- function(verb) {
  if (is.null(found_of_words)) {
    local_program()
    asked <- rep(names(verbs), each = length(words))
    on <- ifelse(asked == "log", "*/log*", "*")
    answers <- Map(fails, rep(words, length(verbs)), on = on)
    found_of_words <<- split(errors_of(asked, answers, teardown_env()), asked)
  }
  found_of_words[[verb]]
}

tell_all <- function(found) {
  for (case in names(found)) {
    cat("# ", case, "\n", conditionMessage(found[[case]]$error), "\n\n", sep = "")
  }
}

expect_classes <- function(found, expected) {
  for (case in names(found)) {
    expect_identical(
      class(found[[case]]$error),
      unique(c(
        paste0("abba_error_", expected[[case]]), "abba_error_kubectl", "abba_error",
        "rlang_error", "error", "condition"
      )),
      info = case
    )
  }
}

test_that("each of kubectl's words has its class and its words when a job is submitted", {
  found <- errors_of_words("submit")
  expect_classes(found, classes)
  expect_words(tell_all(found))
  for (case in names(found)) {
    error <- found[[case]]$error
    kubectl <- found[[case]]$kubectl
    # Where it is not known whether there is a job, the error has its id.
    open <- case %in% c("unreachable", "server", "unknown")
    expect_identical(
      error$job_id,
      if (open) kubectl$manifest()$metadata$name else character(),
      info = case
    )
    expect_identical(grepl("No job was created.", conditionMessage(error), fixed = TRUE), !open, info = case)
  }
})

test_that("each of kubectl's words has its class and its words when a status is asked for", {
  found <- errors_of_words("status")
  expect_classes(found, classes)
  expect_words(tell_all(found))
})

test_that("each of kubectl's words has its class and its words when a log is asked for", {
  found <- errors_of_words("log")
  expect_classes(found, classes)
  expect_words(tell_all(found))
  for (case in names(found)) {
    expect_identical(found[[case]]$error$job_id, test_job, info = case)
  }
})

test_that("what will not heal is not tried again", {
  final <- setdiff(names(words), c("refused", "unreachable", "server", "busy", "unknown"))
  for (verb in c("submit", "status")) {
    for (one in errors_of_words(verb)[final]) {
      expect_identical(one$kubectl$count(), 1L, info = one$error$stderr)
    }
  }
})

test_that("an error is that of the function that the user called", {
  local_program()
  local_scripted_kubectl(fails(words$forbidden))
  expect_words(submit(), error = TRUE)
  expect_words(status(), error = TRUE)
  expect_words(log_of(), error = TRUE)
})

test_that("an error carries the request and kubectl's exit status and words", {
  local_program()
  local_scripted_kubectl(fails(words$forbidden, status = 3L))
  error <- raised(status())
  expect_match(error$request, "^GET /api/v1/namespaces/n/pods[?]labelSelector=")
  expect_identical(error$exit_status, 3L)
  expect_identical(error$stderr, trimws(words$forbidden))
  expect_identical(error$job_id, character())
  error <- raised(submit())
  expect_identical(error$request, "POST /apis/batch/v1/namespaces/n/jobs?fieldValidation=Strict")
  expect_identical(error$exit_status, 3L)
})

# --- Trying again -----------------------------------------------------------

test_that("reads heal by themselves", {
  for (case in c("refused", "unreachable", "server", "busy")) {
    kubectl <- local_scripted_kubectl(fails(words[[case]]), says(list_of(pod(test_job))))
    expect_silent(found <- status())
    expect_named(found, "Succeeded")
    expect_identical(kubectl$count(), 2L)
  }
})

test_that("the log itself is also read again", {
  kubectl <- local_scripted_kubectl(
    fails("error: connection reset by peer\n", on = "*/log*"),
    fails("Error from server (ServiceUnavailable): apiserver not ready\n", on = "*/log*"),
    says(paste0("abba-log-of ", test_job, "\n1\n"), on = "*/log*"),
    says(list_of(pod(test_job)))
  )
  expect_identical(log_of()[[1]]$log, "1")
  # The Jobs, which tell whether the program was started again, and the newest line, by which none is missing.
  expect_identical(kubectl$count(), 6L)
})

test_that("a server that goes on refusing is given up within the time limit", {
  kubectl <- local_scripted_kubectl(fails(words$refused))
  expect_s3_class(raised(status()), "abba_error_unavailable")
  expect_gt(kubectl$count(), 2L)
  expect_lt(kubectl$count(), 10L)
})

test_that("a server that refuses until a short time limit is said to refuse", {
  # The first attempt is over when the second one begins.
  kubectl <- local_scripted_kubectl(fails(words$refused))
  error <- at_time_limit(function() raised(status()), function() kubectl$count() > 1L, 2)
  expect_s3_class(error, "abba_error_unavailable")
  expect_match(conditionMessage(error), "was refused", fixed = TRUE)
})

# --- Words that could do harm -----------------------------------------------

test_that("an error's message holds kubectl's words whatever they are", {
  for (text in c(
    "100% %s %n %d %5$s %", "{x} {{x}} {stop()} }{ {.cls x}", "\\n \\u00e9 \\", "'single' \"double\" `back`",
    "<html>&amp;</html>", "\u00e9 \u65e5\u672c\u8a9e \U1F600", "$(touch x) ; rm -rf /", "a\tb"
  )) {
    local_scripted_kubectl(fails(paste0("Error from server (Forbidden): ", text, "\n")))
    error <- raised(status())
    expect_s3_class(error, "abba_error_forbidden")
    expect_match(conditionMessage(error), text, fixed = TRUE)
    expect_identical(error$stderr, paste0("Error from server (Forbidden): ", text))
    expect_output(print(error), "You are not allowed", fixed = TRUE)
  }
})

test_that("bytes of kubectl's words that R cannot hold are replaced", {
  local_scripted_kubectl(fails(as.raw(c(0x61, 0x00, 0xe9, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 0x62, 0x0a))))
  error <- raised(status())
  expect_true(validUTF8(error$stderr))
  expect_true(validUTF8(conditionMessage(error)))
  expect_identical(error$stderr, "a\ufffd\ufffd\u001b[31mb")
})

test_that("several lines of kubectl's words are all told", {
  local_scripted_kubectl(fails("error: one\nhint: two\n\nthree\n"))
  expect_words(status(), error = TRUE)
})

test_that("kubectl's debugging lines are left out", {
  local_scripted_kubectl(fails(paste0(
    "E1124 03:00:00.000000   42 memcache.go:265] \"Unhandled Error\" err=\"no API group list\"\n",
    words$unauthorized
  )))
  error <- raised(status())
  expect_s3_class(error, "abba_error_unauthorized")
  expect_no_match(conditionMessage(error), "memcache.go")
})

test_that("of very long words the message has the beginning and the condition has all", {
  long <- paste0("Error from server (Forbidden): ", strrep("0123456789abcdef", 65536))
  local_scripted_kubectl(fails(paste0(long, "\n")))
  error <- raised(status())
  expect_s3_class(error, "abba_error_forbidden")
  expect_identical(error$stderr, long)
  expect_lt(nchar(conditionMessage(error)), 3000L)
  expect_gt(nchar(conditionMessage(error)), 2000L)
})

test_that("a kubectl that fails without a word still makes an error", {
  local_scripted_kubectl(fails(""))
  error <- raised(status())
  expect_identical(class(error)[1:2], c("abba_error_kubectl", "abba_error"))
  expect_identical(error$exit_status, 1L)
  expect_null(error$stderr)
  expect_words(status(), error = TRUE)
})

# --- A kubectl that is none, or breaks --------------------------------------

test_that("without kubectl the error says how to get it", {
  local_program()
  withr::local_envvar(PATH = withr::local_tempdir())
  for (error in list(raised(submit()), raised(status()), raised(log_of()))) {
    expect_identical(class(error)[1:3], c("abba_error_kubectl_missing", "abba_error_kubectl", "abba_error"))
  }
  expect_words(status(), error = TRUE)
  expect_match(conditionMessage(raised(submit())), "No job was created.", fixed = TRUE)
})

test_that("a kubectl that cannot be started counts as missing", {
  local_program()
  folder <- file.path(getwd(), "bin")
  dir.create(folder)
  withr::local_envvar(PATH = folder)
  program <- file.path(folder, "kubectl")

  dir.create(program)
  expect_s3_class(raised(status()), "abba_error_kubectl_missing")
  unlink(program, recursive = TRUE)

  writeLines("#!/bin/sh", program)
  Sys.chmod(program, "0644")
  expect_s3_class(raised(status()), "abba_error_kubectl_missing")

  writeLines("#!/no/such/shell", program)
  Sys.chmod(program, "0755")
  expect_s3_class(raised(status()), "abba_error_kubectl_missing")

  writeBin(as.raw(0:255), program)
  expect_s3_class(raised(status()), "abba_error_kubectl_missing")

  withr::local_options(abba.kubectl = file.path(folder, "no-such-kubectl"))
  expect_s3_class(raised(status()), "abba_error_kubectl_missing")
  expect_words(status(), error = TRUE)
})

test_that("an answer that makes no sense is an error, not an empty result", {
  for (garbage in list(
    "", "\n", "<html><body>Log in</body></html>", substr(list_of(pod(test_job)), 1L, 60L), "null", "[]", "{}",
    "\"text\"", "1", "{\"items\": 1}", "{\"items\": [1]}", "{\"kind\": \"Status\", \"status\": \"Failure\"}",
    as.raw(c(0xff, 0x00)), strrep("[", 100000)
  )) {
    local_scripted_kubectl(says(garbage))
    class <- if (is.character(garbage) && startsWith(garbage, "<html>")) "not_configured" else "kubectl"
    error <- raised(status())
    expect_identical(class(error)[[1L]], paste0("abba_error_", class))
    expect_lt(nchar(conditionMessage(error)), 3000L)
    error <- raised(log_of())
    expect_identical(class(error)[[1L]], paste0("abba_error_", class))
  }
  local_scripted_kubectl(says("<html><body>Log in {x} %s</body></html>"))
  expect_words(status(), error = TRUE)
})

test_that("a create whose answer makes no sense is no success", {
  local_program()
  found <- errors_of("submit", lapply(
    list("", "null", "{}", "<html>", to_json(job("another-job")), list_of()), says,
    on = "create *"
  ))
  for (one in found) {
    expect_identical(class(one$error)[1:2], c("abba_error_kubectl", "abba_error"))
    expect_identical(one$error$job_id, one$kubectl$manifest()$metadata$name)
  }
})

test_that("50 MB of garbage are an error and nothing worse", {
  local_scripted_kubectl(runs("head -c 50000000 /dev/zero | tr '\\0' x"))
  error <- raised(status())
  expect_identical(class(error)[1:2], c("abba_error_kubectl", "abba_error"))
  expect_lt(nchar(conditionMessage(error)), 3000L)
})

test_that("50 MB on stderr do not block kubectl", {
  local_scripted_kubectl(new_answer(
    c("head -c 50000000 /dev/zero | tr '\\0' x >&2", "exec cat \"$answer.out\""),
    stdout = list_of(pod(test_job))
  ))
  expect_named(status(), "Succeeded")
})

test_that("a kubectl that is ended by a signal is told as such", {
  local_program()
  kubectl <- local_scripted_kubectl(dies())
  error <- raised(status())
  expect_identical(class(error)[1:2], c("abba_error_kubectl", "abba_error"))
  expect_null(error$exit_status)
  expect_words(status(), error = TRUE)
  expect_words(log_of(), error = TRUE)
})

test_that("what kubectl has said before it was ended by a signal is told", {
  local_scripted_kubectl(runs("echo 'fatal error: out of memory' >&2; kill -9 $$"))
  error <- raised(status())
  expect_identical(error$stderr, "fatal error: out of memory")
  expect_match(conditionMessage(error), "kubectl said: fatal error: out of memory", fixed = TRUE)
  # What abba says itself is not put into kubectl's mouth.
  local_scripted_kubectl(dies())
  expect_null(raised(status())$stderr)
})

test_that("an answer that makes no sense comes with the request that it answers", {
  local_scripted_kubectl(says("<html>"))
  expect_match(raised(status())$request, "^GET /api/v1/namespaces/n/pods")
})

test_that("a kubectl that writes and then fails has failed", {
  local_scripted_kubectl(fails("Unexpected end\n", stdout = list_of(pod(test_job))))
  expect_identical(class(raised(status()))[1:2], c("abba_error_kubectl", "abba_error"))
})

test_that("a kubectl that answers slowly and in pieces is waited for", {
  kubectl <- local_scripted_kubectl(new_answer(
    c(
      "head -c 100 \"$answer.out\"", "sleep 0.3", "tail -c +101 \"$answer.out\" | head -c 1", "sleep 0.3",
      "tail -c +102 \"$answer.out\""
    ),
    stdout = list_of(pod(test_job))
  ))
  expect_named(status(), "Succeeded")
})

# --- Time limits and what kubectl leaves behind -----------------------------

test_that("a kubectl that hangs is ended at the time limit, with all that it started", {
  kubectl <- local_scripted_kubectl(hangs())
  asked <- 1L
  ask <- function() {
    asked <<- asked + 1L
    raised(status())
  }
  error <- at_time_limit(ask, function() kubectl$hangs() > 0L)
  expect_identical(class(error)[1:3], c("abba_error_timeout", "abba_error_kubectl", "abba_error"))
  withr::local_options(abba.k8s.request.timeout = 1)
  expect_words(status(), error = TRUE)
  # It is not asked again.
  expect_lte(kubectl$count(), asked)
  expect_reaped(kubectl$pids())
  expect_gt(length(kubectl$helpers()), 0L)
  expect_ended(kubectl$helpers())
})

test_that("a log that hangs is ended at the time limit", {
  kubectl <- local_scripted_kubectl(
    runs("printf 'half a li'; echo ready > \"$call.hangs\"; exec sleep 1000", on = "*/log*"),
    says(list_of(pod(test_job)))
  )
  error <- at_time_limit(function() raised(log_of()), function() kubectl$hangs() > 0L)
  expect_s3_class(error, "abba_error_timeout")
  expect_identical(error$job_id, test_job)
  expect_reaped(kubectl$pids())
})

test_that("what kubectl has said before the time limit is told", {
  kubectl <- local_scripted_kubectl(runs(c(
    "echo 'To log in, open https://example.com/device' >&2", "echo ready > \"$call.hangs\"", "exec sleep 1000"
  )))
  error <- at_time_limit(function() raised(status()), function() kubectl$hangs() > 0L)
  expect_words(cat(sub("within [0-9]+ seconds?", "within <n> seconds", conditionMessage(error))))
})

test_that("a login helper that outlives kubectl does not hold up the answer and is ended", {
  kubectl <- local_scripted_kubectl(new_answer(
    c("sleep 1000 &", "echo $! > \"$call.helper\"", "cat \"$answer.out\""),
    stdout = list_of(pod(test_job))
  ))
  expect_named(status(), "Succeeded")
  expect_length(kubectl$helpers(), 1L)
  expect_ended(kubectl$helpers())
})

test_that("a login helper that has left kubectl's process group does not hold up the answer", {
  kubectl <- local_scripted_kubectl(new_answer(
    c(
      "setsid sh -c 'echo $$ > \"$1.helper\"; exec sleep 1000' sh \"$call\" &",
      "until [ -s \"$call.helper\" ]; do sleep 0.01; done",
      "cat \"$answer.out\""
    ),
    stdout = list_of(pod(test_job))
  ))
  withr::defer(tools::pskill(kubectl$helpers()))
  expect_named(status(), "Succeeded")
})

# What this process holds: open files, threads, and children that were not reaped.
held <- function() {
  states <- vapply(
    list.files("/proc", "^[0-9]+$"),
    function(pid) {
      stat <- suppressWarnings(tryCatch(
        readLines(file.path("/proc", pid, "stat"), warn = FALSE),
        error = function(cnd) character()
      ))
      # Nothing of one that has ended since it was listed.
      sub("^.*\\) (.) ([0-9]+) .*$", "\\1 \\2", paste(stat, collapse = ""))
    },
    ""
  )
  c(
    files = length(list.files("/proc/self/fd")),
    threads = length(list.files("/proc/self/task")),
    zombies = sum(states == paste("Z", Sys.getpid()))
  )
}

test_that("200 calls leave no open files, threads, children or files behind", {
  local_program()
  left_over <- withr::local_tempdir()
  local_scripted_kubectl(
    creates(),
    says(paste0("abba-log-of ", test_job, "\n"), on = "*/log*"),
    fails(words$forbidden, on = "*/namespaces/closed/*"),
    says(list_of(pod(test_job)))
  )
  withr::local_envvar(TMPDIR = left_over)
  suppressMessages(submit())
  before <- held()
  for (i in 1:50) {
    suppressMessages(submit())
    status()
    log_of()
    raised(status(namespace = "closed"))
  }
  expect_true(wait_until(function() all(held() <= before)), label = "all is given back")
  expect_identical(list.files(left_over, all.files = TRUE, no.. = TRUE), character())
})

test_that("calls that end at the time limit leave nothing behind either", {
  local_program()
  withr::local_options(abba.k8s.request.timeout = 0.1)
  kubectl <- local_scripted_kubectl(hangs())
  raised(status())
  before <- held()
  for (i in 1:5) {
    raised(status())
    raised(submit())
  }
  expect_true(wait_until(function() all(held() <= before)), label = "all is given back")
  expect_reaped(kubectl$pids())
})

test_that("R's other children are left alone", {
  local_scripted_kubectl(says(list_of(pod(test_job))))
  child <- processx::process$new("sh", c("-c", "exit 7"))
  status()
  child$wait(20000)
  expect_identical(child$get_exit_status(), 7L)

  ran <- run_r(c(
    "fork <- parallel::mcparallel(6 * 7)",
    paste0("found <- ", verbs[["status"]]),
    "cat(parallel::mccollect(fork)[[1]], '\\n')"
  ))
  expect_identical(ran$stdout, "42 ", info = ran$stderr)
})

test_that("the functions work in forked children of R", {
  local_program()
  kubectl <- local_scripted_kubectl(creates(), says(list_of(pod(test_job))))
  ran <- run_r(c(
    paste0("first <- suppressMessages(", verbs[["submit"]], ")"),
    "found <- parallel::mclapply(1:8, function(i) {",
    paste0("  c(names(", verbs[["status"]], "), suppressMessages(", verbs[["submit"]], ")$job_id)"),
    "}, mc.cores = 2L)",
    "writeLines(unlist(found))"
  ))
  found <- matrix(ran$stdout, nrow = 2L)
  expect_identical(found[1L, ], rep("Succeeded", 8L), info = ran$stderr)
  expect_length(unique(found[2L, ]), 8L)
  expect_identical(kubectl$count(), 17L)
})

# --- Other locales ----------------------------------------------------------

test_that("everything works in a locale that knows ASCII only", {
  name <- "\u65e5\u672c\u8a9e \u00e9.R"
  local_program("print('\u00e9')\n", name = name)
  kubectl <- local_scripted_kubectl(
    creates(),
    says(paste0("abba-log-of ", test_job, "\ncaf\u00e9\n"), on = "*/log*"),
    says(list_of(pod(test_job, path = name)))
  )
  ran <- run_r(
    c(
      "path <- list.files(pattern = '[.]R$')",
      "answer <- abba_submit_k8s_job_local(path, container = 'r', namespace = 'n', user_tag = '\\u00e9')",
      "again <- path; Encoding(again) <- 'UTF-8'",
      "answer <- abba_submit_k8s_job_local(again, container = 'r', namespace = 'n')",
      paste0("status <- abba_get_k8s_job_status_local('", test_job, "', namespace = 'n')"),
      "cat(utf8ToInt(status$Succeeded$Jobs[[1]]$path), '\\n')",
      paste0("log <- abba_get_k8s_job_log_local('", test_job, "', namespace = 'n')"),
      "cat(utf8ToInt(log[[1]]$log), '\\n')"
    ),
    LC_ALL = "C"
  )
  expect_identical(ran$exit_status, 0L, info = ran$stderr)
  expect_identical(ran$stdout, c(
    paste0(paste(utf8ToInt(name), collapse = " "), " "),
    paste0(paste(utf8ToInt("caf\u00e9"), collapse = " "), " ")
  ))
  for (i in 1:2) {
    sent <- kubectl$manifest(i)
    expect_identical(sent$metadata$annotations[["abba/program-path"]], name)
    expect_identical(sent$spec$template$metadata$annotations[["abba/program-text"]], "print('\u00e9')\n")
  }
  expect_identical(kubectl$manifest(1L)$metadata$annotations[["abba/user-tag"]], "\u00e9")
})

test_that("kubectl's words are told in a locale that knows ASCII only", {
  local_scripted_kubectl(fails("Error from server (Forbidden): caf\u00e9 %s\n"))
  ran <- run_r(
    c(
      paste0("cnd <- tryCatch(abba_get_k8s_job_status_local('", test_job, "', namespace = 'n'), error = identity)"),
      "cat(class(cnd)[[1]], utf8ToInt(substr(cnd$stderr, 35, 35)), '\\n')",
      "stop(cnd)"
    ),
    LC_ALL = "C"
  )
  expect_identical(ran$stdout, "abba_error_forbidden 233 ", info = ran$stderr)
  expect_identical(ran$exit_status, 1L)
  expect_match(ran$stderr, "You are not allowed to list pods", fixed = TRUE)
})

# --- Rules of the cluster -----------------------------------------------------

test_that("a rule that refuses is told at once, in its own words", {
  local_program()
  refusals <- c(
    "Error from server: admission webhook \"v\" denied the request: label team is missing",
    "Error from server ([limits] <program> has none): admission webhook \"v\" denied the request: [limits] label team",
    "Error from server (Forbidden): admission webhook \"v\" denied the request: label team is missing",
    "The jobs \"x\" is invalid: : ValidatingAdmissionPolicy 'a' with binding 'b' denied request: label team is missing"
  )
  for (words in refusals) {
    kubectl <- local_scripted_kubectl(fails(paste0(words, "\n")))
    error <- raised(submit())
    expect_s3_class(error, "abba_error_forbidden")
    expect_match(conditionMessage(error), "A rule of the cluster refuses", fixed = TRUE)
    expect_match(conditionMessage(error), "No job was created.", fixed = TRUE)
    expect_match(conditionMessage(error), "label team", fixed = TRUE)
    expect_identical(kubectl$count(), 1L)
  }
})

test_that("a warning of the cluster about a new job is a warning with the way out", {
  local_program()
  local_scripted_kubectl(warns_of_job())
  warning <- NULL
  job <- withCallingHandlers(
    suppressMessages(submit()),
    abba_warning = function(condition) {
      warning <<- condition
      rlang::cnd_muffle(condition)
    }
  )
  expect_s3_class(warning, "abba_warning_cluster_rule")
  expect_match(conditionMessage(warning), "runAsNonRoot", fixed = TRUE)
  expect_match(conditionMessage(warning), "`username`", fixed = TRUE)
  expect_identical(warning$job_id, job$job_id)
})

test_that("a rule that changes a job so that a promise breaks is told as the job is submitted", {
  local_program()
  changed <- c("\"backoffLimit\":0" = "\"backoffLimit\":6", "\"name\":\"program\"" = "\"name\":\"main\"")
  edits <- paste0(" -e 's/", names(changed), "/", changed, "/'", collapse = "")
  local_scripted_kubectl(runs(paste0("exec sed", edits, " \"$manifest\"")))
  told <- list()
  job <- withCallingHandlers(
    suppressMessages(submit()),
    abba_warning_cluster_rule = function(condition) {
      told <<- c(told, list(condition))
      rlang::cnd_muffle(condition)
    }
  )
  expect_length(told, 2L)
  messages <- vapply(told, conditionMessage, "")
  expect_match(messages[[1L]], "`backoffLimit` is 6: a program that fails is started again.", fixed = TRUE)
  expect_match(messages[[2L]], "neither the program's end nor its log can be seen.", fixed = TRUE)
  expect_match(messages, "Cancel it if it must not run like this", fixed = TRUE)
  for (warning in told) {
    expect_identical(warning$job_id, job$job_id)
  }
})

test_that("what a wrapper of kubectl says before kubectl's answer about itself does no harm", {
  configuration <- list(
    "current-context" = "c", contexts = list(list(name = "c", context = list(cluster = "k", namespace = "study-1")))
  )
  kubectl <- local_scripted_kubectl(
    says(c("kubectl 1.34 of asdf", to_json(configuration)), on = "config view*"), pods_of(pod(test_job))
  )
  expect_named(status(namespace = NULL), "Succeeded")
  expect_match(kubectl$requests()[[2L]], "/namespaces/study-1/", fixed = TRUE)
})

test_that("a login helper that must have a terminal is told with the way out", {
  local_scripted_kubectl(fails(paste0(
    "Unable to connect to the server: getting credentials: exec plugin cannot support interactive mode: ",
    "standard input is not a terminal\n"
  )))
  error <- raised(status())
  expect_s3_class(error, "abba_error_unauthorized")
  expect_match(conditionMessage(error), "set `interactiveMode` of the helper", fixed = TRUE)
})

test_that("kubectl is kept from the user's own defaults", {
  kubectl <- local_scripted_kubectl(runs(c("printf %s \"$KUBERC\" > \"$call.kuberc\"", "exit 1")))
  raised(status())
  expect_identical(readLines(kubectl$file(1L, "kuberc"), warn = FALSE), "off")
})

test_that("a page in the API server's place leaves open whether a job was created, and names the address", {
  local_program()
  configuration <- list(
    "current-context" = "c", contexts = list(list(name = "c", context = list(cluster = "k"))),
    clusters = list(list(name = "k", cluster = list(server = "https://k8s.example.com:6443")))
  )
  page <- "<!DOCTYPE html><html><head><title>Log in</title></head><body>Log in</body></html>"
  kubectl <- local_scripted_kubectl(says(to_json(configuration), on = "config view*"), says(page))
  error <- raised(submit())
  expect_s3_class(error, "abba_error_not_configured")
  expect_match(conditionMessage(error), "Whether the job was created is not known.", fixed = TRUE)
  expect_match(conditionMessage(error), "is https://k8s.example.com:6443.", fixed = TRUE)
  expect_length(error$job_id, 1L)
  # It is not sent again.
  expect_identical(sum(grepl("create", vapply(kubectl$calls(), `[[`, "", 1L))), 1L)
  local_scripted_kubectl(
    says(to_json(configuration), on = "config view*"), fails(paste0("Error from server (Forbidden): ", page, "\n"))
  )
  error <- raised(submit())
  expect_s3_class(error, "abba_error_unavailable")
  expect_match(conditionMessage(error), "Whether the job was created is not known.", fixed = TRUE)
  expect_match(conditionMessage(error), "https://k8s.example.com:6443", fixed = TRUE)
})
