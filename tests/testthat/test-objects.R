# How R's objects are read and made for all verbs: src/rust/src/objects.rs.

test_that("what R gets is whole where R looks for garbage at every step", {
  local_scripted_kubectl(
    says(list_of(full_pod("a-1"), full_pod("b-2", ended(1L), "Failed")), on = "*/pods*"),
    says(list_of(full_job("a-1", "a.R"), full_job("b-2", "b.R")), on = "*/jobs*"),
    says(list_of(), on = "*")
  )
  settings <- settings("n")
  nested <- list(a = 1L, b = c("x", "y"), c = list(d = TRUE, e = 2.5, f = NULL), "\u00fc" = I("\u00e9"))
  calls <- list(
    json = function() core_json(nested),
    error = function() core_check_which(list(job_id = c("a-1", "B_2"))),
    jobs = function() core_list(list(), settings),
    status = function() core_status(list(job_id = c("a-1", "b-2")), NULL, settings)
  )
  under_torture <- function(call) {
    gctorture(TRUE)
    on.exit(gctorture(FALSE))
    call()
  }
  for (name in names(calls)) {
    expect_identical(under_torture(calls[[name]]), calls[[name]](), label = name)
  }
  expect_identical(
    calls$json()$value,
    "{\"a\":1,\"b\":[\"x\",\"y\"],\"c\":{\"d\":true,\"e\":2.5},\"\u00fc\":[\"\u00e9\"]}"
  )
  expect_setequal(text_column(calls$jobs()$value, "status"), c("Failed", "Succeeded"))
})

test_that("text that is no UTF-8 is refused, and crashes nothing", {
  latin <- "caf\xe9"
  Encoding(latin) <- "bytes"
  expect_match(core_json(list(latin))$error$message, "cannot be read: ", fixed = TRUE)
  names(latin) <- latin
  expect_match(core_json(as.list(latin))$error$message, "cannot be read: ", fixed = TRUE)
})

test_that("a great many values take no memory for good", {
  in_use <- function() sum(gc(full = TRUE)[, 2])
  values <- as.list(seq(0.5, by = 1, length.out = 2e5))
  core_json(values[1:10])
  before <- in_use()
  for (time in 1:3) core_json(values)
  expect_lt(in_use() - before, 0.5)
})
