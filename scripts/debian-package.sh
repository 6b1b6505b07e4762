#!/bin/sh
# debian-package.sh PROGRAM FOLDER: makes the Debian package of a built lablet, and prints where it is. Needs dpkg-deb; and
# dpkg-shlibdeps (of dpkg-dev) where the program is linked dynamically. COMPRESSION=none packs quickly, for tests.
set -eu

if [ $# -ne 2 ] || [ ! -x "$1" ]; then
    echo "usage: $0 PROGRAM FOLDER" >&2
    exit 2
fi
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
mkdir -p "$2"
to=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
umask 022

# Two builds of one commit give the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$scratch/root

version=$("$program" --version | cut -d ' ' -f 2)-1
architecture=$(dpkg --print-architecture)

install -d "$root/usr/bin" "$root/usr/lib/systemd/system" "$root/usr/share/man/man1" "$root/DEBIAN"
install -m 0755 "$program" "$root/usr/bin/lablet"
strip --strip-unneeded "$root/usr/bin/lablet"
cp -R packaging/systemd/. "$root/usr/lib/systemd/system/"
"$program" manual --to "$root/usr/share/man/man1" >/dev/null
gzip -9n "$root"/usr/share/man/man1/*.1

install -d "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
    "$root/usr/share/fish/vendor_completions.d"
"$program" completions bash >"$root/usr/share/bash-completion/completions/lablet"
"$program" completions zsh >"$root/usr/share/zsh/vendor-completions/_lablet"
"$program" completions fish >"$root/usr/share/fish/vendor_completions.d/lablet.fish"

documents=$root/usr/share/doc/lablet
install -d "$documents" "$root/usr/share/lintian/overrides"
sed -e '/^@MIT@$/{' -e 'r LICENSE-MIT' -e 'd' -e '}' packaging/debian/copyright |
    awk '/^License: Expat$/ { text = 1; print; next } text { print ($0 == "" ? " ." : " " $0); next } { print }' \
        >"$documents/copyright"
install -m 0644 packaging/debian/README.Debian "$documents/README.Debian"
gzip -9nc CHANGELOG.md >"$documents/changelog.gz"
{
    printf 'lablet (%s) unstable; urgency=medium\n\n' "$version"
    printf '  * %s.\n\n' "$("$program" --version)"
    printf ' -- The Lablet project <lablet@example.org>  %s\n' "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$documents/changelog.Debian.gz"

install -d -m 0700 "$root/etc/lablet" "$root/etc/lablet/secrets"
install -m 0644 packaging/debian/lablet.env "$root/etc/lablet/lablet.env"
echo /etc/lablet/lablet.env >"$root/DEBIAN/conffiles"

if ldd "$program" 2>&1 | grep -qE 'not a dynamic executable|statically linked'; then
    depends=
    install -m 0644 packaging/debian/lintian-overrides "$root/usr/share/lintian/overrides/lablet"
else
    install -d "$scratch/debian"
    : >"$scratch/debian/control"
    depends=$(cd "$scratch" && dpkg-shlibdeps -O -e "$root/usr/bin/lablet" 2>/dev/null | sed 's/^shlibs:Depends=//')
    grep -v -e statically -e lacks-prerequisites -e 'One executable' packaging/debian/lintian-overrides >"$root/usr/share/lintian/overrides/lablet"
fi

size=$(du -k -s "$root" | cut -f 1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" -e "s/@DEPENDS@/$depends/" \
    -e '/^Depends: $/d' packaging/debian/control >"$root/DEBIAN/control"
for script in postinst prerm postrm; do
    install -m 0755 "packaging/debian/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr -type f -print | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums)

package=$to/lablet_${version}_$architecture.deb
dpkg-deb --root-owner-group "-Z${COMPRESSION:-xz}" --build "$root" "$package" >/dev/null
echo "$package"
