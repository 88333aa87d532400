"""Checks the engine on the GPU of this machine and times it there, beside PyTorch where Python has it.

    .ci/build-cuda --tests                      # where there is a compiler: program and tests
    python3 benches/gpu_check.py --json out.json        # where there is a GPU: nothing is built

First the tests that compare layers, updates and whole runs on the GPU with the CPU. Then training
steps, each row in fresh processes in turn, beside PyTorch as a user would write it: rows in f32 beside
f32, TF32's faster, rounded products, compiled, and as a CUDA graph; rows in TF32 and bf16 beside the
same (autocast), with images as they come and channels last, and compiled. A ratio is PyTorch's time
over ours: above 1 ours is faster. Convolutions are cuDNN's where it is found: the device's name in the
JSON says so, and the first row with convolutions is timed without it, too. Then what graphs are worth
(a step that is one launch of a recorded graph against one launch a kernel, GRIDLANE_CUDA_GRAPHS=off), in
runs of 1, 8 and 32 lanes, and what lanes are: a sweep of N runs trained together, in images per second
over all of them, beside N runs of PyTorch one after another. Then batches of augmented images, beside
one core and torchvision's transforms on the GPU. Then a run on two ranks beside the same on one: losses
and parameters, and what summing gradients takes. Where there is one GPU, both ranks share it, through
sockets, and the times say nothing of NVLink. Last the exercise's
own sweep, sweeps/gpu_vs_cpu.toml in its short size. Every part may take its share of the minutes, so that none is
left out for the first; what there is no time left for is left out and named, what does not come to its
end in time is ended. All that was seen goes into one JSON file, which is written anew after every row: what
ends the command, ends no more than that. The exit code is 0 if the tests passed on a GPU.
"""
import argparse
import array
import csv
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILT = HERE.parent / "target/cuda"
PEER = HERE / "peers/step.py"
AUGMENT_PEER = HERE / "peers/augment.py"

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
    ("alexnet sgd", LARGE, 1000, f"model=alexnet {SGD} precision=bf16", "--model alexnet --optimizer sgd", 256, 50),
    ("alexnet sgd", LARGE, 1000, f"model=alexnet {SGD} precision=tf32", "--model alexnet --optimizer sgd", 256, 50),
    ("alexnet32 sgd", CIFAR, 10, f"model=alexnet32 {SGD} precision=bf16", "--model alexnet32 --optimizer sgd", 512, 100),
    ("alexnet32 sgd", CIFAR, 10, f"model=alexnet32 {SGD} precision=tf32", "--model alexnet32 --optimizer sgd", 512, 100),
    ("mlp adam", MNIST, 10, "optimizer=adam precision=bf16", "--model mlp --optimizer adam", 1024, 400),
]

# What PyTorch is measured as for rows of each precision, and in how many of the rounds: compiling takes
# longer than measuring.
PEERS = {
    "f32": {"eager": ([], 3), "tf32": (["--tf32"], 3), "compiled": (["--compile"], 1), "graph": (["--graph"], 3)},
    "tf32": {"eager": (["--tf32"], 3), "channels last": (["--tf32", "--channels-last"], 3)},
    "bf16": {"amp": (["--amp"], 3), "amp channels last": (["--amp", "--channels-last"], 3),
             "amp channels last compiled": (["--amp", "--channels-last", "--compile"], 1)},
}

# Lanes of one group, by model: keys of its sweep file, counts, images of an epoch.
LANES = {
    "mlp": ('model = "mlp"\noptimizer = "adam"', MNIST, [1, 2, 4, 8, 16, 32, 64], 128 * 100),
    "alexnet32": ('model = "alexnet32"\noptimizer = { kind = "sgd", momentum = 0.9 }', CIFAR, [1, 2, 4, 8, 16], 128 * 40),
}

# Augmented batches of colour images: level, side, images of a round.
AUGMENTED = [("alexnet_style", 32, 128 * 64), ("strong", 32, 128 * 64), ("alexnet_style", 224, 128 * 8)]

