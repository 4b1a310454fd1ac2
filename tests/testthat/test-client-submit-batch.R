# A batch through a scripted API.
#
# local_programs(3) makes p-1.R, p-2.R, p-3.R in the working directory.
local_programs <- function(count, text = function(i) paste0("print(", i, ")\n"), env = parent.frame()) {
  local_program(env = env)
  names <- paste0("p-", seq_len(count), ".R")
  for (i in seq_len(count)) write_bytes(text(i), names[[i]])
  names
}

row <- function(i, submitted = "2026-01-01T00:00:01Z", job_id = paste0("p-", i, "-id"), reason = NULL) {
  list(
    job_id = job_id, batch_id = "bundle", program = paste0("p-", i, ".R"), submitted = submitted, reason = reason
  )
}

submit_them <- function(programs, ...) abba_submit_batch(programs, batch_group_id = "bundle", ...)

sent_programs <- function(request) vapply(request$body$programs, `[[`, "", "file_path")

test_that("a batch has the shape of the local function's", {
  programs <- local_programs(2)
  api <- local_scripted_api(replies(list(row(1), row(2))))
  expect_message(batch <- submit_them(programs, cpu_limit = c(0.5, 1)), "2 jobs created in batch bundle", fixed = TRUE)
  expect_identical(batch, structure(
    data.frame(
      job_id = c("p-1-id", "p-2-id"), batch_id = "bundle", program = programs,
      submitted = as.POSIXct(rep("2026-01-01 00:00:01", 2), tz = "UTC")
    ),
    class = c("abba_batch", "data.frame")
  ))
  sent <- api$requests()[[1L]]
  expect_identical(sent$body$batch_group_id, "bundle")
  expect_identical(sent_programs(sent), programs)
  expect_identical(vapply(sent$body$programs, `[[`, "", "program_text"), c("print(1)\n", "print(2)\n"))
  expect_identical(lapply(sent$body$programs, `[[`, "cpu_limit"), list(0.5, 1L))
  # For abba_rerun_batch() in another working directory.
  expect_identical(vapply(sent$body$programs, `[[`, "", "absolute_path"), file.path(getwd(), programs))
  expect_match(sent$headers[["idempotency-key"]], uuid)
})

test_that("many programs travel in several requests under one batch id and different keys", {
  programs <- local_programs(120)
  rows <- lapply(1:120, row)
  api <- local_scripted_api(replies(rows[1:50]), replies(rows[51:100]), replies(rows[101:120]))
  batch <- suppressMessages(abba_submit_batch(programs))
  requests <- api$requests()
  expect_identical(lengths(lapply(requests, sent_programs)), c(50L, 50L, 20L))
  expect_identical(unlist(lapply(requests, sent_programs)), programs)
  ids <- vapply(requests, function(request) request$body$batch_group_id, "")
  expect_length(unique(ids), 1L)
  expect_match(ids[[1L]], paste0("^p-1-", uuid, "$"))
  expect_length(unique(vapply(requests, function(request) request$headers[["idempotency-key"]], "")), 3L)
  expect_identical(batch$job_id, paste0("p-", 1:120, "-id"))
})

