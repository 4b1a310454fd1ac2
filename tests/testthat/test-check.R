# Input that cannot be right is refused before kubectl starts.

# Refused by each of the verbs that read.
expect_ids_refused <- function(ids) {
  for (id in ids) {
    for (verb in list(status, log_of)) {
      error <- raised(verb(id))
      expect_identical(class(error)[1:2], c("abba_error_input", "abba_error"))
      expect_lt(nchar(conditionMessage(error)), 1000L)
      expect_match(conditionMessage(error), "`job_id`", fixed = TRUE)
    }
  }
}

# Refused by a submission, with an error that names the argument.
expect_submit_refused <- function(argument, values) {
  for (value in values) {
    arguments <- stats::setNames(list(value), argument)
    error <- raised(do.call(submit, arguments))
    expect_identical(class(error)[1:2], c("abba_error_input", "abba_error"))
    expect_lt(nchar(conditionMessage(error)), 1000L)
    expect_match(conditionMessage(error), argument, fixed = TRUE)
    expect_true(validUTF8(conditionMessage(error)))
  }
}

latin1 <- function(x) {
  Encoding(x) <- "latin1"
  x
}

test_that("what is no job id is refused before kubectl starts", {
  kubectl <- local_scripted_kubectl(says(list_of()))
  expect_ids_refused(list(
    "x; rm -rf /", "../../secrets", "", " ", NA, NA_character_, NULL, character(), strrep("a", 64),
    strrep("a", 1e6), "a\n", "a\nb", "\ta", "A", "a_b", "a.b", "-a", "a-", "a,b", "a)", "a%2Cb", "a?x=1", "a/log",
    latin1("caf\xe9"), "caf\xe9", "\u65e5", "%s%n", "{x}", factor("a"), list("a"), list(), 1, TRUE,
    c(1, 2), quote(a), sum,
    c("a-1", NA), c("a-1", "x; rm"), c("a-1", ""), as.raw(1), data.frame(a = "a"), Sys.Date()
  ))
  expect_identical(kubectl$count(), 0L)
})

test_that("the words about what is no job id", {
  expect_words({
    tell(status("x; rm -rf /"))
    tell(status("../../secrets"))
    tell(status(""))
    tell(status("a\nb\u001b[31m"))
    tell(status("100% {x}"))
    tell(status(strrep("a", 1e6)))
    tell(status(NA))
    tell(status(NA_character_))
    tell(status(NULL))
    tell(status(character()))
    tell(status(factor("a")))
    tell(status(list("a", "b")))
    tell(status(c("a-1", NA)))
    tell(status("caf\xe9"))
  })
  expect_words(log_of("x; rm -rf /"), error = TRUE)
})

test_that("a job id of the greatest length is asked for", {
  id <- strrep("a", 63)
  local_scripted_kubectl(says(list_of(pod(id))))
  expect_named(status(id), "Succeeded")
})

test_that("limits out of grammar are refused before kubectl starts", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  wrong <- list(
    "-1", "lots", "caf\xe9", Inf, -Inf, NA, NA_real_, NA_integer_, NA_character_, NaN, c(1, 2),
    c("1", "2"), TRUE, 0, "0", -1,
    "", " ", "1 ", "1 G", "1,5", "1e99", "Inf", "0x10", "\u0663", "1\n", ".", "%s", strrep("9", 1000), NULL, list(1),
    factor("1"), 1i, Sys.Date(), numeric()
  )
  expect_submit_refused("cpu_limit", c(wrong, list("0.0001", 0.0001, "1mm", 1e300)))
  expect_submit_refused("memory_limit", c(wrong, list("512m", "512", "512MB", "5M", 512, 1e300, "512 M")))
  expect_identical(kubectl$count(), 0L)
})

