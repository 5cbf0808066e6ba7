#!/usr/bin/env bash
# A lab on one machine: two network namespaces with hosts in them, and the router in a third, between them.
#
#     up-in                     up-box                         up-out
#     in0 ================ lan0  underpass  wan0 ================ out0
#     192.168.1.2, .3           .1        203.0.113.2, .3         203.0.113.1
#
# The machine's own network is not touched: all of it, veth ends too, is inside the namespaces and goes with them.
#
#   scripts/lab.sh up [--binary FILE] [--config FILE] [--kernel | --dry]
#   scripts/lab.sh down | status
#
#   --binary FILE   the router; else target/release/underpass
#   --config FILE   its configuration; else scripts/lab.toml
#   --kernel        Linux routes and translates instead, to compare with, or to test the lab itself
#   --dry           nobody routes: only namespaces and links
#
# UNDERPASS_LAB=name makes another lab beside the first, with namespaces name-in, name-box and name-out.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
PATH="$PATH:/usr/sbin:/sbin"
lab=${UNDERPASS_LAB:-up}
inside=$lab-in box=$lab-box outside=$lab-out
directory=${TMPDIR:-/tmp}/underpass-lab
[ "$lab" = up ] || directory=$directory-$lab
ready_within=$((30 * ${UNDERPASS_SLOWNESS:-1})) # seconds

die() {
    printf 'lab: %s\n' "$@" >&2
    exit 1
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    exit "$1"
}

exists() {
    ip netns list 2>/dev/null | grep -qE "^$1( |$)"
}

# The router's process, if it is alive and really ours: it lives in our namespace.
router() {
    local pid
    pid=$(cat "$directory/pid" 2>/dev/null) || return 1
    [ "$(ip netns identify "$pid" 2>/dev/null)" = "$box" ] && echo "$pid"
}

is_up() {
    exists "$inside" && exists "$box" && exists "$outside" && case $(cat "$directory/mode" 2>/dev/null) in
        underpass) router >/dev/null ;;
        kernel | dry) true ;;
        *) false ;;
    esac
}

permitted() {
    local tool
    for tool in ip ethtool pgrep flock; do
        command -v "$tool" >/dev/null || die "$tool is not there; scripts/setup.sh test installs it."
    done
    [ "$(id -u)" = 0 ] || die "network namespaces need root: sudo $0 $verb"
}

# One lock for a change of the lab; what is started gives its copy of it back (9>&-).
prepare() {
    (umask 077 && mkdir -p "$directory")
    [ -O "$directory" ] || die "$directory belongs to somebody else; remove it, or set TMPDIR."
    exec 9>"$directory/lock"
    flock -w 60 9 || die "another $0 is at work and does not end."
}

namespace() {
    ip netns add "$1" 2>"$directory/error" || die \
        "this machine does not permit network namespaces: $(cat "$directory/error")" \
        "In a container they need its --privileged, or the capabilities SYS_ADMIN and NET_ADMIN."
    # No IPv6 of the kernel's own (router solicitations, duplicate address detection) between the packets that matter.
    # Errors are not held back, so that a traceroute gets all its answers.
    local setting
    for setting in net.ipv6.conf.{all,default}.disable_ipv6=1 net.ipv4.conf.{all,default}.rp_filter=0 \
        net.ipv4.icmp_ratelimit=0; do
        ip netns exec "$1" sysctl -qw "$setting" 2>/dev/null || [[ $setting = net.ipv6.* ]] ||
            die "cannot set $setting in $1"
    done
    ip -n "$1" link set lo up
}

