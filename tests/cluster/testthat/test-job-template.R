# The administrator's Job template, as a real cluster takes it.
namespace <- local_namespace()

of_pod <- function(...) list(spec = list(template = list(spec = list(...))))

pod_status <- function(job_id) field("pod", pods_of(job_id), ".status.containerStatuses[0].state.waiting.reason")

pod_spec <- function(job_id, path) field("pod", pods_of(job_id), paste0(".spec", path))

# The repository's registry once more, but for those who know the password; the image's name there, until env ends.
local_registry_with_password <- function(env = parent.frame()) {
  folder <- withr::local_tempdir("registry-", .local_envir = env)
  hash <- processx::run("perl", c("-e", "print crypt('a-password', '$2b$05$abcdefghijklmnopqrstuu')"))$stdout
  writeLines(paste0("mike:", hash), file.path(folder, "passwords"))
  data <- grep("rootdirectory", readLines(file.path(dirname(cluster_kubeconfig()), "registry.yml")), value = TRUE)
  writeLines(c(
    "version: 0.1", "storage:", data, "  maintenance:", "    readonly: {enabled: true}",
    "http:", "  addr: 127.0.0.1:0", "auth:", "  htpasswd:", "    realm: registry",
    paste0("    path: ", file.path(folder, "passwords"))
  ), file.path(folder, "registry.yml"))
  log <- file.path(folder, "log")
  server <- processx::process$new(
    "docker-registry", c("serve", file.path(folder, "registry.yml")),
    stdout = log, stderr = "2>&1"
  )
  withr::defer(server$kill(), envir = env)
  address <- "listening on (127[.]0[.]0[.]1:[0-9]+)"
  line <- function() grep(address, readLines(log, warn = FALSE), value = TRUE)
  wait_until(function() length(line()) > 0L, what = "the registry to listen")
  paste0(regmatches(line(), regexec(address, line()))[[1L]][[2L]], "/r-base:4.2.2")
}

test_that("a pull secret opens a registry that asks for a password", {
  image <- local_registry_with_password()
  server <- sub("/.*", "", image)
  kubectl_lines(
    "create", "secret", "docker-registry", "registry",
    paste0("--docker-server=", server), "--docker-username=mike", "--docker-password=a-password"
  )
  path <- local_program("cat('pulled\\n')")
  without <- submit(path, container = image)
  wait_until(function() has_pod(without), what = "a pod")
  wait_until(function() any(grepl("ImagePull", pod_status(without))), what = "the image to be refused")
  expect_match(abba_explain_k8s_job_local(without)$reason, "image", fixed = TRUE)
  template <- withr::local_tempfile(fileext = ".yaml")
  writeLines(c("spec:", "  template:", "    spec:", "      imagePullSecrets:", "        - name: registry"), template)
  withr::local_options(abba.k8s.job.template = template)
  id <- submit(path, container = image)
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), "pulled")
  suppressMessages(abba_cancel_k8s_job_local(without))
})

test_that("node selectors, tolerations, priority, account and labels reach the pod", {
  # A taint that keeps pods away would keep those of other tests away, too: what the server has taken says it.
  node <- kubectl_lines("get", "nodes", "--output", "jsonpath={.items[0].metadata.labels.kubernetes\\.io/hostname}")
  kubectl_lines("create", "serviceaccount", "reader")
  template <- of_pod(
    nodeSelector = list("kubernetes.io/hostname" = node),
    tolerations = list(list(key = "statistics", operator = "Exists", effect = "NoSchedule")),
    serviceAccountName = "reader",
    preemptionPolicy = NULL
  )
  template$metadata$labels <- template$spec$template$metadata$labels <- list("cost-centre" = "42")
  id <- submit(local_program("1"), job_template = template)
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(field("job", id, ".metadata.labels.cost-centre"), "42")
  expect_identical(field("pod", pods_of(id), ".metadata.labels.cost-centre"), "42")
  expect_identical(pod_spec(id, ".tolerations[0].key"), "statistics")
  expect_identical(pod_spec(id, ".serviceAccountName"), "reader")
  expect_identical(pod_spec(id, ".nodeSelector.kubernetes\\.io/hostname"), node)
  template$spec$template$spec$nodeSelector <- list("no-node-has" = "this")
  elsewhere <- submit(local_program("1"), job_template = template)
  stuck <- function() {
    explanation <- abba_explain_k8s_job_local(elsewhere)
    grepl("node affinity/selector", paste(explanation$reason, explanation$details), fixed = TRUE)
  }
  wait_until(stuck, what = "no node to be found")
  suppressMessages(abba_cancel_k8s_job_local(elsewhere))
})

