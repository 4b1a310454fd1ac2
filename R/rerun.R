#' Submit again what failed of a batch
#'
#' Submits the programs of a batch that have failed or were cancelled once more, with
#' the arguments of their first submission unless you give others. They are read anew
#' from where they were, so a program that you have mended runs as it is now. They get
#' a new batch id: the first batch stays as the record of what happened.
#'
#' A job whose status is `"Unknown"` may still be running, and is left out unless you
#' ask for it.
#'
#' @param ... Arguments of [abba_submit_k8s_job_local()] that replace those of the
#'   first submission for all programs, such as `memory_limit = "4G"`; not `file_path`
#'   and `namespace`.
#' @param include_unknown Whether to submit those whose status is `"Unknown"` too.
#' @inheritParams abba_get_k8s_batch_status_local
#'
#' @return A data frame as of [abba_submit_k8s_batch_local()], with no row where
#'   nothing has failed.
#'
#' @section Errors:
#' As of [abba_submit_k8s_batch_local()].
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
  batch_id <- check_string(batch_id)
  call <- rlang::current_env()
  changes <- check_changes(rlang::list2(...), call)
  outcomes <- core_value(
    core_rerun(batch_id, changes, check_flag(include_unknown), settings(namespace))
  )
  text <- function(name) vapply(outcomes, `[[`, "", name)
  batch <- data.frame(
    job_id = rep(NA_character_, length(outcomes)),
    batch_id = text("batch_id"),
    program = text("program"),
    submitted = as.POSIXct(rep(NA_real_, length(outcomes)), origin = "1970-01-01", tz = "UTC"),
    reason = rep(NA_character_, length(outcomes))
  )
  if (length(outcomes) == 0L) {
    rlang::inform("Nothing of the batch has failed, so nothing is submitted again.")
    return(structure(batch[names(batch) != "reason"], class = c("abba_batch", "data.frame")))
  }
  for (row in seq_along(outcomes)) {
    batch <- note_outcome(batch, row, outcomes[[row]])
  }
  finish_batch(
    batch, nrow(batch), call,
    again = paste(
      "call abba_submit_k8s_batch_local() with it in place of `file_paths`, and with the arguments of those",
      "programs, to submit the rest."
    )
  )
}

# The arguments that replace those of the first submission, their R types checked:
# their values by name, and the names of those that are to be none.
check_changes <- function(changes, call) {
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
  unknown <- setdiff(rlang::names2(changes), names(checks))
  if (length(unknown) > 0L) {
    abort_input(
      "...", paste0(
        "must be named arguments of abba_submit_k8s_job_local(), not ",
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
