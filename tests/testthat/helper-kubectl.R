# A scripted kubectl: a small shell program, first on the PATH, that writes down
# how it was called and plays back the answers that a test has listed.

# Puts a scripted kubectl first on the PATH until the test ends.
#
# ...: answers, made by `says()`, `fails()`, `runs()` and their like. Each call
#   gets the next of those whose pattern `on` matches its arguments; the last one
#   is given again and again. Where several patterns match, the first counts.
# folder: where the program is put.
#
# An abba server in this R that asked another one before forgets what it saw.
#
# Gives back a list of functions that tell what was called so far:
#   calls(): the arguments of each call, a list of character vectors;
#   requests(): the same in short, as "get /api/v1/namespaces/n/pods";
#   count(): their number;
#   pids(): the processes of the calls;
#   helpers(): what these have started (see `hangs()`);
#   hangs(): how many of them have come so far that they hang;
#   manifest_text(i), manifest(i): the file that call i was given with `-f`, as
#     text and parsed; by default the first one;
#   file(i, name): the path of a file that an answer wrote as "$call.name".
local_scripted_kubectl <- function(..., folder = NULL, env = parent.frame()) {
  answers <- list(...)
  listed <- do.call(list_of, listed_jobs(answers))
  answers <- Filter(function(answer) !is.null(answer$on), answers)
  forget_server()
  base <- withr::local_tempdir(pattern = "kubectl-", .local_envir = env)
  for (part in c("bin", "calls", "taken", "answers")) {
    dir.create(file.path(base, part))
  }
  patterns <- vapply(answers, function(answer) answer$on, "")
  cases <- character()
  for (queue in seq_along(unique(patterns))) {
    pattern <- unique(patterns)[[queue]]
    queued <- answers[patterns == pattern]
    for (k in seq_along(queued)) {
      write_answer(queued[[k]], file.path(base, "answers", paste0(queue, ".", k)))
    }
    cases <- c(cases, sprintf(
      "%s) queue=%d last=%d ;;", gsub(" ", "\\ ", pattern, fixed = TRUE), queue, length(queued)
    ))
  }
  write_bytes(listed, file.path(base, "jobs"))
  program <- file.path(if (is.null(folder)) file.path(base, "bin") else folder, "kubectl")
  writeLines(c(
    "#!/bin/sh",
    paste0("base=", shQuote(base)),
    "n=1",
    "while [ -e \"$base/calls/$n\" ] ||",
    "  ! (set -C; printf '%s\\0' \"$@\" > \"$base/calls/$n\") 2>/dev/null; do",
    "  [ -e \"$base/calls/$n\" ] || exit 97",
    "  n=$((n + 1))",
    "done",
    "call=$base/calls/$n",
    "manifest=$call.manifest",
    "previous=",
    "for argument in \"$@\"; do",
    "  [ \"$previous\" != -f ] || cat \"$argument\" > \"$manifest\"",
    "  previous=$argument",
    "done",
    "echo $$ > \"$call.pid\"",
    "case \"$*\" in",
    cases,
    "*/jobs[?]labelSelector=*) cat \"$base/jobs\"; exit 0 ;;",
    "*/pods[?]labelSelector=*) echo '{\"items\": []}'; exit 0 ;;",
    "*) echo \"error: no scripted answer for: $*\" >&2; exit 98 ;;",
    "esac",
    "k=1",
    "while [ \"$k\" -lt \"$last\" ] && { [ -e \"$base/taken/$queue.$k\" ] ||",
    "  ! (set -C; : > \"$base/taken/$queue.$k\") 2>/dev/null; }; do",
    "  k=$((k + 1))",
    "done",
    "answer=$base/answers/$queue.$k",
    ". \"$answer\""
  ), program)
  Sys.chmod(program, "0755")
  if (is.null(folder)) {
    withr::local_path(dirname(program), .local_envir = env)
  }

  # A kubectl that was ended at once has not written everything, and one that begins is just about to.
  numbers <- function() {
    names <- list.files(file.path(base, "calls"), "^[0-9]+$")
    sort(as.integer(names[file.size(file.path(base, "calls", names)) > 0]))
  }
  of_call <- function(i, name) file.path(base, "calls", paste0(i, ".", name))
  calls <- function() {
    lapply(numbers(), function(i) {
      path <- file.path(base, "calls", i)
      bytes <- readBin(path, "raw", file.size(path))
      strsplit(gsub("\x01$", "", rawToChar(replace(bytes, bytes == 0, as.raw(1)))), "\x01")[[1]]
    })
  }
  numbers_in <- function(name) {
    paths <- of_call(numbers(), name)
    as.integer(unlist(lapply(paths[file.exists(paths)], readLines)))
  }
  hangs <- function() sum(file.exists(of_call(numbers(), "hangs")))
  sent_first <- function() which(file.exists(of_call(numbers(), "manifest")))[[1L]]
  manifest_text <- function(i = sent_first()) {
    path <- of_call(i, "manifest")
    text <- rawToChar(readBin(path, "raw", file.size(path)))
    Encoding(text) <- "UTF-8"
    text
  }
  list(
    program = program,
    calls = calls,
    requests = function() {
      vapply(calls(), function(call) paste(setdiff(call, "--raw")[1:2], collapse = " "), "")
    },
    count = function() length(numbers()),
    pids = function() numbers_in("pid"),
    helpers = function() numbers_in("helper"),
    hangs = hangs,
    manifest_text = manifest_text,
    manifest = function(i = sent_first()) {
      jsonlite::fromJSON(manifest_text(i), simplifyVector = FALSE)
    },
    file = of_call
  )
}

