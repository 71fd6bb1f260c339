"""The policy given as ``policy=``: how a worker builds it, what identifies it, and its card in the record."""

from __future__ import annotations

import functools
import typing
from dataclasses import dataclass, replace
from typing import Any

from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.tasks import named_task
from smidgen.evaluation.expert_policy import ExpertPolicy
from smidgen.evaluation.record_schema import PolicyCard
from smidgen.policies.checkpoint import is_checkpoint, recorded_facts
from smidgen.policies.policy import Policy, is_users_policy, load_policy, unknown_policy, users_module
from smidgen.policies.policy_calls import PolicyCalls
from smidgen.policies.registry import BASELINES, plays_back_demonstrations
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json, sha256_bytes
from smidgen.runtime.user_code import fresh_import, hash_files, hash_modules
from smidgen.runtime.user_modules import is_class_spec

EXPERT = "expert"


@dataclass(frozen=True)
class PolicySource:
    """Everything that a process needs to build a policy; small, hashable, and sent to every worker.

    Attributes:
        spec: ``expert``, a baseline's name, a checkpoint's path, ``their.module:Class``, ``process:COMMAND`` or
            ``remote:HOST:PORT``.
        task: Name of the task, or ``their.module:Class`` of a user's, as a command line named it.
        train_demos: Training demonstrations, for the baselines that play back their statistics.
        transform: ``their.module:Class`` of a checkpoint's input transform, if it was trained with a user's.
        content: The hash of the policy's content when the evaluation began (:func:`content_sha256`): every process that
            builds it later refuses another; None if that does not matter.
    """

    spec: str
    task: str
    train_demos: str | None = None
    transform: str | None = None
    content: str | None = None

    @property
    def kind(self) -> str:
        """``expert``, ``baseline``, ``checkpoint`` or ``user``."""
        if self.spec == EXPERT:
            return "expert"
        if self.spec in BASELINES:
            return "baseline"
        return "user" if is_users_policy(self.spec) else "checkpoint"

    @property
    def statistics_from(self) -> str | None:
        """The demonstrations that this policy is made of, if it is a baseline made of any."""
        return self.train_demos if plays_back_demonstrations(self.spec) else None

    def check(self) -> None:
        """Refuses a source that cannot be built.

        Raises:
            UserError: Naming the valid policies, or the missing key.
        """
        if self.kind == "checkpoint" and not is_checkpoint(self.spec):
            raise unknown_policy(self.spec, EXPERT)
        if plays_back_demonstrations(self.spec) and self.train_demos is None:
            raise UserError(f"policy {self.spec!r} plays back training demonstrations; add train_demos=DIR")
        if self.transform is not None and self.kind != "checkpoint":
            raise UserError(
                f"transform={self.transform:.200} applies only to checkpoints, and policy {self.spec!r} is not one; "
                "omit transform"
            )

    def build(self) -> Policy:
        """Builds the policy, as :meth:`open` does."""
        return self.open().policy

    def open(self) -> PolicyCalls:
        """Builds the policy, ready to be called.

        Raises:
            UserError: If it cannot be built.
        """
        return PolicyCalls.built(self._make)

    def _make(self) -> Policy:
        if self.kind == "expert":
            return ExpertPolicy(self.task)
        statistics = None
        if self.statistics_from is not None:
            store = EpisodeStore.open(self.statistics_from, verify=False)
            statistics = store.statistics(store.training_seeds)
        task = named_task(self.task)
        load = functools.partial(
            load_policy,
            self.spec,
            task.action.to_json(),
            statistics,
            expect_task=task.name,
            transform=self.transform,
        )
        if self.module is None:
            return load()
        with fresh_import(self.module):
            return load()

    @property
    def module(self) -> str | None:
        """The user's module that runs: that of their policy, of their task's expert, or of their input transform."""
        if self.kind == "expert":
            return self.task.partition(":")[0] if is_class_spec(self.task) else None
        if self.kind == "user":
            return users_module(self.spec)
        return self.transform.partition(":")[0] if self.transform and is_class_spec(self.transform) else None

    def pinned(self, card: PolicyCard) -> PolicySource:
        """The same source, restricted to the content in a policy's card."""
        return replace(self, content=content_sha256(card))


@functools.lru_cache(maxsize=4)
def open_policy(source: PolicySource) -> PolicyCalls:
    """The process's own copy of a policy, built once; every episode resets it.

    Raises:
        UserError: If it cannot be built, or its content has changed since the evaluation began.
    """
    calls = source.open()
    _require_same(source, calls.policy)
    return calls


def confirm_same(source: PolicySource) -> None:
    """Refuses a user's policy whose code or files have changed since the evaluation began.

    Called when an answer is complete: their code may import or read something at any moment.

    Raises:
        UserError: If anything has changed.
    """
    if source.module is not None:
        _require_same(source, open_policy(source).policy)


def _require_same(source: PolicySource, policy: Policy) -> None:
    if source.content is not None and content_sha256(build_card(source, policy, None)) != source.content:
        of_checkpoint = "checkpoint" if source.module is None else "checkpoint or its transform's code"
        named = {"user": "code or files", "baseline": "demonstrations", "expert": "task's code"}
        what = named.get(source.kind, of_checkpoint)
        raise UserError(
            f"the {what} of policy {source.spec!r:.200} changed during the evaluation, and a record holds one policy: "
            "run the same command again"
        )


def content_sha256(card: PolicyCard) -> str:
    """One hash of a policy's whole content: code, files, checkpoint, demonstrations."""
    made_of = ("code", "files", "checkpoint_sha256", "data_set_sha256")
    return sha256_bytes(canonical_json([dict(card)[name] for name in made_of]))


def policy_identity(source: PolicySource, card: PolicyCard) -> dict[str, Any]:
    """The policy's identity: policies with equal identities act alike."""
    identity: dict[str, Any] = {"kind": source.kind, "task": source.task}
    if source.kind == "checkpoint":
        code = {"code": card["code"]} if card["code"] else {}
        return identity | code | {"checkpoint_sha256": card["checkpoint_sha256"]}
    identity |= {"spec": source.spec, "data_set_sha256": card["data_set_sha256"]}
    return identity | {"code": card["code"], "files": card["files"]}


def build_card(source: PolicySource, policy: Policy, name: str | None) -> PolicyCard:
    """The policy's card in the record.

    Args:
        source: Where the policy comes from.
        policy: The policy as built.
        name: The row's label; the policy's own if None.
    """
    card: PolicyCard = {
        "name": name or policy.name,
        "kind": source.kind,
        "observes": list(policy.observes),
        "transform": None,
        "standardise_before": None,
        "standardise_after": None,
        "checkpoint_sha256": None,
        "data_set_sha256": None,
        "data_set_seeds": [],
        "training": None,
        "code": {},
        "files": {},
    }
    if source.statistics_from is not None:
        store = EpisodeStore.open(source.statistics_from, verify=False)
        card["data_set_sha256"] = store.sha256
        card["data_set_seeds"] = [store.training_seeds[0], store.training_seeds[-1]]
    if source.kind == "checkpoint":
        card = typing.cast(PolicyCard, {**card, **recorded_facts(source.spec)})
    if source.module is not None:
        card["code"] = hash_modules(source.module)
    if source.kind == "user" and source.module is not None:
        card["files"] = hash_files(getattr(policy, "files", ()), source.module, f"policy {source.spec!r:.200}")
    if source.kind == "user" and source.module is None:
        card["files"] = dict(getattr(policy, "file_hashes", {}))
    return card
