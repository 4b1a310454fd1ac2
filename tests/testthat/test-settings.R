config <- function(current = "b") {
  to_json(list(
    kind = "Config", "current-context" = current,
    contexts = list(
      list(name = "a", context = list(cluster = "c", namespace = "one")),
      list(name = "b", context = list(cluster = "c", namespace = "two")),
      list(name = "c", context = list(cluster = "c"))
    )
  ))
}

local_configured <- function(config, env = parent.frame()) {
  local_scripted_kubectl(says(config, on = "config *"), says(list_of(pod(test_job))), env = env)
}

test_that("without a namespace it is that of kubectl's current context", {
  kubectl <- local_configured(config("b"))
  expect_named(abba_get_k8s_job_status_local(test_job), "Succeeded")
  expect_identical(kubectl$calls()[[1]], c("config", "view", "--output=json"))
  expect_match(kubectl$requests()[[2]], "/namespaces/two/")
})

test_that("a current context without a namespace means the namespace default", {
  kubectl <- local_configured(config("c"))
  abba_get_k8s_job_status_local(test_job)
  expect_match(kubectl$requests()[[2]], "/namespaces/default/")
})

test_that("without any configuration it is the namespace default", {
  # As kubectl prints it then.
  kubectl <- local_configured(paste0(
    "{\"kind\": \"Config\", \"apiVersion\": \"v1\", \"preferences\": {}, \"clusters\": null, ",
    "\"users\": null, \"contexts\": null, \"current-context\": \"\"}"
  ))
  abba_get_k8s_job_status_local(test_job)
  expect_match(kubectl$requests()[[2]], "/namespaces/default/")
})

test_that("the option abba.k8s.namespace goes before kubectl's configuration, the argument before both", {
  kubectl <- local_configured(config("b"))
  withr::local_options(abba.k8s.namespace = "three")
  abba_get_k8s_job_status_local(test_job)
  abba_get_k8s_job_status_local(test_job, namespace = "four")
  expect_match(kubectl$requests()[[1]], "/namespaces/three/")
  expect_match(kubectl$requests()[[2]], "/namespaces/four/")
  expect_identical(kubectl$count(), 2L)
})

test_that("the option abba.k8s.namespace is that of all three functions", {
  local_program()
  withr::local_options(abba.k8s.namespace = "three")
  kubectl <- local_scripted_kubectl(
    creates(), says(paste0("abba-log-of ", test_job, "\n"), on = "*/log*"), says(list_of(pod(test_job)))
  )
  suppressMessages(abba_submit_k8s_job_local("test_program.R", container = image))
  abba_get_k8s_job_status_local(test_job)
  abba_get_k8s_job_log_local(test_job)
  # The job, its status, and of its log the pod, the Job, the lines and the newest line.
  expect_identical(kubectl$count(), 6L)
  expect_match(kubectl$requests(), "/namespaces/three/")
})

test_that("a kubectl configuration that cannot be read is told as such", {
  local_scripted_kubectl(fails(
    "error: error loading config file \"/home/mike/.kube/config\": yaml: line 3: could not find expected ':'\n"
  ))
  expect_s3_class(raised(abba_get_k8s_job_status_local(test_job)), "abba_error_not_configured")
  expect_words(abba_get_k8s_job_status_local(test_job), error = TRUE)
})

test_that("a kubectl configuration that makes no sense is told as such", {
  for (garbage in c("", "kind: Config", "[1", "\u00e9")) {
    local_configured(garbage)
    error <- raised(abba_get_k8s_job_status_local(test_job))
    expect_identical(class(error)[1:2], c("abba_error_kubectl", "abba_error"))
  }
})

test_that("a submission that fails before it is sent says that there is no job", {
  local_program()
  local_scripted_kubectl(fails("error: error loading config file \"x\": yaml: line 3\n", on = "config *"))
  error <- raised(abba_submit_k8s_job_local("test_program.R", container = image))
  expect_match(conditionMessage(error), "No job was created.", fixed = TRUE)
})

