#!/bin/sh
# Runs a build step with the building machine's certificates and pip configuration, where they were handed over as the build
# secrets `ca` and `pip`. They are never part of a layer.
set -eu
secrets=/run/secrets
if [ -s $secrets/ca ]; then
  export PIP_CERT=$secrets/ca
  export APT_CONFIG=/run/apt.conf
  echo "Acquire::https::CAInfo \"$secrets/ca\";" >$APT_CONFIG
  trap 'rm -f $APT_CONFIG' EXIT
fi
if [ -s $secrets/pip ]; then export PIP_CONFIG_FILE=$secrets/pip; fi
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DEBIAN_FRONTEND=noninteractive
"$@"
