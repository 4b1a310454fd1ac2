# --- What is returned and said ----------------------------------------------

test_on_both_roads("a submission gives back the job's id and its batch id, and nothing else", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  submitted <- suppressMessages(submit())
  sent <- kubectl$manifest()
  expect_identical(submitted, list(
    job_id = sent$metadata$name,
    batch_id = sent$metadata$labels[["abba/batch-id"]]
  ))
  expect_match(submitted$job_id, paste0("^test-program-", uuid, "$"))
  expect_match(submitted$batch_id, paste0("^test_program-", uuid, "$"))
})

test_on_both_roads("a submission says in one message that the job was created", {
  local_program()
  local_scripted_kubectl(creates())
  said <- list()
  submitted <- withCallingHandlers(submit(), message = function(cnd) {
    said[[length(said) + 1L]] <<- cnd
    invokeRestart("muffleMessage")
  })
  expect_length(said, 1L)
  expect_identical(
    conditionMessage(said[[1]]),
    paste0("job.batch/", submitted$job_id, " created\n")
  )
  expect_silent(suppressMessages(submit()))
})

test_on_both_roads("a warning comes when all is told of the job: who leaves the call by it knows of the job", {
  local_program()
  local_scripted_kubectl(warns_of_job())
  said <- function(expr) utils::capture.output(force(expr), type = "message")
  told <- said(warning <- tryCatch(submit(), warning = identity))
  expect_identical(told, paste0("job.batch/", warning$job_id, " created"))
  told <- said(error <- raised(withr::with_options(list(warn = 2L), submit())))
  expect_match(told, paste0("^job.batch/test-program-", uuid, " created$"))
  expect_match(conditionMessage(error), "runAsNonRoot", fixed = TRUE)
})

test_on_both_roads("at an interactive console a server's page is named, where it shows the job or the batch", {
  local_program()
  local_scripted_kubectl(creates())
  rlang::local_interactive(TRUE)
  withr::local_options(cli.dynamic = TRUE, cli.num_colors = 1L, cli.hyperlink = FALSE)
  see <- function(view, id) if (!by_kubectl()) paste0("See it at <http://127.0.0.1:8000/#", view, "=", id, ">")
  said <- utils::capture.output(submitted <- submit(), type = "message")
  expect_identical(said[-1L], as.character(see("job", submitted$job_id)))
  said <- utils::capture.output(
    invisible(submit_batch("test_program.R", batch_group_id = "Study_1.tables")),
    type = "message"
  )
  expect_identical(said[-1L], as.character(see("batch", "Study_1.tables")))
})

test_that("the vignette's submission prints as in the vignette", {
  local_program(name = "test_program.R")
  local_scripted_kubectl(creates())
  expect_words(abba_submit_k8s_job_local(
    "test_program.R",
    container = "registry.example.com/openval_4.2.1_focal:2023.09.0.02",
    namespace = "n"
  ))
})

test_that("a submission is one call of kubectl, which creates a Job", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  suppressMessages(submit(namespace = "team-1"))
  calls <- kubectl$calls()
  expect_length(calls, 1L)
  expect_identical(calls[[1]][-5], c(
    "create", "--raw", "/apis/batch/v1/namespaces/team-1/jobs?fieldValidation=Strict", "-f"
  ))
  expect_length(calls[[1]], 5L)
  expect_identical(kubectl$manifest()[c("apiVersion", "kind")], list(apiVersion = "batch/v1", kind = "Job"))
})

test_on_both_roads("every submission is a job of its own", {
  local_program()
  local_scripted_kubectl(creates())
  one <- suppressMessages(submit())
  two <- suppressMessages(submit())
  expect_false(one$job_id == two$job_id)
  expect_false(one$batch_id == two$batch_id)
})

test_on_both_roads("a submission leaves R's random numbers as they are", {
  local_program()
  local_scripted_kubectl(creates())
  withr::local_seed(1)
  expected <- stats::runif(1)
  set.seed(1)
  suppressMessages(submit())
  expect_identical(stats::runif(1), expected)
})

# --- What is sent -----------------------------------------------------------

sent_by <- function(..., env = parent.frame()) {
  kubectl <- local_scripted_kubectl(creates(), env = env)
  suppressMessages(submit(...))
  kubectl$manifest()
}
pod_of <- function(manifest) manifest$spec$template
container_of <- function(manifest) {
  containers <- pod_of(manifest)$spec$containers
  expect_length(containers, 1L)
  containers[[1]]
}
environment_of <- function(manifest) {
  env <- container_of(manifest)$env
  stats::setNames(lapply(env, `[[`, "value"), vapply(env, `[[`, "", "name"))
}
carried_text <- function(manifest) pod_of(manifest)$metadata$annotations[["abba/program-text"]]
carried_bytes <- function(manifest) {
  jsonlite::base64_dec(pod_of(manifest)$metadata$annotations[["abba/program-base64"]])
}

test_that("the job runs once, is kept for a week, and gets no rights in the cluster", {
  local_program()
  sent <- sent_by()
  expect_identical(sent$spec$backoffLimit, 0L)
  expect_identical(sent$spec$ttlSecondsAfterFinished, 604800L)
  expect_null(sent$spec$activeDeadlineSeconds)
  spec <- pod_of(sent)$spec
  expect_identical(spec$restartPolicy, "Never")
  expect_identical(spec$automountServiceAccountToken, FALSE)
  expect_identical(spec$enableServiceLinks, FALSE)
  expect_identical(spec$shareProcessNamespace, TRUE)
  expect_identical(spec$securityContext, list(seccompProfile = list(type = "RuntimeDefault")))
  container <- container_of(sent)
  expect_identical(container$name, "program")
  expect_identical(container$image, image)
  expect_identical(container$securityContext, list(allowPrivilegeEscalation = FALSE))
  expect_null(container$imagePullPolicy)
})

test_on_both_roads("for how many days a job is kept is said by an argument or an option, on a server by the latter", {
  local_program()
  kept <- function(...) sent_by(...)$spec$ttlSecondsAfterFinished
  expect_identical(kept(), 604800L)
  withr::local_options(abba.k8s.keep.days = 0.5)
  if (!by_kubectl()) abba:::api_open()
  expect_identical(kept(), 43200L)
  if (by_kubectl()) {
    expect_identical(kept(keep_days = 30), 2592000L)
    expect_identical(kept(keep_days = NULL), 604800L)
    for (bad in list(0, -1, 0.04, 1e5)) {
      expect_error(submit(keep_days = bad), "`keep_days` must be a number of days", class = "abba_error_input")
    }
    expect_error(submit(keep_days = "7"), "`keep_days` must be a single number", class = "abba_error_input")
  } else {
    expect_error(submit(keep_days = 30), "unused argument", fixed = TRUE)
  }
})