test_that("the option abba.kubectl names another kubectl by its path", {
  local_program()
  folder <- file.path(getwd(), "my \u00e9 'tools' $(x)")
  dir.create(folder)
  kubectl <- local_scripted_kubectl(says(list_of(pod(test_job))), folder = folder)
  withr::local_options(abba.kubectl = kubectl$program)
  expect_named(status(), "Succeeded")
  expect_identical(kubectl$count(), 1L)
})

test_that("the option abba.kubectl names another kubectl on the PATH", {
  local_program()
  kubectl <- local_scripted_kubectl(says(list_of(pod(test_job))))
  file.rename(kubectl$program, file.path(dirname(kubectl$program), "my-kubectl"))
  withr::local_options(abba.kubectl = "my-kubectl")
  expect_named(status(), "Succeeded")
  expect_identical(kubectl$count(), 1L)
})

test_that("the option abba.kubectl may begin with a tilde", {
  local_program()
  kubectl <- local_scripted_kubectl(says(list_of(pod("a-1"))), folder = getwd())
  ran <- run_r(
    c(
      "options(abba.kubectl = '~/kubectl')",
      "cat(names(abba_get_k8s_job_status_local('a-1', namespace = 'n')), '\\n')"
    ),
    HOME = getwd()
  )
  expect_identical(ran$stdout, "Succeeded ", info = ran$stderr)
})

test_that("kubectl finds no stdin, so that it cannot wait for a password", {
  kubectl <- local_scripted_kubectl(runs(c(
    "cat > \"$call.stdin\"", "exec cat \"$answer.json\""
  )))
  writeLines(list_of(pod(test_job)), file.path(dirname(dirname(kubectl$program)), "answers", "1.1.json"))
  expect_named(status(), "Succeeded")
  expect_identical(file.size(kubectl$file(1L, "stdin")), 0)
})

test_that("kubectl gets the environment of R", {
  withr::local_envvar(ABBA_TEST_LOGIN = "a b\u00e9")
  kubectl <- local_scripted_kubectl(runs(c(
    "printf %s \"$ABBA_TEST_LOGIN\" > \"$call.login\"", "exit 1"
  )))
  raised(status())
  expect_identical(readLines(kubectl$file(1L, "login"), warn = FALSE), "a b\u00e9")
})

test_that("options that cannot be right are refused before kubectl starts", {
  kubectl <- local_scripted_kubectl(says(list_of(pod(test_job))))
  refused <- function(...) {
    withr::with_options(list(...), expect_s3_class(raised(status(namespace = NULL)), "abba_error_input"))
  }
  for (value in list("30", NA, NaN, 0, -1, Inf, c(1, 2), 1e7, TRUE, "", list(1), numeric())) {
    refused(abba.k8s.request.timeout = value)
  }
  for (value in list(1, NA_character_, "", c("a", "b"), TRUE, character(), list("kubectl"))) {
    refused(abba.kubectl = value)
  }
  for (value in list(1, NA_character_, "", c("a", "b"), "a/b", "../x", "A", "a b", "a.b", strrep("a", 64), "a\n")) {
    withr::with_options(
      list(abba.k8s.namespace = value),
      expect_s3_class(raised(abba_get_k8s_job_status_local(test_job)), "abba_error_input")
    )
  }
  expect_identical(kubectl$count(), 0L)
  expect_words({
    withr::with_options(list(abba.k8s.request.timeout = "30"), tell(status()))
    withr::with_options(list(abba.k8s.request.timeout = 0), tell(status()))
    withr::with_options(list(abba.kubectl = 1), tell(status()))
    withr::with_options(list(abba.k8s.namespace = "a/b"), tell(abba_get_k8s_job_status_local(test_job)))
  })
})

test_that("the time limit may be a fraction of a second", {
  withr::local_options(abba.k8s.request.timeout = 0.5)
  local_scripted_kubectl(hangs())
  expect_s3_class(raised(status()), "abba_error_timeout")
})
