"""Measures of closed-loop paths: does where the arm goes depend on where the cue lies?

The cue's position is drawn at reset, so any correlation of a policy's path with the expert's on the same seed, beyond
that through the robot's start, can only come from what the policy saw.

Letters: ``E`` episodes, ``S`` control steps, ``D`` coordinates of a path (metres), ``G`` of a goal. A path is (S_e, D);
shorter ones are padded with their last point. Undefined is NaN.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.special import digamma
from torch import Tensor

from smidgen.evaluation.collapse.cue import SlopeParts
from smidgen.evaluation.collapse.values import ArrayLike, as_float64

# A control step shorter than this share of the expert's median step counts as standing still.
STILL_BELOW = 0.05
# An episode whose expert leaves the mean path by less than this share of the mean squared distance is undecided.
UNDECIDED_BELOW = 0.25
NEIGHBOURS = 3


def stack_paths(paths: Sequence[ArrayLike], num_steps: int) -> Tensor:
    """Paths (S_e, D) as one float64 (E, num_steps, D), each padded with its last point.

    Raises:
        ValueError: If a path is empty or not a matrix.
    """
    rows = []
    for path in paths:
        path_SD = as_float64(path, "a path")
        if path_SD.ndim != 2 or path_SD.shape[0] == 0:
            raise ValueError(f"expected paths of shape (S, D) with S >= 1, got {tuple(path_SD.shape)}")
        rows.append(torch.cat([path_SD, path_SD[-1:].expand(num_steps - path_SD.shape[0], -1)]))
    return torch.stack(rows)


def _both(paths: Sequence[ArrayLike], expert_paths: Sequence[ArrayLike]) -> tuple[Tensor, Tensor]:
    if len(paths) != len(expert_paths):
        raise ValueError(f"expected one expert path per path, got {len(paths)} and {len(expert_paths)}")
    paths, expert_paths = ([as_float64(path, "a path") for path in each] for each in (paths, expert_paths))
    num_steps = max(len(path) for path in [*paths, *expert_paths])
    return stack_paths(paths, num_steps), stack_paths(expert_paths, num_steps)


def _root_mean_square(offset_ESD: Tensor) -> Tensor:
    return offset_ESD.square().sum(dim=-1).mean().sqrt()


def spread_ratio(paths: Sequence[ArrayLike], expert_paths: Sequence[ArrayLike]) -> float:
    """Closed-loop spread of a policy's paths around their time mean, relative to the expert's on the same seeds.

    About 0: the policy follows the same path in every episode. About 1: it varies as much as the expert.

    Args:
        paths: One (S, D) end-effector path per episode; shorter ones are padded with their last point.
        expert_paths: The expert's, for the same episodes.

    Returns:
        Ratio of root mean square distances; NaN with fewer than two episodes or an expert that does not vary.

    Raises:
        ValueError: If the numbers of paths differ, or a path is empty.
    """
    if len(paths) == len(expert_paths) < 2:
        return math.nan
    paths_ESD, expert_ESD = _both(paths, expert_paths)
    spread, expert_spread = (_root_mean_square(part_ESD - part_ESD.mean(dim=0)) for part_ESD in (paths_ESD, expert_ESD))
    return float(spread / expert_spread) if expert_spread > 0 else math.nan


def mean_path_distance(paths: Sequence[ArrayLike], expert_paths: Sequence[ArrayLike]) -> float:
    """RMS distance of a policy's paths to the expert's mean path, relative to the expert's own distance to it.

    About 0: the arm follows the average path. The expert has 1; a policy that goes elsewhere has more.

    Args:
        paths: As in `spread_ratio`.
        expert_paths: The expert's, for the same episodes.

    Returns:
        The ratio; NaN with fewer than two episodes or an expert that does not vary.

    Raises:
        ValueError: If the numbers of paths differ, or a path is empty.
    """
    if len(paths) == len(expert_paths) < 2:
        return math.nan
    paths_ESD, expert_ESD = _both(paths, expert_paths)
    mean_SD = expert_ESD.mean(dim=0)
    expert_distance = _root_mean_square(expert_ESD - mean_SD)
    return float(_root_mean_square(paths_ESD - mean_SD) / expert_distance) if expert_distance > 0 else math.nan


def path_slope_parts(paths: Sequence[ArrayLike], expert_paths: Sequence[ArrayLike]) -> SlopeParts:
    """The cue slope in closed loop: regression of a policy's paths on the expert's, by episode.

    First, the linear dependence on the robot's start, whose noise affects both, is removed at every control step. A
    mixture a * expert + (1 - a) * mean has slope a; a blind policy has 0 up to noise.

    Args:
        paths: As in `spread_ratio`.
        expert_paths: The expert's, for the same seeds, from the same starts.

    Returns:
        Sums by episode; all zero if there are no more episodes than the start's coordinates plus two.

    Raises:
        ValueError: If the numbers of paths differ, or a path is empty.
    """
    if not paths:
        return SlopeParts(torch.zeros(0), torch.zeros(0))
    paths_ESD, expert_ESD = _both(paths, expert_paths)
    start_ED = expert_ESD[:, 0] - expert_ESD[:, 0].mean(dim=0)
    num_episodes = len(start_ED)
    if num_episodes <= start_ED.shape[1] + 2:
        return SlopeParts(torch.zeros(num_episodes), torch.zeros(num_episodes))
    # Starts that agree to a nanometre count as equal.
    inverse_DE = torch.linalg.pinv(start_ED, atol=1e-9)

    def freed(part_ESD: Tensor) -> Tensor:
        offset_EF = (part_ESD - part_ESD.mean(dim=0)).flatten(1)
        return offset_EF - start_ED @ (inverse_DE @ offset_EF)

    own_EF, expert_EF = freed(paths_ESD), freed(expert_ESD)
    return SlopeParts((own_EF * expert_EF).sum(dim=1), expert_EF.square().sum(dim=1))


def goal_r2(final_ED: ArrayLike, goal_EG: ArrayLike) -> float:
    """Share of the final positions' variance that a linear regression on the goal explains, adjusted for its size.

    Args:
        final_ED: (E, D) final positions of the policy.
        goal_EG: (E, G) the goals, or the expert's final positions on the same seeds.

    Returns:
        Adjusted R^2 over all coordinates, about 0 or slightly less if nothing depends on the goal, exactly 0 if all
        episodes end at one point; NaN with fewer than G + 3 episodes or a single goal.

    Raises:
        ValueError: If the numbers of episodes differ.
    """
    final, goal = _varying(final_ED, goal_EG)
    num_episodes, num_goal = goal.shape
    if num_goal == 0 or num_episodes < num_goal + 3:
        return math.nan
    if final.shape[1] == 0:
        return 0.0
    fitted = goal @ np.linalg.lstsq(goal, final, rcond=None)[0]
    unexplained = ((final - fitted) ** 2).sum() / (num_episodes - num_goal - 1)
    return float(1 - unexplained / ((final**2).sum() / (num_episodes - 1)))


def goal_information_bits(final_ED: ArrayLike, goal_EG: ArrayLike) -> float:
    """Mutual information of final position and goal by nearest neighbours, in bits, never below 0.

    It also detects nonlinear dependence. With E episodes it cannot exceed about log2(E).

    Args:
        final_ED: (E, D), as in `goal_r2`.
        goal_EG: (E, G).

    Returns:
        The estimate; 0 if all episodes end at one point, NaN with too few episodes or a single goal.

    Raises:
        ValueError: If the numbers of episodes differ.

    Source: A. Kraskov, H. Stögbauer, P. Grassberger, "Estimating mutual information", Physical Review E 69, 2004,
    equation 8, with 3 neighbours and every coordinate divided by its deviation.
    """
    final, goal = _varying(final_ED, goal_EG)
    num_episodes = len(goal)
    if goal.shape[1] == 0 or num_episodes < NEIGHBOURS + 2:
        return math.nan
    if final.shape[1] == 0:
        return 0.0
    final, goal = final / final.std(axis=0), goal / goal.std(axis=0)
    radius_E = cKDTree(np.hstack([final, goal])).query(np.hstack([final, goal]), NEIGHBOURS + 1, p=np.inf)[0][:, -1]
    # Strictly nearer than the k-th neighbour, without the point itself.
    inside_E = np.nextafter(radius_E, 0)
    counts = [cKDTree(part).query_ball_point(part, inside_E, p=np.inf, return_length=True) for part in (final, goal)]
    nats = digamma(NEIGHBOURS) + digamma(num_episodes) - sum(digamma(count_E).mean() for count_E in counts)
    return max(0.0, float(nats) / math.log(2))


def _varying(final_ED: ArrayLike, goal_EG: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as centred float64 arrays, without the coordinates that never change."""
    final_ED, goal_EG = as_float64(final_ED, "final positions"), as_float64(goal_EG, "goals")
    if final_ED.ndim != 2 or goal_EG.ndim != 2 or len(final_ED) != len(goal_EG):
        raise ValueError(
            f"expected final positions (E, D) and goals (E, G), got {tuple(final_ED.shape)} and {tuple(goal_EG.shape)}"
        )
    arrays = [part.numpy() for part in (final_ED, goal_EG)]
    kept = [part[:, np.ptp(part, axis=0) > 0] if len(part) else part for part in arrays]
    return kept[0] - kept[0].mean(axis=0), kept[1] - kept[1].mean(axis=0)


