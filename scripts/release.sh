#!/bin/sh
# release.sh FOLDER: builds lablet for this machine's kind of processor as one file that needs nothing of the system it runs
# on, not even a C library, and makes of it an archive, a Debian package, and their checksums. Needs Rust by rustup and
# musl-gcc (Debian: musl-tools); dpkg-deb for the package.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 FOLDER" >&2
    exit 2
fi
mkdir -p "$1"
to=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

target=$(uname -m)-unknown-linux-musl
command -v musl-gcc >/dev/null || { echo "release: musl-gcc is missing (Debian: apt-get install musl-tools)" >&2 && exit 1; }
rustup target add "$target"
$cargo build --release --locked -p cli --bin lablet --target "$target"
folder=$($cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
program=$folder/$target/release/lablet

if ! ldd "$program" 2>&1 | grep -qE 'not a dynamic executable|statically linked'; then
    echo "release: $program is linked dynamically" >&2
    exit 1
fi
version=$("$program" --version)
case $version in
*"commit unknown"*) echo "release: $version names no commit: build in a clone, or set LABLET_COMMIT" >&2 && exit 1 ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
name=lablet-$(echo "$version" | cut -d ' ' -f 2)-$(uname -m)-linux
install -d "$scratch/$name/man" "$scratch/$name/completions"
install -m 0755 "$program" "$scratch/$name/lablet"
strip --strip-unneeded "$scratch/$name/lablet"
"$program" manual --to "$scratch/$name/man" >/dev/null
for shell in bash zsh fish; do
    "$program" completions $shell >"$scratch/$name/completions/lablet.$shell"
done
cp -RL packaging/systemd packaging/helm "$scratch/$name/"
cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$scratch/$name/"
# Two builds of one commit give the same archive.
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
    --directory "$scratch" "$name" | gzip -9n >"$to/$name.tar.gz"

files=$name.tar.gz
if command -v dpkg-deb >/dev/null; then
    package=$(scripts/debian-package.sh "$program" "$to")
    files="$files $(basename "$package")"
    if command -v lintian >/dev/null; then
        lintian --fail-on error,warning "$package"
    fi
fi
# shellcheck disable=SC2086 # a list of names
(cd "$to" && sha256sum $files >SHA256SUMS)
echo "release: $version"
(cd "$to" && cat SHA256SUMS)
