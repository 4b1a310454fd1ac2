# An abba server as a process of its own, and requests to it by curl or, where curl is too well-behaved, by bytes.

# The Role of the README for a server, as rules.
documented_role <- list(
  list(apiGroups = "batch", resources = "jobs", verbs = c("create", "get", "list", "watch", "update", "delete")),
  list(apiGroups = "", resources = "pods", verbs = c("get", "list", "watch", "update")),
  list(apiGroups = "", resources = "pods/log", verbs = "get"),
  list(apiGroups = "", resources = "events", verbs = "list"),
  list(apiGroups = "coordination.k8s.io", resources = "leases", verbs = "create"),
  list(
    apiGroups = "coordination.k8s.io", resources = "leases", resourceNames = "abba-controller",
    verbs = c("get", "update")
  )
)

# Starts a server in the namespace of the test, whose login has the documented Role and nothing else, until `env` ends.
#
# users: get a key each. ...: options, beside those that are needed; one that is NULL is not set. socket: the path of a
# Unix socket that it listens on; then `port` is that of a web server before it, and `path` where that has it. ready:
# the status of a request without a key. rules: those of the Role of its login.
# Gives back a list: `address`, `port`, `process`, `keys` (by user), `key_file`, `log` (the file of decisions) and
# `stderr` (what the server said on standard error).
local_api_server <- function(..., users = c("daemon", "games"), socket = NULL, port = free_port(), path = "",
                             ready = 401L, rules = documented_role, env = parent.frame()) {
  folder <- withr::local_tempdir("api-server-", .local_envir = env)
  key_file <- file.path(folder, "api-keys")
  keys <- lapply(stats::setNames(nm = users), function(user) abba_api_key_create(user, key_file))
  options <- utils::modifyList(list(
    abba.api.keys = key_file, abba.api.log = file.path(folder, "decisions"), abba.default.container = r_image,
    abba.k8s.namespace = the_namespace(), abba.api.requests.per.minute = 100000,
    # Accounts that every machine has.
    abba.api.least.uid = 1,
    abba.k8s.session = getOption("abba.k8s.session")
  ), list(...))
  saveRDS(options, file.path(folder, "options.rds"))
  kubeconfig <- user_kubeconfig(the_namespace(), rules, env)
  script <- file.path(folder, "server.R")
  writeLines(c(
    paste0("options(readRDS(", deparse(file.path(folder, "options.rds")), "))"),
    deparse(as.call(c(quote(abba::abba_run_api), if (is.null(socket)) list(port = port) else list(socket = socket))))
  ), script)
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), c("--vanilla", script),
    stdout = NULL, stderr = file.path(folder, "stderr"), cleanup_tree = TRUE,
    env = c(
      "current",
      KUBECONFIG = kubeconfig, RSTUDIO_PRODUCT = "", PLUMBER_SHAREDSECRET = "",
      R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep)
    )
  )
  withr::defer(process$kill_tree(), envir = env)
  server <- list(
    address = paste0("http://127.0.0.1:", port, path), port = port, process = process, keys = keys, key_file = key_file,
    log = options$abba.api.log, stderr = file.path(folder, "stderr")
  )
  answers <- function() {
    if (!process$is_alive()) stop("the server has ended: ", paste(readLines(server$stderr), collapse = "\n"))
    # Without a key: it is no question to the cluster.
    identical(request(server, "whoami")$status, ready)
  }
  wait_until(answers, what = "the abba server")
  server
}

# A port of loopback that nobody uses now. Not one of those that the system gives to connections and to whoever asks for
# any port (32768 and above): it would give it to another before the server is there.
free_port <- function() {
  program <- paste(
    "my $socket; do { $socket = IO::Socket::INET->new(",
    "LocalAddr => '127.0.0.1', LocalPort => 20000 + int(rand(10000)), Listen => 1) } until $socket;",
    "print $socket->sockport;"
  )
  as.integer(processx::run("perl", c("-MIO::Socket::INET", "-e", program))$stdout)
}

