templates <- list(
  list(create = create_batch_api, file = "plumber.R"), list(create = create_batch_job, file = "job.Rmd")
)

test_that("a template is put into a new directory or an empty one, and nothing is overwritten", {
  for (template in templates) {
    path <- withr::local_tempdir("templates-")
    suppressMessages(template$create(path))
    writeLines("mine", file.path(path, template$file))
    expect_error(template$create(path), "nothing is overwritten", class = "abba_error_input")
    expect_identical(readLines(file.path(path, template$file)), "mine")
    file <- withr::local_tempfile(lines = "mine")
    expect_error(template$create(file), class = "abba_error_input")
    expect_identical(readLines(file), "mine")
  }
})

test_that("a directory that cannot be made is an error, and nothing is left", {
  file <- withr::local_tempfile(lines = "a file")
  for (template in templates) {
    expect_error(template$create(file.path(file, "new")), "cannot be|can be written", class = "abba_error_input")
    expect_error(template$create(""), class = "abba_error_input")
    expect_error(template$create(NULL), class = "abba_error_input")
  }
})
