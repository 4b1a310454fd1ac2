# Calls to an abba API: the request layer.

# --- Address and key -----------------------------------------------------------

test_that("without an address nothing is sent, and it is said how to set it", {
  withr::local_options(abba.api.address = NULL)
  expect_s3_class(raised(job_status()), "abba_error_input")
  expect_api_words(job_status(), error = TRUE)
  withr::local_envvar(ABBA_API_ADDRESS = "")
  expect_s3_class(raised(job_status()), "abba_error_input")
})

test_that("address and key come from the environment, and the options go before it", {
  api <- local_scripted_api(replies(status_json()), key = NULL)
  withr::local_options(abba.api.address = NULL)
  withr::local_envvar(ABBA_API_ADDRESS = paste0(api$address, "/"), ABBA_API_KEY = "from-environment")
  job_status()
  withr::local_options(abba.api.address = paste0(api$address, "/behind/a/path/"), abba.api.key = "from-option")
  job_status()
  requests <- api$requests()
  expect_identical(requests[[1L]]$path, "/job-status")
  expect_identical(requests[[1L]]$headers$authorization, "Key from-environment")
  expect_identical(requests[[2L]]$path, "/behind/a/path/job-status")
  expect_identical(requests[[2L]]$headers$authorization, "Key from-option")
})

test_that("without a key none is sent", {
  api <- local_scripted_api(replies(status_json()), key = NULL)
  job_status()
  expect_null(api$requests()[[1L]]$headers$authorization)
})

test_that("an address that cannot be right is refused", {
  wrong <- list(
    "connect.example.com", "ftp://a.example.com", "https://", "https://a b", "https://mike:secret@a.example.com",
    "https://a.example.com/?x=1", "https://a.example.com/#x", "https://a.example.com\\@b", "https://a\nb", 1, NA,
    c("https://a", "https://b"), "http://[::1", "https://a.example.com:port"
  )
  for (address in wrong) {
    withr::with_options(
      list(abba.api.address = address),
      expect_s3_class(raised(job_status()), "abba_error_input")
    )
  }
  withr::local_options(abba.api.address = "connect.example.com/abba")
  expect_api_words(job_status(), error = TRUE)
})

test_that("a key does not travel unencrypted to another machine", {
  withr::local_options(abba.api.key = "k3y-of-mike")
  for (address in c(
    "http://abba.example.com", "http://192.0.2.1/abba", "http://127.0.0.1.example.com", "http://localhost.example.com",
    "http://0x7f000001", "http://2130706433", "http://127.1"
  )) {
    withr::local_options(abba.api.address = address)
    error <- raised(job_status())
    expect_s3_class(error, "abba_error_input")
    expect_match(conditionMessage(error), "Your key is not sent", fixed = TRUE)
  }
  expect_api_words(job_status(), error = TRUE)
})

test_that("a key that could carry another header is refused and not shown", {
  api <- local_scripted_api(replies(status_json()))
  for (key in list("s3cret\r\nX-Other: 1", "s3cret\n", "two s3crets", "s3cr\u00e9t", c("s3cret", "s3cret"), NA, 1)) {
    withr::local_options(abba.api.key = key)
    error <- raised(job_status())
    expect_s3_class(error, "abba_error_input")
    expect_no_match(conditionMessage(error), "s3cr", fixed = TRUE)
  }
  expect_length(api$requests(), 0L)
  expect_api_words(job_status(), error = TRUE)
})

test_that("a proxy of the environment does not get what is for this machine", {
  api <- local_scripted_api(replies(status_json()))
  withr::local_envvar(http_proxy = closed_address(), HTTP_PROXY = closed_address(), all_proxy = closed_address())
  expect_named(job_status(), "Succeeded")
})

