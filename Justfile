# `just` alone lists what there is. Everything also works without just: see the README.

gridlane := "cargo run --quiet --release --"

# Arguments as they were given: `just leaderboard lr --where 'lr<0.1'` keeps its quotes.
set positional-arguments

[private]
default:
    @{{just_executable()}} --list

# Execute a sweep: `just sweep sweeps/lr.toml`, `just sweep sweeps/lr.toml --short`, `just sweep sweeps/lr.toml lr=0.1,0.01 -j 4`
[no-exit-message]
sweep FILE *ARGS:
    @{{gridlane}} sweep "$@"

# Say what a sweep would do
[no-exit-message]
plan FILE *ARGS:
    @{{gridlane}} plan "$@"

# Print a sweep's leaderboard and make its CSVs anew
[no-exit-message]
leaderboard SWEEP *ARGS:
    @{{gridlane}} leaderboard "$@"

# Say how a sweep stands, or all of them
[no-exit-message]
status *ARGS:
    @{{gridlane}} status "$@"

# Say all that is known of one run
[no-exit-message]
show SWEEP RUN *ARGS:
    @{{gridlane}} show "$@"

# Get a data set: mnist, fashion-mnist or cifar10
[no-exit-message]
data NAME *ARGS:
    @{{gridlane}} data fetch "$@"

# All tests
test *ARGS:
    cargo test --release "$@"

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
    "${PYTHON:-python3}" benches/step.py "$@"

# Augmentation here and in torchvision, in turn (PYTHON has torchvision)
bench-augment *ARGS:
    cargo build --quiet --release
    "${PYTHON:-python3}" benches/peers/augment.py --gridlane target/release/gridlane "$@"

# The program for NVIDIA GPUs, built without one: target/cuda/gridlane (PYTHON has pip)
build-cuda *ARGS:
    .ci/build-cuda "$@"

# report.html in a headless Chromium: of documents made for the test, and of the reports given (PYTHON has venv)
browser-test *ARGS:
    .ci/browser-test "$@"

# Sweeps over a real Slurm, on a private cluster of namespaces (as root; Debian's packages)
slurm-test *ARGS:
    cargo build --quiet --release
    .ci/slurm-test "$@"

# On a machine with a GPU: compare it with the CPU, time it beside PyTorch (if PYTHON has torch), one JSON
gpu-check *ARGS:
    "${PYTHON:-python3}" benches/gpu_check.py "$@"

# Words that must not be in the tree
forbid:
    ! grep -rnE 'todo!|dbg!|FIXME|XXX|#\[allow\(clippy' src tests --include='*.rs'
