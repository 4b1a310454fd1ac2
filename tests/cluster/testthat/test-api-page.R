# The pages of an abba server, as people see them: in a browser, with jobs on the real cluster.
local_namespace()
server <- local_abba_server(user = "daemon", docs = TRUE)
key <- getOption("abba.api.key")
browser <- local_browser()
page <- paste0(server$address, "/")

submit_to_api <- function(text, name = "program.R", ..., cpu_limit = 0.2, env = parent.frame()) {
  path <- local_program(text, name, env = env)
  suppressMessages(abba_submit_job(path, ..., container = r_image, cpu_limit = cpu_limit))
}

# Ended by the time that a test looks at them.
long_name <- "a_rather_long_name_of_a_program_for_a_table_of_demographics_and_more.R"
bad <- submit_to_api("print(1); stop('no data')", long_name, batch_group_id = "grouped")
good <- submit_to_api(c("print(1)", "message('all is well')"), "t_good.R", batch_group_id = "grouped")
to_run_again <- submit_to_api("quit(status = 3)", "again.R", arguments = c("a", "b c"), memory_limit = "200M")
too_large <- submit_to_api("x <- rep(1, 2.5e7)", "too_large.R", memory_limit = "200M")
many_lines <- submit_to_api("cat(paste('line', 1:700), sep = '\\n')")

# Lines until it is cancelled.
endless <- "for (i in 1:6000) { cat('line', i, '\\n'); Sys.sleep(0.2) }"

sees <- function(browser, css, words, timeout = 60) {
  has <- function() {
    text <- browser$text(css)
    if (!is.null(text) && grepl(words, text, fixed = TRUE)) TRUE else text
  }
  wait_until(has, timeout, what = paste0("\"", words, "\" in ", css))
}

# Notes what the page says aloud from now on: something else may follow before a test looks.
listen <- function(browser) {
  browser$script(paste(
    "const place = document.getElementById('announcement'); window.said = [];",
    "new MutationObserver(() => window.said.push(place.textContent))",
    ".observe(place, { childList: true, characterData: true, subtree: true })"
  ))
}
hears <- function(browser, words) {
  has_said <- function() {
    said <- unlist(browser$script("return window.said"))
    if (any(grepl(words, said, fixed = TRUE))) TRUE else toString(said)
  }
  wait_until(has_said, 120, what = paste0("the page to say \"", words, "\""))
}

# Whether an element is shown.
is_shown <- function(browser, css) {
  browser$script("return document.querySelector(arguments[0])?.checkVisibility() === true", css)
}

wait_for_key_field <- function(browser) {
  shown <- "return [document.visibilityState, document.hasFocus(), document.activeElement?.id, document.body.innerText]"
  has_focus <- function() if (browser$has_focus("#key")) TRUE else toString(browser$script(shown))
  wait_until(has_focus, what = "the field for the key")
}

sign_in <- function(browser, address = page, of = key, who = "daemon") {
  browser$go(address)
  wait_for_key_field(browser)
  browser$type(of)
  browser$press("Enter")
  sees(browser, "#who", paste("You are", who))
}

# What a person may look at: pictures of what is seen, and figures.
kept <- file.path(repository, "build", "page")
dir.create(kept, recursive = TRUE, showWarnings = FALSE)
picture <- function(browser, name) browser$screenshot(file.path(kept, paste0(name, ".png")))

# A job's page, from the list.
open_job <- function(browser, job_id) {
  link <- paste0("a[href='#job=", job_id, "']")
  wait_until(function() browser$count(link) == 1L, what = "the job in the list")
  browser$click(link)
}

