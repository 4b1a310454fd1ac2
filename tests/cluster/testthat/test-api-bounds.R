# One caller takes all that a server gives, at once, and the others are answered as ever.
local_namespace()
# The bound on open jobs would hide the others.
server <- local_api_server(abba.api.open.jobs = 10000)

test_that("a caller who asks for all of it at once is held back alone, and the server stays as small as it is", {
  id <- submit_to(server, user = "games", text = "for (i in 1:20000) cat('line', i, strrep('x', 80), '\\n')")
  expect_identical(wait_for_end_at(server, id, "games"), "Succeeded")
  mine <- submit_to(server, text = "cat('mine\\n')")
  expect_identical(wait_for_end_at(server, mine), "Succeeded")
  before <- memory_of(server)

  large <- local_large_requests()
  for (one in large) {
    answer <- request(server, one$target, user = "games", body = paste0("@", one$file))
    expect_true(answer$status %in% c(400L, 403L), info = answer$text)
  }
  flood <- local_flood(
    server, "games",
    rep(list(list(target = paste0("job-log?job_id=", id))), 50),
    rep(large, 2),
    rep(list(list(target = "jobs"), list(target = paste0("job-status?job_id=", id))), 5)
  )
  wait_until(function() any(flood$answers()$status == 429L), what = "the bound")

  peak <- before
  for (round in 1:2) {
    job <- submit_to(server, text = "Sys.sleep(600)")
    expect_true(state_at(server, job) %in% c("Pending", "Running"))
    expect_identical(log_at(server, mine), "mine")
    cancelled <- request(server, "cancel-job", user = "daemon", body = list(job_id = job))
    expect_identical(cancelled$status, 200L, info = cancelled$text)
    expect_identical(request(server, "jobs", user = "daemon")$status, 200L)
    peak <- max(peak, memory_of(server))
  }
  wait_until(function() {
    peak <<- max(peak, memory_of(server))
    all(c(200L, 400L, 429L) %in% flood$answers()$status)
  }, 300, what = "answers of each kind")
  flood$stop()
  answers <- flood$answers()
  # Where the server refuses a large body before it has come, it may close before curl has read the answer.
  answers <- answers[answers$status != 0L, ]
  expect_identical(setdiff(answers$status, c(200L, 400L, 403L, 429L, 503L)), integer())
  expect_match(answers$retry_after[answers$status %in% c(429L, 503L)], "^[0-9]+$")
  expect_identical(unlist(lapply(request(server, "jobs", user = "games")$body, `[[`, "job_id")), id)
  # A single one of those bodies took more than 400 MiB, and twenty of them were on their way at a time.
  expect_lt(peak - before, 1000)
  # Whoever has asked for too much is served again.
  expect_length(log_at(server, id, "games"), 20000L)
})

test_that("strangers are bounded together, and those who are known are not concerned", {
  strict <- local_api_server(abba.api.strangers.per.minute = 20)
  answers <- lapply(1:100, function(k) request(strict, "jobs", user = "daemon", key = "x"))
  statuses <- vapply(answers, `[[`, 1L, "status")
  expect_setequal(statuses, c(401L, 429L))
  for (refused in answers[statuses == 429L]) expect_match(header_of(refused, "Retry-After"), "^[0-9]+$")
  expect_identical(request(strict, "whoami", user = "daemon")$body$user, "daemon")
  expect_identical(request(strict, "health")$body, list(alive = TRUE, cluster = TRUE))
})
