"""The monitor and the measures in foreign loops: whatever holds the numbers, the same figures; mistakes are named."""

import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from smidgen.evaluation import collapse
from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.evaluation.collapse.monitor import ADVICE, LONG_PLATEAU
from smidgen.evaluation.collapse.values import as_float64, as_integers


class JaxLike:
    """Has no method of a tensor; gives itself as an array alone."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._values.astype(dtype or self._values.dtype)


class OnlyDLPack:
    """As arrays of CuPy, which refuse ``__array__``."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("implicit conversion is not allowed")

    def __dlpack__(self, **options: Any) -> Any:
        return self._values.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._values.__dlpack_device__()


def read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


# Every value is a multiple of a quarter, so that bfloat16 holds it.
TARGET = np.random.default_rng(0).integers(-8, 8, (24, 3)).astype(np.float64)
PREDICTION = TARGET / 4 + 1
FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "float32": lambda x: torch.tensor(x, dtype=torch.float32),
    "float16": lambda x: torch.tensor(x, dtype=torch.float16),
    "bfloat16": lambda x: torch.tensor(x, dtype=torch.bfloat16),
    "with gradient": lambda x: torch.tensor(x, requires_grad=True) * 1,
    "transposed": lambda x: torch.tensor(x.T.copy()).permute(*reversed(range(x.ndim))),
    "sparse": lambda x: torch.tensor(x).to_sparse(),
    "NumPy float32": lambda x: x.astype(np.float32),
    "NumPy, reversed twice": lambda x: x[::-1].copy()[::-1],
    "NumPy, big-endian": lambda x: x.astype(">f4"),
    "NumPy, read-only": read_only,
    "lists": lambda x: x.tolist(),
    "list of tensors": lambda x: [torch.tensor(row, requires_grad=True) for row in x],
    "list of arrays": lambda x: list(x),
    "tuple of lists of tensors": lambda x: (
        tuple([torch.tensor(entry) for entry in np.atleast_1d(row)] for row in x) if x.ndim > 1 else x
    ),
    "like JAX": JaxLike,
    "DLPack alone": OnlyDLPack,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_reading(form: str) -> None:
    of = FORMS[form]
    expected = CollapseMonitor().update(
        3,
        torch.tensor(PREDICTION),
        torch.tensor(TARGET),
        time_mean=torch.tensor(TARGET / 2),
        persistence=torch.tensor(TARGET + 1),
        delta_prediction=torch.tensor(PREDICTION - 1),
        delta_target=torch.tensor(TARGET),
    )
    monitor = CollapseMonitor()
    reading = monitor.update(
        3,
        of(PREDICTION),
        of(TARGET),
        time_mean=of(TARGET / 2),
        persistence=of(TARGET + 1),
        delta_prediction=of(PREDICTION - 1),
        delta_target=of(TARGET),
    )
    assert reading == expected
    json.dumps(monitor.state_dict(), allow_nan=False)


def test_integers_are_numbers_too() -> None:
    for kind in (torch.int64, torch.uint8, torch.bool):
        target = torch.tensor([0, 1, 1, 0], dtype=kind)
        assert CollapseMonitor().update(0, target, target).r2 == (1.0,)


@pytest.mark.parametrize("shape", [(24,), (24, 1), (4, 6, 1)])
def test_one_coordinate_needs_no_axis(shape: tuple[int, ...]) -> None:
    target, prediction = TARGET[:, 0], PREDICTION[:, 0]
    monitor = CollapseMonitor()
    reading = monitor.update(0, prediction.reshape(shape), target.reshape(shape))
    assert reading.r2 == pytest.approx([1 - ((prediction - target) ** 2).mean() / target.var()])
    assert "not finite" not in monitor.status
    assert len(reading.r2) == 1


def test_a_column_beside_plain_rows_is_the_same_rows() -> None:
    reading = CollapseMonitor().update(0, PREDICTION[:, :1], TARGET[:, 0])
    assert reading.r2 == CollapseMonitor().update(0, PREDICTION[:, 0], TARGET[:, 0]).r2


def test_chunks_are_rows() -> None:
    chunks = CollapseMonitor().update(0, PREDICTION.reshape(6, 4, 3), TARGET.reshape(6, 4, 3))
    assert chunks == CollapseMonitor().update(0, PREDICTION, TARGET)


STEPS = [7, np.int64(7), np.uint8(7), np.array(7), torch.tensor(7), torch.tensor([7], dtype=torch.int32)]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_any_whole_number_is_a_step(step: Any) -> None:
    monitor = CollapseMonitor(np.float32(0.25), torch.tensor(0.5))
    monitor.update(step, PREDICTION, TARGET)
    state = monitor.state_dict()
    assert type(state["reading"]["step"]) is int
    assert monitor.status.startswith("step 7: ")
    through_json, through_torch = CollapseMonitor(), CollapseMonitor()
    through_json.load_state_dict(json.loads(json.dumps(state, allow_nan=False)))
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    through_torch.load_state_dict(torch.load(file))
    for restored in (through_json, through_torch):
        assert restored.state_dict() == state
        assert (restored.status, restored.reading) == (monitor.status, monitor.reading) or math.isnan(
            monitor.reading.skill_time_mean
        )


