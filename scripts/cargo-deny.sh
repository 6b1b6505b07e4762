#!/bin/sh
# Runs cargo-deny: the one on the PATH, else one of our own, built once into a cache outside of target/, so that
# `make clean` does not cost its build again.
set -eu

version=0.20.2
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/lablet/cargo-deny-$version

program=$(command -v cargo-deny) || program=$cache/bin/cargo-deny
if [ ! -x "$program" ]; then
    echo "setup: building cargo-deny $version into $cache, once; this takes a few minutes" >&2
    # Unoptimised: it runs for a second, and its release profile (fat LTO) would take three times as long to build.
    CARGO_PROFILE_DEV_DEBUG=false CARGO_TARGET_DIR=$cache/target \
        cargo install cargo-deny --version "$version" --locked --debug --root "$cache" >&2
    rm -rf "$cache/target"
fi
exec "$program" "$@"
