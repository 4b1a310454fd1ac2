# One program, in a session that has its kubectl.
bench_submit <- function() {
  new_namespace("submit")
  program <- programs(1L)
  submit <- function() suppressMessages(abba_submit_k8s_job_local(program, cpu_limit = played_cores))
  manifest <- manifest_of(submit()$job_id)
  with_file <- function(verb) {
    file <- manifest_file(manifest)
    on.exit(unlink(file))
    seconds(kubectl(verb, in_namespace(), "--filename", file))
  }
  post <- function() {
    file <- manifest_file(manifest)
    on.exit(unlink(file))
    raw_post(paste0("/apis/batch/v1/namespaces/", getOption("abba.k8s.namespace"), "/jobs"), file)[[1L]]
  }
  figures <- alternate("submit", size(60L), list(
    abba = function() seconds(submit()),
    post = post,
    create = function() with_file("create"),
    apply = function() with_file("apply")
  ))
  work <- "submit one, warm session"
  ratio <- times(figures$create, figures$abba)
  row(work, "abba", figures$abba, goal = "at most 8 ms", reached = stats::median(figures$abba) <= 0.008)
  row("", "raw POST of the same Job through the same proxy", figures$post,
    ratio = format_times(times(figures$post, figures$abba))
  )
  row("", "`kubectl create -f`", figures$create,
    ratio = format_times(ratio), goal = "at least 10 x", reached = ratio >= 10
  )
  row("", "`kubectl apply -f`", figures$apply, ratio = format_times(times(figures$apply, figures$abba)))
}
