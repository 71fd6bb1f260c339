"""smidgen-collect task=lift episodes=85 out=DIR workers=2

Small CPU variant: smidgen-collect task=lift episodes=3 out=/tmp/lift workers=0
Run time: a worker creates its environment once (seconds), then an attempt takes up to about a second of one core.
Result: a data set (see store.py) with the same bytes for any number of workers, interrupted or not; run the same
command again to resume an interrupted collection.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.data_collection.collector import Collector, open_collector
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.episode import manifest_row, write_episode
from smidgen.data_collection.manifest import (
    MANIFEST_NAME,
    build_manifest,
    changed_fields,
    episode_directory_name,
    read_sidecar,
)
from smidgen.data_collection.store import EPISODES_NAME, HOST_NAME, TOP_LEVEL_NAMES, EpisodeStore, verify_files
from smidgen.evaluation.collapse.labels import CUE
from smidgen.runtime.command_line import HELP_ALL, command_help, compose_config, run_command, wants_help
from smidgen.runtime.engine import map_on_engine
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import TEMPORARY_PREFIX, directory_lock, remove_leftovers, write_json_atomic
from smidgen.runtime.places import require_outside
from smidgen.runtime.progress import progress

USAGE = "smidgen-collect task=NAME out=DIR [key=value ...]"
SUMMARY = f"""\
Records an expert's demonstrations of a task into a data set, with parallel workers. The data set has the same bytes for
any number of workers, interrupted or not; run the same command again to resume, or to check that it is complete.
The cue: {CUE}."""

OpenCollector = Callable[[CollectConfig], Collector]
Header = dict[str, Any]
Attempt = dict[str, Any]


@dataclass(frozen=True)
class Collected:
    """The result of a collection.

    Attributes:
        store: The finished data set.
        num_new: Attempts made in this run; the others already existed.
        wall_s: Seconds that they took, including the start of the workers.
    """

    store: EpisodeStore
    num_new: int
    wall_s: float

    def summary(self) -> str:
        """One line for the end of the command."""
        manifest = self.store.manifest
        num_failed_runs = sum(row["error"] is not None for row in manifest["episodes"])
        outcome = f"{manifest['num_successes']}/{manifest['num_episodes']} attempts successful"
        if num_failed_runs:
            outcome += f" ({num_failed_runs} aborted by the simulator)"
        if not self.num_new:
            return f"nothing to do: {outcome}, all files verified: {self.store.directory}"
        per_hour = f"{self.num_new / self.wall_s * 3600:,.0f} episodes per hour"
        return f"{outcome}; {self.num_new} collected in {self.wall_s:.1f} s ({per_hour}): {self.store.directory}"


def main(argv: list[str] | None = None) -> int:
    """The command ``smidgen-collect``."""
    return run_command(_main, argv)


def _main(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, CollectConfig, everything=HELP_ALL in arguments))
        return
    print(collect(compose_config(CollectConfig, arguments)).summary())


def collect(config: CollectConfig, open_collector: OpenCollector = open_collector) -> Collected:
    """Collects a data set, or the missing part of one.

    Args:
        config: What to collect, where, and with how many workers.
        open_collector: Returns the process's collector; picklable, called for every attempt.

    Returns:
        The complete data set, verified.

    Raises:
        UserError: If the directory holds other files, another configuration or damaged files, another command is
            writing to it, or the disk is full. Finished episodes are kept.
    """
    out = Path(config.out).absolute()
    config = dataclasses.replace(config, out=str(out))
    require_outside(out, itself=False)
    _require_ours(out)
    _require_same_config(out, config)
    if (out / MANIFEST_NAME).exists():
        return Collected(EpisodeStore.open(out), num_new=0, wall_s=0.0)
    with directory_lock(out):
        # Another process may have finished, or started with other settings, between the first check and the lock.
        _require_same_config(out, config)
        if (out / MANIFEST_NAME).exists():
            return Collected(EpisodeStore.open(out), num_new=0, wall_s=0.0)
        remove_leftovers(out)
        remove_leftovers(out / EPISODES_NAME)
        return _collect_missing(out, config, open_collector)


def collect_episode(
    seed: int, config: CollectConfig, open_collector: OpenCollector, present: Header | None
) -> tuple[Header, Attempt, dict[str, Any]]:
    """One job: makes an attempt and writes it atomically.

    Args:
        seed: The attempt's seed.
        config: The settings, with an absolute ``out``.
        open_collector: Returns this process's collector.
        present: The header of the existing episodes, if any.

    Returns:
        The header, the attempt's row, and information on the host.

    Raises:
        UserError: If the environment differs from the one that made the existing episodes, or the code of a user's
            task has changed since then.
    """
    collector = open_collector(config)
    if present is not None and collector.header != present:
        changed = changed_fields(present, collector.header)
        raise UserError(f"{config.out} was started with another environment: {changed}; choose another out=")
    episodes = Path(config.out) / EPISODES_NAME
    if (episodes / episode_directory_name(seed)).exists():
        # The worker that made it died before it could report it.
        return *_finished_episode(episodes, seed), collector.host
    episode, counterfactuals = collector.collect(seed)
    collector.require_same_code()
    row = write_episode(episodes, collector.header, episode, counterfactuals)
    return collector.header, row, collector.host


def _collect_missing(out: Path, config: CollectConfig, open_collector: OpenCollector) -> Collected:
    header, rows = _present(out / EPISODES_NAME, config)
    missing = [seed for seed in config.seeds if seed not in rows]
    job = functools.partial(collect_episode, config=config, open_collector=open_collector, present=header)
    hosts: list[dict[str, Any]] = []
    num_successes = sum(row["success"] for row in rows.values())
    started = time.monotonic()
    with progress(len(config.seeds), f"collecting {config.task} (episodes)", done=len(rows)) as advance:
        for seed, (made_with, row, host) in map_on_engine(
            config, job, missing, config.workers, time_limit_s=config.episode_limit_s or None
        ):
            header, rows[seed] = made_with, row
            if host not in hosts:
                hosts.append(host)
            num_successes += row["success"]
            advance(1, f"{num_successes} successful")
    wall_s = time.monotonic() - started
    assert header is not None, "a configuration has at least one seed"
    # Left by workers that were killed and replaced.
    remove_leftovers(out / EPISODES_NAME)
    # The manifest is written last: if it exists, the data set is complete.
    write_json_atomic(out / HOST_NAME, _host_record(config, hosts, len(missing), wall_s))
    manifest = build_manifest(header, [manifest_row(out / EPISODES_NAME, row) for row in rows.values()])
    write_json_atomic(out / MANIFEST_NAME, manifest)
    return Collected(EpisodeStore.open(out), num_new=len(missing), wall_s=wall_s)


def _present(episodes: Path, config: CollectConfig) -> tuple[Header | None, dict[int, Attempt]]:
    """Header and rows of the finished episodes, with every file verified."""
    header: Header | None = None
    rows: dict[int, Attempt] = {}
    for seed in _finished_seeds(episodes):
        if seed not in config.seeds:
            raise UserError(f"{episodes / episode_directory_name(seed)} is not a requested seed; move it elsewhere")
        one_header, row = _finished_episode(episodes, seed)
        if header is not None and one_header != header:
            changed = changed_fields(header, one_header)
            raise UserError(f"{episodes / episode_directory_name(seed)} differs from the others: {changed}; delete it")
        header, rows[seed] = one_header, row
    return header, rows


def _finished_episode(episodes: Path, seed: int) -> tuple[Header, Attempt]:
    """Header and row of an existing episode, with its files verified."""
    header, row = read_sidecar(episodes, seed)
    verify_files(episodes, row)
    return header, row


def _finished_seeds(episodes: Path) -> Iterator[int]:
    names = sorted(os.listdir(episodes)) if episodes.is_dir() else []
    for name in names:
        if name.startswith(TEMPORARY_PREFIX):
            continue
        if not re.fullmatch(r"[0-9]{9}", name):
            raise UserError(f"{episodes / name} is not an episode; move it elsewhere")
        yield int(name)


def _require_ours(out: Path) -> None:
    """Refuses a directory that holds anything but a data set: a mistyped out= must not mix the two."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; expected a new directory or a data set")
    foreign = sorted(set(os.listdir(out)) - set(TOP_LEVEL_NAMES)) if out.exists() else []
    foreign = [name for name in foreign if not name.startswith(TEMPORARY_PREFIX)]
    if foreign:
        raise UserError(f"{out} contains other files ({foreign[0]!r:.60}); choose a new or an empty directory")


def _require_same_config(out: Path, config: CollectConfig) -> None:
    present: dict[str, Any] | None = None
    if (out / MANIFEST_NAME).exists():
        present = EpisodeStore.open(out, verify=False).manifest["config"]
    else:
        first = next(_finished_seeds(out / EPISODES_NAME), None)
        if first is not None:
            present = read_sidecar(out / EPISODES_NAME, first)[0]["config"]
    changed = changed_fields(present, config.identity()) if present is not None else ""
    if changed:
        raise UserError(f"{out} holds a data set with another configuration: {changed}; choose another out=")


def _host_record(config: CollectConfig, hosts: list[dict[str, Any]], num_new: int, wall_s: float) -> dict[str, Any]:
    return {
        "finished_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hostname": platform.node(),
        "hosts": hosts,
        "workers": config.workers,
        "episodes_in_last_run": num_new,
        "wall_s_of_last_run": wall_s,
        "episodes_per_hour": num_new / wall_s * 3600 if num_new else None,
    }


if __name__ == "__main__":
    sys.exit(main())
