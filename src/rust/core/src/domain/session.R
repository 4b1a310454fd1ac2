# abba: has R note as it ends, in the termination message of its container, which R and which packages it had. A program
# switches it off with options(abba.session.info = FALSE), a submission with environment = c(ABBA_SESSION_INFO = "no").
try(local(
  {
    Sys.unsetenv("R_TESTS")
    pid <- Sys.getpid()
    note <- function(...) {
      file <- "/dev/termination-log"
      head <- "abba-session 1"
      if (Sys.getpid() != pid || file.access(file, 2L) != 0L) {
        return()
      }
      if (file.info(file)$size > 0 && !identical(readLines(file, 1L), head)) {
        return()
      }
      put <- function(...) writeLines(c(head, ..., "end"), file)
      if (identical(getOption("abba.session.info"), FALSE)) {
        return(put("off=option"))
      }
      one <- function(name, value) {
        tryCatch(
          {
            if (!is.atomic(value)) value <- class(value)
            if (length(value)) {
              value <- gsub("[^ -~]", "?", paste(value, collapse = " "), useBytes = TRUE)
              paste0(name, "=", substr(value, 1L, 300L))
            }
          },
          error = function(e) NULL
        )
      }
      options <- c(
        "encoding", "digits", "digits.secs", "scipen", "OutDec", "width", "max.print", "stringsAsFactors",
        "contrasts", "na.action", "warn"
      )
      categories <- c("LC_CTYPE", "LC_COLLATE", "LC_NUMERIC", "LC_TIME")
      lines <- c(
        one("R", R.version.string),
        one("version", paste(R.version$major, R.version$minor, sep = ".")),
        one("platform", R.version$platform),
        one("locale", paste0(categories, "=", vapply(categories, Sys.getlocale, ""), collapse = ";")),
        one("timezone", if (nzchar(Sys.getenv("TZ"))) Sys.getenv("TZ") else format(Sys.time(), "%Z")),
        one("random", RNGkind()),
        one("blas", extSoftVersion()[["BLAS"]]),
        # Asking for it would load it.
        one("lapack", if ("lapack" %in% names(getLoadedDLLs())) c(La_library(), La_version())),
        unlist(lapply(options, function(name) one(paste0("option.", name), getOption(name))))
      )
      attached <- sub("package:", "", grep("^package:", search(), value = TRUE), fixed = TRUE)
      packages <- c(attached, sort(setdiff(loadedNamespaces(), attached), method = "radix"))
      versions <- vapply(packages, function(package) {
        tryCatch(paste0(package, " ", getNamespaceVersion(package)), error = function(e) package)
      }, "")
      # The node reads 4,096 bytes.
      kept <- cumsum(nchar(versions, "bytes") + 1L) < 4000L - sum(nchar(lines, "bytes") + 1L)
      is_attached <- packages %in% attached
      put(
        paste0("packages=", length(packages)), lines,
        paste0("attached=", paste(versions[kept & is_attached], collapse = ",")),
        paste0("loaded=", paste(versions[kept & !is_attached], collapse = ","))
      )
    }
    reg.finalizer(baseenv(), function(...) {
      tryCatch(suppressWarnings(note()), error = function(e) NULL, interrupt = function(e) NULL)
    }, onexit = TRUE)
  },
  new.env(parent = baseenv())
), silent = TRUE)