def latching_index(paths: Sequence[ArrayLike], expert_paths: Sequence[ArrayLike]) -> float:
    """How much more often than the expert a policy stands still while the expert is working.

    Counted over the expert's control steps of each seed; a step below 5 % of the expert's median step counts as still.
    0: no more often than the expert; 1: always, if the expert never does. It tells a policy that repeats its action,
    which in closed loop means standing still, from one that goes to a wrong place.

    Args:
        paths: As in `spread_ratio`.
        expert_paths: The expert's, for the same seeds.

    Returns:
        (still share - expert's) / (1 - expert's), at most 1; NaN without a moving expert.

    Raises:
        ValueError: If the numbers of paths differ.

    Source: the failure as inertia, F. Codevilla et al., "Exploring the limitations of behavior cloning for autonomous
    driving", ICCV 2019, and as latching, G. Swamy et al., "Sequence model imitation learning with unobserved
    contexts", NeurIPS 2022; the index is ours.
    """
    if len(paths) != len(expert_paths):
        raise ValueError(f"expected one expert path per path, got {len(paths)} and {len(expert_paths)}")
    paths, expert_paths = ([as_float64(path, "a path") for path in each] for each in (paths, expert_paths))
    expert_moves = [_step_lengths(path, len(path)) for path in expert_paths]
    moves = [_step_lengths(path, len(expert)) for path, expert in zip(paths, expert_paths, strict=True)]
    if not expert_moves or not (expert_S := torch.cat(expert_moves)).numel():
        return math.nan
    threshold = STILL_BELOW * expert_S.median()
    still, expert_still = (float((moves_S < threshold).double().mean()) for moves_S in (torch.cat(moves), expert_S))
    return (still - expert_still) / (1 - expert_still) if threshold > 0 else math.nan


def _step_lengths(path: Tensor, num_points: int) -> Tensor:
    """Length of each of the first steps of a path, which stays at its last point after its end."""
    path_SD = stack_paths([path], max(len(path), num_points))[0, :num_points]
    return (path_SD[1:] - path_SD[:-1]).norm(dim=-1)
