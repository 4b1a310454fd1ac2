# The data frame of jobs, and what it is made of.

# What a job can be.
job_states <- c("Pending", "Running", "Succeeded", "Failed", "Unknown")

# The data frame of jobs, out of the core's columns or an API's rows, whose times are still text. `verdict`: whether
# they have verdicts; the columns are there in any case, so that code that reads them works with every list.
jobs_frame <- function(rows, verdict) {
  columns <- c(
    text_columns(rows, c("job_id", "batch_id", "program", "user", "status", "submitted", "started", "finished")),
    list(exit_code = integer_column(rows, "exit_code"), reason = text_column(rows, "reason"))
  )
  times <- c("submitted", "started", "finished")
  columns[times] <- lapply(columns[times], from_kubernetes_time)
  verdicts <- c("verdict", "verdict_line")
  columns[verdicts] <- if (verdict) text_columns(rows, verdicts) else list(rep(NA_character_, length(columns$job_id)))
  structure(as.data.frame(columns), class = c("abba_jobs", "data.frame"))
}

# A column out of rows that are lists; NA where a row has NULL or no such element. It takes milliseconds for 10,000
# rows, where a function of R's own for each would take seconds. Where there are columns already, it is one of them.
text_columns <- function(rows, names) sapply(names, text_column, rows = rows, simplify = FALSE)
text_column <- function(rows, name) column(rows, name, NA_character_)
integer_column <- function(rows, name) column(rows, name, NA_integer_)

column <- function(rows, name, na) {
  if (!is.null(names(rows)) && is.atomic(rows[[name]])) {
    stopifnot(typeof(rows[[name]]) == typeof(na))
    return(rows[[name]])
  }
  values <- lapply(unname(rows), .subset2, name)
  values[lengths(values) == 0L] <- na
  values <- if (length(values) == 0L) na[0L] else unlist(values)
  stopifnot(typeof(values) == typeof(na), length(values) == length(rows))
  values
}

from_kubernetes_time <- function(text) {
  as.POSIXct(text, format = "%Y-%m-%dT%H:%M:%SZ", tz = "UTC")
}
