# Calls to an abba API: one request, repeated where that is safe, and what came back
# as a list or as a classed condition.
#
# httr2 carries the requests. It is not asked to repeat them or to raise errors: the
# version in Debian 12 (0.2.2) does not repeat a request whose connection broke, and
# its conditions hold the request, and with it the key.

# --- Where, and as whom ----------------------------------------------------------

# The address of the API, without a slash at its end.
client_address <- function(call) {
  address <- getOption("abba.api.address", Sys.getenv("ABBA_API_ADDRESS"))
  address <- check_string(address, empty = TRUE, argument = "abba.api.address", call = call)
  if (address == "") {
    rlang::abort(
      c(
        "The address of the abba API is not known.",
        i = paste(
          "Ask your administrator for it, and put a line such as",
          "`ABBA_API_ADDRESS=https://connect.example.com/abba` into ~/.Renviron."
        ),
        i = "For this session only: Sys.setenv(ABBA_API_ADDRESS = \"https://connect.example.com/abba\")"
      ),
      class = error_classes("input"), call = call, use_cli_format = FALSE
    )
  }
  # Nothing that could be read in two ways: no user name, no query.
  if (!grepl("^https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?(/[A-Za-z0-9._~%/-]*)?$", address)) {
    abort_input(
      "ABBA_API_ADDRESS", "must look like \"https://connect.example.com/abba\"", address, call
    )
  }
  sub("/+$", "", address)
}

# The key, or NULL where none is set. It is never part of a message.
client_key <- function(address, call) {
  key <- getOption("abba.api.key", Sys.getenv("ABBA_API_KEY"))
  if (!rlang::is_string(key) || !grepl("^[!-~]*$", key, useBytes = TRUE)) {
    abort_input("ABBA_API_KEY", "must be a key of the abba API: one string of letters, digits and signs", NULL, call)
  }
  if (key == "") {
    return(NULL)
  }
  if (startsWith(address, "http://") && !is_loopback_address(address)) {
    rlang::abort(
      c(
        paste0("Your key is not sent to ", address, ", where it would travel for all to read."),
        i = "Use an address that begins with https://; your administrator can name it."
      ),
      class = error_classes("input"), call = call, use_cli_format = FALSE
    )
  }
  key
}

# Whether an address is on this machine.
is_loopback_address <- function(address) {
  is_loopback(tolower(gsub("[][]", "", sub("^https?://(\\[[^]]*\\]|[^:/]*).*$", "\\1", address))))
}

# How many seconds a call may take, all repetitions included.
client_seconds <- function(call) {
  seconds <- check_number(
    getOption("abba.api.request.timeout", 60),
    argument = "abba.api.request.timeout", call = call
  )
  if (seconds <= 0 || seconds > 1e6) {
    abort_input("abba.api.request.timeout", "must be more than 0 and at most a million", seconds, call)
  }
  seconds
}

# --- One call ---------------------------------------------------------------------

# Asks the API, again where that is safe, and gives back the answer: a list of `body`,
# the JSON as nested lists, and `header`, a function that gives a header's text or NULL.
# Raises what the answer says.
#
# method, path: as "GET", "/job-status".
# query: a list of strings; NULLs are left out.
# body: JSON text, or NULL.
# request_key: for what must not happen twice: the key under which it happens once.
# seconds: the time limit, if not that of the option.
# repeats: whether the request is repeated; every request of the contract may be.
# accept: a function of the HTTP status and the body; whether an answer with an error's
#   status is an answer all the same.
# lost: for a request that makes jobs, a sentence for where it is not known whether it
#   has arrived; NULL for others.
# fields: a function of the body of an error that gives a list of further fields for the condition.
client_call <- function(
    method, path, query = list(), body = NULL, request_key = NULL, seconds = NULL, repeats = TRUE,
    accept = function(status, body) FALSE, lost = NULL, fields = function(body) list(),
    call = rlang::caller_env()) {
  address <- client_address(call)
  request <- client_request(address, method, path, query, body, request_key, call)
  seconds <- seconds %||% client_seconds(call)
  end <- proc.time()[["elapsed"]] + seconds
  may_have_arrived <- FALSE
  attempt <- 0L
  repeat {
    attempt <- attempt + 1L
    outcome <- client_try(request, max(0.01, end - proc.time()[["elapsed"]]))
    if (outcome$is_answer || (!is.null(outcome$body) && accept(outcome$status, outcome$body))) {
      raise_client_warnings(outcome)
      return(outcome)
    }
    pause <- max(min(5, 0.1 * 2^attempt), outcome$retry_after)
    if (!repeats || !outcome$may_heal || proc.time()[["elapsed"]] + pause >= end) {
      break
    }
    may_have_arrived <- may_have_arrived || outcome$may_have_arrived
    Sys.sleep(pause)
  }
  record <- client_error_record(outcome, address, paste(method, path), seconds)
  if (!is.null(lost)) {
    record <- with_consequence(record, outcome, may_have_arrived, lost)
  }
  rlang::inject(abort_record(
    record, call, !!!fields(outcome$body),
    http_status = outcome$status, may_exist = if (!is.null(lost)) isTRUE(record$may_exist)
  ))
}

