#!/bin/sh
# Makes everything secret that docker-compose.yml reads, each a file of its own below secrets/, and .env where there is none.
# What is there stays, so it can be run again: after an upgrade, or with a file deleted whose secret is to be made anew.
#
#   scripts/compose-secrets.sh [--to FOLDER] [-- ARGUMENTS OF lablet bus-config, e.g. --team booking]
#
# The keys and certificates of the bus are made by `lablet bus-config`: by the executable that LABLET names, by the one on the
# path, or by the image, which is built for it.
set -eu

to=secrets
if [ "${1-}" = --to ]; then
    to=$2
    shift 2
fi
[ "${1-}" != -- ] || shift
settings=$(dirname "$to")/.env
here=$(dirname "$0")/..

# Only their owner looks into the folder. The files in it are open, as the users of the containers, who are others, are each
# given some of them.
umask 022
mkdir -p "$to/bus" "$to/control" "$to/serve" "$to/telemetry"
chmod 0700 "$to"

# What an .env of an earlier version holds, which servers know already.
earlier() {
    if [ -f "$settings" ]; then sed -n "s/^$1=//p" "$settings" | head -n 1; fi
}

keep() {
    # keep FILE TEXT
    if [ ! -s "$to/$1" ]; then
        printf '%s\n' "$2" >"$to/$1.draft"
        mv "$to/$1.draft" "$to/$1"
        echo "made $to/$1"
    fi
}

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

secret() {
    # secret FILE NAME-IN-AN-EARLIER-.env
    text=$(earlier "$2")
    keep "$1" "${text:-$(random)}"
}

secret owner-password POSTGRES_PASSWORD
secret app-password LABLET_APP_PASSWORD
secret projector-password LABLET_PROJECTOR_PASSWORD
secret analyst-password LABLET_ANALYST_PASSWORD
secret internal-api-key LABLET_INTERNAL_API_KEY
secret cml-password LABLET_CML_PASSWORD
for role in owner app projector; do
    keep "$role-database-url" "postgres://lablet_$role:$(cat "$to/$role-password")@postgres:5432/lablet"
done

bus_config() {
    if [ -n "${LABLET-}" ]; then
        "$LABLET" bus-config --to "$to/bus" "$@"
    elif command -v lablet >/dev/null; then
        lablet bus-config --to "$to/bus" "$@"
    else
        docker compose --project-directory "$here" build migrate
        docker run --rm --user "$(id -u):$(id -g)" --volume "$(cd "$to" && pwd):/secrets" lablet \
            bus-config --to /secrets/bus "$@"
    fi
}
bus_config --for-containers --server-name nats --server-name localhost --server-name 127.0.0.1 \
    --server-folder /etc/nats --store /data "$@"

hash() {
    # Of a file's text without the end of its line.
    tr -d '\n' <"$to/$1" | sha256sum | cut -d ' ' -f 1
}

if [ ! -f "$settings" ]; then
    keep admin-token "$(random)"
    sed -e "s/^LABLET_INTERNAL_API_KEY_HASHES=$/&controller:$(hash internal-api-key)/" \
        -e "s/^LABLET_ADMIN_TOKEN_HASHES=$/&admin:admin:$(hash admin-token)/" \
        "$here/.env.example" >"$settings"
    echo "made $settings"
fi
