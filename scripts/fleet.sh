#!/usr/bin/env bash
# The whole system as separate processes on this machine:
# nats-server, exchange-sim, marketdata, history, alerts, three ws-gateways and nginx.
#
#   scripts/fleet.sh up | down | status
#
# Environment, with the defaults in brackets:
#   FEED            sim: from exchange-sim; live: from the real exchanges [sim]
#   GATEWAYS        number of gateways [3]
#   HOST            address that all programs but nginx listen on [127.0.0.1]
#   PUBLIC_HOST     address that nginx listens on [HOST]
#   PORT            nginx, the public side [8080]
#   GATEWAY_PORT    first gateway, the next ones follow [8081]
#   HISTORY_PORT    history [8090]
#   ALERTS_PORT     the HTTP API of alerts [8092]
#   ALERTS_TOKEN_FILE
#                   the token that changes rules; made if it is missing [RUN_DIR/alerts-token]
#   GATEWAY_ADMIN_PORT, MARKETDATA_ADMIN_PORT, SIM_ADMIN_PORT, HISTORY_ADMIN_PORT,
#   ALERTS_ADMIN_PORT
#                   [9101, 9110, 9120, 9130, 9150]
#   SIM_PORT        exchange-sim [9443]
#   NATS            servers of NATS: 1, or 3 for a cluster with TLS and a user for each role [1]
#   NATS_PORT, NATS_MONITOR_PORT, NATS_CLUSTER_PORT
#                   of the first server, the next ones follow [4222, 8222, 6222]
#   GATEWAY_ARGS, MARKETDATA_ARGS, SIM_ARGS, HISTORY_ARGS, ALERTS_ARGS
#                   more flags for the programs []
#   BIN_DIR         where the programs are [target/release]
#   WEB_DIR         the built page [web/dist]
#   RUN_DIR         PIDs, logs, NATS storage, history and alerts [.run]
#   KEEP=1          keep what NATS retained, and history and alerts stored, in the last run [start empty]
#   READY_SECONDS   longest time for each program to become ready [60]
#   DRAIN_SECONDS   longest time for each to stop; then it is killed [40]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH="$root/.tools/bin:$PATH:/usr/local/sbin:/usr/sbin"

: "${FEED:=sim}" "${GATEWAYS:=3}" "${HOST:=127.0.0.1}" "${PORT:=8080}"
: "${PUBLIC_HOST:=$HOST}" "${GATEWAY_PORT:=8081}" "${GATEWAY_ADMIN_PORT:=9101}"
: "${MARKETDATA_ADMIN_PORT:=9110}" "${SIM_PORT:=9443}" "${SIM_ADMIN_PORT:=9120}"
: "${NATS:=1}" "${NATS_PORT:=4222}" "${NATS_MONITOR_PORT:=8222}" "${NATS_CLUSTER_PORT:=6222}"
: "${HISTORY_PORT:=8090}" "${HISTORY_ADMIN_PORT:=9130}"
: "${ALERTS_PORT:=8092}" "${ALERTS_ADMIN_PORT:=9150}"
: "${GATEWAY_ARGS:=}" "${MARKETDATA_ARGS:=}" "${SIM_ARGS:=}" "${HISTORY_ARGS:=}" "${ALERTS_ARGS:=}"
: "${BIN_DIR:=$root/target/release}" "${WEB_DIR:=$root/web/dist}" "${RUN_DIR:=$root/.run}"
: "${KEEP:=}" "${READY_SECONDS:=60}" "${DRAIN_SECONDS:=40}"

mkdir -p "$RUN_DIR"
RUN_DIR=$(cd "$RUN_DIR" && pwd)
: "${ALERTS_TOKEN_FILE:=$RUN_DIR/alerts-token}"
# One line per process: name, port, admin URL or -, PID, start time of the PID, log.
table="$RUN_DIR/fleet.tsv"

