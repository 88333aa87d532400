"""Times a training step here and in PyTorch, in turn, and prints the ratio of the medians.

    PYTHON=venv/bin/python just bench-step                  # every row, five rounds
    PYTHON=venv/bin/python just bench-step --rounds 3 mlp   # rows whose name contains `mlp`

Each round starts a fresh process of either side on the same shapes with the same threads. The ratio
is PyTorch's time over ours: above 1 ours is faster. `memory` is the peak of our whole process, and
PyTorch's peak beyond what importing it takes.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
OURS = HERE.parent / "target/release/gridlane"
PEER = HERE / "peers/step.py"

SGD = "optimizer={kind=sgd,momentum=0.9}"
MNIST, CIFAR = (1, 28, 28), (3, 32, 32)

# Name, shape of an image, our settings, the peer's flags, threads, steps.
ROWS = [
    ("mlp adam", MNIST, "optimizer=adam", "--model mlp --optimizer adam", 1, 200),
    ("mlp adam tanh", MNIST, "optimizer=adam activation=tanh",
     "--model mlp --optimizer adam --activation tanh", 1, 200),
    ("mlp adam gelu", MNIST, "optimizer=adam activation=gelu",
     "--model mlp --optimizer adam --activation gelu", 1, 200),
    ("alexnet32 sgd", CIFAR, f"model=alexnet32 {SGD}", "--model alexnet32 --optimizer sgd", 1, 10),
    ("alexnet32 sgd, 0.25 wide", MNIST, f"model=alexnet32 width=0.25 {SGD}",
     "--model alexnet32 --width 0.25 --optimizer sgd", 1, 60),
    ("alexnet32 sgd, batch norm", CIFAR, f"model=alexnet32 batch_norm=true {SGD}",
     "--model alexnet32 --batch-norm --optimizer sgd", 1, 10),
    ("alexnet sgd, batch 16", (3, 224, 224), f"model=alexnet batch_size=16 {SGD}",
     "--model alexnet --batch 16 --optimizer sgd", 1, 5),
    ("alexnet sgd, batch 16, 2 threads", (3, 224, 224), f"model=alexnet batch_size=16 {SGD}",
     "--model alexnet --batch 16 --optimizer sgd", 2, 5),
]


def figures(command):
    """What a benchmark prints as JSON on its last line."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def ours(shape, settings, threads, steps):
    classes = 1000 if shape[1] == 224 else 10
    dataset = "dataset={kind=synthetic,train=%d,shape=[%d,%d,%d],classes=%d}" % (2048, *shape, classes)
    return figures([OURS, "bench", "step", dataset, "lr=0.001", *settings.split(),
                    "--threads", str(threads), "--steps", str(steps), "--json"])


def peer(python, shape, flags, threads, steps):
    return figures([python, PEER, *flags.split(), "--shape", *map(str, shape),
                    "--threads", str(threads), "--steps", str(steps)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", help="parts of names; every row where none is given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="a file for all figures")
    args = parser.parse_args()
    python = os.environ.get("PYTHON", sys.executable)
    print(f"{'medians of ' + str(args.rounds) + ' rounds':34} {'ours ms':>9} {'PyTorch ms':>11} "
          f"{'ratio':>6} {'least..most':>12} {'MiB':>6} {'PyTorch':>8}")
    record = []
    for name, shape, settings, flags, threads, steps in ROWS:
        if args.rows and not any(part in name for part in args.rows):
            continue
        pairs = []
        for _ in range(args.rounds):
            pairs.append((ours(shape, settings, threads, steps), peer(python, shape, flags, threads, steps)))
        for mine, its in pairs:
            if mine["parameters"] != its["parameters"]:
                sys.exit(f"{name}: {mine['parameters']} and {its['parameters']} parameters: not the same network")
        middle = lambda key: [statistics.median(pair[side][key] for pair in pairs) for side in (0, 1)]
        mine, its = middle("step_ms_median")
        memory = [size / 2**20 for size in middle("peak_memory_bytes")]
        ratios = sorted(b["step_ms_median"] / a["step_ms_median"] for a, b in pairs)
        print(f"{name:34} {mine:9.2f} {its:11.2f} {its / mine:6.2f} {ratios[0]:5.2f}..{ratios[-1]:<5.2f} "
              f"{memory[0]:6.0f} {memory[1]:8.0f}", flush=True)
        record.append({"row": name, "rounds": [{"ours": a, "peer": b} for a, b in pairs]})
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(record, indent=1))


main()
