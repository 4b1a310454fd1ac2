test_that("the permitted containers, and the names of the permitted templates, are character vectors", {
  for (ask in list(abba_permitted_containers, abba_permitted_templates)) {
    local_scripted_api(replies(list("r:1", "gpu")))
    expect_identical(ask(), c("r:1", "gpu"))
    local_scripted_api(replies("[]"))
    expect_identical(ask(), character())
  }
})
