#!/usr/bin/env bash
# Packets per second of one worker against dpdk-testpmd on the same devices, interleaved in one run:
# net_pcap (infinite_rx) -> forward -> net_null, 64-byte UDP, established sessions. Prints a table; JSON to $BENCH_JSON.
#
# Then the packets of VPN tunnels against UDP, likewise: each flow 64 times in the capture, as PPTP needs.
# Then two workers of which each gets a part of the other's packets: what handoff costs.
# Last, how fast sessions are set up and torn down.
#
#   scripts/bench.sh [--quick]
#   BENCH_SESSIONS="1024 65536 1048576"  BENCH_TUNNELS=1024  BENCH_SHARED=65536  BENCH_ROUNDS=5  BENCH_SECONDS=2  BENCH_JSON=FILE
set -euo pipefail
cd "$(dirname "$0")/.."

underpass=${UNDERPASS:-${CARGO_TARGET_DIR:-target}/release/underpass}
sessions=${BENCH_SESSIONS:-1024 65536 1048576}
rounds=${BENCH_ROUNDS:-5}
seconds=${BENCH_SECONDS:-2}
tunnels=${BENCH_TUNNELS:-1024}
if [ "${1:-}" = --quick ]; then
    rounds=1 seconds=1
fi

say() { printf '%s\n' "$*" >&2; }
die() { say "bench: $*"; exit 1; }
[ -x "$underpass" ] || die "no $underpass: run 'make build' first"
command -v dpdk-testpmd >/dev/null || die "no dpdk-testpmd: run 'scripts/setup.sh bench' first"
[ "$(nproc)" -ge 2 ] || die "two CPUs are needed, one to measure and one to be left alone"

work=$(mktemp -d "${TMPDIR:-/tmp}/underpass-bench.XXXXXX")
pages_file=/proc/sys/vm/nr_hugepages
pages_before=$(cat $pages_file)
restore() {
    rm -rf "$work"
    if [ -w $pages_file ]; then echo "$pages_before" >$pages_file; fi
}
trap restore EXIT

largest=0
for n in $sessions; do if [ "$n" -gt "$largest" ]; then largest=$n; fi; done
# 2.5 KB a packet buffer, in pages of 2 MB.
need=$(((largest + 32768) * 2560 / 2097152 + 64))
memory=(--in-memory)
if [ -w $pages_file ] && [ "$pages_before" -lt "$need" ]; then echo "$need" >$pages_file 2>/dev/null || true; fi
if [ "$(cat $pages_file)" -lt "$need" ]; then
    say "bench: $need hugepages wanted and $(cat $pages_file) there; ordinary memory is used, which is slower"
    memory=(--no-huge --no-shconf -m $((need * 2)))
fi

# Median of testpmd's own rate for the port that sends, the first and the last second left out.
testpmd() { # mode sessions
    local log=$work/testpmd.log
    timeout -s INT -k 5 $((seconds + 9 + $2 / 250000)) dpdk-testpmd -l 0,1 "${memory[@]}" --no-pci --no-telemetry \
        --vdev "net_pcap0,rx_pcap=$work/$2.pcap,infinite_rx=1" --vdev net_null0,no-rx=1 -- \
        --forward-mode="$1" --nb-cores=1 --total-num-mbufs=$(($2 + 16384)) --auto-start --stats-period=1 \
        </dev/null >"$log" 2>&1 || true
    grep -o 'Tx-pps: *[0-9]*' "$log" | awk '{print $2}' | awk 'NR % 2 == 0 && $1 > 0' | sed '1d;$d' | median
}
median() { sort -n | awk '{v[NR] = $1} END {if (NR) print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2); else print 0}'; }
field() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"; }

results=$work/results
for n in $sessions; do
    "$underpass" bench --sessions "$n" --capture "$work/$n.pcap" --only-capture
    for round in $(seq "$rounds"); do
        say "bench: $n sessions, round $round of $rounds"
        io=$(testpmd io "$n")
        swap=$(testpmd macswap "$n")
        line=$("$underpass" --log warn bench --sessions "$n" --seconds "$seconds" --capture "$work/$n.pcap" --json)
        mpps=$(field million_packets_per_second <<<"$line")
        cycles=$(field tsc_cycles_per_packet <<<"$line")
        echo "$n $io $swap $mpps $cycles" >>"$results"
    done
    rm -f "$work/$n.pcap"
done

