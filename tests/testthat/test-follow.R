started <- function(state = running()) pods_of(pod(test_job, state), on = "*/pods?labelSelector*")
whole <- function(...) {
  text <- c(...)
  says(charToRaw(paste0("abba-log-of ", test_job, "\n", paste0(text, "\n", collapse = ""))), on = "*container=program*")
}
# What a stream gives: the marker and the lines, each with its time.
streamed <- function(...) log_lines(paste("abba-log-of", test_job), ...)
streams <- function(text, on = "*follow=true*") says(text, on = on)
# The last read, from the newest line on, after the end.
rest <- function(text) says(text, on = "*sinceTime=*")

# What is printed, and what is returned.
followed <- function(...) {
  # Not capture.output(), which takes a minute for many lines.
  file <- withr::local_tempfile()
  withr::with_output_sink(file, log <- follow(...))
  list(printed = readLines(file, encoding = "UTF-8"), log = log)
}

test_on_both_roads("a followed log is printed, and returned whole in the shape of a log, invisibly", {
  kubectl <- local_scripted_kubectl(
    streams(streamed("[1] 4", "La-di-da")), rest(streamed("[1] 4", "La-di-da")), whole("[1] 4", "La-di-da"),
    started(), started(), started(ended())
  )
  expect_output(expect_invisible(follow()), "^\\[1\\] 4\nLa-di-da$")
  local_scripted_kubectl(
    streams(streamed("[1] 4", "La-di-da")), rest(streamed("[1] 4", "La-di-da")), whole("[1] 4", "La-di-da"),
    started(), started(), started(ended())
  )
  found <- followed()
  expect_identical(found$printed, c("[1] 4", "La-di-da"))
  expect_identical(found$log, list(list(job_id = test_job, log = c("[1] 4", "La-di-da"))))
})

test_on_both_roads("the log of a program that has ended is printed at once", {
  kubectl <- local_scripted_kubectl(
    streams(streamed("a", "b"), on = "*container=program*"), whole("a", "b"), started(ended())
  )
  expect_identical(followed()$printed, c("a", "b"))
  expect_no_match(kubectl$requests(), "follow=true")
})

test_that("lines are printed as they come, not at the end", {
  text <- streamed("first line", "second line")
  kubectl <- local_scripted_kubectl(
    runs(
      c(paste("printf '%s'", shQuote(text)), "echo ready > \"$call.hangs\"", "exec sleep 1000"),
      on = "*follow=true*"
    ),
    started()
  )
  process <- start_r(paste0("abba_follow_k8s_job_log_local('", test_job, "', namespace = 'n')"))
  seen <- ""
  expect_true(wait_until(function() {
    seen <<- paste0(seen, process$read_output())
    identical(seen, "first line\nsecond line\n")
  }), label = "the lines are printed")
  press_ctrl_c(process)
  expect_false(finish(process)$exit_status == 0L)
  expect_ended(kubectl$pids())
})

test_that("a stream that is cut in the middle of a line is opened again: no line is lost, none is printed twice", {
  all <- c("one", "two", "two", "three", "four")
  text <- streamed(all)
  bytes <- charToRaw(text)
  marker_end <- nchar(streamed())
  # Cut at every place of the first three lines.
  for (cut in seq(marker_end + 1L, marker_end + 3L * 25L, by = 7L)) {
    kubectl <- local_scripted_kubectl(
      streams(bytes[seq_len(cut)]), streams(text), rest(text), whole(all),
      started(), started(), started(), started(ended())
    )
    expect_silent(suppressMessages(found <- followed()))
    expect_identical(found$printed, all, info = cut)
  }
})

test_that("a stream is opened again where it broke, not at the beginning", {
  kubectl <- local_scripted_kubectl(
    streams(streamed("a", "b")), streams(log_lines("b", "c", from = 2L)), rest(log_lines("c", from = 3L)),
    whole("a", "b", "c"), started(), started(), started(), started(ended())
  )
  expect_identical(followed()$printed, c("a", "b", "c"))
  opened <- grep("follow=true", kubectl$requests(), value = TRUE)
  expect_match(utils::URLdecode(opened[[2]]), "sinceTime=2026-01-01T00:00:03Z", fixed = TRUE)
})