say() { printf 'fleet: %s\n' "$*"; }
fail() {
    printf '\nfleet: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

# --- processes ---------------------------------------------------------------

# Distinguishes a process from a later one with the same PID.
started_at() {
    local stat
    if [ -r "/proc/$1/stat" ]; then
        stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
        stat=${stat##*) }
        # A zombie has ended; only its parent has not noticed yet.
        [ "${stat%% *}" != Z ] || return 1
        echo "$stat" | cut -d' ' -f20
    else
        LC_ALL=C ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' '_'
    fi
}

# alive PID START
alive() { [ "$(started_at "$1" 2>/dev/null)" = "$2" ]; }

# http_ok URL: true if it answers 200. Plain bash, as curl may not be installed.
http_ok() (
    url=${1#http://}
    host=${url%%:*} port=${url#*:} path=/${url#*/}
    exec 3<>"/dev/tcp/$host/${port%%/*}" || exit 1
    printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$host" >&3
    read -r -t 3 _ code _ <&3 && [ "$code" = 200 ]
) 2>/dev/null

# start NAME PORT READY_URL COMMAND...: starts a program and waits until it is ready.
start() {
    launch "$@"
    await "$1"
}

# launch NAME PORT READY_URL COMMAND...: starts a program.
launch() {
    local name="$1" port="$2" url="$3" log="$RUN_DIR/logs/$1.log" pid start
    shift 3
    say "starting $name"
    # Its own session, so that Ctrl-C at the terminal does not reach it.
    if command -v setsid >/dev/null; then set -- setsid "$@"; else set -- nohup "$@"; fi
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    start=$(started_at "$pid") || start=gone
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$port" "$url" "$pid" "$start" "$log" >>"$table"
}

# await NAME: waits until a program that was started is ready.
await() {
    local name="$1" url pid start log deadline
    IFS=$'\t' read -r _ _ url pid start log < <(awk -F '\t' -v name="$name" '$1 == name' "$table")
    deadline=$((SECONDS + READY_SECONDS))
    until http_ok "$url"; do
        if ! alive "$pid" "$start"; then
            gave_up "$name ended before it was ready" "$log"
        elif [ "$SECONDS" -ge "$deadline" ]; then
            gave_up "$name was not ready within $READY_SECONDS s ($url)" "$log"
        fi
        sleep 0.2
    done
}

gave_up() {
    printf '\nfleet: %s; the end of %s:\n' "$1" "$2" >&2
    tail -n 25 "$2" | sed 's/^/       | /' >&2
    down >&2 || true
    exit 1
}

# stop SIGNAL NAME-PATTERN: signals all that match at once, then waits for them.
stop() {
    local signal="$1" pattern="$2" name pid start left deadline
    while IFS=$'\t' read -r name _ _ pid start _; do
        # shellcheck disable=SC2254  # the pattern is a pattern
        case "$name" in
            $pattern) ! alive "$pid" "$start" || kill -s "$signal" "$pid" 2>/dev/null || true ;;
        esac
    done <"$table"
    deadline=$((SECONDS + DRAIN_SECONDS))
    while :; do
        left=''
        while IFS=$'\t' read -r name _ _ pid start _; do
            # shellcheck disable=SC2254
            case "$name" in
                $pattern) ! alive "$pid" "$start" || left="$left $name:$pid:$start" ;;
            esac
        done <"$table"
        [ -n "$left" ] || return 0
        [ "$SECONDS" -lt "$deadline" ] || break
        sleep 0.1
    done
    for name in $left; do
        IFS=: read -r name pid start <<<"$name"
        say "$name did not stop within $DRAIN_SECONDS s, killing it"
        ! alive "$pid" "$start" || kill -s KILL "$pid" 2>/dev/null || true
    done
}

# --- ports -------------------------------------------------------------------

# check_port PORT NAME VARIABLE
check_port() {
    local port="$1" name="$2" variable="$3" owner=''
    (exec 3<>"/dev/tcp/$HOST/$port") 2>/dev/null || return 0
    if command -v ss >/dev/null; then
        owner=$(ss -ltnpH "sport = :$port" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/ by \1 (PID \2)/p' | head -n 1)
    fi
    fail "port $port, which $name needs, is in use$owner" \
        "stop that program, or choose another port: $variable=$((port + 1000)) make fleet"
}

check_ports() {
    local i
    check_port "$PORT" nginx PORT
    for ((i = 0; i < NATS; i++)); do
        check_port $((NATS_PORT + i)) nats-server NATS_PORT
        check_port $((NATS_MONITOR_PORT + i)) "nats-server's monitor" NATS_MONITOR_PORT
        [ "$NATS" = 1 ] || check_port $((NATS_CLUSTER_PORT + i)) "nats-server's cluster" NATS_CLUSTER_PORT
    done
    if [ "$FEED" = sim ]; then
        check_port "$SIM_PORT" exchange-sim SIM_PORT
        check_port "$SIM_ADMIN_PORT" "exchange-sim's admin side" SIM_ADMIN_PORT
    fi
    check_port "$MARKETDATA_ADMIN_PORT" "marketdata's admin side" MARKETDATA_ADMIN_PORT
    check_port "$HISTORY_PORT" history HISTORY_PORT
    check_port "$HISTORY_ADMIN_PORT" "history's admin side" HISTORY_ADMIN_PORT
    check_port "$ALERTS_PORT" alerts ALERTS_PORT
    check_port "$ALERTS_ADMIN_PORT" "alerts' admin side" ALERTS_ADMIN_PORT
    for ((i = 0; i < GATEWAYS; i++)); do
        check_port $((GATEWAY_PORT + i)) "gateway $((i + 1))" GATEWAY_PORT
        check_port $((GATEWAY_ADMIN_PORT + i)) "gateway $((i + 1))'s admin side" GATEWAY_ADMIN_PORT
    done
}

# --- NATS ----------------------------------------------------------------------

# start_nats: one server, or a cluster of three.
start_nats() {
    local i routes='' server=(nats-server --addr "$HOST")
    # The whole check: with js-enabled-only it says ok while JetStream refuses writes.
    if [ "$NATS" = 1 ]; then
        start nats-server "$NATS_PORT" "http://$HOST:$NATS_MONITOR_PORT/healthz" \
            "${server[@]}" --config docker/nats.conf --port "$NATS_PORT" \
            --http_port "$NATS_MONITOR_PORT" --store_dir "$RUN_DIR/nats"
        return
    fi
    scripts/nats-credentials.sh "$RUN_DIR/nats-credentials" "$HOST" 127.0.0.1 localhost
    for ((i = 0; i < NATS; i++)); do
        routes="$routes,nats://$HOST:$((NATS_CLUSTER_PORT + i))"
    done
    # A server is healthy once it has found another one.
    for ((i = 0; i < NATS; i++)); do
        with_credentials launch "nats-server-$((i + 1))" $((NATS_PORT + i)) \
            "http://$HOST:$((NATS_MONITOR_PORT + i))/healthz" \
            "${server[@]}" --config docker/nats.cluster.conf --name "nats-$((i + 1))" \
            --port $((NATS_PORT + i)) --http_port $((NATS_MONITOR_PORT + i)) \
            --cluster "nats://$HOST:$((NATS_CLUSTER_PORT + i))" --routes "${routes#,}" \
            --store_dir "$RUN_DIR/nats/$((i + 1))"
    done
    for ((i = 1; i <= NATS; i++)); do await "nats-server-$i"; done
}

# with_credentials COMMAND...: with what docker/nats.cluster.conf takes from the environment. Only
# servers get all passwords.
with_credentials() {
    (
        set -a
        # shellcheck source=/dev/null
        . "$RUN_DIR/nats-credentials/passwords.env"
        NATS_TLS_CERT="$RUN_DIR/nats-credentials/cert.pem"
        NATS_TLS_KEY="$RUN_DIR/nats-credentials/key.pem"
        NATS_TLS_CA="$RUN_DIR/nats-credentials/ca.pem"
        "$@"
    )
}

# as ROLE COMMAND...: with the bus as the programs of this role see it. Passwords are in the
# environment: everybody may read the flags of a process.
as() {
    local role="$1" password i bus=''
    shift
    if [ "$NATS" = 1 ]; then
        KLINECAST_BUS="nats://$HOST:$NATS_PORT" "$@"
        return
    fi
    password=$(sed -n "s/^NATS_$(printf %s "$role" | tr '[:lower:]' '[:upper:]')_PASSWORD=//p" "$RUN_DIR/nats-credentials/passwords.env")
    for ((i = 0; i < NATS; i++)); do
        bus="$bus,tls://$role:$password@$HOST:$((NATS_PORT + i))"
    done
    KLINECAST_BUS="${bus#,}" KLINECAST_BUS_REPLICAS="$NATS" KLINECAST_MARKETDATA_BATCH_BARS=true \
        KLINECAST_BUS_CA_FILE="$RUN_DIR/nats-credentials/ca.pem" "$@"
}

# --- commands ----------------------------------------------------------------

up() {
    local i gateways=() running=0
    case "$FEED" in sim | live) ;; *) fail "FEED is sim or live, not $FEED" ;; esac
    case "$NATS" in 1 | 3) ;; *) fail "NATS is 1 or 3, not $NATS" ;; esac
    if [ -s "$table" ]; then
        while IFS=$'\t' read -r _ _ _ pid start _; do
            ! alive "$pid" "$start" || running=$((running + 1))
        done <"$table"
        if [ "$running" -gt 0 ]; then
            fail "it is running already ($running processes, see scripts/fleet.sh status)" \
                "stop it first: make fleet-down"
        fi
    fi
    for i in exchange-sim marketdata history alerts ws-gateway; do
        [ -x "$BIN_DIR/$i" ] || fail "$BIN_DIR/$i is missing" "build it first: make fleet does"
    done
    [ -f "$WEB_DIR/index.html" ] || fail "$WEB_DIR/index.html is missing" "build it first: make web"
    for i in nats-server nginx; do
        command -v "$i" >/dev/null || fail "$i is missing" "install it first: make fleet does"
    done
    check_ports

    rm -f "$table"
    rm -rf "$RUN_DIR/logs"
    [ -n "$KEEP" ] || rm -rf "$RUN_DIR/nats" "$RUN_DIR/history" "$RUN_DIR/alerts"
    mkdir -p "$RUN_DIR/logs" "$RUN_DIR/nats" "$RUN_DIR/nginx"
    # Every client needs a descriptor in its gateway and two in nginx.
    ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
    trap 'printf "\n"; say interrupted; down; exit 130' INT TERM

    start_nats

    local feed=() cache=()
    if [ "$FEED" = sim ]; then
        # shellcheck disable=SC2086  # the arguments are words
        start exchange-sim "$SIM_PORT" "http://$HOST:$SIM_ADMIN_PORT/readyz" \
            "$BIN_DIR/exchange-sim" --listen "$HOST:$SIM_PORT" \
            --admin-listen "$HOST:$SIM_ADMIN_PORT" $SIM_ARGS
        feed=(--sim "http://$HOST:$SIM_PORT")
        # In a Redis, simulated prices never mix with those of a market.
        cache=(--cache-prefix simulated:market_data)
    fi

    # shellcheck disable=SC2086
    as marketdata start marketdata - "http://$HOST:$MARKETDATA_ADMIN_PORT/readyz" \
        "$BIN_DIR/marketdata" --admin-listen "$HOST:$MARKETDATA_ADMIN_PORT" \
        ${feed[@]+"${feed[@]}"} $MARKETDATA_ARGS

    # shellcheck disable=SC2086
    as history start history "$HISTORY_PORT" "http://$HOST:$HISTORY_ADMIN_PORT/readyz" \
        "$BIN_DIR/history" --listen "$HOST:$HISTORY_PORT" \
        --admin-listen "$HOST:$HISTORY_ADMIN_PORT" --data-dir "$RUN_DIR/history/$FEED" \
        --history-trusted-proxy "$HOST" ${cache[@]+"${cache[@]}"} $HISTORY_ARGS

    # Its API changes rules, and clients reach it through nginx: it takes only requests with the token.
    # shellcheck disable=SC2086
    as alerts start alerts "$ALERTS_PORT" "http://$HOST:$ALERTS_ADMIN_PORT/readyz" \
        "$BIN_DIR/alerts" --listen "$HOST:$ALERTS_PORT" \
        --admin-listen "$HOST:$ALERTS_ADMIN_PORT" --data-dir "$RUN_DIR/alerts/$FEED" \
        --token-file "$ALERTS_TOKEN_FILE" --token-make $ALERTS_ARGS

    for ((i = 0; i < GATEWAYS; i++)); do
        # shellcheck disable=SC2086
        as gateway start "ws-gateway-$((i + 1))" $((GATEWAY_PORT + i)) "http://$HOST:$((GATEWAY_ADMIN_PORT + i))/readyz" \
            "$BIN_DIR/ws-gateway" --listen "$HOST:$((GATEWAY_PORT + i))" \
            --admin-listen "$HOST:$((GATEWAY_ADMIN_PORT + i))" --trusted-proxy "$HOST" $GATEWAY_ARGS
        gateways+=("$HOST:$((GATEWAY_PORT + i))")
    done

    render_nginx "${gateways[@]}"
    start nginx "$PORT" "http://$PUBLIC_HOST:$PORT/" \
        nginx -e stderr -p "$RUN_DIR/nginx" -c "$RUN_DIR/nginx/nginx.conf"

    trap - INT TERM
    status
    printf '\n  page       http://%s:%s/\n' "$PUBLIC_HOST" "$PORT"
    printf '  WebSocket  ws://%s:%s/ws\n' "$PUBLIC_HOST" "$PORT"
    printf '  history    http://%s:%s/api/v1/status\n' "$PUBLIC_HOST" "$PORT"
    printf '  alerts     http://%s:%s/api/v1/rules\n' "$PUBLIC_HOST" "$PORT"
    printf '             token for rules, which the page asks for: %s\n' "$(cat "$ALERTS_TOKEN_FILE")"
    printf '  feed       %s\n' "$([ "$FEED" = sim ] && echo 'simulated (exchange-sim); FEED=live for the real exchanges' || echo 'the real exchanges')"
    printf '  stop       make fleet-down\n\n'
}

