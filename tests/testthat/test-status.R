running_text <- paste(
  "The Pod has been bound to a node, and all of the containers have been created.",
  "At least one container is still running, or is in the process of starting or",
  "restarting."
)
succeeded_text <- paste(
  "All containers in the Pod have terminated in success, and will not be restarted."
)
failed_text <- paste(
  "All containers in the Pod have terminated, and at least one container has",
  "terminated in failure. That is, the container either exited with non-zero status",
  "or was terminated by the system."
)
pending_text <- paste(
  "The Pod has been accepted by the Kubernetes cluster, but one or more of the",
  "containers has not been set up and made ready to run. This includes time a Pod",
  "spends waiting to be scheduled as well as the time spent downloading container",
  "images over the network."
)
unknown_text <- paste(
  "For some reason the state of the Pod could not be obtained. This phase typically",
  "occurs due to an error in communicating with the node where the Pod should be",
  "running."
)

one_job <- function(status, id, description,
                    path = "/home/mike/repos/abba/test_programs/test_program.R") {
  stats::setNames(
    list(list(Jobs = list(list(id = id, path = path)), Description = description)),
    status
  )
}

test_on_both_roads("the status of a succeeded job has the shape of the contract", {
  local_scripted_kubectl(pods_of(pod(test_job)))
  expect_identical(status(), list(Succeeded = list(
    Jobs = list(list(
      id = "test-program-fbc3131d-a850-4081-8224-c06ef32821da-2dbr8",
      path = "/home/mike/repos/abba/test_programs/test_program.R"
    )),
    Description = "All containers in the Pod have terminated in success, and will not be restarted."
  )))
})

test_that("a status prints as in the vignette", {
  local_scripted_kubectl(pods_of(pod("test-program-1")))
  expect_words(abba_get_k8s_job_status_local("test-program-1", namespace = "n"))
})

test_that("one call of kubectl answers for any number of jobs", {
  ids <- paste0("test-program-", 1:25)
  kubectl <- local_scripted_kubectl(says(do.call(list_of, lapply(rev(ids), pod))))
  jobs <- status(ids)$Succeeded$Jobs
  expect_identical(vapply(jobs, `[[`, "", "id"), paste0(ids, "-2dbr8"))
  expect_identical(kubectl$count(), 1L)
})

test_on_both_roads("a program that was started again is told with the status, the log and the explanation", {
  job <- full_job(test_job)
  job$metadata$generation <- 3L
  job$status <- list(conditions = list(list(type = "Suspended", status = "False", reason = "JobResumed")))
  local_scripted_kubectl(
    says(list_of(), on = "*/events*"),
    says(paste0("abba-log-of ", test_job, "\nx\n"), on = "*/log*"),
    pods_of(full_pod(test_job, ended(0L), "Succeeded")),
    jobs_of(job)
  )
  told <- expect_warning(jobs <- batch_status()$Succeeded$Jobs, class = "abba_warning_started_again")
  expect_length(jobs, 1L)
  expect_identical(told$job_id, test_job)
  expect_warning(log_of(), class = "abba_warning_started_again")
  explanation <- explain()
  expect_match(explanation$reason, "may have been started more than once")
  expect_identical(explanation$attempts, 2L)
})

test_that("the request names abba's own pods of these jobs in this namespace", {
  kubectl <- local_scripted_kubectl(pods_of(pod("a-1"), pod("b-2")))
  status(c("a-1", "b-2"), namespace = "team-1")
  call <- kubectl$calls()[[1]]
  expect_identical(call[1:2], c("get", "--raw"))
  expect_length(call, 3L)
  expect_identical(
    utils::URLdecode(call[[3]]),
    paste0(
      "/api/v1/namespaces/team-1/pods?labelSelector=",
      "app.kubernetes.io/managed-by=abba,abba/job-id in (a-1,b-2)"
    )
  )
})

test_that("a thousand jobs are asked for in parts, and none is lost", {
  ids <- sprintf("%s-%04d", strrep("x", 58), 1:1000)
  kubectl <- local_scripted_kubectl(runs(c(
    "printf '{\"items\": ['",
    "comma=",
    "list=${3##*%28}",
    "for id in $(echo \"${list%\\%29*}\" | sed 's/%2C/ /g'); do",
    "  printf '%s{\"metadata\": {\"name\": \"%s-p\",' \"$comma\" \"$id\"",
    "  printf '\"labels\": {\"abba/job-id\": \"%s\"}},' \"$id\"",
    "  printf '\"status\": {\"phase\": \"Running\"}}'",
    "  comma=,",
    "done",
    "echo ']}'"
  )))
  jobs <- status(ids)$Running$Jobs
  expect_identical(vapply(jobs, `[[`, "", "id"), paste0(ids, "-p"))
  expect_lt(kubectl$count(), 15L)
  expect_true(all(nchar(vapply(kubectl$calls(), `[[`, "", 3L)) < 8000L))
})

