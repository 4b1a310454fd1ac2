# shellcheck shell=bash
# The components' configuration files, written anew at each cold start.

write_configurations() {
  write_registry_configuration "$images/registry" "$registry_address" true >"$state/registry.yml"
  write_containerd_configuration >"$state/containerd.toml"
  mkdir -p "$state/cni"
  write_pod_network_configuration >"$state/cni/10-pods.conflist"
  write_kubelet_configuration >"$state/kubelet.yaml"
}

# All folders are ours, so that a container runtime that the machine has otherwise is left alone.
# restrict_oom_score_adj: in some containers, root may not lower its score, and then no pod would start without it.
# netns_mounts_under_state_dir: what a killed containerd leaves is then found in one place.
write_containerd_configuration() {
  cat <<END
version = 2
root = "$state/containerd"
state = "$state/containerd-run"
disabled_plugins = [
  "io.containerd.internal.v1.restart", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "$containerd_socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "$state/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "$pause_image"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "$state/containerd-run/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$state/cni"
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."$registry_address"]
    endpoint = ["http://$registry_address"]
END
}

# Pods get an address, because Kubernetes wants one, on a bridge that leads nowhere: no route, no forwarding, no iptables.
write_pod_network_configuration() {
  cat <<END
{
  "cniVersion": "0.4.0",
  "name": "$pod_network",
  "plugins": [{
    "type": "bridge", "bridge": "$bridge", "isGateway": false, "ipMasq": false,
    "ipam": {"type": "host-local", "dataDir": "$state/cni-addresses", "ranges": [[{"subnet": "10.88.0.0/16"}]]}
  }]
}
END
}

# nodeStatusUpdateFrequency, nodeLeaseDurationSeconds: with --node-monitor-grace-period of the controller manager, a
#   lost node is noticed after 20 s instead of 45.
# clusterDNS: nobody serves there, but without an address each pod would get a warning event.
# makeIPTablesUtilChains: off, so that nothing of ours is in the machine's iptables.
# containerLogMaxSize: the default, written down because tests rely on it.
# containerLogMonitorInterval, volumeStatsAggPeriod: how often it looks whether a log or a volume has become too large,
#   which tests wait for; by default every 10 and 60 s.
# evictionHard: only for memory; a disk that is nearly full must not make the tests' pods disappear.
write_kubelet_configuration() {
  cat <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: 10250
healthzBindAddress: ${kubelet_health_address%:*}
healthzPort: ${kubelet_health_address#*:}
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: "$state/pki/ca.crt"}
authorization: {mode: AlwaysAllow}
tlsCertFile: "$state/pki/kubelet-server.crt"
tlsPrivateKeyFile: "$state/pki/kubelet-server.key"
containerRuntimeEndpoint: "unix://$containerd_socket"
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
podLogsDir: "$state/pod-logs"
volumePluginDir: "$state/kubelet/volume-plugins"
clusterDNS: [10.0.0.10]
clusterDomain: cluster.local
maxPods: 250
kubeAPIQPS: 500
kubeAPIBurst: 1000
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 10
containerLogMaxSize: 10Mi
containerLogMonitorInterval: 3s
volumeStatsAggPeriod: 5s
serializeImagePulls: false
registryPullQPS: 0
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi}
END
}
