# The kept kubectl, with a scripted one: what a real one will not do on demand. tests/cluster has the rest.

# A kubectl that serves a proxy on its socket, first on the PATH and kept for the session until the test ends.
#
# proxy: shell commands that are run for `kubectl proxy`; "$socket" is the path it was given. `serve` is the end of them
#   for one that serves: to GET it answers with `list`, to POST with what it was sent.
# folder: where the program is put.
#
# Gives back a list of functions:
#   starts(): the first argument of each call, as "proxy";
#   requests(): the requests that came over the socket, as "GET /api/...";
#   proxies(): the processes of `kubectl proxy`;
#   folders(): the folders of sockets;
#   newest(): that of the newest proxy, wherever it is;
#   left(): those, and the processes that have one as an argument.
local_serving_kubectl <- function(proxy = serve, list = list_of(pod(test_job)), folder = NULL, env = parent.frame()) {
  base <- withr::local_tempdir(pattern = "kubectl-", .local_envir = env)
  folder <- if (is.null(folder)) base else folder
  sockets <- file.path(base, "sockets")
  dir.create(sockets)
  writeLines(list, file.path(base, "list"))
  writeLines(perl_server, file.path(base, "server.pl"))
  program <- file.path(folder, "kubectl")
  writeLines(c(
    "#!/bin/sh",
    paste0("base=", shQuote(base)),
    "echo \"$1\" >> \"$base/starts\"",
    "case \"$1\" in",
    "config)",
    "  echo '{\"current-context\": \"a\", \"contexts\": [{\"name\": \"a\", \"context\": {\"namespace\": \"n\"}}]}' ;;",
    "proxy)",
    "  socket=${2#--unix-socket=}",
    "  printf '%s\\n' \"${socket%/socket}\" > \"$base/folder\"",
    "  echo $$ >> \"$base/proxies\"",
    paste0("  ", proxy),
    "  ;;",
    "get) cat \"$base/list\" ;;",
    "esac"
  ), program)
  Sys.chmod(program, "0755")
  withr::local_options(abba.k8s.session = TRUE, .local_envir = env)
  withr::local_envvar(
    PATH = paste(folder, Sys.getenv("PATH"), sep = ":"), TMPDIR = sockets,
    .local_envir = env
  )
  withr::defer(core_end_session(), envir = env)
  lines <- function(name) {
    path <- file.path(base, name)
    if (file.exists(path)) readLines(path) else character()
  }
  # R's own folder lies there too.
  folders <- function() list.files(sockets, "^abba-", full.names = TRUE)
  list(
    program = program,
    sockets = sockets,
    starts = function() lines("starts"),
    requests = function() lines("requests"),
    proxies = function() as.integer(lines("proxies")),
    folders = folders,
    newest = function() paste(lines("folder"), collapse = "\n"),
    left = function() c(paste("process", processes_with(sockets), recycle0 = TRUE), folders())
  )
}

serve <- "exec perl \"$base/server.pl\" \"$socket\" \"$base\""

