empty_cluster <- function(env = parent.frame()) {
  local_scripted_kubectl(says(list_of(), on = "get *"), creates(), env = env)
}

test_that("a key is needed, and says who asks", {
  api <- local_api(keys = c("daemon", "bin"))
  expect_identical(ask_api("whoami", key = api$keys$daemon)$body$user, "daemon")
  expect_identical(ask_api("whoami", key = api$keys$bin)$body$user, "bin")
  for (key in list(NULL, "", "x", substr(api$keys$bin, 1, 68), toupper(api$keys$bin), "a\r\nb", "\xff\xfe")) {
    answer <- ask_api("whoami", key = key)
    expect_identical(answer$status, 401L)
    expect_nothing_of_server(answer$text)
  }
  # Nobody but Connect itself is believed.
  answer <- ask_api("whoami", HTTP_RSTUDIO_CONNECT_CREDENTIALS = "{\"user\": \"bin\"}")
  expect_identical(answer$status, 401L)
  answer <- ask_api("whoami", HTTP_RSTUDIO_CONNECT_CREDENTIALS = "{\"user\": \"bin\"}", key = api$keys$daemon)
  expect_identical(answer$body$user, "daemon")
})

test_that("a request leaves nothing behind in R that stays for ever", {
  api <- local_api()
  ask <- function(times) for (time in seq_len(times)) ask_api("whoami", key = api$keys$daemon)
  symbols <- function() {
    suppressWarnings(gc(full = TRUE))
    memory.profile()[["symbol"]]
  }
  # What an answer that comes later needs is loaded when the first one does.
  promises::then(promises::promise(function(resolve, reject) resolve(1)), identity)
  later::run_now()
  ask(5)
  before <- symbols()
  ask(60)
  expect_lt(symbols() - before, 30)
})

test_that("thousands of requests take no memory for good", {
  api <- local_api()
  # In an R of its own, because what is taken is taken once for a process.
  ended <- run_r(c(
    "source('helper-api-server.R')",
    "wait_until <- function(condition, seconds) while (!condition()) NULL",
    "options(",
    paste0("  abba.api.keys = ", deparse(api$key_file), ", abba.api.log = ", deparse(api$log), ","),
    "  abba.api.requests.per.minute = 1e6, abba.default.container = 'r', abba.k8s.namespace = 'n'",
    ")",
    paste0("key <- ", deparse(api$keys$daemon)),
    "ask <- function(times) for (time in seq_len(times)) ask_api('whoami', key = key)",
    "in_use <- function() sum(gc(full = TRUE)[, 2])",
    # What an answer that comes later needs is loaded when the first one does.
    "promises::then(promises::promise(function(resolve, reject) resolve(1)), identity)",
    "later::run_now()",
    "ask(500)",
    "before <- in_use()",
    "ask(8000)",
    "cat(in_use() - before, '\n')"
  ))
  expect_lt(as.numeric(ended$stdout), 0.5, label = paste(c("MiB", ended$stderr), collapse = "\n"))
})

# A server on Posit Connect, which sends a secret with each request.
local_connect <- function(..., env = parent.frame()) {
  api <- local_api(..., keys = character(), plumber.sharedSecret = "the-secret", env = env)
  withr::local_envvar(RSTUDIO_PRODUCT = "CONNECT", .local_envir = env)
  api
}

as_connect <- function(call, user, ..., ask = ask_api) {
  credentials <- if (!is.null(user)) as.character(jsonlite::toJSON(list(user = user), auto_unbox = TRUE))
  ask(call, HTTP_RSTUDIO_CONNECT_CREDENTIALS = credentials, HTTP_PLUMBER_SHARED_SECRET = "the-secret", ...)
}

test_that("on Connect its header says who asks, with the secret that Connect gives to the process", {
  local_connect()
  who <- function(credentials, secret = "the-secret") {
    ask_api("whoami", HTTP_RSTUDIO_CONNECT_CREDENTIALS = credentials, HTTP_PLUMBER_SHARED_SECRET = secret)
  }
  expect_identical(who("{\"user\": \"bin\", \"groups\": []}")$body$user, "bin")
  for (wrong in list(NULL, "", "bin", "{}", "{\"user\": [\"bin\"]}", "{\"user\": \"\"}")) {
    expect_identical(who(wrong)$status, 401L)
  }
  for (secret in list(NULL, "", "the-secret2", "the-secret,the-secret")) {
    expect_identical(who("{\"user\": \"bin\"}", secret)$status, 403L)
  }
})

