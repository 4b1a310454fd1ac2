#' Submit again what failed of a batch
#'
#' Submits the programs of a batch that have failed or were cancelled once more, with
#' the arguments of their first submission unless you give others. They are read anew
#' from where they were, so a program that you have mended runs as it is now. They get
#' a new batch id: the first batch stays as the record of what happened. It works through
#' `kubectl`, or through the abba API.
#'
#' Of a batch that the cluster has forgotten the arguments come from the archive, where there is one: see
#' [abba_archive()].
#'
#' What was cancelled a moment ago is waited for until it has ended, so that it does not
#' run twice at a time. A job whose status is `"Unknown"` may still be running, and is
#' left out unless you ask for it.
#'
#' The programs of a plan keep their order. While one still runs (or may, as its status is `"Unknown"`) that another one
#' runs after, which has failed or was not started, nothing is submitted again; with `include_unknown = TRUE` the
#' `"Unknown"` one runs again, too.
#'
#' Through the API the programs are read on this machine, from the files that they were
#' submitted from, whatever the working directory is now; a program that ran where it was,
#' in a mount, is submitted by its path alone. Only your own jobs are submitted again,
#' since the programs run under your name: an operator's, too.
#'
#' @param ... Arguments of [abba_submit_k8s_job_local()], or of [abba_submit_job()], that
#'   replace those of the first submission for all programs, such as `memory_limit = "4G"`; not `file_path`
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
#' submitted. So is, of class `abba_error_not_ended`, a program that has not ended and that one of those that failed
#' runs after. All programs are read before the first is sent, and one that is not there is an error of class
#' `abba_error_input` that names it. If some programs could not be submitted, an error of class
#' `abba_error_batch_incomplete` says so, as of [abba_submit_k8s_batch_local()]; give its field `batch` as `batch_id` to
#' submit the rest: nothing is submitted twice. The classes of other errors are listed in [abba-package].
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' again <- abba_rerun_k8s_batch_local("Study_1.tables", memory_limit = "4G")
#' abba_watch_k8s_batch_local(again$batch_id[[1]])
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' again <- abba_rerun_batch("Study_1.tables", memory_limit = "1G")
#' abba_watch_batch(again$batch_id[[1]])
#' }
abba_rerun_k8s_batch_local <- function(
    batch_id,
    ...,
    include_unknown = FALSE,
    namespace = getOption("abba.k8s.namespace")) {
  rerun_batch(
    road_kubectl(namespace), abba_submit_k8s_job_local, batch_id, rlang::list2(...), include_unknown
  )
}

#' @rdname abba_rerun_k8s_batch_local
#' @export
abba_rerun_batch <- function(batch_id, ..., include_unknown = FALSE) {
  rerun_batch(road_api(), abba_submit_job, batch_id, rlang::list2(...), include_unknown)
}

