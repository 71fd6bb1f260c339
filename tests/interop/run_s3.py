"""python run_s3.py STORE SCRATCH: a data set on an S3 server that is started here, read and trained on."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import s3fs
from moto.server import ThreadedMotoServer
from source_set import Comparison

from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file

URL = "s3://bucket/sets/lift"
NUM_PROCESSES = 3
BIN = Path(sys.executable).parent
OPEN = (
    "import sys; from smidgen.data_collection.store import EpisodeStore; print(EpisodeStore.open(sys.argv[1]).sha256)"
)
TINY = ["policy=cnn", "width=2", "hidden_dim=4", "steps=4", "batch_size=2", "num_threads=1"]


def one_episode(here, found):
    """One episode alone, with an empty cache."""
    there, seed = EpisodeStore.open(URL, verify=False), here.seeds[-1]
    found.equal("one episode", np.asarray(there.episode(seed).frames), np.asarray(here.episode(seed).frames))
    found.equal("fetched", [int(path.name) for path in (there.directory / "episodes").iterdir()], [seed])


def open_at_once(found, sha256):
    """Several processes, whose cache has that episode alone."""
    command = [sys.executable, "-c", OPEN, URL]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(NUM_PROCESSES)]
    found.equal("processes", [process.communicate()[0].strip() for process in processes], [sha256] * NUM_PROCESSES)
    copies = [path.name for path in Path(os.environ["SMIDGEN_CACHE"], "stores").iterdir() if path.is_dir()]
    found.equal("copies", copies, [sha256])


def compare(here, found):
    """Every episode to the bit."""
    there = EpisodeStore.open(URL)
    for seed in here.seeds:
        ours, theirs = here.episode(seed), there.episode(seed)
        for name in ("frames", "actions", "eef_state", "states", "phase"):
            found.equal(f"{seed}: {name}", np.asarray(getattr(theirs, name)), np.asarray(getattr(ours, name)))
        found.counts["episodes"] += 1
        found.counts["steps"] += ours.num_steps
        found.counts["frames"] += len(ours.frames)


def train_there_and_here(store, scratch, found):
    """The same training from the bucket and from the disk."""
    for place in (URL, str(store)):
        out = scratch / ("there" if place == URL else "here")
        command = [str(BIN / "smidgen-train"), f"demos={place}", f"out={out}", *TINY]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    weights = [sha256_file(scratch / name / "checkpoints/final/model.safetensors") for name in ("there", "here")]
    found.equal("weights", weights[0], weights[1])


def refuse(bucket, store, found):
    """What is altered, missing or not permitted is said in a line."""
    frames = next(path for path in bucket.find("bucket/sets/lift") if path.endswith("frames.npy"))
    bucket.pipe_file(frames, bucket.cat_file(frames)[:-1] + b"\xff")
    shutil.rmtree(Path(os.environ["SMIDGEN_CACHE"], "stores", store.sha256))
    for url, told in {
        URL: "truncated or altered",
        "s3://bucket/nothing": "does not exist",
        "s3://no-such-bucket/lift": "manifest.json",
    }.items():
        try:
            EpisodeStore.open(url)
        except UserError as error:
            found.equal(f"{url}: {error}", (told in str(error), "\n" in str(error)), (True, False))
        else:
            found.equal(f"{url} was refused", False, True)


def main(directory, scratch):
    scratch, found = Path(scratch), Comparison()
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "SMIDGEN_CACHE": str(scratch / "cache"),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    scratch.mkdir(parents=True, exist_ok=True)
    bucket = s3fs.S3FileSystem()
    bucket.mkdir("bucket")
    bucket.put(directory, "bucket/sets/lift", recursive=True)
    here = EpisodeStore.open(directory)
    one_episode(here, found)
    open_at_once(found, here.sha256)
    compare(here, found)
    train_there_and_here(Path(directory), scratch, found)
    refuse(bucket, here, found)
    server.stop()
    versions = {name: version(name) for name in ("s3fs", "fsspec", "moto")}
    found.print_record({"library": "s3", "versions": versions}, processes=NUM_PROCESSES)


if __name__ == "__main__":
    main(*sys.argv[1:])
