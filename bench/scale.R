# The status of a batch of ten thousand pods, all running, which is the hardest case: Jobs that have not succeeded may
# have no pod, so they are listed too.
bench_scale <- function() {
  count <- size(10000L)
  new_namespace("scale")
  say("submitting ", count, " programs")
  taken <- seconds(batch <- submit_batch(count, user_tag = "hold"))
  note("scale", list(`submit, seconds` = taken))
  say(sprintf("%.0f a second; waiting until they run", count / taken))
  batch_id <- batch$batch_id[[1L]]
  waited <- seconds(wait_for_batch(batch_id, "Running", pause = 10))
  say(sprintf("they run, %.0f s later", waited))
  ask <- paste0("abba_get_k8s_batch_status_local(", deparse(batch_id), ")")
  memory <- numeric()
  sizes <- raw_get(list_path("pods", batch_id))[[2L]]
  figures <- alternate("scale", size(5L), list(
    abba = function() {
      answer <- as.numeric(other_r(memory_program(ask), new_session_folder()))
      memory <<- c(memory, answer[[2L]])
      answer[[1L]]
    },
    get = function() raw_get(list_path("pods", batch_id))[[1L]],
    jobs = function() raw_get(paste0(list_path("jobs", batch_id), "&fieldSelector=status.successful%3D0"))[[1L]],
    kubectl = function() get_pods(paste0("abba/batch-id=", batch_id))
  ))
  note("scale", list(`memory, MiB` = memory, `pods, bytes` = sizes))
  ratio <- times(figures$abba, figures$get)
  row(paste("status of a batch of", count, "pods, all running"), "abba", figures$abba,
    ratio = paste(format_times(ratio), "the raw GET"), goal = "at most 1.5 x", reached = ratio <= 1.5
  )
  row("", sprintf("raw GET of the pods through a kubectl proxy (%.0f MB)", sizes / 1e6), figures$get)
  row("", "raw GET of the jobs that have not succeeded", figures$jobs)
  row("", "`kubectl get pods -l ... -o json`", figures$kubectl,
    ratio = paste(format_times(times(figures$kubectl, figures$abba)), "abba")
  )
  row("", "how far R's memory grows at most", memory, unit = "MiB",
    goal = "at most 60 MB", reached = max(memory) * 1024^2 <= 60e6
  )
}

new_session_folder <- function() {
  folder <- tempfile("session-")
  dir.create(folder)
  folder
}

# A program that prints how long a call takes, and by how much R's memory has grown in it at most (MiB), in a session
# that has its kubectl and has called the function before.
memory_program <- function(ask) {
  c(
    "resident <- function(name) {",
    "  line <- grep(name, readLines('/proc/self/status'), value = TRUE)",
    "  as.numeric(gsub('[^0-9]', '', line)) / 1024",
    "}",
    "try(abba_get_k8s_batch_status_local('none'), silent = TRUE)",
    "invisible(gc())",
    # The most so far is forgotten. https://docs.kernel.org/filesystems/proc.html (clear_refs)
    "writeLines('5', '/proc/self/clear_refs')",
    "before <- resident('VmRSS')",
    "begin <- Sys.time()",
    paste("status <-", ask),
    "cat(as.numeric(difftime(Sys.time(), begin, units = 'secs')), '\\n')",
    "cat(resident('VmHWM') - before, '\\n')"
  )
}
