#!/usr/bin/env bash
# Seconds for the same number of jobs: gridlane, each a process that loads data, trains a step,
# checkpoints and is ranked; Hydra, each an empty function, in one process (its basic launcher).
# Needs `pip install hydra-core` in the Python that PYTHON names; three rounds, in turn.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cargo build --quiet --release

seconds() {
    local begun=$EPOCHREALTIME
    "$@" >/dev/null 2>&1
    awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'
}

for round in 1 2 3; do
    ours=$(seconds target/release/gridlane sweep benches/orchestration.toml --runs "$scratch/runs$round")
    peer=$(cd "$scratch" && seconds "$python" "$OLDPWD/benches/orchestration_hydra.py" -m \
        "hydra.sweep.dir=$scratch/hydra$round" '+lr=range(0,100)' '+seed=range(0,2)')
    awk -v o="$ours" -v p="$peer" -v r="$round" \
        'BEGIN { printf "round %d: gridlane %.2f s, Hydra %.2f s, ratio %.1f\n", r, o, p, p / o }'
done
