# Writes inst/AUTHORS: the crates that are compiled into the package, with their authors and licences.
# Usage: Rscript tools/authors.R, in the project's root.
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
crates <- crates[order(vapply(crates, `[[`, "", "name"))]
entry <- function(crate) {
  authors <- gsub(" <[^>]*>", "", unlist(crate$authors))
  c(
    paste0(crate$name, " ", crate$version, ", ", crate$license),
    paste0("  ", if (length(authors)) paste(authors, collapse = ", ") else "its contributors")
  )
}
writeLines(
  c(
    "These Rust crates are compiled into the package (some on some platforms only), each under its own licence.",
    "", unlist(lapply(crates, entry))
  ),
  "inst/AUTHORS"
)
