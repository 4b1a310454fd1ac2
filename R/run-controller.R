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
#' Where its Role allows it, it renews a Lease `abba-controller` in the namespace, by which
#' [abba_explain_k8s_job_local()] knows that it is there.
#'
#' @section Rights:
#' It needs the right to `get`, `list`, `watch` and `update` `jobs`, and to `list` and `watch` `pods`; for
#' the Lease to `get`, `create` and `update` `leases` (API group `coordination.k8s.io`). Without `watch` of
#' `jobs` it works, and takes up to half a minute to notice that a program was submitted or cancelled.
#'
#' @inheritParams abba_submit_k8s_job_local
#'
#' @return Nothing: the function ends with an interrupt.
#' @seealso [abba_plan()]
#' @export
#' @examples
#' # Needs kubectl and a cluster that it is logged in to.
#' \dontrun{
#' abba_run_controller_local(namespace = "statistics")
#' }
abba_run_controller_local <- function(namespace = getOption("abba.k8s.namespace")) {
  call <- rlang::current_env()
  holder <- paste0(Sys.info()[["nodename"]], "-", Sys.getpid())
  controller <- core_value(core_controller_begin(holder, settings(namespace, call)), call)
  on.exit(core_controller_end(controller))
  repeat {
    for (news in core_value(core_controller_next(controller, 1), call)) {
      message(format(Sys.time(), "%Y-%m-%d %H:%M:%S "), controller_words(news))
    }
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
