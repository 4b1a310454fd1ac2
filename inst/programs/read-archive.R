# Reads the index of an archive for an abba server, which has started it. Its argument is a file with the server's libraries
# and options.
given <- readRDS(commandArgs(TRUE)[[1L]])
.libPaths(given$libraries)
options(given$options)
abba:::read_archive_for_server()
