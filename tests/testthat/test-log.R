# A kubectl for logs: `pods` are what a LIST answers, `log` is what it says for
# the log of any pod.
local_log <- function(log, pods = list(pod(test_job)), ..., env = parent.frame()) {
  answer <- if (is.list(log)) log else says(log)
  answer$on <- "*/log*"
  local_scripted_kubectl(answer, ..., says(list_of(), on = "*/events*"), do.call(pods_of, pods), env = env)
}
marker <- function(job_id = test_job) charToRaw(paste0("abba-log-of ", job_id, "\n"))
bytes <- function(...) {
  unlist(lapply(list(...), function(part) if (is.raw(part)) part else charToRaw(enc2utf8(part))))
}
lines_of <- function(...) {
  local_log(bytes(marker(), ...))
  found <- log_of()
  expect_named(found[[1]], c("job_id", "log"))
  found[[1]]$log
}
replacement <- "\ufffd"

test_on_both_roads("a log has the shape of the contract", {
  local_log(bytes(marker(), "[1] 4\nWarning message:\nThis is a test warning \nLa-di-da\n"))
  expect_identical(log_of(), list(list(
    job_id = "test-program-fbc3131d-a850-4081-8224-c06ef32821da",
    log = c("[1] 4", "Warning message:", "This is a test warning ", "La-di-da")
  )))
})

test_that("a log prints as in the vignette", {
  local_log(
    bytes(marker("test-program-1"), "[1] 4\nWarning message:\nThis is a test warning \nLa-di-da\n"),
    list(pod("test-program-1"))
  )
  expect_words(abba_get_k8s_job_log_local("test-program-1", namespace = "n"))
})

test_that("the whole log of the program's container is asked for", {
  kubectl <- local_log(marker())
  log_of()
  expect_identical(kubectl$calls()[[3]], c(
    "get", "--raw",
    paste0("/api/v1/namespaces/n/pods/", test_job, "-2dbr8/log?container=program&timestamps=true")
  ))
  # The pods, the Jobs, the log, and its newest line.
  expect_identical(kubectl$count(), 4L)
})

test_on_both_roads("logs come in the order of the ids, also where an id is given twice", {
  ids <- c("c-3", "a-1", "b-2", "a-1")
  answers <- lapply(c("a-1", "b-2", "c-3"), function(id) {
    says(bytes(marker(id), "log of ", id, "\n"), on = paste0("*/pods/", id, "-2dbr8/log*"))
  })
  lists <- pods_of(pod("a-1"), pod("b-2", running()), pod("c-3", ended(1L), "Failed"))
  do.call(local_scripted_kubectl, c(answers, list(lists)))
  expect_identical(log_of(ids), lapply(ids, function(id) {
    list(job_id = id, log = paste("log of", id))
  }))
})

test_on_both_roads("of several pods the log is that of the newest", {
  kubectl <- local_log(bytes(marker("a-1"), "new\n"), list(
    pod("a-1", ended(1L), "Failed", suffix = "old01", created = "2026-01-01T00:00:09Z"),
    pod("a-1", suffix = "new01", created = "2026-01-01T00:00:10Z")
  ))
  expect_warning(found <- log_of("a-1"), "was started more than once", class = "abba_warning_started_again")
  expect_identical(found[[1]]$log, "new")
  expect_match(kubectl$requests(), "pods/a-1-new01/log", all = FALSE)
})

test_on_both_roads("lines are split at line ends and nowhere else", {
  expect_identical(lines_of("a\nb\n"), c("a", "b"))
  expect_identical(lines_of("a\nb"), c("a", "b"))
  expect_identical(lines_of("\n"), "")
  expect_identical(lines_of("\n\na\n\n"), c("", "", "a", ""))
  expect_identical(lines_of("a\r\nb\r\n"), c("a", "b"))
  expect_identical(lines_of("10%\r20%\r100%\n"), "10%\r20%\r100%")
  expect_identical(lines_of("a\u2028b\u0085c\fd\n"), "a\u2028b\u0085c\fd")
  expect_identical(lines_of("  indented\t\n"), "  indented\t")
})

