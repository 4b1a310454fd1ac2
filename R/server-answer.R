#' Answer a request to the abba API
#'
#' What the routes of an abba server call: decides who the caller is and whether they
#' may do what they ask for, does it, and fills the response. [abba_run_api()] starts a
#' server whose routes do nothing else.
#'
#' The options are read at the first request of the R process.
#'
#' @param call The name of the call, a string: the path without its `/`, such as
#'   `"submit-job"`.
#' @param req,res The request and the response, as plumber hands them to a route.
#'
#' @return `res`, with status, headers and body (JSON).
#'
#' @section The log of decisions:
#' Each request makes lines of JSON: who, from which address, what, which jobs, what was decided and why; for
#' each job that is changed one before it is done and one after. They go to the file in the option `abba.api.log`,
#' or else to standard error. No line holds a key or a program's text. `vignette("api_setup")` says it field by field.
#'
#' @section How long a request may take:
#' Each request is answered in a thread of its own. What is known already is answered at once; for what has to
#' wait for the cluster R gets a promise, and goes on with the next request.
#'
#' @export
#' @examples
#' # A route of a plumber file:
#' #* @get /job-status
#' #* @preempt __first__
#' function(req, res) abba_api_answer("job-status", req, res)
abba_api_answer <- function(call, req, res) {
  answer <- answer_to(call, req)
  fill <- function(answer) fill_response(res, answer)
  if (inherits(answer, "promise")) promises::then(answer, fill) else fill(answer)
}

# The answer to a request: a response as httpuv wants it, or a promise of one.
answer_to <- function(call, req) {
  req$abba_is_sent <- TRUE
  answer <- NULL
  number <- tryCatch(
    {
      gateway <- api_gateway()
      body <- api_body(req)
      # The bytes count, whatever a header says of them.
      if (length(body) > the_server$largest) {
        return(as_response(refusal_of_size(call, req), req))
      }
      core_value(core_gateway_begin(gateway, api_request(call, req), body, api_settings()))
    },
    # A fault of the server: its words are for the administrator alone.
    error = function(error) {
      answer <<- api_fault(call, req, conditionMessage(error))
      NULL
    }
  )
  if (is.null(number)) {
    return(as_response(answer, req))
  }
  await(number, function(ready) answer <<- ready)
  # With many under way, nobody else waits for this one.
  take_answers(number, if (length(the_server$awaited) > few) 0 else at_once)
  if (!is.null(answer) && !is_to_wait(answer, body)) {
    return(as_response(answer, req))
  }
  promises::promise(function(resolve, reject) {
    deliver <- function(ready) tryCatch(resolve(as_response(ready, req)), error = reject)
    finish <- function(ready) if (is_to_wait(ready, body)) deliver_late(deliver, ready) else deliver(ready)
    if (is.null(answer)) {
      await(number, finish)
      look_for_answers()
    } else {
      finish(answer)
    }
  })
}

# For so many seconds a request is waited for before the next one is begun: what is
# known already is there by then.
at_once <- 0.003

# So many requests that wait are no flood.
few <- 8L

# A body of more bytes is large, as it is for the core.
large <- 65536

# In a flood of requests whoever asks too much waits for being told so: with as many connections as they like, they
# would otherwise ask again at once, and R's one thread would do nothing but refuse. What is large is not kept
# meanwhile.
is_to_wait <- function(answer, body) {
  identical(as.integer(answer$status), 429L) && length(body) <= large &&
    length(the_server$awaited) + the_server$late > few
}

deliver_late <- function(deliver, answer) {
  # The more wait, the longer: some are told in each second, however many ask.
  seconds <- min(20, 2 + the_server$late / 20)
  the_server$late <- the_server$late + 1L
  later::later(function() {
    the_server$late <- the_server$late - 1L
    deliver(answer)
  }, seconds)
}

# What to do with the answer to a request, by its number.
await <- function(number, deliver) {
  # A list, because each name in an environment is a symbol, and R keeps symbols for ever.
  the_server$awaited[[as.character(number)]] <- deliver
  the_server$begun <- proc.time()[["elapsed"]]
}

