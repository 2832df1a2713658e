"""A Slurm cluster on this machine: one controller and some nodes, ended by process number."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

CONF = """\
ClusterName=jaxmu
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MaxArraySize=20001
MaxJobCount=50000
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,sched_interval=2,bf_interval=2
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP PriorityTier=1 GraceTime=10
PartitionName=urgent Nodes=ALL MaxTime=60 State=UP PriorityTier=10
"""
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")


def lacking() -> str:
  """Name the programs that a cluster needs and this machine lacks, "" for none."""
  path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
  absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
  if not absent and os.getuid():
    return "a cluster of one's own needs the root user"
  return f"there is no {', '.join(absent)}" if absent else ""


class Cluster:
  """A cluster of `count` nodes, with cores and GPUs that need not exist."""

  def __init__(self, folder: Path, count: int = 4, gpus: int = 0, cpus: int = 1):
    self.folder, self.names = folder, [f"n{k}" for k in range(1, count + 1)]
    (folder / "state").mkdir(parents=True)
    self.conf = folder / "slurm.conf"
    ports = free_ports(count + 1)
    device = f"CPUs={cpus} RealMemory=2000" + (f" Gres=gpu:{gpus}" if gpus else "")
    nodes = "\n".join(
      f"NodeName={name} NodeHostname={host()} NodeAddr=127.0.0.1 Port={port} " + device
      for name, port in zip(self.names, ports[1:])
    )
    self.conf.write_text(
      CONF.format(host=host(), port=ports[0], user=user(), folder=folder, nodes=nodes)
    )
    if gpus:
      files = f"/dev/tty[0-{gpus - 1}]"
      (folder / "gres.conf").write_text(f"NodeName={','.join(self.names)} Name=gpu File={files}\n")
    self.environment = os.environ | {
      "SLURM_CONF": str(self.conf),
      "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
    }
    for name in [name for name in self.environment if name.startswith("SLURM_")]:
      if name != "SLURM_CONF":
        del self.environment[name]
    self.daemons: dict[str, subprocess.Popen] = {}

  def start(self) -> None:
    """Start all daemons and wait for the nodes."""
    key = self.folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    self.folder.chmod(0o755)
    paths = {
      "key-file": key,
      "socket": self.folder / "munge.sock",
      "pid-file": self.folder / "munged.pid",
      "log-file": self.folder / "munged.log",
      "seed-file": self.folder / "munged.seed",
    }
    words = [f"--{name}={path}" for name, path in paths.items()]
    self._daemon("munged", "munged", "--foreground", "--force", *words)
    wait_for(lambda: (self.folder / "munge.sock").exists(), 60, "munged")
    self._daemon("slurmctld", "slurmctld", "-D", "-c", "-f", str(self.conf))
    for name in self.names:
      self.start_node(name)
    wait_for(lambda: self.sinfo("%T").split() == ["idle"], 120, "nodes")

  def start_node(self, name: str) -> None:
    """Start a node's daemon."""
    self._daemon(name, "slurmd", "-D", "-N", name, "-f", str(self.conf))

  def kill_node(self, name: str) -> None:
    """Kill a node's daemon; what it has started goes on."""
    self.daemons[name].kill()
    self.daemons.pop(name).wait()

  def stop(self) -> None:
    """End all jobs, then all daemons."""
    with suppress(subprocess.SubprocessError, OSError, AssertionError):
      self.call("scancel", "--user=root", check=False)
      wait_for(lambda: not self.call("squeue", "-h"), 15, "the end of all jobs")
    for process in reversed(self.daemons.values()):
      process.terminate()
    for process in self.daemons.values():
      with suppress(subprocess.TimeoutExpired):
        process.wait(10)
        continue
      process.kill()
      process.wait()
    for pid in self.stepds():
      with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

  def stepds(self) -> list[int]:
    """Return the processes that this cluster's jobs run under."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
      with suppress(OSError):
        if f"SLURM_CONF={self.conf}".encode() in path.read_bytes().split(b"\0"):
          name = (path.parent / "comm").read_text().strip()
          if name.startswith("slurmstepd"):
            found.append(int(path.parent.name))
    return found

  def call(self, *words: str, check: bool = True, stdin: str = "") -> str:
    """Run a program of Slurm's and return what it prints."""
    done = subprocess.run(
      words, env=self.environment, capture_output=True, text=True, input=stdin, timeout=60
    )
    if check and done.returncode:
      raise AssertionError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout.strip()

  def sinfo(self, form: str) -> str:
    """Ask for the states of nodes."""
    return self.call("sinfo", "-h", f"--format={form}", "--partition=main", check=False)

  def queue(self, form: str = "%F_%K %t") -> list[str]:
    """Return a line for each task that waits or runs; the controller may be too busy to answer."""
    for pause in (1, 5, 0):
      with suppress(AssertionError):
        return self.call("squeue", "-h", "--array", f"--format={form}").splitlines()
      time.sleep(pause)
    raise AssertionError("squeue does not answer")

  def hurry(self) -> None:
    """Let requeued tasks begin at once: Slurm has them wait for two minutes."""
    for line in self.queue("%A %t"):
      number, state = line.split()
      if state == "PD":
        self.call("scontrol", "update", f"JobId={number}", "StartTime=now", check=False)

  def wait(self, seconds: float, hurry: bool = True) -> None:
    """Wait until no task waits or runs."""

    def empty() -> bool:
      if hurry:
        self.hurry()
      return not self.queue()

    wait_for(empty, seconds, "the end of all tasks", 1.0)

  def codes(self) -> dict[str, str]:
    """Return the last exit code of each task that Slurm remembers, by JOB_TASK."""
    found = {}
    for block in self.call("scontrol", "-o", "show", "job", check=False).splitlines():
      told = dict(part.partition("=")[::2] for part in block.split() if "=" in part)
      if told.get("ArrayTaskId", "").isdecimal():
        found[f"{told['ArrayJobId']}_{told['ArrayTaskId']}"] = told["ExitCode"]
    return found

  def _daemon(self, name: str, *words: str) -> None:
    log = open(self.folder / f"{name}.out", "ab")  # noqa: SIM115 - the process has it
    self.daemons[name] = subprocess.Popen(words, env=self.environment, stdout=log, stderr=log)
    log.close()


def host() -> str:
  """Return this machine's name as Slurm knows it."""
  return socket.gethostname().partition(".")[0]


def user() -> str:
  """Return who runs the cluster."""
  return "root"


def free_ports(count: int) -> list[int]:
  """Return ports that nobody listens on."""
  held = [socket.socket() for _ in range(count)]
  for each in held:
    each.bind(("127.0.0.1", 0))
  ports = [each.getsockname()[1] for each in held]
  for each in held:
    each.close()
  return ports


def wait_for(there, seconds: float, what: str, pause: float = 0.1) -> None:
  """Wait until `there()` is true, or fail."""
  deadline = time.monotonic() + seconds
  while not there():
    assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
    time.sleep(pause)