# A request. The key is in its headers, so it must not get into a message or a condition.
client_request <- function(address, method, path, query, body, request_key, call) {
  request <- httr2::request(paste0(address, path))
  query <- query[!vapply(query, is.null, NA)]
  if (length(query) > 0L) {
    values <- vapply(query, utils::URLencode, "", reserved = TRUE)
    request <- httr2::req_url(request, paste0(address, path, "?", paste0(names(values), "=", values, collapse = "&")))
  }
  request <- httr2::req_method(request, method)
  request <- httr2::req_user_agent(request, paste0("abba/", utils::packageVersion("abba"), " (R)"))
  request <- httr2::req_headers(request, Accept = "application/json")
  if (!is.null(body)) {
    request <- httr2::req_body_raw(request, body, type = "application/json")
  }
  if (!is.null(request_key)) {
    request <- httr2::req_headers(request, "Idempotency-Key" = request_key)
  }
  key <- client_key(address, call)
  if (!is.null(key)) {
    request <- httr2::req_headers(request, Authorization = paste("Key", key))
  }
  # Where a redirection leads is for the user to know: a POST would arrive there as a GET.
  request <- httr2::req_options(request, followlocation = 0L)
  if (is_loopback_address(address)) {
    # A proxy of the environment would get the key, and means another machine.
    request <- httr2::req_options(request, noproxy = "*")
  }
  request <- httr2::req_error(request, is_error = function(response) FALSE)
  if (utils::packageVersion("httr2") < "1.0.0") {
    # These wait before they give up, as long as a server tells them to.
    request <- httr2::req_retry(
      request,
      max_tries = 1L, is_transient = function(response) FALSE, backoff = function(attempt) 0
    )
  }
  request
}

# Sends a request once. A list of
# is_answer: whether this is what was asked for;
# status: the HTTP status, or NULL where nothing came back; body: the JSON, or NULL where it is none; text: the body;
# header: a function; words: what curl said where nothing came back;
# may_heal: whether it is worth asking again; retry_after: seconds, or NULL;
# may_have_arrived: whether the server may have done what it was asked for.
client_try <- function(request, seconds) {
  # The connection's own limit is 300 seconds otherwise, whatever the other one is.
  request <- httr2::req_options(
    httr2::req_timeout(request, max(seconds, 0.01)),
    connecttimeout_ms = ceiling(1000 * max(seconds, 0.01))
  )
  response <- tryCatch(
    httr2::req_perform(request, verbosity = 0L, mock = NULL),
    error = function(cnd) {
      words <- conditionMessage(cnd)
      while (inherits(cnd$parent, "error")) {
        cnd <- cnd$parent
        words <- paste(words, conditionMessage(cnd))
      }
      words
    }
  )
  if (is.character(response)) {
    never_left <- grepl(
      "Could(n't| not) (resolve|connect)|Failed to connect|Connection refused|SSL (peer )?certificate|SSL connect",
      response
    )
    return(list(
      is_answer = FALSE, status = NULL, body = NULL, text = "", header = function(name) NULL,
      words = curl_words(response),
      may_heal = !grepl("certificate|[Pp]rotocol .*not supported|malformed", response),
      retry_after = NULL, may_have_arrived = !never_left
    ))
  }
  status <- httr2::resp_status(response)
  text <- response_text(response)
  body <- json_or_null(text)
  class <- if (is_error_body(body)) body$class
  may_heal <- status %in% c(429L, 502L, 503L, 504L) &&
    (is.null(class) || class %in% c("unavailable", "timeout", "kubectl"))
  list(
    is_answer = status == 200L && is.list(body),
    status = status, body = body, text = text,
    header = function(name) {
      value <- httr2::resp_header(response, name)
      if (is.null(value)) NULL else as_text(value)
    },
    words = NULL, may_heal = may_heal,
    retry_after = retry_after(response),
    may_have_arrived = if (is_error_body(body)) {
      # The API names the jobs whose creation is open; a fault of its own leaves all open.
      length(body$job_id) > 0L || (status >= 500L && is.null(body$consequence))
    } else {
      # Of what a proxy says, a status below 500 is a refusal of its own.
      status == 200L || status >= 500L
    }
  )
}