test_that("the key is in no message, condition or traceback", {
  echo <- "Authorization: Key k3y-of-mike was not known"
  local_program()
  answers <- list(
    refuses("unauthorized", 401L, message = echo, advice = echo),
    replies_html(echo, 401L), replies_html(echo, 200L), replies_html(echo, 404L),
    replies("{}", status = 302L, headers = c(Location = "/login?key=k3y-of-mike")),
    cuts(), cuts(answer = replies(status_json()), after = 60L), replies(list(a = 1))
  )
  local_short(0.5)
  for (answer in answers) {
    local_scripted_api(answer)
    for (code in expression(job_status(), submit_it(), abba_check_api(), abba_submit_batch("test_program.R"))) {
      error <- tryCatch(rlang::try_fetch(eval(code), error = function(cnd) rlang::cnd_signal(cnd)), error = identity)
      expect_s3_class(error, "abba_error")
      shown <- c(
        conditionMessage(error), format(error), utils::capture.output(print(error)),
        utils::capture.output(utils::str(unclass(error))),
        rawToChar(serialize(error[setdiff(names(error), c("trace", "call", "parent"))], NULL, ascii = TRUE)),
        utils::capture.output(print(error$trace)), as.character(sapply(error$trace$call, deparse))
      )
      expect_no_match(paste(shown, collapse = "\n"), "k3y-of-mike", fixed = TRUE)
    }
  }
})

test_that("a redirection is not followed: a key could go elsewhere with it, and a POST would become a GET", {
  local_program()
  other <- local_scripted_api(makes_jobs("*"))
  local_scripted_api(replies("{}", status = 302L, headers = c(Location = paste0(other$address, "/submit-job"))))
  expect_s3_class(raised(submit_it()), "abba_error_not_configured")
  expect_length(other$requests(), 0L)
})

# --- Asking again --------------------------------------------------------------------

test_that("what may heal is asked for again", {
  cases <- list(
    replies_html("Bad Gateway", 502L), replies_html("Busy", 503L), replies_html("Late", 504L),
    refuses("unavailable", 502L), refuses("timeout", 504L), refuses("unavailable", 429L),
    cuts(), cuts(answer = replies(status_json()), after = 150L)
  )
  for (case in cases) {
    api <- local_scripted_api(case, case, replies(status_json()))
    expect_named(job_status(), "Succeeded")
    expect_length(api$requests(), 3L)
  }
})

test_that("what cannot heal is asked for once", {
  cases <- list(
    refuses("input", 400L), refuses("unauthorized", 401L), refuses("not_found", 404L), refuses("unauthorized", 502L),
    refuses("internal", 500L), replies_html("Not Found", 404L), replies_html("Sign in", 200L)
  )
  for (case in cases) {
    api <- local_scripted_api(case, replies(status_json()))
    expect_s3_class(raised(job_status()), "abba_error")
    expect_length(api$requests(), 1L)
  }
})

test_that("after 429 the API is asked again when it says", {
  api <- local_scripted_api(
    refuses("unavailable", 429L, headers = c("Retry-After" = "1")), replies(status_json())
  )
  times <- proc.time()[["elapsed"]]
  expect_named(job_status(), "Succeeded")
  # Not a measure of speed: it must not have asked before.
  expect_gte(proc.time()[["elapsed"]] - times, 1)
  expect_length(api$requests(), 2L)
})

test_that("after 429 with a longer pause than the time limit the error says how long", {
  api <- local_scripted_api(refuses(
    "unavailable", 429L,
    message = "You have asked too often.", headers = c("Retry-After" = "1000")
  ))
  expect_api_words(job_status(), error = TRUE)
  expect_length(api$requests(), 1L)
})

test_that("an attempt that the time limit ends does not hide the answer before it", {
  # The first attempt is answered, the second one never.
  of_test <- rlang::current_env()
  api <- NULL
  at_second_attempt <- function(first, call) {
    ask <- function(seconds) {
      api <<- local_scripted_api(first, never_replies(), env = of_test)
      local_short(seconds)
      raised(call())
    }
    longer_until(ask, function() length(api$requests()) > 1L, 3)
  }
  error <- at_second_attempt(replies_html("Busy", 503L), job_status)
  expect_s3_class(error, "abba_error_unavailable")
  expect_identical(error$http_status, 503L)
  local_program()
  # It may have arrived all the same.
  error <- at_second_attempt(replies_html("Too Many Requests", 429L), submit_it)
  expect_match(conditionMessage(error), "Whether the job was created is not known.", fixed = TRUE)
})

