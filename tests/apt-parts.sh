#!/usr/bin/env bash
# Install what no wheel brings: Chromium, iproute2, libfaketime, npm, OpenDKIM, Postfix's tools,
# PostgreSQL, Redis; and from npm the packages that check the letters.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"

missing() {
    command -v chromium >/dev/null || echo chromium
    command -v smtp-sink smtp-source >/dev/null || echo postfix
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null \
        || echo postgresql
    command -v ip bridge >/dev/null || echo iproute2
    command -v opendkim >/dev/null || echo opendkim
    command -v npm >/dev/null || echo npm
    command -v redis-server >/dev/null || echo redis-server
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || echo libfaketime
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@" \
        </dev/null >/dev/null
}

parts=$(missing)
if [ -n "$parts" ] && command -v apt-get >/dev/null && as_root true 2>/dev/null; then
    echo "Installing for the tests:" $parts
    # Only Postfix's tools are needed; without this answer its package sets up a mail server too.
    echo 'postfix postfix/main_mailer_type select No configuration' \
        | as_root debconf-set-selections 2>/dev/null || true
    apt update && apt install -y --no-install-recommends $parts fonts-liberation || true
fi

parts=$(missing)
if [ -n "$parts" ]; then
    echo "The tests need these Debian packages, which could not be installed here:" $parts >&2
    echo "As root: apt-get install" $parts >&2
    exit 1
fi

# node_modules is beside .venv, not under tests/, where every tool would search it.
wanted=$(dirname "${BASH_SOURCE[0]}")/letters node=$(dirname "${BASH_SOURCE[0]}")/../.node
if ! cmp -s "$wanted/package-lock.json" "$node/installed"; then
    mkdir -p "$node"
    cp "$wanted/package.json" "$wanted/package-lock.json" "$node"
    npm ci --prefix "$node" --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >/dev/null
    cp "$wanted/package-lock.json" "$node/installed"
fi