test_that("a secret is in the program's environment and nowhere else, and stays there in a rerun", {
  kubectl_lines("create", "secret", "generic", "database", "--from-literal=password=in-secret")
  template <- of_pod(containers = list(list(
    name = "program",
    env = list(
      list(name = "DB_PASSWORD", valueFrom = list(secretKeyRef = list(name = "database", key = "password"))),
      list(name = "STUDY", value = "template's")
    )
  )))
  path <- local_program(c("cat(Sys.getenv(c('DB_PASSWORD', 'STUDY', 'ABBA_JOB_ID')), '\\n')", "stop('again')"))
  batch <- suppressMessages(
    abba_submit_k8s_batch_local(path, job_template = template, environment = c(STUDY = "user's"))
  )
  expect_identical(wait_for_end(batch$job_id), "Failed")
  expect_identical(log_of(batch$job_id)[[1L]], paste("in-secret user's", batch$job_id, ""))
  expect_false(any(grepl("in-secret", kubectl_lines("get", "jobs,pods", "--output", "json"))))
  again <- suppressMessages(abba_rerun_k8s_batch_local(batch$batch_id[[1L]]))
  wait_for_end(again$job_id)
  expect_match(log_of(again$job_id)[[1L]], "^in-secret user's ")
})

test_that("a helper beside the program ends with it, and one before it runs first", {
  shell <- function(name, text, ...) {
    list(name = name, image = cluster_image("no-r:1"), command = list("/bin/sh", "-c", text), ...)
  }
  shared <- list(list(name = "shared", mountPath = "/shared"))
  template <- of_pod(
    initContainers = list(
      shell("before", "echo first > /shared/before", volumeMounts = shared),
      shell("beside", "trap exit TERM; echo here > /shared/beside; while true; do sleep 1; done",
        volumeMounts = shared, restartPolicy = "Always"
      )
    ),
    containers = list(
      list(name = "program", volumeMounts = shared),
      shell("second", "true")
    ),
    volumes = list(list(name = "shared", emptyDir = list()))
  )
  id <- submit(local_program(c(
    "while (!file.exists('/shared/beside')) Sys.sleep(0.05)", "cat(readLines('/shared/before'), '\\n')"
  )), job_template = template)
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), "first ")
  wait_until(function() identical(field("pod", pods_of(id), ".status.phase"), "Succeeded"), what = "the pod to end")
})

test_that("the storage of a template holds programs", {
  folder <- normalizePath(withr::local_tempdir("studies-"))
  path <- local_program("cat(getwd(), '\\n')", folder = folder)
  template <- of_pod(
    containers = list(list(name = "program", volumeMounts = list(list(name = "studies", mountPath = folder)))),
    volumes = list(list(name = "studies", hostPath = list(path = folder)))
  )
  id <- submit(path, job_template = template)
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), paste0(folder, " "))
})

