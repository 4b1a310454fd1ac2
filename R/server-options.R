# What the administrator of an abba server sets with options.

# The options as the core's policy wants them. `identity` as of `api_identity()`.
api_policy <- function(identity, call = rlang::caller_env()) {
  text <- function(name, default = NULL) {
    check_string(getOption(name, default), null = TRUE, argument = name, call = call)
  }
  number <- function(name, default) {
    check_number(getOption(name, default), argument = name, call = call)
  }
  number_or_null <- function(name) check_number(getOption(name), null = TRUE, argument = name, call = call)
  limit_or_null <- function(name) if (!is.null(getOption(name))) limit_option(name, NULL, call)
  count <- function(name, default, least = 1) {
    number <- number(name, default)
    if (number != round(number) || number < least || number > .Machine$integer.max) {
      abort_input(name, paste("must be a whole number from", least, "on"), number, call)
    }
    number
  }
  least <- function(name) if (!is.null(getOption(name))) count(name, NULL, least = 0)
  flag <- function(name) check_flag(getOption(name, FALSE), argument = name, call = call)
  texts <- function(name) {
    I(check_strings(getOption(name, character()), argument = name, call = call))
  }
  list(
    identity = identity,
    secret = plumber_secret(call),
    proxy_header = text("abba.api.proxy.header"),
    on_socket = !is.null(the_server$socket),
    permitted_containers = texts("abba.permitted.containers"),
    default_container = text("abba.default.container"),
    permitted_queues = texts("abba.permitted.queues"),
    lower_cpu_limit = limit_option("abba.lower.cpu.limit", 0.001, call),
    cpu_limit = limit_option("abba.cpu.limit", 2, call),
    lower_memory_limit = limit_option("abba.lower.memory.limit", "128M", call),
    memory_limit = limit_option("abba.memory.limit", "1G", call),
    default_time_limit = number_or_null("abba.api.default.time.limit"),
    time_limit = number_or_null("abba.api.time.limit"),
    default_disk_limit = limit_or_null("abba.api.default.disk.limit"),
    disk_limit = limit_or_null("abba.api.disk.limit"),
    permitted_mounts = permitted_mounts_option(call),
    permitted_templates = permitted_templates_option(call),
    home_nfs_ip_address = text("abba.home.nfs.ip.address"),
    home_path = if (!is.null(getOption("abba.home.path"))) texts("abba.home.path"),
    least_uid = least("abba.api.least.uid"),
    least_gid = least("abba.api.least.gid"),
    keep_days = number_or_null("abba.k8s.keep.days"),
    operators = texts("abba.api.operators"),
    log = list(
      file = path_option("abba.api.log", call),
      required = flag("abba.api.log.required"),
      trusted_proxies = texts("abba.api.trusted.proxies")
    ),
    metrics = check_choice(
      getOption("abba.api.metrics", "callers"), c("callers", "operators", "anybody"),
      argument = "abba.api.metrics", call = call
    ),
    refuse_nologin = flag("abba.api.refuse.nologin"),
    requests_per_minute = count("abba.api.requests.per.minute", 300),
    # A request may hold a thousand.
    jobs_per_minute = count(
      "abba.api.jobs.per.minute", min(10 * getOption("abba.api.requests.per.minute", 300), .Machine$integer.max)
    ),
    open_jobs = count("abba.api.open.jobs", 500),
    open_cpu = limit_or_null("abba.api.open.cpu"),
    open_memory = limit_or_null("abba.api.open.memory"),
    kept_jobs = count("abba.api.kept.jobs", 5000),
    kept_program_bytes = count("abba.api.kept.program.bytes", 128 * 1024^2),
    log_page_bytes = count("abba.api.log.page.bytes", 4 * 1024^2),
    snapshot_seconds = number("abba.api.snapshot.seconds", 1),
    profiles = profiles_option(identity, call),
    bounds = list(
      requests_at_once = count("abba.api.requests.at.once", 8),
      log_reads = count("abba.api.log.reads", 4),
      log_wait_seconds = number("abba.api.log.wait", 20),
      batch_bytes = count("abba.api.batch.bytes", 64 * 1024^2),
      mounts = count("abba.api.mounts", 32, least = 0),
      strangers_per_minute = count("abba.api.strangers.per.minute", 600),
      servers = count("abba.api.servers", 1)
    )
  )
}

# The options that a profile may have in place of those of all callers.
profile_options <- c(
  "abba.default.container", "abba.permitted.containers", "abba.permitted.queues", "abba.lower.cpu.limit",
  "abba.cpu.limit", "abba.lower.memory.limit", "abba.memory.limit", "abba.api.default.time.limit",
  "abba.api.time.limit", "abba.api.default.disk.limit", "abba.api.disk.limit", "abba.permitted.mounts",
  "abba.permitted.templates", "abba.api.open.jobs", "abba.api.open.cpu", "abba.api.open.memory",
  "abba.api.kept.jobs", "abba.api.kept.program.bytes"
)

# The profiles, each with all options as they are for its members.
profiles_option <- function(identity, call) {
  name <- "abba.api.profiles"
  profiles <- getOption(name, list())
  is_named <- function(x) {
    is.list(x) && length(names(x)) == length(x) && all(nzchar(names(x))) && anyDuplicated(names(x)) == 0L
  }
  if (!is_named(profiles) || !all(vapply(profiles, is_named, NA))) {
    rule <- "must be a list of lists with names, such as list(large = list(groups = \"biostat\", abba.cpu.limit = 16))"
    abort_input(name, rule, NULL, call)
  }
  if (length(profiles) == 0L) {
    return(NULL)
  }
  lapply(names(profiles), function(one) profile_settings(one, profiles[[one]], identity, call))
}

