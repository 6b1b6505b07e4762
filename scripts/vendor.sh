#!/bin/sh
# vendor.sh [FOLDER]: brings the scripts of others that lie in this repository, from the packages they are published
#     as, and checks both the packages and what is taken from them by the hashes below. FOLDER holds packages that
#     were fetched before; without it npm fetches them.
# vendor.sh --check: only compares what lies here with the hashes; needs neither npm nor network. A test runs it.
#
# To take another version: change its lines below, run this, and try the pages.
set -eu
cd "$(dirname "$0")/.."

# A package: name, version, and the SHA-256 of its archive.
packages='
htmx.org  2.0.11 165a2655073e9e6e55e307a7c74e8ebcdb76afb7701f9c16cfd106a13add408e
idiomorph 0.7.4  113bf6d2cbf8349c692e7e1f9c3db4c3d4d034d6adca19aeda5860b4c6bf34c1
axe-core  4.14.1 e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
'

# A file: package, its path there, its path here, and its SHA-256.
files='
htmx.org  dist/htmx.min.js        gateway/assets/vendor/htmx.min.js           d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717
htmx.org  LICENSE                 gateway/assets/vendor/htmx.LICENSE          d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38
idiomorph dist/idiomorph.min.js   gateway/assets/vendor/idiomorph.min.js      0eb0f881553bd509fe7a7e3064a1089141e089583c506c1217e885a2e608b4a4
idiomorph LICENSE                 gateway/assets/vendor/idiomorph.LICENSE     d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38
axe-core  axe.min.js              harness/vendor/axe.min.js                   29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c
axe-core  LICENSE                 harness/vendor/axe.LICENSE                  af175b9d96ee93c21a036152e1b905b0b95304d4ae8c2c921c7609100ba8df7e
axe-core  LICENSE-3RD-PARTY.txt   harness/vendor/axe.LICENSE-3RD-PARTY.txt    4f8563870d0fca38bbc3e00b6f670cb7fa9f380ba9f26a7f7d1184a6b18b1653
'

say() {
    echo "vendor: $*"
}

fail() {
    echo "vendor: $*" >&2
    exit 1
}

sha256_of() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum "$1"
    else
        shasum -a 256 "$1"
    fi | cut -d ' ' -f 1
}

# expect FILE HASH
expect() {
    [ -f "$1" ] || fail "$1 is missing; scripts/vendor.sh brings it"
    found=$(sha256_of "$1")
    [ "$found" = "$2" ] || fail "$1 is not what it should be: its SHA-256 is $found instead of $2"
}

check() {
    # A loop that reads from a here-document runs in this shell, so that its `fail` ends the script.
    while read -r package _ here hash; do
        [ -z "$package" ] || expect "$here" "$hash"
    done <<END
$files
END
    # What lies beside them without a hash came from somewhere else.
    for folder in gateway/assets/vendor harness/vendor; do
        for file in "$folder"/*; do
            case $file in
            */README.md) continue ;;
            esac
            case $files in
            *" $file "*) ;;
            *) fail "$file has no line in scripts/vendor.sh" ;;
            esac
        done
    done
}

case ${1:-} in
--check)
    check
    say "all files are as they were published"
    exit 0
    ;;
-*)
    echo "usage: $0 [--check | FOLDER]" >&2
    exit 2
    ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetched=${1:-}

while read -r package version hash; do
    [ -n "$package" ] || continue
    archive=$package-$version.tgz
    if [ -n "$fetched" ]; then
        cp "$fetched/$archive" "$work/$archive"
    else
        say "fetching $package $version"
        (cd "$work" && npm pack --silent "$package@$version" >/dev/null)
    fi
    expect "$work/$archive" "$hash"
    mkdir "$work/$package"
    tar -xzf "$work/$archive" -C "$work/$package"
done <<END
$packages
END

while read -r package there here hash; do
    [ -n "$package" ] || continue
    expect "$work/$package/package/$there" "$hash"
    mkdir -p "$(dirname "$here")"
    # Not cp alone: what an archive says of modes is no concern of this repository.
    cat "$work/$package/package/$there" >"$here"
done <<END
$files
END

check
say "brought: $(echo "$packages" | awk 'NF { printf "%s%s %s", comma, $1, $2; comma = ", " }')"
