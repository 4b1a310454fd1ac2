# shellcheck shell=bash
# The container images, built with Debian's tools alone and kept as the data folder of the registry that serves them:
#   pause:1          keeps a pod's namespaces alive (catatonit, which is static)
#   r-base:4.2.2     Debian 12 (bookworm) with r-base-core, where the programs run
#   no-r:1           a shell and a few commands, but no R
#   never-pulled:1   r-base with one more big layer; `up` does not pull it, so that a test can watch a slow first pull

images_key() { { cat "$here/lib/images.sh" && uname -m; } | short_hash; }

images=$cache/images-$(images_key)

# Built elsewhere and moved into place at the end, so that an interrupted build is never taken for a whole one.
ensure_images() {
  [ ! -d "$images" ] || return 0
  say "building the images: about a minute, most of it for Debian's packages of R"
  rm -rf --one-file-system "$cache"/images-*.building
  mkdir -p "$images.building"
  # Not "build_images || fail": bash would then go on after a command that fails inside.
  build_images "$images.building" >&2
  mv "$images.building" "$images"
}

build_images() ( # FOLDER
  folder=$1
  work=$folder/work
  mkdir -p "$folder/registry" "$work"
  build_registry=
  built=
  notes=
  trap end_image_build EXIT

  say "images: Debian with R"
  make_r_layer "$work/r-base.tar"
  make_pause_layer "$work/pause.tar"
  make_shell_layer "$work/shell.tar"
  make_big_layer "$work/big.tar"

  say "images: putting them into a registry"
  umoci init --layout "$work/oci"
  path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  make_image pause "$work/pause.tar" -- --config.entrypoint /catatonit --config.entrypoint -P
  make_image r-base "$work/r-base.tar" -- --config.cmd R --config.env "PATH=$path" \
    --config.env LANG=C.UTF-8 --config.env TZ=UTC
  make_image no-r "$work/shell.tar" -- --config.cmd /bin/sh --config.env PATH=/bin
  umoci tag --image "$work/oci:r-base" never-pulled
  umoci raw add-layer --image "$work/oci:never-pulled" "$work/big.tar"

  start_build_registry
  # skopeo keeps notes there, with no setting for another place.
  if [ ! -e /var/lib/containers ]; then notes=/var/lib/containers; fi
  push_image pause pause:1
  push_image r-base r-base:4.2.2
  push_image no-r no-r:1
  push_image never-pulled never-pulled:1
  rm -r "$work"
  built=yes
)

end_image_build() {
  [ -z "$build_registry" ] || kill "$build_registry"
  [ -z "$notes" ] || rm -rf "$notes"
  [ -n "$built" ] || say "building the images failed, see above"
}

# The archive that this machine's own apt uses for Debian, so that a machine behind a mirror needs no setting.
debian_archive() {
  # shellcheck disable=SC2016  # apt-get fills these in, not the shell
  local format='$(ORIGIN) $(CODENAME) $(REPO_URI)'
  [ -n "$(apt-get indextargets --format "$format" 'Created-By: Packages')" ] || apt-get update >&2
  apt-get indextargets --format "$format" 'Created-By: Packages' |
    awk '$1 == "Debian" && $2 !~ /-/ && !found { print $3; found = 1 }'
}

# Documentation and translations are half of the size and no program of a test reads them; C.UTF-8 lies elsewhere.
make_r_layer() { # FILE
  local archive
  archive=$(debian_archive)
  [ -n "$archive" ] || fail "this machine's apt knows no Debian archive, so there is nothing to make the R image from"
  # With mounts of its own: those that it makes are gone when it is killed, and no later "rm" goes through them.
  TMPDIR=$work unshare --mount mmdebstrap --variant=minbase --include=r-base-core \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$1" "$archive"
}

make_pause_layer() { # FILE
  mkdir "$work/pause"
  cp "$(command -v catatonit)" "$work/pause/catatonit"
  # A dynamic program would find no libraries in an otherwise empty image.
  if ldd "$work/pause/catatonit" >/dev/null 2>&1; then fail "this machine's catatonit is not static"; fi
  tar --create --file "$1" --directory "$work/pause" --owner=0 --group=0 .
}

make_shell_layer() { # FILE
  local applet
  mkdir -p "$work/shell/bin" "$work/shell/tmp"
  cp "$(command -v busybox)" "$work/shell/bin/busybox"
  for applet in sh sleep cat echo ls true false env mkdir head yes; do ln -s busybox "$work/shell/bin/$applet"; done
  tar --create --file "$1" --directory "$work/shell" --owner=0 --group=0 .
}

# Data that does not compress, the same each time: zeros, encrypted with a known key. So much that pulling takes seconds.
make_big_layer() { # FILE
  mkdir -p "$work/big/opt"
  head --bytes=150M /dev/zero | openssl enc -aes-256-ctr -nosalt -pbkdf2 -pass pass:never-pulled >"$work/big/opt/noise"
  tar --create --file "$1" --directory "$work/big" --owner=0 --group=0 .
}

make_image() { # NAME LAYER -- CONFIGURATION...
  umoci new --image "$work/oci:$1"
  umoci raw add-layer --image "$work/oci:$1" "$2"
  umoci config --image "$work/oci:$1" "${@:4}"
}

# On a port that the system chooses, because a cluster with older images may be running on the usual one.
start_build_registry() {
  write_registry_configuration "$folder/registry" 127.0.0.1:0 false >"$work/registry.yml"
  docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
  build_registry=$!
  wait_until 30 grep -q 'listening on' "$work/registry.log" || { cat "$work/registry.log"; return 1; }
  build_registry_address=$(grep -o 'listening on [0-9.:]*' "$work/registry.log" | sed 's/.* //')
}

push_image() { # NAME TAG
  skopeo copy --quiet --dest-tls-verify=false "oci:$work/oci:$1" "docker://$build_registry_address/$2"
}

write_registry_configuration() { # FOLDER ADDRESS READONLY
  cat <<END
version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: "$1"}
  maintenance: {readonly: {enabled: $3}}
http: {addr: "$2"}
END
}
