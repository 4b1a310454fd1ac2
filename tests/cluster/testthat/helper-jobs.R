# Programs, jobs and what the cluster itself says about them.

# A test of what is the same on both transports: of a file that runs on both (`each_transport` in run-tests.R) it runs
# with the kept kubectl alone.
test_once <- function(desc, code) {
  if (getOption("abba.k8s.session")) eval(call("test_that", desc, substitute(code)), parent.frame())
}

# --- The cluster, as its administrator -----------------------------------------

repository <- dirname(dirname(dirname(cluster_script)))
r_image <- cluster_image("r-base:4.2.2")
real_kubectl <- file.path(cluster_kubectl_folder(), "kubectl")

# A namespace for the tests of one file or of one test, which is removed at its end. It is where abba works until then,
# as the administrator.
local_namespace <- function(env = parent.frame()) {
  namespace <- local_cluster_namespace(env)
  local_abba(namespace, env)
}

# Has abba work in a namespace, as the administrator, with the images of the cluster and all else at its default.
local_abba <- function(namespace, env = parent.frame()) {
  local_admin(namespace, env)
  withr::local_options(
    abba.default.container = r_image,
    abba.home.nfs.ip.address = NULL,
    abba.k8s.namespace = namespace,
    abba.k8s.request.timeout = NULL,
    abba.kubectl = NULL,
    .local_envir = env
  )
  invisible(namespace)
}

the_namespace <- function() getOption("abba.k8s.namespace")

# kubectl as the administrator in the namespace of the test; what it printed, as lines.
kubectl_lines <- function(...) {
  lines_of(kubectl("--namespace", the_namespace(), ...))
}

# A field of an object, by kubectl's JSONPath without the braces; its lines.
field <- function(kind, name, path) {
  kubectl_lines("get", kind, name, "--output", paste0("jsonpath={", path, "}"))
}

# The jobs of the namespace, by their names.
jobs_in <- function(namespace = the_namespace()) {
  sub("^job.batch/", "", lines_of(kubectl("get", "jobs", "--namespace", namespace, "--output", "name")))
}

# The pods of a job, also those that are being removed.
pods_of <- function(job_id) {
  sub("^pod/", "", kubectl_lines("get", "pods", "--selector", paste0("job-name=", job_id), "--output", "name"))
}

has_pod <- function(job_id) length(pods_of(job_id)) == 1L

# A quota on the namespace, as "pods=0", once it is in force: `probe` are the arguments of a `kubectl create` (or `run`)
# that it forbids.
create_quota <- function(hard, probe = c("run", "probe", "--image", "x")) {
  kubectl_lines("create", "quota", "quota", paste0("--hard=", hard))
  wait_until_refused(probe, "exceeded quota")
}

# Waits until the API server has taken notice of a rule, which it does a moment after it was stored.
wait_until_refused <- function(probe, words) {
  refused <- function() {
    answer <- tryCatch(kubectl_lines(probe, "--dry-run=server"), error = conditionMessage)
    if (any(grepl(words, answer, fixed = TRUE))) TRUE else answer
  }
  wait_until(refused, what = paste0("a refusal that says \"", words, "\""))
}

# Waits until all is told that the cluster has to say of jobs that have ended by themselves: their controller, the
# scheduler and the node send their events when they like, also after the end.
wait_for_events <- function(ids) {
  for (id in ids) {
    has_all <- function() {
      of_job <- kubectl_lines(
        "get", "events", "--output", "jsonpath={range .items[*]}{.involvedObject.name}/{.reason}{'\\n'}{end}"
      )
      of_pod <- paste0(pods_of(id), "/", c("Scheduled", "Pulled", "Created", "Started"))
      ends <- paste0(id, "/", c("Completed", "BackoffLimitExceeded"))
      missing <- setdiff(c(paste0(id, "/SuccessfulCreate"), of_pod), of_job)
      if (length(missing) == 0L && any(ends %in% of_job)) TRUE else of_job
    }
    wait_until(has_all, 120, interval = 0.3, what = "the events of a job")
  }
}