# Lanes of a group whose steps are timed with graphs and without.
GRAPHS = [1, 8, 32]

# A run on one and on two ranks: keys of its sweep file, and the images of its two epochs.
RANKS = {
    "mlp": ('model = { kind = "mlp", hidden = [1024, 1024] }', MNIST, 128 * 40),
    "alexnet32": ('model = "alexnet32"\nbatch_norm = true\nsync_batch_norm = true', CIFAR, 128 * 40),
}

# Two ranks on one GPU, which NCCL takes for two hosts: nothing but sockets is left to it.
# Without NCCL_NET it would take InfiniBand where there is some; the newest wants to be told that ranks share.
SHARED = {"GRIDLANE_SHARE_GPUS": "1", "NCCL_SOCKET_IFNAME": "lo", "NCCL_SHM_DISABLE": "1", "NCCL_P2P_DISABLE": "1",
          "NCCL_NET": "Socket", "NCCL_MULTI_RANK_GPU_ENABLE": "1"}

# The Python whose PyTorch is measured; the program finds the CUDA libraries beside the same.
PYTHON = os.environ.get("PYTHON", sys.executable)

# Parts of what is left of the time that a part of the check may take, in their order.
SHARES = {"tests": 0.5, "ranks": 0.3, "steps": 0.6, "graphs": 0.4, "augmented": 0.4, "lanes": 0.7, "exercise": 1.0}


class Clock:
    """Until when there is time: for all, and for the part that is under way."""

    def __init__(self, minutes):
        self.whole = self.until = time.monotonic() + minutes * 60

    def begin(self, part):
        now = time.monotonic()
        self.until = now + max(self.whole - now, 0) * SHARES[part]

    def left(self):
        return self.until - time.monotonic()


CLOCK = Clock(8.5)


def run(command, **environment):
    """Exit code, output and errors of a command; 127 where it cannot be started, 124 where there is no time left
    for it: it is ended, with all that it has started."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        told = lambda: [(file.seek(0), file.read().decode(errors="replace"))[1] for file in (out, err)]
        try:
            started = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                       env={**os.environ, "PYTHON": PYTHON, **environment}, start_new_session=True)
        except OSError as error:
            return 127, "", str(error)
        try:
            code = started.wait(max(CLOCK.left(), 5))
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
            said, errors = told()
            return 124, said, f"{errors}\nno time left: ended"
        return code, *told()


def reason(code, out, err):
    """The last line that a command which failed has said."""
    return next((line for line in reversed((err.strip() or out.strip()).splitlines())), f"exit code {code}")


def figures(command, **environment):
    """The JSON that a benchmark prints on its last line, or what it failed with; and which convolutions were not
    cuDNN's."""
    code, out, err = run(command, **environment)
    if code:
        return {"failed": reason(code, out, err)}
    try:
        seen = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        return {"failed": f"no figures: {reason(code, out, err)}"}
    patches = [line for line in err.splitlines() if line.startswith("not by cuDNN")]
    return {**seen, "not_by_cudnn": patches} if patches else seen


def check(tests):
    """What the comparisons with the CPU came to."""
    names = ["accelerated::", "resident::", "augmented::", "collective::", "emulated::"]
    CLOCK.begin("tests")
    code, out, err = run([tests, *names, "--nocapture", "--test-threads=1"])
    skipped = sorted(set(re.findall(r"^skipped: (.*)$", out, re.M)))
    # What may be skipped on a machine that only trains, and has one GPU: the kernels on the host, and
    # ranks with a GPU each.
    allowed = re.compile(r"no C\+\+|the sources|\d+ ranks on GPUs: there is no GPU [1-9]")
    without_gpu = [reason for reason in skipped if not allowed.match(reason)]
    passed = re.search(r"(\d+) passed; (\d+) failed", out)
    return {
        # Those that have ended, where not all of them have.
        "passed": int(passed[1]) if passed else len(re.findall(r"\bok$", out, re.M)),
        "failed": int(passed[2]) if passed else len(re.findall(r"\bFAILED$", out, re.M)),
        "skipped": skipped,
        "on_a_gpu": code == 0 and passed is not None and int(passed[1]) > 0 and not without_gpu,
        "said": "" if code == 0 else (out + err)[-4000:],
    }