test_on_both_roads("jobs are grouped by status, groups and jobs in the order of the ids", {
  local_scripted_kubectl(pods_of(
    pod("d-4", running(), path = "d.R"),
    pod("c-3", ended(3L), "Failed", path = "c.R"),
    pod("b-2", running(), path = "b.R"),
    pod("a-1", ended(1L), "Failed", path = "a.R")
  ))
  expect_identical(status(c("b-2", "c-3", "a-1", "d-4")), list(
    Running = list(
      Jobs = list(list(id = "b-2-2dbr8", path = "b.R"), list(id = "d-4-2dbr8", path = "d.R")),
      Description = running_text
    ),
    Failed = list(
      Jobs = list(list(id = "c-3-2dbr8", path = "c.R"), list(id = "a-1-2dbr8", path = "a.R")),
      Description = failed_text
    )
  ))
})

test_on_both_roads("an id that is given twice is told twice and asked for once", {
  kubectl <- local_scripted_kubectl(pods_of(pod("a-1", path = "a.R")))
  found <- status(c("a-1", "a-1"))
  entry <- list(id = "a-1-2dbr8", path = "a.R")
  expect_identical(found$Succeeded$Jobs, list(entry, entry))
  if (by_kubectl()) expect_match(kubectl$requests(), "%28a-1%29")
})

test_on_both_roads("names of the vector of ids do not matter", {
  local_scripted_kubectl(pods_of(pod("a-1"), pod("b-2")))
  expect_identical(status(c(first = "a-1", second = "b-2")), status(c("a-1", "b-2")))
})

test_on_both_roads("the path comes back as it was given, whatever it holds", {
  for (path in c(
    "C:\\programs\\a.R", "~/a b.R", "/x/\u65e5\u672c\u8a9e \U1F600.R", "%s%n%d {x} \"q\" 'q' `q`",
    "/x/$(touch x);\\n.R", "\ttab\nnewline.R", strrep("x/", 2000), ""
  )) {
    local_scripted_kubectl(pods_of(pod("a-1", path = path)))
    found <- status("a-1")$Succeeded$Jobs[[1]]$path
    expect_identical(found, path)
    expect_true(validUTF8(found))
  }
})

test_on_both_roads("a job without a recorded path has an NA there", {
  local_scripted_kubectl(pods_of(pod("a-1", path = NULL)))
  expect_identical(status("a-1")$Succeeded$Jobs, list(list(id = "a-1-2dbr8", path = NA_character_)))
})

test_on_both_roads("a job that has no pod yet is pending under its own id", {
  kubectl <- local_scripted_kubectl(
    says(list_of(), on = "*/pods*"),
    jobs_of(job(test_job))
  )
  expect_identical(status(), one_job("Pending", test_job, pending_text))
  expect_identical(kubectl$count(), 2L)
})

test_on_both_roads("pods and jobs without pods are told together", {
  kubectl <- local_scripted_kubectl(
    pods_of(pod("b-2", running(), path = "b.R")),
    jobs_of(job("c-3", "c.R"), job("a-1", "a.R"))
  )
  expect_identical(status(c("a-1", "b-2", "c-3")), list(
    Pending = list(
      Jobs = list(list(id = "a-1", path = "a.R"), list(id = "c-3", path = "c.R")),
      Description = pending_text
    ),
    Running = list(Jobs = list(list(id = "b-2-2dbr8", path = "b.R")), Description = running_text)
  ))
  # Jobs are asked for only where a pod is lacking.
  if (by_kubectl()) expect_no_match(kubectl$requests()[[2]], "b-2")
})

test_on_both_roads("a job whose pod was removed afterwards keeps its end", {
  for (end in c("Complete", "Failed")) {
    local_scripted_kubectl(
      says(list_of(), on = "*/pods*"),
      jobs_of(job(test_job, conditions = list(condition(end))))
    )
    expect_named(status(), if (end == "Complete") "Succeeded" else "Failed")
  }
})

