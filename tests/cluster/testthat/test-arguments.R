# Each argument of a submission, seen in the cluster.
local_namespace()

# The value of a label or an annotation.
label_of <- function(kind, name, key, what = "labels") {
  field(kind, name, paste0(".metadata.", what, "['", gsub(".", "\\.", key, fixed = TRUE), "']"))
}

# A kubectl that has the server check everything and keep nothing; gives back what the server answered.
local_dry_run <- function(env = parent.frame()) {
  base <- local_kubectl(c(
    "if [ \"$1\" = create ]; then",
    "  \"$real\" create --raw \"$3&dryRun=All\" \"$4\" \"$5\" | tee \"$base/answer\"",
    "else",
    "  exec \"$real\" \"$@\"",
    "fi"
  ), env = env)
  function() jsonlite::fromJSON(file.path(base, "answer"), simplifyVector = FALSE)
}

# A program that prints the limits of its container, whichever version of cgroups the node has.
print_limits <- c(
  "read <- function(...) { files <- Filter(file.exists, file.path('/sys/fs/cgroup', c(...))); readLines(files[[1]]) }",
  "cpu <- if (file.exists('/sys/fs/cgroup/cpu.max')) strsplit(read('cpu.max'), ' ')[[1]] else",
  "  c(read('cpu/cpu.cfs_quota_us'), read('cpu/cpu.cfs_period_us'))",
  "cat(as.numeric(cpu[[1]]) / as.numeric(cpu[[2]]), '\\n', sep = '')",
  "cat(read('memory.max', 'memory/memory.limit_in_bytes'), '\\n', sep = '')",
  "cat(Sys.getenv('MC_CORES'), Sys.getenv('OMP_NUM_THREADS'), '\\n')"
)

test_that("limits of cores and memory are those of the container, and R is told its cores", {
  path <- local_program(print_limits)
  ids <- c(
    submit(path, cpu_limit = 1L, memory_limit = "512M"),
    submit(path, cpu_limit = 0.5, memory_limit = "256Mi"),
    submit(path, cpu_limit = "500m", memory_limit = "0.25Gi"),
    submit(path, cpu_limit = "750m", memory_limit = "1G")
  )
  expect_setequal(wait_for_end(ids), "Succeeded")
  logs <- lapply(abba_get_k8s_job_log_local(ids), `[[`, "log")
  # The kernel counts memory in pages.
  expect_identical(logs, list(
    c("1", sprintf("%d", 512000000 %/% 4096 * 4096), "1 1 "),
    c("0.5", "268435456", "1 1 "),
    c("0.5", "268435456", "1 1 "),
    c("0.75", sprintf("%d", 1000000000 %/% 4096 * 4096), "1 1 ")
  ))
  limits <- lapply(ids, function(id) {
    field("pod", pods_of(id), ".spec.containers[0].resources.limits['cpu','memory']")
  })
  expect_identical(limits, list("1 512M", "500m 256Mi", "500m 256Mi", "750m 1G"))
})

test_that("the defaults are one core and 512 MB, the image of the option, and no time limit", {
  answer <- local_dry_run()
  path <- local_program("1")
  container <- function() answer()$spec$template$spec$containers[[1L]]
  suppressMessages(abba_submit_k8s_job_local(path))
  expect_identical(container()$resources$limits[c("cpu", "memory")], list(cpu = "1", memory = "512M"))
  expect_identical(container()$image, r_image)
  expect_null(answer()$spec$template$spec$activeDeadlineSeconds)
  # More cores than this node has: what the program will be told.
  submit(path, cpu_limit = 16)
  cores <- Filter(function(variable) variable$name == "MC_CORES", container()$env)
  expect_identical(cores[[1L]]$value, "16")
  other <- "registry.example.com/openval_4.2.1_focal:2023.09.0.02"
  submit(path, container = other)
  expect_identical(container()$image, other)
  withr::local_options(abba.default.container = other)
  submit(path)
  expect_identical(container()$image, other)
  # A time limit is the pod's, so that the log is kept.
  submit(path, time_limit_seconds = 3600)
  expect_identical(answer()$spec$template$spec$activeDeadlineSeconds, 3600L)
  expect_null(answer()$spec$activeDeadlineSeconds)
})

