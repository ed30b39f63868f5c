#!/usr/bin/env bash
# Unpack Debian's Exim into .exim/, since its package and Postfix's cannot both be installed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exim=$root/.exim/usr/sbin/exim4
parts=(exim4-daemon-light exim4-base exim4-config)

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

libraries() {
    apt-cache depends "${parts[0]}" | sed -n 's/^ *Depends: \(lib[^ ]*\)$/\1/p'
}

if ! [ -x "$exim" ]; then
    echo "Unpacking Exim for the relays"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (cd "$folder" && apt-get -qq download "${parts[@]}" 2>/dev/null) \
        || { as_root apt-get -qq update && (cd "$folder" && apt-get -qq download "${parts[@]}"); }
    for part in "$folder"/*.deb; do dpkg -x "$part" "$root/.exim"; done
fi
if ldd "$exim" | grep -q 'not found'; then
    # shellcheck disable=SC2046 # one word each
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        $(libraries) </dev/null >/dev/null
fi
# As its package does; Exim does not start where there is no such user.
getent passwd Debian-exim >/dev/null \
    || as_root useradd --system --user-group --no-create-home --shell /usr/sbin/nologin Debian-exim