def precision_of(row):
    return next((part[10:] for part in row[3].split() if part.startswith("precision=")), "f32")


def step(program, row, device, **environment):
    _, shape, classes, settings, _, batch, steps = row
    images = "dataset={kind=synthetic,train=%d,shape=[%d,%d,%d],classes=%d}" % (8 * batch, *shape, classes)
    return figures([program, "bench", "step", images, "lr=0.001", f"batch_size={batch}",
                    *settings.split(), "--device", device, "--steps", steps, "--json"], **environment)


def peer(python, row, *more):
    _, shape, _, _, flags, batch, steps = row
    return figures([python, PEER, *flags.split(), "--shape", *shape, "--batch", batch,
                    "--device", "cuda", "--steps", steps, *more])


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def lanes(program, model, count, device, **variables):
    """Images per second of `count` runs that are trained together, over all of them."""
    keys, shape, _, images = LANES[model]
    with tempfile.TemporaryDirectory() as folder:
        sweep = pathlib.Path(folder, "lanes.toml")
        sweep.write_text(
            f'schema = 1\nname = "lanes"\n[base]\n{keys}\nlr = 0.001\nepochs = 2\nbatch_size = 128\n'
            f'device = "{device}"\ndataset = {{ kind = "synthetic", train = {images}, val = 128, test = 128, '
            f'shape = {list(shape)}, classes = 10 }}\n[repeats]\nseeds = {count}\n')
        code, out, err = run([program, "sweep", sweep, "--lanes", count, "-j", 1, "--runs", folder],
                             **variables)
        if code:
            return {"failed": reason(code, out, err)}
        runs = rows_of(pathlib.Path(folder, "lanes", "runs.csv"))
        return {"images_per_s": sum(float(row["images_per_s"]) for row in runs), "fused": runs[0]["fused_lanes"]}


