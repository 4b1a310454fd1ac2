# A server behind a path, as a cluster manager puts it in front of an API server (tests/cluster/path-proxy).

server_path <- "/k8s/clusters/c-1"

# Starts it, until env ends, and has abba reach the cluster through it: in the namespace of the test, with a token.
#
# ...: its flags, as "-fault" and "busy". See path-proxy/main.go.
#
# Gives back a function that tells the requests so far, as "GET /k8s/clusters/c-1/api/...".
local_path_proxy <- function(..., token = "a-token", env = parent.frame()) {
  pki <- file.path(dirname(cluster_kubeconfig()), "pki")
  notes <- withr::local_tempfile(pattern = "notes-", .local_envir = env)
  server <- processx::process$new(
    path_proxy(),
    c(
      "-upstream", admin_view()$clusters[[1]]$cluster$server, "-authority", file.path(pki, "ca.crt"),
      "-client-certificate", file.path(pki, "admin.crt"), "-client-key", file.path(pki, "admin.key"),
      "-server-certificate", file.path(pki, "apiserver.crt"), "-server-key", file.path(pki, "apiserver.key"),
      "-prefix", server_path, "-token", "a-token", "-notes", notes, ...
    ),
    stdout = "|"
  )
  withr::defer(server$kill(), envir = env)
  url <- paste0("https://127.0.0.1:", first_line(server), server_path)
  local_cluster_login(write_kubeconfig(the_namespace(), user = list(token = token), server = url), env)
  function() readLines(notes)
}

# The program, which is built once.
path_proxy <- function() {
  remembered("path-proxy", {
    program <- file.path(tempdir(), "path-proxy")
    processx::run("go", c("build", "-o", program, "."), wd = file.path(repository, "tests", "cluster", "path-proxy"))
    program
  })
}
