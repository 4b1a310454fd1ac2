# A browser: headless Chromium, driven over WebDriver (https://www.w3.org/TR/webdriver2/) by chromedriver.

# Starts a browser with an empty profile until the test (or the file) ends. Gives back a list of functions:
#
# fresh()                goes on in a new tab, which knows nothing of the one before
# go(url)                loads a page
# script(code, ...)      runs JavaScript; `...` are its `arguments`; what it returns
# text(css), count(css)  the text of the first element (NULL: there is none); how many there are
# click(css)             clicks on the first element, as a mouse does
# type(text)             presses the keys of a text, wherever the focus is
# press(name, ...)       presses keys by name: "Tab", "Shift+Tab", "Enter", "Space", "Escape", "All" (Ctrl+A)
# tab_to(css)            presses Tab until the element has the focus
# media(scheme)          "light" or "dark"
# size(width, height)    of the window
# offline(is_offline)    cuts the network off
# block(urls)            lets nothing through from these addresses, in which `*` is any text; none: lets all through
# screenshot(file)       a PNG
# log()                  what the browser wrote to its console, a line a message
# has_dialog()           whether a script has opened an alert
local_browser <- function(env = parent.frame()) {
  profile <- withr::local_tempdir("browser-", .local_envir = env)
  port <- free_port()
  driver <- processx::process$new(
    "chromedriver", paste0("--port=", port),
    stdout = file.path(profile, "driver.log"), stderr = "2>&1", cleanup_tree = TRUE
  )
  withr::defer(driver$kill_tree(), envir = env)
  session <- NULL
  ask <- function(method, path, body = NULL) {
    request <- httr2::request(paste0("http://127.0.0.1:", port, session, path))
    request <- httr2::req_timeout(httr2::req_method(request, method), 120)
    request <- httr2::req_error(request, is_error = function(response) FALSE)
    if (!is.null(body)) {
      json <- jsonlite::toJSON(body, auto_unbox = TRUE, null = "null", digits = NA)
      request <- httr2::req_body_raw(request, charToRaw(enc2utf8(json)), "application/json")
    }
    value <- httr2::resp_body_json(httr2::req_perform(request))$value
    if (is.list(value) && !is.null(value$error)) {
      stop("the browser says: ", value$error, ": ", substr(value$message, 1L, 300L), call. = FALSE)
    }
    value
  }
  # An empty list is an empty object.
  object <- function(...) if (...length() > 0L) list(...) else structure(list(), names = character())
  post <- function(path, ...) ask("POST", path, object(...))
  devtools <- function(command, ...) post("/goog/cdp/execute", cmd = command, params = object(...))
  wait_until(function() isTRUE(ask("GET", "/status")$ready), what = "chromedriver")
  chromium <- list(
    binary = "/usr/bin/chromium",
    args = c(
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--window-size=1280,900", paste0("--user-data-dir=", profile)
    )
  )
  capabilities <- list(
    browserName = "chrome", "goog:chromeOptions" = chromium, "goog:loggingPrefs" = list(browser = "ALL")
  )
  id <- post("/session", capabilities = list(alwaysMatch = capabilities))$sessionId
  session <- paste0("/session/", id)
  withr::defer(try(ask("DELETE", ""), silent = TRUE), envir = env)

  script <- function(code, ...) post("/execute/sync", script = code, args = list(...))
  keys <- function(actions) {
    post("/actions", actions = list(list(type = "key", id = "keyboard", actions = actions)))
  }
  down_and_up <- function(key) list(list(type = "keyDown", value = key), list(type = "keyUp", value = key))
  # https://www.w3.org/TR/webdriver2/#keyboard-actions
  named <- c(Tab = "\ue004", Enter = "\ue007", Space = " ", Escape = "\ue00c")
  press <- function(...) {
    for (name in c(...)) {
      keys(switch(name,
        "Shift+Tab" = c(down_and_up("\ue008")[1L], down_and_up(named[["Tab"]]), down_and_up("\ue008")[2L]),
        "All" = c(down_and_up("\ue009")[1L], down_and_up("a"), down_and_up("\ue009")[2L]),
        down_and_up(named[[name]])
      ))
    }
  }
  has_focus <- function(css) script("return document.activeElement?.matches(arguments[0]) === true", css)
  list(
    fresh = function() {
      tab <- post("/window/new", type = "tab")$handle
      ask("DELETE", "/window")
      post("/window", handle = tab)
      # Chromium may leave a new tab behind the one that was closed, where nothing has the focus.
      devtools("Page.bringToFront")
      post("/se/log", type = "browser")
      invisible()
    },
    go = function(url) post("/url", url = url),
    script = script,
    text = function(css) script("return document.querySelector(arguments[0])?.textContent ?? null", css),
    count = function(css) script("return document.querySelectorAll(arguments[0]).length", css),
    click = function(css) {
      element <- post("/element", using = "css selector", value = css)[[1L]]
      post(paste0("/element/", element, "/click"))
    },
    type = function(text) keys(do.call(c, lapply(strsplit(text, "")[[1L]], down_and_up))),
    press = press,
    has_focus = has_focus,
    tab_to = function(css, at_most = 40L) {
      for (i in seq_len(at_most)) {
        press("Tab")
        if (has_focus(css)) return(invisible(i))
      }
      stop("Tab does not lead to ", css, call. = FALSE)
    },
    media = function(scheme) {
      devtools("Emulation.setEmulatedMedia", features = list(list(name = "prefers-color-scheme", value = scheme)))
    },
    size = function(width, height) {
      devtools(
        "Emulation.setDeviceMetricsOverride",
        width = width, height = height, deviceScaleFactor = 1, mobile = FALSE
      )
    },
    offline = function(is_offline) {
      devtools("Network.enable")
      devtools(
        "Network.emulateNetworkConditions",
        offline = is_offline, latency = 0, downloadThroughput = -1, uploadThroughput = -1
      )
    },
    block = function(urls) {
      devtools("Network.enable")
      devtools("Network.setBlockedURLs", urls = as.list(urls))
    },
    screenshot = function(file) writeBin(jsonlite::base64_dec(ask("GET", "/screenshot")), file),
    log = function() vapply(post("/se/log", type = "browser"), function(line) line$message, ""),
    has_dialog = function() {
      !inherits(try(ask("GET", "/alert/text"), silent = TRUE), "try-error")
    }
  )
}
