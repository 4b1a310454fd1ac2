# A thousand logs. They are those of real pods on the real node, read again and again: kwok's pods have none.
bench_logs <- function() {
  pods <- size(40L, 4L)
  count <- size(1000L, 40L)
  new_namespace("logs")
  let_kwok_play(FALSE)
  on.exit(let_kwok_play(TRUE))
  text <- "for (i in 1:100) cat('line', i, 'of a log as a table or a listing writes it, about eighty characters\\n')"
  paths <- programs(pods, text)
  batch <- suppressMessages(abba_submit_k8s_batch_local(paths, cpu_limit = 0.2, container = image))
  say("waiting for ", pods, " real pods")
  abba_watch_k8s_batch_local(batch$batch_id[[1L]])
  ids <- batch$job_id
  logs <- abba_get_k8s_job_log_local(ids)
  stopifnot(lengths(lapply(logs, `[[`, "log")) == 100L)
  names <- vapply(kubectl_json("get", "pods", in_namespace())$items, function(pod) pod$metadata$name, "")
  again <- rep(ids, count / pods)
  sample <- min(20L, pods)
  figures <- alternate("logs", size(5L), list(
    abba = function() seconds(abba_get_k8s_job_log_local(again)),
    kubectl = function() {
      seconds(for (name in names[seq_len(sample)]) kubectl("logs", in_namespace(), name)) * count / sample
    }
  ))
  ratio <- times(figures$kubectl, figures$abba)
  row(paste0(count, " logs (", pods, " pods, each ", count / pods, " times)"), "abba", figures$abba)
  row("", paste0("`kubectl logs` for each (", sample, " measured, times ", count / sample, ")"), figures$kubectl,
    ratio = paste(format_times(ratio), "abba"), goal = "at least 18 x", reached = ratio >= 18
  )
}