retry_after <- function(response) {
  seconds <- suppressWarnings(tryCatch(httr2::resp_retry_after(response), error = function(cnd) NA))
  if (is.numeric(seconds) && is.finite(seconds) && seconds >= 0) seconds else NULL
}

# The body as text; "" where it is none.
response_text <- function(response) {
  bytes <- response$body
  if (!is.raw(bytes) || length(bytes) == 0L || any(bytes == as.raw(0L))) {
    return("")
  }
  as_text(rawToChar(bytes))
}

# UTF-8 whatever came.
as_text <- function(text) {
  Encoding(text) <- "UTF-8"
  if (validUTF8(text)) text else iconv(text, "latin1", "UTF-8")
}

# Nested lists, or NULL where it is no JSON.
json_or_null <- function(text) {
  if (!grepl("^[[:space:]]*[[{]", text)) {
    return(NULL)
  }
  # Not fromJSON(), which takes text for the name of a file or an address.
  tryCatch(jsonlite::parse_json(text), error = function(cnd) NULL)
}

# What curl says, without what changes from one run to the next.
curl_words <- function(words) {
  words <- sub(" after [0-9]+ (ms|milliseconds)", "", words)
  gsub("[[:space:]]+", " ", words)
}

# --- What an answer says -------------------------------------------------------------

# An error as the record that abort_record() takes.
client_error_record <- function(outcome, address, request, seconds) {
  record <- if (is_error_body(outcome$body)) {
    as_record(outcome$body)
  } else if (is.null(outcome$status)) {
    no_answer_record(outcome$words, address, seconds)
  } else {
    foreign_record(outcome, address)
  }
  if (identical(outcome$status, 429L) && !is.null(outcome$retry_after)) {
    record$advice <- paste(
      c(record$advice, paste0("It takes requests again in ", ceiling(outcome$retry_after), " seconds.")),
      collapse = " "
    )
  }
  if (identical(outcome$status, 401L) && is.null(client_key(address, NULL))) {
    record$details <- "ABBA_API_KEY is not set: put a line `ABBA_API_KEY=...` with your key into ~/.Renviron."
  }
  record$request <- request
  hide_key(record, address)
}

# Whether a body is that of an error of an abba API.
is_error_body <- function(body) {
  is.list(body) && rlang::is_string(body$class) && grepl("^[a-z_]{1,40}$", body$class) &&
    !body$class %in% "interrupted" && rlang::is_string(body$message)
}

as_record <- function(body) {
  text <- function(name) if (rlang::is_string(body[[name]])) body[[name]]
  list(
    class = body$class, message = body$message, consequence = text("consequence"),
    advice = text("advice"), details = text("details"),
    job_id = as.character(unlist(body$job_id))
  )
}

no_answer_record <- function(words, address, seconds) {
  timeout <- grepl("[Tt]imed out|Timeout was reached", words)
  list(
    class = if (timeout) "timeout" else "unavailable",
    message = if (timeout) {
      paste0("The abba API at ", address, " did not answer within ", format(seconds), " seconds.")
    } else {
      paste0("The abba API at ", address, " cannot be reached.")
    },
    advice = paste(
      "Check the address in ABBA_API_ADDRESS and your network. If both are right, the server is down or busy:",
      "try again, or ask your administrator."
    ),
    details = paste("curl said:", words),
    job_id = character()
  )
}

