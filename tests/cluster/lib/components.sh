# shellcheck shell=bash
# What each component is: its command line, and how one sees that it serves.

start_component() { # COMPONENT
  local pki=$state/pki flags
  ! is_running "$1" || return 0
  case $1 in
  registry)
    start_process registry docker-registry serve "$state/registry.yml"
    ;;
  etcd)
    # Nothing here outlives the cluster, so etcd need not wait for the disk.
    start_process etcd "$binaries/etcd" --data-dir "$state/etcd" --unsafe-no-fsync \
      --listen-client-urls "http://$etcd_address" --advertise-client-urls "http://$etcd_address" \
      --listen-peer-urls http://127.0.0.1:2380
    ;;
  containerd)
    start_process containerd containerd --config "$state/containerd.toml"
    ;;
  apiserver)
    # There is no front proxy; without these flags, controllers and scheduler complain about it all the time.
    start_process apiserver "$binaries/kube-apiserver" --etcd-servers "http://$etcd_address" \
      --bind-address "${apiserver_address%:*}" --advertise-address "${apiserver_address%:*}" \
      --secure-port "${apiserver_address#*:}" --endpoint-reconciler-type none \
      --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
      --client-ca-file "$pki/ca.crt" \
      --requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names front-proxy \
      --authorization-mode Node,RBAC --service-cluster-ip-range 10.0.0.0/24 \
      --service-account-issuer https://kubernetes.default.svc \
      --service-account-key-file "$pki/service-accounts.pub" \
      --service-account-signing-key-file "$pki/service-accounts.key" \
      --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" \
      --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP
    ;;
  controllers)
    # Their own limits of 20 requests/s and 5 Jobs at a time would be what a test of many Jobs measures.
    mapfile -t flags < <(client_flags controllers)
    start_process controllers "$binaries/kube-controller-manager" "${flags[@]}" \
      --bind-address "${controllers_health_address%:*}" --secure-port "${controllers_health_address#*:}" \
      --service-account-private-key-file "$pki/service-accounts.key" --root-ca-file "$pki/ca.crt" \
      --flex-volume-plugin-dir "$state/controllers-volume-plugins" \
      --concurrent-job-syncs 20 --node-monitor-period 1s --node-monitor-grace-period 20s
    ;;
  scheduler)
    mapfile -t flags < <(client_flags scheduler)
    start_process scheduler "$binaries/kube-scheduler" "${flags[@]}" \
      --bind-address "${scheduler_health_address%:*}" --secure-port "${scheduler_health_address#*:}"
    ;;
  kubelet)
    start_process kubelet "$binaries/kubelet" --config "$state/kubelet.yaml" --kubeconfig "$state/kubelet.kubeconfig" \
      --hostname-override "$node" --root-dir "$state/kubelet"
    ;;
  esac
}

# What the two clients of the API server that make Jobs and pods move have in common, one word a flag.
client_flags() { # COMPONENT
  printf -- '--%s\n' "kubeconfig=$state/$1.kubeconfig" "authentication-kubeconfig=$state/$1.kubeconfig" \
    "authorization-kubeconfig=$state/$1.kubeconfig" leader-elect=false kube-api-qps=500 kube-api-burst=1000
}

# Not through the caller's proxy, which knows nothing of this machine's loopback.
ask() { curl --silent --fail --noproxy '*' --max-time 2 --output /dev/null "$@"; }

serves() { # COMPONENT
  case $1 in
  registry) ask "http://$registry_address/v2/" ;;
  etcd) ask "http://$etcd_address/health" ;;
  containerd) ctr --address "$containerd_socket" --connect-timeout 1s version >/dev/null 2>&1 ;;
  apiserver) ask --cacert "$state/pki/ca.crt" "https://$apiserver_address/readyz" ;;
  controllers) ask --insecure "https://$controllers_health_address/healthz" ;;
  scheduler) ask --insecure "https://$scheduler_health_address/healthz" ;;
  kubelet) ask "http://$kubelet_health_address/healthz" ;;
  kueue) ask "http://$kueue_health_address/readyz" ;;
  esac
}

serves_or_ended() { serves "$1" || has_ended "$1"; }

# A component that ends while it starts is reported at once: it would not come by waiting.
wait_until_serves() { # COMPONENT
  if wait_until "$start_bound" serves_or_ended "$1" && is_running "$1"; then return 0; fi
  show_log_end "$1"
  if is_running "$1"; then fail "$1 does not answer after $start_bound s"; else fail "$1 ended while starting, see above"; fi
}

