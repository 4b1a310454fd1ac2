# What the tests of the verbs for many jobs share.

# Calls code(...) in an R process of its own, logged in and with the options as here, while the test goes on; it ends
# with `env`. The code may use abba's functions by their names and nothing else of this process. See outcome_of().
local_background <- function(code, ..., env = parent.frame()) {
  options <- options()
  options <- options[startsWith(names(options), "abba.")]
  run <- function(code, arguments, options) {
    options(options)
    library(abba)
    warnings <- list()
    value <- tryCatch(
      withCallingHandlers(
        do.call(code, arguments),
        warning = function(condition) {
          warnings <<- c(warnings, list(condition))
          invokeRestart("muffleWarning")
        }
      ),
      error = identity
    )
    # Without the frames of that process, which are large.
    if (inherits(value, "error")) {
      value$trace <- NULL
      value$call <- NULL
    }
    list(value = value, warnings = warnings)
  }
  environment(run) <- globalenv()
  environment(code) <- globalenv()
  process <- callr::r_bg(
    run, list(code, list(...), options),
    libpath = .libPaths(), stdout = tempfile("stdout-"), stderr = tempfile("stderr-"), supervise = TRUE
  )
  withr::defer(process$kill_tree(), envir = env)
  process
}

# What came of it: list(value, warnings); an error is a value.
outcome_of <- function(process, seconds = 120) {
  process$wait(seconds * 1000)
  if (process$is_alive()) {
    stop("it has not returned within ", seconds, " seconds; it wrote: ", paste(output_of(process), collapse = "\n"))
  }
  process$get_result()
}

# The whole lines that it has written so far. Not by readLines(), to which a carriage return is the end of a line.
output_of <- function(process) {
  file <- process$get_output_file()
  text <- rawToChar(readBin(file, "raw", file.size(file)))
  Encoding(text) <- "UTF-8"
  ends <- gregexpr("\n", text, fixed = TRUE)[[1L]]
  if (ends[[1L]] == -1L) character() else strsplit(substr(text, 1L, max(ends) - 1L), "\n", fixed = TRUE)[[1L]]
}

# For wait_until(): whether it has written exactly these lines.
has_printed <- function(process, lines) {
  function() if (identical(output_of(process), lines)) TRUE else output_of(process)
}

# Submits a batch without the message, each program with a tenth of a core.
submit_batch <- function(file_paths, ..., cpu_limit = 0.1) {
  suppressMessages(abba_submit_k8s_batch_local(file_paths, ..., cpu_limit = cpu_limit))
}

# Programs of these names with the same text, in one folder.
local_programs <- function(names, text, env = parent.frame()) {
  folder <- withr::local_tempdir(pattern = "programs-", .local_envir = env)
  vapply(names, function(name) local_program(text, name, folder, env), "", USE.NAMES = FALSE)
}

# A rule of the namespace that no program of the tests keeps: its pods are refused for good.
forbid_pods <- function() {
  apply_manifest(c(
    "apiVersion: v1",
    "kind: LimitRange",
    "metadata: {name: limits}",
    "spec: {limits: [{type: Container, max: {cpu: 10m}}]}"
  ), the_namespace())
  # The API server takes notice a moment later.
  wait_until_refused(c("run", "probe", "--image", "x", "--overrides", paste0(
    '{"spec":{"containers":[{"name":"probe","image":"x","resources":{"limits":{"cpu":"1","memory":"1Mi"}}}]}}'
  )), "maximum cpu usage")
}

# What has become of a job, by abba_explain_k8s_job_local(): the reason.
reason_of <- function(id) abba_explain_k8s_job_local(id)$reason

# Waits until Kubernetes has said these words about what keeps a job.
wait_for_details <- function(id, words) {
  has_words <- function() {
    details <- abba_explain_k8s_job_local(id)$details
    if (grepl(words, details, fixed = TRUE)) TRUE else details
  }
  wait_until(has_words, 120, what = paste0("\"", words, "\""))
}

# Whether any process on this machine has this text among its arguments: programs in containers are processes of the
# node, and the node is this machine.
runs_here <- function(text) {
  commands <- lapply(list.files("/proc", "^[0-9]+$", full.names = TRUE), function(folder) {
    tryCatch(suppressWarnings(readLines(file.path(folder, "cmdline"), skipNul = TRUE)), error = function(cnd) "")
  })
  any(grepl(text, unlist(commands), fixed = TRUE))
}

# A quota that lets the namespace have so many jobs in all, once it is in force.
create_quota_of_jobs <- function(count) {
  create_quota_with_room("count/jobs.batch", length(jobs_in()), count, c("create", "job", "probe", "--image", "x"))
}

# The same for pods that have not ended, in a namespace that has none.
create_quota_of_pods <- function(count) create_quota_with_room("pods", 0L, count, c("run", "probe", "--image", "x"))

# The API server takes notice of a quota and of its count at its own time, and shows that it has by a refusal alone: so
# there is no room at first. What is made from then on the API server counts itself.
create_quota_with_room <- function(resource, there, count, probe) {
  create_quota(paste0(resource, "=", there), probe)
  if (count > there) {
    patch <- paste0("{\"spec\": {\"hard\": {\"", resource, "\": \"", count, "\"}}}")
    kubectl_lines("patch", "quota", "quota", "--patch", patch)
    wait_until(function() length(kubectl_lines(probe, "--dry-run=server")) == 1L, what = "room in the quota")
  }
}

# Takes the quota away, and waits until that has its effect.
delete_quota_of_jobs <- function() {
  kubectl_lines("delete", "quota", "quota")
  is_free <- function() {
    probe <- c("create", "job", "probe", "--image", "x", "--dry-run=server")
    tryCatch(is.character(kubectl_lines(probe)), error = conditionMessage)
  }
  wait_until(is_free, what = "the quota to be gone")
}

# A program that prints numbered lines, up to the number that stands in the gate's file "to", and ends at the gate's
# opening.
counting_program <- function(env = parent.frame()) {
  local_program(c(
    "done <- 0L",
    "repeat {",
    "  last <- file.exists('/gate/open')",
    "  to <- if (file.exists('/gate/to')) scan('/gate/to', quiet = TRUE) else 0",
    "  while (done < to) { done <- done + 1L; cat('line', done, '\\n') }",
    "  if (last) break",
    "  Sys.sleep(0.05)",
    "}"
  ), env = env)
}

# Lets it print up to that line. Renamed into place, so that it never reads half a number.
let_count <- function(gate, to) {
  writeLines(as.character(to), gate$file("new"))
  file.rename(gate$file("new"), gate$file("to"))
}

numbered <- function(numbers) paste("line", numbers, "")

# Watches jobs in an R process of its own.
watch_in_background <- function(ids, ..., env = parent.frame()) {
  local_background(function(...) abba_watch_k8s_job_local(...), ids, ..., env = env)
}

# Follows a log in an R process of its own.
follow_in_background <- function(id, ..., env = parent.frame()) {
  local_background(function(...) abba_follow_k8s_job_log_local(...), id, ..., env = env)
}

# A kubectl that notes each call and lets the test know when a watch is under way.
local_noted_kubectl <- function(script = NULL, env = parent.frame()) {
  local_kubectl(c("printf '%s\\n' \"$*\" >>\"$base/calls\"", script, "exec \"$real\" \"$@\""), env = env)
}

calls_of <- function(base) {
  file <- file.path(base, "calls")
  if (file.exists(file)) readLines(file) else character()
}

watches_of <- function(base) grep("watch=1", calls_of(base), value = TRUE)