# Takes the answers that are ready, waiting `seconds` for that to the request `number`.
take_answers <- function(number, seconds) {
  for (answer in core_value(core_gateway_answers(the_server$gateway, number, seconds))) {
    name <- as.character(answer$number)
    deliver <- the_server$awaited[[name]]
    if (!is.null(deliver)) {
      the_server$awaited[[name]] <- NULL
      # One that cannot be delivered takes none of the others with it.
      tryCatch(deliver(answer), error = note_fault)
    }
  }
}

note_fault <- function(error) {
  cat("abba: an answer was lost: ", conditionMessage(error), "\n", file = stderr(), sep = "")
}

# Looks every few milliseconds for answers, as long as some are awaited; less often where no request has come for a
# second, as when all that are awaited wait for a change of their jobs.
look_for_answers <- function() {
  if (the_server$is_looking) {
    return(invisible())
  }
  the_server$is_looking <- TRUE
  look <- function() {
    the_server$is_looking <- FALSE
    # Whatever happens, the others are looked for again.
    on.exit(if (length(the_server$awaited) > 0L) look_for_answers())
    tryCatch(take_answers(0L, 0), error = note_fault)
  }
  is_quiet <- proc.time()[["elapsed"]] - the_server$begun > 1
  later::later(look, if (is_quiet) 0.05 else 0.004)
  invisible()
}

# An answer of the core as httpuv wants it.
as_response <- function(answer, req) {
  without_body(early_response(answer, req), req)
}

# httpuv packs an answer for whoever takes that, unless it says how it is packed: 30 ms for a megabyte, in the one
# thread that serves all connections. A web server before this one has more of them.
not_packed <- function(headers, req) {
  if (!is.null(header_of(req, "accept-encoding"))) headers[["Content-Encoding"]] <- "identity"
  headers
}

# The same in plumber's words. The fallback handlers of plumber have a header of their own set.
fill_response <- function(res, response) {
  res$status <- response$status
  res$headers <- response$headers
  res$body <- response$body
  res
}

# Lines of the log of decisions that go to standard error.
say <- function(lines) {
  if (!is.null(lines) && nzchar(lines)) {
    # cat() would write UTF-8 in a session that is not UTF-8, as one of systemd, as <U+00E9>.
    Encoding(lines) <- "unknown"
    cat(lines, file = stderr(), sep = "")
  }
}

# An answer to HEAD is that to GET without its body, and says how long that is. (RFC 9110, 9.3.2)
without_body <- function(response, req) {
  if (identical(req$REQUEST_METHOD, "HEAD")) {
    body <- response$body
    length <- if (is.list(body)) file.size(body$file) else length(as_bytes(body))
    if (is.list(body) && isTRUE(body$owned)) unlink(body$file)
    response$headers[["Content-Length"]] <- format(length, scientific = FALSE)
    response$body <- ""
  }
  response
}

as_bytes <- function(body) if (is.raw(body)) body else charToRaw(enc2utf8(body))

#' @rdname abba_api_answer
#' @description
#' `abba_api_set_up()` readies a router for such routes: it reads the options, so that a mistake in
#' them shows when the server starts, bounds what a request may hold, and answers what has no route.
#' @param pr The router, as plumber hands it to a function marked `@plumber`.
#' @export
abba_api_set_up <- function(pr) {
  identity <- api_open()
  for (doubt in core_value(core_gateway_doubts(the_server$gateway))) message(doubt)
  core_value(core_gateway_keep_following(the_server$gateway, lease_holder(), api_settings()))
  have_archived()
  # Once it serves: httpuv writes head and body of an answer one after the other, and with a connection that is used
  # again the second would wait 40 ms for the client.
  later::later(function() core_value(core_sockets_send_at_once()))
  if (identity == "local") {
    # Once it serves: until then another router may be set up, with another key.
    later::later(tell_local_key)
  }
  # Read as text, so that an array of one, an empty object and a null stay what they are.
  description <- jsonlite::read_json(system.file("plumber/abba/openapi.json", package = "abba", mustWork = TRUE))
  pr$setApiSpec(function(spec) description)
  replace_method(pr, "onHeaders", function(req) {
    fault <- function(error) early_response(api_fault(sub("^/", "", req$PATH_INFO), req, conditionMessage(error)), req)
    tryCatch(refuse_early(req), error = fault)
  })
  replace_method(pr, "call", directly(pr$call))
  # Which methods a call has is told in the words of the API.
  options(plumber.methodNotAllowed = FALSE)
  # plumber's own docs would stand at the addresses of ours, without their protection.
  pr$setDocs(FALSE)
  pr$set404Handler(function(req, res) abba_api_answer(sub("^/", "", req$PATH_INFO), req, res))
  pr$setErrorHandler(function(req, res, error) {
    res$serializer <- function(value, req, res, error_handler) res$toResponse()
    fill_response(res, as_response(api_fault(sub("^/", "", req$PATH_INFO), req, conditionMessage(error)), req))
  })
  invisible(pr)
}

