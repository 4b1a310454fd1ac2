# R Markdown and Quarto documents, which are made where they lie. The image has R alone: rmarkdown and pandoc are those
# of the node, which is this machine, and of the same Debian.
local_namespace()

join_mounts <- function(...) {
  all <- list(...)
  list(
    volumes = unlist(lapply(all, `[[`, "volumes"), recursive = FALSE),
    volumeMounts = unlist(lapply(all, `[[`, "volumeMounts"), recursive = FALSE)
  )
}

# The machine's R packages, and its pandoc with its own libraries: those of the image may be older.
machine <- host_path("/usr", "/host", name = "machine")
pandoc_data <- host_path("/usr/share/pandoc", name = "pandoc-data")
libraries <- grep("^/usr/", .libPaths(), value = TRUE)
of_machine <- c(R_LIBS = paste(sub("^/usr/", "/host/", libraries), collapse = ":"))
local_pandoc <- function(env = parent.frame()) {
  folder <- normalizePath(withr::local_tempdir("pandoc-", .local_envir = env))
  loader <- sub("^/usr/", "/host/", Sys.glob("/usr/lib/*/ld-linux*.so*")[[1L]])
  call <- paste("exec", loader, "--library-path", dirname(loader), "/host/bin/pandoc \"$@\"")
  writeLines(c("#!/bin/sh", call), file.path(folder, "pandoc"))
  Sys.chmod(file.path(folder, "pandoc"), "0755")
  folder
}

document <- c(
  "---", "output: md_document", "bibliography: books.bib", "---", "",
  "```{r}", "cat(commandArgs(TRUE), sep = '|')", "read.csv('data.csv')$x", "```", "",
  "```{r child = 'child.Rmd'}", "```", "", "As [@fisher] says."
)
child <- "The child has `r 40 + 2` lines."
bibliography <- "@book{fisher, author = {Fisher, R. A.}, title = {The Design of Experiments}, year = {1935}}"

test_that("an R Markdown document is made in its own folder, with what lies beside it", {
  folder <- normalizePath(withr::local_tempdir("documents-"))
  for (file in list(list("child.Rmd", child), list("books.bib", bibliography), list("data.csv", c("x", "17")))) {
    local_program(file[[2L]], file[[1L]], folder)
  }
  pandoc <- local_pandoc()
  mounts <- join_mounts(host_path(folder), machine, pandoc_data, host_path(pandoc, name = "pandoc"))
  names <- c("report.Rmd", "A \u00e9 'b' (c) & touch x; #1.rmd")
  ids <- vapply(names, function(name) {
    submit(
      local_program(document, name, folder),
      mounts = mounts, arguments = c("a b", "$HOME *"),
      environment = c(of_machine, RSTUDIO_PANDOC = pandoc), cpu_limit = 0.5
    )
  }, "")
  expect_identical(unname(wait_for_end(ids)), rep("Succeeded", 2L), info = unlist(lapply(ids, log_of)))
  expect_match(log_of(ids[[1L]]), "Output created: report.md", fixed = TRUE, all = FALSE)
  # rmarkdown gives its output a name without spaces and signs of a shell.
  made <- setdiff(list.files(folder), c(names, "child.Rmd", "books.bib", "data.csv"))
  expect_match(made, "[.]md$")
  expect_length(made, 2L)
  for (file in made) {
    text <- readLines(file.path(folder, file))
    for (words in c("a b|$HOME *", "[1] 17", "The child has 42 lines.", "Fisher, R. A. 1935.")) {
      expect_match(text, words, fixed = TRUE, all = FALSE)
    }
  }
})

test_that("an R error in a document fails its job, with the line", {
  pandoc <- local_pandoc()
  path <- local_program(c("---", "output: md_document", "---", "```{r}", "x <- 1", "stop('no data')", "```"), "bad.Rmd")
  id <- submit(
    path,
    mounts = join_mounts(host_path(dirname(path)), machine, pandoc_data, host_path(pandoc, name = "pandoc")),
    environment = c(of_machine, RSTUDIO_PANDOC = pandoc)
  )
  expect_identical(wait_for_end(id), "Failed")
  expect_match(log_of(id), "no data", all = FALSE)
})

test_that("what the image lacks to make a document is said by its log and by explain", {
  path <- local_program(document, "report.Rmd")
  quarto <- local_program("text", "report.qmd", dirname(path))
  without_pandoc <- submit(path, mounts = join_mounts(host_path(dirname(path)), machine), environment = of_machine)
  alone <- host_path(dirname(path))
  ids <- c(submit(path, mounts = alone), without_pandoc, submit(quarto, mounts = alone))
  expect_identical(unname(wait_for_end(ids)), rep("Failed", 3L))
  lacking <- c("no R package rmarkdown", "no pandoc", "no \"quarto\"")
  for (i in 1:3) {
    expect_match(log_of(ids[[i]])[[1L]], paste0("^abba: .* ", lacking[[i]]))
    expect_match(reason_of(ids[[i]]), "lacks something that makes this document")
  }
})

test_that("a Quarto document is made by quarto, in its own folder and with the R that is named", {
  # In the place of the real one, which is too large for a test: it says how it was called.
  folder <- normalizePath(withr::local_tempdir("quarto-"))
  dir.create(file.path(folder, "bin"))
  quarto <- local_program(
    c("#!/bin/sh", "printf '%s\\n' \"$@\" \"$PWD\" \"$QUARTO_R\" \"$QUARTO_KNITR_RSCRIPT_ARGS\""), "quarto",
    file.path(folder, "bin")
  )
  Sys.chmod(quarto, "0755")
  path <- local_program("---\n---\n", "$(touch x) 'report'.qmd")
  id <- submit(
    path,
    mounts = join_mounts(host_path(dirname(path)), host_path(folder, "/opt/quarto", name = "quarto")),
    r_command = "/usr/lib/R/bin/R", vanilla = TRUE
  )
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), c("render", path, dirname(path), "/usr/lib/R/bin", "--vanilla"))
})