# A request by curl: a list of `status`, `headers` (lines), `text` and, where it is JSON, `body`.
# target: path and query without the first "/". body: text, or a list that becomes JSON. type: its `Content-Type`. ...:
# further arguments of curl.
request <- function(server, target, ..., user = NULL, key = server$keys[[user]], method = NULL, body = NULL,
                    type = "application/json") {
  answer <- tempfile("answer-")
  on.exit(unlink(answer))
  if (is.list(body)) {
    body <- as.character(jsonlite::toJSON(body, auto_unbox = TRUE, null = "null", digits = NA))
  }
  result <- processx::run("curl", c(
    "--silent", "--show-error", "--include", "--path-as-is", "--globoff", "--max-time", "300", "--output", answer,
    if (!is.null(method)) c("--request", method),
    if (!is.null(user)) c("--header", paste("Authorization: Key", key)),
    # Without "Expect", with which an answer has two heads.
    if (!is.null(body)) c("--header", "Expect:", "--header", paste("Content-Type:", type), "--data-binary", body),
    ..., paste0(server$address, "/", target)
  ), error_on_status = FALSE)
  if (!file.exists(answer) || file.size(answer) == 0) {
    return(list(status = NA_integer_, headers = character(), text = "", body = NULL, curl = result$status))
  }
  read_answer(readBin(answer, "raw", file.size(answer)))
}

# Sends bytes and reads what comes back until that is a whole answer, the server closes or nothing comes for `seconds`.
send_bytes <- function(server, ..., seconds = 60) {
  connection <- open_connection(server, seconds, blocking = FALSE)
  on.exit(close(connection))
  # The server may have closed in the midst.
  suppressWarnings(try(writeBin(charToRaw(paste0(...)), connection), silent = TRUE))
  read_answer(read_whole(connection, seconds))
}

open_connection <- function(server, seconds = 60, blocking = TRUE) {
  socketConnection("127.0.0.1", server$port, open = "r+b", blocking = blocking, timeout = seconds)
}

read_whole <- function(connection, seconds) {
  bytes <- raw()
  repeat {
    # What is there; a connection that blocks waits for all that it is asked for.
    if (!socketSelect(list(connection), timeout = seconds)) {
      return(bytes)
    }
    part <- suppressWarnings(tryCatch(readBin(connection, "raw", 65536), error = function(error) raw()))
    if (length(part) == 0L) {
      return(bytes)
    }
    bytes <- c(bytes, part)
    answer <- read_answer(bytes)
    length <- as.integer(header_of(answer, "Content-Length"))
    if (length(length) == 1L && nchar(answer$text, "bytes") >= length) {
      return(bytes)
    }
  }
}

read_answer <- function(bytes) {
  text <- rawToChar(bytes[bytes != 0])
  Encoding(text) <- "bytes"
  end <- regexpr("\r\n\r\n", text, fixed = TRUE)
  headers <- if (end > 0) strsplit(substr(text, 1, end - 1), "\r\n", fixed = TRUE)[[1L]] else character()
  rest <- if (end > 0) substr(text, end + 4, nchar(text, "bytes")) else ""
  Encoding(rest) <- "UTF-8"
  status <- sub("^HTTP/[0-9.]+ ([0-9]+).*", "\\1", headers[1L])
  list(
    status = as.integer(status),
    headers = headers, text = rest,
    body = tryCatch(jsonlite::fromJSON(rest, simplifyVector = FALSE), error = function(error) NULL)
  )
}

header_of <- function(answer, name) {
  line <- grep(paste0("^", name, ":"), answer$headers, ignore.case = TRUE, value = TRUE)
  sub("^[^:]*: *", "", line)
}

# Submits a program's text; the id of its job.
submit_to <- function(server, user = "daemon", text = "cat('ran\\n')", ..., curl = character()) {
  body <- list(file_path = "/programs/program.R", program_text = text, cpu_limit = 0.2, ...)
  answer <- request(server, "submit-job", curl, user = user, body = body)
  if (!identical(answer$status, 200L)) stop("status ", answer$status, ": ", answer$text)
  answer$body$job_id
}

# The state of a job that the server tells.
state_at <- function(server, id, user = "daemon") {
  names(request(server, paste0("job-status?job_id=", id), user = user)$body)
}

wait_for_end_at <- function(server, id, user = "daemon") {
  state <- NULL
  has_ended <- function() !(state <<- state_at(server, id, user)) %in% c("Pending", "Running")
  wait_until(has_ended, 120, what = "the end of the job")
  state
}

log_at <- function(server, id, user = "daemon") {
  unlist(request(server, paste0("job-log?job_id=", id), user = user)$body[[1L]]$log)
}

# The log of decisions, parsed; each line must be JSON.
decisions <- function(server) {
  lapply(readLines(server$log, warn = FALSE), jsonlite::fromJSON, simplifyVector = FALSE)
}

