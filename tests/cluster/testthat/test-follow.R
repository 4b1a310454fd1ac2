# Reading a log while it is written.
local_namespace()

# What the function prints, and its value.
follow <- function(...) {
  printed <- capture.output(returned <- withVisible(abba_follow_k8s_job_log_local(...)))
  list(printed = printed, log = returned$value, visible = returned$visible)
}

test_that("lines are printed while the program runs, from the start, and the whole log is given back invisibly", {
  gate <- local_gate()
  id <- submit(counting_program(), mounts = gate$mounts)
  # It begins before there is a pod.
  following <- follow_in_background(id)
  let_count(gate, 2)
  wait_until(has_printed(following, numbered(1:2)), what = "the first lines")
  expect_identical(unname(states(id)), "Running")
  # From now: what was written before is left out, also while the program waits. It has begun once it prints.
  late <- follow_in_background(id, from = "now")
  to <- 2L
  one_more <- function() {
    to <<- to + 1L
    let_count(gate, to)
    length(output_of(late)) > 0L
  }
  wait_until(one_more, what = "the late one to begin")
  gate$open()
  outcome <- outcome_of(following)
  expect_identical(output_of(following), numbered(1:to))
  expect_identical(outcome$value, abba_get_k8s_job_log_local(id))
  expect_identical(outcome$value, list(list(job_id = id, log = numbered(1:to))))
  expect_identical(outcome$warnings, list())
  late_outcome <- outcome_of(late)
  printed <- output_of(late)
  expect_false(printed[[1L]] %in% numbered(1:2))
  expect_identical(printed, numbered(seq(to - length(printed) + 1L, to)))
  expect_identical(late_outcome$value, outcome$value)

  # After its end.
  followed <- follow(id)
  expect_identical(followed, list(printed = numbered(1:to), log = outcome$value, visible = FALSE))
  expect_identical(follow(id, from = "now"), list(printed = character(), log = outcome$value, visible = FALSE))
})

test_that("all kinds of lines are as in the log read whole", {
  path <- local_program(c(
    "out <- function(...) { writeBin(c(...), con <- pipe('cat', 'wb')); close(con) }",
    "raw <- function(text) charToRaw(text)",
    "out(raw('first\\r\\n'))",
    "out(raw('10%\\r20%\\r100%\\n'))",
    "out(as.raw(c(0xe9, 0x74, 0xe9, 0x0a)))",
    "out(raw('\\033[31mred\\033[0m\\n'))",
    "out(raw('\\n\\n'))",
    "out(raw(paste0(strrep('0123456789', 10000), '\\n')))",
    "out(raw('  spaces  \\n'))",
    "out(raw('\\u00e9\\u65e5 2026-01-01T00:00:00Z\\n'))",
    "out(raw('no end'))"
  ))
  id <- submit(path)
  followed <- follow_in_background(id)
  outcome <- outcome_of(followed)
  log <- log_of(id)
  expect_identical(outcome$value[[1L]]$log, log)
  expect_identical(output_of(followed), log)
  expect_identical(outcome$warnings, list())
  expect_identical(log[[1L]], "first")
  expect_identical(log[[2L]], "10%\r20%\r100%")
  expect_identical(log[[3L]], "\ufffdt\ufffd")
  expect_identical(log[[7L]], strrep("0123456789", 10000))
  expect_identical(log[[10L]], "no end")
})

test_that("a program that never starts has its reason printed", {
  id <- submit(local_program("1"), container = cluster_image("no-r:1"))
  never <- submit(local_program("1"), container = cluster_image("pause:1"))
  expect_match(follow(id)$printed, "The image has no .R. on its PATH", all = FALSE)
  followed <- follow(never)
  expect_match(followed$printed[[1L]], "^abba: The program has not run: its container could not be started.")
  expect_identical(followed$printed, followed$log[[1L]]$log)
  large <- submit(local_program("1"), cpu_limit = 64)
  following <- follow_in_background(large)
  wait_until(function() has_pod(large), what = "its pod")
  abba_cancel_k8s_job_local(large)
  log <- outcome_of(following)$value[[1L]]$log
  expect_identical(log, "abba: The program has not run: it was cancelled before it started.")
  expect_abba_error(abba_follow_k8s_job_log_local("no-such-job"), "not_found", "no-such-job")
})

test_that("a stream that breaks loses no line and repeats none", {
  gate <- local_gate()
  id <- submit(counting_program(), mounts = gate$mounts)
  # The first streams are cut after some lines, at any byte.
  base <- local_kubectl(c(
    "case $* in *follow=true*)",
    "  echo x >>\"$base/streams\"",
    "  count=$(wc -l <\"$base/streams\")",
    "  if [ \"$count\" -le 4 ]; then",
    # Not a pipe, which would wait for the real one.
    "    head -c $((count * 997)) < <(\"$real\" \"$@\"); exit 1",
    "  fi;;",
    "esac",
    "exec \"$real\" \"$@\""
  ))
  script <- readLines(file.path(base, "kubectl"))
  writeLines(sub("^#!/bin/sh$", "#!/bin/bash", script), file.path(base, "kubectl"))
  following <- follow_in_background(id)
  let_count(gate, 150)
  wait_until(function() length(output_of(following)) == 150L, what = "the first half")
  # Four streams cannot have had all of these, and a program that had ended would be read without another one.
  let_count(gate, 300)
  wait_until(function() length(output_of(following)) == 300L, what = "the second half")
  gate$open()
  outcome <- outcome_of(following)
  expect_identical(output_of(following), numbered(1:300))
  expect_identical(outcome$value[[1L]]$log, numbered(1:300))
  expect_identical(outcome$warnings, list())
  expect_gt(length(readLines(file.path(base, "streams"))), 4L)
})

test_that("what a node drops of a very long log is told at the end", {
  # Over 10 MiB: the node keeps the newest part.
  gate <- local_gate()
  path <- local_program(c(
    "lines <- sprintf('%05d %s', 1:12000, strrep('x', 990))",
    "writeLines(lines[[1]])",
    gate$wait_first,
    "writeLines(lines[-1])",
    gate$has_written,
    gate$wait,
    "cat('the end\\n')"
  ))
  id <- submit(path, cpu_limit = 0.5, mounts = gate$mounts)
  following <- follow_in_background(id)
  beginning <- sprintf("%05d %s", 1L, strrep("x", 990))
  wait_until(has_printed(following, beginning), what = "the first line")
  wait_for_new_log(id, gate)
  gate$open()
  outcome <- outcome_of(following, 300)
  expect_length(outcome$warnings, 1L)
  expect_s3_class(outcome$warnings[[1L]], "abba_warning_log_incomplete")
  expect_identical(outcome$warnings[[1L]]$job_id, id)
  log <- outcome$value[[1L]]$log
  expect_identical(log[[length(log)]], "the end")
  # What was printed may lack lines, and has none twice.
  printed <- output_of(following)
  expect_identical(printed[[1L]], beginning)
  expect_identical(printed[[length(printed)]], "the end")
  expect_identical(anyDuplicated(printed), 0L)
})