test_that("a stream that fails is opened again", {
  for (failure in list(
    fails("The connection to the server 192.0.2.1:6443 was refused - did you specify the right host or port?\n",
      on = "*follow=true*"
    ),
    fails("Unable to connect to the server: EOF\n", on = "*follow=true*"),
    fails("Error from server (BadRequest): container \"program\" is waiting to start\n", on = "*follow=true*"),
    fails("Error from server (InternalError): no\n", on = "*follow=true*", stdout = streamed("a")),
    streams("", on = "*follow=true*")
  )) {
    local_scripted_kubectl(
      failure, streams(streamed("a", "b")), rest(streamed("a", "b")), whole("a", "b"),
      started(), started(), started(), started(ended())
    )
    expect_identical(followed()$printed, c("a", "b"))
  }
})

test_that("what the last read brings is printed too, and it is tried again", {
  local_scripted_kubectl(
    streams(streamed("a")),
    fails("Error from server: Get \"https://192.0.2.9:10250/x\": dial tcp 192.0.2.9:10250: refused\n",
      on = "*sinceTime=*"
    ),
    fails("Unable to connect to the server: EOF\n", on = "*sinceTime=*"),
    rest(sub("\n$", "", streamed("a", "b", "without an end"))),
    whole("a", "b", "without an end"), started(), started(), started(ended())
  )
  expect_identical(followed()$printed, c("a", "b", "without an end"))
})

test_that("a node that does not give the rest of a log is an error, after some attempts", {
  kubectl <- local_scripted_kubectl(
    fails("Error from server: Get \"https://192.0.2.9:10250/x\": dial tcp 192.0.2.9:10250: refused\n",
      on = "*timestamps=true*"
    ),
    started(ended())
  )
  error <- raised(follow())
  expect_s3_class(error, "abba_error_unavailable")
  expect_lt(kubectl$count(), 30L)
})

test_that("a kubectl that dies while it streams is started again", {
  local_scripted_kubectl(
    runs(c(paste("printf '%s'", shQuote(streamed("a"))), "kill -9 $$"), on = "*follow=true*"),
    streams(streamed("a", "b")), rest(streamed("a", "b")), whole("a", "b"),
    started(), started(), started(), started(ended())
  )
  expect_identical(followed()$printed, c("a", "b"))
})

test_that("an API server that is away for a while does not end a follow", {
  refused <- fails(
    "The connection to the server 192.0.2.1:6443 was refused - did you specify the right host or port?\n",
    on = "*/pods?labelSelector*"
  )
  local_scripted_kubectl(
    streams(streamed("a")), streams(streamed("a", "b")), rest(streamed("a", "b")), whole("a", "b"),
    started(), started(), refused, refused, refused, refused, refused, refused, started(), started(ended())
  )
  expect_identical(followed()$printed, c("a", "b"))
})

test_on_both_roads("a program that has not started is waited for", {
  local_scripted_kubectl(
    watches(change(pod(test_job, running()))),
    streams(streamed("a")), rest(streamed("a")), whole("a"), started(waiting()), started(), started(ended())
  )
  expect_identical(followed()$printed, "a")
})

test_on_both_roads("where a program never starts, the reason is printed in its place", {
  local_scripted_kubectl(
    says(list_of(), on = "*/events*"),
    pods_of(pod(test_job, ended(128L, "StartError"), "Failed"))
  )
  found <- followed()
  expect_match(found$printed, "^abba: ")
  expect_identical(found$log[[1]]$log, found$printed)
})

test_that("with from = 'now' what was written before is left out, and returned all the same", {
  kubectl <- local_scripted_kubectl(
    streams(log_lines("b", from = 2L), on = "*tailLines=1*"), streams("d\n", on = "*tailLines=1*"),
    streams(log_lines("b", "c", "d", from = 2L)),
    rest(log_lines("d", from = 4L)), whole("a", "b", "c", "d"), started(), started(), started(ended())
  )
  found <- followed(from = "now")
  expect_identical(found$printed, c("c", "d"))
  expect_identical(found$log[[1]]$log, c("a", "b", "c", "d"))
})

