# What somebody tries who means the abba server ill, on the real cluster.
namespace <- local_namespace()
server <- local_api_server(
  abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies")), abba.cpu.limit = 63
)
theirs <- submit_to(server, user = "games", text = "cat('secret\\n'); Sys.sleep(1e6)", batch_group_id = "shared")

encoded <- function(text) utils::URLencode(text, reserved = TRUE)
key_line <- paste0("Authorization: Key ", server$keys$daemon, "\r\n")
still_serves <- function() expect_identical(request(server, "whoami", user = "daemon")$body$user, "daemon")

test_that("ids that are shell text, paths or selectors are refused before anything is asked", {
  for (id in c(
    "; touch /tmp/abba-attack", "$(id)", "`id`", "a|b", "../../namespaces/kube-system/secrets",
    "a/log?container=x", "a%2fb",
    "a\r\nX: y", "a,b in (c)", "A-1", "-", strrep("a", 64), "\u00e9"
  )) {
    for (target in c(
      "job-status?job_id=", "job-log?job_id=", "explain-job?job_id=", "batch-status?batch_id=", "batch-log?batch_id=",
      "batch-arguments?batch_id="
    )) {
      if (startsWith(target, "batch") && id %in% c("A-1", strrep("a", 63))) next
      answer <- request(server, paste0(target, encoded(id)), user = "daemon")
      expect_true(answer$status %in% c(400L, 404L), info = paste(target, id, answer$status))
    }
    expect_true(request(server, "cancel-job", user = "daemon", body = list(job_id = id))$status %in% c(400L, 404L))
  }
  expect_identical(request(server, "job-status?job_id=a%00b", user = "daemon")$status, 400L)
  expect_identical(request(server, "job-status?job_id=%ff", user = "daemon")$status, 400L)
  expect_false(file.exists("/tmp/abba-attack"))
})

test_that("a program's path with shell text is only a name", {
  paths <- c("/x/$(touch pwned).R", "/x/; touch pwned; .R", "/x/a'\"`b.R", "/x/..;.R", "../../etc/cron.d/x.R")
  answers <- lapply(paths, function(path) {
    request(server, "submit-job", user = "daemon", body = list(
      file_path = path, program_text = "cat(file.exists('pwned'), length(list.files()))", cpu_limit = 0.2
    ))
  })
  for (answer in answers) {
    expect_identical(answer$status, 200L)
    expect_identical(wait_for_end_at(server, answer$body$job_id), "Succeeded")
    expect_identical(log_at(server, answer$body$job_id), "FALSE 0")
  }
})

test_that("another's job looks as one that does not exist, by id and by batch", {
  none <- sub(".{12}$", "000000000000", theirs)
  for (target in c("job-status?job_id=", "job-log?job_id=", "explain-job?job_id=")) {
    of <- function(id) {
      answer <- request(server, paste0(target, id), user = "daemon")
      c(answer$status, gsub(id, "ID", answer$text, fixed = TRUE))
    }
    expect_identical(of(theirs), of(none))
    expect_identical(of(theirs)[[1L]], "404")
  }
  for (target in c("batch-status?batch_id=", "batch-log?batch_id=", "batch-arguments?batch_id=")) {
    of <- function(id) gsub(id, "ID", request(server, paste0(target, id), user = "daemon")$text, fixed = TRUE)
    expect_identical(of("shared"), of("none"))
    target <- paste0(target, "shared")
    expect_identical(request(server, target, user = "daemon")$status, 404L)
  }
  remove <- function(id) {
    answer <- request(server, "remove-job", user = "daemon", body = list(job_id = id))
    list(answer$status, vapply(answer$body, `[[`, "", "done"))
  }
  expect_identical(remove(theirs), remove("no-such-job-1"))
  expect_true(theirs %in% jobs_in())
  for (body in list(list(job_id = theirs), list(batch_id = "shared"))) {
    expect_identical(request(server, "cancel-job", user = "daemon", body = body)$status, 404L)
  }
  expect_false(grepl(theirs, request(server, "jobs?user=games", user = "daemon")$text, fixed = TRUE))

  # In a batch of the same name each sees and cancels their own.
  mine <- submit_to(server, batch_group_id = "shared")
  log <- request(server, "batch-log?batch_id=shared", user = "daemon")
  expect_false(grepl("secret", log$text, fixed = TRUE))
  expect_length(log$body, 1L)
  kept <- request(server, "batch-arguments?batch_id=shared", user = "daemon")
  expect_identical(vapply(kept$body, `[[`, "", "job_id"), mine)
  expect_identical(request(server, "batch-arguments?batch_id=shared&user=games", user = "daemon")$status, 400L)
  done <- request(server, "cancel-job", user = "daemon", body = list(batch_id = "shared"))$body
  expect_identical(vapply(done, `[[`, "", "job_id"), mine)
  expect_false(state_at(server, theirs, "games") == "Failed")
})