test_on_both_roads("a limit of disk holds for the program and for the volumes that abba adds", {
  local_program()
  sent <- sent_by(disk_limit = "2G")
  expect_identical(container_of(sent)$resources$limits, list(cpu = "1", `ephemeral-storage` = "2G", memory = "512M"))
  expect_identical(container_of(sent)$resources$requests, list(`ephemeral-storage` = "0"))
  sizes <- unlist(lapply(pod_of(sent)$spec$volumes, function(volume) volume$emptyDir$sizeLimit))
  expect_identical(sizes, c("2G", "2G"))
  expect_null(container_of(sent_by())$resources$limits[["ephemeral-storage"]])
  expect_identical(container_of(sent_by(disk_limit = 2^30))$resources$limits[["ephemeral-storage"]], "1073741824")
  for (bad in list("lots", "512m", 2, "-1G", 0)) {
    expect_error(submit(disk_limit = bad), "`disk_limit` must", class = "abba_error_input")
  }
  expect_error(submit(disk_limit = TRUE), "`disk_limit` must", class = "abba_error_input")
})

test_that("job and pod carry the labels by which they are found", {
  local_program(name = "My Program.R")
  sent <- sent_by("My Program.R", user_tag = "Study 1/2")
  labels <- sent$metadata$labels
  expect_identical(labels[["app.kubernetes.io/managed-by"]], "abba")
  expect_identical(labels[["abba/job-id"]], sent$metadata$name)
  expect_identical(labels[["abba/program"]], "My-Program.R")
  expect_identical(labels[["abba/user"]], Sys.info()[["effective_user"]])
  expect_identical(labels[["abba/user-tag"]], "Study-1-2")
  expect_true(all(is_label_value(unlist(labels))))
  # The pod has one more, which keeps a service mesh from putting a container beside the program.
  expect_identical(pod_of(sent)$metadata$labels, c(labels, list("sidecar.istio.io/inject" = "false")))
})

test_on_both_roads("job and pod carry the path as it was given and the program's SHA-256", {
  local_program("abc")
  sent <- sent_by("./test_program.R")
  for (annotations in list(sent$metadata$annotations, pod_of(sent)$metadata$annotations)) {
    expect_identical(annotations[["abba/program-path"]], "./test_program.R")
    expect_identical(
      annotations[["abba/program-sha256"]],
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
  }
})

test_on_both_roads("the program's text travels word for word", {
  for (text in c(
    "print(2 + 2)\n", "no_final_newline()", "a\r\nb\r\n", "\n\n1",
    "x <- \"\u65e5\u672c\u8a9e \U1F600 \\u00e9 %s $(HOME) ${HOME} `id` {{x}}\"\n", "\u001b[31m\t\a\n"
  )) {
    local_program(text)
    sent <- sent_by()
    expect_identical(carried_text(sent), text)
    # The pod alone carries it: it counts against the limit of an object.
    expect_null(sent$metadata$annotations[["abba/program-text"]])
  }
})

test_on_both_roads("bytes that are no text travel byte for byte", {
  for (bytes in list(
    as.raw(c(0x22, 0xe9, 0x22, 0x0a)), as.raw(c(0x31, 0xff, 0x32)), as.raw(1:255)
  )) {
    local_program(bytes)
    sent <- sent_by()
    expect_identical(carried_bytes(sent), bytes)
    expect_null(carried_text(sent))
  }
})

test_on_both_roads("a program of 200 KiB is sent", {
  text <- strrep("# 0123456789abcdef 0123456789ab\n", 200 * 1024 / 32)
  local_program(text)
  expect_identical(carried_text(sent_by()), text)
})

test_on_both_roads("a program of 300 KiB is refused before kubectl starts, with the way out", {
  kubectl <- local_scripted_kubectl(creates())
  local_program(strrep("0123456789abcde\n", 300 * 1024 / 16))
  expect_s3_class(raised(submit()), "abba_error_input")
  expect_words(submit(), error = TRUE)
  local_program(rep(as.raw(0xe9), 200 * 1024))
  expect_words(submit(), error = TRUE)
  expect_identical(kubectl$count(), 0L)
})

test_on_both_roads("a program of any size runs where it is when a mount holds it", {
  local_program(strrep("0123456789abcde\n", 300 * 1024 / 16))
  folder <- normalizePath(getwd())
  sent <- sent_by(mounts = list(
    volumes = list(list(name = "studies", nfs = list(server = "192.0.2.1", path = "/studies"))),
    volumeMounts = list(list(name = "studies", mountPath = folder))
  ))
  expect_null(carried_text(sent))
  command <- unlist(container_of(sent)$command)
  expect_true(folder %in% command)
  expect_true(paste0("--file=", file.path(folder, "test_program.R")) %in% command)
  # Nothing is carried: abba's own volumes are empty folders.
  own <- Filter(function(volume) startsWith(volume$name, "abba-"), pod_of(sent)$spec$volumes)
  expect_identical(unique(lapply(own, function(volume) setdiff(names(volume), "name"))), list("emptyDir"))
})

test_on_both_roads("a document is made where a mount holds it, and refused elsewhere", {
  storage <- function(folder, ...) {
    list(
      volumes = list(list(name = "studies", nfs = list(server = "192.0.2.1", path = "/studies"))),
      volumeMounts = list(list(name = "studies", mountPath = folder, ...))
    )
  }
  for (name in c("report.Rmd", "report.qmd")) {
    local_program("---\ntitle: T\n---\n", name)
    folder <- normalizePath(getwd())
    sent <- sent_by(name, mounts = storage(folder))
    expect_null(carried_text(sent))
    command <- unlist(container_of(sent)$command)
    expect_true(all(c(folder, file.path(folder, name)) %in% command))
    expect_false(any(startsWith(command, "--file=")))
    made_by <- if (name == "report.Rmd") "rmarkdown::render" else "quarto render"
    expect_true(any(grepl(made_by, command, fixed = TRUE)))
    for (mounts in list("", storage("/elsewhere"), storage(folder, readOnly = TRUE))) {
      kubectl <- local_scripted_kubectl()
      error <- raised(submit(name, mounts = mounts))
      expect_s3_class(error, "abba_error_input")
      expect_match(conditionMessage(error), "no mount holds|read-only")
      expect_match(conditionMessage(error), "`mounts`", fixed = TRUE)
      expect_identical(kubectl$count(), 0L)
    }
  }
  error <- raised(submit(name, mounts = storage(folder), arguments = "a"))
  expect_match(conditionMessage(error), "`environment`", fixed = TRUE)
})

test_on_both_roads("the limits are sent in Kubernetes' notation, and the program is told its cores", {
  local_program()
  for (case in list(
    list(1L, "1", "1"), list(1, "1", "1"), list(2, "2", "2"), list(0.5, "500m", "1"),
    list("500m", "500m", "1"), list("2500m", "2500m", "2"), list(0.1 + 0.2, "300m", "1"),
    list(0.001, "1m", "1"), list("16", "16", "16"), list(100000, "100000", "100000")
  )) {
    sent <- sent_by(cpu_limit = case[[1]])
    limits <- container_of(sent)$resources
    expect_identical(limits, list(limits = list(cpu = case[[2]], memory = "512M")))
    variables <- environment_of(sent)
    for (name in c("MC_CORES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")) {
      expect_identical(variables[[name]], case[[3]])
    }
  }
  for (case in list(
    list("512M", "512M"), list("1Gi", "1Gi"), list("1.5G", "1.5G"), list(1e9, "1000000000"),
    list(123456789L, "123456789"), list("128e6", "128e6")
  )) {
    sent <- sent_by(memory_limit = case[[1]])
    expect_identical(container_of(sent)$resources$limits$memory, case[[2]])
  }
})

test_on_both_roads("the program finds its ids in its environment", {
  local_program()
  sent <- sent_by(batch_group_id = "Study_1.batch-2")
  variables <- environment_of(sent)
  expect_identical(variables$ABBA_JOB_ID, sent$metadata$name)
  expect_identical(variables$ABBA_BATCH_ID, "Study_1.batch-2")
})

test_on_both_roads("a batch id of the user's own is used as it is", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  submitted <- suppressMessages(submit(batch_group_id = "Study_1.batch-2"))
  expect_identical(submitted$batch_id, "Study_1.batch-2")
  expect_identical(kubectl$manifest()$metadata$labels[["abba/batch-id"]], "Study_1.batch-2")
  expect_true(is_job_name(submitted$job_id))
})

