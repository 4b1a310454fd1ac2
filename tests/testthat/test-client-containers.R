test_that("the permitted containers are a character vector", {
  local_scripted_api(replies(list("r:1", "r:2")))
  expect_identical(abba_permitted_containers(), c("r:1", "r:2"))
  local_scripted_api(replies("[]"))
  expect_identical(abba_permitted_containers(), character())
})
