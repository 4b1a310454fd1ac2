# What the log of decisions of an abba server says of what was done in the real cluster, and what is done without it.
namespace <- local_namespace()
server <- local_api_server(abba.api.operators = "games")

# The lines about a request, of one phase.
lines_of_request <- function(answer, phase, of = server) {
  is_meant <- function(line) identical(line$request, header_of(answer, "Abba-Request-Id")) && line$phase == phase
  Filter(is_meant, decisions(of))
}
each <- function(lines, name) vapply(lines, function(line) as.character(line[[name]]), "")

new_id <- function(name) paste0(name, "-", tolower(uuid()))
uuid <- function() readLines("/proc/sys/kernel/random/uuid")
program <- function(name, text = "1", ...) {
  list(file_path = paste0("/p/", name, ".R"), program_text = text, cpu_limit = 0.02, memory_limit = "128M", ...)
}
count_jobs <- function() length(kubectl_lines("get", "jobs", "--output", "name"))

test_that("a job says by which request it was made, and the log what it is", {
  answer <- request(server, "submit-job", user = "daemon", body = program("one"))
  id <- answer$body$job_id
  job <- kubectl_json("get", "job", id, "--namespace", namespace)
  expect_identical(job$metadata$annotations$`abba/request-id`, header_of(answer, "Abba-Request-Id"))
  intent <- lines_of_request(answer, "intent")[[1L]]
  expect_identical(intent[c("job", "who", "owner", "image")], list(
    job = id, who = "daemon", owner = "daemon", image = r_image
  ))
  expect_identical(intent$sha256, job$metadata$annotations$`abba/program-sha256`)
  expect_identical(intent$account$uid, job$spec$template$spec$securityContext$runAsUser)
  expect_identical(intent$limits$memory, "128M")
  keys <- abba_api_key_list(server$key_file)
  expect_identical(intent$key, keys$id[keys$user == "daemon"])
  expect_false(is.na(keys$last_used[keys$user == "daemon"]))
  # A repeated request finds the job of the first.
  again <- function() {
    curl <- c("--header", "Idempotency-Key: audit")
    request(server, "submit-job", curl, user = "daemon", body = program("again"))
  }
  first <- again()
  second <- again()
  expect_identical(second$body, first$body)
  job <- kubectl_json("get", "job", first$body$job_id, "--namespace", namespace)
  expect_identical(job$metadata$annotations$`abba/request-id`, header_of(first, "Abba-Request-Id"))
  expect_identical(each(lines_of_request(second, "outcome"), "done"), "created")
})

test_that("of a batch that is made in part, and of one of sixty, each job has its lines", {
  ids <- vapply(c("a", "b", "c"), new_id, "", USE.NAMES = FALSE)
  taken <- request(server, "submit-job", user = "daemon", body = program("other", job_id = ids[[2L]]))
  expect_identical(taken$status, 200L)
  programs <- Map(function(name, id) program(name, job_id = id), c("a", "b", "c"), ids)
  answer <- request(server, "submit-batch", user = "daemon", body = list(programs = unname(programs)))
  expect_identical(answer$status, 409L)
  expect_identical(each(lines_of_request(answer, "intent"), "job"), ids)
  outcomes <- lines_of_request(answer, "outcome")
  expect_identical(each(outcomes, "job"), ids)
  expect_identical(each(outcomes, "decision"), c("allowed", "refused", "allowed"))
  expect_identical(each(lines_of_request(answer, "request"), "decision"), "partly")

  programs <- lapply(1:60, function(k) program(paste0("p", k)))
  answer <- request(server, "submit-batch", user = "daemon", body = list(programs = programs, batch_group_id = "sixty"))
  expect_identical(answer$status, 200L)
  ids <- vapply(answer$body, `[[`, "", "job_id")
  expect_identical(each(lines_of_request(answer, "outcome"), "job"), ids)
  cancelled <- request(server, "cancel-job", user = "daemon", body = list(batch_id = "sixty"))
  expect_identical(cancelled$status, 200L)
  expect_setequal(each(lines_of_request(cancelled, "intent"), "job"), ids)
  expect_setequal(each(lines_of_request(cancelled, "outcome"), "job"), ids)
})