test_that("a header whose name has an underscore stands for no other", {
  local_connect(abba.api.operators = "sys")
  expect_identical(as_connect("whoami", "bin")$body, list(user = "bin", operator = FALSE))
  for (headers in list(
    c(rstudio_connect_credentials = "{\"user\": \"sys\"}"), c("RStudio-Connect_Credentials" = "{\"user\": \"sys\"}"),
    c(plumber_shared_secret = "x"), c(content_length = "1"), c(Sec_Fetch_Site = "same-origin"), c(x_y = "")
  )) {
    answer <- as_connect("whoami", "bin", headers = headers)
    expect_identical(answer$status, 400L, info = names(headers))
    expect_match(answer$body$message, tolower(names(headers)), fixed = TRUE)
  }
  # Neither in the place of the one that is not sent.
  answer <- as_connect("whoami", NULL, headers = c(rstudio_connect_credentials = "{\"user\": \"sys\"}"))
  expect_identical(answer$status, 400L)
  # httpuv makes one header of two.
  expect_identical(as_connect("whoami", NULL, headers = c(
    "rstudio-connect-credentials" = "{\"user\": \"sys\"},{\"user\": \"bin\"}"
  ))$status, 401L)
})

test_that("a single sign-on proxy says who asks, in the header that the administrator names", {
  local_api(
    keys = character(), abba.api.identity = "proxy", abba.api.proxy.header = "X-Remote-User",
    plumber.sharedSecret = "0123456789abcdef"
  )
  who <- function(..., secret = "0123456789abcdef") ask_api("whoami", HTTP_PLUMBER_SHARED_SECRET = secret, ...)
  expect_identical(who(HTTP_X_REMOTE_USER = "bin")$body$user, "bin")
  expect_identical(who(HTTP_X_REMOTE_USER = "bin", secret = NULL)$status, 403L)
  expect_identical(who(HTTP_X_REMOTE_USER = "bin,sys")$status, 400L)
  expect_identical(who(headers = c(x_remote_user = "bin"))$status, 400L)
  expect_identical(who(HTTP_X_FORWARDED_USER = "bin")$status, 401L)
  expect_identical(who(HTTP_RSTUDIO_CONNECT_CREDENTIALS = "{\"user\": \"bin\"}")$status, 401L)
})

test_that("a page of another site does not speak for who looks at it", {
  local_connect()
  kubectl <- empty_cluster()
  submit <- function(...) as_connect("submit-job", "bin", ..., ask = function(call, ...) submit_api(...))
  for (site in c("cross-site", "same-site")) {
    expect_identical(submit(HTTP_SEC_FETCH_SITE = site)$status, 403L)
  }
  # What browsers say to addresses without https: the origin alone.
  for (origin in c("http://evil.example", "http://127.0.0.1:9000", "null")) {
    expect_identical(submit(HTTP_ORIGIN = origin)$status, 403L)
  }
  # What a page of another site can make a browser send: text, a form, or an address.
  for (type in list(
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", NULL, "text/json",
    "application/jsonx", "text/plain; application/json", "application/json; charset=utf-16"
  )) {
    answer <- submit(HTTP_CONTENT_TYPE = type)
    expect_identical(answer$status, 400L, info = type)
    expect_match(answer$body$advice, "application/json", fixed = TRUE)
  }
  answer <- submit(query = "?file_path=/x/a.R&program_text=1", body = "")
  expect_identical(answer$status, 400L)
  expect_match(answer$body$message, "in its body", fixed = TRUE)
  expect_identical(kubectl$count(), 0L)
  expect_identical(submit(HTTP_ORIGIN = "http://127.0.0.1:8000")$status, 200L)
  for (type in c("application/json; charset=utf-8", "application/json;charset=\"UTF-8\"", "Application/JSON")) {
    expect_identical(submit(HTTP_CONTENT_TYPE = type)$status, 200L, info = type)
  }
})

