"""Data sets, checkpoints and results are read where nothing may be written; nothing is left beside them."""

import shutil
from pathlib import Path

import pytest
from fake_lift import FakeLift, open_fake_collector
from read_only_mount import ROOT, run_beside_read_only

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate
from smidgen.policies.checkpoint import RUN_CHECKPOINT, save_checkpoint
from smidgen.policies.cnn import CnnConfig
from smidgen.policies.learned_policy import Interface, LearnedPolicy

CODE = """
import sys
from pathlib import Path

sys.path[:0] = [sys.argv[3]]
from fake_lift import FakeLift
from smidgen.data_collection.data import main
from smidgen.evaluation.evaluate import evaluate
from smidgen.leaderboard.command import leaderboard
from smidgen.evaluation.config import EvalConfig
from smidgen.runtime.command_line import run_command
from studies.first_round.__main__ import claims

mounted, out = Path(sys.argv[1]), Path(sys.argv[2])
demos = str(mounted / "demos")
print("verify", main(["verify", demos]))
print("preview", main(["preview", demos, "--out", str(out / "pictures")]))
sys.stderr = sys.stdout
print("leaderboard", run_command(leaderboard, [f"results={mounted / 'results'}"]))
config = EvalConfig(
    policy=str(mounted / "run"), demos=demos, out=str(out / "results"), episodes=1, workers=0, videos=0
)
named = [f"csv={out / 'table.csv'}", f"html={out / 'page.html'}"]
print("claims", run_command(claims, [f"results={mounted / 'claims'}"]))
print("named", run_command(leaderboard, [f"results={mounted / 'results'}", *named]), (out / "page.html").exists())
print("record", evaluate(config, FakeLift)[0].exists())
"""
WRITING = """
import sys
from smidgen.data_collection.data import main

print("preview", main(["preview", sys.argv[1] + "/demos"]))
"""


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds a data set, a run, results and a suite's results."""
    directory = tmp_path_factory.mktemp("mounted")
    config = CollectConfig(
        task="lift", out=str(directory / "demos"), episodes=4, split="validation", workers=0, image_size=16
    )
    store = collect(config, open_fake_collector).store
    save_run(directory / "run", store)
    settings = {"policy": str(directory / "run"), "demos": str(directory / "demos"), "out": str(directory / "results")}
    evaluate(EvalConfig(**settings, episodes=1, workers=0, videos=0), FakeLift)
    shutil.copytree(ROOT / "results" / "claims", directory / "claims")
    return directory


def save_run(directory: Path, store: EpisodeStore) -> None:
    policy = LearnedPolicy(CnnConfig(width=2, hidden_dim=4, horizon=3), Interface.from_json(store.manifest))
    directory.mkdir()
    save_checkpoint(
        directory / RUN_CHECKPOINT, policy, {"data_set_sha256": "ab" * 32, "data_set_seeds": [0], "step": 1}
    )


def contents(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


def test_everything_is_read_from_a_read_only_mount(mounted: Path, tmp_path: Path) -> None:
    before = contents(mounted)
    lines = run_beside_read_only(mounted, CODE, mounted, tmp_path, Path(__file__).parent)
    assert {"verify 0", "preview 0", "leaderboard 0", "claims 0", "named 0 True", "record True"} <= set(lines)
    told = [line for line in lines if line.startswith("did not write")]
    assert [line.rpartition("; ")[2].split()[1] for line in told] == ["csv=PATH", "html=PATH"]
    assert contents(mounted) == before
    assert len(list((tmp_path / "pictures").iterdir())) == 3


def test_pictures_that_would_be_written_there_are_refused(mounted: Path) -> None:
    assert "preview 2" in run_beside_read_only(mounted, WRITING, mounted)
