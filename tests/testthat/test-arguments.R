programs <- c("t_1.R", "t_2.R", "t_3.R")

test_on_both_roads("an argument may be one for all or one for each", {
  local_programs(programs)
  kubectl <- local_scripted_kubectl(creates())
  volumes <- function(name) {
    list(
      volumes = list(list(name = name, nfs = list(server = "192.0.2.1", path = "/v"))),
      volumeMounts = list(list(name = name, mountPath = paste0("/", name)))
    )
  }
  suppressMessages(submit_batch(
    programs,
    user_tag = c("x", "y", "z"), cpu_limit = list(1L, "500m", 0.25), memory_limit = c("1G", "2G", "3G"),
    container = c("r:1", "r:2", "r:3"), mounts = list(volumes("one"), "", volumes("three")),
    time_limit_seconds = c(10, 20, 30), auto_mount_home = FALSE
  ))
  jobs <- sent(kubectl)
  # An API must know where that is which may run in place.
  jobs <- jobs[match(programs, basename(names(jobs)))]
  of <- function(get) vapply(jobs, get, "", USE.NAMES = FALSE)
  expect_identical(of(function(job) job$metadata$annotations[["abba/user-tag"]]), c("x", "y", "z"))
  expect_identical(of(function(job) program_container(job)$resources$limits[["memory"]]), c("1G", "2G", "3G"))
  expect_identical(of(function(job) program_container(job)$resources$limits[["cpu"]]), c("1", "500m", "250m"))
  expect_identical(of(function(job) program_container(job)$image), c("r:1", "r:2", "r:3"))
  deadlines <- vapply(jobs, function(job) job$spec$template$spec$activeDeadlineSeconds, 1L, USE.NAMES = FALSE)
  expect_identical(deadlines, c(10L, 20L, 30L))
  mounted <- lapply(jobs, function(job) {
    paths <- vapply(program_container(job)$volumeMounts, `[[`, "", "mountPath")
    intersect(paths, c("/one", "/three"))
  })
  expect_identical(unname(mounted), list("/one", character(), "/three"))
})

test_on_both_roads("one vector of arguments is for all programs, and a list has one for each", {
  local_programs(programs)
  arguments_of <- function(arguments) {
    kubectl <- local_scripted_kubectl(creates())
    suppressMessages(submit_batch(programs, arguments = arguments))
    unname(lapply(sent(kubectl)[programs], function(job) {
      command <- unlist(program_container(job)$command)
      command[seq_along(command) > match("--args", command, nomatch = length(command))]
    }))
  }
  expect_identical(arguments_of("all"), list("all", "all", "all"))
  # As many as there are programs, too.
  expect_identical(arguments_of(c("x", "y", "z")), rep(list(c("x", "y", "z")), 3L))
  expect_identical(arguments_of(list("x", NULL, c("y", "z"))), list("x", character(), c("y", "z")))
  expect_error(arguments_of(list("x", "y")), "`arguments` must have one element", class = "abba_error_input")
  expect_error(arguments_of(list("x", 1, "y")), "`arguments` must be a character", class = "abba_error_input")
})

test_on_both_roads("one environment is for all programs, and a list has one for each", {
  local_programs(programs)
  value_of_a <- function(environment) {
    kubectl <- local_scripted_kubectl(creates())
    suppressMessages(submit_batch(programs, environment = environment))
    vapply(unname(sent(kubectl)[programs]), function(job) {
      env <- program_container(job)$env
      c(unlist(lapply(env, function(variable) if (variable$name == "A") variable$value)), NA_character_)[[1L]]
    }, "")
  }
  expect_identical(value_of_a(c(A = "x")), c("x", "x", "x"))
  expect_identical(value_of_a(c(A = "x", B = "y", C = "z")), c("x", "x", "x"))
  expect_identical(value_of_a(list(c(A = "x"), NULL, c(B = "y", A = "z"))), c("x", NA, "z"))
})

