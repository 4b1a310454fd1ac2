#' Submit many programs as one batch, through the abba API
#'
#' Submits each program as a job of its own, all under one batch id. See
#' [abba_submit_job()] for what happens to each. Many programs travel in several
#' requests.
#'
#' All programs are read, and all arguments checked, before the first request is sent, so
#' a mistake in one of them submits nothing.
#'
#' If some programs could not be submitted, an error of class
#' `abba_error_batch_incomplete` says so. Its field `batch` is the data frame that
#' would have been returned, with `submitted` `NA` and the reason in `reason` where
#' it failed. Give that data frame, as it is, as `file_paths`, with the same other
#' arguments, to submit the rest: nothing is submitted twice, even where it was not
#' known whether a job had been created.
#'
#' @param user_tag,cpu_limit,memory_limit,container,mounts,auto_mount_home,time_limit_seconds
#'   As for [abba_submit_job()]. Each may also be a vector or a list with one element for
#'   each program. One `mounts` (a list with `volumes` and `volumeMounts`) is for all
#'   programs; a list of such lists has one for each.
#' @inheritParams abba_submit_k8s_batch_local
#'
#' @inherit abba_submit_k8s_batch_local return
#' @inheritSection abba_submit_job Errors
#'
#' @seealso [abba_watch_batch()] to wait for the end, [abba_get_batch_status()],
#'   [abba_get_batch_log()]
#' @export
#' @examples
#' # Needs an abba API.
#' \dontrun{
#' programs <- list.files("programs", pattern = "[.]R$", full.names = TRUE)
#' batch <- abba_submit_batch(programs, cpu_limit = 0.5)
#' abba_watch_batch(batch$batch_id[[1]])
#' }
abba_submit_batch <- function(
    file_paths,
    batch_group_id = "",
    user_tag = "",
    cpu_limit = 1L,
    memory_limit = "512M",
    container = getOption("abba.default.container"),
    mounts = "",
    auto_mount_home = FALSE,
    time_limit_seconds = NULL) {
  call <- rlang::current_env()
  client_address(call)
  batch <- batch_to_submit(file_paths, check_string(batch_group_id, empty = TRUE))
  each <- spread_arguments(
    list(
      user_tag = user_tag, cpu_limit = cpu_limit, memory_limit = memory_limit, container = container,
      mounts = mounts, auto_mount_home = auto_mount_home, time_limit_seconds = time_limit_seconds
    ),
    nrow(batch)
  )
  program_of <- function(row) {
    of_row <- lapply(each, function(values) values[[row]])
    rlang::exec(client_submit_arguments, batch$program[[row]], !!!of_row, call = call)
  }
  submit_rows(batch, program_of, "in place of `file_paths`", call)
}

# Submits the programs of a batch that are not submitted yet.
#
# program_of: a function of a row's number that gives what client_submit_arguments() gives.
# place: where the data frame of the error goes in a call for the rest.
submit_rows <- function(batch, program_of, place, call) {
  # Only a data frame as it was raised still fits the requests that it tells of.
  attr(batch, "requests") <- Filter(
    function(request) identical(batch$program[request$rows], request$programs), attr(batch, "requests")
  )
  batch <- find_uncertain(batch, call)
  requests <- attr(batch, "requests")
  again <- unlist(lapply(requests, `[[`, "rows"))
  open <- setdiff(which(is.na(batch$submitted)), again)
  sent <- sort(c(again, open))
  programs <- lapply(sent, program_of)
  texts <- rep("", nrow(batch))
  texts[sent] <- vapply(programs, function(program) core_value(core_json(program), call), "")
  requests <- c(requests, new_requests(open, nchar(texts[open], "bytes")))
  if (length(requests) > 1L) {
    check_values(batch$program[sent], programs, call)
  }
  submit_requests(batch, requests, texts, place, call)
}

# What one request carries at most; the bytes leave room below the 4 MiB that an API takes.
programs_of_request <- 50L
bytes_of_request <- 4 * 1024^2 - 64 * 1024

# Divides rows into requests: lists of `key`, under which the request is made once, and `rows`.
new_requests <- function(rows, bytes) {
  requests <- list()
  begin <- 1L
  while (begin <= length(rows)) {
    fits <- which(cumsum(bytes[begin:length(rows)]) <= bytes_of_request)
    count <- max(1L, min(length(fits), programs_of_request))
    requests <- c(requests, list(list(
      key = core_value(core_new_request_key()), rows = rows[begin:(begin + count - 1L)]
    )))
    begin <- begin + count
  }
  requests
}

# The API checks values, but a request at a time: where there are several, the core checks all of them before.
check_values <- function(paths, programs, call) {
  carried <- !vapply(programs, function(program) is.null(c(program$program_text, program$program_base64)), NA)
  arguments <- Map(function(path, program) {
    submit_arguments(
      program$absolute_path %||% path, "", program$user_tag, program$cpu_limit, program$memory_limit,
      # What is not given is the API's to choose.
      program$container %||% "image", program$mounts,
      auto_mount_home = FALSE, home_nfs_ip_address = NULL, username = NULL,
      time_limit_seconds = program$time_limit_seconds, call = call
    )
  }, paths[carried], programs[carried])
  core_value(core_check_submissions(unname(arguments)), call)
}