# The answer to a question that only an admin may ask, as JSON. Faster than kubectl, which starts a big program.
# The user agent, because the API server lays JSON out for reading when it sees curl's.
ask_as_admin() { # URL
  curl --user-agent abba-test-cluster --silent --fail --noproxy '*' --max-time 2 --cacert "$state/pki/ca.crt" --cert "$state/pki/admin.crt" \
    --key "$state/pki/admin.key" "$1"
}

# The built kubectl as admin, with nothing of the caller's and nothing written to ~/.kube.
kubectl_admin() {
  env -i PATH="$binaries" HOME="$state" KUBECACHEDIR="$state/kubectl-cache" \
    "$binaries/kubectl" --kubeconfig "$kubeconfig" --request-timeout 10s "$@"
}

# Ready, and without the taints that the controllers take away a moment later: only then pods are scheduled there.
node_is_ready() {
  local answer
  answer=$(ask_as_admin "https://$apiserver_address/api/v1/nodes/$node") || return 1
  [[ $answer == *'"type":"Ready","status":"True"'* && $answer != *node.kubernetes.io/not-ready* &&
    $answer != *node.kubernetes.io/unreachable* ]]
}

# A kubelet that has just started says of a pod that it does not know yet: not found, also to who wants its log.
# It gets all its pods at once, so knowing any is knowing all. Asked directly: the API server passes nothing to loopback.
node_knows_its_pods() {
  [[ $(ask_as_admin "https://$node:10250/pods") == *'"uid":'* ]] ||
    [[ $(ask_as_admin "https://$apiserver_address/api/v1/pods?limit=1&fieldSelector=spec.nodeName=$node") == *'"items":[]'* ]]
}

all_running() {
  local component
  for component in "${components[@]}"; do is_running "$component" || return 1; done
}

node_works_or_is_broken() { { node_is_ready && node_knows_its_pods; } || ! all_running; }

wait_until_node_ready() {
  local component
  if wait_until "$start_bound" node_works_or_is_broken && all_running; then return 0; fi
  # Whose log tells why: of those that ended, or, when all run, of any.
  for component in "${components[@]}"; do
    if all_running || ! is_running "$component"; then show_log_end "$component"; fi
  done
  for component in "${components[@]}"; do is_running "$component" || say "$component is not running"; done
  fail "the node is not Ready, see the logs' ends above"
}

# Runs a Job to its end. All who have a part in that watch the API server, and the node is ready before they all do again.
run_a_job() {
  local job=ready-$RANDOM$RANDOM
  wait_until "$start_bound" create_job "$job" || fail "no Job can be created"
  if ! wait_until 180 is_complete "$job"; then
    kubectl_admin --namespace "$namespace" describe jobs,pods --selector "job-name=$job" >&2
    fail "a Job does not run to its end within 180 s, see above"
  fi
  wait_until "$start_bound" kubectl_admin --namespace "$namespace" delete job "$job" --ignore-not-found --wait=false >/dev/null ||
    fail "the Job $job cannot be deleted"
}

job_url() { printf '%s' "https://$apiserver_address/apis/batch/v1/namespaces/$namespace/jobs/$1"; }

# After an outage all clients of the API server come back at once, and a request may have no answer for a while though it
# arrived.
create_job() { # JOB
  kubectl_admin --namespace "$namespace" create job "$1" --image "$r_image" -- true >/dev/null ||
    ask_as_admin "$(job_url "$1")" >/dev/null
}

is_complete() { # JOB
  [[ $(ask_as_admin "$(job_url "$1")") == *'"type":"Complete","status":"True"'* ]]
}

# The first pod of a namespace is refused until the controllers have made its default service account.
ensure_namespace() {
  local url=https://$apiserver_address/api/v1/namespaces/$namespace
  wait_until 30 has_or_makes_namespace "$url" || fail "namespace $namespace cannot be created"
  wait_until 30 ask_as_admin "$url/serviceaccounts/default" >/dev/null ||
    fail "namespace $namespace gets no default service account"
}

has_or_makes_namespace() { ask_as_admin "$1" >/dev/null || kubectl_admin create namespace "$namespace" >&2; }

ctr_pods() { ctr --address "$containerd_socket" --namespace k8s.io "$@"; }

# Otherwise the first test would wait for the pull.
pull_images() {
  local image
  for image in "$pause_image" "$r_image"; do
    ctr_pods images pull --plain-http "$image" >"$state/logs/pull.log" 2>&1 || { cat "$state/logs/pull.log" >&2; return 1; }
  done
}