def numbers(path):
    """Every f32 of a safetensors file, by tensor."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    f32 = {name: told for name, told in header.items() if name != "__metadata__" and told["dtype"] == "F32"}
    return {name: array.array("f", raw[start + told["data_offsets"][0]:start + told["data_offsets"][1]])
            for name, told in f32.items()}


def apart(one, two):
    """The norm of what two sets of tensors differ by, as a part of that of the first."""
    if one.keys() != two.keys():
        return float("inf")
    squares = lambda pairs: sum((a - b) ** 2 for a, b in pairs)
    off = sum(squares(zip(one[name], two[name])) for name in one)
    return (off / sum(x * x for tensor in one.values() for x in tensor)) ** 0.5


def ranks(program, name, gpus):
    """A run on one rank and on two, and how far they are apart."""
    keys, shape, images = RANKS[name]
    with tempfile.TemporaryDirectory() as folder:
        sweep, machine = pathlib.Path(folder, "ranks.toml"), pathlib.Path(folder, "machine.toml")
        sweep.write_text(
            f'schema = 1\nname = "ranks"\n[base]\n{keys}\nlr = 0.01\nepochs = 2\nbatch_size = 128\n'
            f'device = "cuda"\ndataset = {{ kind = "synthetic", train = {images}, val = 128, test = 128, '
            f'shape = {list(shape)}, classes = 10 }}\n[grid]\ndevices = [1, 2]\n')
        command = [program, "sweep", sweep, "-j", 1, "--runs", folder]
        if gpus < 2:
            machine.write_text('cores = 4\nmemory_gib = 8\n[[gpu]]\nname = "shared"\nmemory_gib = 8\ncount = 2\n')
            command += ["--inventory", machine]
        code, out, err = run(command, **(SHARED if gpus < 2 else {}))
        table = pathlib.Path(folder, "ranks", "runs.csv")
        rows = {row["devices"]: row for row in rows_of(table)} if table.exists() else {}
        failed = [row["reason"] for row in rows.values() if row["status"] != "finished"]
        if code or failed or len(rows) != 2:
            return {"failed": failed[-1] if failed else reason(code, out, err)}
        weights = {}
        for record in pathlib.Path(folder, "ranks").glob("*/run.json"):
            devices = str(json.loads(record.read_text())["config"].get("devices", 1))
            files = sorted(record.parent.glob("checkpoint/*.safetensors"))
            weights[devices] = numbers(files[-1])
        losses = [max(abs(float(rows["1"][key]) - float(rows["2"][key])) for key in ("train_loss", "val_loss", "test_loss"))]
        two = rows["2"]
        bytes_summed = 4 * int(two["parameters"])
        seconds = float(two["step_communication_s"])
        return {
            "shared_gpu": gpus < 2, "loss_apart": losses[0], "weights_apart": apart(weights["1"], weights["2"]),
            "images_per_s": [float(rows[n]["images_per_s"]) for n in ("1", "2")],
            "step_compute_s": float(two["step_compute_s"]), "step_communication_s": seconds,
            "step_wait_s": float(two["step_wait_s"]), "bytes_summed": bytes_summed,
            "bytes_per_s": bytes_summed / seconds if seconds else None,
        }


def rank_rows(args, gpus):
    """Runs on two ranks beside one."""
    print(f"{'ranks of':10} {'loss apart':>11} {'weights':>9} {'sums ms':>8} {'waits ms':>8} {'GB/s':>6}")
    for name in RANKS:
        if args.rows and not any(part in f"ranks {name}" for part in args.rows):
            continue
        seen = {"left_out": "no time left"} if CLOCK.left() < 20 else ranks(args.program, name, gpus)
        ms = lambda key: show(seen[key] * 1e3 if key in seen else None, "8.3f")
        rate = seen.get("bytes_per_s")
        print(f"{name:10} {show(seen.get('loss_apart'), '11.2e'):>11} {show(seen.get('weights_apart'), '9.2e'):>9} "
              f"{ms('step_communication_s'):>8} {ms('step_wait_s'):>8} {show(rate / 1e9 if rate else None, '6.2f'):>6} "
              f"{seen.get('failed', seen.get('left_out', ''))}", flush=True)
        yield {"model": name, **seen}


def exercise(program):
    """The rows of throughput.csv of the sweep that asks what a GPU is worth."""
    with tempfile.TemporaryDirectory() as folder:
        sweep = HERE.parent / "sweeps/gpu_vs_cpu.toml"
        code, out, err = run([program, "sweep", sweep, "--short", "--runs", folder])
        table = pathlib.Path(folder, "gpu_vs_cpu-short", "throughput.csv")
        if not table.exists():
            return {"failed": reason(code, out, err)}
        return {"exit_code": code, "rows": rows_of(table)}


def median(rounds, key="step_ms_median"):
    numbers = [figures[key] for figures in rounds if key in figures]
    return statistics.median(numbers) if numbers else None


def ratio(theirs, ours):
    return theirs / ours if theirs and ours else None


def show(number, form):
    return format(number, form) if number is not None else "-"


def time_steps(args, has_torch):
    """Every row of steps, ours and PyTorch's in turn; fewer rounds where there is no time for all."""
    without_cudnn = False
    for row in ROWS:
        if args.rows and not any(part in row[0] for part in args.rows):
            continue
        precision = precision_of(row)
        told = {"row": row[0], "batch": row[5], "precision": precision}
        if CLOCK.left() < 30:
            yield told | {"left_out": "no time left"}
            continue
        ours, theirs = [], {name: [] for name in PEERS[precision]}
        for number in range(args.rounds):
            if number and CLOCK.left() < 30:
                break
            ours.append(step(args.program, row, args.device))
            for name, (flags, rounds) in PEERS[precision].items():
                if has_torch and number < rounds and CLOCK.left() > (60 if "--compile" in flags else 15):
                    theirs[name].append(peer(PYTHON, row, *flags))
        if "alexnet" in row[0] and not without_cudnn:
            without_cudnn = True
            told["ours_without_cudnn"] = step(args.program, row, args.device, GRIDLANE_CUDNN="off")
        mine = median(ours)
        medians = {name: median(seen) for name, seen in theirs.items()}
        cells = "".join(f"  {name} {show(its, '.3f')} ({show(ratio(its, mine), '.2f')})" for name, its in medians.items())
        print(f"{row[0]:24} batch {row[5]:5} {precision:5} ours {show(mine, '.3f')} ms;{cells}", flush=True)
        for failed in (seen["failed"] for seen in sum(theirs.values(), ours) if "failed" in seen):
            print(f"  {failed}")
        yield told | {
            "device": next((seen["device"] for seen in ours if "device" in seen), None),
            "ours": ours, "pytorch": theirs,
            "ratios": {name: ratio(its, mine) for name, its in medians.items()},
        }


