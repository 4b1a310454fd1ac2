# What keeps a request from the API: certificates, proxies, pages in its place.

# What is told of a status and of a submission, each asked for once.
tell_both <- function() {
  tell(job_status())
  tell(submit_it())
}

test_that("a certificate that is not right is told as such, and asked for once", {
  local_program()
  certificates <- local_certificates()
  bundle <- file.path(certificates, "ca.crt")
  of_server <- function(name, trusted = NA) {
    withr::local_envvar(CURL_CA_BUNDLE = trusted)
    local_tls_api(certificates, name)
    tell_both()
  }
  expect_api_words({
    of_server("good")
    of_server("expired", bundle)
    of_server("other", bundle)
  })
  withr::local_envvar(CURL_CA_BUNDLE = bundle)
  for (name in c("expired", "other")) {
    local_tls_api(certificates, name)
    error <- raised(submit_it())
    expect_s3_class(error, "abba_error_unavailable")
    expect_false(error$may_exist)
    expect_false(error$may_heal)
    expect_no_match(conditionMessage(error), "[Tt]ry again")
  }
})

test_that("an authority of one's own is trusted where CURL_CA_BUNDLE names it", {
  certificates <- local_certificates()
  answers <- list(
    health = replies(list(cluster = TRUE, versions = list(abba = "0.1.0", kubernetes = "v1.34.0"))),
    whoami = replies(list(user = "mike", operator = FALSE))
  )
  local_tls_api(certificates, "good", answers)
  withr::local_envvar(CURL_CA_BUNDLE = file.path(certificates, "ca.crt"))
  expect_identical(abba_check_api()$user, "mike")
  for (wrong in c(file.path(certificates, "none.crt"), certificates)) {
    withr::local_envvar(CURL_CA_BUNDLE = wrong)
    error <- raised(job_status())
    expect_s3_class(error, "abba_error_input")
    expect_match(conditionMessage(error), "`CURL_CA_BUNDLE` must name a file", fixed = TRUE)
  }
  # It holds other certificates.
  withr::local_envvar(CURL_CA_BUNDLE = file.path(local_certificates(), "ca.crt"))
  expect_match(conditionMessage(raised(job_status())), "does not have it", fixed = TRUE)
})

test_that("an API that wants a certificate of the user's says so", {
  certificates <- local_certificates()
  withr::local_envvar(CURL_CA_BUNDLE = file.path(certificates, "ca.crt"))
  local_tls_api(certificates, "good", list(), "-Verify", "1")
  local_program()
  error <- raised(submit_it())
  expect_s3_class(error, "abba_error_unauthorized")
  expect_match(conditionMessage(error), "certificate of your own", fixed = TRUE)
  expect_match(conditionMessage(error), "Nothing was submitted.", fixed = TRUE)
})

test_that("what speaks no TLS at an https address, or no HTTP, is no abba API", {
  local_program()
  api <- local_scripted_api(list(bytes = charToRaw("SSH-2.0-OpenSSH_9.2\r\n"), then = "close", on = "*"))
  expect_s3_class(raised(job_status()), "abba_error_not_configured")
  # A TLS handshake is no request, so the server waits for more of it.
  withr::local_options(abba.api.address = sub("http:", "https:", api$address, fixed = TRUE))
  local_short(1)
  expect_s3_class(raised(submit_it()), "abba_error_timeout")
  expect_match(conditionMessage(raised(submit_it())), "Nothing was submitted.", fixed = TRUE)
})

