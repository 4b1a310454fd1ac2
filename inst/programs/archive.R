# Archives jobs for an abba server, which has started it: see the option `abba.api.archive`. The environment has the
# server's libraries and options.
given <- unserialize(charToRaw(Sys.getenv("ABBA_SERVER")))
Sys.unsetenv("ABBA_SERVER")
.libPaths(given$libraries)
options(given$options)
abba:::archive_for_server()
