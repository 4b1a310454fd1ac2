# A submission whose answer is lost: exactly one job.
local_namespace()

# Submits, with a kubectl whose first `create` ends as `ending` says after it has been carried out.
submit_through <- function(ending, batch, again = FALSE) {
  first <- if (again) "true" else "mkdir \"$base/first\" 2>/dev/null"
  base <- local_kubectl(c(
    sprintf("if [ \"$1\" = create ] && %s; then", first),
    "  \"$real\" \"$@\" >\"$base/answer\" 2>&1",
    "  echo once >>\"$base/lost\"",
    paste0("  ", ending),
    "fi",
    "exec \"$real\" \"$@\""
  ), env = parent.frame())
  id <- submit(local_program("cat('ran\\n')"), batch_group_id = batch)
  list(id = id, lost = length(readLines(file.path(base, "lost"))))
}

timeout <- paste0(
  "echo 'Unable to connect to the server: net/http: request canceled ",
  "(Client.Timeout exceeded while awaiting headers)' >&2; exit 1"
)

jobs_of_batch <- function(batch) {
  selector <- paste0("abba/batch-id=", batch)
  sub("^job.batch/", "", kubectl_lines("get", "jobs", "--selector", selector, "--output", "name"))
}

expect_one_job <- function(submitted, batch) {
  expect_identical(jobs_of_batch(batch), submitted$id)
  expect_identical(wait_for_end(submitted$id), "Succeeded")
  expect_identical(log_of(submitted$id), "ran")
  expect_length(pods_of(submitted$id), 1L)
}

test_that("after a timeout there is exactly one job", {
  submitted <- submit_through(timeout, "timeout")
  expect_identical(submitted$lost, 1L)
  expect_one_job(submitted, "timeout")
})

test_that("if every answer is lost there is exactly one job, and it is found", {
  submitted <- submit_through(timeout, "always", again = TRUE)
  expect_gt(submitted$lost, 1L)
  expect_one_job(submitted, "always")
})

test_that("if kubectl hangs after creating there is exactly one job", {
  # Half of it is for each attempt; a kubectl that stands still for a while is none that hangs.
  withr::local_options(abba.k8s.request.timeout = 24)
  submitted <- submit_through("exec sleep 1000", "hang")
  expect_identical(submitted$lost, 1L)
  expect_one_job(submitted, "hang")
})

test_that("if kubectl is killed after creating there is exactly one job", {
  submitted <- submit_through("kill -9 $$", "kill")
  expect_identical(submitted$lost, 1L)
  expect_one_job(submitted, "kill")
})

test_that("if kubectl prints garbage after creating there is exactly one job", {
  submitted <- submit_through("echo '<html>who are you?</html>'; exit 0", "garbage")
  expect_identical(submitted$lost, 1L)
  expect_one_job(submitted, "garbage")
})

test_that("a server that is always silent leaves it open, and the message says how to find out", {
  base <- local_kubectl(c(
    "if [ \"$1\" = create ]; then",
    # It is carried out whether abba still waits for it or not, from a copy: abba removes its file.
    "  cp \"$5\" \"$base/manifest\"",
    "  setsid \"$real\" create --raw \"$3\" \"$4\" \"$base/manifest\" >/dev/null 2>&1 &",
    "  exec sleep 1000",
    "fi",
    "exec \"$real\" \"$@\""
  ))
  withr::local_options(abba.k8s.request.timeout = 4)
  error <- expect_abba_error(
    abba_submit_k8s_job_local(local_program("1"), batch_group_id = "silent"), "timeout",
    "Whether the job was created is not known", "abba_get_k8s_job_status_local(\"", the_namespace()
  )
  # Here it was.
  wait_until(function() identical(jobs_of_batch("silent"), error$job_id), what = "the job")
})