awk -v rounds="$rounds" '
    function median(values, count,    i, j, t) {
        for (i = 2; i <= count; i++) for (j = i; j > 1 && values[j - 1] > values[j]; j--) { t = values[j]; values[j] = values[j - 1]; values[j - 1] = t }
        return count % 2 ? values[(count + 1) / 2] : (values[count / 2] + values[count / 2 + 1]) / 2
    }
    function of(n, column,    values, i) { for (i = 1; i <= seen[n]; i++) values[i] = cell[n, i, column]; return median(values, seen[n]) }
    {
        if (!($1 in seen)) order[++sizes] = $1
        i = ++seen[$1]
        cell[$1, i, "io"] = $2 / 1e6; cell[$1, i, "swap"] = $3 / 1e6; cell[$1, i, "mpps"] = $4; cell[$1, i, "cycles"] = $5
        cell[$1, i, "ratio"] = $3 > 0 ? $4 * 1e6 / $3 : 0
        if (!($1 in low) || cell[$1, i, "ratio"] < low[$1]) low[$1] = cell[$1, i, "ratio"]
        if (cell[$1, i, "ratio"] > high[$1]) high[$1] = cell[$1, i, "ratio"]
    }
    END {
        printf "%-10s %12s %14s %12s %14s %10s %16s   (medians of %d rounds; Mpps)\n", "sessions", "testpmd io", "testpmd macswap", "underpass", "TSC cycles/pkt", "ratio", "ratio min-max", rounds
        for (k = 1; k <= sizes; k++) {
            n = order[k]
            printf "%-10d %12.1f %15.1f %12.2f %14.0f %10.3f %8.3f-%.3f\n", n, of(n, "io"), of(n, "swap"), of(n, "mpps"), of(n, "cycles"), of(n, "ratio"), low[n], high[n]
        }
    }' "$results"
if [ -n "${BENCH_JSON:-}" ]; then
    awk 'BEGIN { print "[" } { printf "%s{\"sessions\":%d,\"testpmd_io_pps\":%.0f,\"testpmd_macswap_pps\":%.0f,\"underpass_mpps\":%s,\"tsc_cycles_per_packet\":%s}", (NR > 1 ? ",\n" : ""), $1, $2, $3, $4, $5 } END { print "\n]" }' "$results" >"$BENCH_JSON"
fi

# Interleaved as above, so that what the machine does besides hits all alike.
for round in $(seq "$rounds"); do
    say "bench: $tunnels tunnels, round $round of $rounds"
    for kind in udp pptp esp l2tpv3; do
        line=$("$underpass" --log warn bench --traffic "$kind" --sessions "$tunnels" --rounds 64 --seconds "$seconds" \
            --capture "$work/$kind.pcap" --json)
        echo "$kind $(field million_packets_per_second <<<"$line") $(field tsc_cycles_per_packet <<<"$line")" >>"$work/tunnels"
    done
done
printf '\n%-10s %12s %14s %10s\n' "$tunnels of" underpass "TSC cycles/pkt" "to UDP"
of() { awk -v kind="$1" -v column="$2" '$1 == kind { print $column }' "$work/tunnels" | median; }
for kind in udp pptp esp l2tpv3; do
    awk -v kind="$kind" -v mpps="$(of "$kind" 2)" -v cycles="$(of "$kind" 3)" -v udp="$(of udp 2)" \
        'BEGIN { printf "%-10s %12.2f %14.0f %10.3f\n", kind, mpps, cycles, (udp > 0 ? mpps / udp : 0) }'
done

# What handing packets to their owner costs: two workers, each with a queue, and so much of it the other's.
shared=${BENCH_SHARED:-65536}
for round in $(seq "$rounds"); do
    say "bench: handoff, round $round of $rounds"
    for way in "1 0" "2 0" "2 50" "2 100"; do
        read -r workers percent <<<"$way"
        line=$("$underpass" --log warn bench --workers "$workers" --handoff "$percent" --sessions "$shared" \
            --seconds "$seconds" --capture "$work/handoff-$workers-$percent.pcap" --json)
        echo "$workers/$percent $(field million_packets_per_second <<<"$line") $(field tsc_cycles_per_packet <<<"$line")" \
            >>"$work/handoff"
    done
done
of() { awk -v kind="$1" -v column="$2" '$1 == kind { print $column }' "$work/handoff" | median; }
printf '\n%-10s %12s %12s %14s %10s\n' workers "handed off" underpass "TSC cycles/pkt" "to 0 %"
for kind in 1/0 2/0 2/50 2/100; do
    awk -v kind="$kind" -v mpps="$(of "$kind" 2)" -v cycles="$(of "$kind" 3)" -v zero="$(of "${kind%/*}/0" 2)" \
        'BEGIN { split(kind, k, "/"); printf "%-10d %10d %% %12.2f %14.0f %10.3f\n", k[1], k[2], mpps, cycles, (zero > 0 ? mpps / zero : 0) }'
done

printf '\n'
cargo bench --quiet --package dataplane --bench rates
