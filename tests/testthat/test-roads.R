# What holds on both roads: every program runs exactly once, whatever is interrupted or lost on the way.

# Code for another R: the functions that `road` sends by, with a cluster of which `made` tells the jobs, in the order of
# their creation; a job that is sent again under its id is not made again. And `at(moment, code)`, which runs code and
# presses Ctrl-C at one of its moments: before and after each call of a function that is listed in `watched`.
interrupted_r <- c(
  "made <- character()",
  "moment <- 0L",
  "press <- Inf",
  "tick <- function() {",
  "  moment <<- moment + 1L",
  "  if (moment == press) tools::pskill(Sys.getpid(), tools::SIGINT)",
  "}",
  "abba <- asNamespace('abba')",
  "put <- function(name, value) {",
  "  unlockBinding(name, abba)",
  "  assign(name, value, abba)",
  "}",
  "watch <- function(name) {",
  "  real <- get(name, abba)",
  "  put(name, function(...) { tick(); value <- real(...); tick(); value })",
  "}",
  # kubectl's road: two jobs of a part are made, then the others.
  "make <- function(ids) {",
  "  new <- setdiff(ids, made)",
  "  made <<- c(made, head(new, 2L))",
  "  tick()",
  "  made <<- c(made, tail(new, -2L))",
  "}",
  "answer <- function(value) list(value = value, warnings = list(), error = NULL)",
  "put('core_submit', function(arguments, settings) {",
  "  make(vapply(arguments, `[[`, '', 'job_id'))",
  "  answer(lapply(arguments, function(one) list(job_id = one$job_id, error = NULL)))",
  "})",
  "put('batch_part', 4L)",
  # The API's road.
  "kept <- lapply(1:10, function(i) list(",
  "  job_id = paste0('old-', i), status = 'Failed', ending = FALSE, in_place = FALSE, file_path = files[[i]],",
  "  absolute_path = files[[i]], user_tag = '', cpu_limit = 1L, memory_limit = '1G', container = 'r:1',",
  "  auto_mount_home = FALSE",
  "))",
  "put('client_call', function(method, path, ..., body = NULL) {",
  "  if (path == '/batch-arguments') return(list(body = kept))",
  "  programs <- jsonlite::parse_json(body)",
  "  programs <- if (path == '/submit-job') list(programs) else programs$programs",
  "  make(vapply(programs, `[[`, '', 'job_id'))",
  "  rows <- lapply(programs, function(one) list(job_id = one$job_id, submitted = '2026-01-01T00:00:00Z'))",
  "  list(body = if (path == '/submit-job') rows[[1L]] else rows)",
  "})",
  "put('programs_of_request', 4L)",
  "options(abba.api.address = 'http://127.0.0.1:1', abba.api.key = 'k', abba.default.container = 'r:1')",
  "put('core_kept_submissions', function(batch_id, statuses, archived, settings) answer(lapply(kept, function(one) {",
  "  arguments <- c(list(given_path = one$file_path, expanded_path = one$file_path), one[8:11])",
  "  c(one[c('job_id', 'status', 'ending', 'in_place')], list(arguments = arguments))",
  "})))",
  "for (name in c('core_submit', 'client_call', 'note_outcome', 'advance', 'finish_batch')) watch(name)",
  # An interrupt that comes too late for the call stops what follows it.
  "attempt <- function(code) tryCatch(",
  "  suppressMessages({ value <- code; for (i in 1:2000) NULL; value }),",
  "  abba_error_batch_incomplete = function(cnd) cnd$batch, interrupt = function(cnd) NULL",
  ")"
)