test_that("an API that nobody runs is told within the time limit", {
  withr::local_options(abba.api.address = closed_address(), abba.api.key = NULL)
  local_program()
  local_short(0.5)
  expect_s3_class(raised(job_status()), "abba_error_unavailable")
  expect_api_words({
    tell(job_status())
    tell(submit_it())
  })
})

test_that("an API that does not answer is told within the time limit", {
  api <- local_scripted_api(never_replies())
  local_program()
  late <- function(call) {
    error <- when_asked(api, call)
    expect_s3_class(error, "abba_error_timeout")
    cat(sub("within [0-9]+ seconds", "within <n> seconds", conditionMessage(error)), "\n\n", sep = "")
  }
  expect_api_words({
    late(job_status)
    late(submit_it)
  })
})

test_that("an answer that is cut is not taken for a whole one", {
  # Without a length the end of the connection is the end of the answer, so the JSON has to be whole.
  local_short(1)
  whole <- replies(status_json())$bytes
  without_length <- charToRaw(gsub("Content-Length: [0-9]+\r\n", "", rawToChar(whole)))
  for (bytes in list(utils::head(whole, -10L), utils::head(without_length, -1L), utils::head(without_length, 90L))) {
    local_scripted_api(list(bytes = bytes, then = "close", on = "*"))
    expect_s3_class(raised(job_status()), "abba_error")
  }
})

test_that("a submission is repeated under the same id until it is known", {
  local_program()
  api <- local_scripted_api(
    cuts(), replies_html("Bad Gateway", 502L), loses_answer("*"), makes_jobs("*")
  )
  job <- suppressMessages(submit_it())
  again <- suppressMessages(submit_it())
  texts <- vapply(api$requests(), `[[`, "", "text")
  expect_identical(texts[1:4], rep(texts[[1L]], 4L))
  expect_identical(api$requests()[[1L]]$body$job_id, job$job_id)
  # Another call is another submission.
  expect_identical(api$made(), c(job$job_id, again$job_id))
  expect_length(unique(api$made()), 2L)
})

test_that("a submission whose fate is not known says so, whatever the last answer was", {
  local_program()
  of_test <- rlang::current_env()
  says_unknown <- function(...) {
    error <- when_asked(function() local_scripted_api(..., env = of_test), submit_it)
    expect_match(conditionMessage(error), "Whether the job was created is not known.", fixed = TRUE)
    expect_match(error$job_id, paste0("^test-program-", uuid, "$"))
    expect_match(conditionMessage(error), paste0("abba_get_job_status(\"", error$job_id, "\")"), fixed = TRUE)
  }
  says_unknown(cuts())
  says_unknown(never_replies())
  says_unknown(replies_html("Bad Gateway", 502L))
  says_unknown(replies_html("Sign in", 200L))
  # The first may have come through; that the later ones did not, says nothing of it.
  says_unknown(cuts(), refuses("unavailable", 502L, consequence = "No job was created."))
  says_unknown(cuts(), refuses("unauthorized", 401L))
  says_unknown(cuts(), replies_html("Too Many Requests", 429L))
  says_unknown(cuts(), replies_html("Not Found", 404L))

  # The answers end these.
  says_otherwise <- function(...) {
    local_scripted_api(...)
    expect_no_match(conditionMessage(raised(submit_it())), "not known", fixed = TRUE)
  }
  says_otherwise(refuses("unavailable", 502L, consequence = "No job was created.", headers = much_later))
  says_otherwise(refuses("input", 400L))
  # A refusal of the request is one of its repetitions too.
  says_otherwise(cuts(), refuses("input", 400L))
})

test_that("R's random numbers are left alone", {
  local_program()
  local_short(0.5)
  local_scripted_api(cuts())
  set.seed(1)
  before <- .Random.seed
  raised(submit_it())
  raised(job_status())
  expect_identical(.Random.seed, before)
})

test_that("time limits that make no sense are refused", {
  api <- local_scripted_api(replies(status_json()))
  for (limit in list(0, -1, Inf, NA, "60", c(1, 2))) {
    withr::local_options(abba.api.request.timeout = limit)
    expect_s3_class(raised(job_status()), "abba_error_input")
  }
  expect_length(api$requests(), 0L)
})
