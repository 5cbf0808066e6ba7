#!/usr/bin/env bash
# Installs the Debian package in a clean Debian 12 made for it, and runs the installed binary there: on ring devices and
# ordinary memory, which need nothing of the machine. Then boots that Debian in a container and runs the service under
# its own systemd, hardened as the unit says: it gets ready, answers on its socket, is restarted by the watchdog when it
# hangs, and ends with its account. Takes minutes and needs root; the clean root goes at the end.
#
#   scripts/test-deb.sh FILE.deb
set -euo pipefail

die() {
    printf 'test-deb: %s\n' "$*" >&2
    exit 1
}

[ -f "${1:-}" ] || die "usage: scripts/test-deb.sh FILE.deb"
[ "$(id -u)" = 0 ] || die "it makes a root file system: run it as root"
package=$(realpath "$1")
work=$(mktemp -d --tmpdir underpass-deb.XXXXXX)
root=$work/root

container=
clean() {
    [ -z "$container" ] || kill -KILL "$container" 2>/dev/null || true
    for mounted in proc sys; do
        mountpoint -q "$root/$mounted" && umount "$root/$mounted"
    done
    rm -rf --one-file-system "$work"
}
trap clean EXIT

echo "== a clean Debian 12"
# The mirrors that this machine uses.
sources=(/etc/apt/sources.list.d/*.sources)
[ -e "${sources[0]}" ] || sources=(/etc/apt/sources.list)
mmdebstrap --quiet --variant=minbase --include=systemd-sysv bookworm "$root" "${sources[@]}" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    die "mmdebstrap failed"
}
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
chrooted=(chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive)
inside() {
    "${chrooted[@]}" "$@"
}

echo "== install"
cp "$package" "$root/tmp/underpass.deb"
# mmdebstrap leaves no package lists behind.
{ inside apt-get -qq update && inside apt-get -qq install --yes --no-install-recommends /tmp/underpass.deb; } >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    die "the package cannot be installed"
}
[ -z "$(inside dpkg --verify underpass)" ] || die "files differ from the package's"
[ ! -e "$root/etc/systemd/system/multi-user.target.wants/underpass.service" ] || die "it starts by itself"
for file in usr/bin/underpass usr/lib/systemd/system/underpass.service usr/share/doc/underpass/examples/underpass.toml; do
    [ -e "$root/$file" ] || [ -e "$root/${file#usr/}" ] || die "there is no /$file"
done

echo "== run"
inside underpass --version
cat >"$root/tmp/ring.toml" <<'TOML'
[runtime]
workers = 1
memory = "ordinary"
idle = "yield"

[[port]]
name = "lan"
role = "inside"
device = "net_ring0"
addresses = ["192.168.1.1/24"]

[[port]]
name = "wan"
role = "outside"
device = "net_ring1"
addresses = ["203.0.113.2/24"]

[nat]
sessions = 8192
TOML
inside underpass check --config /tmp/ring.toml
inside underpass doctor --config /tmp/ring.toml || die "the package lacks something that doctor misses"
# Not by the function: its subshell would get the signal.
"${chrooted[@]}" underpass run --config /tmp/ring.toml >"$work/said" 2>"$work/log" &
router=$!
for _ in $(seq 300); do
    grep -q '^ready$' "$work/said" && break
    kill -0 "$router" 2>/dev/null || break
    sleep 0.1
done
grep -q '^ready$' "$work/said" || {
    cat "$work/log" >&2
    die "the installed binary does not get ready"
}
kill -TERM "$router"
wait "$router" || die "it ends with exit status $?: $(cat "$work/log")"
grep '^account: received 0 ' "$work/said" || die "no account: $(cat "$work/said")"
inside underpass demo --duration 3s --json >"$work/demo" || die "the demo fails: $(tail -c 2000 "$work/demo")"
echo "demo: verified"

echo "== as a service"
install -D -m 600 "$root/tmp/ring.toml" "$root/etc/underpass/underpass.toml"
inside systemctl enable --quiet underpass
umount "$root/proc" "$root/sys"
systemd-nspawn --quiet --register=no --keep-unit --directory="$root" --boot </dev/null >"$work/boot" 2>&1 &
container=$!
within() {
    nsenter --target "$(pgrep --parent "$container" | head -n1)" --mount --uts --ipc --net --pid --cgroup "$@"
}
state() {
    within systemctl show --property="$1" --value underpass 2>/dev/null || true
}
# Until a property of the service is so.
until_is() {
    for _ in $(seq 600); do
        [ "$(state "$1")" = "$2" ] && return
        sleep 0.1
    done
    within journalctl --no-pager --unit underpass >&2 || cat "$work/boot" >&2
    die "$1 of the service is $(state "$1"), not $2"
}
until_is ActiveState active
[ "$(state StatusText)" = "Forwarding with 1 worker(s)" ] || die "its status is: $(state StatusText)"
within underpass show stats | head -n1
within systemctl kill --signal=STOP underpass
until_is NRestarts 1
until_is ActiveState active
echo "watchdog: one that hung was restarted"
within systemctl stop underpass
until_is Result success
within journalctl --no-pager --unit underpass --output=cat | grep '^account: received 0 ' || die "no account in the journal"
if within journalctl --no-pager --unit underpass --output=cat | grep -E 'EPERM|EAL: Error|cannot'; then
    die "the unit forbids something that is needed"
fi
# It ends that Debian in order.
kill -TERM "$container"
wait "$container" || true
container=
mount -t proc proc "$root/proc"

echo "== remove"
inside apt-get -qq purge --yes underpass >"$work/log" 2>&1 || die "it cannot be removed: $(cat "$work/log")"
[ ! -e "$root/usr/bin/underpass" ] || die "the binary is left behind"
echo "== passed"
