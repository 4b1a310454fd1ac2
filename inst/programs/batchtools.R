# Runs a collection of jobs of batchtools on the cluster: see abba_cluster_functions(). Its arguments are the collection's
# file and the file of its log, both in the registry.
files <- commandArgs(TRUE)
# What R prints goes to the job's log, which abba reads, and to that of the registry, which batchtools reads. The name is
# no part of the command's text.
Sys.setenv(ABBA_BATCHTOOLS_LOG = files[[2L]])
log <- pipe("exec tee -- \"$ABBA_BATCHTOOLS_LOG\"", "w")
sink(log)
sink(log, type = "message")
done <- try(batchtools::doJobCollection(files[[1L]]))
sink(type = "message")
sink()
close(log)
if (inherits(done, "try-error")) quit(status = 1L)
