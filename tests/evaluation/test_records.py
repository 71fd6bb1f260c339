import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_lift import FakeLift
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate
from smidgen.evaluation.records import (
    find_records,
    host_path,
    read_record,
    record_path,
    validate_record,
    write_record,
)
from smidgen.evaluation.video_files import video_path
from smidgen.runtime.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
# By the version that wrote them.
FOLDERS = {"results/pilot": 1, "results/experts": 1, "results/cpu-standard-1": 2, "results/zoo": 2}
COMMITTED = [(path, version) for folder, version in FOLDERS.items() for path in find_records(ROOT / folder)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("records") / "results"
    return evaluate(EvalConfig(policy="expert", out=str(out), episodes=12, workers=0, videos=1), FakeLift)[0]


@pytest.fixture
def record(path: Path) -> dict[str, Any]:
    return dict(copy.deepcopy(read_record(path)))


def assign(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(record: dict[str, Any]) -> None:
        inner: Any = record
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return edit


def delete(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def edit(record: dict[str, Any]) -> None:
        inner: Any = record
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]

    return edit


def swap_first_two(record: dict[str, Any]) -> None:
    record["episodes"][:2] = record["episodes"][1::-1]


def shift_to(first_seed: int) -> Callable[[dict[str, Any]], None]:
    def edit(record: dict[str, Any]) -> None:
        record["protocol"]["seed_start"] = first_seed
        for index, row in enumerate(record["episodes"]):
            row["seed"] = first_seed + index

    return edit


def nested(depth: int, core: Any) -> Any:
    for _ in range(depth):
        core = [core]
    return core


BROKEN: list[tuple[str, Callable[[dict[str, Any]], None]]] = [
    # Edited successes, missing seeds, duplicated seeds, truncated lists, test on training seeds.
    ("success.k", assign("success", "k", value=3)),
    ("success.n", assign("success", "n", value=5)),
    ("success.rate", assign("success", "rate", value=0.5)),
    ("success.low", assign("success", "low", value=0.9)),
    ("success_once.high", assign("success_once", "high", value=0.9)),
    ("success.k", lambda r: r["episodes"][0].update(success=False, label="timeout")),
    ("episodes[0].label", assign("episodes", 0, "success", value=False)),
    ("episodes[0].label", assign("episodes", 0, "label", value="great")),
    ("episodes[0].success_once", assign("episodes", 0, "success_once", value=False)),
    ("episodes", assign("episodes", 1, "seed", value=3_000_000)),
    ("episodes", lambda r: r["episodes"].pop()),
    ("episodes", lambda r: r["episodes"].clear()),
    ("episodes[0].seed", swap_first_two),
    ("episodes[3].seed", assign("episodes", 3, "seed", value=3_000_017)),
    ("episodes[0].seed", shift_to(17)),
    ("policy.data_set_seeds", assign("policy", "data_set_seeds", value=[0, 3_000_002])),
    ("policy.data_set_seeds", assign("policy", "data_set_seeds", value=[5])),
    # Contradictions within an episode.
    ("episodes[2].num_steps", assign("episodes", 2, "num_steps", value=101)),
    ("episodes[2].first_success_step", assign("episodes", 2, "first_success_step", value=None)),
    ("episodes[2].first_success_step", assign("episodes", 2, "first_success_step", value=100)),
    ("episodes[2].success_at_reset", assign("episodes", 2, "success_at_reset", value=True)),
    ("errors", assign("errors", "policy_error", value=1)),
    # Types, missing and unknown fields.
    ("schema_version", assign("schema_version", value=3)),
    ("schema_version", delete("schema_version")),
    ("policy.code", assign("schema_version", value=1)),
    ("policy.code", delete("policy", "code")),
    ("policy.files", delete("policy", "files")),
    ("policy.code.my_policy.py", assign("policy", "code", value={"my_policy.py": "abc"})),
    ("policy.files.w.pt", assign("policy", "files", value={"w.pt": None})),
    ("videos[0].frames_sha256", delete("videos", 0, "frames_sha256")),
    ("videos[0].frames_sha256", assign("videos", 0, "frames_sha256", value="abc")),
    ("collapse", delete("collapse")),
    ("episodes[1].return", delete("episodes", 1, "return")),
    ("surprise", assign("surprise", value=1)),
    ("policy.surprise", assign("policy", "surprise", value=1)),
    ("success.k", assign("success", "k", value=True)),
    ("success.rate", assign("success", "rate", value=math.nan)),
    ("success.rate", assign("success", "rate", value=10**400)),
    ("success.k", assign("success", "k", value=10**400)),
    ("training_curve[0].loss", assign("training_curve", value=[{"loss": [[math.nan]]}])),
    ("config.deep", lambda r: r["config"].update(deep=nested(300, math.inf))),
    ("success", assign("success", value=[])),
    ("episodes", assign("episodes", value={})),
    ("episodes[0].seed", assign("episodes", 0, "seed", value="3000000")),
    ("task", assign("task", value=None)),
    ("versions.torch", assign("versions", "torch", value=2)),
    ("training_curve[0]", assign("training_curve", value=[1])),
    # Names, hashes, ranges.
    ("task", assign("task", value="../lift")),
    ("policy.name", assign("policy", "name", value="a/b")),
    ("policy.kind", assign("policy", "kind", value="oracle")),
    ("policy.checkpoint_sha256", assign("policy", "checkpoint_sha256", value="abc")),
    ("protocol.split", assign("protocol", "split", value="validation")),
    ("protocol.confidence", assign("protocol", "confidence", value=1.0)),
    ("videos[0].seed", assign("videos", 0, "seed", value=5)),
    ("videos[0].file", assign("videos", 0, "file", value="../../x.mp4")),
    ("videos[0].file", assign("videos", 0, "file", value="x.html")),
    # Measures without a reason, or of another length.
    ("collapse.reasons.r2", lambda r: r["collapse"]["reasons"].pop("r2")),
    ("collapse.r2", assign("collapse", "r2", value=[1.0])),
    ("collapse.cue_slope", assign("collapse", "cue_slope", value=math.inf)),
    # A verdict that its own slope contradicts.
    ("collapse.verdict", assign("collapse", "verdict", value="blind")),
    ("collapse.verdict_source", assign("collapse", "verdict_source", value="cue_slope")),
    ("collapse.verdict_source", assign("collapse", "verdict_slope", value=0.1)),
    ("collapse.verdict_interval", assign("collapse", "verdict_interval", value=[0.9, 0.1])),
    ("collapse.path_slope_interval", assign("collapse", "path_slope_interval", value=[0.9])),
    ("collapse.mean_collapsed", assign("collapse", "mean_collapsed", value=True)),
    ("collapse.mean_collapsed", delete("collapse", "mean_collapsed")),
    ("collapse.episode_verdicts", lambda r: r["collapse"]["episode_verdicts"].pop()),
    ("collapse.episode_verdicts[1]", assign("collapse", "episode_verdicts", 1, value="fine")),
    ("collapse.over_time", assign("collapse", "over_time", value=1)),
]


@pytest.mark.parametrize(("field", "edit"), BROKEN)
def test_broken_records_are_refused_by_file_and_field(
    field: str, edit: Callable[[dict[str, Any]], None], record: dict[str, Any], tmp_path: Path
) -> None:
    edit(record)
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(record))
    with pytest.raises(UserError) as refusal:
        read_record(forged)
    assert str(refusal.value).startswith(f"{forged}: field {field}: expected ")
    assert ", got " in str(refusal.value)
    with pytest.raises(UserError):
        write_record(tmp_path / "new.json", record)  # type: ignore[arg-type]
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "7", '"x"', "{}", "[" * 100_000])
def test_files_that_are_no_record_are_refused_by_name(content: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(content)
    with pytest.raises(UserError, match=r"broken\.json"):
        read_record(broken)
    with pytest.raises(UserError, match=r"missing\.json"):
        read_record(tmp_path / "missing.json")


def refusal_of(record: Any) -> str:
    try:
        validate_record(record, "forged.json")
    except UserError as refusal:
        return str(refusal)
    return ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_any_value_in_any_place_is_accepted_or_refused_with_a_message(data: st.DataObject, path: Path) -> None:
    forged: Any = dict(copy.deepcopy(read_record(path)))
    place: Any = forged
    while True:
        key = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1))
        if not (isinstance(place[key], dict | list) and place[key]) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    message = refusal_of(forged)
    assert message == "" or message.startswith("forged.json: field ")
    assert "\n" not in message


