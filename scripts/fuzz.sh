#!/usr/bin/env bash
# Runs each fuzz target for a while, from fuzz/seeds and what earlier runs kept in fuzz/corpus; stops at the first
# crash, whose input cargo-fuzz keeps in fuzz/artifacts. Add that input to fuzz/seeds with the fix: `cargo test` runs it.
#
#   scripts/fuzz.sh [SECONDS [TARGET…]]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true

cargo fuzz --version >/dev/null 2>&1 || {
    echo "fuzz: cargo-fuzz is not there: cargo install --locked cargo-fuzz" >&2
    exit 1
}
# Sanitizers are unstable options of the compiler; the stable one takes them when told to.
export RUSTC_BOOTSTRAP=1

if [ $# -gt 0 ]; then
    targets=("$@")
else
    list=$(cargo fuzz list)
    mapfile -t targets <<<"$list"
fi
for target in "${targets[@]}"; do
    echo "== $target, ${seconds} s"
    mkdir -p "fuzz/corpus/$target"
    cargo fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 -print_final_stats=1
done
