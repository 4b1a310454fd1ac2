# A scripted abba API: a small HTTP server on loopback that writes down what it was
# asked and plays back the answers that a test has listed, byte for byte. It can do
# what no well-behaved server does: cut a connection, hang, talk nonsense.

# Starts a scripted API and has abba use it until the test ends.
#
# ...: answers, made by `replies()` and its like. Each request gets the next of those whose pattern `on` ("POST
# /submit-job"; the path without its query) it matches; the last one is given again and again. key: the key that abba
# has; NULL for none.
#
# Gives back a list: `address`; `requests()`, a list of lists with `method`, `path`, `query`, `headers` (by lower-case
# name), `text` and `body` (parsed); `calls()`, these in short; `made()`, the jobs of makes_jobs().
local_scripted_api <- function(..., key = "k3y-of-mike", env = parent.frame()) {
  answers <- list(...)
  base <- withr::local_tempdir(pattern = "api-", .local_envir = env)
  patterns <- vapply(answers, function(answer) answer$on, "")
  for (queue in seq_along(unique(patterns))) {
    queued <- answers[patterns == unique(patterns)[[queue]]]
    writeLines(unique(patterns)[[queue]], file.path(base, paste0("queue-", queue)))
    for (k in seq_along(queued)) {
      writeBin(queued[[k]]$bytes, file.path(base, paste0("answer-", queue, "-", k, "-", queued[[k]]$then)))
    }
  }
  script <- file.path(base, "server.pl")
  writeLines(scripted_api_program, script)
  server <- processx::process$new("perl", c(script, base), stdout = "|", stderr = "|")
  withr::defer(server$kill(), envir = env)
  stopifnot(wait_until(function() {
    server$poll_io(100)
    file.exists(file.path(base, "port"))
  }))
  address <- paste0("http://127.0.0.1:", readLines(file.path(base, "port")))
  withr::local_options(abba.api.address = address, abba.api.key = key, .local_envir = env)
  list(
    address = address,
    requests = function() scripted_api_requests(base),
    calls = function() {
      vapply(scripted_api_requests(base), function(request) paste(request$method, request$path), "")
    },
    made = function() if (file.exists(file.path(base, "made"))) readLines(file.path(base, "made")) else character()
  )
}

scripted_api_requests <- function(base) {
  # A request is there once it is whole.
  numbers <- sort(as.integer(sub("request-", "", list.files(base, "^request-[0-9]+$"))))
  lapply(numbers, function(number) {
    path <- file.path(base, paste0("request-", number))
    text <- rawToChar(readBin(path, "raw", file.size(path)))
    Encoding(text) <- "UTF-8"
    end <- regexpr("\r\n\r\n", text, fixed = TRUE)
    head <- strsplit(substr(text, 1L, end - 1L), "\r\n", fixed = TRUE)[[1L]]
    body <- substr(text, end + 4L, nchar(text))
    target <- strsplit(head[[1L]], " ", fixed = TRUE)[[1L]]
    headers <- sub("^[^:]*: *", "", head[-1L])
    names(headers) <- tolower(sub(":.*$", "", head[-1L]))
    list(
      method = target[[1L]],
      path = sub("[?].*$", "", target[[2L]]),
      query = if (grepl("?", target[[2L]], fixed = TRUE)) utils::URLdecode(sub("^[^?]*[?]", "", target[[2L]])) else "",
      headers = as.list(headers),
      text = body,
      body = if (nzchar(body)) jsonlite::parse_json(body)
    )
  })
}

