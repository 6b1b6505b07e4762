#!/bin/sh
# Licences, banned crates and sources need no network and are always checked. Advisories come from a database on
# the network: checked where it can be had, and said where not.
set -eu
cd "$(dirname "$0")/.."

deny=scripts/cargo-deny.sh

# Duplicates are known and reported by `cargo deny check` itself; here only what fails is of interest.
$deny --log-level error check --hide-inclusion-graph bans licenses sources

limit=
if command -v timeout >/dev/null 2>&1; then
    limit="timeout 120"
fi
if $limit $deny --log-level off fetch db </dev/null >/dev/null 2>&1; then
    $deny --log-level error check --disable-fetch advisories
else
    echo "check-dependencies: NOT CHECKED for advisories: their database could not be fetched" >&2
fi
