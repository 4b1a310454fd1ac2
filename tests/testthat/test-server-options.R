options_error <- function(..., keys = "daemon") {
  local_api(..., keys = keys)
  conditionMessage(raised(abba:::api_open()))
}

test_that("an option that is wrong is named when the server starts", {
  wrong <- list(
    list(abba.permitted.queues = 1), list(abba.permitted.queues = "A b"),
    list(abba.permitted.containers = 1), list(abba.permitted.containers = "a b"), list(abba.default.container = ""),
    list(abba.lower.cpu.limit = "lots"), list(abba.cpu.limit = TRUE), list(abba.lower.cpu.limit = 3),
    list(abba.lower.memory.limit = "512m"), list(abba.memory.limit = "1"), list(abba.memory.limit = NA),
    list(abba.permitted.mounts = "/studies"), list(abba.permitted.mounts = list(list(server = "x"))),
    list(abba.permitted.mounts = list(list(server = "x", path = "/y", readOnly = "yes"))),
    list(abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies/../etc"))),
    list(abba.permitted.templates = 1), list(abba.permitted.templates = list(list())),
    list(abba.permitted.templates = list(gpu = "/no/such.yaml")), list(abba.permitted.templates = list("a b" = list())),
    list(abba.permitted.templates = list(gpu = list(spec = list(suspend = TRUE)))),
    list(abba.permitted.templates = list(gpu = NULL)),
    list(abba.home.nfs.ip.address = 1), list(abba.api.operators = NA_character_),
    list(abba.api.requests.per.minute = "many"), list(abba.api.requests.per.minute = 0),
    list(abba.api.requests.per.minute = 1.5), list(abba.api.jobs.per.minute = 0),
    list(abba.api.open.jobs = -1), list(abba.api.log.page.bytes = 0),
    list(abba.api.snapshot.seconds = -1), list(abba.api.cluster.timeout = 0), list(abba.api.cluster.timeout = "x"),
    list(abba.api.keys = c("a", "b")), list(abba.api.keys = "/no/such/file"), list(abba.k8s.namespace = 1),
    list(abba.kubectl = 1), list(abba.api.log = 1), list(abba.api.least.uid = "x"), list(abba.api.least.uid = -1),
    list(abba.api.least.gid = 0.5), list(abba.k8s.keep.days = "7"), list(abba.k8s.keep.days = 0),
    list(abba.api.requests.at.once = 0), list(abba.api.log.reads = 0), list(abba.api.log.wait = -1),
    list(abba.api.log.wait = 1e5), list(abba.api.batch.bytes = 0), list(abba.api.batch.bytes = "64M"),
    list(abba.api.mounts = 33), list(abba.api.mounts = -1), list(abba.api.strangers.per.minute = 0),
    list(abba.api.profiles = "large"), list(abba.api.profiles = list(list(groups = "daemon"))),
    list(abba.api.profiles = list(large = list(abba.cpu.limit = 16))),
    list(abba.api.profiles = list(large = list(groups = character()))),
    list(abba.api.profiles = list(large = list(groups = "no-such-group-here"))),
    list(abba.api.profiles = list(large = list(groups = "daemon", abba.cpu.limit = "lots"))),
    list(abba.api.profiles = list(large = list(groups = "daemon", abba.permitted.containers = 1))),
    list(abba.api.profiles = list(large = list(groups = "daemon", abba.api.operators = "daemon"))),
    list(abba.home.path = "/"), list(abba.home.path = "home"), list(abba.home.path = 1),
    list(abba.home.path = character()), list(abba.api.time.limit = "1h"), list(abba.api.time.limit = 0.5),
    list(abba.api.default.time.limit = -1),
    list(abba.api.disk.limit = TRUE), list(abba.api.disk.limit = 2), list(abba.api.default.disk.limit = "lots"),
    list(abba.api.open.cpu = "lots"), list(abba.api.open.memory = "1"), list(abba.api.kept.jobs = 0),
    list(abba.api.kept.jobs = 1.5), list(abba.api.kept.program.bytes = "1G")
  )
  for (options in wrong) {
    message <- do.call(options_error, options)
    expect_match(message, names(options), fixed = TRUE, info = paste(names(options), message))
  }
})

test_that("how callers are known is stated, and what does not fit keeps the server from starting", {
  opened <- function(...) {
    local_api(...)
    abba:::api_open()
  }
  file <- local_api()$key_file
  expect_identical(opened(), "keys")
  expect_identical(opened(abba.api.identity = "keys"), "keys")
  expect_identical(opened(keys = NULL, abba.api.identity = "local"), "local")
  expect_identical(opened(keys = NULL, abba.api.identity = "connect", plumber.sharedSecret = "x"), "connect")
  # The environment variable alone says nothing: whatever content on Connect starts inherits it.
  on_connect <- function(...) {
    local_api(..., keys = NULL)
    withr::local_envvar(RSTUDIO_PRODUCT = "CONNECT")
    abba:::api_open()
  }
  expect_error(on_connect(), "abba.api.identity", class = "abba_error_input")
  expect_error(on_connect(abba.api.identity = "connect"), "plumber.sharedSecret", class = "abba_error_input")
  expect_identical(on_connect(abba.api.keys = file), "keys")
  expect_identical(on_connect(plumber.sharedSecret = "x"), "connect")
  # As plumber reads it.
  local_api(keys = NULL, abba.api.identity = "connect")
  withr::local_envvar(PLUMBER_SHAREDSECRET = "from the environment")
  expect_identical(abba:::api_open(), "connect")
  who <- function(secret) {
    credentials <- "{\"user\": \"bin\"}"
    ask_api("whoami", HTTP_PLUMBER_SHARED_SECRET = secret, HTTP_RSTUDIO_CONNECT_CREDENTIALS = credentials)$status
  }
  expect_identical(who("from the environment"), 200L)
  expect_identical(who("another"), 403L)
  withr::local_envvar(PLUMBER_SHAREDSECRET = NA)
  expect_words({
    cat(options_error(keys = NULL), "\n")
    cat(options_error(keys = NULL, abba.api.identity = "nobody"), "\n")
    cat(options_error(keys = NULL, abba.api.identity = "keys"), "\n")
    cat(options_error(keys = NULL, abba.api.identity = "connect"), "\n")
    cat(options_error(abba.api.identity = "local"), "\n")
    cat(options_error(keys = NULL, abba.api.identity = "local", abba.api.operators = "sys"), "\n")
    cat(options_error(keys = NULL, abba.api.identity = "proxy"), "\n")
    cat(options_error(keys = NULL, abba.api.identity = "proxy", plumber.sharedSecret = "0123456789abcdef"), "\n")
    cat(options_error(abba.api.proxy.header = "X-User"), "\n")
  })
})

test_that("options that are right are taken", {
  api <- local_api(
    abba.permitted.containers = c("registry.example.com/r:4.2", "registry.example.com/r:4.3"),
    abba.permitted.queues = c("day", "night"), abba.lower.cpu.limit = 0.5, abba.cpu.limit = 1, abba.memory.limit = "2G",
    abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies")),
    abba.permitted.templates = list(
      gpu = list(metadata = list(labels = list(is = "gpu"))),
      default = list(metadata = list(labels = list(is = "usual")))
    ),
    abba.api.operators = c("sys", "bin"), keys = c("daemon", "sys")
  )
  kubectl <- local_scripted_kubectl(says(list_of(), on = "get *"), creates())
  ask <- function(...) ask_api(..., key = api$keys$daemon)
  expect_identical(
    unlist(ask("permitted-containers")$body), c(image, "registry.example.com/r:4.2", "registry.example.com/r:4.3")
  )
  expect_identical(unlist(ask("permitted-templates")$body), c("default", "gpu"))
  expect_false(ask("whoami")$body$operator)
  expect_true(ask_api("whoami", key = api$keys$sys)$body$operator)
  submit <- function(limits) {
    submit_api(
      key = api$keys$daemon, body = paste0("{\"file_path\": \"/x/a.R\", \"program_text\": \"1\", ", limits, "}")
    )$status
  }
  expect_identical(submit("\"cpu_limit\": 0.4"), 403L)
  expect_identical(submit("\"cpu_limit\": 1.1"), 403L)
  expect_identical(submit("\"memory_limit\": \"2001M\""), 403L)
  expect_identical(submit("\"cpu_limit\": 1, \"queue\": \"other\""), 403L)
  expect_identical(submit("\"job_template\": \"usual\""), 403L)
  expect_identical(kubectl$count(), 0L)
  expect_identical(submit("\"cpu_limit\": 1, \"memory_limit\": \"2G\""), 200L)
  expect_identical(kubectl$manifest(length(kubectl$requests()))$metadata$labels$is, "usual")
  expect_identical(submit("\"cpu_limit\": 1, \"queue\": \"night\""), 200L)
  created <- grep("^create ", kubectl$requests())
  queues <- vapply(created, function(i) kubectl$manifest(i)$metadata$labels[["kueue.x-k8s.io/queue-name"]], "")
  expect_identical(queues, c("day", "night"))
  expect_identical(submit("\"job_template\": \"gpu\""), 200L)
  expect_identical(kubectl$manifest(length(kubectl$requests()))$metadata$labels$is, "gpu")
})

test_that("programs run as accounts of people, from the number on that the machine or the administrator names", {
  api <- local_api(abba.api.least.uid = NULL)
  kubectl <- local_scripted_kubectl(says(list_of(), on = "get *"), creates())
  # Accounts of the system, on every machine.
  answer <- submit_api(key = api$keys$daemon)
  expect_identical(answer$status, 403L)
  expect_match(answer$body$message, "user number 1, which is the system's", fixed = TRUE)
  api <- local_api(abba.api.least.uid = 1, abba.api.least.gid = 2)
  expect_match(submit_api(key = api$keys$daemon)$body$message, "group number 1, which", fixed = TRUE)
  expect_false(any(startsWith(kubectl$requests(), "create")))
  # What somebody has submitted before stays theirs to look at.
  expect_identical(ask_api("jobs", key = api$keys$daemon)$status, 200L)
})

test_that("messages of wrong options", {
  expect_words({
    cat(options_error(abba.memory.limit = "512m"), "\n")
    cat(options_error(abba.lower.cpu.limit = 3), "\n")
    cat(options_error(abba.permitted.mounts = "/studies"), "\n")
    cat(options_error(abba.permitted.templates = list(list())), "\n")
    cat(options_error(abba.permitted.templates = list(gpu = list(spec = list(suspend = TRUE)))), "\n")
    cat(options_error(abba.api.requests.per.minute = 1.5), "\n")
    cat(options_error(abba.api.keys = "/no/such/file"), "\n")
  })
})
