# The first pull of an image that the node does not have. One file, because it takes the image away from the node.
local_namespace()

# The one entry of the status of a job.
entry_of <- function(id) {
  status <- abba_get_k8s_job_status_local(id)
  list(state = names(status), id = status[[1L]]$Jobs[[1L]]$id)
}

events_of <- function(pod) {
  kubectl_lines(
    "get", "events", "--field-selector", paste0("involvedObject.name=", pod),
    "--output", "jsonpath={range .items[*]}{.reason}{'\\n'}{end}"
  )
}

test_that("a job whose image is being pulled is pending, and then runs", {
  forget_image("never-pulled:1")
  # The pull lasts until all has been looked at, however fast the machine is.
  id <- with_component_paused("registry", {
    id <- submit(local_program("cat('pulled\\n')"), container = cluster_image("never-pulled:1"))
    wait_until(function() has_pod(id), what = "a pod")
    pod <- pods_of(id)
    wait_until(function() "Pulling" %in% events_of(pod), what = "the image to be pulled")
    expect_identical(entry_of(id), list(state = "Pending", id = pod))
    expect_match(log_of(id), "^abba: The program has not started yet: its container is being made ready", all = FALSE)
    id
  })
  expect_identical(wait_for_end(id), "Succeeded")
  expect_identical(log_of(id), "pulled")
})
