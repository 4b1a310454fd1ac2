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

test_that("the name of the Job template is kept, and can be taken away", {
  local_programs("a.R")
  api <- local_batch(list(kept("a.R", job_template = "gpu")), makes_jobs())
  suppressMessages(rerun())
  suppressMessages(rerun(job_template = NULL))
  programs <- lapply(sent(api), function(request) request$body$programs[[1L]])
  expect_identical(programs[[1L]]$job_template, "gpu")
  expect_null(programs[[2L]]$job_template)
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
