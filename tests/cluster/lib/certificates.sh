# shellcheck shell=bash
# The cluster's own certificate authority and what it signed, in $state/pki; kept over `down`, made when missing.

# Elliptic-curve keys, because they take no time to make.
make_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

# A key and a certificate: who it is (the subject: CN is the user, O the group) and under which addresses it serves.
make_certificate() { # NAME SUBJECT ALTERNATIVE-NAMES
  make_key "$1.key"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
    -extfile <(printf 'subjectAltName=%s\n' "$3") 2>/dev/null
  rm "$1.csr"
}

# Made in a folder of its own and moved into place, so that an interrupted run leaves no half authority.
ensure_certificates() {
  local pki=$state/pki
  # Made anew a month before the end, too.
  if [ -d "$pki" ] && openssl x509 -in "$pki/ca.crt" -noout -checkend 2592000 >/dev/null; then return 0; fi
  rm -rf "$pki" "$pki.building"
  mkdir -m 700 "$pki.building"
  (cd "$pki.building" && make_all_certificates)
  mv "$pki.building" "$pki"
}

make_all_certificates() {
  make_key ca.key
  openssl req -x509 -key ca.key -subj /CN=abba-test-cluster -days 3650 -out ca.crt
  make_certificate apiserver /CN=kube-apiserver \
    IP:127.0.0.1,IP:10.0.0.1,DNS:localhost,DNS:kubernetes.default.svc
  make_certificate kubelet-server "/CN=$node" "IP:$node"
  make_certificate kubelet "/O=system:nodes/CN=system:node:$node" DNS:kubelet
  # The group system:masters may do everything; different names show in logs who it was.
  make_certificate admin /O=system:masters/CN=admin DNS:admin
  make_certificate controllers /O=system:masters/CN=controllers DNS:controllers
  make_certificate scheduler /O=system:masters/CN=scheduler DNS:scheduler
  make_key service-accounts.key
  openssl pkey -in service-accounts.key -pubout -out service-accounts.pub
}

# With everything inside, so that a copy of the file works anywhere on this machine. Never the user's own ~/.kube/config.
write_kubeconfig() { # NAME
  local pki=$state/pki
  (
    umask 077
    cat >"$state/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters:
- name: test-cluster
  cluster:
    server: https://$apiserver_address
    certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$pki/$1.crt")
    client-key-data: $(base64 -w0 "$pki/$1.key")
contexts:
- name: test-cluster
  context: {cluster: test-cluster, user: $1, namespace: $namespace}
current-context: test-cluster
END
  )
}
