#' Submit many programs as one batch
#'
#' Submits each program as a job of its own, all under one batch id: through `kubectl`
#' several at once, through the abba API many in one request. See
#' [abba_submit_k8s_job_local()] for what happens to each.
#'
#' All programs are read, and all arguments checked, before the first program is sent, so
#' a mistake in one of them submits nothing.
#'
#' If some programs could not be submitted, or you press Ctrl-C on the way, an error of
#' class `abba_error_batch_incomplete` says so. Its field `batch` is the data frame that
#' would have been returned, with `submitted` `NA` and the reason in `reason` where
#' it failed. Give that data frame as `file_paths`, with the same other arguments,
#' to submit the rest: nothing is submitted twice, even where it was not known
#' whether a job had been created, since each program keeps its `job_id`. You may save
#' the data frame with [saveRDS()], give parts of it, or do so in another session.
#'
#' @section A plan:
#' The programs of a plan ([abba_plan()]) are submitted at once and run in its order. Each one that runs after others
#' waits in the cluster, takes up nothing, and starts when all of these have succeeded. If one of
#' these fails, is cancelled, or is not started itself, the program is not started: its status is
#' `"Failed"`, with the reason "not started, because t_adsl failed". The columns of the plan that are
#' arguments go before those given here for all programs.
#'
#' Somebody must be there to start those that wait: an abba server does it, whoever has submitted them, and so does a
#' controller ([abba_run_controller_local()]). With either you may close your session. Without, each wait for the
#' batch or for one of its jobs through `kubectl` does it ([abba_watch_k8s_batch_local()],
#' [abba_follow_k8s_job_log_local()]). While nobody is there nothing is lost: the next one goes on.
#' [abba_explain_k8s_job_local()] says what a program waits for, and whether a controller or a server is there.
#'
#' @param file_paths The programs: a character vector, or a plan as [abba_plan()] makes it, or rows of
#'   one. Or the field `batch` of the error of an earlier call, or rows of it.
#' @param batch_group_id The batch id of all jobs; with `''` a new one is made from
#'   the name of the first program.
#' @param user_tag,cpu_limit,memory_limit,container,mounts,username As for
#'   [abba_submit_k8s_job_local()]. Each may also be a vector or a list with one element
#'   for each program. One `mounts` (a list with `volumes` and `volumeMounts`) is for all
#'   programs; a list of such lists has one for each.
#' @param time_limit_seconds,vanilla,r_command,queue,job_template,keep_days,disk_limit The same. One
#'   `job_template` is for all programs; a list of such templates has one for each.
#' @param arguments,environment As for [abba_submit_k8s_job_local()]: a character vector
#'   is for all programs; a list of such vectors has one for each.
#' @param auto_mount_home,home_nfs_ip_address The same.
#' @param on_failure Of a plan: what becomes of the programs that still wait when one fails. `"continue"`: those
#'   that do not depend on it run. `"stop"`: none of them starts.
#' @param changed_only Whether only those programs of a plan are submitted that have to run again since their records
#'   were made, as [abba_outdated()] finds it out; `TRUE` or `FALSE`. Where none has to, a message says so, and the data
#'   frame has no row.
#' @param records,study_folder For `changed_only`: the folder of the records, and the one that relative paths of the
#'   plan belong to.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return A data frame of class `abba_batch` with one row for each program, in
#'   their order, and the columns `job_id`, `batch_id`, `program` (the path as
#'   given), all character, and `submitted`, the time (POSIXct, UTC). For a plan it has
#'   its other columns, too, that are no arguments, such as `name` and `run_group`.
#'
#' @inheritSection abba_submit_k8s_job_local Errors
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
#'
#' # In the order that their comment lines tell.
#' batch <- abba_submit_k8s_batch_local(abba_plan(programs), cpu_limit = 0.5)
#' abba_watch_k8s_batch_local(batch$batch_id[[1]])
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' programs <- list.files("programs", pattern = "[.]R$", full.names = TRUE)
#' batch <- abba_submit_batch(programs, cpu_limit = 0.5)
#' abba_watch_batch(batch$batch_id[[1]])
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
    time_limit_seconds = NULL,
    arguments = character(),
    environment = character(),
    vanilla = FALSE,
    r_command = getOption("abba.r.command"),
    queue = getOption("abba.k8s.queue"),
    job_template = getOption("abba.k8s.job.template"),
    keep_days = getOption("abba.k8s.keep.days"),
    disk_limit = getOption("abba.k8s.disk.limit"),
    on_failure = c("continue", "stop"),
    changed_only = FALSE,
    records = "logs",
    study_folder = ".") {
  on_failure <- check_choice(on_failure, on_failure_choices)
  submit_batch(road_kubectl(namespace), mget(names(formals())))
}

