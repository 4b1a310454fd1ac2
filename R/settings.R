# What every call to the core needs beside its own arguments: the options and
# the namespace.
settings <- function(namespace, call = rlang::caller_env()) {
  list(
    kubectl = path_option("abba.kubectl", call, "kubectl"),
    request_timeout = seconds_option("abba.k8s.request.timeout", 30, call),
    namespace = check_string(namespace, null = TRUE, argument = "namespace", call = call),
    session = check_flag(getOption("abba.k8s.session", TRUE), argument = "abba.k8s.session", call = call),
    log_patterns = log_patterns_option(call)
  )
}

# An option that is a path, with `~` replaced; NULL for none.
path_option <- function(name, call, default = NULL) {
  path <- check_string(getOption(name, default), null = TRUE, argument = name, call = call)
  if (!is.null(path)) expand_path(path, call, name)
}

# An option that is a time limit in seconds. `most_text`: `most` as the rule has it.
seconds_option <- function(name, default, call, most = 1e6, most_text = "a million") {
  seconds <- check_number(getOption(name, default), argument = name, call = call)
  if (seconds <= 0 || seconds > most) {
    abort_input(name, paste("must be more than 0 and at most", most_text), seconds, call)
  }
  seconds
}
