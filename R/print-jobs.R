# How data frames of jobs print: in the width of the console, with shortened ids.

#' @rdname abba_list_k8s_jobs_local
#' @param x,object A data frame of jobs.
#' @param n How many rows are printed at most.
#' @param ... Not used.
#'
#' @section Printing and summaries:
#' Printed, a data frame of jobs takes the width of the console: ids are shortened, times leave out the year, and
#' columns for which there is no room are named below. The columns themselves have everything.
#'
#' `summary()` counts the jobs by status and verdict, says how long they took, and names those that failed, with
#' the reason. Of a batch, as [abba_submit_k8s_batch_local()] or [abba_submit_batch()] returns it, it first asks where
#' the batch was submitted to.
#' @export
print.abba_jobs <- function(x, ..., n = 20L) {
  if (length(x) == 0L) {
    return(NextMethod())
  }
  if (nrow(x) == 0L) {
    cat("No jobs.\n")
    return(invisible(x))
  }
  shown <- utils::head(x, n)
  hidden <- nrow(x) - nrow(shown)
  in_lines <- function(texts) cat(strwrap(texts, getOption("width"), exdent = 2L), sep = "\n")
  if (hidden > 0L && is.character(x$status)) in_lines(paste0(counted(nrow(x), "job"), ": ", counts_text(x$status)))
  columns <- fitted_columns(shown, getOption("width"))
  cells <- Map(function(column, name) format(c(name, column)), columns, names(columns))
  rows <- format(c("", row.names(shown)), justify = "right")
  cat(sub(" +$", "", do.call(paste, c(list(rows), unname(cells)))), sep = "\n")
  others <- setdiff(names(x), names(columns))
  notes <- c(
    if (hidden > 0L) paste("... and", counted(hidden, "more job")),
    if (length(others) > 0L) paste("Not shown:", toString(others))
  )
  if (length(notes) > 0L) in_lines(notes)
  invisible(x)
}

#' @rdname abba_submit_k8s_batch_local
#' @param x A batch.
#' @param n How many rows are printed at most.
#' @param ... Not used.
#' @export
print.abba_batch <- print.abba_jobs

# The columns of a list of jobs, the most telling first.
telling_columns <- c(
  "job_id", "program", "status", "reason", "verdict", "submitted", "verdict_line", "exit_code", "finished", "user",
  "started", "batch_id"
)
# Those that may be cut where the line is too short, with the characters that they keep; what room there is goes to the
# first of them.
cut_columns <- c(reason = 20L, verdict_line = 20L, program = 14L)

# The columns for which a line of so many characters has room, as text.
fitted_columns <- function(x, width) {
  columns <- Map(column_text, as.list(x), names(x))
  # A column that says nothing gives way.
  empty <- vapply(columns, function(column) all(column == ""), NA)
  if (!all(empty)) columns <- columns[!empty]
  widest <- function(column, name) max(nchar(c(column, name), "width"))
  wanted <- mapply(widest, columns, names(columns))
  least <- pmin(wanted, ifelse(names(columns) %in% names(cut_columns), cut_columns[names(columns)], wanted))
  room <- width - max(nchar(row.names(x)))
  order <- order(match(names(columns), telling_columns, nomatch = 0L))
  fits <- order[cumsum(least[order] + 1L) <= room]
  if (length(fits) == 0L) fits <- order[[1L]]
  left <- room - sum(least[fits] + 1L)
  can_grow <- match(names(cut_columns), names(columns))
  for (at in intersect(can_grow, fits[least[fits] < wanted[fits]])) {
    more <- min(left, wanted[[at]] - least[[at]])
    least[[at]] <- least[[at]] + more
    left <- left - more
    columns[[at]] <- cut_text(columns[[at]], least[[at]], at_end = names(columns)[[at]] != "program")
  }
  columns[sort(fits)]
}

# A column as text in one line each; "" for NA.
column_text <- function(column, name) {
  text <- if (inherits(column, "POSIXct")) {
    format(column, "%m-%d %H:%M:%S")
  } else if (is.character(column)) {
    unhidden(encodeString(if (name %in% c("job_id", "batch_id")) short_id(column) else column))
  } else {
    format(column)
  }
  ifelse(is.na(column), "", text)
}

# Text in which signs that do not show, or turn what is written around, are told by their numbers: what a program is
# called may be somebody else's word. R itself escapes control characters alone.
unhidden <- function(text) {
  at <- grep(hidden_sign, text, perl = TRUE)
  found <- gregexpr(hidden_sign, text[at], perl = TRUE)
  numbers <- function(signs) vapply(signs, function(sign) sprintf("\\u%04x", utf8ToInt(sign)), "", USE.NAMES = FALSE)
  regmatches(text[at], found) <- lapply(regmatches(text[at], found), numbers)
  text
}

