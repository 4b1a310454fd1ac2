test_that("the names of the permitted templates are a character vector", {
  local_scripted_api(replies(list("default", "gpu")))
  expect_identical(abba_permitted_templates(), c("default", "gpu"))
  local_scripted_api(replies("[]"))
  expect_identical(abba_permitted_templates(), character())
})
