# A batch through a scripted API.
#
# local_programs(3) makes p-1.R, p-2.R, p-3.R in the working directory.
local_programs <- function(count, text = function(i) paste0("print(", i, ")\n"), env = parent.frame()) {
  local_program(env = env)
  names <- paste0("p-", seq_len(count), ".R")
  for (i in seq_len(count)) write_bytes(text(i), names[[i]])
  names
}

# A row of an answer for the program of this number, out of what was sent.
row <- function(sent, submitted = "2026-01-01T00:00:01Z", reason = NULL) {
  list(job_id = sent$job_id, batch_id = "bundle", program = sent$file_path, submitted = submitted, reason = reason)
}

submit_them <- function(programs, ...) abba_submit_batch(programs, batch_group_id = "bundle", ...)

sent_programs <- function(request) vapply(request$body$programs, `[[`, "", "file_path")
sent_ids <- function(request) vapply(request$body$programs, `[[`, "", "job_id")

test_that("programs are sent with their text, their arguments and their ids", {
  programs <- local_programs(2)
  api <- local_scripted_api(makes_jobs())
  expect_message(batch <- submit_them(programs, cpu_limit = c(0.5, 1)), "2 jobs created in batch bundle", fixed = TRUE)
  expect_identical(batch, structure(
    data.frame(
      job_id = api$made(), batch_id = "bundle", program = programs,
      submitted = as.POSIXct(rep("2026-01-01 00:00:01", 2), tz = "UTC")
    ),
    class = c("abba_batch", "data.frame")
  ))
  sent <- api$requests()[[1L]]
  expect_identical(sent$body$batch_group_id, "bundle")
  expect_identical(sent_programs(sent), programs)
  expect_identical(sent_ids(sent), batch$job_id)
  expect_identical(vapply(sent$body$programs, `[[`, "", "program_text"), c("print(1)\n", "print(2)\n"))
  expect_identical(lapply(sent$body$programs, `[[`, "cpu_limit"), list(0.5, 1L))
  # For abba_rerun_batch() in another working directory.
  expect_identical(vapply(sent$body$programs, `[[`, "", "absolute_path"), file.path(getwd(), programs))
})

test_that("many programs travel in several requests under one batch id", {
  programs <- local_programs(120)
  api <- local_scripted_api(makes_jobs())
  batch <- suppressMessages(abba_submit_batch(programs))
  requests <- api$requests()
  expect_identical(lengths(lapply(requests, sent_programs)), c(50L, 50L, 20L))
  expect_identical(unlist(lapply(requests, sent_programs)), programs)
  ids <- vapply(requests, function(request) request$body$batch_group_id, "")
  expect_length(unique(ids), 1L)
  expect_match(ids[[1L]], paste0("^p-1-", uuid, "$"))
  expect_identical(batch$job_id, api$made())
})

test_that("a request stays below the size that an API takes", {
  programs <- local_programs(20, function(i) paste0(strrep("#", 235 * 1024), i))
  api <- local_scripted_api(makes_jobs())
  suppressMessages(submit_them(programs))
  expect_true(all(vapply(api$requests(), function(request) nchar(request$text, "bytes"), 1) < 4 * 1024^2))
  expect_identical(unlist(lapply(api$requests(), sent_programs)), programs)
})

test_that("a mistake in any program or argument submits nothing", {
  programs <- local_programs(60)
  api <- local_scripted_api(replies(list()))
  refused <- function(...) expect_s3_class(raised(submit_them(...)), "abba_error_input")
  refused(c(programs, "missing.R"))
  refused(programs, cpu_limit = c(rep(1, 59), -1))
  refused(programs, memory_limit = c(rep("1G", 59), "lots"))
  refused(programs, cpu_limit = 1:3)
  refused(character())
  refused(data.frame(x = 1))
  expect_length(api$requests(), 0L)
})

test_that("what refuses the whole of the first request is raised as it is", {
  programs <- local_programs(2)
  for (class in c("input", "forbidden", "unauthorized", "not_configured")) {
    local_scripted_api(refuses(class, 400L))
    expect_identical(class(raised(submit_them(programs)))[[1L]], paste0("abba_error_", class))
  }
})

test_that("each program of a request has its own outcome, and those that are left are submitted by the next call", {
  programs <- local_programs(3)
  # The API is not asked before the ids are known.
  batch <- new_batch(programs, "bundle", NULL)
  sent <- Map(function(id, path) list(job_id = id, file_path = path), batch$job_id, programs)
  rows <- unname(list(row(sent[[1L]]), row(sent[[2L]], NULL, "The cluster has no room."), row(sent[[3L]], NULL, NULL)))
  for (status in c(409L, 502L)) {
    api <- local_scripted_api(
      refuses("batch_incomplete", status, message = "Some were refused.", batch = rows), makes_jobs("*")
    )
    error <- raised(submit_them(batch))
    expect_s3_class(error, "abba_error_batch_incomplete")
    expect_identical(is.na(error$batch$submitted), c(FALSE, TRUE, TRUE))
    expect_identical(error$batch$job_id, batch$job_id)
    expect_identical(error$batch$reason, c(NA, "The cluster has no room.", "The API did not say why."))
  }
  expect_words(cat(conditionMessage(error)))
  local_scripted_api(makes_jobs())
  again <- suppressMessages(submit_them(error$batch))
  expect_identical(again$job_id, batch$job_id)
  expect_identical(again$submitted[[1L]], error$batch$submitted[[1L]])
  expect_named(again, c("job_id", "batch_id", "program", "submitted"))
})

test_that("an answer about other programs is not believed", {
  programs <- local_programs(2)
  other <- list(row(list(job_id = "a", file_path = "p-1.R")), row(list(job_id = "b", file_path = "p-2.R")))
  for (answer in list(other, other[1L], list(), list(a = 1))) {
    local_scripted_api(replies(answer))
    error <- raised(submit_them(programs))
    expect_s3_class(error, "abba_error_batch_incomplete")
    expect_match(error$batch$reason, "not understood", fixed = TRUE)
    expect_true(all(is.na(error$batch$submitted)))
  }
})

test_that("rows of several batches are submitted under their own batch ids", {
  programs <- local_programs(3)
  rows <- rbind(new_batch(programs[1:2], "one", NULL), new_batch(programs[3L], "two", NULL))
  api <- local_scripted_api(makes_jobs())
  suppressMessages(abba_submit_batch(rows))
  expect_identical(lapply(api$requests(), sent_programs), list(programs[1:2], programs[3L]))
  expect_identical(vapply(api$requests(), function(request) request$body$batch_group_id, ""), c("one", "two"))
})
