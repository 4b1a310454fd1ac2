local_png <- function(env = parent.frame()) {
  path <- withr::local_tempfile(fileext = ".png", .local_envir = env)
  # Cairo and X11 need not be there: without them R draws to a PDF file.
  if (isTRUE(capabilities("png"))) grDevices::png(path) else grDevices::pdf(path)
  device <- grDevices::dev.cur()
  withr::defer(grDevices::dev.off(device), envir = env)
  path
}
utc <- function(...) as.POSIXct(c(...), origin = "1970-01-01", tz = "UTC")
jobs <- function() {
  structure(
    data.frame(
      job_id = c("a-1", "b-2", "c-3", "d-4"), program = c("a.R", "x/b.R", "c.R", strrep("long", 20)),
      status = c("Succeeded", "Failed", "Running", "Pending"), submitted = utc(0, 0, 1, 2),
      started = utc(1, 4, 5, NA), finished = utc(5, 9, NA, NA)
    ),
    class = c("abba_jobs", "data.frame")
  )
}

test_that("a plot of jobs is drawn, and gives back what it drew", {
  path <- local_png()
  before <- graphics::par("mar")
  expect_invisible(drawn <- plot(jobs()))
  expect_identical(drawn, jobs())
  # The device is left as it was.
  expect_identical(graphics::par("mar"), before)
  grDevices::dev.off()
  expect_gt(file.size(path), 1000)
  grDevices::pdf(NULL)
})

test_that("waiting and running are told apart, from the first submission on", {
  bars <- timeline(jobs(), utc(20))
  expect_identical(bars, data.frame(
    label = c("a.R", "b.R", "c.R", paste0(substr(strrep("long", 20), 1, 27), "...")),
    status = c("Succeeded", "Failed", "Running", "Pending"),
    begin = c(0, 0, 1, 2), run = c(1, 4, 5, 20), end = c(5, 9, 20, 20), never_ran = FALSE
  ))
})

test_that("a job that ended without having run has a bar of no length", {
  failed <- jobs()[1, ]
  failed$status <- "Failed"
  failed$started <- utc(NA)
  failed$finished <- utc(NA)
  expect_identical(
    timeline(failed, utc(20))[c("run", "end", "never_ran")], data.frame(run = 0, end = 0, never_ran = TRUE)
  )
  local_png()
  expect_identical(plot(failed), failed)
})

test_that("every status has a colour, and arguments are passed on", {
  local_png()
  all <- jobs()[c(1, 1, 1, 1, 1), ]
  all$status <- c("Pending", "Running", "Succeeded", "Failed", "Unknown")
  expect_identical(plot(all, xlim = c(0, 100)), all)
  expect_equal(graphics::par("usr")[2], 104)
})

test_that("without jobs it is said that there is nothing to draw", {
  local_png()
  expect_words(drawn <- plot(jobs()[0, ]))
  expect_identical(nrow(drawn), 0L)
})

batch_of <- function(job_id, batch_id = "b-1") {
  structure(
    data.frame(
      job_id = job_id, batch_id = batch_id, program = sprintf("%s.R", job_id), submitted = utc(seq_along(job_id))
    ),
    class = c("abba_batch", "data.frame")
  )
}
local_listed <- function(env = parent.frame()) {
  local_scripted_kubectl(
    says(list_of(full_pod("a-1"), full_pod("b-2", ended(1L), "Failed")), on = "*/pods*"),
    says(list_of(full_job("a-1", "a.R"), full_job("b-2", "b.R"), full_job("z-9", "z.R")), on = "*/jobs*"),
    env = env
  )
}

test_that("a batch is drawn with the cluster's times, in its own order", {
  local_png()
  kubectl <- local_listed()
  expect_invisible(drawn <- plot(batch_of(c("b-2", "a-1")), namespace = "n"))
  expect_s3_class(drawn, "abba_jobs")
  expect_identical(drawn$job_id, c("b-2", "a-1"))
  expect_identical(drawn$status, c("Failed", "Succeeded"))
  expect_match(utils::URLdecode(kubectl$requests()[[1]]), "abba/batch-id=b-1", fixed = TRUE)
})

test_that("jobs of a batch that are not there, or were never submitted, are left out", {
  local_png()
  local_listed()
  drawn <- plot(batch_of(c("b-2", "gone-1", NA)), namespace = "n")
  expect_identical(drawn$job_id, "b-2")
})

test_that("a batch of the abba API is drawn with what the API says, with or without a kubectl", {
  local_png()
  local_program("1", "p.R")
  kubectl <- local_listed()
  row <- function(sent) {
    list(list(
      job_id = sent, batch_id = "of-api", program = "p.R", user = "mike", status = "Succeeded",
      submitted = "2026-01-01T00:00:01Z", started = "2026-01-01T00:00:02Z", finished = "2026-01-01T00:00:03Z",
      exit_code = 0L, reason = NULL
    ))
  }
  local_scripted_api(makes_jobs())
  batch <- suppressMessages(abba_submit_batch("p.R", batch_group_id = "of-api"))
  api <- local_scripted_api(replies(row(batch$job_id), on = "GET /jobs"))
  drawn <- plot(batch)
  expect_identical(drawn$job_id, batch$job_id)
  expect_identical(summary(batch)$jobs, 1L)
  expect_identical(kubectl$count(), 0L)
  # In a later session.
  withr::local_envvar(PATH = "/nowhere")
  batch$batch_id <- "of-earlier"
  expect_identical(plot(batch)$job_id, batch$job_id)
  withr::local_options(abba.api.address = NULL)
  withr::local_envvar(ABBA_API_ADDRESS = NA)
  expect_error(plot(batch), class = "abba_error_kubectl_missing")
})

test_that("rows of several batches are drawn together", {
  local_png()
  local_scripted_kubectl(
    says(list_of(full_pod("a-1")), on = "*/pods*b-1*"), says(list_of(full_job("a-1", "a.R")), on = "*/jobs*b-1*"),
    says(list_of(full_pod("b-2")), on = "*/pods*b-9*"), says(list_of(full_job("b-2", "b.R")), on = "*/jobs*b-9*")
  )
  drawn <- plot(batch_of(c("b-2", "a-1"), c("b-9", "b-1")), namespace = "n")
  expect_identical(drawn$job_id, c("b-2", "a-1"))
})

test_that("a batch without rows asks nobody and draws nothing", {
  local_png()
  kubectl <- local_listed()
  expect_message(plot(batch_of(character(), character()), namespace = "n"), "no jobs to draw", fixed = TRUE)
  expect_identical(kubectl$count(), 0L)
})

test_that("jobs of which nobody knows when they were submitted are named, and the others drawn", {
  local_png()
  some <- jobs()
  some$submitted[[2L]] <- NA
  expect_message(drawn <- plot(some), "b-2")
  expect_identical(drawn, some)
  some$submitted <- utc(rep(NA, 4L))
  expect_message(expect_message(plot(some), "a-1, b-2"), "no jobs to draw")
})
