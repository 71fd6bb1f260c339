"""Failure labels: every rule on scripted states, then policies that fail on purpose, in the fake Lift and the real."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_lift import FakeLift
from scripted_failures import FAILURES, ExplodesAt, PlaysBack

from smidgen.envs.selfcheck import check_pixels
from smidgen.envs.tasks import get_task, make_env
from smidgen.evaluation.expert_policy import ExpertPolicy
from smidgen.evaluation.failures import FailureObserver, with_collapsed
from smidgen.evaluation.items import episode_answer
from smidgen.evaluation.protocol import LABELS
from smidgen.evaluation.rollout import rollout
from smidgen.evaluation.videos import VideoRecorder

STEPS = 60
REST_M = 0.82
RAMP = np.linspace(0.0, 1.0, STEPS)[:, None]
FAR, AT_CUBE, ABOVE = np.array([0.0, 0.2, 0.95]), np.array([0.0, 0.0, REST_M]), np.array([0.0, 0.0, REST_M + 0.1])
ALONG_X, ALONG_Y = np.array([0.1, 0.0, 0.0]), np.array([0.0, 0.1, 0.0])


def label_of(task: str, success_once: bool = False, **series: Any) -> str:
    """The label of an episode whose entries are constant, or one row a step."""
    observer = FailureObserver(get_task(task))
    for step in range(STEPS):
        observer.see({name: value[step] if len(np.shape(value)) and len(value) == STEPS else value
                      for name, value in series.items()})  # fmt: skip
    label = observer.label(success=False, success_once=success_once)
    assert label in LABELS
    return label


def lift(eef: Any, cube: Any = AT_CUBE, grasped: Any = False, opening: Any = 0.08, **others: Any) -> str:
    return label_of(
        "lift",
        eef_position_m=eef,
        object_position_m=cube,
        object_rest_height_m=REST_M,
        is_grasped=grasped,
        gripper_opening_m=opening,
        is_success=others.pop("is_success", False),
        **others,
    )


def between(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    return first + RAMP * (last - first)


def until(step: int) -> np.ndarray:
    return np.arange(STEPS) < step


def test_far_all_the_time_is_never_reached() -> None:
    assert lift(between(FAR, FAR + ALONG_X)) == "never_reached"


def test_near_and_gone_again_is_a_missed_grasp_and_waiting_there_is_not() -> None:
    passing = np.concatenate([between(FAR, AT_CUBE)[::2], between(AT_CUBE, FAR)[::2]])
    assert lift(passing) == "missed_grasp"
    waiting = np.concatenate([between(FAR, AT_CUBE)[::4], np.tile(AT_CUBE, (STEPS - 15, 1))])
    assert lift(waiting) == "stalled"
    closing = np.where(np.arange(STEPS) < 30, 0.08, 0.0)
    assert lift(waiting, opening=closing) == "missed_grasp"


def test_closing_far_away_is_no_attempt() -> None:
    assert lift(between(FAR, FAR + ALONG_X), opening=np.linspace(0.08, 0, STEPS)) == "never_reached"


def test_a_fall_after_the_hand_is_dropped_and_a_gentle_end_elsewhere_misplaced() -> None:
    raised = np.where(until(40)[:, None], between(AT_CUBE, ABOVE), AT_CUBE)
    held = until(40) & ~until(5)
    assert lift(raised, raised, held) == "dropped"
    aside = np.where(until(40)[:, None], between(AT_CUBE, AT_CUBE + ALONG_Y), AT_CUBE + ALONG_Y / 2)
    assert lift(aside, aside, held) == "misplaced"
    assert lift(raised, AT_CUBE, held) == "missed_grasp", "it slipped where it lay"


def test_a_drop_is_told_also_after_a_moment_of_success() -> None:
    raised = np.where(until(40)[:, None], between(AT_CUBE, ABOVE), AT_CUBE)
    assert lift(raised, raised, until(40), success_once=True) == "dropped"


def test_contacts_that_flicker_lose_nothing() -> None:
    raised = between(AT_CUBE, ABOVE)
    flickering = (np.arange(STEPS) % 3 == 0) & ~until(10)
    assert lift(raised, raised, flickering) == "timeout"


def test_in_hand_and_on_the_way_is_a_timeout_in_hand_and_still_has_stalled() -> None:
    assert lift(between(AT_CUBE, ABOVE), between(AT_CUBE, ABOVE), True) == "timeout"
    assert lift(ABOVE, ABOVE, True) == "stalled"


def test_arriving_too_late_is_not_held() -> None:
    raised = between(AT_CUBE, ABOVE)
    late = ~until(STEPS - 5)
    assert lift(raised, raised, True, is_success=late, success_once=True) == "not_held"
    assert lift(raised, raised, until(STEPS - 8), is_success=late, success_once=True) == "not_held", "let go, as asked"


@pytest.mark.parametrize(
    ("eef", "cube"),
    [
        ([0.0, 0.3, 0.95], AT_CUBE),
        ([-0.31, 0.0, 0.95], AT_CUBE),
        ([0.0, 0.0, 1.199], AT_CUBE),
        (FAR, [0.35, 0.0, REST_M]),
        (FAR, [0.2, 0.0, 0.3]),
    ],
)
def test_the_edge_of_the_box_is_out_of_bounds_for_gripper_and_object(eef: Any, cube: Any) -> None:
    assert lift(between(FAR, np.array(eef)), between(AT_CUBE, np.array(cube))) == "out_of_bounds"


def test_the_table_is_no_edge() -> None:
    assert lift(between(FAR, np.array([0.15, 0.0, 0.8])), np.array([-0.1, 0, REST_M])) == "never_reached"


def touch(eef: Any, **others: Any) -> str:
    return label_of(
        "speck_4", eef_position_m=eef, goal_position_m=np.array([0.1, 0.1, 0.812]), is_success=False, **others
    )


def test_a_place_to_touch_is_missed_in_its_own_ways() -> None:
    above = np.array([0.1, 0.1, 0.86])
    assert touch(between(FAR, np.array([0.0, -0.05, 0.815]))) == "misplaced"
    assert touch(between(FAR, np.array([0.1, 0.14, 0.815]))) == "misplaced", "near, but beside it"
    assert touch(FAR) == "stalled"
    assert touch(between(FAR, np.array([-0.1, -0.1, 0.9]))) == "never_reached"
    assert touch(between(FAR, above)) == "timeout"
    assert touch(between(FAR, above), success_once=True) == "not_held"


def test_what_cannot_be_carried_is_never_grasped_at() -> None:
    """A door's handle may be in hand; it cannot be dropped."""
    series = {"object_position_m": AT_CUBE, "is_grasped": until(30), "gripper_opening_m": np.linspace(0.08, 0, STEPS)}
    assert label_of("lift", eef_position_m=between(FAR, AT_CUBE), **series) == "timeout"


