# How much the same kubectl command varies in this run: asked for at the beginning and at the end.
noise <- function(when) {
  figures <- alternate(paste("noise", when), size(15L), list(
    kubectl = function() get_pods("none=none")
  ))
  row(paste0("noise, ", when, " of the run"), "`kubectl get pods`, finding none", figures$kubectl)
}