# Waits until the node has said its last word about the pods of jobs: why a pod failed comes with its phase, a moment
# after its program's end is seen.
wait_for_pods_to_end <- function(ids) {
  has_ended <- function(id) field("pod", pods_of(id), ".status.phase") %in% c("Succeeded", "Failed")
  wait_until(function() all(vapply(ids, has_ended, NA)), 120, interval = 0.3, what = "the pods to end")
}

# Lets the time limit of a program that has begun be this many seconds, which are over. One so short from the beginning
# may be over before a slow node has started the program.
shorten_time_limit <- function(id, seconds) {
  patch <- paste0("{\"spec\": {\"activeDeadlineSeconds\": ", seconds, "}}")
  kubectl_lines("patch", "pod", pods_of(id), "--patch", patch)
}

# --- Programs --------------------------------------------------------------------

# A program in a folder of its own that lasts as long as the test; its path. `text` is lines of text, or raw bytes that
# are written as they are.
local_program <- function(text, name = "program.R", folder = NULL, env = parent.frame()) {
  if (is.null(folder)) {
    folder <- withr::local_tempdir(pattern = "program-", .local_envir = env)
  }
  path <- file.path(normalizePath(folder), name)
  write_program(text, path)
  path
}

# So many programs, each of which prints its number; their paths.
local_many_programs <- function(count, env = parent.frame()) {
  folder <- withr::local_tempdir(pattern = "programs-", .local_envir = env)
  vapply(seq_len(count), function(i) local_program(sprintf("cat(%d, '\\n')", i), sprintf("p-%03d.R", i), folder), "")
}

write_program <- function(text, path) {
  if (!is.raw(text)) {
    text <- charToRaw(paste0(enc2utf8(text), "\n", collapse = ""))
  }
  writeBin(text, path)
}

# A folder of the node as a mount, under the same path unless another is given.
host_path <- function(folder, mount_path = folder, name = "data") {
  list(
    volumes = list(list(name = name, hostPath = list(path = folder))),
    volumeMounts = list(list(name = name, mountPath = mount_path))
  )
}

# A gate that programs wait at until the test opens it: `wait` is a line for the program, `mounts` for the submission.
# `wait_first` and `has_written` are lines before and after a long log, for wait_for_new_log().
local_gate <- function(env = parent.frame()) {
  folder <- withr::local_tempdir(pattern = "gate-", .local_envir = env)
  Sys.chmod(folder, "0777", use_umask = FALSE)
  list(
    folder = folder,
    mounts = host_path(folder, "/gate", name = "gate"),
    wait = "while (!file.exists('/gate/open')) Sys.sleep(0.05)",
    wait_first = "while (!file.exists('/gate/first')) Sys.sleep(0.05)",
    has_written = "invisible(file.create('/gate/written'))",
    open = function() file.create(file.path(folder, "open")),
    file = function(name) file.path(folder, name)
  )
}

# The beginning of a job's log as the node has it now, as long as what abba's first line begins with.
beginning_of_log <- function(job_id) {
  kubectl_lines("logs", pods_of(job_id), paste0("--limit-bytes=", nchar(first_words)))
}
first_words <- "abba: begin of the log of "

# Waits until the program has begun, lets a program go on that waits for the file "first" of the gate to write a long
# log, and waits until the node has put that log aside and has nothing more to put aside: it looks at the sizes every
# few seconds, and acts from 10 MiB on.
wait_for_new_log <- function(job_id, gate) {
  begins_with_first_words <- function() identical(beginning_of_log(job_id), first_words)
  wait_until(begins_with_first_words, what = "the program to begin")
  file.create(gate$file("first"))
  wait_until(function() !begins_with_first_words(), 180, interval = 0.5, what = "the node to begin a new log")
  wait_until(function() file.exists(gate$file("written")), 180, what = "the program to have written")
  limit <- 10 * 1024^2
  # In its file each line has its time and "stdout F " before it.
  size <- function() {
    lines <- kubectl_lines("logs", pods_of(job_id), "--timestamps", sprintf("--limit-bytes=%d", limit))
    sum(nchar(lines, "bytes") + 1 + nchar("stdout F "))
  }
  before <- Inf
  # What is on its way from the program to the file is little, and is there at the next look.
  is_short <- function() {
    now <- size()
    on.exit(before <<- now)
    now < limit - 2e5 || (now < limit && now == before)
  }
  wait_until(is_short, 180, interval = 0.5, what = "the node to put the rest of the log aside")
}