test_that("a key is asked for once, is in no address, and can be forgotten", {
  browser$fresh()
  browser$go(page)
  wait_for_key_field(browser)
  expect_identical(browser$script("return document.getElementById('key').type"), "password")
  browser$type("abba_wrong")
  browser$press("Enter")
  sees(browser, "#key-error", "does not know your API key")
  browser$type(key)
  browser$press("Enter")
  sees(browser, "#who", "You are daemon")
  expect_identical(browser$script("return [location.href, localStorage.length, document.cookie]"), list(page, 0L, ""))
  # Once for the page, also where it is loaded again, at another address within it; for no other page of the same host.
  browser$script("location.hash = '#batch=x'")
  browser$script("location.reload()")
  sees(browser, "#who", "You are daemon")
  expect_false(is_shown(browser, "#sign-in"))
  stored <- browser$script("return JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])")
  expect_no_match(stored, key, fixed = TRUE)
  browser$tab_to("#forget")
  browser$press("Enter")
  wait_for_key_field(browser)
  expect_identical(browser$script("return sessionStorage.length"), 0L)
  expect_identical(browser$count("#jobs tbody tr"), 0L)
  # Not by way back, either.
  browser$script("history.back()")
  browser$script("location.reload()")
  wait_until(function() browser$has_focus("#key"), what = "the field for the key")
  # The key never came to the server's log by an address.
  expect_no_match(paste(server$log(), collapse = "\n"), key, fixed = TRUE)
})

test_that("a job is seen, its log grows while it runs, and it is cancelled by the keyboard alone", {
  job <- submit_to_api(endless, "t_age.R")
  wait_for_state(job$job_id, "Running")
  browser$fresh()
  sign_in(browser)
  link <- paste0("a[href='#job=", job$job_id, "']")
  row <- paste0("tr:has(", link, ")")
  sees(browser, paste(row, ".state"), "Running")
  expect_identical(browser$text(paste(row, ".program a")), "t_age.R")

  browser$tab_to(link)
  # Where the focus is can be seen.
  expect_identical(browser$script("return getComputedStyle(document.activeElement).outlineStyle"), "solid")
  browser$press("Enter")
  sees(browser, "#log", "line 1 \nline 2 \n")
  expect_true(browser$has_focus("#job-title"))
  sees(browser, "#log-state", "Live")
  # The page waits for a change of this job, and does not ask again and again.
  asked <- paste(
    "return performance.getEntriesByType('resource').map((one) => one.name)",
    ".filter((name) => name.includes('/watch-jobs?')).join(' ')"
  )
  waits <- function() {
    names <- browser$script(asked)
    if (grepl(paste0("watch-jobs?job_id=", job$job_id), names, fixed = TRUE)) TRUE else names
  }
  wait_until(waits, what = "a wait for a change of the job")
  lines <- function() length(strsplit(browser$text("#log .lines"), "\n")[[1L]])
  before <- lines()
  wait_until(function() lines() > before + 5L, what = "more lines")
  # Nothing twice, nothing left out.
  shown <- strsplit(browser$text("#log .lines"), "\n")[[1L]]
  expect_identical(shown, paste0("line ", seq_along(shown), " "))

  browser$tab_to("#job-cancel")
  browser$press("Enter")
  wait_until(function() is_shown(browser, "#confirm"), what = "the question")
  expect_match(browser$text("#confirm-title"), "Cancel t_age.R?", fixed = TRUE)
  # Escape does nothing to the job, and leads back to where one was.
  browser$press("Escape")
  wait_until(function() browser$has_focus("#job-cancel"), what = "the focus on the button")
  expect_identical(states(job$job_id)[[1L]], "Running")
  browser$press("Enter")
  wait_until(function() is_shown(browser, "#confirm"), what = "the question")
  browser$tab_to("#confirm-yes")
  listen(browser)
  browser$press("Enter")
  hears(browser, "stopped")
  # At once, so that nobody asks again while the program ends; the focus is not lost with the button.
  expect_false(is_shown(browser, "#job-cancel"))
  expect_true(browser$has_focus("#job-title"))
  sees(browser, "#job-status", "Failed")
  expect_identical(wait_for_end(job$job_id), "Failed")
  sees(browser, "#log-state", "The log has ended")
  # The log is kept, to its last line.
  expect_identical(strsplit(browser$text("#log .lines"), "\n")[[1L]], log_of(job$job_id))
  expect_false(is_shown(browser, "#job-cancel"))
  expect_true(is_shown(browser, "#why"))

  browser$tab_to("#back")
  browser$press("Enter")
  wait_until(function() browser$has_focus(link), what = "the focus on the job's link")
  sees(browser, paste(row, ".state"), "Failed")
})