test_that("batch id and tag are on the job and on its pod, and the program knows its ids", {
  path <- local_program("cat(Sys.getenv(c('ABBA_JOB_ID', 'ABBA_BATCH_ID')), sep = '\\n')")
  tag <- "J\u00fcrgen's run, 100%: \"final\" $(no) #3"
  job <- suppressMessages(abba_submit_k8s_job_local(path, batch_group_id = "Study_1.final-2", user_tag = tag))
  expect_identical(job$batch_id, "Study_1.final-2")
  wait_for_end(job$job_id)
  pod <- pods_of(job$job_id)
  for (object in list(c("job", job$job_id), c("pod", pod))) {
    expect_identical(label_of(object[[1L]], object[[2L]], "abba/batch-id"), "Study_1.final-2")
    expect_identical(label_of(object[[1L]], object[[2L]], "abba/job-id"), job$job_id)
    expect_identical(label_of(object[[1L]], object[[2L]], "app.kubernetes.io/managed-by"), "abba")
    expect_identical(label_of(object[[1L]], object[[2L]], "abba/user-tag", "annotations"), tag)
    expect_match(label_of(object[[1L]], object[[2L]], "abba/user-tag"), "^[A-Za-z0-9][-A-Za-z0-9_.]*[A-Za-z0-9]$")
    expect_identical(label_of(object[[1L]], object[[2L]], "abba/program-path", "annotations"), path)
  }
  # The bundle as a whole can be found.
  expect_identical(
    kubectl_lines("get", "pods", "--selector", "abba/batch-id=Study_1.final-2", "--output", "name"),
    paste0("pod/", pod)
  )
  expect_identical(log_of(job$job_id), c(job$job_id, "Study_1.final-2"))
})

test_that("a program in a mount runs there, sees what lies there, and writes there", {
  folder <- normalizePath(withr::local_tempdir("study-"))
  dir.create(file.path(folder, "programs"))
  writeLines(c("x,y", "1,2"), file.path(folder, "data.csv"))
  path <- local_program(
    c("cat(getwd(), '\\n', sep = '')", "print(read.csv('../data.csv')$y)", "writeLines('made', 'result.txt')"),
    "analysis.R", file.path(folder, "programs")
  )
  id <- submit(path, mounts = host_path(folder))
  # A program beside the mount travels with the job, and reaches the mount all the same.
  other <- local_program(c("cat(getwd(), '\\n', sep = '')", "writeLines('made', '/data/other.txt')"), "other.R")
  other_id <- submit(other, mounts = host_path(folder, "/data"))
  expect_setequal(wait_for_end(c(id, other_id)), "Succeeded")
  expect_identical(log_of(id), c(file.path(folder, "programs"), "[1] 2"))
  expect_identical(log_of(other_id), "/abba/work")
  expect_identical(readLines(file.path(folder, "programs", "result.txt")), "made")
  expect_identical(readLines(file.path(folder, "other.txt")), "made")
  # A program in place is not copied into the cluster.
  expect_identical(label_of("pod", pods_of(id), "abba/program-text", "annotations"), character())
})

test_that("storage that does not hold the program is named as the reason", {
  folder <- normalizePath(withr::local_tempdir("study-"))
  other <- withr::local_tempdir("other-")
  path <- local_program("1", "analysis.R", folder)
  id <- submit(path, mounts = host_path(other, folder))
  expect_identical(wait_for_end(id), "Failed")
  expect_match(log_of(id)[[1L]], paste("cannot read the program", path), fixed = TRUE)
  expect_match(abba_explain_k8s_job_local(id)$reason, "could not read the program")
})

test_that("what a volume holds is Kubernetes' own, and the server's word on a mistake is passed on", {
  scratch <- list(
    volumes = list(list(name = "scratch", emptyDir = list(medium = "Memory", sizeLimit = "16Mi"))),
    volumeMounts = list(list(name = "scratch", mountPath = "/scratch", readOnly = TRUE))
  )
  id <- submit(local_program("cat(file.access('/scratch', 0), file.access('/scratch', 2), '\\n')"), mounts = scratch)
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), "0 -1 ")

  misspelt <- scratch
  misspelt$volumes[[1L]]$emptyDir$sizelimits <- "16Mi"
  expect_no_submission(
    abba_submit_k8s_job_local(local_program("1"), mounts = misspelt), "invalid", "sizelimits", the_namespace()
  )
  doubled <- scratch
  doubled$volumeMounts <- c(doubled$volumeMounts, doubled$volumeMounts)
  expect_no_submission(
    abba_submit_k8s_job_local(local_program("1"), mounts = doubled), "invalid", "must be unique"
  )
})

