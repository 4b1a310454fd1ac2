#' Run an abba server
#'
#' Starts the abba API in this R session and serves until it is interrupted. Callers
#' need neither kubectl nor a login to the cluster; the jobs are submitted with the login
#' of the account that runs the server.
#'
#' In a browser the server's address shows people their jobs, with their logs, and lets
#' them cancel; `__docs__/` below it shows the API's description, where calls can be
#' tried out.
#'
#' How callers are known, and all that they may do, is set with options: see
#' `vignette("api_setup")`. How they are known has to be stated: with a file of API keys (option
#' `abba.api.keys`), or with `abba.api.identity`. With `options(abba.api.identity = "local")` the server
#' is for yourself alone: it makes a key when it starts, and prints an address with it to open.
#'
#' @param host The address to listen on, a string. A server with the identity `"local"` listens on
#'   this machine's own alone (`"127.0.0.1"`, `"::1"`, `"localhost"`).
#' @param port The port, a whole number from 1 to 65535.
#' @param socket The path of a Unix socket to listen on instead of `host` and `port`, a string;
#'   `NULL`: there is none. The account of the server and its group alone reach it: put the web
#'   server before it into that group.
#' @param docs Whether the API's description is shown under `/__docs__/`.
#' @param largest_request The largest body of a request, in bytes. A larger one is
#'   refused before it is read.
#'
#' @return Nothing: the function ends with an interrupt.
#' @seealso [abba_api_key_create()], [create_batch_api()]
#' @export
#' @examples
#' # Needs the package plumber, kubectl and a cluster that it is logged in to.
#' \dontrun{
#' options(
#'   abba.default.container = "registry.example.com/openval_4.2.1_focal:2023.09.0.02",
#'   abba.api.keys = "/etc/abba/api-keys"
#' )
#' abba_run_api(port = 8000)
#' }
abba_run_api <- function(
    host = "127.0.0.1",
    port = 8000L,
    docs = TRUE,
    largest_request = getOption("abba.api.largest.request", 8 * 1024^2),
    socket = NULL) {
  host <- check_string(host)
  port <- check_number(port)
  if (port != round(port) || port < 1 || port > 65535) {
    abort_input("port", "must be a whole number from 1 to 65535", port, rlang::current_env())
  }
  docs <- check_flag(docs)
  largest_request <- check_largest_request(largest_request, "largest_request", rlang::current_env())
  check_api_packages(rlang::current_env())
  socket <- check_string(socket, null = TRUE)
  the_server$socket <- if (!is.null(socket)) path.expand(socket)
  on.exit(the_server$docs <- the_server$address <- the_server$socket <- NULL)
  identity <- api_open()
  if (identity == "connect") {
    abort_identity(
      "The option `abba.api.identity` is \"connect\", and abba_run_api() does not run on Posit Connect.",
      paste("Deploy the server on Posit Connect: see create_batch_api().", known_by), rlang::current_env()
    )
  }
  if (identity == "local" && !is_loopback(host)) {
    abort_identity(
      paste0("The option `abba.api.identity` is \"local\", and ", host, " is an address for others, too."),
      paste(
        "Make keys with abba_api_key_create() and name their file with options(abba.api.keys = ...), or serve",
        "this machine alone with host = \"127.0.0.1\"."
      ),
      rlang::current_env()
    )
  }
  if (!is.null(socket)) {
    core_value(core_socket_make_way(the_server$socket))
  } else if (!is_loopback(host)) {
    message(
      "The abba server speaks HTTP on ", host, ", where others may read what is sent, keys too. Let a web server with ",
      "TLS stand before it: see vignette(\"api_setup\")."
    )
  }
  old <- options(abba.api.largest.request = largest_request)
  on.exit(options(old), add = TRUE)
  the_server$docs <- docs
  the_server$address <- paste0("http://", if (grepl(":", host)) paste0("[", host, "]") else host, ":", port)
  router <- plumber::plumb_api("abba", "abba")
  if (is.null(socket)) {
    router$run(host = host, port = as.integer(port), quiet = TRUE, debug = FALSE)
  } else {
    serve_on_socket(router, the_server$socket)
  }
  invisible()
}

# As plumber's `run()`, which knows no sockets.
serve_on_socket <- function(router, socket) {
  router$setDebug(FALSE)
  # The bits that the socket does not have: for its owner and group to read and write.
  server <- httpuv::startPipeServer(socket, strtoi("117", 8L), router, quiet = TRUE)
  on.exit(httpuv::stopServer(server))
  httpuv::service(0)
}

is_loopback <- function(host) {
  host %in% c("localhost", "::1") || grepl("^127[.][0-9]+[.][0-9]+[.][0-9]+$", host)
}

# The server's own packages are not needed by those who only use abba.
check_api_packages <- function(call) {
  for (package in c("plumber", "httpuv", "promises", "later", "jsonlite")) {
    if (!requireNamespace(package, quietly = TRUE)) {
      abort_words(c(paste0("An abba server needs the package ", package, "."), i = "Install it."), call)
    }
  }
}