test_that("a field that Kubernetes does not know is refused by the server, and the doctor says so before", {
  template <- of_pod(nodeSelektor = list(a = "b"))
  error <- expect_error(submit(local_program("1"), job_template = template), class = "abba_error_invalid")
  expect_match(conditionMessage(error), "spec.template.spec.nodeSelektor", fixed = TRUE)
  found <- abba_check_k8s_local(job_template = template)
  expect_match(found$what[found$check == "trial"], "nodeSelektor", fixed = TRUE)
  expect_identical(found$result[found$check == "trial"], "problem")
  fine <- abba_check_k8s_local(job_template = of_pod(tolerations = list(list(operator = "Exists"))))
  expect_identical(fine$result[fine$check == "trial"], "ok")
})

test_that("the doctor counts what a template asks of nodes and of quotas", {
  with_gpu <- of_pod(
    containers = list(list(name = "program", resources = list(limits = list(`example.com/gpu` = "1")))),
    nodeSelector = list(pool = "none")
  )
  # In a namespace that has nothing else.
  local_namespace()
  kubectl("create", "quota", "gpus", "--hard=requests.example.com/gpu=0", "--namespace", the_namespace())
  counted <- function() nzchar(paste(field("quota", "gpus", ".status.used"), collapse = ""))
  wait_until(counted, what = "the quota to be counted")
  found <- abba_check_k8s_local(job_template = with_gpu)
  what <- function(check) found$what[found$check == check]
  expect_match(what("nodes"), "1 of example.com/gpu and has the labels", fixed = TRUE)
  expect_match(what("quota"), "allows 0 of requests.example.com/gpu, 0 is used, and a program needs 1", fixed = TRUE)
})

test_that("the table of fields is what the server says of them", {
  definitions <- jsonlite::parse_json(kubectl("get", "--raw", "/openapi/v2"))$definitions
  fields <- list()
  seen <- character()
  look_at <- function(name) {
    if (name %in% seen) {
      return()
    }
    seen <<- c(seen, name)
    properties <- definitions[[name]]$properties
    for (property in names(properties)) {
      schema <- properties[[property]]
      kind <- kind_of(schema)
      fields[[property]] <<- unique(c(fields[[property]], kind))
      references <- c(schema$`$ref`, schema$items$`$ref`, schema$additionalProperties$`$ref`)
      for (reference in references) look_at(sub(".*/", "", reference))
    }
  }
  or <- function(value, other) if (is.null(value)) other else value
  kind_of <- function(schema) {
    reference <- sub(".*[.]", "", or(schema$`$ref`, ""))
    scalars <- c(string = "text", boolean = "flag", integer = "number", object = "object")
    element <- or(schema$items$type, "object")
    if (identical(schema$type, "array")) {
      key <- schema$`x-kubernetes-patch-merge-key`
      plural <- c(string = "text", integer = "numbers", object = "objects")[[element]]
      return(paste0("list of ", plural, if (!is.null(key)) paste0(" by ", key)))
    }
    if (!is.null(schema$additionalProperties)) {
      is_text <- identical(schema$additionalProperties$type, "string")
      return(if (is_text) "map of text" else "map of quantities")
    }
    if (reference == "Quantity") "quantity" else if (nzchar(reference)) "object" else scalars[[schema$type]]
  }
  look_at("io.k8s.api.batch.v1.Job")
  lines <- readLines(file.path(repository, "src", "rust", "core", "src", "domain", "job_fields.txt"))
  mixed <- list(
    "list" = c("list of numbers", "list of text"), "object or list" = c("list of objects", "object")
  )
  merged <- character()
  for (line in lines[!startsWith(lines, "#")]) {
    kind <- sub(": .*", "", line)
    for (name in strsplit(sub(".*: ", "", line), " ")[[1L]]) {
      # A field of another version of Kubernetes is neither right nor wrong here.
      if (!is.null(fields[[name]])) expect_setequal(fields[[!!name]], or(mixed[[kind]], kind))
      if (grepl(" by ", kind)) merged <- c(merged, name)
    }
  }
  of_server <- names(Filter(function(kinds) any(grepl(" by ", kinds)), fields))
  # What a template cannot have.
  expect_setequal(merged, setdiff(of_server, c("ownerReferences", "ephemeralContainers", "conditions")))
})
