log_bytes <- function(job_id, ...) charToRaw(paste0("abba-log-of ", job_id, "\n", ...))

test_that("the logs of a batch have the shape of the contract, in the order of the jobs' creation", {
  kubectl <- local_scripted_kubectl(
    says(log_bytes("a-1", "of a\n"), on = "*/a-1-2dbr8/log*"),
    says(log_bytes("b-2", "of b\nend\n"), on = "*/b-2-2dbr8/log*"),
    says(list_of(
      pod("b-2", created = "2026-01-01T00:00:02Z"), pod("a-1", created = "2026-01-01T00:00:01Z")
    ), on = "*/pods*"),
    says(list_of(), on = "*/jobs*")
  )
  expect_identical(batch_log(), list(
    list(pod_id = "a-1-2dbr8", log = "of a"),
    list(pod_id = "b-2-2dbr8", log = c("of b", "end"))
  ))
  expect_identical(kubectl$count(), 4L)
})

test_that("many logs are each asked for once, and each comes to its job", {
  ids <- sprintf("job-%03d", 1:60)
  pods <- lapply(ids, function(id) pod(id, created = paste0("2026-01-01T00:00:00Z")))
  kubectl <- local_scripted_kubectl(
    runs(c(
      "pod=${3#*/pods/}", "id=${pod%%-2dbr8/*}",
      "echo \"abba-log-of $id\"", "echo \"log of $id\""
    ), on = "*/log*"),
    says(do.call(list_of, pods), on = "*/pods*"),
    says(list_of(), on = "*/jobs*")
  )
  expect_identical(batch_log(), lapply(ids, function(id) {
    list(pod_id = paste0(id, "-2dbr8"), log = paste("log of", id))
  }))
  expect_identical(kubectl$count(), 62L)
})

test_that("a program that has not started has the reason for its log, under the job's id where there is no pod", {
  local_scripted_kubectl(
    says(list_of(), on = "*/events*"),
    says(list_of(), on = "*/pods*"),
    says(list_of(full_job("a-1")), on = "*/jobs*")
  )
  expect_identical(batch_log(), list(list(
    pod_id = "a-1", log = "abba: The program has not started yet: Kubernetes has just accepted its job."
  )))
})

test_that("a log whose beginning is lost comes with a warning that names its job", {
  local_scripted_kubectl(
    says("line 77\n", on = "*/log*"), says(list_of(pod("a-1")), on = "*/pods*"), says(list_of(), on = "*/jobs*")
  )
  warning <- tryCatch(batch_log(), warning = identity)
  expect_s3_class(warning, "abba_warning_log_incomplete")
  expect_identical(warning$job_id, "a-1")
  expect_identical(suppressWarnings(batch_log()), list(list(pod_id = "a-1-2dbr8", log = "line 77")))
})

test_that("one log that cannot be read is an error that names its job", {
  local_scripted_kubectl(
    fails("Error from server: Get \"https://192.0.2.9:10250/containerLogs/n/x\": dial tcp 192.0.2.9:10250: refused\n",
      on = "*/b-2-2dbr8/log*"
    ),
    says(log_bytes("a-1"), on = "*/log*"),
    says(list_of(pod("a-1"), pod("b-2")), on = "*/pods*"),
    says(list_of(), on = "*/jobs*")
  )
  error <- raised(batch_log())
  expect_s3_class(error, "abba_error_unavailable")
  expect_identical(error$job_id, "b-2")
})

test_that("a batch that does not exist is an error that names it", {
  local_scripted_kubectl(says(list_of()))
  expect_s3_class(raised(batch_log("nope")), "abba_error_not_found")
  expect_words(abba_get_k8s_batch_log_local("nope", namespace = "n"), error = TRUE)
})

test_that("bad arguments are refused before kubectl starts", {
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
