# What kept a request from an abba API, by curl's words: those of OpenSSL, GnuTLS and Windows (schannel).

# The words of an error of httr2. Since its 1.0 they are those of the error that caused it, whose R call its own message
# has, too.
failure_words <- function(cnd) {
  while (inherits(cnd$parent, "error")) cnd <- cnd$parent
  conditionMessage(cnd)
}

# What curl says as users read it: without the kind of fault and the host, which curl 6 ("kind [host]: words") and those
# before ("kind: [host] words") put before it, without what changes from one run to the next, and without the password
# of a proxy.
curl_words <- function(words) {
  words <- gsub("[[:space:]]+", " ", words)
  words <- sub("^[^][]+ \\[[^]]*\\]:? ", "", words)
  words <- gsub("//[^/@[:space:]]*@", "//", words)
  sub(" after [0-9]+ (ms|milliseconds)", "", words)
}

# The fault in curl's words: a list of `class`, `message` and `advice` of the error; `may_heal`: whether it may pass by
# itself in a moment; `may_have_arrived`: whether the server may have done what it was asked for.
client_fault <- function(words, address, seconds) {
  says <- function(pattern) grepl(pattern, words, ignore.case = TRUE)
  fault <- function(class, message, advice, may_heal = FALSE, may_have_arrived = FALSE) {
    list(
      class = class, message = message, advice = advice, may_heal = may_heal, may_have_arrived = may_have_arrived
    )
  }
  unreachable <- function(why) paste0("The abba API at ", address, " cannot be reached: ", why, ".")
  if (is_timeout(words)) {
    return(fault(
      "timeout", paste0("The abba API at ", address, " did not answer within ", format(seconds), " seconds."),
      check_network(address),
      may_heal = TRUE,
      # "Operation timed out" is said of what was sent.
      may_have_arrived = !says("(connection|resolving) timed out after [0-9]|failed to connect")
    ))
  }
  proxy <- proxy_fault(words, address)
  if (!is.null(proxy)) {
    return(rlang::inject(fault("unavailable", !!!proxy)))
  }
  if (says("alert (certificate required|bad certificate|unknown ca|certificate unknown|access denied)")) {
    return(fault(
      "unauthorized", paste0(address, " asks for a certificate of your own, which is not sent."),
      "Ask your administrator for an address that takes your key alone."
    ))
  }
  if (says("error setting certificate|problem with the SSL CA cert|error (adding|reading) .*(CA|trust)")) {
    return(fault(
      "not_configured", unreachable("this machine cannot read its list of trusted certificates"),
      "Look at CURL_CA_BUNDLE in R's environment, or ask the administrator of this machine."
    ))
  }
  if (says("expired|not yet valid|CERT_E_VALIDITY")) {
    return(fault(
      "unavailable", unreachable("its certificate has expired, or is not valid yet"),
      paste(
        "It does not heal by itself. If the clock of this machine is right, your administrator has to renew the",
        "certificate."
      )
    ))
  }
  other_name <- "subject name|(host ?name|target name|owner).*match|match .*hostname|WRONG_P|principal name|NO_MATCH"
  if (says(other_name)) {
    return(fault(
      "unavailable", unreachable("the certificate that answers is another server's (its name does not match)"),
      paste(
        "It does not heal by itself. Look whether ABBA_API_ADDRESS has the very name that your administrator gave you;",
        "a proxy or a login to the network on the way may answer in its place, too."
      )
    ))
  }
  if (says("certificate|verif(y|ication)|UNTRUSTED_ROOT|REVOCATION|self.signed")) {
    bundle <- Sys.getenv("CURL_CA_BUNDLE")
    return(fault(
      "unavailable", unreachable("its certificate is not trusted"),
      paste(
        "It does not heal by itself. Ask your administrator for the file with the certificate of the authority that",
        if (bundle == "") {
          "signs in your company, put a line `CURL_CA_BUNDLE=/path/to/file.pem` into ~/.Renviron, and restart R."
        } else {
          paste0("signs in your company: the file in CURL_CA_BUNDLE (", bundle, ") does not have it.")
        }
      )
    ))
  }
  if (says("wrong version number|packet length too long|http request|HTTP/0[.]9|unexpected message|INVALID_TOKEN")) {
    return(fault(
      "not_configured",
      paste0("What answers at ", address, " is no abba API: it does not speak ", toupper(sub(":.*", "", address)), "."),
      paste0(
        "Check the address in ABBA_API_ADDRESS, above all its port; your administrator can name it.",
        through_proxy(address)
      ),
      # Without encryption it has been sent.
      may_have_arrived = startsWith(address, "http:")
    ))
  }
  if (says("protocol .*(not supported|disabled)|malformed")) {
    return(fault("not_configured", unreachable("curl cannot use this address"), "Check ABBA_API_ADDRESS."))
  }
  # What breaks in the middle of the handshake, as of a server that restarts, may heal.
  broke <- says("reset|SYSCALL|EOF|closed")
  if (!broke && says("alert|handshake|protocol version|unsupported protocol|no protocols|cipher|too small|SSL conn")) {
    return(fault(
      "unavailable", unreachable("it and this machine find no common way to encrypt (TLS)"),
      paste(
        "It does not heal by itself. Show this to your administrator: the server, or a proxy on the way, is set up for",
        "another TLS."
      )
    ))
  }
  never_left <- says("could(n't| not) (resolve|connect)|failed to connect|connection refused|(SSL|TLS)[_ ]connect")
  unknown_host <- says("could(n't| not) resolve host")
  fault(
    "unavailable",
    if (unknown_host) {
      unreachable("no machine of that name is known here")
    } else {
      paste0("The abba API at ", address, " cannot be reached.")
    },
    check_network(address),
    may_heal = TRUE, may_have_arrived = !never_left
  )
}

