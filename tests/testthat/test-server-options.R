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
    list(abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies/../etc"))),
    list(abba.home.nfs.ip.address = 1), list(abba.api.operators = NA_character_),
    list(abba.api.requests.per.minute = "many"), list(abba.api.requests.per.minute = 0),
    list(abba.api.requests.per.minute = 1.5), list(abba.api.open.jobs = -1), list(abba.api.log.page.bytes = 0),
    list(abba.api.snapshot.seconds = -1), list(abba.api.cluster.timeout = 0), list(abba.api.cluster.timeout = "x"),
    list(abba.api.keys = c("a", "b")), list(abba.api.keys = "/no/such/file"), list(abba.k8s.namespace = 1),
    list(abba.kubectl = 1), list(abba.api.log = 1)
  )
  for (options in wrong) {
    message <- do.call(options_error, options)
    expect_match(message, names(options), fixed = TRUE, info = paste(names(options), message))
  }
})

test_that("options that are right are taken", {
  api <- local_api(
    abba.permitted.containers = c("registry.example.com/r:4.2", "registry.example.com/r:4.3"),
    abba.permitted.queues = c("day", "night"), abba.lower.cpu.limit = 0.5, abba.cpu.limit = 1, abba.memory.limit = "2G",
    abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies")),
    abba.api.operators = c("sys", "bin"), keys = c("daemon", "sys")
  )
  kubectl <- local_scripted_kubectl(says(list_of(), on = "get *"), creates())
  ask <- function(...) ask_api(..., key = api$keys$daemon)
  expect_identical(
    unlist(ask("permitted-containers")$body), c(image, "registry.example.com/r:4.2", "registry.example.com/r:4.3")
  )
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
  expect_identical(kubectl$count(), 0L)
  expect_identical(submit("\"cpu_limit\": 1, \"memory_limit\": \"2G\""), 200L)
  expect_identical(submit("\"cpu_limit\": 1, \"queue\": \"night\""), 200L)
  created <- grep("^create ", kubectl$requests())
  queues <- vapply(created, function(i) kubectl$manifest(i)$metadata$labels[["kueue.x-k8s.io/queue-name"]], "")
  expect_identical(queues, c("day", "night"))
})

test_that("messages of wrong options", {
  expect_words({
    cat(options_error(abba.memory.limit = "512m"), "\n")
    cat(options_error(abba.lower.cpu.limit = 3), "\n")
    cat(options_error(abba.permitted.mounts = "/studies"), "\n")
    cat(options_error(abba.api.requests.per.minute = 1.5), "\n")
    cat(options_error(abba.api.keys = "/no/such/file"), "\n")
  })
})