def lane_curve(args, steps):
    """What groups of lanes are worth, beside PyTorch's runs one after another."""
    print(f"{'lanes of':10} {'lanes':>5} {'images/s':>12} {'to one':>7} {'to PyTorch':>10}")
    for model, (_, _, counts, _) in LANES.items():
        if args.rows and not any(part in model for part in args.rows):
            continue
        alone = next((row for row in steps if row["row"].startswith(model) and row.get("pytorch")), {})
        eager = median(alone.get("pytorch", {}).get("eager", []), "images_per_s")
        first = None
        for count in counts:
            seen = {"left_out": "no time left"} if CLOCK.left() < 15 else lanes(args.program, model, count, args.device_kind)
            rate = seen.get("images_per_s")
            first = first or rate
            print(f"{model:10} {count:5} {show(rate, '12.0f'):>12} {show(ratio(rate, first), '7.2f'):>7} "
                  f"{show(ratio(rate, eager), '10.2f'):>10} {seen.get('failed', seen.get('left_out', ''))}", flush=True)
            yield {"model": model, "lanes": count, **seen, "to_one": ratio(rate, first),
                   "to_pytorch_eager": ratio(rate, eager)}


def augment(args, device, level, side, images):
    dataset = f"dataset={{kind=synthetic,shape=[3,{side},{side}]}}"
    return figures([args.program, "bench", "augment", "--json", dataset, f"augmentation={level}", "batch_size=128",
                    "--images", images, "--rounds", 5, "--device", device])


def augmented(args, has_torch):
    """Images per second of augmented batches of 128: on the device, on one core, by torchvision."""
    print(f"{'augmented':14} {'side':>4} {'images/s':>12} {'one core':>10} {'v2 on GPU':>10} {'to core':>8} {'to v2':>6}")
    for level, side, images in AUGMENTED:
        if args.rows and "augmented" not in args.rows:
            continue
        if CLOCK.left() < 20:
            yield {"level": level, "side": side, "left_out": "no time left"}
            continue
        ours, core = [augment(args, device, level, side, images) for device in (args.device, "cpu")]
        v2 = {}
        if has_torch:
            v2 = figures([PYTHON, AUGMENT_PEER, "--level", level, "--side", side, "--images", images, "--device", "cuda"])
        rates = [ours.get("images_per_s"), core.get("images_per_s"), v2.get("images_per_s", {}).get("batch")]
        cells = "".join(f" {show(rate, f'{width}.0f'):>{width}}" for rate, width in zip(rates, (12, 10, 10)))
        print(f"{level:14} {side:4}{cells} {show(ratio(rates[0], rates[1]), '8.2f'):>8} "
              f"{show(ratio(rates[0], rates[2]), '6.2f'):>6}", flush=True)
        for failed in (seen["failed"] for seen in (ours, core, v2) if "failed" in seen):
            print(f"  {failed}")
        yield {"level": level, "side": side, "ours": ours, "one_core": core, "torchvision_v2": v2,
               "to_core": ratio(rates[0], rates[1]), "to_v2": ratio(rates[0], rates[2])}