profile_settings <- function(name, profile, identity, call) {
  argument <- paste0("abba.api.profiles$", name)
  unknown <- setdiff(names(profile), c("groups", profile_options))
  if (length(unknown) > 0L) {
    rule <- paste0("must have `groups` and options for callers, such as `abba.cpu.limit`, not `", unknown[[1L]], "`")
    abort_input(argument, rule, NULL, call)
  }
  groups <- check_strings(profile[["groups"]], argument = paste0(argument, "$groups"), call = call)
  # Whatever reads an option reads the profile's.
  before <- options(c(profile[setdiff(names(profile), "groups")], list(abba.api.profiles = NULL)))
  on.exit(options(before))
  settings <- tryCatch(api_policy(identity, call), abba_error_input = function(cnd) {
    abort_words(paste0("The option `", argument, "` cannot be used: ", conditionMessage(cnd)), call)
  })
  list(name = name, groups = I(groups), settings = settings)
}

# How callers are known, as the administrator has stated it: "keys", "connect", "proxy" or "local". Where nothing is
# stated, a file of keys says it, or Posit Connect with the secret that it gives to its content.
# <https://docs.posit.co/connect/user/content-settings/#default-environment-variables>
api_identity <- function(call = rlang::caller_env()) {
  stated <- getOption("abba.api.identity")
  has_keys <- !is.null(getOption("abba.api.keys"))
  if (is.null(stated)) {
    is_on_connect <- identical(Sys.getenv("RSTUDIO_PRODUCT"), "CONNECT") && !is.null(plumber_secret(call))
    stated <- if (has_keys) "keys" else if (is_on_connect) "connect" else abort_identity(no_identity, known_by, call)
  }
  stated <- check_choice(stated, c("keys", "connect", "proxy", "local"), argument = "abba.api.identity", call = call)
  if (has_keys && stated != "keys") {
    abort_identity(
      paste0(
        "The option `abba.api.identity` is \"", stated, "\", and `abba.api.keys` names keys that nobody would ask for."
      ),
      "Take `abba.api.keys` out, or set `abba.api.identity` to \"keys\".", call
    )
  }
  if (stated == "local" && length(getOption("abba.api.operators")) > 0L) {
    abort_identity(
      "The option `abba.api.identity` is \"local\", and such a server has no callers for `abba.api.operators` to name.",
      "Take `abba.api.operators` out, or let callers be known: see vignette(\"api_setup\").", call
    )
  }
  stated
}

no_identity <- "An abba server must know its callers, and the option `abba.api.identity` does not say how."

known_by <- paste(
  "For yourself, on your own machine: options(abba.api.identity = \"local\"). For a department: make keys with",
  "abba_api_key_create() and name their file with options(abba.api.keys = ...). See vignette(\"api_setup\")."
)

abort_identity <- function(message, advice, call) {
  abort_words(c(message, x = "The server is not started.", i = advice), call)
}

# The secret that the program before the server sends with each request; NULL: there is none. Read as plumber reads it.
plumber_secret <- function(call = rlang::caller_env()) {
  from_environment <- Sys.getenv("PLUMBER_SHAREDSECRET")
  secret <- getOption("plumber.sharedSecret", if (nzchar(from_environment)) from_environment)
  check_string(secret, null = TRUE, argument = "plumber.sharedSecret", call = call)
}

# A limit as Kubernetes writes it.
limit_option <- function(name, default, call) check_memory_limit(getOption(name, default), name, call)

permitted_mounts_option <- function(call) {
  mounts <- getOption("abba.permitted.mounts", list())
  is_mount <- function(mount) is.list(mount) && setequal(setdiff(names(mount), "readOnly"), c("server", "path"))
  if (!is.list(mounts) || !all(vapply(mounts, is_mount, NA))) {
    abort_input(
      "abba.permitted.mounts",
      "must be a list such as list(list(server = \"192.0.2.1\", path = \"/studies\"))", mounts, call
    )
  }
  for (mount in mounts) {
    if (!is.null(mount[["readOnly"]])) check_flag(mount[["readOnly"]], "abba.permitted.mounts$readOnly", call)
  }
  if (length(mounts) == 0L) NULL else as_utf8(mounts, "abba.permitted.mounts", call)
}

# The templates by their names, each as JSON.
permitted_templates_option <- function(call) {
  name <- "abba.permitted.templates"
  templates <- getOption(name, list())
  names <- names(templates)
  if (!(is.list(templates) || is.character(templates)) || length(templates) > 0L && is.null(names) ||
    !all(nzchar(names)) || anyDuplicated(names) > 0L || any(vapply(templates, is.null, NA))) {
    rule <- "must be a list with a name for each template, such as list(default = \"/etc/abba/job.yaml\")"
    abort_input(name, rule, templates, call)
  }
  if (length(templates) == 0L) {
    return(NULL)
  }
  Map(function(template, one) {
    check_job_template(template, argument = paste0(name, "$", one), call = call)
  }, as.list(templates), names)
}

# What a call of the server to the cluster may take: nobody else is answered
# meanwhile, so it is less than for a person at the console.
api_settings <- function(call = rlang::caller_env()) {
  namespace <- check_string(getOption("abba.k8s.namespace"), null = TRUE, argument = "abba.k8s.namespace", call = call)
  settings <- settings(namespace, call)
  settings$request_timeout <- seconds_option("abba.api.cluster.timeout", 10, call, 3600, "3600 seconds")
  settings
}

# The largest body of a request, in bytes.
check_largest_request <- function(largest, argument, call) {
  largest <- check_number(largest, argument = argument, call = call)
  if (largest < 1) abort_input(argument, "must be at least 1", largest, call)
  largest
}
