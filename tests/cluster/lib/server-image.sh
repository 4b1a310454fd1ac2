# shellcheck shell=bash
# The image of the abba server, as inst/deploy/image/Containerfile describes it, built with the tools that build the other
# images: Debian's packages and kubectl once, and kept; the package abba, which changes, as a layer on top.

deploy_image=$here/../../inst/deploy/image

server_base_key() {
  {
    cat "$deploy_image/debian-packages" "$deploy_image/set-up" && uname -m && binaries_key
    declare -f ensure_server_base server_layer
  } | short_hash
}

# Only one builds; the cluster's own lock stays free meanwhile.
ensure_server_base() {
  local building=$server_base.building lock layer
  [ ! -d "$server_base" ] || return 0
  exec {lock}>"$cache/server-image.lock"
  flock "$lock"
  if [ ! -d "$server_base" ]; then
    say "building the image of the abba server: about a minute, most of it for Debian's packages"
    rm -rf --one-file-system "$cache"/server-image-*.building
    mkdir -p "$building/kubectl/usr/local/bin"
    layer=$building/layer.tar
    server_layer "$layer" >&2
    cp "$binaries/kubectl" "$building/kubectl/usr/local/bin/"
    tar --create --file "$building/kubectl.tar" --directory "$building/kubectl" --owner=0 --group=0 usr
    umoci init --layout "$building/oci"
    umoci new --image "$building/oci:base"
    umoci raw add-layer --image "$building/oci:base" "$layer"
    umoci raw add-layer --image "$building/oci:base" "$building/kubectl.tar"
    # As the Containerfile's last lines.
    umoci config --image "$building/oci:base" --config.user 900:900 \
      --config.env PATH=/usr/local/bin:/usr/bin:/bin --config.env LANG=C.UTF-8 --config.env TZ=UTC \
      --config.cmd Rscript --config.cmd --vanilla --config.cmd /etc/abba/server.R
    rm -r "$layer" "$building/kubectl" "$building/kubectl.tar"
    mv "$building" "$server_base"
  fi
  exec {lock}>&-
}

server_layer() { # FILE
  local archive packages
  archive=$(debian_archive)
  [ -n "$archive" ] || fail "this machine's apt knows no Debian archive, so there is nothing to make the server's image from"
  packages=$(sed 's/#.*//' "$deploy_image/debian-packages" | tr -s '[:space:]' ',')
  # shellcheck disable=SC2016  # the hook's shell fills in where the image is
  TMPDIR=$(dirname "$1") unshare --mount mmdebstrap --variant=minbase --include="${packages#,}" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='chroot "$1" sh -s <'"'$deploy_image/set-up'" bookworm "$1" "$archive"
}

# Puts the image with an installed package abba on the node, where it is not; its name.
import_server_image() { # FOLDER OF THE INSTALLED PACKAGE
  local name
  [ -f "${1-}/DESCRIPTION" ] || fail "which installed package? the folder library/abba"
  name=$registry_address/abba-server:$( (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum && echo "$server_base") | short_hash)
  ensure_server_base
  [ -n "$(ctr_pods images list --quiet "name==$name")" ] || put_package_on_top "$1" "$name" >&2
  echo "$name"
}

put_package_on_top() ( # FOLDER NAME
  work=$(mktemp --directory "$cache/server-image-work.XXXXXX")
  trap 'rm -rf --one-file-system "$work"' EXIT
  mkdir -p "$work/package/usr/local/lib/R/site-library"
  cp --recursive "$1" "$work/package/usr/local/lib/R/site-library/abba"
  tar --create --file "$work/package.tar" --directory "$work/package" --owner=0 --group=0 usr
  cp --recursive "$server_base/oci" "$work/oci"
  umoci raw add-layer --image "$work/oci:base" "$work/package.tar"
  skopeo copy --quiet --insecure-policy "oci:$work/oci:base" "oci-archive:$work/image.tar:$2"
  ctr_pods images import "$work/image.tar"
)

server_base=$cache/server-image-$(server_base_key)
