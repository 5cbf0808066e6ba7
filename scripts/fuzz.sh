#!/usr/bin/env bash
# Runs each fuzz target for a while; stops at the first crash, whose input cargo-fuzz keeps in fuzz/artifacts.
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
cargo +nightly --version >/dev/null 2>&1 || {
    echo "fuzz: sanitizers need a nightly toolchain: rustup toolchain install nightly --profile minimal" >&2
    exit 1
}

if [ $# -gt 0 ]; then
    targets=("$@")
else
    list=$(cargo +nightly fuzz list)
    mapfile -t targets <<<"$list"
fi
for target in "${targets[@]}"; do
    echo "== $target, ${seconds} s"
    cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -print_final_stats=1
done
