# The kubectl that is kept for the session, on the real cluster. tests/testthat/test-session.R has what a real one does
# not do on demand.
source(file.path("..", "..", "testthat", "helper-shared.R"), local = TRUE)
local_namespace()
withr::local_options(abba.k8s.session = TRUE)

ended <- submit(local_program("cat('ran\\n')"))
wait_for_end(ended)

# Has the sockets of this test in a folder of their own, until it ends, and no kubectl from an earlier test.
# Gives back a list of functions: folders(), the folders of sockets; pids(), the processes that have one as an argument.
local_sockets <- function(env = parent.frame()) {
  # Short, because a socket's path may not be long.
  folder <- withr::local_tempdir(pattern = "s", tmpdir = "/tmp", .local_envir = env)
  withr::local_envvar(TMPDIR = folder, .local_envir = env)
  withr::defer(abba:::core_end_session(), envir = env)
  folders <- function() list.files(folder, "^abba-", full.names = TRUE)
  pids <- function() processes_with(paste0(folder, "/abba-"))
  list(path = folder, folders = folders, pids = pids, left = function() c(pids(), folders()))
}

expect_nothing_left <- function(sockets) {
  wait_until(function() if (length(sockets$left()) == 0L) TRUE else sockets$left(), what = "nothing to be left")
  expect_identical(length(sockets$left()), 0L)
}

# Which kubectls were started: "proxy", "config", "get", ...
started <- function(calls) sub("\t.*", "", calls())

# Starts another R that has abba and works as this one does.
start_session <- function(code, env = parent.frame()) {
  script <- withr::local_tempfile(fileext = ".R", .local_envir = env)
  writeLines(c(
    "library(abba)",
    sprintf("options(abba.k8s.namespace = '%s', abba.default.container = '%s')", the_namespace(), r_image),
    sprintf("ended <- '%s'", ended),
    code
  ), script)
  # Tests that are run under nohup hand it down that SIGHUP is ignored.
  session <- processx::process$new(
    "env", c("--default-signal=HUP", file.path(R.home("bin"), "Rscript"), "--vanilla", script),
    stdin = "|", stdout = "|", stderr = "|", env = c("current", R_LIBS = paste(.libPaths(), collapse = ":"))
  )
  withr::defer(session$kill(), envir = env)
  session
}

finish <- function(session) {
  session$wait(120000)
  if (session$is_alive()) stop("the session does not end")
  list(
    stdout = lines_of(session$read_all_output()), stderr = session$read_all_error(),
    exit_status = session$get_exit_status()
  )
}

ask <- "cat(names(abba_get_k8s_job_status_local(ended)), '\\n')"
# Ends when the test creates the file.
ask_and_wait <- function(file) c(ask, "flush(stdout())", sprintf("while (!file.exists('%s')) Sys.sleep(0.01)", file))

# ---- Started once -------------------------------------------------------------------------------

test_that("all calls of a session start one kubectl, and what it serves is what one kubectl a call gives", {
  sockets <- local_sockets()
  calls <- local_counting_kubectl()
  id <- submit(local_program("cat('ran\\n')"), batch_group_id = "kept")
  expect_named(abba_watch_k8s_job_local(id), "Succeeded")
  expect_output(abba_follow_k8s_job_log_local(id), "ran")
  wait_for_events(id)
  kept <- list(
    abba_get_k8s_job_status_local(c(id, ended)), abba_get_k8s_job_log_local(c(id, ended)),
    abba_list_k8s_jobs_local(), abba_explain_k8s_job_local(id), abba_get_k8s_batch_log_local("kept")
  )
  abba_cancel_k8s_job_local(id)
  expect_identical(started(calls), "proxy")
  expect_length(sockets$folders(), 1L)

  withr::local_options(abba.k8s.session = FALSE)
  expect_identical(kept, list(
    abba_get_k8s_job_status_local(c(id, ended)), abba_get_k8s_job_log_local(c(id, ended)),
    abba_list_k8s_jobs_local(), abba_explain_k8s_job_local(id), abba_get_k8s_batch_log_local("kept")
  ))
  expect_nothing_left(sockets)
  expect_gt(length(calls()), 8L)
})

