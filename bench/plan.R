# A plan of a thousand programs in a random graph of five thousand edges, which a controller runs with nobody watching:
# once calmly, once with the controller killed again and again and the API server stopped twice. Then what ten thousand
# programs that wait cost a controller at rest. Times are the cluster's own, in whole seconds.
bench_plan <- function() {
  count <- size(1000L)
  plan <- random_plan(count, edges = 5L * count)
  levels <- max(plan$run_group)
  # What the cluster itself takes for as many programs.
  new_namespace("plan-none")
  batch_id <- submit_plan(plan$program)
  wait_for_batch(batch_id)
  found <- times_of_plan(plan, batch_id)
  note("plan none", list(`all, s` = found$all))
  row(paste(count, "programs without an order"), "from the first begin to the last end", found$all)
  for (way in c("calm", "killed")) {
    new_namespace(paste0("plan-", way))
    # They are there before the plan comes.
    stop_controller <- run_controllers(every = if (way == "killed") 5 else Inf)
    begin <- now()
    batch_id <- submit_plan(plan)
    say(sprintf("%s: submitted in %.1f s", way, now() - begin))
    seconds_away <- if (way == "killed") c(stop_api_server(5), stop_api_server(10)) else numeric()
    wait_for_batch(batch_id)
    stop_controller()
    found <- times_of_plan(plan, batch_id)
    figures <- list(`lag, s` = found$lag, `all, s` = found$all, `API server away, s` = seconds_away)
    note(paste("plan", way), Filter(length, figures))
    graph <- paste(count, "programs,", 5L * count, "edges,", levels, "levels,", way)
    row(graph, "begun before a predecessor's end", found$early, "programs",
      goal = "none", reached = found$early == 0L
    )
    row("", "from the last predecessor's end to the release", found$lag,
      goal = "at most 1 s (median)", reached = stats::median(found$lag) <= 1
    )
    row("", "from the first begin to the last end, for each level", found$all / levels)
    overhead <- found$all / levels - found$run
    row("", "the same without what a program takes on its node", overhead,
      goal = "at most 1 s", reached = overhead <= 1
    )
    if (length(seconds_away) > 0L) row("", "of it the API server was away, for each level", sum(seconds_away) / levels)
  }
  bench_plan_at_rest(size(10000L))
}

# What programs that wait cost a controller: the first one never ends.
bench_plan_at_rest <- function(count) {
  new_namespace("plan-rest")
  paths <- programs(count)
  plan <- abba_plan(
    paths,
    after = c("", rep(basename(paths[[1L]]), count - 1L)),
    user_tag = c("hold", rep("", count - 1L)), cpu_limit = played_cores
  )
  submit_plan(plan)
  controller <- begin_other_r("abba_run_controller_local()", new_session_folder())
  on.exit(controller$kill_tree())
  wait_for_words(controller, "are followed")
  # What it does as it starts is over.
  Sys.sleep(10)
  share <- vapply(seq_len(size(6L)), function(i) cores_used_by(controller, seconds = 10), 0)
  note("plan at rest", list(`cores` = share))
  row(paste(count, "programs that wait"), "a controller at rest, with its kubectl", 100 * share,
    unit = "% of a core",
    goal = "at most 5 %", reached = stats::median(share) <= 0.05
  )
}

# Programs of which each runs after some of the two hundred before it. Which is which their names do not tell.
random_plan <- function(count, edges) {
  set.seed(14)
  paths <- sample(programs(count))
  later <- sample.int(count - 1L, 2L * edges, replace = TRUE) + 1L
  before <- pmax(1L, later - sample.int(200L, 2L * edges, replace = TRUE))
  pairs <- utils::head(unique(data.frame(later, before)), edges)
  after <- split(basename(paths)[pairs$before], factor(pairs$later, seq_len(count)))
  abba_plan(paths, after = unname(after), cpu_limit = played_cores)
}

# The id of the batch.
submit_plan <- function(plan) {
  suppressMessages(abba_submit_k8s_batch_local(plan, cpu_limit = played_cores))$batch_id[[1L]]
}

# Runs a controller and, `every` so many seconds, kills it with all its processes and starts another, in an R of its
# own. A function that ends it all.
run_controllers <- function(every) {
  folder <- new_session_folder()
  if (is.infinite(every)) {
    controller <- begin_other_r("abba_run_controller_local()", folder)
    wait_for_words(controller, "are followed")
    return(function() controller$kill_tree())
  }
  keeper <- begin_other_r(c(
    "for (i in 1:10000) {",
    "  controller <- processx::process$new(file.path(R.home('bin'), 'Rscript'),",
    paste0("    c('-e', ", deparse(controller_code()), "), stdout = NULL, stderr = NULL, cleanup_tree = TRUE)"),
    paste0("  Sys.sleep(", every, ")"),
    "  controller$kill_tree()",
    "}"
  ), folder)
  function() keeper$kill_tree()
}

controller_code <- function() {
  paste0("abba::abba_run_controller_local(namespace = '", getOption("abba.k8s.namespace"), "')")
}

# Stops the API server `after` so many seconds, for three; the seconds until it serves again.
stop_api_server <- function(after) {
  Sys.sleep(after)
  cluster <- "tests/cluster/cluster"
  seconds({
    system2(cluster, c("stop", "apiserver"))
    Sys.sleep(3)
    system2(cluster, c("start", "apiserver"))
    system2(cluster, "wait-ready")
  })
}

wait_for_words <- function(process, words) {
  repeat {
    process$poll_io(1000)
    if (any(grepl(words, process$read_error_lines(), fixed = TRUE))) {
      return(invisible())
    }
    if (!process$is_alive()) stop("the controller has ended", call. = FALSE)
  }
}

# How many cores a process and its children use.
cores_used_by <- function(process, seconds) {
  used <- function() {
    ids <- c(process$get_pid(), vapply(ps::ps_children(process$as_ps_handle(), recursive = TRUE), ps::ps_pid, 0L))
    sum(vapply(ids, function(id) sum(unlist(ps::ps_cpu_times(ps::ps_handle(id))[c("user", "system")])), 0))
  }
  before <- used()
  Sys.sleep(seconds)
  (used() - before) / seconds
}

# Of a plan that has ended: how many programs began before the end of one that they run after, how many seconds after
# the last of these ends each was let go (the Job's `startTime`, which Kubernetes sets as it is), the seconds from
# the first begin to the last end, and how long a program takes from its node's begin to its end, in the mean: times are
# cut to whole seconds, so one of them alone says little.
times_of_plan <- function(plan, batch_id) {
  selector <- paste0("abba/batch-id=", batch_id)
  of <- function(resource, field) {
    items <- kubectl_json("get", resource, in_namespace(), "--selector", selector)$items
    programs <- basename(vapply(items, function(item) item$metadata$annotations[["abba/program-path"]], ""))
    stopifnot(setequal(programs, basename(plan$program)))
    field <- vapply(items, field, "")
    as.numeric(as.POSIXct(field, "UTC", "%Y-%m-%dT%H:%M:%SZ"))[match(basename(plan$program), programs)]
  }
  ended <- of("pods", function(pod) pod$status$containerStatuses[[1L]]$state$terminated$finishedAt)
  begun <- of("pods", function(pod) pod$status$startTime)
  released <- of("jobs", function(job) job$status$startTime)
  last <- vapply(plan$after, function(names) max(ended[plan$name %in% names], -Inf), 0)
  waited <- is.finite(last)
  list(
    early = sum(begun < last), lag = (released - last)[waited], all = max(ended) - min(begun),
    run = mean(ended - begun)
  )
}
