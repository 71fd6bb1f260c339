"""python run_ray.py STORE SCRATCH: the same bytes on Ray as on one machine, a lost node, Ctrl-C, what a job costs."""

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import ray
from ray.cluster_utils import Cluster
from source_set import Comparison

from smidgen.runtime.engine import EngineSettings, map_on_engine
from smidgen.runtime.errors import UserError

BIN = Path(sys.executable).parent
ON_RAY = EngineSettings(engine="ray")
TASK = "task=speck_16"
NUM_NODES, NUM_ITEMS, NUM_TIMED = 3, 12, 200
LOST_AFTER_S, JOB_S = 4.0, 2.0
QUIET = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}


def hold(item):
    """A job that takes a while; the file says on which node it began."""
    folder, number = item
    with open(Path(folder, str(number)), "a") as file:
        file.write(f"{ray.get_runtime_context().get_node_id()}\n")
    time.sleep(JOB_S)
    return number * number


def nothing(item):
    """A job that costs nothing."""
    return item


def fail(item):
    """A job with an error of its own."""
    raise ValueError(f"cannot do {item}")


def files(folder):
    """Content of every file that is the same on every machine, by path."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("host.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def run(command, *arguments):
    """A command, which must succeed."""
    subprocess.run([str(BIN / command), *arguments], check=True, stdout=subprocess.DEVNULL)


def same_bytes(scratch, found):
    """A data set and an evaluation on both engines."""
    for engine in ("local", "ray"):
        run("smidgen-collect", TASK, f"out={scratch}/data-{engine}", "episodes=3", f"engine={engine}")
        where = [f"out={scratch}/results-{engine}", f"engine={engine}"]
        run("smidgen-eval", "policy=expert", TASK, "episodes=2", "videos=1", *where)
    for kind in ("data", "results"):
        ours, theirs = (files(scratch / f"{kind}-{engine}") for engine in ("local", "ray"))
        found.equal(f"{kind}: files", sorted(ours), sorted(theirs))
        for name in ours:
            found.equal(f"{kind}: {name}", ours[name] == theirs.get(name), True)
        found.counts["frames"] += len(ours)
    found.counts["episodes"] += 5


def lose_a_node(scratch, found):
    """A node of three ends in the middle of its job; that job alone runs again, elsewhere."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(NUM_NODES)]
    cluster.wait_for_nodes()
    folder = scratch / "held"
    folder.mkdir()
    ray.init(address=cluster.address, **QUIET)
    results, began = {}, time.monotonic()
    for item, result in map_on_engine(ON_RAY, hold, [(str(folder), n) for n in range(NUM_ITEMS)], NUM_NODES):
        results[item[1]] = result
        if nodes and time.monotonic() - began > LOST_AFTER_S:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            lost, nodes = True, []
    ray.shutdown()
    cluster.shutdown()
    found.equal("a node was lost", lost, True)
    found.equal("results", results, {n: n * n for n in range(NUM_ITEMS)})
    attempts = [len((folder / str(n)).read_text().splitlines()) for n in range(NUM_ITEMS)]
    found.equal("jobs that ran twice", sum(count > 1 for count in attempts) <= 1, True)
    found.equal("attempts", max(attempts) <= 2, True)
    return sum(attempts) - NUM_ITEMS


def errors(found):
    """A job's own error names its machine and shows its traceback; what no node has is refused."""
    try:
        list(map_on_engine(ON_RAY, fail, [7], 1))
    except ValueError as error:
        note = "\n".join(error.__notes__)
        found.equal("error", (str(error), os.uname().nodename in note, "in fail" in note), ("cannot do 7", True, True))
    for changes in ({"job_gpus": 64.0}, {"engine_address": "127.0.0.1:9"}):
        try:
            list(map_on_engine(EngineSettings(engine="ray", **changes), nothing, [1], 1))
        except UserError as error:
            found.equal(f"{changes}", "\n" in str(error), False)
        else:
            found.equal(f"{changes}", "was not refused", "")


def interrupt(scratch, found):
    """Ctrl-C ends the command with its usual message and leaves no process of Ray; the same command resumes."""
    command = [str(BIN / "smidgen-collect"), TASK, f"out={scratch}/stopped", "episodes=40", "engine=ray"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list(Path(scratch, "stopped").glob("episodes/0*")):
        time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    found.equal("Ctrl-C", "run the same command again to resume" in said, True)
    time.sleep(10)
    left = subprocess.run(["pgrep", "-s", str(process.pid)], capture_output=True, text=True, check=False).stdout.split()
    found.equal("processes left", left, [])


def overhead_s():
    """Seconds that a job of ours takes beyond a bare call of an actor of Ray."""
    with_pool = time.monotonic()
    ray.init(address="local", num_cpus=2, include_dashboard=False, **QUIET)
    list(map_on_engine(ON_RAY, nothing, range(2), 2))
    with_pool = time.monotonic()
    list(map_on_engine(ON_RAY, nothing, range(NUM_TIMED), 1))
    with_pool = time.monotonic() - with_pool

    @ray.remote
    class Bare:
        def call(self, item):
            return item

    bare, actor = time.monotonic(), Bare.remote()
    for number in range(NUM_TIMED):
        ray.get(actor.call.remote(number))
    bare = time.monotonic() - bare
    ray.shutdown()
    return (with_pool - bare) / NUM_TIMED


def main(_, scratch):
    # Children of a shell's background jobs ignore Ctrl-C, and would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    scratch, found = Path(scratch), Comparison()
    scratch.mkdir(parents=True, exist_ok=True)
    same_bytes(scratch, found)
    num_again = lose_a_node(scratch, found)
    errors(found)
    interrupt(scratch, found)
    per_job_s = round(overhead_s(), 4)
    found.equal("overhead of a job at most 50 ms", per_job_s <= 0.05, True)
    found.counts["steps"] += NUM_ITEMS
    versions = {name: version(name) for name in ("ray", "numpy")}
    more = {"nodes": NUM_NODES, "jobs_run_again": num_again, "overhead_of_a_job_s": per_job_s}
    found.print_record({"library": "ray", "versions": versions}, **more)


if __name__ == "__main__":
    main(*sys.argv[1:])
