# The answers of an abba API: their warnings, their shape, their pages.

# The warnings that came with an answer.
raise_client_warnings <- function(outcome) {
  text <- outcome$header("Abba-Warnings")
  records <- if (!is.null(text)) json_or_null(text)
  records <- Filter(is_error_body, records)
  raise_warnings(lapply(records, as_record))
}

# For an answer that is JSON of another shape than the contract's.
abort_shape <- function(path, call, consequence = NULL) {
  abort_words(c(
    paste0("The answer of the abba API to ", path, " is not understood."),
    x = consequence,
    i = paste0(
      "Its version and that of this package (", utils::packageVersion("abba"),
      ") may not fit together: abba_check_api() tells both."
    )
  ), call, "kubectl", request = path)
}

# The value of `expr`, which reads an answer; where it fails the answer has not the shape of the contract.
# `consequence`: what that means, if anything.
reading <- function(path, expr, call, consequence = NULL) {
  tryCatch(expr, error = function(cnd) abort_shape(path, call, consequence))
}

# Asks something about jobs. `which`: list(job_id = ) or list(batch_id = ). `more`: further arguments. Many ids travel
# in a body: an address has a bounded length. ... : as for client_call().
client_ask <- function(path, which, more = list(), ..., call = rlang::caller_env()) {
  jobs <- jobs_of(which)
  core_value(core_check_which(jobs), call)
  ids <- jobs[[1L]]
  more <- c(which[setdiff(names(which), names(jobs))], more[!vapply(more, is.null, NA)])
  if (sum(nchar(ids, "bytes") + 1L) <= 1500L) {
    query <- rlang::set_names(list(paste(ids, collapse = ",")), names(jobs))
    return(client_call("GET", path, c(query, lapply(more, as.character)), ..., call = call))
  }
  client_call("POST", path, body = core_value(core_json(c(jobs, more)), call), ..., call = call)
}

client_status <- function(which, call = rlang::caller_env()) {
  path <- paste0("/", if (is.null(which$batch_id)) "job" else "batch", "-status")
  answer <- client_ask(path, which, call = call)
  reading(path, call = call, {
    stopifnot(length(answer$body) > 0L)
    read_status(answer$body)
  })
}

# The logs of jobs, all their pages.
client_log <- function(which, call = rlang::caller_env()) {
  by <- if (is.null(which$batch_id)) "job" else "batch"
  path <- paste0("/", by, "-log")
  id_name <- if (by == "job") "job_id" else "pod_id"
  rows <- list()
  client_pages(path, which, "^[0-9]{1,9}[.][0-9]{1,12}$", call, function(body, page) {
    logs <- logs_from_json(body, id_name)
    before <- if (is.null(page)) 0L else as.integer(sub("[.].*$", "", page))
    stopifnot(before <= length(rows))
    for (index in seq_along(logs)) {
      place <- before + index
      row <- logs[[index]]
      row$lines <- c(if (place <= length(rows)) rows[[place]]$lines, list(row$lines))
      rows[[place]] <<- row
    }
  })
  read_logs(lapply(rows, function(row) {
    log <- if (is.null(row$error)) unlist(c(list(character()), row$lines))
    named <- rlang::set_names(list(row$id, log), c(id_name, "log"))
    c(named, if (is.null(log)) list(error = row$error), list(warning = row$warning))
  }))
}

# The record of a job and its log, all its pages: a list of `record` and `log`, strings.
client_record <- function(job_id, call = rlang::caller_env()) {
  record <- NULL
  logs <- character()
  client_pages("/job-record", list(job_id = job_id), "^0[.][0-9]{1,12}$", call, function(body, page) {
    record <<- one_string(body$record)
    logs <<- c(logs, one_string(body$log))
  })
  list(record = record, log = logs)
}

# Asks something about jobs and has each page of the answer read. read: a function of the page's body and of the token
# that it was asked for with, NULL for the first. pattern: what tokens are.
client_pages <- function(path, which, pattern, call, read) {
  page <- NULL
  repeat {
    answer <- client_ask(path, which, list(page = page), call = call)
    reading(path, read(answer$body, page), call)
    token <- answer$header("Abba-Next-Page")
    if (is.null(token)) {
      return(invisible())
    }
    # The next page must lead on, or this would never end.
    if (!grepl(pattern, token) || !is_further(token, page)) {
      abort_shape(path, call)
    }
    page <- token
  }
}

logs_from_json <- function(body, id_name) {
  lapply(body, function(log) {
    if (is.null(log$log)) {
      stopifnot(is_error_body(log$error))
      return(list(id = one_string(log[[id_name]]), error = as_record(log$error)))
    }
    stopifnot(is.list(log$log))
    list(
      id = one_string(log[[id_name]]),
      lines = vapply(log$log, one_string, "", USE.NAMES = FALSE),
      warning = if (is_error_body(log$warning)) as_record(log$warning)
    )
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