# Perl is on every Debian; base R's server sockets would listen on all addresses of the machine.
scripted_api_program <- c(
  "use strict; use warnings; use IO::Socket::INET;",
  "$SIG{PIPE} = 'IGNORE'; alarm 900;",
  "my $base = shift;",
  "my (@patterns, %taken, @kept);",
  "for (my $q = 1; open(my $f, '<', \"$base/queue-$q\"); $q++) { chomp(my $p = <$f>); push @patterns, $p; }",
  "my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 100) or die $!;",
  "open(my $out, '>', \"$base/port.new\"); print $out $listener->sockport, qq(\\n); close $out;",
  "rename \"$base/port.new\", \"$base/port\";",
  "my ($number, %made) = (0);",
  "while (my $client = $listener->accept) {",
  "  binmode $client;",
  "  my $text = '';",
  "  my $length;",
  "  while (1) {",
  "    if (!defined $length and $text =~ /\\A(.*?\\r\\n\\r\\n)/s) {",
  "      my $head = $1;",
  "      $length = length($head) + ($head =~ /^content-length: *(\\d+)/mi ? $1 : 0);",
  "      print $client qq(HTTP/1.1 100 Continue\\r\\n\\r\\n) if $head =~ /^expect: *100-continue/mi;",
  "      $client->flush;",
  "    }",
  "    last if defined $length and length($text) >= $length;",
  "    last unless sysread($client, $text, 65536, length $text);",
  "  }",
  "  next unless defined $length;",
  "  $number++;",
  "  open(my $note, '>:raw', \"$base/request.new\"); print $note $text; close $note;",
  "  rename \"$base/request.new\", \"$base/request-$number\";",
  "  my ($asked) = $text =~ /\\A(\\S+ [^ ?]+)/;",
  "  my ($file, $then) = (undef, 'close');",
  "  for my $q (1 .. @patterns) {",
  "    next unless $patterns[$q - 1] eq '*' or $patterns[$q - 1] eq $asked;",
  "    my $k = ++$taken{$q};",
  "    opendir(my $folder, $base); my @names = readdir $folder;",
  "    $k-- until $k < 1 or (($file) = grep { /\\Aanswer-$q-$k-/ } @names);",
  "    last;",
  "  }",
  "  if (defined $file) {",
  "    ($then) = $file =~ /-([a-z]+)\\z/;",
  "    open(my $in, '<:raw', \"$base/$file\"); local $/; my $bytes = <$in>;",
  "    if ($then =~ /^(creates|loses)/) {",
  # Each program of the request is a job under its id, made once; the answer has a row for each.
  "      my @rows;",
  "      while ($text =~ /\"file_path\":\"((?:[^\"\\\\]|\\\\.)*)\".*?\"job_id\":\"([^\"]*)\"/gs) {",
  "        open(my $jobs, '>>', \"$base/made\"); print $jobs \"$2\\n\" unless $made{$2}++; close $jobs;",
  "        push @rows, qq({\"job_id\":\"$2\",\"batch_id\":\"b\",\"program\":\"$1\",)",
  "          . qq(\"submitted\":\"2026-01-01T00:00:01Z\",\"reason\":null});",
  "      }",
  "      my $body = $asked =~ /batch/ ? '[' . join(',', @rows) . ']' : $rows[0];",
  "      $bytes = qq(HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: ) . length($body)",
  "        . qq(\\r\\nConnection: close\\r\\n\\r\\n$body) unless $then =~ /^loses/;",
  "    }",
  "    print $client ($bytes // ''); $client->flush;",
  "  } else {",
  "    print $client qq(HTTP/1.1 599 Not scripted\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n);",
  "  }",
  "  if ($then eq 'hang') { push @kept, $client; } else { $client->shutdown(1); close $client; }",
  "}"
)

# An answer: JSON made of a list (or text as it is), with a status and headers.
replies <- function(body, on = "*", status = 200L, headers = character(), type = "application/json") {
  if (is.list(body)) {
    body <- to_json(body)
  }
  body <- if (is.raw(body)) body else charToRaw(enc2utf8(body))
  list(bytes = c(http_head(status, length(body), headers, type), body), then = "close", on = on)
}

# Each program of the request becomes a job under its id, unless it is one already, and the answer says so; or it is
# lost after that: the connection is cut, or a proxy has an answer of its own.
makes_jobs <- function(on = "POST /submit-batch") list(bytes = raw(), then = "creates", on = on)
loses_answer <- function(on = "POST /submit-batch", of_proxy = list(bytes = raw())) {
  list(bytes = of_proxy$bytes, then = "loses", on = on)
}

