#' Start the programs of plans in their turn
#'
#' Starts each program of a plan that was submitted to the cluster when all those have succeeded
#' that it waits for, whoever has submitted it, until it is interrupted. With such a controller
#' nobody needs to wait for a batch of [abba_submit_k8s_batch_local()] so that it goes on.
#'
#' It holds nothing that could be lost: all is in the cluster. It may be ended and started again at any
#' time, several may run at once, and an outage of the cluster does not end it. A program that waits for
#' its turn costs it nothing. It prints what it does.
#'
#' With the option `abba.archive`, or `archive`, it also saves the log and the record of each job of the namespace
#' that has ended into that folder, before the cluster forgets it: see [abba_archive()]. A job that had ended before
#' the controller was started is saved, too, as long as the cluster has it, and none is saved twice. Where the
#' folder cannot be written, as with a full disk, it says so, and tries again until it can.
#'
#' The logs of jobs that run it follows from their start, 50 at a time, and keeps them in the folder `.part` of the
#' archive until that is archived: of a long log Kubernetes itself keeps the end alone. With more jobs than that,
#' those that print nothing for a while make room for others.
#'
#' Where its Role allows it, it renews a Lease `abba-controller` in the namespace, by which
#' [abba_explain_k8s_job_local()] knows that it is there.
#'
#' @section Rights:
#' It needs the right to `get`, `list`, `watch` and `update` `jobs`, and to `list` and `watch` `pods`; for
#' the Lease to `get`, `create` and `update` `leases` (API group `coordination.k8s.io`). Without `watch` of
#' `jobs` it works, and takes up to half a minute to notice that a program was submitted or cancelled.
#'
#' For an archive it needs besides to `get` `pods` and `pods/log`, to `list` `events`, without which the records have
#' none, and to `get` the namespace itself (`namespaces`, with its name as the `resourceName`).
#'
#' @param archive The folder of the archive, which must be there; `NULL` for none.
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return Nothing: the function ends with an interrupt.
#' @seealso [abba_plan()], [abba_archive()]
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' abba_run_controller_local(namespace = "statistics", archive = "/nfs/abba-archive")
#' }
abba_run_controller_local <- function(namespace = getOption("abba.k8s.namespace"),
                                      archive = getOption("abba.archive")) {
  call <- rlang::current_env()
  settings <- settings(namespace, call)
  archiver <- archiver(archive, settings, call)
  say <- function(words) if (!is.null(words)) message(format(Sys.time(), "%Y-%m-%d %H:%M:%S "), words)
  control(
    lease_holder(), archiver, settings, call,
    tell = function(news) say(controller_words(news)), after_step = say
  )
}

# Does a controller's work until it is interrupted.
#
# holder: its name in the Lease; NULL: it starts no programs. archiver: see archiver(), or NULL. tell(news): is told
# what happens; after_step(words): what the archiver says, or NULL, about once a second.
control <- function(holder, archiver, settings, call, tell, after_step) {
  controller <- core_value(core_controller_begin(holder, archiver$folder, archiver$place, settings), call)
  on.exit(core_controller_end(controller))
  repeat {
    seconds <- if (!is.null(archiver) && archiver$is_due()) 0 else 1
    for (news in core_value(core_controller_next(controller, seconds), call)) {
      if (news$event == "ended") archiver$ended(news$jobs) else tell(news)
    }
    said <- if (!is.null(archiver)) archiver$step()
    after_step(said)
  }
}

# What a controller does, in words.
controller_words <- function(news) {
  switch(news$event,
    follows = paste0(
      "The jobs are followed; ", counted(news$waiting, "program"),
      if (news$waiting == 1L) " waits" else " wait", " for others."
    ),
    released = paste0("Started: ", news$program, " (", news$job_id, ")"),
    not_started = paste0("Not started, because ", news$cause, ": ", news$program, " (", news$job_id, ")"),
    trouble = paste(c(news$error$message, news$error$stderr, "It is tried again."), collapse = " ")
  )
}

# The name of this process in the Lease.
lease_holder <- function() paste0(Sys.info()[["nodename"]], "-", Sys.getpid())