test_that("wherever Ctrl-C is pressed in a batch or a rerun, every program is made exactly once", {
  files <- normalizePath(local_programs(paste0("p_", 1:10, ".R")))
  ended <- run_r(c(
    paste0("files <- ", paste(deparse(files), collapse = "")),
    interrupted_r,
    "verbs <- list(",
    "  list(abba_submit_k8s_batch_local, files), list(abba_submit_batch, files),",
    "  list(abba_rerun_k8s_batch_local, 'b-1'), list(abba_rerun_batch, 'b-1')",
    ")",
    "saved <- tempfile()",
    "for (verb in verbs) {",
    "  press <- Inf; moment <- 0L; made <- character()",
    "  attempt(verb[[1L]](verb[[2L]]))",
    "  moments <- moment",
    "  known <- 0L",
    "  for (press in seq_len(moments)) {",
    "    moment <- 0L; made <- character()",
    "    batch <- attempt(verb[[1L]](verb[[2L]]))",
    "    press <- Inf",
    "    if (is.null(batch)) {",
    # Nothing was sent, or all was, which a message has said.
    "      stopifnot(length(made) %in% c(0L, 10L))",
    "      next",
    "    }",
    "    known <- known + 1L",
    "    if (!anyNA(batch$submitted)) {",
    "      stopifnot(setequal(made, batch$job_id), !anyDuplicated(made))",
    "      next",
    "    }",
    "    stopifnot(nrow(batch) == 10L, made %in% batch$job_id, batch$job_id[!is.na(batch$submitted)] %in% made)",
    # The rest in two parts, from the later to the earlier, as another session would have it.
    "    saveRDS(batch, saved)",
    "    batch <- readRDS(saved)",
    "    for (rows in list(6:10, 1:5)) {",
    "      part <- attempt(verb[[1L]](batch[rows, ]))",
    "      stopifnot(!is.null(part), !anyNA(part$submitted), identical(part$job_id, batch$job_id[rows]))",
    "    }",
    "    stopifnot(setequal(made, batch$job_id), !anyDuplicated(made))",
    "  }",
    "  cat(moments > 20L, known > moments / 2, '\\n')",
    "}"
  ))
  expect_identical(ended$stdout, rep("TRUE TRUE ", 4L), info = ended$stderr)
})

test_that("wherever Ctrl-C is pressed in a submission, its job is told", {
  files <- normalizePath(local_programs(paste0("p_", 1:10, ".R")))
  ended <- run_r(c(
    paste0("files <- ", paste(deparse(files), collapse = "")),
    interrupted_r,
    "for (submit in list(abba_submit_k8s_job_local, abba_submit_job)) {",
    "  for (press in 1:3) {",
    "    moment <- 0L; made <- character(); said <- character()",
    "    value <- withCallingHandlers(",
    "      tryCatch(",
    "        { submit(files[[1L]]); for (i in 1:2000) NULL; 'returned' },",
    "        interrupt = function(cnd) 'interrupted'",
    "      ),",
    "      message = function(cnd) { said <<- c(said, conditionMessage(cnd)); invokeRestart('muffleMessage') }",
    "    )",
    "    stopifnot(length(made) <= 1L, length(said) == 1L, value == 'interrupted')",
    "    if (length(made) == 1L) stopifnot(grepl(made, said, fixed = TRUE))",
    "    cat(if (grepl('created$', trimws(said))) 'made' else 'not known', '\\n')",
    "  }",
    "}"
  ))
  expect_identical(ended$exit_status, 0L, info = ended$stderr)
  expect_length(ended$stdout, 6L)
})

test_that("Ctrl-C that the core has taken, when all was made, stops R after it is noted", {
  file <- withr::local_tempfile(lines = "1", fileext = ".R")
  ended <- run_r(c(
    paste0("files <- rep(", deparse(file), ", 10L)"),
    interrupted_r,
    "core_submit <- abba$core_submit",
    "put('core_submit', function(...) c(core_submit(...), interrupted = TRUE))",
    "batch <- attempt(abba_submit_k8s_batch_local(files))",
    "stopifnot(identical(batch$job_id[!is.na(batch$submitted)], made), length(made) == 4L)",
    "submit <- function() suppressMessages(abba_submit_k8s_job_local(files[[1L]]))",
    "value <- tryCatch(submit(), interrupt = function(cnd) 'interrupted')",
    "stopifnot(value == 'interrupted', length(made) == 5L)",
    "cat('stopped')"
  ))
  expect_identical(ended$stdout, "stopped", info = ended$stderr)
})