test_on_both_roads("a user's tag is kept word for word", {
  local_program()
  for (tag in c("a", "Study 1/2: \"final\" 100%", "\u00e9tude \u65e5", strrep("x", 1000), "$(HOME)")) {
    sent <- sent_by(user_tag = tag)
    expect_identical(sent$metadata$annotations[["abba/user-tag"]], tag)
    expect_true(is_label_value(sent$metadata$labels[["abba/user-tag"]]))
  }
  sent <- sent_by(user_tag = "")
  expect_null(sent$metadata$annotations[["abba/user-tag"]])
  expect_null(sent$metadata$labels[["abba/user-tag"]])
})

test_on_both_roads("a time limit is put on the pod, whose log is kept then", {
  local_program()
  sent <- sent_by(time_limit_seconds = 3600)
  expect_identical(pod_of(sent)$spec$activeDeadlineSeconds, 3600L)
  expect_null(sent$spec$activeDeadlineSeconds)
  expect_null(pod_of(sent_by(time_limit_seconds = NULL))$spec$activeDeadlineSeconds)
})

test_on_both_roads("the program's own arguments are sent letter for letter, and none where there are none", {
  local_program()
  after_file <- function(...) {
    command <- unlist(container_of(sent_by(...))$command)
    command[seq_along(command) > grep("^--file=", command)]
  }
  given <- c(first = "", " a  b ", "--args", "-e", "--version", "\u00e9\u65e5", "'\"`\\\n;*", "NA")
  expect_identical(after_file(arguments = given), c("--args", unname(given)))
  # Kubernetes makes one dollar sign of two.
  expect_identical(after_file(arguments = "$(HOME)"), c("--args", "$$(HOME)"))
  expect_identical(after_file(arguments = I("one")), c("--args", "one"))
  latin <- "caf\xe9"
  Encoding(latin) <- "latin1"
  expect_identical(after_file(arguments = latin), c("--args", "caf\u00e9"))
  expect_identical(after_file(), character())
  expect_identical(after_file(arguments = character()), character())
  expect_identical(after_file(arguments = NULL), character())
})

test_on_both_roads("the program's environment is sent letter for letter, and wins over what abba sets", {
  local_program()
  variables <- function(...) {
    env <- container_of(sent_by(...))$env
    stats::setNames(lapply(env, `[[`, "value"), vapply(env, `[[`, "", "name"))
  }
  sent <- variables(environment = c(A = " a 'b\"\n", `_b1` = "\u00e9", EMPTY = "", MC_CORES = "7", C = "$(A)"))
  expect_identical(anyDuplicated(names(sent)), 0L)
  expect_identical(sent[c("A", "_b1", "EMPTY", "MC_CORES", "C")], list(
    A = " a 'b\"\n", `_b1` = "\u00e9", EMPTY = "", MC_CORES = "7", C = "$$(A)"
  ))
  expect_identical(variables(environment = c(A = "x"))$A, "x")
  for (none in list(NULL, character())) {
    expect_identical(variables(environment = none)$MC_CORES, "1")
  }
})

test_on_both_roads("vanilla leaves out start-up files and the personal library, unless the user names that", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  start <- function(...) {
    suppressMessages(submit(...))
    sent <- kubectl$manifest(length(kubectl$requests()))
    list(
      options = utils::tail(unlist(container_of(sent)$command), 4L)[2:3],
      library = environment_of(sent)$R_LIBS_USER, kept = sent$metadata$annotations[["abba/arguments"]]
    )
  }
  usual <- start()
  expect_identical(usual$options, c("--no-save", "--no-restore"))
  expect_null(usual$library)
  expect_no_match(usual$kept, "vanilla")
  expect_identical(start(vanilla = FALSE)[1:2], usual[1:2])
  vanilla <- start(vanilla = TRUE)
  expect_identical(vanilla$options, c("-s", "--vanilla"))
  expect_identical(vanilla$library, "/dev/null")
  expect_match(vanilla$kept, "\"vanilla\":true", fixed = TRUE)
  expect_identical(start(vanilla = TRUE, environment = c(R_LIBS_USER = "/lib"))$library, "/lib")
  for (bad in list(NA, "yes", NULL, c(TRUE, TRUE), 1)) {
    expect_error(submit(vanilla = bad), "`vanilla` must be TRUE or FALSE", class = "abba_error_input")
  }
})

test_that("a job for a queue is made suspended, so that it never starts past it", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  made <- function(...) {
    suppressMessages(submit(...))
    sent <- kubectl$manifest(length(kubectl$requests()))
    list(suspend = sent$spec$suspend, queue = sent$metadata$labels[["kueue.x-k8s.io/queue-name"]])
  }
  expect_identical(made(), list(suspend = NULL, queue = NULL))
  expect_identical(made(queue = "team-a"), list(suspend = TRUE, queue = "team-a"))
  withr::local_options(abba.k8s.queue = "night")
  expect_identical(made()$queue, "night")
  expect_identical(made(queue = NULL), list(suspend = NULL, queue = NULL))
  before <- length(kubectl$requests())
  for (bad in list("", NA_character_, 1, c("a", "b"), "Team", "a_b", "-a", "a/b", strrep("a", 64))) {
    expect_error(submit(queue = bad), "`queue` must", class = "abba_error_input")
  }
  expect_length(kubectl$requests(), before)
})

