# shellcheck shell=bash
# Kueue, the queue for Jobs, as a component that is there only after `start kueue`: built from the Go module kueue/, with
# the resources and the webhooks that its own module describes. It acts on Jobs with a queue's label, and its webhooks
# are called for namespaces with $kueue_namespace_label only, so that no other test meets it.

kueue_module=$here/kueue
kueue_health_address=127.0.0.1:10262
kueue_webhook_address=127.0.0.1:10263
kueue_visibility_address=127.0.0.1:10264
kueue_namespace_label=abba-test-cluster/kueue

kueue_version() { sed -n 's/^.*sigs\.k8s\.io\/kueue \(v[^ ]*\).*/\1/p' "$kueue_module/go.mod"; }

# Without the version, the program would call itself "main".
kueue_linker_flags() { printf -- '-s -w -X sigs.k8s.io/kueue/pkg/version.GitVersion=%s' "$(kueue_version)"; }

# The manifests are made with it, so that the functions that make them are part of what it is.
kueue_key() {
  {
    cat "$kueue_module/go.mod" "$kueue_module/go.sum" && uname -m
    declare -f kueue_linker_flags ensure_kueue kueue_resources kueue_webhooks kueue_visibility kueue_client_config
    declare -p kueue_webhook_address kueue_visibility_address kueue_namespace_label
  } | short_hash
}

# Only one builds; the cluster's own lock stays free meanwhile, because this takes minutes.
ensure_kueue() {
  local building=$kueue.building lock
  [ ! -d "$kueue" ] || return 0
  exec {lock}>"$cache/kueue.lock"
  flock "$lock"
  if [ ! -d "$kueue" ]; then
    command -v go >/dev/null || fail "building Kueue needs Go ($(sed -n 's/^go //p' "$kueue_module/go.mod") or newer) on the PATH"
    say "building Kueue $(kueue_version): 3 minutes the first time on two cores, 10 s when Go still has the parts"
    rm -rf "$cache"/kueue-*.building
    mkdir -p "$building/bin"
    # Without libraries of the system, because it runs in a root folder of its own.
    (cd "$kueue_module" && CGO_ENABLED=0 go build -buildvcs=false -ldflags "$(kueue_linker_flags)" -o "$building/bin/" tool) >&2 ||
      fail "the Go build failed, see above"
    kueue_resources >"$building/resources.yaml"
    { kueue_webhooks && kueue_visibility; } >"$building/services.yaml"
    mv "$building" "$kueue"
  fi
  exec {lock}>&-
}

# A file of Kueue's module, below its folder config/components.
kueue_file() { echo "$(cd "$kueue_module" && go list -m -f '{{.Dir}}' sigs.k8s.io/kueue)/config/components/$1"; }

# The kinds of objects. Those that the module patches so are converted between their versions by a webhook.
kueue_resources() {
  local file name
  for file in "$(kueue_file crd)"/bases/*.yaml; do
    name=${file##*/kueue.x-k8s.io_}
    if grep --quiet --line-regexp --fixed-strings -- "- path: patches/webhook_in_$name" "$(kueue_file crd/kustomization.yaml)"; then
      sed 's|^spec:$|&\n  conversion:\n    strategy: Webhook\n    webhook:\n      clientConfig:\n'"$(kueue_client_config '        ' /convert)"'\n      conversionReviewVersions: [v1]|' "$file"
    else
      cat "$file"
    fi
  done
}

# Of the webhooks those for Jobs and for Kueue's own objects: no other kind of work is managed here.
kueue_webhooks() {
  awk -v client="$(kueue_client_config '    ' '%PATH%')" -v label="$kueue_namespace_label" '
    function give() {
      if (path ~ /-(kueue-x-k8s-io|batch-v1-job)/) {
        sub("%PATH%", path, item)
        printf "%s  namespaceSelector: {matchExpressions: [{key: %s, operator: Exists}]}\n", item, label
      }
      item = path = ""
    }
    /^---|^- / { give() }
    sub(/^  name: .*-configuration$/, "  name: kueue-" $2) || /^[^ ]/ && !/^- / { print; next }
    /^    service:/ { item = item client "\n"; next }
    /^      (name|namespace):/ { next }
    /^      path:/ { path = $2; next }
    { item = item $0 "\n" }
    END { give() }
  ' "$(kueue_file webhook/manifests.yaml)"
}

# The API that tells the places in a queue. The API server does not say to it who asks, since it has no certificate for
# that; but it has checked the rights before.
kueue_visibility() {
  local file
  for file in "$(kueue_file visibility)"/apiservice_*.yaml; do
    printf -- '---\n'
    sed "s|^    name: visibility-server|&\n    port: ${kueue_visibility_address#*:}|" "$file"
    echo
  done
  cat <<END
---
apiVersion: v1
kind: Namespace
metadata: {name: kueue-system}
---
apiVersion: v1
kind: Service
metadata: {name: visibility-server, namespace: kueue-system}
spec: {type: ExternalName, externalName: ${kueue_visibility_address%:*}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kueue-visibility}
rules:
- {apiGroups: [visibility.kueue.x-k8s.io], resources: ["*"], verbs: [get]}
- {nonResourceURLs: ["/apis/visibility.kueue.x-k8s.io/*", "/openapi/*"], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kueue-visibility}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kueue-visibility}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:anonymous"}]
END
}

