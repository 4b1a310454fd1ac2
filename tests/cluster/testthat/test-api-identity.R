# Who asks, as a web server says it that stands before the abba server: Debian's nginx, and a Unix socket between them.
local_namespace()
folder <- withr::local_tempdir("api-identity-")
port <- free_port()
socket <- function(name) file.path(folder, name)

# Under /abba/ as documented, under /plain/ with nginx's own headers alone, and under /sso/ as a proxy that people have
# logged in to as "daemon"; under /few/ and /one/ as documented, with smaller bounds.
local_nginx(
  port,
  list(
    documented_block(socket("keys")),
    documented_block(socket("keys"), "few", "rate=10r/s" = "rate=1r/m", "burst=300" = "burst=5"),
    documented_block(socket("keys"), "one", "abba_key_open 120" = "abba_key_open 1")
  ),
  paste0("location /plain/ { proxy_pass http://unix:", socket("keys"), ":/; }"),
  "location /sso/ {", "proxy_set_header X-Forwarded-User daemon;", "proxy_set_header Host $http_host;",
  paste0("proxy_pass http://unix:", socket("proxy"), ":/;"), "}"
)
server <- local_api_server(socket = socket("keys"), port = port, path = "/abba")
own <- paste0("http://127.0.0.1:", port)

test_that("behind nginx, on a Unix socket, callers are known by their keys, and the log has their addresses", {
  expect_identical(as.character(file.mode(socket("keys"))), "660")
  expect_identical(request(server, "whoami", user = "daemon")$body$user, "daemon")
  expect_identical(request(server, "whoami")$status, 401L)
  # What the caller says of itself is not what nginx says.
  request(server, "whoami", "--header", "X-Forwarded-For: 192.0.2.7", user = "games")
  line <- decisions(server)[[length(decisions(server))]]
  expect_identical(line[c("who", "from")], list(who = "games", from = "127.0.0.1"))
  # nginx packs, and abba does not.
  packed <- function(at) header_of(request(at, "main.js", "--header", "Accept-Encoding: gzip"), "Content-Encoding")
  expect_identical(packed(server), "gzip")
  plain <- replace(server, "address", paste0(own, "/plain"))
  expect_identical(packed(plain), "identity")
  expect_identical(request(plain, "whoami", user = "daemon")$status, 200L)
})

test_that("behind nginx its own page may post, and no other", {
  ask <- function(...) request(server, "job-status", ..., user = "daemon", body = list(job_id = "a-1"))$status
  expect_identical(ask(), 404L)
  expect_identical(ask("--header", paste("Origin:", own)), 404L)
  for (origin in c("http://evil.example", "http://127.0.0.1", "null")) {
    expect_identical(ask("--header", paste("Origin:", origin)), 403L, info = origin)
  }
})

test_that("nginx refuses a caller who asks too often, in the words of the API, before R has to", {
  few <- replace(server, "address", paste0(own, "/few"))
  before <- length(decisions(server))
  answers <- lapply(1:12, function(k) request(few, "whoami", user = "daemon"))
  status <- vapply(answers, `[[`, 1L, "status")
  # One more each minute.
  expect_true(all(status[1:6] == 200L) && any(status == 429L))
  refused <- answers[[which(status == 429L)[[1L]]]]
  expect_identical(refused$body$class, "unavailable")
  expect_identical(header_of(refused, "Retry-After"), "2")
  expect_match(header_of(refused, "Content-Type"), "^application/json")
  expect_length(decisions(server), before + sum(status == 200L))
  # Others have their own bound.
  expect_identical(request(few, "whoami", user = "games")$status, 200L)
})

test_that("nginx refuses a caller who has too many requests under way", {
  one <- replace(server, "address", paste0(own, "/one"))
  slow <- open_connection(list(port = port))
  writeBin(charToRaw(paste0(
    "POST /one/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Key ", server$keys$daemon,
    "\r\nContent-Length: 100\r\n\r\n{"
  )), slow)
  refused <- NULL
  is_refused <- function() {
    refused <<- request(one, "whoami", user = "daemon")
    identical(refused$status, 429L)
  }
  wait_until(is_refused, what = "the bound on connections")
  expect_identical(refused$body$class, "unavailable")
  expect_identical(request(one, "whoami", user = "games")$status, 200L)
  close(slow)
  wait_until(function() request(one, "whoami", user = "daemon")$status == 200L, what = "a place")
})

test_that("a header whose name has an underscore reaches the server only where no nginx is before it", {
  underscore <- c("--header", "X_Forwarded_For: 192.0.2.7")
  expect_identical(request(server, "whoami", underscore, user = "daemon")$status, 200L)
  direct <- replace(server, "address", "http://localhost")
  at_socket <- c("--unix-socket", socket("keys"))
  expect_identical(request(direct, "whoami", at_socket, user = "daemon")$status, 200L)
  answer <- request(direct, "whoami", at_socket, underscore, user = "daemon")
  expect_identical(answer$status, 400L)
  expect_match(answer$body$message, "x_forwarded_for", fixed = TRUE)
})