# A veth pair: end NAME in namespace, and the router's end of it.
link() {
    local namespace=$1 name=$2 routers=$3
    ip -n "$box" link add "$routers" mtu 1500 type veth peer name "$name" mtu 1500 netns "$namespace" \
        2>"$directory/error" || die "cannot make a veth pair: $(cat "$directory/error")"
    local at end
    for at in "$namespace/$name" "$box/$routers"; do
        end=${at#*/}
        # Who reads raw frames sees them as they are at this moment: with checksums put off to a NIC that is not there,
        # merged, or without their VLAN tag. So nothing may be put off. What a kernel does not know it need not switch.
        local offload
        for offload in rx tx sg tso gso gro rxvlan txvlan; do
            ip netns exec "${at%/*}" ethtool -K "$end" "$offload" off >/dev/null 2>&1 || true
        done
        ip netns exec "${at%/*}" ethtool -k "$end" |
            grep -E '^(tx-checksumming|tcp-segmentation-offload|generic-segmentation-offload|generic-receive-offload): on' &&
            die "$end keeps an offload that would change packets (above)."
        ip -n "${at%/*}" link set "$end" up
    done
}

network() {
    namespace "$inside"
    namespace "$box"
    namespace "$outside"
    link "$inside" in0 lan0
    link "$outside" out0 wan0
    ip -n "$inside" address add 192.168.1.2/24 dev in0
    ip -n "$inside" address add 192.168.1.3/24 dev in0
    ip -n "$inside" route add default via 192.168.1.1
    ip -n "$outside" address add 203.0.113.1/24 dev out0
}

# It asks no DNS for its own name: that would take half a minute where nobody answers.
web_server='
import functools, http.server, socket, sys
socket.getfqdn = str
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[2])
http.server.ThreadingHTTPServer((sys.argv[1], 80), handler).serve_forever()
'

# Somebody to talk to: a web server on both sides and iperf3 outside, as far as they are installed.
services() {
    mkdir -p "$directory/in" "$directory/out"
    echo "hello from inside" >"$directory/in/index.html"
    echo "hello from outside" >"$directory/out/index.html"
    if command -v python3 >/dev/null; then
        start "$inside" http-in python3 -c "$web_server" 192.168.1.2 "$directory/in"
        start "$outside" http-out python3 -c "$web_server" 203.0.113.1 "$directory/out"
    fi
    if command -v iperf3 >/dev/null; then
        start "$outside" iperf3-out iperf3 --server --bind 203.0.113.1
    fi
    local tries
    for ((tries = 0; tries < 50; tries++)); do
        ! listening || return 0
        sleep 0.1
    done
    echo "lab: not all servers listen yet; see the logs." >&2
}

listening() {
    ! command -v python3 >/dev/null || { listens "$inside" 80 && listens "$outside" 80; } || return 1
    ! command -v iperf3 >/dev/null || listens "$outside" 5201
}

listens() {
    [ -n "$(ip netns exec "$1" ss -Hltn "sport = :$2")" ]
}

# Starts COMMAND in a namespace, away from this terminal; its number is in $started.
start() {
    local namespace=$1 log=$directory/$2
    shift 2
    setsid ip netns exec "$namespace" "$@" </dev/null >"$log.stdout" 2>"$log.stderr" 9>&- &
    started=$!
}

start_router() {
    local config=$directory/underpass.toml
    # A control socket, where the file has one, is this lab's own.
    sed "s|^socket = \"[^\"]*\"|socket = \"$directory/control.sock\"|" "$config_source" >"$config"
    start "$box" underpass "$binary" run --config "$config"
    local pid=$started waited=0
    echo "$pid" >"$directory/pid"
    until grep -q '^ready' "$directory/underpass.stdout"; do
        if ! kill -0 "$pid" 2>/dev/null; then
            local status=0
            wait "$pid" || status=$?
            complain "underpass ended with status $status before it was ready; the end of what it said:"
        fi
        [ $((waited += 1)) -le $((ready_within * 10)) ] ||
            complain "underpass is not ready after $ready_within s; the end of what it said:"
        sleep 0.1
    done
}

complain() {
    echo "lab: $1" >&2
    tail -n 20 "$directory/underpass.stdout" "$directory/underpass.stderr" >&2
    echo "lab: all of it, and the configuration, are in $directory" >&2
    exit 1
}

start_kernel() {
    ip -n "$box" address add 192.168.1.1/24 dev lan0
    ip -n "$box" address add 203.0.113.2/24 dev wan0
    ip -n "$box" address add 203.0.113.3/24 dev wan0
    ip -n "$box" route add default via 203.0.113.1
    ip netns exec "$box" sysctl -qw net.ipv4.ip_forward=1
    if command -v nft >/dev/null; then
        ip netns exec "$box" nft -f - <<'RULES' || die "the kernel does not take the NAT rules."
table ip lab {
    chain in { type nat hook prerouting priority dstnat; iifname wan0 tcp dport 8080 dnat to 192.168.1.2:80; }
    chain out { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }
}
RULES
    else
        echo "lab: nft is not there, so the kernel routes without translating."
        ip -n "$outside" route add 192.168.1.0/24 via 203.0.113.2
    fi
}