@pytest.mark.parametrize("step", [1.5, 3.0, "3", None, torch.tensor(1.0), np.array([1, 2])])
def test_what_is_no_step_is_named(step: Any) -> None:
    with pytest.raises(ValueError, match=r"expected the step as a whole number, got .*pass int"):
        CollapseMonitor().update(step, PREDICTION, TARGET)


def test_infinite_measures_come_back_as_they_were() -> None:
    monitor = CollapseMonitor()
    reading = monitor.update(0, TARGET * 1e200, TARGET, time_mean=TARGET)
    assert reading.r2 == (-math.inf,) * 3
    restored = CollapseMonitor()
    restored.load_state_dict(json.loads(json.dumps(monitor.state_dict(), allow_nan=False)))
    assert restored.reading is not None
    assert restored.reading.r2 == reading.r2
    assert restored.warning == monitor.warning
    assert "too large" in monitor.warning


def test_a_finding_says_which_it_is_and_raises_nothing() -> None:
    spoilt = PREDICTION.copy()
    spoilt[2, 1] = np.nan
    cases = {
        "1 of 72 predictions are not finite": (spoilt, TARGET, {}),
        "72 of 72 predictions are not finite": (np.full_like(TARGET, np.inf), TARGET, {}),
        "the targets do not vary": (PREDICTION, np.ones_like(TARGET), {}),
        "one row alone does not vary": (PREDICTION[:1], TARGET[:1], {}),
        "changes of the prediction are not finite": (
            PREDICTION,
            TARGET,
            {"delta_prediction": spoilt, "delta_target": TARGET},
        ),
    }
    for words, (prediction, target, cue) in cases.items():
        monitor = CollapseMonitor()
        monitor.update(0, prediction, target, **cue)
        assert words in monitor.warning
        assert sum(other in monitor.warning for other in cases) == 1
        assert math.isnan(monitor.signal)
        assert not monitor.on_plateau


def test_a_cue_that_never_moves_the_answer_is_said_beside_the_r2_that_decides_instead() -> None:
    monitor = CollapseMonitor()
    monitor.update(0, TARGET, TARGET, delta_prediction=TARGET, delta_target=TARGET * 0)
    assert monitor.status == (
        "step 0: R^2 1.00, no cue slope (delta_target is zero throughout); "
        "undecided without a cue slope, escaped at step 0"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prediction": PREDICTION[:, :2]}, r"prediction \(24, 2\), target \(24, 3\)"),
        ({"prediction": PREDICTION[:5]}, r"one shape.*prediction \(5, 3\)"),
        ({"target": np.zeros((0, 3)), "prediction": np.zeros((0, 3))}, "non-empty"),
        ({"target": 1.0, "prediction": 1.0}, r"non-empty values of one shape, \(\.\.\., A\) or \(B,\)"),
        ({"target": TARGET * np.nan}, r"finite numbers as target, got 72 of 72.*leave out"),
        ({"target": np.ma.masked_equal(TARGET, TARGET[0, 0])}, "finite numbers as target"),
        ({"time_mean": np.full_like(TARGET, np.inf)}, "finite numbers as time_mean"),
        ({"persistence": TARGET[:3]}, r"reference \(3, 3\)"),
        ({"delta_prediction": TARGET, "delta_target": TARGET[:, :1]}, r"delta_target \(24, 1\)"),
        ({"delta_prediction": TARGET, "delta_target": TARGET * np.nan}, "finite numbers as delta_target"),
        ({"delta_prediction": TARGET}, "together"),
        ({"prediction": torch.ones(24, 3, dtype=torch.complex64)}, "prediction as real numbers"),
        ({"prediction": torch.ones(24, 3, device="meta")}, "meta tensor"),
        ({"prediction": [[1.0, 2.0], [1.0]]}, "prediction as a tensor, an array or lists"),
        ({"prediction": [torch.ones(2), torch.ones(3)]}, r"rows of one shape, got \(2,\) and \(3,\)"),
        ({"prediction": [["a", "b"]]}, "prediction as a tensor, an array or lists"),
        ({"prediction": None}, "prediction as a tensor, an array or lists"),
        ({"prediction": {"action": TARGET}}, "got dict"),
    ],
)
def test_a_mistake_is_named_and_leaves_the_monitor_as_it_was(changes: dict[str, Any], words: str) -> None:
    monitor = CollapseMonitor()
    monitor.update(0, PREDICTION, TARGET)
    before = monitor.state_dict()
    with pytest.raises(ValueError, match=words):
        monitor.update(1, **{"prediction": PREDICTION, "target": TARGET, **changes})
    assert monitor.state_dict() == before


