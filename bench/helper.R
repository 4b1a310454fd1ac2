# What all subjects use: the cluster, measuring, and the rows of the table.

# --- What bench/run has set up -----------------------------------------------------------------------------------

run_label <- Sys.getenv("ABBA_BENCH_RUN")
is_small <- nzchar(Sys.getenv("ABBA_BENCH_SMALL"))

# How often or how many: a tenth where only everything is to be tried.
size <- function(number, least = 2L) if (is_small) max(least, number %/% 10L) else number

say <- function(...) message("bench: ", ...)

# Makes a namespace that bench/run removes at the end; it is where abba works from then on.
new_namespace <- function(name) {
  namespace <- paste0(run_label, "-", name)
  kubectl("create", "namespace", namespace)
  kubectl("label", "namespace", namespace, paste0("abba-bench=", run_label))
  # Until the controllers have made it, pods are refused.
  kubectl("wait", "--for=create", "serviceaccount/default", "--namespace", namespace, "--timeout=60s")
  invisible(options(abba.k8s.namespace = namespace))
}

# Lets pods onto the nodes that kwok plays, or keeps them off, where real ones are wanted.
let_kwok_play <- function(yes) {
  kubectl(if (yes) "uncordon" else "cordon", "--selector", paste0("abba-bench=", run_label))
}

# --- kubectl, as a user's R program would call it ----------------------------------------------------------------

# The arguments that name the namespace.
in_namespace <- function() c("--namespace", getOption("abba.k8s.namespace"))

# Runs kubectl without looking at its output; stops where it fails.
kubectl <- function(..., output = FALSE) {
  errors <- tempfile("kubectl-errors-")
  on.exit(unlink(errors))
  status <- system2("kubectl", shQuote(c(...)), stdout = output, stderr = errors)
  if (status != 0L) {
    said <- paste(readLines(errors), collapse = " ")
    stop("kubectl ", paste(c(...), collapse = " "), " failed: ", said, call. = FALSE)
  }
}

# How long one kubectl takes to get the pods with a label, as a user's R program would to see how they are.
get_pods <- function(selector) {
  seconds(kubectl("get", "pods", in_namespace(), "--selector", selector, "--output", "json"))
}

kubectl_json <- function(...) {
  file <- tempfile("kubectl-")
  on.exit(unlink(file))
  kubectl(..., "--output", "json", output = file)
  jsonlite::fromJSON(file, simplifyVector = FALSE)
}

# --- Jobs --------------------------------------------------------------------------------------------------------

# A program that does next to nothing, `count` times under different names.
programs <- function(count, text = "print(2 + 2)", name = "table") {
  folder <- tempfile("programs-")
  dir.create(folder)
  paths <- file.path(folder, sprintf("%s_%05d.R", name, seq_len(count)))
  for (path in paths) writeLines(text, path)
  paths
}

# Only the nodes that kwok plays have so many cores.
played_cores <- 64L

submit_batch <- function(count, ..., cpu_limit = played_cores, batch = paste0("bench-", basename(tempfile("")))) {
  suppressMessages(abba_submit_k8s_batch_local(programs(count), batch, cpu_limit = cpu_limit, ...))
}

# Waits until all jobs of a batch are in a state. Looks rarely, so as not to disturb.
wait_for_batch <- function(batch_id, state = "Succeeded", pause = 1) {
  while (!identical(names(abba_get_k8s_batch_status_local(batch_id)), state)) Sys.sleep(pause)
  # The controllers still note the end of the last ones.
  Sys.sleep(2)
}

# The manifest of a job that abba made, as text in which `old` stands where a new id has to.
manifest_of <- function(job_id) {
  job <- kubectl_json("get", "job", job_id, in_namespace())
  list(text = as.character(jsonlite::toJSON(as_submitted(job), auto_unbox = TRUE)), old = job_id)
}

# Without what the server has added.
as_submitted <- function(job) {
  job$status <- NULL
  job$spec[c("selector", "suspend", "podReplacementPolicy", "completionMode", "manualSelector")] <- NULL
  job$metadata <- job$metadata[c("name", "namespace", "labels", "annotations")]
  labels <- job$spec$template$metadata$labels
  job$spec$template$metadata$labels <- labels[startsWith(names(labels), "abba/") | startsWith(names(labels), "app.")]
  job$spec$template$metadata$creationTimestamp <- NULL
  # What reads as an empty list is an empty object in all places where a Job has one.
  rapply_empty(job)
}

rapply_empty <- function(value) {
  if (!is.list(value)) {
    return(value)
  }
  if (length(value) == 0L) {
    return(structure(list(), names = character()))
  }
  lapply(value, rapply_empty)
}

# The same job under a new id.
manifest_again <- function(manifest) {
  id <- paste0("table-00001-", uuid())
  gsub(manifest$old, id, manifest$text, fixed = TRUE)
}

uuid <- function() readLines("/proc/sys/kernel/random/uuid")

manifest_file <- function(manifest, count = 1L) {
  file <- tempfile("manifest-", fileext = ".json")
  texts <- vapply(seq_len(count), function(i) manifest_again(manifest), "")
  if (count > 1L) {
    texts <- paste0("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[", paste(texts, collapse = ","), "]}")
  }
  writeLines(texts, file)
  file
}