perl_server <- "
use IO::Socket::UNIX;
my ($socket, $base) = @ARGV;
my $listener = IO::Socket::UNIX->new(Local => $socket, Listen => 100) or die $!;
open(my $file, '<', \"$base/list\"); my $list = join('', <$file>);
while (1) {
  my $connection = $listener->accept() or next;
  # R looks whether somebody answers by connecting and leaving.
  defined(my $request = <$connection>) or next;
  my ($method, $path) = split(/ /, $request);
  my $length = 0;
  while (defined(my $line = <$connection>) ) {
    $length = $1 if $line =~ /^content-length: (\\d+)/i;
    last if $line eq \"\\r\\n\";
  }
  my $body = '';
  read($connection, $body, $length) if $length;
  open(my $requests, '>>', \"$base/requests\"); print $requests \"$method $path\\n\"; close($requests);
  my $answer = $method eq 'POST' ? $body : $list;
  print $connection \"HTTP/1.1 200 OK\\r\\nContent-Length: \", length($answer), \"\\r\\n\\r\\n\", $answer;
}
"

# A proxy that hangs up on everybody before it has read anything.
hang_up <- "exec perl -MIO::Socket::UNIX -e '
my $listener = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 100) or die;
while (1) { my $connection = $listener->accept() or next; close($connection); }' \"$socket\""

pids_of <- function(kubectl) processes_with(kubectl$sockets)

# Whether R has started a process, which may end at any moment.
is_own <- function(pid) {
  stat <- suppressWarnings(tryCatch(
    readLines(file.path("/proc", pid, "stat"), warn = FALSE),
    error = function(cnd) ""
  ))
  isTRUE(grepl(paste0("^.*\\) . ", Sys.getpid(), " "), stat))
}

# What the end of R leaves is removed a moment after it.
expect_nothing_left <- function(kubectl) {
  wait_until(function() length(kubectl$left()) == 0L)
  expect_identical(kubectl$left(), character())
}

# Another R with abba, the kept kubectl and the present environment.
start_session <- function(code, env = parent.frame()) {
  start_r(c("options(abba.k8s.session = TRUE)", code), env = env)
}

test_that("one kubectl serves all calls, and goes with the session", {
  kubectl <- local_serving_kubectl()
  for (i in 1:5) {
    expect_named(status(), "Succeeded")
  }
  expect_identical(kubectl$starts(), "proxy")
  expect_length(kubectl$requests(), 5L)
  expect_match(kubectl$requests(), "^GET /api/v1/namespaces/n/pods")
  core_end_session()
  expect_nothing_left(kubectl)
})

test_that("the namespace is asked for once, and only where none is given", {
  kubectl <- local_serving_kubectl()
  status(namespace = NULL)
  status(namespace = NULL)
  expect_identical(sort(kubectl$starts()), c("config", "proxy"))
})

test_that("a kubectl that cannot serve is run for each call", {
  kubectl <- local_serving_kubectl("echo 'error: unknown command \"proxy\" for \"kubectl\"' >&2; exit 1")
  expect_named(status(), "Succeeded")
  expect_named(status(), "Succeeded")
  # It is not tried again at each call.
  expect_identical(kubectl$starts(), c("proxy", "get", "get"))
  expect_nothing_left(kubectl)
})

test_that("the option gives up the kept kubectl, and one kubectl a call follows", {
  kubectl <- local_serving_kubectl()
  status()
  withr::with_options(list(abba.k8s.session = FALSE), {
    expect_named(status(), "Succeeded")
    expect_nothing_left(kubectl)
  })
  status()
  expect_identical(kubectl$starts(), c("proxy", "get", "proxy"))
})

test_that("a kubectl that is replaced under its name is started anew", {
  kubectl <- local_serving_kubectl()
  status()
  program <- readLines(kubectl$program)
  writeLines(c(program, "# a newer version"), paste0(kubectl$program, ".new"))
  Sys.chmod(paste0(kubectl$program, ".new"), "0755")
  file.rename(paste0(kubectl$program, ".new"), kubectl$program)
  status()
  status()
  expect_identical(kubectl$starts(), c("proxy", "proxy"))
})

test_that("a proxy that hangs up while a long request is sent is an error, not a jump out of R's C code", {
  kubectl <- local_serving_kubectl(hang_up)
  local_program(strrep("# A line of a long program.\n", 7000))
  # In an R of its own: testthat's own tools have this one ignore the signal.
  ended <- finish(start_session(c(
    "error <- tryCatch(",
    "  abba_submit_k8s_job_local('test_program.R', container = 'r', namespace = 'n'),",
    "  error = identity",
    ")",
    "cat(class(error)[[1L]], '\\n')",
    "cat(grepl('the connection to kubectl proxy broke', conditionMessage(error)), '\\n')"
  )))
  expect_identical(ended$stdout, c("abba_error_unavailable ", "TRUE "), info = ended$stderr)
})

test_that("a pipe that R closes is closed for its reader", {
  kubectl <- local_serving_kubectl()
  # The reader ends at the end of its input, and R waits for it.
  session <- start_session(c(
    "reader <- pipe('cat > /dev/null', 'w')",
    "status <- abba_get_k8s_job_status_local('test-program-fbc3131d-a850-4081-8224-c06ef32821da', namespace = 'n')",
    "close(reader)",
    "cat('closed\\n')"
  ))
  session$wait(60000)
  ended <- !session$is_alive()
  expect_true(ended)
  if (ended) expect_identical(finish(session)$stdout, "closed")
  expect_identical(kubectl$starts(), "proxy")
})

test_that("the folder for temporary files may have any name, or be of no use", {
  kubectl <- local_serving_kubectl()
  # Short, because a socket's path may not be long.
  home <- withr::local_tempdir(pattern = "t", tmpdir = "/tmp")
  file.create(file.path(home, "list"))
  odd <- file.path(home, "a 'b\" $(touch x)\n*`é")
  dir.create(odd)
  long <- file.path(home, strrep("long-", 20))
  dir.create(long)
  used <- c(odd)
  of_no_use <- c(long, file.path(home, "absent"), file.path(home, "list"), "")
  for (folder in c(used, of_no_use)) {
    withr::local_envvar(TMPDIR = folder)
    withr::local_dir(home)
    expect_named(status(), "Succeeded")
    where <- kubectl$newest()
    expect_identical(dirname(where), if (folder %in% used) folder else "/tmp")
    expect_match(basename(where), "^abba-[0-9a-f]{32}$")
    expect_identical(list.files(where), "socket")
    expect_identical(format(file.mode(where)), "700")
    core_end_session()
    expect_true(wait_until(function() !file.exists(where)))
  }
  # A relative one is meant from here, wherever R goes afterwards.
  withr::local_envvar(TMPDIR = basename(odd))
  withr::with_dir(home, status())
  status()
  expect_identical(unique(kubectl$starts()), "proxy")
  # No shell has taken a part of a name for a command.
  expect_identical(Sys.glob(file.path(c(home, odd), "x")), character())
})

test_that("kubectl may lie in a folder of any name", {
  folder <- file.path(withr::local_tempdir(), "a 'b\" $(touch x)\n*`é")
  dir.create(folder)
  kubectl <- local_serving_kubectl(folder = folder)
  withr::local_options(abba.kubectl = kubectl$program)
  expect_named(status(), "Succeeded")
  expect_identical(kubectl$starts(), "proxy")
  core_end_session()
  expect_nothing_left(kubectl)
})

test_that("an odd umask, no HOME and a PATH without programs do no harm", {
  kubectl <- local_serving_kubectl()
  perl <- dirname(Sys.which("perl"))
  withr::local_options(abba.kubectl = kubectl$program)
  for (mask in c("000", "777")) {
    old <- Sys.umask(mask)
    expect_named(status(), "Succeeded")
    Sys.umask(old)
    expect_identical(format(file.mode(kubectl$folders())), "700")
    core_end_session()
  }
  withr::local_envvar(HOME = NA, KUBECONFIG = NA, PATH = "/nowhere")
  # The scripted kubectl needs its own programs, which a real one does not.
  text <- readLines(kubectl$program)
  writeLines(append(text, paste0("PATH=", perl, ":/usr/bin:/bin"), 1L), kubectl$program)
  expect_named(status(), "Succeeded")
  core_end_session()
  expect_nothing_left(kubectl)
})

test_that("a proxy that was killed, or whose socket is gone, or whose supervisor was killed, is replaced", {
  kubectl <- local_serving_kubectl()
  status()
  # Of its processes the one that R has started.
  supervisor <- function() Filter(is_own, pids_of(kubectl))
  # A signal takes effect a moment after it was sent.
  kill <- function(pids) {
    tools::pskill(pids, 9L)
    expect_ended(pids)
  }
  losses <- list(
    proxy = function() kill(utils::tail(kubectl$proxies(), 1L)),
    socket = function() unlink(file.path(kubectl$folders(), "socket")),
    # R's own unlink() leaves sockets.
    folder = function() processx::run("rm", c("-r", kubectl$folders())),
    supervisor = function() kill(supervisor()),
    all = function() kill(pids_of(kubectl))
  )
  for (loss in names(losses)) {
    before <- kubectl$proxies()
    losses[[loss]]()
    expect_named(status(), "Succeeded")
    # The old one is gone.
    expect_ended(before)
    expect_identical(length(kubectl$folders()), 1L, info = loss)
  }
  core_end_session()
  expect_nothing_left(kubectl)
})

test_that("whichever of its processes is killed, nothing is left when R ends", {
  kubectl <- local_serving_kubectl()
  for (i in 1:4) {
    session <- start_session(c(
      "abba_get_k8s_job_status_local('test-program-fbc3131d-a850-4081-8224-c06ef32821da', namespace = 'n')",
      "cat('ready\\n')",
      "readLines(file('stdin'), 1)",
      "Sys.sleep(1000)"
    ))
    expect_true(wait_until(function() length(pids_of(kubectl)) == 4L))
    tools::pskill(pids_of(kubectl)[[i]], 9L)
    session$kill()
    expect_nothing_left(kubectl)
  }
})

test_that("Ctrl-C while kubectl does not get ready ends the call and leaves nothing behind", {
  kubectl <- local_serving_kubectl("exec sleep 1000")
  session <- start_session(c(
    "tryCatch(",
    "  abba_get_k8s_job_status_local('test-program-fbc3131d-a850-4081-8224-c06ef32821da', namespace = 'n'),",
    "  interrupt = function(cnd) cat('interrupted\\n')",
    ")",
    "cat('R goes on\\n')"
  ))
  expect_true(wait_until(function() length(kubectl$proxies()) == 1L))
  press_ctrl_c(session)
  ended <- finish(session)
  expect_identical(ended$stdout, c("interrupted", "R goes on"))
  expect_nothing_left(kubectl)
})

test_that("a kubectl that does not get ready is given up after the time limit", {
  kubectl <- local_serving_kubectl("sleep 1000 & exec sleep 1001")
  withr::local_options(abba.k8s.request.timeout = 0.5)
  expect_s3_class(raised(status()), "abba_error_timeout")
  expect_nothing_left(kubectl)
})

test_that("nothing is left of an R that is killed while kubectl starts, or at any other moment", {
  kubectl <- local_serving_kubectl("sleep 0.05; exec perl \"$base/server.pl\" \"$socket\" \"$base\"")
  for (i in 1:5) {
    # An R that was killed before its kubectl ran has left no entry, so a round counts from where it starts.
    proxies <- length(kubectl$proxies())
    requests <- length(kubectl$requests())
    session <- start_session(c(
      "abba_get_k8s_job_status_local('test-program-fbc3131d-a850-4081-8224-c06ef32821da', namespace = 'n')",
      "repeat abba_get_k8s_job_status_local('test-program-fbc3131d-a850-4081-8224-c06ef32821da', namespace = 'n')"
    ))
    began <- switch(i,
      function() length(kubectl$left()) > 0L,
      function() length(kubectl$folders()) > 0L,
      function() length(kubectl$proxies()) > proxies,
      function() length(list.files(kubectl$folders(), "socket")) > 0L,
      function() length(kubectl$requests()) > requests
    )
    expect_true(wait_until(began))
    session$kill()
    expect_nothing_left(kubectl)
  }
})

ask <- paste0("ask <- function(...) names(abba_get_k8s_job_status_local('", test_job, "', namespace = 'n'))")

test_that("a forked child uses the kept kubectl and leaves it to its parent; one that is the first has its own", {
  kubectl <- local_serving_kubectl()
  ended <- finish(start_session(c(
    ask,
    "# Each child is the first.",
    "first <- parallel::mclapply(1:2, ask, mc.cores = 2)",
    "ask()",
    "later <- parallel::mclapply(1:4, ask, mc.cores = 2)",
    "options(abba.k8s.session = FALSE)",
    "invisible(parallel::mclapply(1:2, ask, mc.cores = 2))",
    "options(abba.k8s.session = TRUE)",
    "cat(unlist(first), unlist(later), ask(), '\\n')"
  )))
  expect_identical(utils::tail(ended$stdout, 1L), paste(rep("Succeeded", 7L), collapse = " ") |> paste(""))
  # One for each of the first two, and one for the session, which no child has ended.
  expect_identical(sum(kubectl$starts() == "proxy"), 3L)
  expect_nothing_left(kubectl)
})

test_that("a child that outlives its parent's change of kubectl does not keep the old one alive", {
  kubectl <- local_serving_kubectl()
  ended <- finish(start_session(c(
    ask,
    "ask()",
    "child <- parallel::mcparallel(Sys.sleep(1000))",
    "Sys.setenv(A_LOGIN = 'another')",
    "ask()",
    paste0("cat(length(list.files(", deparse(kubectl$sockets), ", '^abba-')), '\\n')"),
    "tools::pskill(child$pid, 9L)"
  )))
  expect_identical(utils::tail(ended$stdout, 1L), "1 ")
  expect_nothing_left(kubectl)
})