# Submits again what failed of a batch. `submit`: the function whose arguments `changes` are.
rerun_batch <- function(road, submit, batch_id, changes, include_unknown) {
  call <- road$call
  known <- setdiff(names(formals(submit)), c("file_path", "namespace"))
  changes <- check_changes(changes, known, road$verb("submit_job"), call)
  include_unknown <- check_flag(include_unknown, call = call)
  batch <- if (is.data.frame(batch_id)) check_rest_of_rerun(batch_id, call)
  first <- this_batch(if (is.null(batch)) batch_id else batch$rerun_of_batch[[1L]], call = call)
  core_value(core_check_which(first), call)
  core_value(core_check_values(changes[!vapply(changes, is.null, NA)]), call)
  # What is left of an earlier call is submitted whatever its state is by now.
  states <- if (is.null(batch)) c("Failed", if (include_unknown) "Unknown")
  kept <- kept_submissions(road, first$batch_id, states)
  ids <- vapply(kept, `[[`, "", "job_id")
  if (is.null(batch)) {
    if (length(kept) == 0L) {
      rlang::inform("Nothing of the batch has failed, so nothing is submitted again.")
      return(nothing_submitted())
    }
    open <- unique(unlist(lapply(kept, `[[`, "open_predecessors")))
    if (length(open) > 0L) core_value(core_predecessors_have_not_ended(open), call)
    programs <- vapply(kept, `[[`, "", "file_path")
    batch <- new_batch(
      programs, changes$batch_group_id %||% "", call,
      rerun_of = ids, rerun_of_batch = rep(first$batch_id, length(kept))
    )
    after <- after_again(kept, ids, batch$job_id)
    if (!is.null(after)) batch <- with_order(batch, after)
  }
  submissions <- lapply(which(is.na(batch$submitted)), function(row) {
    place <- match(batch$rerun_of[[row]], ids)
    if (is.na(place)) {
      abort_record(list(
        class = "not_found",
        message = paste0("Job \"", batch$rerun_of[[row]], "\", which is to run again, is not there any more."),
        advice = paste0("Submit its program again with ", road$verb("submit_job"), "(): ", batch$program[[row]]),
        job_id = batch$rerun_of[[row]]
      ), call)
    }
    submission_again(kept[[place]], changes, ids_of_row(batch, row))
  })
  submit_rows(road, batch, submissions, "batch_id")
}

# Those of the programs that run again for which each one waits, as the data frame of a batch has them; NULL where none
# does. What has succeeded is not waited for.
after_again <- function(kept, ids, new_ids) {
  after <- lapply(kept, function(one) {
    before <- as.character(unlist(one$arguments$after))
    names(before) <- names(one$arguments$after)
    row <- match(names(before), ids)
    stats::setNames(unname(before)[!is.na(row)], new_ids[row[!is.na(row)]])
  })
  if (any(lengths(after) > 0L)) after
}

# What the jobs of a batch were submitted with: those in some states; all where there are none. What was cancelled a
# moment ago counts as failed, and is waited for, unless jobs are meant whatever their state is.
kept_submissions <- function(road, batch_id, states) {
  # Their node gives them 30 seconds.
  end <- proc.time()[["elapsed"]] + 40
  repeat {
    kept <- road$kept_submissions(batch_id, states)
    ending <- vapply(kept[vapply(kept, `[[`, NA, "ending")], `[[`, "", "job_id")
    if (is.null(states) || length(ending) == 0L) {
      return(kept)
    }
    if (proc.time()[["elapsed"]] >= end) {
      core_value(core_does_not_end(ending), road$call)
    }
    Sys.sleep(0.5)
  }
}

# The arguments of a submission that is made again, under new ids.
submission_again <- function(kept, changes, ids) {
  again <- kept$arguments
  again[c("after", "awaited")] <- NULL
  for (name in c("mounts", "job_template")) again[name] <- list(with_empty_arrays(again[[name]]))
  again[names(changes)] <- changes
  again[names(ids)] <- ids
  # With other storage it is found out anew whether the program can run in place.
  same_storage <- !any(c("mounts", "auto_mount_home", "job_template") %in% names(changes))
  c(again, list(
    rerun_of = kept$job_id, read_from = kept$read_from, in_place = if (same_storage) kept$in_place
  ))
}

# What was read from JSON, as it becomes the same JSON again: an empty array is a list without names there, and a list
# without elements would become an empty object.
with_empty_arrays <- function(x) {
  if (!is.list(x)) {
    return(x)
  }
  if (length(x) == 0L && is.null(names(x))) character() else lapply(x, with_empty_arrays)
}

# The columns that the data frame of an error has besides those of a batch: the job that is run again, and its batch.
rerun_columns <- c("rerun_of", "rerun_of_batch")

check_rest_of_rerun <- function(batch, call) {
  if (!is_batch(batch) || !all(rerun_columns %in% names(batch)) || nrow(batch) == 0L) {
    abort_input("batch_id", "must be a string, or the data frame of the error of an earlier call", NULL, call)
  }
  rest_of_batch(batch, call)
}
