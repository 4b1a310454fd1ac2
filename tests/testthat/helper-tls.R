# Servers that speak TLS, with certificates of an authority of their own: openssl makes both.

# A folder with the certificates `good`, `other` (of another name) and `expired` for servers on 127.0.0.1, and `ca.crt`,
# that of the authority that signed them.
local_certificates <- function(env = parent.frame()) {
  folder <- withr::local_tempdir(pattern = "certificates-", .local_envir = env)
  openssl <- function(...) processx::run("openssl", c(...), wd = folder)
  key <- c("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout")
  openssl("req", "-x509", key, "ca.key", "-out", "ca.crt", "-subj", "/CN=an authority of our own", "-days", "2")
  names <- c(expired = "IP:127.0.0.1", good = "IP:127.0.0.1", other = "DNS:other.example.com")
  for (name in names(names)) {
    file <- function(ending) paste0(name, ending)
    write_bytes(paste0("subjectAltName=", names[[name]], "\n"), file.path(folder, file(".ext")))
    openssl("req", key, file(".key"), "-out", file(".csr"), "-subj", "/CN=server")
    openssl(
      "x509", "-req", "-in", file(".csr"), "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
      "-extfile", file(".ext"), "-out", file(".crt"), "-days", if (name == "expired") "0" else "2"
    )
    # Its time is over with the second in which it was made: openssl no longer takes a day before today.
    if (name == "expired") made <- Sys.time()
  }
  stopifnot(wait_until(function() Sys.time() > made + 1))
  folder
}

# Starts an API that speaks TLS with a certificate of local_certificates(), and has abba use it until the test ends.
# answers: what it gives, by path without its `/`. ... : options of `openssl s_server`.
local_tls_api <- function(certificates, name, answers = list(), ..., env = parent.frame()) {
  folder <- withr::local_tempdir(pattern = "tls-", .local_envir = env)
  for (path in names(answers)) {
    writeBin(answers[[path]]$bytes, file.path(folder, path))
  }
  server <- processx::process$new(
    "openssl", c(
      "s_server", "-accept", "127.0.0.1:0", "-HTTP", ...,
      "-cert", file.path(certificates, paste0(name, ".crt")), "-key", file.path(certificates, paste0(name, ".key"))
    ),
    wd = folder, stdout = "|", stderr = "|"
  )
  withr::defer(server$kill(), envir = env)
  said <- ""
  stopifnot(wait_until(function() {
    server$poll_io(100)
    said <<- paste0(said, server$read_output())
    grepl("ACCEPT [^\n]*:[0-9]+\n", said)
  }))
  port <- sub("\n.*", "", sub(".*ACCEPT [^\n]*:", "", said))
  withr::local_options(
    abba.api.address = paste0("https://127.0.0.1:", port), abba.api.key = "k3y-of-mike", .local_envir = env
  )
}
