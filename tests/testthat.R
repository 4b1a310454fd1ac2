library(testthat)
library(abba)

# Adds a line for each file to the table of times, where `make test` asks for it.
note_times <- function(results) {
  file <- Sys.getenv("ABBA_TEST_TIMES")
  if (nzchar(file)) {
    results <- as.data.frame(results)
    seconds <- tapply(results$real, results$file, sum)
    bad <- tapply(results$failed > 0L | results$error, results$file, any)
    name <- sub("^test-(.*)[.]R$", "\\1", names(seconds))
    cat(sprintf("%.1f\t%s\tR: %s\n", seconds, ifelse(bad, "FAILED", "ok"), name), sep = "", file = file, append = TRUE)
  }
}

all_results <- ListReporter$new()
tryCatch(
  test_check("abba", reporter = MultiReporter$new(list(CheckReporter$new(), all_results))),
  finally = note_times(all_results$get_results())
)