def test_a_task_that_tells_nothing_but_the_gripper() -> None:
    assert label_of("lift", eef_position_m=between(FAR, AT_CUBE)) == "timeout"
    assert label_of("lift", eef_position_m=FAR) == "stalled"


def test_the_nearest_of_many_places_counts() -> None:
    dirt = np.array([[0.3, 0.3, 0.9], [0.2, 0.0, 0.9]])
    for end, label in (([0.2, 0.05, 0.9], "timeout"), ([0.0, 0.2, 0.9], "never_reached")):
        eef = between(np.array([-0.1, 0.0, 1.0]), np.array(end))
        assert label_of("lift", eef_position_m=eef, dirt_positions_m=dirt, is_success=False) == label


def test_success_is_no_failure() -> None:
    observer = FailureObserver(get_task("lift"))
    observer.see({"eef_position_m": FAR})
    assert observer.label(success=True, success_once=True) == "success"


@pytest.mark.parametrize(("policy", "label"), FAILURES.values(), ids=FAILURES)
def test_scripted_failures_in_the_fake_lift(policy: Any, label: str) -> None:
    assert rollout(FakeLift(), policy(), seed=3_000_000).row["label"] == label


def collapsed_labels(env: Any, num_seeds: int) -> tuple[list[dict[str, Any]], list[float]]:
    """Rows of a policy that plays the experts' mean back, and the cubes' distances from the middle."""
    expert, experts, actions, distances_m = ExpertPolicy("lift"), {}, [], []
    for seed in range(3_000_000, 3_000_000 + num_seeds):
        env.reset(seed=seed)
        distances_m.append(float(np.linalg.norm(env.privileged()["object_position_m"][:2])))
        recorded = []
        act = expert.act
        expert.act = lambda seen, act=act, recorded=recorded: recorded.append(act(seen)) or recorded[-1]
        experts[seed] = episode_answer(rollout(env, expert, seed))
        expert.act = act
        actions.append(np.concatenate(recorded))
    longest = max(map(len, actions))
    mean_SA = np.mean([np.pad(one, ((0, longest - len(one)), (0, 0)), mode="edge") for one in actions], axis=0)
    answers = {seed: episode_answer(rollout(env, PlaysBack(mean_SA), seed)) for seed in experts}
    assert with_collapsed(experts, experts) == [answer["row"] for answer in experts.values()]
    return with_collapsed(answers, experts), distances_m


def check_collapsed(rows: list[dict[str, Any]], distances_m: list[float], beyond_m: float) -> None:
    failed = [(row["label"], distance_m) for row, distance_m in zip(rows, distances_m, strict=True)
              if not row["success"] and distance_m > beyond_m]  # fmt: skip
    assert len(failed) >= 3
    assert {label for label, _ in failed} == {"collapsed"}


def test_whoever_plays_the_mean_back_has_collapsed_in_the_fake_lift() -> None:
    check_collapsed(*collapsed_labels(FakeLift(), 12), beyond_m=0.03)


@pytest.fixture(scope="module")
def real_lift() -> Iterator[Any]:
    env = make_env("lift", observe_pixels=False)
    yield env
    env.close()


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
@pytest.mark.parametrize(("policy", "label"), FAILURES.values(), ids=FAILURES)
def test_scripted_failures_in_the_real_lift(real_lift: Any, policy: Any, label: str) -> None:
    assert rollout(real_lift, policy(), seed=3_000_000).row["label"] == label


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
def test_a_simulation_that_diverges_is_its_own_failure(real_lift: Any) -> None:
    result = rollout(real_lift, ExplodesAt(real_lift), seed=3_000_000)
    assert (result.row["label"], result.row["num_steps"]) == ("simulator_error", 3)
    assert rollout(real_lift, ExpertPolicy("lift"), seed=3_000_001).row["label"] == "success", (
        "the next episode is well"
    )


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
def test_a_simulation_that_diverges_while_recording_leaves_the_pixels_in_order(real_lift: Any) -> None:
    check_pixels(real_lift)
    recorder = VideoRecorder()
    assert (
        rollout(real_lift, ExplodesAt(real_lift), seed=3_000_000, recorder=recorder).row["label"] == "simulator_error"
    )
    assert len(recorder.frames) == 4
    assert rollout(real_lift, ExpertPolicy("lift"), seed=3_000_001, recorder=recorder).row["label"] == "success"


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
def test_whoever_plays_the_mean_back_has_collapsed_in_the_real_lift(real_lift: Any) -> None:
    check_collapsed(*collapsed_labels(real_lift, 12), beyond_m=0.02)
