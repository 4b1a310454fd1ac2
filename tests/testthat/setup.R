# The tests make files with names in many scripts, which takes a UTF-8 locale; what
# happens in another one is tested in another R.
local({
  utf8 <- c(Sys.getlocale("LC_CTYPE"), "C.UTF-8", "en_US.UTF-8")
  for (locale in utf8) {
    if (l10n_info()[["UTF-8"]]) {
      break
    }
    suppressWarnings(Sys.setlocale("LC_CTYPE", locale))
  }
  stopifnot("the tests need a UTF-8 locale" = l10n_info()[["UTF-8"]])
  withr::local_envvar(LC_ALL = Sys.getlocale("LC_CTYPE"), .local_envir = testthat::teardown_env())
})

# No test may reach a cluster of whoever runs it: kubectl is a program that fails,
# until a test puts its own before it.
local({
  everywhere <- testthat::teardown_env()
  local_scripted_kubectl(
    fails("error: this test has not said what kubectl answers"),
    env = everywhere
  )
  withr::local_envvar(
    KUBECONFIG = "/dev/null", ABBA_API_ADDRESS = NA, ABBA_API_KEY = NA, .local_envir = everywhere
  )
  withr::local_options(
    abba.default.container = NULL,
    abba.home.nfs.ip.address = NULL,
    abba.k8s.namespace = NULL,
    # Twice the time that an attempt may take: a kubectl that stands still for a while is no fault, and not tried again.
    abba.k8s.request.timeout = 120,
    # The scripted kubectl plays single calls; the kept one is tested on the real cluster.
    abba.k8s.session = FALSE,
    abba.kubectl = NULL,
    abba.permitted.containers = NULL,
    abba.api.address = NULL,
    abba.api.key = NULL,
    abba.api.request.timeout = NULL,
    .local_envir = everywhere
  )
})