test_that("the home folder is mounted from the server that is given, which the API server accepts", {
  home <- withr::local_tempdir("home-")
  path <- local_program("1")
  answer <- local_dry_run()
  before <- jobs_in()
  root_home <- path.expand(strsplit(grep("^root:", readLines("/etc/passwd"), value = TRUE), ":")[[1L]][[6L]])

  id <- submit(path, auto_mount_home = TRUE, home_nfs_ip_address = "192.0.2.7", username = "root")
  expect_identical(answer()$metadata$name, id)
  spec <- answer()$spec$template$spec
  volume <- Filter(function(volume) !is.null(volume$nfs), spec$volumes)
  expect_identical(lapply(volume, `[[`, "nfs"), list(list(server = "192.0.2.7", path = root_home)))
  mounts <- Filter(function(mount) mount$name == volume[[1L]]$name, spec$containers[[1L]]$volumeMounts)
  expect_identical(lapply(mounts, `[[`, "mountPath"), list(root_home))
  home <- Filter(function(variable) variable$name == "HOME", spec$containers[[1L]]$env)
  expect_identical(lapply(home, `[[`, "value"), list(root_home))

  withr::local_options(abba.home.nfs.ip.address = "nfs.example.com")
  submit(path, auto_mount_home = TRUE, username = "games")
  spec <- answer()$spec$template$spec
  volume <- Filter(function(volume) !is.null(volume$nfs), spec$volumes)
  games_home <- strsplit(grep("^games:", readLines("/etc/passwd"), value = TRUE), ":")[[1L]][[6L]]
  expect_identical(lapply(volume, `[[`, "nfs"), list(list(server = "nfs.example.com", path = games_home)))
  # It was a dry run.
  expect_identical(jobs_in(), before)
})

test_that("the namespace is the argument, else the option, else that of kubectl's context", {
  option <- the_namespace()
  argument <- local_cluster_namespace()
  context <- local_cluster_namespace()
  path <- local_program("cat('here\\n')")
  local_cluster_login(kubeconfig_of_admin(context))

  by_argument <- submit(path, namespace = argument)
  by_option <- submit(path)
  withr::local_options(abba.k8s.namespace = NULL)
  by_context <- submit(path)

  expect_identical(jobs_in(argument), by_argument)
  expect_true(by_option %in% jobs_in(option))
  expect_identical(jobs_in(context), by_context)
  expect_identical(wait_for_end(by_context), "Succeeded")
  expect_identical(log_of(by_context), "here")
  expect_identical(log_of(by_context, namespace = context), "here")
  expect_abba_error(
    abba_get_k8s_job_status_local(by_context, namespace = argument), "not_found", by_context, argument
  )
})

test_that("with a user name the program runs as that user, with all groups, and can write what the user may", {
  # An account that only this test's own view of the machine has: a user in two further groups.
  accounts <- normalizePath(withr::local_tempdir("accounts-"))
  writeLines(
    c(readLines("/etc/passwd"), "abba-tester:x:41001:41001:Abba Tester:/home/abba-tester:/bin/sh"),
    file.path(accounts, "passwd")
  )
  writeLines(
    c(
      readLines("/etc/group"), "abba-tester:x:41001:", "abba-readers:x:41002:abba-tester",
      "abba-writers:x:41003:abba-tester", "abba-others:x:41004:"
    ),
    file.path(accounts, "group")
  )
  folder <- normalizePath(withr::local_tempdir("study-"))
  system2("chown", c("41001:41001", shQuote(folder)))
  Sys.chmod(folder, "0700")
  shared <- normalizePath(withr::local_tempdir("shared-"))
  system2("chown", c("0:41003", shQuote(shared)))
  Sys.chmod(shared, "0770", use_umask = FALSE)
  path <- local_program(c(
    "system('id -u; id -g; id -G')",
    "cat(Sys.getenv(c('USER', 'LOGNAME', 'HOME')), sep = '\\n')",
    "writeLines('mine', 'mine.txt')",
    "writeLines('ours', '/shared/ours.txt')",
    "cat(file.access(Sys.getenv('HOME'), 2L), '\\n', sep = '')"
  ), "analysis.R", folder)
  mounts <- Map(c, host_path(folder), host_path(shared, "/shared", "shared"))

  script <- withr::local_tempfile(lines = c(
    "library(abba)",
    paste0("options(abba.default.container = ", deparse(r_image), ")"),
    paste0("options(abba.k8s.session = ", getOption("abba.k8s.session"), ")"),
    paste0("job <- abba_submit_k8s_job_local(", deparse(path), ", cpu_limit = 0.2, username = 'abba-tester',"),
    paste0("  namespace = ", deparse(the_namespace()), ", mounts = ", paste(deparse(mounts), collapse = "\n"), ")"),
    "cat(job$job_id)"
  ))
  result <- processx::run(
    "unshare", c(
      "--mount", "sh", "-c",
      "mount --bind \"$1/passwd\" /etc/passwd && mount --bind \"$1/group\" /etc/group && shift && exec \"$@\"",
      "sh", accounts, file.path(R.home("bin"), "Rscript"), script
    ),
    env = c("current", R_LIBS = paste(.libPaths(), collapse = ":"))
  )
  id <- result$stdout
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), c(
    "41001", "41001", "41001 41002 41003", "abba-tester", "abba-tester", "/abba/work", "0"
  ))
  expect_identical(label_of("pod", pods_of(id), "abba/user"), "abba-tester")
  files <- c(file.path(folder, "mine.txt"), file.path(shared, "ours.txt"))
  expect_identical(file.info(files)$uid, c(41001L, 41001L))
})