test_that("nobody passes for another", {
  spoofed <- c("--header", "RStudio-Connect-Credentials: {\"user\": \"games\"}")
  expect_identical(request(server, "whoami", spoofed)$status, 401L)
  expect_identical(request(server, "whoami", spoofed, user = "daemon")$body$user, "daemon")
  for (key in c("", " ", "x", sub("_", "-", server$keys$games), readLines(server$key_file), "games:x")) {
    expect_identical(request(server, "whoami", user = "games", key = key)$status, 401L)
  }
  two <- c("--header", paste("Authorization: Key", server$keys$games))
  expect_identical(request(server, "whoami", two, user = "daemon")$status, 400L)
  for (query in c("user=games", "username=games", "owner=games", "run_as=0")) {
    expect_identical(request(server, paste0("whoami?", query), user = "daemon")$status, 400L)
  }
  expect_identical(request(server, "whoami", "--header", "Sec-Fetch-Site: cross-site", user = "daemon")$status, 403L)
})

test_that("what is not the caller's to choose makes no job", {
  before <- jobs_in()
  with <- function(...) {
    body <- utils::modifyList(list(file_path = "/a.R", program_text = "1"), list(...))
    request(server, "submit-job", user = "daemon", body = body)$status
  }
  volume <- function(volume, mount = list(mountPath = "/x")) {
    list(volumes = list(c(list(name = "a"), volume)), volumeMounts = list(c(list(name = "a"), mount)))
  }
  nfs <- function(path, server = "192.0.2.1") list(nfs = list(server = server, path = path))
  for (mounts in list(
    volume(list(hostPath = list(path = "/"))), volume(list(secret = list(secretName = "x"))),
    volume(nfs("/studies/../etc")), volume(nfs("/studies/x/../../etc")), volume(nfs("/studiesx")),
    volume(nfs("/studies", "192.0.2.10")), volume(nfs("/")),
    volume(c(nfs("/studies"), list(hostPath = list(path = "/")))),
    volume(nfs("/studies"), list(mountPath = "/x", subPath = "../y")),
    volume(nfs("/studies"), list(mountPath = "/x", subPathExpr = "$(HOME)"))
  )) {
    expect_identical(with(mounts = mounts), 403L)
  }
  for (path in c("/", "/abba/x", "/usr")) {
    expect_identical(with(mounts = volume(nfs("/studies"), list(mountPath = path))), 400L)
  }
  for (container in c(
    paste0(r_image, "0"), paste0(r_image, ".evil"), sub(":[^:]*$", "", r_image), paste0("evil.example/", r_image),
    paste0(r_image, "@sha256:", strrep("0", 64)), sub("r-base", "r-base/../busybox", r_image)
  )) {
    expect_true(with(container = container) %in% c(400L, 403L))
  }
  expect_identical(with(cpu_limit = 64), 403L)
  expect_identical(with(memory_limit = "64G"), 403L)
  for (name in c(
    "namespace", "username", "run_as", "uid", "serviceAccountName", "backoffLimit", "job_id", "__proto__"
  )) {
    expect_identical(do.call(with, stats::setNames(list("x"), name)), 400L)
  }
  expect_identical(with(program_text = NULL, file_path = "/etc/passwd"), 400L)
  expect_identical(with(program_text = NULL, file_path = server$key_file), 400L)
  expect_identical(jobs_in(), before)
})

