# `just` alone lists what there is. Everything also works without just: see the README.

gridlane := "cargo run --quiet --release --"

[private]
default:
    @just --list

# Execute a sweep: `just sweep sweeps/lr.toml`, `just sweep sweeps/lr.toml --short`, `just sweep sweeps/lr.toml lr=0.1,0.01 -j 4`
[no-exit-message]
sweep FILE *ARGS:
    @{{gridlane}} sweep {{FILE}} {{ARGS}}

# Say what a sweep would do
[no-exit-message]
plan FILE *ARGS:
    @{{gridlane}} plan {{FILE}} {{ARGS}}

# Print a sweep's leaderboard and make its CSVs anew
[no-exit-message]
leaderboard SWEEP *ARGS:
    @{{gridlane}} leaderboard {{SWEEP}} {{ARGS}}

# Get a data set: mnist, fashion-mnist or cifar10
[no-exit-message]
data NAME *ARGS:
    @{{gridlane}} data fetch {{NAME}} {{ARGS}}

# All tests
test *ARGS:
    cargo test --release {{ARGS}}

# Everything that must hold before a commit
check: forbid
    cargo fmt --check
    cargo clippy --release --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --document-private-items
    cargo test --release

# Licences, sources and banned crates in the dependency tree
deny:
    cargo deny check licenses bans sources

# Seconds for two hundred one-step runs against as many empty jobs under Hydra (PYTHON has hydra-core)
bench-orchestration:
    benches/orchestration.sh

# Training steps here and in PyTorch, in turn (PYTHON has torch): `just bench-step`, `just bench-step mlp --rounds 3`
bench-step *ARGS:
    cargo build --quiet --release
    "${PYTHON:-python3}" benches/step.py {{ARGS}}

# Augmentation here and in torchvision, in turn (PYTHON has torchvision)
bench-augment *ARGS:
    cargo build --quiet --release
    "${PYTHON:-python3}" benches/peers/augment.py --gridlane target/release/gridlane {{ARGS}}

# The program for NVIDIA GPUs, built without one: target/cuda/gridlane (PYTHON has pip)
build-cuda *ARGS:
    .ci/build-cuda {{ARGS}}

# report.html in a headless Chromium: of documents made for the test, and of the reports given (PYTHON has venv)
browser-test *ARGS:
    .ci/browser-test {{ARGS}}

# Sweeps over a real Slurm, on a private cluster of namespaces (as root; Debian's packages)
slurm-test *ARGS:
    cargo build --quiet --release
    .ci/slurm-test {{ARGS}}

# On a machine with a GPU: compare it with the CPU, time it beside PyTorch (if PYTHON has torch), one JSON
gpu-check *ARGS:
    "${PYTHON:-python3}" benches/gpu_check.py {{ARGS}}

# Words that must not be in the tree
forbid:
    ! grep -rnE 'todo!|dbg!|FIXME|XXX|#\[allow\(clippy' src tests --include='*.rs'