# The Jobs that were sent, by the paths of their programs, and the container of one.
sent <- function(kubectl) {
  creates <- which(grepl("^create ", kubectl$requests()))
  # One that was ended at once has not read all that it was given.
  has_read <- function(i) file.exists(kubectl$file(i, "manifest")) && jsonlite::validate(kubectl$manifest_text(i))
  manifests <- lapply(Filter(has_read, creates), kubectl$manifest)
  names(manifests) <- vapply(manifests, function(job) job$metadata$annotations[["abba/program-path"]], "")
  manifests[order(names(manifests))]
}
program_container <- function(job) job$spec$template$spec$containers[[1]]

write_answer <- function(answer, path) {
  write_bytes(answer$stdout, paste0(path, ".out"))
  write_bytes(answer$stderr, paste0(path, ".err"))
  writeLines(answer$script, path)
}

write_bytes <- function(x, path) {
  if (!is.raw(x)) {
    x <- charToRaw(paste(enc2utf8(x), collapse = "\n"))
  }
  writeBin(x, path)
}

new_answer <- function(script, stdout = "", stderr = "", on = "*") {
  list(script = script, stdout = stdout, stderr = stderr, on = on)
}

# kubectl succeeds and prints `stdout`: text, or raw bytes.
says <- function(stdout, on = "*", stderr = "") {
  new_answer(
    c("cat \"$answer.err\" >&2", "exec cat \"$answer.out\""),
    stdout = stdout, stderr = stderr, on = on
  )
}

# kubectl lists these pods, and these Jobs beside those of the pods. A Job of its own pod that is not given has nothing
# more to say.
pods_of <- function(..., on = "*/pods*", stderr = "") {
  c(says(list_of(...), on, stderr), list(pods = list(...)))
}
jobs_of <- function(...) list(jobs = list(...))

# kubectl fails and says why.
fails <- function(stderr, status = 1L, on = "*", stdout = "") {
  new_answer(
    c("cat \"$answer.out\"", "cat \"$answer.err\" >&2", paste("exit", status)),
    stdout = stdout, stderr = stderr, on = on
  )
}

# kubectl does what the shell commands say. They may use "$manifest", the file
# that was sent, "$call", the beginning of names for files of their own, and
# "$base/calls/1.manifest", the file that was sent first.
runs <- function(script, on = "*") {
  new_answer(script, on = on)
}

# kubectl creates what it was sent and answers with it, as the API server does.
creates <- function(on = "create *") {
  runs("exec cat \"$manifest\"", on = on)
}

# The same, and the cluster warns of what it was given.
warns_of_job <- function() {
  new_answer(
    c("cat \"$answer.err\" >&2", "exec cat \"$manifest\""),
    stderr = "Warning: would violate PodSecurity \"restricted:latest\": runAsNonRoot != true\n",
    on = "create *"
  )
}

