# Checks the style of the R code against .lintr, that the tests are there that CONTRIBUTING.md names for README's
# promises, that each help page has its place on the site, and that the session of the README is that of the site's
# front page and of the vignette, which was run; prints what breaks that and fails.
promises <- grep("^[|] .*test-[a-z-]+[.]R`", readLines("CONTRIBUTING.md"), value = TRUE)
tests <- unlist(regmatches(promises, gregexpr("(?<=`)[^`]+[.](R|rs|md)(?=`)", promises, perl = TRUE)))
tests <- ifelse(grepl("/", tests, fixed = TRUE), tests, file.path("tests/cluster/testthat", tests))
missing <- tests[!file.exists(tests)]
if (length(promises) == 0L || length(missing) > 0L) {
  stop("CONTRIBUTING.md names tests that are not there: ", toString(missing))
}
pages <- sub("[.]Rd$", "", list.files("man", "[.]Rd$"))
missing <- setdiff(pages, sub("^ *- ", "", readLines("_pkgdown.yml")))
if (length(missing) > 0L) {
  stop("_pkgdown.yml has no place for these help pages: ", toString(missing))
}
# Ids differ from run to run.
without_ids <- function(lines) gsub("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", lines)
session_of <- function(path) {
  lines <- readLines(path)
  start <- match("```r", lines) + 1L
  without_ids(lines[start:(which(lines == "```" & seq_along(lines) > start)[[1L]] - 1L)])
}
session <- session_of("README.md")
if (!identical(session, session_of("pkgdown/index.md"))) stop("pkgdown/index.md has another session than README.md")
ran <- sub("^#> ", "", without_ids(readLines("vignettes/k8s_job_submission.Rmd")))
# The image is the test cluster's, and the vignette prints the whole status.
lines <- sub("^> ", "", grep("^> options[(]", session, value = TRUE, invert = TRUE))
lines <- sub("^\\[1\\] \"(Succeeded)\"$", "$\\1", sub("^names[(](.*)[)]$", "\\1", lines))
missing <- setdiff(lines, ran)
if (length(missing) > 0L) {
  stop("vignettes/k8s_job_submission.Rmd has not these lines of README's session: ", toString(missing))
}
lints <- c(
  lintr::lint_dir("R", exclusions = list("R/extendr-wrappers.R")),
  lintr::lint_dir("tests"),
  lintr::lint_dir("tools"),
  lintr::lint_dir("bench")
)
if (length(lints) > 0) {
  for (lint in lints) print(lint)
  quit(status = 1)
}
