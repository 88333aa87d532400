"""What PyTorch makes of alexnet32 in 50 steps of SGD with momentum.

The activation is tanh, and the weights are those of torch.nn.init.kaiming_normal_: PyTorch's default
weights learn nothing in 50 steps, and with the kinks of ReLU PyTorch's own losses in float32 and
float64 part by percents in that time, which no other engine can follow to 1e-4.

    python parity.py [width] [lr] [folder]

Reads the order of the images from parity_order.json, which the test that compares
(tests/integration/parity.rs) writes under UPDATE_REFERENCE=1, and the images from data/embedded/.
Writes into the folder (beside this script where none is given)
  parity.safetensors  the initial weights under gridlane's names
  parity.json         the loss of every step in float32 and float64, and how they were made

The committed files are those of width 0.125 and lr 0.01; the full width wants lr 0.001.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "data" / "embedded"
BATCH, MOMENTUM, SEED = 64, 0.9, 1
MEAN, STD = 0.1307, 0.3081
CONVOLUTIONS = [(64, 2, True), (192, 1, True), (384, 1, False), (256, 1, False), (256, 1, False)]


def read(name, header):
    return numpy.frombuffer(gzip.open(DATA / name).read(), dtype=numpy.uint8, offset=header)


def alexnet32(width):
    """The network, and gridlane's name of every module with weights."""
    layers, names, channels = [], {}, 1
    for number, (out, stride, pool) in enumerate(CONVOLUTIONS, 1):
        out = max(int(out * width), 8)
        names[str(len(layers))] = f"conv{number}"
        layers += [nn.Conv2d(channels, out, 3, stride, 1), nn.Tanh()]
        channels = out
        if pool:
            layers.append(nn.MaxPool2d(2, 2))
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    hidden, inputs = max(int(1024 * width), 16), channels * 4
    for number, units in enumerate([hidden, hidden, 10], 1):
        names[str(len(layers))] = f"linear{number}"
        layers.append(nn.Linear(inputs, units))
        if number < 3:
            layers.append(nn.Tanh())
        inputs = units
    return nn.Sequential(*layers), names


def losses(state, width, lr, order, images, labels, dtype):
    network, _ = alexnet32(width)
    network.load_state_dict(state)
    network.to(dtype)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=MOMENTUM)
    pixels = ((torch.tensor(images) / 255 - MEAN) / STD).to(dtype)
    found = []
    for epoch in order:
        for start in range(0, len(epoch), BATCH):
            batch = epoch[start:start + BATCH]
            loss = nn.functional.cross_entropy(network(pixels[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return found


def main():
    torch.set_num_threads(1)
    width = float(sys.argv[1]) if len(sys.argv) > 1 else 0.125
    lr = float(sys.argv[2]) if len(sys.argv) > 2 else 0.01
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else HERE
    order = json.loads((HERE / "parity_order.json").read_text())
    count = len(order[0])
    images = read("mnist-t10k-images-idx3-ubyte.gz", 16)[:count * 784].reshape(-1, 1, 28, 28)
    labels = torch.tensor(read("mnist-t10k-labels-idx1-ubyte.gz", 8)[:count].astype(numpy.int64))
    torch.manual_seed(SEED)
    network, names = alexnet32(width)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter, nonlinearity="tanh")
    state = {key: value.clone() for key, value in network.state_dict().items()}
    weights = {f"{names[key.split('.')[0]]}.{key.split('.')[1]}": x for key, x in state.items()}
    save_file(weights, folder / "parity.safetensors")
    result = {
        "made_by": f"tests/reference/parity.py, torch {torch.__version__}",
        "width": width, "batch_size": BATCH, "lr": lr, "momentum": MOMENTUM,
        "mean": MEAN, "std": STD,
        "losses_f32": losses(state, width, lr, order, images.copy(), labels, torch.float32),
        "losses_f64": losses(state, width, lr, order, images.copy(), labels, torch.float64),
    }
    (folder / "parity.json").write_text(json.dumps(result, indent=1) + "\n")
    pairs = zip(result["losses_f32"], result["losses_f64"])
    worst = max(abs(a - b) / b for a, b in pairs)
    print(f"{result['made_by']}: {result['losses_f64'][0]:.4f} -> {result['losses_f64'][-1]:.4f},"
          f" float32 departs from float64 by {worst:.1e}")


main()
