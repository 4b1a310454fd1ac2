# Reads the index of an archive for an abba server, which has started it. The environment has the server's libraries and
# options.
given <- unserialize(charToRaw(Sys.getenv("ABBA_SERVER")))
Sys.unsetenv("ABBA_SERVER")
.libPaths(given$libraries)
options(given$options)
abba:::read_archive_for_server()
