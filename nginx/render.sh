#!/bin/sh
# Prints nginx/klinecast.conf with its @NAMES@ filled in.
#
#   nginx/render.sh GATEWAY...      (each as host:port)
#
# Environment, with the defaults in brackets:
#   STATE                directory for pid and temporary files [/tmp/klinecast-nginx]
#   WEB                  directory of the built page [web/dist of this checkout]
#   LISTEN               address of the public side [127.0.0.1:8080]
#   ERROR_LOG            a file, or stderr [stderr]
#   WORKERS              worker processes [auto]
#   WORKER_CONNECTIONS   sockets per worker, clients and gateways together [65536]
#   OPEN_FILES           file descriptors per worker [WORKER_CONNECTIONS]
#   SHUTDOWN_SECONDS     how long old workers stay for their clients [3600]
#   HISTORY              history as host:port; without it, its paths answer 404 []
#   ALERTS               alerts as host:port; without it, rules and alerts answer 404 []
#   RUN_AS               user of the workers; only for a master that runs as root []
#   REAL_IP_FROM         addresses and networks of balancers before nginx, separated by
#                        spaces: their X-Forwarded-For has the client's address []
#   RESOLVER             name server that is asked again for the gateways' names,
#                        needs nginx 1.27.3 or newer []
set -eu

here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2; }

: "${STATE:=/tmp/klinecast-nginx}" "${WEB:=$here/../web/dist}" "${LISTEN:=127.0.0.1:8080}"
: "${ERROR_LOG:=stderr}" "${WORKERS:=auto}" "${WORKER_CONNECTIONS:=65536}"
: "${OPEN_FILES:=$WORKER_CONNECTIONS}" "${SHUTDOWN_SECONDS:=3600}" "${RUN_AS:=}" "${RESOLVER:=}" "${HISTORY:=}" "${ALERTS:=}"
: "${REAL_IP_FROM:=}"

servers=''
for gateway in "$@"; do
    servers="$servers${servers:+\\
        }server $gateway max_fails=1 fail_timeout=3s${RESOLVER:+ resolve};"
done
upstream='' route='return 404;'
if [ -n "$HISTORY" ]; then
    upstream="upstream history {\\
        zone history 64k;\\
        server $HISTORY${RESOLVER:+ resolve};\\
        keepalive 16;\\
    }"
    route='proxy_pass http://history;'
fi
alerts_upstream='' alerts_route='return 404;'
if [ -n "$ALERTS" ]; then
    alerts_upstream="upstream alerts {\\
        zone alerts 64k;\\
        server $ALERTS${RESOLVER:+ resolve};\\
        keepalive 4;\\
    }"
    alerts_route='proxy_pass http://alerts;'
fi
user=''
[ -z "$RUN_AS" ] || user="user $RUN_AS;"
resolver=''
[ -z "$RESOLVER" ] || resolver="resolver $RESOLVER valid=5s ipv6=off;"

real_ip=''
for network in $REAL_IP_FROM; do
    real_ip="${real_ip}set_real_ip_from $network; "
done
# From the right, the first address that is no balancer's: what is left of it is the client's own word.
[ -z "$real_ip" ] || real_ip="${real_ip}real_ip_header X-Forwarded-For; real_ip_recursive on;"

# Paths may hold any character but these two.
case "$STATE$WEB$ERROR_LOG" in
    *'|'* | *'"'*) echo "nginx/render.sh: a path holds | or \"" >&2; exit 2 ;;
esac

sed -e "s|@STATE@/\([a-z_.]*\)|\"$STATE/\1\"|" \
    -e "s|@WEB@|\"$WEB\"|" \
    -e "s|@ERROR_LOG@|\"$ERROR_LOG\"|" \
    -e "s|@LISTEN@|$LISTEN|" \
    -e "s|@WORKERS@|$WORKERS|" \
    -e "s|@WORKER_CONNECTIONS@|$WORKER_CONNECTIONS|" \
    -e "s|@OPEN_FILES@|$OPEN_FILES|" \
    -e "s|@SHUTDOWN_SECONDS@|$SHUTDOWN_SECONDS|" \
    -e "s|@USER@|$user|" \
    -e "s|@RESOLVER@|$resolver|" \
    -e "s|@REAL_IP@|$real_ip|" \
    -e "s|@HISTORY_UPSTREAM@|$upstream|" \
    -e "s|@HISTORY_ROUTE@|$route|" \
    -e "s|@ALERTS_UPSTREAM@|$alerts_upstream|" \
    -e "s|@ALERTS_ROUTE@|$alerts_route|" \
    -e "s|@GATEWAYS@|$servers|" \
    "$here/klinecast.conf"