test_that("the words about limits out of grammar", {
  local_program()
  expect_words({
    tell(submit(memory_limit = "512m"))
    tell(submit(memory_limit = "512"))
    tell(submit(memory_limit = 512))
    tell(submit(memory_limit = "lots"))
    tell(submit(memory_limit = "-1"))
    tell(submit(memory_limit = ""))
    tell(submit(memory_limit = "5M"))
    tell(submit(memory_limit = Inf))
    tell(submit(cpu_limit = "lots"))
    tell(submit(cpu_limit = "-1"))
    tell(submit(cpu_limit = 0))
    tell(submit(cpu_limit = "0.0001"))
    tell(submit(cpu_limit = 0.0005))
    tell(submit(cpu_limit = 1e9))
    tell(submit(cpu_limit = Inf))
    tell(submit(cpu_limit = NA))
    tell(submit(cpu_limit = NaN))
    tell(submit(cpu_limit = TRUE))
    tell(submit(cpu_limit = c(1, 2)))
    tell(submit(cpu_limit = NULL))
    tell(submit(cpu_limit = numeric()))
  })
  expect_words(submit(memory_limit = "512m"), error = TRUE)
})

test_that("a batch id that is no label is refused before kubectl starts", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  expect_submit_refused("batch_group_id", list(
    "a b", "-a", "a-", ".", "a/b", "\u00e9", "a\n", "%s", strrep("a", 64), strrep("a", 1e6), NA_character_, NA, NULL,
    1, c("a", "b"), list("a"), factor("a"), character()
  ))
  expect_identical(kubectl$count(), 0L)
  expect_words({
    tell(submit(batch_group_id = "my batch"))
    tell(submit(batch_group_id = strrep("a", 64)))
    tell(submit(batch_group_id = 1))
    tell(submit(batch_group_id = NULL))
  })
})

test_that("what is no container image is refused before kubectl starts", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  expect_submit_refused("container", list(
    "", " ", "r base", "R-base", "a//b", "a:", "a:b c", "a@sha256:1", "$(touch x)", "a\n", "\u00e9", "-a",
    strrep("a", 1e6), NULL, NA, NA_character_, 1, c("a", "b"), list("a"), factor("a"), character()
  ))
  expect_identical(kubectl$count(), 0L)
  expect_words({
    tell(submit(container = "r base:4.2"))
    tell(submit(container = ""))
    tell(submit(container = NULL))
    tell(submit(container = NA))
  })
  expect_words(submit(container = NULL), error = TRUE)
})

test_that("what is no program is refused before kubectl starts", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  dir.create("folder")
  dir.create("folder.R")
  system2("mkfifo", "pipe.R")
  file.symlink("missing.R", "broken-link.R")
  file.symlink("circle.R", "circle.R")
  expect_submit_refused("file_path", list(
    "missing.R", "folder", "folder.R", ".", "/", "pipe.R", "broken-link.R", "circle.R", "test_program.R/a.R",
    "test_program.R/", "/dev/zero", "/dev/null", "", " ", NA, NA_character_, NULL, 1, TRUE,
    character(), factor("a.R"), list("test_program.R"),
    c("test_program.R", "test_program.R"), strrep("a", 3000), "a\nb", "%s%n", "{x}", "~no-such-user-here/a.R", "*",
    "https://example.com/a.R", latin1("caf\xe9.R"), "caf\xe9.R", file.path
  ))
  # R itself warns that it leaves such a path as it is.
  suppressWarnings(expect_submit_refused("file_path", strrep("a", 1e6)))
  expect_identical(kubectl$count(), 0L)
  expect_words({
    tell(submit("missing.R"))
    tell(submit("/missing/program.R"))
    tell(submit("folder"))
    tell(submit("pipe.R"))
    tell(submit("circle.R"))
    tell(submit("test_program.R/a.R"))
    tell(submit(""))
    tell(submit(NA))
    tell(submit(NULL))
    tell(submit(c("test_program.R", "test_program.R")))
    tell(submit("caf\xe9.R"))
    tell(submit("100% {x}.R"))
  })
  expect_words(submit("missing.R"), error = TRUE)
})

