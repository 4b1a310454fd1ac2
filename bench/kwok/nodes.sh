# shellcheck shell=bash
# Ten nodes that kwok plays. They have room for any job; those of the benchmark ask for 64 cores each, which no real node
# of the test cluster has, so no pod of theirs is put on it. The taint keeps other pods on the real node while it has room.
played_nodes() { # LABEL
  local n
  for n in {0..9}; do
    cat <<END
---
apiVersion: v1
kind: Node
metadata:
  name: $1-node-$n
  labels: {abba-bench: $1, kubernetes.io/hostname: $1-node-$n, kubernetes.io/os: linux}
  annotations: {kwok.x-k8s.io/node: fake}
spec:
  taints: [{key: abba-bench, value: $1, effect: PreferNoSchedule}]
status:
  allocatable: {cpu: "200000", memory: 1000Ti, pods: "5000", ephemeral-storage: 1000Ti}
  capacity: {cpu: "200000", memory: 1000Ti, pods: "5000", ephemeral-storage: 1000Ti}
END
  done
}