test_on_both_roads("the queue may differ in a batch", {
  local_programs(programs)
  kubectl <- local_scripted_kubectl(creates())
  suppressMessages(submit_batch(programs, queue = list("a", NULL, "b")))
  queues <- lapply(unname(sent(kubectl)[programs]), function(job) job$metadata$labels[["kueue.x-k8s.io/queue-name"]])
  # A server that has queues puts what names none into its first.
  expect_identical(queues, list("a", if (!by_kubectl()) "a", "b"))
})

test_on_both_roads("vanilla and the R that is started may differ in a batch", {
  local_programs(programs)
  kubectl <- local_scripted_kubectl(creates())
  commands <- c("R", "/opt/R/4.2.1/bin/R", "R")
  suppressMessages(submit_batch(programs, vanilla = c(TRUE, FALSE, TRUE), r_command = commands))
  started <- vapply(unname(sent(kubectl)[programs]), function(job) {
    intersect(unlist(program_container(job)$command), commands)
  }, "")
  expect_identical(started, commands)
  is_vanilla <- vapply(unname(sent(kubectl)[programs]), function(job) {
    "--vanilla" %in% unlist(program_container(job)$command)
  }, NA)
  expect_identical(is_vanilla, c(TRUE, FALSE, TRUE))
})

test_on_both_roads("one list of mounts is for all programs", {
  local_programs(programs)
  kubectl <- local_scripted_kubectl(creates())
  suppressMessages(submit_batch(programs, mounts = list(
    volumes = list(list(name = "v", nfs = list(server = "192.0.2.1", path = "/v"))),
    volumeMounts = list(list(name = "v", mountPath = "/v"))
  )))
  for (job in sent(kubectl)) {
    paths <- vapply(program_container(job)$volumeMounts, `[[`, "", "mountPath")
    expect_true("/v" %in% paths)
  }
})

test_on_both_roads("arguments of a program that are no text are refused before anything is sent", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  for (bad in list(NA_character_, c("a", NA), 1, TRUE, list("a"), factor("a"))) {
    expect_error(submit(arguments = bad), "`arguments` must", class = "abba_error_input")
  }
  expect_error(submit(arguments = strrep("x", 1e5)), "`arguments` must have at most", class = "abba_error_input")
  expect_length(kubectl$requests(), 0L)
})

test_on_both_roads("an environment that cannot be is refused before anything is sent", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  for (bad in list(
    "a", c(A = "a", "b"), c(A = NA), c(A = NA_character_), c(A = "a", A = "b"), c(A = 1), list(A = "a"), c(`a b` = "c"),
    c(`1A` = "a"), c(ABBA_JOB_ID = "a"), c(ABBA_BATCH_ID = "a"), c(A = strrep("x", 1e5))
  )) {
    expect_error(submit(environment = bad), "`environment` must", class = "abba_error_input")
  }
  expect_length(kubectl$requests(), 0L)
})

test_on_both_roads("strings with names or a class of their own are strings", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  given <- list(
    c(path = "test_program.R"),
    batch_group_id = I("b"), user_tag = structure("t", class = "glue"),
    cpu_limit = c(cpu = 2), memory_limit = c(memory = "1G"), container = c(image = "r"),
    auto_mount_home = c(home = FALSE), time_limit_seconds = c(seconds = 60)
  )
  of_kubectl <- if (by_kubectl()) list(namespace = I("n"), username = c(user = "root"))
  suppressMessages(do.call(submit, c(given, of_kubectl)))
  sent <- kubectl$manifest()
  expect_identical(sent$metadata$annotations[["abba/program-path"]], "test_program.R")
  expect_identical(sent$metadata$labels[["abba/batch-id"]], "b")
  expect_identical(program_container(sent)$resources$limits, list(cpu = "2", memory = "1G"))
  local_scripted_kubectl(pods_of(pod("a-1")))
  expect_named(status(I("a-1")), "Succeeded")
})
