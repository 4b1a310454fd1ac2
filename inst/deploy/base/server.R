# What the server runs. Your own options go into options.R, see README.md: they are read last.

# The annotations of the namespace of the programs, which the cluster's admission policies read, too.
namespace <- "abba-programs"
answer <- suppressWarnings(system2("kubectl", c("get", "namespace", namespace, "--output", "json"), stdout = TRUE))
if (!is.null(attr(answer, "status"))) stop("the namespace ", namespace, " cannot be looked at, see above")
annotations <- jsonlite::fromJSON(paste(answer, collapse = "\n"))$metadata$annotations

# The entries of one of them; folders have the NFS server and the path.
setting <- function(name) {
  annotation <- paste0("abba/", name)
  text <- annotations[[annotation]]
  if (is.null(text)) stop("the namespace ", namespace, " has no annotation ", annotation, ": see namespaces.yaml")
  lines <- trimws(strsplit(text, "\n", fixed = TRUE)[[1L]])
  lines[nzchar(lines)]
}
folders <- function(name) {
  lapply(strsplit(setting(name), "[[:space:]]+"), function(words) list(server = words[[1L]], path = words[[2L]]))
}

images <- setting("images")
options(
  abba.k8s.namespace = namespace,
  abba.api.identity = "keys",
  abba.api.keys = "/etc/abba-keys/api-keys",
  abba.permitted.containers = images,
  abba.default.container = if (length(images) > 0L) images[[1L]],
  abba.permitted.mounts = folders("nfs"),
  abba.home.nfs.ip.address = unlist(lapply(folders("homes"), `[[`, "server")),
  abba.home.path = unlist(lapply(folders("homes"), `[[`, "path")),
  abba.api.least.uid = as.integer(setting("least-uid")),
  abba.api.least.gid = as.integer(setting("least-gid"))
)
if (file.exists("/etc/abba/options.R")) source("/etc/abba/options.R")

abba::abba_run_api(
  host = Sys.getenv("ABBA_HOST", "0.0.0.0"),
  port = as.integer(Sys.getenv("ABBA_PORT", "8000"))
)
