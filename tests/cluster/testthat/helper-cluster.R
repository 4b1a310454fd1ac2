# Functions for tests that use the project's own Kubernetes cluster (tests/cluster/cluster).
#
# Names that begin with local_ change something until `env` ends: the test or the test file that called them.

# ---- The cluster itself -------------------------------------------------------------------------

# The path of the cluster's script: testthat runs with the tests' folder as working directory, which is beside it.
cluster_script <- local({
  from_environment <- Sys.getenv("ABBA_CLUSTER_SCRIPT")
  if (nzchar(from_environment)) from_environment else normalizePath(file.path("..", "cluster"), mustWork = FALSE)
})

# Runs a verb of the script, such as cluster("stop", "kubelet").
# Returns what it wrote to stdout, a line an element; stops with all that it wrote when it fails.
cluster <- function(verb, ...) {
  show_progress <- if (verb == "up") function(text, process) cat(text, file = stderr())
  result <- processx::run(cluster_script, c(verb, ...), error_on_status = FALSE, stderr_callback = show_progress)
  if (result$status != 0) {
    # R cuts long messages at the end, where the reason is: the last lines only, and logs can have long ones.
    said <- substr(tail(c(lines_of(result$stdout), lines_of(result$stderr)), 40), 1, 200)
    command <- paste(c("cluster", verb, ...), collapse = " ")
    stop("`", command, "` failed:\n", paste(said, collapse = "\n"), call. = FALSE)
  }
  lines_of(result$stdout)
}

# The admin's kubeconfig, and the folder that holds the kubectl which was built with the cluster.
# Asked once only: each question starts the script.
cluster_kubeconfig <- function() remembered("kubeconfig", cluster("kubeconfig"))
cluster_kubectl_folder <- function() remembered("kubectl-path", cluster("kubectl-path"))

# The full name of one of the cluster's images: cluster_image("r-base:4.2.2").
cluster_image <- function(name) paste0(remembered("registry", cluster("registry")), "/", name)

# Removes a pulled image from the node, so that the next pod that uses it has to wait for a pull.
forget_image <- function(name) invisible(cluster("forget-image", name))

# Stops a component (etcd, apiserver, controllers, scheduler, containerd, kubelet or registry), runs the code, and has
# the whole cluster ready again afterwards, also when the code fails. Returns the code's value.
with_component_stopped <- function(component, code) {
  # Before stopping: a stop that fails half-way must be mended, too.
  on.exit({
    cluster("start", component)
    cluster("wait-ready")
  })
  cluster("stop", component)
  force(code)
}

# Has a component neither work nor answer while the code runs. Returns the code's value.
with_component_paused <- function(component, code) {
  on.exit(cluster("resume", component))
  cluster("pause", component)
  force(code)
}

# ---- kubectl as admin ---------------------------------------------------------------------------

# Runs kubectl as admin with the arguments given, without a shell: kubectl("get", "pods", "--namespace", namespace).
# Returns its stdout as one string; stops with its stderr when it fails.
kubectl <- function(...) kubectl_with(cluster_kubeconfig(), ...)

# The same with another kubeconfig.
kubectl_with <- function(kubeconfig, ...) {
  arguments <- c("--kubeconfig", kubeconfig, as.character(c(...)))
  result <- processx::run(
    file.path(cluster_kubectl_folder(), "kubectl"), arguments,
    error_on_status = FALSE, env = c("current", KUBECACHEDIR = kubectl_cache_folder(), KUBERC = "off")
  )
  if (result$status != 0) {
    stop("`kubectl ", paste(c(...), collapse = " "), "` failed:\n", result$stderr, call. = FALSE)
  }
  result$stdout
}

# The same as kubectl(), with "--output json", as nested lists.
kubectl_json <- function(...) jsonlite::fromJSON(kubectl(..., "--output", "json"), simplifyVector = FALSE)

# Applies a manifest, which is YAML or JSON text (lines are joined) or a nested list. Returns what kubectl said.
apply_manifest <- function(manifest, namespace) {
  if (is.list(manifest)) manifest <- jsonlite::toJSON(manifest, auto_unbox = TRUE, null = "null")
  file <- tempfile("manifest-", fileext = ".yaml")
  on.exit(unlink(file))
  writeLines(enc2utf8(manifest), file, useBytes = TRUE)
  invisible(kubectl("apply", "--namespace", namespace, "--filename", file))
}

# ---- Namespaces and who one is ------------------------------------------------------------------

# Makes a namespace that nobody else uses, ready for pods, and has it deleted (without waiting) when env ends.
# Returns its name.
local_cluster_namespace <- function(env = parent.frame()) {
  namespace <- unique_name("test")
  kubectl("create", "namespace", namespace)
  withr::defer(kubectl("delete", "namespace", namespace, "--wait=false"), envir = env)
  # Until the controllers have made it, pods are refused.
  kubectl("wait", "--for=create", "serviceaccount/default", "--namespace", namespace, "--timeout=60s")
  namespace
}