check_network <- function(address) {
  paste0(
    "Check the address in ABBA_API_ADDRESS and your network. If both are right, the server is down or busy: ",
    "try again, or ask your administrator.", through_proxy(address)
  )
}

# What is wrong with the proxy that a request goes through: arguments of a fault. NULL: nothing is known to be.
proxy_fault <- function(words, address) {
  says <- function(pattern) grepl(pattern, words, ignore.case = TRUE)
  proxy <- client_proxy(address)
  of_status <- regexec("(CONNECT tunnel failed, response|HTTP code) ([0-9]{3})", words)
  status <- regmatches(words, of_status)[[1L]][3L]
  if (!is.na(status)) {
    return(refusing_proxy(as.integer(status), address))
  }
  at_proxy <- !is.null(proxy) && says("failed to connect|could(n't| not) connect") &&
    grepl(proxy$host, words, fixed = TRUE)
  if (!at_proxy && !says("could(n't| not) resolve proxy|unsupported proxy|proxy handshake|SOCKS")) {
    return(NULL)
  }
  list(
    message = paste0("The proxy", proxy_name(proxy), " on the way to the abba API at ", address, " cannot be used."),
    advice = proxy_advice(proxy, address, "Check it: is the proxy up, and is this its address?")
  )
}

# The same for a proxy that answers itself, with this status.
refusing_proxy <- function(status, address) {
  proxy <- client_proxy(address)
  wants_login <- status == 407L
  may_heal <- status %in% c(502L, 503L, 504L)
  what <- if (wants_login) {
    "asks for a user name and a password"
  } else if (may_heal) {
    "does not reach it"
  } else {
    "does not let you through"
  }
  advice <- if (wants_login) {
    "Put them into its address, as `http://user:password@proxy.example.com:8080`."
  } else if (may_heal) {
    "Try again in a minute, or ask your administrator."
  } else {
    "Your administrator can permit it there."
  }
  list(
    message = paste0(
      "The proxy", proxy_name(proxy), " on the way to the abba API at ", address, " ", what, " (", status, ")."
    ),
    advice = proxy_advice(proxy, address, advice),
    may_heal = may_heal
  )
}

proxy_name <- function(proxy) if (is.null(proxy)) "" else paste0(" ", proxy$host, ":", proxy$port)

proxy_advice <- function(proxy, address, advice) {
  paste0(
    "It comes from ", if (is.null(proxy)) "https_proxy" else proxy$variable, " in R's environment. ", advice,
    " If the API is reached without a proxy, put a line `no_proxy=", client_host(address), "` into ~/.Renviron."
  )
}

# A sentence on the proxy that a request goes through; "" where there is none.
through_proxy <- function(address) {
  proxy <- client_proxy(address)
  if (is.null(proxy)) {
    return("")
  }
  paste0(
    " R goes there through the proxy", proxy_name(proxy), " (", proxy$variable, "); `no_proxy=", client_host(address),
    "` in ~/.Renviron passes it by."
  )
}

client_host <- function(address) gsub("[][]", "", sub("^https?://(\\[[^]]*\\]|[^:/]*).*$", "\\1", address))

# The proxy of the environment that curl uses for an address: its `variable`, `host` and `port`. NULL: none.
# <https://everything.curl.dev/usingcurl/proxies/env.html>
client_proxy <- function(address) {
  host <- client_host(address)
  if (is_loopback_address(address)) {
    return(NULL)
  }
  # curl does not read HTTP_PROXY, which a web server would set from a header.
  variables <- c(if (startsWith(address, "https:")) c("https_proxy", "HTTPS_PROXY") else "http_proxy")
  variables <- c(variables, "all_proxy", "ALL_PROXY")
  set <- variables[nzchar(Sys.getenv(variables))]
  if (length(set) == 0L) {
    return(NULL)
  }
  passed_by <- c(Sys.getenv("no_proxy"), Sys.getenv("NO_PROXY"))
  passed_by <- strsplit(passed_by[nzchar(passed_by)][1L], "[, ]+")[[1L]]
  passed_by <- sub("^[.]", "", passed_by[!is.na(passed_by)])
  if ("*" %in% passed_by || host %in% passed_by || any(endsWith(host, paste0(".", passed_by)))) {
    return(NULL)
  }
  # Its user and password are not shown.
  place <- sub("^.*@", "", sub("^[A-Za-z0-9]+://", "", sub("/+$", "", Sys.getenv(set[[1L]]))))
  port <- if (grepl(":[0-9]+$", place)) sub("^.*:", "", place) else "1080"
  list(variable = set[[1L]], host = sub(":[0-9]+$", "", place), port = port)
}