test_that("a user name that travels with the program can write where it works", {
  path <- local_program(c(
    "system('id -u; id -G')", "writeLines('1', 'x'); cat(readLines('x'), '\\n', sep = '')",
    "cat(file.access(Sys.getenv('HOME'), 2L), '\\n', sep = '')"
  ))
  id <- submit(path, username = "games")
  expect_identical(wait_for_end(id), "Succeeded")
  games <- strsplit(grep("^games:", readLines("/etc/passwd"), value = TRUE), ":")[[1L]]
  expect_identical(log_of(id)[[1L]], games[[3L]])
  expect_identical(log_of(id)[3:4], c("1", "0"))
})

test_that("a program has its own arguments and its own environment letter for letter, whatever else has the name", {
  arguments <- c(
    "", " a  b ", "--args", "-e", "q(status = 3)", "-g", "foo", "--version", "--file=/x.R", "--no-echo", "-",
    "'\"`\\", "two\nlines\ttab", "$(ABBA_JOB_ID) $HOME `id` ; *", "\u00e9\u65e5", "NA"
  )
  environment <- c(
    ABBA_TEST = " a  b ", `_a` = "'\"`\\", EMPTY = "", LINES_2 = "two\nlines\ttab", A = "$(ABBA_JOB_ID) $HOME `id` ; *",
    LETTER = "\u00e9\u65e5", MC_CORES = "7", HOME = "/tmp", zone = "z", found = "f", script = "s"
  )
  path <- local_program(c(
    paste0("names <- c(", paste0("'", names(environment), "'", collapse = ", "), ")"),
    "for (value in c(commandArgs(TRUE), Sys.getenv(names, NA))) cat(utf8ToInt(value), '\\n')",
    "cat(nzchar(Sys.getenv('ABBA_JOB_ID')), '\\n')"
  ))
  id <- submit(path, arguments = arguments, environment = environment)
  expect_identical(wait_for_end(id), "Succeeded")
  points <- vapply(c(arguments, environment), function(x) paste(utf8ToInt(x), collapse = " "), "", USE.NAMES = FALSE)
  expect_identical(trimws(log_of(id)), c(points, "TRUE"))
})

test_that("vanilla keeps start-up files and the library of a mounted home out of the image's R", {
  home <- normalizePath(withr::local_tempdir("home-"))
  writeLines("options(digits = 3); cat('read\\n')", file.path(home, ".Rprofile"))
  writeLines("FROM_HOME=yes", file.path(home, ".Renviron"))
  dir.create(file.path(home, "R", paste0(R.version$platform, "-library"), "4.2"), recursive = TRUE)
  path <- local_program(c(
    "cat(getOption('digits'), Sys.getenv('FROM_HOME', 'no'), any(startsWith(.libPaths(), '/home/mike')), '\\n')"
  ))
  start <- function(vanilla) {
    submit(path, mounts = host_path(home, "/home/mike"), environment = c(HOME = "/home/mike"), vanilla = vanilla)
  }
  ids <- c(start(FALSE), start(TRUE))
  expect_setequal(wait_for_end(ids), "Succeeded")
  expect_identical(log_of(ids[[1L]]), c("read", "3 yes TRUE "))
  expect_identical(log_of(ids[[2L]]), "7 no FALSE ")
})

