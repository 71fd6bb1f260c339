"""A row of the leaderboard: one recipe, with one record for each training seed.

Records belong to one row if they were measured under the same conditions and their policies differ only in the training
seed: equal :func:`policy_id`, and equal names apart from a final ``-seed<K>``, where K is the training seed. The track
(evaluation/tracks.py) says what a full entry is; a row with less is marked, not refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from smidgen.envs.seeds import SEED_RANGES
from smidgen.evaluation.collapse.labels import BLIND
from smidgen.evaluation.protocol import TEST
from smidgen.evaluation.record_schema import judged_collapse
from smidgen.evaluation.records import Rate, Record, success_rate
from smidgen.evaluation.statistics import SIGNIFICANCE
from smidgen.evaluation.tracks import Track, track_of
from smidgen.evaluation.verification_mark import Verification
from smidgen.leaderboard.training_seeds import outcome_table, pooled_interval
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json, sha256_bytes

_RANKED_KINDS = ("checkpoint", "user")
_SEED_SUFFIX = re.compile(r"(?P<base>.+)-seed(?P<seed>\d{1,9})")


@dataclass(frozen=True)
class Run:
    """One record: one policy, trained once.

    Attributes:
        source: The record file's name.
        sha256: The record file's hash.
        record: The validated record.
        verification: The mark beside it, if any.
    """

    source: str
    sha256: str
    record: Record
    verification: Verification | None = None

    @property
    def training_seed(self) -> int | None:
        """The training seed: from a checkpoint's settings, or from the name of a user's policy."""
        return training_seed(self.record)

    @property
    def is_mark_stale(self) -> bool:
        """Whether the record has changed since it was verified."""
        return self.verification is not None and self.verification["record_sha256"] != self.sha256

    @property
    def reproduction(self) -> str | None:
        """What running episodes again found; None without a mark, or if the record has changed since."""
        return None if self.verification is None or self.is_mark_stale else self.verification["verdict"]


def training_seed(record: Record) -> int | None:
    """The training seed of a record's policy, if the record contains it."""
    config = (record["policy"]["training"] or {}).get("training_config")
    if isinstance(config, dict):
        seed = config.get("seed")
        return seed if isinstance(seed, int) and not isinstance(seed, bool) else None
    named = _SEED_SUFFIX.fullmatch(record["policy"]["name"])
    return int(named["seed"]) if named and record["policy"]["kind"] == "user" else None


def data_sets(row: Row) -> list[str]:
    """Hashes of the data sets that a row's policies were trained on: one, but for last bits of another processor."""
    return sorted({sha for record in row.records if (sha := record["policy"]["data_set_sha256"]) is not None})


def recipe_name(record: Record) -> str:
    """The policy's name without a final ``-seed<K>`` that names its training seed."""
    name, seed = record["policy"]["name"], training_seed(record)
    return name.removesuffix(f"-seed{seed}") or name if seed is not None else name


def policy_id(record: Record) -> str:
    """Identity of a policy's recipe: a hash of everything that decides it except the training seed."""
    return sha256_bytes(canonical_json(_identity(record)))


def method_id(record: Record, task_matters: bool = True) -> str:
    """Identity of a recipe regardless of its demonstrations and, optionally, of the task.

    Args:
        record: The record.
        task_matters: Whether the same settings on another task count as another recipe.
    """
    identity = _identity(record)
    identity.pop("data_set_sha256")
    identity["training"].pop("num_demonstrations", None)
    if not task_matters:
        identity.pop("task")
        # Each task has its own cameras.
        identity["inputs"].pop("cameras")
        identity["num_demonstrations"] = (record["policy"]["training"] or {}).get("num_demonstrations")
    return sha256_bytes(canonical_json(identity))


def _identity(record: Record) -> dict[str, Any]:
    policy = record["policy"]
    training = dict(policy["training"] or {})
    if isinstance(training.get("training_config"), dict):
        training["training_config"] = {
            key: value for key, value in training["training_config"].items() if key != "seed"
        }
    names = ("kind", "observes", "transform", "standardise_before", "standardise_after", "data_set_sha256")
    identity: dict[str, Any] = {name: dict(policy)[name] for name in names}
    if track_of(record).names_demonstrations:
        # The last bits of an action depend on the processor for which the simulator's linear algebra chose its code.
        identity["data_set_sha256"] = policy["data_set_seeds"]
    if not training:
        # Without settings, only the name tells such a policy from another.
        identity["name"] = recipe_name(record)
    if code := policy.get("code"):
        # Not its files: they are weights, which differ between training seeds.
        identity["code"] = code
    inputs = {name: record["config"].get(name) for name in ("policy", "cameras", "image_size")}
    return {"task": record["task"], "training": training, "inputs": inputs, **identity}


