# The abba server on the real cluster, with a login that has the documented Role and nothing else.
namespace <- local_namespace()
server <- local_api_server(
  abba.api.operators = "games", abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies")),
  abba.cpu.limit = 63
)

# One that bounds more. For accounts that have no jobs elsewhere.
strict <- local_api_server(
  users = c("sys", "mail", "man"), abba.api.log.page.bytes = 100000,
  abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies", readOnly = TRUE)),
  abba.api.default.time.limit = 300, abba.api.time.limit = 600, abba.api.default.disk.limit = "1G",
  abba.api.disk.limit = "2G", abba.api.kept.jobs = 2
)

test_that("a program goes from its submission to its log, and runs as its owner", {
  id <- submit_to(server, text = c("cat(system('id -u', intern = TRUE), '\\n', sep = '')\ncat('\u00fc 100%\\n')"))
  expect_identical(wait_for_end_at(server, id), "Succeeded")
  expect_identical(log_at(server, id), c("1", "\u00fc 100%"))
  status <- request(server, paste0("job-status?id=", id), user = "daemon")$body
  expect_named(status$Succeeded, c("Jobs", "Description"))
  expect_identical(status$Succeeded$Jobs[[1L]]$path, "/programs/program.R")
  expect_identical(status$Succeeded$Jobs[[1L]]$id, pods_of(id))
  explained <- request(server, paste0("explain-job?job_id=", id), user = "daemon")$body
  expect_identical(explained[c("user", "status", "exit_code", "image")], list(
    user = "daemon", status = "Succeeded", exit_code = 0L, image = r_image
  ))
  # That of the scheduler is among them, with the name of the pod alone.
  wait_for_events(id)
  explained <- request(server, paste0("explain-job?job_id=", id), user = "daemon")$body
  said <- vapply(explained$events, `[[`, "", "message")
  expect_true(any(startsWith(said, "Successfully assigned ")))
  expect_no_match(said, the_namespace(), fixed = TRUE)
})

test_that("a program that fails says so", {
  id <- submit_to(server, text = "quit(status = 3)")
  expect_identical(wait_for_end_at(server, id), "Failed")
  row <- request(server, "jobs?status=Failed", user = "daemon")$body[[1L]]
  expect_identical(row[c("job_id", "exit_code")], list(job_id = id, exit_code = 3L))
  expect_match(row$reason, "exit status 3", fixed = TRUE)
})

test_that("a batch is submitted, watched and read as one", {
  programs <- lapply(1:3, function(k) list(file_path = paste0("/p/", k, ".R"), program_text = paste0("cat(", k, ")")))
  answer <- request(server, "submit-batch", user = "daemon", body = list(programs = programs, cpu_limit = 0.2))
  expect_identical(answer$status, 200L)
  batch <- unique(vapply(answer$body, `[[`, "", "batch_id"))
  expect_length(batch, 1L)
  ended <- function() {
    status <- request(server, paste0("batch-status?batch_id=", batch), user = "daemon")$body
    identical(names(status), "Succeeded")
  }
  wait_until(ended, 120, what = "the end of the batch")
  logs <- request(server, paste0("batch-log?batch_id=", batch), user = "daemon")$body
  expect_setequal(unlist(lapply(logs, `[[`, "log")), c("1", "2", "3"))
  expect_setequal(vapply(logs, `[[`, "", "pod_id"), unlist(lapply(vapply(answer$body, `[[`, "", "job_id"), pods_of)))
})

test_that("a running job is cancelled and its log stays", {
  id <- submit_to(server, text = "cat('begun\\n'); Sys.sleep(600)")
  wait_until(function() identical(log_at(server, id), "begun"), 120, what = "the first line")
  answer <- request(server, "cancel-job", user = "daemon", body = list(job_id = id))
  expect_identical(answer$body, list(list(job_id = id, done = "stopped")))
  expect_identical(wait_for_end_at(server, id), "Failed")
  expect_identical(log_at(server, id)[[1L]], "begun")
  again <- request(server, "cancel-job", user = "daemon", body = list(job_id = id))
  expect_identical(again$body[[1L]]$done, "was cancelled before")
})

