"""Inputs that a reader once fell over, or would have believed; each is refused in a line that names the file."""

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from smidgen.data_collection.array_files import read_npz
from smidgen.data_collection.episode import COUNTERFACTUALS_LAYOUT
from smidgen.data_collection.manifest import array_sizes
from smidgen.data_collection.store import EpisodeStore
from smidgen.data_collection.synthetic.pictures import read_pictures
from smidgen.evaluation.claims.records import read_suite
from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.evaluation.evaluate import SHARDS
from smidgen.evaluation.held_out import HeldOutItem
from smidgen.evaluation.items import EpisodeItem, World
from smidgen.evaluation.leaderboard import leaderboard
from smidgen.evaluation.plan import read_curve
from smidgen.evaluation.policy_source import PolicySource
from smidgen.evaluation.ranking import read_runs, training_points
from smidgen.evaluation.records import read_host, read_record
from smidgen.evaluation.stored_answers import read_answer
from smidgen.evaluation.submit import open_submission
from smidgen.evaluation.verify import world_of
from smidgen.experiments.fuzz.data_readers import HEADER, PICTURES, sign
from smidgen.experiments.fuzz.policy_readers import POINT, build_policy
from smidgen.experiments.fuzz.reader import plant
from smidgen.experiments.fuzz.record_readers import CHECKPOINT, HOST, RECORD
from smidgen.experiments.fuzz.registry import READERS
from smidgen.policies.actions import ActionLayout
from smidgen.policies.checkpoint import load_checkpoint
from smidgen.runtime.command_line import EXIT_USER, compose_config, one_line, run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json, read_json, read_text, sha256_bytes
from smidgen.training.config import TrainConfig
from smidgen.training.optimiser import build_optimiser
from smidgen.training.resume import restore
from smidgen.training.run_directory import RunDirectory
from smidgen.training.side_by_side_resume import load_state

EPISODE = "episodes/000000000"
LONG_NAME = "a" * 5000


def planted(name: str, folder: Path) -> Path:
    plant(folder, dict(READERS[name].files()))
    return folder


def alter(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))


class TestFiles:
    @pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", ".", "loop"])
    def test_what_is_no_file_is_not_read(self, target: str, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        (tmp_path / "x.json").symlink_to(target if target.startswith("/") else tmp_path / target)
        with pytest.raises(UserError, match=r"x\.json"):
            read_json(tmp_path / "x.json")

    def test_a_pipe_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "x.json")
        with pytest.raises(UserError, match=r"x\.json is no regular file"):
            read_json(tmp_path / "x.json")

    @pytest.mark.parametrize("name", [LONG_NAME, "a\0b"])
    def test_a_name_that_no_file_can_have(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="cannot be read"):
            read_json(tmp_path / name)

    def test_a_file_of_megabytes_too_many_is_refused_unread(self, tmp_path: Path) -> None:
        with open(tmp_path / "x.json", "wb") as file:
            file.truncate((1 << 28) + 1)
        with pytest.raises(UserError, match=r"x\.json is larger than"):
            read_json(tmp_path / "x.json")

    def test_what_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "x.md").write_bytes(b"\xff\xfe")
        with pytest.raises(UserError, match=r"x\.md is no text"):
            read_text(tmp_path / "x.md")


class TestDataSet:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("control_hz", float("nan")),
            ("control_hz", 10**400),
            ("control_hz", 0),
            ("config", {"x": [float("inf")]}),
            ("environment", {"x": float("nan")}),
            ("task", "lift\x1b[2J"),
            ("cameras", ["a" * 201]),
            ("phases", ["reach", "\x07"]),
            ("action_spec", {**HEADER["action_spec"], "low": [-(10**400), 0, 0, 0]}),
        ],
    )
    def test_a_header_that_could_not_be_written_again(self, key: str, value: Any, tmp_path: Path) -> None:
        folder = planted("manifest", tmp_path)
        alter(folder / "manifest.json", lambda manifest: manifest.update({key: value}))
        with pytest.raises(UserError, match=r"manifest\.json"):
            EpisodeStore.open(folder)

    def test_a_success_without_steps(self, tmp_path: Path) -> None:
        folder = planted("manifest", tmp_path)
        alter(folder / "manifest.json", lambda manifest: manifest["episodes"][0].update(num_steps=0))
        with pytest.raises(UserError, match=r"manifest\.json: seed 0: a success without steps"):
            EpisodeStore.open(folder, verify=False)

    def test_poses_of_different_lengths(self, tmp_path: Path) -> None:
        folder, path = planted("counterfactuals", tmp_path), f"{EPISODE}/counterfactuals.npz"
        pairs = dict(read_npz(folder / path, COUNTERFACTUALS_LAYOUT, {**array_sizes(HEADER), "pairs": 1}))
        for name in ("cue_pose", "cue_pose_moved"):
            pairs[name] = np.zeros((1, 7))
        plant(folder, sign({path: npz_of(pairs)}))
        store = EpisodeStore.open(folder)
        with pytest.raises(UserError, match="poses of a cue"):
            store.counterfactuals(store.seeds)

    def test_bounds_beyond_every_float(self) -> None:
        with pytest.raises(UserError, match="finite"):
            ActionLayout.from_json({**HEADER["action_spec"], "high": [10**400] * 4})


