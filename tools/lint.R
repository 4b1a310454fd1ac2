# Checks the style of the R code against .lintr; prints what breaks it and fails.
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
