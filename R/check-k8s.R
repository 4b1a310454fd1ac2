#' Check that programs can be run on the cluster
#'
#' Looks at everything between this R session and a running program, from kubectl
#' to the nodes, and says for each what it found and what to do. It is the first
#' thing to call on a new machine, and when something does not work.
#'
#' It submits nothing and leaves nothing in the cluster: it has the cluster check
#' the very job that [abba_submit_k8s_job_local()] would send with the same
#' arguments, as a "dry run". Whatever is broken is a line of the answer and never
#' an error. Where the cluster does not answer at all, it takes up to the option
#' `abba.k8s.request.timeout`.
#'
#' @param container,cpu_limit,memory_limit,username,queue,job_template,mounts,auto_mount_home,home_nfs_ip_address
#'   The container image, limits, user, queue, Job template and storage of the programs that you want to run, as of
#'   [abba_submit_k8s_job_local()].
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return A data frame of class `abba_check`, which prints as text, with one row
#'   for each check, always the same ones in the same order, and the character
#'   columns
#'   * `check`: what was looked at.
#'   * `result`: `"ok"`, `"problem"`, or `"not known"`.
#'   * `what`: what was found, or why it cannot be known.
#'   * `advice`: what to do, `NA` where there is nothing to do.
#'
#'   Its attribute `for_admin` is a text to forward to the administrator of the
#'   cluster, `NA` where there is nothing for them to do: what they can mend and,
#'   where rights are missing, the Role and RoleBinding that give exactly those, as
#'   YAML. It is printed at the end.
#'
#' @section Checks:
#' | Check | Question |
#' |---|---|
#' | kubectl | Is it there, and does it run? |
#' | configuration | Which cluster and namespace does it name? |
#' | cluster | Does it answer? |
#' | kubectl version | Is it within one minor version of the cluster's? |
#' | login | Does the cluster accept it, and as whom? |
#' | clock | Do this machine's and the cluster's agree? |
#' | right to ... | May you do what abba does? A row for each right. |
#' | namespace | Does it exist? |
#' | container | Is the image's name legal, and permitted, and has it run here lately? |
#' | quota | Is there a quota, and room for one more program? |
#' | limit range | Are the limits within the namespace's bounds? |
#' | pod security | Does the namespace's level allow the programs, with what they mount or may mount? |
#' | network | Does a NetworkPolicy say whom programs reach? None keeps no program from running. |
#' | queue | Is the queue there, with a quota of all that programs need, does it let any go, and how many wait? |
#' | nodes | Is any large enough, with what the Job template asks for, and open to programs? |
#' | trial | Would the cluster accept a job now? |
#'
#' The permitted container images are those in the option `abba.permitted.containers`,
#' where that is set. Programs may mount NFS where `home_nfs_ip_address` or the option `abba.permitted.mounts` of an
#' abba server is set. That a node can pull an image is known only when a program
#' runs.
#'
#' Some of these can be answered only with rights that abba does not need; without
#' them they are "not known", which keeps nothing from working.
#'
#' @section Errors:
#' Arguments that no submission could have raise an error of class
#' `abba_error_input`.
#'
#' @seealso [abba_explain_k8s_job_local()] for a job that was submitted.
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' abba_check_k8s_local()
#'
#' # Could a larger program run?
#' found <- abba_check_k8s_local(cpu_limit = 8, memory_limit = "64G")
#' found[found$result == "problem", c("what", "advice")]
#'
#' # A mail to the administrator
#' writeLines(attr(found, "for_admin"))
#' }
abba_check_k8s_local <- function(
    container = getOption("abba.default.container"),
    cpu_limit = 1L,
    memory_limit = "512M",
    username = NULL,
    namespace = getOption("abba.k8s.namespace"),
    queue = getOption("abba.k8s.queue"),
    job_template = getOption("abba.k8s.job.template"),
    mounts = "",
    auto_mount_home = FALSE,
    home_nfs_ip_address = getOption("abba.home.nfs.ip.address")) {
  permitted <- getOption("abba.permitted.containers")
  if (!is.null(permitted)) {
    permitted <- I(check_strings(unlist(permitted), argument = "abba.permitted.containers"))
  }
  arguments <- check_arguments(list(
    container = container, cpu_limit = cpu_limit, memory_limit = memory_limit, username = username, queue = queue,
    mounts = mounts, auto_mount_home = auto_mount_home, home_nfs_ip_address = home_nfs_ip_address
  ))
  arguments$offers_nfs <- !is.null(home_nfs_ip_address) || length(getOption("abba.permitted.mounts")) > 0L
  arguments$permitted_containers <- permitted
  arguments$job_template <- check_job_template(job_template)
  report <- core_value(core_check(arguments, settings(namespace)))
  checks <- as.data.frame(text_columns(report$checks, c("check", "result", "what", "advice")))
  checks$advice[checks$advice == ""] <- NA
  structure(checks, class = c("abba_check", "data.frame"), for_admin = string_or_na(report$for_admin))
}