def graphs(args):
    """Images per second with graphs and without, in turn."""
    print(f"{'graphs':10} {'lanes':>5} {'with':>12} {'without':>12} {'ratio':>6}")
    for model in LANES:
        if args.rows and not any(part in model for part in args.rows):
            continue
        for count in GRAPHS:
            if CLOCK.left() < 20:
                yield {"model": model, "lanes": count, "left_out": "no time left"}
                continue
            seen = {"with": [], "without": []}
            for number in range(args.rounds):
                if number and CLOCK.left() < 20:
                    break
                for name, value in (("with", "on"), ("without", "off")):
                    seen[name].append(lanes(args.program, model, count, args.device_kind,
                                            GRIDLANE_CUDA_GRAPHS=value))
            on, off = (median(seen[name], "images_per_s") for name in ("with", "without"))
            print(f"{model:10} {count:5} {show(on, '12.0f'):>12} {show(off, '12.0f'):>12} "
                  f"{show(ratio(on, off), '6.2f'):>6}", flush=True)
            for failed in (its["failed"] for its in seen["with"] + seen["without"] if "failed" in its):
                print(f"  {failed}")
            yield {"model": model, "lanes": count, **seen, "ratio": ratio(on, off)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", help="parts of names; every row where none is given")
    parser.add_argument("--program", type=pathlib.Path, default=BUILT / "gridlane")
    parser.add_argument("--tests", type=pathlib.Path, default=BUILT / "gridlane-tests")
    parser.add_argument("--device", default="cuda:0", help="cpu tries the command out where there is no GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.5, help="begin nothing that would end later")
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("gpu-check.json"))
    args = parser.parse_args()
    args.device_kind = args.device.split(":")[0]
    CLOCK.__init__(args.minutes)
    has_torch = run([PYTHON, "-c", "import torch, sys; sys.exit(not torch.cuda.is_available())"])[0] == 0
    gpu = run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])[1].strip()

    record = {"gpu": gpu}
    save = lambda: args.json.write_text(json.dumps(record, indent=1))
    record["tests"] = checked = check(args.tests)
    save()
    print(f"GPU: {gpu or 'none that nvidia-smi knows'}")
    print(f"tests: {checked['passed']} passed, {checked['failed']} failed"
          f"{'' if checked['on_a_gpu'] else ', not on a GPU'}")
    for why in checked["skipped"]:
        print(f"  skipped: {why}")
    if checked["said"]:
        print(checked["said"], flush=True)
    # What may be wrong comes before what may be slow.
    parts = {
        "ranks": lambda: rank_rows(args, len(gpu.splitlines())),
        "steps": lambda: time_steps(args, has_torch),
        "graphs": lambda: graphs(args),
        "augmented": lambda: augmented(args, has_torch),
        "lanes": lambda: lane_curve(args, record["steps"]),
        "exercise": lambda: [] if args.rows else [
            exercise(args.program) if CLOCK.left() > 30 else {"left_out": "no time left"}],
    }
    for name, rows in parts.items():
        CLOCK.begin(name)
        record[name] = []
        try:
            for row in rows():
                record[name].append(row)
                save()
        except Exception as error:  # What one part stumbles over is no reason to lose the others.
            record[name].append({"failed": repr(error)})
            print(f"{name}: {error!r}", flush=True)
        save()
    return 0 if checked["on_a_gpu"] else 1


if __name__ == "__main__":
    sys.exit(main())