test_on_both_roads("of several pods the newest speaks for the job", {
  local_scripted_kubectl(pods_of(
    pod("a-1", ended(1L), "Failed", suffix = "old01", created = "2026-01-01T00:00:09Z"),
    pod("a-1", running(), suffix = "new01", created = "2026-01-01T00:00:10Z"),
    pod("a-1", ended(1L), "Failed", suffix = "old02", created = "2026-01-01T00:00:08Z")
  ))
  expect_warning(found <- status("a-1"), "was started more than once", class = "abba_warning_started_again")
  expect_named(found, "Running")
  expect_identical(found$Running$Jobs[[1]]$id, "a-1-new01")
})

test_on_both_roads("each state of a pod has its status and its description", {
  lost <- list(condition("Ready", "False"), condition("ContainersReady", "True"))
  starting <- list(condition("Ready", "False"), condition("ContainersReady", "False"))
  expected <- list(
    list(pod(test_job, waiting()), "Pending", pending_text),
    list(pod(test_job, NULL, "Pending"), "Pending", pending_text),
    list(pod(test_job, waiting("ImagePullBackOff", "no")), "Pending", pending_text),
    list(pod(test_job, running()), "Running", running_text),
    list(pod(test_job, running(), conditions = starting), "Running", running_text),
    # The container is ahead of the pod.
    list(pod(test_job, ended(0L), "Running"), "Succeeded", succeeded_text),
    list(pod(test_job, ended(2L), "Running"), "Failed", failed_text),
    list(pod(test_job, ended(137L, "OOMKilled"), "Failed"), "Failed", failed_text),
    list(pod(test_job, NULL, "Failed", reason = "Evicted"), "Failed", failed_text),
    list(pod(test_job, running(), "Failed", reason = "DeadlineExceeded"), "Failed", failed_text),
    list(pod(test_job, running(), conditions = lost), "Unknown", unknown_text),
    list(pod(test_job, NULL, "Unknown"), "Unknown", unknown_text),
    list(pod(test_job, running(), reason = "NodeLost"), "Unknown", unknown_text),
    # What has ended has ended, whatever became of the node.
    list(pod(test_job, ended(0L), "Running", conditions = lost), "Succeeded", succeeded_text)
  )
  for (case in expected) {
    local_scripted_kubectl(pods_of(case[[1]]))
    expect_identical(status(), one_job(case[[2]], paste0(test_job, "-2dbr8"), case[[3]]))
  }
})

test_on_both_roads("fields that abba does not know do not disturb it", {
  pod <- pod("a-1", path = "a.R")
  pod$status$newField <- list(list(deep = 1))
  pod$spec$containers <- list(list(name = "program"))
  pod$status$containerStatuses[[1]]$lastState <- stats::setNames(list(), character())
  local_scripted_kubectl(pods_of(pod))
  expect_named(status("a-1"), "Succeeded")
})

test_on_both_roads("a job that does not exist is an error that names it", {
  kubectl <- local_scripted_kubectl(says(list_of()))
  if (by_kubectl()) expect_words(abba_get_k8s_job_status_local("no-such-job", namespace = "n"), error = TRUE)
  error <- raised(status("no-such-job"))
  expect_identical(
    class(error),
    c(
      "abba_error_not_found", "abba_error_kubectl", "abba_error",
      "rlang_error", "error", "condition"
    )
  )
  expect_identical(error$job_id, "no-such-job")
})

test_on_both_roads("where some jobs do not exist, the error holds the ids of all of them", {
  local_scripted_kubectl(
    pods_of(pod("b-2")),
    jobs_of(job("c-3"))
  )
  gone <- paste0("gone-", 1:7)
  error <- raised(status(c(gone, "b-2", "c-3")))
  expect_s3_class(error, "abba_error_not_found")
  expect_identical(error$job_id, gone)
  expect_words(status(c("gone-1", "b-2", "gone-2")), error = TRUE)
  expect_words(status(paste0("gone-", 1:7)), error = TRUE)
})

test_on_both_roads("a pod that belongs to another job is not taken for this one's", {
  local_scripted_kubectl(
    pods_of(pod("other-1")),
    jobs_of(job("other-1"))
  )
  expect_s3_class(raised(status("a-1")), "abba_error_not_found")
})

test_on_both_roads("what kubectl says on stderr beside a good answer is no part of it", {
  local_scripted_kubectl(pods_of(
    pod("a-1", path = "a.R"),
    stderr = "Warning: v1 ComponentStatus is deprecated\nE1124 03:00:00.000000   42 a.go:1] x\n"
  ))
  expect_silent(found <- status("a-1"))
  expect_identical(found$Succeeded$Jobs[[1]]$path, "a.R")
})

# --- A batch ----------------------------------------------------------------

