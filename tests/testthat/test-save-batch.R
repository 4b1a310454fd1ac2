save_batch <- function(..., batch_id = "b-1", namespace = "n") {
  on_road("save_batch", batch_id, ..., namespace = namespace)
}

# A batch of programs that have ended, and a study's folder with their files, which is the working directory.
local_saved_batch <- function(programs = c("t_ae.R", "t_dm.R"), states = list(ended(), ended()),
                              log = charToRaw("[1] 4\nla \xe9\r\n"), env = parent.frame()) {
  folder <- withr::local_tempdir(.local_envir = env)
  withr::local_dir(folder, .local_envir = env)
  ids <- sprintf("t-%d-fbc3131d-a850-4081-8224-c06ef32821da", seq_along(programs))
  jobs <- Map(function(id, program, second) {
    full_job(
      id, program,
      created = sprintf("2026-01-01T00:00:%02dZ", second),
      arguments = list(given_path = program, expanded_path = file.path(folder, program), container = "r:1")
    )
  }, ids, programs, seq_along(ids))
  pods <- Map(function(id, program, state) full_pod(id, state, path = program), ids, programs, states)
  kubectl <- do.call(local_scripted_kubectl, c(
    unlist(Map(answers_of_job, ids, jobs, pods, MoreArgs = list(log)), recursive = FALSE, use.names = FALSE), list(
      says(to_json(list(gitVersion = "v1.34.1")), on = "*/version*"),
      says(list_of(), on = "*/events*"),
      do.call(pods_of, unname(pods)), do.call(jobs_of, unname(jobs)),
      env = env
    )
  ))
  list(ids = ids, kubectl = kubectl, folder = folder)
}

# What a cluster says of one job.
answers_of_job <- function(id, job, pod, log) {
  list(
    says(c(charToRaw(paste0("abba-log-of ", id, "\n")), log), on = paste0("*", id, "*/log*")),
    pods_of(pod, on = paste0("*/pods*", id, "*")), says(list_of(job), on = paste0("*/jobs*", id, "*"))
  )
}

read_record <- function(path) jsonlite::fromJSON(path, simplifyVector = FALSE)

test_on_both_roads("a batch is saved with the bytes of its logs and a record of each program", {
  batch <- local_saved_batch()
  saved <- save_batch("logs")
  expect_identical(
    saved[c("job_id", "program", "status", "notes")],
    data.frame(job_id = batch$ids, program = c("t_ae.R", "t_dm.R"), status = "Succeeded", notes = NA_character_)
  )
  files <- list.files("logs", all.files = TRUE, no.. = TRUE)
  expect_setequal(files, c("t_ae.log", "t_ae.json", "t_dm.log", "t_dm.json"))
  expect_identical(normalizePath(saved$log), normalizePath(c("logs/t_ae.log", "logs/t_dm.log")))
  expect_identical(bytes_of_file("logs/t_ae.log"), charToRaw("[1] 4\nla \xe9\r\n"))
  record <- read_record("logs/t_ae.json")
  expect_identical(record[["_type"]], "https://in-toto.io/Statement/v1")
  expect_identical(record$predicateType, "https://slsa.dev/provenance/v1")
  run <- record$predicate$runDetails
  expect_identical(run$builder$version$kubernetes, "v1.34.1")
  expect_identical(run$metadata[c("invocationId", "startedOn", "finishedOn")], list(
    invocationId = batch$ids[[1L]], startedOn = "2026-01-01T00:00:05Z", finishedOn = "2026-01-01T00:01:05Z"
  ))
  expect_identical(
    run$metadata$abba_run[c("batch_id", "user", "status", "exit_code", "verdict", "node")],
    list(batch_id = "b-1", user = "mike", status = "Succeeded", exit_code = 0L, verdict = "clean", node = "node-1")
  )
  before <- bytes_of_file("logs/t_ae.json")
  save_batch("logs")
  expect_identical(bytes_of_file("logs/t_ae.json"), before)
})

test_on_both_roads("what a plan says of inputs and outputs is in the record, and a changed byte is found", {
  batch <- local_saved_batch()
  dir.create("adam")
  writeLines("in", "adam/adae.rds")
  writeLines("out", "t_ae.rtf")
  plan <- data.frame(program = c("t_ae.R", "t_dm.R"), inputs = c("adam/*.rds", NA), outputs = c("t_ae.rtf", "t_dm.rtf"))
  saved <- save_batch("logs", plan)
  expect_match(saved$notes[[1L]], "adae.rds: It was changed after the program had started", fixed = TRUE)
  expect_identical(saved$notes[[2L]], "t_dm.rtf: This output was not there.")
  checked <- abba_verify("logs")
  expect_s3_class(checked, c("abba_verification", "data.frame"), exact = TRUE)
  expect_named(checked, c("name", "role", "file", "result", "what"))
  result <- function() {
    checked <- abba_verify("logs")
    rlang::set_names(checked$result, checked$file)[c("t_ae.log", "../t_ae.rtf", "../adam/adae.rds", "t_dm.rtf")]
  }
  expect_identical(unname(result()), c("ok", "ok", "ok", "missing"))
  writeLines("ouT", "t_ae.rtf")
  expect_identical(unname(result()), c("ok", "changed", "ok", "missing"))
  # By name, without a plan.
  unlink("logs", recursive = TRUE)
  save_batch("logs", outputs = list(t_ae = "t_ae.rtf"))
  expect_identical(abba_verify("logs")$file, c("t_ae.json", "t_ae.log", "../t_ae.rtf", "t_dm.json", "t_dm.log"))
})

