#!/usr/bin/env bash
# Checks the cluster itself: that it starts from whatever state, and that nothing of it stays after `down`.
#
# Usage: tests/cluster/test-cluster.sh
# It takes a running cluster down several times and leaves one running. One line a check; fails when a check fails.
set -uo pipefail

here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
cluster=$here/cluster
state=$(dirname "$("$cluster" kubeconfig)")
work=$(mktemp -d)
passed=0
failed=0
occupier=
trap '[ -z "$occupier" ] || kill "$occupier"; rm -rf "$work"' EXIT

# Runs a check and says how it went; what it wrote is shown when it failed.
check() { # WHAT COMMAND...
  local what=$1 start=$EPOCHREALTIME
  shift
  if "$@" >"$work/output" 2>&1; then
    passed=$((passed + 1))
    printf 'ok      %s (%s)\n' "$what" "$(seconds_since "$start")"
  else
    failed=$((failed + 1))
    printf 'NOT OK  %s (%s)\n' "$what" "$(seconds_since "$start")"
    sed 's/^/          /' "$work/output"
  fi
}

seconds_since() { awk -v start="$1" -v end="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", end - start }'; }

kubectl() { KUBECACHEDIR=$work/kubectl-cache "$("$cluster" kubectl-path)/kubectl" --kubeconfig "$("$cluster" kubeconfig)" "$@"; }

expect_equal() { # WANTED FOUND
  [ "$1" = "$2" ] || { printf 'wanted:\n%s\nfound:\n%s\n' "$1" "$2"; return 1; }
}

