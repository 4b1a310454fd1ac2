# The first call of an R session, which starts the session's kubectl. Without R's own start and loading the package.
bench_first_call <- function() {
  new_namespace("first-call")
  batch <- submit_batch(1L)
  id <- batch$job_id
  wait_for_batch(batch$batch_id)
  # The user's usual case: the namespace is the one that kubectl's configuration names.
  kubectl("config", "set-context", "--current", in_namespace())
  first_call <- function(namespace) {
    as.numeric(other_r(c(
      paste0("options(abba.k8s.namespace = ", deparse(namespace), ")"),
      "begin <- Sys.time()",
      paste0("status <- abba_get_k8s_job_status_local(", deparse(id), ")"),
      "cat(as.numeric(difftime(Sys.time(), begin, units = \"secs\")), \"\\n\")"
    ), folder = new_folder()))
  }
  new_folder <- function() {
    folder <- tempfile("session-")
    dir.create(folder)
    folder
  }
  figures <- alternate("first call", size(15L), list(
    configured = function() first_call(NULL),
    given = function() first_call(getOption("abba.k8s.namespace")),
    kubectl = function() get_pods(paste0("job-name=", id))
  ))
  for (way in c("configured", "given")) {
    ratio <- times(figures[[way]], figures$kubectl)
    row(if (way == "configured") "first call of a new R session" else "",
      if (way == "configured") "abba, namespace as configured" else "abba, namespace as an option", figures[[way]],
      ratio = format_times(ratio), goal = "at most 1.3 x kubectl", reached = ratio <= 1.3
    )
  }
  row("", "`kubectl get pods -l job-name=... -o json`", figures$kubectl)
}