tear_down() {
    local pid namespace pids signal tries
    if pid=$(router); then
        kill -TERM "$pid" 2>/dev/null || true
        for ((tries = 0; tries < 50; tries++)); do
            router >/dev/null || break
            sleep 0.1
        done
        ! router >/dev/null || echo "lab: underpass does not end on SIGTERM; it is killed." >&2
    fi
    # Who still lives in a namespace would keep it, nameless.
    for namespace in "$inside" "$box" "$outside"; do
        exists "$namespace" || continue
        for signal in TERM KILL; do
            for ((tries = 0; tries < 10; tries++)); do
                pids=$(ip netns pids "$namespace")
                [ -n "$pids" ] || break 2
                # shellcheck disable=SC2086  # one word a process
                [ $tries != 0 ] || kill -"$signal" $pids 2>/dev/null || true
                sleep 0.1
            done
        done
        ip netns del "$namespace"
    done
    rm -f "$directory"/{pid,mode,control.sock}
}

hints() {
    local in="ip netns exec $inside" out="ip netns exec $outside"
    cat <<HINTS
The lab is up, with $1 between inside and outside. To try, as root:
  $in ping 203.0.113.1
  $in ping -I 192.168.1.3 203.0.113.1
  $in traceroute -n 203.0.113.1
  $in curl http://203.0.113.1/
  $in iperf3 -c 203.0.113.1
  $out curl http://203.0.113.2:8080/          # the forward to the web server inside
  $out tcpdump -ni out0                       # what the world sees
HINTS
    [ ! -S "$directory/control.sock" ] || echo "  $binary show sessions --socket $directory/control.sock"
    echo "Logs and configuration: $directory"
    echo "Take it down: $0 down"
}

up() {
    if is_up && [ "$(cat "$directory/mode")" = "$mode" ]; then
        hints "$mode"
        return
    fi
    if [ "$mode" = underpass ]; then
        [ -x "$binary" ] || die "there is no $binary; make build builds it, or name one with --binary."
        [ -r "$config_source" ] || die "cannot read $config_source"
    fi
    tear_down
    # A lab is there as a whole or not at all.
    trap 'tear_down' EXIT
    network
    case $mode in
        underpass) start_router ;;
        kernel) start_kernel ;;
        dry) ;;
    esac
    services
    echo "$mode" >"$directory/mode"
    trap - EXIT
    hints "$mode"
}

status() {
    if ! is_up; then
        echo "The lab is down."
        return 1
    fi
    echo "The lab is up, with $(cat "$directory/mode") between inside and outside."
    local namespace pid
    for namespace in "$inside" "$box" "$outside"; do
        echo "$namespace:"
        ip -n "$namespace" -brief address show up | sed 's/^/  /'
        for pid in $(ip netns pids "$namespace"); do
            echo "  process $(ps -o pid=,comm= -p "$pid")"
        done
    done
    echo "Logs and configuration: $directory"
}

verb=${1:-}
[ $# = 0 ] || shift
mode=underpass
binary=${CARGO_TARGET_DIR:-$here/../target}/release/underpass
config_source=$here/lab.toml
while [ $# -gt 0 ]; do
    case $verb/$1 in
        up/--kernel | up/--dry) mode=${1#--} ;;
        up/--binary) binary=${2:?--binary needs a file} && shift ;;
        up/--config) config_source=${2:?--config needs a file} && shift ;;
        *) usage 2 >&2 ;;
    esac
    shift
done
case $verb in
    up)
        permitted
        prepare
        binary=$(realpath -m "$binary")
        up
        ;;
    down)
        permitted
        prepare
        tear_down
        rm -rf "$directory"
        echo "The lab is down."
        ;;
    status)
        permitted
        status
        ;;
    -h | --help) usage 0 ;;
    *) usage 2 >&2 ;;
esac