test_that("lines that were missed are told at the end by a warning of its own class", {
  local_missing <- function(env = parent.frame()) {
    local_scripted_kubectl(
      streams(streamed("a", "d")), rest(""), whole("a", "b", "c", "d"), started(), started(), started(ended()),
      env = env
    )
  }
  local_missing()
  warning <- NULL
  printed <- utils::capture.output(log <- withCallingHandlers(follow(), warning = function(cnd) {
    warning <<- cnd
    invokeRestart("muffleWarning")
  }))
  expect_identical(printed, c("a", "d"))
  expect_identical(class(warning)[1:2], c("abba_warning_log_incomplete", "abba_warning"))
  expect_identical(warning$job_id, test_job)
  expect_identical(log[[1]]$log, c("a", "b", "c", "d"))
  local_missing()
  expect_words(invisible(follow()))
})

test_on_both_roads("lines are printed as the program wrote them", {
  text <- c("100%s %n", "{x}", "\u00e9 \u65e5", "", "  indented\t", "\u001b[31mred\u001b[0m")
  local_scripted_kubectl(streams(streamed(text)), rest(""), whole(text), started(), started(), started(ended()))
  expect_identical(followed()$printed, text)
})

test_that("100,000 lines come whole and in order", {
  text <- sprintf("line %06d", 1:100000)
  lines <- paste0("2026-01-01T00:00:01.", sprintf("%09d", seq_along(text)), "Z ", text, "\n", collapse = "")
  local_scripted_kubectl(
    streams(paste0("2026-01-01T00:00:01Z abba-log-of ", test_job, "\n", lines)), rest(""), whole(text),
    started(), started(), started(ended())
  )
  expect_identical(followed()$printed, text)
})

test_that("lines that came before an error are printed before it", {
  local_scripted_kubectl(
    runs(c(
      paste("printf '%s'", shQuote(streamed("a", "b"))),
      "echo 'Error from server (Forbidden): pods \"x\" is forbidden' >&2", "exit 1"
    ), on = "*follow=true*"),
    started()
  )
  error <- NULL
  printed <- utils::capture.output(error <- raised(follow()))
  expect_identical(printed, c("a", "b"))
  expect_s3_class(error, "abba_error_forbidden")
  expect_words(abba_follow_k8s_job_log_local(test_job, namespace = "n"), error = TRUE)
})

test_on_both_roads("a job that does not exist is an error that names it", {
  local_scripted_kubectl(says(list_of()))
  error <- raised(follow("no-such-job"))
  expect_s3_class(error, "abba_error_not_found")
  expect_identical(error$job_id, "no-such-job")
})

test_that("a job that is removed while its log is followed is an error that names it", {
  local_scripted_kubectl(
    streams(streamed("a")), started(), started(), says(list_of(), on = "*/pods?labelSelector*"),
    says(list_of(), on = "*/jobs*")
  )
  error <- NULL
  printed <- utils::capture.output(error <- raised(follow()))
  expect_identical(printed, "a")
  expect_s3_class(error, "abba_error_not_found")
})

test_that("bad arguments are refused before kubectl starts", {
  expect_words(refuse(
    follow(NULL), follow(character()), follow(c("a-1", "b-2")), follow(NA_character_), follow(""), follow(1),
    follow("A B"), follow(from = "end"), follow(from = NULL), follow(from = 1), follow(from = NA_character_),
    follow(from = character()), follow(namespace = "A")
  ))
})

test_that("Ctrl-C ends the printing, leaves the job alone, and prints the calls to go on", {
  kubectl <- local_scripted_kubectl(watches(log_lines("a"), on = "*follow=true*"), started())
  waits <- function() any(file.exists(vapply(seq_len(kubectl$count()), kubectl$file, "", "hangs")))
  ended <- interrupt_r(
    paste0("abba_follow_k8s_job_log_local('", test_job, "', namespace = 'n')"), kubectl, waits
  )
  expect_words(cat(ended$stderr))
})
