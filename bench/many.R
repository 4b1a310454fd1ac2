# A thousand programs: submitting them, and their status. The pods are kwok's.
bench_many <- function() {
  count <- size(1000L)
  sample <- size(30L)
  scale <- count / sample
  new_namespace("many")
  manifest <- manifest_of(submit_batch(1L)$job_id)
  batches <- character()
  # Before each, the cluster has come to rest; and each has a namespace of its own, so that none finds the others' jobs.
  in_new_namespace <- local({
    number <- 0L
    function() {
      number <<- number + 1L
      new_namespace(paste0("many-", number))
      Sys.sleep(1)
    }
  })
  rest <- function(batch_id) {
    wait_for_batch(batch_id, pause = 3)
    batches[[batch_id]] <<- getOption("abba.k8s.namespace")
  }
  prepared <- programs(count)
  for_namespace <- function(count, batch_id) {
    again <- manifest
    job <- jsonlite::fromJSON(again$text, simplifyVector = FALSE)
    job$metadata$namespace <- getOption("abba.k8s.namespace")
    job$metadata$labels[["abba/batch-id"]] <- batch_id
    job$spec$template$metadata$labels[["abba/batch-id"]] <- batch_id
    again$text <- as.character(jsonlite::toJSON(rapply_empty(job), auto_unbox = TRUE))
    if (count > 1L) manifest_file(again, count) else function() manifest_file(again)
  }
  figures <- alternate("submit many", size(3L, 1L), list(
    abba = function() {
      in_new_namespace()
      batch_id <- paste0("abba-", uuid())
      taken <- seconds(suppressMessages(
        abba_submit_k8s_batch_local(prepared, batch_id, cpu_limit = played_cores)
      ))
      rest(batch_id)
      taken
    },
    create = function() {
      in_new_namespace()
      batch_id <- paste0("create-", uuid())
      file <- for_namespace(count, batch_id)
      taken <- seconds(kubectl("create", in_namespace(), "--filename", file))
      rest(batch_id)
      taken
    },
    apply = function() {
      in_new_namespace()
      batch_id <- paste0("apply-", uuid())
      new_file <- for_namespace(1L, batch_id)
      files <- vapply(seq_len(sample), function(i) new_file(), "")
      taken <- seconds(for (file in files) kubectl("apply", in_namespace(), "--filename", file))
      wait_for_batch(batch_id)
      taken * scale
    }
  ))
  work <- paste("submit", count)
  ratio <- times(figures$create, figures$abba)
  row(work, "abba", figures$abba)
  row("", paste0("one `kubectl create -f` of the ", count, "-item list"), figures$create,
    ratio = format_times(ratio), goal = "at least 3 x", reached = ratio >= 3
  )
  ratio <- times(figures$apply, figures$abba)
  row("", paste0("`kubectl apply -f` for each (", sample, " measured, times ", format(scale, digits = 3), ")"),
    figures$apply,
    ratio = format_times(ratio), goal = "at least 40 x", reached = ratio >= 40
  )

  # Their status: of the last batch that abba submitted.
  batch_id <- utils::tail(grep("^abba-", names(batches), value = TRUE), 1L)
  options(abba.k8s.namespace = batches[[batch_id]])
  pods <- list_path("pods", batch_id)
  ids <- vapply(kubectl_json("get", "jobs", in_namespace())$items, function(job) job$metadata$name, "")
  stopifnot(length(ids) == count)
  figures <- alternate("status of many", size(12L), list(
    batch = function() seconds(abba_get_k8s_batch_status_local(batch_id)),
    ids = function() seconds(abba_get_k8s_job_status_local(ids)),
    get = function() raw_get(pods)[[1L]],
    kubectl = function() get_pods(paste0("abba/batch-id=", batch_id)),
    each = function() {
      asked <- 5L
      seconds(for (id in ids[seq_len(asked)]) get_pods(paste0("job-name=", id))) * count / asked
    }
  ))
  for (way in c("batch", "ids")) {
    ratio <- times(figures[[way]], figures$get)
    row(if (way == "batch") paste("status of", count, "jobs") else "",
      if (way == "batch") "abba, by the batch's id" else "abba, by the jobs' ids", figures[[way]],
      ratio = format_times(ratio), goal = "at most 1.3 x the raw GET", reached = ratio <= 1.3
    )
  }
  row("", "raw GET of the pods through the same proxy", figures$get)
  row("", "one `kubectl get pods -l ... -o json`", figures$kubectl,
    ratio = format_times(times(figures$kubectl, figures$batch))
  )
  row("", paste0("`kubectl get pods -l job-name=...` for each (5 measured, times ", count / 5L, ")"), figures$each,
    ratio = format_times(times(figures$each, figures$batch))
  )
}
