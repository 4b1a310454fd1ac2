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
#' @param name The name of the file, a string: `"openapi.json"`, `"swagger-ui-bundle.js"`,
#'   `"swagger-ui.css"`, or a file of the page, such as `"index.html"` or `"abba.css"`.
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
  file <- api_files()[[check_string(name)]]
  if (is.null(file)) {
    abort_input("name", "must be the name of a file of the server", name, rlang::current_env())
  }
  if (is_hidden(file)) {
    return(abba_api_answer(sub("^/", "", req$PATH_INFO), req, res))
  }
  fill_response(res, file_response(file, req))
}

is_hidden <- function(file) file$is_docs && isFALSE(the_server$docs)

# httpuv reads the file itself, while R goes on.
file_response <- function(file, req) {
  without_body(list(status = 200L, headers = not_packed(file$headers, req), body = list(file = file$path)), req)
}

# The names of the files by the paths where they stand.
api_pages <- function() {
  name <- names(api_files())
  is_docs <- vapply(api_files(), `[[`, NA, "is_docs")
  path <- ifelse(is_docs, paste0("/__docs__/", name), paste0("/", name))
  path <- replace(path, match(c("index.html", "docs.html"), name), c("/", "/__docs__/"))
  c(rlang::set_names(name, path), "/__docs__/index.html" = "docs.html")
}

# The one script that stands in the pages themselves, since it must be there when nothing else is: it loads a page anew
# of which a part did not come. A browser runs it by the hash of the text between its tags
# (https://www.w3.org/TR/CSP3/#grammardef-hash-source).
load_again <- "'sha256-IPYseE+GjCXNqx4elueAWrCTIwGD5fokOCgEl/NSxxs='"

# Posit Connect shows content in a frame of its own, which has the same origin.
strict_policy <- paste(
  "default-src 'none'; script-src 'self'", paste0(load_again, ";"),
  "style-src 'self'; connect-src 'self'; img-src data:;",
  "base-uri 'none'; form-action 'none'; frame-ancestors 'self';",
  "require-trusted-types-for 'script'; trusted-types 'none'"
)

# Swagger UI writes styles into its elements. It would load any description that its address names (`?url=`, seen with
# 3.33), and show what stands there as this server's: so it may reach this server alone.
docs_policy <- paste(
  "default-src 'none'; script-src 'self'", paste0(load_again, ";"),
  "style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:;",
  "font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

# The files by name: those of the page, the description, and Swagger UI, which is in the package swagger that plumber
# imports.
api_files <- function() {
  if (is.null(the_server$files)) {
    page <- list.files(system.file("plumber/abba/page", package = "abba", mustWork = TRUE), full.names = TRUE)
    description <- system.file("plumber/abba/openapi.json", package = "abba", mustWork = TRUE)
    swagger <- file.path(
      system.file("dist3", package = "swagger", mustWork = TRUE), c("swagger-ui-bundle.js", "swagger-ui.css")
    )
    paths <- c(page, description, swagger)
    the_server$files <- rlang::set_names(lapply(paths, api_file), basename(paths))
  }
  the_server$files
}

api_file <- function(path) {
  is_docs <- grepl("^(docs|swagger-ui)", basename(path))
  type <- switch(tools::file_ext(path),
    html = "text/html",
    js = "text/javascript",
    css = "text/css",
    json = "application/json"
  )
  headers <- list(
    "Content-Type" = paste0(type, "; charset=utf-8"),
    "Cache-Control" = "no-store",
    "X-Content-Type-Options" = "nosniff",
    "Cross-Origin-Opener-Policy" = "same-origin",
    "Cross-Origin-Resource-Policy" = "same-origin",
    "Referrer-Policy" = "no-referrer",
    # It has no use for them, so whatever runs in it has none. It copies by the clipboard, which it keeps.
    "Permissions-Policy" = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy" = if (is_docs) docs_policy else strict_policy
  )
  list(path = path, is_docs = is_docs, headers = headers)
}