test_that("each of curl's words has its class, whichever library speaks TLS for it", {
  address <- "https://abba.example.com"
  of <- function(words) client_fault(words, address, 60)
  lasting <- list(
    unavailable = c(
      "SSL certificate problem: self-signed certificate in certificate chain",
      "SSL certificate OpenSSL verify result: unable to get local issuer certificate (20)",
      "server certificate verification failed. CAfile: /etc/ssl/certs/ca-certificates.crt CRLfile: none",
      "schannel: SEC_E_UNTRUSTED_ROOT (0x80090325) - The certificate chain was issued by an authority",
      "schannel: SEC_E_CERT_EXPIRED (0x80090328) - The received certificate has expired.",
      "schannel: SNI or certificate check failed: SEC_E_WRONG_PRINCIPAL (0x80090322)",
      "schannel: CertGetNameString() failed to match connection hostname (a.example.com) against names",
      "SSL certificate problem: certificate is not yet valid",
      "SSL: certificate subject name 'a.example.com' does not match target host name 'abba.example.com'",
      "OpenSSL/3.0.19: error:0A00042E:SSL routines::tlsv1 alert protocol version",
      "OpenSSL/3.0.19: error:0A000410:SSL routines::sslv3 alert handshake failure",
      "CONNECT tunnel failed, response 403", "Received HTTP code 407 from proxy after CONNECT",
      "Could not resolve proxy: proxy.example.com", "Unsupported proxy scheme for 'x://proxy'"
    ),
    unauthorized = "OpenSSL SSL_read: OpenSSL/3.0.19: error:0A00045C:SSL routines::tlsv13 alert certificate required",
    not_configured = c(
      "OpenSSL/3.0.19: error:0A00010B:SSL routines::wrong version number",
      "error setting certificate verify locations:  CAfile: /x.pem"
    )
  )
  for (class in names(lasting)) {
    for (words in lasting[[class]]) {
      fault <- of(words)
      expect_identical(fault[c("class", "may_heal", "may_have_arrived")], list(
        class = class, may_heal = FALSE, may_have_arrived = FALSE
      ), info = words)
      expect_no_match(fault$advice, "[Tt]ry again", info = words)
    }
  }
  passing <- list(
    "Could not resolve host: abba.example.com" = FALSE, "Failed to connect to abba.example.com port 443" = FALSE,
    "CONNECT tunnel failed, response 503" = FALSE, "OpenSSL SSL_connect: Connection reset by peer" = FALSE,
    "Recv failure: Connection reset by peer" = TRUE, "Empty reply from server" = TRUE,
    "OpenSSL SSL_read: OpenSSL/3.0.19: error:0A000126:SSL routines::unexpected eof while reading" = TRUE,
    "SSL connect error [abba.example.com]: TLS connect error: error:0A000126:SSL routines::unexpected eof" = FALSE,
    "Recv failure: Connection timed out" = TRUE, "Operation timed out after 60000 milliseconds with 0 bytes" = TRUE,
    "Connection timed out after 60000 milliseconds" = FALSE
  )
  for (words in names(passing)) {
    fault <- of(words)
    expect_true(fault$may_heal, info = words)
    expect_identical(fault$may_have_arrived, passing[[words]], info = words)
  }
})

test_that("curl's words are read once, without calls of R, whichever versions of curl and httr2 say them", {
  refused <- "Failed to connect to 127.0.0.1 port 1 after 3 ms: Could not connect to server"
  caused <- function(words) {
    rlang::error_cnd(
      message = "Failed to perform HTTP request.",
      parent = structure(class = c("error", "condition"), list(message = words, call = quote(curl_fetch_memory(url))))
    )
  }
  read <- function(cnd) curl_words(failure_words(cnd))
  expect_identical(read(simpleError(refused)), "Failed to connect to 127.0.0.1 port 1: Could not connect to server")
  expect_identical(
    read(caused(paste0("Could not connect to server [127.0.0.1]:\n", refused))),
    "Failed to connect to 127.0.0.1 port 1: Could not connect to server"
  )
  for (before in c("Timeout was reached [127.0.0.1]:\n", "Timeout was reached: [127.0.0.1] ")) {
    expect_identical(
      read(caused(paste0(before, "Operation timed out after 1001 milliseconds with 0 bytes received"))),
      "Operation timed out with 0 bytes received"
    )
  }
})