test_that("a line that is not finished is told from those that are", {
  # The node hands on a line once it is finished, or in parts of 16 KiB.
  job <- submit_to_api(c(
    "cat('whole\\n'); cat(strrep('x', 50000))",
    "while (!file.exists('/tmp/go')) Sys.sleep(0.1)", "cat('y\\n')"
  ))
  wait_for_state(job$job_id, "Running")
  browser$fresh()
  sign_in(browser)
  open_job(browser, job$job_id)
  sees(browser, "#log .last", strrep("x", 1000))
  expect_identical(browser$text("#log .lines"), "whole\n")
  kubectl_lines("exec", pods_of(job$job_id), "--", "touch", "/tmp/go")
  sees(browser, "#log-state", "The log has ended: 2 lines.")
  expect_identical(browser$text("#log"), paste0("whole\n", strrep("x", 50000), "y\n"))
})

test_that("text of programs is text: neither markup nor scripts nor signs that turn words around", {
  name <- "<img src=x onerror=alert(1)>.R"
  reversed <- "abc\u202eg\u00ad\U{e0061}pj.R"
  job <- submit_to_api(c(
    "cat('<script>alert(2)</script><b onmouseover=alert(3)>bold</b> &amp; \\033[31mred\\033[0m\\a\\n')",
    "cat('</pre><iframe src=\"javascript:alert(4)\"></iframe>\\n')"
  ), name)
  other <- submit_to_api("quit(status = 3)", reversed)
  wait_for_end(c(job$job_id, other$job_id))
  browser$fresh()
  sign_in(browser)
  sees(browser, paste0("a[href='#job=", other$job_id, "']"), "abc\\u202eg\\u00ad\\u{e0061}pj.R")
  expect_identical(browser$text(paste0("a[href='#job=", job$job_id, "']")), name)
  open_job(browser, job$job_id)
  sees(browser, "#log-state", "The log has ended")
  expect_identical(browser$text("#job-title"), name)
  expect_identical(browser$text("#log"), paste0(
    "<script>alert(2)</script><b onmouseover=alert(3)>bold</b> &amp; red\u2407\n",
    "</pre><iframe src=\"javascript:alert(4)\"></iframe>\n"
  ))
  expect_identical(browser$count("img, iframe, b, body script"), 0L)
  # An address is somebody's text, too.
  browser$go(paste0(page, "#job=", utils::URLencode("<img src=x onerror=alert(5)>", reserved = TRUE)))
  browser$script("location.reload()")
  sees(browser, "#job-missing", "You have no job of this id")
  wait_until(function() is_shown(browser, "#job-missing"), what = "that there is no such job")
  expect_identical(browser$count("img"), 0L)
  expect_false(browser$has_dialog())
  # A text that had become more than text would have been stopped, and told here.
  expect_no_match(paste(browser$log(), collapse = "\n"), "Content Security Policy|Trusted|Error")
})

test_that("scripts that are not the page's own do not run", {
  browser$fresh()
  sign_in(browser)
  # As if a text had got into the page after all.
  expect_error(browser$script("document.body.innerHTML += '<img src=x onerror=alert(1)>'"), "TrustedHTML")
  expect_error(browser$script("document.createElement('img').setAttribute('onerror', '1')"), "TrustedScript")
  browser$script("document.body.append(document.createElement('script'))")
  expect_error(browser$script("document.querySelector('body script').text = 'window.ran = 1'"), "TrustedScript")
  expect_null(browser$script("return window.ran ?? null"))
})

