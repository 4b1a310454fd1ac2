# Sessions that are not UTF-8, as those of cron and of old machines, and strings of any mark.

# Environments for another R: of the C locale, and of one in Latin-1 where this machine can make it.
other_locales <- function(env = parent.frame()) {
  folder <- withr::local_tempdir(pattern = "locales-", .local_envir = env)
  made <- tryCatch(
    processx::run(
      "localedef", c("-i", "en_US", "-f", "ISO-8859-1", file.path(folder, "en_US.ISO-8859-1")),
      error_on_status = FALSE
    )$status,
    error = function(cnd) 127L
  )
  # A warning is status 1.
  c(
    list(c(LC_ALL = "C")),
    if (made <= 1L) list(c(LC_ALL = "en_US.ISO-8859-1", LOCPATH = folder))
  )
}

# Runs code in another R for each of them, and checks that it went well; what it printed.
in_other_locales <- function(code) {
  lapply(other_locales(), function(locale) {
    ended <- rlang::inject(run_r(code, !!!locale))
    expect_identical(ended$exit_status, 0L, info = paste(locale[["LC_ALL"]], ended$stderr))
    expect_no_match(ended$stderr, "translate", info = locale[["LC_ALL"]])
    ended$stdout
  })
}

# In another R: \u00e9 with each of R's marks that says which letter it is.
marked_strings <- c(
  "e9 <- c('\\u00e9', '\\xe9', '\\xc3\\xa9')",
  "Encoding(e9) <- c('UTF-8', 'latin1', 'bytes')"
)

test_that("texts of any mark arrive as UTF-8 from a session that is not", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  in_other_locales(c(
    marked_strings,
    paste0("options(abba.default.container = '", image, "', abba.k8s.namespace = 'n')"),
    "for (one in e9) abba_submit_k8s_job_local(",
    "  'test_program.R', user_tag = one, arguments = c('a', one), environment = c(NAME = one)",
    ")"
  ))
  count <- kubectl$count()
  expect_gte(count, 3L)
  for (call in seq_len(count)) {
    job <- kubectl$manifest(call)
    given <- jsonlite::parse_json(job$metadata$annotations[["abba/arguments"]])
    expect_identical(given$user_tag, "\u00e9")
    expect_identical(given$arguments, list("a", "\u00e9"))
    expect_identical(given$environment, list(NAME = "\u00e9"))
  }
})

test_that("the same over the abba API", {
  local_program()
  api <- local_scripted_api(makes_jobs("*"))
  in_other_locales(c(
    marked_strings,
    paste0("options(abba.api.address = '", api$address, "')"),
    "for (one in e9) abba_submit_job('test_program.R', user_tag = one, environment = c(NAME = one))"
  ))
  requests <- api$requests()
  expect_gte(length(requests), 3L)
  for (request in requests) {
    expect_identical(request$body$user_tag, "\u00e9")
    expect_identical(request$body$environment, list(NAME = "\u00e9"))
  }
})

test_that("paths of any mark are found in a session that is not UTF-8", {
  folder <- withr::local_tempdir("paths-")
  said <- in_other_locales(c(
    paste0("folder <- '", folder, "'"),
    "path <- function(name) { x <- charToRaw(paste0(folder, '/', name, '-')); rawToChar(c(x, as.raw(c(0xc3, 0xa9)))) }",
    "utf8 <- function(x) { Encoding(x) <- 'UTF-8'; x }",
    "name <- paste0(Sys.getpid())",
    "for (mark in c(utf8, identity)) {",
    "  invisible(abba_api_key_create('root', mark(path(paste0('keys-', name)))))",
    "  abba_api_key_create('root', mark(path('keys')))",
    "  options(abba.api.keys = mark(path('keys')), abba.kubectl = paste0(folder, '/none'))",
    "  stopifnot(identical(abba:::path_option('abba.api.keys', NULL), utf8(path('keys'))))",
    "  options(abba.kubectl = mark(rawToChar(as.raw(c(0x7e, 0x2f, 0xc3, 0xa9)))))",
    "  stopifnot(endsWith(abba:::settings('n')$kubectl, '/\\u00e9'), validUTF8(abba:::settings('n')$kubectl))",
    "}",
    "made <- create_batch_job(utf8(path(paste0('job-', name))))",
    "cat(file.exists(file.path(made, 'job.Rmd')), '\\n')",
    "log <- tempfile(); options(abba.api.log = log, abba.default.container = 'r')",
    "req <- new.env(); req$REQUEST_METHOD <- 'GET'",
    "invisible(abba:::api_fault('\\u00e9', req, 'a fault'))",
    "stopifnot(grepl('what\":\"\\u00e9', utf8(readLines(log, encoding = 'bytes')), useBytes = TRUE))"
  ))
  for (lines in said) {
    expect_identical(trimws(utils::tail(lines, 1L)), "TRUE")
  }
  expect_true("keys-\u00e9" %in% enc2utf8(list.files(folder)))
})

test_that("a program whose name is in Latin-1 is refused with the way out", {
  folder <- withr::local_tempdir("program-")
  # The shell makes the name as it is.
  processx::run("sh", c("-c", "echo 1 > \"$(printf '\\351.R')\""), wd = folder)
  withr::local_dir(folder)
  local_scripted_kubectl()
  error <- raised(submit("\u00e9.R"))
  expect_s3_class(error, "abba_error_input")
  expect_match(conditionMessage(error), "has its name in Latin-1", fixed = TRUE)
})

test_that("a batch that was kept in a file is taken up again in a session that is not UTF-8", {
  folder <- withr::local_tempdir("program-")
  write_bytes("1\n", file.path(folder, "\u00e9.R"))
  local_scripted_kubectl(creates())
  in_other_locales(c(
    paste0("options(abba.default.container = '", image, "', abba.k8s.namespace = 'n')"),
    paste0("setwd('", folder, "')"),
    "program <- if (l10n_info()$`Latin-1`) '\\xe9.R' else '\\u00e9.R'",
    "batch <- data.frame(job_id = NA_character_, batch_id = 'b-1', program = program, submitted = .POSIXct(NA_real_))",
    "stopifnot(nrow(abba_submit_k8s_batch_local(batch)) == 1L)"
  ))
})

test_that("bytes that are no text are wrong input, wherever they stand", {
  bytes <- "\xe9"
  Encoding(bytes) <- "bytes"
  local_scripted_kubectl()
  local_program()
  for (call in expression(
    submit(bytes), submit(user_tag = bytes), submit(arguments = bytes), submit(environment = c(A = bytes)),
    submit(batch_group_id = bytes), submit(container = bytes), submit(username = bytes), submit(cpu_limit = bytes),
    submit(memory_limit = bytes), submit(namespace = bytes), submit(environment = rlang::set_names("1", bytes)),
    submit(auto_mount_home = bytes), submit(time_limit_seconds = bytes), submit(mounts = bytes),
    status(bytes), watch(on_stuck = bytes), list_jobs(status = bytes), rerun("b", nonsense = bytes),
    abba_api_key_create("root", bytes), create_batch_job(bytes)
  )) {
    expect_s3_class(raised(eval(call)), "abba_error_input")
  }
})