render_nginx() {
    local files connections as=''
    files=$(ulimit -n)
    case "$files" in *[!0-9]*) files=65536 ;; esac
    connections=$((files < 65536 ? files : 65536))
    if [ "$(id -u)" = 0 ]; then
        # Workers run as the user nobody if it can read the page. It cannot in a
        # checkout below /root.
        as=root
        if command -v setpriv >/dev/null && setpriv --reuid=65534 --regid=65534 --clear-groups \
            test -r "$WEB_DIR/index.html" 2>/dev/null; then
            as='nobody nogroup'
            getent group nogroup >/dev/null 2>&1 || as=nobody
        fi
    fi
    STATE="$RUN_DIR/nginx" WEB="$WEB_DIR" LISTEN="$PUBLIC_HOST:$PORT" RUN_AS="$as" \
        WORKER_CONNECTIONS="$connections" OPEN_FILES="$files" HISTORY="$HOST:$HISTORY_PORT" \
        ALERTS="$HOST:$ALERTS_PORT" \
        nginx/render.sh "$@" >"$RUN_DIR/nginx/nginx.conf"
}

down() {
    if [ ! -s "$table" ]; then
        say "is not running"
        return 0
    fi
    # Clients get 1012 from their gateway before nginx stops. Marketdata writes
    # its checkpoints, and history stores the last bars, before NATS stops.
    say "stopping"
    stop TERM 'ws-gateway-*'
    stop QUIT nginx
    stop TERM marketdata
    stop TERM history
    # Before NATS, too: it publishes the last alerts.
    stop TERM alerts
    stop TERM exchange-sim
    stop TERM 'nats-server*'
    rm -f "$table"
    say "stopped; logs are in ${RUN_DIR#"$root"/}/logs"
}

status() {
    local name port url pid start log state
    if [ ! -s "$table" ]; then
        say "is not running"
        return 3
    fi
    printf '\n  %-14s %-6s %-8s %-9s %-36s %s\n' NAME PORT PID STATE 'METRICS OR STATUS' LOG
    while IFS=$'\t' read -r name port url pid start log; do
        if ! alive "$pid" "$start"; then
            state=ended
        elif http_ok "$url"; then
            state=ready
        else
            state=not-ready
        fi
        case "$name" in
            nginx) url=- ;;
            nats-server*) url="${url%/healthz*}/" ;;
            *) url="${url%/readyz}/metrics" ;;
        esac
        printf '  %-14s %-6s %-8s %-9s %-36s %s\n' "$name" "$port" "$pid" "$state" "$url" "${log#"$root"/}"
    done <"$table"
}

case "${1:-}" in
    up) up ;;
    down) down ;;
    status) status ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d'
        exit 2
        ;;
esac
