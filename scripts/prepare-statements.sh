#!/bin/sh
# Describes every statement of a `query!` against a freshly migrated database, into .sqlx: to be run after such a
# statement or a migration changed. Builds read .sqlx and need no database.
set -eu
cd "$(dirname "$0")/.."

cargo build --locked --package servers --bin with-database
target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
described=$(mktemp -d)
trap 'rm -rf "$described"' EXIT

# Crates whose statements are described; touched, as a macro is only expanded where its crate is compiled.
crates="app projections gateway cli"
packages=
for crate in $crates; do
    touch "$crate/src/lib.rs"
    packages="$packages --package $crate"
done
# shellcheck disable=SC2086
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$described" \
    "$target/debug/with-database" migrations cargo check --locked $packages

mkdir -p .sqlx
rm -f .sqlx/query-*.json
mv "$described"/query-*.json .sqlx/
