# shellcheck shell=bash
# The other Debian that the package is checked on, with the R and the Rust that it has: Debian 13 (trixie), R 4.5 and
# rustc 1.85. A tree to build and check in (tools/test-current), and an image with R alone, where programs run.

current_suite=trixie

current_key() {
  {
    current_packages && uname -m && echo "$current_suite"
    declare -f ensure_current current_layer
  } | short_hash
}

# What the package needs there, and its check.
current_packages() {
  { sed '/^# Lint:/,$d' "$here/../../tools/debian-packages" && cat "$here/debian-packages-current"; } |
    sed 's/#.*//' | tr -s '[:space:]' '\n' | sed '/^$/d' | sort -u
}

# Only one builds; the cluster's own lock stays free meanwhile.
ensure_current() {
  local building=$current.building lock
  [ ! -d "$current" ] || return 0
  exec {lock}>"$cache/current.lock"
  flock "$lock"
  if [ ! -d "$current" ]; then
    say "building a tree and an image of Debian $current_suite: three minutes, most of them for Debian's packages"
    rm -rf --one-file-system "$cache"/current-*.building
    mkdir -p "$building/work"
    current_layer "$(current_packages | tr '\n' ',')" "$building/tree" >&2
    current_layer r-base-core "$building/work/layer.tar" >&2
    umoci init --layout "$building/work/oci"
    umoci new --image "$building/work/oci:r"
    umoci raw add-layer --image "$building/work/oci:r" "$building/work/layer.tar"
    umoci config --image "$building/work/oci:r" --config.cmd R --config.env LANG=C.UTF-8 --config.env TZ=UTC \
      --config.env PATH=/usr/local/bin:/usr/bin:/bin
    skopeo copy --quiet --insecure-policy "oci:$building/work/oci:r" "oci-archive:$building/image.tar:$current_image"
    rm -r "$building/work"
    mv "$building" "$current"
  fi
  exec {lock}>&-
}

current_layer() { # PACKAGES FOLDER OR FILE
  local archive
  archive=$(debian_archive)
  [ -n "$archive" ] || fail "this machine's apt knows no Debian archive, so there is nothing to make the tree from"
  TMPDIR=$current.building/work unshare --mount mmdebstrap --variant=minbase --include="${1%,}" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$current_suite" "$2" "$archive"
}

# Puts the image on the node, where it is not; its name.
import_current_image() {
  ensure_current
  [ -n "$(ctr_pods images list --quiet "name==$current_image")" ] || ctr_pods images import "$current/image.tar" >&2
  echo "$current_image"
}

current=$cache/current-$(current_key)
current_image=$registry_address/r-current:$(current_key)
