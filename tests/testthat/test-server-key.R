test_that("a key is made, and its hash alone is kept, for the owner of the file alone", {
  file <- withr::local_tempfile()
  key <- abba_api_key_create("daemon", file)
  expect_match(key, "^abba_[0-9a-f]{64}$")
  expect_identical(as.character(file.mode(file)), "600")
  expect_match(readLines(file), "^daemon:[0-9a-f]{64}$")
  expect_false(any(grepl(key, readLines(file), fixed = TRUE)))
  expect_false(key == abba_api_key_create("daemon", file))
  expect_length(readLines(file), 2L)
})

test_that("wrong arguments are refused, and nothing is written", {
  file <- withr::local_tempfile()
  for (user in list("", "a b", "a:b", "a\nb", "#a", 1, NA_character_, c("a", "b"), NULL)) {
    expect_s3_class(raised(abba_api_key_create(user, file)), "abba_error_input")
  }
  expect_false(file.exists(file))
  withr::local_options(abba.api.keys = NULL)
  expect_s3_class(raised(abba_api_key_create("daemon")), "abba_error_input")
  expect_s3_class(raised(abba_api_key_create("daemon", "/no/such/folder/keys")), "abba_error_input")
})

test_that("a key that is taken out, or a file that others can read, is refused from the next request on", {
  api <- local_api(keys = c("daemon", "bin"))
  status <- function(user) ask_api("whoami", key = api$keys[[user]])$status
  expect_identical(c(status("daemon"), status("bin")), c(200L, 200L))
  lines <- readLines(api$key_file)
  writeLines(lines[!startsWith(lines, "daemon:")], api$key_file)
  expect_identical(c(status("daemon"), status("bin")), c(401L, 200L))
  new <- abba_api_key_create("daemon", api$key_file)
  expect_identical(ask_api("whoami", key = new)$body$user, "daemon")

  Sys.chmod(api$key_file, "0640")
  answer <- ask_api("whoami", key = new)
  expect_identical(answer$status, 503L)
  expect_no_match(answer$text, api$key_file, fixed = TRUE)
  last <- decisions(api)[[length(decisions(api))]]
  expect_match(last$reason, "can be read or written by others", fixed = TRUE)
  Sys.chmod(api$key_file, "0600")
  expect_identical(ask_api("whoami", key = new)$status, 200L)
  unlink(api$key_file)
  expect_identical(ask_api("whoami", key = new)$status, 503L)
})

test_that("a line that was replaced by another of the same length is seen at once", {
  api <- local_api(keys = c("daemon", "bin"))
  # A time that can be set again to the nanosecond.
  Sys.setFileTime(api$key_file, as.POSIXct("2026-01-01", tz = "UTC"))
  expect_identical(ask_api("whoami", key = api$keys$daemon)$status, 200L)
  # As an administrator does who changes two digits; the time of the file may stay the same.
  modified <- file.mtime(api$key_file)
  lines <- readLines(api$key_file)
  swapped <- sub("^daemon:..", "daemon:zz", lines)
  swapped <- sub("zz", if (grepl("^daemon:00", lines[[1L]])) "11" else "00", swapped)
  writeLines(swapped, api$key_file)
  Sys.setFileTime(api$key_file, modified)
  expect_identical(ask_api("whoami", key = api$keys$daemon)$status, 401L)
})