running_processes() { cut -d' ' -f1 "$state"/pids/* | sort; }

# What of the machine a cluster changes. Only what is ours or could be: other programs come and go meanwhile.
traces() {
  echo "interfaces:" && ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/'
  echo "network namespaces:" && ip netns
  echo "mounts:" && awk -v folder="$state/" 'index($5, folder) == 1 { print $5 }' /proc/self/mountinfo
  echo "cgroups:" && find /sys/fs/cgroup -name 'kubepods*'
  echo "iptables:" && { iptables-save | grep -v '^#' || true; }
  echo "forwarding:" && cat /proc/sys/net/ipv4/ip_forward
  echo "sockets:" && ss -ltnH | grep -E '127\.0\.0\.1:(2379|2380|5000|6443|10248|10250|10257|10259|10262|10263|10264) '
  echo "folders:" && ls -d /var/lib/kubelet /var/log/pods /var/log/containers /var/lib/cni /run/containerd \
    /usr/libexec/kubernetes /var/lib/containers /run/kubernetes /opt/containerd 2>/dev/null
  echo "notes of the CNI library:" && ls /var/lib/cni/results 2>/dev/null
  echo "processes:" && cluster_processes
}

cluster_processes() {
  # The programs of the cluster that are not just waiting for their parent to notice that they ended.
  ps -eo stat=,comm=,args= | awk '$1 !~ /^Z/' | grep -F -e "$state" -e catatonit | grep -E \
    '(etcd|kube-|kubelet|kueue|containerd|docker-registry|catatonit)' | grep -v -e grep -e test-cluster
}

ready() {
  expect_equal "$state/admin.kubeconfig" "$("$cluster" up | tail -n 1)" &&
    expect_equal True "$(kubectl get node 127.0.0.1 --output 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" &&
    kubectl get serviceaccount default
}

# What the other checks compare with must itself be free of a cluster's traces.
nothing_is_there() { ! grep -E 'abba|kubepods|127\.0\.0\.1|pod' <<<"$traces_before"; }

# The kernel takes away network interfaces and groups of processes after what used them has ended.
down() {
  "$cluster" down || return 1
  local deadline=$((SECONDS + 60))
  until [ "$traces_before" = "$(traces)" ] || ((SECONDS > deadline)); do :; done
  expect_equal "$traces_before" "$(traces)"
}

down_with_kueue() { "$cluster" start kueue && down; }

# All that it does it says.
up_again_does_nothing() {
  local before
  before=$(running_processes)
  expect_equal "$state/admin.kubeconfig" "$("$cluster" up 2>&1)" && expect_equal "$before" "$(running_processes)"
}

two_ups_at_once() {
  local first second
  "$cluster" up >"$work/first" &
  first=$!
  "$cluster" up >"$work/second" &
  second=$!
  wait "$first" && wait "$second" && expect_equal "$state/admin.kubeconfig" "$(<"$work/first")" &&
    expect_equal "$state/admin.kubeconfig" "$(<"$work/second")" &&
    expect_equal 7 "$(running_processes | wc -l)" && expect_equal 1 "$(pgrep -cf "kubelet --config $state")"
}

# Also the processes that watch over containers, so that the containers themselves go on without anyone.
kill_everything_but_containers() {
  local pids
  mapfile -t pids < <(running_processes && pgrep -f "containerd-shim.* $state/")
  ((${#pids[@]} > 7)) || { echo "no pod was running, which makes this too easy"; return 1; }
  kill -s KILL "${pids[@]}"
}

up_after_kill() { run_sleeping_pod && kill_everything_but_containers && ready && no_pods; }

no_pods() { expect_equal "" "$(kubectl get pods --all-namespaces --output name)"; }

run_sleeping_pod() {
  kubectl run sleeping --image "$("$cluster" registry)/no-r:1" --restart Never --command -- sleep 1000000 &&
    kubectl wait --for=condition=Ready pod/sleeping --timeout=120s
}

run_r_program() {
  kubectl run r --image "$("$cluster" registry)/r-base:4.2.2" --restart Never --command -- \
    Rscript -e 'with(R.version, cat(major, minor, Sys.timezone(), "\u00fc\n"))' &&
    kubectl wait --for='jsonpath={.status.phase}=Succeeded' pod/r --timeout=120s &&
    expect_log
}

expect_log() { expect_equal "4 2.2 UTC ü" "$(kubectl logs r)"; }

# Stops or kills components (one, or several in one argument), runs the command if there is one, and starts them again.
restart() { # HOW COMPONENTS [COMMAND...]
  local how=$1 component components
  read -ra components <<<"$2"
  for component in "${components[@]}"; do
    "$cluster" "$how" "$component" && "$cluster" status | grep -x "$component: not running" || return 1
  done
  "${@:3}" || return 1
  for component in "${components[@]}"; do
    "$cluster" start "$component" || return 1
  done
  "$cluster" wait-ready
}

watchers() { cat "$state"/pids/{controllers,scheduler,kubelet} | sort; }

# The longer it was away, the later those who watch it come back by themselves: after 6 s, 14 s later than the node. So they
# are started anew.
jobs_run_after_outage() {
  local before
  before=$(watchers)
  restart stop apiserver sleep 6 && kubectl create job after-outage --image "$("$cluster" registry)/r-base:4.2.2" -- true &&
    kubectl wait --for=condition=complete job/after-outage --timeout=120s && kubectl delete job after-outage &&
    expect_equal "" "$(comm -12 <(echo "$before") <(watchers))"
}

node_loss_is_noticed() {
  restart stop kubelet kubectl wait --for='condition=Ready=Unknown' node/127.0.0.1 --timeout=120s
}

# Its webhook suspends a Job with a queue's label, in a namespace that has the label for it and in no other. The API server
# takes notice of a new webhook a moment after it took it.
kueue_is_asked_where_it_should_be() {
  local deadline
  # With its label from the beginning: the API server may not have taken notice of a later one.
  "$cluster" start kueue && kubectl create --filename - <<<'{"apiVersion": "v1", "kind": "Namespace", "metadata":
    {"name": "queued", "labels": {"abba-test-cluster/kueue": ""}}}' || return 1
  deadline=$((SECONDS + 30))
  until [ "$(suspends_in queued)" = true ] || ((SECONDS > deadline)); do :; done
  expect_equal "true false" "$(suspends_in queued) $(suspends_in default)" && only_loopback
}

suspends_in() { # NAMESPACE
  kubectl create job a --namespace "$1" --image x --dry-run=client --output yaml |
    sed 's|^metadata:|&\n  labels: {kueue.x-k8s.io/queue-name: none}|' |
    kubectl create --namespace "$1" --filename - --dry-run=server --output 'jsonpath={.spec.suspend}'
}

# Not every address: the cluster's certificates and rights are for tests, not for a network.
only_loopback() {
  local sockets
  sockets=$(ss -ltnpH | grep -E '"(etcd|kube|kueue|containerd|docker-registry)')
  [ -n "$sockets" ] && expect_equal "" "$(awk '$4 !~ /^127\.0\.0\.1:/' <<<"$sockets")"
}

# A caller that reads what `up` writes waits until all who hold the other end of the pipe have closed it.
no_inherited_files() {
  local reader pid
  "$cluster" down && mkfifo "$work/pipe" || return 1
  timeout 300 cat "$work/pipe" &
  reader=$!
  "$cluster" up 7>"$work/pipe" && wait "$reader" || return 1
  for pid in $(running_processes); do ls -l "/proc/$pid/fd"; done | { ! grep -F "$state/lock"; }
}

etcd_port_is_taken() {
  "$cluster" down || return 1
  printf 'version: 0.1\nstorage: {inmemory: {}}\nhttp: {addr: "127.0.0.1:2379"}\n' >"$work/registry.yml"
  docker-registry serve "$work/registry.yml" &
  occupier=$!
  until ss -ltnH | grep -q 127.0.0.1:2379; do kill -0 "$occupier" || return 1; done
  ! "$cluster" up 2>"$work/error"
  local result=$?
  kill "$occupier"
  occupier=
  cat "$work/error"
  ((result == 0)) && grep 'address already in use' "$work/error" && grep 'etcd ended while starting' "$work/error"
}

own_kubeconfig_untouched() {
  HOME=$work/home XDG_CACHE_HOME=${state%/abba/cluster} KUBECONFIG=$work/users-own "$cluster" up &&
    [ ! -e "$work/home" ] && [ ! -e "$work/users-own" ]
}

"$cluster" up >/dev/null || exit 1
"$cluster" down || exit 1
traces_before=$(traces)

check "nothing is there when down" nothing_is_there
check "up from cold" ready
check "up when up changes nothing and does nothing" up_again_does_nothing
check "all listen on loopback only" only_loopback
check "an R program runs and its log can be read" run_r_program
check "Kueue starts when it is asked for, and is asked in namespaces with its label only" kueue_is_asked_where_it_should_be
# Those that need nothing of each other together: to see that a Job runs takes longer than to start them.
together="registry controllers scheduler containerd kueue"
check "kill and start ${together// /, }" restart kill "$together"
for component in etcd apiserver kubelet; do
  check "kill and start $component" restart kill "$component"
done
check "stop and start ${together// /, }" restart stop "$together"
check "stop and start etcd" restart stop etcd
check "stop and start apiserver: a Job runs after it was away, as those who watch it are new" jobs_run_after_outage
check "stop and start kubelet: a lost node is noticed and comes back" node_loss_is_noticed
check "the R program's log can still be read" expect_log
check "up after kill -9 of everything but the containers" up_after_kill
check "down leaves nothing, nor of Kueue" down_with_kueue
check "down when down" down
check "two ups at once" two_ups_at_once
check "kill -9 of everything, then down leaves nothing" eval 'run_sleeping_pod && kill_everything_but_containers && down'
check "up does not keep the caller's files open" no_inherited_files
check "a component that ends while starting is reported with its log" etcd_port_is_taken
check "up after a failed start, which leaves the caller's own kubeconfig alone" \
  eval 'own_kubeconfig_untouched && ready'

echo "$passed passed, $failed failed"
((failed == 0))