test_that("a log of many pages is read whole, and one that lost its beginning says so", {
  small <- local_abba_server("options(abba.api.log.page.bytes = 1000)", user = "daemon")
  key <- getOption("abba.api.key")
  wait_for_end(many_lines$job_id)
  browser$fresh()
  browser$go(paste0(small$address, "/#job=", many_lines$job_id))
  wait_for_key_field(browser)
  browser$type(key)
  browser$press("Enter")
  sees(browser, "#log-state", "The log has ended: 700 lines.")
  shown <- browser$script("return [...document.querySelectorAll('#log .lines')].map((e) => e.textContent).join('')")
  expect_identical(shown, paste0("line ", 1:700, "\n", collapse = ""))
  expect_identical(browser$count("#log-warnings li"), 0L)
  # The end is what one looks for first.
  at_end <- paste(
    "const log = document.getElementById('log');",
    "return log.scrollTop + log.clientHeight >= log.scrollHeight - 2"
  )
  wait_until(function() browser$script(at_end), what = "the log to be scrolled to its end")
  # What would be more than a page can hold is left out from its beginning, and that is told.
  kept <- browser$script(paste(
    "return import(new URL('log.js', document.baseURI)).then(({ log }) => { log.most = 3200;",
    "for (let k = 0; k < 20; k++) log.add(Array(40).fill('more ' + k), null);",
    "return [log.size, log.blocks.flatMap((block) => block.texts).join('').length]; })"
  ))
  expect_lte(kept[[1L]], 3200)
  expect_identical(kept[[1L]], kept[[2L]])
  expect_match(browser$text("#log"), "^The beginning is left out here[^\n]*more [0-9]+\n.*more 19\n$")
  expect_identical(browser$count("#log .gap"), 1L)

  # The node looks at the sizes of logs every ten seconds.
  long <- submit_to_api(c(
    "writeLines(paste('line', 1:100))", "while (!file.exists('/tmp/more')) Sys.sleep(0.1)",
    # Little more than the node keeps: what is left of it is read a line at a time.
    "line <- strrep('x', 999)", "for (i in 1:10500) writeLines(line)",
    "while (!file.exists('/tmp/go')) Sys.sleep(0.1)", "cat('the end\\n')"
  ), memory_limit = "256M")
  wait_for_state(long$job_id, "Running")
  sign_in(browser)
  open_job(browser, long$job_id)
  sees(browser, "#log", "line 99\n")
  kubectl_lines("exec", pods_of(long$job_id), "--", "touch", "/tmp/more")
  is_whole <- function() identical(beginning_of_log(long$job_id), first_words)
  wait_until(function() !is_whole(), 120, interval = 0.5, what = "the node to begin a new log")
  kubectl_lines("exec", pods_of(long$job_id), "--", "touch", "/tmp/go")
  sees(browser, "#log-warnings", paste0("The beginning of the log of job \"", long$job_id, "\" is missing"), 120)
  sees(browser, "#log-state", "The log has ended", 120)
  sees(browser, "#log", "the end\n")
  # What was read before is kept, and told apart.
  expect_gt(browser$count("#log .gap"), 0L)
  expect_match(browser$text("#log .lines"), "^line 1\nline 2\n")
})

test_that("while the server does not answer the page says so, and goes on afterwards", {
  browser$fresh()
  job <- submit_to_api(endless)
  wait_for_state(job$job_id, "Running")
  sign_in(browser)
  sees(browser, paste0("tr:has(a[href='#job=", job$job_id, "']) .state"), "Running")
  browser$offline(TRUE)
  sees(browser, "#notice", "The abba server does not answer.")
  suppressMessages(abba_cancel_job(job$job_id))
  browser$offline(FALSE)
  sees(browser, paste0("tr:has(a[href='#job=", job$job_id, "']) .state"), "Failed")
  expect_false(is_shown(browser, "#notice"))
})

test_that("a page of which a part did not come is loaded again", {
  for (part in c("*/state.js", "*/main.js")) {
    browser$fresh()
    browser$block(part)
    browser$go(page)
    expect_false(is_shown(browser, "#sign-in"))
    browser$block(character())
    wait_for_key_field(browser)
  }
})

