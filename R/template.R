# Copies a template of the package into a new directory, or into an empty one. It is there as a whole or not at all.
write_template <- function(name, path, call = rlang::caller_env()) {
  path <- native_path(expand_path(check_string(path, argument = "path", call = call), call, "path"))
  if (file.exists(path) && (!dir.exists(path) || length(list.files(path, all.files = TRUE, no.. = TRUE)) > 0L)) {
    abort_input("path", "must be a new directory, or an empty one: nothing is overwritten", path, call)
  }
  existed <- dir.exists(path)
  from <- system.file("templates", name, package = "abba", mustWork = TRUE)
  made <- suppressWarnings(
    (existed || dir.create(path, recursive = TRUE)) && all(file.copy(list.files(from, full.names = TRUE), path))
  )
  if (!made) {
    unlink(if (existed) file.path(path, list.files(from)) else path, recursive = TRUE)
    abort_input("path", "must be a directory that can be written to", path, call)
  }
  # The installed files may be read-only.
  Sys.chmod(file.path(path, list.files(from)), "0644")
  path
}
