#' Submit again what failed of a batch
#'
#' Submits the programs of a batch that have failed or were cancelled once more, with
#' the arguments of their first submission unless you give others. They are read anew
#' from where they were, so a program that you have mended runs as it is now. They get
#' a new batch id: the first batch stays as the record of what happened.
#'
#' What was cancelled a moment ago is waited for until it has ended, so that it does not
#' run twice at a time. A job whose status is `"Unknown"` may still be running, and is
#' left out unless you ask for it.
#'
#' @param ... Arguments of [abba_submit_k8s_job_local()] that replace those of the
#'   first submission for all programs, such as `memory_limit = "4G"`; not `file_path`
#'   and `namespace`. `NULL` takes an argument away: `time_limit_seconds = NULL` submits
#'   without the time limit of the first submission.
#' @param include_unknown Whether to submit those whose status is `"Unknown"` too.
#' @param batch_id The id of a batch. Or the field `batch` of the error of an earlier call, to submit what is left of
#'   it; give the same other arguments as then.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return A data frame as of [abba_submit_k8s_batch_local()], with no row where
#'   nothing has failed.
#'
#' @section Errors:
#' A job that was cancelled and does not end within 40 seconds is an error of class `abba_error_timeout`, and nothing is
#' submitted. If some programs could not be submitted, an error of class `abba_error_batch_incomplete` says so, as of
#' [abba_submit_k8s_batch_local()]; give its field `batch` as `batch_id` to submit the rest.
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' again <- abba_rerun_k8s_batch_local("Study_1.tables", memory_limit = "4G")
#' abba_watch_k8s_batch_local(again$batch_id[[1]])
#' }
abba_rerun_k8s_batch_local <- function(
    batch_id,
    ...,
    include_unknown = FALSE,
    namespace = getOption("abba.k8s.namespace")) {
  call <- rlang::current_env()
  changes <- check_changes(rlang::list2(...), call)
  include_unknown <- check_flag(include_unknown)
  before <- if (is.data.frame(batch_id)) check_rest_of_rerun(batch_id, call)
  batch_id <- if (is.null(before)) check_string(batch_id) else before$rerun_of_batch[[1L]]
  rest <- if (!is.null(before)) rest_of_rerun(before)
  settings <- settings(namespace)
  core_value(core_check_values(changes$values))
  kept <- kept_k8s_submissions(batch_id, if (is.null(before)) c("Failed", if (include_unknown) "Unknown"), settings, call)
  if (!is.null(rest)) {
    kept <- Filter(function(one) one$job_id %in% rest$rerun_of, kept)
  }
  arguments <- lapply(kept, function(one) {
    arguments <- one$arguments
    arguments$batch_group_id <- rest$batch_id
    arguments[names(changes$values)] <- changes$values
    arguments[changes$none] <- list(NULL)
    job_id <- if (!is.null(rest)) rest$job_id[[match(one$job_id, rest$rerun_of)]]
    arguments$job_id <- if (!is.null(job_id) && nzchar(job_id)) job_id
    arguments
  })
  if (is.null(rest) && length(arguments) > 0L) {
    new_batch_id <- changes$values$batch_group_id %||%
      core_value(core_new_ids(arguments[[1L]]$expanded_path, ""))$batch_id
    arguments <- lapply(arguments, utils::modifyList, list(batch_group_id = new_batch_id))
  }
  outcomes <- if (length(arguments) > 0L) core_value(core_submit(arguments, settings))
  outcomes <- Map(function(outcome, one) c(outcome, rerun_of = one$job_id), outcomes, kept)
  batch <- if (is.null(before)) rerun_batch(outcomes, batch_id) else before
  if (nrow(batch) == 0L) {
    return(nothing_to_rerun(batch))
  }
  for (outcome in outcomes) {
    batch <- note_outcome(batch, which(batch$rerun_of == outcome$rerun_of), outcome)
  }
  finish_batch(batch, nrow(batch), "in place of `batch_id`", call)
}

