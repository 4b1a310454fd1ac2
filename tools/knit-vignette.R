# Runs the chunks of a vignette's source in the project's root and writes them with their outputs as plain text.
# Usage: Rscript tools/knit-vignette.R SOURCE TARGET REGISTRY
arguments <- commandArgs(trailingOnly = TRUE)
options(
  abba.default.container = paste0(arguments[[3]], "/r-base:4.2.2"),
  cli.unicode = FALSE, cli.num_colors = 1L, width = 80L, useFancyQuotes = FALSE
)
# Figures lie beside the vignette that is written, whatever folder its code runs in.
knitr::opts_knit$set(root.dir = getwd(), base.dir = paste0(normalizePath(dirname(arguments[[2]])), "/"))
knitr::opts_chunk$set(
  comment = "#>", collapse = TRUE, error = FALSE, fig.path = "figures/",
  dev = "png", dpi = 96
)
source <- readLines(arguments[[1]], encoding = "UTF-8")
text <- knitr::knit(text = source, quiet = TRUE, envir = new.env(parent = globalenv()))
writeLines(text, arguments[[2]], useBytes = TRUE)
