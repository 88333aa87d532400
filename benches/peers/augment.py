#!/usr/bin/env python3
"""The peer of `gridlane bench augment`: the same augmentation by torchvision, on one thread.

Three ways that people write it, in images a second of process CPU time:

* batch:  transforms.v2 on whole batches of byte tensors; one set of random parameters for all images
          of a batch, which is less than was asked for, but the fastest;
* tensor: transforms.v2, one byte tensor at a time;
* pil:    transforms on PIL images, as tutorials and torchvision's data sets have it.

    python augment.py [--level alexnet_style] [--side 32] [--rounds 5] [--gridlane PATH]

With --device cuda only the first of them is measured, on the GPU, in images a second on the clock: the bytes
lie there already.

With --gridlane the program is measured in turn with the peer, round by round, and ratios are printed.
"""
import argparse
import json
import statistics
import subprocess
import time

import torch
from torchvision import transforms as T
from torchvision.transforms import functional as F
from torchvision.transforms import v2

parser = argparse.ArgumentParser()
parser.add_argument("--level", default="alexnet_style", choices=["basic", "strong", "alexnet_style"])
parser.add_argument("--side", type=int, default=32, help="height and width of the colour images")
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--images", type=int, default=512, help="images of one round, one at a time")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
parser.add_argument("--gridlane", help="the program to measure in turn")
options = parser.parse_args()

torch.set_num_threads(1)
torch.manual_seed(0)
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


def operations(module):
    """The level, by either generation of torchvision's transforms."""
    flip = module.RandomHorizontalFlip()
    return {
        "basic": [flip],
        "strong": [flip, module.RandomRotation(10), module.ColorJitter(0.2, 0.2)],
        "alexnet_style": [module.RandomCrop(options.side, padding=4), flip,
                          module.RandomAffine(15, translate=(0.1, 0.1)),
                          module.ColorJitter(0.3, 0.3, 0.2)],
    }[options.level]


on_gpu = options.device == "cuda"
tensors = torch.randint(0, 256, (options.images, 3, options.side, options.side), dtype=torch.uint8)
pictures = [] if on_gpu else [F.to_pil_image(tensor) for tensor in tensors]
tensors = tensors.to(options.device)
to_numbers = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
second = v2.Compose(operations(v2) + to_numbers)
first = T.Compose(operations(T) + [T.ToTensor(), T.Normalize(MEAN, STD)])


def on_batches():
    for start in range(0, options.images, options.batch):
        second(tensors[start:start + options.batch])


def on_tensors():
    for start in range(0, options.images, options.batch):
        torch.stack([second(tensor) for tensor in tensors[start:start + options.batch]])


def on_pictures():
    for start in range(0, options.images, options.batch):
        torch.stack([first(picture) for picture in pictures[start:start + options.batch]])


def rate(work):
    """Images a second of CPU time, or on the clock until the GPU has done its work."""
    clock = time.perf_counter if on_gpu else time.process_time
    began = clock()
    work()
    if on_gpu:
        torch.cuda.synchronize()
    return options.images / (clock() - began)


def ours():
    """Images a second of the program."""
    shape = f"[3,{options.side},{options.side}]"
    command = [options.gridlane, "bench", "augment", "--json", f"augmentation={options.level}",
               f"dataset={{kind=synthetic,shape={shape}}}", f"batch_size={options.batch}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["images_per_cpu_s"]


ways = {"batch": lambda: rate(on_batches), "tensor": lambda: rate(on_tensors),
        "pil": lambda: rate(on_pictures)}
if on_gpu:
    ways = {"batch": ways["batch"]}
if options.gridlane:
    ways["gridlane"] = ours
for way in ways.values():
    way()
found = {name: [] for name in ways}
for _ in range(options.rounds):
    for name, way in ways.items():
        found[name].append(way())
report = {"peer": f"torchvision {__import__('torchvision').__version__}", "level": options.level,
          "side": options.side, "rounds": options.rounds,
          "images_per_s": {name: round(statistics.median(rates)) for name, rates in found.items()}}
if options.gridlane:
    pairs = {name: [a / b for a, b in zip(found["gridlane"], found[name])]
             for name in ways if name != "gridlane"}
    report["times_as_fast"] = {
        name: {"median": round(statistics.median(ratios), 1), "least": round(min(ratios), 1),
               "most": round(max(ratios), 1)} for name, ratios in pairs.items()}
print(json.dumps(report))
