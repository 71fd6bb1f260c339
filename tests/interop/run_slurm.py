"""python run_slurm.py STORE SCRATCH: examples/slurm/ray.sbatch on a Slurm of two nodes, whole and cancelled half-way.

Each node is a slurmd in namespaces of its own (network, host name, /tmp), so nodes meet by network and shared folder
alone. Needs root, and Debian's slurm-wlm and munge. Everything runs in a process namespace, and ends with it.
"""

import itertools
import json
import os
import re
import secrets
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from source_set import Comparison

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "slurm" / "ray.sbatch"
SUITE = "suite=tests.studies.small_round:SMALL_ROUND"
INSIDE = "inside"
NODES = {"node1": "10.77.0.11", "node2": "10.77.0.12"}
CONTROL = "10.77.0.1"
LIMIT_S = 900.0
ACTIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
# In the process namespace, bash collects what ended; a lone command it would replace itself by.
NAMESPACES = ("unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
CONFIG = """\
ClusterName=smidgen
SlurmctldHost=control({control})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=10
{nodes}
PartitionName=main Nodes=ALL Default=YES State=UP
"""


def call(*command, **more):
    """A command that must succeed; its output."""
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def build_network():
    """A bridge, and a network namespace for each node."""
    call("mount", "-t", "tmpfs", "tmpfs", "/run")
    call("hostname", "control")
    call("ip", "link", "set", "lo", "up")
    call("ip", "link", "add", "bridge0", "type", "bridge")
    call("ip", "addr", "add", f"{CONTROL}/24", "dev", "bridge0")
    call("ip", "link", "set", "bridge0", "up")
    for name, address in NODES.items():
        call("ip", "netns", "add", name)
        call("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        call("ip", "link", "set", f"to-{name}", "master", "bridge0", "up")
        call("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            call("ip", "-n", name, "link", "set", device, "up")


def start_slurm(folder):
    """Starts munge, the controller and both nodes; returns once the nodes are idle."""
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    hosts = {**NODES, "control": CONTROL, "localhost": "127.0.0.1"}
    (folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
    call("mount", "--bind", folder / "hosts", "/etc/hosts")
    nodes = "\n".join(f"NodeName={name} NodeAddr={address} CPUs=2" for name, address in NODES.items())
    (folder / "slurm.conf").write_text(CONFIG.format(control=CONTROL, folder=folder, nodes=nodes))
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(64))
    key.chmod(0o400)
    files = [f"--{kind}={folder}/munge.{kind.partition('-')[0]}" for kind in ("key-file", "log-file", "pid-file")]
    call("munged", "--force", f"--socket={folder}/munge.socket", f"--seed-file={folder}/munge.seed", *files)
    call("slurmctld")
    for name in NODES:
        # Processes of one node do not see those of the other; the first of them collects what ended.
        inside = f"hostname {name}; mount -t tmpfs tmpfs /tmp; slurmd -D -N {name}; exit $?"
        apart = ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        subprocess.Popen(["nsenter", f"--net=/run/netns/{name}", *apart, "bash", "-c", inside])
    wait_for("both nodes", lambda: call("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(len(NODES)))


def wait_for(what, is_there):
    """Asks until it is so."""
    started = time.monotonic()
    while not is_there():
        if time.monotonic() - started > LIMIT_S:
            raise TimeoutError(f"no {what} after {LIMIT_S:.0f} s")
        time.sleep(0.2)


def submit(folder, name):
    """Submits the suite as the script's head says; returns the job's number."""
    where = [f"out={folder}/{name}", f"scratch={folder}/scratch-{name}"]
    options = ["--parsable", "--cpus-per-task=2", f"--output={folder}/{name}-%j.out"]
    # As in a shell where the environment is active.
    active = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["smidgen-suite", SUITE, "workers=4", *where]
    return call("sbatch", *options, str(SCRIPT), *command, cwd=ROOT, env=active).strip()


def state(job):
    """The state of a job of Slurm."""
    return re.search(r"JobState=(\w+)", call("scontrol", "show", "job", job))[1]


def hosts_seen(folder, name):
    """Machines that the notes of running jobs name at this moment."""
    found = set()
    for path in Path(folder, f"scratch-{name}").rglob("job.json"):
        try:
            found.add(json.loads(path.read_text())["host"])
        except FileNotFoundError:
            continue
    return found


def records(folder):
    """Every record, by path; what a process left half-written would be one more."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.json*"))}


def is_quiet(job):
    """Whether a job has ended, and with it every process of the suite on both nodes."""
    shown = call("ps", "-e", "-o", "stat=,args=").splitlines()
    return state(job) not in ACTIVE and not any("smidgen-suite" in line and line[0] != "Z" for line in shown)


def last_line(folder, job):
    """What a job printed last."""
    (path,) = folder.glob(f"*-{job}.out")
    return path.read_text(errors="replace").strip().rpartition("\n")[2][:200]


def try_script(folder, found):
    """The whole suite, and one that is cancelled in the middle and submitted again."""
    expected = folder / "local"
    where = [SUITE, f"out={expected}", f"scratch={folder}/scratch-local", "workers=2"]
    call(str(Path(sys.executable).parent / "smidgen-suite"), *where, cwd=ROOT)
    job, hosts = submit(folder, "whole"), set()
    while not is_quiet(job):
        hosts |= hosts_seen(folder, "whole")
        time.sleep(0.05)
    found.equal(f"state; {last_line(folder, job)}", state(job), "COMPLETED")
    found.equal("nodes that ran jobs", sorted(hosts), sorted(NODES))
    found.equal("records of the whole suite", records(folder / "whole") == records(expected), True)

    job = submit(folder, "cancelled")
    wait_for("a record", lambda: state(job) == "FAILED" or list((folder / "cancelled").rglob("runs/*/*.json")))
    call("scancel", job)
    wait_for("end of all processes", lambda: is_quiet(job))
    found.equal("cancelled in the middle", len(records(folder / "cancelled")) < len(records(expected)), True)
    again = submit(folder, "cancelled")
    wait_for("end of the second job", lambda: is_quiet(again))
    found.equal(f"state of the second job; {last_line(folder, again)}", state(again), "COMPLETED")
    found.equal("records after a cancelled job", records(folder / "cancelled") == records(expected), True)
    found.counts["steps"] += 2 * len(records(expected))


def inside(scratch):
    """In the namespaces."""
    found = Comparison()
    # The nodes have a /tmp of their own.
    call("mount", "--bind", scratch, "/mnt")
    folder = Path("/mnt")
    build_network()
    start_slurm(folder)
    try:
        try_script(folder, found)
    except Exception:
        for path in itertools.chain(folder.glob("*.out"), folder.glob("*.log")):
            print(f"== {path}\n{path.read_text(errors='replace')[-3000:]}", file=sys.stderr)
        raise
    versions = {"slurm": call("slurmd", "-V").split()[1], "ray": version("ray")}
    found.print_record({"library": "slurm", "versions": versions}, nodes=len(NODES))


def main(*arguments):
    """Enters the namespaces, and runs there."""
    if arguments[0] == INSIDE:
        inside(arguments[1])
        return
    scratch = Path(arguments[1])
    scratch.mkdir(parents=True, exist_ok=True)
    again = [sys.executable, __file__, INSIDE, str(scratch)]
    done = subprocess.run([*NAMESPACES, "bash", "-c", '"$@"; exit $?', "bash", *again], check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])
