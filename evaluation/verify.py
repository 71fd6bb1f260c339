"""smidgen-eval verify RECORD [--episodes K] [--checkpoint DIR] [--demos DIR] [--salt TEXT] [--workers N]

Runs K episodes of a record again with the checkpoint that it names, and writes what came of it beside the record, as
``RECORD.verification.json``: verified, differs (with the first episode that does) or not reproducible here. Run time on
a 2-core CPU: about half a minute for 50 episodes of Lift.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from smidgen.data_collection.manifest import MAX_IMAGE_SIZE
from smidgen.envs.specs import TaskSpec
from smidgen.evaluation.env_spec import EnvSpec, find_env_spec, make_simulator
from smidgen.evaluation.fixed_part import PACKAGES
from smidgen.evaluation.items import EpisodeItem
from smidgen.evaluation.policy_source import PolicySource, build_card
from smidgen.evaluation.protocol import HOLD_STEPS, PROTOCOL_VERSION
from smidgen.evaluation.provenance import BROKEN, Link, chain, record_source, recorded_task
from smidgen.evaluation.record_schema import EpisodeRow, Record
from smidgen.evaluation.records import host_path, read_host, read_record
from smidgen.evaluation.shards import run_items
from smidgen.evaluation.statistics import exact_mcnemar
from smidgen.evaluation.verification_mark import (
    BITWISE,
    DIFFERS,
    NONE,
    NOT_REPRODUCIBLE,
    STATISTICAL,
    VERIFICATION_VERSION,
    VERIFIED,
    Verification,
    catch_probability,
    drawn_seeds,
    episode_difference,
    read_verification,
    write_verification,
)
from smidgen.runtime.differences import Difference, differences
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file
from smidgen.runtime.settings import user_path

# On another machine the last bits may differ, and with them an outcome now and then: only a shift of the rate counts.
SIGNIFICANCE_ELSEWHERE = 0.01
# With fewer, not even a wholly invented record would differ at that level often enough.
MIN_EPISODES_ELSEWHERE = 30
# The report says how likely it was to be caught with this share of all episodes falsely called successes.
FALSE_SHARE = 0.05
_HOST_KEYS = ("cpu", "gl_backend", "renderer", "omp_num_threads")


@dataclass(frozen=True)
class VerifyOptions:
    """What to verify, and with what."""

    record: Path
    episodes: int = 50
    checkpoint: Path | None = None
    demos: Path | None = None
    train_demos: Path | None = None
    policy: str | None = None
    transform: str | None = None
    task: str | None = None
    salt: str | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.workers < 0:
            raise UserError(f"expected episodes >= 1 and workers >= 0, got {self.episodes} and {self.workers}")


@dataclass(frozen=True)
class Repetition:
    """Episodes run again: answers by seed, or the reason why they cannot be compared."""

    rows: dict[int, Mapping[str, Any]]
    environment: dict[str, Any]
    host: dict[str, Any]
    reason: str = ""


def verify_record(
    options: VerifyOptions, make: Callable[..., Any] = make_simulator
) -> tuple[Verification, list[Link], Path]:
    """Runs episodes of a record again, compares, and writes the mark beside the record.

    Args:
        options: What to verify.
        make: Makes the environment, from task, cameras and image size.

    Returns:
        The mark, every link of the chain, and the mark's path. A mark ``verified`` or ``differs`` of the same bytes
        stays where this machine could not tell.

    Raises:
        UserError: If the record is not valid, or something that is needed was not given.
    """
    record, record_sha256 = read_record(options.record), sha256_file(options.record)
    source = record_source(
        record, options.record, options.checkpoint, options.train_demos, options.policy, options.transform, options.task
    )
    task = recorded_task(record, options.record, options.task)
    policy = source.build()
    source = source.pinned(build_card(source, policy, record["policy"]["name"]))
    links = chain(record, options.record, record_sha256, source, policy, options.demos)
    salt = secrets.token_hex(8) if options.salt is None else options.salt
    seeds = drawn_seeds(record, record_sha256, salt, min(options.episodes, len(record["episodes"])))
    broken = [link for link in links if link.status == BROKEN]
    reason = _other_protocol(record, task)
    if broken or reason:
        seeds = []
        repetition = Repetition({}, {}, {}, reason)
    else:
        env_spec = dataclasses.replace(env_spec_of(record, options.record, source), make=make)
        repetition = _repeat(record, source, env_spec, seeds, options.workers)
    mark: Verification = {
        "schema_version": VERIFICATION_VERSION,
        "record_sha256": record_sha256,
        **_judge(record, options.record, repetition, broken[0] if broken else None),  # type: ignore[typeddict-item]
        "salt": salt,
        "seeds": sorted(repetition.rows),
        "links": {link.name: link.status for link in links},
        "environment": repetition.environment,
        "host": repetition.host,
        "versions": _versions(),
    }
    before = read_verification(options.record)
    is_known = before is not None and before["record_sha256"] == record_sha256 and before["verdict"] != NOT_REPRODUCIBLE
    if mark["verdict"] == NOT_REPRODUCIBLE and is_known:
        return mark, links, Path()
    return mark, links, write_verification(options.record, mark)


def _other_protocol(record: Record, task: TaskSpec) -> str:
    """Why the record's protocol is not this smidgen's; "" where it is."""
    here = {
        "version": PROTOCOL_VERSION,
        "horizon": task.horizon,
        "hold_steps": HOLD_STEPS,
        "control_hz": task.control_hz,
    }
    there = {name: dict(record["protocol"])[name] for name in here}
    return next((_in_words(each) for each in differences(there, here, "protocol.")), "")


def _in_words(difference: Difference) -> str:
    return f"{difference.path} is {difference.there!r:.40} in the record and {difference.here!r:.40} here"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def env_spec_of(record: Record, record_path: Path, source: PolicySource) -> EnvSpec:
    """The environment that a record was measured in.

    Args:
        record: The record.
        record_path: Its file.
        source: The policy that it names; a checkpoint's own word on what it sees goes before the record's.

    Raises:
        UserError: If the record names none that could be made.
    """
    if source.kind == "checkpoint":
        return find_env_spec(source)
    cameras, image_size = (record["config"].get(name) for name in ("cameras", "image_size"))
    if not isinstance(cameras, list) or not cameras or not all(isinstance(name, str) for name in cameras):
        raise UserError(f"{record_path}: field config.cameras: expected a list of names, got {cameras!r:.60}")
    if type(image_size) is not int or not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise UserError(
            f"{record_path}: field config.image_size: expected 1..{MAX_IMAGE_SIZE}, got {str(image_size)[:20]}"
        )
    return EnvSpec(source.task, tuple(cameras), image_size)


def _repeat(record: Record, source: PolicySource, env_spec: EnvSpec, seeds: list[int], workers: int) -> Repetition:
    with tempfile.TemporaryDirectory() as folder:
        items = {Path(folder, f"{seed}.json"): EpisodeItem(source, env_spec, seed) for seed in seeds}
        answers = run_items(items, workers, f"verify {record['policy']['name']}")
        by_seed = {items[path].seed: answer for path, answer in answers.items()}
    environment = by_seed[seeds[0]]["environment"]
    for other in differences(record["environment"], environment["ranked"]):
        reason = f"another environment: {_in_words(other)}"
        return Repetition({}, environment["ranked"], environment["host"], reason)
    rows = {seed: answer["row"] for seed, answer in by_seed.items()}
    return Repetition(rows, environment["ranked"], environment["host"])


def _judge(record: Record, record_path: Path, repetition: Repetition, broken: Link | None) -> dict[str, Any]:
    """Verdict, how it was reached, and why."""
    found: dict[str, Any] = {"num_equal": 0, "first_difference": None, "p_value": None, "comparison": NONE}
    if broken is not None:
        return {**found, "verdict": DIFFERS, "reason": broken.detail, "first_difference": broken.difference}
    if repetition.reason:
        return {**found, "verdict": NOT_REPRODUCIBLE, "reason": repetition.reason}
    recorded = {row["seed"]: row for row in record["episodes"]}
    differences = [
        difference
        for seed, row in sorted(repetition.rows.items())
        if (difference := episode_difference(recorded[seed], row)) is not None
    ]
    num_episodes = len(repetition.rows)
    found |= {"num_equal": num_episodes - len(differences), "first_difference": differences[0] if differences else None}
    if not differences:
        reason = f"{num_episodes} episodes gave the same outcomes, steps and returns to the bit"
        return {**found, "verdict": VERIFIED, "comparison": BITWISE, "reason": reason}
    elsewhere = other_machine(record, record_path, repetition.host)
    if not elsewhere:
        first = differences[0]
        reason = (
            f"on the same kind of machine {len(differences)} of {num_episodes} episodes differ, the first seed "
            f"{first['seed']}: {first['field']} is {first['record']} in the record and {first['here']} here"
        )
        return {**found, "verdict": DIFFERS, "comparison": BITWISE, "reason": reason}
    return {**found, **_compare_statistically(recorded, repetition.rows, elsewhere)}


def _compare_statistically(
    recorded: Mapping[int, EpisodeRow], rows: Mapping[int, Mapping[str, Any]], elsewhere: str
) -> dict[str, Any]:
    """Whether the rates differ by more than a machine's last bits explain."""
    first, second = ({seed: bool(table[seed]["success"]) for seed in rows} for table in (recorded, rows))
    p_value, num_episodes = exact_mcnemar(first, second)
    counts = f"{sum(first.values())} of {num_episodes} successes in the record, {sum(second.values())} here"
    if p_value <= SIGNIFICANCE_ELSEWHERE:
        verdict, reason = DIFFERS, f"{counts}, exact McNemar p = {p_value:.2g}, too far apart for {elsewhere}"
    elif num_episodes < MIN_EPISODES_ELSEWHERE:
        verdict = NOT_REPRODUCIBLE
        reason = f"{elsewhere}; compared statistically from --episodes {MIN_EPISODES_ELSEWHERE} on"
    else:
        verdict, reason = VERIFIED, f"{counts}, exact McNemar p = {p_value:.2g} ({elsewhere})"
    return {"verdict": verdict, "comparison": STATISTICAL, "p_value": p_value, "reason": reason}


