#!/usr/bin/env bash
# Writes the keys, certificates, tokens and kubeconfigs of the throw-away cluster, good for 30 days.
#   k8s/cluster/certificates.sh STATE
set -euo pipefail
state=$1
port=943
umask 077
mkdir -p "$state/pki"
cd "$state/pki"

signed() {  # NAME SUBJECT [EXTENSION]
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" -extfile <(echo "${3:-}")
}
token() {  # NAME GROUP: a user known by a token, and the kubeconfig to go with it
  local secret
  secret=$(openssl rand -hex 16)
  echo "$secret,$1,$1,$2" >>tokens.csv
  cat >"$state/$1.kubeconfig" <<Y
apiVersion: v1
kind: Config
clusters: [{name: nntrainer-cluster, cluster: {server: "https://127.0.0.1:$port", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {token: $secret}}]
contexts: [{name: $1, context: {cluster: nntrainer-cluster, user: $1, namespace: physics}}]
current-context: $1
Y
}
{
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout ca.key -out ca.crt -subj /CN=nntrainer-cluster
  signed apiserver /CN=kube-apiserver subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1
  signed kubelet-client /O=system:masters/CN=kubelet-client
  openssl genrsa -out sa.key 2048
  openssl rsa -in sa.key -pubout -out sa.pub
} 2>openssl.log || { cat openssl.log >&2; exit 1; }
for name in admin node; do token "$name" system:masters; done  # node: every part of the cluster itself
token alice physicists
