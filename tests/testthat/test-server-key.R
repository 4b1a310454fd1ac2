test_that("a key is made, and its hash alone is kept, for the owner of the file alone", {
  file <- withr::local_tempfile()
  key <- abba_api_key_create("daemon", file)
  expect_match(key, "^abba_[0-9a-f]{64}$")
  expect_identical(as.character(file.mode(file)), "600")
  day <- "[0-9]{4}-[0-9]{2}-[0-9]{2}"
  expect_match(readLines(file), paste0("^daemon:[0-9a-f]{8}:[0-9a-f]{64}:", day, ":", day, ":submit:$"))
  expect_false(any(grepl(key, readLines(file), fixed = TRUE)))
  expect_false(key == abba_api_key_create("daemon", file))
  expect_length(readLines(file), 2L)
})

test_that("keys are listed with what is known of them, and taken back by their ids", {
  api <- local_api(keys = "daemon")
  status <- function(key) ask_api("whoami", key = key)$status
  laptop <- abba_api_key_create("bin", note = "b\u00fcro, laptop", scope = "read", expires_days = 7)
  endless <- abba_api_key_create("bin", expires_days = Inf)
  keys <- abba_api_key_list()
  today <- as.Date(format(Sys.time(), tz = "UTC", "%Y-%m-%d"))
  expect_identical(keys$user, c("daemon", "bin", "bin"))
  expect_identical(keys$scope, c("submit", "read", "submit"))
  expect_identical(keys$note, c("", "b\u00fcro, laptop", ""))
  expect_true(all(today - keys$created <= 1))
  expect_identical(as.numeric(keys$expires - keys$created), c(90, 7, NA))
  expect_false(any(keys$expired))
  expect_true(all(is.na(keys$last_used)))
  expect_identical(c(status(laptop), status(endless)), c(200L, 200L))
  expect_identical(is.na(abba_api_key_list()$last_used), c(TRUE, FALSE, FALSE))
  expect_identical(decisions(api)[[1L]]$key, keys$id[[2L]])
  revoked <- abba_api_key_revoke(keys$id[[2L]])
  expect_identical(revoked$note, "b\u00fcro, laptop")
  expect_identical(abba_api_key_list()$id, keys$id[-2L])
  expect_identical(c(status(laptop), status(endless)), c(401L, 200L))
  expect_error(abba_api_key_revoke(keys$id[[2L]]), "no key with the id", class = "abba_error_input")
  writeLines("# none", api$key_file)
  expect_identical(dim(abba_api_key_list()), c(0L, 8L))
})

test_that("a key that has ended is refused, and says so", {
  api <- local_api(keys = c("daemon", "bin"))
  lines <- readLines(api$key_file)
  writeLines(sub(":[0-9-]+:submit:", ":2020-01-31:submit:", lines), api$key_file)
  answer <- ask_api("whoami", key = api$keys$daemon)
  expect_identical(answer$status, 401L)
  expect_match(answer$body$message, "has ended: it was good until 2020-01-31", fixed = TRUE)
  expect_true(all(abba_api_key_list(api$key_file)$expired))
})

test_that("a key for reading neither submits nor cancels", {
  api <- local_api()
  kubectl <- local_scripted_kubectl(says(list_of()))
  key <- abba_api_key_create("daemon", scope = "read")
  expect_identical(ask_api("jobs", key = key)$status, 200L)
  before <- kubectl$count()
  expect_identical(submit_api(key = key)$status, 403L)
  answer <- ask_api("cancel-job", method = "POST", body = "{\"job_id\": \"a-1\"}", key = key)
  expect_identical(answer$status, 403L)
  expect_match(answer$body$message, "looking at jobs alone", fixed = TRUE)
  expect_identical(kubectl$count(), before)
})

test_that("keys of before they had ends still hold, also where the last line has no end", {
  api <- local_api()
  hash <- strsplit(readLines(api$key_file), ":", fixed = TRUE)[[1L]][[3L]]
  cat("# ours\ndaemon:", hash, sep = "", file = api$key_file)
  new <- abba_api_key_create("bin", api$key_file)
  expect_identical(ask_api("whoami", key = api$keys$daemon)$body$user, "daemon")
  expect_identical(ask_api("whoami", key = new)$body$user, "bin")
  keys <- abba_api_key_list(api$key_file)
  expect_identical(keys$expires[[1L]], as.Date(NA))
  abba_api_key_revoke(keys$id[[1L]], api$key_file)
  expect_identical(ask_api("whoami", key = api$keys$daemon)$status, 401L)
})

test_that("wrong arguments are refused, and nothing is written", {
  file <- withr::local_tempfile()
  for (user in list("", "a b", "a:b", "a\nb", "#a", 1, NA_character_, c("a", "b"), NULL, "no-such-user-here")) {
    expect_s3_class(raised(abba_api_key_create(user, file)), "abba_error_input")
  }
  for (wrong in list(
    list(expires_days = 0), list(expires_days = 1.5), list(expires_days = -Inf), list(expires_days = "90"),
    list(expires_days = NA), list(expires_days = 1e9), list(scope = "admin"), list(note = "a:b"), list(note = "a\nb"),
    list(note = NULL)
  )) {
    expect_s3_class(raised(do.call(abba_api_key_create, c("daemon", file, wrong))), "abba_error_input")
  }
  expect_false(file.exists(file))
  expect_s3_class(raised(abba_api_key_list(file)), "abba_error_input")
  expect_s3_class(raised(abba_api_key_revoke("x", file)), "abba_error_input")
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

  reason <- function() {
    answer <- ask_api("whoami", key = new)
    expect_identical(answer$status, 503L)
    expect_no_match(answer$text, api$key_file, fixed = TRUE)
    decisions(api)[[length(decisions(api))]]$reason
  }
  Sys.chmod(api$key_file, "0640")
  expect_match(reason(), "can be read or written by others", fixed = TRUE)
  Sys.chmod(api$key_file, "0600")
  expect_identical(ask_api("whoami", key = new)$status, 200L)
  # Who can write to the folder can put another file there.
  Sys.chmod(dirname(api$key_file), "0775", use_umask = FALSE)
  expect_match(reason(), "folder that others can write to", fixed = TRUE)
  Sys.chmod(dirname(api$key_file), "0700")
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
  swapped <- sub("^(daemon:[0-9a-f]+:)..", "\\1zz", lines)
  swapped <- sub("zz", if (grepl("^daemon:[0-9a-f]+:00", lines[[1L]])) "11" else "00", swapped)
  writeLines(swapped, api$key_file)
  Sys.setFileTime(api$key_file, modified)
  expect_identical(ask_api("whoami", key = api$keys$daemon)$status, 401L)
})
