import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.evaluation.collapse import (
    goal_information_bits,
    goal_r2,
    latching_index,
    mean_path_distance,
    path_slope_parts,
    spread_ratio,
)

SEEDS = st.integers(0, 2**32 - 1)


def targets(seed: int, rows: int = 50, coordinates: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, coordinates, generator=generator, dtype=torch.float64)


def reaches(seed: int, num_episodes: int = 40, num_steps: int = 12, start_noise: float = 0.3) -> torch.Tensor:
    """Straight ways from noisy starts to goals drawn at random: (E, S, 3)."""
    start, goal = start_noise * targets(seed, num_episodes), targets(seed + 1, num_episodes)
    share = torch.linspace(0, 1, num_steps, dtype=torch.float64)[:, None]
    return start[:, None] * (1 - share) + goal[:, None] * share


@given(SEEDS, st.floats(0, 2))
@settings(deadline=None, max_examples=25)
def test_spread_ratio_of_paths_shrunk_towards_their_time_mean(seed: int, share: float) -> None:
    paths = targets(seed, 6 * 10, 3).reshape(6, 10, 3)
    shrunk = share * paths + (1 - share) * paths.mean(dim=0)
    assert spread_ratio(list(shrunk), list(paths)) == pytest.approx(share, abs=1e-12)


def test_spread_ratio_pads_with_the_last_point() -> None:
    paths = list(targets(3, 4 * 8, 3).reshape(4, 8, 3))
    longer = [torch.cat([path, path[-1:].expand(5, 3)]) for path in paths]
    assert spread_ratio(paths, longer) == pytest.approx(spread_ratio(longer, paths)) == pytest.approx(1)
    assert spread_ratio([paths[0]] * 4, paths) == 0
    assert math.isnan(spread_ratio(paths[:1], paths[:1]))
    assert math.isnan(spread_ratio(paths, [paths[0]] * 4))


def test_wrong_shapes_are_refused() -> None:
    for measure in (spread_ratio, mean_path_distance, path_slope_parts, latching_index):
        with pytest.raises(ValueError, match="one expert path per path"):
            measure([torch.zeros(3, 3)], [])
    with pytest.raises(ValueError, match=r"\(S, D\)"):
        spread_ratio([torch.zeros(3), torch.zeros(3)], [torch.zeros(3), torch.zeros(3)])
    for goal_measure in (goal_r2, goal_information_bits):
        with pytest.raises(ValueError, match=r"goals \(E, G\)"):
            goal_measure(torch.zeros(4, 3), torch.zeros(5, 2))


@given(SEEDS, st.floats(0, 1.5))
@settings(deadline=None, max_examples=25)
def test_distance_to_the_mean_path_is_a_mixtures_share(seed: int, share: float) -> None:
    expert = reaches(seed)
    mixed = share * expert + (1 - share) * expert.mean(dim=0)
    assert mean_path_distance(list(mixed), list(expert)) == pytest.approx(share, abs=1e-12)
    assert mean_path_distance(list(expert + 10), list(expert)) > 5
    assert math.isnan(mean_path_distance(list(expert[:1]), list(expert[:1])))


@given(SEEDS, st.floats(0, 1))
@settings(deadline=None, max_examples=25)
def test_path_slope_is_a_mixtures_share_whatever_the_start(seed: int, share: float) -> None:
    expert = reaches(seed)
    generator = np.random.default_rng(seed)
    pull = torch.tensor(generator.normal(size=(expert.shape[1], 1)))
    blind = expert[:, :1] * pull + targets(seed + 2, 1)
    mixed = share * expert + (1 - share) * blind
    parts = path_slope_parts(list(mixed), list(expert))
    assert parts.slope == pytest.approx(share, abs=1e-9)
    assert (parts.products_E / parts.powers_E - share).abs().max() < 1e-6