test_that("an operator cancels another's job", {
  id <- submit_to(server, text = "Sys.sleep(600)")
  wait_until(function() state_at(server, id) == "Running", 120, what = "the job to run")
  expect_identical(request(server, "cancel-job", user = "games", body = list(job_id = id))$body[[1L]]$done, "stopped")
})

test_that("a batch is an operator's own unless they say otherwise, also where it is cancelled or removed", {
  ids <- vapply(c(daemon = "daemon", games = "games"), function(user) {
    submit_to(server, user = user, text = "Sys.sleep(600)", batch_group_id = "met")
  }, "")
  for (user in names(ids)) {
    wait_until(function() state_at(server, ids[[user]], user) == "Running", 120, what = "the jobs to run")
  }
  done_for <- function(call, ...) {
    rows <- request(server, call, user = "games", body = list(...))$body
    rows <- stats::setNames(lapply(rows, `[[`, "done"), vapply(rows, `[[`, "", "job_id"))
    rows[order(names(rows))]
  }
  # Another caller's is to others as none.
  expect_identical(
    request(server, "cancel-job", user = "daemon", body = list(job_id = ids[["games"]]))$status, 404L
  )
  all_ids <- sort(unname(ids))
  own <- request(server, "batch-status?batch_id=met", user = "games")$body
  expect_identical(lengths(lapply(own, `[[`, "Jobs")), c(Running = 1L))
  expect_identical(done_for("cancel-job", batch_id = "met"), stats::setNames(list("stopped"), ids[["games"]]))
  expect_identical(state_at(server, ids[["daemon"]]), "Running")
  # It has to end before it can be removed; another's is not even asked for.
  wait_until(function() state_at(server, ids[["games"]], "games") == "Failed", 120, what = "the end")
  expect_identical(
    request(server, "remove-job", user = "games", body = list(batch_id = "met", everybody = TRUE))$status, 409L
  )
  expect_true(all(ids %in% jobs_in()))
  expect_identical(done_for("remove-job", batch_id = "met"), stats::setNames(list("removed"), ids[["games"]]))
  expect_identical(intersect(jobs_in(), ids), ids[["daemon"]])
  refused <- request(server, "remove-job", user = "games", body = list(job_id = ids[["daemon"]]))
  expect_identical(list(refused$status, refused$body$class), list(400L, "input"))
  stopped <- done_for("cancel-job", batch_id = "met", everybody = TRUE)
  expect_identical(stopped, stats::setNames(list("stopped"), ids[["daemon"]]))
  wait_until(function() state_at(server, ids[["daemon"]]) == "Failed", 120, what = "the end")
  expect_identical(
    done_for("remove-job", job_id = all_ids, everybody = TRUE),
    as.list(stats::setNames(ifelse(all_ids == ids[["daemon"]], "removed", "gone"), all_ids))
  )
})

test_that("the same key makes one job, of each caller", {
  key <- c("--header", "Idempotency-Key: 0d3f1a52-1")
  ids <- vapply(1:3, function(k) submit_to(server, curl = key), "")
  expect_length(unique(ids), 1L)
  theirs <- submit_to(server, user = "games", curl = key)
  expect_false(theirs == ids[[1L]])
  answer <- request(
    server, "submit-job", key,
    user = "daemon", body = list(file_path = "/programs/program.R", program_text = "2")
  )
  expect_identical(answer$status, 409L)
  expect_setequal(intersect(jobs_in(), c(ids, theirs)), c(ids[[1L]], theirs))
})

