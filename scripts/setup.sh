#!/bin/sh
# setup.sh up|test: brings what `make up` or `make test` needs and this machine lacks, with its package manager,
# and says what it does. Does nothing, and needs no network, where everything is there.
set -eu

purpose=${1:-up}
case $purpose in
up | test) ;;
*)
    echo "usage: $0 up|test" >&2
    exit 2
    ;;
esac

# The oldest supported versions.
postgres_oldest=15
nats_oldest=2.9

say() {
    echo "setup: $*"
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# at_least WANTED FOUND: compares major and minor.
at_least() {
    printf '%s %s\n' "$1" "$2" | awk '{
        split($1, wanted, "."); split($2, found, ".")
        exit !(found[1] + 0 > wanted[1] + 0 || (found[1] + 0 == wanted[1] + 0 && found[2] + 0 >= wanted[2] + 0))
    }'
}

# Where the servers crate looks too (servers/src/postgres/programs.rs).
postgres_is_there() {
    old_ifs=$IFS
    IFS=:
    for folder in /usr/lib/postgresql/*/bin $PATH /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
        /home/linuxbrew/.linuxbrew/opt/postgresql*/bin /usr/pgsql-*/bin; do
        IFS=$old_ifs
        if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
            version=$("$folder/postgres" --version | sed 's/.*(PostgreSQL) \([0-9]*\).*/\1/')
            if [ "${version:-0}" -ge "$postgres_oldest" ]; then
                return 0
            fi
        fi
    done
    IFS=$old_ifs
    return 1
}

# Where the servers crate looks too (servers/src/nats.rs). Debian puts it where ordinary users do not look.
nats_is_there() {
    program=$(PATH=$PATH:/usr/sbin:/usr/local/bin:/opt/homebrew/bin:/home/linuxbrew/.linuxbrew/bin \
        command -v nats-server) || return 1
    at_least "$nats_oldest" "$("$program" --version | sed 's/.*v\([0-9][0-9.]*\).*/\1/')"
}

# Where the browser of the tests looks too (harness/src/browser/chromium.rs).
chromium_is_there() {
    for program in chromium chromium-browser google-chrome google-chrome-stable \
        /Applications/Chromium.app/Contents/MacOS/Chromium \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        if has "$program"; then
            return 0
        fi
    done
    return 1
}

# Where the browser of the tests looks too.
chromedriver_is_there() {
    for program in chromedriver /usr/lib/chromium-browser/chromedriver /usr/lib/chromium/chromedriver; do
        if has "$program"; then
            return 0
        fi
    done
    return 1
}

# Without any font Chromium draws no text. Systems other than Linux have theirs.
fonts_are_there() {
    [ "$(uname -s)" != Linux ] ||
        find /usr/share/fonts /usr/local/share/fonts "${HOME:-/}/.fonts" "${HOME:-/}/.local/share/fonts" \
            \( -name '*.ttf' -o -name '*.otf' \) -print 2>/dev/null | grep -q .
}

venv_is_there() {
    has python3 && python3 -c 'import venv, ensurepip' >/dev/null 2>&1
}

# The tests bring their own for Linux on x86-64 (harness/src/kubernetes.rs).
helm_is_there() {
    [ "$(uname -sm)" = "Linux x86_64" ] || has helm
}

missing_things() {
    # Rust links with the system's C compiler.
    has cc || echo compiler
    postgres_is_there || echo postgres
    nats_is_there || echo nats
    if [ "$purpose" = test ]; then
        venv_is_there || echo python
        { has node && has npm; } || echo node
        has ps || echo ps
        chromium_is_there || echo chromium
        chromedriver_is_there || echo chromedriver
        fonts_are_there || echo fonts
        has promtool || echo promtool
        helm_is_there || echo helm
    fi
}

