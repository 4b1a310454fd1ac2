# A study of two programs, of which the second reads what the first writes; both have run and are saved.
local_study <- function(env = parent.frame()) {
  folder <- withr::local_tempdir(.local_envir = env)
  withr::local_dir(folder, .local_envir = env)
  withr::local_options(abba.default.container = "r:1", .local_envir = env)
  writeLines(c("# abba: reads dm.csv", "# abba: writes adsl.rds"), "adsl.R")
  writeLines(c("# abba: reads adsl.rds", "# abba: writes t_dm.rtf"), "t_dm.R")
  for (file in c("dm.csv", "adsl.rds", "t_dm.rtf")) writeLines(file, file)
  plan <- abba_plan(c("adsl.R", "t_dm.R"))
  digest <- function(path) sub(" .*", "", system2("sha256sum", shQuote(path), stdout = TRUE))
  ids <- sprintf("t-%d-fbc3131d-a850-4081-8224-c06ef32821da", 1:2)
  jobs <- Map(function(id, program) {
    arguments <- list(given_path = program, expanded_path = file.path(getwd(), program), container = "r:1")
    job <- full_job(id, program, arguments = arguments)
    job$metadata$annotations[["abba/program-sha256"]] <- digest(program)
    job
  }, ids, plan$program)
  # The run is of now, so that the files are its own.
  pods <- lapply(ids, full_pod, started = "2100-01-01T00:00:00Z", finished = "2100-01-01T00:00:00Z")
  of_one <- function(id, job, pod) {
    list(pods_of(pod, on = paste0("*/pods*", id, "*")), says(list_of(job), on = paste0("*/jobs*", id, "*")))
  }
  do.call(local_scripted_kubectl, c(
    list(says(charToRaw("abba-log-of t\n"), on = "*/log*")),
    unlist(Map(of_one, ids, jobs, pods), recursive = FALSE, use.names = FALSE),
    list(
      says(to_json(list(gitVersion = "v1.34.1")), on = "*/version*"), says(list_of(), on = "*/events*"),
      do.call(pods_of, pods), do.call(jobs_of, unname(jobs)),
      env = env
    )
  ))
  suppressWarnings(abba_save_k8s_batch_local("b-1", "logs", plan, namespace = "n"))
  plan
}

test_that("only what has changed is outdated, with what comes after it, and says why", {
  plan <- local_study()
  outdated <- abba_outdated(plan)
  expect_s3_class(outdated, "abba_plan")
  expect_identical(outdated$outdated, c(FALSE, FALSE))
  expect_identical(outdated$why, c(NA_character_, NA_character_))
  expect_identical(outdated[names(plan)], plan)

  writeLines("another", "t_dm.R")
  outdated <- abba_outdated(plan)
  expect_identical(outdated$outdated, c(FALSE, TRUE))
  expect_identical(outdated$why[[2L]], "The program was changed.")

  writeLines("a new cut", "dm.csv")
  outdated <- abba_outdated(plan)
  expect_identical(outdated$outdated, c(TRUE, TRUE))
  expect_identical(outdated$why, c(
    "The input \"dm.csv\" was changed.", "The program was changed. \"adsl\" runs before it."
  ))
})

test_that("arguments that matter are compared, out of the plan, the call and the options", {
  plan <- local_study()
  why <- function(...) abba_outdated(plan, ...)$why[[1L]]
  expect_identical(why(container = "r:2"), "`container` is another one.")
  expect_identical(why(cpu_limit = c(2, 1)), "`cpu_limit` is another one.")
  expect_identical(why(environment = c(CUT = "2026")), "`environment` is another one.")
  expect_identical(why(memory_limit = "4G", queue = "a", cpu_limit = "1000m"), NA_character_)
  plan$arguments <- list("x", character())
  expect_identical(why(), "`arguments` is another one.")
  plan$arguments <- NULL
  withr::local_options(abba.default.container = "r:3")
  expect_identical(why(), "`container` is another one.")
  withr::local_options(abba.default.container = NULL)
  expect_identical(why(), NA_character_)
  of_pod <- function(...) list(spec = list(template = list(spec = list(...))))
  withr::local_options(abba.k8s.job.template = of_pod(nodeSelector = list(pool = "a")))
  expect_identical(why(), NA_character_)
  file <- withr::local_tempfile(fileext = ".yaml")
  writeLines(c("spec:", "  template:", "    spec:", "      serviceAccountName: stats"), file)
  withr::local_options(abba.k8s.job.template = file)
  expect_identical(why(), "`job_template` is another one.")
  expect_identical(why(job_template = of_pod(serviceAccountName = "stats")), "`job_template` is another one.")
  expect_identical(why(job_template = NULL), NA_character_)
  expect_identical(why(job_template = "gpu"), "`job_template` is another one.")
})

