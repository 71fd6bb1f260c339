"""python run_hub.py STORE SCRATCH: a checkpoint to a stand-in of the Hugging Face Hub and back, refusals included.

Where LeRobot is installed, it reads the folder's ``config.json``.
"""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from hub_stand_in import HubStandIn
from source_set import Comparison

from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.records import read_record
from smidgen.policies.checkpoint import RUN_CHECKPOINT, checkpoint_sha256, load_checkpoint, save_checkpoint
from smidgen.policies.learned_policy import Interface, LearnedPolicy, cameras_to_channels
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig

BIN = Path(sys.executable).parent
TOKEN, REPO, PRIVATE = "hf_standin", "somebody/lift-tiny", "somebody/lift-mine"
HAS_LEROBOT = importlib.util.find_spec("lerobot") is not None


def save_run(store, run):
    """A run directory that ends with an untrained Perceiver, and two histories of frames to ask it about."""
    episode = store.episode(store.seeds[0])
    config = PerceiverPolicyConfig.from_flat(num_latents=2, latent_dim=8, num_heads=1, num_layers=1)
    policy = LearnedPolicy(config, Interface.from_json(store.manifest))
    pictures = cameras_to_channels(episode.frames[: 2 * config.num_frames])
    frames = pictures.reshape(2, config.num_frames, *pictures.shape[1:])
    actions, states = (torch.from_numpy(each.copy()) for each in (episode.actions, episode.eef_state))
    policy.fit([torch.from_numpy(frames)], actions, states)
    save_checkpoint(run / RUN_CHECKPOINT, policy, {"data_set_sha256": store.sha256, "data_set_seeds": [0]})
    return frames


