# A batch that is submitted again, through a scripted API.

# A row of /batch-arguments for a program of the working directory.
kept <- function(path, ..., absolute_path = file.path(getwd(), path)) {
  utils::modifyList(list(
    job_id = paste0(tools::file_path_sans_ext(basename(path)), "-id"), status = "Failed", ending = FALSE,
    in_place = FALSE, file_path = path, absolute_path = absolute_path, user_tag = "first", cpu_limit = "250m",
    memory_limit = "1G", container = "r:1", mounts = NULL, auto_mount_home = FALSE, time_limit_seconds = 90
  ), list(...))
}

# What the API says of the first batch, and then of what is submitted.
local_batch <- function(rows, ..., env = parent.frame()) {
  local_scripted_api(replies(rows, on = "GET /batch-arguments"), ..., env = env)
}

sent <- function(api) Filter(function(request) request$path == "/submit-batch", api$requests())

rerun <- function(batch_id = "b-1", ...) abba_rerun_batch(batch_id, ...)

local_programs <- function(names, env = parent.frame()) {
  local_program(env = env)
  for (name in names) write_bytes(paste0("print('", name, "')\n"), name)
  names
}

test_that("what has failed is submitted again with its first arguments under a new batch id", {
  local_programs(c("a.R", "b.R"))
  api <- local_batch(
    list(
      kept("a.R", arguments = list("x"), environment = list(A = "y")),
      kept("b.R", time_limit_seconds = NULL, arguments = list(), environment = rlang::set_names(list()))
    ),
    makes_jobs()
  )
  expect_message(batch <- rerun(), "^2 jobs created in batch a-")
  expect_identical(class(batch), c("abba_batch", "data.frame"))
  expect_named(batch, c("job_id", "batch_id", "program", "submitted"))
  expect_identical(batch$program, c("a.R", "b.R"))
  expect_identical(batch$job_id, api$made())
  expect_match(batch$batch_id, paste0("^a-", uuid, "$"), all = TRUE)
  expect_identical(api$requests()[[1L]]$query, "batch_id=b-1&status=Failed")
  request <- sent(api)[[1L]]
  expect_identical(request$body$batch_group_id, batch$batch_id[[1L]])
  first <- request$body$programs[[1L]]
  expect_identical(first[order(names(first))], list(
    absolute_path = file.path(getwd(), "a.R"), arguments = list("x"), auto_mount_home = FALSE, container = "r:1",
    cpu_limit = "250m", environment = list(A = "y"), file_path = "a.R", job_id = batch$job_id[[1L]],
    memory_limit = "1G", program_text = "print('a.R')\n",
    time_limit_seconds = 90L, user_tag = "first"
  ))
  expect_false(any(c("time_limit_seconds", "arguments", "environment") %in% names(request$body$programs[[2L]])))
})

test_that("vanilla, the R that is started and the queue are kept, and can be taken away", {
  local_programs("a.R")
  api <- local_batch(list(kept("a.R", vanilla = TRUE, r_command = "/opt/R/bin/R", queue = "q")), makes_jobs())
  suppressMessages(rerun())
  suppressMessages(rerun(vanilla = FALSE, r_command = NULL, queue = NULL))
  programs <- lapply(sent(api), function(request) request$body$programs[[1L]])
  new <- c("vanilla", "r_command", "queue")
  expect_identical(programs[[1L]][new], list(vanilla = TRUE, r_command = "/opt/R/bin/R", queue = "q"))
  expect_false(any(new %in% names(programs[[2L]])))
})

test_that("programs are read from where they were, not from a file of that name in the working directory", {
  local_programs("a.R")
  row <- kept("a.R")
  write_bytes("print('mended')\n", "a.R")
  local_programs("a.R")
  api <- local_batch(list(row), makes_jobs())
  suppressMessages(rerun())
  program <- sent(api)[[1L]]$body$programs[[1L]]
  expect_identical(program$program_text, "print('mended')\n")
  expect_identical(program[c("file_path", "absolute_path")], row[c("file_path", "absolute_path")])
})

