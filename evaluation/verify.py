"""smidgen-eval verify RECORD [--episodes K] [--checkpoint DIR] [--demos DIR] [--salt TEXT] [--workers N]

Runs K episodes of a record again with its checkpoint, and writes the result beside the record, as
``RECORD.verification.json``: verified, differs (with the first such episode) or not reproducible here. Run time on a
2-core CPU: about half a minute for 50 episodes of Lift.
"""

from __future__ import annotations

import argparse
import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.data_collection.remote_store import user_set
from smidgen.evaluation.comparison import compare, present_versions
from smidgen.evaluation.env_spec import make_simulator
from smidgen.evaluation.policy_source import build_card
from smidgen.evaluation.provenance import BROKEN, Link, chain, record_source, recorded_task
from smidgen.evaluation.records import read_record
from smidgen.evaluation.repetition import Repetition, env_spec_of, other_protocol, repeat
from smidgen.evaluation.verification_mark import (
    BITWISE,
    NOT_REPRODUCIBLE,
    VERIFICATION_VERSION,
    VERIFIED,
    Verification,
    catch_probability,
    drawn_seeds,
    read_verification,
    write_verification,
)
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file
from smidgen.runtime.settings import user_path

# The report gives the probability of detection if this share of all episodes were falsely called successes.
FALSE_SHARE = 0.05


@dataclass(frozen=True)
class VerifyOptions:
    """What to verify, and with what."""

    record: Path
    episodes: int = 50
    checkpoint: Path | None = None
    demos: Path | str | None = None
    train_demos: Path | str | None = None
    policy: str | None = None
    transform: str | None = None
    task: str | None = None
    salt: str | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.workers < 0:
            raise UserError(f"expected episodes >= 1 and workers >= 0, got {self.episodes} and {self.workers}")


def verify_record(
    options: VerifyOptions, make: Callable[..., Any] = make_simulator
) -> tuple[Verification, list[Link], Path]:
    """Runs episodes of a record again, compares, and writes the mark beside the record.

    Args:
        options: What to verify.
        make: Makes the environment, from task, cameras and image size.

    Returns:
        The mark, every link of the chain, and the mark's path. An existing mark ``verified`` or ``differs`` of the same
        bytes is kept if this machine cannot tell.

    Raises:
        UserError: If the record is not valid, or a required option is missing.
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
    reason = other_protocol(record, task)
    if broken or reason:
        seeds = []
        repetition = Repetition({}, {}, {}, reason)
    else:
        env_spec = dataclasses.replace(env_spec_of(record, options.record, source), make=make)
        repetition = repeat(record, source, env_spec, seeds, options.workers)
    mark: Verification = {
        "schema_version": VERIFICATION_VERSION,
        "record_sha256": record_sha256,
        **compare(record, options.record, repetition, broken[0] if broken else None),  # type: ignore[typeddict-item]
        "salt": salt,
        "seeds": sorted(repetition.rows),
        "links": {link.name: link.status for link in links},
        "environment": repetition.environment,
        "host": repetition.host,
        "versions": present_versions(),
    }
    before = read_verification(options.record)
    is_known = before is not None and before["record_sha256"] == record_sha256 and before["verdict"] != NOT_REPRODUCIBLE
    if mark["verdict"] == NOT_REPRODUCIBLE and is_known:
        return mark, links, Path()
    return mark, links, write_verification(options.record, mark)


def verify(arguments: list[str], make: Callable[..., Any] = make_simulator) -> None:
    """Body of the command.

    Args:
        arguments: After ``smidgen-eval verify``.
        make: Makes the environment, from task, cameras and image size.

    Raises:
        UserError: If the record is not verified; the mark is still written.
    """
    parser = argparse.ArgumentParser(
        prog="smidgen-eval verify",
        description="Runs episodes of a record again and writes RECORD.verification.json: verified, differs, or not "
        "reproducible here.",
    )
    parser.add_argument("record", type=user_path, metavar="RECORD", help="a record that smidgen-eval wrote")
    parser.add_argument("--episodes", type=int, default=50, metavar="K", help="number of episodes, mostly successes")
    parser.add_argument(
        "--checkpoint", type=user_path, metavar="DIR", help="default: ../checkpoints/<name> of the record"
    )
    parser.add_argument(
        "--demos", type=user_set, metavar="DIR", help="the training demonstrations, to check their hash"
    )
    parser.add_argument(
        "--train-demos", type=user_set, metavar="DIR", help="the same, for a baseline computed from them"
    )
    parser.add_argument("--policy", metavar="MODULE:CLASS", help="a user's policy; its code will run")
    parser.add_argument(
        "--transform", metavar="MODULE:CLASS", help="the checkpoint's, if it is a user's; its code will run"
    )
    parser.add_argument("--task", metavar="MODULE:CLASS", help="the task, if it is a user's; its code will run")
    parser.add_argument("--salt", metavar="TEXT", help="determines the draw, with the record's hash; random by default")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="worker processes; does not affect results")
    options = VerifyOptions(**vars(parser.parse_args(arguments)))
    mark, links, path = verify_record(options, make)
    print("\n".join(_report(options, mark, links)))
    if path != Path():
        print(f"wrote {path}")
    if mark["verdict"] != VERIFIED:
        raise UserError(f"{options.record}: {mark['verdict'].replace('_', ' ')}: {mark['reason']}")


def _report(options: VerifyOptions, mark: Verification, links: list[Link]) -> list[str]:
    """What was checked, and the probability that false successes would have been detected."""
    lines = [f"{link.status:<11} {link.name}: {link.detail}" for link in links]
    if mark["verdict"] == VERIFIED:
        lines.append(f"verified: {mark['reason']}")
    record = read_record(options.record)
    num_false = min(max(1, round(FALSE_SHARE * record["success"]["n"])), record["success"]["k"])
    if mark["comparison"] == BITWISE and num_false:
        caught = catch_probability(record, len(mark["seeds"]), num_false)
        lines.append(
            f"{len(mark['seeds'])} of {len(record['episodes'])} episodes, drawn with --salt {mark['salt']}: if "
            f"{num_false} of the record's successes were failures, one would be found with probability {caught:.3f}"
        )
    return lines
