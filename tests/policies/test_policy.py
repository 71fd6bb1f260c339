from __future__ import annotations

import sys

import numpy as np
import pytest

from smidgen.policies.baselines import DemoStatistics
from smidgen.policies.policy import load_policy
from smidgen.policies.registry import BASELINES
from smidgen.runtime.errors import UserError
from smidgen.runtime.user_modules import is_class_spec

SPEC = {"names": ["x", "y", "z"], "low": [0, 0, 0], "high": [1, 1, 1], "kinds": ["position"] * 3}
USERS_MODULE = """
class Still:
    name = "still"
    observes = ("eef_state",)

    def reset(self, num_episodes=1, seed=0):
        pass

    def act(self, observations):
        return observations["eef_state"][:, :3]


class Informed(Still):
    def __init__(self, action_spec):
        self.action_spec = action_spec


class Silent:
    name = "silent"
    observes = ()

    def reset(self, num_episodes=1, seed=0):
        pass


class Clairvoyant(Still):
    observes = ("future",)


class Raising(Still):
    def __init__(self):
        self.weights = {}["encoder"]


class Leaving(Still):
    def __init__(self):
        raise SystemExit(3)


class Unnamed(Still):
    @property
    def name(self):
        raise RuntimeError("no name yet")


number = 3
"""


@pytest.fixture
def users_module(tmp_path, monkeypatch):
    (tmp_path / "their_policies.py").write_text(USERS_MODULE)
    (tmp_path / "broken_policies.py").write_text("import a_library_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "their_policies"
    for name in ("their_policies", "broken_policies"):
        sys.modules.pop(name, None)


def test_a_users_class_is_imported_by_its_name(users_module):
    assert load_policy(f"{users_module}:Still", SPEC).name == "still"
    assert load_policy(f"{users_module}:Informed", SPEC).action_spec == SPEC


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("their_policies:Silent", "lacks act"),
        ("their_policies:Clairvoyant", "observes 'future'; valid: frames, eef_state, privileged"),
        ("their_policies:Nobody", "has no 'Nobody'; its classes: Still, Informed, Silent, Clairvoyant"),
        ("their_policies:number", "expected a class, 'number' is an int"),
        ("their_policies:Raising", "constructing it failed at their_policies.py:32: KeyError: 'encoder'"),
        ("their_policies:Leaving", r"constructing it failed at their_policies.py:37: sys.exit\(3\)"),
        ("their_policies:Unnamed", "checking it failed at their_policies.py:43: RuntimeError: no name yet"),
        ("their_other_policies:Still", "no module 'their_other_policies'"),
        ("their_policies.deeper:Still", "no module"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(users_module, spec, message):
    with pytest.raises(UserError, match=message):
        load_policy(spec, SPEC)


def test_a_fault_in_the_users_module_is_blamed_on_its_line(users_module):
    with pytest.raises(UserError, match=r"failed at broken_policies.py:1: .*'a_library_that_is_not_there'"):
        load_policy("broken_policies:Still", SPEC)


@pytest.mark.parametrize("spec", ["experts", "a/b:c", "os:system()", "", ":", "x:", ":y", "../x:Y"])
def test_anything_else_lists_what_is_valid(spec):
    assert not is_class_spec(spec)
    with pytest.raises(UserError, match="valid: mean_action, noop, persistence, random, time_mean, the path"):
        load_policy(spec or "nothing", SPEC)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_by_name(name):
    statistics = DemoStatistics(mean_action=np.zeros(3), time_mean_SA=np.zeros((2, 3)))
    assert load_policy(name, SPEC, statistics).name == name
