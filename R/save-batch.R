#' Save the logs of a batch with their records
#'
#' Saves for each program of a batch that has ended its log, byte for byte as the cluster
#' has kept it, and a record that
#' says what ran: for `t_ae.R` the files `t_ae.log` and `t_ae.json`. (What containerd keeps has no carriage return
#' before the end of a line.) Kubernetes forgets a
#' job a week after its end; these files stay with the study. [abba_verify()] checks them
#' later, without a cluster, and [abba_outdated()] tells by them which programs have to
#' run again. Of jobs that the cluster has forgotten they come from the archive, where there is one: see
#' [abba_archive()].
#'
#' @section The record:
#' A record is an in-toto Statement (`https://in-toto.io/Statement/v1`) with provenance of
#' SLSA (`https://slsa.dev/provenance/v1`). Its `subject` are the log and the outputs, each
#' with its SHA-256; `resolvedDependencies` are the program, the inputs and the container image with
#' their digests; `externalParameters` the arguments of the submission. `runDetails` has the versions of
#' Kubernetes and abba, the job's id, and when the program began and ended;
#' the field `abba_run` there has who submitted it and when, the exit status, the verdict of the
#' log, the node, the limits, and what Kubernetes noted.
#'
#' @section What R says of itself:
#' As R ends, however it does, it notes what only it can know: its version and platform, the packages that were
#' attached and loaded then, locale, time zone, kinds of random numbers, BLAS, LAPACK where it was used, and the
#' options `encoding`, `digits`, `digits.secs`, `scipen`, `OutDec`, `width`, `max.print`, `stringsAsFactors`,
#' `contrasts`, `na.action` and `warn`. The record has it as the field `abba_session`. R and the packages with their
#' versions are among `resolvedDependencies`, and R's version is beside those of Kubernetes and abba. (Package URLs
#' name an R package `pkg:cran/haven@2.5.1`; that says nothing of where it came from. Packages that belong to R are
#' not listed by themselves.) The note has room for about 200 packages; `packages_left_out` says how many more there
#' were.
#'
#' Where it is not known, `abba_session` has `missing`, which says why: R was killed, the pod is gone, the note was
#' switched off, or what ran is not the usual R. A Quarto document has none.
#'
#' The note costs a few milliseconds, and changes neither what the program prints nor its exit status. The variable
#' `R_TESTS`, by which R's own start-up code runs a file before any other start-up file, has R leave a finaliser, and is
#' removed at once. That writes the note into the termination message of the container (`/dev/termination-log`), unless
#' the program has words of its own there. A program switches it off with `options(abba.session.info = FALSE)`. With
#' `environment = c(ABBA_SESSION_INFO = "no")`, also in an image or a Job template, or with an `R_TESTS` of your own, R
#' runs none of it.
#'
#' @section Saving again:
#' Inputs and outputs are looked at when the record is made. So save a batch soon after
#' its end: where a file was changed after the program ended, or an input was changed or put there after it began, or an
#' output is older than the run, the record says so, and the column `notes`, too. So it does of what could not be read.
#'
#' What was recorded stays: saved again, a batch gets what is missing, and files, outputs and inputs that are recorded
#' keep their digests. A later run of the same program takes the place of an earlier one. Two
#' programs whose files have the same name get numbers, as in `t_ae-2.log`, and a file that is not abba's is never
#' written over. What cannot be read for a moment is an error, and stays; a log that is not as it was recorded stays,
#' too, where the one that comes now has less.
#'
#' @section Signed records:
#' With the option `abba.record.key`, the path of a file with a private key of ed25519 in PEM
#' form, records are signed: the file then is an envelope of DSSE, which has the
#' Statement in base64. `openssl genpkey -algorithm ed25519 -out record-key.pem` makes such a key,
#' and `openssl pkey -in record-key.pem -pubout -out record-key.pub.pem` the public key for
#' [abba_verify()].
#'
#' Whoever signs vouches for what is signed. So with a key nothing is taken from a record that is there and has no good
#' signature of that key, or of one of the public keys that the option `abba.record.public.key` names: where the cluster
#' and the files still tell all that it says, it is made anew; else log and record stay as they are, and so do those
#' that were signed with a key that is not known. The column `notes` says so. To have such a job saved anew, move its
#' files away.
#'
#' @param batch_id The batch.
#' @param folder The folder that gets the files. It is made where it is not there.
#' @param plan A plan as of [abba_plan()], which says what each program reads and writes; or
#'   any data frame with the column `program`, or `job_id`, and some of `name`, `inputs` and `outputs`. `NULL`
#'   for none: then a record has the log alone. Programs of the batch that it does not have are saved without such
#'   files.
#' @param inputs,outputs The files that each program read and wrote, where there is no plan: a list with a
#'   character vector for each program, whose names are the programs' paths, or their file names with or
#'   without the ending. For a batch of one program a character vector will do. `*`, `?` and folders as in
#'   [abba_plan()].
#' @param study_folder The folder that relative paths of inputs and outputs belong to.
#' @inheritParams abba_submit_k8s_job_local
#' @inheritParams abba_get_k8s_job_status_local
#'
#' @return A data frame with one row for each job, in the order of their submission, and
#'   the columns `job_id`, `program`, `status`, `log`, `record` (the paths of the files, `NA` where nothing was
#'   saved) and `notes` (why nothing was saved, or what must be known of what was; else `NA`), all character;
#'   invisibly. A warning of class `abba_warning_not_saved` names the jobs that have not ended, and one of class
#'   `abba_warning_log_incomplete` or `abba_warning_log_unavailable` those of whose logs a part is missing: their
#'   records say so, too.
#'
#' @section Errors:
#' A batch that does not exist (any more) is an error of class `abba_error_not_found`. A key or a folder that cannot be
#' used is one of class `abba_error_input`; what was saved before is whole.
#'
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' plan <- abba_plan(list.files("programs", full.names = TRUE))
#' batch <- abba_submit_k8s_batch_local(plan)
#' abba_watch_k8s_batch_local(batch$batch_id[[1]])
#' abba_save_k8s_batch_local(batch$batch_id[[1]], "logs", plan)
#' abba_verify("logs")
#' }
#'
#' # Needs an abba API.
#' \dontrun{
#' abba_save_batch("Study_1.tables", "logs")
#' }
abba_save_k8s_batch_local <- function(
    batch_id,
    folder = "logs",
    plan = NULL,
    inputs = NULL,
    outputs = NULL,
    study_folder = ".",
    namespace = getOption("abba.k8s.namespace")) {
  save_batch(road_kubectl(namespace), batch_id, folder, plan, inputs, outputs, study_folder)
}

