# Programs whose names are not what one expects.
source(file.path("..", "..", "testthat", "helper-shared.R"), local = TRUE)
local_namespace()

long_name <- paste0(substr(strrep("a very long name ", 12), 1L, 198L), ".R")

file_names <- c(
  "two words.R",
  "UPPER Case.R",
  "\u00fc\u00e9\u00df \u65e5\u672c\u8a9e.R",
  "100% %s %d.R",
  "it's \"quoted\" `too`.R",
  "$(touch x).R",
  "$(ABBA_JOB_ID).R",
  "$ABBA_JOB_ID ${HOME} $$.R",
  "; touch x; .R",
  "-leading-dash.R",
  "--args.R",
  "\u65e5\u672c.R",
  "___.R",
  ".r",
  "R",
  "a..b.r",
  "..hidden.R",
  ".hidden.R",
  "tab\there.R",
  "new\nline.R",
  "back\\slash.R",
  "report[1].R",
  "report1.R",
  "star*.R",
  "starry.R",
  "a~+~b.R",
  "a b.R",
  "~n~.R",
  "a&b<c>d|e.R",
  "a#b.R",
  "a:b.R",
  "a=b,c.R",
  long_name
)
stopifnot(!anyDuplicated(file_names))

# Each program says a word of its own, where it works, and what lies there.
text_of <- function(i) {
  c(
    sprintf("cat('token %d of this program\\n')", i),
    "cat(getwd(), '\\n', sep = '')",
    "writeLines(list.files(all.files = TRUE, no.. = TRUE))"
  )
}

# Submits all of them, waits for them, and checks what all have in common.
run_all <- function(folder, ...) {
  paths <- file.path(folder, file_names)
  for (i in seq_along(paths)) {
    write_program(text_of(i), paths[[i]])
  }
  submitted <- lapply(paths, function(path) {
    suppressMessages(abba_submit_k8s_job_local(path, cpu_limit = 0.15, ...))
  })
  ids <- vapply(submitted, `[[`, "", "job_id")
  expect_true(all(is_job_name(ids)))
  expect_true(all(is_label_value(vapply(submitted, `[[`, "", "batch_id"))))
  states <- wait_for_end(ids)
  expect_identical(file_names[states != "Succeeded"], character())
  jobs <- abba_get_k8s_job_status_local(ids)[[1L]]$Jobs
  expect_identical(vapply(jobs, `[[`, "", "path"), paths)
  labels <- vapply(kubectl_json("get", "jobs", "--namespace", the_namespace())$items, function(job) {
    job$metadata$labels[["abba/program"]]
  }, "")
  expect_true(all(is_label_value(labels)))
  expect_true(all(c("two-words.R", "report-1-.R", "UPPER-Case.R") %in% labels))
  lapply(abba_get_k8s_job_log_local(ids), `[[`, "log")
}

test_that("programs that travel with their jobs run, whatever their names, and the names do nothing", {
  folder <- normalizePath(withr::local_tempdir("names-"))
  logs <- run_all(folder)
  for (i in seq_along(file_names)) {
    expect_identical(logs[[i]], c(sprintf("token %d of this program", i), "/abba/work"), info = file_names[[i]])
  }
  expect_setequal(list.files(folder, all.files = TRUE, no.. = TRUE), file_names)
})

test_that("programs in a mount run there, whatever their names, and the names do nothing", {
  folder <- file.path(normalizePath(withr::local_tempdir("names-")), "a folder's $(touch y) %s")
  dir.create(folder)
  logs <- run_all(folder, mounts = host_path(dirname(folder)))
  there <- unlist(strsplit(file_names, "\n"))
  for (i in seq_along(file_names)) {
    expect_identical(logs[[i]][1:2], c(sprintf("token %d of this program", i), folder), info = file_names[[i]])
    expect_setequal(logs[[i]][-(1:2)], there)
  }
  expect_setequal(list.files(folder, all.files = TRUE, no.. = TRUE), file_names)
  expect_identical(list.files(dirname(folder), all.files = TRUE, no.. = TRUE), basename(folder))
})

test_that("a program in a folder whose name R cannot take runs there", {
  folder <- file.path(normalizePath(withr::local_tempdir("names-")), "study[1] a~+~b *")
  dir.create(file.path(dirname(folder), "study1 a b *"))
  dir.create(folder)
  path <- local_program(text_of(1L), "program.R", folder)
  id <- submit(path, mounts = host_path(dirname(folder)))
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), c("token 1 of this program", folder, "program.R"))
})

test_that("a program behind a link runs in place, one in an empty volume is carried, a byte order mark is dropped", {
  real <- file.path(normalizePath(withr::local_tempdir("names-")), "real")
  dir.create(real)
  link <- file.path(dirname(real), "link")
  file.symlink(real, link)
  path <- local_program(text_of(1L), "program.R", real)
  behind_link <- submit(path, mounts = host_path(real, link))
  empty <- list(
    volumes = list(list(name = "empty", emptyDir = list())),
    volumeMounts = list(list(name = "empty", mountPath = dirname(real)))
  )
  carried <- submit(path, mounts = empty)
  marked <- file.path(real, "marked.R")
  writeBin(c(as.raw(c(0xef, 0xbb, 0xbf)), charToRaw("cat('read\\n')\n")), marked)
  ids <- c(behind_link, carried, submit(marked))
  expect_identical(unname(wait_for_end(ids)), rep("Succeeded", 3L))
  logs <- lapply(abba_get_k8s_job_log_local(ids), `[[`, "log")
  expect_identical(logs[[1L]][1:2], c("token 1 of this program", link))
  expect_identical(logs[[2L]], c("token 1 of this program", "/abba/work"))
  expect_identical(logs[[3L]], "read")
})