test_that("where no namespace is given, kubectl is asked for it once", {
  local_sockets()
  calls <- local_counting_kubectl()
  withr::local_options(abba.k8s.namespace = NULL)
  abba_get_k8s_job_status_local(ended)
  abba_get_k8s_job_log_local(ended)
  expect_setequal(started(calls), c("proxy", "config"))
  expect_length(calls(), 2L)
})

# ---- Started anew -------------------------------------------------------------------------------

# A kubeconfig with a context for each namespace, each named by it; the first is the current one.
kubeconfig_with <- function(namespaces, file = tempfile("kubeconfig-"), user = admin_view()$users[[1L]]$user) {
  context <- function(namespace) {
    list(name = namespace, context = list(cluster = "test", user = "test", namespace = namespace))
  }
  content <- list(
    apiVersion = "v1", kind = "Config", `current-context` = namespaces[[1L]],
    clusters = list(list(name = "test", cluster = admin_view()$clusters[[1L]]$cluster)),
    users = list(list(name = "test", user = user)),
    contexts = lapply(namespaces, context)
  )
  writeLines(jsonlite::toJSON(content, auto_unbox = TRUE, pretty = TRUE), file)
  file
}

test_that("another KUBECONFIG, other contents, another context: the next call goes there", {
  sockets <- local_sockets()
  calls <- local_counting_kubectl()
  here <- the_namespace()
  withr::local_options(abba.k8s.namespace = NULL)
  # Where a job is looked for is in the error.
  expect_namespace <- function(namespace) {
    expect_abba_error(abba_get_k8s_job_status_local("no-job"), "not_found", paste0("namespace \"", namespace, "\""))
    # The old one is gone.
    expect_length(sockets$folders(), 1L)
    sum(started(calls) == "proxy")
  }
  withr::local_envvar(KUBECONFIG = kubeconfig_with(here))
  expect_identical(expect_namespace(here), 1L)

  withr::local_envvar(KUBECONFIG = kubeconfig_with(c("one", "two")))
  expect_identical(expect_namespace("one"), 2L)
  # Rewritten as it was, or only looked at: no reason to start anew.
  writeLines(readLines(Sys.getenv("KUBECONFIG")), Sys.getenv("KUBECONFIG"))
  expect_identical(expect_namespace("one"), 2L)

  kubectl_with(Sys.getenv("KUBECONFIG"), "config", "use-context", "two")
  expect_identical(expect_namespace("two"), 3L)

  # Of the same length, in its place.
  kubeconfig_with("six", Sys.getenv("KUBECONFIG"))
  expect_identical(expect_namespace("six"), 4L)
  file.rename(kubeconfig_with("ten"), Sys.getenv("KUBECONFIG"))
  expect_identical(expect_namespace("ten"), 5L)

  link <- tempfile("link-")
  targets <- c(kubeconfig_with("aaa"), kubeconfig_with("bbb"))
  file.symlink(targets[[1L]], link)
  withr::local_envvar(KUBECONFIG = link)
  expect_identical(expect_namespace("aaa"), 6L)
  unlink(link)
  file.symlink(targets[[2L]], link)
  expect_identical(expect_namespace("bbb"), 7L)

  # The second of two files names the context.
  first <- tempfile("kubeconfig-")
  withr::local_envvar(KUBECONFIG = paste(first, targets[[1L]], sep = ":"))
  expect_identical(expect_namespace("aaa"), 8L)
  kubeconfig_with("ccc", first)
  expect_identical(expect_namespace("ccc"), 9L)

  # kubectl's own place.
  home <- withr::local_tempdir()
  dir.create(file.path(home, ".kube"))
  kubeconfig_with("ddd", file.path(home, ".kube", "config"))
  withr::local_envvar(KUBECONFIG = NA, HOME = home)
  expect_identical(expect_namespace("ddd"), 10L)
  kubeconfig_with("eee", file.path(home, ".kube", "config"))
  expect_identical(expect_namespace("eee"), 11L)
})

test_that("another option abba.kubectl is another kubectl", {
  local_sockets()
  calls <- local_counting_kubectl()
  abba_get_k8s_job_status_local(ended)
  withr::local_options(abba.kubectl = real_kubectl)
  abba_get_k8s_job_status_local(ended)
  withr::local_options(abba.kubectl = "no-such-kubectl")
  expect_abba_error(abba_get_k8s_job_status_local(ended), "kubectl_missing")
  withr::local_options(abba.kubectl = NULL)
  abba_get_k8s_job_status_local(ended)
  expect_identical(started(calls), c("proxy", "proxy"))
})

