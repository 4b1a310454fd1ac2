# Debian's nginx before an abba server, as the vignette api_setup has it.

# What the vignette has for nginx, with the server's Unix socket in place of the one there: a list of the lines for the
# block "http" and of those for the block "server". `name`: stands for "abba" in paths and zones. `...`: what stands
# there in place of other words.
documented_block <- function(socket, name = "abba", ...) {
  text <- readLines(file.path(repository, "vignettes/source/api_setup.Rmd"))
  marks <- grep("^# In the block \"(http|server)\":$", text)
  stopifnot(length(marks) == 2L, any(grepl("http://unix:/run/abba/http.sock:/;", text, fixed = TRUE)))
  end <- marks[[2L]] + which(startsWith(text[-seq_len(marks[[2L]])], "```"))[[1L]] - 1L
  changed <- function(lines) {
    lines <- sub("/run/abba/http.sock", socket, lines, fixed = TRUE)
    for (words in names(c(...))) {
      stopifnot(any(grepl(words, text, fixed = TRUE)))
      lines <- sub(words, c(...)[[words]], lines, fixed = TRUE)
    }
    gsub("(location /|@|zone=|limit_conn )abba", paste0("\\1", name), lines)
  }
  list(http = changed(text[(marks[[1L]] + 1L):(marks[[2L]] - 1L)]), server = changed(text[(marks[[2L]] + 1L):end]))
}

# Starts nginx on a port of loopback before the sockets of the blocks, of which nobody listens on the first yet, until
# `env` ends. blocks: a list of results of `documented_block()`. ...: further lines for the block "server".
local_nginx <- function(port, blocks, ..., env = parent.frame()) {
  folder <- withr::local_tempdir("nginx-", .local_envir = env)
  file <- file.path(folder, "nginx.conf")
  temporary <- paste0(c("client_body", "proxy", "fastcgi", "uwsgi", "scgi"), "_temp_path ", folder, "/temporary;")
  writeLines(c(
    "daemon off; master_process off;", paste0("pid ", folder, "/pid;"), paste0("error_log ", folder, "/error;"),
    "events {}", "http {", "access_log off;", temporary,
    unlist(lapply(blocks, `[[`, "http")), "server {", paste0("listen 127.0.0.1:", port, ";"),
    unlist(lapply(blocks, `[[`, "server")), ..., "}", "}"
  ), file)
  said <- file.path(folder, "said")
  process <- processx::process$new("nginx", c("-c", file, "-p", folder), stdout = NULL, stderr = said)
  withr::defer(process$kill(), envir = env)
  is_up <- function() identical(request(list(address = paste0("http://127.0.0.1:", port)), "abba/health")$status, 502L)
  wait_until(is_up, what = "nginx")
}