# --- Jobs ----------------------------------------------------------------------

# Submits, without the message, and gives back the id. A fifth of a core: so that ten run at a time.
submit <- function(file_path, ..., cpu_limit = 0.2) {
  suppressMessages(abba_submit_k8s_job_local(file_path, ..., cpu_limit = cpu_limit))$job_id
}

# The state of each job, named by its id.
states <- function(ids, ...) {
  groups <- abba_get_k8s_job_status_local(ids, ...)
  names <- unlist(lapply(groups, function(group) vapply(group$Jobs, `[[`, "", "id")), use.names = FALSE)
  values <- rep(names(groups), vapply(groups, function(group) length(group$Jobs), 1L))
  values <- values[match(ids, job_ids_of(names, ids))]
  names(values) <- ids
  values
}

# To which of the jobs these pods belong; a job without a pod is there under its own name. A pod's name is that of its
# job with "-", cut to 58 characters, and five more.
job_ids_of <- function(names, ids) {
  vapply(names, function(name) {
    if (name %in% ids) name else ids[startsWith(paste0(ids, "-"), substr(name, 1L, nchar(name) - 5L))][[1L]]
  }, "", USE.NAMES = FALSE)
}

is_ended <- function(states) !any(states %in% c("Pending", "Running"))

# Waits until none of the jobs is pending or running; their states, named where there are several.
wait_for_end <- function(ids, seconds = 180) {
  wait_for_states(ids, is_ended, seconds)
}

wait_for_state <- function(ids, state, seconds = 180) {
  wait_for_states(ids, function(states) all(states == state), seconds)
}

wait_for_states <- function(ids, condition, seconds = 180) {
  current <- NULL
  end <- function() {
    current <<- states(ids)
    if (condition(current)) TRUE else paste(table(current), names(table(current)), collapse = ", ")
  }
  wait_until(end, seconds, interval = 0.3, what = "the states of jobs")
  if (length(ids) == 1L) unname(current) else current
}

# The lines of one job's log.
log_of <- function(id, ...) {
  abba_get_k8s_job_log_local(id, ...)[[1L]]$log
}

# Runs a program to its end and gives back its log.
run_program <- function(text, ..., name = "program.R") {
  id <- submit(local_program(text, name), ...)
  wait_for_end(id)
  log_of(id)
}

# --- kubectl with faults ---------------------------------------------------------

# A kubectl for abba that is a shell program: "$real" is the real one, "$base" a folder for notes, which is given back.
# It is run for each call, not kept for the session.
local_kubectl <- function(script, env = parent.frame()) {
  base <- withr::local_tempdir(pattern = "kubectl-", .local_envir = env)
  program <- file.path(base, "kubectl")
  writeLines(c("#!/bin/sh", paste0("real=", shQuote(real_kubectl)), paste0("base=", shQuote(base)), script), program)
  Sys.chmod(program, "0755")
  withr::local_options(abba.kubectl = program, abba.k8s.session = FALSE, .local_envir = env)
  base
}

# --- What abba raises ------------------------------------------------------------

# Checks the class of the error of `expr` and that its message has these words; gives the error back.
expect_abba_error <- function(expr, class, ...) {
  error <- tryCatch(
    {
      force(expr)
      NULL
    },
    error = identity
  )
  expect_s3_class(error, paste0("abba_error_", class))
  expect_s3_class(error, "abba_error")
  for (words in c(...)) {
    expect_match(conditionMessage(error), words, fixed = TRUE)
  }
  invisible(error)
}

# The same for a submission that must not leave a job behind.
expect_no_submission <- function(expr, class, ..., namespace = the_namespace()) {
  before <- jobs_in(namespace)
  error <- expect_abba_error(expr, class, "No job was created.", ...)
  expect_identical(jobs_in(namespace), before)
  invisible(error)
}