def test_a_record_survives_writing_and_reading(record: dict[str, Any], tmp_path: Path) -> None:
    copied = tmp_path / "copied.json"
    write_record(copied, record)  # type: ignore[arg-type]
    assert read_record(copied) == record


@pytest.mark.parametrize(("committed", "version"), COMMITTED)
def test_every_committed_record_is_written_as_it_was_read(committed: Path, version: int, tmp_path: Path) -> None:
    record = read_record(committed)
    write_record(tmp_path / "again.json", record)
    assert (tmp_path / "again.json").read_bytes() == committed.read_bytes()
    assert record["schema_version"] == version


def test_the_committed_records_are_found() -> None:
    assert sum(version == 1 for _, version in COMMITTED) == 34
    assert sum(version == 2 for _, version in COMMITTED) >= 32


def test_a_key_with_a_line_break_is_refused_in_one_line(record: dict[str, Any]) -> None:
    record["errors"] = {"\n": None}
    assert refusal_of(record) == r"forged.json: field errors.\n: expected an integer below 2^53, got None"


def test_paths(path: Path, record: dict[str, Any]) -> None:
    assert record_path(path.parent, "lift", "expert") == path
    assert find_records(path.parent) == [path]
    assert host_path(path).exists()
    assert video_path(path, record["videos"][0]).exists()
