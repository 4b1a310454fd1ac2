# Measures what one caller who does all of it at once costs another: hundreds of log reads, large batches that are
# refused, and hundreds of looks, all side by side.
#
# Usage: make bench-api-attack BENCH="[SECONDS] [direct]"
#   SECONDS  how long each half lasts (60): without the attack and with it
#   direct   the server is asked itself; else by nginx, set up as the vignette api_setup has it
# It takes the project's cluster, a namespace of its own, and a server with the documented Role. Printed: times in ms of
# the other caller's requests, one after the other, in each half; how the attacker was answered; and the memory of the
# server's process in MiB.
library(abba)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
testthat_folder <- file.path(here, "../tests/cluster/testthat")
Sys.setenv(ABBA_CLUSTER_SCRIPT = normalizePath(file.path(testthat_folder, "../cluster")))
for (file in c("helper-cluster.R", "helper-jobs.R", "helper-api-server.R", "helper-nginx.R")) {
  source(file.path(testthat_folder, file))
}
is_direct <- "direct" %in% commandArgs(TRUE)
seconds <- as.numeric(c(setdiff(commandArgs(TRUE), "direct"), 60)[[1L]])

# One request of the caller who is measured: a list of `status` and `seconds`.
timed <- function(server, target, body = NULL) {
  handle <- curl::new_handle(timeout = 60)
  curl::handle_setheaders(
    handle,
    Authorization = paste("Key", server$keys$daemon), "Content-Type" = "application/json", Expect = ""
  )
  if (!is.null(body)) {
    curl::handle_setopt(handle, copypostfields = as.character(jsonlite::toJSON(body, auto_unbox = TRUE)))
  }
  answer <- curl::curl_fetch_memory(paste0(server$address, "/", target), handle)
  list(status = answer$status_code, seconds = answer$times[["total"]], body = rawToChar(answer$content))
}

# Submits, asks and cancels until the time is over: a data frame of `kind`, `status` and `seconds`, with the memory as
# an attribute.
rounds <- function(server) {
  rows <- list()
  memory <- memory_of(server)
  note <- function(kind, answer) {
    rows[[length(rows) + 1L]] <<- list(kind = kind, status = answer$status, seconds = answer$seconds)
    answer
  }
  end <- proc.time()[["elapsed"]] + seconds
  while (proc.time()[["elapsed"]] < end) {
    program <- list(file_path = "/a.R", program_text = "1", cpu_limit = 2, memory_limit = "1G")
    ids <- character()
    # A cancellation takes a second or two, and says little of the others.
    for (turn in 1:4) {
      submitted <- note("submit-job", timed(server, "submit-job", program))
      ids <- c(ids, jsonlite::fromJSON(submitted$body)$job_id)
      note("job-status", timed(server, paste0("job-status?job_id=", ids[[turn]])))
      Sys.sleep(0.3)
    }
    note("cancel-job", timed(server, "cancel-job", list(job_id = ids)))
    memory <- max(memory, memory_of(server))
  }
  structure(do.call(rbind.data.frame, rows), memory = memory)
}

show <- function(title, rows) {
  cat(title, ": ", nrow(rows), " requests, ", sum(rows$status != 200L), " without status 200, memory at most ",
    round(attr(rows, "memory")), " MiB\n",
    sep = ""
  )
  for (kind in c("submit-job", "job-status", "cancel-job")) {
    ms <- stats::quantile(1000 * rows$seconds[rows$kind == kind], c(0.5, 0.95, 1))
    number <- sum(rows$kind == kind)
    cat(sprintf("  %-12s %4d  p50 %6.1f  p95 %6.1f  max %7.1f ms\n", kind, number, ms[[1L]], ms[[2L]], ms[[3L]]))
  }
}

# A server as without the options that the tests set, and nginx before it unless it is asked directly.
local_server <- function(env = parent.frame()) {
  if (is_direct) {
    return(local_api_server(abba.api.requests.per.minute = 300, env = env))
  }
  socket <- file.path(withr::local_tempdir("bench-", .local_envir = env), "http.sock")
  port <- free_port()
  local_nginx(port, list(documented_block(socket)), env = env)
  local_api_server(abba.api.requests.per.minute = 300, socket = socket, port = port, path = "/abba", env = env)
}

main <- function() {
  local_namespace()
  server <- local_server()
  id <- submit_to(server, user = "games", text = "for (i in 1:20000) cat('line', i, strrep('x', 80), '\\n')")
  wait_for_end_at(server, id, "games")
  invisible(rounds(server))
  show("without the attack", rounds(server))
  flood <- local_flood(
    server, "games", rep(list(list(target = paste0("job-log?job_id=", id))), 200), local_large_requests(),
    rep(list(list(target = "jobs"), list(target = paste0("job-status?job_id=", id))), 100),
    # An attacker has a machine of their own: what sends here gets of this one what the server leaves.
    nice = 19
  )
  wait_until(function() any(flood$answers()$status == 429L), what = "the bound")
  show("with it", rounds(server))
  flood$stop()
  cat("the attacker was answered:\n")
  print(table(flood$answers()$status))
}
main()