test_that("a certificate, a key or a token that is replaced in its file is used from the next call on", {
  local_sockets()
  folder <- withr::local_tempdir()
  write <- function(user) {
    for (part in c("certificate", "key")) {
      data <- user[[paste0("client-", part, "-data")]]
      writeBin(jsonlite::base64_dec(data), file.path(folder, part))
    }
  }
  nobody <- client_certificate("nobody-at-all")
  write(nobody)
  kubeconfig <- kubeconfig_with(
    the_namespace(), file.path(folder, "config"),
    user = list(`client-certificate` = "certificate", `client-key` = "key")
  )
  withr::local_envvar(KUBECONFIG = kubeconfig)
  expect_abba_error(abba_get_k8s_job_status_local(ended), "forbidden", "nobody-at-all")
  write(admin_view()$users[[1L]]$user)
  expect_named(abba_get_k8s_job_status_local(ended), "Succeeded")
  write(nobody)
  expect_abba_error(abba_get_k8s_job_status_local(ended), "forbidden")

  local_path_proxy()
  login <- withr::local_tempfile(lines = "not-the-token")
  kubeconfig <- jsonlite::fromJSON(Sys.getenv("KUBECONFIG"), simplifyVector = FALSE)
  kubeconfig$users[[1L]]$user <- list(tokenFile = login)
  file <- withr::local_tempfile(lines = jsonlite::toJSON(kubeconfig, auto_unbox = TRUE))
  withr::local_envvar(KUBECONFIG = file)
  expect_abba_error(abba_get_k8s_job_status_local(ended), "unauthorized")
  writeLines("a-token", login)
  expect_named(abba_get_k8s_job_status_local(ended), "Succeeded")
})

test_that("a login helper that has a new login is asked again when the old one is refused", {
  local_sockets()
  requests <- local_path_proxy()
  store <- withr::local_tempfile(lines = "a-token")
  helper <- withr::local_tempfile()
  writeLines(c(
    "#!/bin/sh",
    sprintf("read -r token < '%s'", store),
    "printf '{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\", '",
    "printf '\"status\": {\"token\": \"%s\"}}' \"$token\""
  ), helper)
  Sys.chmod(helper, "0755")
  kubeconfig <- jsonlite::fromJSON(Sys.getenv("KUBECONFIG"), simplifyVector = FALSE)
  kubeconfig$users[[1L]]$user <- list(exec = list(
    apiVersion = "client.authentication.k8s.io/v1", command = helper, interactiveMode = "Never"
  ))
  file <- withr::local_tempfile(lines = jsonlite::toJSON(kubeconfig, auto_unbox = TRUE, null = "null"))
  withr::local_envvar(KUBECONFIG = file)
  expect_named(abba_get_k8s_job_status_local(ended), "Succeeded")
  # The helper itself is replaced by one that is out of use.
  text <- readLines(helper)
  writeLines(c("#!/bin/sh", "exit 1"), helper)
  expect_abba_error(abba_get_k8s_job_status_local(ended), "unauthorized")
  writeLines(text, helper)
  writeLines("an-old-token", store)
  expect_abba_error(abba_get_k8s_job_status_local(ended), "unauthorized")
  writeLines("a-token", store)
  expect_named(abba_get_k8s_job_status_local(ended), "Succeeded")
})

