# An editor that notes what it is asked to do. `...`: its functions that answer otherwise.
scripted_editor <- function(path = "", contents = "print(1)", ...) {
  asked <- list()
  note <- function(name, value = NULL) {
    function(...) {
      asked[[length(asked) + 1L]] <<- list(name, ...)
      value
    }
  }
  functions <- list(
    getSourceEditorContext = function() list(id = "id-1", path = path, contents = contents),
    documentSave = note("documentSave"), selectFile = note("selectFile"), navigateToFile = note("navigateToFile"),
    showPrompt = note("showPrompt"), showDialog = note("showDialog"), sendToConsole = note("sendToConsole")
  )
  functions <- utils::modifyList(functions, list(...))
  c(functions, list(
    names_of_asked = function() vapply(asked, `[[`, "", 1L),
    console = function() unlist(lapply(asked, function(one) if (one[[1L]] == "sendToConsole") one[[2L]]))
  ))
}

test_that("the addins are those of the file, and use functions that rstudioapi has", {
  addins <- read.dcf(system.file("rstudio", "addins.dcf", package = "abba"))
  expect_identical(addins[, "Name"], c("Run this program on Kubernetes", "My jobs"))
  for (binding in addins[, "Binding"]) expect_true(is.function(get(binding, asNamespace("abba"))))
  used <- setdiff(names(scripted_editor()), c("names_of_asked", "console"))
  expect_true(all(used %in% getNamespaceExports("rstudioapi")))
})

test_that("the program in the editor is saved, and submitted by a call in the console", {
  withr::local_options(abba.default.container = "r:1")
  editor <- scripted_editor("~/a \"b\" \u00e9.R")
  addin_run_program(editor)
  expect_identical(editor$names_of_asked(), c("documentSave", "sendToConsole"))
  expect_identical(editor$console(), "job <- abba::abba_submit_k8s_job_local(\"~/a \\\"b\\\" \u00e9.R\")")
  withr::local_options(abba.default.container = NULL, abba.api.address = "https://connect.example.com/abba")
  editor <- scripted_editor("a.R")
  addin_run_program(editor)
  expect_identical(editor$console(), "job <- abba::abba_submit_job(\"a.R\")")
  # The text is a call that R reads as it was meant.
  expect_identical(as.list(str2lang(editor$console())[[3L]])[[2L]], "a.R")
})

test_that("the image is asked for where there is none, and nothing is sent without it", {
  editor <- scripted_editor("a.R", showPrompt = function(...) " r:2 ")
  addin_run_program(editor)
  expect_identical(editor$console(), "job <- abba::abba_submit_k8s_job_local(\"a.R\", container = \"r:2\")")
  for (nothing in list(NULL, " ")) {
    editor <- scripted_editor("a.R", showPrompt = function(...) nothing)
    addin_run_program(editor)
    expect_null(editor$console())
  }
})

test_that("a new program gets a file first, and no file is no job", {
  withr::local_options(abba.default.container = "r:1")
  folder <- withr::local_tempdir()
  for (name in c("new.R", "other")) {
    editor <- scripted_editor(
      contents = c("x <- '\u00e9'", "x"), selectFile = function(...) file.path(folder, name)
    )
    addin_run_program(editor)
    path <- file.path(folder, sub("^other$", "other.R", name))
    expect_identical(readLines(path, encoding = "UTF-8"), c("x <- '\u00e9'", "x"))
    expect_identical(editor$names_of_asked(), c("navigateToFile", "sendToConsole"))
    expect_match(editor$console(), basename(path), fixed = TRUE)
  }
  editor <- scripted_editor()
  addin_run_program(editor)
  expect_identical(editor$names_of_asked(), "selectFile")
  editor <- scripted_editor(getSourceEditorContext = function() NULL)
  addin_run_program(editor)
  expect_identical(editor$names_of_asked(), "showDialog")
})

test_that("my jobs are listed in the console", {
  editor <- scripted_editor()
  addin_my_jobs(editor)
  expect_identical(
    editor$console(), paste0("abba::abba_list_k8s_jobs_local(user = \"", Sys.info()[["user"]], "\")")
  )
  withr::local_envvar(ABBA_API_ADDRESS = "https://connect.example.com/abba")
  editor <- scripted_editor()
  addin_my_jobs(editor)
  expect_identical(editor$console(), "abba::abba_list_jobs()")
})
