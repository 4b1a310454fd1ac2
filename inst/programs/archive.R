# Archives jobs for an abba server, which has started it: see the option `abba.api.archive`. Its argument is a file with
# the server's libraries and options.
given <- readRDS(commandArgs(TRUE)[[1L]])
.libPaths(given$libraries)
options(given$options)
abba:::archive_for_server()
