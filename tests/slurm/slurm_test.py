"""Sweeps over a real Slurm on this machine: what is killed, cut short, cancelled, left alone and come back to ends
with the tables of a sweep on one machine, and no run is done twice.

Usage: slurm_test.py GRIDLANE     (as root; .ci/slurm-test gets the packages)
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from cluster import Cluster, run, until  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
SWEEP = PROJECT / "sweeps/smoke.toml"
# Columns that say when, where and how fast.
TIMES = {"host", "wall_s", "images_per_s", "peak_memory_bytes", "seconds_to_target", "train_s", "eval_s", "elapsed_s"}
LEASE = "6s"

began = time.monotonic()
failures = []


def check(what, good, detail=""):
    print(f"{time.monotonic() - began:6.1f}s  {'ok  ' if good else 'FAIL'}  {what}{'' if good else f': {detail}'}", flush=True)
    if not good:
        failures.append(what)


def table(path, sweep):
    with open(Path(path) / sweep / "runs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return sorted(tuple((k, v) for k, v in row.items() if k not in TIMES) for row in rows)


def curves(path, sweep):
    with open(Path(path) / sweep / "curves.csv", newline="") as file:
        return sorted(tuple(row) for row in csv.reader(file) if not TIMES & set(row))


class Sweeps:
    def __init__(self, program, folder):
        self.program, self.folder, self.runs = program, Path(folder), Path(folder) / "runs"
        # Long enough to be caught in the middle, short enough to wait for.
        self.changes = ["epochs=40"]

    def command(self, name, *options):
        return [
            self.program, "sweep", SWEEP, f"name={name}", *self.changes, "--runs", self.runs, "--data", self.folder / "data",
            *options,
        ]

    def slurm(self, name, *options, pilots=3):
        return self.command(name, "--slurm", "--pilots", pilots, "--poll", "500ms", "--lease", LEASE, *options)

    def start(self, name, *options, pilots=3):
        return subprocess.Popen(
            list(map(str, self.slurm(name, *options, pilots=pilots))), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finish(self, process, seconds=240):
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output

    def pilots_at_work(self, name):
        """Jobs with a run of which an epoch is done: job -> node."""
        nodes = dict(line.split() for line in run("squeue", "-h", "-r", "-t", "R", "-o", "%F_%K %N").stdout.splitlines())
        found = {}
        for claim in (self.runs / name / "attempts").glob("*/claim.json"):
            try:
                owner = json.loads(claim.read_text()).get("owner")
                events = (claim.parent / "events.jsonl").read_text()
            except (OSError, ValueError):
                continue
            job = owner and owner.split("-")[0]
            if job in nodes and '"event":"epoch"' in events:
                found[job] = nodes[job]
        return found

    def journal(self, name):
        for path in (self.runs / name / "pilots").glob("*/journal.jsonl"):
            for line in path.read_text().splitlines():
                yield json.loads(line.split(" ", 1)[1])

    def judge(self, name, what):
        """The tables are those of one machine, and every run has come to its result once."""
        check(f"{what}: runs.csv is that of one machine", table(self.runs, name) == table(self.runs, "local"))
        check(f"{what}: curves.csv too", curves(self.runs, name) == curves(self.runs, "local"))
        results = Counter(act["run_id"] for act in self.journal(name) if act.get("outcome") == "result")
        check(f"{what}: no run was done twice", sorted(results.values()) == [1] * 8, dict(results))
        left = list((self.runs / name / "attempts").iterdir())
        check(f"{what}: nothing is left under way", not left, left)


def no_job_is_left():
    until("no job is left", lambda: not run("squeue", "-h", check=False).stdout.strip(), 60)


def undisturbed(sweeps):
    code, output = sweeps.finish(sweeps.start("plain"))
    check("an undisturbed sweep ends with 0", code == 0, output)
    sweeps.judge("plain", "undisturbed")
    with open(sweeps.runs / "plain/runs.csv", newline="") as file:
        hosts = {row["host"] for row in csv.DictReader(file)}
    check("the runs were executed on nodes", hosts <= {"n1", "n2", "n3"}, hosts)
    code, output = sweeps.finish(sweeps.start("plain"))
    check("the same command again has nothing to do", code == 4, output)
    no_job_is_left()


def disturbed(sweeps, cluster):
    """Left alone; a pilot killed, a node without power; come back to."""
    process = sweeps.start("rough")
    at_work = until("three pilots are at work", lambda: len(sweeps.pilots_at_work("rough")) == 3 and sweeps.pilots_at_work("rough"))
    process.send_signal(signal.SIGINT)
    code, output = sweeps.finish(process)
    check("Ctrl-C leaves the jobs alone", code == 130 and "detached" in output and len(run("squeue", "-h", "-r", "-t", "R").stdout.splitlines()) == 3, output)
    nodes = list(at_work.values())
    check("each pilot has a node or shares one", all(node in cluster.nodes for node in nodes), at_work)
    off = nodes[0]
    killed = next((node for node in nodes if node != off), off)
    check("a pilot is killed", cluster.kill(killed, "pilot") > 0)
    gone = lambda: nodes.count(killed) > 1 or not cluster.processes_on(killed, "worker")
    check("its workers die with it", until("they are gone", gone, 10))
    cluster.power_off(off)
    process = sweeps.start("rough")
    code, output = sweeps.finish(process)
    check("the same command comes back and sees it through", code == 0, output)
    check("it says that it is attached", "attached to" in output, output)
    sweeps.judge("rough", "killed and powered off")
    cluster.power_on(off)
    run("scancel", "--user=root", check=False)
    no_job_is_left()
    until("the node is back", lambda: off in run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").stdout.split())


def cancelled(sweeps):
    process = sweeps.start("stopped")
    until("pilots are at work", lambda: len(sweeps.pilots_at_work("stopped")) >= 2)
    status = run(sweeps.program, "slurm", "status", "stopped", "--runs", sweeps.runs)
    check("status names jobs and runs", "running on n" in status.stdout and "8 runs" in status.stdout, status.stdout)
    local = run(*sweeps.command("stopped"), check=False)
    check("a sweep under way is not begun here as well", local.returncode == 1, local.stderr)
    cancel = run(sweeps.program, "slurm", "cancel", "stopped", "--runs", sweeps.runs)
    check("cancel asks the jobs to stop", "asked to stop" in cancel.stdout, cancel.stdout)
    code, output = sweeps.finish(process)
    check("whoever watches is told", code == 130 and "called off" in output, output)
    no_job_is_left()
    owners = [json.loads(claim.read_text()).get("owner") for claim in (sweeps.runs / "stopped/attempts").glob("*/claim.json")]
    check("what was under way is given back", owners and not any(owners), owners)
    checkpoints = list((sweeps.runs / "stopped/attempts").glob("*/checkpoint/state.json"))
    check("and has a checkpoint", checkpoints)
    code, output = sweeps.finish(sweeps.start("stopped"))
    check("the same command goes on", code == 0, output)
    sweeps.judge("stopped", "cancelled")
    no_job_is_left()


def frozen(sweeps, cluster):
    """A pilot stands still for longer than its lease, and comes back: another copy of its run is under way then."""
    process = sweeps.start("frozen")
    at_work = until("pilots are at work", lambda: sweeps.pilots_at_work("frozen"))
    job, node = next(iter(at_work.items()))
    pids = [pid for pid in cluster.processes_on(node, "pilot") if f"SLURM_ARRAY_TASK_ID={job.split('_')[1]}" in Path(f"/proc/{pid}/environ").read_text()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)

    def taken_over():
        claims = [json.loads(path.read_text()) for path in (sweeps.runs / "frozen/attempts").glob("*.2/claim.json")]
        published = [path for path in sweeps.runs.glob("frozen/r*/claim.json") if json.loads(path.read_text()).get("lost")]
        return claims or published

    until("its run is taken over", taken_over, 60)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    code, output = sweeps.finish(process)
    check("the sweep ends with 0", code == 0, output)
    sweeps.judge("frozen", "frozen and back")
    no_job_is_left()
    log = (sweeps.runs / f"frozen/pilots/{job}.log").read_text()
    check("the one who was frozen has noticed", "taken over by another dispatcher" in log, log)


def out_of_time(sweeps):
    process = sweeps.start("short-of-time", "--time", "10", pilots=1)
    at_work = until("a pilot is at work", lambda: sweeps.pilots_at_work("short-of-time"))
    job = next(iter(at_work))
    run("scancel", "--batch", "--signal=USR1", job)
    log = sweeps.runs / f"short-of-time/pilots/{job}.log"
    until("it goes back into the queue", lambda: "time is up: this job goes back" in log.read_text(), 20)
    code, output = sweeps.finish(process)
    check("a pilot whose time is up goes on in the same job later", code == 0 and log.read_text().count("\npilot ") == 1, output)
    sweeps.judge("short-of-time", "out of time")
    no_job_is_left()


def requeued(sweeps):
    """An administrator, or a job that comes first, puts a job back into the queue."""
    process = sweeps.start("requeued", pilots=2)
    at_work = until("pilots are at work", lambda: sweeps.pilots_at_work("requeued"))
    job = next(iter(at_work))
    run("scontrol", "requeue", job)
    code, output = sweeps.finish(process)
    check("a job that is put back into the queue begins again", code == 0, output)
    sweeps.judge("requeued", "requeued")
    no_job_is_left()


def without_being_seen(sweeps):
    """Pilots that Slurm does not list, as those of another user: whoever comes is told, and touches nothing."""
    process = sweeps.start("unseen", pilots=2)
    until("pilots are at work", lambda: sweeps.pilots_at_work("unseen"))
    process.send_signal(signal.SIGINT)
    sweeps.finish(process)
    record = sweeps.runs / "unseen/slurm.json"
    submission = record.read_text()
    record.write_text(json.dumps({**json.loads(submission), "batches": []}))
    for options in [[], ["--slurm"]]:
        done = run(*sweeps.command("unseen", *options), check=False)
        check("pilots that Slurm does not list are not worked against", done.returncode == 1 and "lists no job" in done.stderr, done.stderr)
    record.write_text(submission)
    code, output = sweeps.finish(sweeps.start("unseen", pilots=2))
    check("whoever sees them is attached", code == 0 and "attached to" in output, output)
    sweeps.judge("unseen", "unseen")
    no_job_is_left()


def refused(sweeps):
    done = run(*sweeps.slurm("nowhere", "--partition", "gpuu"), check=False)
    check("an unknown partition is refused with advice", done.returncode == 2 and "sinfo" in done.stderr, done.stderr)
    done = run(*sweeps.slurm("nowhere", "--gpus", "1", "device=cuda"), check=False)
    check("GPUs that no node has are refused", done.returncode == 2, done.stderr)
    for wish, most in [(["--cpus", "99"], "2 cores"), (["--mem", "99G"], "4000M of memory")]:
        done = run(*sweeps.slurm("nowhere", *wish), check=False)
        told = f"no node of partition main has more than {most}" in " ".join(done.stderr.replace("│", " ").split())
        check(f"what no node has is refused: {' '.join(wish)}", done.returncode == 2 and told, done.stderr)
    check("nothing was submitted", not run("squeue", "-h").stdout.strip())


def main(program):
    folder = tempfile.mkdtemp(prefix="gridlane-slurm-")
    try:
        sweeps = Sweeps(Path(program).resolve(), folder)
        run(*sweeps.command("local"))
        with Cluster(Path(folder) / "cluster") as cluster:
            check(f"a private cluster of {len(cluster.nodes)} nodes is up", True)
            refused(sweeps)
            undisturbed(sweeps)
            disturbed(sweeps, cluster)
            cancelled(sweeps)
            frozen(sweeps, cluster)
            out_of_time(sweeps)
            requeued(sweeps)
            without_being_seen(sweeps)
    finally:
        if failures and os.environ.get("KEEP"):
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(failures)} checks failed" if failures else "all is well")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
