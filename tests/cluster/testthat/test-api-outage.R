# The API server of Kubernetes goes away and comes back while callers submit and ask through the abba server.
namespace <- local_namespace()
server <- local_api_server(abba.api.cluster.timeout = 5)

# A caller in a process of its own: submits `count` programs, each with a key of its own, and repeats each request until
# it is answered with 200, as the R client does. Its lines: the key, the job's id, the attempts, and the statuses on the
# way.
local_caller <- function(number, count, env) {
  script <- withr::local_tempfile(fileext = ".R", .local_envir = env)
  dump(c("request", "read_answer"), script)
  server <- server[c("address", "keys")]
  cat("server <-", deparse(server), "\n", file = script, append = TRUE)
  writeLines(c(readLines(script), deparse(bquote({
    for (k in seq_len(.(count))) {
      key <- paste0("key-", .(number), "-", k)
      statuses <- integer()
      repeat {
        answer <- request(
          server, "submit-job", "--header", paste0("Idempotency-Key: ", key),
          user = "daemon", body = list(
            file_path = paste0("/p/", key, ".R"), program_text = "1", cpu_limit = 0.01, memory_limit = "128M"
          )
        )
        statuses <- c(statuses, answer$status)
        if (identical(answer$status, 200L)) break
        Sys.sleep(0.3)
      }
      cat(key, answer$body$job_id, length(statuses), paste(unique(statuses), collapse = ","), "\n")
      Sys.sleep(0.1)
    }
  }))), script)
  out <- withr::local_tempfile(.local_envir = env)
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), c("--vanilla", script),
    stdout = out, stderr = "2>&1"
  )
  withr::defer(process$kill(), envir = env)
  list(process = process, lines = function() readLines(out, warn = FALSE))
}

test_that("no job is lost and none is made twice", {
  callers <- lapply(1:4, local_caller, count = 25, env = environment())
  submitted <- function() length(unlist(lapply(callers, function(caller) caller$lines())))
  wait_until(function() submitted() > 10, 60, what = "the first submissions")
  asked <- integer()
  with_component_stopped("apiserver", {
    # Long enough that the callers have met it.
    for (k in 1:20) {
      asked <- c(asked, request(server, "jobs", user = "daemon")$status)
      Sys.sleep(0.3)
    }
    expect_identical(request(server, "whoami", user = "daemon")$status, 200L)
    expect_identical(request(server, "health")$status, 503L)
  })
  expect_true(all(asked %in% c(200L, 502L, 504L)), info = paste(unique(asked), collapse = " "))
  expect_true(any(asked >= 502L))
  all_ended <- function() !any(vapply(callers, function(caller) caller$process$is_alive(), NA))
  wait_until(all_ended, 180, what = "the callers")
  lines <- strsplit(unlist(lapply(callers, function(caller) caller$lines())), " ", fixed = TRUE)
  expect_length(lines, 100L)
  ids <- vapply(lines, `[[`, "", 2L)
  statuses <- unique(unlist(strsplit(vapply(lines, `[[`, "", 4L), ",", fixed = TRUE)))
  # Those that were answered are there, each once, and none besides.
  expect_setequal(jobs_in(), ids)
  expect_identical(anyDuplicated(ids), 0L)
  expect_true(any(statuses %in% c("502", "504")))
  expect_true(all(statuses %in% c("200", "502", "504")), info = paste(statuses, collapse = " "))
  some <- paste0("job-status?job_id=", paste(ids[1:50], collapse = ","))
  expect_identical(request(server, some, user = "daemon")$status, 200L)
  wait_until(function() request(server, "health")$status == 200L, what = "good health")
})