# What the jobs of a batch were submitted with. Jobs that were cancelled a moment ago are waited for, unless they are meant
# whatever their state is (`status` is NULL).
kept_k8s_submissions <- function(batch_id, status, settings, call) {
  # Their node gives them 30 seconds.
  end <- proc.time()[["elapsed"]] + 40
  repeat {
    kept <- core_value(core_kept_submissions(batch_id, as.character(status), settings), call)
    ending <- vapply(kept[vapply(kept, `[[`, NA, "ending")], `[[`, "", "job_id")
    if (is.null(status) || length(ending) == 0L) {
      return(kept)
    }
    if (proc.time()[["elapsed"]] >= end) {
      core_value(core_does_not_end(ending), call)
    }
    Sys.sleep(0.3)
  }
}

nothing_to_rerun <- function(batch) {
  rlang::inform("Nothing of the batch has failed, so nothing is submitted again.")
  structure(batch[setdiff(names(batch), c("reason", rerun_columns))], class = c("abba_batch", "data.frame"))
}

# The columns that the data frame of an error has besides those of a batch: the job that is run again, and its batch.
rerun_columns <- c("rerun_of", "rerun_of_batch")

# The data frame of a rerun before anything of it is noted.
rerun_batch <- function(outcomes, batch_id) {
  text <- function(name) vapply(outcomes, `[[`, "", name)
  data.frame(
    job_id = rep(NA_character_, length(outcomes)),
    batch_id = text("batch_id"),
    program = text("program"),
    submitted = as.POSIXct(rep(NA_real_, length(outcomes)), origin = "1970-01-01", tz = "UTC"),
    reason = rep(NA_character_, length(outcomes)),
    rerun_of = text("rerun_of"),
    rerun_of_batch = rep(batch_id, length(outcomes))
  )
}

check_rest_of_rerun <- function(batch, call) {
  needed <- c("job_id", "batch_id", "program", "submitted", rerun_columns)
  if (!all(needed %in% names(batch)) || nrow(batch) == 0L) {
    abort_input("batch_id", "must be a string, or the data frame of the error of an earlier call", NULL, call)
  }
  batch$reason <- NA_character_
  batch
}

# What is left of a rerun, as the core wants it.
rest_of_rerun <- function(batch) {
  open <- is.na(batch$submitted)
  list(
    batch_id = batch$batch_id[[1L]],
    rerun_of = I(batch$rerun_of[open]),
    # "" for a job that is sure not to exist.
    job_id = I(ifelse(is.na(batch$job_id[open]), "", batch$job_id[open]))
  )
}

# The arguments that replace those of the first submission, their R types checked:
# their values by name, and the names of those that are to be none.
#
# verb: the function whose arguments they are. without: those that it does not have.
check_changes <- function(changes, call, verb = "abba_submit_k8s_job_local", without = character()) {
  checks <- list(
    batch_group_id = function(x) check_string(x, argument = "batch_group_id", call = call),
    user_tag = function(x) check_string(x, empty = TRUE, argument = "user_tag", call = call),
    cpu_limit = function(x) check_number_or_string(x, argument = "cpu_limit", call = call),
    memory_limit = function(x) check_memory_limit(x, call = call),
    container = function(x) check_string(x, argument = "container", call = call),
    mounts = function(x) check_mounts(x, call = call),
    auto_mount_home = function(x) check_flag(x, argument = "auto_mount_home", call = call),
    home_nfs_ip_address = function(x) check_string(x, null = TRUE, argument = "home_nfs_ip_address", call = call),
    username = function(x) check_string(x, null = TRUE, argument = "username", call = call),
    time_limit_seconds = function(x) check_number(x, null = TRUE, argument = "time_limit_seconds", call = call)
  )
  checks <- checks[setdiff(names(checks), without)]
  unknown <- setdiff(rlang::names2(changes), names(checks))
  if (length(unknown) > 0L) {
    abort_input(
      "...", paste0(
        "must be named arguments of ", verb, "(), not ",
        if (unknown[[1L]] == "") "an unnamed one" else paste0("`", unknown[[1L]], "`")
      ),
      NULL, call
    )
  }
  twice <- names(changes)[duplicated(names(changes))]
  if (length(twice) > 0L) {
    abort_input("...", paste0("must not give `", twice[[1L]], "` twice"), NULL, call)
  }
  checked <- Map(function(check, x) check(x), checks[names(changes)], changes)
  # NULL is an argument too: none instead of the first one.
  none <- vapply(checked, is.null, NA)
  list(values = checked[!none], none = I(names(checked)[none]))
}
