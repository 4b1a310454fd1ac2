# Writes inst/AUTHORS: the crates that are compiled into the package, with their authors and licences.
# Usage: Rscript tools/authors.R [--check [SBOM]], in the project's root.
#
# --check writes nothing, and fails where inst/AUTHORS is not what Cargo.lock makes of it, or the bill of materials
# (CycloneDX, JSON) has other crates or licences.
arguments <- commandArgs(TRUE)
`%||%` <- rlang::`%||%`
metadata <- system2(
  "cargo",
  c("metadata", "--locked", "--format-version", "1", "--manifest-path", "src/rust/Cargo.toml"),
  stdout = TRUE
)
packages <- jsonlite::fromJSON(paste(metadata, collapse = "\n"), simplifyVector = FALSE)$packages
own <- Filter(function(package) is.null(package$source), packages)
# Those for tests alone, which need no others, are not compiled in.
for_tests <- Filter(function(needed) identical(needed$kind, "dev"), do.call(c, lapply(own, `[[`, "dependencies")))
for_tests <- vapply(for_tests, `[[`, "", "name")
crates <- Filter(function(package) !is.null(package$source) && !package$name %in% for_tests, packages)
# In the same order wherever it is made.
crates <- crates[order(vapply(crates, `[[`, "", "name"), method = "radix")]
entry <- function(crate) {
  authors <- gsub(" <[^>]*>", "", unlist(crate$authors))
  c(
    paste0(crate$name, " ", crate$version, ", ", crate$license),
    paste0("  ", if (length(authors)) paste(authors, collapse = ", ") else "its contributors")
  )
}
text <- c(
  "These Rust crates are compiled into the package (some on some platforms only), each under its own licence.",
  "", unlist(lapply(crates, entry))
)
if (!"--check" %in% arguments) {
  writeLines(text, "inst/AUTHORS")
} else if (!identical(text, readLines("inst/AUTHORS"))) {
  stop("inst/AUTHORS does not say what Cargo.lock has; `make document` writes it")
}

if (length(arguments) > 1L) {
  components <- jsonlite::fromJSON(arguments[[2L]], simplifyVector = FALSE)$components
  # The project's own parts come from no registry.
  ours <- vapply(own, `[[`, "", "name")
  components <- Filter(function(component) !component$name %in% ours, components)
  # "MIT/Apache-2.0" is how crates wrote "MIT OR Apache-2.0" in former times.
  described <- function(name, version, licence) {
    sort(paste(name, version, sub("/", " OR ", licence, fixed = TRUE)), method = "radix")
  }
  field <- function(objects, name) vapply(objects, `[[`, "", name)
  there <- described(
    field(components, "name"), field(components, "version"),
    vapply(components, function(component) component$licenses[[1L]]$expression %||% "", "")
  )
  wanted <- described(field(crates, "name"), field(crates, "version"), field(crates, "license"))
  if (!identical(there, wanted)) {
    stop(
      "the bill of materials and Cargo.lock have not the same crates: ",
      toString(c(setdiff(there, wanted), setdiff(wanted, there)))
    )
  }
}