# The server's memory in MiB (resident set).
memory_of <- function(server) {
  line <- grep("^VmRSS:", readLines(file.path("/proc", server$process$get_pid(), "status")), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

# Sends requests of a caller side by side, each list of requests again and again, until `env` ends or `stop()` is
# called. A request is a list of `target` and, for a POST, the path of the file with its body. nice: how little priority
# has what sends them. Gives back `stop` and `answers`, a function that gives a data frame of `status` and `retry_after`
# of each answer so far.
local_flood <- function(server, user, ..., nice = 0, env = parent.frame()) {
  folder <- withr::local_tempdir("flood-", .local_envir = env)
  gate <- file.path(folder, "gate")
  file.create(gate)
  config <- file.path(folder, paste0("config-", seq_along(list(...))))
  answers <- file.path(folder, paste0("answers-", seq_along(list(...))))
  processes <- Map(function(requests, config, answers) {
    lines <- lapply(requests, function(request) {
      c(
        "next", paste0("url = \"", server$address, "/", request$target, "\""), "output = /dev/null", "silent",
        paste0("header = \"Authorization: Key ", server$keys[[user]], "\""), "globoff", "max-time = 60",
        "write-out = \"%{http_code} %header{retry-after}\\n\"",
        if (!is.null(request$file)) {
          c(
            "header = \"Content-Type: application/json\"", "header = \"Expect:\"",
            paste0("data-binary = @", request$file)
          )
        }
      )
    })
    writeLines(unlist(lines)[-1L], config)
    loop <- "while test -e \"$1\"; do curl --parallel --parallel-immediate --parallel-max 100 --config \"$2\"; done"
    command <- c("-n", nice, "sh", "-c", loop, "flood", gate, config)
    processx::process$new("nice", command, stdout = answers, cleanup_tree = TRUE)
  }, list(...), config, answers)
  stop <- function() {
    unlink(gate)
    lapply(processes, function(process) process$wait())
  }
  withr::defer(
    {
      unlink(gate)
      lapply(processes, function(process) process$kill_tree())
    },
    envir = env
  )
  list(stop = stop, answers = function() {
    lines <- grep("^[0-9]{3}( |$)", unlist(lapply(answers, readLines, warn = FALSE)), value = TRUE)
    data.frame(status = as.integer(substr(lines, 1L, 3L)), retry_after = substr(lines, 5L, 100L))
  })
}

# Requests for `local_flood()`, each refused, of which each would be hundreds of megabytes in memory, or much work.
local_large_requests <- function(env = parent.frame()) {
  as_json <- function(x) as.character(jsonlite::toJSON(x, auto_unbox = TRUE))
  mounts <- list(
    volumes = lapply(1:200, function(k) list(name = paste0("v", k), nfs = list(server = "192.0.2.1", path = "/x"))),
    volumeMounts = lapply(1:200, function(k) list(name = paste0("v", k), mountPath = paste0("/m", k)))
  )
  programs <- lapply(1:1000, function(k) list(file_path = paste0("/", k, ".R"), program_text = "1"))
  bodies <- list(
    as_json(list(programs = programs, mounts = mounts)),
    as_json(list(programs = programs, arguments = list(strrep("x", 90000)))),
    as_json(list(programs = c(programs[-1L], list(list(file_path = "/a.R", program_text = "1", cpu_limit = 64))))),
    paste0("{\"a\": [", strrep("{\"a\":0},", 9e5), "0]}"),
    paste0("{\"a\": [", strrep("0,", 3e6), "0]}")
  )
  lapply(bodies, function(body) {
    file <- withr::local_tempfile(.local_envir = env)
    writeLines(body, file)
    list(target = "submit-batch", file = file)
  })
}

# The ids of all jobs that a caller is told of.
ids_at <- function(server, user = "daemon") {
  vapply(request(server, "jobs", user = user)$body, `[[`, "", "job_id")
}

# The processes of the kubectl that a server keeps.
kubectl_proxies_of <- function(server) {
  descendants <- ps::ps_children(server$process$as_ps_handle(), recursive = TRUE)
  is_proxy <- function(process) {
    tryCatch("proxy" %in% ps::ps_cmdline(process) && ps::ps_name(process) == "kubectl", error = function(error) FALSE)
  }
  vapply(Filter(is_proxy, descendants), ps::ps_pid, 1L)
}
