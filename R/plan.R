#' Plan the order of a study's programs
#'
#' Puts programs in order by the files that they read and write: a program runs after all
#' those that write what it reads. The result is a data frame with a row for each program;
#' printing it shows the order, `plot()` draws it. Nothing is sent to a cluster.
#'
#' What a program reads and writes may stand in the program itself, as comment lines:
#'
#' ```r
#' # abba: reads adam/adsl.rds; adam/adae.rds
#' # abba: writes tables/t_ae.rtf
#' # abba: after set_up
#' ```
#'
#' It may also come from a list or a tracker: see `inputs`. Both count.
#'
#' @section Files:
#' A path that does not begin at the root belongs to `folder`. `*` and `?` stand for a
#' part of one name, as in `sdtm/*.rds`, and a folder stands for all files in it. Small and
#' capital letters differ. A program that reads a file that it writes itself does not
#' wait for it.
#'
#' @param programs The programs: a character vector of paths, whose names, where it has
#'   any, name the programs. Or a data frame, such as a tracker of the study, with the
#'   columns `program` and, where wanted, `name`, `inputs`, `outputs` and `after`.
#' @param inputs,outputs The files that each program reads and writes: a list with a character
#'   vector for each program, or a character vector with the files of each separated by
#'   `;`; `NULL` for those that the programs or the data frame tell. `NA` and `""` are none.
#' @param after The programs that each one runs after, whatever they write, in the same form: by name,
#'   path or file name, with or without its ending.
#' @param ... Arguments of [abba_submit_k8s_job_local()], as further columns: one value, or
#'   one for each program, such as `memory_limit = c("1G", "4G")`. Columns of a data
#'   frame that are no such arguments are kept, and a message names them.
#' @param folder The folder that relative paths of `inputs` and `outputs` belong to.
#' @param check_files Whether the programs, and the inputs that no program of the plan
#'   writes, must be on this machine. `FALSE` is for those that only the cluster sees: then
#'   comment lines of programs that are not here are not read.
#'
#' @return A data frame of class `abba_plan` with one row for each program, in the order
#'   given, and the columns `name`, `program` (character), `inputs`, `outputs`, `after` (lists
#'   of character vectors; `after` holds names) and `run_group`
#'   (integer: programs of group 1 wait for nobody, those of group 2 only for programs of group 1,
#'   and so on), and further ones.
#'
#' @section Errors:
#' An error of class `abba_error_input` names the rows where programs wait for each other,
#' two write one file, one reads a file that nobody writes and that is not there, or a
#' name in `after` is not that of one program.
#'
#' @export
#' @examples
#' folder <- tempfile()
#' dir.create(folder)
#' writeLines(c("# abba: writes adsl.rds", "saveRDS(1, 'adsl.rds')"), file.path(folder, "adsl.R"))
#' writeLines("# abba: reads adsl.rds", file.path(folder, "t_dm.R"))
#' writeLines("# abba: reads adsl.rds", file.path(folder, "t_ae.R"))
#'
#' plan <- abba_plan(list.files(folder, full.names = TRUE), folder = folder)
#' plan
#' plot(plan)
#'
#' # Runs in this order; needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' batch <- abba_submit_k8s_batch_local(plan)
#' abba_watch_k8s_batch_local(batch$batch_id[[1]])
#' }
abba_plan <- function(
    programs,
    inputs = NULL,
    outputs = NULL,
    after = NULL,
    ...,
    folder = ".",
    check_files = TRUE) {
  call <- rlang::current_env()
  tracker <- plan_tracker(programs, list(inputs = inputs, outputs = outputs, after = after), call)
  columns <- plan_columns(tracker, rlang::list2(...), call)
  count <- nrow(tracker)
  lists <- lapply(rlang::set_names(c("inputs", "outputs", "after")), function(name) {
    plan_list(tracker[[name]], name, count, call)
  })
  folder <- expand_path(check_string(folder, call = call), call, "folder")
  expanded <- vapply(tracker$program, expand_path, "", call = call, argument = "programs", USE.NAMES = FALSE)
  plan <- core_value(core_plan(c(
    list(names = I(tracker$name), programs = I(tracker$program), expanded_paths = I(expanded)),
    lapply(lists, function(one) I(lapply(one, I))),
    folder = as_utf8(normalizePath(native_path(folder), "/", mustWork = FALSE), "folder", call),
    check_files = check_flag(check_files, call = call)
  )), call)
  rows <- list(name = tracker$name, program = tracker$program)
  for (name in names(lists)) rows[[name]] <- lapply(plan[[name]], as.character)
  rows$run_group <- as.integer(plan$run_group)
  structure(c(rows, columns), row.names = .set_row_names(count), class = c("abba_plan", "data.frame"))
}

# The programs as a data frame with the columns `program` and `name`, and what was told of them besides.
plan_tracker <- function(programs, told, call) {
  tracker <- if (is.data.frame(programs)) as.list(programs) else list(program = programs, name = names(programs))
  if (is.null(tracker$program) && is.data.frame(programs)) {
    abort_input("programs", "must be a character vector, or a data frame with the column `program`", NULL, call)
  }
  path <- tracker$program
  if (is.factor(path)) path <- as.character(path)
  tracker$program <- check_strings(path, argument = "programs", call = call)
  count <- length(tracker$program)
  if (count == 0L) {
    abort_input("programs", "must name at least one program", NULL, call)
  }
  if (!all(nzchar(tracker$program))) {
    abort_input("programs", "must not be empty", NULL, call)
  }
  tracker$name <- plan_names(tracker$program, tracker$name, call)
  given <- Filter(Negate(is.null), told)
  tracker[names(given)] <- given
  structure(tracker, row.names = .set_row_names(count), class = "data.frame")
}

