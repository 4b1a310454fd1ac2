# Builds the site of the package with pkgdown, without a network.
# Usage: Rscript tools/site.R FOLDER, in the project's root.
#
# The vignettes have their outputs, and examples are not run; the package has to be installed for links to it.
folder <- commandArgs(TRUE)[[1L]]
unlink(folder, recursive = TRUE)
dir.create(folder, recursive = TRUE)
folder <- normalizePath(folder)
options(pkgdown.internet = FALSE)
# pkgdown's helpers ask the sites of other packages whenever they can: with this proxy, which is nowhere, they cannot.
Sys.setenv(http_proxy = "http://127.0.0.1:9", https_proxy = "http://127.0.0.1:9")
address <- desc::desc_get_urls()[[1L]]

# pkgdown makes a page of every Markdown file that it finds; it gets a copy with those for users.
copy <- tempfile("abba-")
dir.create(file.path(copy, "pkgdown"), recursive = TRUE)
invisible(file.copy(
  c(
    "DESCRIPTION", "NAMESPACE", "LICENSE.md", "NEWS.md", "SECURITY.md", "_pkgdown.yml",
    "R", "man", "inst", "vignettes", "pkgdown"
  ),
  copy,
  recursive = TRUE
))
unlink(file.path(copy, "vignettes", "source"), recursive = TRUE)

# The sections of the README that the front page does not have.
readme <- readLines("README.md")
starts <- grep("^## ", readme)
section <- function(title) {
  start <- match(paste("##", title), readme)
  if (is.na(start)) stop("README.md has no section \"", title, "\", of which the site makes a page.")
  readme[start:min(starts[starts > start] - 1L, length(readme))]
}
sections <- c(
  "Installing it on a laptop", "What an administrator must grant", "What it promises", "What it does not do"
)
writeLines(c("# Install and set up", "", unlist(lapply(sections, section))), file.path(copy, "INSTALL.md"))

# Links to vignettes lead to their pages; those to other files of the project, to its repository.
for (file in file.path(copy, c("INSTALL.md", "SECURITY.md", "NEWS.md"))) {
  text <- readLines(file)
  text <- gsub("\\]\\(vignettes/([a-z0-9_]+)\\.Rmd\\)", "](articles/\\1.html)", text)
  text <- gsub("\\]\\(((inst|bench|tests)/[^)]*|CONTRIBUTING\\.md)\\)", paste0("](", address, "/blob/main/\\1)"), text)
  writeLines(text, file)
}

# Dark colours are a theme of their own, which the browser takes where the reader has chosen dark ones.
dark <- list(template = list(
  theme = "a11y-dark", bslib = list(bg = "#12181f", fg = "#e6edf3", primary = "#7fb2e5", `link-color` = "#7fb2e5")
))
to <- function(destination, ...) pkgdown::as_pkgdown(copy, override = list(destination = destination, ...))
# Links to sources are relative to here.
setwd(copy)
site <- to(folder)
pkgdown::init_site(site)
other <- file.path(copy, "dark")
pkgdown::init_site(to(other, template = dark$template))
style <- list.files(folder, "^bootstrap\\.min\\.css$", recursive = TRUE)
stopifnot(length(style) == 1L, file.copy(file.path(other, style), file.path(folder, dirname(style), "dark.min.css")))
head <- file.path(folder, "deps", "data-deps.txt")
lines <- readLines(head)
at <- grep("bootstrap.min.css", lines, fixed = TRUE)
link <- sub("bootstrap.min.css", "dark.min.css", lines[at], fixed = TRUE)
link <- sub("/?>", " media=\"screen and (prefers-color-scheme: dark)\">", link)
writeLines(append(lines, link, at), head)

pkgdown::build_home(site, preview = FALSE)
pkgdown::build_reference(site, lazy = FALSE, examples = FALSE, preview = FALSE)
pkgdown::build_articles(site, lazy = FALSE, preview = FALSE)
pkgdown::build_news(site, preview = FALSE)
# What serves pkgdown alone.
unlink(c(head, file.path(folder, c("link.svg", "pkgdown.js"))))