# A page of a proxy or of a place to log in.
replies_html <- function(text, status, on = "*", headers = character()) {
  replies(
    paste0("<html><head><title>", text, "</title></head>\r\n<body><h1>", text, "</h1></body></html>"),
    on = on, status = status, headers = headers, type = "text/html"
  )
}

# The error of an abba API.
refuses <- function(class, status, message = "This is what happened.", on = "*", headers = character(), ...) {
  replies(list(class = class, message = message, ...), on = on, status = status, headers = headers)
}

# The connection is cut after some bytes of the answer; before its first one by default.
cuts <- function(on = "*", answer = NULL, after = 0L) {
  list(bytes = if (is.null(answer)) raw() else utils::head(answer$bytes, after), then = "close", on = on)
}

# Nothing comes, and the connection stays.
never_replies <- function(on = "*") list(bytes = raw(), then = "hang", on = on)

http_head <- function(status, length, headers, type) {
  charToRaw(paste0(c(
    paste0("HTTP/1.1 ", status, " ", "Scripted"), paste0("Content-Type: ", type), paste0("Content-Length: ", length),
    "Connection: close", if (length(headers) > 0L) paste0(names(headers), ": ", headers), "", ""
  ), collapse = "\r\n"))
}

# --- What the API answers ------------------------------------------------------

status_json <- function(status = "Succeeded", id = paste0(test_job, "-2dbr8"), path = "test_program.R") {
  rlang::set_names(
    list(list(Jobs = list(list(id = id, path = path)), Description = "What it means.")),
    status
  )
}

# News of one watched job, with a state of their own.
news_json <- function(status = "Running", obstacles = list()) {
  list(
    status = status_json(status, id = test_job), counts = rlang::set_names(list(1L), status), obstacles = obstacles,
    ended = !status %in% c("Pending", "Running"), state = paste0("of-", status)
  )
}

log_json <- function(lines, job_id = test_job) list(list(job_id = job_id, log = as.list(lines)))

# What an API says of jobs that are watched.
news <- function(status = "Running", ..., on = "GET /watch-jobs") replies(news_json(status, ...), on = on)

# A job of a list.
job_json <- function(...) {
  utils::modifyList(list(
    job_id = test_job, batch_id = "b", program = "test_program.R", user = "mike", status = "Failed",
    submitted = "2026-01-01T00:00:00Z", started = "2026-01-01T00:00:01Z", finished = "2026-01-01T00:00:02Z",
    exit_code = 1L, reason = "The program failed."
  ), list(...))
}
# A null of JSON: modifyList() would drop it.
with_nulls <- function(x, ...) {
  x[c(...)] <- list(NULL)
  x
}

# A port of this machine where nobody listens.
closed_address <- function() "http://127.0.0.1:1"

# A pause beyond any time limit, so that an answer which may heal is told at once, however slow the machine is.
much_later <- c("Retry-After" = "1000")

# --- Calls of it ---------------------------------------------------------------

# Few seconds, so that what cannot heal is told soon.
local_short <- function(seconds = 1, env = parent.frame()) {
  withr::local_options(abba.api.request.timeout = seconds, .local_envir = env)
}

# Makes `call` with a time limit of a second, and with one that is twice as long until its request has come. Gives back
# its error. `api`: the scripted one, or a function that starts it anew for each time.
when_asked <- function(api, call) {
  ask <- function(seconds) {
    local_short(seconds)
    asked <<- if (is.function(api)) api() else api
    before <<- length(asked$requests())
    raised(call())
  }
  asked <- before <- NULL
  longer_until(ask, function() length(asked$requests()) > before)
}

job_status <- function() abba_get_job_status(test_job)
job_log <- function() abba_get_job_log(test_job)
submit_it <- function(...) abba_submit_job("test_program.R", ...)

# Words without the port, which differs.
expect_api_words <- function(x, error = FALSE) {
  rlang::inject(expect_snapshot(
    !!rlang::enquo0(x),
    error = error, cran = TRUE,
    transform = function(lines) {
      # curl's words change with its version and its TLS library.
      lines <- sub("curl said: .+", "curl said: <words>", stable(lines))
      gsub("127[.]0[.]0[.]1:[0-9]+", "<api>", lines)
    }
  ))
}
