"""A private Slurm cluster on this machine, for as long as a `with` block lasts.

Needs root, Debian's packages slurmctld, slurmd, slurm-client, munge and iproute2, and a kernel that gives out
namespaces. Every node is a namespace of its own (network, processes, host name) with a slurmd inside, so that
pulling its plug kills all that runs on it. The disk is shared, as a cluster's is. Nothing is written outside of
the cluster's folder.
"""

import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

NODE = """
hostname "$1"; mount --bind "$2" /etc/hosts; ip link set lo up
for _ in $(seq 100); do ip link show eth0 >/dev/null 2>&1 && break; sleep 0.05; done
ip addr add "$3/24" dev eth0; ip link set eth0 up
shift 3; "$@" & while :; do wait; sleep 0.2; done
"""

CONF = """\
ClusterName=gridlane
SlurmctldHost={host}({gate})
SlurmctldPort={port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
PlugStackConfig={root}/plugstack.conf
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=6
SlurmctldTimeout=10
KillWait=10
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,batch_sched_delay=1
"""


def run(*command, check=True):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done


def until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain until {what}")
        time.sleep(0.1)


class Cluster:
    def __init__(self, root, nodes=3, cpus=2):
        self.root, self.nodes, self.cpus = Path(root), [f"n{k + 1}" for k in range(nodes)], cpus
        self.processes = {}

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.nodes:
            self.power_off(name)
        for name in ["slurmctld", "munged"]:
            process = self.processes.pop(name, None)
            if process:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if hasattr(self, "bridge"):
            run("ip", "link", "del", self.bridge, check=False)

    def _start(self):
        root = self.root
        root.mkdir(parents=True)
        root.chmod(0o755)  # munged wants its socket to be reachable by all
        for folder in ["state", *(f"spool-{name}" for name in self.nodes)]:
            (root / folder).mkdir()
        self._network()
        (root / "plugstack.conf").touch()
        (root / "cgroup.conf").touch()
        host = socket.gethostname().split(".")[0]
        lines = [CONF.format(host=host, gate=self.address(254), port=self._port(), root=root)]
        for k, name in enumerate(self.nodes):
            lines.append(f"NodeName={name} NodeHostname={name} NodeAddr={self.address(k + 1)} Port=6818 CPUs={self.cpus} RealMemory=4000")
        lines.append("PartitionName=main Nodes=ALL Default=YES MaxTime=60 DefaultTime=30 State=UP\n")
        (root / "slurm.conf").write_text("\n".join(lines))
        hosts = ["127.0.0.1 localhost", f"{self.address(254)} {host}"]
        hosts += [f"{self.address(k + 1)} {name}" for k, name in enumerate(self.nodes)]
        (root / "hosts").write_text("\n".join(hosts) + "\n")
        os.environ["SLURM_CONF"] = str(root / "slurm.conf")
        self._munge()
        # slurmctld listens where its host's name points to: not this machine's, but the bridge.
        bind = 'mount --bind "$1" /etc/hosts; shift; exec "$@"'
        self.spawn("slurmctld", "unshare", "--mount", "bash", "-c", bind, "-", root / "hosts", "slurmctld", "-D")
        until("slurmctld answers", lambda: "is UP" in run("scontrol", "ping", check=False).stdout, 20)
        for name in self.nodes:
            self.power_on(name)
        idle = lambda: run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).stdout.split()
        until("all nodes are idle", lambda: len(idle()) == len(self.nodes))

    def _network(self):
        taken = run("ip", "-4", "addr").stdout
        self.net = next(x for x in range(1, 250) if f"10.233.{x}." not in taken)
        self.bridge = f"glbr{self.net}"
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.address(254)}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def address(self, k):
        return f"10.233.{self.net}.{k}"

    def _port(self):
        with socket.socket() as probe:
            probe.bind((self.address(254), 0))
            return probe.getsockname()[1]

    def _munge(self):
        folder = self.root / "munge"
        folder.mkdir(mode=0o700)
        key = folder / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        self.spawn(
            "munged", "munged", "--foreground", "--force", f"--socket={self.root}/munge.socket", f"--key-file={key}",
            f"--pid-file={folder}/pid", f"--log-file={folder}/log", f"--seed-file={folder}/seed",
        )
        until("munged listens", (self.root / "munge.socket").exists, 10)

    def spawn(self, name, *command):
        log = open(self.root / f"{name}.out", "ab")
        self.processes[name] = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def power_on(self, name):
        k = self.nodes.index(name) + 1
        isolate = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
        self.spawn(name, *isolate, "bash", "-c", NODE, "node", name, self.root / "hosts", self.address(k), "slurmd", "-D", "-N", name)
        pid = self.processes[name].pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        mine = os.readlink("/proc/self/ns/net")

        def init():
            inside = children.read_text().split()
            return inside[0] if inside and os.readlink(f"/proc/{inside[0]}/ns/net") != mine else None

        inside = until("the node has a network of its own", init, 10)
        run("ip", "link", "add", f"glv{self.net}-{k}", "type", "veth", "peer", "name", "eth0", "netns", inside)
        run("ip", "link", "set", f"glv{self.net}-{k}", "master", self.bridge, "up")

    def power_off(self, name):
        """Pulls the plug: everything on the node is gone at once."""
        process = self.processes.pop(name, None)
        if process:
            process.kill()
            process.wait()
        k = self.nodes.index(name) + 1
        end = time.monotonic() + 5
        while hasattr(self, "net") and time.monotonic() < end:
            if run("ip", "link", "del", f"glv{self.net}-{k}", check=False).returncode != 0:
                break

    def processes_on(self, name, word):
        """The processes on a node whose command line has `word`, as this machine numbers them."""
        found, waiting = [], [self.processes[name].pid]
        while waiting:
            pid = waiting.pop()
            try:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += [int(child) for child in (task / "children").read_text().split()]
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if word in line:
                found.append(pid)
        return found

    def signal(self, name, word, number):
        pids = self.processes_on(name, word)
        for pid in pids:
            os.kill(pid, number)
        return len(pids)

    def kill(self, name, word):
        return self.signal(name, word, signal.SIGKILL)
