# The status of one job, in a session that has its kubectl.
bench_status <- function() {
  new_namespace("status")
  batch <- submit_batch(1L)
  id <- batch$job_id
  wait_for_batch(batch$batch_id)
  path <- paste0("/api/v1/namespaces/", getOption("abba.k8s.namespace"), "/pods?labelSelector=job-name%3D", id)
  figures <- alternate("status", size(60L), list(
    abba = function() seconds(abba_get_k8s_job_status_local(id)),
    get = function() raw_get(path)[[1L]],
    kubectl = function() get_pods(paste0("job-name=", id))
  ))
  ratio <- times(figures$kubectl, figures$abba)
  row("status of one", "abba", figures$abba, goal = "at most 4 ms", reached = stats::median(figures$abba) <= 0.004)
  row("", "raw GET of the pod through the same proxy", figures$get,
    ratio = format_times(times(figures$get, figures$abba))
  )
  row("", "`kubectl get pods -l job-name=... -o json`", figures$kubectl,
    ratio = format_times(ratio), goal = "at least 15 x", reached = ratio >= 15
  )
}