class Client:
    """Runs commands as a user of a Hub would."""

    def __init__(self, scratch, endpoint):
        self.endpoint, self.scratch = endpoint, scratch
        quiet = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        self.variables = {**os.environ, **quiet, "HF_TOKEN": TOKEN, "HF_ENDPOINT": endpoint}

    def run(self, program, *arguments, **variables):
        """The finished process."""
        return subprocess.run(
            [str(BIN / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.scratch,
            env={**self.variables, **variables},
        )

    def upload(self, *arguments, repo=REPO, endpoint="", **variables):
        """Exit code and what was said, on standard output if it went well."""
        where = ["--repo", repo, "--endpoint", endpoint or self.endpoint, *arguments]
        done = self.run("smidgen-leaderboard", "upload", "run", *where, **variables)
        said = (done.stderr if done.returncode else done.stdout).replace(self.endpoint, "HUB")
        return done.returncode, re.sub(r"Request ID: [\w-]+", "Request ID: ...", said)


def is_one_line(said, *words):
    """Whether a command ended with exit code 2 and one line that has these words."""
    code, text = said
    return code == 2 and len(text.splitlines()) == 1 and text.startswith("error: ") and all(w in text for w in words)


def refusals(hub, client, found):
    """Nothing is stored by a dry run, a wrong token or a refused commit, or where nobody listens.

    Returns what was said.
    """
    found.equal("dry run", client.upload("--dry-run", "--out", "dry")[0], 0)
    found.equal("requests of a dry run", hub.requests, [])
    wrong = client.upload(HF_TOKEN="hf_wrong")
    found.equal("wrong token", is_one_line(wrong, REPO, "401", "hf auth login"), True)
    found.equal("repositories", list(hub.repositories), [])
    hub.refuses_commits = True
    refused = client.upload()
    found.equal("refused commit", is_one_line(refused, REPO, "403", "may not write"), True)
    hub.refuses_commits = False
    found.equal("files", hub.repositories[REPO].files, {})
    nobody = client.upload(endpoint="http://127.0.0.1:9")
    found.equal("nobody there", is_one_line(nobody, REPO, "127.0.0.1:9"), True)
    public = client.upload("--private")
    found.equal("public repository", is_one_line(public, "is there and public"), True)
    found.equal("private repository", client.upload("--private", repo=PRIVATE)[0], 0)
    found.equal("privacy", [hub.repositories[name].private for name in (REPO, PRIVATE)], [False, True])
    return [said.strip() for _, said in (wrong, refused, nobody, public)]


def there(hub, client, record, found):
    """The folder arrives to the byte, in one commit."""
    options = ["--record", str(record), "--license", "mit"]
    found.equal("dry run with card", client.upload(*options, "--dry-run", "--out", "folder")[0], 0)
    said = client.upload(*options)
    stored = hub.repositories[REPO]
    found.equal(f"upload: {said}", (said[0], f"{REPO}/commit/{stored.sha}" in said[1]), (0, True))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in stored.files.items()}
    written = {path.name: path for path in (client.scratch / "folder").iterdir()}
    found.equal("files", hashes, {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in written.items()})
    found.equal("commits", len(stored.commits), 1)
    weights = stored.files["model.safetensors"]
    found.equal("weights by LFS", hub.large, {hashlib.sha256(weights).hexdigest(): weights})
    return len(hashes)


def back(client, frames, found):
    """What `hf download` writes is the checkpoint, and is evaluated as one."""
    done = client.run("hf", "download", REPO, "--local-dir", "back")
    found.equal(f"download: {done.stderr[-200:]}", done.returncode, 0)
    run, copy = client.scratch / "run", client.scratch / "back"
    found.equal("checkpoint", checkpoint_sha256(copy), checkpoint_sha256(run))
    found.equal("chunks", load_checkpoint(copy).predict_chunk(frames), load_checkpoint(run).predict_chunk(frames))
    record = evaluate(client, "back", "results-back")
    found.equal("record", record["policy"]["checkpoint_sha256"], checkpoint_sha256(run))
    found.counts["episodes"] += 1
    found.counts["frames"] += frames.shape[0] * frames.shape[1]


def evaluate(client, policy, out):
    """The record of one episode."""
    small = ["name=tiny", "episodes=1", "videos=0", "workers=0"]
    done = client.run("smidgen-eval", f"policy={policy}", f"out={out}", *small)
    assert done.returncode == 0, done.stderr
    return read_record(client.scratch / out / "lift-tiny.json")


def read_with_lerobot(folder, found):
    """LeRobot's own reader of policies' settings, once somebody has registered the type."""
    from dataclasses import dataclass, field

    import torchvision_operators  # noqa: F401
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.configs.types import FeatureType, NormalizationMode

    @PreTrainedConfig.register_subclass("smidgen_perceiver")
    @dataclass
    class SmidgenConfig(PreTrainedConfig):
        chunk_size: int = 0
        n_action_steps: int = 0
        normalization_mapping: dict[str, NormalizationMode] = field(default_factory=dict)
        smidgen: dict = field(default_factory=dict)
        observation_delta_indices = action_delta_indices = reward_delta_indices = None

        def validate_features(self):
            pass

        def get_optimizer_preset(self):
            raise NotImplementedError

        def get_scheduler_preset(self):
            return None

    config, written = PreTrainedConfig.from_pretrained(folder), json.loads((folder / "config.json").read_text())
    shapes = {name: list(each.shape) for name, each in config.image_features.items()}
    found.equal("type", config.type, written["type"])
    found.equal("cameras", shapes, {name: each["shape"] for name, each in written["input_features"].items()})
    found.equal("action", config.action_feature.type, FeatureType.ACTION)
    found.equal("chunk", (config.n_obs_steps, config.chunk_size, config.n_action_steps), (3, 8, 2))
    found.equal("card", config.smidgen, json.loads((folder / "checkpoint.json").read_text()))


def main(store, scratch):
    found, scratch = Comparison(), Path(scratch)
    scratch.mkdir(parents=True)
    frames = save_run(EpisodeStore.open(store), scratch / "run")
    with HubStandIn(TOKEN) as hub:
        client = Client(scratch, hub.address)
        said = refusals(hub, client, found)
        evaluate(client, "run", "results")
        num_files = there(hub, client, scratch / "results" / "lift-tiny.json", found)
        back(client, frames, found)
    if HAS_LEROBOT:
        read_with_lerobot(scratch / "folder", found)
    names = ["huggingface-hub", *(["lerobot"] if HAS_LEROBOT else []), "torch"]
    versions = {name: version(name) for name in names}
    found.print_record({"library": "huggingface_hub", "versions": versions}, files_arrived=num_files, refusals=said)


if __name__ == "__main__":
    main(*sys.argv[1:])