test_that("the server follows no symbolic link: what a path leads to is for the container and its user to find out", {
  folder <- withr::local_tempdir()
  writeLines("the server's secret", file.path(folder, "secret.R"))
  link <- file.path(folder, "link.R")
  file.symlink("secret.R", link)
  in_place <- function(path, mount_path = folder) {
    # No node has room: one that must mount from a server that is not there takes half a minute to give its pod up.
    request(server, "submit-job", user = "daemon", body = list(
      file_path = path, cpu_limit = 63,
      mounts = list(
        volumes = list(list(name = "a", nfs = list(server = "192.0.2.1", path = "/studies"))),
        volumeMounts = list(list(name = "a", mountPath = mount_path))
      )
    ))
  }
  before <- jobs_in()
  expect_identical(request(server, "submit-job", user = "daemon", body = list(file_path = link))$status, 400L)
  expect_identical(in_place(link, "/studies")$status, 400L)
  expect_identical(in_place("/studies/link/../../etc/x.R", "/studies")$status, 400L)
  expect_identical(jobs_in(), before)

  answer <- in_place(link)
  expect_identical(answer$status, 200L)
  job <- kubectl_lines("--namespace", namespace, "get", "job", answer$body$job_id, "--output", "json")
  expect_no_match(job, "the server's secret", fixed = TRUE)
  spec <- jsonlite::fromJSON(job, simplifyVector = FALSE)$spec$template$spec
  expect_identical(spec$securityContext$runAsUser, 1L)
  expect_true(paste0("--file=", link) %in% unlist(spec$containers[[1L]]$command))
  request(server, "cancel-job", user = "daemon", body = list(job_id = answer$body$job_id))
})

test_that("labels that are the same for two owners do not mix their jobs", {
  # Names that make the same label, as their jobs would stand in the cluster.
  id <- submit_to(server, text = "1")
  job <- kubectl_json("--namespace", namespace, "get", "job", id)
  for (owner in c("a.b", "a_b")) {
    name <- if (owner == "a.b") "j-1" else "j-2"
    meta <- list(
      name = name,
      labels = c(
        job$metadata$labels[c("app.kubernetes.io/managed-by", "abba/batch-id")],
        list(`abba/job-id` = name, `abba/user` = "a_b")
      ),
      annotations = list(`abba/owner` = owner, `abba/program-path` = "/a.R")
    )
    containers <- list(list(name = "program", image = r_image))
    spec <- list(suspend = TRUE, template = list(spec = list(restartPolicy = "Never", containers = containers)))
    apply_manifest(list(apiVersion = "batch/v1", kind = "Job", metadata = meta, spec = spec), namespace)
  }
  # Keys as of other accounts, for names that no machine has.
  both <- local_api_server(users = c("daemon", "games"))
  lines <- readLines(both$key_file)
  lines <- sub("^daemon:", "a.b:", sub("^games:", "a_b:", lines))
  writeLines(lines, both$key_file)
  names(both$keys) <- c("a.b", "a_b")
  for (owner in c("a.b", "a_b")) {
    rows <- request(both, "jobs", user = owner)$body
    expect_identical(vapply(rows, `[[`, "", "job_id"), if (owner == "a.b") "j-1" else "j-2")
    other <- if (owner == "a.b") "j-2" else "j-1"
    expect_identical(request(both, paste0("job-status?job_id=", other), user = owner)$status, 404L)
  }
})

test_that("line breaks make neither a header nor a line of the log", {
  before <- length(decisions(server))
  evil <- "a%0d%0aSet-Cookie:%20x=y%0d%0a%0d%0a{%22who%22:%22root%22}"
  targets <- c(
    paste0("no-such-call", evil), paste0("job-status?job_id=", evil), paste0("jobs?status=", evil),
    paste0("jobs?", evil, "=1"), paste0("job-log?job_id=a-1&page=", evil)
  )
  for (target in targets) {
    answer <- request(server, target, user = "daemon")
    expect_true(answer$status %in% c(400L, 404L))
    expect_length(header_of(answer, "Set-Cookie"), 0L)
  }
  broken_key <- c("--header", "Idempotency-Key: a\tb")
  request(server, "submit-job", broken_key, user = "daemon", body = list(file_path = "/a\r\nb.R"))
  request(server, "whoami", "--header", "X-Forwarded-For: 1.2.3.4\x0bEvil", user = "daemon")
  new <- decisions(server)[-seq_len(before)]
  expect_length(new, length(targets) + 2L)
  expect_false(any(vapply(new, function(line) identical(line$who, "root"), NA)))
})