# Jobs of an earlier call whose creation was not certain, where the requests that made them are not known any more (a
# part of the data frame was given): those that are there are submitted, the others are open again.
find_uncertain <- function(batch, call) {
  repeated <- unlist(lapply(attr(batch, "requests"), `[[`, "rows"))
  uncertain <- is.na(batch$submitted) & !is.na(batch$job_id) & !seq_len(nrow(batch)) %in% repeated
  if (!any(uncertain)) {
    return(batch)
  }
  jobs <- tryCatch(
    client_call("GET", "/jobs", list(batch_id = batch$batch_id[[1L]]), call = call)$body,
    abba_error_not_found = function(cnd) list()
  )
  found <- reading("/jobs", list(id = string_column(jobs, "job_id"), time = string_column(jobs, "submitted")), call)
  place <- match(batch$job_id, found$id)
  there <- uncertain & !is.na(place)
  batch$submitted[there] <- from_kubernetes_time(found$time[place[there]])
  batch$job_id[uncertain & !there] <- NA_character_
  batch
}

# Sends the requests one after the other and notes what became of each row.
submit_requests <- function(batch, requests, texts, place, call) {
  tried <- sum(is.na(batch$submitted))
  lost <- list()
  progress <- if (length(requests) > 1L) {
    cli::cli_progress_bar("Submitting", total = sum(lengths(lapply(requests, `[[`, "rows"))))
  }
  attr(batch, "requests") <- NULL
  failed <- FALSE
  for (request in requests) {
    if (failed) {
      # A request whose outcome is not known has been sent before, and stays to be repeated.
      was_sent <- isTRUE(request$was_sent)
      lost <- c(lost, if (was_sent) list(request))
      rows <- request$rows[is.na(batch$submitted[request$rows])]
      batch$reason[rows] <- if (was_sent) {
        "Whether it was submitted is not known."
      } else {
        "It was not sent, because an earlier request had failed."
      }
      next
    }
    outcome <- submit_request(batch, request, texts, call)
    batch <- outcome$batch
    failed <- outcome$failed
    if (outcome$is_lost) {
      request$was_sent <- TRUE
      request$programs <- batch$program[request$rows]
      lost <- c(lost, list(request))
    }
    if (!is.null(outcome$error) && length(lost) == 0L && all(is.na(batch$submitted))) {
      rlang::cnd_signal(outcome$error)
    }
    if (!is.null(progress)) {
      cli::cli_progress_update(inc = length(request$rows), id = progress)
    }
  }
  if (length(lost) > 0L) {
    attr(batch, "requests") <- lost
  }
  finish_batch(batch, tried, place, call)
}

# Sends one request. A list of `batch`, with what became of its rows; `failed`: whether there is no use in sending more;
# `is_lost`: whether it has to be repeated to know its outcome; `error`: what says it all where nothing was submitted.
submit_request <- function(batch, request, texts, call) {
  rows <- request$rows
  body <- paste0(
    "{\"batch_group_id\":", core_value(core_json(batch$batch_id[[rows[[1L]]]]), call),
    ",\"programs\":[", paste(texts[rows], collapse = ","), "]}"
  )
  outcomes <- function(body) {
    list(
      job_id = string_column(body, "job_id"), submitted = from_kubernetes_time(string_column(body, "submitted")),
      reason = string_column(body, "reason")
    )
  }
  answer <- tryCatch(
    {
      answer <- client_call(
        "POST", "/submit-batch",
        body = body, request_key = request$key, call = call,
        lost = "Whether the jobs were created is not known.",
        fields = function(body) if (is.list(body$batch)) list(batch = body$batch)
      )
      reading("/submit-batch", outcomes(answer$body), call)
    },
    abba_error = identity,
    interrupt = function(condition) "interrupted"
  )
  if (inherits(answer, "abba_error_batch_incomplete") && length(answer$batch) == length(rows)) {
    answer <- outcomes(answer$batch)
  }
  if (is.list(answer) && !inherits(answer, "condition") && length(answer$job_id) == length(rows)) {
    # A repeated request has rows that were known before.
    new <- which(is.na(batch$submitted[rows]))
    batch$job_id[rows[new]] <- answer$job_id[new]
    batch$submitted[rows[new]] <- answer$submitted[new]
    batch$reason[rows[new]] <- ifelse(
      is.na(answer$submitted[new]), rlang::`%|%`(answer$reason[new], "The API did not say why."), NA_character_
    )
    # An id without a job that is known to be there: there may be one.
    uncertain <- is.na(batch$submitted[rows]) & !is.na(batch$job_id[rows])
    return(list(batch = batch, failed = FALSE, is_lost = any(uncertain)))
  }
  is_lost <- TRUE
  if (identical(answer, "interrupted")) {
    reason <- "Interrupted: whether it was submitted is not known."
  } else if (inherits(answer, "condition")) {
    # An answer that is not understood (it has no such field) may be that of a request that was.
    is_lost <- answer$may_exist %||% TRUE || isTRUE(request$was_sent)
    reason <- answer$message
  } else {
    reason <- "The answer of the abba API is about other programs."
  }
  batch$reason[rows[is.na(batch$submitted[rows])]] <- reason
  says_it_all <- inherits(answer, paste0(
    "abba_error_", c("input", "invalid", "forbidden", "unauthorized", "not_configured")
  ))
  list(batch = batch, failed = TRUE, is_lost = is_lost, error = if (says_it_all && !is_lost) answer)
}