test_that("a program that its user may not read is refused", {
  local_program()
  # The administrator may read every file: a link into another process is closed
  # to all.
  file.symlink("/proc/self/mem", "closed.R")
  expect_s3_class(raised(submit("closed.R")), "abba_error_input")
})

test_that("what is no namespace is refused before kubectl starts", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  wrong <- list(
    "a/b", "../x", "", " ", "A", "a_b", "a.b", "-a", "a-", "\u00e9", "a\n", "a?x", "%2e",
    strrep("a", 64), strrep("a", 1e6),
    NA, NA_character_, 1, c("a", "b"), list("a"), factor("a"), character()
  )
  expect_submit_refused("namespace", wrong)
  for (namespace in wrong) {
    expect_s3_class(raised(status("a-1", namespace = namespace)), "abba_error_input")
    expect_s3_class(raised(log_of("a-1", namespace = namespace)), "abba_error_input")
  }
  expect_identical(kubectl$count(), 0L)
  expect_words({
    tell(submit(namespace = "a/b"))
    tell(status(namespace = "Team 1"))
    tell(status(namespace = ""))
    tell(status(namespace = NA))
  })
})

test_that("tags of many lines or of any length are refused before kubectl starts", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  expect_submit_refused("user_tag", list(
    "a\nb", "a\r", "\u001b[31m", "\u0085", "caf\xe9", strrep("x", 1001), strrep("x", 1e5), NA,
    NA_character_, NULL, 1, c("a", "b"), list("a"),
    factor("a"), "caf\xe9", character()
  ))
  expect_identical(kubectl$count(), 0L)
  expect_words({
    tell(submit(user_tag = "a\nb"))
    tell(submit(user_tag = strrep("x", 1e5)))
  })
})

test_that("users that do not exist are refused before kubectl starts", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  expect_submit_refused("username", list(
    "no-such-user-here", "", " ", "root ", "; rm -rf /", "0", "\u00e9", "a\nb", strrep("a", 1e6),
    NA, NA_character_, 0, c("a", "b"),
    list("root"), factor("root"), character(), TRUE
  ))
  expect_identical(kubectl$count(), 0L)
  expect_words({
    tell(submit(username = "no-such-user-here"))
    tell(submit(username = ""))
    tell(submit(username = 0))
  })
})

test_that("time limits that are none are refused before kubectl starts", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  expect_submit_refused("time_limit_seconds", list(
    0, -1, 1.5, Inf, NA, NaN, 1e10, "60", "caf\xe9", strrep("1", 1e6), TRUE, c(1, 2), list(1),
    factor(1), numeric(), Sys.Date(),
    as.difftime(1, units = "hours")
  ))
  expect_identical(kubectl$count(), 0L)
  expect_words({
    tell(submit(time_limit_seconds = 0))
    tell(submit(time_limit_seconds = -1))
    tell(submit(time_limit_seconds = 1.5))
    tell(submit(time_limit_seconds = 1e10))
    tell(submit(time_limit_seconds = "60"))
    tell(submit(time_limit_seconds = NaN))
  })
})

test_that("a home folder without a server is refused before kubectl starts", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  expect_submit_refused("auto_mount_home", list(
    NA, NULL, "yes", 1, c(TRUE, FALSE), list(TRUE), strrep("a", 1e6), logical()
  ))
  for (address in list(NULL, "", "x; rm", "a b", "a/b", "\u00e9", NA_character_, 1, c("a", "b"), strrep("a", 1e6))) {
    error <- raised(submit(auto_mount_home = TRUE, home_nfs_ip_address = address))
    expect_s3_class(error, "abba_error_input")
    expect_match(conditionMessage(error), "home_nfs_ip_address", fixed = TRUE)
    expect_lt(nchar(conditionMessage(error)), 1000L)
  }
  expect_identical(kubectl$count(), 0L)
  expect_words({
    tell(submit(auto_mount_home = TRUE))
    tell(submit(auto_mount_home = TRUE, home_nfs_ip_address = "x; rm"))
    tell(submit(auto_mount_home = "yes"))
    tell(submit(auto_mount_home = strrep("yes", 1e5)))
    tell(submit(auto_mount_home = "caf\xe9"))
    tell(submit(auto_mount_home = NA))
  })
})

