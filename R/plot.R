#' Draw a batch as a timeline
#'
#' A bar for each program: light while it waits, dark while it runs, coloured by its
#' status. A cross stands for a program that has failed or was cancelled before it ran.
#'
#' @param x A data frame as of [abba_submit_k8s_batch_local()] (the times are asked of
#'   the cluster), of [abba_submit_batch()] (they are asked of the abba API) or of [abba_list_k8s_jobs_local()].
#' @param ... Passed on to [graphics::plot.window()], such as `xlim`.
#' @param namespace As of [abba_submit_k8s_job_local()]; of no matter for a batch of an abba API.
#'
#' @return The data frame that was drawn, as of [abba_list_k8s_jobs_local()],
#'   invisibly.
#' @export
#' @examples
#' jobs <- structure(
#'   data.frame(
#'     program = c("t_1.R", "t_2.R"), status = c("Succeeded", "Failed"),
#'     submitted = as.POSIXct(c(0, 0), origin = "1970-01-01", tz = "UTC"),
#'     started = as.POSIXct(c(1, 4), origin = "1970-01-01", tz = "UTC"),
#'     finished = as.POSIXct(c(5, 9), origin = "1970-01-01", tz = "UTC")
#'   ),
#'   class = c("abba_jobs", "data.frame")
#' )
#' plot(jobs)
plot.abba_batch <- function(x, ..., namespace = getOption("abba.k8s.namespace")) {
  if (nrow(x) == 0L) {
    return(say_nothing_to_draw(x))
  }
  plot(jobs_of_batch(x, namespace), ...)
}

# `of_api`: the batches that this session has submitted to an abba API.
the_batches <- new.env(parent = emptyenv())

# The jobs of a batch as they stand, in its order, from where it was submitted to: in the data frame that is not told.
jobs_of_batch <- function(batch, namespace, call = rlang::caller_env()) {
  of_batch <- function(road, batch_id) {
    road$list(list(user = NULL, batch_id = batch_id, status = NULL, since = NULL, verdict = FALSE))
  }
  has_api <- uses_api()
  jobs <- do.call(rbind, lapply(unique(batch$batch_id), function(batch_id) {
    if (batch_id %in% the_batches$of_api) {
      return(of_batch(road_api(call), batch_id))
    }
    # An earlier session may have submitted it to the API.
    without_kubectl <- function(condition) if (!has_api) rlang::cnd_signal(condition)
    found <- tryCatch(
      of_batch(road_kubectl(namespace, call), batch_id),
      abba_error_kubectl_missing = without_kubectl, abba_error_not_configured = without_kubectl
    )
    if (has_api && NROW(found) == 0L) of_batch(road_api(call), batch_id) else found
  }))
  # Some may not have been submitted, or be removed by now.
  rows <- match(batch$job_id, jobs$job_id)
  jobs[rows[!is.na(rows)], ]
}

#' @rdname plot.abba_batch
#' @export
plot.abba_jobs <- function(x, ...) {
  if (nrow(x) == 0L) {
    return(say_nothing_to_draw(x))
  }
  # Of some that an archive has it is not known when they were submitted.
  known <- x[!is.na(x$submitted), ]
  if (nrow(known) < nrow(x)) {
    unknown <- toString(x$job_id[is.na(x$submitted)])
    rlang::inform(paste0("Not drawn, as nobody knows when they were submitted: ", unknown))
  }
  if (nrow(known) == 0L) {
    return(say_nothing_to_draw(x))
  }
  bars <- timeline(known, Sys.time())
  unit <- time_unit(max(bars$end))
  times <- c("begin", "run", "end")
  bars[times] <- bars[times] / unit$seconds
  colours <- c(
    Pending = "grey60", Running = "#0072B2", Succeeded = "#009E73",
    Failed = "#D55E00", Unknown = "#CC79A7"
  )
  old <- graphics::par(mar = c(4, 1 + 0.55 * min(30, max(nchar(bars$label))), 2, 1))
  on.exit(graphics::par(old))
  rows <- rev(seq_len(nrow(bars)))
  graphics::plot.new()
  window <- utils::modifyList(
    list(xlim = c(0, max(bars$end, 1 / unit$seconds)), ylim = c(0.5, nrow(bars) + 0.5)), list(...)
  )
  do.call(graphics::plot.window, window)
  colour <- colours[bars$status]
  light <- grDevices::adjustcolor(colour, 0.25)
  graphics::rect(bars$begin, rows - 0.35, bars$run, rows + 0.35, col = light, border = NA)
  graphics::rect(bars$run, rows - 0.35, bars$end, rows + 0.35, col = colour, border = NA)
  # What never ran has no bar.
  graphics::points(bars$end[bars$never_ran], rows[bars$never_ran], pch = 4, lwd = 2, col = colour[bars$never_ran])
  graphics::axis(1)
  graphics::axis(2, at = rows, labels = bars$label, las = 1, tick = FALSE)
  graphics::title(xlab = paste0(
    unit$name, " since the first was submitted (light: waiting", if (any(bars$never_ran)) ", cross: never ran", ")"
  ))
  shown <- names(colours)[names(colours) %in% bars$status]
  graphics::legend(
    "top",
    legend = shown, fill = colours[shown], horiz = TRUE, bty = "n",
    inset = c(0, -0.08), xpd = NA
  )
  invisible(x)
}

say_nothing_to_draw <- function(x) {
  rlang::inform("There are no jobs to draw.")
  invisible(x)
}

# For each job the seconds, since the first was submitted, at which it was submitted, began to run, and ended; what has
# not come yet is `now`.
timeline <- function(jobs, now) {
  zero <- min(jobs$submitted)
  seconds <- function(time) as.numeric(difftime(time, zero, units = "secs"))
  begin <- seconds(jobs$submitted)
  ended <- jobs$status %in% c("Succeeded", "Failed")
  # Of a job that never ran no times are known.
  end <- ifelse(is.na(jobs$finished), ifelse(ended, begin, seconds(now)), seconds(jobs$finished))
  run <- ifelse(is.na(jobs$started), end, seconds(jobs$started))
  label <- basename(jobs$program)
  label <- ifelse(nchar(label) > 30L, paste0(substr(label, 1L, 27L), "..."), label)
  # Two machines' clocks may differ by a little.
  run <- pmax(begin, run)
  data.frame(
    label = label, status = jobs$status, begin = begin, run = run, end = pmax(run, end),
    never_ran = ended & is.na(jobs$started) & is.na(jobs$finished)
  )
}

# The unit in which a span of so many seconds reads well.
time_unit <- function(seconds) {
  if (seconds < 180) {
    list(name = "seconds", seconds = 1)
  } else if (seconds < 3 * 3600) {
    list(name = "minutes", seconds = 60)
  } else {
    list(name = "hours", seconds = 3600)
  }
}