test_on_both_roads("the status of a batch has the shape of the status of jobs, in the order of their creation", {
  local_scripted_kubectl(
    pods_of(
      pod("b-2", running(), path = "b.R", created = "2026-01-01T00:00:02Z"),
      pod("c-3", path = "c.R", created = "2026-01-01T00:00:03Z"),
      pod("a-1", path = "a.R", created = "2026-01-01T00:00:01Z")
    )
  )
  found <- batch_status()
  expect_named(found, c("Succeeded", "Running"))
  expect_identical(found$Succeeded, list(
    Jobs = list(list(id = "a-1-2dbr8", path = "a.R"), list(id = "c-3-2dbr8", path = "c.R")),
    Description = succeeded_text
  ))
  expect_identical(found$Running$Jobs, list(list(id = "b-2-2dbr8", path = "b.R")))
})

test_that("two calls of kubectl answer for a batch, and name it", {
  kubectl <- local_scripted_kubectl(pods_of(pod("a-1")), says(list_of(), on = "*/jobs*"))
  batch_status("Study_1.tables", namespace = "team-1")
  asked <- vapply(kubectl$requests(), utils::URLdecode, "", USE.NAMES = FALSE)
  selector <- "labelSelector=app.kubernetes.io/managed-by=abba,abba/batch-id=Study_1.tables"
  # Both at once, so either may come first. That jobs which have pods are not asked for by name is tested in the core.
  expect_setequal(asked, paste0(
    c("get /api/v1/namespaces/team-1/pods?", "get /apis/batch/v1/namespaces/team-1/jobs?"), selector
  ))
})

test_on_both_roads("a job of a batch that has no pod yet is pending under its own id", {
  local_scripted_kubectl(
    pods_of(pod("a-1", path = "a.R", created = "2026-01-01T00:00:02Z")),
    jobs_of(full_job("b-2", "b.R", created = "2026-01-01T00:00:01Z"))
  )
  found <- batch_status()
  expect_named(found, c("Pending", "Succeeded"))
  expect_identical(found$Pending$Jobs, list(list(id = "b-2", path = "b.R")))
})

test_on_both_roads("a batch whose pods were all removed afterwards is still a batch", {
  local_scripted_kubectl(
    says(list_of(), on = "*/pods*"),
    jobs_of(full_job("a-1", "a.R", conditions = list(condition("Complete"))))
  )
  expect_identical(batch_status(), list(Succeeded = list(
    Jobs = list(list(id = "a-1", path = "a.R")), Description = succeeded_text
  )))
})

test_on_both_roads("what an older API server answers is understood", {
  # Servers before Kubernetes 1.34 write `null` for a time of creation that there is not.
  job <- full_job("a-1", "a.R")
  job$spec$template$metadata <- list(creationTimestamp = NULL, labels = list("abba/job-id" = "a-1"))
  text <- list_of(job)
  expect_match(text, "\"creationTimestamp\":null", fixed = TRUE)
  local_scripted_kubectl(says(list_of(), on = "*/pods*"), says(text, on = "*/jobs*"))
  expect_named(batch_status(), "Pending")
})

test_on_both_roads("a batch that does not exist is an error that names it", {
  local_scripted_kubectl(says(list_of()))
  error <- raised(batch_status("nope"))
  expect_identical(class(error)[1:3], c("abba_error_not_found", "abba_error_kubectl", "abba_error"))
  if (by_kubectl()) expect_words(abba_get_k8s_batch_status_local("nope", namespace = "n"), error = TRUE)
})

test_that("bad batch ids are refused before kubectl starts", {
  expect_words(refuse(
    batch_status(NULL), batch_status(character()), batch_status(c("a", "b")), batch_status(NA_character_),
    batch_status(""), batch_status(1), batch_status(list("a")), batch_status("a b"), batch_status("-a"),
    batch_status(strrep("x", 64)), batch_status("\u00e9"), batch_status("a", namespace = "A b"),
    batch_status("a", namespace = 1), batch_status("a", namespace = "")
  ))
})

test_that("faults of kubectl are told of a batch as of jobs", {
  local_scripted_kubectl(says("<html>"))
  expect_identical(class(raised(batch_status()))[1:2], c("abba_error_kubectl", "abba_error"))
  local_scripted_kubectl(dies())
  expect_words(abba_get_k8s_batch_status_local("b-1", namespace = "n"), error = TRUE)
  withr::local_options(abba.k8s.request.timeout = 0.3)
  kubectl <- local_scripted_kubectl(hangs())
  expect_words(abba_get_k8s_batch_status_local("b-1", namespace = "n"), error = TRUE)
  expect_reaped(kubectl$pids())
  expect_ended(kubectl$helpers())
})