test_that("a batch is looked at and cancelled as one", {
  folder <- withr::local_tempdir()
  programs <- vapply(1:3, function(i) local_program(endless, paste0("t_", i, ".R"), folder), "")
  batch <- suppressMessages(abba_submit_batch(programs, container = r_image, cpu_limit = 0.1))
  browser$fresh()
  sign_in(browser)
  wait_until(function() browser$count(paste0("a[href='#batch=", batch$batch_id[[1L]], "']")) == 3L, what = "the batch")
  browser$click(paste0("a[href='#batch=", batch$batch_id[[1L]], "']"))
  wait_until(function() browser$count("#jobs tbody tr") == 3L, what = "the batch alone")
  browser$click("#cancel-batch")
  expect_identical(browser$text("#confirm-title"), "Cancel 3 jobs?")
  browser$click("#confirm-yes")
  wait_until(function() browser$count("#jobs .state[data-state=Failed]") == 3L, what = "all to be cancelled")
  expect_false(is_shown(browser, "#cancel-batch"))

  # One of them is removed, then the others; by the keyboard the focus goes on from where it was.
  first <- batch$job_id[[1L]]
  browser$tab_to(paste0("tr:has(a[href='#job=", first, "']) button.quiet"))
  browser$press("Enter")
  wait_until(function() is_shown(browser, "#confirm"), what = "the question")
  expect_identical(browser$text("#confirm-title"), "Remove t_1.R?")
  expect_match(browser$text("#confirm-text"), "its log with it", fixed = TRUE)
  expect_true(browser$has_focus("#confirm-no"))
  browser$press("Escape")
  wait_until(
    function() browser$has_focus(paste0("tr:has(a[href='#job=", first, "']) button.quiet")),
    what = "the focus on the button"
  )
  expect_true(all(batch$job_id %in% jobs_in()))
  browser$press("Enter")
  wait_until(function() is_shown(browser, "#confirm"), what = "the question")
  browser$tab_to("#confirm-yes")
  listen(browser)
  browser$press("Enter")
  hears(browser, paste0(first, ": removed"))
  expect_identical(browser$count("#jobs tbody tr"), 2L)
  expect_true(browser$has_focus("#list-title"))
  expect_false(first %in% jobs_in())
  browser$click("#remove-batch")
  expect_identical(browser$text("#confirm-title"), "Remove 2 jobs?")
  browser$click("#confirm-yes")
  hears(browser, "2 jobs: removed")
  expect_identical(browser$count("#jobs tbody tr"), 0L)
  expect_false(any(batch$job_id %in% jobs_in()))
  expect_true(good$job_id %in% jobs_in())
  browser$click("#all-jobs a")
  wait_until(function() browser$count(paste0("a[href='#job=", good$job_id, "']")) == 1L, what = "all jobs")
})

test_that("a program runs again from the page, with what it was submitted with, and once", {
  expect_identical(wait_for_end(to_run_again$job_id), "Failed")
  browser$fresh()
  sign_in(browser)
  open_job(browser, to_run_again$job_id)
  sees(browser, "#job-status", "Failed")
  browser$tab_to("#job-rerun")
  browser$press("Enter")
  wait_until(function() is_shown(browser, "#rerun"), what = "the question")
  expect_identical(browser$text("#rerun-title"), "Run again.R again?")
  expect_true(browser$has_focus("#rerun-file"))
  choose <- function(name, text) {
    browser$script(paste(
      "const chosen = new DataTransfer(); chosen.items.add(new File([arguments[1]], arguments[0]));",
      "document.getElementById('rerun-file').files = chosen.files"
    ), name, text)
    browser$click("#rerun-yes")
  }
  # Nothing is sent without the program, or with another.
  browser$click("#rerun-yes")
  sees(browser, "#rerun-error", "Choose the program first.")
  choose("other.R", "1")
  sees(browser, "#rerun-error", "That is other.R, and the job ran again.R.")
  expect_true(is_shown(browser, "#rerun"))
  listen(browser)
  choose("again.R", "cat(commandArgs(TRUE), sep = '\\n')")
  hears(browser, "again.R was submitted again: again-")
  id <- sub("^#job=", "", browser$script("return location.hash"))
  expect_false(id == to_run_again$job_id)
  sees(browser, "#job-status", "Succeeded", timeout = 120)
  sees(browser, "#log", "a\nb c")
  expect_identical(browser$text("#job-title"), "again.R")
  expect_identical(field("job", id, ".spec.template.spec.containers[0].resources.limits.memory"), "200M")
  # Of what runs nothing is offered, and of what has ended again.
  expect_true(is_shown(browser, "#job-rerun"))
  expect_length(grep("^again-", jobs_in()), 2L)
})