test_that("a body of 1 GB is refused at once, also when it is really sent or its length is not told", {
  before <- memory_of(server)
  head <- function(...) paste0("POST /submit-job HTTP/1.1\r\nHost: x\r\n", key_line, ..., "\r\n")
  expect_identical(send_bytes(server, head("Content-Length: 1073741824\r\n"))$status, 413L)
  expect_identical(send_bytes(server, head("Content-Length: 1073741824\r\nExpect: 100-continue\r\n"))$status, 413L)
  expect_identical(send_bytes(server, head("Transfer-Encoding: chunked\r\n"), "5\r\n12345\r\n")$status, 411L)
  # More than any number holds, or none at all: httpuv closes the connection.
  for (length in c("99999999999999999999999999", "-1", "x", "5\r\nContent-Length: 6")) {
    expect_true(send_bytes(server, head("Content-Length: ", length, "\r\n"), "{}")$status %in% c(NA, 400L, 413L))
  }
  both <- head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")
  both <- send_bytes(server, both, "0\r\n\r\nGET /jobs HTTP/1.1\r\n\r\n")
  expect_true(both$status %in% c(NA, 400L, 411L))
  # 1 GB that is sent whatever the server says.
  for (encoding in c("Content-Length: 1073741824", "Transfer-Encoding: chunked")) {
    result <- processx::run("sh", c("-c", paste(
      "head -c 1073741824 /dev/zero | curl --silent --max-time 60 --output /dev/null --write-out '%{http_code}'",
      "--header", shQuote(encoding), "--header 'Expect:' --header", shQuote(trimws(key_line)),
      "--request POST --upload-file -", shQuote(paste0(server$address, "/submit-job"))
    )), error_on_status = FALSE)
    expect_true(result$stdout %in% c("411", "413", "000"))
    still_serves()
  }
  # Up to the limit a body is read and given back.
  file <- withr::local_tempfile()
  writeLines(paste0("{\"file_path\": \"/a.R\", \"program_text\": \"", strrep("x", 7e6), "\"}"), file)
  large <- request(server, "submit-job", user = "daemon", body = paste0("@", file))
  expect_identical(large$status, 400L)
  expect_match(large$text, "KiB", fixed = TRUE)
  expect_lt(memory_of(server), before + 150)
})

test_that("slow senders do not keep others waiting", {
  slow <- list()
  withr::defer(lapply(slow, close))
  slow <- lapply(1:50, function(k) {
    connection <- open_connection(server)
    # Fewer bodies than one caller may be sending.
    text <- if (k %% 4 > 0) {
      paste0("GET /jobs HTTP/1.1\r\nHost: x\r\n", key_line, "X-Slow: ")
    } else {
      paste0("POST /submit-job HTTP/1.1\r\nHost: x\r\n", key_line, "Content-Length: 1000\r\n\r\n{\"file_path\": ")
    }
    writeBin(charToRaw(text), connection)
    connection
  })
  for (round in 1:5) {
    lapply(slow, function(connection) writeBin(charToRaw("a"), connection))
    still_serves()
    expect_identical(request(server, "jobs", user = "daemon")$status, 200L)
  }
})