test_on_both_roads("the R that is started is the user's or the option's, and an argument of the script", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  started <- function(...) {
    suppressMessages(submit(...))
    command <- unlist(container_of(kubectl$manifest(length(kubectl$requests())))$command)
    command[[match("-s", command) - 1L]]
  }
  expect_identical(started(), "R")
  expect_identical(started(r_command = "/opt/R/4.2.1/bin/R"), "/opt/R/4.2.1/bin/R")
  withr::local_options(abba.r.command = "R-4.2")
  expect_identical(started(), "R-4.2")
  expect_identical(started(r_command = NULL), "R")
  before <- length(kubectl$requests())
  for (bad in list(
    "", NA_character_, 1, c("R", "R"), "R --vanilla", "-R", "bin/R", "~/R", "/opt/my R/bin/R", "/opt/R/"
  )) {
    expect_error(submit(r_command = bad), "`r_command` must", class = "abba_error_input")
  }
  expect_error(submit(r_command = "/opt/R/bin/Rscript"), "Rscript takes other options", class = "abba_error_input")
  expect_length(kubectl$requests(), before)
})

test_that("the Job template is the user's or the option's, a list or a file, and in the job that is sent", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  sent <- function(...) {
    suppressMessages(submit(...))
    kubectl$manifest(length(kubectl$requests()))
  }
  priority <- function(job) job$spec$template$spec$priorityClassName
  template <- function(priority) {
    list(
      metadata = list(labels = list(cost = "42")),
      spec = list(template = list(spec = list(
        priorityClassName = priority, hostname = NULL,
        containers = list(list(name = "program", env = list(
          list(name = "A", value = "template's"), list(name = "B", value = "template's")
        )))
      )))
    )
  }
  expect_null(priority(sent()))
  job <- sent(job_template = template("low"), environment = c(A = "user's"))
  expect_identical(priority(job), "low")
  expect_identical(job$metadata$labels$cost, "42")
  expect_identical(job$metadata$labels[["app.kubernetes.io/managed-by"]], "abba")
  variables <- container_of(job)$env
  names(variables) <- vapply(variables, `[[`, "", "name")
  expect_identical(variables$A$value, "user's")
  expect_identical(variables$B$value, "template's")
  writeLines(jsonlite::toJSON(template("file"), auto_unbox = TRUE, null = "null"), "job.json")
  expect_identical(priority(sent(job_template = "job.json")), "file")
  withr::local_options(abba.k8s.job.template = "job.json")
  job <- sent()
  expect_identical(priority(job), "file")
  kept <- jsonlite::parse_json(job$metadata$annotations[["abba/arguments"]])
  expect_identical(kept$job_template$spec$template$spec$priorityClassName, "file")
  expect_null(priority(sent(job_template = NULL)))
  before <- length(kubectl$requests())
  for (bad in list(
    "gpu", "no-such.yaml", 1, NA_character_, c("a.json", "b.json"), list(1),
    list(spec = list(template = list(spec = list(restartPolicy = "Never"))))
  )) {
    expect_error(submit(job_template = bad), "`job_template`", class = "abba_error_input")
  }
  expect_length(kubectl$requests(), before)
})

# --- Mounts -----------------------------------------------------------------

test_that("mounts are passed on as they were given", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  volumes <- list(
    list(name = "studies", nfs = list(server = "192.0.2.1", path = "/studies", readOnly = TRUE)),
    list(name = "settings", configMap = list(
      name = "c", defaultMode = 420, optional = FALSE,
      items = list(list(key = "k", path = "p", mode = 256L))
    )),
    list(name = "scratch", ephemeral = list(volumeClaimTemplate = list(spec = list(
      accessModes = I("ReadWriteOnce"), resources = list(requests = c(storage = "1Gi"))
    )))),
    list(name = "secret", secret = NULL, emptyDir = list(medium = NULL, sizeLimit = "1Gi"))
  )
  mounts <- list(
    list(name = "studies", mountPath = "/studies", readOnly = TRUE, subPath = NULL),
    list(name = "secret", mountPath = "/\u00e9/a b")
  )
  suppressMessages(submit(mounts = list(volumes = volumes, volumeMounts = mounts)))
  sent <- pod_of(kubectl$manifest())$spec
  expect_identical(sent$volumes[1:4], list(
    list(name = "studies", nfs = list(server = "192.0.2.1", path = "/studies", readOnly = TRUE)),
    list(name = "settings", configMap = list(
      name = "c", defaultMode = 420L, optional = FALSE,
      items = list(list(key = "k", path = "p", mode = 256L))
    )),
    list(name = "scratch", ephemeral = list(volumeClaimTemplate = list(spec = list(
      accessModes = list("ReadWriteOnce"), resources = list(requests = list(storage = "1Gi"))
    )))),
    list(name = "secret", emptyDir = list(sizeLimit = "1Gi"))
  ))
  expect_identical(sent$containers[[1]]$volumeMounts[1:2], list(
    list(name = "studies", mountPath = "/studies", readOnly = TRUE),
    list(name = "secret", mountPath = "/\u00e9/a b")
  ))
})

test_that("an empty list in a volume is an empty object, as Kubernetes wants it", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  suppressMessages(submit(mounts = list(
    volumes = list(list(name = "scratch", emptyDir = list())),
    volumeMounts = list(list(name = "scratch", mountPath = "/scratch"))
  )))
  expect_match(kubectl$manifest_text(), "{\"name\":\"scratch\",\"emptyDir\":{}}", fixed = TRUE)
})

test_that("no mounts can be said in several ways", {
  local_program()
  expected <- pod_of(sent_by())$spec$volumes
  for (none in list("", NULL, list(), list(volumes = list(), volumeMounts = list()), list(volumes = NULL))) {
    expect_identical(pod_of(sent_by(mounts = none))$spec$volumes, expected)
  }
})

# --- Users ------------------------------------------------------------------

# What this machine says of an account.
account <- function(name) {
  number <- function(flag) {
    as.integer(strsplit(system2("id", c(flag, name), stdout = TRUE), " ")[[1]])
  }
  list(
    uid = number("-u"), gid = number("-g"), groups = number("-G"),
    home = system2("sh", c("-c", shQuote(paste0("echo ~", name))), stdout = TRUE)
  )
}

