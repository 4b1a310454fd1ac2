# Runs the chunks of a vignette's source whose names begin with "session", printing code and output as a console does.
# Usage: Rscript tools/run-session.R SOURCE CONTAINER
arguments <- commandArgs(trailingOnly = TRUE)
options(abba.default.container = arguments[[2]])

lines <- readLines(arguments[[1]], encoding = "UTF-8")
begins <- grep("^```\\{r session", lines)
ends <- grep("^```$", lines)
for (begin in begins) {
  end <- min(ends[ends > begin])
  code <- lines[seq(begin + 1, end - 1)]
  connection <- textConnection(code)
  source(connection, local = globalenv(), echo = TRUE, spaced = FALSE, max.deparse.length = Inf)
  close(connection)
}