test_that("what is unknown is asked for on demand only", {
  local_programs("a.R")
  api <- local_batch(list(kept("a.R")), makes_jobs())
  suppressMessages(rerun(include_unknown = TRUE))
  expect_identical(api$requests()[[1L]]$query, "batch_id=b-1&status=Failed,Unknown")
})

test_that("what was cancelled a moment ago is waited for", {
  local_programs("a.R")
  going <- kept("a.R", status = "Running", ending = TRUE)
  api <- local_scripted_api(
    replies(list(going), on = "GET /batch-arguments"), replies(list(kept("a.R")), on = "GET /batch-arguments"),
    makes_jobs()
  )
  suppressMessages(batch <- rerun())
  expect_identical(batch$program, "a.R")
  paths <- vapply(api$requests(), `[[`, "", "path")
  expect_identical(paths, c("/batch-arguments", "/batch-arguments", "/submit-batch"))
})

test_that("arguments that are given replace the first ones, and NULL takes them away", {
  local_programs("a.R")
  mounts <- list(
    volumes = list(list(name = "v", nfs = list(server = "192.0.2.1", path = "/data"))),
    volumeMounts = list(list(name = "v", mountPath = "/data", readOnly = TRUE))
  )
  api <- local_batch(list(kept("a.R", mounts = mounts)), makes_jobs())
  suppressMessages(rerun(batch_group_id = "again", memory_limit = "4G", cpu_limit = 2, time_limit_seconds = NULL))
  suppressMessages(rerun(mounts = "", user_tag = ""))
  bodies <- lapply(sent(api), `[[`, "body")
  expect_identical(bodies[[1L]]$batch_group_id, "again")
  program <- bodies[[1L]]$programs[[1L]]
  expect_identical(program[c("memory_limit", "cpu_limit")], list(memory_limit = "4G", cpu_limit = 2L))
  expect_null(program$time_limit_seconds)
  expect_identical(program$mounts, mounts)
  expect_identical(program$program_text, "print('a.R')\n")
  expect_null(bodies[[2L]]$programs[[1L]]$mounts)
  expect_identical(bodies[[2L]]$programs[[1L]]$user_tag, "")
})

test_that("a program that ran in place is submitted by its path alone, whatever lies there on this machine", {
  local_programs("a.R")
  path <- file.path(getwd(), "a.R")
  mounts <- list(
    volumes = list(list(name = "v", nfs = list(server = "192.0.2.1", path = getwd()))),
    volumeMounts = list(list(name = "v", mountPath = getwd()))
  )
  in_place <- function(path, ...) kept(path, in_place = TRUE, absolute_path = NULL, mounts = mounts)
  api <- local_batch(list(in_place(path), in_place("/no-such-folder/b.R")), makes_jobs())
  suppressMessages(rerun(memory_limit = "2G"))
  programs <- sent(api)[[1L]]$body$programs
  expect_identical(vapply(programs, `[[`, "", "file_path"), c(path, "/no-such-folder/b.R"))
  for (program in programs) {
    expect_null(c(program$program_text, program$program_base64))
    expect_identical(program$mounts, mounts)
  }
  # Without its mount its text is needed.
  api <- local_batch(list(in_place(path)), makes_jobs())
  suppressMessages(rerun(mounts = ""))
  expect_identical(sent(api)[[1L]]$body$programs[[1L]]$program_text, "print('a.R')\n")
  local_batch(list(in_place("/no-such-folder/b.R")))
  expect_words(abba_rerun_batch("b-1", mounts = ""), error = TRUE)
})