# Format characters, and the others that Unicode has programs show as nothing; but the ones by which emoji are coloured.
hidden_sign <- paste0(
  "(*UTF)[\\p{Cf}\\x{34f}\\x{115f}\\x{1160}\\x{17b4}\\x{17b5}\\x{180b}-\\x{180f}\\x{2028}\\x{2029}\\x{3164}\\x{ffa0}]"
)

# An id with the first eight characters of its UUID, and of a long name the beginning.
short_id <- function(id) {
  short <- sub("(-[0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "\\1", id)
  long <- which(nchar(short) > 21L)
  short[long] <- paste0(substr(short[long], 1L, 9L), "...", substring(short[long], nchar(short[long]) - 8L))
  short
}

# Text in at most so many columns of the console; what is left out is its end, or the beginning of a path.
cut_text <- function(text, width, at_end) {
  long <- which(nchar(text, "width") > width)
  text[long] <- vapply(text[long], function(one) {
    if (at_end) {
      return(paste0(strtrim(one, width - 3L), "..."))
    }
    signs <- rev(strsplit(one, "")[[1L]])
    paste0("...", paste(rev(signs[cumsum(nchar(signs, "width")) <= width - 3L]), collapse = ""))
  }, "", USE.NAMES = FALSE)
  text
}

# How often each value occurs, as "398 stopped, 2 had ended".
counts_text <- function(values) count_words(sort(table(values), decreasing = TRUE))

#' @rdname abba_list_k8s_jobs_local
#' @export
summary.abba_jobs <- function(object, ...) {
  jobs <- unclass(object)
  end <- function(times, which) if (all(is.na(times))) as.POSIXct(NA, tz = "UTC") else which(times, na.rm = TRUE)
  ended <- jobs$status %in% c("Succeeded", "Failed")
  bad <- which(jobs$status == "Failed" | jobs$verdict %in% c("errors", "killed"))
  why <- ifelse(is.na(jobs$reason), jobs$verdict_line, jobs$reason)
  seconds <- as.numeric(difftime(jobs$finished, jobs$started, units = "secs"))
  structure(
    list(
      batch_id = unique(jobs$batch_id), jobs = length(jobs$job_id),
      status = table(factor(jobs$status, intersect(job_states, jobs$status)), dnn = NULL),
      verdict = table(jobs$verdict, dnn = NULL),
      submitted = end(jobs$submitted, min), finished = if (all(ended)) end(jobs$finished, max) else end(NA, max),
      seconds = stats::setNames(seconds, jobs$program),
      failed = data.frame(job_id = jobs$job_id[bad], program = jobs$program[bad], reason = why[bad])
    ),
    class = "summary.abba_jobs"
  )
}

#' @rdname abba_submit_k8s_batch_local
#' @param object A batch.
#' @export
summary.abba_batch <- function(object, ..., namespace = getOption("abba.k8s.namespace")) {
  summary(jobs_of_batch(object, namespace))
}

#' @export
print.summary.abba_jobs <- function(x, ...) {
  time <- function(time) format(time, "%Y-%m-%d %H:%M:%S UTC")
  jobs <- paste0(counted(x$jobs, "job"), if (x$jobs > 0L) paste0(", ", count_words(x$status)))
  if (length(x$batch_id) == 1L) {
    batch <- paste0("Batch ", x$batch_id, ":")
    fits <- nchar(batch, "width") + 1L + nchar(jobs, "width") <= getOption("width")
    jobs <- paste0(batch, if (fits) " " else "\n  ", jobs)
  }
  cat(jobs, "\n", sep = "")
  ran <- x$seconds[!is.na(x$seconds)]
  facts <- c(
    Verdicts = if (length(x$verdict) > 0L) count_words(x$verdict),
    Submitted = if (!is.na(x$submitted)) time(x$submitted),
    Ended = if (!is.na(x$finished)) {
      span <- difftime(x$finished, x$submitted, units = "secs")
      paste0(time(x$finished), ", ", span_text(as.numeric(span)), " after that")
    },
    Longest = if (length(ran) > 1L) paste0(span_text(max(ran)), ", ", basename(names(ran)[[which.max(ran)]]))
  )
  if (length(facts) > 0L) cat(paste0("  ", format(paste0(names(facts), ":")), " ", facts), sep = "\n")
  if (nrow(x$failed) > 0L) {
    cat("\nTo be looked at:\n")
    print.abba_jobs(x$failed)
  }
  invisible(x)
}

# A number of seconds as it reads well.
span_text <- function(seconds) {
  unit <- time_unit(seconds)
  paste(format(round(seconds / unit$seconds, if (unit$seconds > 1) 1L else 0L)), unit$name)
}