# kubectl never ends, and neither does a login helper that it has started.
hangs <- function(on = "*") {
  runs(
    c(
      "sleep 1000 &",
      "echo $! > \"$call.helper\"",
      "echo ready > \"$call.hangs\"",
      "exec sleep 1000"
    ),
    on = on
  )
}

# kubectl is ended by a signal.
dies <- function(on = "*") {
  runs("kill -9 $$", on = on)
}

# Calls `ask` with a time limit in seconds, and with one that is twice as long until `has_begun()`: on a busy machine a
# short one may be over before that is under way which the test wants to see ended. Gives back the last value.
longer_until <- function(ask, has_begun, seconds = 1) {
  repeat {
    value <- ask(seconds)
    if (has_begun()) {
      return(value)
    }
    stopifnot("it does not begin" = seconds < 60)
    seconds <- 2 * seconds
  }
}

# The same with the time limit of calls of kubectl.
at_time_limit <- function(ask, has_begun, seconds = 1) {
  limited <- function(seconds) withr::with_options(list(abba.k8s.request.timeout = seconds), ask())
  longer_until(limited, has_begun, seconds)
}

# --- What the API server answers -------------------------------------------

to_json <- function(x) {
  as.character(jsonlite::toJSON(x, auto_unbox = TRUE, null = "null", digits = NA))
}

list_of <- function(...) {
  to_json(list(kind = "List", apiVersion = "v1", metadata = list(), items = list(...)))
}

# The state of the container that runs the program.
running <- function() list(running = list(startedAt = "2026-01-01T00:00:01Z"))
ended <- function(exit_code = 0L, reason = if (exit_code == 0L) "Completed" else "Error") {
  list(terminated = list(
    exitCode = exit_code, reason = reason, startedAt = "2026-01-01T00:00:01Z"
  ))
}
waiting <- function(reason = "ContainerCreating", message = NULL) {
  list(waiting = drop_null(list(reason = reason, message = message)))
}

pod <- function(job_id,
                state = ended(),
                phase = c(running = "Running", terminated = "Succeeded", waiting = "Pending")[[names(state)]],
                path = "/home/mike/repos/abba/test_programs/test_program.R",
                suffix = "2dbr8",
                created = "2026-01-01T00:00:00Z",
                conditions = list(),
                reason = NULL,
                image = "registry.example.com/r-base:4.2.2") {
  list(
    metadata = list(
      name = paste0(job_id, "-", suffix),
      creationTimestamp = created,
      labels = list("app.kubernetes.io/managed-by" = "abba", "abba/job-id" = job_id),
      annotations = drop_null(list("abba/program-sha256" = "0", "abba/program-path" = path))
    ),
    spec = list(nodeName = "node-1"),
    status = drop_null(list(
      phase = phase,
      reason = reason,
      conditions = conditions,
      containerStatuses = if (!is.null(state)) {
        list(list(name = "program", image = image, state = state))
      }
    ))
  )
}

job <- function(job_id, path = "/home/mike/repos/abba/test_programs/test_program.R",
                conditions = list()) {
  list(
    metadata = list(
      name = job_id,
      labels = list("app.kubernetes.io/managed-by" = "abba", "abba/job-id" = job_id),
      annotations = drop_null(list("abba/program-sha256" = "0", "abba/program-path" = path))
    ),
    status = list(conditions = conditions)
  )
}

event <- function(reason, message, type = "Warning") {
  list(reason = reason, message = message, type = type, lastTimestamp = "2026-01-01T00:00:02Z")
}

condition <- function(type, status = "True", reason = "", message = "") {
  list(type = type, status = status, reason = reason, message = message)
}

drop_null <- function(x) x[!vapply(x, is.null, NA)]

test_job <- "test-program-fbc3131d-a850-4081-8224-c06ef32821da"

# --- What is asked of many jobs ---------------------------------------------

