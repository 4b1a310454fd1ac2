# A folder of logs; `...`: their lines by the names of the files.
local_logs <- function(..., env = parent.frame()) {
  folder <- withr::local_tempdir(.local_envir = env)
  logs <- list(...)
  for (name in names(logs)) {
    dir.create(file.path(folder, dirname(name)), showWarnings = FALSE)
    writeLines(logs[[name]], file.path(folder, name), useBytes = TRUE)
  }
  folder
}

test_that("each log of a folder has its verdict and the line that it rests on", {
  folder <- local_logs(
    t_dm.log = "all is well", t_ae.log = c("x", "Warning message:", "NAs introduced by coercion"),
    "adam/adsl.Rout" = c("Error in f() : no data", "Execution halted"), notes.txt = "Error: no log"
  )
  checked <- abba_log_check(folder)
  expect_identical(names(checked), c("program", "verdict", "verdict_line", "log"))
  checked <- checked[order(checked$program), ]
  expect_identical(checked$program, c("adsl", "t_ae", "t_dm"))
  expect_identical(checked$verdict, c("errors", "warnings", "clean"))
  expect_identical(
    checked$verdict_line, c("Error in f() : no data", "Warning message: NAs introduced by coercion", NA)
  )
  expect_identical(basename(checked$log), c("adsl.Rout", "t_ae.log", "t_dm.log"))
  expect_identical(nrow(abba_log_check(file.path(folder, c("t_dm.log", "notes.txt")))), 2L)
})

test_that("what R prints behind a program's own words is found, and a table is no error", {
  log_of_r <- function(...) {
    arguments <- c("-s", "--vanilla", rbind("-e", c(...)))
    processx::run(file.path(R.home("bin"), "R"), arguments, error_on_status = FALSE, stderr_to_stdout = TRUE)$stdout
  }
  folder <- local_logs(
    behind.log = log_of_r("cat('Fitting ...'); try(log('a'))"),
    bar.log = log_of_r("bar <- txtProgressBar(0, 2, style = 3); setTxtProgressBar(bar, 1); try(log('a')); close(bar)"),
    printed.log = log_of_r("tryCatch(log('a'), error = print)"),
    strata.log = log_of_r("summary(aov(yield ~ N + Error(block), npk))"),
    warned.log = log_of_r("(function() {", "  warning('careful')", "  cat('done')", "})()")
  )
  checked <- abba_log_check(folder)
  expected <- c(bar = "errors", behind = "errors", printed = "errors", strata = "clean", warned = "warnings")
  expect_identical(stats::setNames(checked$verdict, checked$program)[names(expected)], expected)
})

test_that("a program that has failed is never clean, whatever its log shows: the record beside it tells", {
  folder <- local_logs(killed.log = "half of it", quit.log = c("Warning message:", "careful"), alone.log = "x")
  for (name in c("killed", "quit")) {
    record <- list(
      "_type" = "https://in-toto.io/Statement/v1", predicateType = "https://slsa.dev/provenance/v1",
      subject = list(list(name = paste0(name, ".log"), annotations = list(abba_role = "log"))),
      predicate = list(
        buildDefinition = list(buildType = "x", externalParameters = rlang::set_names(list())),
        runDetails = list(builder = list(id = "x"), metadata = list(
          invocationId = name,
          abba_run = list(status = "Failed", verdict = if (name == "killed") "killed" else "errors")
        ))
      )
    )
    writeLines(to_json(record), file.path(folder, paste0(name, ".json")))
  }
  checked <- abba_log_check(folder)
  expect_identical(checked$program, c("alone", "killed", "quit"))
  expect_identical(checked$verdict, c("clean", "killed", "errors"))
  expect_identical(checked$verdict_line, rep(NA_character_, 3L))
})

