# The timeline of a batch.
local_namespace()

test_that("a batch is drawn with the times that the cluster has", {
  gate <- local_gate()
  programs <- local_programs(c("good.R", "bad.R", "runs.R"), c(
    "if (startsWith(Sys.getenv('ABBA_JOB_ID'), 'bad')) stop('no')",
    "if (startsWith(Sys.getenv('ABBA_JOB_ID'), 'runs')) {", gate$wait, "}"
  ))
  batch <- submit_batch(programs, batch_group_id = "b", mounts = gate$mounts)
  large <- submit_batch(local_program("1", "large.R"), batch_group_id = "b", cpu_limit = 64)
  wanted <- c("Succeeded", "Failed", "Running")
  wait_for_states(batch$job_id, function(states) identical(unname(states), wanted))
  both <- rbind(batch, large)
  class(both) <- class(batch)

  # As text, so that what is drawn can be read: a uniform sheet would hold neither names nor colours.
  file <- withr::local_tempfile(fileext = ".pdf")
  grDevices::pdf(file, 8, 4, compress = FALSE)
  drawn <- withVisible(plot(both))
  grDevices::dev.off()
  sheet <- iconv(readLines(file, warn = FALSE), "latin1", "UTF-8")
  # The colours of those that succeeded, failed, run and wait, in the device's notation.
  for (colour in c("0.000 0.620 0.451", "0.835 0.369 0.000", "0.000 0.447 0.698", "0.600 0.600 0.600")) {
    expect_match(sheet, colour, fixed = TRUE, all = FALSE)
  }
  expect_false(drawn$visible)
  expect_identical(drawn$value$job_id, both$job_id)
  expect_identical(drawn$value$status, c(wanted, "Pending"))
  # Two of the batch, in the order given.
  grDevices::pdf(NULL)
  expect_identical(plot(both[c(3, 1), ])$job_id, both$job_id[c(3, 1)])
  expect_identical(plot(abba_list_k8s_jobs_local(status = "Failed"))$job_id, batch$job_id[[2L]])
  grDevices::dev.off()
  abba_cancel_k8s_job_local(large$job_id)
  gate$open()
})