# plumber's own answer to a body that is too large is not in the words of the API.
replace_method <- function(pr, name, method) {
  rlang::env_binding_unlock(pr, name)
  assign(name, method, envir = pr)
  rlang::env_binding_lock(pr, name)
}

# Takes the calls of the API and the files of the page past plumber, whose way from a request to its route and back
# costs R's one thread more than abba's own answer; all callers share that thread. `call`: plumber's way, which
# everything else takes.
directly <- function(call) {
  force(call)
  names <- vapply(api_calls(), `[[`, "", "name")
  names <- rlang::set_names(names, paste0("/", names))
  pages <- api_pages()
  function(req) {
    path <- req$PATH_INFO
    name <- unname(names[path])
    if (is.na(name)) {
      file <- if (req$REQUEST_METHOD %in% c("GET", "HEAD") && path %in% names(pages)) api_files()[[pages[[path]]]]
      return(if (is.null(file) || is_hidden(file)) call(req) else file_response(file, req))
    }
    fault <- function(error) as_response(api_fault(name, req, conditionMessage(error)), req)
    answer <- tryCatch(answer_to(name, req), error = fault)
    if (inherits(answer, "promise")) promises::catch(answer, fault) else answer
  }
}

# What is refused before the body of a request is read: httpuv asks for it when it has the
# headers, and reads no further where it gets an answer. NULL: nothing.
refuse_early <- function(req) {
  gateway <- api_gateway()
  call <- sub("^/", "", req$PATH_INFO)
  if (identical(tolower(header_of(req, "upgrade")), "websocket")) {
    return(early_response(
      api_refusal(call, req, 400L, "The abba server has no WebSockets.", "Leave the header `Upgrade` out."), req
    ))
  }
  if (!is.null(header_of(req, "transfer-encoding"))) {
    return(early_response(api_refusal(
      call, req, 411L, "The request does not say how long it is.",
      "Send the header `Content-Length` instead of `Transfer-Encoding`."
    ), req))
  }
  length <- header_of(req, "content-length")
  if (is.null(length)) {
    return(NULL)
  }
  bytes <- suppressWarnings(as.numeric(length))
  if (!isTRUE(bytes <= the_server$largest)) {
    return(early_response(refusal_of_size(call, req), req))
  }
  # A sender that is not known does not get to send a body.
  early <- core_value(core_gateway_look_early(gateway, api_request(call, req)))
  if (is.list(early)) {
    return(early_response(early, req))
  }
  if (too_many_are_sending(req, early, is_large = bytes > large)) {
    return(early_response(api_refusal(
      call, req, 503L, "Too many requests are being sent to the abba server.", "Repeat the call in a moment."
    ), req))
  }
  NULL
}

# The answer to a request that is refused before the core begins with it.
api_refusal <- function(call, req, status, message, advice) {
  refusal <- list(status = status, message = message, advice = advice)
  core_value(core_gateway_refuse(api_gateway(), api_request(call, req), refusal))
}

refusal_of_size <- function(call, req) {
  largest <- format(the_server$largest, scientific = FALSE)
  api_refusal(
    call, req, 413L, paste0("The request is too large: the abba server reads ", largest, " bytes."),
    "Put large programs on storage that the cluster can mount, and send their paths."
  )
}

