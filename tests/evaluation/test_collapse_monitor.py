"""The monitor, as anybody's training loop would use it."""

import json
import math

import pytest
import torch

from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.evaluation.collapse.labels import BLIND, MEANINGS, UNDECIDED, VERDICTS, label_of, spoken


def targets(seed: int, rows: int = 50, coordinates: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, coordinates, generator=generator, dtype=torch.float64)


def follow(monitor: CollapseMonitor, shares: dict[int, float], with_cue: bool = True) -> None:
    target = targets(5)
    for step, share in shares.items():
        cue = {"delta_prediction": share * target, "delta_target": target} if with_cue else {}
        monitor.update(step, share * target + (1 - share) * target.mean(dim=0), target, **cue)


def test_monitor_sees_plateau_escape_and_relapse() -> None:
    monitor = CollapseMonitor()
    assert (monitor.on_plateau, monitor.escape_step, monitor.warning) == (False, None, "")
    follow(monitor, {0: 0.0, 100: 0.1})
    assert (monitor.on_plateau, monitor.plateau_since, monitor.escape_step) == (True, 0, None)
    assert "; blind since step 0" in monitor.warning
    follow(monitor, {200: 0.4})
    assert (monitor.on_plateau, monitor.escape_step, monitor.warning) == (False, None, "")
    follow(monitor, {300: 0.6, 400: 0.9})
    assert monitor.escape_step == 300
    assert monitor.status.endswith("; sees, escaped at step 300")
    follow(monitor, {500: 0.5})
    assert monitor.escape_step is None
    follow(monitor, {600: 0.7, 700: 0.1})
    assert (monitor.escape_step, monitor.plateau_since) == (None, 700)


def test_monitor_without_a_cue_follows_r2() -> None:
    monitor = CollapseMonitor()
    follow(monitor, {1: 0.0, 2: 0.5, 3: 0.8}, with_cue=False)
    assert math.isnan(monitor.reading.cue_slope)
    assert monitor.signal == pytest.approx(1 - 0.2**2)
    assert monitor.escape_step == 2
    assert monitor.status.endswith("; undecided without a cue slope, escaped at step 2")


@pytest.mark.parametrize(
    ("share", "with_cue", "label"),
    [
        (0.0, True, "blind"),
        (0.2, True, "blind"),
        (0.21, True, "partly_blind"),
        (0.79, True, "partly_blind"),
        (0.8, True, "sees"),
        (0.1, False, "blind"),
        (0.2, False, "undecided"),
        (1.0, False, "undecided"),
    ],
)
def test_the_status_is_one_of_the_words_of_a_verdict(share: float, with_cue: bool, label: str) -> None:
    monitor = CollapseMonitor()
    assert (monitor.label, monitor.status) == (UNDECIDED, "undecided: no update yet")
    follow(monitor, {0: share}, with_cue)
    assert monitor.label == label
    assert f"; {spoken(label)}" in monitor.status
    assert monitor.on_plateau == (label == BLIND)
    if with_cue:
        assert label == label_of(share)
    monitor.update(1, torch.full((4, 2), math.nan), torch.randn(4, 2))
    assert (monitor.label, monitor.on_plateau) == (UNDECIDED, False)
    assert "; undecided: 8 of 8 predictions are not finite" in monitor.status


def test_a_plateau_of_ones_own_is_said_beside_the_label() -> None:
    monitor = CollapseMonitor(plateau_below=0.4)
    follow(monitor, {5: 0.3})
    assert monitor.warning.endswith("; partly blind, signal up to 0.4 since step 5")
    narrow = CollapseMonitor(plateau_below=0.05)
    follow(narrow, {5: 0.1})
    assert (narrow.label, narrow.warning) == (BLIND, "")
    assert narrow.status.endswith("; blind")


def test_the_words_have_a_meaning_each() -> None:
    assert set(MEANINGS) == {*VERDICTS, UNDECIDED}


def test_monitor_tells_a_blind_policy_from_one_at_the_mean() -> None:
    monitor, target = CollapseMonitor(), targets(6)
    monitor.update(7, target, target, delta_prediction=torch.zeros_like(target), delta_target=target)
    assert "R^2 1.00, cue slope 0.00; blind since step 7" in monitor.warning


def test_monitor_warns_of_predictions_that_are_not_finite() -> None:
    monitor = CollapseMonitor()
    monitor.update(0, torch.full((4, 2), math.nan), torch.randn(4, 2))
    assert "not finite" in monitor.warning
    assert not monitor.on_plateau


def test_monitor_state_survives_json() -> None:
    uninterrupted, first = CollapseMonitor(), CollapseMonitor()
    shares = {0: 0.0, 10: 0.1, 20: 0.7, 30: 0.8}
    follow(uninterrupted, shares)
    follow(first, {step: shares[step] for step in (0, 10, 20)})
    resumed = CollapseMonitor()
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert resumed.status == first.status
    follow(resumed, {30: 0.8})
    assert resumed.state_dict() == uninterrupted.state_dict()


def test_monitor_scalars_are_finite_and_named() -> None:
    monitor, target = CollapseMonitor(), torch.cat([targets(1), torch.zeros(50, 1)], dim=1)
    reading = monitor.update(0, target * 0.5, target, time_mean=target * 0.1, persistence=target * 0.2)
    scalars = reading.scalars()
    assert all(math.isfinite(value) for value in scalars.values())
    assert {"r2", "r2/0", "r2/1", "r2/2", "skill_time_mean", "skill_persistence"} <= set(scalars)
    assert not {"r2/3", "cue_slope"} & set(scalars)


def test_monitor_refuses_misuse() -> None:
    monitor, target = CollapseMonitor(), targets(0)
    monitor.update(5, target, target)
    with pytest.raises(ValueError, match="after 5"):
        monitor.update(5, target, target)
    with pytest.raises(ValueError, match="together"):
        monitor.update(6, target, target, delta_target=target)
    with pytest.raises(ValueError, match="version"):
        monitor.load_state_dict({"version": 0})
    with pytest.raises(ValueError, match="plateau_below"):
        CollapseMonitor(plateau_below=0.6)


class Writer:
    """Keeps what TensorBoard would be given."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, int], float] = {}

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.values[tag, global_step] = scalar_value


def test_monitor_writes_every_scalar_where_it_is_told() -> None:
    writer = Writer()
    monitor = CollapseMonitor(writer=writer)
    follow(monitor, {0: 0.0, 10: 0.9})
    assert {step for _, step in writer.values} == {0, 10}
    assert {tag for tag, step in writer.values if step == 10} == {
        "collapse/on_plateau",
        *(f"collapse/{name}" for name in monitor.reading.scalars()),
    }
    assert (writer.values["collapse/on_plateau", 0], writer.values["collapse/on_plateau", 10]) == (1, 0)
    assert writer.values["collapse/cue_slope", 10] == pytest.approx(0.9)


def test_a_writer_leaves_the_state_json() -> None:
    monitor = CollapseMonitor(writer=Writer())
    follow(monitor, {0: 0.0})
    json.dumps(monitor.state_dict(), allow_nan=False)
