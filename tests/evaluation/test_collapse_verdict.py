import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from smidgen.evaluation.collapse import SlopeParts, cue_slope_parts, episode_labels, is_mean_collapsed, judge
from smidgen.evaluation.collapse.verdict import slope_interval


def pairs(share: float, num_episodes: int = 50, noise: float = 0.0, seed: int = 0) -> SlopeParts:
    """Two pairs per episode of a policy with a known slope."""
    rng = np.random.default_rng(seed)
    delta_target = rng.normal(size=(2 * num_episodes, 2))
    delta_prediction = share * delta_target + noise * rng.normal(size=delta_target.shape)
    return cue_slope_parts(
        torch.tensor(delta_prediction), torch.tensor(delta_target), torch.arange(num_episodes).repeat_interleave(2)
    )


@given(st.floats(-0.5, 1.5))
@settings(deadline=None, max_examples=50)
def test_the_label_follows_the_slope(share: float) -> None:
    verdict = judge(pairs(share))
    expected = "sees" if share >= 0.8 else "blind" if share <= 0.2 else "partly_blind"
    if min(abs(share - 0.8), abs(share - 0.2)) > 1e-5:
        assert (verdict.label, verdict.source, verdict.is_certain) == (expected, "cue_slope", True)
    assert verdict.interval.low - 1e-9 <= share <= verdict.interval.high + 1e-9


def test_thresholds_belong_to_seeing_and_to_blindness() -> None:
    assert [judge(pairs(share)).label for share in (0.8, 0.2)] == ["sees", "blind"]


def test_the_interval_agrees_with_scipys_bootstrap() -> None:
    parts = pairs(0.5, noise=1.0)
    reference = bootstrap(
        (parts.products_E.numpy(), parts.powers_E.numpy()),
        lambda products, powers, axis: products.sum(axis=axis) / powers.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=4000,
        random_state=np.random.default_rng(1),
    ).confidence_interval
    found = slope_interval(parts)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=0.02)


def test_the_interval_covers_the_true_slope_as_often_as_it_says() -> None:
    found = [slope_interval(pairs(0.5, noise=0.7, seed=seed)) for seed in range(100)]
    covered = sum(interval.low <= 0.5 <= interval.high for interval in found)
    assert 88 <= covered <= 99


def test_the_same_policy_gets_the_same_verdict() -> None:
    assert judge(pairs(0.5, noise=1.0)) == judge(pairs(0.5, noise=1.0))


def test_an_interval_across_a_threshold_is_not_certain() -> None:
    verdict = judge(pairs(0.8, noise=1.0, seed=3))
    assert verdict.interval.low < 0.8 < verdict.interval.high
    assert not verdict.is_certain


def test_without_enough_episodes_there_is_no_verdict() -> None:
    for verdict in (judge(), judge(pairs(1.0, num_episodes=9)), judge(SlopeParts(torch.zeros(40), torch.zeros(40)))):
        assert (verdict.label, verdict.source, verdict.is_certain) == (None, None, False)
        assert math.isnan(verdict.interval.slope)
        assert is_mean_collapsed(verdict, [0.0]) is None


def test_paths_speak_where_they_are_precise() -> None:
    seeing, noisy = pairs(0.9), pairs(0.9, num_episodes=10, noise=3.0)
    assert judge(pairs(0.1), seeing).source == "path_slope"
    assert judge(pairs(0.1), seeing).label == "sees"
    assert judge(seeing, pairs(0.1)).source == "cue_slope"
    assert judge(pairs(0.1), noisy).source == "cue_slope"
    assert judge(None, noisy).label is None
    assert judge(noisy).label is None
    assert judge(None, seeing).label == "sees"


def test_mean_collapse_is_blindness_at_the_mean() -> None:
    blind, partly = judge(pairs(0.0)), judge(pairs(0.5))
    assert is_mean_collapsed(blind, [0.01, 0.9]) is True
    assert is_mean_collapsed(blind, [math.nan, 0.9]) is False
    assert is_mean_collapsed(blind, [math.nan]) is None
    assert is_mean_collapsed(partly, [0.0]) is False


def test_episodes_are_labelled_by_their_own_slope() -> None:
    parts = SlopeParts(torch.tensor([1.0, 0.0, 0.5, -1.0, 0.01]), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.01]))
    assert episode_labels(parts) == ["sees", "blind", "partly_blind", "blind", "undecided"]
    assert episode_labels(SlopeParts(torch.zeros(0), torch.zeros(0))) == []
