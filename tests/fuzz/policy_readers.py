"""Readers of policies: a checkpoint's card and model, what stands after ``policy=``, a training run's resume point."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.evaluation.policy_source import PolicySource, build_card, policy_identity
from smidgen.evaluation.training_curve import read_curve
from smidgen.policies.checkpoint import CARD_NAME, MODEL_NAME, load_checkpoint, save_checkpoint
from smidgen.policies.foreign_policy import checked_card
from smidgen.policies.learned_policy import Interface, LearnedPolicy
from smidgen.policies.perceiver import PerceiverConfig
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig
from smidgen.policies.wire import PREFIX, PROTOCOL, Message, WireError, encode, receive
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_bytes
from smidgen.runtime.user_modules import is_class_spec
from smidgen.training.optimiser import build_optimiser, optimiser_tensors
from smidgen.training.run_directory import RESUME_NAME, ResumePoint, RunDirectory, restore
from tests.fuzz.containers import spoil_safetensors
from tests.fuzz.data_readers import HEADER, data_set_files
from tests.fuzz.hostile import CANARY, KEYS, NAMES, TEXTS
from tests.fuzz.mutations import hostile_value, spoil_bytes, spoil_json, spoil_json_file, spoil_place, to_bytes
from tests.fuzz.reader import Case, Files, Reader, files_below

STEP = 3
POINT = f"{RESUME_NAME}/step-{STEP:09d}"
PROVENANCE: dict[str, Any] = {
    "data_set_sha256": "ab" * 32,
    "data_set_seeds": [0, 1],
    "training_config": {"lr": 1e-3, "seed": 0, "steps": STEP},
    "step": STEP,
}
# Sizes at which a forged configuration would take the machine's memory, were it believed.
_SIZES = (0, -1, 1, 2, 3, 5, 63, 64, 1000, 1024, 4096, 4097, 2**15, 2**16, 2**16 + 1, 2**24, 2**31, 2**62, 10**30)
_CHOICES = (
    "raw",
    "dft1d",
    "dft3d",
    "dct3d",
    "haar",
    "pca",
    "learned",
    "per_axis",
    "one_d",
    "aliased",
    "token",
    "centre",
)


def build_policy(transform: str = "raw") -> LearnedPolicy:
    """A policy of a few hundred weights that goes with the data set of :mod:`data_readers`."""
    torch.manual_seed(0)
    network = PerceiverConfig(num_latents=2, latent_dim=8, num_heads=2, num_layers=1, transform=transform)
    config = PerceiverPolicyConfig(horizon=2, network=network)
    policy = LearnedPolicy(config, Interface.from_json(HEADER))
    policy.fit([torch.randint(0, 256, (5, 3, 8, 8, 3), dtype=torch.uint8)], torch.rand(9, 4), torch.rand(9, 4))
    return policy.eval()


@functools.cache
def checkpoint_files() -> Files:
    """A checkpoint's card and model, and the rows of the run that made it."""
    with tempfile.TemporaryDirectory() as scratch:
        save_checkpoint(Path(scratch) / "checkpoints" / "final", build_policy("dft3d"), PROVENANCE)
        rows = [
            {"split": "train", "step": 0},
            {"split": "validation", "step": 3, "r2": [0.5, 0.5, 0.5], "cue_slope": 0.1},
        ]
        Path(scratch, "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        return files_below(Path(scratch))


_CARD, _MODEL = f"checkpoints/final/{CARD_NAME}", f"checkpoints/final/{MODEL_NAME}"


def spoil_card(rng: random.Random, content: bytes) -> bytes:
    """A spoiled card, most often in its configuration."""
    if rng.random() < 0.5:
        return spoil_json_file(rng, content)
    card = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.15:
            card[rng.choice(("image_size", "cameras", "task", "eef_state_names"))] = rng.choice(
                (rng.choice(_SIZES), ["x"] * rng.choice((0, 2, 1000, 70_000)), rng.choice(TEXTS))
            )
        key = rng.choice(sorted(card["config"]))
        value = rng.choice((rng.choice(_SIZES), rng.choice(_SIZES), rng.choice(_CHOICES), True, hostile_value(rng)))
        card["config"][key] = value
    return to_bytes(rng, card)


def _spoil_card(rng: random.Random, valid: Files) -> Case:
    if rng.random() < 0.1:
        return Case(
            {"metrics.jsonl": spoil_place(rng) if rng.random() < 0.3 else _spoil_rows(rng, valid["metrics.jsonl"])}
        )
    return Case({_CARD: spoil_place(rng) if rng.random() < 0.03 else spoil_card(rng, valid[_CARD])})


def _spoil_rows(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    lines[rng.randrange(len(lines))] = spoil_json_file(rng, lines[0]) + b"\n"
    return b"".join(lines)


def _spoil_model(rng: random.Random, valid: Files) -> Case:
    if rng.random() < 0.03:
        return Case({_MODEL: spoil_place(rng)})
    model = spoil_safetensors(rng, valid[_MODEL])
    card = {**json.loads(valid[_CARD]), "model_sha256": sha256_bytes(model)}
    return Case({_MODEL: model, _CARD: json.dumps(card).encode()})


def read_policy(folder: Path, words: tuple[str, ...]) -> None:
    """What ``smidgen-eval policy=...`` reads before it starts a simulator."""
    source = PolicySource(words[0], "lift", str(folder / "demos"))
    source.check()
    card = build_card(source, source.build(), None)
    policy_identity(source, card)
    if source.kind == "checkpoint":
        read_curve(source.spec)


@functools.cache
def _spec_files() -> Files:
    demos = {f"demos/{name}": content for name, content in data_set_files().items()}
    return {**{f"run/{name}": content for name, content in checkpoint_files().items()}, **demos}


# Modules whose import does nothing, with what is no policy in them.
_HARMLESS = (
    "string",
    "pathlib",
    "collections",
    "collections.abc",
    "enum",
    "fractions",
    "json",
    "json.decoder",
    "types",
)
_CLASSES = ("Path", "OrderedDict", "Mapping", "Enum", "Fraction", "JSONDecoder", "Template", "FunctionType", "missing")


def _spoil_spec(rng: random.Random, valid: Files) -> Case:
    kind = rng.randrange(8)
    if kind < 2:
        spec = rng.choice(TEXTS)
    elif kind < 3:
        spec = f"{rng.choice(NAMES)}:{rng.choice((*NAMES, *KEYS, 'Policy'))}"
    elif kind < 4:
        spec = f"{rng.choice(_HARMLESS)}:{rng.choice(_CLASSES)}"
    elif kind < 5:
        spec = rng.choice(
            (f"{CANARY}:Policy", f"{CANARY}.a.b:Policy", f"os.{CANARY}:P", f"builtins:{rng.choice(_BUILTINS)}")
        )
    elif kind < 6:
        spec = "{folder}/" + rng.choice(
            (*NAMES, "run", "run/checkpoints", "demos", "run/metrics.jsonl", f"run/{_CARD}")
        )
    else:
        names = ("expert", "random", "noop", "mean_action", "time_mean", "persistence")
        spec = rng.choice(names)
        spec = rng.choice(
            (spec, spec.upper(), f"{spec} ", f"{spec}:{spec}", f"./{spec}", spec[:-1], spec + rng.choice(NAMES))
        )
    return Case({}, (spec,))


_BUILTINS = (
    "int",
    "str",
    "dict",
    "type",
    "object",
    "property",
    "print",
    "BaseException",
    "memoryview",
    "slice",
    "super",
)


def _named_module(words: tuple[str, ...]) -> str:
    return words[0].partition(":")[0] if is_class_spec(words[0]) else ""


@functools.cache
def _resume_files() -> Files:
    policy = build_policy()
    optimiser = build_optimiser(
        "adam", list(policy.network.parameters()), lr=1e-3, betas=(0.9, 0.999), weight_decay=0.0
    )
    policy.network(torch.zeros(1, 3, 8, 8, 3, dtype=torch.uint8)).sum().backward()
    optimiser.step()
    monitor = CollapseMonitor()
    monitor.update(0, prediction=torch.zeros(8, 3), target=torch.randn(8, 3))
    memory = {"rows": [{"split": "train", "step": 1, "loss": 0.5}], "recent": {"loss": [0.5], "grad_norm": [1.0]}}
    tensors = {"model": policy.state_dict(), "optimiser": optimiser_tensors(optimiser)}
    with tempfile.TemporaryDirectory() as scratch:
        point = ResumePoint(STEP, tensors, {**memory, "monitor": monitor.state_dict()})
        RunDirectory(Path(scratch)).save_resume_point(point)
        return files_below(Path(scratch))


def _spoil_resume(rng: random.Random, valid: Files) -> Case:
    name = f"{POINT}/{rng.choice(('model', 'optimiser'))}.safetensors"
    state_name = f"{POINT}/state.json"
    kind = rng.randrange(20)
    if kind < 1:
        return Case({rng.choice((name, state_name)): spoil_place(rng)})
    if kind < 3:
        return Case({state_name: spoil_json_file(rng, valid[state_name])})
    if kind < 11:
        return Case({state_name: to_bytes(rng, spoil_json(rng, json.loads(valid[state_name])))})
    content, state = spoil_safetensors(rng, valid[name]), json.loads(valid[state_name])
    state["sha256"][Path(name).stem] = sha256_bytes(content)
    if rng.random() < 0.1:
        state["sha256"][rng.choice(NAMES)] = sha256_bytes(content)
    return Case({name: content, state_name: to_bytes(rng, state)})


@functools.cache
def _trainee() -> tuple[LearnedPolicy, torch.optim.Optimizer]:
    policy = build_policy()
    parameters = list(policy.network.parameters())
    return policy, build_optimiser("adam", parameters, lr=1e-3, betas=(0.9, 0.999), weight_decay=0.0)


def _read_resume(folder: Path, words: tuple[str, ...]) -> None:
    run = RunDirectory(folder)
    point = run.load_resume_point()
    if point is not None:
        restore(folder, point, *_trainee(), CollapseMonitor())


_CARD_FIELDS: dict[str, Any] = {"protocol": PROTOCOL, "name": "act", "observes": ["frames"], "files": {"a": "ab" * 32}}
_MESSAGE = Message("ok", _CARD_FIELDS, {"actions": np.zeros((2, 3)), "frames": np.zeros(4, dtype=np.uint8)})


@functools.cache
def _message_files() -> Files:
    return {"message": encode(_MESSAGE)}


def _spoil_message(rng: random.Random, valid: Files) -> Case:
    content = valid["message"]
    magic, header_bytes, body_bytes = PREFIX.unpack(content[: PREFIX.size])
    header, body = content[PREFIX.size :][:header_bytes], content[PREFIX.size + header_bytes :]
    kind = rng.randrange(4)
    if kind == 0:
        return Case({"message": spoil_bytes(rng, content)})
    if kind == 1:
        lengths = (rng.choice((header_bytes, 0, 1, 2**31, 2**32 - 1)), rng.choice((body_bytes, 0, 2**40, 2**64 - 1)))
        return Case({"message": PREFIX.pack(magic, *lengths) + header + body})
    if kind == 2:
        fields = json.loads(header)
        array = rng.choice(list(fields["arrays"].values()))
        array[rng.choice(("dtype", "shape"))] = rng.choice(
            (rng.choice(("O", "U1000000000", "f8", "u1", "V8")), [rng.choice(_SIZES)] * rng.choice((1, 2, 8, 9, 1000)))
        )
        header = to_bytes(rng, fields)
    else:
        header = spoil_json_file(rng, header)
    return Case({"message": PREFIX.pack(magic, len(header), len(body)) + header + body})


def _read_message(folder: Path, words: tuple[str, ...]) -> None:
    ours, theirs = socket.socketpair()
    content = (folder / "message").read_bytes()
    # A socket holds only so much that nobody has read.
    sender = threading.Thread(target=_send_and_close, args=(theirs, content))
    sender.start()
    try:
        with ours:
            checked_card(receive(ours, limit_s=5).fields)
    except WireError as error:
        raise UserError(f"{folder}: {error}") from error
    finally:
        sender.join()


def _send_and_close(connection: socket.socket, content: bytes) -> None:
    with connection, contextlib.suppress(OSError):
        connection.sendall(content)


POLICY_READERS: dict[str, Reader] = {
    "checkpoint card": Reader(checkpoint_files, _spoil_card, read_policy, ("{folder}",)),
    "safetensors": Reader(checkpoint_files, _spoil_model, lambda folder, words: load_checkpoint(folder)),
    "policy": Reader(_spec_files, _spoil_spec, read_policy, ("{folder}/run",), _named_module),
    "policy message": Reader(_message_files, _spoil_message, _read_message),
    "resume point": Reader(_resume_files, _spoil_resume, _read_resume),
}
