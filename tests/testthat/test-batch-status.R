succeeded <- "All containers in the Pod have terminated in success, and will not be restarted."

test_that("the status of a batch has the shape of the status of jobs, in the order of their creation", {
  local_scripted_kubectl(
    says(list_of(
      pod("b-2", running(), path = "b.R", created = "2026-01-01T00:00:02Z"),
      pod("c-3", path = "c.R", created = "2026-01-01T00:00:03Z"),
      pod("a-1", path = "a.R", created = "2026-01-01T00:00:01Z")
    ), on = "*/pods*"),
    says(list_of(), on = "*/jobs*")
  )
  found <- batch_status()
  expect_named(found, c("Succeeded", "Running"))
  expect_identical(found$Succeeded, list(
    Jobs = list(list(id = "a-1-2dbr8", path = "a.R"), list(id = "c-3-2dbr8", path = "c.R")),
    Description = succeeded
  ))
  expect_identical(found$Running$Jobs, list(list(id = "b-2-2dbr8", path = "b.R")))
})

test_that("two calls of kubectl answer for a batch, and name it", {
  kubectl <- local_scripted_kubectl(says(list_of(pod("a-1")), on = "*/pods*"), says(list_of(), on = "*/jobs*"))
  batch_status("Study_1.tables", namespace = "team-1")
  asked <- vapply(kubectl$requests(), utils::URLdecode, "", USE.NAMES = FALSE)
  selector <- "labelSelector=app.kubernetes.io/managed-by=abba,abba/batch-id=Study_1.tables"
  # Both at once, so either may come first. That jobs which have pods are not asked for by name is tested in the core.
  expect_setequal(asked, paste0(
    c("get /api/v1/namespaces/team-1/pods?", "get /apis/batch/v1/namespaces/team-1/jobs?"), selector
  ))
})

test_that("a job of a batch that has no pod yet is pending under its own id", {
  local_scripted_kubectl(
    says(list_of(pod("a-1", path = "a.R", created = "2026-01-01T00:00:02Z")), on = "*/pods*"),
    says(list_of(full_job("b-2", "b.R", created = "2026-01-01T00:00:01Z")), on = "*/jobs*")
  )
  found <- batch_status()
  expect_named(found, c("Pending", "Succeeded"))
  expect_identical(found$Pending$Jobs, list(list(id = "b-2", path = "b.R")))
})

test_that("a batch whose pods were all removed afterwards is still a batch", {
  local_scripted_kubectl(
    says(list_of(), on = "*/pods*"),
    says(list_of(full_job("a-1", "a.R", conditions = list(condition("Complete")))), on = "*/jobs*")
  )
  expect_identical(batch_status(), list(Succeeded = list(
    Jobs = list(list(id = "a-1", path = "a.R")), Description = succeeded
  )))
})

test_that("what an older API server answers is understood", {
  # Servers before Kubernetes 1.34 write `null` for a time of creation that there is not.
  job <- full_job("a-1", "a.R")
  job$spec$template$metadata <- list(creationTimestamp = NULL, labels = list("abba/job-id" = "a-1"))
  text <- list_of(job)
  expect_match(text, "\"creationTimestamp\":null", fixed = TRUE)
  local_scripted_kubectl(says(list_of(), on = "*/pods*"), says(text, on = "*/jobs*"))
  expect_named(batch_status(), "Pending")
})

test_that("a batch that does not exist is an error that names it", {
  local_scripted_kubectl(says(list_of()))
  error <- raised(batch_status("nope"))
  expect_identical(class(error)[1:3], c("abba_error_not_found", "abba_error_kubectl", "abba_error"))
  expect_words(abba_get_k8s_batch_status_local("nope", namespace = "n"), error = TRUE)
})

test_that("bad arguments are refused before kubectl starts", {
  expect_words(refuse(
    batch_status(NULL), batch_status(character()), batch_status(c("a", "b")), batch_status(NA_character_),
    batch_status(""), batch_status(1), batch_status(list("a")), batch_status("a b"), batch_status("-a"),
    batch_status(strrep("x", 64)), batch_status("\u00e9"), batch_status("a", namespace = "A b"),
    batch_status("a", namespace = 1), batch_status("a", namespace = "")
  ))
})

test_that("faults of kubectl are told as those of other reads are", {
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