#' @rdname abba_save_k8s_batch_local
#' @export
abba_save_batch <- function(
    batch_id,
    folder = "logs",
    plan = NULL,
    inputs = NULL,
    outputs = NULL,
    study_folder = ".",
    everybody = FALSE) {
  save_batch(road_api(), batch_id, folder, plan, inputs, outputs, study_folder, everybody)
}

# How many jobs are read and saved at a time: all their logs are held in memory.
records_at_once <- 10L

save_batch <- function(road, batch_id, folder, plan, inputs, outputs, study_folder, everybody = FALSE) {
  which <- this_batch(batch_id, everybody = everybody, call = road$call)
  arguments <- list(
    folder = absolute_folder(folder, "folder", road$call),
    study_folder = absolute_folder(study_folder, "study_folder", road$call),
    key = path_option("abba.record.key", road$call),
    public_keys = I(public_key_paths(getOption("abba.record.public.key"), "abba.record.public.key", road$call))
  )
  # Before anything is asked.
  told <- told_files(plan, inputs, outputs, road$call)
  jobs <- road$jobs_of_batch(which)
  if (nrow(jobs) == 0L) {
    # That has the words for a batch that is not there.
    road$status(which)
  }
  jobs <- jobs[rev(seq_len(nrow(jobs))), ]
  files <- files_of_jobs(jobs, told, road$call)
  bar <- if (nrow(jobs) > records_at_once) cli::cli_progress_bar("Saving", total = nrow(jobs))
  rows <- list()
  for (part in split(seq_len(nrow(jobs)), ceiling(seq_len(nrow(jobs)) / records_at_once))) {
    records <- road$records(jobs$job_id[part])
    arguments$jobs <- Map(function(record, files) {
      c(list(record = record$record, log = I(record$log)), files)
    }, records, files[part])
    rows <- c(rows, core_value(core_save_records(arguments), road$call))
    advance(bar, length(part))
  }
  saved <- as.data.frame(text_columns(rows, c("job_id", "program", "status", "log", "record")))
  notes <- vapply(rows, function(row) paste(unlist(row$notes), collapse = " "), "")
  saved$notes <- ifelse(nzchar(notes), notes, NA_character_)
  warn_not_ended(saved)
  invisible(saved)
}