test_that("a proxy that alone reaches the socket says who the caller is", {
  sso <- local_api_server(
    users = character(), abba.api.keys = NULL, abba.api.identity = "proxy", abba.api.proxy.header = "X-Forwarded-User",
    socket = socket("proxy"), port = port, path = "/sso", ready = 200L
  )
  expect_identical(request(sso, "whoami")$body$user, "daemon")
  # What the caller sends by that name is gone.
  expect_identical(request(sso, "whoami", "--header", "X-Forwarded-User: games")$body$user, "daemon")
  expect_identical(request(sso, "whoami", "--header", "Origin: http://evil.example")$status, 403L)
})

test_that("the vignette's unit for systemd shuts the service in, and has the folders that its server uses", {
  text <- readLines(file.path(repository, "vignettes/source/api_setup.Rmd"))
  from <- which(text == "[Unit]")
  expect_length(from, 1L)
  lines <- text[from:(from + which(text[-seq_len(from)] == "```")[[1L]] - 1L)]
  lines <- lines[nzchar(lines) & !startsWith(lines, "#")]
  expect_identical(grep("^\\[", lines, value = TRUE), c("[Unit]", "[Service]", "[Install]"))
  expect_match(lines, "^(\\[[A-Z][a-z]+\\]|[A-Z][A-Za-z]+=.*)$")
  settings <- grep("=", lines, value = TRUE, fixed = TRUE)
  unit <- stats::setNames(sub("^[^=]*=", "", settings), sub("=.*", "", settings))
  expect_false(anyDuplicated(names(unit)) > 0L)
  expected <- c(
    User = "abba", UMask = "0077", NoNewPrivileges = "yes", ProtectSystem = "strict", ProtectHome = "yes",
    PrivateTmp = "yes", PrivateDevices = "yes", ProtectKernelTunables = "yes", ProtectControlGroups = "yes",
    CapabilityBoundingSet = "", RestrictSUIDSGID = "yes", RestrictAddressFamilies = "AF_UNIX AF_INET AF_INET6",
    LimitCORE = "0", Restart = "always", StateDirectoryMode = "0700", RuntimeDirectoryMode = "0750"
  )
  expect_identical(unit[names(expected)], expected)
  expect_match(unit[["MemoryMax"]], "^[0-9]+G$")
  expect_match(unit[["TasksMax"]], "^[0-9]+$")
  # systemd itself has nothing to say against it.
  folder <- withr::local_tempdir()
  file <- file.path(folder, "abba.service")
  writeLines(text[from:(from + which(text[-seq_len(from)] == "```")[[1L]] - 1L)], file)
  verified <- processx::run("systemd-analyze", c("verify", file), error_on_status = FALSE, stderr_to_stdout = TRUE)
  expect_identical(c(verified$status, nchar(verified$stdout)), c(0L, 0L), info = verified$stdout)
  # The rest of the page counts on these.
  has <- function(words) expect_true(any(grepl(words, text, fixed = TRUE)), info = words)
  has(paste0("abba_run_api(socket = \"/run/", unit[["RuntimeDirectory"]], "/http.sock\")"))
  has(paste0("abba.api.keys = \"/var/lib/", unit[["StateDirectory"]], "/api-keys\""))
  has(paste0("abba.api.log = \"", unit[["ReadWritePaths"]], "/decisions.jsonl\""))
  has(paste0("`", sub("^.* ", "", unit[["ExecStart"]]), "` holds the code above"))
})

test_that("the vignette's command for curl submits, and has no key where other accounts of the machine see it", {
  text <- readLines(file.path(repository, "vignettes/source/api_use.Rmd"))
  from <- which(text == "```sh")
  expect_length(from, 1L)
  command <- text[(from + 1L):(from + which(text[-seq_len(from)] == "```")[[1L]] - 1L)]
  programs <- withr::local_tempdir()
  write_program <- function(name, ...) {
    writeLines(c("#!/bin/sh", ...), file.path(programs, name))
    Sys.chmod(file.path(programs, name), "755")
  }
  said <- file.path(programs, "arguments")
  write_program(
    "curl", paste0("printf '%s\\n' \"$@\" > '", said, "'"), paste0("exec ", Sys.which("curl"), " --silent \"$@\"")
  )
  write_program("uuidgen", "cat /proc/sys/kernel/random/uuid")
  env <- c(
    "current",
    PATH = paste0(programs, ":", Sys.getenv("PATH")), ABBA_API_ADDRESS = server$address,
    ABBA_API_KEY = server$keys$daemon
  )
  answer <- processx::run("sh", c("-euc", paste(command, collapse = "\n")), env = env)$stdout
  expect_true(jsonlite::fromJSON(answer)$job_id %in% ids_at(server))
  expect_no_match(readLines(said), server$keys$daemon, fixed = TRUE)
})

test_that("a server that was killed leaves its socket, and the next one takes its place", {
  server$process$kill()
  expect_true(file.exists(socket("keys")))
  again <- local_api_server(socket = socket("keys"), port = port, path = "/abba")
  expect_identical(request(again, "whoami", user = "daemon")$status, 200L)
})
