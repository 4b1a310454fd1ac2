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
    abort_words(c(
      "The address of the abba API is not known.",
      i = paste(
        "Ask your administrator for it, and put a line such as",
        "`ABBA_API_ADDRESS=https://connect.example.com/abba` into ~/.Renviron."
      ),
      i = "For this session only: Sys.setenv(ABBA_API_ADDRESS = \"https://connect.example.com/abba\")"
    ), call)
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
    abort_words(c(
      paste0("Your key is not sent to ", address, ", where it would travel for all to read."),
      i = "Use an address that begins with https://; your administrator can name it."
    ), call)
  }
  key
}

# Whether an address is on this machine.
is_loopback_address <- function(address) {
  is_loopback(tolower(client_host(address)))
}

# How many seconds a call may take, all repetitions included.
client_seconds <- function(call) seconds_option("abba.api.request.timeout", 60, call)

# --- One call ---------------------------------------------------------------------

# Asks the API, again where that is safe, and gives back the answer: a list of `body`,
# the JSON as nested lists, and `header`, a function that gives a header's text or NULL.
# Raises what the answer says.
#
# method, path: as "GET", "/job-status".
# query: a list of strings; NULLs are left out.
# body: JSON text, or NULL.
# seconds: the time limit, if not that of the option.
# repeats: whether the request is repeated; every request of the contract may be.
# accept: a function of the HTTP status and the body; whether an answer with an error's
#   status is an answer all the same.
# new_jobs: for a request that makes jobs, their ids; NULL for others.
# fields: a function of the body of an error that gives a list of further fields for the condition.
client_call <- function(
    method, path, query = list(), body = NULL, seconds = NULL, repeats = TRUE,
    accept = function(status, body) FALSE, new_jobs = NULL, fields = function(body) list(),
    call = rlang::caller_env()) {
  address <- client_address(call)
  request <- client_request(address, method, path, query, body, call)
  seconds <- seconds %||% client_seconds(call)
  end <- proc.time()[["elapsed"]] + seconds
  may_have_arrived <- FALSE
  attempt <- 0L
  repeat {
    attempt <- attempt + 1L
    earlier <- if (attempt > 1L) outcome
    outcome <- client_try(request, max(0.01, end - proc.time()[["elapsed"]]), address, call)
    if (outcome$timed_out && !is.null(earlier)) {
      # The time limit ended this attempt; the answer before it says why all this was repeated.
      may_have_arrived <- may_have_arrived || outcome$may_have_arrived
      outcome <- earlier
      break
    }
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
  if (!is.null(new_jobs)) {
    record <- with_consequence(record, outcome, may_have_arrived, new_jobs)
  }
  rlang::inject(abort_record(
    record, call, !!!fields(outcome$body),
    http_status = outcome$status, may_exist = record$may_exist, may_heal = record$may_heal
  ))
}

# A request. The key is in its headers, so it must not get into a message or a condition.
client_request <- function(address, method, path, query, body, call) {
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
    request <- httr2::req_body_raw(request, charToRaw(body), type = "application/json")
  }
  key <- client_key(address, call)
  if (!is.null(key)) {
    request <- httr2::req_headers(request, Authorization = paste("Key", key))
  }
  # Where a redirection leads is for the user to know: a POST would arrive there as a GET.
  request <- httr2::req_options(request, followlocation = 0L)
  bundle <- certificates(address, call)
  if (!is.null(bundle)) {
    request <- httr2::req_options(request, cainfo = bundle)
  }
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

# The file of certificates to trust in place of the machine's own, NULL for none. As curl itself reads it; R's curl
# does not on all systems.
certificates <- function(address, call) {
  bundle <- path.expand(Sys.getenv("CURL_CA_BUNDLE"))
  if (bundle == "" || !startsWith(address, "https:")) {
    return(NULL)
  }
  if (file.access(bundle, 4L) != 0L || dir.exists(bundle)) {
    abort_input("CURL_CA_BUNDLE", "must name a file of certificates that can be read", bundle, call)
  }
  bundle
}

# Sends a request once. A list of
# is_answer: whether this is what was asked for;
# status: the HTTP status, or NULL where nothing came back; body: the JSON, or NULL where it is none; text: the body;
# header: a function; words: what curl said where nothing came back; timed_out: whether that was the end of `seconds`;
# may_heal: whether it is worth asking again; retry_after: seconds, or NULL;
# may_have_arrived: whether the server may have done what it was asked for.
client_try <- function(request, seconds, address, call) {
  # The connection's own limit is 300 seconds otherwise, whatever the other one is.
  request <- httr2::req_options(
    httr2::req_timeout(request, max(seconds, 0.01)),
    connecttimeout_ms = ceiling(1000 * max(seconds, 0.01))
  )
  # No handler of R sees an error that curl takes; this option does.
  time_limit <- NULL
  words_before <- geterrmessage()
  note_time_limit <- function() {
    # It is called for Ctrl-C, too, which has no words.
    words <- geterrmessage()
    if (!identical(words, words_before)) time_limit <<- sub("^Error.*: *\n? *", "", trimws(words))
  }
  options_before <- options(error = as.call(list(note_time_limit)))
  on.exit(options(options_before))
  response <- tryCatch(
    httr2::req_perform(request, verbosity = 0L, mock = NULL),
    error = failure_words,
    # Since its 6.0 curl interrupts R for both, Ctrl-C and the time limit.
    interrupt = function(cnd) stop_as_r_wanted(call, time_limit)
  )
  if (is.character(response)) {
    if (grepl("aborted by an application callback", response, fixed = TRUE)) {
      # curl has taken Ctrl-C or the error of R's time limit, and made an error of its own of it.
      stop_as_r_wanted(call, time_limit)
    }
    fault <- client_fault(response, address, seconds)
    return(list(
      is_answer = FALSE, status = NULL, body = NULL, text = "", header = function(name) NULL,
      words = curl_words(response),
      timed_out = is_timeout(response), may_heal = fault$may_heal,
      retry_after = NULL, may_have_arrived = fault$may_have_arrived
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
    words = NULL, timed_out = FALSE, may_heal = may_heal,
    retry_after = retry_after(response),
    may_have_arrived = if (is_error_body(body)) {
      # The API names the jobs whose creation is open; a fault of its own leaves all open.
      length(body$job_id) > 0L || (status >= 500L && is.null(body$consequence))
    } else {
      leaves_open(status)
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
  if (validUTF8(text)) sub("^\ufeff", "", text) else iconv(text, "latin1", "UTF-8")
}

# Nested lists, or NULL where it is no JSON.
json_or_null <- function(text) {
  if (!grepl("^[[:space:]]*[[{]", text)) {
    return(NULL)
  }
  # Not fromJSON(), which takes text for the name of a file or an address.
  tryCatch(jsonlite::parse_json(text), error = function(cnd) NULL)
}