# Answers that are lost: by a kubectl that makes a job once, and by an API that does.
losing <- list(
  kubectl = function(lost, env) {
    patterns <- paste0("\"abba/program-path\":\"", lost, "\"", collapse = "\\|")
    silent <- "echo 'Unable to connect to the server: EOF' >&2; exit 1"
    kubectl <- local_scripted_kubectl(
      runs(c(
        "id=$(grep -o '\"abba/job-id\":\"[^\"]*\"' \"$manifest\" | head -n 1 | cut -d '\"' -f 4)",
        "again=false; [ ! -e \"$base/job-$id\" ] || again=true",
        "cp \"$manifest\" \"$base/job-$id\"",
        paste0("if [ ! -e \"$base/healed\" ] && grep -q '", patterns, "' \"$manifest\"; then ", silent, "; fi"),
        "if $again; then echo 'Error from server (AlreadyExists): jobs.batch already exists' >&2; exit 1; fi",
        "exec cat \"$manifest\""
      ), on = "create *"),
      runs(c(paste0("[ -e \"$base/healed\" ] || { ", silent, "; }"), "exec cat \"$base/job-${3##*/}\""), on = "get *"),
      env = env
    )
    base <- dirname(dirname(kubectl$program))
    list(
      heal = function() file.create(file.path(base, "healed")),
      made = function() sub("job-", "", list.files(base, "^job-")),
      verb = "abba_submit_k8s_batch_local", options = "abba.k8s.namespace = 'n'"
    )
  },
  api = function(lost, env) {
    # The second of three requests, and it is not worth asking again.
    bad_gateway <- replies_html("Bad Gateway", 502L, headers = much_later)
    api <- local_scripted_api(makes_jobs(), loses_answer(of_proxy = bad_gateway), makes_jobs(), env = env)
    list(
      heal = function() TRUE, made = api$made, verb = "abba_submit_batch",
      options = paste0("abba.api.address = '", api$address, "', abba.api.key = 'k'")
    )
  }
)

test_that("what was lost is found by another session, out of a part of the saved data frame, and made once", {
  for (name in names(losing)) {
    programs <- local_programs(sprintf("p_%03d.R", 1:120))
    lost <- sample(programs[1:60], 3L)
    road <- losing[[name]](lost, rlang::current_env())
    withr::local_options(
      abba.k8s.request.timeout = 1, abba.k8s.namespace = "n", abba.default.container = image
    )
    error <- raised(get(road$verb)(programs))
    expect_s3_class(error, "abba_error_batch_incomplete")
    open <- which(is.na(error$batch$submitted))
    # And what a busy machine did not get done in time.
    expect_true(all((if (name == "api") 51:100 else match(lost, programs)) %in% open))
    saveRDS(error$batch, "saved.rds")
    road$heal()
    ended <- run_r(c(
      paste0("options(abba.default.container = 'r', ", road$options, ")"),
      "batch <- readRDS('saved.rds')",
      "batch <- batch[rev(which(is.na(batch$submitted))), ]",
      paste0("one <- ", road$verb, "(batch[1, ], container = '", image, "')"),
      paste0("rest <- ", road$verb, "(batch[-1, ], container = '", image, "')"),
      "stopifnot(!anyNA(rest$submitted), identical(c(one$job_id, rest$job_id), batch$job_id))"
    ))
    expect_identical(ended$exit_status, 0L, info = ended$stderr)
    expect_setequal(road$made(), error$batch$job_id)
    expect_length(road$made(), 120L)
  }
})
