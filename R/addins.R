# The addins of RStudio and Positron (inst/rstudio/addins.dcf). They do what a user could type: the call stands in the
# console and in its history, where it can be changed and sent again.

# "Run this program on Kubernetes". `editor`: the functions of rstudioapi.
addin_run_program <- function(editor = asNamespace("rstudioapi")) {
  document <- editor$getSourceEditorContext()
  if (is.null(document)) {
    return(say_to_user(editor, "There is no program in the editor: open one, and try again."))
  }
  path <- document$path
  # A new document has no file, and no job could say which program it ran.
  if (!nzchar(path)) {
    path <- editor$selectFile("Save the program as", "Save", existing = FALSE, filter = "R programs (*.R)")
    if (is.null(path)) {
      return(invisible())
    }
    if (!grepl("[.][[:alnum:]]+$", path)) path <- paste0(path, ".R")
    writeLines(enc2utf8(document$contents), path.expand(path), useBytes = TRUE)
    editor$navigateToFile(path)
  } else {
    editor$documentSave(document$id)
  }
  by_api <- uses_api()
  arguments <- list(path)
  if (!by_api && is.null(getOption("abba.default.container"))) {
    container <- editor$showPrompt("Run this program on Kubernetes", "Container image, with R in it:")
    if (is.null(container) || !nzchar(trimws(container))) {
      return(invisible())
    }
    arguments$container <- trimws(container)
  }
  verb <- if (by_api) "abba_submit_job" else "abba_submit_k8s_job_local"
  send_call(editor, verb, arguments, assign = "job")
}

# "My jobs".
addin_my_jobs <- function(editor = asNamespace("rstudioapi")) {
  if (uses_api()) {
    send_call(editor, "abba_list_jobs", list())
  } else {
    # Over kubectl the jobs of others are listed, too.
    send_call(editor, "abba_list_k8s_jobs_local", list(user = Sys.info()[["user"]]))
  }
}

# Whether this session is set up for an abba API.
uses_api <- function() {
  nzchar(getOption("abba.api.address", Sys.getenv("ABBA_API_ADDRESS")))
}

# Has the console make a call. `assign`: the name that its value gets.
send_call <- function(editor, verb, arguments, assign = NULL) {
  call <- paste0("abba::", verb, "(", elements_text(arguments), ")")
  editor$sendToConsole(paste(c(assign, call), collapse = " <- "), execute = TRUE)
  invisible()
}

say_to_user <- function(editor, words) {
  editor$showDialog("abba", words)
  invisible()
}