# What to tell people whose package manager this script does not know.
by_hand() {
    cat >&2 <<END
setup: missing here: $(echo "$missing" | tr '\n' ' ')
setup: please install what is missing:
setup:   compiler  a C compiler that answers to "cc"
setup:   postgres  Postgres $postgres_oldest or later, with initdb and postgres on the PATH
setup:             Fedora: dnf install postgresql-server; Arch: pacman -S postgresql; Alpine: apk add postgresql
setup:             Debian or Ubuntu with an older one: https://www.postgresql.org/download/linux/
setup:   nats      nats-server $nats_oldest or later on the PATH: https://github.com/nats-io/nats-server/releases
setup:   python    Python 3 with its venv module (for tests)
setup:   node      Node.js 18 or later with npm (for tests)
setup:   ps        the program ps (for tests)
setup:   chromium, chromedriver  Chromium and its ChromeDriver of the same version (for tests)
setup:             Fedora: dnf install chromium chromedriver; Arch: pacman -S chromium;
setup:             Alpine: apk add chromium chromium-chromedriver; macOS: brew install --cask chromium chromedriver
setup:             Ubuntu has them as a snap only, which cannot see the folders of tests: Chrome and its ChromeDriver
setup:             from https://googlechromelabs.github.io/chrome-for-testing/ on the PATH as google-chrome, chromedriver
setup:   fonts     any TrueType font, e.g. DejaVu (for tests)
setup:   promtool  the promtool of Prometheus (for tests); Debian: in the package prometheus
setup:   helm      Helm 3.18 or later (for tests): https://helm.sh/docs/intro/install
setup: or run everything in containers: cp .env.example .env, fill it in, docker compose up
END
    exit 1
}

with_apt() {
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || by_hand
        as_root=sudo
    fi
    packages=
    for thing in $missing; do
        case $thing in
        compiler) packages="$packages gcc libc6-dev" ;;
        postgres) packages="$packages postgresql" ;;
        nats) packages="$packages nats-server" ;;
        python) packages="$packages python3 python3-venv" ;;
        node) packages="$packages nodejs npm" ;;
        ps) packages="$packages procps" ;;
        promtool) packages="$packages prometheus" ;;
        helm) by_hand ;;
        # Ubuntu's package of this name brings a snap, whose Chromium cannot see the folders of tests.
        chromium | chromedriver)
            case $(. /etc/os-release && echo "$ID") in
            ubuntu) by_hand ;;
            esac
            ;;
        esac
        case $thing in
        chromium) packages="$packages chromium chromium-sandbox" ;;
        chromedriver) packages="$packages chromium-driver" ;;
        fonts) packages="$packages fonts-dejavu-core" ;;
        esac
    done
    say "installing with apt-get:$packages"
    $as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages </dev/null
    # The packages start servers of their own. Lablet runs private ones, so those are not left running.
    if [ -d /run/systemd/system ]; then
        for thing in $missing; do
            case $thing in
            postgres) service=postgresql ;;
            nats) service=nats-server ;;
            promtool) service=prometheus ;;
            *) continue ;;
            esac
            say "switching off the system's own service $service, which nothing here uses"
            $as_root systemctl disable --now "$service"
        done
    fi
}

with_homebrew() {
    for thing in $missing; do
        case $thing in
        compiler) by_hand ;;
        postgres) formula=postgresql@17 ;;
        nats) formula=nats-server ;;
        python) formula=python3 ;;
        promtool) formula=prometheus ;;
        helm) formula=helm ;;
        node) formula=node ;;
        ps | fonts) by_hand ;;
        # Casks of macOS; elsewhere Homebrew has neither.
        chromium | chromedriver)
            [ "$(uname -s)" = Darwin ] || by_hand
            formula="--cask $thing"
            ;;
        esac
        say "installing with Homebrew: $formula"
        # shellcheck disable=SC2086 # an option may come before the name
        brew install $formula </dev/null
    done
}

if ! has cargo; then
    echo "setup: Rust is missing: see https://rustup.rs" >&2
    exit 1
fi

missing=$(missing_things)
if [ -n "$missing" ]; then
    if has apt-get; then
        with_apt
    elif has brew; then
        with_homebrew
    else
        by_hand
    fi
    # A package may be older than what is needed, or its programs where nobody looks.
    missing=$(missing_things)
    [ -z "$missing" ] || by_hand
fi

if [ "$purpose" = test ]; then
    "$(dirname "$0")/cargo-deny.sh" --version >/dev/null
fi
say "everything is there"
