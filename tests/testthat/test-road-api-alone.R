# The road over an abba API needs nothing of this machine: no kubectl, and no process at all.

# What the API answers to each verb about one program that has failed.
local_whole_api <- function(env = parent.frame()) {
  metadata <- list(invocationId = test_job, abba_run = list(batch_id = "b", status = "Failed", attempts = 1L))
  record <- to_json(list(
    "_type" = "https://in-toto.io/Statement/v1",
    predicateType = "https://slsa.dev/provenance/v1",
    subject = list(list(
      name = "test_program.log",
      digest = list(sha256 = "624cd315231d0409d9c973c71b3745c94abdbcd5cc9eb5bfcf4cd8f04ad3cefe"),
      annotations = list(abba_role = "log")
    )),
    predicate = list(
      buildDefinition = list(
        buildType = "https://example.com/x",
        externalParameters = list(file_path = "test_program.R", container = "r:1")
      ),
      runDetails = list(builder = list(id = "https://example.com/x"), metadata = metadata)
    )
  ))
  done <- list(list(job_id = test_job, program = "test_program.R", action = "cancelled", reason = NULL))
  local_scripted_api(
    makes_jobs("POST /submit-job"), makes_jobs(),
    replies(status_json("Failed"), on = "GET /job-status"), replies(status_json("Failed"), on = "GET /batch-status"),
    news("Failed"),
    replies(log_json("[1] 4"), on = "GET /job-log"),
    replies(list(list(pod_id = "p-1", log = list("[1] 4"))), on = "GET /batch-log"),
    replies(list(record = record, log = "WzFdIDQK"), on = "GET /job-record"),
    replies(done, on = "POST /cancel-job"), replies(done, on = "POST /remove-job"),
    replies(list(job_json()), on = "GET /jobs"),
    replies(c(job_json(), list(attempts = 1L, events = list())), on = "GET /explain-job"),
    replies(list(list(
      job_id = test_job, status = "Failed", ending = FALSE, in_place = FALSE, file_path = "test_program.R",
      absolute_path = file.path(getwd(), "test_program.R"), user_tag = "", cpu_limit = "250m", memory_limit = "1G",
      container = "r:1", auto_mount_home = FALSE
    )), on = "GET /batch-arguments"),
    replies(list("r:1"), on = "GET /permitted-containers"), replies(list("gpu"), on = "GET /permitted-templates"),
    replies(list(user = "mike", operator = FALSE), on = "GET /whoami"),
    replies(list(cluster = TRUE, versions = list(abba = "0.1.0")), on = "GET /health"),
    env = env
  )
}

# How each is called that takes something else than the ids of jobs or of a batch.
api_calls <- list(
  abba_submit_job = function(verb) verb("test_program.R"),
  abba_submit_batch = function(verb) verb("test_program.R"),
  abba_submit_job_and_poll = function(verb) verb("test_program.R"),
  abba_submit_and_get_log = function(verb) verb("test_program.R"),
  abba_cluster_functions = function(verb) {
    registry <- batchtools::makeRegistry("registry", conf.file = NA, make.default = FALSE)
    registry$cluster.functions <- verb(api = TRUE, scheduler_latency = 0)
    batchtools::batchMap(identity, 1, reg = registry)
    batchtools::submitJobs(reg = registry)
    batchtools::findOnSystem(reg = registry)
    batchtools::killJobs(1L, reg = registry)
  },
  abba_save_batch = function(verb) verb("b", "logs"),
  abba_check_api = function(verb) print(verb()),
  abba_list_jobs = function(verb) print(verb()),
  abba_explain_job = function(verb) print(verb(test_job)),
  abba_permitted_containers = function(verb) verb(),
  abba_permitted_templates = function(verb) verb()
)

# The exported functions of this road: those that ask the API.
api_verbs <- function() {
  asks <- function(name) {
    verb <- get(name, asNamespace("abba"))
    is.function(verb) && any(c("road_api", "client_call", "client_texts") %in% all.names(body(verb)))
  }
  sort(Filter(asks, getNamespaceExports("abba")))
}

# The children that this process has had so far: the memory pages of those that it has waited for, and the others. The
# kernel adds them up where a child has done anything at all.
children_so_far <- function() {
  stat <- readLines("/proc/self/stat", warn = FALSE)
  # "cminflt", after the name, which may hold anything.
  waited_for <- strsplit(sub("^.*\\) ", "", stat), " ", fixed = TRUE)[[1L]][[9L]]
  # A thread may end meanwhile.
  children <- function(path) suppressWarnings(tryCatch(readLines(path), error = function(cnd) character()))
  others <- unlist(lapply(Sys.glob("/proc/self/task/*/children"), children))
  list(waited_for = waited_for, others = sort(others))
}

test_that("every verb over the API works without kubectl, and starts no process", {
  # What it looks at sees any process.
  before <- children_so_far()
  system2("true")
  expect_false(identical(children_so_far(), before))

  local_program()
  withr::local_options(batchtools.verbose = FALSE, batchtools.progress = FALSE)
  api <- local_whole_api()
  withr::local_envvar(PATH = withr::local_tempdir())
  withr::local_options(abba.kubectl = NULL)
  expect_error(abba_get_k8s_job_status_local(test_job, namespace = "n"), class = "abba_error_kubectl_missing")
  expect_identical(setdiff(names(api_calls), api_verbs()), character())
  quiet <- function(code) utils::capture.output(suppressWarnings(suppressMessages(code)))
  for (name in api_verbs()) {
    verb <- get(name, asNamespace("abba"))
    call <- api_calls[[name]]
    if (is.null(call)) call <- function(verb) verb(if (grepl("batch", name)) "b" else test_job)
    before <- children_so_far()
    asked <- length(api$requests())
    expect_identical(tryCatch(class(quiet(call(verb))), error = conditionMessage), "character", label = name)
    expect_identical(children_so_far(), before, label = name)
    expect_gt(length(api$requests()), asked, label = name)
  }
})