test_that("JSON as R writes it by default is understood", {
  api <- local_api(abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies")))
  kubectl <- empty_cluster()
  mounts <- list(
    volumes = list(list(name = "s", nfs = list(server = "192.0.2.1", path = "/studies"))),
    volumeMounts = list(list(name = "s", mountPath = "/studies", readOnly = TRUE))
  )
  arguments <- list(
    file_path = "t.R", program_text = "1", cpu_limit = 0.5, memory_limit = "256M", time_limit_seconds = 60,
    user_tag = NULL, arguments = "x", environment = list(A = "1"), mounts = mounts
  )
  send <- function(call, body) {
    body <- charToRaw(as.character(jsonlite::toJSON(body)))
    ask_api(call,
      method = "POST", body = c(as.raw(c(0xef, 0xbb, 0xbf)), body), key = api$keys$daemon,
      HTTP_CONTENT_TYPE = "application/json; charset=utf-8"
    )
  }
  expect_identical(send("submit-job", arguments)$status, 200L)
  manifest <- kubectl$manifest(which(startsWith(kubectl$requests(), "create")))
  expect_identical(manifest$spec$template$spec$volumes[[1L]]$nfs$path, "/studies")
  answer <- send("submit-batch", list(programs = list(arguments[1:2], arguments[1:2]), cpu_limit = 0.5))
  expect_identical(answer$status, 200L)
  wrong <- send("submit-job", list(file_path = c("a.R", "b.R"), program_text = "1"))
  expect_match(wrong$body$message, "`file_path` must be a string", fixed = TRUE)
})

test_that("a body that is packed is refused in words", {
  api <- local_api()
  packed <- memCompress(charToRaw("{\"job_id\": \"a-1\"}"), "gzip")
  answer <- submit_api(body = packed, HTTP_CONTENT_ENCODING = "gzip", key = api$keys$daemon)
  expect_identical(answer$status, 400L)
  expect_match(answer$body$message, "packed", fixed = TRUE)
})

test_that("the bytes of a request count, whatever a header says", {
  api <- local_api(abba.api.largest.request = 1000)
  answer <- submit_api(body = strrep(" ", 1001), CONTENT_LENGTH = "1", key = api$keys$daemon)
  expect_identical(answer$status, 413L)
  expect_length(decisions(api), 1L)
})

test_that("a local server answers the own machine alone, and only with the key that it has told", {
  api <- local_api(keys = character(), abba.api.identity = "local")
  key <- local_key()
  who <- function(..., with = key) ask_api("whoami", key = with, ...)
  expect_identical(who()$body, list(user = Sys.info()[["effective_user"]], operator = TRUE))
  expect_identical(who(HTTP_ORIGIN = "http://127.0.0.1:8000")$status, 200L)
  without <- who(with = NULL)
  expect_identical(without$status, 401L)
  expect_match(without$body$advice, "printed when it was started", fixed = TRUE)
  expect_identical(who(with = sub(".$", "", key))$status, 401L)
  expect_identical(who(HTTP_HOST = "evil.example")$status, 403L)
  expect_identical(who(HTTP_ORIGIN = "https://evil.example")$status, 403L)
  expect_identical(who(HTTP_ORIGIN = "null")$status, 403L)
  expect_identical(who(REMOTE_ADDR = "192.0.2.7")$status, 403L)
  for (header in c("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip", "via", "x-client-ip")) {
    expect_identical(who(headers = stats::setNames("127.0.0.1", header))$status, 403L)
  }
  expect_no_match(readLines(api$log), key, fixed = TRUE)
  # Each start makes another.
  forget_server()
  expect_false(local_key() == key)
})

test_that("a job is submitted as its owner and answered with its ids", {
  api <- local_api()
  kubectl <- empty_cluster()
  answer <- submit_api(key = api$keys$daemon)
  expect_identical(answer$status, 200L)
  expect_named(answer$body, c("job_id", "batch_id"))
  create <- which(startsWith(kubectl$requests(), "create"))
  manifest <- kubectl$manifest(create)
  expect_identical(manifest$metadata$name, answer$body$job_id)
  expect_identical(manifest$metadata$annotations$`abba/owner`, "daemon")
  expect_identical(manifest$spec$template$spec$securityContext$runAsUser, 1L)
  expect_identical(answer$headers$`Cache-Control`, "no-store")
  expect_identical(answer$headers$`X-Content-Type-Options`, "nosniff")
  # No browser takes it for a page, and no other site gets it.
  expect_identical(answer$headers$`Content-Security-Policy`, "default-src 'none'; frame-ancestors 'none'")
  expect_identical(answer$headers$`Cross-Origin-Resource-Policy`, "same-origin")
})

test_that("a request that waits for the cluster keeps nobody else waiting", {
  api <- local_api(abba.api.cluster.timeout = 60)
  kubectl <- local_scripted_kubectl(hangs("get *"))
  res <- api_response()
  slow <- abba_api_answer("jobs", api_request(key = api$keys$daemon), res)
  expect_s3_class(slow, "promise")
  # Pods and Jobs.
  expect_true(wait_until(function() kubectl$hangs() == 2L))
  expect_identical(ask_api("whoami", key = api$keys$daemon)$status, 200L)
  expect_null(res$status)
  # Its thread ends with kubectl.
  tools::pskill(c(kubectl$helpers(), kubectl$pids()), tools::SIGKILL)
  expect_gte(finish_answer(slow)$status, 500L)
})

test_that("what is wrong with the cluster is told without anything of kubectl", {
  of <- function(..., seconds = 60) {
    api <- local_api(abba.api.cluster.timeout = seconds)
    local_scripted_kubectl(...)
    get <- ask_api("jobs", key = api$keys$daemon)
    expect_nothing_of_server(get$text)
    forget_server()
    post <- submit_api(key = api$keys$daemon)
    expect_nothing_of_server(post$text)
    reasons <- vapply(decisions(api), `[[`, "", "reason")
    expect_true(all(nzchar(reasons)))
    c(get$status, post$status)
  }
  expect_identical(of(hangs(), seconds = 1), c(504L, 504L))
  expect_identical(of(says("this is no JSON: /tmp/x")), c(502L, 502L))
  expect_identical(of(dies()), c(502L, 502L))
  expect_identical(of(fails(paste(
    "The connection to the server 192.0.2.1:6443 was refused",
    "- did you specify the right host or port?"
  ))), c(502L, 502L))
  expect_identical(of(fails("error: You must be logged in to the server (Unauthorized)")), c(502L, 502L))
  expect_identical(of(fails("Error from server (Forbidden): jobs is forbidden in /tmp/x")), c(502L, 502L))
  expect_identical(of(fails("Error from server (NotFound): namespaces \"n\" not found")), c(502L, 502L))
  expect_identical(of(fails("error: something unheard of in /tmp/x")), c(502L, 502L))

  api <- local_api(abba.kubectl = "/no/such/kubectl")
  answer <- ask_api("jobs", key = api$keys$daemon)
  expect_identical(answer$status, 502L)
  expect_nothing_of_server(answer$text)
})

test_that("quota and refusals of the cluster are told in its words, and not what others use of it", {
  api <- local_api()
  local_scripted_kubectl(
    says(list_of(), on = "get *"),
    fails(
      "Error from server (Forbidden): jobs.batch \"a\" is forbidden: exceeded quota: q, used: pods=7, limited: pods=1",
      on = "create *"
    ),
    fails("The Job \"a\" is invalid: spec.template: Invalid value", on = "create *")
  )
  quota <- submit_api(key = api$keys$daemon)
  expect_identical(quota$status, 429L)
  expect_match(quota$body$details, "pods=1", fixed = TRUE)
  expect_no_match(quota$text, "pods=7", fixed = TRUE)
  expect_nothing_of_server(quota$text)
  expect_false(is.null(quota$headers$`Retry-After`))
  invalid <- submit_api(key = api$keys$daemon)
  expect_identical(c(invalid$status, invalid$body$class), c("400", "invalid"))
  expect_match(invalid$body$details, "spec.template", fixed = TRUE)
})

test_that("a fault of abba's own shows nothing of it, and the log says more", {
  api <- local_api()
  req <- api_request(key = api$keys$daemon)
  req$REQUEST_METHOD <- NULL
  rm("REQUEST_METHOD", envir = req)
  answer <- finish_answer(abba_api_answer("whoami", req, api_response()))
  expect_identical(answer$status, 500L)
  expect_nothing_of_server(answer$text)
  expect_match(decisions(api)[[1L]]$reason, "method", fixed = TRUE)
})

test_that("a body that is no JSON object, or nested ten thousand deep, is refused", {
  api <- local_api()
  kubectl <- empty_cluster()
  deep <- paste0(strrep("[", 1e4), strrep("]", 1e4))
  for (body in list(
    "[]", "1", "null", "{", "{\"a\": }", deep, paste0("{\"mounts\": ", deep, "}"),
    paste0("{\"mounts\": ", jsonlite::toJSON(deep, auto_unbox = TRUE), "}"), as.raw(0), as.raw(c(0xff, 0xfe)),
    "{\"file_path\": \"/a.R\", \"file_path\": 1}", "{\"programs\": {}}"
  )) {
    answer <- submit_api(body = body, key = api$keys$daemon)
    expect_identical(answer$status, 400L)
    expect_nothing_of_server(answer$text)
  }
  expect_identical(kubectl$count(), 0L)
})

test_that("one request is one line, whatever stands in it", {
  api <- local_api()
  empty_cluster()
  forged <- "a\r\n{\"decision\": \"allowed\", \"who\": \"root\"}"
  key <- api$keys$daemon
  ask_api(forged, key = key)
  ask_api("jobs", query = paste0("?status=", utils::URLencode(forged, reserved = TRUE)), key = key)
  ask_api("jobs", query = forged, key = key)
  as_json <- function(...) as.character(jsonlite::toJSON(list(...), auto_unbox = TRUE))
  ask_api("job-status", method = "POST", body = as_json(job_id = forged), key = key)
  ask_api("whoami", key = forged)
  ask_api("whoami", REMOTE_ADDR2 = "", HTTP_RSTUDIO_CONNECT_CREDENTIALS = forged, HTTP_ORIGIN = forged, key = key)
  submit_api(HTTP_IDEMPOTENCY_KEY = forged, key = key)
  submit_api(body = as_json(file_path = forged, program_text = "the text"), key = key)
  req <- api_request(key = key)
  req$REMOTE_ADDR <- forged
  finish_answer(abba_api_answer("whoami", req, api_response()))
  lines <- readLines(api$log)
  parsed <- decisions(api)
  phases <- vapply(parsed, `[[`, "", "phase")
  # The one that is made has two more: before and after.
  expect_identical(unname(table(phases)[c("intent", "outcome", "request")]), c(1L, 1L, 9L), ignore_attr = TRUE)
  expect_true(all(vapply(parsed, function(line) is.null(line$who) || line$who == "daemon", NA)))
  expect_true(all(vapply(parsed, function(line) is.character(line$when) && is.character(line$what), NA)))
  expect_false(any(grepl(key, lines, fixed = TRUE)))
  expect_false(any(grepl("the text", lines, fixed = TRUE)))
})

test_that("a log that cannot be written is told on standard error, with the line, and the request is answered", {
  api <- local_api(abba.api.log = "/no/such/folder/log")
  said <- capture.output(answer <- ask_api("whoami", key = api$keys$daemon), type = "message")
  expect_identical(answer$status, 200L)
  expect_match(said[[1L]], "the log of decisions cannot be written", fixed = TRUE)
  expect_identical(jsonlite::fromJSON(said[[2L]])$what, "whoami")
})

test_that("without a line nothing is done, where the log is required", {
  api <- local_api(abba.api.log = "/dev/full", abba.api.log.required = TRUE)
  kubectl <- empty_cluster()
  answer <- submit_api(key = api$keys$daemon)
  expect_identical(c(answer$status, answer$body$class), c("503", "unavailable"))
  expect_match(answer$body$details, "No space left", fixed = TRUE)
  expect_no_match(answer$text, "/dev/full", fixed = TRUE)
  # Nor is anything told.
  capture.output(told <- ask_api("whoami", key = api$keys$daemon), type = "message")
  expect_identical(told$status, 503L)
  expect_false(any(grepl("create", kubectl$calls())))
})

test_that("a log that is required and cannot be written keeps the server from starting", {
  local_api(abba.api.log = "/no/such/folder/log", abba.api.log.required = TRUE)
  error <- raised(abba:::api_open())
  expect_s3_class(error, "abba_error_input")
  expect_match(conditionMessage(error), "abba.api.log", fixed = TRUE)
})

test_that("the log is for its owner alone, and a file that was moved away is made anew", {
  api <- local_api()
  ask_api("whoami", key = api$keys$daemon)
  expect_identical(as.character(file.mode(api$log)), "600")
  file.rename(api$log, paste0(api$log, ".1"))
  ask_api("whoami")
  expect_identical(vapply(decisions(api), `[[`, 1L, "status"), 401L)
  expect_length(readLines(paste0(api$log, ".1")), 1L)
})

test_that("the address is the caller's where the proxy before the server is trusted", {
  from <- function(...) {
    api <- local_api(...)
    ask_api("whoami", key = api$keys$daemon, HTTP_X_FORWARDED_FOR = "198.51.100.1, 203.0.113.7")
    decisions(api)[[1L]]$from
  }
  expect_identical(from(), "127.0.0.1")
  expect_identical(from(abba.api.trusted.proxies = "127.0.0.0/8"), "203.0.113.7")
})

test_that("each answer has the id that its line of the log has, and HEAD is GET without its body", {
  api <- local_api()
  answer <- ask_api("whoami", key = api$keys$daemon)
  expect_identical(answer$headers$`Abba-Request-Id`, decisions(api)[[1L]]$request)
  head <- ask_api("whoami", "HEAD", key = api$keys$daemon)
  expect_identical(c(head$status, head$text), c("200", ""))
  expect_identical(head$headers$`Content-Length`, as.character(nchar(answer$text)))
  expect_false(identical(head$headers$`Abba-Request-Id`, answer$headers$`Abba-Request-Id`))
})

test_that("a large answer is a file of the server's own, which R does not read", {
  images <- paste0("registry.example.com/", 1:3000, ":a-rather-long-name-of-an-image")
  api <- local_api(abba.default.container = images[[1L]], abba.permitted.containers = images)
  ask <- function(...) {
    request <- api_request(PATH_INFO = "/permitted-containers", key = api$keys$daemon, ...)
    wait_for_answer(abba_api_answer("permitted-containers", request, api_response()))
  }
  kept <- function() list.files(tempdir(), "^abba-answer-", full.names = TRUE)
  unlink(kept())
  body <- ask()$body
  expect_identical(body$file, kept())
  expect_true(body$owned)
  if (.Platform$OS.type == "unix") expect_identical(format(file.mode(body$file)), "600")
  expect_identical(unlist(jsonlite::read_json(body$file)), images)
  size <- file.size(body$file)
  unlink(body$file)
  # An answer to HEAD says how long it would be, and leaves nothing behind.
  head <- ask(method = "HEAD")
  expect_identical(head$headers$`Content-Length`, format(size))
  expect_identical(head$body, "")
  expect_identical(kept(), character())
  # Where there is no place for it, it comes as bytes.
  server <- abba:::the_server
  policy <- abba:::api_policy("keys")
  server$gateway <- abba:::core_gateway_open(policy, api$key_file, "0.1.0", NULL, "/no/such/folder")$value
  expect_type(ask()$body, "raw")
})

test_that("metrics are text, for known callers alone unless the administrator has set it otherwise", {
  status <- function(..., key = NULL) {
    local_api(...)
    ask_api("metrics", key = key)$status
  }
  api <- local_api()
  ask_api("whoami", key = api$keys$daemon)
  answer <- ask_api("metrics", key = api$keys$daemon)
  expect_match(answer$headers$`Content-Type`, "text/plain; version=0.0.4", fixed = TRUE)
  expect_match(answer$text, "# TYPE abba_requests_total counter\n", fixed = TRUE)
  expect_identical(status(), 401L)
  expect_identical(status(abba.api.metrics = "anybody"), 200L)
})

test_that("answers in words", {
  api <- local_api(abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies")))
  empty_cluster()
  say <- function(answer) cat(answer$status, answer$text, "\n")
  submit <- function(...) {
    body <- utils::modifyList(list(file_path = "/x/a.R", program_text = "1"), list(...))
    submit_api(body = as.character(jsonlite::toJSON(body, auto_unbox = TRUE)), key = api$keys$daemon)
  }
  mount <- function(volume, path = "/studies") {
    list(volumes = list(c(list(name = "a"), volume)), volumeMounts = list(list(name = "a", mountPath = path)))
  }
  expect_words({
    say(ask_api("whoami"))
    say(ask_api("whoami", key = "x"))
    say(ask_api("no-such-call", key = api$keys$daemon))
    say(ask_api("jobs", method = "DELETE", key = api$keys$daemon))
    say(ask_api("job-status", query = "?job_id=test-program-1", key = api$keys$daemon))
    say(ask_api("job-status", query = "?job_id=..%2F..%2Fetc", key = api$keys$daemon))
    say(ask_api("batch-log", query = "?batch_id=b", key = api$keys$daemon))
    say(ask_api("job-log", query = "?job_id=a-1&page=x", key = api$keys$daemon))
    say(ask_api("jobs", query = "?status=running", key = api$keys$daemon))
    say(submit(program_text = NULL))
    say(submit(container = "evil.example/r:1"))
    say(submit(memory_limit = "2G"))
    say(submit(namespace = "kube-system"))
    say(submit(mounts = mount(list(hostPath = list(path = "/")))))
    say(submit(mounts = mount(list(nfs = list(server = "192.0.2.1", path = "/studies/../etc")))))
    say(submit(mounts = mount(list(nfs = list(server = "192.0.2.1", path = "/studies")), "/abba")))
    say(submit(auto_mount_home = TRUE))
  }, hide = api$keys$daemon)
})

test_that("an answer that cannot be delivered takes none of the others with it", {
  api <- local_api()
  empty_cluster()
  abba:::api_open()
  server <- abba:::the_server
  withr::defer(server$awaited <- list())
  begin <- function(call) {
    request <- api_request(key = api$keys$daemon)
    abba:::core_value(abba:::core_gateway_begin(
      server$gateway, abba:::api_request(call, request), raw(), abba:::api_settings()
    ))
  }
  # Whoever is answered first meets with the fault.
  delivered <- 0
  deliver <- function(answer) {
    delivered <<- delivered + 1
    if (delivered == 1) stop("for the test")
  }
  for (call in c("whoami", "jobs", "permitted-containers")) abba:::await(begin(call), deliver)
  said <- capture.output(
    {
      abba:::look_for_answers()
      wait_until(function() {
        later::run_now(0.05)
        delivered == 3
      }, 600)
    },
    type = "message"
  )
  expect_match(said, "an answer was lost: for the test", fixed = TRUE, all = FALSE)
  expect_length(server$awaited, 0L)
})

test_that("in a flood of requests a refusal is told late, and else at once", {
  api <- local_api(abba.api.requests.per.minute = 1)
  ask <- function(...) {
    request <- api_request(key = api$keys$daemon, ...)
    abba_api_answer("whoami", request, api_response())
  }
  server <- abba:::the_server
  # The status of an answer, and whether it is kept back. On a busy machine any answer may come later.
  told <- function(...) {
    before <- server$late
    answer <- ask(...)
    is_late <- FALSE
    done <- NULL
    promises::then(promises::promise_resolve(answer), function(value) done <<- value)
    wait_until(function() {
      is_late <<- is_late || server$late > before
      later::run_now(0.05)
      !is.null(done)
    })
    if (done$status == 429L) expect_match(done$headers$`Retry-After`, "^[0-9]+$")
    list(done$status, is_late)
  }
  expect_identical(told(), list(200L, FALSE))
  expect_identical(told(), list(429L, FALSE))
  server$late <- 10L
  withr::defer(server$late <- 0L)
  expect_identical(told(), list(429L, TRUE))
  expect_identical(server$late, 10L)
  # A large body is not kept meanwhile.
  expect_identical(told(body = strrep("x", 1e5)), list(429L, FALSE))
})