# How the API server reaches Kueue, which is no service of the cluster: by URL. The authority is put in at the start.
kueue_client_config() { # INDENT PATH
  printf '%surl: https://%s%s\\n%scaBundle: %%AUTHORITY%%' "$1" "$kueue_webhook_address" "$2" "$1"
}

kueue_configuration() {
  cat <<END
apiVersion: config.kueue.x-k8s.io/v1beta2
kind: Configuration
namespace: kueue-system
health: {healthProbeBindAddress: "$kueue_health_address"}
metrics: {bindAddress: "0"}
webhook: {host: ${kueue_webhook_address%:*}, port: ${kueue_webhook_address#*:}, certDir: /visibility}
leaderElection: {leaderElect: false}
internalCertManagement: {enable: false}
clientConnection: {qps: 500, burst: 1000}
controller: {groupKindConcurrency: {Job.batch: 5, Workload.kueue.x-k8s.io: 5}}
manageJobsWithoutQueueName: false
managedJobsNamespaceSelector: {matchExpressions: [{key: $kueue_namespace_label, operator: Exists}]}
integrations: {frameworks: [batch/job]}
visibilityServer: {bindAddress: ${kueue_visibility_address%:*}, bindPort: ${kueue_visibility_address#*:}}
END
}

# What a running Kueue was started from.
kueue_recipe() {
  {
    echo "$kueue" && kueue_configuration
    declare -f start_kueue start_kueue_process apply_for_kueue wait_for_kueue
  } | short_hash
}

start_kueue() {
  if is_running kueue && [ "$(cat "$state/kueue/recipe" 2>/dev/null)" = "$(kueue_recipe)" ]; then
    wait_until_serves kueue
    return 0
  fi
  end_kueue TERM
  rm -rf "$state/kueue"
  mkdir "$state/kueue"
  [ -f "$state/pki/kueue.crt" ] || (cd "$state/pki" && make_certificate kueue /O=system:masters/CN=kueue IP:127.0.0.1)
  apply_for_kueue resources
  wait_for_kueue --for condition=Established --filename "$state/kueue/resources.yaml"
  start_kueue_process
  wait_until_serves kueue
  apply_for_kueue services
  wait_for_kueue --for condition=Available apiservice "${kueue_apis[@]}"
  kueue_recipe >"$state/kueue/recipe"
}

kueue_apis=(v1beta1.visibility.kueue.x-k8s.io v1beta2.visibility.kueue.x-k8s.io)

# First its API goes: while the API server knows of one that does not answer, no namespace can be removed.
end_kueue() { # SIGNAL
  if is_running kueue && serves apiserver; then
    wait_until 30 kubectl_admin delete apiservice --ignore-not-found "${kueue_apis[@]}" >/dev/null
  fi
  end_process kueue "$1"
}

# Server-side, because a kind's description is longer than the annotation of the other way may be.
apply_for_kueue() { # resources or services
  local file=$state/kueue/$1.yaml
  sed "s|%AUTHORITY%|$(base64 -w0 "$state/pki/ca.crt")|" "$kueue/$1.yaml" >"$file"
  wait_until "$start_bound" kubectl_admin apply --server-side --force-conflicts --filename "$file" >/dev/null
}

# kubectl gives up where one request has no answer, as many have none while all clients of the API server come back.
wait_for_kueue() { wait_until "$start_bound" kubectl_admin wait --timeout 60s "$@" >/dev/null; }

# Kueue reads certificates at places that no setting moves, /visibility and one in /etc: so it runs in a root folder that
# has these. There its other files lie under the path that they would have outside, by which `down` knows the process.
start_kueue_process() {
  local root=$state/kueue/root folder
  mkdir -p "$root$state" "$root/tmp"
  for folder in "$root/visibility" "$root/etc/kueue/metrics/certs"; do
    mkdir -p "$folder"
    cp "$state/pki/kueue.crt" "$folder/tls.crt"
    cp "$state/pki/kueue.key" "$folder/tls.key"
  done
  kueue_configuration >"$root$state/kueue.yaml"
  write_kubeconfig kueue
  mv "$state/kueue.kubeconfig" "$root$state/"
  cp --link "$kueue/bin/kueue" "$root$state/"
  start_process kueue chroot "$root" "$state/kueue" --config "$state/kueue.yaml" --kubeconfig "$state/kueue.kubeconfig"
}

kueue=$cache/kueue-$(kueue_key)