test_that("a permitted mount is in the job as it was checked, and others make none", {
  with_mount <- function(path) {
    # No node has room: a pod that must mount from a server that is not there takes half a minute to be given up.
    request(server, "submit-job", user = "daemon", body = list(
      file_path = "/studies/s1/t.R", cpu_limit = 63,
      mounts = list(
        volumes = list(list(name = "s", nfs = list(server = "192.0.2.1", path = path))),
        volumeMounts = list(list(name = "s", mountPath = "/studies", readOnly = TRUE))
      )
    ))
  }
  id <- with_mount("//studies/./public")$body$job_id
  spec <- kubectl_json("--namespace", namespace, "get", "job", id)$spec$template$spec
  expect_identical(spec$volumes[[1L]]$nfs[c("server", "path")], list(server = "192.0.2.1", path = "/studies/public"))
  expect_identical(spec$securityContext$runAsUser, 1L)
  expect_true("--file=/studies/s1/t.R" %in% unlist(spec$containers[[1L]]$command))
  request(server, "cancel-job", user = "daemon", body = list(job_id = id))
  before <- jobs_in()
  for (path in c("/studies/../etc", "/studiesx", "/", "/home")) {
    expect_identical(with_mount(path)$status, 403L)
  }
  expect_identical(jobs_in(), before)
})

test_that("a folder that is permitted to be read alone cannot be written by the program", {
  ask <- function(...) {
    request(strict, "submit-job", user = "sys", body = list(
      file_path = "/studies/w.R",
      cpu_limit = 0.1, mounts = list(
        volumes = list(list(name = "s", nfs = list(server = "192.0.2.1", path = "/studies"))),
        volumeMounts = list(list(name = "s", mountPath = "/studies", ...))
      )
    ))
  }
  expect_identical(ask(readOnly = FALSE)$status, 403L)
  id <- ask()$body$job_id
  job <- kubectl_json("--namespace", namespace, "get", "job", id)
  kubectl_lines("delete", "job", id)
  spec <- job$spec$template$spec
  expect_identical(spec$volumes[[1L]]$nfs$readOnly, TRUE)
  # The cluster has no NFS server: a folder of the node in its place, in the very pod that the server has asked for.
  folder <- withr::local_tempdir(pattern = "locked-")
  Sys.chmod(folder, "0777", use_umask = FALSE)
  write_program("cat(file.exists('/studies/w.R'), file.create('/studies/new'), '\\n')", file.path(folder, "w.R"))
  spec$volumes[[1L]] <- list(name = "s", hostPath = list(path = folder))
  pod <- withr::local_tempfile(fileext = ".json", lines = jsonlite::toJSON(
    list(apiVersion = "v1", kind = "Pod", metadata = list(name = "reads"), spec = spec),
    auto_unbox = TRUE
  ))
  kubectl_lines("create", "--filename", pod)
  ended <- function() field("pod", "reads", ".status.phase") %in% c("Succeeded", "Failed")
  wait_until(ended, 120, what = "the end of the pod")
  said <- kubectl_lines("logs", "reads")
  expect_match(said, "^TRUE FALSE", all = FALSE)
  expect_match(said, "Read-only file system", all = FALSE)
  expect_identical(list.files(folder), "w.R")
})

test_that("members of a group have what its profile permits, and others do not", {
  profiled <- local_api_server(
    users = c("sys", "games"), abba.cpu.limit = 0.5, abba.permitted.templates = list(default = list()),
    abba.api.profiles = list(night = list(
      groups = "games", abba.cpu.limit = 1, abba.permitted.containers = "registry.example.com/r:9",
      abba.permitted.templates = list(late = list(metadata = list(labels = list(late = "yes"))))
    ))
  )
  asked <- function(user, ...) {
    body <- list(file_path = "p.R", program_text = "cat('ran\\n')", ...)
    request(profiled, "submit-job", user = user, body = body)
  }
  expect_identical(asked("sys", cpu_limit = 0.6)$status, 403L)
  expect_identical(asked("sys", cpu_limit = 0.1, job_template = "late")$status, 403L)
  done <- asked("games", cpu_limit = 0.6, job_template = "late")
  expect_identical(done$status, 200L)
  expect_identical(field("job", done$body$job_id, ".metadata.labels.late"), "yes")
  expect_identical(wait_for_end_at(profiled, done$body$job_id, user = "games"), "Succeeded")
  told <- function(call, user) unlist(request(profiled, call, user = user)$body)
  expect_identical(told("permitted-templates", "games"), "late")
  expect_identical(told("permitted-templates", "sys"), "default")
  expect_true("registry.example.com/r:9" %in% told("permitted-containers", "games"))
  expect_false("registry.example.com/r:9" %in% told("permitted-containers", "sys"))
})

