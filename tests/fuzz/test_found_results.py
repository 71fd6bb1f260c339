"""Results, plans and command lines over which a reader once fell, or which it would have believed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smidgen.evaluation.env_spec import EnvSpec
from smidgen.evaluation.held_out_predictions import HeldOutItem
from smidgen.evaluation.items import EpisodeItem
from smidgen.evaluation.plan_items import SHARDS
from smidgen.evaluation.policy_source import PolicySource
from smidgen.evaluation.records import read_host, read_record
from smidgen.evaluation.repetition import env_spec_of
from smidgen.evaluation.shards import read_answer
from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.ranking import read_runs, training_points
from smidgen.leaderboard.submission import open_submission
from smidgen.runtime.command_line import EXIT_USER, one_line, run_command
from smidgen.runtime.errors import UserError
from smidgen.training.train import read_config
from studies.first_round.records import read_suite
from tests.fuzz.planted import LONG_NAME, alter, planted
from tests.fuzz.record_readers import CHECKPOINT, HOST, RECORD


class TestResults:
    def test_a_pipe_among_the_records(self, tmp_path: Path) -> None:
        folder = planted("record", tmp_path)
        os.mkfifo(folder / "results" / "lift-pipe.json")
        with pytest.raises(UserError, match=r"lift-pipe\.json is not a regular file"):
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
            env_spec_of(read_record(folder / RECORD), folder / RECORD, PolicySource("noop", "lift"))

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
        with pytest.raises(UserError, match=r"field provenance\.data_set_sha256: expected a string"):
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
            lambda answer: answer.pop("frames_sha256"),
        ],
    )
    def test_a_damaged_answer_is_asked_for_again(self, change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
        path = planted("stored answers", tmp_path) / "results" / SHARDS / "episode.json"
        item = EpisodeItem(PolicySource("noop", "lift"), EnvSpec("lift", ("agentview",), 8), 3_000_000)
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
            read_config(["demos=x", "out=x", override])
        assert len(str(refusal.value)) < 1000

    def test_a_message_moves_no_cursor(self) -> None:
        assert one_line("a\x1b[2J\nb\x07 c\x00") == "a\\x1b[2J b\\x07 c\\x00"
        assert len(one_line("x" * 10_000)) < 2000

    @pytest.mark.parametrize(
        "arguments",
        [
            [f"results={'a' * 300}"],
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