warn_not_ended <- function(saved) {
  open <- saved$job_id[is.na(saved$record) & !saved$status %in% c("Succeeded", "Failed")]
  if (length(open) > 0L) {
    raise_warnings(list(list(
      class = "not_saved",
      message = paste0(
        "Jobs that have not ended were not saved: ", paste0("\"", open, "\"", collapse = ", "), "."
      ),
      advice = "Make the same call again when they have ended.",
      job_id = open
    )))
  }
}

# A folder as an absolute path. It need not be there.
absolute_folder <- function(folder, argument, call) {
  folder <- expand_path(check_string(folder, argument = argument, call = call), call, argument)
  if (!grepl("^(/|[A-Za-z]:[/\\\\]|\\\\\\\\)", folder)) {
    folder <- paste0(as_utf8(getwd(), argument, call), "/", folder)
  }
  as_utf8(normalizePath(native_path(folder), "/", mustWork = FALSE), argument, call)
}

# What a plan, or lists by name, tell of programs: a list of `by`, the column that names them, and the columns.
told_files <- function(plan, inputs, outputs, call) {
  if (!is.null(plan)) {
    if (!is.data.frame(plan) || !any(c("program", "job_id") %in% names(plan))) {
      abort_input("plan", "must be a data frame with the column `program` or `job_id`", NULL, call)
    }
    if (!is.null(inputs) || !is.null(outputs)) {
      abort_input("plan", "must not be given together with `inputs` or `outputs`", NULL, call)
    }
    columns <- list(
      by = if ("job_id" %in% names(plan)) "job_id" else "program",
      key = as.character(plan[["job_id"]] %||% plan[["program"]]),
      name = if (!is.null(plan[["name"]])) as_utf8(as.character(plan[["name"]]), "plan", call),
      inputs = plan_list(plan[["inputs"]], "plan", nrow(plan), call),
      outputs = plan_list(plan[["outputs"]], "plan", nrow(plan), call)
    )
    columns$key <- as_utf8(columns$key, "plan", call)
    if (columns$by == "program" && anyDuplicated(columns$key) > 0L) {
      twice <- columns$key[duplicated(columns$key)][[1L]]
      abort_input("plan", paste0(
        "must say which job is which where a program is there twice, as ", describe(twice),
        ": give it the column `job_id`"
      ), NULL, call)
    }
    return(columns)
  }
  list(by = "name", inputs = named_files(inputs, "inputs", call), outputs = named_files(outputs, "outputs", call))
}

# A list of character vectors, whose names are programs; "" for the only one.
named_files <- function(x, argument, call) {
  if (is.null(x)) {
    return(list())
  }
  if (is.character(x) && is.null(names(x))) x <- stats::setNames(list(x), "")
  if (is.character(x)) x <- as.list(x)
  if (!is.list(x) || is.null(names(x)) || !all(vapply(x, is.character, NA)) || anyNA(unlist(x))) {
    abort_input(argument, "must be a list of character vectors with the names of programs", NULL, call)
  }
  stats::setNames(lapply(x, as_utf8, argument, call), as_utf8(names(x), argument, call))
}

# For each job a list of `name`, `inputs` and `outputs`, as far as they are told.
files_of_jobs <- function(jobs, told, call) {
  if (told$by == "name") {
    for (argument in c("inputs", "outputs")) {
      check_all_known(names(told[[argument]]), jobs$program, argument, call)
    }
    return(lapply(jobs$program, function(program) {
      files <- function(named) {
        own <- names(named) %in% names_of_program(program) | (names(named) == "" & nrow(jobs) == 1L)
        I(unlist(named[own], use.names = FALSE) %||% character())
      }
      list(inputs = files(told$inputs), outputs = files(told$outputs))
    }))
  }
  rows <- match(jobs[[told$by]], told$key)
  lapply(rows, function(row) {
    if (is.na(row)) {
      return(list())
    }
    c(
      if (!is.null(told$name) && !is.na(told$name[[row]])) list(name = told$name[[row]]),
      list(inputs = I(told$inputs[[row]]), outputs = I(told$outputs[[row]]))
    )
  })
}

# The names by which a user may mean a program.
names_of_program <- function(program) unique(c(program, file_of(program), stem_of(program)))

# The name of a file, and the same without its ending.
file_of <- function(path) sub("^.*[/\\\\]", "", path)
stem_of <- function(path) sub("[.][^.]*$", "", file_of(path))

check_all_known <- function(names, programs, argument, call) {
  known <- unlist(lapply(programs, names_of_program))
  unknown <- setdiff(names, c(known, if (length(programs) == 1L) ""))
  if (length(unknown) > 0L) {
    abort_input(argument, "must have names of programs of the batch only", unknown[[1L]], call)
  }
}
