listed <- function(count = 3L) {
  time <- as.POSIXct("2026-11-27 15:00:00", tz = "UTC")
  jobs <- data.frame(
    job_id = paste0(c("t-ae", "test-program-with-a-long-name", "x"), "-fbc3131d-a850-4081-8224-c06ef32821da"),
    batch_id = "b-fbc3131d-a850-4081-8224-c06ef32821da",
    program = c("/studies/s1/programs/t_ae.R", "/studies/s1/programs/deep/deeper/t_\u00e9.R", "x.R"), user = "mike",
    status = c("Succeeded", "Failed", "Running"), submitted = time, started = time + 1:3,
    finished = time + c(20, 400, NA), exit_code = c(0L, 1L, NA),
    reason = c(NA, "The program ended with exit status 1.", NA), verdict = NA_character_, verdict_line = NA_character_
  )
  structure(jobs[rep(1:3, length.out = count), ], row.names = seq_len(count), class = c("abba_jobs", "data.frame"))
}
as_batch <- function(jobs) {
  structure(as.data.frame(jobs)[c("job_id", "batch_id", "program", "submitted")], class = c("abba_batch", "data.frame"))
}

test_that("jobs print in the width of the console, the columns whole", {
  jobs <- listed()
  judged <- listed()
  judged$verdict <- c("clean", "errors", NA)
  judged$verdict_line <- c(NA, "Error in f() : no adsl", NA)
  expect_words({
    jobs
    judged
    jobs[c("program", "reason")]
    jobs["verdict"]
    jobs[0, ]
    as_batch(jobs)
    print(listed(400), n = 2)
  })
  odd <- listed()
  odd$program[[1L]] <- "two\nlines \u65e5\u672c\u8a9e.R"
  odd$mine <- list(1, "a", NULL)
  for (width in c(40, 60, 80, 200)) {
    withr::local_options(width = width)
    for (frame in list(odd, as_batch(odd), listed(400))) {
      lines <- utils::capture.output(given <- print(frame))
      expect_identical(given, frame)
      expect_lte(max(nchar(lines, "width")), width)
      expect_lte(length(lines), 30L)
    }
  }
})

test_that("signs that do not show, or turn words around, are told by their numbers", {
  jobs <- listed()
  jobs$program <- c("a\u202egpj.R", "b\u00ad\u3164\U{e0061}.R", "\u00e9\u26a0\ufe0f.R")
  withr::local_options(width = 200)
  lines <- paste(utils::capture.output(print(jobs)), collapse = "\n")
  expect_match(lines, "a\\u202egpj.R", fixed = TRUE)
  expect_match(lines, "b\\u00ad\\u3164\\ue0061.R", fixed = TRUE)
  expect_match(lines, "\u00e9\u26a0\ufe0f.R", fixed = TRUE)
})

test_that("a summary counts the jobs, and names those to be looked at", {
  judged <- listed()
  judged$verdict <- c("warnings", "errors", NA)
  expect_words({
    summary(listed(2))
    summary(judged)
    summary(listed(0))
  })
  expect_identical(as.vector(summary(judged)$status[["Failed"]]), 1L)
})

test_that("a summary of a batch asks the cluster how it stands", {
  local_scripted_kubectl(
    pods_of(full_pod("a-1"), full_pod("b-2", ended(1L), "Failed")),
    jobs_of(full_job("a-1", "a.R"), full_job("b-2", "b.R"), full_job("z-9", "z.R"))
  )
  batch <- as_batch(listed(2))
  batch$job_id <- c("b-2", "a-1")
  batch$batch_id <- "b-1"
  expect_words(summary(batch, namespace = "n"))
})