def npz_of(arrays: dict[str, Any], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            if isinstance(array, bytes):
                member.write(array)
            else:
                np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            archive.writestr(f"{name}.npy", member.getvalue())
    return buffer.getvalue()


def npy_header(dtype: str, shape: str) -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def text_array(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8)


PICTURE_ARRAYS = {
    "pictures": np.zeros((2, 2, 3, 8, 8), np.uint8),
    "cue_m": np.zeros((2, 2, 2)),
    "provenance": text_array("{}"),
}


@pytest.mark.parametrize(
    "content",
    [
        npz_of({**PICTURE_ARRAYS, "pictures": npy_header("|u1", "(1000000000000,)")}),
        npz_of({**PICTURE_ARRAYS, "pictures": npy_header("|O", "(1,)") + b"csmidgen_fuzz_canary\nPolicy\n."}),
        npz_of({**PICTURE_ARRAYS, "provenance": text_array("[" * 100_000)}),
        npz_of({**PICTURE_ARRAYS, "provenance": np.frombuffer(b"\xff", np.uint8)}),
        npz_of(PICTURE_ARRAYS, zipfile.ZIP_LZMA),
        npz_of({**PICTURE_ARRAYS, "pictures": np.zeros((1 << 26) + 1, np.uint8)}, zipfile.ZIP_DEFLATED),
    ],
    ids=["1e12 pixels", "pickle", "deep", "no text", "lzma", "bomb"],
)
def test_forged_pictures(content: bytes, tmp_path: Path) -> None:
    (tmp_path / PICTURES).write_bytes(content)
    with pytest.raises(UserError, match=r"pictures\.npz"):
        read_pictures(tmp_path / PICTURES)


class TestPolicy:
    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            (LONG_NAME, "unknown policy"),
            (f"{LONG_NAME}/x", "unknown policy"),
            ("builtins:int", "made with action_spec= or nothing"),
            ("string:Template", "made with action_spec= or nothing"),
            ("collections.abc:Mapping", "no class 'Mapping' that can be made"),
            ("pathlib:Path", "lacks"),
            ("strange_policy:Numbered", "a string, and observes, a tuple"),
            ("strange_policy:Unhashable", "observes"),
        ],
    )
    def test_what_is_no_policy(self, spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        methods = "    def reset(self, num_episodes=1, seed=0): ...\n    def act(self, observations): ...\n"
        (tmp_path / "strange_policy.py").write_text(
            f"class Numbered:\n    name, observes = 'x', 3\n{methods}\n"
            f"class Unhashable:\n    name, observes = 'x', ([], {{}})\n{methods}"
        )
        monkeypatch.syspath_prepend(tmp_path)
        source = PolicySource(spec, "lift")
        with pytest.raises(UserError, match=message):
            source.check() or source.build()

    @pytest.mark.parametrize("row", [b"[]", b"7", b"\xff", b"[" * 3000], ids=["list", "number", "no text", "deep"])
    def test_a_curve_of_something_else(self, row: bytes, tmp_path: Path) -> None:
        folder = planted("checkpoint card", tmp_path)
        (folder / "metrics.jsonl").write_bytes(b'{"step": 0}\n' + row + b"\n")
        with pytest.raises(UserError, match=r"metrics\.jsonl: line 2"):
            read_curve(str(folder))

    def test_a_model_of_more_dimensions_than_pytorch_reads(self, tmp_path: Path) -> None:
        folder = planted("safetensors", tmp_path) / "checkpoints" / "final"
        header = json.dumps({"x": {"dtype": "F32", "shape": [0, 10**12, 10**12], "data_offsets": [0, 0]}}).encode()
        model = len(header).to_bytes(8, "little") + header
        (folder / "model.safetensors").write_bytes(model)
        alter(folder / "checkpoint.json", lambda card: card.update(model_sha256=sha256_bytes(model)))
        with pytest.raises(UserError, match=r"model\.safetensors"):
            load_checkpoint(folder)


class TestResume:
    @pytest.mark.parametrize(
        "change",
        [
            lambda state: state["sha256"].update({"../../../x": "0" * 64}),
            lambda state: state["sha256"].update({"/etc/passwd": "0" * 64}),
            lambda state: state["sha256"].pop("optimiser"),
            lambda state: state.update(step="three"),
            lambda state: state.update(step=4),
            lambda state: state.update(sha256=[]),
            lambda state: state.update(schema_version=2),
        ],
    )
    def test_a_state_that_names_other_files(self, change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
        folder = planted("resume point", tmp_path)
        alter(folder / POINT / "state.json", change)
        with pytest.raises(UserError, match=r"state\.json"):
            RunDirectory(folder).load_resume_point()

    @pytest.mark.parametrize(
        "change",
        [
            lambda memory: memory.update(rows=[1]),
            lambda memory: memory.update(recent={}),
            lambda memory: memory["recent"].update(loss=["x"]),
            lambda memory: memory["monitor"].update(version=99),
            lambda memory: memory["monitor"].update(plateau_since="x"),
            lambda memory: memory["monitor"].update(reading={"r2": "x"}),
            lambda memory: memory.pop("monitor"),
        ],
    )
    def test_a_memory_that_does_not_fit(self, change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
        folder = planted("resume point", tmp_path)
        alter(folder / POINT / "state.json", lambda state: change(state["memory"]))
        with pytest.raises(UserError, match="does not fit this run"):
            self.restore(folder)

    @pytest.mark.parametrize(
        "tensors",
        [
            {"0.exp_avg": torch.zeros(3, 3)},
            {"99.exp_avg": torch.zeros(1)},
            {"x.exp_avg": torch.zeros(())},
            {"group0.betas": torch.zeros(())},
            {"group7.step": torch.zeros(())},
            {"0.step": torch.zeros(()), "1.exp_avg": torch.zeros(())},
        ],
    )
    def test_an_optimiser_of_another_network(self, tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
        folder, content = planted("resume point", tmp_path), save(tensors)
        (folder / POINT / "optimiser.safetensors").write_bytes(content)
        alter(folder / POINT / "state.json", lambda state: state["sha256"].update(optimiser=sha256_bytes(content)))
        with pytest.raises(UserError, match="does not fit this run"):
            self.restore(folder)

    def restore(self, folder: Path) -> None:
        policy, point = build_policy(), RunDirectory(folder).load_resume_point()
        assert point is not None
        parameters = list(policy.network.parameters())
        optimiser = build_optimiser("adam", parameters, lr=1e-3, betas=(0.9, 0.999), weight_decay=0.0)
        restore(folder, point, policy, optimiser, CollapseMonitor())

    @pytest.mark.parametrize("header", [{}, [], {"schema_version": 1, "settings": {}, "memory": 3}])
    def test_a_ladder_run_s_state(self, header: Any, tmp_path: Path) -> None:
        path = tmp_path / "run"
        path.write_bytes(save({"x": torch.zeros(1)}, {"smidgen": json.dumps(header)}))
        with pytest.raises(UserError, match="holds no state of a run"):
            load_state(path, {})


class TestResults:
    def test_a_pipe_among_the_records(self, tmp_path: Path) -> None:
        folder = planted("record", tmp_path)
        os.mkfifo(folder / "results" / "lift-pipe.json")
        with pytest.raises(UserError, match=r"lift-pipe\.json is no regular file"):
            read_runs(folder / "results")

    @pytest.mark.parametrize("content", ["[]", '{"host": []}', '{"host": {"cpu": NaN}}'])
    def test_a_host_file_of_something_else(self, content: str, tmp_path: Path) -> None:
        folder = planted("submission", tmp_path)
        (folder / HOST).write_text(content)
        with pytest.raises(UserError, match=r"host\.json"):
            read_host(folder / RECORD)

    @pytest.mark.parametrize(
        ("key", "value"), [("cameras", None), ("cameras", [3]), ("image_size", 10**12), ("image_size", "8")]
    )
    def test_an_environment_that_cannot_be_made(self, key: str, value: Any, tmp_path: Path) -> None:
        folder = planted("record", tmp_path)
        alter(folder / RECORD, lambda record: record["config"].update({key: value}))
        with pytest.raises(UserError, match=rf"{RECORD}: field config\.{key}"):
            world_of(read_record(folder / RECORD), folder / RECORD, PolicySource("noop", "lift").build())

    def test_a_curve_with_a_number_beyond_every_float(self, tmp_path: Path) -> None:
        """Input 2541 of the long form: read as valid, and the page fell over it."""
        folder = planted("record", tmp_path)
        curve = [{"step": 0, "r2": [10**400, 0.2, 0.3]}, {"step": 10**400, "cue_slope": 0.9}]
        alter(folder / RECORD, lambda record: record.update(training_curve=curve))
        record = read_record(folder / RECORD)
        assert training_points(record, "r2") == [(0, pytest.approx(0.25))]
        assert training_points(record, "cue_slope") == []

    def test_a_task_that_is_none(self, tmp_path: Path) -> None:
        folder = planted("submission", tmp_path)
        alter(folder / RECORD, lambda record: record.update(task="1e999"))
        with pytest.raises(UserError, match=rf"{RECORD}: field task"):
            open_submission([folder / RECORD])

    def test_a_card_whose_data_has_no_hash(self, tmp_path: Path) -> None:
        folder = planted("submission", tmp_path)
        alter(folder / CHECKPOINT / "checkpoint.json", lambda card: card["provenance"].update(data_set_sha256=[1]))
        with pytest.raises(UserError, match="data_set_sha256 should be a hash"):
            open_submission([folder / RECORD])

    @pytest.mark.parametrize(
        "change",
        [
            lambda answer: answer.pop("row"),
            lambda answer: answer["row"].update(seed=7),
            lambda answer: answer["row"].update(label="great"),
            lambda answer: answer.update(path=[[0.0]]),
            lambda answer: answer.update(environment={"ranked": {}}),
            lambda answer: answer.update(error=3),
        ],
    )
    def test_a_damaged_answer_is_asked_for_again(self, change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
        path = planted("stored answers", tmp_path) / "results" / SHARDS / "episode.json"
        item = EpisodeItem(PolicySource("noop", "lift"), World("lift", ("agentview",), 8), 3_000_000)
        assert read_answer(path, item) is not None
        alter(path, change)
        assert read_answer(path, item) is None

    @pytest.mark.parametrize(
        "change",
        [
            lambda answer: answer.pop("prediction"),
            lambda answer: answer.update(more=[]),
            lambda answer: answer.update(error="x"),
            lambda answer: answer["prediction"].pop(),
            lambda answer: answer["prediction"][0].pop(),
            lambda answer: answer.update(frames=[[1.0]]),
            lambda answer: answer.update(shuffled=3),
        ],
    )
    def test_damaged_predictions_are_asked_for_again(
        self, change: Callable[[dict[str, Any]], Any], tmp_path: Path
    ) -> None:
        path = planted("stored answers", tmp_path) / "results" / SHARDS / "held-out.json"
        item = HeldOutItem(PolicySource("noop", "lift"), "demos", 3_000_000, (0, 1, 2, 3, 4))
        assert read_answer(path, item) is not None
        alter(path, change)
        assert read_answer(path, item) is None


class TestClaims:
    def test_a_name_with_more_digits_than_python_reads(self, tmp_path: Path) -> None:
        folder = planted("claims plan", tmp_path)
        alter(folder / "plan.json", lambda plan: plan["arms"].update({"9" * 5000: plan["arms"].popitem()[1]}))
        with pytest.raises(UserError, match=r"plan\.json"):
            read_suite(folder)

    def test_a_plan_that_contradicts_itself_names_its_file(self, tmp_path: Path) -> None:
        folder = planted("claims plan", tmp_path)
        alter(folder / "plan.json", lambda plan: plan.update(seeds=[0, 0]))
        with pytest.raises(UserError, match=rf"{folder}/plan\.json"):
            read_suite(folder)


class TestCommandLine:
    @pytest.mark.parametrize("override", ["seed=" + "9" * 5000, "lr=" + "9" * 400, "demos=" + LONG_NAME])
    def test_numbers_that_nobody_can_read(self, override: str) -> None:
        with pytest.raises(UserError) as refusal:
            compose_config(TrainConfig, ["demos=x", "out=x", override])
        assert len(str(refusal.value)) < 1000

    def test_a_message_moves_no_cursor(self) -> None:
        assert one_line("a\x1b[2J\nb\x07 c\x00") == "a\\x1b[2J b\\x07 c\\x00"
        assert len(one_line("x" * 10_000)) < 2000

    @pytest.mark.parametrize(
        "arguments",
        [
            [f"results={'a' * 300}"],
            ["--claims", f"results={'a' * 300}"],
            ["submit", "a" * 300],
            ["results={folder}/results", "csv=/proc/self/mem", "check=true"],
            ["results={folder}/results", "readme={folder}/movie", "check=true"],
            ["results={folder}/results", f"csv={{folder}}/{'a' * 300}"],
        ],
    )
    def test_paths_that_are_none(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = planted("record", tmp_path)
        (folder / "movie").write_bytes(b"\xff\xd8")
        words = [word.replace("{folder}", str(folder)) for word in arguments]
        assert run_command(leaderboard, words) == EXIT_USER
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_nothing_of_these_was_imported() -> None:
    assert "smidgen_fuzz_canary" not in sys.modules
    assert canonical_json({}) == b"{}\n"
