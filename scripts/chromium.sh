#!/usr/bin/env bash
# Installs Debian's Chromium, in which tests open the report and the website (as root, where apt-get is), and prints
# where it is; a browser that is there already is taken as it is.
#   scripts/chromium.sh [--check]     --check only prints, and fails when there is none
set -euo pipefail
there() { command -v chromium || command -v google-chrome; }
there && exit 0
[ "${1:-}" != --check ] || exit 1
command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] \
  || { echo "no Chromium here: install the package chromium of your distribution" >&2; exit 1; }
# Without fonts a page has only boxes.
timeout 900 "$(dirname "$0")/apt_install.sh" chromium fonts-dejavu-core fonts-liberation >&2
there
