#' Check the logs of a study
#'
#' Tells for each log whether R printed errors or warnings in it, as
#' [abba_list_k8s_jobs_local()] does with `verdict = TRUE`, and writes the result as a page
#' to file. The logs are files, of whatever R program, or those of jobs that were listed.
#'
#' What is looked for, and how the option `abba.log.patterns` adds to it, is told in
#' [abba_get_k8s_job_log_local()]. That a program has failed, or was killed, its log need not show: of a log with a
#' record of [abba_save_k8s_batch_local()] beside it, the record tells.
#'
#' @param logs A folder, of which all files are meant that end in `.log` or `.Rout`, also in
#'   folders below; or paths of log files; or a data frame as of [abba_list_k8s_jobs_local()] or
#'   [abba_list_jobs()] with `verdict = TRUE`.
#' @param html The path of an HTML page that is to be written, or `NULL` for none. It needs
#'   no other file, has the logs with errors first, and links to the log files by paths
#'   relative to its folder.
#'
#' @return A data frame with one row for each log and the columns `program` (the name of the file without its ending, or
#'   the program of the job), `verdict`, `verdict_line`, as of [abba_list_k8s_jobs_local()], and `log` (the path of the
#'   file, `NA` for a job), all character; invisibly where a page is written. Of a log of which the record says that a
#'   part is missing nobody knows that it is clean: its `verdict` is `NA`, and `verdict_line` says what is missing.
#'
#' @section Errors:
#' A folder without logs, a file that cannot be read, and a page that cannot be written are errors of class
#' `abba_error_input`.
#'
#' @export
#' @examples
#' folder <- tempfile()
#' dir.create(folder)
#' writeLines("all is well", file.path(folder, "t_dm.log"))
#' writeLines(c("Warning message:", "NAs introduced by coercion"), file.path(folder, "t_ae.log"))
#' abba_log_check(folder)
#' abba_log_check(folder, html = file.path(folder, "logs.html"))
abba_log_check <- function(logs, html = NULL) {
  call <- rlang::current_env()
  html <- check_string(html, null = TRUE, call = call)
  checked <- if (is.data.frame(logs)) checked_jobs(logs, call) else checked_files(logs, call)
  if (is.null(html)) {
    return(checked)
  }
  html <- expand_path(html, call, "html")
  write_page(log_check_page(checked, dirname(html)), html, call)
  invisible(checked)
}

checked_jobs <- function(jobs, call) {
  needed <- c("program", "status", "verdict", "verdict_line")
  if (!all(needed %in% names(jobs))) {
    abort_input("logs", "must be a folder, files, or a data frame as of abba_list_k8s_jobs_local()", NULL, call)
  }
  ended <- jobs$status %in% c("Succeeded", "Failed")
  if (any(ended) && all(is.na(jobs$verdict))) {
    abort_input("logs", "must be jobs that were listed with `verdict = TRUE`", NULL, call)
  }
  data.frame(
    program = jobs$program, verdict = jobs$verdict, verdict_line = jobs$verdict_line,
    log = rep(NA_character_, nrow(jobs))
  )
}

checked_files <- function(logs, call) {
  logs <- check_strings(logs, argument = "logs", call = call)
  paths <- vapply(logs, expand_path, "", call = call, argument = "logs", USE.NAMES = FALSE)
  if (length(paths) == 1L && dir.exists(native_path(paths))) {
    found <- list.files(native_path(paths), "[.](log|Rout)$", recursive = TRUE, full.names = TRUE, ignore.case = TRUE)
    paths <- as_utf8(found, "logs", call)
  }
  if (length(paths) == 0L) {
    abort_input("logs", "must have a file that ends in .log or .Rout", if (length(logs) == 1L) logs, call)
  }
  rows <- core_value(core_log_check(I(paths), log_patterns_option(call)), call)
  data.frame(
    program = stem_of(paths),
    verdict = text_column(rows, "verdict"), verdict_line = text_column(rows, "verdict_line"), log = paths
  )
}

# The page, a line each. `folder`: the folder that it is written to.
log_check_page <- function(checked, folder) {
  escape <- function(text) {
    text <- gsub("&", "&amp;", text, fixed = TRUE)
    text <- gsub("<", "&lt;", text, fixed = TRUE)
    gsub("\"", "&quot;", text, fixed = TRUE)
  }
  verdict <- ifelse(is.na(checked$verdict), "none", checked$verdict)
  worst_first <- c("killed", "errors", "warnings", "none", "clean")
  counts <- table(factor(verdict, worst_first))
  counts <- counts[counts > 0L]
  rows <- order(match(verdict, worst_first), seq_along(verdict))
  name <- escape(checked$program)
  is_file <- !is.na(checked$log)
  links <- vapply(checked$log[is_file], link_to, "", folder = folder, USE.NAMES = FALSE)
  name[is_file] <- paste0("<a href=\"", escape(links), "\">", name[is_file], "</a>")
  line <- ifelse(is.na(checked$verdict_line), "", escape(checked$verdict_line))
  c(
    "<!DOCTYPE html>", "<html lang=\"en\">", "<head>", "<meta charset=\"utf-8\">", "<title>Log check</title>",
    "<style>",
    "body { font-family: sans-serif; margin: 2em; }",
    "table { border-collapse: collapse; }",
    "th, td { text-align: left; vertical-align: top; padding: 0.3em 1em 0.3em 0; border-bottom: 1px solid #ccc; }",
    ".errors, .killed { color: #b00020; font-weight: bold; }", ".warnings { color: #8a5a00; }",
    "code { white-space: pre-wrap; }", "</style>", "</head>", "<body>",
    "<h1>Log check</h1>",
    paste0(
      "<p>", format(Sys.time(), "%Y-%m-%d %H:%M:%S UTC", tz = "UTC"), ": ", counted(nrow(checked), "log"),
      if (length(counts) > 0L) paste0(" (", count_words(counts), ")"), "</p>"
    ),
    "<table>", "<thead><tr><th>Program</th><th>Verdict</th><th>First line</th></tr></thead>", "<tbody>",
    paste0(
      "<tr><td>", name, "</td><td class=\"", verdict, "\">", verdict, "</td><td><code>", line, "</code></td></tr>"
    )[rows],
    "</tbody>", "</table>", "</body>", "</html>"
  )
}

# The address of a file for a page in `folder`: relative to it where the file is in it.
link_to <- function(path, folder) {
  absolute <- function(path) as_utf8(normalizePath(native_path(path), "/", mustWork = FALSE), "logs", NULL)
  # A "/" stays, and all else that means something in an address does not.
  encoded <- function(path) gsub("%2F", "/", utils::URLencode(path, reserved = TRUE), fixed = TRUE)
  path <- absolute(path)
  folder <- paste0(sub("/$", "", absolute(folder)), "/")
  if (startsWith(path, folder)) {
    return(encoded(substring(path, nchar(folder) + 1L)))
  }
  paste0("file://", if (!startsWith(path, "/")) "/", encoded(path))
}

# Writes lines as UTF-8, in whatever locale.
write_page <- function(lines, path, call) {
  written <- tryCatch(
    {
      file <- file(native_path(path), "wb")
      on.exit(close(file))
      writeLines(lines, file, useBytes = TRUE)
      NULL
    },
    warning = identity, error = identity
  )
  if (!is.null(written)) {
    abort_input("html", paste0("must be a file that can be written: ", conditionMessage(written)), path, call)
  }
}