def other_machine(record: Record, record_path: Path, host: Mapping[str, Any]) -> str:
    """Why the last bits may differ from the record's; "" on the same CPU model, renderer and versions."""
    here = _versions()
    for each in differences(record["versions"], {name: here.get(name) for name in record["versions"]}):
        return f"another version: {each.path} is {each.there} in the record and {each.here} here"
    if not host_path(record_path).is_file():
        return f"the machine of the record is not known (no {host_path(record_path).name})"
    there = read_host(record_path)
    recorded, present = ({name: each.get(name) for name in _HOST_KEYS} for each in (there, host))
    return next((f"another machine: {_in_words(each)}" for each in differences(recorded, present)), "")


def verify(arguments: list[str], make: Callable[..., Any] = make_simulator) -> None:
    """Body of the command.

    Args:
        arguments: After ``smidgen-eval verify``.
        make: Makes the environment, from task, cameras and image size.

    Raises:
        UserError: If the record is not verified; the mark has been written then.
    """
    parser = argparse.ArgumentParser(
        prog="smidgen-eval verify",
        description="Runs episodes of a record again and writes RECORD.verification.json: verified, differs, or not "
        "reproducible here.",
    )
    parser.add_argument("record", type=user_path, metavar="RECORD", help="a record that smidgen-eval wrote")
    parser.add_argument("--episodes", type=int, default=50, metavar="K", help="how many; most of them are successes")
    parser.add_argument(
        "--checkpoint", type=user_path, metavar="DIR", help="default: ../checkpoints/<name> of the record"
    )
    parser.add_argument(
        "--demos", type=user_path, metavar="DIR", help="the training demonstrations, to check their hash"
    )
    parser.add_argument("--train-demos", type=user_path, metavar="DIR", help="the same, for a baseline made of them")
    parser.add_argument("--policy", metavar="MODULE:CLASS", help="a user's policy; its code will run")
    parser.add_argument(
        "--transform", metavar="MODULE:CLASS", help="the checkpoint's, if it is a user's; its code will run"
    )
    parser.add_argument("--task", metavar="MODULE:CLASS", help="the task, if it is a user's; its code will run")
    parser.add_argument("--salt", metavar="TEXT", help="decides the draw with the record's hash; random by default")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="worker processes; changes no outcome")
    options = VerifyOptions(**vars(parser.parse_args(arguments)))
    mark, links, path = verify_record(options, make)
    print("\n".join(_report(options, mark, links)))
    if path != Path():
        print(f"wrote {path}")
    if mark["verdict"] != VERIFIED:
        raise UserError(f"{options.record}: {mark['verdict'].replace('_', ' ')}: {mark['reason']}")


def _report(options: VerifyOptions, mark: Verification, links: list[Link]) -> list[str]:
    """What was checked, and what would have been found."""
    lines = [f"{link.status:<11} {link.name}: {link.detail}" for link in links]
    if mark["verdict"] == VERIFIED:
        lines.append(f"verified: {mark['reason']}")
    record = read_record(options.record)
    num_false = min(max(1, round(FALSE_SHARE * record["success"]["n"])), record["success"]["k"])
    if mark["comparison"] == BITWISE and num_false:
        caught = catch_probability(record, len(mark["seeds"]), num_false)
        lines.append(
            f"{len(mark['seeds'])} of {len(record['episodes'])} episodes, drawn with --salt {mark['salt']}: if "
            f"{num_false} of the record's successes were failures, one would be met with probability {caught:.3f}"
        )
    return lines
