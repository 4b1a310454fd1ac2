# The API server of Kubernetes goes away and comes back while callers submit and ask through the abba server.
namespace <- local_namespace()
# No node has room for programs of so many cores. Hundreds that start would keep the API server from coming back.
cores <- 1000
server <- local_api_server(abba.api.cluster.timeout = 5, abba.cpu.limit = cores)

# A caller in a process of its own: submits `count` programs, each with a key of its own, and repeats each request until
# it is answered with 200, as the R client does. The second half waits for the file `outage`, so that there is something
# left to submit then, however long the outage takes to come. Gives back `process` and `answers()`: a data frame of all
# answers so far, with their `status` and, of those with 200, the `job_id`.
local_caller <- function(number, count, outage, env) {
  script <- withr::local_tempfile(fileext = ".R", .local_envir = env)
  dump(c("request", "read_answer"), script)
  server <- server[c("address", "keys")]
  cat("server <-", deparse(server), "\n", file = script, append = TRUE)
  writeLines(c(readLines(script), deparse(bquote({
    for (k in seq_len(.(count))) {
      while (k > .(count / 2) && !file.exists(.(outage))) Sys.sleep(0.1)
      key <- paste0("key-", .(number), "-", k)
      repeat {
        answer <- request(
          server, "submit-job", "--header", paste0("Idempotency-Key: ", key),
          user = "daemon", body = list(
            file_path = paste0("/p/", key, ".R"), program_text = "1", cpu_limit = .(cores), memory_limit = "128M"
          )
        )
        cat(answer$status, if (identical(answer$status, 200L)) answer$body$job_id else "-", "\n")
        if (identical(answer$status, 200L)) break
        # As a client pauses before it tries again.
        Sys.sleep(0.3)
      }
    }
  }))), script)
  out <- withr::local_tempfile(.local_envir = env)
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), c("--vanilla", script),
    stdout = out, stderr = "2>&1"
  )
  withr::defer(process$kill(), envir = env)
  answers <- function() {
    lines <- strsplit(readLines(out, warn = FALSE), " ", fixed = TRUE)
    data.frame(status = as.integer(vapply(lines, `[[`, "", 1L)), job_id = vapply(lines, `[[`, "", 2L))
  }
  list(process = process, answers = answers)
}

test_that("no job is lost and none is made twice", {
  outage <- withr::local_tempfile()
  callers <- lapply(1:4, local_caller, count = 50, outage = outage, env = environment())
  answers <- function() do.call(rbind, lapply(callers, function(caller) caller$answers()))
  wait_until(function() sum(answers()$status == 200L) > 10L, 60, what = "the first submissions")
  asked <- integer()
  consequences <- character()
  has_met_it <- function(caller) any(caller$answers()$status %in% c(502L, 504L))
  all_have_met_it <- function() {
    answer <- request(server, "jobs", user = "daemon")
    asked <<- c(asked, answer$status)
    consequences <<- c(consequences, unlist(answer$body[["consequence"]]))
    any(asked %in% c(502L, 504L)) && all(vapply(callers, has_met_it, NA))
  }
  with_component_stopped("apiserver", {
    file.create(outage)
    wait_until(all_have_met_it, 60, what = "all callers to meet the outage")
    expect_identical(request(server, "whoami", user = "daemon")$status, 200L)
    expect_identical(request(server, "health")$status, 503L)
  })
  expect_identical(setdiff(asked, c(200L, 502L, 504L)), integer())
  expect_match(consequences, "What the abba server knows of jobs is [0-9]+ s old", all = FALSE)
  all_ended <- function() !any(vapply(callers, function(caller) caller$process$is_alive(), NA))
  wait_until(all_ended, 180, what = "the callers")
  expect_identical(setdiff(answers()$status, c(200L, 502L, 504L)), integer())
  ids <- answers()$job_id[answers()$status == 200L]
  expect_length(ids, 200L)
  # Those that were answered are there, each once, and none besides.
  expect_setequal(jobs_in(), ids)
  expect_identical(anyDuplicated(ids), 0L)
  some <- paste0("job-status?job_id=", paste(ids[1:50], collapse = ","))
  expect_identical(request(server, some, user = "daemon")$status, 200L)
  wait_until(function() request(server, "health")$status == 200L, what = "good health")
})