test_on_both_roads("a program that has not ended, and a log of which a part is missing, are told", {
  batch <- local_saved_batch(states = list(running(), ended(3L)))
  warned <- expect_warning(saved <- save_batch("logs"), class = "abba_warning_not_saved")
  expect_identical(warned$job_id, batch$ids[[1L]])
  expect_identical(is.na(saved$log), c(TRUE, FALSE))
  expect_match(saved$notes[[1L]], "it is Running", fixed = TRUE)
  expect_identical(read_record("logs/t_dm.json")$predicate$runDetails$metadata$abba_run$exit_code, 3L)
  expect_identical(list.files("logs"), c("t_dm.json", "t_dm.log"))
})

test_on_both_roads("a record that is not signed is not signed by saving again with a key, but made anew", {
  batch <- local_saved_batch()
  save_batch("logs")
  # That of RFC 8410, section 10.
  key <- c(
    "-----BEGIN PRIVATE KEY-----", "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC",
    "-----END PRIVATE KEY-----"
  )
  writeLines(key, "key.pem")
  forged <- read_record("logs/t_dm.json")
  forged$predicate$runDetails$metadata$abba_run$not_found <- list(list(role = "output", name = "t_dm.rtf"))
  writeLines(to_json(forged), "logs/t_dm.json")
  before <- bytes_of_file("logs/t_dm.json")
  withr::local_options(abba.record.key = "key.pem", abba.record.public.key = "key.pem")
  saved <- save_batch("logs")
  expect_match(saved$notes[[1L]], "is not signed: it was made anew", fixed = TRUE)
  expect_match(saved$notes[[2L]], "Not saved: \"t_dm.json\" is not signed", fixed = TRUE)
  expect_identical(is.na(saved$record), c(FALSE, TRUE))
  expect_identical(bytes_of_file("logs/t_dm.json"), before)
  checked <- abba_verify("logs")
  expect_identical(checked$result[checked$role == "record"], c("ok", "unsigned"))
  expect_identical(save_batch("logs")$notes[[1L]], NA_character_)
  withr::local_options(abba.record.public.key = "none.pem")
  expect_error(save_batch("logs"), "abba.record.public.key", class = "abba_error_input")
})

test_on_both_roads("a batch that is not there is an error of its class, and no folder is made", {
  withr::local_dir(withr::local_tempdir())
  local_scripted_kubectl(pods_of(), jobs_of())
  expect_error(save_batch("logs", batch_id = "none"), class = "abba_error_not_found")
  expect_false(dir.exists("logs"))
})

test_that("wrong arguments are refused before anything is asked", {
  batch <- local_saved_batch()
  withr::local_options(abba.record.key = "none.pem")
  expect_error(save_batch("logs"), "abba.record.key", class = "abba_error_input")
  withr::local_options(abba.record.key = NULL)
  asked <- batch$kubectl$count()
  for (wrong in list(
    quote(save_batch(1)), quote(save_batch("logs", plan = 1)), quote(save_batch("logs", plan = data.frame(x = 1))),
    quote(save_batch("logs", outputs = 1)), quote(save_batch("logs", outputs = list("a"))),
    quote(save_batch("logs", study_folder = NA)), quote(save_batch("logs", batch_id = "a b")),
    quote(save_batch("logs", plan = data.frame(program = "a.R"), outputs = list(a = "b"))),
    quote(save_batch("logs", plan = data.frame(program = c("a.R", "a.R"))))
  )) {
    expect_error(eval(wrong), class = "abba_error_input")
  }
  expect_identical(batch$kubectl$count(), asked)
  expect_error(save_batch("logs", outputs = list(t_x = "a")), "programs of the batch only", class = "abba_error_input")
})

test_on_both_roads("a record has the R and the packages that the program used, or why they are not known", {
  noting <- ended(1L)
  noting$terminated$message <- paste(c(
    "abba-session 1", "R=R version 4.2.2 (2022-10-31)", "version=4.2.2", "random=Mersenne-Twister Inversion Rejection",
    "option.OutDec=,", "packages=4", "attached=haven 2.5.1,stats 4.2.2", "loaded=R6 2.5.1", "end", ""
  ), collapse = "\n")
  batch <- local_saved_batch(states = list(noting, ended(137L)))
  save_batch("logs")
  record <- read_record("logs/t_ae.json")$predicate
  expect_identical(record$runDetails$builder$version$R, "4.2.2")
  expect_identical(record$runDetails$metadata$abba_session, list(
    R = "R version 4.2.2 (2022-10-31)", random = "Mersenne-Twister Inversion Rejection", options = list(OutDec = ","),
    attached = list("haven", "stats"), loaded = list("R6"), packages_left_out = 1L
  ))
  dependencies <- record$buildDefinition$resolvedDependencies
  packages <- Filter(function(one) one$annotations$abba_role == "package", dependencies)
  uris <- vapply(packages, `[[`, "", "uri")
  expect_identical(uris, c("pkg:generic/R@4.2.2", "pkg:cran/haven@2.5.1", "pkg:cran/R6@2.5.1"))
  killed <- read_record("logs/t_dm.json")$predicate$runDetails
  expect_identical(killed$metadata$abba_session, list(missing = "R was killed."))
  expect_null(killed$builder$version$R)
  checked <- abba_verify("logs")
  expect_setequal(checked$result, c("ok", "unsigned"))
  # Nobody takes it for words about the end.
  expect_identical(explain(batch$ids[[1L]])$details, NA_character_)
})
