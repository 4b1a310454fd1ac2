# shellcheck shell=bash
# Where things live, which addresses are used, and how the cluster talks. Sourced by every part of tests/cluster/cluster.

# Built once and kept, for all clones of the project; the names carry the keys of what they were built from.
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/abba
# Everything about the one cluster that this machine can run (its ports are fixed): data, certificates, logs, pids.
state=$cache/cluster
kubeconfig=$state/admin.kubeconfig
containerd_socket=$state/containerd.sock

# The node is called by its address, so that the API server reaches the kubelet on loopback without any name lookup.
node=127.0.0.1
apiserver_address=127.0.0.1:6443
etcd_address=127.0.0.1:2379
registry_address=127.0.0.1:5000
controllers_health_address=127.0.0.1:10257
scheduler_health_address=127.0.0.1:10259
kubelet_health_address=127.0.0.1:10248

namespace=rstudio
r_image=$registry_address/r-base:4.2.2
pause_image=$registry_address/pause:1

# In the order in which they start.
components=(registry etcd containerd apiserver controllers scheduler kubelet)
start_bound=120

# All talk goes to stderr: stdout carries only what a verb answers.
say() { printf 'cluster: %s\n' "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

# Polls a command until it succeeds; fails after so many seconds. Short pauses, because most things here take under 1 s.
wait_until() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}

# The first 16 digits of the SHA-256 of standard input: short enough for a folder's name.
short_hash() { sha256sum | cut -c1-16; }

# What lives outside the state folder has names of its own for each such folder: cleaning up cannot hit another's.
pod_network=abba-$(printf '%s' "$state" | short_hash | cut -c1-8)
bridge=$pod_network

# Those of the above that a running cluster was started with.
settings=(state apiserver_address etcd_address registry_address controllers_health_address scheduler_health_address
  kubelet_health_address node namespace r_image pause_image pod_network bridge components)
