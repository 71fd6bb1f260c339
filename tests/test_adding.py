"""docs/adding.md, applied to a copy of the sources: a task, a transform and a policy, each in so many files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
FOLDERS = ("runtime", "envs", "policies", "data_collection", "evaluation")
SECTIONS = {title: text for title, _, text in (part.partition("\n") for part in PAGE.split("\n## ")[1:])}
NEW_FILE = re.compile(r"^```python (\S+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
CHANGE = re.compile(r"^```diff (\S+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
CHECK = """
import gymnasium, numpy, torch
import smidgen.envs
from smidgen.data_collection.experts import EXPERTS
from smidgen.envs.tasks import make_env
from smidgen.policies.registry import BASELINES, build_baseline
from smidgen.policies.transforms import build_transform

env = make_env("wide_lift", observe_pixels=False)
places = []
for seed in range(8):
    env.reset(seed=seed)
    places.append(env.cue_pose()[:2])
assert 0.03 < numpy.abs(places).max() < 0.08, places
expert = EXPERTS["wide_lift"](env.task.action)
assert type(expert).__name__ == "WideLiftExpert"
assert "smidgen/WideLift-v0" in gymnasium.registry
transform = build_transform("reversal", grid=(2, 3, 4), channels=3)
tokens = torch.rand(2, 24, 3)
assert torch.equal(transform.inverse(transform(tokens)), tokens)
assert "centre" in BASELINES
action = env.task.action
policy = build_baseline("centre", {key: getattr(action, key) for key in ("names", "kinds", "low", "high")})
assert numpy.allclose(policy.act({}), (numpy.array(action.low) + numpy.array(action.high)) / 2)
print(smidgen.envs.__file__)
"""


def apply_change(path: Path, change: str) -> None:
    """What the lines without a plus say must be there once, and becomes what all lines say."""
    lines = change.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if not line.startswith("+"))
    after = "".join(line[1:] for line in lines)
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path}: {before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


def files_of(section: str) -> set[str]:
    return {name for name, _ in (*NEW_FILE.findall(section), *CHANGE.findall(section))}


def test_each_touches_as_many_files_as_its_title_says() -> None:
    assert len(files_of(SECTIONS["A task: three files"])) == 3
    assert len(files_of(SECTIONS["A transform: two files"])) == 2
    assert "Nothing is registered" in SECTIONS["A policy: one file"]


@pytest.mark.simulator
def test_the_steps_work_as_written(tmp_path: Path) -> None:
    package = tmp_path / "smidgen"
    shutil.copytree(ROOT / "package", package)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, package / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in NEW_FILE.findall(PAGE):
        assert not (package / name).exists()
        (package / name).write_text(text, encoding="utf-8")
    for name, change in CHANGE.findall(PAGE):
        apply_change(package / name, change)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.strip() == str(package / "envs" / "__init__.py"), "the copy ran, not the checkout"
