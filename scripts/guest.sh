#!/usr/bin/env bash
# A virtual machine with Debian's kernel, for what the kernel of this machine may lack (PPP, L2TP, ESP, GRE, WireGuard)
# and for NICs that QEMU emulates. This machine's own network is not touched, and once the image is made none is needed.
#
#   scripts/guest.sh build              make the image, if it is not there or was made by another version of this file
#   scripts/guest.sh run COMMAND [...]  run a command in it, as root; its output and its exit status are the command's
#
# The command finds this repository and cargo's target directory where they are here, so that a test that was built here
# runs there. What else it writes is forgotten.
#
#   GUEST_LIMIT=1800        seconds until the machine is switched off
#   GUEST_CPUS=2  GUEST_MEMORY=2048 (MB)
#   GUEST_NICS=1            four NICs: 52:54:00:00:00:01 and :02 with two queues and RSS, joined with :03 and :04
#   GUEST_MIRROR=URL        Debian packages from elsewhere
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$here/target}")
guest=$target/guest
PATH="$PATH:/usr/sbin:/sbin"
mirror=${GUEST_MIRROR:-http://deb.debian.org/debian}
suite=bookworm # as where the tests are built: they take its libraries

packages=(
    linux-image-amd64 initramfs-tools zstd kmod mount procps util-linux netbase
    librte-meta-net librte-meta-bus librte-meta-mempool
    iproute2 iputils-ping traceroute iperf3 curl python3 tcpdump ethtool pciutils openssl
    ppp pptp-linux pptpd xl2tpd wireguard-tools
    charon-systemd strongswan-swanctl openiked
)

# Its first process runs what it finds in the folder that it gets, and switches off.
# shellcheck disable=SC2016  # its own shell expands it
first='#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t tmpfs none /tmp
mount -t tmpfs none /run
ip link set lo up
share() {
    mkdir -p "$2" && mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose "$1" "$2"
}
stty -F /dev/ttyS1 -opost
share job /mnt && (. /mnt/run) </dev/null >/dev/ttyS1 2>&1
echo $? >/mnt/status
sync
echo o >/proc/sysrq-trigger
exec sleep infinity
'

# To reach the disk and the folders; the rest is on the disk.
modules='virtio_pci
virtio_blk
ext4
9p
9pnet_virtio'

die() {
    printf 'guest: %s\n' "$@" >&2
    exit 1
}

scratch() {
    mkdir -p "$guest"
    scratch=$(mktemp -d "$guest/$1.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
}

build() {
    local stamp list
    stamp=$({ cat "$here/scripts/guest.sh" && echo "$mirror"; } | sha256sum)
    if [ "$(cat "$guest/stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
    echo "guest: making the image of a Debian machine; this takes some minutes" >&2
    rm -f "$guest/stamp"
    scratch build
    list=$(IFS=, && echo "${packages[*]}")
    printf '%s' "$first" >"$scratch/first"
    printf '%s\n' "$modules" >"$scratch/modules"
    printf 'MODULES=list\n' >"$scratch/initramfs"
    # shellcheck disable=SC2016  # $1 is for mmdebstrap's shell
    mmdebstrap --variant=apt --format=ext2 --include="$list" --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/gpu/*' \
        --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/media/*' \
        --dpkgopt='path-exclude=/lib/modules/*/kernel/sound/*' \
        --customize-hook="upload $scratch/first /sbin/first" --customize-hook='chmod 755 "$1/sbin/first"' \
        --customize-hook="upload $scratch/modules /etc/initramfs-tools/modules" \
        --customize-hook="upload $scratch/initramfs /etc/initramfs-tools/conf.d/guest" \
        --customize-hook='chroot "$1" update-initramfs -u' \
        --customize-hook="download /vmlinuz $scratch/kernel" \
        --customize-hook="download /initrd.img $scratch/initrd" \
        "$suite" "$scratch/disk" "$mirror" >"$guest/build.log" 2>&1 ||
        die "the image cannot be made; the end of $guest/build.log:" "$(tail -n 20 "$guest/build.log")"
    # With some room: it is made as small as can be. (1: the check has mended something.)
    truncate -s +256M "$scratch/disk"
    e2fsck -fy "$scratch/disk" >>"$guest/build.log" 2>&1 || [ $? = 1 ]
    resize2fs "$scratch/disk" >>"$guest/build.log" 2>&1
    mv "$scratch"/{kernel,initrd,disk} "$guest"
    echo "$stamp" >"$guest/stamp"
    rm -rf "$scratch"
}

# KVM where this CPU has it; else QEMU translates, many times slower.
accel=("tcg,thread=multi" -cpu max) slowness=6
if [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then accel=(kvm -cpu host) slowness=1; fi

# Two wires in a network of QEMU's own, each with a NIC that has queues at one end and an ordinary one at the other.
nics() {
    local wire end last=0
    sysctl -qw net.ipv6.conf.default.disable_ipv6=1 2>/dev/null || true
    for wire in lan wan; do
        last=$((last + 1))
        ip link add "$wire-wire" type bridge forward_delay 0 mcast_snooping 0
        ip tuntap add "$wire-nic" mode tap multi_queue
        ip tuntap add "$wire-far" mode tap
        for end in nic far; do ip link set "$wire-$end" master "$wire-wire" up; done
        ip link set "$wire-wire" up
        more+=(
            -netdev "tap,id=$wire-nic,ifname=$wire-nic,script=no,downscript=no,queues=2,vhost=off"
            -device "virtio-net-pci,netdev=$wire-nic,mac=52:54:00:00:00:0$last,mq=on,vectors=6,rss=on,hash=on,disable-legacy=on"
            -netdev "tap,id=$wire-far,ifname=$wire-far,script=no,downscript=no,vhost=off"
            -device "virtio-net-pci,netdev=$wire-far,mac=52:54:00:00:00:0$((last + 2))"
        )
    done
}

run() {
    scratch job
    local more=()
    [ -z "${GUEST_NICS:-}" ] || nics
    local folders=("$here") shares=(-virtfs "local,path=$scratch,mount_tag=job,security_model=none") n
    [[ $target/ = "$here"/* ]] || folders+=("$target")
    for n in "${!folders[@]}"; do
        shares+=(-virtfs "local,path=${folders[n]},mount_tag=folder$n,security_model=none,multidevs=remap")
        printf 'share folder%d %q\n' "$n" "${folders[n]}"
    done >"$scratch/run"
    printf 'cd %q\nexport UNDERPASS_SLOWNESS=%d\n' "$here" "$slowness" >>"$scratch/run"
    printf '%q ' exec "$@" >>"$scratch/run"
    timeout --foreground -k 5 "${GUEST_LIMIT:-1800}" qemu-system-x86_64 -machine q35 -accel "${accel[@]}" \
        -smp "${GUEST_CPUS:-2}" -m "${GUEST_MEMORY:-2048}" -nodefaults -no-user-config -no-reboot -display none \
        -kernel "$guest/kernel" -initrd "$guest/initrd" \
        -append 'root=/dev/vda rw rootfstype=ext4 init=/sbin/first console=ttyS0 quiet panic=-1 mitigations=off' \
        -drive "file=$guest/disk,format=raw,if=virtio,snapshot=on" "${shares[@]}" \
        -serial "file:$guest/console.log" -serial stdio "${more[@]}" </dev/null ||
        die "the machine did not end by itself within ${GUEST_LIMIT:-1800} s; what its kernel said: $guest/console.log"
    local status
    status=$(cat "$scratch/status" 2>/dev/null) ||
        die "the machine did not run the command; the end of $guest/console.log:" "$(tail "$guest/console.log")"
    return "$status"
}

verb=${1:-}
[ $# = 0 ] || shift
case $verb in
    build) build ;;
    run)
        [ $# != 0 ] || die "run what?"
        build
        if [ -n "${GUEST_NICS:-}" ] && [ -z "${GUEST_ALONE:-}" ]; then
            alone=(unshare --net)
            [ "$(id -u)" = 0 ] || alone+=(--map-root-user)
            exec env GUEST_ALONE=1 "${alone[@]}" "${BASH_SOURCE[0]}" run "$@"
        fi
        run "$@"
        ;;
    *)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
        exit 2
        ;;
esac
