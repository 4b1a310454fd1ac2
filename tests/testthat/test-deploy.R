# What the server of inst/deploy runs, up to the server itself.
run_server_file <- function(annotations, env = parent.frame()) {
  withr::local_options(options(), .local_envir = env)
  local_function("abba_run_api", function(...) NULL, asNamespace("abba"), environment())
  namespace <- list(metadata = list(name = "abba-programs", annotations = annotations))
  local_scripted_kubectl(says(to_json(namespace), on = "get namespace abba-programs *"))
  sys.source(system.file("deploy/base/server.R", package = "abba", mustWork = TRUE), new.env())
}
annotations <- list(
  `abba/images` = "r:1\n r:2\n", `abba/nfs` = "192.0.2.1 /studies\n", `abba/homes` = "192.0.2.1\t/users",
  `abba/least-uid` = "1000", `abba/least-gid` = "100"
)

test_that("the server in the cluster takes its lists from the namespace of the programs", {
  run_server_file(annotations)
  policy <- get("api_policy", asNamespace("abba"))("keys")
  expect_identical(policy$default_container, "r:1")
  expect_identical(as.character(policy$permitted_containers), c("r:1", "r:2"))
  expect_identical(policy$permitted_mounts, list(list(server = "192.0.2.1", path = "/studies")))
  expect_identical(policy$home_nfs_ip_address, "192.0.2.1")
  # The folder, too: homes need not lie in /home.
  expect_identical(as.character(policy$home_path), "/users")
  expect_identical(as.integer(c(policy$least_uid, policy$least_gid)), c(1000L, 100L))
})

test_that("without homes there is no folder of them, and a list that was taken away is named", {
  annotations$`abba/homes` <- ""
  run_server_file(annotations)
  expect_null(getOption("abba.home.nfs.ip.address"))
  expect_null(getOption("abba.home.path"))
  annotations$`abba/nfs` <- NULL
  expect_error(run_server_file(annotations), "no annotation abba/nfs", fixed = TRUE)
})