test_that("a kubectl that dies is replaced, also under a watch and many calls at once", {
  sockets <- local_sockets()
  calls <- local_counting_kubectl()
  expect_named(abba_get_k8s_job_status_local(ended), "Succeeded")
  tools::pskill(sockets$pids(), 9L)
  expect_named(abba_get_k8s_job_status_local(ended), "Succeeded")
  expect_identical(started(calls), c("proxy", "proxy"))
  expect_length(sockets$folders(), 1L)

  # One that lives for a second only, while a batch is submitted, watched and read.
  base <- local_kubectl(c(
    "if [ \"$1\" = proxy ]; then",
    "  echo started >>\"$base/proxies\"",
    "  \"$real\" \"$@\" &",
    "  while [ ! -S \"${2#--unix-socket=}\" ]; do sleep 0.05; done",
    "  sleep 1",
    "  kill -9 $!",
    "  exit 1",
    "fi",
    "exec \"$real\" \"$@\""
  ))
  withr::local_options(abba.k8s.session = TRUE)
  programs <- local_many_programs(12)
  batch <- suppressMessages(abba_submit_k8s_batch_local(programs, cpu_limit = 0.05))
  batch_id <- batch$batch_id[[1L]]
  expect_named(abba_watch_k8s_batch_local(batch_id), "Succeeded")
  logs <- abba_get_k8s_job_log_local(batch$job_id)
  expect_identical(vapply(logs, `[[`, "", "log"), paste(1:12, ""))
  expect_length(kubectl_lines("get", "jobs", "--selector", paste0("abba/batch-id=", batch_id), "--output", "name"), 12L)
  expect_gt(length(readLines(file.path(base, "proxies"))), 2L)
})

# ---- Gone with R --------------------------------------------------------------------------------

test_that("it goes with R, however R ends, and nothing is left of many sessions", {
  sockets <- local_sockets()
  file <- withr::local_tempfile()
  ends <- list(
    quit = function(session) file.create(file),
    killed = function(session) session$kill(),
    terminated = function(session) session$signal(15L),
    hung_up = function(session) session$signal(1L),
    interrupted = function(session) session$interrupt()
  )
  for (end in rep(names(ends), 2L)) {
    unlink(file)
    session <- start_session(ask_and_wait(file))
    output <- character()
    asked <- function() {
      output <<- c(output, session$read_output_lines())
      if (length(output) > 0L) TRUE else session$read_error()
    }
    wait_until(asked, what = "the first call")
    expect_identical(output, "Succeeded ")
    expect_length(sockets$folders(), 1L)
    ends[[end]](session)
    session$wait(60000)
    expect_false(session$is_alive(), info = end)
    expect_nothing_left(sockets)
  }
})

test_that("an R that is killed in the middle of a call leaves nothing", {
  sockets <- local_sockets()
  withr::local_envvar(KUBECONFIG = hanging_kubeconfig(the_namespace()))
  for (signal in c(9L, 15L)) {
    session <- start_session("abba_get_k8s_job_status_local(ended)")
    wait_until(function() length(list.files(sockets$folders(), "socket")) == 1L, what = "the socket")
    session$signal(signal)
    session$wait(60000)
    expect_nothing_left(sockets)
  }
})

test_that("Ctrl-C in a call leaves the kept kubectl to the next one", {
  sockets <- local_sockets()
  works <- Sys.getenv("KUBECONFIG")
  withr::local_envvar(KUBECONFIG = hanging_kubeconfig(the_namespace()))
  session <- start_session(c(
    "status <- function() abba_get_k8s_job_status_local(ended)",
    "tryCatch(status(), interrupt = function(cnd) cat('interrupted\\n'))",
    "flush(stdout())",
    "invisible(readLines(file('stdin'), 1))",
    sprintf("Sys.setenv(KUBECONFIG = '%s')", works),
    ask
  ))
  wait_until(function() length(list.files(sockets$folders(), "socket")) == 1L, what = "the socket")
  # All that it starts: the kept kubectl comes last, after the socket.
  wait_until(function() length(sockets$pids()) == 4L, what = "the processes")
  before <- sockets$pids()
  session$interrupt()
  output <- character()
  wait_until(function() {
    output <<- c(output, session$read_output_lines())
    length(output) > 0L
  }, what = "the call to return")
  expect_identical(output, "interrupted")
  expect_identical(sockets$pids(), before)
  session$write_input("\n")
  expect_identical(finish(session)$stdout, "Succeeded ")
  expect_nothing_left(sockets)
})

test_that("R's own folder for temporary files may be removed", {
  local_sockets()
  session <- start_session(c(
    ask, "unlink(tempdir(), recursive = TRUE)", ask,
    "invisible(abba:::core_end_session())", ask
  ))
  expect_identical(finish(session)$stdout, rep("Succeeded ", 3L))
})

