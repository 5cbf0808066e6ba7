#!/usr/bin/env bash
# Two revisions against each other in one run: the same captures, the same devices, turn by turn, so that what the machine
# does besides hits both alike. A is REF, built in a worktree of its own; B is what lies here.
#
#   scripts/bench-ab.sh REF [--quick]
#   BENCH_SESSIONS="1024 65536 1048576"  BENCH_ROUNDS=9  BENCH_SECONDS=1  BENCH_JSON=FILE
#   BENCH_A=PROGRAM  BENCH_B=PROGRAM   are measured as they are, and nothing is built for them
#
# Rates are by the CPU time of the worker's thread where both revisions say it (then other work on the machine matters
# less), by the clock otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '/^#   /s/^# *//p' "$0" >&2; exit 2; }
ref=${1:-}
case ${2:-} in
    --quick) rounds=${BENCH_ROUNDS:-3} seconds=${BENCH_SECONDS:-0.5} sessions=${BENCH_SESSIONS:-1024 65536} ;;
    '') rounds=${BENCH_ROUNDS:-9} seconds=${BENCH_SECONDS:-1} sessions=${BENCH_SESSIONS:-1024 65536 1048576} ;;
    *) usage ;;
esac
[ -n "$ref" ] || [ -n "${BENCH_A:-}" ] || usage

say() { printf '%s\n' "$*" >&2; }
work=$(mktemp -d "${TMPDIR:-/tmp}/underpass-ab.XXXXXX")
tree=$work/tree
pages_file=/proc/sys/vm/nr_hugepages
pages_before=$(cat $pages_file)
finish() {
    git worktree remove --force "$tree" 2>/dev/null || true
    rm -rf "$work"
    if [ -w $pages_file ]; then echo "$pages_before" >$pages_file; fi
}
trap finish EXIT

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
a=${BENCH_A:-} b=${BENCH_B:-}
if [ -z "$a" ]; then
    say "bench-ab: building $ref"
    git worktree add --quiet --detach "$tree" "$ref"
    (cd "$tree" && CARGO_TARGET_DIR=$target/bench-ab cargo build --quiet --release --package underpass)
    a=$target/bench-ab/release/underpass
fi
if [ -z "$b" ]; then
    say "bench-ab: building what lies here"
    CARGO_TARGET_DIR=$target cargo build --quiet --release --package underpass
    b=$target/release/underpass
fi

largest=0
for n in $sessions; do if [ "$n" -gt "$largest" ]; then largest=$n; fi; done
need=$(((largest + 32768) * 2560 / 2097152 + 64))
if [ -w $pages_file ] && [ "$pages_before" -lt "$need" ]; then echo "$need" >$pages_file 2>/dev/null || true; fi

field() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"; }
measure() { # program name sessions
    local line cpu
    line=$("$1" --log error bench --sessions "$3" --seconds "$seconds" --capture "$work/$3.pcap" --json)
    cpu=$(field million_packets_per_cpu_second <<<"$line")
    echo "$3 $2 $(field million_packets_per_second <<<"$line") ${cpu:-0}" >>"$work/results"
}
for n in $sessions; do
    "$b" bench --sessions "$n" --capture "$work/$n.pcap" --only-capture
    for round in $(seq "$rounds"); do
        say "bench-ab: $n sessions, round $round of $rounds"
        # Who goes first changes, as the second finds the capture in the page cache for certain.
        if [ $((round % 2)) = 1 ]; then
            measure "$a" a "$n"
            measure "$b" b "$n"
        else
            measure "$b" b "$n"
            measure "$a" a "$n"
        fi
    done
    rm -f "$work/$n.pcap"
done

awk -v ref="${ref:-A}" -v rounds="$rounds" -v json="${BENCH_JSON:-}" '
    function sorted(values, count,    i, j, t) {
        for (i = 2; i <= count; i++) for (j = i; j > 1 && values[j - 1] > values[j]; j--) { t = values[j]; values[j] = values[j - 1]; values[j - 1] = t }
    }
    function median(values, count) { sorted(values, count); return count % 2 ? values[(count + 1) / 2] : (values[count / 2] + values[count / 2 + 1]) / 2 }
    {
        if (!($1 in known)) { known[$1] = 1; order[++sizes] = $1 }
        i = ++seen[$1, $2]; clock[$1, $2, i] = $3; cpu[$1, $2, i] = $4
        if ($4 == 0) by_clock = 1
    }
    END {
        printf "%-10s %12s %12s %8s %16s   (medians of %d rounds, million packets a second%s; a is %s)\n", "sessions", "a", "b", "b/a", "b/a min-max", rounds, by_clock ? "" : " of CPU time", ref
        if (json) print "[" > json
        for (k = 1; k <= sizes; k++) {
            n = order[k]; low = 0; high = 0; delete x; delete y; delete r
            for (i = 1; i <= seen[n, "b"]; i++) {
                x[i] = by_clock ? clock[n, "a", i] : cpu[n, "a", i]; y[i] = by_clock ? clock[n, "b", i] : cpu[n, "b", i]
                r[i] = y[i] / x[i]
                if (!low || r[i] < low) low = r[i]
                if (r[i] > high) high = r[i]
            }
            count = seen[n, "b"]; ratio = median(r, count); ma = median(x, count); mb = median(y, count)
            printf "%-10d %12.2f %12.2f %8.3f %8.3f-%.3f\n", n, ma, mb, ratio, low, high
            if (json) printf "%s{\"sessions\":%d,\"a_mpps\":%.3f,\"b_mpps\":%.3f,\"ratio\":%.4f,\"by_cpu_time\":%s}\n", (k > 1 ? "," : ""), n, ma, mb, ratio, (by_clock ? "false" : "true") > json
        }
        if (json) print "]" > json
    }' "$work/results"
