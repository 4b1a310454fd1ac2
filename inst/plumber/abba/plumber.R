# The routes of the abba API. What they do is in the package: ?abba_api_answer, ?abba_api_file.

#* @apiTitle abba

#* @plumber
function(pr) {
  # `preempt`: before plumber's own filters, which read cookies, query and body in a way that a caller can break; the
  # package reads what it needs itself, with bounds on what it may hold.
  handle <- function(methods, path, answer, name) {
    force(name)
    force(answer)
    # What can be asked for with GET can with HEAD.
    methods <- c(methods, if ("GET" %in% methods) "HEAD")
    pr$handle(methods, path, function(req, res) answer(name, req, res), preempt = "__first__")
  }
  for (call in abba:::api_calls()) {
    handle(call$methods, paste0("/", call$name), abba::abba_api_answer, call$name)
  }
  # The page for people, and the description of the API.
  pages <- abba:::api_pages()
  for (path in names(pages)) {
    handle("GET", path, abba::abba_api_file, pages[[path]])
  }
  abba::abba_api_set_up(pr)
}
