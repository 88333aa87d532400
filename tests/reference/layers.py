#!/usr/bin/env python3
"""PyTorch's numbers for every layer, loss and update rule of the engine, in f64.

    python3 -m venv venv && venv/bin/pip install torch==2.11.0 safetensors
    venv/bin/python tests/reference/layers.py

writes tests/fixtures/pytorch/layers.safetensors: small cases with fixed seeds, each a group of
tensors named `case/tensor`. For a layer: x, y, dy, dx, its parameters, and their gradients as
d_weight and d_bias. Images are (N, C, H, W), as PyTorch has them. The header names torch's version.
The tests beside the layers read the file and hold the engine to it; a case that no test reads
fails them.
"""
import pathlib

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

FILE = pathlib.Path(__file__).parents[1] / "fixtures" / "pytorch" / "layers.safetensors"
tensors = {}


def note(case, **named):
    """Stores the tensors of a case."""
    for name, tensor in named.items():
        assert f"{case}/{name}" not in tensors, f"{case}/{name} twice"
        # Labels are small whole numbers, which f64 holds exactly.
        tensors[f"{case}/{name}"] = tensor.detach().to(torch.float64).clone().contiguous()


def layer(case, module, shape, scale=1.0):
    """Stores one forward and backward of a module with random parameters."""
    torch.manual_seed(len(tensors))
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.7)
    x = (scale * torch.randn(shape)).requires_grad_()
    y = module(x)
    dy = torch.randn_like(y)
    y.backward(dy)
    note(case, x=x, y=y, dy=dy, dx=x.grad)
    for name, parameter in module.named_parameters():
        note(case, **{name: parameter, f"d_{name}": parameter.grad})


def activations():
    for name, module in {
        "relu": nn.ReLU(),
        "leaky_relu": nn.LeakyReLU(),
        "leaky_relu_0.3": nn.LeakyReLU(0.3),
        "elu": nn.ELU(),
        "elu_1.7": nn.ELU(1.7),
        "gelu": nn.GELU(),
        "gelu_tanh": nn.GELU(approximate="tanh"),
        "silu": nn.SiLU(),
        "sigmoid": nn.Sigmoid(),
        "tanh": nn.Tanh(),
        "identity": nn.Identity(),
    }.items():
        layer(f"activation/{name}", module, (4, 9), scale=2.5)


def pools():
    # size, stride, padding, ceil_mode; the last two over unequal axes.
    shapes = [
        (2, 2, 0, False), (2, 2, 0, True), (3, 2, 0, False), (3, 2, 0, True), (3, 2, 1, False),
        (3, 2, 1, True), (3, 1, 1, False), (2, 3, 0, True), ((3, 2), (2, 1), (1, 0), True),
        ((1, 4), (1, 3), (0, 2), True),
    ]
    for number, (size, stride, padding, ceil) in enumerate(shapes):
        pool = nn.MaxPool2d(size, stride, padding, ceil_mode=ceil)
        layer(f"max_pool2d/{number}", pool, (2, 2, 6, 5))
        for count in (False, True):
            pool = nn.AvgPool2d(size, stride, padding, ceil_mode=ceil, count_include_pad=count)
            layer(f"avg_pool2d/{number}_{'with' if count else 'without'}", pool, (2, 2, 6, 5))
    for size in ((1, 1), (2, 2), (4, 3), (6, 5), (7, 8)):
        pool = nn.AdaptiveAvgPool2d(size)
        layer(f"adaptive_avg_pool2d/{size[0]}x{size[1]}", pool, (2, 2, 6, 5))


