test_that("the document is R Markdown with the parameters that are told", {
  path <- file.path(withr::local_tempdir("templates-"), "job")
  expect_message(expect_identical(create_batch_job(path), path), "job.Rmd")
  expect_identical(list.files(path, all.files = TRUE, no.. = TRUE), "job.Rmd")
  document <- file.path(path, "job.Rmd")
  params <- rmarkdown::yaml_front_matter(document)$params
  expect_named(params, c("program", "container", "timeout_seconds"))
  code <- withr::local_tempfile()
  knitr::purl(document, code, quiet = TRUE)
  called <- all.names(parse(code))
  expect_true(all(c("abba_submit_job", "abba_wait_for_job_log") %in% called))
  expect_true(all(grep("^abba_", called, value = TRUE) %in% getNamespaceExports("abba")))
})
