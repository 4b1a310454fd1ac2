# The errors of calls to an abba API, as the records that abort_record() takes.

# An error as the record that abort_record() takes.
client_error_record <- function(outcome, address, request, seconds) {
  record <- if (is_error_body(outcome$body)) {
    as_record(outcome$body)
  } else if (is.null(outcome$status)) {
    fault <- client_fault(outcome$words, address, seconds)
    c(fault[c("class", "message", "advice")], list(details = paste("curl said:", outcome$words), job_id = character()))
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
  # A fault of the server passes, too, and is not asked for again at once.
  record$may_heal <- outcome$may_heal ||
    (isTRUE(outcome$status >= 500L) && record$class %in% c("unavailable", "timeout", "kubectl", "internal"))
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

# Whether curl's words say that its time was over.
is_timeout <- function(words) grepl("[Tt]imed out|Timeout was reached", words)

# What answered speaks not as an abba API does: a proxy, a login page, another program.
foreign_record <- function(outcome, address) {
  status <- outcome$status
  record <- function(class, message, advice) {
    list(
      class = class, message = message, advice = advice, details = foreign_words(outcome$text),
      job_id = character()
    )
  }
  check_address <- paste0(
    if (is_page(outcome$text)) "If it wants you to log in to the network (VPN, proxy), do so first. ",
    "Check the address in ABBA_API_ADDRESS; your administrator can name it.", through_proxy(address)
  )
  if (status >= 300L && status < 400L) {
    return(record(
      "not_configured",
      paste0(address, " sends its callers elsewhere", to_where(outcome$header("Location")), "."),
      paste0(
        "If that is a page to log in, your key is missing or not valid, or you have to log in to the network (VPN, ",
        "proxy) first; otherwise ABBA_API_ADDRESS needs the new address.", through_proxy(address)
      )
    ))
  }
  said <- paste0(address, " answered ", status)
  switch(as.character(status),
    "200" = record(
      "not_configured",
      paste0(
        "What answers at ", address, " is no abba API",
        if (is_page(outcome$text)) ": it is a page for people, such as a login page or that of a proxy", "."
      ),
      check_address
    ),
    "401" = record(
      "unauthorized", paste0(said, ": it does not know you."),
      "Check your key in ABBA_API_KEY; your administrator can give you a new one."
    ),
    "403" = record(
      "forbidden", paste0(said, ": you may not do this."),
      paste0(
        "Ask your administrator: the server before the abba API, a proxy or a firewall on the way says so, not the ",
        "API itself.", through_proxy(address)
      )
    ),
    "407" = {
      proxy <- refusing_proxy(status, address)
      record("unavailable", proxy$message, proxy$advice)
    },
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
    "511" = record(
      "not_configured", paste0(said, ": the network wants you to log in first."),
      "Log in to the network (in a browser, or the VPN), then repeat the call."
    ),
    record(
      "not_configured",
      paste0(said, ", and not in the words of an abba API."), check_address
    )
  )
}

# Whether a text is a page for people.
is_page <- function(text) grepl("<!doctype html|<html", substr(text, 1L, 4000L), ignore.case = TRUE)

# Whether what was asked for may have been done although something else answers, with this status. A login page or a
# filter (200, 302, 403) may stand in the place of an answer that was made; the other refusals are of the request.
leaves_open <- function(status) {
  status %in% c(200L, 302L, 303L, 403L) || (status >= 500L && status != 511L)
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

# Says of a failed submission what it means for the jobs with these ids.
with_consequence <- function(record, outcome, may_have_arrived, new_jobs) {
  # A refusal of the request itself is one of every repetition of it.
  refused <- is_error_body(outcome$body) && record$class %in% c("input", "invalid", "batch_incomplete")
  record$may_exist <- !refused && (may_have_arrived || outcome$may_have_arrived)
  if (record$may_exist) {
    record$job_id <- new_jobs
    record$consequence <- paste(
      "Whether the", if (length(new_jobs) == 1L) "job was" else "jobs were", "created is not known."
    )
    # Not "try again": that is what has been done already, and by hand it would be another submission.
    ask <- call_text("abba_get_job_status", new_jobs)
    look <- paste0("Before you submit again, look whether it is there: ", ask, ".")
    record$advice <- paste(c(if (length(new_jobs) == 1L) look, if (!record$may_heal) record$advice), collapse = " ")
  } else if (!is_error_body(outcome$body)) {
    record$consequence <- "Nothing was submitted."
  }
  record
}