def normalisations():
    for name, arguments in {
        "paper": dict(size=5, alpha=1e-4, beta=0.75, k=2.0),
        "strong": dict(size=5, alpha=0.9, beta=0.75, k=1.0),
        "wide": dict(size=9, alpha=0.5, beta=0.5, k=1.0),
        "even": dict(size=4, alpha=0.7, beta=1.3, k=0.5),
        "single": dict(size=1, alpha=0.7, beta=1.0, k=0.5),
    }.items():
        layer(f"local_response_norm/{name}", nn.LocalResponseNorm(**arguments), (2, 7, 2, 3), 2.0)
    for name, shape, arguments in (
        ("images", (4, 3, 3, 2), {}),
        ("vectors", (6, 5), {}),
        ("momentum", (4, 3, 2, 2), dict(momentum=0.37)),
        ("eps", (6, 5), dict(eps=0.05)),
    ):
        kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
        module = kind(shape[1], **arguments)
        case = f"batch_norm/{name}"
        layer(case, module, shape)
        # A second batch, so that the running statistics have moved twice, and a measurement.
        x = 1.5 * torch.randn(shape) + 0.4
        module(x)
        module.eval()
        note(case, second_x=x, measured_y=module(x))
        note(case, running_mean=module.running_mean, running_var=module.running_var)


def products():
    layer("linear/bias", nn.Linear(5, 3), (4, 5))
    layer("linear/plain", nn.Linear(5, 3, bias=False), (4, 5))
    for name, channels, arguments in (
        ("plain", (2, 3), dict(kernel_size=3, bias=False)),
        ("padding", (2, 3), dict(kernel_size=3, padding=1)),
        ("stride", (2, 3), dict(kernel_size=3, stride=2, padding=1)),
        ("large", (2, 3), dict(kernel_size=5, stride=1, padding=2)),
        ("point", (4, 3), dict(kernel_size=1)),
        ("unequal", (2, 3), dict(kernel_size=(3, 2), stride=(1, 2), padding=(2, 1))),
        ("dilation", (2, 3), dict(kernel_size=3, padding=2, dilation=2)),
        ("groups", (4, 6), dict(kernel_size=3, padding=1, groups=2)),
        ("depthwise", (4, 4), dict(kernel_size=3, padding=1, groups=4)),
        ("everything", (4, 6), dict(kernel_size=3, stride=2, padding=3, dilation=2, groups=2)),
    ):
        layer(f"conv2d/{name}", nn.Conv2d(*channels, **arguments), (2, channels[0], 6, 5))


def losses():
    for name, smoothing in (("plain", 0.0), ("smoothed", 0.1), ("strong", 0.6)):
        torch.manual_seed(len(tensors))
        x = (2.0 * torch.randn(6, 5)).requires_grad_()
        labels = torch.tensor([0, 4, 2, 2, 1, 3])
        y = F.cross_entropy(x, labels, label_smoothing=smoothing)
        y.backward()
        note(f"cross_entropy/{name}", x=x, labels=labels, y=y.reshape(1), dx=x.grad)


def optimizers():
    for name, rule, arguments in (
        ("sgd", torch.optim.SGD, dict(lr=0.1)),
        ("sgd_decay", torch.optim.SGD, dict(lr=0.1, weight_decay=0.03)),
        ("momentum", torch.optim.SGD, dict(lr=0.1, momentum=0.9, weight_decay=0.03)),
        ("nesterov", torch.optim.SGD, dict(lr=0.1, momentum=0.9, weight_decay=0.03, nesterov=True)),
        ("adam", torch.optim.Adam, dict(lr=0.01)),
        ("adam_decay", torch.optim.Adam, dict(lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
        ("adamw", torch.optim.AdamW, dict(lr=0.01, weight_decay=0.1)),
    ):
        torch.manual_seed(len(tensors))
        w = torch.randn(6).requires_grad_()
        start, gradients, values = w.detach().clone(), torch.randn(5, 6), []
        optimizer = rule([w], **arguments)
        for gradient in gradients:
            w.grad = gradient.clone()
            optimizer.step()
            values.append(w.detach().clone())
        note(f"optimizer/{name}", start=start, gradients=gradients, values=torch.stack(values))


activations()
pools()
normalisations()
products()
losses()
optimizers()
FILE.parent.mkdir(parents=True, exist_ok=True)
save_file(tensors, FILE, metadata={"torch": torch.__version__, "script": "tests/reference/layers.py"})
print(f"{len(tensors)} tensors, {FILE.stat().st_size} bytes, torch {torch.__version__}")
