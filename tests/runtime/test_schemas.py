"""Schemas: what is refused, in which words, and what is left as it is. The readers have their own tests."""

import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from typing_extensions import TypedDict

from smidgen.runtime.errors import UserError
from smidgen.runtime.schemas import Name, Rule, Sha256, check_type, from_json, one_of, read_versioned, to_json


class Row(TypedDict):
    seed: int
    label: Annotated[str, one_of(("well", "ill"))]
    value: float | None


class File(TypedDict):
    name: Name
    sha256: Sha256 | None
    rows: list[Row]
    free: dict[str, Any]
    flag: bool


def valid() -> dict[str, Any]:
    rows = [{"seed": seed, "label": "well", "value": 1} for seed in range(3)]
    return {"name": "a-b", "sha256": "0" * 64, "rows": rows, "free": {"deep": [{"x": 10**400}]}, "flag": True}


@dataclass(frozen=True, kw_only=True)
class Point:
    at: tuple[int, float | None]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Curve:
    points: tuple[Point, ...]
    by_name: dict[str, Point] = field(default_factory=dict)
    version: int = 3

    def __post_init__(self) -> None:
        if len(self.points) > 2:
            raise UserError("field points: expected two at most")


POINT = {"at": [1, 2], "note": "x"}


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("name",), "a/b", "f.json: field name: expected letters, digits, '.', '_', '+' and '-', got 'a/b'"),
        (("sha256",), "0" * 63, f"f.json: field sha256: expected 64 hexadecimal digits, got '{'0' * 63}'"),
        (("rows",), {}, "f.json: field rows: expected a list, got {}"),
        (("rows", 1), [], "f.json: field rows[1]: expected an object, got []"),
        (("rows", 1), {"seed": 1}, "f.json: field rows[1].label: expected a value, got 'nothing (missing)'"),
        (("rows", 2, "seed"), 1.0, "f.json: field rows[2].seed: expected an integer below 2^53, got 1.0"),
        (("rows", 2, "seed"), True, "f.json: field rows[2].seed: expected an integer below 2^53, got True"),
        (("rows", 2, "seed"), -(2**53) - 1, "f.json: field rows[2].seed: expected an integer below 2^53, got -9007"),
        (("rows", 0, "label"), "fine", "f.json: field rows[0].label: expected one of well, ill, got 'fine'"),
        (("rows", 0, "value"), math.inf, "f.json: field rows[0].value: expected a finite number, got inf"),
        (("rows", 0, "value"), "1", "f.json: field rows[0].value: expected a finite number, got '1'"),
        (("rows", 0, "value"), 10**400, "f.json: field rows[0].value: expected a finite number, got 1000"),
        (("rows", 0, "more"), [0] * 99, "f.json: field rows[0].more: expected no such field, got [0, 0"),
        (("flag",), 1, "f.json: field flag: expected true or false, got 1"),
        (("free", "x"), [{"y": math.nan}], "f.json: field free.x: expected finite numbers, got [{'y': nan}]"),
    ],
)
def test_a_departure_is_named_in_one_line(keys: tuple[Any, ...], value: Any, message: str) -> None:
    broken: Any = valid()
    place = broken
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(UserError) as refusal:
        check_type(broken, File, "f.json")
    assert str(refusal.value).startswith(message)
    assert len(str(refusal.value)) < len(message) + 100


def test_what_is_valid_stays_as_it_is() -> None:
    value = valid()
    before = json.dumps(value)
    check_type(value, File, "f.json")
    assert json.dumps(value) == before  # 1 has not become 1.0
    check_type(None, list[File] | None, "f.json")
    with pytest.raises(UserError, match=r"^f.json: field part\[0\]\.name: expected a value"):
        check_type([{}], list[File] | None, "f.json", "part")


def test_dataclasses_are_built_and_taken_apart() -> None:
    value = {"points": [POINT, {"at": [2, None]}], "by_name": {"b": POINT, "a": POINT}}
    curve = from_json(Curve, value, "f.json")
    assert curve == Curve(
        points=(Point(at=(1, 2.0), note="x"), Point(at=(2, None))),
        by_name=dict.fromkeys("ba", Point(at=(1, 2), note="x")),
    )
    assert type(curve.points[0].at[1]) is float
    assert list(curve.by_name) == ["b", "a"]
    assert from_json(Curve, to_json(curve), "f.json") == curve
    assert from_json(dict[str, tuple[Point, ...]], {"x": [POINT]}, "f.json") == {"x": curve.points[:1]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "f.json: field (top level): expected an object, got []"),
        ({"points": [{"at": [1]}]}, "f.json: field points[0].at[1]: expected a value"),
        ({"points": [{"at": [1, 2, 3]}]}, "f.json: field points[0].at: expected at most 2 entries, got [1, 2, 3]"),
        ({"points": [{"at": [1, 2], "x": 0}]}, "f.json: field points[0].x: expected no such field, got 0"),
        ({"points": [POINT] * 3}, "f.json: field points: expected two at most"),
        ({"points": [], "by_name": {"a": {"at": ["1", 2]}}}, "f.json: field by_name.a.at[0]: expected an integer"),
    ],
)
def test_a_dataclass_that_departs_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        from_json(Curve, value, "f.json")
    assert str(refusal.value).startswith(message)


def test_another_version_is_refused_before_anything_else(tmp_path: Any) -> None:
    path = tmp_path / "f.json"
    path.write_text('{"version": 2}')
    with pytest.raises(UserError, match=r"f\.json: field version: expected 3, got 2"):
        read_versioned(Curve, str(path), 3)
    path.write_text("[]")
    with pytest.raises(UserError, match=r"f\.json: field \(top level\): expected an object"):
        read_versioned(Curve, str(path), 3)


def test_a_long_list_of_wrong_entries_costs_one_message() -> None:
    """Each error takes 400 bytes and 12 microseconds: a forged file would take the memory."""
    wrong: list[Any] = [None] * 1_000_000
    started = time.process_time()
    for value, hint in ((wrong, list[int]), (dict(enumerate(wrong)), dict[str, float])):
        with pytest.raises(UserError):
            check_type(value, hint, "f.json")
    assert time.process_time() - started < 1


def test_a_rule_beside_a_type() -> None:
    even = Annotated[int, Rule(lambda number: number % 2 == 0, "an even number")]
    check_type([2, 4], list[even], "f.json")
    with pytest.raises(UserError, match=r"field \[1\]: expected an even number, got 3"):
        check_type([2, 3], list[even], "f.json")


def test_pydantic_waits_for_the_first_file() -> None:
    program = "import sys, smidgen.runtime.schemas, smidgen.evaluation.records; print('pydantic' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
