"""A whole Slurm cluster on this machine for the tests: munge, MariaDB, slurmdbd, slurmctld, several slurmd, fake GPUs.

All of it lives in one temporary folder, listens on loopback, and ends with the process that started it. Nothing outside
the folder is read or written: clients find the cluster by small wrappers on PATH, so `/etc/slurm` is never touched.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

DAEMONS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr", "sshare", "salloc")
SEARCH = os.environ["PATH"] + ":/usr/sbin:/sbin"
MARKER = "GEN2RECO_TEST_CLUSTER"
NODES = {"c1": 0, "c2": 0, "g1": 2, "g2": 2}
"""Node → fake GPUs."""

SLURM_CONF = """\
ClusterName=gen2reco
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/log/slurmd-%n.log
SlurmdSpoolDir={folder}/spool/%n
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=bf_interval=2,sched_interval=1,sched_min_interval=100000,batch_sched_delay=0
JobRequeue=1
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
MessageTimeout=5
KillWait=2
CompleteWait=0
MinJobAge=600
MaxJobCount=20000
PropagateResourceLimits=NONE
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu
{nodes}
PartitionName=cpu Nodes=c1,c2 Default=YES MaxTime=24:00:00 DefaultTime=10 DefMemPerCPU=500 PriorityTier=5 State=UP
PartitionName=gpu Nodes=g1,g2 MaxTime=24:00:00 DefaultTime=10 DefMemPerCPU=500 PriorityTier=5 State=UP
PartitionName=urgent Nodes=c1,c2,g1,g2 MaxTime=24:00:00 DefaultTime=10 DefMemPerCPU=500 PriorityTier=50 State=UP
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={dbd_port}
CommunicationParameters=NoInAddrAny
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""


def why_not() -> str | None:
    """Why no cluster can be started here, in one line; None if it can."""
    missing = [name for name in (*DAEMONS, *CLIENTS) if shutil.which(name, path=SEARCH) is None]
    if missing:
        packages = "slurm-wlm slurmdbd slurm-client mariadb-server munge"
        return f"{', '.join(missing[:3])} not found; on Debian: apt-get install --no-install-recommends {packages}"
    if os.getuid() != 0:
        return "slurmd must run as root to start jobs; run the tests as root in a container"
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "nothing"
    if not address.startswith("127."):
        return f"{socket.gethostname()} resolves to {address}; the daemons listen on loopback only: see /etc/hosts"
    return None


