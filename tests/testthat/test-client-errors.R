# What an answer of an abba API that is an error becomes.

test_that("an error of the API becomes the condition that the local function would raise", {
  cases <- list(
    input = 400L, invalid = 400L, unauthorized = 401L, forbidden = 403L, not_found = 404L, input = 413L,
    unavailable = 502L, unauthorized = 502L, timeout = 504L, internal = 500L, kubectl = 502L, kubectl_missing = 502L,
    not_configured = 502L
  )
  for (index in seq_along(cases)) {
    class <- names(cases)[[index]]
    local_scripted_api(refuses(
      class, cases[[index]],
      headers = much_later, job_id = list("a-1", "b-2"), advice = "Do this."
    ))
    error <- raised(job_status())
    local <- setdiff(class(error), c("rlang_error", "error", "condition"))
    expect_identical(local, error_classes(class), info = class)
    expect_identical(error$job_id, c("a-1", "b-2"))
    expect_match(conditionMessage(error), "Do this.", fixed = TRUE)
  }
})

test_that("the words of an error of the API are shown as they are", {
  local_scripted_api(refuses(
    "not_found", 404L,
    message = "There is no job \"a-1\" {of} yours %s.", consequence = "It was never there.",
    advice = "See abba_list_jobs().", job_id = list("a-1")
  ))
  expect_api_words(job_status(), error = TRUE)
})

test_that("what answers but is no abba API is told from it", {
  # Least of all may the 404 of a proxy mean that a job does not exist.
  cases <- list(
    list(replies_html("Not Found", 404L), "not_configured"),
    list(replies(list(error = "no such thing"), status = 404L), "not_configured"),
    list(replies_html("Sign in", 200L), "not_configured"),
    list(replies("", status = 200L), "not_configured"),
    list(replies("Succeeded", status = 200L), "not_configured"),
    list(replies(as.raw(c(0x1f, 0x8b, 0x00, 0xff)), status = 200L), "not_configured"),
    list(replies("{\"Succeeded\": {\"Jobs\": [", status = 200L), "not_configured"),
    list(replies(strrep("[", 1e5), status = 200L), "not_configured"),
    list(replies("\"/etc/passwd\"", status = 200L), "not_configured"),
    list(replies_html("Unauthorized", 401L), "unauthorized"),
    list(replies_html("Forbidden", 403L), "forbidden"),
    list(replies_html("Bad Gateway", 502L, headers = much_later), "unavailable"),
    list(replies_html("Service Unavailable", 503L, headers = much_later), "unavailable"),
    list(replies_html("Gateway Time-out", 504L, headers = much_later), "timeout"),
    list(replies_html("Too Many Requests", 429L, headers = much_later), "unavailable"),
    list(replies_html("Moved", 302L, headers = c(Location = "https://login.example.com/")), "not_configured"),
    list(replies("{}", status = 204L), "not_configured"),
    list(refuses("interrupted", 500L), "unavailable"),
    list(refuses("Not A Class", 500L), "unavailable"),
    list(replies(list(class = "not_found"), status = 404L), "not_configured"),
    list(list(bytes = charToRaw("SSH-2.0-OpenSSH_9.2\r\n"), then = "close", on = "*"), "not_configured")
  )
  for (case in cases) {
    local_scripted_api(case[[1L]])
    expect_s3_class(raised(job_status()), paste0("abba_error_", case[[2L]]))
  }
})

test_that("what is no abba API is told in words", {
  local_program()
  tell_of <- function(answer, code = job_status()) {
    local_scripted_api(answer)
    tell(code)
  }
  expect_api_words({
    tell_of(replies_html("Not Found", 404L))
    tell_of(replies_html("Sign in", 200L))
    tell_of(replies_html("Unauthorized", 401L))
    tell_of(replies_html("Forbidden", 403L))
    tell_of(replies_html("Too Large", 413L))
    tell_of(replies_html("Bad Gateway", 502L, headers = much_later))
    tell_of(replies_html("Gateway Time-out", 504L, headers = much_later))
    tell_of(replies_html("Moved", 301L, headers = c(Location = "https://login.example.com/")))
    tell_of(replies(list(a = 1)))
    tell_of(replies(list(job = 1)), submit_it())
    tell_of(replies_html("Sign in", 200L), submit_it())
    tell_of(replies_html("Bad Gateway", 502L, headers = much_later), submit_it())
    tell_of(replies_html("Too Many Requests", 429L, headers = much_later), submit_it())
  })
})

test_that("without a key a 401 says how to set it", {
  local_scripted_api(refuses("unauthorized", 401L, message = "You did not say who you are."), key = NULL)
  expect_api_words(job_status(), error = TRUE)
})
