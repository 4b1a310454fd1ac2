# An abba server of the test's own, on the real cluster, and both roads to the same jobs.

# Starts an abba server in an R of its own until the test (or the file) ends, and has abba use it. It works in the
# namespace of the test, as the administrator.
#
# options: further options of the server, as R code.
# user: the caller's account, known by a key; NULL: the server is local, so callers are the account of the server.
# docs: whether it shows the API's description.
#
# Gives back a list: `address`, `process`, and `log()`, what the server has said so far.
local_abba_server <- function(options = character(), user = NULL, docs = FALSE, env = parent.frame()) {
  folder <- withr::local_tempdir("abba-server-", .local_envir = env)
  port <- free_port()
  key <- NULL
  if (!is.null(user)) {
    key <- abba_api_key_create(user, file.path(folder, "keys"))
    options <- c(options, paste0("options(abba.api.keys = ", deparse(file.path(folder, "keys")), ")"))
  } else {
    options <- c(options, "options(abba.api.identity = 'local')")
  }
  script <- file.path(folder, "server.R")
  writeLines(c(
    "library(abba)",
    paste0("options(abba.default.container = ", deparse(r_image), ")"),
    paste0("options(abba.k8s.namespace = ", deparse(the_namespace()), ")"),
    # Tests ask often, as accounts that every machine has.
    "options(abba.api.requests.per.minute = 100000, abba.api.least.uid = 1)",
    options,
    paste0("abba_run_api(port = ", port, ", docs = ", docs, ")")
  ), script)
  log <- file.path(folder, "log")
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), c("--vanilla", script),
    stdout = log, stderr = "2>&1",
    env = c("current", R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep))
  )
  withr::defer(process$kill(), envir = env)
  address <- paste0("http://127.0.0.1:", port)
  if (is.null(user)) key <- told_key(log)
  withr::local_options(abba.api.address = address, abba.api.key = key, .local_envir = env)
  answers <- function() {
    if (!process$is_alive()) stop(paste(c("the abba server ended:", readLines(log, warn = FALSE)), collapse = "\n"))
    abba_check_api()$cluster
  }
  wait_until(answers, what = "an answer of the abba server")
  list(address = address, process = process, log = function() readLines(log, warn = FALSE))
}

# The key that a local server tells when it starts. log: the file with what it says.
told_key <- function(log) {
  said <- function() grep("abba.api.key = ", readLines(log, warn = FALSE), value = TRUE)
  wait_until(function() length(said()) == 1L, what = "the key of the server")
  sub(".*abba.api.key = \"([^\"]*)\".*", "\\1", said())
}

# The verbs of each road under one name, with what they share.
roads <- list(
  local = list(
    submit = abba_submit_k8s_job_local, submit_batch = abba_submit_k8s_batch_local,
    status = abba_get_k8s_job_status_local, batch_status = abba_get_k8s_batch_status_local,
    log = abba_get_k8s_job_log_local, batch_log = abba_get_k8s_batch_log_local,
    watch = abba_watch_k8s_job_local, watch_batch = abba_watch_k8s_batch_local,
    submit_and_poll = abba_submit_k8s_job_and_poll_local, follow = abba_follow_k8s_job_log_local,
    list = abba_list_k8s_jobs_local, explain = abba_explain_k8s_job_local,
    cancel = abba_cancel_k8s_job_local, cancel_batch = abba_cancel_k8s_batch_local,
    remove = abba_remove_k8s_job_local, remove_batch = abba_remove_k8s_batch_local,
    rerun_batch = abba_rerun_k8s_batch_local, save_batch = abba_save_k8s_batch_local
  ),
  api = list(
    submit = abba_submit_job, submit_batch = abba_submit_batch,
    status = abba_get_job_status, batch_status = abba_get_batch_status,
    log = abba_get_job_log, batch_log = abba_get_batch_log,
    watch = abba_watch_job, watch_batch = abba_watch_batch,
    submit_and_poll = abba_submit_job_and_poll, follow = abba_follow_job_log,
    list = abba_list_jobs, explain = abba_explain_job,
    cancel = abba_cancel_job, cancel_batch = abba_cancel_batch,
    remove = abba_remove_job, remove_batch = abba_remove_batch,
    rerun_batch = abba_rerun_batch, save_batch = abba_save_batch
  )
)

# Runs a test once for each road: `code` is a function of the road's verbs.
test_both_roads <- function(what, code) {
  for (name in names(roads)) {
    testthat::test_that(paste0(what, " (", name, ")"), {
      code(roads[[name]])
    })
  }
}