# The names of the programs: those given, else the file names without their endings, else, where two have the same, the
# paths.
plan_names <- function(programs, names, call) {
  stems <- stem_of(programs)
  twice <- stems %in% stems[duplicated(stems)]
  stems[twice | !nzchar(stems)] <- programs[twice | !nzchar(stems)]
  if (is.null(names)) {
    return(stems)
  }
  names <- check_strings(ifelse(is.na(names), "", as.character(names)), argument = "programs", call = call)
  ifelse(nzchar(names), names, stems)
}

# The columns that are arguments of a submission, or that a tracker has besides.
plan_columns <- function(tracker, further, call) {
  arguments <- submission_arguments()
  check_known(further, arguments, "abba_submit_k8s_job_local", call)
  own <- as.list(tracker)[setdiff(names(tracker), c("name", "program", "inputs", "outputs", "after", "run_group"))]
  others <- setdiff(names(own), arguments)
  if (length(others) > 0L) {
    rlang::inform(paste0(
      "Kept, but no arguments of a submission: ", paste0("`", others, "`", collapse = ", "), "."
    ))
  }
  spread <- spread_arguments(further, nrow(tracker), call)
  for (name in names(further)) {
    values <- lapply(spread, `[[`, name)
    is_single <- vapply(values, function(value) is.atomic(value) && is.null(names(value)) && length(value) == 1L, NA)
    # One value a program is a plain column.
    own[[name]] <- if (all(is_single) && !name %in% vector_arguments()) unlist(values) else values
  }
  own
}

# A character vector for each program. `x`: such a list, or a vector of texts with files separated by `;`.
plan_list <- function(x, argument, count, call) {
  if (is.null(x)) {
    return(rep(list(character()), count))
  }
  if (is.factor(x)) x <- as.character(x)
  if (!(is.list(x) || is.character(x) || all(is.na(x))) || length(x) != count) {
    abort_input(argument, paste0(
      "must be a list or a character vector with one element for each of the ", count, " programs"
    ), NULL, call)
  }
  lapply(as.list(x), function(files) {
    files <- as.character(files[!is.na(files)])
    files <- trimws(unlist(strsplit(files, ";", fixed = TRUE)))
    as_utf8(files[nzchar(files)], argument, call)
  })
}

#' @rdname abba_plan
#' @param x A plan.
#' @export
print.abba_plan <- function(x, ...) {
  if (!all(c("name", "run_group") %in% names(x))) {
    return(NextMethod())
  }
  groups <- split(x$name, x$run_group)
  width <- if (length(groups) > 0L) max(lengths(groups)) else 0L
  cat(
    "A plan of ", counted(nrow(x), "program"), " in ", counted(length(groups), "group"),
    ", the largest of ", width, "\n",
    sep = ""
  )
  for (group in names(groups)) {
    lines <- strwrap(
      paste(groups[[group]], collapse = ", "), getOption("width") - 1L,
      initial = paste0(formatC(group, width = 3L), ": "), prefix = "     "
    )
    hidden <- length(lines) - 10L
    cat(utils::head(lines, 10L), if (hidden > 0L) paste0("     ... ", hidden, " more lines"), sep = "\n")
  }
  invisible(x)
}

counted <- function(count, noun) paste0(count, " ", noun, if (count != 1L) "s")

#' @rdname abba_plan
#' @export
plot.abba_plan <- function(x, ...) {
  place <- plan_places(x)
  old <- graphics::par(mar = c(3, 1, 1, 1))
  on.exit(graphics::par(old))
  graphics::plot.new()
  groups <- max(x$run_group, 1L)
  graphics::plot.window(c(0.5, groups + 0.5), range(place, 0) + c(-0.5, 0.5))
  # The smallest that can be read, and no larger than leaves a gap between two groups.
  size <- max(0.4, min(1, 0.7 / max(graphics::strwidth(x$name)), 0.8 / max(graphics::strheight(x$name))))
  half <- graphics::strwidth(x$name, cex = size) / 2 + 0.03
  high <- graphics::strheight("X", cex = size)
  before <- match(unlist(x$after), x$name)
  row <- rep(seq_len(nrow(x)), lengths(x$after))[!is.na(before)]
  before <- before[!is.na(before)]
  if (length(row) > 0L) {
    graphics::arrows(
      x$run_group[before] + half[before], place[before], x$run_group[row] - half[row], place[row],
      length = 0.06, col = "grey60"
    )
  }
  graphics::rect(x$run_group - half, place - high, x$run_group + half, place + high, col = "white", border = "#0072B2")
  graphics::text(x$run_group, place, x$name, cex = size)
  graphics::axis(1, at = seq_len(groups), tick = FALSE)
  graphics::title(xlab = "run group", line = 2)
  invisible(x)
}

# How high each program is drawn: those of one group below each other, each near to those that it waits for.
plan_places <- function(plan) {
  place <- numeric(nrow(plan))
  for (group in sort(unique(plan$run_group))) {
    rows <- which(plan$run_group == group)
    wanted <- vapply(plan$after[rows], function(names) mean(place[plan$name %in% names]), 1)
    rows <- rows[order(-wanted, rows, na.last = TRUE)]
    place[rows] <- (length(rows) + 1) / 2 - seq_along(rows)
  }
  place
}