test_that("a program that is not there, or of which nobody knows where it is, submits nothing", {
  local_programs(c("a.R", "c.R"))
  mounts <- list(
    volumes = list(list(name = "v", nfs = list(server = "192.0.2.1", path = "/data"))),
    volumeMounts = list(list(name = "v", mountPath = "/data"))
  )
  in_a_mount <- kept("/gone/b.R", absolute_path = NULL, mounts = mounts)
  for (gone in list(kept("b.R", absolute_path = "/gone/b.R"), in_a_mount)) {
    api <- local_batch(list(kept("a.R"), gone))
    error <- raised(rerun())
    expect_s3_class(error, "abba_error_input")
    expect_match(conditionMessage(error), "\"/gone/b.R\" does not exist", fixed = TRUE)
    expect_length(sent(api), 0L)
  }
  api <- local_batch(list(kept("a.R"), kept("c.R", absolute_path = NULL)))
  error <- raised(rerun())
  expect_s3_class(error, "abba_error_invalid")
  expect_identical(error$job_id, "c-id")
  expect_words(abba_rerun_batch("b-1"), error = TRUE)
  expect_length(sent(api), 0L)
})

test_that("where nothing has failed, nothing is submitted and it is said", {
  api <- local_batch(list())
  expect_words(batch <- rerun())
  expect_identical(class(batch), c("abba_batch", "data.frame"))
  expect_identical(vapply(batch, function(column) class(column)[[1]], ""), c(
    job_id = "character", batch_id = "character", program = "character", submitted = "POSIXct"
  ))
  expect_identical(nrow(batch), 0L)
  expect_identical(api$calls(), "GET /batch-arguments")
})

test_that("what could not be submitted is when the error's data frame is given back, and nothing twice", {
  local_programs(c("a.R", "b.R"))
  rows <- list(kept("a.R"), kept("b.R"))
  # The job is made and nobody hears of it; then nothing more is sent.
  lost <- local_batch(
    rows, loses_answer(), replies_html("Bad Gateway", 502L, on = "POST /submit-batch", headers = much_later)
  )
  error <- raised(rerun("b-1", memory_limit = "2G"))
  expect_s3_class(error, "abba_error_batch_incomplete")
  expect_identical(error$batch$job_id, lost$made())
  expect_identical(error$batch$rerun_of, c("a-id", "b-id"))

  api <- local_batch(rows, makes_jobs())
  batch <- suppressMessages(rerun(error$batch, memory_limit = "2G"))
  expect_named(batch, c("job_id", "batch_id", "program", "submitted"))
  expect_identical(batch$job_id, error$batch$job_id)
  # They are asked for whatever their state is by now.
  expect_identical(api$requests()[[1L]]$query, "batch_id=b-1")
  expect_identical(sent(api)[[1L]]$text, sent(lost)[[1L]]$text)

  # A job that was removed since is named.
  local_batch(rows[1L])
  removed <- raised(rerun(error$batch))
  expect_s3_class(removed, "abba_error_not_found")
  expect_identical(removed$job_id, "b-id")
})

test_that("a batch that does not exist is an error that says so", {
  local_scripted_api(refuses("not_found", 404L, "You have no batch \"b-1\"."))
  expect_s3_class(raised(rerun()), "abba_error_not_found")
})

test_that("an answer of another shape is not believed", {
  local_programs("a.R")
  for (answer in list(list(a = 1), list(list(job_id = "a")), list(kept("a.R", in_place = "no")))) {
    api <- local_batch(answer)
    expect_s3_class(raised(rerun()), "abba_error_kubectl")
    expect_length(sent(api), 0L)
  }
})

test_that("bad arguments are refused before anything is sent", {
  api <- local_batch(list())
  expect_words(refuse(
    rerun(NULL), rerun(""), rerun(c("a", "b")), rerun("a b"), rerun(NA_character_), rerun(data.frame(x = 1)),
    rerun("b-1", "4G"), rerun("b-1", memory = "4G"), rerun("b-1", file_path = "a.R"), rerun("b-1", username = "mike"),
    rerun("b-1", home_nfs_ip_address = "192.0.2.1"), rerun("b-1", memory_limit = "512m"), rerun("b-1", cpu_limit = -1),
    rerun("b-1", batch_group_id = "a b"), rerun("b-1", mounts = list(volumes = 1)), rerun("b-1", container = "a b"),
    rerun("b-1", include_unknown = NA)
  ))
  expect_length(api$requests(), 0L)
})
