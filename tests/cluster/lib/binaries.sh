# shellcheck shell=bash
# Kubernetes and etcd, built from the Go module kubernetes/: it has no code, only versions and the list of programs.

module=$here/kubernetes

# The version stands in go.mod alone. The libraries of v1.34.4 are called v0.34.4 there; any of them tells it.
kubernetes_version() { sed -n 's/^[[:space:]]*k8s\.io\/api => k8s\.io\/api v0\.\([0-9.]*\).*/v1.\1/p' "$module/go.mod"; }

# Without the version, the API server would call itself v0.0.0 and clients would warn; -s -w halves the files.
linker_flags() {
  local package
  printf '%s' '-s -w'
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf ' -X %s.gitVersion=%s' "$package" "$(kubernetes_version)"
  done
}

binaries_key() { { cat "$module/go.mod" "$module/go.sum" && linker_flags && uname -m; } | short_hash; }

binaries=$cache/kubernetes-$(binaries_key)/bin

# Built elsewhere and moved into place at the end, so that an interrupted build is never taken for a whole one.
ensure_binaries() {
  local building
  [ ! -d "$binaries" ] || return 0
  command -v go >/dev/null || fail "building Kubernetes needs Go ($(sed -n 's/^go //p' "$module/go.mod") or newer) on the PATH"
  say "building Kubernetes $(kubernetes_version) and etcd: 7-8 minutes the first time on two cores, 15 s when Go still has the parts"
  rm -rf "$cache"/kubernetes-*.building
  building=${binaries%/bin}.building
  mkdir -p "$building/bin"
  (cd "$module" && go build -buildvcs=false -ldflags "$(linker_flags)" -o "$building/bin/" tool) >&2 ||
    fail "the Go build failed, see above"
  # The program is named after the last part of its package, go.etcd.io/etcd/server.
  mv "$building/bin/server" "$building/bin/etcd"
  mv "$building" "${binaries%/bin}"
}