#' @rdname abba_submit_k8s_batch_local
#' @export
abba_submit_batch <- function() {
  on_failure <- check_choice(on_failure, on_failure_choices)
  submit_batch(road_api(), mget(names(formals())))
}
formals(abba_submit_batch) <- over_api(formals(abba_submit_k8s_batch_local))

# What becomes of the programs of a plan that wait when another one fails; the first is the default.
on_failure_choices <- c("continue", "stop")

# Submits many programs. `arguments`: those of the exported function, by name.
submit_batch <- function(road, arguments) {
  programs <- arguments$file_paths
  of_batch <- c(
    "file_paths", "batch_group_id", "namespace", "on_failure", "changed_only", "records", "study_folder"
  )
  each <- arguments[setdiff(names(arguments), of_batch)]
  changed_only <- check_flag(arguments$changed_only %||% FALSE, "changed_only", road$call)
  # Of the rest of an earlier call it is known that all of it has to run.
  changed_only <- changed_only && !is_batch(programs)
  if (changed_only) {
    if (!inherits(programs, "abba_plan")) {
      abort_input("changed_only", "goes with a plan as abba_plan() makes it", NULL, road$call)
    }
    each <- arguments_of_each(programs, each, road$call)
    rows <- compare_with_records(programs, each, arguments$records, arguments$study_folder, road$call)
    is_outdated <- vapply(rows, `[[`, NA, "outdated")
    if (!any(is_outdated)) {
      message("No program has to run: nothing has changed since the records were made.")
      return(invisible(nothing_submitted()))
    }
    programs <- programs[is_outdated, ]
    each <- each[is_outdated]
    # What need not run has succeeded.
    programs$after <- lapply(programs$after, intersect, programs$name)
  }
  batch <- batch_to_submit(programs, arguments$batch_group_id, road$call)
  if (!changed_only) each <- arguments_of_each(batch, each, road$call)
  stop <- if (identical(arguments$on_failure, "stop")) list(on_failure = "stop")
  open <- which(is.na(batch$submitted))
  submit_rows(road, batch, lapply(open, function(row) c(ids_of_row(batch, row), each[[row]], stop)), "file_paths")
}

# The data frame of a batch without programs.
nothing_submitted <- function() {
  batch <- data.frame(
    job_id = character(), batch_id = character(), program = character(),
    submitted = as.POSIXct(numeric(), origin = "1970-01-01", tz = "UTC")
  )
  structure(batch, class = c("abba_batch", "data.frame"))
}

# The arguments of each program, checked. Columns of a plan go before what is given; `NA` there is nothing.
arguments_of_each <- function(batch, given, call) {
  each <- spread_arguments(given, nrow(batch), call)
  if (is.null(batch$after)) {
    return(each)
  }
  for (name in intersect(names(batch), names(given))) {
    values <- batch[[name]]
    if (is.factor(values)) values <- as.character(values)
    for (row in seq_along(each)) {
      value <- values[[row]]
      if (!(is.atomic(value) && length(value) == 1L && is.na(value))) {
        each[[row]][name] <- list(check_argument(value, name, call))
      }
    }
  }
  each
}

# The arguments of a submission that its row of a batch tells.
ids_of_row <- function(batch, row) {
  after <- batch$after[[row]]
  c(
    list(file_path = batch$program[[row]], batch_group_id = batch$batch_id[[row]], job_id = batch$job_id[[row]]),
    if (length(after) > 0L) list(after = as.list(after)),
    if (isTRUE(batch$awaited[[row]])) list(awaited = TRUE)
  )
}

# The data frame of a batch before anything of it, or the rest of it, is submitted. Every program has its id from here
# on, under which it is submitted however often it is sent.
batch_to_submit <- function(file_paths, batch_group_id, call) {
  batch_group_id <- check_argument(batch_group_id, "batch_group_id", call)
  if (is.data.frame(file_paths)) {
    if (is_batch(file_paths)) {
      return(rest_of_batch(file_paths, call))
    }
    if (inherits(file_paths, "abba_plan")) {
      return(batch_of_plan(file_paths, batch_group_id, call))
    }
    abort_input("file_paths", "must be a character vector, a plan, or the data frame of a batch", NULL, call)
  }
  file_paths <- check_strings(file_paths, argument = "file_paths", call = call)
  if (length(file_paths) == 0L) {
    abort_input("file_paths", "must name at least one program", NULL, call)
  }
  if (!all(nzchar(file_paths))) {
    abort_input("file_path", "must not be empty", NULL, call)
  }
  new_batch(file_paths, batch_group_id, call)
}