test_that("jobs are grouped by batch with counts, and have verdicts on demand", {
  wait_for_end(c(bad$job_id, good$job_id))
  browser$fresh()
  sign_in(browser)
  wait_until(function() browser$count(paste0("a[href='#job=", good$job_id, "']")) == 1L, what = "the jobs")
  browser$tab_to("#by-batch")
  browser$press("Space")
  group <- "#batches tr:has(a[href='#batch=grouped'])"
  sees(browser, paste(group, ".state[data-state=Failed]"), "1 Failed")
  sees(browser, paste(group, ".state[data-state=Succeeded]"), "1 Succeeded")
  expect_identical(browser$text(paste(group, "td.number")), "2")
  expect_false(is_shown(browser, "#jobs"))
  expect_false(is_shown(browser, paste(group, ".state[data-state=Running]")))
  browser$tab_to("a[href='#batch=grouped']")
  browser$press("Enter")
  wait_until(function() browser$count("#jobs tbody tr") == 2L, what = "the jobs of the batch")
  expect_match(browser$text("#again"), "abba_rerun_batch(\"grouped\")", fixed = TRUE)
  picture(browser, "batch")

  row_of <- function(job) paste0("#jobs tr:has(a[href='#job=", job$job_id, "'])")
  expect_false(is_shown(browser, paste(row_of(bad), "td.verdict")))
  browser$click("#verdicts")
  sees(browser, paste(row_of(bad), "td.verdict"), "errors", 120)
  sees(browser, paste(row_of(bad), "td.verdict"), "no data")
  sees(browser, paste(row_of(good), "td.verdict"), "clean", 120)
  open_job(browser, bad$job_id)
  sees(browser, "#log-verdict", "Verdict: errors")
})

test_that("what to do about a program that failed stands on its page", {
  expect_identical(wait_for_end(too_large$job_id), "Failed")
  browser$fresh()
  sign_in(browser)
  open_job(browser, too_large$job_id)
  sees(browser, "#why-reason", "needed more memory than its limit of 200M")
  sees(browser, "#why-advice", "`memory_limit`")
  expect_true(is_shown(browser, "#why-advice"))
})

test_that("of a batch that others have jobs in, too, an operator acts on their own, or on those of everybody", {
  others <- submit_to_api(endless, "others.R", batch_group_id = "shared")
  of_operator <- local_abba_server("options(abba.api.operators = 'games')", user = "games")
  own <- submit_to_api(endless, "own.R", batch_group_id = "shared")
  wait_for_state(c(others$job_id, own$job_id), "Running")
  browser$fresh()
  browser$size(1280L, 900L)
  address <- paste0(of_operator$address, "/#batch=shared")
  sign_in(browser, address, getOption("abba.api.key"), "games (operator)")
  wait_until(function() browser$count("#jobs tbody tr") == 1L, what = "the batch")
  expect_identical(browser$text("#jobs tbody .program a"), "own.R")
  browser$click("#cancel-batch")
  expect_identical(browser$text("#confirm-title"), "Cancel own.R?")
  browser$click("#confirm-yes")
  expect_identical(wait_for_end(own$job_id), "Failed")
  expect_identical(states(others$job_id)[[1L]], "Running")
  browser$click("#everybody")
  wait_until(function() browser$count("#jobs tbody tr") == 2L, what = "the jobs of everybody")
  browser$click("#cancel-batch")
  expect_identical(browser$text("#confirm-title"), "Cancel others.R?")
  browser$click("#confirm-yes")
  expect_identical(wait_for_end(others$job_id), "Failed")
})