test_that("a request stays below the size that an API takes", {
  programs <- local_programs(20, function(i) paste0(strrep("#", 250 * 1024), i))
  rows <- lapply(1:20, row)
  api <- local_scripted_api(replies(rows[1:16]), replies(rows[17:20]))
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

incomplete <- function(rows, status = 502L) {
  refuses("batch_incomplete", status, message = "Some were refused.", batch = rows)
}

test_that("the programs that were refused are submitted when the data frame is given back", {
  programs <- local_programs(3)
  refused <- row(2, NULL, NULL, "The cluster has no room.")
  api <- local_scripted_api(incomplete(list(row(1), refused, row(3))), replies(list(row(2))))
  error <- raised(submit_them(programs))
  expect_s3_class(error, "abba_error_batch_incomplete")
  expect_identical(is.na(error$batch$submitted), c(FALSE, TRUE, FALSE))
  expect_identical(error$batch$job_id, c("p-1-id", NA, "p-3-id"))
  expect_identical(error$batch$reason, c(NA, "The cluster has no room.", NA))
  expect_words(cat(conditionMessage(error)))

  batch <- suppressMessages(submit_them(error$batch))
  expect_identical(batch$job_id, paste0("p-", 1:3, "-id"))
  expect_named(batch, c("job_id", "batch_id", "program", "submitted"))
  requests <- api$requests()
  expect_identical(sent_programs(requests[[2L]]), "p-2.R")
  expect_false(requests[[1L]]$headers[["idempotency-key"]] == requests[[2L]]$headers[["idempotency-key"]])
})

test_that("a request whose answer was lost is made again under its key, so nothing is submitted twice", {
  withr::local_options(abba.api.request.timeout = 0.3)
  programs <- local_programs(120)
  rows <- lapply(1:120, row)
  api <- local_scripted_api(
    replies(rows[1:50]), cuts(), never_replies()
  )
  error <- raised(submit_them(programs))
  expect_s3_class(error, "abba_error_batch_incomplete")
  expect_identical(which(!is.na(error$batch$submitted)), 1:50)
  expect_identical(unique(error$batch$reason[101:120]), "It was not sent, because an earlier request had failed.")
  lost <- api$requests()[[2L]]

  again <- local_scripted_api(replies(rows[51:100]), replies(rows[101:120]))
  withr::local_options(abba.api.request.timeout = 10)
  batch <- suppressMessages(submit_them(error$batch))
  expect_identical(batch$job_id, paste0("p-", 1:120, "-id"))
  expect_null(attr(batch, "requests"))
  requests <- again$requests()
  expect_identical(requests[[1L]]$headers[["idempotency-key"]], lost$headers[["idempotency-key"]])
  expect_identical(requests[[1L]]$text, lost$text)
  expect_identical(unlist(lapply(requests, sent_programs)), programs[51:120])
})

test_that("where a job may exist, its request is made again as a whole", {
  programs <- local_programs(3)
  api <- local_scripted_api(
    incomplete(list(row(1), row(2, NULL, "p-2-id", "No answer."), row(3, NULL, NULL, "Refused."))),
    replies(lapply(1:3, row))
  )
  error <- raised(submit_them(programs))
  expect_identical(error$batch$job_id, c("p-1-id", "p-2-id", NA))
  batch <- suppressMessages(submit_them(error$batch))
  expect_identical(batch$job_id, paste0("p-", 1:3, "-id"))
  expect_identical(batch$submitted[[1L]], error$batch$submitted[[1L]])
  expect_identical(api$requests()[[1L]]$text, api$requests()[[2L]]$text)
  expect_identical(
    api$requests()[[1L]]$headers[["idempotency-key"]], api$requests()[[2L]]$headers[["idempotency-key"]]
  )
})

test_that("what an earlier request made of a program that was changed since is not submitted beside it", {
  programs <- local_programs(2)
  there <- "Job \"p-2-id\" is there already: an earlier request with the same `Idempotency-Key` made it."
  api <- local_scripted_api(incomplete(list(row(1), row(2, NULL, "p-2-id", there)), 409L))
  error <- raised(submit_them(programs))
  expect_identical(error$batch$job_id, c("p-1-id", "p-2-id"))
  expect_match(conditionMessage(error), there, fixed = TRUE)
  expect_s3_class(raised(submit_them(error$batch)), "abba_error_batch_incomplete")
  keys <- vapply(api$requests(), function(request) request$headers[["idempotency-key"]], "")
  expect_length(keys, 2L)
  expect_length(unique(keys), 1L)
})

test_that("of a part of the data frame only what is not there is submitted", {
  programs <- local_programs(3)
  local_scripted_api(incomplete(list(row(1), row(2, NULL, "p-2-id", "?"), row(3, NULL, "p-3-id", "?"))))
  error <- raised(submit_them(programs))
  api <- local_scripted_api(
    replies(list(row(2)), on = "GET /jobs"), replies(list(row(3)), on = "POST /submit-batch")
  )
  batch <- suppressMessages(submit_them(error$batch[2:3, ]))
  expect_identical(batch$job_id, c("p-2-id", "p-3-id"))
  expect_identical(api$calls(), c("GET /jobs", "POST /submit-batch"))
  expect_identical(sent_programs(api$requests()[[2L]]), "p-3.R")
})

test_that("an answer about other programs is not believed", {
  programs <- local_programs(2)
  for (answer in list(list(row(1)), list(), list(a = 1))) {
    local_scripted_api(replies(answer))
    error <- raised(submit_them(programs))
    expect_s3_class(error, "abba_error_batch_incomplete")
    expect_length(attr(error$batch, "requests"), 1L)
  }
})
