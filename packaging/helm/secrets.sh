#!/bin/sh
# secrets.sh: makes what the charts lablet, lablet-postgres and that of NATS read as Secrets, with nothing but lablet itself.
#
#   packaging/helm/secrets.sh --to FOLDER --namespace lablet --team booking
#   kubectl --namespace lablet apply --server-side -f FOLDER/secrets.yaml
#   helm install … -f FOLDER/secrets.values.yaml
#
# The folder is the state: passwords and keys that are there stay, and the command may run again, e.g. for another team.
# Keep it where you keep secrets. A file FOLDER/credentials.toml, the sign-ins of CML, becomes a Secret, too.
set -eu
umask 077

folder=
namespace=
teams=
lablet=lablet
database=lablet-postgres-rw
replica=lablet-postgres-ro
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || { echo "secrets: $1 needs a value" >&2 && exit 2; }
    case $1 in
    --to) folder=$2 ;;
    --namespace) namespace=$2 ;;
    --team) teams="$teams --team $2" ;;
    --lablet) lablet=$2 ;;
    --database-host) database=$2 ;;
    --replica-host) replica=$2 ;;
    *) echo "secrets: $1 is not known; see the head of $0" >&2 && exit 2 ;;
    esac
    shift 2
done
if [ -z "$folder" ] || [ -z "$namespace" ]; then
    echo "usage: $0 --to FOLDER --namespace NAME [--team NAME]... [--lablet PROGRAM] [--database-host NAME] [--replica-host NAME]" >&2
    exit 2
fi

mkdir -p "$folder/passwords"
names="--server-name nats --server-name nats.$namespace --server-name nats.$namespace.svc"
names="$names --server-name nats.$namespace.svc.cluster.local"
for node in 0 1 2; do
    # By these names the nodes of the bus reach each other.
    names="$names --server-name nats-$node.nats-headless"
done
# shellcheck disable=SC2086 # lists of words
"$lablet" bus-config --to "$folder/bus" $names $teams >/dev/null

# password NAME: made once; letters and digits, as it stands in an address.
password() {
    [ -s "$folder/passwords/$1" ] || od -An -N 24 -tx1 /dev/urandom | tr -d ' \n' >"$folder/passwords/$1"
    cat "$folder/passwords/$1"
}

# secret NAME TYPE: the beginning of a Secret, which keys follow.
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n' "$1"
    # The operator of Postgres and the reloader of NATS look again when it changes.
    printf '  labels: { cnpg.io/reload: "true" }\ntype: %s\ndata:\n' "$2"
}

key() {
    printf '  %s: %s\n' "$1" "$(base64 | tr -d '\n')"
}

{
    echo "# Written by packaging/helm/secrets.sh."
    for role in owner app projector analyst; do
        secret "lablet-database-$role" kubernetes.io/basic-auth
        printf 'lablet_%s' "$role" | key username
        password "$role" | key password
        printf 'postgres://lablet_%s:%s@%s:5432/lablet?sslmode=verify-full&sslrootcert=/etc/lablet/database-ca/ca.crt' \
            "$role" "$(password "$role")" "$database" | key url
    done
    secret lablet-database-replica Opaque
    printf 'postgres://lablet_app:%s@%s:5432/lablet?sslmode=verify-full&sslrootcert=/etc/lablet/database-ca/ca.crt' \
        "$(password app)" "$replica" | key url
    secret lablet-bus Opaque
    for user in operator commands projector relay webhooks controller; do
        key "$user.nk" <"$folder/bus/users/$user.nk"
    done
    key ca.pem <"$folder/bus/tls/ca.pem"
    secret lablet-bus-server Opaque
    key users.conf <"$folder/bus/users.conf"
    for file in ca.pem server.pem server.key; do
        key "$file" <"$folder/bus/tls/$file"
    done
    secret lablet-internal-api-key Opaque
    password internal-api-key | key key
    if [ -s "$folder/credentials.toml" ]; then
        secret lablet-cml Opaque
        key credentials.toml <"$folder/credentials.toml"
    fi
} >"$folder/secrets.yaml"

hash=$(password internal-api-key | { sha256sum 2>/dev/null || shasum -a 256; } | cut -d ' ' -f 1)
cat >"$folder/secrets.values.yaml" <<END
# Written by packaging/helm/secrets.sh. No secret is in it.
secrets:
  database:
    owner: lablet-database-owner
    app: lablet-database-app
    projector: lablet-database-projector
    replica: lablet-database-replica
    authority: lablet-postgres-ca
  bus: lablet-bus
  internalApiKey: lablet-internal-api-key
  cml: lablet-cml
serve:
  settings:
    LABLET_INTERNAL_API_KEY_HASHES: controller:$hash
END
echo "secrets: $folder/secrets.yaml and $folder/secrets.values.yaml are written"
if [ ! -s "$folder/credentials.toml" ]; then
    echo "secrets: put the sign-ins of CML into $folder/credentials.toml and run this again, or set control.enabled=false"
fi
