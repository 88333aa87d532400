"""Documents and pages for the browser tests, made without gridlane: small, ablation, to_target, empty, single, hostile, large, many,
throughput.

    python tests/browser/documents.py FOLDER [NAME…]     writes FOLDER/NAME.html

A document is the one that src/report/page/ makes of a sweep; the page is made from the real template, style sheet and
scripts. Numbers are drawn from a fixed seed: they look like a sweep's and mean nothing.
"""

import json
import math
import random
import re
import sys
from pathlib import Path

import minijinja

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "src/report/page"

METRICS = [("val_accuracy", "validation accuracy", ""), ("val_loss", "validation loss", ""), ("test_accuracy", "test accuracy", ""),
           ("test_loss", "test loss", ""), ("train_loss", "training loss", ""), ("generalization_gap", "generalization gap", ""),
           ("epochs_to_target", "epochs to target", ""), ("seconds_to_target", "time to target", "s"), ("images_per_s", "throughput", "images/s"),
           ("wall_s", "wall time", "s"), ("peak_memory_bytes", "peak memory", "bytes")]
T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or DOCUMENTS:
        (folder / f"{name}.html").write_text(page(DOCUMENTS[name]()), encoding="utf-8")


def page(document):
    """The page of a document, as the Rust side assembles it."""
    environment = minijinja.Environment(auto_escape_callback=lambda name: "html")
    sources = re.findall(r'include_str!\("(assets/script/[^"]+)"\)', (PAGE / "assets.rs").read_text())
    script = '(() => {\n"use strict";\n' + "".join((PAGE / source).read_text() for source in sources) + "})();\n"
    return environment.render_str(
        (PAGE / "assets/template.html").read_text(), "template.html",
        title=document["sweep"]["name"], description=document["sweep"]["description"], header=document["sweep"]["header"], version=document["sweep"]["version"],
        status=f"{document['counts']['planned']} runs", claims=document["claims"], leaderboard=written_leaderboard(document), document=json.dumps(document, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
        style=(PAGE / "assets/report.css").read_text(), echarts=(PAGE / "assets/echarts.min.js").read_text(), script=script)


def written_leaderboard(document):
    """What readers without JavaScript get of the leaderboard."""
    table = document["leaderboard"]
    keys = [column["key"] for column in table["columns"]]
    wanted = ["rank", "configuration", "n", f"{document['metric']['name']}_mean"]
    text = lambda cell: "–" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell)
    rows = [[text(row[keys.index(key)]) for key in wanted] for row in table["rows"][:200]]
    labels = ["rank", "configuration", "n", document["metric"]["label"]]
    return {"columns": [{"label": label, "numeric": label != "configuration"} for label in labels], "rows": rows, "left_out": max(0, len(table["rows"]) - 200)}