test_that("a user name is sent as the user's numbers and groups", {
  local_program()
  for (name in unique(c("nobody", "root", Sys.info()[["effective_user"]]))) {
    expected <- account(name)
    sent <- sent_by(username = name)
    context <- pod_of(sent)$spec$securityContext
    expect_identical(context$runAsUser, expected$uid)
    expect_identical(context$runAsGroup, expected$gid)
    expect_setequal(
      as.integer(unlist(context$supplementalGroups)),
      setdiff(expected$groups, expected$gid)
    )
    capabilities <- container_of(sent)$securityContext$capabilities
    if (expected$uid == 0L) {
      expect_null(context$runAsNonRoot)
    } else {
      expect_true(context$runAsNonRoot)
      expect_identical(capabilities, list(drop = list("ALL")))
    }
    variables <- environment_of(sent)
    expect_identical(variables$USER, name)
    expect_identical(variables$LOGNAME, name)
    expect_identical(sent$metadata$labels[["abba/user"]], name)
  }
})

test_that("the home folder is mounted from its server under its own path", {
  local_program()
  for (name in list("nobody", NULL)) {
    home <- account(if (is.null(name)) Sys.info()[["effective_user"]] else name)$home
    sent <- sent_by(
      auto_mount_home = TRUE, home_nfs_ip_address = "192.0.2.7", username = name,
      mounts = list(
        volumes = list(list(name = "data", nfs = list(server = "192.0.2.1", path = "/d"))),
        volumeMounts = list(list(name = "data", mountPath = "/d"))
      )
    )
    volumes <- pod_of(sent)$spec$volumes
    mounts <- container_of(sent)$volumeMounts
    is_home <- vapply(volumes, function(volume) identical(volume$nfs$server, "192.0.2.7"), NA)
    expect_identical(sum(is_home), 1L)
    expect_identical(volumes[is_home][[1]]$nfs$path, home)
    at_home <- Filter(function(mount) mount$name == volumes[is_home][[1]]$name, mounts)
    expect_identical(at_home[[1]]$mountPath, home)
    expect_identical(environment_of(sent)$HOME, home)
    expect_identical(volumes[[1]]$name, "data")
  }
})

test_that("the server of the home folders can be an option", {
  local_program()
  withr::local_options(abba.home.nfs.ip.address = "192.0.2.8")
  kubectl <- local_scripted_kubectl(creates())
  suppressMessages(submit(auto_mount_home = TRUE))
  expect_match(kubectl$manifest_text(), "192.0.2.8", fixed = TRUE)
  suppressMessages(submit(auto_mount_home = FALSE))
  expect_no_match(kubectl$manifest_text(2L), "192.0.2.8", fixed = TRUE)
})

test_that("the container can be an option", {
  local_program()
  withr::local_options(abba.default.container = "registry.example.com/r:1", abba.k8s.namespace = "n")
  kubectl <- local_scripted_kubectl(creates())
  suppressMessages(abba_submit_k8s_job_local("test_program.R"))
  expect_identical(container_of(kubectl$manifest())$image, "registry.example.com/r:1")
})

# --- File names -------------------------------------------------------------

file_names <- c(
  "a b.R", "MiXeD.R", "\u65e5\u672c\u8a9e.R", "\u00e9t\u00e9 \U1F600.R", "100%.R", "%s%n.R", "q'\"`.R",
  "$(touch x).R", "$HOME.R", "$(ABBA_JOB_ID).R", "; touch x .R", "-x.R", "--help", "_.R", "...R", ".r",
  "a..b.r", "..a.R", "report[1].R", "a*.R", "a?.R", "back\\slash.R", "no_extension", "{x}.R", "a~+~b.R",
  "tab\there.R", "new\nline.R", "#!.R", "~.R", paste0(strrep("long_Name.", 19), "x.R"), strrep("x", 200)
)

test_that("whatever its file is called, a program is sent under legal names and its own", {
  for (name in file_names) {
    local_program(name = name)
    kubectl <- local_scripted_kubectl(creates())
    submitted <- suppressMessages(submit(name))
    sent <- kubectl$manifest()
    expect_true(is_job_name(submitted$job_id), info = name)
    expect_match(submitted$job_id, paste0("-", uuid, "$"), info = name)
    expect_true(is_label_value(submitted$batch_id), info = name)
    expect_match(submitted$batch_id, paste0("-", uuid, "$"), info = name)
    expect_true(all(is_label_value(unlist(sent$metadata$labels))), info = name)
    expect_identical(sent$metadata$annotations[["abba/program-path"]], name)
    # Nothing was run on the way: the folder holds the program alone.
    expect_identical(list.files(all.files = TRUE, no.. = TRUE), name)
  }
})

test_that("job ids begin with the file's name as far as it is legal", {
  slugs <- c(
    "test_program.R" = "test-program", "My Program (v2).R" = "my-program-v2",
    "\u65e5\u672c\u8a9e.R" = "job", ".r" = "job", "-x.R" = "x", "a..b.r" = "a-b",
    "$(touch x).R" = "touch-x", "a_very_long_name_that_goes_on.R" = "a-very-long-name-that-goes",
    "a_very_long_name_that_ends_x.R" = "a-very-long-name-that-ends"
  )
  for (name in names(slugs)) {
    local_program(name = name)
    local_scripted_kubectl(creates())
    submitted <- suppressMessages(submit(name))
    expect_match(submitted$job_id, paste0("^", slugs[[name]], "-", uuid, "$"))
  }
})

test_that("a file's name is an argument of the container's command, never part of its shell text", {
  for (name in file_names) {
    local_program(name = name)
    sent <- sent_by(name)
    command <- unlist(container_of(sent)$command)
    expect_identical(command[1:2], c("/bin/sh", "-c"))
    # The same text for every program of a kind: no name is in it.
    expect_no_match(command[[3]], name, fixed = TRUE)
    # Kubernetes replaces $(NAME) in a command; $$ stands for a dollar sign.
    as_argument <- paste0("/", gsub("$", "$$", name, fixed = TRUE))
    expect_true(any(endsWith(command[-(1:3)], as_argument)), info = name)
  }
})

