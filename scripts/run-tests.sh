#!/bin/sh
# run-tests.sh: runs the tests that `make test` has built: those of the whole system beside all others, as each of them waits
# for servers more than it computes. The output of the first comes when the others are through.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

# The integration tests of a member, as cargo has built them for the whole workspace: a selection of its own would unify
# features otherwise, and build most of it again.
whole_system=$($cargo test --workspace --locked --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"package_id":"[^"]*\/harness#[^"]*".*"name":"it".*"executable":"\([^"]*\)".*/\1/p')
[ -x "$whole_system" ] || {
    echo "run-tests: the tests of the whole system were not found among what cargo built" >&2
    exit 1
}
log=$(mktemp)
others=$(mktemp)
trap 'rm -f "$log" "$others"' EXIT

(cd harness && CARGO_MANIFEST_DIR=$(pwd) exec "$whole_system") >"$log" 2>&1 &
beside=$!
# Whichever of them is told to stop takes the other with it.
trap 'kill "$beside" 2>/dev/null; exit 1' INT TERM

failed=0
{ $cargo test --workspace --exclude harness --locked --no-fail-fast 2>&1 || echo "others failed"; } | tee "$others"
[ "$(tail -n 1 "$others")" != "others failed" ] || failed=1
wait "$beside" || failed=1
echo "     Running the tests of the whole system ($whole_system)"
cat "$log"
if [ "$failed" -ne 0 ]; then
    echo "     What failed, without the backtraces"
    awk '/panicked at/ { left = 40 } /[Ss]tack backtrace:/ { left = 0 } left-- > 0' "$others" "$log" | cut -c 1-1000
fi
exit "$failed"