@dataclass(frozen=True)
class Row:
    """One recipe on the leaderboard.

    Attributes:
        runs: Its records, by training seed.
        rank: 1 for the best of its group, equal rates share a rank; None for a reference.
        p_best: p-value of the comparison with the group's best row; None for the best and for references.
        p_holm: The same after Holm's correction over the group's comparisons.
        test: Which comparison it was, in words.
    """

    runs: tuple[Run, ...]
    rank: int | None = None
    p_best: float | None = None
    p_holm: float | None = None
    test: str = field(default="")

    @property
    def record(self) -> Record:
        """The record of the first training seed, for everything that the row's records share."""
        return self.runs[0].record

    @property
    def records(self) -> list[Record]:
        """Every record, by training seed."""
        return [run.record for run in self.runs]

    @property
    def track(self) -> Track:
        """What a full entry is."""
        return track_of(self.record)

    @property
    def name(self) -> str:
        """The policy's name."""
        return recipe_name(self.record) if len(self.runs) > 1 else self.record["policy"]["name"]

    @property
    def training_seeds(self) -> list[int]:
        """Training seeds; empty if the record does not contain them."""
        return [run.training_seed for run in self.runs if run.training_seed is not None]

    @property
    def is_privileged(self) -> bool:
        """Whether the policy observes privileged state."""
        return self.record["policy"]["kind"] == "expert" or "privileged" in self.record["policy"]["observes"]

    @property
    def may_be_ranked(self) -> bool:
        """Whether the row is ranked if it sees; experts, privileged policies, baselines and other splits are not."""
        is_test = self.record["protocol"]["split"] == TEST
        return is_test and self.record["policy"]["kind"] in _RANKED_KINDS and not self.is_privileged

    @property
    def is_blind(self) -> bool:
        """Whether most of its training seeds with a verdict are blind; such a row is shown and not ranked."""
        verdicts = [judged_collapse(record).get("verdict") for record in self.records]
        known = [verdict for verdict in verdicts if verdict is not None]
        return 2 * sum(verdict == BLIND for verdict in known) > len(known)

    @property
    def not_separable(self) -> bool:
        """Whether the row is not the best, and the comparison does not show it to be worse."""
        return self.p_holm is not None and self.p_holm > SIGNIFICANCE

    @cached_property
    def success(self) -> Rate:
        """Successes of all episodes of all training seeds, with the interval over both."""
        return _pooled(self.records, "success")

    @cached_property
    def success_once(self) -> Rate:
        """The same for success at one step or more."""
        return _pooled(self.records, "success_once")

    @property
    def shortfalls(self) -> list[str]:
        """What the row lacks for a full entry, in words; empty for references."""
        if not self.may_be_ranked:
            return []
        missing, wanted = [], self.track.num_training_seeds
        if len(self.runs) < wanted:
            missing.append(f"{len(self.runs)} of {wanted} training seeds")
        return missing + list(dict.fromkeys(reason for record in self.records for reason in run_shortfalls(record)))


def run_shortfalls(record: Record) -> list[str]:
    """What one record lacks for a full entry, in words."""
    protocol, first = record["protocol"], SEED_RANGES[TEST].start
    missing, wanted = [], track_of(record).num_episodes
    if protocol["episodes"] != wanted:
        missing.append(f"{protocol['episodes']} episodes instead of {wanted}")
    if protocol["seed_start"] != first:
        missing.append(f"test seeds from {protocol['seed_start']} instead of {first}")
    training = record["policy"]["training"] or {}
    config = training.get("training_config")
    steps = config.get("steps") if isinstance(config, dict) else None
    if steps is not None and training.get("step") != steps:
        missing.append(f"the checkpoint of step {training.get('step')} instead of the final one, {steps}")
    return missing


def _pooled(records: Sequence[Record], outcome: str) -> Rate:
    runs = [{row["seed"]: bool(dict(row)[outcome]) for row in record["episodes"]} for record in records]
    flags = [flag for run in runs for flag in run.values()]
    confidence = records[0]["protocol"]["confidence"]
    pooled = success_rate(flags, confidence)
    if len(runs) > 1:
        _, pooled["low"], pooled["high"] = pooled_interval(outcome_table(runs), confidence)
    return pooled


def gather_rows(runs: Sequence[Run]) -> list[Row]:
    """Groups runs that were measured under the same conditions into rows.

    Raises:
        UserError: If a row would contain a training seed or a checkpoint twice; the message names the files.
    """
    gathered: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        alone = (run.source,) if run.training_seed is None else ()
        gathered.setdefault((policy_id(run.record), recipe_name(run.record), *alone), []).append(run)
    rows = [Row(tuple(sorted(group, key=lambda run: run.training_seed or 0))) for group in gathered.values()]
    for row in rows:
        _refuse_twice(row, "training seed", [run.training_seed for run in row.runs])
        _refuse_twice(row, "checkpoint", [run.record["policy"]["checkpoint_sha256"] for run in row.runs])
    return rows


def _refuse_twice(row: Row, kind: str, values: Sequence[int | str | None]) -> None:
    twice = next((value for value, count in Counter(values).items() if count > 1 and value is not None), None)
    if twice is not None:
        sources = [run.source for run, value in zip(row.runs, values, strict=True) if value == twice]
        raise UserError(
            f"{' and '.join(sources)}: {kind} {str(twice)[:12]} twice in the row {row.name!r}; every record of a row "
            "needs its own training seed and checkpoint: remove one, or give it another name"
        )
