"""Checks the engine on the GPU of this machine and times it there, beside PyTorch where Python has it.

    .ci/build-cuda --tests                      # where there is a compiler: program and tests
    python3 benches/gpu_check.py --json out.json        # where there is a GPU: nothing is built

First the tests that compare layers, updates and whole runs on the GPU with the CPU; then training
steps, each row in fresh processes in turn. A ratio is PyTorch's time over ours: above 1 ours is
faster. Both sides compute in f32; the column TF32 is PyTorch with its faster, rounded products.
All that was seen goes into one JSON file. The exit code is 0 if the tests passed on a GPU.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BUILT = HERE.parent / "target/cuda"
PEER = HERE / "peers/step.py"

SGD = "optimizer={kind=sgd,momentum=0.9}"
MNIST, CIFAR, LARGE = (1, 28, 28), (3, 32, 32), (3, 224, 224)

# Name, shape of an image, classes, our settings, the peer's flags, batch, steps.
ROWS = [
    ("mlp adam", MNIST, 10, "optimizer=adam", "--model mlp --optimizer adam", 128, 400),
    ("mlp adam", MNIST, 10, "optimizer=adam", "--model mlp --optimizer adam", 1024, 400),
    ("alexnet32 sgd", CIFAR, 10, f"model=alexnet32 {SGD}", "--model alexnet32 --optimizer sgd", 128, 200),
    ("alexnet32 sgd", CIFAR, 10, f"model=alexnet32 {SGD}", "--model alexnet32 --optimizer sgd", 512, 100),
    ("alexnet32 batch norm", CIFAR, 10, f"model=alexnet32 batch_norm=true {SGD}",
     "--model alexnet32 --batch-norm --optimizer sgd", 128, 200),
    ("alexnet sgd", LARGE, 1000, f"model=alexnet {SGD}", "--model alexnet --optimizer sgd", 128, 50),
]


def run(command):
    """Exit code, output and errors of a command; 127 where it cannot be started."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError as error:
        return 127, "", str(error)
    return done.returncode, done.stdout, done.stderr


def figures(command):
    """The JSON that a benchmark prints on its last line, or what it failed with."""
    code, out, err = run(command)
    if code:
        lines = err.strip().splitlines()
        return {"failed": lines[-1] if lines else f"exit code {code}"}
    return json.loads(out.splitlines()[-1])


def check(tests):
    """What the comparisons with the CPU came to."""
    code, out, err = run([tests, "accelerated::", "resident::", "--nocapture", "--test-threads=1"])
    skipped = sorted(set(re.findall(r"^skipped: (.*)$", out, re.M)))
    # What may be skipped on a machine that only trains: the kernels on the host.
    without_gpu = [reason for reason in skipped if not reason.startswith(("no C++", "the sources"))]
    passed = re.search(r"(\d+) passed; (\d+) failed", out)
    return {
        "passed": int(passed[1]) if passed else 0,
        "failed": int(passed[2]) if passed else 0,
        "skipped": skipped,
        "on_a_gpu": code == 0 and passed is not None and int(passed[1]) > 0 and not without_gpu,
        "said": "" if code == 0 else (out + err)[-4000:],
    }


def step(program, row):
    _, shape, classes, settings, _, batch, steps = row
    images = "dataset={kind=synthetic,train=%d,shape=[%d,%d,%d],classes=%d}" % (8 * batch, *shape, classes)
    return figures([program, "bench", "step", images, "lr=0.001", f"batch_size={batch}",
                    *settings.split(), "--device", "cuda:0", "--steps", steps, "--json"])


def peer(python, row, *more):
    _, shape, _, _, flags, batch, steps = row
    return figures([python, PEER, *flags.split(), "--shape", *shape, "--batch", batch,
                    "--device", "cuda", "--steps", steps, *more])


def median(rounds, key="step_ms_median"):
    numbers = [figures[key] for figures in rounds if key in figures]
    return statistics.median(numbers) if numbers else None


def ratio(theirs, ours):
    return theirs / ours if theirs and ours else None


def show(number, form):
    return format(number, form) if number is not None else "-"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", help="parts of names; every row where none is given")
    parser.add_argument("--program", type=pathlib.Path, default=BUILT / "gridlane")
    parser.add_argument("--tests", type=pathlib.Path, default=BUILT / "gridlane-tests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("gpu-check.json"))
    args = parser.parse_args()
    python = os.environ.get("PYTHON", sys.executable)
    has_torch = run([python, "-c", "import torch, sys; sys.exit(not torch.cuda.is_available())"])[0] == 0
    gpu = run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])[1].strip()

    checked = check(args.tests)
    print(f"GPU: {gpu or 'none that nvidia-smi knows'}")
    print(f"tests: {checked['passed']} passed, {checked['failed']} failed"
          f"{'' if checked['on_a_gpu'] else ', not on a GPU'}")
    for reason in checked["skipped"]:
        print(f"  skipped: {reason}")
    record = {"gpu": gpu, "tests": checked, "steps": []}
    print(f"{'row':24} {'batch':>5} {'ours ms':>9} {'PyTorch':>9} {'ratio':>6} {'TF32':>9} {'ratio':>6}")
    for row in ROWS:
        if args.rows and not any(part in row[0] for part in args.rows):
            continue
        ours, theirs, rounded = [], [], []
        for _ in range(args.rounds):
            ours.append(step(args.program, row))
            if has_torch:
                theirs.append(peer(python, row))
                rounded.append(peer(python, row, "--tf32"))
        mine, its, tf32 = median(ours), median(theirs), median(rounded)
        print(f"{row[0]:24} {row[5]:5} {show(mine, '9.3f'):>9} {show(its, '9.3f'):>9} "
              f"{show(ratio(its, mine), '6.2f'):>6} {show(tf32, '9.3f'):>9} "
              f"{show(ratio(tf32, mine), '6.2f'):>6}", flush=True)
        for failed in (figures["failed"] for figures in ours + theirs + rounded if "failed" in figures):
            print(f"  {failed}")
        record["steps"].append({
            "row": row[0], "batch": row[5], "ours": ours, "pytorch": theirs, "pytorch_tf32": rounded,
            "ratio": ratio(its, mine), "ratio_tf32": ratio(tf32, mine),
        })
    args.json.write_text(json.dumps(record, indent=1))
    return 0 if checked["on_a_gpu"] else 1


if __name__ == "__main__":
    sys.exit(main())
