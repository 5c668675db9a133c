#!/usr/bin/env bash
# Makes what a NATS cluster of one's own needs: an authority, a certificate that
# all members share, and a password for each role.
#
#   scripts/nats-credentials.sh FOLDER NAME...
#
# NAME is a host name or an address under which programs or members reach a
# member. The folder gets ca.pem, cert.pem, key.pem and passwords.env. What is
# there stays, and a role that has no password yet gets one, so that running it
# again changes nothing else; a certificate that is there and lacks a name is an
# error.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d'; exit 2; }
command -v openssl >/dev/null || { echo 'openssl is missing: install it (Debian: apt-get install openssl)' >&2; exit 1; }
folder="$1"
shift
umask 077
mkdir -p "$folder"
cd "$folder"

if [ -s cert.pem ]; then
    for name in "$@"; do
        case "$name" in
            *[!0-9.:]*) kind=-checkhost ;;
            *) kind=-checkip ;;
        esac
        if openssl x509 -in cert.pem -noout "$kind" "$name" | grep -q 'does NOT match'; then
            echo "$folder/cert.pem is not for $name: choose another folder, or delete this one to make everything anew" >&2
            exit 1
        fi
    done
else
    names=''
    for name in "$@"; do
        case "$name" in
            *[!0-9.:]*) names="$names,DNS:$name" ;;
            *) names="$names,IP:$name" ;;
        esac
    done
    # Members are servers to programs, and both to each other. The authority's key
    # is not kept: nobody can make a further member with it.
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -keyout ca.key -out ca.pem -subj '/CN=klinecast NATS' 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -keyout key.pem -out request.pem -subj '/CN=klinecast NATS member' 2>/dev/null
    printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n' \
        "${names#,}" >extensions
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 \
        -extfile extensions -out cert.new 2>/dev/null
    rm -f ca.key ca.srl request.pem extensions
    # Programs run as other users, and need the authority.
    chmod 644 ca.pem
    mv cert.new cert.pem
fi

touch passwords.env
missing=''
for role in MARKETDATA GATEWAY HISTORY ALERTS BRIDGE BROKER READER; do
    grep -q "^NATS_${role}_PASSWORD=" passwords.env || missing="$missing $role"
done
if [ -n "$missing" ]; then
    cp passwords.env passwords.new
    for role in $missing; do
        # The letter makes it a text for NATS whatever the digits are.
        printf 'NATS_%s_PASSWORD=p%s\n' "$role" "$(openssl rand -hex 24)"
    done >>passwords.new
    mv passwords.new passwords.env
fi