# Makes a kubeconfig the one that programs use until env ends, with the cluster's kubectl first on the PATH.
local_cluster_login <- function(kubeconfig, env = parent.frame()) {
  withr::local_envvar(
    KUBECONFIG = kubeconfig,
    # kubectl's notes on the API server would otherwise go to the user's ~/.kube.
    KUBECACHEDIR = kubectl_cache_folder(),
    # The user's own settings for kubectl must not change what a test sees.
    KUBERC = "off",
    PATH = paste(cluster_kubectl_folder(), Sys.getenv("PATH"), sep = ":"),
    .local_envir = env
  )
  invisible(kubeconfig)
}

# Logs in as admin, with the namespace as the default one. Returns the kubeconfig's path.
local_admin <- function(namespace, env = parent.frame()) {
  local_cluster_login(kubeconfig_of_admin(namespace), env)
}

# The path of a kubeconfig of the admin whose default namespace is the one given.
kubeconfig_of_admin <- function(namespace) {
  write_kubeconfig(namespace, user = admin_view()$users[[1]]$user)
}

# Makes a user who may do in the namespace what the rules say and nothing else, known by a client certificate.
# rules: a list of list(apiGroups = , resources = , verbs = ), each a character vector; the core group is "".
# The user's role goes away when env ends. Returns the path of the user's kubeconfig.
user_kubeconfig <- function(namespace, rules, env = parent.frame()) {
  user <- unique_name("user")
  role <- list(
    apiVersion = "rbac.authorization.k8s.io/v1", kind = "Role", metadata = list(name = user),
    rules = lapply(rules, function(rule) lapply(rule, as.list))
  )
  binding <- list(
    apiVersion = "rbac.authorization.k8s.io/v1", kind = "RoleBinding", metadata = list(name = user),
    roleRef = list(apiGroup = "rbac.authorization.k8s.io", kind = "Role", name = user),
    subjects = list(list(apiGroup = "rbac.authorization.k8s.io", kind = "User", name = user))
  )
  apply_manifest(list(apiVersion = "v1", kind = "List", items = list(role, binding)), namespace)
  withr::defer(
    kubectl("delete", "role,rolebinding", user, "--namespace", namespace, "--ignore-not-found"),
    envir = env
  )
  kubeconfig <- write_kubeconfig(namespace, user = client_certificate(user))
  wait_for_first_right(kubeconfig, rules)
  kubeconfig
}

# The API server learns of new rights a moment after they are stored.
wait_for_first_right <- function(kubeconfig, rules) {
  if (length(rules) == 0) return(invisible())
  resource <- strsplit(rules[[1]]$resources[[1]], "/", fixed = TRUE)[[1]]
  group <- rules[[1]]$apiGroups[[1]]
  kind <- if (nzchar(group)) paste0(resource[[1]], ".", group) else resource[[1]]
  part <- if (length(resource) > 1) paste0("--subresource=", resource[[2]])
  for (attempt in 1:100) {
    # kubectl ends with a failure when the answer is no.
    answer <- tryCatch(
      kubectl_with(kubeconfig, "auth", "can-i", rules[[1]]$verbs[[1]], kind, part),
      error = function(condition) "no"
    )
    if (trimws(answer) == "yes") return(invisible())
    Sys.sleep(0.1)
  }
  stop("the new user does not get the rights of the rules", call. = FALSE)
}

# A key and a certificate for a user, signed by the cluster's authority, as a kubeconfig wants them.
client_certificate <- function(user) {
  folder <- tempfile("certificate-")
  dir.create(folder, mode = "0700")
  on.exit(unlink(folder, recursive = TRUE))
  authority <- file.path(dirname(cluster_kubeconfig()), "pki")
  openssl <- function(...) processx::run("openssl", c(...), wd = folder)
  openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key")
  openssl("req", "-new", "-key", "key", "-subj", paste0("/CN=", user), "-out", "request")
  # A random serial number, because the usual file with the last one would be written by several tests at once.
  openssl(
    "x509", "-req", "-in", "request", "-CA", file.path(authority, "ca.crt"), "-CAkey", file.path(authority, "ca.key"),
    "-set_serial", paste0("0x", trimws(openssl("rand", "-hex", "8")$stdout)), "-days", "2", "-out", "certificate"
  )
  list(
    `client-certificate-data` = base64_of_file(file.path(folder, "certificate")),
    `client-key-data` = base64_of_file(file.path(folder, "key"))
  )
}

# ---- Logins that do not work --------------------------------------------------------------------

# A login that the API server refuses (401).
bad_token_kubeconfig <- function(namespace) write_kubeconfig(namespace, user = list(token = "not-a-token"))

# A server that nobody is: connections are refused at once.
refusing_kubeconfig <- function(namespace) {
  write_kubeconfig(namespace, user = admin_view()$users[[1]]$user, server = "https://127.0.0.1:1")
}