# What answered speaks not as an abba API does: a proxy, a login page, another program.
foreign_record <- function(outcome, address) {
  status <- outcome$status
  record <- function(class, message, advice) {
    list(
      class = class, message = message, advice = advice, details = foreign_words(outcome$text),
      job_id = character()
    )
  }
  check_address <- "Check the address in ABBA_API_ADDRESS; your administrator can name it."
  if (status >= 300L && status < 400L) {
    return(record(
      "not_configured",
      paste0(address, " sends its callers elsewhere", to_where(outcome$header("Location")), "."),
      paste(
        "If that is a page to log in, your key is missing or not valid; otherwise ABBA_API_ADDRESS needs",
        "the new address."
      )
    ))
  }
  said <- paste0(address, " answered ", status)
  switch(as.character(status),
    "200" = record(
      "not_configured", paste0("What answers at ", address, " is no abba API."), check_address
    ),
    "401" = record(
      "unauthorized", paste0(said, ": it does not know you."),
      "Check your key in ABBA_API_KEY; your administrator can give you a new one."
    ),
    "403" = record("forbidden", paste0(said, ": you may not do this."), "Ask your administrator."),
    "413" = record(
      "input", paste0(said, ": the request is larger than it takes."),
      "Put the program on storage that the cluster can mount, and name that in `mounts`."
    ),
    "429" = record(
      "unavailable", paste0(said, ": too many requests at once."), "Wait a minute, then try again."
    ),
    "500" = ,
    "502" = ,
    "503" = record(
      "unavailable", paste0(said, ": the server is not there, or not ready."),
      "Try again in a minute. If it lasts, tell your administrator."
    ),
    "504" = record(
      "timeout", paste0(said, ": the server took too long."),
      "Try again in a minute. If it lasts, tell your administrator."
    ),
    record(
      "not_configured",
      paste0(said, ", and not in the words of an abba API."), check_address
    )
  )
}

to_where <- function(location) {
  if (is.null(location)) "" else paste0(", to ", substr(plain_text(location), 1L, 200L))
}

# The beginning of a page as words on one line; NULL where there are none.
foreign_words <- function(text) {
  text <- gsub("(?is)<(head|script|style)[^>]*>.*?</\\1>", " ", substr(text, 1L, 20000L), perl = TRUE)
  text <- plain_text(gsub("<[^>]*>", " ", text))
  if (text == "") {
    return(NULL)
  }
  paste0("It said: ", substr(text, 1L, 200L), if (nchar(text) > 200L) " ...")
}

plain_text <- function(text) {
  trimws(gsub("([[:space:]]|[[:cntrl:]])+", " ", text))
}

# Whoever echoes a request echoes its key.
hide_key <- function(record, address) {
  key <- client_key(address, NULL)
  if (is.null(key)) {
    return(record)
  }
  lapply(record, function(text) {
    if (is.character(text)) gsub(key, "<your key>", text, fixed = TRUE) else text
  })
}

# Says of a failed submission what it means for the jobs.
with_consequence <- function(record, outcome, may_have_arrived, lost) {
  # A refusal of the request itself is one of every repetition of it.
  refused <- is_error_body(outcome$body) && record$class %in% c("input", "invalid", "batch_incomplete")
  record$may_exist <- !refused && (may_have_arrived || outcome$may_have_arrived)
  if (record$may_exist) {
    record$consequence <- lost
    # Not "try again": that is what has been done already, and by hand it would be another submission.
    heals <- record$class %in% c("unavailable", "timeout", "kubectl", "internal")
    record$advice <- paste(c(lost_advice(record$job_id), if (!heals) record$advice), collapse = " ")
  } else if (!is_error_body(outcome$body)) {
    record$consequence <- "Nothing was submitted."
  }
  record
}

lost_advice <- function(job_id) {
  ask <- if (length(job_id) == 1L) {
    call_text("abba_get_job_status", job_id)
  } else {
    "abba_list_jobs(since = Sys.Date())"
  }
  paste0("Before you submit again, look whether it is there: ", ask, ".")
}

# The warnings that came with an answer.
raise_client_warnings <- function(outcome) {
  text <- outcome$header("Abba-Warnings")
  records <- if (!is.null(text)) json_or_null(text)
  records <- Filter(is_error_body, records)
  raise_warnings(lapply(records, as_record))
}

# For an answer that is JSON of another shape than the contract's.
abort_shape <- function(path, call, consequence = NULL) {
  rlang::abort(
    c(
      paste0("The answer of the abba API to ", path, " is not understood."),
      x = consequence,
      i = paste0(
        "Its version and that of this package (", utils::packageVersion("abba"),
        ") may not fit together: abba_check_api() tells both."
      )
    ),
    class = error_classes("kubectl"), call = call, use_cli_format = FALSE, request = path
  )
}

# The value of `expr`, which reads an answer; where it fails the answer has not the shape of the contract.
# `consequence`: what that means, if anything.
reading <- function(path, expr, call, consequence = NULL) {
  tryCatch(expr, error = function(cnd) abort_shape(path, call, consequence))
}

# --- Ids in, lists out -----------------------------------------------------------------