# The data frame of programs that are to be submitted. ... : further columns.
new_batch <- function(programs, batch_group_id, call, ...) {
  ids <- core_value(core_new_ids(programs, batch_group_id), call)
  data.frame(
    job_id = as.character(ids$job_ids),
    batch_id = rep(ids$batch_id, length(programs)),
    program = programs,
    submitted = as.POSIXct(rep(NA_real_, length(programs)), origin = "1970-01-01", tz = "UTC"),
    reason = rep(NA_character_, length(programs)),
    ...
  )
}

# The data frame of a plan's programs, with the plan's columns. `after`: for each program the names of those that it
# waits for, with their job ids as names.
batch_of_plan <- function(plan, batch_group_id, call) {
  if (!all(c("name", "program", "after", "run_group") %in% names(plan)) || nrow(plan) == 0L) {
    abort_input("file_paths", "must be a plan as abba_plan() makes it, with at least one program", NULL, call)
  }
  batch <- new_batch(check_strings(plan$program, argument = "file_paths", call = call), batch_group_id, call)
  absent <- setdiff(unlist(plan$after), plan$name)
  if (length(absent) > 0L) {
    rlang::inform(paste0(
      "Not among the programs that are submitted, and so not waited for: ", paste(absent, collapse = ", "), "."
    ))
  }
  before <- lapply(plan$after, function(names) setdiff(match(names, plan$name), NA))
  circle <- is.na(levels_of(before))
  if (any(circle)) {
    who <- toString(utils::head(plan$name[circle], 5L))
    what <- if (sum(circle) == 1L) "waits for itself" else "wait for each other"
    abort_input("file_paths", paste("must be a plan whose order has no circle:", who, what), NULL, call)
  }
  after <- lapply(plan$after, function(names) {
    row <- match(names, plan$name)
    stats::setNames(names[!is.na(row)], batch$job_id[row[!is.na(row)]])
  })
  further <- setdiff(names(plan), c(names(batch), "inputs", "outputs", "after"))
  batch[further] <- as.list(plan)[further]
  with_order(batch, after)
}

# The data frame of a batch with its order: for each program its `after`, and whether others run after it.
with_order <- function(batch, after) {
  batch$after <- after
  batch$awaited <- batch$job_id %in% unlist(lapply(after, names))
  batch
}

# The data frame of an earlier call, for the programs of it that are not submitted yet.
rest_of_batch <- function(batch, call) {
  # It may have been read from a file.
  batch$program <- as_utf8(batch$program, "file_paths", call)
  batch$reason <- rep(NA_character_, nrow(batch))
  for (row in which(is.na(batch$submitted) & is.na(batch$job_id))) {
    ids <- core_value(core_new_ids(batch$program[[row]], batch$batch_id[[row]]), call)
    batch$job_id[[row]] <- ids$job_ids[[1L]]
  }
  batch
}

# Whether a data frame is one that tells which programs of a batch were submitted.
is_batch <- function(x) {
  needed <- c("job_id", "batch_id", "program", "submitted")
  all(needed %in% names(x)) && is.character(x$job_id) && is.character(x$batch_id) && is.character(x$program) &&
    inherits(x$submitted, "POSIXct") && !anyNA(x$batch_id) && !anyNA(x$program)
}

# Submits the programs of a batch that are not submitted yet, in parts as the road has them, and gives back the data
# frame, or raises the error for those that could not be submitted.
#
# submissions: their arguments, in order.
# argument: the one that takes the data frame of the error in a call for the rest.
submit_rows <- function(road, batch, submissions, argument) {
  open <- which(is.na(batch$submitted))
  plan <- road$prepare(submissions)
  bar <- if (length(plan$parts) > 1L) cli::cli_progress_bar("Submitting", total = length(open))
  # Once something was sent, an interrupt must not take away the data frame that tells it. So interrupts are let through
  # to what is sent and to the progress bar only: never between an answer and its being noted.
  sent <- length(open) < nrow(batch)
  stopped <- FALSE
  kept <- new.env(parent = emptyenv())
  catch <- function(code) tryCatch(allowInterrupts(code), error = identity, interrupt = identity)
  suspendInterrupts({
    for (part in plan$parts) {
      rows <- open[part]
      outcome <- catch(keep_warnings(road$submit(plan$ready[part]), kept))
      if (inherits(outcome, "abba_error") && isFALSE(outcome$may_exist) && !sent) {
        # It says all there is to say.
        rlang::cnd_signal(outcome)
      }
      noted <- note_outcome(batch[rows, c("submitted", "reason")], outcome)
      batch[rows, c("submitted", "reason")] <- noted$rows
      sent <- sent || noted$sent
      stopped <- noted$stopped || is_stop(catch(advance(bar, length(rows))))
      if (stopped || noted$failed) {
        break
      }
    }
    if (sent || !stopped) {
      batch$reason[is.na(batch$submitted) & is.na(batch$reason)] <- not_begun
      return(finish_batch(road, batch, length(open), argument, kept))
    }
  })
  if (inherits(outcome, "abba_error_time_limit")) {
    rlang::cnd_signal(outcome)
  }
  stop_as_r_wanted(road$call)
}

