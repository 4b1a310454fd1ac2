# Programs and logs that are not plain text.
local_namespace()

# Prints what abba wrote into the container, as the fingerprint of the file that R was given.
print_fingerprint <- paste(
  "cat(unname(tools::md5sum(sub('^--file=', '', grep('^--file=', commandArgs(), value = TRUE)))), '\\n', sep = '')"
)

expect_valid_text <- function(log) {
  expect_type(log, "character")
  expect_true(all(validUTF8(log)))
  expect_false(anyNA(log))
  expect_true(all(Encoding(log) %in% c("UTF-8", "unknown")))
}

bytes_of <- function(...) {
  parts <- lapply(list(...), function(part) if (is.character(part)) charToRaw(part) else as.raw(part))
  do.call(c, parts)
}

test_that("the program in the container has the bytes of the file", {
  programs <- list(
    plain = bytes_of(print_fingerprint, "\n"),
    utf8 = bytes_of("# \u00fc \u65e5\u672c \U1F600\n", print_fingerprint, "\n"),
    latin1 = bytes_of("# caf", 0xE9, "\n", print_fingerprint, "\n"),
    crlf = bytes_of("# one\r\n", print_fingerprint, "\r\n"),
    latin1_crlf = bytes_of("# caf", 0xE9, "\r\n", print_fingerprint, "\r\n"),
    no_final_newline = bytes_of(print_fingerprint),
    blanks = bytes_of("\n\n  \t\n", print_fingerprint, "   \n\n\n\n"),
    controls = bytes_of("# ", c(0x01, 0x07, 0x0B, 0x1B, 0x7F), "\n", print_fingerprint, "\n"),
    yaml = bytes_of("# ---\n# key: {a: 'b'} | > & * !tag \"\\u0000\"\n", print_fingerprint, "\n"),
    variables = bytes_of("# $(ABBA_JOB_ID) $$(ABBA_JOB_ID) $HOME `id` %s\n", print_fingerprint, "\n")
  )
  folder <- withr::local_tempdir()
  paths <- vapply(names(programs), function(name) {
    local_program(programs[[name]], paste0(name, ".R"), folder = folder)
  }, "")
  ids <- vapply(paths, submit, "")
  states <- wait_for_end(unname(ids))
  expect_identical(names(programs)[states != "Succeeded"], character())
  logs <- lapply(abba_get_k8s_job_log_local(unname(ids)), `[[`, "log")
  expect_identical(vapply(logs, function(log) log[[length(log)]], ""), unname(tools::md5sum(paths)))
})

test_that("what a program prints of abba's own lines is a part of its log", {
  marker <- "paste0('abba: end of the log of ', Sys.getenv('ABBA_JOB_ID'))"
  id <- submit(local_program(c(paste0("writeLines(", marker, ")"), paste0("cat('a', ", marker, ", '\\nb', sep = '')"))))
  expect_identical(wait_for_end(id), "Succeeded")
  marker <- paste("abba: end of the log of", id)
  expect_identical(log_of(id), c(marker, "a", marker, "b"))
})

test_that("a log of any bytes becomes lines of valid UTF-8", {
  print_bytes <- function(bytes) {
    # Through a file: the shell's printf, so that R has no part in it.
    sprintf("system('printf %s')", shQuote(paste0(sprintf("\\\\%03o", as.integer(bytes)), collapse = ""), "cmd"))
  }
  programs <- list(
    latin1 = print_bytes(bytes_of("caf", 0xE9, " na", 0xEF, "ve\n")),
    utf8 = print_bytes(bytes_of("\u00fc \u65e5\u672c \U1F600\n")),
    nul = print_bytes(bytes_of("a", 0x00, "b\n", 0x00, "\n")),
    colours = "cat('\\033[31mred\\033[0m \\033[1mbold\\033[22m\\n')",
    # containerd takes one \r away itself.
    crlf = "cat('one\\r\\ntwo\\r\\r\\n\\r\\nprogress 1\\rprogress 2\\n')",
    controls = print_bytes(bytes_of("bell ", 0x07, " backspace ", 0x08, " form feed ", 0x0C, "\n")),
    broken = print_bytes(bytes_of(c(0xC3, 0x28, 0xF0, 0x9F, 0x0A, 0xFF, 0xFE, 0x0A))),
    percent = "cat('100% %s %d %n\\n')",
    blanks = "cat('\\n\\n  indented  \\n\\n')",
    no_newline = "cat('no newline at the end')",
    nothing = "invisible()",
    empty = "# Prints nothing.",
    long_line = "cat(strrep('x', 2^20), '\\n', sep = '')",
    long_wide_line = "cat(strrep('\\u65e5', 2^19), '\\n', sep = ''); cat('after\\n')",
    own_marker = "cat('abba: begin of the log of ', Sys.getenv('ABBA_JOB_ID'), '\\n', sep = '')"
  )
  ids <- vapply(programs, function(text) submit(local_program(text)), "")
  names <- names(programs)
  ids <- unname(ids)
  states <- wait_for_end(ids)
  expect_identical(names[states != "Succeeded"], character())
  expect_silent(logs <- lapply(abba_get_k8s_job_log_local(ids), `[[`, "log"))
  names(logs) <- names
  for (log in logs) {
    expect_valid_text(log)
  }
  expect_identical(logs$latin1, "caf\uFFFD na\uFFFDve")
  expect_identical(logs$utf8, "\u00fc \u65e5\u672c \U1F600")
  expect_identical(logs$nul, c("a\uFFFDb", "\uFFFD"))
  expect_identical(logs$colours, "\033[31mred\033[0m \033[1mbold\033[22m")
  expect_identical(logs$crlf, c("one", "two", "", "progress 1\rprogress 2"))
  expect_identical(logs$controls, "bell \a backspace \b form feed \f")
  expect_identical(logs$broken, c("\uFFFD(\uFFFD", "\uFFFD\uFFFD"))
  expect_identical(logs$percent, "100% %s %d %n")
  expect_identical(logs$blanks, c("", "", "  indented  ", ""))
  expect_identical(logs$no_newline, "no newline at the end")
  expect_identical(logs$nothing, character())
  expect_identical(logs$empty, character())
  expect_identical(logs$long_line, strrep("x", 2^20))
  expect_identical(logs$long_wide_line, c(strrep("\u65e5", 2^19), "after"))
  expect_identical(logs$own_marker, paste("abba: begin of the log of", ids[[match("own_marker", names)]]))
})

test_that("a program with Latin-1 text fails in R as it does anywhere, and the log can be read", {
  path <- local_program(bytes_of("cat('before\\n')\ncat('caf", 0xE9, "\\n')\n"))
  id <- submit(path)
  wait_for_end(id)
  log <- log_of(id)
  expect_valid_text(log)
  expect_identical(log[[1L]], "before")
})
