#' Answer a request to an abba server for a file
#'
#' What the routes of an abba server call for the page for people at `/`, for the
#' description of the API (`/openapi.json`), and for Swagger UI, which shows it under
#' `/__docs__/`. These files are the same for everybody and hold nothing of anybody's, so nobody is
#' asked who they are.
#'
#' The server names the files, never the caller. The browser may run what comes from the server
#' itself, and nothing else (`Content-Security-Policy`): neither a script in a program's name or log nor a
#' description of an API of somebody else's.
#'
#' @param name The name of the file, a string: one of `"index.html"`, `"abba.js"`, `"abba.css"`,
#'   `"openapi.json"`, `"docs.html"`, `"docs.js"`, `"swagger-ui-bundle.js"`,
#'   `"swagger-ui.css"`.
#' @param req,res The request and the response, as plumber hands them to a route.
#'
#' @return `res`, with status, headers and body.
#' @seealso [abba_api_answer()]
#' @export
#' @examples
#' # A route of a plumber file:
#' #* @get /
#' function(req, res) abba_api_file("index.html", req, res)
abba_api_file <- function(name, req, res) {
  file <- api_files[[check_string(name)]]
  if (is.null(file)) {
    abort_input("name", "must be the name of a file of the server", name, rlang::current_env())
  }
  if (file$is_docs && isFALSE(the_server$docs)) {
    return(abba_api_answer(sub("^/", "", req$PATH_INFO), req, res))
  }
  path <- system.file(file$path, package = file$package, mustWork = TRUE)
  res$status <- 200L
  res$setHeader("Content-Type", file$type)
  res$setHeader("Cache-Control", "no-store")
  res$setHeader("X-Content-Type-Options", "nosniff")
  res$setHeader("Referrer-Policy", "no-referrer")
  res$setHeader("Content-Security-Policy", file$policy)
  res$body <- readBin(path, "raw", file.size(path))
  res
}

# Posit Connect shows content in a frame of its own, which has the same origin.
strict_policy <- paste(
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;",
  "base-uri 'none'; form-action 'none'; frame-ancestors 'self';",
  "require-trusted-types-for 'script'; trusted-types 'none'"
)

# Swagger UI writes styles into its elements. It would load any description that its address names (`?url=`, seen with
# 3.33), and show what stands there as this server's: so it may reach this server alone.
docs_policy <- paste(
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:;",
  "font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

api_file <- function(path, type, policy = strict_policy, is_docs = FALSE, package = "abba") {
  list(path = path, type = paste0(type, "; charset=utf-8"), policy = policy, is_docs = is_docs, package = package)
}

# The files, by name. Swagger UI is in the package swagger, which plumber imports.
api_files <- list(
  "index.html" = api_file("plumber/abba/page/index.html", "text/html"),
  "abba.js" = api_file("plumber/abba/page/abba.js", "text/javascript"),
  "abba.css" = api_file("plumber/abba/page/abba.css", "text/css"),
  "openapi.json" = api_file("plumber/abba/openapi.json", "application/json"),
  "docs.html" = api_file("plumber/abba/page/docs.html", "text/html", docs_policy, is_docs = TRUE),
  "docs.js" = api_file("plumber/abba/page/docs.js", "text/javascript", docs_policy, is_docs = TRUE),
  "swagger-ui-bundle.js" = api_file(
    "dist3/swagger-ui-bundle.js", "text/javascript", docs_policy,
    is_docs = TRUE, package = "swagger"
  ),
  "swagger-ui.css" = api_file("dist3/swagger-ui.css", "text/css", docs_policy, is_docs = TRUE, package = "swagger")
)