#' @rdname abba_check_k8s_local
#' @param x What was found.
#' @param ... Not used.
#' @export
print.abba_check <- function(x, ...) {
  columns <- c("check", "result", "what", "advice")
  if (!all(columns %in% names(x))) {
    # Some columns of it.
    return(NextMethod())
  }
  shown <- x
  cat(check_summary(x$result), "\n\n", sep = "")
  for_admin <- attr(x, "for_admin")
  x <- with_repetitions_in_one_row(with_rights_in_one_row(x))
  marks <- ifelse(x$result == "problem", "PROBLEM", x$result)
  heads <- paste0(format(marks, width = 9L), "  ", format(x$check), "  ")
  for (i in seq_len(nrow(x))) {
    print_wrapped(x$what[[i]], heads[[i]])
    if (!is.na(x$advice[[i]])) {
      print_wrapped(paste("What to do:", x$advice[[i]]), strrep(" ", nchar(heads[[i]])))
    }
  }
  if (!is.null(for_admin) && !is.na(for_admin)) {
    cat("\nTo forward to the administrator of the cluster:\n", strrep("-", 47L), "\n", sep = "")
    cat(for_admin, strrep("-", 47L), "\n", sep = "")
  }
  invisible(shown)
}

# Those that one has are one row, at the place of the first.
with_rights_in_one_row <- function(x) {
  is_right <- startsWith(x$check, "right to ")
  given <- which(is_right & x$result == "ok")
  if (length(given) < 2L) {
    return(x)
  }
  x$check[given[[1L]]] <- "rights"
  x$what[given[[1L]]] <- paste0("You have ", length(given), " of the ", sum(is_right), " rights that abba needs.")
  x[setdiff(seq_len(nrow(x)), given[-1L]), ]
}

# What cannot be known for the same reason as the row before.
with_repetitions_in_one_row <- function(x) {
  # What is known is never put together with anything.
  runs <- rle(ifelse(x$result == "not known", paste(x$what, x$advice), seq_len(nrow(x))))
  first <- cumsum(c(1L, runs$lengths))[seq_along(runs$lengths)]
  is_run <- runs$lengths > 1L
  x$check[first[is_run]] <- paste(runs$lengths[is_run], "others")
  x[first, ]
}

check_summary <- function(result) {
  problems <- sum(result == "problem")
  unknown <- sum(result == "not known")
  first <- switch(as.character(min(problems, 2L)),
    "0" = "No problem was found",
    "1" = "1 problem was found",
    paste(problems, "problems were found")
  )
  second <- if (unknown > 0L) paste0("; not known: ", unknown, " of ", length(result), " checks")
  paste0(first, second, ".")
}

# Text after a head, in as many lines as the console's width asks for.
print_wrapped <- function(text, head) {
  width <- max(getOption("width"), nchar(head) + 40L)
  lines <- strwrap(text, width = width - nchar(head))
  cat(paste0(c(head, rep(strrep(" ", nchar(head)), length(lines) - 1L)), lines), sep = "\n")
}