test_that("a thousand jobs are listed, newest first, and drawn again where they have changed", {
  browser$fresh()
  sign_in(browser)
  wait_until(function() browser$count("#jobs tbody tr") > 0L, what = "the jobs")
  # After the picture that the browser draws next.
  longest_since <- paste(
    "return new Promise((done) => requestAnimationFrame(() => setTimeout(() => {",
    "done(window.longest); window.longest = 0; }, 100)))"
  )
  # The server's answer is made of one that it gave: a thousand real jobs would fill the node for minutes. What takes
  # the browser's one thread for long is noted.
  browser$script(paste(
    "window.longest = 0; window.state_of_last = 'Succeeded'; const ask = window.fetch;",
    "new PerformanceObserver((list) => { for (const task of list.getEntries())",
    "window.longest = Math.max(window.longest, task.duration); }).observe({ entryTypes: ['longtask'] });",
    "window.fetch = async (url, options) => { const answer = await ask(url, options);",
    "if (!new URL(url).pathname.endsWith('/jobs')) return answer; const [one] = await answer.json();",
    "const jobs = Array.from({ length: 1000 }, (_, k) => ({ ...one, job_id: `many-${k}`, batch_id: `b${k % 40}`,",
    "program: `/studies/t_${k}.R`, status: k === 999 ? window.state_of_last : 'Succeeded', archived: false,",
    "submitted: new Date(1.7e12 + k * 1000).toISOString().slice(0, 19) + 'Z' }));",
    "return new Response(JSON.stringify(jobs), { status: 200 }); };"
  ))
  sees(browser, "#counts", "1000 Succeeded", timeout = 120)
  longest <- c(`a hundred rows` = browser$script(longest_since))
  expect_identical(browser$count("#jobs tbody tr"), 100L)
  expect_identical(browser$text("#jobs tbody tr:first-child .program a"), "t_999.R")
  for (k in 1:9) browser$script("document.getElementById('more').click()")
  longest[["a hundred more, nine times"]] <- browser$script(longest_since)
  expect_identical(browser$count("#jobs tbody tr"), 1000L)
  expect_identical(browser$text("#jobs tbody tr:last-child .program a"), "t_0.R")
  picture(browser, "thousand-jobs")
  listen(browser)
  browser$script("window.state_of_last = 'Failed'")
  hears(browser, "t_999.R: Failed")
  longest[["one of a thousand rows changed"]] <- browser$script(longest_since)
  expect_identical(browser$text("#jobs tbody tr:first-child .state"), "Failed")
  browser$script("document.getElementById('by-batch').click()")
  expect_identical(browser$count("#batches tbody tr"), 40L)
  longest[["by batch"]] <- browser$script(longest_since)
  # No bound: the machine has two cores for this, other tests, the server and the cluster.
  figures <- sprintf("%5.0f ms  %s", longest, names(longest))
  head <- "Longest task of the page with a thousand jobs (0: none above 50 ms)"
  writeLines(c(head, figures), file.path(kept, "longest-task.txt"))
})

test_that("the page works in the dark, on a narrow screen, and is not wider than it", {
  wait_for_end(bad$job_id)
  browser$fresh()
  sign_in(browser)
  colours <- function() browser$script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
  browser$media("light")
  light <- colours()
  browser$media("dark")
  expect_false(any(unlist(colours()) == unlist(light)))
  browser$size(360L, 800L)
  is_within <- function() browser$script("return document.documentElement.scrollWidth <= window.innerWidth")
  wait_until(function() browser$count("#jobs tbody tr") > 0L, what = "the jobs")
  expect_true(is_within())
  picture(browser, "list-dark-narrow")
  open_job(browser, bad$job_id)
  sees(browser, "#log-state", "The log has ended")
  sees(browser, "#why-reason", "exit status 1")
  expect_true(is_within())
  picture(browser, "job-dark-narrow")
  browser$size(1280L, 900L)
  picture(browser, "job-dark")
  # Also where the name leaves them no place, the buttons stand side by side.
  gap <- browser$script(paste(
    "const of = (id) => document.getElementById(id).getBoundingClientRect();",
    "return of('job-remove').left - of('job-rerun').right"
  ))
  expect_true(gap > 0 && gap < 40, info = gap)
  browser$media("light")
  picture(browser, "job-light")
  # A state is a word, and a sign that each state has alone; not a colour.
  expect_identical(browser$text("#job-status"), "Failed")
})

