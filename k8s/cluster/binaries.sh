#!/usr/bin/env bash
# Makes what the cluster runs and prints the folder it is in: Kubernetes from Debian bookworm's own source, built with
# bookworm's Go; etcd, containerd, runc and the network plugins from its packages; two small images. All is unpacked
# aside, nothing is installed into the system, so no service of the system is started or replaced. The result is kept
# in the user's cache, keyed by what it is made of: seven minutes on two free cores, once.
#   k8s/cluster/binaries.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=1.20.2
key=$(cat "$0" "$here/image.py" "$here/reflect2.patch" <(dpkg --print-architecture) | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer/kubernetes
if [ -d "$cache/$key" ]; then echo "$cache/$key"; exit 0; fi

# shellcheck disable=SC2016  # the names are apt's
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' \
  | awk '$1 == "bookworm" && $2 == "main" {print $3; exit}')
[ -n "$mirror" ] || { echo "k8s-cluster: apt knows no mirror of Debian bookworm (main); this needs Debian 12" >&2; exit 1; }

mkdir -p "$cache"
find "$cache" -maxdepth 1 -name 'building.*' -mmin +180 -exec rm -rf {} +  # killed before they could tidy up
work=$(mktemp -d "$cache/building.XXXXXX")
echo "Fetching and building Kubernetes $version (seven minutes on two free cores, once; kept in $cache/$key)" >&2
exec 3>&1 4>&2 >"$work/build.log" 2>&1 </dev/null
finish() {
  local code=$?
  [ "$code" = 0 ] || tail -n 40 "$work/build.log" >&4
  chmod -R u+w "$work"  # Go makes folders read-only
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT
cd "$work"

# A configuration of apt of our own: it has source packages, and needs no root.
mkdir -p apt/lists/partial apt/cache/archives/partial debs root source bin
signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
printf '%s\n' "deb $signed $mirror bookworm main" "deb-src $signed $mirror bookworm main" >apt/sources.list
printf '%s\n' "Dir::Etc::sourcelist \"$work/apt/sources.list\";" 'Dir::Etc::sourceparts "-";' \
  "Dir::State::Lists \"$work/apt/lists\";" "Dir::Cache \"$work/apt/cache\";" 'APT::Sandbox::User "root";' >apt/apt.conf
export APT_CONFIG=$work/apt/apt.conf
apt-get -qq update
(cd debs && apt-get -qq download golang-1.19-go golang-1.19-src rsync libpopt0 libxxhash0 \
  etcd-server containerd runc containernetworking-plugins busybox-static)
for deb in debs/*.deb; do dpkg -x "$deb" root; done
(cd source && apt-get -qq source --download-only kubernetes && dpkg-source -x kubernetes_*"really$version"*.dsc k)
patch -d source/k -p1 <"$here/reflect2.patch"

printf '%s\n' "KUBE_GIT_COMMIT='debian'" "KUBE_GIT_TREE_STATE='archive'" "KUBE_GIT_VERSION='v$version'" \
  "KUBE_GIT_MAJOR='1'" "KUBE_GIT_MINOR='20'" >version.env
# Without docker and the clouds it is smaller and sooner built.
env -u GOFLAGS -u GOPATH HOME="$work/home" GOROOT="$work/root/usr/lib/go-1.19" GOCACHE="$work/gocache" GOPROXY=off \
  GOSUMDB=off CGO_ENABLED=0 PATH="$work/root/usr/lib/go-1.19/bin:$work/root/usr/bin:$PATH" \
  LD_LIBRARY_PATH="$work/root/usr/lib/$(gcc -print-multiarch)" KUBE_GIT_VERSION_FILE="$work/version.env" \
  nice -n 15 make -C source/k all GOFLAGS=-tags=providerless,dockerless \
  WHAT="cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kubelet cmd/kubectl"
gcc -Os -static -DVERSION=local -o pause source/k/build/pause/linux/pause.c

cp -L source/k/_output/bin/kube{-apiserver,-controller-manager,-scheduler,let,ctl} bin/
cp root/usr/bin/{etcd,containerd,containerd-shim-runc-v2,ctr} root/usr/sbin/runc root/usr/lib/cni/{ptp,host-local,loopback} bin/
python3 "$here/image.py" bin/pause.tar localhost/pause:1 /pause=pause
python3 "$here/image.py" bin/busybox.tar localhost/busybox:1 /bin/busybox=root/bin/busybox
mv -T bin "$cache/$key" || [ -d "$cache/$key" ]  # somebody else was quicker
echo "$cache/$key" >&3