test_on_both_roads("changed_only submits exactly what is outdated, whatever the columns of the plan have", {
  plan <- local_study()
  local_scripted_kubectl(creates())
  expect_outdated <- function(expected, ..., of = list()) {
    plan[names(of)] <- of
    expect_identical(abba_outdated(plan, ...)$outdated, expected)
    batch <- suppressMessages(submit_batch(plan, changed_only = TRUE, ..., container = "r:1"))
    expect_identical(plan$program %in% batch$program, expected)
  }
  expect_outdated(c(FALSE, TRUE), of = list(container = c(NA, "r:2")))
  expect_outdated(c(FALSE, TRUE), of = list(container = factor(c("r:1", "r:2"))))
  expect_outdated(c(FALSE, TRUE), of = list(arguments = c(NA, "x")))
  expect_outdated(c(FALSE, TRUE), of = list(cpu_limit = c(1, NA)), cpu_limit = 2)
  expect_outdated(c(FALSE, FALSE), of = list(cpu_limit = c(1, 1), memory_limit = c("1G", NA)), cpu_limit = 2)
  withr::local_options(abba.r.command = "R-4")
  expect_outdated(c(FALSE, FALSE), r_command = NULL)
})

test_that("without records all programs have to run, and wrong arguments are refused", {
  plan <- local_study()
  expect_identical(abba_outdated(plan, "none")$outdated, c(TRUE, TRUE))
  expect_identical(nrow(abba_outdated(plan[0L, ])), 0L)
  for (wrong in list(
    quote(abba_outdated(data.frame(program = "a"))), quote(abba_outdated(plan, 1)), quote(abba_outdated(plan, x = 1)),
    quote(abba_outdated(plan, "logs", 1)), quote(abba_outdated(plan, cpu_limit = 1:3)),
    quote(abba_outdated(plan, study_folder = NA)), quote(abba_outdated(plan, "adsl.R")),
    quote(abba_outdated(plan, cpu_limit = 1, cpu_limit = 2)), quote(abba_plan("adsl.R", cpu_limit = 1, cpu_limit = 2))
  )) {
    expect_error(eval(wrong), class = "abba_error_input")
  }
})

test_on_both_roads("changed_only submits what has to run, and nothing where nothing has", {
  plan <- local_study()
  kubectl <- local_scripted_kubectl(creates())
  submit <- function(...) submit_batch(plan, changed_only = TRUE, ..., container = "r:1")
  expect_message(nothing <- submit(), "nothing has changed")
  expect_s3_class(nothing, "abba_batch")
  expect_identical(nrow(nothing), 0L)
  expect_identical(kubectl$count(), 0L)

  writeLines("another", "t_dm.R")
  batch <- suppressMessages(submit())
  expect_identical(batch$program, "t_dm.R")
  # What it runs after has succeeded, and is not waited for.
  manifest <- kubectl$manifest()
  expect_null(manifest$metadata$labels[["abba/waiting"]])
  expect_null(manifest$metadata$annotations[["abba/after"]])

  # The rest of it is given back with the same arguments.
  batch$submitted[] <- NA
  rest <- suppressMessages(submit_batch(batch, changed_only = TRUE, container = "r:1"))
  expect_identical(rest$job_id, batch$job_id)

  # One value for each program of the plan.
  kubectl <- local_scripted_kubectl(creates())
  batch <- suppressMessages(submit(cpu_limit = c(1L, 2L)))
  expect_identical(batch$program, "t_dm.R")
  expect_identical(kubectl$manifest()$spec$template$spec$containers[[1L]]$resources$limits$cpu, "2")
  suppressMessages(batch <- submit(records = "nowhere"))
  expect_identical(batch$program, c("adsl.R", "t_dm.R"))

  refused <- function(...) expect_error(submit_batch(..., container = "r:1"), class = "abba_error_input")
  refused("t_dm.R", changed_only = TRUE)
  refused(plan, changed_only = NA)
})
