# stdout and stderr, in the order in which the program wrote them.
local_namespace()

test_that("output and messages come in the order in which they were written, in 20 runs of 20", {
  path <- local_program(c(
    "options(warn = 1)",
    "for (i in 1:5) {",
    "  cat('cat', i, '\\n')",
    "  message('message ', i)",
    "  print(i)",
    "  warning('warning ', i, call. = FALSE)",
    "  cat('stderr', i, '\\n', file = stderr())",
    "  system(sprintf('echo shell %d; echo shell error %d >&2', i, i))",
    "  write(i, stdout())",
    "}",
    "options(warn = 0)",
    "warning('at the end')",
    "cat('last\\n')"
  ))
  ids <- replicate(20L, submit(path, cpu_limit = 0.1))
  expect_identical(unique(unname(wait_for_end(ids))), "Succeeded")

  expected <- unlist(lapply(1:5, function(i) {
    c(
      paste("cat", i, ""), paste("message", i), paste("[1]", i), paste0("Warning: warning ", i),
      paste("stderr", i, ""), paste("shell", i), paste("shell error", i), paste(i)
    )
  }))
  expected <- c(expected, "Warning message:", "at the end ", "last")
  logs <- lapply(abba_get_k8s_job_log_local(ids), `[[`, "log")
  expect_length(logs, 20L)
  expect_identical(unique(logs), list(expected))
})