not_begun <- "It was not begun."

advance <- function(bar, count) {
  if (!is.null(bar)) cli::cli_progress_update(inc = count, id = bar)
}

# What became of some programs. `rows`: `submitted` and `reason` of each before. `outcome`: what the road gave back for
# them, or the error or interrupt that was raised.
#
# Gives back a list of `rows`, as they are now; `sent`: whether any of them may have arrived; `failed`: whether there
# is no use in sending more; `stopped`: whether the user wants to stop.
note_outcome <- function(rows, outcome) {
  if (inherits(outcome, "condition")) {
    stopped <- is_stop(outcome)
    rows$reason <- if (stopped) {
      "Interrupted: whether it was submitted is not known."
    } else {
      paste(c(outcome$message, outcome$stderr), collapse = " ")
    }
    return(list(rows = rows, sent = !isFALSE(outcome$may_exist), failed = TRUE, stopped = stopped))
  }
  errors <- lapply(outcome, `[[`, "error")
  is_made <- vapply(errors, is.null, NA)
  times <- vapply(outcome[is_made], function(one) as.numeric(one$submitted %||% Sys.time()), 1)
  rows$submitted[is_made] <- .POSIXct(times, "UTC")
  rows$reason[!is_made] <- vapply(errors[!is_made], function(error) {
    paste(c(error$message, error$details, error$stderr), collapse = " ")
  }, "")
  interrupted <- vapply(errors, is_interrupted, NA)
  nothing <- interrupted & lengths(lapply(errors, `[[`, "job_id")) == 0L
  rows$reason[nothing] <- not_begun
  stopped <- any(interrupted) || isTRUE(attr(outcome, "interrupted"))
  list(rows = rows, sent = !all(nothing), failed = FALSE, stopped = stopped)
}

# The data frame of a batch once its programs were submitted, or the error for those that could not be.
#
# tried: how many programs were to be submitted this time.
# kept: the warnings that came, see keep_warnings().
finish_batch <- function(road, batch, tried, argument, kept) {
  class(batch) <- c("abba_batch", "data.frame")
  if (road$is_api) the_batches$of_api <- union(the_batches$of_api, batch$batch_id)
  failed <- is.na(batch$submitted)
  if (!any(failed)) {
    waiting <- sum(lengths(batch$after) > 0L)
    message(
      tried, if (tried == 1L) " job" else " jobs", " created",
      if (nrow(batch) > 0L) paste(" in batch", batch$batch_id[[1L]]),
      if (waiting > 0L) paste0(", of which ", waiting, if (waiting == 1L) " waits" else " wait", " for others")
    )
    if (tried > 0L) tell_page(road, "batch", batch$batch_id[[1L]])
    of_plan <- c("after", "awaited", names(argument_checks))
    of_submission <- c("reason", rerun_columns, if (!is.null(batch$after)) of_plan)
    batch <- batch[setdiff(names(batch), of_submission)]
    raise_kept(kept, batch)
    return(batch)
  }
  warned <- unique(vapply(kept$warnings, conditionMessage, ""))
  # Of those that were not begun there is nothing to tell.
  first <- c(which(failed & batch$reason != not_begun), which(failed))[[1L]]
  rlang::abort(
    c(
      paste0(sum(failed), " of ", nrow(batch), " programs could not be submitted."),
      x = paste0("The first is \"", batch$program[[first]], "\": ", batch$reason[[first]]),
      i = paste0(
        if (!all(failed)) "The others run. ",
        "`rlang::last_error()$batch` is the data frame of all; call the function again with it in place of `",
        argument, "` to submit the rest."
      ),
      rlang::set_names(warned, rep("!", length(warned)))
    ),
    class = c("abba_error_batch_incomplete", "abba_error_kubectl", "abba_error"),
    call = road$call,
    use_cli_format = FALSE,
    batch = batch
  )
}