test_on_both_roads("a program that printed nothing has an empty log, without a warning", {
  local_log(marker())
  expect_silent(found <- log_of())
  expect_identical(found, list(list(job_id = test_job, log = character())))
})

test_on_both_roads("the log of a program that has only just begun is empty, without a warning", {
  local_log(raw(), list(pod(test_job, running())))
  expect_silent(found <- log_of())
  expect_identical(found[[1]]$log, character())
})

test_on_both_roads("bytes that are no UTF-8 become the replacement character", {
  expect_identical(lines_of(as.raw(c(0x63, 0x61, 0x66, 0xe9, 0x0a))), paste0("caf", replacement))
  expect_identical(lines_of(as.raw(c(0x61, 0x00, 0x62, 0x0a))), paste0("a", replacement, "b"))
  expect_identical(lines_of(as.raw(c(0x00, 0x0a))), replacement)
  expect_identical(lines_of(as.raw(c(0xc3, 0x0a, 0xa9, 0x0a))), c(replacement, replacement))
  all_bytes <- lines_of(rep(as.raw(0:255), 20))
  expect_true(all(validUTF8(all_bytes)))
})

test_on_both_roads("text of a log is as the program wrote it", {
  texts <- c(
    "\u001b[31mred\u001b[0m\a", "%s %n %d 100%", "{x} {{x}} {", "\\n \\u00e9 \"q\" 'q'",
    "\u00e9 \u65e5\u672c \U1F600 \ufeff \u202e", "abba-log-of x", "NA"
  )
  expect_identical(lines_of(paste0(texts, "\n", collapse = "")), texts)
})

test_on_both_roads("all text of a log is valid UTF-8 and marked as such", {
  lines <- lines_of("ascii\n\u00e9\n", as.raw(c(0xe9, 0x0a)), "\u65e5\n")
  expect_true(all(validUTF8(lines)))
  expect_identical(Encoding(lines), c("unknown", "UTF-8", "UTF-8", "UTF-8"))
  expect_identical(nchar(lines), c(5L, 1L, 1L, 1L))
})

test_on_both_roads("a line of 1 MiB comes whole", {
  long <- strrep("0123456789abcdef", 65536)
  expect_identical(lines_of(long, "\nend\n"), c(long, "end"))
})

test_that("a log of 50 MB comes whole", {
  text <- sprintf("%049d", 1:10)
  local_log(runs(c(
    paste0("echo abba-log-of ", test_job),
    "block=$(printf '%049d\\n' 1 2 3 4 5 6 7 8 9 10)",
    "yes \"$block\" | head -n 1000000"
  )))
  log <- log_of()[[1]]$log
  expect_length(log, 1000000L)
  expect_identical(unique(log), text)
  expect_identical(log[[1000000L]], text[[10]])
})

test_on_both_roads("only the first line is the marker, and only of this job", {
  expect_identical(lines_of(marker(), "x\n"), c(paste("abba-log-of", test_job), "x"))
  local_log(bytes(marker("another-job"), "x\n"))
  expect_warning(found <- log_of(), class = "abba_warning_log_incomplete")
  expect_identical(found[[1]]$log, c("abba-log-of another-job", "x"))
})

test_on_both_roads("a log whose beginning is lost comes with a warning of its own class", {
  local_log("line 77\nline 78\n")
  warning <- tryCatch(log_of(), warning = identity)
  expect_identical(
    class(warning)[1:2],
    c("abba_warning_log_incomplete", "abba_warning")
  )
  expect_identical(warning$job_id, test_job)
  expect_identical(
    suppressWarnings(log_of(), classes = "abba_warning_log_incomplete"),
    list(list(job_id = test_job, log = c("line 77", "line 78")))
  )
  expect_words(invisible(log_of()))
})

test_on_both_roads("the log of a program that has ended and left nothing is known to be lost", {
  local_log(raw(), list(pod(test_job, ended(1L), "Failed")))
  expect_warning(found <- log_of(), class = "abba_warning_log_incomplete")
  expect_identical(found[[1]]$log, character())
})

