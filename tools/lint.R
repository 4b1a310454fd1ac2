# Checks the style of the R code against .lintr, that the tests are there that CONTRIBUTING.md names for README's
# promises, and that each help page has its place on the site; prints what breaks that and fails.
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
