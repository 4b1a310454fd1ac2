# A folder with programs, each of which declares what it reads and writes.
local_programs <- function(..., env = parent.frame()) {
  folder <- withr::local_tempdir(.local_envir = env)
  withr::local_dir(folder, .local_envir = env)
  programs <- list(...)
  for (name in names(programs)) writeLines(programs[[name]], name)
  names(programs)
}

test_that("programs are put in order by what they declare", {
  programs <- local_programs(
    t_ae.R = c("# abba: reads adae.rds; adsl.rds", "# abba: writes t_ae.rtf"),
    adae.R = c("#abba: reads adsl.rds", "x <- 1", "# abba: writes adae.rds"),
    adsl.R = "# abba: writes adsl.rds",
    report.R = "# abba: reads *.rtf"
  )
  plan <- abba_plan(programs)
  expect_s3_class(plan, c("abba_plan", "data.frame"), exact = TRUE)
  expect_identical(names(plan), c("name", "program", "inputs", "outputs", "after", "run_group"))
  expect_identical(plan$program, programs)
  expect_identical(plan$name, c("t_ae", "adae", "adsl", "report"))
  expect_identical(plan$after, list(c("adae", "adsl"), "adsl", character(), "t_ae"))
  expect_identical(plan$run_group, c(3L, 2L, 1L, 4L))
  expect_identical(plan$inputs[[1]], c("adae.rds", "adsl.rds"))
})

test_that("a tracker says it as well, in a data frame, lists or texts", {
  local_programs(a.R = "1", b.R = "2", c.R = "3")
  tracker <- data.frame(
    program = c("a.R", "b.R", "c.R"), inputs = c(NA, "x.rds", ""), outputs = c("x.rds; y.rds", "", NA),
    after = c("", "", "b.R"), memory_limit = c("1G", "2G", "1G"), title = "A table"
  )
  expect_message(plan <- abba_plan(tracker), "`title`", fixed = TRUE)
  expect_identical(plan$after, list(character(), "a", "b"))
  expect_identical(plan$outputs[[1]], c("x.rds", "y.rds"))
  expect_identical(plan$memory_limit, c("1G", "2G", "1G"))
  lists <- abba_plan(
    tracker$program,
    inputs = list(NULL, "x.rds", character()), outputs = list(c("x.rds", "y.rds"), NA, character()),
    after = list("", NA, "b")
  )
  expect_identical(lists$after, plan$after)
  factors <- abba_plan(data.frame(program = factor("a.R"), outputs = factor("x; y")))
  expect_identical(factors$outputs, list(c("x", "y")))
})

test_that("further arguments are those of a submission, one for all or one for each", {
  local_programs(a.R = "1", b.R = "2")
  plan <- abba_plan(c("a.R", "b.R"), cpu_limit = c(1, 2), memory_limit = "1G", arguments = list("x", c("y", "z")))
  expect_identical(plan$cpu_limit, c(1, 2))
  expect_identical(plan$memory_limit, c("1G", "1G"))
  expect_identical(lapply(plan$arguments, as.vector), list("x", c("y", "z")))
  expect_error(abba_plan("a.R", memory = "1G"), "not `memory`", class = "abba_error_input")
  expect_error(abba_plan("a.R", cpu_limit = c(1, 2, 3)), "`cpu_limit`", class = "abba_error_input")
  expect_error(abba_plan("a.R", cpu_limit = TRUE), "`cpu_limit`", class = "abba_error_input")
})

test_that("a program that runs twice has two names", {
  local_programs(t_ae.R = "1", u.R = "2")
  plan <- abba_plan(c(all = "t_ae.R", serious = "t_ae.R", "u.R"), after = c("", "all", "serious; all"))
  expect_identical(plan$name, c("all", "serious", "u"))
  expect_identical(plan$after, list(character(), "all", c("all", "serious")))
})

test_that("programs of one file name in two folders are named by their paths", {
  local_programs(x.R = "1")
  for (folder in c("a", "b")) {
    dir.create(folder)
    file.copy("x.R", folder)
  }
  expect_identical(abba_plan(c("a/x.R", "b/x.R"))$name, c("a/x.R", "b/x.R"))
})

test_that("a plan that cannot be run is refused with its rows", {
  local_programs(a.R = "1", b.R = "2")
  both <- c("a.R", "b.R")
  expect_snapshot(error = TRUE, {
    abba_plan(both, inputs = c("y", "x"), outputs = c("x", "y"))
    abba_plan(both, outputs = c("x", "out/../x"))
    abba_plan(both, inputs = c("/nowhere/x", "/nowhere/*.rds"))
    abba_plan(both, after = c("", "c"))
    abba_plan(c("a.R", "a.R"))
    abba_plan(both, after = "a")
    abba_plan(character())
    abba_plan(data.frame(path = "a.R"))
  })
  writeLines("# abba: read x.rds", "a.R")
  expect_error(abba_plan("a.R"), "# abba: read x.rds", class = "abba_error_input")
})

test_that("files that this machine does not see can be taken to be there", {
  local_programs(a.R = "1")
  expect_error(abba_plan("a.R", inputs = "/nowhere/x"), class = "abba_error_input")
  expect_identical(nrow(abba_plan(c("a.R", "/nowhere/b.R"), inputs = c("/nowhere/x", ""), check_files = FALSE)), 2L)
})

test_that("relative paths belong to the folder of the study", {
  local_programs(a.R = "1", b.R = "2")
  study <- withr::local_tempdir()
  file.create(file.path(study, "dm.rds"))
  plan <- abba_plan(
    c("a.R", "b.R"),
    inputs = c("dm.rds", file.path(normalizePath(study), "adsl.rds")), outputs = c("adsl.rds", ""), folder = study
  )
  expect_identical(plan$run_group, 1:2)
})

test_that("printing shows the order and the largest group", {
  plan <- structure(list(
    name = c("adsl", "adae", "adlb", paste0("t_", 1:40)),
    run_group = c(1L, 2L, 2L, rep(3L, 40))
  ), row.names = 1:43, class = c("abba_plan", "data.frame"))
  withr::local_options(width = 60)
  expect_snapshot(print(plan))
  expect_snapshot(print(plan[1, ]))
  expect_output(print(plan["name"]), "t_40")
})

test_that("a plan is drawn", {
  local_programs(a.R = "1", b.R = "2", c.R = "3")
  withr::local_pdf(NULL)
  plan <- abba_plan(c("a.R", "b.R", "c.R"), after = c("", "a", "a; b"))
  expect_identical(withVisible(plot(plan))$visible, FALSE)
  expect_identical(plot(plan), plan)
  # A part of it, whose first program is not drawn.
  expect_s3_class(plot(plan[2:3, ]), "abba_plan")
  expect_identical(plan_places(plan), c(0, 0, 0))
})
