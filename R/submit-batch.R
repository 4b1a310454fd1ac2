#' Submit many programs as one batch
#'
#' Submits each program as a job of its own, several at once, all under one batch
#' id. See [abba_submit_k8s_job_local()] for what happens to each.
#'
#' All programs and arguments are checked before the first program is sent, so a
#' mistake in one of them submits nothing.
#'
#' If some programs could not be submitted, an error of class
#' `abba_error_batch_incomplete` says so. Its field `batch` is the data frame that
#' would have been returned, with `submitted` `NA` and the reason in `reason` where
#' it failed. Give that data frame as `file_paths`, with the same other arguments,
#' to submit the rest: nothing is submitted twice, even where it was not known
#' whether a job had been created.
#'
#' @param file_paths The programs: a character vector. Or the field `batch` of the
#'   error of an earlier call.
#' @param batch_group_id The batch id of all jobs; with `''` a new one is made from
#'   the name of the first program.
#' @param user_tag,cpu_limit,memory_limit,container,mounts,username,time_limit_seconds
#'   As for [abba_submit_k8s_job_local()]. Each may also be a vector or a list with
#'   one element for each program. One `mounts` (a list with `volumes` and
#'   `volumeMounts`) is for all programs; a list of such lists has one for each.
#' @param auto_mount_home,home_nfs_ip_address The same.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return A data frame of class `abba_batch` with one row for each program, in
#'   their order, and the columns `job_id`, `batch_id`, `program` (the path as
#'   given), all character, and `submitted`, the time (POSIXct, UTC).
#'
#' @seealso [abba_watch_k8s_batch_local()] to wait for the end,
#'   [abba_get_k8s_batch_status_local()], [abba_get_k8s_batch_log_local()]
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' programs <- list.files("programs", pattern = "[.]R$", full.names = TRUE)
#' batch <- abba_submit_k8s_batch_local(programs, cpu_limit = 0.5)
#' abba_watch_k8s_batch_local(batch$batch_id[[1]])
#' }
abba_submit_k8s_batch_local <- function(
    file_paths,
    batch_group_id = "",
    user_tag = "",
    cpu_limit = 1L,
    memory_limit = "512M",
    container = getOption("abba.default.container"),
    mounts = "",
    auto_mount_home = FALSE,
    home_nfs_ip_address = getOption("abba.home.nfs.ip.address"),
    namespace = getOption("abba.k8s.namespace"),
    username = NULL,
    time_limit_seconds = NULL) {
  settings <- settings(namespace)
  batch <- batch_to_submit(file_paths, check_string(batch_group_id, empty = TRUE))
  call <- environment()
  each <- spread_arguments(
    list(
      user_tag = user_tag, cpu_limit = cpu_limit, memory_limit = memory_limit,
      container = container, mounts = mounts, auto_mount_home = auto_mount_home,
      home_nfs_ip_address = home_nfs_ip_address, username = username,
      time_limit_seconds = time_limit_seconds
    ),
    nrow(batch), call
  )
  open <- which(is.na(batch$submitted))
  arguments <- lapply(open, function(row) {
    of_row <- lapply(each, function(values) values[[row]])
    job_id <- if (is.na(batch$job_id[[row]])) NULL else batch$job_id[[row]]
    rlang::exec(
      submit_arguments, batch$program[[row]], batch$batch_id[[row]],
      !!!of_row,
      job_id = job_id, call = call
    )
  })
  # The core checks all of them before it sends the first; so the parts, which are
  # for the progress bar, must not begin before all have been checked.
  if (length(open) > batch_part) {
    core_value(core_check_submissions(arguments))
  }
  parts <- split(seq_along(open), ceiling(seq_along(open) / batch_part))
  progress <- if (length(parts) > 1L) {
    cli::cli_progress_bar("Submitting", total = length(open))
  }
  stopped <- FALSE
  tryCatch(
    for (part in parts) {
      answer <- core_submit(arguments[part], settings)
      outcomes <- if (is.null(answer$error)) {
        answer$value
      } else if (all(is.na(batch$job_id))) {
        # Nothing was sent at all, so there is no data frame to keep.
        core_value(answer, call)
      } else {
        rep(list(list(error = answer$error)), length(part))
      }
      for (index in seq_along(part)) {
        batch <- note_outcome(batch, open[[part[[index]]]], outcomes[[index]])
      }
      if (!is.null(progress)) {
        cli::cli_progress_update(inc = length(part), id = progress)
      }
      stopped <- any(vapply(outcomes, function(outcome) identical(outcome$error$class, "interrupted"), NA))
      if (stopped || !is.null(answer$error)) {
        break
      }
    },
    interrupt = function(condition) stopped <<- TRUE
  )
  if (stopped && all(is.na(batch$job_id))) {
    rlang::interrupt()
  }
  not_begun <- is.na(batch$submitted) & is.na(batch$reason)
  batch$reason[not_begun] <- "It was not begun."
  finish_batch(batch, length(open), "in place of `file_paths`", call)
}

