# The session of the README, with a program of its own that is content with little of the cluster. Needs a kubectl that
# is logged in to your cluster, and options(abba.default.container = ) with an image that has R.
library(abba)
program <- file.path(tempdir(), "test_program.R")
writeLines(c("print(2 + 2)", "warning('This is a test warning')", "cat('La-di-da\\n')"), program)

job <- abba_submit_k8s_job_local(program, cpu_limit = 0.2)
names(abba_watch_k8s_job_local(job$job_id, timeout_seconds = 600))
writeLines(abba_get_k8s_job_log_local(job$job_id)[[1]]$log)
abba_explain_k8s_job_local(job$job_id)
abba_remove_k8s_job_local(job$job_id)
