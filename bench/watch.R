# Waiting: how long after a program's end it is known, and what waiting costs.

# From the moment at which the end of the container is in the API until the wait returns. That moment is seen by a watch
# of its own, of curl on a kubectl proxy of its own; so a figure may even be negative by a little.
bench_end <- function() {
  new_namespace("watch")
  let_kwok_play(FALSE)
  seen <- begin_independent_watch()
  on.exit({
    seen$end()
    let_kwok_play(TRUE)
  })
  rounds <- size(12L)
  # A job whose end is at no particular moment of a polling interval.
  job <- function() {
    text <- sprintf("Sys.sleep(%.3f)", stats::runif(1L, 0.2, 3.2))
    suppressMessages(abba_submit_k8s_job_local(programs(1L, text), cpu_limit = 0.2, container = image))$job_id
  }
  figures <- alternate("end", rounds, list(
    abba = function() {
      id <- job()
      abba_watch_k8s_job_local(id)
      now() - seen$end_of(id, now())
    },
    poll = function() {
      id <- job()
      repeat {
        pods <- kubectl_json("get", "pods", in_namespace(), "--selector", paste0("job-name=", id))
        phases <- vapply(pods$items, function(pod) pod$status$phase, "")
        if (any(phases %in% c("Succeeded", "Failed"))) break
        Sys.sleep(3)
      }
      returned <- now()
      returned - seen$end_of(id, returned)
    },
    wait = function() {
      id <- job()
      kubectl("wait", in_namespace(), "--for=condition=complete", paste0("job/", id), "--timeout=60s")
      returned <- now()
      returned - seen$end_of(id, returned)
    }
  ))
  row("end of a job to the wait's return", "abba", figures$abba,
    goal = "median at most 50 ms", reached = stats::median(figures$abba) <= 0.05
  )
  row("", "`kubectl get pods -l job-name=...` every 3 s", figures$poll)
  row("", "`kubectl wait --for=condition=complete` (knows no failure)", figures$wait)
}

# Watches the pods of the namespace. `end_of` gives the time at which the end of a job's container arrived.
begin_independent_watch <- function() {
  folder <- tempfile("independent-")
  dir.create(folder)
  socket <- file.path(folder, "socket")
  proxy <- processx::process$new("kubectl", c("proxy", paste0("--unix-socket=", socket)))
  while (!file.exists(socket)) Sys.sleep(0.01)
  path <- paste0("/api/v1/namespaces/", getOption("abba.k8s.namespace"), "/pods?watch=1")
  # Each line with the time of its arrival before it.
  script <- paste(
    "use Time::HiRes 'time'; $| = 1; open(my $stream, '-|', @ARGV) or die;",
    "while (<$stream>) { printf '%.6f %s', time, $_ }"
  )
  lines <- file.path(folder, "lines")
  watch <- processx::process$new("perl", c(
    "-e", script, "curl", "--silent", "--no-buffer", "--user-agent", "bench", "--unix-socket", socket,
    paste0("http://localhost", path)
  ), stdout = lines, cleanup_tree = TRUE)
  end_of <- function(id, returned) {
    for (attempt in 1:100) {
      all <- if (file.exists(lines)) readLines(lines, warn = FALSE) else character()
      of_job <- all[grepl(id, all, fixed = TRUE)]
      ends <- of_job[grepl("\"terminated\":{", of_job, fixed = TRUE)]
      if (length(ends) > 0L) {
        return(as.numeric(sub(" .*", "", ends[[1L]])))
      }
      Sys.sleep(0.05)
    }
    stop("the end of ", id, " was not seen", call. = FALSE)
  }
  list(end_of = end_of, end = function() {
    watch$kill_tree()
    proxy$kill()
  })
}

# What a wait for a thousand jobs costs while nothing changes: of R, and of the kubectl that it keeps.
bench_watch <- function() {
  count <- size(1000L)
  length <- size(30L, 5L)
  new_namespace("watching")
  batch <- submit_batch(count, user_tag = "hold")
  batch_id <- batch$batch_id[[1L]]
  wait_for_batch(batch_id, "Running")
  folder <- tempfile("watching-")
  dir.create(folder)
  r <- begin_other_r(paste0("abba_watch_k8s_batch_local(", deparse(batch_id), ", timeout_seconds = Inf)"), folder)
  on.exit(r$kill_tree())
  streams <- function() {
    sockets <- readLines("/proc/net/unix")
    # 03: connected; the proxy's end bears the path.
    sum(grepl(paste0(" 03 +[0-9]+ ", folder, "/abba-[^ ]*/socket$"), sockets))
  }
  while (streams() != 1L) {
    stopifnot(r$is_alive())
    Sys.sleep(0.1)
  }
  Sys.sleep(3)
  parts <- processes_of(r$get_pid())
  rounds <- 3L
  shares <- lapply(parts, function(part) numeric())
  open <- integer()
  for (round in seq_len(rounds)) {
    before <- lapply(parts, processor_time)
    begin <- now()
    Sys.sleep(length)
    passed <- now() - begin
    for (name in names(parts)) {
      shares[[name]] <- c(shares[[name]], 100 * (processor_time(parts[[name]]) - before[[name]]) / passed)
    }
    open <- c(open, streams())
  }
  stopifnot(r$is_alive())
  note("watching", c(shares, list(streams = open)))
  work <- paste("watching", count, "jobs, nothing changing")
  row(work, "R: share of a core", shares$R, unit = "%", goal = "under 2 %", reached = stats::median(shares$R) < 2)
  row("", "its `kubectl proxy` and the shell that guards it", shares$proxy, unit = "%")
  row("", "streams", open, unit = "", goal = "one", reached = all(open == 1L))
}

# R itself, and what it has started.
processes_of <- function(pid) {
  children <- function(pid) {
    suppressWarnings(as.integer(system2("pgrep", c("--parent", pid), stdout = TRUE)))
  }
  below <- function(pid) {
    direct <- children(pid)
    c(direct, unlist(lapply(direct, below)))
  }
  # Rscript runs R in its own place, or as a child where it cannot.
  list(R = pid, proxy = below(pid))
}

# Seconds of processor time that processes have used, by themselves and in the kernel.
processor_time <- function(pids) {
  ticks <- vapply(pids, function(pid) {
    stat <- readLines(file.path("/proc", pid, "stat"))
    fields <- strsplit(sub(".*\\) ", "", stat), " ", fixed = TRUE)[[1L]]
    sum(as.numeric(fields[12:13]))
  }, 0)
  sum(ticks) / clock_ticks
}

clock_ticks <- as.numeric(system2("getconf", "CLK_TCK", stdout = TRUE))