# A list in a list in a list...
nested <- function(depth) {
  x <- list(name = "d")
  for (i in seq_len(depth)) {
    x <- list(x = x)
  }
  x
}

# Mounts with one volume.
one_volume <- function(...) {
  list(
    volumes = list(list(name = "d", ...)),
    volumeMounts = list(list(name = "d", mountPath = "/d"))
  )
}

test_that("what are no mounts is refused before kubectl starts", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  for (mounts in list(
    "x", c("", ""), NA, 1, TRUE, factor("a"), sum, quote(a), new.env(), Sys.time(), data.frame(a = 1),
    list(1), list(list(name = "d")), list(volume = list()), list(volumes = "d"), list(volumes = list("d")),
    list(volumes = list(name = "d")), list(volumes = list(), list()),
    list(volumeMounts = list(list(name = "d", mountPath = "/d"))),
    list(volumes = list(list(name = "d")), volumeMounts = list(list(mountPath = "/d"))),
    list(volumes = list(list(name = "d")), volumeMounts = list(list(name = "d"))),
    list(volumes = list(list(name = "d")), volumeMounts = list(list(name = "d", mountPath = "d"))),
    one_volume(hostPath = list(path = NA)), one_volume(hostPath = list(path = NA_character_)),
    one_volume(x = NaN), one_volume(x = Inf), one_volume(x = c(1, NA)), one_volume(x = NA_integer_),
    one_volume(x = sum), one_volume(x = function(y) y),
    one_volume(x = quote(y)), one_volume(x = new.env()), one_volume(x = factor("y")),
    one_volume(x = 1i), one_volume(x = as.raw(1)),
    one_volume(x = expression(y)), one_volume(x = y ~ z), one_volume(x = "caf\xe9"),
    one_volume(x = list(a = 1, 2)), one_volume(x = c(a = 1, 2)), one_volume(x = stats::setNames(list(1), NA)),
    one_volume(x = nested(60)), one_volume(x = nested(10000)), nested(10000)
  )) {
    error <- raised(submit(mounts = mounts))
    expect_identical(class(error)[1:2], c("abba_error_input", "abba_error"))
    expect_lt(nchar(conditionMessage(error)), 1000L)
  }
  expect_identical(kubectl$count(), 0L)
})

test_that("the words about what are no mounts", {
  local_program()
  expect_words({
    tell(submit(mounts = "x"))
    tell(submit(mounts = list(volume = list())))
    tell(submit(mounts = list(volumes = "d")))
    tell(submit(mounts = list(volumes = list(name = "d"))))
    tell(submit(mounts = list(list(name = "d"))))
    tell(submit(mounts = list(volumeMounts = list(list(name = "d", mountPath = "/d")))))
    tell(submit(mounts = one_volume(hostPath = list(path = NA))))
    tell(submit(mounts = one_volume(x = function(y) y)))
    tell(submit(mounts = one_volume(x = factor("y"))))
    tell(submit(mounts = one_volume(x = Inf)))
    tell(submit(mounts = one_volume(x = list(a = 1, 2))))
    tell(submit(mounts = one_volume(x = stats::setNames(list(1), NA))))
    tell(submit(mounts = one_volume(x = nested(10000))))
    tell(submit(mounts = one_volume(x = "caf\xe9")))
  })
})

test_that("what Kubernetes alone can judge is left to it", {
  local_program()
  kubectl <- local_scripted_kubectl(creates())
  suppressMessages(submit(mounts = one_volume(noSuchField = list(a = c(1.5, 2), b = c(TRUE, FALSE), c = "x"))))
  expect_match(kubectl$manifest_text(), "\"noSuchField\":{\"a\":[1.5,2],\"b\":[true,false],\"c\":\"x\"}", fixed = TRUE)
})

test_that("an argument that does not exist is an error of R", {
  expect_error(submit(no_such_argument = 1), "unused argument")
})