test_that("a log of which a part is missing is not clean: the record beside it tells", {
  folder <- local_logs(part.log = "all is well", wrong.log = c("x", "Error in f() : no data"))
  for (name in c("part", "wrong")) {
    record <- list(
      "_type" = "https://in-toto.io/Statement/v1", predicateType = "https://slsa.dev/provenance/v1",
      subject = list(list(
        name = paste0(name, ".log"),
        annotations = list(abba_role = "log", abba_notes = I("The beginning of the log is missing."))
      )),
      predicate = list(
        buildDefinition = list(buildType = "x", externalParameters = rlang::set_names(list())),
        runDetails = list(builder = list(id = "x"), metadata = list(
          invocationId = name, abba_run = list(status = "Succeeded")
        ))
      )
    )
    writeLines(to_json(record), file.path(folder, paste0(name, ".json")))
  }
  page <- file.path(folder, "logs.html")
  checked <- abba_log_check(folder, html = page)
  expect_identical(checked$verdict, c(NA, "errors"))
  expect_identical(checked$verdict_line, c("The beginning of the log is missing.", "Error in f() : no data"))
  expect_match(paste(readLines(page), collapse = "\n"), "class=\"none\">none</td>.*The beginning", perl = TRUE)
})

test_that("the patterns of a company count", {
  folder <- local_logs(a.log = "NOTE: variable x is uninitialized")
  expect_identical(abba_log_check(folder)$verdict, "clean")
  withr::local_options(abba.log.patterns = list(warnings = "^NOTE: .*uninitialized"))
  expect_identical(abba_log_check(folder)$verdict, "warnings")
})

test_that("jobs that were listed with their verdicts are checked as well", {
  jobs <- data.frame(
    program = c("a.R", "b.R", "c.R"), status = c("Failed", "Succeeded", "Running"), verdict = c("killed", "clean", NA),
    verdict_line = NA_character_
  )
  checked <- abba_log_check(jobs)
  expect_identical(checked$verdict, jobs$verdict)
  expect_identical(checked$log, rep(NA_character_, 3L))
  jobs$verdict <- NA_character_
  expect_error(abba_log_check(jobs), "`verdict = TRUE`", class = "abba_error_input")
  expect_error(abba_log_check(data.frame(x = 1)), class = "abba_error_input")
})

test_that("the page has errors first, counts, links, and no text of a log as markup", {
  folder <- local_logs(
    "a # b.log" = "Error in f() : <script>alert(\"&\")</script>", z.log = "fine"
  )
  page <- file.path(folder, "logs.html")
  expect_invisible(abba_log_check(folder, html = page))
  lines <- readLines(page, encoding = "UTF-8")
  rows <- grep("^<tr><td>", lines, value = TRUE)
  expect_identical(rows, c(
    paste0(
      "<tr><td><a href=\"a%20%23%20b.log\">a # b</a></td><td class=\"errors\">errors</td>",
      "<td><code>Error in f() : &lt;script>alert(&quot;&amp;&quot;)&lt;/script></code></td></tr>"
    ),
    "<tr><td><a href=\"z.log\">z</a></td><td class=\"clean\">clean</td><td><code></code></td></tr>"
  ))
  expect_match(lines, "2 logs (1 errors, 1 clean)", fixed = TRUE, all = FALSE)
  elsewhere <- file.path(withr::local_tempdir(), "logs.html")
  abba_log_check(folder, html = elsewhere)
  expect_match(readLines(elsewhere), "<a href=\"file:///[^\"]*/z.log\">", all = FALSE)
})

test_that("names of other languages stand in the page in whatever locale", {
  folder <- local_logs(a.log = "Error: \u00e4")
  withr::local_locale(LC_CTYPE = "C")
  page <- file.path(folder, "logs.html")
  abba_log_check(folder, html = page)
  expect_match(readLines(page, encoding = "UTF-8"), "Error: \u00e4", fixed = TRUE, all = FALSE)
})

test_that("what cannot be checked is refused", {
  folder <- local_logs(notes.txt = "x")
  withr::local_dir(folder)
  expect_snapshot(error = TRUE, {
    abba_log_check(".")
    abba_log_check("none.log")
    abba_log_check(character())
    abba_log_check(1)
  })
  expect_error(abba_log_check("notes.txt", html = "no/such/folder.html"), "`html`", class = "abba_error_input")
})