# --- Measuring ---------------------------------------------------------------------------------------------------

now <- function() as.numeric(Sys.time())

# How long code takes, in seconds.
seconds <- function(code) {
  begin <- now()
  force(code)
  now() - begin
}

raw_figures <- list()

# Measures several ways in turn, round by round, so that what else the machine does meets all of them. Each way is a
# function that gives a number (of seconds, mostly). The figures of all rounds, a list of vectors.
alternate <- function(subject, rounds, ways) {
  figures <- lapply(ways, function(way) numeric())
  for (round in seq_len(rounds)) {
    # Each begins in turn.
    for (name in names(ways)[(seq_along(ways) + round) %% length(ways) + 1L]) {
      figures[[name]] <- c(figures[[name]], ways[[name]]())
    }
  }
  note(subject, figures)
  figures
}

note <- function(subject, figures) {
  for (name in names(figures)) {
    raw_figures[[length(raw_figures) + 1L]] <<-
      data.frame(subject = subject, way = name, round = seq_along(figures[[name]]), figure = figures[[name]])
  }
}

# How long the socket that abba's kubectl proxy listens on takes to answer a GET, as curl counts it: without its start;
# and how many bytes the answer has.
raw_get <- function(path, socket = abba_socket()) raw_request(path, character(), socket)

# The same for a POST of a file of JSON.
raw_post <- function(path, file, socket = abba_socket()) {
  raw_request(path, c("--header", "Content-Type: application/json", "--data-binary", paste0("@", file)), socket)
}

raw_request <- function(path, arguments, socket) {
  # Under another name, since the API server lays JSON out for reading when it sees curl's.
  answer <- system2(
    "curl",
    shQuote(c(
      "--silent", "--fail", "--user-agent", "bench", "--unix-socket", socket, "--output", "/dev/null",
      "--write-out", "%{time_total} %{size_download}", arguments, paste0("http://localhost", path)
    )),
    stdout = TRUE
  )
  as.numeric(strsplit(answer, " ", fixed = TRUE)[[1L]])
}

# The socket of the one proxy of this R session: bench/run has given us a folder for temporary files of our own.
abba_socket <- function(folder = Sys.getenv("TMPDIR")) {
  sockets <- Sys.glob(file.path(folder, "abba-*", "socket"))
  stopifnot(length(sockets) == 1L)
  sockets
}

list_path <- function(resource, batch_id) {
  group <- if (resource == "pods") "/api/v1" else "/apis/batch/v1"
  selector <- utils::URLencode(paste0("app.kubernetes.io/managed-by=abba,abba/batch-id=", batch_id), reserved = TRUE)
  paste0(group, "/namespaces/", getOption("abba.k8s.namespace"), "/", resource, "?labelSelector=", selector)
}

# An R process of its own that runs the lines, with abba attached and this session's options; its output as lines.
other_r <- function(lines, folder = Sys.getenv("TMPDIR")) {
  process <- begin_other_r(lines, folder)
  process$wait()
  if (process$get_exit_status() != 0L) stop(paste(process$read_all_error_lines(), collapse = "\n"), call. = FALSE)
  process$read_all_output_lines()
}

begin_other_r <- function(lines, folder = Sys.getenv("TMPDIR")) {
  file <- tempfile("program-", fileext = ".R")
  writeLines(c(
    paste0("options(abba.k8s.namespace = ", deparse(getOption("abba.k8s.namespace")), ")"),
    "suppressMessages(library(abba))", lines
  ), file)
  processx::process$new(
    file.path(R.home("bin"), "Rscript"), c("--vanilla", file),
    stdout = "|", stderr = "|", env = c("current", TMPDIR = folder), cleanup_tree = TRUE
  )
}

# --- The table ---------------------------------------------------------------------------------------------------

table_rows <- list()

# A row. `goal` is text, `reached` TRUE, FALSE or NA (no goal); `ratio` says how the row compares with abba's.
row <- function(work, way, figures, unit = "s", ratio = "", goal = "", reached = NA) {
  shown <- vapply(c(stats::median(figures), min(figures), max(figures)), format_figure, "", unit = unit)
  table_rows[[length(table_rows) + 1L]] <<- c(
    work, way, shown, ratio, goal, if (is.na(reached)) "" else if (reached) "yes" else "**no**"
  )
}

format_figure <- function(figure, unit) {
  if (unit == "s") {
    return(if (figure < 1) sprintf("%.1f ms", figure * 1000) else sprintf("%.2f s", figure))
  }
  sprintf("%.2f %s", figure, unit)
}

# How many times as long as `ours` the others take, by the medians.
times <- function(others, ours) stats::median(others) / stats::median(ours)

format_times <- function(times) sprintf(if (times < 10) "%.2f x" else "%.0f x", times)

table_lines <- function() {
  head <- c("Work", "How", "Median", "Least", "Most", "Compared", "Goal", "Reached")
  line <- function(cells) paste0("| ", paste(cells, collapse = " | "), " |")
  c(line(head), line(rep("---", length(head))), vapply(table_rows, line, ""))
}