test_that("two hundred bodies that are sent slowly keep nobody but their sender from sending", {
  program <- paste(
    "my ($port, $count, $key) = @ARGV; my @sockets;",
    "for (1..$count) { my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die $!;",
    "print $socket qq(POST /submit-job HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Key $key\\r\\n);",
    "print $socket qq(Content-Length: 100\\r\\n\\r\\n{);",
    "$socket->flush; push @sockets, $socket; }",
    "$| = 1; print qq(sent\\n); sleep;"
  )
  hold <- function(key) {
    arguments <- c("-MIO::Socket::INET", "-e", program, server$port, 200, key)
    process <- processx::process$new("perl", arguments, stdout = "|")
    expect_identical(first_line(process), "sent")
    process
  }
  can_send <- function(user) request(server, "jobs", user = user, method = "GET", body = "{}")$status
  strangers <- hold("x")
  expect_identical(can_send("daemon"), 200L)
  strangers$kill()
  known <- hold(server$keys$daemon)
  wait_until(function() can_send("daemon") == 503L, what = "the bound on bodies")
  # Others have their place, and what has no body needs none.
  expect_identical(can_send("games"), 200L)
  before <- length(decisions(server))
  still_serves()
  expect_identical(length(decisions(server)), before + 1L)
  known$kill()
  wait_until(function() can_send("daemon") == 200L, what = "place for bodies")
})

test_that("JSON that is nested ten thousand deep, or of another shape, is refused", {
  deep <- paste0(strrep("[", 1e4), strrep("]", 1e4))
  deep_object <- paste0(strrep("{\"a\":", 1e4), "1", strrep("}", 1e4))
  for (body in c(
    deep, deep_object, paste0("{\"file_path\": \"/a.R\", \"mounts\": ", deep, "}"), "[]", "null", "\"x\"", "{", "",
    "{\"file_path\": [1]}", "{\"file_path\": \"/a.R\", \"program_text\": 1}", "<xml/>", "file_path=/a.R&program_text=1"
  )) {
    file <- withr::local_tempfile()
    writeLines(body, file)
    expect_identical(request(server, "submit-job", user = "daemon", body = paste0("@", file))$status, 400L)
  }
  still_serves()
})

test_that("a POST is JSON, and its arguments stand in its body", {
  send <- function(type, target = "job-status") {
    request(server, target, user = "games", body = paste0("{\"job_id\": \"", theirs, "\"}"), type = type)
  }
  for (type in c(
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/rds", "text/csv",
    "application/vnd.apache.arrow.file", "a/b; charset=\xff", "", "application/json; charset=utf-16"
  )) {
    expect_identical(send(type)$status, 400L, info = type)
  }
  for (type in c("application/json", "application/json; charset=utf-8")) {
    expect_identical(send(type)$status, 200L, info = type)
  }
  expect_identical(send("application/json", paste0("job-status?job_id=", theirs))$status, 400L)
})

test_that("the same argument twice is refused", {
  for (target in c(
    "job-status?job_id=a-1&job_id=b-1", "jobs?status=Failed&status=Running", "jobs?%73tatus=Failed&status=Failed"
  )) {
    expect_match(request(server, target, user = "daemon")$text, "is given twice", fixed = TRUE)
  }
  answer <- request(server, "submit-job?container=evil.example/x", user = "daemon", body = list(
    file_path = "/a.R", program_text = "1", container = r_image
  ))
  expect_identical(answer$status, 400L)
})

