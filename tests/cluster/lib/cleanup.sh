# shellcheck shell=bash
# Taking everything down, also what processes left that were killed. It looks at what is there, not at what should be.

# The folders outside $state that kubelet, containerd and the CNI plugins make, with no setting for another place.
outside_folders=(/var/lib/kubelet /var/log/containers /var/lib/cni /run/containerd)

# At a cold start: those that are not there yet are ours to remove at the end.
remember_missing_folders() {
  local folder
  for folder in "${outside_folders[@]}"; do
    if [ ! -e "$folder" ]; then echo "$folder"; fi
  done >"$state/missing-folders"
}

# Our programs with $state on their command line: components, also without pid file, runtime shims and runc.
our_processes() {
  local file program
  { grep --files-with-matches --null-data --fixed-strings -- "$state" /proc/[0-9]*/cmdline 2>/dev/null || true; } |
    while read -r file; do
      program=$(readlink "${file%/cmdline}/exe") || continue
      program=${program##*/}
      case ${program% (deleted)} in
      etcd | kube-apiserver | kube-controller-manager | kube-scheduler | kubelet | containerd | \
        containerd-shim-runc-v2 | runc | docker-registry | kueue)
        file=${file#/proc/}
        echo "${file%/cmdline}"
        ;;
      esac
    done
}

# Only those whose container or pod we know by its id: another container runtime on this machine has kubepods, too.
our_cgroups() {
  local name
  [ -d "$state" ] || return 0
  {
    find "$state/containerd-run/io.containerd.runtime.v2.task/k8s.io" -mindepth 1 -maxdepth 1 -printf '%f\n'
    find "$state/kubelet/pods" -mindepth 1 -maxdepth 1 -printf 'pod%f\n'
  } 2>/dev/null | while read -r name; do
    # cgroups come and go while find looks at them, which it takes for an error.
    find /sys/fs/cgroup -type d -name "$name" 2>/dev/null || true
  done || true
}

# Processes inside containers, which outlive a shim that was killed.
our_container_processes() {
  local cgroup
  our_cgroups | while read -r cgroup; do
    cat "$cgroup/cgroup.procs" 2>/dev/null || true
  done
}

# Again until none is left, because between listing and killing a process may have started another.
# Fails as long as there was something to kill, for wait_until.
kill_everything() {
  local pids
  mapfile -t pids < <(our_processes && our_container_processes)
  ((${#pids[@]})) || return 0
  kill -s KILL "${pids[@]}" 2>/dev/null || true
  return 1
}

our_mounts() { awk -v folder="$state/" 'index($5, folder) == 1 { print $5 }' /proc/self/mountinfo | tac; }

# The last mounted first. Lazily if need be: everything that could use it has been killed.
unmount_everything() {
  local mount
  our_mounts | while read -r mount; do
    # mountinfo writes spaces and the like as octal numbers.
    mount=$(printf '%b' "$mount")
    umount "$mount" 2>/dev/null || umount --lazy "$mount"
  done
  [ -z "$(our_mounts)" ] || fail "these mounts do not go away: $(our_mounts | tr '\n' ' ')"
}

remove_interfaces() {
  local interface
  ip link show "$bridge" >/dev/null 2>&1 || return 0
  ip -o link show master "$bridge" | sed 's/^[0-9]*: \([^@:]*\).*/\1/' | while read -r interface; do
    # The kernel may be removing it at this moment, with its network namespace.
    ip link delete "$interface" 2>/dev/null || true
  done
  ip link delete "$bridge"
}

# From the inside out; a cgroup that still holds someone else's process or child stays, because rmdir fails.
remove_cgroups() {
  local cgroup
  our_cgroups | while read -r cgroup; do
    find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
  find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null || true
}

# The sockets of the shims, whose place containerd has fixed; each shim's folder says which is its own.
remove_shim_sockets() {
  local file
  for file in "$state"/containerd-run/io.containerd.runtime.v2.task/k8s.io/*/address; do
    [ -f "$file" ] || continue
    file=$(<"$file")
    rm -f "${file#unix://}"
  done
}

# What the CNI library noted of pods that were killed. The notes on a pod's loopback are called the same for everyone's
# pods; inside stands where the pod's network namespace was mounted.
remove_pod_network_notes() {
  local notes=/var/lib/cni/results
  [ -d "$notes" ] || return 0
  { grep --files-with-matches --null --recursive --fixed-strings -- "\"$state/" "$notes" || true; } |
    xargs --null --no-run-if-empty rm -f
}

remove_outside_files() {
  local folder
  remove_shim_sockets
  remove_pod_network_notes
  # Links to the logs in $state/pod-logs.
  [ ! -d /var/log/containers ] || find /var/log/containers -type l -lname "$state/*" -delete
  [ ! -f "$state/missing-folders" ] || while read -r folder; do
    # Sockets and folders only: should another program have put files there meanwhile, they stay.
    [ ! -d "$folder" ] || find "$folder" -depth \( -type s -o -type d -empty \) -delete
    [ ! -d "$folder" ] || rm -f "$folder"/device-plugins/kubelet_internal_checkpoint
    [ ! -d "$folder" ] || find "$folder" -depth -type d -empty -delete
  done <"$state/missing-folders"
}

# Everything of a running or crashed cluster; certificates and logs stay.
take_everything_down() {
  rm -f "$state/complete"
  wait_until 60 kill_everything || fail "these processes do not end: $(our_processes | tr '\n' ' ')"
  unmount_everything
  remove_interfaces
  wait_until 10 remove_cgroups_until_gone || say "some cgroups stay: $(our_cgroups | tr '\n' ' ')"
  remove_outside_files
  # One file system only, should a mount have been overlooked that leads to someone's files.
  [ ! -d "$state" ] || find "$state" -mindepth 1 -maxdepth 1 ! -name pki ! -name logs ! -name lock \
    -exec rm -rf --one-file-system {} +
}

# A killed process leaves its cgroup a moment after it is gone.
remove_cgroups_until_gone() {
  remove_cgroups
  [ -z "$(our_cgroups)" ]
}