test_that("the shell of the container reads the command as it is meant", {
  # The command runs here with an R that prints its arguments: in a mount, the
  # container sees the same path.
  tools <- withr::local_tempdir()
  writeLines(c("#!/bin/sh", "pwd", "printf '<%s>\\n' \"$@\"", "echo to stderr >&2"), file.path(tools, "R"))
  Sys.chmod(file.path(tools, "R"), "0755")
  withr::local_path(tools)
  # R's own launcher cannot take some names: a link stands for them, in a folder
  # that only the container has.
  plain <- grep("[\\]|~[+]~|[[:cntrl:]]", file_names, value = TRUE, invert = TRUE)
  for (name in plain) {
    local_program(name = name)
    folder <- normalizePath(getwd())
    sent <- sent_by(name, mounts = list(
      volumes = list(list(name = "d", hostPath = list(path = folder))),
      volumeMounts = list(list(name = "d", mountPath = folder))
    ))
    # As Kubernetes does it.
    command <- gsub("$$", "$", unlist(container_of(sent)$command), fixed = TRUE)
    ran <- processx::run(
      command[[1]], command[-1],
      env = c("current", ABBA_JOB_ID = "job-1"), error_on_status = FALSE
    )
    expect_identical(ran$status, 0L, info = name)
    expect_identical(ran$stderr, "", info = name)
    lines <- strsplit(ran$stdout, "\n")[[1]]
    expect_identical(lines, c(
      "abba: begin of the log of job-1", folder, "<-s>", "<--no-save>", "<--no-restore>",
      paste0("<--file=", file.path(folder, name), ">"), "to stderr", "abba: end of the log of job-1"
    ))
    expect_identical(list.files(all.files = TRUE, no.. = TRUE), name)
  }
})

# Runs the container's command of a program in a mount with the R of this machine, as Kubernetes does it.
# `places`: where paths of the container are here, by their names.
run_command <- function(lines, ..., env = character(), name = "test_program.R", places = character()) {
  local_program(lines, name = name)
  folder <- normalizePath(getwd())
  sent <- sent_by(name, ..., mounts = list(
    volumes = list(list(name = "d", hostPath = list(path = folder))),
    volumeMounts = list(list(name = "d", mountPath = folder))
  ))
  command <- gsub("$$", "$", unlist(container_of(sent)$command), fixed = TRUE)
  for (place in names(places)) command <- gsub(place, places[[place]], command, fixed = TRUE)
  # R CMD check puts a program R on the PATH that forbids its use.
  path <- paste0("PATH=", R.home("bin"), ":", Sys.getenv("PATH"))
  env <- c(path, "ABBA_JOB_ID=job-1", paste0("HOME=", folder), env)
  ran <- processx::run("env", c("-i", env, command), error_on_status = FALSE)
  # Without what says where the log begins and ends.
  printed <- sub("abba: end of the log of job-1\n$", "", sub("^.*?\n", "", ran$stdout, perl = TRUE))
  list(status = ran$status, lines = strsplit(printed, "\n")[[1L]])
}

test_that("a program finds itself as one that Rscript runs, and R prints its output alone", {
  finds <- "cat(basename(sub('^--file=', '', grep('^--file=', commandArgs(), value = TRUE))), '\\n', sep = '')"
  expect_identical(run_command(finds), list(status = 0L, lines = "test_program.R"))
  expect_identical(run_command(finds, name = "report[1].R")$lines, "report[1].R")
})

test_that("where the image sets neither, the program has a UTF-8 locale and a time zone; else the image's", {
  prints <- c(
    "cat(l10n_info()$`UTF-8`, nchar('\u00e9t\u00e9 \u2265'), Sys.getenv(c('LANG', 'TZ')), '\\n')",
    "invisible(Sys.timezone())"
  )
  ran <- run_command(prints)
  expect_length(ran$lines, 1L)
  expect_match(ran$lines, "^TRUE 5 C.UTF-8 ")
  expect_match(run_command(prints, env = c("LANG=C", "TZ=Asia/Tokyo"))$lines, "C Asia/Tokyo $")
  expect_match(run_command("cat(Sys.getenv('LANG'), '|\\n')", env = "LC_ALL=C")$lines, "^ [|]$")
})

test_that("of a locale or a time zone that the image does not have the log tells, and text stays whole", {
  prints <- "print('\u00e9t\u00e9'); cat(Sys.getenv('TZ'), '\\n')"
  for (variable in c("LANG", "LC_ALL", "LC_CTYPE")) {
    lines <- run_command(prints, env = c(paste0(variable, "=xx_XX.UTF-8"), "TZ=Asia/Tokyo"))$lines
    expect_identical(utils::tail(lines, 2L), c("[1] \"\u00e9t\u00e9\"", "Asia/Tokyo "), info = variable)
    # R's own words for those that are not of text.
    expect_identical(any(grepl("LC_COLLATE failed", lines)), variable != "LC_CTYPE", info = variable)
  }
  lines <- run_command(prints, env = c("LANG=C.UTF-8", "TZ=Xx/Yy"))$lines
  expect_identical(lines[[1L]], "Warning: The image has no time zone \"Xx/Yy\", and R takes UTC for it.")
  expect_identical(run_command(prints, env = c("LANG=C.UTF-8", "TZ=CET-1CEST"))$lines[[2L]], "CET-1CEST ")
})

test_that("an image in which R is not found says so in the log, and where R may be", {
  ran <- run_command("1", env = "PATH=/nowhere")
  expect_identical(ran$status, 127L)
  expect_match(ran$lines[[1L]], "The image has no \"R\" on its PATH; its entry point is not run.", fixed = TRUE)
})

test_that("R is started by its whole path wherever it is, and what is no program there is named", {
  folder <- normalizePath(withr::local_tempdir("r-"))
  there <- file.path(folder, "R")
  writeLines(c("#!/bin/sh", "FOUND=mine exec R \"$@\""), there)
  Sys.chmod(there, "0755")
  expect_identical(run_command("cat(Sys.getenv('FOUND'), '\\n')", r_command = there)$lines, "mine ")
  # A folder, a file that cannot be run, and nothing.
  writeLines("", file.path(folder, "text"))
  for (wrong in c(folder, file.path(folder, c("text", "none")))) {
    ran <- run_command("1", r_command = wrong)
    expect_identical(ran$status, 127L)
    expect_identical(ran$lines[[1L]], paste0("abba: The image has no program \"", wrong, "\"."))
    # Where this machine has R in one of the usual places.
    way_out <- "^abba: There is .*: submit the program with r_command = \"/.*/R\"[.]$"
    expect_identical(grep(way_out, ran$lines[-1L], invert = TRUE, value = TRUE), character())
  }
})

# The same in a container that has a termination message: what it has in the end is `note`. A program finds its path in
# the variable NOTE.
run_noting <- function(lines, ..., env = character(), has_message = TRUE) {
  folder <- withr::local_tempdir()
  file <- file.path(folder, "note")
  if (has_message) file.create(file)
  places <- c("/dev/termination-log" = file, "/abba/tmp" = folder)
  ran <- run_command(lines, ..., env = c(paste0("NOTE=", file), env), places = places)
  c(ran, list(note = if (has_message) readLines(file)))
}