# A job as it lies in the cluster, with all that is known of it beside its pod.
#
# arguments: what it was submitted with, as a list; NULL: it does not say.
full_job <- function(job_id, path = "/home/mike/repos/abba/test_programs/test_program.R",
                     batch_id = "b-1", user = "mike", created = "2026-01-01T00:00:00Z",
                     image = "registry.example.com/r-base:4.2.2", arguments = NULL, conditions = list(),
                     annotations = list()) {
  job <- job(job_id, path, conditions)
  job$metadata$creationTimestamp <- created
  job$metadata$labels[["abba/batch-id"]] <- batch_id
  job$metadata$labels[["abba/user"]] <- user
  job$metadata$annotations <- c(job$metadata$annotations, annotations)
  if (!is.null(arguments)) {
    job$metadata$annotations[["abba/arguments"]] <- to_json(arguments)
  }
  job$spec <- list(template = list(spec = list(containers = list(list(name = "program", image = image)))))
  job
}

# The Jobs that these answers speak of.
listed_jobs <- function(answers) {
  all <- function(part) unlist(lapply(answers, `[[`, part), recursive = FALSE)
  jobs <- c(all("jobs"), lapply(all("pods"), function(pod) {
    of <- pod$metadata
    full_job(of$labels[["abba/job-id"]], of$annotations[["abba/program-path"]], created = of$creationTimestamp)
  }))
  jobs[!duplicated(lapply(jobs, function(job) job$metadata$name))]
}

# A pod as it lies in the cluster, with its limits and the times of its program.
full_pod <- function(job_id, state = ended(), ..., started = "2026-01-01T00:00:05Z",
                     finished = "2026-01-01T00:01:05Z") {
  pod <- pod(job_id, state, ...)
  pod$spec$containers <- list(list(
    name = "program", image = "registry.example.com/r-base:4.2.2",
    resources = list(limits = list(cpu = "500m", memory = "512M"))
  ))
  pod$status$containerStatuses[[1L]]$imageID <- "registry.example.com/r-base@sha256:0123"
  if (!is.null(state$terminated)) {
    pod$status$containerStatuses[[1L]]$state$terminated$startedAt <- started
    pod$status$containerStatuses[[1L]]$state$terminated$finishedAt <- finished
  }
  pod
}

# One line of a watch stream.
change <- function(object, type = "MODIFIED") to_json(list(type = type, object = object))

bookmark <- function() change(list(kind = "Pod", metadata = list(resourceVersion = "12")), "BOOKMARK")

gone_410 <- function() {
  change(list(
    kind = "Status", status = "Failure", reason = "Expired", code = 410L,
    message = "too old resource version: 1 (2)"
  ), "ERROR")
}

# kubectl opens a watch stream, which shows these lines and then stays open.
watches <- function(..., on = "*watch=1*") {
  new_answer(
    c("cat \"$answer.out\"", "echo ready > \"$call.hangs\"", "exec sleep 1000"),
    stdout = paste0(c(...), "\n", collapse = ""), on = on
  )
}

# The same, but the server closes the stream after the lines.
closes <- function(..., on = "*watch=1*") {
  says(if (length(c(...)) > 0L) paste0(c(...), "\n", collapse = "") else "", on = on)
}

# The lines of a followed log, with the time before each, one a second.
log_lines <- function(..., from = 0L, job_id = test_job) {
  text <- c(...)
  paste0(sprintf("2026-01-01T00:00:%02dZ ", from + seq_along(text)), text, "\n", collapse = "")
}

# A kubectl that says what there is and accepts each change.
#
# pods, jobs: what there is, beside the Jobs of the pods; ...: other answers, which come first.
local_cluster <- function(pods = list(), jobs = list(), ..., env = parent.frame()) {
  jobs <- listed_jobs(list(list(jobs = jobs, pods = pods)))
  one <- function(objects, kind) {
    lapply(objects, function(object) {
      says(to_json(object), on = paste0("get --raw */", kind, "/", object$metadata$name))
    })
  }
  answers <- c(
    list(...), one(pods, "pods"), one(jobs, "jobs"),
    list(
      runs("exec cat \"$manifest\"", on = "replace *"),
      says(do.call(list_of, pods), on = "*/pods[?]*"),
      says(do.call(list_of, jobs), on = "*/jobs[?]*")
    )
  )
  do.call(local_scripted_kubectl, c(answers, list(env = env)))
}

bytes_of_file <- function(path) readBin(path, "raw", file.size(path))