# Asks something about jobs. `which`: list(job_id = ) or list(batch_id = ). Many ids travel in a body: an address has a
# bounded length.
client_ask <- function(path, which, page = NULL, seconds = NULL, call = rlang::caller_env()) {
  core_value(core_check_which(which), call)
  ids <- which$job_id %||% which$batch_id
  if (sum(nchar(ids, "bytes") + 1L) <= 1500L) {
    query <- rlang::set_names(list(paste(ids, collapse = ",")), names(which))
    return(client_call("GET", path, c(query, list(page = page)), seconds = seconds, call = call))
  }
  body <- core_value(core_json(c(which, list(page = page))), call)
  client_call("POST", path, body = body, seconds = seconds, call = call)
}

client_status <- function(which, seconds = NULL, call = rlang::caller_env()) {
  path <- paste0("/", if (is.null(which$batch_id)) "job" else "batch", "-status")
  answer <- client_ask(path, which, seconds = seconds, call = call)
  reading(path, status_from_json(answer$body), call)
}

# The status of jobs as users get it.
status_from_json <- function(body) {
  stopifnot(length(body) > 0L, names(body) %in% job_states)
  lapply(body, function(group) {
    columns <- list(id = string_column(group$Jobs, "id"), path = string_column(group$Jobs, "path"))
    stopifnot(!anyNA(columns$id))
    list(Jobs = .mapply(list, columns, NULL), Description = one_string(group$Description))
  })
}

# The logs of jobs, all their pages.
client_log <- function(which, call = rlang::caller_env()) {
  by <- if (is.null(which$batch_id)) "job" else "batch"
  path <- paste0("/", by, "-log")
  id_name <- if (by == "job") "job_id" else "pod_id"
  ids <- character()
  lines <- list()
  first <- 1L
  page <- NULL
  repeat {
    answer <- client_ask(path, which, page, call = call)
    logs <- reading(path, logs_from_json(answer$body, id_name), call)
    for (index in seq_along(logs)) {
      place <- first + index - 1L
      ids[[place]] <- logs[[index]]$id
      lines[place] <- list(c(if (place <= length(lines)) lines[[place]], list(logs[[index]]$lines)))
    }
    token <- answer$header("Abba-Next-Page")
    if (is.null(token)) {
      break
    }
    # The next page must lead on, or this would never end.
    if (!grepl("^[0-9]{1,9}[.][0-9]{1,12}$", token) || !is_further(token, page)) {
      abort_shape(path, call)
    }
    page <- token
    first <- as.integer(sub("[.].*$", "", token)) + 1L
    if (first > length(ids) + 1L) {
      abort_shape(path, call)
    }
  }
  lapply(seq_along(ids), function(place) {
    rlang::set_names(list(ids[[place]], unlist(c(list(character()), lines[[place]]))), c(id_name, "log"))
  })
}

logs_from_json <- function(body, id_name) {
  lapply(body, function(log) {
    stopifnot(is.list(log$log))
    list(id = one_string(log[[id_name]]), lines = vapply(log$log, one_string, "", USE.NAMES = FALSE))
  })
}

# Whether a page's token names a later place than that of the page before.
is_further <- function(token, before) {
  if (is.null(before)) {
    return(TRUE)
  }
  place <- function(token) as.numeric(strsplit(token, ".", fixed = TRUE)[[1L]])
  difference <- place(token) - place(before)
  difference[[1L]] > 0 || (difference[[1L]] == 0 && difference[[2L]] > 0)
}

one_string <- function(x) {
  stopifnot(rlang::is_string(x))
  x
}

# Strings and numbers that may be null in JSON.
string_or_na <- function(x) if (is.null(x)) NA_character_ else one_string(x)

integer_or_na <- function(x) {
  stopifnot(is.null(x) || rlang::is_scalar_integerish(x))
  if (is.null(x)) NA_integer_ else as.integer(x)
}

# A column out of rows that are lists. Ten thousand rows take milliseconds, which a function of R's own for each would not.
column <- function(rows, name, na) {
  values <- lapply(rows, .subset2, name)
  values[lengths(values) == 0L] <- na
  stopifnot(lengths(values) == 1L)
  c(na[0L], unlist(values, use.names = FALSE))
}
string_column <- function(rows, name) {
  column <- column(rows, name, NA_character_)
  stopifnot(is.character(column))
  column
}
integer_column <- function(rows, name) {
  column <- column(rows, name, NA_integer_)
  stopifnot(rlang::is_integerish(column))
  as.integer(column)
}