test_that("time, disk and kept jobs have the bounds that the administrator has set", {
  submitted <- function(...) {
    body <- list(file_path = "p.R", program_text = "Sys.sleep(1000)", cpu_limit = 0.1, ...)
    request(strict, "submit-job", user = "mail", body = body)
  }
  expect_identical(submitted(time_limit_seconds = 601)$status, 403L)
  expect_match(submitted(disk_limit = "3G")$body$message, "`disk_limit` must be from 1Mi to 2G", fixed = TRUE)
  id <- submitted()$body$job_id
  spec <- kubectl_json("--namespace", namespace, "get", "job", id)$spec$template$spec
  expect_identical(spec$containers[[1L]]$resources$limits[["ephemeral-storage"]], "1G")
  expect_identical(spec$activeDeadlineSeconds, 300L)
  wait_until(function() state_at(strict, id, "mail") == "Running", 120, what = "the job to run")
  shorten_time_limit(id, 3)
  wait_for_pods_to_end(id)
  expect_identical(wait_for_end_at(strict, id, user = "mail"), "Failed")
  explained <- request(strict, paste0("explain-job?job_id=", id), user = "mail")$body
  expect_match(explained$reason, "its time limit of 3 seconds was over", fixed = TRUE)
  # What has ended counts, until it is gone.
  expect_identical(submitted(time_limit_seconds = 600, disk_limit = "2G")$status, 200L)
  refused <- submitted()
  expect_identical(refused$status, 429L)
  expect_match(refused$body$message, "You have 2 jobs", fixed = TRUE)
  kubectl_lines("delete", "job", id)
  wait_until(function() identical(submitted()$status, 200L), what = "a place")
  expect_identical(submitted()$status, 429L)
})

test_that("health and who I am", {
  health <- request(server, "health")$body
  expect_identical(health, list(alive = TRUE, cluster = TRUE))
  expect_match(request(server, "health", user = "games")$body$versions$kubernetes, "^v1[.]")
  expect_identical(request(server, "whoami", user = "games")$body, list(user = "games", operator = TRUE))
  expect_identical(request(server, "permitted-containers", user = "daemon")$body, list(r_image))
})

test_that("a long log comes in pages that join to the whole", {
  id <- submit_to(strict, "man", text = "writeLines(paste('line', 1:30000, strrep('x', 20)))")
  wait_for_end_at(strict, id, "man")
  lines <- character()
  page <- ""
  repeat {
    answer <- request(strict, paste0("job-log?job_id=", id, page), user = "man")
    expect_identical(answer$status, 200L)
    expect_lt(nchar(answer$text), 200000)
    lines <- c(lines, unlist(answer$body[[1L]]$log))
    token <- header_of(answer, "Abba-Next-Page")
    if (length(token) == 0L) break
    page <- paste0("&page=", token)
  }
  expect_identical(lines, paste("line", 1:30000, strrep("x", 20)))
})

test_that("what others do in the cluster, by kubectl or another server, is in the answers", {
  # Another server of the same namespace.
  other <- local_api_server()
  ask <- function(at, target) request(at, target, user = "daemon")$status
  for (at in list(list(server, other), list(other, server))) {
    ask(at[[2L]], "jobs")
    id <- submit_to(at[[1L]], text = "cat('ran\\n')", batch_group_id = "of-two")
    expect_identical(ask(at[[2L]], paste0("job-status?job_id=", id)), 200L)
    expect_true(id %in% ids_at(at[[2L]]))
    expect_identical(wait_for_end_at(at[[2L]], id), "Succeeded")
  }
  kubectl("delete", "job", id, "--namespace", namespace, "--wait=false")
  wait_until(function() ask(server, paste0("job-status?job_id=", id)) == 404L, what = "the job to be gone")
  wait_until(function() ask(other, paste0("job-status?job_id=", id)) == 404L, what = "the job to be gone at the other")
})