def wait_for(what: Callable[[], object], seconds: float, message: str) -> object:
    """Wait until `what()` is true and return it; TimeoutError after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise TimeoutError(f"{message}: not within {seconds:g} s")
        time.sleep(0.1)
    return found


class Cluster:
    """`with Cluster() as cluster`: started on entry, stopped and wiped on exit. `env` reaches it from any process."""

    def __init__(self, nodes: dict[str, int] | None = None, cpus: int = 4):
        self.nodes, self.cpus = nodes or NODES, cpus
        self.folder = Path(tempfile.mkdtemp(prefix="g2r-slurm-"))
        self.daemons: dict[str, subprocess.Popen] = {}
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))},
            "PATH": f"{self.folder}/bin:{SEARCH}",
            "SLURM_CONF": f"{self.folder}/slurm.conf",
            MARKER: str(self.folder),
        }

    def __enter__(self) -> "Cluster":
        try:
            self._write()
            self._start_database()
            self.start_dbd()
            self.run("sacctmgr -iQ add cluster gen2reco", check=False)
            self.run("sacctmgr -iQ add account physics", check=False)
            self.run("sacctmgr -iQ add user root account=physics", check=False)
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            wait_for(lambda: set(self.node_states().values()) == {"idle"}, 60, "all nodes idle")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, command: str, check: bool = True, **given: object) -> str:
        """Run a client command on the cluster; returns its standard output."""
        done = subprocess.run(command, shell=True, env=self.env, capture_output=True, text=True, timeout=60, **given)
        if check and done.returncode:
            raise RuntimeError(f"{command}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def node_states(self) -> dict[str, str]:
        """Node → state as sinfo tells it."""
        lines = self.run("sinfo -h -N -o '%N %T'", check=False).splitlines()
        return dict(line.split() for line in lines)

    def jobs(self, states: str = "RUNNING") -> list[str]:
        """Ids of the jobs in these states."""
        return self.run(f"squeue -h -o %i --states={states}", check=False).split()

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node."""
        (self.folder / "spool" / node).mkdir(parents=True, exist_ok=True)
        self._daemon(f"slurmd-{node}", ["slurmd", "-D", "-N", node])

    def lose_node(self, node: str) -> None:
        """Kill −9 the slurmd of a node; what runs there goes on, unwatched."""
        self._end(f"slurmd-{node}", signal.SIGKILL)

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers."""
        self._daemon("slurmctld", ["slurmctld", "-D"])
        wait_for(lambda: "UP" in self.run("scontrol ping", check=False), 30, "slurmctld up")

    def stop_controller(self) -> None:
        """Stop slurmctld; it saves its state."""
        self._end("slurmctld", signal.SIGTERM)

    def start_dbd(self) -> None:
        """Start slurmdbd and wait until it answers."""
        self._daemon("slurmdbd", ["slurmdbd", "-D"])
        wait_for(lambda: self.run("sacctmgr -n show qos format=name", check=False), 30, "slurmdbd up")

    def stop_dbd(self) -> None:
        """Kill −9 slurmdbd."""
        self._end("slurmdbd", signal.SIGKILL)

    def quiet(self) -> None:
        """Cancel every job, bring back lost nodes, wait until all are idle: between tests."""
        if self._dead("slurmdbd"):
            self.start_dbd()
        if self._dead("slurmctld"):
            self.start_controller()
        self.run("scancel -u root", check=False)
        for node in self.nodes:
            if self._dead(f"slurmd-{node}"):
                self.start_node(node)
        wait_for(lambda: set(self.node_states().values()) == {"idle"}, 60, "all nodes idle")

    def stop(self) -> None:
        """Stop what was started, and nothing else; remove the folder."""
        if not self._dead("slurmctld"):
            with suppress(Exception):
                self.run("scancel -u root")
                wait_for(lambda: not self.jobs("all --noheader -t R,PD,CG"), 10, "jobs ended")
        for name in reversed(list(self.daemons)):
            self._end(name, signal.SIGTERM)
        for pid in self.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[int]:
        """Everything that still runs in the environment of this cluster: steps, jobs, stray daemons."""
        wanted, found = f"{MARKER}={self.folder}".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def _write(self) -> None:
        for name in ("bin", "log", "state", "spool", "mysql", "dev"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        port = _free_ports(3 + len(self.nodes))
        self.sql_port = port + 2
        lines, gres = [], ["AutoDetect=off"]
        for index, (node, gpus) in enumerate(self.nodes.items()):
            shape = f"CPUs={self.cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={self.cpus} ThreadsPerCore=1"
            place = f"NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port + 3 + index}"
            extra = f" Gres=gpu:fake:{gpus} Feature=gpu" if gpus else ""
            lines.append(f"NodeName={node} {place} {shape} RealMemory=16000{extra} State=UNKNOWN")
            if gpus:
                gres.append(f"NodeName={node} Name=gpu Type=fake File={self.folder}/dev/gpu[0-{gpus - 1}]")
        for number in range(max(self.nodes.values())):
            os.mknod(self.folder / "dev" / f"gpu{number}", 0o600 | 0o020000, os.makedev(1, 3))
        names = {"folder": self.folder, "host": socket.gethostname(), "port": port, "dbd_port": port + 1}
        text = SLURM_CONF.format(**names, nodes="\n".join(lines))
        present = {p.partition("=")[0] for p in self.nodes}
        text = "\n".join(_existing(line, present) for line in text.splitlines()) + "\n"
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text("\n".join(gres) + "\n")
        dbd = self.folder / "slurmdbd.conf"
        dbd.write_text(SLURMDBD_CONF.format(**names, sql_port=self.sql_port))
        dbd.chmod(0o600)
        for client in CLIENTS:
            wrapper = self.folder / "bin" / client
            wrapper.write_text(
                f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which(client, path=SEARCH)} "$@"\n'
            )
            wrapper.chmod(0o755)

    def _start_database(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        here = {name: f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")}
        here["socket"] = f"--socket={self.folder}/munge.socket"
        self._daemon("munged", ["munged", "--foreground", "--force", *here.values()])
        log = (self.folder / "log" / "mariadb.log").open("w")
        data = ["--no-defaults", "--user=root", f"--datadir={self.folder}/mysql", "--innodb-log-file-size=8M"]
        install = ["mariadb-install-db", *data, "--skip-test-db", "--auth-root-authentication-method=socket"]
        subprocess.run(install, check=True, env=self.env, stdout=log, stderr=log)
        small = ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900", "--performance-schema=OFF"]
        small += ["--innodb-flush-log-at-trx-commit=0", "--skip-log-bin", "--skip-name-resolve"]
        place = [f"--socket={self.folder}/sql.socket", "--bind-address=127.0.0.1", f"--port={self.sql_port}"]
        self._daemon("mariadbd", ["mariadbd", *data, *small, *place, f"--pid-file={self.folder}/mariadb.pid"])
        client = f"mariadb --no-defaults -S {self.folder}/sql.socket -e"
        wait_for(lambda: self.run(f"{client} 'select 1'", check=False), 30, "MariaDB up")
        user = "create user slurm@'127.0.0.1' identified by 'slurm'; grant all on slurm.* to slurm@'127.0.0.1';"
        self.run(f'{client} "create database slurm; {user}"')

    def _daemon(self, name: str, command: list[str]) -> None:
        """Start a daemon in the foreground of its own session, that ends when this process does."""
        library = ctypes.CDLL(None)

        def die_with_parent() -> None:
            os.setsid()
            library.prctl(1, signal.SIGTERM)

        log = (self.folder / "log" / f"{name}.out").open("a")
        self.daemons[name] = subprocess.Popen(
            command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent
        )

    def _dead(self, name: str) -> bool:
        return name not in self.daemons or self.daemons[name].poll() is not None

    def _end(self, name: str, number: int) -> None:
        daemon = self.daemons[name]
        if daemon.poll() is None:
            daemon.send_signal(number)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _existing(line: str, nodes: set[str]) -> str:
    """A partition's line with the nodes that there are; nothing if there are none."""
    if not line.startswith("PartitionName="):
        return line
    words = line.split()
    wanted = [node for node in words[1].removeprefix("Nodes=").split(",") if node in nodes]
    return " ".join([words[0], f"Nodes={','.join(wanted)}", *words[2:]]) if wanted else ""


def _free_ports(count: int) -> int:
    """The first of so many consecutive ports that nobody listens on."""
    for start in range(24000 + os.getpid() % 4000, 32000, count):
        with suppress(OSError):
            for port in range(start, start + count):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            return start
    raise RuntimeError("no free ports below 32000")
