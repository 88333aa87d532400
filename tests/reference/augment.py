#!/usr/bin/env python3
"""Writes tests/fixtures/torchvision/augment.json: what torchvision makes of known images with known
parameters, and how its random parameters are distributed. Made with torchvision 0.26.0, torch 2.11.0
and Pillow 13.0.0.

    python augment.py > ../fixtures/torchvision/augment.json
"""
import json
import math
import random
import struct

import numpy
import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import functional as F
from torchvision.transforms import v2

torch.manual_seed(1)
random.seed(1)


def picture(height, width, channels=3):
    """An image with edges, gradients and noise; the Rust test makes the same one."""
    pixel = lambda c, y, x: (x * 23 + y * 41 + c * 67 + x * y * (c + 3) + (x * x + 7 * y) // 5) % 256
    data = [[[pixel(c, y, x) for c in range(channels)] for x in range(width)] for y in range(height)]
    data = numpy.array(data, dtype=numpy.uint8)
    return Image.fromarray(data if channels == 3 else data[:, :, 0])


def planes(image):
    """Channels first, as hexadecimal."""
    data = numpy.array(image)
    data = data[:, :, None] if data.ndim == 2 else data
    return data.transpose(2, 0, 1).tobytes().hex()


def geometry():
    cases = []

    def add(operation, size, result, **parameters):
        cases.append({"operation": operation, "size": size, "parameters": parameters,
                      "result_size": [result.height, result.width], "pixels": planes(result)})

    for size in [[9, 12], [16, 16], [7, 5]]:
        image = picture(*size)
        for _ in range(8):
            angle, scale = random.uniform(-180, 180), random.uniform(0.5, 2)
            shear = [random.uniform(-30, 30), random.uniform(-30, 30)]
            shift = [random.randint(-3, 3), random.randint(-3, 3)]
            add("affine", size, F.affine(image, angle, shift, scale, shear),
                degrees=angle, shift=shift, scale=scale, shear=shear)
        for scale, shift in [(1.37, [1, -2]), (0.61, [0, 2]), (1.0, [3, 1])]:
            add("affine", size, F.affine(image, 0.0, shift, scale, [0.0, 0.0]),
                degrees=0.0, shift=shift, scale=scale, shear=[0.0, 0.0])
        for angle in [3.3, -14.9, 71.0]:
            add("rotate", size, F.rotate(image, angle), degrees=angle)
        for top, left in [(0, 0), (8, 8), (3, 5)]:
            padded = F.pad(image, [4, 4, 4, 4])
            add("crop", size, F.crop(padded, top, left, *size), place=[top - 4, left - 4])
        add("mirror", size, F.hflip(image))
        for cut in [[4, 4], [5, 3], [12, 15]]:
            add("centre", size, F.center_crop(image, cut), cut=cut)
    for size, cut, result in [([9, 12], [1, 2, 7, 8], [9, 12]), ([9, 12], [0, 0, 9, 12], [4, 5]),
                              ([16, 16], [3, 1, 5, 6], [16, 16]), ([30, 40], [2, 7, 25, 31], [8, 8]),
                              ([30, 40], [0, 0, 30, 40], [11, 29]), ([16, 16], [5, 5, 1, 1], [3, 3])]:
        add("resized_crop", size, F.resized_crop(picture(*size), *cut, result),
            cut=cut, to=result)
    return cases


def colour():
    """Single changes of a PIL image and of a tensor in [0, 1]; sequences of a tensor."""
    size = [6, 7]
    change = {"brightness": F.adjust_brightness, "contrast": F.adjust_contrast,
              "saturation": F.adjust_saturation, "hue": F.adjust_hue}
    sequences = [[[name, factor]] for name in ["brightness", "contrast", "saturation"]
                 for factor in [0.0, 0.6, 0.95, 1.3, 1.9]]
    sequences += [[["hue", turn]] for turn in [-0.5, -0.31, -0.04, 0.11, 0.5]]
    sequences += [[["contrast", 1.4], ["brightness", 0.7], ["hue", 0.2], ["saturation", 1.6]],
                  [["hue", -0.15], ["saturation", 0.4], ["contrast", 0.8], ["brightness", 1.5]],
                  [["saturation", 1.8], ["contrast", 1.7], ["brightness", 1.2], ["hue", 0.05]]]
    cases = []
    for channels in [3, 1]:
        for sequence in sequences:
            image = picture(*size, channels)
            tensor = F.to_tensor(image)
            for name, factor in sequence:
                tensor = change[name](tensor, factor)
            case = {"channels": channels, "size": size, "sequence": sequence,
                    "values": [round(x, 7) for x in tensor.flatten().tolist()]}
            if len(sequence) == 1 and sequence[0][0] != "hue":
                name, factor = sequence[0]
                case["pixels"] = planes(change[name](image, factor))
            cases.append(case)
    return cases


def normalised():
    """All bytes through ToTensor and Normalize with the constants of CIFAR-10, as bits of floats."""
    image = Image.fromarray(numpy.arange(256, dtype=numpy.uint8).reshape(16, 16)).convert("RGB")
    mean, std = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
    values = T.Compose([T.ToTensor(), T.Normalize(mean, std)])(image).flatten().tolist()
    return {"mean": mean, "std": std, "bits": [struct.unpack("<I", struct.pack("<f", x))[0] for x in values]}


def mixed():
    """Two images through MixUp, whose partner is the one before."""
    batch = torch.tensor([[0.0, 0.25, 1.0], [0.5, 0.75, 0.125]]).reshape(2, 3, 1, 1)
    parameters = {"lam": 0.3, "labels": torch.tensor([0, 1]), "batch_size": 2}
    out = v2.MixUp(num_classes=2).transform(batch, parameters)
    return {"images": batch.flatten().tolist(), "share": 0.3, "mixed": out.flatten().tolist()}


def draws():
    """Distribution functions of what torchvision draws, at 40 places each."""
    n = 50_000
    found = {}

    def note(name, values, whole):
        values = numpy.array(values, dtype=float)
        low, high = values.min(), values.max()
        places = numpy.linspace(low, high, 42)[1:-1]
        places = numpy.unique(numpy.floor(places) + 0.5) if whole else places
        found[name] = [[float(x), float((values <= x).mean())] for x in places]

    picture_40 = torch.zeros(3, 40, 60)
    cuts = [T.RandomResizedCrop.get_params(picture_40, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(n)]
    for at, name in enumerate(["top", "left", "height", "width"]):
        note("resized_crop." + name, [cut[at] for cut in cuts], True)
    moves = [T.RandomAffine.get_params([-15, 15], [0.1, 0.2], [0.8, 1.3], [-10, 10, -5, 5], [60, 40])
             for _ in range(n)]
    note("affine.degrees", [move[0] for move in moves], False)
    note("affine.right", [move[1][0] for move in moves], True)
    note("affine.down", [move[1][1] for move in moves], True)
    note("affine.scale", [move[2] for move in moves], False)
    note("affine.shear_x", [move[3][0] for move in moves], False)
    note("affine.shear_y", [move[3][1] for move in moves], False)
    jitter = T.ColorJitter(0.3, 0.4, 1.5, 0.1)
    blends = [T.ColorJitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
              for _ in range(n)]
    for at, name in enumerate(["brightness", "contrast", "saturation", "hue"]):
        note("jitter." + name, [blend[at + 1] for blend in blends], False)
    note("jitter.place_of_hue", [blend[0].tolist().index(3) for blend in blends], True)
    crops = [T.RandomCrop.get_params(torch.zeros(3, 48, 68), [36, 36]) for _ in range(n)]
    note("crop.top", [crop[0] for crop in crops], True)
    note("crop.left", [crop[1] for crop in crops], True)
    return {"draws": n, "distributions": found}


print(json.dumps({"geometry": geometry(), "colour": colour(), "normalised": normalised(),
                  "mixed": mixed(), "random": draws()}))
