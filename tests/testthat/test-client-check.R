test_that("a check of the API tells who one is and whether all is well", {
  check <- function(cluster = TRUE, operator = FALSE) {
    versions <- list(abba = "0.1.0", kubernetes = if (cluster) "v1.34.0")
    health <- list(alive = TRUE, cluster = cluster, versions = versions)
    api <- local_scripted_api(
      if (cluster) {
        replies(health, on = "GET /health")
      } else {
        refuses("unavailable", 503L, health = health, on = "GET /health")
      },
      replies(list(user = "mike", operator = operator), on = "GET /whoami")
    )
    checked <- abba_check_api()
    checked$address <- sub(":[0-9]+$", ":<port>", checked$address)
    checked
  }
  expect_words({
    check()
    check(cluster = FALSE)
    check(operator = TRUE)
  })
  expect_identical(unclass(check(cluster = FALSE))[-1L], list(
    cluster = FALSE, abba = "0.1.0", kubernetes = NA_character_, user = "mike", operator = FALSE
  ))
})
