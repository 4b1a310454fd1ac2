# How large a program may be that travels with its job.
local_namespace()

# A program of exactly so many bytes that prints its own size and the last thing in it.
program_of <- function(bytes) {
  head <- charToRaw("size <- file.size(sub('^--file=', '', grep('^--file=', commandArgs(), value = TRUE)))\n")
  tail <- charToRaw("\ncat(size, 'end\\n')\n")
  line <- charToRaw(paste0("# ", strrep("x", 97), "\n"))
  filler <- bytes - length(head) - length(tail)
  filler <- rep_len(line, filler)
  filler[length(filler)] <- charToRaw("\n")
  # What is left of a line begins with "#" as well.
  c(head, filler, tail)
}

test_that("a program of 200 KiB runs", {
  path <- local_program(program_of(200 * 1024))
  expect_identical(file.size(path), 200 * 1024)
  id <- submit(path)
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), "204800 end")
})

test_that("a program of 300 KiB is refused before submission, with the way out", {
  path <- local_program(program_of(300 * 1024), "large.R")
  calls <- local_counting_kubectl()
  expect_abba_error(
    abba_submit_k8s_job_local(path), "input",
    "large.R", "300.0 KiB", "240.0 KiB", "`mounts`", "`auto_mount_home = TRUE`"
  )
  expect_identical(calls(), character())
})

test_that("a program of 300 KiB runs from a mount", {
  path <- local_program(program_of(300 * 1024))
  id <- submit(path, mounts = host_path(dirname(path)))
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), "307200 end")
})

test_that("the largest program that abba takes is one that the cluster takes, with what others note on its pod", {
  path <- local_program("")
  is_taken <- function(bytes) {
    writeBin(program_of(bytes), path)
    # The size is looked at before kubectl is looked for.
    withr::local_options(abba.kubectl = "no-such-kubectl")
    error <- tryCatch(abba_submit_k8s_job_local(path), abba_error = identity)
    inherits(error, "abba_error_kubectl_missing")
  }
  taken <- 200 * 1024
  refused <- 300 * 1024
  while (refused - taken > 1) {
    middle <- (taken + refused) %/% 2
    if (is_taken(middle)) taken <- middle else refused <- middle
  }
  expect_gt(taken, 239 * 1024)
  writeBin(program_of(taken), path)
  id <- submit(path)
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), paste(taken, "end"))
  # As network plugins and service meshes do it.
  noted <- paste0("example.com/status=", strrep("x", 8 * 1024))
  expect_match(kubectl_lines("annotate", "pod", pods_of(id), noted), "annotated")
})
