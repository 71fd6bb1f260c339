"""Which engine jobs run on; what Ray itself does is tried by tests/interop/run_ray.py, where Ray is installed."""

import dataclasses
import signal
import sys
import types
from typing import Any

import pytest

from smidgen.data_collection.config import CollectConfig
from smidgen.evaluation.config import EvalConfig
from smidgen.experiments.suite import SuiteConfig
from smidgen.runtime import ray_engine
from smidgen.runtime.command_line import compose_config
from smidgen.runtime.engine import ENGINE_KEYS, ON_THIS_MACHINE, RAY, EngineSettings, map_on_engine
from smidgen.runtime.errors import UserError


def double(item: int) -> int:
    return 2 * item


@pytest.mark.parametrize("num_workers", [0, 1])
def test_this_machine_is_the_default_and_needs_no_ray(num_workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert ON_THIS_MACHINE.engine == "local"
    assert dict(map_on_engine(ON_THIS_MACHINE, double, [1, 2], num_workers)) == {1: 2, 2: 4}
    # Without workers everything runs in this process, whatever the engine.
    assert dict(map_on_engine(EngineSettings(engine=RAY), double, [1], 0)) == {1: 2}


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "smidgen.runtime.ray_engine", raising=False)
    with pytest.raises(UserError, match=r"smidgen\[ray\]"):
        list(map_on_engine(EngineSettings(engine=RAY), double, [1], 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "slurm"}, "unknown engine 'slurm'"),
        ({"job_cores": 0.0}, "job_cores above 0"),
        ({"job_gpus": -1.0}, "job_gpus of at least 0"),
        ({"job_memory_gb": float("nan")}, "job_memory_gb of at least 0"),
    ],
)
def test_impossible_engines_are_refused_by_every_command(changes: dict[str, Any], message: str) -> None:
    for make in (
        lambda: CollectConfig(task="lift", out="out", **changes),
        lambda: EvalConfig(policy="noop", out="out", **changes),
        lambda: SuiteConfig("a:B", **changes),
    ):
        with pytest.raises(UserError, match=message):
            make()


def test_the_engine_is_no_part_of_what_a_data_set_is() -> None:
    plain = CollectConfig(task="lift", out="out")
    changed = dataclasses.replace(plain, engine=RAY, engine_address="127.0.0.1:6379", job_gpus=0.5)
    assert changed.identity() == plain.identity()
    assert not set(ENGINE_KEYS) & set(plain.identity())
    config = compose_config(EvalConfig, ["policy=noop", "out=out", "engine=ray", "job_cores=2"])
    assert (config.engine, config.job_cores) == (RAY, 2.0)


def test_a_ray_that_starts_does_not_take_over_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own handler would end the command with exit code 15, and nothing cleaned up."""
    before, during, set_handler = signal.getsignal(signal.SIGTERM), [], signal.signal

    def init(**_: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        during.append(signal.getsignal(signal.SIGTERM))

    fake = types.SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setattr(ray_engine, "ray", fake)
    with ray_engine.cluster("auto", 1.0):
        assert signal.getsignal(signal.SIGTERM) is before
    assert during == [before]
    assert signal.signal is set_handler