test_that("forked children use it, and leave it to their parent; one that is the first starts its own", {
  sockets <- local_sockets()
  calls <- local_counting_kubectl()
  session <- start_session(c(
    "status <- function(i) names(abba_get_k8s_job_status_local(ended))",
    "first <- unlist(parallel::mclapply(1:2, status, mc.cores = 2))",
    ask,
    "later <- unlist(parallel::mclapply(1:8, status, mc.cores = 4))",
    "cat(first, later, '\\n')",
    ask
  ))
  output <- finish(session)
  expect_identical(output$stdout, c("Succeeded ", paste(strrep("Succeeded ", 10L)), "Succeeded "), info = output$stderr)
  expect_identical(started(calls), rep("proxy", 3L))
  expect_nothing_left(sockets)
})

# ---- Nobody else's ------------------------------------------------------------------------------

test_that("two sessions have one each, and another user can reach neither", {
  sockets <- local_sockets()
  Sys.chmod(sockets$path, "0755", use_umask = FALSE)
  file <- withr::local_tempfile()
  sessions <- list(start_session(ask_and_wait(file)), start_session(ask_and_wait(file)))
  answers <- character()
  both_work <- function() {
    answers <<- c(answers, unlist(lapply(sessions, function(session) session$read_output_lines())))
    identical(answers, rep("Succeeded ", 2L))
  }
  wait_until(both_work, what = "both sessions' first answers")
  for (folder in sockets$folders()) {
    socket <- file.path(folder, "socket")
    expect_identical(format(file.mode(folder)), "700")
    # For the owner alone; what the bits for execution say of a socket does not matter.
    expect_identical(bitwAnd(strtoi(format(file.mode(socket)), 8L), strtoi("77", 8L)), 0L)
    connect <- "exit(IO::Socket::UNIX->new($ARGV[0]) ? 0 : 1)"
    perl <- c("perl", "-MIO::Socket::UNIX", "-e", connect, socket)
    other <- processx::run("runuser", c("-u", "nobody", "--", perl), error_on_status = FALSE)
    expect_identical(other$status, 1L)
    expect_identical(processx::run(perl[[1L]], perl[-1L], error_on_status = FALSE)$status, 0L)
  }
  file.create(file)
  for (session in sessions) session$wait(60000)
  expect_nothing_left(sockets)
})

test_that("what goes over the socket is the API alone: no commands in containers, and no web page can use it", {
  sockets <- local_sockets()
  abba_get_k8s_job_status_local(ended)
  answer <- function(path, ...) {
    processx::run("curl", c(
      "--silent", "--output", "/dev/null", "--write-out", "%{http_code}",
      "--unix-socket", file.path(sockets$folders(), "socket"), ..., paste0("http://localhost", path)
    ))$stdout
  }
  pod <- paste0("/api/v1/namespaces/", the_namespace(), "/pods/", pods_of(ended))
  expect_identical(answer(pod), "200")
  expect_identical(answer(paste0(pod, "/exec?command=ls"), "--request", "POST"), "403")
  expect_identical(answer(paste0(pod, "/attach"), "--request", "POST"), "403")
  expect_identical(answer(pod, "--header", "Host: example.com"), "403")
})

# ---- Several requests at once -------------------------------------------------------------------

test_that("many programs are submitted and many logs read several at a time, and never more than eight", {
  local_sockets()
  most <- withr::local_tempfile(lines = "0")
  gate <- local_gate()
  # None goes on before eight are there, and none is given up meanwhile.
  withr::local_options(abba.k8s.request.timeout = 120)
  local_path_proxy("-delay", "100ms", "-in-flight", most, "-gate", gate$file("open"), "-gate-for", "POST ")
  programs <- local_many_programs(12)
  submit_all <- function(programs) suppressMessages(abba_submit_k8s_batch_local(programs, cpu_limit = 0.05))
  submitting <- local_background(submit_all, programs)
  wait_until(function() identical(readLines(most), "8"), what = "eight submissions at once")
  gate$open()
  batch <- outcome_of(submitting)$value
  expect_named(abba_watch_k8s_batch_local(batch$batch_id[[1L]]), "Succeeded")
  expect_identical(vapply(abba_get_k8s_job_log_local(batch$job_id), `[[`, "", "log"), paste(1:12, ""))
  expect_identical(readLines(most), "8")
})