test_that("a local server, also behind a path, is opened with the address that has its key", {
  port <- free_port()
  script <- withr::local_tempfile(lines = c(
    paste0("options(abba.default.container = ", deparse(r_image), ")"),
    paste0("options(abba.k8s.namespace = ", deparse(the_namespace()), ", abba.api.identity = 'local')"),
    "pr <- plumber::pr()",
    "pr$mount('/team/abba/', plumber::plumb_api('abba', 'abba'))",
    paste0("pr$run(port = ", port, ", docs = FALSE, quiet = TRUE)")
  ))
  said <- withr::local_tempfile()
  process <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), c("--vanilla", script),
    stdout = said, stderr = "2>&1",
    env = c("current", R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep))
  )
  withr::defer(process$kill())
  address <- paste0("http://127.0.0.1:", port, "/team/abba/")
  is_up <- function() httr2::resp_status(httr2::req_perform(httr2::request(paste0(address, "health")))) == 200L
  wait_until(is_up, what = "the server")
  wait_for_end(good$job_id)
  browser$fresh()
  browser$go(paste0(address, "#key=", told_key(said)))
  sees(browser, "#who", "You are root (operator)")
  expect_false(is_shown(browser, "#sign-in"))
  expect_identical(browser$script("return location.href"), address)
  # Somebody else's job is seen on demand.
  wait_until(function() is_shown(browser, "#everybody"), what = "the choice")
  browser$click("#everybody")
  open_job(browser, good$job_id)
  sees(browser, "#log", "all is well\n")
  browser$click("#docs")
  wait_until(function() browser$count(".opblock") > 10L, what = "the description of the API")
})

test_that("a program is submitted from Swagger UI, and the answer read", {
  browser$fresh()
  browser$go(paste0(server$address, "/__docs__/"))
  wait_until(function() browser$count(".opblock") > 10L, what = "the description of the API")
  browser$click(".btn.authorize")
  wait_until(function() browser$count(".auth-container input") == 1L, what = "the field for the key")
  browser$click(".auth-container input")
  browser$type(paste("Key", key))
  browser$click(".auth-btn-wrapper .authorize")
  browser$click(".auth-btn-wrapper .btn-done")

  of_call <- function(css) paste("#operations-Jobs-submitJob", css)
  browser$click(of_call(".opblock-summary"))
  wait_until(function() browser$count(of_call(".try-out__btn")) == 1L, what = "the button")
  browser$click(of_call(".try-out__btn"))
  wait_until(function() browser$count(of_call("textarea.body-param__text")) == 1L, what = "the field for the body")
  browser$click(of_call("textarea.body-param__text"))
  browser$press("All")
  browser$type("{\"file_path\": \"/home/mike/from_swagger.R\", \"program_text\": \"cat(2 + 2)\", \"cpu_limit\": 0.2}")
  browser$click(of_call(".execute"))
  sees(browser, of_call(".live-responses-table .response .response-col_status"), "200")
  answer <- browser$text(of_call(".live-responses-table .response .highlight-code pre"))
  if (is.null(answer)) answer <- browser$text(of_call(".live-responses-table .response pre"))
  job_id <- regmatches(answer, regexpr("from-swagger-[-0-9a-f]+", answer))
  expect_identical(wait_for_end(job_id), "Succeeded")
  expect_identical(log_of(job_id), "4")
  # And what the server answers where an argument is wrong.
  browser$click(of_call("textarea.body-param__text"))
  browser$press("All")
  browser$type("{\"file_path\": \"/a.R\", \"program_text\": \"1\", \"cpu_limit\": 9}")
  browser$click(of_call(".execute"))
  sees(browser, of_call(".live-responses-table .response .response-col_status"), "403")
})

test_that("Swagger UI does not show a description of somebody else's", {
  browser$fresh()
  # Another origin of this machine.
  evil <- "http://localhost:9/evil.json"
  browser$go(paste0(server$address, "/__docs__/?url=", evil))
  wait_until(function() any(grepl("Content Security Policy", browser$log())), what = "the browser to refuse it")
  expect_identical(browser$count(".opblock"), 0L)
})