test_that("huge queries and headers, and bytes that are no HTTP, do no harm", {
  before <- memory_of(server)
  expect_true(request(server, paste0("jobs?status=", strrep("a", 60000)), user = "daemon")$status %in% c(400L, NA))
  for (bytes in c(
    paste0("GET /whoami HTTP/1.1\r\nX: ", strrep("a", 1e6), "\r\n\r\n"),
    paste0("GET /", strrep("a", 1e6), " HTTP/1.1\r\n\r\n"),
    paste0("GET /whoami HTTP/1.1\r\n", paste0("X", 1:5000, ": 1\r\n", collapse = ""), "\r\n"),
    "\x16\x03\x01\x02", "\r\n\r\n",
    "GET\r\n\r\n", "get /whoami HTTP/1.1\r\n\r\n", "GET /whoami HTTP/9.9\r\n\r\n", "CONNECT x:1 HTTP/1.1\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", paste0(
      "GET /whoami HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
  )) {
    expect_true(send_bytes(server, bytes, seconds = 1)$status %in% c(NA, 400L, 401L))
    still_serves()
  }
  expect_lt(memory_of(server), before + 50)
})

test_that("methods that a call does not have, and addresses that are written otherwise, lead nowhere", {
  for (method in c("OPTIONS", "PUT", "DELETE", "TRACE", "PATCH")) {
    answer <- request(server, "jobs", user = "daemon", method = method)
    expect_identical(answer$status, 405L)
    expect_identical(header_of(answer, "Allow"), "GET, HEAD")
    expect_length(header_of(answer, "Access-Control-Allow-Origin"), 0L)
  }
  expect_identical(request(server, "submit-job", "--head", user = "daemon")$status, 405L)
  for (path in c(
    "%6aobs", "jobs/", "/jobs", "./jobs", "x/../jobs", "../../../etc/passwd", "__docs__/../../../../etc/passwd",
    "__docs__/%2e%2e/%2e%2e/%2e%2e/DESCRIPTION", "jobs%00", "jobs%2f", "JOBS", "jobs;x", "%", "%zz"
  )) {
    answer <- request(server, path, user = "daemon")
    expect_identical(answer$status, 404L, info = path)
    expect_false(grepl("root:", answer$text, fixed = TRUE))
  }
})

test_that("requests that are sent ahead, and connections that are kept or left, do no harm", {
  line <- paste0("GET /whoami HTTP/1.1\r\nHost: x\r\n", key_line, "\r\n")
  # httpuv closes a connection on which requests are sent ahead.
  expect_true(send_bytes(server, strrep(line, 20), seconds = 1)$status %in% c(NA, 200L))
  still_serves()
  kept <- open_connection(server)
  for (k in 1:20) {
    writeBin(charToRaw(line), kept)
    text <- ""
    while (!grepl("false}", text, fixed = TRUE)) text <- paste0(text, rawToChar(readBin(kept, "raw", 1)))
    expect_match(text, "^HTTP/1.1 200")
  }
  close(kept)
  # Left before the answer came.
  for (k in 1:50) {
    left <- open_connection(server)
    writeBin(charToRaw(sub("whoami", "jobs", line)), left)
    close(left)
  }
  still_serves()
})

test_that("a key that is taken out is refused at once", {
  lines <- readLines(server$key_file)
  withr::defer(writeLines(lines, server$key_file))
  writeLines(lines[!startsWith(lines, "daemon:")], server$key_file)
  expect_identical(request(server, "whoami", user = "daemon")$status, 401L)
  expect_identical(request(server, "whoami", user = "games")$status, 200L)
  writeLines(lines, server$key_file)
  still_serves()
  Sys.chmod(server$key_file, "0644")
  expect_identical(request(server, "whoami", user = "games")$status, 503L)
  Sys.chmod(server$key_file, "0600")
  still_serves()
})

test_that("somebody who asks too often, or has too many jobs, is held back alone", {
  strict <- local_api_server(abba.api.requests.per.minute = 20, abba.api.open.jobs = 2)
  statuses <- vapply(1:20, function(k) request(strict, "whoami", user = "daemon")$status, 1L)
  expect_true(all(statuses == 200L))
  # One more every three seconds.
  last <- NULL
  is_refused <- function() identical((last <<- request(strict, "whoami", user = "daemon"))$status, 429L)
  wait_until(is_refused, interval = 0, what = "the bound")
  expect_match(header_of(last, "Retry-After"), "^[0-9]+$")
  expect_identical(request(strict, "whoami", user = "games")$status, 200L)
  ended <- lapply(c("one", "two", "three"), function(tag) {
    request(strict, "submit-job", user = "games", body = list(
      file_path = "/a.R", program_text = "Sys.sleep(600)", user_tag = tag, cpu_limit = 0.2
    ))
  })
  # One of theirs runs already.
  expect_identical(vapply(ended, `[[`, 1L, "status"), c(200L, 429L, 429L))
  cancelled <- request(strict, "cancel-job", user = "games", body = list(job_id = ended[[1L]]$body$job_id))
  expect_identical(cancelled$status, 200L)
})

test_that("after all that the server serves, and has said nothing but what httpuv says of requests sent ahead", {
  still_serves()
  said <- readLines(server$stderr)
  # R says the latter of bodies that were broken off.
  known <- "pipelined HTTP requests not supported|closing unused connection|^Warning in "
  expect_identical(said[!grepl(known, said)], character())
  expect_identical(request(server, "cancel-job", user = "games", body = list(job_id = theirs))$status, 200L)
})
