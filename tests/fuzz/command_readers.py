"""What a user types: ``key=value`` overrides of every command, and whole command lines with hostile paths."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import random
from collections.abc import Callable
from pathlib import Path

import omegaconf  # noqa: F401  (its first import looks for optional libraries, which no reader asks for)

from smidgen.data_collection import data
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.formats.config import ExportConfig, ImportConfig
from smidgen.evaluation.check.compare import CompareConfig, compare_command
from smidgen.evaluation.check.config import CheckConfig
from smidgen.evaluation.check.control import ControlConfig
from smidgen.evaluation.check.rank import RankConfig
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.saliency_videos import SaliencyConfig
from smidgen.experiments.demo import DemoConfig
from smidgen.experiments.suite import SuiteConfig, suite
from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.outputs import LeaderboardConfig
from smidgen.policies.registry import DEFAULT
from smidgen.runtime.command_line import EXIT_OK, EXIT_USER, compose_config, run_command
from smidgen.runtime.errors import UserError
from smidgen.training.config import command_line_schema
from studies.bench.config import BenchConfig
from studies.calibration.record import CalibrationConfig
from studies.check_calibration.record import CheckCalibrationConfig
from studies.first_round.__main__ import ClaimsConfig, claims
from studies.pages.mesh_pictures import MeshPicturesConfig
from studies.pages.side_by_side import SideBySideConfig
from studies.pages.theory_table import TableConfig
from studies.scale.__main__ import ScaleConfig
from studies.scale.each_policy import EachPolicyConfig
from studies.scale.efficiency import EfficiencyConfig
from studies.scale.many_windows import ManyWindowsConfig
from studies.synthetic.frames import FramesConfig
from studies.synthetic.preview import LadderPreviewConfig
from studies.zoo import ZooConfig
from tests.fuzz.data_readers import data_set_files
from tests.fuzz.hostile import KEYS, NAMES, NUMBERS, TARGETS, TEXTS
from tests.fuzz.reader import Case, Files, Reader
from tests.fuzz.record_readers import NOOP, RECORD, result_files

SCHEMAS: dict[str, type] = {
    schema.__name__: schema
    for schema in (
        *(
            CollectConfig,
            command_line_schema(DEFAULT),
            EvalConfig,
            CheckConfig,
            CompareConfig,
            RankConfig,
            ControlConfig,
            SaliencyConfig,
            LeaderboardConfig,
            ClaimsConfig,
            SuiteConfig,
        ),
        *(
            SuiteConfig,
            DemoConfig,
            BenchConfig,
            CalibrationConfig,
            CheckCalibrationConfig,
            TableConfig,
            SideBySideConfig,
            MeshPicturesConfig,
            ScaleConfig,
            EachPolicyConfig,
            EfficiencyConfig,
            ManyWindowsConfig,
        ),
        *(FramesConfig, LadderPreviewConfig, ExportConfig, ImportConfig, ZooConfig),
    )
}
# What Hydra's grammar gives a meaning.
_GRAMMAR = (
    *("[", "]", "{", "}", "[[[[", "{a:{b:{c:1}}}", "[1,2", "1,2", "a,b,c", "range(1,5)", "choice(a,b)", "glob(*)"),
    *(
        "interval(0,1)",
        "shuffle(1,2)",
        "sort(3,1)",
        "int(3.5)",
        "str(1)",
        "float(x)",
        "bool(x)",
        "json_str({})",
        "extend_list(1)",
    ),
    *(
        "${oc.env:HOME}",
        "${oc.decode:'1'}",
        "${oc.create:{a:1}}",
        "${oc.select:x}",
        "${policy}",
        "${out}${out}",
        "\\${x}",
    ),
    *(
        "'",
        '"',
        "''",
        '""',
        "a b",
        "a=b",
        "a:b",
        "@x",
        "null",
        "NULL",
        "true",
        "1_000",
        "0b1",
        ".5",
        "5.",
        "-",
        "+",
        "~",
    ),
    *("inf", "-inf", "nan", "[null]", "[1,a,{}]", "{_target_:os.system}", "{_target_: smidgen_fuzz_canary.Policy}"),
)
_FORMS = (
    "{key}={value}",
    "+{key}={value}",
    "++{key}={value}",
    "~{key}",
    "{key}@x={value}",
    "{key}.x={value}",
    "{key}",
    "={value}",
)


def _value(rng: random.Random) -> str:
    return str(rng.choice((rng.choice(_GRAMMAR), rng.choice(_GRAMMAR), rng.choice(TEXTS), rng.choice(NUMBERS))))


def _spoil_overrides(rng: random.Random, valid: Files) -> Case:
    name = rng.choice(sorted(SCHEMAS))
    keys = [field.name for field in dataclasses.fields(SCHEMAS[name])]
    overrides = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        key = (
            rng.choice(keys) if rng.random() < 0.85 else rng.choice((*KEYS, *NAMES, "hydra.run.dir", "hydra/launcher"))
        )
        form = "{key}={value}" if rng.random() < 0.8 else rng.choice(_FORMS)
        overrides.append(form.replace("{key}", key).replace("{value}", _value(rng)))
    # What a command cannot do without, so that other keys are looked at.
    needed = {field.name: field for field in dataclasses.fields(SCHEMAS[name]) if _is_required(field)}
    return Case({}, (name, *(f"{key}=x" for key in needed if rng.random() < 0.9), *overrides))


def _is_required(field: dataclasses.Field[object]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _read_overrides(folder: Path, words: tuple[str, ...]) -> None:
    name, *overrides = words
    compose_config(SCHEMAS[name], overrides)


def _data(arguments: list[str]) -> None:
    if data.main(arguments) not in (EXIT_OK, EXIT_USER):
        raise AssertionError("smidgen-data failed")


# The commands that neither simulate nor train, with the form of each argument: {path} is where hostile names go.
COMMANDS: dict[str, tuple[Callable[[list[str]], None], tuple[str, ...]]] = {
    "leaderboard": (leaderboard, ("results={path}", "check=true")),
    "leaderboard readme": (leaderboard, ("results={folder}/results", "readme={path}", "check=true")),
    "leaderboard csv": (leaderboard, ("results={folder}/results", "csv={path}", "check=true")),
    "leaderboard videos": (leaderboard, ("results={folder}/results", "videos={path}", "check=true")),
    "claims": (claims, ("results={path}", "check=true")),
    "submit": (leaderboard, ("submit", "{path}", "--out", "{folder}/x.zip")),
    "submit checkpoint": (
        leaderboard,
        ("submit", "{folder}/" + RECORD, "--checkpoint", "{path}", "--out", "{folder}/x.zip"),
    ),
    "compare": (compare_command, ("{path}", "{folder}/" + RECORD)),
    "data verify": (_data, ("verify", "{path}")),
    "suite status": (suite, ("status", "suite=tests.studies.small_round:SMALL_ROUND", "out={path}")),
    "suite name": (suite, ("status", "suite={path}")),
}


_FRAMES = "demos/episodes/000000000/frames.npy"


@functools.cache
def _command_files() -> Files:
    demos = {f"demos/{name}": content for name, content in data_set_files().items()}
    return {**result_files(), **demos}


# What is there, and mostly no such thing as was asked for.
_PRESENT = tuple(
    "{folder}/" + name for name in (RECORD, NOOP, "demos", "demos/manifest.json", "results", "checkpoints", _FRAMES)
)


def _spoil_command(rng: random.Random, valid: Files) -> Case:
    name = rng.choice(sorted(COMMANDS))
    # No argument of a process can hold NUL, nor what is no text.
    path = rng.choice((*NAMES, *TEXTS, *TARGETS)).replace("\0", "0").encode("utf-8", "replace").decode()
    place = rng.choice(
        ("{path}", "{folder}/{path}", "{folder}/results/{path}", "{folder}/demos/{path}", "'{path}'", *_PRESENT)
    )
    words = [word.replace("{path}", place.replace("{path}", path)) for word in COMMANDS[name][1]]
    return Case({}, (name, *words))


def _run_command(folder: Path, words: tuple[str, ...]) -> None:
    name, *arguments = words
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), contextlib.suppress(SystemExit):
        code = run_command(COMMANDS[name][0], arguments)
        if code == EXIT_USER:
            raise UserError(errors.getvalue())
        if code != EXIT_OK:
            raise AssertionError(f"exit code {code}: {errors.getvalue()[-600:]}")


COMMAND_READERS: dict[str, Reader] = {
    "overrides": Reader(dict, _spoil_overrides, _read_overrides, ("EvalConfig", "policy=noop", "out=x")),
    "command lines": Reader(_command_files, _spoil_command, _run_command, ("data verify", "verify", "{folder}/demos")),
}
