"""What finished campaigns did, counted for their record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from studies.bench.record import commit, machine
from studies.reliability.kills import RECORD_VERSION, CommandRecord, Count, FaultsRecord
from tests.faults.campaign import Blow, Progress


def faults_record(form: str, seed: int, campaigns: Mapping[str, Progress]) -> FaultsRecord:
    """Counts what finished campaigns did, by command."""
    return FaultsRecord(
        version=RECORD_VERSION,
        form=form,
        seed=seed,
        machine=machine(),
        commit=commit(),
        kills=sum(progress.num_kills() for progress in campaigns.values()),
        stops=sum(progress.num_stops() for progress in campaigns.values()),
        commands={name: _command_record(progress) for name, progress in campaigns.items()},
    )


def _command_record(progress: Progress) -> CommandRecord:
    return CommandRecord(
        kills=progress.num_kills(),
        stops=progress.num_stops(),
        replaced=progress.replaced,
        starts=progress.starts,
        runs_with_undisturbed_bytes=progress.finished,
        files_compared=len(progress.undisturbed.products),
        workers_left_behind=sum(blow.left_behind for blow in progress.blows),
        undisturbed_wall_s=progress.undisturbed.wall_s,
        blows=_counts(progress.blows),
    )


def _counts(blows: tuple[Blow, ...]) -> tuple[Count, ...]:
    every = Counter((blow.signal, blow.target) for blow in blows)
    early = Counter((blow.signal, blow.target) for blow in blows if blow.before_output)
    return tuple(
        Count(signal=signal, target=target, count=count, before_output=early[signal, target])
        for (signal, target), count in sorted(every.items())
    )