test_that("the R that runs a program may be one that the image's PATH does not have", {
  folder <- normalizePath(withr::local_tempdir("r-"))
  # As an entry point that sets what R needs.
  writeLines(c("#!/bin/sh", "export PATH=/usr/bin:/bin WHICH=mine", "exec R \"$@\""), file.path(folder, "R"))
  Sys.chmod(file.path(folder, "R"), "0755")
  path <- local_program("cat(Sys.getenv('WHICH'), commandArgs(TRUE), '\\n')")
  start <- function(r_command, ...) {
    submit(path, mounts = host_path(folder, "/opt/R/4.2.1/bin"), arguments = "x", r_command = r_command, ...)
  }
  without_r <- c(PATH = "/opt")
  ids <- c(
    path = start("/opt/R/4.2.1/bin/R", environment = without_r),
    name = start("R", environment = c(PATH = "/opt/R/4.2.1/bin:/usr/bin:/bin")),
    own = start("/usr/lib/R/bin/R"),
    none = start(NULL, environment = without_r),
    folder = start("/opt/R/4.2.1")
  )
  wait_for_end(ids)
  logs <- lapply(ids, log_of)
  expect_identical(logs[c("path", "name", "own")], list(path = "mine x ", name = "mine x ", own = " x "))
  expect_match(logs$none[[1L]], "no \"R\" on its PATH; its entry point is not run", fixed = TRUE)
  expect_match(logs$none, "r_command = \"/opt/R/4.2.1/bin/R\"", fixed = TRUE, all = FALSE)
  expect_match(logs$folder[[1L]], "no program \"/opt/R/4.2.1\"", fixed = TRUE)
  expect_match(abba_explain_k8s_job_local(ids[["none"]])$advice, "`r_command`", fixed = TRUE)
})

test_that("a program is on its own: no token, no privileges, no second attempt, not process 1, a folder to write to", {
  id <- submit(local_program(c(
    "cat(file.exists('/var/run/secrets/kubernetes.io'), '\\n', sep = '')",
    "status <- readLines('/proc/self/status')",
    "writeLines(gsub('\\t', ' ', grep('^(NoNewPrivs|Seccomp):', status, value = TRUE)))",
    "cat(Sys.getpid() == 1L, '\\n', sep = '')",
    "print(list.files(all.files = TRUE, no.. = TRUE))", "writeLines('1', 'x'); print(readLines('x'))"
  )))
  wait_for_end(id)
  expect_identical(
    log_of(id), c("FALSE", "NoNewPrivs: 1", "Seccomp: 2", "FALSE", "character(0)", "[1] \"1\"")
  )
  expect_identical(field("job", id, ".spec.backoffLimit"), "0")
  expect_gte(as.numeric(field("job", id, ".spec.ttlSecondsAfterFinished")), 86400)
})

test_that("a program runs under a read-only root, as a user whom the image does not know, without LANG and TZ", {
  id <- submit(local_program(c(
    "text <- '\u00e9t\u00e9 \u2265'",
    "cat(text, nchar(text), Sys.getenv(c('LANG', 'TZ', 'HOME')), dirname(tempdir()), '\\n')",
    "writeLines('1', '~/x'); invisible(Sys.timezone())",
    "cat(basename(sub('^--file=', '', grep('^--file=', commandArgs(), value = TRUE))), '\\n', sep = '')"
  ), "finds_itself.R"))
  wait_for_end(id)
  # What a policy of the cluster, and an image without the two variables, make of the job's pod.
  pod <- jsonlite::fromJSON(
    paste(kubectl_lines("get", "pod", pods_of(id), "--output", "json"), collapse = "\n"), simplifyVector = FALSE
  )
  container <- pod$spec$containers[[1L]]
  container$securityContext <- list(
    readOnlyRootFilesystem = TRUE, runAsUser = 54321L, runAsGroup = 54321L, allowPrivilegeEscalation = FALSE
  )
  container$env <- c(container$env, list(list(name = "LANG", value = ""), list(name = "TZ", value = "")))
  changed <- list(
    apiVersion = "v1", kind = "Pod",
    metadata = list(name = "changed", annotations = pod$metadata$annotations),
    spec = list(restartPolicy = "Never", containers = list(container), volumes = pod$spec$volumes)
  )
  path <- withr::local_tempfile(fileext = ".json")
  writeLines(jsonlite::toJSON(changed, auto_unbox = TRUE), path)
  kubectl_lines("create", "--filename", path)
  kubectl_lines("wait", "pod/changed", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
  log <- kubectl_lines("logs", "changed")
  expect_identical(log[[1L]], paste("abba: begin of the log of", id))
  expect_match(log[[2L]], "^\u00e9t\u00e9 \u2265 5 C.UTF-8 [A-Za-z/]+ /abba/work /abba/tmp $")
  expect_identical(log[-(1:2)], c("finds_itself.R", paste("abba: end of the log of", id)))
  # R's note for the record does not need more.
  note <- field("pod", "changed", ".status.containerStatuses[0].state.terminated.message")
  expect_identical(note[c(1L, length(note))], c("abba-session 1", "end"))
})