# How many programs are submitted in one go, between two steps of the progress bar.
batch_part <- 100L

# The data frame of a batch before anything of it, or the rest of it, is submitted.
batch_to_submit <- function(file_paths, batch_group_id, call = rlang::caller_env()) {
  if (is.data.frame(file_paths)) {
    if (!is_batch(file_paths)) {
      abort_input("file_paths", "must be a character vector or the data frame of a batch", NULL, call)
    }
    file_paths$reason <- rep(NA_character_, nrow(file_paths))
    return(file_paths)
  }
  file_paths <- check_strings(file_paths, argument = "file_paths", call = call)
  if (length(file_paths) == 0L) {
    abort_input("file_paths", "must name at least one program", NULL, call)
  }
  if (batch_group_id == "") {
    batch_group_id <- core_value(core_new_ids(file_paths[[1L]], ""), call)$batch_id
  }
  data.frame(
    job_id = NA_character_,
    batch_id = batch_group_id,
    program = file_paths,
    submitted = as.POSIXct(rep(NA_real_, length(file_paths)), origin = "1970-01-01", tz = "UTC"),
    reason = NA_character_
  )
}

# Whether a data frame is one that tells which programs of a batch were submitted.
is_batch <- function(x) {
  needed <- c("job_id", "batch_id", "program", "submitted")
  all(needed %in% names(x)) && is.character(x$job_id) && is.character(x$batch_id) && is.character(x$program) &&
    inherits(x$submitted, "POSIXct") && !anyNA(x$batch_id) && !anyNA(x$program)
}

# For each argument a list of one value for each program.
spread_arguments <- function(arguments, count, call = rlang::caller_env()) {
  if (is.list(arguments$mounts) && !is.null(names(arguments$mounts))) {
    arguments$mounts <- list(arguments$mounts)
  }
  Map(spread, arguments, names(arguments), MoreArgs = list(count = count, call = call))
}

# One value for each program out of an argument that may be one value for all.
spread <- function(values, argument, count, call) {
  if (length(values) <= 1L) {
    value <- if (is.list(values) && length(values) == 1L) values[[1L]] else values
    return(rep(list(value), count))
  }
  if (length(values) != count) {
    abort_input(
      argument, paste0("must have one element, or one for each of the ", count, " programs"),
      values, call
    )
  }
  as.list(values)
}

note_outcome <- function(batch, row, outcome) {
  if (is.null(outcome$error)) {
    batch$job_id[[row]] <- outcome$job_id
    batch$submitted[[row]] <- Sys.time()
  } else {
    # The id is kept only where the job may exist: then it is asked for under it.
    unknown <- length(outcome$error$job_id) > 0L
    batch$job_id[[row]] <- if (unknown) outcome$job_id else NA_character_
    batch$reason[[row]] <- paste(c(outcome$error$message, outcome$error$details, outcome$error$stderr), collapse = " ")
  }
  batch
}

# The data frame of a batch once its programs were submitted, or the error for those that could not be.
#
# tried: how many programs were to be submitted this time.
# place: where the data frame of the error goes in a call for the rest.
finish_batch <- function(batch, tried, place, call) {
  class(batch) <- c("abba_batch", "data.frame")
  failed <- is.na(batch$submitted)
  if (!any(failed)) {
    batch <- batch[setdiff(names(batch), c("reason", rerun_columns))]
    message(
      tried, if (tried == 1L) " job" else " jobs", " created",
      if (nrow(batch) > 0L) paste(" in batch", batch$batch_id[[1L]])
    )
    return(batch)
  }
  # Of those that were not begun there is nothing to tell.
  first <- c(which(failed & !is.na(batch$reason)), which(failed))[[1L]]
  reason <- if (is.na(batch$reason[[first]])) "It was not begun." else batch$reason[[first]]
  rlang::abort(
    c(
      paste0(sum(failed), " of ", nrow(batch), " programs could not be submitted."),
      x = paste0("The first is \"", batch$program[[first]], "\": ", reason),
      i = paste0(
        if (!all(failed)) "The others run. ",
        "`rlang::last_error()$batch` is the data frame of all; call the function again with it ", place,
        " to submit the rest."
      )
    ),
    class = c("abba_error_batch_incomplete", "abba_error_kubectl", "abba_error"),
    call = call,
    use_cli_format = FALSE,
    batch = batch
  )
}
