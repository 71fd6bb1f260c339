"""Policies and points of resumption over which a reader once fell, or which it would have believed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.evaluation.policy_source import PolicySource
from smidgen.evaluation.training_curve import read_curve
from smidgen.policies.checkpoint import load_checkpoint
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_bytes
from smidgen.training.optimiser import build_optimiser
from smidgen.training.run_directory import RunDirectory, restore
from studies.ladder.side_by_side_resume import load_state
from tests.fuzz.planted import LONG_NAME, alter, planted
from tests.fuzz.policy_readers import POINT, build_policy


class TestPolicy:
    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            (LONG_NAME, "unknown policy"),
            (f"{LONG_NAME}/x", "unknown policy"),
            ("builtins:int", "constructed with action_spec= or nothing"),
            ("string:Template", "constructed with action_spec= or nothing"),
            ("collections.abc:Mapping", "abstract"),
            ("pathlib:Path", "lacks"),
            ("strange_policy:Numbered", "a string as name and a tuple as observes"),
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
        with pytest.raises(UserError, match="does not match this run"):
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
        with pytest.raises(UserError, match="does not match this run"):
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
        with pytest.raises(UserError, match="is not a run's state"):
            load_state(path, {})
