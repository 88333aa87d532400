"""The training step that a PyTorch user would write, timed: the peer of `gridlane bench step`.

Prints one JSON object: the median and least milliseconds of a step (zero_grad, forward, loss,
backward, update) on a batch that is already in memory, and the peak memory of the process beyond
what it has after importing PyTorch.

On a GPU (`--device cuda`) blocks of ten steps are timed, the GPU waited for at the end of each, and
memory is what PyTorch has reserved there. Products and convolutions are in f32 unless `--tf32`, or `--amp`
for autocast to bf16, which needs no scaled loss.
"""
import argparse
import json
import resource
import time

import torch
from torch import nn

ACTIVATIONS = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid, "tanh": nn.Tanh,
}


def convolution(inputs, outputs, kernel, act, batch_norm, **geometry):
    """A convolution with its activation; batch normalisation takes the bias's place."""
    layers = [nn.Conv2d(inputs, outputs, kernel, bias=not batch_norm, **geometry)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    return layers + [act()]


def mlp(shape, act, batch_norm, width):
    """784-512-256-128-10 on 28 px grey images."""
    units = [shape[0] * shape[1] * shape[2], *(max(16, int(n * width)) for n in (512, 256, 128))]
    layers = [nn.Flatten()]
    for inputs, outputs in zip(units, units[1:]):
        layers.append(nn.Linear(inputs, outputs, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(outputs))
        layers.append(act())
    return nn.Sequential(*layers, nn.Linear(units[-1], 10))


def alexnet32(shape, act, batch_norm, width):
    """Five 3x3 convolutions, pooling to 2x2, three linear layers."""
    c = [shape[0], *(max(8, int(n * width)) for n in (64, 192, 384, 256, 256))]
    hidden = max(16, int(1024 * width))
    conv = lambda i, **geometry: convolution(c[i], c[i + 1], 3, act, batch_norm, padding=1, **geometry)
    return nn.Sequential(
        *conv(0, stride=2), nn.MaxPool2d(2), *conv(1), nn.MaxPool2d(2), *conv(2), *conv(3), *conv(4),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(c[5] * 4, hidden), act(),
        nn.Linear(hidden, hidden), act(), nn.Linear(hidden, 10))


def alexnet(shape, act, batch_norm, width):
    """The 224 px network on one device; 61,100,840 parameters at 1000 classes."""
    conv = lambda *sizes, **geometry: convolution(*sizes, act, batch_norm, **geometry)
    return nn.Sequential(
        *conv(shape[0], 64, 11, stride=4, padding=2), nn.MaxPool2d(3, 2),
        *conv(64, 192, 5, padding=2), nn.MaxPool2d(3, 2), *conv(192, 384, 3, padding=1),
        *conv(384, 256, 3, padding=1), *conv(256, 256, 3, padding=1), nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(256 * 36, 4096), act(),
        nn.Linear(4096, 4096), act(), nn.Linear(4096, 1000))


MODELS = {"mlp": mlp, "alexnet32": alexnet32, "alexnet": alexnet}


def optimizer(name, parameters, capturable):
    """The same update rules as the configurations of the other side."""
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
    adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return adam(parameters, lr=1e-3, capturable=capturable)


def captured(step):
    """The step as a CUDA graph, after three on a side stream, as PyTorch's documentation wants it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=MODELS, default="mlp")
    parser.add_argument("--shape", type=int, nargs=3, default=(1, 28, 28))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--optimizer", choices=["sgd", "adam", "adamw"], default="adam")
    parser.add_argument("--activation", choices=ACTIVATIONS, default="relu")
    parser.add_argument("--batch-norm", action="store_true")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--tf32", action="store_true")
    parser.add_argument("--amp", action="store_true", help="forward pass and loss under autocast to bf16")
    parser.add_argument("--compile", action="store_true", help="torch.compile of the forward and backward pass")
    parser.add_argument("--graph", action="store_true", help="the whole step as one CUDA graph")
    return parser.parse_args()


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    imported = peak_bytes()
    model = MODELS[args.model](args.shape, ACTIVATIONS[args.activation], args.batch_norm, args.width)
    x = torch.randn(args.batch, *args.shape)
    if args.channels_last:
        model, x = (it.to(memory_format=torch.channels_last) for it in (model, x))
    y = torch.randint(0, 10, (args.batch,))
    on_gpu = args.device == "cuda"
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = args.tf32
        torch.backends.cudnn.allow_tf32 = args.tf32
        torch.backends.cudnn.benchmark = True
        model, x, y = (it.to("cuda") for it in (model, x, y))
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    block = 10 if on_gpu else 1
    update = optimizer(args.optimizer, model.parameters(), capturable=args.graph)
    loss = nn.CrossEntropyLoss()
    forward = torch.compile(model) if args.compile else model

    def step():
        update.zero_grad(set_to_none=True)
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.amp):
            value = loss(forward(x), y)
        value.backward()
        update.step()

    if args.graph:
        step = captured(step)

    for _ in range(max(3, args.steps // 5)):
        step()
    wait()
    times = []
    for _ in range(max(1, args.steps // block)):
        begun = time.perf_counter()
        for _ in range(block):
            step()
        wait()
        times.append((time.perf_counter() - begun) / block)
    times.sort()
    median = times[len(times) // 2]
    print(json.dumps({
        "engine": f"pytorch {torch.__version__}",
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "tf32": args.tf32,
        "amp": args.amp,
        "channels_last": args.channels_last,
        "compiled": args.compile,
        "graph": args.graph,
        "threads": torch.get_num_threads(),
        "step_ms_median": median * 1e3,
        "step_ms_min": times[0] * 1e3,
        "images_per_s": args.batch / median,
        "parameters": sum(p.numel() for p in model.parameters()),
        "peak_memory_bytes": torch.cuda.max_memory_reserved() if on_gpu else peak_bytes() - imported,
    }))


main()