test_on_both_roads("each log whose beginning is lost has a warning of its own", {
  local_scripted_kubectl(
    says(bytes(marker("a-1"), "x\n"), on = "*/a-1-2dbr8/log*"),
    says("y\n", on = "*/log*"),
    pods_of(pod("a-1"), pod("b-2"), pod("c-3"))
  )
  ids <- character()
  withCallingHandlers(
    log_of(c("a-1", "b-2", "c-3")),
    abba_warning_log_incomplete = function(cnd) {
      ids <<- c(ids, cnd$job_id)
      invokeRestart("muffleWarning")
    }
  )
  expect_identical(ids, c("b-2", "c-3"))
})

# By kubectl alone: a server would try as long as it may ask the cluster, which here is a minute for each.
test_that("a log that the node has lost is an error, not a log", {
  for (words in c(
    "unable to retrieve container logs for containerd://0123456789abcdef",
    "failed to try resolving symlinks in path \"/var/log/pods/n_p/program/0.log\": lstat: no such file or directory"
  )) {
    local_log(words)
    error <- raised(log_of())
    expect_s3_class(error, c("abba_error_unavailable", "abba_error_kubectl", "abba_error"), exact = FALSE)
    expect_identical(error$job_id, test_job)
    expect_words(log_of(), error = TRUE)
  }
})

test_on_both_roads("a program may print what a node says that has lost a log", {
  text <- "unable to retrieve container logs for containerd://0123456789abcdef"
  expect_identical(lines_of(text, "\n"), text)
})

test_that("a log that a node does not give is an error, not an empty log", {
  local_log(fails(paste0(
    "Error from server: Get \"https://192.0.2.9:10250/containerLogs/n/x/program\": ",
    "dial tcp 192.0.2.9:10250: connect: connection refused\n"
  )))
  expect_words(log_of(), error = TRUE)
})

test_on_both_roads("a job that is deleted between two calls is an error that names it", {
  local_log(fails("Error from server (NotFound): pods \"x\" not found\n"))
  error <- raised(log_of())
  expect_s3_class(error, "abba_error_not_found")
  expect_identical(error$job_id, test_job)
  expect_words(log_of(), error = TRUE)
})

test_on_both_roads("a user who may not read logs is told so", {
  local_log(fails(paste0(
    "Error from server (Forbidden): pods \"x\" is forbidden: User \"mike\" cannot get resource ",
    "\"pods/log\" in API group \"\" in the namespace \"n\"\n"
  )))
  expect_words(log_of(), error = TRUE)
  expect_identical(raised(log_of())$job_id, test_job)
})

# --- Programs that have not started -----------------------------------------

# What the log says of a pod, or of a job without one, with events.
excuse <- function(pods = list(), jobs = list(), events = list()) {
  kubectl <- local_scripted_kubectl(
    fails("Error from server (BadRequest): container \"program\" is waiting to start\n", on = "*/log*"),
    says(do.call(list_of, events), on = "*/events*"),
    do.call(jobs_of, jobs), do.call(pods_of, pods),
    env = parent.frame()
  )
  log <- log_of()[[1]]$log
  expect_true(all(startsWith(log, "abba: ")))
  writeLines(c(log, ""))
}

