"""Reads the events of `gridlane export tensorboard` with TensorBoard itself, beside the CSVs of the same sweep.

    pip install -r requirements.txt
    python tensorboard_events.py GRIDLANE runs/smoke
"""

import collections
import csv
import pathlib
import subprocess
import sys
import tempfile

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def expected(folder):
    """run id -> tag -> [(step, value)], from the long CSVs."""
    points = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in rows(folder / "curves.csv"):
        points[row["run_id"]][row["metric"]].append((int(row["step"]), float(row["value"])))
    if (folder / "layers.csv").exists():
        for row in rows(folder / "layers.csv"):
            tag = f"{row['measurement']}/{row['layer']}"
            points[row["run_id"]][tag].append((int(row["step"]), float(row["value"])))
    return points


def session(events, tag):
    content = events.SummaryMetadata(tag).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def main():
    gridlane, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    runs = {row["run_id"]: row for row in rows(folder / "runs.csv")}
    count = 0
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([gridlane, "export", "tensorboard", str(folder), "-o", place], check=True)
        exported = sorted(pathlib.Path(place).iterdir())
        named = {f"{row['configuration']} seed={row['seed']}": row for row in runs.values()}
        points = expected(folder)
        assert len(exported) == len(points), (len(exported), len(points))
        for path in exported:
            row = named[path.name]
            events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
            events.Reload()
            scalars = set(events.Tags()["scalars"])
            for tag, wanted in points[row["run_id"]].items():
                found = events.Scalars(tag)
                assert [event.step for event in found] == [step for step, _ in wanted], (path.name, tag)
                values = numpy.array([value for _, value in wanted], dtype=numpy.float32)
                assert (numpy.array([event.value for event in found], dtype=numpy.float32) == values).all(), tag
                times = [event.wall_time for event in found]
                assert times == sorted(times) and times[0] > 1e9, (tag, times[:3])
                scalars.discard(tag)
                count += len(found)
            assert all(tag.startswith(("test_", "step_")) or "/" in tag for tag in scalars), scalars
            start = session(events, metadata.SESSION_START_INFO_TAG).session_start_info
            assert start.group_name == row["configuration"], start
            for key, value in start.hparams.items():
                kind = value.WhichOneof("kind")
                told = value.number_value if kind == "number_value" else getattr(value, kind)
                cell = row[key]
                assert (float(cell) == told) if kind == "number_value" else cell == str(told).lower() or cell == told
            end = session(events, metadata.SESSION_END_INFO_TAG).session_end_info
            assert end.status == (1 if row["status"] == "finished" else 2), end
    print(f"{len(exported)} runs, {count} scalars, as in the CSVs")


main()
