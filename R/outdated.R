#' Which programs of a plan have to run again
#'
#' Compares each program of a plan with the record of its last run
#' ([abba_save_k8s_batch_local()]), and says which have to run again, and why. Only files
#' of this machine are looked at, and no cluster is asked.
#'
#' A program has to run where
#' * it has no record, or its last run did not succeed;
#' * its text was changed;
#' * an input was changed, is new, or is gone, also where a link leads to another file or folder now; or it, its name
#'   or its rights were changed after the last run had started;
#' * an output is missing, or is not as it was recorded, or was changed more than a minute after the program had ended
#'   (clocks of file servers differ), or its log is not as recorded;
#' * one of these arguments is another one: `container`, `cpu_limit` (R sees the number of cores), `arguments`,
#'   `environment`, `vanilla`, `r_command`, `mounts`, `auto_mount_home`, `job_template`. Other limits, the queue, and
#'   how long a job is kept make no difference, and of a Job template neither labels and annotations nor what only says
#'   where and when a program runs (node selectors, tolerations, affinity, priorities, requests, pull secrets). Of a
#'   template of an abba API only the name is compared;
#' * one that runs before it has to run.
#'
#' What this session cannot see counts as changed, and `why` says so: a folder or a file that cannot be read, a link
#' that leads nowhere. A file is known by its path, and where the record does not have that, by what it leads to,
#' whatever links it has. Files of a folder that a link leads to count under the name of that link, too. Names that
#' begin with a point are no files of a folder or of a `*`, as in [list.files()]. An image is compared by its name, and
#' by its digest where the name has one (`r-base@sha256:...`): that a tag leads to another image now cannot be seen
#' here.
#'
#' @param plan A plan as of [abba_plan()]. Its columns that are arguments of a submission go before those given here for
#'   all programs; `NA` there is nothing.
#' @param records The folder of the records. Where it is not there, all programs have to run.
#' @param ... Further arguments of the submission, as they would be given to [abba_submit_k8s_batch_local()]: one value,
#'   or one for each program. An argument that is in neither has its default; `container` that of the option
#'   `abba.default.container`, and where there is none it is not compared; `job_template` that of the option
#'   `abba.k8s.job.template`.
#' @param study_folder The folder that relative paths of the plan belong to.
#'
#' @return The plan with the further columns `outdated`, logical, and `why`, character: all reasons in
#'   sentences, `NA` for a program that need not run. `plan[plan$outdated, ]` are those that have to;
#'   `abba_submit_k8s_batch_local(plan, changed_only = TRUE)` submits them.
#'
#' @section Errors:
#' Wrong arguments are errors of class `abba_error_input`.
#'
#' @seealso [abba_plan()], [abba_save_k8s_batch_local()]
#' @export
#' @examples
#' folder <- tempfile()
#' dir.create(folder)
#' writeLines("# abba: writes adsl.rds", file.path(folder, "adsl.R"))
#' writeLines("# abba: reads adsl.rds", file.path(folder, "t_dm.R"))
#' plan <- abba_plan(list.files(folder, "[.]R$", full.names = TRUE), folder = folder)
#' abba_outdated(plan, file.path(folder, "logs"), study_folder = folder)[c("name", "outdated", "why")]
abba_outdated <- function(plan, records = "logs", ..., study_folder = ".") {
  call <- rlang::current_env()
  needed <- c("name", "program", "inputs", "outputs", "after")
  if (!is.data.frame(plan) || !all(needed %in% names(plan))) {
    abort_input("plan", "must be a plan as of abba_plan()", NULL, call)
  }
  if (nrow(plan) == 0L) {
    return(cbind(plan, outdated = logical(), why = character()))
  }
  given <- rlang::list2(...)
  known <- submission_arguments()
  check_known(given, known, "abba_submit_k8s_job_local", call)
  defaults <- lapply(formals(abba_submit_k8s_job_local)[setdiff(known, names(given))], eval)
  each <- arguments_of_each(plan, c(given, defaults), call)
  rows <- compare_with_records(plan, each, records, study_folder, call)
  plan$outdated <- vapply(rows, `[[`, NA, "outdated")
  plan$why <- vapply(rows, function(row) paste(unlist(row$why), collapse = " "), "")
  plan$why[!plan$outdated] <- NA_character_
  plan
}

# Which programs have to run, and why: a list of `outdated` and `why` for each. `arguments`: what each would be
# submitted with, checked.
compare_with_records <- function(plan, arguments, records, study_folder, call) {
  count <- nrow(plan)
  lists <- lapply(rlang::set_names(c("inputs", "outputs", "after")), function(column) {
    lapply(plan_list(plan[[column]], "plan", count, call), I)
  })
  names <- as_utf8(as.character(plan$name), "plan", call)
  programs <- as_utf8(as.character(plan$program), "plan", call)
  read <- template_reader(call)
  arguments <- lapply(arguments, function(one) {
    template <- one$job_template
    # What is no file is the name of one of an abba API's.
    if (is.list(template) || is.character(template) && file.exists(path.expand(template))) {
      one$job_template <- read(template)
    }
    one
  })
  core_value(core_outdated(list(
    records = absolute_folder(records, "records", call),
    study_folder = absolute_folder(study_folder, "study_folder", call),
    programs = lapply(seq_len(count), function(row) {
      path <- absolute_folder(programs[[row]], "plan", call)
      c(
        list(name = names[[row]]),
        lapply(lists, `[[`, row),
        list(arguments = c(list(given_path = programs[[row]], expanded_path = path), arguments[[row]]))
      )
    })
  )), call)
}