test_on_both_roads("where a program has not started, the log says why", {
  expect_words_of_both({
    # An image that does not exist, at first and later
    missing <- "Failed to pull image \"registry.example.com/nope:1\": not found"
    excuse(list(pod(test_job, waiting("ErrImagePull", missing), image = "registry.example.com/nope:1")))
    excuse(
      list(pod(test_job, waiting("ImagePullBackOff", "Back-off"), image = "registry.example.com/nope:1")),
      events = list(event("Failed", missing), event("BackOff", "Back-off pulling image", "Normal"))
    )

    # No node has room
    unschedulable <- function(message) {
      pod(test_job, NULL, "Pending", conditions = list(
        condition("PodScheduled", "False", "Unschedulable", message)
      ))
    }
    excuse(list(unschedulable("0/1 nodes are available: 1 Insufficient cpu.")))
    excuse(list(unschedulable("0/1 nodes are available: 1 Insufficient memory.")))
    excuse(list(unschedulable("0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.")))
    excuse(list(unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint.")))

    # A container that cannot be made
    excuse(list(pod(test_job, waiting("CreateContainerConfigError", "secret \"s\" not found"))))
    excuse(list(pod(
      test_job, ended(128L, "StartError"), "Failed"
    )))

    # A mount that hangs
    excuse(list(pod(test_job, waiting())), events = list(
      event("FailedMount", "MountVolume.SetUp failed for volume \"studies\": mount.nfs: Connection timed out")
    ))

    # The time limit, an eviction, and what is unknown
    excuse(list(pod(test_job, NULL, "Failed", reason = "DeadlineExceeded")))
    excuse(list(pod(test_job, NULL, "Failed", reason = "Evicted")))
    excuse(list(pod(test_job, NULL, "Failed", reason = "Something new")))

    # A node that does not answer
    excuse(list(pod(test_job, waiting(), "Unknown")))

    # Nothing wrong so far
    excuse(list(pod(test_job, waiting())))
    excuse(list(pod(test_job, NULL, "Pending")))
    excuse(jobs = list(job(test_job)))
  })
})

test_on_both_roads("a program that was given up before it started is not said to be tried on", {
  local_scripted_kubectl(says(list_of(), on = "*/events*"), pods_of(
    pod(test_job, waiting("ImagePullBackOff", "Back-off"), "Failed", reason = "DeadlineExceeded")
  ))
  log <- log_of()[[1]]$log
  expect_no_match(log, "keeps trying", fixed = TRUE)
  expect_match(log, "DeadlineExceeded", fixed = TRUE, all = FALSE)
})

test_on_both_roads("where a job has no pod, the log says why", {
  expect_words_of_both({
    excuse(jobs = list(job(test_job)), events = list(event(
      "FailedCreate",
      "Error creating: pods \"x-\" is forbidden: error looking up service account n/s: serviceaccount \"s\" not found"
    )))
    excuse(jobs = list(job(test_job)), events = list(event(
      "FailedCreate", "Error creating: pods \"x-\" is forbidden: exceeded quota: small, requested: pods=1"
    )))
    excuse(jobs = list(job(test_job)), events = list(event(
      "FailedCreate", "Error creating: pods \"x-\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"
    )))
    excuse(jobs = list(job(test_job)), events = list(event("FailedCreate", "something\nnew")))
    failed <- condition(
      "Failed",
      reason = "DeadlineExceeded", message = "Job was active longer than specified deadline"
    )
    excuse(jobs = list(job(test_job, conditions = list(failed))))
    excuse(jobs = list(job(test_job, conditions = list(condition("Complete")))))
  })
})

test_on_both_roads("the reason is told without the right to read events", {
  local_scripted_kubectl(
    fails(
      "Error from server (Forbidden): events is forbidden: User \"mike\" cannot list resource \"events\"\n",
      on = "*/events*"
    ),
    pods_of(pod(test_job, waiting("ErrImagePull", "not found"), image = "registry.example.com/nope:1"))
  )
  expect_silent(found <- log_of())
  expect_match(found[[1]]$log, "registry.example.com/nope:1", fixed = TRUE, all = FALSE)
  expect_match(found[[1]]$log, "not found", fixed = TRUE, all = FALSE)
})

# --- A batch ----------------------------------------------------------------

batch_marker <- function(job_id, ...) charToRaw(paste0("abba-log-of ", job_id, "\n", ...))

test_on_both_roads("the logs of a batch have the shape of the contract, in the order of the jobs' creation", {
  kubectl <- local_scripted_kubectl(
    says(batch_marker("a-1", "of a\n"), on = "*/a-1-2dbr8/log*"),
    says(batch_marker("b-2", "of b\nend\n"), on = "*/b-2-2dbr8/log*"),
    pods_of(pod("b-2", created = "2026-01-01T00:00:02Z"), pod("a-1", created = "2026-01-01T00:00:01Z")),
    jobs_of(
      full_job("b-2", created = "2026-01-01T00:00:02Z"), full_job("a-1", created = "2026-01-01T00:00:01Z")
    )
  )
  expect_identical(batch_log(), list(
    list(pod_id = "a-1-2dbr8", log = "of a"),
    list(pod_id = "b-2-2dbr8", log = c("of b", "end"))
  ))
  if (by_kubectl()) expect_identical(kubectl$count(), 6L)
})

test_on_both_roads("many logs are each read once, and each comes to its job", {
  ids <- sprintf("job-%03d", 1:60)
  pods <- lapply(ids, function(id) pod(id, created = paste0("2026-01-01T00:00:00Z")))
  kubectl <- local_scripted_kubectl(
    runs(c(
      "pod=${3#*/pods/}", "id=${pod%%-2dbr8/*}",
      "echo \"abba-log-of $id\"", "echo \"log of $id\""
    ), on = "*/log*"),
    do.call(pods_of, pods), do.call(jobs_of, lapply(ids, full_job))
  )
  expect_identical(batch_log(), lapply(ids, function(id) {
    list(pod_id = paste0(id, "-2dbr8"), log = paste("log of", id))
  }))
  # Each log, and its last line by itself.
  expect_length(grep("/log", kubectl$requests(), fixed = TRUE), 120L)
})

test_on_both_roads("a program that has not started has the reason for its log, under the job's id without a pod", {
  local_scripted_kubectl(
    says(list_of(), on = "*/events*"), pods_of(), jobs_of(full_job("a-1"))
  )
  expect_identical(batch_log(), list(list(
    pod_id = "a-1", log = "abba: The program has not started yet: Kubernetes has just accepted its job."
  )))
})

test_on_both_roads("a log whose beginning is lost comes with a warning that names its job", {
  local_scripted_kubectl(
    says("line 77\n", on = "*/log*"), pods_of(pod("a-1")), jobs_of(full_job("a-1"))
  )
  warning <- tryCatch(batch_log(), warning = identity)
  expect_s3_class(warning, "abba_warning_log_incomplete")
  expect_identical(warning$job_id, "a-1")
  expect_identical(suppressWarnings(batch_log()), list(list(pod_id = "a-1-2dbr8", log = "line 77")))
})

test_that("one log that cannot be read takes no other with it", {
  local_scripted_kubectl(
    says(batch_marker("a-1", "of a\n"), on = "*/a-1-2dbr8/log*"),
    fails("Error from server: Get \"https://192.0.2.9:10250/x\": dial tcp 192.0.2.9:10250: refused\n", on = "*/log*"),
    pods_of(pod("a-1"), pod("b-2"))
  )
  warning <- NULL
  logs <- withCallingHandlers(log_of(c("a-1", "b-2")), warning = function(cnd) {
    warning <<- cnd
    invokeRestart("muffleWarning")
  })
  expect_identical(logs, list(list(job_id = "a-1", log = "of a"), list(job_id = "b-2", log = NA_character_)))
  expect_identical(class(warning)[1:2], c("abba_warning_log_unavailable", "abba_warning"))
  expect_identical(warning$job_id, "b-2")
  # Where none can be read.
  error <- raised(log_of(c("b-2", "b-2")))
  expect_s3_class(error, "abba_error_unavailable")
  expect_identical(error$job_id, c("b-2", "b-2"))
})

test_on_both_roads("a log that ends before its newest line is read on, or said to lack its end", {
  cut <- function(text) says(bytes(marker(), text), on = "*container=program?timestamps=true")
  newest <- says("c\n", on = "*tailLines=1*")
  local_scripted_kubectl(newest, cut("a\nb"), cut("a\nb\nc\n"), pods_of(pod(test_job)))
  expect_silent(found <- log_of())
  expect_identical(found[[1]]$log, c("a", "b", "c"))
  local_scripted_kubectl(newest, cut("a\n"), pods_of(pod(test_job)))
  expect_warning(found <- log_of(), "its end is missing", class = "abba_warning_log_incomplete")
  expect_identical(found[[1]]$log, "a")
})

test_on_both_roads("a batch that does not exist is an error that names it", {
  local_scripted_kubectl(says(list_of()))
  expect_s3_class(raised(batch_log("nope")), "abba_error_not_found")
  if (by_kubectl()) expect_words(abba_get_k8s_batch_log_local("nope", namespace = "n"), error = TRUE)
})

test_that("bad batch ids are refused before kubectl starts", {
  expect_words(refuse(
    batch_log(NULL), batch_log(c("a", "b")), batch_log(NA_character_), batch_log(""), batch_log(TRUE),
    batch_log("a/b"), batch_log("a", namespace = "-")
  ))
})

test_that("Ctrl-C ends the reading of many logs", {
  pods <- lapply(sprintf("job-%03d", 1:60), pod)
  kubectl <- local_scripted_kubectl(
    hangs(on = "*/log*"), says(do.call(list_of, pods), on = "*/pods*"), says(list_of(), on = "*/jobs*")
  )
  interrupt_r(
    "abba_get_k8s_batch_log_local('b-1', namespace = 'n')", kubectl,
    function() length(kubectl$helpers()) > 1L
  )
  # What had not begun was not begun afterwards.
  expect_lt(kubectl$count(), 20L)
})

test_on_both_roads("an error in the log of a job that is Succeeded is a warning", {
  local_log(bytes(marker(), "Warning message:\ncareful\nError in f() : boom\nFehler: zwei\n"))
  warned <- expect_warning(found <- log_of(), class = "abba_warning_log_verdict")
  expect_match(conditionMessage(warned), paste0(test_job, ".*Error in f\\(\\) : boom"))
  expect_identical(warned$job_id, test_job)
  expect_named(found[[1]], c("job_id", "log"))
  expect_length(found[[1]]$log, 4L)
})

test_on_both_roads("warnings of R, a text of the program's own and the log of a failure raise no warning", {
  local_log(bytes(marker(), "Warning message:\ncareful\nError rate: 3%\n"))
  expect_warning(log_of(), NA)
  local_log(bytes(marker(), "Error: boom\nExecution halted\n"), list(pod(test_job, ended(1L), "Failed")))
  expect_warning(log_of(), NA)
})

test_that("the user's patterns decide what is warned of in a log", {
  local_log(bytes(marker(), "ERROR: of a macro\n"))
  expect_warning(log_of(), NA)
  withr::local_options(abba.log.patterns = list(errors = "^ERROR:"))
  expect_warning(log_of(), "ERROR: of a macro", class = "abba_warning_log_verdict")
  local_log(bytes(marker(), "Error: boom\n"))
  expect_warning(log_of(), "Error: boom", class = "abba_warning_log_verdict")
  withr::local_options(abba.log.patterns = list(ignore = "boom$"))
  expect_warning(log_of(), NA)
  withr::local_options(abba.log.patterns = list(default = FALSE))
  expect_warning(log_of(), NA)
  for (none in list(list(), list(errors = NULL), list(errors = character(), default = TRUE))) {
    withr::local_options(abba.log.patterns = none)
    expect_warning(log_of(), class = "abba_warning_log_verdict")
  }
})

test_on_both_roads("lost workers are warned of", {
  for (lost in c(
    "Warning message:\nIn mclapply(1:4, f) :\n  scheduled core 2 did not deliver a result, all values of the job",
    "Warning message:\nIn mclapply(1:4, f) : all scheduled cores encountered errors in user code",
    "Warning message:\nIn mclapply(1:4, f, mc.preschedule = F) :\n  1 parallel function call did not deliver a result",
    "Error in unserialize(node$con) : error reading from connection"
  )) {
    local_log(bytes(marker(), lost, "\n"))
    expect_warning(log_of(), class = "abba_warning_log_verdict")
  }
})

test_that("patterns that cannot be used are refused before kubectl starts", {
  with <- function(patterns) {
    withr::local_options(abba.log.patterns = patterns)
    log_of()
  }
  expect_words(refuse(
    with(list(errors = "(")), with(list(warnings = c("a", "a(?=b)"))), with(list(ignore = "")),
    with(list(errors = strrep("x", 1001))), with(list(errors = rep("x", 101))), with(list(error = "x")),
    with(list(errors = NA_character_)), with(list(errors = 1)), with(list(default = "no")), with(list("x")),
    with(list(errors = "a", errors = "b")), with("x"), with(TRUE)
  ))
})