early_response <- function(answer, req) {
  say(answer$said)
  headers <- api_headers
  headers[names(answer$headers)] <- answer$headers
  list(status = answer$status, headers = not_packed(headers, req), body = answer$body)
}

# The headers of every answer.
api_headers <- list(
  "Content-Type" = "application/json",
  "Cache-Control" = "no-store",
  "Content-Security-Policy" = "default-src 'none'; frame-ancestors 'none'",
  "Cross-Origin-Resource-Policy" = "same-origin",
  "X-Content-Type-Options" = "nosniff"
)

# httpuv keeps a body, as far as it has come, in one of R's connections, of which there
# are 128; R needs some itself, to write the log. Those of requests that were
# broken off are there until R collects its garbage. `caller`: the name. `of_one`: for one
# caller, so that nobody takes the place of all others. `large_of_one`: large ones, each of
# which is megabytes that R's one thread writes and reads, so that a caller sends no more of
# them than are answered at a time or wait for it.
too_many_are_sending <- function(req, caller, is_large = FALSE, most = 64L, of_one = 16L,
                                 large_of_one = the_server$large_of_one) {
  now <- proc.time()[["elapsed"]]
  is_full <- function() {
    sending <- lapply(the_server$sending, rlang::wref_value)
    own <- vapply(sending, function(one) identical(one$caller, caller), NA)
    # Of one that is gone there is nothing.
    own_large <- own & vapply(sending, function(one) isTRUE(one$is_large), NA)
    length(sending) >= most || sum(own) >= of_one || (is_large && sum(own_large) >= large_of_one)
  }
  if (is_full()) {
    forget_sent()
  }
  # What is broken off young is found in a few milliseconds.
  if (is_full() && now - the_server$looked > 0.5) {
    the_server$looked <- now
    collect_garbage(full = FALSE)
  }
  if (is_full() && is_worth_collecting(now)) {
    the_server$collected <- now
    collect_garbage(full = TRUE)
  }
  too_many <- is_full()
  if (!too_many) {
    # Held weakly: a request that is broken off is gone.
    value <- list(caller = caller, is_large = is_large, since = now)
    the_server$sending <- c(the_server$sending, list(rlang::new_weakref(req, value = value)))
  }
  too_many
}

# All garbage takes a tenth of a second and more of R's one thread, in which nobody is answered. A caller who sends all
# the time what is refused is no reason for it: only bodies that are on their way for longer than most are, and that R
# has not looked at since; or, so that none keeps its place for ever, a minute.
is_worth_collecting <- function(now) {
  since <- vapply(the_server$sending, function(one) rlang::wref_value(one)$since %||% now, 0)
  any(since > the_server$collected & now - since > slow) || now - the_server$collected > 60
}

# Most bodies are there after so many seconds.
slow <- 5

collect_garbage <- function(full) {
  # R warns of each connection that it closes.
  suppressWarnings(gc(full = full))
  forget_sent()
}

forget_sent <- function() {
  is_sending <- function(reference) {
    req <- rlang::wref_key(reference)
    !is.null(req) && is.null(req$abba_is_sent)
  }
  the_server$sending <- Filter(is_sending, the_server$sending)
}

# The server's state, which lasts as long as the R process. `docs`: whether the API's description is shown;
# `largest`: the largest body of a request, in bytes; `large_of_one`: large ones of a caller that may be on their way;
# `address`, `socket`: where abba_run_api() serves.
the_server <- new.env(parent = emptyenv())
# What to do with the answers that are not there yet, by the numbers of their requests.
the_server$awaited <- list()
the_server$is_looking <- FALSE
# How many refusals wait for being told.
the_server$late <- 0L
# When a request was begun last, in seconds.
the_server$begun <- 0
# The requests whose bodies are on their way, as weak references.
the_server$sending <- list()
# When R has collected its garbage for them last, in seconds: all of it, and what is young.
the_server$collected <- 0
the_server$looked <- 0

# The calls of the API: lists with `name` and `methods`.
api_calls <- function() core_value(core_api_calls())

# The gateway, opened at the first request. `identity` as of `api_identity()`.
api_gateway <- function() {
  if (is.null(the_server$gateway)) {
    api_open()
  }
  the_server$gateway
}

