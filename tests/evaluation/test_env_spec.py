"""Which task is run and which frames are seen, where the command line does not say."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_lift import open_fake_collector

from smidgen.data_collection.collect import CollectConfig, collect
from smidgen.envs.tasks import get_task
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import main
from smidgen.evaluation.plan import make_plan
from smidgen.policies.checkpoint import save_checkpoint
from smidgen.policies.cnn import CnnConfig
from smidgen.policies.learned_policy import Interface, LearnedPolicy, LearnedPolicyConfig
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig
from smidgen.runtime.errors import UserError

SMALL = PerceiverPolicyConfig.from_flat(num_latents=2, latent_dim=8, num_layers=1, num_heads=1, horizon=4, num_frames=2)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Held-out demonstrations of Lift in 16 x 16 pixels, of another camera than the task's own."""
    out = str(tmp_path_factory.mktemp("demos") / "held-out")
    settings = {"split": "validation", "episodes": 3, "image_size": 16, "cameras": ("sideview",), "workers": 0}
    collect(CollectConfig(task="lift", out=out, **settings), open_fake_collector)  # type: ignore[arg-type]
    return out


def checkpoint(directory: Path, demos: str, config: LearnedPolicyConfig = SMALL, **changes: Any) -> str:
    torch.manual_seed(0)
    manifest = json.loads((Path(demos) / "manifest.json").read_text())
    task = get_task(changes.get("task", "lift"))
    own = {"action_spec": task.action.to_json(), "eef_state_names": task.eef_state_names}
    save_checkpoint(directory, LearnedPolicy(config, Interface.from_json(manifest | own | changes)), {})
    return str(directory)


def seen(policy: str, **settings: Any) -> tuple[str, tuple[str, ...], int]:
    spec = make_plan(EvalConfig(policy=policy, out="nowhere", **settings)).env_spec
    return spec.task, spec.cameras, spec.image_size


def test_a_checkpoint_decides(tmp_path: Path, held_out: str) -> None:
    policy = checkpoint(tmp_path / "stack", held_out, task="stack", image_size=8, cameras=["agentview"])
    assert seen(policy) == ("stack", ("agentview",), 8)
    assert seen(policy, task="stack", image_size=8) == ("stack", ("agentview",), 8)


def test_demonstrations_decide_for_others(held_out: str) -> None:
    assert seen("noop", demos=held_out) == ("lift", ("sideview",), 16)
    assert seen("mean_action", train_demos=held_out) == ("lift", ("sideview",), 16)
    assert seen("noop", demos=held_out, image_size=32) == ("lift", ("sideview",), 32)


def test_without_either_it_is_lift(held_out: str) -> None:
    assert seen("noop") == ("lift", get_task("lift").cameras, 64)
    assert seen("noop", task="stack") == ("stack", get_task("stack").cameras, 64)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"task": "lift"}, r"run was trained with task=stack, got task=lift; leave task out"),
        ({"image_size": 64}, r"run was trained with image_size=16, got image_size=64; omit image_size"),
        ({"demos": "DEMOS"}, r"held-out: expected demonstrations of task 'stack', got 'lift'"),
        ({"demos": "DEMOS", "task": "lift"}, r"run was trained with task=stack"),
    ],
)
def test_a_contradiction_is_one_line(
    settings: dict[str, Any], complaint: str, tmp_path: Path, held_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = checkpoint(tmp_path / "run", held_out, task="stack")
    given = {key: held_out if value == "DEMOS" else value for key, value in settings.items()}
    out = tmp_path / "results"
    assert main([f"policy={policy}", f"out={out}", *(f"{key}={value}" for key, value in given.items())]) == 2
    message = capsys.readouterr().err
    assert re.search(complaint, message)
    assert message.count("\n") == 1
    assert not out.exists()


def test_a_twin_of_another_task_is_named(tmp_path: Path, held_out: str) -> None:
    policy, twin = checkpoint(tmp_path / "run", held_out), checkpoint(tmp_path / "twin", held_out, task="stack")
    with pytest.raises(
        UserError, match=r"twin .*twin was trained on task 'stack', policy .*run is evaluated on 'lift'"
    ):
        make_plan(EvalConfig(policy=policy, out="nowhere", demos=held_out, twin=twin))


def test_a_twin_of_another_kind_or_with_other_eyes_is_named(tmp_path: Path, held_out: str) -> None:
    policy = checkpoint(tmp_path / "run", held_out)
    cnn = CnnConfig(width=2, hidden_dim=4, horizon=4, num_frames=2)
    for name, twin, complaint in (
        ("cnn", checkpoint(tmp_path / "cnn", held_out, cnn), "policy=cnn, policy .*run with policy=perceiver"),
        ("front", checkpoint(tmp_path / "front", held_out, cameras=["frontview"]), "cameras=frontview, .*=sideview"),
        ("large", checkpoint(tmp_path / "large", held_out, image_size=32), "image_size=32, policy .*image_size=16"),
    ):
        with pytest.raises(UserError, match=f"twin .*{name} was trained with {complaint}; expected the same network"):
            make_plan(EvalConfig(policy=policy, out="nowhere", demos=held_out, twin=twin))


@pytest.mark.parametrize(
    ("use_eef_state", "changes", "complaint"),
    [
        (True, {"eef_state_names": ["x_m"]}, r"run sees states \(x_m\), task lift has \(x_m, .*gripper_opening_m\)"),
        (False, {"eef_state_names": ["x_m"]}, ""),
        (False, {"action_spec": get_task("speck_4").action.to_json()}, r"run gives actions \(x_m, y_m, z_m\), task "),
    ],
)
def test_states_and_actions_of_another_task_are_refused_before_the_first_episode(
    use_eef_state: bool, changes: dict[str, Any], complaint: str, tmp_path: Path, held_out: str
) -> None:
    config = dataclasses.replace(SMALL, use_eef_state=use_eef_state)
    policy = checkpoint(tmp_path / "run", held_out, config, **changes)
    if not complaint:
        assert seen(policy)[0] == "lift"
        return
    with pytest.raises(UserError, match=complaint):
        seen(policy)
