"""Learning rates of PyTorch's own schedulers, for the test of src/train/schedule.

Usage: python tests/reference/schedules.py > tests/fixtures/pytorch/schedules.json
Made with torch 2.11.0. Every case names the configuration as a sweep file would, and holds the rate
of every step in order.
"""

import json
import warnings

import torch
from torch.optim import lr_scheduler as lrs

EPOCHS, STEPS, LR = 12, 5, 0.2
TOTAL = EPOCHS * STEPS
LOSSES = [2.0, 1.5, 1.4, 1.45, 1.41, 1.4, 0.9, 0.91, 0.9, 0.95, 0.92, 0.93]
ACCURACIES = [0.3, 0.5, 0.5, 0.501, 0.5, 0.7, 0.71, 0.69, 0.7, 0.705, 0.7, 0.72]


def rates(make, per, validation=None):
    """The rate of every step of a run whose scheduler moves per step or per epoch."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=LR)
    scheduler = make(optimizer)
    found = []
    for epoch in range(EPOCHS):
        for _ in range(STEPS):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if per == "step" and len(found) < TOTAL:
                scheduler.step()
        if per == "epoch":
            scheduler.step() if validation is None else scheduler.step(validation[epoch])
    return found


def after_warmup(steps, make):
    """A linear warm-up of so many steps, then another scheduler that moves per step."""

    def both(optimizer):
        rise = lrs.LinearLR(optimizer, 1 / steps, 1.0, total_iters=steps - 1)
        return lrs.SequentialLR(optimizer, [rise, make(optimizer)], milestones=[steps])

    return both


CASES = [
    ("constant", "constant", {}, lambda o: lrs.ConstantLR(o, 1.0), "epoch"),
    ("step", {"kind": "step", "every_epochs": 4, "gamma": 0.3}, {}, lambda o: lrs.StepLR(o, 4, 0.3), "epoch"),
    ("multi_step", {"kind": "multi_step", "milestones": [3, 4, 9], "gamma": 0.3}, {},
     lambda o: lrs.MultiStepLR(o, [3, 4, 9], 0.3), "epoch"),
    ("exponential", {"kind": "exponential", "gamma": 0.8}, {}, lambda o: lrs.ExponentialLR(o, 0.8), "epoch"),
    ("exponential per step", {"kind": "exponential", "gamma": 0.8, "per": "step"}, {},
     lambda o: lrs.ExponentialLR(o, 0.8 ** (1 / STEPS)), "step"),
    ("cosine", {"kind": "cosine", "final_factor": 0.1}, {},
     lambda o: lrs.CosineAnnealingLR(o, TOTAL, 0.1 * LR), "step"),
    ("cosine per epoch", {"kind": "cosine", "per": "epoch"}, {},
     lambda o: lrs.CosineAnnealingLR(o, EPOCHS), "epoch"),
    ("warmup_cosine", {"kind": "warmup_cosine", "warmup_epochs": 3}, {},
     after_warmup(3 * STEPS, lambda o: lrs.CosineAnnealingLR(o, TOTAL - 3 * STEPS)), "step"),
    ("cosine after a warm-up", "cosine", {"warmup_epochs": 1.4},
     after_warmup(7, lambda o: lrs.CosineAnnealingLR(o, TOTAL - 7)), "step"),
    ("constant after a warm-up", "constant", {"warmup_epochs": 2.0},
     after_warmup(10, lambda o: lrs.ConstantLR(o, 1.0)), "step"),
    ("polynomial", {"kind": "polynomial", "power": 2.0}, {}, lambda o: lrs.PolynomialLR(o, TOTAL, 2.0), "step"),
    ("line after a warm-up", "polynomial", {"warmup_epochs": 1.0},
     after_warmup(5, lambda o: lrs.PolynomialLR(o, TOTAL - 5, 1.0)), "step"),
    ("one_cycle", "one_cycle", {},
     lambda o: lrs.OneCycleLR(o, LR, total_steps=TOTAL, cycle_momentum=False), "step"),
    ("one_cycle along lines", {"kind": "one_cycle", "pct_start": 0.41, "div_factor": 10.0,
                               "final_div_factor": 100.0, "anneal": "linear"}, {},
     lambda o: lrs.OneCycleLR(o, LR, total_steps=TOTAL, pct_start=0.41, div_factor=10.0,
                              final_div_factor=100.0, anneal_strategy="linear", cycle_momentum=False), "step"),
]


def plateau(name, mode, values, **options):
    """A case of ReduceLROnPlateau."""
    written = {"kind": "plateau", **options}
    if mode == "max":
        written["metric"] = "accuracy"
    make = lambda o: lrs.ReduceLROnPlateau(o, mode=mode, **options)  # noqa: E731
    return {
        "name": name,
        "config": {"lr": LR, "epochs": EPOCHS, "schedule": written},
        "steps_per_epoch": STEPS,
        "validation": values,
        "rates": rates(make, "epoch", values),
    }


def main():
    warnings.simplefilter("ignore")
    cases = [
        {
            "name": name,
            "config": {"lr": LR, "epochs": EPOCHS, "schedule": schedule, **more},
            "steps_per_epoch": STEPS,
            "validation": None,
            "rates": rates(make, per),
        }
        for name, schedule, more, make, per in CASES
    ]
    cases += [
        plateau("plateau", "min", LOSSES, factor=0.1, patience=2, threshold=1e-4),
        plateau("plateau with a rest", "min", LOSSES, factor=0.5, patience=0, threshold=0.05, cooldown=2),
        plateau("plateau with a floor", "max", ACCURACIES, factor=0.3, patience=1, threshold=0.01, min_lr=0.03),
    ]
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


if __name__ == "__main__":
    main()