test_that("two servers let a caller have what one does, and each acts on what the other has submitted", {
  local_one <- function(env = parent.frame()) {
    local_api_server(
      users = c("lp", "news"), abba.api.servers = 2, abba.api.open.jobs = 3, abba.api.requests.per.minute = 120,
      abba.cpu.limit = 63, env = env
    )
  }
  one <- local_one()
  other <- local_one()
  program <- list(file_path = "/p.R", program_text = "1", cpu_limit = 63)
  file <- withr::local_tempfile(lines = jsonlite::toJSON(program, auto_unbox = TRUE))
  # Eight at once, half of them at each, for which no node has room.
  asked <- lapply(rep(list(one, other), 4), function(at) {
    processx::process$new("curl", c(
      "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--header", "Content-Type: application/json",
      "--header", paste("Authorization: Key", at$keys$lp), "--data", paste0("@", file),
      paste0(at$address, "/submit-job")
    ), stdout = "|")
  })
  statuses <- vapply(asked, function(process) process$read_all_output(), "")
  expect_identical(sort(statuses), rep(c("200", "429"), c(3L, 5L)))
  ids <- ids_at(one, "lp")
  expect_length(ids, 3L)
  expect_setequal(ids_at(other, "lp"), ids)

  done_at <- function(at, call) {
    vapply(request(at, call, user = "lp", body = list(job_id = ids))$body, `[[`, "", "done")
  }
  expect_identical(done_at(other, "cancel-job"), rep("kept from starting", 3L))
  expect_identical(done_at(one, "cancel-job"), rep("was cancelled before", 3L))
  submitted <- function(at) request(at, "submit-job", user = "lp", body = program)$status
  wait_until(function() submitted(one) == 200L, interval = 1, what = "a place")
  wait_until(function() identical(done_at(one, "remove-job"), rep("removed", 3L)), interval = 1, what = "the removal")
  expect_identical(request(other, paste0("job-status?job_id=", ids[[1L]]), user = "lp")$status, 404L)
  expect_length(ids_at(other, "lp"), 1L)

  # Each answers its half of the requests of a minute, and as many more as have come up since.
  for (at in list(one, other)) {
    begin <- proc.time()[["elapsed"]]
    answered <- 0L
    while (request(at, "whoami", user = "news")$status == 200L) answered <- answered + 1L
    expect_gte(answered, 60L)
    expect_lte(answered, 61 + proc.time()[["elapsed"]] - begin)
  }
})

test_that("a server that counts as alone says so where another one holds the Lease", {
  said <- function() paste(readLines(strict$stderr, warn = FALSE), collapse = " ")
  holder <- paste0("\"", Sys.info()[["nodename"]], "-", server$process$get_pid(), "\" holds the Lease")
  is_told <- function() if (grepl(holder, said(), fixed = TRUE)) TRUE else said()
  wait_until(is_told, 120, what = "the words about the other server")
  expect_match(said(), "set `abba.api.servers` for each of them", fixed = TRUE)
})

test_that("a server whose kubectl was killed goes on", {
  id <- submit_to(server, text = "cat('ran\\n')")
  proxies <- kubectl_proxies_of(server)
  expect_gt(length(proxies), 0L)
  for (proxy in proxies) tools::pskill(proxy, tools::SIGKILL)
  expect_identical(wait_for_end_at(server, id), "Succeeded")
  next_one <- submit_to(server, text = "cat('ran\\n')")
  expect_true(all(c(id, next_one) %in% ids_at(server)))
  expect_identical(wait_for_end_at(server, next_one), "Succeeded")
})

test_that("every request was one line of the log, and nothing came to standard error", {
  # What changes something has more.
  lines <- Filter(function(line) line$phase == "request", decisions(server))
  expect_gt(length(lines), 30L)
  requests <- vapply(lines, `[[`, "", "request")
  expect_identical(anyDuplicated(requests), 0L)
  expect_true(all(vapply(lines, function(line) line$decision %in% c("allowed", "refused"), NA)))
  text <- readLines(server$log)
  for (secret in c(unlist(server$keys), "Sys.sleep")) {
    expect_false(any(grepl(secret, text, fixed = TRUE)))
  }
  expect_identical(readLines(server$stderr), character())
})
