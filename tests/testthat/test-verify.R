# The keys of RFC 8410, section 10.
local_keys <- function(env = parent.frame()) {
  folder <- withr::local_tempdir(.local_envir = env)
  pem <- function(kind, text) {
    path <- file.path(folder, paste0(tolower(kind), ".pem"))
    writeLines(c(paste0("-----BEGIN ", kind, " KEY-----"), text, paste0("-----END ", kind, " KEY-----")), path)
    path
  }
  list(
    private = pem("PRIVATE", "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC"),
    public = pem("PUBLIC", "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=")
  )
}

# A folder with the record of a program, which is signed where there is a key. `notes`: what it says of the log.
local_record <- function(key = NULL, notes = character(), env = parent.frame()) {
  folder <- withr::local_tempdir(.local_envir = env)
  log <- charToRaw("la\n")
  record <- list(
    "_type" = "https://in-toto.io/Statement/v1",
    subject = list(list(
      name = "x.log", digest = list(sha256 = "08c94cb7e2ebf0bddd52e4a30f9f3d3ce3a6cce8e2c2b10d08ba5da1cef4d1d2"),
      annotations = list(abba_role = "log", abba_notes = I(notes))
    )),
    predicateType = "https://slsa.dev/provenance/v1",
    predicate = list(
      buildDefinition = list(
        buildType = "https://example.com/x", externalParameters = list(file_path = "t.R"),
        resolvedDependencies = list(list(
          name = "t.R", uri = "file:///none/t.R", annotations = list(abba_role = "program")
        ))
      ),
      runDetails = list(
        builder = list(id = "https://example.com/x"),
        metadata = list(invocationId = "t-1", abba_run = list(status = "Succeeded", batch_id = "b"))
      )
    )
  )
  record$subject[[1L]]$digest$sha256 <- sha256_of(log)
  core_value(core_save_records(list(
    folder = folder, study_folder = folder, key = key,
    jobs = list(list(record = to_json(record), log = I(jsonlite::base64_enc(log))))
  )))
  folder
}

sha256_of <- function(bytes) {
  path <- tempfile()
  on.exit(unlink(path))
  writeBin(bytes, path)
  sub(" .*", "", system2("sha256sum", shQuote(path), stdout = TRUE))
}

test_that("a signature is good, of another key, wrong, not checked or not there", {
  keys <- local_keys()
  folder <- local_record(keys$private)
  result <- function(...) abba_verify(folder, ...)$result[[1L]]
  expect_identical(result(keys$public), "ok")
  expect_identical(result(), "not checked")
  withr::local_options(abba.record.public.key = keys$public)
  expect_identical(result(), "ok")
  path <- file.path(folder, "t.json")
  envelope <- jsonlite::fromJSON(path, simplifyVector = FALSE)
  expect_identical(envelope$payloadType, "application/vnd.in-toto+json")
  statement <- rawToChar(jsonlite::base64_dec(envelope$payload))
  envelope$payload <- gsub("\n", "", jsonlite::base64_enc(charToRaw(sub("Succeeded", "succeeded", statement))))
  writeLines(to_json(envelope), path)
  expect_identical(result(), "signature wrong")
  envelope$signatures[[1L]]$keyid <- "another"
  writeLines(to_json(envelope), path)
  expect_identical(result(), "other key")
  writeLines(statement, path)
  expect_identical(result(), "unsigned")
})

test_that("what is printed names what is not as recorded", {
  folder <- local_record()
  writeLines("LA", file.path(folder, "t.log"))
  writeLines("x", file.path(folder, "alone.log"))
  expect_words(abba_verify(folder))
})

test_that("what is printed names what must be known of a file that is as recorded", {
  checked <- abba_verify(local_record(notes = "The beginning of the log is missing."))
  expect_identical(checked$result, c("unsigned", "ok"))
  expect_output(print(checked), "unsigned: .*\nok: log t.log: .*The beginning of the log is missing")
  # That is always so where the programs are in a mount.
  checked$role[[2L]] <- "program"
  expect_no_match(capture.output(print(checked)), "ok:", fixed = TRUE)
})

test_that("a folder without records, and a key that is none, are refused", {
  folder <- withr::local_tempdir()
  expect_error(abba_verify(folder), "has none", class = "abba_error_input")
  expect_error(abba_verify(file.path(folder, "none")), class = "abba_error_input")
  expect_error(abba_verify(1), class = "abba_error_input")
  writeLines("x", file.path(folder, "key.pem"))
  folder <- local_record()
  expect_error(abba_verify(folder, "/none.pem"), "cannot be read", class = "abba_error_input")
  expect_error(abba_verify(folder, file.path(folder, "t.log")), "no ed25519 key", class = "abba_error_input")
})