def test_path_slope_agrees_with_a_regression_on_start_and_expert() -> None:
    expert, policy = reaches(4, num_steps=2), reaches(9, num_steps=2)
    policy[:, 0] = expert[:, 0]
    starts = np.column_stack([np.ones(len(expert)), expert[:, 0].numpy()])
    free = np.eye(len(expert)) - starts @ np.linalg.pinv(starts)
    own, reference = (free @ path[:, 1].numpy() for path in (policy, expert))
    parts = path_slope_parts(list(policy), list(expert))
    assert parts.slope == pytest.approx((own * reference).sum() / (reference**2).sum(), abs=1e-9)


def test_path_slope_needs_more_episodes_than_starts_have_coordinates() -> None:
    expert = reaches(0, 5)
    assert math.isnan(path_slope_parts(list(expert), list(expert)).slope)
    assert math.isnan(path_slope_parts([], []).slope)
    equal_starts = reaches(0, 20, start_noise=0)
    assert path_slope_parts(list(equal_starts), list(equal_starts)).slope == pytest.approx(1)


def gaussian_bits(correlation: float, coordinates: int) -> float:
    return -0.5 * coordinates * math.log2(1 - correlation**2)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.95])
def test_information_of_gaussians_is_near_its_formula(correlation: float) -> None:
    goal, own = targets(1, 1500, 2), targets(2, 1500, 2)
    final = correlation * goal + math.sqrt(1 - correlation**2) * own
    assert goal_information_bits(final, goal) == pytest.approx(gaussian_bits(correlation, 2), abs=0.15)


def test_information_finds_what_a_line_does_not() -> None:
    goal = targets(1, 400, 1)
    final = goal.square() + 0.05 * targets(2, 400, 1)
    assert goal_r2(final, goal) < 0.1
    assert goal_information_bits(final, goal) > 1.5


@given(SEEDS, st.floats(0.01, 100))
@settings(deadline=None, max_examples=25)
def test_goal_measures_are_free_of_units_and_of_the_order_of_episodes(seed: int, scale: float) -> None:
    goal, own = targets(seed, 40, 2), targets(seed + 1, 40, 3)
    final = torch.cat([goal, goal[:, :1]], dim=1) + own
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    for measure in (goal_r2, goal_information_bits):
        assert measure(final[order] * scale, goal[order] / scale) == pytest.approx(measure(final, goal), abs=1e-6)


def test_goal_r2_agrees_with_least_squares_and_is_zero_on_average_without_dependence() -> None:
    found = [goal_r2(targets(seed, 30, 2), targets(seed + 1000, 30, 2)) for seed in range(200)]
    assert abs(np.mean(found)) < 0.02
    goal = targets(1, 30, 2)
    assert goal_r2(goal @ torch.tensor([[1.0, 2.0], [0.5, -1.0]]).double() + 3, goal) == pytest.approx(1)
    final = targets(2, 30, 2) + goal
    design = np.column_stack([np.ones(30), goal.numpy()])
    left = ((final.numpy() - design @ np.linalg.lstsq(design, final.numpy(), rcond=None)[0]) ** 2).sum() / 27
    total = ((final - final.mean(dim=0)) ** 2).sum() / 29
    assert goal_r2(final, goal) == pytest.approx(1 - left / float(total))


def test_goal_measures_of_a_single_end_or_a_single_goal() -> None:
    goal, fixed = targets(1, 30, 2), torch.ones(30, 3).double()
    assert (goal_r2(fixed, goal), goal_information_bits(fixed, goal)) == (0, 0)
    for measure in (goal_r2, goal_information_bits):
        assert math.isnan(measure(goal, fixed))
        assert math.isnan(measure(goal[:3], goal[:3]))


def test_latching_counts_the_steps_stood_still() -> None:
    expert = list(reaches(3, 20))
    still = [path[:1].expand(20, 3) for path in expert]
    halfway = [torch.cat([path[:7], path[6:7].expand(5, 3)]) for path in expert]
    assert latching_index(expert, expert) == 0
    assert latching_index(still, expert) == 1
    assert latching_index(halfway, expert) == pytest.approx(5 / 11)
    assert latching_index([path[:7] for path in expert], expert) == pytest.approx(5 / 11)
    assert math.isnan(latching_index(still, still))
