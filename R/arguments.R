# The arguments of a submission, in one table: for each the check of its R type, which gives back the value as the core
# and the API read it. What a value means is checked by the core.
#
# Single and batch submission, a rerun and the check of a cluster take their checks from here, on both roads.
argument_checks <- list(
  file_path = function(x, ...) check_string(x, ...),
  batch_group_id = function(x, ...) check_string(x, empty = TRUE, ...),
  user_tag = function(x, ...) check_string(x, empty = TRUE, ...),
  cpu_limit = function(x, ...) check_number_or_string(x, ...),
  memory_limit = function(x, ...) check_memory_limit(x, ...),
  disk_limit = function(x, ...) if (!is.null(x)) check_memory_limit(x, ...),
  container = function(x, ...) check_string(x, null = TRUE, empty = TRUE, ...),
  mounts = function(x, ...) check_mounts(x, ...),
  auto_mount_home = function(x, ...) check_flag(x, ...),
  home_nfs_ip_address = function(x, ...) check_string(x, null = TRUE, ...),
  username = function(x, ...) check_string(x, null = TRUE, ...),
  time_limit_seconds = function(x, ...) check_number(x, null = TRUE, ...),
  arguments = function(x, ...) check_texts(x, ...),
  environment = function(x, ...) check_variables(x, ...),
  vanilla = function(x, ...) if (check_flag(x, ...)) TRUE,
  r_command = function(x, ...) check_string(x, null = TRUE, ...),
  queue = function(x, ...) check_string(x, null = TRUE, ...),
  job_template = function(x, ...) check_template_argument(x, ...),
  keep_days = function(x, ...) check_number(x, null = TRUE, ...)
)

# The names of the arguments that are vectors by themselves: those whose default is character().
vector_arguments <- function() {
  names(Filter(function(default) identical(default, quote(character())), formals(abba_submit_k8s_job_local)))
}

# What a submission over an API may say, out of what one by kubectl may: the server sees to the rest, and has defaults
# of its own for some.
over_api <- function(formals) {
  formals[c("home_nfs_ip_address", "namespace", "username", "keep_days")] <- NULL
  formals[c("job_template", "disk_limit")] <- list(NULL)
  formals
}

# Arguments by name, checked.
check_arguments <- function(arguments, call = rlang::caller_env()) {
  Map(check_argument, arguments, names(arguments), MoreArgs = list(call = call))
}

check_argument <- function(x, name, call) argument_checks[[name]](x, argument = name, call = call)

# The arguments of `count` programs, checked: for each program a list by name. An argument is one value for all programs
# or a vector or list with one value for each.
spread_arguments <- function(arguments, count, call = rlang::caller_env()) {
  if (is.list(arguments$mounts) && !is.null(names(arguments$mounts))) {
    # One list of volumes and mounts, not one for each program.
    arguments$mounts <- list(arguments$mounts)
  }
  if (is.list(arguments$job_template) && !is.null(names(arguments$job_template))) {
    arguments$job_template <- list(arguments$job_template)
  }
  # A vector of these is one value.
  for (name in vector_arguments()) {
    if (is.character(arguments[[name]])) arguments[[name]] <- list(arguments[[name]])
  }
  columns <- Map(spread_argument, arguments, names(arguments), MoreArgs = list(count = count, call = call))
  lapply(seq_len(count), function(row) lapply(columns, `[[`, row))
}

spread_argument <- function(values, name, count, call) {
  if (length(values) <= 1L) {
    value <- if (is.list(values) && length(values) == 1L) values[[1L]] else values
    return(rep(list(check_argument(value, name, call)), count))
  }
  if (length(values) != count) {
    abort_input(name, paste0("must have one element, or one for each of the ", count, " programs"), values, call)
  }
  lapply(as.list(values), check_argument, name = name, call = call)
}

# The names of the arguments that each program of a batch may have of its own.
submission_arguments <- function() setdiff(names(argument_checks), c("file_path", "batch_group_id"))

# Refuses what has not the name of an argument of `verb`, one of `known`, or is given twice.
check_known <- function(given, known, verb, call) {
  unknown <- setdiff(rlang::names2(given), known)
  if (length(unknown) > 0L) {
    first <- if (unknown[[1L]] == "") "an unnamed one" else paste0("`", unknown[[1L]], "`")
    abort_input("...", paste0("must be named arguments of ", verb, "(), not ", first), NULL, call)
  }
  twice <- names(given)[duplicated(names(given))]
  if (length(twice) > 0L) {
    abort_input("...", paste0("must not give `", twice[[1L]], "` twice"), NULL, call)
  }
}

# The arguments that replace those of an earlier submission, their R types checked, by name; NULL is an argument too:
# none instead of the first one.
#
# known: the names of the arguments that can be replaced. verb: the function whose arguments they are.
check_changes <- function(changes, known, verb, call) {
  check_known(changes, known, verb, call)
  for (name in intersect(names(changes), c("batch_group_id", "container"))) {
    # These have a first value always, so that none is no change.
    check_string(changes[[name]], argument = name, call = call)
  }
  check_arguments(changes, call)
}

# A number of bytes is allowed, as Kubernetes allows it.
check_memory_limit <- function(x, argument = rlang::caller_arg(x), call = rlang::caller_env()) {
  x <- check_number_or_string(x, argument = argument, call = call)
  if (is.numeric(x)) format(x, scientific = FALSE, digits = 15) else x
}

# NULL for no mounts.
check_mounts <- function(x, argument = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (is.null(x) || identical(x, "")) {
    return(NULL)
  }
  if (!is.list(x)) {
    abort_input(argument, "must be '' or list(volumes = list(...), volumeMounts = list(...))", x, call)
  }
  as_utf8(x, argument, call)
}

# NULL for none; else an array, also of one.
check_texts <- function(x, argument = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (!is.null(x)) x <- check_strings(x, argument = argument, call = call)
  if (length(x) > 0L) I(as.vector(x))
}

# NULL for none; else strings with names, each once.
check_variables <- function(x, argument = rlang::caller_arg(x), call = rlang::caller_env()) {
  values <- check_texts(x, argument = argument, call = call)
  if (is.null(values)) {
    return(NULL)
  }
  names <- names(x)
  if (is.null(names) || anyNA(names) || !all(nzchar(names))) {
    abort_input(argument, "must have a name for each element, as in c(NAME = \"value\")", NULL, call)
  }
  names <- as_utf8(names, argument, call)
  if (anyDuplicated(names) > 0L) {
    abort_input(argument, paste0("must not set `", names[duplicated(names)][[1L]], "` twice"), NULL, call)
  }
  stats::setNames(as.vector(values), names)
}

# Which jobs are meant, as all roads take it: a list of `job_id` or `batch_id`, and `everybody`, TRUE, where jobs of
# others are meant, too.
these_jobs <- function(job_id, everybody = FALSE, call = rlang::caller_env()) {
  c(list(job_id = check_strings(job_id, call = call)), of_everybody(everybody, call))
}
this_batch <- function(batch_id, argument = "batch_id", everybody = FALSE, call = rlang::caller_env()) {
  batch_id <- check_string(batch_id, argument = argument, call = call)
  core_value(core_check_batch_id(batch_id, argument), call)
  c(list(batch_id = batch_id), of_everybody(everybody, call))
}
of_everybody <- function(everybody, call) {
  if (check_flag(everybody, argument = "everybody", call = call)) list(everybody = TRUE)
}

# Those of them that say which jobs, without whose.
jobs_of <- function(which) which[intersect(names(which), c("job_id", "batch_id"))]