def test_a_long_plateau_says_once_where_to_look() -> None:
    monitor = CollapseMonitor()
    warnings = []
    for step in range(2 * LONG_PLATEAU):
        monitor.update(step, np.zeros_like(TARGET), TARGET)
        warnings.append(monitor.warning)
    assert [ADVICE in warning for warning in warnings].index(True) == LONG_PLATEAU - 1
    assert sum(ADVICE in warning for warning in warnings) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"plateau_since": 1.5},
        {"plateau_below": "0.2"},
        {"problem": None},
        {"reading": []},
        {"reading": {"step": 1}},
    ],
)
def test_a_state_that_is_none_is_refused_whole(change: dict[str, Any]) -> None:
    monitor, other = CollapseMonitor(), CollapseMonitor()
    monitor.update(0, PREDICTION, TARGET)
    with pytest.raises(ValueError, match="monitor"):
        other.load_state_dict({**monitor.state_dict(), **change})
    assert other.state_dict() == CollapseMonitor().state_dict()


def test_a_state_from_before_the_newer_fields_is_read() -> None:
    monitor = CollapseMonitor()
    monitor.update(0, PREDICTION, TARGET)
    state = {
        name: value for name, value in monitor.state_dict().items() if name not in ("num_on_plateau", "problem", "note")
    }
    restored = CollapseMonitor()
    restored.load_state_dict(state)
    assert restored.status == monitor.status


@pytest.mark.parametrize("form", FORMS)
def test_every_public_measure_takes_every_form(form: str) -> None:
    of = FORMS[form]
    rng = np.random.default_rng(1)
    a, b, c, d = (rng.integers(-8, 8, (24, 3)).astype(np.float64) for _ in range(4))
    paths = [rng.integers(-8, 8, (6, 3)).astype(np.float64) for _ in range(24)]
    expert = [rng.integers(-8, 8, (6, 3)).astype(np.float64) for _ in range(24)]
    episodes = np.arange(24.0) // 2

    def measured(of: Callable[[np.ndarray], Any]) -> list[Any]:
        own, led = [of(path) for path in paths], [of(path) for path in expert]
        parts = collapse.cue_slope_parts(of(a), of(b), of(episodes))
        return [
            collapse.r2_per_coordinate(of(a), of(b)).tolist(),
            collapse.explained_variance(of(a), of(b)).tolist(),
            collapse.prediction_variance_ratio(of(a), of(b)).tolist(),
            collapse.by_chunk_step(collapse.r2_per_coordinate, of(a.reshape(6, 4, 3)), of(b.reshape(6, 4, 3))).tolist(),
            collapse.skill(of(a), of(b), of(c)),
            collapse.mean_distance(of(a), of(b), of(c)),
            collapse.recalibration_gain(of(a), of(b)),
            collapse.copycat_weight(of(a), of(b), of(c)),
            collapse.cue_slope(of(a), of(b)),
            parts.slope,
            collapse.slope_interval(parts),
            collapse.episode_labels(parts),
            collapse.judge(parts).label,
            collapse.cue_skill(of(a), of(b), of(c)),
            collapse.response_to_shuffling(of(a), of(b), of(c), of(d)),
            collapse.response_to_blanking(of(a), of(b), of(c)),
            [(first, last, rows.tolist()) for first, last, rows in collapse.in_time_bins(of(episodes), 4)],
            collapse.spread_ratio(own, led),
            collapse.mean_path_distance(own, led),
            collapse.path_slope_parts(own, led).slope,
            collapse.goal_r2(of(a), of(b)),
            collapse.goal_information_bits(of(a), of(b)),
            collapse.latching_index(own, led),
        ]

    expected = measured(torch.tensor)
    assert str(measured(of)) == str(expected)


def test_what_is_read_shares_no_memory() -> None:
    for given in (np.ones(3), torch.ones(3, dtype=torch.float64)):
        taken = as_float64(given)
        given *= 7
        assert taken.tolist() == [1, 1, 1]


def test_whole_numbers_stay_whole() -> None:
    assert as_integers(torch.tensor([2**60 + 1]), "seeds").tolist() == [2**60 + 1]
    with pytest.raises(ValueError, match="episodes as whole numbers"):
        as_integers([0.5], "episodes")
    with pytest.raises(ValueError, match="episodes as whole numbers"):
        as_integers([math.nan], "episodes")


def test_an_episode_whose_answers_are_not_finite_has_no_label() -> None:
    parts = collapse.cue_slope_parts(np.full((4, 1), np.nan), np.ones((4, 1)), [0, 0, 1, 1])
    assert collapse.episode_labels(parts) == ["undecided", "undecided"]