test_that("of three that an operator cancels, of which the cluster refuses one, each has its lines", {
  ids <- vapply(1:3, function(k) {
    request(server, "submit-job", user = "daemon", body = program("sleeper", "Sys.sleep(600)"))$body$job_id
  }, "")
  for (id in ids) wait_until(function() state_at(server, id) == "Running", 120, what = "the job to run")
  name <- unique_name("no-cancel")
  withr::defer(kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", name))
  pod <- pods_of(ids[[2L]])
  apply_manifest(gsub("POD", pod, gsub("NAMESPACE", namespace, gsub("NAME\\b", name, c(
    "apiVersion: admissionregistration.k8s.io/v1",
    "kind: ValidatingAdmissionPolicy",
    "metadata: {name: NAME}",
    "spec:",
    "  failurePolicy: Fail",
    "  matchConstraints:",
    "    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}",
    "    resourceRules:",
    "    - {apiGroups: [''], apiVersions: [v1], operations: [UPDATE], resources: [pods]}",
    "  validations: [{expression: 'object.metadata.name != \"POD\"', message: stays as it is}]",
    "---",
    "apiVersion: admissionregistration.k8s.io/v1",
    "kind: ValidatingAdmissionPolicyBinding",
    "metadata: {name: NAME}",
    "spec:",
    "  policyName: NAME",
    "  validationActions: [Deny]"
  )))), "default")
  wait_until_refused(c("annotate", "pod", pod, "a=b"), "stays as it is")
  answer <- request(server, "cancel-job", user = "games", body = list(job_id = ids))
  expect_true(answer$status %in% c(403L, 502L))
  intents <- lines_of_request(answer, "intent")
  outcomes <- lines_of_request(answer, "outcome")
  expect_identical(each(intents, "job"), ids)
  expect_identical(each(outcomes, "job"), ids)
  expect_identical(each(outcomes, "decision") == "allowed", c(TRUE, FALSE, TRUE))
  expect_match(outcomes[[2L]]$reason, "stays as it is", fixed = TRUE)
  for (line in c(intents, outcomes)) {
    expect_identical(line[c("who", "owner", "as_operator")], list(who = "games", owner = "daemon", as_operator = TRUE))
  }
  expect_identical(each(lines_of_request(answer, "request"), "decision"), "partly")
})

test_that("what cannot be written is not done where the log is required, and done elsewhere", {
  required <- local_api_server(abba.api.log.required = TRUE)
  before <- count_jobs()
  limit <- function(bytes) {
    processx::run("prlimit", c("--pid", required$process$get_pid(), paste0("--fsize=", bytes, ":unlimited")))
  }
  # The limit is on all files of the server: its log is the largest.
  cat(strrep("{\"phase\":\"request\"}\n", 50000), file = required$log, append = TRUE)
  limit(file.size(required$log))
  refused <- request(required, "submit-job", user = "daemon", body = program("none"))
  expect_identical(c(refused$status, refused$body$class), c("503", "unavailable"))
  expect_match(refused$body$details, "File too large", fixed = TRUE)
  expect_identical(request(required, "jobs", user = "daemon")$status, 503L)
  expect_identical(request(required, "ready")$status, 200L)
  # A refusal of R's own is written in R's own thread.
  expect_identical(request(required, "whoami", "--header", "Upgrade: websocket")$status, 400L)
  expect_identical(count_jobs(), before)
  limit("unlimited")
  expect_identical(request(required, "submit-job", user = "daemon", body = program("some"))$status, 200L)
  expect_identical(count_jobs(), before + 1L)
  # No half line was left.
  expect_true(all(each(decisions(required), "phase") %in% c("intent", "outcome", "request")))

  lax <- local_api_server(abba.api.log = "/dev/full")
  expect_identical(request(lax, "submit-job", user = "daemon", body = program("more"))$status, 200L)
  expect_identical(count_jobs(), before + 2L)
  said <- readLines(lax$stderr)
  expect_match(said, "the log of decisions cannot be written: No space left on device", fixed = TRUE, all = FALSE)
  expect_match(said, "\"phase\":\"intent\"", fixed = TRUE, all = FALSE)
})

test_that("a file that was moved away is made anew, for its owner alone", {
  moved <- paste0(server$log, ".1")
  file.rename(server$log, moved)
  withr::defer(unlink(moved))
  known <- length(readLines(moved))
  request(server, "whoami", user = "daemon")
  expect_length(decisions(server), 1L)
  expect_length(readLines(moved), known)
  expect_identical(as.character(file.mode(server$log)), "600")
})

test_that("a server that is killed in the midst of a deed leaves what it was about to do", {
  folder <- withr::local_tempdir()
  gate <- file.path(folder, "gate")
  script <- file.path(folder, "kubectl")
  writeLines(c(
    "#!/bin/sh", "case \"$1\" in create)",
    paste0("  while [ ! -e ", gate, " ]; do sleep 0.1; done;;"), "esac",
    paste0("exec ", file.path(cluster_kubectl_folder(), "kubectl"), " \"$@\"")
  ), script)
  Sys.chmod(script, "0700")
  log <- file.path(folder, "log")
  killed <- local_api_server(abba.kubectl = script, abba.k8s.session = FALSE, abba.api.log = log)
  before <- count_jobs()
  body <- as.character(jsonlite::toJSON(program("never"), auto_unbox = TRUE))
  waiting <- processx::process$new("curl", c(
    "--silent", "--max-time", "120", "--header", paste("Authorization: Key", killed$keys$daemon),
    "--header", "Content-Type: application/json", "--data-binary", body, paste0(killed$address, "/submit-job")
  ), cleanup = TRUE)
  phases <- function() each(decisions(list(log = log)), "phase")
  wait_until(function() "intent" %in% phases(), what = "the line before the deed")
  killed$process$kill_tree()
  waiting$kill()
  expect_identical(sum(phases() == "intent"), 1L)
  expect_false("outcome" %in% phases())
  expect_identical(count_jobs(), before)
  intent <- decisions(list(log = log))[[which(phases() == "intent")]]
  expect_identical(intent[c("what", "program")], list(what = "submit-job", program = "/p/never.R"))
})

test_that("the figures for Prometheus are told to callers that are known", {
  expect_identical(request(server, "metrics")$status, 401L)
  request(server, "jobs", user = "daemon")
  answer <- request(server, "metrics", user = "daemon")
  expect_identical(header_of(answer, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
  samples <- strsplit(answer$text, "\n", fixed = TRUE)[[1L]]
  value <- function(name) as.numeric(sub(".* ", "", samples[startsWith(samples, paste0(name, " "))]))
  expect_identical(value("abba_kept_jobs"), as.numeric(count_jobs()))
  expect_gt(value("abba_cluster_request_duration_seconds_count{method=\"POST\"}"), 60)
  expect_gt(value("abba_requests_total{call=\"submit-job\",status=\"200\"}"), 2)
  expect_identical(request(server, "live")$status, 200L)
  ready <- list(ready = TRUE, cluster = TRUE, keys = TRUE, log = TRUE)
  expect_identical(request(server, "ready")$body, ready)
})

test_that("nothing came to standard error of a server that is well", {
  expect_identical(readLines(server$stderr), character())
})
