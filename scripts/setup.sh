#!/usr/bin/env bash
# Installs what a Debian machine still lacks for building Underpass, and, asked for by name, for its tests, linters and
# benchmarks.
# A machine that has everything is left alone: no package manager, no network, no root.
#
#   scripts/setup.sh [test] [lint] [bench] [deb] [test-deb] [guest]
set -euo pipefail

# Where tools are that an ordinary user's PATH does not show, and a toolchain that the shell does not know of yet.
PATH="$PATH:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin"
rust_wanted=1.88
dpdk_wanted=22.11

packages=(gcc libc6-dev make pkg-config libdpdk-dev libclang-dev)
components=()
crates=()
for extra in "$@"; do
    case $extra in
        test)
            packages+=(iproute2 iputils-ping traceroute iperf3 curl python3 python3-jsonschema tcpdump procps ethtool)
            packages+=(systemd bsdutils prometheus)
            packages+=(openssl openvpn wireguard-go wireguard-tools)
            packages+=(charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins)
            ;;
        lint) packages+=(shellcheck) components+=(fmt clippy) ;;
        deb) packages+=(dpkg-dev liblzma-dev) crates+=(cargo-deb) ;;
        test-deb) packages+=(mmdebstrap debian-archive-keyring systemd-container procps) ;;
        guest) packages+=(qemu-system-x86 mmdebstrap debian-archive-keyring genext2fs e2fsprogs iproute2 procps) ;;
        bench) packages+=(dpdk-dev iproute2 nftables ethtool) ;;
        *) echo "usage: scripts/setup.sh [test] [lint] [bench] [deb] [test-deb] [guest]" >&2; exit 2 ;;
    esac
done

die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# By what a package is wanted for, so that a DPDK built from source or another distribution will do.
provided() {
    case $1 in
        libdpdk-dev) pkg-config --exists "libdpdk >= $dpdk_wanted" 2>/dev/null ;;
        libclang-dev) [ -n "${LIBCLANG_PATH:-}" ] || installed libclang-dev || command -v clang ;;
        libc6-dev) installed libc6-dev || [ -e /usr/include/stdio.h ] ;;
        iproute2) command -v ip ;;
        iputils-ping) command -v ping ;;
        procps) command -v pgrep ;;
        systemd) command -v systemd-analyze ;;
        bsdutils) command -v script ;;
        python3-jsonschema) installed "$1" || python3 -c 'import jsonschema' 2>/dev/null ;;
        systemd-container) command -v systemd-nspawn ;;
        prometheus) command -v prometheus && command -v promtool ;;
        dpkg-dev) command -v dpkg-shlibdeps ;;
        liblzma-dev) pkg-config --exists liblzma || command -v cargo-deb ;;
        debian-archive-keyring) [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ;;
        dpdk-dev) command -v dpdk-testpmd ;;
        qemu-system-x86) command -v qemu-system-x86_64 ;;
        e2fsprogs) command -v resize2fs ;;
        nftables) command -v nft ;;
        wireguard-tools) command -v wg ;;
        strongswan-swanctl) command -v swanctl ;;
        libcharon-extra-plugins) [ -e /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so ] || installed "$1" ;;
        libstrongswan-standard-plugins) [ -e /usr/lib/ipsec/plugins/libstrongswan-openssl.so ] || installed "$1" ;;
        *) command -v "$1" ;;
    esac >/dev/null
}

lacking() {
    local package
    for package in "${packages[@]}"; do
        provided "$package" || echo "$package"
    done
}

toolchain() {
    command -v cargo >/dev/null || die \
        "there is no cargo. Install Rust $rust_wanted or later with rustup:" \
        "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" \
        "(curl is in Debian's package of that name), then run this again."
    local version
    version=$(cargo --version) || die "cargo is there but does not start; \`rustup default stable\` gives it a toolchain."
    version=$(cut -d' ' -f2 <<<"$version")
    if [ "$(printf '%s\n' "$rust_wanted" "$version" | sort -V | head -n1)" != "$rust_wanted" ]; then
        die "cargo is $version ($(command -v cargo)), but $rust_wanted or later is needed." \
            "Debian 12's own is older. With rustup: \`rustup update stable\`; without: https://rustup.rs"
    fi
    local component
    for component in "${components[@]}"; do
        cargo "$component" --version >/dev/null 2>&1 ||
            die "cargo $component is not there; \`rustup component add rustfmt clippy\` installs it."
    done
}

# These programs are for tests only: their services are not to start with them, nor whenever this machine does.
keep_quiet() {
    local package unit
    for package in "$@"; do
        case $package in
            charon-systemd) unit=/etc/systemd/system/strongswan.service ;;
            prometheus) unit=/etc/systemd/system/prometheus.service ;;
            *) continue ;;
        esac
        [ -e "$unit" ] || [ -L "$unit" ] || "${as_root[@]}" ln -s /dev/null "$unit"
    done
}

install() {
    command -v apt-get >/dev/null ||
        die "this is not a Debian. Install what these packages hold, then run this again: $*"
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die \
            "you are not root and there is no sudo. As root:" \
            "    apt-get update && apt-get install --no-install-recommends $*"
        as_root=(sudo)
        # Without a terminal nobody could type a password: fail at once and say so.
        [ -t 0 ] || as_root=(sudo -n)
    fi
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    echo "setup: installing $* (and what they need; this takes a minute)"
    keep_quiet "$@"
    "${apt[@]}" update || die "apt-get update failed; its message is above."
    "${apt[@]}" install --yes --no-install-recommends "$@" </dev/null >/dev/null ||
        die "apt-get could not install all of: $*"
}

# Programs that cargo builds.
install_crates() {
    local crate
    for crate in "${crates[@]}"; do
        command -v "$crate" >/dev/null && continue
        echo "setup: building $crate (this takes a minute or two)"
        cargo install --quiet --locked "$crate" || die "cargo could not install $crate; its message is above."
    done
}

toolchain
mapfile -t missing < <(lacking)
if [ "${#missing[@]}" != 0 ]; then
    install "${missing[@]}"
    mapfile -t missing < <(lacking)
    [ "${#missing[@]}" = 0 ] || die \
        "still lacking after installation: ${missing[*]}" \
        "(libdpdk-dev counts from version $dpdk_wanted; there is $(pkg-config --modversion libdpdk 2>/dev/null || echo none).)"
fi
install_crates