test_that("at each of its ends R notes what it is, and the program sees and prints the same without that", {
  sees <- c(
    "print(list(search(), ls(all.names = TRUE), names(Sys.getenv()), basename(commandArgs()), loadedNamespaces()))",
    "print(list(names(options()), exists('.Random.seed'), sys.on.exit(), R.version$major))"
  )
  for (end in list(
    sees, "stop('bad')", "q(status = 3)", "quit(runLast = FALSE, status = 4)",
    "options(error = quote(q(status = 7))); stop(1)",
    c(".Last <- function() cat('last')", "rm(list = setdiff(ls(all.names = TRUE), '.Last'))", "invisible(gc())"),
    "paste <- c <- cat <- vapply <- function(...) stop('mine'); sink('/dev/null'); options(OutDec = ',', warn = 2)",
    # An R that the program forks, or starts, notes nothing.
    c(
      "ends <- parallel::mcparallel(q(status = 5))", "ends <- parallel::mccollect(ends)",
      "invisible(system2(file.path(R.home('bin'), 'R'), c('-s', '-e', '1'), stdout = TRUE))",
      "cat(isTRUE(file.size(Sys.getenv('NOTE')) > 0), '\\n')"
    )
  )) {
    for (vanilla in c(FALSE, identical(end, sees))) {
      noting <- run_noting(end, vanilla = vanilla)
      plain <- run_noting(end, vanilla = vanilla, has_message = FALSE)
      expect_identical(noting[c("status", "lines")], plain[c("status", "lines")], info = end)
      expect_identical(noting$note[c(1L, length(noting$note))], c("abba-session 1", "end"), info = end)
      expect_true(paste0("R=", R.version.string) %in% noting$note)
      expect_match(grep("^attached=", noting$note, value = TRUE), paste0(",base ", getRversion()), fixed = TRUE)
    }
  }
})

test_that("a note has the packages that the program used and its options, and fits into the message", {
  noted <- run_noting("loadNamespace('processx'); options(OutDec = ',', digits = 3)")$note
  loaded <- paste0("[=,]processx ", gsub(".", "[.]", packageVersion("processx"), fixed = TRUE), "(,|$)")
  expect_match(grep("^loaded=", noted, value = TRUE), loaded)
  expect_true(all(c("option.OutDec=,", "option.digits=3") %in% noted))
  noted <- run_noting(c(
    "unlockBinding('loadedNamespaces', baseenv())",
    "assign('loadedNamespaces', function() paste0('a.package.of.a.long.name.', 1:400), baseenv())",
    "options(contrasts = strrep('\u00e9', 3000))"
  ))$note
  expect_lt(sum(nchar(noted, "bytes") + 1L), 4096)
  expect_gt(sum(nchar(noted, "bytes") + 1L), 3900)
  expect_match(noted, "^[ -~]*$")
  expect_true("packages=407" %in% noted && "end" %in% noted)
})

test_that("a program, its submission or its image can switch the note off, and a killed R leaves none", {
  expect_identical(run_noting("options(abba.session.info = FALSE)")$note, c("abba-session 1", "off=option", "end"))
  off <- run_noting("cat(Sys.getenv('R_TESTS'))", env = "ABBA_SESSION_INFO=no")
  expect_identical(off$note, c("abba-session 1", "off=variable", "end"))
  expect_identical(off$lines, character())
  expect_identical(run_noting("tools::pskill(Sys.getpid(), 9)")$note, character())
  # A program's own words stay.
  expect_identical(run_noting("writeLines('mine', Sys.getenv('NOTE'))")$note, "mine")
  own <- withr::local_tempfile(lines = "cat('mine')")
  own <- run_noting("invisible()", env = paste0("R_TESTS=", own))
  expect_identical(own[c("lines", "note")], list(lines = "mine", note = character()))
  # Nothing is known of what is no R by its name.
  folder <- normalizePath(withr::local_tempdir("r-"))
  for (name in c("R", "R-4.2", "wrapper")) {
    writeLines(c("#!/bin/sh", "printf '%s\\n' \"$R_TESTS\""), file.path(folder, name))
    Sys.chmod(file.path(folder, name), "0755")
    tests <- run_noting("1", r_command = file.path(folder, name))$lines
    expect_identical(nzchar(tests), name != "wrapper", info = name)
  }
})

test_that("a name that only R's own launcher would change is reached by a link", {
  for (name in c("tab\there.R", "back\\slash.R", "a~+~b.R")) {
    local_program(name = name)
    command <- unlist(container_of(sent_by(name))$command)
    last <- command[[length(command)]]
    expect_match(last, "^--file=/[a-z/]+/program[.]R$")
  }
})

test_on_both_roads("a path may be given in many ways and is kept as given", {
  local_program()
  dir.create("sub")
  for (path in c(
    "test_program.R", "./test_program.R", "sub/../test_program.R", file.path(getwd(), "test_program.R"),
    paste0(getwd(), "//test_program.R")
  )) {
    sent <- sent_by(path)
    expect_identical(sent$metadata$annotations[["abba/program-path"]], path)
    expect_match(sent$metadata$name, "^test-program-")
  }
})

test_that("a tilde stands for the home folder, and the path is kept with it", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  ran <- run_r(
    "abba_submit_k8s_job_local('~/test_program.R', container = 'r', namespace = 'n')",
    HOME = getwd()
  )
  expect_identical(ran$exit_status, 0L, info = ran$stderr)
  expect_identical(kubectl$manifest()$metadata$annotations[["abba/program-path"]], "~/test_program.R")
})

test_on_both_roads("a path in another encoding is kept as the same text", {
  local_program(name = "caf\u00e9.R")
  path <- "caf\xe9.R"
  Encoding(path) <- "latin1"
  sent <- sent_by(path)
  expect_identical(sent$metadata$annotations[["abba/program-path"]], "caf\u00e9.R")
})

# --- Answers that are lost --------------------------------------------------

created_texts <- function(expr) {
  texts <- character()
  withCallingHandlers(expr, message = function(cnd) {
    texts <<- c(texts, conditionMessage(cnd))
    invokeRestart("muffleMessage")
  })
  texts
}

already_exists <- "Error from server (AlreadyExists): jobs.batch \"x\" already exists\n"

test_that("a create whose answer hangs is repeated, and the one job is found", {
  local_program()
  of_test <- rlang::current_env()
  kubectl <- NULL
  texts <- character()
  submitted <- NULL
  ask <- function() {
    kubectl <<- local_scripted_kubectl(
      hangs(on = "create *"),
      fails(already_exists, on = "create *"),
      runs("exec cat \"$base/calls/1.manifest\"", on = "get */jobs/*"),
      env = of_test
    )
    texts <<- created_texts(submitted <<- tryCatch(submit(), abba_error = function(cnd) NULL))
  }
  # A busy machine may need more than that for three calls.
  at_time_limit(ask, function() !is.null(submitted), 4)
  expect_identical(texts, paste0("job.batch/", submitted$job_id, " created\n"))
  expect_identical(sub(" .*", "", kubectl$requests()), c("create", "create", "get"))
  # Under the same name and the same mark, or there might be two.
  expect_identical(kubectl$manifest_text(1L), kubectl$manifest_text(2L))
  expect_identical(kubectl$manifest(1L)$metadata$name, submitted$job_id)
  expect_reaped(kubectl$pids())
})