# A server that takes connections and never answers, until env ends. Not base R's serverSocket(), which would listen
# on all the machine's addresses, not only on loopback.
hanging_kubeconfig <- function(namespace, env = parent.frame()) {
  program <- paste(
    "my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 100) or die $!;",
    "$| = 1; print $socket->sockport, qq(\\n); sleep;"
  )
  server <- processx::process$new("perl", c("-MIO::Socket::INET", "-e", program), stdout = "|")
  withr::defer(server$kill(), envir = env)
  port <- first_line(server)
  write_kubeconfig(namespace, user = admin_view()$users[[1]]$user, server = paste0("https://127.0.0.1:", port))
}

# A kubeconfig that is no YAML at all.
broken_kubeconfig <- function() {
  file <- tempfile("kubeconfig-")
  writeLines(c("clusters: [", "\tthis is not closed: {"), file)
  file
}

# ---- Waiting and counting -----------------------------------------------------------------------

# Calls the function again and again until it gives TRUE; returns TRUE invisibly.
# Stops after `timeout` seconds with what it waited for and what the function gave, or how it failed, last.
wait_until <- function(condition_function, timeout = 60, interval = 0.1, what = "a condition") {
  start <- proc.time()[["elapsed"]]
  repeat {
    last <- tryCatch(condition_function(), error = identity)
    if (isTRUE(last)) return(invisible(TRUE))
    waited <- proc.time()[["elapsed"]] - start
    if (waited >= timeout) break
    Sys.sleep(interval)
  }
  found <- if (inherits(last, "error")) {
    paste("the error:", conditionMessage(last))
  } else {
    paste("the value:", paste(utils::capture.output(utils::str(last)), collapse = "\n"))
  }
  stop("waited ", round(waited, 1), " s in vain for ", what, "; last was ", found, call. = FALSE)
}

# Puts a kubectl in front of the PATH that notes each call before it calls the real one, until env ends.
# Returns a function that gives the calls so far, an element each, the arguments separated by tabs.
local_counting_kubectl <- function(env = parent.frame()) {
  folder <- withr::local_tempdir("counting-kubectl-", .local_envir = env)
  calls <- file.path(folder, "calls")
  file.create(calls)
  real <- file.path(cluster_kubectl_folder(), "kubectl")
  writeLines(c(
    "#!/bin/bash",
    "IFS=$'\\t'",
    "line=$*",
    paste0("printf '%s\\n' \"${line//$'\\n'/ }\" >>", shQuote(calls)),
    paste0("exec ", shQuote(real), ' "$@"')
  ), file.path(folder, "kubectl"))
  Sys.chmod(file.path(folder, "kubectl"), "0755")
  withr::local_envvar(PATH = paste(folder, Sys.getenv("PATH"), sep = ":"), .local_envir = env)
  function() readLines(calls, encoding = "UTF-8")
}

# The first line that a process prints.
first_line <- function(process) {
  line <- character()
  wait_until(function() length(line <<- process$read_output_lines(n = 1)) == 1L, what = "the first line of a process")
  line
}

# ---- Used above only ----------------------------------------------------------------------------

lines_of <- function(text) if (nzchar(text)) strsplit(sub("\n$", "", text), "\n", fixed = TRUE)[[1]] else character()

# What was asked once; the value is computed when it is not known yet.
memory <- new.env()
remembered <- function(name, value) {
  if (is.null(memory[[name]])) memory[[name]] <- value
  memory[[name]]
}

# Without R's random numbers, whose seed belongs to the tests.
unique_name <- function(prefix) tolower(basename(tempfile(paste0(prefix, "-"))))

kubectl_cache_folder <- function() file.path(tempdir(), "kubectl-cache")

admin_view <- function() {
  remembered(
    "admin",
    jsonlite::fromJSON(kubectl("config", "view", "--raw", "--output", "json"), simplifyVector = FALSE)
  )
}

# Writes a kubeconfig for the cluster, or for another server; JSON is YAML, too. Returns its path.
write_kubeconfig <- function(namespace, user, server = NULL) {
  connection <- admin_view()$clusters[[1]]$cluster
  if (!is.null(server)) connection$server <- server
  content <- list(
    apiVersion = "v1", kind = "Config", `current-context` = "test",
    clusters = list(list(name = "test", cluster = connection)),
    users = list(list(name = "test", user = user)),
    contexts = list(list(name = "test", context = list(cluster = "test", user = "test", namespace = namespace)))
  )
  file <- tempfile("kubeconfig-")
  file.create(file)
  Sys.chmod(file, "0600")
  writeLines(jsonlite::toJSON(content, auto_unbox = TRUE, pretty = TRUE), file)
  file
}

base64_of_file <- function(file) {
  gsub("\n", "", jsonlite::base64_enc(readBin(file, "raw", file.size(file))), fixed = TRUE)
}
