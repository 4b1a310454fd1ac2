# Calls that are shown to be copied.

mounts <- list(
  volumes = list(
    list(name = "d", emptyDir = stats::setNames(list(), character()), "a/b" = list(1L, 2.5, TRUE)),
    list(name = "e", items = list())
  ),
  volumeMounts = list(list(name = "d", mountPath = "/d", "if" = "x"))
)

test_that("a submission is told as the call that makes it", {
  arguments <- list(
    file_path = "/p/a.R", batch_group_id = "Study_1", user_tag = "say \"100%\" \\ `x`", cpu_limit = "500m",
    memory_limit = "3Gi", container = "r:1", mounts = mounts, auto_mount_home = TRUE, username = "mike",
    time_limit_seconds = 100000L, arguments = list("a \"b\"", "")
  )
  expect_identical(verb_text("f", arguments, "rstudio"), paste0(
    "f(\"/p/a.R\", batch_group_id = \"Study_1\", user_tag = \"say \\\"100%\\\" \\\\ `x`\", ",
    "cpu_limit = \"500m\", memory_limit = \"3Gi\", container = \"r:1\", ",
    "mounts = list(volumes = list(list(name = \"d\", emptyDir = list(), `a/b` = list(1, 2.5, TRUE)), ",
    "list(name = \"e\", items = character())), ",
    "volumeMounts = list(list(name = \"d\", mountPath = \"/d\", `if` = \"x\"))), auto_mount_home = TRUE, ",
    "namespace = \"rstudio\", username = \"mike\", time_limit_seconds = 100000, arguments = c(\"a \\\"b\\\"\", \"\"))"
  ))
  expect_identical(verb_text("f", list(file_path = "a.R", memory_limit = "1G")), "f(\"a.R\", memory_limit = \"1G\")")
  expect_identical(verb_text("f", list("a.R", arguments = list("b"))), "f(\"a.R\", arguments = \"b\")")
  expect_identical(
    verb_text("f", list("a.R", environment = list(A = "b", `_c` = ""))),
    "f(\"a.R\", environment = c(A = \"b\", `_c` = \"\"))"
  )
})

test_that("no text can end its string, its line or its name, or be shown as another", {
  bad <- "\"); q()\n#\a\u202e\u00e9"
  expect_identical(quoted_text(bad), "\"\\\"); q()\\n#\\u{7}\\u{202e}\u00e9\"")
  expect_identical(eval(parse(text = quoted_text(bad), encoding = "UTF-8")), bad)
  expect_identical(quoted_text("a`b\\", "`"), "`a\\`b\\\\`")
  for (text in c("", "\\", "\"", "\\\"", "\u0085\u2028 \t\r", "C:\\p\\a.R")) {
    expect_identical(eval(parse(text = quoted_text(text), encoding = "UTF-8")), text)
  }
  for (name in c("a`b\\", "if", "TRUE", "NA", "..1", "a b", "_a", "a` = 1), q(), list(`b")) {
    code <- parse(text = verb_text("list", list("x", rlang::set_names(list(1), name))))
    expect_identical(eval(code), list("x", rlang::set_names(list(1), name)))
  }
})

test_that("a call is told in UTF-8 in every locale", {
  ended <- run_r(c(
    "Sys.setlocale('LC_ALL', 'C')",
    "text <- abba:::verb_text('f', list(intToUtf8(c(0xe9, 0x65e5))))",
    "cat(utf8ToInt(text))"
  ))
  expect_identical(utils::tail(ended$stdout, 1L), paste(utf8ToInt("f(\"\u00e9\u65e5\")"), collapse = " "))
})

test_that("the calls that are printed name the namespace where the option does not", {
  withr::local_options(abba.k8s.namespace = "n")
  call <- function(ids, namespace, expression = NULL) call_text("f", ids, expression, namespace)
  expect_identical(call("a-1", "n"), "f(\"a-1\")")
  # The namespace of kubectl's context, whatever the option says.
  expect_identical(call("a-1", NULL), "f(\"a-1\", namespace = NULL)")
  expect_identical(call("a-1", "other"), "f(\"a-1\", namespace = \"other\")")
  expect_identical(call_text("f", "a-1"), "f(\"a-1\")")
  expect_identical(call(c("a-1", "b-2"), "n"), "f(c(\"a-1\", \"b-2\"))")
  expect_identical(call(paste0("a-", 1:10), "n", quote(batch$job_id)), "f(batch$job_id)")
  expect_identical(call(paste0("a-", 1:10), "n"), "f(job_id)")
})

test_that("many ids are told as the expression that was given for them, where there is one", {
  ids <- paste0("job-", 1:4)
  expect_identical(call_text("f", ids, quote(batch$job_id)), "f(batch$job_id)")
  # do.call() hands over the ids themselves.
  expect_identical(call_text("f", ids, ids), "f(job_id)")
  expect_identical(call_text("f", ids), "f(job_id)")
})

test_that("a call to be copied leaves out the Job template that the session gives anyway", {
  template <- list(spec = list(template = list(spec = list(hostname = NULL, tolerations = list(list(key = "a"))))))
  call <- function() verb_text("f", list("a.R", job_template = template))
  shown <- paste0(
    "f(\"a.R\", job_template = list(spec = list(template = list(spec = list(hostname = NULL, ",
    "tolerations = list(list(key = \"a\")))))))"
  )
  expect_identical(call(), shown)
  withr::local_options(abba.k8s.job.template = list())
  expect_identical(call(), shown)
  withr::local_options(abba.k8s.job.template = template)
  expect_identical(call(), "f(\"a.R\")")
  expect_identical(verb_text("f", list("a.R", job_template = "gpu")), "f(\"a.R\", job_template = \"gpu\")")
})