test_that("a create whose answer is lost on the way is repeated, and the one job is found", {
  local_program()
  for (lost in list(
    fails(
      "Unable to connect to the server: net/http: request canceled (Client.Timeout exceeded while awaiting headers)\n",
      on = "create *"
    ),
    fails(
      "Error from server (Timeout): the server was unable to return a response in the time allotted\n",
      on = "create *"
    ),
    fails("error: unexpected EOF\n", on = "create *"),
    dies(on = "create *"),
    says("", on = "create *")
  )) {
    kubectl <- local_scripted_kubectl(
      lost,
      fails(already_exists, on = "create *"),
      runs("exec cat \"$base/calls/1.manifest\"", on = "get */jobs/*")
    )
    texts <- created_texts(submitted <- submit())
    expect_identical(texts, paste0("job.batch/", submitted$job_id, " created\n"))
    expect_identical(kubectl$count(), 3L)
  }
})

test_that("a create that never arrived is repeated until it does", {
  local_program()
  kubectl <- local_scripted_kubectl(
    fails("The connection to the server 192.0.2.1:6443 was refused - did you specify the right host or port?\n"),
    fails("Error from server (TooManyRequests): the server has received too many requests\n"),
    creates(on = "*")
  )
  texts <- created_texts(submitted <- submit())
  expect_identical(texts, paste0("job.batch/", submitted$job_id, " created\n"))
  expect_identical(kubectl$count(), 3L)
})

test_that("somebody else's job of the same name is no success", {
  local_program()
  kubectl <- local_scripted_kubectl(
    fails(already_exists, on = "create *"),
    runs(
      "sed 's|\"abba/submission\":\"[^\"]*\"|\"abba/submission\":\"other\"|' \"$base/calls/1.manifest\"",
      on = "get *"
    )
  )
  error <- raised(submit())
  expect_s3_class(error, "abba_error_kubectl")
})

test_that("a quota that our own lost create has used up is not taken for a refusal", {
  local_program()
  kubectl <- local_scripted_kubectl(
    fails("Unable to connect to the server: EOF\n", on = "create *"),
    fails("Error from server (Forbidden): jobs.batch \"x\" is forbidden: exceeded quota: q\n", on = "create *"),
    runs("exec cat \"$base/calls/1.manifest\"", on = "get */jobs/*")
  )
  expect_message(submit(), "created")
})

test_that("a submission that hangs says that there may be a job, and which", {
  local_program()
  withr::with_options(list(abba.k8s.request.timeout = 1), {
    local_scripted_kubectl(hangs())
    error <- NULL
    expect_words(
      withCallingHandlers(submit(), error = function(cnd) error <<- cnd),
      error = TRUE
    )
  })
  of_test <- rlang::current_env()
  kubectl <- NULL
  ask <- function() {
    kubectl <<- local_scripted_kubectl(hangs(), env = of_test)
    raised(submit())
  }
  error <- at_time_limit(ask, function() kubectl$hangs() > 0L)
  expect_s3_class(error, "abba_error_timeout")
  expect_identical(error$job_id, kubectl$manifest()$metadata$name)
  expect_match(conditionMessage(error), error$job_id, fixed = TRUE)
  expect_reaped(kubectl$pids())
  expect_gt(length(kubectl$helpers()), 0L)
  expect_ended(kubectl$helpers())
})

test_that("the call that such an error advises can be copied as it stands", {
  local_program()
  withr::local_options(abba.k8s.request.timeout = 1)
  kubectl <- local_scripted_kubectl(hangs(on = "create *"))
  error <- raised(submit(namespace = "team-1"))
  advised <- regmatches(
    conditionMessage(error), regexpr("abba_get_k8s_job_status_local[(][^)]*[)]", conditionMessage(error))
  )
  local_scripted_kubectl(says(list_of(pod(error$job_id))))
  expect_named(eval(str2lang(advised)), "Succeeded")
})

test_that("a lost create that turns out not to have arrived says that there is no job", {
  local_program()
  local_scripted_kubectl(
    fails("Error from server (InternalError): an error on the server has prevented it\n", on = "create *"),
    fails("Error from server (NotFound): jobs.batch \"x\" not found\n", on = "get *")
  )
  error <- raised(submit())
  expect_s3_class(error, "abba_error_unavailable")
  expect_identical(error$job_id, character())
  expect_match(conditionMessage(error), "No job was created.", fixed = TRUE)
})

test_that("a create that may still be under way is not said to be none", {
  local_program()
  withr::local_options(abba.k8s.request.timeout = 5)
  # etcd may carry it out after the API server has given up.
  local_scripted_kubectl(
    fails("Error from server (InternalError): etcdserver: request timed out\n", on = "create *"),
    fails("Error from server (NotFound): jobs.batch \"x\" not found\n", on = "get *")
  )
  error <- raised(submit())
  expect_match(conditionMessage(error), "Whether the job was created is not known.", fixed = TRUE)
  expect_length(error$job_id, 1L)
})

test_on_both_roads("what is no R program is refused before anything is sent", {
  local_scripted_kubectl()
  for (one in list(
    list(name = "a.R", text = "", word = "is empty"),
    list(name = "a.R", text = as.raw(c(0xff, 0xfe, 0x31, 0x00)), word = "UTF-16"),
    list(name = "report.Rmd", text = "# Title\n", word = "document"),
    list(name = "prog.sas", text = "proc print; run;\n", word = "SAS program")
  )) {
    error <- raised(submit(local_program(one$text, one$name)))
    expect_s3_class(error, "abba_error_input")
    expect_match(conditionMessage(error), one$word, info = one$name)
  }
})

test_that("a program with a name outside ASCII is submitted from a session in the C locale", {
  local_scripted_kubectl(creates())
  folder <- withr::local_tempdir("program-")
  write_bytes("1\n", file.path(folder, "\u00e9t\u00e9.R"))
  ended <- run_r(c(
    "Sys.setlocale('LC_ALL', 'C')",
    paste0("path <- '", folder, "/\\u00e9t\\u00e9.R'"),
    paste0("options(abba.default.container = '", image, "', abba.k8s.namespace = 'n')"),
    "job <- abba_submit_k8s_job_local(path)",
    "batch <- abba_submit_k8s_batch_local(c(path, path))",
    "cat(nrow(batch), '\\n')"
  ), LC_ALL = "C")
  expect_identical(c(ended$exit_status, trimws(utils::tail(ended$stdout, 1L))), c("0", "2"), info = ended$stderr)
  expect_no_match(ended$stderr, "translate")
})
