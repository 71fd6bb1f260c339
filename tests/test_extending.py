"""docs/extending.md, run as it is written: classes of a user's own, and what is said when their code is not named."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from smidgen.evaluation.evaluate import main as evaluate
from smidgen.evaluation.policy_source import PolicySource, build_card, policy_identity
from smidgen.experiments.fuzz.data_readers import write_data_set
from smidgen.policies.checkpoint import load_checkpoint
from smidgen.policies.transforms import build_transform
from smidgen.runtime.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SPEC = "my_transform:Differences"
SMALL = ["steps=2", "eval_every=1", "num_latents=2", "latent_dim=8", "num_heads=1", "num_layers=1", "num_frames=2"]


def python_block(containing: str) -> str:
    (block,) = [each for each in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL) if containing in each]
    return block


def commands(program: str) -> list[list[str]]:
    return [line.split()[1:] for line in re.findall(rf"^{program} .*$", PAGE, flags=re.MULTILINE)]


def run(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = str(Path(sys.executable).with_name(program))
    return subprocess.run([script, *arguments], cwd=cwd, capture_output=True, text=True, env=dict(os.environ))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the page's module, a data set, and a run trained as the page says."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "my_transform.py").write_text(python_block("class Differences"), encoding="utf-8")
    write_data_set(folder / "outputs" / "lift")
    (arguments,) = commands("smidgen-train")
    done = run("smidgen-train", *arguments, *SMALL, "validation_fraction=0.5", cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield place
    sys.modules.pop("my_transform", None)


def test_a_checkpoint_loads_where_its_transform_is_named_again(here: Path) -> None:
    run_directory = "outputs/differences"
    with pytest.raises(UserError, match=rf"trained with transform={SPEC}.* add transform={SPEC}"):
        load_checkpoint(run_directory)
    assert "my_transform" not in sys.modules, "nothing was imported"
    with pytest.raises(UserError, match=rf"trained with transform={SPEC}, got transform=my_transform:Other"):
        load_checkpoint(run_directory, transform="my_transform:Other")
    assert "my_transform" not in sys.modules
    policy = load_checkpoint(run_directory, transform=SPEC)
    assert policy.name == "perceiver-Differences"
    assert type(policy.network.input_pipeline.transform).__name__ == "Differences"


@pytest.mark.parametrize("arguments", [["episodes=1"], ["saliency"]])
def test_the_command_says_what_to_add(arguments: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate([*arguments, "policy=outputs/differences", "out=results"]) == 2
    message = capsys.readouterr().err
    assert f"add transform={SPEC}" in message
    assert message.count("\n") == 1


def test_a_transform_belongs_to_a_checkpoint(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(["policy=noop", f"transform={SPEC}", "out=results", "episodes=1"]) == 2
    assert "policy 'noop' is none; leave transform out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("my_transform:Nothing", "has no 'Nothing'"),
        ("no_such_module:Mine", "no module 'no_such_module'"),
        ("my_transform:torch", "expected a class"),
        ("json:JSONDecoder", "expected a subclass of smidgen.InputTransform, got JSONDecoder"),
        ("dft4d", "valid: .*their.module:Class"),
    ],
)
def test_what_is_no_transform_is_named(spec: str, complaint: str, here: Path) -> None:
    with pytest.raises(UserError, match=complaint):
        build_transform(spec, grid=(2, 4, 4), channels=3)


def test_its_code_is_part_of_what_is_evaluated(here: Path) -> None:
    source = PolicySource("outputs/differences", "lift", transform=SPEC)
    before = build_card(source, source.build(), None)
    assert list(before["code"]) == ["my_transform.py"]
    module = here / "my_transform.py"
    text = module.read_text(encoding="utf-8")
    try:
        module.write_text(text + "\nCHANGED = True\n", encoding="utf-8")
        after = build_card(source, source.build(), None)
    finally:
        module.write_text(text, encoding="utf-8")
    assert policy_identity(source, before) != policy_identity(source, after)
    assert before["checkpoint_sha256"] == after["checkpoint_sha256"]


@pytest.mark.simulator
def test_it_is_evaluated_as_the_page_says(place: Path) -> None:
    (arguments,) = (each for each in commands("smidgen-eval") if f"transform={SPEC}" in each)
    small = ["episodes=1", "videos=0", "workers=1"]
    done = run("smidgen-eval", *(each for each in arguments if not each.startswith("demos=")), *small, cwd=place)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "perceiver-Differences on lift" in done.stdout