class Sweep:
    """A pretended sweep: `axes` is `{key: [values]}`, quality of a configuration a number made of its place."""

    def __init__(self, name, axes, seeds=3, epochs=10, target=0.95, description="", header="", step_loss=False, drawn=40, broken=lambda at, seed: None):
        self.random = random.Random(7)
        self.name, self.axes, self.seeds, self.epochs, self.target = name, axes, seeds, epochs, target
        self.description, self.header, self.step_loss, self.drawn, self.broken = description, header, step_loss, drawn, broken
        points = [[]]
        for values in axes.values():
            points = [point + [value] for point in points for value in values]
        self.points = points
        self.runs = []
        for at, point in enumerate(points):
            quality = sum(3.1 * (place + 1) / len(values) for place, values in enumerate(axes.values()) for _ in [0] if values.index(point[place]) % 2) + at * 0.9 / max(1, len(points))
            for seed in range(seeds):
                self.runs.append(self.run(at, point, seed, quality))

    def run(self, at, point, seed, quality):
        status = self.broken(at, seed) or "finished"
        end = 0.9 + 0.06 * (1 - math.exp(-quality / 3)) + self.random.gauss(0, 0.004)
        speed = 0.5 + 0.15 * quality + self.random.gauss(0, 0.05)
        accuracy = [max(0.1, end - (end - 0.1) * math.exp(-speed * (epoch + 1)) + self.random.gauss(0, 0.003)) for epoch in range(self.epochs)]
        loss = [max(1e-3, 3.2 * (1 - value)) for value in accuracy]
        reached = next((epoch + 1 for epoch, value in enumerate(accuracy) if value >= self.target), None)
        metrics = None
        if status == "finished":
            wall = 20 + self.random.random() * 3
            metrics = dict(val_accuracy=accuracy[-1], val_loss=loss[-1], test_accuracy=accuracy[-1] - 0.004, test_loss=loss[-1] * 1.05, train_loss=loss[-1] * 0.7,
                           generalization_gap=loss[-1] * 0.3, epochs_to_target=reached, seconds_to_target=reached and reached * wall / self.epochs,
                           images_per_s=3000 + self.random.random() * 200, wall_s=wall, peak_memory_bytes=170_000_000 + self.random.randrange(5_000_000))
        return dict(id=f"r{at:05x}{seed:x}qk7m2", at=at, point=point, seed=seed, status=status, accuracy=accuracy, loss=loss, metrics=metrics, quality=quality)

    def document(self):
        order = sorted(range(len(self.points)), key=lambda at: -(self.mean(at, "val_accuracy") or -1))
        self.place = {at: place for place, at in enumerate(order)}
        counts = {state: sum(run["status"] == state for run in self.runs) for state in ["finished", "diverged", "failed", "pending", "running", "skipped"]}
        name = lambda point: " ".join(f"{key}={value}" for key, value in zip(self.axes, point)) or self.name
        document = {
            "format": 1,
            "sweep": {"name": self.name, "description": self.description, "header": self.header, "changes": [], "version": "0.1.0"},
            "metric": {"name": "val_accuracy", "label": "validation accuracy", "unit": "", "goal": "maximize", "target": self.target, "target_of": "val_accuracy"},
            "counts": {"planned": len(self.runs), **counts},
            "axes": [{"key": key, "values": [str(value) for value in values]} for key, values in self.axes.items()],
            "configurations": [{"name": name(self.points[at]), "axes": [str(value) for value in self.points[at]], "label": name(self.points[at])} for at in order],
            "claims": [], "leaderboard": self.leaderboard(order, name), "curves": self.curves(order), "curves_left_out": max(0, len(order) - self.drawn),
            "layers": [], "effects": {"metric": "val_accuracy", "main": self.main_effects(), "interactions": [], "left_out": 0},
            "throughput": None, "scaling": None, "scaling_fit": None, "failures": self.failures(), "failures_left_out": 0, "runs": self.run_table(name),
            "provenance": {"sweep_file": f'schema = 1\nname = "{self.name}"\n', "overrides": [], "seeds": list(range(self.seeds)),
                           "data": [{"dataset": "mnist-10k", "fingerprint": "b3:7f3c0a41d5e2" * 3}], "engine_numerics": 3, "written": "2026-11-30T02:30:00Z", "gridlane": "0.1.0",
                           "hosts": ["node01, Linux 6.1, AMD EPYC 7763, 2 cores"], "run_ids": len(self.runs)},
        }
        return document

    def values(self, at, metric):
        return [run["metrics"][metric] for run in self.runs[at * self.seeds:(at + 1) * self.seeds] if run["metrics"] and run["metrics"][metric] is not None]

    def mean(self, at, metric):
        values = self.values(at, metric)
        return sum(values) / len(values) if values else None

    def leaderboard(self, order, name):
        columns = [("rank", "rank", "", "integer"), ("configuration", "configuration", "", "text"), *((key, key, "", "text") for key in self.axes),
                   ("n", "n", "", "integer"), ("failed", "failed", "", "integer"), ("skipped", "skipped", "", "integer")]
        for metric, label, unit in METRICS:
            columns += [(f"{metric}_mean", f"{label}, mean", unit, "number"), (f"{metric}_std", f"{label}, standard deviation", unit, "number"),
                        (f"{metric}_ci95_low", f"{label}, 95 % CI, low", unit, "number"), (f"{metric}_ci95_high", f"{label}, 95 % CI, high", unit, "number")]
        columns += [("difference_to_best_mean", "difference to best", "", "number"), ("difference_to_best_ci95_low", "difference to best, 95 % CI, low", "", "number"),
                    ("difference_to_best_ci95_high", "difference to best, 95 % CI, high", "", "number"), ("p_value", "p", "", "number"), ("p_value_holm", "p (Holm)", "", "number"),
                    ("tied_with_best", "tied with best", "", "boolean"), ("p_value_permutation", "p (permutation)", "", "number"), ("pairs", "pairs", "", "integer"), ("target_reached", "target reached", "", "integer")]
        rows = []
        best = self.mean(order[0], "val_accuracy") if order else None
        for rank, at in enumerate(order, start=1):
            values = self.values(at, "val_accuracy")
            states = [run["status"] for run in self.runs[at * self.seeds:(at + 1) * self.seeds]]
            row = [rank if values else None, name(self.points[at]), *map(str, self.points[at]), len(values), sum(state in ("failed", "diverged") for state in states), states.count("skipped")]
            for metric, _, _ in METRICS:
                row += summary(self.values(at, metric))
            compared = values and rank > 1
            p = min(1, 0.5 / rank ** 1.5) if compared and len(values) > 1 else None
            difference = self.mean(at, "val_accuracy") - best if compared else None
            row += [difference, difference and difference - 0.01, difference and difference + 0.01, p, p and min(1, p * 3), (rank == 1 or (p * 3 > 0.05 if p else True)) if values else None, p, len(values) if compared else None, len(self.values(at, "epochs_to_target"))]
            rows.append(row)
        return table(columns, rows)

    def run_table(self, name):
        columns = [("run_id", "run", "", "text"), ("configuration", "configuration", "", "text"), *((key, key, "", "text") for key in self.axes), ("status", "status", "", "text"),
                   ("reason", "reason", "", "text"), ("seed", "seed", "", "integer"), ("epochs_done", "epochs done", "", "integer"), *((metric, label, unit, "number") for metric, label, unit in METRICS)]
        rows = [[run["id"], name(run["point"]), *map(str, run["point"]), run["status"], reason(run["status"]), run["seed"], self.epochs if run["metrics"] else 3,
                 *((run["metrics"] or {}).get(metric) for metric, _, _ in METRICS)] for run in self.runs]
        return table(columns, rows[:5000])

    def curves(self, order):
        drawn = [at for at in order[:self.drawn] if self.values(at, "val_accuracy")]
        scale = {"train_loss": lambda run, epoch: run["loss"][epoch] * 0.7, "val_loss": lambda run, epoch: run["loss"][epoch], "train_accuracy": lambda run, epoch: min(1, run["accuracy"][epoch] + 0.01),
                 "val_accuracy": lambda run, epoch: run["accuracy"][epoch], "lr": lambda run, epoch: rate(run["point"], epoch, self.epochs)}
        labels = {"train_loss": "training loss", "val_loss": "validation loss", "train_accuracy": "training accuracy", "val_accuracy": "validation accuracy", "lr": "learning rate"}
        curves = [{"metric": metric, "label": labels[metric], "unit": "", "x": "epoch", "series": [self.series(at, range(self.epochs), lambda epoch: epoch + 1, of) for at in drawn]} for metric, of in scale.items()]
        if self.step_loss:
            of = lambda run, step: run["loss"][min(self.epochs - 1, step * self.epochs // 200)] * (1 + 0.2 * random.Random(step + run["seed"]).random())
            curves.append({"metric": "step_loss", "label": "loss of a batch", "unit": "", "x": "step", "series": [self.series(at, range(200), lambda step: 7 * step + 1, of) for at in drawn]})
            curves.append({"metric": "train_loss", "label": "training loss", "unit": "", "x": "step", "series": [self.series(at, range(self.epochs), lambda epoch: 141 * (epoch + 1), scale["train_loss"]) for at in drawn]})
        return [curve for curve in curves if curve["series"]]

    def series(self, at, places, x, of):
        runs = [run for run in self.runs[at * self.seeds:(at + 1) * self.seeds] if run["metrics"]]
        values = [[of(run, place) for run in runs] for place in places]
        return {"configuration": self.place[at], "x": [x(place) for place in places], "mean": [sum(row) / len(row) for row in values],
                "low": [min(row) for row in values], "high": [max(row) for row in values], "n": [len(row) for row in values]}

    def main_effects(self):
        effects = []
        for axis, values in self.axes.items():
            for value in values[1:]:
                effect = self.random.gauss(0.01, 0.015)
                half = abs(self.random.gauss(0.008, 0.006)) + 0.002
                effects.append(dict(axis=axis, value=str(value), reference=str(values[0]), pairs=self.seeds * len(self.points) // len(values), effect=effect, low=effect - half, high=effect + half,
                                    p=min(1, math.exp(-abs(effect) / half * 2)), p_holm=min(1, 2 * math.exp(-abs(effect) / half * 2))))
        return effects

    def failures(self):
        return [dict(run=run["id"], configuration=self.place[run["at"]], seed=run["seed"], status=run["status"], reason=reason(run["status"]),
                     log="" if run["status"] == "diverged" else "step 141 loss 2.3\nthread 'main' panicked at src/train/step.rs:80:9:\nout of memory: 268435456 bytes on device 0\n")
                for run in self.runs if run["status"] in ("failed", "diverged")][:100]


def reason(status):
    return {"failed": "worker exited with status 101", "diverged": "the loss was not finite in step 211", "skipped": "no CUDA device"}.get(status)


def rate(point, epoch, epochs):
    base = next((value for value in point if isinstance(value, float)), 0.05)
    shape = {"cosine": lambda: 0.5 * (1 + math.cos(math.pi * epoch / epochs)), "exponential": lambda: 0.8 ** epoch, "step": lambda: 0.1 ** (epoch // 4),
             "warmup_cosine": lambda: (epoch + 1) / 2 if epoch < 2 else 0.5 * (1 + math.cos(math.pi * (epoch - 2) / (epochs - 2)))}
    return base * next((shape[value]() for value in point if value in shape), 1)


def summary(values):
    if not values:
        return [None] * 4
    n = len(values)
    mean = sum(values) / n
    if n == 1:
        return [mean, None, None, None]
    std = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = T95.get(n, 2.5) * std / math.sqrt(n)
    return [mean, std, mean - half, mean + half]


def table(columns, rows):
    return {"columns": [dict(zip(("key", "label", "unit", "kind"), column)) for column in columns], "rows": rows}


def claim(text, statement, verdict, sentence, effect=None, half=None, ratio=False, none=0, margin=None, more=None, p=None):
    return dict(text=text, statement=statement, verdict=verdict, sentence=sentence, more_seeds=more, n=3, pairs=3, subject_mean=None, reference_mean=None, is_ratio=ratio, effect=effect,
                low=effect - half if half else None, high=effect + half if half else None, null=none, margin=margin, test="paired t" if half else None, p=p, p_holm=p and min(1, 2 * p))


def small():
    """The shape of sweeps/lr.toml: one axis, three seeds, one diverged run and one failed, two layers' measurements."""
    header = (ROOT / "sweeps/lr.toml").read_text().split("\n\n#:schema")[0]
    broken = {(0, 2): "diverged", (1, 2): "failed"}
    sweep = Sweep("lr", {"schedule": ["constant", "step", "exponential", "cosine", "warmup_cosine"]}, description="Which learning-rate schedule reaches 95 % first?",
                  header="\n".join(line.removeprefix("#").removeprefix(" ") for line in header.splitlines()), step_loss=True, broken=lambda at, seed: broken.get((at, seed)))
    document = sweep.document()
    document["claims"] = [
        claim("warm-up + cosine reaches 95 % sooner than a constant rate", "epochs_to_target: schedule=warmup_cosine smaller than schedule=constant", "confirmed",
              "4.3 epochs fewer on average (95 % CI 1.2 to 7.4), 3 seeds, p = 0.046 after correction", -4.3, 3.1, p=0.023),
        claim("warm-up + cosine ends with a higher accuracy than a constant rate", "val_accuracy: schedule=warmup_cosine larger than schedule=constant", "undecided",
              "0.031 more on average (95 % CI -0.012 to 0.075), 3 seeds, p = 0.086 after correction; 2 more seeds like these would decide it", 0.031, 0.043, more=2, p=0.086),
        claim("a constant rate is as good as steps", "val_accuracy: schedule=constant equal to schedule=step within 0.01", "refuted",
              "0.024 less on average (95 % CI -0.031 to -0.017), 3 seeds, p = 0.008 after correction", -0.024, 0.007, margin=0.01, p=0.004),
        claim("cosine is twice as fast as exponential", "seconds_to_target: schedule=cosine smaller than schedule=exponential by a factor of 2", "undecided",
              "1.3 times as fast on average (95 % CI 0.6 to 2.9), 3 seeds, p = 0.21 after correction", 0.77, 0.3, ratio=True, none=0.5, more=14, p=0.21),
        claim("tanh equals elu", "val_accuracy: activation=tanh equal to activation=elu within 0.01", "undecided", "0 seeds; nothing to compare yet"),
    ]
    layers = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2", "fc3", "network"]
    generator = random.Random(3)
    maps = [{"configuration": at, "values": [[0.5 * 0.4 ** (len(layers) - row) * math.exp(-0.1 * epoch) * generator.uniform(0.8, 1.2) for epoch in range(10)] for row in range(len(layers))]} for at in range(4)]
    maps[3]["values"][2][4] = None
    shares = [{"configuration": at, "values": [[max(0, 0.3 - 0.03 * epoch + 0.05 * row - 0.1) for epoch in range(10)] for row in range(3)]} for at in range(4)]
    epochs = list(range(1, 11))
    document["layers"] = [{"measurement": "gradient_norm_mean", "label": "gradient norm, mean of the epoch", "layers": layers, "epochs": epochs, "maps": maps},
                          {"measurement": "gradient_norm_min", "label": "gradient norm, smallest of the epoch", "layers": layers, "epochs": epochs, "maps": maps},
                          {"measurement": "activation_dead", "label": "share of dead units", "layers": ["relu1", "relu2", "relu3"], "epochs": epochs, "maps": shares},
                          {"measurement": "smoothness_beta", "label": "smoothness beta", "layers": ["network"], "epochs": epochs, "maps": [{"configuration": at, "values": [[(9 + at) / epoch for epoch in epochs]]} for at in range(4)]}]
    document["effects"]["interactions"] = []
    lr = next(curve for curve in document["curves"] if curve["metric"] == "lr")
    document["curves"].append({**lr, "metric": "step_lr", "x": "step", "series": [{**one, "x": [141 * x for x in one["x"]]} for one in lr["series"]]})
    return document


def ablation():
    """Four axes, some dozens of configurations, interactions: an evening's ablation."""
    sweep = Sweep("ablation", {"activation": ["relu", "tanh", "sigmoid"], "batch_norm": ["false", "true"], "augmentation": ["none", "basic", "strong"], "lr": [0.01, 0.05, 0.1]}, epochs=30,
                  description="Which ingredient pays: activation, batch norm, augmentation?", broken=lambda at, seed: "diverged" if at in (14, 17) else None)
    document = sweep.document()
    generator = random.Random(5)
    keys = list(sweep.axes)
    for one in range(4):
        for other in range(one + 1, 4):
            for value in sweep.axes[keys[one]][1:]:
                effect = generator.gauss(0, 0.01)
                document["effects"]["interactions"].append(dict(axis=keys[one], value=str(value), reference=str(sweep.axes[keys[one]][0]), with_axis=keys[other], with_value=str(sweep.axes[keys[other]][1]),
                                                                with_reference=str(sweep.axes[keys[other]][0]), pairs=27, effect=effect, low=effect - 0.008, high=effect + 0.008, p=0.1, p_holm=0.4))
    return document


def to_target():
    """Ranked by the epochs to an accuracy, which few seeds reach; five axes with long values; tiny effects."""
    sweep = Sweep("to_target", {"early_stopping": ["none", "validation(patience=1,min_delta=0.05)"], "model": ["layers(f10-2cf9d8)", "layers(c1a632)"], "schedule": ["constant", "step(every_epochs=2)"],
                                "measure": ["[]", "[gradient_norm]"], "weight_decay": [0, 0.0001]}, target=0.955, broken=lambda at, seed: "failed" if at % 4 == 3 else None)
    document = sweep.document()
    document["metric"].update(name="epochs_to_target", label="epochs to target", unit="epochs", goal="minimize")
    document["claims"] = [
        claim("decay changes nothing", "generalization gap: weight_decay=0.0001 smaller than weight_decay=0 by a factor of 2", "refuted", "no difference", -3.04e-5, 0.78e-5, none=None, p=0.0001),
        claim("steps are 1.5 times as fast", "epochs to target: schedule=step smaller than schedule=constant by a factor of 1.5", "undecided", "0.96 times as large", 0.964, 0.07, ratio=True, none=1 / 1.5, p=1)]
    return document


def empty():
    """Everything failed or is still to come: no number anywhere."""
    sweep = Sweep("nothing", {}, seeds=2, broken=lambda at, seed: "failed" if seed else "pending")
    document = sweep.document()
    document["effects"]["main"] = []
    document["metric"].update(target=None, target_of=None)
    document["provenance"].update(hosts=[], data=[], seeds=[])
    return document


def single():
    """One configuration, one seed, one epoch: no interval, no band, no comparison."""
    return Sweep("single", {}, seeds=1, epochs=1).document()


INJECTIONS = ["<img src=x onerror=window.hacked=1>", "</script><script>window.hacked=1</script>", "\"><svg onload=window.hacked=1>", "{{ 7 * 7 }} ${7*7} {b}{c0|x}", "=cmd|' /C calc'!A0"]


def hostile():
    """Names in many scripts, very long ones, and names that are HTML."""
    names = [*INJECTIONS, "مفتاح التدريب", "学习率计划表", "ключ", "x" * 300, "with spaces and ünïcödé 🙂", "constructor", "__proto__"]
    sweep = Sweep("</title><script>window.hacked=1</script>", {"<b>axis</b>": names, "מפתח": [1, 2]}, seeds=2, epochs=6, description=" ".join(INJECTIONS), header="\n".join(["Source  " + INJECTIONS[0], "Data    " + INJECTIONS[1], "Found   x"]),
                  broken=lambda at, seed: "failed" if at % 7 == 0 else None)
    document = sweep.document()
    for configuration in document["configurations"]:
        configuration["label"] = configuration["name"]
    document["sweep"]["changes"] = INJECTIONS[:2]
    document["claims"] = [claim(text, f"{text}: a larger than b", verdict, text, 0.1, 0.05, p=0.01) for text, verdict in zip(INJECTIONS, ["confirmed", "refuted", "undecided", "confirmed", "no such verdict"])]
    for failure in document["failures"]:
        failure["reason"] = INJECTIONS[1] + "y" * 200
        failure["log"] = "\n".join(INJECTIONS)
    document["layers"] = [{"measurement": INJECTIONS[0], "label": INJECTIONS[0], "layers": [INJECTIONS[0], "طبقة"], "epochs": [1], "maps": [{"configuration": at, "values": [[0.1], [-0.2]]} for at in range(2)]}]
    document["curves"].append({"metric": INJECTIONS[0], "label": INJECTIONS[0], "unit": "<i>", "x": "epoch", "series": [{"configuration": 0, "x": [1, 2, 3], "mean": [None, 0, -1], "low": [None, None, -1], "high": [None, None, -1], "n": [0, 1, 1]}]})
    document["provenance"]["sweep_file"] = "\n".join(INJECTIONS)
    document["provenance"]["hosts"] = INJECTIONS
    return document


def large():
    """1,000 runs of 500 configurations."""
    values = [str(round(10 ** (-4 + 0.04 * at), 6)) for at in range(50)]
    return Sweep("large", {"lr": values, "activation": ["relu", "tanh"], "schedule": ["constant", "step", "exponential", "cosine", "warmup_cosine"]}, seeds=2, epochs=20,
                 broken=lambda at, seed: "diverged" if at % 50 == 49 else None).document()


def many():
    """5,000 runs of 1,000 configurations, as much as a page is given."""
    return Sweep("many", {"lr": [round(0.001 * (at + 1), 4) for at in range(100)], "activation": ["relu", "tanh"], "schedule": ["constant", "step", "exponential", "cosine", "warmup_cosine"]}, seeds=5, epochs=20).document()


def throughput():
    """The shape of sweeps/multi_gpu.toml and gpu_vs_cpu.toml: batches, devices, a fitted link, a device that is not there."""
    sweep = Sweep("multi_gpu", {"device": ["cpu", "cuda"], "devices": [1, 2, 4], "batch_size": [64, 128, 256]}, seeds=1, description="What are several devices worth for one run?",
                  broken=lambda at, seed: "skipped" if at >= 9 else None)
    document = sweep.document()
    document.update(curves=[], effects={"metric": "images_per_s", "main": [], "interactions": [], "left_out": 0})
    document["metric"].update(name="images_per_s", label="throughput", unit="images/s", target=None, target_of=None)
    axes = [(key, key, "", "text") for key in sweep.axes]
    timings, scalings = [], []
    generator = random.Random(11)
    for device, devices, batch in sweep.points:
        name = f"device={device} devices={devices} batch_size={batch}"
        axis = [device, str(devices), str(batch)]
        if device == "cuda":
            timings.append([name, *axis, 0, "no CUDA device", *[None] * 17])
            continue
        compute = 0.02 + batch / devices / 900
        wait = 0.004 * (devices - 1) * (2 if devices == 4 else 1)
        step = compute + wait + generator.uniform(0, 0.003)
        parts = [0.02 * step, 0.3 * step, 0.6 * step, 0.05 * step]
        timings.append([name, *axis, 3, None, "cpu", devices, 2, 1, batch, 5, 20, batch / step, 3.0, step, *parts, step / (step * devices), 1.6e8 + batch * 1e5, None, (1.6e8 + batch * 1e5) / batch])
        base = 0.02 + batch / 900
        kind = "one device" if devices == 1 else "strong"
        scalings.append([name, *axis, kind, None, devices, batch, 3, 2, "yes" if devices == 4 else "no", batch / step, base / step, base / step / devices, step, compute, wait * 1.2, wait, 4_194_304, 0.19])
        if devices > 1 and batch == 256:
            scalings.append([name, *axis, "weak", None, devices, batch, 3, 2, "yes" if devices == 4 else "no", batch / step, 0.8 * devices, 0.8, step, compute, wait * 1.2, wait, 4_194_304, 0.19])
    for batch in [64, 128, 256]:
        for power in range(1, 9):
            ranks = 2 ** power
            step = 0.02 + batch / 900 / ranks + 0.003 * (ranks - 1) ** 0.7
            scalings.append([f"device=cpu devices=1 batch_size={batch}", "cpu", "1", str(batch), "strong", "all runs", ranks, batch, 0, None, None, batch / step, (0.02 + batch / 900) / step, (0.02 + batch / 900) / step / ranks, step, None, None, None, None, 0.2])
    document["throughput"] = table([("configuration", "configuration", "", "text"), *axes, ("n", "n", "", "integer"), ("reason", "reason", "", "text"), ("device_name", "device", "", "text"), ("ranks", "ranks", "", "integer"), ("cores", "cores", "", "integer"),
                                    ("threads", "threads", "", "integer"), ("step_images", "images of a step", "", "integer"), ("warm_up_steps", "warm-up steps", "", "integer"), ("timed_steps", "timed steps", "", "integer"), ("images_per_s_mean", "throughput, mean", "images/s", "number"),
                                    ("images_per_s_std", "images a second, standard deviation", "1/s", "number"), ("step_s", "step", "s", "number"), ("data_s", "batch", "s", "number"), ("forward_s", "forward", "s", "number"), ("backward_s", "backward", "s", "number"), ("update_s", "update", "s", "number"),
                                    ("speed_up", "speed-up", "", "number"), ("peak_memory_bytes", "peak memory", "bytes", "integer"), ("device_memory_bytes", "memory on the device", "bytes", "integer"), ("bytes_per_image", "memory by image", "bytes", "number")], timings)
    document["scaling"] = table([("configuration", "configuration", "", "text"), *axes, ("scaling", "scaling", "", "text"), ("forecast_from", "forecast from", "", "text"), ("ranks", "ranks", "", "integer"), ("step_images", "images of a step", "", "integer"), ("n", "n", "", "integer"), ("cores", "cores", "", "integer"),
                                 ("ranks_share_cores", "ranks share cores", "", "boolean"), ("images_per_s", "images a second", "1/s", "number"), ("speed_up", "speed-up", "", "number"), ("efficiency", "efficiency", "", "number"), ("step_s", "step", "s", "number"), ("step_compute_s", "computing", "s", "number"),
                                 ("step_communication_s", "sums", "s", "number"), ("step_wait_s", "waiting", "s", "number"), ("gradient_bytes", "gradients", "bytes", "integer"), ("fitted_communication_s", "sums, fitted", "s", "number")], scalings)
    document["scaling_fit"] = table([("configuration", "configuration", "", "text"), *axes, ("scaling", "scaling", "", "text"), ("fitted_to", "fitted to", "", "text"), ("points", "points", "", "integer"), ("latency_s", "latency", "s", "number"), ("bandwidth_bytes_per_s", "bandwidth", "bytes/s", "number"), ("r_squared", "R²", "", "number"),
                                     ("ranks_below_half", "below half from", "", "integer"), ("best_ranks", "best ranks", "", "integer"), ("best_speed_up", "best speed-up", "", "number")],
                                    [[f"device=cpu devices=1 batch_size={batch}", "cpu", "1", str(batch), "strong", "all runs", 6, 1.2e-5, 2.1e9, 0.69, 3, 8, 2.4] for batch in [64, 128, 256]])
    return document


DOCUMENTS = {make.__name__: make for make in [small, ablation, to_target, empty, single, hostile, large, many, throughput]}

if __name__ == "__main__":
    main()
