#!/bin/sh
# Install the Debian packages that the tests and the training use. Tests that lack a package are skipped with a reason.
set -eu
packages="espeak-ng libespeak-ng1 flite festival festvox-kallpc16k festvox-us-slt-hts ffmpeg sqlite3 strace e2fsprogs systemd tmux chromium postgresql redis-server rabbitmq-server"
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed (needs root and apt-get):$missing" >&2
    exit 0
fi
apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
