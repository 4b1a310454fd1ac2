# What every call to the core needs beside its own arguments: the options and
# the namespace.
settings <- function(namespace, call = rlang::caller_env()) {
  namespace <- check_string(
    namespace,
    null = TRUE, argument = "namespace", call = call
  )
  kubectl <- check_string(
    getOption("abba.kubectl", "kubectl"),
    argument = "abba.kubectl", call = call
  )
  request_timeout <- check_number(
    getOption("abba.k8s.request.timeout", 30),
    argument = "abba.k8s.request.timeout", call = call
  )
  if (request_timeout <= 0 || request_timeout > 1e6) {
    abort_input(
      "abba.k8s.request.timeout", "must be more than 0 and at most a million",
      request_timeout, call
    )
  }
  list(
    kubectl = expand_path(kubectl, call, "abba.kubectl"),
    request_timeout = request_timeout,
    namespace = namespace,
    session = check_flag(
      getOption("abba.k8s.session", TRUE),
      argument = "abba.k8s.session", call = call
    ),
    log_patterns = log_patterns_option(call)
  )
}
