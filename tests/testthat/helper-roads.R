# The two roads to a cluster, so that one test of a behaviour runs over both.

# A test that runs by kubectl of this machine and through an abba API. The calls of helper-abba.R go the road that is
# tested, and the scripted kubectl answers on both: the API's server is the real one, in this R, and asks it.
test_on_both_roads <- function(desc, code) {
  code <- substitute(code)
  test <- parent.frame()
  for (road in c("kubectl", "api")) {
    name <- if (road == "kubectl") desc else paste(desc, "(by the API)")
    eval(bquote(test_that(.(name), {
      local_road(.(road))
      .(code)
    })), test)
  }
}

the_road <- new.env()
the_road$name <- "kubectl"
by_kubectl <- function() the_road$name == "kubectl"

# The exported function of the road that is tested, by its name without "abba_", such as "get_job_status".
verb_name <- function(name) {
  paste0("abba_", if (by_kubectl()) paste0(sub("_(jobs?|batch)", "_k8s_\\1", name), "_local") else name)
}

# Calls it by its name, which errors tell. An API has one namespace.
on_road <- function(name, ..., namespace = "n") {
  arguments <- c(list(...), if (by_kubectl()) list(namespace = namespace))
  # The jobs of the scripted cluster are nobody's by name, and the caller is an operator.
  of_whom <- !by_kubectl() && grepl("(get|watch|cancel|remove|save).*batch|remove_job", name)
  if (of_whom && is.null(arguments$everybody)) arguments$everybody <- TRUE
  quoted <- lapply(arguments, function(argument) if (is.language(argument)) call("quote", argument) else argument)
  eval(rlang::call2(verb_name(name), !!!quoted))
}

local_road <- function(road, env = parent.frame()) {
  the_road$name <- road
  withr::defer(the_road$name <- "kubectl", envir = env)
  if (road == "api") {
    # An administrator who permits as much as a cluster does, and a caller who sees the jobs of all.
    api <- local_api(
      abba.api.address = "http://127.0.0.1:8000", abba.api.operators = "daemon", abba.api.snapshot.seconds = 0,
      abba.api.requests.per.minute = 1e6, abba.permitted.containers = c("r", "r:1", "r:2", "r:3"),
      abba.cpu.limit = 1e6, abba.memory.limit = "1000G", abba.lower.memory.limit = "6Mi",
      abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/")), abba.api.follow.interval = 0,
      abba.permitted.queues = c("a", "b", "team-a"), env = env
    )
    withr::local_options(abba.api.key = api$keys$daemon, .local_envir = env)
    local_function("req_perform", answer_in_this_r, asNamespace("httr2"), env)
  }
}

# A snapshot of what `x` prints on the first road, which the other one prints, too.
expect_words_of_both <- function(x) {
  x <- substitute(x)
  test <- parent.frame()
  if (by_kubectl()) eval(bquote(expect_words(.(x))), test)
  words <- utils::capture.output(eval(x, test))
  if (by_kubectl()) the_road$words <- words
  expect_identical(words, the_road$words)
}

# Puts a function in the place of another until the test ends.
local_function <- function(name, value, namespace, env) {
  put <- function(value) {
    rlang::env_binding_unlock(namespace, name)
    assign(name, value, envir = namespace)
    rlang::env_binding_lock(namespace, name)
  }
  before <- get(name, envir = namespace)
  put(value)
  withr::defer(put(before), envir = env)
}

# Answers a request of httr2 as the abba server does, without HTTP.
answer_in_this_r <- function(req, ...) {
  url <- sub("^http://[^/]*/", "", req$url)
  method <- if (is.null(req$method)) "GET" else req$method
  request <- api_request(method, sub("^[^?]*", "", url), req$body$data, key = getOption("abba.api.key"))
  answer <- finish_answer(abba_api_answer(sub("[?].*$", "", url), request, api_response()))
  httr2::response(answer$status, req$url, method, as.list(answer$headers), charToRaw(answer$text))
}