# Opens the gateway from the options as they are now. An option that is wrong is an
# error here, and so before anybody is answered.
api_open <- function(call = rlang::caller_env()) {
  api_settings(call)
  the_server$largest <- check_largest_request(
    getOption("abba.api.largest.request", 8 * 1024^2), "abba.api.largest.request", call
  )
  identity <- api_identity(call)
  key_file <- if (identity == "keys") path_option("abba.api.keys", call)
  archive <- archive_folder(getOption("abba.archive"), "abba.archive", call)
  the_server$archives <- check_flag(getOption("abba.api.archive", FALSE), argument = "abba.api.archive", call = call)
  if (the_server$archives && is.null(archive)) {
    abort_input("abba.api.archive", "must be FALSE where the option `abba.archive` names no folder", NULL, call)
  }
  the_server$gateway <- core_value(
    core_gateway_open(
      api_policy(identity, call), key_file, as.character(utils::packageVersion("abba")),
      server_archive(archive), tempdir()
    ), call
  )
  # As many as the core answers at a time, and as many that wait.
  the_server$large_of_one <- 2 * min(8, ceiling(getOption("abba.api.requests.at.once", 8) / 4))
  invisible(identity)
}

# Tells the key of a local server, which is made at its start, to whoever starts it.
tell_local_key <- function() {
  key <- core_value(core_gateway_local_key(the_server$gateway))
  if (is.null(key) || identical(key, the_server$told_key)) {
    return(invisible())
  }
  the_server$told_key <- key
  address <- the_server$address
  message(
    "This abba server answers this machine alone, and whoever has its key, which is new at each start.\n",
    if (!is.null(address)) paste0("Open in a browser:\n  ", address, "/#key=", key, "\n"),
    "In R:\n  options(", if (!is.null(address)) paste0("abba.api.address = \"", address, "\", "),
    "abba.api.key = \"", key, "\")"
  )
}

# The request as the core wants it.
api_request <- function(call, req) {
  text <- function(name) harmless(req[[name]])
  list(
    method = text("REQUEST_METHOD"),
    call = harmless(call),
    query = text("QUERY_STRING"),
    headers = as.list(iconv(unlist(req$HEADERS), "UTF-8", "UTF-8", sub = "?")),
    when = api_now(),
    # On a Unix socket there is none.
    from = if (is.null(the_server$socket)) text("REMOTE_ADDR") else ""
  )
}

# A header by its name in lower case. In `HEADERS` the names stand as they were sent: those of CGI (`HTTP_A_B`) are the
# same for `A-B` and `A_B`, so that the one could stand for the other.
header_of <- function(req, name) {
  headers <- req$HEADERS
  if (name %in% names(headers)) harmless(headers[[name]])
}

# Text that is not UTF-8 cannot be anything that is known.
harmless <- function(text) {
  if (is.null(text)) NULL else iconv(text[[1L]], "UTF-8", "UTF-8", sub = "?")
}

# The body's bytes. A route that is answered first reads them itself.
api_body <- function(req) {
  body <- if (is.null(req$bodyRaw) && !is.null(req$rook.input)) req$rook.input$read() else req$bodyRaw
  if (is.raw(body)) body else raw()
}

api_now <- function() format(Sys.time(), "%Y-%m-%dT%H:%M:%SZ", tz = "UTC")

# The answer where the server itself has failed. `reason` is for the administrator alone.
api_fault <- function(call, req, reason) {
  tryCatch(
    core_value(core_gateway_refuse(api_gateway(), api_request(call, req), list(reason = reason))),
    # Where there is no server that could write it down.
    error = function(error) {
      cat("abba: ", reason, "\n", conditionMessage(error), "\n", file = stderr(), sep = "")
      body <- list(
        class = "internal", message = "The abba server failed.",
        advice = "Tell the administrator of the abba server; its log says more."
      )
      list(status = 500L, headers = list(), body = as_json(body))
    }
  )
}

as_json <- function(x) as.character(jsonlite::toJSON(x, auto_unbox = TRUE, null = "null"))
