# shellcheck shell=bash
# Starting and ending the components' processes. A component's pid file holds who the process is, not only its number.

# A number is given to another process after a while; number, start time and boot together are not.
process_identity() { # PID
  local stat fields
  # The process may end at any moment, also between test and read.
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The program's name comes before, in brackets, and may hold spaces. What remains begins with field 3, the state.
  read -r -a fields <<<"${stat##*) }"
  [ "${fields[0]}" != Z ] || return 1
  printf '%s %s %s\n' "$1" "${fields[19]}" "$(</proc/sys/kernel/random/boot_id)"
}

# Prints the component's pid when it is running and really ours.
component_pid() { # COMPONENT
  local file=$state/pids/$1 identity
  [ -s "$file" ] || return 1
  identity=$(<"$file")
  [ "$(process_identity "${identity%% *}")" = "$identity" ] || return 1
  printf '%s\n' "${identity%% *}"
}

is_running() { component_pid "$1" >/dev/null; }

# Files that the caller has open (the lock, pipes of a test) must not stay open as long as the cluster runs.
close_inherited_files() {
  local descriptor
  for descriptor in "/proc/$BASHPID/fd/"*; do
    descriptor=${descriptor##*/}
    # bash closes its own, number 255, by itself.
    if ((descriptor > 2 && descriptor != 255)); then eval "exec $descriptor>&-"; fi
  done
}

# In a session of its own, with nothing of the caller's: environment (proxies, KUBECONFIG), files, ignored signals.
start_process() { # COMPONENT COMMAND...
  local component=$1
  shift
  (
    close_inherited_files
    cd /
    exec setsid env -i --default-signal=INT,QUIT PATH="$binaries:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
      HOME="$state" "$@" </dev/null >>"$state/logs/$component.log" 2>&1
  ) &
  process_identity "$!" >"$state/pids/$component" || true
}

has_ended() { ! is_running "$1"; }

# Asks politely, then insists: etcd and the API server would wait long for clients that watch something. Signal KILL
# insists at once.
end_process() { # COMPONENT SIGNAL
  local pid
  if pid=$(component_pid "$1"); then
    kill -s "$2" "$pid" || true
    if ! wait_until 5 has_ended "$1"; then
      kill -s KILL "$pid" || true
      wait_until 20 has_ended "$1" || fail "$1 (process $pid) does not end"
    fi
  fi
  rm -f "$state/pids/$1"
}

show_log_end() { # COMPONENT
  say "the end of $state/logs/$1.log:"
  tail -n 30 "$state/logs/$1.log" >&2
}