test_that("a proxy that refuses, or is not there, is told, and how to pass it by", {
  local_program()
  through <- function(scheme, status) {
    page <- replies_html("Proxy says no", status %||% 0L)
    proxy <- if (is.null(status)) closed_address() else local_scripted_api(page)$address
    proxy <- sub("http://", "http://mike:s3cret@", proxy, fixed = TRUE)
    withr::local_options(abba.api.address = paste0(scheme, "://abba.example.com"), abba.api.key = NULL)
    withr::local_envvar(http_proxy = proxy, https_proxy = proxy, HTTPS_PROXY = NA, all_proxy = NA, no_proxy = NA)
    tell_both()
    error <- raised(submit_it())
    expect_s3_class(error, "abba_error_unavailable")
    expect_match(conditionMessage(error), "Nothing was submitted.", fixed = TRUE)
    expect_match(conditionMessage(error), "no_proxy=abba.example.com", fixed = TRUE)
    expect_no_match(conditionMessage(error), "s3cret|[Tt]ry again")
  }
  expect_api_words({
    through("https", NULL)
    through("https", 407L)
    through("https", 403L)
    through("http", 407L)
  })
})

test_that("which proxy is used is known as curl knows it", {
  withr::local_envvar(
    https_proxy = NA, HTTPS_PROXY = NA, http_proxy = NA, HTTP_PROXY = NA, all_proxy = NA, ALL_PROXY = NA,
    no_proxy = NA, NO_PROXY = NA
  )
  of <- function(...) {
    withr::local_envvar(...)
    client_proxy("https://abba.example.com:8443/x")[c("variable", "host", "port")]
  }
  expect_null(unlist(of()))
  expect_identical(
    of(HTTPS_PROXY = "http://mike:p@ss@proxy:3128/"), list(variable = "HTTPS_PROXY", host = "proxy", port = "3128")
  )
  expect_identical(of(all_proxy = "socks5h://proxy")$host, "proxy")
  for (no in c("*", "abba.example.com", "example.com", "a.org, .example.com")) {
    expect_null(unlist(of(https_proxy = "http://proxy:3128", no_proxy = no)), info = no)
  }
  expect_identical(of(https_proxy = "http://proxy:3128", no_proxy = "ample.com")$host, "proxy")
})

test_that("a page in the API's place says whether a job may exist", {
  local_program()
  says <- function(status, words, class, ...) {
    local_scripted_api(replies_html("Please sign in", status, headers = c(...)))
    error <- raised(submit_it())
    expect_match(conditionMessage(error), words, fixed = TRUE, info = status)
    expect_s3_class(error, paste0("abba_error_", class))
    expect_no_match(conditionMessage(error), "[Tt]ry again", info = status)
    expect_identical(length(error$job_id), if (error$may_exist) 1L else 0L)
  }
  open <- "Whether the job was created is not known."
  none <- "Nothing was submitted."
  # A page may have taken the place of an answer.
  says(200L, open, "not_configured")
  says(302L, open, "not_configured", Location = "https://login.example.com/")
  says(403L, open, "forbidden")
  for (status in c(301L, 307L, 308L, 404L, 405L, 511L)) {
    says(status, none, "not_configured")
  }
  says(401L, none, "unauthorized")
  says(407L, none, "unavailable")
})

test_that("a wait ends where a page or a certificate stands in the API's place, and goes on through an outage", {
  run <- function(...) {
    local_scripted_api(replies(news_json("Running")), ...)
    abba_watch_job(test_job, timeout_seconds = 30)
  }
  ended <- replies(news_json("Succeeded"))
  expect_named(run(replies_html("Bad Gateway", 502L, headers = much_later), ended), "Succeeded")
  for (page in list(replies_html("Sign in", 200L), replies_html("Proxy", 407L))) {
    expect_s3_class(raised(run(page, ended)), "abba_error")
  }
})
